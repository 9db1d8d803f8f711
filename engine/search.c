/* Why a loss was not finite: runs the forward pass of the failed step again with a counter on every node's result. The
 * halted control block still points at that step, and the weights are those that it saw. */
#include "trainer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static void describe_node(const bd_graph *graph, bd_tensor node, char *text, size_t size)
{
    const bd_node *n = bd_node_at(graph, node);
    const char *layer = bd_node_layer(graph, node), *operation = bd_op_get_info(n->op)->name;
    if (n->op == BD_OP_VARIABLE)
        snprintf(text, size, "layer '%s', parameter '%s'", layer, n->attr.variable.name);
    else if (*layer)
        snprintf(text, size, "layer '%s', operation %s", layer, operation);
    else
        snprintf(text, size, "outside of the layers, operation %s", operation);
}

/* The first probe that found something, -1 if none did. */
static bd_status find_first(const bd_trainer *trainer, const bd_probe *probes, int count, int *first, bd_error *error)
{
    bd_status status = BD_OK;
    *first = -1;
    for (int i = 0; i < count && !status && *first < 0; i++) {
        double bad = 0;
        status = bd_store_read_values(trainer->store, probes[i].variable, &bad, 1, error);
        if (bad != 0)
            *first = i;
    }
    return status;
}

bd_status bd_trainer_explain(bd_trainer *trainer, bd_error *error)
{
    bd_graph *graph = NULL;
    bd_probe *probes = NULL;
    int count, first = -1;
    trainer->failed = true;
    bd_status status = bd_step_search(&trainer->params, &trainer->train.source, &graph, &probes, &count, error);
    if (!status)
        status = bd_trainer_run_once(trainer, graph, error);
    if (!status)
        status = find_first(trainer, probes, count, &first, error);
    if (!status) {
        char what[256] = "no layer shows it when the step is run again";
        if (first >= 0)
            describe_node(graph, probes[first].node, what, sizeof what);
        status = bd_fail(error, BD_ERROR_NUMERIC,
                         "step %" PRIu32 ": the loss is not finite; the first value that is not: %s",
                         trainer->state.control[BD_CONTROL_NAN_STEP], what);
    }
    free(probes);
    bd_graph_destroy(&graph);
    return status;
}
