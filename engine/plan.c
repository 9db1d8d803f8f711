/* From a graph to a plan: rewrite, fuse, launch sizes, memory. */
#include "arithmetic.h"
#include "emit.h"
#include "fuse.h"
#include "last_group.h"
#include "memory.h"
#include "rewrite.h"
#include "tile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bd_target_default(bd_target *target)
{
    *target = (bd_target){
        .limits = { .max_buffer_bytes = UINT64_MAX,
                    .max_binding_bytes = UINT32_MAX,
                    .max_bindings = 64,
                    .buffer_alignment = 256,
                    .max_workgroup_items = 256,
                    .max_workgroup_size = { 256, 256, 64 },
                    .max_workgroup_count = { 65535, 65535, 65535 },
                    .shared_bytes = 32768,
                    .subgroup_size = 32,
                    .compute_units = 16 },
        .half = { .storage = true, .arithmetic = true, .arithmetic_exact = true, .conversion_exact = true },
    };
}

static uint32_t power_of_two_up_to(uint32_t limit, int64_t wanted)
{
    uint32_t size = 1;
    while (size < limit && size < wanted)
        size *= 2;
    return size <= limit ? size : size / 2;
}

uint32_t bd_kernel_width(const bd_plan *plan, const bd_kernel *kernel, const bd_target *target, int64_t side)
{
    const bool texels = target->texel_elements > 0;
    if (target->is_cpu && !(kernel->class == BD_KERNEL_COLUMNS && (target->vector_types || texels)) &&
        !((kernel->class == BD_KERNEL_POINTWISE || kernel->class == BD_KERNEL_CONTRACTION) && texels))
        return 1;
    if (side % BD_WIDTH)
        return 1;
    for (int i = 0; i < kernel->operand_count; i++)
        if (bd_format_size(plan->graph->nodes[kernel->operands[i].node].format) == sizeof(uint16_t) &&
            !target->half.storage)
            return 1;
    for (int i = 0; i < kernel->node_count; i++)
        switch (plan->graph->nodes[kernel->nodes[i]].op) {
        case BD_OP_ARGMAX:
        case BD_OP_BATCH:
        case BD_OP_GATHER:
        case BD_OP_SCATTER_ADD: return 1;
        default: break;
        }
    return BD_WIDTH;
}

static bool has_long_sums(const bd_plan *plan, const bd_kernel *kernel)
{
    bool has = false;
    for (int i = 0; i < kernel->node_count; i++)
        has |= plan->graph->nodes[kernel->nodes[i]].op == BD_OP_DEPTHWISE_WEIGHT;
    return has;
}

/* Does it put together what a contraction's work-groups summed? */
static bool sums_strips(const bd_plan *plan, const bd_kernel *kernel)
{
    bool found = false;
    for (int i = 0; i < kernel->operand_count; i++) {
        const bd_node *node = &plan->graph->nodes[kernel->operands[i].node];
        found |= bd_op_get_info(node->op)->class == BD_CLASS_REDUCTION && node->attr.reduce.strips;
    }
    return found;
}

/* A work-group to a part. PoCL runs its work-items one after the other: there is but one, which waits for no others. */
static void launch_tally(const bd_plan *plan, bd_kernel *kernel, const bd_target *target)
{
    const bd_limits *limits = &target->limits;
    int64_t parts = 0, longest = 0;
    bool even = true; /* neighbours are of one part */
    for (int i = 0; i < kernel->node_count; i++) {
        const bd_node *node = &plan->graph->nodes[kernel->nodes[i]];
        if (node->op != BD_OP_TALLY)
            continue;
        const int64_t count = bd_shape_elements(&plan->graph->nodes[node->inputs[0]].shape);
        const int64_t length = bd_ceil_divide(count, node->shape.dim[0]);
        even &= count % BD_WIDTH == 0 && length % BD_WIDTH == 0;
        longest = length > longest ? length : longest;
        parts += node->shape.dim[0];
    }
    uint32_t most = target->is_cpu ? (target->vector_types ? 1 : 8) : 1024;
    most = most < limits->max_workgroup_items ? most : limits->max_workgroup_items;
    most = most < limits->max_workgroup_size[0] ? most : limits->max_workgroup_size[0];
    kernel->width = even ? bd_kernel_width(plan, kernel, target, longest) : 1;
    kernel->local[0] = power_of_two_up_to(most, bd_ceil_divide(longest, kernel->width));
    bd_spread_groups(target, kernel, (uint64_t)parts);
}

bool bd_kernel_launch(const bd_plan *plan, bd_kernel *kernel, const bd_target *target)
{
    const uint32_t most = target->limits.max_workgroup_items < 256 ? target->limits.max_workgroup_items : 256;
    kernel->local[0] = kernel->local[1] = kernel->local[2] = 1;
    kernel->width = 1;
    const bd_extent *e = &kernel->extent;
    switch (kernel->class) {
    case BD_KERNEL_POINTWISE: {
        if (kernel->elements >= (int64_t)BD_WIDTH * most * target->limits.compute_units || has_long_sums(plan, kernel))
            kernel->width = bd_kernel_width(plan, kernel, target, kernel->elements);
        const int64_t items = bd_ceil_divide(kernel->elements, kernel->width);
        kernel->local[0] = power_of_two_up_to(most, items);
        bd_spread_groups(target, kernel, (uint64_t)bd_ceil_divide(items, kernel->local[0]));
        break;
    }
    case BD_KERNEL_ROWS: {
        /* Lanes share a row, in local[0]; rows of a group are in local[1]. Short rows take one lane each. */
        int64_t length = (e->length + e->chunks - 1) / e->chunks, rows = e->outer * e->chunks;
        if (length > 32 && e->length % BD_WIDTH == 0)
            kernel->width = bd_kernel_width(plan, kernel, target, length);
        kernel->local[0] =
            length <= (target->is_cpu && rows >= 4 ? 1024 : 32) ? 1 : power_of_two_up_to(most, length / 4);
        kernel->local[1] = power_of_two_up_to(most / kernel->local[0], rows);
        bd_spread_groups(target, kernel, ((uint64_t)rows + kernel->local[1] - 1) / kernel->local[1]);
        break;
    }
    case BD_KERNEL_COLUMNS: {
        /* Columns side by side in local[0]; lanes of a column in local[1]. */
        int64_t length = (e->length + e->chunks - 1) / e->chunks;
        kernel->width = bd_kernel_width(plan, kernel, target, e->inner);
        const int64_t columns = bd_ceil_divide(e->inner, kernel->width);
        kernel->beside = 1;
        kernel->local[0] = power_of_two_up_to(target->is_cpu ? 64 : 32, columns);
        if (kernel->local[0] > most)
            kernel->local[0] = most;
        const uint64_t outputs = (uint64_t)(e->outer * e->chunks);
        uint64_t groups = (uint64_t)bd_ceil_divide(columns, kernel->local[0]) * outputs;
        /* Few groups, as where parts are put together, are as large as can be: the lanes' sums are a chain of loads.
         * And while those are long, and no last work-group will take them over, groups have fewer columns, down to the
         * 32 bytes that memory gives at once: one processor loads some 100 GB a second. */
        const uint32_t largest = target->limits.max_workgroup_items < 1024 ? target->limits.max_workgroup_items : 1024;
        const bool few = groups < target->limits.compute_units;
        const uint32_t items = few && largest <= target->limits.max_workgroup_size[1] ? largest : most;
        while (!target->is_cpu && few && sums_strips(plan, kernel) && kernel->local[0] * kernel->width > 8 &&
               items / kernel->local[0] < length / 2)
            kernel->local[0] /= 2;
        /* Where an invocation is a lane of a register, those that the columns leave idle take other parts. */
        const uint32_t lanes = target->limits.subgroup_size < most ? target->limits.subgroup_size : most;
        while (target->is_cpu && target->texel_elements && kernel->local[0] / kernel->beside >= columns &&
               2 * kernel->local[0] <= lanes && 2 * kernel->beside <= outputs)
            kernel->local[0] *= 2, kernel->beside *= 2;
        groups = (uint64_t)(bd_ceil_divide(columns * kernel->beside, kernel->local[0]) *
                            bd_ceil_divide((int64_t)outputs, kernel->beside));
        kernel->local[1] = target->is_cpu ? 1 : power_of_two_up_to(items / kernel->local[0], length / 4);
        bd_spread_groups(target, kernel, groups);
        break;
    }
    case BD_KERNEL_CONTRACTION: return bd_contraction_launch(plan, kernel, target);
    case BD_KERNEL_ATTENTION: bd_attention_launch(plan, kernel, target); break;
    case BD_KERNEL_TALLY: launch_tally(plan, kernel, target); break;
    case BD_KERNEL_CONTROL:
    case BD_KERNEL_LIBRARY: kernel->groups[0] = kernel->groups[1] = kernel->groups[2] = 1; break;
    }
    return true;
}

bool bd_operand_is_read(const bd_graph *graph, const bd_kernel *kernel, const bd_operand *operand)
{
    bool read = !operand->written;
    for (int j = 0; j < kernel->node_count && !read && graph->nodes[operand->node].op == BD_OP_VARIABLE; j++)
        for (int n = 0; n < graph->nodes[kernel->nodes[j]].input_count; n++)
            read |= graph->nodes[kernel->nodes[j]].op != BD_OP_ASSIGN &&
                    bd_view_base(graph, graph->nodes[kernel->nodes[j]].inputs[n]) == operand->node;
    return read;
}

/* Floating-point operations and the least bytes moved: each operand once. */
static void count_work(const bd_plan *plan, bd_kernel *kernel)
{
    const bd_graph *graph = plan->graph;
    for (int i = 0; i < kernel->node_count; i++) {
        const bd_node *node = &graph->nodes[kernel->nodes[i]];
        uint64_t elements = (uint64_t)bd_shape_elements(&node->shape);
        switch (bd_op_get_info(node->op)->class) {
        case BD_CLASS_ELEMENTWISE: kernel->flops += elements; break;
        case BD_CLASS_REDUCTION:
            kernel->flops += (uint64_t)bd_shape_elements(&graph->nodes[node->inputs[0]].shape);
            break;
        case BD_CLASS_CONTRACTION: {
            bd_contraction c = bd_contraction_of(graph, kernel->nodes[i]);
            kernel->flops += 2u * (uint64_t)c.batch * (uint64_t)c.m * (uint64_t)c.n * (uint64_t)c.k;
            break;
        }
        case BD_CLASS_ATTENTION:
            if (kernel->nodes[i] == kernel->anchor)
                kernel->flops += bd_attention_flops(graph, kernel->anchor);
            break;
        case BD_CLASS_WINDOW:
            if (node->op == BD_OP_MAX_POOL || node->op == BD_OP_AVG_POOL)
                kernel->flops += elements * (uint64_t)(node->attr.window.size[0] * node->attr.window.size[1]);
            else if (node->op == BD_OP_DEPTHWISE || node->op == BD_OP_DEPTHWISE_DATA)
                kernel->flops += 2 * elements * (uint64_t)(node->attr.window.size[0] * node->attr.window.size[1]);
            else if (node->op == BD_OP_DEPTHWISE_WEIGHT) /* every tap with every element of dy */
                kernel->flops += 2 * (uint64_t)bd_shape_elements(&graph->nodes[node->inputs[1]].shape) *
                                 (uint64_t)(node->attr.window.size[0] * node->attr.window.size[1]);
            break;
        default: break;
        }
    }
    for (int i = 0; i < kernel->operand_count; i++) {
        bd_tensor t = kernel->operands[i].node;
        uint64_t bytes = plan->storage[t].size;
        /* Of a data set only the batch's rows are read. */
        for (int j = 0; j < kernel->node_count; j++) {
            const bd_node *reader = &graph->nodes[kernel->nodes[j]];
            if (reader->op == BD_OP_BATCH && reader->inputs[0] == t)
                bytes = (uint64_t)bd_shape_elements(&reader->shape) * bd_format_size(graph->nodes[t].format);
            else if (reader->op == BD_OP_BATCH && reader->inputs[1] == t)
                bytes = (uint64_t)reader->shape.dim[0] * bd_format_size(graph->nodes[t].format);
        }
        if (kernel->operands[i].written)
            kernel->bytes_written += bytes;
        if (bd_operand_is_read(graph, kernel, &kernel->operands[i]) || bd_is_part(graph, kernel, t))
            kernel->bytes_read += bytes;
    }
}

static bool has_texels(bd_format format)
{
    return format == BD_F32 || format == BD_F16 || format == BD_U8 || format == BD_U32;
}

/* Reads operands as texels where the device is better at that; the launch may have chosen four to a texel already. */
static void choose_accesses(const bd_plan *plan, bd_kernel *kernel, const bd_target *target)
{
    uint32_t left =
        kernel->class == BD_KERNEL_CONTROL || kernel->class == BD_KERNEL_LIBRARY ? 0 : target->texel_bindings;
    for (int i = 0; i < kernel->operand_count; i++)
        left -= kernel->operands[i].access != BD_ACCESS_BUFFER;
    for (int i = 0; i < kernel->operand_count && left; i++) {
        bd_operand *operand = &kernel->operands[i];
        const uint64_t elements = (uint64_t)bd_shape_elements(&plan->graph->nodes[operand->node].shape);
        if (operand->access != BD_ACCESS_BUFFER || elements > target->texel_elements ||
            !has_texels(plan->graph->nodes[operand->node].format) || !bd_operand_is_read(plan->graph, kernel, operand))
            continue;
        const bd_format format = plan->graph->nodes[operand->node].format;
        const bool fours =
            kernel->width == BD_WIDTH && elements % BD_WIDTH == 0 && (format == BD_F32 || format == BD_F16);
        operand->access = fours ? BD_ACCESS_TEXEL4 : BD_ACCESS_TEXEL1;
        left--;
    }
}

/* Cuts operands that exceed what a kernel sees through one binding; returns the bindings of the kernel. */
static uint32_t cut_operands(const bd_plan *plan, bd_kernel *kernel, const bd_target *target)
{
    const uint64_t alignment = target->limits.buffer_alignment > 256 ? target->limits.buffer_alignment : 256;
    const uint64_t most = target->limits.max_binding_bytes / alignment * alignment;
    uint32_t bindings = 0;
    for (int i = 0; i < kernel->operand_count; i++) {
        bd_operand *operand = &kernel->operands[i];
        const uint64_t size = plan->storage[operand->node].size,
                       element = bd_format_size(plan->graph->nodes[operand->node].format);
        operand->part_elements = (uint32_t)(size / element);
        if (operand->access != BD_ACCESS_BUFFER && !operand->written) {
            operand->parts = 0;
        } else if (most && size > target->limits.max_binding_bytes) {
            operand->parts = (uint32_t)((size + most - 1) / most);
            operand->part_elements = (uint32_t)(most / element);
        }
        bindings += operand->parts + (operand->access != BD_ACCESS_BUFFER);
    }
    return bindings;
}

const char *bd_kernel_class_name(bd_kernel_class class)
{
    static const char *const names[] = { "pointwise", "rows",  "columns", "contraction",
                                         "attention", "tally", "control", "library" };
    return names[class];
}

static void name_kernel(const bd_plan *plan, bd_kernel *kernel)
{
    const bd_graph *graph = plan->graph;
    bd_tensor main = kernel->anchor != BD_NONE ? kernel->anchor : kernel->nodes[kernel->node_count - 1];
    int length = snprintf(kernel->name, sizeof kernel->name, "%s %s", bd_kernel_class_name(kernel->class),
                          bd_node_layer(graph, main));
    for (int i = 0; i < kernel->node_count && length > 0 && length < (int)sizeof kernel->name; i++)
        length += snprintf(kernel->name + length, sizeof kernel->name - (size_t)length, "%s%s", i ? "+" : " ",
                           bd_op_get_info(graph->nodes[kernel->nodes[i]].op)->name);
}

static void free_kernel(bd_kernel *kernel)
{
    free(kernel->nodes);
    free(kernel->spaces);
    free(kernel->operands);
}

/* Kernels of nothing: every result has no elements. */
static void drop_empty_kernels(bd_plan *plan)
{
    int kept = 0;
    for (int k = 0; k < plan->kernel_count; k++) {
        bd_kernel *kernel = &plan->kernels[k];
        if (kernel->groups[0] == 0 || kernel->groups[1] == 0 || kernel->groups[2] == 0) {
            free_kernel(kernel);
            continue;
        }
        for (int i = 0; i < kernel->node_count; i++)
            plan->kernel_of[kernel->nodes[i]] = kept;
        plan->kernels[kept++] = *kernel;
    }
    plan->kernel_count = kept;
}

bd_status bd_plan_create(const bd_graph *graph, const bd_target *target, const bd_compile_options *options,
                         bd_plan **result, bd_error *error)
{
    *result = NULL;
    bd_plan *plan = calloc(1, sizeof *plan);
    if (!plan)
        return bd_fail(error, BD_ERROR_MEMORY, "out of memory for a plan");
    const bd_compile_options none = { 0 };
    if (!options)
        options = &none;
    plan->gemm = options->gemm;
    plan->tuning = options->tuning;
    bd_status status = bd_rewrite(graph, target, options, &plan->graph, error);
    if (status == BD_OK)
        status = bd_fuse(plan, target, options, error);
    if (status == BD_OK && !options->no_fusion)
        status = bd_merge_final_sums(plan, target, error);
    if (status == BD_OK)
        status = bd_plan_memory(plan, target, error);
    for (int k = 0; status == BD_OK && k < plan->kernel_count; k++) {
        bd_kernel *kernel = &plan->kernels[k];
        name_kernel(plan, kernel);
        if (!bd_kernel_launch(plan, kernel, target)) {
            status =
                bd_fail(error, BD_ERROR_UNSUPPORTED,
                        "kernel '%s': every variant computes wrongly in %s on this device (binade check); use another "
                        "precision",
                        kernel->name, bd_format_name(plan->graph->nodes[kernel->anchor].format));
            break;
        }
        count_work(plan, kernel);
        choose_accesses(plan, kernel, target);
        const uint32_t bindings = cut_operands(plan, kernel, target);
        if (bindings > target->limits.max_bindings)
            status = bd_fail(error, BD_ERROR_UNSUPPORTED, "kernel '%s' needs %u buffers, this device allows %u",
                             kernel->name, bindings, target->limits.max_bindings);
        plan->flops += kernel->flops;
        plan->bytes += kernel->bytes_read + kernel->bytes_written;
    }
    if (status == BD_OK)
        drop_empty_kernels(plan);
    else
        bd_plan_destroy(&plan);
    *result = plan;
    return status;
}

void bd_plan_destroy(bd_plan **pointer)
{
    bd_plan *plan = *pointer;
    if (!plan)
        return;
    for (int k = 0; k < plan->kernel_count; k++)
        free_kernel(&plan->kernels[k]);
    free(plan->kernels);
    free(plan->kernel_of);
    free(plan->storage);
    bd_graph_destroy(&plan->graph);
    free(plan);
    *pointer = NULL;
}
