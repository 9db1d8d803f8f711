/* Products of operands of 8 bits by Hopper's wgmma and nothing else: `binade bench --suite peak`. Each work-group of four warps has sums of
 * 64 x BD_N, to which A B of 32 steps is added and from which it is taken, in turns; operands stay in local memory, in squares of eight lines by
 * 16 codes. Whole numbers, so that the result is known: A B. Parameters: rounds of 16 products; from word 4 on A (64 lines of 32 codes), -A and
 * B' (BD_N lines). What only sm_90a has stands behind "//+", as in contraction_codes.cl. */
#ifndef BD_N /* so that the skeleton compiles alone */
#define BD_LOCAL 128, 1, 1
#define BD_N 256u
#define BD_SUM float
#define MULTIPLY_GROUP(c, a, b, keep)
#endif
#define ITEMS 128u
#define LINES 64u
#define LOCAL(pointer) ((uint)(size_t)(pointer))
#define SQUARES(address) ((ulong)(((address) & 0x3ffffu) >> 4) | (ulong)8u << 16 | (ulong)16u << 32)
#define ASM_NEWER(text) asm volatile("//+" text "\n" : : : "memory")

/* A line's two pieces of 16 codes lie in squares beside each other. */
static inline void copy(__local uint4 *to, __global const uint4 *from, const uint lines, const uint item)
{
    for (uint i = item; i < lines * 2u; i += ITEMS)
        to[i / 16u * 16u + (i & 1u) * 8u + i / 2u % 8u] = from[i];
}

__kernel __attribute__((reqd_work_group_size(BD_LOCAL))) void binade(__global const uint *parameters, __global float *out,
                                                                     ulong unused0, ulong unused1)
{
    __local __attribute__((aligned(1024))) uint4 panels[(2u * LINES + BD_N) * 2u];
    __global const uint4 *codes = (__global const uint4 *)(parameters + 4);
    const uint rounds = parameters[0], item = (uint)get_local_id(0), lane = item % 32u;
    copy(panels, codes, LINES, item);
    copy(panels + LINES * 2u, codes + LINES * 2u, LINES, item);
    copy(panels + LINES * 4u, codes + LINES * 4u, BD_N, item);
    const ulong plus = SQUARES(LOCAL(panels)), minus = SQUARES(LOCAL(panels + LINES * 2u)), b = SQUARES(LOCAL(panels + LINES * 4u));
    BD_SUM sum[BD_N / 2u];
#pragma unroll
    for (uint e = 0u; e < BD_N / 2u; e++)
        sum[e] = 0;
    ASM_NEWER("fence.proxy.async.shared::cta;");
    barrier(CLK_LOCAL_MEM_FENCE);
    ASM_NEWER("wgmma.fence.sync.aligned;");
    for (uint round = 0u; round < rounds; round++) {
#pragma unroll
        for (uint step = 0u; step < 8u; step++) {
            MULTIPLY_GROUP(sum, plus, b, 1);
            MULTIPLY_GROUP(sum, minus, b, 1);
        }
        ASM_NEWER("wgmma.commit_group.sync.aligned;");
        ASM_NEWER("wgmma.wait_group.sync.aligned 1;");
    }
    MULTIPLY_GROUP(sum, plus, b, 1);
    ASM_NEWER("wgmma.commit_group.sync.aligned;");
    ASM_NEWER("wgmma.wait_group.sync.aligned 0;");
    __global float *result = out + get_group_id(0) * LINES * BD_N + (item / 32u * 16u + (lane >> 2)) * BD_N + (lane & 3u) * 2u;
#pragma unroll
    for (uint e = 0u; e < BD_N / 2u; e++)
        result[(e >> 1 & 1u) * 8u * BD_N + e / 4u * 8u + (e & 1u)] = (float)sum[e];
}
