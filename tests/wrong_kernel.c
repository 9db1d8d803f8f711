/* Put before bd_kernel_source by the linker (--wrap) in a copy of the program: BINADE_WRONG_KERNEL in the environment
 * makes kernels wrong on purpose, so that what `binade check` is for can be seen: a list joined by commas. "simd" or
 * "simd:f16": that variant of contractions (in that format) subtracts its products; "exp": 2.5 is the exponential of 1;
 * "last-group": the last work-group adds up nothing; "column-sums": contractions leave out the sums of their first
 * columns. For these two the device, since CPU drivers are not asked for such sums, is taken for none. */
#include "../backends/backend.h"
#include "../engine/quirks.h"
#include "../engine/tile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bd_status __real_bd_kernel_source(const bd_plan *plan, const bd_kernel *kernel, const bd_target *target,
                                  bd_dialect dialect, char **source, bd_error *error);
bd_status __wrap_bd_kernel_source(const bd_plan *plan, const bd_kernel *kernel, const bd_target *target,
                                  bd_dialect dialect, char **source, bd_error *error);
bd_status __real_bd_device_open_without_quirks(const char *name, bd_device **device, bd_error *error);
bd_status __wrap_bd_device_open_without_quirks(const char *name, bd_device **device, bd_error *error);

static const char last_group[] = "last-group", column_sums[] = "column-sums";

/* Puts `text` behind every `mark`. */
static void insert(char **source, const char *mark, const char *text)
{
    char *result = NULL;
    size_t size;
    FILE *file = open_memstream(&result, &size);
    if (!file)
        abort();
    const char *at = *source, *found;
    for (; (found = strstr(at, mark)); at = found + strlen(mark))
        fprintf(file, "%.*s%s%s", (int)(found - at), at, mark, text);
    fputs(at, file);
    if (fclose(file))
        abort();
    free(*source);
    *source = result;
}

static bool is_wished(const char *name)
{
    const size_t length = strlen(name);
    for (const char *item = getenv("BINADE_WRONG_KERNEL"); item; item = strchr(item, ','), item += item != NULL)
        if (strncmp(item, name, length) == 0 && (item[length] == '\0' || item[length] == ','))
            return true;
    return false;
}

static bool is_wished_contraction(const bd_plan *plan, const bd_kernel *kernel)
{
    if (kernel->class != BD_KERNEL_CONTRACTION)
        return false;
    const char *variant = bd_variant_name(bd_variant_of(kernel));
    char in_format[64];
    snprintf(in_format, sizeof in_format, "%s:%s", variant, bd_format_name(plan->graph->nodes[kernel->anchor].format));
    return is_wished(variant) || is_wished(in_format);
}

bd_status __wrap_bd_kernel_source(const bd_plan *plan, const bd_kernel *kernel, const bd_target *target,
                                  bd_dialect dialect, char **source, bd_error *error)
{
    bd_status status = __real_bd_kernel_source(plan, kernel, target, dialect, source, error);
    if (status != BD_OK)
        return status;
    if (is_wished("exp"))
        insert(source, "float bd_exp(float x)\n{\n", "    if (x == 1.0f) return 2.5f;\n");
    if (is_wished(last_group))
        insert(source, "const uint outer = 0u, first = 0u, last = inside ? ", "0u * ");
    if (is_wished(column_sums))
        insert(source, "#define COLUMNS_STORE(h, strip, n) ", "if ((n) != 0u) ");
    if (is_wished_contraction(plan, kernel)) {
        insert(source, "#define ACCUMULATE(sum, a, b) ", "-");
        insert(source, "#define ACCUMULATE8(sum, a, b) ", "-");
    }
    return BD_OK;
}

bd_status __wrap_bd_device_open_without_quirks(const char *name, bd_device **device, bd_error *error)
{
    bd_status status = __real_bd_device_open_without_quirks(name, device, error);
    if (status == BD_OK && (is_wished(last_group) || is_wished(column_sums))) {
        (*device)->target.is_cpu = false;
        (*device)->target.limits.compute_units = 132; /* sums are cut for many */
        (*device)->target.texel_elements = 0;
    }
    return status;
}
