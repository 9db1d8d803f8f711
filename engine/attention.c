/* Self-attention as one operation, and the parts of its gradient. */
#include "build.h"

#include <math.h>

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

static bd_node *append(bd_graph *graph, bd_op op, bd_shape shape, const bd_tensor *inputs, int count,
                       const bd_attention_attr *attr, bd_tensor *result)
{
    bd_node *node = bd_graph_append(graph, op, shape, inputs, count, result);
    if (node)
        node->attr.attention = *attr;
    return node;
}

/* Random numbers are counted with 32 bits, as if there were whole sixteens of tokens. */
static bool check_dropout(bd_graph *graph, bd_op op, bd_tensor qkv, int64_t heads, float rate, bool training)
{
    const bd_shape *shape = &bd_node_at(graph, qkv)->shape;
    const double tokens = 16 * ceil((double)shape->dim[1] / 16);
    if (!(rate >= 0 && rate < 1))
        bd_op_fail(graph, op, "a dropout rate of %g; must be at least 0 and less than 1", (double)rate);
    else if (training && rate > 0 && (double)shape->dim[0] * (double)heads * tokens * tokens > UINT32_MAX)
        bd_op_fail(graph, op, "dropout of %lld heads over shape %s; no more than 2^32 weights can be drawn",
                   (long long)heads, BD_SHAPE_TEXT(shape));
    return graph->status == BD_OK;
}

bd_tensor bd_self_attention(bd_graph *graph, bd_tensor qkv, int64_t heads, bool causal, float rate, bool training)
{
    const bd_op op = BD_OP_ATTENTION;
    if (!check_attention(graph, op, qkv, heads) || !check_dropout(graph, op, qkv, heads, rate, training))
        return BD_NONE;
    bd_attention_attr attr = { .heads = heads, .causal = causal };
    if (training && rate > 0) {
        attr.dropout = rate;
        attr.stream = graph->stream_count++;
    }
    bd_tensor result;
    append(graph, op, result_shape(graph, qkv), &qkv, 1, &attr, &result);
    return result;
}

bd_tensor bd_attention_sum(bd_graph *graph, bd_tensor qkv, const bd_attention_attr *attr)
{
    const bd_op op = BD_OP_ATTENTION_SUM;
    if (!check_attention(graph, op, qkv, attr->heads))
        return BD_NONE;
    bd_tensor result;
    bd_node *node = append(graph, op, sum_shape(graph, qkv, attr->heads), &qkv, 1, attr, &result);
    if (node)
        node->role = BD_ROLE_ACCUMULATOR;
    return result;
}

bd_tensor bd_attention_grad(bd_graph *graph, bd_tensor qkv, bd_tensor y, bd_tensor sum, bd_tensor dy,
                            const bd_attention_attr *attr)
{
    const bd_op op = BD_OP_ATTENTION_GRAD;
    if (!check_attention(graph, op, qkv, attr->heads) || !bd_check_operand(graph, op, y) ||
        !bd_check_operand(graph, op, sum) || !bd_check_operand(graph, op, dy))
        return BD_NONE;
    const bd_shape result = result_shape(graph, qkv), rows = sum_shape(graph, qkv, attr->heads);
    const bd_shape *given = &bd_node_at(graph, dy)->shape;
    if (!bd_shape_equal(&bd_node_at(graph, y)->shape, &result) || !bd_shape_equal(given, &result) ||
        !bd_shape_equal(&bd_node_at(graph, sum)->shape, &rows))
        return bd_op_fail(graph, op, "dy has shape %s; qkv of shape %s gives %s", BD_SHAPE_TEXT(given),
                          BD_SHAPE_TEXT(&bd_node_at(graph, qkv)->shape), BD_SHAPE_TEXT(&result));
    bd_tensor gradient;
    append(graph, op, bd_tensor_shape(graph, qkv), (const bd_tensor[]){ qkv, y, sum, dy }, 4, attr, &gradient);
    return gradient;
}
