#include "models.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_WIDTH = 1 << 20, DEFAULT_HIDDEN = 512 };

/* The networks by name. Images must have sides of at least `least_side` pixels for every window to fit. */
static const struct {
    const char *name;
    bd_model_function function;
    int depth;
    int64_t least_side;
    const char *about;
} networks[] = {
    { "lenet", model_lenet, 0, 28, "LeNet-5 with ReLU and max pooling" },
    { "alexnet", model_alexnet, 0, 28, "AlexNet for small images" },
    { "vgg16", model_vgg, 16, 32, "VGG with 13 convolutions" },
    { "vgg19", model_vgg, 19, 32, "VGG with 16 convolutions" },
    { "resnet20", model_resnet, 20, 1, "pre-activation ResNet" },
    { "resnet32", model_resnet, 32, 1, "pre-activation ResNet" },
    { "resnet44", model_resnet, 44, 1, "pre-activation ResNet" },
    { "resnet56", model_resnet, 56, 1, "pre-activation ResNet" },
    { "resnet110", model_resnet, 110, 1, "pre-activation ResNet" },
    { "densenet121", model_densenet, 121, 29, "DenseNet, as in Keras" },
    { "densenet169", model_densenet, 169, 29, "DenseNet, as in Keras" },
    { "xception", model_xception, 0, 7, "Xception, as in Keras" },
    { "mobilenetv2", model_mobilenet, 0, 1, "separable convolutions, as the study codes MobileNetV2" },
    { "vit8", model_vit, 8, 6, "vision transformer, 8 blocks" },
    { "vit12", model_vit, 12, 6, "vision transformer, 12 blocks" },
    { "vit16", model_vit, 16, 6, "vision transformer, 16 blocks" },
    { "gpt-nano", model_gpt, 4, 0, "language model, 4 blocks of width 128" },
    { "gpt-mini", model_gpt, 6, 0, "language model, 6 blocks of width 384" },
};
enum { NETWORKS = sizeof(networks) / sizeof(*networks) };

static const struct {
    const char *name;
    gpt_size size;
} gpts[] = {
    { "gpt-nano", { 64, 128, 4, 0, 12, 2000 } },
    { "gpt-mini", { 256, 384, 6, 0.2f, 64, 5000 } },
};

const char *model_name(int i)
{
    return i == 0 ? "mlp" : i <= NETWORKS ? networks[i - 1].name : NULL;
}

const char *model_about(int i)
{
    return i == 0 ? "fully connected, two hidden layers of 512, ReLU" : i <= NETWORKS ? networks[i - 1].about : NULL;
}

bool model_is_gpt(const char *text, gpt_size *size)
{
    const size_t length = strcspn(text, ",");
    for (size_t i = 0; i < sizeof(gpts) / sizeof(*gpts); i++) {
        if (strlen(gpts[i].name) == length && !strncmp(text, gpts[i].name, length)) {
            *size = gpts[i].size;
            return true;
        }
    }
    return false;
}

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
    char known[512] = "mlp, mlp:WIDTHS";
    for (int i = 0; i < NETWORKS; i++) {
        if (!strcmp(text, networks[i].name)) {
            result->function = networks[i].function;
            result->depth = networks[i].depth;
            model_is_gpt(text, &result->gpt);
            return BD_OK;
        }
        size_t used = strlen(known);
        snprintf(known + used, sizeof(known) - used, ", %s", networks[i].name);
    }
    return bd_fail(error, BD_ERROR_ARGUMENT, "--model %s: no such model; there are %s", text, known);
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
    if (result->gpt.context && !dataset->tokens)
        return bd_fail(error, BD_ERROR_ARGUMENT,
                       "--model %s learns from a text, and %s has images: --data FILE names a text", result->name,
                       dataset->name);
    if (!result->gpt.context && dataset->tokens)
        return bd_fail(error, BD_ERROR_ARGUMENT,
                       "--model %s learns from images, and %s is a text, for gpt-nano and gpt-mini", result->name,
                       dataset->name);
    if (dataset->tokens)
        return BD_OK;
    if (result->function == model_mlp)
        return fit_mlp(result, dataset->height * dataset->width * dataset->channels, dataset->classes, dataset->name,
                       error);
    for (int i = 0; i < NETWORKS; i++)
        if (!strcmp(result->name, networks[i].name) &&
            (dataset->height < networks[i].least_side || dataset->width < networks[i].least_side))
            return bd_fail(error, BD_ERROR_ARGUMENT,
                           "--model %s: %s has images of %" PRId64 "x%" PRId64 "; sides of at least %" PRId64
                           " are needed",
                           result->name, dataset->name, dataset->height, dataset->width, networks[i].least_side);
    if (result->function != model_lenet)
        return BD_OK;
    if (dataset->height != dataset->width || (dataset->height != 28 && dataset->height != 32))
        return bd_fail(error, BD_ERROR_ARGUMENT,
                       "--model lenet: %s has images of %" PRId64 "x%" PRId64 "; LeNet-5 takes 28x28 or 32x32",
                       dataset->name, dataset->height, dataset->width);
    return BD_OK;
}
