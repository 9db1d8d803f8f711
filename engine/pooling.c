/* Windows over images: their result's shape, and the poolings. */
#include "build.h"
#include "window.h"

bool bd_window_shape(bd_graph *graph, bd_op op, const bd_shape *x, const bd_window *window, int64_t channels,
                     bd_shape *shape)
{
    *shape = BD_SHAPE(x->dim[0], 0, 0, channels);
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "width" : "height";
        const int64_t size = window->size[i], stride = window->stride[i], *pad = window->pad[i];
        int64_t length = x->dim[1 + i];
        if (size < 1 || stride < 1 || pad[0] < 0 || pad[1] < 0 || __builtin_add_overflow(length, pad[0], &length) ||
            __builtin_add_overflow(length, pad[1], &length)) {
            bd_op_fail(graph, op,
                       "a window of %s %lld, stride %lld and padding %lld, %lld; size and stride must be at "
                       "least 1 and padding at least 0",
                       name, (long long)size, (long long)stride, (long long)pad[0], (long long)pad[1]);
            return false;
        }
        if (length < size) {
            bd_op_fail(graph, op, "a window of %s %lld is larger than the padded input of %lld, shape %s", name,
                       (long long)size, (long long)length, BD_SHAPE_TEXT(x));
            return false;
        }
        shape->dim[1 + i] = (length - size) / stride + 1;
    }
    return true;
}

/* The shape of a pooling of x. Padding must be smaller than the window and the image not empty, so that every window
 * has an element to choose or to average. */
static bool pool_shape(bd_graph *graph, bd_op op, const bd_shape *x, const bd_window *window, bd_shape *shape)
{
    if (!bd_check_shape(graph, op, x))
        return false;
    if (x->rank != 4 || x->dim[1] < 1 || x->dim[2] < 1) {
        bd_op_fail(graph, op, "x of shape %s; needs [n, h, w, c] of at least one pixel", BD_SHAPE_TEXT(x));
        return false;
    }
    for (int i = 0; i < 2; i++) {
        if (window->pad[i][0] >= window->size[i] || window->pad[i][1] >= window->size[i]) {
            bd_op_fail(graph, op, "padding of %lld, %lld in a window of %s %lld; it must be smaller than the window",
                       (long long)window->pad[i][0], (long long)window->pad[i][1], i ? "width" : "height",
                       (long long)window->size[i]);
            return false;
        }
    }
    return bd_window_shape(graph, op, x, window, x->dim[3], shape);
}

static bd_tensor pool(bd_graph *graph, bd_op op, bd_tensor x, const bd_window *window)
{
    bd_shape shape;
    if (!bd_check_operand(graph, op, x) || !pool_shape(graph, op, &bd_node_at(graph, x)->shape, window, &shape))
        return BD_NONE;
    bd_tensor result;
    bd_node *node = bd_append1(graph, op, shape, x, &result);
    if (node)
        node->attr.window = *window;
    return result;
}

bd_tensor bd_max_pool(bd_graph *graph, bd_tensor x, bd_window window)
{
    return pool(graph, BD_OP_MAX_POOL, x, &window);
}

bd_tensor bd_avg_pool(bd_graph *graph, bd_tensor x, bd_window window)
{
    return pool(graph, BD_OP_AVG_POOL, x, &window);
}

static bool check_pool_gradient(bd_graph *graph, bd_op op, const bd_shape *x, bd_tensor dy, const bd_window *window)
{
    bd_shape expected;
    if (!bd_check_operand(graph, op, dy) || !pool_shape(graph, op, x, window, &expected))
        return false;
    const bd_shape *given = &bd_node_at(graph, dy)->shape;
    if (!bd_shape_equal(&expected, given)) {
        bd_op_fail(graph, op, "dy has shape %s; x of shape %s gives %s", BD_SHAPE_TEXT(given), BD_SHAPE_TEXT(x),
                   BD_SHAPE_TEXT(&expected));
        return false;
    }
    return true;
}

bd_tensor bd_max_pool_grad(bd_graph *graph, bd_tensor x, bd_tensor dy, bd_window window)
{
    const bd_op op = BD_OP_MAX_POOL_GRAD;
    if (!bd_check_operand(graph, op, x))
        return BD_NONE;
    const bd_shape shape = bd_node_at(graph, x)->shape;
    if (!check_pool_gradient(graph, op, &shape, dy, &window))
        return BD_NONE;
    bd_tensor result;
    bd_node *node = bd_append2(graph, op, shape, x, dy, &result);
    if (node)
        node->attr.window = window;
    return result;
}

bd_tensor bd_avg_pool_grad(bd_graph *graph, bd_tensor dy, bd_window window, bd_shape shape)
{
    const bd_op op = BD_OP_AVG_POOL_GRAD;
    if (!check_pool_gradient(graph, op, &shape, dy, &window))
        return BD_NONE;
    bd_tensor result;
    bd_node *node = bd_append1(graph, op, shape, dy, &result);
    if (node)
        node->attr.window = window;
    return result;
}
