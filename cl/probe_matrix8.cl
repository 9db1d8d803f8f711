/* Finds out, when a device is opened, whether mma.sync, or wgmma (WARPGROUP), multiplies operands of 8 bits rightly as contraction_codes.cl uses
 * it, and how many bits its sums of floats keep (backends/probe_codes.c): C = A B, 64x64 by 64x16, once with both operands as
 * contraction_codes.cl copies them, in lines, once as it turns them round, in squares. `in` is A[64][64], then B[64][16]; `out` both results.
 * TYPE_A and TYPE_B are numbers of bd_unit_code. */
#ifndef OFFSETS
#define OFFSETS /* arguments that Vulkan's launches have */
#endif
#ifndef TYPE_A /* so that it compiles alone */
#define TYPE_A 0
#define TYPE_B 1
#define WARPGROUP 0
#endif
#define E4M3 0
#define E5M2 1
#define S8 2
#define U8 3
#if TYPE_A == E4M3
#define NAME_A "e4m3"
#elif TYPE_A == E5M2
#define NAME_A "e5m2"
#elif TYPE_A == S8
#define NAME_A "s8"
#else
#define NAME_A "u8"
#endif
#if TYPE_B == E4M3
#define NAME_B "e4m3"
#elif TYPE_B == E5M2
#define NAME_B "e5m2"
#else
#define NAME_B "s8"
#endif
#if TYPE_A < S8
typedef float unit_sum;
#define SUM "f32"
#define SIGNS ", 1, 1"
#define REGISTER "+f"
#else
typedef int unit_sum;
#define SUM "s32"
#define SIGNS ""
#define REGISTER "+r"
#endif
#define COUNT 128u
#define LOCAL(pointer) ((uint)(size_t)(pointer))
/* Where a number lies in a panel. */
#define IN_LINES(line, k) ((line) * 128u + ((k) / 16u ^ ((line) & 7u)) * 16u + (k) % 16u)
#define EIGHT 1040u
#define IN_SQUARES(line, k) ((line) / 8u * EIGHT + (k) / 16u * 128u + ((line) & 7u) * 16u + (k) % 16u)

/* c = a b: `leading`, `stride` and `pattern` tell wgmma what PLACE does. */
#if WARPGROUP
#define MATRIX(address, leading, stride, pattern)                                                          \
    ((ulong)(((address) & 0x3ffffu) >> 4) | (ulong)(leading) << 16 | (ulong)(stride) << 32 | (ulong)(pattern) << 62)
#define ASM_NEWER(text) asm volatile("//+" text "\n" : : : "memory")
#define MULTIPLY(a, b, keep)                                                                                           \
    asm volatile("//+{ .reg .pred p; setp.ne.b32 p, %10, 0; wgmma.mma_async.sync.aligned.m64n16k32." SUM "." NAME_A    \
                 "." NAME_B " {%0, %1, %2, %3, %4, %5, %6, %7}, %8, %9, p" SIGNS "; }\n"                               \
                 : REGISTER(c[0]), REGISTER(c[1]), REGISTER(c[2]), REGISTER(c[3]), REGISTER(c[4]), REGISTER(c[5]),     \
                   REGISTER(c[6]), REGISTER(c[7])                                                                      \
                 : "l"(a), "l"(b), "r"(keep)                                                                           \
                 : "memory")
#define PRODUCT(PLACE, leading, stride, pattern)                                                                       \
    ASM_NEWER("fence.proxy.async.shared::cta;");                                                                       \
    barrier(CLK_LOCAL_MEM_FENCE);                                                                                      \
    ASM_NEWER("wgmma.fence.sync.aligned;");                                                                            \
    MULTIPLY(MATRIX(LOCAL(a), leading, stride, pattern), MATRIX(LOCAL(b), leading, stride, pattern), 0);               \
    MULTIPLY(MATRIX(LOCAL(a) + PLACE(0u, 32u), leading, stride, pattern),                                              \
             MATRIX(LOCAL(b) + PLACE(0u, 32u), leading, stride, pattern), 1);                                          \
    ASM_NEWER("wgmma.commit_group.sync.aligned;");                                                                     \
    ASM_NEWER("wgmma.wait_group.sync.aligned 0;");                                                                     \
    barrier(CLK_LOCAL_MEM_FENCE)
#else
#define LOAD4(r, at)                                                                    \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"    \
                 : "=r"((r)[0]), "=r"((r)[1]), "=r"((r)[2]), "=r"((r)[3]) : "r"(LOCAL(at)) : "memory")
#define MULTIPLY(c, a, b)                                                                                              \
    asm volatile("mma.sync.aligned.m16n8k32.row.col." SUM "." NAME_A "." NAME_B "." SUM                                \
                 " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                                    \
                 : REGISTER((c)[0]), REGISTER((c)[1]), REGISTER((c)[2]), REGISTER((c)[3])                              \
                 : "r"((a)[0]), "r"((a)[1]), "r"((a)[2]), "r"((a)[3]), "r"((b)[0]), "r"((b)[1]))
#define PRODUCT(PLACE, leading, stride, pattern)                                                                       \
    barrier(CLK_LOCAL_MEM_FENCE);                                                                                      \
    for (uint j = 0u; j < 8u; j++)                                                                                     \
        c[j] = 0;                                                                                                      \
    for (uint k = 0u; k < 64u; k += 32u) {                                                                             \
        const uint lane = item % 32u;                                                                                  \
        uint left[4], right[4];                                                                                        \
        LOAD4(left, a + PLACE(item / 32u * 16u + (lane & 15u), k + (lane >> 4) * 16u));                                \
        LOAD4(right, b + PLACE((lane & 7u) + (lane >> 4) * 8u, k + (lane >> 3 & 1u) * 16u));                           \
        MULTIPLY(c, left, right);                                                                                      \
        MULTIPLY(c + 4, left, right + 2);                                                                              \
    }                                                                                                                  \
    barrier(CLK_LOCAL_MEM_FENCE)
#endif

static inline void store(__global float *out, const uint item, const unit_sum *c)
{
    for (uint j = 0u; j < 8u; j++)
        out[(item / 32u * 16u + item % 32u / 4u + (j / 2u & 1u) * 8u) * 16u + j / 4u * 8u + item % 4u * 2u + j % 2u] =
            (float)c[j];
}

__kernel __attribute__((reqd_work_group_size(COUNT, 1, 1))) void binade(__global const uchar *in, __global float *out OFFSETS)
{
    __local __attribute__((aligned(1024))) uchar panels[16384];
    __local uchar *a = panels, *b = panels + 9216;
    const uint item = (uint)get_local_id(0);
    unit_sum c[8] = { 0, 0, 0, 0, 0, 0, 0, 0 };
    for (uint i = item; i < 64u * 64u; i += COUNT)
        a[IN_LINES(i / 64u, i % 64u)] = in[i];
    for (uint i = item; i < 64u * 16u; i += COUNT)
        b[IN_LINES(i % 16u, i / 16u)] = in[4096u + i];
    PRODUCT(IN_LINES, 1u, 64u, 1u);
    store(out, item, c);
    for (uint i = item; i < 64u * 64u; i += COUNT)
        a[IN_SQUARES(i / 64u, i % 64u)] = in[i];
    for (uint i = item; i < 64u * 16u; i += COUNT)
        b[IN_SQUARES(i % 16u, i / 16u)] = in[4096u + i];
    PRODUCT(IN_SQUARES, 8u, EIGHT / 16u, 0u);
    store(out + 1024, item, c);
}
