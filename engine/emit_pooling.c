/* Pooling and its gradients as statements: each element gathers from the windows that it is part of, so there are no
 * atomics. */
#include "emit_parts.h"

#include <string.h>

/* The windows lie inside the image, so taps need no guard. */
static bool windows_inside(const bd_window *window, const bd_shape *input, const bd_shape *pooled)
{
    for (int d = 0; d < 2; d++)
        if (window->pad[d][0] || (pooled->dim[d + 1] - 1) * window->stride[d] + window->size[d] > input->dim[d + 1])
            return false;
    return true;
}

/* The index of tap (ky, kx) of the window at (oy, ox), which must lie inside. */
static const char *tap_index(bd_emitter *emitter, const bd_window *window, const bd_shape *input, const char *n,
                             const char *oy, const char *ox, const char *c, int ky, int kx)
{
    const unsigned width = (unsigned)input->dim[2], channels = (unsigned)input->dim[3];
    const char *corner =
        bd_emit_index(emitter, "((%s * %uu + %s * %uu) * %uu + %s * %uu) * %uu", n, (unsigned)input->dim[1], oy,
                      (unsigned)window->stride[0], width, ox, (unsigned)window->stride[1], channels);
    const unsigned offset = ((unsigned)ky * width + (unsigned)kx) * channels;
    return bd_emit_channel(emitter, offset ? bd_emit_index(emitter, "%s + %uu", corner, offset) : corner, channels, c);
}

/* A window of more taps is a loop: whole images are pooled, too. */
enum { MOST_UNROLLED_TAPS = 64 };

const char *bd_emit_pool(bd_emitter *emitter, const bd_graph *graph, const bd_node *node, const char *index)
{
    const bd_shape *input = &graph->nodes[node->inputs[0]].shape;
    const bd_window *window = &node->attr.window;
    const bool maximum = node->op == BD_OP_MAX_POOL;
    const bool inside =
        windows_inside(window, input, &node->shape) && window->size[0] * window->size[1] <= MOST_UNROLLED_TAPS;
    const char *accumulator = bd_format_name(node->accumulator), *taps = bd_emit_fresh(emitter, 'n');
    bd_text *text = bd_emitter_text(emitter);
    bd_pixels p;
    bd_emit_pixels(emitter, node, index, maximum ? "-BD_INFINITY" : "0.0f", &p);
    if (inside) {
        for (int ky = 0; ky < window->size[0]; ky++)
            for (int kx = 0; kx < window->size[1]; kx++)
                for (uint32_t i = 0; i < p.count; i++) {
                    const char *value =
                        bd_emit_value(emitter, node->inputs[0],
                                      tap_index(emitter, window, input, p.n, p.y, p.x, p.channels[i], ky, kx));
                    if (maximum)
                        bd_text_append(text, "%s = bd_max(%s, %s);\n", p.values[i], p.values[i], value);
                    else
                        bd_text_append(text, "%s = BD_ADD_%s(%s, %s);\n", p.values[i], accumulator, p.values[i], value);
                }
        for (uint32_t i = 0; i < p.count && !maximum; i++)
            bd_text_append(text, "%s = BD_DIV(%s, %d.0f);\n", p.values[i], p.values[i],
                           (int)(window->size[0] * window->size[1]));
    } else {
        const char *name = p.values[0];
        bd_text_append(text, "float %s = 0.0f;\n", taps);
        int mark = bd_emit_open(emitter);
        bd_emit_window_loops(emitter, window, input, p.y, p.x, name);
        char y[24], x[24];
        snprintf(y, sizeof y, "y%s", name);
        snprintf(x, sizeof x, "x%s", name);
        for (uint32_t i = 0; i < p.count; i++) {
            const char *value =
                bd_emit_value(emitter, node->inputs[0], bd_emit_nhwc(emitter, input, p.n, y, x, p.channels[i]));
            if (maximum)
                bd_text_append(text, "%s = bd_max(%s, %s);\n", p.values[i], p.values[i], value);
            else
                bd_text_append(text, "%s = BD_ADD_%s(%s, %s);\n", p.values[i], accumulator, p.values[i], value);
        }
        bd_text_append(text, maximum ? "}\n}\n" : "%s += 1.0f;\n}\n}\n", taps);
        bd_emit_close(emitter, mark);
        for (uint32_t i = 0; i < p.count && !maximum; i++)
            bd_text_append(text, "%s = BD_DIV(%s, max(%s, 1.0f));\n", p.values[i], p.values[i], taps);
    }
    return bd_emit_know_pixels(emitter, node, index, &p);
}

/* Whether `other` takes the gradient from `mine`: larger, or as large and earlier. A NaN beats every number. By
 * arithmetic on 0 and 1: as branches, which random data mispredicts, it takes a CPU several times as long. */
static void lose_to(bd_text *text, const char *won, const char *other, const char *mine, const char *earlier)
{
    bd_text_append(text,
                   "%s &= 1u - (BD_UINT(%s > %s) | (BD_UINT(%s) & BD_UINT(%s == %s)) | "
                   "(BD_UINT(%s != %s) & (BD_UINT(%s == %s) | BD_UINT(%s))));\n",
                   won, other, mine, earlier, other, mine, other, other, mine, mine, earlier);
}

/* Windows do not overlap; one by itself never does. */
static bool stand_apart(const bd_window *window, const bd_shape *pooled)
{
    bool apart = true;
    for (int d = 0; d < 2; d++)
        apart &= window->stride[d] >= window->size[d] || pooled->dim[d + 1] == 1;
    return apart;
}

/* Windows that do not overlap and lie inside: a pixel has one window at most, and no loop is needed. */
static const char *pool_grad_apart(bd_emitter *emitter, const bd_graph *graph, const bd_node *node, bd_tensor dy,
                                   const char *index)
{
    const bd_shape *pooled = &graph->nodes[dy].shape;
    const bd_window *window = &node->attr.window;
    bd_text *text = bd_emitter_text(emitter);
    const char *o[2], *k[2];
    bd_pixels p;
    bd_emit_pixels(emitter, node, index, "0.0f", &p);
    for (int d = 0; d < 2; d++) {
        const char *at = d ? p.x : p.y;
        const char *cell = bd_emit_index(emitter, "%s / %uu", at, (unsigned)window->stride[d]);
        o[d] = bd_emit_index(emitter, "min(%s, %uu)", cell, (unsigned)pooled->dim[d + 1] - 1);
        k[d] = bd_emit_index(emitter, "%s - %s * %uu", at, o[d], (unsigned)window->stride[d]);
    }
    char won[32], earlier[64];
    for (uint32_t i = 0; i < p.count; i++)
        bd_text_append(text, "uint won%s = BD_UINT(%s < %uu) & BD_UINT(%s < %uu);\n", p.values[i], k[0],
                       (unsigned)window->size[0], k[1], (unsigned)window->size[1]);
    if (node->op == BD_OP_MAX_POOL_GRAD) {
        const char *tap = bd_emit_index(emitter, "%s * %uu + %s", k[0], (unsigned)window->size[1], k[1]);
        for (int ky = 0; ky < window->size[0]; ky++)
            for (int kx = 0; kx < window->size[1]; kx++)
                for (uint32_t i = 0; i < p.count; i++) {
                    const char *mine = bd_emit_value(emitter, node->inputs[0], p.indices[i]);
                    const char *other =
                        bd_emit_value(emitter, node->inputs[0],
                                      tap_index(emitter, window, &node->shape, p.n, o[0], o[1], p.channels[i], ky, kx));
                    snprintf(won, sizeof won, "won%s", p.values[i]);
                    snprintf(earlier, sizeof earlier, "%uu < %s", (unsigned)(ky * window->size[1] + kx), tap);
                    lose_to(text, won, other, mine, earlier);
                }
    }
    for (uint32_t i = 0; i < p.count; i++) {
        const char *share = bd_emit_value(emitter, dy, bd_emit_nhwc(emitter, pooled, p.n, o[0], o[1], p.channels[i]));
        if (node->op == BD_OP_MAX_POOL_GRAD)
            bd_text_append(text, "%s = won%s != 0u ? %s : 0.0f;\n", p.values[i], p.values[i], share);
        else
            bd_text_append(text, "%s = won%s != 0u ? BD_DIV(%s, %d.0f) : 0.0f;\n", p.values[i], p.values[i], share,
                           (int)(window->size[0] * window->size[1]));
    }
    return bd_emit_know_pixels(emitter, node, index, &p);
}

const bd_node *bd_pooled_in_tiles(const bd_graph *graph, const bd_kernel *kernel)
{
    for (int i = 0; i < kernel->node_count; i++) {
        const bd_node *node = &graph->nodes[kernel->nodes[i]];
        if ((node->op != BD_OP_MAX_POOL_GRAD && node->op != BD_OP_AVG_POOL_GRAD) ||
            bd_shape_elements(&node->shape) != kernel->elements)
            continue;
        const bd_window *w = &node->attr.window;
        const bd_shape *pooled = &graph->nodes[node->inputs[node->op == BD_OP_MAX_POOL_GRAD ? 1 : 0]].shape;
        bool tiles = stand_apart(w, pooled) && w->size[0] * w->size[1] <= BD_WINDOW_TAPS;
        for (int d = 0; d < 2; d++)
            tiles &= !w->pad[d][0] && !w->pad[d][1] && pooled->dim[d + 1] * w->size[d] == node->shape.dim[d + 1];
        if (tiles)
            return node;
    }
    return NULL;
}

/* The first NaN of a window is its largest value, else the first of the largest. `best` is the tap. */
static void find_largest(bd_text *text, const char *best, const char *const *values, uint32_t count)
{
    bd_text_append(text, "uint at%s = 0u;\nBD_VALUE best%s = %s;\n", best, best, values[0]);
    for (uint32_t t = 1; t < count; t++) {
        bd_text_append(text, "const uint beats%s_%u = BD_UINT(!(%s <= best%s)) & BD_UINT(best%s == best%s);\n", best, t,
                       values[t], best, best, best);
        bd_text_append(text, "at%s = beats%s_%u != 0u ? %uu : at%s;\n", best, best, t, t, best);
        if (t + 1 < count)
            bd_text_append(text, "best%s = beats%s_%u != 0u ? %s : best%s;\n", best, best, t, values[t], best);
    }
}

/* All pixels of a window, which is looked at once. */
static const char *pool_grad_together(bd_emitter *emitter, const bd_graph *graph, const bd_node *node, bd_tensor dy,
                                      const char *index, const bd_known_window *w)
{
    const bd_tensor tensor = (bd_tensor)(node - graph->nodes);
    const bool maximum = node->op == BD_OP_MAX_POOL_GRAD;
    const bool same = graph->nodes[dy].format == node->format; /* then a share is rounded already */
    bd_text *text = bd_emitter_text(emitter);
    const char *shares[BD_WIDTH], *pixels[BD_WIDTH], *own = NULL;
    const uint32_t width = bd_emit_lanes(emitter, w->pooled, shares);
    for (uint32_t j = 0; j < width; j++) {
        const char *values[BD_WINDOW_TAPS], *share = bd_emit_value(emitter, dy, shares[j]),
                                            *best = bd_emit_fresh(emitter, 'v');
        for (uint32_t t = 0; t < w->count && maximum; t++) {
            bd_emit_lanes(emitter, w->taps[t], pixels);
            values[t] = bd_emit_value(emitter, node->inputs[0], pixels[j]);
        }
        if (maximum)
            find_largest(text, best, values, w->count);
        for (uint32_t t = 0; t < w->count; t++) {
            const char *name = bd_emit_fresh(emitter, 'v');
            bd_emit_lanes(emitter, w->taps[t], pixels);
            if (maximum)
                bd_text_append(text, "BD_VALUE %s = at%s == %uu ? %s : 0.0f;\n", name, best, t, share);
            else
                bd_text_append(text, "BD_VALUE %s = BD_DIV(%s, %u.0f);\n", name, share, w->count);
            if (!maximum || !same)
                bd_emit_round(emitter, node, pixels[j], name);
            bd_emit_know(emitter, tensor, pixels[j], name);
            own = strcmp(pixels[j], index) ? own : name;
        }
    }
    return own;
}

/* Windows that overlap and lie inside: so many may cover a pixel. */
enum { MOST_COVERS = 4 };

static int64_t covers(const bd_window *window, int axis)
{
    return (window->size[axis] + window->stride[axis] - 1) / window->stride[axis];
}

/* Adds the share of one of them, counted `back` from the last in each dimension; without branches: where there is no
 * such window it is another's, and does not count. */
static void add_cover(bd_emitter *emitter, const bd_graph *graph, const bd_node *node, bd_tensor dy, const bd_pixels *p,
                      int64_t back_y, int64_t back_x)
{
    const bd_shape *pooled = &graph->nodes[dy].shape;
    const bd_window *window = &node->attr.window;
    const int64_t back[2] = { back_y, back_x };
    const int width = (int)window->size[1], taps = (int)window->size[0] * width;
    const bool maximum = node->op == BD_OP_MAX_POOL_GRAD;
    bd_text *text = bd_emitter_text(emitter);
    const char *cell[2], *o[2], *k[2], *covered = bd_emit_fresh(emitter, 'n');
    for (int d = 0; d < 2; d++) {
        const char *at = d ? p->x : p->y;
        const unsigned stride = (unsigned)window->stride[d];
        /* What lies before the first window wraps around. */
        cell[d] = bd_emit_index(emitter, "%s / %uu - %uu", at, stride, (unsigned)back[d]);
        o[d] = bd_emit_index(emitter, "min(%s, %uu)", cell[d], (unsigned)pooled->dim[d + 1] - 1);
        k[d] = bd_emit_index(emitter, "%s - %s * %uu", at, cell[d], stride);
    }
    bd_text_append(text,
                   "const uint %s = BD_UINT(%s == %s) & BD_UINT(%s == %s) & BD_UINT(%s < %uu) & BD_UINT(%s < %uu);\n",
                   covered, cell[0], o[0], cell[1], o[1], k[0], (unsigned)window->size[0], k[1], (unsigned)width);
    const char *tap = bd_emit_index(emitter, "%s * %uu + %s", k[0], (unsigned)width, k[1]);
    for (uint32_t i = 0; i < p->count; i++) {
        const char *values[BD_WINDOW_TAPS], *best = bd_emit_fresh(emitter, 'v');
        const char *share = bd_emit_value(emitter, dy, bd_emit_nhwc(emitter, pooled, p->n, o[0], o[1], p->channels[i]));
        for (int t = 0; t < taps && maximum; t++)
            values[t] = bd_emit_value(
                emitter, node->inputs[0],
                tap_index(emitter, window, &node->shape, p->n, o[0], o[1], p->channels[i], t / width, t % width));
        if (maximum) {
            find_largest(text, best, values, (uint32_t)taps);
            bd_text_append(text, "const BD_VALUE share%s = (%s & BD_UINT(at%s == %s)) != 0u ? %s : 0.0f;\n", best,
                           covered, best, tap, share);
        } else {
            bd_text_append(text, "const BD_VALUE share%s = %s != 0u ? BD_DIV(%s, %d.0f) : 0.0f;\n", best, covered,
                           share, taps);
        }
        bd_text_append(text, "%s = BD_ADD_%s(%s, share%s);\n", p->values[i], bd_format_name(node->accumulator),
                       p->values[i], best);
    }
}

/* For each window that covers this pixel: did it win (max), or its share (average)? A gather, so no atomics. */
const char *bd_emit_pool_grad(bd_emitter *emitter, const bd_graph *graph, const bd_node *node, const char *index)
{
    bool maximum = node->op == BD_OP_MAX_POOL_GRAD;
    bd_tensor dy = node->inputs[maximum ? 1 : 0];
    const bd_shape *pooled = &graph->nodes[dy].shape;
    const bd_window *window = &node->attr.window;
    const bd_known_window *known = bd_emit_window_of(emitter, node, index);
    if (known)
        return pool_grad_together(emitter, graph, node, dy, index, known);
    if (windows_inside(window, &node->shape, pooled) && stand_apart(window, pooled))
        return pool_grad_apart(emitter, graph, node, dy, index);
    bd_pixels p;
    bd_emit_pixels(emitter, node, index, "0.0f", &p);
    if (windows_inside(window, &node->shape, pooled) && window->size[0] * window->size[1] <= BD_WINDOW_TAPS &&
        covers(window, 0) * covers(window, 1) <= MOST_COVERS) {
        for (int64_t y = 0; y < covers(window, 0); y++)
            for (int64_t x = 0; x < covers(window, 1); x++)
                add_cover(emitter, graph, node, dy, &p, y, x);
        return bd_emit_know_pixels(emitter, node, index, &p);
    }
    const char *name = p.values[0], *accumulator = bd_format_name(node->accumulator), *mine[BD_WIDTH], *share;
    bd_text *text = bd_emitter_text(emitter);
    for (uint32_t i = 0; i < p.count && maximum; i++)
        mine[i] = bd_emit_value(emitter, node->inputs[0], p.indices[i]);
    int mark = bd_emit_open(emitter);
    bd_emit_cover_loops(emitter, window, pooled, p.y, p.x, name);
    char oy[24], ox[24], inner[24], y[40], x[40], won[32], earlier[40];
    snprintf(oy, sizeof oy, "oy%s", name);
    snprintf(ox, sizeof ox, "ox%s", name);
    if (maximum) {
        snprintf(inner, sizeof inner, "w%s", name);
        snprintf(y, sizeof y, "y%s", inner);
        snprintf(x, sizeof x, "x%s", inner);
        snprintf(earlier, sizeof earlier, "earlier%s", name);
        for (uint32_t i = 0; i < p.count; i++)
            bd_text_append(text, "uint won%s = 1u;\n", p.values[i]);
        int scope = bd_emit_open(emitter);
        bd_emit_window_loops(emitter, window, &node->shape, oy, ox, inner);
        bd_text_append(text, "const bool %s = ky%s * %d + kx%s < ky%s * %d + kx%s;\n", earlier, inner,
                       (int)window->size[1], inner, name, (int)window->size[1], name);
        for (uint32_t i = 0; i < p.count; i++) {
            const char *other =
                bd_emit_value(emitter, node->inputs[0], bd_emit_nhwc(emitter, &node->shape, p.n, y, x, p.channels[i]));
            snprintf(won, sizeof won, "won%s", p.values[i]);
            lose_to(text, won, other, mine[i], earlier);
        }
        bd_text_append(text, "}\n}\n");
        bd_emit_close(emitter, scope);
        for (uint32_t i = 0; i < p.count && p.count > 1; i++) /* all at once, before the conditions */
            bd_emit_value(emitter, dy, bd_emit_nhwc(emitter, pooled, p.n, oy, ox, p.channels[i]));
        for (uint32_t i = 0; i < p.count; i++) {
            bd_text_append(text, "if (won%s != 0u) {\n", p.values[i]);
            scope = bd_emit_open(emitter);
            share = bd_emit_value(emitter, dy, bd_emit_nhwc(emitter, pooled, p.n, oy, ox, p.channels[i]));
            bd_text_append(text, "%s = BD_ADD_%s(%s, %s);\n}\n", p.values[i], accumulator, p.values[i], share);
            bd_emit_close(emitter, scope);
        }
        bd_text_append(text, "}\n}\n");
    } else {
        /* taps of that window inside the image */
        bd_text_append(text,
                       "const int top%s = max(BD_INT(oy%s) * %d - %d, 0), left%s = max(BD_INT(ox%s) * %d - %d, 0);\n"
                       "const int bottom%s = min(BD_INT(oy%s) * %d - %d + %d, %d), right%s = min(BD_INT(ox%s) * %d - "
                       "%d + %d, %d);\n",
                       name, name, (int)window->stride[0], (int)window->pad[0][0], name, name, (int)window->stride[1],
                       (int)window->pad[1][0], name, name, (int)window->stride[0], (int)window->pad[0][0],
                       (int)window->size[0], (int)node->shape.dim[1], name, name, (int)window->stride[1],
                       (int)window->pad[1][0], (int)window->size[1], (int)node->shape.dim[2]);
        for (uint32_t i = 0; i < p.count; i++) {
            share = bd_emit_value(emitter, dy, bd_emit_nhwc(emitter, pooled, p.n, oy, ox, p.channels[i]));
            bd_text_append(text, "%s = BD_ADD_%s(%s, BD_DIV(%s, BD_FLOAT((bottom%s - top%s) * (right%s - left%s))));\n",
                           p.values[i], accumulator, p.values[i], share, name, name, name, name);
        }
        bd_text_append(text, "}\n}\n");
    }
    bd_emit_close(emitter, mark);
    return bd_emit_know_pixels(emitter, node, index, &p);
}
