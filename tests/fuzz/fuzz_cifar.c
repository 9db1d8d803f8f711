/* libFuzzer: any bytes as a CIFAR file; the first tells which of the two. */
#include "engine/dataset.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size == 0)
        return 0;
    const int coarse = bytes[0] & 1;
    bd_examples examples = { 0 };
    for (int times = 0; times < 2; times++) /* into nothing, and behind something */
        (void)bd_cifar_append("fuzz", bytes + 1, size - 1, coarse, coarse ? 100 : 10, &examples, NULL);
    for (int64_t i = 0; i < examples.count; i++)
        if (examples.labels[i] >= 100)
            abort();
    free(examples.images);
    free(examples.labels);
    return 0;
}
