/* The report's measures: intervals, what FP16 and others change, and how far confidences can be trusted. */
#include "app.h"
#include "chart.h"
#include "html.h"
#include "report_parts.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- words ---- */

void report_words(FILE *file, const comparison *self, const char *model)
{
    char *text = NULL;
    size_t size;
    FILE *memory = open_memstream(&text, &size);
    if (!memory)
        return;
    comparison_judge(memory, self, model);
    if (!fclose(memory) && size) {
        html_print(
            file,
            "<h3>What differs from %s<small>paired by seed, with 95%% intervals</small></h3><ul class=\"words\">\n",
            comparison_base_name(self));
        for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
            *end = '\0';
            html_print(file, "<li>%s</li>\n", line);
        }
        fputs("</ul>\n", file);
        if (self->seeds > 1)
            fputs(
                "<p class=\"soft\">Within noise: the interval of the difference holds 0. Of twenty intervals of equal "
                "precisions one misses 0 by chance.</p>\n",
                file);
    }
    free(text);
}

/* ---- tables ---- */

static void names(FILE *file, const comparison *self, const combination *row)
{
    html_print(file, "<tr><td class=\"t s%d\"><i class=\"key\"></i>%s</td><td class=\"t\">%s</td>",
               report_style_of(self, row->precision), row->precision, row->device->id);
}

static void empty_cell(FILE *file, const char *label)
{
    html_print(file, "<td data-label=\"%s\"><div>–</div></td>", label);
}

/* A number, and its interval below. */
static void cell(FILE *file, const char *label, const interval *i, double scale, int digits, const char *unit)
{
    char value[64], bounds[96];
    if (!isfinite(i->mean)) {
        empty_cell(file, label);
        return;
    }
    snprintf(value, sizeof value, "%.*f%s", digits, i->mean * scale, unit);
    html_print(file, "<td data-label=\"%s\"><div>%s", label, value);
    if (isfinite(i->low)) {
        snprintf(bounds, sizeof bounds, "%.*f to %.*f", digits, i->low * scale, digits, i->high * scale);
        html_print(file, "<small>%s</small>", bounds);
    }
    fputs("</div></td>", file);
}

/* Of every table: its first columns. */
static void head(FILE *file, const comparison *self)
{
    html_print(file, "<div class=\"rows\"><table><thead><tr><th class=\"t\">%s</th><th class=\"t\">device</th>",
               self->federation ? "wire" : "precision");
}

static void qualities(FILE *file, const comparison *self, const char *model)
{
    fputs("<h3>Measures of the test set", file);
    html_print(file, "<small>%sout of distribution: %s</small></h3>\n",
               self->seeds > 1 ? "means with 95% intervals over the seeds; " : "", self->ood);
    head(file, self);
    fputs("<th>accuracy</th>", file);
    for (int m = MEASURE_NLL; m < comparison_qualities(self); m++)
        html_print(file, "<th>%s</th>", measure_infos[m].title);
    fputs("</tr></thead><tbody>\n", file);
    for (size_t i = 0; i < self->row_count; i++) {
        const combination *row = &self->rows[i];
        const summary s = summarize(self, row);
        if (row->model != model || !s.done)
            continue;
        names(file, self, row);
        cell(file, "accuracy", &s.measures[MEASURE_ACCURACY], 100, 2, "%");
        for (int m = MEASURE_NLL; m < comparison_qualities(self); m++)
            cell(file, measure_infos[m].title, &s.measures[m], 1, 4, "");
        fputs("</tr>\n", file);
    }
    fputs("</tbody></table></div>\n", file);
}

/* A plain number with as many digits as it takes. */
static void plain(FILE *file, const char *label, double value)
{
    if (isfinite(value))
        html_print(file, "<td data-label=\"%s\"><div>%.3g</div></td>", label, value);
    else
        empty_cell(file, label);
}

/* One of the two agreements, that of training or that of rounding alone. */
static void agreement_table(FILE *file, const comparison *self, const char *model, const char *title, measure first)
{
    bool any = false;
    for (size_t i = 0; i < self->row_count; i++)
        any |= self->rows[i].model == model && isfinite(summarize(self, &self->rows[i]).measures[first].mean);
    if (!any)
        return;
    html_print(file,
               "<h3>%s<small>delta: largest difference of an image's probabilities; Gamma: %s's first above its "
               "second</small></h3>\n",
               title, comparison_base_name(self));
    head(file, self);
    fputs("<th>mean delta</th><th>largest delta</th><th>smallest Gamma</th><th>Gamma ≥ 2 delta</th><th>predict "
          "differently</th>"
          "<th>violations</th></tr></thead><tbody>\n",
          file);
    for (size_t i = 0; i < self->row_count; i++) {
        const combination *row = &self->rows[i];
        const summary s = summarize(self, row);
        const interval *of = s.measures + first - MEASURE_DELTA_MEAN;
        if (row->model != model || !s.done || comparison_base(self, row) == row)
            continue;
        names(file, self, row);
        plain(file, "mean delta", of[MEASURE_DELTA_MEAN].mean);
        plain(file, "largest delta", of[MEASURE_DELTA_MOST].mean);
        plain(file, "smallest Gamma", of[MEASURE_GAMMA_LEAST].mean);
        const interval decided = { of[MEASURE_DECIDED].mean, NAN, NAN, 1 };
        const interval differ = { of[MEASURE_DISAGREEMENTS].mean, NAN, NAN, 1 };
        cell(file, "Gamma ≥ 2 delta", &decided, 100, 2, "%");
        cell(file, "predict differently", &differ, 100, 2, "%");
        plain(file, "violations", of[MEASURE_VIOLATIONS].mean);
        fputs("</tr>\n", file);
    }
    fputs("</tbody></table></div>\n", file);
}

/* ---- reliability ---- */

static void reliability(FILE *file, const comparison *self, const char *model)
{
    fputs("<h3>Reliability<small>a bar is the accuracy of the images with that confidence, the line what it should "
          "be</small></h3><div class=\"grid4\">\n",
          file);
    for (size_t i = 0; i < self->row_count; i++) {
        const combination *row = &self->rows[i];
        const summary s = summarize(self, row);
        if (row->model != model || !s.done)
            continue;
        char title[384], ece[32] = "";
        if (isfinite(s.measures[MEASURE_ECE].mean))
            snprintf(ece, sizeof ece, ", ECE %.4f", s.measures[MEASURE_ECE].mean);
        snprintf(title, sizeof title, "%s on %s%s", row->precision, row->device->id, ece);
        chart_reliability(file, title, report_style_of(self, row->precision), s.bins);
    }
    fputs("</div>\n", file);
}

void report_measures(FILE *file, const comparison *self, const char *model)
{
    bool any = false;
    for (size_t i = 0; i < self->row_count; i++)
        any |= self->rows[i].model == model && summarize(self, &self->rows[i]).done;
    if (!any)
        return;
    qualities(file, self, model);
    agreement_table(file, self, model,
                    self->federation ? "Outputs beside those of f32, each trained for itself"
                                     : "Outputs beside those of fp32, each trained for itself",
                    MEASURE_DELTA_MEAN);
    agreement_table(file, self, model, "Outputs of fp32's own weights, rounded", MEASURE_ROUNDED);
    reliability(file, self, model);
}
