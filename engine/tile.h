/* Contractions as one implicit GEMM: their sizes, and how they are cut into tiles. */
#ifndef BINADE_ENGINE_TILE_H
#define BINADE_ENGINE_TILE_H

#include "kernel.h"

/* C[batch][m][n] = sum over k of A[batch][m][k] * B[batch][k][n]. For a convolution batch is 1 and m counts output
 * pixels (forward, data gradient) or the weight's rows (weight gradient, where k counts output pixels). */
typedef struct bd_contraction {
    int64_t batch, m, n, k;
} bd_contraction;

bd_contraction bd_contraction_of(const bd_graph *graph, bd_tensor node);
/* Where A's elements lie (print_operand.c) follows evenly as k grows, in runs of `length` that begin at multiples of
 * it: each `step` elements after the one before, and, where k counts a convolution's pixels, `pixels` to the right. */
typedef struct bd_run {
    int64_t length, step, pixels;
} bd_run;
bd_run bd_run_of(const bd_graph *graph, bd_tensor contraction);
/* Do the elements of a contraction's operand A (`side` 0) or B (1) follow each other along k? */
bool bd_inner_is_k(const bd_node *contraction, int side);
/* [outer][length][inner] of a reduction node's input. */
bd_extent bd_reduction_extent(const bd_graph *graph, bd_tensor node);
/* Into how many parts the sum over k is cut so that the device has enough to do; 1 if it has. */
int64_t bd_contraction_chunks(const bd_graph *graph, bd_tensor node, const bd_target *target,
                              const bd_compile_options *options);
/* The length of each of the parts, but for the last, which has the rest and is not empty. Long ones are whole panels of
 * 64. */
int64_t bd_chunk_length(int64_t k, int64_t chunks);
/* Spreads `groups` work-groups over two dimensions, since one may hold no more than 65,535; there may be some too
 * many. */
void bd_spread_groups(const bd_target *target, bd_kernel *kernel, uint64_t groups);
/* Chooses a tile of BD_TILE_SIMD, how its operands are read, and the launch; false where the device has no texels for
 * them. */
bool bd_simd_launch(const bd_plan *plan, bd_kernel *kernel, const bd_target *target);
/* "group-64x32", "vector-conv", "simd", "library". Never NULL. */
const char *bd_variant_name(bd_variant variant);
/* Of a kernel of BD_KERNEL_CONTRACTION or BD_KERNEL_LIBRARY, or of BD_KERNEL_ATTENTION by matrix units. */
bd_variant bd_variant_of(const bd_kernel *kernel);
/* By what `binade check` tells contractions apart: halves from all else, which is handled as F32 is. */
static inline bd_format bd_variant_format(bd_format format)
{
    return format == BD_F16 ? BD_F16 : BD_F32;
}
/* May the device do this contraction so? Not if the variant was found to compute wrongly in its formats. */
bool bd_variant_allowed(const bd_target *target, const bd_node *contraction, bd_variant variant);
/* Takes the variant of this name, of `length` characters, from the device in all formats; false if there is none. */
bool bd_variant_avoid(bd_target *target, const char *name, size_t length);
/* The work-group tiles, for matrix units and of BD_TILE_GROUP, that the device can hold and that compute rightly, the
 * one to take unmeasured first; returns how many. `kernel` is the contraction's, or NULL while nothing is fused yet. */
enum {
    BD_PLAIN_TILES = BD_VARIANT_GROUP_4X4 + 1,
    BD_MATRIX_TILES = 72,
    BD_GROUP_TILES = BD_PLAIN_TILES + BD_MATRIX_TILES
};
int bd_group_tiles(const bd_graph *graph, bd_tensor node, const bd_kernel *kernel, const bd_target *target,
                   bd_tile tiles[BD_GROUP_TILES]);
/* In which format the device's matrix units multiply this contraction's operands, all of whose values are values of it:
 * BD_F16 or BD_BF16; BD_F32 where they cannot. Products of either are exact in F32, so that nothing is rounded but the
 * sum. */
bd_format bd_matrix_format(const bd_graph *graph, bd_tensor contraction, const bd_target *target);
/* An operand of a contraction of bytes that matrix units multiply as they are: what is stored, in which format, of
 * whole numbers what moves them up to begin with 0, and whether neighbours follow each other across k. */
typedef struct bd_code_operand {
    bd_tensor stored;
    bd_format format;
    double zero;
    bool across;
} bd_code_operand;
bd_code_operand bd_code_operand_of(const bd_graph *graph, bd_tensor contraction, int side);
/* Whether units of 8 bits, those of BD_TILE_MATRIX8 or of BD_TILE_WARPGROUP8, can do this contraction: of floats of 8
 * bits, if the units' own sums will do, or of whole numbers, whose sums are exact. Its operands lie in pieces of 16
 * bytes along k or 8 across it. `kernel` as for bd_group_tiles. */
bool bd_multiplies_codes(const bd_graph *graph, bd_tensor contraction, const bd_kernel *kernel,
                         const bd_code_units *units);
/* What a contraction's sums may be off by more than sums in F32, for each unit of the sum of the products' magnitudes:
 * if its operands are floats of 8 bits, no subnormal ones, and the units' own sums will do; else 0. */
double bd_unit_sum_error(const bd_graph *graph, bd_tensor contraction, const bd_target *target);
/* The same of a contraction that is so. */
double bd_most_unit_sum_error(const bd_target *target);
/* Those by matrix units, the best guess first; 0 where the device's matrix units cannot do this contraction. */
int bd_matrix_tiles(const bd_graph *graph, bd_tensor node, const bd_kernel *kernel, const bd_target *target,
                    bd_tile tiles[BD_MATRIX_TILES]);
/* One tap at every pixel: a convolution that reads its operands as they lie, row by row. */
bool bd_window_is_one_tap(const bd_window *window);
/* Whether tiles of BD_TILE_MATRIX2 load a contraction's operand A (`side` 0) or B (1) as it lies in memory: numbers of
 * bd_matrix_format in one buffer, [batch][outer][inner], that nothing was fused to. Else it comes through panels in
 * shared memory. */
bool bd_matrix_lies_in_rows(const bd_graph *graph, bd_tensor contraction, const bd_kernel *kernel,
                            const bd_target *target, int side);
/* Whether what is fused behind a contraction takes long, an element of the result: such kernels are tuned apart. */
bool bd_results_are_long(const bd_graph *graph, const bd_kernel *kernel);
/* BD_TILE_MATRIX, BD_TILE_WARPGROUP, BD_TILE_MATRIX8, BD_TILE_WARPGROUP8, BD_TILE_MATRIX2 or BD_TILE_RESIDENT. */
bool bd_tile_uses_matrix_units(const bd_tile *tile);
/* BD_TILE_WARPGROUP, BD_TILE_WARPGROUP8, BD_TILE_RESIDENT or BD_TILE_ATTENTION, whose kernels are inline PTX whatever
 * the backend. */
bool bd_tile_is_ptx(const bd_tile *tile);
/* How a BD_TILE_RESIDENT takes a convolution: a tile's pixels are `rows` whole rows of an image, or `images` whole
 * ones; `groups` work-groups of `bytes` of shared memory go over all tiles. Of a weight gradient the sum is in `chunks`
 * parts: those that the node has, or, while `kernel` is NULL, those that it should have. False where the tile cannot:
 * it is for convolutions, weight gradients, and data gradients of stride 1, operands that nothing is fused to, channels
 * in steps of the units, or so few that a pixel has no pieces of eight, and rows and weights that fit. */
typedef struct bd_resident {
    uint32_t images, rows, tiles, groups, chunks, bytes;
} bd_resident;
/* Of a weight gradient's tile the table has columns, pixels (`k`), a subgroup's columns, and how many subgroups
 * (`slices`): puts in the contraction's rows and how many subgroups have the same ones. False where the tile is not for
 * this contraction. */
bool bd_resident_complete(const bd_graph *graph, bd_tensor contraction, bd_tile *tile);
bool bd_resident_of(const bd_graph *graph, bd_tensor contraction, const bd_kernel *kernel, const bd_tile *tile,
                    const bd_target *target, bd_resident *r);
/* Whether all its tiles are full: a tile's rows are then as many as the tile has, one after the other. */
bool bd_resident_is_whole(const bd_graph *graph, bd_tensor contraction, const bd_tile *tile, const bd_target *target);
/* What that takes, as predicted. */
double bd_resident_microseconds(const bd_graph *graph, bd_tensor contraction, const bd_tile *tile,
                                const bd_target *target, const bd_resident *r);
/* Into how many parts the sum is cut so that matrix units have enough to do, with a tile that suits the size of the
 * result. */
int64_t bd_matrix_chunks(const bd_contraction *c, const bd_target *target);
/* Whether a work-group of wgmma's has a processor for itself: there are no two for it, or none fits beside it. */
bool bd_matrix_alone(const bd_graph *graph, bd_tensor contraction, const bd_tile *tile, const bd_target *target);
/* How many panels of a tile for NVIDIA's matrix units lie in shared memory at once. */
uint32_t bd_matrix_stages(const bd_tile *tile, bool alone);
/* Whether pieces of eight numbers of a contraction's operand can be copied as they lie: they are of the units' format,
 * in one buffer, with nothing fused to them, and all of them padding or none. */
bool bd_matrix_copies(const bd_graph *graph, bd_tensor contraction, const bd_kernel *kernel, const bd_target *target,
                      int side);
/* Work-items that a work-group has only to copy panels (contraction_matrix.cl). */
uint32_t bd_matrix_copiers(const bd_graph *graph, const bd_kernel *kernel, const bd_target *target);
/* Work-items of a work-group of BD_TILE_GROUP, and its shared memory: two panels of each operand, lines padded by four
 * numbers, or two rows of each item's sums, which slices show each other. */
uint32_t bd_group_items(const bd_tile *tile);
uint32_t bd_group_bytes(const bd_tile *tile);
/* The launch of a kernel whose tile is one of bd_group_tiles. */
void bd_group_launch(const bd_plan *plan, bd_kernel *kernel, const bd_target *target);
/* Chooses the tile and the launch of a contraction kernel; false where no variant is left that computes rightly. */
bool bd_contraction_launch(const bd_plan *plan, bd_kernel *kernel, const bd_target *target);

/* The products of attention: two forward, of which the rows' sums alone take one; five backward, which makes the scores
 * again. */
uint64_t bd_attention_flops(const bd_graph *graph, bd_tensor node);
/* May matrix units do attention over heads of `depth` numbers, with operands and sums of these formats? */
bool bd_attention_by_matrix_units(const bd_target *target, bd_format operands, bd_format sums, int64_t depth);
/* Does one block of a kernel of BD_KERNEL_ATTENTION hold all tokens? */
bool bd_attention_whole(const bd_graph *graph, const bd_kernel *kernel);
/* Chooses the tile, BD_TILE_GROUP or BD_TILE_MATRIX, and the launch of such a kernel. */
void bd_attention_launch(const bd_plan *plan, bd_kernel *kernel, const bd_target *target);

#endif
