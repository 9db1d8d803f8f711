/* Tiles of BD_TILE_RESIDENT: convolutions of few channels, whose weights a work-group keeps in shared memory
 * (cl/contraction_resident.cl). */
#include "arithmetic.h"
#include "columns.h"
#include "emit.h"
#include "tile.h"

#include <math.h>

/* Of an H100: what a processor has for its work-groups, and what it takes of that for each of them. */
enum { PROCESSOR_BYTES = 233472, GROUP_BYTES = 1024, PROCESSOR_ITEMS = 2048, PROCESSOR_REGISTERS = 65536 };
/* Sums of a work-item that leave it enough of its 255 registers. */
enum { MOST_SUMS = 160 };
/* Bytes in a piece, eight numbers of 16 bits. */
enum { PIECE = 16 };

/* Numbers of a window at most that fragments are put together of one by one: an item remembers where a quarter of them
 * lie. And numbers of a patch at most that an item has in registers. */
enum { MOST_WINDOW = 128, MOST_LOADS = 16 };

static int64_t window_numbers(const bd_graph *graph, const bd_node *node)
{
    return node->attr.window.size[0] * node->attr.window.size[1] * graph->nodes[node->inputs[0]].shape.dim[3];
}

/* Of so few channels that a pixel has no pieces: FEW in the skeleton. */
static bool has_few_channels(const bd_graph *graph, const bd_node *node)
{
    return (node->op == BD_OP_CONV2D || node->op == BD_OP_CONV2D_WEIGHT) &&
           graph->nodes[node->inputs[0]].shape.dim[3] % 8 != 0 && window_numbers(graph, node) <= MOST_WINDOW;
}

/* Numbers of the units' format in one buffer, to which nothing was fused, the last dimension in whole steps of the
 * units unless those are put together of single numbers. */
static bool is_plain(const bd_graph *graph, bd_tensor contraction, const bd_kernel *kernel, const bd_target *target,
                     int side)
{
    const bd_tensor operand = graph->nodes[contraction].inputs[side], input = bd_stored_operand(graph, operand);
    const bd_shape *shape = &graph->nodes[operand].shape;
    const int number = kernel ? bd_kernel_operand(kernel, input) : 0;
    return graph->nodes[input].format == bd_matrix_format(graph, contraction, target) && target->half.storage &&
           (shape->dim[shape->rank - 1] % target->matrix.k == 0 ||
            (side == 0 && has_few_channels(graph, &graph->nodes[contraction]))) &&
           number >= 0 && (!kernel || kernel->operands[number].access == BD_ACCESS_BUFFER);
}

/* Windows that leap over pixels would have most of a patch copied in vain; a data gradient's taps lie as in a patch
 * where they do not even stride. */
static bool is_suited(const bd_node *node)
{
    const bd_window *w = &node->attr.window;
    switch (node->op) {
    case BD_OP_CONV2D:
    case BD_OP_CONV2D_WEIGHT: return w->stride[0] <= w->size[0] && w->stride[1] <= w->size[1];
    case BD_OP_CONV2D_DATA: return w->stride[0] == 1 && w->stride[1] == 1;
    default: return false;
    }
}

/* The pixels that tiles are made of: those of the result, or of dy. */
static const bd_shape *pixels_of(const bd_graph *graph, const bd_node *node)
{
    return node->op == BD_OP_CONV2D_WEIGHT ? &graph->nodes[node->inputs[1]].shape : &node->shape;
}

/* Rows or columns, with padding, that `count` of them read. */
static int64_t padded(const bd_node *node, int axis, int64_t count)
{
    return (count - 1) * node->attr.window.stride[axis] + node->attr.window.size[axis];
}

/* Work-groups beside each other, each with columns of its own. */
static int64_t columns_of(const bd_contraction *c, const bd_tile *tile)
{
    return c->n / tile->n;
}

/* Bytes of shared memory. Lines of pixels and of weights are a piece longer than what they hold, rows of sums eight
 * numbers. Of two stages there are patches and, for a weight gradient, pixels of dy, later its sums; else there are the
 * weights, and sixteen rows of each subgroup's sums. */
static int64_t shared_bytes(const bd_graph *graph, bd_tensor contraction, const bd_tile *tile, int64_t images,
                            int64_t rows)
{
    const bd_node *node = &graph->nodes[contraction];
    const bd_contraction c = bd_contraction_of(graph, contraction);
    const int64_t columns = pixels_of(graph, node)->dim[2], channels = graph->nodes[node->inputs[0]].shape.dim[3];
    const int64_t taps = node->attr.window.size[0] * node->attr.window.size[1];
    const int64_t pixels_read = images * padded(node, 0, rows) * padded(node, 1, columns);
    const bool few = has_few_channels(graph, node);
    const int64_t patch = (few ? bd_ceil_divide(pixels_read * channels, 8) : pixels_read * (channels / 8 + 1)) * PIECE;
    if (node->op == BD_OP_CONV2D_WEIGHT) {
        const int64_t pixels = bd_ceil_divide(images * rows * columns, 16) * 16 * (tile->n / 8 + 1) * PIECE;
        const int64_t sums = c.m * (tile->n + 8) * (int64_t)sizeof(float);
        return 2 * (patch + pixels) > sums ? 2 * (patch + pixels) : sums;
    }
    const int64_t weights = node->op == BD_OP_CONV2D ? bd_ceil_divide(c.k, 16) * 16 * (c.n / 8 + 1) * PIECE
                                                     : taps * c.n * (channels / 8 + 1) * PIECE;
    const int64_t warps = tile->m / tile->item_m * (tile->n / tile->item_n);
    /* Sums of columns take the place of the rows: a four of each number and work-item. */
    const int64_t row_sums = 16 * (tile->item_n + 8), column_sums = BD_COLUMN_NUMBERS * BD_WIDTH * 32;
    return weights + 2 * patch + warps * (row_sums > column_sums ? row_sums : column_sums) * (int64_t)sizeof(float);
}

static int64_t sums_of(const bd_tile *tile)
{
    return tile->item_m * tile->item_n / 32;
}

/* Registers of a work-item, as ptxas counts them: its sums, what else there is, and, where fragments are put together
 * of single numbers, where those lie. */
static int64_t registers(const bd_graph *graph, const bd_node *node, const bd_tile *tile)
{
    const int64_t few = has_few_channels(graph, node) ? tile->item_m / 8 + window_numbers(graph, node) / 4 + 8 : 0;
    return sums_of(tile) + 40 + few;
}

bool bd_resident_complete(const bd_graph *graph, bd_tensor contraction, bd_tile *tile)
{
    const bd_node *node = &graph->nodes[contraction];
    const bd_contraction c = bd_contraction_of(graph, contraction);
    if ((node->op == BD_OP_CONV2D_WEIGHT) != (tile->m == 0))
        return false;
    if (tile->m > 0)
        return tile->n == c.n;
    const int64_t channels = graph->nodes[node->inputs[0]].shape.dim[3];
    /* A column of work-groups reads all pixels for sixteen results: of more than these wgmma was faster, 45 us to 88 of
     * 64 to 128 channels, and 60 to 91 of 128 to 128. */
    enum { MOST_CHANNELS = 64 };
    if (channels > MOST_CHANNELS || c.n > MOST_CHANNELS)
        return false;
    /* What a subgroup puts together number by number it multiplies by all columns: most of its instructions are for
     * that. */
    const bool few = has_few_channels(graph, node);
    if (few && (tile->item_n != tile->n || tile->n != c.n))
        return false;
    const int64_t sets = (few ? 1 : channels / 16) * (tile->n / tile->item_n); /* of sums, one a subgroup */
    if ((!few && channels % 16) || sets < 1 || tile->slices % sets || c.n % tile->n)
        return false;
    tile->item_m = (uint32_t)(few ? bd_ceil_divide(c.m, 16) * 16 : c.m / channels * 16);
    tile->m = few ? tile->item_m : (uint32_t)c.m, tile->slices /= (uint32_t)sets;
    return true;
}

bool bd_resident_of(const bd_graph *graph, bd_tensor contraction, const bd_kernel *kernel, const bd_tile *tile,
                    const bd_target *target, bd_resident *r)
{
    const bd_node *node = &graph->nodes[contraction];
    const bd_contraction c = bd_contraction_of(graph, contraction);
    const bool weight = node->op == BD_OP_CONV2D_WEIGHT;
    const int64_t units = target->limits.compute_units ? target->limits.compute_units : 1;
    const int64_t items = bd_group_items(tile) * target->matrix.lanes, space = weight ? tile->k : tile->m;
    if (!is_suited(node) || !is_plain(graph, contraction, kernel, target, 0) ||
        !is_plain(graph, contraction, kernel, target, 1) || pixels_of(graph, node)->dim[2] > space)
        return false;
    /* Whole images, or whole rows of one, as even as can be. */
    const bd_shape *out = pixels_of(graph, node);
    const int64_t most = bd_smaller(space / out->dim[2], out->dim[1]);
    const int64_t rows = bd_ceil_divide(out->dim[1], bd_ceil_divide(out->dim[1], most));
    const int64_t images = rows == out->dim[1] ? bd_smaller(space / (rows * out->dim[2]), out->dim[0]) : 1;
    const int64_t tiles = bd_ceil_divide(out->dim[0], images) * bd_ceil_divide(out->dim[1], rows);
    const int64_t bytes = shared_bytes(graph, contraction, tile, images, rows);
    if (bytes > target->matrix.resident_bytes || sums_of(tile) > MOST_SUMS)
        return false;
    const int64_t patch = images * padded(node, 0, rows) * padded(node, 1, out->dim[2]);
    if (has_few_channels(graph, node) && patch * graph->nodes[node->inputs[0]].shape.dim[3] > MOST_LOADS * items)
        return false;
    int64_t together = bd_smaller(PROCESSOR_BYTES / (bytes + GROUP_BYTES), PROCESSOR_ITEMS / items);
    together = bd_smaller(together, PROCESSOR_REGISTERS / (items * registers(graph, node, tile)));
    *r = (bd_resident){
        .images = (uint32_t)images, .rows = (uint32_t)rows, .tiles = (uint32_t)tiles, .bytes = (uint32_t)bytes
    };
    together = (together > 1 ? together : 1) * units;
    if (!weight) {
        /* As many work-groups as are there at once, and each with as many tiles as the next one. */
        r->groups = (uint32_t)bd_ceil_divide(tiles, bd_ceil_divide(tiles, together));
        return true;
    }
    /* Partial sums are written and read again: no more of them than half of what is multiplied, if the processors have
     * work. */
    const int64_t columns = columns_of(&c, tile), few = bd_ceil_divide(units, columns);
    const int64_t operands = bd_shape_elements(&graph->nodes[node->inputs[0]].shape) + bd_shape_elements(out);
    const int64_t parts = operands / (4 * c.m * c.n), fit = bd_smaller(together, 2 * units) / columns;
    const int64_t wanted = bd_smaller(parts > few ? bd_smaller(parts, fit > few ? fit : few) : few, tiles);
    const int64_t whole = wanted > 1 ? bd_ceil_divide(c.k, bd_chunk_length(c.k, wanted)) : 1;
    r->chunks = (uint32_t)(kernel ? (node->chunks > 1 ? node->chunks : 1) : whole);
    r->groups = (uint32_t)(columns * r->chunks);
    return true;
}

bool bd_resident_is_whole(const bd_graph *graph, bd_tensor contraction, const bd_tile *tile, const bd_target *target)
{
    const bd_shape *out = pixels_of(graph, &graph->nodes[contraction]);
    bd_resident r;
    return bd_resident_of(graph, contraction, NULL, tile, target, &r) && out->dim[0] % r.images == 0 &&
           out->dim[1] % r.rows == 0 && (int64_t)r.images * r.rows * out->dim[2] == tile->m;
}

/* What a processor takes, in microseconds of an H100. The bytes of memory pass at 2.6 TB/s while the products are done,
 * 750 a cycle (as mma.sync does a large product, of eight subgroups at least), or what they read from local memory
 * passes, 128 bytes a cycle, or a tile's steps follow each other; but of the first of a work-group's tiles nothing is
 * hidden, nor are the weights or the partial sums. Counted, not measured. */
double bd_resident_microseconds(const bd_graph *graph, bd_tensor contraction, const bd_tile *tile,
                                const bd_target *target, const bd_resident *r)
{
    const double cycles = 1.7e3, bandwidth = 2.6e6, begin = 2;
    const bd_node *node = &graph->nodes[contraction];
    const bd_contraction c = bd_contraction_of(graph, contraction);
    const bool weight = node->op == BD_OP_CONV2D_WEIGHT;
    const double units = target->limits.compute_units ? target->limits.compute_units : 1;
    const double pixels = weight ? tile->k : tile->m, sums = (double)(weight ? c.m : c.k) * tile->n;
    const double groups = fmax(r->groups / units, 1), warps = groups * bd_group_items(tile);
    const double tiles = (double)r->tiles * (weight ? (double)columns_of(&c, tile) : 1);
    const double share = fmax(tiles / units, 1), turns = fmax(tiles / r->groups, 1);
    /* Bytes from local memory: of the operand that is read at every tap, and of the other one. */
    const double taps = (double)(node->attr.window.size[0] * node->attr.window.size[1]);
    double local = weight ? 2 * pixels * ((double)c.m * tile->n / tile->item_n + (double)c.m / taps / 16 * tile->n)
                          : 2 * (double)c.k * (pixels * tile->n / tile->item_n + pixels / tile->item_m * tile->n) +
                                8 * pixels * tile->n;
    /* Numbers one by one: a load of 64 bytes for 32 lanes, and five instructions for two of them. */
    double instructions = 0;
    if (has_few_channels(graph, node)) {
        local *= 2;
        instructions = pixels / 16 * tile->n / tile->item_n *
                       (40 * (double)bd_ceil_divide(window_numbers(graph, node), 16) + (weight ? 60 : 0));
    }
    const double steps =
        turns * (weight ? pixels / 16 / tile->slices * (taps * 20 + 60) + 700 : (double)c.k / 16 * 40 + 700);
    const double products = pixels * sums / (750 * fmin(warps / 8, 1));
    const double memory =
        2.0 *
        (double)(bd_shape_elements(&graph->nodes[node->inputs[0]].shape) + bd_shape_elements(pixels_of(graph, node))) /
        bandwidth;
    const double work = fmax(share * fmax(fmax(products, local / 128), instructions / 4), steps) / cycles;
    const double rest =
        weight ? 8 * (double)(c.m * c.n) * r->chunks / bandwidth + tile->slices * 0.1 : 2 * sums / 64 / cycles;
    return begin + rest + fmax(memory, work) + fmin(memory, work) / turns;
}
