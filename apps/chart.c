#include "chart.h"
#include "html.h"
#include <math.h>
#include <string.h>

/* In units of the view box, which the page shows at about one a pixel. */
enum {
    WIDTH = 440,
    HEIGHT = 230,
    LEFT = 62, /* "84.45%" as large as a phone shows it */
    RIGHT = 14,
    TOP = 10,
    BOTTOM = 36,
    DOT_ROW = 26,
    DOT_RIGHT = 26,
    CHARACTER = 8, /* of a label, as large as a phone shows it */
    LABEL_LINE = 15,
    TICK = 54, /* "87.25%" and a gap, as large */
    LABEL_GAP = 12,
    LEAST_LABEL = 12, /* characters: charts of short names stand alike, */
    MOST_LABEL = 26   /* and longer ones take more lines, so that half of the chart is left */
};

typedef struct axis {
    double from, to;      /* of the values */
    double step;          /* between two ticks */
    double first, length; /* of the view box; negative for an axis that goes up */
} axis;

static double place(const axis *self, double value)
{
    return self->first + (value - self->from) / (self->to - self->from) * self->length;
}

/* 1, 2 or 5 times a power of ten, so that a range has about `count` ticks. */
static double nice_step(double range, int count)
{
    double rough = range / count, power = pow(10, floor(log10(rough))), digit = rough / power;
    return power * (digit < 1.5 ? 1 : digit < 3.5 ? 2 : digit < 7.5 ? 5 : 10);
}

/* The finite values' range, widened to whole steps. False if there is none. */
static bool find_range(axis *self, const chart_series *series, size_t count, double most)
{
    double low = INFINITY, high = -INFINITY;
    for (size_t s = 0; s < count; s++) {
        for (size_t i = 0; i < series[s].count; i++) {
            const chart_point *p = &series[s].points[i];
            if (!isfinite(p->y))
                continue;
            low = fmin(low, fmin(fmin(p->y, p->low), most)); /* fmin and fmax pass over a bound that is NaN */
            high = fmax(high, fmin(fmax(p->y, p->high), most));
        }
    }
    if (low > high)
        return false;
    /* One value, or values that differ by less than a reader can care about, still need a scale. */
    double least_range = fmax(fabs(high) * 0.01, 1e-6);
    if (high - low < least_range) {
        low -= least_range / 2;
        high += least_range / 2;
    }
    self->step = nice_step(high - low, 4);
    self->from = floor(low / self->step) * self->step;
    self->to = ceil(high / self->step) * self->step;
    return true;
}

/* As many decimals as the step needs. */
static void tick_text(FILE *file, double value, double step, bool percent)
{
    if (percent)
        value *= 100, step *= 100;
    int decimals = (int)fmax(0, -floor(log10(step) + 1e-9));
    fprintf(file, "%.*f%s", decimals, fabs(value) < step / 2 ? 0 : value, percent ? "%" : "");
}

static void y_axis(FILE *file, const axis *y, bool percent)
{
    for (double value = y->from; value < y->to + y->step / 2; value += y->step) {
        double at = place(y, value);
        fprintf(file, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>", LEFT, WIDTH - RIGHT, at,
                at);
        fprintf(file, "<text class=\"tick\" text-anchor=\"end\" x=\"%d\" y=\"%.1f\">", LEFT - 6, at + 4);
        tick_text(file, value, y->step, percent);
        fputs("</text>", file);
    }
}

static void x_axis(FILE *file, const axis *x, const char *title)
{
    for (double value = 0; value < x->to + x->step / 1e6; value += x->step) {
        fprintf(file, "<text class=\"tick\" text-anchor=\"middle\" x=\"%.1f\" y=\"%d\">", place(x, value),
                HEIGHT - BOTTOM + 16);
        tick_text(file, value, x->step, false);
        fputs("</text>", file);
    }
    html_print(file, "<text class=\"tick\" text-anchor=\"end\" x=\"%d\" y=\"%d\">%s</text>\n", WIDTH - RIGHT,
               HEIGHT - 4, title);
}

static bool has_band(const chart_point *p)
{
    return isfinite(p->y) && isfinite(p->low) && isfinite(p->high);
}

/* From low to high, each stretch of points that have both: along its upper edge and back along the lower one. */
static void band(FILE *file, const chart_series *series, const axis *x, const axis *y)
{
    const double top = y->to + y->step;
    for (size_t i = 0; i < series->count;) {
        size_t end = i;
        while (end < series->count && has_band(&series->points[end]))
            end++;
        if (end > i + 1) {
            fprintf(file, "<g class=\"s%d\"><path class=\"band\" d=\"", series->style);
            for (size_t p = i; p < end; p++)
                fprintf(file, "%c%.1f %.1f", p == i ? 'M' : 'L', place(x, series->points[p].x),
                        place(y, fmin(series->points[p].high, top)));
            for (size_t p = end; p-- > i;)
                fprintf(file, "L%.1f %.1f", place(x, series->points[p].x), place(y, fmin(series->points[p].low, top)));
            fputs("Z\"/></g>\n", file);
        }
        i = end + 1;
    }
}

static void line(FILE *file, const chart *self, const chart_series *series, const axis *x, const axis *y)
{
    html_print(file, "<g class=\"s%d\"><path d=\"", series->style);
    bool drawing = false;
    for (size_t i = 0; i < series->count; i++) {
        chart_point p = series->points[i];
        if (!isfinite(p.y)) {
            drawing = false;
            continue;
        }
        /* What leaves the chart goes a little beyond its edge, where the clip path cuts it. */
        fprintf(file, "%c%.1f %.1f", drawing ? 'L' : 'M', place(x, p.x), place(y, fmin(p.y, y->to + y->step)));
        drawing = true;
    }
    html_print(file, "\"><title>%s</title></path>", series->name);
    for (size_t i = 0; self->markers && i < series->count; i++) {
        chart_point p = series->points[i];
        if (!isfinite(p.y) || p.y > y->to)
            continue;
        html_print(file, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\"><title>%s, %s %g: ", place(x, p.x), place(y, p.y),
                   series->name, self->x_title, p.x);
        fprintf(file, self->percent ? "%.2f%%" : "%.4f", self->percent ? p.y * 100 : p.y);
        fputs("</title></circle>", file);
    }
    fputs("</g>\n", file);
}

void chart_lines(FILE *file, const chart *self, const chart_series *series, size_t count)
{
    static const int inner_height = HEIGHT - TOP - BOTTOM, inner_width = WIDTH - LEFT - RIGHT;
    html_print(file, "<figure><figcaption>%s</figcaption>\n", self->title);
    axis y = { .first = HEIGHT - BOTTOM, .length = -inner_height };
    if (!find_range(&y, series, count, self->y_most)) {
        fputs("<p class=\"none\">no values</p></figure>\n", file);
        return;
    }
    const double step = nice_step(self->x_max, 6);
    axis x = {
        .to = self->x_max, .step = self->x_max < 2 ? step : fmax(1, step), .first = LEFT, .length = inner_width
    };
    html_print(file, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n", WIDTH, HEIGHT, self->title);
    y_axis(file, &y, self->percent);
    x_axis(file, &x, self->x_title);
    /* An inner svg element clips what leaves it; one step of room keeps the markers at the edges whole. */
    html_print(file, "<svg x=\"0\" y=\"%d\" width=\"%d\" height=\"%d\" viewBox=\"0 %d %d %d\">\n", TOP - 6, WIDTH,
               inner_height + 12, TOP - 6, WIDTH, inner_height + 12);
    for (size_t s = 0; s < count; s++)
        band(file, &series[s], &x, &y);
    for (size_t s = 0; s < count; s++)
        line(file, self, &series[s], &x, &y);
    fputs("</svg></svg></figure>\n", file);
}

void chart_reliability(FILE *file, const char *title, int style, const reliability_bin *bins)
{
    enum { SIDE = 180, LEFT_EDGE = 44, UPPER_EDGE = 10, COUNTS = 40, COUNTS_TOP = UPPER_EDGE + SIDE + 26, GAP = 1 };
    static const double bar = (double)SIDE / RELIABILITY_BINS;
    const axis x = { .to = 1, .first = LEFT_EDGE, .length = SIDE };
    const axis y = { .to = 1, .step = 0.5, .first = UPPER_EDGE + SIDE, .length = -SIDE };
    int64_t most = 0, total = 0;
    for (int b = 0; b < RELIABILITY_BINS; b++) {
        most = bins[b].count > most ? bins[b].count : most;
        total += bins[b].count;
    }
    html_print(file, "<figure><figcaption>%s</figcaption>\n", title);
    if (!total) {
        fputs("<p class=\"none\">no values</p></figure>\n", file);
        return;
    }
    html_print(file, "<svg class=\"small\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\"><g class=\"s%d\">\n",
               LEFT_EDGE + SIDE + 20, COUNTS_TOP + COUNTS + 14, title, style);
    for (double value = 0; value <= 1; value += y.step) {
        fprintf(file, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>", LEFT_EDGE, LEFT_EDGE + SIDE,
                place(&y, value), place(&y, value));
        fprintf(file, "<text class=\"tick\" text-anchor=\"end\" x=\"%d\" y=\"%.1f\">", LEFT_EDGE - 6,
                place(&y, value) + 4);
        tick_text(file, value, y.step, true);
        fprintf(file, "</text><text class=\"tick\" text-anchor=\"middle\" x=\"%.1f\" y=\"%d\">", place(&x, value),
                UPPER_EDGE + SIDE + 16);
        tick_text(file, value, y.step, true);
        fputs("</text>\n", file);
    }
    for (int b = 0; b < RELIABILITY_BINS; b++) {
        const reliability_bin *bin = &bins[b];
        const double left = LEFT_EDGE + b * bar + GAP / 2.0, top = place(&y, bin->accuracy);
        const double share = (double)bin->count / (double)most * COUNTS;
        if (!bin->count)
            continue;
        fprintf(
            file,
            "<rect class=\"bar\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"><title>%lld examples: confidence "
            "%.1f%%, accuracy %.1f%%</title></rect>",
            left, top, bar - GAP, place(&y, 0) - top, (long long)bin->count, bin->confidence * 100,
            bin->accuracy * 100);
        fprintf(file, "<line class=\"aim\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>", left, left + bar - GAP,
                place(&y, bin->confidence), place(&y, bin->confidence));
        fprintf(file, "<rect class=\"share\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n", left,
                COUNTS_TOP + COUNTS - share, bar - GAP, share);
    }
    fprintf(file, "<text class=\"tick\" text-anchor=\"end\" x=\"%d\" y=\"%d\">examples</text>", LEFT_EDGE + SIDE,
            COUNTS_TOP + COUNTS + 12);
    fputs("</g></svg></figure>\n", file);
}

/* Bytes of the first line of a label: up to MOST_LABEL characters, to the last comma or semicolon if that is in their
 * second half. */
static size_t label_line(const char *text, int *characters)
{
    size_t end = 0, comma = 0;
    int count = 0, until_comma = 0;
    while (text[end] && count < MOST_LABEL) {
        const char c = text[end++];
        count++;
        for (int more = 0; more < 3 && ((unsigned char)text[end] & 0xc0) == 0x80; more++)
            end++; /* of the same character in UTF-8 */
        if ((c == ',' || c == ';') && count > MOST_LABEL / 2)
            comma = end, until_comma = count;
    }
    const bool breaks = text[end] && comma;
    *characters = breaks ? until_comma : count;
    return breaks ? comma : end;
}

/* Its lines; the longest one's characters are taken over into *longest. */
static int label_lines(const char *text, int *longest)
{
    int lines = 0, characters;
    for (; *text || !lines; lines++) {
        text += label_line(text, &characters);
        *longest = characters > *longest ? characters : *longest;
    }
    return lines;
}

static void print_label(FILE *file, const char *text, double middle)
{
    int longest = 0, characters;
    double y = middle + 4 - (label_lines(text, &longest) - 1) * LABEL_LINE / 2.0;
    for (; *text; y += LABEL_LINE) {
        char line[4 * MOST_LABEL + 1];
        const size_t length = label_line(text, &characters);
        memcpy(line, text, length);
        line[length] = '\0';
        html_print(file, "<text class=\"label\" x=\"0\" y=\"%.1f\">%s</text>", y, line);
        text += length;
    }
}

void chart_dots(FILE *file, const char *title, const chart_series *series, size_t count)
{
    html_print(file, "<figure><figcaption>%s</figcaption>\n", title);
    int longest = LEAST_LABEL, lines = 1;
    for (size_t s = 0; s < count; s++)
        lines = (int)fmax(lines, label_lines(series[s].name, &longest));
    const int left = longest * CHARACTER + LABEL_GAP;
    const int row = (int)fmax(DOT_ROW, lines * LABEL_LINE + 6);
    axis x = { .first = left, .length = WIDTH - DOT_RIGHT - left };
    if (!find_range(&x, series, count, INFINITY)) {
        fputs("<p class=\"none\">no values</p></figure>\n", file);
        return;
    }
    int bottom = TOP + (int)count * row;
    html_print(file, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n", WIDTH, bottom + 24, title);
    const int ticks = (int)lround((x.to - x.from) / x.step), apart = (int)ceil(TICK * ticks / x.length);
    for (int i = 0; i <= ticks; i++) {
        const double value = x.from + i * x.step, at = place(&x, value);
        fprintf(file, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>", at, at, TOP, bottom);
        if (i % apart)
            continue;
        fprintf(file, "<text class=\"tick\" text-anchor=\"middle\" x=\"%.1f\" y=\"%d\">", at, bottom + 16);
        tick_text(file, value, x.step, true);
        fputs("</text>\n", file);
    }
    for (size_t s = 0; s < count; s++) {
        double middle = TOP + (double)s * row + row / 2.0, sum = 0;
        int known = 0;
        print_label(file, series[s].name, middle);
        html_print(file, "<g class=\"s%d\">", series[s].style);
        for (size_t i = 0; i < series[s].count; i++) {
            chart_point p = series[s].points[i];
            if (!isfinite(p.y))
                continue;
            sum += p.y;
            known++;
            html_print(file, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4.5\"><title>%s, seed %g: %.2f%%</title></circle>",
                       place(&x, p.y), middle, series[s].name, p.x, p.y * 100);
        }
        if (known)
            html_print(file, "<line class=\"mean\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>",
                       place(&x, sum / known), place(&x, sum / known), middle - 10, middle + 10);
        fputs("</g>\n", file);
    }
    fputs("</svg></figure>\n", file);
}
