/* A data set on its way to the device: see the header. */
#include "feed.h"

#include "philox.h"
#include "store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Half a ring need not be larger than this: 2.5 ms of a PCIe 4 link (25 GB/s), against some 10 us that a transfer
 * costs to begin. The host holds two of them. */
#define MOST_HALF_BYTES ((uint64_t)64 << 20)
/* A text's windows are small, and a step over them takes long: no more is needed to keep a device busy. */
#define MOST_TEXT_HALF_BYTES ((uint64_t)1 << 20)

/* ---- where the rows lie ---- */

uint64_t bd_feed_bytes(const bd_feed_shape *shape)
{
    return (uint64_t)bd_feed_rows(shape) * ((uint64_t)shape->row_bytes + shape->labelled) +
           (uint64_t)shape->count * sizeof(uint32_t);
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The largest variable that a kernel can read: limits of 0 are unknown; kernels index elements with 32 bits. */
static uint64_t largest_variable(const bd_limits *limits)
{
    uint64_t most = UINT32_MAX;
    if (limits->max_buffer_bytes)
        most = smaller(most, limits->max_buffer_bytes);
    if (limits->max_binding_bytes)
        most = smaller(most, limits->max_binding_bytes);
    return most;
}

/* Half a ring of as many batches as fit: images into `largest` for both halves, everything into `share`. */
static bd_status choose_half(bd_feed_shape *shape, uint64_t share, bool firm, uint64_t largest, const char *what,
                             bd_error *error)
{
    uint64_t order_bytes = (uint64_t)shape->count * sizeof(uint32_t),
             most = share > order_bytes ? share - order_bytes : 0;
    uint64_t batch_bytes = (uint64_t)shape->batch * ((uint64_t)shape->row_bytes + shape->labelled);
    if (!firm && most < 2 * batch_bytes)
        most = 2 * batch_bytes;
    most = smaller(most, largest);
    uint64_t batches = smaller(most / 2, MOST_HALF_BYTES) / batch_bytes;
    if (!shape->labelled && batches > 1)
        batches = batch_bytes < MOST_TEXT_HALF_BYTES ? smaller(batches, MOST_TEXT_HALF_BYTES / batch_bytes) : 1;
    if (batches < 1)
        return bd_fail(
            error, BD_ERROR_UNSUPPORTED,
            "the %s set has to be streamed, and two batches take %llu bytes where %llu may be used: a smaller batch "
            "would fit",
            what, (unsigned long long)(2 * batch_bytes), (unsigned long long)most);
    shape->half = (int64_t)batches * shape->batch;
    return BD_OK;
}

static bd_status decide(bd_feed_shape *shape, const bd_limits *limits, uint64_t share, bool firm, const char *what,
                        bd_error *error)
{
    uint64_t largest = largest_variable(limits), images;
    if ((uint64_t)shape->count > largest / sizeof(uint32_t))
        return bd_fail(error, BD_ERROR_UNSUPPORTED,
                       "the order of %lld examples is more than the device's largest "
                       "variable, %llu bytes",
                       (long long)shape->count, (unsigned long long)largest);
    bool fits = shape->labelled &&
                !__builtin_mul_overflow((uint64_t)shape->count, (uint64_t)shape->row_bytes, &images) &&
                images <= largest && bd_feed_bytes(shape) <= share;
    return fits || shape->count == 0 ? BD_OK : choose_half(shape, share, firm, largest, what, error);
}

/* Windows of training begin anywhere, those of a test one behind the other. */
static bd_feed_shape shape_of(const bd_dataset *dataset, int64_t count, int64_t context, int64_t batch, bool training)
{
    const int64_t image = dataset->height * dataset->width * dataset->channels;
    bd_feed_shape shape = { count, image, image, count, true, batch, 0 };
    if (dataset->tokens) {
        shape.labelled = false;
        shape.row_bytes = context + 1;
        shape.stride = training ? 1 : context;
        shape.choices = training ? dataset->train.count - context : count;
    }
    return shape;
}

bd_status bd_feed_decide(const bd_limits *limits, uint64_t most, bool firm, const bd_dataset *dataset, int64_t context,
                         int64_t batch, bd_feed_shape *train, bd_feed_shape *test, bd_error *error)
{
    *train = shape_of(dataset, bd_dataset_train_examples(dataset, context), context, batch, true);
    *test = shape_of(dataset, bd_dataset_test_examples(dataset, context), context, batch, false);
    /* Each takes its part of what may be used. */
    uint64_t train_share = UINT64_MAX, test_share = UINT64_MAX;
    if (most) {
        double part = (double)train->count / (double)(train->count + test->count);
        train_share = test->count ? (uint64_t)((double)most * part) : most;
        test_share = most - train_share;
        if (bd_feed_bytes(train) + bd_feed_bytes(test) <= most)
            train_share = test_share = most;
    }
    bd_status status = decide(train, limits, train_share, firm, "training", error);
    return status ? status : decide(test, limits, test_share, firm, "test", error);
}

/* ---- moving rows ---- */

/* The host's copy of one half, and the transfers that read it. */
typedef struct staging {
    uint8_t *images, *labels;
    bd_event *events[2];
} staging;

struct bd_feed {
    bd_store *store;
    bd_device *device;
    const bd_examples *examples;
    bd_feed_shape shape;
    char images[32], labels[32], order_name[32];
    uint32_t *order;
    staging halves[2];
    int64_t loaded; /* the half of this order that was enqueued last; -1: none */
};

static bd_status wait_for(bd_feed *feed, staging *half, bd_error *error)
{
    bd_status status = BD_OK;
    for (int i = 0; i < 2; i++) {
        if (!half->events[i])
            continue;
        bd_status waited = feed->device->backend->event_wait(feed->device, half->events[i], status ? NULL : error);
        if (!status)
            status = waited;
        feed->device->backend->event_destroy(feed->device, half->events[i]);
        half->events[i] = NULL;
    }
    return status;
}

static bd_status upload(bd_feed *feed, bd_error *error)
{
    const bd_feed_shape *shape = &feed->shape;
    bd_status status = bd_store_write(feed->store, feed->images, feed->examples->images,
                                      (uint64_t)shape->count * (uint64_t)shape->row_bytes, error);
    return status ? status
                  : bd_store_write(feed->store, feed->labels, feed->examples->labels, (uint64_t)shape->count, error);
}

/* Position i of the permutation lies in slot i of a ring, so its order never changes. */
static bd_status prepare_ring(bd_feed *feed, bd_error *error)
{
    const bd_feed_shape *shape = &feed->shape;
    for (int i = 0; i < 2; i++) {
        feed->halves[i].images = malloc((size_t)(shape->half * shape->row_bytes));
        feed->halves[i].labels = shape->labelled ? malloc((size_t)shape->half) : NULL;
        if (!feed->halves[i].images || (shape->labelled && !feed->halves[i].labels))
            return bd_fail(error, BD_ERROR_MEMORY, "no memory to stream the data set");
    }
    uint32_t *slots = malloc((size_t)shape->count * sizeof *slots);
    if (!slots)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory to stream the data set");
    for (int64_t i = 0; i < shape->count; i++)
        slots[i] = (uint32_t)(i % (2 * shape->half));
    bd_status status =
        bd_store_write(feed->store, feed->order_name, slots, (uint64_t)shape->count * sizeof *slots, error);
    free(slots);
    return status;
}

bd_status bd_feed_create(bd_store *store, const char *prefix, const bd_feed_shape *shape, const bd_examples *examples,
                         bd_feed **result, bd_error *error)
{
    *result = NULL;
    bd_feed *feed = calloc(1, sizeof *feed);
    if (!feed)
        return bd_fail(error, BD_ERROR_MEMORY, "out of memory");
    feed->store = store;
    feed->device = bd_store_device(store);
    feed->examples = examples;
    feed->shape = *shape;
    snprintf(feed->images, sizeof feed->images, "%s/%s", prefix, shape->labelled ? "images" : "tokens");
    snprintf(feed->labels, sizeof feed->labels, "%s/labels", prefix);
    snprintf(feed->order_name, sizeof feed->order_name, "%s/order", prefix);
    feed->order = malloc((size_t)shape->count * sizeof *feed->order);
    bd_status status = feed->order ? BD_OK : bd_fail(error, BD_ERROR_MEMORY, "no memory for a permutation");
    if (!status)
        status = shape->half ? prepare_ring(feed, error) : upload(feed, error);
    if (!status)
        status = bd_feed_set_order(feed, NULL, error);
    if (status)
        bd_feed_destroy(&feed);
    *result = feed;
    return status;
}

void bd_feed_destroy(bd_feed **pointer)
{
    bd_feed *feed = *pointer;
    if (!feed)
        return;
    for (int i = 0; i < 2; i++) {
        wait_for(feed, &feed->halves[i], NULL);
        free(feed->halves[i].images);
        free(feed->halves[i].labels);
    }
    free(feed->order);
    free(feed);
    *pointer = NULL;
}

bd_status bd_feed_set_order(bd_feed *feed, const uint32_t *order, bd_error *error)
{
    const int64_t count = feed->shape.count;
    if (order)
        memcpy(feed->order, order, (size_t)count * sizeof *order);
    for (int64_t i = 0; i < count && !order; i++)
        feed->order[i] = (uint32_t)i;
    feed->loaded = -1;
    if (feed->shape.half)
        return BD_OK;
    return bd_store_write(feed->store, feed->order_name, feed->order, (uint64_t)count * sizeof *feed->order, error);
}

bd_status bd_feed_restore(bd_feed *feed, bd_error *error)
{
    feed->loaded = -1;
    return feed->shape.half ? BD_OK : upload(feed, error);
}

/* Gathers a half's rows on the host and enqueues their transfer, behind the steps that read what lay there before. */
static bd_status load(bd_feed *feed, int64_t number, bd_error *error)
{
    const bd_feed_shape *shape = &feed->shape;
    const size_t row = (size_t)shape->row_bytes;
    staging *half = &feed->halves[number % 2];
    bd_status status = wait_for(feed, half, error);
    if (status)
        return status;
    int64_t begin = number * shape->half,
            rows = shape->count - begin < shape->half ? shape->count - begin : shape->half;
    for (int64_t i = 0; i < rows; i++) {
        size_t from = feed->order[begin + i];
        memcpy(half->images + (size_t)i * row, feed->examples->images + from * (size_t)shape->stride, row);
        if (shape->labelled)
            half->labels[i] = feed->examples->labels[from];
    }
    uint64_t slot = (uint64_t)(number % 2 * shape->half);
    status = bd_store_write_part(feed->store, feed->images, slot * row, half->images, (uint64_t)rows * row,
                                 &half->events[0], error);
    return status || !shape->labelled ? status
                                      : bd_store_write_part(feed->store, feed->labels, slot, half->labels,
                                                            (uint64_t)rows, &half->events[1], error);
}

bd_status bd_feed_prepare(bd_feed *feed, int64_t position, int64_t *steps, bd_error *error)
{
    const bd_feed_shape *shape = &feed->shape;
    if (!shape->half)
        return BD_OK;
    int64_t number = position / shape->half, left = ((number + 1) * shape->half - position) / shape->batch;
    if (left < *steps)
        *steps = left;
    if (feed->loaded == number)
        return BD_OK;
    feed->loaded = number;
    return load(feed, number, error);
}

/* ---- the order ---- */

/* Tells these numbers from a graph's RANDOM nodes and from initial values of the same seed. */
#define SHUFFLE_DOMAIN UINT32_C(0x73687566)

typedef struct number_stream {
    uint32_t key[2], counter[4], words[4];
    int left;
} number_stream;

static uint32_t next_word(number_stream *stream)
{
    if (stream->left == 0) {
        bd_philox(stream->key, stream->counter, stream->words);
        if (++stream->counter[0] == 0)
            stream->counter[1]++;
        stream->left = 4;
    }
    return stream->words[--stream->left];
}

/* Uniform in [0, range): Lemire, "Fast random integer generation in an interval", arXiv:1805.10941. */
static uint32_t next_below(number_stream *stream, uint32_t range)
{
    uint64_t product = (uint64_t)next_word(stream) * range;
    if ((uint32_t)product < range) {
        uint32_t threshold = -range % range;
        while ((uint32_t)product < threshold)
            product = (uint64_t)next_word(stream) * range;
    }
    return (uint32_t)(product >> 32);
}

static number_stream begin_stream(uint64_t seed, uint32_t epoch)
{
    return (number_stream){ .key = { (uint32_t)seed, (uint32_t)(seed >> 32) },
                            .counter = { 0, 0, epoch, SHUFFLE_DOMAIN } };
}

void bd_feed_draw(uint64_t seed, uint32_t epoch, uint32_t *order, int64_t count, int64_t choices)
{
    number_stream stream = begin_stream(seed, epoch);
    for (int64_t i = 0; i < count; i++)
        order[i] = next_below(&stream, (uint32_t)choices);
}

void bd_feed_shuffle(uint64_t seed, uint32_t epoch, uint32_t *order, int64_t count)
{
    number_stream stream = begin_stream(seed, epoch);
    for (int64_t i = 0; i < count; i++)
        order[i] = (uint32_t)i;
    for (int64_t i = count - 1; i > 0; i--) {
        uint32_t j = next_below(&stream, (uint32_t)i + 1), swapped = order[i];
        order[i] = order[j];
        order[j] = swapped;
    }
}
