#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bd_text_finish(bd_text *text)
{
    free(text->data);
    *text = (bd_text){ 0 };
}

void bd_text_append_raw(bd_text *text, const char *data, size_t length)
{
    if (text->failed)
        return;
    if (text->capacity - text->length <= length) {
        size_t capacity = (text->capacity + length + 1) * 2;
        char *grown = realloc(text->data, capacity);
        if (!grown) {
            bd_text_finish(text);
            text->failed = true;
            return;
        }
        text->data = grown;
        text->capacity = capacity;
    }
    memcpy(text->data + text->length, data, length);
    text->length += length;
    text->data[text->length] = 0;
}

void bd_text_append(bd_text *text, const char *format, ...)
{
    char small[512], *large = small;
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(small, sizeof small, format, arguments);
    if (length >= (int)sizeof small) {
        large = malloc((size_t)length + 1);
        if (large)
            vsnprintf(large, (size_t)length + 1, format, again);
    }
    va_end(again);
    va_end(arguments);
    if (length < 0 || !large)
        text->failed = true;
    else
        bd_text_append_raw(text, large, (size_t)length);
    if (large != small)
        free(large);
}
