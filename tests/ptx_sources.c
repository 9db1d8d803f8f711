/* ptx_sources FOLDER: writes the OpenCL C of contractions and of attention by NVIDIA's tensor cores, and of sums by the
 * last work-group, into the folder, a file each, for test_ptx.py to compile: every format that reaches them in another
 * way, every turn of the operands, convolutions, and sizes that are not whole. */
#include "engine/columns.h"
#include "engine/control.h"
#include "engine/kernel.h"
#include "engine/tile.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct source_case {
    const char *name;
    bd_format a, b;
    bd_op op;
    bool transpose_a, transpose_b;
    int64_t size;     /* of every dimension that may be odd */
    bool moved;       /* A's whole numbers are moved up to begin with 0 */
    bool columns;     /* whose means and deviations are taken by the kernel, too */
    int64_t channels; /* of a convolution's images, if not the size */
} source_case;

static bd_tensor contraction(bd_graph *graph, const source_case *c)
{
    const bd_init zero = { BD_INIT_CONSTANT, 0 };
    const bd_window window = { { 3, 3 }, { 1, 1 }, { { 1, 1 }, { 1, 1 } } };
    const int64_t images = c->columns ? 1024 : 4, channels = c->channels ? c->channels : c->size;
    const bd_shape image = BD_SHAPE(images, 8, 8, channels), taps = BD_SHAPE(3, 3, channels, c->size);
    const bd_shape result = BD_SHAPE(images, 8, 8, c->size);
    const bool matmul = c->op == BD_OP_MATMUL;
    const bd_shape square = BD_SHAPE(c->size, c->size);
    bd_tensor a = bd_variable(graph, "/a", BD_ROLE_FIXED, c->a, matmul ? square : image, zero);
    const bd_tensor b = bd_variable(graph, "/b", BD_ROLE_FIXED, c->b,
                                    matmul                         ? square
                                    : c->op == BD_OP_CONV2D_WEIGHT ? result
                                                                   : taps,
                                    zero);
    if (c->moved) {
        const double shift = bd_format_describe(c->a).largest + 1;
        a = bd_add(graph, a, bd_constant(graph, bd_tensor_shape(graph, a), shift));
        graph->nodes[a].recompute = true;
    }
    switch (c->op) {
    case BD_OP_CONV2D: return bd_conv2d(graph, a, b, window);
    case BD_OP_CONV2D_DATA: return bd_conv2d_data(graph, a, b, window, image);
    case BD_OP_CONV2D_WEIGHT: return bd_conv2d_weight(graph, a, b, window, taps);
    default: return bd_matmul(graph, a, b, c->transpose_a, c->transpose_b);
    }
}

/* Ends what was begun for a source, which is NULL after an error; frees it. */
static bd_status write_file(const char *folder, const char *name, const char *kind, char *source, const char *message)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s-%s.cl", folder, name, kind);
    FILE *file = source ? fopen(path, "w") : NULL;
    const bool written = file && fputs(source, file) >= 0 && fclose(file) == 0;
    if (!written)
        fprintf(stderr, "ptx_sources: %s: %s\n", path, source ? "not written" : message);
    free(source);
    return written ? BD_OK : BD_ERROR_FILE;
}

static bd_status write_source(const char *folder, const source_case *c, bd_tile tile, const bd_target *target)
{
    bd_graph *graph;
    bd_plan *plan = NULL;
    bd_error error = { 0 };
    char *source = NULL;
    bd_status status = bd_graph_create(&graph, &error);
    if (status != BD_OK)
        return status;
    bd_set_role(graph, BD_ROLE_FIXED);
    const bd_tensor y = contraction(graph, c);
    const bool resident = tile.kind == BD_TILE_RESIDENT;
    const bool codes = tile.kind == BD_TILE_MATRIX8 || tile.kind == BD_TILE_WARPGROUP8;
    bd_resident found;
    if (resident && !(bd_resident_complete(graph, y, &tile) && bd_resident_of(graph, y, NULL, &tile, target, &found))) {
        bd_graph_destroy(&graph);
        return BD_OK;
    }
    graph->nodes[y].unit_sums = true;
    bd_assign(graph, bd_variable(graph, "/y", BD_ROLE_FIXED, BD_F32, bd_tensor_shape(graph, y), (bd_init){ 0 }), y);
    for (int i = 0; i < 2 && c->columns; i++)
        bd_assign(
            graph,
            bd_variable(graph, i ? "/deviations" : "/mean", BD_ROLE_FIXED, BD_F32, BD_SHAPE(c->size), (bd_init){ 0 }),
            i ? bd_deviations(graph, y, 0, 3, false) : bd_mean(graph, y, 0, 3, false));
    status = bd_plan_create(graph, target, NULL, &plan, &error);
    for (int k = 0; status == BD_OK && k < plan->kernel_count; k++) {
        bd_kernel *kernel = &plan->kernels[k];
        if (kernel->class != BD_KERNEL_CONTRACTION ||
            (codes && !bd_multiplies_codes(plan->graph, kernel->anchor, kernel, &target->matrix.codes)))
            continue;
        if (bd_kernel_sums_columns(kernel) != c->columns) {
            status = bd_fail(&error, BD_ERROR_DATA, "its columns are summed, or are not, against expectation");
            break;
        }
        kernel->tile = tile;
        bd_group_launch(plan, kernel, target);
        status = bd_kernel_source(plan, kernel, target, BD_DIALECT_OPENCL, &source, &error);
    }
    if (source || status != BD_OK || !codes) {
        const char *const kind = tile.kind == BD_TILE_MATRIX      ? "mma"
                                 : tile.kind == BD_TILE_WARPGROUP ? "wgmma"
                                 : tile.kind == BD_TILE_RESIDENT  ? "resident"
                                 : tile.kind == BD_TILE_MATRIX8   ? "mma8"
                                                                  : "wgmma8";
        status = write_file(folder, c->name, kind, source, error.message);
    }
    bd_plan_destroy(&plan);
    bd_graph_destroy(&graph);
    return status;
}

typedef struct attention_case {
    const char *name;
    bd_format format;
    int64_t tokens, depth;
    bool causal;
    float dropout;
} attention_case;

/* Forward with the rows' sums, and backward. */
static bd_status write_attention(const char *folder, const attention_case *c, const bd_target *target)
{
    enum { HEADS = 3 };
    const bd_init zero = { BD_INIT_CONSTANT, 0 };
    const int64_t width = HEADS * c->depth;
    bd_graph *graph;
    bd_plan *plan = NULL;
    bd_error error = { 0 };
    bd_status status = bd_graph_create(&graph, &error);
    if (status != BD_OK)
        return status;
    bd_set_role(graph, BD_ROLE_FIXED);
    const bd_tensor qkv = bd_variable(graph, "/qkv", BD_ROLE_FIXED, c->format, BD_SHAPE(2, c->tokens, 3 * width), zero);
    const bd_tensor dy = bd_variable(graph, "/dy", BD_ROLE_FIXED, c->format, BD_SHAPE(2, c->tokens, width), zero);
    bd_variable(graph, "/control", BD_ROLE_FIXED, BD_U32, BD_SHAPE(BD_CONTROL_BYTES / 4), zero);
    const bd_tensor y = bd_self_attention(graph, qkv, HEADS, c->causal, c->dropout, true);
    bd_tensor gradient = BD_NONE;
    status = bd_gradient(graph, y, dy, &qkv, 1, &gradient, &error);
    if (status == BD_OK) {
        graph->nodes[y].format = graph->nodes[gradient].format = c->format;
        const bd_shape shape = bd_tensor_shape(graph, qkv);
        bd_assign(graph, bd_variable(graph, "/dqkv", BD_ROLE_FIXED, c->format, shape, zero), gradient);
        graph->nodes[graph->node_count - 1].format = c->format;
        status = bd_plan_create(graph, target, NULL, &plan, &error);
    }
    for (int k = 0; status == BD_OK && k < plan->kernel_count; k++) {
        const bd_kernel *kernel = &plan->kernels[k];
        char *source = NULL;
        if (kernel->class != BD_KERNEL_ATTENTION)
            continue;
        bd_kernel_source(plan, kernel, target, BD_DIALECT_OPENCL, &source, &error);
        const bool backward = plan->graph->nodes[kernel->anchor].op == BD_OP_ATTENTION_GRAD;
        status = write_file(folder, c->name, backward ? "backward" : "forward", source, error.message);
    }
    bd_plan_destroy(&plan);
    bd_graph_destroy(&graph);
    return status;
}

/* Kernels whose last work-group adds up parts: the moments of columns, and a product of long sums with a tile. */
static bd_status write_sums(const char *folder, const bd_tile *tile, const bd_target *target)
{
    const bd_init zero = { BD_INIT_CONSTANT, 0 };
    const bool product = tile != NULL;
    bd_target counting = *target;
    bd_graph *graph;
    bd_plan *plan = NULL;
    bd_error error = { 0 };
    char *source = NULL;
    counting.last_group = true;
    bd_status status = bd_graph_create(&graph, &error);
    if (status != BD_OK)
        return status;
    bd_set_role(graph, BD_ROLE_FIXED);
    const bd_shape rows = product ? BD_SHAPE(256, 2048) : BD_SHAPE(65536, 64), columns = BD_SHAPE(2048, 64);
    const bd_tensor x = bd_variable(graph, "/x", BD_ROLE_FIXED, BD_F16, rows, zero);
    const bd_tensor y = bd_variable(graph, "/y", BD_ROLE_FIXED, BD_F16, columns, zero);
    const bd_tensor results[] = { product ? bd_matmul(graph, x, y, false, false) : bd_mean(graph, x, 0, 1, false),
                                  product ? BD_NONE : bd_deviations(graph, x, 0, 1, false) };
    for (int i = 0; i < (product ? 1 : 2); i++)
        bd_assign(graph,
                  bd_variable(graph, i ? "/second" : "/first", BD_ROLE_FIXED, BD_F32,
                              bd_tensor_shape(graph, results[i]), zero),
                  results[i]);
    status = bd_plan_create(graph, &counting, NULL, &plan, &error);
    for (int k = 0; status == BD_OK && k < plan->kernel_count; k++) {
        bd_kernel *kernel = &plan->kernels[k];
        if (!kernel->last.node_count)
            continue;
        if (product) {
            kernel->tile = *tile;
            bd_group_launch(plan, kernel, &counting);
        }
        status = bd_kernel_source(plan, kernel, &counting, BD_DIALECT_OPENCL, &source, &error);
    }
    status = write_file(folder, product ? "sums-product" : "sums-moments",
                        !product                          ? "columns"
                        : tile->kind == BD_TILE_WARPGROUP ? "wgmma"
                                                          : "mma",
                        source, error.message);
    bd_plan_destroy(&plan);
    bd_graph_destroy(&graph);
    return status;
}

int main(int argc, char **argv)
{
    const bd_format e3m2 = bd_format_exmy(3, 2), e4m0 = bd_format_exmy(4, 0), e5m8 = bd_format_exmy(5, 8);
    const source_case cases[] = {
        { "f16", BD_F16, BD_F16, BD_OP_MATMUL, false, false, 512, false, false, 0 },
        { "bf16", BD_BF16, BD_BF16, BD_OP_MATMUL, false, false, 512, false, false, 0 },
        { "bf16-odd", BD_BF16, BD_BF16, BD_OP_MATMUL, false, false, 509, false, false, 0 },
        { "bf16-turned", BD_BF16, BD_BF16, BD_OP_MATMUL, true, true, 512, false, false, 0 },
        { "bf16-conv", BD_BF16, BD_BF16, BD_OP_CONV2D, false, false, 64, false, false, 0 },
        { "f16-conv", BD_F16, BD_F16, BD_OP_CONV2D, false, false, 16, false, false, 0 },
        { "f16-data", BD_F16, BD_F16, BD_OP_CONV2D_DATA, false, false, 32, false, false, 0 },
        { "bf16-weight", BD_BF16, BD_BF16, BD_OP_CONV2D_WEIGHT, false, false, 64, false, false, 0 },
        { "bf16-e5m2", BD_BF16, BD_F8E5M2, BD_OP_MATMUL, false, true, 512, false, false, 0 },
        { "e4m3-e5m2", BD_F8E4M3, BD_F8E5M2, BD_OP_MATMUL, false, false, 512, false, false, 0 },
        { "e4m3-e5m2-odd", BD_F8E4M3, BD_F8E5M2, BD_OP_MATMUL, false, false, 509, false, false, 0 },
        { "e5m2-e4m3-turned", BD_F8E5M2, BD_F8E4M3, BD_OP_MATMUL, true, true, 512, false, false, 0 },
        { "e4m3-f16", BD_F8E4M3, BD_F16, BD_OP_MATMUL, false, true, 512, false, false, 0 },
        { "e4m3-conv", BD_F8E4M3, BD_F8E4M3, BD_OP_CONV2D, false, false, 64, false, false, 0 },
        { "e5m2-e4m3-data", BD_F8E5M2, BD_F8E4M3, BD_OP_CONV2D_DATA, false, false, 64, false, false, 0 },
        { "e4m3-e5m2-weight", BD_F8E4M3, BD_F8E5M2, BD_OP_CONV2D_WEIGHT, false, false, 64, false, false, 0 },
        { "int8", BD_I8, BD_I8, BD_OP_MATMUL, false, false, 512, false, false, 0 },
        { "e4m3-turned", BD_F8E4M3, BD_F8E4M3, BD_OP_MATMUL, false, true, 528, false, false, 0 },
        { "int8-moved", BD_I8, BD_I8, BD_OP_MATMUL, false, true, 528, true, false, 0 },
        { "int4-conv", BD_I4, BD_I4, BD_OP_CONV2D, false, false, 64, true, false, 0 },
        { "e3m2-e4m0", e3m2, e4m0, BD_OP_MATMUL, true, false, 512, false, false, 0 },
        { "e5m8", e5m8, e5m8, BD_OP_MATMUL, false, false, 512, false, false, 0 },
        { "f16-columns", BD_F16, BD_F16, BD_OP_CONV2D, false, false, 64, false, true, 0 },
        { "f16-few", BD_F16, BD_F16, BD_OP_CONV2D, false, false, 64, false, false, 3 },
        { "bf16-few-weight", BD_BF16, BD_BF16, BD_OP_CONV2D_WEIGHT, false, false, 64, false, false, 1 },
    };
    const attention_case attentions[] = {
        { "attention-f16", BD_F16, 256, 64, true, 0 },
        { "attention-f16-deep", BD_F16, 130, 128, false, 0 },
        { "attention-f16-few", BD_F16, 9, 8, true, 0 },
        { "attention-bf16", BD_BF16, 25, 64, false, 0 },
        { "attention-f16-dropout", BD_F16, 256, 64, true, 0.2f },
        { "attention-bf16-dropout", BD_BF16, 130, 128, false, 0.2f },
    };
    const bd_tile tiles[] = {
        { .kind = BD_TILE_MATRIX, .m = 128, .n = 64, .k = 32, .item_m = 32, .item_n = 32 },
        { .kind = BD_TILE_WARPGROUP, .m = 128, .n = 128, .k = 64, .item_m = 16, .item_n = 128 },
        { .kind = BD_TILE_RESIDENT, .m = 128, .n = 16, .k = 16, .item_m = 32, .item_n = 16 },
        { .kind = BD_TILE_RESIDENT, .m = 64, .n = 32, .k = 16, .item_m = 16, .item_n = 32 },
        { .kind = BD_TILE_RESIDENT, .m = 128, .n = 64, .k = 16, .item_m = 32, .item_n = 64 },
        { .kind = BD_TILE_RESIDENT, .n = 16, .k = 128, .item_n = 16, .slices = 8 }, /* a weight gradient's */
        { .kind = BD_TILE_MATRIX8, .m = 128, .n = 128, .k = 128, .item_m = 64, .item_n = 32 },
        { .kind = BD_TILE_WARPGROUP8, .m = 128, .n = 128, .k = 128, .item_m = 16, .item_n = 128 },
    };
    bd_target target;
    bd_target_default(&target);
    target.nvidia = target.vector_types = true;
    target.limits.max_workgroup_items = target.limits.max_workgroup_size[0] = 1024;
    target.limits.compute_units = 132;
    const bd_code_units codes = { true, true, .f8_bits = 13, .m = 16, .n = 16, .k = 32 };
    target.matrix = (bd_matrix_units){
        16, 16, 16, 32, 98304, 197632, 197632, .bf16 = true, .e4m3 = true, .codes = codes, .warpgroup_codes = codes
    };
    if (argc != 2) {
        fprintf(stderr, "usage: ptx_sources FOLDER\n");
        return 2;
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t j = 0; j < sizeof tiles / sizeof *tiles; j++)
            if (write_source(argv[1], &cases[i], tiles[j], &target) != BD_OK)
                return EXIT_FAILURE;
    if (write_sums(argv[1], NULL, &target) != BD_OK || write_sums(argv[1], &tiles[0], &target) != BD_OK ||
        write_sums(argv[1], &tiles[1], &target) != BD_OK)
        return EXIT_FAILURE;
    for (size_t i = 0; i < sizeof attentions / sizeof *attentions; i++)
        if (write_attention(argv[1], &attentions[i], &target) != BD_OK)
            return EXIT_FAILURE;
    return EXIT_SUCCESS;
}
