// What every GLSL kernel of Binade begins with: the same names as cl/prelude.cl, in the other dialect.
//
// Defined before it, by what the device was probed to do (include/binade/device.h):
//   BD_HALF_STORAGE     16-bit elements can be loaded and stored alone; else two halves share a word
//   BD_HALF_CONVERSION  the driver converts between FP32 and FP16 exactly; else integers do it here
//   BD_HALF_ARITHMETIC  the driver's + - * on halves are correctly rounded; else FP32 computes and one rounding follows
// and by the backend:
//   BD_FLOAT16          the driver has a half type outside of buffers
//   BD_HALF_ROUND       how a float is rounded to a half and stays a float. Compilers know conversions there and back and
//                       may drop both (NVIDIA's does), so only what was probed: 0 FP32 arithmetic, 1 to the half type
//                       and back, 2 packHalf2x16 and back
// and by the printer:
//   BD_MATRIX           the kernel uses cooperative matrices: 1 KHR's, 2 also NVIDIA's second extension
// There is no #version here: the backend gives it to the compiler.
#ifndef BD_HALF_STORAGE
#define BD_HALF_STORAGE 0
#endif
#ifndef BD_HALF_CONVERSION
#define BD_HALF_CONVERSION 0
#endif
#ifndef BD_HALF_ARITHMETIC
#define BD_HALF_ARITHMETIC 0
#endif
#ifndef BD_MATRIX
#define BD_MATRIX 0
#endif
#ifndef BD_FLOAT16
#define BD_FLOAT16 0
#endif
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : enable
#extension GL_KHR_shader_subgroup_shuffle : enable
#if !defined BD_HALF_ROUND || !BD_HALF_CONVERSION
#undef BD_HALF_ROUND
#define BD_HALF_ROUND 0
#endif
#if BD_HALF_STORAGE
#extension GL_EXT_shader_16bit_storage : require
#endif
#if BD_FLOAT16
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#endif

#if BD_MATRIX > 1
#extension GL_NV_cooperative_matrix2 : require
#endif
#if BD_MATRIX
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_int8 : require
#extension GL_EXT_shader_explicit_arithmetic_types_int16 : require
#extension GL_KHR_shader_subgroup_basic : require
#pragma use_vulkan_memory_model
#endif

// ---- words that the two dialects spell differently ----

// `precise` forbids the compiler to contract, reassociate or drop the operations behind a value: each rounds once.
#define BD_VALUE precise float
#define BD_FLOAT(x) float(x)
#define BD_UINT(x) uint(x)
#define BD_INT(x) int(x)
#define BD_UINT4(x, y, z, w) uvec4(x, y, z, w)
// && and || branch, and so does ?: now and then. SwiftShader's compiler takes twice the time and memory for each branch in a
// row: where many may stand in unrolled loops, conditions are joined by these and values chosen by mix().
#define BD_BOTH(a, b) bool(uint(a) & uint(b))
#define BD_EITHER(a, b) bool(uint(a) | uint(b))
#define BD_BARRIER barrier()
#define BD_ITEM gl_LocalInvocationIndex
#define BD_COUNT(buffer, i) atomicAdd(buffer[i], 1u)
// What an invocation stored in coherent buffers before it is seen by all that loads after it, once an atomic operation has told of it.
#define BD_DEVICE_FENCE memoryBarrierBuffer()
#define BD_AS_FLOAT(x) uintBitsToFloat(x)
#define BD_AS_UINT(x) floatBitsToUint(x)
#define BD_AS_FLOAT4(x) uintBitsToFloat(x)
#define BD_INFINITY uintBitsToFloat(0x7f800000u)
#define BD_NAN uintBitsToFloat(0x7fc00000u)

// ---- rounding to halves ----

bool bd_is_nan(float x)
{
    return (floatBitsToUint(x) & 0x7fffffffu) > 0x7f800000u; // drivers may drop x != x
}

// The value of a half's bits; exact. Integers, since drivers flush subnormals on their way.
float bd_decode_f16(uint bits)
{
#if BD_HALF_CONVERSION
    return unpackHalf2x16(bits & 0xffffu).x;
#else
    uint magnitude = bits & 0x7fffu;
    uint exponent = bits & 0x7c00u;
    uint normal = (magnitude << 13) + (exponent == 0x7c00u ? 0x70000000u : 0x38000000u);
    uint subnormal = floatBitsToUint(float(magnitude) * 5.9604644775390625e-8f); // 2^-24
    return uintBitsToFloat((exponent == 0u ? subnormal : normal) | ((bits & 0x8000u) << 16));
#endif
}

// The nearest half, ties to even. With c = 2^(e+13) for |x| in [2^e, 2^(e+1)), c's unit in the last place is 2^(e-10),
// a half's at x; so |x| + c rounds as the half must, and taking c away again is exact. Below 2^-14 halves have one
// spacing, 2^-24; from 65520 up the result reaches 65536, which is infinity. No subnormal FP32 number occurs.
float bd_round_f16(float x)
{
#if BD_HALF_ROUND == 1
    return float(float16_t(x));
#elif BD_HALF_ROUND == 2
    return unpackHalf2x16(packHalf2x16(vec2(x, 0.0f)) & 0xffffu).x;
#else
    uint bits = floatBitsToUint(x);
    uint exponent = clamp(bits & 0x7f800000u, 0x38800000u, 0x47800000u);
    precise float c = uintBitsToFloat(exponent + (13u << 23));
    precise float sum = uintBitsToFloat(bits & 0x7fffffffu) + c;
    precise float magnitude = sum - c;
    magnitude = mix(magnitude, BD_INFINITY, magnitude >= 65536.0f); // keeps NaN
    return uintBitsToFloat(floatBitsToUint(magnitude) | (bits & 0x80000000u));
#endif
}

// The bits of a float that holds a half.
uint bd_encode_f16(float x)
{
#if BD_HALF_CONVERSION
    return packHalf2x16(vec2(x, 0.0f)) & 0xffffu;
#else
    uint bits = floatBitsToUint(x);
    uint magnitude = bits & 0x7fffffffu;
    uint result;
    if (magnitude >= 0x7f800000u)
        result = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
    else if (magnitude < 0x38800000u)
        result = uint(uintBitsToFloat(magnitude) * 16777216.0f); // subnormal: a whole number of 2^-24
    else
        result = (magnitude - 0x38000000u) >> 13;
    return result | ((bits >> 16) & 0x8000u);
#endif
}

// ---- buffers: BD_TYPE_f declares the elements of a buffer of format f ----

#define BD_TYPE_f32 float
#define BD_TYPE_u32 uint
#define BD_TYPE_u8 uint // four to a word
#if !BD_HALF_STORAGE
#define BD_TYPE_f16 uint // two to a word
#elif BD_HALF_CONVERSION
#define BD_TYPE_f16 float16_t
#else
#define BD_TYPE_f16 uint16_t // the driver's conversions are not to be trusted, so only bits go through it
#endif

// Loads give a float; LOADU gives a whole number as it is.
#define BD_LOAD_f32(buffer, i) (buffer[i])
#define BD_LOAD_u32(buffer, i) float(buffer[i])
#define BD_LOAD_u8(buffer, i) float(BD_LOADU_u8(buffer, i))
#define BD_LOADU_u32(buffer, i) (buffer[i])
#define BD_LOADU_u8(buffer, i) ((buffer[uint(i) >> 2] >> ((uint(i) & 3u) * 8u)) & 0xffu)
#if !BD_HALF_STORAGE
#define BD_LOAD_f16(buffer, i) bd_decode_f16(buffer[uint(i) >> 1] >> ((uint(i) & 1u) * 16u))
#elif BD_HALF_CONVERSION
#define BD_LOAD_f16(buffer, i) float(buffer[i])
#else
#define BD_LOAD_f16(buffer, i) bd_decode_f16(uint(buffer[i]))
#endif

// Four elements from i on, a multiple of 4, of a buffer declared in fours.
#define BD_VALUE4 precise vec4
#define BD_WORDS uvec4
#define BD_FOUR_f32 vec4
#define BD_FOUR_f16 uvec2
#define BD_LOAD4_f32(fours, i) fours[(i) / 4u]
#define BD_LOAD4_f16(fours, i) bd_decode4_f16(fours[(i) / 4u])
#define BD_STORE4_f32(fours, i, x, y, z, w) fours[(i) / 4u] = vec4(x, y, z, w)
#define BD_STORE4_f16(fours, i, x, y, z, w) fours[(i) / 4u] = uvec2(bd_encode2_f16(x, y), bd_encode2_f16(z, w))
vec4 bd_decode4_f16(uvec2 bits)
{
#if BD_HALF_CONVERSION
    return vec4(unpackHalf2x16(bits.x), unpackHalf2x16(bits.y));
#else
    return vec4(bd_decode_f16(bits.x), bd_decode_f16(bits.x >> 16), bd_decode_f16(bits.y), bd_decode_f16(bits.y >> 16));
#endif
}
uint bd_encode2_f16(float x, float y)
{
#if BD_HALF_CONVERSION
    return packHalf2x16(vec2(x, y));
#else
    return bd_encode_f16(x) | bd_encode_f16(y) << 16;
#endif
}

// Texels: what CPU drivers' kernels read. Mesa 22.3's lavapipe takes 5 ns to fetch eight of them, 50 to load from a buffer.
#define BD_TEXELS_f32 samplerBuffer
#define BD_TEXELS_f16 samplerBuffer
#define BD_TEXELS_u32 usamplerBuffer
#define BD_TEXELS_u8 usamplerBuffer
#define BD_FETCH(texels, i) float(texelFetch(texels, int(i)).x)
#define BD_FETCHU(texels, i) texelFetch(texels, int(i)).x
#define BD_FETCH2(texels, i) texelFetch(texels, int((i) >> 1))[(i) & 1u] // of two to a texel
#define BD_FETCH4(texels, i) texelFetch(texels, int((i) >> 2))[(i) & 3u] // of four
#define BD_FETCH_FOUR(texels, i) texelFetch(texels, int((i) >> 2))

// Stores take a float that was rounded to the format before.
#define BD_STORE_f32(buffer, i, value) buffer[i] = (value)
#define BD_STORE_u32(buffer, i, value) buffer[i] = bd_whole_u32(value)
#define BD_STOREU_u32(buffer, i, value) buffer[i] = (value)
// The neighbours in a word may be stored at the same time by other invocations. These bits have one owner, so the old ones
// stand still, and an exclusive or with old ^ new changes them and nothing else.
#define BD_STORE_BITS(word, shift, mask, bits) atomicXor(word, ((((word) >> (shift)) ^ (bits)) & (mask)) << (shift))
#define BD_STORE_u8(buffer, i, value) \
    BD_STORE_BITS(buffer[uint(i) >> 2], (uint(i) & 3u) * 8u, 0xffu, min(bd_whole_u32(value), 255u))
#if !BD_HALF_STORAGE
#define BD_STORE_f16(buffer, i, value) \
    BD_STORE_BITS(buffer[uint(i) >> 1], (uint(i) & 1u) * 16u, 0xffffu, bd_encode_f16(value))
#elif BD_HALF_CONVERSION
#define BD_STORE_f16(buffer, i, value) buffer[i] = float16_t(value)
#else
#define BD_STORE_f16(buffer, i, value) buffer[i] = uint16_t(bd_encode_f16(value))
#endif

// ---- formats without a type of their own: floats of any exponent and mantissa, and whole numbers ----
// The printer makes BD_TYPE_f, BD_SKIP_f, BD_LOAD_f and BD_STORE_f of such a format f from these, with what engine/format.c knows of
// it as constants: bits of `exponent` and `mantissa`; `least`, the exponent field that the least normal value has as a float;
// `largest`, the bits of the largest value as a float; `beyond`, what larger ones become. Integers do all but exact products, so
// that no driver's habits count. `mode` is enum bd_round_mode; `random` matters to the last alone.
#define BD_TYPE_b8 uint // four to a word
#define BD_LOAD_b8(buffer, i) BD_LOADU_u8(buffer, i)
#define BD_STORE_b8(buffer, i, bits) BD_STORE_BITS(buffer[uint(i) >> 2], (uint(i) & 3u) * 8u, 0xffu, bits)
#if BD_HALF_STORAGE
#define BD_TYPE_b16 uint16_t
#define BD_LOAD_b16(buffer, i) uint(buffer[i])
#define BD_STORE_b16(buffer, i, bits) buffer[i] = uint16_t(bits)
#else
#define BD_TYPE_b16 uint // two to a word
#define BD_LOAD_b16(buffer, i) ((buffer[uint(i) >> 1] >> ((uint(i) & 1u) * 16u)) & 0xffffu)
#define BD_STORE_b16(buffer, i, bits) BD_STORE_BITS(buffer[uint(i) >> 1], (uint(i) & 1u) * 16u, 0xffffu, bits)
#endif

// Four codes at once, of a buffer declared in fours.
#define BD_FOUR_b16 uvec2
#define BD_LOAD4_b16(fours, i) bd_codes4_b16(fours[(i) / 4u])
#define BD_STORE4_b16(fours, i, x, y, z, w) fours[(i) / 4u] = uvec2((x) | (y) << 16, (z) | (w) << 16)
uvec4 bd_codes4_b16(uvec2 codes)
{
    return uvec4(codes.x & 0xffffu, codes.x >> 16, codes.y & 0xffffu, codes.y >> 16);
}
#define BD_FOUR_b8 uint
#define BD_LOAD4_b8(fours, i) bd_codes4_b8(fours[(i) / 4u])
#define BD_STORE4_b8(fours, i, x, y, z, w) fours[(i) / 4u] = (x) | (y) << 8 | (z) << 16 | (w) << 24
uvec4 bd_codes4_b8(uint codes)
{
    return uvec4(codes & 0xffu, codes >> 8 & 0xffu, codes >> 16 & 0xffu, codes >> 24);
}

// A float's magnitude, rounded to units of 2^(its exponent - mantissa), and below `least` of 2^(least - mantissa).
uint bd_round_magnitude(uint bits, uint mantissa, uint least, uint mode, uint random)
{
    const uint field = max(bits >> 23, 1u);
    const bool normal = field >= least;
    const uint digits = normal ? bits : (bits & 0x7fffffu) | (bits >= 0x800000u ? 0x800000u : 0u);
    const uint cut = 23u - mantissa + (normal ? 0u : least - field);
    const uint shift = min(cut, 31u); // digits are less than 2^24 where `cut` is more
    const uint units = digits >> shift, rest = digits - (units << shift);
    bool up = false;
    if (mode == 0u) {
        const bool odd = (units & 1u) != 0u || (mantissa == 0u && normal && units != 0u);
        up = rest + rest > 1u << shift || (rest + rest == 1u << shift && odd);
    } else if (mode == 3u) {
        const uint share = cut > 31u ? rest >> min(cut - 32u, 31u) : (rest << 1) << (31u - shift); // of 2^32
        up = share > ~random;
    }
    const uint above = (digits - rest) + (up ? 1u << shift : 0u);
    const uint result =
        normal ? above : floatBitsToUint(float(units + (up ? 1u : 0u)) * uintBitsToFloat((least - mantissa) << 23));
    return mode == 2u && bits < least << 23 ? 0u : result;
}

float bd_round_float(float x, uint mantissa, uint least, uint largest, uint beyond, uint mode, uint random)
{
    const uint bits = floatBitsToUint(x) & 0x7fffffffu, over = mode == 1u || mode == 2u ? largest : beyond;
    uint result = bd_round_magnitude(bits, mantissa, least, mode, random);
    result = result > largest ? over : result;
    result = bits >= 0x7f800000u ? (bits > 0x7f800000u ? 0x7fc00000u : beyond) : result;
    return uintBitsToFloat((floatBitsToUint(x) & 0x80000000u) | result);
}

// BF16 is the upper half of a float: the nearest, ties to even, overflow to infinity, by a carry.
float bd_round_bf16(float x)
{
    const uint bits = floatBitsToUint(x), nearest = (bits + 0x7fffu + ((bits >> 16u) & 1u)) & 0xffff0000u;
    return uintBitsToFloat((bits & 0x7fffffffu) > 0x7f800000u ? (bits & 0x80000000u) | 0x7fc00000u : nearest);
}

// The nearest of -most - 1 to most, or as `mode` says; NaN becomes 0.
float bd_round_whole(float x, float most, uint mode, uint random)
{
    const uint bits = floatBitsToUint(x) & 0x7fffffffu;
    const bool negative = floatBitsToUint(x) >= 0x80000000u;
    const float limit = negative ? most + 1.0f : most;
    const float magnitude = uintBitsToFloat(bd_round_magnitude(bits, 22u, 149u, mode == 2u ? 1u : mode, random));
    const float result = magnitude < limit ? magnitude : limit;
    return bits > 0x7f800000u || result == 0.0f ? 0.0f : (negative ? -result : result);
}

// The bits of a value of the format, `nan` those of NaN; and back, `special` the bits of a float for what follows `last`, the code of
// the largest value, all else beyond being NaN.
uint bd_encode_float(float x, uint exponent, uint mantissa, uint least, uint nan)
{
    const uint bits = floatBitsToUint(x) & 0x7fffffffu, sign = floatBitsToUint(x) >> 31 << (exponent + mantissa);
    const uint normal = (bits - ((least - 1u) << 23)) >> (23u - mantissa);
    const uint subnormal = uint(uintBitsToFloat(min(bits, least << 23)) * uintBitsToFloat((254u + mantissa - least) << 23));
    uint code = max(bits >> 23, 1u) >= least ? normal : subnormal;
    code = bits >= 0x7f800000u ? (bits > 0x7f800000u ? nan : ((1u << exponent) - 1u) << mantissa) : code;
    return sign | code;
}

float bd_decode_float(uint bits, uint exponent, uint mantissa, uint least, uint last, uint special)
{
    const uint code = bits & ((1u << (exponent + mantissa)) - 1u), sign = bits >> (exponent + mantissa) << 31;
    const uint normal = (code << (23u - mantissa)) + ((least - 1u) << 23);
    const uint subnormal = floatBitsToUint(float(code) * uintBitsToFloat((least - mantissa) << 23));
    uint result = code >> mantissa != 0u || least == 1u ? normal : subnormal;
    result = code > last ? (code == last + 1u ? special : 0x7fc00000u) : result;
    return uintBitsToFloat(sign | result);
}

vec4 bd_decode4_float(uvec4 codes, uint exponent, uint mantissa, uint least, uint last, uint special)
{
    return vec4(bd_decode_float(codes.x, exponent, mantissa, least, last, special),
                bd_decode_float(codes.y, exponent, mantissa, least, last, special),
                bd_decode_float(codes.z, exponent, mantissa, least, last, special),
                bd_decode_float(codes.w, exponent, mantissa, least, last, special));
}

uint bd_encode_whole(float x)
{
    return uint(int(x)) & 0xffu;
}

float bd_decode_whole(uint bits)
{
    return float(int(bits << 24) >> 24);
}
vec4 bd_decode4_whole(uvec4 codes)
{
    return vec4(bd_decode_whole(codes.x), bd_decode_whole(codes.y), bd_decode_whole(codes.z), bd_decode_whole(codes.w));
}

// The nearest whole number within range.
uint bd_whole_u32(float x)
{
    if (!(x > 0.0f))
        return 0u;
    return x >= 4294967296.0f ? 0xffffffffu : uint(roundEven(x));
}

// ---- arithmetic per format: operands hold numbers of the format, and so does the result, correctly rounded ----

#define BD_ADD_f32(a, b) ((a) + (b))
#define BD_SUB_f32(a, b) ((a) - (b))
#define BD_MUL_f32(a, b) ((a) * (b))
#define BD_DIV(a, b) ((a) / (b))
#define BD_SQRT(x) bd_sqrt(x)

// Of a subnormal through its integer bits, n * 2^-149, since drivers may flush it: sqrt(2 n) * 2^-75.
float bd_sqrt(float x)
{
    uint bits = floatBitsToUint(x);
    if (bits > 0x80000000u)
        return BD_NAN; // negative, or NaN
    precise float r = bits < 0x00800000u ? sqrt(float(bits) * 2.0f) * 2.6469779601696886e-23f : sqrt(x);
    return bits == 0x80000000u ? x : r;
}

// FP32 has 24 >= 2 * 11 + 2 bits, so a correctly rounded FP32 sum, difference or product of halves rounds to the correct
// half (Figueroa, "When is double rounding innocuous?", SIGNUM 1995).
float BD_ADD_f16(float a, float b)
{
#if BD_HALF_ARITHMETIC && BD_FLOAT16
    precise float16_t r = float16_t(a) + float16_t(b);
    return float(r);
#else
    precise float r = a + b;
    return bd_round_f16(r);
#endif
}

float BD_SUB_f16(float a, float b)
{
#if BD_HALF_ARITHMETIC && BD_FLOAT16
    precise float16_t r = float16_t(a) - float16_t(b);
    return float(r);
#else
    precise float r = a - b;
    return bd_round_f16(r);
#endif
}

float BD_MUL_f16(float a, float b)
{
#if BD_HALF_ARITHMETIC && BD_FLOAT16
    precise float16_t r = float16_t(a) * float16_t(b);
    return float(r);
#else
    precise float r = a * b;
    return bd_round_f16(r);
#endif
}

// Vulkan lets a division be 2.5 ULP off. A quotient of halves that is not a tie lies at least 2 FP32 ULP from the next one:
// for a tie m of 12 bits, |a - m b| is a multiple of 2^-11 ulp-scaled units and b < 2^11 of them. So one exact correction
// suffices. Let h be the first 11 bits of q ~ a / b. Then h * b has 22 bits and a - h * b at most 12, both exact in FP32
// (every magnitude lies in [2^-60, 2^48]), and h + (a - h * b) / b is a / b to little more than half an FP32 ULP.
// Where the residual is NaN (an operand is 0, infinite or NaN) q is the answer already.
float BD_DIV_f16(float a, float b)
{
    precise float q = a / b;
    precise float h = uintBitsToFloat(floatBitsToUint(q) & 0xffffe000u);
    precise float product = h * b;
    precise float residual = a - product;
    precise float corrected = h + residual / b;
    float r = (residual > 0.0f || residual < 0.0f) ? corrected : (residual == 0.0f ? h : q);
    return bd_round_f16(r);
}

// The root's first 11 bits h, then the exact question on which side of the tie m = h + half a unit x lies: m has 12 bits, so
// m * m is exact, and is never x, whose 11 bits cannot hold its last one. Truncating may give the h below or above when
// the root is next to a half; then too the answer is the nearest.
float BD_SQRT_f16(float x)
{
    if (x < 0.0f || bd_is_nan(x))
        return BD_NAN;
    uint h = floatBitsToUint(sqrt(x)) & 0xffffe000u;
    precise float m = uintBitsToFloat(h + 0x1000u);
    precise float square = m * m;
    return uintBitsToFloat(x > square ? h + 0x2000u : h); // 0 and infinity give themselves
}

// ---- functions of FP32 ----

float bd_abs(float x)
{
    return uintBitsToFloat(floatBitsToUint(x) & 0x7fffffffu);
}

float bd_max(float a, float b)
{
    return mix(b, a, BD_EITHER(bd_is_nan(a), a > b));
}

float bd_min(float a, float b)
{
    return mix(b, a, BD_EITHER(bd_is_nan(a), a < b));
}

float bd_normaliser(float x)
{
    return uintBitsToFloat((254u - clamp(floatBitsToUint(x) >> 23 & 255u, 1u, 253u)) << 23);
}

float bd_nonfinite(float x)
{
    return (floatBitsToUint(x) & 0x7f800000u) == 0x7f800000u ? 1.0f : 0.0f;
}

//@include engine/tally_columns.h
// A magnitude, and the column of bd_tally that counts a value. Bits, since a device may take subnormal numbers for 0.
uint bd_tally_bits(float x) { return floatBitsToUint(x) & 0x7fffffffu; }
uint bd_tally_column(float x)
{
    uint a = bd_tally_bits(x);
    uint bin = uint(clamp(int(a >> 23) - 127 - BD_TALLY_FIRST, 0, BD_TALLY_BINS - 1));
    return a >= 0x7f800000u ? uint(BD_TALLY_NONFINITE) : a == 0u ? uint(BD_TALLY_ZEROS) : bin;
}

// p * 2^n, |n| <= 252: two steps, so that a subnormal result is rounded once.
float bd_scale(float p, int n)
{
    int first = n >> 1;
    precise float r = p * uintBitsToFloat(uint(first + 127) << 23);
    r = r * uintBitsToFloat(uint(n - first + 127) << 23);
    return r;
}

// exp(x + low), |low| far below x's last place or 0. After expf of Moshier's Cephes library: x = n ln 2 + r, and a polynomial
// for exp(r). Vulkan's own may be 3 + 2 |x| ULP off.
float bd_exp_sum(float x, float low)
{
    if (bd_is_nan(x))
        return x;
    if (x > 89.0f)
        return BD_INFINITY;
    if (x < -105.0f)
        return 0.0f;
    precise float n = floor(x * 1.44269504f + 0.5f);
    precise float r = x - n * 0.693359375f; // 9 bits: exact
    r = r + n * 2.12194440e-4f;
    r = r + low;
    precise float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    return bd_scale(p, int(n));
}

float bd_exp(float x)
{
    return bd_exp_sum(x, 0.0f);
}

// x > 0 as m * 2^e with m in [sqrt(1/2), sqrt(2)); a subnormal x counts in its integer bits, which no driver flushes.
float bd_split(float x, out float e)
{
    uint bits = floatBitsToUint(x);
    int bias = 127;
    if (bits < 0x00800000u) {
        bits = floatBitsToUint(float(bits));
        bias = 127 + 149;
    }
    uint shifted = bits - 0x3f3504f3u + 0x3f800000u; // sqrt(1/2) becomes 1
    e = float(int(shifted >> 23) - bias);
    return uintBitsToFloat((shifted & 0x007fffffu) + 0x3f3504f3u);
}

// After logf of Moshier's Cephes library.
float bd_log(float x)
{
    uint bits = floatBitsToUint(x);
    if (bits == 0u || bits == 0x80000000u)
        return -BD_INFINITY;
    if (bits > 0x7f800000u) // negative or NaN
        return BD_NAN;
    if (bits == 0x7f800000u)
        return BD_INFINITY;
    float e;
    precise float f = bd_split(x, e) - 1.0f;
    precise float z = f * f;
    precise float p = 7.0376836292e-2f;
    p = p * f - 1.1514610310e-1f;
    p = p * f + 1.1676998740e-1f;
    p = p * f - 1.2420140846e-1f;
    p = p * f + 1.4249322787e-1f;
    p = p * f - 1.6668057665e-1f;
    p = p * f + 2.0000714765e-1f;
    p = p * f - 2.4999993993e-1f;
    p = p * f + 3.3333331174e-1f;
    p = p * f * z;
    p = p - e * 2.12194440e-4f;
    p = p - 0.5f * z;
    p = f + p;
    p = p + e * 0.693359375f;
    return p;
}

// After tanhf of Moshier's Cephes library. Vulkan's own may overflow inside.
float bd_tanh(float x)
{
    float a = bd_abs(x);
    precise float r;
    if (a < 0.625f) {
        precise float z = x * x;
        precise float p = -5.70498872745e-3f;
        p = p * z + 2.06390887954e-2f;
        p = p * z - 5.37397155531e-2f;
        p = p * z + 1.33314422036e-1f;
        p = p * z - 3.33332819422e-1f;
        r = p * z * x + x;
    } else {
        precise float t = bd_exp(a > 10.0f ? 20.0f : a + a); // from 9.02 on the result is 1
        r = 1.0f - 2.0f / (t + 1.0f);
        r = x < 0.0f ? -r : r;
    }
    return r;
}

float bd_sigmoid(float x)
{
    precise float t = bd_exp(-bd_abs(x)); // never overflows
    precise float r = (x < 0.0f ? t : 1.0f) / (1.0f + t);
    return r;
}

// Below 1 the Maclaurin series, whose next term, x^20 / (10! * 21), is under a quarter of an ULP. Above, Abramowitz and
// Stegun 7.1.26, 1.5e-7 off at most, which is 2.5 ULP of a result of 0.84 or more.
float bd_erf(float x)
{
    float a = bd_abs(x);
    precise float r;
    if (a < 1.0f) {
        precise float z = x * x;
        precise float p = -1.4503852e-7f; // (-1)^n / (n! (2n + 1)) from n = 9 on down
        p = p * z + 1.4589169e-6f;
        p = p * z - 1.3227513e-5f;
        p = p * z + 1.0683761e-4f;
        p = p * z - 7.5757576e-4f;
        p = p * z + 4.6296296e-3f;
        p = p * z - 2.3809524e-2f;
        p = p * z + 0.1f;
        p = p * z - 3.3333333e-1f;
        p = p * z * x + x;
        r = p * 1.1283791671f; // 2 / sqrt(pi)
    } else {
        float b = a > 4.0f ? 4.0f : a; // the result is 1 from 3.92 on
        precise float t = 1.0f / (1.0f + 0.3275911f * b);
        precise float p = 1.061405429f;
        p = p * t - 1.453152027f;
        p = p * t + 1.421413741f;
        p = p * t - 0.284496736f;
        p = p * t + 0.254829592f;
        r = 1.0f - p * t * bd_exp(-b * b);
        r = x < 0.0f ? -r : r;
    }
    return r;
}

// The normal distribution's tail beyond b, 0 to 16, of which `density` is exp(-b b / 2): times its reciprocal that is a polynomial of
// t = 1 / (1 + 0.35 b), fitted here to 3.3e-8 (Lawson's weighted least squares, of relative errors). No branch, and no cancellation.
float bd_normal_tail(float b, float density)
{
    precise float t = 1.0f / (1.0f + 0.35f * b);
    precise float q = -2.91638602e-2f;
    q = q * t + 1.44060968e-1f;
    q = q * t - 2.5590322e-1f;
    q = q * t + 1.59395638e-1f;
    q = q * t - 2.32665349e-2f;
    q = q * t + 1.05576298e-1f;
    q = q * t + 1.19815029e-1f;
    q = q * t + 1.39864413e-1f;
    q = q * t + 1.39621253e-1f;
    q = q * t * density;
    return q;
}

// x P(x), P the normal distribution; below -5, b b is rounded, which counts for up to 70 ULP of what is less than 2^-22.
float bd_gelu(float x)
{
    float a = bd_abs(x), b = a > 16.0f ? 16.0f : a;
    precise float tail = b * bd_normal_tail(b, bd_exp(-0.5f * b * b));
    precise float r = (x > 0.0f ? x : 0.0f) - tail;
    return r;
}

// Its derivative, P(x) + x P'(x).
float bd_gelu_slope(float x)
{
    float a = bd_abs(x), b = a > 16.0f ? 16.0f : a;
    float density = bd_exp(-0.5f * b * b);
    precise float below = bd_normal_tail(b, density) - 0.3989422804f * density * b; // at -b
    precise float r = x < 0.0f ? below : 1.0f - below;
    return r;
}

// a * b as the rounded product and its exact error, by halving the significands (Dekker, Numerische Mathematik 1971).
float bd_two_product(float a, float b, out float error)
{
    precise float product = a * b;
    precise float ah = uintBitsToFloat(floatBitsToUint(a) & 0xfffff000u), al = a - ah;
    precise float bh = uintBitsToFloat(floatBitsToUint(b) & 0xfffff000u), bl = b - bh;
    precise float e = ah * bh - product;
    e = e + ah * bl;
    e = e + al * bh;
    e = e + al * bl;
    error = e;
    return product;
}

// x^y for finite x > 0: exp(y ln x), with ln x as a sum of two floats, since its error grows by |y ln x| <= 104.
// ln m = 2 s + 2 s^3 / 3 + ..., s = (m - 1) / (m + 1): the first term is kept to 2^-46, the rest, at most 1% of it, to 2^-23.
float bd_pow_positive(float x, float y)
{
    float e;
    float m = bd_split(x, e);
    precise float numerator = m - 1.0f, denominator = m + 1.0f;
    precise float rest = m - (denominator - 1.0f); // m + 1 = denominator + rest
    precise float s = numerator / denominator;
    float product_error;
    precise float product = bd_two_product(s, denominator, product_error);
    precise float s_low = ((numerator - product) - product_error - s * rest) / denominator;
    precise float z = s * s;
    precise float p = 0.22222222f; // 2 / (2n + 1) from n = 4 on down
    p = p * z + 0.28571429f;
    p = p * z + 0.4f;
    p = p * z + 0.66666667f;
    p = p * z * s + 2.0f * s_low - e * 2.12194440e-4f;
    precise float high = e * 0.693359375f; // 9 bits: exact
    precise float sum = high + 2.0f * s;
    precise float low = (high - sum) + 2.0f * s; // |high| > |2 s| or 0
    low = low + p;
    precise float log_high = sum + low;
    precise float log_low = (sum - log_high) + low;
    precise float estimate = y * log_high;
    if (estimate > 89.0f)
        return BD_INFINITY;
    if (estimate < -105.0f)
        return 0.0f;
    float error;
    precise float t = bd_two_product(y, log_high, error);
    precise float t_low = error + y * log_low;
    return bd_exp_sum(t, t_low);
}

// The special cases are C's (ISO/IEC 9899, F.10.4.4).
float bd_pow(float x, float y)
{
    uint mx = floatBitsToUint(x) & 0x7fffffffu, my = floatBitsToUint(y) & 0x7fffffffu;
    if (my == 0u || floatBitsToUint(x) == 0x3f800000u)
        return 1.0f;
    if (mx > 0x7f800000u || my > 0x7f800000u)
        return BD_NAN;
    bool x_negative = floatBitsToUint(x) >= 0x80000000u, y_negative = floatBitsToUint(y) >= 0x80000000u;
    if (my == 0x7f800000u) {
        if (mx == 0x3f800000u)
            return 1.0f;
        return (mx > 0x3f800000u) != y_negative ? BD_INFINITY : 0.0f;
    }
    bool whole = my >= 0x4b000000u || floor(y) == y; // from 2^23 on every number is whole
    bool odd = whole && my < 0x4b800000u && (uint(uintBitsToFloat(my)) & 1u) == 1u;
    float r;
    if (mx == 0u || mx == 0x7f800000u)
        r = (mx == 0u) != y_negative ? 0.0f : BD_INFINITY;
    else if (x_negative && !whole)
        return BD_NAN;
    else
        r = bd_pow_positive(uintBitsToFloat(mx), y);
    return x_negative && odd ? -r : r;
}

// ---- random numbers: Philox4x32-10 (Salmon et al., SC 2011) ----

uvec4 bd_philox(uvec2 key, uvec4 counter)
{
    for (int round = 0; round < 10; round++) {
        uint high0, low0, high1, low1;
        umulExtended(0xd2511f53u, counter.x, high0, low0);
        umulExtended(0xcd9e8d57u, counter.z, high1, low1);
        counter = uvec4(high1 ^ counter.y ^ key.x, low1, high0 ^ counter.w ^ key.y, low0);
        key += uvec2(0x9e3779b9u, 0xbb67ae85u);
    }
    return counter;
}

// The bits of four elements, from 4 `block` on.
uvec4 bd_random_block(uint seed_low, uint seed_high, uint step, uint stream, uint block)
{
    return bd_philox(uvec2(seed_low, seed_high), uvec4(block, stream, step, 0u));
}

uint bd_random(uint seed_low, uint seed_high, uint step, uint stream, uint element)
{
    uvec4 bits = bd_random_block(seed_low, seed_high, step, stream, element / 4u);
    return (element & 2u) != 0u ? ((element & 1u) != 0u ? bits.w : bits.z) : ((element & 1u) != 0u ? bits.y : bits.x);
}

// In [0, 1), a multiple of 2^-24.
float bd_uniform(uint bits)
{
    return float(bits >> 8) * 5.9604644775390625e-8f;
}
