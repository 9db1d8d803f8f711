/* A graph that looks into a step, run once in the training program's place: a search for what is not finite, a
 * calibration. */
#include "trainer.h"

bd_status bd_trainer_plan_once(const bd_trainer *trainer, const bd_graph *graph, bd_plan **plan, bd_error *error)
{
    bd_compile_options options = { trainer->params.no_fusion, (bd_gemm)trainer->params.gemm, BD_TUNING_OFF };
    bd_status status = bd_plan_create(graph, &trainer->target, &options, plan, error);
    if (status != BD_ERROR_UNSUPPORTED || options.no_fusion)
        return status;
    options.no_fusion = true;
    return bd_plan_create(graph, &trainer->target, &options, plan, error);
}

bd_status bd_trainer_run_once(bd_trainer *trainer, const bd_graph *graph, bd_error *error)
{
    bd_plan *plan = NULL;
    bd_program *program = NULL;
    int64_t steps = 1;
    bd_status status = bd_trainer_plan_once(trainer, graph, &plan, error);
    if (status)
        return status;
    /* It takes the arena over, of which it may need more. */
    trainer->failed = true;
    bd_program_destroy(&trainer->train.program);
    bd_program_destroy(&trainer->test.program);
    bd_program_destroy(&trainer->measured.program);
    bd_store_free_arena(trainer->store);
    status = bd_feed_prepare(trainer->train.feed, trainer->state.control[BD_CONTROL_POSITION], &steps, error);
    if (!status)
        status = bd_program_create(trainer->store, &plan, trainer->params.seed, NULL, NULL, &program, error);
    if (!status)
        status = bd_program_run(program, 1, error);
    if (!status)
        status = bd_program_finish(program, error);
    bd_program_destroy(&program);
    bd_plan_destroy(&plan);
    return status;
}
