/* The suite reduce: sums and maxima over rows and columns, softmax. */
#include "app.h"
#include "bench_graph.h"
#include <math.h>
#include <stdlib.h>

typedef enum reduction { ROW_SUMS, COLUMN_SUMS, ROW_MAXIMA, SOFTMAX, REDUCTIONS } reduction;

typedef struct reducing {
    reduction kind;
    int64_t rows, columns;
} reducing;

static void build_reduction(bd_graph *graph, const bd_tensor *operands, const void *user, bd_tensor *results)
{
    const reducing *r = user;
    switch (r->kind) {
    case COLUMN_SUMS: *results = bd_sum(graph, operands[0], 0, 1, false); break;
    case ROW_MAXIMA: *results = bd_maximum(graph, operands[0], 1, 1, false); break;
    case SOFTMAX: *results = bd_softmax(graph, operands[0]); break;
    default: *results = bd_sum(graph, operands[0], 1, 1, false);
    }
}

static bool right_reduction(const bench_check *check, int64_t i, const void *user)
{
    const reducing *r = user;
    const double *x = check->operands[0];
    const bool down = r->kind == COLUMN_SUMS;
    if (r->kind == SOFTMAX) {
        const bench_softmax s = bench_soften(x + i / r->columns * r->columns, r->columns, 0, check);
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
                           .result_count = 1,
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
