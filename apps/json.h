/* JSON values of this program: what cannot be written in JSON is made so that it can. */
#ifndef BINADE_APPS_JSON_H
#define BINADE_APPS_JSON_H

#include <binade/device.h>
#include <jansson.h>
#include <stdio.h>

/* null where the value is not finite. */
json_t *json_number(double value);
/* A float's value as the shortest decimal that reads back as it: 0.1f is 0.1, not 0.10000000149011612. */
json_t *json_float(float value);
/* A string; bytes that are not UTF-8 (drivers and file names may hold any) become '?'. */
json_t *json_text(const char *text);
/* A device as `binade devices --json` and results.json show it. */
json_t *json_device(const bd_device_info *info);

/* The flags to write numbers with: nine digits tell more than any measurement here. */
#define JSON_STYLE JSON_REAL_PRECISION(9)

#endif
