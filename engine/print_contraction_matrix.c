/* Configures the contractions by matrix units: contraction_matrix.cl, contraction_matrix.comp, contraction_matrix2.comp. */
#include "print.h"
#include "tile.h"

int bd_print_binding(const bd_kernel *kernel, int number)
{
    int binding = 0;
    for (int i = 0; i < number; i++)
        binding += (int)kernel->operands[i].parts + (kernel->operands[i].access != BD_ACCESS_BUFFER);
    return binding;
}

/* Pieces of eight are loaded at once where they lie side by side in a buffer, in the units' format, aligned, and are all padding or none:
 * `inner` elements follow each other, and of k each part has whole pieces. */
static void print_pieces(bd_printer *printer, char operand, bd_tensor input, int64_t inner, bool along_k)
{
    const bd_graph *graph = printer->plan->graph;
    const bd_kernel *kernel = printer->kernel;
    const bd_contraction c = bd_contraction_of(graph, kernel->anchor);
    const int64_t chunks = graph->nodes[kernel->anchor].chunks > 1 ? graph->nodes[kernel->anchor].chunks : 1;
    const int64_t chunk = bd_chunk_length(c.k, chunks);
    input = bd_stored_operand(graph, input);
    const int number = bd_kernel_operand(kernel, input);
    const bd_format units = bd_matrix_format(graph, kernel->anchor, printer->target);
    const bool wide = number >= 0 && kernel->operands[number].parts == 1 && graph->nodes[input].format == units &&
                      kernel->operands[number].access == BD_ACCESS_BUFFER && printer->target->half.storage &&
                      inner % 8 == 0 && (!along_k || chunks == 1 || chunk % 8 == 0);
    bd_text_append(&printer->macros, "#define %c_WIDE %d\n", operand, wide);
    if (!wide)
        return;
    if (printer->dialect == BD_DIALECT_OPENCL)
        bd_text_append(&printer->macros, "#define %c_PIECE(x) (b%d + (x))\n", operand, number);
    else
        bd_text_append(&printer->macros,
                       "layout(set = 0, binding = %d) readonly buffer Pieces%c { uvec4 pieces_%c[]; };\n"
                       "#define %c_PIECE(x) pieces_%c[(x) / 8u]\n",
                       bd_print_binding(kernel, number), operand, operand, operand, operand);
}

/* MULTIPLY_GROUP(c, a, b, keep): c = a b, plus c if `keep`, of 64 x n numbers of which each work-item has n / 2. */
static void print_multiply_group(bd_text *macros, uint32_t n, bool a_turned, bool b_turned)
{
    const uint32_t count = n / 2;
    bd_text_append(macros,
                   "#define MULTIPLY_GROUP(c, a, b, keep) asm volatile(\"//+{ .reg .pred p; setp.ne.b32 p, %%%u, 0; "
                   "wgmma.mma_async.sync.aligned.m64n%uk16.f32.f16.f16 {",
                   count + 2, n);
    for (uint32_t i = 0; i < count; i++)
        bd_text_append(macros, "%s%%%u", i ? ", " : "", i);
    bd_text_append(macros, "}, %%%u, %%%u, p, 1, 1, %d, %d; }\\n\" : ", count, count + 1, a_turned, b_turned);
    for (uint32_t i = 0; i < count; i++)
        bd_text_append(macros, "%s\"+f\"((c)[%u])", i ? ", " : "", i);
    bd_text_append(macros, " : \"l\"(a), \"l\"(b), \"r\"((int)(keep)) : \"memory\")\n");
}

static void print_fragments(bd_printer *printer)
{
    const bd_tile *tile = &printer->kernel->tile;
    const bd_matrix_units *units = &printer->target->matrix;
    printer->skeleton = "contraction_matrix";
    bd_text_append(&printer->macros,
                   "#define WARP_M %uu\n#define WARP_N %uu\n#define LANES %uu\n#define ROWS %u\n#define MATRIX_M %uu\n"
                   "#define MATRIX_N %uu\n#define MATRIX_K %uu\n#define A_TENSOR 0\n#define B_TENSOR 0\n",
                   tile->item_m, tile->item_n, units->lanes, tile->item_m / units->m, units->m, units->n, units->k);
}

static void print_joined(bd_printer *printer)
{
    const bd_graph *graph = printer->plan->graph;
    const bd_kernel *kernel = printer->kernel;
    printer->skeleton = "contraction_matrix2";
    bd_text_append(&printer->macros, "#define ITEMS %uu\n#define SCOPE %s\n", kernel->local[0],
                   printer->target->joined.workgroup ? "gl_ScopeWorkgroup" : "gl_ScopeSubgroup");
    for (int side = 0; side < 2; side++) {
        const bool in_rows = bd_matrix_lies_in_rows(graph, kernel->anchor, kernel, printer->target, side);
        bd_text_append(&printer->macros, "#define %c_TENSOR %d\n", "AB"[side], in_rows);
        const bd_tensor input = bd_stored_operand(graph, graph->nodes[kernel->anchor].inputs[side]);
        if (in_rows)
            bd_text_append(&printer->macros, "#define %c_BUFFER b%d\n", "AB"[side], bd_kernel_operand(kernel, input));
    }
}

void bd_print_contraction_matrix(bd_printer *printer)
{
    const bd_graph *graph = printer->plan->graph;
    const bd_node *node = &graph->nodes[printer->kernel->anchor];
    const bd_tile *tile = &printer->kernel->tile;
    const bd_shape *a = &graph->nodes[node->inputs[0]].shape, *b = &graph->nodes[node->inputs[1]].shape;
    bd_print_operands(printer);
    bd_text_append(&printer->macros, "#define TILE_M %uu\n#define TILE_N %uu\n#define TILE_K %uu\n", tile->m, tile->n,
                   tile->k);
    if (tile->kind == BD_TILE_MATRIX2)
        print_joined(printer);
    else
        print_fragments(printer);
    const bool matmul = node->op == BD_OP_MATMUL;
    const bool a_inner_k = bd_inner_is_k(node, 0), b_inner_k = bd_inner_is_k(node, 1);
    const bd_format units = bd_matrix_format(graph, printer->kernel->anchor, printer->target);
    bd_text_append(&printer->macros,
                   "#define WARPGROUP %d\n#define STAGES %uu\n#define CACHED %d\n#define MATRIX_BF16 %d\n",
                   tile->kind == BD_TILE_WARPGROUP, bd_matrix_stages(tile), !matmul, units == BD_BF16);
    if (tile->kind == BD_TILE_WARPGROUP)
        print_multiply_group(&printer->macros, tile->n, !a_inner_k, !b_inner_k);
    print_pieces(printer, 'A', node->inputs[0], a->dim[a->rank - 1], a_inner_k);
    print_pieces(printer, 'B', node->inputs[1], b->dim[b->rank - 1], b_inner_k);
}
