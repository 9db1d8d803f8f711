/* How fast the kernels are, and what the device supports. Nothing here passes or fails by a time. */
#include "../engine/control.h"
#include "../engine/tally.h"
#include "kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Clocks of a GPU that idled need a while to rise. */
static const double warm_up_seconds = 0.2, measured_seconds = 0.3;

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Runs for at least `least` seconds; seconds a run go to `each`. */
static bd_status run_for(bd_program *program, double least, double *each, bd_error *error)
{
    uint32_t batch = 1;
    for (;;) {
        double begun = seconds();
        bd_status status = bd_program_run(program, batch, error);
        if (status == BD_OK)
            status = bd_program_finish(program, error);
        double took = seconds() - begun;
        if (status != BD_OK || took >= least || batch >= 1u << 20) {
            *each = took / batch;
            return status;
        }
        batch *= 2;
    }
}

/* Kernel time by the device's clock where it has one, else by the wall. */
static bd_status measure(device_run *run, double *each, bool *by_device, bd_error *error)
{
    double wall;
    bd_status status = run_for(run->program, warm_up_seconds, &wall, error);
    if (status == BD_OK)
        status = run_for(run->program, measured_seconds, each, error);
    int kernels = bd_program_plan(run->program)->kernel_count;
    uint64_t *nanoseconds = test_allocate(kernels, sizeof *nanoseconds);
    *by_device = status == BD_OK && bd_program_profile(run->program, nanoseconds, NULL) == BD_OK;
    if (*by_device) {
        *each = 0;
        for (int i = 0; i < kernels; i++)
            *each += 1e-9 * (double)nanoseconds[i];
    }
    free(nanoseconds);
    return status;
}

typedef bd_tensor (*bench_function)(bd_graph *g, const int64_t *size);

static bd_tensor source(bd_graph *g, const char *name, bd_shape shape)
{
    bd_init init = { BD_INIT_UNIFORM, 1 };
    return bd_variable(g, name, BD_ROLE_ACTIVATION, BD_F32, shape, init);
}

static bd_tensor bench_chain(bd_graph *g, const int64_t *size)
{
    bd_tensor a = source(g, "/a", BD_SHAPE(size[0])), b = source(g, "/b", BD_SHAPE(size[0]));
    return bd_relu(g, bd_add(g, bd_mul(g, a, b), a));
}

static bd_tensor bench_rows(bd_graph *g, const int64_t *size)
{
    return bd_sum(g, source(g, "/x", BD_SHAPE(size[0], size[1])), 1, 1, false);
}

static bd_tensor bench_columns(bd_graph *g, const int64_t *size)
{
    return bd_sum(g, source(g, "/x", BD_SHAPE(size[0], size[1])), 0, 1, false);
}

/* What a step that measures adds to a layer, beside its result in F32. */
static bd_tensor bench_tally(bd_graph *g, const int64_t *size)
{
    const bd_init init = { BD_INIT_UNIFORM, 1 };
    bd_tensor before = bd_variable(g, "/before", BD_ROLE_FIXED, BD_F32, BD_SHAPE(size[0]), init);
    return bd_tally(g, before, source(g, "/after", BD_SHAPE(size[0])));
}

static bd_tensor bench_softmax(bd_graph *g, const int64_t *size)
{
    return bd_softmax(g, source(g, "/x", BD_SHAPE(size[0], size[1])));
}

static bd_tensor bench_matmul(bd_graph *g, const int64_t *size)
{
    return bd_matmul(g, source(g, "/a", BD_SHAPE(size[0], size[2])), source(g, "/b", BD_SHAPE(size[2], size[1])), false,
                     false);
}

static const bd_window same3 = { { 3, 3 }, { 1, 1 }, { { 1, 1 }, { 1, 1 } } };

static bd_tensor bench_conv(bd_graph *g, const int64_t *size)
{
    bd_tensor x = source(g, "/x", BD_SHAPE(size[0], size[1], size[1], size[2]));
    return bd_conv2d(g, x, source(g, "/w", BD_SHAPE(3, 3, size[2], size[3])), same3);
}

static bd_tensor bench_conv_data(bd_graph *g, const int64_t *size)
{
    bd_tensor dy = source(g, "/dy", BD_SHAPE(size[0], size[1], size[1], size[3]));
    return bd_conv2d_data(g, dy, source(g, "/w", BD_SHAPE(3, 3, size[2], size[3])), same3,
                          BD_SHAPE(size[0], size[1], size[1], size[2]));
}

static bd_tensor bench_conv_weight(bd_graph *g, const int64_t *size)
{
    bd_tensor x = source(g, "/x", BD_SHAPE(size[0], size[1], size[1], size[2]));
    return bd_conv2d_weight(g, x, source(g, "/dy", BD_SHAPE(size[0], size[1], size[1], size[3])), same3,
                            BD_SHAPE(3, 3, size[2], size[3]));
}

static bd_tensor bench_pool(bd_graph *g, const int64_t *size)
{
    const bd_window window = { { 2, 2 }, { 2, 2 }, { { 0 } } };
    return bd_max_pool(g, source(g, "/x", BD_SHAPE(size[0], size[1], size[1], size[2])), window);
}

/* Sequences, tokens, heads, numbers of a head. */
static bd_tensor bench_attention(bd_graph *g, const int64_t *size)
{
    return bd_self_attention(g, source(g, "/qkv", BD_SHAPE(size[0], size[1], 3 * size[2] * size[3])), size[2], false, 0,
                             false);
}

static bd_tensor bench_attention_causal(bd_graph *g, const int64_t *size)
{
    return bd_self_attention(g, source(g, "/qkv", BD_SHAPE(size[0], size[1], 3 * size[2] * size[3])), size[2], true, 0,
                             false);
}

static bd_tensor with_control(bd_graph *g, bd_tensor x)
{
    bd_variable(g, "/control", BD_ROLE_FIXED, BD_U32, BD_SHAPE(BD_CONTROL_BYTES / 4), (bd_init){ BD_INIT_CONSTANT, 0 });
    return x;
}

static bd_tensor bench_attention_dropout(bd_graph *g, const int64_t *size)
{
    const bd_tensor qkv = source(g, "/qkv", BD_SHAPE(size[0], size[1], 3 * size[2] * size[3]));
    return bd_self_attention(g, with_control(g, qkv), size[2], true, 0.2f, true);
}

static bd_tensor attention_grad(bd_graph *g, const int64_t *size, bd_attention_attr attr)
{
    const bd_shape result = BD_SHAPE(size[0], size[1], size[2] * size[3]);
    const bd_tensor qkv = source(g, "/qkv", BD_SHAPE(size[0], size[1], 3 * size[2] * size[3]));
    const bd_tensor sum = bd_variable(g, "/sum", BD_ROLE_FIXED, BD_F32, BD_SHAPE(size[0], size[2], size[1]),
                                      (bd_init){ BD_INIT_CONSTANT, (float)log((double)size[1]) });
    return bd_attention_grad(g, qkv, source(g, "/y", result), sum, source(g, "/dy", result), &attr);
}

static bd_tensor bench_attention_grad(bd_graph *g, const int64_t *size)
{
    return attention_grad(g, size, (bd_attention_attr){ .heads = size[2] });
}

static bd_tensor bench_attention_grad_causal(bd_graph *g, const int64_t *size)
{
    return attention_grad(g, size, (bd_attention_attr){ .heads = size[2], .causal = true });
}

static bd_tensor bench_attention_grad_dropout(bd_graph *g, const int64_t *size)
{
    const bd_attention_attr attr = { .heads = size[2], .causal = true, .dropout = 0.2f };
    return with_control(g, attention_grad(g, size, attr));
}

static const struct {
    const char *name;
    bd_tile_kind kind;
} tile_kinds[] = { { "group", BD_TILE_GROUP },         { "matrix", BD_TILE_MATRIX },
                   { "warpgroup", BD_TILE_WARPGROUP }, { "matrix2", BD_TILE_MATRIX2 },
                   { "resident", BD_TILE_RESIDENT },   { "warpgroup8", BD_TILE_WARPGROUP8 },
                   { "matrix8", BD_TILE_MATRIX8 } };
enum { TILE_KINDS = sizeof tile_kinds / sizeof *tile_kinds };

bool read_tile(const char *text, bd_tile *tile)
{
    char kind[16];
    const int read = sscanf(text, "%15[^:]:%ux%ux%u:%ux%u:%u", kind, &tile->m, &tile->n, &tile->k, &tile->item_m,
                            &tile->item_n, &tile->slices);
    if (read < 6)
        return false;
    for (int i = 0; i < TILE_KINDS; i++)
        if (strcmp(tile_kinds[i].name, kind) == 0) {
            tile->kind = tile_kinds[i].kind;
            if (tile->kind == BD_TILE_GROUP && read == 6)
                tile->slices = 1;
            return tile->m && tile->n && tile->k && tile->item_m && tile->item_n;
        }
    return false;
}

static void print_tiles(const bd_plan *plan)
{
    for (int k = 0; k < plan->kernel_count; k++) {
        const bd_tile *t = &plan->kernels[k].tile;
        const bool tiled =
            plan->kernels[k].class == BD_KERNEL_CONTRACTION || plan->kernels[k].class == BD_KERNEL_ATTENTION;
        for (int i = 0; i < TILE_KINDS && tiled; i++)
            if (tile_kinds[i].kind == t->kind)
                printf(t->slices > 1 ? " %s:%ux%ux%u:%ux%u:%u" : " %s:%ux%ux%u:%ux%u", tile_kinds[i].name, t->m, t->n,
                       t->k, t->item_m, t->item_n, t->slices);
    }
}

typedef struct benchmark {
    const char *name;
    bench_function build;
    int64_t size[4];
    bool large; /* minutes on a CPU */
} benchmark;

static bd_status run_benchmark(session *s, const benchmark *b, const char *policy, bd_error *error)
{
    bd_graph *graph;
    bd_precision precision;
    device_run run = { 0 };
    bd_status status = bd_graph_create(&graph, error);
    if (status != BD_OK)
        return status;
    bd_tensor value = b->build(graph, b->size);
    if (value != BD_NONE) {
        bd_init zeros = { BD_INIT_CONSTANT, 0 };
        bd_assign(graph,
                  bd_variable(graph, "/result", BD_ROLE_ACTIVATION, BD_F32, bd_tensor_shape(graph, value), zeros),
                  value);
    }
    double each;
    bool by_device;
    const double begun = seconds();
    if ((status = bd_graph_status(graph, error)) == BD_OK &&
        (status = bd_precision_parse(policy, &precision, error)) == BD_OK &&
        (status = bd_graph_apply_precision(graph, &precision, error)) == BD_OK &&
        (status = device_run_create(s, graph, &run, error)) == BD_OK) {
        printf("%-34s %-12s made in %.2f s,", b->name, policy, seconds() - begun);
        print_tiles(bd_program_plan(run.program));
        printf("\n");
        status = measure(&run, &each, &by_device, error);
    }
    if (status == BD_OK) {
        const bd_plan *plan = bd_program_plan(run.program);
        printf("%-34s %-12s %10.4f ms %s %10.1f GFLOP/s %9.2f GB/s\n", b->name, policy, 1e3 * each,
               by_device ? "kernel" : "wall  ", 1e-9 * (double)plan->flops / each, 1e-9 * (double)plan->bytes / each);
        fflush(stdout);
    }
    device_run_destroy(&run);
    bd_graph_destroy(&graph);
    return status;
}

bool run_benchmarks(session *s)
{
    static const benchmark benchmarks[] = {
        { "chain 4194304", bench_chain, { 4194304 }, false },
        { "row sums 4096x1024", bench_rows, { 4096, 1024 }, false },
        { "column sums 4096x1024", bench_columns, { 4096, 1024 }, false },
        { "tally 4194304", bench_tally, { 4194304 }, false },
        { "softmax 4096x1024", bench_softmax, { 4096, 1024 }, false },
        { "softmax 65536x10", bench_softmax, { 65536, 10 }, false },
        { "matmul 256x512x784", bench_matmul, { 256, 512, 784 }, false },
        { "matmul 512x512x512", bench_matmul, { 512, 512, 512 }, false },
        { "matmul 1024x1024x1024", bench_matmul, { 1024, 1024, 1024 }, false },
        { "matmul 4096x4096x4096", bench_matmul, { 4096, 4096, 4096 }, true },
        { "conv 3x3, 64x16x16x32 to 32", bench_conv, { 64, 16, 32, 32 }, false },
        { "conv 3x3 data", bench_conv_data, { 64, 16, 32, 32 }, false },
        { "conv 3x3 weight", bench_conv_weight, { 64, 16, 32, 32 }, false },
        { "conv 3x3, 256x32x32x64 to 64", bench_conv, { 256, 32, 64, 64 }, true },
        { "conv 3x3 data, 256x32x32x64", bench_conv_data, { 256, 32, 64, 64 }, true },
        { "conv 3x3 weight, 256x32x32x64", bench_conv_weight, { 256, 32, 64, 64 }, true },
        { "conv 3x3, 256x8x8x256 to 256", bench_conv, { 256, 8, 256, 256 }, true },
        { "conv 3x3 data, 256x8x8x256", bench_conv_data, { 256, 8, 256, 256 }, true },
        { "conv 3x3 weight, 256x8x8x256", bench_conv_weight, { 256, 8, 256, 256 }, true },
        { "conv 3x3, 256x32x32x16 to 16", bench_conv, { 256, 32, 16, 16 }, true },
        { "conv 3x3 data, 256x32x32x16", bench_conv_data, { 256, 32, 16, 16 }, true },
        { "conv 3x3 weight, 256x32x32x16", bench_conv_weight, { 256, 32, 16, 16 }, true },
        { "conv 3x3, 256x16x16x32 to 32", bench_conv, { 256, 16, 32, 32 }, true },
        { "conv 3x3 data, 256x16x16x32", bench_conv_data, { 256, 16, 32, 32 }, true },
        { "conv 3x3 weight, 256x16x16x32", bench_conv_weight, { 256, 16, 32, 32 }, true },
        { "conv 3x3, 256x8x8x64 to 64", bench_conv, { 256, 8, 64, 64 }, true },
        { "conv 3x3 data, 256x8x8x64", bench_conv_data, { 256, 8, 64, 64 }, true },
        { "conv 3x3 weight, 256x8x8x64", bench_conv_weight, { 256, 8, 64, 64 }, true },
        { "max pool 64x32x32x32", bench_pool, { 64, 32, 32 }, false },
        { "attention 4x64, 2x32", bench_attention, { 4, 64, 2, 32 }, false },
        { "attention 4x64, 2x32 backward", bench_attention_grad, { 4, 64, 2, 32 }, false },
        { "attention of ViT, 256x25, 4x64", bench_attention, { 256, 25, 4, 64 }, true },
        { "attention of ViT, backward", bench_attention_grad, { 256, 25, 4, 64 }, true },
        { "attention of GPT, 64x256, 6x64", bench_attention_causal, { 64, 256, 6, 64 }, true },
        { "attention of GPT, backward", bench_attention_grad_causal, { 64, 256, 6, 64 }, true },
        { "attention of GPT, dropout", bench_attention_dropout, { 64, 256, 6, 64 }, true },
        { "attention of GPT, dropout, backward", bench_attention_grad_dropout, { 64, 256, 6, 64 }, true },
    };
    static const char *const policies[] = { "fp32", "fp16", "fp16-strict" };
    bool good = true;
    printf("%s: %s, %s\n", s->info->id, s->info->name, s->info->driver);
    for (size_t i = 0; i < sizeof benchmarks / sizeof benchmarks[0]; i++) {
        if (s->info->type == BD_DEVICE_CPU && benchmarks[i].large)
            continue;
        for (int p = 0; p < 3; p++) {
            bd_error error;
            char name[96];
            snprintf(name, sizeof name, "%s (%s)", benchmarks[i].name, policies[p]);
            if (!session_wants(s, name))
                continue;
            if (run_benchmark(s, &benchmarks[i], policies[p], &error) == BD_OK)
                continue;
            printf("%-34s %-12s failed: %s\n", benchmarks[i].name, policies[p], error.message);
            good = false;
        }
    }
    return good;
}

/* ---- support ---- */

static const char *yes(bool is)
{
    return is ? "yes" : "no";
}

void print_support(session *s)
{
    static const char *const roundings[] = { "unknown", "nearest even", "toward zero", "other" };
    const bd_device_info *info = s->info;
    const bd_limits *limits = &info->limits;
    const bd_target *target = &s->device->target;
    printf("%s: %s, %s\n", info->id, info->name, info->driver);
    printf("formats               f32, f16, and u8 and u32 for data\n");
    printf("half storage          %s\n", yes(info->half.storage));
    printf("half arithmetic       %s, exact: %s\n", yes(info->half.arithmetic), yes(info->half.arithmetic_exact));
    printf("half conversion       %s, exact: %s\n", roundings[info->half.rounding], yes(info->half.conversion_exact));
    printf("subnormals            half: %s, float: %s\n", yes(info->half.subnormals), yes(info->half.subnormals_f32));
    printf("matrix units          %s\n", info->matrix_units[0] ? info->matrix_units : "none");
    for (uint32_t i = 0; i < target->joined.grain_count; i++) {
        const bd_matrix_grain *grain = &target->joined.grains[i];
        printf("%-21s %ux%ux%u for %u items\n", i ? "" : "joined, in steps of", grain->m, grain->n, grain->k,
               grain->items);
    }
    if (target->joined.grain_count)
        printf("joined, at most       %u, %u bytes shared, %s, %s\n", target->joined.most, target->joined.shared_bytes,
               target->joined.workgroup ? "over a work-group" : "over a subgroup",
               target->joined.tensors ? "from tensors" : "from panels");
    printf("matrix library        f32: %s, f16: %s\n", yes(target->library_f32), yes(target->library_f16));
    printf("kernels               %s\n", target->is_cpu ? "for a CPU" : "for a GPU");
    printf("binding, at most      %llu bytes, %u in a kernel\n", (unsigned long long)limits->max_binding_bytes,
           limits->max_bindings);
    printf("work-group, at most   %u items, %u bytes shared\n", limits->max_workgroup_items, limits->shared_bytes);
}
