/* The suite attention: softmax(Q K^T / sqrt(d)) V as the graph has it, two products with a softmax between, and its backward
 * pass, which computes the scores again. */
#include "bench_graph.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A number and how far off, at most, what a kernel has in its place may be. */
typedef struct ball {
    double value, error;
} ball;

typedef struct attention {
    int64_t heads, length, depth; /* heads: of all sequences */
    bool backward;
    /* Of the head that was judged last: the weights, and the gradients of the scores; length x length each, owned. */
    int64_t head;
    ball *weights, *gradients;
} attention;

static bd_tensor forward(bd_graph *graph, const bd_tensor *operands, const attention *a)
{
    const bd_shape scores = BD_SHAPE(a->heads, a->length, a->length);
    const bd_tensor scale = bd_constant(graph, scores, 1 / sqrt((double)a->depth));
    const bd_tensor weights =
        bd_softmax(graph, bd_mul(graph, bd_matmul(graph, operands[0], operands[1], false, true), scale));
    return bd_matmul(graph, weights, operands[2], false, false);
}

/* The fourth operand is the result's gradient; the results are those of Q, K and V. */
static void build(bd_graph *graph, const bd_tensor *operands, const void *user, bd_tensor *results)
{
    const attention *a = user;
    const bd_tensor result = forward(graph, operands, a);
    if (!a->backward)
        *results = result;
    else if (result != BD_NONE)
        bd_gradient(graph, result, operands[3], operands, 3, results, NULL); /* the graph remembers what failed */
}

/* ---- what is right ---- */

/* Each score is off by its sum's error and by two roundings; the constant is rounded too. Returns the worst. */
static double make_scores(const bench_check *check, const attention *a, int64_t head, int64_t row, double *scores)
{
    const double *q = check->operands[0] + (head * a->length + row) * a->depth;
    const double *k = check->operands[1] + head * a->length * a->depth;
    const double u = bench_roundoff(check->value), scale = 1 / sqrt((double)a->depth);
    double worst = 0;
    for (int64_t j = 0; j < a->length; j++) {
        double sum = 0, magnitude = 0;
        for (int64_t d = 0; d < a->depth; d++) {
            const double term = q[d] * k[j * a->depth + d];
            sum += term;
            magnitude += fabs(term);
        }
        scores[j] = sum * scale;
        const double bound = bench_gamma(a->depth, check->accumulator) * magnitude * scale;
        worst = fmax(worst, bound + 3 * u * (fabs(scores[j]) + bound));
    }
    return worst;
}

/* One element of the result from the whole row of scores that it depends on: the weights are off by what bench_soften() makes of
 * the scores' errors and by a rounding; the last sum by its own. */
static bool right_forward(const bench_check *check, int64_t i, const attention *a)
{
    const int64_t head = i / a->depth / a->length, row = i / a->depth % a->length, column = i % a->depth;
    const double *v = check->operands[2] + head * a->length * a->depth;
    const double u = bench_roundoff(check->value);
    double *scores = malloc((size_t)a->length * sizeof *scores);
    if (!scores)
        return false;
    const double worst = make_scores(check, a, head, row, scores);
    const bench_softmax s = bench_soften(scores, a->length, worst, check);
    double sum = 0, magnitude = 0, lost = 0;
    for (int64_t j = 0; j < a->length; j++) {
        const double value = v[j * a->depth + column], term = exp(scores[j] - s.greatest) / s.sum * value;
        sum += term;
        magnitude += fabs(term);
        lost += check->value == BD_F16 ? 0x1p-24 * fabs(value) : 0;
    }
    free(scores);
    const double relative = (1 + s.relative) * (1 + u) * (1 + bench_gamma(a->length, check->accumulator)) - 1;
    return bench_within(check->value, check->result[i], sum, relative * magnitude + 2 * lost);
}

/* ---- backward: every operation of the graph, with its operands' errors and its own rounding ---- */

static ball rounded(ball x, const bench_check *check)
{
    const double u = bench_roundoff(check->coarsest);
    x.error += u * (fabs(x.value) + x.error) + (check->coarsest == BD_F16 ? 0x1p-24 : 0x1p-126);
    return x;
}

static ball product(ball a, ball b)
{
    return (ball){ a.value * b.value, fabs(a.value) * b.error + fabs(b.value) * a.error + a.error * b.error };
}

typedef struct ball_sum {
    double value, error, magnitude;
} ball_sum;

static void add(ball_sum *sum, ball term)
{
    sum->value += term.value;
    sum->error += term.error;
    sum->magnitude += fabs(term.value) + term.error;
}

static ball total(const ball_sum *sum, int64_t terms, const bench_check *check)
{
    return rounded((ball){ sum->value, sum->error + bench_gamma(terms, check->accumulator) * sum->magnitude }, check);
}

/* The gradient of the weights: the row of the result's gradient times V. */
static ball weight_gradient(const bench_check *check, const attention *a, int64_t head, int64_t row, int64_t j)
{
    const double *g = check->operands[3] + (head * a->length + row) * a->depth;
    const double *v = check->operands[2] + (head * a->length + j) * a->depth;
    ball_sum sum = { 0 };
    for (int64_t d = 0; d < a->depth; d++)
        add(&sum, (ball){ g[d] * v[d], 0 });
    return total(&sum, a->depth, check);
}

/* A row of the softmax's gradient, as the quotient e / s, the sum and the exponential have it: with q = dw / s,
 * dx = (q - sum(q w)) e. The maximum that is taken off has no gradient. */
static void make_row(const bench_check *check, const attention *a, int64_t head, int64_t row, double *scores)
{
    const double worst = make_scores(check, a, head, row, scores), scale = 1 / sqrt((double)a->depth);
    const bench_softmax s = bench_soften(scores, a->length, worst, check);
    const ball inverse = { 1 / s.sum, s.relative / s.sum }, factor = rounded((ball){ scale, 0 }, check);
    ball *weights = a->weights + row * a->length, *gradients = a->gradients + row * a->length;
    ball_sum sum = { 0 };
    for (int64_t j = 0; j < a->length; j++) {
        const double power = exp(scores[j] - s.greatest);
        weights[j] = rounded((ball){ power / s.sum, s.relative * power / s.sum }, check);
        gradients[j] = rounded(product(weight_gradient(check, a, head, row, j), inverse), check);
        add(&sum, rounded(product(gradients[j], weights[j]), check));
    }
    const ball mean = total(&sum, a->length, check);
    for (int64_t j = 0; j < a->length; j++) {
        const double power = exp(scores[j] - s.greatest);
        const ball e = rounded((ball){ power, s.relative * power }, check);
        const ball difference =
            rounded((ball){ gradients[j].value - mean.value, gradients[j].error + mean.error }, check);
        gradients[j] = rounded(product(rounded(product(difference, e), check), factor), check);
    }
}

static bool make_head(const bench_check *check, attention *a, int64_t head)
{
    const size_t count = (size_t)(a->length * a->length);
    double *scores = malloc((size_t)a->length * sizeof *scores);
    if (!a->weights) {
        a->weights = malloc(count * sizeof *a->weights);
        a->gradients = malloc(count * sizeof *a->gradients);
    }
    const bool good = scores && a->weights && a->gradients;
    for (int64_t row = 0; good && row < a->length && a->head != head; row++)
        make_row(check, a, head, row, scores);
    a->head = good ? head : -1;
    free(scores);
    return good;
}

static bool right_backward(const bench_check *check, int64_t i, attention *a)
{
    const int64_t head = i / a->depth / a->length, row = i / a->depth % a->length, column = i % a->depth;
    /* dQ = dS K, dK = dS^T Q, dV = W^T dO */
    const double *other = check->operands[(const int[]){ 1, 0, 3 }[check->which]] + head * a->length * a->depth;
    ball_sum sum = { 0 };
    if (!make_head(check, a, head))
        return false;
    const ball *from = check->which == 2 ? a->weights : a->gradients;
    for (int64_t j = 0; j < a->length; j++)
        add(&sum, product(from[check->which ? j * a->length + row : row * a->length + j],
                          (ball){ other[j * a->depth + column], 0 }));
    const ball exact = total(&sum, a->length, check);
    return bench_within(check->value, check->result[i], exact.value, exact.error);
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
    attention a = { .heads = shape->size[0] * shape->size[1],
                    .length = shape->size[2],
                    .depth = shape->size[3],
                    .backward = backward,
                    .head = -1 };
    bench_row *row = bench_add(self, BENCH_ATTENTION, "own", policy->name, error, "attention %s%lldx%lldx%lldx%lld",
                               backward ? "backward " : "", (long long)shape->size[0], (long long)shape->size[1],
                               (long long)a.length, (long long)a.depth);
    if (!row)
        return BD_ERROR_MEMORY;
    row->unit = BENCH_GFLOPS;
    row->peak = bench_peak_of(self, policy);
    const bd_shape operand = BD_SHAPE(a.heads, a.length, a.depth);
    const bench_case c = { .operand_count = backward ? 4 : 3,
                           .operands = { operand, operand, operand, operand },
                           .result_count = backward ? 3 : 1,
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
