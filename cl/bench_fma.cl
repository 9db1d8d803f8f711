/* Multiply-adds and nothing else: `binade bench --suite peak`. Each work-item has eight values of its own, so that a unit's
 * latency is hidden. With a = -1, x becomes b - x, then x again: whole numbers, exact in every format, so that the result
 * is known. Parameters: rounds of 16 steps, a, b, base. BD_DOT: x counts from `base`, whose bytes are multiplied by a's and
 * taken off again by b. */
#ifndef BD_WIDTH /* so that the skeleton compiles alone */
#define BD_LOCAL 64, 1, 1
#define BD_WIDTH 1 /* elements of a value */
#define BD_F32 1   /* one of BD_F32, BD_F16, BD_BF16 and BD_DOT: four INT8 in a word, summed in INT32 */
#endif

#if defined BD_DOT
typedef int value;
#define START(x) ((int)(parameters[3] + (uint)(x)))
#define FACTOR(bits) ((int)(bits))
#define TOTAL(x) ((float)((x) - (int)parameters[3]))
#if BD_NVIDIA
static inline int bd_multiply_add(int x, int a, int b)
{
    int result;
    asm volatile("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(result) : "r"(x), "r"(a), "r"(b));
    return result;
}
#define FMA(x, a, b) bd_multiply_add(x, a, b)
#else
#define FMA(x, a, b) (dot_4x8packed_ss_int(as_uint(x), as_uint(a)) + (b))
#endif
#elif defined BD_BF16 || (defined BD_F16 && BD_NVIDIA) /* OpenCL has no BF16, NVIDIA's no cl_khr_fp16; PTX has both */
typedef uint value;
#ifdef BD_BF16
#define BITS(x) (as_uint(x) >> 16)
#define FLOAT(bits) as_float((bits) << 16)
#define NAME "bf16"
#else
#define BITS(x) (uint)bd_f16_bits(x)
#define FLOAT(bits) bd_f16_value((ushort)(bits))
#define NAME "f16"
#endif
static inline uint bd_both(float x) { return BITS(x) * (BD_WIDTH == 2 ? 0x10001u : 1u); }
static inline uint bd_multiply_add(uint x, uint a, uint b)
{
    uint result;
#if BD_WIDTH == 2
    asm volatile("fma.rn." NAME "x2 %0, %1, %2, %3;" : "=r"(result) : "r"(x), "r"(a), "r"(b));
#else
    ushort bits;
    asm volatile("fma.rn." NAME " %0, %1, %2, %3;" : "=h"(bits) : "h"((ushort)x), "h"((ushort)a), "h"((ushort)b));
    result = bits;
#endif
    return result;
}
#define START(x) bd_both(x)
#define FACTOR(bits) bd_both(as_float(bits))
#define TOTAL(x) (FLOAT((x) & 0xffffu) + (BD_WIDTH == 2 ? FLOAT((x) >> 16) : 0.0f))
#define FMA(x, a, b) bd_multiply_add(x, a, b)
#else
#ifdef BD_F16
#define ELEMENT half
#else
#define ELEMENT float
#endif
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#if BD_WIDTH == 1
typedef ELEMENT value;
#define TOTAL(x) ((float)(x))
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
#define TOTAL(x) bd_total(x)
#endif
#define START(x) ((value)((ELEMENT)(x)))
#define FACTOR(bits) START(as_float(bits))
#define FMA(x, a, b) fma(x, a, b)
#endif

#define STEP                                                                                                           \
    x0 = FMA(x0, a, b), x1 = FMA(x1, a, b), x2 = FMA(x2, a, b), x3 = FMA(x3, a, b);                                    \
    x4 = FMA(x4, a, b), x5 = FMA(x5, a, b), x6 = FMA(x6, a, b), x7 = FMA(x7, a, b)

__kernel __attribute__((reqd_work_group_size(BD_LOCAL))) void binade(__global const uint *parameters, __global float *out,
                                                                     ulong unused0, ulong unused1)
{
    const uint i = (uint)get_global_id(0), rounds = parameters[0]; /* buffers are bound from their beginning */
    const value a = FACTOR(parameters[1]), b = FACTOR(parameters[2]);
    const float start = (float)(i % 16u);
    value x0 = START(start), x1 = START(start + 1.0f), x2 = START(start + 2.0f), x3 = START(start + 3.0f);
    value x4 = START(start + 4.0f), x5 = START(start + 5.0f), x6 = START(start + 6.0f), x7 = START(start + 7.0f);
    for (uint round = 0; round < rounds; round++) {
        STEP; STEP; STEP; STEP; STEP; STEP; STEP; STEP;
        STEP; STEP; STEP; STEP; STEP; STEP; STEP; STEP;
    }
    STEP; /* an odd number, or the start would be right */
    out[i] = TOTAL(x0) + TOTAL(x1) + TOTAL(x2) + TOTAL(x3) + TOTAL(x4) + TOTAL(x5) + TOTAL(x6) + TOTAL(x7);
}
