/* The suites reduce (sums and maxima over rows and columns, softmax) and attention (softmax(Q K^T / sqrt(d)) V as the graph
 * has it: two products with a softmax between). */
#include "app.h"
#include "bench_graph.h"
#include <math.h>
#include <stdlib.h>

typedef enum reduction { ROW_SUMS, COLUMN_SUMS, ROW_MAXIMA, SOFTMAX, REDUCTIONS } reduction;

typedef struct reducing {
    reduction kind;
    int64_t rows, columns;
} reducing;

static bd_tensor build_reduction(bd_graph *graph, const bd_tensor *operands, const void *user)
{
    const reducing *r = user;
    switch (r->kind) {
    case COLUMN_SUMS: return bd_sum(graph, operands[0], 0, 1, false);
    case ROW_MAXIMA: return bd_maximum(graph, operands[0], 1, 1, false);
    case SOFTMAX: return bd_softmax(graph, operands[0]);
    default: return bd_sum(graph, operands[0], 1, 1, false);
    }
}

/* A row's softmax, and how far off, relatively, each of its values may be where each input is off by `input_error`. */
typedef struct row_softmax {
    double greatest, sum, relative;
} row_softmax;

/* exp of an argument off by d is off by expm1(d); the function itself by 3 units in the last place of F32 (OpenCL and Vulkan
 * allow 3 + 2 |x| for what is here at most 2 |x| wide); each node's result is rounded to its format once. */
static row_softmax soften(const double *row, int64_t count, double input_error, const bench_check *check)
{
    row_softmax s = { .greatest = -INFINITY };
    double least = INFINITY;
    for (int64_t i = 0; i < count; i++) {
        s.greatest = fmax(s.greatest, row[i]);
        least = fmin(least, row[i]);
    }
    for (int64_t i = 0; i < count; i++)
        s.sum += exp(row[i] - s.greatest);
    const double u = bench_roundoff(check->statistic), single = 0x1p-24, width = s.greatest - least;
    const double argument = 2 * input_error + u * (width + 2 * input_error);
    const double power = expm1(argument) + 2 * (3 + 2 * width) * single + u;
    const double whole = (1 + power) * (1 + bench_gamma(count, check->accumulator)) * (1 + u);
    /* A division: 2.5 units in the last place of F32. */
    s.relative = whole * (1 + power) * (1 + 5 * single) * (1 + u) - 1;
    return s;
}

static bool right_reduction(const bench_check *check, int64_t i, const void *user)
{
    const reducing *r = user;
    const double *x = check->operands[0];
    const bool down = r->kind == COLUMN_SUMS;
    if (r->kind == SOFTMAX) {
        const row_softmax s = soften(x + i / r->columns * r->columns, r->columns, 0, check);
        const double exact = exp(x[i] - s.greatest) / s.sum;
        /* Powers and quotients too small to be normal lose what their format cannot hold. */
        const double lost = check->statistic == BD_F16 || check->value == BD_F16 ? 0x1p-24 : 0x1p-126;
        return bench_within(check->value, check->result[i], exact, s.relative * exact + 2 * lost);
    }
    double sum = 0, magnitude = 0, most = -INFINITY;
    for (int64_t k = 0; k < (down ? r->rows : r->columns); k++) {
        const double value = x[down ? k * r->columns + i : i * r->columns + k];
        sum += value;
        magnitude += fabs(value);
        most = fmax(most, value);
    }
    if (r->kind == ROW_MAXIMA)
        return check->result[i] == most;
    return bench_within(check->value, check->result[i], sum,
                        bench_gamma(down ? r->rows : r->columns, check->accumulator) * magnitude);
}

static bd_status run_reduction(bench *self, const reducing *r, const bd_precision *policy, bd_error *error)
{
    static const char *const names[] = { "row sums", "column sums", "row maxima", "softmax" };
    bench_row *row = bench_add(self, BENCH_REDUCE, "own", policy->name, error, "%s %lldx%lld", names[r->kind],
                               (long long)r->rows, (long long)r->columns);
    if (!row)
        return BD_ERROR_MEMORY;
    row->unit = BENCH_GBYTES;
    const bench_case c = { .operand_count = 1,
                           .operands = { BD_SHAPE(r->rows, r->columns) },
                           .build = build_reduction,
                           .right = right_reduction,
                           .user = r };
    bench_run_case(self, row, policy, &c);
    return BD_OK;
}

bd_status bench_reduce(bench *self, bd_error *error)
{
    /* The last is a classifier's softmax and loss. */
    static const bench_shape defaults[] = { { { 256, 16384 }, 2 }, { { 4096, 1024 }, 2 }, { { 65536, 10 }, 2 } };
    const size_t skipped = self->device->info.type == BD_DEVICE_CPU; /* the first: such a device is slow enough */
    bench_shape *shapes;
    size_t count;
    bd_status status = bench_shapes(self, BENCH_REDUCE, defaults + skipped,
                                    sizeof defaults / sizeof *defaults - skipped, &shapes, &count, error);
    for (size_t i = 0; i < count; i++)
        for (int kind = 0; kind < REDUCTIONS; kind++) {
            const reducing r = { (reduction)kind, shapes[i].size[0], shapes[i].size[1] };
            for (size_t p = 0; p < self->settings.policy_count && !status && !bench_stopped(self); p++)
                if (!bench_repeats(self, p, true))
                    status = run_reduction(self, &r, &self->settings.policies[p], error);
        }
    free(shapes);
    return status;
}

/* ---- attention ---- */

typedef struct attention {
    int64_t heads, length, depth; /* heads: of all sequences */
} attention;

static bd_tensor build_attention(bd_graph *graph, const bd_tensor *operands, const void *user)
{
    const attention *a = user;
    const bd_shape scores = BD_SHAPE(a->heads, a->length, a->length);
    const bd_tensor scale = bd_constant(graph, scores, 1 / sqrt((double)a->depth));
    const bd_tensor weights =
        bd_softmax(graph, bd_mul(graph, bd_matmul(graph, operands[0], operands[1], false, true), scale));
    return bd_matmul(graph, weights, operands[2], false, false);
}

/* One element of the result from the whole row of scores that it depends on. Each score is off by its sum's error and by two
 * roundings; the weights by what soften() makes of that and by a rounding; the last sum by its own. */
static bool right_attention(const bench_check *check, int64_t i, const void *user)
{
    const attention *a = user;
    const int64_t head = i / a->depth / a->length, column = i % a->depth;
    const double *q = check->operands[0] + i / a->depth * a->depth;
    const double *k = check->operands[1] + head * a->length * a->depth;
    const double *v = check->operands[2] + head * a->length * a->depth;
    const double u = bench_roundoff(check->value), scale = 1 / sqrt((double)a->depth);
    double *scores = malloc((size_t)a->length * sizeof *scores);
    if (!scores)
        return false;
    double worst = 0;
    for (int64_t j = 0; j < a->length; j++) {
        double sum = 0, magnitude = 0;
        for (int64_t d = 0; d < a->depth; d++) {
            const double term = q[d] * k[j * a->depth + d];
            sum += term;
            magnitude += fabs(term);
        }
        scores[j] = sum * scale;
        /* The constant is rounded too. */
        const double bound = bench_gamma(a->depth, check->accumulator) * magnitude * scale;
        worst = fmax(worst, bound + 3 * u * (fabs(scores[j]) + bound));
    }
    const row_softmax s = soften(scores, a->length, worst, check);
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

static bd_status run_attention(bench *self, const bench_shape *shape, const bd_precision *policy, bd_error *error)
{
    const attention a = { shape->size[0] * shape->size[1], shape->size[2], shape->size[3] };
    bench_row *row =
        bench_add(self, BENCH_ATTENTION, "own", policy->name, error, "attention %lldx%lldx%lldx%lld",
                  (long long)shape->size[0], (long long)shape->size[1], (long long)a.length, (long long)a.depth);
    if (!row)
        return BD_ERROR_MEMORY;
    row->unit = BENCH_GFLOPS;
    row->peak = bench_peak_of(self, policy);
    const bd_shape operand = BD_SHAPE(a.heads, a.length, a.depth);
    const bench_case c = { .operand_count = 3,
                           .operands = { operand, operand, operand },
                           .build = build_attention,
                           .right = right_attention,
                           .user = &a,
                           .gemm = BD_GEMM_OWN };
    bench_run_case(self, row, policy, &c);
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
        for (size_t p = 0; p < self->settings.policy_count && !status && !bench_stopped(self); p++)
            if (!bench_repeats(self, p, true))
                status = run_attention(self, &shapes[i], &self->settings.policies[p], error);
    free(shapes);
    return status;
}
