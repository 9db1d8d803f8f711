#include "auto.h"
#include "app.h"
#include "json.h"
#include "policy.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Beside f32, which is always right. In the order in which they are named. */
static const bd_format candidates[] = { BD_F8E4M3, BD_F8E5M2, BD_F16, BD_BF16 };
enum {
    CANDIDATES = sizeof candidates / sizeof *candidates,
    SINGLE = -1,            /* in place of a candidate's number */
    CALIBRATION_STEPS = 32, /* trained before: gradients of the first weights are not those of training */
    MEASURED_STEPS = 24,    /* of a policy whose time is wanted */
};

typedef struct limits {
    double bytes, milliseconds; /* 0: without limit */
} limits;

typedef struct chooser {
    bd_device *device;
    const bd_train_params *params;
    bd_dataset dataset; /* the training part of params' one: trainers read it as long as they are */
    progress *progress;
    bd_layer_cost *layers;
    size_t count;
    int *choice; /* one a layer: a candidate, or SINGLE */
    double max_error;
    int64_t steps; /* of the calibration */
} chooser;

static bd_format format_of(int choice)
{
    return choice == SINGLE ? BD_F32 : candidates[choice];
}

/* ---- runs ---- */

/* A short training in a policy, of images without evaluation. The trainer is the caller's to destroy, on failure
 * too. */
static bd_status train_some(const chooser *self, const bd_precision *policy, int64_t steps, bd_trainer **trainer,
                            bd_train_event *result, bd_error *error)
{
    bd_train_params params = *self->params;
    params.dataset = &self->dataset;
    params.precision = *policy;
    params.max_steps = steps;
    params.on_event = NULL;
    params.checkpoint = params.resume = NULL;
    bd_status status = bd_trainer_create(self->device, &params, trainer, error);
    return status ? status : bd_trainer_run(*trainer, result, error);
}

static bd_status calibrate(chooser *self, bd_error *error)
{
    const bd_dataset *data = self->params->dataset;
    const int64_t examples = bd_dataset_train_examples(data, self->params->context), batch = self->params->batch;
    const int64_t batches = examples / batch;
    if (batches < 2)
        return bd_fail(error, BD_ERROR_ARGUMENT,
                       "--precision auto calibrates on two batches at least, and %lld %s make %lld of %lld: choose a "
                       "smaller --batch",
                       (long long)examples, data->tokens ? "windows" : "images", (long long)batches, (long long)batch);
    self->steps = batches - 1 < CALIBRATION_STEPS ? batches - 1 : CALIBRATION_STEPS;
    bd_precision single;
    bd_trainer *trainer = NULL;
    bd_train_event result;
    progress_say(self->progress, "calibrating: %lld steps in FP32", (long long)self->steps);
    bd_status status = bd_precision_parse("fp32,scale=dynamic", &single, error);
    if (!status)
        status = train_some(self, &single, self->steps, &trainer, &result, error);
    if (!status)
        status = bd_trainer_calibrate(trainer, candidates, CANDIDATES, &self->layers, &self->count, error);
    bd_trainer_destroy(&trainer);
    progress_clear(self->progress);
    if (!status && !(self->choice = calloc(self->count, sizeof *self->choice)))
        status = bd_fail(error, BD_ERROR_MEMORY, "no memory for %zu layers", self->count);
    return status;
}

/* ---- the choice ---- */

static bool allowed(const bd_format_cost *cost, double max_error)
{
    return cost->error <= max_error && cost->overflow == 0;
}

static void choose(chooser *self, double max_error)
{
    self->max_error = max_error;
    for (size_t i = 0; i < self->count; i++) {
        const bd_format_cost *cost = self->layers[i].cost;
        int best = SINGLE;
        for (int f = 0; f < CANDIDATES; f++) {
            if (!allowed(&cost[f], max_error))
                continue;
            const size_t size = bd_format_size(format_of(f)), least = bd_format_size(format_of(best));
            if (size < least || (size == least && cost[f].error < cost[best].error))
                best = f;
        }
        self->choice[i] = best;
    }
}

/* What most layers have, of the formats that are fit for all that lies between them: 8 bits are not. */
static int common_choice(const chooser *self)
{
    size_t most = 0;
    int common = SINGLE;
    for (int f = SINGLE; f < CANDIDATES; f++) {
        size_t found = 0;
        for (size_t i = 0; i < self->count; i++)
            found += self->choice[i] == f;
        if (bd_format_size(format_of(f)) > 1 && found > most) {
            most = found;
            common = f;
        }
    }
    return common;
}

static char *settings_of(int choice)
{
    const char *name = bd_format_name(format_of(choice));
    return app_format("w=%s,a=%s,g=%s", name, name, name);
}

/* {"policy": ..., "layers": {...}}. Of layers in layers the outer come first, since the last that fits counts. */
static json_t *policy_document(const chooser *self)
{
    const int common = common_choice(self);
    bool narrow = false; /* gradients may be lost: scale them */
    for (size_t i = 0; i < self->count; i++)
        narrow |= self->choice[i] != SINGLE && candidates[self->choice[i]] != BD_BF16;
    char *settings = settings_of(common),
         *policy = settings ? app_format("%s%s", settings, narrow ? ",scale=dynamic" : "") : NULL;
    json_t *layers = json_object(),
           *document = policy ? json_pack("{s:s, s:o}", "policy", policy, "layers", layers) : NULL;
    free(settings);
    free(policy);
    for (size_t length = 1; document && length < sizeof self->layers->layer; length++)
        for (size_t i = 0; i < self->count; i++) {
            if (strlen(self->layers[i].layer) != length || self->choice[i] == common)
                continue;
            settings = settings_of(self->choice[i]);
            if (!settings || json_object_set_new(layers, self->layers[i].layer, json_string(settings)))
                document = (json_decref(document), NULL);
            free(settings);
            if (!document)
                break;
        }
    return document;
}

static bd_status parse_document(const json_t *document, bd_precision *policy, bd_error *error)
{
    return document ? policy_parse_json("--precision auto", document, policy, error)
                    : bd_fail(error, BD_ERROR_MEMORY, "no memory for the policy");
}

/* ---- budgets ---- */

static bd_status parse_budget(const char *text, limits *budget, bd_error *error)
{
    static const struct {
        const char *unit;
        double bytes, milliseconds;
    } units[] = { { "K", 1024, 0 }, { "M", 1048576, 0 }, { "G", 1073741824, 0 }, { "ms", 0, 1 }, { "us", 0, 1e-3 } };
    char *end;
    const double number = strtod(text, &end);
    for (size_t i = 0; i < sizeof units / sizeof *units && end != text && number > 0 && isfinite(number); i++)
        if (!strcmp(end, units[i].unit)) {
            budget->bytes = number * units[i].bytes;
            budget->milliseconds = number * units[i].milliseconds;
            return BD_OK;
        }
    return bd_fail(error, BD_ERROR_ARGUMENT,
                   "--budget %s: give device memory as 300M or 2G, or the time of a step as 5ms or 800us", text);
}

static bd_status measure(const chooser *self, limits *taken, bd_error *error)
{
    json_t *document = policy_document(self);
    bd_precision policy;
    bd_trainer *trainer = NULL;
    bd_train_event result = { 0 };
    bd_status status = parse_document(document, &policy, error);
    if (!status)
        status = train_some(self, &policy, MEASURED_STEPS, &trainer, &result, error);
    taken->bytes = (double)result.planned_device_bytes;
    taken->milliseconds = result.step_ms;
    bd_trainer_destroy(&trainer);
    json_decref(document);
    return status;
}

static bool fits(const limits *taken, const limits *limit)
{
    return (limit->bytes == 0 || taken->bytes <= limit->bytes) &&
           (limit->milliseconds == 0 || taken->milliseconds <= limit->milliseconds);
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Bisects over the errors at which some layer's choice changes. */
static bd_status fit(chooser *self, const char *text, double max_error, bd_error *error)
{
    limits limit, taken;
    bd_status status = parse_budget(text, &limit, error);
    double *bounds = calloc(self->count * CANDIDATES + 1, sizeof *bounds);
    if (!status && !bounds)
        status = bd_fail(error, BD_ERROR_MEMORY, "no memory for %zu layers", self->count);
    size_t count = 1; /* the first is 0: all of it in f32 */
    for (size_t i = 0; i < self->count && !status; i++)
        for (int f = 0; f < CANDIDATES; f++)
            if (allowed(&self->layers[i].cost[f], max_error))
                bounds[count++] = self->layers[i].cost[f].error;
    size_t low = 0, high = count - 1;
    if (!status) {
        qsort(bounds, count, sizeof *bounds, by_size);
        choose(self, bounds[high]);
        status = measure(self, &taken, error);
    }
    if (!status && !fits(&taken, &limit)) {
        char bytes[32];
        status = bd_fail(error, BD_ERROR_ARGUMENT,
                         "--budget %s: within --max-error %g the cheapest policy takes %s and %.3g ms a step", text,
                         max_error, app_bytes(bytes, (uint64_t)taken.bytes), taken.milliseconds);
    }
    while (!status && low < high) {
        const size_t middle = low + (high - low) / 2;
        choose(self, bounds[middle]);
        progress_say(self->progress, "trying errors up to %.2g", bounds[middle]);
        status = measure(self, &taken, error);
        if (fits(&taken, &limit))
            high = middle;
        else
            low = middle + 1;
    }
    if (!status)
        choose(self, bounds[high]);
    free(bounds);
    return status;
}

/* ---- telling it ---- */

static json_t *cost_json(const bd_format_cost *cost)
{
    return json_pack("{s:o, s:o, s:o, s:o}", "error", json_number(cost->error), "sqnr_db", json_number(cost->sqnr),
                     "underflow", json_number(cost->underflow), "overflow", json_number(cost->overflow));
}

static json_t *note(const chooser *self)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < self->count; i++) {
        const bd_layer_cost *layer = &self->layers[i];
        json_t *row = json_pack("{s:o, s:s, s:i}", "layer", json_text(layer->layer), "format",
                                bd_format_name(format_of(self->choice[i])), "contractions", layer->contractions);
        for (int f = 0; f < CANDIDATES; f++)
            json_object_set_new(row, bd_format_name(candidates[f]), cost_json(&layer->cost[f]));
        json_array_append_new(rows, row);
    }
    return json_pack("{s:o, s:s, s:o, s:I, s:I, s:o, s:o}", "made_by", json_text("binade train --precision auto"),
                     "model", self->params->model_name, "device", json_text(bd_device_get_info(self->device)->name),
                     "batch", (json_int_t)self->params->batch, "steps", (json_int_t)self->steps, "max_error",
                     json_number(self->max_error), "layers", rows);
}

/* "f8e5m2: error 2.1e-03": what the cheapest format that was not taken would have cost; of f32, what all others do. */
static void tell(const chooser *self)
{
    printf("%-28s %-7s %9s %8s %10s  %s\n", "layer", "format", "error", "SQNR dB", "underflow", "not");
    for (size_t i = 0; i < self->count; i++) {
        const bd_layer_cost *layer = &self->layers[i];
        const int choice = self->choice[i];
        printf("%-28s %-7s", layer->layer, bd_format_name(format_of(choice)));
        if (choice == SINGLE)
            printf(" %9s %8s %10s ", "-", "-", "-");
        else
            printf(" %9.1e %8.1f %9.2f%% ", layer->cost[choice].error, layer->cost[choice].sqnr,
                   100 * layer->cost[choice].underflow);
        for (int f = 0; f < CANDIDATES; f++) {
            if (bd_format_size(candidates[f]) >= bd_format_size(format_of(choice)))
                continue;
            if (layer->cost[f].overflow > 0)
                printf(" %s: overflows", bd_format_name(candidates[f]));
            else
                printf(" %s: %.1e", bd_format_name(candidates[f]), layer->cost[f].error);
        }
        putchar('\n');
    }
}

bd_status auto_choose(bd_device *device, const bd_train_params *params, const auto_request *request, bool print,
                      progress *shown, bd_precision *policy, json_t **document, bd_error *error)
{
    chooser self = { .device = device, .params = params, .dataset = *params->dataset, .progress = shown };
    if (!self.dataset.tokens) /* a text needs its validation part */
        self.dataset.test.count = 0;
    limits unused;
    *document = NULL;
    bd_status status = request->budget ? parse_budget(request->budget, &unused, error) : BD_OK;
    if (!status)
        status = calibrate(&self, error);
    if (!status && request->budget)
        status = fit(&self, request->budget, request->max_error, error);
    else if (!status)
        choose(&self, request->max_error);
    if (!status) {
        *document = policy_document(&self);
        status = parse_document(*document, policy, error);
    }
    if (!status)
        json_object_set_new(*document, "note", note(&self));
    if (!status && print)
        tell(&self);
    free(self.layers);
    free(self.choice);
    return status;
}
