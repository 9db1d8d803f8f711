/* Claims that need many runs: `binade compare` makes them, and is judged by what it found. */
#include "app.h"
#include "reproduce.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void finding_add(finding *f, const char *format, ...)
{
    const size_t length = strlen(f->result);
    va_list list;
    va_start(list, format);
    vsnprintf(f->result + length, sizeof f->result - length, format, list);
    va_end(list);
}

void finding_add_interval(finding *f, const interval *i, double scale, int digits)
{
    if (!isfinite(i->mean))
        finding_add(f, "unknown");
    else if (!isfinite(i->low))
        finding_add(f, "%+.*f (one seed)", digits, i->mean * scale);
    else
        finding_add(f, "%+.*f (%+.*f to %+.*f)", digits, i->mean * scale, digits, i->low * scale, digits,
                    i->high * scale);
}

void finding_add_size(finding *f, const comparison *found)
{
    finding_add(f, "%lld seed%s, %.3g epoch%s", (long long)found->seeds, found->seeds == 1 ? "" : "s", found->length,
                found->length == 1 ? "" : "s");
}

bd_status reproduce_compare(reproduction *self, const char *name, const char *data, int64_t seeds,
                            const char *arguments, compare_end end, void *user, bd_error *error)
{
    enum { MOST_ARGUMENTS = 64 };
    char *argv[MOST_ARGUMENTS] = { "compare" }, *rest = NULL;
    int argc = 1;
    bool all_done = true;
    char *line = app_format("%s --device %s --seeds %lld", arguments, bd_device_get_info(self->device)->id,
                            (long long)(self->seeds ? self->seeds : seeds));
    char *folder = app_format("--output=%s/%s", self->output, name), *set = app_format("--data=%s", data);
    char *steps = app_format("--max-steps=%lld", (long long)self->most_steps);
    char *limit = app_format("--limit=%s", self->limit ? self->limit : "");
    bd_status status = line && folder && set && steps && limit
                           ? BD_OK
                           : bd_fail(error, BD_ERROR_MEMORY, "no memory for the arguments of a comparison");
    if (!status) {
        progress_say(&self->progress, "%s: binade compare --data %s %s", name, data, line);
        for (char *word = strtok_r(line, " ", &rest); word && argc < MOST_ARGUMENTS - 7;
             word = strtok_r(NULL, " ", &rest))
            argv[argc++] = word;
        argv[argc++] = folder;
        argv[argc++] = set;
        argv[argc++] = "--resume";
        if (self->most_steps)
            argv[argc++] = steps;
        if (self->limit)
            argv[argc++] = limit;
        if (self->progress.quiet)
            argv[argc++] = "--quiet";
        status = compare(argc, argv, end, user, &all_done, error);
    }
    if (!status && !all_done)
        progress_say(&self->progress, "%s: a run failed; %s/%s/report.html tells why", name, self->output, name);
    free(line);
    free(folder);
    free(set);
    free(steps);
    free(limit);
    return status;
}

void reproduce_judge_gaps(void *user, const comparison *found)
{
    const gap_judge *self = user;
    finding *f = self->f;
    for (size_t i = 0; i < found->row_count; i++) {
        const combination *row = &found->rows[i];
        const summary s = summarize(found, row);
        const bool is_base = comparison_base(found, row) == row;
        interval gap = s.changes[MEASURE_ACCURACY], own = s.measures[MEASURE_ACCURACY];
        finding_add(f, "%s%s%s%s ", *f->result ? "; " : "", found->model_count > 1 ? row->model : "",
                    found->model_count > 1 ? " " : "", row->precision);
        if (is_base || self->most > 0)
            finding_add(f, "%.2f%%", own.mean * 100);
        if (self->most > 0) {
            own.low *= 100;
            own.high *= 100;
            f->verdict = verdict_both(f->verdict, verdict_between(&own, self->least, self->most));
        }
        if (is_base)
            continue;
        if (self->most > 0)
            finding_add(f, ", ");
        finding_add_interval(f, &gap, 100, 2);
        gap.low *= 100;
        gap.high *= 100;
        for (int b = 0; b < self->count; b++)
            if (!strcmp(self->bounds[b].precision, row->precision))
                f->verdict = verdict_both(f->verdict, verdict_between(&gap, self->bounds[b].low, self->bounds[b].high));
    }
    finding_add(f, " points from fp32, ");
    finding_add_size(f, found);
}
