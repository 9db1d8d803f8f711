/* A contraction's operands and results as its skeletons see them, in both dialects the same.
 *
 * A is [batch][outer][inner], where inner is k if A_INNER_K, else m, and outer the other. Where an element lies takes
 * divisions, so each of the two indices is first made a context, which the skeletons keep outside of their loops:
 *     A_OCTX(z, o), A_ICTX(i)          contexts, four uints each
 *     A_VALID(o, i)                    whether the element is one of the operand's: else it is padding, and 0
 *     A_INDEX(o, i)                    its linear index
 *     A_GET(x)                         the element of linear index x, with everything that was fused into the load
 * A_PLAIN: inner indices follow each other in memory and nothing is padding. Else they do in runs of A_RUN, which begin
 * at multiples of it; by a context within the run, A_RUN_INSIDE tells that all of it is valid, A_RUN_OUTSIDE that
 * nothing is. B is [batch][k][n]: B_INDEX(z, k, n), B_GET(x); B_INNER_N: n is the index whose elements follow each
 * other. A_GET8, B_GET8 (OpenCL): eight elements from x on. STORE_C(row, n, sum) makes the results of element row * N +
 * n, where row = (chunk * BATCH + z) * M + m; where STORE_WIDTH is 4, STORE_C4 those of four from a multiple of four
 * on. */
#include "columns.h"
#include "print.h"
#include "tile.h"

#include <stdio.h>

typedef unsigned long long whole;

/* A size as a divisor: nothing is ever divided by the size of a dimension without elements. */
static whole divisor(int64_t size)
{
    return size > 0 ? (whole)size : 1;
}

static void print_matmul(bd_text *macros, const bd_node *node, const bd_contraction *c)
{
    const bool *transpose = node->attr.matmul.transpose;
    bd_text_append(macros, "#define A_INNER_K %d\n#define A_PLAIN 1\n", !transpose[0]);
    bd_text_append(macros, "#define A_OCTX(z, o) BD_UINT4(((z) * %lluu + (o)) * %lluu, 0u, 0u, 0u)\n",
                   (whole)(transpose[0] ? c->k : c->m), (whole)(transpose[0] ? c->m : c->k));
    bd_text_append(macros, "#define A_ICTX(i) BD_UINT4(i, 0u, 0u, 0u)\n#define A_VALID(o, i) true\n"
                           "#define A_INDEX(o, i) ((o).x + (i).x)\n");
    bd_text_append(macros, "#define B_INNER_N %d\n#define B_INDEX(z, k, n) ", !transpose[1]);
    if (transpose[1])
        bd_text_append(macros, "(((z) * %lluu + (n)) * %lluu + (k))\n", (whole)c->n, (whole)c->k);
    else
        bd_text_append(macros, "(((z) * %lluu + (k)) * %lluu + (n))\n", (whole)c->k, (whole)c->n);
}

/* Forward and weight gradient: o is an output pixel, i = (ky, kx, channel); a row of the window is a run. */
static void print_taps(bd_text *macros, const bd_window *w, const bd_shape *x, const bd_shape *pixels, bool inner_k)
{
    const whole height = (whole)x->dim[1], width = (whole)x->dim[2], channels = divisor(x->dim[3]);
    const whole rows = divisor(pixels->dim[1]), columns = divisor(pixels->dim[2]);
    const whole run = divisor(w->size[1]) * channels;
    char y[96], at[96];
    snprintf(y, sizeof y, "(o) / %lluu %% %lluu * %lluu - %lluu", columns, rows, (whole)w->stride[0],
             (whole)w->pad[0][0]);
    snprintf(at, sizeof at, "(o) %% %lluu * %lluu - %lluu", columns, (whole)w->stride[1], (whole)w->pad[1][0]);
    bd_text_append(macros, "#define A_INNER_K %d\n#define A_PLAIN 0\n#define A_RUN %lluu\n", inner_k, run);
    bd_text_append(macros,
                   "#define A_OCTX(z, o) BD_UINT4((((o) / %lluu * %lluu + %s) * %lluu + %s) * %lluu, %s, %s, 0u)\n",
                   rows * columns, height, y, width, at, channels, y, at);
    bd_text_append(
        macros,
        "#define A_ICTX(i) BD_UINT4((i) / %lluu * %lluu + (i) %% %lluu, (i) / %lluu, (i) %% %lluu / %lluu, 0u)\n", run,
        width * channels, run, run, run, channels);
    bd_text_append(macros, "#define A_INDEX(o, i) ((o).x + (i).x)\n");
    if (w->pad[0][0] || w->pad[0][1] || w->pad[1][0] || w->pad[1][1]) {
        /* What lies before the image wraps around and is too large. */
        bd_text_append(macros, "#define A_VALID(o, i) BD_BOTH((o).y + (i).y < %lluu, (o).z + (i).z < %lluu)\n", height,
                       width);
        bd_text_append(macros, "#define A_RUN_OUTSIDE(o, i) ((o).y + (i).y >= %lluu)\n", height);
        if (x->dim[2] >= w->size[1])
            bd_text_append(macros, "#define A_RUN_INSIDE(o, i) ((o).y + (i).y < %lluu && (o).z <= %lluu)\n", height,
                           width - (whole)w->size[1]);
        else
            bd_text_append(macros, "#define A_RUN_INSIDE(o, i) false\n");
    } else {
        bd_text_append(
            macros, "#define A_VALID(o, i) true\n#define A_RUN_INSIDE(o, i) true\n#define A_RUN_OUTSIDE(o, i) false\n");
    }
}

/* Data gradient: o is a pixel of x, i = (ky, kx, channel of dy); dy's pixel is (o + pad - tap) / stride, if whole. */
static void print_taps_back(bd_text *macros, const bd_window *w, const bd_shape *dy, const bd_shape *pixels)
{
    const whole height = (whole)dy->dim[1], width = (whole)dy->dim[2], channels = divisor(dy->dim[3]);
    const whole rows = divisor(pixels->dim[1]), columns = divisor(pixels->dim[2]), taps = divisor(w->size[1]);
    const whole sy = (whole)w->stride[0], sx = (whole)w->stride[1];
    bd_text_append(macros, "#define A_INNER_K 1\n#define A_PLAIN 0\n#define A_RUN %lluu\n", channels);
    bd_text_append(
        macros,
        "#define A_OCTX(z, o) BD_UINT4((o) / %lluu * %lluu, (o) / %lluu %% %lluu + %lluu, (o) %% %lluu + %lluu, 0u)\n",
        rows * columns, height * width * channels, columns, rows, (whole)w->pad[0][0], columns, (whole)w->pad[1][0]);
    bd_text_append(macros, "#define A_ICTX(i) BD_UINT4((i) %% %lluu, (i) / %lluu, (i) / %lluu %% %lluu, 0u)\n",
                   channels, taps * channels, channels, taps);
    bd_text_append(macros,
                   "#define A_VALID(o, i) BD_BOTH(BD_BOTH((o).y - (i).y < %lluu, (o).z - (i).z < %lluu), "
                   "BD_BOTH(((o).y - (i).y) %% %lluu == 0u, ((o).z - (i).z) %% %lluu == 0u))\n",
                   height * sy, width * sx, sy, sx);
    bd_text_append(macros, "#define A_RUN_INSIDE(o, i) A_VALID(o, i)\n#define A_RUN_OUTSIDE(o, i) true\n");
    bd_text_append(
        macros,
        "#define A_INDEX(o, i) ((o).x + (i).x + (((o).y - (i).y) / %lluu * %lluu + ((o).z - (i).z) / %lluu) * %lluu)\n",
        sy, width, sx, channels);
}

/* Eights of an operand that is a buffer as it is are loaded at once. */
void bd_print_value(bd_printer *printer, const char *operand, bd_tensor input)
{
    const bool opencl = printer->dialect == BD_DIALECT_OPENCL;
    const bd_graph *graph = printer->plan->graph;
    bd_emitter *emitter = printer->emitter;
    const bd_tensor stored = bd_stored_operand(graph, input);
    const int number = bd_kernel_operand(printer->kernel, stored);
    const bd_format format = graph->nodes[stored].format;
    const bool plain =
        number >= 0 && printer->kernel->operands[number].parts == 1 && (format == BD_F32 || format == BD_F16);
    if (opencl && plain)
        bd_text_append(&printer->macros, "#define %s_GET8(x) BD_LOAD8_%s(b%d, x)\n", operand, bd_format_name(format),
                       number);
    else if (opencl)
        bd_text_append(&printer->macros,
                       "#define %s_GET8(x) (float8)(%s_GET(x), %s_GET((x) + 1u), %s_GET((x) + 2u), %s_GET((x) + 3u), "
                       "%s_GET((x) + 4u), %s_GET((x) + 5u), %s_GET((x) + 6u), %s_GET((x) + 7u))\n",
                       operand, operand, operand, operand, operand, operand, operand, operand, operand);
    bd_text_append(&printer->macros,
                   opencl ? "#define %s_GET(x) value_%s(BD_BUFFERS, x)\n" : "#define %s_GET(x) value_%s(x)\n", operand,
                   operand);
    bd_text_append(bd_emitter_text(emitter),
                   opencl ? "static inline float value_%s(BD_ARGUMENTS, const uint x)\n{\n"
                          : "float value_%s(const uint x)\n{\n",
                   operand);
    const int mark = bd_emit_open(emitter);
    const char *value = bd_emit_value(emitter, input, "x");
    bd_text_append(bd_emitter_text(emitter), "return %s;\n}\n", value);
    bd_emit_close(emitter, mark);
}

void bd_print_fours(bd_printer *printer, const char *name, bd_tensor input)
{
    const bool opencl = printer->dialect == BD_DIALECT_OPENCL;
    const bd_graph *graph = printer->plan->graph;
    const bd_kernel *kernel = printer->kernel;
    const bd_tensor stored = bd_stored_operand(graph, input);
    const int number = bd_kernel_operand(kernel, stored);
    const bd_format format = graph->nodes[stored].format;
    const bool kept =
        (format == BD_F32 || ((format == BD_F16 || format == BD_BF16) && printer->target->half.storage)) &&
        bd_format_holds(graph->nodes[input].format, format);
    if (number < 0 || kernel->operands[number].parts != 1 || kernel->operands[number].access != BD_ACCESS_BUFFER ||
        bd_shape_elements(&graph->nodes[stored].shape) % 4 != 0 || !kept) {
        bd_text_append(&printer->macros,
                       "#define %s_GET4(x) %s(%s_GET(x), %s_GET((x) + 1u), %s_GET((x) + 2u), %s_GET((x) + 3u))\n", name,
                       opencl ? "(float4)" : "vec4", name, name, name, name);
    } else if (opencl) {
        bd_text_append(&printer->macros, "#define %s_GET4(x) BD_LOAD4_%s(b%d, x)\n", name, bd_format_name(format),
                       number);
    } else {
        bd_text_append(&printer->macros,
                       "layout(set = 0, binding = %d) readonly buffer Fours%s { BD_FOUR_%s fours_%s[]; };\n"
                       "#define %s_GET4(x) BD_LOAD4_%s(fours_%s, x)\n",
                       bd_print_binding(kernel, number), name, bd_format_name(format), name, name,
                       bd_format_name(format), name);
    }
}

static void print_store(bd_printer *printer, const bd_contraction *c)
{
    static const char *const names[BD_WIDTH] = { "result0", "result1", "result2", "result3" };
    const bool opencl = printer->dialect == BD_DIALECT_OPENCL;
    const bd_kernel *kernel = printer->kernel;
    const bd_node *node = &printer->plan->graph->nodes[kernel->anchor];
    bd_emitter *emitter = printer->emitter;
    bd_text *text = bd_emitter_text(emitter);
    const bool wide = kernel->width > 1;
    const char *index = kernel->elements == 1 ? "0u" : "i", *lanes[BD_WIDTH] = { index };
    const bool sums = bd_kernel_sums_columns(kernel);
    bd_text_append(&printer->macros, "#define STORE_WIDTH %u\n#define %s(row, n, sum) store(%srow, n, sum%s)\n",
                   kernel->width, wide ? "STORE_C4" : "STORE_C", opencl ? "BD_BUFFERS, " : "", sums ? ", values" : "");
    bd_text_append(text,
                   "%svoid store(%sconst uint row, const uint n, const %s sum%s)\n{\nconst uint i = row * %lluu + n;\n",
                   opencl ? "static inline " : "", opencl ? "BD_ARGUMENTS, " : "",
                   !wide    ? "float"
                   : opencl ? "float4"
                            : "vec4",
                   !sums    ? ""
                   : opencl ? ", float4 *values"
                            : ", out vec4 values[COLUMN_SUMS]",
                   (whole)c->n);
    const int mark = bd_emit_open(emitter);
    char expression[48];
    snprintf(expression, sizeof expression, "i / %lluu", (whole)c->n);
    bd_emit_know_index(emitter, expression, "row");
    snprintf(expression, sizeof expression, "i %% %lluu", (whole)c->n);
    bd_emit_know_index(emitter, expression, "n");
    if (wide) {
        bd_emit_lane(emitter, index, 0);
        bd_emit_lanes(emitter, index, lanes);
    }
    for (uint32_t j = 0; j < kernel->width; j++) {
        bd_text_append(text, wide ? "BD_VALUE %s = sum.%c;\n" : "BD_VALUE %s = sum;\n", names[j], "xyzw"[j]);
        bd_emit_round(emitter, node, lanes[j], names[j]);
        bd_emit_know(emitter, kernel->anchor, lanes[j], names[j]);
    }
    bd_print_stores(printer, BD_SPACE_ELEMENT, index);
    if (sums)
        bd_print_columns_values(printer, lanes);
    bd_text_append(text, "}\n");
    bd_emit_close(emitter, mark);
}

void bd_print_operands(bd_printer *printer)
{
    const bd_graph *graph = printer->plan->graph;
    const bd_node *node = &graph->nodes[printer->kernel->anchor];
    const bd_contraction c = bd_contraction_of(graph, printer->kernel->anchor);
    const bd_shape *a = &graph->nodes[node->inputs[0]].shape, *b = &graph->nodes[node->inputs[1]].shape;
    const int64_t chunks = node->chunks > 1 ? node->chunks : 1;
    bd_text *macros = &printer->macros;
    bd_text_append(macros, "#define BATCH %lluu\n#define M %lluu\n#define N %lluu\n#define K %lluu\n", (whole)c.batch,
                   (whole)c.m, (whole)c.n, (whole)c.k);
    bd_text_append(macros, "#define CHUNKS %lluu\n#define CHUNK %lluu\n", (whole)chunks,
                   divisor(bd_chunk_length(c.k, chunks)));
    switch (node->op) {
    case BD_OP_CONV2D: print_taps(macros, &node->attr.window, a, &node->shape, true); break;
    case BD_OP_CONV2D_WEIGHT: print_taps(macros, &node->attr.window, a, b, false); break;
    case BD_OP_CONV2D_DATA: print_taps_back(macros, &node->attr.window, a, &node->shape); break;
    default: print_matmul(macros, node, &c);
    }
    if (node->op == BD_OP_CONV2D_DATA) /* [ky, kx, n, channel] */
        bd_text_append(
            macros,
            "#define B_INNER_N 0\n#define B_INDEX(z, k, n) (((k) / %lluu * %lluu + (n)) * %lluu + (k) %% %lluu)\n",
            divisor(b->dim[3]), (whole)c.n, divisor(b->dim[3]), divisor(b->dim[3]));
    else if (node->op != BD_OP_MATMUL)
        bd_text_append(macros, "#define B_INNER_N 1\n#define B_INDEX(z, k, n) ((k) * %lluu + (n))\n", (whole)c.n);
    /* A sum in halves rounds at each product and each addition. */
    const bool halves =
        graph->nodes[node->inputs[0]].format == BD_F16 && graph->nodes[node->inputs[1]].format == BD_F16;
    bd_text_append(macros, "#define ACCUMULATE(sum, a, b) %s\n#define ACCUMULATE8(sum, a, b) %s\n",
                   node->accumulator != BD_F16 ? "fma(a, b, sum)"
                   : halves                    ? "BD_ADD_f16(sum, BD_MUL_f16(a, b))"
                                               : "BD_ADD_f16(sum, bd_round_f16((a) * (b)))",
                   node->accumulator != BD_F16 ? "fma(a, b, sum)"
                                               : "bd_round_f16_8((sum) + bd_round_f16_8((a) * (b)))");
    bd_print_value(printer, "A", node->inputs[0]);
    bd_print_value(printer, "B", node->inputs[1]);
    print_store(printer, &c);
    bd_print_columns_macros(printer);
}
