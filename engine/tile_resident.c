/* Tiles of BD_TILE_RESIDENT: convolutions of few channels, whose weights a work-group keeps in shared memory (cl/contraction_resident.cl). */
#include "emit.h"
#include "quantise.h"
#include "tile.h"

/* Of an H100: what a processor has for its work-groups, and what it takes of that for each of them. */
enum { PROCESSOR_BYTES = 233472, GROUP_BYTES = 1024, PROCESSOR_ITEMS = 2048, PROCESSOR_REGISTERS = 65536 };
/* Bytes in a piece, eight numbers of 16 bits. */
enum { PIECE = 16 };

static int64_t ceil_divide(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

static double lesser(double a, double b)
{
    return a < b ? a : b;
}

bool bd_tile_is_ptx(const bd_tile *tile)
{
    return tile->kind == BD_TILE_WARPGROUP || tile->kind == BD_TILE_RESIDENT;
}

/* The stride of a convolution over its first operand: the data gradient has one of steps of one only. */
static const int64_t *stride_of(const bd_node *node)
{
    return node->attr.window.stride;
}

/* Numbers of the units' format in one buffer, to which nothing was fused, in whole steps of the units. */
static bool is_plain(const bd_graph *graph, bd_tensor contraction, const bd_kernel *kernel, const bd_target *target,
                     int side)
{
    const bd_tensor input = bd_stored_operand(graph, graph->nodes[contraction].inputs[side]);
    const int number = kernel ? bd_kernel_operand(kernel, input) : 0;
    return graph->nodes[input].format == bd_matrix_format(graph, contraction, target) && target->half.storage &&
           number >= 0 && (!kernel || kernel->operands[number].access == BD_ACCESS_BUFFER);
}

/* Whether every pixel of the input is read, by windows that do not leap: else a patch would be mostly in vain. */
static bool reads_every_pixel(const bd_window *w)
{
    return w->stride[0] <= w->size[0] && w->stride[1] <= w->size[1];
}

static bool is_convolution(const bd_graph *graph, bd_tensor contraction, const bd_kernel *kernel,
                           const bd_target *target)
{
    const bd_node *node = &graph->nodes[contraction];
    const bool data = node->op == BD_OP_CONV2D_DATA;
    return (data ? stride_of(node)[0] == 1 && stride_of(node)[1] == 1
                 : node->op == BD_OP_CONV2D && reads_every_pixel(&node->attr.window)) &&
           graph->nodes[node->inputs[0]].shape.dim[3] % target->matrix.k == 0 &&
           is_plain(graph, contraction, kernel, target, 0) && is_plain(graph, contraction, kernel, target, 1);
}

/* Rows or columns, with padding, that `count` results read. */
static int64_t padded(const bd_node *node, int axis, int64_t count)
{
    return (count - 1) * stride_of(node)[axis] + node->attr.window.size[axis];
}

/* Bytes of shared memory: weights and pixels, whose lines are a piece longer than what they hold, and sixteen padded rows of each
 * subgroup's sums. */
static int64_t shared_bytes(const bd_graph *graph, bd_tensor contraction, const bd_tile *tile, int64_t patch_bytes,
                            int stages)
{
    const bd_node *node = &graph->nodes[contraction];
    const bd_contraction c = bd_contraction_of(graph, contraction);
    const int64_t channels = graph->nodes[node->inputs[0]].shape.dim[3], taps = c.k / channels;
    const int64_t weights =
        node->op == BD_OP_CONV2D ? c.k * (c.n / 8 + 1) * PIECE : taps * c.n * (channels / 8 + 1) * PIECE;
    const int64_t warps = tile->m / tile->item_m * (tile->n / tile->item_n);
    return weights + stages * patch_bytes + warps * 16 * (tile->item_n + 8) * (int64_t)sizeof(float);
}

/* Registers of a work-item, as ptxas counts them: its sums, and what else there is. */
static int64_t registers(const bd_tile *tile)
{
    return tile->item_m * tile->item_n / 32 + 40;
}

bool bd_resident_of(const bd_graph *graph, bd_tensor contraction, const bd_kernel *kernel, const bd_tile *tile,
                    const bd_target *target, bd_resident *r)
{
    const bd_node *node = &graph->nodes[contraction];
    const bd_contraction c = bd_contraction_of(graph, contraction);
    const bd_shape *out = &node->shape;
    if (!is_convolution(graph, contraction, kernel, target) || c.n != tile->n || out->dim[2] > tile->m)
        return false;
    /* Whole images, or whole rows of one, as even as can be. */
    const int64_t pixels = out->dim[1] * out->dim[2], most = smaller(tile->m / out->dim[2], out->dim[1]);
    const int64_t rows = ceil_divide(out->dim[1], ceil_divide(out->dim[1], most));
    const int64_t images = rows == out->dim[1] ? smaller(tile->m / pixels, out->dim[0]) : 1;
    const int64_t channels = graph->nodes[node->inputs[0]].shape.dim[3];
    const int64_t patch = images * padded(node, 0, rows) * padded(node, 1, out->dim[2]) * (channels / 8 + 1) * PIECE;
    const int64_t bytes = shared_bytes(graph, contraction, tile, patch, 2);
    const int64_t tiles = ceil_divide(out->dim[0], images) * ceil_divide(out->dim[1], rows);
    const int64_t items = bd_group_items(tile) * target->matrix.lanes;
    if (bytes > target->matrix.resident_bytes)
        return false;
    /* As many work-groups as are there at once, and each with as many tiles as the next one. */
    int64_t together = smaller(PROCESSOR_BYTES / (bytes + GROUP_BYTES), PROCESSOR_ITEMS / items);
    together = smaller(together, PROCESSOR_REGISTERS / (items * registers(tile)));
    together = (together > 1 ? together : 1) * (target->limits.compute_units ? target->limits.compute_units : 1);
    *r = (bd_resident){ .images = (uint32_t)images,
                        .rows = (uint32_t)rows,
                        .tiles = (uint32_t)tiles,
                        .groups = (uint32_t)ceil_divide(tiles, ceil_divide(tiles, together)),
                        .bytes = (uint32_t)bytes };
    return true;
}

/* What a processor takes, in microseconds of an H100. The bytes of memory pass at 2.6 TB/s while the products are done, 750 a cycle (as
 * mma.sync does a large product, of eight subgroups at least), or what they read from local memory passes, 128 bytes a cycle, or a tile's steps follow each other;
 * but of the first of a work-group's tiles nothing is hidden. Counted, not measured. */
double bd_resident_microseconds(const bd_graph *graph, bd_tensor contraction, const bd_tile *tile,
                                const bd_target *target, const bd_resident *r)
{
    const double cycles = 1.7e3, bandwidth = 2.6e6, begin = 2;
    const bd_contraction c = bd_contraction_of(graph, contraction);
    const bd_shape *in = &graph->nodes[graph->nodes[contraction].inputs[0]].shape;
    const double units = target->limits.compute_units ? target->limits.compute_units : 1;
    const double k = (double)c.k, m = tile->m, n = tile->n, share = larger(r->tiles / units, 1);
    const double memory = 2.0 * ((double)bd_shape_elements(in) + (double)(c.m * c.n)) / bandwidth;
    const double groups = larger(r->groups / units, 1), warps = groups * bd_group_items(tile);
    const double products = m * n * k / (750 * lesser(warps / 8, 1));
    const double local = (2 * k * m * (n / tile->item_n) + 2 * k * n * (m / tile->item_m) + 8 * m * n) / 128;
    const double turns = (double)ceil_divide(r->tiles, r->groups), weights = 2 * k * n / 64;
    const double steps = turns * (k / 16 * 40 + 700);
    const double work = larger(share * larger(products, local), steps) / cycles;
    return begin + weights / cycles + larger(memory, work) + lesser(memory, work) / turns;
}
