/* What a model takes, counted on its graph: parameters, arithmetic, and what the backward pass needs of the forward
 * pass. */
#include "emit.h"
#include "tile.h"

#include <binade/train.h>
#include <stdlib.h>
#include <string.h>

static const bd_init zeros = { BD_INIT_CONSTANT, 0 };

/* A multiplication and an addition for each tap of the node's window. */
static uint64_t window_flops(const bd_node *node)
{
    return 2 * (uint64_t)node->attr.window.size[0] * (uint64_t)node->attr.window.size[1];
}

static uint64_t node_flops(const bd_graph *graph, bd_tensor tensor)
{
    const bd_node *node = bd_node_at(graph, tensor);
    switch (node->op) {
    case BD_OP_DEPTHWISE:
    case BD_OP_DEPTHWISE_DATA: return window_flops(node) * (uint64_t)bd_shape_elements(&node->shape);
    case BD_OP_DEPTHWISE_WEIGHT:
        return window_flops(node) * (uint64_t)bd_shape_elements(&bd_node_at(graph, node->inputs[1])->shape);
    case BD_OP_CONV2D_DATA: /* as many as the convolution itself has; where strides leave gaps, nothing is multiplied */
        return window_flops(node) * (uint64_t)bd_shape_elements(&bd_node_at(graph, node->inputs[0])->shape) *
               (uint64_t)node->shape.dim[3];
    case BD_OP_ATTENTION:
    case BD_OP_ATTENTION_SUM:
    case BD_OP_ATTENTION_GRAD: return bd_attention_flops(graph, tensor);
    default: break;
    }
    if (bd_op_get_info(node->op)->class != BD_CLASS_CONTRACTION)
        return 0;
    const bd_contraction c = bd_contraction_of(graph, tensor);
    return 2 * (uint64_t)c.batch * (uint64_t)c.m * (uint64_t)c.n * (uint64_t)c.k;
}

/* What must be kept for a reader: the result itself, or what it is computed from once more. In F32 a cast changes
 * nothing. */
static void keep(const bd_graph *graph, bd_tensor tensor, bool *kept)
{
    const bd_node *node = bd_node_at(graph, bd_view_base(graph, tensor));
    const bool again = node->recompute || node->op == BD_OP_CAST;
    if (!again)
        kept[bd_view_base(graph, tensor)] = true;
    for (int i = 0; again && i < node->input_count; i++)
        if (node->inputs[i] != BD_NONE)
            keep(graph, node->inputs[i], kept);
}

/* Nodes below `end` are the forward pass. */
static bd_status count(const bd_graph *graph, bd_tensor end, bd_model_cost *cost, bd_error *error)
{
    bool *kept = calloc((size_t)graph->node_count + 1, sizeof *kept);
    if (!kept)
        return bd_fail(error, BD_ERROR_MEMORY, "out of memory");
    for (bd_tensor t = 0; t < graph->node_count; t++) {
        const bd_node *node = bd_node_at(graph, t);
        const uint64_t flops = node_flops(graph, t);
        cost->step_flops += flops;
        cost->forward_flops += t < end ? flops : 0;
        if (node->op == BD_OP_VARIABLE && node->role == BD_ROLE_WEIGHT)
            cost->parameters += bd_shape_elements(&node->shape);
        if (node->op == BD_OP_VARIABLE && node->role == BD_ROLE_STATISTIC)
            cost->statistics += bd_shape_elements(&node->shape);
        for (int i = 0; t >= end && i < node->input_count; i++)
            if (node->inputs[i] != BD_NONE)
                keep(graph, node->inputs[i], kept);
    }
    for (bd_tensor t = 0; t < end; t++)
        if (kept[t] && bd_op_get_info(bd_node_at(graph, t)->op)->class != BD_CLASS_SOURCE)
            cost->activation_bytes += sizeof(float) * (uint64_t)bd_shape_elements(&bd_node_at(graph, t)->shape);
    free(kept);
    return BD_OK;
}

/* The gradients of all parameters; those that are not wanted by anybody are in the graph all the same. */
static bd_status append_gradient(bd_graph *graph, bd_tensor loss, bd_error *error)
{
    const bd_tensor end = graph->node_count;
    bd_tensor *parameters = malloc(2 * ((size_t)end + 1) * sizeof *parameters), *gradients = parameters + end;
    int found = 0;
    if (!parameters)
        return bd_fail(error, BD_ERROR_MEMORY, "out of memory");
    for (bd_tensor t = 0; t < end; t++)
        if (bd_node_at(graph, t)->op == BD_OP_VARIABLE && bd_node_at(graph, t)->role == BD_ROLE_WEIGHT)
            parameters[found++] = t;
    bd_tensor seed = bd_constant(graph, bd_tensor_shape(graph, loss), 1);
    bd_status status = bd_gradient(graph, loss, seed, parameters, found, gradients, error);
    free(parameters);
    return status;
}

bd_status bd_model_measure(bd_model_function model, const void *user, bd_shape example, int64_t classes,
                           bd_model_cost *cost, bd_error *error)
{
    const bool is_text = example.rank == 1;
    bd_shape batch = { .rank = example.rank + 1, .dim = { 1 } };
    memcpy(batch.dim + 1, example.dim, (size_t)example.rank * sizeof *example.dim);
    *cost = (bd_model_cost){ 0 };
    bd_graph *graph = NULL;
    bd_status status = bd_graph_create(&graph, error);
    if (status)
        return status;
    bd_tensor x = bd_variable(graph, "example", BD_ROLE_ACTIVATION, BD_F32, batch, zeros);
    bd_tensor label = bd_variable(graph, "label", BD_ROLE_FIXED, BD_F32, is_text ? batch : BD_SHAPE(1), zeros);
    bd_tensor loss = bd_cross_entropy(graph, model(graph, x, classes, true, user), label);
    const bd_tensor end = graph->node_count;
    status = bd_graph_status(graph, error);
    if (!status)
        status = append_gradient(graph, loss, error);
    if (!status)
        status = count(graph, end, cost, error);
    bd_graph_destroy(&graph);
    return status;
}
