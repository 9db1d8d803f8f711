/* Backward passes on the device: graphs with their gradients appended. Inputs are small whole numbers, so that every
 * sum on the way is exact in every format and order, and the gradients must be the reference's, bit for bit. (That the
 * reference's are right is what the tests of gradients against central differences say.) */
#include "case.h"

typedef bd_tensor (*forward_function)(test_case *c, bd_tensor *wrt, int *count);

static bd_tensor whole(test_case *c, bd_shape shape)
{
    return case_input(c, c->formats.value, shape, FILL_WHOLE);
}

static bd_tensor add_bias(bd_graph *g, bd_tensor x, bd_tensor bias)
{
    return bd_add(g, x, bd_broadcast(g, bias, bd_tensor_shape(g, x)));
}

static bd_tensor linear(test_case *c, bd_tensor *wrt, int *count)
{
    bd_graph *g = c->graph;
    wrt[0] = whole(c, BD_SHAPE(33, 17));
    wrt[1] = whole(c, BD_SHAPE(17, 19));
    wrt[2] = whole(c, BD_SHAPE(19));
    *count = 3;
    return bd_relu(g, add_bias(g, bd_matmul(g, wrt[0], wrt[1], false, false), wrt[2]));
}

static bd_tensor batched(test_case *c, bd_tensor *wrt, int *count)
{
    wrt[0] = whole(c, BD_SHAPE(3, 7, 5));
    wrt[1] = whole(c, BD_SHAPE(3, 9, 7));
    *count = 2;
    return bd_matmul(c->graph, wrt[0], wrt[1], true, true);
}

static bd_tensor convolution(test_case *c, bd_tensor *wrt, int *count)
{
    bd_graph *g = c->graph;
    const bd_window window = { { 3, 3 }, { 1, 1 }, { { 1, 1 }, { 1, 1 } } }, pool = { { 2, 2 }, { 2, 2 }, { { 0 } } };
    wrt[0] = whole(c, BD_SHAPE(2, 8, 6, 3));
    wrt[1] = whole(c, BD_SHAPE(3, 3, 3, 6));
    wrt[2] = whole(c, BD_SHAPE(6));
    *count = 3;
    return bd_max_pool(g, bd_relu(g, add_bias(g, bd_conv2d(g, wrt[0], wrt[1], window), wrt[2])), pool);
}

static bd_tensor strided_convolution(test_case *c, bd_tensor *wrt, int *count)
{
    const bd_window window = { { 3, 2 }, { 2, 3 }, { { 1, 0 }, { 0, 1 } } };
    wrt[0] = whole(c, BD_SHAPE(2, 8, 7, 6));
    wrt[1] = whole(c, BD_SHAPE(3, 2, 6, 5));
    *count = 2;
    return bd_conv2d(c->graph, wrt[0], wrt[1], window);
}

static bd_tensor depthwise_convolution(test_case *c, bd_tensor *wrt, int *count)
{
    bd_graph *g = c->graph;
    const bd_window window = { { 3, 3 }, { 2, 2 }, { { 0, 1 }, { 0, 1 } } };
    wrt[0] = whole(c, BD_SHAPE(2, 8, 6, 5));
    wrt[1] = whole(c, BD_SHAPE(3, 3, 1, 5));
    wrt[2] = whole(c, BD_SHAPE(5));
    *count = 3;
    return bd_relu(g, add_bias(g, bd_conv2d(g, wrt[0], wrt[1], window), wrt[2]));
}

static bd_tensor grouped_convolution(test_case *c, bd_tensor *wrt, int *count)
{
    const bd_window window = { { 3, 3 }, { 1, 1 }, { { 1, 1 }, { 1, 1 } } };
    wrt[0] = whole(c, BD_SHAPE(2, 5, 6, 6));
    wrt[1] = whole(c, BD_SHAPE(3, 3, 2, 9));
    *count = 2;
    return bd_conv2d(c->graph, wrt[0], wrt[1], window);
}

/* Averages of four are exact in quarters. */
static bd_tensor average(test_case *c, bd_tensor *wrt, int *count)
{
    const bd_window window = { { 2, 2 }, { 2, 2 }, { { 0 } } };
    wrt[0] = whole(c, BD_SHAPE(2, 6, 8, 5));
    *count = 1;
    return bd_avg_pool(c->graph, wrt[0], window);
}

static bd_tensor views(test_case *c, bd_tensor *wrt, int *count)
{
    bd_graph *g = c->graph;
    wrt[0] = whole(c, BD_SHAPE(4, 6));
    wrt[1] = whole(c, BD_SHAPE(1, 6));
    *count = 2;
    bd_tensor turned = bd_permute(g, wrt[0], (int[]){ 1, 0 });
    bd_tensor cut = bd_pad(g, bd_slice(g, turned, 0, 1, 4), 1, 1, 2);
    bd_tensor wide = bd_reshape(g, bd_broadcast(g, wrt[1], BD_SHAPE(5, 6)), BD_SHAPE(6, 5));
    return bd_concat(g, (bd_tensor[]){ bd_slice(g, cut, 1, 0, 5), wide }, 2, 0);
}

static bd_tensor embedding(test_case *c, bd_tensor *wrt, int *count)
{
    double places[23];
    for (int i = 0; i < 23; i++)
        places[i] = case_random_bits(c, 100, i) % 7;
    wrt[0] = whole(c, BD_SHAPE(7, 5));
    *count = 1;
    return bd_gather(c->graph, wrt[0], case_input_values(c, BD_U32, BD_SHAPE(23), places));
}

static bd_tensor products(test_case *c, bd_tensor *wrt, int *count)
{
    bd_graph *g = c->graph;
    wrt[0] = whole(c, BD_SHAPE(37, 9));
    wrt[1] = whole(c, BD_SHAPE(37, 9));
    *count = 2;
    bd_tensor product = bd_mul(g, wrt[0], bd_sub(g, wrt[1], bd_abs(g, wrt[0])));
    bd_tensor larger = bd_max(g, product, bd_neg(g, wrt[1])), smaller = bd_min(g, larger, wrt[0]);
    return bd_sum(g, bd_select(g, bd_less(g, wrt[0], wrt[1]), smaller, larger), 1, 1, false);
}

void test_gradients(session *s)
{
    static const struct {
        const char *name;
        forward_function forward;
    } cases[] = {
        { "linear", linear },
        { "batched product", batched },
        { "convolution", convolution },
        { "strided convolution", strided_convolution },
        { "depthwise convolution", depthwise_convolution },
        { "grouped convolution", grouped_convolution },
        { "average", average },
        { "views", views },
        { "embedding", embedding },
        { "products", products },
    };
    const format_set each[] = { fp32, fp16 };
    for (int f = 0; f < 2; f++) {
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            test_case c;
            if (!case_begin(&c, s, each[f], "%s", cases[i].name))
                continue;
            bd_tensor wrt[4], gradients[4];
            int count;
            bd_tensor y = cases[i].forward(&c, wrt, &count);
            bd_tensor seed = whole(&c, bd_tensor_shape(c.graph, y));
            bd_error error;
            if (bd_gradient(c.graph, y, seed, wrt, count, gradients, &error) == BD_OK)
                for (int j = 0; j < count; j++)
                    case_output(&c, gradients[j], equal_value);
            case_output(&c, y, equal_value);
            case_run(&c);
        }
    }
}
