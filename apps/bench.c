/* binade bench: how fast a device is, what part of that the engine reaches, and whether the results are right. */
#include "bench.h"
#include "app.h"
#include "engine/atomic_file.h"
#include "limited.h"
#include "lists.h"
#include "options.h"
#include "policy.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TABLE, CSV, JSON, JSONL, MARKDOWN, SQL, HTML, FORMATS };

typedef struct command {
    bench bench;
    const char *device, *precision, *suite, *shape, *transpose, *model, *output, *compare, *limit;
    int format;
    bool json, quiet;
    json_t *earlier; /* of --compare */
} command;

/* ---- lists ---- */

static bd_status add_suite(void *user, const char *item, bd_error *error)
{
    command *self = user;
    bool *suites = self->bench.settings.suites;
    bool all = !strcmp(item, "all"), found = all;
    for (int i = 0; i < BENCH_SUITES; i++) {
        const bool named = all || !strcmp(item, bench_suite_names[i]);
        suites[i] |= named;
        found |= named;
    }
    return found
               ? BD_OK
               : bd_fail(error, BD_ERROR_ARGUMENT,
                         "--suite %s: no such suite; there are peak, bandwidth, launch, gemm, conv, reduce, attention, "
                         "train and all",
                         item);
}

static bd_status add_transpose(void *user, const char *item, bd_error *error)
{
    command *self = user;
    static const char *const names[] = { "nn", "nt", "tn", "tt" };
    for (int i = 0; i < 4; i++) {
        if (strcmp(item, names[i]) != 0)
            continue;
        self->bench.settings.transposes[i] = true;
        return BD_OK;
    }
    return bd_fail(error, BD_ERROR_ARGUMENT, "--transpose %s: one of nn, nt, tn and tt is needed", item);
}

static bd_status add_model(void *user, const char *item, bd_error *error)
{
    bench_settings *s = &((command *)user)->bench.settings;
    model added;
    bd_status status = model_parse(item, &added, error);
    if (!status)
        status = list_grow((void **)&s->models, s->model_count, sizeof *s->models, error);
    if (!status)
        s->models[s->model_count++] = added;
    return status;
}

static bd_status add_precision(void *user, const char *item, bd_error *error)
{
    bench_settings *s = &((command *)user)->bench.settings;
    bd_status status = list_grow((void **)&s->policies, s->policy_count, sizeof *s->policies, error);
    if (!status)
        status = policy_parse(item, &s->policies[s->policy_count], error);
    s->policy_count += !status;
    return status;
}

static bd_status add_device(void *user, const char *item, bd_error *error)
{
    command *self = user;
    return list_add_device(&self->bench.devices, &self->bench.device_count, item, self->limit, error);
}

static bd_status add_all_devices(command *self, bd_error *error)
{
    bd_status status = list_add_all_devices(&self->bench.devices, &self->bench.device_count, self->limit, error);
    if (status || self->bench.device_count)
        return status;
    return bd_fail(error, BD_ERROR_UNSUPPORTED,
                   "no OpenCL or Vulkan device found (binade devices); --device reference measures the interpreter");
}

/* ---- running ---- */

static bd_status (*const runners[BENCH_SUITES])(bench *self, bd_error *error) = {
    [BENCH_PEAK] = bench_peak,           [BENCH_BANDWIDTH] = bench_bandwidth, [BENCH_LAUNCH] = bench_launch,
    [BENCH_GEMM] = bench_gemm,           [BENCH_CONV] = bench_conv,           [BENCH_REDUCE] = bench_reduce,
    [BENCH_ATTENTION] = bench_attention, [BENCH_TRAIN] = bench_train,
};

static void wait_between(const bench *self)
{
    const double begun = bench_now();
    while (self->settings.delay_seconds > 0 && bench_now() - begun < self->settings.delay_seconds && !app_interrupted())
        nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
}

static bd_status run_all(bench *self, bd_error *error)
{
    bd_status status = BD_OK;
    for (size_t d = 0; d < self->device_count && !status && !app_interrupted(); d++) {
        self->device_index = d;
        status = limited_open(self->devices[d].id, self->devices[d].limit, &self->device, error);
        for (int s = 0; s < BENCH_SUITES && !status && !bench_stopped(self); s++) {
            if (!self->settings.suites[s])
                continue;
            status = runners[s](self, error);
            progress_clear(&self->progress);
        }
        bd_device_close(&self->device);
    }
    if (!status && app_interrupted())
        status = bd_fail(error, BD_ERROR_INTERRUPTED, "interrupted; what was measured is told");
    return status;
}

/* A row of JSON as soon as there is one, so that a long run can be watched or cut off. */
static void on_row(void *user, const bench_row *row)
{
    command *self = user;
    if (self->format == JSONL && !self->output && !self->earlier) {
        json_t *object = bench_row_json(&self->bench, row);
        json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
        putchar('\n');
        fflush(stdout);
        json_decref(object);
    }
    wait_between(&self->bench);
}

static bd_status write_result(command *self, bd_error *error)
{
    static void (*const writers[FORMATS])(FILE *, const void *) = {
        bench_write_table,    bench_write_csv, bench_write_json, bench_write_jsonl,
        bench_write_markdown, bench_write_sql, bench_write_html,
    };
    if (self->output)
        return app_replace_file(self->output, writers[self->format], &self->bench, error);
    if (self->format != JSONL || self->earlier)
        writers[self->format](stdout, &self->bench);
    return BD_OK;
}

static bd_status gather(command *self, bd_error *error)
{
    bench_settings *s = &self->bench.settings;
    bd_status status = list_each("suite", self->suite, false, self, add_suite, error);
    if (!status) {
        memcpy(s->asked, s->suites, sizeof s->asked);
        /* Shares need the peak, and the roofs of the picture also the bandwidth. */
        s->suites[BENCH_PEAK] |= s->suites[BENCH_GEMM] || s->suites[BENCH_CONV] || s->suites[BENCH_ATTENTION];
        s->suites[BENCH_PEAK] |= self->format == HTML;
        s->suites[BENCH_BANDWIDTH] |= self->format == HTML;
        status = list_each("precision", self->precision, true, self, add_precision, error);
    }
    if (!status)
        status = list_each("transpose", self->transpose, false, self, add_transpose, error);
    if (!status)
        status = list_each("model", self->model, false, self, add_model, error);
    if (!status && self->shape)
        status = bench_parse_shapes(self->shape, s, error);
    if (!status && self->compare)
        status = bench_compare_load(self->compare, &self->earlier, error);
    if (!status && !strcmp(self->device, "all"))
        status = add_all_devices(self, error);
    else if (!status)
        status = list_each("device", self->device, false, self, add_device, error);
    if (!status && self->output)
        status = bd_atomic_file_try(self->output, error); /* before the minutes that it takes */
    const time_t now = time(NULL);
    struct tm parts;
    if (gmtime_r(&now, &parts))
        strftime(self->bench.started, sizeof self->bench.started, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return status;
}

/* `*good` is false if a row failed or is wrong. */
static bd_status run(command *self, bool *good, bd_error *error)
{
    bd_status status = gather(self, error);
    if (status)
        return status;
    bench *b = &self->bench;
    app_catch_interrupt();
    b->on_row = on_row;
    b->user = self;
    status = run_all(b, error);
    if (self->earlier)
        bench_compare(b, self->earlier, self->compare);
    for (size_t i = 0; i < b->row_count; i++)
        *good &= b->rows[i]->status != BENCH_FAILED && b->rows[i]->status != BENCH_WRONG;
    bd_error failure = { 0 };
    bd_status written = write_result(self, status ? &failure : error);
    return status ? status : written;
}

static const char examples[] =
    "  binade bench                                        every suite on every device: minutes\n"
    "  binade bench --suite gemm --device vulkan:0 --shape 256-4096*2\n"
    "  binade bench --suite peak,bandwidth,launch -o md\n"
    "  binade bench --suite gemm,conv -o html --output bench.html\n"
    "  binade bench -o json --output before.json           then, after a change:\n"
    "  binade bench --compare before.json\n"
    "\n"
    "Suites:\n"
    "  peak        multiply-adds a second, by format: the ceiling that other suites are held against\n"
    "  bandwidth   device memory copied, read, written; host to device and back   --shape BYTES\n"
    "  launch      dispatches of a replayed step, with and without dependency; round trip\n"
    "  gemm        matrix products, own kernels and CLBlast                       --shape MxNxK, N or BATCHxMxNxK\n"
    "  conv        the three passes of convolutions    --shape IMAGESxHEIGHTxWIDTHxINxOUTxKERNEL[xSTRIDE]\n"
    "  reduce      sums, maxima, softmax                                         --shape ROWSxCOLUMNS\n"
    "  attention   softmax(Q K' / sqrt(d)) V                       --shape BATCHxHEADSxLENGTHxDEPTH\n"
    "  train       training steps of models (--model)                            --shape BATCH\n"
    "\n"
    "Every result is checked: a kernel that is wrong is a row that says `wrong`, never a fast one.\n"
    "A row is `noisy` if the quartiles of its samples lie more than 5% of the median apart.\n";

int command_bench(int argc, char **argv)
{
    command self = { .device = "all",
                     .precision = "fp32,fp16,fp16-strict,mixed",
                     .suite = "all",
                     .transpose = "nn,nt,tn",
                     .model = "mlp,lenet" };
    bench_settings *s = &self.bench.settings;
    s->reps = 10;
    s->warmup_ms = 200;
    s->max_seconds = 2;
    option_row rows[] = {
        OPTION("suite", TEXT, &self.suite, "LIST", "suites, joined by commas, or all (all)"),
        OPTION("device", TEXT, &self.device, "LIST", "ids, joined by commas, or all but the reference (all)"),
        LIMIT_ROW(&self.limit),
        OPTION("precision", TEXT, &self.precision, "LIST", "policies, joined by commas (fp32,fp16,fp16-strict,mixed)"),
        OPTION("shape", TEXT, &self.shape, "LIST",
               "sizes joined by x, such as 512x512x784 or train:64; each may be first-last+step or first-last*factor"),
        OPTION("transpose", TEXT, &self.transpose, "LIST", "of the products in gemm: nn, nt, tn, tt (nn,nt,tn)"),
        OPTION("model", TEXT, &self.model, "LIST",
               "of the suite train: those that train --list-models tells (mlp,lenet)"),
        OPTION_IN("reps", INTEGER, &s->reps, "N", 1, 10000, "samples of each row (10)"),
        OPTION_IN("max-time", NUMBER, &s->max_seconds, "SECONDS", 0.01, 3600,
                  "a row takes no more samples after this, but 3 (2)"),
        OPTION_IN("warmup", INTEGER, &s->warmup_ms, "MS", 200, 60000,
                  "before the first sample; a GPU that idled takes 1000 at least, since it runs slowly at first (200)"),
        OPTION_IN("delay", NUMBER, &s->delay_seconds, "SECONDS", 0, 3600, "pause between rows, to cool down (0)"),
        { .name = "format",
          .short_name = 'o',
          .kind = OPTION_CHOICE,
          .target = &self.format,
          .argument = "table|csv|json|jsonl|md|sql|html",
          .help = "json keeps every sample; jsonl prints each row as it is done (table)" },
        OPTION("json", FLAG, &self.json, NULL, "the same as --format json"),
        OPTION("output", TEXT, &self.output, "FILE", "write there instead of stdout"),
        OPTION("compare", TEXT, &self.compare, "FILE", "an earlier json: print ratios and mark changes beyond noise"),
        OPTION("quiet", FLAG, &self.quiet, NULL, "no progress"),
    };
    option_table table = {
        .command = "bench",
        "[OPTION]...",
        "Measures devices, and the engine's kernels on them, and checks their results.",
        examples,
        rows,
        sizeof(rows) / sizeof(rows[0]),
        "0 done, 1 failed, or a row failed or is wrong, 2 wrong usage, 130 interrupted (what was measured is told).\n"
    };
    bool help = false, good = true;
    bd_error error = { 0 };
    bd_status status = options_parse(&table, argc, argv, &help, &error);
    s->policies_given = options_given(&table, "precision");
    if (!status && self.json && options_given(&table, "format") && self.format != JSON)
        status = bd_fail(&error, BD_ERROR_ARGUMENT, "--json and another --format: one of them");
    if (self.json)
        self.format = JSON;
    if (!status && !help) {
        progress_init(&self.bench.progress, "", self.quiet);
        status = run(&self, &good, &error);
    }
    json_decref(self.earlier);
    bench_finish(&self.bench);
    options_finish(&table);
    if (status)
        return app_report(status, &error);
    return good ? APP_DONE : APP_FAILED;
}
