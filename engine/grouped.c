/* Convolutions in groups of channels. With one channel a group (depthwise) they have operations of their own, which
 * gather a window for each element; else they are convolutions of slices, side by side. */
#include "build.h"
#include "window.h"

/* Terms that one partial sum of a depthwise weight gradient has, about: enough work for a work-item, and partial sums
 * that take a tenth of the memory of what is summed; down to a quarter as many where there would be too few partial
 * sums to occupy a large GPU. The same on every device, so that sums are too. */
enum { TERMS_OF_A_PART = 256, FEWEST_TERMS = 64, ENOUGH_SUMS = 262144 };

static bool depthwise_shape(bd_graph *graph, bd_op op, const bd_shape *x, const bd_shape *weight, bd_window *window,
                            bd_shape *shape)
{
    if (!bd_check_shape(graph, op, x) || !bd_check_shape(graph, op, weight))
        return false;
    if (x->rank != 4 || weight->rank != 4 || weight->dim[2] != 1 || weight->dim[3] != x->dim[3]) {
        bd_op_fail(graph, op, "x of shape %s and weight of shape %s do not fit; needs [n, h, w, c] and [kh, kw, 1, c]",
                   BD_SHAPE_TEXT(x), BD_SHAPE_TEXT(weight));
        return false;
    }
    window->size[0] = weight->dim[0];
    window->size[1] = weight->dim[1];
    return bd_window_shape(graph, op, x, window, x->dim[3], shape);
}

static bd_tensor append(bd_graph *graph, bd_op op, bd_shape shape, bd_tensor a, bd_tensor b, const bd_window *window)
{
    bd_tensor result;
    bd_node *node = bd_append2(graph, op, shape, a, b, &result);
    if (node)
        node->attr.window = *window;
    return result;
}

bd_tensor bd_depthwise(bd_graph *graph, bd_tensor x, bd_tensor weight, bd_window window)
{
    const bd_op op = BD_OP_DEPTHWISE;
    bd_shape shape;
    if (!bd_check_operand(graph, op, x) || !bd_check_operand(graph, op, weight) ||
        !depthwise_shape(graph, op, &bd_node_at(graph, x)->shape, &bd_node_at(graph, weight)->shape, &window, &shape))
        return BD_NONE;
    return append(graph, op, shape, x, weight, &window);
}

static bool check_gradient(bd_graph *graph, bd_op op, const bd_shape *x, const bd_shape *weight, bd_tensor dy,
                           bd_window *window)
{
    bd_shape expected;
    if (!depthwise_shape(graph, op, x, weight, window, &expected))
        return false;
    const bd_shape *given = &bd_node_at(graph, dy)->shape;
    if (!bd_shape_equal(&expected, given)) {
        bd_op_fail(graph, op, "dy has shape %s; x of shape %s and weight of shape %s give %s", BD_SHAPE_TEXT(given),
                   BD_SHAPE_TEXT(x), BD_SHAPE_TEXT(weight), BD_SHAPE_TEXT(&expected));
        return false;
    }
    return true;
}

bd_tensor bd_depthwise_data(bd_graph *graph, bd_tensor dy, bd_tensor weight, bd_window window, bd_shape shape)
{
    const bd_op op = BD_OP_DEPTHWISE_DATA;
    if (!bd_check_operand(graph, op, dy) || !bd_check_operand(graph, op, weight))
        return BD_NONE;
    const bd_shape weight_shape = bd_node_at(graph, weight)->shape;
    if (!check_gradient(graph, op, &shape, &weight_shape, dy, &window))
        return BD_NONE;
    return append(graph, op, shape, dy, weight, &window);
}

bd_tensor bd_depthwise_weight(bd_graph *graph, bd_tensor x, bd_tensor dy, bd_window window, bd_shape shape)
{
    const bd_op op = BD_OP_DEPTHWISE_WEIGHT;
    if (!bd_check_operand(graph, op, x) || !bd_check_operand(graph, op, dy))
        return BD_NONE;
    const bd_shape x_shape = bd_node_at(graph, x)->shape, y_shape = bd_node_at(graph, dy)->shape;
    if (!check_gradient(graph, op, &x_shape, &shape, dy, &window))
        return BD_NONE;
    const int64_t rows = y_shape.dim[0] * y_shape.dim[1];
    const int64_t pixels = rows * y_shape.dim[2], sums = shape.dim[0] * shape.dim[1] * shape.dim[3];
    int64_t terms = TERMS_OF_A_PART;
    while (terms > FEWEST_TERMS && pixels / terms * sums < ENOUGH_SUMS)
        terms /= 2;
    const int64_t rows_of_a_part = terms / (y_shape.dim[2] > 0 ? y_shape.dim[2] : 1);
    const int64_t parts = rows_of_a_part > 1 ? (rows + rows_of_a_part - 1) / rows_of_a_part : rows;
    /* Partial sums are kept as wide as the sums inside are. */
    const bd_role role = bd_set_role(graph, BD_ROLE_ACCUMULATOR);
    bd_tensor partial = append(graph, op, BD_SHAPE(parts, shape.dim[0], shape.dim[1], shape.dim[3]), x, dy, &window);
    bd_set_role(graph, role);
    return bd_reshape(graph, bd_sum(graph, partial, 0, 1, false), shape);
}

bd_tensor bd_grouped_conv2d(bd_graph *graph, bd_tensor x, bd_tensor weight, bd_window window)
{
    enum { MOST_GROUPS = 64 };
    const bd_shape x_shape = bd_node_at(graph, x)->shape, shape = bd_node_at(graph, weight)->shape;
    const int64_t in = shape.dim[2], groups = x_shape.dim[3] / in, out = shape.dim[3] / groups;
    if (in == 1 && out == 1)
        return bd_depthwise(graph, x, weight, window);
    if (groups > MOST_GROUPS)
        return bd_op_fail(graph, BD_OP_CONV2D, "%lld groups of channels; %d at most, or one channel each",
                          (long long)groups, MOST_GROUPS);
    bd_tensor parts[MOST_GROUPS];
    for (int64_t i = 0; i < groups; i++)
        parts[i] =
            bd_conv2d(graph, bd_slice(graph, x, 3, i * in, in), bd_slice(graph, weight, 3, i * out, out), window);
    return bd_concat(graph, parts, (int)groups, 3);
}
