/* How contraction_matrix.cl has its panels brought by tensor maps: A_BOX(to, k, m, barrier) and B_BOX(to, k, n, barrier)
 * copy the box of a panel that begins at step k and at row m of A, or column n of B. */
#include "print.h"
#include "tensor_map.h"
#include "tile.h"

typedef unsigned long long whole;

static void print_rows(bd_text *macros, int side, const char *number, const char *row)
{
    bd_text_append(macros, "#define %c_BOX(to, k, %c, barrier) COPY_BOX2(to, TENSOR_MAP(%d), %s, %s, barrier)\n",
                   "AB"[side], "mn"[side], side, number, row);
}

/* Each pixel that is counted sees, through the tap, the one that lies as far from it as the tap from the padding; a
 * data gradient's in the other direction. */
static void print_images(bd_text *macros, const bd_graph *graph, const bd_node *node)
{
    const bool weight = node->op == BD_OP_CONV2D_WEIGHT, back = node->op == BD_OP_CONV2D_DATA;
    const bd_shape *pixels = weight ? &graph->nodes[node->inputs[1]].shape : &node->shape;
    const bd_window *w = &node->attr.window;
    const whole channels = (whole)graph->nodes[node->inputs[0]].shape.dim[3];
    const whole columns = (whole)pixels->dim[2], rows = (whole)pixels->dim[1];
    const char pixel = weight ? 'k' : 'm', tap = weight ? 'm' : 'k', sign = back ? '-' : '+', other = back ? '+' : '-';
    bd_text_append(macros, "#define A_BOX(to, k, m, barrier) COPY_BOX4(to, TENSOR_MAP(0), (%c) %% %lluu, ", tap,
                   channels);
    bd_text_append(macros, "(%c) %% %lluu %c (%c) / %lluu %% %lluu %c %lluu, ", pixel, columns, sign, tap, channels,
                   (whole)w->size[1], other, (whole)w->pad[1][0]);
    bd_text_append(macros, "(%c) / %lluu %% %lluu %c (%c) / %lluu %c %lluu, ", pixel, columns, rows, sign, tap,
                   channels * (whole)w->size[1], other, (whole)w->pad[0][0]);
    bd_text_append(macros, "(%c) / %lluu, barrier)\n", pixel, columns * rows);
}

void bd_print_tensor_maps(bd_printer *printer)
{
    const bd_graph *graph = printer->plan->graph;
    const bd_kernel *kernel = printer->kernel;
    const bd_node *node = &graph->nodes[kernel->anchor];
    bd_tensor_map maps[2];
    const bool found = bd_tensor_maps_of(graph, kernel->anchor, kernel, &kernel->tile, printer->target, maps);
    bd_text_append(&printer->macros, "#define TENSOR_MAPS %d\n", found);
    if (!found)
        return;
    if (maps[0].rank == 4)
        print_images(&printer->macros, graph, node);
    else
        print_rows(&printer->macros, 0, bd_inner_is_k(node, 0) ? "k" : "m", bd_inner_is_k(node, 0) ? "m" : "k");
    if (node->op == BD_OP_CONV2D_DATA) { /* [ky, kx, n, channel] */
        const bd_shape *weights = &graph->nodes[node->inputs[1]].shape;
        bd_text_append(&printer->macros,
                       "#define B_BOX(to, k, n, barrier) COPY_BOX2(to, TENSOR_MAP(1), (k) %% %lluu, "
                       "(k) / %lluu * %lluu + (n), barrier)\n",
                       (whole)weights->dim[3], (whole)weights->dim[3], (whole)weights->dim[2]);
    } else {
        print_rows(&printer->macros, 1, bd_inner_is_k(node, 1) ? "k" : "n", bd_inner_is_k(node, 1) ? "n" : "k");
    }
    bd_text_append(&printer->macros, "#define A_MAPPED b%d\n#define B_MAPPED b%d\n", maps[0].operand, maps[1].operand);
}
