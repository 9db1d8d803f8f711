#include "federated.h"
#include "engine/clock.h"
#include "engine/philox.h"
#include "engine/trainer.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Who sends a message, and whose a derived seed is; clients have numbers of their own from FIRST_CLIENT on. */
enum { SERVER, DEALER, FIRST_CLIENT };

typedef struct server {
    const federation *plan;
    const wire *wire;
    bd_trainer *trainer;
    size_t elements;          /* of all weights */
    uint64_t message, single; /* bytes of a message, and of one in F32 */
    float *weights, *client;  /* the server's; a client's, before and after its steps */
    double *sent, *got, *sum; /* a message; what clients got; the weighted mean of what they sent */
    uint32_t *examples;       /* of all clients, one behind the other */
    int64_t *first;           /* of each client in `examples`, and the end */
    uint32_t *order;          /* of a client's turn */
    traffic *traffic;
    bd_train_event event;
    double begun, training_seconds;
} server;

/* A seed for each client, from the run's. */
static uint64_t seed_of(const bd_trainer *trainer, uint32_t who)
{
    static const uint32_t domain = UINT32_C(0x66656461); /* apart from other numbers of the same seed */
    const uint64_t seed = trainer->params.seed;
    uint32_t words[4];
    bd_philox((uint32_t[]){ (uint32_t)seed, (uint32_t)(seed >> 32) }, (uint32_t[]){ who, 0, 0, domain }, words);
    return (uint64_t)words[1] << 32 | words[0];
}

/* ---- who has what ---- */

bd_status federation_prepare(federation *self, bd_train_params *params, bd_error *error)
{
    const bd_dataset *data = params->dataset;
    if (data->tokens)
        return bd_fail(error, BD_ERROR_ARGUMENT, "'%s' is a text: federated learning deals out images", data->name);
    if (self->clients > data->train.count)
        return bd_fail(error, BD_ERROR_ARGUMENT,
                       "%" PRId64 " clients, but '%s' has %" PRId64 " training images: wanted one for each at least",
                       self->clients, data->name, data->train.count);
    if (params->precision.operands == BD_OPERANDS_DELAYED)
        return bd_fail(
            error, BD_ERROR_ARGUMENT,
            "precision '%s': scales that come from the steps before (operands=delayed) are not for clients, who "
            "remember nothing",
            params->precision.name);
    if (!self->local_steps) {
        self->local_steps = data->train.count / self->clients / params->batch;
        self->local_steps += !self->local_steps;
    }
    if (__builtin_mul_overflow(self->rounds, self->local_steps, &params->max_steps) || params->max_steps > UINT32_MAX)
        return bd_fail(error, BD_ERROR_ARGUMENT, "%" PRId64 " rounds of %" PRId64 " steps: wanted at most 2^32 steps",
                       self->rounds, self->local_steps);
    params->epochs = 0;
    params->measure_steps = 0; /* what is told of rounding is of one run's steps, and these are many clients' */
    return BD_OK;
}

/* Fills the order of a client's turn with its examples, shuffled anew for each pass over them. */
static void shuffle(server *self, int64_t client, int64_t round)
{
    const int64_t first = self->first[client], count = self->first[client + 1] - first;
    const int64_t wanted = self->plan->local_steps * self->trainer->params.batch, passes = (wanted + count - 1) / count;
    const uint64_t seed = seed_of(self->trainer, FIRST_CLIENT + (uint32_t)client);
    for (int64_t p = 0; p < passes; p++) {
        uint32_t *order = self->order + p * count;
        bd_feed_shuffle(seed, (uint32_t)(round * passes + p), order, count);
        for (int64_t i = 0; i < count; i++)
            order[i] = self->examples[first + (int64_t)order[i]];
    }
}

/* ---- events ---- */

static void tell(server *self, bd_event_kind kind)
{
    const bd_train_params *p = &self->trainer->params;
    bd_train_event *e = &self->event;
    e->kind = kind;
    e->seconds = bd_seconds() - self->begun;
    e->eta_seconds = e->step ? e->seconds / (double)e->step * (double)(e->steps - e->step) : NAN;
    e->images_per_second = e->step ? (double)(e->step * p->batch) / self->training_seconds : NAN;
    e->step_ms = e->step ? 1e3 * self->training_seconds / (double)e->step : NAN;
    e->peak_device_bytes = self->trainer->peak_bytes;
    if (p->on_event)
        p->on_event(p->user, e);
}

static void begin_events(server *self)
{
    bd_trainer_describe(self->trainer, &self->event);
    bd_train_event *e = &self->event;
    e->epochs = self->plan->rounds;
    e->steps_per_epoch = self->plan->local_steps * self->plan->clients;
    e->steps = e->steps_per_epoch * e->epochs;
    e->train_loss = e->train_accuracy = e->test_loss = e->test_accuracy = e->tokens_per_second = NAN;
    self->begun = bd_seconds();
    tell(self, BD_TRAIN_START);
}

/* ---- a round ---- */

/* A message of all tensors, in place of `values`. */
static bd_status send(const server *self, uint32_t sender, int64_t round, double *values, bd_error *error)
{
    wire_message message = { self->trainer->params.seed, sender, (uint32_t)round, 0 };
    const char *name;
    int64_t elements;
    for (; bd_trainer_weight(self->trainer, message.tensor, &name, &elements); message.tensor++, values += elements)
        if (!wire_send(self->wire, &message, values, (size_t)elements))
            return bd_fail(error, BD_ERROR_NUMERIC, "round %" PRId64 ": '%s' has values that are not finite", round + 1,
                           name);
    return BD_OK;
}

static bd_status take_turn(server *self, int64_t client, int64_t round, bd_error *error)
{
    bd_trainer *trainer = self->trainer;
    const int64_t batch = trainer->params.batch, most = trainer->steps_per_epoch, steps = self->plan->local_steps;
    const uint32_t place = FIRST_CLIENT + (uint32_t)client;
    const double share =
        (double)(self->first[client + 1] - self->first[client]) / (double)self->first[self->plan->clients];
    for (size_t i = 0; i < self->elements; i++)
        self->client[i] = (float)self->got[i];
    bd_status status = bd_trainer_write_weights(trainer, self->client, error);
    if (!status)
        status = bd_trainer_restart(trainer, seed_of(trainer, place), round * steps, error);
    shuffle(self, client, round);
    const double begun = bd_seconds();
    for (int64_t done = 0; done < steps && !status; done += most)
        status = bd_trainer_take_steps(trainer, self->order + done * batch, steps - done < most ? steps - done : most,
                                       error);
    self->training_seconds += bd_seconds() - begun;
    if (!status)
        status = bd_trainer_read_weights(trainer, self->client, error);
    if (status)
        return status;
    for (size_t i = 0; i < self->elements; i++)
        self->sent[i] = (double)self->client[i] - self->got[i];
    if ((status = send(self, place, round, self->sent, error)))
        return status;
    for (size_t i = 0; i < self->elements; i++)
        self->sum[i] += share * self->sent[i];
    self->traffic->up += self->message;
    self->traffic->single += self->single;
    const uint32_t *control = trainer->state.control;
    const double samples = bd_control_float(control, BD_CONTROL_SAMPLES);
    self->event.train_loss = bd_control_float(control, BD_CONTROL_LOSS_SUM) / samples;
    self->event.train_accuracy = bd_control_float(control, BD_CONTROL_CORRECT) / samples;
    self->event.loss_scale = bd_control_float(control, BD_CONTROL_SCALE);
    self->event.rate = bd_control_float(control, BD_CONTROL_RATE);
    self->event.overflows += control[BD_CONTROL_OVERFLOWS];
    self->event.nan_steps += control[BD_CONTROL_NAN_COUNT];
    self->event.step += steps;
    tell(self, BD_TRAIN_PROGRESS);
    return BD_OK;
}

static bd_status run_round(server *self, int64_t round, bd_error *error)
{
    const bd_train_params *p = &self->trainer->params;
    for (size_t i = 0; i < self->elements; i++) {
        self->got[i] = (double)self->weights[i];
        self->sum[i] = 0;
    }
    bd_status status = send(self, SERVER, round, self->got, error);
    double loss = 0, accuracy = 0;
    self->event.epoch = round + 1;
    for (int64_t c = 0; c < self->plan->clients && !status; c++) {
        if (p->should_stop && p->should_stop(p->user))
            return bd_fail(error, BD_ERROR_INTERRUPTED, "interrupted in round %" PRId64, round + 1);
        self->traffic->down += self->message;
        self->traffic->single += self->single;
        status = take_turn(self, c, round, error);
        loss += self->event.train_loss / (double)self->plan->clients;
        accuracy += self->event.train_accuracy / (double)self->plan->clients;
    }
    if (status)
        return status;
    for (size_t i = 0; i < self->elements; i++)
        self->weights[i] = (float)((double)self->weights[i] + self->sum[i]);
    status = bd_trainer_write_weights(self->trainer, self->weights, error);
    if (!status)
        status = bd_trainer_evaluate(self->trainer, &self->event.test_loss, &self->event.test_accuracy, error);
    bd_trainer_measure(self->trainer);
    if (status)
        return status;
    self->event.train_loss = loss;
    self->event.train_accuracy = accuracy;
    tell(self, BD_TRAIN_EPOCH);
    return BD_OK;
}

/* ---- the whole ---- */

static bd_status open_server(server *self, bd_error *error)
{
    const federation *plan = self->plan;
    const size_t count = (size_t)self->trainer->params.dataset->train.count;
    const size_t turn = (size_t)(plan->local_steps * self->trainer->params.batch);
    const char *name;
    int64_t elements;
    for (size_t i = 0; bd_trainer_weight(self->trainer, i, &name, &elements); i++) {
        self->elements += (size_t)elements;
        self->message += wire_bytes(self->wire, elements);
        self->single += (uint64_t)elements * sizeof(float);
    }
    const size_t room = self->elements + !self->elements;
    self->weights = calloc(room, sizeof *self->weights);
    self->client = calloc(room, sizeof *self->client);
    self->sent = calloc(room, sizeof *self->sent);
    self->got = calloc(room, sizeof *self->got);
    self->sum = calloc(room, sizeof *self->sum);
    self->examples = calloc(count, sizeof *self->examples);
    self->first = calloc((size_t)plan->clients + 1, sizeof *self->first);
    self->order = calloc(turn + count, sizeof *self->order); /* the last pass may be more than is wanted */
    return self->weights && self->client && self->sent && self->got && self->sum && self->examples && self->first &&
                   self->order
               ? BD_OK
               : bd_fail(error, BD_ERROR_MEMORY, "no memory for a server of %zu weights", self->elements);
}

static void close_server(server *self)
{
    free(self->weights);
    free(self->client);
    free(self->sent);
    free(self->got);
    free(self->sum);
    free(self->examples);
    free(self->first);
    free(self->order);
}

bd_status federation_run(const federation *self, const wire *format, bd_trainer *trainer, traffic *sent,
                         bd_train_event *result, bd_error *error)
{
    server s = { .plan = self, .wire = format, .trainer = trainer, .traffic = sent };
    *sent = (traffic){ 0 };
    bd_status status = open_server(&s, error);
    if (!status)
        status = bd_trainer_read_weights(trainer, s.weights, error);
    if (!status)
        status = deal_examples(trainer->params.dataset, self->clients, (double)self->alpha, seed_of(trainer, DEALER),
                               s.examples, s.first, error);
    if (!status)
        begin_events(&s);
    for (int64_t round = 0; round < self->rounds && !status; round++)
        status = run_round(&s, round, error);
    if (!status) {
        tell(&s, BD_TRAIN_DONE);
        if (result)
            *result = s.event;
    }
    close_server(&s);
    return status;
}
