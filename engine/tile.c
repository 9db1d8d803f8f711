#include "tile.h"

#include <string.h>

bd_extent bd_reduction_extent(const bd_graph *graph, bd_tensor tensor)
{
    const bd_node *node = &graph->nodes[tensor];
    const bd_shape *input = &graph->nodes[node->inputs[0]].shape;
    int first = node->attr.reduce.first, count = node->attr.reduce.count;
    bd_extent extent = { 1, 1, 1, node->chunks > 1 ? node->chunks : 1 };
    for (int d = 0; d < input->rank; d++)
        *(d < first ? &extent.outer : d < first + count ? &extent.length : &extent.inner) *= input->dim[d];
    return extent;
}

bd_contraction bd_contraction_of(const bd_graph *graph, bd_tensor tensor)
{
    const bd_node *node = &graph->nodes[tensor];
    const bd_shape *a = &graph->nodes[node->inputs[0]].shape, *b = &graph->nodes[node->inputs[1]].shape;
    bd_contraction c = { 1, 1, 1, 1 };
    switch (node->op) {
    case BD_OP_MATMUL:
        for (int d = 0; d < a->rank - 2; d++)
            c.batch *= a->dim[d];
        c.m = a->dim[a->rank - (node->attr.matmul.transpose[0] ? 1 : 2)];
        c.k = a->dim[a->rank - (node->attr.matmul.transpose[0] ? 2 : 1)];
        c.n = b->dim[b->rank - (node->attr.matmul.transpose[1] ? 2 : 1)];
        break;
    case BD_OP_CONV2D: /* x, weight */
        c.m = node->shape.dim[0] * node->shape.dim[1] * node->shape.dim[2];
        c.n = b->dim[3];
        c.k = b->dim[0] * b->dim[1] * b->dim[2];
        break;
    case BD_OP_CONV2D_DATA: /* dy, weight */
        c.m = node->shape.dim[0] * node->shape.dim[1] * node->shape.dim[2];
        c.n = b->dim[2];
        c.k = b->dim[0] * b->dim[1] * b->dim[3];
        break;
    case BD_OP_CONV2D_WEIGHT: /* x, dy */
        c.m = node->attr.window.size[0] * node->attr.window.size[1] * a->dim[3];
        c.n = b->dim[3];
        c.k = b->dim[0] * b->dim[1] * b->dim[2];
        break;
    default: break;
    }
    return c;
}

int64_t bd_contraction_chunks(const bd_graph *graph, bd_tensor node, const bd_target *target,
                              const bd_compile_options *options)
{
    (void)options;
    const bd_contraction c = bd_contraction_of(graph, node);
    const int64_t results = c.batch * c.m * c.n, wanted = target->is_cpu ? 4096 : 65536;
    /* Of the convolutions only the weight gradient has few results and a long sum. */
    if (graph->nodes[node].op != BD_OP_MATMUL && graph->nodes[node].op != BD_OP_CONV2D_WEIGHT)
        return 1;
    if (results <= 0 || results >= wanted || c.k < 4096)
        return 1;
    int64_t chunks = wanted / results, most = c.k / 1024;
    return chunks < most ? chunks : most;
}

void bd_spread_groups(const bd_target *target, bd_kernel *kernel, uint64_t groups)
{
    uint64_t most = target->limits.max_workgroup_count[0] ? target->limits.max_workgroup_count[0] : 65535;
    uint64_t rows = (groups + most - 1) / most;
    kernel->groups[0] = (uint32_t)(rows ? (groups + rows - 1) / rows : 0);
    kernel->groups[1] = (uint32_t)rows;
    kernel->groups[2] = 1;
}

void bd_contraction_launch(const bd_plan *plan, bd_kernel *kernel, const bd_target *target)
{
    if (bd_simd_launch(plan, kernel, target))
        return;
    uint32_t most = target->limits.max_workgroup_items < 64 ? target->limits.max_workgroup_items : 64;
    uint64_t groups = ((uint64_t)kernel->elements + most - 1) / most;
    kernel->local[0] = most;
    kernel->groups[0] = (uint32_t)(groups < 65535 ? groups : 65535);
    kernel->groups[1] = groups ? (uint32_t)((groups + kernel->groups[0] - 1) / kernel->groups[0]) : 0;
    kernel->groups[2] = 1;
}
