#include "roofline.h"
#include "html.h"
#include <math.h>

/* In units of the view box, which the page shows at about one a pixel. */
enum { WIDTH = 440, HEIGHT = 280, LEFT = 52, RIGHT = 22, TOP = 30, BOTTOM = 38, LABELS = 18 };

typedef struct axis {
    int from, to; /* powers of ten */
    double first, length;
} axis;

static double place(const axis *self, double value)
{
    return self->first + (log10(value) - self->from) / (self->to - self->from) * self->length;
}

static void widen(double *low, double *high, double value)
{
    *low = fmin(*low, value);
    *high = fmax(*high, value);
}

static axis whole_powers(double low, double high, double first, double length)
{
    axis result = { (int)floor(log10(low)), (int)ceil(log10(high)), first, length };
    if (result.to == result.from)
        result.to++;
    return result;
}

/* 0.001 to 1,000 as they are, else 1e6. */
static void tick_text(FILE *file, int power)
{
    if (power >= -3 && power <= 3)
        fprintf(file, "%.*f", power < 0 ? -power : 0, pow(10, power));
    else
        fprintf(file, "1e%d", power);
}

static void axes(FILE *file, const axis *x, const axis *y)
{
    for (int p = y->from; p <= y->to; p++) {
        const double at = place(y, pow(10, p));
        fprintf(file, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>", LEFT, WIDTH - RIGHT, at,
                at);
        fprintf(file, "<text class=\"tick\" text-anchor=\"end\" x=\"%d\" y=\"%.1f\">", LEFT - 6, at + 4);
        tick_text(file, p);
        fputs("</text>", file);
    }
    for (int p = x->from; p <= x->to; p++) {
        const double at = place(x, pow(10, p));
        fprintf(file, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>", at, at, TOP,
                HEIGHT - BOTTOM);
        fprintf(file, "<text class=\"tick\" text-anchor=\"middle\" x=\"%.1f\" y=\"%d\">", at, HEIGHT - BOTTOM + 16);
        tick_text(file, p);
        fputs("</text>", file);
    }
    fprintf(file, "<text class=\"tick\" text-anchor=\"end\" x=\"%d\" y=\"%d\">FLOP a byte</text>", WIDTH - RIGHT,
            HEIGHT - 4);
    fprintf(file, "<text class=\"tick\" x=\"0\" y=\"%d\">GFLOP/s</text>\n", HEIGHT - 4);
}

/* The slope of the memory up to the ridge, then the flat of the arithmetic; where one is not known, the other alone. */
static void roofs(FILE *file, const roofline *self, const axis *x, const axis *y)
{
    const double left = pow(10, x->from), right = pow(10, x->to), bottom = pow(10, y->from), top = pow(10, y->to);
    double ridge = left;
    if (self->bandwidth > 0) {
        const double begin = fmax(left, bottom / self->bandwidth);
        ridge = fmin(right, (self->peak > 0 ? self->peak : top) / self->bandwidth);
        if (ridge > begin)
            html_print(file, "<path class=\"roof\" d=\"M%.1f %.1fL%.1f %.1f\"><title>memory: %.1f GB/s</title></path>",
                       place(x, begin), place(y, begin * self->bandwidth), place(x, ridge),
                       place(y, ridge * self->bandwidth), self->bandwidth);
        html_print(file, "<text class=\"label\" x=\"%d\" y=\"%d\">memory %.3g GB/s</text>", LEFT, LABELS,
                   self->bandwidth);
    }
    if (self->peak > 0) {
        const double at = place(y, self->peak);
        html_print(file, "<path class=\"roof\" d=\"M%.1f %.1fH%d\"><title>arithmetic: %.1f GFLOP/s</title></path>",
                   place(x, fmax(left, fmin(ridge, right))), at, WIDTH - RIGHT, self->peak);
        html_print(file, "<text class=\"label\" text-anchor=\"end\" x=\"%d\" y=\"%d\">arithmetic %.4g GFLOP/s</text>\n",
                   WIDTH - RIGHT, LABELS, self->peak);
    }
}

void roofline_draw(FILE *file, const roofline *self)
{
    html_print(file, "<figure><figcaption>%s</figcaption>\n", self->title);
    double least_x = INFINITY, most_x = 0, least_y = INFINITY, most_y = 0;
    for (size_t i = 0; i < self->count; i++) {
        widen(&least_x, &most_x, self->points[i].intensity);
        widen(&least_y, &most_y, self->points[i].speed);
    }
    if (!self->count) {
        fputs("<p class=\"none\">no values</p></figure>\n", file);
        return;
    }
    if (self->peak > 0)
        widen(&least_y, &most_y, self->peak);
    if (self->peak > 0 && self->bandwidth > 0)
        widen(&least_x, &most_x, self->peak / self->bandwidth);
    const axis x = whole_powers(least_x, most_x, LEFT, WIDTH - LEFT - RIGHT);
    const axis y = whole_powers(least_y, most_y, HEIGHT - BOTTOM, -(HEIGHT - TOP - BOTTOM));
    html_print(file, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n", WIDTH, HEIGHT, self->title);
    axes(file, &x, &y);
    roofs(file, self, &x, &y);
    for (size_t i = 0; i < self->count; i++) {
        const roofline_point *p = &self->points[i];
        html_print(file,
                   "<g class=\"s%d\"><circle cx=\"%.1f\" cy=\"%.1f\" r=\"4.5\"><title>%s: %.3g GFLOP/s, %.3g FLOP a "
                   "byte</title></circle></g>\n",
                   p->style, place(&x, p->intensity), place(&y, p->speed), p->name, p->speed, p->intensity);
    }
    fputs("</svg></figure>\n", file);
}
