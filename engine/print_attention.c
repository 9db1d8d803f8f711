/* Configures attention: cl/attention.cl and shaders/attention.comp, and by matrix units
 * cl/attention_matrix.cl and shaders/attention_matrix.comp. */
#include "control.h"
#include "emit_parts.h"
#include "print.h"
#include "tile.h"

#include <math.h>

/* The function behind the macro STORE_NAME(x, value), which rounds and stores element x of a result, or if `four`
 * behind STORE_NAME4(x, value), which does four from x on; or nothing, where nobody wants it. */
static void print_result(bd_printer *printer, const char *name, bd_op op, bool four)
{
    static const char *const values[BD_WIDTH] = { "result0", "result1", "result2", "result3" };
    const char *index = four ? "first" : "x"; /* that the first of four has neighbours stays known */
    const bool opencl = printer->dialect == BD_DIALECT_OPENCL;
    const bd_kernel *kernel = printer->kernel;
    const bd_graph *graph = printer->plan->graph;
    bd_emitter *emitter = printer->emitter;
    bd_tensor result = BD_NONE;
    for (int i = 0; i < kernel->node_count; i++)
        if (graph->nodes[kernel->nodes[i]].op == op && bd_kernel_operand(kernel, kernel->nodes[i]) >= 0)
            result = kernel->nodes[i];
    if (result == BD_NONE) {
        bd_text_append(&printer->macros, "#define STORE_%s%s(x, value)\n", name, four ? "4" : "");
        return;
    }
    bd_text_append(&printer->macros,
                   opencl ? "#define STORE_%s%s(x, value) store_%s(BD_BUFFERS, x, value)\n"
                          : "#define STORE_%s%s(x, value) store_%s(x, value)\n",
                   name, four ? "4" : "", name);
    bd_text_append(bd_emitter_text(emitter),
                   opencl ? "static inline void store_%s(BD_ARGUMENTS, const uint %s, const %s value)\n{\n"
                          : "void store_%s(const uint %s, const %s value)\n{\n",
                   name, index, four ? opencl ? "float4" : "vec4" : "float");
    const char *lanes[BD_WIDTH] = { index };
    uint32_t count = 1;
    if (four) {
        bd_emit_lane(emitter, index, 0);
        count = bd_emit_lanes(emitter, index, lanes);
    }
    for (uint32_t i = 0; i < count; i++) {
        bd_text_append(bd_emitter_text(emitter), four ? "BD_VALUE %s = value.%c;\n" : "BD_VALUE %s = value;\n",
                       values[i], "xyzw"[i]);
        bd_emit_round(emitter, &graph->nodes[result], lanes[i], values[i]);
        bd_emit_know(emitter, result, lanes[i], values[i]);
    }
    bd_emit_store(emitter, result, index);
    bd_text_append(bd_emitter_text(emitter), "}\n");
}

/* The numbers of an operand as they are stored: NAME_BITS, a pointer to them; or in GLSL NAME_PIECE(x), eight from x
 * on. */
static void print_bits(bd_printer *printer, const char *name, bd_tensor input)
{
    const bd_tensor stored = bd_stored_operand(printer->plan->graph, input);
    const int number = bd_kernel_operand(printer->kernel, stored);
    if (printer->dialect == BD_DIALECT_OPENCL)
        bd_text_append(&printer->macros, "#define %s_BITS b%d\n", name, number);
    else
        bd_text_append(&printer->macros,
                       "layout(set = 0, binding = %d) readonly buffer Pieces%s { uvec4 pieces_%s[]; };\n"
                       "#define %s_PIECE(x) pieces_%s[(x) / 8u]\n",
                       bd_print_binding(printer->kernel, number), name, name, name, name);
}

/* What drops weights, and what makes up for it; RESCALE and UNSCALE leave a number alone without dropout. */
static void print_dropout(bd_printer *printer, const bd_node *node)
{
    const bd_attention_attr *attr = &node->attr.attention;
    bd_text *macros = &printer->macros;
    if (!bd_drops_weights(node)) {
        bd_text_append(macros, "#define DROPOUT 0\n#define RESCALE(x) (x)\n#define UNSCALE(x) (x)\n");
        return;
    }
    const double keep = 1 - (double)attr->dropout;
    bd_text_append(macros, "#define DROPOUT 1\n#define RESCALE(x) ((x) * %.9ef)\n#define UNSCALE(x) ((x) * %.9ef)\n",
                   1 / keep, keep);
    bd_text_append(macros, "#define STREAM %uu\n#define KEPT_BELOW %uu\n", attr->stream,
                   (unsigned)ceil((double)bd_attention_kept(attr) * 0x1p24));
    static const struct {
        const char *name;
        unsigned word;
    } words[] = { { "SEED_LOW", BD_CONTROL_SEED_LOW },
                  { "SEED_HIGH", BD_CONTROL_SEED_HIGH },
                  { "TRAINING_STEP", BD_CONTROL_STEP } };
    for (int i = 0; i < 3; i++)
        bd_text_append(macros, "#define %s %s\n", words[i].name,
                       bd_emit_training_word(printer->emitter, words[i].word));
}

static void print_matrix(bd_printer *printer, const bd_node *node)
{
    const bd_graph *graph = printer->plan->graph;
    const bd_tile *tile = &printer->kernel->tile;
    const bd_matrix_units *units = &printer->target->matrix;
    const bool opencl = printer->dialect == BD_DIALECT_OPENCL;
    bd_text *macros = &printer->macros;
    printer->skeleton = "attention_matrix";
    bd_text_append(macros, "#define WARPS %uu\n#define PANEL %uu\n", tile->m / tile->item_m, tile->n);
    bd_text_append(macros, "#define MATRIX_BF16 %d\n",
                   graph->nodes[bd_stored_operand(graph, node->inputs[0])].format == BD_BF16);
    if (!opencl)
        bd_text_append(macros, "#define LANES %uu\n#define MATRIX_M %uu\n#define MATRIX_N %uu\n#define MATRIX_K %uu\n",
                       units->lanes, units->m, units->n, units->k);
    print_bits(printer, "QKV", node->inputs[0]);
    if (node->op == BD_OP_ATTENTION_GRAD) {
        print_bits(printer, "DY", node->inputs[3]);
        if (opencl) {
            print_bits(printer, "Y", node->inputs[1]);
        } else {
            bd_print_value(printer, "Y", node->inputs[1]);
            bd_print_value(printer, "DY", node->inputs[3]);
            bd_print_fours(printer, "Y", node->inputs[1]);
            bd_print_fours(printer, "DY", node->inputs[3]);
        }
        bd_print_value(printer, "SUM", node->inputs[2]);
        print_result(printer, "DQKV", BD_OP_ATTENTION_GRAD, true);
    } else {
        print_result(printer, "Y", BD_OP_ATTENTION, true);
        print_result(printer, "SUM", BD_OP_ATTENTION_SUM, false);
    }
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
    bd_text_append(macros, "#define CAUSAL %d\n#define BACKWARD %d\n#define SCALE %.9ef\n", node->attr.attention.causal,
                   node->op == BD_OP_ATTENTION_GRAD, 1 / sqrt((double)depth));
    print_dropout(printer, node);
    if (bd_tile_uses_matrix_units(&kernel->tile)) {
        print_matrix(printer, node);
        return;
    }
    bd_text_append(macros, "#define WHOLE %d\n", bd_attention_whole(graph, kernel));
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
        print_result(printer, "DQKV", BD_OP_ATTENTION_GRAD, false);
    } else {
        print_result(printer, "Y", BD_OP_ATTENTION, false);
        print_result(printer, "SUM", BD_OP_ATTENTION_SUM, false);
    }
}
