/* JPEG and PNG images to bytes. */
#ifndef BINADE_ENGINE_IMAGE_H
#define BINADE_ENGINE_IMAGE_H

#include <binade/status.h>
#include <stddef.h>
#include <stdint.h>

typedef struct bd_image_shape {
    int64_t height, width, channels; /* channels: 1 grey, 3 red green blue */
} bd_image_shape;

/* What the file's header says. `name` goes into messages. CMYK, and sides beyond 4096, are refused. */
bd_status bd_image_inspect(const char *name, const uint8_t *data, size_t size, bd_image_shape *shape, bd_error *error);
/* Decodes to `pixels`, HWC bytes of this shape, whose sides must be the image's. Grey becomes colour by repeating it
 * where 3 channels are wanted; 16-bit samples are rounded to 8, an alpha channel is dropped, a palette is looked up;
 * gamma and colour profiles are left alone. What libjpeg warns of (a truncated file) is an error. */
bd_status bd_image_decode(const char *name, const uint8_t *data, size_t size, const bd_image_shape *shape,
                          uint8_t *pixels, bd_error *error);

#endif
