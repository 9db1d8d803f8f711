/* What every OpenCL C kernel of Binade begins with: how values are loaded, rounded and stored, and the functions that
 * elementwise expressions use. All arithmetic is on 32-bit floats; a value of a 16-bit node is a float that a half can
 * hold. shaders/prelude.comp offers the same names in GLSL.
 *
 * Defined before it (0 or 1):
 *   by the printer, from bd_target: BD_HALF_ARITHMETIC  native half + - * were probed to be exact: they may be used
 *                                   BD_HALF_CONVERSION  the driver's float -> half conversion was probed to be exact
 *                                   BD_NVIDIA           inline PTX builds
 *                                   BD_CPU              a driver that runs on the CPU
 *   by the backend, as options:     BD_KHR_FP16         the device reports cl_khr_fp16 (the macro cl_khr_fp16 is not to
 *                                                       be trusted: Oclgrind defines it on devices without)
 *                                   BD_HALF_BUILTIN     clang's __builtin_store_halff was probed to be exact
 *                                   BD_EXACT_DIVIDE     / and sqrt() of floats are correctly rounded */
#ifndef BD_HALF_ARITHMETIC
#define BD_HALF_ARITHMETIC 0
#endif
#ifndef BD_HALF_CONVERSION
#define BD_HALF_CONVERSION 0
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
#define BD_AS_FLOAT(x) as_float(x)
#define BD_AS_UINT(x) as_uint(x)
#define BD_INFINITY INFINITY
#define BD_NAN as_float(0x7fc00000u)

/* ---- formats: the element type of a buffer; halves are stored as their bits ---- */
#define BD_TYPE_f32 float
#define BD_TYPE_f16 ushort
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
static inline float bd_round_f16(float x) { return bd_f16_value(bd_f16_bits(x)); }
#elif BD_HALF_CONVERSION && BD_KHR_FP16
static inline ushort bd_f16_bits(float x) { return as_ushort(convert_half_rte(x)); }
static inline float bd_f16_value(ushort bits) { return (float)as_half(bits); }
static inline float bd_round_f16(float x) { return (float)convert_half_rte(x); }
#elif BD_HALF_BUILTIN
/* Through a private variable that the compiler keeps in a register: LLVM sees fptrunc and fpext, which x86's F16C does
 * 8 at a time. Measured on PoCL 3.1, scaling a vector of halves: 0.11 ns an element, 0.67 by the integer routines
 * below, 2.2 by vload_half and vstore_half_rte. */
static inline ushort bd_f16_bits(float x)
{
    ushort bits;
    __builtin_store_halff(x, (half *)&bits);
    return bits;
}
static inline float bd_f16_value(ushort bits) { return __builtin_load_halff((const half *)&bits); }
static inline float bd_round_f16(float x) { return bd_f16_value(bd_f16_bits(x)); }
#else
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
static inline float bd_round_f16(float x)
{
    /* Adding and subtracting 2^(e + 13), where e is x's exponent but not below the halves' least, -14, leaves the bits
     * down to 2^(e - 10), rounded to nearest even. The upper clamp keeps the sum finite; infinity and NaN go through. */
    uint exponent = clamp(as_uint(x) & 0x7f800000u, 113u << 23, 143u << 23);
    float step = as_float(exponent + (13u << 23));
    float magnitude = (fabs(x) + step) - step;
    magnitude = magnitude >= 65536.0f ? INFINITY : magnitude;
    return copysign(magnitude, x);
}
#endif

/* ---- loads and stores: i counts elements ---- */
#define BD_LOAD_f32(buffer, i) ((buffer)[i])
#define BD_LOAD_f16(buffer, i) bd_f16_value((buffer)[i])
#define BD_LOAD_u8(buffer, i) ((float)(buffer)[i])
#define BD_LOAD_u32(buffer, i) ((float)(buffer)[i])
#define BD_LOADU_u8(buffer, i) ((uint)(buffer)[i])
#define BD_LOADU_u32(buffer, i) ((buffer)[i])
#define BD_STORE_f32(buffer, i, value) ((buffer)[i] = (value))
#define BD_STORE_f16(buffer, i, value) ((buffer)[i] = bd_f16_bits(value))
#define BD_STORE_u8(buffer, i, value) ((buffer)[i] = convert_uchar_sat_rte(value))
#define BD_STORE_u32(buffer, i, value) ((buffer)[i] = convert_uint_sat_rte(value))
#define BD_STOREU_u32(buffer, i, value) ((buffer)[i] = (value))

/* ---- elementwise ---- */
static inline float bd_abs(float x) { return fabs(x); }
/* NaN if either is: an unordered comparison is false, so b is returned unless a is the NaN. */
static inline float bd_max(float a, float b) { return a > b || a != a ? a : b; }
static inline float bd_min(float a, float b) { return a < b || a != a ? a : b; }
static inline float bd_nonfinite(float x) { return (as_uint(x) & 0x7f800000u) == 0x7f800000u ? 1.0f : 0.0f; }

#define BD_DIV(a, b) ((a) / (b))
#define BD_SQRT(x) sqrt(x)

static inline float bd_exp(float x) { return exp(x); }
static inline float bd_log(float x) { return log(x); }
static inline float bd_tanh(float x) { return tanh(x); }
static inline float bd_erf(float x) { return erf(x); }
static inline float bd_pow(float x, float y) { return pow(x, y); }
static inline float bd_sigmoid(float x) { return 1.0f / (1.0f + bd_exp(-x)); }

/* ---- arithmetic per format: operands hold numbers of the format, the result is the correctly rounded one ---- */
#define BD_ADD_f32(a, b) ((a) + (b))
#define BD_SUB_f32(a, b) ((a) - (b))
#define BD_MUL_f32(a, b) ((a) * (b))
#if BD_HALF_ARITHMETIC && BD_NVIDIA
static inline float bd_add_f16(float a, float b)
{
    ushort sum;
    asm("add.rn.f16 %0, %1, %2;" : "=h"(sum) : "h"(bd_f16_bits(a)), "h"(bd_f16_bits(b)));
    return bd_f16_value(sum);
}
static inline float bd_sub_f16(float a, float b)
{
    ushort difference;
    asm("sub.rn.f16 %0, %1, %2;" : "=h"(difference) : "h"(bd_f16_bits(a)), "h"(bd_f16_bits(b)));
    return bd_f16_value(difference);
}
static inline float bd_mul_f16(float a, float b)
{
    ushort product;
    asm("mul.rn.f16 %0, %1, %2;" : "=h"(product) : "h"(bd_f16_bits(a)), "h"(bd_f16_bits(b)));
    return bd_f16_value(product);
}
#define BD_ADD_f16(a, b) bd_add_f16(a, b)
#define BD_SUB_f16(a, b) bd_sub_f16(a, b)
#define BD_MUL_f16(a, b) bd_mul_f16(a, b)
#elif BD_HALF_ARITHMETIC && BD_KHR_FP16
#define BD_ADD_f16(a, b) ((float)((half)(a) + (half)(b)))
#define BD_SUB_f16(a, b) ((float)((half)(a) - (half)(b)))
#define BD_MUL_f16(a, b) ((float)((half)(a) * (half)(b)))
#else
/* Rounding twice is harmless: 24 >= 2 * 11 + 2 (Figueroa, "When is double rounding innocuous?", SIGNUM 1995). */
#define BD_ADD_f16(a, b) bd_round_f16((a) + (b))
#define BD_SUB_f16(a, b) bd_round_f16((a) - (b))
#define BD_MUL_f16(a, b) bd_round_f16((a) * (b))
#endif
/* Division and square root may be off by 2.5 and 3 ULP in OpenCL. One Newton step from the exact residual brings the
 * float within half an ULP and 2^-40; the exact result is either a midpoint of two halves, which then comes out exactly,
 * or at least 2^-23 (division; square root: (1 + 2^-12) half ULP of a float) away from any, so that its nearest float lies
 * on the right side and rounding to half is right.
 * The residual is exact: with q off by less than 4 ULP, a - q * b is a multiple of ulp(q) * ulp(b), and less than
 * 4 ulp(q) * b, that is 2^13 of those. A residual of 0 says that the quotient is right (and keeps the sign of a zero);
 * a NaN that it was infinite, NaN, or from an infinite operand, and right too. */
static inline float bd_div_f16(float a, float b)
{
    float quotient = a / b;
#if !BD_EXACT_DIVIDE
    float residual = fma(-quotient, b, a);
    float better = fma(residual, 1.0f / b, quotient);
    quotient = residual == 0.0f || isnan(better) ? quotient : better;
#endif
    return bd_round_f16(quotient);
}
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

/* ---- random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) ---- */
static inline uint4 bd_philox(uint4 counter, uint2 key)
{
    for (int round = 0; round < 10; ++round) {
        uint high0 = mul_hi(0xd2511f53u, counter.x), low0 = 0xd2511f53u * counter.x;
        uint high1 = mul_hi(0xcd9e8d57u, counter.z), low1 = 0xcd9e8d57u * counter.z;
        counter = (uint4)(high1 ^ counter.y ^ key.x, low1, high0 ^ counter.w ^ key.y, low0);
        key += (uint2)(0x9e3779b9u, 0xbb67ae85u);
    }
    return counter;
}
/* Uniform in [0, 1), 24 bits. */
static inline float bd_uniform(uint seed_low, uint seed_high, uint step, uint stream, uint element)
{
    uint4 random = bd_philox((uint4)(element, stream, step, 0u), (uint2)(seed_low, seed_high));
    return (float)(random.x >> 8) * 0x1p-24f;
}
