/* Claims about what formats do to gradients, and to the minimum that training finds. */
#include "app.h"
#include "reproduce.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The larger of the two epsilons of Keskar et al., arXiv:1609.04836. */
#define SHARPNESS "--sharpness 0.001"

/* ---- R8: gradients that FP16 makes 0 ---- */

enum { SCALES = 8, SCALE_BITS = 4, UNDERFLOW_SEEDS = 3, MOST_LAYERS = 16 };

/* By layer, of the values that its contractions read other than 0, the largest share that becomes 0: at small scales
 * the gradients'. */
typedef struct underflows {
    double share[SCALES][MOST_LAYERS];
    bool overflow[SCALES];
    char names[MOST_LAYERS][64];
    size_t layers;
} underflows;

static bd_status measure_scale(reproduction *self, const char *weights, uint64_t seed, int i, underflows *u,
                               bd_error *error)
{
    const bd_format half = BD_F16;
    char policy[64];
    training t;
    bd_layer_cost *layers = NULL;
    size_t count = 0;
    snprintf(policy, sizeof policy, "fp32,scale=%.0f", ldexp(1, i * SCALE_BITS));
    bd_status status = reproduce_prepare(self, &t, policy, error);
    t.params.seed = seed;
    if (!status)
        status = bd_trainer_create(self->device, &t.params, &t.trainer, error);
    if (!status)
        status = bd_trainer_take_weights(t.trainer, weights, error);
    if (!status)
        status = bd_trainer_calibrate(t.trainer, &half, 1, &layers, &count, error);
    u->layers = count < MOST_LAYERS ? count : MOST_LAYERS;
    for (size_t l = 0; l < u->layers && !status; l++) {
        memcpy(u->names[l], layers[l].layer, sizeof u->names[l]);
        u->share[i][l] = layers[l].cost[0].underflow;
        u->overflow[i] |= layers[l].cost[0].overflow > 0;
    }
    free(layers);
    bd_trainer_destroy(&t.trainer);
    return status;
}

static bd_status measure_underflows(reproduction *self, uint64_t seed, underflows *u, bd_error *error)
{
    training t = { .trainer = NULL };
    char *path = reproduce_temporary(error);
    bd_status status = path ? reproduce_prepare(self, &t, "fp32", error) : BD_ERROR_FILE;
    t.params.seed = seed;
    if (!status)
        status = reproduce_train(self, &t, error);
    if (!status)
        status = bd_trainer_save(t.trainer, path, error);
    bd_trainer_destroy(&t.trainer);
    for (int i = 0; i < SCALES && !status; i++) {
        progress_count(&self->progress, "R8", ((int)seed - 1) * SCALES + i, UNDERFLOW_SEEDS * SCALES, "scales");
        status = app_interrupted() ? bd_fail(error, BD_ERROR_INTERRUPTED, "interrupted")
                                   : measure_scale(self, path, seed, i, u, error);
    }
    if (path)
        unlink(path);
    free(path);
    return status;
}

/* Whether the share falls from scale to scale until one overflows, in every layer, or stays where it is least: at what
 * the weights and activations lose, which no scale changes. */
static bool falls(const underflows *u)
{
    bool fell = true;
    for (size_t l = 0; l < u->layers; l++) {
        double least = INFINITY;
        for (int i = 0; i < SCALES; i++)
            least = fmin(least, u->share[i][l]);
        for (int i = 1; i < SCALES && !u->overflow[i]; i++)
            fell &= u->share[i][l] < u->share[i - 1][l] || u->share[i][l] == least;
    }
    return fell;
}

/* With the interval of the first scale, which is the published one, and the means of the others. */
static void tell_layer(const underflows *u, size_t layer, finding *f)
{
    for (int i = 0; i < SCALES; i++) {
        double shares[UNDERFLOW_SEEDS];
        bool overflow = false;
        for (int s = 0; s < UNDERFLOW_SEEDS; s++) {
            shares[s] = 100 * u[s].share[i][layer];
            overflow |= u[s].overflow[i];
        }
        const interval share = interval_of(shares, UNDERFLOW_SEEDS);
        finding_add(f, "%s%.2g", i ? ", " : " ", share.mean);
        if (i == 0)
            finding_add(f, " (%.2g to %.2g)", share.low, share.high);
        finding_add(f, "%s", overflow ? " with overflow" : "");
    }
}

bd_status reproduce_underflow(reproduction *self, finding *f, bd_error *error)
{
    underflows *u = calloc(UNDERFLOW_SEEDS, sizeof *u);
    bd_status status = u ? BD_OK : bd_fail(error, BD_ERROR_MEMORY, "no memory for shares by layer");
    for (int s = 0; s < UNDERFLOW_SEEDS && !status; s++)
        status = measure_underflows(self, (uint64_t)s + 1, &u[s], error);
    progress_clear(&self->progress);
    f->verdict = VERDICT_HOLDS;
    for (int s = 0; s < UNDERFLOW_SEEDS && !status; s++)
        if (!falls(&u[s]))
            f->verdict = VERDICT_FAILS;
    for (size_t l = 0; !status && l < u->layers; l++) {
        finding_add(f, "%s%s", l ? "; " : "percent that become 0 at scales of 1, 2^4, ... 2^28: ", u->names[l]);
        tell_layer(u, l, f);
    }
    finding_add(f, "; after %lld steps, %d seeds", (long long)self->steps, UNDERFLOW_SEEDS);
    free(u);
    return status;
}

/* ---- R16: bits of mantissa and of exponent ---- */

enum { MODES = 2, MANTISSA_ROWS = 5, EXPONENT_ROWS = 3, BITS_ROWS = MANTISSA_ROWS + EXPONENT_ROWS };
static const char *const modes[MODES] = { "nearest", "mask" };

/* From BF16's 8 and 7 bits down: E8M7 to E8M3, then E7M7 to E5M7, of all operands of contractions. */
static void bits_policy(char text[64], int row, const char *mode)
{
    const int exponent = row < MANTISSA_ROWS ? 8 : 7 - (row - MANTISSA_ROWS),
              mantissa = row < MANTISSA_ROWS ? 7 - row : 7;
    snprintf(text, 64, "fp32,qw=e%dm%d:%s,qa=e%dm%d:%s,qg=e%dm%d:%s", exponent, mantissa, mode, exponent, mantissa,
             mode, exponent, mantissa, mode);
}

static const combination *row_of(const comparison *found, const char *precision)
{
    for (size_t i = 0; i < found->row_count; i++)
        if (!strcmp(found->rows[i].precision, precision))
            return &found->rows[i];
    return NULL;
}

/* A run that ended in a value that is not finite has lost all. */
static double loss_of(const combination *row, int64_t seed)
{
    const run_result *run = &row->runs[seed];
    return run->state == RUN_DONE && isfinite(run->measures[MEASURE_NLL]) ? run->measures[MEASURE_NLL] : INFINITY;
}

/* The most that one bit less costs, from row to row; E7M7 comes after E8M7. */
static double largest_fall(const combination *const rows[], int first, int64_t seed)
{
    double most = -INFINITY;
    for (int i = first; i < (first ? BITS_ROWS : MANTISSA_ROWS); i++) {
        const int before = i == first ? 0 : i - 1;
        if (i > 0 && isfinite(loss_of(rows[before], seed)))
            most = fmax(most, loss_of(rows[i], seed) - loss_of(rows[before], seed));
    }
    return most;
}

/* The first of the rows from `first` to before `end` in which a measure is above fp32's by more than noise; `end` where
 * none is. */
static int first_above(const comparison *found, const combination *const rows[], measure which, int first, int end)
{
    int i = first;
    while (i < end && !(summarize(found, rows[i]).changes[which].low > 0))
        i++;
    return i;
}

/* Runs that failed count as infinite losses, which no interval can hold: one mantissa among them is a failure of the
 * claim. */
static verdict judge_falls(const comparison *found, const combination *const rows[], finding *f)
{
    double more[MOST_SEEDS];
    int lost_exponent = 0, lost_mantissa = 0;
    for (int64_t s = 0; s < found->seeds; s++) {
        const double exponent = largest_fall(rows, MANTISSA_ROWS, s), mantissa = largest_fall(rows, 0, s);
        lost_exponent += isinf(exponent);
        lost_mantissa += isinf(mantissa);
        more[s] = exponent - mantissa;
    }
    const interval difference = interval_of(more, (size_t)found->seeds);
    if (lost_exponent || lost_mantissa) {
        finding_add(f, "training fails with fewer bits of exponent in %d seeds, of mantissa in %d", lost_exponent,
                    lost_mantissa);
        return lost_mantissa ? VERDICT_FAILS : lost_exponent == found->seeds ? VERDICT_HOLDS : VERDICT_OPEN;
    }
    finding_add(f, "the worst bit of exponent costs more than the worst of mantissa by ");
    finding_add_interval(f, &difference, 1, 4);
    finding_add(f, " nats");
    return verdict_between(&difference, 0, INFINITY);
}

static void judge_bits(void *user, const comparison *found)
{
    finding *f = user;
    f->verdict = VERDICT_HOLDS;
    for (int m = 0; m < MODES; m++) {
        const combination *rows[BITS_ROWS];
        char text[64];
        finding_add(f, "%s%s: ", m ? ". " : "", modes[m]);
        for (int i = 0; i < BITS_ROWS; i++) {
            bits_policy(text, i, modes[m]);
            rows[i] = row_of(found, text);
            const summary s = summarize(found, rows[i]);
            text[strcspn(text, ":")] = '\0';
            finding_add(f, "%s ", text + strlen("fp32,qw="));
            finding_add_interval(f, &s.changes[MEASURE_NLL], 1, 4);
            finding_add(f, " nats, logits' sharpness ");
            finding_add_interval(f, &s.changes[MEASURE_LOGIT_SHARPNESS], 1, 4);
            finding_add(f, "; ");
        }
        f->verdict = verdict_both(f->verdict, judge_falls(found, rows, f));
        for (int part = 0; part < 2; part++) {
            const int first = part ? MANTISSA_ROWS : 0, end = part ? BITS_ROWS : MANTISSA_ROWS;
            const int sharp = first_above(found, rows, MEASURE_LOGIT_SHARPNESS, first, end);
            const int lossy = first_above(found, rows, MEASURE_NLL, first, end);
            const verdict first_is = sharp < lossy                ? VERDICT_HOLDS
                                     : sharp < end || lossy < end ? VERDICT_FAILS
                                                                  : VERDICT_OPEN;
            static const char *const words[] = { "rises before the loss", "is as the loss's, within noise",
                                                 "does not rise before the loss" };
            finding_add(f, "; with bits of %s sharpness %s", part ? "exponent" : "mantissa", words[first_is]);
            f->verdict = verdict_both(f->verdict, first_is);
        }
    }
    finding_add(f, "; changes from fp32, ");
    finding_add_size(f, found);
}

bd_status reproduce_bits(reproduction *self, finding *f, bd_error *error)
{
    char arguments[2048] = "--model gpt-nano " SHARPNESS " --precision fp32", text[64];
    if (!self->text) {
        finding_add(f, "needs a text: --text FILE");
        return BD_OK;
    }
    for (int m = 0; m < MODES; m++)
        for (int i = 0; i < BITS_ROWS; i++) {
            const size_t length = strlen(arguments);
            bits_policy(text, i, modes[m]);
            snprintf(arguments + length, sizeof arguments - length, ",%s", text);
        }
    return reproduce_compare(self, "R16", self->text, 3, arguments, judge_bits, f, error);
}

/* ---- R19: quantised minima ---- */

/* Of the last epoch: training accuracy less test accuracy, against fp32's of the same seed. */
static interval gap_change(const comparison *found, const combination *row)
{
    double gaps[2][MOST_SEEDS];
    const combination *const rows[2] = { row, comparison_base(found, row) };
    for (int side = 0; side < 2; side++)
        for (int64_t s = 0; s < found->seeds; s++) {
            const run_result *run = &rows[side]->runs[s];
            const epoch_result *last = run->epoch_count ? &run->epochs[run->epoch_count - 1] : NULL;
            gaps[side][s] = run->state == RUN_DONE && last ? last->train_accuracy - last->test_accuracy : NAN;
        }
    return interval_of_pairs(gaps[0], gaps[1], (size_t)found->seeds);
}

static void judge_minima(void *user, const comparison *found)
{
    finding *f = user;
    f->verdict = VERDICT_HOLDS;
    for (size_t i = 0; i < found->row_count; i++) {
        const combination *row = &found->rows[i];
        const summary s = summarize(found, row);
        if (comparison_base(found, row) == row) {
            finding_add(f, "fp32's sharpness %.4f; from it", s.measures[MEASURE_SHARPNESS].mean);
            continue;
        }
        const interval sharper = s.changes[MEASURE_SHARPNESS], gap = gap_change(found, row);
        finding_add(f, "%s %s ", i > 1 ? ";" : "", row->precision);
        finding_add_interval(f, &sharper, 1, 4);
        finding_add(f, sharper.low > 0 ? ", sharper" : sharper.high < 0 ? ", flatter" : ", neither");
        finding_add(f, ", generalisation gap ");
        finding_add_interval(f, &gap, 100, 2);
        finding_add(f, " points, ECE ");
        finding_add_interval(f, &s.changes[MEASURE_ECE], 1, 4);
        finding_add(f, ", OOD AUROC ");
        finding_add_interval(f, &s.changes[MEASURE_OOD_AUROC], 1, 4);
        if (!(sharper.low > 0 || sharper.high < 0))
            f->verdict = VERDICT_OPEN;
    }
    finding_add(f, "; ");
    finding_add_size(f, found);
}

bd_status reproduce_minima(reproduction *self, finding *f, bd_error *error)
{
    return reproduce_compare(self, "R19", self->data, 5,
                             "--model mlp " SHARPNESS " --precision fp32,fp8,int8-qat,int4-qat", judge_minima, f,
                             error);
}
