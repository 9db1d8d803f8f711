/* Sums and their like: reductions, matrix products, convolutions. */
#include "build.h"
#include "window.h"

static bd_tensor reduce(bd_graph *graph, bd_op op, bd_tensor x, int first, int count, bool keep)
{
    if (!bd_check_operand(graph, op, x))
        return BD_NONE;
    const bd_shape from = bd_node_at(graph, x)->shape;
    if (first < 0 || count < 0 || first > from.rank || count > from.rank - first)
        return bd_op_fail(graph, op, "%d axes from axis %d of shape %s", count, first, BD_SHAPE_TEXT(&from));
    if (count == 0 && op != BD_OP_DEVIATIONS)
        return x;
    bd_shape shape = { 0 };
    bool empty = false;
    for (int i = 0; i < from.rank; i++) {
        if (i < first || i >= first + count) {
            shape.dim[shape.rank++] = from.dim[i];
            continue;
        }
        empty = empty || from.dim[i] == 0;
        if (keep)
            shape.dim[shape.rank++] = 1;
    }
    if (empty && (op == BD_OP_MAXIMUM || op == BD_OP_ARGMAX))
        return bd_op_fail(graph, op, "shape %s has nothing to choose from in %d axes from axis %d",
                          BD_SHAPE_TEXT(&from), count, first);
    bd_tensor result;
    bd_node *node = bd_append1(graph, op, shape, x, &result);
    if (node) {
        node->attr.reduce.first = first;
        node->attr.reduce.count = count;
        node->attr.reduce.keep = keep;
    }
    return result;
}

bd_tensor bd_sum(bd_graph *graph, bd_tensor x, int first, int count, bool keep)
{
    return reduce(graph, BD_OP_SUM, x, first, count, keep);
}

bd_tensor bd_maximum(bd_graph *graph, bd_tensor x, int first, int count, bool keep)
{
    return reduce(graph, BD_OP_MAXIMUM, x, first, count, keep);
}

bd_tensor bd_mean(bd_graph *graph, bd_tensor x, int first, int count, bool keep)
{
    return reduce(graph, BD_OP_MEAN, x, first, count, keep);
}

bd_tensor bd_deviations(bd_graph *graph, bd_tensor x, int first, int count, bool keep)
{
    return reduce(graph, BD_OP_DEVIATIONS, x, first, count, keep);
}

bd_tensor bd_argmax(bd_graph *graph, bd_tensor x, int axis)
{
    if (!bd_check_operand(graph, BD_OP_ARGMAX, x) ||
        !bd_check_axis(graph, BD_OP_ARGMAX, axis, &bd_node_at(graph, x)->shape))
        return BD_NONE;
    return reduce(graph, BD_OP_ARGMAX, x, axis, 1, false);
}

bd_tensor bd_matmul(bd_graph *graph, bd_tensor a, bd_tensor b, bool transpose_a, bool transpose_b)
{
    const bd_op op = BD_OP_MATMUL;
    if (!bd_check_operand(graph, op, a) || !bd_check_operand(graph, op, b))
        return BD_NONE;
    const bd_shape *left = &bd_node_at(graph, a)->shape, *right = &bd_node_at(graph, b)->shape;
    int rank = left->rank;
    bool fits = rank >= 2 && rank == right->rank;
    for (int i = 0; fits && i < rank - 2; i++)
        fits = left->dim[i] == right->dim[i];
    /* where the summed axis lies, counted from the matrix's first */
    int k_of_left = transpose_a ? 0 : 1, k_of_right = transpose_b ? 1 : 0;
    if (!fits || left->dim[rank - 2 + k_of_left] != right->dim[rank - 2 + k_of_right])
        return bd_op_fail(graph, op, "shapes %s%s and %s%s do not fit; needs [batch..., m, k] and [batch..., k, n]",
                          BD_SHAPE_TEXT(left), transpose_a ? " transposed" : "", BD_SHAPE_TEXT(right),
                          transpose_b ? " transposed" : "");
    bd_shape shape = *left;
    shape.dim[rank - 2] = left->dim[rank - 1 - k_of_left];
    shape.dim[rank - 1] = right->dim[rank - 1 - k_of_right];
    bd_tensor result;
    a = bd_quantise_operand(graph, a);
    b = bd_quantise_operand(graph, b);
    bd_node *node = bd_append2(graph, op, shape, a, b, &result);
    if (node) {
        node->attr.matmul.transpose[0] = transpose_a;
        node->attr.matmul.transpose[1] = transpose_b;
    }
    return result;
}

/* The shape of conv2d(x, weight); false after an error. window->size is taken from the weight. */
static bool conv_shape(bd_graph *graph, bd_op op, const bd_shape *x, const bd_shape *weight, bd_window *window,
                       bd_shape *shape)
{
    if (!bd_check_shape(graph, op, x) || !bd_check_shape(graph, op, weight))
        return false;
    if (x->rank != 4 || weight->rank != 4 || x->dim[3] != weight->dim[2]) {
        bd_op_fail(graph, op,
                   "x of shape %s and weight of shape %s do not fit; needs [n, h, w, ci] and [kh, kw, ci, co]",
                   BD_SHAPE_TEXT(x), BD_SHAPE_TEXT(weight));
        return false;
    }
    window->size[0] = weight->dim[0];
    window->size[1] = weight->dim[1];
    return bd_window_shape(graph, op, x, window, weight->dim[3], shape);
}

bd_tensor bd_conv2d(bd_graph *graph, bd_tensor x, bd_tensor weight, bd_window window)
{
    const bd_op op = BD_OP_CONV2D;
    bd_shape shape;
    if (!bd_check_operand(graph, op, x) || !bd_check_operand(graph, op, weight))
        return BD_NONE;
    const bd_shape *from = &bd_node_at(graph, x)->shape, *of = &bd_node_at(graph, weight)->shape;
    /* Fewer channels in the weight: groups of that many. */
    if (from->rank == 4 && of->rank == 4 && of->dim[2] > 0 && of->dim[2] < from->dim[3] &&
        from->dim[3] % of->dim[2] == 0 && of->dim[3] % (from->dim[3] / of->dim[2]) == 0)
        return bd_grouped_conv2d(graph, x, weight, window);
    if (!conv_shape(graph, op, from, of, &window, &shape))
        return BD_NONE;
    bd_tensor result;
    x = bd_quantise_operand(graph, x);
    weight = bd_quantise_operand(graph, weight);
    bd_node *node = bd_append2(graph, op, shape, x, weight, &result);
    if (node)
        node->attr.window = window;
    return result;
}

/* A gradient of a convolution of x with weight, from operands a and b, one of which is dy. */
static bd_tensor conv_gradient(bd_graph *graph, bd_op op, bd_tensor a, bd_tensor b, const bd_shape *x,
                               const bd_shape *weight, bd_tensor dy, bd_window window, bd_shape result_shape)
{
    bd_shape expected;
    if (!conv_shape(graph, op, x, weight, &window, &expected))
        return BD_NONE;
    if (!bd_shape_equal(&expected, &bd_node_at(graph, dy)->shape))
        return bd_op_fail(graph, op, "dy has shape %s; x of shape %s and weight of shape %s give %s",
                          BD_SHAPE_TEXT(&bd_node_at(graph, dy)->shape), BD_SHAPE_TEXT(x), BD_SHAPE_TEXT(weight),
                          BD_SHAPE_TEXT(&expected));
    bd_tensor result;
    bd_node *node = bd_append2(graph, op, result_shape, a, b, &result);
    if (node)
        node->attr.window = window;
    return result;
}

bd_tensor bd_conv2d_data(bd_graph *graph, bd_tensor dy, bd_tensor weight, bd_window window, bd_shape shape)
{
    const bd_op op = BD_OP_CONV2D_DATA;
    if (!bd_check_operand(graph, op, dy) || !bd_check_operand(graph, op, weight))
        return BD_NONE;
    const bd_shape weight_shape = bd_node_at(graph, weight)->shape;
    return conv_gradient(graph, op, dy, weight, &shape, &weight_shape, dy, window, shape);
}

bd_tensor bd_conv2d_weight(bd_graph *graph, bd_tensor x, bd_tensor dy, bd_window window, bd_shape shape)
{
    const bd_op op = BD_OP_CONV2D_WEIGHT;
    if (!bd_check_operand(graph, op, x) || !bd_check_operand(graph, op, dy))
        return BD_NONE;
    const bd_shape x_shape = bd_node_at(graph, x)->shape;
    return conv_gradient(graph, op, x, dy, &x_shape, &shape, dy, window, shape);
}
