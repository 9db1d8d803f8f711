#include "corrupt.h"
#include "engine/philox.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LEVELS = 5, USUAL_LEVEL = 3 };

static const struct {
    const char *name;
    double strength[LEVELS];
} kinds[] = {
    [CORRUPTION_NOISE] = { "noise", { 0.04, 0.06, 0.08, 0.09, 0.10 } }, /* standard deviation, of images from 0 to 1 */
    [CORRUPTION_BLUR] = { "blur", { 0.4, 0.6, 0.7, 0.8, 1.0 } },        /* standard deviation in pixels */
    [CORRUPTION_CONTRAST] = { "contrast",
                              { 0.75, 0.5, 0.4, 0.3, 0.15 } }, /* what is kept of the distance to the mean */
};

bd_status corruption_parse(const char *text, corruption *result, bool *known, bd_error *error)
{
    const size_t length = strcspn(text, ":");
    *known = false;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strlen(kinds[i].name) != length || strncmp(kinds[i].name, text, length) != 0)
            continue;
        *known = true;
        *result = (corruption){ (corruption_kind)i, USUAL_LEVEL };
        const char *level = text + length;
        if (!*level)
            return BD_OK;
        result->level = level[1] - '0';
        if (result->level >= 1 && result->level <= LEVELS && !level[2])
            return BD_OK;
        return bd_fail(error, BD_ERROR_ARGUMENT, "--ood %s: a corruption's level is from 1 to %d: %s:%d", text, LEVELS,
                       kinds[i].name, USUAL_LEVEL);
    }
    return BD_OK;
}

const char *corruption_name(corruption_kind kind)
{
    return kinds[kind].name;
}

static uint8_t to_byte(double value)
{
    return (uint8_t)(value <= 0 ? 0 : value >= 255 ? 255 : lround(value));
}

/* ---- noise ---- */

/* Tells these numbers from those of training; "ood!" in ASCII. */
static const uint32_t noise_key[2] = { 0x6f6f6421, 0 };

/* Four normal numbers for four bytes of an image: Box and Muller, Annals of Mathematical Statistics 29, 1958. */
static void four_normals(uint32_t image, uint32_t quad, double result[4])
{
    uint32_t words[4];
    bd_philox(noise_key, (uint32_t[]){ quad, image, 0, 0 }, words);
    for (int i = 0; i < 4; i += 2) {
        const double radius = sqrt(-2 * log(1 - bd_philox_uniform(words[i])));
        const double angle = 2 * 3.14159265358979323846 * bd_philox_uniform(words[i + 1]);
        result[i] = radius * cos(angle);
        result[i + 1] = radius * sin(angle);
    }
}

static void add_noise(const uint8_t *from, uint8_t *to, int64_t bytes, uint32_t image, double deviation)
{
    double normal[4];
    for (int64_t i = 0; i < bytes; i++) {
        if (i % 4 == 0)
            four_normals(image, (uint32_t)(i / 4), normal);
        to[i] = to_byte(from[i] + 255 * deviation * normal[i % 4]);
    }
}

/* ---- blur ---- */

/* A Gaussian ends at four deviations, as in SciPy, which the published sets were made with. */
enum { BLUR_REACH = 4, BLUR_WEIGHTS = 2 * BLUR_REACH + 1 };

/* The weights of a row or a column for deviations of at most a pixel; returns how far they reach. */
static int blur_weights(double deviation, double weights[BLUR_WEIGHTS])
{
    const int reach = (int)(BLUR_REACH * deviation + 0.5);
    double sum = 0;
    for (int i = -reach; i <= reach; i++)
        sum += weights[i + reach] = exp(-0.5 * i * i / (deviation * deviation));
    for (int i = 0; i <= 2 * reach; i++)
        weights[i] /= sum;
    return reach;
}

/* Along an axis of `length` elements that are `stride` apart, for each of its `stride` neighbours; beyond its ends lies
 * its last element. */
static void blur_axis(const double *from, double *to, int64_t length, int64_t stride, const double *weights, int reach)
{
    for (int64_t i = 0; i < length; i++)
        for (int64_t s = 0; s < stride; s++) {
            double sum = 0;
            for (int w = -reach; w <= reach; w++) {
                const int64_t at = i + w < 0 ? 0 : i + w >= length ? length - 1 : i + w;
                sum += weights[w + reach] * from[at * stride + s];
            }
            to[i * stride + s] = sum;
        }
}

/* `scratch` holds two images. */
static void blur(const uint8_t *from, uint8_t *to, const bd_dataset *shape, double deviation, double *scratch)
{
    const int64_t row = shape->width * shape->channels, bytes = shape->height * row;
    double weights[BLUR_WEIGHTS], *other = scratch + bytes;
    const int reach = blur_weights(deviation, weights);
    for (int64_t i = 0; i < bytes; i++)
        scratch[i] = from[i];
    blur_axis(scratch, other, shape->height, row, weights, reach);
    for (int64_t y = 0; y < shape->height; y++)
        blur_axis(other + y * row, scratch + y * row, shape->width, shape->channels, weights, reach);
    for (int64_t i = 0; i < bytes; i++)
        to[i] = to_byte(scratch[i]);
}

/* ---- contrast ---- */

static void reduce_contrast(const uint8_t *from, uint8_t *to, const bd_dataset *shape, double kept)
{
    const int64_t pixels = shape->height * shape->width, channels = shape->channels;
    for (int64_t c = 0; c < channels; c++) {
        double mean = 0;
        for (int64_t i = 0; i < pixels; i++)
            mean += from[i * channels + c];
        mean /= (double)pixels;
        for (int64_t i = 0; i < pixels; i++)
            to[i * channels + c] = to_byte(mean + kept * (from[i * channels + c] - mean));
    }
}

bd_status corruption_apply(const corruption *self, const bd_dataset *dataset, uint8_t *result, bd_error *error)
{
    const int64_t bytes = dataset->height * dataset->width * dataset->channels;
    const double strength = kinds[self->kind].strength[self->level - 1];
    double *scratch = self->kind == CORRUPTION_BLUR ? malloc((size_t)bytes * 2 * sizeof *scratch) : NULL;
    if (self->kind == CORRUPTION_BLUR && !scratch)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory to blur images");
    for (int64_t i = 0; i < dataset->test.count; i++) {
        const uint8_t *from = dataset->test.images + i * bytes;
        uint8_t *to = result + i * bytes;
        switch (self->kind) {
        case CORRUPTION_NOISE: add_noise(from, to, bytes, (uint32_t)i, strength); break;
        case CORRUPTION_BLUR: blur(from, to, dataset, strength, scratch); break;
        case CORRUPTION_CONTRAST: reduce_contrast(from, to, dataset, strength); break;
        }
    }
    free(scratch);
    return BD_OK;
}
