/* Data sets: images as bytes with class labels, read from files and checked. */
#ifndef BINADE_DATA_H
#define BINADE_DATA_H

#include <binade/status.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* `count` images, NHWC bytes, and their class numbers. */
typedef struct bd_examples {
    int64_t count;
    uint8_t *images; /* count * height * width * channels; owned */
    uint8_t *labels; /* count; owned */
} bd_examples;

typedef struct bd_dataset {
    char name[64];
    int64_t height, width, channels, classes;
    bd_examples train, test;
    /* (byte / 255 - mean) / deviation is what a model sees; computed from the training images, one number for all
     * channels, as the study does. */
    float mean, deviation;
} bd_dataset;

/* Opens a data set: "fashion-mnist" (the files of Debian's package dataset-fashion-mnist, or of the folder named by
 * BINADE_DATA) or a folder that holds train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
 * t10k-labels-idx1-ubyte, each plain or with .gz. Or four paths joined by ','. Errors name the file and what is wrong
 * with it: magic number, truncated, longer than its header says, counts that differ, a label beyond 255 classes, damaged gz. */
BD_API bd_status bd_dataset_open(const char *name, bd_dataset **dataset, bd_error *error);
BD_API void bd_dataset_close(bd_dataset **dataset);

/* One IDX file of unsigned bytes, plain or gzipped: dimensions (at most 4) and data (malloc'ed, the caller frees). */
BD_API bd_status bd_idx_read(const char *path, int *rank, int64_t dim[4], uint8_t **data, bd_error *error);

#ifdef __cplusplus
}
#endif
#endif
