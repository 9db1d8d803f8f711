#include "control.h"
#include "emit_parts.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A remembered name: of an index expression (node BD_NONE), or of a node's value at an index. */
typedef struct known {
    char *expression;
    bd_tensor node;
    const char *name;
} known;

struct bd_emitter {
    const bd_plan *plan;
    const bd_kernel *kernel;
    bd_dialect dialect;
    bd_text text;
    known *known;
    int known_count, known_capacity;
    char **names; /* everything handed out */
    int name_count, name_capacity;
    int next;
    bool failed;
};

bd_emitter *bd_emitter_create(const bd_plan *plan, const bd_kernel *kernel, bd_dialect dialect)
{
    bd_emitter *emitter = calloc(1, sizeof *emitter);
    if (emitter) {
        emitter->plan = plan;
        emitter->kernel = kernel;
        emitter->dialect = dialect;
    }
    return emitter;
}

void bd_emitter_destroy(bd_emitter **pointer)
{
    bd_emitter *emitter = *pointer;
    if (!emitter)
        return;
    bd_text_finish(&emitter->text);
    for (int i = 0; i < emitter->known_count; i++)
        free(emitter->known[i].expression);
    for (int i = 0; i < emitter->name_count; i++)
        free(emitter->names[i]);
    free(emitter->known);
    free(emitter->names);
    free(emitter);
    *pointer = NULL;
}

bd_text *bd_emitter_text(bd_emitter *emitter)
{
    return &emitter->text;
}

bool bd_emitter_failed(const bd_emitter *emitter)
{
    return emitter->failed || emitter->text.failed;
}

int bd_emit_open(bd_emitter *emitter)
{
    return emitter->known_count;
}

void bd_emit_close(bd_emitter *emitter, int mark)
{
    while (emitter->known_count > mark)
        free(emitter->known[--emitter->known_count].expression);
}

/* Keeps a copy until the emitter is destroyed. Never returns NULL. */
static const char *keep(bd_emitter *emitter, const char *name)
{
    if (emitter->name_count == emitter->name_capacity) {
        int capacity = emitter->name_capacity * 2 + 64;
        char **grown = realloc(emitter->names, (size_t)capacity * sizeof *grown);
        if (!grown) {
            emitter->failed = true;
            return "0";
        }
        emitter->names = grown;
        emitter->name_capacity = capacity;
    }
    char *copy = strdup(name);
    if (!copy) {
        emitter->failed = true;
        return "0";
    }
    return emitter->names[emitter->name_count++] = copy;
}

static void remember(bd_emitter *emitter, bd_tensor node, const char *expression, const char *name)
{
    if (emitter->known_count == emitter->known_capacity) {
        int capacity = emitter->known_capacity * 2 + 64;
        known *grown = realloc(emitter->known, (size_t)capacity * sizeof *grown);
        if (!grown) {
            emitter->failed = true;
            return;
        }
        emitter->known = grown;
        emitter->known_capacity = capacity;
    }
    char *copy = strdup(expression);
    if (!copy) {
        emitter->failed = true;
        return;
    }
    emitter->known[emitter->known_count++] = (known){ copy, node, name };
}

static const char *recall(const bd_emitter *emitter, bd_tensor node, const char *expression)
{
    for (int i = emitter->known_count - 1; i >= 0; i--)
        if (emitter->known[i].node == node && strcmp(emitter->known[i].expression, expression) == 0)
            return emitter->known[i].name;
    return NULL;
}

const char *bd_emit_fresh(bd_emitter *emitter, char kind)
{
    char name[16];
    snprintf(name, sizeof name, "%c%d", kind, emitter->next++);
    return keep(emitter, name);
}

void bd_emit_know_index(bd_emitter *emitter, const char *expression, const char *name)
{
    remember(emitter, BD_NONE, expression, keep(emitter, name));
}

void bd_emit_know(bd_emitter *emitter, bd_tensor node, const char *index, const char *name)
{
    remember(emitter, node, index, keep(emitter, name));
}

const char *bd_emit_index(bd_emitter *emitter, const char *format, ...)
{
    char expression[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(expression, sizeof expression, format, arguments);
    va_end(arguments);
    const char *name = recall(emitter, BD_NONE, expression);
    if (!name) {
        name = bd_emit_fresh(emitter, 'x');
        bd_text_append(&emitter->text, "const uint %s = %s;\n", name, expression);
        remember(emitter, BD_NONE, expression, name);
    }
    return name;
}

/* offset + sum over dimensions of coordinate(index) * stride, the coordinate by division and remainder. */
static const char *remap(bd_emitter *emitter, const char *index, const int64_t *dims, const int64_t *strides, int rank,
                         int64_t offset)
{
    int64_t dim[BD_MAX_RANK], stride[BD_MAX_RANK];
    int count = 0;
    for (int d = 0; d < rank; d++) {
        if (dims[d] == 1)
            continue;
        if (count &&
            stride[count - 1] == strides[d] * dims[d]) { /* one longer dimension, as also for strides 0 and 0 */
            dim[count - 1] *= dims[d];
            stride[count - 1] = strides[d];
        } else {
            dim[count] = dims[d];
            stride[count++] = strides[d];
        }
    }
    const char *sum = NULL;
    int64_t inner = 1;
    for (int d = count - 1; d >= 0; inner *= dim[d--]) {
        if (stride[d] == 0)
            continue;
        const char *coordinate = index;
        if (inner > 1)
            coordinate = bd_emit_index(emitter, "%s / %lluu", coordinate, (unsigned long long)inner);
        if (d > 0)
            coordinate = bd_emit_index(emitter, "%s %% %lluu", coordinate, (unsigned long long)dim[d]);
        if (stride[d] != 1)
            coordinate = bd_emit_index(emitter, "%s * %lluu", coordinate, (unsigned long long)stride[d]);
        sum = sum ? bd_emit_index(emitter, "%s + %s", coordinate, sum) : coordinate;
    }
    if (!sum) {
        char literal[32];
        snprintf(literal, sizeof literal, "%lluu", (unsigned long long)offset);
        return keep(emitter, literal);
    }
    /* A negative offset (padding) wraps around; the guard keeps wrapped indices from use. */
    return offset ? bd_emit_index(emitter, "%s + %uu", sum, (unsigned)offset) : sum;
}

static void row_major_strides(const bd_shape *shape, int64_t *strides)
{
    int64_t stride = 1;
    for (int d = shape->rank - 1; d >= 0; stride *= shape->dim[d--])
        strides[d] = stride;
}

const char *bd_emit_view(bd_emitter *emitter, const bd_node *view, const bd_shape *input, const char *index)
{
    int64_t strides[BD_MAX_RANK] = { 0 }, mapped[BD_MAX_RANK] = { 0 };
    row_major_strides(input, strides);
    const bd_shape *shape = &view->shape;
    switch (view->op) {
    case BD_OP_RESHAPE: return index;
    case BD_OP_BROADCAST:
        for (int d = 0; d < input->rank; d++)
            if (input->dim[d] != 1)
                mapped[shape->rank - input->rank + d] = strides[d];
        return remap(emitter, index, shape->dim, mapped, shape->rank, 0);
    case BD_OP_PERMUTE:
        for (int d = 0; d < shape->rank; d++)
            mapped[d] = strides[view->attr.axes[d]];
        return remap(emitter, index, shape->dim, mapped, shape->rank, 0);
    case BD_OP_SLICE:
        return remap(emitter, index, shape->dim, strides, shape->rank,
                     view->attr.range.first * strides[view->attr.range.axis]);
    case BD_OP_PAD:
        return remap(emitter, index, shape->dim, strides, shape->rank,
                     -view->attr.range.first * strides[view->attr.range.axis]);
    default: return index;
    }
}

bd_tensor bd_view_base(const bd_graph *graph, bd_tensor tensor)
{
    while (bd_op_get_info(graph->nodes[tensor].op)->class == BD_CLASS_VIEW)
        tensor = graph->nodes[tensor].inputs[0];
    return tensor;
}

bd_tensor bd_stored_operand(const bd_graph *graph, bd_tensor tensor)
{
    while (graph->nodes[tensor].op == BD_OP_RESHAPE ||
           (graph->nodes[tensor].op == BD_OP_CAST && graph->nodes[tensor].recompute))
        tensor = graph->nodes[tensor].inputs[0];
    return tensor;
}

bool bd_is_inline(const bd_graph *graph, bd_tensor tensor)
{
    const bd_node *node = &graph->nodes[tensor];
    switch (bd_op_get_info(node->op)->class) {
    case BD_CLASS_SOURCE: return node->op != BD_OP_BATCH;
    case BD_CLASS_VIEW: return true;
    case BD_CLASS_ELEMENTWISE:
        if (node->recompute)
            return true;
        if (bd_shape_elements(&node->shape) != 1)
            return false;
        for (int i = 0; i < node->input_count; i++) {
            bd_tensor base = bd_view_base(graph, node->inputs[i]);
            if (graph->nodes[base].op == BD_OP_VARIABLE || !bd_is_inline(graph, base))
                return false;
        }
        return true;
    default: return false;
    }
}

int bd_kernel_operand(const bd_kernel *kernel, bd_tensor node)
{
    for (int i = 0; i < kernel->operand_count; i++)
        if (kernel->operands[i].node == node)
            return i;
    return -1;
}

static void literal(double value, char text[64])
{
    if (isnan(value))
        snprintf(text, 64, "BD_NAN");
    else if (isinf(value))
        snprintf(text, 64, value < 0 ? "(-BD_INFINITY)" : "BD_INFINITY");
    else
        snprintf(text, 64, value < 0 || signbit(value) ? "(%.9ef)" : "%.9ef", value);
}

void bd_emit_round(bd_emitter *emitter, bd_format format, const char *name)
{
    if (format == BD_F16)
        bd_text_append(&emitter->text, "%s = bd_round_f16(%s);\n", name, name);
}

static const char *load(bd_emitter *emitter, bd_tensor node, const char *index)
{
    int operand = bd_kernel_operand(emitter->kernel, node);
    const char *name = bd_emit_fresh(emitter, 'v');
    const bd_operand *source = &emitter->kernel->operands[operand];
    if (source->access == BD_ACCESS_TEXEL1)
        bd_text_append(&emitter->text, "BD_VALUE %s = BD_FETCH(t%d, %s);\n", name, operand, index);
    else if (source->access != BD_ACCESS_BUFFER)
        bd_text_append(&emitter->text, "BD_VALUE %s = BD_FETCH%d(t%d, %s);\n", name, (int)source->access, operand,
                       index);
    else if (source->parts > 1)
        bd_text_append(&emitter->text, "BD_VALUE %s = load_b%d(%s);\n", name, operand, index);
    else
        bd_text_append(&emitter->text, "BD_VALUE %s = BD_LOAD_%s(b%d, %s);\n", name,
                       bd_format_name(emitter->plan->graph->nodes[node].format), operand, index);
    return name;
}

/* An element of a U32 operand as it is. */
static const char *word(bd_emitter *emitter, int operand, const char *index)
{
    char text[64];
    const bool texels = emitter->kernel->operands[operand].access != BD_ACCESS_BUFFER;
    snprintf(text, sizeof text, texels ? "BD_FETCHU(t%d, %s)" : "b%d[%s]", operand, index);
    return keep(emitter, text);
}

static const char *control_word(bd_emitter *emitter, int operand, unsigned number)
{
    char index[16];
    snprintf(index, sizeof index, "%u", number);
    return word(emitter, operand, index);
}

static int control_operand(const bd_emitter *emitter)
{
    return bd_kernel_operand(emitter->kernel, bd_graph_find_variable(emitter->plan->graph, "control"));
}

/* Half-precision operators of the preludes, for operands that are halves themselves. */
static const char *half_operator(bd_op op)
{
    switch (op) {
    case BD_OP_ADD: return "BD_ADD_f16($0, $1)";
    case BD_OP_SUB: return "BD_SUB_f16($0, $1)";
    case BD_OP_MUL: return "BD_MUL_f16($0, $1)";
    case BD_OP_DIV: return "BD_DIV_f16($0, $1)";
    case BD_OP_SQRT: return "BD_SQRT_f16($0)";
    default: return NULL;
    }
}

static const char *elementwise(bd_emitter *emitter, const bd_node *node, const char *index)
{
    const bd_graph *graph = emitter->plan->graph;
    const char *operands[3] = { "", "", "" };
    bool halves = true;
    for (int i = 0; i < node->input_count; i++) {
        operands[i] = bd_emit_value(emitter, node->inputs[i], index);
        if (!(node->op == BD_OP_SELECT && i == 0))
            halves &= graph->nodes[node->inputs[i]].format == BD_F16;
    }
    const char *expression = bd_op_get_info(node->op)->expression;
    bool round = node->format == BD_F16;
    if (round && halves) {
        if (half_operator(node->op)) {
            expression = half_operator(node->op);
            round = false;
        } else if (bd_op_get_info(node->op)->exactness == BD_KEEPS) {
            round = false;
        }
    }
    const char *name = bd_emit_fresh(emitter, 'v');
    bd_text_append(&emitter->text, "BD_VALUE %s = %s", name, round ? "bd_round_f16(" : "");
    for (const char *c = expression; *c; c++) {
        if (*c == '$') {
            c++;
            bd_text_append(&emitter->text, "%s", operands[*c - '0']);
        } else {
            bd_text_append_raw(&emitter->text, c, 1);
        }
    }
    bd_text_append(&emitter->text, "%s;\n", round ? ")" : "");
    return name;
}

static const char *pad(bd_emitter *emitter, const bd_node *node, const char *index)
{
    const bd_shape *input = &emitter->plan->graph->nodes[node->inputs[0]].shape;
    int axis = node->attr.range.axis;
    int64_t inner = 1;
    for (int d = axis + 1; d < node->shape.rank; d++)
        inner *= node->shape.dim[d];
    const char *name = bd_emit_fresh(emitter, 'v');
    const char *at = bd_emit_index(emitter, "%s / %lluu %% %lluu", index, (unsigned long long)inner,
                                   (unsigned long long)node->shape.dim[axis]);
    bd_text_append(&emitter->text, "BD_VALUE %s = 0.0f;\nif (%s >= %lluu && %s < %lluu) {\n", name, at,
                   (unsigned long long)node->attr.range.first, at,
                   (unsigned long long)(node->attr.range.first + input->dim[axis]));
    int mark = bd_emit_open(emitter);
    const char *inside = bd_emit_value(emitter, node->inputs[0], bd_emit_view(emitter, node, input, index));
    bd_text_append(&emitter->text, "%s = %s;\n}\n", name, inside);
    bd_emit_close(emitter, mark);
    return name;
}

static const char *concat(bd_emitter *emitter, const bd_node *node, const char *index)
{
    const bd_graph *graph = emitter->plan->graph;
    int axis = node->attr.axis;
    int64_t inner = 1;
    for (int d = axis + 1; d < node->shape.rank; d++)
        inner *= node->shape.dim[d];
    unsigned long long row = (unsigned long long)(inner * node->shape.dim[axis]);
    const char *name = bd_emit_fresh(emitter, 'v');
    const char *outer = bd_emit_index(emitter, "%s / %lluu", index, row);
    const char *within = bd_emit_index(emitter, "%s %% %lluu", index, row);
    bd_text_append(&emitter->text, "BD_VALUE %s = 0.0f;\n", name);
    unsigned long long first = 0;
    for (int i = 0; i < node->input_count; i++) {
        unsigned long long part = (unsigned long long)(inner * graph->nodes[node->inputs[i]].shape.dim[axis]);
        bd_text_append(&emitter->text, "if (%s >= %lluu && %s < %lluu) {\n", within, first, within, first + part);
        int mark = bd_emit_open(emitter);
        const char *at = bd_emit_index(emitter, "%s * %lluu + %s - %lluu", outer, part, within, first);
        const char *value = bd_emit_value(emitter, node->inputs[i], at);
        bd_text_append(&emitter->text, "%s = %s;\n}\n", name, value);
        bd_emit_close(emitter, mark);
        first += part;
    }
    bd_emit_round(emitter, node->format, name);
    return name;
}

/* An element of image `source` of the data, turned round and shifted as the moves of image `at` of the batch say. */
static const char *moved_image(bd_emitter *emitter, const bd_node *node, const char *at, const char *source,
                               const char *index)
{
    const bd_shape *data = &emitter->plan->graph->nodes[node->inputs[0]].shape;
    const char *place[4], *moves[3];
    bd_emit_coordinates(emitter, &node->shape, index, place);
    for (int i = 0; i < 3; i++)
        moves[i] = bd_emit_value(emitter, node->inputs[3], bd_emit_index(emitter, "%s * 3u + %du", at, i));
    const char *name = bd_emit_fresh(emitter, 'v');
    char y[24], x[24];
    snprintf(y, sizeof y, "y%s", name);
    snprintf(x, sizeof x, "x%s", name);
    bd_text_append(&emitter->text,
                   "BD_VALUE %s = 0.0f;\nconst int %s = BD_INT(%s) + BD_INT(%s), %s = (%s != 0.0f ? %d - BD_INT(%s) : "
                   "BD_INT(%s)) + BD_INT(%s);\nif (%s >= 0 && %s < %d && %s >= 0 && %s < %d) {\n",
                   name, y, place[1], moves[1], x, moves[0], (int)data->dim[2] - 1, place[2], place[2], moves[2], y, y,
                   (int)data->dim[1], x, x, (int)data->dim[2]);
    const int mark = bd_emit_open(emitter);
    const char *value = bd_emit_value(emitter, node->inputs[0], bd_emit_nhwc(emitter, data, source, y, x, place[3]));
    bd_text_append(&emitter->text, "%s = %s;\n}\n", name, value);
    bd_emit_close(emitter, mark);
    return name;
}

static const char *batch(bd_emitter *emitter, const bd_node *node, const char *index)
{
    const bd_graph *graph = emitter->plan->graph;
    const bd_node *data = &graph->nodes[node->inputs[0]];
    unsigned long long row = (unsigned long long)(bd_shape_elements(&node->shape) / node->shape.dim[0]);
    int order = bd_kernel_operand(emitter->kernel, node->inputs[1]);
    int control = bd_kernel_operand(emitter->kernel, node->inputs[2]);
    const char *at = row > 1 ? bd_emit_index(emitter, "%s / %lluu", index, row) : index;
    const char *position =
        bd_emit_index(emitter, "min(%s + %s, %lluu)", control_word(emitter, control, BD_CONTROL_POSITION), at,
                      (unsigned long long)graph->nodes[node->inputs[1]].shape.dim[0] - 1);
    const char *source = bd_emit_index(emitter, "min(%s, %lluu)", word(emitter, order, position),
                                       (unsigned long long)data->shape.dim[0] - 1);
    if (node->input_count > 3)
        return moved_image(emitter, node, at, source, index);
    const char *element =
        row > 1 ? bd_emit_index(emitter, "%s * %lluu + %s %% %lluu", source, row, index, row) : source;
    return bd_emit_value(emitter, node->inputs[0], element);
}

static const char *gather(bd_emitter *emitter, const bd_node *node, const char *index)
{
    const bd_graph *graph = emitter->plan->graph;
    const bd_node *table = &graph->nodes[node->inputs[0]];
    unsigned long long rows = (unsigned long long)table->shape.dim[0];
    unsigned long long row = (unsigned long long)bd_shape_elements(&table->shape) / rows;
    const char *at = row > 1 ? bd_emit_index(emitter, "%s / %lluu", index, row) : index;
    const char *value = bd_emit_value(emitter, node->inputs[1], at);
    /* Clamped in float first: a float outside of uint's range has no defined conversion. */
    const char *source = bd_emit_index(emitter, "BD_UINT(clamp(%s, 0.0f, %llu.0f))", value, rows - 1);
    source = bd_emit_index(emitter, "min(%s, %lluu)", source, rows - 1);
    const char *element =
        row > 1 ? bd_emit_index(emitter, "%s * %lluu + %s %% %lluu", source, row, index, row) : source;
    return bd_emit_value(emitter, node->inputs[0], element);
}

static const char *scatter_add(bd_emitter *emitter, const bd_node *node, const char *index)
{
    const bd_graph *graph = emitter->plan->graph;
    unsigned long long count = (unsigned long long)bd_shape_elements(&graph->nodes[node->inputs[1]].shape);
    unsigned long long rows = (unsigned long long)node->shape.dim[0];
    unsigned long long row = (unsigned long long)bd_shape_elements(&node->shape) / rows;
    const char *name = bd_emit_fresh(emitter, 'v');
    const char *mine = row > 1 ? bd_emit_index(emitter, "%s / %lluu", index, row) : index;
    const char *within = row > 1 ? bd_emit_index(emitter, "%s %% %lluu", index, row) : "0u";
    const char *loop = bd_emit_fresh(emitter, 'k');
    bd_text_append(&emitter->text, "BD_VALUE %s = 0.0f;\nfor (uint %s = 0u; %s < %lluu; %s++) {\n", name, loop, loop,
                   count, loop);
    int mark = bd_emit_open(emitter);
    const char *target = bd_emit_value(emitter, node->inputs[1], loop);
    bd_text_append(&emitter->text, "if (min(BD_UINT(clamp(%s, 0.0f, %llu.0f)), %lluu) == %s) {\n", target, rows - 1,
                   rows - 1, mine);
    const char *at = bd_emit_index(emitter, "%s * %lluu + %s", loop, row, within);
    const char *value = bd_emit_value(emitter, node->inputs[0], at);
    bd_text_append(&emitter->text, "%s = BD_ADD_%s(%s, %s);\n}\n}\n", name, bd_format_name(node->accumulator), name,
                   value);
    bd_emit_close(emitter, mark);
    bd_emit_round(emitter, node->format, name);
    return name;
}

void bd_emit_coordinates(bd_emitter *emitter, const bd_shape *shape, const char *index, const char *at[4])
{
    unsigned long long c = (unsigned long long)shape->dim[3], w = (unsigned long long)shape->dim[2],
                       h = (unsigned long long)shape->dim[1];
    at[3] = bd_emit_index(emitter, "%s %% %lluu", index, c);
    const char *pixel = bd_emit_index(emitter, "%s / %lluu", index, c);
    at[2] = bd_emit_index(emitter, "%s %% %lluu", pixel, w);
    const char *line = bd_emit_index(emitter, "%s / %lluu", pixel, w);
    at[1] = bd_emit_index(emitter, "%s %% %lluu", line, h);
    at[0] = bd_emit_index(emitter, "%s / %lluu", line, h);
}

void bd_emit_window_loops(bd_emitter *emitter, const bd_window *window, const bd_shape *input, const char *oy,
                          const char *ox, const char *suffix)
{
    bd_text_append(&emitter->text,
                   "for (int ky%s = 0; ky%s < %d; ky%s++) for (int kx%s = 0; kx%s < %d; kx%s++) {\n"
                   "const int y%s = BD_INT(%s) * %d - %d + ky%s, x%s = BD_INT(%s) * %d - %d + kx%s;\n"
                   "if (y%s >= 0 && y%s < %d && x%s >= 0 && x%s < %d) {\n",
                   suffix, suffix, (int)window->size[0], suffix, suffix, suffix, (int)window->size[1], suffix, suffix,
                   oy, (int)window->stride[0], (int)window->pad[0][0], suffix, suffix, ox, (int)window->stride[1],
                   (int)window->pad[1][0], suffix, suffix, suffix, (int)input->dim[1], suffix, suffix,
                   (int)input->dim[2]);
}

const char *bd_emit_nhwc(bd_emitter *emitter, const bd_shape *shape, const char *n, const char *y, const char *x,
                         const char *c)
{
    return bd_emit_index(emitter, "((%s * %uu + BD_UINT(%s)) * %uu + BD_UINT(%s)) * %uu + %s", n,
                         (unsigned)shape->dim[1], y, (unsigned)shape->dim[2], x, (unsigned)shape->dim[3], c);
}

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
        bd_emit_index(emitter, "((%s * %uu + %s * %uu) * %uu + %s * %uu) * %uu + %s", n, (unsigned)input->dim[1], oy,
                      (unsigned)window->stride[0], width, ox, (unsigned)window->stride[1], channels, c);
    const unsigned offset = ((unsigned)ky * width + (unsigned)kx) * channels;
    return offset ? bd_emit_index(emitter, "%s + %uu", corner, offset) : corner;
}

/* A window of more taps is a loop: whole images are pooled, too. */
enum { MOST_UNROLLED_TAPS = 64 };

static const char *pool(bd_emitter *emitter, const bd_node *node, const char *index)
{
    const bd_shape *input = &emitter->plan->graph->nodes[node->inputs[0]].shape;
    const bd_window *window = &node->attr.window;
    const char *at[4];
    bd_emit_coordinates(emitter, &node->shape, index, at);
    const bool maximum = node->op == BD_OP_MAX_POOL;
    const bool inside =
        windows_inside(window, input, &node->shape) && window->size[0] * window->size[1] <= MOST_UNROLLED_TAPS;
    const char *accumulator = bd_format_name(node->accumulator);
    const char *name = bd_emit_fresh(emitter, 'v'), *taps = bd_emit_fresh(emitter, 'n');
    bd_text *text = &emitter->text;
    bd_text_append(text, "BD_VALUE %s = %s;\n", name, maximum ? "-BD_INFINITY" : "0.0f");
    if (inside) {
        for (int ky = 0; ky < window->size[0]; ky++)
            for (int kx = 0; kx < window->size[1]; kx++) {
                const char *value = bd_emit_value(
                    emitter, node->inputs[0], tap_index(emitter, window, input, at[0], at[1], at[2], at[3], ky, kx));
                if (maximum)
                    bd_text_append(text, "%s = bd_max(%s, %s);\n", name, name, value);
                else
                    bd_text_append(text, "%s = BD_ADD_%s(%s, %s);\n", name, accumulator, name, value);
            }
        if (!maximum)
            bd_text_append(text, "%s = BD_DIV(%s, %d.0f);\n", name, name, (int)(window->size[0] * window->size[1]));
    } else {
        bd_text_append(text, "float %s = 0.0f;\n", taps);
        int mark = bd_emit_open(emitter);
        bd_emit_window_loops(emitter, window, input, at[1], at[2], name);
        char y[24], x[24];
        snprintf(y, sizeof y, "y%s", name);
        snprintf(x, sizeof x, "x%s", name);
        const char *value = bd_emit_value(emitter, node->inputs[0], bd_emit_nhwc(emitter, input, at[0], y, x, at[3]));
        if (maximum)
            bd_text_append(text, "%s = bd_max(%s, %s);\n}\n}\n", name, name, value);
        else
            bd_text_append(text, "%s = BD_ADD_%s(%s, %s);\n%s += 1.0f;\n}\n}\n", name, accumulator, name, value, taps);
        bd_emit_close(emitter, mark);
        if (!maximum)
            bd_text_append(text, "%s = BD_DIV(%s, max(%s, 1.0f));\n", name, name, taps);
    }
    bd_emit_round(emitter, node->format, name);
    return name;
}

/* Whether `other` takes the gradient from `mine`: larger, or as large and earlier. A NaN beats every number. By arithmetic on
 * 0 and 1: as branches, which random data mispredicts, it takes a CPU several times as long. */
static void lose_to(bd_text *text, const char *won, const char *other, const char *mine, const char *earlier)
{
    bd_text_append(text,
                   "%s &= 1u - (BD_UINT(%s > %s) | (BD_UINT(%s) & BD_UINT(%s == %s)) | "
                   "(BD_UINT(%s != %s) & (BD_UINT(%s == %s) | BD_UINT(%s))));\n",
                   won, other, mine, earlier, other, mine, other, other, mine, mine, earlier);
}

/* Windows that do not overlap and lie inside: a pixel has one window at most, and no loop is needed. */
static const char *pool_grad_apart(bd_emitter *emitter, const bd_node *node, bd_tensor dy, const char *const at[4],
                                   const char *index)
{
    const bd_shape *pooled = &emitter->plan->graph->nodes[dy].shape;
    const bd_window *window = &node->attr.window;
    bd_text *text = &emitter->text;
    const char *o[2], *k[2];
    for (int d = 0; d < 2; d++) {
        const char *cell = bd_emit_index(emitter, "%s / %uu", at[d + 1], (unsigned)window->stride[d]);
        o[d] = bd_emit_index(emitter, "min(%s, %uu)", cell, (unsigned)pooled->dim[d + 1] - 1);
        k[d] = bd_emit_index(emitter, "%s - %s * %uu", at[d + 1], o[d], (unsigned)window->stride[d]);
    }
    const char *name = bd_emit_fresh(emitter, 'v');
    char won[32], earlier[64];
    snprintf(won, sizeof won, "won%s", name);
    bd_text_append(text, "uint %s = BD_UINT(%s < %uu) & BD_UINT(%s < %uu);\n", won, k[0], (unsigned)window->size[0],
                   k[1], (unsigned)window->size[1]);
    if (node->op == BD_OP_MAX_POOL_GRAD) {
        const char *mine = bd_emit_value(emitter, node->inputs[0], index);
        const char *tap = bd_emit_index(emitter, "%s * %uu + %s", k[0], (unsigned)window->size[1], k[1]);
        for (int ky = 0; ky < window->size[0]; ky++)
            for (int kx = 0; kx < window->size[1]; kx++) {
                const char *other =
                    bd_emit_value(emitter, node->inputs[0],
                                  tap_index(emitter, window, &node->shape, at[0], o[0], o[1], at[3], ky, kx));
                snprintf(earlier, sizeof earlier, "%uu < %s", (unsigned)(ky * window->size[1] + kx), tap);
                lose_to(text, won, other, mine, earlier);
            }
    }
    const char *share = bd_emit_value(emitter, dy, bd_emit_nhwc(emitter, pooled, at[0], o[0], o[1], at[3]));
    if (node->op == BD_OP_MAX_POOL_GRAD)
        bd_text_append(text, "BD_VALUE %s = %s != 0u ? %s : 0.0f;\n", name, won, share);
    else
        bd_text_append(text, "BD_VALUE %s = %s != 0u ? BD_DIV(%s, %d.0f) : 0.0f;\n", name, won, share,
                       (int)(window->size[0] * window->size[1]));
    bd_emit_round(emitter, node->format, name);
    return name;
}

void bd_emit_cover_loops(bd_emitter *emitter, const bd_window *window, const bd_shape *output, const char *y,
                         const char *x, const char *suffix)
{
    /* Output row oy covers input row y if y + pad - oy * stride lies in [0, size). */
    bd_text_append(
        &emitter->text,
        "for (int ky%s = 0; ky%s < %d; ky%s++) for (int kx%s = 0; kx%s < %d; kx%s++) {\n"
        "const int py%s = BD_INT(%s) + %d - ky%s, px%s = BD_INT(%s) + %d - kx%s;\n"
        "if (py%s >= 0 && py%s %% %d == 0 && py%s / %d < %d && px%s >= 0 && px%s %% %d == 0 && px%s / %d < %d) {\n"
        "const uint oy%s = BD_UINT(py%s / %d), ox%s = BD_UINT(px%s / %d);\n",
        suffix, suffix, (int)window->size[0], suffix, suffix, suffix, (int)window->size[1], suffix,  /* loops */
        suffix, y, (int)window->pad[0][0], suffix, suffix, x, (int)window->pad[1][0], suffix,        /* py px */
        suffix, suffix, (int)window->stride[0], suffix, (int)window->stride[0], (int)output->dim[1], /* if */
        suffix, suffix, (int)window->stride[1], suffix, (int)window->stride[1], (int)output->dim[2], suffix, suffix,
        (int)window->stride[0], suffix, suffix, (int)window->stride[1]);
}

/* For each window that covers this pixel: did it win (max), or its share (average)? A gather, so no atomics. */
static const char *pool_grad(bd_emitter *emitter, const bd_node *node, const char *index)
{
    const bd_graph *graph = emitter->plan->graph;
    bool maximum = node->op == BD_OP_MAX_POOL_GRAD;
    bd_tensor dy = node->inputs[maximum ? 1 : 0];
    const bd_shape *pooled = &graph->nodes[dy].shape;
    const bd_window *window = &node->attr.window;
    const char *at[4];
    bd_emit_coordinates(emitter, &node->shape, index, at);
    if (windows_inside(window, &node->shape, pooled) && window->stride[0] >= window->size[0] &&
        window->stride[1] >= window->size[1])
        return pool_grad_apart(emitter, node, dy, at, index);
    const char *name = bd_emit_fresh(emitter, 'v');
    bd_text *text = &emitter->text;
    bd_text_append(text, "BD_VALUE %s = 0.0f;\n", name);
    int mark = bd_emit_open(emitter);
    bd_emit_cover_loops(emitter, window, pooled, at[1], at[2], name);
    char oy[24], ox[24], inner[24], y[40], x[40], won[32], earlier[40];
    snprintf(oy, sizeof oy, "oy%s", name);
    snprintf(ox, sizeof ox, "ox%s", name);
    if (maximum) {
        const char *mine = bd_emit_value(emitter, node->inputs[0], index);
        snprintf(inner, sizeof inner, "w%s", name);
        snprintf(y, sizeof y, "y%s", inner);
        snprintf(x, sizeof x, "x%s", inner);
        snprintf(won, sizeof won, "won%s", name);
        snprintf(earlier, sizeof earlier, "earlier%s", name);
        bd_text_append(text, "uint %s = 1u;\n", won);
        int scope = bd_emit_open(emitter);
        bd_emit_window_loops(emitter, window, &node->shape, oy, ox, inner);
        const char *other =
            bd_emit_value(emitter, node->inputs[0], bd_emit_nhwc(emitter, &node->shape, at[0], y, x, at[3]));
        bd_text_append(text, "const bool %s = ky%s * %d + kx%s < ky%s * %d + kx%s;\n", earlier, inner,
                       (int)window->size[1], inner, name, (int)window->size[1], name);
        lose_to(text, won, other, mine, earlier);
        bd_text_append(text, "}\n}\n");
        bd_emit_close(emitter, scope);
        bd_text_append(text, "if (%s != 0u) {\n", won);
        const char *share = bd_emit_value(emitter, dy, bd_emit_nhwc(emitter, pooled, at[0], oy, ox, at[3]));
        bd_text_append(text, "%s = BD_ADD_%s(%s, %s);\n}\n}\n}\n", name, bd_format_name(node->accumulator), name,
                       share);
    } else {
        const char *share = bd_emit_value(emitter, dy, bd_emit_nhwc(emitter, pooled, at[0], oy, ox, at[3]));
        /* taps of that window inside the image */
        bd_text_append(text,
                       "const int top%s = max(BD_INT(oy%s) * %d - %d, 0), left%s = max(BD_INT(ox%s) * %d - %d, 0);\n"
                       "const int bottom%s = min(BD_INT(oy%s) * %d - %d + %d, %d), right%s = min(BD_INT(ox%s) * %d - "
                       "%d + %d, %d);\n"
                       "%s = BD_ADD_%s(%s, BD_DIV(%s, BD_FLOAT((bottom%s - top%s) * (right%s - left%s))));\n}\n}\n",
                       name, name, (int)window->stride[0], (int)window->pad[0][0], name, name, (int)window->stride[1],
                       (int)window->pad[1][0], name, name, (int)window->stride[0], (int)window->pad[0][0],
                       (int)window->size[0], (int)node->shape.dim[1], name, name, (int)window->stride[1],
                       (int)window->pad[1][0], (int)window->size[1], (int)node->shape.dim[2], name,
                       bd_format_name(node->accumulator), name, share, name, name, name, name);
    }
    bd_emit_close(emitter, mark);
    bd_emit_round(emitter, node->format, name);
    return name;
}

static const char *source(bd_emitter *emitter, const bd_node *node, const char *index)
{
    bd_text *text = &emitter->text;
    const char *name;
    switch (node->op) {
    case BD_OP_CONSTANT: {
        char number[64];
        literal(bd_round(node->format, node->attr.constant), number);
        return keep(emitter, number);
    }
    case BD_OP_IOTA: {
        int64_t inner = 1;
        for (int d = node->attr.axis + 1; d < node->shape.rank; d++)
            inner *= node->shape.dim[d];
        const char *at = inner > 1 ? bd_emit_index(emitter, "%s / %lluu", index, (unsigned long long)inner) : index;
        if (node->attr.axis > 0)
            at = bd_emit_index(emitter, "%s %% %lluu", at, (unsigned long long)node->shape.dim[node->attr.axis]);
        name = bd_emit_fresh(emitter, 'v');
        bd_text_append(text, "BD_VALUE %s = BD_FLOAT(%s);\n", name, at);
        bd_emit_round(emitter, node->format, name);
        return name;
    }
    case BD_OP_RANDOM: {
        int control = control_operand(emitter);
        name = bd_emit_fresh(emitter, 'v');
        bd_text_append(text, "BD_VALUE %s = bd_uniform(%s, %s, %s, %uu, %s);\n", name,
                       control_word(emitter, control, BD_CONTROL_SEED_LOW),
                       control_word(emitter, control, BD_CONTROL_SEED_HIGH),
                       control_word(emitter, control, BD_CONTROL_STEP), node->attr.stream, index);
        bd_emit_round(emitter, node->format, name);
        return name;
    }
    case BD_OP_CONTROL: {
        bd_tensor input = node->inputs[0];
        if (emitter->plan->graph->nodes[input].op == BD_OP_CONTROL_STEP)
            input = emitter->plan->graph->nodes[input].inputs[0];
        name = bd_emit_fresh(emitter, 'v');
        bd_text_append(text, "BD_VALUE %s = %s(%s);\n", name, node->attr.control.is_float ? "BD_AS_FLOAT" : "BD_FLOAT",
                       control_word(emitter, bd_kernel_operand(emitter->kernel, input), node->attr.control.word));
        bd_emit_round(emitter, node->format, name);
        return name;
    }
    case BD_OP_VALID: {
        int control = bd_kernel_operand(emitter->kernel, node->inputs[0]);
        name = bd_emit_fresh(emitter, 'v');
        bd_text_append(text, "BD_VALUE %s = %s + %s < %s ? 1.0f : 0.0f;\n", name,
                       control_word(emitter, control, BD_CONTROL_POSITION), index,
                       control_word(emitter, control, BD_CONTROL_COUNT));
        return name;
    }
    default: return keep(emitter, "0.0f");
    }
}

const char *bd_emit_value(bd_emitter *emitter, bd_tensor tensor, const char *index)
{
    const bd_graph *graph = emitter->plan->graph;
    const bd_node *node = &graph->nodes[tensor];
    const char *name = recall(emitter, tensor, index);
    if (name)
        return name;
    if (bd_op_get_info(node->op)->class == BD_CLASS_VIEW && node->op != BD_OP_PAD) {
        name = bd_emit_value(emitter, node->inputs[0],
                             bd_emit_view(emitter, node, &graph->nodes[node->inputs[0]].shape, index));
    } else if (!bd_is_inline(graph, tensor) &&
               (emitter->plan->kernel_of[tensor] < 0 ||
                &emitter->plan->kernels[emitter->plan->kernel_of[tensor]] != emitter->kernel)) {
        name = load(emitter, tensor, index);
    } else {
        switch (node->op) {
        case BD_OP_VARIABLE: name = load(emitter, tensor, index); break;
        case BD_OP_PAD: name = pad(emitter, node, index); break;
        case BD_OP_CONCAT: name = concat(emitter, node, index); break;
        case BD_OP_BATCH: name = batch(emitter, node, index); break;
        case BD_OP_GATHER: name = gather(emitter, node, index); break;
        case BD_OP_SCATTER_ADD: name = scatter_add(emitter, node, index); break;
        case BD_OP_MAX_POOL:
        case BD_OP_AVG_POOL: name = pool(emitter, node, index); break;
        case BD_OP_MAX_POOL_GRAD:
        case BD_OP_AVG_POOL_GRAD: name = pool_grad(emitter, node, index); break;
        case BD_OP_DEPTHWISE: name = bd_emit_depthwise(emitter, graph, node, index); break;
        case BD_OP_DEPTHWISE_DATA: name = bd_emit_depthwise_data(emitter, graph, node, index); break;
        case BD_OP_DEPTHWISE_WEIGHT: name = bd_emit_depthwise_weight(emitter, graph, node, index); break;
        case BD_OP_ASSIGN: name = bd_emit_value(emitter, node->inputs[1], index); break;
        default:
            name = bd_op_get_info(node->op)->class == BD_CLASS_ELEMENTWISE ? elementwise(emitter, node, index)
                                                                           : source(emitter, node, index);
        }
    }
    remember(emitter, tensor, index, name);
    return name;
}

void bd_emit_store(bd_emitter *emitter, bd_tensor tensor, const char *index, const char *value)
{
    const bd_graph *graph = emitter->plan->graph;
    const bd_node *node = &graph->nodes[tensor];
    bd_tensor target = node->op == BD_OP_ASSIGN ? node->inputs[0] : tensor;
    const int operand = bd_kernel_operand(emitter->kernel, target);
    if (emitter->kernel->operands[operand].parts > 1)
        bd_text_append(&emitter->text, "store_b%d(%s, %s);\n", operand, index, value);
    else
        bd_text_append(&emitter->text, "BD_STORE_%s(b%d, %s, %s);\n", bd_format_name(graph->nodes[target].format),
                       operand, index, value);
}
