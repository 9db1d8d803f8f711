/* Data sets: images as bytes with class labels, or a text as a row of tokens, read from files and checked. */
#ifndef BINADE_DATA_H
#define BINADE_DATA_H

#include <binade/status.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* `count` images, NHWC bytes, and their class numbers; or as many tokens of a text, one after another: images of a byte
 * each, without labels. */
typedef struct bd_examples {
    int64_t count;
    uint8_t *images; /* count * height * width * channels; owned */
    uint8_t *labels; /* count; owned; NULL in a text */
} bd_examples;

/* What a token of a text stands for. */
typedef enum bd_tokens { BD_TOKENS_NONE /* images */, BD_TOKENS_CHARACTERS /* in UTF-8 */, BD_TOKENS_BYTES } bd_tokens;

/* A token is a byte. */
#define BD_MOST_TOKENS 256

typedef struct bd_dataset {
    char name[64];
    bd_tokens tokens;
    int64_t height, width, channels, classes; /* of a text 1, 1, 1 and the tokens of its vocabulary */
    bd_examples train, test;
    /* (byte / 255 - mean) / deviation is what a model sees; computed from the training images, one number for all
     * channels, as the study does. */
    float mean, deviation;
    char **
        class_names; /* `classes` of them; NULL where the source names none; of a text what each token stands for; owned */
} bd_dataset;

/* How many training examples an epoch has: the images, or windows of `context` tokens, each of which has one token more
 * behind it, as many as cover the text once; 0 where the text is shorter. */
BD_API int64_t bd_dataset_train_examples(const bd_dataset *dataset, int64_t context);
/* The same of the test set. */
BD_API int64_t bd_dataset_test_examples(const bd_dataset *dataset, int64_t context);

typedef struct bd_dataset_params {
    const char *name;  /* see bd_dataset_load */
    int threads;       /* that decode images; 0: one a processor */
    bd_tokens tokens;  /* of a text; BD_TOKENS_NONE: characters */
    const char *cache; /* folder for decoded images; NULL: $XDG_CACHE_HOME/binade (or ~/.cache/binade); "": none */
    /* While it works: what is done ("read", "decode") and how much of it, 0 to 1. May be NULL. */
    void (*on_progress)(void *user, const char *what, double fraction);
    /* Something that a person should know, but no error: one line. May be NULL. */
    void (*on_warning)(void *user, const char *line);
    void *user;
} bd_dataset_params;

/* Opens a data set. Its name is one of:
 *  - "fashion-mnist": the files of Debian's package dataset-fashion-mnist, or of the folder named by BINADE_DATA;
 *  - a folder that holds train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
 *    t10k-labels-idx1-ubyte, each plain or with .gz; or four paths of such files joined by ',';
 *  - CIFAR-10 or CIFAR-100 in their binary format (Krizhevsky 2009): the folder of data_batch_1.bin to data_batch_5.bin
 *    and test_batch.bin, or of train.bin and test.bin (fine labels), the folder around it, or the archive as published;
 *  - images, JPEG or PNG, at SPLIT/CLASS/NAME in a folder or an archive (tar, tar.gz, tar.xz, tar.zst, zip). SPLIT is
 *    "train" and "test" (else "val", "valid" or "validation"); classes are numbered in the order of their names' bytes.
 *    All must have one size; if any has colour, all have. They are decoded once, into a file of the cache, which is
 *    remade when the source changes or the file is damaged;
 *  - any other file: a text. Its first 90% are for training, the rest is the test set (the validation set, as it is
 *    called for language models). The vocabulary is the characters, or bytes, that occur in it, in their order,
 *    BD_MOST_TOKENS at most.
 * Errors name the file and what is wrong with it. */
BD_API bd_status bd_dataset_load(const bd_dataset_params *params, bd_dataset **dataset, bd_error *error);
/* The same with nothing but a name. */
BD_API bd_status bd_dataset_open(const char *name, bd_dataset **dataset, bd_error *error);
BD_API void bd_dataset_close(bd_dataset **dataset);

/* One IDX file of unsigned bytes, plain or gzipped: dimensions (at most 4) and data (malloc'ed, the caller frees). */
BD_API bd_status bd_idx_read(const char *path, int *rank, int64_t dim[4], uint8_t **data, bd_error *error);

#ifdef __cplusplus
}
#endif
#endif
