/* The rows of `binade bench` as text for people and for programs. */
#include "app.h"
#include "bench.h"
#include "bench_version.h"
#include "describe.h"
#include "json.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const change_names[] = { "same", "faster", "slower" };

/* ---- a row as one object: every text format but the table is made from it ---- */

static void set_number(json_t *object, const char *name, double value)
{
    json_object_set_new(object, name, json_number(value));
}

static void set_time(json_t *object, const char *clock, const bench_samples *samples)
{
    static const char *const parts[] = { "median", "low", "high" };
    const bench_summary s = bench_summarize(samples);
    const double values[] = { s.median, s.low, s.high };
    char name[48];
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s_%s_ns", clock, parts[i]);
        set_number(object, name, 1e9 * values[i]);
    }
    snprintf(name, sizeof name, "%s_spread", clock);
    set_number(object, name, s.spread);
}

/* Without the samples: what a line of a table can hold. */
static json_t *flat(const bench *self, const bench_row *row)
{
    const bd_device_info *device = &self->devices[row->device];
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:s, s:s, s:s, s:s, s:s, s:s}", "suite", bench_suite_names[row->suite],
        "name", row->name, "variant", row->variant, "backend", device->backend, "device", device->id, "device_name",
        json_text(device->name), "driver", json_text(device->driver), "limit", device->limit, "engine", BD_VERSION,
        "commit", BENCH_COMMIT, "policy", row->policy, "time", row->time, "status", bench_status_names[row->status]);
    if (!object)
        return NULL;
    const bool ok = row->status == BENCH_OK;
    json_object_set_new(object, "quirks", json_text(device->quirks));
    json_object_set_new(object, "reason", json_text(row->reason));
    set_number(object, "value", bench_value(row));
    json_object_set_new(object, "unit", json_string(bench_unit_names[row->unit]));
    json_object_set_new(object, "less_is_better", json_boolean(bench_less_is_better(row->unit)));
    json_object_set_new(object, "noisy", json_boolean(bench_noisy(row)));
    set_number(object, "share_of_peak", bench_share(row));
    set_number(object, "flops", row->flops);
    set_number(object, "bytes", row->bytes);
    set_number(object, "count", row->count);
    const bench_samples none = { 0 };
    set_time(object, "wall", ok ? &row->wall : &none);
    set_time(object, "device", ok ? &row->clock : &none);
    json_object_set_new(object, "samples", json_integer((json_int_t)(ok ? row->wall.count : 0)));
    if (self->compared[0]) {
        set_number(object, "before", row->before);
        set_number(object, "ratio", row->ratio);
        json_object_set_new(object, "change", json_string(isfinite(row->ratio) ? change_names[row->change] : ""));
    }
    return object;
}

static json_t *samples_json(const bench_samples *samples)
{
    json_t *list = json_array();
    for (size_t i = 0; i < samples->count; i++)
        json_array_append_new(list, json_number(1e9 * samples->seconds[i]));
    return list;
}

json_t *bench_row_json(const bench *self, const bench_row *row)
{
    json_t *object = flat(self, row);
    json_object_set_new(object, "wall_ns", samples_json(&row->wall));
    json_object_set_new(object, "device_ns", samples_json(&row->clock));
    return object;
}

json_t *bench_json(const bench *self)
{
    const bench_settings *s = &self->settings;
    json_t *devices = json_array(), *rows = json_array();
    for (size_t i = 0; i < self->device_count; i++)
        json_array_append_new(devices, json_device(&self->devices[i]));
    for (size_t i = 0; i < self->row_count; i++)
        json_array_append_new(rows, bench_row_json(self, self->rows[i]));
    return json_pack("{s:i, s:s, s:s, s:s, s:s, s:{s:I, s:I, s:o, s:o}, s:o, s:o}", "format_version",
                     APP_FORMAT_VERSION, "kind", "bench", "engine", BD_VERSION, "commit", BENCH_COMMIT, "started",
                     self->started, "settings", "reps", (json_int_t)s->reps, "warmup_ms", (json_int_t)s->warmup_ms,
                     "max_seconds", json_float(s->max_seconds), "delay_seconds", json_float(s->delay_seconds),
                     "devices", devices, "rows", rows);
}

void bench_write_json(FILE *file, const void *user)
{
    json_t *document = bench_json(user);
    json_dumpf(document, file, JSON_STYLE | JSON_INDENT(2));
    putc('\n', file);
    json_decref(document);
}

void bench_write_jsonl(FILE *file, const void *user)
{
    const bench *self = user;
    for (size_t i = 0; i < self->row_count; i++) {
        json_t *object = bench_row_json(self, self->rows[i]);
        json_dumpf(object, file, JSON_COMPACT | JSON_STYLE);
        putc('\n', file);
        json_decref(object);
    }
}

/* ---- csv (RFC 4180) and sql ---- */

/* Calls `put` for each value of a row, or for each column's name. */
static void each_field(FILE *file, json_t *row, bool names,
                       void (*put)(FILE *file, const char *name, const json_t *value))
{
    const char *name;
    json_t *value;
    bool first = true;
    json_object_foreach(row, name, value)
    {
        if (!first)
            putc(',', file);
        first = false;
        put(file, name, names ? NULL : value);
    }
}

static void put_number(FILE *file, const json_t *value)
{
    if (json_is_integer(value))
        fprintf(file, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else
        fprintf(file, "%.9g", json_real_value(value));
}

static void put_csv(FILE *file, const char *name, const json_t *value)
{
    if (!value || json_is_string(value)) {
        const char *text = value ? json_string_value(value) : name;
        const bool quote = text[strcspn(text, ",\"\r\n")] != '\0';
        if (quote)
            putc('"', file);
        for (const char *c = text; *c; c++) {
            if (*c == '"')
                putc('"', file);
            putc(*c, file);
        }
        if (quote)
            putc('"', file);
    } else if (json_is_boolean(value)) {
        fputs(json_is_true(value) ? "true" : "false", file);
    } else if (json_is_number(value)) {
        put_number(file, value);
    }
}

void bench_write_csv(FILE *file, const void *user)
{
    const bench *self = user;
    for (size_t i = 0; i < self->row_count; i++) {
        json_t *row = flat(self, self->rows[i]);
        if (i == 0) {
            each_field(file, row, true, put_csv);
            fputs("\r\n", file);
        }
        each_field(file, row, false, put_csv);
        fputs("\r\n", file);
        json_decref(row);
    }
}

static void put_sql(FILE *file, const char *name, const json_t *value)
{
    if (!value) {
        fprintf(file, "\"%s\"", name);
    } else if (json_is_string(value)) {
        putc('\'', file);
        for (const char *c = json_string_value(value); *c; c++) {
            if (*c == '\'')
                putc('\'', file);
            putc(*c, file);
        }
        putc('\'', file);
    } else if (json_is_boolean(value)) {
        fputs(json_is_true(value) ? "1" : "0", file);
    } else if (json_is_number(value)) {
        put_number(file, value);
    } else {
        fputs("NULL", file);
    }
}

/* SQLite takes columns without types, others take them with. */
static void put_column(FILE *file, const char *name, const json_t *value)
{
    fprintf(file, "\n  \"%s\" %s", name,
            json_is_string(value)    ? "TEXT"
            : json_is_boolean(value) ? "INTEGER"
            : json_is_integer(value) ? "INTEGER"
                                     : "REAL");
}

void bench_write_sql(FILE *file, const void *user)
{
    const bench *self = user;
    fputs("BEGIN;\n", file);
    for (size_t i = 0; i < self->row_count; i++) {
        json_t *row = flat(self, self->rows[i]);
        if (i == 0) {
            fputs("CREATE TABLE IF NOT EXISTS bench (", file);
            each_field(file, row, false, put_column);
            fputs("\n);\n", file);
        }
        fputs("INSERT INTO bench (", file);
        each_field(file, row, true, put_sql);
        fputs(") VALUES (", file);
        each_field(file, row, false, put_sql);
        fputs(");\n", file);
        json_decref(row);
    }
    fputs("COMMIT;\n", file);
}

/* ---- table and markdown ---- */

enum { CELL = 192, COLUMNS = 10 };

typedef struct line {
    char cells[COLUMNS][CELL];
} line;

static const char *const titles[COLUMNS] = { "device", "benchmark", "by",     "policy", "ms",
                                             "value",  "unit",      "spread", "peak",   "status" };
static const bool to_the_right[COLUMNS] = { [4] = true, [5] = true, [7] = true, [8] = true };

static void fill(line *out, const bench *self, const bench_row *row)
{
    const bench_summary time = bench_summarize(bench_best_samples(row));
    const double share = bench_share(row), value = bench_value(row);
    memset(out, 0, sizeof *out);
    snprintf(out->cells[0], CELL, "%s", self->devices[row->device].id);
    snprintf(out->cells[1], CELL, "%s", row->name);
    snprintf(out->cells[2], CELL, "%s", row->variant);
    snprintf(out->cells[3], CELL, "%s", row->policy);
    if (row->status == BENCH_OK) {
        snprintf(out->cells[4], CELL, "%.4g", 1e3 * time.median);
        snprintf(out->cells[5], CELL, value < 100 ? "%.3g" : "%.0f", value);
        snprintf(out->cells[6], CELL, "%s", bench_unit_names[row->unit]);
        if (isfinite(time.spread))
            snprintf(out->cells[7], CELL, "%.1f%%", 100 * time.spread);
        if (isfinite(share))
            snprintf(out->cells[8], CELL, "%.0f%%", 100 * share);
    }
    if (row->status != BENCH_OK)
        snprintf(out->cells[9], CELL, "%s", bench_status_names[row->status]);
    else if (isfinite(row->ratio))
        snprintf(out->cells[9], CELL, "%.2fx%s%s", row->ratio, row->change == BENCH_SAME ? "" : " ",
                 row->change == BENCH_SAME ? "" : change_names[row->change]);
    else
        snprintf(out->cells[9], CELL, "%s", bench_noisy(row) ? "noisy" : "ok");
    if (row->status == BENCH_OK && isfinite(row->ratio) && bench_noisy(row))
        strcat(out->cells[9], ", noisy");
}

static line *fill_all(const bench *self)
{
    line *lines = calloc(self->row_count + 1, sizeof *lines);
    for (int c = 0; lines && c < COLUMNS; c++)
        snprintf(lines[0].cells[c], CELL, "%s", self->compared[0] && c == COLUMNS - 1 ? "ratio" : titles[c]);
    for (size_t i = 0; lines && i < self->row_count; i++)
        fill(&lines[i + 1], self, self->rows[i]);
    return lines;
}

static void print_devices(FILE *file, const bench *self, const char *before)
{
    for (size_t i = 0; i < self->device_count; i++) {
        fputs(before, file);
        describe_device(file, &self->devices[i]);
    }
    fprintf(file, "%sbinade     %s, commit %s, %s\n", before, BD_VERSION, BENCH_COMMIT, self->started);
    if (self->compared[0]) {
        fprintf(file, "%sratio      to ", before);
        app_print_text(file, self->compared);
        fputs("; above 1 is better now\n", file);
    }
    putc('\n', file);
}

void bench_write_table(FILE *file, const void *user)
{
    const bench *self = user;
    print_devices(file, self, "");
    line *lines = fill_all(self);
    int widths[COLUMNS] = { 0 };
    for (size_t i = 0; lines && i <= self->row_count; i++)
        for (int c = 0; c < COLUMNS; c++)
            if ((int)strlen(lines[i].cells[c]) > widths[c])
                widths[c] = (int)strlen(lines[i].cells[c]);
    for (size_t i = 0; lines && i <= self->row_count; i++) {
        for (int c = 0; c < COLUMNS - 1; c++)
            fprintf(file, "%*s  ", to_the_right[c] ? widths[c] : -widths[c], lines[i].cells[c]);
        fprintf(file, "%s\n", lines[i].cells[COLUMNS - 1]);
        if (i && self->rows[i - 1]->reason[0]) {
            fprintf(file, "  %s: ", bench_status_names[self->rows[i - 1]->status]);
            app_print_text(file, self->rows[i - 1]->reason);
            putc('\n', file);
        }
    }
    free(lines);
}

static void markdown_cell(FILE *file, const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '|' || *c == '\\' || *c == '<' || *c == '*' || *c == '_')
            putc('\\', file);
        putc(*c < 0x20 || *c == 0x7f ? '?' : *c, file);
    }
}

void bench_write_markdown(FILE *file, const void *user)
{
    const bench *self = user;
    print_devices(file, self, "    ");
    line *lines = fill_all(self);
    for (size_t i = 0; lines && i <= self->row_count; i++) {
        for (int c = 0; c < COLUMNS; c++) {
            fputs("| ", file);
            markdown_cell(file, lines[i].cells[c]);
            if (i && c == COLUMNS - 1 && self->rows[i - 1]->reason[0]) {
                fputs(": ", file);
                markdown_cell(file, self->rows[i - 1]->reason);
            }
            putc(' ', file);
        }
        fputs("|\n", file);
        for (int c = 0; i == 0 && c < COLUMNS; c++)
            fprintf(file, "| %s%s", to_the_right[c] ? "---:" : "---", c == COLUMNS - 1 ? " |\n" : " ");
    }
    free(lines);
}
