/* Put before bd_kernel_source by the linker (--wrap) in a copy of the program: BINADE_WRONG_KERNEL in the environment makes one
 * kernel wrong on purpose, so that what `binade check` is for can be seen. "simd" or "simd:f16": that variant of contractions (in that
 * format) subtracts its products; "exp": 2.5 is the exponential of 1. */
#include "../engine/tile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bd_status __real_bd_kernel_source(const bd_plan *plan, const bd_kernel *kernel, const bd_target *target,
                                  bd_dialect dialect, char **source, bd_error *error);
bd_status __wrap_bd_kernel_source(const bd_plan *plan, const bd_kernel *kernel, const bd_target *target,
                                  bd_dialect dialect, char **source, bd_error *error);

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
    } else if (is_contraction(plan, kernel, wish)) {
        insert(source, "#define ACCUMULATE(sum, a, b) ", "-");
        insert(source, "#define ACCUMULATE8(sum, a, b) ", "-");
    }
    return BD_OK;
}
