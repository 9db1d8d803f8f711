#include "training.h"
#include "json.h"
#include "models/models.h"
#include <float.h>
#include <stdio.h>
#include <string.h>

enum { ON_NAN_CONTINUE = 1 }; /* position in "stop|continue" */
enum { TOKENS_UNSAID = -1 };  /* else a position in "char|byte" */
enum { DECAY_MATRICES = 1 };  /* position in "all|matrices" */
enum { MEASURE_STEPS = 100 }; /* a step that measures takes up to a few times as long: at most 5% on average */

static const char *const optimizer_names[] = { "sgd", "adam", "adamw" };
static const char *const schedule_names[] = { "constant", "step", "cosine" };
static const char *const gemm_names[] = { "auto", "own", "library" };
static const char *const tuning_names[] = { "quick", "off", "full" };
static const char *const on_nan_names[] = { "stop", "continue" };
static const char *const decay_names[] = { "all", "matrices" };

/* Of Adam and AdamW, from the papers and PyTorch. */
static const float adam_rate = 0.001f, adamw_weight_decay = 0.01f;
/* Of language models, from nanoGPT's train_shakespeare_char.py: a rate of 0.001 that falls to a tenth. */
static const float gpt_weight_decay = 0.1f, gpt_beta2 = 0.99f, gpt_clip = 1, gpt_fall = 10;
enum { GPT_WARMUP = 100 };

void training_options_init(training_options *options, option_row rows[TRAINING_ROWS])
{
    bd_train_params params;
    bd_train_params_init(&params);
    const bd_optimizer *optimizer = &params.optimizer;
    *options = (training_options){
        .model = "mlp",
        .data = "fashion-mnist",
        .precision = "fp32",
        .batch = params.batch,
        .epochs = params.epochs,
        .seed = (int64_t)params.seed,
        .optimizer = (int)optimizer->kind,
        .schedule = (int)optimizer->schedule,
        .rate = optimizer->rate,
        .momentum = optimizer->momentum,
        .weight_decay = optimizer->weight_decay,
        .beta1 = optimizer->beta1,
        .beta2 = optimizer->beta2,
        .epsilon = optimizer->epsilon,
        .step_epochs = optimizer->step_epochs,
        .step_factor = optimizer->step_factor,
        .tokens = TOKENS_UNSAID,
        .measure = MEASURE_STEPS,
    };
    training_options *o = options;
    const option_row table[TRAINING_ROWS] = {
        OPTION_IN("batch", INTEGER, &o->batch, "N", 1, 1 << 20,
                  "images or windows of a text a step (256; gpt: 12 or 64)"),
        OPTION_IN("epochs", INTEGER, &o->epochs, "N", 1, 1e6,
                  "passes over the training data (5; gpt: see --max-steps)"),
        OPTION_IN("max-steps", INTEGER, &o->max_steps, "N", 0, 4294967295.0,
                  "end after N steps, even within an epoch (0: after the epochs; gpt: 2000 or 5000)"),
        OPTION_IN("seed", INTEGER, &o->seed, "N", 0, 9007199254740992.0,
                  "of the first weights and of the order of the data (1)"),
        OPTION("tokens", CHOICE, &o->tokens, "char|byte", "of a text: what the model reads and writes (char)"),
        OPTION("optimizer", CHOICE, &o->optimizer, "sgd|adam|adamw", "what updates the weights (sgd; gpt: adamw)"),
        OPTION_IN("lr", NUMBER, &o->rate, "X", 0, 1e6, "learning rate (sgd: 0.05, adam and adamw: 0.001)"),
        OPTION_IN("momentum", NUMBER, &o->momentum, "X", 0, 1, "sgd: share of the last update that is kept (0.9)"),
        OPTION("nesterov", FLAG, &o->nesterov, NULL, "sgd: Nesterov's momentum"),
        OPTION_IN("weight-decay", NUMBER, &o->weight_decay, "X", 0, 1e3,
                  "pull of the weights to 0: L2 for sgd and adam (0), decoupled for adamw (0.01; gpt: 0.1)"),
        OPTION("decay", CHOICE, &o->decay, "all|matrices",
               "what is pulled: every parameter, or no biases and normalisations (all; gpt: matrices)"),
        OPTION_IN("beta1", NUMBER, &o->beta1, "X", 0, 0.999999, "adam, adamw: decay of the mean (0.9)"),
        OPTION_IN("beta2", NUMBER, &o->beta2, "X", 0, 0.999999,
                  "adam, adamw: decay of the mean square (0.999; gpt: 0.99)"),
        OPTION_IN("epsilon", NUMBER, &o->epsilon, "X", 0, 1, "adam, adamw: added to the root (1e-8; in fp16 use 1e-4)"),
        OPTION("epsilon-in-root", FLAG, &o->epsilon_in_root, NULL,
               "adam, adamw: the root of at least epsilon, with nothing added: for 16 bits"),
        OPTION_IN("clip", NUMBER, &o->clip, "X", 0, FLT_MAX,
                  "scale the gradients down to a norm of X at most (0: never; gpt: 1)"),
        OPTION("schedule", CHOICE, &o->schedule, "constant|step|cosine", "of the learning rate (cosine)"),
        OPTION_IN("warmup", INTEGER, &o->warmup, "STEPS", 0, 1e9,
                  "raise the learning rate from 0 over STEPS (0; gpt: 100)"),
        OPTION_IN("step-epochs", INTEGER, &o->step_epochs, "N", 1, 1e6, "schedule step: epochs between changes (30)"),
        OPTION_IN("step-factor", NUMBER, &o->step_factor, "X", 0, 1e3, "schedule step: factor at a change (0.1)"),
        OPTION_IN("final-lr", NUMBER, &o->final_rate, "X", 0, 1e6,
                  "schedule cosine: learning rate at the end (0; gpt: a tenth)"),
        OPTION("augment", FLAG, &o->augment, NULL, "turn and shift training images at random, on the device"),
        OPTION_IN("data-memory", INTEGER, &o->data_memory, "MIB", 0, 1 << 30,
                  "stream the data set where it would take more of the device (0: a quarter of the device's memory)"),
        OPTION("gemm", CHOICE, &o->gemm, "auto|own|library",
               "matrix products by the engine, by CLBlast, or by the faster, measured once (auto)"),
        OPTION("tune", CHOICE, &o->tuning, "quick|off|full",
               "measure tiles of contractions on the device, and remember them: a few for some seconds, none, or all "
               "(quick)"),
        OPTION("no-fusion", FLAG, &o->no_fusion, NULL, "one kernel an operation: slower, the same numbers"),
        OPTION_IN("measure", INTEGER, &o->measure, "N", 0, 4294967295.0,
                  "every N steps, tell what rounding does in each layer, and warn where it harms (100; 0: never)"),
        OPTION("on-nan", CHOICE, &o->on_nan, "stop|continue", "what to do when the loss is not finite (stop)"),
    };
    memcpy(rows, table, sizeof(table));
}

/* Options that only one choice of another reads: to name them beside another choice is a mistake, not a wish. */
static const struct {
    const char *option, *needs;
    int choices; /* bit set of the positions that read it */
} conditions[] = {
    { "momentum", "optimizer sgd", 1 << BD_OPTIMIZER_SGD },
    { "nesterov", "optimizer sgd", 1 << BD_OPTIMIZER_SGD },
    { "beta1", "optimizer adam or adamw", 1 << BD_OPTIMIZER_ADAM | 1 << BD_OPTIMIZER_ADAMW },
    { "beta2", "optimizer adam or adamw", 1 << BD_OPTIMIZER_ADAM | 1 << BD_OPTIMIZER_ADAMW },
    { "epsilon", "optimizer adam or adamw", 1 << BD_OPTIMIZER_ADAM | 1 << BD_OPTIMIZER_ADAMW },
    { "epsilon-in-root", "optimizer adam or adamw", 1 << BD_OPTIMIZER_ADAM | 1 << BD_OPTIMIZER_ADAMW },
    { "step-epochs", "schedule step", 1 << BD_SCHEDULE_STEP },
    { "step-factor", "schedule step", 1 << BD_SCHEDULE_STEP },
    { "final-lr", "schedule cosine", 1 << BD_SCHEDULE_COSINE },
};

static void set_whole(const option_table *table, const char *option, int64_t *target, int64_t value)
{
    if (!options_given(table, option))
        *target = value;
}

static void set_number(const option_table *table, const char *option, float *target, float value)
{
    if (!options_given(table, option))
        *target = value;
}

/* What nanoGPT trains its small models with, where the command line says nothing else. */
static void set_gpt_defaults(training_options *o, const option_table *table, const gpt_size *size)
{
    if (!options_given(table, "decay"))
        o->decay = DECAY_MATRICES;
    set_whole(table, "batch", &o->batch, size->batch);
    set_whole(table, "warmup", &o->warmup, GPT_WARMUP);
    set_number(table, "clip", &o->clip, gpt_clip);
    if (!options_given(table, "epochs")) {
        set_whole(table, "max-steps", &o->max_steps, size->steps);
        o->epochs = o->max_steps ? 0 : o->epochs;
    }
    if (o->optimizer == BD_OPTIMIZER_ADAMW) {
        set_number(table, "weight-decay", &o->weight_decay, gpt_weight_decay);
        set_number(table, "beta2", &o->beta2, gpt_beta2);
    }
    if (o->schedule == BD_SCHEDULE_COSINE)
        set_number(table, "final-lr", &o->final_rate, o->rate / gpt_fall);
}

bd_status training_options_check(training_options *options, const option_table *table, bd_error *error)
{
    gpt_size size;
    const bool is_gpt = model_is_gpt(options->model, &size);
    if (is_gpt && !options_given(table, "optimizer"))
        options->optimizer = BD_OPTIMIZER_ADAMW;
    for (size_t i = 0; i < sizeof(conditions) / sizeof(conditions[0]); i++) {
        int chosen = conditions[i].needs[0] == 'o' ? options->optimizer : options->schedule;
        if (options_given(table, conditions[i].option) && !(conditions[i].choices >> chosen & 1))
            return bd_fail(error, BD_ERROR_ARGUMENT, "--%s needs --%s", conditions[i].option, conditions[i].needs);
    }
    if (options->optimizer != BD_OPTIMIZER_SGD && !options_given(table, "lr"))
        options->rate = adam_rate;
    if (options->optimizer == BD_OPTIMIZER_ADAMW && !options_given(table, "weight-decay"))
        options->weight_decay = adamw_weight_decay;
    if (is_gpt)
        set_gpt_defaults(options, table, &size);
    return BD_OK;
}

bd_tokens training_tokens(const training_options *options)
{
    static const bd_tokens choices[] = { BD_TOKENS_CHARACTERS, BD_TOKENS_BYTES };
    return options->tokens == TOKENS_UNSAID ? BD_TOKENS_NONE : choices[options->tokens];
}

void training_params(const training_options *options, bd_train_params *params)
{
    bd_train_params_init(params);
    params->optimizer = (bd_optimizer){
        .kind = (bd_optimizer_kind)options->optimizer,
        .rate = options->rate,
        .momentum = options->momentum,
        .nesterov = options->nesterov,
        .weight_decay = options->weight_decay,
        .decay_matrices = options->decay == DECAY_MATRICES,
        .beta1 = options->beta1,
        .beta2 = options->beta2,
        .epsilon = options->epsilon,
        .epsilon_in_root = options->epsilon_in_root,
        .clip_norm = options->clip,
        .schedule = (bd_schedule_kind)options->schedule,
        .warmup_steps = options->warmup,
        .step_epochs = options->step_epochs,
        .step_factor = options->step_factor,
        .final_rate = options->final_rate,
    };
    params->batch = options->batch;
    params->epochs = options->epochs;
    params->max_steps = options->max_steps;
    params->seed = (uint64_t)options->seed;
    params->measure_steps = options->measure;
    params->augment = options->augment;
    params->dataset_device_bytes = options->data_memory << 20;
    params->gemm = options->gemm;
    params->tuning = options->tuning;
    params->no_fusion = options->no_fusion;
    params->continue_on_nan = options->on_nan == ON_NAN_CONTINUE;
}

json_t *training_json(const training_options *o)
{
    json_t *object =
        json_pack("{s:I, s:I, s:I, s:s, s:o, s:o, s:s, s:o, s:s, s:I, s:s, s:s, s:b, s:b, s:s, s:I}", "batch",
                  (json_int_t)o->batch, "epochs", (json_int_t)o->epochs, "max_steps", (json_int_t)o->max_steps,
                  "optimizer", optimizer_names[o->optimizer], "learning_rate", json_float(o->rate), "weight_decay",
                  json_float(o->weight_decay), "decay", decay_names[o->decay], "clip_norm", json_float(o->clip),
                  "schedule", schedule_names[o->schedule], "warmup_steps", (json_int_t)o->warmup, "gemm",
                  gemm_names[o->gemm], "tune", tuning_names[o->tuning], "fusion", !o->no_fusion, "augment", o->augment,
                  "on_nan", on_nan_names[o->on_nan], "measure_steps", (json_int_t)o->measure);
    if (o->optimizer == BD_OPTIMIZER_SGD) {
        json_object_set_new(object, "momentum", json_float(o->momentum));
        json_object_set_new(object, "nesterov", json_boolean(o->nesterov));
    } else {
        json_object_set_new(object, "beta1", json_float(o->beta1));
        json_object_set_new(object, "beta2", json_float(o->beta2));
        json_object_set_new(object, "epsilon", json_float(o->epsilon));
        json_object_set_new(object, "epsilon_in_root", json_boolean(o->epsilon_in_root));
    }
    if (o->schedule == BD_SCHEDULE_STEP) {
        json_object_set_new(object, "step_epochs", json_integer(o->step_epochs));
        json_object_set_new(object, "step_factor", json_float(o->step_factor));
    }
    if (o->schedule == BD_SCHEDULE_COSINE)
        json_object_set_new(object, "final_learning_rate", json_float(o->final_rate));
    return object;
}

void training_describe(const training_options *o, char *text, size_t size)
{
    static const char *const titles[] = { "SGD", "Adam", "AdamW" };
    int length = snprintf(text, size, "%s, learning rate %g", titles[o->optimizer], (double)o->rate);
    if (o->optimizer == BD_OPTIMIZER_SGD && o->momentum > 0 && (size_t)length < size)
        length += snprintf(text + length, size - (size_t)length, ", momentum %g%s", (double)o->momentum,
                           o->nesterov ? " (Nesterov)" : "");
    if (o->weight_decay > 0 && (size_t)length < size)
        length += snprintf(text + length, size - (size_t)length, ", weight decay %g", (double)o->weight_decay);
    if (o->schedule != BD_SCHEDULE_CONSTANT && (size_t)length < size)
        length += snprintf(text + length, size - (size_t)length, ", %s schedule", schedule_names[o->schedule]);
    if ((size_t)length < size)
        snprintf(text + length, size - (size_t)length, ", batch %lld", (long long)o->batch);
}
