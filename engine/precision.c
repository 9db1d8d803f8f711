/* Precision policies: their grammar, the presets, and giving a graph its formats. The only place that knows
 * policies. */
#include "build.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const role_names[BD_ROLE_COUNT] = {
    [BD_ROLE_WEIGHT] = "w",        [BD_ROLE_ACTIVATION] = "a",  [BD_ROLE_GRADIENT] = "g",  [BD_ROLE_STATISTIC] = "stat",
    [BD_ROLE_ACCUMULATOR] = "acc", [BD_ROLE_MASTER] = "master", [BD_ROLE_STATE] = "state", [BD_ROLE_FIXED] = "fixed",
};

static const char *const preset_names[] = { "fp32", "fp16", "fp16-strict", "mixed", NULL };

#define KNOWN_PRESETS "fp32, fp16, fp16-strict, mixed"
#define KNOWN_SETTINGS "w, a, g, stat, acc, master, state, scale, growth, backoff, interval"
#define KNOWN_LAYER_SETTINGS "w, a, g, stat, acc, master, state"
#define KNOWN_FORMATS "f32, f16"

const char *bd_role_name(bd_role role)
{
    return (unsigned)role < BD_ROLE_COUNT ? role_names[role] : "unknown";
}

const char *const *bd_precision_presets(void)
{
    return preset_names;
}

static void set_all(bd_precision *precision, bd_format format)
{
    for (int role = 0; role < BD_ROLE_COUNT; role++)
        precision->format[role] = format;
    precision->format[BD_ROLE_FIXED] = BD_F32;
}

/* fp32, with what GradScaler starts with, should scaling be switched on. */
static void set_defaults(bd_precision *precision)
{
    *precision =
        (bd_precision){ .scaling = BD_SCALING_NONE, .scale = 1, .growth = 2, .backoff = 0.5f, .growth_interval = 2000 };
    set_all(precision, BD_F32);
}

static void set_dynamic(bd_precision *precision)
{
    precision->scaling = BD_SCALING_DYNAMIC;
    precision->scale = 65536;
}

/* False if there is no such preset. */
static bool set_preset(bd_precision *precision, const char *name, size_t length)
{
    int preset = 0;
    while (preset_names[preset] &&
           (strlen(preset_names[preset]) != length || memcmp(preset_names[preset], name, length)))
        preset++;
    switch (preset) {
    case 0: set_all(precision, BD_F32); return true;
    case 1: /* the study's: everything stored in half, sums in single */
        set_all(precision, BD_F16);
        precision->format[BD_ROLE_ACCUMULATOR] = BD_F32;
        return true;
    case 2: set_all(precision, BD_F16); return true;
    case 3: /* Micikevicius et al., arXiv:1710.03740 */
        set_all(precision, BD_F32);
        precision->format[BD_ROLE_WEIGHT] = BD_F16;
        precision->format[BD_ROLE_ACTIVATION] = BD_F16;
        precision->format[BD_ROLE_GRADIENT] = BD_F16;
        set_dynamic(precision);
        return true;
    default: return false;
    }
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

static bool find_format(span name, bd_format *format)
{
    static const bd_format known[] = { BD_F32, BD_F16 };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (equals(name, bd_format_name(known[i]))) {
            *format = known[i];
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

static bd_status set_scaling(parser *p, span name, span value)
{
    bd_precision *precision = p->precision;
    double number = 0;
    bool is_number = find_number(value, &number);
    if (equals(name, "scale")) {
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

/* What one section has set so far: a bit a role, then a bit for each of these. */
static const char *const scaling_settings[] = { "scale", "growth", "backoff", "interval" };
enum { SCALING_SETTING_COUNT = sizeof scaling_settings / sizeof *scaling_settings };

/* role=format or, outside of layers, scale=... and so on. `override` is NULL outside of layers. */
static bd_status parse_setting(parser *p, bd_precision_override *override, unsigned *seen)
{
    span name = take(p, "=,;:");
    unsigned bit = 0;
    bd_role role = BD_ROLE_COUNT;
    if (find_role(name, &role))
        bit = 1u << role;
    for (int i = 0; i < SCALING_SETTING_COUNT && !override; i++)
        if (equals(name, scaling_settings[i]))
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
        return set_scaling(p, name, value);
    bd_format format;
    if (!find_format(value, &format))
        return reject(p, value, "unknown format", "known: " KNOWN_FORMATS);
    if (override) {
        override->set[role] = true;
        override->format[role] = format;
    } else {
        p->precision->format[role] = format;
    }
    return BD_OK;
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
        return reject(p, layer, "no layer before the ':' in", "write LAYER:ROLE=FORMAT,...");
    bd_precision_override *override = &precision->overrides[precision->override_count];
    if (precision->override_count == BD_MAX_OVERRIDES)
        return reject(p, layer, "too many layers at", "16 can have formats of their own");
    _Static_assert(BD_MAX_OVERRIDES == 16, "the message above names it");
    if (layer.length >= sizeof override->layer)
        return reject(p, layer, "a name too long", "a layer's name has at most 63 characters here");
    memcpy(override->layer, layer.start, layer.length);
    precision->override_count++;
    p->at++;
    unsigned seen = 0;
    return parse_settings(p, override, &seen);
}

/* [preset,]role=format,... */
static bd_status parse_base(parser *p)
{
    span first = { p->at, strcspn(p->at, "=,;:") };
    char after = first.start[first.length];
    if (after != '=' && after != ':') {
        if (!set_preset(p->precision, first.start, first.length))
            return reject(p, first, "unknown preset",
                          "known: " KNOWN_PRESETS ", or settings ROLE=FORMAT of w, a, g, stat, acc, master, state");
        p->at += first.length;
        if (after != ',')
            return BD_OK;
        p->at++;
    }
    unsigned seen = 0;
    return parse_settings(p, NULL, &seen);
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

bd_status bd_precision_parse(const char *text, bd_precision *precision, bd_error *error)
{
    if (!text || !*text)
        return bd_fail(error, BD_ERROR_ARGUMENT,
                       "an empty precision; known: " KNOWN_PRESETS
                       ", or settings ROLE=FORMAT of w, a, g, stat, acc, master, state");
    bd_precision parsed;
    set_defaults(&parsed);
    if (strlen(text) >= sizeof parsed.name)
        return bd_fail(error, BD_ERROR_ARGUMENT, "precision '%.60s...' is longer than %zu characters", text,
                       sizeof parsed.name - 1);
    memcpy(parsed.name, text, strlen(text) + 1);
    bd_status status = parse(&(parser){ .text = text, .at = text, .precision = &parsed, .error = error });
    if (status == BD_OK)
        *precision = parsed;
    return status;
}

/* ---- applying a policy ---- */

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

bd_status bd_graph_apply_precision(bd_graph *graph, const bd_precision *precision, bd_error *error)
{
    bd_status status = bd_graph_status(graph, error);
    if (status == BD_OK)
        status = check_overrides(graph, precision, error);
    if (status != BD_OK)
        return status;
    for (bd_tensor i = 0; i < graph->node_count; i++) {
        bd_node *node = &graph->nodes[i];
        node->format = node_format(graph, node, precision);
        node->accumulator = node->role == BD_ROLE_FIXED
                                ? BD_F32
                                : bd_precision_format(precision, BD_ROLE_ACCUMULATOR, graph->layers[node->layer]);
    }
    return BD_OK;
}
