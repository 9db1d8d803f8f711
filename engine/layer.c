/* Layers: plain functions that compose primitives. Their gradients follow from the primitives' (gradient.c). */
#include "build.h"

#include <math.h>

/* A layer goes on after an error within it, so shapes are asked for by bd_tensor_shape(), which takes BD_NONE. */
static int64_t last_dimension(const bd_graph *graph, bd_tensor x)
{
    const bd_shape shape = bd_tensor_shape(graph, x);
    return shape.rank > 0 ? shape.dim[shape.rank - 1] : 1;
}

static bool check_rank(bd_graph *graph, bd_op op, bd_tensor x, int least)
{
    if (!bd_check_operand(graph, op, x))
        return false;
    const bd_shape *shape = &bd_node_at(graph, x)->shape;
    if (shape->rank < least)
        bd_op_fail(graph, op, "operand of shape %s; needs at least %d dimension%s", BD_SHAPE_TEXT(shape), least,
                   least == 1 ? "" : "s");
    return graph->status == BD_OK;
}

static bd_tensor scale(bd_graph *graph, bd_tensor x, double factor)
{
    return bd_mul(graph, x, bd_constant_like(graph, x, factor));
}

static bd_tensor broadcast_like(bd_graph *graph, bd_tensor x, bd_tensor like)
{
    return bd_broadcast(graph, x, bd_tensor_shape(graph, like));
}

/* The smallest shape that both operands broadcast to; where they do not fit, bd_broadcast will say so. */
static bd_shape common_shape(const bd_shape *a, const bd_shape *b)
{
    if (a->rank < b->rank)
        return common_shape(b, a);
    bd_shape shape = *a;
    for (int i = 1; i <= b->rank; i++)
        if (shape.dim[a->rank - i] == 1)
            shape.dim[a->rank - i] = b->dim[b->rank - i];
    return shape;
}

static bd_tensor binary_broadcast(bd_graph *graph, bd_op op, bd_tensor a, bd_tensor b)
{
    if (!bd_check_operand(graph, op, a) || !bd_check_operand(graph, op, b))
        return BD_NONE;
    bd_shape shape = common_shape(&bd_node_at(graph, a)->shape, &bd_node_at(graph, b)->shape);
    bd_tensor wide_a = bd_broadcast(graph, a, shape), wide_b = bd_broadcast(graph, b, shape);
    return op == BD_OP_ADD ? bd_add(graph, wide_a, wide_b) : bd_mul(graph, wide_a, wide_b);
}

bd_tensor bd_add_broadcast(bd_graph *graph, bd_tensor a, bd_tensor b)
{
    return binary_broadcast(graph, BD_OP_ADD, a, b);
}

bd_tensor bd_mul_broadcast(bd_graph *graph, bd_tensor a, bd_tensor b)
{
    return binary_broadcast(graph, BD_OP_MUL, a, b);
}

bd_layer_style bd_set_layer_style(bd_graph *graph, bd_layer_style style)
{
    const bd_layer_style previous = graph->style;
    graph->style = style;
    return previous;
}

/* A layer's weight, in the graph's style. */
static bd_tensor make_weight(bd_graph *graph, bd_shape shape, double fan_in, double fan_out)
{
    /* The deviation of a standard normal cut at 2: he_normal asks for the variance of what is left. */
    const double cut_deviation = 0.87962566103423978;
    bd_init init = { BD_INIT_UNIFORM, (float)sqrt(6.0 / fmax(fan_in + fan_out, 1.0)) };
    if (graph->style.init == BD_WEIGHTS_HE)
        init = (bd_init){ BD_INIT_TRUNCATED_NORMAL, (float)(sqrt(2.0 / fmax(fan_in, 1.0)) / cut_deviation) };
    if (graph->style.init == BD_WEIGHTS_NORMAL)
        init = (bd_init){ BD_INIT_NORMAL, graph->style.deviation };
    bd_tensor weight = bd_parameter(graph, "weight", shape, init);
    if (weight != BD_NONE)
        graph->nodes[weight].attr.variable.l2 = graph->style.l2;
    return weight;
}

static bd_tensor add_bias(bd_graph *graph, bd_tensor y)
{
    bd_tensor bias = bd_parameter(graph, "bias", BD_SHAPE(last_dimension(graph, y)), (bd_init){ BD_INIT_CONSTANT, 0 });
    return bd_add(graph, y, broadcast_like(graph, bias, y));
}

bd_tensor bd_linear(bd_graph *graph, bd_tensor x, int64_t units, bool bias, const char *name)
{
    bd_push_layer(graph, name);
    bd_tensor y = BD_NONE;
    if (check_rank(graph, BD_OP_MATMUL, x, 1)) {
        bd_shape shape = bd_tensor_shape(graph, x), rows = { .rank = 2, .dim = { 1, last_dimension(graph, x) } };
        for (int i = 0; i < shape.rank - 1; i++)
            rows.dim[0] *= shape.dim[i];
        bd_tensor weight = make_weight(graph, BD_SHAPE(rows.dim[1], units), (double)rows.dim[1], (double)units);
        y = bd_matmul(graph, bd_reshape(graph, x, rows), weight, false, false);
        if (bias)
            y = add_bias(graph, y);
        shape.dim[shape.rank - 1] = units;
        y = bd_reshape(graph, y, shape);
    }
    bd_pop_layer(graph);
    return y;
}

bd_tensor bd_conv(bd_graph *graph, bd_tensor x, int64_t channels, bd_window window, bool bias, const char *name)
{
    bd_push_layer(graph, name);
    bd_tensor y = BD_NONE;
    if (check_rank(graph, BD_OP_CONV2D, x, 4)) {
        const int64_t inputs = last_dimension(graph, x);
        const double area = (double)window.size[0] * (double)window.size[1];
        bd_tensor weight = make_weight(graph, BD_SHAPE(window.size[0], window.size[1], inputs, channels),
                                       area * (double)inputs, area * (double)channels);
        y = bd_conv2d(graph, x, weight, window);
        if (bias)
            y = add_bias(graph, y);
    }
    bd_pop_layer(graph);
    return y;
}

bd_tensor bd_depthwise_conv(bd_graph *graph, bd_tensor x, bd_window window, bool bias, const char *name)
{
    bd_push_layer(graph, name);
    bd_tensor y = BD_NONE;
    if (check_rank(graph, BD_OP_DEPTHWISE, x, 4)) {
        const int64_t channels = last_dimension(graph, x);
        const double area = (double)window.size[0] * (double)window.size[1];
        /* Fans as Keras counts them for DepthwiseConv2D's kernel [kh, kw, channels, 1]. */
        bd_tensor weight =
            make_weight(graph, BD_SHAPE(window.size[0], window.size[1], 1, channels), area * (double)channels, area);
        y = bd_depthwise(graph, x, weight, window);
        if (bias)
            y = add_bias(graph, y);
    }
    bd_pop_layer(graph);
    return y;
}

bd_window bd_valid_window(int64_t size, int64_t stride)
{
    return (bd_window){ .size = { size, size }, .stride = { stride, stride } };
}

bd_window bd_same_window(const bd_graph *graph, bd_tensor x, int64_t size, int64_t stride)
{
    bd_window window = bd_valid_window(size, stride);
    const bd_shape shape = bd_tensor_shape(graph, x);
    for (int i = 0; i < 2 && shape.rank == 4 && stride > 0; i++) {
        const int64_t length = shape.dim[1 + i], outputs = (length + stride - 1) / stride;
        const int64_t span = (outputs - 1) * stride + size, pad = span > length ? span - length : 0;
        window.pad[i][0] = pad / 2;
        window.pad[i][1] = pad - pad / 2;
    }
    return window;
}

bd_tensor bd_global_avg_pool(bd_graph *graph, bd_tensor x)
{
    const bd_shape shape = bd_tensor_shape(graph, x);
    const bd_window whole = { .size = { shape.dim[1], shape.dim[2] }, .stride = { 1, 1 } };
    return bd_flatten(graph, bd_avg_pool(graph, x, whole));
}

/* ---- normalisation ----
 *
 * Means of many values must survive F16, whose sums overflow at 65504 and whose small addends vanish below 2^-24.
 * So addends are divided by about the square root of their number, and the sum by the rest: both stay near the
 * magnitude of the values. The first divisor is a power of two, which costs no rounding. */
static int64_t count_elements(const bd_graph *graph, bd_tensor x, int first, int count)
{
    const bd_shape shape = bd_tensor_shape(graph, x);
    int64_t elements = 1;
    for (int i = first; i < first + count; i++)
        elements *= shape.dim[i];
    return elements > 0 ? elements : 1;
}

static bd_tensor mean_over(bd_graph *graph, bd_tensor x, int first, int count, bool keep)
{
    double elements = (double)count_elements(graph, x, first, count), part = exp2(round(log2(elements) / 2));
    return scale(graph, bd_sum(graph, scale(graph, x, 1 / part), first, count, keep), part / elements);
}

/* Marks a node of little arithmetic that backward needs, too, to be computed again there rather than stored. */
static bd_tensor recomputed(bd_graph *graph, bd_tensor x)
{
    if (x != BD_NONE)
        graph->nodes[x].recompute = true;
    return x;
}

static bd_tensor mean_square_over(bd_graph *graph, bd_tensor x, int first, int count, bool keep)
{
    double elements = (double)count_elements(graph, x, first, count), part = exp2(round(log2(elements) / 4));
    bd_tensor small = recomputed(graph, scale(graph, x, 1 / part));
    return scale(graph, bd_sum(graph, bd_mul(graph, small, small), first, count, keep), part * part / elements);
}

/* Sum and squares of so many values cannot be rounded to halves on the way: mean, variance and its root are F32
 * whatever the policy says. Each is rounded to the policy's format once, when it is done. */
typedef struct moments {
    bd_tensor mean, variance; /* FIXED */
} moments;

static moments batch_moments(bd_graph *graph, bd_tensor x, int axes)
{
    const bd_role role = bd_set_role(graph, BD_ROLE_FIXED);
    const double elements = (double)count_elements(graph, x, 0, axes);
    bd_tensor exact = bd_cast(graph, x, BD_ROLE_FIXED);
    const moments result = { .mean = bd_mean(graph, exact, 0, axes, false),
                             .variance = scale(graph, bd_deviations(graph, exact, 0, axes, false), 1 / elements) };
    bd_set_role(graph, role);
    return result;
}

/* 1 / sqrt(variance + epsilon) */
static bd_tensor inverse_deviation(bd_graph *graph, bd_tensor variance, float epsilon)
{
    bd_tensor deviation = bd_sqrt(graph, bd_add(graph, variance, bd_constant_like(graph, variance, epsilon)));
    return bd_div(graph, bd_constant_like(graph, deviation, 1), deviation);
}

/* running += (batch - running) * (1 - momentum) */
static void update_running(bd_graph *graph, bd_tensor running, bd_tensor batch, float momentum)
{
    if (graph->starting)
        return;
    bd_tensor step = scale(graph, bd_sub(graph, batch, running), 1 - (double)momentum);
    bd_assign(graph, running, bd_add(graph, running, step));
}

typedef struct norm_parameters {
    bd_tensor gamma, beta;
} norm_parameters;

static norm_parameters make_norm_parameters(bd_graph *graph, bd_shape shape)
{
    return (norm_parameters){
        .gamma = bd_parameter(graph, "gamma", shape, (bd_init){ BD_INIT_CONSTANT, 1 }),
        .beta = bd_parameter(graph, "beta", shape, (bd_init){ BD_INIT_CONSTANT, 0 }),
    };
}

static bd_tensor batch_norm(bd_graph *graph, bd_tensor x, bool training, float momentum, float epsilon)
{
    const int axes = bd_tensor_shape(graph, x).rank - 1;
    const bd_shape channels = BD_SHAPE(last_dimension(graph, x));
    norm_parameters parameters = make_norm_parameters(graph, channels);
    bd_tensor running_mean =
        bd_variable(graph, "running_mean", BD_ROLE_STATISTIC, BD_F32, channels, (bd_init){ BD_INIT_CONSTANT, 0 });
    bd_tensor running_variance =
        bd_variable(graph, "running_var", BD_ROLE_STATISTIC, BD_F32, channels, (bd_init){ BD_INIT_CONSTANT, 1 });
    const bd_role role = bd_set_role(graph, BD_ROLE_STATISTIC);
    bd_tensor wide = bd_cast(graph, x, BD_ROLE_STATISTIC), centered, variance, drift = BD_NONE;
    if (training) {
        /* The derivative with respect to the mean is -factor for every element (the variance has none: deviations
         * sum to 0). Through the per-channel shift below it costs no pass over the data: the sum over dy is beta's
         * gradient already. So the deviations take the mean for a constant, and mean - constant is 0. */
        const moments m = batch_moments(graph, x, axes);
        bd_tensor mean = bd_cast(graph, m.mean, BD_ROLE_STATISTIC);
        bd_tensor constant = bd_stop_gradient(graph, bd_cast(graph, mean, BD_ROLE_STATISTIC));
        centered = recomputed(graph, bd_sub(graph, wide, broadcast_like(graph, constant, wide)));
        drift = bd_sub(graph, mean, constant);
        variance = m.variance;

        double elements = (double)count_elements(graph, x, 0, axes);
        update_running(graph, running_mean, mean, momentum);
        /* the unbiased estimate, as the paper's inference has it */
        bd_set_role(graph, BD_ROLE_FIXED);
        bd_tensor unbiased = scale(graph, variance, elements / fmax(elements - 1, 1));
        bd_set_role(graph, BD_ROLE_STATISTIC);
        update_running(graph, running_variance, bd_cast(graph, unbiased, BD_ROLE_STATISTIC), momentum);
    } else {
        centered = bd_sub(graph, wide, broadcast_like(graph, running_mean, wide));
        variance = bd_cast(graph, running_variance, BD_ROLE_FIXED);
    }
    bd_set_role(graph, BD_ROLE_FIXED);
    bd_tensor inverse = inverse_deviation(graph, variance, epsilon);
    bd_set_role(graph, BD_ROLE_STATISTIC);
    bd_tensor factor = bd_mul(graph, parameters.gamma, bd_cast(graph, inverse, BD_ROLE_STATISTIC));
    bd_tensor shift = training ? bd_sub(graph, parameters.beta, bd_mul(graph, drift, factor)) : parameters.beta;
    bd_tensor scaled = bd_mul(graph, centered, broadcast_like(graph, factor, centered));
    shift = broadcast_like(graph, shift, scaled);
    bd_set_role(graph, role);
    return bd_add(graph, scaled, shift);
}

bd_tensor bd_batch_norm(bd_graph *graph, bd_tensor x, bool training, float momentum, float epsilon, const char *name)
{
    bd_push_layer(graph, name);
    bd_tensor y = BD_NONE;
    if (check_rank(graph, BD_OP_SUM, x, 2))
        y = batch_norm(graph, x, training, momentum, epsilon);
    bd_pop_layer(graph);
    return y;
}

bd_tensor bd_layer_norm(bd_graph *graph, bd_tensor x, float epsilon, const char *name)
{
    bd_push_layer(graph, name);
    bd_tensor y = BD_NONE;
    if (check_rank(graph, BD_OP_SUM, x, 1)) {
        const int last = bd_tensor_shape(graph, x).rank - 1;
        norm_parameters parameters = make_norm_parameters(graph, BD_SHAPE(last_dimension(graph, x)));
        const bd_role role = bd_set_role(graph, BD_ROLE_STATISTIC);
        bd_tensor wide = bd_cast(graph, x, BD_ROLE_STATISTIC);
        bd_tensor mean = mean_over(graph, wide, last, 1, true);
        bd_tensor centered = recomputed(graph, bd_sub(graph, wide, broadcast_like(graph, mean, wide)));
        bd_tensor factor = inverse_deviation(graph, mean_square_over(graph, centered, last, 1, true), epsilon);
        bd_tensor normal = recomputed(graph, bd_mul(graph, centered, broadcast_like(graph, factor, centered)));
        bd_tensor scaled = recomputed(graph, bd_mul(graph, normal, broadcast_like(graph, parameters.gamma, normal)));
        bd_set_role(graph, role);
        y = bd_add(graph, scaled, broadcast_like(graph, parameters.beta, scaled));
    }
    bd_pop_layer(graph);
    return y;
}

/* The mask is drawn outside the policy, so that every precision drops the same elements. */
bd_tensor bd_dropout(bd_graph *graph, bd_tensor x, float rate, bool training)
{
    if (!check_rank(graph, BD_OP_RANDOM, x, 0))
        return BD_NONE;
    if (!(rate >= 0 && rate < 1))
        return bd_op_fail(graph, BD_OP_RANDOM, "a dropout rate of %g; must be at least 0 and less than 1",
                          (double)rate);
    if (!training || rate == 0)
        return x;
    const double keep = 1 - (double)rate;
    const bd_role role = bd_set_role(graph, BD_ROLE_FIXED);
    bd_tensor uniform = bd_random(graph, bd_tensor_shape(graph, x)), bound = bd_constant_like(graph, x, keep);
    bd_set_role(graph, role);
    bd_tensor mask = bd_less(graph, uniform, bound);
    return bd_select(graph, mask, scale(graph, x, 1 / keep), bd_constant_like(graph, x, 0));
}

bd_tensor bd_flatten(bd_graph *graph, bd_tensor x)
{
    if (!check_rank(graph, BD_OP_RESHAPE, x, 1))
        return BD_NONE;
    const bd_shape *shape = &bd_node_at(graph, x)->shape;
    int64_t columns = 1;
    for (int i = 1; i < shape->rank; i++)
        columns *= shape->dim[i];
    return bd_reshape(graph, x, BD_SHAPE(shape->dim[0], columns));
}

/* x minus its largest along the last axis, so that exp() stays within (0, 1]. A shift changes neither softmax nor
 * cross-entropy, so the maximum counts as a constant. */
static bd_tensor shift_by_maximum(bd_graph *graph, bd_tensor x)
{
    const int last = bd_tensor_shape(graph, x).rank - 1;
    bd_tensor largest = bd_maximum(graph, x, last, 1, true);
    if (largest == BD_NONE)
        return BD_NONE;
    return bd_sub(graph, x, broadcast_like(graph, bd_stop_gradient(graph, largest), x));
}

bd_tensor bd_softmax(bd_graph *graph, bd_tensor x)
{
    if (!check_rank(graph, BD_OP_MAXIMUM, x, 1))
        return BD_NONE;
    const int last = bd_tensor_shape(graph, x).rank - 1;
    const bd_role role = bd_set_role(graph, BD_ROLE_STATISTIC);
    bd_tensor power = bd_exp(graph, shift_by_maximum(graph, x));
    bd_tensor sum = broadcast_like(graph, bd_sum(graph, power, last, 1, true), power);
    bd_set_role(graph, role);
    return bd_div(graph, power, sum);
}

bd_tensor bd_cross_entropy(bd_graph *graph, bd_tensor logits, bd_tensor labels)
{
    if (!check_rank(graph, BD_OP_MAXIMUM, logits, 1) || !check_rank(graph, BD_OP_EQUAL, labels, 0))
        return BD_NONE;
    const bd_shape shape = bd_tensor_shape(graph, logits), given = bd_tensor_shape(graph, labels);
    const int last = shape.rank - 1;
    bd_shape rows = shape, column = shape;
    rows.rank = last;
    column.dim[last] = 1;
    if (!bd_shape_equal(&rows, &given))
        return bd_op_fail(graph, BD_OP_EQUAL, "logits of shape %s and labels of shape %s; needs one label a row",
                          BD_SHAPE_TEXT(&shape), BD_SHAPE_TEXT(&given));
    /* class numbers stay outside the policy: F16 holds whole numbers only up to 2048 */
    const bd_role role = bd_set_role(graph, BD_ROLE_FIXED);
    bd_tensor label = bd_broadcast(graph, bd_reshape(graph, labels, column), shape),
              class = bd_iota(graph, shape, last);
    bd_set_role(graph, BD_ROLE_STATISTIC);
    bd_tensor shifted = shift_by_maximum(graph, logits);
    bd_tensor total = bd_sum(graph, bd_exp(graph, shifted), last, 1, false);
    bd_tensor zero = bd_constant(graph, shape, 0);
    bd_tensor right = bd_sum(graph, bd_select(graph, bd_equal(graph, class, label), shifted, zero), last, 1, false);
    bd_tensor loss = bd_sub(graph, bd_log(graph, total), right);
    bd_set_role(graph, role);
    return loss;
}

/* ---- attention ---- */

bd_tensor bd_attention(bd_graph *graph, bd_tensor x, int64_t heads, int64_t key, bool causal, float rate, bool training,
                       const char *name)
{
    bd_push_layer(graph, name);
    bd_tensor y = BD_NONE;
    const bd_shape shape = bd_tensor_shape(graph, x);
    if (check_rank(graph, BD_OP_MATMUL, x, 3) && heads > 0 && key > 0) {
        y = bd_linear(graph, x, 3 * heads * key, true, "qkv");
        y = bd_self_attention(graph, y, heads, causal, rate, training);
        y = bd_linear(graph, y, shape.dim[2], true, "output");
    } else if (graph->status == BD_OK) {
        bd_op_fail(graph, BD_OP_MATMUL, "attention of %lld heads of %lld over shape %s; needs [n, tokens, width]",
                   (long long)heads, (long long)key, BD_SHAPE_TEXT(&shape));
    }
    bd_pop_layer(graph);
    return y;
}
