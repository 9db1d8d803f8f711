/* The body of a kernel of tallies, whose work-groups count a part of a tensor each: cl/tally.cl and
 * shaders/tally.comp. */
#include "print.h"
#include "tally.h"

/* What the groups of one tally do with each of its values. */
static void print_count(bd_printer *printer, const bd_node *node)
{
    const uint64_t count = (uint64_t)bd_shape_elements(&printer->plan->graph->nodes[node->inputs[0]].shape);
    const uint64_t parts = (uint64_t)node->shape.dim[0], length = (count + parts - 1) / parts;
    bd_emitter *emitter = printer->emitter;
    bd_text *text = bd_emitter_text(emitter);
    const char *lanes[BD_WIDTH];
    bd_text_append(text,
                   "const uint first = min(part * %lluu, %lluu), last = min(first + %lluu, %lluu);\n"
                   "for (uint i = first + lane * BD_WIDTH; i < last; i += BD_LOCAL_X * BD_WIDTH) {\n",
                   (unsigned long long)length, (unsigned long long)count, (unsigned long long)length,
                   (unsigned long long)count);
    if (printer->kernel->width > 1)
        bd_emit_lane(emitter, "i", 0);
    const uint32_t neighbours = bd_emit_lanes(emitter, "i", lanes);
    for (uint32_t j = 0; j < neighbours; j++) {
        const char *before = bd_emit_value(emitter, node->inputs[0], lanes[j]);
        const char *after = bd_emit_value(emitter, node->inputs[1], lanes[j]);
        bd_text_append(text, "BD_TALLY(%s, %s)\n", before, after);
    }
    bd_text_append(text, "}\n");
}

/* And with a column of its row: the tally itself is stored, or assigned, or both. */
static void print_result(bd_printer *printer, bd_tensor tally)
{
    const bd_graph *graph = printer->plan->graph;
    const bd_kernel *kernel = printer->kernel;
    bd_emitter *emitter = printer->emitter;
    bd_emit_round(emitter, &graph->nodes[tally], "o", "total");
    bd_emit_know(emitter, tally, "o", "total");
    for (int i = 0; i < kernel->node_count; i++) {
        const bd_node *node = &graph->nodes[kernel->nodes[i]];
        if (kernel->nodes[i] == tally ? bd_kernel_operand(kernel, tally) >= 0
                                      : node->op == BD_OP_ASSIGN && node->inputs[1] == tally)
            bd_emit_store(emitter, kernel->nodes[i], "o");
    }
}

void bd_print_tally(bd_printer *printer)
{
    const bd_graph *graph = printer->plan->graph;
    const bd_kernel *kernel = printer->kernel;
    bd_emitter *emitter = printer->emitter;
    bd_text *text = bd_emitter_text(emitter);
    const unsigned long long rows = (unsigned long long)graph->nodes[kernel->anchor].shape.dim[0];
    printer->skeleton = "tally";
    bd_text_append(&printer->macros, "#define BD_ROWS %lluu\n#define BD_WIDTH %uu\n", rows, kernel->width);
    for (int results = 0; results < 2; results++) {
        unsigned number = 0;
        if (results)
            bd_text_append(text,
                           "BD_MERGE\nfor (uint column = lane; column < %uu; column += BD_LOCAL_X) {\n"
                           "const uint o = part * %uu + column;\nBD_VALUE total = BD_TOTAL(column);\n",
                           (unsigned)BD_TALLY_COLUMNS, (unsigned)BD_TALLY_COLUMNS);
        for (int i = 0; i < kernel->node_count; i++) {
            const bd_node *node = &graph->nodes[kernel->nodes[i]];
            if (node->op != BD_OP_TALLY)
                continue;
            bd_text_append(text, "if (number == %uu) {\n", number++);
            const int mark = bd_emit_open(emitter);
            if (results)
                print_result(printer, kernel->nodes[i]);
            else
                print_count(printer, node);
            bd_emit_close(emitter, mark);
            bd_text_append(text, "}\n");
        }
    }
    bd_text_append(text, "}\n");
}
