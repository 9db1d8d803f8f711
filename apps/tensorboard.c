#include "tensorboard.h"
#include "app.h"
#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A message that is being encoded. The largest holds a dozen scalars of 50 bytes. */
typedef struct message {
    unsigned char bytes[1024];
    size_t size;
} message;

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 }; /* wire types */

/* ---- protocol buffers ---- */

static void put(message *m, const void *bytes, size_t size)
{
    assert(size <= sizeof(m->bytes) - m->size); /* what is put comes from constants below */
    memcpy(m->bytes + m->size, bytes, size);
    m->size += size;
}

static void put_varint(message *m, uint64_t value)
{
    do {
        unsigned char byte = (unsigned char)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        put(m, &byte, 1);
        value >>= 7;
    } while (value);
}

static void put_little(message *m, uint64_t value, int size)
{
    for (int i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)(value >> 8 * i);
        put(m, &byte, 1);
    }
}

static void put_key(message *m, unsigned field, unsigned type)
{
    put_varint(m, field << 3 | type);
}

static void put_bytes(message *m, unsigned field, const void *bytes, size_t size)
{
    put_key(m, field, BYTES);
    put_varint(m, size);
    put(m, bytes, size);
}

/* Event { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5; } */
static message begin_event(int64_t step)
{
    message event = { .size = 0 };
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    double seconds = (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
    uint64_t bits;
    memcpy(&bits, &seconds, sizeof(bits));
    put_key(&event, 1, FIXED64);
    put_little(&event, bits, 8);
    put_key(&event, 2, VARINT);
    put_varint(&event, (uint64_t)step);
    return event;
}

/* Summary { repeated Value value = 1; }, Value { string tag = 1; float simple_value = 2; }. Unknown values are left
 * out. */
static void put_scalar(message *summary, const char *tag, double value)
{
    if (isnan(value))
        return;
    message scalar = { .size = 0 };
    float single = (float)value;
    uint32_t bits;
    memcpy(&bits, &single, sizeof(bits));
    put_bytes(&scalar, 1, tag, strlen(tag));
    put_key(&scalar, 2, FIXED32);
    put_little(&scalar, bits, 4);
    put_bytes(summary, 1, scalar.bytes, scalar.size);
}

/* ---- records ---- */

/* CRC-32C (Castagnoli), bit by bit: a few hundred bytes an event. Masked as TensorFlow does. */
static uint32_t masked_crc(const unsigned char *bytes, size_t size)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static bd_status write_record(tensorboard *board, const message *event, bd_error *error)
{
    message head = { .size = 0 }, tail = { .size = 0 };
    put_little(&head, event->size, 8);
    put_little(&head, masked_crc(head.bytes, 8), 4);
    put_little(&tail, masked_crc(event->bytes, event->size), 4);
    const message *const parts[] = { &head, event, &tail };
    for (int i = 0; i < 3; i++)
        fwrite(parts[i]->bytes, 1, parts[i]->size, board->file);
    return fflush(board->file) || ferror(board->file)
               ? bd_fail(error, BD_ERROR_FILE, "%s: cannot write: %s", board->path, strerror(errno))
               : BD_OK;
}

/* ---- the board ---- */

bd_status tensorboard_open(tensorboard *board, const char *folder, bd_error *error)
{
    char host[256] = "localhost";
    if (gethostname(host, sizeof(host)) || memchr(host, '/', sizeof(host)))
        strcpy(host, "localhost");
    host[sizeof(host) - 1] = '\0';
    board->path = app_format("%s/events.out.tfevents.%lld.%s.%ld", folder, (long long)time(NULL), host, (long)getpid());
    if (!board->path)
        return bd_fail(error, BD_ERROR_MEMORY, "%s: no memory for a path", folder);
    board->file = fopen(board->path, "wbe");
    if (!board->file)
        return bd_fail(error, BD_ERROR_FILE, "%s: cannot write: %s", board->path, strerror(errno));
    static const char version[] = "brain.Event:2";
    message event = begin_event(0);
    put_bytes(&event, 3, version, sizeof(version) - 1);
    return write_record(board, &event, error);
}

/* The largest message's tag has a layer's name of so many bytes. */
enum { MOST_OF_A_NAME = 64 };

static void put_measure(message *summary, const char *measure, const bd_measurement *m, double value)
{
    char tag[160];
    snprintf(tag, sizeof tag, "%s/%s/%.*s", measure, bd_measured_name(m->what), MOST_OF_A_NAME, m->layer);
    if (isfinite(value))
        put_scalar(summary, tag, value);
}

static bd_status write_measurement(tensorboard *board, int64_t step, const bd_measurement *m, bd_error *error)
{
    message summary = { .size = 0 }, event = begin_event(step);
    put_measure(&summary, "underflow", m, m->underflow);
    put_measure(&summary, "overflow", m, m->overflow);
    put_measure(&summary, "sqnr", m, m->sqnr);
    put_measure(&summary, "largest", m, m->largest);
    put_measure(&summary, "norm", m, m->norm);
    put_bytes(&event, 5, summary.bytes, summary.size);
    return write_record(board, &event, error);
}

bd_status tensorboard_write(tensorboard *board, const bd_train_event *e, bd_error *error)
{
    if (!board->file || e->kind == BD_TRAIN_START || e->kind == BD_TRAIN_DONE) /* the last epoch's event has it all */
        return BD_OK;
    bd_status status = BD_OK;
    for (size_t i = 0; i < e->measurement_count && !status; i++)
        status = write_measurement(board, e->step, &e->measurements[i], error);
    if (e->kind == BD_TRAIN_MEASURED)
        return status;
    message summary = { .size = 0 };
    if (e->kind == BD_TRAIN_PROGRESS) {
        put_scalar(&summary, "loss/train", e->train_loss);
        put_scalar(&summary, "accuracy/train", e->train_accuracy);
        put_scalar(&summary, "speed/images_per_second", e->images_per_second);
        if (isfinite(e->tokens_per_second))
            put_scalar(&summary, "speed/tokens_per_second", e->tokens_per_second);
        put_scalar(&summary, "learning_rate", e->rate);
        put_scalar(&summary, "loss_scale", e->loss_scale);
        put_scalar(&summary, "overflows", (double)e->overflows);
    } else {
        put_scalar(&summary, "loss/test", e->test_loss);
        put_scalar(&summary, "accuracy/test", e->test_accuracy);
    }
    message event = begin_event(e->step);
    put_bytes(&event, 5, summary.bytes, summary.size);
    return write_record(board, &event, error);
}

void tensorboard_close(tensorboard *board)
{
    if (board->file)
        (void)fclose(board->file); /* every write was flushed and checked */
    free(board->path);
    *board = (tensorboard){ 0 };
}
