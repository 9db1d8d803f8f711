/* The suite train: steps of the models as `binade train` runs them, on made-up images. */
#include "app.h"
#include "bench.h"
#include "models/models.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CLASSES = 10, LEAST_SAMPLES = 3 };

/* Images for a model: the networks of the study take those of CIFAR-10. */
typedef struct image_form {
    int64_t side, channels, examples;
    /* For the check: so few and small that the reference does them in seconds. */
    int64_t check_batch, check_steps;
} image_form;

static const image_form gray = { 28, 1, 60000, 16, 3 }, coloured = { 32, 3, 25600, 4, 1 };

static const image_form *form_of(const model *m)
{
    return strncmp(m->name, "mlp", 3) == 0 || strcmp(m->name, "lenet") == 0 ? &gray : &coloured;
}

typedef struct training {
    bench *bench;
    bench_row *row;
    int64_t batch;
    double begun, warm; /* when; when the first sample may be taken, 0 until a step was done */
    double loss;        /* of the check's steps */
} training;

/* ---- data ---- */

/* A bright bar at the class's own height, in noise: what a network learns at once. */
static bd_status make_images(bd_examples *examples, const image_form *form, int64_t count, bd_error *error)
{
    const size_t row = (size_t)(form->side * form->channels), pixels = row * (size_t)form->side;
    examples->count = count;
    examples->images = malloc((size_t)count * pixels);
    examples->labels = malloc((size_t)count);
    if (!examples->images || !examples->labels)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for %lld images", (long long)count);
    uint32_t noise = 1;
    for (size_t i = 0; i < (size_t)count; i++) {
        uint8_t *image = examples->images + i * pixels;
        examples->labels[i] = (uint8_t)(i % CLASSES);
        for (size_t p = 0; p < pixels; p++) {
            noise = noise * 1664525u + 1013904223u; /* Numerical Recipes' generator: any noise will do */
            image[p] = (uint8_t)(noise >> 26);
        }
        memset(image + (2 + 2 * (i % CLASSES)) * row, 255, row);
    }
    return BD_OK;
}

static bd_status make_dataset(bd_dataset *dataset, const image_form *form, int64_t count, bd_error *error)
{
    *dataset = (bd_dataset){ .name = "made-up images",
                             .height = form->side,
                             .width = form->side,
                             .channels = form->channels,
                             .classes = CLASSES,
                             .mean = 0.16f,
                             .deviation = 0.2f };
    return make_images(&dataset->train, form, count, error);
}

static void free_dataset(bd_dataset *dataset)
{
    free(dataset->train.images);
    free(dataset->train.labels);
}

/* ---- measuring ---- */

static void on_event(void *user, const bd_train_event *event)
{
    training *t = user;
    bench_row *row = t->row;
    const bench_settings *s = &t->bench->settings;
    const double now = bench_now();
    row->flops = (double)event->flops_per_step;
    row->bytes = (double)event->bytes_per_step;
    if (event->kind != BD_TRAIN_PROGRESS || !(event->images_per_second > 0))
        return;
    if (t->warm == 0)
        t->warm = now + bench_warm_seconds(t->bench);
    else if (now >= t->warm && row->wall.count < (size_t)s->reps)
        row->wall.seconds[row->wall.count++] = (double)t->batch / event->images_per_second;
}

static bool should_stop(void *user)
{
    const training *t = user;
    const bench_settings *s = &t->bench->settings;
    const size_t done = t->row->wall.count;
    const bool late = t->warm > 0 && bench_now() - t->warm > s->max_seconds;
    return bench_stopped(t->bench) || done >= (size_t)s->reps || (done >= LEAST_SAMPLES && late);
}

static void common_params(bd_train_params *params, const model *m, const bd_dataset *data, const bd_precision *policy)
{
    bd_train_params_init(params);
    params->model = m->function;
    params->model_user = m;
    params->model_name = m->name;
    params->dataset = data;
    params->precision = *policy;
    params->optimizer.schedule =
        BD_SCHEDULE_CONSTANT;       /* others have a table of a rate a step, and these steps have no end */
    params->continue_on_nan = true; /* a diverging loss is no slower */
}

static bd_status measure(training *t, const model *m, const bd_dataset *data, const bd_precision *policy,
                         bd_error *error)
{
    bench_row *row = t->row;
    const size_t reps = (size_t)t->bench->settings.reps;
    row->count = (double)t->batch;
    row->wall.seconds = calloc(reps, sizeof *row->wall.seconds);
    if (!row->wall.seconds)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for %zu samples", reps);
    bd_train_params params;
    common_params(&params, m, data, policy);
    params.batch = t->batch;
    const int64_t examples = data->train.count;
    params.epochs = t->batch < examples ? INT32_MAX / (examples / t->batch + 1) : INT32_MAX; /* should_stop ends it */
    params.on_event = on_event;
    params.should_stop = should_stop;
    params.user = t;
    bd_trainer *trainer = NULL;
    bd_status status = bd_trainer_create(t->bench->device, &params, &trainer, error);
    if (!status)
        status = bd_trainer_run(trainer, NULL, error);
    bd_trainer_destroy(&trainer);
    return status == BD_ERROR_INTERRUPTED ? BD_OK : status;
}

/* ---- checking ---- */

static void keep_loss(void *user, const bd_train_event *event)
{
    training *t = user;
    if (event->kind == BD_TRAIN_DONE || event->kind == BD_TRAIN_EPOCH)
        t->loss = event->train_loss;
}

static bd_status few_steps(training *t, bd_device *device, const model *m, const bd_precision *policy, double *loss,
                           bd_error *error)
{
    bd_dataset data;
    bd_trainer *trainer = NULL;
    bd_train_params params;
    const image_form *form = form_of(m);
    bd_status status = make_dataset(&data, form, form->check_batch * form->check_steps, error);
    common_params(&params, m, &data, policy);
    params.batch = form->check_batch;
    params.epochs = 1;
    params.on_event = keep_loss;
    params.user = t;
    t->loss = NAN;
    if (!status)
        status = bd_trainer_create(device, &params, &trainer, error);
    if (!status)
        status = bd_trainer_run(trainer, NULL, error);
    bd_trainer_destroy(&trainer);
    free_dataset(&data);
    *loss = t->loss;
    return status;
}

/* A few steps here and on the reference, from the same weights over the same images. Their mean loss is no sum with a
 * bound, since an update carries each rounding into the next step. This only asks whether it is the same training:
 * within a hundred roundings of the coarsest format. The kernels by themselves are judged by their bounds in the other
 * suites. */
static bd_status check(training *t, const model *m, const bd_precision *policy, bd_error *error)
{
    bd_device *reference = NULL;
    double here = NAN, right = NAN;
    bool halves = false;
    for (int role = 0; role < BD_ROLE_FIXED; role++)
        halves |= bd_precision_format(policy, (bd_role)role, NULL) == BD_F16;
    bd_status status = few_steps(t, t->bench->device, m, policy, &here, error);
    if (!status)
        status = bd_device_open("reference", &reference, error);
    if (!status)
        status = few_steps(t, reference, m, policy, &right, error);
    bd_device_close(&reference);
    const double allowed = 100 * (halves ? 0x1p-11 : 0x1p-24);
    /* Steps that overflow are skipped on both, and both losses are then of no number. */
    const bool same = (isnan(here) && isnan(right)) || fabs(here - right) <= allowed * fabs(right);
    if (!status && !same)
        bench_set(t->row, BENCH_WRONG, "the loss of %d steps is %.9g, and %.9g on the reference",
                  (int)form_of(m)->check_steps, here, right);
    return status;
}

/* ---- rows ---- */

static bd_status run_one(bench *self, const model *chosen, int64_t batch, const bd_dataset *data,
                         const bd_precision *policy, bd_error *error)
{
    model m = *chosen;
    bd_status status = model_fit(&m, data, error);
    if (status)
        return status;
    bench_row *row =
        bench_add(self, BENCH_TRAIN, "engine", policy->name, error, "%s batch %lld", chosen->name, (long long)batch);
    if (!row)
        return BD_ERROR_MEMORY;
    row->unit = BENCH_IMAGES;
    bd_error failure = { 0 };
    training t = { .bench = self, .row = row, .batch = batch };
    status = measure(&t, &m, data, policy, &failure);
    if (!status && row->wall.count)
        status = check(&t, &m, policy, &failure);
    bench_end(self, row, status, &failure);
    return BD_OK;
}

bd_status bench_train(bench *self, bd_error *error)
{
    const bench_settings *s = &self->settings;
    const bench_shape usual = { { 256 }, 1 };
    bench_shape *shapes = NULL;
    size_t count = 0;
    bd_status status = bench_shapes(self, BENCH_TRAIN, &usual, 1, &shapes, &count, error);
    for (size_t m = 0; m < s->model_count && !status && !bench_stopped(self); m++) {
        const image_form *form = form_of(&s->models[m]);
        bd_dataset data;
        status = make_dataset(&data, form, form->examples, error);
        for (size_t i = 0; i < count; i++)
            for (size_t p = 0; p < s->policy_count && !status && !bench_stopped(self); p++)
                status = run_one(self, &s->models[m], shapes[i].size[0], &data, &s->policies[p], error);
        free_dataset(&data);
    }
    free(shapes);
    return status;
}
