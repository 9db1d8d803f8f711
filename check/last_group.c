/* Final sums by the last work-group: bit for bit what a kernel of their own makes of the same parts, run after run. */
#include "case.h"

#include "../engine/tile.h"

#include <stdlib.h>
#include <string.h>

enum { RUNS = 12 };

/* What is summed, and what is made of it. */
typedef struct sums_case {
    const char *name;
    bd_tensor (*build)(bd_graph *graph, const int64_t *size, int number);
    int64_t size[4];
    int results;
    bd_format format; /* of the values; the sums are F32 */
    bool always;      /* merged whatever the device; products are where few of their parts make a tile */
} sums_case;

static bd_tensor input(bd_graph *graph, const char *name, bd_shape shape)
{
    return bd_variable(graph, name, BD_ROLE_ACTIVATION, BD_F32, shape, (bd_init){ BD_INIT_UNIFORM, 1.0 });
}

/* [outer, length, inner] over the middle, with a bias and relu behind it. */
static bd_tensor sum_columns(bd_graph *graph, const int64_t *size, int number)
{
    (void)number;
    const bd_tensor x = input(graph, "/x", BD_SHAPE(size[0], size[1], size[2]));
    const bd_tensor bias = input(graph, "/bias", BD_SHAPE(size[0], size[2]));
    return bd_relu(graph, bd_add(graph, bd_sum(graph, bd_mul(graph, x, x), 1, 1, false), bias));
}

/* Mean and deviations of columns, and a running mean. */
static bd_tensor moments(bd_graph *graph, const int64_t *size, int number)
{
    const bd_tensor x = input(graph, "/x", BD_SHAPE(size[0], size[1]));
    const bd_tensor mean = bd_mean(graph, x, 0, 1, false), deviations = bd_deviations(graph, x, 0, 1, false);
    const bd_tensor running = input(graph, "/running", BD_SHAPE(size[1]));
    return number == 0 ? mean : number == 1 ? deviations : bd_add(graph, running, mean);
}

/* [m, k] by [k, n], and what is added. */
static bd_tensor product(bd_graph *graph, const int64_t *size, int number)
{
    (void)number;
    const bd_tensor a = input(graph, "/a", BD_SHAPE(size[0], size[1])),
                    b = input(graph, "/b", BD_SHAPE(size[1], size[2]));
    const bd_tensor c = input(graph, "/c", BD_SHAPE(size[0], size[2]));
    return bd_add(graph, bd_matmul(graph, a, b, false, false), c);
}

/* The weight gradient of a 3x3 convolution: images of [n, side, side, channels]. */
static bd_tensor weight_gradient(bd_graph *graph, const int64_t *size, int number)
{
    (void)number;
    const bd_window window = { { 3, 3 }, { 1, 1 }, { { 1, 1 }, { 1, 1 } } };
    const bd_tensor x = input(graph, "/x", BD_SHAPE(size[0], size[1], size[1], size[2]));
    const bd_tensor dy = input(graph, "/dy", BD_SHAPE(size[0], size[1], size[1], size[3]));
    return bd_conv2d_weight(graph, x, dy, window, BD_SHAPE(3, 3, size[2], size[3]));
}

static const char *const outputs[] = { "y0", "y1", "y2" };

static bd_status build(const sums_case *c, bd_graph **graph, bd_error *error)
{
    static const char *const names[] = { "/y0", "/y1", "/y2" };
    bd_precision precision;
    bd_status status = bd_graph_create(graph, error);
    if (status != BD_OK)
        return status;
    for (int i = 0; i < c->results; i++) {
        bd_set_role(*graph, BD_ROLE_ACTIVATION);
        const bd_tensor y = c->build(*graph, c->size, i);
        bd_assign(*graph,
                  bd_variable(*graph, names[i], BD_ROLE_ACTIVATION, BD_F32, bd_tensor_shape(*graph, y), (bd_init){ 0 }),
                  y);
    }
    if ((status = bd_graph_status(*graph, error)) == BD_OK &&
        (status = bd_precision_parse(c->format == BD_F16 ? "fp16" : "fp32", &precision, error)) == BD_OK)
        status = bd_graph_apply_precision(*graph, &precision, error);
    return status;
}

static int64_t count_results(const bd_graph *graph, int i)
{
    return bd_shape_elements(&graph->nodes[bd_graph_find_variable(graph, outputs[i])].shape);
}

typedef uint32_t blame_table[BD_FORMAT_COUNT][BD_FORMAT_COUNT];

/* What the last work-groups of a plan make, by format and accumulator; the number of kernels with such a group. */
static int note_last_groups(const bd_plan *plan, blame_table blamed)
{
    int merged = 0;
    for (int k = 0; k < plan->kernel_count; k++) {
        const bd_kernel *kernel = &plan->kernels[k];
        merged += kernel->last.node_count > 0;
        for (int i = kernel->node_count - kernel->last.node_count; i < kernel->node_count; i++) {
            const bd_node *node = &plan->graph->nodes[kernel->nodes[i]];
            blamed[bd_variant_format(node->format)][node->accumulator] |= 1u << BD_VARIANT_LAST_GROUP;
        }
    }
    return merged;
}

/* Is there a format in which the device's last work-groups are known to be wrong? */
static bool is_avoided(const bd_target *target)
{
    bool avoided = false;
    for (int f = 0; f < BD_FORMAT_COUNT; f++)
        for (int a = 0; a < BD_FORMAT_COUNT; a++)
            avoided |= target->avoid[f][a] >> BD_VARIANT_LAST_GROUP & 1;
    return avoided;
}

/* Every result of every run, one after the other; `*merged` counts kernels whose last work-group has sums to make. */
static bd_status run(session *s, const sums_case *c, const bd_graph *graph, double *values, int64_t count, int *merged,
                     blame_table blamed, bd_error *error)
{
    device_run run;
    bd_status status = device_run_create(s, graph, &run, error);
    if (status != BD_OK)
        return status;
    *merged = note_last_groups(bd_program_plan(run.program), blamed);
    for (int r = 0; r < RUNS && status == BD_OK; r++) {
        double *at = values + r * count;
        status = bd_program_run(run.program, r % 2 ? 3 : 1, error);
        for (int i = 0; i < c->results && status == BD_OK; i++) {
            const size_t elements = (size_t)count_results(graph, i);
            status = bd_store_read_values(run.store, outputs[i], at, elements, error);
            at += elements;
        }
    }
    device_run_destroy(&run);
    return status;
}

static void compare(session *s, const sums_case *c, const bd_graph *graph)
{
    bd_target *target = &s->device->target;
    const bool can = target->last_group;
    int64_t count = 0;
    for (int i = 0; i < c->results; i++)
        count += count_results(graph, i);
    double *apart = test_allocate(RUNS * count, sizeof *apart), *merged = test_allocate(RUNS * count, sizeof *merged);
    bd_error error = { BD_OK, "" };
    blame_table blamed = { 0 };
    int none = 0, some = 0;
    s->guessed = true; /* another tile may sum in another order */
    target->last_group = false;
    bd_status status = run(s, c, graph, apart, count, &none, blamed, &error);
    target->last_group = can;
    if (status == BD_OK)
        status = run(s, c, graph, merged, count, &some, blamed, &error);
    s->guessed = false;
    if (status == BD_OK && some == 0 && c->always && !s->no_fusion && !is_avoided(target))
        status = bd_fail(&error, BD_ERROR_DATA, "the plan has no kernel whose last work-group sums");
    for (int64_t i = 0; i < RUNS * count && status == BD_OK; i++)
        if (memcmp(&apart[i % count], &merged[i], sizeof *merged) != 0)
            status = bd_fail(&error, BD_ERROR_DATA, "result %lld of run %lld is %.9g, by a kernel of its own %.9g",
                             (long long)(i % count), (long long)(i / count + 1), merged[i], apart[i % count]);
    session_report_blamed(s, status == BD_OK, c->name, error.message, blamed);
    free(apart);
    free(merged);
}

void test_last_group(session *s)
{
    static const sums_case all[] = {
        { "columns, 20 of 4096", sum_columns, { 1, 4096, 20 }, 1, BD_F32, true },
        { "columns, 3 of 20,000 fp16", sum_columns, { 1, 20000, 3 }, 1, BD_F16, true },
        { "columns, 2 by 260 of 2050", sum_columns, { 2, 2050, 260 }, 1, BD_F32, true },
        { "moments of 20 columns", moments, { 40001, 20 }, 3, BD_F32, true },
        { "moments of 64 columns fp16", moments, { 65536, 64 }, 3, BD_F16, true },
        { "product of 33 by 20, 4096 terms", product, { 33, 4096, 20 }, 1, BD_F32, false },
        { "product of 65 by 130, 3000 terms fp16", product, { 65, 3000, 130 }, 1, BD_F16, false },
        { "product of 256 by 64, 2048 terms fp16", product, { 256, 2048, 64 }, 1, BD_F16, false },
        { "weight gradient of 8 to 12 channels fp16", weight_gradient, { 16, 16, 8, 12 }, 1, BD_F16, false },
        { "weight gradient of 16 to 16 channels fp16", weight_gradient, { 16, 16, 16, 16 }, 1, BD_F16, false },
    };
    const bd_target *target = &s->device->target;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (!target->last_group || target->is_cpu || !session_wants(s, all[i].name))
            continue;
        bd_graph *graph = NULL;
        bd_error error = { BD_OK, "" };
        if (build(&all[i], &graph, &error) == BD_OK)
            compare(s, &all[i], graph);
        else
            session_report(s, false, all[i].name, "%s", error.message);
        bd_graph_destroy(&graph);
    }
}
