/* The tiles of BD_TILE_MATRIX and BD_TILE_MATRIX2: contractions of halves by matrix units. */
#include "emit.h"
#include "tile.h"

#include <stdlib.h>

/* A tile's cost for each step of k, in products of its matrix units' rate: every element of a panel that is moved through shared
 * memory costs as much as so many. A guess that no measurement has fitted yet: it only orders what the tuner tries. */
#define COST_PANEL 48.0
/* Work-groups that a processor runs at once: a guess too. */
#define GROUPS_TOGETHER 2
/* On an H100 products of matrices as large as a tile took 0.58 of the time of the best by fragments (4096 x 4096 x 4096). */
#define COST_JOINED 0.58

static int64_t ceil_divide(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
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

/* Stages of panels, or one fragment's rows of sums for each subgroup. On NVIDIA OpenCL has three stages and turns lines against
 * bank conflicts. */
static bool fits_fragments(const bd_tile *tile, const bd_target *target)
{
    const bd_matrix_units *units = &target->matrix;
    const uint32_t panels = target->nvidia ? 3 * 2 * (tile->m + tile->n) * tile->k
                                           : panel_bytes(tile->m, tile->k) + panel_bytes(tile->n, tile->k);
    const uint32_t sums = tile->m / tile->item_m * tile->n * units->m * (uint32_t)sizeof(float);
    return tile->item_m % units->m == 0 && tile->item_m / units->m <= 4 && tile->item_n % units->n == 0 &&
           tile->k % units->k == 0 && panels <= units->shared_bytes && sums <= units->shared_bytes;
}

bool bd_is_tensor(const bd_graph *graph, bd_tensor contraction, const bd_kernel *kernel, const bd_target *target, int side)
{
    const bd_node *node = &graph->nodes[contraction];
    const bd_window *w = &node->attr.window;
    /* Of convolutions, a window of one tap at every pixel reads its operands as they lie; else pixels and their neighbours. */
    const bool one_tap = node->op != BD_OP_MATMUL && w->size[0] * w->size[1] == 1 && w->stride[0] * w->stride[1] == 1 &&
                         !w->pad[0][0] && !w->pad[0][1] && !w->pad[1][0] && !w->pad[1][1];
    const bool rows = node->op == BD_OP_MATMUL || one_tap || (side == 1 && node->op != BD_OP_CONV2D_DATA);
    bd_tensor input = node->inputs[side];
    while (graph->nodes[input].op == BD_OP_RESHAPE)
        input = graph->nodes[input].inputs[0];
    const uint64_t bytes = (uint64_t)bd_shape_elements(&graph->nodes[input].shape) * sizeof(uint16_t);
    return target->joined.tensors && rows && graph->nodes[input].format == BD_F16 &&
           (!kernel || bd_kernel_operand(kernel, input) >= 0) &&
           (!target->limits.max_binding_bytes || bytes <= target->limits.max_binding_bytes);
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

static double cost(const bd_contraction *c, int64_t chunks, const bd_tile *tile, const bd_target *target)
{
    const int64_t groups = c->batch * chunks * ceil_divide(c->m, tile->m) * ceil_divide(c->n, tile->n);
    const int64_t units = (target->limits.compute_units ? target->limits.compute_units : 1) * GROUPS_TOGETHER;
    return (double)ceil_divide(groups, units) * ((double)tile->m * tile->n + COST_PANEL * (tile->m + tile->n)) *
           (tile->kind == BD_TILE_MATRIX2 ? COST_JOINED : 1);
}

int bd_matrix_tiles(const bd_graph *graph, bd_tensor tensor, const bd_kernel *kernel, const bd_target *target,
                    bd_tile tiles[BD_MATRIX_TILES])
{
    static const struct {
        bd_tile_kind kind;
        uint32_t m, n, k, item_m, item_n;
    } all[] = {
        { BD_TILE_MATRIX2, 128, 256, 64, 64, 64 }, { BD_TILE_MATRIX2, 256, 128, 64, 64, 64 },
        { BD_TILE_MATRIX2, 128, 128, 64, 64, 32 }, { BD_TILE_MATRIX2, 128, 128, 32, 64, 64 },
        { BD_TILE_MATRIX2, 256, 64, 32, 64, 32 },  { BD_TILE_MATRIX2, 128, 64, 64, 32, 64 },
        { BD_TILE_MATRIX2, 64, 128, 64, 64, 32 },  { BD_TILE_MATRIX2, 64, 64, 64, 32, 32 },
        { BD_TILE_MATRIX2, 256, 32, 32, 64, 32 },  { BD_TILE_MATRIX2, 128, 32, 64, 32, 32 },
        { BD_TILE_MATRIX2, 256, 16, 32, 64, 16 },  { BD_TILE_MATRIX2, 128, 16, 32, 32, 16 },
        { BD_TILE_MATRIX2, 32, 32, 32, 32, 32 },   { BD_TILE_MATRIX2, 16, 16, 32, 16, 16 },
        { BD_TILE_MATRIX, 128, 128, 32, 64, 32 },  { BD_TILE_MATRIX, 256, 64, 32, 64, 32 },
        { BD_TILE_MATRIX, 128, 64, 32, 32, 32 },   { BD_TILE_MATRIX, 64, 128, 32, 32, 32 },
        { BD_TILE_MATRIX, 64, 64, 32, 32, 32 },    { BD_TILE_MATRIX, 256, 32, 32, 32, 32 },
        { BD_TILE_MATRIX, 128, 32, 32, 32, 16 },   { BD_TILE_MATRIX, 64, 32, 32, 16, 16 },
        { BD_TILE_MATRIX, 256, 16, 32, 32, 16 },   { BD_TILE_MATRIX, 128, 16, 32, 16, 16 },
        { BD_TILE_MATRIX, 32, 32, 32, 16, 16 },    { BD_TILE_MATRIX, 16, 16, 32, 16, 16 },
    };
    _Static_assert(sizeof all / sizeof *all <= BD_MATRIX_TILES, "room for all of them");
    const bd_node *node = &graph->nodes[tensor];
    const bd_contraction c = bd_contraction_of(graph, tensor);
    if (target->matrix.m == 0 || node->accumulator != BD_F32 || graph->nodes[node->inputs[0]].format != BD_F16 ||
        graph->nodes[node->inputs[1]].format != BD_F16 || c.batch <= 0 || c.m <= 0 || c.n <= 0 || c.k <= 0)
        return 0;
    const bool fragments = bd_variant_allowed(target, node, BD_VARIANT_MATRIX);
    const bool whole = bd_variant_allowed(target, node, BD_VARIANT_MATRIX2) && may_store_twice(graph, kernel);
    const bool tensors[] = { bd_is_tensor(graph, tensor, kernel, target, 0), bd_is_tensor(graph, tensor, kernel, target, 1) };
    int count = 0;
    double costs[BD_MATRIX_TILES];
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const bd_tile tile = { .kind = all[i].kind,
                               .m = all[i].m,
                               .n = all[i].n,
                               .k = all[i].k,
                               .item_m = all[i].item_m,
                               .item_n = all[i].item_n };
        const uint32_t panels =
            (tensors[0] ? 0 : panel_bytes(tile.m, tile.k)) + (tensors[1] ? 0 : panel_bytes(tile.n, tile.k));
        if (items(&tile, target) > target->limits.max_workgroup_items ||
            items(&tile, target) > target->limits.max_workgroup_size[0] ||
            !(tile.kind == BD_TILE_MATRIX ? fragments && fits_fragments(&tile, target)
                                          : whole && fits_grain(&tile, target, panels)))
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
