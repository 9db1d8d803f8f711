/* libFuzzer: IDX files in gzip. Half of the changes are made to what is packed, which no change of the packed bytes
 * would reach: its checksum is at the end. */
#include "fuzz_idx.c"

#include <string.h>
#include <zlib.h>

enum { MOST_CONTENT = 4096 };

static size_t unpack(const uint8_t *bytes, size_t size, uint8_t *content)
{
    z_stream stream = {
        .next_in = (uint8_t *)bytes, .avail_in = (unsigned)size, .next_out = content, .avail_out = MOST_CONTENT
    };
    if (inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK)
        return 0;
    inflate(&stream, Z_FINISH); /* what can be had of it */
    inflateEnd(&stream);
    return stream.total_out;
}

static size_t pack(uint8_t *content, size_t size, uint8_t *bytes, size_t most)
{
    z_stream stream = {
        .next_in = content, .avail_in = (unsigned)size, .next_out = bytes, .avail_out = (unsigned)most
    };
    if (deflateInit2(&stream, 1, Z_DEFLATED, 16 + 9, 1, Z_DEFAULT_STRATEGY) != Z_OK)
        return 0;
    int code = deflate(&stream, Z_FINISH);
    deflateEnd(&stream);
    return code == Z_STREAM_END ? stream.total_out : 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t most, unsigned seed)
{
    uint8_t content[MOST_CONTENT];
    if (seed % 2 == 0)
        return LLVMFuzzerMutate(bytes, size, most);
    size_t packed = pack(content, LLVMFuzzerMutate(content, unpack(bytes, size, content), MOST_CONTENT), bytes, most);
    return packed ? packed : size;
}
