/* A growing string. After a failed allocation it stays empty and `failed`, so that a writer checks once at the end. */
#ifndef BINADE_ENGINE_TEXT_H
#define BINADE_ENGINE_TEXT_H

#include <binade/status.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct bd_text {
    char *data; /* terminated; NULL while empty */
    size_t length, capacity;
    bool failed;
} bd_text;

void bd_text_append(bd_text *text, const char *format, ...) BD_PRINTF(2, 3);
void bd_text_append_raw(bd_text *text, const char *data, size_t length);
void bd_text_finish(bd_text *text);

#endif
