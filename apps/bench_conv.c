/* The suite conv: the three passes of a convolution, over the shapes that networks have. */
#include "bench_graph.h"
#include <stdlib.h>

typedef enum pass { FORWARD, DATA, WEIGHT, PASSES } pass;

typedef struct convolution {
    int64_t n, h, w, ci, co, kernel, stride, pad;
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

static void build(bd_graph *graph, const bd_tensor *operands, const void *user, bd_tensor *results)
{
    const convolution *c = user;
    const bd_window window = { { c->kernel, c->kernel },
                               { c->stride, c->stride },
                               { { c->pad, c->pad }, { c->pad, c->pad } } };
    switch (c->pass) {
    case DATA: *results = bd_conv2d_data(graph, operands[0], operands[1], window, input_shape(c)); break;
    case WEIGHT: *results = bd_conv2d_weight(graph, operands[0], operands[1], window, weight_shape(c)); break;
    default: *results = bd_conv2d(graph, operands[0], operands[1], window);
    }
}

/* ---- the rows ---- */

static bd_status run_one(bench *self, const convolution *c, const bd_precision *policy, bd_error *error)
{
    static const char *const names[] = { "forward", "data", "weight" };
    static const bd_role roles[PASSES][2] = { [FORWARD] = { BD_ROLE_ACTIVATION_OPERAND, BD_ROLE_WEIGHT_OPERAND },
                                              [DATA] = { BD_ROLE_GRADIENT_OPERAND, BD_ROLE_WEIGHT_OPERAND },
                                              [WEIGHT] = { BD_ROLE_ACTIVATION_OPERAND, BD_ROLE_GRADIENT_OPERAND } };
    char stride[24] = "";
    if (c->stride > 1)
        snprintf(stride, sizeof stride, "x%lld", (long long)c->stride);
    bench_row *row = bench_add(self, BENCH_CONV, "own", policy->name, error, "conv %s %lldx%lldx%lldx%lldx%lldx%lld%s",
                               names[c->pass], (long long)c->n, (long long)c->h, (long long)c->w, (long long)c->ci,
                               (long long)c->co, (long long)c->kernel, stride);
    if (!row)
        return BD_ERROR_MEMORY;
    row->unit = BENCH_GFLOPS;
    row->peak = bench_peak_of(self, policy, roles[c->pass]);
    const bench_case work = {
        .operand_count = 2,
        .operands = { c->pass == DATA ? output_shape(c) : input_shape(c),
                      c->pass == WEIGHT ? output_shape(c) : weight_shape(c) },
        .roles = roles[c->pass],
        .result_count = 1,
        .build = build,
        .right = bench_right_contraction,
        .user = c,
        /* The data gradient's kernel also counts the taps that a stride leaves out. */
        .flops = 2.0 * (double)(c->n * c->oh * c->ow * c->co) * (double)(c->kernel * c->kernel * c->ci),
        .gemm = BD_GEMM_OWN,
    };
    bench_run_case(self, row, policy, &work);
    return BD_OK;
}

static bd_status run_shape(bench *self, const bench_shape *shape, bd_error *error)
{
    const int64_t *size = shape->size, kernel = size[5], stride = size[6], pad = (kernel - 1) / 2;
    const int64_t last[] = { size[1] + 2 * pad - kernel, size[2] + 2 * pad - kernel }; /* where the window still fits */
    if (last[0] < 0 || last[1] < 0)
        return BD_OK;
    bd_status status = BD_OK;
    for (int p = 0; p < PASSES; p++) {
        const convolution c = { size[0],
                                size[1],
                                size[2],
                                size[3],
                                size[4],
                                kernel,
                                stride,
                                pad,
                                last[0] / stride + 1,
                                last[1] / stride + 1,
                                (pass)p };
        for (size_t i = 0; i < self->settings.policy_count && !status && !bench_stopped(self); i++)
            if (!bench_repeats(self, i, false))
                status = run_one(self, &c, &self->settings.policies[i], error);
    }
    return status;
}

bd_status bench_conv(bench *self, bd_error *error)
{
    /* LeNet's two, those of a ResNet for small images with one that halves them, and two of VGG. */
    static const bench_shape gpu[] = {
        { { 256, 28, 28, 1, 6, 5 }, 6 },   { { 256, 14, 14, 6, 16, 5 }, 6 },     { { 256, 32, 32, 16, 16, 3 }, 6 },
        { { 256, 16, 16, 32, 32, 3 }, 6 }, { { 256, 8, 8, 64, 64, 3 }, 6 },      { { 256, 32, 32, 64, 64, 3 }, 6 },
        { { 256, 8, 8, 256, 256, 3 }, 6 }, { { 256, 32, 32, 16, 32, 3, 2 }, 7 },
    };
    static const bench_shape cpu[] = {
        { { 64, 28, 28, 1, 6, 5 }, 6 },
        { { 64, 14, 14, 6, 16, 5 }, 6 },
        { { 32, 16, 16, 32, 32, 3 }, 6 },
        { { 32, 16, 16, 16, 32, 3, 2 }, 7 },
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
