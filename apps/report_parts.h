/* The parts of the report that have files of their own; each writes the HTML of one model. */
#ifndef BINADE_APPS_REPORT_PARTS_H
#define BINADE_APPS_REPORT_PARTS_H

#include "results.h"

/* The style of a precision's series. Precisions beyond CHART_STYLES share styles; the tables still tell them apart. */
int report_style_of(const comparison *self, const char *precision);

/* Which line is which precision. */
void report_legend(FILE *file, const comparison *self);

/* Which differences from fp32 are within noise, in words; nothing where there is no fp32. */
void report_words(FILE *file, const comparison *self, const char *model);

/* Of a federation: the table, and a chart of accuracy over the bytes that were sent. */
void report_traffic(FILE *file, const comparison *self, const char *model);

/* A list of the precisions with the colours and dashes of their lines. */
void report_legend(FILE *file, const comparison *self);

/* The measures with their intervals, delta and Gamma, reliability diagrams; nothing where nothing is done. */
void report_measures(FILE *file, const comparison *self, const char *model);

/* Images a second as bars. */
void report_bars(FILE *file, const comparison *self, const char *model);

/* Learning curves, with bands over seeds, and where the seeds ended. */
void report_curves(FILE *file, const comparison *self, const char *model);

/* Exponents against formats' ranges, and what rounding does layer by layer; nothing where nothing was measured. */
void report_rounding(FILE *file, const comparison *self, const char *model);

#endif
