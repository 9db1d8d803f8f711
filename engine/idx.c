/* IDX files of unsigned bytes (LeCun's MNIST format), plain or gzipped: zlib reads both alike.
 * Layout: 0 0 TYPE RANK, RANK big-endian 32-bit dimensions, then the elements, row major. */
#include <binade/data.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum {
    IDX_UNSIGNED_BYTE = 0x08,
    IDX_MAX_RANK = 4,
};

/* What is allocated before any element was seen. The rest grows with what the file really holds, so that neither a
 * short file with a boastful header nor a gz bomb takes memory. The fuzzers make it small, so that their files grow. */
#ifndef FIRST_ALLOCATION
#define FIRST_ALLOCATION (1 << 20)
#endif

typedef struct idx_reader {
    const char *path;
    gzFile file;
    bd_error *error;
} idx_reader;

/* Reads up to `size` bytes; *got is less only at the end of the file. */
static bd_status read_bytes(const idx_reader *reader, void *data, size_t size, size_t *got)
{
    *got = 0;
    while (*got < size) {
        size_t wanted = size - *got < FIRST_ALLOCATION ? size - *got : FIRST_ALLOCATION;
        int read = gzread(reader->file, (char *)data + *got, (unsigned)wanted);
        if (read > 0) {
            *got += (size_t)read;
            continue;
        }
        int code = Z_OK;
        const char *reason = gzerror(reader->file, &code);
        if (code == Z_ERRNO)
            return bd_fail(reader->error, BD_ERROR_FILE, "%s: %s", reader->path, strerror(errno));
        if (code == Z_MEM_ERROR)
            return bd_fail(reader->error, BD_ERROR_MEMORY, "%s: out of memory", reader->path);
        if (code == Z_BUF_ERROR)
            return bd_fail(reader->error, BD_ERROR_DATA, "%s: truncated: the gzip stream breaks off", reader->path);
        if (code != Z_OK && code != Z_STREAM_END)
            return bd_fail(reader->error, BD_ERROR_DATA, "%s: damaged gzip stream: %s", reader->path, reason);
        break;
    }
    return BD_OK;
}

static bd_status read_header(const idx_reader *reader, int *rank, int64_t dim[4], size_t *total)
{
    unsigned char header[4 + 4 * IDX_MAX_RANK];
    size_t got;
    bd_status status = read_bytes(reader, header, 4, &got);
    if (status)
        return status;
    if (got < 4)
        return bd_fail(reader->error, BD_ERROR_DATA, "%s: truncated: %zu bytes, an IDX file begins with 4",
                       reader->path, got);
    if (header[0] || header[1] || header[2] != IDX_UNSIGNED_BYTE || header[3] < 1 || header[3] > IDX_MAX_RANK)
        return bd_fail(reader->error, BD_ERROR_DATA,
                       "%s: magic number %02x%02x%02x%02x, wanted 00000801 to 0000080%d (IDX, unsigned bytes)",
                       reader->path, header[0], header[1], header[2], header[3], IDX_MAX_RANK);
    *rank = header[3];
    size_t size = 4 * (size_t)*rank;
    if ((status = read_bytes(reader, header, size, &got)))
        return status;
    if (got < size)
        return bd_fail(reader->error, BD_ERROR_DATA, "%s: truncated: the header ends before its %d dimensions",
                       reader->path, *rank);
    *total = 1;
    for (int i = 0; i < *rank; i++) {
        const unsigned char *bytes = header + 4 * i;
        uint32_t length = (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
        dim[i] = length;
        if (__builtin_mul_overflow(*total, (size_t)length, total) || *total > PTRDIFF_MAX)
            return bd_fail(reader->error, BD_ERROR_DATA, "%s: dimensions too large: their product overflows",
                           reader->path);
    }
    return BD_OK;
}

/* Reads exactly `total` bytes and checks that nothing follows. */
static bd_status read_elements(const idx_reader *reader, size_t total, uint8_t **data)
{
    uint8_t *bytes = NULL;
    size_t capacity = 0, have = 0;
    do {
        size_t left = total - capacity;
        size_t growth = capacity ? capacity : FIRST_ALLOCATION;
        capacity += left < growth ? left : growth;
        uint8_t *grown = realloc(bytes, capacity ? capacity : 1);
        if (!grown) {
            free(bytes);
            return bd_fail(reader->error, BD_ERROR_MEMORY, "%s: no memory for %zu bytes", reader->path, capacity);
        }
        bytes = grown;
        size_t got;
        bd_status status = read_bytes(reader, bytes + have, capacity - have, &got);
        have += got;
        if (!status && have < capacity)
            status = bd_fail(reader->error, BD_ERROR_DATA, "%s: truncated: %zu bytes of data, the header says %zu",
                             reader->path, have, total);
        if (status) {
            free(bytes);
            return status;
        }
    } while (have < total);

    /* Also makes zlib verify the checksum at the end of a gzip stream. */
    uint8_t extra;
    size_t got;
    bd_status status = read_bytes(reader, &extra, 1, &got);
    if (!status && got)
        status = bd_fail(reader->error, BD_ERROR_DATA, "%s: longer than the %zu bytes of data that its header says",
                         reader->path, total);
    if (status) {
        free(bytes);
        return status;
    }
    *data = bytes;
    return BD_OK;
}

bd_status bd_idx_read(const char *path, int *rank, int64_t dim[4], uint8_t **data, bd_error *error)
{
    errno = 0;
    idx_reader reader = { path, gzopen(path, "rb"), error };
    if (!reader.file) {
        if (errno)
            return bd_fail(error, BD_ERROR_FILE, "%s: %s", path, strerror(errno));
        return bd_fail(error, BD_ERROR_MEMORY, "%s: out of memory", path);
    }
    size_t total = 0;
    bd_status status = read_header(&reader, rank, dim, &total);
    if (!status)
        status = read_elements(&reader, total, data);
    gzclose_r(reader.file);
    return status;
}
