/* The tiles of BD_TILE_MATRIX: contractions of halves by matrix units. */
#include "tile.h"

#include <stdlib.h>

/* A tile's cost for each step of k, in products of its matrix units' rate: every element of a panel that is moved through shared
 * memory costs as much as so many. A guess that no measurement has fitted yet: it only orders what the tuner tries. */
#define COST_PANEL 48.0
/* Work-groups that a processor runs at once: a guess too. */
#define GROUPS_TOGETHER 2

static int64_t ceil_divide(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* Stages of panels, or one fragment's rows of sums for each subgroup. On NVIDIA OpenCL has three stages and turns lines against
 * bank conflicts; GLSL has two and pads them, by eight halves. */
static uint32_t shared_bytes(const bd_tile *tile, const bd_target *target)
{
    const uint32_t panels = target->nvidia
                                ? 3 * 2 * (tile->m + tile->n) * tile->k
                                : 2 * 2 * (tile->m * (tile->k + 8) + tile->k * 8 + (tile->n + 8) * (tile->k + 8));
    const uint32_t sums = tile->m / tile->item_m * tile->n * target->matrix.m * (uint32_t)sizeof(float);
    return panels > sums ? panels : sums;
}

static bool fits(const bd_tile *tile, const bd_target *target)
{
    const bd_matrix_units *units = &target->matrix;
    const uint32_t items = tile->m / tile->item_m * (tile->n / tile->item_n) * units->lanes;
    return tile->item_m % units->m == 0 && tile->item_m / units->m <= 4 && tile->item_n % units->n == 0 &&
           tile->k % units->k == 0 && items <= target->limits.max_workgroup_items &&
           items <= target->limits.max_workgroup_size[0] && shared_bytes(tile, target) <= units->shared_bytes;
}

static double cost(const bd_contraction *c, int64_t chunks, const bd_tile *tile, const bd_target *target)
{
    const int64_t groups = c->batch * chunks * ceil_divide(c->m, tile->m) * ceil_divide(c->n, tile->n);
    const int64_t units = (target->limits.compute_units ? target->limits.compute_units : 1) * GROUPS_TOGETHER;
    return (double)ceil_divide(groups, units) * ((double)tile->m * tile->n + COST_PANEL * (tile->m + tile->n));
}

int bd_matrix_tiles(const bd_graph *graph, bd_tensor tensor, const bd_target *target, bd_tile tiles[BD_MATRIX_TILES])
{
    static const struct {
        uint32_t m, n, k, item_m, item_n;
    } all[BD_MATRIX_TILES] = {
        { 128, 128, 32, 64, 32 }, { 256, 64, 32, 64, 32 }, { 128, 64, 32, 32, 32 }, { 64, 128, 32, 32, 32 },
        { 64, 64, 32, 32, 32 },   { 256, 32, 32, 32, 32 }, { 128, 32, 32, 32, 16 }, { 64, 32, 32, 16, 16 },
        { 256, 16, 32, 32, 16 },  { 128, 16, 32, 16, 16 }, { 32, 32, 32, 16, 16 },  { 16, 16, 32, 16, 16 },
    };
    const bd_node *node = &graph->nodes[tensor];
    const bd_contraction c = bd_contraction_of(graph, tensor);
    if (target->matrix.m == 0 || !bd_variant_allowed(target, node, BD_VARIANT_MATRIX) || node->accumulator != BD_F32 ||
        graph->nodes[node->inputs[0]].format != BD_F16 || graph->nodes[node->inputs[1]].format != BD_F16 ||
        c.batch <= 0 || c.m <= 0 || c.n <= 0 || c.k <= 0)
        return 0;
    int count = 0;
    double costs[BD_MATRIX_TILES];
    for (int i = 0; i < BD_MATRIX_TILES; i++) {
        const bd_tile tile = { .kind = BD_TILE_MATRIX,
                               .m = all[i].m,
                               .n = all[i].n,
                               .k = all[i].k,
                               .item_m = all[i].item_m,
                               .item_n = all[i].item_n };
        if (!fits(&tile, target))
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
