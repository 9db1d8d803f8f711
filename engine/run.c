/* Runs a trainer: epochs of intervals, each a few enqueued steps whose metrics are read while the next ones are
 * computed. */
#include "clock.h"
#include "trainer.h"

#include "store.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    IN_FLIGHT = 3,   /* intervals: one computing, one to follow without a pause, one that the host prepares */
    MOST_GROWTH = 4, /* of an interval over the one before it, until it takes TARGET_SECONDS */
    BITES = 16,      /* an interval is enqueued in: between them the host sees when earlier intervals end */
};
static const double TARGET_SECONDS = 0.25; /* of an interval: a progress bar that moves, yet few reads */

typedef struct interval {
    int64_t steps;
    double enqueued; /* when */
    bool ended;      /* as the host has seen */
    double seconds;  /* that it took; 0 before that */
    uint32_t control[BD_CONTROL_BYTES / 4];
    bd_event *read, *cleared;
    bool measured;  /* it is one step, by the program that measures */
    bool first;     /* of its program */
    float *tallies; /* bd_measure_size() bytes from the first time on; owned */
    bd_event *tallies_read;
} interval;

typedef struct step_time {
    double seconds; /* a step, on average over an interval */
    int64_t steps;
} step_time;

/* Sums over some steps. Those that are warm are not the first launch of their program, which some drivers still compile
 * then. */
typedef struct tally {
    double loss, correct, samples, seconds, warm_samples, warm_seconds;
} tally;

typedef struct run {
    bd_trainer *trainer;
    interval ring[IN_FLIGHT];
    int oldest, in_flight;
    int64_t interval_steps; /* of the next one */
    int64_t step;           /* done, as far as the host knows */
    double started, ended;  /* when: the run; the last interval that the host has seen end */
    bool launched[2];       /* the program that trains, and the one that measures too */
    tally epoch, all;
    double evaluation_seconds; /* of the last one */
    double test_loss, test_accuracy;
    size_t measurement_count; /* that the trainer's last ones are */
    step_time *times;
    size_t time_count, time_capacity;
    bool halted;
} run;

/* ---- evaluation ---- */

bd_status bd_trainer_check_ready(const bd_trainer *trainer, bd_error *error)
{
    if (!trainer->device)
        return bd_fail(error, BD_ERROR_ARGUMENT, "this trainer has no device, only a plan");
    if (trainer->failed)
        return bd_fail(error, BD_ERROR_ARGUMENT, "this trainer met a value that is not finite and cannot go on");
    return BD_OK;
}

bd_status bd_trainer_evaluate(bd_trainer *trainer, double *loss, double *accuracy, bd_error *error)
{
    bd_status status = bd_trainer_check_ready(trainer, error);
    *loss = *accuracy = NAN;
    if (status || !trainer->test.program)
        return status;
    const bd_feed_shape *shape = &trainer->test.shape;
    uint32_t control[BD_CONTROL_BYTES / 4] = { 0 };
    control[BD_CONTROL_BATCH] = (uint32_t)shape->batch;
    control[BD_CONTROL_COUNT] = (uint32_t)shape->count;
    control[BD_CONTROL_RATE_COUNT] = 1;
    bd_control_set_float(control, BD_CONTROL_SCALE, 1);
    status = bd_store_write(trainer->store, "test/control", control, sizeof control, error);
    for (int64_t position = 0; position < shape->count && !status;) {
        int64_t steps = (shape->count - position + shape->batch - 1) / shape->batch;
        status = bd_feed_prepare(trainer->test.feed, position, &steps, error);
        if (!status)
            status = bd_program_run(trainer->test.program, (uint32_t)steps, error);
        position += steps * shape->batch;
    }
    if (!status)
        status = bd_store_read(trainer->store, "test/control", control, sizeof control, error);
    if (status)
        return status;
    double samples = bd_control_float(control, BD_CONTROL_SAMPLES);
    *loss = bd_control_float(control, BD_CONTROL_LOSS_SUM) / samples;
    *accuracy = bd_control_float(control, BD_CONTROL_CORRECT) / samples;
    return BD_OK;
}

static bd_status evaluate(run *r, bd_error *error)
{
    double begun = bd_seconds();
    bd_status status = bd_trainer_evaluate(r->trainer, &r->test_loss, &r->test_accuracy, error);
    r->evaluation_seconds = bd_seconds() - begun;
    return status;
}

/* ---- events ---- */

static int compare_times(const void *a, const void *b)
{
    const step_time *x = a, *y = b;
    return (x->seconds > y->seconds) - (x->seconds < y->seconds);
}

/* The median over steps, in milliseconds. NaN before the first. */
static double median_step(run *r)
{
    int64_t total = 0, before = 0;
    if (r->time_count > 1)
        qsort(r->times, r->time_count, sizeof *r->times, compare_times);
    for (size_t i = 0; i < r->time_count; i++)
        total += r->times[i].steps;
    for (size_t i = 0; i < r->time_count; i++) {
        before += r->times[i].steps;
        if (2 * before >= total)
            return 1e3 * r->times[i].seconds;
    }
    return NAN;
}

static bd_status add_time(run *r, double seconds, int64_t steps, bd_error *error)
{
    if (r->time_count == r->time_capacity) {
        size_t capacity = 2 * r->time_capacity + 64;
        step_time *grown = realloc(r->times, capacity * sizeof *grown);
        if (!grown)
            return bd_fail(error, BD_ERROR_MEMORY, "out of memory for measurements");
        r->times = grown;
        r->time_capacity = capacity;
    }
    r->times[r->time_count++] = (step_time){ seconds / (double)steps, steps };
    return BD_OK;
}

static double ratio(double part, double whole)
{
    return whole > 0 ? part / whole : NAN;
}

/* Samples a second, as far as that is known of warm steps. */
static double speed_of(const tally *sums)
{
    return sums->warm_seconds > 0 ? ratio(sums->warm_samples, sums->warm_seconds) : ratio(sums->samples, sums->seconds);
}

/* Tells the caller; `sums` are those of the event's own steps, `control` the block at its end. */
static void emit(run *r, bd_event_kind kind, const tally *sums, const uint32_t *control, bd_train_event *copy)
{
    const bd_trainer *trainer = r->trainer;
    const bd_train_params *p = &trainer->params;
    bd_train_event event = { .kind = kind };
    bd_trainer_describe(trainer, &event);
    /* The last epoch may be a part of one. */
    const int64_t done = r->step == trainer->steps ? event.epochs : r->step / trainer->steps_per_epoch;
    event.epoch = kind == BD_TRAIN_PROGRESS ? (r->step - 1) / trainer->steps_per_epoch + 1 : done;
    event.step = r->step;
    event.train_loss = ratio(sums->loss, sums->samples);
    event.train_accuracy = ratio(sums->correct, sums->samples);
    bool evaluated = kind == BD_TRAIN_EPOCH || kind == BD_TRAIN_DONE;
    event.test_loss = evaluated ? r->test_loss : NAN;
    event.test_accuracy = evaluated ? r->test_accuracy : NAN;
    event.images_per_second = speed_of(kind == BD_TRAIN_DONE ? &r->all : sums);
    event.tokens_per_second = p->dataset->tokens ? event.images_per_second * (double)p->context : NAN;
    event.step_ms = median_step(r);
    event.seconds = bd_seconds() - r->started;
    double steps_left = (double)(trainer->steps - r->step);
    if (steps_left > 0)
        event.eta_seconds =
            steps_left * (double)p->batch / speed_of(&r->all) + (double)(event.epochs - done) * r->evaluation_seconds;
    event.loss_scale = bd_control_float(control, BD_CONTROL_SCALE);
    event.rate = bd_control_float(control, BD_CONTROL_RATE);
    event.overflows = control[BD_CONTROL_OVERFLOWS];
    event.nan_steps = control[BD_CONTROL_NAN_COUNT];
    event.checkpoint = trainer->saved ? p->checkpoint : NULL;
    event.measurements = kind == BD_TRAIN_MEASURED ? trainer->measurements : NULL;
    event.measurement_count = kind == BD_TRAIN_MEASURED ? r->measurement_count : 0;
    if (p->on_event)
        p->on_event(p->user, &event);
    if (copy)
        *copy = event;
}

/* ---- intervals ---- */

static void forget(bd_device *device, bd_event **event)
{
    if (*event)
        device->backend->event_destroy(device, *event);
    *event = NULL;
}

/* Writes down which intervals have ended: a driver whose queue is full keeps the host in the next one's enqueueing for
 * as long as that one takes, so that the time of retiring would say nothing. Those that are seen to end together share
 * the time by their steps, since nobody knows when the first of them ended. */
static void notice_ended(run *r)
{
    bd_device *device = r->trainer->device;
    interval *ended[IN_FLIGHT];
    int count = 0;
    int64_t steps = 0;
    for (int i = 0; i < r->in_flight; i++) {
        interval *earlier = &r->ring[(r->oldest + i) % IN_FLIGHT];
        if (earlier->ended || !earlier->cleared || !device->backend->event_done(device, earlier->cleared))
            continue;
        earlier->ended = true;
        steps += earlier->steps;
        ended[count++] = earlier;
    }
    if (count == 0)
        return;
    const double now = bd_seconds(), seconds = now - fmax(ended[0]->enqueued, r->ended);
    for (int i = 0; i < count; i++)
        ended[i]->seconds = seconds * (double)ended[i]->steps / (double)steps;
    r->ended = now;
}

/* Enqueues the reading of what a step measured: the host takes it when the interval is retired, and the device does not
 * wait for that. */
static bd_status read_tallies(bd_trainer *trainer, interval *self, bd_error *error)
{
    if (!self->tallies && !(self->tallies = malloc(bd_measure_size(&trainer->points))))
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for %d measurements", trainer->points.count);
    return bd_measure_read(trainer->store, &trainer->points, self->tallies, &self->tallies_read, error);
}

/* Enqueues `steps` steps of an epoch, from the run's step number `step` on, the reading of the control block after
 * them, and a new start of its sums. What is measured is one step. */
static bd_status enqueue(run *r, int64_t step, int64_t steps, bool measured, bd_error *error)
{
    static const uint32_t zeros[3];
    _Static_assert(BD_CONTROL_SAMPLES == BD_CONTROL_LOSS_SUM + 2, "the sums are three words in a row");
    bd_trainer *trainer = r->trainer;
    interval *next = &r->ring[(r->oldest + r->in_flight) % IN_FLIGHT];
    next->enqueued = bd_seconds();
    next->ended = false;
    next->seconds = 0;
    next->steps = steps;
    next->measured = measured;
    next->first = !r->launched[measured];
    r->launched[measured] = true;
    bd_program *program = measured ? trainer->measured.program : trainer->train.program;
    const int64_t bite = (steps + BITES - 1) / BITES;
    bd_status status = BD_OK;
    for (int64_t left = steps; left > 0 && !status;) {
        int64_t ready = left < bite ? left : bite, position = step % trainer->steps_per_epoch * trainer->params.batch;
        status = bd_trainer_prepare_rates(trainer, step, &ready, error);
        if (!status)
            status = bd_feed_prepare(trainer->train.feed, position, &ready, error);
        if (!status)
            status = bd_program_run(program, (uint32_t)ready, error);
        notice_ended(r);
        left -= ready;
        step += ready;
    }
    if (status)
        return status;
    r->in_flight++; /* from here on its events are somebody's to wait for */
    status = bd_store_read_part(trainer->store, "control", 0, next->control, sizeof next->control, &next->read, error);
    if (!status && measured)
        status = read_tallies(trainer, next, error);
    return status ? status
                  : bd_store_write_part(trainer->store, "control", BD_CONTROL_LOSS_SUM * sizeof(uint32_t), zeros,
                                        sizeof zeros, &next->cleared, error);
}

static void add(tally *sums, const tally *more)
{
    sums->loss += more->loss;
    sums->correct += more->correct;
    sums->samples += more->samples;
    sums->seconds += more->seconds;
    sums->warm_samples += more->warm_samples;
    sums->warm_seconds += more->warm_seconds;
}

/* Aims at intervals of TARGET_SECONDS; the first ones are short, since nobody knows yet how long a step takes. A step
 * that measures does not tell it. */
static void adapt(run *r, const interval *last)
{
    if (r->trainer->params.report_steps > 0 || last->measured)
        return;
    double wanted = (double)last->steps * TARGET_SECONDS / fmax(last->seconds, 1e-9);
    double most = (double)MOST_GROWTH * (double)last->steps;
    r->interval_steps = (int64_t)fmax(1, fmin(wanted, most));
}

/* Waits for the oldest interval and takes its numbers. */
static bd_status retire(run *r, bd_error *error)
{
    bd_trainer *trainer = r->trainer;
    bd_device *device = trainer->device;
    interval *oldest = &r->ring[r->oldest];
    bd_status status = oldest->read ? device->backend->event_wait(device, oldest->read, error) : BD_OK;
    if (!status && oldest->tallies_read)
        status = device->backend->event_wait(device, oldest->tallies_read, error);
    if (!status && oldest->cleared)
        status = device->backend->event_wait(device, oldest->cleared, error);
    notice_ended(r);
    forget(device, &oldest->read);
    forget(device, &oldest->tallies_read);
    forget(device, &oldest->cleared);
    r->oldest = (r->oldest + 1) % IN_FLIGHT;
    r->in_flight--;
    if (status)
        return status;
    const uint32_t *control = oldest->control;
    const double scale = bd_control_float(trainer->state.control, BD_CONTROL_SCALE); /* at its beginning */
    memcpy(trainer->state.control, control, sizeof oldest->control);
    r->step = control[BD_CONTROL_STEP];
    r->halted |= control[BD_CONTROL_HALT] != 0;
    if (r->halted)
        return BD_OK;
    tally sums = { .loss = bd_control_float(control, BD_CONTROL_LOSS_SUM),
                   .correct = bd_control_float(control, BD_CONTROL_CORRECT),
                   .samples = bd_control_float(control, BD_CONTROL_SAMPLES),
                   .seconds = oldest->seconds };
    if (!oldest->first) {
        sums.warm_samples = sums.samples;
        sums.warm_seconds = oldest->seconds;
    }
    add(&r->epoch, &sums);
    add(&r->all, &sums);
    adapt(r, oldest);
    status = add_time(r, oldest->seconds, oldest->steps, error);
    if (!status)
        emit(r, BD_TRAIN_PROGRESS, &sums, control, NULL);
    if (!status && oldest->measured)
        status = bd_measure_evaluate(&trainer->points, oldest->tallies, scale, trainer->measurements,
                                     &r->measurement_count, error);
    if (!status && oldest->measured)
        emit(r, BD_TRAIN_MEASURED, &r->epoch, control, NULL);
    return status;
}

static bd_status retire_all(run *r, bd_error *error)
{
    bd_status status = BD_OK;
    while (r->in_flight > 0 && !status)
        status = retire(r, error);
    return status;
}

/* After a failure: waits until the device no longer writes into the ring, and takes nothing from it. */
static void abandon(run *r)
{
    bd_device *device = r->trainer->device;
    device->backend->finish(device, NULL);
    for (int i = 0; i < IN_FLIGHT; i++) {
        forget(device, &r->ring[i].read);
        forget(device, &r->ring[i].tallies_read);
        forget(device, &r->ring[i].cleared);
    }
    r->in_flight = 0;
}

/* Takes what is done already, and makes room for one more. */
static bd_status retire_some(run *r, bd_error *error)
{
    const bd_device *device = r->trainer->device;
    bd_status status = BD_OK;
    while (!status && r->in_flight > 0 &&
           (r->in_flight == IN_FLIGHT || device->backend->event_done(r->trainer->device, r->ring[r->oldest].cleared)))
        status = retire(r, error);
    return status;
}

/* ---- epochs ---- */

bd_status bd_trainer_set_epoch(bd_trainer *trainer, int64_t epoch, bd_error *error)
{
    const bd_feed_shape *shape = &trainer->train.shape;
    if (shape->labelled)
        bd_feed_shuffle(trainer->state.seed, (uint32_t)epoch, trainer->order, shape->count);
    else
        bd_feed_draw(trainer->state.seed, (uint32_t)epoch, trainer->order, shape->count, shape->choices);
    return bd_feed_set_order(trainer->train.feed, trainer->order, error);
}

static bd_status begin_epoch(run *r, int64_t epoch, int64_t position, bd_error *error)
{
    bd_trainer *trainer = r->trainer;
    const uint32_t start = (uint32_t)position, zeros[3] = { 0 };
    r->epoch = (tally){ 0 };
    bd_status status;
    if ((status = bd_trainer_set_epoch(trainer, epoch, error)) ||
        (status = bd_store_write_part(trainer->store, "control", BD_CONTROL_POSITION * sizeof start, &start,
                                      sizeof start, NULL, error)))
        return status;
    return bd_store_write_part(trainer->store, "control", BD_CONTROL_LOSS_SUM * sizeof *zeros, zeros, sizeof zeros,
                               NULL, error);
}

static bool wants_stop(const run *r)
{
    const bd_train_params *p = &r->trainer->params;
    return p->should_stop && p->should_stop(p->user);
}

/* ---- measured steps ---- */

/* Steps of an interval that begins with the run's step number `step`, which ends before the next one that is measured,
 * or is it. */
static int64_t limit_interval(const run *r, int64_t step, int64_t steps, bool *measured)
{
    const bd_trainer *trainer = r->trainer;
    const int64_t every = trainer->params.measure_steps;
    const int64_t left = trainer->measured.program ? every - 1 - step % every : steps;
    *measured = left == 0;
    return *measured ? 1 : left < steps ? left : steps;
}

/* Ends with nothing in flight. */
static bd_status run_epoch(run *r, int64_t epoch, int64_t first, bool *stopped, bd_error *error)
{
    const bd_trainer *trainer = r->trainer;
    const int64_t left = trainer->steps - epoch * trainer->steps_per_epoch;
    const int64_t end = left < trainer->steps_per_epoch ? left : trainer->steps_per_epoch;
    int64_t step = first;
    bd_status status = begin_epoch(r, epoch, first * trainer->params.batch, error);
    while (!status && step < end && !r->halted && !(*stopped = wants_stop(r))) {
        const int64_t first_step = epoch * trainer->steps_per_epoch + step;
        bool measured;
        int64_t steps = end - step;
        steps = limit_interval(r, first_step, steps < r->interval_steps ? steps : r->interval_steps, &measured);
        status = enqueue(r, first_step, steps, measured, error);
        step += steps;
        if (!status)
            status = retire_some(r, error);
    }
    if (!status)
        status = retire_all(r, error);
    if (status)
        abandon(r);
    return status;
}

static bd_status save(run *r, bd_error *error)
{
    bd_trainer *trainer = r->trainer;
    if (!trainer->params.checkpoint)
        return BD_OK;
    bd_status status = bd_trainer_save(trainer, trainer->params.checkpoint, error);
    trainer->saved |= status == BD_OK;
    return status;
}

static bd_status interrupt(run *r, bd_error *error)
{
    const char *checkpoint = r->trainer->params.checkpoint;
    bd_status status = save(r, error);
    if (status)
        return status;
    return checkpoint ? bd_fail(error, BD_ERROR_INTERRUPTED, "interrupted after step %" PRId64 "; saved to %s", r->step,
                                checkpoint)
                      : bd_fail(error, BD_ERROR_INTERRUPTED,
                                "interrupted after step %" PRId64 "; no checkpoint was asked for", r->step);
}

static bd_status run_epochs(run *r, bd_error *error)
{
    bd_trainer *trainer = r->trainer;
    const int64_t length = trainer->steps_per_epoch;
    bd_status status = BD_OK;
    for (int64_t epoch = r->step / length; epoch * length < trainer->steps && !status; epoch++) {
        bool stopped = false;
        status = run_epoch(r, epoch, r->step % length, &stopped, error);
        bd_trainer_measure(trainer);
        if (!status && r->halted)
            status = bd_trainer_explain(trainer, error);
        if (!status && stopped)
            status = interrupt(r, error);
        if (!status)
            status = evaluate(r, error);
        if (!status)
            status = save(r, error);
        if (!status)
            emit(r, BD_TRAIN_EPOCH, &r->epoch, trainer->state.control, NULL);
    }
    return status;
}

/* ---- steps without a run ---- */

static bd_status enqueue_steps(bd_trainer *trainer, int64_t steps, bd_error *error)
{
    const int64_t first = trainer->state.control[BD_CONTROL_STEP];
    const uint32_t zeros[3] = { 0 };
    bd_status status = bd_store_write_part(trainer->store, "control", BD_CONTROL_POSITION * sizeof *zeros, zeros,
                                           sizeof *zeros, NULL, error);
    if (!status)
        status = bd_store_write_part(trainer->store, "control", BD_CONTROL_LOSS_SUM * sizeof *zeros, zeros,
                                     sizeof zeros, NULL, error);
    for (int64_t done = 0; done < steps && !status;) {
        int64_t ready = steps - done;
        status = bd_trainer_prepare_rates(trainer, first + done, &ready, error);
        if (!status)
            status = bd_feed_prepare(trainer->train.feed, done * trainer->params.batch, &ready, error);
        if (!status)
            status = bd_program_run(trainer->train.program, (uint32_t)ready, error);
        done += ready;
    }
    return status;
}

bd_status bd_trainer_take_steps(bd_trainer *trainer, const uint32_t *order, int64_t steps, bd_error *error)
{
    const int64_t chosen = steps * trainer->params.batch, count = trainer->train.shape.count;
    bd_status status = bd_trainer_check_ready(trainer, error);
    if (!status && (steps < 1 || steps > trainer->steps_per_epoch))
        status = bd_fail(error, BD_ERROR_ARGUMENT, "%" PRId64 " steps: wanted 1 to %" PRId64 ", those of an epoch",
                         steps, trainer->steps_per_epoch);
    if (status)
        return status;
    for (int64_t i = 0; i < count; i++) /* what is behind the last batch may be sent to the device, and is not read */
        trainer->order[i] = i < chosen ? order[i] : 0;
    status = bd_feed_set_order(trainer->train.feed, trainer->order, error);
    if (!status)
        status = enqueue_steps(trainer, steps, error);
    if (!status)
        status = bd_trainer_read_control(trainer, error);
    if (!status && trainer->state.control[BD_CONTROL_HALT])
        status = bd_trainer_explain(trainer, error);
    return bd_device_explain_loss(trainer->device->info.id, status, "in training", error);
}

bd_status bd_trainer_run(bd_trainer *trainer, bd_train_event *result, bd_error *error)
{
    bd_status status = bd_trainer_check_ready(trainer, error);
    if (status)
        return status;
    const int64_t report = trainer->params.report_steps;
    run r = { .trainer = trainer,
              .interval_steps = report > 0 ? report : 1,
              .started = bd_seconds(),
              .step = trainer->state.control[BD_CONTROL_STEP],
              .test_loss = NAN,
              .test_accuracy = NAN };
    emit(&r, BD_TRAIN_START, &r.epoch, trainer->state.control, NULL);
    const bool anything = r.step < trainer->steps;
    status = anything ? run_epochs(&r, error) : evaluate(&r, error);
    bd_train_event last;
    if (!status)
        emit(&r, BD_TRAIN_DONE, &r.epoch, trainer->state.control, &last);
    if (!status && result)
        *result = last;
    free(r.times);
    for (int i = 0; i < IN_FLIGHT; i++)
        free(r.ring[i].tallies);
    char when[64];
    snprintf(when, sizeof when, "after step %" PRId64 " of %" PRId64, r.step, trainer->steps);
    return bd_device_explain_loss(trainer->device->info.id, status, when, error);
}
