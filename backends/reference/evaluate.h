/* The inside of the interpreter: one function a family of operations. Each writes a node's elements, row major, before
 * rounding; `result` is zeroed. Inputs are the rounded values of the nodes before. */
#ifndef BINADE_BACKENDS_REFERENCE_EVALUATE_H
#define BINADE_BACKENDS_REFERENCE_EVALUATE_H

#include "interpret.h"

typedef struct bd_evaluation {
    const bd_graph *graph;
    const bd_variable_access *access;
    double **values; /* by node number; NULL where not held */
} bd_evaluation;

static inline const double *bd_evaluated(const bd_evaluation *evaluation, const bd_node *node, int input)
{
    return evaluation->values[node->inputs[input]];
}

static inline const bd_shape *bd_input_shape(const bd_evaluation *evaluation, const bd_node *node, int input)
{
    return &bd_node_at(evaluation->graph, node->inputs[input])->shape;
}

/* How many of the summed axis's `length` elements go into one partial sum (bd_node.chunks). */
static inline int64_t bd_chunk_length(const bd_node *node, int64_t length)
{
    int64_t chunk = (length + node->chunks - 1) / node->chunks;
    return chunk > 0 ? chunk : 1;
}

/* Does the node need the value of this input, or does it only name a variable? */
bool bd_reads_value(const bd_graph *graph, const bd_node *node, int input);

/* The words of the block "control", which nodes that draw random numbers read without naming it. */
bd_status bd_read_control(const bd_evaluation *evaluation, double *words, bd_error *error);

bd_status bd_evaluate_source(const bd_evaluation *evaluation, bd_tensor tensor, double *result, bd_error *error);
void bd_evaluate_elementwise(const bd_evaluation *evaluation, const bd_node *node, double *result);
void bd_evaluate_movement(const bd_evaluation *evaluation, const bd_node *node, double *result);
void bd_evaluate_reduction(const bd_evaluation *evaluation, const bd_node *node, double *result);
bd_status bd_evaluate_contraction(const bd_evaluation *evaluation, const bd_node *node, double *result,
                                  bd_error *error);
void bd_evaluate_pooling(const bd_evaluation *evaluation, const bd_node *node, double *result);
void bd_evaluate_depthwise(const bd_evaluation *evaluation, const bd_node *node, double *result);
void bd_evaluate_tally(const bd_evaluation *evaluation, const bd_node *node, double *result);
bd_status bd_evaluate_attention(const bd_evaluation *evaluation, const bd_node *node, double *result, bd_error *error);
/* The result is the whole control block after the step. */
void bd_evaluate_control_step(const bd_evaluation *evaluation, const bd_node *node, double *result);

#endif
