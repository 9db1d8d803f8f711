/* The report of a federation: what each wire format sent, and what accuracy that bought. */
#include "app.h"
#include "chart.h"
#include "html.h"
#include "report_parts.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double MEBIBYTE = 1 << 20;

static void bytes_cell(FILE *file, const char *label, uint64_t bytes)
{
    char text[32];
    html_print(file, "<td data-label=\"%s\"><div>%s</div></td>", label, app_bytes(text, bytes));
}

static void table_row(FILE *file, const comparison *self, const combination *row)
{
    const summary s = summarize(self, row);
    html_print(file, "<tr><td class=\"t s%d\"><i class=\"key\"></i>%s</td><td class=\"t\">%s</td>",
               report_style_of(self, row->precision), row->precision, row->device->id);
    if (!s.done) {
        html_print(file, "<td class=\"%s\" colspan=\"5\">%s%s</td></tr>\n", s.reason ? "bad" : "soft t",
                   s.reason ? "failed: " : "not run", s.reason ? s.reason : "");
        return;
    }
    html_print(file, "<td data-label=\"test accuracy\"><div>%.2f%%", s.accuracy * 100);
    if (isfinite(s.measures[MEASURE_ACCURACY].low))
        html_print(file, " ± %.2f", interval_half(&s.measures[MEASURE_ACCURACY]) * 100);
    if (comparison_base(self, row) != row && isfinite(s.accuracy_change))
        html_print(file, "<small>%+.2f points</small>", s.accuracy_change * 100);
    fputs("</div></td>", file);
    bytes_cell(file, "down", s.sent.down);
    bytes_cell(file, "up", s.sent.up);
    bytes_cell(file, "sent", s.sent.down + s.sent.up);
    html_print(file, "<td data-label=\"less than f32\"><div>%.2f×</div></td></tr>\n", s.traffic_ratio);
    if (s.reason)
        html_print(file, "<tr><td class=\"bad\" colspan=\"7\">%d of %d seeds failed: %s</td></tr>\n", (int)s.failed,
                   (int)self->seeds, s.reason);
}

/* The rounds' mean accuracies over the seeds that are done, with a band from the least to the most. `series` has room
 * for them. */
static void add_rounds(chart_series *series, const comparison *self, const combination *row)
{
    const traffic sent = summarize(self, row).sent;
    for (int64_t r = 0; r < self->epochs; r++) {
        double sum = 0, low = INFINITY, high = -INFINITY;
        int known = 0;
        for (int64_t s = 0; s < self->seeds; s++) {
            const run_result *run = &row->runs[s];
            if (run->state != RUN_DONE || r >= run->epoch_count)
                continue;
            sum += run->epochs[r].test_accuracy;
            low = fmin(low, run->epochs[r].test_accuracy);
            high = fmax(high, run->epochs[r].test_accuracy);
            known++;
        }
        if (known) /* every round sends as much as every other */
            series->points[series->count++] =
                (chart_point){ (double)(sent.down + sent.up) / MEBIBYTE * (double)(r + 1) / (double)self->epochs,
                               sum / known, known > 1 ? low : NAN, known > 1 ? high : NAN };
    }
}

/* Of a model on a device, whose rows begin at `first`. */
static void chart_of(FILE *file, const comparison *self, const combination *first)
{
    const size_t count = self->precision_count, rounds = (size_t)self->epochs;
    chart_series *series = calloc(count, sizeof(*series));
    chart_point *points = calloc(count * rounds, sizeof(*points));
    char title[128];
    snprintf(title, sizeof title, "%s: test accuracy over what was sent", first->device->id);
    chart accuracy = { title, "MiB sent", 0, INFINITY, true, true };
    for (size_t w = 0; series && points && w < count; w++) {
        series[w] = (chart_series){ first[w].precision, (int)(w % CHART_STYLES), points + w * rounds, 0 };
        add_rounds(&series[w], self, &first[w]);
        if (series[w].count)
            accuracy.x_max = fmax(accuracy.x_max, series[w].points[series[w].count - 1].x);
    }
    if (accuracy.x_max > 0)
        chart_lines(file, &accuracy, series, count);
    free(points);
    free(series);
}

void report_traffic(FILE *file, const comparison *self, const char *model)
{
    fputs("<div class=\"rows\"><table><thead><tr><th class=\"t\">wire</th><th class=\"t\">device</th><th>test "
          "accuracy</th>"
          "<th>down</th><th>up</th><th>sent</th><th>less than f32</th></tr></thead><tbody>\n",
          file);
    for (size_t i = 0; i < self->row_count; i++)
        if (self->rows[i].model == model)
            table_row(file, self, &self->rows[i]);
    fputs("</tbody></table></div>\n<h3>Bytes against accuracy<small>a dot a round</small></h3>\n", file);
    report_legend(file, self);
    fputs("<div class=\"grid2\">\n", file);
    for (size_t i = 0; i < self->row_count; i += self->precision_count)
        if (self->rows[i].model == model)
            chart_of(file, self, &self->rows[i]);
    fputs("</div>\n", file);
}
