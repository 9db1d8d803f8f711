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
    /* What contractions read values as, in F32 as they are: simulated, the products are those of the rounded
     * numbers. */
    BD_ROLE_WEIGHT_OPERAND,     /* "qw" */
    BD_ROLE_ACTIVATION_OPERAND, /* "qa" */
    BD_ROLE_GRADIENT_OPERAND,   /* "qg" */
    BD_ROLE_FIXED,              /* not under a policy: data sets, indices, counters, metrics keep their own format */
    BD_ROLE_COUNT
} bd_role;

typedef enum bd_scaling { BD_SCALING_NONE, BD_SCALING_STATIC, BD_SCALING_DYNAMIC } bd_scaling;

/* How operands of contractions get into the range of their format: as they are; scaled by the power of two that the
 * largest magnitude of the steps before allows (delayed scaling: Micikevicius et al., arXiv:2209.05433); or, weights
 * and activations, in steps whose size is learned (LSQ: Esser et al., arXiv:1902.08153). */
typedef enum bd_operand_scaling { BD_OPERANDS_PLAIN, BD_OPERANDS_DELAYED, BD_OPERANDS_LEARNED } bd_operand_scaling;

#define BD_MAX_OVERRIDES 128
/* Most bytes of a policy's text, the one that ends it included. */
#define BD_POLICY_TEXT 8192

/* A layer override: nodes whose layer name is `layer`, or begins with `layer` and '/', take these formats. Of several
 * that match, the last counts. Applying a policy to a model that has no such layer is an error. */
typedef struct bd_precision_override {
    char layer[64];
    bool set[BD_ROLE_COUNT];
    bd_format format[BD_ROLE_COUNT];
    bool mode_set[BD_ROLE_COUNT];
    bd_round_mode mode[BD_ROLE_COUNT];
} bd_precision_override;

/* The whole policy. Loss scaling follows PyTorch's GradScaler (Micikevicius et al., arXiv:1710.03740, describe the
 * method): start at `scale`; after `growth_interval` steps without overflow multiply by `growth`; on overflow skip the
 * update and multiply by `backoff`. */
typedef struct bd_precision {
    char name[192];            /* `text`; of a longer one the beginning and a hash of all */
    char text[BD_POLICY_TEXT]; /* what it was parsed from */
    bd_format format[BD_ROLE_COUNT];
    bd_round_mode mode[BD_ROLE_COUNT]; /* of the roundings to formats other than F32 */
    bd_operand_scaling operands;
    uint32_t history; /* of DELAYED: steps, a power of two up to 65536 */
    bd_format ends;   /* of the operands of the first and the last layer that contracts weights; F32: as all others */
    bool kahan;       /* updates are summed with compensation (arXiv:2010.06192) */
    bool saturate;    /* what is beyond a format's largest value becomes that */
    /* Where the device's matrix units multiply the operands of contractions in their own format of 8 bits, sums may be
     * theirs: of 128 products in fewer bits than F32 has (bd_device_info says in how many), and of those in F32.
     * Elsewhere they are as without. */
    bool unit_sums;
    bd_scaling scaling;
    float scale, growth, backoff;
    uint32_t growth_interval;
    size_t override_count;
    bd_precision_override overrides[BD_MAX_OVERRIDES];
} bd_precision;

/* Parses a policy: a preset (bd_precision_presets) or a preset or nothing followed by settings,
 *     [preset,]role=format[:rounding],...[;layer:role=format[:rounding],...]
 * roles w a g stat acc master state qw qa qg; formats f32 f16 bf16 f8e4m3 f8e5m2 and eXmY, of sums (acc) f32 and f16,
 * of operands that are scaled (qw qa qg) also int8, int4, int3 and int2; roundings nearest zero mask stochastic. Also
 * round=ROUNDING of all roles, overflow=inf|saturate, kahan=on|off, operands=plain|delayed|learned, history=STEPS,
 * ends=FORMAT, sums=exact|unit, scale=none|dynamic|NUMBER, growth=, backoff=, interval=. Roles left open are fp32's,
 * and rounded to nearest. BD_ERROR_ARGUMENT names the position and lists what is known. */
BD_API bd_status bd_precision_parse(const char *text, bd_precision *precision, bd_error *error);

/* The format of `role` in the layer called `layer` (NULL or "" for none). */
BD_API bd_format bd_precision_format(const bd_precision *precision, bd_role role, const char *layer);

/* How values of `role` in that layer are rounded: to the nearest, as IEEE 754 says, where the format is F32. */
BD_API bd_rounding_rule bd_precision_rule(const bd_precision *precision, bd_role role, const char *layer);

/* "w", "a", ... as in the grammar above. */
BD_API const char *bd_role_name(bd_role role);

/* The names of the presets, NULL-terminated. */
BD_API const char *const *bd_precision_presets(void);

#ifdef __cplusplus
}
#endif
#endif
