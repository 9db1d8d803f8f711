#include "models.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_WIDTH = 1 << 20, DEFAULT_HIDDEN = 512 };

/* mlp:784-512-512-10 */
static bd_status parse_widths(const char *text, model *result, bd_error *error)
{
    for (const char *c = text;;) {
        char *end;
        errno = 0;
        long long width = *c >= '0' && *c <= '9' ? strtoll(c, &end, 10) : 0;
        if (width < 1 || width > MAX_WIDTH)
            return bd_fail(error, BD_ERROR_ARGUMENT,
                           "--model mlp:%s: widths from 1 to %d joined by '-' are needed, such as mlp:784-512-512-10",
                           text, MAX_WIDTH);
        if (result->width_count == MODEL_MAX_WIDTHS)
            return bd_fail(error, BD_ERROR_ARGUMENT, "--model mlp:%s: at most %d widths are possible", text,
                           MODEL_MAX_WIDTHS);
        result->widths[result->width_count++] = width;
        if (!*end)
            break;
        if (*end != '-')
            return bd_fail(error, BD_ERROR_ARGUMENT,
                           "--model mlp:%s: '%c' among the widths; they are joined by '-', such as mlp:784-512-512-10",
                           text, *end);
        c = end + 1;
    }
    if (result->width_count < 2)
        return bd_fail(error, BD_ERROR_ARGUMENT,
                       "--model mlp:%s: at least two widths are needed, pixels and classes, such as mlp:784-10", text);
    return BD_OK;
}

bd_status model_parse(const char *text, model *result, bd_error *error)
{
    *result = (model){ 0 };
    snprintf(result->name, sizeof(result->name), "%s", text);
    if (!strcmp(text, "mlp") || !strncmp(text, "mlp:", 4)) {
        result->function = model_mlp;
        return text[3] ? parse_widths(text + 4, result, error) : BD_OK;
    }
    if (!strcmp(text, "lenet")) {
        result->function = model_lenet;
        return BD_OK;
    }
    return bd_fail(error, BD_ERROR_ARGUMENT, "--model %s: no such model; there are mlp, mlp:WIDTHS and lenet", text);
}

static bd_status fit_mlp(model *result, int64_t pixels, int64_t classes, const char *data, bd_error *error)
{
    if (!result->width_count) {
        const int64_t widths[] = { pixels, DEFAULT_HIDDEN, DEFAULT_HIDDEN, classes };
        memcpy(result->widths, widths, sizeof(widths));
        result->width_count = 4;
    }
    if (result->widths[0] != pixels || result->widths[result->width_count - 1] != classes)
        return bd_fail(error, BD_ERROR_ARGUMENT,
                       "--model %s: for %s the first width must be %" PRId64 " (pixels) and the last %" PRId64
                       " (classes)",
                       result->name, data, pixels, classes);
    size_t length = (size_t)snprintf(result->name, sizeof(result->name), "mlp");
    for (int i = 0; i < result->width_count && length < sizeof(result->name); i++)
        length += (size_t)snprintf(result->name + length, sizeof(result->name) - length, "%c%" PRId64, i ? '-' : ':',
                                   result->widths[i]);
    return BD_OK;
}

bd_status model_fit(model *result, const bd_dataset *dataset, bd_error *error)
{
    if (result->function == model_mlp)
        return fit_mlp(result, dataset->height * dataset->width * dataset->channels, dataset->classes, dataset->name,
                       error);
    if (dataset->height != dataset->width || (dataset->height != 28 && dataset->height != 32))
        return bd_fail(error, BD_ERROR_ARGUMENT,
                       "--model lenet: %s has images of %" PRId64 "x%" PRId64 "; LeNet-5 takes 28x28 or 32x32",
                       dataset->name, dataset->height, dataset->width);
    return BD_OK;
}
