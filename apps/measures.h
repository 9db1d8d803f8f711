/* What a classifier's outputs on a test set are worth, beyond its accuracy, and how far two models' outputs are apart.
 * Pure functions in double precision over rows of `classes` values, one row an example; docs/measures.md tells how to
 * read them. An example with an output that is not a number has no prediction: it counts as wrong, and means over it
 * are NaN. */
#ifndef BINADE_APPS_MEASURES_H
#define BINADE_APPS_MEASURES_H

#include <binade/status.h>
#include <stddef.h>
#include <stdint.h>

/* Rows of outputs: logits or probabilities. */
typedef struct outputs {
    const double *values; /* [count, classes] */
    int64_t count, classes;
} outputs;

/* Each row's softmax, the largest logit subtracted first; NaN all over a row with a NaN or an infinity of plus. */
void measure_softmax(const outputs *logits, double *probabilities);
/* The first of the largest values of a row; -1 if one is not a number. */
int64_t measure_prediction(const double *row, int64_t classes);

/* Share of the examples whose prediction is their label. NaN of no examples, as all of these. */
double measure_accuracy(const outputs *probabilities, const uint8_t *labels);
/* Mean of -log p(label), from the logits, so that a probability too small for a double costs what it should. */
double measure_nll(const outputs *logits, const uint8_t *labels);
/* Mean over the examples of sum over the classes of (p - [class is label])^2, from 0 to 2 (Brier, Monthly Weather
 * Review 78, 1950). */
double measure_brier(const outputs *probabilities, const uint8_t *labels);

/* A bin of the reliability diagram: the examples whose confidence, the largest probability, lies in it. */
typedef struct reliability_bin {
    int64_t count;
    double confidence, accuracy; /* means; 0 where the bin is empty */
} reliability_bin;

enum { RELIABILITY_BINS = 15 };

/* The expected calibration error: mean over the examples of |accuracy - confidence| of their bin. Bin i of the equal
 * ones holds confidences in (i / 15, (i + 1) / 15] (Guo et al., arXiv:1706.04599, equation 3). `bins` has
 * RELIABILITY_BINS. NaN, and the bins without the examples, if a confidence is not a number. */
double measure_ece(const outputs *probabilities, const uint8_t *labels, reliability_bin *bins);
/* The same of bins that were filled elsewhere, from several test sets for instance. */
double measure_ece_of(const reliability_bin *bins);
/* Adds the examples of `more` to `bins`, RELIABILITY_BINS both. */
void measure_add_bins(reliability_bin *bins, const reliability_bin *more);

/* The largest probability of each row. */
void measure_confidences(const outputs *probabilities, double *confidences);
/* How well `inside` is told from `outside` by a larger value being inside: the probability that one of the first is
 * larger than one of the second, ties counting half. Exact, by ranks (Hanley and McNeil, Radiology 143, 1982; largest
 * softmax as the value: Hendrycks and Gimpel, arXiv:1610.02136). NaN if a value is not a number or one of the two is
 * empty. */
bd_status measure_auroc(const double *inside, int64_t inside_count, const double *outside, int64_t outside_count,
                        double *auroc, bd_error *error);

/* Two models on the same examples (Yun, Kang and Fu, arXiv:2305.10947). On an example, delta is the largest difference
 * of their probabilities and Gamma what the base's largest probability is above its second. Where Gamma >= 2 delta the
 * theory says that both predict the same. */
typedef struct agreement {
    double delta_mean, delta_most;
    double gamma_least;
    int64_t decided;       /* examples with Gamma >= 2 delta */
    int64_t violations;    /* of these, predicted differently: none, or the theory or the arithmetic is wrong */
    int64_t disagreements; /* of all examples, predicted differently */
} agreement;

/* Both with the same count and classes. */
agreement measure_agreement(const outputs *base, const outputs *other);

#endif
