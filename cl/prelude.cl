/* What every OpenCL C kernel of Binade begins with: how values are loaded, rounded and stored, and the functions that
 * elementwise expressions use. All arithmetic is on 32-bit floats; a value of a 16-bit node is a float that a half can
 * hold. shaders/prelude.comp offers the same names in GLSL.
 *
 * Defined before it (0 or 1):
 *   by the printer, from bd_target: BD_HALF_STORAGE     16-bit elements are loaded and stored alone, as every OpenCL can; else
 *                                                       two share a word (only to look like a device without)
 *                                   BD_HALF_ARITHMETIC  native half + - * were probed to be exact: they may be used
 *                                   BD_HALF_CONVERSION  the driver's float -> half conversion was probed to be exact
 *                                   BD_NVIDIA           inline PTX builds
 *                                   BD_CPU              a driver that runs on the CPU
 *   by the backend, as options:     BD_KHR_FP16         the device reports cl_khr_fp16 (the macro cl_khr_fp16 is not to
 *                                                       be trusted: Oclgrind defines it on devices without)
 *                                   BD_HALF_BUILTIN     clang's __builtin_store_halff builds and is exact
 *                                   BD_ROUND_BY_STEPS   the compiler drops a conversion to half and back (rusticl does)
 *                                   BD_EXACT_DIVIDE     / and sqrt() of floats are correctly rounded */
#ifndef BD_HALF_STORAGE
#define BD_HALF_STORAGE 1
#endif
#ifndef BD_HALF_ARITHMETIC
#define BD_HALF_ARITHMETIC 0
#endif
#ifndef BD_HALF_CONVERSION
#define BD_HALF_CONVERSION 0
#endif
#ifndef BD_NVIDIA_BF16
#define BD_NVIDIA_BF16 0
#endif
#ifndef BD_NVIDIA
#define BD_NVIDIA 0
#endif
#ifndef BD_CPU
#define BD_CPU 0
#endif
#ifndef BD_KHR_FP16
#define BD_KHR_FP16 0
#endif
#ifndef BD_HALF_BUILTIN
#define BD_HALF_BUILTIN 0
#endif
#ifndef BD_ROUND_BY_STEPS
#define BD_ROUND_BY_STEPS 0
#endif
#ifndef BD_EXACT_DIVIDE
#define BD_EXACT_DIVIDE 0
#endif

#if BD_KHR_FP16
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#endif
/* a * b + c is rounded twice unless it says fma(): fusion and driver must not change numerics. */
#pragma OPENCL FP_CONTRACT OFF

/* ---- words that the two dialects spell differently ---- */
#define BD_VALUE float
#define BD_FLOAT(x) ((float)(x))
#define BD_UINT(x) ((uint)(x))
#define BD_INT(x) ((int)(x))
#define BD_UINT4(x, y, z, w) ((uint4)(x, y, z, w))
#define BD_BOTH(a, b) ((a) && (b)) /* GLSL has a way without a branch */
#define BD_BARRIER barrier(CLK_LOCAL_MEM_FENCE)
#define BD_ITEM ((uint)get_local_id(1) * BD_LOCAL_X + (uint)get_local_id(0))
#define BD_COUNT(buffer, i) atomic_inc(&(buffer)[i])
/* What a work-item stored before it is seen by all that loads after it, once an atomic operation has told of it. */
#if BD_NVIDIA
#define BD_DEVICE_FENCE asm volatile("membar.gl;" : : : "memory")
#else /* OpenCL C 2.0 or 3.0, which the backend asks for */
#define BD_DEVICE_FENCE atomic_work_item_fence(CLK_GLOBAL_MEM_FENCE, memory_order_acq_rel, memory_scope_device)
#endif
#define BD_AS_FLOAT(x) as_float(x)
#define BD_AS_UINT(x) as_uint(x)
#define BD_AS_FLOAT4(x) as_float4(x)
#define BD_INFINITY INFINITY
#define BD_NAN as_float(0x7fc00000u)

/* ---- formats: the element type of a buffer; halves are stored as their bits. BD_SKIP: `count` elements on ---- */
#define BD_TYPE_f32 float
#if BD_HALF_STORAGE
#define BD_TYPE_f16 ushort
#define BD_SKIP_f16(buffer, count) ((buffer) + (count))
#else
#define BD_TYPE_f16 uint
#define BD_SKIP_f16(buffer, count) ((buffer) + ((count) >> 1)) /* operands begin at words */
#endif
#define BD_SKIP_f32(buffer, count) ((buffer) + (count))
#define BD_SKIP_u8(buffer, count) ((buffer) + (count))
#define BD_SKIP_u32(buffer, count) ((buffer) + (count))
#define BD_TYPE_u8 uchar
#define BD_TYPE_u32 uint

/* ---- half <-> float in registers ---- */
/* bd_f16_bits: the nearest half's bits, ties to even, overflow to infinity. bd_f16_value: exact.
 * bd_round_f16: the nearest half, as a float. */
#if BD_NVIDIA
static inline ushort bd_f16_bits(float x)
{
    ushort bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}
static inline float bd_f16_value(ushort bits)
{
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
    return x;
}
#elif BD_HALF_CONVERSION && BD_KHR_FP16
static inline ushort bd_f16_bits(float x) { return as_ushort(convert_half_rte(x)); }
static inline float bd_f16_value(ushort bits) { return (float)as_half(bits); }
#elif BD_HALF_BUILTIN && defined(__F16C__)
/* Through a private variable that the compiler keeps in a register: LLVM sees fptrunc and fpext, which x86's F16C does
 * 8 at a time (without it they would be calls). Measured on PoCL 3.1, scaling a vector of halves: 0.3 ns an element,
 * 0.7 by the integer routines below, 2.2 by vload_half and vstore_half_rte. */
static inline ushort bd_f16_bits(float x)
{
    ushort bits;
    __builtin_store_halff(x, (half *)&bits);
    return bits;
}
static inline float bd_f16_value(ushort bits)
{
    float x = __builtin_load_halff((const half *)&bits);
    /* The sign is there already. But now LLVM does not see that x is a half, and does not turn selections between
     * floats into some between halves, which it will not vectorise: relu takes 0.2 ns an element so, else 1.8; max
     * pool 4, else 23. */
    return as_float(as_uint(x) | (uint)(bits & 0x8000u) << 16);
}
#else
#undef BD_ROUND_BY_STEPS /* it is faster */
#define BD_ROUND_BY_STEPS 1
/* Without branches, so that compilers vectorise it. */
static inline ushort bd_f16_bits(float x)
{
    uint bits = as_uint(x), sign = (bits >> 16) & 0x8000u;
    bits &= 0x7fffffffu;
    /* Below 2^-14 halves are multiples of 2^-24, which is the last place of floats in [0.5, 1): the addition rounds. */
    uint subnormal = as_uint(as_float(bits) + 0.5f) - as_uint(0.5f);
    /* Rebias the exponent by -112; add just less than half of the last place, and 1 more if that is odd. */
    uint normal = (bits - (112u << 23) + 0xfffu + ((bits >> 13) & 1u)) >> 13;
    uint magnitude = bits < (113u << 23) ? subnormal : normal;
    magnitude = magnitude > 0x7c00u ? 0x7c00u : magnitude;
    magnitude = bits > 0x7f800000u ? 0x7e00u : magnitude;
    return (ushort)(sign | magnitude);
}
static inline float bd_f16_value(ushort bits)
{
    uint sign = (uint)(bits & 0x8000u) << 16, magnitude = (uint)(bits & 0x7fffu) << 13;
    /* Subnormals: m * 2^-24 is (0.5 + m * 2^-24) - 0.5, with m in the last places of 0.5; exact. */
    float subnormal = as_float((magnitude >> 13) + as_uint(0.5f)) - 0.5f;
    float normal = as_float(magnitude + (magnitude >= 0x0f800000u ? 224u << 23 : 112u << 23));
    return as_float(as_uint(magnitude < 0x00800000u ? subnormal : normal) | sign);
}
#endif
static inline float bd_round_f16(float x)
{
#if BD_ROUND_BY_STEPS
    /* Adding and subtracting 2^(e + 13), where e is x's exponent but not below the halves' least, -14, leaves the bits
     * down to 2^(e - 10), rounded to nearest even. The upper clamp keeps the sum finite; infinity and NaN pass. */
    uint exponent = clamp(as_uint(x) & 0x7f800000u, 113u << 23, 143u << 23);
    float step = as_float(exponent + (13u << 23));
    float magnitude = (fabs(x) + step) - step;
    magnitude = magnitude >= 65536.0f ? INFINITY : magnitude;
    return copysign(magnitude, x);
#else
    return bd_f16_value(bd_f16_bits(x));
#endif
}

/* ---- loads and stores: i counts elements ---- */
#define BD_LOAD_f32(buffer, i) ((buffer)[i])
#if BD_HALF_STORAGE
#define BD_LOAD_f16(buffer, i) bd_f16_value((buffer)[i])
#define BD_STORE_f16(buffer, i, value) ((buffer)[i] = bd_f16_bits(value))
#else
#define BD_LOAD_f16(buffer, i) bd_f16_value((ushort)((buffer)[(uint)(i) >> 1] >> ((uint)(i) & 1u) * 16u))
#define BD_STORE_f16(buffer, i, value) bd_store_half(buffer, i, bd_f16_bits(value))
/* The other half of the word may be stored at the same time by another work-item. These bits have one owner, so the old ones
 * stand still, and an exclusive or with old ^ new changes them and nothing else. */
static inline void bd_store_half(__global uint *buffer, uint i, uint bits)
{
    __global uint *word = buffer + (i >> 1);
    const uint shift = (i & 1u) * 16u;
    atomic_xor(word, (((*word >> shift) ^ bits) & 0xffffu) << shift);
}
#endif
/* Four elements from i on, a multiple of 4: one aligned access, where halves are stored alone. */
#define BD_VALUE4 float4
#define BD_WORDS uint4
#define BD_LOAD4_f32(buffer, i) (*(const __global float4 *)((buffer) + (i)))
#if BD_NVIDIA /* one number: LLVM makes several loads of a vector whose elements are all that is used */
#define BD_LOAD4_f16(buffer, i) bd_f16_value4(*(const __global ulong *)((buffer) + (i)))
#define BD_STORE4_f16(buffer, i, x, y, z, w)                                                                           \
    (*(__global uint2 *)((buffer) + (i)) = (uint2)(bd_f16_bits2(x, y), bd_f16_bits2(z, w)))
static inline float4 bd_f16_value4(ulong bits)
{
    const uint low = (uint)bits, high = (uint)(bits >> 32);
    return (float4)(bd_f16_value((ushort)low), bd_f16_value((ushort)(low >> 16)), bd_f16_value((ushort)high),
                    bd_f16_value((ushort)(high >> 16)));
}
static inline uint bd_f16_bits2(float x, float y)
{
    uint bits;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(y), "f"(x));
    return bits;
}
#else
#define BD_LOAD4_f16(buffer, i) bd_f16_value4(*(const __global ushort4 *)((buffer) + (i)))
#define BD_STORE4_f16(buffer, i, x, y, z, w)                                                                           \
    (*(__global ushort4 *)((buffer) + (i)) = (ushort4)(bd_f16_bits(x), bd_f16_bits(y), bd_f16_bits(z), bd_f16_bits(w)))
static inline float4 bd_f16_value4(ushort4 bits)
{
    return (float4)(bd_f16_value(bits.x), bd_f16_value(bits.y), bd_f16_value(bits.z), bd_f16_value(bits.w));
}
#endif
#define BD_STORE4_f32(buffer, i, x, y, z, w) (*(__global float4 *)((buffer) + (i)) = (float4)(x, y, z, w))
#define BD_LOAD_u8(buffer, i) ((float)(buffer)[i])
#define BD_LOAD_u32(buffer, i) ((float)(buffer)[i])
#define BD_LOADU_u8(buffer, i) ((uint)(buffer)[i])
#define BD_LOADU_u32(buffer, i) ((buffer)[i])
#define BD_STORE_f32(buffer, i, value) ((buffer)[i] = (value))
#define BD_STORE_u8(buffer, i, value) ((buffer)[i] = convert_uchar_sat_rte(value))
#define BD_STORE_u32(buffer, i, value) ((buffer)[i] = convert_uint_sat_rte(value))
#define BD_STOREU_u32(buffer, i, value) ((buffer)[i] = (value))

/* ---- formats without a type of their own: floats of any exponent and mantissa, and whole numbers ----
 * The printer makes BD_TYPE_f, BD_SKIP_f, BD_LOAD_f and BD_STORE_f of such a format f from these, with what engine/format.c knows of
 * it as constants: bits of `exponent` and `mantissa`; `least`, the exponent field that the least normal value has as a float;
 * `largest`, the bits of the largest value as a float; `beyond`, what larger ones become. Integers do all but exact products, so
 * that no driver's habits count. `mode` is enum bd_round_mode; `random` matters to the last alone. */
#define BD_TYPE_b8 uchar
#define BD_SKIP_b8(buffer, count) ((buffer) + (count))
#define BD_LOAD_b8(buffer, i) ((uint)(buffer)[i])
#define BD_STORE_b8(buffer, i, bits) ((buffer)[i] = (uchar)(bits))
#define BD_TYPE_b16 BD_TYPE_f16
#define BD_SKIP_b16(buffer, count) BD_SKIP_f16(buffer, count)
#if BD_HALF_STORAGE
#define BD_LOAD_b16(buffer, i) ((uint)(buffer)[i])
#define BD_STORE_b16(buffer, i, bits) ((buffer)[i] = (ushort)(bits))
#else
#define BD_LOAD_b16(buffer, i) ((buffer)[(uint)(i) >> 1] >> ((uint)(i) & 1u) * 16u & 0xffffu)
#define BD_STORE_b16(buffer, i, bits) bd_store_half(buffer, i, bits)
#endif

/* Four codes at once. */
#define BD_LOAD4_b16(buffer, i) bd_codes4_b16(*(const __global ulong *)((buffer) + (i)))
#define BD_STORE4_b16(buffer, i, x, y, z, w)                                                                           \
    (*(__global uint2 *)((buffer) + (i)) = (uint2)((x) | (y) << 16, (z) | (w) << 16))
static inline uint4 bd_codes4_b16(ulong codes)
{
    const uint low = (uint)codes, high = (uint)(codes >> 32);
    return (uint4)(low & 0xffffu, low >> 16, high & 0xffffu, high >> 16);
}
#define BD_LOAD4_b8(buffer, i) bd_codes4_b8(*(const __global uint *)((buffer) + (i)))
#define BD_STORE4_b8(buffer, i, x, y, z, w)                                                                            \
    (*(__global uint *)((buffer) + (i)) = (x) | (y) << 8 | (z) << 16 | (w) << 24)
static inline uint4 bd_codes4_b8(uint codes)
{
    return (uint4)(codes & 0xffu, codes >> 8 & 0xffu, codes >> 16 & 0xffu, codes >> 24);
}

/* A float's magnitude, rounded to units of 2^(its exponent - mantissa), and below `least` of 2^(least - mantissa). */
static inline uint bd_round_magnitude(uint bits, uint mantissa, uint least, uint mode, uint random)
{
    const uint field = max(bits >> 23, 1u);
    const bool normal = field >= least;
    const uint digits = normal ? bits : (bits & 0x7fffffu) | (bits >= 0x800000u ? 0x800000u : 0u);
    const uint cut = 23u - mantissa + (normal ? 0u : least - field);
    const uint shift = min(cut, 31u); /* digits are less than 2^24 where `cut` is more */
    const uint units = digits >> shift, rest = digits - (units << shift);
    bool up = false;
    if (mode == 0u) {
        const bool odd = (units & 1u) != 0u || (mantissa == 0u && normal && units != 0u);
        up = rest + rest > 1u << shift || (rest + rest == 1u << shift && odd);
    } else if (mode == 3u) {
        const uint share = cut > 31u ? rest >> min(cut - 32u, 31u) : (rest << 1) << (31u - shift); /* of 2^32 */
        up = share > ~random;
    }
    /* (units + 1) << shift would do as well, but LLVM 19 (PoCL 6) gives up on it behind random numbers: "Instruction Combining did not
     * reach a fixpoint". */
    const uint above = (digits - rest) + (up ? 1u << shift : 0u);
    const uint result = normal ? above : as_uint((float)(units + (up ? 1u : 0u)) * as_float((least - mantissa) << 23));
    return mode == 2u && bits < least << 23 ? 0u : result;
}
static inline float bd_round_float(float x, uint mantissa, uint least, uint largest, uint beyond, uint mode, uint random)
{
    const uint bits = as_uint(x) & 0x7fffffffu, over = mode == 1u || mode == 2u ? largest : beyond;
    uint result = bd_round_magnitude(bits, mantissa, least, mode, random);
    result = result > largest ? over : result;
    result = bits >= 0x7f800000u ? (bits > 0x7f800000u ? 0x7fc00000u : beyond) : result;
    return as_float((as_uint(x) & 0x80000000u) | result);
}
/* BF16 is the upper half of a float: the nearest, ties to even, overflow to infinity, by a carry. */
static inline float bd_round_bf16(float x)
{
#if BD_NVIDIA_BF16
    uint bits = as_uint(x), nearest;
    asm("{ .reg .b16 low, high; mov.u16 low, 0; cvt.rn.bf16.f32 high, %1; mov.b32 %0, {low, high}; }" : "=r"(nearest) : "f"(x));
#else
    const uint bits = as_uint(x), nearest = (bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u;
#endif
    return as_float((bits & 0x7fffffffu) > 0x7f800000u ? (bits & 0x80000000u) | 0x7fc00000u : nearest);
}
/* The nearest of -most - 1 to most, or as `mode` says; NaN becomes 0. */
static inline float bd_round_whole(float x, float most, uint mode, uint random)
{
    const uint bits = as_uint(x) & 0x7fffffffu;
    const bool negative = as_uint(x) >= 0x80000000u;
    const float limit = negative ? most + 1.0f : most;
    const float magnitude = as_float(bd_round_magnitude(bits, 22u, 149u, mode == 2u ? 1u : mode, random));
    const float result = magnitude < limit ? magnitude : limit;
    return bits > 0x7f800000u || result == 0.0f ? 0.0f : (negative ? -result : result);
}
/* The bits of a value of the format, `nan` those of NaN; and back, `special` the bits of a float for what follows `last`, the code of
 * the largest value, all else beyond being NaN. */
static inline uint bd_encode_float(float x, uint exponent, uint mantissa, uint least, uint nan)
{
    const uint bits = as_uint(x) & 0x7fffffffu, sign = as_uint(x) >> 31 << (exponent + mantissa);
    const uint normal = (bits - ((least - 1u) << 23)) >> (23u - mantissa);
    const uint subnormal = (uint)(as_float(min(bits, least << 23)) * as_float((254u + mantissa - least) << 23));
    uint code = max(bits >> 23, 1u) >= least ? normal : subnormal;
    code = bits >= 0x7f800000u ? (bits > 0x7f800000u ? nan : ((1u << exponent) - 1u) << mantissa) : code;
    return sign | code;
}
static inline float bd_decode_float(uint bits, uint exponent, uint mantissa, uint least, uint last, uint special)
{
    const uint code = bits & ((1u << (exponent + mantissa)) - 1u), sign = bits >> (exponent + mantissa) << 31;
    const uint normal = (code << (23u - mantissa)) + ((least - 1u) << 23);
    const uint subnormal = as_uint((float)code * as_float((least - mantissa) << 23));
    uint result = code >> mantissa != 0u || least == 1u ? normal : subnormal;
    result = code > last ? (code == last + 1u ? special : 0x7fc00000u) : result;
    return as_float(sign | result);
}
static inline float4 bd_decode4_float(uint4 codes, uint exponent, uint mantissa, uint least, uint last, uint special)
{
    return (float4)(bd_decode_float(codes.x, exponent, mantissa, least, last, special),
                    bd_decode_float(codes.y, exponent, mantissa, least, last, special),
                    bd_decode_float(codes.z, exponent, mantissa, least, last, special),
                    bd_decode_float(codes.w, exponent, mantissa, least, last, special));
}
static inline uint bd_encode_whole(float x) { return (uint)(int)x & 0xffu; }
static inline float bd_decode_whole(uint bits) { return (float)((int)(bits << 24) >> 24); }
static inline float4 bd_decode4_whole(uint4 codes)
{
    return (float4)(bd_decode_whole(codes.x), bd_decode_whole(codes.y), bd_decode_whole(codes.z), bd_decode_whole(codes.w));
}

/* ---- elementwise ---- */
static inline float bd_abs(float x) { return fabs(x); }
/* NaN if either is: the comparison gives b if one is, and what follows a if it is that one. Two selections, no branch:
 * with || between the conditions PoCL's kernels jump, and mispredict. */
static inline float bd_max(float a, float b)
{
    float larger = a > b ? a : b;
    return a != a ? a : larger;
}
static inline float bd_min(float a, float b)
{
    float smaller = a < b ? a : b;
    return a != a ? a : smaller;
}
static inline float bd_normaliser(float x) { return as_float((254u - clamp(as_uint(x) >> 23 & 255u, 1u, 253u)) << 23); }
static inline float bd_nonfinite(float x) { return (as_uint(x) & 0x7f800000u) == 0x7f800000u ? 1.0f : 0.0f; }

//@include engine/tally_columns.h
/* A magnitude, and the column of bd_tally that counts a value. Bits, since a device may take subnormal numbers for 0. */
static inline uint bd_tally_bits(float x) { return as_uint(x) & 0x7fffffffu; }
static inline uint bd_tally_column(float x)
{
    const uint a = bd_tally_bits(x);
    const uint bin = (uint)clamp((int)(a >> 23) - 127 - BD_TALLY_FIRST, 0, BD_TALLY_BINS - 1);
    return a >= 0x7f800000u ? (uint)BD_TALLY_NONFINITE : a == 0u ? (uint)BD_TALLY_ZEROS : bin;
}

#define BD_DIV(a, b) ((a) / (b))
#define BD_SQRT(x) sqrt(x)

/* a / b within half an ULP and 2^-40 of it, where a / b and the residual are normal numbers: OpenCL allows 2.5 ULP,
 * and one Newton step from the residual mends that. A residual of 0 says that the quotient is right (and keeps the
 * sign of a zero); a NaN that it is infinite, NaN, or from an infinite operand, and right too. */
static inline float bd_quotient(float a, float b)
{
    float quotient = a / b;
#if BD_EXACT_DIVIDE
    return quotient;
#else
    float residual = fma(-quotient, b, a);
    float better = fma(residual, 1.0f / b, quotient);
    return residual == 0.0f || isnan(better) ? quotient : better;
#endif
}

/* ---- functions ----
 * OpenCL's own are accurate enough, but CPU drivers call them element by element: on PoCL 3.1 erf takes 29 ns, log 12
 * and tanh 11. These have no branches, and nothing that PoCL does not vectorise, as rint: 1 or 2. The largest
 * error seen on every 13th float, division correctly rounded, stands beside each. */

/* After expf of Moshier's Cephes library: x = n ln 2 + r, and a polynomial for exp(r). 1.01 ULP. */
static inline float bd_exp(float x)
{
    float limited = x < -104.0f ? -104.0f : (x > 89.0f ? 89.0f : x); /* 0 and infinity beyond; NaN stays */
    /* n = rint(x / ln 2), by adding 1.5 * 2^23, whose last place is 1. */
    float shifted = fma(limited, 1.44269504f, 12582912.0f);
    float n = shifted - 12582912.0f;
    float r = fma(n, -0.693359375f, limited);
    r = fma(n, 2.12194440e-4f, r);
    float p = 1.9875691500e-4f;
    p = fma(p, r, 1.3981999507e-3f);
    p = fma(p, r, 8.3334519073e-3f);
    p = fma(p, r, 4.1665795894e-2f);
    p = fma(p, r, 1.6666665459e-1f);
    p = fma(p, r, 5.0000001201e-1f);
    p = fma(p, r * r, r) + 1.0f;
    /* Times 2^n in two steps, so that neither overflows and a subnormal result is rounded once. */
    int exponent = as_int(shifted) - as_int(12582912.0f), first = exponent >> 1;
    return p * as_float((first + 127) << 23) * as_float((exponent - first + 127) << 23);
}

/* After logf of Cephes: x = m * 2^e with m in [sqrt(1/2), sqrt(2)), and a polynomial for ln m. 0.81 ULP. */
static inline float bd_log(float x)
{
    uint bits = as_uint(x);
    /* A subnormal x is so many times 2^-149. */
    bool subnormal = bits < 0x00800000u;
    uint normal = subnormal ? as_uint((float)bits) : bits;
    uint shifted = normal - 0x3f3504f3u + 0x3f800000u; /* sqrt(1/2) becomes 1 */
    float e = (float)((int)(shifted >> 23) - (subnormal ? 127 + 149 : 127));
    float f = as_float((shifted & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
    float z = f * f;
    float p = 7.0376836292e-2f;
    p = fma(p, f, -1.1514610310e-1f);
    p = fma(p, f, 1.1676998740e-1f);
    p = fma(p, f, -1.2420140846e-1f);
    p = fma(p, f, 1.4249322787e-1f);
    p = fma(p, f, -1.6668057665e-1f);
    p = fma(p, f, 2.0000714765e-1f);
    p = fma(p, f, -2.4999993993e-1f);
    p = fma(p, f, 3.3333331174e-1f);
    p = p * f * z;
    p = fma(e, -2.12194440e-4f, p);
    p = fma(z, -0.5f, p);
    p = f + p;
    p = fma(e, 0.693359375f, p);
    p = bits == 0x7f800000u ? x : p;
    p = bits > 0x7f800000u ? BD_NAN : p; /* NaN and negative */
    return (bits & 0x7fffffffu) == 0u ? -INFINITY : p;
}

/* After tanhf of Cephes. 1.31 ULP. */
static inline float bd_tanh(float x)
{
    float a = fabs(x), z = x * x;
    float p = -5.70498872745e-3f;
    p = fma(p, z, 2.06390887954e-2f);
    p = fma(p, z, -5.37397155531e-2f);
    p = fma(p, z, 1.33314422036e-1f);
    p = fma(p, z, -3.33332819422e-1f);
    float small = fma(p * z, x, x);
    float large = copysign(1.0f - 2.0f / (bd_exp(a + a) + 1.0f), x);
    return a < 0.625f ? small : large;
}

/* 2.4 ULP. In units of 2^-24 of the result, no more than 2.1 come from exp, 1 from the sum and 1 from the quotient:
 * within 5 ULP on every device. */
static inline float bd_sigmoid(float x)
{
    float t = bd_exp(-fabs(x)); /* never overflows */
    return bd_quotient(x < 0.0f ? t : 1.0f, 1.0f + t);
}

/* Of a number from 1 on. On NVIDIA within 1 ULP, as PTX has it: the correctly rounded one has branches, which keep neighbours' work apart. */
static inline float bd_reciprocal(float x)
{
#if BD_NVIDIA
    float result;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
#else
    return 1.0f / x;
#endif
}

/* Below 1 the Maclaurin series, whose next term, x^20 / (10! * 21), is under a quarter of an ULP. Above, Abramowitz and
 * Stegun 7.1.26, 1.5e-7 off at most, which is 2.5 ULP of a result of 0.84 or more. 3.3 ULP. */
static inline float bd_erf(float x)
{
    float a = fabs(x), z = x * x;
    float p = -1.4503852e-7f; /* (-1)^n / (n! (2n + 1)) from n = 9 on down */
    p = fma(p, z, 1.4589169e-6f);
    p = fma(p, z, -1.3227513e-5f);
    p = fma(p, z, 1.0683761e-4f);
    p = fma(p, z, -7.5757576e-4f);
    p = fma(p, z, 4.6296296e-3f);
    p = fma(p, z, -2.3809524e-2f);
    p = fma(p, z, 0.1f);
    p = fma(p, z, -3.3333333e-1f);
    p = fma(p * z, x, x);
    float small = p * 1.1283791671f; /* 2 / sqrt(pi) */
    float b = a > 4.0f ? 4.0f : a;   /* the result is 1 from 3.92 on */
    float t = bd_reciprocal(fma(0.3275911f, b, 1.0f));
    float q = 1.061405429f;
    q = fma(q, t, -1.453152027f);
    q = fma(q, t, 1.421413741f);
    q = fma(q, t, -0.284496736f);
    q = fma(q, t, 0.254829592f);
    float large = copysign(1.0f - q * t * bd_exp(-b * b), x);
    return a < 1.0f ? small : large;
}

/* The normal distribution's tail beyond b, 0 to 16, of which `density` is exp(-b b / 2): times its reciprocal that is a polynomial of
 * t = 1 / (1 + 0.35 b), fitted here to 3.3e-8 (Lawson's weighted least squares, of relative errors). No branch, and no cancellation. */
static inline float bd_normal_tail(float b, float density)
{
    float t = bd_reciprocal(fma(0.35f, b, 1.0f));
    float q = -2.91638602e-2f;
    q = fma(q, t, 1.44060968e-1f);
    q = fma(q, t, -2.5590322e-1f);
    q = fma(q, t, 1.59395638e-1f);
    q = fma(q, t, -2.32665349e-2f);
    q = fma(q, t, 1.05576298e-1f);
    q = fma(q, t, 1.19815029e-1f);
    q = fma(q, t, 1.39864413e-1f);
    q = fma(q, t, 1.39621253e-1f);
    return q * t * density;
}

/* x P(x), P the normal distribution. 5.4 ULP from 0 on, 11.3 from -5 on; below, b b is rounded: 69 ULP of 5e-38 at -13. */
static inline float bd_gelu(float x)
{
    float a = fabs(x), b = a > 16.0f ? 16.0f : a;
    float tail = b * bd_normal_tail(b, bd_exp(-0.5f * b * b));
    return (x > 0.0f ? x : 0.0f) - tail;
}

/* Its derivative, P(x) + x P'(x). 5.6 ULP; 5.6 * 2^-25 near its zero, -0.75. */
static inline float bd_gelu_slope(float x)
{
    float a = fabs(x), b = a > 16.0f ? 16.0f : a;
    float density = bd_exp(-0.5f * b * b);
    float below = bd_normal_tail(b, density) - 0.3989422804f * density * b; /* at -b */
    return x < 0.0f ? below : 1.0f - below;
}

static inline float bd_pow(float x, float y) { return pow(x, y); } /* 16 ULP, says OpenCL */

/* ---- arithmetic per format: operands hold numbers of the format, the result is the correctly rounded one ---- */
#define BD_ADD_f32(a, b) ((a) + (b))
#define BD_SUB_f32(a, b) ((a) - (b))
#define BD_MUL_f32(a, b) ((a) * (b))
#if BD_HALF_ARITHMETIC && BD_KHR_FP16
#define BD_ADD_f16(a, b) ((float)((half)(a) + (half)(b)))
#define BD_SUB_f16(a, b) ((float)((half)(a) - (half)(b)))
#define BD_MUL_f16(a, b) ((float)((half)(a) * (half)(b)))
#else
/* Rounding twice is harmless: 24 >= 2 * 11 + 2 (Figueroa, "When is double rounding innocuous?", SIGNUM 1995). On NVIDIA
 * too, although PTX has add.f16: 64 dependent operations on 2^24 halves take an H100 126 us this way and 149 us that
 * way, since values are floats between them. */
#define BD_ADD_f16(a, b) bd_round_f16((a) + (b))
#define BD_SUB_f16(a, b) bd_round_f16((a) - (b))
#define BD_MUL_f16(a, b) bd_round_f16((a) * (b))
#endif
/* Before the last rounding a quotient or root is within half an ULP of a float and 2^-40 of the exact one. That one is
 * either a midpoint of two halves, which is a float and comes out exactly, or at least 2^-23 (a quotient), or (1 +
 * 2^-12) half ULPs of a float (a root), away from any, so that its nearest float lies on the right side.
 * The residuals are exact: with q off by less than 4 ULP, a - q * b is a multiple of ulp(q) * ulp(b) and less than 4
 * ulp(q) * b, that is 2^13 of those; and halves are so far inside the range of floats that nothing is subnormal. */
static inline float bd_div_f16(float a, float b) { return bd_round_f16(bd_quotient(a, b)); }
static inline float bd_sqrt_f16(float x)
{
    float root = sqrt(x);
#if !BD_EXACT_DIVIDE
    float residual = fma(-root, root, x);
    float better = fma(residual, 0.5f / root, root);
    root = residual == 0.0f || isnan(better) ? root : better;
#endif
    return bd_round_f16(root);
}
#define BD_DIV_f16(a, b) bd_div_f16(a, b)
#define BD_SQRT_f16(x) bd_sqrt_f16(x)

/* ---- eights, for contractions on CPU drivers ---- */
#if BD_HALF_BUILTIN
static inline float8 bd_f16_value8(ushort8 bits)
{
    return (float8)(bd_f16_value(bits.s0), bd_f16_value(bits.s1), bd_f16_value(bits.s2), bd_f16_value(bits.s3),
                    bd_f16_value(bits.s4), bd_f16_value(bits.s5), bd_f16_value(bits.s6), bd_f16_value(bits.s7));
}
#else
/* As bd_f16_value. */
static inline float8 bd_f16_value8(ushort8 bits)
{
    uint8 wide = convert_uint8(bits), sign = (wide & 0x8000u) << 16, magnitude = (wide & 0x7fffu) << 13;
    float8 subnormal = as_float8((magnitude >> 13) + as_uint(0.5f)) - 0.5f;
    float8 normal = as_float8(magnitude + select((uint8)(112u << 23), (uint8)(224u << 23), magnitude >= 0x0f800000u));
    return as_float8(as_uint8(select(normal, subnormal, magnitude < 0x00800000u)) | sign);
}
#endif
/* As the last bd_round_f16 above. */
static inline float8 bd_round_f16_8(float8 x)
{
    uint8 exponent = clamp(as_uint8(x) & 0x7f800000u, 113u << 23, 143u << 23);
    float8 step = as_float8(exponent + (13u << 23));
    float8 magnitude = (fabs(x) + step) - step;
    magnitude = select(magnitude, (float8)(INFINITY), magnitude >= 65536.0f);
    return copysign(magnitude, x);
}
#define BD_LOAD8_f32(buffer, i) vload8(0, (buffer) + (i))
#if BD_HALF_STORAGE
#define BD_LOAD8_f16(buffer, i) bd_f16_value8(vload8(0, (buffer) + (i)))
#else
#define BD_LOAD8_f16(buffer, i)                                                                                        \
    (float8)(BD_LOAD_f16(buffer, i), BD_LOAD_f16(buffer, (i) + 1u), BD_LOAD_f16(buffer, (i) + 2u),                     \
             BD_LOAD_f16(buffer, (i) + 3u), BD_LOAD_f16(buffer, (i) + 4u), BD_LOAD_f16(buffer, (i) + 5u),              \
             BD_LOAD_f16(buffer, (i) + 6u), BD_LOAD_f16(buffer, (i) + 7u))
#endif
/* `count` elements of operand A or B from index `at` on; `to` is local. */
#define BD_COPY(operand, to, at, count)                                                                                \
    do {                                                                                                               \
        const uint at_ = (at), count_ = (count);                                                                       \
        uint i_ = 0u;                                                                                                  \
        for (; i_ + 8u <= count_; i_ += 8u)                                                                            \
            vstore8(operand##_GET8(at_ + i_), 0, (to) + i_);                                                           \
        for (; i_ < count_; i_++)                                                                                      \
            (to)[i_] = operand##_GET(at_ + i_);                                                                        \
    } while (0)

/* ---- random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) ---- */
static inline uint4 bd_philox(uint4 counter, uint2 key)
{
    /* Scalars and wide products: PoCL vectorises these over work-items, but neither uint4 nor mul_hi. */
    uint x = counter.x, y = counter.y, z = counter.z, w = counter.w, low = key.x, high = key.y;
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        ulong first = (ulong)0xd2511f53u * x, second = (ulong)0xcd9e8d57u * z;
        x = (uint)(second >> 32) ^ y ^ low;
        y = (uint)second;
        z = (uint)(first >> 32) ^ w ^ high;
        w = (uint)first;
        low += 0x9e3779b9u;
        high += 0xbb67ae85u;
    }
    return (uint4)(x, y, z, w);
}
/* The bits of four elements, from 4 `block` on. */
static inline uint4 bd_random_block(uint seed_low, uint seed_high, uint step, uint stream, uint block)
{
    return bd_philox((uint4)(block, stream, step, 0u), (uint2)(seed_low, seed_high));
}
static inline uint bd_random(uint seed_low, uint seed_high, uint step, uint stream, uint element)
{
    const uint4 bits = bd_random_block(seed_low, seed_high, step, stream, element / 4u);
    return (element & 2u) ? (element & 1u ? bits.w : bits.z) : (element & 1u ? bits.y : bits.x);
}
/* Uniform in [0, 1), 24 bits. */
static inline float bd_uniform(uint bits)
{
    return (float)(bits >> 8) * 0x1p-24f;
}
