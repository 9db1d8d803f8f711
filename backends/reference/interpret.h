/* The oracle: evaluates a graph node by node in double precision and rounds each node's result to the node's format, so
 * that what a device computes can be judged. Written by hand, never generated from the table in engine/node.h: one typo
 * cannot pass twice.
 *
 * What is rounded how:
 * - Elementwise operations are 32-bit operations (engine/node.h): the exact result is rounded to F32, then to the node's
 *   format. Where inputs and result are F16 that equals one rounding (24 >= 2 * 11 + 2).
 * - Sums and contractions are summed in double and rounded once to the node's format: the accumulator's format does not
 *   matter, the oracle is the value that any order of summation approximates.
 * - `exact` skips every rounding, for gradient checks by central differences.
 *
 * Variables change at the end of a run: ASSIGN and CONTROL_STEP keep their results until every node is evaluated, so all
 * readers see the old values; only a CONTROL node whose input is a CONTROL_STEP reads the updated block. Nodes that neither
 * an effect nor a wanted value needs are not evaluated; a value is freed after its last use.
 *
 * RANDOM reads seed and step from the variable "control".
 *
 * The loss of a graph with one variable x, for a check of its gradient:
 *
 *     double **variables = calloc(graph->node_count, sizeof *variables); // by node number
 *     variables[x] = x_values;
 *     double loss_value, *results[] = { &loss_value };
 *     status = bd_interpret_arrays(graph, true, variables, &loss, results, 1, &error);
 */
#ifndef BINADE_BACKENDS_REFERENCE_INTERPRET_H
#define BINADE_BACKENDS_REFERENCE_INTERPRET_H

#include "../../engine/node.h"

/* Where variables live. `first` and `count` are elements. A U32 variable's values are whole numbers: the control block is
 * BD_CONTROL_WORD_COUNT of them, float words as their bit patterns. */
typedef struct bd_variable_access {
    bd_status (*read)(void *user, bd_tensor variable, int64_t first, int64_t count, double *values, bd_error *error);
    bd_status (*write)(void *user, bd_tensor variable, const double *values, bd_error *error); /* all elements */
    void *user;
} bd_variable_access;

typedef struct bd_interpret_params {
    const bd_graph *graph;     /* with its formats applied, unless `exact` */
    bool exact;                /* no rounding anywhere */
    bd_variable_access access; /* must hold every variable that is reached */
    /* Values to give back besides: node wanted[i]'s elements, row major, go to results[i]. May be none. */
    const bd_tensor *wanted;
    double *const *results;
    int wanted_count;
} bd_interpret_params;

/* Runs the graph once. On failure no variable was changed unless `access.write` itself failed. */
bd_status bd_interpret(const bd_interpret_params *params, bd_error *error);

/* The same over plain arrays: variables[n] holds the elements of variable node n, is read and, if the graph assigns to it,
 * changed. Entries of other nodes, and of variables that nothing reaches, may be NULL. A part of a base variable may have an
 * array of its own or be NULL: then it is read from, and written to, its place in the base's array. */
bd_status bd_interpret_arrays(const bd_graph *graph, bool exact, double *const *variables, const bd_tensor *wanted,
                              double *const *results, int wanted_count, bd_error *error);

#endif
