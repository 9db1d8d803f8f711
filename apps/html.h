/* Text on its way into HTML. */
#ifndef BINADE_APPS_HTML_H
#define BINADE_APPS_HTML_H

#include <stdio.h>

/* Text as content or as the value of a quoted attribute: markup is escaped, what is not UTF-8 becomes '?', control
 * characters become spaces. */
void html_text(FILE *file, const char *text);

/* Like fprintf, for markup whose strings must be escaped: every %s goes through html_text(). Only %s, %d, %%, and %f
 * and %g with a precision are known. */
void html_print(FILE *file, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
