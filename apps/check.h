/* `binade check`: what is gathered of each device, how it is run (check_run.c) and how it is told (check_output.c). The
 * cases themselves are in check/. */
#ifndef BINADE_APPS_CHECK_H
#define BINADE_APPS_CHECK_H

#include "../check/case.h"
#include "../engine/quirks.h"
#include "progress.h"
#include <limits.h>
#include <stdio.h>

enum { CHECK_FORMATS = 5, CHECK_REPEATS = 100 };
extern const char *const check_format_names[CHECK_FORMATS]; /* "fp32", "fp16", "fp16-strict", "mixed", and "others" */

/* A family of kernels in a format. */
typedef struct check_cell {
    int cases, failed;
    double ulps, ratio; /* the worst; ulps is NAN until there is an elementwise function */
} check_cell;

typedef struct check_failure {
    char name[200]; /* "matmul: 1 of 3x5x7 fp16" */
    char message[1024];
    char remedy[256]; /* what the engine does to go round it; "" if nothing helps */
    int format;       /* index of its name */
    bd_status status;
    uint32_t blamed[BD_FORMAT_COUNT][BD_FORMAT_COUNT];
} check_failure;

/* A forced variant of contractions, where the tuner may choose it. */
typedef struct check_variant {
    int cases, failed;
} check_variant;

typedef enum check_verdict { CHECK_RIGHT, CHECK_WRONG, CHECK_FAILED } check_verdict;

typedef struct check_device {
    bd_device_info info; /* as it was opened, without quirks */
    check_verdict verdict;
    char reason[1024]; /* of CHECK_FAILED */
    check_cell cells[CASE_GROUPS][CHECK_FORMATS];
    double functions[BD_OP_COUNT][CHECK_FORMATS]; /* ULPs of elementwise functions; NAN: not run */
    int64_t wrong[CHECK_FORMATS][VALUE_CLASSES];  /* elements outside of their bounds */
    check_variant variants[BD_VARIANT_COUNT];
    check_failure *failures;
    size_t failure_count;
    const char *rounding_f32, *rounding_f16; /* NULL: not found */
    uint32_t workgroup_items;
    uint64_t buffer_tried, buffer_works; /* bytes */
    bool buffer_capped;                  /* less was tried than the device claims: a share of memory */
    bd_quirks quirks;
    char quirks_path[PATH_MAX]; /* of the file that was written; "" if none was */
    double seconds;
} check_device;

typedef struct check {
    bool quick;
    const char *limit; /* NULL, or see bd_device_limit */
    uint64_t seed;
    progress progress;
    check_device *devices;
    size_t device_count;
    char started[32];
} check;

/* Checks one device from beginning to end, whose id is in `result`. What is wrong with it is a result; the status is an
 * error only for BD_ERROR_INTERRUPTED, and where the quirks file could not be written. */
bd_status check_run(check *self, check_device *result, bd_error *error);

/* For app_replace_file(), or stdout; `user` is a check. */
void check_write_text(FILE *file, const void *user);
void check_write_json(FILE *file, const void *user);

void check_finish(check *self);

#endif
