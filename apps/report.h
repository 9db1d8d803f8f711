/* The comparison as one HTML page that needs nothing else: no script, no font, no image, no network. */
#ifndef BINADE_APPS_REPORT_H
#define BINADE_APPS_REPORT_H

#include <stdio.h>

/* The page's style sheet. */
extern const char *const report_style;

/* For app_replace_file(); `user` is a comparison (results.h). */
void report_write(FILE *file, const void *user);

#endif
