/* Depthwise convolution and its gradients as statements: each element gathers what it is made of, so there are no
 * atomics. */
#include "emit_parts.h"

/* Taps that neighbours take without a loop, so that all of their loads are under way together. */
enum { MOST_UNROLLED_TAPS = 25 };

static void accumulate(bd_emitter *emitter, bd_format accumulator, const char *name, const char *inside, const char *a,
                       const char *b)
{
    const char *format = bd_format_name(accumulator);
    bd_text *text = bd_emitter_text(emitter);
    if (inside)
        bd_text_append(text, "%s = %s ? BD_ADD_%s(%s, BD_MUL_%s(%s, %s)) : %s;\n", name, inside, format, name, format,
                       a, b, name);
    else
        bd_text_append(text, "%s = BD_ADD_%s(%s, BD_MUL_%s(%s, %s));\n", name, format, name, format, a, b);
}

/* Tap `tap` of the neighbours, from pixel (y, x) of the image that is read; NULL for `inside`: it is sure to be
 * there. */
static void add_tap(bd_emitter *emitter, const bd_graph *graph, const bd_node *node, const bd_pixels *p,
                    const char *tap, const char *y, const char *x, const char *inside)
{
    const bd_shape *input = &graph->nodes[node->inputs[0]].shape;
    for (uint32_t i = 0; i < p->count; i++) {
        const char *value =
            bd_emit_value(emitter, node->inputs[0], bd_emit_nhwc(emitter, input, p->n, y, x, p->channels[i]));
        const char *first = bd_emit_index(emitter, "%s * %uu", tap, (unsigned)input->dim[3]);
        const char *weight =
            bd_emit_value(emitter, node->inputs[1], bd_emit_channel(emitter, first, input->dim[3], p->channels[i]));
        accumulate(emitter, node->accumulator, p->values[i], inside, value, weight);
    }
}

/* Where tap `k` of a pixel meets the other image along one axis, as iDN with D for the axis, and whether it does, as
 * hDN. */
static void print_place(bd_text *text, const bd_node *node, const char *name, int axis, int k, const char *at,
                        int64_t size)
{
    const int stride = (int)node->attr.window.stride[axis], pad = (int)node->attr.window.pad[axis][0];
    if (node->op == BD_OP_DEPTHWISE)
        bd_text_append(text,
                       "const int i%d%s_%d = BD_INT(%s) * %d - %d;\nconst bool h%d%s_%d = BD_BOTH(i%d%s_%d >= 0, ",
                       axis, name, k, at, stride, pad - k, axis, name, k, axis, name, k);
    else
        bd_text_append(text,
                       "const int p%d%s_%d = BD_INT(%s) + %d, i%d%s_%d = p%d%s_%d / %d;\n"
                       "const bool h%d%s_%d = BD_BOTH(BD_BOTH(p%d%s_%d >= 0, p%d%s_%d %% %d == 0), ",
                       axis, name, k, at, pad - k, axis, name, k, axis, name, k, stride, axis, name, k, axis, name, k,
                       axis, name, k, stride);
    bd_text_append(text, "i%d%s_%d < %d);\n", axis, name, k, (int)size);
}

/* Neighbours without a loop over the taps: a tap outside is read from the nearest pixel inside, and left out of the
 * sum. */
static void print_unrolled(bd_emitter *emitter, const bd_graph *graph, const bd_node *node, const bd_pixels *p)
{
    const bd_shape *input = &graph->nodes[node->inputs[0]].shape;
    const bd_window *window = &node->attr.window;
    bd_text *text = bd_emitter_text(emitter);
    const char *name = p->values[0];
    for (int axis = 0; axis < 2; axis++)
        for (int k = 0; k < window->size[axis]; k++)
            print_place(text, node, name, axis, k, axis ? p->x : p->y, input->dim[axis + 1]);
    for (int ky = 0; ky < window->size[0]; ky++)
        for (int kx = 0; kx < window->size[1]; kx++) {
            char y[48], x[48], inside[80], tap[16];
            snprintf(y, sizeof y, "clamp(i0%s_%d, 0, %d)", name, ky, (int)input->dim[1] - 1);
            snprintf(x, sizeof x, "clamp(i1%s_%d, 0, %d)", name, kx, (int)input->dim[2] - 1);
            snprintf(inside, sizeof inside, "BD_BOTH(h0%s_%d, h1%s_%d)", name, ky, name, kx);
            snprintf(tap, sizeof tap, "%du", ky * (int)window->size[1] + kx);
            add_tap(emitter, graph, node, p, tap, y, x, inside);
        }
}

/* Forward, and the gradient by the data: the same sum over other pixels. */
const char *bd_emit_depthwise(bd_emitter *emitter, const bd_graph *graph, const bd_node *node, const char *index)
{
    const bd_shape *input = &graph->nodes[node->inputs[0]].shape;
    const bd_window *window = &node->attr.window;
    const bool forward = node->op == BD_OP_DEPTHWISE;
    bd_pixels p;
    bd_emit_pixels(emitter, node, index, "0.0f", &p);
    if (p.count > 1 && window->size[0] * window->size[1] <= MOST_UNROLLED_TAPS) {
        print_unrolled(emitter, graph, node, &p);
        return bd_emit_know_pixels(emitter, node, index, &p);
    }
    const char *name = p.values[0];
    char y[24], x[24], tap[64];
    const int mark = bd_emit_open(emitter);
    if (forward)
        bd_emit_window_loops(emitter, window, input, p.y, p.x, name);
    else
        bd_emit_cover_loops(emitter, window, input, p.y, p.x, name);
    snprintf(y, sizeof y, forward ? "y%s" : "oy%s", name);
    snprintf(x, sizeof x, forward ? "x%s" : "ox%s", name);
    snprintf(tap, sizeof tap, "BD_UINT(ky%s * %d + kx%s)", name, (int)window->size[1], name);
    add_tap(emitter, graph, node, &p, tap, y, x, NULL);
    bd_text_append(bd_emitter_text(emitter), "}\n}\n");
    bd_emit_close(emitter, mark);
    return bd_emit_know_pixels(emitter, node, index, &p);
}

/* What columns `column` and on, `steps` of them, of the row add to a weight's gradient. */
static void add_columns(bd_emitter *emitter, const bd_graph *graph, const bd_node *node, const bd_pixels *p,
                        const char *of, const char *oy, int steps)
{
    const bd_shape *image = &graph->nodes[node->inputs[0]].shape, *dy = &graph->nodes[node->inputs[1]].shape;
    const bd_window *window = &node->attr.window;
    const char *name = p->values[0];
    for (int step = 0; step < steps; step++) {
        char y[24], x[96], ox[48];
        snprintf(y, sizeof y, "y%s", name);
        snprintf(ox, sizeof ox, "o%s + %d", name, step);
        snprintf(x, sizeof x, "(%s) * %d - %d + BD_INT(%s)", ox, (int)window->stride[1], (int)window->pad[1][0], p->x);
        for (uint32_t i = 0; i < p->count; i++) {
            const char *value =
                bd_emit_value(emitter, node->inputs[0], bd_emit_nhwc(emitter, image, of, y, x, p->channels[i]));
            const char *gradient =
                bd_emit_value(emitter, node->inputs[1], bd_emit_nhwc(emitter, dy, of, oy, ox, p->channels[i]));
            accumulate(emitter, node->accumulator, p->values[i], NULL, value, gradient);
        }
    }
}

/* Element (part, ky, kx, c): the sum over the part's rows of dy, each of which meets one row of x. */
const char *bd_emit_depthwise_weight(bd_emitter *emitter, const bd_graph *graph, const bd_node *node, const char *index)
{
    enum { TOGETHER = 4 }; /* columns of a row whose loads neighbours have under way together */
    const bd_shape *image = &graph->nodes[node->inputs[0]].shape, *dy = &graph->nodes[node->inputs[1]].shape;
    const bd_window *window = &node->attr.window;
    const unsigned rows = (unsigned)(dy->dim[0] * dy->dim[1]), parts = (unsigned)node->shape.dim[0];
    const unsigned rows_of_a_part = parts ? (rows + parts - 1) / parts : 1;
    const int stride = (int)window->stride[1], pad = (int)window->pad[1][0];
    bd_text *text = bd_emitter_text(emitter);
    bd_pixels p; /* part, ky, kx, channel */
    bd_emit_pixels(emitter, node, index, "0.0f", &p);
    const char *name = p.values[0];
    char row[24], oy[48], of[48];
    const int mark = bd_emit_open(emitter);
    if (p.count > 1) /* columns from firstS to before lastS meet one of x */
        bd_text_append(text,
                       "const int first%s = (max(%d - BD_INT(%s), 0) + %d) / %d;\n"
                       "const int last%s = min((max(%d - BD_INT(%s), -1) + %d) / %d, %d);\n",
                       name, pad, p.x, stride - 1, stride, name, (int)image->dim[2] - 1 + pad, p.x, stride, stride,
                       (int)dy->dim[2]);
    bd_text_append(text,
                   "for (uint row%s = %s * %uu; row%s < min((%s + 1u) * %uu, %uu); row%s++) {\n"
                   "const int y%s = BD_INT(row%s %% %uu) * %d - %d + BD_INT(%s);\n"
                   "if (y%s >= 0 && y%s < %d) {\nint o%s = %s%s;\n",
                   name, p.n, rows_of_a_part, name, p.n, rows_of_a_part, rows, name, /* rows */
                   name, name, (unsigned)dy->dim[1], (int)window->stride[0], (int)window->pad[0][0], p.y, name, name,
                   (int)image->dim[1], name, p.count > 1 ? "first" : "0", p.count > 1 ? name : "");
    snprintf(row, sizeof row, "row%s", name);
    snprintf(of, sizeof of, "%s / %uu", row, (unsigned)dy->dim[1]);
    snprintf(oy, sizeof oy, "%s %% %uu", row, (unsigned)dy->dim[1]);
    const char *image_of = bd_emit_index(emitter, "%s", of);
    if (p.count == 1) { /* a condition in a loop of the same length for all: CPU drivers vectorise that */
        bd_text_append(text,
                       "for (; o%s < %d; o%s++) {\nconst int x%s = o%s * %d - %d + BD_INT(%s);\n"
                       "if (x%s >= 0 && x%s < %d) {\n",
                       name, (int)dy->dim[2], name, name, name, stride, pad, p.x, name, name, (int)image->dim[2]);
        add_columns(emitter, graph, node, &p, image_of, oy, 1);
        bd_text_append(text, "}\n}\n");
    }
    for (int steps = TOGETHER; p.count > 1 && steps >= 1; steps -= TOGETHER - 1) {
        bd_text_append(text, "for (; o%s + %d < last%s; o%s += %d) {\n", name, steps - 1, name, name, steps);
        const int inner = bd_emit_open(emitter);
        add_columns(emitter, graph, node, &p, image_of, oy, steps);
        bd_text_append(text, "}\n");
        bd_emit_close(emitter, inner);
    }
    bd_text_append(text, "}\n}\n");
    bd_emit_close(emitter, mark);
    return bd_emit_know_pixels(emitter, node, index, &p);
}
