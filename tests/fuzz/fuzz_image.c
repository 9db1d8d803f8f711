/* libFuzzer: any bytes as a JPEG or PNG image, in its own channels and in colour. */
#include "engine/image.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    bd_image_shape shape;
    if (bd_image_inspect("fuzz", bytes, size, &shape, NULL) != BD_OK || shape.height * shape.width > 1 << 16)
        return 0;
    for (; shape.channels <= 3; shape.channels += 2) {
        uint8_t *pixels = malloc((size_t)(shape.height * shape.width * shape.channels));
        if (!pixels)
            abort();
        (void)bd_image_decode("fuzz", bytes, size, &shape, pixels, NULL);
        free(pixels);
    }
    return 0;
}
