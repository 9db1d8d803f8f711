/* Operands of contractions in formats of their own, simulated: rounded to the format, then a number again, multiplied
 * and summed as all others; matrix units multiply what was rounded (rewrite.c). With delayed scaling (Micikevicius et
 * al., arXiv:2209.05433, section 3; NVIDIA's Transformer Engine) they are brought into the format's range first, by the
 * largest magnitude that the tensor had in the steps before: the scale is the power of two with which that is just not
 * beyond the format's largest value, so that scaling rounds nothing. The gradient goes straight through. */
#include "quantise.h"

#include "control.h"

#include <math.h>
#include <stdio.h>

bd_tensor bd_quantise_variable(bd_graph *graph, bd_role role, const char *what, bd_role kind, bd_shape shape)
{
    for (int i = 1;; i++) {
        char name[40];
        snprintf(name, sizeof name, i == 1 ? "%s_%s" : "%s_%s%d", bd_role_name(role), what, i);
        const int32_t before = graph->node_count;
        bd_tensor variable = bd_variable(graph, name, kind, BD_F32, shape, (bd_init){ BD_INIT_CONSTANT, 0 });
        if (graph->status != BD_OK || graph->node_count > before)
            return variable;
    }
}

/* The tensor's largest magnitudes, 0 where there was no step yet: statistics, so that checkpoints have them. */
static bd_tensor history_variable(bd_graph *graph, bd_role role)
{
    return bd_quantise_variable(graph, role, "amax", BD_ROLE_STATISTIC, BD_SHAPE(graph->precision->history));
}

static bd_tensor scalar(bd_graph *graph, double value)
{
    return bd_constant(graph, (bd_shape){ 0 }, value);
}

/* 2^floor(log2(largest / amax)); 1 while there is no history. */
static bd_tensor scale_of(bd_graph *graph, bd_tensor history, double largest)
{
    bd_tensor amax = bd_maximum(graph, history, 0, 1, false);
    /* Far from where powers of two end, and products with them. */
    amax = bd_min(graph, amax, scalar(graph, 0x1p60));
    bd_tensor known = bd_less(graph, scalar(graph, 0), amax);
    amax = bd_max(graph, amax, scalar(graph, 0x1p-60));
    bd_tensor scale = bd_mul(graph, bd_normaliser(graph, amax), scalar(graph, ldexp(1, ilogb(largest))));
    bd_tensor over = bd_less(graph, scalar(graph, largest), bd_mul(graph, amax, scale));
    scale = bd_select(graph, over, bd_mul(graph, scale, scalar(graph, 0.5)), scale);
    return bd_select(graph, known, scale, scalar(graph, 1));
}

/* Puts this step's largest magnitude in the place of the oldest. */
static void remember(bd_graph *graph, bd_tensor history, bd_tensor x, bd_tensor control)
{
    const bd_shape shape = bd_tensor_shape(graph, history);
    const double length = (double)shape.dim[0]; /* a power of two: its quotients are exact */
    bd_tensor amax = bd_abs(graph, x);
    if (bd_tensor_shape(graph, x).rank > 0)
        amax = bd_maximum(graph, amax, 0, bd_tensor_shape(graph, x).rank, false);
    bd_tensor step = bd_control_value(graph, control, BD_CONTROL_STEP, false);
    bd_tensor turns = bd_floor(graph, bd_mul(graph, step, scalar(graph, 1 / length)));
    bd_tensor place = bd_sub(graph, step, bd_mul(graph, turns, scalar(graph, length)));
    bd_tensor here = bd_equal(graph, bd_iota(graph, shape, 0), bd_broadcast(graph, place, shape));
    bd_assign(graph, history, bd_select(graph, here, bd_broadcast(graph, amax, shape), history));
}

static bd_tensor delayed(bd_graph *graph, bd_tensor x, bd_role role, bd_format format)
{
    const bd_shape shape = bd_tensor_shape(graph, x);
    const bd_role before = bd_set_role(graph, BD_ROLE_FIXED);
    const bd_tensor control = bd_graph_find_variable(graph, "control"); /* none where nothing is trained */
    bd_tensor history = history_variable(graph, role);
    bd_tensor scale = scale_of(graph, history, bd_format_describe(format).largest);
    if (control != BD_NONE)
        remember(graph, history, x, control);
    bd_tensor scaled = bd_mul(graph, x, bd_broadcast(graph, scale, shape));
    bd_tensor rounded = bd_cast(graph, scaled, role);
    bd_tensor back = bd_broadcast(graph, bd_normaliser(graph, scale), shape); /* 1 / scale, a power of two */
    bd_tensor result = bd_mul(graph, rounded, back);
    if (graph->status == BD_OK)
        graph->nodes[result].recompute = true; /* what is stored is the rounded one */
    bd_set_role(graph, before);
    return result;
}

bd_tensor bd_quantise(bd_graph *graph, bd_tensor x, bd_role role)
{
    const bd_precision *precision = graph->precision;
    if (!precision || graph->status != BD_OK)
        return x;
    const bd_format format = bd_precision_format(precision, role, graph->layers[graph->layer]);
    if (format == BD_F32)
        return x;
    if (precision->operands == BD_OPERANDS_DELAYED)
        return delayed(graph, x, role, format);
    if (precision->operands == BD_OPERANDS_LEARNED && role != BD_ROLE_GRADIENT_OPERAND)
        return bd_quantise_learned(graph, x, role, format);
    return bd_cast(graph, x, role);
}

void bd_quantised_parts(const bd_graph *graph, bd_tensor operand, bd_tensor *codes, bd_tensor *scale)
{
    const bd_node *node = bd_node_at(graph, operand);
    if (node->op != BD_OP_MUL || !node->recompute || node->format != BD_F32)
        return;
    const bd_node *factor = bd_node_at(graph, node->inputs[1]);
    if (factor->op != BD_OP_BROADCAST || bd_shape_elements(&bd_node_at(graph, factor->inputs[0])->shape) != 1)
        return;
    *codes = node->inputs[0];
    *scale = factor->inputs[0];
}

bd_tensor bd_quantised_whole(const bd_graph *graph, bd_tensor codes, double *zero)
{
    const bd_node *node = bd_node_at(graph, codes);
    if (node->op != BD_OP_ADD || !node->recompute || node->format != BD_F32)
        return codes;
    const bd_node *shift = bd_node_at(graph, node->inputs[1]);
    const bd_format_info info = bd_format_describe(bd_node_at(graph, node->inputs[0])->format);
    if (info.kind != BD_KIND_SIGNED || shift->op != BD_OP_CONSTANT || shift->attr.constant != info.largest + 1)
        return codes;
    *zero = shift->attr.constant;
    return node->inputs[0];
}

void bd_quantised_unshift(bd_graph *graph, bd_tensor *before, bd_tensor *codes)
{
    const bd_node *node = bd_node_at(graph, *before);
    const bd_format_info info = bd_format_describe(bd_node_at(graph, *codes)->format);
    if (node->op != BD_OP_SUB || info.kind != BD_KIND_SIGNED)
        return;
    const bd_tensor zero = node->inputs[1];
    const bd_node *shift = bd_node_at(graph, zero);
    if (shift->op != BD_OP_CONSTANT || shift->attr.constant != info.largest + 1)
        return;
    *before = node->inputs[0];
    *codes = bd_add(graph, *codes, zero);
}

bd_format bd_quantised_format(const bd_graph *graph, bd_tensor tensor)
{
    double zero;
    return bd_quantised_whole(graph, tensor, &zero) == tensor ? bd_node_at(graph, tensor)->format : BD_U8;
}

bd_tensor bd_quantise_operand(bd_graph *graph, bd_tensor x)
{
    bd_tensor base = x;
    while (bd_op_get_info(bd_node_at(graph, base)->op)->class == BD_CLASS_VIEW)
        base = bd_node_at(graph, base)->inputs[0];
    const bd_node *node = bd_node_at(graph, base);
    const bool weight = node->op == BD_OP_VARIABLE && node->role == BD_ROLE_WEIGHT;
    return bd_quantise(graph, x, weight ? BD_ROLE_WEIGHT_OPERAND : BD_ROLE_ACTIVATION_OPERAND);
}
