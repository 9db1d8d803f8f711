/* The report's charts: speeds, learning curves and the scatter of the seeds. */
#include "app.h"
#include "chart.h"
#include "html.h"
#include "report_parts.h"
#include <math.h>
#include <stdlib.h>

static void legend_line(FILE *file, int style, const char *name)
{
    html_print(file,
               "<li class=\"s%d\"><svg viewBox=\"0 0 34 10\" aria-hidden=\"true\"><path d=\"M2 5H32\"/></svg>%s</li>",
               style, name);
}

int report_style_of(const comparison *self, const char *precision)
{
    size_t i = 0;
    while (i < self->precision_count && self->precisions[i] != precision)
        i++;
    return (int)(i % CHART_STYLES);
}

void report_legend(FILE *file, const comparison *self)
{
    fputs("<ul class=\"legend\">", file);
    for (size_t i = 0; i < self->precision_count; i++)
        legend_line(file, (int)(i % CHART_STYLES), self->precisions[i]);
    fputs("</ul>\n", file);
}

void report_bars(FILE *file, const comparison *self, const char *model)
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
        html_print(file, "<span>%s</span><div class=\"s%d\">", row->precision, report_style_of(self, row->precision));
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

static const chart_point nothing = { NAN, NAN, NAN, NAN };

/* The i-th point of a run's curve; one that is not finite if it has not so many. */
static chart_point point_of(const run_result *run, enum what what, size_t i)
{
    if (what == TRAINING_LOSS && i < (size_t)run->training.count)
        return (chart_point){ run->training.points[i].epoch, run->training.points[i].loss, NAN, NAN };
    if (what == TEST_ACCURACY && i < (size_t)run->epoch_count)
        return (chart_point){ run->epochs[i].epoch, run->epochs[i].test_accuracy, NAN, NAN };
    return nothing;
}

static size_t points_of(const run_result *run, enum what what)
{
    return what == TRAINING_LOSS ? (size_t)run->training.count : (size_t)run->epoch_count;
}

/* A run's curve at x, straight between its points: runs report when time has passed, each at steps of its own. Before
 * its first point its first value; false beyond its last. */
static bool value_at(const run_result *run, enum what what, double x, double *y)
{
    const size_t count = points_of(run, what);
    size_t after = 0;
    while (after < count && point_of(run, what, after).x < x * (1 - 1e-9))
        after++;
    if (after == count)
        return false;
    const chart_point b = point_of(run, what, after), a = after ? point_of(run, what, after - 1) : b;
    *y = b.x > a.x ? a.y + (b.y - a.y) * (x - a.x) / (b.x - a.x) : b.y;
    return true;
}

/* The mean of the seeds' curves at the places of the one with most points, with a band from the least to the most. A
 * value that is not a number leaves no mean. `series` has room for them. */
static void add_curve(chart_series *series, const run_result *runs, size_t count, enum what what)
{
    const run_result *longest = runs;
    for (size_t r = 1; r < count; r++)
        if (points_of(&runs[r], what) > points_of(longest, what))
            longest = &runs[r];
    for (size_t i = 0; i < points_of(longest, what); i++) {
        const double x = point_of(longest, what, i).x;
        double sum = 0, low = INFINITY, high = -INFINITY, y;
        size_t known = 0;
        for (size_t r = 0; r < count; r++) {
            if (!value_at(&runs[r], what, x, &y))
                continue;
            sum += y;
            known++;
            low = fmin(low, y);
            high = fmax(high, y);
        }
        const bool band = known > 1;
        series->points[series->count++] = (chart_point){ x, sum / (double)known, band ? low : NAN, band ? high : NAN };
    }
}

/* Where the seeds ended. */
static void add_ends(chart_series *series, const run_result *runs, size_t count)
{
    for (size_t r = 0; r < count; r++)
        if (runs[r].state == RUN_DONE)
            series->points[series->count++] =
                (chart_point){ (double)runs[r].seed, runs[r].last.test_accuracy, NAN, NAN };
}

/* One chart of a model on a device, whose rows begin at `first`. */
static void chart_of(FILE *file, const comparison *self, const combination *first, enum what what)
{
    size_t runs = (size_t)self->seeds, longest = (size_t)self->epochs + CURVE_POINTS + runs;
    size_t count = self->precision_count;
    chart_series *series = calloc(count, sizeof(*series));
    chart_point *points = calloc(count * longest, sizeof(*points));
    if (series && points) {
        for (size_t p = 0; p < self->precision_count; p++) {
            chart_series *one = &series[p];
            one->points = points + p * longest;
            one->name = first[p].precision;
            one->style = (int)(p % CHART_STYLES);
            if (what == LAST_ACCURACY)
                add_ends(one, first[p].runs, runs);
            else
                add_curve(one, first[p].runs, runs, what);
        }
        const char *id = first->device->id;
        char title[128];
        /* A network that guesses has the loss log(classes): what is twice as bad has diverged and leaves the chart. */
        const char *x = self->federation ? "round" : "epoch";
        chart loss = { title, x, self->length, 2 * log((double)self->dataset->classes), false, false };
        chart accuracy = { title, x, self->length, INFINITY, true, true };
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

void report_curves(FILE *file, const comparison *self, const char *model)
{
    fputs("<h3>Learning curves", file);
    if (self->seeds > 1)
        html_print(file,
                   "<small>mean of %d seeds, and a band from the least to the most; it ends where one is not a "
                   "number</small>",
                   (int)self->seeds);
    fputs("</h3>\n", file);
    report_legend(file, self);
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
