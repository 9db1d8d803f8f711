/* What `binade check` found, for people and for programs. */
#include "../engine/tile.h"
#include "app.h"
#include "check.h"
#include "describe.h"
#include "json.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- sums over the cells ---- */

typedef struct total {
    int cases, failed;
} total;

static total total_of(const check_device *d, int format)
{
    total t = { 0 };
    for (int g = 0; g < CASE_GROUPS; g++)
        for (int f = 0; f < CHECK_FORMATS; f++)
            if (format < 0 || f == format) {
                t.cases += d->cells[g][f].cases;
                t.failed += d->cells[g][f].failed;
            }
    return t;
}

/* In a format; in all of them if it is negative. */
static int without_remedy(const check_device *d, int format)
{
    int count = 0;
    for (size_t i = 0; i < d->failure_count; i++)
        count += !d->failures[i].remedy[0] && (format < 0 || d->failures[i].format == format);
    return count;
}

/* ---- the summary: a line each ---- */

enum { MOST_LINES = 16 };

typedef struct lines {
    char text[MOST_LINES][600];
    int count;
} lines;

static void add(lines *l, const char *format, ...) BD_PRINTF(2, 3);
static void add(lines *l, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    if (l->count < MOST_LINES)
        vsnprintf(l->text[l->count++], sizeof l->text[0], format, list);
    va_end(list);
}

/* "exp 0.93, log 0.79 ULP": the functions that are not correctly rounded; "" if all are. */
static const char *function_text(const check_device *d, int format, char *text, size_t size)
{
    size_t length = 0;
    text[0] = 0;
    for (int op = 0; op < BD_OP_COUNT && length < size; op++)
        if (d->functions[op][format] > 0)
            length += (size_t)snprintf(text + length, size - length, "%s%s %.2f", length ? ", " : "; ",
                                       bd_op_get_info((bd_op)op)->name, d->functions[op][format]);
    if (length && length < size)
        snprintf(text + length, size - length, " ULP");
    return text;
}

/* "usable, right in 97 of 97 cases" */
static const char *verdict_text(const check_device *d, int format, char *text, size_t size)
{
    const total t = total_of(d, format);
    const char *const usable = without_remedy(d, format) ? "NOT usable"
                               : t.failed                ? "usable with the quirks below"
                                                         : "usable";
    snprintf(text, size, "%s, %s in %d of %d cases", usable, t.failed ? "wrong" : "right",
             t.failed ? t.failed : t.cases, t.cases);
    return text;
}

static void summarize_formats(const check_device *d, lines *l)
{
    static const char *const names[CHECK_FORMATS] = { "FP32", "FP16", "FP16 with FP16 sums", "mixed", "other formats" };
    char verdict[96], functions[300];
    for (int f = 0; f < CHECK_FORMATS; f++)
        if (total_of(d, f).cases)
            add(l, "%s: %s%s", names[f], verdict_text(d, f, verdict, sizeof verdict),
                function_text(d, f, functions, sizeof functions));
}

static void summarize(const check_device *d, lines *l)
{
    char text[2][32];
    const int64_t *half = d->wrong[1], *single = d->wrong[0];
    summarize_formats(d, l);
    add(l, "FP16 arithmetic: %s", describe_arithmetic(&d->info.half));
    if (half[VALUE_SUBNORMAL] && !half[VALUE_NORMAL])
        add(l, "FP16 subnormals flushed: gradients below 6e-5 are lost, use loss scaling (mixed, or scale=1024)");
    else
        add(l, "FP16 subnormals: kept by the kernels%s",
            d->info.half.subnormals ? "" : ", though the driver's own conversions flush them");
    add(l, "FP32 subnormals: %s", d->info.half.subnormals_f32 && !single[VALUE_SUBNORMAL] ? "kept" : "flushed to 0");
    if (d->rounding_f32 && d->rounding_f16)
        add(l, "rounding: FP32 sums %s; FP32 to FP16 %s (the driver by itself: %s)", d->rounding_f32, d->rounding_f16,
            describe_rounding(&d->info.half));
    if (d->buffer_tried)
        add(l, "largest buffer: %s work%s%s%s", app_bytes(text[0], d->buffer_works),
            d->buffer_works < d->buffer_tried ? ", of " : "",
            d->buffer_works < d->buffer_tried ? app_bytes(text[1], d->buffer_tried) : "",
            d->buffer_capped ? "; the device claims more, but no larger share of the memory was tried"
                             : "; all that the device claims");
    if (d->buffer_tried)
        add(l, "largest work-group: %u items work, the device claims %u", d->workgroup_items,
            d->info.limits.max_workgroup_items);
    if (strcmp(d->info.backend, "reference") != 0)
        add(l, "repeats: every case without a state ran %d times; results that differ count as wrong", CHECK_REPEATS);
    if (without_remedy(d, -1))
        add(l, "wrong without a remedy: %d of the cases; do not trust what this device computes",
            without_remedy(d, -1));
}

/* ---- text ---- */

static void print_cell(FILE *file, const check_cell *cell)
{
    char text[32] = "-";
    if (cell->failed)
        snprintf(text, sizeof text, "WRONG %d/%d", cell->failed, cell->cases);
    else if (cell->cases && cell->ulps > 0)
        snprintf(text, sizeof text, "%.2f ULP", cell->ulps);
    else if (cell->cases && cell->ratio > 0)
        snprintf(text, sizeof text, "%.3f", cell->ratio);
    else if (cell->cases)
        snprintf(text, sizeof text, "exact");
    fprintf(file, "  %12s", text);
}

static void print_table(FILE *file, const check_device *d)
{
    fprintf(file, "\n  %-14s", "family");
    for (int f = 0; f < CHECK_FORMATS; f++)
        fprintf(file, "  %12s", check_format_names[f]);
    fputs("  cases\n", file);
    for (int g = 0; g < CASE_GROUPS; g++) {
        int cases = 0;
        for (int f = 0; f < CHECK_FORMATS; f++)
            cases += d->cells[g][f].cases;
        if (!cases)
            continue;
        fprintf(file, "  %-14s", case_groups[g].name);
        for (int f = 0; f < CHECK_FORMATS; f++)
            print_cell(file, &d->cells[g][f]);
        fprintf(file, "  %5d\n", cases);
    }
    for (int v = 0; v < BD_VARIANT_COUNT; v++) {
        const check_variant *variant = &d->variants[v];
        if (variant->cases)
            fprintf(file, "  variant %-24s %s, %d cases\n", bd_variant_name((bd_variant)v),
                    variant->failed ? "WRONG" : "ok", variant->cases);
    }
}

static void print_failures(FILE *file, const check_device *d)
{
    for (size_t i = 0; i < d->failure_count; i++) {
        const check_failure *f = &d->failures[i];
        fprintf(file, "%s  wrong  %s: ", i ? "" : "\n", f->name);
        app_print_text(file, f->message);
        fprintf(file, "\n         %s%s\n", f->remedy[0] ? "remedy: " : "no remedy found", f->remedy);
    }
}

static void print_device(FILE *file, const check *self, const check_device *d)
{
    char time[32], quirks[1024];
    lines l = { .count = 0 };
    fprintf(file, "%s  ", d->info.id);
    app_print_text(file, d->info.name);
    fputs("\n  driver: ", file);
    app_print_text(file, d->info.driver);
    putc('\n', file);
    if (d->verdict == CHECK_FAILED) {
        fputs("  could not be checked: ", file);
        app_print_text(file, d->reason);
        putc('\n', file);
        return;
    }
    const total all = total_of(d, -1);
    fprintf(file, "  %s: %d of %d cases right, %s%s\n",
            d->verdict == CHECK_RIGHT ? "computes rightly" : "COMPUTES WRONGLY", all.cases - all.failed, all.cases,
            app_duration(time, d->seconds),
            self->limit   ? ", made to look smaller"
            : self->quick ? ", a quick check"
                          : "");
    summarize(d, &l);
    for (int i = 0; i < l.count; i++)
        fprintf(file, "  %s\n", l.text[i]);
    bd_quirks_describe(&d->quirks, quirks, sizeof quirks);
    fprintf(file, "  quirks: %s\n", quirks[0] ? quirks : "none");
    if (d->quirks_path[0])
        fprintf(file, "  kept in %s, obeyed from now on\n", d->quirks_path);
    print_table(file, d);
    print_failures(file, d);
}

void check_write_text(FILE *file, const void *user)
{
    const check *self = user;
    for (size_t i = 0; i < self->device_count; i++) {
        if (i)
            putc('\n', file);
        print_device(file, self, &self->devices[i]);
    }
    fputs("\nULP: largest error of an elementwise function in units in the last place. A number: largest error over "
          "its bound. exact:\n"
          "the correctly rounded value, or the reference's own bits, everywhere.\n",
          file);
}

/* ---- JSON ---- */

static json_t *cells_json(const check_device *d)
{
    json_t *list = json_array();
    for (int g = 0; g < CASE_GROUPS; g++)
        for (int f = 0; f < CHECK_FORMATS; f++) {
            const check_cell *cell = &d->cells[g][f];
            if (cell->cases)
                json_array_append_new(list, json_pack("{s:s, s:s, s:i, s:i, s:o, s:o}", "family", case_groups[g].name,
                                                      "format", check_format_names[f], "cases", cell->cases, "failed",
                                                      cell->failed, "worst_ulps", json_number(cell->ulps),
                                                      "worst_ratio", json_number(cell->ratio)));
        }
    return list;
}

static json_t *functions_json(const check_device *d)
{
    json_t *list = json_array();
    for (int op = 0; op < BD_OP_COUNT; op++)
        for (int f = 0; f < CHECK_FORMATS; f++)
            if (!isnan(d->functions[op][f]))
                json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "function", bd_op_get_info((bd_op)op)->name,
                                                      "format", check_format_names[f], "worst_ulps",
                                                      json_number(d->functions[op][f])));
    return list;
}

/* Elements outside of their bounds, by what the reference says they are. */
static json_t *wrong_json(const check_device *d)
{
    static const char *const names[VALUE_CLASSES] = { "normal", "subnormal", "zero", "infinite", "nan" };
    json_t *object = json_object();
    for (int f = 0; f < CHECK_FORMATS; f++) {
        json_t *classes = json_object();
        for (int v = 0; v < VALUE_CLASSES; v++)
            json_object_set_new(classes, names[v], json_integer((json_int_t)d->wrong[f][v]));
        json_object_set_new(object, check_format_names[f], classes);
    }
    return object;
}

static json_t *variants_json(const check_device *d)
{
    json_t *list = json_array();
    for (int v = 0; v < BD_VARIANT_COUNT; v++)
        if (d->variants[v].cases)
            json_array_append_new(list, json_pack("{s:s, s:i, s:i}", "variant", bd_variant_name((bd_variant)v), "cases",
                                                  d->variants[v].cases, "failed", d->variants[v].failed));
    return list;
}

static json_t *failures_json(const check_device *d)
{
    json_t *list = json_array();
    for (size_t i = 0; i < d->failure_count; i++)
        json_array_append_new(list, json_pack("{s:s, s:o, s:s?}", "case", d->failures[i].name, "message",
                                              json_text(d->failures[i].message), "remedy",
                                              d->failures[i].remedy[0] ? d->failures[i].remedy : NULL));
    return list;
}

static json_t *device_json(const check_device *d)
{
    static const char *const verdicts[] = { "right", "wrong", "failed" };
    char quirks[1024];
    json_t *object = json_pack("{s:o, s:s, s:f}", "device", json_device(&d->info), "verdict", verdicts[d->verdict],
                               "seconds", d->seconds);
    if (d->verdict == CHECK_FAILED) {
        json_object_set_new(object, "reason", json_text(d->reason));
        return object;
    }
    lines l = { .count = 0 };
    json_t *summary = json_array();
    const total all = total_of(d, -1);
    summarize(d, &l);
    for (int i = 0; i < l.count; i++)
        json_array_append_new(summary, json_text(l.text[i]));
    bd_quirks_describe(&d->quirks, quirks, sizeof quirks);
    json_object_set_new(object, "cases", json_integer(all.cases));
    json_object_set_new(object, "failed", json_integer(all.failed));
    json_object_set_new(object, "summary", summary);
    json_object_set_new(object, "families", cells_json(d));
    json_object_set_new(object, "functions", functions_json(d));
    json_object_set_new(object, "wrong_elements", wrong_json(d));
    json_object_set_new(object, "variants", variants_json(d));
    json_object_set_new(object, "failures", failures_json(d));
    json_object_set_new(object, "rounding",
                        json_pack("{s:s?, s:s?}", "fp32_sums", d->rounding_f32, "fp32_to_fp16", d->rounding_f16));
    json_object_set_new(object, "workgroup_items", json_integer(d->workgroup_items));
    json_object_set_new(object, "buffer",
                        json_pack("{s:I, s:I, s:b}", "tried_bytes", (json_int_t)d->buffer_tried, "works_bytes",
                                  (json_int_t)d->buffer_works, "capped", d->buffer_capped));
    json_object_set_new(object, "quirks", json_text(quirks));
    json_object_set_new(object, "quirks_file", d->quirks_path[0] ? json_text(d->quirks_path) : json_null());
    return object;
}

void check_write_json(FILE *file, const void *user)
{
    const check *self = user;
    json_t *devices = json_array();
    for (size_t i = 0; i < self->device_count; i++)
        json_array_append_new(devices, device_json(&self->devices[i]));
    json_t *document =
        json_pack("{s:i, s:s, s:s, s:b, s:s?, s:I, s:i, s:o}", "format_version", APP_FORMAT_VERSION, "version",
                  BD_VERSION, "started", self->started, "quick", self->quick, "limit", self->limit, "seed",
                  (json_int_t)self->seed, "repeats", CHECK_REPEATS, "devices", devices);
    json_dumpf(document, file, JSON_STYLE | JSON_INDENT(1));
    putc('\n', file);
    json_decref(document);
}
