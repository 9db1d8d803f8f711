#include "assess.h"
#include "app.h"
#include "corrupt.h"
#include "data.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- out of distribution ---- */

bd_status ood_open(ood_set *self, progress *shown, const char *name, const bd_dataset *dataset, bd_error *error)
{
    corruption wanted;
    bool is_corruption;
    bd_status status = corruption_parse(name, &wanted, &is_corruption, error);
    if (status)
        return status;
    if (is_corruption) {
        self->count = dataset->test.count;
        self->corrupted = malloc((size_t)(self->count * dataset->height * dataset->width * dataset->channels) + 1);
        if (!self->corrupted)
            return bd_fail(error, BD_ERROR_MEMORY, "no memory for the images of --ood %s", name);
        self->images = self->corrupted;
        snprintf(self->name, sizeof self->name, "%s:%d", corruption_name(wanted.kind), wanted.level);
        return corruption_apply(&wanted, dataset, self->corrupted, error);
    }
    status = data_open(shown, name, BD_TOKENS_NONE, &self->other, error);
    if (status)
        return status;
    const bd_dataset *o = self->other, *d = dataset;
    if (o->height != d->height || o->width != d->width || o->channels != d->channels)
        return bd_fail(error, BD_ERROR_ARGUMENT,
                       "--ood %s: its images are %lldx%lldx%lld, those of %s are %lldx%lldx%lld", name,
                       (long long)o->height, (long long)o->width, (long long)o->channels, d->name, (long long)d->height,
                       (long long)d->width, (long long)d->channels);
    const bd_examples *part = o->test.count ? &o->test : &o->train;
    self->images = part->images;
    self->count = part->count;
    snprintf(self->name, sizeof self->name, "%s", o->name);
    return BD_OK;
}

void ood_close(ood_set *self)
{
    free(self->corrupted);
    bd_dataset_close(&self->other);
    *self = (ood_set){ 0 };
}

/* ---- outputs ---- */

/* What the model makes of some images: `values` are logits first, then, in place, probabilities. */
typedef struct prediction {
    float *logits;
    double *values, *confidences;
    outputs outputs; /* of `values` */
} prediction;

static bd_status make_room(prediction *self, int64_t count, int64_t classes, bd_error *error)
{
    const size_t elements = (size_t)count * (size_t)classes;
    self->logits = malloc(elements * sizeof *self->logits + 1);
    self->values = malloc(elements * sizeof *self->values + 1);
    self->confidences = malloc((size_t)count * sizeof *self->confidences + 1);
    self->outputs = (outputs){ self->values, count, classes };
    return self->logits && self->values && self->confidences
               ? BD_OK
               : bd_fail(error, BD_ERROR_MEMORY, "no memory for the outputs of %lld images", (long long)count);
}

static void free_room(prediction *self)
{
    free(self->logits);
    free(self->values);
    free(self->confidences);
}

static void widen(prediction *self)
{
    for (int64_t i = 0; i < self->outputs.count * self->outputs.classes; i++)
        self->values[i] = (double)self->logits[i];
}

static void make_probabilities(prediction *self)
{
    measure_softmax(&self->outputs, self->values);
    measure_confidences(&self->outputs, self->confidences);
}

/* ---- the base's logits, in a file ---- */

static void write_logits(FILE *file, const void *user)
{
    const prediction *p = user; /* app_replace_file asks the stream for errors */
    fwrite(p->logits, sizeof *p->logits, (size_t)(p->outputs.count * p->outputs.classes), file);
}

/* False if there is no such file or it has another size. */
static bool read_logits(const char *path, prediction *p)
{
    const size_t count = (size_t)(p->outputs.count * p->outputs.classes);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    const bool whole = fread(p->logits, sizeof *p->logits, count, file) == count && getc(file) == EOF;
    (void)fclose(file);
    return whole;
}

/* ---- measuring ---- */

static void set_agreement(run_result *run, measure first, const prediction *base, const prediction *p)
{
    const agreement a = measure_agreement(&base->outputs, &p->outputs);
    const double count = (double)p->outputs.count;
    double *to = run->measures + first - MEASURE_DELTA_MEAN;
    to[MEASURE_DELTA_MEAN] = a.delta_mean;
    to[MEASURE_DELTA_MOST] = a.delta_most;
    to[MEASURE_GAMMA_LEAST] = a.gamma_least;
    to[MEASURE_DECIDED] = (double)a.decided / count;
    to[MEASURE_DISAGREEMENTS] = (double)a.disagreements / count;
    to[MEASURE_VIOLATIONS] = (double)a.violations;
}

/* The run's own outputs first, then those of the base's weights in the run's precision, in the same place. */
static bd_status compare_with_base(bd_trainer *trainer, const assess_base *files, prediction *p, run_result *run,
                                   bd_error *error)
{
    prediction base = { 0 };
    bd_status status = make_room(&base, p->outputs.count, p->outputs.classes, error);
    if (!status && read_logits(files->logits, &base)) {
        widen(&base);
        make_probabilities(&base);
        set_agreement(run, MEASURE_DELTA_MEAN, &base, p);
        if (files->weights)
            status = bd_trainer_take_weights(trainer, files->weights, error);
        if (files->weights && !status)
            status = bd_trainer_predict(trainer, NULL, p->outputs.count, p->logits, error);
        if (files->weights && !status) {
            widen(p);
            make_probabilities(p);
            set_agreement(run, MEASURE_ROUNDED, &base, p);
        }
    }
    free_room(&base);
    return status;
}

static bd_status measure_ood(bd_trainer *trainer, const ood_set *ood, const prediction *inside, run_result *run,
                             bd_error *error)
{
    prediction outside = { 0 };
    bd_status status = make_room(&outside, ood->count, inside->outputs.classes, error);
    if (!status)
        status = bd_trainer_predict(trainer, ood->images, ood->count, outside.logits, error);
    if (!status) {
        widen(&outside);
        make_probabilities(&outside);
        status = measure_auroc(inside->confidences, inside->outputs.count, outside.confidences, ood->count,
                               &run->measures[MEASURE_OOD_AUROC], error);
    }
    free_room(&outside);
    return status;
}

bd_status assess_sharpness(bd_trainer *trainer, double epsilon, run_result *run, bd_error *error)
{
    bd_sharpness found;
    bd_status status = bd_trainer_sharpness(trainer, epsilon, &found, error);
    run->measures[MEASURE_SHARPNESS] = found.weights;
    run->measures[MEASURE_LOGIT_SHARPNESS] = found.logits;
    return status;
}

bd_status assess(bd_trainer *trainer, const bd_dataset *dataset, const ood_set *ood, const assess_base *base,
                 run_result *run, bd_error *error)
{
    const uint8_t *labels = dataset->test.labels;
    prediction p = { 0 };
    if (!dataset->test.count)
        return BD_OK;
    bd_status status = make_room(&p, dataset->test.count, dataset->classes, error);
    if (!status)
        status = bd_trainer_predict(trainer, NULL, dataset->test.count, p.logits, error);
    if (!status) {
        widen(&p);
        run->measures[MEASURE_NLL] = measure_nll(&p.outputs, labels);
        make_probabilities(&p);
        run->measures[MEASURE_ACCURACY] = measure_accuracy(&p.outputs, labels);
        run->measures[MEASURE_BRIER] = measure_brier(&p.outputs, labels);
        run->measures[MEASURE_ECE] = measure_ece(&p.outputs, labels, run->bins);
        status = measure_ood(trainer, ood, &p, run, error);
    }
    if (!status && base->logits)
        status = base->is_this ? app_replace_file(base->logits, write_logits, &p, error)
                               : compare_with_base(trainer, base, &p, run, error);
    free_room(&p);
    return status;
}
