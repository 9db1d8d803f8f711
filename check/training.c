/* Ten training steps: forward, backward and update of a small network, whose weights after them are held against those of the
 * reference. Everything is smooth, so that a rounding error moves the weights a little and never makes them jump. */
#include "case.h"

#include <math.h>

enum { STEPS = 10, IMAGES = 8, SIDE = 6, CHANNELS = 2, FILTERS = 4, CLASSES = 5, PIXELS = IMAGES * SIDE * SIDE };

static const double rate = 0.125;

static bd_tensor add_bias(bd_graph *g, bd_tensor x, bd_tensor bias)
{
    return bd_add(g, x, bd_broadcast(g, bias, bd_tensor_shape(g, x)));
}

/* The longest sum is the convolution's weight gradient, over all pixels. In FP32 each of its additions rounds; where the sums are
 * in FP32 and the results in FP16, the one rounding of the result is all that counts, and both sides make as many: four times
 * leaves room for chance, since their errors are not the same ones. */
static test_tolerance drift(format_set f)
{
    return (test_tolerance){ .kind = TOLERANCE_DRIFT, .terms = f.value == f.accumulator ? PIXELS : 4 };
}

static void train(session *s, format_set f)
{
    test_case c;
    if (!case_begin(&c, s, f, "%d steps", STEPS))
        return;
    bd_graph *g = c.graph;
    const bd_window same = { { 3, 3 }, { 1, 1 }, { { 1, 1 }, { 1, 1 } } }, halve = { { 2, 2 }, { 2, 2 }, { { 0 } } };
    const int64_t features = SIDE / 2 * SIDE / 2 * FILTERS;
    double classes[IMAGES];
    for (int i = 0; i < IMAGES; i++)
        classes[i] = i % CLASSES;
    const bd_tensor x = case_input(&c, f.value, BD_SHAPE(IMAGES, SIDE, SIDE, CHANNELS), FILL_UNIFORM);
    const bd_tensor labels = case_input_values(&c, f.value, BD_SHAPE(IMAGES), classes);
    const bd_tensor weights[] = { case_input(&c, f.value, BD_SHAPE(3, 3, CHANNELS, FILTERS), FILL_UNIFORM),
                                  case_input(&c, f.value, BD_SHAPE(FILTERS), FILL_UNIFORM),
                                  case_input(&c, f.value, BD_SHAPE(features, CLASSES), FILL_UNIFORM),
                                  case_input(&c, f.value, BD_SHAPE(CLASSES), FILL_UNIFORM) };
    enum { WEIGHTS = sizeof weights / sizeof weights[0] };
    bd_tensor y = bd_tanh(g, add_bias(g, bd_conv2d(g, x, weights[0], same), weights[1]));
    y = bd_reshape(g, bd_avg_pool(g, y, halve), BD_SHAPE(IMAGES, features));
    y = add_bias(g, bd_matmul(g, y, weights[2], false, false), weights[3]);
    const bd_tensor loss = bd_cross_entropy(g, y, labels);
    bd_tensor gradients[WEIGHTS];
    /* The mean of the losses. A failure stays in the graph, where case_run finds it. */
    if (bd_gradient(g, loss, bd_constant(g, BD_SHAPE(IMAGES), 1.0 / IMAGES), weights, WEIGHTS, gradients, NULL) ==
        BD_OK)
        for (int i = 0; i < WEIGHTS; i++) {
            const bd_tensor step = bd_mul(g, gradients[i], bd_constant(g, bd_tensor_shape(g, weights[i]), rate));
            const bd_tensor updated = bd_sub(g, weights[i], step);
            bd_assign(g, weights[i], updated);
            case_output(&c, updated, drift(f));
        }
    c.repeats = STEPS;
    case_run(&c);
}

void test_training(session *s)
{
    const format_set each[] = { fp32, fp16, mixed };
    for (int f = 0; f < 3; f++)
        train(s, each[f]);
}
