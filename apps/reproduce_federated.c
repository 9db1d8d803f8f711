/* R17: federated learning with FP8 on the wire (arXiv:2407.02610), a small network on Fashion-MNIST. */
#include "app.h"
#include "data.h"
#include "federated.h"
#include "models/models.h"
#include "reproduce.h"
#include <math.h>

enum { SEEDS = 3, CLIENTS = 10, ROUNDS = 10, BATCH = 64 };

static bd_status train(reproduction *self, const wire *w, uint64_t seed, double *accuracy, traffic *sent,
                       bd_error *error)
{
    model network;
    federation f = { .clients = CLIENTS, .rounds = ROUNDS, .local_steps = (self->steps + ROUNDS - 1) / ROUNDS };
    bd_trainer *trainer = NULL;
    bd_train_event end;
    bd_train_params params;
    bd_train_params_init(&params);
    bd_status status = model_parse("mlp:784-128-10", &network, error);
    if (!status)
        status = model_fit(&network, self->dataset, error);
    params.model = network.function;
    params.model_user = &network;
    params.model_name = network.name;
    params.dataset = self->dataset;
    params.batch = BATCH;
    params.seed = seed;
    if (!status)
        status = federation_prepare(&f, &params, error);
    if (!status)
        status = bd_trainer_create(self->device, &params, &trainer, error);
    if (!status)
        status = federation_run(&f, w, trainer, sent, &end, error);
    if (!status)
        *accuracy = 100 * end.test_accuracy;
    bd_trainer_destroy(&trainer);
    return status;
}

bd_status reproduce_federated(reproduction *self, finding *f, bd_error *error)
{
    enum { SINGLE, EIGHT, WIRES };
    static const char *const formats[WIRES] = { "f32", "f8e4m3:stochastic" };
    static const double lost = 1, saved = 2.9; /* points, and how much less is sent */
    double accuracy[WIRES][SEEDS];
    traffic sent = { 0 };
    bd_status status =
        self->dataset ? BD_OK : data_open(&self->progress, self->data, BD_TOKENS_NONE, &self->dataset, error);
    for (int i = 0; i < WIRES * SEEDS && !status; i++) {
        const int which = i / SEEDS, seed = i % SEEDS;
        wire w;
        progress_count(&self->progress, "R17", i, WIRES * SEEDS, "runs");
        status = app_interrupted() ? bd_fail(error, BD_ERROR_INTERRUPTED, "interrupted")
                                   : wire_parse(formats[which], &w, error);
        if (!status)
            status = train(self, &w, 1 + (uint64_t)seed, &accuracy[which][seed], &sent, error);
    }
    progress_clear(&self->progress);
    if (status)
        return status;
    const interval single = interval_of(accuracy[SINGLE], SEEDS);
    const interval difference = interval_of_pairs(accuracy[EIGHT], accuracy[SINGLE], SEEDS);
    const double ratio = (double)sent.single / (double)(sent.down + sent.up); /* of the last run, in eight bits */
    f->verdict =
        verdict_both(verdict_between(&difference, -lost, INFINITY), ratio >= saved ? VERDICT_HOLDS : VERDICT_FAILS);
    snprintf(f->result, sizeof f->result,
             "%d clients, %d rounds: E4M3 %+.2f points (%+.2f to %+.2f) from FP32's %.2f%%, %d seeds; bytes by %.2f",
             CLIENTS, ROUNDS, difference.mean, difference.low, difference.high, single.mean, SEEDS, ratio);
    return BD_OK;
}
