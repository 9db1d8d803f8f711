/* libFuzzer: any bytes as an IDX file. */
#include <binade/data.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char path[64];
    int rank, descriptor = memfd_create("idx", 0);
    int64_t dim[4];
    uint8_t *data;
    if (descriptor < 0 || write(descriptor, bytes, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    if (bd_idx_read(path, &rank, dim, &data, NULL) == BD_OK)
        free(data);
    close(descriptor);
    return 0;
}
