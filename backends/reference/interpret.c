/* The walk over the graph: what is needed, in which order, rounded how, held how long. */
#include "../../engine/control.h"
#include "../../engine/philox.h"
#include "evaluate.h"

#include <stdlib.h>
#include <string.h>

/* ---- what is needed ---- */

bool bd_reads_value(const bd_graph *graph, const bd_node *node, int input)
{
    bool is_variable = bd_node_at(graph, node->inputs[input])->op == BD_OP_VARIABLE;
    return !(input == 0 && is_variable && (node->op == BD_OP_ASSIGN || node->op == BD_OP_BATCH));
}

static bool is_effect(const bd_node *node)
{
    return node->op == BD_OP_ASSIGN || node->op == BD_OP_CONTROL_STEP;
}

/* How many readers each node's value has: other nodes, the caller who wants it, and the end of the run for effects.
 * Nodes of no readers are not evaluated. */
static void count_uses(const bd_interpret_params *params, int32_t *uses)
{
    const bd_graph *graph = params->graph;
    for (int i = 0; i < params->wanted_count; i++)
        uses[params->wanted[i]]++;
    for (bd_tensor t = graph->node_count - 1; t >= 0; t--) {
        const bd_node *node = bd_node_at(graph, t);
        uses[t] += is_effect(node);
        if (uses[t] == 0)
            continue;
        for (int i = 0; i < node->input_count; i++)
            uses[node->inputs[i]] += bd_reads_value(graph, node, i);
    }
}

/* ---- evaluation ---- */

typedef struct interpreter {
    const bd_interpret_params *params;
    bd_evaluation evaluation;
    int32_t *uses;
} interpreter;

static bd_status allocate(const bd_graph *graph, bd_tensor tensor, double **values, bd_error *error)
{
    const bd_node *node = bd_node_at(graph, tensor);
    /* A control step has no value for the graph; here it holds the updated block. */
    const bd_shape *shape = node->op == BD_OP_CONTROL_STEP ? &bd_node_at(graph, node->inputs[0])->shape : &node->shape;
    int64_t count = bd_shape_elements(shape);
    if (count < 0)
        return bd_fail(error, BD_ERROR_ARGUMENT, "node %d has a shape without a size", (int)tensor);
    *values = calloc(count > 0 ? (size_t)count : 1, sizeof **values); /* which checks the product */
    if (!*values)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory on the host for %lld values of node %d", (long long)count,
                       (int)tensor);
    return BD_OK;
}

static void round_all(bd_format format, double *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        values[i] = bd_round(format, values[i]);
}

/* To the node's format, as its rule says. Random bits are of (seed, step, the node's stream, element). */
static bd_status round_result(const bd_evaluation *evaluation, const bd_node *node, double *values, bd_error *error)
{
    const int64_t count = bd_shape_elements(&node->shape);
    if (node->rule.mode == BD_ROUND_NEAREST && !node->rule.saturate) {
        round_all(node->format, values, count);
        return BD_OK;
    }
    double control[BD_CONTROL_WORD_COUNT] = { 0 };
    uint32_t word[4] = { 0 };
    const bool draws = node->rule.mode == BD_ROUND_STOCHASTIC;
    if (draws) {
        bd_status status = bd_read_control(evaluation, control, error);
        if (status != BD_OK)
            return status;
    }
    const uint32_t key[2] = { (uint32_t)control[BD_CONTROL_SEED_LOW], (uint32_t)control[BD_CONTROL_SEED_HIGH] };
    for (int64_t i = 0; i < count; i++) {
        if (draws)
            bd_philox(key, (uint32_t[4]){ (uint32_t)(i / 4), node->draw, (uint32_t)control[BD_CONTROL_STEP], 0 }, word);
        values[i] = bd_round_by(node->format, node->rule, word[i % 4], values[i]);
    }
    return BD_OK;
}

/* Elementwise operations are 32-bit ones; the other families round once. */
static bool is_elementwise(bd_op op)
{
    return bd_op_get_info(op)->class == BD_CLASS_ELEMENTWISE;
}

static bd_status compute(const bd_evaluation *evaluation, bd_tensor tensor, double *result, bd_error *error)
{
    const bd_node *node = bd_node_at(evaluation->graph, tensor);
    switch (node->op) {
    case BD_OP_VARIABLE:
    case BD_OP_CONSTANT:
    case BD_OP_IOTA:
    case BD_OP_RANDOM:
    case BD_OP_CONTROL:
    case BD_OP_BATCH:
    case BD_OP_VALID: return bd_evaluate_source(evaluation, tensor, result, error);
    case BD_OP_BROADCAST:
    case BD_OP_RESHAPE:
    case BD_OP_PERMUTE:
    case BD_OP_SLICE:
    case BD_OP_PAD:
    case BD_OP_CONCAT:
    case BD_OP_PACK:
    case BD_OP_GATHER:
    case BD_OP_SCATTER_ADD: bd_evaluate_movement(evaluation, node, result); return BD_OK;
    case BD_OP_TALLY: bd_evaluate_tally(evaluation, node, result); return BD_OK;
    case BD_OP_SUM:
    case BD_OP_MAXIMUM:
    case BD_OP_ARGMAX:
    case BD_OP_MEAN:
    case BD_OP_DEVIATIONS: bd_evaluate_reduction(evaluation, node, result); return BD_OK;
    case BD_OP_MATMUL:
    case BD_OP_CONV2D:
    case BD_OP_CONV2D_DATA:
    case BD_OP_CONV2D_WEIGHT: return bd_evaluate_contraction(evaluation, node, result, error);
    case BD_OP_MAX_POOL:
    case BD_OP_AVG_POOL:
    case BD_OP_MAX_POOL_GRAD:
    case BD_OP_AVG_POOL_GRAD: bd_evaluate_pooling(evaluation, node, result); return BD_OK;
    case BD_OP_DEPTHWISE:
    case BD_OP_DEPTHWISE_DATA:
    case BD_OP_DEPTHWISE_WEIGHT: bd_evaluate_depthwise(evaluation, node, result); return BD_OK;
    case BD_OP_ATTENTION:
    case BD_OP_ATTENTION_SUM:
    case BD_OP_ATTENTION_GRAD: return bd_evaluate_attention(evaluation, node, result, error);
    case BD_OP_ASSIGN:
        memcpy(result, bd_evaluated(evaluation, node, 1), (size_t)bd_shape_elements(&node->shape) * sizeof *result);
        return BD_OK;
    case BD_OP_CONTROL_STEP: bd_evaluate_control_step(evaluation, node, result); return BD_OK;
    default: bd_evaluate_elementwise(evaluation, node, result); return BD_OK;
    }
}

static void release(interpreter *run, bd_tensor tensor)
{
    if (--run->uses[tensor] > 0)
        return;
    free(run->evaluation.values[tensor]);
    run->evaluation.values[tensor] = NULL;
}

static bd_status evaluate(interpreter *run, bd_tensor tensor, bd_error *error)
{
    const bd_graph *graph = run->params->graph;
    const bd_node *node = bd_node_at(graph, tensor);
    double **result = &run->evaluation.values[tensor];
    bd_status status;
    if ((status = allocate(graph, tensor, result, error)) != BD_OK ||
        (status = compute(&run->evaluation, tensor, *result, error)) != BD_OK)
        return status;
    if (!run->params->exact && node->op != BD_OP_CONTROL_STEP) {
        int64_t count = bd_shape_elements(&node->shape);
        if (is_elementwise(node->op))
            round_all(BD_F32, *result, count);
        if ((status = round_result(&run->evaluation, node, *result, error)) != BD_OK)
            return status;
    }
    for (int i = 0; i < node->input_count; i++)
        if (bd_reads_value(graph, node, i))
            release(run, node->inputs[i]);
    return BD_OK;
}

static bd_status evaluate_all(interpreter *run, bd_error *error)
{
    const bd_interpret_params *params = run->params;
    const bd_graph *graph = params->graph;
    for (bd_tensor t = 0; t < graph->node_count; t++) {
        if (run->uses[t] == 0)
            continue;
        bd_status status = evaluate(run, t, error);
        if (status != BD_OK)
            return status;
    }
    for (int i = 0; i < params->wanted_count; i++) {
        int64_t count = bd_shape_elements(&bd_node_at(graph, params->wanted[i])->shape);
        memcpy(params->results[i], run->evaluation.values[params->wanted[i]], (size_t)count * sizeof(double));
    }
    for (bd_tensor t = 0; t < graph->node_count; t++) {
        const bd_node *node = bd_node_at(graph, t);
        if (!is_effect(node))
            continue;
        const bd_variable_access *access = &params->access;
        bd_status status = access->write(access->user, node->inputs[0], run->evaluation.values[t], error);
        if (status != BD_OK)
            return status;
    }
    return BD_OK;
}

bd_status bd_interpret(const bd_interpret_params *params, bd_error *error)
{
    const bd_graph *graph = params->graph;
    size_t nodes = (size_t)graph->node_count;
    interpreter run = { params,
                        { graph, &params->access, calloc(nodes + 1, sizeof(double *)) },
                        calloc(nodes + 1, sizeof(int32_t)) };
    bd_status status;
    if (run.evaluation.values && run.uses) {
        count_uses(params, run.uses);
        status = evaluate_all(&run, error);
        for (size_t i = 0; i < nodes; i++)
            free(run.evaluation.values[i]);
    } else {
        status = bd_fail(error, BD_ERROR_MEMORY, "no memory on the host for a graph of %zu nodes", nodes);
    }
    free(run.evaluation.values);
    free(run.uses);
    return status;
}

/* ---- plain arrays ---- */

typedef struct value_arrays {
    const bd_graph *graph;
    double *const *values;
} value_arrays;

static bd_status find_array(const value_arrays *arrays, bd_tensor variable, double **values, bd_error *error)
{
    const bd_node *node = bd_node_at(arrays->graph, variable);
    *values = arrays->values[variable];
    if (!*values && node->attr.variable.base != BD_NONE && arrays->values[node->attr.variable.base])
        *values = arrays->values[node->attr.variable.base] + node->attr.variable.base_offset;
    if (!*values)
        return bd_fail(error, BD_ERROR_ARGUMENT, "no values were given for the variable %s", node->attr.variable.name);
    return BD_OK;
}

static bd_status array_read(void *user, bd_tensor variable, int64_t first, int64_t count, double *values,
                            bd_error *error)
{
    double *array;
    bd_status status = find_array(user, variable, &array, error);
    if (status == BD_OK)
        memcpy(values, array + first, (size_t)count * sizeof *values);
    return status;
}

static bd_status array_write(void *user, bd_tensor variable, const double *values, bd_error *error)
{
    const value_arrays *arrays = user;
    double *array;
    bd_status status = find_array(arrays, variable, &array, error);
    if (status == BD_OK) {
        int64_t count = bd_shape_elements(&bd_node_at(arrays->graph, variable)->shape);
        memcpy(array, values, (size_t)count * sizeof *values);
    }
    return status;
}

bd_status bd_interpret_arrays(const bd_graph *graph, bool exact, double *const *variables, const bd_tensor *wanted,
                              double *const *results, int wanted_count, bd_error *error)
{
    value_arrays arrays = { graph, variables };
    bd_interpret_params params = { graph, exact, { array_read, array_write, &arrays }, wanted, results, wanted_count };
    return bd_interpret(&params, error);
}
