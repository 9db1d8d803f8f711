/* Configures the convolutions that keep their weights in shared memory, or their weight's sums in registers:
 * contraction_resident.cl. */
#include "print.h"
#include "tile.h"

void bd_print_contraction_resident(bd_printer *printer)
{
    const bd_graph *graph = printer->plan->graph;
    const bd_kernel *kernel = printer->kernel;
    const bd_node *node = &graph->nodes[kernel->anchor];
    const bd_tile *tile = &kernel->tile;
    const bool weight = node->op == BD_OP_CONV2D_WEIGHT;
    const bd_shape *pixels = weight ? &graph->nodes[node->inputs[1]].shape : &node->shape;
    const int64_t tiles =
        (pixels->dim[0] + tile->images - 1) / tile->images * ((pixels->dim[1] + tile->rows - 1) / tile->rows);
    const int64_t walkers = weight ? node->chunks : (int64_t)kernel->groups[0] * kernel->groups[1];
    printer->skeleton = "contraction_resident";
    bd_print_operands(printer);
    bd_print_images(printer);
    /* Where all have but one tile none needs a second patch. */
    bd_text_append(&printer->macros,
                   "#define WEIGHT %d\n#define TILE_IMAGES %uu\n#define TILE_ROWS %uu\n#define TILE_M %uu\n"
                   "#define TILE_N %uu\n#define WARP_M %uu\n#define WARP_N %uu\n#define SLICES %uu\n#define STAGES %d\n"
                   "#define MATRIX_BF16 %d\n#define LONG_RESULTS %d\n",
                   weight, tile->images, tile->rows, tile->m, tile->n, tile->item_m, tile->item_n, tile->slices,
                   walkers < tiles ? 2 : 1, bd_matrix_format(graph, kernel->anchor, printer->target) == BD_BF16,
                   bd_results_are_long(graph, kernel));
    for (int side = 0; side < 2; side++) /* as they lie: bd_resident_of */
        bd_text_append(&printer->macros, "#define %c_PIECE(x) (b%d + (x))\n", "AB"[side],
                       bd_kernel_operand(kernel, bd_stored_operand(graph, node->inputs[side])));
}
