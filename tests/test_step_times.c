/* The step times that a run tells, on a device whose steps take a known time: the reference computes them at once, and a
 * queue that only the clock empties says when they end. */
#include "../backends/backend.h"
#include "../engine/clock.h"
#include "train_fixture.h"

#include <check.h>
#include <stdlib.h>
#include <time.h>

enum { BLOCKS = 4 };
static const double STEP_SECONDS = 2e-3; /* by far more than the reference computes */

/* Of the memory that transfers pass through: in use until `end`, and while the event of a read holds it. */
typedef struct block {
    double end;
    bool held;
} block;

struct bd_event {
    double end;
    block *held; /* or NULL */
};

static const bd_backend *whole;
static double queue_end; /* when what is enqueued has ended */
static block blocks[BLOCKS];
static bool scarce; /* there are no more blocks than those: a transfer waits for one */

static void sleep_until(double when)
{
    for (double left = when - bd_seconds(); left > 0; left = when - bd_seconds())
        nanosleep(&(struct timespec){ .tv_nsec = left < 0.5 ? (long)(left * 1e9) : 500000000 }, NULL);
}

/* The block that is free soonest, by then; NULL if all are held. */
static block *wait_for_block(void)
{
    block *soonest = NULL;
    for (int i = 0; i < BLOCKS; i++)
        if (!blocks[i].held && (!soonest || blocks[i].end < soonest->end))
            soonest = &blocks[i];
    if (soonest)
        sleep_until(soonest->end);
    return soonest;
}

static bd_event *enqueue_transfer(bool held)
{
    bd_event *event = calloc(1, sizeof *event);
    ck_assert_ptr_nonnull(event);
    block *taken = scarce ? wait_for_block() : NULL;
    event->end = queue_end;
    if (taken)
        *taken = (block){ queue_end, held };
    event->held = held ? taken : NULL;
    return event;
}

static bd_status run_slowly(bd_device *device, bd_backend_program *program, uint32_t repeats, bd_error *error)
{
    const double now = bd_seconds();
    queue_end = (queue_end > now ? queue_end : now) + repeats * STEP_SECONDS;
    return whole->program_run(device, program, repeats, error);
}

static bd_status write_slowly(bd_device *device, bd_buffer *buffer, uint64_t offset, const void *data, uint64_t size,
                              bd_event **event, bd_error *error)
{
    if (event)
        *event = enqueue_transfer(false);
    return whole->buffer_write(device, buffer, offset, data, size, NULL, error);
}

static bd_status read_slowly(bd_device *device, bd_buffer *buffer, uint64_t offset, void *data, uint64_t size,
                             bd_event **event, bd_error *error)
{
    if (event)
        *event = enqueue_transfer(true);
    else
        sleep_until(queue_end);
    return whole->buffer_read(device, buffer, offset, data, size, NULL, error);
}

static bool has_ended(bd_device *device, bd_event *event)
{
    (void)device;
    return bd_seconds() >= event->end;
}

static bd_status wait_for(bd_device *device, bd_event *event, bd_error *error)
{
    (void)device, (void)error;
    sleep_until(event->end);
    return BD_OK;
}

static void forget(bd_device *device, bd_event *event)
{
    (void)device;
    if (event->held)
        event->held->held = false;
    free(event);
}

/* The median and the mean, which images a second are of, whether the host waits inside a transfer or not. */
START_TEST(step_times_are_those_of_the_device)
{
    bd_error error = { 0 };
    bd_device *device = NULL;
    bd_dataset *dataset = fixture_dataset();
    bd_train_params params = fixture_params(dataset, "fp32");
    params.epochs = 1;
    params.batch = 1;
    params.max_steps = 150; /* intervals of 1, 1, 1, 4, 4, 16, 16, 64 and 43: each second one seemed to take nothing */
    must(bd_device_open("reference", &device, &error), &error);
    whole = device->backend;
    bd_backend slow = *whole;
    slow.program_run = run_slowly;
    slow.buffer_write = write_slowly;
    slow.buffer_read = read_slowly;
    slow.event_done = has_ended;
    slow.event_wait = wait_for;
    slow.event_destroy = forget;
    device->backend = &slow;
    scarce = _i;
    const bd_train_event done = fixture_run(device, &params);
    const double mean_ms = 1e3 / done.images_per_second;
    ck_assert_double_gt(done.step_ms, 0.5e3 * STEP_SECONDS);
    ck_assert_double_lt(done.step_ms, 2e3 * STEP_SECONDS);
    ck_assert_double_gt(mean_ms, 0.5e3 * STEP_SECONDS);
    device->backend = whole;
    bd_device_close(&device);
    fixture_free(&dataset);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("step times");
    TCase *all = tcase_create("all");
    tcase_add_loop_test(all, step_times_are_those_of_the_device, 0, 2);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
