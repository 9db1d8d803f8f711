/* What a device really does: see the header. */
#include "probe.h"
#include "../engine/tile.h"

#include <math.h>
#include <stdlib.h>

static bd_tensor variable(bd_graph *graph, const char *name, bd_format format, bd_shape shape)
{
    const bd_init zeros = { BD_INIT_CONSTANT, 0 };
    return bd_variable(graph, name, BD_ROLE_FIXED, format, shape, zeros);
}

/* A graph whose nodes keep their formats; NULL without memory. */
static bd_graph *begin(bd_error *error)
{
    bd_graph *graph = NULL;
    if (bd_graph_create(&graph, error) == BD_OK)
        bd_set_role(graph, BD_ROLE_FIXED);
    return graph;
}

/* ---- rounding ---- */

enum { STEPS = 8, PARTS = 3, VALUES = 2 * STEPS * PARTS };

/* A number of [1, 2) or of its negative that lies `part` quarters of a step above a representable one. */
typedef struct tie {
    double low, rest, step;
    int sign, steps;
} tie;

static tie tie_at(bd_format format, int i)
{
    const double step = 2 * format_roundoff(format);
    const int steps = i / 2 / PARTS, part = i / 2 % PARTS + 1;
    return (tie){ 1 + steps * step, part * step / 4, step, i % 2 ? -1 : 1, steps };
}

typedef enum direction { NEAREST_EVEN, TOWARD_ZERO, UP, DOWN, NEAREST_AWAY, DIRECTIONS } direction;

static bool goes_up(direction how, const tie *t) /* in magnitude */
{
    switch (how) {
    case NEAREST_EVEN: return t->rest > t->step / 2 || (t->rest == t->step / 2 && t->steps % 2 == 1);
    case NEAREST_AWAY: return t->rest >= t->step / 2;
    case UP: return t->sign > 0;
    case DOWN: return t->sign < 0;
    default: return false;
    }
}

static const char *name_of(bd_format format, const double *results)
{
    static const char *const names[] = { "to nearest even", "toward zero", "up", "down", "to nearest, ties away" };
    for (direction how = 0; how < DIRECTIONS; how++) {
        bool all = true;
        for (int i = 0; i < VALUES; i++) {
            const tie t = tie_at(format, i);
            all &= results[i] == t.sign * (goes_up(how, &t) ? t.low + t.step : t.low);
        }
        if (all)
            return names[how];
    }
    return "irregularly";
}

bd_status probe_rounding(session *s, bd_format format, const char **name, bd_error *error)
{
    double a[VALUES], b[VALUES], results[VALUES];
    device_run run = { 0 };
    bd_graph *graph = begin(error);
    if (!graph)
        return BD_ERROR_MEMORY;
    const bd_shape shape = BD_SHAPE(VALUES);
    const bd_tensor left = variable(graph, "/a", BD_F32, shape), right = variable(graph, "/b", BD_F32, shape);
    /* A node's result is rounded to its format: that of a sum, and of a cast of what is exact as a float. */
    const bd_tensor result = format == BD_F32 ? bd_add(graph, left, right) : bd_cast(graph, left, BD_ROLE_ACTIVATION);
    bd_assign(graph, variable(graph, "/y", format, shape), result);
    for (bd_tensor t = 0; t < graph->node_count; t++)
        if (graph->nodes[t].op != BD_OP_VARIABLE)
            graph->nodes[t].format = graph->nodes[t].accumulator = format;
    for (int i = 0; i < VALUES; i++) {
        const tie t = tie_at(format, i);
        a[i] = t.sign * (format == BD_F32 ? t.low : t.low + t.rest);
        b[i] = t.sign * t.rest;
    }
    bd_status status = bd_graph_status(graph, error);
    if (status == BD_OK && (status = device_run_create(s, graph, &run, error)) == BD_OK &&
        (status = bd_store_write_values(run.store, "a", a, VALUES, error)) == BD_OK &&
        (format != BD_F32 || (status = bd_store_write_values(run.store, "b", b, VALUES, error)) == BD_OK) &&
        (status = bd_program_run(run.program, 1, error)) == BD_OK)
        status = bd_store_read_values(run.store, "y", results, VALUES, error);
    if (status == BD_OK)
        *name = name_of(format, results);
    device_run_destroy(&run);
    bd_graph_destroy(&graph);
    return status;
}

/* ---- work-groups ---- */

enum { ROWS = 16 };

/* Sums rows of whole numbers with work-groups of `items`; `*right` tells whether the sums are. */
static bd_status try_workgroup(session *s, uint32_t items, bool *right, bd_error *error)
{
    const bd_target *target = &s->device->target;
    const int64_t length = 2 * (int64_t)items + 1;
    bd_store *store = NULL;
    bd_plan *plan = NULL;
    bd_program *program = NULL;
    double sums[ROWS];
    bd_graph *graph = begin(error);
    if (!graph)
        return BD_ERROR_MEMORY;
    const bd_tensor x = variable(graph, "/x", BD_F32, BD_SHAPE(ROWS, length));
    bd_assign(graph, variable(graph, "/y", BD_F32, BD_SHAPE(ROWS)), bd_sum(graph, x, 1, 1, false));
    double *values = test_allocate(ROWS * length, sizeof *values);
    for (int64_t i = 0; i < ROWS * length; i++)
        values[i] = (double)(i % 7); /* all sums below 2^24: exact in any order */
    bd_status status = bd_graph_status(graph, error);
    if (status == BD_OK && (status = bd_plan_create(graph, target, NULL, &plan, error)) == BD_OK)
        for (int k = 0; k < plan->kernel_count; k++) {
            bd_kernel *kernel = &plan->kernels[k];
            if (kernel->class != BD_KERNEL_ROWS)
                continue;
            kernel->local[0] = items;
            kernel->local[1] = 1;
            bd_spread_groups(target, kernel, (uint64_t)(kernel->extent.outer * kernel->extent.chunks));
        }
    if (status == BD_OK && (status = bd_store_create(s->device, &store, error)) == BD_OK &&
        (status = bd_program_create(store, &plan, 0, NULL, NULL, &program, error)) == BD_OK &&
        (status = bd_store_write_values(store, "x", values, (size_t)(ROWS * length), error)) == BD_OK &&
        (status = bd_program_run(program, 1, error)) == BD_OK)
        status = bd_store_read_values(store, "y", sums, ROWS, error);
    *right = status == BD_OK;
    for (int64_t r = 0; r < ROWS && *right; r++) {
        double sum = 0;
        for (int64_t i = 0; i < length; i++)
            sum += values[r * length + i];
        *right = sums[r] == sum;
    }
    free(values);
    bd_program_destroy(&program);
    bd_plan_destroy(&plan);
    bd_store_destroy(&store);
    bd_graph_destroy(&graph);
    return status;
}

/* A size that a driver refuses is one that does not work; without memory there is no answer. */
static bool is_fatal(bd_status status)
{
    return status == BD_ERROR_MEMORY;
}

bd_status probe_workgroup(session *s, uint32_t *items, bd_error *error)
{
    const bd_limits *limits = &s->info->limits;
    uint32_t most = limits->max_workgroup_items, try = 1;
    if (limits->max_workgroup_size[0] && limits->max_workgroup_size[0] < most)
        most = limits->max_workgroup_size[0];
    if (limits->shared_bytes / sizeof(float) < most)
        most = limits->shared_bytes / sizeof(float);
    while (try <= most / 2)
        try *= 2;
    for (*items = 0; try && !*items; try /= 2) {
        bool right;
        const bd_status status = try_workgroup(s, try, &right, error);
        if (is_fatal(status))
            return status;
        *items = right ?
        try:
            0;
    }
    return BD_OK;
}

/* ---- buffers ---- */

enum { COLUMNS = 4096, CHUNK_BYTES = 16 << 20, LEAST_BYTES = 65536 };

/* Element (row, column) holds row + column: below 2^24 for 64 Gi elements, so exact, and what lands a power of two away
 * is seen. */
static bd_status verify(bd_store *store, int64_t rows, bool *right, bd_error *error)
{
    const int64_t chunk = CHUNK_BYTES / (COLUMNS * (int64_t)sizeof(float));
    float *values = test_allocate(chunk * COLUMNS, sizeof *values);
    bd_status status = BD_OK;
    *right = true;
    for (int64_t first = 0; first < rows && *right && status == BD_OK; first += chunk) {
        const int64_t count = rows - first < chunk ? rows - first : chunk;
        status = bd_store_read_part(store, "x", (uint64_t)first * COLUMNS * sizeof(float), values,
                                    (uint64_t)count * COLUMNS * sizeof(float), NULL, error);
        for (int64_t i = 0; i < count * COLUMNS && status == BD_OK; i++)
            *right &= values[i] == (float)(first + i / COLUMNS + i % COLUMNS);
    }
    free(values);
    return status;
}

static bd_status try_buffer(session *s, uint64_t bytes, bool *right, bd_error *error)
{
    const int64_t rows = (int64_t)(bytes / (COLUMNS * sizeof(float)));
    device_run run = { 0 };
    bd_graph *graph = begin(error);
    *right = false;
    if (!graph)
        return BD_ERROR_MEMORY;
    const bd_shape shape = BD_SHAPE(rows, COLUMNS);
    bd_assign(graph, variable(graph, "/x", BD_F32, shape),
              bd_add(graph, bd_iota(graph, shape, 0), bd_iota(graph, shape, 1)));
    bd_status status = bd_graph_status(graph, error);
    if (status == BD_OK && (status = device_run_create(s, graph, &run, error)) == BD_OK &&
        (status = bd_program_run(run.program, 1, error)) == BD_OK &&
        (status = bd_program_finish(run.program, error)) == BD_OK)
        status = verify(run.store, rows, right, error);
    device_run_destroy(&run);
    bd_graph_destroy(&graph);
    return status;
}

bd_status probe_buffer(session *s, uint64_t most, uint64_t *bytes, bd_error *error)
{
    uint64_t low = 0, high = most; /* the largest that worked, the largest that may */
    for (uint64_t try = most; try >= LEAST_BYTES && (low == 0 || high - low > most / 16);
         try = low + (high - low) / 2) {
        bool right;
        if (try_buffer(s, try, &right, error) == BD_OK && right) {
            low = try;
            if (try == most)
                break;
        } else {
            high = try;
        }
    }
    *bytes = low;
    return BD_OK;
}
