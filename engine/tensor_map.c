#include "tensor_map.h"
#include "arithmetic.h"
#include "emit.h"
#include "quantise.h"
#include "tile.h"

#define NUMBER_BYTES 2

/* [rows][numbers], whatever the operand's shape: what comes before its last dimension is taken together. */
static bool map_rows(const bd_shape *shape, bd_tensor_map *map)
{
    const int64_t numbers = shape->dim[shape->rank - 1], rows = numbers > 0 ? bd_shape_elements(shape) / numbers : 0;
    *map = (bd_tensor_map){ .rank = 2,
                            .size = { (uint32_t)numbers, (uint32_t)rows, 1, 1 },
                            .box = { BD_BOX_NUMBERS, BD_BOX_LINES, 1, 1 },
                            .stride = { (uint64_t)numbers * NUMBER_BYTES } };
    return numbers > 0 && rows > 0 && numbers <= INT32_MAX && rows <= INT32_MAX;
}

/* Images of which the window sees one pixel for each of `pixels`, which are counted in boxes. */
static bool map_images(const bd_shape *images, const bd_shape *pixels, bd_tensor_map *map)
{
    const int64_t columns = pixels->dim[2], rows = pixels->dim[1];
    const int64_t channels = images->dim[3], width = bd_smaller(columns, BD_BOX_LINES);
    if (width <= 0 || rows <= 0 || BD_BOX_LINES % width != 0)
        return false;
    const int64_t height = bd_smaller(rows, BD_BOX_LINES / width);
    if (BD_BOX_LINES / width % height != 0)
        return false;
    const int64_t count = BD_BOX_LINES / width / height;
    const uint64_t pixel = (uint64_t)channels * NUMBER_BYTES, row = pixel * (uint64_t)images->dim[2];
    *map = (bd_tensor_map){ .rank = 4,
                            .box = { BD_BOX_NUMBERS, (uint32_t)width, (uint32_t)height, (uint32_t)count },
                            .stride = { pixel, row, row * (uint64_t)images->dim[1] } };
    bool fits = channels % BD_BOX_NUMBERS == 0 && columns % width == 0 && rows % height == 0;
    for (int i = 0; i < 4; i++) {
        map->size[i] = (uint32_t)images->dim[3 - i];
        fits &= images->dim[3 - i] > 0 && images->dim[3 - i] <= INT32_MAX;
    }
    return fits;
}

static bool map_operand(const bd_graph *graph, bd_tensor contraction, int side, bd_tensor_map *map)
{
    const bd_node *node = &graph->nodes[contraction];
    const bd_window *w = &node->attr.window;
    const bd_shape *shape = &graph->nodes[node->inputs[side]].shape;
    const bool taps = node->op != BD_OP_MATMUL && !bd_window_is_one_tap(w);
    if (side == 1) /* of a data gradient a box is of one tap */
        return map_rows(shape, map) && (node->op != BD_OP_CONV2D_DATA || !taps || shape->dim[3] % BD_BOX_NUMBERS == 0);
    if (!taps)
        return map_rows(shape, map);
    const bd_shape *pixels = node->op == BD_OP_CONV2D_WEIGHT ? &graph->nodes[node->inputs[1]].shape : &node->shape;
    return w->stride[0] == 1 && w->stride[1] == 1 && map_images(shape, pixels, map);
}

bool bd_tensor_maps_of(const bd_graph *graph, bd_tensor contraction, const bd_kernel *kernel, const bd_tile *tile,
                       const bd_target *target, bd_tensor_map maps[2])
{
    const bd_node *node = &graph->nodes[contraction];
    const bd_contraction c = bd_contraction_of(graph, contraction);
    const int64_t chunks = bd_larger(node->chunks, 1);
    bool whole = target->matrix.tensor_maps && tile->kind == BD_TILE_WARPGROUP && tile->k == BD_BOX_NUMBERS &&
                 tile->m % BD_BOX_LINES == 0 && tile->n % BD_BOX_LINES == 0 && c.batch == 1 &&
                 (chunks == 1 || bd_chunk_length(c.k, chunks) % tile->k == 0) &&
                 bd_variant_allowed(target, node, BD_VARIANT_TENSOR_MAPS);
    for (int side = 0; side < 2 && whole; side++) {
        bd_tensor_map map;
        whole =
            bd_matrix_copies(graph, contraction, kernel, target, side) && map_operand(graph, contraction, side, &map);
        if (whole && maps) {
            maps[side] = map;
            maps[side].operand = kernel ? bd_kernel_operand(kernel, bd_stored_operand(graph, node->inputs[side])) : -1;
        }
    }
    return whole;
}

bool bd_kernel_maps(const bd_plan *plan, const bd_kernel *kernel, const bd_target *target, bd_tensor_map maps[2])
{
    return kernel->class == BD_KERNEL_CONTRACTION &&
           bd_tensor_maps_of(plan->graph, kernel->anchor, kernel, &kernel->tile, target, maps);
}
