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

/* Fused, since few kernels are compiled faster than many; but a kernel that fills many counters may need more buffers
 * than the device allows. */
static bd_status plan_search(const bd_trainer *trainer, const bd_graph *graph, bd_plan **plan, bd_error *error)
{
    bd_compile_options options = { trainer->params.no_fusion, (bd_gemm)trainer->params.gemm,
                                   (bd_tuning)trainer->params.tuning };
    bd_status status = bd_plan_create(graph, &trainer->target, &options, plan, error);
    if (status != BD_ERROR_UNSUPPORTED || options.no_fusion)
        return status;
    options.no_fusion = true;
    return bd_plan_create(graph, &trainer->target, &options, plan, error);
}

/* Runs the counters; *first is the first probe that found something, -1 if none did. */
static bd_status run_search(bd_trainer *trainer, bd_plan **plan, const bd_probe *probes, int count, int *first,
                            bd_error *error)
{
    bd_program *program = NULL;
    int64_t steps = 1;
    bd_status status = bd_feed_prepare(trainer->train.feed, trainer->state.control[BD_CONTROL_POSITION], &steps, error);
    if (!status)
        status = bd_program_create(trainer->store, plan, trainer->params.seed, NULL, NULL, &program, error);
    if (!status)
        status = bd_program_run(program, 1, error);
    *first = -1;
    for (int i = 0; i < count && !status && *first < 0; i++) {
        double bad = 0;
        status = bd_store_read_values(trainer->store, probes[i].variable, &bad, 1, error);
        if (bad != 0)
            *first = i;
    }
    bd_program_destroy(&program);
    return status;
}

bd_status bd_trainer_explain(bd_trainer *trainer, bd_error *error)
{
    bd_graph *graph = NULL;
    bd_plan *plan = NULL;
    bd_probe *probes = NULL;
    int count, first = -1;
    trainer->failed = true;
    bd_status status = bd_step_search(&trainer->params, &trainer->train.source, &graph, &probes, &count, error);
    if (!status)
        status = plan_search(trainer, graph, &plan, error);
    if (!status) {
        /* The search takes the arena over, of which it may need more. */
        bd_program_destroy(&trainer->train.program);
        bd_program_destroy(&trainer->test.program);
        bd_store_free_arena(trainer->store);
        status = run_search(trainer, &plan, probes, count, &first, error);
    }
    if (!status) {
        char what[256] = "no layer shows it when the step is run again";
        if (first >= 0)
            describe_node(graph, probes[first].node, what, sizeof what);
        status = bd_fail(error, BD_ERROR_NUMERIC,
                         "step %" PRIu32 ": the loss is not finite; the first value that is not: %s",
                         trainer->state.control[BD_CONTROL_NAN_STEP], what);
    }
    free(probes);
    bd_plan_destroy(&plan);
    bd_graph_destroy(&graph);
    return status;
}
