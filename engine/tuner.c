#include "tuner.h"
#include "cache.h"
#include "clock.h"
#include "columns.h"
#include "judge.h"
#include "quantise.h"
#include "tile.h"

#include <binade/binade.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUICK_SECONDS 8.0  /* of a plan; those with the most work come first */
#define QUICK_CANDIDATES 4 /* of a contraction: the best guess of each kind, then the best of all */
#define LEAST_FLOPS 5e7    /* less work is a launch's time, whatever the tile */
/* GPUs that were idle run slowly at first: an H100 through Vulkan four times too slowly, even after 200 ms of work.
 * Between contractions it idles only while candidates are compiled. */
#define FIRST_WARM_SECONDS 0.5
#define WARM_SECONDS 0.1
#define ROUNDS 5
#define SAMPLES 64              /* results that are checked */
#define MOST_ELEMENTS (1 << 26) /* of an operand */

/* What is remembered; a library's tile is all zeros. `among_all`: every candidate was measured. */
typedef struct choice {
    uint32_t library, kind, m, n, k, item_m, item_n, slices, among_all;
} choice;

typedef struct session {
    bd_device *device;
    bd_plan *plan;
    double started;
    bool warm; /* has measured before */
} session;

static bool is_over(const session *s)
{
    return s->plan->tuning != BD_TUNING_FULL && bd_seconds() - s->started > QUICK_SECONDS;
}

/* One contraction by itself: result = operation(a, b). */
typedef struct trial {
    const bd_node *node; /* of the plan */
    bd_contraction c;
    bd_shape a, b; /* of the operands */
    bd_format formats[2];
    double zeros[2];   /* what moves whole numbers up (bd_quantised_whole) */
    double unit_error; /* bd_unit_sum_error, if the units' sums will do */
    bool last_group;   /* adds up its parts, as the kernel of the plan does */
    double *values[2]; /* what the operands hold; owned */
} trial;

/* ---- the trial's graph ---- */

static bd_tensor trial_operand(bd_graph *graph, const trial *t, int side)
{
    const bd_init random = { BD_INIT_UNIFORM, 1.0 };
    const bd_shape shape = side ? t->b : t->a;
    const bd_tensor stored = bd_variable(graph, side ? "/b" : "/a", BD_ROLE_FIXED, t->formats[side], shape, random);
    if (t->zeros[side] == 0)
        return stored;
    const bd_tensor moved = bd_add(graph, stored, bd_constant(graph, shape, t->zeros[side]));
    if (moved != BD_NONE)
        graph->nodes[moved].recompute = true;
    return moved;
}

static bd_graph *trial_graph(const trial *t)
{
    bd_graph *graph;
    if (bd_graph_create(&graph, NULL) != BD_OK)
        return NULL;
    bd_set_role(graph, BD_ROLE_FIXED);
    const bd_init zero = { BD_INIT_CONSTANT, 0.0 };
    const bd_tensor a = trial_operand(graph, t, 0), b = trial_operand(graph, t, 1);
    const bd_node *node = t->node;
    bd_tensor y;
    switch (node->op) {
    case BD_OP_CONV2D: y = bd_conv2d(graph, a, b, node->attr.window); break;
    case BD_OP_CONV2D_DATA: y = bd_conv2d_data(graph, a, b, node->attr.window, node->shape); break;
    case BD_OP_CONV2D_WEIGHT: {
        const bd_window *w = &node->attr.window;
        y = bd_conv2d_weight(graph, a, b, *w, BD_SHAPE(w->size[0], w->size[1], t->a.dim[3], t->b.dim[3]));
        break;
    }
    default: y = bd_matmul(graph, a, b, node->attr.matmul.transpose[0], node->attr.matmul.transpose[1]);
    }
    if (y != BD_NONE) {
        graph->nodes[y].format = node->format;
        graph->nodes[y].accumulator = node->accumulator;
        graph->nodes[y].unit_sums = node->unit_sums;
        const bd_shape shape = graph->nodes[y].shape;
        bd_assign(graph, bd_variable(graph, "/y", BD_ROLE_FIXED, node->format, shape, zero), y);
        graph->nodes[graph->node_count - 1].format = node->format;
    }
    if (bd_graph_status(graph, NULL) != BD_OK)
        bd_graph_destroy(&graph);
    return graph;
}

/* ---- the results ---- */

static double unit_roundoff(bd_format format)
{
    return ldexp(1, -bd_format_describe(format).mantissa_bits - 1);
}

/* A sum of k products is off by gamma = k u / (1 - k u) of the sum of their magnitudes at most, in any order (Higham,
 * "Accuracy and Stability of Numerical Algorithms", 3.1; here k + 1, since halves are rounded as products too, and
 * partial sums add some more: twice that covers it), and the result is rounded once more; 2^-24 for what is subnormal
 * as a half. What units of 8-bit floats drop comes to that. */
static bool results_right(const trial *t, const double *y)
{
    const bd_judge judge = { t->node, t->c, t->a, t->b, { t->values[0], t->values[1] } };
    const int64_t count = t->c.batch * t->c.m * t->c.n;
    const int64_t step = count > SAMPLES ? count / SAMPLES | 1 : 1;
    const double u = unit_roundoff(t->node->accumulator), k = 2.0 * (double)(t->c.k + 1) * u;
    for (int64_t i = 0; i < count; i += step) {
        const bd_exact_sum sum = bd_judge_element(&judge, i);
        const double bound = (k < 1 ? k / (1 - k) + t->unit_error : INFINITY) * sum.magnitude;
        if (!(fabs(y[i] - sum.value) <= bound + unit_roundoff(t->node->format) * (fabs(sum.value) + bound) + 0x1p-24))
            return false;
    }
    return true;
}

/* ---- one candidate ---- */

/* The same for every candidate. */
static bool read_operands(trial *t, bd_store *store)
{
    static const char *const names[] = { "a", "b" };
    for (int i = 0; i < 2; i++) {
        const size_t count = (size_t)bd_shape_elements(i ? &t->b : &t->a);
        if (t->values[i])
            continue;
        double *values = malloc(count * sizeof *values);
        if (!values || bd_store_read_values(store, names[i], values, count, NULL) != BD_OK) {
            free(values);
            return false;
        }
        for (size_t j = 0; j < count; j++)
            values[j] += t->zeros[i];
        t->values[i] = values;
    }
    return true;
}

/* The contraction with a tile, or by the library (`tile` NULL); NULL where that cannot be. */
static bd_program *compile(const session *s, const trial *t, bd_store *store, const bd_graph *graph,
                           const bd_tile *tile)
{
    bd_plan *plan = NULL;
    bd_program *program = NULL;
    bd_target target = s->device->target;
    const bd_compile_options options = { .gemm = tile ? BD_GEMM_OWN : BD_GEMM_LIBRARY };
    bool found = false;
    target.last_group &= t->last_group;
    if (bd_plan_create(graph, &target, &options, &plan, NULL) != BD_OK)
        return NULL;
    plan->tuned = plan->fixed = true;
    for (int k = 0; k < plan->kernel_count; k++) {
        bd_kernel *kernel = &plan->kernels[k];
        if (tile && kernel->class == BD_KERNEL_CONTRACTION) {
            kernel->tile = *tile;
            bd_group_launch(plan, kernel, &target);
        }
        found |= kernel->class == (tile ? BD_KERNEL_CONTRACTION : BD_KERNEL_LIBRARY);
    }
    if (found)
        bd_program_create(store, &plan, 1, NULL, NULL, &program, NULL);
    bd_plan_destroy(&plan);
    return program;
}

/* Twice at least. */
static bool run_for(bd_program *program, double seconds)
{
    bool done = true;
    const double start = bd_seconds();
    do
        done = bd_program_run(program, 2, NULL) == BD_OK && bd_program_finish(program, NULL) == BD_OK;
    while (done && bd_seconds() - start < seconds);
    return done;
}

/* The least of `*least` and the contraction's time in a run, in nanoseconds. */
static bool time_run(bd_program *program, uint64_t *least)
{
    const bd_plan *plan = bd_program_plan(program);
    uint64_t *times = calloc((size_t)plan->kernel_count + 1, sizeof *times);
    const bool done = times && bd_program_profile(program, times, NULL) == BD_OK;
    for (int k = 0; done && k < plan->kernel_count; k++)
        if ((plan->kernels[k].class == BD_KERNEL_CONTRACTION || plan->kernels[k].class == BD_KERNEL_LIBRARY) &&
            times[k] > 0 && times[k] < *least)
            *least = times[k];
    free(times);
    return done;
}

/* Are the results of the last run right? */
static bool check_results(trial *t, bd_store *store)
{
    const size_t count = (size_t)(t->c.batch * t->c.m * t->c.n);
    double *y = malloc(count * sizeof *y);
    const bool right = y && read_operands(t, store) && bd_store_read_values(store, "y", y, count, NULL) == BD_OK &&
                       results_right(t, y);
    free(y);
    return right;
}

/* ---- choosing ---- */

/* May the library do this kernel? Not with anything fused to it. */
static bool library_may(const session *s, const bd_kernel *kernel, const bd_node *node)
{
    const bd_target *target = &s->device->target;
    if (s->plan->gemm != BD_GEMM_AUTO || node->op != BD_OP_MATMUL || node->chunks > 1 || kernel->node_count != 1 ||
        !bd_variant_allowed(target, node, BD_VARIANT_LIBRARY) ||
        kernel->operand_count != (node->inputs[0] == node->inputs[1] ? 2 : 3))
        return false;
    for (int i = 0; i < kernel->operand_count; i++) {
        const bd_tensor operand = kernel->operands[i].node;
        if (s->plan->graph->nodes[operand].format != node->format || kernel->operands[i].parts != 1 ||
            (operand != node->inputs[0] && operand != node->inputs[1] && operand != kernel->anchor))
            return false;
    }
    return node->accumulator == node->format && (node->format == BD_F32 ? target->library_f32 : target->library_f16);
}

static void apply(const session *s, bd_kernel *kernel, const choice *chosen)
{
    if (chosen->library) {
        kernel->class = BD_KERNEL_LIBRARY;
        kernel->groups[0] = kernel->groups[1] = kernel->groups[2] = 1;
        return;
    }
    kernel->tile = (bd_tile){ .kind = (bd_tile_kind)chosen->kind,
                              .m = chosen->m,
                              .n = chosen->n,
                              .k = chosen->k,
                              .item_m = chosen->item_m,
                              .item_n = chosen->item_n,
                              .slices = chosen->slices };
    bd_group_launch(s->plan, kernel, &s->device->target);
}

static choice choice_of(const bd_tile *tile)
{
    return (choice){ 0, tile->kind, tile->m, tile->n, tile->k, tile->item_m, tile->item_n, tile->slices, 0 };
}

/* Compiles every candidate, so that the device does not idle between their measurements, then times them in rounds,
 * from a warm start, and checks the winner. Returns which it is, -1 where none could be measured. */
static int fastest(session *s, trial *t, const bd_graph *graph, const bd_tile *tiles, int count, bool library)
{
    bd_store *store = NULL;
    bd_program *programs[BD_GROUP_TILES + 1] = { NULL };
    uint64_t times[BD_GROUP_TILES + 1];
    int best = -1, compiled = 0;
    if (bd_store_create(s->device, &store, NULL) != BD_OK)
        return -1;
    for (int i = 0; i < count + library && !is_over(s); i++) {
        times[i] = UINT64_MAX;
        programs[i] = compile(s, t, store, graph, i < count ? &tiles[i] : NULL);
        compiled += programs[i] != NULL;
    }
    bool warm = compiled < 2;
    for (int i = 0; i < count + library && !warm; i++)
        warm = programs[i] && run_for(programs[i], s->warm ? WARM_SECONDS : FIRST_WARM_SECONDS);
    s->warm |= compiled > 1;
    for (int round = 0; compiled > 1 && round < ROUNDS; round++)
        for (int i = 0; i < count + library; i++)
            if (programs[i] && !(run_for(programs[i], 0) && time_run(programs[i], &times[i])))
                bd_program_destroy(&programs[i]);
    do { /* a wrong one is passed over */
        if (best >= 0)
            bd_program_destroy(&programs[best]);
        best = -1;
        for (int i = 0; compiled > 1 && i < count + library; i++)
            if (programs[i] && times[i] < UINT64_MAX && (best < 0 || times[i] < times[best]))
                best = i;
    } while (best >= 0 && !(run_for(programs[best], 0) && check_results(t, store)));
    for (int i = 0; i < count + library; i++)
        bd_program_destroy(&programs[i]);
    bd_store_destroy(&store);
    return best;
}

/* The fastest of the tiles and the library; false, and the first tile, where nothing could be measured. */
static bool choose(session *s, const bd_kernel *kernel, const bd_tile *tiles, int count, bool library, choice *best)
{
    const bd_graph *graph = s->plan->graph;
    const bd_node *node = &graph->nodes[kernel->anchor], *a = &graph->nodes[node->inputs[0]],
                  *b = &graph->nodes[node->inputs[1]];
    trial t = { .node = node,
                .c = bd_contraction_of(graph, kernel->anchor),
                .a = a->shape,
                .b = b->shape,
                .unit_error = bd_unit_sum_error(graph, kernel->anchor, &s->device->target),
                .last_group = kernel->last.node_count > 0 };
    for (int side = 0; side < 2; side++) {
        const bd_tensor stored = bd_quantised_whole(graph, node->inputs[side], &t.zeros[side]);
        t.formats[side] = graph->nodes[stored].format;
    }
    *best = choice_of(&tiles[0]);
    if (count + library < 2 || is_over(s) || s->plan->tuning == BD_TUNING_OFF ||
        2.0 * (double)(t.c.batch * t.c.m * t.c.n) * (double)t.c.k < LEAST_FLOPS ||
        bd_shape_elements(&t.a) > MOST_ELEMENTS || bd_shape_elements(&t.b) > MOST_ELEMENTS)
        return false;
    bd_graph *alone = trial_graph(&t);
    const int winner = alone ? fastest(s, &t, alone, tiles, count, library) : -1;
    if (winner >= 0)
        *best = winner < count ? choice_of(&tiles[winner]) : (choice){ .library = 1 };
    bd_graph_destroy(&alone);
    free(t.values[0]);
    free(t.values[1]);
    return winner >= 0;
}

/* What a choice depends on: device, driver, engine and everything that the kernel's source does, but for what is fused:
 * of that only whether it takes long. */
static bd_cache_key choice_key(const session *s, const bd_kernel *kernel, bool library)
{
    const bd_graph *graph = s->plan->graph;
    const bd_node *node = &graph->nodes[kernel->anchor];
    const bd_node *a = &graph->nodes[node->inputs[0]], *b = &graph->nodes[node->inputs[1]];
    const bd_device_info *info = &s->device->info;
    char problem[720], shapes[2][128];
    const bd_limits *limits = &info->limits;
    int length = snprintf(problem, sizeof problem, "%s %s by %s %s%s to %s in %s, %lld parts, library %d",
                          bd_op_get_info(node->op)->name, bd_shape_text(&a->shape, shapes[0], sizeof shapes[0]),
                          bd_shape_text(&b->shape, shapes[1], sizeof shapes[1]),
                          bd_format_name(bd_quantised_format(graph, node->inputs[0])),
                          bd_format_name(bd_quantised_format(graph, node->inputs[1])), bd_format_name(node->format),
                          bd_format_name(node->accumulator), (long long)node->chunks, library);
    const bd_matrix_units *units = &s->device->target.matrix;
    if (bd_multiplies_codes(graph, kernel->anchor, kernel, &units->codes))
        length += snprintf(problem + length, sizeof problem - (size_t)length, ", codes");
    if (bd_multiplies_codes(graph, kernel->anchor, kernel, &units->warpgroup_codes))
        length += snprintf(problem + length, sizeof problem - (size_t)length, ", codes by four warps");
    if (bd_results_are_long(graph, kernel))
        length += snprintf(problem + length, sizeof problem - (size_t)length, ", long results");
    if (bd_kernel_sums_columns(kernel))
        length += snprintf(problem + length, sizeof problem - (size_t)length, ", sums of columns");
    if (kernel->last.node_count)
        length += snprintf(problem + length, sizeof problem - (size_t)length, ", added up");
    length += snprintf(problem + length, sizeof problem - (size_t)length,
                       ", %u items, %u shared, halves %d%d, units %u and %u, without %x", limits->max_workgroup_items,
                       limits->shared_bytes, info->half.storage, info->half.arithmetic, s->device->target.matrix.m,
                       s->device->target.joined.grain_count,
                       s->device->target.avoid[bd_variant_format(node->format)][node->accumulator]);
    if (node->op == BD_OP_MATMUL) {
        snprintf(problem + length, sizeof problem - (size_t)length, " %d%d", node->attr.matmul.transpose[0],
                 node->attr.matmul.transpose[1]);
    } else {
        for (int d = 0; d < 2; d++) {
            const bd_window *w = &node->attr.window;
            length += snprintf(problem + length, sizeof problem - (size_t)length, " %lld %lld %lld %lld",
                               (long long)w->size[d], (long long)w->stride[d], (long long)w->pad[d][0],
                               (long long)w->pad[d][1]);
        }
    }
    const char *const parts[] = { info->backend, info->name, info->driver, BD_VERSION, problem };
    return bd_cache_hash(parts, sizeof parts / sizeof *parts);
}

/* The first tile of each kind for matrix units before the others, which keep their order. */
static void best_of_each_kind_first(bd_tile *tiles, int count)
{
    int firsts = 0;
    for (int i = 0; i < count; i++) {
        const bd_tile tile = tiles[i];
        bool known = !bd_tile_uses_matrix_units(&tile);
        for (int j = 0; j < firsts && !known; j++)
            known = tiles[j].kind == tile.kind;
        if (known)
            continue;
        memmove(&tiles[firsts + 1], &tiles[firsts], (size_t)(i - firsts) * sizeof *tiles);
        tiles[firsts++] = tile;
    }
}

static void tune_kernel(session *s, bd_kernel *kernel)
{
    const bd_node *node = &s->plan->graph->nodes[kernel->anchor];
    const bool library = library_may(s, kernel, node);
    bd_tile tiles[BD_GROUP_TILES];
    int count = bd_group_tiles(s->plan->graph, kernel->anchor, kernel, &s->device->target, tiles);
    const bd_cache_key key = choice_key(s, kernel, library);
    void *data;
    size_t size;
    if (bd_cache_get(s->device->cache, "tune", key, &data, &size)) {
        choice known = { 0 };
        if (size == sizeof known)
            memcpy(&known, data, sizeof known);
        free(data);
        bool possible = known.library && library;
        for (int i = 0; i < count && !possible; i++) {
            choice own = choice_of(&tiles[i]);
            own.among_all = known.among_all;
            possible = memcmp(&own, &known, sizeof own) == 0;
        }
        if (possible && (known.among_all || s->plan->tuning != BD_TUNING_FULL)) {
            apply(s, kernel, &known);
            return;
        }
    }
    choice chosen;
    if (s->plan->tuning == BD_TUNING_QUICK && count > QUICK_CANDIDATES) {
        best_of_each_kind_first(tiles, count);
        count = QUICK_CANDIDATES;
    }
    const bool measured = choose(s, kernel, tiles, count, library, &chosen);
    chosen.among_all = s->plan->tuning == BD_TUNING_FULL;
    /* What there was no time for keeps its guess: the next start is to be quick, and a model's numbers the same. */
    if (measured || (s->plan->tuning == BD_TUNING_QUICK && is_over(s)))
        bd_cache_put(s->device->cache, "tune", key, &chosen, sizeof chosen);
    apply(s, kernel, &chosen);
}

static int most_work_first(const void *a, const void *b)
{
    const bd_kernel *x = *(bd_kernel *const *)a, *y = *(bd_kernel *const *)b;
    if (x->flops != y->flops)
        return x->flops < y->flops ? 1 : -1;
    return (x > y) - (x < y);
}

void bd_tune(bd_device *device, bd_plan *plan, void (*progress)(void *user, int done, int total), void *user)
{
    session s = { device, plan, bd_seconds(), false };
    if (plan->tuned || device->target.is_cpu || !device->backend->program_profile)
        return;
    bd_kernel **kernels = calloc((size_t)plan->kernel_count + 1, sizeof *kernels);
    int count = 0;
    for (int k = 0; kernels && k < plan->kernel_count; k++)
        if (plan->kernels[k].class == BD_KERNEL_CONTRACTION &&
            (plan->kernels[k].tile.kind == BD_TILE_GROUP || bd_tile_uses_matrix_units(&plan->kernels[k].tile)))
            kernels[count++] = &plan->kernels[k];
    if (kernels)
        qsort(kernels, (size_t)count, sizeof *kernels, most_work_first);
    for (int i = 0; i < count; i++) {
        if (progress)
            progress(user, i, count);
        tune_kernel(&s, kernels[i]);
    }
    free(kernels);
    plan->tuned = true;
}
