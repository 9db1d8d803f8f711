/* Ten training steps: forward, backward and update of a small network, whose weights after them are held against those
 * of the reference. Everything is smooth, so that a rounding error moves the weights a little and never makes them
 * jump. */
#include "../engine/control.h"
#include "../engine/optimizer.h"
#include "case.h"

#include <math.h>
#include <string.h>

enum { STEPS = 10, IMAGES = 8, SIDE = 6, CHANNELS = 2, FILTERS = 4, CLASSES = 5, PIXELS = IMAGES * SIDE * SIDE };

static const double rate = 0.125;

static bd_tensor add_bias(bd_graph *g, bd_tensor x, bd_tensor bias)
{
    return bd_add(g, x, bd_broadcast(g, bias, bd_tensor_shape(g, x)));
}

/* The longest sum is the convolution's weight gradient, over all pixels. In FP32 each of its additions rounds; where
 * the sums are in FP32 and the results in FP16, the one rounding of the result is all that counts, and both sides make
 * as many: four times leaves room for chance, since their errors are not the same ones. */
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

static double word_of(float value)
{
    uint32_t word;
    memcpy(&word, &value, sizeof word);
    return word;
}

/* The optimizer alone, on given gradients: additions and products, so that five steps give the reference's own bits,
 * also where weights are rounded at random or summed with compensation. The update runs behind the control block's,
 * whose step has changed. */
static void update(session *s, format_set f, bool kahan)
{
    enum { COUNT = 300 };
    test_case c;
    if (!case_begin(&c, s, f, "updates%s%s", f.mode[BD_ROLE_WEIGHT] ? ", stochastic" : "", kahan ? ", Kahan" : ""))
        return;
    bd_graph *g = c.graph;
    const bd_init zero = { BD_INIT_CONSTANT, 0 };
    bd_precision precision;
    bd_layout layout;
    bd_error error;
    double words[BD_CONTROL_WORD_COUNT] = { 0 };
    words[BD_CONTROL_STEP] = words[BD_CONTROL_RATE_FIRST] = 5;
    words[BD_CONTROL_SEED_LOW] = 99;
    words[BD_CONTROL_SCALE] = word_of(1);
    words[BD_CONTROL_RATE_COUNT] = 1;
    const bd_tensor control = case_control(&c, words);
    const bd_tensor rates = case_input_values(&c, BD_F32, BD_SHAPE(1), (double[]){ 0.01 });
    const bd_tensor gradient = case_input(&c, f.value, BD_SHAPE(COUNT), FILL_UNIFORM);
    bd_parameter(g, "/w", BD_SHAPE(COUNT), zero);
    bd_tensor updated = BD_NONE;
    const bd_optimizer optimizer = { .kind = BD_OPTIMIZER_SGD, .momentum = 0.9f, .weight_decay = 0.125f };
    if (bd_precision_parse(kahan ? "fp32,kahan=on" : "fp32", &precision, &error) == BD_OK &&
        bd_layout_create(g, &precision, false, &layout, &error) == BD_OK) {
        bd_tensor pack;
        bd_update update;
        bd_optimizer_pack(g, &layout, &gradient, &pack);
        const bd_role role = bd_set_role(g, BD_ROLE_FIXED);
        const bd_tensor one = bd_constant(g, (bd_shape){ 0 }, 1);
        const bd_tensor step = bd_control_step(g, control, rates, one, one, BD_NONE);
        bd_optimizer_append(g, &layout, &optimizer, &pack, step, &update);
        bd_set_role(g, role);
        for (bd_tensor t = 0; t < g->node_count; t++)
            if (g->nodes[t].op == BD_OP_ASSIGN && g->nodes[t].inputs[0] == layout.groups[0].weights)
                updated = g->nodes[t].inputs[1];
        bd_layout_finish(&layout);
    }
    case_output(&c, updated, bit_identical);
    c.repeats = 6;
    case_run(&c);
}

void test_training(session *s)
{
    const format_set bf16 = { .name = "bf16", .value = BD_BF16, .statistic = BD_BF16, .accumulator = BD_F32 };
    const format_set mixed_bf16 = {
        .name = "mixed-bf16", .value = BD_BF16, .statistic = BD_F32, .accumulator = BD_F32
    };
    const format_set each[] = { fp32, fp16, mixed, bf16, mixed_bf16 };
    for (int f = 0; f < 5; f++)
        train(s, each[f]);
    format_set stochastic = bf16;
    stochastic.mode[BD_ROLE_WEIGHT] = BD_ROUND_STOCHASTIC;
    update(s, fp32, false);
    update(s, stochastic, false);
    update(s, bf16, true);
    update(s, fp16, true);
    stochastic.mode[BD_ROLE_MASTER] = stochastic.mode[BD_ROLE_STATE] = BD_ROUND_STOCHASTIC;
    update(s, stochastic, true);
}
