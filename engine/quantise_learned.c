/* Operands of contractions in whole numbers of a learned step: Esser et al., arXiv:1902.08153 (LSQ). x becomes s
 * round(clip(x / s, least, most)). The gradient goes straight through the rounding, so that x gets dy where x / s is
 * inside, and s gets dy (round(x / s) - x / s) there and dy times the bound outside: the derivatives that the graph
 * takes of these operations. */
#include "quantise.h"

#include <math.h>

static bd_tensor scalar(bd_graph *graph, double value)
{
    return bd_constant(graph, (bd_shape){ 0 }, value);
}

/* Rectified values, and what pooling and views make of them. */
static bool never_negative(const bd_graph *graph, bd_tensor x)
{
    for (;;) {
        const bd_node *node = bd_node_at(graph, x);
        if (node->op == BD_OP_RELU)
            return true;
        if (bd_op_get_info(node->op)->class != BD_CLASS_VIEW && node->op != BD_OP_CAST && node->op != BD_OP_MAX_POOL &&
            node->op != BD_OP_AVG_POOL)
            return false;
        x = node->inputs[0];
    }
}

/* x itself, whose gradient is `factor` of it. */
static bd_tensor slow(bd_graph *graph, bd_tensor x, double factor)
{
    bd_tensor part = bd_mul(graph, x, scalar(graph, factor));
    return bd_add(graph, part, bd_stop_gradient(graph, bd_sub(graph, x, part)));
}

/* 2 mean |x| / sqrt(most) of the first batch, as it was kept. */
static bd_tensor start_of(bd_graph *graph, bd_tensor x, bd_role role, double most)
{
    const int rank = bd_tensor_shape(graph, x).rank;
    bd_tensor kept = bd_quantise_variable(graph, role, "start", BD_ROLE_STATISTIC, (bd_shape){ 0 });
    if (!graph->starting)
        return kept;
    bd_tensor mean = bd_abs(graph, x);
    if (rank > 0)
        mean = bd_mean(graph, mean, 0, rank, false);
    bd_tensor start = bd_mul(graph, mean, scalar(graph, 2 / sqrt(most)));
    bd_assign(graph, kept, start);
    return bd_stop_gradient(graph, start);
}

bd_tensor bd_quantise_learned(bd_graph *graph, bd_tensor x, bd_role role, bd_format format)
{
    const bd_format_info info = bd_format_describe(format);
    const bd_shape shape = bd_tensor_shape(graph, x);
    const bool whole = info.kind == BD_KIND_SIGNED, weight = role == BD_ROLE_WEIGHT_OPERAND;
    const bool shifted = whole && !weight && never_negative(graph, x);
    const double zero = shifted ? info.largest + 1 : 0; /* the number that stands for 0 is -zero */
    const double most = info.largest + zero, least = whole ? -info.largest - 1 + zero : -info.largest;
    /* LSQ's N: the weights, or the features of one example. */
    const int64_t elements = bd_shape_elements(&shape), rows = weight || shape.rank == 0 ? 1 : shape.dim[0];
    const double share = 1 / sqrt((double)elements / (double)rows * most);

    const bd_role before = bd_set_role(graph, BD_ROLE_FIXED);
    bd_tensor start = start_of(graph, x, role, most);
    /* What is learned is how far the step is from its start: so it needs no value before the first batch, and decays to
     * that. */
    bd_tensor learned = bd_quantise_variable(graph, role, "step", BD_ROLE_WEIGHT, (bd_shape){ 0 });
    bd_tensor step = bd_abs(graph, bd_add(graph, start, slow(graph, learned, share)));
    step = bd_broadcast(graph, bd_max(graph, step, scalar(graph, 0x1p-100)), shape);
    bd_tensor inside = bd_div(graph, x, step);
    inside = bd_min(graph, bd_max(graph, inside, bd_constant(graph, shape, least)), bd_constant(graph, shape, most));
    if (shifted)
        inside = bd_sub(graph, inside, bd_constant(graph, shape, zero));
    bd_tensor rounded = bd_cast(graph, inside, role), number = rounded;
    if (shifted)
        number = bd_add(graph, rounded, bd_constant(graph, shape, zero));
    bd_tensor result = bd_mul(graph, number, step);
    if (graph->status == BD_OK) /* what is stored is the rounded one */
        graph->nodes[result].recompute = true;
    if (graph->status == BD_OK && shifted)
        graph->nodes[number].recompute = true;
    bd_set_role(graph, before);
    return result;
}
