/* The record of a run: every event as a line of metrics.jsonl, and as a row of metrics.csv. */
#ifndef BINADE_APPS_METRICS_H
#define BINADE_APPS_METRICS_H

#include <binade/train.h>
#include <jansson.h>
#include <stdio.h>

/* "start", "progress", "measured", "epoch", "done" */
const char *event_name(bd_event_kind kind);

/* {"format_version": 1, "event": "progress", ...} with the fields that this kind of event has. */
json_t *event_json(const bd_train_event *event);

/* What is known before anything ran: dispatches_per_step, planned_device_bytes and so on. */
void event_add_plan(json_t *object, const bd_train_event *event);

typedef struct metrics {
    FILE *lines, *table;
    char *lines_path, *table_path;
} metrics;

/* Opens both files in `folder`; `append` goes on with a resumed run's. BD_ERROR_FILE where another run has them open. */
bd_status metrics_open(metrics *record, const char *folder, bool append, bd_error *error);
/* Writes and flushes, so that a run can be watched and a killed one leaves what it had. */
bd_status metrics_write(metrics *record, const bd_train_event *event, const json_t *json, bd_error *error);
void metrics_close(metrics *record);

#endif
