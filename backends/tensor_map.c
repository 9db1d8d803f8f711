#include "tensor_map.h"

#include "../engine/embedded.h"
#include "../engine/text.h"

#include <string.h>

uint64_t bd_maps_bytes(const bd_program_desc *desc)
{
    uint64_t bytes = 0;
    for (int i = 0; i < desc->dispatch_count; i++)
        bytes += desc->dispatches[i].mapped ? BD_MAPS_BYTES : 0;
    return bytes;
}

void bd_map_values(const bd_dispatch *dispatch, int side, uint64_t first, uint64_t values[BD_MAP_VALUES])
{
    const bd_tensor_map *map = &dispatch->maps[side];
    uint64_t *next = values;
    *next++ = first;
    *next++ = (uint64_t)side;
    *next++ = dispatch->bindings[map->operand].offset;
    *next++ = map->rank;
    for (int i = 0; i < 4; i++)
        *next++ = map->size[i];
    for (int i = 0; i < 4; i++)
        *next++ = map->box[i];
    for (int i = 0; i < 3; i++)
        *next++ = map->stride[i];
}

/* ---- the probe ---- */

/* Rows of which the box has the last ones, and images of which it has parts of two, from a pixel outside on. */
enum { NUMBERS = 128, ROWS = 40, FIRST_NUMBER = 64, FIRST_ROW = 8 };
enum { CHANNELS = 64, COLUMNS = 8, IMAGE_ROWS = 6, IMAGES = 3, FIRST_X = -1, FIRST_Y = -2, FIRST_IMAGE = 1 };
enum {
    WIDTH = 8,
    HEIGHT = 4,
    COUNT = 2,
    BOX = BD_BOX_LINES * BD_BOX_NUMBERS,
    ELEMENTS = CHANNELS * COLUMNS * IMAGE_ROWS * IMAGES
};
_Static_assert(NUMBERS *ROWS <= ELEMENTS && WIDTH * HEIGHT * COUNT == BD_BOX_LINES,
               "both boxes are of the same memory");

/* Where number `n` of line `line` lies in shared memory, and what it should be. */
static int place(int line, int n)
{
    return line * BD_BOX_NUMBERS + ((n / 8) ^ (line & 7)) * 8 + n % 8;
}

static uint16_t row_number(const uint16_t *in, int line, int n)
{
    return FIRST_ROW + line < ROWS ? in[(FIRST_ROW + line) * NUMBERS + FIRST_NUMBER + n] : 0;
}

static uint16_t image_number(const uint16_t *in, int line, int n)
{
    const int x = FIRST_X + line % WIDTH, y = FIRST_Y + line / WIDTH % HEIGHT,
              image = FIRST_IMAGE + line / (WIDTH * HEIGHT);
    const bool inside = x >= 0 && x < COLUMNS && y >= 0 && y < IMAGE_ROWS && image < IMAGES;
    return inside ? in[((image * IMAGE_ROWS + y) * COLUMNS + x) * CHANNELS + n] : 0;
}

static bool are_right(const uint16_t *in, const uint16_t *out)
{
    bool right = true;
    for (int line = 0; line < BD_BOX_LINES; line++)
        for (int n = 0; n < BD_BOX_NUMBERS; n++)
            right &= out[place(line, n)] == row_number(in, line, n) &&
                     out[BOX + place(line, n)] == image_number(in, line, n);
    return right;
}

static bd_status run(bd_device *device, const char *source, const uint16_t *in, uint16_t *out, bd_error *error)
{
    const bd_backend *backend = device->backend;
    const uint64_t sizes[] = { ELEMENTS * sizeof *in, 2 * BOX * sizeof *out };
    bd_kernel kernel = {
        .name = "probe", .local = { 128, 1, 1 }, .groups = { 1, 1, 1 }, .tile = { .kind = BD_TILE_WARPGROUP }
    };
    bd_binding bindings[2] = { { .size = sizes[0], .format = BD_F16 },
                               { .size = sizes[1], .format = BD_F16, .written = true } };
    const bd_dispatch dispatch = {
        .kernel = &kernel,
        .source = source,
        .bindings = bindings,
        .binding_count = 2,
        .mapped = true,
        .maps = { { .rank = 2,
                    .size = { NUMBERS, ROWS, 1, 1 },
                    .box = { BD_BOX_NUMBERS, BD_BOX_LINES, 1, 1 },
                    .stride = { 2 * NUMBERS } },
                  { .rank = 4,
                    .size = { CHANNELS, COLUMNS, IMAGE_ROWS, IMAGES },
                    .box = { BD_BOX_NUMBERS, WIDTH, HEIGHT, COUNT },
                    .stride = { 2 * CHANNELS, 2 * CHANNELS * COLUMNS, 2 * CHANNELS * COLUMNS * IMAGE_ROWS } } },
    };
    const bd_program_desc desc = { .dispatches = &dispatch, .dispatch_count = 1 };
    bd_backend_program *program = NULL;
    bd_status status = BD_OK;
    for (int i = 0; i < 2 && status == BD_OK; i++)
        status = backend->buffer_create(device, sizes[i], &bindings[i].buffer, error);
    if (status == BD_OK)
        status = backend->buffer_write(device, bindings[0].buffer, 0, in, sizes[0], NULL, error);
    if (status == BD_OK)
        status = backend->program_create(device, &desc, &program, error);
    if (status == BD_OK)
        status = backend->program_run(device, program, 1, error);
    if (status == BD_OK)
        status = backend->buffer_read(device, bindings[1].buffer, 0, out, sizes[1], NULL, error);
    if (program)
        backend->program_destroy(device, program);
    for (int i = 0; i < 2; i++)
        if (bindings[i].buffer)
            backend->buffer_destroy(device, bindings[i].buffer);
    return status;
}

bool bd_probe_tensor_maps(bd_device *device)
{
    uint16_t in[ELEMENTS], out[2 * BOX];
    bd_text source = { 0 };
    bd_error refusal;
    for (int i = 0; i < ELEMENTS; i++)
        in[i] = (uint16_t)(i * 40503u >> 3 | 1); /* no two neighbours alike, no 0 */
    memset(out, 0xff, sizeof out);
    bd_text_append(&source,
                   "#define FIRST_NUMBER %d\n#define FIRST_ROW %d\n#define FIRST_X %d\n#define FIRST_Y %d\n#define "
                   "FIRST_IMAGE %d\n%s",
                   FIRST_NUMBER, FIRST_ROW, FIRST_X, FIRST_Y, FIRST_IMAGE, bd_embedded_text("cl/probe_tensor_map.cl"));
    const bool right = !source.failed && run(device, source.data, in, out, &refusal) == BD_OK && are_right(in, out);
    bd_text_finish(&source);
    return right;
}
