/* The comparison as columns of text. */
#include "app.h"
#include "describe.h"
#include "results.h"
#include <langinfo.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_COLUMNS = 3, COLUMNS = 11, WIRE_COLUMNS = 10, CELL = 64 };

typedef struct line {
    char cells[COLUMNS][CELL];
} line;

static const line titles = { { "model", "device", "precision", "test accuracy", "ECE", "OOD", "ms/step", "images/s",
                               "peak memory", "overflows", "speed-up" } };
/* Of a federation: WIRE_COLUMNS. */
static const line wire_titles = { { "model", "device", "wire", "test accuracy", "ECE", "OOD", "down", "up", "sent",
                                    "less than f32" } };

/* Columns that a cell takes on screen: the bytes that continue a UTF-8 character take none. */
static int width(const char *text)
{
    int columns = 0;
    for (; *text; text++)
        columns += (*text & 0xc0) != 0x80;
    return columns;
}

/* What is not known keeps its dash. */
static void number(char cell[CELL], const char *format, double value)
{
    if (isfinite(value))
        snprintf(cell, CELL, format, value);
}

static void fill(line *out, const comparison *self, const combination *row)
{
    const char *sign = strcmp(nl_langinfo(CODESET), "UTF-8") ? "+-" : "±";
    summary s = summarize(self, row);
    for (int i = 0; i < COLUMNS; i++)
        strcpy(out->cells[i], "-");
    snprintf(out->cells[0], CELL, "%s", row->model);
    snprintf(out->cells[1], CELL, "%s", row->device->id);
    snprintf(out->cells[2], CELL, "%s", row->precision);
    if (!s.done)
        return;
    const double half = interval_half(&s.measures[MEASURE_ACCURACY]);
    if (isfinite(half))
        snprintf(out->cells[3], CELL, "%.2f %s %.2f%%", s.accuracy * 100, sign, half * 100);
    else
        snprintf(out->cells[3], CELL, "%.2f%%", s.accuracy * 100);
    number(out->cells[4], "%.3f", s.measures[MEASURE_ECE].mean);
    number(out->cells[5], "%.3f", s.measures[MEASURE_OOD_AUROC].mean);
    if (self->federation) {
        app_bytes(out->cells[6], s.sent.down);
        app_bytes(out->cells[7], s.sent.up);
        app_bytes(out->cells[8], s.sent.down + s.sent.up);
        number(out->cells[9], "%.2fx", s.traffic_ratio);
        return;
    }
    number(out->cells[6], "%.2f", s.step_ms);
    app_thousands(out->cells[7], s.images_per_second);
    app_bytes(out->cells[8], s.training_bytes);
    snprintf(out->cells[9], CELL, "%lld", (long long)s.overflows);
    number(out->cells[10], "%.2fx", s.speedup);
}

static void print_line(FILE *file, const line *text, const int widths[COLUMNS], int columns)
{
    for (int i = 0; i < columns; i++) {
        int gap = widths[i] - width(text->cells[i]);
        bool last = i == columns - 1;
        if (i < TEXT_COLUMNS)
            fprintf(file, "%s%*s", text->cells[i], gap + 2, "");
        else
            fprintf(file, "%*s%s%s", gap, "", text->cells[i], last ? "\n" : "  ");
    }
}

static void print_failure(FILE *file, const comparison *self, const combination *row)
{
    summary s = summarize(self, row);
    if (!s.reason)
        return;
    fprintf(file, "  failed (%lld of %lld): ", (long long)s.failed, (long long)self->seeds);
    app_print_text(file, s.reason);
    putc('\n', file);
}

static void print_judgement(FILE *file, const comparison *self)
{
    char *text = NULL;
    size_t size;
    FILE *memory = open_memstream(&text, &size);
    if (!memory)
        return;
    comparison_judge(memory, self, NULL);
    if (!fclose(memory) && size)
        fprintf(file, "\nAgainst %s, by pairs of a seed, with 95%% intervals:\n%s", comparison_base_name(self), text);
    free(text);
}

void comparison_print(FILE *file, const comparison *self)
{
    for (size_t i = 0; i < self->device_count; i++)
        describe_device(file, &self->devices[i]);
    putc('\n', file);
    line *lines = calloc(self->row_count + 1, sizeof(*lines));
    if (!lines)
        return; /* the files that are written next tell the same */
    lines[0] = self->federation ? wire_titles : titles;
    int widths[COLUMNS] = { 0 };
    for (size_t i = 0; i <= self->row_count; i++) {
        if (i)
            fill(&lines[i], self, &self->rows[i - 1]);
        for (int c = 0; c < COLUMNS; c++)
            if (width(lines[i].cells[c]) > widths[c])
                widths[c] = width(lines[i].cells[c]);
    }
    for (size_t i = 0; i <= self->row_count; i++) {
        print_line(file, &lines[i], widths, self->federation ? WIRE_COLUMNS : COLUMNS);
        if (i)
            print_failure(file, self, &self->rows[i - 1]);
    }
    free(lines);
    print_judgement(file, self);
}
