#include "wire.h"
#include "engine/philox.h"
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Formats of fewer bits are too narrow for weights and updates as they are. */
enum { LEAST_PLAIN_BITS = 16, SCALE_BYTES = 4 };

/* ---- names ---- */

static bool take_mode(wire *self, const char *word)
{
    for (int m = 0; m < BD_ROUND_MODE_COUNT; m++)
        if (!strcmp(word, bd_round_mode_name((bd_round_mode)m))) {
            self->mode = (bd_round_mode)m;
            return true;
        }
    return false;
}

static bd_status check_scale(const wire *self, const char *text, bd_error *error)
{
    const bd_format_info info = bd_format_describe(self->format);
    char least[32] = "1";
    if (info.kind == BD_KIND_FLOAT)
        snprintf(least, sizeof least, "2^%d", ilogb(info.least));
    if (self->scaled || info.bits >= LEAST_PLAIN_BITS)
        return BD_OK;
    return bd_fail(error, BD_ERROR_ARGUMENT,
                   "wire format '%s': %s needs a scale, since its own magnitudes go from %s to %g only: leave out "
                   "scale=none",
                   text, info.name, least, info.largest);
}

bd_status wire_parse(const char *text, wire *self, bd_error *error)
{
    char copy[64], *rest = copy;
    if (snprintf(copy, sizeof copy, "%s", text) >= (int)sizeof copy)
        return bd_fail(error, BD_ERROR_ARGUMENT, "wire format '%.40s...': too long", text);
    const char *name = strsep(&rest, ":"), *word;
    *self = (wire){ .mode = BD_ROUND_NEAREST };
    if (!bd_format_from_name(name, &self->format) || self->format == BD_U8 || self->format == BD_U32)
        return bd_fail(
            error, BD_ERROR_ARGUMENT,
            "wire format '%s': '%s' is none of f32, f16, bf16, f8e4m3, f8e5m2, eXmY, int8, int4, int3 and int2", text,
            name);
    const bool needed = bd_format_describe(self->format).bits < LEAST_PLAIN_BITS;
    self->scaled = needed;
    while ((word = strsep(&rest, ":"))) {
        if (!strcmp(word, "scale=max") || !strcmp(word, "scale=none"))
            self->scaled = !strcmp(word, "scale=max");
        else if (!take_mode(self, word))
            return bd_fail(error, BD_ERROR_ARGUMENT,
                           "wire format '%s': '%s' is no rounding (nearest, zero, mask, stochastic) and no scale "
                           "(scale=max, scale=none)",
                           text, word);
    }
    snprintf(self->name, sizeof self->name, "%s%s%s%s", bd_format_name(self->format),
             self->mode == BD_ROUND_NEAREST ? "" : ":",
             self->mode == BD_ROUND_NEAREST ? "" : bd_round_mode_name(self->mode),
             self->scaled && !needed ? ":scale=max" : "");
    return check_scale(self, text, error);
}

/* ---- messages ---- */

uint64_t wire_bytes(const wire *self, int64_t elements)
{
    enum { BYTE = 8 };
    const uint64_t bits = (uint64_t)elements * (uint64_t)bd_format_describe(self->format).bits;
    return (bits + BYTE - 1) / BYTE + (self->scaled ? SCALE_BYTES : 0);
}

/* The clip over the format's largest value, rounded down to F32: the clip itself becomes that value in every
 * rounding. */
static double scale_of(const wire *self, const double *values, size_t count)
{
    const double largest = bd_format_describe(self->format).largest;
    double clip = 0;
    for (size_t i = 0; i < count; i++)
        clip = fmax(clip, fabs(values[i]));
    float scale = (float)(clip / largest);
    if (scale * largest > clip)
        scale = nextafterf(scale, 0);
    return scale > 0 || clip == 0 ? scale : FLT_TRUE_MIN;
}

bool wire_send(const wire *self, const wire_message *message, double *values, size_t count)
{
    static const uint32_t domain = UINT32_C(0x77697265); /* apart from other numbers of the same seed */
    const uint32_t key[2] = { (uint32_t)message->seed ^ domain, (uint32_t)(message->seed >> 32) };
    const bd_rounding_rule rule = { self->mode, true };
    uint32_t words[4] = { 0 };
    for (size_t i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return false;
    const double scale = self->scaled ? scale_of(self, values, count) : 1;
    for (size_t i = 0; i < count && scale > 0; i++) {
        if (self->mode == BD_ROUND_STOCHASTIC && i % 4 == 0)
            bd_philox(key, (uint32_t[]){ (uint32_t)(i / 4), message->tensor, message->round, message->sender }, words);
        values[i] = (float)(scale * bd_round_by(self->format, rule, words[i % 4], values[i] / scale));
    }
    return true;
}
