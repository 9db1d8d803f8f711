/* Multiply-adds and nothing else: `binade bench --suite peak`. Each work-item has eight values of its own, so that a unit's
 * latency is hidden. With a = -1, x becomes b - x, then x again: whole numbers, exact in every format, so that the result
 * is known. Parameters: rounds of 16 steps, a, b. */
#ifndef BD_WIDTH /* so that the skeleton compiles alone */
#define BD_LOCAL 64, 1, 1
#define BD_WIDTH 1  /* elements of a value */
#define BD_HALVES 0 /* 1: of FP16 */
#endif

#if BD_HALVES && BD_NVIDIA /* no cl_khr_fp16 there, but PTX has it */
typedef uint value;
static inline uint bd_both(float x) { return (uint)bd_f16_bits(x) * (BD_WIDTH == 2 ? 0x10001u : 1u); }
static inline uint bd_multiply_add(uint x, uint a, uint b)
{
    uint result;
#if BD_WIDTH == 2
    asm volatile("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(result) : "r"(x), "r"(a), "r"(b));
#else
    ushort bits;
    asm volatile("fma.rn.f16 %0, %1, %2, %3;" : "=h"(bits) : "h"((ushort)x), "h"((ushort)a), "h"((ushort)b));
    result = bits;
#endif
    return result;
}
static inline float bd_total(uint x)
{
    return bd_f16_value((ushort)x) + (BD_WIDTH == 2 ? bd_f16_value((ushort)(x >> 16)) : 0.0f);
}
#define VALUE(x) bd_both(x)
#define FMA(x, a, b) bd_multiply_add(x, a, b)
#else
#if BD_HALVES
#define ELEMENT half
#else
#define ELEMENT float
#endif
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#if BD_WIDTH == 1
typedef ELEMENT value;
static inline float bd_total(value x) { return (float)x; }
#else
typedef JOIN(ELEMENT, BD_WIDTH) value;
static inline float bd_total(value x)
{
#if BD_WIDTH == 8
    return (float)x.s0 + (float)x.s1 + (float)x.s2 + (float)x.s3 + (float)x.s4 + (float)x.s5 + (float)x.s6 + (float)x.s7;
#else
    return (float)x.s0 + (float)x.s1;
#endif
}
#endif
#define VALUE(x) ((value)((ELEMENT)(x)))
#define FMA(x, a, b) fma(x, a, b)
#endif

#define STEP                                                                                                           \
    x0 = FMA(x0, a, b), x1 = FMA(x1, a, b), x2 = FMA(x2, a, b), x3 = FMA(x3, a, b);                                    \
    x4 = FMA(x4, a, b), x5 = FMA(x5, a, b), x6 = FMA(x6, a, b), x7 = FMA(x7, a, b)

__kernel __attribute__((reqd_work_group_size(BD_LOCAL))) void binade(__global const uint *parameters, __global float *out,
                                                                     ulong unused0, ulong unused1)
{
    const uint i = (uint)get_global_id(0), rounds = parameters[0]; /* buffers are bound from their beginning */
    const value a = VALUE(as_float(parameters[1])), b = VALUE(as_float(parameters[2]));
    const float start = (float)(i % 16u);
    value x0 = VALUE(start), x1 = VALUE(start + 1.0f), x2 = VALUE(start + 2.0f), x3 = VALUE(start + 3.0f);
    value x4 = VALUE(start + 4.0f), x5 = VALUE(start + 5.0f), x6 = VALUE(start + 6.0f), x7 = VALUE(start + 7.0f);
    for (uint round = 0; round < rounds; round++) {
        STEP; STEP; STEP; STEP; STEP; STEP; STEP; STEP;
        STEP; STEP; STEP; STEP; STEP; STEP; STEP; STEP;
    }
    STEP; /* an odd number, or the start would be right */
    out[i] = bd_total(x0) + bd_total(x1) + bd_total(x2) + bd_total(x3) + bd_total(x4) + bd_total(x5) + bd_total(x6) +
             bd_total(x7);
}
