/* Chooses and configures the skeleton of a contraction kernel. */
#include "print.h"
#include "tile.h"

/* Into how many copies a loop is unrolled without a rest. */
static int unroll(int64_t length)
{
    int copies = 8;
    while (length % copies)
        copies--;
    return copies;
}

void bd_print_images(bd_printer *printer)
{
    const bd_graph *graph = printer->plan->graph;
    const bd_node *node = &graph->nodes[printer->kernel->anchor];
    const bd_shape *in = &graph->nodes[node->inputs[0]].shape;
    const bd_shape *out = node->op == BD_OP_CONV2D_WEIGHT ? &graph->nodes[node->inputs[1]].shape : &node->shape;
    const bd_window *window = &node->attr.window;
    const bool back = node->op == BD_OP_CONV2D_DATA;
    bd_text *macros = &printer->macros;
    bd_text_append(macros, "#define IMAGES %uu\n#define IN_ROWS %uu\n#define IN_COLUMNS %uu\n#define CHANNELS %uu\n",
                   (unsigned)in->dim[0], (unsigned)in->dim[1], (unsigned)in->dim[2], (unsigned)in->dim[3]);
    bd_text_append(
        macros, "#define OUT_ROWS %uu\n#define OUT_COLUMNS %uu\n#define WINDOW_ROWS %uu\n#define WINDOW_COLUMNS %uu\n",
        (unsigned)out->dim[1], (unsigned)out->dim[2], (unsigned)window->size[0], (unsigned)window->size[1]);
    for (int d = 0; d < 2; d++) {
        const unsigned stride = (unsigned)window->stride[d];
        const int pad = (int)(back ? window->size[d] - 1 - window->pad[d][0] : window->pad[d][0]);
        bd_text_append(macros, "#define STRIDE_%c %uu\n#define DILATE_%c %u\n#define PAD_%c %d\n", "YX"[d],
                       back ? 1 : stride, "YX"[d], back ? stride : 1, "YX"[d], pad);
    }
    bd_text_append(macros, "#define FLIP %d\n", back);
}

/* A convolution whose input is copied with its padding. */
static void print_copied_images(bd_printer *printer)
{
    const bd_graph *graph = printer->plan->graph;
    const bd_node *node = &graph->nodes[printer->kernel->anchor];
    const bd_tile *tile = &printer->kernel->tile;
    bd_print_images(printer);
    bd_text_append(&printer->macros, "#define TILE_IMAGES %uu\n#define TILE_ROWS %uu\n#define UNROLL %d\n",
                   tile->images, tile->rows,
                   unroll(tile->kind == BD_TILE_VECTOR_CONV
                              ? node->attr.window.size[1] * graph->nodes[node->inputs[0]].shape.dim[3]
                              : graph->nodes[node->inputs[1]].shape.dim[2]));
}

/* Fours of neighbours are loaded together where they lie side by side and are all padding or none: the last dimension's
 * elements follow each other, and of k each part has whole fours. */
static void print_pieces(bd_printer *printer, const char *name, bd_tensor input, bool along_k)
{
    const bd_graph *graph = printer->plan->graph;
    const bd_node *node = &graph->nodes[printer->kernel->anchor];
    const bd_shape *shape = &graph->nodes[input].shape;
    const int64_t chunks = node->chunks > 1 ? node->chunks : 1, k = bd_contraction_of(graph, printer->kernel->anchor).k;
    const bool fours =
        shape->dim[shape->rank - 1] % 4 == 0 && (!along_k || chunks == 1 || bd_chunk_length(k, chunks) % 4 == 0);
    bd_text_append(&printer->macros, "#define %s_FOURS %d\n", name, fours);
    if (fours)
        bd_print_fours(printer, name, input);
}

static void print_group(bd_printer *printer)
{
    const bd_node *node = &printer->plan->graph->nodes[printer->kernel->anchor];
    print_pieces(printer, "A", node->inputs[0], bd_inner_is_k(node, 0));
    print_pieces(printer, "B", node->inputs[1], bd_inner_is_k(node, 1));
    bd_text_append(&printer->macros, "#define SLICES %uu\n", printer->kernel->tile.slices);
}

void bd_print_contraction(bd_printer *printer)
{
    static const char *const skeletons[] = {
        [BD_TILE_GROUP] = "contraction_group",
        [BD_TILE_VECTOR] = "contraction_vector",
        [BD_TILE_VECTOR_CONV] = "contraction_vector_conv",
        [BD_TILE_VECTOR_WEIGHT] = "contraction_vector_weight",
    };
    const bd_tile *tile = &printer->kernel->tile;
    bd_text *macros = &printer->macros;
    if (tile->kind == BD_TILE_SIMD) {
        bd_print_contraction_simd(printer);
        return;
    }
    if (tile->kind == BD_TILE_RESIDENT) {
        bd_print_contraction_resident(printer);
        return;
    }
    if (tile->kind == BD_TILE_WARPGROUP8 || (tile->kind == BD_TILE_MATRIX8 && printer->dialect == BD_DIALECT_OPENCL)) {
        bd_print_contraction_codes(printer);
        return;
    }
    if (bd_tile_uses_matrix_units(tile)) {
        bd_print_contraction_matrix(printer);
        return;
    }
    bd_print_operands(printer);
    if (tile->kind == BD_TILE_GROUP)
        print_group(printer);
    if (tile->kind == BD_TILE_VECTOR_CONV || tile->kind == BD_TILE_VECTOR_WEIGHT)
        print_copied_images(printer);
    bd_text_append(
        macros, "#define TILE_M %uu\n#define TILE_N %uu\n#define TILE_K %uu\n#define ITEM_M %uu\n#define ITEM_N %uu\n",
        tile->m, tile->n, tile->k, tile->item_m, tile->item_n);
    printer->skeleton = skeletons[tile->kind];
}
