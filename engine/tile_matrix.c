/* Tiles for matrix units, BD_TILE_MATRIX and BD_TILE_WARPGROUP: contractions of halves that are summed in F32. */
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

bool bd_tile_uses_matrix_units(const bd_tile *tile)
{
    return tile->kind == BD_TILE_MATRIX || tile->kind == BD_TILE_WARPGROUP;
}

static uint32_t panel_bytes(const bd_tile *tile)
{
    return 2 * (tile->m + tile->n) * tile->k;
}

/* wgmma has a panel multiplied, one that may still be, and at least one on its way; a fourth where the processor still takes two
 * work-groups (98,304 bytes each), or only one anyway. */
uint32_t bd_matrix_stages(const bd_tile *tile)
{
    const uint32_t bytes = panel_bytes(tile);
    return tile->kind == BD_TILE_WARPGROUP && (4 * bytes <= 98304 || 3 * bytes > 98304) ? 4 : 3;
}

/* Stages of panels, or one fragment's rows of sums for each subgroup. NVIDIA's in OpenCL turn lines against bank conflicts;
 * GLSL has two stages and pads them, by eight halves. */
static uint32_t shared_bytes(const bd_tile *tile, const bd_target *target)
{
    const uint32_t panels = target->nvidia
                                ? bd_matrix_stages(tile) * panel_bytes(tile)
                                : 2 * 2 * (tile->m * (tile->k + 8) + tile->k * 8 + (tile->n + 8) * (tile->k + 8));
    const uint32_t sums = tile->m / tile->item_m * tile->n * target->matrix.m * (uint32_t)sizeof(float);
    return panels > sums ? panels : sums;
}

static bool fits(const bd_tile *tile, const bd_target *target)
{
    const bd_matrix_units *units = &target->matrix;
    const uint32_t items = tile->m / tile->item_m * (tile->n / tile->item_n) * units->lanes;
    const uint32_t bytes = tile->kind == BD_TILE_MATRIX ? units->shared_bytes : units->warpgroup_bytes;
    return tile->item_m % units->m == 0 && tile->item_m / units->m <= 4 && tile->item_n % units->n == 0 &&
           tile->k % units->k == 0 && items <= target->limits.max_workgroup_items &&
           items <= target->limits.max_workgroup_size[0] && shared_bytes(tile, target) <= bytes;
}

static double cost(const bd_contraction *c, int64_t chunks, const bd_tile *tile, const bd_target *target)
{
    const int64_t groups = c->batch * chunks * ceil_divide(c->m, tile->m) * ceil_divide(c->n, tile->n);
    const int64_t units = (target->limits.compute_units ? target->limits.compute_units : 1) * GROUPS_TOGETHER;
    return (double)ceil_divide(groups, units) * ((double)tile->m * tile->n + COST_PANEL * (tile->m + tile->n));
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
    chunks = chunks < most ? chunks : most;
    chunks = chunks < longest ? chunks : longest;
    return chunks > 1 ? ceil_divide(c->k, bd_chunk_length(c->k, chunks)) : 1;
}

int bd_matrix_tiles(const bd_graph *graph, bd_tensor tensor, const bd_target *target, bd_tile tiles[BD_MATRIX_TILES])
{
    static const bd_tile all[BD_MATRIX_TILES] = {
#define WARPGROUP(tile_m, tile_n) { .kind = BD_TILE_WARPGROUP, .m = tile_m, .n = tile_n, .k = 64, .item_m = 16, .item_n = tile_n }
        WARPGROUP(128, 256), WARPGROUP(256, 128), WARPGROUP(128, 128), WARPGROUP(192, 64), WARPGROUP(128, 64),
        WARPGROUP(64, 64),   WARPGROUP(192, 32),  WARPGROUP(128, 32),  WARPGROUP(64, 32),  WARPGROUP(192, 16),
        WARPGROUP(128, 16),  WARPGROUP(64, 16),
#define MATRIX(tile_m, tile_n, warp_m, warp_n) { .kind = BD_TILE_MATRIX, .m = tile_m, .n = tile_n, .k = 32, .item_m = warp_m, .item_n = warp_n }
        MATRIX(128, 128, 64, 32), MATRIX(256, 64, 64, 32), MATRIX(128, 64, 32, 32), MATRIX(64, 128, 32, 32),
        MATRIX(64, 64, 32, 32),   MATRIX(256, 32, 32, 32), MATRIX(128, 32, 32, 16), MATRIX(64, 32, 16, 16),
        MATRIX(256, 16, 32, 16),  MATRIX(128, 16, 16, 16), MATRIX(32, 32, 16, 16),  MATRIX(16, 16, 16, 16),
    };
    const bd_node *node = &graph->nodes[tensor];
    const bd_contraction c = bd_contraction_of(graph, tensor);
    if (target->matrix.m == 0 || node->accumulator != BD_F32 || graph->nodes[node->inputs[0]].format != BD_F16 ||
        graph->nodes[node->inputs[1]].format != BD_F16 || c.batch <= 0 || c.m <= 0 || c.n <= 0 || c.k <= 0)
        return 0;
    int count = 0;
    double costs[BD_MATRIX_TILES];
    for (int i = 0; i < BD_MATRIX_TILES; i++) {
        const bd_variant variant = all[i].kind == BD_TILE_MATRIX ? BD_VARIANT_MATRIX : BD_VARIANT_WARPGROUP;
        if (!bd_variant_allowed(target, node, variant) || !fits(&all[i], target))
            continue;
        const double now = cost(&c, node->chunks > 1 ? node->chunks : 1, &all[i], target);
        int place = count++;
        for (; place > 0 && costs[place - 1] > now; place--) {
            costs[place] = costs[place - 1];
            tiles[place] = tiles[place - 1];
        }
        costs[place] = now;
        tiles[place] = all[i];
    }
    return count;
}
