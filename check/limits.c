/* Sizes at which hardware stops being generous. */
#include "case.h"

#include <stdlib.h>
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

/* result = -part, where `part` lies `offset` elements behind the beginning of a larger buffer. */
static bd_status build_negation(session *s, int64_t offset, int64_t count, device_run *run, bd_error *error)
{
    bd_graph *graph;
    bd_status status = bd_graph_create(&graph, error);
    if (status != BD_OK)
        return status;
    bd_init zeros = { BD_INIT_CONSTANT, 0 };
    bd_set_role(graph, BD_ROLE_FIXED);
    bd_tensor base = bd_variable(graph, "/base", BD_ROLE_FIXED, BD_F32, BD_SHAPE(offset + count), zeros);
    bd_tensor part = bd_variable(graph, "/part", BD_ROLE_FIXED, BD_F32, BD_SHAPE(count), zeros);
    bd_tensor result = bd_variable(graph, "/result", BD_ROLE_FIXED, BD_F32, BD_SHAPE(count), zeros);
    if (part != BD_NONE) {
        graph->nodes[part].attr.variable.base = base;
        graph->nodes[part].attr.variable.base_offset = offset;
    }
    bd_assign(graph, result, bd_neg(graph, part));
    bd_precision precision;
    if ((status = bd_graph_status(graph, error)) == BD_OK &&
        (status = bd_precision_parse("fp32", &precision, error)) == BD_OK &&
        (status = bd_graph_apply_precision(graph, &precision, error)) == BD_OK)
        status = device_run_create(s, graph, run, error);
    bd_graph_destroy(&graph);
    return status;
}

/* A number that names its element. */
static float numbered(int64_t i)
{
    return (float)(i % 16777213 + 1);
}

static bd_status run_negation(session *s, int64_t offset, int64_t count, bd_error *error)
{
    device_run run;
    bd_status status = build_negation(s, offset, count, &run, error);
    if (status != BD_OK)
        return status;
    float *values = test_allocate(count, sizeof *values);
    uint64_t size = (uint64_t)count * sizeof *values;
    for (int64_t i = 0; i < count; i++)
        values[i] = numbered(i);
    if ((status = bd_store_write(run.store, "part", values, size, error)) == BD_OK &&
        (status = bd_program_run(run.program, 1, error)) == BD_OK &&
        (status = bd_program_finish(run.program, error)) == BD_OK)
        status = bd_store_read(run.store, "result", values, size, error);
    for (int64_t i = 0; i < count && status == BD_OK; i++)
        if (values[i] != -numbered(i))
            status = bd_fail(error, BD_ERROR_DATA, "element %lld of %lld is %.9g, not %.9g", (long long)i,
                             (long long)count, values[i], -numbered(i));
    free(values);
    device_run_destroy(&run);
    return status;
}

/* One binding shows a kernel at most so many bytes of a buffer. Where buffers may be larger: a variable behind that
 * limit, and one that takes more than one binding. */
static void binding_limit(session *s)
{
    const bd_limits *limits = &s->info->limits;
    uint64_t most = limits->max_binding_bytes;
    bool testable = most > 0 && most < LARGEST_BYTES && limits->max_buffer_bytes > most + (1 << 20);
    int64_t page = 4096, behind = (int64_t)(most / sizeof(float) + (uint64_t)page - 1) / page * page;
    const struct {
        const char *name;
        int64_t offset, count;
    } cases[] = { { "a part behind the binding limit", behind, 1009 },
                  { "a variable past the binding limit", 0, (int64_t)(most / sizeof(float)) + 1009 } };
    for (int i = 0; i < 2; i++) {
        if (!testable || !session_wants(s, cases[i].name))
            continue;
        bd_error error = { BD_OK, "" };
        bd_status status = run_negation(s, cases[i].offset, cases[i].count, &error);
        session_report(s, status == BD_OK, cases[i].name, "%s", error.message);
    }
}

void test_limits(session *s)
{
    many_groups(s);
    binding_limit(s);
}
