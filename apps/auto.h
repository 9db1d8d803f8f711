/* --precision auto: each layer measured, and given the cheapest format that keeps a bound. */
#ifndef BINADE_APPS_AUTO_H
#define BINADE_APPS_AUTO_H

#include "progress.h"
#include <jansson.h>

/* Of --max-error where it is not named: what the rounding of a layer's operands may change in its products, as a share
 * of the largest that they could be (bd_format_cost.error). */
#define AUTO_MAX_ERROR 1e-3f

typedef struct auto_request {
    float max_error;
    const char *budget; /* "300M" of planned device memory or "5ms" a step; NULL: none */
} auto_request;

/* Trains `params` some steps in FP32, measures each layer in each format (bd_trainer_calibrate), and chooses: for each
 * layer the format of the fewest bytes within max_error, of several the most exact; with a budget the least max_error,
 * up to the one asked for, whose policy fits it, measured. `policy` gets the choice. `*document` is the policy file
 * (policy.h), with the measures as its note; json_decref it. Prints the choice and why on stdout, if `print`. */
bd_status auto_choose(bd_device *device, const bd_train_params *params, const auto_request *request, bool print,
                      progress *shown, bd_precision *policy, json_t **document, bd_error *error);

#endif
