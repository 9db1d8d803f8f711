/* Configures attention: cl/attention.cl and shaders/attention.comp. */
#include "print.h"
#include "tile.h"

#include <math.h>

/* The function behind the macro STORE_NAME(x, value), which rounds and stores element x of a result; or nothing, where nobody
 * wants it. */
static void print_result(bd_printer *printer, const char *name, bd_op op)
{
    const bool opencl = printer->dialect == BD_DIALECT_OPENCL;
    const bd_kernel *kernel = printer->kernel;
    const bd_graph *graph = printer->plan->graph;
    bd_emitter *emitter = printer->emitter;
    bd_tensor result = BD_NONE;
    for (int i = 0; i < kernel->node_count; i++)
        if (graph->nodes[kernel->nodes[i]].op == op && bd_kernel_operand(kernel, kernel->nodes[i]) >= 0)
            result = kernel->nodes[i];
    if (result == BD_NONE) {
        bd_text_append(&printer->macros, "#define STORE_%s(x, value)\n", name);
        return;
    }
    bd_text_append(&printer->macros,
                   opencl ? "#define STORE_%s(x, value) store_%s(BD_BUFFERS, x, value)\n"
                          : "#define STORE_%s(x, value) store_%s(x, value)\n",
                   name, name);
    bd_text_append(bd_emitter_text(emitter),
                   opencl ? "static inline void store_%s(BD_ARGUMENTS, const uint x, const float value)\n{\n"
                          : "void store_%s(const uint x, const float value)\n{\n",
                   name);
    bd_text_append(bd_emitter_text(emitter), "BD_VALUE result = value;\n");
    bd_emit_round(emitter, &graph->nodes[result], "x", "result");
    bd_emit_know(emitter, result, "x", "result");
    bd_emit_store(emitter, result, "x");
    bd_text_append(bd_emitter_text(emitter), "}\n");
}

void bd_print_attention(bd_printer *printer)
{
    const bd_graph *graph = printer->plan->graph;
    const bd_kernel *kernel = printer->kernel;
    const bd_node *node = &graph->nodes[kernel->anchor];
    const bd_shape *qkv = &graph->nodes[node->inputs[0]].shape;
    const int64_t depth = qkv->dim[2] / 3 / node->attr.attention.heads;
    bd_text *macros = &printer->macros;
    printer->skeleton = "attention";
    bd_text_append(macros, "#define SEQUENCES %lluu\n#define TOKENS %lluu\n#define HEADS %lluu\n#define DEPTH %lluu\n",
                   (unsigned long long)qkv->dim[0], (unsigned long long)qkv->dim[1],
                   (unsigned long long)node->attr.attention.heads, (unsigned long long)depth);
    bd_text_append(macros, "#define CAUSAL %d\n#define BACKWARD %d\n#define WHOLE %d\n#define SCALE %.9ef\n",
                   node->attr.attention.causal, node->op == BD_OP_ATTENTION_GRAD, bd_attention_whole(graph, kernel),
                   1 / sqrt((double)depth));
    bd_text_append(macros, "#define LANES %uu\n#define ITEM %uu\n", kernel->tile.m / kernel->tile.item_m,
                   kernel->tile.item_m);
    bd_text_append(macros, "#define ACCUMULATE(sum, a, b) %s\n#define ROUND_SUM(x) %s\n",
                   node->accumulator == BD_F16 ? "BD_ADD_f16(sum, bd_round_f16((a) * (b)))" : "fma(a, b, sum)",
                   node->accumulator == BD_F16 ? "bd_round_f16(x)" : "(x)");
    bd_text_append(macros, "#define WIDE %d\n", depth % 4 == 0);
    bd_print_value(printer, "QKV", node->inputs[0]);
    bd_print_fours(printer, "QKV", node->inputs[0]);
    if (node->op == BD_OP_ATTENTION_GRAD) {
        bd_print_fours(printer, "DY", node->inputs[3]);
        bd_print_value(printer, "Y", node->inputs[1]);
        bd_print_value(printer, "SUM", node->inputs[2]);
        bd_print_value(printer, "DY", node->inputs[3]);
        print_result(printer, "DQKV", BD_OP_ATTENTION_GRAD);
    } else {
        print_result(printer, "Y", BD_OP_ATTENTION);
        print_result(printer, "SUM", BD_OP_ATTENTION_SUM);
    }
}
