/* A case: its graph, its inputs and outputs between guard bands, and its run on the device. */
#include "case.h"

#include "../engine/columns.h"
#include "../engine/control.h"
#include "../engine/philox.h"
#include "../engine/tensor_map.h"
#include "../engine/tile.h"
#include "compare.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const format_set fp32 = { .name = "fp32", .value = BD_F32, .statistic = BD_F32, .accumulator = BD_F32 };
const format_set fp16 = { .name = "fp16", .value = BD_F16, .statistic = BD_F16, .accumulator = BD_F32 };
const format_set fp16_strict = { .name = "fp16-strict", .value = BD_F16, .statistic = BD_F16, .accumulator = BD_F16 };
const format_set mixed = { .name = "mixed", .value = BD_F16, .statistic = BD_F32, .accumulator = BD_F32 };

/* Bytes before and after each variable. A multiple of every device's binding alignment, which Vulkan and OpenCL cap at
 * 256 bytes. */
enum { GUARD_BYTES = 256, GUARD_PATTERN = 0x5a, UNWRITTEN_PATTERN = 0xff /* a NaN in F32 and F16 */ };

void *test_allocate(int64_t count, size_t size)
{
    void *memory = calloc(count > 0 ? (size_t)count : 1, size);
    if (!memory) {
        fprintf(stderr, "binade: no memory on the host for %lld elements\n", (long long)count);
        exit(1);
    }
    return memory;
}

/* ---- random numbers ---- */

/* FNV-1a, so that a case has the same numbers whatever else runs. */
static uint64_t hash_text(const char *text)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * UINT64_C(1099511628211);
    return hash;
}

uint32_t case_random_bits(const test_case *c, uint32_t stream, int64_t i)
{
    const uint32_t key[2] = { (uint32_t)c->random, (uint32_t)(c->random >> 32) };
    const uint32_t counter[4] = { (uint32_t)i, (uint32_t)((uint64_t)i >> 32), stream, 0 };
    uint32_t word[4];
    bd_philox(key, counter, word);
    return word[0];
}

double case_random(const test_case *c, uint32_t stream, int64_t i)
{
    return bd_philox_uniform(case_random_bits(c, stream, i));
}

/* ---- building ---- */

bool case_begin(test_case *c, session *s, format_set formats, const char *name, ...)
{
    char text[120];
    va_list arguments;
    va_start(arguments, name);
    vsnprintf(text, sizeof text, name, arguments);
    va_end(arguments);
    *c = (test_case){ .session = s, .formats = formats, .repeats = 1 };
    snprintf(c->name, sizeof c->name, "%s %s", text, formats.name);
    if (!session_wants(s, c->name))
        return false;
    c->random = s->seed ^ hash_text(s->group) ^ hash_text(c->name);
    bd_error error;
    if (bd_graph_create(&c->graph, &error) != BD_OK) {
        fprintf(stderr, "binade: %s\n", error.message);
        exit(1);
    }
    return true;
}

/* A variable of its own, or between guard bands in a larger one. */
static bd_tensor guarded_variable(test_case *c, const char *name, bd_format format, bd_shape shape)
{
    bd_init zeros = { BD_INIT_CONSTANT, 0 };
    int64_t guard = GUARD_BYTES / (int64_t)bd_format_size(format);
    char full[64];
    snprintf(full, sizeof full, "/%s.base", name);
    int64_t total = bd_shape_elements(&shape) + 2 * guard;
    bd_tensor base = bd_variable(c->graph, full, BD_ROLE_FIXED, format, BD_SHAPE(total), zeros);
    snprintf(full, sizeof full, "/%s", name);
    bd_tensor part = bd_variable(c->graph, full, BD_ROLE_FIXED, format, shape, zeros);
    if (part == BD_NONE)
        return BD_NONE;
    c->graph->nodes[part].attr.variable.base = base;
    c->graph->nodes[part].attr.variable.base_offset = guard;
    return part;
}

/* Bits of a half or a float where arithmetic is likely to go wrong. */
static double special_value(const test_case *c, bd_format format, uint32_t stream, int64_t i)
{
    static const uint16_t halves[] = {
        0x0000, 0x8000, 0x7c00, 0xfc00, 0x7e00, 0x0001, 0x8001, 0x03ff, 0x83ff, 0x0400, 0x8400, 0x7bff, 0xfbff, 0x3c00,
        0xbc00, 0x3c01, 0x3bff, 0x6800, 0x6801, 0x1000, 0x1001, 0x9001, 0x3555, 0x4248, 0x7800, 0x0200, 0x5801, 0x1400,
    };
    static const uint32_t floats[] = {
        0x00000000, 0x80000000, 0x7f800000, 0xff800000, 0x7fc00000, 0x00000001, 0x80000001, 0x007fffff,
        0x00800000, 0x80800000, 0x7f7fffff, 0xff7fffff, 0x3f800000, 0xbf800000, 0x3f800001, 0x3f7fffff,
        0x4b800000, 0x4b800001, 0x33800000, 0x33800001, 0x34000000, 0x3eaaaaab, 0x40490fdb, 0x20000000,
        0x1f800000, 0x5f800000, 0x477fe000, 0x477ff000, 0x38800000, 0x33000000, 0x33000001, 0x387fe000,
    };
    uint32_t choice = case_random_bits(c, stream, i), bits = case_random_bits(c, stream + 1, i);
    double value;
    if (format == BD_F16) {
        enum { COUNT = sizeof halves / sizeof halves[0] };
        uint16_t half = choice & 1 ? halves[(choice >> 1) % COUNT] : (uint16_t)bits;
        bd_format_decode(BD_F16, &half, &value, 1);
    } else {
        enum { COUNT = sizeof floats / sizeof floats[0] };
        uint32_t word = choice & 1 ? floats[(choice >> 1) % COUNT] : bits;
        bd_format_decode(BD_F32, &word, &value, 1);
    }
    return value;
}

static double fill_value(const test_case *c, bd_format format, fill_kind fill, uint32_t stream, int64_t i)
{
    switch (fill) {
    case FILL_UNIFORM: return 2 * case_random(c, stream, i) - 1;
    case FILL_POSITIVE: return 0.5 + 1.5 * case_random(c, stream, i);
    case FILL_WHOLE: return (double)(case_random_bits(c, stream, i) % 5) - 2;
    case FILL_WIDE: return (case_random_bits(c, stream, i) & 1 ? -1 : 1) * exp2(120 * case_random(c, stream, i) - 60);
    case FILL_SPECIAL: return special_value(c, format, stream, i);
    }
    return 0;
}

/* A case that asks for more than there is room for is a mistake in its source. */
static void need_room(const test_case *c, int count, int most, const char *what)
{
    if (count < most)
        return;
    fprintf(stderr, "binade: case '%s' has more than %d %s: raise check/case.h's maximum\n", c->name, most, what);
    exit(1);
}

static case_given *add_input(test_case *c, const char *name, bd_format format, bd_shape shape)
{
    need_room(c, c->input_count, MAX_INPUTS, "inputs");
    case_given *input = &c->inputs[c->input_count];
    char numbered[16];
    snprintf(numbered, sizeof numbered, "in%d", c->input_count++);
    if (!name)
        name = numbered;
    *input = (case_given){ .tensor = guarded_variable(c, name, format, shape), .count = bd_shape_elements(&shape) };
    input->values = test_allocate(input->count, sizeof(double));
    return input;
}

bd_tensor case_input(test_case *c, bd_format format, bd_shape shape, fill_kind fill)
{
    uint32_t stream = 2 * (uint32_t)c->input_count; /* two a input, see special_value */
    case_given *input = add_input(c, NULL, format, shape);
    for (int64_t i = 0; i < input->count; i++)
        input->values[i] = bd_round(format, fill_value(c, format, fill, stream, i));
    return input->tensor;
}

bd_tensor case_input_values(test_case *c, bd_format format, bd_shape shape, const double *values)
{
    case_given *input = add_input(c, NULL, format, shape);
    for (int64_t i = 0; i < input->count; i++)
        input->values[i] = bd_round(format, values[i]);
    return input->tensor;
}

bd_tensor case_control(test_case *c, const double *words)
{
    case_given *input = add_input(c, "control", BD_U32, BD_SHAPE(BD_CONTROL_WORD_COUNT));
    memcpy(input->values, words, (size_t)input->count * sizeof *words);
    return input->tensor;
}

void case_output(test_case *c, bd_tensor value, test_tolerance tolerance)
{
    need_room(c, c->output_count, MAX_OUTPUTS, "outputs");
    c->outputs[c->output_count++] = (case_compared){ .value = value, .variable = BD_NONE, .tolerance = tolerance };
}

/* Formats first: an output's variable has the format of the node that it keeps. */
static bd_status finish_graph(test_case *c, bd_error *error)
{
    bd_status status = bd_graph_status(c->graph, error);
    if (status != BD_OK)
        return status;
    bd_precision precision = { .scaling = BD_SCALING_NONE, .saturate = c->formats.saturate };
    for (int role = 0; role < BD_ROLE_COUNT; role++) {
        precision.format[role] = c->formats.value;
        precision.mode[role] = c->formats.mode[role];
    }
    precision.format[BD_ROLE_ACCUMULATOR] = c->formats.accumulator;
    precision.format[BD_ROLE_STATISTIC] = c->formats.statistic;
    for (int role = BD_ROLE_WEIGHT_OPERAND; c->operands && role <= BD_ROLE_GRADIENT_OPERAND; role++)
        precision.format[role] = c->operands->format[role];
    precision.saturate |= c->operands && c->operands->saturate;
    precision.unit_sums = c->unit_sums;
    if ((status = bd_graph_apply_precision(c->graph, &precision, error)) != BD_OK)
        return status;
    for (int i = 0; i < c->output_count; i++) {
        case_compared *output = &c->outputs[i];
        bd_shape shape = bd_tensor_shape(c->graph, output->value);
        char name[16];
        snprintf(name, sizeof name, "out%d", i);
        output->variable = guarded_variable(c, name, bd_node_at(c->graph, output->value)->format, shape);
        bd_assign(c->graph, output->variable, output->value);
        output->count = bd_shape_elements(&shape);
        output->result = test_allocate(output->count, sizeof(double));
    }
    if ((status = bd_graph_status(c->graph, error)) != BD_OK)
        return status;
    return bd_graph_apply_precision(c->graph, &precision, error); /* the new ASSIGN nodes */
}

/* ---- on the device ---- */

static bool same_tile(const bd_tile *a, const bd_tile *b)
{
    return a->kind == b->kind && a->m == b->m && a->n == b->n && a->k == b->k && a->item_m == b->item_m &&
           a->item_n == b->item_n && a->slices == b->slices;
}

static void force_tile(session *s, bd_plan *plan)
{
    const bd_target *target = &s->device->target;
    for (int k = 0; s->tile.m && k < plan->kernel_count; k++) {
        bd_kernel *kernel = &plan->kernels[k];
        s->tile_count += kernel->class == BD_KERNEL_ATTENTION && same_tile(&kernel->tile, &s->tile);
        bd_tile tiles[BD_GROUP_TILES];
        const int count = kernel->class == BD_KERNEL_CONTRACTION && !target->is_cpu
                              ? bd_group_tiles(plan->graph, kernel->anchor, kernel, target, tiles)
                              : 0;
        for (int i = 0; i < count; i++)
            if (same_tile(&tiles[i], &s->tile)) {
                kernel->tile = s->tile;
                bd_group_launch(plan, kernel, target);
                s->tile_count++;
                break;
            }
    }
    plan->fixed = s->tile.m > 0;
    plan->tuned |= plan->fixed || s->guessed;
}

bd_status device_run_create(session *s, const bd_graph *graph, device_run *run, bd_error *error)
{
    *run = (device_run){ 0 };
    bd_compile_options options = { .no_fusion = s->no_fusion, .gemm = s->gemm };
    bd_plan *plan = NULL;
    bd_status status = bd_store_create(s->device, &run->store, error);
    if (status == BD_OK)
        status = bd_plan_create(graph, &s->device->target, &options, &plan, error);
    if (status == BD_OK) {
        force_tile(s, plan);
        status = bd_program_create(run->store, &plan, s->seed, NULL, NULL, &run->program, error);
    }
    if (status != BD_OK)
        device_run_destroy(run);
    return status;
}

void device_run_destroy(device_run *run)
{
    bd_program_destroy(&run->program);
    bd_store_destroy(&run->store);
}

static const char *variable_name(const test_case *c, bd_tensor variable)
{
    return bd_node_at(c->graph, variable)->attr.variable.name;
}

/* The base's bytes: the guard bands around what the variable holds. The caller frees. */
static unsigned char *guarded_bytes(const test_case *c, bd_tensor variable, uint64_t *size, uint64_t *inner)
{
    const bd_node *node = bd_node_at(c->graph, variable);
    *inner = (uint64_t)bd_shape_elements(&node->shape) * bd_format_size(node->format);
    *size = *inner + 2 * GUARD_BYTES;
    unsigned char *bytes = test_allocate((int64_t)*size, 1);
    memset(bytes, GUARD_PATTERN, *size);
    memset(bytes + GUARD_BYTES, UNWRITTEN_PATTERN, *inner);
    return bytes;
}

static bd_status write_variable(const test_case *c, bd_store *store, bd_tensor variable, const double *values,
                                bd_error *error)
{
    uint64_t size, inner;
    unsigned char *bytes = guarded_bytes(c, variable, &size, &inner);
    const bd_node *node = bd_node_at(c->graph, variable);
    if (values)
        bd_format_encode(node->format, values, bytes + GUARD_BYTES, (size_t)bd_shape_elements(&node->shape));
    /* An input's guard bands are NaN, so that a stray read shows in the result. */
    if (values) {
        memset(bytes, UNWRITTEN_PATTERN, GUARD_BYTES);
        memset(bytes + GUARD_BYTES + inner, UNWRITTEN_PATTERN, GUARD_BYTES);
    }
    bd_status status = bd_store_write(store, variable_name(c, node->attr.variable.base), bytes, size, error);
    free(bytes);
    return status;
}

/* Reads the variable and looks at its guard bands, which hold `pattern`. */
static bd_status read_variable(const test_case *c, bd_store *store, bd_tensor variable, unsigned char pattern,
                               double *values, bd_error *error)
{
    uint64_t size, inner;
    unsigned char *bytes = guarded_bytes(c, variable, &size, &inner);
    const bd_node *node = bd_node_at(c->graph, variable);
    bd_status status = bd_store_read(store, variable_name(c, node->attr.variable.base), bytes, size, error);
    for (uint64_t i = 0; i < size && status == BD_OK; i++)
        if ((i < GUARD_BYTES || i >= GUARD_BYTES + inner) && bytes[i] != pattern)
            status = bd_fail(error, BD_ERROR_DATA, "the guard band of %s was written at byte %lld of %llu",
                             variable_name(c, variable), (long long)i - GUARD_BYTES, (unsigned long long)inner);
    if (status == BD_OK)
        bd_format_decode(node->format, bytes + GUARD_BYTES, values, (size_t)bd_shape_elements(&node->shape));
    free(bytes);
    return status;
}

static bool is_written(const test_case *c, bd_tensor variable)
{
    for (bd_tensor t = 0; t < c->graph->node_count; t++) {
        const bd_node *node = bd_node_at(c->graph, t);
        if ((node->op == BD_OP_ASSIGN || node->op == BD_OP_CONTROL_STEP) && node->inputs[0] == variable)
            return true;
    }
    return false;
}

static bd_status inputs_unchanged(const test_case *c, bd_store *store, bd_error *error)
{
    for (int i = 0; i < c->input_count; i++) {
        const case_given *input = &c->inputs[i];
        double *values = test_allocate(input->count, sizeof *values);
        bd_status status = read_variable(c, store, input->tensor, UNWRITTEN_PATTERN, values, error);
        for (int64_t j = 0; j < input->count && status == BD_OK && !is_written(c, input->tensor); j++)
            if (!same_value(values[j], input->values[j]))
                status = bd_fail(error, BD_ERROR_DATA, "input %d was changed at element %lld", i, (long long)j);
        free(values);
        if (status != BD_OK)
            return status;
    }
    return BD_OK;
}

/* Every output, and what is written of the inputs, as if nothing had run. */
static bd_status write_all(test_case *c, bd_store *store, bool inputs, bd_error *error)
{
    bd_status status = BD_OK;
    for (int i = 0; inputs && i < c->input_count && status == BD_OK; i++)
        status = write_variable(c, store, c->inputs[i].tensor, c->inputs[i].values, error);
    for (int i = 0; i < c->output_count && status == BD_OK; i++)
        status = write_variable(c, store, c->outputs[i].variable, NULL, error);
    return status;
}

static bd_status read_bytes(const test_case *c, bd_store *store, int output, unsigned char **bytes, uint64_t *size,
                            bd_error *error)
{
    uint64_t inner;
    const bd_tensor variable = c->outputs[output].variable;
    *bytes = guarded_bytes(c, variable, size, &inner);
    return bd_store_read(store, variable_name(c, bd_node_at(c->graph, variable)->attr.variable.base), *bytes, *size,
                         error);
}

/* Runs again and again, as a race would need to show itself. */
static bd_status repeat(test_case *c, const device_run *run, bd_error *error)
{
    unsigned char *first[MAX_OUTPUTS] = { 0 }, *again;
    uint64_t size;
    bd_status status = BD_OK;
    for (int o = 0; o < c->output_count && status == BD_OK; o++)
        status = read_bytes(c, run->store, o, &first[o], &size, error);
    for (uint32_t r = 0; r < c->session->repeats && status == BD_OK; r++) {
        if ((status = write_all(c, run->store, false, error)) == BD_OK &&
            (status = bd_program_run(run->program, 1, error)) == BD_OK)
            status = bd_program_finish(run->program, error);
        for (int o = 0; o < c->output_count && status == BD_OK; o++) {
            status = read_bytes(c, run->store, o, &again, &size, error);
            if (status == BD_OK && memcmp(first[o], again, size) != 0)
                status = bd_fail(error, BD_ERROR_DATA, "output %d is not the same in run %u as in the first: a race", o,
                                 r + 2);
            free(again);
        }
    }
    for (int o = 0; o < c->output_count; o++)
        free(first[o]);
    return status;
}

/* A state that goes from run to run gives other results by design. */
static bool has_state(const test_case *c)
{
    for (int i = 0; i < c->input_count; i++)
        if (is_written(c, c->inputs[i].tensor))
            return true;
    return c->repeats > 1;
}

static void note_variants(test_case *c, const bd_plan *plan)
{
    for (int k = 0; k < plan->kernel_count && c->variant_count < MAX_OUTPUTS; k++) {
        const bd_kernel *kernel = &plan->kernels[k];
        if (kernel->last.node_count) {
            const bd_node *sum = &plan->graph->nodes[kernel->nodes[kernel->node_count - kernel->last.node_count]];
            c->variants[c->variant_count++] =
                (case_variant){ sum->op, sum->format, sum->accumulator, BD_VARIANT_LAST_GROUP };
        }
        if (c->variant_count == MAX_OUTPUTS)
            break;
        if (kernel->class != BD_KERNEL_CONTRACTION && kernel->class != BD_KERNEL_LIBRARY &&
            !(kernel->class == BD_KERNEL_ATTENTION && bd_tile_uses_matrix_units(&kernel->tile)))
            continue;
        const bd_node *node = &plan->graph->nodes[kernel->anchor];
        case_variant variant = { node->op, node->format, node->accumulator, bd_variant_of(kernel) };
        c->variants[c->variant_count++] = variant;
        variant.variant = BD_VARIANT_COLUMN_SUMS;
        if (bd_kernel_sums_columns(kernel) && c->variant_count < MAX_OUTPUTS)
            c->variants[c->variant_count++] = variant;
        variant.variant = BD_VARIANT_TENSOR_MAPS;
        if (bd_kernel_maps(plan, kernel, &c->session->device->target, NULL) && c->variant_count < MAX_OUTPUTS)
            c->variants[c->variant_count++] = variant;
    }
}

static bd_status run_on_device(test_case *c, bd_error *error)
{
    device_run run;
    bd_status status = device_run_create(c->session, c->graph, &run, error);
    if (status != BD_OK)
        return status;
    note_variants(c, bd_program_plan(run.program));
    status = write_all(c, run.store, true, error);
    if (status == BD_OK && (status = bd_program_run(run.program, c->repeats, error)) == BD_OK)
        status = bd_program_finish(run.program, error);
    for (int i = 0; i < c->output_count && status == BD_OK; i++)
        status = read_variable(c, run.store, c->outputs[i].variable, GUARD_PATTERN, c->outputs[i].result, error);
    if (status == BD_OK)
        status = inputs_unchanged(c, run.store, error);
    if (status == BD_OK && c->session->repeats && !has_state(c))
        status = repeat(c, &run, error);
    device_run_destroy(&run);
    return status;
}

/* ---- running ---- */

static bool is_filtered(const session *s, const char *full)
{
    char filter[2048], *at = filter, *part;
    if (s->only)
        return strcmp(full, s->only) != 0;
    if (!s->filter)
        return false;
    snprintf(filter, sizeof filter, "%s", s->filter);
    while ((part = strsep(&at, "|")))
        if (strstr(full, part))
            return false;
    return true;
}

bool session_wants(session *s, const char *name)
{
    char full[256];
    snprintf(full, sizeof full, "%s: %s", s->group, name);
    if (is_filtered(s, full) || (s->should_stop && s->should_stop(s->user)))
        return false;
    s->count += s->counting;
    return !s->counting;
}

void session_report(session *s, bool good, const char *name, const char *format, ...)
{
    char message[1200] = "";
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    session_report_blamed(s, good, name, message, NULL);
}

void session_report_blamed(session *s, bool good, const char *name, const char *message,
                           uint32_t (*blamed)[BD_FORMAT_COUNT])
{
    const case_report report = { .group = s->group,
                                 .name = name,
                                 .formats = fp32.name,
                                 .good = good,
                                 .message = message,
                                 .status = good ? BD_OK : BD_ERROR_DATA,
                                 .blamed = blamed };
    s->report(s->user, &report);
}

void session_run(session *s, const case_group *group)
{
    s->group = group->name;
    group->run(s);
}

/* Does the output depend on an operation of this kind? */
static bool depends(const bd_graph *graph, bd_tensor tensor, bd_op op)
{
    const bd_node *node = bd_node_at(graph, tensor);
    bool found = node->op == op;
    for (int i = 0; i < node->input_count && !found; i++)
        found = depends(graph, node->inputs[i], op);
    return found;
}

/* The contractions that the wrong outputs depend on; all, where no output is known to be wrong. */
static void blame(const test_case *c, uint32_t blamed[BD_FORMAT_COUNT][BD_FORMAT_COUNT])
{
    bool known = false;
    for (int pass = 0; pass < 2 && !known; pass++)
        for (int o = 0; o < c->output_count; o++) {
            const case_compared *output = &c->outputs[o];
            bool wrong = pass == 1;
            for (int i = 0; i < VALUE_CLASSES; i++)
                wrong |= output->measure.wrong[i] > 0;
            known |= wrong;
            for (int v = 0; wrong && v < c->variant_count; v++)
                if (depends(c->graph, output->value, c->variants[v].op))
                    blamed[bd_variant_format(c->variants[v].format)][c->variants[v].accumulator] |=
                        1u << c->variants[v].variant;
        }
}

void case_run(test_case *c)
{
    bd_error error = { BD_OK, "" };
    uint32_t blamed[BD_FORMAT_COUNT][BD_FORMAT_COUNT] = { 0 };
    case_measure measures[MAX_OUTPUTS];
    bd_status status = finish_graph(c, &error);
    if (status == BD_OK)
        status = run_on_device(c, &error);
    if (status == BD_OK)
        status = compare_outputs(c, &error);
    if (status != BD_OK)
        blame(c, blamed);
    for (int i = 0; i < c->output_count; i++)
        measures[i] = c->outputs[i].measure;
    const case_report report = { .group = c->session->group,
                                 .name = c->name,
                                 .formats = c->formats.name,
                                 .good = status == BD_OK,
                                 .message = error.message,
                                 .measures = measures,
                                 .measure_count = status == BD_OK || status == BD_ERROR_DATA ? c->output_count : 0,
                                 .status = status,
                                 .blamed = blamed };
    c->session->report(c->session->user, &report);
    for (int i = 0; i < c->input_count; i++)
        free(c->inputs[i].values);
    for (int i = 0; i < c->output_count; i++)
        free(c->outputs[i].result);
    bd_graph_destroy(&c->graph);
}

const case_group case_groups[CASE_GROUPS] = {
    { "unary", test_unary, false },         { "binary", test_binary, false },
    { "movement", test_movement, false },   { "gather", test_gather, false },
    { "tally", test_tally, false },         { "reductions", test_reductions, false },
    { "softmax", test_softmax, false },     { "attention", test_attention, false },
    { "matmul", test_matmul, false },       { "convolutions", test_convolutions, false },
    { "columns", test_columns, false },     { "operands", test_operands, false },
    { "pooling", test_pooling, false },     { "pooled sums", test_pooled_sums, false },
    { "depthwise", test_depthwise, false }, { "sources", test_sources, false },
    { "control", test_control, false },     { "limits", test_limits, false },
    { "formats", test_formats, false },     { "final sums", test_last_group, false },
    { "gradients", test_gradients, true },  { "training", test_training, true },
};
