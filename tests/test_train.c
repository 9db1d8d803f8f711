/* Training as a whole. Arguments: the device to use; limits to put on it, under which it only learns, or ''; "plain"
 * for no policies with simulated formats, "few" for those learning only. Each test must hold on every device. */
#include "test_train.h"

#include "../backends/backend.h"
#include "../engine/schedule.h"
#include "../engine/store.h"
#include "../engine/trainer.h"
#include "scratch.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *device_name = "reference";
static const char *device_limit;
bool plain;
bool learns_only; /* policies with simulated formats, though plain */
bd_device *device;
bd_dataset *dataset;
const char *const policies[POLICY_COUNT] = { "fp32",          "fp16",       "fp16-strict",
                                             "mixed",         "fp16-kahan", "bf16-sr",
                                             "fp8,history=4", "int4-qat",   "mixed;fc1:w=f32,a=f32,g=f32" };
enum { PLAIN_PRESETS = 4 };

static void begin(void)
{
    bd_error error = { 0 };
    must(bd_device_open(device_name, &device, &error), &error);
    if (device_limit)
        must(bd_device_limit(device, device_limit, &error), &error);
    dataset = fixture_dataset();
    scratch_create();
}

static void end(void)
{
    scratch_remove();
    fixture_free(&dataset);
    bd_device_close(&device);
}

static void expect_equal_files(const char *a, const char *b)
{
    size_t a_size, b_size;
    uint8_t *a_data = scratch_read(a, &a_size), *b_data = scratch_read(b, &b_size);
    ck_assert_uint_eq(a_size, b_size);
    ck_assert_msg(memcmp(a_data, b_data, a_size) == 0, "%s and %s differ", a, b);
    free(a_data);
    free(b_data);
}

/* ---- learning ---- */

START_TEST(learns)
{
    bd_train_params params = fixture_params(dataset, policies[_i]);
    bd_train_event event = fixture_run(device, &params);
    ck_assert_int_eq(event.kind, BD_TRAIN_DONE);
    ck_assert_int_eq(event.step, 3 * (FIXTURE_TRAIN / FIXTURE_BATCH));
    ck_assert_int_eq(event.epoch, 3);
    ck_assert_double_gt(event.test_accuracy, 0.95);
    ck_assert_double_lt(event.test_loss, 0.3);
    ck_assert_double_gt(event.train_accuracy, 0.9);
    ck_assert_double_gt(event.images_per_second, 0);
    ck_assert_double_gt(event.step_ms, 0);
    ck_assert_int_gt(event.dispatches_per_step, 0);
}
END_TEST

START_TEST(every_preset_learns)
{
    bd_train_params params = fixture_params(dataset, bd_precision_presets()[_i]);
    ck_assert_double_gt(fixture_run(device, &params).test_accuracy, 0.9);
}
END_TEST

START_TEST(net_learns)
{
    bd_train_params params = fixture_params(dataset, policies[_i]);
    params.model = fixture_net;
    params.optimizer.rate = 0.05f;
    params.epochs = 4;
    ck_assert_double_gt(fixture_run(device, &params).test_accuracy, 0.9);
}
END_TEST

START_TEST(adam_learns)
{
    bd_train_params params = fixture_params(dataset, "mixed");
    params.optimizer.kind = _i ? BD_OPTIMIZER_ADAMW : BD_OPTIMIZER_ADAM;
    params.optimizer.rate = 0.02f;
    params.optimizer.weight_decay = 1e-3f;
    params.optimizer.clip_norm = 1;
    params.optimizer.schedule = BD_SCHEDULE_COSINE;
    params.optimizer.warmup_steps = 4;
    ck_assert_double_gt(fixture_run(device, &params).test_accuracy, 0.95);
}
END_TEST

/* What is planned is what is allocated: variables and data are rounded up to words, the arena to its alignment. */
START_TEST(memory_is_as_planned)
{
    bd_train_params params = fixture_params(dataset, policies[_i]);
    bd_train_event event = fixture_run(device, &params);
    double planned = (double)(event.planned_device_bytes + event.dataset_bytes);
    ck_assert_double_le(fabs((double)event.peak_device_bytes - planned), 0.01 * planned);
}
END_TEST

/* ---- the same again ---- */

static bd_train_params stateful_params(const char *precision, const char *checkpoint)
{
    bd_train_params params = fixture_params(dataset, precision);
    params.model = fixture_net;
    params.augment = true;
    params.optimizer.kind = BD_OPTIMIZER_ADAM;
    params.optimizer.rate = 0.01f;
    params.optimizer.epsilon = 1e-4f; /* 1e-8 is 0 in F16 */
    params.optimizer.schedule = BD_SCHEDULE_COSINE;
    params.checkpoint = checkpoint;
    return params;
}

START_TEST(equal_runs_give_equal_weights)
{
    bd_train_params params = stateful_params(policies[_i], scratch_path("a"));
    fixture_run(device, &params);
    params.checkpoint = scratch_path("b");
    params.report_steps = 5; /* how often the host looks makes no difference */
    fixture_run(device, &params);
    expect_equal_files("a", "b");
    params.seed = 2;
    params.checkpoint = scratch_path("c");
    fixture_run(device, &params);
    size_t size;
    uint8_t *first = scratch_read("a", &size), *other = scratch_read("c", &size);
    ck_assert_int_ne(memcmp(first, other, size), 0);
    free(first);
    free(other);
}
END_TEST

START_TEST(fusion_makes_no_difference)
{
    bd_train_params params = stateful_params(policies[_i], scratch_path("a"));
    params.model = fixture_mlp;
    fixture_run(device, &params);
    params.checkpoint = scratch_path("b");
    params.no_fusion = true;
    fixture_run(device, &params);
    expect_equal_files("a", "b");
}
END_TEST

/* An evaluation shares the step's memory, but for the gaps between packed gradients, which the norm sums up too. */
START_TEST(evaluation_makes_no_difference)
{
    bd_dataset untested = *dataset;
    untested.test.count = 0;
    bd_train_params params = fixture_params(dataset, policies[_i]);
    params.optimizer.clip_norm = 0.1f;
    params.checkpoint = scratch_path("tested");
    fixture_run(device, &params);
    params.dataset = &untested;
    params.checkpoint = scratch_path("untested");
    bd_train_event event = fixture_run(device, &params);
    ck_assert(isnan(event.test_loss) && isnan(event.test_accuracy));
    expect_equal_files("tested", "untested");
}
END_TEST

/* Asked between intervals. */
typedef struct stopper {
    int asked, limit;
} stopper;

static bool stop_after(void *user)
{
    stopper *s = user;
    return s->asked++ >= s->limit;
}

static void interrupt_at(bd_train_params params, const char *checkpoint, int steps)
{
    stopper s = { 0, steps };
    bd_trainer *trainer;
    bd_error error = { 0 };
    char wanted[64];
    params.checkpoint = checkpoint;
    params.report_steps = 1;
    params.should_stop = stop_after;
    params.user = &s;
    must(bd_trainer_create(device, &params, &trainer, &error), &error);
    ck_assert_int_eq(bd_trainer_run(trainer, NULL, &error), BD_ERROR_INTERRUPTED);
    snprintf(wanted, sizeof wanted, "after step %d", steps);
    ck_assert_msg(strstr(error.message, wanted) && strstr(error.message, checkpoint), "%s", error.message);
    bd_trainer_destroy(&trainer);
}

/* 12 steps an epoch: stopped in the first, at the end of the first, in the last. */
START_TEST(resumed_runs_are_as_if_never_stopped)
{
    static const int steps[] = { 1, 7, 12, 25 };
    bd_train_params params = stateful_params(policies[_i], scratch_path("whole"));
    const bd_train_event whole = fixture_run(device, &params);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        interrupt_at(params, scratch_path("part"), steps[i]);
        params.resume = params.checkpoint = scratch_path("part");
        params.seed = 77; /* the checkpoint's counts */
        bd_train_event event = fixture_run(device, &params);
        ck_assert_int_eq(event.step, 36);
        expect_equal_files("whole", "part");
        params.resume = NULL;
        params.seed = 1;
    }
    /* Nothing is left to do: the test set is evaluated. */
    params.resume = scratch_path("whole");
    ck_assert_double_eq(fixture_run(device, &params).test_accuracy, whole.test_accuracy);
}
END_TEST

/* In 8 bits at 2 mean |w| / sqrt(127) of the first weights: FP32 adds the means of 576 numbers. They stay there, in a
 * resumed run too. */
START_TEST(learned_steps_begin_where_the_first_weights_are)
{
    enum { WEIGHTS = FIXTURE_SIDE * FIXTURE_SIDE * 16 };
    bd_train_params params = fixture_params(dataset, "int8-qat");
    double weights[WEIGHTS], sum = 0, begun[2], after[2];
    bd_error error = { 0 };
    bd_trainer *trainer;
    params.checkpoint = scratch_path("steps");
    must(bd_trainer_create(device, &params, &trainer, &error), &error);
    must(bd_trainer_read(trainer, "fc1/weight", weights, WEIGHTS, &error), &error);
    for (int i = 0; i < WEIGHTS; i++)
        sum += fabs(weights[i]);
    for (int run = 0; run < 2; run++) {
        must(bd_trainer_read(trainer, "fc1/qw_start", &begun[0], 1, &error), &error);
        must(bd_trainer_read(trainer, "fc2/qa_start", &begun[1], 1, &error), &error);
        ck_assert_double_eq_tol(begun[0], 2 * sum / WEIGHTS / sqrt(127), 1e-4 * begun[0]);
        ck_assert_double_gt(begun[1], 0);
        must(bd_trainer_run(trainer, NULL, &error), &error);
        must(bd_trainer_read(trainer, "fc1/qw_start", &after[0], 1, &error), &error);
        must(bd_trainer_read(trainer, "fc2/qa_start", &after[1], 1, &error), &error);
        ck_assert_mem_eq(begun, after, sizeof begun);
        bd_trainer_destroy(&trainer);
        params.resume = params.checkpoint;
        params.epochs += 1;
        if (run == 0)
            must(bd_trainer_create(device, &params, &trainer, &error), &error);
    }
}
END_TEST

START_TEST(streaming_makes_no_difference)
{
    bd_train_params params = stateful_params(policies[_i], scratch_path("resident"));
    bd_train_event resident = fixture_run(device, &params);
    params.checkpoint = scratch_path("streamed");
    params.dataset_device_bytes = STREAMED_BYTES;
    bd_train_event streamed = fixture_run(device, &params);
    ck_assert_uint_lt(streamed.dataset_bytes, resident.dataset_bytes);
    ck_assert_uint_le(streamed.dataset_bytes, STREAMED_BYTES);
    expect_equal_files("resident", "streamed");
    ck_assert_double_eq(resident.test_accuracy, streamed.test_accuracy);
    ck_assert_double_eq(resident.test_loss, streamed.test_loss);
    /* A run that was streamed goes on resident, and the other way round. */
    interrupt_at(params, scratch_path("part"), 17);
    params.resume = params.checkpoint = scratch_path("part");
    params.dataset_device_bytes = 0;
    fixture_run(device, &params);
    expect_equal_files("resident", "part");
    interrupt_at(stateful_params(policies[_i], NULL), scratch_path("part"), 17);
    params.dataset_device_bytes = STREAMED_BYTES;
    fixture_run(device, &params);
    expect_equal_files("resident", "part");
}
END_TEST

/* ---- events ---- */

typedef struct record {
    bd_train_event events[128];
    int count;
} record;

static void remember(void *user, const bd_train_event *event)
{
    record *r = user;
    ck_assert_int_lt(r->count, 128);
    r->events[r->count++] = *event;
}

/* A run that tells every five steps. */
static bd_train_params recorded_params(record *r)
{
    bd_train_params params = fixture_params(dataset, "fp32");
    params.on_event = remember;
    params.user = r;
    params.report_steps = 5;
    return params;
}

START_TEST(events_tell_the_run)
{
    record r = { .count = 0 };
    bd_train_params params = recorded_params(&r);
    params.optimizer.warmup_steps = 1;
    params.checkpoint = scratch_path("file");
    fixture_run(device, &params);
    /* start, then 5 + 5 + 2 steps and an epoch's end three times, then done */
    ck_assert_int_eq(r.count, 1 + 3 * 4 + 1);
    ck_assert_int_eq(r.events[0].kind, BD_TRAIN_START);
    ck_assert(isnan(r.events[0].train_loss));
    static const int64_t steps[] = { 5, 10, 12, 12 };
    for (int epoch = 0; epoch < 3; epoch++) {
        double loss = 0;
        for (int i = 0; i < 4; i++) {
            const bd_train_event *event = &r.events[1 + 4 * epoch + i];
            ck_assert_int_eq(event->kind, i < 3 ? BD_TRAIN_PROGRESS : BD_TRAIN_EPOCH);
            ck_assert_int_eq(event->step, 12 * epoch + steps[i]);
            ck_assert_int_eq(event->steps, 36);
            ck_assert_int_eq(event->epoch, epoch + 1);
            ck_assert_int_eq(isnan(event->test_loss), i < 3);
            ck_assert_double_eq(event->rate, (double)0.1f);
            ck_assert_double_eq(event->loss_scale, 1);
            if (i < 3)
                loss += event->train_loss * (i == 2 ? 2 : 5) / 12;
            else /* the same sums in another order, in double: some roundings apart */
                ck_assert_double_eq_tol(event->train_loss, loss, 1e-13);
        }
    }
    const bd_train_event *done = &r.events[r.count - 1];
    ck_assert_int_eq(done->kind, BD_TRAIN_DONE);
    ck_assert_double_eq(done->test_loss, r.events[r.count - 2].test_loss);
    ck_assert_ptr_nonnull(done->checkpoint);
    ck_assert_double_eq(done->eta_seconds, 0);
}
END_TEST

/* A run's speed leaves out the first launch of each of its two programs: steps 1 to 5, and step 7, which measures. */
START_TEST(speed_is_that_of_warm_steps)
{
    record r = { .count = 0 };
    bd_train_params params = recorded_params(&r);
    params.measure_steps = 7;
    const bd_train_event done = fixture_run(device, &params);
    double seconds = 0;
    int64_t steps = 0, before = 0;
    for (int i = 0; i < r.count; i++) {
        const bd_train_event *event = &r.events[i];
        if (event->kind != BD_TRAIN_PROGRESS)
            continue;
        if (before != 0 && event->step != 7) {
            steps += event->step - before;
            seconds += (double)(event->step - before) / event->images_per_second;
        }
        before = event->step;
    }
    ck_assert_int_eq(steps, 36 - 5 - 1);
    ck_assert_double_eq_tol(done.images_per_second, (double)steps / seconds, 1e-9 * done.images_per_second);
}
END_TEST

/* ---- loss scaling ---- */

/* GradScaler's rule, replayed from the events: 2^40 overflows F16 gradients until it has come down. */
START_TEST(dynamic_scaling_follows_gradscaler)
{
    record r = { .count = 0 };
    bd_train_params params = fixture_params(dataset, "mixed,interval=4");
    params.precision.scale = 0x1p40f;
    params.on_event = remember;
    params.user = &r;
    params.report_steps = 1;
    bd_train_event last = fixture_run(device, &params);
    double scale = 0x1p40;
    int64_t overflows = 0;
    int good = 0, grown = 0;
    for (int i = 0; i < r.count; i++) {
        const bd_train_event *event = &r.events[i];
        if (event->kind != BD_TRAIN_PROGRESS)
            continue;
        if (event->overflows > overflows) {
            ck_assert_int_eq(event->overflows, ++overflows);
            scale *= 0.5;
            good = 0;
        } else if (++good == 4) {
            scale *= 2;
            good = 0;
            grown++;
        }
        ck_assert_double_eq(event->loss_scale, scale);
    }
    ck_assert_int_gt(overflows, 10);
    ck_assert_int_gt(grown, 0);
    ck_assert_int_eq(last.nan_steps, 0);
    ck_assert_double_lt(last.train_loss, 1);
}
END_TEST

/* An epoch and a half; then the rest of the second is what two whole epochs would have done. */
START_TEST(steps_can_be_limited)
{
    bd_train_params params = fixture_params(dataset, "fp32");
    params.epochs = 2;
    params.checkpoint = scratch_path("whole");
    bd_train_event whole = fixture_run(device, &params);
    params.checkpoint = scratch_path("part");
    params.max_steps = whole.steps_per_epoch + whole.steps_per_epoch / 2;
    bd_train_event part = fixture_run(device, &params);
    ck_assert_int_eq(part.step, params.max_steps);
    ck_assert_int_eq(part.steps, params.max_steps);
    ck_assert_int_eq(part.epoch, 2);
    ck_assert(!isnan(part.test_accuracy));
    params.max_steps = 0;
    params.resume = scratch_path("part");
    bd_train_event rest = fixture_run(device, &params);
    ck_assert_int_eq(rest.step, whole.step);
    ck_assert_double_eq(rest.test_loss, whole.test_loss);
    params.max_steps = -1;
    params.resume = NULL;
    bd_trainer *trainer;
    bd_error error = { 0 };
    ck_assert_int_eq(bd_trainer_create(device, &params, &trainer, &error), BD_ERROR_ARGUMENT);
}
END_TEST

/* The rates that steps were told they have. */
typedef struct told_rates {
    int64_t next;
    const bd_train_params *params;
    int64_t steps, per_epoch;
    int count;
} told_rates;

static void check_rate(void *user, const bd_train_event *event)
{
    told_rates *told = user;
    if (event->kind != BD_TRAIN_PROGRESS)
        return;
    ck_assert_int_eq(event->step, ++told->next);
    float rate = (float)bd_schedule_rate(&told->params->optimizer, event->step - 1, told->steps, told->per_epoch);
    ck_assert_msg((float)event->rate == rate, "step %lld: rate %g, not %g", (long long)event->step, event->rate,
                  (double)rate);
    told->count++;
}

static bool has_rates_enough(void *user)
{
    return ((const told_rates *)user)->count >= 20;
}

/* A schedule of a billion steps takes a few hundred KiB, and its rates are right where one part of it follows
 * another. */
START_TEST(long_schedules_are_kept_in_parts)
{
    static const bd_schedule_kind kinds[] = { BD_SCHEDULE_COSINE, BD_SCHEDULE_STEP, BD_SCHEDULE_CONSTANT };
    enum { PER_EPOCH = FIXTURE_TRAIN / FIXTURE_BATCH, EPOCHS = 50000000 };
    for (int i = 0; i < 3; i++)
        for (int part = 1; part < 3; part++) {
            bd_train_params params = fixture_params(dataset, "fp32");
            bd_trainer *trainer = NULL;
            bd_train_event plan;
            bd_error error = { 0 };
            params.epochs = EPOCHS;
            params.optimizer.schedule = kinds[i];
            params.optimizer.step_epochs = 1;
            params.optimizer.step_factor = 0.9999f;
            params.optimizer.warmup_steps = kinds[i] == BD_SCHEDULE_CONSTANT ? 2 * BD_SCHEDULE_WINDOW + 5 : 0;
            params.report_steps = 1;
            told_rates told = { part * BD_SCHEDULE_WINDOW - 8, &params, (int64_t)EPOCHS * PER_EPOCH, PER_EPOCH, 0 };
            params.on_event = check_rate;
            params.should_stop = has_rates_enough;
            params.user = &told;
            must(bd_trainer_create(device, &params, &trainer, &error), &error);
            must(bd_trainer_plan(trainer, &plan, NULL, NULL, &error), &error);
            ck_assert_uint_lt(plan.planned_device_bytes, 1 << 20);
            /* As if so many steps had been made. */
            trainer->state.control[BD_CONTROL_STEP] = (uint32_t)told.next;
            must(bd_store_write(trainer->store, "control", trainer->state.control, sizeof trainer->state.control,
                                &error),
                 &error);
            trainer->rates_first = -1; /* that took the word away too */
            ck_assert_int_eq(bd_trainer_run(trainer, NULL, &error), BD_ERROR_INTERRUPTED);
            ck_assert_int_ge(told.count, 20);
            bd_trainer_destroy(&trainer);
        }
}
END_TEST

START_TEST(skipped_steps_change_nothing)
{
    bd_train_params params = fixture_params(dataset, "mixed,backoff=0.9");
    params.precision.scale = 0x1p100f; /* overflows every time */
    params.epochs = 1;
    bd_trainer *trainer;
    bd_error error = { 0 };
    enum { COUNT = FIXTURE_SIDE * FIXTURE_SIDE * 16 };
    static double before[COUNT], after[COUNT];
    bd_train_event event;
    must(bd_trainer_create(device, &params, &trainer, &error), &error);
    must(bd_trainer_read(trainer, "fc1/weight", before, COUNT, &error), &error);
    must(bd_trainer_run(trainer, &event, &error), &error);
    must(bd_trainer_read(trainer, "fc1/weight", after, COUNT, &error), &error);
    bd_trainer_destroy(&trainer);
    ck_assert_int_eq(event.overflows, event.steps);
    ck_assert_int_eq(memcmp(before, after, sizeof before), 0);
}
END_TEST

/* Turned and shifted images train otherwise; what is tested on stays as it is. */
START_TEST(augmentation_is_for_training_only)
{
    double loss[2], accuracy[2], train_loss[2];
    for (int i = 0; i < 2; i++) {
        bd_train_params params = fixture_params(dataset, "fp32");
        params.augment = i == 1;
        params.epochs = 1;
        bd_trainer *trainer;
        bd_train_event event;
        bd_error error = { 0 };
        must(bd_trainer_create(device, &params, &trainer, &error), &error);
        must(bd_trainer_evaluate(trainer, &loss[i], &accuracy[i], &error), &error);
        must(bd_trainer_run(trainer, &event, &error), &error);
        train_loss[i] = event.train_loss;
        bd_trainer_destroy(&trainer);
    }
    ck_assert_double_eq(loss[0], loss[1]);
    ck_assert_double_eq(accuracy[0], accuracy[1]);
    ck_assert_double_ne(train_loss[0], train_loss[1]);
}
END_TEST

static const float l2 = 0.125f;

/* The MLP, its first layer's weights held small. */
static bd_tensor penalised(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user)
{
    (void)training, (void)user;
    const bd_layer_style before = bd_set_layer_style(graph, (bd_layer_style){ .init = BD_WEIGHTS_GLOROT, .l2 = l2 });
    x = bd_relu(graph, bd_linear(graph, bd_flatten(graph, x), 16, true, "fc1"));
    bd_set_layer_style(graph, before);
    return bd_linear(graph, x, classes, true, "fc2");
}

/* One step of plain SGD: with and without L2 the weights differ by rate * 2 l2 w, and nothing else does; also under a
 * loss scale. The bound: the few roundings of the sums' last bits, of numbers below 1. */
START_TEST(l2_adds_its_gradient)
{
    enum { COUNT = FIXTURE_SIDE * FIXTURE_SIDE * 16 };
    static double first[COUNT], with[COUNT], without[COUNT];
    double other[2][64], biases[2][16];
    bd_train_params params = fixture_params(dataset, _i ? "fp32,scale=1024" : "fp32");
    params.optimizer.momentum = 0;
    params.max_steps = 1;
    for (int i = 0; i < 2; i++) {
        params.model = i ? penalised : fixture_mlp;
        bd_trainer *trainer;
        bd_error error = { 0 };
        must(bd_trainer_create(device, &params, &trainer, &error), &error);
        must(bd_trainer_read(trainer, "fc1/weight", first, COUNT, &error), &error);
        must(bd_trainer_run(trainer, NULL, &error), &error);
        must(bd_trainer_read(trainer, "fc1/weight", i ? with : without, COUNT, &error), &error);
        must(bd_trainer_read(trainer, "fc1/bias", biases[i], 16, &error), &error);
        must(bd_trainer_read(trainer, "fc2/weight", other[i], 64, &error), &error);
        bd_trainer_destroy(&trainer);
    }
    const double rate = params.optimizer.rate;
    for (int i = 0; i < COUNT; i++)
        ck_assert_double_eq_tol(without[i] - with[i], rate * 2 * (double)l2 * first[i], 0x1p-22);
    ck_assert_int_eq(memcmp(biases[0], biases[1], sizeof *biases), 0);
    ck_assert_int_eq(memcmp(other[0], other[1], sizeof *other), 0);
}
END_TEST

/* A scale that is a power of two changes no bit in F32. */
START_TEST(static_scaling_is_exact)
{
    bd_train_params params = stateful_params("fp32", scratch_path("a"));
    params.model = fixture_mlp;
    bd_trainer *trainers[2];
    double values[2][64];
    bd_error error = { 0 };
    for (int i = 0; i < 2; i++) {
        if (i)
            must(bd_precision_parse("fp32,scale=1024", &params.precision, &error), &error);
        must(bd_trainer_create(device, &params, &trainers[i], &error), &error);
        must(bd_trainer_run(trainers[i], NULL, &error), &error);
        must(bd_trainer_read(trainers[i], "fc2/weight", values[i], 64, &error), &error);
        bd_trainer_destroy(&trainers[i]);
    }
    ck_assert_int_eq(memcmp(values[0], values[1], sizeof *values), 0);
}
END_TEST

/* ---- what is not finite ---- */

/* Layer "big" multiplies by a factor; in F16 70000 is infinite. */
static bd_tensor exploding(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user)
{
    x = bd_relu(graph, bd_linear(graph, bd_flatten(graph, x), 16, true, "small"));
    bd_push_layer(graph, "big");
    x = bd_mul(graph, x, bd_constant(graph, bd_tensor_shape(graph, x), *(const double *)user));
    x = bd_mul(graph, x, bd_constant(graph, bd_tensor_shape(graph, x), *(const double *)user));
    bd_pop_layer(graph);
    (void)training;
    return bd_linear(graph, x, classes, true, "last");
}

static void expect_stop(const bd_train_params *params, const char *step, const char *what)
{
    bd_trainer *trainer;
    bd_error error = { 0 };
    must(bd_trainer_create(device, params, &trainer, &error), &error);
    ck_assert_int_eq(bd_trainer_run(trainer, NULL, &error), BD_ERROR_NUMERIC);
    ck_assert_msg(strstr(error.message, step) && strstr(error.message, what), "%s", error.message);
    ck_assert_int_eq(bd_trainer_run(trainer, NULL, &error), BD_ERROR_ARGUMENT);
    bd_trainer_destroy(&trainer);
}

START_TEST(a_nan_names_its_layer)
{
    const double factor = 1000;
    bd_train_params params = fixture_params(dataset, "fp16");
    params.model = exploding;
    params.model_user = &factor;
    expect_stop(&params, "step 0:", "layer 'big', operation mul");
    params.dataset_device_bytes = STREAMED_BYTES; /* the failed batch may have left the ring */
    params.report_steps = 1;
    expect_stop(&params, "step 0:", "layer 'big', operation mul");
}
END_TEST

/* The rate of step 5 is infinite in F16, so step 6 finds weights that are not finite. */
START_TEST(a_nan_in_weights_names_the_parameter)
{
    bd_train_params params = fixture_params(dataset, "fp16");
    params.optimizer.rate = 1;
    params.optimizer.momentum = 0;
    params.optimizer.schedule = BD_SCHEDULE_STEP;
    params.optimizer.step_epochs = 1;
    params.optimizer.step_factor = 1e6f;
    params.checkpoint = scratch_path("file");
    expect_stop(&params, "step 13:", "layer 'fc1', parameter 'fc1/");
    /* The checkpoint of the first epoch stays. */
    bd_train_params resumed = fixture_params(dataset, "fp16");
    resumed.resume = scratch_path("file");
    resumed.optimizer.momentum = 0;
    ck_assert_int_eq(fixture_run(device, &resumed).step, 36);
}
END_TEST

START_TEST(a_nan_can_be_ignored)
{
    const double factor = 1000;
    bd_train_params params = fixture_params(dataset, "fp16");
    params.model = exploding;
    params.model_user = &factor;
    params.continue_on_nan = true;
    bd_train_event event = fixture_run(device, &params);
    ck_assert_int_eq(event.step, 36);
    ck_assert_int_eq(event.nan_steps, 36);
}
END_TEST

/* ---- bad input ---- */

static void expect_refused(const bd_train_params *params, bd_status status, const char *why)
{
    bd_trainer *trainer = NULL;
    bd_error error = { 0 };
    ck_assert_int_eq(bd_trainer_create(device, params, &trainer, &error), status);
    ck_assert_ptr_null(trainer);
    ck_assert_msg(strstr(error.message, why), "wanted '%s': %s", why, error.message);
}

static bd_tensor wrong_logits(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user)
{
    (void)training, (void)user;
    return bd_linear(graph, bd_flatten(graph, x), classes + 1, true, "fc");
}

static bd_tensor no_parameters(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user)
{
    (void)training, (void)user;
    return bd_slice(graph, bd_flatten(graph, x), 1, 0, classes);
}

START_TEST(bad_parameters_are_refused)
{
    const bd_train_params good = fixture_params(dataset, "fp32");
    bd_train_params bad = good;
    bad.batch = FIXTURE_TRAIN + 1;
    expect_refused(&bad, BD_ERROR_ARGUMENT, "batch 201: wanted 1 to 200");
    bad = good, bad.epochs = 0;
    expect_refused(&bad, BD_ERROR_ARGUMENT, "epochs 0");
    bad = good, bad.epochs = INT64_MAX;
    expect_refused(&bad, BD_ERROR_ARGUMENT, "epochs");
    bad = good, bad.optimizer.rate = NAN;
    expect_refused(&bad, BD_ERROR_ARGUMENT, "learning rate");
    bad = good, bad.model = NULL;
    expect_refused(&bad, BD_ERROR_ARGUMENT, "model");
    bad = good, bad.dataset = NULL;
    expect_refused(&bad, BD_ERROR_ARGUMENT, "data set");
    bad = good, bad.model = wrong_logits;
    expect_refused(&bad, BD_ERROR_ARGUMENT, "16x5, wanted logits of 16x4");
    bad = good, bad.model = no_parameters;
    expect_refused(&bad, BD_ERROR_ARGUMENT, "no parameters");
    bad = good, bad.dataset_device_bytes = 1000;
    expect_refused(&bad, BD_ERROR_UNSUPPORTED, "streamed");
    bad = fixture_params(dataset, "fp32;nothing:w=f16");
    expect_refused(&bad, BD_ERROR_ARGUMENT, "nothing");
}
END_TEST

START_TEST(small_devices_are_refused_before_anything_is_allocated)
{
    bd_train_params params = fixture_params(dataset, "fp32");
    uint64_t before, now, peak;
    device->backend->memory(device, &before, &peak);
    bd_limits limits = device->target.limits;
    device->target.limits.memory_bytes = 20000;
    params.dataset_device_bytes = 15000;
    expect_refused(&params, BD_ERROR_MEMORY, "MiB");
    /* Too little even for two batches: told as a whole, not as the data set's matter. */
    device->target.limits.memory_bytes = 1000;
    params.dataset_device_bytes = 0;
    expect_refused(&params, BD_ERROR_MEMORY, "model 'fixture' with batch 16 needs");
    device->target.limits = limits;
    device->target.limits.max_buffer_bytes = 4000;
    expect_refused(&params, BD_ERROR_MEMORY, "one buffer");
    device->target.limits = limits;
    device->backend->memory(device, &now, &peak);
    ck_assert_uint_eq(now, before);
}
END_TEST

START_TEST(checkpoints_of_other_runs_are_refused)
{
    bd_train_params params = stateful_params("mixed", scratch_path("file"));
    params.epochs = 1;
    fixture_run(device, &params);
    params.checkpoint = NULL;
    params.resume = scratch_path("file");
    fixture_run(device, &params);

    bd_train_params other = params;
    other.model_name = "another";
    expect_refused(&other, BD_ERROR_ARGUMENT, "model 'fixture', this run has 'another'");
    other = params, other.batch = 8;
    expect_refused(&other, BD_ERROR_ARGUMENT, "batch '16'");
    other = stateful_params("fp32", NULL), other.resume = params.resume;
    expect_refused(&other, BD_ERROR_ARGUMENT, "precision 'mixed'");
    other = params, other.optimizer.kind = BD_OPTIMIZER_SGD;
    expect_refused(&other, BD_ERROR_ARGUMENT, "optimizer 'adam'");
    other = params, other.model = fixture_mlp;
    expect_refused(&other, BD_ERROR_DATA, "no tensor 'fc1/weight'");
    other = params, other.resume = scratch_path("absent");
    expect_refused(&other, BD_ERROR_FILE, "absent");

    size_t size;
    uint8_t *data = scratch_read("file", &size);
    scratch_write("file", data, size - 1);
    expect_refused(&params, BD_ERROR_DATA, "file");
    data[16] ^= 0xff;
    scratch_write("file", data, size);
    expect_refused(&params, BD_ERROR_DATA, "file");
    free(data);
}
END_TEST

/* ---- without a device ---- */

static void count_lines(void *user, const char *line)
{
    ck_assert_ptr_null(strchr(line, '\n'));
    ++*(int *)user;
}

START_TEST(plans_need_no_device)
{
    bd_train_params params = fixture_params(dataset, "mixed;fc1:w=f32,a=f32,g=f32");
    bd_trainer *trainer;
    bd_train_event event;
    bd_error error = { 0 };
    int lines = 0;
    must(bd_trainer_create(NULL, &params, &trainer, &error), &error);
    must(bd_trainer_plan(trainer, &event, count_lines, &lines, &error), &error);
    ck_assert_int_gt(lines, 20);
    ck_assert_int_gt(event.dispatches_per_step, 5);
    ck_assert_uint_gt(event.flops_per_step, 3 * 2 * FIXTURE_BATCH * 36 * 16);
    ck_assert_uint_gt(event.planned_device_bytes, 0);
    ck_assert_uint_eq(event.dataset_bytes, (FIXTURE_TRAIN + FIXTURE_TEST) * (36 + 1 + 4));
    ck_assert_int_eq(bd_trainer_run(trainer, NULL, &error), BD_ERROR_ARGUMENT);
    ck_assert_int_eq(bd_trainer_save(trainer, "nowhere", &error), BD_ERROR_ARGUMENT);
    bd_trainer_destroy(&trainer);
    bd_trainer_destroy(&trainer);
    bd_trainer_destroy(NULL);
}
END_TEST

/* Seconds on a CPU driver: the MLP in mixed precision, the network in FP16. What limits do not touch is in the whole
 * suite. */
static void add_limited(TCase *tests)
{
    tcase_add_loop_test(tests, learns, 3, 4);
    tcase_add_loop_test(tests, net_learns, 1, 2);
}

static void add_all(TCase *tests)
{
    const int all = plain ? PLAIN_POLICIES : POLICY_COUNT, most = plain ? PLAIN_POLICIES : POLICY_COUNT - 1;
    tcase_add_loop_test(tests, learns, 0, learns_only ? POLICY_COUNT : all);
    tcase_add_loop_test(tests, net_learns, 0, most); /* the last policy is for a layer that it has not */
    int presets = 0;
    while (bd_precision_presets()[presets] && !(plain && presets == PLAIN_PRESETS))
        presets++;
    tcase_add_loop_test(tests, every_preset_learns, 0, presets);
    tcase_add_loop_test(tests, adam_learns, 0, 2);
    tcase_add_loop_test(tests, memory_is_as_planned, 0, all);
    tcase_add_loop_test(tests, equal_runs_give_equal_weights, 0, most);
    /* Unfused kernels are many, and drivers take their time: fp32, fp16 and, where formats are simulated, bf16-sr
     * must do there. */
    tcase_add_loop_test(tests, fusion_makes_no_difference, 0, strcmp(device_name, "reference") == 0 ? POLICY_COUNT : 2);
    if (!plain && strcmp(device_name, "reference") != 0)
        tcase_add_loop_test(tests, fusion_makes_no_difference, PLAIN_POLICIES, PLAIN_POLICIES + 1);
    tcase_add_loop_test(tests, resumed_runs_are_as_if_never_stopped, 0, most);
    if (!plain || learns_only)
        tcase_add_test(tests, learned_steps_begin_where_the_first_weights_are);
    tcase_add_loop_test(tests, streaming_makes_no_difference, 0, most);
    tcase_add_loop_test(tests, evaluation_makes_no_difference, 0, all);
    tcase_add_test(tests, events_tell_the_run);
    tcase_add_test(tests, speed_is_that_of_warm_steps);
    tcase_add_test(tests, dynamic_scaling_follows_gradscaler);
    tcase_add_test(tests, steps_can_be_limited);
    tcase_add_test(tests, long_schedules_are_kept_in_parts);
    tcase_add_test(tests, skipped_steps_change_nothing);
    tcase_add_test(tests, static_scaling_is_exact);
    tcase_add_test(tests, augmentation_is_for_training_only);
    tcase_add_loop_test(tests, l2_adds_its_gradient, 0, 2);
    tcase_add_test(tests, a_nan_names_its_layer);
    tcase_add_test(tests, a_nan_in_weights_names_the_parameter);
    tcase_add_test(tests, a_nan_can_be_ignored);
    tcase_add_test(tests, bad_parameters_are_refused);
    tcase_add_test(tests, small_devices_are_refused_before_anything_is_allocated);
    tcase_add_test(tests, checkpoints_of_other_runs_are_refused);
    tcase_add_test(tests, plans_need_no_device);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        device_name = argv[1];
    if (argc > 2 && *argv[2])
        device_limit = argv[2];
    plain = argc > 3;
    learns_only = plain && !strcmp(argv[3], "few");
    if (!fixture_device_opens(device_name)) {
        printf("skipped: there is no %s\n", device_name);
        return 77;
    }

    Suite *suite = suite_create(device_name);
    TCase *tests = tcase_create("training"), *rounding = tcase_create("rounding");
    tcase_set_timeout(tests, 600);
    tcase_set_timeout(rounding, 600);
    tcase_add_checked_fixture(tests, begin, end);
    tcase_add_checked_fixture(rounding, begin, end);
    if (device_limit) {
        add_limited(tests);
    } else {
        add_all(tests);
        add_model_tests(tests);
        add_rounding_tests(rounding);
    }
    suite_add_tcase(suite, tests);
    suite_add_tcase(suite, rounding);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
