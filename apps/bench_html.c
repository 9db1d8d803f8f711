/* The report of `binade bench`: one page that needs nothing but itself. */
#include "app.h"
#include "bench.h"
#include "bench_version.h"
#include "chart.h"
#include "describe.h"
#include "html.h"
#include "report.h"
#include "roofline.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What the report of `compare` has no need of. */
static const char style[] =
    ".roof{stroke:var(--ink);stroke-width:1.5}.bars b{grid-column:1/-1;font-weight:500;margin-top:6px}"
    ".bars i.noisy{opacity:.55}td.t{overflow-wrap:anywhere}\n"
    "@media(max-width:700px){td.t:first-child,td.bad,td.soft{grid-column:1/-1}"
    "td.t:nth-child(n+2){font-weight:400}td.t:nth-child(3){grid-column:span 2}}\n";

/* Suites that a roofline shows, each with a style of its own. */
static const bench_suite plotted[] = { BENCH_GEMM, BENCH_CONV, BENCH_REDUCE, BENCH_ATTENTION, BENCH_TRAIN };
enum { PLOTTED = sizeof plotted / sizeof *plotted };

static int style_of_suite(bench_suite suite)
{
    for (int i = 0; i < PLOTTED; i++)
        if (plotted[i] == suite)
            return i;
    return -1;
}

static bool has_rows(const bench *self, bench_suite suite)
{
    for (size_t i = 0; i < self->row_count; i++)
        if (self->rows[i]->suite == suite)
            return true;
    return false;
}

/* ---- head ---- */

static void head(FILE *file, const bench *self)
{
    size_t counts[BENCH_WRONG + 1] = { 0 }, noisy = 0;
    for (size_t i = 0; i < self->row_count; i++) {
        counts[self->rows[i]->status]++;
        noisy += bench_noisy(self->rows[i]);
    }
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
          "<meta name=\"color-scheme\" content=\"light dark\">\n"
          "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';style-src 'unsafe-inline'\">\n"
          "<title>Binade: devices measured</title>\n<style>\n",
          file);
    fputs(report_style, file);
    fputs(style, file);
    html_print(file,
               "</style></head><body>\n<h1>Devices measured</h1>\n<p class=\"soft\">Binade %s, commit %s, %s. "
               "%d rows: %d ok",
               BD_VERSION, BENCH_COMMIT, self->started, (int)self->row_count, (int)counts[BENCH_OK]);
    html_print(file, " (%d noisy)", (int)noisy);
    for (int s = BENCH_UNSUPPORTED; s <= BENCH_WRONG; s++)
        if (counts[s])
            html_print(file, ", %d %s", (int)counts[s], bench_status_names[s]);
    fputs(
        ". Results are checked against sums in double precision: what is wrong is shown as wrong, never as fast.</p>\n",
        file);
}

static void device_cards(FILE *file, const bench *self)
{
    fputs("<div class=\"grid2\">\n", file);
    for (size_t d = 0; d < self->device_count; d++) {
        const bd_device_info *info = &self->devices[d];
        html_print(file,
                   "<div class=\"card\"><h3>%s<small>%s</small></h3><dl><dt>Driver</dt><dd>%s</dd><dt>Type</dt>"
                   "<dd>%s</dd><dt>FP16</dt><dd>%s</dd><dt>Matrix units</dt><dd>%s</dd>",
                   info->id, info->name, info->driver, describe_type(info->type), describe_arithmetic(&info->half),
                   info->matrix_units[0] ? info->matrix_units : "none");
        html_print(file, "<dt>Quirks in force</dt><dd>%s</dd>", info->quirks[0] ? info->quirks : "none");
        if (info->limit[0])
            html_print(file, "<dt>Limited to</dt><dd>%s</dd>", info->limit);
        fputs("</dl></div>\n", file);
    }
    fputs("</div>\n", file);
}

/* ---- rooflines ---- */

static double best_bandwidth(const bench *self, size_t device)
{
    double best = 0;
    for (size_t i = 0; i < self->row_count; i++) {
        const bench_row *row = self->rows[i];
        if (row->device == device && row->suite == BENCH_BANDWIDTH && !strcmp(row->variant, "raw"))
            best = fmax(best, bench_value(row)); /* fmax drops a NaN */
    }
    return best;
}

/* The rows of a device in a policy become points; `points` and `names` have room for all rows. */
static size_t gather_points(const bench *self, size_t device, const char *policy, roofline_point *points,
                            char (*names)[160], double *peak)
{
    size_t count = 0;
    *peak = 0;
    for (size_t i = 0; i < self->row_count; i++) {
        const bench_row *row = self->rows[i];
        const int point_style = style_of_suite(row->suite);
        const double seconds = bench_summarize(bench_best_samples(row)).median;
        if (row->device != device || row->status != BENCH_OK || point_style < 0 || strcmp(row->policy, policy) != 0)
            continue;
        *peak = fmax(*peak, row->peak);
        if (!(row->flops > 0) || !(row->bytes > 0) || !(seconds > 0))
            continue;
        snprintf(names[count], sizeof names[count], "%s, %s", row->name, row->variant);
        points[count] =
            (roofline_point){ row->flops / row->bytes, 1e-9 * row->flops / seconds, point_style, names[count] };
        count++;
    }
    return count;
}

static void rooflines(FILE *file, const bench *self)
{
    roofline_point *points = calloc(self->row_count + 1, sizeof *points);
    char(*names)[160] = calloc(self->row_count + 1, sizeof *names);
    fputs("<h2>Rooflines</h2>\n<p class=\"soft\">A dot is a benchmark: how fast it computes, over how much it computes "
          "for "
          "each byte that it must read or write at least. The lines are what the device reached in the suites peak and "
          "bandwidth. A dot above the slope had its data in a cache.</p>\n<ul class=\"legend\">",
          file);
    for (int i = 0; i < PLOTTED; i++)
        if (has_rows(self, plotted[i]))
            html_print(file, "<li class=\"s%d\"><i class=\"key\"></i>%s</li>", i, bench_suite_names[plotted[i]]);
    fputs("</ul>\n<div class=\"grid2\">\n", file);
    for (size_t d = 0; points && names && d < self->device_count; d++) {
        for (size_t p = 0; p < self->settings.policy_count; p++) {
            char title[256];
            const char *policy = self->settings.policies[p].name;
            roofline picture = { .title = title, .points = points, .bandwidth = best_bandwidth(self, d) };
            picture.count = gather_points(self, d, policy, points, names, &picture.peak);
            if (!(picture.peak > 0))
                picture.peak = bench_ceiling(self, d, "fp32");
            snprintf(title, sizeof title, "%s, %s", self->devices[d].id, policy);
            if (picture.count)
                roofline_draw(file, &picture);
        }
    }
    fputs("</div>\n", file);
    free(names);
    free(points);
}

/* ---- bars ---- */

/* A device has one colour for what the engine does and another for its library. */
static bool by_library(const bench_row *row)
{
    return !strcmp(row->variant, "clblast");
}

static int style_of_row(const bench_row *row)
{
    return (int)(2 * row->device + by_library(row)) % CHART_STYLES;
}

static bool same_thing(const bench_row *a, const bench_row *b)
{
    return a->suite == b->suite && !strcmp(a->name, b->name) && !strcmp(a->policy, b->policy);
}

static bool first_of_its_kind(const bench *self, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (same_thing(self->rows[i], self->rows[index]))
            return false;
    return true;
}

/* All that did one thing, the longest bar for the largest number. */
static void bars_of(FILE *file, const bench *self, size_t index)
{
    const bench_row *thing = self->rows[index];
    double most = 0;
    for (size_t i = index; i < self->row_count; i++)
        if (same_thing(self->rows[i], thing))
            most = fmax(most, bench_value(self->rows[i]));
    html_print(file, "<b>%s%s%s</b>", thing->name, thing->policy[0] ? ", " : "", thing->policy);
    for (size_t i = index; i < self->row_count; i++) {
        const bench_row *row = self->rows[i];
        const double value = bench_value(row);
        if (!same_thing(row, thing))
            continue;
        html_print(file, "<span>%s%s</span><div class=\"s%d\">", self->devices[row->device].id,
                   by_library(row) ? " CLBlast" : "", style_of_row(row));
        if (isfinite(value)) /* 60%: the longest bar leaves room for its number */
            html_print(file, "<i class=\"%s\" style=\"width:%.1f%%\"></i>%.3g", bench_noisy(row) ? "noisy" : "steady",
                       most > 0 ? value / most * 60 : 0, value);
        else
            html_print(file, "<span>%s</span>", bench_status_names[row->status]);
        fputs("</div>\n", file);
    }
}

static void bars(FILE *file, const bench *self)
{
    fputs("<h2>Side by side</h2>\n<p class=\"soft\">Each benchmark on every device. A pale bar is noisy: the quartiles "
          "of its "
          "samples lie more than 5% of the median apart.</p>\n",
          file);
    for (int s = 0; s < BENCH_SUITES; s++) {
        bool open = false;
        for (size_t i = 0; i < self->row_count; i++) {
            const bench_row *row = self->rows[i];
            if (row->suite != (bench_suite)s || !first_of_its_kind(self, i) || !isfinite(bench_value(row)))
                continue;
            if (!open)
                html_print(file, "<h3>%s<small>%s, %s is better</small></h3><div class=\"card bars\">",
                           bench_suite_names[s], bench_unit_names[row->unit],
                           bench_less_is_better(row->unit) ? "less" : "more");
            open = true;
            bars_of(file, self, i);
        }
        if (open)
            fputs("</div>\n", file);
    }
}

/* ---- table ---- */

static void cell(FILE *file, const char *label, const char *text)
{
    html_print(file, "<td data-label=\"%s\"><div>%s</div></td>", label, text);
}

static void table_row(FILE *file, const bench *self, const bench_row *row)
{
    const bench_summary time = bench_summarize(bench_best_samples(row));
    const double share = bench_share(row);
    char text[64];
    html_print(file, "<tr><td class=\"t\">%s</td><td class=\"t\"><div>%s</div></td><td class=\"t\">%s %s</td>",
               row->name, self->devices[row->device].id, row->variant, row->policy);
    if (row->status != BENCH_OK) {
        html_print(file, "<td class=\"%s\" colspan=\"5\">%s: %s</td></tr>\n",
                   row->status == BENCH_FAILED || row->status == BENCH_WRONG ? "bad" : "soft t",
                   bench_status_names[row->status], row->reason);
        return;
    }
    snprintf(text, sizeof text, "%.4g", 1e3 * time.median);
    cell(file, "ms", text);
    snprintf(text, sizeof text, "%.4g %s", bench_value(row), bench_unit_names[row->unit]);
    cell(file, "value", text);
    snprintf(text, sizeof text, isfinite(time.spread) ? "%.1f%%" : "-", 100 * time.spread);
    cell(file, "spread", text);
    snprintf(text, sizeof text, isfinite(share) ? "%.0f%%" : "-", 100 * share);
    cell(file, "of peak", text);
    snprintf(text, sizeof text, "%.2f×%s", row->ratio,
             row->change == BENCH_FASTER   ? " faster"
             : row->change == BENCH_SLOWER ? " slower"
                                           : "");
    cell(file, self->compared[0] ? "ratio" : "status",
         isfinite(row->ratio) ? text
         : self->compared[0]  ? "-"
         : bench_noisy(row)   ? "noisy"
                              : "ok");
    fputs("</tr>\n", file);
}

static void table(FILE *file, const bench *self)
{
    html_print(file,
               "<h2>All rows</h2>\n<div class=\"rows\"><table><thead><tr><th class=\"t\">benchmark</th>"
               "<th class=\"t\">device</th><th class=\"t\">by</th><th>ms</th><th>value</th><th>spread</th><th>of "
               "peak</th><th>%s</th></tr></thead><tbody>\n",
               self->compared[0] ? "ratio" : "status");
    for (size_t i = 0; i < self->row_count; i++)
        table_row(file, self, self->rows[i]);
    fputs("</tbody></table></div>\n", file);
    if (self->compared[0])
        html_print(file, "<p class=\"soft\">Ratios are to %s; above 1 is better now.</p>\n", self->compared);
}

void bench_write_html(FILE *file, const void *user)
{
    const bench *self = user;
    head(file, self);
    device_cards(file, self);
    rooflines(file, self);
    bars(file, self);
    table(file, self);
    html_print(file,
               "<footer class=\"soft\">Made by <code>binade bench</code>: %d samples a row at most, after %d ms of "
               "warm-up. Times are medians, by the device's clock where it has one.</footer>\n</body></html>\n",
               (int)self->settings.reps, (int)self->settings.warmup_ms);
}
