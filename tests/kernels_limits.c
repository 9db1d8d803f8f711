/* Sizes at which hardware stops being generous. */
#include "kernels.h"

#include <stdio.h>
#include <string.h>

/* More elements than one dimension of work-groups covers: 65,535 groups of 256. */
static void many_groups(session *s)
{
    test_case c;
    if (!case_begin(&c, s, fp16, "17 million elements"))
        return;
    bd_shape shape = BD_SHAPE(65535 * 256 + 259);
    bd_tensor x = case_input(&c, BD_F16, shape, FILL_WHOLE);
    case_output(&c, bd_neg(c.graph, x), bit_identical);
    case_run(&c);
}

/* The largest buffer that these tests make. */
enum { LARGEST_BYTES = 512 << 20 };

static bd_status copy_part(session *s, int64_t base_elements, int64_t offset, int64_t count, device_run *run,
                           bd_error *error)
{
    bd_graph *graph;
    bd_status status = bd_graph_create(&graph, error);
    if (status != BD_OK)
        return status;
    bd_init zeros = { BD_INIT_CONSTANT, 0 };
    bd_variable(graph, "/base", BD_ROLE_FIXED, BD_F32, BD_SHAPE(base_elements), zeros);
    bd_tensor part = bd_variable(graph, "/part", BD_ROLE_FIXED, BD_F32, BD_SHAPE(count), zeros);
    bd_tensor result = bd_variable(graph, "/result", BD_ROLE_FIXED, BD_F32, BD_SHAPE(count), zeros);
    bd_set_role(graph, BD_ROLE_FIXED);
    if (part != BD_NONE && result != BD_NONE) {
        graph->nodes[part].attr.variable.base = bd_graph_find_variable(graph, "base");
        graph->nodes[part].attr.variable.base_offset = offset;
        bd_assign(graph, result, bd_neg(graph, part));
    }
    bd_precision precision;
    if ((status = bd_graph_status(graph, error)) == BD_OK &&
        (status = bd_precision_parse("fp32", &precision, error)) == BD_OK &&
        (status = bd_graph_apply_precision(graph, &precision, error)) == BD_OK)
        status = device_run_create(s, graph, run, error);
    bd_graph_destroy(&graph);
    return status;
}

static bool limit_is_testable(const session *s)
{
    const bd_limits *limits = &s->info->limits;
    return limits->max_binding_bytes > 0 && limits->max_binding_bytes < LARGEST_BYTES &&
           limits->max_buffer_bytes > limits->max_binding_bytes + (1 << 20);
}

/* A variable in a buffer larger than a binding may be, behind that limit. */
static void behind_the_binding_limit(session *s)
{
    enum { COUNT = 1009 };
    const char *name = "a part behind the binding limit";
    if ((s->filter && !strstr(name, s->filter)) || !limit_is_testable(s))
        return;
    int64_t offset = (int64_t)((s->info->limits.max_binding_bytes + 4095) / 4096 * 4096 / sizeof(float));
    double values[COUNT], result[COUNT];
    device_run run;
    bd_error error = { BD_OK, "" };
    bd_status status = copy_part(s, offset + 2048, offset, COUNT, &run, &error);
    bool good = status == BD_OK;
    if (good) {
        for (int i = 0; i < COUNT; i++)
            values[i] = i;
        good = bd_store_write_values(run.store, "part", values, COUNT, &error) == BD_OK &&
               bd_program_run(run.program, 1, &error) == BD_OK && bd_program_finish(run.program, &error) == BD_OK &&
               bd_store_read_values(run.store, "result", result, COUNT, &error) == BD_OK;
        for (int i = 0; i < COUNT && good; i++)
            good = result[i] == -i;
        device_run_destroy(&run);
    }
    session_count(s, good, name, "%s", error.message);
}

/* A variable that no binding can hold is refused, with both numbers. */
static void past_the_binding_limit(session *s)
{
    const char *name = "a variable past the binding limit is refused";
    if ((s->filter && !strstr(name, s->filter)) || !limit_is_testable(s))
        return;
    int64_t count = (int64_t)(s->info->limits.max_binding_bytes / sizeof(float)) + 1;
    device_run run;
    bd_error error = { BD_OK, "" };
    bd_status status = copy_part(s, count, 0, count, &run, &error);
    char limit[32];
    snprintf(limit, sizeof limit, "%llu", (unsigned long long)s->info->limits.max_binding_bytes);
    session_count(s, status == BD_ERROR_UNSUPPORTED && strstr(error.message, limit), name, "status %d, %s", status,
                  error.message);
    if (status == BD_OK)
        device_run_destroy(&run);
}

void test_limits(session *s)
{
    many_groups(s);
    behind_the_binding_limit(s);
    past_the_binding_limit(s);
}
