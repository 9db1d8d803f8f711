#include "measures.h"
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static double largest(const double *row, int64_t classes)
{
    double most = -INFINITY;
    for (int64_t c = 0; c < classes; c++)
        if (isnan(row[c]))
            return NAN;
        else if (row[c] > most)
            most = row[c];
    return most;
}

int64_t measure_prediction(const double *row, int64_t classes)
{
    const double most = largest(row, classes);
    int64_t best = 0;
    while (best < classes && row[best] != most)
        best++;
    return best < classes ? best : -1;
}

void measure_softmax(const outputs *logits, double *probabilities)
{
    const int64_t classes = logits->classes;
    for (int64_t i = 0; i < logits->count; i++) {
        const double *row = logits->values + i * classes, most = largest(row, classes);
        double *result = probabilities + i * classes, sum = 0;
        for (int64_t c = 0; c < classes; c++)
            sum += result[c] = exp(row[c] - most);
        for (int64_t c = 0; c < classes; c++)
            result[c] /= sum;
    }
}

double measure_accuracy(const outputs *p, const uint8_t *labels)
{
    int64_t right = 0;
    for (int64_t i = 0; i < p->count; i++)
        right += measure_prediction(p->values + i * p->classes, p->classes) == labels[i];
    return (double)right / (double)p->count;
}

double measure_nll(const outputs *logits, const uint8_t *labels)
{
    double total = 0;
    for (int64_t i = 0; i < logits->count; i++) {
        const double *row = logits->values + i * logits->classes, most = largest(row, logits->classes);
        double sum = 0;
        for (int64_t c = 0; c < logits->classes; c++)
            sum += exp(row[c] - most);
        total += log(sum) + most - row[labels[i]];
    }
    return total / (double)logits->count;
}

double measure_brier(const outputs *p, const uint8_t *labels)
{
    double total = 0;
    for (int64_t i = 0; i < p->count; i++)
        for (int64_t c = 0; c < p->classes; c++) {
            const double off = p->values[i * p->classes + c] - (c == labels[i]);
            total += off * off;
        }
    return total / (double)p->count;
}

double measure_ece_of(const reliability_bin *bins)
{
    double total = 0, count = 0;
    for (int b = 0; b < RELIABILITY_BINS; b++) {
        total += (double)bins[b].count * fabs(bins[b].accuracy - bins[b].confidence);
        count += (double)bins[b].count;
    }
    return total / count;
}

double measure_ece(const outputs *p, const uint8_t *labels, reliability_bin *bins)
{
    bool whole = true;
    memset(bins, 0, RELIABILITY_BINS * sizeof *bins);
    for (int64_t i = 0; i < p->count; i++) {
        const double *row = p->values + i * p->classes, confidence = largest(row, p->classes);
        if (isnan(confidence)) {
            whole = false;
            continue;
        }
        const int64_t bin = (int64_t)ceil(confidence * RELIABILITY_BINS) - 1;
        reliability_bin *at = &bins[bin < 0 ? 0 : bin < RELIABILITY_BINS ? bin : RELIABILITY_BINS - 1];
        at->count++;
        at->confidence += confidence;
        at->accuracy += measure_prediction(row, p->classes) == labels[i];
    }
    for (int b = 0; b < RELIABILITY_BINS; b++)
        if (bins[b].count) {
            bins[b].confidence /= (double)bins[b].count;
            bins[b].accuracy /= (double)bins[b].count;
        }
    return whole ? measure_ece_of(bins) : NAN;
}

void measure_add_bins(reliability_bin *bins, const reliability_bin *more)
{
    for (int b = 0; b < RELIABILITY_BINS; b++) {
        const int64_t count = bins[b].count + more[b].count;
        if (!count)
            continue;
        const double share = (double)more[b].count / (double)count;
        bins[b].confidence += share * (more[b].confidence - bins[b].confidence);
        bins[b].accuracy += share * (more[b].accuracy - bins[b].accuracy);
        bins[b].count = count;
    }
}

void measure_confidences(const outputs *p, double *confidences)
{
    for (int64_t i = 0; i < p->count; i++)
        confidences[i] = largest(p->values + i * p->classes, p->classes);
}

typedef struct scored {
    double value;
    bool inside;
} scored;

static int by_value(const void *a, const void *b)
{
    const double x = ((const scored *)a)->value, y = ((const scored *)b)->value;
    return (x > y) - (x < y);
}

bd_status measure_auroc(const double *inside, int64_t inside_count, const double *outside, int64_t outside_count,
                        double *auroc, bd_error *error)
{
    *auroc = NAN;
    const int64_t count = inside_count + outside_count;
    for (int64_t i = 0; i < count; i++)
        if (isnan(i < inside_count ? inside[i] : outside[i - inside_count]))
            return BD_OK;
    if (!inside_count || !outside_count)
        return BD_OK;
    scored *all = malloc((size_t)count * sizeof *all);
    if (!all)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory to rank %lld confidences", (long long)count);
    for (int64_t i = 0; i < count; i++)
        all[i] = i < inside_count ? (scored){ inside[i], true } : (scored){ outside[i - inside_count], false };
    qsort(all, (size_t)count, sizeof *all, by_value);
    /* Pairs with the inside one larger, counted from below: whole numbers and halves, exact up to 2^52 pairs. */
    double pairs = 0;
    int64_t below = 0;
    for (int64_t i = 0; i < count;) {
        int64_t end = i, in = 0;
        for (; end < count && all[end].value == all[i].value; end++)
            in += all[end].inside;
        const int64_t out = end - i - in;
        pairs += (double)in * ((double)below + 0.5 * (double)out);
        below += out;
        i = end;
    }
    free(all);
    *auroc = pairs / ((double)inside_count * (double)outside_count);
    return BD_OK;
}

/* The largest minus the second largest. A model of one class has no doubt. */
static double margin(const double *row, int64_t classes)
{
    double first = -INFINITY, second = classes > 1 ? -INFINITY : 0;
    for (int64_t c = 0; c < classes; c++) {
        if (isnan(row[c]))
            return NAN;
        if (row[c] > first) {
            second = c ? first : second;
            first = row[c];
        } else if (row[c] > second) {
            second = row[c];
        }
    }
    return first - second;
}

agreement measure_agreement(const outputs *base, const outputs *other)
{
    agreement a = { 0, 0, INFINITY, 0, 0, 0 };
    double sum = 0;
    bool whole = base->count > 0;
    for (int64_t i = 0; i < base->count; i++) {
        const double *p = base->values + i * base->classes, *q = other->values + i * base->classes;
        const double gamma = margin(p, base->classes);
        double delta = 0;
        for (int64_t c = 0; c < base->classes; c++) {
            const double apart = fabs(p[c] - q[c]);
            delta = apart > delta || isnan(apart) ? apart : delta;
            if (isnan(delta))
                break;
        }
        const bool differs = measure_prediction(p, base->classes) != measure_prediction(q, base->classes);
        whole &= !isnan(delta);
        sum += delta;
        a.delta_most = fmax(a.delta_most, delta);
        a.gamma_least = fmin(a.gamma_least, gamma);
        a.decided += gamma >= 2 * delta;
        a.violations += gamma >= 2 * delta && differs;
        a.disagreements += differs;
    }
    a.delta_mean = sum / (double)base->count;
    if (!whole)
        a.delta_mean = a.delta_most = a.gamma_least = NAN;
    return a;
}
