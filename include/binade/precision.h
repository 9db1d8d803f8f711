/* Precision policies: which number format each role in training is stored and summed in. Policies are data. */
#ifndef BINADE_PRECISION_H
#define BINADE_PRECISION_H

#include <binade/format.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a tensor is for. A policy gives each role a format. */
typedef enum bd_role {
    BD_ROLE_WEIGHT,      /* "w": parameters as the forward and backward passes read them */
    BD_ROLE_ACTIVATION,  /* "a": values of the forward pass */
    BD_ROLE_GRADIENT,    /* "g": values of the backward pass */
    BD_ROLE_STATISTIC,   /* "stat": softmax, losses, normalisation statistics and their gradients */
    BD_ROLE_ACCUMULATOR, /* "acc": sums inside reductions and contractions */
    BD_ROLE_MASTER,      /* "master": the copy of the weights that the optimizer updates, if it is another */
    BD_ROLE_STATE,       /* "state": momentum and second moments */
    BD_ROLE_FIXED,       /* not under a policy: data sets, indices, counters, metrics keep their own format */
    BD_ROLE_COUNT
} bd_role;

typedef enum bd_scaling { BD_SCALING_NONE, BD_SCALING_STATIC, BD_SCALING_DYNAMIC } bd_scaling;

#define BD_MAX_OVERRIDES 16

/* A layer override: nodes whose layer name is `layer`, or begins with `layer` and '/', take these formats. Of several
 * that match, the last counts. Applying a policy to a model that has no such layer is an error. */
typedef struct bd_precision_override {
    char layer[64];
    bool set[BD_ROLE_COUNT];
    bd_format format[BD_ROLE_COUNT];
} bd_precision_override;

/* The whole policy. Loss scaling follows PyTorch's GradScaler (Micikevicius et al., arXiv:1710.03740, describe the
 * method): start at `scale`; after `growth_interval` steps without overflow multiply by `growth`; on overflow skip the
 * update and multiply by `backoff`. */
typedef struct bd_precision {
    char name[192]; /* a preset's name, or the text it was parsed from */
    bd_format format[BD_ROLE_COUNT];
    bd_scaling scaling;
    float scale, growth, backoff;
    uint32_t growth_interval;
    size_t override_count;
    bd_precision_override overrides[BD_MAX_OVERRIDES];
} bd_precision;

/* Parses a policy: a preset (fp32, fp16, fp16-strict, mixed) or a preset or nothing followed by settings,
 *     [preset,]role=format,...[;layer:role=format,...]
 * roles w a g stat acc master state; also scale=none|dynamic|NUMBER, growth=, backoff=, interval=.
 * Roles left open are fp32's. BD_ERROR_ARGUMENT names the position and lists what is known. */
BD_API bd_status bd_precision_parse(const char *text, bd_precision *precision, bd_error *error);

/* The format of `role` in the layer called `layer` (NULL or "" for none). */
BD_API bd_format bd_precision_format(const bd_precision *precision, bd_role role, const char *layer);

/* "w", "a", ... as in the grammar above. */
BD_API const char *bd_role_name(bd_role role);

/* The names of the presets, NULL-terminated. */
BD_API const char *const *bd_precision_presets(void);

#ifdef __cplusplus
}
#endif
#endif
