/* JPEG by libjpeg-turbo, PNG by libpng: see the header. Both report errors by a jump, so that what they allocate is
 * freed in one place each. */
#include "image.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>
#include <png.h>

/* Training on larger images is not what a data set in memory is for; and a header that lies costs no more than this. */
enum { MOST_SIDE = 4096 };

static bd_status check_sides(const char *name, const bd_image_shape *shape, bd_error *error)
{
    if (shape->height < 1 || shape->width < 1 || shape->height > MOST_SIDE || shape->width > MOST_SIDE)
        return bd_fail(error, BD_ERROR_DATA, "%s: an image of %lldx%lld; sides from 1 to %d are read", name,
                       (long long)shape->width, (long long)shape->height, MOST_SIDE);
    return BD_OK;
}

/* ---- JPEG ---- */

typedef struct jpeg_reader {
    struct jpeg_decompress_struct decoder;
    struct jpeg_error_mgr errors;
    jmp_buf failed;
    char reason[JMSG_LENGTH_MAX];
} jpeg_reader;

static void jpeg_failed(j_common_ptr decoder)
{
    jpeg_reader *reader = decoder->client_data;
    decoder->err->format_message(decoder, reader->reason);
    longjmp(reader->failed, 1);
}

/* Level -1 is a warning: damaged data, which libjpeg would fill with grey. */
static void jpeg_message(j_common_ptr decoder, int level)
{
    if (level < 0)
        jpeg_failed(decoder);
}

/* `pixels` NULL: the header only, into *shape. */
static bd_status read_jpeg(const char *name, const uint8_t *data, size_t size, bd_image_shape *shape, uint8_t *pixels,
                           bd_error *error)
{
    jpeg_reader reader = { .reason = "" };
    struct jpeg_decompress_struct *decoder = &reader.decoder;
    decoder->err = jpeg_std_error(&reader.errors);
    reader.errors.error_exit = jpeg_failed;
    reader.errors.emit_message = jpeg_message;
    decoder->client_data = &reader;
    if (setjmp(reader.failed)) {
        jpeg_destroy_decompress(decoder);
        return bd_fail(error, BD_ERROR_DATA, "%s: damaged JPEG: %s", name, reader.reason);
    }
    jpeg_create_decompress(decoder);
    jpeg_mem_src(decoder, data, (unsigned long)size);
    jpeg_read_header(decoder, TRUE);
    bd_status status = BD_OK;
    if (decoder->num_components != 1 && decoder->num_components != 3)
        status = bd_fail(error, BD_ERROR_DATA, "%s: a JPEG of %d channels (CMYK); grey and RGB are read", name,
                         decoder->num_components);
    if (!status && !pixels) {
        *shape = (bd_image_shape){ decoder->image_height, decoder->image_width, decoder->num_components };
        status = check_sides(name, shape, error);
    }
    if (!status && pixels) {
        decoder->out_color_space = shape->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
        jpeg_start_decompress(decoder);
        while (decoder->output_scanline < decoder->output_height) {
            JSAMPROW row = pixels + (size_t)decoder->output_scanline * (size_t)(shape->width * shape->channels);
            jpeg_read_scanlines(decoder, &row, 1);
        }
        jpeg_finish_decompress(decoder);
    }
    jpeg_destroy_decompress(decoder);
    return status;
}

/* ---- PNG ---- */

typedef struct png_source {
    const uint8_t *data;
    size_t left;
    char reason[120];
} png_source;

static void png_failed(png_structp png, png_const_charp message)
{
    png_source *source = png_get_error_ptr(png);
    snprintf(source->reason, sizeof source->reason, "%s", message);
    png_longjmp(png, 1);
}

static void png_warned(png_structp png, png_const_charp message)
{
    (void)png, (void)message; /* about chunks that do not matter here */
}

static void png_take(png_structp png, png_bytep bytes, size_t count)
{
    png_source *source = png_get_io_ptr(png);
    if (count > source->left)
        png_error(png, "truncated");
    memcpy(bytes, source->data, count);
    source->data += count;
    source->left -= count;
}

/* Everything to 8-bit grey or RGB, as many channels as wanted. */
static void png_convert(png_structp png, png_infop info, int64_t channels)
{
    png_set_expand(png); /* palettes, 1 to 4 bits, transparency */
    png_set_scale_16(png);
    png_set_strip_alpha(png);
    if (channels == 3 && !(png_get_color_type(png, info) & PNG_COLOR_MASK_COLOR))
        png_set_gray_to_rgb(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
}

static bd_status read_png(const char *name, const uint8_t *data, size_t size, bd_image_shape *shape, uint8_t *pixels,
                          bd_error *error)
{
    png_source source = { data, size, "" };
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &source, png_failed, png_warned);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    if (!info) {
        png_destroy_read_struct(&png, NULL, NULL);
        return bd_fail(error, BD_ERROR_MEMORY, "%s: out of memory", name);
    }
    png_bytep rows[MOST_SIDE];
    if (setjmp(png_jmpbuf(png))) {
        png_destroy_read_struct(&png, &info, NULL);
        return bd_fail(error, BD_ERROR_DATA, "%s: damaged PNG: %s", name, source.reason);
    }
    png_set_user_limits(png, MOST_SIDE, MOST_SIDE);
    png_set_read_fn(png, &source, png_take);
    png_read_info(png, info);
    bd_status status = BD_OK;
    if (!pixels) {
        *shape = (bd_image_shape){ png_get_image_height(png, info), png_get_image_width(png, info),
                                   png_get_color_type(png, info) & PNG_COLOR_MASK_COLOR ? 3 : 1 };
        status = check_sides(name, shape, error);
    } else {
        png_convert(png, info, shape->channels);
        if (png_get_rowbytes(png, info) != (size_t)(shape->width * shape->channels))
            png_error(png, "rows of another length than the header says");
        for (int64_t row = 0; row < shape->height; row++)
            rows[row] = pixels + (size_t)(row * shape->width * shape->channels);
        png_read_image(png, rows);
        png_read_end(png, NULL);
    }
    png_destroy_read_struct(&png, &info, NULL);
    return status;
}

static bd_status read_image(const char *name, const uint8_t *data, size_t size, bd_image_shape *shape, uint8_t *pixels,
                            bd_error *error)
{
    if (size >= 3 && !memcmp(data, "\xff\xd8\xff", 3))
        return read_jpeg(name, data, size, shape, pixels, error);
    if (size >= 8 && !png_sig_cmp(data, 0, 8))
        return read_png(name, data, size, shape, pixels, error);
    return bd_fail(error, BD_ERROR_DATA, "%s: neither JPEG nor PNG (%zu bytes)", name, size);
}

bd_status bd_image_inspect(const char *name, const uint8_t *data, size_t size, bd_image_shape *shape, bd_error *error)
{
    return read_image(name, data, size, shape, NULL, error);
}

bd_status bd_image_decode(const char *name, const uint8_t *data, size_t size, const bd_image_shape *shape,
                          uint8_t *pixels, bd_error *error)
{
    bd_image_shape own, wanted = *shape;
    bd_status status = bd_image_inspect(name, data, size, &own, error);
    if (!status && (own.height != shape->height || own.width != shape->width || own.channels > shape->channels))
        status = bd_fail(error, BD_ERROR_DATA, "%s: %lldx%lldx%lld, wanted %lldx%lldx%lld (width, height, channels)",
                         name, (long long)own.width, (long long)own.height, (long long)own.channels,
                         (long long)shape->width, (long long)shape->height, (long long)shape->channels);
    return status ? status : read_image(name, data, size, &wanted, pixels, error);
}
