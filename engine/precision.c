/* Precision policies: their grammar, the presets, and giving a graph its formats. The only place that knows
 * policies. */
#include "build.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const role_names[BD_ROLE_COUNT] = {
    [BD_ROLE_WEIGHT] = "w",
    [BD_ROLE_ACTIVATION] = "a",
    [BD_ROLE_GRADIENT] = "g",
    [BD_ROLE_STATISTIC] = "stat",
    [BD_ROLE_ACCUMULATOR] = "acc",
    [BD_ROLE_MASTER] = "master",
    [BD_ROLE_STATE] = "state",
    [BD_ROLE_FIXED] = "fixed",
    [BD_ROLE_WEIGHT_OPERAND] = "qw",
    [BD_ROLE_ACTIVATION_OPERAND] = "qa",
    [BD_ROLE_GRADIENT_OPERAND] = "qg",
};

#define BF16 "a=bf16,g=bf16,stat=bf16,master=bf16,state=bf16"
#define FP8 "qw=f8e4m3,qa=f8e4m3,qg=f8e5m2,operands=delayed,overflow=saturate"

/* Presets are settings, in the grammar of all policies. */
static const struct {
    const char *name, *settings;
} presets[] = {
    { "fp32", "" },
    /* The study's: everything stored in half, sums in single. */
    { "fp16", "w=f16,a=f16,g=f16,stat=f16,master=f16,state=f16" },
    { "fp16-strict", "w=f16,a=f16,g=f16,stat=f16,acc=f16,master=f16,state=f16" },
    /* Micikevicius et al., arXiv:1710.03740. */
    { "mixed", "w=f16,a=f16,g=f16,scale=dynamic" },
    /* Zamirai et al., arXiv:2010.06192: 16 bits for all but sums; and with what repairs the rounding of updates. */
    { "bf16", BF16 ",w=bf16" },
    { "bf16-sr", BF16 ",w=bf16:stochastic" },
    { "bf16-kahan", BF16 ",w=bf16,kahan=on" },
    { "fp16-kahan", "w=f16,a=f16,g=f16,stat=f16,master=f16,state=f16,kahan=on" },
    { "mixed-bf16", "w=bf16,a=bf16,g=bf16" },
    /* Micikevicius et al., arXiv:2209.05433: contractions of 8-bit operands, all else in single. */
    { "fp8", FP8 },
    /* With the sums that matrix units of 8 bits make: DeepSeek-V3, arXiv:2412.19437, section 3.3.2. */
    { "fp8-native", FP8 ",sums=unit" },
    /* Esser et al., arXiv:1902.08153: contractions of whole numbers of learned steps, trained in single. */
    { "int8-qat", "qw=int8,qa=int8,operands=learned" },
    { "int4-qat", "qw=int4,qa=int4,operands=learned,ends=int8" },
    /* What NVIDIA's matrix units make of single precision. */
    { "tf32", "qw=e8m10,qa=e8m10,qg=e8m10" },
};
enum { PRESET_COUNT = sizeof presets / sizeof *presets };

#define KNOWN_PRESETS                                                                                                  \
    "fp32, fp16, fp16-strict, mixed, bf16, bf16-sr, bf16-kahan, fp16-kahan, mixed-bf16, fp8, "                         \
    "fp8-native, int8-qat, int4-qat, tf32"
#define KNOWN_LAYER_SETTINGS "w, a, g, stat, acc, master, state, qw, qa, qg"
#define KNOWN_SETTINGS                                                                                                 \
    KNOWN_LAYER_SETTINGS ", round, overflow, kahan, operands, history, ends, sums, scale, growth, backoff, interval"
#define KNOWN_FORMATS "f32, f16, bf16, f8e4m3, f8e5m2, and e2m0 to e8m23"
#define KNOWN_OPERAND_FORMATS "int8, int4, int3, int2, " KNOWN_FORMATS
#define KNOWN_MODES "nearest, zero, mask, stochastic"

const char *bd_role_name(bd_role role)
{
    return (unsigned)role < BD_ROLE_COUNT ? role_names[role] : "unknown";
}

const char *const *bd_precision_presets(void)
{
    static const char *const names[] = { "fp32",       "fp16",       "fp16-strict", "mixed",      "bf16",
                                         "bf16-sr",    "bf16-kahan", "fp16-kahan",  "mixed-bf16", "fp8",
                                         "fp8-native", "int8-qat",   "int4-qat",    "tf32",       NULL };
    _Static_assert(sizeof names / sizeof *names == PRESET_COUNT + 1, "a name for each preset");
    return names;
}

/* fp32, with what GradScaler starts with, should scaling be switched on. */
static void set_defaults(bd_precision *precision)
{
    memset(precision, 0, sizeof *precision); /* what lies between members too: equal policies have equal bytes */
    precision->scaling = BD_SCALING_NONE;
    precision->scale = 1;
    precision->growth = 2;
    precision->backoff = 0.5f;
    precision->growth_interval = 2000;
    precision->history = 1024; /* as Transformer Engine */
    precision->ends = BD_F32;
    for (int role = 0; role < BD_ROLE_COUNT; role++)
        precision->format[role] = BD_F32;
}

static void set_dynamic(bd_precision *precision)
{
    precision->scaling = BD_SCALING_DYNAMIC;
    precision->scale = 65536;
}

/* ---- the grammar ---- */

typedef struct span {
    const char *start;
    size_t length;
} span;

typedef struct parser {
    const char *text, *at;
    bd_precision *precision;
    bd_error *error;
} parser;

/* Takes what comes up to one of `stops` or the end. */
static span take(parser *p, const char *stops)
{
    span taken = { p->at, strcspn(p->at, stops) };
    p->at += taken.length;
    return taken;
}

static bool equals(span s, const char *word)
{
    return strlen(word) == s.length && memcmp(word, s.start, s.length) == 0;
}

/* "precision 'fp32,w=f17', character 8: unknown format 'f17'; known: f32, f16" */
static bd_status reject(const parser *p, span where, const char *what, const char *advice)
{
    return bd_fail(p->error, BD_ERROR_ARGUMENT, "precision '%.200s', character %zu: %s '%.*s'; %s", p->text,
                   (size_t)(where.start - p->text) + 1, what, (int)(where.length < 80 ? where.length : 80), where.start,
                   advice);
}

static bool find_role(span name, bd_role *role)
{
    for (int i = 0; i < BD_ROLE_FIXED; i++) {
        if (equals(name, role_names[i])) {
            *role = (bd_role)i;
            return true;
        }
    }
    return false;
}

static bool is_operand(bd_role role)
{
    return role == BD_ROLE_WEIGHT_OPERAND || role == BD_ROLE_ACTIVATION_OPERAND || role == BD_ROLE_GRADIENT_OPERAND;
}

/* Formats that a policy can name: floats; of sums those that kernels add in, of operands whole numbers too. */
static bool find_format(span name, bd_role role, bd_format *format)
{
    char copy[16];
    if (name.length >= sizeof copy)
        return false;
    memcpy(copy, name.start, name.length);
    copy[name.length] = '\0';
    if (!bd_format_from_name(copy, format))
        return false;
    const bd_format_kind kind = bd_format_describe(*format).kind;
    return (kind == BD_KIND_FLOAT || (kind == BD_KIND_SIGNED && is_operand(role))) &&
           (role != BD_ROLE_ACCUMULATOR || *format == BD_F32 || *format == BD_F16);
}

static bool find_mode(span name, bd_round_mode *mode)
{
    for (int i = 0; i < BD_ROUND_MODE_COUNT; i++) {
        if (equals(name, bd_round_mode_name((bd_round_mode)i))) {
            *mode = (bd_round_mode)i;
            return true;
        }
    }
    return false;
}

/* A positive finite number that fills the span. */
static bool find_number(span s, double *number)
{
    char copy[32], *end;
    if (s.length == 0 || s.length >= sizeof copy || strspn(s.start, "0123456789.eE+-") < s.length)
        return false;
    memcpy(copy, s.start, s.length);
    copy[s.length] = '\0';
    *number = strtod(copy, &end);
    return *end == '\0' && isfinite((float)*number) && (float)*number > 0;
}

/* A setting of the whole policy. */
static bd_status set_general(parser *p, span name, span value)
{
    bd_precision *precision = p->precision;
    double number = 0;
    bool is_number = find_number(value, &number);
    bd_round_mode mode;
    if (equals(name, "round")) {
        if (!find_mode(value, &mode))
            return reject(p, value, "unknown rounding", "known: " KNOWN_MODES);
        for (int role = 0; role < BD_ROLE_COUNT; role++)
            precision->mode[role] = mode;
    } else if (equals(name, "overflow")) {
        if (!equals(value, "inf") && !equals(value, "saturate"))
            return reject(p, value, "unknown overflow", "known: inf, saturate");
        precision->saturate = equals(value, "saturate");
    } else if (equals(name, "kahan")) {
        if (!equals(value, "on") && !equals(value, "off"))
            return reject(p, value, "unknown kahan", "known: on, off");
        precision->kahan = equals(value, "on");
    } else if (equals(name, "operands")) {
        if (!equals(value, "plain") && !equals(value, "delayed") && !equals(value, "learned"))
            return reject(p, value, "unknown operands", "known: plain, delayed, learned");
        precision->operands = equals(value, "delayed")   ? BD_OPERANDS_DELAYED
                              : equals(value, "learned") ? BD_OPERANDS_LEARNED
                                                         : BD_OPERANDS_PLAIN;
    } else if (equals(name, "ends")) {
        if (!find_format(value, BD_ROLE_WEIGHT_OPERAND, &precision->ends))
            return reject(p, value, "unknown format", "known: " KNOWN_OPERAND_FORMATS);
    } else if (equals(name, "sums")) {
        if (!equals(value, "exact") && !equals(value, "unit"))
            return reject(p, value, "unknown sums", "known: exact, unit");
        precision->unit_sums = equals(value, "unit");
    } else if (equals(name, "history")) {
        if (!is_number || number > 65536 || number < 1 || exp2(rint(log2(number))) != number)
            return reject(p, value, "wrong history", "must be a number of steps, a power of two up to 65536");
        precision->history = (uint32_t)number;
    } else if (equals(name, "scale")) {
        if (equals(value, "none")) {
            precision->scaling = BD_SCALING_NONE;
            precision->scale = 1;
        } else if (equals(value, "dynamic")) {
            set_dynamic(precision);
        } else if (is_number) {
            precision->scaling = BD_SCALING_STATIC;
            precision->scale = (float)number;
        } else {
            return reject(p, value, "unknown scale", "known: none, dynamic or a positive number");
        }
    } else if (equals(name, "growth")) {
        if (!is_number || !((float)number > 1))
            return reject(p, value, "wrong growth", "must be a number above 1");
        precision->growth = (float)number;
    } else if (equals(name, "backoff")) {
        if (!is_number || !((float)number < 1))
            return reject(p, value, "wrong backoff", "must be a number above 0 and below 1");
        precision->backoff = (float)number;
    } else { /* interval */
        if (!is_number || number != floor(number) || number > UINT32_MAX)
            return reject(p, value, "wrong interval", "must be a whole number of steps, at least 1");
        precision->growth_interval = (uint32_t)number;
    }
    return BD_OK;
}

/* FORMAT or FORMAT:MODE. */
static bd_status set_role(parser *p, bd_precision_override *override, bd_role role, span value)
{
    const char *colon = memchr(value.start, ':', value.length);
    const span name = { value.start, colon ? (size_t)(colon - value.start) : value.length };
    bd_format format;
    bd_round_mode mode = BD_ROUND_NEAREST;
    if (!find_format(name, role, &format))
        return reject(p, name, role == BD_ROLE_ACCUMULATOR ? "unknown format of sums" : "unknown format",
                      role == BD_ROLE_ACCUMULATOR ? "known: f32, f16"
                      : is_operand(role)          ? "known: " KNOWN_OPERAND_FORMATS
                                                  : "known: " KNOWN_FORMATS);
    const span rounding = { colon ? colon + 1 : NULL, colon ? value.length - name.length - 1 : 0 };
    if (colon && !find_mode(rounding, &mode))
        return reject(p, rounding, "unknown rounding", "known: " KNOWN_MODES);
    if (colon && role == BD_ROLE_ACCUMULATOR)
        return reject(p, rounding, "a rounding of sums", "the device rounds them; leave it out");
    if (override) {
        override->set[role] = true;
        override->format[role] = format;
        override->mode_set[role] = colon != NULL;
        override->mode[role] = mode;
    } else {
        p->precision->format[role] = format;
        p->precision->mode[role] = colon ? mode : p->precision->mode[role];
    }
    return BD_OK;
}

/* What one section has set so far: a bit a role, then a bit for each of these. */
static const char *const general_settings[] = { "round", "overflow", "kahan",  "operands", "history", "ends",
                                                "sums",  "scale",    "growth", "backoff",  "interval" };
enum { GENERAL_SETTING_COUNT = sizeof general_settings / sizeof *general_settings };

/* role=format[:mode] or, outside of layers, scale=... and so on. `override` is NULL outside of layers. */
static bd_status parse_setting(parser *p, bd_precision_override *override, unsigned *seen)
{
    span name = take(p, "=,;:");
    unsigned bit = 0;
    bd_role role = BD_ROLE_COUNT;
    if (find_role(name, &role))
        bit = 1u << role;
    for (int i = 0; i < GENERAL_SETTING_COUNT && !override; i++)
        if (equals(name, general_settings[i]))
            bit = 1u << (BD_ROLE_COUNT + i);
    if (!bit)
        return reject(p, name, "unknown setting",
                      override ? "known in a layer: " KNOWN_LAYER_SETTINGS
                               : "known: " KNOWN_SETTINGS ", or one of the presets " KNOWN_PRESETS " in front");
    if (*seen & bit)
        return reject(p, name, "a second", "give each setting once");
    *seen |= bit;
    if (*p->at != '=')
        return reject(p, name, "no value for", "write it as NAME=VALUE");
    p->at++;
    span value = take(p, ",;");
    if (role == BD_ROLE_COUNT)
        return set_general(p, name, value);
    return set_role(p, override, role, value);
}

static bd_status parse_settings(parser *p, bd_precision_override *override, unsigned *seen)
{
    for (;;) {
        bd_status status = parse_setting(p, override, seen);
        if (status != BD_OK || *p->at != ',')
            return status;
        p->at++;
    }
}

/* layer:role=format,... */
static bd_status parse_layer(parser *p)
{
    bd_precision *precision = p->precision;
    span layer = take(p, ":=,;");
    if (layer.length == 0 || *p->at != ':')
        return reject(p, layer, layer.length == 0 ? "no layer before the ':' in" : "no ':' after the layer",
                      "write LAYER:ROLE=FORMAT,...");
    bd_precision_override *override = &precision->overrides[precision->override_count];
    if (precision->override_count == BD_MAX_OVERRIDES)
        return reject(p, layer, "too many layers at", "128 can have formats of their own");
    _Static_assert(BD_MAX_OVERRIDES == 128, "the message above names it");
    if (layer.length >= sizeof override->layer)
        return reject(p, layer, "a name too long", "a layer's name has at most 63 characters here");
    memcpy(override->layer, layer.start, layer.length);
    precision->override_count++;
    p->at++;
    return parse_settings(p, override, &(unsigned){ 0 });
}

/* [preset,]role=format,... */
static bd_status parse_base(parser *p)
{
    span first = { p->at, strcspn(p->at, "=,;:") };
    char after = first.start[first.length];
    if (after != '=' && after != ':') {
        int preset = 0;
        while (preset < PRESET_COUNT && !equals(first, presets[preset].name))
            preset++;
        if (preset == PRESET_COUNT)
            return reject(p, first, "unknown preset",
                          "known: " KNOWN_PRESETS ", or settings ROLE=FORMAT of w, a, g, stat, acc, master, state");
        parser settings = { presets[preset].settings, presets[preset].settings, p->precision, p->error };
        bd_status status = *settings.at ? parse_settings(&settings, NULL, &(unsigned){ 0 }) : BD_OK;
        p->at += first.length;
        if (status != BD_OK || after != ',')
            return status;
        p->at++;
    }
    return parse_settings(p, NULL, &(unsigned){ 0 });
}

static bd_status parse(parser *p)
{
    /* "layer:..." first: nothing but layers, over fp32 */
    bool begins_with_layer = p->at[strcspn(p->at, ":=,;")] == ':';
    bd_status status = begins_with_layer ? parse_layer(p) : parse_base(p);
    while (status == BD_OK && *p->at == ';') {
        p->at++;
        status = parse_layer(p);
    }
    if (status == BD_OK && *p->at)
        status =
            reject(p, (span){ p->at, strlen(p->at) }, "cannot read", "settings are separated by ',', layers by ';'");
    return status;
}

/* Whole numbers have no range without a scale: of weights and activations a learned one will do, of gradients none is
 * learned. */
static bd_status check_scales(const bd_precision *precision, bd_error *error)
{
    for (int role = BD_ROLE_WEIGHT_OPERAND; role <= BD_ROLE_GRADIENT_OPERAND; role++) {
        bool whole = bd_format_describe(precision->format[role]).kind == BD_KIND_SIGNED;
        for (size_t i = 0; i < precision->override_count; i++)
            whole |= precision->overrides[i].set[role] &&
                     bd_format_describe(precision->overrides[i].format[role]).kind == BD_KIND_SIGNED;
        if (role != BD_ROLE_GRADIENT_OPERAND)
            whole |= bd_format_describe(precision->ends).kind == BD_KIND_SIGNED;
        const bool learns = precision->operands == BD_OPERANDS_LEARNED && role != BD_ROLE_GRADIENT_OPERAND;
        if (whole && precision->operands != BD_OPERANDS_DELAYED && !learns)
            return bd_fail(error, BD_ERROR_ARGUMENT, "precision '%.200s': whole numbers of %s need a scale; add %s",
                           precision->name, role_names[role],
                           role == BD_ROLE_GRADIENT_OPERAND ? "operands=delayed"
                                                            : "operands=learned or operands=delayed");
    }
    return BD_OK;
}

/* FNV-1a: tells apart the names of policies too long to be their own. */
static uint32_t hash(const char *text)
{
    uint32_t value = 2166136261u;
    for (; *text; text++)
        value = (value ^ (uint8_t)*text) * 16777619u;
    return value;
}

bd_status bd_precision_parse(const char *text, bd_precision *precision, bd_error *error)
{
    if (!text || !*text)
        return bd_fail(error, BD_ERROR_ARGUMENT,
                       "an empty precision; known: " KNOWN_PRESETS
                       ", or settings ROLE=FORMAT of w, a, g, stat, acc, master, state");
    bd_precision parsed;
    set_defaults(&parsed);
    if (strlen(text) >= sizeof parsed.text)
        return bd_fail(error, BD_ERROR_ARGUMENT, "precision '%.60s...' is longer than %zu characters", text,
                       sizeof parsed.text - 1);
    memcpy(parsed.text, text, strlen(text) + 1);
    if (strlen(text) < sizeof parsed.name)
        memcpy(parsed.name, text, strlen(text) + 1);
    else
        snprintf(parsed.name, sizeof parsed.name, "%.160s...#%08" PRIx32, text, hash(text));
    bd_status status = parse(&(parser){ .text = text, .at = text, .precision = &parsed, .error = error });
    if (status == BD_OK)
        status = check_scales(&parsed, error);
    if (status == BD_OK)
        memcpy(precision, &parsed, sizeof parsed);
    return status;
}

/* ---- applying a policy ---- */

bd_status bd_precision_set_ends(bd_precision *precision, const char *first, const char *last, bd_error *error)
{
    const char *const layers[] = { first, last };
    for (int i = 0; i < 2 && precision->ends != BD_F32; i++) {
        bd_precision_override *override =
            precision->overrides; /* in front: what the policy says of a layer counts more */
        if (precision->override_count == BD_MAX_OVERRIDES || strlen(layers[i]) >= sizeof override->layer)
            return bd_fail(error, BD_ERROR_ARGUMENT, "precision '%s': no room for another format of layer '%s'",
                           precision->name, layers[i]);
        memmove(override + 1, override, precision->override_count * sizeof *override);
        memset(override, 0, sizeof *override);
        memcpy(override->layer, layers[i], strlen(layers[i]) + 1);
        for (int role = BD_ROLE_WEIGHT_OPERAND; role <= BD_ROLE_ACTIVATION_OPERAND; role++) {
            override->set[role] = true;
            override->format[role] = precision->ends;
        }
        precision->override_count++;
    }
    precision->ends = BD_F32;
    return BD_OK;
}

static bool covers(const bd_precision_override *override, const char *layer)
{
    size_t length = strlen(override->layer);
    return strncmp(override->layer, layer, length) == 0 && (layer[length] == '\0' || layer[length] == '/');
}

bd_format bd_precision_format(const bd_precision *precision, bd_role role, const char *layer)
{
    bd_format format = precision->format[role];
    for (size_t i = 0; i < precision->override_count && layer && *layer; i++)
        if (precision->overrides[i].set[role] && covers(&precision->overrides[i], layer))
            format = precision->overrides[i].format[role];
    return format;
}

bd_rounding_rule bd_precision_rule(const bd_precision *precision, bd_role role, const char *layer)
{
    bd_rounding_rule rule = { precision->mode[role], precision->saturate };
    for (size_t i = 0; i < precision->override_count && layer && *layer; i++)
        if (precision->overrides[i].mode_set[role] && covers(&precision->overrides[i], layer))
            rule.mode = precision->overrides[i].mode[role];
    return bd_precision_format(precision, role, layer) == BD_F32 ? (bd_rounding_rule){ BD_ROUND_NEAREST, false } : rule;
}

/* A layer that the graph has not is a mistake in the policy, which should not pass for having an effect. */
static bd_status check_overrides(const bd_graph *graph, const bd_precision *precision, bd_error *error)
{
    for (size_t i = 0; i < precision->override_count; i++) {
        bool found = false;
        for (int32_t layer = 1; layer < graph->layer_count && !found; layer++)
            found = covers(&precision->overrides[i], graph->layers[layer]);
        if (found)
            continue;
        char known[512] = "";
        for (int32_t layer = 1; layer < graph->layer_count; layer++) {
            size_t used = strlen(known);
            snprintf(known + used, sizeof known - used, layer > 1 ? ", %s" : "%s", graph->layers[layer]);
        }
        return bd_fail(error, BD_ERROR_ARGUMENT, "precision '%s': the model has no layer '%s'; it has: %s",
                       precision->name, precision->overrides[i].layer, known);
    }
    return BD_OK;
}

static bd_format node_format(const bd_graph *graph, const bd_node *node, const bd_precision *precision)
{
    switch (node->op) {
    /* whole numbers, or words of the control block */
    case BD_OP_IOTA:
    case BD_OP_CONTROL:
    case BD_OP_VALID:
    case BD_OP_CONTROL_STEP: return BD_F32;
    case BD_OP_BATCH: {
        bd_format data = bd_node_at(graph, node->inputs[0])->format;
        return data == BD_F16 ? BD_F16 : BD_F32;
    }
    case BD_OP_ASSIGN: return bd_node_at(graph, node->inputs[0])->format;
    default: break;
    }
    if (node->role != BD_ROLE_FIXED)
        return bd_precision_format(precision, node->role, graph->layers[node->layer]);
    return node->op == BD_OP_VARIABLE ? node->format : BD_F32;
}

/* What is no result of arithmetic is rounded to nearest, as is all in a graph without a step to draw random numbers
 * of. */
static bd_rounding_rule node_rule(const bd_graph *graph, const bd_node *node, const bd_precision *precision, bool steps)
{
    const bd_op_class class = bd_op_get_info(node->op)->class;
    const bool computes = class != BD_CLASS_SOURCE && class != BD_CLASS_VIEW && class != BD_CLASS_EFFECT;
    bd_rounding_rule rule = { BD_ROUND_NEAREST, false };
    if (computes && node->role != BD_ROLE_FIXED)
        rule = bd_precision_rule(precision, node->role, graph->layers[node->layer]);
    if (rule.mode == BD_ROUND_STOCHASTIC && !steps)
        rule.mode = BD_ROUND_NEAREST;
    return rule;
}

/* Streams of random numbers for roundings, apart from those of RANDOM nodes, which count from 0. */
#define FIRST_DRAW 0x80000000u

bd_status bd_graph_apply_precision(bd_graph *graph, const bd_precision *precision, bd_error *error)
{
    bd_status status = bd_graph_status(graph, error);
    if (status == BD_OK)
        status = check_overrides(graph, precision, error);
    if (status != BD_OK)
        return status;
    const bool steps = bd_graph_find_variable(graph, "control") != BD_NONE;
    for (bd_tensor i = 0; i < graph->node_count; i++) {
        bd_node *node = &graph->nodes[i];
        node->format = node_format(graph, node, precision);
        node->rule = node_rule(graph, node, precision, steps);
        node->draw = FIRST_DRAW + (uint32_t)i;
        node->unit_sums = precision->unit_sums;
        node->accumulator = node->role == BD_ROLE_FIXED
                                ? BD_F32
                                : bd_precision_format(precision, BD_ROLE_ACCUMULATOR, graph->layers[node->layer]);
    }
    return BD_OK;
}
