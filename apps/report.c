#include "report.h"
#include "app.h"
#include "describe.h"
#include "html.h"
#include "report_parts.h"
#include "results.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- head ---- */

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
    if (!self->federation)
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
    fputs("</style></head><body>\n<h1>The same networks ", file);
    fputs(self->federation ? "learned together, sent as " : "in ", file);
    for (size_t i = 0; i < self->precision_count; i++)
        html_print(file, "%s%s", !i ? "" : i + 1 < self->precision_count ? ", " : " and ", self->precisions[i]);
    fputs("</h1>\n", file);
    const bd_dataset *d = self->dataset;
    char train[32], test[32];
    html_print(file, "<p class=\"soft\">%s: %s training and %s ", d->name, app_thousands(train, (double)d->train.count),
               app_thousands(test, (double)d->test.count));
    if (d->tokens)
        html_print(file, "validation tokens of %d", (int)d->classes);
    else
        html_print(file, "test images of %dx%dx%d, %d classes", (int)d->height, (int)d->width, (int)d->channels,
                   (int)d->classes);
    html_print(file, ". %s. ", self->description);
    html_print(file, "%.3g %s%s, %d seed%s. Begun %s%s.</p>\n", self->length, self->federation ? "round" : "epoch",
               self->length <= 1 ? "" : "s", (int)self->seeds, self->seeds == 1 ? "" : "s", self->started,
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
    if (isfinite(s->measures[MEASURE_ACCURACY].low))
        html_print(file, " ± %.2f", interval_half(&s->measures[MEASURE_ACCURACY]) * 100);
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
               first ? "first" : "", report_style_of(self, row->precision), row->precision, row->device->id);
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
    if (self->federation) {
        fputs("<h2>How to read this</h2>\n<p>Every row deals the same images to the same clients, who begin with the "
              "same first "
              "weights and see them in the same order; only what weights and differences are rounded to on their way "
              "differs. "
              "Bytes are those of all messages of a run: elements in the format's bits, packed, and a scale of four "
              "bytes a "
              "tensor where the format has one.",
              file);
        if (self->seeds > 1)
            html_print(file, " Accuracy is the mean over %d seeds, ± half its 95%% interval by Student's t.",
                       (int)self->seeds);
        fputs("</p>\n", file);
        return;
    }
    fputs("<h2>How to read this</h2>\n<p>Every row trains the same graph on the same images in the same order from the "
          "same "
          "first weights; only the precision and the device differ. ",
          file);
    if (self->seeds > 1)
        html_print(file, "Accuracy is the mean over %d seeds, ± half its 95%% interval by Student's t. ",
                   (int)self->seeds);
    else
        fputs("With one seed nothing can be said about differences of accuracy: two seeds of the same precision differ "
              "by "
              "up to a point. ",
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
        if (self->federation)
            report_traffic(file, self, self->models[i]);
        else
            table(file, self, self->models[i]);
        report_words(file, self, self->models[i]);
        if (!self->federation)
            report_bars(file, self, self->models[i]);
        report_curves(file, self, self->models[i]);
        report_measures(file, self, self->models[i]);
        report_rounding(file, self, self->models[i]);
        fputs("</section>\n", file);
    }
    devices(file, self);
    notes(file, self);
    html_print(file,
               "<footer class=\"soft\">Made by Binade %s with <code>%s</code>. The numbers are in results.json beside "
               "this file.</footer>\n</body></html>\n",
               BD_VERSION, self->command);
}
