#include "rounding.h"
#include "json.h"
#include <math.h>
#include <string.h>

/* ---- writing ---- */

/* From the least exponent that occurs to the largest. */
static json_t *histogram(const double *counts)
{
    int first = 0, last = BD_EXPONENT_BINS - 1;
    while (first < last && !(counts[first] > 0))
        first++;
    while (last > first && !(counts[last] > 0))
        last--;
    json_t *list = json_array();
    for (int i = first; i <= last; i++)
        json_array_append_new(list, json_integer((json_int_t)counts[i]));
    return json_pack("{s:i, s:o}", "first", BD_LEAST_EXPONENT + first, "counts", list);
}

json_t *rounding_list(const bd_measurement *measurements, size_t count, bool exponents)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        const bd_measurement *m = &measurements[i];
        json_t *object =
            json_pack("{s:o, s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "layer", json_text(m->layer), "values",
                      bd_measured_name(m->what), "format", bd_format_name(m->format), "elements",
                      (json_int_t)m->elements, "underflow", json_number(m->underflow), "overflow",
                      json_number(m->overflow), "nonfinite", json_number(m->nonfinite), "largest",
                      json_number(m->largest), "norm", json_number(m->norm), "sqnr_db", json_number(m->sqnr));
        if (exponents)
            json_object_set_new(object, "exponents", histogram(m->exponents));
        json_array_append_new(list, object);
    }
    return list;
}

static json_t *all_exponents(const bd_measurement *measurements, size_t count)
{
    json_t *object = json_object();
    for (int what = 0; what < BD_MEASURED_COUNT; what++) {
        double sums[BD_EXPONENT_BINS] = { 0 };
        bool any = false;
        for (size_t i = 0; i < count; i++)
            for (int bin = 0; bin < BD_EXPONENT_BINS && measurements[i].what == (bd_measured)what; bin++, any = true)
                sums[bin] += measurements[i].exponents[bin];
        if (any)
            json_object_set_new(object, bd_measured_name((bd_measured)what), histogram(sums));
    }
    return object;
}

static json_int_t number_of(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

void rounding_record(json_t **self, const bd_train_event *event)
{
    if (!*self)
        *self = json_pack("{s:I, s:i, s:[]}", "every", (json_int_t)event->step, "stride", 1, "samples");
    json_t *samples = json_object_get(*self, "samples");
    const json_int_t number = event->step / number_of(*self, "every"), stride = number_of(*self, "stride");
    json_object_set_new(*self, "exponents", all_exponents(event->measurements, event->measurement_count));
    if (number % stride)
        return;
    json_array_append_new(samples, json_pack("{s:I, s:o}", "step", (json_int_t)event->step, "layers",
                                             rounding_list(event->measurements, event->measurement_count, false)));
    if (json_array_size(samples) <= ROUNDING_SAMPLES)
        return;
    json_object_set_new(*self, "stride", json_integer(2 * stride));
    for (size_t i = json_array_size(samples); i-- > 0;)
        if (number_of(json_array_get(samples, i), "step") / number_of(*self, "every") % (2 * stride))
            json_array_remove(samples, i);
}

void rounding_cut(json_t *self, int64_t step)
{
    json_t *samples = json_object_get(self, "samples");
    for (size_t i = json_array_size(samples); i-- > 0;)
        if (number_of(json_array_get(samples, i), "step") > step)
            json_array_remove(samples, i);
}

/* ---- reading ---- */

static bool is_value(const json_t *value)
{
    return json_is_number(value) || json_is_null(value);
}

static bool is_layer(const json_t *layer)
{
    return json_is_string(json_object_get(layer, "layer")) && json_is_string(json_object_get(layer, "values")) &&
           is_value(json_object_get(layer, "underflow")) && is_value(json_object_get(layer, "sqnr_db"));
}

static bool is_histogram(const json_t *object)
{
    const json_t *first = json_object_get(object, "first"), *counts = json_object_get(object, "counts");
    const json_int_t begin = json_integer_value(first) - BD_LEAST_EXPONENT;
    bool whole = json_is_integer(first) && begin >= 0 && begin < BD_EXPONENT_BINS &&
                 json_array_size(counts) <= (size_t)(BD_EXPONENT_BINS - begin);
    for (size_t i = 0; i < json_array_size(counts) && whole; i++)
        whole = json_is_integer(json_array_get(counts, i)) && json_integer_value(json_array_get(counts, i)) >= 0;
    return whole;
}

bool rounding_is_whole(const json_t *self)
{
    const json_t *samples = json_object_get(self, "samples");
    json_t *exponents = json_object_get(self, "exponents"), *each;
    const char *kind;
    bool whole = number_of(self, "every") > 0 && number_of(self, "stride") > 0 &&
                 number_of(self, "stride") <= UINT32_MAX && json_is_array(samples) &&
                 json_array_size(samples) <= ROUNDING_SAMPLES && json_is_object(exponents);
    for (size_t i = 0; i < json_array_size(samples) && whole; i++) {
        const json_t *sample = json_array_get(samples, i), *layers = json_object_get(sample, "layers");
        whole = json_is_integer(json_object_get(sample, "step")) && json_is_array(layers);
        for (size_t l = 0; l < json_array_size(layers) && whole; l++)
            whole = is_layer(json_array_get(layers, l));
    }
    json_object_foreach(exponents, kind, each) whole = whole && is_histogram(each);
    return whole;
}

double rounding_mean(const json_t *self, const char *layer, const char *values, const char *number)
{
    const json_t *samples = json_object_get(self, "samples");
    double sum = 0;
    size_t count = 0;
    for (size_t i = 0; i < json_array_size(samples); i++) {
        const json_t *layers = json_object_get(json_array_get(samples, i), "layers");
        for (size_t l = 0; l < json_array_size(layers); l++) {
            const json_t *each = json_array_get(layers, l), *value = json_object_get(each, number);
            if (!json_is_number(value) || strcmp(json_string_value(json_object_get(each, "layer")), layer) != 0 ||
                strcmp(json_string_value(json_object_get(each, "values")), values) != 0)
                continue;
            sum += json_number_value(value);
            count++;
        }
    }
    return count ? sum / (double)count : NAN;
}
