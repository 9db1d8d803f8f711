/* Where a training step's time goes, kernel by kernel. */
#include "clock.h"
#include "trainer.h"

#include <stdlib.h>

#define SAMPLES 7
#define WARM_STEPS 32
#define WARM_SECONDS 1.0 /* the clocks of a GPU that idled may take this long to rise: an H100's do */
#define RUN_SECONDS                                                                                                    \
    0.1 /* work before a sample that keeps them up; a CPU's one step takes longer, and is not repeated */

static int by_size(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Some of the first steps, again and again: the control block, which says where in the data they are, is put back each
 * time. *steps: in, how many there are; out, how many of them are a run of about RUN_SECONDS. */
static bd_status warm_up(bd_trainer *trainer, uint32_t *steps, bd_error *error)
{
    bd_program *program = trainer->train.program;
    bd_status status = BD_OK;
    const uint32_t most = *steps;
    *steps = 1;
    for (double begun = bd_seconds(), last = begun, now = begun; !status && now - begun < WARM_SECONDS; last = now) {
        status = bd_program_run(program, *steps, error);
        if (!status)
            status = bd_program_finish(program, error);
        if (!status)
            status =
                bd_store_write(trainer->store, "control", trainer->state.control, sizeof trainer->state.control, error);
        now = bd_seconds();
        if (2 * *steps <= most && 2 * (now - last) < RUN_SECONDS)
            *steps *= 2;
    }
    return status;
}

/* samples[s * count + k]: nanoseconds of kernel k. */
static bd_status take_samples(bd_trainer *trainer, uint64_t *samples, size_t count, bd_error *error)
{
    bd_program *program = trainer->train.program;
    int64_t prepared = WARM_STEPS;
    bd_status status =
        bd_feed_prepare(trainer->train.feed, trainer->state.control[BD_CONTROL_POSITION], &prepared, error);
    uint32_t steps = (uint32_t)prepared;
    if (!status)
        status = warm_up(trainer, &steps, error);
    for (size_t s = 0; s < SAMPLES && !status; s++) {
        /* Work right before keeps the clocks up. */
        status =
            bd_store_write(trainer->store, "control", trainer->state.control, sizeof trainer->state.control, error);
        if (!status && steps > 1)
            status = bd_program_run(program, steps - 1, error);
        if (!status)
            status = bd_program_profile(program, samples + s * count, error);
    }
    return status;
}

bd_status bd_trainer_profile(bd_trainer *trainer, bd_kernel_time **kernels, size_t *kernel_count, bd_error *error)
{
    *kernels = NULL;
    *kernel_count = 0;
    if (!trainer->train.program)
        return bd_fail(error, BD_ERROR_ARGUMENT, "this trainer has no device, or met a value that is not finite");
    const bd_plan *plan = bd_stage_plan(&trainer->train);
    const size_t count = (size_t)plan->kernel_count;
    uint64_t *samples = calloc(count * SAMPLES + 1, sizeof *samples);
    bd_kernel_time *result = calloc(count + 1, sizeof *result);
    bd_status status = samples && result ? take_samples(trainer, samples, count, error)
                                         : bd_fail(error, BD_ERROR_MEMORY, "no memory for a profile");
    for (size_t k = 0; k < count && !status; k++) {
        uint64_t times[SAMPLES];
        for (size_t s = 0; s < SAMPLES; s++)
            times[s] = samples[s * count + k];
        qsort(times, SAMPLES, sizeof *times, by_size);
        const bd_kernel *kernel = &plan->kernels[k];
        result[k] = (bd_kernel_time){ .name = kernel->name,
                                      .microseconds = (double)times[SAMPLES / 2] * 1e-3,
                                      .flops = kernel->flops,
                                      .bytes = kernel->bytes_read + kernel->bytes_written };
    }
    free(samples);
    if (status) {
        free(result);
        return status;
    }
    *kernels = result;
    *kernel_count = count;
    return BD_OK;
}
