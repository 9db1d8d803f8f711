/* Final sums by the last work-group: the kernel that only adds up partial sums becomes a part of the kernel that makes
 * the last of them. After the "threadFenceReduction" of NVIDIA's CUDA samples and the semaphores of CUTLASS's split-K
 * products, but without their freedom of order: the group adds the stored parts in the order of the kernel that it
 * stands in for. */
#ifndef BINADE_ENGINE_LAST_GROUP_H
#define BINADE_ENGINE_LAST_GROUP_H

#include "kernel.h"

/* Merges where the device can (bd_target.last_group) and where it should be faster. Between fusion and the memory
 * plan. */
bd_status bd_merge_final_sums(bd_plan *plan, const bd_target *target, bd_error *error);

/* Bytes of shared memory that a kernel's count takes, as drivers align them. */
enum { BD_LAST_GROUP_SHARED = 16 };

/* The results of a kernel in blocks, each of which has a counter: [batch][m][n] in tiles of tile_m x tile_n, and
 * `groups` work-groups that make parts of one. Group g works on block g % count. */
typedef struct bd_blocks {
    int64_t batch, m, n, count, groups;
    uint32_t tile_m, tile_n;
} bd_blocks;
bd_blocks bd_last_group_blocks(const bd_plan *plan, const bd_kernel *kernel);

/* What every work-group does of a kernel, and what the last one does: a column kernel whose local[0] columns of `width`
 * results and local[1] lanes are a work-group of the whole kernel. Both share the kernel's memory. Of a kernel without
 * final sums the first is all. */
bd_kernel bd_kernel_of_groups(const bd_kernel *kernel);
bd_kernel bd_kernel_of_last_group(const bd_plan *plan, const bd_kernel *kernel);

/* Is this one of the partial sums that the kernel's last work-group adds up? */
bool bd_is_part(const bd_graph *graph, const bd_kernel *kernel, bd_tensor tensor);

#endif
