/* Runs a benchmark that is a graph. The graph is the engine's as a model would make it, so what is measured is what
 * training does. */
#include "bench_graph.h"
#include "../engine/tile.h"
#include "app.h"
#include <math.h>
#include <stdlib.h>

enum { CHECKED = 256 }; /* elements of a result */
static const char *const operand_names[BENCH_OPERANDS] = { "/a", "/b", "/c", "/d" };
static const char *const result_names[BENCH_RESULTS] = { "/result", "/result2", "/result3" };

/* ---- bounds ---- */

double bench_roundoff(bd_format format)
{
    return ldexp(1, -bd_format_describe(format).mantissa_bits - 1);
}

double bench_gamma(int64_t terms, bd_format accumulator)
{
    const double u = bench_roundoff(accumulator), lambda = 8;
    /* Twice the terms, since products are rounded too where they are no part of a fused multiply-add; one more for
     * partial sums. */
    const double k = 2 * (double)terms + 1;
    const double certain = k * u < 1 ? k * u / (1 - k * u) : INFINITY;
    return fmin(certain, expm1(lambda * sqrt(k) * u + k * u * u / (1 - u)));
}

/* exp of an argument off by d is off by expm1(d); the function itself by 3 units in the last place of F32 (OpenCL and
 * Vulkan allow 3 + 2 |x| for what is here at most 2 |x| wide); each node's result is rounded to its format once. */
bench_softmax bench_soften(const double *row, int64_t count, double input_error, const bench_check *check)
{
    bench_softmax s = { .greatest = -INFINITY };
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

bool bench_within(bd_format format, double value, double exact, double error)
{
    /* Below the least normal value each rounding is off by half of the least one. */
    error += fmax(bd_format_describe(format).least, 0x1p-126);
    if (isnan(value) || isnan(exact))
        return false;
    return value >= bd_round(format, exact - error) && value <= bd_round(format, exact + error);
}

bool bench_right_contraction(const bench_check *check, int64_t i, const void *user)
{
    (void)user;
    const bd_exact_sum sum = bd_judge_element(&check->contraction, i);
    return bench_within(check->value, check->result[i], sum.value,
                        (bench_gamma(sum.terms, check->accumulator) + check->dropped) * sum.magnitude);
}

bool bench_repeats(const bench *self, size_t policy, bool statistics)
{
    static const bd_role roles[] = { BD_ROLE_ACTIVATION, BD_ROLE_ACCUMULATOR, BD_ROLE_STATISTIC };
    const bench_settings *s = &self->settings;
    for (size_t i = 0; i < policy && !s->policies_given; i++) {
        bool same = true;
        for (int r = 0; r < 2 + statistics; r++)
            same &= bd_precision_format(&s->policies[i], roles[r], NULL) ==
                    bd_precision_format(&s->policies[policy], roles[r], NULL);
        if (same)
            return true;
    }
    return false;
}

/* ---- one case ---- */

typedef struct graph_run {
    bd_graph *graph;
    bd_store *store;
    bd_plan *plan;
    bd_program *program;
    uint64_t *nanoseconds; /* one a kernel */
} graph_run;

static bd_status run_program(void *user, uint32_t times, bd_error *error)
{
    graph_run *run = user;
    bd_status status = bd_program_run(run->program, times, error);
    return status ? status : bd_program_finish(run->program, error);
}

static bd_status clock_program(void *user, double *seconds, bd_error *error)
{
    graph_run *run = user;
    bd_status status = bd_program_profile(run->program, run->nanoseconds, error);
    *seconds = 0;
    for (int i = 0; !status && i < bd_program_plan(run->program)->kernel_count; i++)
        *seconds += 1e-9 * (double)run->nanoseconds[i];
    return status;
}

static bd_status build(graph_run *run, const bd_precision *policy, const bench_case *c, bd_error *error)
{
    bd_status status = bd_graph_create(&run->graph, error);
    if (status)
        return status;
    bd_tensor operands[BENCH_OPERANDS], results[BENCH_RESULTS] = { BD_NONE, BD_NONE, BD_NONE };
    const bd_init zeros = { BD_INIT_CONSTANT, 0 };
    for (int i = 0; i < c->operand_count; i++) {
        /* As a training step stores them: rounded, without the scale, which the sum gets. */
        const bd_role role = bench_operand_role(policy, c->roles, i);
        const bd_format_info info = bd_format_describe(bd_precision_format(policy, role, NULL));
        const bd_init random = { BD_INIT_UNIFORM, info.kind == BD_KIND_SIGNED ? (float)info.largest : 1 };
        operands[i] = bd_variable(run->graph, operand_names[i], role, BD_F32, c->operands[i], random);
    }
    c->build(run->graph, operands, c->user, results);
    for (int i = 0; i < c->result_count && results[i] != BD_NONE; i++)
        bd_assign(run->graph,
                  bd_variable(run->graph, result_names[i], BD_ROLE_ACTIVATION, BD_F32,
                              bd_tensor_shape(run->graph, results[i]), zeros),
                  results[i]);
    status = bd_graph_status(run->graph, error);
    return status ? status : bd_graph_apply_precision(run->graph, policy, error);
}

/* Why the device cannot hold it, before it is tried; or that the library is not for it. */
static bool possible(const bench *self, bench_row *row, const bench_case *c, const bd_plan *plan)
{
    const bd_limits *limits = &self->device->info.limits;
    const uint64_t needed = plan->arena_bytes + plan->pack_bytes + plan->variable_bytes;
    char need[32], have[32];
    if (limits->memory_bytes && needed > limits->memory_bytes)
        bench_set(row, BENCH_SKIPPED, "needs %s of device memory, and there is %s", app_bytes(need, needed),
                  app_bytes(have, limits->memory_bytes));
    bool library = false;
    for (int i = 0; i < plan->kernel_count; i++)
        library |= plan->kernels[i].class == BD_KERNEL_LIBRARY;
    if (c->gemm == BD_GEMM_LIBRARY && !library)
        bench_set(row, BENCH_UNSUPPORTED,
                  "CLBlast sums in the format of its operands, and has FP16 only where the driver has");
    return row->status == BENCH_OK;
}

static double *read_values(const graph_run *run, const char *name, int64_t *count, bd_error *error)
{
    const bd_store_entry *entry = bd_store_find(run->store, name + 1);
    *count = entry ? bd_shape_elements(&entry->shape) : 0;
    double *values = *count > 0 ? malloc((size_t)*count * sizeof *values) : NULL;
    if (!values) {
        bd_fail(error, BD_ERROR_MEMORY, "no memory to check %lld results", (long long)*count);
    } else if (bd_store_read_values(run->store, name + 1, values, (size_t)*count, error)) {
        free(values);
        values = NULL;
    }
    return values;
}

static bool is_contraction(bd_op op)
{
    return op == BD_OP_MATMUL || op == BD_OP_CONV2D || op == BD_OP_CONV2D_DATA || op == BD_OP_CONV2D_WEIGHT;
}

static void find_contraction(const bd_graph *graph, const bd_target *target, bench_check *check)
{
    for (bd_tensor i = 0; i < graph->node_count && !check->contraction.node; i++)
        if (is_contraction(graph->nodes[i].op)) {
            check->contraction = bd_judge_of(graph, i);
            check->dropped = bd_unit_sum_error(graph, i, target);
        }
    check->contraction.values[0] = check->operands[0];
    check->contraction.values[1] = check->operands[1];
}

/* The first and the last elements and some between. */
static void judge(bench_row *row, const bench_case *c, const bench_check *check)
{
    const int64_t count = check->result_count, most = c->checked ? c->checked : CHECKED;
    const int64_t samples = count < most ? count : most;
    for (int64_t s = 0; s < samples; s++) {
        const int64_t i = samples > 1 ? (int64_t)((double)s / (double)(samples - 1) * (double)(count - 1)) : 0;
        if (c->right(check, i, c->user))
            continue;
        bench_set(row, BENCH_WRONG, "element %lld of %lld is %.9g, outside of its error bound", (long long)i,
                  (long long)count, check->result[i]);
        return;
    }
}

static bd_status check_result(const graph_run *run, bench_row *row, const bd_precision *policy, const bench_case *c,
                              const bd_target *target, bd_error *error)
{
    bench_check check = { .value = bd_precision_format(policy, BD_ROLE_ACTIVATION, NULL),
                          .statistic = bd_precision_format(policy, BD_ROLE_STATISTIC, NULL),
                          .accumulator = bd_precision_format(policy, BD_ROLE_ACCUMULATOR, NULL) };
    const bd_format gradient = bd_precision_format(policy, BD_ROLE_GRADIENT, NULL);
    check.coarsest = check.value == BD_F16 || check.statistic == BD_F16 || gradient == BD_F16 ? BD_F16 : BD_F32;
    double *operands[BENCH_OPERANDS] = { 0 };
    bool good = true;
    for (int i = 0; i < c->operand_count && good; i++) {
        int64_t count;
        check.operands[i] = operands[i] = read_values(run, operand_names[i], &count, error);
        good = operands[i] != NULL;
    }
    if (good)
        find_contraction(run->graph, target, &check);
    for (check.which = 0; check.which < c->result_count && good && row->status == BENCH_OK; check.which++) {
        double *result = read_values(run, result_names[check.which], &check.result_count, error);
        check.result = result;
        good = result != NULL;
        if (good)
            judge(row, c, &check);
        free(result);
    }
    for (int i = 0; i < c->operand_count; i++)
        free(operands[i]);
    return good ? BD_OK : error->status;
}

static bd_status measure(bench *self, graph_run *run, bench_row *row, const bd_precision *policy, const bench_case *c,
                         bd_error *error)
{
    row->flops = c->flops > 0 ? c->flops : (double)run->plan->flops;
    row->bytes = (double)run->plan->bytes;
    bd_status status = bd_store_create(self->device, &run->store, error);
    if (!status)
        status = bd_program_create(run->store, &run->plan, 1, NULL, NULL, &run->program, error);
    if (status)
        return status;
    run->nanoseconds = calloc((size_t)bd_program_plan(run->program)->kernel_count + 1, sizeof *run->nanoseconds);
    if (!run->nanoseconds)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for times");
    const bench_work work = { run_program, clock_program, run };
    status = bench_measure(self, &work, row, error);
    if (!status && row->status == BENCH_OK && row->wall.count)
        status = check_result(run, row, policy, c, &self->device->target, error);
    return status;
}

void bench_run_case(bench *self, bench_row *row, const bd_precision *policy, const bench_case *c)
{
    graph_run run = { 0 };
    bd_error error = { 0 };
    const bd_compile_options options = { .gemm = c->gemm };
    bd_status status = build(&run, policy, c, &error);
    if (!status)
        status = bd_plan_create(run.graph, &self->device->target, &options, &run.plan, &error);
    if (!status && possible(self, row, c, run.plan))
        status = measure(self, &run, row, policy, c, &error);
    free(run.nanoseconds);
    bd_program_destroy(&run.program);
    bd_plan_destroy(&run.plan);
    bd_store_destroy(&run.store);
    bd_graph_destroy(&run.graph);
    bench_end(self, row, status, &error);
}
