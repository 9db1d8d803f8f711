#include "tile.h"
#include "arithmetic.h"
#include "columns.h"
#include "last_group.h"

#include <math.h>

bd_extent bd_reduction_extent(const bd_graph *graph, bd_tensor tensor)
{
    const bd_node *node = &graph->nodes[tensor];
    const bd_shape *input = &graph->nodes[node->inputs[0]].shape;
    int first = node->attr.reduce.first, count = node->attr.reduce.count;
    bd_extent extent = { 1, 1, 1, node->chunks > 1 ? node->chunks : 1 };
    for (int d = 0; d < input->rank; d++)
        *(d < first ? &extent.outer : d < first + count ? &extent.length : &extent.inner) *= input->dim[d];
    return extent;
}

bd_contraction bd_contraction_of(const bd_graph *graph, bd_tensor tensor)
{
    const bd_node *node = &graph->nodes[tensor];
    const bd_shape *a = &graph->nodes[node->inputs[0]].shape, *b = &graph->nodes[node->inputs[1]].shape;
    bd_contraction c = { 1, 1, 1, 1 };
    switch (node->op) {
    case BD_OP_MATMUL:
        for (int d = 0; d < a->rank - 2; d++)
            c.batch *= a->dim[d];
        c.m = a->dim[a->rank - (node->attr.matmul.transpose[0] ? 1 : 2)];
        c.k = a->dim[a->rank - (node->attr.matmul.transpose[0] ? 2 : 1)];
        c.n = b->dim[b->rank - (node->attr.matmul.transpose[1] ? 2 : 1)];
        break;
    case BD_OP_CONV2D: /* x, weight */
        c.m = node->shape.dim[0] * node->shape.dim[1] * node->shape.dim[2];
        c.n = b->dim[3];
        c.k = b->dim[0] * b->dim[1] * b->dim[2];
        break;
    case BD_OP_CONV2D_DATA: /* dy, weight */
        c.m = node->shape.dim[0] * node->shape.dim[1] * node->shape.dim[2];
        c.n = b->dim[2];
        c.k = b->dim[0] * b->dim[1] * b->dim[3];
        break;
    case BD_OP_CONV2D_WEIGHT: /* x, dy */
        c.m = node->attr.window.size[0] * node->attr.window.size[1] * a->dim[3];
        c.n = b->dim[3];
        c.k = b->dim[0] * b->dim[1] * b->dim[2];
        break;
    default: break;
    }
    return c;
}

bool bd_inner_is_k(const bd_node *node, int side)
{
    if (node->op == BD_OP_MATMUL)
        return node->attr.matmul.transpose[side] == (side == 1);
    return side == 0 ? node->op != BD_OP_CONV2D_WEIGHT : node->op == BD_OP_CONV2D_DATA;
}

static int64_t round_up(int64_t a, int64_t step)
{
    return bd_ceil_divide(a, step) * step;
}

int64_t bd_chunk_length(int64_t k, int64_t chunks)
{
    const int64_t length = bd_ceil_divide(k, chunks > 1 ? chunks : 1);
    return chunks > 1 && length >= 256 ? round_up(length, 64) : length;
}

/* ---- GPUs ---- */

uint32_t bd_group_items(const bd_tile *tile)
{
    return tile->m / tile->item_m * (tile->n / tile->item_n) * (tile->slices > 1 ? tile->slices : 1);
}

uint32_t bd_group_bytes(const bd_tile *tile)
{
    const uint32_t panel = tile->k * (tile->m + tile->n + 8);
    const uint32_t row = tile->slices > 1 ? bd_group_items(tile) * tile->item_n : 0;
    return 2 * (panel > row ? panel : row) * (uint32_t)sizeof(float);
}

static bool group_fits(const bd_tile *tile, const bd_target *target)
{
    const uint32_t items = bd_group_items(tile), bytes = bd_group_bytes(tile);
    return items <= target->limits.max_workgroup_items && items <= target->limits.max_workgroup_size[0] &&
           bytes <= target->limits.shared_bytes;
}

#define PLAIN(M, N, K, ITEM_M, ITEM_N, SLICES)                                                                         \
    {                                                                                                                  \
        .kind = BD_TILE_GROUP, .m = M, .n = N, .k = K, .item_m = ITEM_M, .item_n = ITEM_N, .slices = SLICES            \
    }
/* By bd_variant, the largest first; the last has one work-item: every device has it. */
static const bd_tile plain_all[BD_PLAIN_TILES] = {
    PLAIN(128, 128, 8, 8, 8, 1), PLAIN(128, 128, 16, 8, 8, 2), PLAIN(128, 64, 8, 8, 8, 1),
    PLAIN(256, 32, 8, 8, 8, 1),  PLAIN(64, 64, 16, 8, 4, 2),   PLAIN(64, 64, 16, 4, 4, 1),
    PLAIN(64, 32, 16, 4, 4, 1),  PLAIN(32, 32, 16, 4, 4, 1),   PLAIN(4, 4, 4, 4, 4, 1),
};

/* What a processor takes for `groups` work-groups of `items` work-items that it holds at once: the slower the fewer
 * work-items there are to wait for. */
static double together(int64_t groups, int64_t items)
{
    return (double)groups + 64 / (double)items;
}

/* What a contraction takes with a tile, in products that one processor does at full rate. Each work-group pays for its
 * products, for reading operands from shared memory (less with larger items) and for panels, for each step of k, and at
 * its end for its results. Parts of a sum are written and read again, by another kernel. The weights are derived from
 * an H100's numbers: 128 products a cycle and processor, 13 bytes a cycle from memory, twice that from the cache, 512
 * work-items of 128 registers, 5 us a kernel. */
static double plain_cost(const bd_contraction *c, int64_t chunks, const bd_tile *tile, const bd_target *target)
{
    const double product = (double)tile->m * tile->n, panels = (double)tile->m + tile->n;
    const double step = product * (1 + 1.0 / tile->item_m + 1.0 / tile->item_n) + 16 * panels;
    const int64_t units = bd_larger(target->limits.compute_units, 1), length = bd_chunk_length(c->k, chunks);
    const int64_t groups = c->batch * chunks * bd_ceil_divide(c->m, tile->m) * bd_ceil_divide(c->n, tile->n);
    const int64_t share = bd_ceil_divide(groups, units), items = bd_group_items(tile), held = bd_larger(512 / items, 1);
    const double rounds =
        (double)(share / held) * together(held, items) + (share % held ? together(share % held, items) : 0);
    const double parts = 80 * (double)(c->batch * c->m * c->n * chunks) / (double)units + 1e6;
    return rounds * (step * (double)length + 40 * product) + (chunks > 1 ? parts : 0);
}

/* The best guess first. */
static int plain_tiles(const bd_graph *graph, bd_tensor tensor, const bd_target *target, bd_tile tiles[BD_PLAIN_TILES])
{
    const bd_node *node = &graph->nodes[tensor];
    const bd_contraction c = bd_contraction_of(graph, tensor);
    double costs[BD_PLAIN_TILES];
    int count = 0;
    for (int i = 0; i < BD_PLAIN_TILES; i++) {
        const bool last = i == BD_PLAIN_TILES - 1;
        if (!bd_variant_allowed(target, node, (bd_variant)i) ||
            !(last ? count == 0 : group_fits(&plain_all[i], target)))
            continue;
        const double cost = plain_cost(&c, bd_larger(node->chunks, 1), &plain_all[i], target);
        int place = count++;
        for (; place > 0 && costs[place - 1] > cost; place--) {
            costs[place] = costs[place - 1];
            tiles[place] = tiles[place - 1];
        }
        costs[place] = cost;
        tiles[place] = plain_all[i];
    }
    return count;
}

/* Into how many parts the sum is cut that, with a tile that suits them, takes least; each of 256 steps at least. */
static int64_t plain_chunks(const bd_graph *graph, bd_tensor tensor, const bd_target *target)
{
    const bd_contraction c = bd_contraction_of(graph, tensor);
    bd_tile tiles[BD_PLAIN_TILES];
    const int count = plain_tiles(graph, tensor, target, tiles);
    int64_t best = 1;
    double least = INFINITY;
    for (int64_t wanted = 1; wanted == 1 || (wanted <= c.k / 256 && wanted <= 256); wanted++)
        for (int i = 0; i < count; i++) {
            const int64_t chunks = bd_ceil_divide(bd_larger(c.k, 1), bd_larger(bd_chunk_length(c.k, wanted), 1));
            const double cost = plain_cost(&c, chunks, &tiles[i], target);
            if (cost < least)
                least = cost, best = chunks;
        }
    return best;
}

int bd_group_tiles(const bd_graph *graph, bd_tensor node, const bd_kernel *kernel, const bd_target *target,
                   bd_tile tiles[BD_GROUP_TILES])
{
    bd_target smaller = *target;
    /* NVIDIA's OpenCL kernels count in their panels' memory. */
    if (target->last_group && graph->nodes[node].chunks > 1 && !target->nvidia && !target->is_cpu) {
        smaller.limits.shared_bytes -= BD_LAST_GROUP_SHARED;
        smaller.matrix.shared_bytes -= smaller.matrix.shared_bytes ? BD_LAST_GROUP_SHARED : 0;
        smaller.joined.shared_bytes -= smaller.joined.shared_bytes ? BD_LAST_GROUP_SHARED : 0;
    }
    int count = bd_matrix_tiles(graph, node, kernel, &smaller, tiles), kept = 0;
    count += plain_tiles(graph, node, &smaller, tiles + count);
    const bool sums = kernel && bd_kernel_sums_columns(kernel);
    for (int i = 0; i < count; i++)
        if (!sums || bd_tile_sums_columns(graph, node, &tiles[i], target))
            tiles[kept++] = tiles[i];
    return kept;
}

bd_variant bd_variant_of(const bd_kernel *kernel)
{
    static const bd_variant kinds[] = {
        [BD_TILE_VECTOR] = BD_VARIANT_VECTOR,
        [BD_TILE_VECTOR_CONV] = BD_VARIANT_VECTOR_CONV,
        [BD_TILE_VECTOR_WEIGHT] = BD_VARIANT_VECTOR_WEIGHT,
        [BD_TILE_SIMD] = BD_VARIANT_SIMD,
        [BD_TILE_MATRIX] = BD_VARIANT_MATRIX,
        [BD_TILE_WARPGROUP] = BD_VARIANT_WARPGROUP,
        [BD_TILE_MATRIX2] = BD_VARIANT_MATRIX2,
        [BD_TILE_RESIDENT] = BD_VARIANT_RESIDENT,
        [BD_TILE_MATRIX8] = BD_VARIANT_MATRIX8,
        [BD_TILE_WARPGROUP8] = BD_VARIANT_WARPGROUP8,
    };
    if (kernel->class == BD_KERNEL_LIBRARY)
        return BD_VARIANT_LIBRARY;
    if (kernel->class == BD_KERNEL_ATTENTION)
        return BD_VARIANT_ATTENTION_MATRIX;
    for (int i = 0; kernel->tile.kind == BD_TILE_GROUP && i < BD_PLAIN_TILES; i++)
        if (plain_all[i].m == kernel->tile.m && plain_all[i].n == kernel->tile.n &&
            plain_all[i].slices == kernel->tile.slices)
            return (bd_variant)i;
    return kinds[kernel->tile.kind];
}

/* ---- CPU drivers with vectors: every tile is of one work-item ---- */

/* 12 of 16 vector registers hold sums: 6 rows of two vectors, or for few columns 12 of one. */
static void vector_item(int64_t n, bd_tile *tile)
{
    tile->item_m = n > 8 ? 6 : 12;
    tile->item_n = n > 8 ? 16 : 8;
}

/* Numbers of panels of `k` steps, and of the sums that wait from panel to panel. */
static int64_t vector_shared(int64_t m, int64_t n, int64_t k, bool waits)
{
    return m * (k + 8) + n * k + (waits ? m * n : 0);
}

static bd_tile vector_tile(const bd_contraction *c, int64_t chunks, const bd_target *target)
{
    bd_tile tile = { .kind = BD_TILE_VECTOR };
    vector_item(c->n, &tile);
    const int64_t units = target->limits.compute_units, numbers = target->limits.shared_bytes / (int64_t)sizeof(float);
    const int64_t length = bd_larger(bd_chunk_length(c->k, chunks), 1);
    int64_t n = bd_smaller(round_up(bd_larger(c->n, 1), tile.item_n), 64), m = 132, k = length;
    if (bd_ceil_divide(c->m, m) * bd_ceil_divide(c->n, n) * c->batch * chunks < 8 * units)
        m = 60; /* smaller pieces spread better */
    m = bd_smaller(m / tile.item_m * tile.item_m, round_up(bd_larger(c->m, 1), tile.item_m));
    /* Panels of at most 400 steps stay in the second-level cache. */
    for (int64_t panels = bd_ceil_divide(length, 400);
         k > 1 && (k > 400 || vector_shared(m, n, k, k < length) > numbers); panels++)
        k = bd_smaller(round_up(bd_ceil_divide(length, panels), 8), k - 1);
    while (m > tile.item_m && vector_shared(m, n, k, k < length) > numbers)
        m -= tile.item_m;
    while (n > tile.item_n && vector_shared(m, n, k, k < length) > numbers)
        n -= tile.item_n;
    tile.m = (uint32_t)m, tile.n = (uint32_t)n, tile.k = (uint32_t)k;
    return tile;
}

/* Rows or columns of the input, with padding, that `count` outputs read. */
static int64_t padded(const bd_node *node, int axis, int64_t count)
{
    const int64_t stride = node->op == BD_OP_CONV2D_DATA ? 1 : node->attr.window.stride[axis];
    return (count - 1) * stride + node->attr.window.size[axis];
}

/* A tile of contraction_vector_conv.cl; false where local memory cannot hold one. */
static bool conv_tile(const bd_graph *graph, const bd_node *node, const bd_contraction *c, const bd_target *target,
                      bd_tile *tile)
{
    const int64_t channels = graph->nodes[node->inputs[0]].shape.dim[3], images = node->shape.dim[0];
    const int64_t all_rows = node->shape.dim[1], columns = node->shape.dim[2];
    const int64_t numbers = target->limits.shared_bytes / (int64_t)sizeof(float);
    const int64_t line = padded(node, 1, columns) * channels;
    *tile = (bd_tile){ .kind = BD_TILE_VECTOR_CONV };
    if (c->k == 0)
        return false;
    vector_item(c->n, tile);
    int64_t n = round_up(c->n, tile->item_n), rows = all_rows;
    while (n > tile->item_n && n * c->k > numbers / 2)
        n -= tile->item_n;
    const int64_t left = numbers - n * c->k;
    while (rows > 1 && padded(node, 0, rows) * line > left)
        rows = bd_ceil_divide(rows, 2);
    const int64_t band = padded(node, 0, rows) * line;
    if (left < 0 || band > left)
        return false;
    /* Several small images share one copy of the weights, but not so many that a processor has too few groups. */
    int64_t together =
        rows < all_rows ? 1
                        : bd_smaller(bd_ceil_divide(512, rows * columns), images / (8 * target->limits.compute_units));
    together = bd_larger(bd_smaller(together, left / band), 1);
    tile->n = (uint32_t)n, tile->rows = (uint32_t)rows, tile->images = (uint32_t)together;
    return true;
}

/* A tile of contraction_vector_weight.cl, but for its images; false where local memory cannot hold one. */
static bool weight_tile(const bd_graph *graph, const bd_node *node, const bd_contraction *c, const bd_target *target,
                        bd_tile *tile)
{
    const bd_shape *x = &graph->nodes[node->inputs[0]].shape, *dy = &graph->nodes[node->inputs[1]].shape;
    const int64_t numbers = target->limits.shared_bytes / (int64_t)sizeof(float);
    *tile = (bd_tile){ .kind = BD_TILE_VECTOR_WEIGHT };
    if (c->k == 0)
        return false;
    vector_item(c->n, tile);
    if (tile->item_n == 8) /* taps are few: cut so that none are idle */
        tile->item_m = (uint32_t)bd_ceil_divide(c->m, bd_ceil_divide(c->m, 13));
    const int64_t pixels = dy->dim[1] * dy->dim[2];
    const int64_t image = padded(node, 0, dy->dim[1]) * padded(node, 1, dy->dim[2]) * x->dim[3];
    const int64_t column = pixels + round_up(c->m, tile->item_m);
    int64_t n = round_up(c->n, tile->item_n);
    while (n > tile->item_n && image + n * column > numbers)
        n -= tile->item_n;
    tile->n = (uint32_t)n;
    return image + n * column <= numbers;
}

static bool may_vector(const bd_target *target, const bd_node *node, bd_variant variant)
{
    return target->is_cpu && target->vector_types && bd_variant_allowed(target, node, variant);
}

int64_t bd_contraction_chunks(const bd_graph *graph, bd_tensor tensor, const bd_target *target,
                              const bd_compile_options *options)
{
    const bd_node *node = &graph->nodes[tensor];
    const bd_contraction c = bd_contraction_of(graph, tensor);
    if (options->gemm == BD_GEMM_LIBRARY && node->op == BD_OP_MATMUL) /* which sums whole products only */
        return 1;
    const int64_t results = c.batch * c.m * c.n, units = bd_larger(target->limits.compute_units, 1);
    /* Of the convolutions only the weight gradient has few results and a long sum; and a part of another loses its
     * shape, by which its pixels are known. */
    if ((node->op != BD_OP_MATMUL && node->op != BD_OP_CONV2D_WEIGHT) || results <= 0)
        return 1;
    bd_tile tile, tiles[BD_MATRIX_TILES];
    const int matrix_tiles = bd_matrix_tiles(graph, tensor, NULL, target, tiles);
    bd_resident resident;
    for (int i = 0; i < matrix_tiles; i++)
        if (tiles[i].kind == BD_TILE_RESIDENT && bd_resident_of(graph, tensor, NULL, &tiles[i], target, &resident))
            return resident.chunks;
    if (matrix_tiles)
        return bd_matrix_chunks(&c, target);
    if (may_vector(target, node, BD_VARIANT_VECTOR_WEIGHT) && node->op == BD_OP_CONV2D_WEIGHT &&
        weight_tile(graph, node, &c, target, &tile)) {
        /* Whole images; so many parts that the processors end together, and partial sums stay in the cache. */
        const int64_t images = graph->nodes[node->inputs[1]].shape.dim[0];
        const int64_t parts = bd_larger(bd_smaller(262144 / results, 32 * units), 2 * units);
        return bd_ceil_divide(images, bd_ceil_divide(images, parts));
    }
    if (!target->is_cpu)
        return plain_chunks(graph, tensor, target);
    if (may_vector(target, node, BD_VARIANT_VECTOR))
        tile = vector_tile(&c, 1, target);
    else
        tile.m = tile.n = 32;
    const int64_t groups = bd_ceil_divide(c.m, tile.m) * bd_ceil_divide(c.n, tile.n) * c.batch, wanted = 4 * units;
    int64_t chunks = groups >= wanted ? 1 : bd_larger(bd_smaller(bd_ceil_divide(wanted, groups), c.k / 512), 1);
    chunks = bd_larger(chunks, bd_ceil_divide(c.k, BD_LONGEST_CPU_SUM));
    return chunks > 1 ? bd_ceil_divide(c.k, bd_chunk_length(c.k, chunks)) : 1;
}

void bd_spread_groups(const bd_target *target, bd_kernel *kernel, uint64_t groups)
{
    uint64_t most = target->limits.max_workgroup_count[0] ? target->limits.max_workgroup_count[0] : 65535;
    uint64_t rows = (groups + most - 1) / most;
    kernel->groups[0] = (uint32_t)(rows ? (groups + rows - 1) / rows : 0);
    kernel->groups[1] = (uint32_t)rows;
    kernel->groups[2] = 1;
}

void bd_group_launch(const bd_plan *plan, bd_kernel *kernel, const bd_target *target)
{
    const bd_contraction c = bd_contraction_of(plan->graph, kernel->anchor);
    const bd_tile *tile = &kernel->tile;
    const int64_t chunks = bd_larger(plan->graph->nodes[kernel->anchor].chunks, 1);
    /* Joined matrices hand out their sums one by one; and a CPU's loads are of single elements. */
    kernel->width = tile->kind == BD_TILE_MATRIX2 || target->is_cpu ? 1
                    : bd_kernel_sums_columns(kernel)                ? BD_WIDTH
                                                                    : bd_kernel_width(plan, kernel, target, c.n);
    kernel->local[0] = bd_group_items(tile);
    if (bd_tile_uses_matrix_units(tile))
        kernel->local[0] = kernel->local[0] * target->matrix.lanes + bd_matrix_copiers(plan->graph, kernel, target);
    bd_resident resident;
    int64_t groups = c.batch * chunks * bd_ceil_divide(c.m, tile->m) * bd_ceil_divide(c.n, tile->n);
    if (tile->kind == BD_TILE_RESIDENT &&
        bd_resident_of(plan->graph, kernel->anchor, kernel, tile, target, &resident)) {
        kernel->tile.images = resident.images, kernel->tile.rows = resident.rows;
        groups = resident.groups;
    }
    bd_spread_groups(target, kernel, (uint64_t)groups);
}

bool bd_contraction_launch(const bd_plan *plan, bd_kernel *kernel, const bd_target *target)
{
    const bd_graph *graph = plan->graph;
    const bd_node *node = &graph->nodes[kernel->anchor];
    const bd_contraction c = bd_contraction_of(graph, kernel->anchor);
    const int64_t chunks = node->chunks > 1 ? node->chunks : 1;
    if (bd_variant_allowed(target, node, BD_VARIANT_SIMD) && bd_simd_launch(plan, kernel, target))
        return true;
    bd_tile *tile = &kernel->tile, tiles[BD_GROUP_TILES];
    int64_t groups = c.batch * chunks;
    if (may_vector(target, node, BD_VARIANT_VECTOR_CONV) &&
        (node->op == BD_OP_CONV2D || node->op == BD_OP_CONV2D_DATA) && conv_tile(graph, node, &c, target, tile)) {
        groups *= bd_ceil_divide(node->shape.dim[0], tile->images) * bd_ceil_divide(node->shape.dim[1], tile->rows) *
                  bd_ceil_divide(c.n, tile->n);
    } else if (may_vector(target, node, BD_VARIANT_VECTOR_WEIGHT) && node->op == BD_OP_CONV2D_WEIGHT &&
               weight_tile(graph, node, &c, target, tile)) {
        tile->images = (uint32_t)bd_ceil_divide(graph->nodes[node->inputs[1]].shape.dim[0], chunks);
        groups *= bd_ceil_divide(c.n, tile->n);
    } else if (may_vector(target, node, BD_VARIANT_VECTOR)) {
        *tile = vector_tile(&c, chunks, target);
        groups *= bd_ceil_divide(c.m, tile->m) * bd_ceil_divide(c.n, tile->n);
    } else if (bd_group_tiles(graph, kernel->anchor, kernel, target, tiles)) {
        *tile = tiles[0];
        bd_group_launch(plan, kernel, target);
        return true;
    } else {
        return false;
    }
    bd_spread_groups(target, kernel, (uint64_t)groups);
    return true;
}
