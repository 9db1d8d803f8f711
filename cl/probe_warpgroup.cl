/* Finds out, when a device is opened, whether wgmma computes rightly as contraction_matrix.cl uses it (probe_matrix.c of OpenCL,
 * launch_probe.c of Vulkan):
 * C = A B, 64x16 by 16x16, once with both operands in lines along k, once in lines across it. `in` is A[64][16], then B[16][16], as
 * halves or BF16; `out` both results. */
#ifndef PANEL_BYTES
#define PANEL_BYTES 196608 /* of local memory, which the device must have for a tile */
#endif
#ifndef OFFSETS
#define OFFSETS /* arguments that Vulkan's launches have */
#endif
#ifndef MATRIX_BF16 /* so that it compiles alone */
#define MATRIX_BF16 0
#endif
#if MATRIX_BF16
#define FORMATS "bf16.bf16"
#else
#define FORMATS "f16.f16"
#endif
#define COUNT 128u
#define LOCAL(pointer) ((uint)(size_t)(pointer))
#define MATRIX(address, leading, stride, pattern)                                                          \
    ((ulong)(((address) & 0x3ffffu) >> 4) | (ulong)(leading) << 16 | (ulong)(stride) << 32 | (ulong)(pattern) << 62)
#define ASM_NEWER(text) asm volatile("//+" text "\n" : : : "memory")
#define MULTIPLY(a, b, turned)                                                                                               \
    ASM_NEWER("fence.proxy.async.shared::cta;");                                                                             \
    barrier(CLK_LOCAL_MEM_FENCE);                                                                                            \
    ASM_NEWER("wgmma.fence.sync.aligned;");                                                                                  \
    asm volatile("//+{ .reg .pred p; setp.ne.b32 p, %10, 0; wgmma.mma_async.sync.aligned.m64n16k16.f32." FORMATS " {%0, %1, " \
                 "%2, %3, %4, %5, %6, %7}, %8, %9, p, 1, 1, " turned ", " turned "; }\n"                                         \
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7])            \
                 : "l"(a), "l"(b), "r"(0)                                                                                    \
                 : "memory");                                                                                                \
    ASM_NEWER("wgmma.commit_group.sync.aligned;");                                                                           \
    ASM_NEWER("wgmma.wait_group.sync.aligned 0;");                                                                           \
    barrier(CLK_LOCAL_MEM_FENCE)

static inline void store(__global float *out, const uint item, const float *c)
{
    for (uint j = 0u; j < 8u; j++)
        out[(item / 32u * 16u + item % 32u / 4u + (j / 2u & 1u) * 8u) * 16u + j / 4u * 8u + item % 4u * 2u + j % 2u] = c[j];
}

__kernel __attribute__((reqd_work_group_size(COUNT, 1, 1))) void binade(__global const ushort *in, __global float *out OFFSETS)
{
    __local __attribute__((aligned(1024))) ushort panels[PANEL_BYTES / 2];
    __local ushort *a = panels, *b = panels + PANEL_BYTES / 2 - 16 * 64;
    const uint item = (uint)get_local_id(0);
    float c[8] = { 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f };
    for (uint i = item; i < 64u * 16u; i += COUNT) {
        const uint m = i / 16u, k = i % 16u;
        a[m * 64u + (k / 8u ^ (m & 7u)) * 8u + k % 8u] = in[i];
    }
    for (uint i = item; i < 16u * 16u; i += COUNT) {
        const uint k = i / 16u, n = i % 16u;
        b[n * 64u + (k / 8u ^ (n & 7u)) * 8u + k % 8u] = in[1024u + i];
    }
    MULTIPLY(MATRIX(LOCAL(a), 1u, 64u, 1u), MATRIX(LOCAL(b), 1u, 64u, 1u), "0");
    store(out, item, c);
    for (uint i = item; i < 64u * 16u; i += COUNT) {
        const uint m = i / 16u, k = i % 16u;
        a[k * 64u + (m / 8u ^ (k & 7u)) * 8u + m % 8u] = in[i];
    }
    for (uint i = item; i < 16u * 16u; i += COUNT) {
        const uint k = i / 16u, n = i % 16u;
        b[k * 16u + (n / 8u ^ (k >> 2 & 1u)) * 8u + n % 8u] = in[1024u + i];
    }
    MULTIPLY(MATRIX(LOCAL(a), 1u, 64u, 1u), MATRIX(LOCAL(b), 1u, 16u, 3u), "1");
    store(out + 1024, item, c);
}
