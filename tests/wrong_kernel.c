/* Put before bd_kernel_source by the linker (--wrap) in a copy of the program: BINADE_WRONG_KERNEL in the environment
 * makes one kernel wrong on purpose, so that what `binade check` is for can be seen. "simd" or "simd:f16": that variant
 * of contractions (in that format) subtracts its products; "exp": 2.5 is the exponential of 1; "last-group": the last
 * work-group adds up nothing, and the device, since CPU drivers are not asked for such sums, is taken for none. */
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

static const char last_group[] = "last-group";

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

static bool is_contraction(const bd_plan *plan, const bd_kernel *kernel, const char *wish)
{
    if (kernel->class != BD_KERNEL_CONTRACTION)
        return false;
    const char *variant = bd_variant_name(bd_variant_of(kernel)), *format = strchr(wish, ':');
    const size_t length = format ? (size_t)(format - wish) : strlen(wish);
    return strlen(variant) == length && strncmp(variant, wish, length) == 0 &&
           (!format || strcmp(format + 1, bd_format_name(plan->graph->nodes[kernel->anchor].format)) == 0);
}

bd_status __wrap_bd_kernel_source(const bd_plan *plan, const bd_kernel *kernel, const bd_target *target,
                                  bd_dialect dialect, char **source, bd_error *error)
{
    const char *wish = getenv("BINADE_WRONG_KERNEL");
    bd_status status = __real_bd_kernel_source(plan, kernel, target, dialect, source, error);
    if (status != BD_OK || !wish)
        return status;
    if (strcmp(wish, "exp") == 0) {
        insert(source, "float bd_exp(float x)\n{\n", "    if (x == 1.0f) return 2.5f;\n");
    } else if (strcmp(wish, last_group) == 0) {
        insert(source, "const uint outer = 0u, first = 0u, last = inside ? ", "0u * ");
    } else if (is_contraction(plan, kernel, wish)) {
        insert(source, "#define ACCUMULATE(sum, a, b) ", "-");
        insert(source, "#define ACCUMULATE8(sum, a, b) ", "-");
    }
    return BD_OK;
}

bd_status __wrap_bd_device_open_without_quirks(const char *name, bd_device **device, bd_error *error)
{
    const char *wish = getenv("BINADE_WRONG_KERNEL");
    bd_status status = __real_bd_device_open_without_quirks(name, device, error);
    if (status == BD_OK && wish && strcmp(wish, last_group) == 0) {
        (*device)->target.is_cpu = false;
        (*device)->target.limits.compute_units = 132; /* sums are cut for many */
        (*device)->target.texel_elements = 0;
    }
    return status;
}
