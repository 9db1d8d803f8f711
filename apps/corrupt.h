/* Images made worse on purpose, as a set that a model was not trained for: Gaussian noise, Gaussian blur and less
 * contrast, in the five levels of CIFAR-10-C (Hendrycks and Dietterich, arXiv:1903.12261; the constants are those of
 * their program). */
#ifndef BINADE_APPS_CORRUPT_H
#define BINADE_APPS_CORRUPT_H

#include <binade/data.h>
#include <stdbool.h>

typedef enum corruption_kind { CORRUPTION_NOISE, CORRUPTION_BLUR, CORRUPTION_CONTRAST } corruption_kind;

typedef struct corruption {
    corruption_kind kind;
    int level; /* 1 to 5 */
} corruption;

/* What --ood takes of these, for help texts. */
#define CORRUPTION_HELP "noise, blur or contrast, with :1 to :5"

/* "blur:5", or "blur" for level 3. *known tells whether the text names a corruption at all; one that does with a wrong
 * level is an error. */
bd_status corruption_parse(const char *text, corruption *result, bool *known, bd_error *error);

/* "noise" and so on. */
const char *corruption_name(corruption_kind kind);

/* The test images of `dataset` made worse; `result` has their number of bytes. Noise comes from Philox and depends on
 * nothing but the place of image and byte, so every run sees the same. */
bd_status corruption_apply(const corruption *self, const bd_dataset *dataset, uint8_t *result, bd_error *error);

#endif
