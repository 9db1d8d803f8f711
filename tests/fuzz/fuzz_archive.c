/* libFuzzer: any bytes as an archive that holds a data set. */
#include <binade/data.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char path[64];
    bd_dataset *dataset;
    int descriptor = memfd_create("archive", 0);
    if (descriptor < 0 || write(descriptor, bytes, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    if (bd_dataset_load(&(bd_dataset_params){ .name = path, .threads = 1, .cache = "" }, &dataset, NULL) == BD_OK)
        bd_dataset_close(&dataset);
    close(descriptor);
    return 0;
}
