/* The compiler: how many kernels a step takes, and that memory plans hold what they promise. That fusion changes no bit
 * is in test_train. */
#include "engine/columns.h"
#include "engine/emit.h"
#include "engine/kernel.h"
#include "engine/step.h"
#include "engine/tally.h"
#include "engine/tile.h"
#include "tensor_cores.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- models ---- */

static bd_tensor mlp(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user)
{
    (void)training, (void)user;
    x = bd_flatten(graph, x);
    x = bd_relu(graph, bd_linear(graph, x, 512, true, "fc1"));
    x = bd_relu(graph, bd_linear(graph, x, 512, true, "fc2"));
    return bd_linear(graph, x, classes, true, "fc3");
}

static bd_tensor lenet(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user)
{
    const bd_window same = { { 5, 5 }, { 1, 1 }, { { 2, 2 }, { 2, 2 } } },
                    valid = { { 5, 5 }, { 1, 1 }, { { 0, 0 }, { 0, 0 } } };
    const bd_window pool = { { 2, 2 }, { 2, 2 }, { { 0, 0 }, { 0, 0 } } };
    (void)training, (void)user;
    x = bd_max_pool(graph, bd_relu(graph, bd_conv(graph, x, 6, same, true, "conv1")), pool);
    x = bd_max_pool(graph, bd_relu(graph, bd_conv(graph, x, 16, valid, true, "conv2")), pool);
    x = bd_relu(graph, bd_linear(graph, bd_flatten(graph, x), 120, true, "fc1"));
    x = bd_relu(graph, bd_linear(graph, x, 84, true, "fc2"));
    return bd_linear(graph, x, classes, true, "fc3");
}

/* Everything that fuses in another way: normalisation, dropout, averages, overlapping windows, gelu, tanh. */
static bd_tensor mixture(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user)
{
    const bd_window conv = { { 3, 3 }, { 2, 2 }, { { 1, 1 }, { 0, 1 } } },
                    overlap = { { 3, 3 }, { 2, 2 }, { { 1, 1 }, { 1, 1 } } };
    const bd_window average = { { 2, 2 }, { 1, 1 }, { { 0, 0 }, { 0, 0 } } };
    (void)user;
    x = bd_gelu(graph, bd_batch_norm(graph, bd_conv(graph, x, 5, conv, true, "conv"), training, 0.9f, 1e-5f, "norm"));
    x = bd_avg_pool(graph, bd_max_pool(graph, x, overlap), average);
    x = bd_tanh(graph,
                bd_layer_norm(graph, bd_linear(graph, bd_flatten(graph, x), 19, true, "fc1"), 1e-5f, "layer_norm"));
    x = bd_dropout(graph, x, 0.25f, training);
    return bd_linear(graph, x, classes, true, "fc2");
}

static bd_tensor normalised(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user)
{
    const bd_window window = { { 3, 3 }, { 1, 1 }, { { 1, 1 }, { 1, 1 } } };
    (void)user;
    for (int i = 0; i < 2; i++) {
        static const char *const convs[] = { "conv1", "conv2" }, *const norms[] = { "norm1", "norm2" };
        x = bd_conv(graph, x, 16, window, true, convs[i]);
        x = bd_relu(graph, bd_batch_norm(graph, x, training, 0.9f, 1e-5f, norms[i]));
    }
    return bd_linear(graph, bd_flatten(graph, x), classes, true, "fc");
}

static bd_tensor deep(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user)
{
    (void)training, (void)user;
    x = bd_flatten(graph, x);
    for (int i = 0; i < 24; i++) {
        char name[16];
        snprintf(name, sizeof name, "fc%d", i);
        x = bd_relu(graph, bd_linear(graph, x, 8, true, name));
    }
    return bd_linear(graph, x, classes, true, "last");
}

typedef struct setting {
    bd_dataset dataset;
    bd_train_params params;
    bd_graph *graph;
    bd_layout layout;
} setting;

static void set_up_with(setting *s, bd_model_function model, const void *user, const char *precision, int64_t side,
                        int64_t batch)
{
    bd_error error;
    memset(s, 0, sizeof *s);
    s->dataset = (bd_dataset){
        .name = "made up", .height = side, .width = side, .channels = 1, .classes = 10, .mean = 0.3f, .deviation = 0.35f
    };
    s->dataset.train.count = s->dataset.test.count = 4 * batch;
    bd_train_params_init(&s->params);
    s->params.model = model;
    s->params.model_user = user;
    s->params.model_name = "model";
    s->params.dataset = &s->dataset;
    s->params.batch = batch;
    ck_assert_msg(bd_precision_parse(precision, &s->params.precision, &error) == BD_OK, "%s", error.message);
    const bd_step_source source = { 4 * batch, 4 * batch, 16 };
    ck_assert_msg(bd_step_training(&s->params, &source, &s->graph, &s->layout, &error) == BD_OK, "%s", error.message);
}

static void set_up(setting *s, bd_model_function model, const char *precision, int64_t side, int64_t batch)
{
    set_up_with(s, model, NULL, precision, side, batch);
}

static void tear_down(setting *s)
{
    bd_graph_destroy(&s->graph);
    bd_layout_finish(&s->layout);
}

static bd_plan *plan_for(const setting *s, const bd_target *target, bool fusion)
{
    bd_error error;
    bd_plan *plan;
    const bd_compile_options options = { .no_fusion = !fusion };
    ck_assert_msg(bd_plan_create(s->graph, target, &options, &plan, &error) == BD_OK, "%s", error.message);
    return plan;
}

/* ---- dispatches ---- */

static void check_dispatches(bd_model_function model, int most)
{
    setting s;
    bd_target gpu, cpu;
    bd_target_default(&gpu);
    gpu.limits.compute_units = 132;
    bd_target_default(&cpu);
    cpu.is_cpu = true;
    cpu.limits.compute_units = 2;
    set_up(&s, model, "fp32", 28, 256);
    const bd_target *const targets[] = { &gpu, &cpu };
    for (int i = 0; i < 2; i++) {
        bd_plan *plan = plan_for(&s, targets[i], true);
        ck_assert_int_le(plan->kernel_count, most);
        bd_plan_destroy(&plan);
    }
    tear_down(&s);
}

START_TEST(an_mlp_step_takes_at_most_18_dispatches)
{
    check_dispatches(mlp, 18);
}
END_TEST

START_TEST(a_lenet_step_takes_at_most_32_dispatches)
{
    check_dispatches(lenet, 32);
}
END_TEST

/* ---- memory ---- */

static bool is_written_by(const bd_plan *plan, const bd_kernel *kernel, bd_op op, const char *layer)
{
    return kernel->class == BD_KERNEL_CONTRACTION && plan->graph->nodes[kernel->anchor].op == op &&
           strcmp(bd_node_layer(plan->graph, kernel->anchor), layer) == 0;
}

/* How many kernels load what the contraction stores, of which there is one tensor. */
static int count_loads(const bd_plan *plan, bd_op op, const char *layer)
{
    bd_tensor stored = BD_NONE;
    int loads = 0;
    for (int k = 0; k < plan->kernel_count; k++)
        for (int i = 0; is_written_by(plan, &plan->kernels[k], op, layer) && i < plan->kernels[k].operand_count; i++)
            if (plan->kernels[k].operands[i].written &&
                bd_op_get_info(plan->graph->nodes[plan->kernels[k].operands[i].node].op)->class != BD_CLASS_REDUCTION) {
                ck_assert_int_eq(stored, BD_NONE);
                stored = plan->kernels[k].operands[i].node;
                ck_assert_int_eq(plan->graph->nodes[stored].format, BD_F16);
            }
    ck_assert_int_ne(stored, BD_NONE);
    for (int k = 0; k < plan->kernel_count; k++)
        for (int i = 0; i < plan->kernels[k].operand_count; i++)
            loads += plan->kernels[k].operands[i].node == stored && !plan->kernels[k].operands[i].written;
    return loads;
}

static void avoid_everywhere(bd_target *target, bd_variant variant)
{
    for (int f = 0; f < BD_FORMAT_COUNT; f++)
        for (int a = 0; a < BD_FORMAT_COUNT; a++)
            target->avoid[f][a] |= 1u << variant;
}

/* A convolution's result is loaded for the normalisation, and by each of the two passes backward; the gradient of what
 * follows by those two, unless the first of them is a convolution's. Where columns are not summed by the convolutions,
 * they are loaded for that, too. Neither is stored in more than one form, nor wider than it is. */
START_TEST(normalisation_takes_two_passes_each_way)
{
    static const char *const policies[] = { "fp16", "mixed" };
    const bool avoided = _i / 2 % 2, units = _i / 4;
    setting s;
    bd_target gpu = tensor_cores();
    if (!units)
        bd_target_default(&gpu);
    gpu.limits.compute_units = 132;
    if (avoided)
        avoid_everywhere(&gpu, BD_VARIANT_COLUMN_SUMS);
    set_up(&s, normalised, policies[_i % 2], 16, 256);
    bd_plan *plan = plan_for(&s, &gpu, true);
    ck_assert_int_eq(count_loads(plan, BD_OP_CONV2D, "conv1"), 3 + avoided);
    ck_assert_int_eq(count_loads(plan, BD_OP_CONV2D, "conv2"), 3 + avoided);
    ck_assert_int_eq(count_loads(plan, BD_OP_CONV2D_DATA, "conv2"), 1 + avoided);
    bd_plan_destroy(&plan);
    tear_down(&s);
}
END_TEST

/* Mean, deviations and sum over the rows of relu(a b + bias), where a is m x 32: is it the product's kernel that sums
 * them? Every tile that it may have must be able to. */
START_TEST(columns_are_summed_where_they_are_made)
{
    static const struct {
        int64_t m, n;
        bd_format accumulator;
        bool units, cpu, avoided;
        int reductions;
    } rows[] = {
        { 65536, 64, BD_F32, true, false, false, 3 },
        { 65536, 64, BD_F32, false, false, false, 3 },
        { 65536 + 64, 20, BD_F32, true, false, false, 3 }, /* tiles that are not full */
        { 65536 + 32, 64, BD_F32, true, false, false, 0 }, /* no whole strips */
        { 65536, 62, BD_F32, true, false, false, 0 },      /* nor fours */
        { 256, 512, BD_F32, true, false, false, 0 },       /* short */
        { 64, 64, BD_F32, true, false, false, 0 },         /* one strip: there are no parts */
        { 64, 64, BD_F32, false, true, false, 0 },
        { 65536, 64, BD_F16, false, false, false, 2 }, /* moments are summed in F32 whatever the accumulator */
        { 65536, 64, BD_F32, false, true, false, 0 },
        { 65536, 64, BD_F32, true, false, true, 0 },
    };
    const bd_init zero = { BD_INIT_CONSTANT, 0 };
    const bd_shape shape = BD_SHAPE(rows[_i].m, rows[_i].n);
    bd_target target = tensor_cores();
    if (!rows[_i].units)
        target.matrix = (bd_matrix_units){ 0 };
    target.is_cpu = rows[_i].cpu;
    target.limits.compute_units = 132;
    if (rows[_i].avoided)
        avoid_everywhere(&target, BD_VARIANT_COLUMN_SUMS);
    bd_graph *graph;
    bd_plan *plan;
    bd_error error;
    ck_assert_int_eq(bd_graph_create(&graph, &error), BD_OK);
    bd_set_role(graph, BD_ROLE_FIXED);
    const bd_tensor a = bd_variable(graph, "/a", BD_ROLE_FIXED, BD_F16, BD_SHAPE(rows[_i].m, 32), zero);
    const bd_tensor b = bd_variable(graph, "/b", BD_ROLE_FIXED, BD_F16, BD_SHAPE(32, rows[_i].n), zero);
    const bd_tensor bias = bd_variable(graph, "/bias", BD_ROLE_FIXED, BD_F32, BD_SHAPE(rows[_i].n), zero);
    const bd_tensor product = bd_matmul(graph, a, b, false, false);
    const bd_tensor y = bd_relu(graph, bd_add(graph, product, bd_broadcast(graph, bias, shape)));
    const bd_tensor results[] = { bd_mean(graph, y, 0, 1, false), bd_deviations(graph, y, 0, 1, false),
                                  bd_sum(graph, y, 0, 1, false) };
    graph->nodes[product].accumulator = graph->nodes[results[2]].accumulator = rows[_i].accumulator;
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = { "/mean", "/deviations", "/sum" };
        bd_assign(graph, bd_variable(graph, names[i], BD_ROLE_FIXED, BD_F32, BD_SHAPE(rows[_i].n), zero), results[i]);
    }
    ck_assert_int_eq(bd_plan_create(graph, &target, NULL, &plan, &error), BD_OK);
    int reductions = 0;
    for (int k = 0; k < plan->kernel_count; k++) {
        const bd_kernel *kernel = &plan->kernels[k];
        bd_tile tiles[BD_GROUP_TILES];
        for (int i = 0; kernel->class == BD_KERNEL_CONTRACTION && i < kernel->node_count; i++) {
            const bd_node *node = &plan->graph->nodes[kernel->nodes[i]];
            reductions += kernel->spaces[i] == BD_SPACE_REDUCED;
            ck_assert(kernel->spaces[i] != BD_SPACE_REDUCED || node->chunks * BD_STRIP == rows[_i].m);
        }
        /* A thousand partial results of each column are not for one processor. */
        if (kernel->class == BD_KERNEL_COLUMNS && reductions == 3)
            ck_assert_uint_ge(kernel->groups[0] * kernel->groups[1], (uint32_t)rows[_i].n / 8);
        if (!bd_kernel_sums_columns(kernel))
            continue;
        ck_assert(bd_tile_sums_columns(plan->graph, kernel->anchor, &kernel->tile, &target));
        const int count = bd_group_tiles(plan->graph, kernel->anchor, kernel, &target, tiles);
        for (int i = 0; i < count; i++)
            ck_assert(tiles[i].m % BD_STRIP == 0 && tiles[i].kind != BD_TILE_MATRIX2);
    }
    ck_assert_int_eq(reductions, rows[_i].reductions);
    bd_plan_destroy(&plan);
    bd_graph_destroy(&graph);
}
END_TEST

START_TEST(pure_fp16_needs_at_most_055_of_fp32)
{
    const bd_model_function models[] = { mlp, lenet };
    for (int i = 0; i < 2; i++) {
        uint64_t bytes[2];
        for (int half = 0; half < 2; half++) {
            setting s;
            bd_target target;
            bd_target_default(&target);
            set_up(&s, models[i], half ? "fp16" : "fp32", 28, 256);
            bd_plan *plan = plan_for(&s, &target, true);
            bytes[half] = plan->arena_bytes + plan->pack_bytes + plan->variable_bytes;
            bd_plan_destroy(&plan);
            tear_down(&s);
        }
        ck_assert_msg((double)bytes[1] <= 0.55 * (double)bytes[0], "model %d: %llu of %llu bytes", i,
                      (unsigned long long)bytes[1], (unsigned long long)bytes[0]);
    }
}
END_TEST

/* First kernel that writes and last kernel that touches a stored node; false if it is not in the arena. */
static bool lifetime(const bd_plan *plan, bd_tensor node, int *first, int *last)
{
    *first = plan->kernel_count;
    *last = -1;
    for (int k = 0; k < plan->kernel_count; k++) {
        int operand = bd_kernel_operand(&plan->kernels[k], node);
        if (operand < 0)
            continue;
        *first = k < *first ? k : *first;
        *last = k;
    }
    return plan->storage[node].place == BD_STORAGE_ARENA && *last >= 0;
}

START_TEST(tensors_alive_together_never_overlap)
{
    const bd_model_function models[] = { mlp, lenet, mixture };
    for (int i = 0; i < 3; i++) {
        setting s;
        bd_target target;
        bd_target_default(&target);
        set_up(&s, models[i], i == 2 ? "mixed" : "fp16", 28, 33);
        bd_plan *plan = plan_for(&s, &target, i != 1);
        for (bd_tensor a = 0; a < plan->graph->node_count; a++) {
            int first[2], last[2];
            if (!lifetime(plan, a, &first[0], &last[0]))
                continue;
            const bd_storage *x = &plan->storage[a];
            ck_assert_uint_le(x->offset + x->size, plan->arena_bytes);
            for (bd_tensor b = a + 1; b < plan->graph->node_count; b++) {
                const bd_storage *y = &plan->storage[b];
                const bool packed = plan->graph->nodes[a].op == BD_OP_PACK || plan->graph->nodes[b].op == BD_OP_PACK;
                if (packed || !lifetime(plan, b, &first[1], &last[1]) || first[0] > last[1] || first[1] > last[0])
                    continue;
                ck_assert_msg(x->offset + x->size <= y->offset || y->offset + y->size <= x->offset, "nodes %d and %d",
                              (int)a, (int)b);
            }
        }
        bd_plan_destroy(&plan);
        tear_down(&s);
    }
}
END_TEST

START_TEST(every_kernel_reads_only_what_is_written_before)
{
    setting s;
    bd_target target;
    bd_target_default(&target);
    set_up(&s, mixture, "mixed", 28, 32);
    for (int fusion = 0; fusion < 2; fusion++) {
        bd_plan *plan = plan_for(&s, &target, fusion);
        for (int k = 0; k < plan->kernel_count; k++)
            for (int i = 0; i < plan->kernels[k].operand_count; i++) {
                const bd_operand *operand = &plan->kernels[k].operands[i];
                const bd_node *node = &plan->graph->nodes[operand->node];
                if (operand->written || node->op == BD_OP_VARIABLE)
                    continue;
                for (int part = 0; part < (node->op == BD_OP_PACK ? node->input_count : 1); part++) {
                    bd_tensor source =
                        node->op == BD_OP_PACK ? bd_view_base(plan->graph, node->inputs[part]) : operand->node;
                    ck_assert_int_ge(plan->kernel_of[source], 0);
                    ck_assert_int_lt(plan->kernel_of[source], k);
                }
            }
        bd_plan_destroy(&plan);
    }
    tear_down(&s);
}
END_TEST

/* ---- limits ---- */

/* What a work-group of a tile holds in local memory: both panels twice, lines padded, or, of slices, two rows of each
 * item's sums (contraction_group.cl); of vectors both panels and what waits from panel to panel. */
static uint64_t shared_bytes(const bd_kernel *kernel)
{
    const bd_tile *t = &kernel->tile;
    if (kernel->class != BD_KERNEL_CONTRACTION)
        return (uint64_t)kernel->local[0] * kernel->local[1] * 2 * sizeof(float);
    switch (t->kind) {
    case BD_TILE_GROUP: {
        const uint64_t panels = 2 * (t->m + t->n + 8) * t->k,
                       rows = t->slices > 1 ? 2 * kernel->local[0] * t->item_n : 0;
        return (panels > rows ? panels : rows) * sizeof(float);
    }
    case BD_TILE_VECTOR: return (t->m * (t->k + 8) + t->k * t->n) * sizeof(float);
    default: return 0; /* of convolutions' tiles the drivers see to it: tests/kernels --limit */
    }
}

/* How many contractions of the plan have the text in their OpenCL C. */
static int contractions_with(const bd_plan *plan, const bd_target *target, const char *text)
{
    int count = 0;
    for (int k = 0; k < plan->kernel_count; k++) {
        char *source;
        bd_error error;
        if (plan->kernels[k].class != BD_KERNEL_CONTRACTION)
            continue;
        ck_assert_int_eq(bd_kernel_source(plan, &plan->kernels[k], target, BD_DIALECT_OPENCL, &source, &error), BD_OK);
        count += strstr(source, text) != NULL;
        free(source);
    }
    return count;
}

/* Quantised operands are codes times a scale: matrix units take the codes. Of learned steps the gradients are F32, and
 * so are the products with them; ReLU's results are whole numbers from 0 to 255. */
START_TEST(matrix_units_multiply_codes)
{
    static const struct {
        const char *policy;
        int products;
        const char *load; /* of an operand's codes: E4M3; whole numbers behind a ReLU, of which -128 is 0 */
        int loads;
    } rows[] = { { "fp8,history=4", 8, "A_HALVES(codes, pair) halves_of_f8e4m3", 6 },
                 { "int8-qat", 3,
                   "A_ZERO 0x80808080u\n#define A_HALVES(codes, pair) halves_of_whole(codes, pair, 0x64006400u)", 2 },
                 { "qw=e4m3,qa=e4m3,qg=e5m2", 8, "A_HALVES(codes, pair) halves_of_f8e5m2", 1 },
                 { "qw=bf16,qa=bf16,qg=bf16,operands=delayed", 0, "#define A_CODES 1", 0 } };
    const bd_target target = tensor_cores();
    setting s;
    set_up(&s, mlp, rows[_i].policy, 28, 32);
    bd_plan *plan = plan_for(&s, &target, true);
    int products = 0;
    for (bd_tensor t = 0; t < plan->graph->node_count; t++)
        products += plan->graph->nodes[t].op == BD_OP_MATMUL && bd_matrix_format(plan->graph, t, &target) == BD_F16;
    ck_assert_int_eq(products, rows[_i].products);
    ck_assert_int_eq(contractions_with(plan, &target, rows[_i].load), rows[_i].loads);
    /* Codes are stored, and not rounded again by each tile that loads them. */
    for (int k = 0; k < plan->kernel_count; k++) {
        const bd_kernel *kernel = &plan->kernels[k];
        for (int i = 0; i < kernel->node_count && kernel->class == BD_KERNEL_CONTRACTION; i++)
            ck_assert(kernel->spaces[i] != BD_SPACE_OPERAND ||
                      bd_matrix_format(plan->graph, kernel->anchor, &target) == BD_F32);
    }
    bd_plan_destroy(&plan);
    tear_down(&s);
}
END_TEST

/* Units of 8 bits, where a policy takes their sums of floats: of the MLP's three layers the last has ten columns, which
 * are no whole pieces; of whole numbers there are the forward products only. */
START_TEST(units_of_8_bits_multiply_codes)
{
    static const struct {
        const char *policy;
        int products;
        const char *product; /* of one of them */
    } rows[] = { { "fp8-native,history=4", 5, ".f32.e5m2.e4m3 {" },
                 { "fp8,history=4", 0, NULL },
                 { "int8-qat", 2, ".s32.u8.s8 {" },
                 { "fp8-native,operands=plain", 5, ".f32.e4m3.e5m2 {" } };
    bd_target target = tensor_cores();
    const bd_code_units codes = { true, true, .f8_bits = 13 };
    target.matrix.warpgroup_codes = codes;
    setting s;
    set_up(&s, mlp, rows[_i].policy, 28, 32);
    bd_plan *plan = plan_for(&s, &target, true);
    int products = 0;
    for (int k = 0; k < plan->kernel_count; k++) {
        bd_kernel *kernel = &plan->kernels[k];
        if (kernel->class != BD_KERNEL_CONTRACTION || !bd_multiplies_codes(plan->graph, kernel->anchor, kernel, &codes))
            continue;
        kernel->tile = (bd_tile){ .kind = BD_TILE_WARPGROUP8, .m = 64, .n = 64, .k = 128, .item_m = 16, .item_n = 64 };
        bd_group_launch(plan, kernel, &target);
        products++;
    }
    ck_assert_int_eq(products, rows[_i].products);
    ck_assert_int_eq(contractions_with(plan, &target, "define TILE_K 128u"), products);
    if (rows[_i].product)
        ck_assert_int_gt(contractions_with(plan, &target, rows[_i].product), 0);
    bd_plan_destroy(&plan);
    tear_down(&s);
}
END_TEST

/* A row of an image is a token. */
static bd_tensor attentive(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user)
{
    const bd_shape shape = bd_tensor_shape(graph, x);
    (void)training;
    x = bd_reshape(graph, x, BD_SHAPE(shape.dim[0], shape.dim[1], shape.dim[2] * shape.dim[3]));
    x = bd_attention(graph, x, 2, *(const int64_t *)user, true, 0, training, "attention");
    return bd_linear(graph, bd_flatten(graph, x), classes, true, "fc");
}

static bd_tensor dropping(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user)
{
    (void)user;
    x = bd_linear(graph, bd_flatten(graph, x), 64, true, "fc1");
    return bd_linear(graph, bd_dropout(graph, x, 0.2, training), classes, true, "fc2");
}

/* Work-items that compute four neighbours draw for them once, forward and where the gradient draws again. */
START_TEST(neighbours_share_random_numbers)
{
    const bd_target target = tensor_cores();
    setting s;
    set_up_with(&s, dropping, NULL, "mixed", 28, 32);
    bd_plan *plan = plan_for(&s, &target, true);
    int blocks = 0;
    for (int k = 0; k < plan->kernel_count; k++) {
        bd_error error;
        char *source;
        ck_assert_int_eq(bd_kernel_source(plan, &plan->kernels[k], &target, BD_DIALECT_OPENCL, &source, &error), BD_OK);
        for (const char *at = source; (at = strstr(at, "const BD_WORDS ")); at++)
            blocks++;
        ck_assert_ptr_null(strstr(source, "= bd_random("));
        free(source);
    }
    ck_assert_int_gt(blocks, 0);
    bd_plan_destroy(&plan);
    tear_down(&s);
}
END_TEST

/* Behind a convolution, whose bias' gradient the kernel sums, a step of a work-item is a window, two of them a turn.
 * Pixels by themselves would each be compared with the window's others: whether they `won`. */
START_TEST(gradients_of_pooling_look_at_a_window_once)
{
    bd_target target;
    bd_target_default(&target);
    setting s;
    set_up(&s, lenet, _i ? "fp32" : "fp16", 28, 512);
    bd_plan *plan = plan_for(&s, &target, true);
    int found = 0;
    for (int k = 0; k < plan->kernel_count; k++) {
        const bd_kernel *kernel = &plan->kernels[k];
        const bd_node *pooling = bd_pooled_in_tiles(plan->graph, kernel);
        if (!pooling)
            continue;
        found++;
        ck_assert_int_eq(kernel->class, BD_KERNEL_COLUMNS);
        for (bd_dialect dialect = BD_DIALECT_OPENCL; dialect <= BD_DIALECT_GLSL; dialect++) {
            bd_error error;
            char *source;
            ck_assert_int_eq(bd_kernel_source(plan, kernel, &target, dialect, &source, &error), BD_OK);
            ck_assert_ptr_nonnull(strstr(source, " pooled = window0 * "));
            ck_assert_ptr_nonnull(strstr(source, " pooled1 = window1 * "));
            ck_assert_ptr_null(strstr(source, "uint won"));
            free(source);
        }
    }
    ck_assert_int_eq(found, 2);
    bd_plan_destroy(&plan);
    tear_down(&s);
}
END_TEST

/* Forward and backward, where operands are 16-bit numbers in whole pieces, sums F32 and nothing was found wrong with
 * it. */
START_TEST(attention_takes_matrix_units)
{
    static const struct {
        const char *policy;
        int64_t depth;
        bool bf16, avoided;
        int kernels;
    } rows[] = {
        { "fp16", 16, true, false, 2 },        { "mixed", 64, true, false, 2 }, { "bf16", 24, true, false, 2 },
        { "bf16", 16, false, false, 0 },       { "fp16", 20, true, false, 0 },  { "fp32", 16, true, false, 0 },
        { "fp16-strict", 16, true, false, 0 }, { "fp16", 16, true, true, 0 },   { "fp16", 136, true, false, 0 }
    };
    bd_target target = tensor_cores();
    target.matrix.bf16 = rows[_i].bf16;
    target.avoid[BD_F16][BD_F32] = rows[_i].avoided ? 1u << BD_VARIANT_ATTENTION_MATRIX : 0;
    setting s;
    set_up_with(&s, attentive, &rows[_i].depth, rows[_i].policy, 28, 8);
    bd_plan *plan = plan_for(&s, &target, true);
    int kernels = 0;
    for (int k = 0; k < plan->kernel_count; k++) {
        const bd_kernel *kernel = &plan->kernels[k];
        if (kernel->class != BD_KERNEL_ATTENTION || kernel->tile.kind != BD_TILE_MATRIX)
            continue;
        bd_error error;
        char *source;
        kernels++;
        ck_assert_uint_eq(kernel->local[0], kernel->tile.m / 16 * 32);
        ck_assert_int_eq(bd_kernel_source(plan, kernel, &target, BD_DIALECT_OPENCL, &source, &error), BD_OK);
        ck_assert_ptr_nonnull(strstr(source, "#define PANEL 32u"));
        free(source);
    }
    ck_assert_int_eq(kernels, rows[_i].kernels);
    bd_plan_destroy(&plan);
    tear_down(&s);
}
END_TEST

/* A row each of twenty small tensors, and as many of a large one as it has parts: kernels of eight work-groups at most,
 * and one. They store where the rows are kept. */
START_TEST(small_tensors_are_counted_together)
{
    enum { SMALL = 20, LARGE = 1 << 20 };
    const bd_init zeros = { BD_INIT_CONSTANT, 0 };
    const bd_precision fp32 = { 0 };
    bd_graph *graph;
    bd_plan *plan;
    bd_target gpu;
    bd_error error;
    ck_assert_int_eq(bd_graph_create(&graph, &error), BD_OK);
    bd_set_role(graph, BD_ROLE_FIXED);
    bd_tensor x = bd_variable(graph, "x", BD_ROLE_FIXED, BD_F32, BD_SHAPE(LARGE), zeros);
    bd_tensor y = bd_variable(graph, "y", BD_ROLE_FIXED, BD_F32, BD_SHAPE(LARGE), zeros);
    for (int i = 0; i <= SMALL; i++) {
        const int64_t count = i < SMALL ? 100 : LARGE, first = i < SMALL ? 100 * i : 0;
        char name[16];
        snprintf(name, sizeof name, "rows%d", i);
        bd_tensor rows = bd_tally(graph, bd_slice(graph, x, 0, first, count), bd_slice(graph, y, 0, first, count));
        bd_assign(graph, bd_variable(graph, name, BD_ROLE_FIXED, BD_F32, bd_tensor_shape(graph, rows), zeros), rows);
    }
    bd_target_default(&gpu);
    ck_assert_msg(!bd_graph_apply_precision(graph, &fp32, &error), "%s", error.message);
    ck_assert_msg(!bd_plan_create(graph, &gpu, NULL, &plan, &error), "%s", error.message);
    const uint32_t groups[] = { 8, 8, 4, LARGE / 16384 };
    ck_assert_int_eq(plan->kernel_count, 4);
    for (int k = 0; k < 4; k++) {
        ck_assert_int_eq(plan->kernels[k].class, BD_KERNEL_TALLY);
        ck_assert_uint_eq(plan->kernels[k].groups[0], groups[k]);
    }
    bd_plan_destroy(&plan);
    bd_graph_destroy(&graph);
}
END_TEST

START_TEST(plans_obey_small_limits)
{
    const bd_model_function models[] = { mlp, lenet, mixture };
    const uint32_t items[] = { 128, 16, 1 };
    for (int i = 0; i < 9; i++) {
        bd_target target;
        bd_target_default(&target);
        target.is_cpu = target.vector_types = _i == 1;
        target.limits.shared_bytes = 16384;
        target.limits.subgroup_size = 0;
        target.limits.max_workgroup_items = items[i % 3];
        for (int d = 0; d < 3; d++)
            target.limits.max_workgroup_size[d] = items[i % 3];
        setting s;
        set_up(&s, models[i / 3], "mixed", 28, 32);
        bd_plan *plan = plan_for(&s, &target, true);
        for (int k = 0; k < plan->kernel_count; k++) {
            const bd_kernel *kernel = &plan->kernels[k];
            ck_assert_uint_le(kernel->local[0] * kernel->local[1] * kernel->local[2], items[i % 3]);
            ck_assert_uint_le(shared_bytes(kernel), 16384);
        }
        bd_plan_destroy(&plan);
        tear_down(&s);
    }
}
END_TEST

/* Kernels whose last work-group has sums to make, and kernels that are but sums over parts. */
static void count_sums(const bd_plan *plan, int *merged, int *apart)
{
    *merged = *apart = 0;
    for (int k = 0; k < plan->kernel_count; k++) {
        const bd_kernel *kernel = &plan->kernels[k];
        const bd_node *anchor = kernel->anchor == BD_NONE ? NULL : &plan->graph->nodes[kernel->anchor];
        *merged += kernel->last.node_count > 0;
        *apart += kernel->class == BD_KERNEL_COLUMNS && anchor && plan->graph->nodes[anchor->inputs[0]].chunks > 1;
        for (int i = 0; i < kernel->node_count && kernel->last.node_count; i++)
            ck_assert_int_eq(plan->kernel_of[kernel->nodes[i]], k);
    }
}

/* Statistics of normalisation, and the sums of its backward pass, need no kernel of their own; wide sums keep
 * theirs. */
START_TEST(last_groups_add_up_parts)
{
    bd_target target;
    bd_target_default(&target);
    target.limits.compute_units = 132;
    target.limits.max_workgroup_items = target.limits.max_workgroup_size[0] = target.limits.max_workgroup_size[1] =
        1024;
    for (int f = 0; f < BD_FORMAT_COUNT; f++) /* else convolutions sum the columns */
        target.avoid[f][BD_F32] = 1u << BD_VARIANT_COLUMN_SUMS;
    setting s;
    set_up(&s, normalised, "fp16", 16, 256);
    bd_plan *apart = plan_for(&s, &target, true);
    target.last_group = true;
    bd_plan *merged = plan_for(&s, &target, true), *separate = plan_for(&s, &target, false);
    int none, sums, some, left;
    count_sums(apart, &none, &sums);
    count_sums(merged, &some, &left);
    ck_assert_int_eq(none, 0);
    ck_assert_int_ge(some, 6);
    ck_assert_int_eq(some + left, sums);
    ck_assert_int_eq(merged->kernel_count, apart->kernel_count - some);
    ck_assert_uint_gt(merged->pack_bytes, apart->pack_bytes); /* the counters, which nothing else overwrites */
    count_sums(separate, &none, &sums);
    ck_assert_int_eq(none, 0);
    bd_plan_destroy(&apart);
    bd_plan_destroy(&merged);
    bd_plan_destroy(&separate);
    for (int avoided = 0; avoided < 2; avoided++) { /* a variant that computes wrongly, and CPU drivers */
        target.is_cpu = !avoided;
        for (int f = 0; f < BD_FORMAT_COUNT; f++)
            target.avoid[f][BD_F32] = 1u << BD_VARIANT_COLUMN_SUMS | (avoided ? 1u << BD_VARIANT_LAST_GROUP : 0);
        bd_plan *plan = plan_for(&s, &target, true);
        count_sums(plan, &none, &sums);
        ck_assert_int_eq(none, 0);
        bd_plan_destroy(&plan);
    }
    tear_down(&s);
}
END_TEST

/* A running mean that the graph reads after the sum is not to be overwritten before: the kernel of the sums stays where
 * it is. */
START_TEST(sums_do_not_move_past_readers_of_what_they_write)
{
    bd_target target;
    bd_target_default(&target);
    target.limits.compute_units = 132;
    target.last_group = true;
    for (int between = 0; between < 2; between++) {
        bd_graph *graph;
        bd_error error;
        bd_plan *plan;
        ck_assert(bd_graph_create(&graph, &error) == BD_OK);
        bd_set_role(graph, BD_ROLE_FIXED);
        const bd_init zero = { 0 };
        const bd_tensor x = bd_variable(graph, "/x", BD_ROLE_FIXED, BD_F32, BD_SHAPE(65536, 32), zero),
                        total = bd_variable(graph, "/total", BD_ROLE_FIXED, BD_F32, BD_SHAPE(32), zero),
                        y = bd_variable(graph, "/y", BD_ROLE_FIXED, BD_F32, BD_SHAPE(16, 32), zero),
                        w = bd_variable(graph, "/w", BD_ROLE_FIXED, BD_F32, BD_SHAPE(16, 1), zero);
        const bd_tensor sum = bd_sum(graph, x, 0, 1, false);
        if (between) /* a product, so a kernel of its own, of the old total */
            bd_assign(graph, y, bd_matmul(graph, w, bd_reshape(graph, total, BD_SHAPE(1, 32)), false, false));
        bd_assign(graph, total, sum);
        ck_assert_msg(bd_plan_create(graph, &target, NULL, &plan, &error) == BD_OK, "%s", error.message);
        int merged, apart;
        count_sums(plan, &merged, &apart);
        ck_assert_int_eq(merged + apart, 1);
        ck_assert(between || plan->kernel_count == 1);
        int reader = -1, writer = plan->kernel_count;
        for (int k = 0; k < plan->kernel_count; k++)
            for (int i = 0; i < plan->kernels[k].operand_count; i++) {
                const bd_node *node = &plan->graph->nodes[plan->kernels[k].operands[i].node];
                if (node->op == BD_OP_VARIABLE && strcmp(node->attr.variable.name, "total") == 0)
                    *(plan->kernels[k].operands[i].written ? &writer : &reader) = k;
            }
        ck_assert_int_lt(reader, writer);
        bd_plan_destroy(&plan);
        bd_graph_destroy(&graph);
    }
}
END_TEST

/* A CPU driver that reads operands as texels, as lavapipe, or not, as PoCL. */
static bd_target cpu_target(bool texels)
{
    bd_target target;
    bd_target_default(&target);
    target.is_cpu = true;
    target.vector_types = !texels;
    target.limits.compute_units = 2;
    target.texel_elements = texels ? 1 << 27 : 0;
    target.texel_bindings = texels ? 32 : 0;
    target.shuffles = texels;
    target.limits.subgroup_size = 8;
    return target;
}

/* CPU drivers: PoCL takes four columns a work-item; where texels are read, all kernels fetch and store four numbers at
 * once, and lanes that a result's columns leave idle take another result. */
START_TEST(cpu_drivers_take_neighbours_where_that_is_faster)
{
    const bool texels = _i == 1;
    const bd_target target = cpu_target(texels);
    setting s;
    set_up(&s, lenet, "fp32", 28, 256);
    bd_plan *plan = plan_for(&s, &target, true);
    int columns = 0, pointwise = 0, contractions = 0, fours = 0, beside = 0;
    for (int k = 0; k < plan->kernel_count; k++) {
        const bd_kernel *kernel = &plan->kernels[k];
        const bool wide = kernel->width == BD_WIDTH;
        columns += wide && kernel->class == BD_KERNEL_COLUMNS;
        pointwise += wide && kernel->class == BD_KERNEL_POINTWISE;
        contractions += wide && kernel->class == BD_KERNEL_CONTRACTION;
        if (kernel->class == BD_KERNEL_COLUMNS && kernel->beside > 1) {
            ck_assert_uint_eq(kernel->local[0], target.limits.subgroup_size);
            ck_assert_int_le(kernel->extent.inner, (int64_t)kernel->width * kernel->local[0] / kernel->beside);
            beside++;
        }
        for (int i = 0; i < kernel->operand_count && wide; i++)
            fours += kernel->operands[i].access == BD_ACCESS_TEXEL4;
    }
    ck_assert_int_gt(columns, 0);
    ck_assert_int_eq(pointwise > 0, texels);
    ck_assert_int_eq(contractions > 0, texels);
    ck_assert_int_eq(beside > 0, texels);
    ck_assert_int_eq(fours > 0, texels);
    bd_plan_destroy(&plan);
    tear_down(&s);
}
END_TEST

/* No driver sees that a texel fetch reads the same in each turn. */
START_TEST(column_kernels_fetch_before_their_loop_what_is_the_columns)
{
    const bd_target target = cpu_target(true);
    setting s;
    set_up(&s, normalised, "fp32", 16, 256);
    bd_plan *plan = plan_for(&s, &target, true);
    int before = 0;
    for (int k = 0; k < plan->kernel_count; k++) {
        const bd_kernel *kernel = &plan->kernels[k];
        if (kernel->class != BD_KERNEL_COLUMNS)
            continue;
        bd_error error;
        char *source;
        ck_assert_int_eq(bd_kernel_source(plan, kernel, &target, BD_DIALECT_GLSL, &source, &error), BD_OK);
        char *loop = strstr(source, "for (uint r = ");
        ck_assert_ptr_nonnull(loop);
        char *end = strstr(loop, "\n}\n");
        ck_assert_ptr_nonnull(end);
        *end = 0;
        ck_assert_ptr_null(strstr(loop, ", column)"));
        *loop = 0;
        before += strstr(source, ", column);") != NULL;
        free(source);
    }
    ck_assert_int_gt(before, 0);
    bd_plan_destroy(&plan);
    tear_down(&s);
}
END_TEST

/* Each of 25 layers has three histories or two steps, whose reductions are alike: all in one kernel they would need
 * more than 200 buffers. */
START_TEST(scales_of_many_layers_need_few_buffers)
{
    static const char *const policies[] = { "fp8,history=4", "int8-qat" };
    bd_target target;
    setting s;
    bd_target_default(&target);
    target.limits.max_bindings = 32; /* lavapipe's */
    set_up(&s, deep, policies[_i], 28, 32);
    bd_plan *plan = plan_for(&s, &target, true);
    ck_assert_int_gt(plan->kernel_count, 25);
    bd_plan_destroy(&plan);
    tear_down(&s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fuse");
    TCase *plans = tcase_create("plans");
    tcase_set_timeout(plans, 120);
    tcase_add_test(plans, an_mlp_step_takes_at_most_18_dispatches);
    tcase_add_test(plans, a_lenet_step_takes_at_most_32_dispatches);
    tcase_add_loop_test(plans, normalisation_takes_two_passes_each_way, 0, 8);
    tcase_add_loop_test(plans, columns_are_summed_where_they_are_made, 0, 11);
    tcase_add_test(plans, pure_fp16_needs_at_most_055_of_fp32);
    tcase_add_test(plans, tensors_alive_together_never_overlap);
    tcase_add_loop_test(plans, matrix_units_multiply_codes, 0, 4);
    tcase_add_loop_test(plans, units_of_8_bits_multiply_codes, 0, 4);
    tcase_add_test(plans, neighbours_share_random_numbers);
    tcase_add_loop_test(plans, gradients_of_pooling_look_at_a_window_once, 0, 2);
    tcase_add_test(plans, small_tensors_are_counted_together);
    tcase_add_loop_test(plans, attention_takes_matrix_units, 0, 9);
    tcase_add_loop_test(plans, plans_obey_small_limits, 0, 2);
    tcase_add_loop_test(plans, cpu_drivers_take_neighbours_where_that_is_faster, 0, 2);
    tcase_add_test(plans, column_kernels_fetch_before_their_loop_what_is_the_columns);
    tcase_add_test(plans, last_groups_add_up_parts);
    tcase_add_test(plans, sums_do_not_move_past_readers_of_what_they_write);
    tcase_add_loop_test(plans, scales_of_many_layers_need_few_buffers, 0, 2);
    tcase_add_test(plans, every_kernel_reads_only_what_is_written_before);
    suite_add_tcase(suite, plans);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
