#include "html.h"
#include "json.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void html_text(FILE *file, const char *text)
{
    json_t *clean = json_text(text);
    for (const unsigned char *c = (const unsigned char *)(clean ? json_string_value(clean) : ""); *c; c++) {
        switch (*c) {
        case '&': fputs("&amp;", file); break;
        case '<': fputs("&lt;", file); break;
        case '>': fputs("&gt;", file); break;
        case '"': fputs("&quot;", file); break;
        case '\'': fputs("&#39;", file); break;
        default: putc(*c < 0x20 || *c == 0x7f ? ' ' : *c, file);
        }
    }
    json_decref(clean);
}

void html_print(FILE *file, const char *format, ...)
{
    /* One conversion at a time, so that strings alone take another way. */
    va_list list;
    va_start(list, format);
    for (const char *c = format; *c; c++) {
        if (*c != '%') {
            putc(*c, file);
            continue;
        }
        char one[16] = "%";
        size_t length = strcspn(c + 1, "sdfg%") + 1;
        if (length + 1 > sizeof(one) - 1 || !c[length])
            break;
        memcpy(one + 1, c + 1, length);
        switch (c[length]) {
        case 's': html_text(file, va_arg(list, const char *)); break;
        case 'd': fprintf(file, "%d", va_arg(list, int)); break;
        case '%': putc('%', file); break;
        default: fprintf(file, one, va_arg(list, double)); break;
        }
        c += length;
    }
    va_end(list);
}
