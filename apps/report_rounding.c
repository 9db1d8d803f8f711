/* The report's layer-by-layer part: what rounding took from each layer, and why: where exponents lie. */
#include "chart.h"
#include "chart_rounding.h"
#include "html.h"
#include "report_parts.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* As narrow as a heat map's columns. */
static const char *const short_names[BD_MEASURED_COUNT] = { "act",    "grad", "w grad", "opnd",
                                                            "g opnd", "upd",  "b grad", "b upd" };

/* What a heat map is made of: the rows of one device whose runs were measured. */
typedef struct measured_rows {
    const comparison *results;
    const combination *rows[64];
    size_t count;
} measured_rows;

static const json_t *first_sample(const combination *row, int64_t seeds)
{
    for (int64_t s = 0; s < seeds; s++) {
        const json_t *sample = json_array_get(json_object_get(row->runs[s].rounding, "samples"), 0);
        if (sample)
            return sample;
    }
    return NULL;
}

/* Of the first device that measured anything of this model. */
static measured_rows find_rows(const comparison *self, const char *model)
{
    measured_rows found = { .results = self };
    for (size_t i = 0; i < self->row_count && found.count < sizeof found.rows / sizeof *found.rows; i++) {
        const combination *row = &self->rows[i];
        if (row->model == model && first_sample(row, self->seeds) &&
            (!found.count || found.rows[0]->device == row->device))
            found.rows[found.count++] = row;
    }
    return found;
}

/* Over the seeds that were measured. */
static double mean_of(const comparison *self, const combination *row, const char *layer, int what, const char *number)
{
    double sum = 0;
    int64_t count = 0;
    for (int64_t s = 0; s < self->seeds; s++) {
        const double value = rounding_mean(row->runs[s].rounding, layer, bd_measured_name((bd_measured)what), number);
        if (isfinite(value)) {
            sum += value;
            count++;
        }
    }
    return count ? sum / (double)count : NAN;
}

/* The layers of a sample, each once; names are the sample's. NULL for want of memory. */
static const char **layers_of(const json_t *sample, size_t *count)
{
    const json_t *list = json_object_get(sample, "layers");
    const char **names = calloc(json_array_size(list) + 1, sizeof *names);
    *count = 0;
    for (size_t i = 0; i < json_array_size(list) && names; i++) {
        const char *name = json_string_value(json_object_get(json_array_get(list, i), "layer"));
        size_t known = 0;
        while (known < *count && strcmp(names[known], name) != 0)
            known++;
        if (known == *count)
            names[(*count)++] = name;
    }
    return names;
}

/* Columns of a row: kinds of values, of which some layer has the number. `values` is layers by BD_MEASURED_COUNT. */
static bool has_column(const comparison *self, const combination *row, const char **layers, size_t count, int what,
                       const char *number)
{
    for (size_t i = 0; i < count; i++)
        if (isfinite(mean_of(self, row, layers[i], what, number)))
            return true;
    return false;
}

static void heat(FILE *file, const measured_rows *rows, const char *title, const char *number, double coldest,
                 double hottest, double scale)
{
    const comparison *self = rows->results;
    size_t layer_count = 0, columns_count = 0;
    const char **layers = layers_of(first_sample(rows->rows[0], self->seeds), &layer_count);
    heat_column *columns = calloc(rows->count * BD_MEASURED_COUNT + 1, sizeof *columns);
    double *values = calloc((layer_count + 1) * (rows->count * BD_MEASURED_COUNT + 1), sizeof *values);
    for (int pass = 0; pass < 2 && layers && columns && values; pass++) {
        size_t at = 0;
        for (size_t r = 0; r < rows->count; r++) {
            const combination *row = rows->rows[r];
            for (int what = 0; what < BD_MEASURED_COUNT && strcmp(row->precision, "fp32") != 0; what++) {
                if (!has_column(self, row, layers, layer_count, what, number))
                    continue;
                columns[at] = (heat_column){ row->precision, short_names[what], report_style_of(self, row->precision) };
                for (size_t l = 0; l < layer_count && pass; l++)
                    values[l * columns_count + at] = mean_of(self, row, layers[l], what, number);
                at++;
            }
        }
        columns_count = at;
    }
    if (layers && columns && values && columns_count)
        chart_heat(file,
                   &(heat_map){ title, layers, layer_count, columns, columns_count, values, coldest, hottest, scale });
    free(layers);
    free(columns);
    free(values);
}

/* The sums of all seeds. False where there is nothing. */
static bool add_exponents(exponent_series *series, const comparison *self, const combination *row, int what)
{
    bool any = false;
    for (int64_t s = 0; s < self->seeds; s++) {
        const json_t *exponents = json_object_get(row->runs[s].rounding, "exponents");
        const json_t *histogram = json_object_get(exponents, bd_measured_name((bd_measured)what));
        const json_t *counts = json_object_get(histogram, "counts");
        const size_t first = (size_t)(json_integer_value(json_object_get(histogram, "first")) - BD_LEAST_EXPONENT);
        for (size_t i = 0; i < json_array_size(counts); i++, any = true)
            series->counts[first + i] += (double)json_integer_value(json_array_get(counts, i));
    }
    return any;
}

static void exponents(FILE *file, const measured_rows *rows)
{
    static const char *const titles[BD_MEASURED_COUNT] = { "Activations",           "Gradients",
                                                           "Weight gradients",      "Operands",
                                                           "Gradients as operands", "Updates of weights",
                                                           "Gradients of biases",   "Updates of biases" };
    fputs("<div class=\"grid2\">\n", file);
    for (int what = 0; what < BD_MEASURED_COUNT; what++) {
        exponent_series *series = calloc(rows->count, sizeof *series);
        size_t count = 0;
        for (size_t r = 0; r < rows->count && series; r++) {
            series[count] = (exponent_series){ .name = rows->rows[r]->precision,
                                               .style = report_style_of(rows->results, rows->rows[r]->precision) };
            count += add_exponents(&series[count], rows->results, rows->rows[r], what);
        }
        if (count)
            chart_exponents(file, titles[what], series, count);
        free(series);
    }
    fputs("</div>\n", file);
}

void report_rounding(FILE *file, const comparison *self, const char *model)
{
    const measured_rows rows = find_rows(self, model);
    if (!rows.count)
        return;
    html_print(file,
               "<h3>Where values lie<small>by exponent, in the last step that was measured, on %s; below, what formats "
               "hold, pale what they "
               "hold as subnormal numbers</small></h3>\n",
               rows.rows[0]->device->id);
    report_legend(file, self);
    exponents(file, &rows);
    fputs("<p class=\"soft\">Gradients are those of the loss times the loss scale. What lies left of a format's bar "
          "becomes 0 in "
          "it, what lies right of it infinite.</p>\n",
          file);
    html_print(
        file,
        "<h3>What rounding does in each layer<small>means of the measured steps, on %s; act: activations, grad: "
        "gradients, w grad: "
        "weight gradients, opnd: operands, g opnd: gradients as operands, upd: updates of weights, b grad and b upd: "
        "of biases, and of normalisations' scales and shifts</small></h3>\n",
        rows.rows[0]->device->id);
    fputs("<div class=\"maps\">\n", file);
    heat(file, &rows, "Lost: per cent of the values other than 0 that became 0, and of updates that changed no weight",
         "underflow", 0, 0.5, 100);
    heat(file, &rows, "Signal to quantisation noise, in dB", "sqnr_db", 80, 0, 1);
    fputs("</div>\n", file);
}
