/* The few lines of PTX that Binade changes; PTX ISA 8.0, chapters 5 and 11. */
#include "ptx.h"

#include "../../engine/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What CUDA's loader gives to arrays of fixed size. */
#define MOST_STATIC 49152u

static const char cover[] = "//+", sm_90[] = ".target sm_90";

bool bd_ptx_is_covered(const char *ptx)
{
    return strstr(ptx, cover) != NULL;
}

char *bd_ptx_uncover(const char *ptx)
{
    const char *const target = strstr(ptx, sm_90);
    if (!target)
        return NULL;
    const char *const after = target + sizeof sm_90 - 1;
    const size_t size = strlen(ptx) + 2;
    char *const text = malloc(size);
    if (!text)
        return NULL;
    snprintf(text, size, "%.*s%s%s", (int)(after - ptx), ptx, *after == 'a' ? "" : "a", after);
    for (char *at = text; (at = strstr(at, cover));)
        memset(at, ' ', sizeof cover - 1);
    return text;
}

/* An array in shared memory. */
typedef struct array {
    char name[128];
    uint32_t alignment, bytes;
} array;

static bool starts_with(const char *line, const char *word)
{
    return strncmp(line, word, strlen(word)) == 0;
}

static const char *skip_space(const char *line)
{
    return line + strspn(line, " \t");
}

/* `line` begins with .shared. */
static bool read_array(const char *line, array *found)
{
    int end = 0;
    return sscanf(line, ".shared .align %u .b8 %127[A-Za-z0-9_$%%][%u];%n", &found->alignment, found->name,
                  &found->bytes, &end) == 3 &&
           end > 0;
}

/* The next line of *at, and how long it is without its end. False at the end of the text. */
static bool next_line(const char **at, const char **line, size_t *length)
{
    if (!**at)
        return false;
    *line = *at;
    *length = strcspn(*at, "\n");
    *at += *length + ((*at)[*length] == '\n');
    return true;
}

/* The arrays in shared memory: how many, and the last of them. */
static bd_status find_arrays(const char *ptx, int *count, uint64_t *bytes, array *last, bd_error *error)
{
    const char *line;
    size_t length;
    *count = 0;
    *bytes = 0;
    while (next_line(&ptx, &line, &length)) {
        line = skip_space(line);
        if (!starts_with(line, ".shared"))
            continue;
        if (!read_array(line, last))
            return bd_fail(error, BD_ERROR_UNSUPPORTED, "PTX: '%.*s' is no array of bytes in shared memory",
                           (int)strcspn(line, "\n"), line);
        *bytes += last->bytes;
        *count += 1;
    }
    return BD_OK;
}

bd_status bd_ptx_for_cuda(const char *ptx, char **result, uint32_t *shared_bytes, bd_error *error)
{
    int count;
    uint64_t bytes;
    array shared = { 0 };
    *result = NULL;
    *shared_bytes = 0;
    bd_status status = find_arrays(ptx, &count, &bytes, &shared, error);
    if (status != BD_OK)
        return status;
    if (bytes > MOST_STATIC && count > 1)
        return bd_fail(error, BD_ERROR_UNSUPPORTED,
                       "PTX: %d arrays in shared memory; one can have more than 48 KiB, not several", count);
    const char *const special = strstr(ptx, "%envreg");
    if (special)
        return bd_fail(error, BD_ERROR_UNSUPPORTED, "PTX: it reads %%%.*s, which only OpenCL sets",
                       (int)strcspn(special + 1, " \t,;\n"), special + 1);
    const bool dynamic = bytes > MOST_STATIC;
    bd_text text = { 0 };
    bool target = false, declared = false, entry = false;
    const char *at = ptx, *line;
    size_t length;
    while (next_line(&at, &line, &length)) {
        const char *const word = skip_space(line);
        if (starts_with(word, ".target ")) {
            bd_text_append_raw(&text, line, strcspn(line, ",\n"));
            target = true;
        } else if (starts_with(word, ".address_size") && dynamic) {
            bd_text_append_raw(&text, line, length);
            bd_text_append(&text, "\n.extern .shared .align %u .b8 %s[];", shared.alignment, shared.name);
            declared = true;
        } else if (starts_with(word, ".entry ")) {
            bd_text_append(&text, ".visible ");
            bd_text_append_raw(&text, word, length - (size_t)(word - line));
            entry = true;
        } else if (!dynamic || !starts_with(word, ".shared")) {
            bd_text_append_raw(&text, line, length);
            entry |= starts_with(word, ".visible .entry ");
        }
        bd_text_append(&text, "\n");
    }
    if (!text.failed && target && entry && (declared || !dynamic)) {
        *result = text.data;
        *shared_bytes = dynamic ? shared.bytes : 0;
        return BD_OK;
    }
    status = text.failed ? bd_fail(error, BD_ERROR_MEMORY, "no memory for a kernel's PTX")
                         : bd_fail(error, BD_ERROR_UNSUPPORTED,
                                   "PTX: no .target, no .address_size or no .entry in %zu characters", strlen(ptx));
    bd_text_finish(&text);
    return status;
}
