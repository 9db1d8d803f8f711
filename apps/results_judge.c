/* Which differences from FP32 are more than the scatter of the seeds, in words. */
#include "app.h"
#include "results.h"
#include <math.h>
#include <string.h>

/* Accuracy in points, everything else as it is. */
static void print_change(FILE *file, const interval *i, measure which)
{
    const double scale = which == MEASURE_ACCURACY ? 100 : 1;
    const int digits = which == MEASURE_ACCURACY ? 2 : 4;
    fprintf(file, "%+.*f%s (%+.*f to %+.*f)", digits, i->mean * scale, which == MEASURE_ACCURACY ? " points" : "",
            digits, i->low * scale, digits, i->high * scale);
}

/* "; NLL and ECE within noise" */
static void list_names(FILE *file, const bool *wanted, int qualities, const char *end)
{
    int count = 0, done = 0;
    for (int m = 1; m < qualities; m++)
        count += wanted[m];
    for (int m = 1; m < qualities; m++) {
        if (!wanted[m])
            continue;
        fprintf(file, "%s%s", !done ? "; " : done + 1 < count ? ", " : " and ", measure_infos[m].title);
        done++;
    }
    if (count)
        fputs(end, file);
}

/* With the numbers of every measure that differs, or with its name only. */
static void judge_row(FILE *file, const comparison *self, const combination *row, bool numbers)
{
    const summary s = summarize(self, row);
    const int qualities = comparison_qualities(self);
    bool within[MEASURE_QUALITIES], beyond[MEASURE_QUALITIES], unknown[MEASURE_QUALITIES];
    app_print_text(file, row->precision);
    fprintf(file, " on %s: ", row->device->id);
    if (s.changes[0].count < 2) {
        fprintf(file, "%s seed is done both in it and in %s%s\n", s.changes[0].count ? "one" : "no",
                comparison_base_name(self), s.changes[0].count ? ": nothing can be said." : ".");
        return;
    }
    for (int m = 0; m < qualities; m++) {
        unknown[m] = !isfinite(s.changes[m].low);
        within[m] = interval_has_zero(&s.changes[m]);
        beyond[m] = !unknown[m] && !within[m];
    }
    fputs("accuracy ", file);
    if (unknown[MEASURE_ACCURACY]) {
        fputs("unknown", file);
    } else {
        print_change(file, &s.changes[MEASURE_ACCURACY], MEASURE_ACCURACY);
        fputs(within[MEASURE_ACCURACY] ? ", within noise" : ", more than noise", file);
    }
    for (int m = 1; numbers && m < qualities; m++) {
        if (!beyond[m])
            continue;
        fprintf(file, "; %s ", measure_infos[m].title);
        print_change(file, &s.changes[m], (measure)m);
        fputs(", more than noise", file);
    }
    if (!numbers)
        list_names(file, beyond, qualities, " more than noise");
    list_names(file, within, qualities, " within noise");
    list_names(file, unknown, qualities, " unknown");
    fputs(".\n", file);
}

void comparison_judge(FILE *file, const comparison *self, const char *model)
{
    for (size_t i = 0; i < self->row_count; i++) {
        const combination *row = &self->rows[i], *base = comparison_base(self, row);
        if (!base || base == row || (model && row->model != model) || !summarize(self, row).done)
            continue;
        if (self->seeds == 1) {
            fputs("With one seed nothing can be said about what differs: --seeds 5 would tell it from noise.\n", file);
            return;
        }
        if (!model && self->model_count > 1) {
            app_print_text(file, row->model);
            fputs(", ", file);
        }
        judge_row(file, self, row, model != NULL);
    }
}
