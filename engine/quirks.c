/* Quirks as text, in words and as JSON, and what a device must do about them. */
#include "quirks.h"
#include "../backends/backend.h"
#include "tile.h"

#include <binade/binade.h>

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const bd_format formats[] = { BD_F32, BD_F16 };
enum { FORMATS = sizeof formats / sizeof formats[0] };

/* ---- together ---- */

static bool any_avoided(const bd_quirks *quirks)
{
    for (int f = 0; f < FORMATS; f++)
        for (int a = 0; a < FORMATS; a++)
            if (quirks->avoid[formats[f]][formats[a]])
                return true;
    return false;
}

bool bd_quirks_any(const bd_quirks *q)
{
    return any_avoided(q) || q->no_half_arithmetic || q->flushes_f16 || q->flushes_f32 || q->max_workgroup_items ||
           q->max_buffer_bytes || q->wrong_count;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a && (!b || a < b) ? a : b;
}

void bd_quirks_merge(bd_quirks *q, const bd_quirks *more)
{
    for (int f = 0; f < FORMATS; f++)
        for (int a = 0; a < FORMATS; a++)
            q->avoid[formats[f]][formats[a]] |= more->avoid[formats[f]][formats[a]];
    q->no_half_arithmetic |= more->no_half_arithmetic;
    q->flushes_f16 |= more->flushes_f16;
    q->flushes_f32 |= more->flushes_f32;
    q->max_workgroup_items = (uint32_t)least(q->max_workgroup_items, more->max_workgroup_items);
    q->max_buffer_bytes = least(q->max_buffer_bytes, more->max_buffer_bytes);
    for (int i = 0; i < more->wrong_count && q->wrong_count < BD_QUIRKS_WRONG; i++) {
        bool known = false;
        for (int j = 0; j < q->wrong_count; j++)
            known |= strcmp(q->wrong[j], more->wrong[i]) == 0;
        if (!known)
            memcpy(q->wrong[q->wrong_count++], more->wrong[i], sizeof q->wrong[0]);
    }
}

void bd_quirks_apply(const bd_quirks *quirks, bd_device *device)
{
    bd_limits *limits = &device->info.limits;
    bd_half_support *half = &device->info.half;
    memcpy(device->target.avoid, quirks->avoid, sizeof quirks->avoid);
    if (quirks->no_half_arithmetic)
        half->arithmetic_exact = false;
    if (quirks->flushes_f16)
        half->subnormals = false;
    if (quirks->flushes_f32)
        half->subnormals_f32 = false;
    if (quirks->max_workgroup_items) {
        limits->max_workgroup_items = (uint32_t)least(limits->max_workgroup_items, quirks->max_workgroup_items);
        for (int i = 0; i < 3; i++)
            limits->max_workgroup_size[i] = (uint32_t)least(limits->max_workgroup_size[i], quirks->max_workgroup_items);
    }
    limits->max_buffer_bytes = least(limits->max_buffer_bytes, quirks->max_buffer_bytes);
    limits->max_binding_bytes = least(limits->max_binding_bytes, quirks->max_buffer_bytes);
    device->target.limits = *limits;
    device->target.half = *half;
    bd_quirks_describe(quirks, device->info.quirks, sizeof device->info.quirks);
}

/* ---- in words ---- */

static void say(char *text, size_t size, const char *format, ...) BD_PRINTF(3, 4);
static void say(char *text, size_t size, const char *format, ...)
{
    const size_t length = strlen(text);
    va_list list;
    va_start(list, format);
    if (length + 3 < size) {
        const int mark = snprintf(text + length, size - length, "%s", length ? "; " : "");
        vsnprintf(text + length + mark, size - length - (size_t)mark, format, list);
    }
    va_end(list);
}

void bd_quirks_describe(const bd_quirks *q, char *text, size_t size)
{
    text[0] = 0;
    for (int f = 0; f < FORMATS; f++)
        for (int a = 0; a < FORMATS; a++)
            for (int v = 0; v < BD_VARIANT_COUNT; v++)
                if (q->avoid[formats[f]][formats[a]] >> v & 1)
                    say(text, size, "%s%s in %s with %s sums not used",
                        v == BD_VARIANT_ATTENTION_MATRIX || v == BD_VARIANT_LAST_GROUP ? "" : "contraction ",
                        bd_variant_name((bd_variant)v), bd_format_name(formats[f]), bd_format_name(formats[a]));
    if (q->no_half_arithmetic)
        say(text, size, "native half arithmetic not used");
    if (q->flushes_f16)
        say(text, size, "FP16 subnormals flushed");
    if (q->flushes_f32)
        say(text, size, "FP32 subnormals flushed");
    if (q->max_workgroup_items)
        say(text, size, "work-groups of %u items at most", q->max_workgroup_items);
    if (q->max_buffer_bytes)
        say(text, size, "buffers of %llu MiB at most", (unsigned long long)(q->max_buffer_bytes >> 20));
    if (q->wrong_count)
        say(text, size, "computes wrongly: %s%s", q->wrong[0], q->wrong_count > 1 ? " and more" : "");
}

/* ---- the file's text ---- */

/* What is wrong in it, and what to do about that. */
static bd_status refuse(bd_error *error, const char *path, const char *format, ...) BD_PRINTF(3, 4);
static bd_status refuse(bd_error *error, const char *path, const char *format, ...)
{
    char what[400];
    va_list list;
    va_start(list, format);
    vsnprintf(what, sizeof what, format, list);
    va_end(list);
    return bd_fail(error, BD_ERROR_DATA,
                   "quirks file %s: %s; remove it and run `binade check` again, or set BINADE_QUIRKS=off to go without",
                   path, what);
}

typedef struct reader {
    const char *path;
    bd_error *error;
} reader;

typedef bd_status (*member_function)(const reader *r, const json_t *value, bd_quirks *quirks);

static bd_status read_format(const reader *r, const json_t *object, const char *key, bd_format *format)
{
    const char *name = json_string_value(json_object_get(object, key));
    if (name && bd_format_from_name(name, format) && (*format == BD_F32 || *format == BD_F16))
        return BD_OK;
    return refuse(r->error, r->path, "'%s' of a wrong variant must be \"f32\" or \"f16\"", key);
}

static bd_status read_variants(const reader *r, const json_t *value, bd_quirks *quirks)
{
    size_t i;
    json_t *entry;
    if (!json_is_array(value))
        return refuse(r->error, r->path, "'wrong_variants' must be a list");
    json_array_foreach(value, i, entry)
    {
        const char *name = json_string_value(json_object_get(entry, "variant"));
        bd_format format, accumulator;
        bd_status status = read_format(r, entry, "format", &format);
        if (status == BD_OK)
            status = read_format(r, entry, "accumulator", &accumulator);
        if (status != BD_OK)
            return status;
        int v = 0;
        while (v < BD_VARIANT_COUNT && (!name || strcmp(name, bd_variant_name((bd_variant)v)) != 0))
            v++;
        if (v == BD_VARIANT_COUNT || json_object_size(entry) != 3)
            return refuse(r->error, r->path,
                          "a wrong variant has 'variant' (such as \"%s\"), 'format' and 'accumulator', not '%s'",
                          bd_variant_name(BD_VARIANT_SIMD), name ? name : "");
        quirks->avoid[format][accumulator] |= 1u << v;
    }
    return BD_OK;
}

static bd_status read_wrong(const reader *r, const json_t *value, bd_quirks *quirks)
{
    size_t i;
    json_t *entry;
    if (!json_is_array(value) || json_array_size(value) > BD_QUIRKS_WRONG)
        return refuse(r->error, r->path, "'wrong' must be a list of at most %d texts", BD_QUIRKS_WRONG);
    json_array_foreach(value, i, entry)
    {
        if (!json_is_string(entry))
            return refuse(r->error, r->path, "'wrong' must be a list of texts");
        snprintf(quirks->wrong[quirks->wrong_count++], sizeof quirks->wrong[0], "%s", json_string_value(entry));
    }
    return BD_OK;
}

static bd_status read_flag(const reader *r, const char *name, const json_t *value, bool *flag)
{
    *flag = true;
    return json_is_true(value) ? BD_OK : refuse(r->error, r->path, "'%s' must be true, or not be there", name);
}

static bd_status read_size(const reader *r, const char *name, const json_t *value, int64_t low, int64_t high,
                           int64_t *size)
{
    *size = json_integer_value(value);
    return json_is_integer(value) && *size >= low && *size <= high
               ? BD_OK
               : refuse(r->error, r->path, "'%s' must be a whole number from %lld to %lld", name, (long long)low,
                        (long long)high);
}

static bd_status read_no_half(const reader *r, const json_t *value, bd_quirks *quirks)
{
    return read_flag(r, "no_half_arithmetic", value, &quirks->no_half_arithmetic);
}

static bd_status read_flushes_f16(const reader *r, const json_t *value, bd_quirks *quirks)
{
    return read_flag(r, "flushes_f16", value, &quirks->flushes_f16);
}

static bd_status read_flushes_f32(const reader *r, const json_t *value, bd_quirks *quirks)
{
    return read_flag(r, "flushes_f32", value, &quirks->flushes_f32);
}

static bd_status read_workgroup(const reader *r, const json_t *value, bd_quirks *quirks)
{
    int64_t items;
    bd_status status = read_size(r, "max_workgroup_items", value, 1, 1 << 20, &items);
    quirks->max_workgroup_items = status == BD_OK ? (uint32_t)items : 0;
    return status;
}

static bd_status read_buffer(const reader *r, const json_t *value, bd_quirks *quirks)
{
    int64_t bytes; /* 64 KiB: with less no model could be held, and plans would be cut into bindings without end */
    bd_status status = read_size(r, "max_buffer_bytes", value, 65536, INT64_MAX, &bytes);
    quirks->max_buffer_bytes = status == BD_OK ? (uint64_t)bytes : 0;
    return status;
}

static const struct {
    const char *name;
    member_function read;
} members[] = {
    { "wrong_variants", read_variants },
    { "no_half_arithmetic", read_no_half },
    { "flushes_f16", read_flushes_f16 },
    { "flushes_f32", read_flushes_f32 },
    { "max_workgroup_items", read_workgroup },
    { "max_buffer_bytes", read_buffer },
    { "wrong", read_wrong },
};
enum { MEMBERS = sizeof members / sizeof members[0] };

/* The members that say what the file is about: must be there and be these. */
static bd_status check_identity(const reader *r, const json_t *whole, const bd_device_info *info)
{
    const struct {
        const char *name, *wanted;
    } texts[] = {
        { "backend", info->backend }, { "device", info->name }, { "driver", info->driver }, { "engine", BD_VERSION }
    };
    const json_t *version = json_object_get(whole, "format_version");
    if (json_integer_value(version) != BD_QUIRKS_FORMAT_VERSION)
        return refuse(r->error, r->path, "'format_version' must be %d", BD_QUIRKS_FORMAT_VERSION);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const char *text = json_string_value(json_object_get(whole, texts[i].name));
        if (!text || strcmp(text, texts[i].wanted) != 0)
            return refuse(r->error, r->path, "'%s' must be \"%.100s\", the device's own", texts[i].name,
                          texts[i].wanted);
    }
    return BD_OK;
}

static bd_status read_members(const reader *r, json_t *whole, bd_quirks *quirks)
{
    static const char *const others[] = { "format_version", "backend", "device", "driver", "engine" };
    const char *key;
    json_t *value;
    json_object_foreach(whole, key, value)
    {
        bool other = false;
        int m = 0;
        for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
            other |= strcmp(key, others[i]) == 0;
        if (other)
            continue;
        while (m < MEMBERS && strcmp(key, members[m].name) != 0)
            m++;
        if (m == MEMBERS)
            return refuse(r->error, r->path, "unknown member '%.60s'", key);
        bd_status status = members[m].read(r, value, quirks);
        if (status != BD_OK)
            return status;
    }
    return BD_OK;
}

bd_status bd_quirks_parse(const char *path, const char *text, size_t size, const bd_device_info *info,
                          bd_quirks *quirks, bd_error *error)
{
    const reader r = { path, error };
    json_error_t reason;
    *quirks = (bd_quirks){ 0 };
    if (size > BD_QUIRKS_MOST_BYTES)
        return refuse(error, path, "larger than %d bytes", BD_QUIRKS_MOST_BYTES);
    json_t *whole = json_loadb(text, size, JSON_REJECT_DUPLICATES, &reason);
    if (!whole)
        return refuse(error, path, "line %d: %s", reason.line, reason.text);
    bd_status status =
        json_is_object(whole) ? check_identity(&r, whole, info) : refuse(error, path, "not a JSON object");
    if (status == BD_OK)
        status = read_members(&r, whole, quirks);
    json_decref(whole);
    if (status != BD_OK)
        *quirks = (bd_quirks){ 0 };
    return status;
}
