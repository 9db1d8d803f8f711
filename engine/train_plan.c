/* Tells what a trainer will do: the policy of every layer, the kernels, the work and the memory. No device needed. */
#include "trainer.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bd_trainer_describe(const bd_trainer *trainer, bd_train_event *event)
{
    const bd_plan *plan = bd_stage_plan(&trainer->train);
    event->steps = trainer->steps;
    event->steps_per_epoch = trainer->steps_per_epoch;
    event->epochs = (trainer->steps + trainer->steps_per_epoch - 1) / trainer->steps_per_epoch;
    event->dispatches_per_step = plan->kernel_count;
    event->flops_per_step = plan->flops;
    event->bytes_per_step = plan->bytes;
    event->planned_device_bytes = trainer->planned_bytes;
    const uint64_t measuring =
        trainer->measuring_arena_bytes + (trainer->measured.program ? trainer->measuring_bytes : 0);
    event->measuring_bytes = trainer->measuring_arena_bytes + trainer->measuring_bytes;
    event->peak_device_bytes = trainer->peak_bytes > measuring ? trainer->peak_bytes - measuring : 0;
    event->dataset_bytes = trainer->dataset_bytes;
    event->unmeasured = trainer->params.measure_steps > 0 && trainer->params.measure_steps <= trainer->steps &&
                        !trainer->measured.plan && !trainer->measured.program;
}

typedef struct printer {
    void (*print)(void *user, const char *line);
    void *user;
} printer;

static void print_line(const printer *out, const char *format, ...) BD_PRINTF(2, 3);

static void print_line(const printer *out, const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    out->print(out->user, line);
}

static void print_policy(const bd_trainer *trainer, const printer *out)
{
    const bd_precision *policy = &trainer->params.precision;
    const bd_graph *graph = bd_stage_plan(&trainer->train)->graph;
    static const bd_role roles[] = { BD_ROLE_WEIGHT,          BD_ROLE_ACTIVATION,     BD_ROLE_GRADIENT,
                                     BD_ROLE_STATISTIC,       BD_ROLE_ACCUMULATOR,    BD_ROLE_MASTER,
                                     BD_ROLE_STATE,           BD_ROLE_WEIGHT_OPERAND, BD_ROLE_ACTIVATION_OPERAND,
                                     BD_ROLE_GRADIENT_OPERAND };
    char line[64 + 8 * sizeof roles / sizeof *roles];
    for (int32_t i = 0; i < graph->layer_count; i++) {
        int length = snprintf(line, sizeof line, "%-24.48s", i ? graph->layers[i] : "layer");
        for (size_t j = 0; j < sizeof roles / sizeof *roles; j++)
            length += snprintf(line + length, sizeof line - (size_t)length, " %-6s",
                               i ? bd_format_name(bd_precision_format(policy, roles[j], graph->layers[i]))
                                 : bd_role_name(roles[j]));
        print_line(out, "%s", line);
    }
    static const char *const scalings[] = { "none", "static", "dynamic" };
    if (policy->scaling == BD_SCALING_NONE)
        print_line(out, "loss scale none");
    else
        print_line(out, "loss scale %s from %g", scalings[policy->scaling], policy->scale);
}

static void print_kernels(const char *title, const bd_plan *plan, const printer *out)
{
    print_line(out, "%s: %d kernels", title, plan->kernel_count);
    print_line(out, "%4s  %-11s %-22s %12s %12s  %s", "", "class", "groups", "flops", "bytes", "name");
    for (int i = 0; i < plan->kernel_count; i++) {
        const bd_kernel *kernel = &plan->kernels[i];
        char groups[40];
        snprintf(groups, sizeof groups, "%" PRIu32 "x%" PRIu32 "x%" PRIu32, kernel->groups[0], kernel->groups[1],
                 kernel->groups[2]);
        print_line(out, "%4d  %-11s %-22s %12" PRIu64 " %12" PRIu64 "  %s", i, bd_kernel_class_name(kernel->class),
                   groups, kernel->flops, kernel->bytes_read + kernel->bytes_written, kernel->name);
    }
    print_line(out, "%s: %" PRIu64 " flops, %" PRIu64 " bytes, arena %" PRIu64 " bytes, packs %" PRIu64 " bytes", title,
               plan->flops, plan->bytes, plan->arena_bytes, plan->pack_bytes);
}

/* The fewest bytes that a step with these stored tensors could move, were everything fused: each variable read once and
 * written once, as far as it is read and written at all, and what the backward pass reads of the forward one written
 * and read once. The batch's own bytes are left out. */
static uint64_t least_bytes(const bd_plan *plan)
{
    const bd_graph *graph = plan->graph;
    enum { READ = 1, WRITTEN = 2, CROSSES = 4 };
    uint8_t *how = calloc((size_t)graph->node_count + 1, 1);
    bd_tensor backward = 0;
    uint64_t bytes = 0;
    while (backward < graph->node_count && graph->nodes[backward].role != BD_ROLE_GRADIENT)
        backward++;
    for (int k = 0; how && k < plan->kernel_count; k++) {
        const bd_kernel *kernel = &plan->kernels[k];
        const bool late = kernel->node_count && kernel->nodes[kernel->node_count - 1] >= backward;
        for (int i = 0; i < kernel->operand_count; i++) {
            const bd_operand *operand = &kernel->operands[i];
            if (graph->nodes[operand->node].op == BD_OP_VARIABLE)
                how[operand->node] |=
                    (operand->written ? WRITTEN : 0) | (bd_operand_is_read(graph, kernel, operand) ? READ : 0);
            else if (late && !operand->written && operand->node < backward)
                how[operand->node] |= CROSSES;
        }
    }
    for (bd_tensor t = 0; how && t < graph->node_count; t++) /* data sets: only a batch of them is read */
        if (graph->nodes[t].op == BD_OP_BATCH)
            how[graph->nodes[t].inputs[0]] = how[graph->nodes[t].inputs[1]] = 0;
    for (bd_tensor t = 0; how && t < graph->node_count; t++) {
        const uint64_t size =
            (uint64_t)bd_shape_elements(&graph->nodes[t].shape) * bd_format_size(graph->nodes[t].format);
        bytes += size * (!!(how[t] & READ) + !!(how[t] & WRITTEN) + 2 * !!(how[t] & CROSSES));
    }
    free(how);
    return bytes;
}

static void print_parameters(const bd_layout *layout, const printer *out)
{
    for (int i = 0; i < layout->group_count; i++) {
        const bd_parameter_group *group = &layout->groups[i];
        int64_t elements = 0;
        int count = 0;
        for (int j = 0; j < layout->slot_count; j++) {
            if (layout->slots[j].group != i)
                continue;
            elements += bd_shape_elements(&layout->slots[j].shape);
            count++;
        }
        print_line(out, "parameters: %" PRId64 " in %d tensors, weights %s, gradients %s, master %s, state %s",
                   elements, count, bd_format_name(group->weight), bd_format_name(group->gradient),
                   bd_format_name(group->master), bd_format_name(group->state));
    }
}

static void print_data(const char *title, const bd_feed_shape *shape, const printer *out)
{
    if (shape->half)
        print_line(out, "%s: %" PRId64 " %s, streamed through two halves of %" PRId64, title, shape->count,
                   shape->labelled ? "examples" : "windows", shape->half);
    else
        print_line(out, "%s: %" PRId64 " examples on the device", title, shape->count);
}

bd_status bd_trainer_plan(bd_trainer *trainer, bd_train_event *event, void (*print)(void *user, const char *line),
                          void *user, bd_error *error)
{
    if (trainer->failed)
        return bd_fail(error, BD_ERROR_ARGUMENT, "this trainer met a value that is not finite: its plan is gone");
    if (event) {
        *event = (bd_train_event){ .kind = BD_TRAIN_START,
                                   .train_loss = NAN,
                                   .train_accuracy = NAN,
                                   .test_loss = NAN,
                                   .test_accuracy = NAN,
                                   .images_per_second = NAN,
                                   .tokens_per_second = NAN,
                                   .step_ms = NAN,
                                   .eta_seconds = NAN };
        bd_trainer_describe(trainer, event);
    }
    if (!print)
        return BD_OK;
    const printer out = { print, user };
    print_line(&out, "model %s, batch %" PRId64 ", precision %s", trainer->params.model_name, trainer->params.batch,
               trainer->params.precision.name);
    print_policy(trainer, &out);
    print_parameters(&trainer->layout, &out);
    print_kernels("training step", bd_stage_plan(&trainer->train), &out);
    const uint64_t least = least_bytes(bd_stage_plan(&trainer->train));
    if (least)
        print_line(&out, "least possible: %" PRIu64 " bytes, all fused; the kernels move %.1f times that", least,
                   (double)bd_stage_plan(&trainer->train)->bytes / (double)least);
    if (bd_stage_plan(&trainer->measured))
        print_kernels("training step that measures", bd_stage_plan(&trainer->measured), &out);
    if (bd_stage_plan(&trainer->test))
        print_kernels("evaluation of a batch", bd_stage_plan(&trainer->test), &out);
    print_data("training set", &trainer->train.shape, &out);
    print_data("test set", &trainer->test.shape, &out);
    print_line(
        &out, "planned: %" PRIu64 " bytes, %" PRIu64 " bytes of data, and %" PRIu64 " to measure what rounding does",
        trainer->planned_bytes, trainer->dataset_bytes, trainer->measuring_arena_bytes + trainer->measuring_bytes);
    return BD_OK;
}
