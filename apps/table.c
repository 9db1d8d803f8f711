/* The comparison as columns of text. */
#include "app.h"
#include "results.h"
#include <langinfo.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_COLUMNS = 3, COLUMNS = 9, CELL = 64 };

typedef struct line {
    char cells[COLUMNS][CELL];
} line;

static const line titles = { { "model", "device", "precision", "test accuracy", "ms/step", "images/s", "peak memory",
                               "overflows", "speed-up" } };

/* Columns that a cell takes on screen: the bytes that continue a UTF-8 character take none. */
static int width(const char *text)
{
    int columns = 0;
    for (; *text; text++)
        columns += (*text & 0xc0) != 0x80;
    return columns;
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
    if (isfinite(s.deviation))
        snprintf(out->cells[3], CELL, "%.2f %s %.2f%%", s.accuracy * 100, sign, s.deviation * 100);
    else
        snprintf(out->cells[3], CELL, "%.2f%%", s.accuracy * 100);
    if (isfinite(s.step_ms))
        snprintf(out->cells[4], CELL, "%.2f", s.step_ms);
    app_thousands(out->cells[5], s.images_per_second);
    app_bytes(out->cells[6], s.training_bytes);
    snprintf(out->cells[7], CELL, "%lld", (long long)s.overflows);
    if (isfinite(s.speedup))
        snprintf(out->cells[8], CELL, "%.2fx", s.speedup);
}

static void print_line(FILE *file, const line *text, const int widths[COLUMNS])
{
    for (int i = 0; i < COLUMNS; i++) {
        int gap = widths[i] - width(text->cells[i]);
        bool last = i == COLUMNS - 1;
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

void comparison_print(FILE *file, const comparison *self)
{
    for (size_t i = 0; i < self->device_count; i++) {
        fprintf(file, "%-10s ", self->devices[i].id);
        app_print_text(file, self->devices[i].name);
        fputs(", ", file);
        app_print_text(file, self->devices[i].driver);
        putc('\n', file);
        app_print_quirks(file, &self->devices[i]);
    }
    putc('\n', file);
    line *lines = calloc(self->row_count + 1, sizeof(*lines));
    if (!lines)
        return; /* the files that are written next tell the same */
    lines[0] = titles;
    int widths[COLUMNS] = { 0 };
    for (size_t i = 0; i <= self->row_count; i++) {
        if (i)
            fill(&lines[i], self, &self->rows[i - 1]);
        for (int c = 0; c < COLUMNS; c++)
            if (width(lines[i].cells[c]) > widths[c])
                widths[c] = width(lines[i].cells[c]);
    }
    for (size_t i = 0; i <= self->row_count; i++) {
        print_line(file, &lines[i], widths);
        if (i)
            print_failure(file, self, &self->rows[i - 1]);
    }
    free(lines);
}
