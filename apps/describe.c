#include "describe.h"
#include "app.h"

const char *describe_type(bd_device_type type)
{
    static const char *const types[] = { "CPU", "integrated GPU", "discrete GPU", "other" };
    return types[type];
}

const char *describe_storage(const bd_half_support *half)
{
    return half->storage ? "16-bit elements" : "two packed in a 32-bit word";
}

const char *describe_arithmetic(const bd_half_support *half)
{
    if (!half->arithmetic)
        return "none: FP32, then rounded (the same numbers)";
    return half->arithmetic_exact ? "native, exact" : "native but not exact, so not used: FP32, then rounded";
}

const char *describe_rounding(const bd_half_support *half)
{
    switch (half->rounding) {
    case BD_ROUNDING_NEAREST_EVEN:
        return half->conversion_exact ? "to nearest even, in every case" : "to nearest even, with exceptions";
    case BD_ROUNDING_TOWARD_ZERO: return "toward zero by itself; corrected in the kernels";
    case BD_ROUNDING_OTHER: return "irregular by itself; corrected in the kernels";
    case BD_ROUNDING_UNKNOWN: break;
    }
    return "not known";
}

const char *describe_subnormals(const bd_half_support *half)
{
    if (half->subnormals)
        return half->subnormals_f32 ? "kept in FP16 and FP32" : "kept in FP16, flushed to 0 in FP32";
    return half->subnormals_f32 ? "flushed to 0 in FP16, kept in FP32" : "flushed to 0 in FP16 and FP32";
}

void describe_unit_sums(const bd_device_info *info, char *text, size_t size)
{
    if (info->f8_sum_bits)
        snprintf(
            text, size,
            "of FP8 by matrix units where they are faster: %u bits after the first, of 128 products; those in FP32",
            info->f8_sum_bits);
    else
        snprintf(text, size, "in FP32: %s has no matrix units of FP8 that Binade can use", info->id);
}

void describe_device(FILE *file, const bd_device_info *info)
{
    fprintf(file, "%-10s ", info->id);
    app_print_text(file, info->name);
    fputs(", ", file);
    app_print_text(file, info->driver);
    if (info->limit[0])
        fprintf(file, ", limited to %s", info->limit);
    if (info->quirks[0]) {
        fputs("; quirks in force: ", file);
        app_print_text(file, info->quirks);
    }
    putc('\n', file);
}
