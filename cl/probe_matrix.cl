/* Finds out, when a device is opened, whether mma.sync and what goes with it compute rightly as contraction_matrix.cl uses them
 * (backends/opencl/probe_matrix.c). LOCAL_BYTES: of local memory, which the device must have for a tile. */
#ifndef LOCAL_BYTES /* so that it compiles alone */
#define LOCAL_BYTES 49152
#define MATRIX_BF16 0
#endif
#define LANES 32u
#define LOCAL(pointer) ((uint)(size_t)(pointer))
#define COPY(to, from) \
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" : : "r"(LOCAL(to)), "l"(from), "r"(16) : "memory")
#define LOAD4(r, turn, at)                                                              \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4" turn ".shared.b16 {%0, %1, %2, %3}, [%4];" \
                 : "=r"((r)[0]), "=r"((r)[1]), "=r"((r)[2]), "=r"((r)[3]) : "r"(LOCAL(at)) : "memory")
#if MATRIX_BF16
#define FORMATS "bf16.bf16"
#else
#define FORMATS "f16.f16"
#endif
#define MULTIPLY(c, a, b)                                                                                     \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." FORMATS ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, " \
                 "{%8, %9}, {%0, %1, %2, %3};"                                                                \
                 : "+f"((c)[0]), "+f"((c)[1]), "+f"((c)[2]), "+f"((c)[3])                                     \
                 : "r"((a)[0]), "r"((a)[1]), "r"((a)[2]), "r"((a)[3]), "r"((b)[0]), "r"((b)[1]))

/* C = A B, all 16x16: `in` is A, then B, `out` is C. */
__kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void binade(__global const ushort *in, __global float *out)
{
    __local __attribute__((aligned(128))) ushort panel[LOCAL_BYTES / 2];
    __local ushort *left = panel + LOCAL_BYTES / 2 - 512, *right = left + 256;
    const uint lane = (uint)get_local_id(0), piece = (lane & 15u) * 16u + (lane >> 4) * 8u;
    uint a[4], b[4];
    float c[8] = { 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f };
    COPY(left + lane * 8u, in + lane * 8u);
    COPY(right + lane * 8u, in + 256u + lane * 8u);
    asm volatile("cp.async.wait_all;" : : : "memory");
    barrier(CLK_LOCAL_MEM_FENCE);
    LOAD4(a, "", left + piece);
    LOAD4(b, ".trans", right + piece);
    MULTIPLY(c, a, b);
    MULTIPLY(c + 4, a, b + 2);
    for (uint j = 0u; j < 8u; j++)
        out[(lane / 4u + (j / 2u & 1u) * 8u) * 16u + j / 4u * 8u + lane % 4u * 2u + j % 2u] = c[j];
}
