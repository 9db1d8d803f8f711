#include "progress.h"
#include "app.h"
#include <langinfo.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { DEFAULT_COLUMNS = 80, LEAST_BAR = 8, WIDEST_BAR = 40 };

void progress_init(progress *self, const char *label, bool quiet)
{
    const char *terminal = getenv("TERM"), *no_colour = getenv("NO_COLOR");
    bool dumb = !terminal || !strcmp(terminal, "dumb");
    *self = (progress){
        .label = label,
        .quiet = quiet,
        .epoch = "epoch",
        .terminal = !quiet && !dumb && isatty(STDERR_FILENO),
        .colour = !no_colour || !*no_colour,
        .utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8"),
    };
}

static int columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) || size.ws_col == 0 ? DEFAULT_COLUMNS : size.ws_col;
}

void progress_clear(progress *self)
{
    if (self->drawn)
        fputs("\r\033[K", stderr);
    self->drawn = false;
}

/* left, a bar as wide as the terminal leaves room for, right; cut at the terminal's width so that it never wraps. */
static void draw(progress *self, const char *left, double fraction, const char *right)
{
    int room = columns() - 1;
    int bar = room - (int)(strlen(left) + strlen(right)) - 2;
    if (bar > WIDEST_BAR)
        bar = WIDEST_BAR;
    progress_clear(self);
    if (bar < LEAST_BAR) {
        fprintf(stderr, "%.*s", room, left);
        int left_over = room - (int)strlen(left) - 2;
        if (left_over > 0)
            fprintf(stderr, "  %.*s", left_over, right);
    } else {
        int full = (int)(fraction * bar + 0.5);
        fprintf(stderr, "%s %s", left, self->colour ? "\033[36m" : "");
        for (int i = 0; i < full; i++)
            fputs(self->utf8 ? "━" : "#", stderr);
        if (self->colour)
            fputs("\033[90m", stderr);
        for (int i = full; i < bar; i++)
            fputs(self->utf8 ? "─" : "-", stderr);
        fprintf(stderr, "%s %s", self->colour ? "\033[0m" : "", right);
    }
    fflush(stderr);
    self->drawn = true;
}

static const char *separator(const progress *self)
{
    return *self->label ? "  " : "";
}

void progress_count(progress *self, const char *what, int done, int total, const char *things)
{
    if (!self->terminal || total < 1)
        return;
    char left[160], right[48];
    snprintf(left, sizeof(left), "%s%s%s", self->label, separator(self), what);
    snprintf(right, sizeof(right), "%d of %d %s", done, total, things);
    draw(self, left, (double)done / total, right);
}

void progress_tune(progress *self, int done, int total)
{
    progress_count(self, "tune", done, total, "contractions");
}

void progress_compile(progress *self, int done, int total)
{
    progress_count(self, "compile", done, total, "kernels");
}

void progress_data(progress *self, const char *what, double fraction)
{
    /* Called for every image: drawn where it would look different. */
    if (!self->terminal || (self->drawn && (int)(fraction * 100) == self->percent && fraction < 1))
        return;
    self->percent = (int)(fraction * 100);
    char left[160], right[16];
    snprintf(left, sizeof(left), "%s%s%s the data", self->label, separator(self), what);
    snprintf(right, sizeof(right), "%d%%", self->percent);
    draw(self, left, fraction, right);
}

const char *progress_speed(char text[64], const bd_train_event *event, const char *images)
{
    char number[32];
    const bool is_text = isfinite(event->tokens_per_second);
    snprintf(text, 64, "%s %s/s", app_thousands(number, is_text ? event->tokens_per_second : event->images_per_second),
             is_text ? "tokens" : images);
    return text;
}

static void draw_step(progress *self, const bd_train_event *e)
{
    char left[160], right[160], speed[64], rest[32];
    snprintf(left, sizeof(left), "%s%s%s %lld/%lld", self->label, separator(self), self->epoch, (long long)e->epoch,
             (long long)e->epochs);
    snprintf(right, sizeof(right), "loss %.4f  %.1f%%  %s  ETA %s", e->train_loss, e->train_accuracy * 100,
             progress_speed(speed, e, "img"), app_duration(rest, e->eta_seconds));
    draw(self, left, e->steps > 0 ? (double)e->step / (double)e->steps : 0, right);
}

static void say_epoch(progress *self, const bd_train_event *e)
{
    char speed[64], time[32], overflows[48] = "";
    if (e->overflows)
        snprintf(overflows, sizeof(overflows), "  %lld overflow%s", (long long)e->overflows,
                 e->overflows == 1 ? "" : "s");
    progress_say(self, "%s %lld/%lld  train loss %.4f accuracy %.2f%%  test loss %.4f accuracy %.2f%%  %s  %s%s",
                 self->epoch, (long long)e->epoch, (long long)e->epochs, e->train_loss, e->train_accuracy * 100,
                 e->test_loss, e->test_accuracy * 100, progress_speed(speed, e, "img"), app_duration(time, e->seconds),
                 overflows);
}

void progress_event(progress *self, const bd_train_event *event)
{
    if (event->kind == BD_TRAIN_START && event->unmeasured)
        progress_say(self, "too little device memory to measure what rounding does: nothing is told of it");
    if (event->kind == BD_TRAIN_PROGRESS && self->terminal)
        draw_step(self, event);
    if (event->kind == BD_TRAIN_EPOCH)
        say_epoch(self, event);
    if (event->kind == BD_TRAIN_DONE)
        progress_clear(self);
}

void progress_say(progress *self, const char *format, ...)
{
    if (self->quiet)
        return;
    progress_clear(self);
    fprintf(stderr, "%s%s", self->label, separator(self));
    char text[2048]; /* a message of a driver or a file among it, which must not steer the terminal */
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    app_print_text(stderr, text);
    putc('\n', stderr);
}
