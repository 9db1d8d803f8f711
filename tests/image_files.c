#include "image_files.h"

#include <archive.h>
#include <archive_entry.h>
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <png.h>

static void png_grow(png_structp png, png_bytep bytes, size_t count)
{
    image_file *file = png_get_io_ptr(png);
    file->data = realloc(file->data, file->size + count);
    ck_assert_ptr_nonnull(file->data);
    memcpy(file->data + file->size, bytes, count);
    file->size += count;
}

image_file image_png(int width, int height, int colour, int depth, int interlaced, const uint8_t *samples)
{
    image_file file = { 0 };
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_set_write_fn(png, &file, png_grow, NULL);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, depth, colour,
                 interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    if (colour == PNG_COLOR_TYPE_PALETTE) {
        png_color palette[64];
        for (int i = 0; i < 64; i++)
            palette[i] = (png_color){ (png_byte)i, (png_byte)(2 * i), (png_byte)(3 * i) };
        png_set_PLTE(png, info, palette, 64);
    }
    png_write_info(png, info);
    size_t row_bytes = png_get_rowbytes(png, info);
    png_bytep *rows = malloc((size_t)height * sizeof *rows);
    for (int i = 0; i < height; i++)
        rows[i] = (png_bytep)samples + (size_t)i * row_bytes;
    png_write_image(png, rows);
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    free(rows);
    return file;
}

image_file image_jpeg(int width, int height, int channels, const uint8_t *samples)
{
    struct jpeg_compress_struct encoder;
    struct jpeg_error_mgr errors;
    unsigned char *data = NULL;
    unsigned long size = 0;
    encoder.err = jpeg_std_error(&errors);
    jpeg_create_compress(&encoder);
    jpeg_mem_dest(&encoder, &data, &size);
    encoder.image_width = (JDIMENSION)width;
    encoder.image_height = (JDIMENSION)height;
    encoder.input_components = channels;
    encoder.in_color_space = channels == 1 ? JCS_GRAYSCALE : channels == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_set_defaults(&encoder);
    jpeg_set_quality(&encoder, 100, TRUE);
    jpeg_start_compress(&encoder, TRUE);
    while (encoder.next_scanline < encoder.image_height) {
        JSAMPROW row = (JSAMPROW)samples + (size_t)encoder.next_scanline * (size_t)(width * channels);
        jpeg_write_scanlines(&encoder, &row, 1);
    }
    jpeg_finish_compress(&encoder);
    jpeg_destroy_compress(&encoder);
    return (image_file){ data, size };
}

static struct archive *begin(const char *path, int format, int filter)
{
    struct archive *to = archive_write_new();
    ck_assert_int_eq(archive_write_set_format(to, format), ARCHIVE_OK);
    ck_assert_int_ge(archive_write_add_filter(to, filter), ARCHIVE_WARN);
    ck_assert_msg(archive_write_open_filename(to, path) == ARCHIVE_OK, "%s", archive_error_string(to));
    return to;
}

static void end(struct archive *to)
{
    ck_assert_int_eq(archive_write_close(to), ARCHIVE_OK);
    archive_write_free(to);
}

void archive_folder(const char *folder, const char *archive, int format, int filter)
{
    struct archive *to = begin(archive, format, filter), *disk = archive_read_disk_new();
    struct archive_entry *entry = archive_entry_new();
    size_t skip = strlen(folder) + 1;
    ck_assert_int_eq(archive_read_disk_open(disk, folder), ARCHIVE_OK);
    while (archive_read_next_header2(disk, entry) == ARCHIVE_OK) {
        archive_read_disk_descend(disk);
        const char *path = archive_entry_pathname(entry);
        if (strlen(path) <= skip)
            continue;
        char name[512];
        snprintf(name, sizeof name, "./%s", path + skip);
        FILE *file = archive_entry_filetype(entry) == AE_IFREG ? fopen(path, "rb") : NULL;
        archive_entry_set_pathname(entry, name);
        ck_assert_msg(archive_write_header(to, entry) == ARCHIVE_OK, "%s", archive_error_string(to));
        char bytes[4096];
        for (size_t got; file && (got = fread(bytes, 1, sizeof bytes, file)) > 0;)
            ck_assert_int_eq(archive_write_data(to, bytes, got), (int)got);
        if (file)
            fclose(file);
    }
    archive_entry_free(entry);
    archive_read_free(disk);
    end(to);
}

void archive_one(const char *archive, const char *member, const char *target, const void *data, size_t size)
{
    struct archive *to = begin(archive, ARCHIVE_FORMAT_TAR_USTAR, ARCHIVE_FILTER_NONE);
    struct archive_entry *entry = archive_entry_new();
    archive_entry_set_pathname(entry, member);
    archive_entry_set_filetype(entry, target ? AE_IFLNK : AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    if (target)
        archive_entry_set_symlink(entry, target);
    archive_entry_set_size(entry, target ? 0 : (int64_t)size);
    ck_assert_int_eq(archive_write_header(to, entry), ARCHIVE_OK);
    if (!target)
        ck_assert_int_eq(archive_write_data(to, data, size), (int)size);
    archive_entry_free(entry);
    end(to);
}
