/* Event files that TensorBoard reads: each event's numbers as scalars against the step. The format is TensorFlow's
 * record file (a length, data, and a masked CRC-32C of each) of Event messages in protocol buffer encoding. */
#ifndef BINADE_APPS_TENSORBOARD_H
#define BINADE_APPS_TENSORBOARD_H

#include <binade/train.h>
#include <stdio.h>

typedef struct tensorboard {
    FILE *file;
    char *path;
} tensorboard;

/* Opens a new file in `folder`; a resumed run gets another, which TensorBoard shows as one run with the first. */
bd_status tensorboard_open(tensorboard *board, const char *folder, bd_error *error);
/* Writes what the event knows, and flushes. Nothing if the board is not open. */
bd_status tensorboard_write(tensorboard *board, const bd_train_event *event, bd_error *error);
void tensorboard_close(tensorboard *board);

#endif
