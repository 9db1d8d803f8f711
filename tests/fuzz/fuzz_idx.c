/* libFuzzer: any bytes as an IDX file. */
#include "fuzz.h"

#include <binade/data.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    int rank;
    int64_t dim[4];
    uint8_t *data;
    volatile uint8_t sink = 0;
    if (bd_idx_read(fuzz_file(bytes, size), &rank, dim, &data, NULL) != BD_OK)
        return 0;
    int64_t total = 1;
    for (int i = 0; i < rank; i++)
        total *= dim[i];
    for (int64_t i = 0; i < total; i++)
        sink ^= data[i];
    free(data);
    return 0;
}
