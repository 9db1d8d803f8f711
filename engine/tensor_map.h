/* Tensor maps: what NVIDIA's copy engine (TMA, from Hopper on) is told of an operand, so that one instruction brings a
 * box of it into shared memory, padding included, and no work-item computes an address. PTX ISA 8.0, 5.5 ("Tensors").
 *
 * A box is 64 lines of 64 numbers of 16 bits, whatever the tile: a panel of contraction_matrix.cl is one box for each
 * 64 of the tile's rows or columns. Its numbers follow each other along k, or across it; what lies outside of the
 * operand comes as 0. */
#ifndef BINADE_ENGINE_TENSOR_MAP_H
#define BINADE_ENGINE_TENSOR_MAP_H

#include "kernel.h"

enum { BD_BOX_LINES = 64, BD_BOX_NUMBERS = 64 };

/* Of rows (rank 2: numbers, rows) or of images (rank 4: channels, columns, rows, images), innermost first. */
typedef struct bd_tensor_map {
    int operand; /* of the kernel */
    uint32_t rank, size[4], box[4];
    uint64_t stride[3]; /* bytes from one to the next in all dimensions but the first */
} bd_tensor_map;

/* The maps of a contraction's operands A and B for a tile, in `maps` unless it is NULL; false where it is done without:
 * both must be copied as they lie (bd_matrix_copies), the tile be of BD_TILE_WARPGROUP and whole boxes. Of images whose
 * windows move by one pixel, 64 channels lie side by side, and 64 pixels are whole images, whole rows, or part of a
 * row. `kernel` as for bd_group_tiles. */
bool bd_tensor_maps_of(const bd_graph *graph, bd_tensor contraction, const bd_kernel *kernel, const bd_tile *tile,
                       const bd_target *target, bd_tensor_map maps[2]);

/* The same of a kernel of a plan, which has two more arguments then (bd_kernel_source); false for all others. */
bool bd_kernel_maps(const bd_plan *plan, const bd_kernel *kernel, const bd_target *target, bd_tensor_map maps[2]);

#endif
