/* The suite conv: the three passes of a convolution, over the shapes that networks have. */
#include "app.h"
#include "bench_graph.h"
#include <math.h>
#include <stdlib.h>

typedef enum pass { FORWARD, DATA, WEIGHT, PASSES } pass;

typedef struct convolution {
    int64_t n, h, w, ci, co, kernel, pad;
    int64_t oh, ow;
    pass pass;
} convolution;

static bd_shape input_shape(const convolution *c)
{
    return BD_SHAPE(c->n, c->h, c->w, c->ci);
}

static bd_shape output_shape(const convolution *c)
{
    return BD_SHAPE(c->n, c->oh, c->ow, c->co);
}

static bd_shape weight_shape(const convolution *c)
{
    return BD_SHAPE(c->kernel, c->kernel, c->ci, c->co);
}

static bd_tensor build(bd_graph *graph, const bd_tensor *operands, const void *user)
{
    const convolution *c = user;
    const bd_window window = { { c->kernel, c->kernel }, { 1, 1 }, { { c->pad, c->pad }, { c->pad, c->pad } } };
    switch (c->pass) {
    case DATA: return bd_conv2d_data(graph, operands[0], operands[1], window, input_shape(c));
    case WEIGHT: return bd_conv2d_weight(graph, operands[0], operands[1], window, weight_shape(c));
    default: return bd_conv2d(graph, operands[0], operands[1], window);
    }
}

/* ---- one element in double ---- */

typedef struct sum {
    double value, magnitude;
    int64_t terms;
} sum;

static void add(sum *self, double term)
{
    self->value += term;
    self->magnitude += fabs(term);
    self->terms++;
}

static int64_t at4(int64_t a, int64_t b, int64_t size_b, int64_t c, int64_t size_c, int64_t d, int64_t size_d)
{
    return ((a * size_b + b) * size_c + c) * size_d + d;
}

/* y[n, y, x, o] = sum over taps and i of x[n, y + dy - pad, x + dx - pad, i] w[dy, dx, i, o] */
static sum forward(const convolution *c, const double *x, const double *w, int64_t i)
{
    sum s = { 0 };
    const int64_t o = i % c->co, column = i / c->co % c->ow, row = i / c->co / c->ow % c->oh,
                  image = i / c->co / c->ow / c->oh;
    for (int64_t dy = 0; dy < c->kernel; dy++)
        for (int64_t dx = 0; dx < c->kernel; dx++) {
            const int64_t in_row = row + dy - c->pad, in_column = column + dx - c->pad;
            if (in_row < 0 || in_row >= c->h || in_column < 0 || in_column >= c->w)
                continue;
            for (int64_t k = 0; k < c->ci; k++)
                add(&s, x[at4(image, in_row, c->h, in_column, c->w, k, c->ci)] *
                            w[at4(dy, dx, c->kernel, k, c->ci, o, c->co)]);
        }
    return s;
}

/* dx[n, y, x, i] = sum over taps and o of dy[n, y - dy + pad, x - dx + pad, o] w[dy, dx, i, o] */
static sum data_gradient(const convolution *c, const double *g, const double *w, int64_t i)
{
    sum s = { 0 };
    const int64_t k = i % c->ci, column = i / c->ci % c->w, row = i / c->ci / c->w % c->h,
                  image = i / c->ci / c->w / c->h;
    for (int64_t dy = 0; dy < c->kernel; dy++)
        for (int64_t dx = 0; dx < c->kernel; dx++) {
            const int64_t out_row = row - dy + c->pad, out_column = column - dx + c->pad;
            if (out_row < 0 || out_row >= c->oh || out_column < 0 || out_column >= c->ow)
                continue;
            for (int64_t o = 0; o < c->co; o++)
                add(&s, g[at4(image, out_row, c->oh, out_column, c->ow, o, c->co)] *
                            w[at4(dy, dx, c->kernel, k, c->ci, o, c->co)]);
        }
    return s;
}

/* dw[dy, dx, i, o] = sum over pixels of x[n, y + dy - pad, x + dx - pad, i] dy[n, y, x, o] */
static sum weight_gradient(const convolution *c, const double *x, const double *g, int64_t i)
{
    sum s = { 0 };
    const int64_t o = i % c->co, k = i / c->co % c->ci, dx = i / c->co / c->ci % c->kernel,
                  dy = i / c->co / c->ci / c->kernel;
    for (int64_t image = 0; image < c->n; image++)
        for (int64_t row = 0; row < c->oh; row++)
            for (int64_t column = 0; column < c->ow; column++) {
                const int64_t in_row = row + dy - c->pad, in_column = column + dx - c->pad;
                if (in_row >= 0 && in_row < c->h && in_column >= 0 && in_column < c->w)
                    add(&s, x[at4(image, in_row, c->h, in_column, c->w, k, c->ci)] *
                                g[at4(image, row, c->oh, column, c->ow, o, c->co)]);
            }
    return s;
}

static bool right(const bench_check *check, int64_t i, const void *user)
{
    static sum (*const passes[PASSES])(const convolution *, const double *, const double *,
                                       int64_t) = { forward, data_gradient, weight_gradient };
    const convolution *c = user;
    const sum s = passes[c->pass](c, check->operands[0], check->operands[1], i);
    return bench_within(check->value, check->result[i], s.value,
                        bench_gamma(s.terms, check->accumulator) * s.magnitude);
}

/* ---- the rows ---- */

static bd_status run_one(bench *self, const convolution *c, const bd_precision *policy, bd_error *error)
{
    static const char *const names[] = { "forward", "data", "weight" };
    bench_row *row = bench_add(self, BENCH_CONV, "own", policy->name, error, "conv %s %lldx%lldx%lldx%lldx%lldx%lld",
                               names[c->pass], (long long)c->n, (long long)c->h, (long long)c->w, (long long)c->ci,
                               (long long)c->co, (long long)c->kernel);
    if (!row)
        return BD_ERROR_MEMORY;
    row->unit = BENCH_GFLOPS;
    row->peak = bench_peak_of(self, policy);
    const bench_case work = {
        .operand_count = 2,
        .operands = { c->pass == DATA ? output_shape(c) : input_shape(c),
                      c->pass == WEIGHT ? output_shape(c) : weight_shape(c) },
        .build = build,
        .right = right,
        .user = c,
        .gemm = BD_GEMM_OWN,
    };
    bench_run_case(self, row, policy, &work);
    return BD_OK;
}

static bd_status run_shape(bench *self, const bench_shape *shape, bd_error *error)
{
    const int64_t *size = shape->size, kernel = size[5], pad = (kernel - 1) / 2;
    const int64_t grown = 2 * pad - kernel + 1; /* -1 for an even kernel */
    if (size[1] + grown < 1 || size[2] + grown < 1)
        return BD_OK;
    bd_status status = BD_OK;
    for (int p = 0; p < PASSES; p++) {
        const convolution c = { size[0], size[1], size[2],         size[3],         size[4],
                                kernel,  pad,     size[1] + grown, size[2] + grown, (pass)p };
        for (size_t i = 0; i < self->settings.policy_count && !status && !bench_stopped(self); i++)
            if (!bench_repeats(self, i, false))
                status = run_one(self, &c, &self->settings.policies[i], error);
    }
    return status;
}

bd_status bench_conv(bench *self, bd_error *error)
{
    /* LeNet's two, those of a ResNet for small images, and two of VGG. */
    static const bench_shape gpu[] = {
        { { 256, 28, 28, 1, 6, 5 }, 6 },   { { 256, 14, 14, 6, 16, 5 }, 6 }, { { 256, 32, 32, 16, 16, 3 }, 6 },
        { { 256, 16, 16, 32, 32, 3 }, 6 }, { { 256, 8, 8, 64, 64, 3 }, 6 },  { { 256, 32, 32, 64, 64, 3 }, 6 },
        { { 256, 8, 8, 256, 256, 3 }, 6 },
    };
    static const bench_shape cpu[] = {
        { { 64, 28, 28, 1, 6, 5 }, 6 },
        { { 64, 14, 14, 6, 16, 5 }, 6 },
        { { 32, 16, 16, 32, 32, 3 }, 6 },
    };
    const bool is_cpu = self->device->info.type == BD_DEVICE_CPU;
    bench_shape *shapes;
    size_t count;
    bd_status status =
        bench_shapes(self, BENCH_CONV, is_cpu ? cpu : gpu, is_cpu ? sizeof cpu / sizeof *cpu : sizeof gpu / sizeof *gpu,
                     &shapes, &count, error);
    for (size_t i = 0; i < count && !status && !bench_stopped(self); i++)
        status = run_shape(self, &shapes[i], error);
    free(shapes);
    return status;
}
