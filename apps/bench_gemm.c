/* The suite gemm: matrix products by the engine's own kernels and by CLBlast, side by side. */
#include "bench_graph.h"
#include <stdlib.h>

typedef struct product {
    int64_t batch, m, n, k;
    bool transpose[2];
} product;

static void build(bd_graph *graph, const bd_tensor *operands, const void *user, bd_tensor *results)
{
    const product *p = user;
    *results = bd_matmul(graph, operands[0], operands[1], p->transpose[0], p->transpose[1]);
}

/* "512x512x512"; with more than one of them, "8x512x512x512". */
static void describe(const product *p, char *text, size_t size)
{
    int length = p->batch > 1 ? snprintf(text, size, "%lldx", (long long)p->batch) : 0;
    snprintf(text + length, size - (size_t)length, "%lldx%lldx%lld", (long long)p->m, (long long)p->n, (long long)p->k);
}

static bd_shape operand(const product *p, int64_t rows, int64_t columns)
{
    return p->batch > 1 ? BD_SHAPE(p->batch, rows, columns) : BD_SHAPE(rows, columns);
}

static bd_status run_one(bench *self, const product *p, const char *orientation, size_t policy_index, bd_gemm gemm,
                         bd_error *error)
{
    static const bd_role roles[] = { BD_ROLE_ACTIVATION_OPERAND, BD_ROLE_WEIGHT_OPERAND };
    const bd_precision *policy = &self->settings.policies[policy_index];
    char sizes[80];
    describe(p, sizes, sizeof sizes);
    bench_row *row = bench_add(self, BENCH_GEMM, gemm == BD_GEMM_LIBRARY ? "clblast" : "own", policy->name, error,
                               "matmul %s %s", orientation, sizes);
    if (!row)
        return BD_ERROR_MEMORY;
    row->unit = BENCH_GFLOPS;
    row->peak = bench_peak_of(self, policy, roles);
    const bench_case c = {
        .operand_count = 2,
        .operands = { p->transpose[0] ? operand(p, p->k, p->m) : operand(p, p->m, p->k),
                      p->transpose[1] ? operand(p, p->n, p->k) : operand(p, p->k, p->n) },
        .roles = roles,
        .result_count = 1,
        .build = build,
        .right = bench_right_contraction,
        .user = p,
        .gemm = gemm,
    };
    bench_run_case(self, row, policy, &c);
    return BD_OK;
}

/* Where there is a CLBlast at all, both are rows, so that what it cannot do is told. */
static bd_status run_both(bench *self, const product *p, const char *orientation, size_t policy, bd_error *error)
{
    bd_status status = run_one(self, p, orientation, policy, BD_GEMM_OWN, error);
    if (!status && !bench_stopped(self) && self->device->target.library_f32)
        status = run_one(self, p, orientation, policy, BD_GEMM_LIBRARY, error);
    return status;
}

static bd_status run_shape(bench *self, const bench_shape *shape, bd_error *error)
{
    static const char *const orientations[] = { "nn", "nt", "tn", "tt" };
    const bench_settings *s = &self->settings;
    bd_status status = BD_OK;
    for (int t = 0; t < 4 && !status; t++) {
        if (!s->transposes[t])
            continue;
        const product p = { shape->size[0], shape->size[1], shape->size[2], shape->size[3], { t >> 1, t & 1 } };
        for (size_t i = 0; i < s->policy_count && !status && !bench_stopped(self); i++)
            if (!bench_repeats(self, i, false))
                status = run_both(self, &p, orientations[t], i, error);
    }
    return status;
}

bd_status bench_gemm(bench *self, bd_error *error)
{
    /* A layer of the MLP, small ones as attention has them, and squares; a CPU takes seconds for the larger ones in
     * FP16. */
    static const bench_shape defaults[] = {
        { { 256, 512, 784 }, 3 },    { { 32, 65, 65, 64 }, 4 },   { { 512, 512, 512 }, 3 },
        { { 1024, 1024, 1024 }, 3 }, { { 2048, 2048, 2048 }, 3 }, { { 4096, 4096, 4096 }, 3 },
    };
    const size_t count = self->device->info.type == BD_DEVICE_CPU ? 3 : sizeof defaults / sizeof *defaults;
    bench_shape *shapes;
    size_t shape_count;
    bd_status status = bench_shapes(self, BENCH_GEMM, defaults, count, &shapes, &shape_count, error);
    for (size_t i = 0; i < shape_count && !status && !bench_stopped(self); i++)
        status = run_shape(self, &shapes[i], error);
    free(shapes);
    return status;
}
