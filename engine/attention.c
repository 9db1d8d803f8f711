/* Self-attention as one operation, and the parts of its gradient. */
#include "build.h"

/* The sizes of qkv, checked; false after an error. */
static bool check_attention(bd_graph *graph, bd_op op, bd_tensor qkv, int64_t heads)
{
    if (!bd_check_operand(graph, op, qkv))
        return false;
    const bd_shape *shape = &bd_node_at(graph, qkv)->shape;
    if (shape->rank == 3 && shape->dim[1] > 0 && heads > 0 && shape->dim[2] > 0 && shape->dim[2] % 3 == 0 &&
        shape->dim[2] / 3 % heads == 0)
        return true;
    bd_op_fail(graph, op, "%lld heads over shape %s; needs [n, tokens, 3 * heads * key]", (long long)heads,
               BD_SHAPE_TEXT(shape));
    return false;
}

static bd_shape result_shape(const bd_graph *graph, bd_tensor qkv)
{
    const bd_shape *shape = &bd_node_at(graph, qkv)->shape;
    return BD_SHAPE(shape->dim[0], shape->dim[1], shape->dim[2] / 3);
}

static bd_shape sum_shape(const bd_graph *graph, bd_tensor qkv, int64_t heads)
{
    const bd_shape *shape = &bd_node_at(graph, qkv)->shape;
    return BD_SHAPE(shape->dim[0], heads, shape->dim[1]);
}

static bd_node *append(bd_graph *graph, bd_op op, bd_shape shape, const bd_tensor *inputs, int count, int64_t heads,
                       bool causal, bd_tensor *result)
{
    bd_node *node = bd_graph_append(graph, op, shape, inputs, count, result);
    if (node) {
        node->attr.attention.heads = heads;
        node->attr.attention.causal = causal;
    }
    return node;
}

bd_tensor bd_self_attention(bd_graph *graph, bd_tensor qkv, int64_t heads, bool causal)
{
    const bd_op op = BD_OP_ATTENTION;
    if (!check_attention(graph, op, qkv, heads))
        return BD_NONE;
    bd_tensor result;
    append(graph, op, result_shape(graph, qkv), &qkv, 1, heads, causal, &result);
    return result;
}

bd_tensor bd_attention_sum(bd_graph *graph, bd_tensor qkv, int64_t heads, bool causal)
{
    const bd_op op = BD_OP_ATTENTION_SUM;
    if (!check_attention(graph, op, qkv, heads))
        return BD_NONE;
    bd_tensor result;
    bd_node *node = append(graph, op, sum_shape(graph, qkv, heads), &qkv, 1, heads, causal, &result);
    if (node)
        node->role = BD_ROLE_ACCUMULATOR;
    return result;
}

bd_tensor bd_attention_grad(bd_graph *graph, bd_tensor qkv, bd_tensor y, bd_tensor sum, bd_tensor dy, int64_t heads,
                            bool causal)
{
    const bd_op op = BD_OP_ATTENTION_GRAD;
    if (!check_attention(graph, op, qkv, heads) || !bd_check_operand(graph, op, y) ||
        !bd_check_operand(graph, op, sum) || !bd_check_operand(graph, op, dy))
        return BD_NONE;
    const bd_shape result = result_shape(graph, qkv), rows = sum_shape(graph, qkv, heads);
    const bd_shape *given = &bd_node_at(graph, dy)->shape;
    if (!bd_shape_equal(&bd_node_at(graph, y)->shape, &result) || !bd_shape_equal(given, &result) ||
        !bd_shape_equal(&bd_node_at(graph, sum)->shape, &rows))
        return bd_op_fail(graph, op, "dy has shape %s; qkv of shape %s gives %s", BD_SHAPE_TEXT(given),
                          BD_SHAPE_TEXT(&bd_node_at(graph, qkv)->shape), BD_SHAPE_TEXT(&result));
    bd_tensor gradient;
    append(graph, op, bd_tensor_shape(graph, qkv), (const bd_tensor[]){ qkv, y, sum, dy }, 4, heads, causal, &gradient);
    return gradient;
}
