/* Puts a data set where a step's BATCH nodes find it: whole, with a permutation of its rows, or, if it is too large,
 * in two halves of a ring that the host fills in the permutation's order while the device works on the other. Which of
 * the two makes no difference to what a batch holds. */
#ifndef BINADE_ENGINE_FEED_H
#define BINADE_ENGINE_FEED_H

#include "program.h"
#include <binade/data.h>

/* Of a text a row is a window: `context` tokens and one behind them. Windows overlap, so a text is never on the device
 * as a whole, but always streamed. */
typedef struct bd_feed_shape {
    int64_t count;     /* examples of an epoch */
    int64_t row_bytes; /* of an image or a window */
    int64_t stride;    /* bytes from where one row can begin to where the next can */
    int64_t choices;   /* such places */
    bool labelled;     /* else a text */
    int64_t batch;
    int64_t half; /* rows of half the ring, a multiple of the batch; 0: the whole set is on the device */
} bd_feed_shape;

/* Rows that the variables "images" and "labels", or "tokens", have. */
static inline int64_t bd_feed_rows(const bd_feed_shape *shape)
{
    return shape->half ? 2 * shape->half : shape->count;
}
/* Device bytes of images, labels and order. */
uint64_t bd_feed_bytes(const bd_feed_shape *shape);

/* Decides how training and test set lie on the device, so that together they take at most `most` bytes (0: no limit)
 * and each respects the device's limits. Where not even two batches fit into `most` this is refused if it is `firm`;
 * else two batches it is, and the caller sees whether there is room for them. */
bd_status bd_feed_decide(const bd_limits *limits, uint64_t most, bool firm, const bd_dataset *dataset, int64_t context,
                         int64_t batch, bd_feed_shape *train, bd_feed_shape *test, bd_error *error);

typedef struct bd_feed bd_feed;

/* The store has the variables PREFIX/images and PREFIX/labels, or PREFIX/tokens, and PREFIX/order. A whole set is
 * uploaded here. `examples` must outlive the feed. */
bd_status bd_feed_create(bd_store *store, const char *prefix, const bd_feed_shape *shape, const bd_examples *examples,
                         bd_feed **feed, bd_error *error);
/* Waits until the device has taken everything it was given. */
void bd_feed_destroy(bd_feed **feed);
/* Row order[i] comes at position i; NULL: row i. Copied. The device must be idle. */
bd_status bd_feed_set_order(bd_feed *feed, const uint32_t *order, bd_error *error);
/* After the rows on the device were overwritten by others: they come back, before they are read again. */
bd_status bd_feed_restore(bd_feed *feed, bd_error *error);
/* Enqueues what the batches from `position` on need. *steps comes as the number wanted, and becomes how many may be
 * enqueued before the next call. */
bd_status bd_feed_prepare(bd_feed *feed, int64_t position, int64_t *steps, bd_error *error);

/* A permutation of 0 .. count - 1 by (seed, epoch): Fisher and Yates's shuffle with unbiased numbers from Philox. */
void bd_feed_shuffle(uint64_t seed, uint32_t epoch, uint32_t *order, int64_t count);
/* As many numbers of 0 .. choices - 1, each drawn by itself. */
void bd_feed_draw(uint64_t seed, uint32_t epoch, uint32_t *order, int64_t count, int64_t choices);

#endif
