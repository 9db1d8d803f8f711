/* Training: a model, a data set, a precision policy and an optimizer become one recorded step that runs on a device. */
#ifndef BINADE_TRAIN_H
#define BINADE_TRAIN_H

#include <binade/data.h>
#include <binade/device.h>
#include <binade/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Builds the model: images x [batch, height, width, channels], already normalised -> logits [batch, classes]; or, of a
 * text, the numbers of tokens x [batch, context] -> logits of the next token at each place [batch, context, classes],
 * where no place may see one behind it. Called once for training and once for inference; names of layers must be the
 * same both times. */
typedef bd_tensor (*bd_model_function)(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user);

/* What a model takes, for one image or one window of tokens. */
typedef struct bd_model_cost {
    int64_t parameters;        /* that training updates */
    int64_t statistics;        /* running means and variances, which training keeps beside them */
    uint64_t forward_flops;    /* two for each multiplication and addition of matrix products and convolutions */
    uint64_t step_flops;       /* the same of forward and backward pass together */
    uint64_t activation_bytes; /* results of the forward pass that the backward pass reads, in F32 */
} bd_model_cost;

/* Builds the model and its gradient for one example: an image [height, width, channels] or tokens [context]; needs no
 * device. */
BD_API bd_status bd_model_measure(bd_model_function model, const void *user, bd_shape example, int64_t classes,
                                  bd_model_cost *cost, bd_error *error);

typedef enum bd_optimizer_kind { BD_OPTIMIZER_SGD, BD_OPTIMIZER_ADAM, BD_OPTIMIZER_ADAMW } bd_optimizer_kind;
typedef enum bd_schedule_kind { BD_SCHEDULE_CONSTANT, BD_SCHEDULE_STEP, BD_SCHEDULE_COSINE } bd_schedule_kind;

typedef struct bd_optimizer {
    bd_optimizer_kind kind;
    float rate;         /* learning rate */
    float momentum;     /* SGD */
    bool nesterov;      /* SGD */
    float weight_decay; /* L2 for SGD and Adam, decoupled for AdamW (Loshchilov and Hutter, arXiv:1711.05101) */
    bool
        decay_matrices; /* weight decay for parameters of two and more dimensions only, not for biases and normalisations */
    float beta1, beta2, epsilon; /* Adam (Kingma and Ba, arXiv:1412.6980) */
    bool epsilon_in_root;        /* Adam: sqrt(max(v, epsilon)) instead of sqrt(v) + epsilon (arXiv:2301.12809) */
    /* 0: none; else gradients are scaled so that their norm is at most this (Pascanu et al., arXiv:1211.5063). */
    float clip_norm;
    bd_schedule_kind schedule;
    int64_t warmup_steps; /* linear from 0, before any schedule */
    int64_t step_epochs;  /* STEP: multiply by step_factor every so many epochs */
    float step_factor;
    float final_rate; /* COSINE: where it ends (Loshchilov and Hutter, arXiv:1608.03983) */
} bd_optimizer;

/* Which values of a layer are measured. */
typedef enum bd_measured {
    BD_MEASURED_ACTIVATION,      /* results of matrix products and convolutions, forward */
    BD_MEASURED_GRADIENT,        /* the loss's gradient by what goes into them */
    BD_MEASURED_WEIGHT_GRADIENT, /* and by their weights */
    BD_MEASURED_OPERAND, /* what they multiply, forward, where a policy rounds that apart: FP8, say; as it is scaled */
    BD_MEASURED_GRADIENT_OPERAND, /* and the gradients that they multiply */
    BD_MEASURED_UPDATE,           /* what a step takes from the weights */
    BD_MEASURED_BIAS_GRADIENT,    /* the loss's gradient by biases, and by normalisations' scales and shifts */
    BD_MEASURED_BIAS_UPDATE,      /* what a step takes from them */
    BD_MEASURED_COUNT,
} bd_measured;
/* "activations", "gradients", ... */
BD_API const char *bd_measured_name(bd_measured what);

/* Bins of a histogram of exponents: values of [2^e, 2^(e + 1)) for e from BD_LEAST_EXPONENT on; the first bin has all
 * smaller ones too, but not 0, and the last all larger ones. */
#define BD_EXPONENT_BINS 57
#define BD_LEAST_EXPONENT (-40)

/* What rounding to its format did to the values of one kind in one layer, in one step. Gradients are those of the loss
 * times the loss scale, but for the norm. */
typedef struct bd_measurement {
    const char *layer;
    bd_measured what;
    bd_format format;
    double elements;
    double underflow; /* share of values other than 0 that became 0; of updates: that left the weight as it was */
    double overflow;  /* share of finite values that became infinite or NaN */
    double nonfinite; /* share of values that were infinite or NaN already */
    double largest;   /* finite magnitude, before rounding */
    double norm;      /* square root of the sum of squares, before rounding */
    double sqnr;      /* signal to quantisation noise in dB; infinite where nothing was changed */
    double exponents[BD_EXPONENT_BINS]; /* how many values have which, before rounding */
} bd_measurement;

/* What a run can tell while it goes. All pointers are good during the call only. */
typedef enum bd_event_kind {
    BD_TRAIN_START,
    BD_TRAIN_PROGRESS,
    BD_TRAIN_MEASURED, /* after params.measure_steps steps and each multiple of it */
    BD_TRAIN_EPOCH,
    BD_TRAIN_DONE
} bd_event_kind;
typedef struct bd_train_event {
    bd_event_kind kind;
    /* epoch: the running one, from 1, or how many are done; step: steps done so far */
    int64_t epoch, epochs, step, steps, steps_per_epoch;
    double train_loss, train_accuracy; /* since the last event of this kind's interval; NaN if unknown */
    double test_loss, test_accuracy;   /* EPOCH and DONE; NaN if not evaluated */
    /* Training only, evaluation aside; of a text, windows. Where there are others, without the first interval of steps,
     * and the first step that measures: some drivers still compile then. */
    double images_per_second;
    double tokens_per_second; /* the same of a text; NaN for images */
    double step_ms;           /* median over the reporting intervals */
    double seconds, eta_seconds;
    double loss_scale, rate;
    int64_t overflows; /* steps skipped so far */
    int64_t nan_steps;
    int64_t dispatches_per_step;
    uint64_t flops_per_step, bytes_per_step;
    /* Planned without the data set; peak is what this trainer allocated on the device, the data set included; both
     * without measuring_bytes, which a trainer that measures takes beside them. */
    uint64_t planned_device_bytes, peak_device_bytes, dataset_bytes, measuring_bytes;
    const char *checkpoint;             /* path of the last one written, or NULL */
    bool unmeasured;                    /* the device has no memory for the program that measures, so nothing is */
    const bd_measurement *measurements; /* MEASURED, in the order of the model; else NULL */
    size_t measurement_count;
} bd_train_event;

typedef struct bd_train_params {
    bd_model_function model;
    const void *model_user;
    const char *model_name; /* goes into checkpoints and messages */
    const bd_dataset *dataset;
    int64_t
        context; /* of a text, the tokens of a window; an epoch has as many windows as cover the text once, drawn anywhere in it */
    bd_precision precision;
    bd_optimizer optimizer;
    int64_t batch, epochs; /* 0 epochs: as many as max_steps takes */
    int64_t max_steps;     /* end after so many steps in all, even within an epoch; 0: after the epochs */
    uint64_t seed;
    bool
        augment; /* training images are turned round left and right and shifted by up to 4 pixels, at random, on the device */
    bool continue_on_nan;
    bool no_fusion;
    int gemm;             /* bd_gemm: 0 let the tuner choose, 1 own kernels, 2 the library */
    int tuning;           /* bd_tuning: 0 measure a few tiles for some seconds, 1 none, 2 all */
    int64_t report_steps; /* steps an interval; 0: chosen so that an interval takes about a quarter second */
    /* Every so many steps, the last of them does all that a step does and measures what rounding does in each layer: a
     * program of its own, which is compiled with the others and takes two to three times as long. 0: never. */
    int64_t measure_steps;
    /* Most that the data set may take on the device before it is streamed; 0: a quarter of its memory. */
    int64_t dataset_device_bytes;
    const char *checkpoint; /* file to write at the end of each epoch and on interruption; NULL: none */
    const char *resume;     /* checkpoint to start from; NULL: none */
    /* May be NULL. At BD_TRAIN_EPOCH the device is idle, and bd_trainer_save may be called. */
    void (*on_event)(void *user, const bd_train_event *event);
    void (*on_tune)(void *user, int done, int total);    /* contractions measured; may be NULL */
    void (*on_compile)(void *user, int done, int total); /* kernels compiled; may be NULL */
    bool (*should_stop)(void *user); /* asked between intervals; true: save, return BD_ERROR_INTERRUPTED; may be NULL */
    void *user;
} bd_train_params;

/* SGD, rate 0.05 along a cosine to 0, momentum 0.9, batch 256, 5 epochs, seed 1, fp32. */
BD_API void bd_train_params_init(bd_train_params *params);

typedef struct bd_trainer bd_trainer;

/* Builds and compiles; says before anything is allocated whether the planned memory fits and whether params->checkpoint
 * can be written there. The data set must outlive the trainer. `device` may be NULL for a plan only
 * (bd_trainer_plan). */
BD_API bd_status bd_trainer_create(bd_device *device, const bd_train_params *params, bd_trainer **trainer,
                                   bd_error *error);
BD_API void bd_trainer_destroy(bd_trainer **trainer);
/* Trains to the last epoch. The last event's values go to `result` (may be NULL). On BD_ERROR_NUMERIC the message names
 * the step and the first layer with a value that is not finite. */
BD_API bd_status bd_trainer_run(bd_trainer *trainer, bd_train_event *result, bd_error *error);
/* Runs the test set. */
BD_API bd_status bd_trainer_evaluate(bd_trainer *trainer, double *loss, double *accuracy, bd_error *error);
/* What the model makes of `count` images, which are bytes [height, width, channels] like the data set's: logits [count,
 * classes] in F32, whatever format the policy stores them in. NULL for `images`: those of the test set, and `count` is
 * theirs. Runs the test's program, so the data set must have a test set. */
BD_API bd_status bd_trainer_predict(bd_trainer *trainer, const uint8_t *images, int64_t count, float *logits,
                                    bd_error *error);
/* Takes weights (master weights too) and running statistics from a checkpoint of the same model that was saved in any
 * precision with weights or master weights of F32, F16 or BF16, and rounds them to this trainer's formats, to nearest
 * even. What the file has not (a learned step of a format, say) and all else stays: optimizer state, step, loss
 * scale. */
BD_API bd_status bd_trainer_take_weights(bd_trainer *trainer, const char *path, bd_error *error);
/* Writes weights, optimizer state, loss scale, random state and data position as safetensors, atomically: write, fsync,
 * rename, fsync of the folder. On failure the old file stays. */
BD_API bd_status bd_trainer_save(bd_trainer *trainer, const char *path, bd_error *error);
/* A parameter's values, in the order of its shape; `count` must be its number of elements. */
BD_API bd_status bd_trainer_read(bd_trainer *trainer, const char *parameter, double *values, size_t count,
                                 bd_error *error);

/* A kernel of the training step. */
typedef struct bd_kernel_time {
    const char *name;    /* the trainer's */
    double microseconds; /* median of some steps, by the device's clock */
    uint64_t flops, bytes;
} bd_kernel_time;

/* Takes some training steps, each kernel with a time of its own, in the order of the step; weights change as in
 * training. The caller frees *kernels. BD_ERROR_UNSUPPORTED where the device has no clock. */
BD_API bd_status bd_trainer_profile(bd_trainer *trainer, bd_kernel_time **kernels, size_t *count, bd_error *error);

#define BD_MOST_CANDIDATES 8

/* What a format does to the matrix products and convolutions of a layer, forward and backward: the worst of them. */
typedef struct bd_format_cost {
    /* Backward error: ||C - C'|| / || |A| |B| ||, C' being the product of both operands rounded to the format, in the
     * Frobenius norm (Higham, "Accuracy and Stability of Numerical Algorithms", 3.5; as a measure of formats:
     * arXiv:2408.02897). Infinite where rounding makes infinities. */
    double error;
    double sqnr;      /* signal to quantisation noise of an operand, in dB */
    double underflow; /* share of an operand's values other than 0 that become 0 */
    double overflow;  /* share of an operand's values that become infinite or NaN */
} bd_format_cost;

typedef struct bd_layer_cost {
    char layer[64];
    int contractions;
    bd_format_cost cost[BD_MOST_CANDIDATES]; /* one for each format that was asked for */
} bd_layer_cost;

/* Measures the formats (BD_MOST_CANDIDATES at most) on the batch that the trainer would take next, with the weights as
 * they are, each layer by itself: what others lose does not enter. Gradients are those of the loss times the loss
 * scale. The trainer cannot train on after it. The caller frees *layers, which are in the order of the model.
 * BD_ERROR_ARGUMENT: no batch is left in the epoch, or the model has no layers that contract. */
BD_API bd_status bd_trainer_calibrate(bd_trainer *trainer, const bd_format *formats, int format_count,
                                      bd_layer_cost **layers, size_t *count, bd_error *error);

/* How fast the loss can rise near a trained model: 100 (max f - f) / (1 + f) over a box |d_i| <= epsilon (|v_i| + 1)
 * around values v (epsilon-sharpness: Keskar et al., arXiv:1609.04836, section 2.2.2, with A the identity). */
typedef struct bd_sharpness {
    double loss;    /* f: the mean loss of the batch */
    double weights; /* over the weights: the most that ten steps of projected gradient ascent find, so a lower bound */
    double logits;  /* over the logits, as for language models (arXiv:2405.18710); exact */
} bd_sharpness;

/* On a fixed batch of training examples, as many as a step takes, from all over the set; as for a test, without
 * dropout. Weights are moved in F32, learned steps of operands stay; activations and the operands of the forward pass
 * are those of the policy, and the gradient goes straight through their rounding. Has memory of its own on the device,
 * and leaves the trainer as it was. What is not finite comes out as NaN. */
BD_API bd_status bd_trainer_sharpness(bd_trainer *trainer, double epsilon, bd_sharpness *sharpness, bd_error *error);

/* What a step will be, with no device needed: prints to `print` line by line, or fills `event`'s planned fields. */
BD_API bd_status bd_trainer_plan(bd_trainer *trainer, bd_train_event *event,
                                 void (*print)(void *user, const char *line), void *user, bd_error *error);

#ifdef __cplusplus
}
#endif
#endif
