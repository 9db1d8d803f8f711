/* Image files and archives for tests, made by the libraries that the engine reads them with. */
#ifndef BINADE_TESTS_IMAGE_FILES_H
#define BINADE_TESTS_IMAGE_FILES_H

#include <stddef.h>
#include <stdint.h>

/* A file in memory; the caller frees data. */
typedef struct image_file {
    uint8_t *data;
    size_t size;
} image_file;

/* Samples of 8 or 16 bits (big-endian), row by row; `colour` is a PNG_COLOR_TYPE_*. A palette's entry i is (i, 2i,
 * 3i). */
image_file image_png(int width, int height, int colour, int depth, int interlaced, const uint8_t *samples);
/* Of quality 100; 1, 3 or 4 (CMYK) channels. */
image_file image_jpeg(int width, int height, int channels, const uint8_t *samples);

/* Packs the folder's content: `filter` is an ARCHIVE_FILTER_*, `format` an ARCHIVE_FORMAT_*. */
void archive_folder(const char *folder, const char *archive, int format, int filter);
/* An archive (plain tar) of one member of this name; a link to `target` if that is not NULL. */
void archive_one(const char *archive, const char *member, const char *target, const void *data, size_t size);

#endif
