/* The options that `train` and `compare` share, and how they become the library's parameters. */
#ifndef BINADE_APPS_TRAINING_H
#define BINADE_APPS_TRAINING_H

#include "options.h"
#include <binade/train.h>
#include <jansson.h>

typedef struct training_options {
    const char *model, *data, *precision, *device, *output;
    int64_t measure, data_memory, batch, epochs, max_steps, seed, warmup, step_epochs;
    int optimizer, schedule, gemm, tuning, on_nan, tokens,
        decay; /* positions in the choices; those of the library's enums */
    float rate, momentum, weight_decay, beta1, beta2, epsilon, clip, step_factor, final_rate;
    bool nesterov, epsilon_in_root, augment, no_fusion, json, quiet;
} training_options;

enum { TRAINING_ROWS = 28 };

/* What --precision may be, for help texts. */
#define PRECISION_HELP                                                                                                 \
    "Precisions:\n"                                                                                                    \
    "  fp32                 everything in FP32\n"                                                                      \
    "  fp16                 everything stored in FP16, sums in FP32\n"                                                 \
    "  fp16-strict          sums in FP16 too\n"                                                                        \
    "  mixed                FP16 with FP32 master weights and dynamic loss scaling\n"                                  \
    "  bf16, mixed-bf16     the same with BF16; mixed-bf16 needs no loss scaling\n"                                    \
    "  bf16-sr, bf16-kahan, fp16-kahan\n"                                                                              \
    "                       updates rounded stochastically, or summed with Kahan's compensation\n"                     \
    "  fp8, tf32            contractions of FP8 operands, scaled, or of 10 bits of mantissa; all else FP32\n"          \
    "  fp8-native           fp8 with the sums of the device's FP8 matrix units, where it has some (sums=unit)\n"       \
    "  int8-qat, int4-qat   contractions of whole numbers whose step is learned (LSQ)\n"                               \
    "  w=f16,g=f32,...      role by role, also after one of these names: w weights, a activations, g gradients,\n"     \
    "                       stat softmax and losses, acc sums, master, state, qw qa qg operands of contractions;\n"    \
    "                       formats f32 f16 bf16 f8e4m3 f8e5m2 eXmY, of operands with a scale int8 to int2;\n"         \
    "                       w=e5m2:stochastic, :zero, :mask;\n"                                                        \
    "                       `;LAYER:w=f32` for one layer\n"                                                            \
    "  kahan=on, round=stochastic, overflow=saturate, scale=dynamic\n"                                                 \
    "  auto                 train only: each layer measured, and given the cheapest format within --max-error\n"       \
    "  @FILE                from a file of JSON: { \"policy\": \"fp16\", \"layers\": { \"linear1\": \"w=f32\" } }\n"

/* Sets the defaults (the library's own where it has one) and writes TRAINING_ROWS rows. model, data, precision, device,
 * output, json and quiet are left to the command, whose help for them differs. */
void training_options_init(training_options *options, option_row rows[TRAINING_ROWS]);

/* Checks what only makes sense together ("--momentum is for sgd") and sets the defaults that depend on the model and
 * the optimizer. */
bd_status training_options_check(training_options *options, const option_table *table, bd_error *error);

/* The tokens of --tokens; BD_TOKENS_NONE where it was not named. */
bd_tokens training_tokens(const training_options *options);

/* Fills what the options decide: optimizer, batch, epochs, seed, gemm and so on. */
void training_params(const training_options *options, bd_train_params *params);

/* {"batch": 256, "optimizer": "sgd", ...}: what decides a run's numbers beside model, data, precision and device. */
json_t *training_json(const training_options *options);

/* The same in a few words, for people: "SGD, learning rate 0.1, momentum 0.9, batch 256". */
void training_describe(const training_options *options, char *text, size_t size);

#endif
