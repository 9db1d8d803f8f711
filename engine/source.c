/* Sources and effects: what enters a graph, and what leaves it. */
#include "build.h"
#include "control.h"

#include <stdlib.h>
#include <string.h>

/* The full name of a variable: "/name" is "name", any other has the layer's path in front. The caller frees. */
static char *full_name(bd_graph *graph, const char *name)
{
    const char *layer = graph->layers[graph->layer];
    if (!name || !name[name[0] == '/' ? 1 : 0]) {
        bd_op_fail(graph, BD_OP_VARIABLE, "a variable needs a name");
        return NULL;
    }
    bool absolute = name[0] == '/';
    size_t layer_length = absolute || !*layer ? 0 : strlen(layer) + 1, name_length = strlen(name + absolute);
    char *full = malloc(layer_length + name_length + 1);
    if (!full) {
        bd_graph_fail(graph, BD_ERROR_MEMORY, "no memory for the name of a variable");
        return NULL;
    }
    if (layer_length) {
        memcpy(full, layer, layer_length - 1);
        full[layer_length - 1] = '/';
    }
    memcpy(full + layer_length, name + absolute, name_length + 1);
    return full;
}

static bd_tensor same_variable(bd_graph *graph, bd_tensor variable, bd_role role, bd_format format,
                               const bd_shape *shape)
{
    const bd_node *node = bd_node_at(graph, variable);
    const char *name = node->attr.variable.name;
    if (!bd_shape_equal(&node->shape, shape))
        return bd_op_fail(graph, BD_OP_VARIABLE, "'%s' has shape %s and cannot also have %s", name,
                          BD_SHAPE_TEXT(&node->shape), BD_SHAPE_TEXT(shape));
    if (node->role != role || (role == BD_ROLE_FIXED && node->format != format))
        return bd_op_fail(graph, BD_OP_VARIABLE, "'%s' is named twice with different roles or formats", name);
    return variable;
}

bd_tensor bd_variable(bd_graph *graph, const char *name, bd_role role, bd_format format, bd_shape shape, bd_init init)
{
    if (!bd_check_shape(graph, BD_OP_VARIABLE, &shape))
        return BD_NONE;
    if ((unsigned)role >= BD_ROLE_COUNT || role == BD_ROLE_ACCUMULATOR || !bd_format_exists(format))
        return bd_op_fail(graph, BD_OP_VARIABLE, "'%s' cannot have role %d and format %d", name ? name : "", (int)role,
                          (int)format);
    char *full = full_name(graph, name);
    if (!full)
        return BD_NONE;
    bd_tensor result = bd_graph_find_variable(graph, full);
    if (result != BD_NONE) {
        free(full);
        return same_variable(graph, result, role, format, &shape);
    }
    bd_node *node = bd_graph_append(graph, BD_OP_VARIABLE, shape, NULL, 0, &result);
    if (!node) {
        free(full);
        return BD_NONE;
    }
    node->role = role;
    node->format = format;
    node->attr.variable.name = full;
    node->attr.variable.init = init;
    node->attr.variable.base = BD_NONE;
    return result;
}

bd_tensor bd_parameter(bd_graph *graph, const char *name, bd_shape shape, bd_init init)
{
    return bd_variable(graph, name, BD_ROLE_WEIGHT, BD_F32, shape, init);
}

bd_tensor bd_constant(bd_graph *graph, bd_shape shape, double value)
{
    bd_tensor result;
    bd_node *node = bd_graph_append(graph, BD_OP_CONSTANT, shape, NULL, 0, &result);
    if (node)
        node->attr.constant = value;
    return result;
}

bd_tensor bd_iota(bd_graph *graph, bd_shape shape, int axis)
{
    if (!bd_check_shape(graph, BD_OP_IOTA, &shape) || !bd_check_axis(graph, BD_OP_IOTA, axis, &shape))
        return BD_NONE;
    bd_tensor result;
    bd_node *node = bd_graph_append(graph, BD_OP_IOTA, shape, NULL, 0, &result);
    if (node)
        node->attr.axis = axis;
    return result;
}

bd_tensor bd_random(bd_graph *graph, bd_shape shape)
{
    bd_tensor result;
    bd_node *node = bd_graph_append(graph, BD_OP_RANDOM, shape, NULL, 0, &result);
    if (node)
        node->attr.stream = graph->stream_count++;
    return result;
}

static bool check_control(bd_graph *graph, bd_op op, bd_tensor control)
{
    if (!bd_check_operand(graph, op, control))
        return false;
    const bd_node *node = bd_node_at(graph, control);
    if (node->op != BD_OP_VARIABLE || node->format != BD_U32 ||
        bd_shape_elements(&node->shape) < BD_CONTROL_WORD_COUNT) {
        bd_op_fail(graph, op, "operand %d is not the control variable: u32, at least %d elements", control,
                   (int)BD_CONTROL_WORD_COUNT);
        return false;
    }
    return true;
}

bd_tensor bd_control_value(bd_graph *graph, bd_tensor control_or_step, uint32_t word, bool is_float)
{
    if (!bd_check_operand(graph, BD_OP_CONTROL, control_or_step))
        return BD_NONE;
    if (bd_node_at(graph, control_or_step)->op != BD_OP_CONTROL_STEP &&
        !check_control(graph, BD_OP_CONTROL, control_or_step))
        return BD_NONE;
    if (word >= BD_CONTROL_WORD_COUNT)
        return bd_op_fail(graph, BD_OP_CONTROL, "word %u; there are %d", word, (int)BD_CONTROL_WORD_COUNT);
    bd_tensor result;
    bd_node *node = bd_append1(graph, BD_OP_CONTROL, (bd_shape){ 0 }, control_or_step, &result);
    if (node) {
        node->role = BD_ROLE_FIXED;
        node->attr.control.word = word;
        node->attr.control.is_float = is_float;
    }
    return result;
}

static bd_tensor append_batch(bd_graph *graph, bd_tensor data, bd_tensor permutation, bd_tensor control, int64_t batch,
                              bd_tensor moves)
{
    if (!bd_check_operand(graph, BD_OP_BATCH, data) || !bd_check_operand(graph, BD_OP_BATCH, permutation) ||
        !check_control(graph, BD_OP_BATCH, control))
        return BD_NONE;
    const bd_node *rows = bd_node_at(graph, data), *order = bd_node_at(graph, permutation);
    if (rows->shape.rank < 1 || order->shape.rank != 1 || order->format != BD_U32 || order->shape.dim[0] < 1 ||
        rows->shape.dim[0] < 1)
        return bd_op_fail(graph, BD_OP_BATCH,
                          "data of shape %s and a permutation of shape %s and format %s; needs "
                          "rows, and a vector of u32",
                          BD_SHAPE_TEXT(&rows->shape), BD_SHAPE_TEXT(&order->shape), bd_format_name(order->format));
    bd_shape shape = rows->shape;
    shape.dim[0] = batch;
    bd_tensor result;
    bd_node *node = bd_graph_append(graph, BD_OP_BATCH, shape, (const bd_tensor[]){ data, permutation, control, moves },
                                    moves == BD_NONE ? 3 : 4, &result);
    if (node)
        node->role = BD_ROLE_FIXED;
    return result;
}

bd_tensor bd_batch(bd_graph *graph, bd_tensor data, bd_tensor permutation, bd_tensor control, int64_t batch)
{
    return append_batch(graph, data, permutation, control, batch, BD_NONE);
}

/* Of u, uniform in [0, 1): floor(2 u), and floor((2 pad + 1) u) - pad twice. Products of 24-bit numbers with small
 * whole ones round alike everywhere. */
static bd_tensor make_moves(bd_graph *graph, int64_t batch, int64_t pad)
{
    const bd_shape shape = BD_SHAPE(batch, 3);
    const bd_role role = bd_set_role(graph, BD_ROLE_FIXED);
    bd_tensor zero = bd_constant(graph, shape, 0), is_flip = bd_equal(graph, bd_iota(graph, shape, 1), zero);
    bd_tensor count =
        bd_select(graph, is_flip, bd_constant(graph, shape, 2), bd_constant(graph, shape, 2 * (double)pad + 1));
    bd_tensor least = bd_select(graph, is_flip, zero, bd_constant(graph, shape, -(double)pad));
    bd_tensor moves = bd_add(graph, bd_floor(graph, bd_mul(graph, bd_random(graph, shape), count)), least);
    bd_set_role(graph, role);
    return moves;
}

bd_tensor bd_batch_augmented(bd_graph *graph, bd_tensor images, bd_tensor permutation, bd_tensor control, int64_t batch,
                             int64_t pad)
{
    if (!bd_check_operand(graph, BD_OP_BATCH, images))
        return BD_NONE;
    const bd_shape *shape = &bd_node_at(graph, images)->shape;
    if (shape->rank != 4 || pad < 0 || pad > 1 << 20)
        return bd_op_fail(graph, BD_OP_BATCH, "images of shape %s shifted by up to %lld; needs [n, h, w, c]",
                          BD_SHAPE_TEXT(shape), (long long)pad);
    return append_batch(graph, images, permutation, control, batch, make_moves(graph, batch, pad));
}

bd_tensor bd_valid(bd_graph *graph, bd_tensor control, int64_t batch)
{
    if (!check_control(graph, BD_OP_VALID, control))
        return BD_NONE;
    bd_tensor result;
    bd_node *node = bd_append1(graph, BD_OP_VALID, BD_SHAPE(batch), control, &result);
    if (node)
        node->role = BD_ROLE_FIXED;
    return result;
}

void bd_assign(bd_graph *graph, bd_tensor variable, bd_tensor value)
{
    if (!bd_check_operand(graph, BD_OP_ASSIGN, variable) || !bd_check_operand(graph, BD_OP_ASSIGN, value))
        return;
    const bd_node *target = bd_node_at(graph, variable), *source = bd_node_at(graph, value);
    if (target->op != BD_OP_VARIABLE) {
        bd_op_fail(graph, BD_OP_ASSIGN, "operand %d is no variable", variable);
        return;
    }
    const char *name = target->attr.variable.name;
    if (!bd_shape_equal(&target->shape, &source->shape)) {
        bd_op_fail(graph, BD_OP_ASSIGN, "'%s' has shape %s, the value %s", name, BD_SHAPE_TEXT(&target->shape),
                   BD_SHAPE_TEXT(&source->shape));
        return;
    }
    for (bd_tensor i = 0; i < graph->node_count; i++) {
        if (graph->nodes[i].op == BD_OP_ASSIGN && graph->nodes[i].inputs[0] == variable) {
            bd_op_fail(graph, BD_OP_ASSIGN, "'%s' is assigned twice", name);
            return;
        }
    }
    bd_role role = target->role;
    bd_shape shape = target->shape;
    bd_tensor result;
    bd_node *node = bd_append2(graph, BD_OP_ASSIGN, shape, variable, value, &result);
    if (node)
        node->role = role;
}

bd_tensor bd_control_step(bd_graph *graph, bd_tensor control, bd_tensor rates, bd_tensor loss, bd_tensor correct,
                          bd_tensor nonfinite)
{
    const bd_tensor inputs[] = { control, rates, loss, correct, nonfinite };
    int count = nonfinite == BD_NONE ? 4 : 5;
    if (!check_control(graph, BD_OP_CONTROL_STEP, control))
        return BD_NONE;
    for (int i = 1; i < count; i++) {
        if (!bd_check_operand(graph, BD_OP_CONTROL_STEP, inputs[i]))
            return BD_NONE;
        const bd_shape *shape = &bd_node_at(graph, inputs[i])->shape;
        int64_t elements = bd_shape_elements(shape);
        if (i == 1 ? elements < 1 : elements != 1)
            return bd_op_fail(graph, BD_OP_CONTROL_STEP, "operand %d has shape %s; needs %s", inputs[i],
                              BD_SHAPE_TEXT(shape), i == 1 ? "at least one rate" : "one element");
    }
    bd_tensor result;
    bd_node *node = bd_graph_append(graph, BD_OP_CONTROL_STEP, (bd_shape){ 0 }, inputs, count, &result);
    if (node)
        node->role = BD_ROLE_FIXED;
    return result;
}
