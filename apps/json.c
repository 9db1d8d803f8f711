#include "json.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

json_t *json_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *json_float(float value)
{
    char text[32];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    return json_number(strtod(text, NULL));
}

json_t *json_text(const char *text)
{
    json_t *value = json_string(text);
    if (value)
        return value;
    char *copy = strdup(text);
    if (!copy)
        return NULL;
    for (char *c = copy; *c; c++)
        if (*c & 0x80)
            *c = '?';
    value = json_string(copy);
    free(copy);
    return value;
}

static json_t *limits(const bd_limits *l)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:[I,I,I], s:[I,I,I], s:I, s:I, s:I}", "memory_bytes",
                     (json_int_t)l->memory_bytes, "max_buffer_bytes", (json_int_t)l->max_buffer_bytes,
                     "max_binding_bytes", (json_int_t)l->max_binding_bytes, "max_bindings", (json_int_t)l->max_bindings,
                     "buffer_alignment", (json_int_t)l->buffer_alignment, "max_workgroup_items",
                     (json_int_t)l->max_workgroup_items, "max_workgroup_size", (json_int_t)l->max_workgroup_size[0],
                     (json_int_t)l->max_workgroup_size[1], (json_int_t)l->max_workgroup_size[2], "max_workgroup_count",
                     (json_int_t)l->max_workgroup_count[0], (json_int_t)l->max_workgroup_count[1],
                     (json_int_t)l->max_workgroup_count[2], "shared_bytes", (json_int_t)l->shared_bytes,
                     "subgroup_size", (json_int_t)l->subgroup_size, "compute_units", (json_int_t)l->compute_units);
}

json_t *json_device(const bd_device_info *info)
{
    static const char *const types[] = { "cpu", "integrated", "discrete", "other" };
    static const char *const roundings[] = { "unknown", "nearest_even", "toward_zero", "other" };
    const bd_half_support *half = &info->half;
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:s, s:o, s:o, s:{s:b, s:b, s:b, s:b, s:b, s:s}, s:b, s:o, s:i}",
                     "id", info->id, "limit", info->limit, "backend", info->backend, "name", json_text(info->name),
                     "vendor", json_text(info->vendor), "driver", json_text(info->driver), "type", types[info->type],
                     "matrix_units", json_text(info->matrix_units), "limits", limits(&info->limits), "fp16", "storage",
                     half->storage, "arithmetic", half->arithmetic, "arithmetic_exact", half->arithmetic_exact,
                     "conversion_exact", half->conversion_exact, "subnormals", half->subnormals, "rounding",
                     roundings[half->rounding], "fp32_subnormals", half->subnormals_f32, "quirks",
                     json_text(info->quirks), "f8_sum_bits", (int)info->f8_sum_bits);
}
