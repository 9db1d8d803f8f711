/* binade compare: every combination of models, devices, precisions and seeds, side by side. */
#include "compare.h"
#include "app.h"
#include "assess.h"
#include "compare_files.h"
#include "corrupt.h"
#include "data.h"
#include "describe.h"
#include "federated.h"
#include "json.h"
#include "limited.h"
#include "lists.h"
#include "models/models.h"
#include "policy.h"
#include "progress.h"
#include "report.h"
#include "results.h"
#include "training.h"
#include "warnings.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct session {
    training_options options;
    const char *limit, *ood_name, *wire_names;
    float sharpness;
    int64_t seeds;
    bool resume;
    federation federation; /* no clients: there is none */
    model *models;
    bd_precision *precisions; /* precision_count of them */
    size_t precision_count;
    wire *wires; /* of a federation; as many as results.precisions */
    comparison results;
    bd_dataset *dataset;
    ood_set ood;
    bd_device *device; /* the one that runs now, or NULL */
    char *command;
    compare_files files;
    struct timespec begun;
    /* of the run that goes on */
    run_result *run;
    const bd_precision *precision;
    warnings warnings;
    bd_trainer *trainer;
    bd_status save_status; /* of the first file that could not be written */
    bd_error save_error;
    progress progress;
    char label[256];
    int64_t done; /* runs of this program, */
    double began; /* and what was spent when they began */
} session;

/* ---- lists ---- */

static bd_status add_model(void *user, const char *item, bd_error *error)
{
    session *self = user;
    bd_status status = list_grow((void **)&self->models, self->results.model_count, sizeof(model), error);
    return status ? status : model_parse(item, &self->models[self->results.model_count++], error);
}

static bd_status add_precision(void *user, const char *item, bd_error *error)
{
    session *self = user;
    size_t count = self->precision_count;
    bd_status status = list_grow((void **)&self->precisions, count, sizeof(bd_precision), error);
    if (!status)
        status = policy_parse(item, &self->precisions[count], error);
    if (!status)
        self->precision_count++;
    return status;
}

static bd_status add_wire(void *user, const char *item, bd_error *error)
{
    session *self = user;
    size_t count = self->results.precision_count;
    bd_status status = list_grow((void **)&self->wires, count, sizeof(wire), error);
    if (!status)
        status = wire_parse(item, &self->wires[count], error);
    if (!status)
        self->results.precision_count++;
    return status;
}

static bd_status add_device(void *user, const char *item, bd_error *error)
{
    session *self = user;
    comparison *results = &self->results;
    return list_add_device(&results->devices, &results->device_count, item, self->limit, error);
}

/* The reference only where there is no other device. */
static bd_status add_all_devices(session *self, bd_error *error)
{
    bd_status status = list_add_all_devices(&self->results.devices, &self->results.device_count, self->limit, error);
    if (status || self->results.device_count)
        return status;
    progress_say(&self->progress, "no OpenCL or Vulkan device found: the reference trains, slowly; " APP_DRIVER_ADVICE);
    return add_device(self, "reference", error);
}

/* ---- runs ---- */

static void tell_time(session *self)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    self->results.seconds = self->results.seconds_before + (double)(now.tv_sec - self->begun.tv_sec) +
                            1e-9 * (double)(now.tv_nsec - self->begun.tv_nsec);
}

static bd_status write_results(session *self, bd_error *error)
{
    tell_time(self);
    return app_replace_file(self->files.results, comparison_write_json, &self->results, error);
}

static bd_status write_files(session *self, bd_error *error)
{
    bd_status status = write_results(self, error);
    return status ? status : app_replace_file(self->files.report, report_write, &self->results, error);
}

/* The history first: a checkpoint is never ahead of it, whenever this is killed. */
static bd_status save_progress(session *self, bd_error *error)
{
    bd_status status = write_results(self, error);
    return status ? status : bd_trainer_save(self->trainer, self->files.checkpoint, error);
}

static void tell_warning(void *user, const char *text)
{
    session *self = user;
    progress_say(&self->progress, "warning: %s", text);
}

static void on_event(void *user, const bd_train_event *event)
{
    session *self = user;
    run_record(self->run, event);
    if (event->kind == BD_TRAIN_START && self->precision->unit_sums) {
        char sums[160];
        describe_unit_sums(bd_device_get_info(self->device), sums, sizeof sums);
        progress_say(&self->progress, "%s: sums=unit: %s", self->precision->name, sums);
    }
    if (event->kind == BD_TRAIN_MEASURED)
        warnings_check(&self->warnings, event, self->precision, tell_warning, self);
    if (event->kind == BD_TRAIN_EPOCH && !self->save_status)
        self->save_status = save_progress(self, &self->save_error);
    progress_event(&self->progress, event); /* an epoch that is shown is saved */
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

static bool should_stop(void *user)
{
    const session *self = user;
    return app_interrupted() || self->save_status;
}

static bd_status train_one(session *self, const combination *row, bd_error *error)
{
    if (app_interrupted())
        return bd_fail(error, BD_ERROR_INTERRUPTED, "interrupted");
    const comparison *results = &self->results;
    const size_t index = (size_t)(row - results->rows), column = index % results->precision_count;
    const federation *together = results->federation;
    const model *chosen = &self->models[index / results->precision_count / results->device_count];
    self->precision = &self->precisions[together ? 0 : column];
    self->warnings = (warnings){ 0 };
    bd_train_params params;
    training_params(&self->options, &params);
    params.model = chosen->function;
    params.model_user = chosen;
    params.model_name = chosen->name;
    params.dataset = self->dataset;
    params.context = chosen->gpt.context;
    params.precision = *self->precision;
    params.seed = (uint64_t)self->run->seed;
    params.on_event = on_event;
    params.on_tune = on_tune;
    params.on_compile = on_compile;
    params.should_stop = should_stop;
    params.user = self;
    bd_status status = compare_files_choose(&self->files, results, row, self->run, error);
    if (!status && together)
        status = federation_prepare(&self->federation, &params, error);
    const int64_t steps_per_epoch = bd_dataset_train_examples(self->dataset, params.context) / params.batch;
    if (!status && !together && compare_files_can_resume(&self->files, self->run, steps_per_epoch))
        params.resume = self->files.checkpoint;
    else if (!status)
        compare_files_forget(&self->files, results, row, false); /* of an earlier comparison, perhaps */
    if (!status && !self->device)
        status = limited_open(row->device->id, self->limit, &self->device, error);
    if (!status)
        status = bd_trainer_create(self->device, &params, &self->trainer, error);
    self->run->state = RUN_GOING;
    if (!status)
        status = together ? federation_run(together, &self->wires[column], self->trainer, &self->run->sent, NULL, error)
                          : bd_trainer_run(self->trainer, NULL, error);
    if (!status && self->sharpness > 0)
        status = assess_sharpness(self->trainer, (double)self->sharpness, self->run, error);
    if (!status && self->dataset->tokens) { /* that is all there is of a text */
        self->run->measures[MEASURE_ACCURACY] = self->run->last.test_accuracy;
        self->run->measures[MEASURE_NLL] = self->run->last.test_loss;
    } else if (!status) {
        status = assess(self->trainer, self->dataset, &self->ood,
                        &(assess_base){ together ? NULL : self->files.weights, self->files.logits,
                                        comparison_base(results, row) == row },
                        self->run, error);
    }
    bd_trainer_destroy(&self->trainer);
    return status;
}

/* "[3/20] mlp opencl:0 fp16", and on a terminal, once a run has told, about how long the rest will take. */
static void name_run(session *self, const combination *row, int64_t number)
{
    const int64_t total = (int64_t)self->results.row_count * self->results.seeds;
    char rest[64] = "", duration[32];
    tell_time(self);
    if (!self->done)
        self->began = self->results.seconds;
    else if (self->progress.terminal)
        snprintf(rest, sizeof rest, ", about %s left",
                 app_duration(duration, (self->results.seconds - self->began) / (double)self->done *
                                            (double)(total - number + 1)));
    snprintf(self->label, sizeof self->label, "[%lld/%lld%s] %s %s %s", (long long)number, (long long)total, rest,
             row->model, row->device->id, row->precision);
}

/* One run, and the files brought up to date. Fails only when nothing more can be done; a run's own failure is a
 * result. */
static bd_status run_one(session *self, combination *row, int64_t number, bd_error *error)
{
    comparison *results = &self->results;
    name_run(self, row, number);
    bd_error reason = { 0 };
    bd_status status = train_one(self, row, &reason);
    progress_clear(&self->progress);
    if (self->save_status) {
        *error = self->save_error;
        return self->save_status;
    }
    self->run->state = !status ? RUN_DONE : status == BD_ERROR_INTERRUPTED ? RUN_INTERRUPTED : RUN_FAILED;
    if (self->run->state == RUN_FAILED) {
        snprintf(self->run->reason, sizeof(self->run->reason), "%s", reason.message);
        progress_say(&self->progress, "failed: %s", reason.message);
        bd_device_close(&self->device); /* what failed may have lost the device: the next run opens it again */
    }
    bd_status written = run_round(self->run, results->epochs, error);
    if (!written)
        written = write_files(self, error);
    if (written)
        return written;
    if (self->run->state == RUN_INTERRUPTED)
        return bd_fail(error, BD_ERROR_INTERRUPTED, "interrupted; what was done is in %s; go on with --resume",
                       self->files.results);
    self->done++;
    if (self->run->state == RUN_DONE) /* what failed may have lost its device, and can go on elsewhen */
        compare_files_forget(&self->files, results, row, true);
    return BD_OK;
}

static bd_status run_row(session *self, combination *row, int64_t *number, bool *all_done, bd_error *error)
{
    bd_status status = BD_OK;
    for (int64_t s = 0; !status && s < self->results.seeds; s++) {
        self->run = &row->runs[s];
        ++*number;
        if (self->run->state != RUN_DONE) /* by an earlier comparison */
            status = run_one(self, row, *number, error);
        *all_done &= self->run->state == RUN_DONE;
    }
    return status;
}

/* Of a model on a device, fp32 first: the others are compared with it when they are done. */
static bd_status run_all(session *self, bool *all_done, bd_error *error)
{
    comparison *results = &self->results;
    bd_status status = BD_OK;
    int64_t number = 0;
    *all_done = true;
    for (size_t first = 0; !status && first < results->row_count; first += results->precision_count) {
        const combination *base = comparison_base(results, &results->rows[first]);
        if (base)
            status = run_row(self, &results->rows[base - results->rows], &number, all_done, error);
        for (size_t i = first; !status && i < first + results->precision_count; i++)
            if (&results->rows[i] != base)
                status = run_row(self, &results->rows[i], &number, all_done, error);
        /* The next row may be on another device, and a device's memory is better free while it waits. */
        bd_device_close(&self->device);
    }
    if (status)
        return status;
    if (*all_done)
        compare_files_clean(&self->files, results);
    results->finished = true;
    return write_files(self, error);
}

/* ---- the command ---- */

/* How long the runs are, in epochs. Of windows of different lengths an epoch has different numbers. */
static void measure_length(session *self)
{
    const training_options *o = &self->options;
    comparison *results = &self->results;
    for (size_t i = 0; i < results->model_count; i++) {
        const int64_t steps = bd_dataset_train_examples(self->dataset, self->models[i].gpt.context) / o->batch;
        const double limit = (double)o->max_steps / (double)(steps ? steps : 1);
        const double length = o->max_steps && (!o->epochs || limit < (double)o->epochs) ? limit : (double)o->epochs;
        results->length = fmax(results->length, length);
        results->epochs = (int64_t)ceil(results->length);
    }
}

/* What a federation has in place of the options of single runs. */
static bd_status describe_federation(session *self, bd_error *error)
{
    comparison *results = &self->results;
    federation *f = &self->federation;
    bd_train_params params;
    training_params(&self->options, &params);
    params.dataset = self->dataset;
    params.precision = self->precisions[0];
    bd_status status = federation_prepare(f, &params, error);
    if (status)
        return status;
    results->federation = f;
    results->epochs = f->rounds;
    results->length = (double)f->rounds;
    json_object_del(results->options, "epochs");
    json_object_del(results->options, "max_steps");
    json_object_set_new(results->options, "precision", json_text(params.precision.name));
    json_object_set_new(results->options, "clients", json_integer(f->clients));
    json_object_set_new(results->options, "rounds", json_integer(f->rounds));
    json_object_set_new(results->options, "local_steps", json_integer(f->local_steps));
    json_object_set_new(results->options, "alpha", f->alpha > 0 ? json_float(f->alpha) : json_null());
    size_t length = strlen(results->description);
    length += (size_t)snprintf(results->description + length, sizeof results->description - length,
                               "; %lld clients in %.40s, %lld steps a round", (long long)f->clients,
                               params.precision.name, (long long)f->local_steps);
    if (f->alpha > 0 && length < sizeof results->description)
        snprintf(results->description + length, sizeof results->description - length, ", alpha %g", (double)f->alpha);
    self->progress.epoch = "round";
    return BD_OK;
}

static bd_status gather(session *self, bd_error *error)
{
    const training_options *o = &self->options;
    comparison *results = &self->results;
    bd_status status = list_each("model", o->model, false, self, add_model, error);
    if (!status)
        status = list_each("precision", o->precision, true, self, add_precision, error);
    if (!status && self->federation.clients && self->precision_count > 1)
        status = bd_fail(error, BD_ERROR_ARGUMENT,
                         "--precision %s: --federated compares wire formats, in one precision", o->precision);
    if (!status && self->federation.clients)
        status = list_each("wire", self->wire_names, false, self, add_wire, error);
    else
        results->precision_count = self->precision_count;
    if (!status && !strcmp(o->device, "all"))
        status = add_all_devices(self, error);
    else if (!status)
        status = list_each("device", o->device, false, self, add_device, error);
    if (!status)
        status = data_open(&self->progress, o->data, training_tokens(o), &self->dataset, error);
    for (size_t i = 0; !status && i < results->model_count; i++)
        status = model_fit(&self->models[i], self->dataset, error);
    if (!status && !self->dataset->tokens)
        status = ood_open(&self->ood, &self->progress, self->ood_name, self->dataset, error);
    if (status)
        return status;

    if (!results->model_count || !results->precision_count)
        return bd_fail(error, BD_ERROR_ARGUMENT, "a model and a precision are needed");
    results->models = calloc(results->model_count, sizeof(*results->models));
    results->precisions = calloc(results->precision_count, sizeof(*results->precisions));
    results->options = training_json(o);
    if (!results->models || !results->precisions || !results->options)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for the lists");
    for (size_t i = 0; i < results->model_count; i++)
        results->models[i] = self->models[i].name;
    for (size_t i = 0; i < results->precision_count; i++)
        results->precisions[i] = self->federation.clients ? self->wires[i].name : self->precisions[i].name;
    training_describe(o, results->description, sizeof(results->description));
    results->dataset = self->dataset;
    results->command = self->command;
    results->ood = self->ood.name;
    results->sharpness = self->sharpness;
    measure_length(self);
    if (self->federation.clients && (status = describe_federation(self, error)))
        return status;
    results->seeds = self->seeds;
    time_t now = time(NULL);
    struct tm parts;
    if (gmtime_r(&now, &parts))
        strftime(results->started, sizeof(results->started), "%Y-%m-%dT%H:%M:%SZ", &parts);
    clock_gettime(CLOCK_MONOTONIC, &self->begun);
    return comparison_init(results, o->seed, error);
}

/* Where there are no results yet, the comparison begins. */
static bd_status resume(session *self, bd_error *error)
{
    if (!access(self->files.results, F_OK))
        return comparison_resume(&self->results, self->files.results, error);
    if (errno != ENOENT)
        return bd_fail(error, BD_ERROR_FILE, "%s: cannot be read: %s", self->files.results, strerror(errno));
    progress_say(&self->progress, "%s: nothing to go on from yet", self->files.results);
    return BD_OK;
}

/* Ends with `end` in place of the table, where there is one. */
static bd_status run(session *self, compare_end end, void *user, bool *all_done, bd_error *error)
{
    bd_status status = gather(self, error);
    if (!status)
        status = compare_files_open(&self->files, self->options.output, error);
    if (!status && self->resume)
        status = resume(self, error);
    if (status)
        return status;
    app_catch_interrupt();
    status = write_files(self, error); /* a folder that cannot be written is found before the training */
    if (status)
        return status;
    status = run_all(self, all_done, error);
    if (end) {
        if (!status)
            end(user, &self->results);
    } else if (self->options.json) {
        comparison_write_json(stdout, &self->results);
    } else {
        comparison_print(stdout, &self->results);
        printf("\nreport: %s\n", self->files.report);
    }
    return status;
}

static void finish(session *self)
{
    comparison_finish(&self->results);
    json_decref(self->results.options);
    free(self->results.models);
    free(self->results.precisions);
    free(self->results.devices);
    bd_device_close(&self->device);
    bd_dataset_close(&self->dataset);
    free(self->models);
    free(self->precisions);
    free(self->wires);
    free(self->command);
    ood_close(&self->ood);
    compare_files_close(&self->files);
}

/* The command line again, with quotes where a shell needs them. */
static char *command_line(int argc, char **argv)
{
    char *text = NULL;
    size_t size;
    FILE *file = open_memstream(&text, &size);
    if (!file)
        return NULL;
    fputs("binade", file);
    for (int i = 0; i < argc; i++) {
        bool plain = argv[i][0] && !argv[i][strspn(argv[i], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                                            "0123456789-_=+,./:@%")];
        fputs(plain ? " " : " '", file);
        for (const char *c = argv[i]; *c; c++) {
            if (*c == '\'')
                fputs("'\\''", file);
            else
                putc(*c, file);
        }
        if (!plain)
            putc('\'', file);
    }
    if (fclose(file)) {
        free(text);
        return NULL;
    }
    return text;
}

static const char examples[] =
    "  binade compare                                   the MLP in fp32, fp16 and mixed, on every device\n"
    "  binade compare --model mlp,lenet --epochs 5 --seeds 3 --output report\n"
    "  binade compare --precision fp32,fp16,fp16-strict,mixed,scale=1024 --device vulkan:0\n"
    "  binade compare --federated 10 --seeds 3          ten clients and a server, in FP32 and FP8 on the wire\n"
    "  binade compare --seeds 5 --output report --resume   after Ctrl-C or kill, with the same options\n"
    "\n"
    "In a list of precisions, settings such as scale=1024 belong to the precision before them.\n"
    "\n" MODEL_HELP "\n" PRECISION_HELP "\n" WIRE_HELP;

enum { DEFAULT_ROUNDS = 10 };

/* Options that make no sense without others, or beside them. */
static bd_status check_options(session *self, const option_table *table, bd_error *error)
{
    static const char *const federated[] = { "wire", "rounds", "local-steps", "alpha" }, *const single[] = {
        "epochs", "max-steps"
    };
    const bool is_federated = options_given(table, "federated");
    for (size_t i = 0; i < sizeof federated / sizeof *federated; i++)
        if (!is_federated && options_given(table, federated[i]))
            return bd_fail(error, BD_ERROR_ARGUMENT, "--%s needs --federated", federated[i]);
    for (size_t i = 0; i < sizeof single / sizeof *single; i++)
        if (is_federated && options_given(table, single[i]))
            return bd_fail(error, BD_ERROR_ARGUMENT, "--%s: with --federated, --rounds and --local-steps say how long",
                           single[i]);
    if (is_federated && options_given(table, "measure"))
        return bd_fail(error, BD_ERROR_ARGUMENT, "--measure: the steps of clients are not measured");
    if (is_federated && !options_given(table, "precision"))
        self->options.precision = "fp32";
    return training_options_check(&self->options, table, error);
}

bd_status compare(int argc, char **argv, compare_end end, void *user, bool *all_done, bd_error *error)
{
    enum { OWN_ROWS = 17 };
    session self = {
        .seeds = 1, .ood_name = "noise", .wire_names = "f32,f8e4m3:stochastic", .federation.rounds = DEFAULT_ROUNDS
    };
    training_options *o = &self.options;
    option_row rows[OWN_ROWS + TRAINING_ROWS] = {
        OPTION("model", TEXT, &o->model, "LIST", "models, joined by commas: see below (mlp)"),
        OPTION("data", TEXT, &o->data, "DATA", DATA_HELP),
        OPTION("precision", TEXT, &o->precision, "LIST", "precisions, joined by commas: see below (fp32,fp16,mixed)"),
        OPTION("device", TEXT, &o->device, "LIST",
               "devices as `binade devices` tells them, joined by commas; all: all but the reference (all)"),
        LIMIT_ROW(&self.limit),
        OPTION_IN("seeds", INTEGER, &self.seeds, "N", 1, MOST_SEEDS,
                  "runs of each combination, seeds counted from --seed (1)"),
        OPTION("ood", TEXT, &self.ood_name, "SET",
               "what is out of distribution: " CORRUPTION_HELP ", or another data set of the same shape (noise:3)"),
        OPTION_IN("federated", INTEGER, &self.federation.clients, "N", 1, MOST_CLIENTS,
                  "N clients, who share the training images, and a server in FP32 that averages what they learn"),
        OPTION("wire", TEXT, &self.wire_names, "LIST",
               "federated: what weights and updates are sent as, joined by commas: see below (f32,f8e4m3:stochastic)"),
        OPTION_IN("rounds", INTEGER, &self.federation.rounds, "N", 1, 1e6, "federated: of sending to and fro (10)"),
        OPTION_IN("local-steps", INTEGER, &self.federation.local_steps, "N", 0, 1e6,
                  "federated: steps of a client in a round (0: a pass over its images)"),
        OPTION_IN("alpha", NUMBER, &self.federation.alpha, "X", 0.01, 1e6,
                  "federated: classes are dealt out by a Dirichlet distribution; small: clients differ (all alike)"),
        OPTION_IN("sharpness", NUMBER, &self.sharpness, "EPSILON", 0, 1,
                  "how much the loss can rise in a box of EPSILON around the weights, and the logits; takes as long as "
                  "some steps (0: not measured)"),
        OPTION("output", TEXT, &o->output, "DIR", "folder of report.html and results.json (report)"),
        OPTION("resume", FLAG, &self.resume, NULL,
               "keep the runs that are done in DIR and go on, with the same options"),
        OPTION("json", FLAG, &o->json, NULL, "print results.json instead of the table"),
        OPTION("quiet", FLAG, &o->quiet, NULL, "no progress, only the table"),
    };
    training_options_init(o, rows + OWN_ROWS);
    o->precision = "fp32,fp16,mixed";
    o->device = "all";
    o->output = "report";
    option_table table = {
        .command = "compare",
        "[OPTION]...",
        "Trains every combination of models, devices, precisions and seeds, and writes a table and a "
        "report.",
        examples,
        rows,
        OWN_ROWS + TRAINING_ROWS,
        "0 done, 1 failed, or a combination did (its row says why), 2 wrong usage, 130 interrupted.\n"
    };
    bool help = false;
    *all_done = true;
    self.command = command_line(argc, argv);
    bd_status status = self.command ? options_parse(&table, argc, argv, &help, error)
                                    : bd_fail(error, BD_ERROR_MEMORY, "no memory for the command line");
    if (!status && !help)
        status = check_options(&self, &table, error);
    if (!status && !help) {
        progress_init(&self.progress, self.label, o->quiet);
        status = run(&self, end, user, all_done, error);
    }
    finish(&self);
    options_finish(&table);
    return status;
}

int command_compare(int argc, char **argv)
{
    bool all_done;
    bd_error error = { 0 };
    bd_status status = compare(argc, argv, NULL, NULL, &all_done, &error);
    if (status)
        return app_report(status, &error);
    return all_done ? APP_DONE : APP_FAILED;
}
