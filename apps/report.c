#include "report.h"
#include "app.h"
#include "chart.h"
#include "describe.h"
#include "html.h"
#include "results.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- head ---- */

static void legend_line(FILE *file, int style, const char *name)
{
    html_print(file,
               "<li class=\"s%d\"><svg viewBox=\"0 0 34 10\" aria-hidden=\"true\"><path d=\"M2 5H32\"/></svg>%s</li>",
               style, name);
}

/* Precisions beyond CHART_STYLES share styles; the tables still tell them apart. */
static int style_of(const comparison *self, const char *precision)
{
    size_t i = 0;
    while (i < self->precision_count && self->precisions[i] != precision)
        i++;
    return (int)(i % CHART_STYLES);
}

static void legend(FILE *file, const comparison *self)
{
    fputs("<ul class=\"legend\">", file);
    for (size_t i = 0; i < self->precision_count; i++)
        legend_line(file, (int)(i % CHART_STYLES), self->precisions[i]);
    fputs("</ul>\n", file);
}

static void tile(FILE *file, const char *value, const char *title, const char *detail)
{
    html_print(file, "<div class=\"tile\"><span>%s</span><b>%s</b><span>%s</span></div>\n", title, value, detail);
}

static void best_tile(FILE *file, const comparison *self, bool speed)
{
    const combination *best = NULL;
    double most = -INFINITY;
    for (size_t i = 0; i < self->row_count; i++) {
        summary s = summarize(self, &self->rows[i]);
        double value = speed ? s.images_per_second : s.accuracy;
        if (!s.done || !(value > most))
            continue;
        best = &self->rows[i];
        most = value;
    }
    if (!best)
        return;
    char value[48], thousands[32], detail[600];
    snprintf(detail, sizeof(detail), "%s, %s, %s", best->model, best->precision, best->device->id);
    if (speed)
        snprintf(value, sizeof(value), "%s", app_thousands(thousands, most));
    else
        snprintf(value, sizeof(value), "%.2f%%", most * 100);
    tile(file, value, speed ? "Most images a second" : "Best test accuracy", detail);
}

static void tiles(FILE *file, const comparison *self)
{
    int64_t done = 0, failed = 0;
    for (size_t i = 0; i < self->row_count; i++) {
        summary s = summarize(self, &self->rows[i]);
        done += s.done;
        failed += s.failed;
    }
    int64_t runs = (int64_t)self->row_count * self->seeds;
    char value[64], detail[64], time[32];
    fputs("<div class=\"tiles\">\n", file);
    best_tile(file, self, false);
    best_tile(file, self, true);
    snprintf(value, sizeof(value), "%lld of %lld", (long long)done, (long long)runs);
    snprintf(detail, sizeof(detail), "%lld failed", (long long)failed);
    tile(file, value, "Runs done", failed ? detail : done < runs ? "not finished" : "none failed");
    tile(file, app_duration(time, self->seconds), "Time", "all runs, with their tests");
    fputs("</div>\n", file);
}

static void head(FILE *file, const comparison *self)
{
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
          "<meta name=\"color-scheme\" content=\"light dark\">\n"
          /* Says to the browser what this page promises: nothing is fetched, nothing runs. */
          "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';style-src 'unsafe-inline'\">\n"
          "<title>Binade: precisions compared</title>\n<style>\n",
          file);
    fputs(report_style, file);
    fputs("</style></head><body>\n<h1>The same networks in ", file);
    for (size_t i = 0; i < self->precision_count; i++)
        html_print(file, "%s%s", !i ? "" : i + 1 < self->precision_count ? ", " : " and ", self->precisions[i]);
    fputs("</h1>\n", file);
    const bd_dataset *d = self->dataset;
    char train[32], test[32];
    html_print(file, "<p class=\"soft\">%s: %s training and %s test images of %dx%dx%d, %d classes. %s. ", d->name,
               app_thousands(train, (double)d->train.count), app_thousands(test, (double)d->test.count), (int)d->height,
               (int)d->width, (int)d->channels, (int)d->classes, self->description);
    html_print(file, "%.3g epoch%s, %d seed%s. Begun %s%s.</p>\n", self->length, self->length <= 1 ? "" : "s",
               (int)self->seeds, self->seeds == 1 ? "" : "s", self->started,
               self->finished ? "" : "; not finished: what is missing here was not run");
    tiles(file, self);
}

/* ---- table ---- */

static void cell_start(FILE *file, const char *label)
{
    html_print(file, "<td data-label=\"%s\"><div>", label);
}

static void cells(FILE *file, const combination *row, const summary *s)
{
    char text[32];
    cell_start(file, "test accuracy");
    html_print(file, "%.2f%%", s->accuracy * 100);
    if (isfinite(s->deviation))
        html_print(file, " ± %.2f", s->deviation * 100);
    bool other = strcmp(row->precision, "fp32") != 0;
    if (other && isfinite(s->accuracy_change))
        html_print(file, "<small>%+.2f points</small>", s->accuracy_change * 100);
    fputs("</div></td>", file);
    cell_start(file, "ms a step");
    html_print(file, "%.2f</div></td>", s->step_ms);
    cell_start(file, "images/s");
    html_print(file, "%s</div></td>", app_thousands(text, s->images_per_second));
    cell_start(file, "peak memory");
    html_print(file, "%s", app_bytes(text, s->training_bytes));
    if (other && isfinite(s->memory_ratio))
        html_print(file, "<small>%.0f%% of fp32</small>", s->memory_ratio * 100);
    fputs("</div></td>", file);
    cell_start(file, "overflows");
    html_print(file, "%d</div></td>", (int)s->overflows);
    cell_start(file, "speed-up");
    if (isfinite(s->speedup))
        html_print(file, "%.2f×", s->speedup);
    else
        fputs("–", file);
    fputs("</div></td>", file);
}

static void table_row(FILE *file, const comparison *self, const combination *row)
{
    summary s = summarize(self, row);
    bool first = (size_t)(row - self->rows) % self->precision_count == 0; /* of its device */
    html_print(file, "<tr class=\"%s\"><td class=\"t s%d\"><i class=\"key\"></i>%s</td><td class=\"t\">%s</td>",
               first ? "first" : "", style_of(self, row->precision), row->precision, row->device->id);
    if (s.done) {
        cells(file, row, &s);
    } else {
        html_print(file, "<td class=\"%s\" colspan=\"6\">%s%s</td>", s.reason ? "bad" : "soft t",
                   s.reason ? "failed: " : "not run", s.reason ? s.reason : "");
    }
    fputs("</tr>\n", file);
    if (s.done && s.reason)
        html_print(file, "<tr><td class=\"bad\" colspan=\"8\">%d of %d seeds failed: %s</td></tr>\n", (int)s.failed,
                   (int)self->seeds, s.reason);
}

static void table(FILE *file, const comparison *self, const char *model)
{
    fputs("<div class=\"rows\"><table><thead><tr><th class=\"t\">precision</th><th class=\"t\">device</th>"
          "<th>test accuracy</th><th>ms a step</th><th>images/s</th><th>peak memory</th><th>overflows</th>"
          "<th>speed-up</th></tr></thead><tbody>\n",
          file);
    for (size_t i = 0; i < self->row_count; i++)
        if (self->rows[i].model == model)
            table_row(file, self, &self->rows[i]);
    fputs("</tbody></table></div>\n", file);
}

/* ---- charts ---- */

static void bars(FILE *file, const comparison *self, const char *model)
{
    double most = 0;
    for (size_t i = 0; i < self->row_count; i++) {
        if (self->rows[i].model != model)
            continue;
        double speed = summarize(self, &self->rows[i]).images_per_second;
        if (speed > most)
            most = speed;
    }
    if (!(most > 0))
        return;
    fputs("<h3>Images a second</h3><div class=\"grid2\">\n", file);
    for (size_t i = 0; i < self->row_count; i++) {
        const combination *row = &self->rows[i];
        if (row->model != model)
            continue;
        /* Rows of a device follow each other. */
        bool first = i % self->precision_count == 0, last = (i + 1) % self->precision_count == 0;
        if (first)
            html_print(file, "<figure><figcaption>%s, %s</figcaption><div class=\"bars\">", row->device->id,
                       row->device->name);
        double speed = summarize(self, row).images_per_second;
        char text[32];
        html_print(file, "<span>%s</span><div class=\"s%d\">", row->precision, style_of(self, row->precision));
        /* 70%: the longest bar leaves room for its number. */
        if (isfinite(speed))
            html_print(file, "<i style=\"width:%.1f%%\"></i>", speed / most * 70);
        html_print(file, "%s</div>\n", app_thousands(text, speed));
        if (last)
            fputs("</div></figure>\n", file);
    }
    fputs("</div>\n", file);
}

enum what { TRAINING_LOSS, TEST_ACCURACY, LAST_ACCURACY };

/* The points of one run; `series` has room for them. */
static void add_points(chart_series *series, const run_result *run, enum what what)
{
    if (what == TRAINING_LOSS)
        for (int i = 0; i < run->training.count; i++)
            series->points[series->count++] =
                (chart_point){ run->training.points[i].epoch, run->training.points[i].loss };
    if (what == TEST_ACCURACY)
        for (int64_t i = 0; i < run->epoch_count; i++)
            series->points[series->count++] = (chart_point){ run->epochs[i].epoch, run->epochs[i].test_accuracy };
    if (what == LAST_ACCURACY && run->state == RUN_DONE)
        series->points[series->count++] = (chart_point){ (double)run->seed, run->last.test_accuracy };
}

/* One chart of a model on a device, whose rows begin at `first`. */
static void chart_of(FILE *file, const comparison *self, const combination *first, enum what what)
{
    size_t runs = (size_t)self->seeds, longest = (size_t)self->epochs + CURVE_POINTS + runs;
    size_t count = self->precision_count * (what == LAST_ACCURACY ? 1 : runs);
    chart_series *series = calloc(count, sizeof(*series));
    chart_point *points = calloc(count * longest, sizeof(*points));
    if (series && points) {
        for (size_t p = 0; p < self->precision_count; p++) {
            for (size_t r = 0; r < runs; r++) {
                size_t index = what == LAST_ACCURACY ? p : p * runs + r;
                chart_series *one = &series[index];
                one->points = points + index * longest;
                one->name = first[p].precision;
                one->style = (int)(p % CHART_STYLES);
                add_points(one, &first[p].runs[r], what);
            }
        }
        const char *id = first->device->id;
        char title[128];
        /* A network that guesses has the loss log(classes): what is twice as bad has diverged and leaves the chart. */
        chart loss = { title, "epoch", self->length, 2 * log((double)self->dataset->classes), false, false };
        chart accuracy = { title, "epoch", self->length, INFINITY, true, true };
        snprintf(title, sizeof(title), "%s: %s", id,
                 what == TRAINING_LOSS   ? "training loss"
                 : what == TEST_ACCURACY ? "test accuracy"
                                         : "test accuracy by seed");
        if (what == LAST_ACCURACY)
            chart_dots(file, title, series, count);
        else
            chart_lines(file, what == TRAINING_LOSS ? &loss : &accuracy, series, count);
    }
    free(points);
    free(series);
}

static void curves(FILE *file, const comparison *self, const char *model)
{
    fputs("<h3>Learning curves</h3>\n", file);
    legend(file, self);
    fputs("<div class=\"grid2\">\n", file);
    for (size_t i = 0; i < self->row_count; i += self->precision_count) {
        if (self->rows[i].model != model)
            continue;
        chart_of(file, self, &self->rows[i], TRAINING_LOSS);
        chart_of(file, self, &self->rows[i], TEST_ACCURACY);
    }
    fputs("</div>\n", file);
    if (self->seeds < 2)
        return;
    fputs("<h3>Spread over seeds<small>a dot a seed, a bar at the mean</small></h3><div class=\"grid2\">\n", file);
    for (size_t i = 0; i < self->row_count; i += self->precision_count)
        if (self->rows[i].model == model)
            chart_of(file, self, &self->rows[i], LAST_ACCURACY);
    fputs("</div>\n", file);
}

/* ---- devices ---- */

static void entry(FILE *file, const char *name, const char *value)
{
    html_print(file, "<dt>%s</dt><dd>%s</dd>", name, value);
}

static void device_card(FILE *file, const bd_device_info *info)
{
    char text[32], subgroup[32], group[96];
    html_print(file, "<div class=\"card\"><h3>%s<small>%s</small></h3><dl>", info->id, info->name);
    entry(file, "Driver", info->driver);
    if (info->limit[0])
        entry(file, "Limited to", info->limit);
    entry(file, "Type", describe_type(info->type));
    entry(file, "Memory", info->limits.memory_bytes ? app_bytes(text, info->limits.memory_bytes) : "not told");
    entry(file, "FP16 storage", describe_storage(&info->half));
    entry(file, "FP16 arithmetic", describe_arithmetic(&info->half));
    entry(file, "FP16 rounding", describe_rounding(&info->half));
    entry(file, "Subnormals", describe_subnormals(&info->half));
    entry(file, "Matrix units", info->matrix_units[0] ? info->matrix_units : "none");
    snprintf(subgroup, sizeof(subgroup), "%u", info->limits.subgroup_size);
    entry(file, "Subgroup", info->limits.subgroup_size ? subgroup : "not told");
    snprintf(group, sizeof(group), "%u items, %s shared", info->limits.max_workgroup_items,
             app_bytes(text, info->limits.shared_bytes));
    entry(file, "Work-group", group);
    entry(file, "Quirks in force", info->quirks[0] ? info->quirks : "none");
    fputs("</dl></div>\n", file);
}

static void devices(FILE *file, const comparison *self)
{
    fputs(
        "<h2>Devices and the truth about their FP16</h2>\n"
        "<p class=\"soft\">Found by running kernels when the devices were opened. Whatever a device does by itself, "
        "every "
        "value is rounded to its tensor's format, to nearest even. What can still differ between devices: the order of "
        "sums, the last bits of functions such as exp, and subnormals where a driver flushes them.</p>\n"
        "<div class=\"grid2\">\n",
        file);
    for (size_t i = 0; i < self->device_count; i++)
        device_card(file, &self->devices[i]);
    fputs("</div>\n", file);
}

static void notes(FILE *file, const comparison *self)
{
    fputs("<h2>How to read this</h2>\n<p>Every row trains the same graph on the same images in the same order from the "
          "same "
          "first weights; only the precision and the device differ. ",
          file);
    if (self->seeds > 1)
        html_print(file, "Accuracy is the mean over %d seeds, ± their sample standard deviation. ", (int)self->seeds);
    else
        fputs("With one seed, differences of less than about one point of accuracy mean nothing: "
              "two seeds of the same precision differ as much. ",
              file);
    fputs(
        "Times are medians. Speed-up is the step time of fp32 on the same device divided by the row's. Peak memory is "
        "what training takes on the device, without the data set. Overflows are steps that dynamic loss scaling "
        "skipped "
        "because a gradient was not finite.</p>\n",
        file);
}

void report_write(FILE *file, const void *user)
{
    const comparison *self = user;
    head(file, self);
    for (size_t i = 0; i < self->model_count; i++) {
        html_print(file, "<section><h2>%s</h2>\n", self->models[i]);
        table(file, self, self->models[i]);
        bars(file, self, self->models[i]);
        curves(file, self, self->models[i]);
        fputs("</section>\n", file);
    }
    devices(file, self);
    notes(file, self);
    html_print(file,
               "<footer class=\"soft\">Made by Binade %s with <code>%s</code>. The numbers are in results.json beside "
               "this file.</footer>\n</body></html>\n",
               BD_VERSION, self->command);
}
