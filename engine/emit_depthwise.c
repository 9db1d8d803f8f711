/* Depthwise convolution and its gradients as statements: each element gathers what it is made of, so there are no atomics. */
#include "emit_parts.h"

/* name = name + a * b in the accumulator's format. */
static void accumulate(bd_emitter *emitter, bd_format accumulator, const char *name, const char *a, const char *b)
{
    const char *format = bd_format_name(accumulator);
    bd_text_append(bd_emitter_text(emitter), "%s = BD_ADD_%s(%s, BD_MUL_%s(%s, %s));\n", name, format, name, format, a,
                   b);
}

const char *bd_emit_depthwise(bd_emitter *emitter, const bd_graph *graph, const bd_node *node, const char *index)
{
    const bd_shape *input = &graph->nodes[node->inputs[0]].shape;
    const bd_window *window = &node->attr.window;
    const char *at[4], *name = bd_emit_fresh(emitter, 'v');
    char y[24], x[24], tap[64];
    bd_text *text = bd_emitter_text(emitter);
    bd_emit_coordinates(emitter, &node->shape, index, at);
    bd_text_append(text, "BD_VALUE %s = 0.0f;\n", name);
    const int mark = bd_emit_open(emitter);
    bd_emit_window_loops(emitter, window, input, at[1], at[2], name);
    snprintf(y, sizeof y, "y%s", name);
    snprintf(x, sizeof x, "x%s", name);
    snprintf(tap, sizeof tap, "BD_UINT(ky%s * %d + kx%s)", name, (int)window->size[1], name);
    const char *value = bd_emit_value(emitter, node->inputs[0], bd_emit_nhwc(emitter, input, at[0], y, x, at[3]));
    const char *weight = bd_emit_value(emitter, node->inputs[1],
                                       bd_emit_index(emitter, "%s * %uu + %s", tap, (unsigned)input->dim[3], at[3]));
    accumulate(emitter, node->accumulator, name, value, weight);
    bd_text_append(text, "}\n}\n");
    bd_emit_close(emitter, mark);
    bd_emit_round(emitter, node->format, name);
    return name;
}

const char *bd_emit_depthwise_data(bd_emitter *emitter, const bd_graph *graph, const bd_node *node, const char *index)
{
    const bd_shape *output = &graph->nodes[node->inputs[0]].shape;
    const bd_window *window = &node->attr.window;
    const char *at[4], *name = bd_emit_fresh(emitter, 'v');
    char oy[24], ox[24], tap[64];
    bd_text *text = bd_emitter_text(emitter);
    bd_emit_coordinates(emitter, &node->shape, index, at);
    bd_text_append(text, "BD_VALUE %s = 0.0f;\n", name);
    const int mark = bd_emit_open(emitter);
    bd_emit_cover_loops(emitter, window, output, at[1], at[2], name);
    snprintf(oy, sizeof oy, "oy%s", name);
    snprintf(ox, sizeof ox, "ox%s", name);
    snprintf(tap, sizeof tap, "BD_UINT(ky%s * %d + kx%s)", name, (int)window->size[1], name);
    const char *value = bd_emit_value(emitter, node->inputs[0], bd_emit_nhwc(emitter, output, at[0], oy, ox, at[3]));
    const char *weight = bd_emit_value(emitter, node->inputs[1],
                                       bd_emit_index(emitter, "%s * %uu + %s", tap, (unsigned)output->dim[3], at[3]));
    accumulate(emitter, node->accumulator, name, value, weight);
    bd_text_append(text, "}\n}\n");
    bd_emit_close(emitter, mark);
    bd_emit_round(emitter, node->format, name);
    return name;
}

/* Element (part, ky, kx, c): the sum over the part's rows of dy, each of which meets one row of x. */
const char *bd_emit_depthwise_weight(bd_emitter *emitter, const bd_graph *graph, const bd_node *node, const char *index)
{
    const bd_shape *image = &graph->nodes[node->inputs[0]].shape, *dy = &graph->nodes[node->inputs[1]].shape;
    const bd_window *window = &node->attr.window;
    const char *at[4], *name = bd_emit_fresh(emitter, 'v');
    const unsigned rows = (unsigned)(dy->dim[0] * dy->dim[1]), parts = (unsigned)node->shape.dim[0];
    const unsigned rows_of_a_part = parts ? (rows + parts - 1) / parts : 1;
    char row[24], y[24], x[24], oy[48], ox[48], n[48];
    bd_text *text = bd_emitter_text(emitter);
    bd_emit_coordinates(emitter, &node->shape, index, at);
    bd_text_append(text, "BD_VALUE %s = 0.0f;\n", name);
    const int mark = bd_emit_open(emitter);
    bd_text_append(text,
                   "for (uint row%s = %s * %uu; row%s < min((%s + 1u) * %uu, %uu); row%s++) {\n"
                   "const int y%s = BD_INT(row%s %% %uu) * %d - %d + BD_INT(%s);\n"
                   "if (y%s >= 0 && y%s < %d) for (int o%s = 0; o%s < %d; o%s++) {\n"
                   "const int x%s = o%s * %d - %d + BD_INT(%s);\n"
                   "if (x%s >= 0 && x%s < %d) {\n",
                   name, at[0], rows_of_a_part, name, at[0], rows_of_a_part, rows, name, /* rows */
                   name, name, (unsigned)dy->dim[1], (int)window->stride[0], (int)window->pad[0][0], at[1], name, name,
                   (int)image->dim[1], name, name, (int)dy->dim[2], name, /* columns */
                   name, name, (int)window->stride[1], (int)window->pad[1][0], at[2], name, name, (int)image->dim[2]);
    snprintf(row, sizeof row, "row%s", name);
    snprintf(y, sizeof y, "y%s", name);
    snprintf(x, sizeof x, "x%s", name);
    snprintf(n, sizeof n, "%s / %uu", row, (unsigned)dy->dim[1]);
    snprintf(oy, sizeof oy, "%s %% %uu", row, (unsigned)dy->dim[1]);
    snprintf(ox, sizeof ox, "o%s", name);
    const char *of = bd_emit_index(emitter, "%s", n);
    const char *value = bd_emit_value(emitter, node->inputs[0], bd_emit_nhwc(emitter, image, of, y, x, at[3]));
    const char *gradient = bd_emit_value(emitter, node->inputs[1], bd_emit_nhwc(emitter, dy, of, oy, ox, at[3]));
    accumulate(emitter, node->accumulator, name, value, gradient);
    bd_text_append(text, "}\n}\n}\n");
    bd_emit_close(emitter, mark);
    bd_emit_round(emitter, node->format, name);
    return name;
}
