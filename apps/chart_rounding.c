#include "chart_rounding.h"
#include "html.h"
#include <math.h>
#include <string.h>

/* ---- heat map ---- */

enum { CELL_WIDTH = 46, CELL_HEIGHT = 18, HEAD = 36, NAME_WIDTH = 150, NAME_LETTERS = 22, MARGIN = 4 };

/* A name's end tells more than its beginning: "stage3/unit5/conv2". */
static void row_name(FILE *file, const char *name, double y)
{
    const size_t length = strlen(name), first = length > NAME_LETTERS ? length - NAME_LETTERS : 0;
    fprintf(file, "<text class=\"tick\" text-anchor=\"end\" x=\"%d\" y=\"%.0f\">", NAME_WIDTH - 6, y);
    html_print(file, "%s%s<title>%s</title></text>", first ? "…" : "", name + first, name);
}

static void heads(FILE *file, const heat_map *self)
{
    for (size_t c = 0; c < self->column_count; c++) {
        const double x = NAME_WIDTH + (double)c * CELL_WIDTH;
        if (!c || strcmp(self->columns[c].group, self->columns[c - 1].group) != 0) {
            fprintf(file, "<text class=\"label\" x=\"%.0f\" y=\"13\">", x + 2);
            html_print(file, "%s</text>", self->columns[c].group);
        }
        fprintf(file, "<text class=\"tick\" text-anchor=\"middle\" x=\"%.0f\" y=\"%d\">", x + CELL_WIDTH / 2.0,
                HEAD - 7);
        html_print(file, "%s</text>", self->columns[c].name);
    }
}

static void heat_cell(FILE *file, const heat_map *self, size_t row, size_t column)
{
    const double value = self->values[row * self->column_count + column];
    if (!isfinite(value))
        return;
    const double x = NAME_WIDTH + (double)column * CELL_WIDTH, y = HEAD + (double)row * CELL_HEIGHT;
    const double heat = fmin(1, fmax(0, (value - self->coldest) / (self->hottest - self->coldest)));
    fprintf(file,
            "<g class=\"s%d\"><rect class=\"heat\" x=\"%.0f\" y=\"%.0f\" width=\"%d\" height=\"%d\" "
            "fill-opacity=\"%.2f\"/></g>",
            self->columns[column].style, x + 1, y + 1, CELL_WIDTH - 2, CELL_HEIGHT - 2, 0.85 * heat);
    const double shown = value * self->scale;
    fprintf(file, "<text class=\"tick cell\" text-anchor=\"middle\" x=\"%.0f\" y=\"%.0f\">%.*f", x + CELL_WIDTH / 2.0,
            y + CELL_HEIGHT - 5, shown != 0 && fabs(shown) < 9.95 ? 1 : 0, shown);
    html_print(file, "<title>%s, %s, %s</title></text>\n", self->columns[column].group, self->rows[row],
               self->columns[column].name);
}

void chart_heat(FILE *file, const heat_map *self)
{
    const double width = NAME_WIDTH + (double)self->column_count * CELL_WIDTH + MARGIN;
    const double height = HEAD + (double)self->row_count * CELL_HEIGHT + MARGIN;
    html_print(file, "<figure class=\"wide\"><figcaption>%s</figcaption>", self->title);
    fprintf(file, "<svg role=\"img\" style=\"width:%.0fpx;max-width:none\" viewBox=\"0 0 %.0f %.0f\">", width, width,
            height);
    heads(file, self);
    for (size_t r = 0; r < self->row_count; r++) {
        row_name(file, self->rows[r], HEAD + (double)r * CELL_HEIGHT + CELL_HEIGHT - 5);
        for (size_t c = 0; c < self->column_count; c++)
            heat_cell(file, self, r, c);
    }
    fputs("</svg></figure>\n", file);
}

/* ---- exponents ---- */

enum { WIDTH = 440, LEFT = 48, RIGHT = 10, TOP = 8, CURVES = 150, AXIS = 18, RANGE = 15, BIN_TICK = 8 };

static double place(int bin)
{
    return LEFT + (double)(WIDTH - LEFT - RIGHT) * bin / BD_EXPONENT_BINS;
}

/* The formats whose ranges are shown, by name; nothing of BF16's is left out within the bins. */
static const char *const shown_formats[] = { "f16", "bf16", "f8e4m3", "f8e5m2" };
enum { SHOWN_FORMATS = sizeof shown_formats / sizeof *shown_formats };

static int bin_of(double value)
{
    const int bin = ilogb(value) - BD_LEAST_EXPONENT;
    return bin < 0 ? 0 : bin < BD_EXPONENT_BINS ? bin : BD_EXPONENT_BINS;
}

static void range_bar(FILE *file, const char *class, int from, int to, double y)
{
    fprintf(file, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\"/>", class, place(from), y,
            place(to) - place(from), RANGE - 5);
}

static void ranges(FILE *file)
{
    for (int i = 0; i < SHOWN_FORMATS; i++) {
        bd_format format;
        const double y = TOP + CURVES + AXIS + i * RANGE;
        if (!bd_format_from_name(shown_formats[i], &format))
            continue;
        const bd_format_info info = bd_format_describe(format);
        const int normal = bin_of(info.least_normal), end = bin_of(info.largest) + 1;
        range_bar(file, "subnormal", bin_of(info.least), normal, y);
        range_bar(file, "normal", normal, end < BD_EXPONENT_BINS ? end : BD_EXPONENT_BINS, y);
        fprintf(file, "<text class=\"tick\" text-anchor=\"end\" x=\"%d\" y=\"%.0f\">%s</text>\n", LEFT - 4,
                y + RANGE - 6, info.name);
    }
}

static void exponent_axis(FILE *file)
{
    for (int bin = 0; bin < BD_EXPONENT_BINS; bin += BIN_TICK) {
        fprintf(file, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>", place(bin), place(bin), TOP,
                TOP + CURVES + AXIS + SHOWN_FORMATS * RANGE);
        fprintf(file,
                "<text class=\"tick\" text-anchor=\"middle\" x=\"%.1f\" y=\"%d\">2<tspan dy=\"-4\" "
                "font-size=\"8\">%d</tspan></text>",
                place(bin), TOP + CURVES + 13, BD_LEAST_EXPONENT + bin);
    }
    putc('\n', file);
}

/* Steps, a bin wide each; `most` is what reaches the top. */
static void exponent_curve(FILE *file, const exponent_series *series, double total, double most)
{
    html_print(file, "<g class=\"s%d\"><path d=\"", series->style);
    const char *separator = "M";
    for (int bin = 0; bin < BD_EXPONENT_BINS; bin++) {
        const double y = TOP + CURVES * (1 - series->counts[bin] / total / most);
        fprintf(file, "%s%.1f %.1fH%.1f", separator, place(bin), y, place(bin + 1));
        separator = "L";
    }
    html_print(file, "\"><title>%s</title></path></g>\n", series->name);
}

void chart_exponents(FILE *file, const char *title, const exponent_series *series, size_t count)
{
    double most = 0;
    for (int draws = 0; draws < 2; draws++) {
        for (size_t s = 0; s < count; s++) {
            double total = 0;
            for (int bin = 0; bin < BD_EXPONENT_BINS; bin++)
                total += series[s].counts[bin];
            for (int bin = 0; bin < BD_EXPONENT_BINS && !draws && total > 0; bin++)
                most = fmax(most, series[s].counts[bin] / total);
            if (draws && total > 0)
                exponent_curve(file, &series[s], total, most);
        }
        if (draws || !(most > 0))
            continue;
        html_print(file, "<figure><figcaption>%s</figcaption>", title);
        fprintf(file, "<svg role=\"img\" viewBox=\"0 0 %d %d\">", WIDTH, TOP + CURVES + AXIS + SHOWN_FORMATS * RANGE);
        exponent_axis(file);
        ranges(file);
    }
    if (most > 0)
        fputs("</svg></figure>\n", file);
}
