/* Finds out, when a device is opened, whether the copy engine brings boxes as contraction_matrix.cl has it (backends/probe_tensor_map.c):
 * one of rows, one of images, both partly outside, each of 64 lines of 64 numbers, which go to `out` as they came. `out` stays as it was
 * if they do not come. */
#ifndef FIRST_NUMBER /* so that it compiles alone */
#define FIRST_NUMBER 64
#define FIRST_ROW 8
#define FIRST_X -1
#define FIRST_Y -2
#define FIRST_IMAGE 1
#endif
#define LOCAL(pointer) ((uint)(size_t)(pointer))
#define TRIES 1000000u
static inline bool is_full(const uint at)
{
    uint over = 0u;
    for (uint i = 0u; i < TRIES && over == 0u; i++)
        asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                     : "=r"(over) : "r"(at), "r"(0u) : "memory");
    return over != 0u;
}

__kernel __attribute__((reqd_work_group_size(128, 1, 1))) void binade(__global const ushort *in, __global uint4 *out, const ulong in_first,
                                                                       const ulong out_first, __global const uchar *maps,
                                                                       const ulong maps_first)
{
    __local __attribute__((aligned(1024))) uint4 boxes[2 * 512 + 1];
    const uint item = (uint)get_local_id(0), full = LOCAL(boxes + 2 * 512);
    if (item == 0u) {
        asm volatile("mbarrier.init.shared.b64 [%0], %1;" : : "r"(full), "r"(1u) : "memory");
        asm volatile("//+fence.mbarrier_init.release.cluster;\n" : : : "memory");
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item == 0u) {
        asm volatile("//+{ .reg .b64 state; mbarrier.arrive.expect_tx.shared.b64 state, [%0], %1; }\n" : : "r"(full), "r"(16384u) : "memory");
        asm volatile("//+cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];\n"
                     : : "r"(LOCAL(boxes)), "l"(maps + maps_first), "r"(FIRST_NUMBER), "r"(FIRST_ROW), "r"(full) : "memory");
        asm volatile("//+cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4, %5}], [%6];\n"
                     : : "r"(LOCAL(boxes + 512)), "l"(maps + maps_first + 128u), "r"(0), "r"(FIRST_X), "r"(FIRST_Y), "r"(FIRST_IMAGE), "r"(full)
                     : "memory");
    }
    if (!is_full(full))
        return;
    for (uint i = item; i < 2u * 512u; i += 128u)
        out[i] = boxes[i];
}
