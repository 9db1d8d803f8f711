/* The suite attention: softmax(Q K^T / sqrt(d)) V as models have it, one operation over queries, keys and values that
 * lie together, and its backward pass. */
#include "../engine/tile.h"
#include "bench_graph.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A number and how far off, at most, what a kernel has in its place may be. */
typedef struct ball {
    double value, error;
} ball;

typedef struct attention {
    int64_t sequences, heads, length, depth;
    bool backward;
    const bd_target *target;
    /* Backward: the head that was judged last, of all sequences' heads; its weights, and the gradients of its scores;
     * length x length each, owned. */
    int64_t head;
    ball *weights, *gradients;
} attention;

/* The operands are qkv and, backward, the result's gradient. */
static void build(bd_graph *graph, const bd_tensor *operands, const void *user, bd_tensor *results)
{
    const attention *a = user;
    const bd_tensor result = bd_self_attention(graph, operands[0], a->heads, false, 0, false);
    if (!a->backward)
        *results = result;
    else if (result != BD_NONE)
        bd_gradient(graph, result, operands[1], operands, 1, results, NULL); /* the graph remembers what failed */
}

/* ---- what is right ---- */

/* The queries (0), keys (1) or values (2) of a token, in a head of all sequences' heads. */
static const double *row_of(const bench_check *check, const attention *a, int64_t head, int64_t token, int which)
{
    const int64_t row = (head / a->heads * a->length + token) * 3 + which;
    return check->operands[0] + (row * a->heads + head % a->heads) * a->depth;
}

/* The same of the result's gradient. */
static const double *slope_of(const bench_check *check, const attention *a, int64_t head, int64_t token)
{
    return check->operands[1] + ((head / a->heads * a->length + token) * a->heads + head % a->heads) * a->depth;
}

static bool by_matrix_units(const bench_check *check, const attention *a)
{
    return bd_attention_by_matrix_units(a->target, check->value, check->accumulator, a->depth);
}

static double least_of(bd_format format)
{
    return format == BD_F16 ? 0x1p-24 : 0x1p-126;
}

/* A weight, or the gradient of a score, as it is multiplied: matrix units take it rounded to their operands' format.
 * Where it is a weight relative to its row's largest that is rounded, their sum is 1 at least. */
static ball taken(const bench_check *check, const attention *a, ball x)
{
    if (by_matrix_units(check, a))
        x.error += bench_roundoff(check->value) * (fabs(x.value) + x.error) + least_of(check->value) / 2;
    return x;
}

/* A sum of products in the accumulators' format, whose terms may be off themselves. */
typedef struct ball_sum {
    double value, error, magnitude;
} ball_sum;

static void add(ball_sum *sum, ball a, double b)
{
    sum->value += a.value * b;
    sum->error += a.error * fabs(b);
    sum->magnitude += (fabs(a.value) + a.error) * fabs(b);
}

static ball total(const ball_sum *sum, int64_t terms, const bench_check *check)
{
    return (ball){ sum->value, sum->error + bench_gamma(terms, check->accumulator) * sum->magnitude };
}

static ball dot(const bench_check *check, const double *x, const double *y, int64_t count)
{
    ball_sum sum = { 0 };
    for (int64_t i = 0; i < count; i++)
        add(&sum, (ball){ x[i], 0 }, y[i]);
    return total(&sum, count, check);
}

/* What is between the products is made in F32. */
static const double single = 0x1p-24;

/* The weights of a row, and the logarithm of its sum of powers. The largest score and the sum are kept up to date block
 * by block, each of which may take the sums so far by another power. */
static ball make_weights(const bench_check *check, const attention *a, int64_t head, int64_t row, ball *weights)
{
    const double scale = 1 / sqrt((double)a->depth);
    double largest = -INFINITY, least = INFINITY, sum = 0, worst = 0;
    for (int64_t j = 0; j < a->length; j++) {
        const ball score = dot(check, row_of(check, a, head, row, 0), row_of(check, a, head, j, 1), a->depth);
        weights[j].value = score.value * scale;
        worst = fmax(worst, score.error * scale + 3 * single * fabs(weights[j].value));
        largest = fmax(largest, weights[j].value);
        least = fmin(least, weights[j].value);
    }
    /* Matrix units' exponentials are powers of 2: of the argument there is a product more to be rounded, and its
     * factor. */
    const double shift = by_matrix_units(check, a) ? 3 * (fabs(largest) + largest - least) : 0;
    const double power = 6 * single + (largest - least + 2 * worst + shift) * single;
    double relative =
        expm1(2 * worst) + 2 * (double)(a->length + 1) * power + bench_gamma(a->length, BD_F32) + 5 * single;
    for (int64_t j = 0; j < a->length; j++)
        sum += exp(weights[j].value - largest);
    const ball logarithm = { largest + log(sum), worst + relative + 8 * single * (fabs(largest) + log(sum) + 1) };
    if (by_matrix_units(check, a)) /* cooperative matrices have their weights from it, forward, too */
        relative += expm1(logarithm.error + 2 * single * (fabs(logarithm.value) + largest - least));
    for (int64_t j = 0; j < a->length; j++) {
        weights[j].value = exp(weights[j].value - largest) / sum;
        weights[j].error = weights[j].value * relative;
    }
    return logarithm;
}

/* A row of the result before its rounding. */
static ball make_result(const bench_check *check, const attention *a, int64_t head, const ball *weights, int64_t column)
{
    ball_sum sum = { 0 };
    for (int64_t j = 0; j < a->length; j++)
        add(&sum, taken(check, a, weights[j]), row_of(check, a, head, j, 2)[column]);
    return total(&sum, 2 * a->length, check);
}

static bool right_forward(const bench_check *check, int64_t i, const attention *a)
{
    const int64_t column = i % a->depth, head_of = i / a->depth % a->heads, token = i / a->depth / a->heads;
    const int64_t head = token / a->length * a->heads + head_of;
    ball *weights = malloc((size_t)a->length * sizeof *weights);
    if (!weights)
        return false;
    make_weights(check, a, head, token % a->length, weights);
    const ball exact = make_result(check, a, head, weights, column);
    free(weights);
    return bench_within(check->value, check->result[i], exact.value, exact.error);
}

/* ---- backward ---- */

/* Of a row the weights, made again from the sum as it is stored, and the slopes p (dp - dy . y), from the result as it
 * is stored. */
static void make_row(const bench_check *check, const attention *a, int64_t head, int64_t row)
{
    ball *weights = a->weights + row * a->length, *gradients = a->gradients + row * a->length;
    const double *dy = slope_of(check, a, head, row);
    const double stored = bench_roundoff(check->value), least = least_of(check->value);
    const ball sum = make_weights(check, a, head, row, weights);
    ball_sum mean = { 0 };
    for (int64_t d = 0; d < a->depth; d++) {
        ball y = make_result(check, a, head, weights, d);
        y.error += stored * (fabs(y.value) + y.error) + least;
        add(&mean, y, dy[d]);
    }
    const ball slopes = { mean.value, mean.error + bench_gamma(a->depth, BD_F32) * mean.magnitude };
    const double off = sum.error + bench_roundoff(check->accumulator) * (fabs(sum.value) + sum.error);
    const double argument = by_matrix_units(check, a) ? 4 * single : 0; /* of what is in it */
    for (int64_t j = 0; j < a->length; j++) {
        weights[j].error = weights[j].value *
                           (weights[j].error / weights[j].value +
                            expm1(2 * off + argument * (fabs(sum.value) + fabs(log(weights[j].value)))) + 16 * single);
        const ball slope = dot(check, dy, row_of(check, a, head, j, 2), a->depth);
        const double difference = slope.value - slopes.value, error = slope.error + slopes.error;
        gradients[j].value = weights[j].value * difference;
        gradients[j].error = weights[j].value * error + weights[j].error * (fabs(difference) + error);
        gradients[j].error += 2 * single * (fabs(gradients[j].value) + gradients[j].error);
    }
}

static bool make_head(const bench_check *check, attention *a, int64_t head)
{
    const size_t count = (size_t)(a->length * a->length);
    if (!a->weights) {
        a->weights = malloc(count * sizeof *a->weights);
        a->gradients = malloc(count * sizeof *a->gradients);
    }
    const bool good = a->weights && a->gradients;
    for (int64_t row = 0; good && row < a->length && a->head != head; row++)
        make_row(check, a, head, row);
    a->head = good ? head : -1;
    return good;
}

/* dQ = dS K / sqrt(d), dK = dS^T Q / sqrt(d), dV = W^T dY */
static bool right_backward(const bench_check *check, int64_t i, attention *a)
{
    const int64_t column = i % a->depth, head_of = i / a->depth % a->heads, token = i / a->depth / a->heads / 3;
    const int64_t head = token / a->length * a->heads + head_of, row = token % a->length;
    const int which = (int)(i / a->depth / a->heads % 3);
    const double scale = which == 2 ? 1 : 1 / sqrt((double)a->depth);
    ball_sum sum = { 0 };
    if (!make_head(check, a, head))
        return false;
    for (int64_t j = 0; j < a->length; j++) {
        if (which == 0)
            add(&sum, taken(check, a, a->gradients[row * a->length + j]), row_of(check, a, head, j, 1)[column]);
        else if (which == 1)
            add(&sum, taken(check, a, a->gradients[j * a->length + row]), row_of(check, a, head, j, 0)[column]);
        else
            add(&sum, taken(check, a, a->weights[j * a->length + row]), slope_of(check, a, head, j)[column]);
    }
    const ball exact = total(&sum, 2 * a->length, check);
    return bench_within(check->value, check->result[i], exact.value * scale,
                        (exact.error + 4 * single * (fabs(exact.value) + exact.error)) * scale);
}

static bool right(const bench_check *check, int64_t i, const void *user)
{
    attention *a = (attention *)user; /* it keeps a head's numbers */
    return a->backward ? right_backward(check, i, a) : right_forward(check, i, a);
}

/* ---- the rows ---- */

static bd_status run_one(bench *self, const bench_shape *shape, bool backward, const bd_precision *policy,
                         bd_error *error)
{
    attention a = { .sequences = shape->size[0],
                    .heads = shape->size[1],
                    .length = shape->size[2],
                    .depth = shape->size[3],
                    .backward = backward,
                    .target = &self->device->target,
                    .head = -1 };
    bench_row *row = bench_add(self, BENCH_ATTENTION, "own", policy->name, error, "attention %s%lldx%lldx%lldx%lld",
                               backward ? "backward " : "", (long long)shape->size[0], (long long)shape->size[1],
                               (long long)a.length, (long long)a.depth);
    if (!row)
        return BD_ERROR_MEMORY;
    row->unit = BENCH_GFLOPS;
    row->peak = bench_peak_of(self, policy, NULL);
    const int64_t width = a.heads * a.depth;
    const bench_case c = { .operand_count = backward ? 2 : 1,
                           .operands = { BD_SHAPE(a.sequences, a.length, 3 * width),
                                         BD_SHAPE(a.sequences, a.length, width) },
                           .result_count = 1,
                           .build = build,
                           .right = right,
                           .user = &a,
                           .checked = backward ? 8 : 0, /* each may need all of its head */
                           .gemm = BD_GEMM_OWN };
    bench_run_case(self, row, policy, &c);
    free(a.weights);
    free(a.gradients);
    return BD_OK;
}

bd_status bench_attention(bench *self, bd_error *error)
{
    /* Vision transformers over small images, 64 patches and a class token, and a longer sequence. */
    static const bench_shape gpu[] = { { { 256, 4, 65, 64 }, 4 }, { { 8, 8, 1024, 64 }, 4 } };
    static const bench_shape cpu[] = { { { 8, 4, 65, 64 }, 4 }, { { 1, 4, 256, 64 }, 4 } };
    bench_shape *shapes;
    size_t count;
    bd_status status = bench_shapes(self, BENCH_ATTENTION, self->device->info.type == BD_DEVICE_CPU ? cpu : gpu, 2,
                                    &shapes, &count, error);
    for (size_t i = 0; i < count; i++)
        for (int backward = 0; backward < 2; backward++)
            for (size_t p = 0; p < self->settings.policy_count && !status && !bench_stopped(self); p++)
                if (!bench_repeats(self, p, true))
                    status = run_one(self, &shapes[i], backward, &self->settings.policies[p], error);
    free(shapes);
    return status;
}
