/* What `binade bench` gathers: rows, each one measurement of one thing on one device, with every sample kept. */
#ifndef BINADE_APPS_BENCH_H
#define BINADE_APPS_BENCH_H

#include "models/models.h"
#include "progress.h"
#include <binade/binade.h>
#include <jansson.h>
#include <stdio.h>

typedef enum bench_suite {
    BENCH_PEAK,
    BENCH_BANDWIDTH,
    BENCH_LAUNCH,
    BENCH_GEMM,
    BENCH_CONV,
    BENCH_REDUCE,
    BENCH_ATTENTION,
    BENCH_TRAIN,
    BENCH_SUITES
} bench_suite;

typedef enum bench_status {
    BENCH_OK,
    BENCH_UNSUPPORTED, /* not on this device or not in this engine: the reason says which */
    BENCH_SKIPPED,     /* would take too long or too much memory */
    BENCH_FAILED,      /* the driver or the engine gave up */
    BENCH_WRONG,       /* ran, but its result is outside of its error bound: its times mean nothing */
} bench_status;

/* Seconds, sample by sample, in the order they were taken. */
typedef struct bench_samples {
    double *seconds;
    size_t count;
} bench_samples;

/* `spread` is the distance between the quartiles over the median; NaN for fewer than 3 samples. */
typedef struct bench_summary {
    double median, low, high, spread;
} bench_summary;

/* What a row's number is. */
typedef enum bench_unit {
    BENCH_GFLOPS, /* row.flops over the time */
    BENCH_GBYTES, /* row.bytes over the time */
    BENCH_MICROS, /* the time of one of row.count things; less is better */
    BENCH_IMAGES, /* row.count a run, over the time */
} bench_unit;

typedef enum bench_change { BENCH_SAME, BENCH_FASTER, BENCH_SLOWER } bench_change;

typedef struct bench_row {
    bench_suite suite;
    char name[96];    /* "matmul nt 512x512x512" */
    char variant[16]; /* who does it: own, clblast, raw (a kernel made to measure), host */
    char policy[192]; /* as it was given; "" where no policy has a say */
    size_t device;    /* index in bench.devices */
    char time[32];    /* when it began, UTC */
    bench_status status;
    char reason[1024]; /* unless OK */
    bench_unit unit;
    double flops, bytes, count; /* of one run; 0 if not counted */
    bench_samples wall, clock;  /* by the host's clock; by the device's, kernels alone */
    double peak;                /* GFLOP/s: the measured one of the format that this computes in; 0 if there is none */
    /* --compare: the earlier number and this one's ratio to it, above 1 if better; NaN if there is none */
    double before, ratio;
    bench_change change;
} bench_row;

typedef struct bench_shape {
    int64_t size[7];
    int rank;
} bench_shape;

typedef struct bench_given_shape {
    bench_shape shape;
    bool named; /* for `suite` alone; else for all that take so many sizes */
    bench_suite suite;
} bench_given_shape;

typedef struct bench_settings {
    int64_t reps, warmup_ms;
    float max_seconds, delay_seconds;
    bool suites[BENCH_SUITES]; /* those to run */
    bool asked[BENCH_SUITES];  /* those named; others may run since these need their numbers */
    bool transposes[4];        /* nn, nt, tn, tt */
    model *models;             /* of the suite train; owned */
    size_t model_count;
    bd_precision *policies; /* owned */
    size_t policy_count;
    bool policies_given;       /* by hand: none is left out for being like another */
    bench_given_shape *shapes; /* owned */
    size_t shape_count;
} bench_settings;

typedef struct bench {
    bench_settings settings;
    bd_device_info *devices; /* owned */
    size_t device_count;
    bench_row **rows; /* owned */
    size_t row_count;
    char started[32];
    char compared[256];                               /* the file of --compare, or "" */
    void (*on_row)(void *user, const bench_row *row); /* when a row is done; may be NULL */
    void *user;
    progress progress;
    /* while it runs */
    bd_device *device; /* NULL when it is lost */
    size_t device_index;
} bench;

extern const char *const bench_suite_names[BENCH_SUITES];
extern const char *const bench_status_names[];
extern const char *const bench_unit_names[];

/* ---- rows (bench_row.c) ---- */

/* Seconds that the device warms up before a row: a GPU's clocks need longer than a CPU. */
double bench_warm_seconds(const bench *self);
/* A new row of the device that runs; NULL without memory, with `error` set. */
bench_row *bench_add(bench *self, bench_suite suite, const char *variant, const char *policy, bd_error *error,
                     const char *name, ...) BD_PRINTF(6, 7);
/* The row is done, and what it had on the device is freed. After a failure the device is opened again, since it may be
 * lost; self->device is NULL where that fails, and only then. `status` and `error` are how it went; an engine's
 * BD_ERROR_UNSUPPORTED is no failure. A status that the row has already (skipped, wrong) stays. */
void bench_end(bench *self, bench_row *row, bd_status status, const bd_error *error);
/* Ctrl-C, or the device is gone: no more rows. */
bool bench_stopped(const bench *self);
void bench_set(bench_row *row, bench_status status, const char *reason, ...) BD_PRINTF(3, 4);
bench_summary bench_summarize(const bench_samples *samples);
/* The samples that its number is made of: the device's clock where there is one. */
const bench_samples *bench_best_samples(const bench_row *row);
/* In the row's unit; NaN if there is none. `bench_noisy`: its spread passes 5%. */
double bench_value(const bench_row *row);
bool bench_noisy(const bench_row *row);
bool bench_less_is_better(bench_unit unit);
/* Part of the measured peak, 1 for all of it; NaN if it is not known. */
double bench_share(const bench_row *row);
/* What the device's row of the suite peak called `name` reached in its quickest sample, in GFLOP/s: a ceiling is not
 * what is usual. 0 if there is none. */
double bench_ceiling(const bench *self, size_t device, const char *name);
/* The role by which a policy gives operand `i` of a benchmark its format: roles[i], one of an operand of contractions,
 * where the policy rounds those apart; else, and where `roles` is NULL, an activation's. */
bd_role bench_operand_role(const bd_precision *policy, const bd_role *roles, int i);
/* The peak that a policy's sums of products of operands 0 and 1 can reach on the device that runs, in GFLOP/s; 0 if not
 * measured. */
double bench_peak_of(const bench *self, const bd_precision *policy, const bd_role *roles);
void bench_finish(bench *self);

/* ---- measuring (bench_measure.c) ---- */

typedef struct bench_work {
    /* Does it `times` times and waits. */
    bd_status (*run)(void *user, uint32_t times, bd_error *error);
    /* Seconds of one run by the device's clock; may be NULL, may say BD_ERROR_UNSUPPORTED. */
    bd_status (*clock)(void *user, double *seconds, bd_error *error);
    void *user;
} bench_work;

/* Warms up and takes the samples. Sets the row to SKIPPED, and returns BD_OK, where one run takes longer than all
 * samples may. Interrupted, it keeps the samples it has. */
bd_status bench_measure(const bench *self, const bench_work *work, bench_row *row, bd_error *error);
double bench_now(void);

/* ---- suites: each runs on self->device and fails only where nothing more can be done ---- */
bd_status bench_peak(bench *self, bd_error *error);
bd_status bench_bandwidth(bench *self, bd_error *error);
bd_status bench_launch(bench *self, bd_error *error);
bd_status bench_gemm(bench *self, bd_error *error);
bd_status bench_conv(bench *self, bd_error *error);
bd_status bench_reduce(bench *self, bd_error *error);
bd_status bench_attention(bench *self, bd_error *error);
bd_status bench_train(bench *self, bd_error *error);

/* ---- shapes (bench_shape.c) ---- */

/* Parses "512,256x512x784,128-4096*2,train:64": sizes joined by x, each a number or a range, and perhaps the suite that
 * is meant. BD_ERROR_ARGUMENT if one fits none of the suites. */
bd_status bench_parse_shapes(const char *text, bench_settings *settings, bd_error *error);
/* May a suite take a shape of so many sizes? */
bool bench_takes(bench_suite suite, int rank);
/* The given shapes of the suite, or its own `defaults`. The caller frees. */
bd_status bench_shapes(const bench *self, bench_suite suite, const bench_shape *defaults, size_t count,
                       bench_shape **shapes, size_t *shape_count, bd_error *error);

/* ---- output ---- */
json_t *bench_row_json(const bench *self, const bench_row *row);
json_t *bench_json(const bench *self);
/* For app_replace_file() and stdout; `user` is a bench. */
void bench_write_table(FILE *file, const void *user);
void bench_write_csv(FILE *file, const void *user);
void bench_write_json(FILE *file, const void *user);
void bench_write_jsonl(FILE *file, const void *user);
void bench_write_markdown(FILE *file, const void *user);
void bench_write_sql(FILE *file, const void *user);
void bench_write_html(FILE *file, const void *user);

/* Takes an earlier --format json document and sets before, ratio and change of the rows that it has too. */
bd_status bench_compare_load(const char *path, json_t **document, bd_error *error);
void bench_compare(bench *self, const json_t *document, const char *path);

#endif
