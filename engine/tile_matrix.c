/* Tiles for matrix units, BD_TILE_MATRIX, BD_TILE_WARPGROUP and BD_TILE_MATRIX2: contractions of halves that are summed in F32. */
#include "emit.h"
#include "tile.h"

#include <stdlib.h>

/* Work-groups that a processor should have to choose from. */
#define GROUPS_TOGETHER 2

static int64_t ceil_divide(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

bool bd_tile_uses_matrix_units(const bd_tile *tile)
{
    return tile->kind == BD_TILE_MATRIX || tile->kind == BD_TILE_WARPGROUP || tile->kind == BD_TILE_MATRIX2;
}

/* wgmma has a panel multiplied, one that may still be, and at least one on its way; a fourth where the processor still takes two
 * work-groups (98,304 bytes each), or only one anyway. */
uint32_t bd_matrix_stages(const bd_tile *tile)
{
    const uint32_t bytes = 2 * (tile->m + tile->n) * tile->k;
    return tile->kind == BD_TILE_WARPGROUP && (4 * bytes <= 98304 || 3 * bytes > 98304) ? 4 : 3;
}

static uint32_t items(const bd_tile *tile, const bd_target *target)
{
    return tile->m / tile->item_m * (tile->n / tile->item_n) * target->matrix.lanes;
}

/* Two stages of an operand's panel, whose lines of m or of k are padded by eight halves. */
static uint32_t panel_bytes(uint32_t m, uint32_t k)
{
    return 2 * 2 * (m * k + 8 * (m > k ? m : k));
}

/* Stages of panels, or one fragment's rows of sums for each subgroup. NVIDIA's in OpenCL turn lines against bank conflicts. */
static bool fits_fragments(const bd_tile *tile, const bd_target *target)
{
    const bd_matrix_units *units = &target->matrix;
    const uint32_t panels = target->nvidia ? bd_matrix_stages(tile) * 2 * (tile->m + tile->n) * tile->k
                                           : panel_bytes(tile->m, tile->k) + panel_bytes(tile->n, tile->k);
    const uint32_t bytes = tile->kind == BD_TILE_WARPGROUP ? units->warpgroup_bytes : units->shared_bytes;
    const uint32_t sums = tile->m / tile->item_m * tile->n * units->m * (uint32_t)sizeof(float);
    return tile->item_m % units->m == 0 && tile->item_m / units->m <= 4 && tile->item_n % units->n == 0 &&
           tile->k % units->k == 0 && panels <= bytes && sums <= bytes;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Images, rows and columns of the output of a convolution that together are `count` pixels or, at their ends, fewer: whole rows where
 * they fit, then whole images. They follow each other in memory. */
typedef struct pixel_box {
    int64_t images, rows, columns;
    int64_t boxes;
    bool whole; /* no box is partly outside */
} pixel_box;

static pixel_box box_of(const bd_graph *graph, const bd_node *node, int64_t count)
{
    const bd_shape *out = node->op == BD_OP_CONV2D_WEIGHT ? &graph->nodes[node->inputs[1]].shape : &node->shape;
    pixel_box box = { .columns = smaller(out->dim[2], count) };
    box.rows = smaller(out->dim[1], count / box.columns);
    box.images = smaller(out->dim[0], count / (box.columns * box.rows));
    box.boxes = ceil_divide(out->dim[0], box.images) * ceil_divide(out->dim[1], box.rows) *
                ceil_divide(out->dim[2], box.columns);
    box.whole = box.images * box.rows * box.columns == count && out->dim[0] % box.images == 0 &&
                out->dim[1] % box.rows == 0 && out->dim[2] % box.columns == 0;
    return box;
}

/* Whether what a tile needs of A at a time is a box of pixels at one tap, for some of the channels. */
static bool has_boxes(const bd_graph *graph, const bd_node *node, const bd_tile *tile)
{
    const bd_shape *in = &graph->nodes[node->inputs[0]].shape;
    const bd_window *w = &node->attr.window;
    bool has = in->dim[3] % 8 == 0;
    for (int d = 0; d < 2;
         d++) /* every stride-th pixel is a tensor with a longer stride; the data gradient has gaps instead */
        has &= w->stride[d] == 1 || (node->op != BD_OP_CONV2D_DATA && in->dim[1 + d] % w->stride[d] == 0);
    return has && (node->op == BD_OP_CONV2D_WEIGHT ? in->dim[3] % tile->m == 0 && box_of(graph, node, tile->k).whole
                                                   : in->dim[3] % tile->k == 0);
}

bd_matrix_source bd_matrix_source_of(const bd_graph *graph, bd_tensor contraction, const bd_kernel *kernel,
                                     const bd_target *target, const bd_tile *tile, int side)
{
    const bd_node *node = &graph->nodes[contraction];
    const bd_window *w = &node->attr.window;
    bd_tensor input = node->inputs[side];
    input = bd_stored_operand(graph, input);
    const uint64_t bytes = (uint64_t)bd_shape_elements(&graph->nodes[input].shape) * sizeof(uint16_t);
    if (!target->joined.tensors || graph->nodes[input].format != BD_F16 ||
        (kernel && bd_kernel_operand(kernel, input) < 0) ||
        (target->limits.max_binding_bytes && bytes > target->limits.max_binding_bytes))
        return BD_MATRIX_PANELS;
    /* A window of one tap at every pixel reads its operands as they lie. */
    const bool one_tap = node->op != BD_OP_MATMUL && w->size[0] * w->size[1] == 1 && w->stride[0] * w->stride[1] == 1 &&
                         !w->pad[0][0] && !w->pad[0][1] && !w->pad[1][0] && !w->pad[1][1];
    if (node->op == BD_OP_MATMUL || one_tap || (side == 1 && node->op != BD_OP_CONV2D_DATA))
        return BD_MATRIX_ROWS;
    if (side == 1)
        return graph->nodes[node->inputs[0]].shape.dim[3] % tile->k == 0 ? BD_MATRIX_TAPS : BD_MATRIX_PANELS;
    return !tile->panels && has_boxes(graph, node, tile) ? BD_MATRIX_PIXELS : BD_MATRIX_PANELS;
}

/* Invocations store the sums that they hold, and the driver may let two hold the same: nothing that is read may be written. */
static bool may_store_twice(const bd_graph *graph, const bd_kernel *kernel)
{
    bool may = true;
    for (int i = 0; kernel && i < kernel->operand_count; i++)
        may &= !kernel->operands[i].written || !bd_operand_is_read(graph, kernel, &kernel->operands[i]);
    return may;
}

static bool fits_grain(const bd_tile *tile, const bd_target *target, uint32_t panels)
{
    const bd_joined_matrices *joined = &target->joined;
    const uint32_t count = items(tile, target);
    bool fits = false;
    for (uint32_t i = 0; i < joined->grain_count && !fits; i++) {
        const bd_matrix_grain *grain = &joined->grains[i];
        fits = grain->items == count && tile->m % grain->m == 0 && tile->n % grain->n == 0 && tile->k % grain->k == 0;
    }
    return fits && tile->m <= joined->most && tile->n <= joined->most && tile->k <= joined->most &&
           panels <= joined->shared_bytes;
}

#define TILE_OF(KIND, M, N, K, ITEM_M, ITEM_N)                                                                         \
    {                                                                                                                  \
        .kind = KIND, .m = M, .n = N, .k = K, .item_m = ITEM_M, .item_n = ITEM_N                                       \
    }
#define JOINED(...) TILE_OF(BD_TILE_MATRIX2, __VA_ARGS__)
#define FRAGMENTS(...) TILE_OF(BD_TILE_MATRIX, __VA_ARGS__)
#define WARPGROUP(M, N) TILE_OF(BD_TILE_WARPGROUP, M, N, 64, 16, N)
static const bd_tile all_tiles[] = {
    JOINED(256, 256, 32, 64, 64),
    JOINED(256, 256, 32, 64, 128),
    JOINED(128, 256, 32, 64, 64),
    JOINED(128, 256, 64, 64, 128),
    JOINED(128, 128, 64, 64, 64),
    JOINED(128, 128, 128, 64, 32),
    JOINED(128, 256, 64, 64, 64),
    JOINED(256, 128, 64, 64, 64),
    JOINED(128, 128, 64, 64, 32),
    JOINED(128, 128, 32, 64, 64),
    JOINED(256, 64, 32, 64, 32),
    JOINED(128, 64, 64, 32, 64),
    JOINED(64, 128, 64, 64, 32),
    JOINED(64, 64, 64, 32, 32),
    JOINED(256, 32, 32, 64, 32),
    JOINED(128, 32, 64, 32, 32),
    JOINED(256, 16, 32, 64, 16),
    JOINED(128, 16, 32, 32, 16),
    JOINED(32, 32, 32, 32, 32),
    JOINED(16, 16, 32, 16, 16),
    WARPGROUP(128, 256),
    WARPGROUP(256, 128),
    WARPGROUP(128, 128),
    WARPGROUP(192, 64),
    WARPGROUP(128, 64),
    WARPGROUP(64, 64),
    WARPGROUP(192, 32),
    WARPGROUP(128, 32),
    WARPGROUP(64, 32),
    WARPGROUP(192, 16),
    WARPGROUP(128, 16),
    WARPGROUP(64, 16),
    FRAGMENTS(128, 128, 32, 64, 32),
    FRAGMENTS(256, 64, 32, 64, 32),
    FRAGMENTS(128, 64, 32, 32, 32),
    FRAGMENTS(64, 128, 32, 32, 32),
    FRAGMENTS(64, 64, 32, 32, 32),
    FRAGMENTS(256, 32, 32, 32, 32),
    FRAGMENTS(128, 32, 32, 32, 16),
    FRAGMENTS(64, 32, 32, 16, 16),
    FRAGMENTS(256, 16, 32, 32, 16),
    FRAGMENTS(128, 16, 32, 16, 16),
    FRAGMENTS(32, 32, 32, 16, 16),
    FRAGMENTS(16, 16, 32, 16, 16),
};
enum { TILES = sizeof all_tiles / sizeof *all_tiles };
_Static_assert(2 * TILES <= BD_MATRIX_TILES, "room for all of them, and again with panels");

/* Whether a work-group can hold the tile; of those with panels only where without them it is another. */
static bool fits(const bd_graph *graph, bd_tensor tensor, const bd_kernel *kernel, const bd_target *target,
                 const bd_tile *tile)
{
    if (items(tile, target) > target->limits.max_workgroup_items ||
        items(tile, target) > target->limits.max_workgroup_size[0])
        return false;
    if (tile->kind != BD_TILE_MATRIX2)
        return !tile->panels && fits_fragments(tile, target);
    uint32_t panels = 0;
    for (int side = 0; side < 2; side++)
        if (bd_matrix_source_of(graph, tensor, kernel, target, tile, side) == BD_MATRIX_PANELS)
            panels += panel_bytes(side ? tile->n : tile->m, tile->k);
    bd_tile without = *tile;
    without.panels = false;
    return fits_grain(tile, target, panels) &&
           (!tile->panels || bd_matrix_source_of(graph, tensor, kernel, target, &without, 0) == BD_MATRIX_PIXELS);
}

/* What a processor takes for its share of the work-groups, for each step of k, in products of mma.sync's rate. The numbers were
 * fitted by hand to times on an H100: mma.sync's to 12 tiles for each of 18 contractions of networks, wgmma's to 12 tiles for each of
 * 4 (docs/benchmarks.md has the best ones). MATRIX2 has no such times yet: it comes after the others of a device, so that only a measurement, which checks results too, can choose it. */
static double cost(const bd_contraction *c, int64_t chunks, const bd_tile *tile, const bd_target *target)
{
    const double product = (double)tile->m * tile->n, panels = (double)tile->m + tile->n;
    const double group = tile->kind == BD_TILE_WARPGROUP ? 0.6 * product + 25 * panels : product + 20 * panels;
    const double groups = (double)(c->batch * chunks * ceil_divide(c->m, tile->m) * ceil_divide(c->n, tile->n));
    const double share = groups / (target->limits.compute_units ? target->limits.compute_units : 1);
    return group * (share > 1 ? share : 1) * (tile->kind == BD_TILE_MATRIX2 ? 1e6 : 1);
}

int64_t bd_matrix_chunks(const bd_contraction *c, const bd_target *target)
{
    /* As few tiles as cover the result without much waste, of a size that keeps the units busy. */
    const int64_t m = c->m <= 64 ? 64 : 128, n = c->n <= 16 ? 16 : c->n <= 32 ? 32 : c->n <= 64 ? 64 : 128;
    const int64_t groups = c->batch * ceil_divide(c->m, m) * ceil_divide(c->n, n);
    const int64_t wanted = GROUPS_TOGETHER * (target->limits.compute_units ? target->limits.compute_units : 1);
    int64_t chunks = groups >= wanted ? 1 : wanted / groups;
    /* Partial sums are written and read again: not more of them than of what is multiplied. */
    const int64_t most = (c->m + c->n) * c->k / (4 * c->m * c->n), longest = c->k / 256;
    chunks = smaller(smaller(chunks, most), longest);
    return chunks > 1 ? ceil_divide(c->k, bd_chunk_length(c->k, chunks)) : 1;
}

int bd_matrix_tiles(const bd_graph *graph, bd_tensor tensor, const bd_kernel *kernel, const bd_target *target,
                    bd_tile tiles[BD_MATRIX_TILES])
{
    const bd_node *node = &graph->nodes[tensor];
    const bd_contraction c = bd_contraction_of(graph, tensor);
    if (target->matrix.m == 0 || node->accumulator != BD_F32 || graph->nodes[node->inputs[0]].format != BD_F16 ||
        graph->nodes[node->inputs[1]].format != BD_F16 || c.batch <= 0 || c.m <= 0 || c.n <= 0 || c.k <= 0)
        return 0;
    const bool allowed[] = {
        [BD_TILE_MATRIX] = bd_variant_allowed(target, node, BD_VARIANT_MATRIX),
        [BD_TILE_WARPGROUP] = bd_variant_allowed(target, node, BD_VARIANT_WARPGROUP),
        [BD_TILE_MATRIX2] = bd_variant_allowed(target, node, BD_VARIANT_MATRIX2) && may_store_twice(graph, kernel),
    };
    int count = 0;
    double costs[BD_MATRIX_TILES];
    for (int i = 0; i < 2 * TILES; i++) {
        bd_tile tile = all_tiles[i % TILES];
        tile.panels = i >= TILES;
        if (!allowed[tile.kind] || !fits(graph, tensor, kernel, target, &tile))
            continue;
        const double now = cost(&c, node->chunks > 1 ? node->chunks : 1, &tile, target);
        int place = count++;
        for (; place > 0 && costs[place - 1] > now; place--) {
            costs[place] = costs[place - 1];
            tiles[place] = tiles[place - 1];
        }
        costs[place] = now;
        tiles[place] = tile;
    }
    return count;
}

int64_t bd_matrix_tiles_m(const bd_plan *plan, const bd_kernel *kernel, const bd_target *target)
{
    const bd_graph *graph = plan->graph;
    const bd_node *node = &graph->nodes[kernel->anchor];
    if (kernel->tile.kind == BD_TILE_MATRIX2 && node->op != BD_OP_CONV2D_WEIGHT &&
        bd_matrix_source_of(graph, kernel->anchor, kernel, target, &kernel->tile, 0) == BD_MATRIX_PIXELS)
        return box_of(graph, node, kernel->tile.m).boxes;
    return ceil_divide(bd_contraction_of(graph, kernel->anchor).m, kernel->tile.m);
}
