/* Attention as products and a softmax between them, for CPU drivers: those have tiles of their own for products,
 * several times as fast as work-groups that share local memory (on two cores, 8 x 65 tokens, 4 x 64, FP32: PoCL 1.9 ms
 * to 21 ms, lavapipe 17 ms to 350 ms). What is between the products is F32, as in the kernels. */
#include "build.h"
#include "rewrite.h"

#include <math.h>

/* [n, t, h, d] of queries (0), keys (1) or values (2), as [n, h, t, d]. */
static bd_tensor take(bd_graph *graph, bd_tensor qkv, int64_t heads, int which)
{
    const bd_shape shape = bd_tensor_shape(graph, qkv);
    const int64_t width = shape.dim[2] / 3;
    const bd_tensor one = bd_slice(graph, qkv, 2, which * width, width);
    return bd_permute(graph, bd_reshape(graph, one, BD_SHAPE(shape.dim[0], shape.dim[1], heads, width / heads)),
                      (int[]){ 0, 2, 1, 3 });
}

static bd_tensor turn_back(bd_graph *graph, bd_tensor x)
{
    const bd_shape shape = bd_tensor_shape(graph, x);
    return bd_reshape(graph, bd_permute(graph, x, (int[]){ 0, 2, 1, 3 }),
                      BD_SHAPE(shape.dim[0], shape.dim[2], shape.dim[1] * shape.dim[3]));
}

static bd_tensor widen(bd_graph *graph, bd_tensor row, bd_tensor like)
{
    return bd_broadcast(graph, row, bd_tensor_shape(graph, like));
}

/* 1 / sqrt(d) goes to the queries: sums in FP16 stay within its range. */
static bd_tensor make_scores(bd_graph *graph, bd_tensor qkv, int64_t heads, bool causal)
{
    bd_tensor queries = take(graph, qkv, heads, 0);
    const double scale = 1 / sqrt((double)bd_tensor_shape(graph, queries).dim[3]);
    queries = bd_mul(graph, queries, bd_constant_like(graph, queries, scale));
    bd_tensor scores = bd_matmul(graph, queries, take(graph, qkv, heads, 1), false, true);
    const bd_shape shape = bd_tensor_shape(graph, scores);
    if (causal)
        scores = bd_select(graph, bd_less(graph, bd_iota(graph, shape, 2), bd_iota(graph, shape, 3)),
                           bd_constant(graph, shape, -INFINITY), scores);
    return scores;
}

/* Random numbers in the order in which the kernels draw them, four for weights of queries and keys that are 8 tokens
 * apart: of sixteens of queries and of keys [.., query % 8, .., key % 8, query / 8 % 2, key / 8 % 2]. */
static bd_tensor draw_kept(bd_graph *graph, bd_shape scores, const bd_attention_attr *attr)
{
    const int64_t rows = scores.dim[0] * scores.dim[1], tokens = scores.dim[2], sixteens = (tokens + 15) / 16;
    bd_tensor random;
    bd_node *node =
        bd_graph_append(graph, BD_OP_RANDOM, BD_SHAPE(rows * sixteens, 8, sixteens, 8, 2, 2), NULL, 0, &random);
    if (!node)
        return BD_NONE;
    node->attr.stream = attr->stream;
    random = bd_permute(graph, random, (int[]){ 0, 4, 1, 2, 5, 3 });
    random = bd_reshape(graph, random, BD_SHAPE(scores.dim[0], scores.dim[1], 16 * sixteens, 16 * sixteens));
    random = bd_slice(graph, bd_slice(graph, random, 2, 0, tokens), 3, 0, tokens);
    return bd_less(graph, random, bd_constant_like(graph, random, bd_attention_kept(attr)));
}

static bd_tensor drop(bd_graph *graph, const bd_composed_attention *parts, bd_tensor x)
{
    return parts->kept == BD_NONE ? x : bd_select(graph, parts->kept, x, bd_constant_like(graph, x, 0));
}

/* What dropout leaves of a sum stands for the whole of it. */
static bd_tensor rescale(bd_graph *graph, bd_tensor x, const bd_attention_attr *attr)
{
    return attr->dropout > 0 ? bd_mul(graph, x, bd_constant_like(graph, x, 1 / (1 - (double)attr->dropout))) : x;
}

bd_composed_attention bd_compose_attention(bd_graph *graph, bd_tensor qkv, const bd_attention_attr *attr)
{
    bd_composed_attention parts;
    const bd_tensor scores = make_scores(graph, qkv, attr->heads, attr->causal);
    parts.largest = bd_maximum(graph, scores, 3, 1, true);
    const bd_tensor powers = bd_exp(graph, bd_sub(graph, scores, widen(graph, parts.largest, scores)));
    parts.total = bd_sum(graph, powers, 3, 1, true);
    parts.weights = bd_div(graph, powers, widen(graph, parts.total, powers));
    parts.kept = attr->dropout > 0 ? draw_kept(graph, bd_tensor_shape(graph, scores), attr) : BD_NONE;
    return parts;
}

bd_tensor bd_compose_attention_result(bd_graph *graph, const bd_composed_attention *parts, bd_tensor qkv,
                                      const bd_attention_attr *attr)
{
    const bd_tensor values = take(graph, qkv, attr->heads, 2);
    const bd_tensor y = bd_matmul(graph, drop(graph, parts, parts->weights), values, false, false);
    return turn_back(graph, rescale(graph, y, attr));
}

bd_tensor bd_compose_attention_sum(bd_graph *graph, const bd_composed_attention *parts)
{
    bd_shape shape = bd_tensor_shape(graph, parts->total);
    shape.rank = 3;
    return bd_reshape(graph, bd_add(graph, parts->largest, bd_log(graph, parts->total)), shape);
}

/* dP = dY V', dS = P (dP - sum(P dP)) / sqrt(d), dQ = dS K, dK = dS' Q, dV = P' dY; with a mask M of what dropout
 * leaves dP = M dY V' and dV = (M P)' dY, and 1 / (1 - rate) goes to dS and dV. */
bd_tensor bd_compose_attention_grad(bd_graph *graph, const bd_composed_attention *parts, bd_tensor qkv, bd_tensor dy,
                                    const bd_attention_attr *attr)
{
    const int64_t heads = attr->heads;
    const bd_shape shape = bd_tensor_shape(graph, dy);
    const int64_t depth = shape.dim[2] / heads;
    const bd_tensor weights = parts->weights;
    const bd_tensor slopes = bd_permute(
        graph, bd_reshape(graph, dy, BD_SHAPE(shape.dim[0], shape.dim[1], heads, depth)), (int[]){ 0, 2, 1, 3 });
    const bd_tensor dp = drop(graph, parts, bd_matmul(graph, slopes, take(graph, qkv, heads, 2), false, true));
    const bd_tensor mean = bd_sum(graph, bd_mul(graph, weights, dp), 3, 1, true);
    bd_tensor ds = bd_mul(graph, weights, bd_sub(graph, dp, widen(graph, mean, dp)));
    ds = rescale(graph, bd_mul(graph, ds, bd_constant_like(graph, ds, 1 / sqrt((double)depth))), attr);
    const bd_tensor dq = bd_matmul(graph, ds, take(graph, qkv, heads, 1), false, false);
    const bd_tensor dk = bd_matmul(graph, ds, take(graph, qkv, heads, 0), true, false);
    const bd_tensor dv = rescale(graph, bd_matmul(graph, drop(graph, parts, weights), slopes, true, false), attr);
    return bd_concat(graph, (bd_tensor[]){ turn_back(graph, dq), turn_back(graph, dk), turn_back(graph, dv) }, 3, 2);
}
