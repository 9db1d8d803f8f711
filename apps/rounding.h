/* What rounding did in a run, layer by layer and over time, as results.json has it:
 *     {"every": 100, "stride": 1,
 *      "samples": [{"step": 100, "layers": [{"layer": "conv1", "values": "gradients", "underflow": 0.01, ...}, ...]},
 *      ...],
 *      "exponents": {"gradients": {"first": -31, "counts": [3, 17, ...]}, ...}}
 * Exponents are the last sample's, of all layers together. */
#ifndef BINADE_APPS_ROUNDING_H
#define BINADE_APPS_ROUNDING_H

#include <binade/train.h>
#include <jansson.h>

/* Samples are halved when they would exceed this. */
enum { ROUNDING_SAMPLES = 32 };

/* [{"layer": "conv1", "values": "gradients", "underflow": 0.01, ...}, ...]; what is not finite is null. */
json_t *rounding_list(const bd_measurement *measurements, size_t count, bool exponents);

/* Takes an event of kind BD_TRAIN_MEASURED over into *self, which is made where it is NULL. */
void rounding_record(json_t **self, const bd_train_event *event);
/* Forgets what lies behind `step`. `self` may be NULL. */
void rounding_cut(json_t *self, int64_t step);
/* Whether it has the form above. */
bool rounding_is_whole(const json_t *self);

/* The mean of a number ("underflow", "sqnr_db") of the layer's values of a kind over the samples of a run; NaN where
 * there is none. */
double rounding_mean(const json_t *self, const char *layer, const char *values, const char *number);

#endif
