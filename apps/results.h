/* What `compare` gathers: every combination of model, device and precision, with one run a seed; its summary, its
 * JSON, and its table. */
#ifndef BINADE_APPS_RESULTS_H
#define BINADE_APPS_RESULTS_H

#include "federated.h"
#include "interval.h"
#include "measures.h"
#include "rounding.h"
#include <binade/binade.h>
#include <jansson.h>
#include <stdio.h>

enum { MOST_SEEDS = 1000 };

/* A curve's points are halved when they would exceed this, so that a long run's report stays small. */
enum { CURVE_POINTS = 256 };

typedef struct curve_point {
    double epoch; /* where, with fraction */
    double loss;  /* mean since the point before */
} curve_point;

typedef struct curve {
    curve_point points[CURVE_POINTS];
    int count;
    int stride;  /* intervals a point stands for: 1, 2, 4, ... */
    int pending; /* intervals in the last, unfinished point */
} curve;

typedef struct epoch_result {
    double epoch; /* its end: a whole number but for a last one that was cut short */
    double train_loss, train_accuracy, test_loss, test_accuracy;
} epoch_result;

/* What is measured on the test set when a run is done; docs/measures.md. */
typedef enum measure {
    MEASURE_ACCURACY,
    MEASURE_NLL,
    MEASURE_BRIER,
    MEASURE_ECE,
    MEASURE_OOD_AUROC,
    MEASURE_SHARPNESS, /* these two only where they were asked for */
    MEASURE_LOGIT_SHARPNESS,
    MEASURE_QUALITIES, /* those above judge a model by itself; those from here compare it with the FP32 run of its seed */
    MEASURE_DELTA_MEAN = MEASURE_QUALITIES,
    MEASURE_DELTA_MOST,
    MEASURE_GAMMA_LEAST,
    MEASURE_DECIDED,       /* share of the examples */
    MEASURE_DISAGREEMENTS, /* share of the examples */
    MEASURE_VIOLATIONS,    /* a count */
    MEASURE_AGREEMENTS,
    /* The same of the FP32 run's own weights, rounded to this precision, in the same order. */
    MEASURE_ROUNDED = MEASURE_AGREEMENTS,
    MEASURE_COUNT = MEASURE_ROUNDED + MEASURE_AGREEMENTS - MEASURE_DELTA_MEAN
} measure;

/* How the values of a row's seeds become one. */
typedef enum measure_fold { FOLD_MEAN, FOLD_LEAST, FOLD_MOST, FOLD_SUM } measure_fold;

typedef struct measure_info {
    const char *key, *title; /* in JSON, for people */
    measure_fold fold;
} measure_info;
extern const measure_info measure_infos[MEASURE_COUNT];

/* RUN_GOING: in a file, one that was killed. */
typedef enum run_state { RUN_WAITING, RUN_GOING, RUN_DONE, RUN_FAILED, RUN_INTERRUPTED } run_state;

typedef struct run_result {
    run_state state;
    int64_t seed;
    char reason[1024]; /* of a failure */
    bd_train_event last;
    curve training;
    epoch_result *epochs; /* epoch_count of them */
    int64_t epoch_count;
    double seconds_before;          /* that it took before it was interrupted */
    traffic sent;                   /* of a federation */
    double measures[MEASURE_COUNT]; /* NaN where unknown */
    reliability_bin bins[RELIABILITY_BINS];
    json_t *rounding; /* rounding.h; NULL where nothing was measured; owned */
} run_result;

typedef struct combination {
    const char *model, *precision;
    const bd_device_info *device;
    run_result *runs;
} combination;

typedef struct comparison {
    const bd_dataset *dataset;
    /* NULL: every run trains by itself. Else clients do, and what is compared are wire formats, which stand in place of
     * precisions; rounds in place of epochs. */
    const federation *federation;
    char description[256]; /* of the training, for people */
    json_t *options;       /* the same for programs */
    const char *command;   /* the command line that made this */
    const char *ood;       /* the set of MEASURE_OOD_AUROC: "noise:3", or a data set's name */
    float sharpness;       /* epsilon of the box; 0: not measured */
    int64_t epochs, seeds;
    double length;           /* in epochs: less than `epochs` where steps are limited */
    bd_device_info *devices; /* those that are compared */
    size_t device_count;
    const char **models, **precisions; /* or wire formats */
    size_t model_count, precision_count;
    combination *rows; /* models outermost, then devices, then precisions */
    size_t row_count;
    char started[32];               /* 2026-07-29T12:00:00Z */
    double seconds, seconds_before; /* spent so far, and of that before this was resumed */
    bool finished;
} comparison;

/* A row's numbers over its seeds; NaN where there are none. */
typedef struct summary {
    int64_t done, failed;
    const char *reason; /* of the first failure, or NULL */
    double accuracy,
        deviation; /* mean and sample standard deviation of the test accuracy; the latter NaN for one seed */
    double least, most;
    double test_loss;
    double step_ms, images_per_second; /* medians */
    double speedup;                    /* step time of fp32 on the same device / this one's */
    double accuracy_change;            /* accuracy - that of fp32 on the same device */
    double memory_ratio;               /* training_bytes / that of fp32 on the same device */
    traffic sent;                      /* of one run that is done */
    double traffic_ratio;              /* bytes of the same messages in F32 / these */
    uint64_t planned_bytes, peak_bytes, dataset_bytes;
    uint64_t training_bytes;          /* peak_bytes without dataset_bytes, which hide what a precision saves */
    int64_t overflows;                /* of all seeds */
    interval measures[MEASURE_COUNT]; /* a fold but the mean has no bounds */
    interval
        changes[MEASURE_QUALITIES]; /* from fp32 on the same device, paired by seed; a count of 0 if there is none */
    reliability_bin bins[RELIABILITY_BINS]; /* of all seeds */
} summary;

/* Makes the rows; models, precisions, devices, seeds and epochs are set. */
bd_status comparison_init(comparison *self, int64_t first_seed, bd_error *error);
/* Frees the rows, nothing else. */
void comparison_finish(comparison *self);

/* Takes what a run reports. What it had when it starts stays as far as it is behind the step that it starts from. */
void run_record(run_result *run, const bd_train_event *event);
/* Those of MEASURE_QUALITIES that were asked for: the first so many. */
int comparison_qualities(const comparison *self);
/* What others are compared with: "fp32", or the wire format "f32". */
const char *comparison_base_name(const comparison *self);
/* That row of the same model and device; NULL where the list has none. */
const combination *comparison_base(const comparison *self, const combination *row);

summary summarize(const comparison *self, const combination *row);

/* A run as results.json has it, and back: what a run must know to go on, or to be shown again as it was. */
json_t *run_json(const run_result *run);
bd_status run_from_json(run_result *run, int64_t most_epochs, const json_t *object, bd_error *error);
/* [[count, mean confidence, mean accuracy], ...] */
json_t *bins_to_json(const reliability_bin *bins);
/* Rounds a run's numbers to the digits that results.json has, so that what is computed from them is the same whether
 * they were read back or not. */
bd_status run_round(run_result *run, int64_t most_epochs, bd_error *error);
/* Takes the runs of an earlier comparison, whose file is at `path`, in place of those of `self`, which has none yet. An
 * error names what differs if it was another comparison. */
bd_status comparison_resume(comparison *self, const char *path, bd_error *error);

/* The whole, as results.json has it; the caller drops the reference. */
json_t *comparison_json(const comparison *self);
/* For app_replace_file(); `user` is a comparison. */
void comparison_write_json(FILE *file, const void *user);
/* The table, in columns, for people, and which differences are within noise. */
void comparison_print(FILE *file, const comparison *self);
/* The latter alone: a line a row, of plain text; nothing where there is no fp32. For a model with all numbers, or, if
 * NULL, for all models in short. */
void comparison_judge(FILE *file, const comparison *self, const char *model);

#endif
