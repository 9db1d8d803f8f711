/* The options that `train` and `compare` share, and how they become the library's parameters. */
#ifndef BINADE_APPS_TRAINING_H
#define BINADE_APPS_TRAINING_H

#include "options.h"
#include <binade/train.h>
#include <jansson.h>

typedef struct training_options {
    const char *model, *data, *precision, *device, *output;
    int64_t batch, epochs, max_steps, seed, warmup, step_epochs;
    int optimizer, schedule, gemm, tuning, on_nan; /* positions in the choices; those of the library's enums */
    float rate, momentum, weight_decay, beta1, beta2, epsilon, clip, step_factor, final_rate;
    bool nesterov, augment, no_fusion, json, quiet;
} training_options;

enum { TRAINING_ROWS = 23 };

/* What --precision may be, for help texts. */
#define PRECISION_HELP                                                                                                 \
    "Precisions:\n"                                                                                                    \
    "  fp32                 everything in FP32\n"                                                                      \
    "  fp16                 everything stored in FP16, sums in FP32\n"                                                 \
    "  fp16-strict          sums in FP16 too\n"                                                                        \
    "  mixed                FP16 with FP32 master weights and dynamic loss scaling\n"                                  \
    "  w=f16,g=f32,...      role by role, also after one of these names: w weights, a activations, g gradients,\n"     \
    "                       stat softmax and losses, acc sums, master, state; f32 or f16; `;LAYER:w=f32` for one\n"

/* Sets the defaults (the library's own where it has one) and writes TRAINING_ROWS rows. model, data, precision, device,
 * output, json and quiet are left to the command, whose help for them differs. */
void training_options_init(training_options *options, option_row rows[TRAINING_ROWS]);

/* Checks what only makes sense together ("--momentum is for sgd") and sets the defaults that depend on the optimizer.
 * */
bd_status training_options_check(training_options *options, const option_table *table, bd_error *error);

/* Fills what the options decide: optimizer, batch, epochs, seed, gemm and so on. */
void training_params(const training_options *options, bd_train_params *params);

/* {"batch": 256, "optimizer": "sgd", ...}: what decides a run's numbers beside model, data, precision and device. */
json_t *training_json(const training_options *options);

/* The same in a few words, for people: "SGD, learning rate 0.1, momentum 0.9, batch 256". */
void training_describe(const training_options *options, char *text, size_t size);

#endif
