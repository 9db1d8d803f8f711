/* binade train: one model, one data set, one precision, one device. */
#include "app.h"
#include "auto.h"
#include "data.h"
#include "describe.h"
#include "json.h"
#include "limited.h"
#include "list_models.h"
#include "metrics.h"
#include "models/models.h"
#include "policy.h"
#include "progress.h"
#include "tensorboard.h"
#include "training.h"
#include "warnings.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct session {
    training_options options;
    const char *checkpoint, *resume, *limit;
    bool dry_run, profile, lists_models, wants_board;
    model model;
    bd_dataset *dataset;
    bd_device *device;
    char *output_path, *checkpoint_path; /* owned */
    bd_train_params params;
    metrics record;
    tensorboard board;
    progress progress;
    warnings warnings;
    json_t *told; /* of the event that goes on */
    auto_request automatic;
    int64_t saved_step;      /* in the checkpoint; -1: this run saved none */
    bd_status record_status; /* of the first failed write of the record */
    bd_error record_error;
} session;

static void print_json(const json_t *object)
{
    json_dumpf(object, stdout, JSON_STYLE);
    putchar('\n');
    fflush(stdout);
}

/* What a run is, at the head of its record. */
static void add_identity(json_t *object, const session *self)
{
    json_object_set_new(object, "model", json_text(self->model.name));
    json_object_set_new(object, "precision", json_text(self->params.precision.name));
    json_object_set_new(object, "data", json_text(self->dataset->name));
}

static void tell_warning(void *user, const char *text)
{
    session *self = user;
    json_array_append_new(self->told, json_text(text));
    progress_say(&self->progress, "warning: %s", text);
}

static void on_event(void *user, const bd_train_event *event)
{
    session *self = user;
    progress_event(&self->progress, event);
    if (event->kind == BD_TRAIN_EPOCH && event->checkpoint)
        self->saved_step = event->step;
    json_t *json = event_json(event);
    if (event->kind == BD_TRAIN_MEASURED) {
        self->told = json_array();
        warnings_check(&self->warnings, event, &self->params.precision, tell_warning, self);
        json_object_set_new(json, "warnings", self->told);
    }
    if (event->kind == BD_TRAIN_START) {
        add_identity(json, self);
        json_object_set_new(json, "seed", json_integer(self->options.seed));
        json_object_set_new(json, "options", training_json(&self->options));
        json_object_set_new(json, "device", json_device(bd_device_get_info(self->device)));
    }
    if (self->options.json)
        print_json(json);
    if (!self->record_status)
        self->record_status = metrics_write(&self->record, event, json, &self->record_error);
    if (!self->record_status)
        self->record_status = tensorboard_write(&self->board, event, &self->record_error);
    json_decref(json);
}

static void on_tune(void *user, int done, int total)
{
    session *self = user;
    progress_tune(&self->progress, done, total);
}

static void on_compile(void *user, int done, int total)
{
    session *self = user;
    progress_compile(&self->progress, done, total);
}

/* A record that cannot be written any more ends the run as Ctrl-C does: with what was learnt saved, if the disk lets
 * it. */
static bool should_stop(void *user)
{
    const session *self = user;
    return app_interrupted() || self->record_status;
}

static void print_line(void *user, const char *line)
{
    (void)user;
    puts(line);
}

/* For the device that was named, else for none in particular. */
static bd_status plan(session *self, bd_error *error)
{
    bd_trainer *trainer = NULL;
    bd_train_event event = { 0 };
    bd_status status = bd_trainer_create(self->device, &self->params, &trainer, error);
    if (!status)
        status = bd_trainer_plan(trainer, &event, self->options.json ? NULL : print_line, NULL, error);
    bd_trainer_destroy(&trainer);
    if (status || !self->options.json)
        return status;
    json_t *json = json_pack("{s:i, s:s?}", "format_version", APP_FORMAT_VERSION, "device",
                             self->device ? bd_device_get_info(self->device)->id : NULL);
    add_identity(json, self);
    event_add_plan(json, &event);
    print_json(json);
    json_decref(json);
    return BD_OK;
}

static int by_time(const void *a, const void *b)
{
    const double x = ((const bd_kernel_time *)a)->microseconds, y = ((const bd_kernel_time *)b)->microseconds;
    return (x < y) - (x > y);
}

/* Where a step's time goes: the kernels, the slowest first. */
static bd_status profile(session *self, bd_error *error)
{
    bd_trainer *trainer = NULL;
    bd_kernel_time *kernels = NULL;
    size_t count = 0;
    bd_status status = bd_trainer_create(self->device, &self->params, &trainer, error);
    if (!status)
        status = bd_trainer_profile(trainer, &kernels, &count, error);
    progress_clear(&self->progress);
    double total = 0;
    for (size_t i = 0; i < count; i++)
        total += kernels[i].microseconds;
    if (count)
        qsort(kernels, count, sizeof *kernels, by_time);
    if (!status && self->options.json) {
        json_t *list = json_array();
        for (size_t i = 0; i < count; i++)
            json_array_append_new(list, json_pack("{s:s, s:f, s:I, s:I}", "name", kernels[i].name, "microseconds",
                                                  kernels[i].microseconds, "flops", (json_int_t)kernels[i].flops,
                                                  "bytes", (json_int_t)kernels[i].bytes));
        json_t *json = json_pack("{s:i, s:s, s:f, s:o}", "format_version", APP_FORMAT_VERSION, "device",
                                 bd_device_get_info(self->device)->id, "microseconds", total, "kernels", list);
        add_identity(json, self);
        print_json(json);
        json_decref(json);
    } else if (!status) {
        printf("%zu kernels, %.1f us of the device in a step\n\n%9s %6s %9s %9s  %s\n", count, total, "us", "share",
               "GFLOP/s", "GB/s", "kernel");
        for (size_t i = 0; i < count; i++) {
            const double us = kernels[i].microseconds > 0 ? kernels[i].microseconds : NAN;
            printf("%9.1f %5.1f%% %9.0f %9.1f  %s\n", kernels[i].microseconds, 100 * kernels[i].microseconds / total,
                   (double)kernels[i].flops / us * 1e-3, (double)kernels[i].bytes / us * 1e-3, kernels[i].name);
        }
    }
    free(kernels);
    bd_trainer_destroy(&trainer);
    return status;
}

static void print_result(const bd_train_event *e, const char *quirks)
{
    char speed[64], planned[32], peak[32], dataset[32], time[32];
    const bool is_text = isfinite(e->tokens_per_second);
    printf("test accuracy  %.2f%%%s\n", e->test_accuracy * 100, is_text ? " of the next tokens" : "");
    printf("test loss      %.4f%s\n", e->test_loss, is_text ? " nats a token, on the validation part" : "");
    printf("time           %s, %s, %.2f ms a step of %lld dispatches\n", app_duration(time, e->seconds),
           progress_speed(speed, e, "images"), e->step_ms, (long long)e->dispatches_per_step);
    uint64_t data = e->dataset_bytes, training = e->peak_device_bytes > data ? e->peak_device_bytes - data : 0;
    printf("device memory  %s planned, %s at the peak, and %s of data\n", app_bytes(planned, e->planned_device_bytes),
           app_bytes(peak, training), app_bytes(dataset, data));
    printf("overflows      %lld\n", (long long)e->overflows);
    if (quirks[0]) {
        fputs("quirks         ", stdout);
        app_print_text(stdout, quirks);
        putchar('\n');
    }
    if (e->checkpoint) {
        fputs("checkpoint     ", stdout);
        app_print_text(stdout, e->checkpoint);
        putchar('\n');
    }
}

/* What is left of a run whose device is gone. */
static bd_status tell_loss(const session *self, bd_error *error)
{
    const bd_error told = *error;
    if (self->saved_step >= 0)
        return bd_fail(error, BD_ERROR_LOST, "%.500s; go on from step %lld with --resume %s", told.message,
                       (long long)self->saved_step, self->checkpoint_path);
    if (self->resume)
        return bd_fail(error, BD_ERROR_LOST, "%.500s; go on with --resume %s again", told.message, self->resume);
    return bd_fail(error, BD_ERROR_LOST, "%.500s; no epoch was saved before that: start again", told.message);
}

/* Formats that no kernel computes in: values are rounded to them. */
static void print_simulated(const bd_precision *precision)
{
    bool named[BD_FORMAT_END] = { [BD_F32] = true, [BD_F16] = true };
    int count = 0;
    for (int role = 0; role < BD_ROLE_FIXED; role++)
        for (size_t i = 0; i <= precision->override_count; i++) {
            const bd_precision_override *override = i ? &precision->overrides[i - 1] : NULL;
            const bd_format format = override ? override->format[role] : precision->format[role];
            if (named[format] || (override && !override->set[role]))
                continue;
            named[format] = true;
            printf("%s%s", count++ ? ", " : "simulated      ", bd_format_name(format));
        }
    if (count)
        printf(": computed on in FP32, then rounded\n");
}

static bd_status train(session *self, bd_error *error)
{
    bd_trainer *trainer = NULL;
    bd_train_event result = { 0 };
    bd_status status = bd_trainer_create(self->device, &self->params, &trainer, error);
    /* Only now: a run that cannot start leaves the record of the one before it. */
    if (!status)
        status = metrics_open(&self->record, self->output_path, self->resume != NULL, error);
    if (!status && self->wants_board)
        status = tensorboard_open(&self->board, self->output_path, error);
    if (!status)
        status = bd_trainer_run(trainer, &result, error);
    progress_clear(&self->progress);
    /* The result's texts live as long as the trainer. */
    const char *limit = bd_device_get_info(self->device)->limit;
    if (!status && !self->options.json && limit[0])
        printf("limited to     %s\n", limit);
    if (!status && !self->options.json)
        print_simulated(&self->params.precision);
    if (!status && !self->options.json && self->params.precision.unit_sums) {
        char sums[160];
        describe_unit_sums(bd_device_get_info(self->device), sums, sizeof sums);
        printf("sums=unit      %s\n", sums);
    }
    if (!status && !self->options.json)
        print_result(&result, bd_device_get_info(self->device)->quirks);
    bd_trainer_destroy(&trainer);
    if (self->record_status) {
        *error = self->record_error;
        return self->record_status;
    }
    if (status == BD_ERROR_INTERRUPTED)
        return bd_fail(error, status, "interrupted; go on with --resume %s", self->checkpoint_path);
    return status == BD_ERROR_LOST ? tell_loss(self, error) : status;
}

/* runs/mlp-784-512-512-10-fp32-opencl-0 */
static char *default_output(const session *self)
{
    char *path = app_format("runs/%s-%s-%s", self->model.name, self->params.precision.name,
                            bd_device_get_info(self->device)->id);
    for (char *c = path ? path + strlen("runs/") : NULL; c && *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("._-", *c))
            *c = '-';
    return path;
}

static bd_status make_output(session *self, bd_error *error)
{
    self->output_path = self->options.output ? strdup(self->options.output) : default_output(self);
    if (!self->output_path)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for the output's path");
    self->checkpoint_path =
        self->checkpoint ? strdup(self->checkpoint) : app_format("%s/checkpoint.safetensors", self->output_path);
    if (!self->checkpoint_path)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for the checkpoint's path");
    return app_make_folders(self->output_path, error);
}

static void write_json(FILE *file, const void *document)
{
    json_dumpf(document, file, JSON_STYLE | JSON_INDENT(1));
    putc('\n', file);
}

/* --precision auto: the policy, and DIR/policy.json. */
static bd_status choose_precision(session *self, bd_error *error)
{
    json_t *document = NULL;
    char *path = app_format("%s/policy.json", self->output_path);
    bd_status status = path ? auto_choose(self->device, &self->params, &self->automatic, !self->options.json,
                                          &self->progress, &self->params.precision, &document, error)
                            : bd_fail(error, BD_ERROR_MEMORY, "no memory for the policy's path");
    if (!status)
        status = app_replace_file(path, write_json, document, error);
    if (!status && !self->options.json)
        printf("policy         %s: the same again with --precision @%s\n", self->params.precision.name, path);
    json_decref(document);
    free(path);
    return status;
}

static bd_status run(session *self, bd_error *error)
{
    bd_status status = model_parse(self->options.model, &self->model, error);
    const bool automatic = !strcmp(self->options.precision, "auto");
    if (!status && automatic && (self->dry_run || self->profile || self->resume))
        status = bd_fail(
            error, BD_ERROR_ARGUMENT,
            "--precision auto trains: with --dry-run, --profile and --resume give the policy file that it wrote, "
            "--precision @DIR/policy.json");
    if (!status && self->resume && (self->dry_run || self->profile))
        status = bd_fail(error, BD_ERROR_ARGUMENT, "--resume goes on training, which %s does not: leave one out",
                         self->dry_run ? "--dry-run" : "--profile");
    if (!status)
        status = policy_parse(automatic ? "fp32" : self->options.precision, &self->params.precision, error);
    if (!status && (!self->dry_run || self->options.device))
        status = limited_open_first(&self->progress, self->options.device, self->limit, &self->device, error);
    if (!status && self->device && bd_device_get_info(self->device)->quirks[0])
        progress_say(&self->progress, "quirks of %s in force: %s", bd_device_get_info(self->device)->id,
                     bd_device_get_info(self->device)->quirks);
    if (!status && self->limit && !self->device)
        status = bd_fail(error, BD_ERROR_ARGUMENT, "--limit needs --device here: it is a device that it limits");
    if (!status)
        status = data_open(&self->progress, self->options.data, training_tokens(&self->options), &self->dataset, error);
    if (!status)
        status = model_fit(&self->model, self->dataset, error);
    if (status)
        return status;
    self->params.model = self->model.function;
    self->params.model_user = &self->model;
    self->params.model_name = self->model.name;
    self->params.dataset = self->dataset;
    self->params.context = self->model.gpt.context;
    if (self->dry_run)
        return plan(self, error);
    self->params.on_tune = on_tune;
    self->params.on_compile = on_compile;
    self->params.user = self;
    if (self->profile)
        return profile(self, error);

    status = make_output(self, error);
    if (status)
        return status;
    self->params.checkpoint = self->checkpoint_path;
    self->params.resume = self->resume;
    self->params.on_event = on_event;
    self->params.should_stop = should_stop;
    app_catch_interrupt();
    status = automatic ? choose_precision(self, error) : BD_OK;
    return status ? status : train(self, error);
}

static void finish(session *self)
{
    metrics_close(&self->record);
    tensorboard_close(&self->board);
    bd_device_close(&self->device);
    bd_dataset_close(&self->dataset);
    free(self->output_path);
    free(self->checkpoint_path);
}

static const char examples[] =
    "  binade train                                  the MLP on Fashion-MNIST in FP32, on the first device\n"
    "  binade train --model lenet --precision mixed --device vulkan:0\n"
    "  binade train --model mlp:784-300-100-10 --optimizer adamw --warmup 500 --epochs 20\n"
    "  binade train --precision 'fp16,acc=f16;linear3:w=f32'   FP16 sums too, but the last layer's weights in FP32\n"
    "  binade train --output runs/a                  Ctrl-C saves; then go on with\n"
    "  binade train --output runs/a --resume runs/a/checkpoint.safetensors\n"
    "  binade train --precision auto --budget 2G     each layer in the cheapest format that its own numbers allow\n"
    "  binade train --model gpt-nano --data FILE.txt  a language model of the file's characters; then binade sample\n"
    "  binade train --dry-run --precision fp16       what a step will be, without a device\n"
    "\n" MODEL_HELP "\n" PRECISION_HELP;

int command_train(int argc, char **argv)
{
    enum { OWN_ROWS = 16 };
    session self = { .saved_step = -1, .automatic = { AUTO_MAX_ERROR, NULL } };
    training_options *o = &self.options;
    option_row rows[OWN_ROWS + TRAINING_ROWS] = {
        OPTION("model", TEXT, &o->model, "MODEL",
               "mlp, mlp:WIDTHS, lenet, resnet20, gpt-nano, ...: see --list-models (mlp)"),
        OPTION("data", TEXT, &o->data, "DATA", DATA_HELP),
        OPTION("precision", TEXT, &o->precision, "POLICY",
               "fp32, fp16, bf16, mixed, fp8 and others, role by role, or auto: see below (fp32)"),
        OPTION_IN("max-error", NUMBER, &self.automatic.max_error, "X", 0, 1,
                  "--precision auto: what rounding may change in a layer's products, as a share of what they could be "
                  "(1e-3)"),
        OPTION("budget", TEXT, &self.automatic.budget, "SIZE|TIME",
               "--precision auto: device memory, 300M, or a step, 5ms, that the run must fit"),
        OPTION("device", TEXT, &o->device, "DEVICE",
               "id, backend or part of a name, as `binade devices` tells them (the first)"),
        LIMIT_ROW(&self.limit),
        OPTION("output", TEXT, &o->output, "DIR", "folder of the run (runs/MODEL-PRECISION-DEVICE)"),
        OPTION("checkpoint", TEXT, &self.checkpoint, "FILE", "where to save (DIR/checkpoint.safetensors)"),
        OPTION("resume", TEXT, &self.resume, "FILE", "go on from this checkpoint, with the same options"),
        OPTION("tensorboard", FLAG, &self.wants_board, NULL, "write an event file for TensorBoard into DIR too"),
        OPTION("dry-run", FLAG, &self.dry_run, NULL, "print what a step will be and what it needs; train nothing"),
        OPTION("profile", FLAG, &self.profile, NULL, "print the time of each kernel of a step; train no further"),
        OPTION("list-models", FLAG, &self.lists_models, NULL,
               "print the models: parameters, FLOPs, memory; train nothing"),
        OPTION("json", FLAG, &o->json, NULL, "print one JSON object a line: start, progress, epoch, done"),
        OPTION("quiet", FLAG, &o->quiet, NULL, "no progress, only the result"),
    };
    training_options_init(o, rows + OWN_ROWS);
    option_table table = {
        .command = "train",
        "[OPTION]...",
        "Trains a model on a device in a precision, and saves it after every epoch.",
        examples,
        rows,
        OWN_ROWS + TRAINING_ROWS,
        "0 done, 1 failed, 2 wrong usage, 3 the device was lost, 130 interrupted (after saving).\n"
    };
    bool help = false;
    bd_error error = { 0 };
    bd_status status = options_parse(&table, argc, argv, &help, &error);
    if (!status && !help)
        status = training_options_check(o, &table, &error);
    if (!status && !help && strcmp(o->precision, "auto") != 0 &&
        (options_given(&table, "max-error") || options_given(&table, "budget")))
        status = bd_fail(&error, BD_ERROR_ARGUMENT, "--max-error and --budget are for --precision auto");
    if (!status && !help && self.lists_models) {
        status = list_models(o->json, &error);
    } else if (!status && !help) {
        training_params(o, &self.params);
        progress_init(&self.progress, "", o->quiet);
        status = run(&self, &error);
    }
    finish(&self);
    options_finish(&table);
    return status ? app_report(status, &error) : APP_DONE;
}
