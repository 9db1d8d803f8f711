/* What `compare` gathers: every combination of model, device and precision, with one run a seed; its summary, its
 * JSON, and its table. */
#ifndef BINADE_APPS_RESULTS_H
#define BINADE_APPS_RESULTS_H

#include <binade/binade.h>
#include <jansson.h>
#include <stdio.h>

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

typedef enum run_state { RUN_WAITING, RUN_DONE, RUN_FAILED, RUN_INTERRUPTED } run_state;

typedef struct run_result {
    run_state state;
    int64_t seed;
    char reason[1024]; /* of a failure */
    bd_train_event last;
    curve training;
    epoch_result *epochs; /* epoch_count of them */
    int64_t epoch_count;
} run_result;

typedef struct combination {
    const char *model, *precision;
    const bd_device_info *device;
    run_result *runs;
} combination;

typedef struct comparison {
    const bd_dataset *dataset;
    char description[256]; /* of the training, for people */
    json_t *options;       /* the same for programs */
    const char *command;   /* the command line that made this */
    int64_t epochs, seeds;
    double length;           /* in epochs: less than `epochs` where steps are limited */
    bd_device_info *devices; /* those that are compared */
    size_t device_count;
    const char **models, **precisions;
    size_t model_count, precision_count;
    combination *rows; /* models outermost, then devices, then precisions */
    size_t row_count;
    char started[32]; /* 2026-07-29T12:00:00Z */
    double seconds;   /* spent so far */
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
    uint64_t planned_bytes, peak_bytes, dataset_bytes;
    uint64_t training_bytes; /* peak_bytes without dataset_bytes, which hide what a precision saves */
    int64_t overflows;       /* of all seeds */
} summary;

/* Makes the rows; models, precisions, devices, seeds and epochs are set. */
bd_status comparison_init(comparison *self, int64_t first_seed, bd_error *error);
/* Frees the rows, nothing else. */
void comparison_finish(comparison *self);

/* Takes what a run reports. */
void run_record(run_result *run, const bd_train_event *event);

summary summarize(const comparison *self, const combination *row);

/* The whole, as results.json has it; the caller drops the reference. */
json_t *comparison_json(const comparison *self);
/* For app_replace_file(); `user` is a comparison. */
void comparison_write_json(FILE *file, const void *user);
/* The table, in columns, for people. */
void comparison_print(FILE *file, const comparison *self);

#endif
