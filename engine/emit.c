#include "control.h"
#include "emit_parts.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_WINDOWS = 4 }; /* known at once */

/* A remembered name: of an index expression (node BD_NONE), or of a node's value at an index. */
typedef struct known {
    char *expression;
    bd_tensor node;
    const char *name;
    bool stays; /* declared before the loop, and so also outside of the scope in which it became known */
} known;

/* An index that is one of the neighbours side by side: `base`, a multiple of the kernel's width, plus `number`. */
typedef struct lane {
    const char *name, *base;
    uint32_t number;
} lane;

struct bd_emitter {
    const bd_plan *plan;
    const bd_kernel *kernel;
    bd_dialect dialect;
    bd_text text;
    int depth;      /* of open scopes */
    bool loops;     /* `text` is of a loop's turns; what does not change from turn to turn goes to `before` */
    bool early;     /* the two have changed places, so that it does */
    int loop_depth; /* of the loop's own scope: what stands in one inside may be under a condition */
    const char *const *constants; /* in this loop */
    bd_text before;
    known *known;
    int known_count, known_capacity;
    lane *lanes;
    int lane_count, lane_capacity;
    bd_known_window windows[MOST_WINDOWS];
    int window_count;
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
    bd_text_finish(&emitter->before);
    for (int i = 0; i < emitter->known_count; i++)
        free(emitter->known[i].expression);
    for (int i = 0; i < emitter->name_count; i++)
        free(emitter->names[i]);
    free(emitter->known);
    free(emitter->lanes);
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
    emitter->depth++;
    return emitter->known_count;
}

void bd_emit_close(bd_emitter *emitter, int mark)
{
    int kept = mark;
    emitter->depth--;
    for (int i = mark; i < emitter->known_count; i++) {
        if (emitter->known[i].stays)
            emitter->known[kept++] = emitter->known[i];
        else
            free(emitter->known[i].expression);
    }
    emitter->known_count = kept;
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

/* ---- what a loop need not do in each turn ---- */

void bd_emit_begin_loop(bd_emitter *emitter, const char *const *constants)
{
    emitter->loops = true;
    emitter->loop_depth = emitter->depth + 1;
    emitter->constants = constants;
    emitter->before = emitter->text;
    emitter->text = (bd_text){ 0 };
}

void bd_emit_end_loop(bd_emitter *emitter)
{
    bd_text turns = emitter->text;
    emitter->text = emitter->before;
    emitter->before = (bd_text){ 0 };
    emitter->loops = false;
    if (turns.data)
        bd_text_append_raw(&emitter->text, turns.data, turns.length);
    emitter->text.failed |= turns.failed;
    bd_text_finish(&turns);
}

static bool is_constant(const bd_emitter *emitter, const char *name, size_t length)
{
    for (int i = 0; emitter->constants[i]; i++)
        if (strlen(emitter->constants[i]) == length && strncmp(emitter->constants[i], name, length) == 0)
            return true;
    for (int i = 0; i < emitter->known_count; i++)
        if (emitter->known[i].stays && strlen(emitter->known[i].name) == length &&
            strncmp(emitter->known[i].name, name, length) == 0)
            return true;
    return false;
}

/* Is every name in an index expression, functions aside, one that has the same value in all turns of the loop? */
static bool is_same_in_turns(const bd_emitter *emitter, const char *expression)
{
    bool same = true;
    for (const char *c = expression; *c && same;) {
        size_t length = 0;
        while (isalnum((unsigned char)c[length]) || c[length] == '_')
            length++;
        if (length && isalpha((unsigned char)*c) && c[length] != '(')
            same = is_constant(emitter, c, length);
        c += length ? length : 1;
    }
    return same;
}

static void change_places(bd_emitter *emitter)
{
    const bd_text text = emitter->text;
    emitter->text = emitter->before;
    emitter->before = text;
    emitter->early = !emitter->early;
}

/* Goes before the loop for what is computed at that index, if it can stand there; to be undone by change_places. */
static bool begin_early(bd_emitter *emitter, const char *index)
{
    const bool early =
        emitter->loops && !emitter->early && emitter->depth == emitter->loop_depth && is_same_in_turns(emitter, index);
    if (early)
        change_places(emitter);
    return early;
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
    emitter->known[emitter->known_count++] =
        (known){ copy, node, name, emitter->early && emitter->depth == emitter->loop_depth };
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

const char *bd_emit_known_index(const bd_emitter *emitter, const char *expression)
{
    return recall(emitter, BD_NONE, expression);
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
        const bool early = begin_early(emitter, expression);
        bd_text_append(&emitter->text, "const uint %s = %s;\n", name, expression);
        remember(emitter, BD_NONE, expression, name);
        if (early)
            change_places(emitter);
    }
    return name;
}

/* ---- neighbours ---- */

static uint32_t width_of(const bd_emitter *emitter)
{
    return emitter->kernel && emitter->kernel->width > 1 ? emitter->kernel->width : 1;
}

static const lane *find_lane(const bd_emitter *emitter, const char *index)
{
    for (int i = emitter->lane_count - 1; i >= 0; i--)
        if (strcmp(emitter->lanes[i].name, index) == 0)
            return &emitter->lanes[i];
    return NULL;
}

const char *bd_emit_lane(bd_emitter *emitter, const char *base, uint32_t number)
{
    char name[64];
    snprintf(name, sizeof name, number ? "(%s + %uu)" : "%s", base, number);
    const lane *found = find_lane(emitter, name);
    if (found)
        return found->name;
    if (emitter->lane_count == emitter->lane_capacity) {
        const int capacity = emitter->lane_capacity * 2 + 64;
        lane *grown = realloc(emitter->lanes, (size_t)capacity * sizeof *grown);
        if (!grown) {
            emitter->failed = true;
            return "0";
        }
        emitter->lanes = grown;
        emitter->lane_capacity = capacity;
    }
    const lane made = { keep(emitter, name), keep(emitter, base), number };
    emitter->lanes[emitter->lane_count++] = made;
    return made.name;
}

uint32_t bd_emit_lanes(bd_emitter *emitter, const char *index, const char *lanes[BD_WIDTH])
{
    const lane *found = find_lane(emitter, index);
    const char *base = found ? found->base : index;
    const uint32_t width = found ? width_of(emitter) : 1;
    lanes[0] = index;
    for (uint32_t i = 0; found && i < width; i++)
        lanes[i] = bd_emit_lane(emitter, base, i);
    return width;
}

/* ---- windows ---- */

void bd_emit_window(bd_emitter *emitter, const bd_node *node, const char *const *taps, const char *pooled)
{
    const uint32_t count = (uint32_t)(node->attr.window.size[0] * node->attr.window.size[1]);
    if (emitter->window_count == MOST_WINDOWS) {
        emitter->failed = true;
        return;
    }
    bd_known_window *made = &emitter->windows[emitter->window_count++];
    *made = (bd_known_window){ .node = node, .pooled = keep(emitter, pooled), .count = count };
    for (uint32_t t = 0; t < count; t++)
        made->taps[t] = keep(emitter, taps[t]);
}

const bd_known_window *bd_emit_window_of(const bd_emitter *emitter, const bd_node *node, const char *index)
{
    const lane *found = find_lane(emitter, index);
    const char *base = found ? found->base : index;
    for (int i = 0; i < emitter->window_count; i++) {
        const bd_known_window *w = &emitter->windows[i];
        if (!bd_shape_equal(&node->shape, &w->node->shape) ||
            memcmp(&node->attr.window, &w->node->attr.window, sizeof node->attr.window) != 0)
            continue;
        for (uint32_t t = 0; t < w->count; t++)
            if (strcmp(w->taps[t], base) == 0)
                return w;
    }
    return NULL;
}

/* ---- coordinates ---- */

const char *bd_emit_quotient(bd_emitter *emitter, const char *index, int64_t divisor)
{
    const lane *found = find_lane(emitter, index);
    return bd_emit_index(emitter, "%s / %lluu", found && divisor % width_of(emitter) == 0 ? found->base : index,
                         (unsigned long long)divisor);
}

const char *bd_emit_remainder(bd_emitter *emitter, const char *index, int64_t divisor)
{
    const lane *found = find_lane(emitter, index);
    if (!found || divisor % width_of(emitter))
        return bd_emit_index(emitter, "%s %% %lluu", index, (unsigned long long)divisor);
    const uint32_t number = found->number;
    return bd_emit_lane(emitter, bd_emit_index(emitter, "%s %% %lluu", found->base, (unsigned long long)divisor),
                        number);
}

/* offset + sum over dimensions of coordinate(index) * stride, the coordinate by division and remainder. */
static const char *remap_one(bd_emitter *emitter, const char *index, const int64_t *dim, const int64_t *stride,
                             int count, int64_t offset)
{
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

/* The same for one of several neighbours, which have all coordinates but the last in common where that is a whole
 * number of widths long. */
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
    const lane *found = find_lane(emitter, index);
    const int64_t width = width_of(emitter);
    if (!found || count == 0 || dim[count - 1] % width)
        return remap_one(emitter, index, dim, stride, count, offset);
    const uint32_t number = found->number;
    const int64_t last = stride[count - 1];
    const char *first = remap_one(emitter, found->base, dim, stride, count, offset);
    bool aligned = offset % width == 0;
    for (int d = 0; d < count - 1; d++)
        aligned &= stride[d] % width == 0;
    if (last == 1 && aligned)
        return bd_emit_lane(emitter, first, number);
    return number && last ? bd_emit_index(emitter, "%s + %uu", first, (unsigned)(number * last)) : first;
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

bool bd_is_wide(const bd_graph *graph, const bd_kernel *kernel, const bd_operand *operand)
{
    const bd_format format = graph->nodes[operand->node].format;
    return kernel->width > 1 && operand->access == BD_ACCESS_BUFFER && operand->parts == 1 && format != BD_U8 &&
           format != BD_U32;
}

/* The buffer of an operand as accesses of several elements name it. */
static const char *wide_buffer(const bd_emitter *emitter)
{
    return emitter->dialect == BD_DIALECT_OPENCL ? "b" : "fours";
}

/* All neighbours at once; the name of the one asked for. */
static const char *load_wide(bd_emitter *emitter, bd_tensor node, const char *index)
{
    const char *lanes[BD_WIDTH], *own = NULL, *name = bd_emit_fresh(emitter, 'v');
    const uint32_t width = bd_emit_lanes(emitter, index, lanes);
    const int operand = bd_kernel_operand(emitter->kernel, node);
    if (emitter->kernel->operands[operand].access == BD_ACCESS_TEXEL4)
        bd_text_append(&emitter->text, "const BD_VALUE4 %s = BD_FETCH_FOUR(t%d, %s);\n", name, operand, lanes[0]);
    else
        bd_text_append(&emitter->text, "const BD_VALUE4 %s = BD_LOAD4_%s(%s%d, %s);\n", name,
                       bd_format_name(emitter->plan->graph->nodes[node].format), wide_buffer(emitter), operand,
                       lanes[0]);
    for (uint32_t i = 0; i < width; i++) {
        char part[24];
        snprintf(part, sizeof part, "%s.%c", name, "xyzw"[i]);
        bd_emit_know(emitter, node, lanes[i], part);
        if (strcmp(lanes[i], index) == 0)
            own = recall(emitter, node, index);
    }
    return own ? own : "0.0f";
}

static const char *load(bd_emitter *emitter, bd_tensor node, const char *index)
{
    int operand = bd_kernel_operand(emitter->kernel, node);
    const bd_operand *source = &emitter->kernel->operands[operand];
    if (find_lane(emitter, index) &&
        (source->access == BD_ACCESS_TEXEL4 || bd_is_wide(emitter->plan->graph, emitter->kernel, source)))
        return load_wide(emitter, node, index);
    const char *name = bd_emit_fresh(emitter, 'v');
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

const char *bd_emit_training_word(bd_emitter *emitter, unsigned number)
{
    return control_word(emitter, control_operand(emitter), number);
}

bool bd_emit_after_step(const bd_emitter *emitter)
{
    const bd_plan *plan = emitter->plan;
    const int own = plan->kernel_of[emitter->kernel->nodes[0]];
    for (int k = 0; k < own; k++)
        if (plan->kernels[k].class == BD_KERNEL_CONTROL)
            return true;
    return false;
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
    bool alike = true;
    for (int i = 0; i < node->input_count; i++) {
        operands[i] = bd_emit_value(emitter, node->inputs[i], index);
        if (!(node->op == BD_OP_SELECT && i == 0))
            alike &= graph->nodes[node->inputs[i]].format == node->format;
    }
    const bool keeps =
        alike && bd_op_get_info(node->op)->exactness == BD_KEEPS && (node->format == BD_F16 || node->format == BD_BF16);
    const char *expression = bd_op_get_info(node->op)->expression;
    const bool half = node->format == BD_F16 && node->rule.mode == BD_ROUND_NEAREST && !node->rule.saturate;
    const bool operator= half && alike && half_operator(node->op);
    const bool round = half && !operator&& !keeps;
    if (operator)
        expression = half_operator(node->op);
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
    if (!half && !keeps)
        bd_emit_round(emitter, node, index, name);
    return name;
}

static const char *pad(bd_emitter *emitter, const bd_node *node, const char *index)
{
    const bd_shape *input = &emitter->plan->graph->nodes[node->inputs[0]].shape;
    const bd_tensor tensor = (bd_tensor)(node - emitter->plan->graph->nodes);
    int axis = node->attr.range.axis;
    int64_t inner = 1;
    for (int d = axis + 1; d < node->shape.rank; d++)
        inner *= node->shape.dim[d];
    const char *lanes[BD_WIDTH] = { index }, *names[BD_WIDTH];
    const uint32_t count = inner % width_of(emitter) ? 1 : bd_emit_lanes(emitter, index, lanes);
    const char *at = bd_emit_remainder(emitter, bd_emit_quotient(emitter, index, inner), node->shape.dim[axis]);
    for (uint32_t i = 0; i < count; i++) {
        names[i] = bd_emit_fresh(emitter, 'v');
        bd_text_append(&emitter->text, "BD_VALUE %s = 0.0f;\n", names[i]);
    }
    bd_text_append(&emitter->text, "if (%s >= %lluu && %s < %lluu) {\n", at, (unsigned long long)node->attr.range.first,
                   at, (unsigned long long)(node->attr.range.first + input->dim[axis]));
    int mark = bd_emit_open(emitter);
    for (uint32_t i = 0; i < count; i++) {
        const char *inside = bd_emit_value(emitter, node->inputs[0], bd_emit_view(emitter, node, input, lanes[i]));
        bd_text_append(&emitter->text, "%s = %s;\n", names[i], inside);
    }
    bd_text_append(&emitter->text, "}\n");
    bd_emit_close(emitter, mark);
    for (uint32_t i = 0; i < count; i++)
        remember(emitter, tensor, lanes[i], names[i]);
    return recall(emitter, tensor, index);
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
    bd_emit_round(emitter, node, index, name);
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

/* An element walks over the places of its part. */
static const char *scatter_add(bd_emitter *emitter, const bd_node *node, const char *index)
{
    const bd_graph *graph = emitter->plan->graph;
    const unsigned long long count = (unsigned long long)bd_shape_elements(&graph->nodes[node->inputs[1]].shape);
    const unsigned long long chunks = node->chunks > 1 ? (unsigned long long)node->chunks : 1;
    const unsigned long long size = (unsigned long long)bd_shape_elements(&node->shape) / chunks;
    const bool cut = chunks > 1; /* so there are places: elements a place are those of a row */
    const unsigned long long values = (unsigned long long)bd_shape_elements(&graph->nodes[node->inputs[0]].shape);
    const unsigned long long rows = cut ? size / (values / count) : (unsigned long long)node->shape.dim[0];
    const unsigned long long row = size / rows, length = (count + chunks - 1) / chunks;
    const char *name = bd_emit_fresh(emitter, 'v'), *loop = bd_emit_fresh(emitter, 'k');
    const char *element = cut ? bd_emit_index(emitter, "%s %% %lluu", index, size) : index;
    const char *first = cut ? bd_emit_index(emitter, "%s / %lluu * %lluu", index, size, length) : "0u";
    char whole[32];
    snprintf(whole, sizeof whole, "%lluu", count);
    const char *last = cut ? bd_emit_index(emitter, "min(%s + %lluu, %s)", first, length, whole) : whole;
    const char *mine = row > 1 ? bd_emit_index(emitter, "%s / %lluu", element, row) : element;
    const char *within = row > 1 ? bd_emit_index(emitter, "%s %% %lluu", element, row) : "0u";
    bd_text_append(&emitter->text, "BD_VALUE %s = 0.0f;\nfor (uint %s = %s; %s < %s; %s++) {\n", name, loop, first,
                   loop, last, loop);
    int mark = bd_emit_open(emitter);
    const char *target = bd_emit_value(emitter, node->inputs[1], loop);
    bd_text_append(&emitter->text, "if (min(BD_UINT(clamp(%s, 0.0f, %llu.0f)), %lluu) == %s) {\n", target, rows - 1,
                   rows - 1, mine);
    const char *at = bd_emit_index(emitter, "%s * %lluu + %s", loop, row, within);
    const char *value = bd_emit_value(emitter, node->inputs[0], at);
    bd_text_append(&emitter->text, "%s = BD_ADD_%s(%s, %s);\n}\n}\n", name, bd_format_name(node->accumulator), name,
                   value);
    bd_emit_close(emitter, mark);
    bd_emit_round(emitter, node, index, name);
    return name;
}

void bd_emit_pixels(bd_emitter *emitter, const bd_node *node, const char *index, const char *start, bd_pixels *p)
{
    const char *at[4];
    p->count = bd_emit_lanes(emitter, index, p->indices);
    if (node->shape.dim[3] % width_of(emitter)) {
        p->count = 1;
        p->indices[0] = index;
    }
    for (uint32_t i = 0; i < p->count; i++) {
        bd_emit_coordinates(emitter, &node->shape, p->indices[i], at);
        p->channels[i] = at[3];
        p->values[i] = bd_emit_fresh(emitter, 'v');
        bd_text_append(&emitter->text, "BD_VALUE %s = %s;\n", p->values[i], start);
    }
    p->n = at[0], p->y = at[1], p->x = at[2];
}

const char *bd_emit_know_pixels(bd_emitter *emitter, const bd_node *node, const char *index, const bd_pixels *p)
{
    const bd_tensor tensor = (bd_tensor)(node - emitter->plan->graph->nodes);
    for (uint32_t i = 0; i < p->count; i++) {
        bd_emit_round(emitter, node, p->indices[i], p->values[i]);
        remember(emitter, tensor, p->indices[i], p->values[i]);
    }
    return recall(emitter, tensor, index);
}

const char *bd_emit_channel(bd_emitter *emitter, const char *first, int64_t channels, const char *c)
{
    const lane *found = find_lane(emitter, c);
    if (!found || channels % width_of(emitter))
        return bd_emit_index(emitter, "%s + %s", first, c);
    const uint32_t number = found->number;
    return bd_emit_lane(emitter, bd_emit_index(emitter, "%s + %s", first, found->base), number);
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
        const char *at = inner > 1 ? bd_emit_quotient(emitter, index, inner) : index;
        if (node->attr.axis > 0)
            at = bd_emit_remainder(emitter, at, node->shape.dim[node->attr.axis]);
        name = bd_emit_fresh(emitter, 'v');
        bd_text_append(text, "BD_VALUE %s = BD_FLOAT(%s);\n", name, at);
        bd_emit_round(emitter, node, index, name);
        return name;
    }
    case BD_OP_RANDOM: {
        name = bd_emit_fresh(emitter, 'v');
        const char *bits = bd_emit_random(emitter, node->attr.stream, false, index);
        bd_text_append(text, "BD_VALUE %s = bd_uniform(%s);\n", name, bits);
        bd_emit_round(emitter, node, index, name);
        return name;
    }
    case BD_OP_CONTROL: {
        bd_tensor input = node->inputs[0];
        if (emitter->plan->graph->nodes[input].op == BD_OP_CONTROL_STEP)
            input = emitter->plan->graph->nodes[input].inputs[0];
        name = bd_emit_fresh(emitter, 'v');
        bd_text_append(text, "BD_VALUE %s = %s(%s);\n", name, node->attr.control.is_float ? "BD_AS_FLOAT" : "BD_FLOAT",
                       control_word(emitter, bd_kernel_operand(emitter->kernel, input), node->attr.control.word));
        bd_emit_round(emitter, node, index, name);
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

/* Without a kernel nothing is. */
static bool evaluates(const bd_kernel *kernel, bd_tensor tensor)
{
    bool found = false;
    for (int i = 0; kernel && i < kernel->node_count && !found; i++)
        found = kernel->nodes[i] == tensor;
    return found;
}

const char *bd_emit_value(bd_emitter *emitter, bd_tensor tensor, const char *index)
{
    const bd_graph *graph = emitter->plan->graph;
    const bd_node *node = &graph->nodes[tensor];
    const char *name = recall(emitter, tensor, index);
    if (name)
        return name;
    const bool early = begin_early(emitter, index);
    if (bd_op_get_info(node->op)->class == BD_CLASS_VIEW && node->op != BD_OP_PAD) {
        name = bd_emit_value(emitter, node->inputs[0],
                             bd_emit_view(emitter, node, &graph->nodes[node->inputs[0]].shape, index));
    } else if (!bd_is_inline(graph, tensor) && !evaluates(emitter->kernel, tensor)) {
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
        case BD_OP_AVG_POOL: name = bd_emit_pool(emitter, graph, node, index); break;
        case BD_OP_MAX_POOL_GRAD:
        case BD_OP_AVG_POOL_GRAD: name = bd_emit_pool_grad(emitter, graph, node, index); break;
        case BD_OP_DEPTHWISE:
        case BD_OP_DEPTHWISE_DATA: name = bd_emit_depthwise(emitter, graph, node, index); break;
        case BD_OP_DEPTHWISE_WEIGHT: name = bd_emit_depthwise_weight(emitter, graph, node, index); break;
        case BD_OP_ASSIGN: name = bd_emit_value(emitter, node->inputs[1], index); break;
        default:
            name = bd_op_get_info(node->op)->class == BD_CLASS_ELEMENTWISE ? elementwise(emitter, node, index)
                                                                           : source(emitter, node, index);
        }
    }
    remember(emitter, tensor, index, name);
    if (early)
        change_places(emitter);
    return name;
}

static void store_one(bd_emitter *emitter, bd_tensor target, const char *index, const char *value)
{
    const int operand = bd_kernel_operand(emitter->kernel, target);
    if (emitter->kernel->operands[operand].parts > 1)
        bd_text_append(&emitter->text, "store_b%d(%s, %s);\n", operand, index, value);
    else
        bd_text_append(&emitter->text, "BD_STORE_%s(b%d, %s, %s);\n",
                       bd_format_name(emitter->plan->graph->nodes[target].format), operand, index, value);
}

void bd_emit_store(bd_emitter *emitter, bd_tensor tensor, const char *index)
{
    const bd_graph *graph = emitter->plan->graph;
    const bd_node *node = &graph->nodes[tensor];
    const bd_tensor target = node->op == BD_OP_ASSIGN ? node->inputs[0] : tensor;
    const bd_tensor source = node->op == BD_OP_ASSIGN ? node->inputs[1] : tensor;
    const int operand = bd_kernel_operand(emitter->kernel, target);
    const char *lanes[BD_WIDTH], *values[BD_WIDTH];
    const uint32_t width = bd_emit_lanes(emitter, index, lanes);
    const bool wide = width > 1 && bd_is_wide(graph, emitter->kernel, &emitter->kernel->operands[operand]);
    for (uint32_t i = 0; i < width; i++)
        values[i] = bd_emit_storable(emitter, graph->nodes[target].format, graph->nodes[source].format,
                                     bd_emit_value(emitter, tensor, lanes[i]));
    if (wide)
        bd_text_append(&emitter->text, "BD_STORE4_%s(%s%d, %s, %s, %s, %s, %s);\n",
                       bd_format_name(graph->nodes[target].format), wide_buffer(emitter), operand, lanes[0], values[0],
                       values[1], values[2], values[3]);
    for (uint32_t i = 0; !wide && i < width; i++)
        store_one(emitter, target, lanes[i], values[i]);
}
