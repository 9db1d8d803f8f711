#include "last_group.h"
#include "arithmetic.h"
#include "emit.h"
#include "fuse.h"
#include "tile.h"

#include <math.h>

#include <stdlib.h>
#include <string.h>

/* What a kernel costs, in seconds: the launch, with what it takes until the first loads come (2.3 us through OpenCL,
 * 4.4 us with Vulkan's barrier, on an H100), and what a fence, an atomic operation and the wait for it cost instead (an
 * estimate); and bytes a second that one work-group alone reads of the second-level cache, and all together. */
#define KERNEL_SECONDS 3e-6
#define FENCE_SECONDS 1e-6
#define GROUP_BYTES 50e9
#define DEVICE_BYTES 2e12

/* Sums that a work-item has under way, a register each; and where work-groups share a processor, so that registers are
 * what keeps more of them from doing so. */
enum { MOST_SUMS = 64, MOST_SUMS_BESIDE = 48, MOST_LANES = 16 };

bd_blocks bd_last_group_blocks(const bd_plan *plan, const bd_kernel *kernel)
{
    bd_blocks b;
    if (kernel->class == BD_KERNEL_CONTRACTION) {
        const bd_contraction c = bd_contraction_of(plan->graph, kernel->anchor);
        b = (bd_blocks){
            c.batch, c.m, c.n, 0, plan->graph->nodes[kernel->anchor].chunks, kernel->tile.m, kernel->tile.n
        };
    } else {
        const bd_extent *e = &kernel->extent;
        b = (bd_blocks){ e->outer, 1, e->inner, 0, e->chunks, 1, kernel->local[0] * kernel->width };
    }
    b.count = b.batch * bd_ceil_divide(b.m, b.tile_m) * bd_ceil_divide(b.n, b.tile_n);
    return b;
}

bd_kernel bd_kernel_of_groups(const bd_kernel *kernel)
{
    bd_kernel part = *kernel;
    part.node_count -= kernel->last.node_count;
    part.last.node_count = 0;
    return part;
}

bd_kernel bd_kernel_of_last_group(const bd_plan *plan, const bd_kernel *kernel)
{
    const bd_blocks b = bd_last_group_blocks(plan, kernel);
    const int first = kernel->node_count - kernel->last.node_count;
    const uint32_t items = kernel->local[0] * kernel->local[1] * kernel->local[2];
    bd_kernel part = *kernel;
    part.class = BD_KERNEL_COLUMNS;
    part.nodes += first;
    part.spaces += first;
    part.node_count = kernel->last.node_count;
    part.anchor = part.nodes[0];
    part.extent = kernel->last.extent;
    part.elements = part.extent.length * part.extent.inner;
    part.width = kernel->last.width;
    part.local[0] = b.tile_m * b.tile_n / part.width;
    part.local[1] = part.local[2] = 1;
    /* A contraction has no shared memory left in which lanes could put something together. */
    while (kernel->class != BD_KERNEL_CONTRACTION && 2 * part.local[1] <= kernel->last.lanes &&
           2 * part.local[1] * part.local[0] <= items)
        part.local[1] *= 2;
    part.groups[0] = part.groups[1] = part.groups[2] = 1;
    return part;
}

bool bd_is_part(const bd_graph *graph, const bd_kernel *kernel, bd_tensor tensor)
{
    bool found = false;
    for (int i = kernel->node_count - kernel->last.node_count; i < kernel->node_count && !found; i++)
        for (int j = 0; j < graph->nodes[kernel->nodes[i]].input_count; j++)
            found |= graph->nodes[kernel->nodes[i]].inputs[j] == tensor && graph->nodes[tensor].chunks > 1;
    return found;
}

/* ---- which sums ---- */

typedef struct dependence {
    const bd_plan *plan;
    int kernel, latest;
    bool pack;
} dependence;

static void visit_latest(void *user, bd_tensor base)
{
    dependence *d = user;
    const int kernel = d->plan->kernel_of[base];
    d->pack |= d->plan->graph->nodes[base].op == BD_OP_PACK;
    if (kernel != d->kernel && kernel > d->latest)
        d->latest = kernel;
}

/* The last kernel that kernel `k` waits for; -1 where there is none, or it cannot be told. */
static int find_latest(const bd_plan *plan, int k)
{
    dependence d = { plan, k, -1, false };
    for (int i = 0; i < plan->kernels[k].node_count; i++)
        bd_visit_bases(plan->graph, plan->kernels[k].nodes[i], visit_latest, &d);
    return d.pack ? -1 : d.latest;
}

static bool is_sum(const bd_node *node)
{
    return node->op == BD_OP_SUM || node->op == BD_OP_MEAN || node->op == BD_OP_DEVIATIONS;
}

/* Nothing but sums over parts, and arithmetic on them; returns how many sums, 0 if there is anything else. */
static int count_sums(const bd_plan *plan, const bd_kernel *kernel)
{
    const bd_graph *graph = plan->graph;
    const bd_extent *e = &kernel->extent;
    int sums = 0;
    if (kernel->class != BD_KERNEL_COLUMNS || e->outer != 1 || e->chunks != 1)
        return 0;
    for (int i = 0; i < kernel->node_count; i++) {
        const bd_node *node = &graph->nodes[kernel->nodes[i]];
        const bd_op_class class = bd_op_get_info(node->op)->class;
        if (kernel->spaces[i] != BD_SPACE_REDUCED ||
            !(is_sum(node) || class == BD_CLASS_ELEMENTWISE || node->op == BD_OP_ASSIGN))
            return 0;
        for (int j = 0; is_sum(node) && j < node->input_count; j++)
            if (graph->nodes[node->inputs[j]].chunks != e->length)
                return 0;
        sums += is_sum(node);
    }
    return sums;
}

static bool is_in(const bd_kernel *kernel, bd_tensor tensor)
{
    bool found = false;
    for (int i = 0; i < kernel->node_count; i++)
        found |= kernel->nodes[i] == tensor;
    return found;
}

/* Are these results of the maker's, block by block, and nothing else of it, what the sums read? */
static bool reads_parts_only(const bd_plan *plan, const bd_kernel *maker, const bd_kernel *sums)
{
    const bd_graph *graph = plan->graph;
    const bd_extent *e = &maker->extent;
    const bool columns = maker->class == BD_KERNEL_COLUMNS && e->outer * e->inner == sums->extent.inner &&
                         e->chunks == sums->extent.length;
    const bool contraction = maker->class == BD_KERNEL_CONTRACTION && graph->nodes[maker->anchor].chunks > 1;
    bool only = columns || contraction;
    for (int i = 0; i < sums->operand_count && only; i++) {
        const bd_tensor t = sums->operands[i].node;
        if (!is_in(maker, t))
            continue;
        only = columns ? is_sum(&graph->nodes[t]) : t == maker->anchor;
        for (int j = 0; j < sums->node_count && only; j++) /* arithmetic would read elements of other blocks */
            for (int k = 0; k < graph->nodes[sums->nodes[j]].input_count && only; k++)
                only = is_sum(&graph->nodes[sums->nodes[j]]) ||
                       bd_view_base(graph, graph->nodes[sums->nodes[j]].inputs[k]) != t;
    }
    return only;
}

static bd_tensor root_of(const bd_graph *graph, bd_tensor tensor)
{
    const bd_node *node = &graph->nodes[tensor];
    return node->op == BD_OP_VARIABLE && node->attr.variable.base != BD_NONE ? node->attr.variable.base : tensor;
}

/* Does one of the kernels write a variable that the other reads or writes? */
static bool disturb(const bd_plan *plan, const bd_kernel *a, const bd_kernel *b)
{
    const bd_graph *graph = plan->graph;
    bool found = false;
    for (int i = 0; i < a->operand_count; i++)
        for (int j = 0; j < b->operand_count; j++)
            found |= (a->operands[i].written || b->operands[j].written) &&
                     graph->nodes[a->operands[i].node].op == BD_OP_VARIABLE &&
                     root_of(graph, a->operands[i].node) == root_of(graph, b->operands[j].node);
    return found;
}

static bool fits_bindings(const bd_plan *plan, const bd_kernel *maker, const bd_kernel *sums, const bd_target *target)
{
    uint32_t count = (uint32_t)maker->operand_count + 1;
    bool whole = true;
    for (int i = 0; i < sums->operand_count; i++) {
        const bd_node *node = &plan->graph->nodes[sums->operands[i].node];
        count += bd_kernel_operand(maker, sums->operands[i].node) < 0;
        whole &= (uint64_t)bd_shape_elements(&node->shape) * bd_format_size(node->format) <=
                 target->limits.max_binding_bytes;
    }
    return whole && count <= target->limits.max_bindings;
}

static bool is_allowed(const bd_plan *plan, const bd_kernel *sums, const bd_target *target)
{
    bool allowed = true;
    for (int i = 0; i < sums->node_count; i++) {
        const bd_node *node = &plan->graph->nodes[sums->nodes[i]];
        allowed &= !is_sum(node) || bd_variant_allowed(target, node, BD_VARIANT_LAST_GROUP);
    }
    return allowed;
}

/* ---- whether it is worth it ---- */

/* Wide sums that few blocks would do one after the other stay apart. */
static bool is_faster(const bd_plan *plan, const bd_kernel *sums, const bd_blocks *blocks, const bd_target *target)
{
    double bytes = 0;
    for (int i = 0; i < sums->operand_count; i++) {
        const bd_node *node = &plan->graph->nodes[sums->operands[i].node];
        bytes += (double)bd_shape_elements(&node->shape) * (double)bd_format_size(node->format);
    }
    const double units = target->limits.compute_units ? target->limits.compute_units : 1;
    const double groups = (double)sums->groups[0] * sums->groups[1];
    const double apart = KERNEL_SECONDS + bytes / fmin(fmin(groups, units) * GROUP_BYTES, DEVICE_BYTES);
    const double merged = FENCE_SECONDS + bytes / fmin(fmin((double)blocks->count, units) * GROUP_BYTES, DEVICE_BYTES);
    return merged <= apart;
}

/* Fills `last` but for the counters; false if the sums are to stay a kernel. Both kernels get their launch. */
static bool plan_last_group(const bd_plan *plan, bd_kernel *maker, bd_kernel *sums, const bd_target *target,
                            bd_last_group *last)
{
    const int count = count_sums(plan, sums);
    if (!bd_kernel_launch(plan, maker, target) || !bd_kernel_launch(plan, sums, target))
        return false;
    const bd_blocks blocks = bd_last_group_blocks(plan, maker);
    *last = (bd_last_group){ .node_count = sums->node_count,
                             .extent = sums->extent,
                             .lanes = sums->local[1],
                             .width = blocks.n % BD_WIDTH == 0 && blocks.tile_n % BD_WIDTH == 0 ? sums->width : 1 };
    bd_kernel both = *maker;
    both.node_count = sums->node_count;
    both.nodes = sums->nodes;
    both.spaces = sums->spaces;
    both.last = *last;
    const uint32_t shares = last->lanes / bd_kernel_of_last_group(plan, &both).local[1];
    const bool beside = maker->class == BD_KERNEL_COLUMNS && maker->groups[0] > target->limits.compute_units;
    return shares <= MOST_LANES && shares * last->width * (uint32_t)count <= (beside ? MOST_SUMS_BESIDE : MOST_SUMS) &&
           is_faster(plan, sums, &blocks, target);
}

/* ---- merging ---- */

/* One counter a block; the tuner may choose a contraction's smallest tile. */
static bd_tensor append_counters(bd_plan *plan, const bd_kernel *maker)
{
    enum { SMALLEST_TILE = 4 };
    bd_blocks b = bd_last_group_blocks(plan, maker);
    if (maker->class == BD_KERNEL_CONTRACTION)
        b.count = b.batch * bd_ceil_divide(b.m, SMALLEST_TILE) * bd_ceil_divide(b.n, SMALLEST_TILE);
    bd_tensor counters;
    /* A pack of nothing: memory of the program alone that begins with zeros. */
    bd_node *node = bd_graph_append(plan->graph, BD_OP_PACK, BD_SHAPE(b.count), NULL, 0, &counters);
    if (!node)
        return BD_NONE;
    node->format = BD_U32;
    node->role = BD_ROLE_FIXED;
    int32_t *kernel_of = realloc(plan->kernel_of, ((size_t)plan->graph->node_count + 1) * sizeof *kernel_of);
    if (!kernel_of)
        return BD_NONE;
    plan->kernel_of = kernel_of;
    kernel_of[counters] = -1;
    return counters;
}

static bool merge(bd_plan *plan, int m, int s, const bd_last_group *last)
{
    bd_kernel *maker = &plan->kernels[m], *sums = &plan->kernels[s];
    const size_t nodes = (size_t)(maker->node_count + sums->node_count),
                 operands = (size_t)(maker->operand_count + sums->operand_count + 1);
    bd_tensor *all = realloc(maker->nodes, nodes * sizeof *all);
    if (all)
        maker->nodes = all;
    bd_space *spaces = realloc(maker->spaces, nodes * sizeof *spaces);
    if (spaces)
        maker->spaces = spaces;
    bd_operand *bound = realloc(maker->operands, operands * sizeof *bound);
    if (bound)
        maker->operands = bound;
    const bd_tensor counters = append_counters(plan, maker);
    if (!all || !spaces || !bound || counters == BD_NONE)
        return false;
    for (int i = 0; i < sums->node_count; i++) {
        maker->nodes[maker->node_count] = sums->nodes[i];
        maker->spaces[maker->node_count++] = BD_SPACE_REDUCED;
        plan->kernel_of[sums->nodes[i]] = m;
    }
    for (int i = 0; i < sums->operand_count; i++) {
        const int known = bd_kernel_operand(maker, sums->operands[i].node);
        if (known < 0)
            maker->operands[maker->operand_count++] = sums->operands[i];
        else
            maker->operands[known].written |= sums->operands[i].written;
    }
    maker->operands[maker->operand_count++] = (bd_operand){ .node = counters, .written = true, .parts = 1 };
    maker->last = *last;
    maker->last.counters = counters;
    free(sums->nodes);
    free(sums->spaces);
    free(sums->operands);
    plan->kernel_count--;
    memmove(sums, sums + 1, (size_t)(plan->kernel_count - s) * sizeof *sums);
    for (bd_tensor t = 0; t < plan->graph->node_count; t++)
        plan->kernel_of[t] -= plan->kernel_of[t] > s;
    return true;
}

/* Kernel `s` moves up to its maker `m`: past what stands between. */
static bool may_merge(const bd_plan *plan, int m, int s, const bd_target *target)
{
    const bd_kernel *maker = &plan->kernels[m], *sums = &plan->kernels[s];
    bool may = maker->last.node_count == 0 && reads_parts_only(plan, maker, sums) && is_allowed(plan, sums, target) &&
               fits_bindings(plan, maker, sums, target);
    for (int k = m; k < s && may; k++)
        may = !disturb(plan, &plan->kernels[k], sums);
    return may;
}

bd_status bd_merge_final_sums(bd_plan *plan, const bd_target *target, bd_error *error)
{
    /* Halves that share words, and CPU drivers, whose work-groups do not run all at once and which launch a kernel in
     * no time, stay as they are. */
    for (int s = 0; s < plan->kernel_count && target->last_group && !target->is_cpu && target->half.storage; s++) {
        bd_last_group last;
        const int m = count_sums(plan, &plan->kernels[s]) ? find_latest(plan, s) : -1;
        if (m < 0 || m > s || !may_merge(plan, m, s, target) ||
            !plan_last_group(plan, &plan->kernels[m], &plan->kernels[s], target, &last))
            continue;
        if (!merge(plan, m, s, &last))
            return bd_fail(error, BD_ERROR_MEMORY, "out of memory while merging kernels");
        s--;
    }
    return BD_OK;
}
