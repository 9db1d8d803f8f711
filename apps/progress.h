/* What a person sees on stderr while a run goes: a bar that redraws itself on a terminal, a line an epoch elsewhere. */
#ifndef BINADE_APPS_PROGRESS_H
#define BINADE_APPS_PROGRESS_H

#include <binade/train.h>

typedef struct progress {
    const char *label; /* before every line; "" for none */
    bool quiet;        /* says nothing at all */
    const char *epoch; /* what is counted: "epoch" at first */
    bool terminal, colour, utf8;
    bool drawn;  /* the cursor's line holds a bar */
    int percent; /* of the data read, as drawn last */
} progress;

/* Looks at stderr, TERM, NO_COLOR (no-color.org) and the locale. */
void progress_init(progress *self, const char *label, bool quiet);
/* "WHAT  -----  3 of 12 THINGS" */
void progress_count(progress *self, const char *what, int done, int total, const char *things);
void progress_tune(progress *self, int done, int total);
void progress_compile(progress *self, int done, int total);
/* Reading a data set: `what` is done to it. */
void progress_data(progress *self, const char *what, double fraction);
/* "1,234 IMAGES/s", of a text "1,234 tokens/s". */
const char *progress_speed(char text[64], const bd_train_event *event, const char *images);
void progress_event(progress *self, const bd_train_event *event);
/* Takes the bar away, before something else is printed. */
void progress_clear(progress *self);
/* One line of its own, unless quiet. */
void progress_say(progress *self, const char *format, ...) BD_PRINTF(2, 3);

#endif
