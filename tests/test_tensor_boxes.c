/* What tensor maps bring, without a copy engine: A_BOX and B_BOX of a kernel's source, in which the instructions are
 * functions that read what the maps say, beside what the same source gathers number by number (print_operand.c). Every
 * number of every box that a contraction's panels have must be the same: rows and columns of the result, and 0 behind
 * the last step of k. On the first OpenCL device, whichever it is: what is tried is the text. */
#include "../backends/backend.h"
#include "../engine/arithmetic.h"
#include "../engine/cache.h"
#include "../engine/emit.h"
#include "../engine/tile.h"
#include "contractions.h"
#include "engine/tensor_map.h"
#include "scratch.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SKIPPED = 77, LOCAL = 64, BOX = BD_BOX_LINES * BD_BOX_NUMBERS };

static const bd_backend *backend;
static bd_cache *cache;
static bd_device *device;
static bd_error error;

#define OK(call) ck_assert_msg((call) == BD_OK, "%s: %s", #call, error.message)

/* Outside of any test: no assertions. */
static bool has_device(void)
{
    bd_device_info *infos = NULL;
    size_t count = 0;
    if (bd_opencl_backend() && bd_opencl_backend()->list(&infos, &count, &error) != BD_OK)
        fprintf(stderr, "%s\n", error.message);
    free(infos);
    return count > 0;
}

static void open_device(void)
{
    scratch_create();
    backend = bd_opencl_backend();
    cache = bd_cache_open_in(scratch_folder(), 1 << 26);
    OK(backend->open(0, cache, &device, &error));
}

static void close_device(void)
{
    backend->close(device);
    bd_cache_close(&cache);
    scratch_remove();
}

/* The first line of the source that defines the macro, which is the printer's, not the skeleton's. */
static void take_macro(bd_text *text, const char *source, const char *name)
{
    char define[64];
    const size_t length = (size_t)snprintf(define, sizeof define, "#define %s", name);
    const char *line = source;
    while ((line = strstr(line, define)) && line[length] != ' ' && line[length] != '(')
        line += length;
    ck_assert_msg(line, "the source does not define %s", name);
    bd_text_append_raw(text, line, strcspn(line, "\n") + 1);
}

static void print_map(bd_text *text, char side, const bd_tensor_map *map)
{
    bd_text_append(text,
                   "__constant struct map map_%c = { { %u, %u, %u, %u }, { %u, %u, %u, %u }, { %llu, %llu, %llu } };\n",
                   side, map->size[0], map->size[1], map->size[2], map->size[3], map->box[0], map->box[1], map->box[2],
                   map->box[3], (unsigned long long)map->stride[0], (unsigned long long)map->stride[1],
                   (unsigned long long)map->stride[2]);
}

/* `out` begins with the boxes of A, those along m for each step, and goes on with those of B. In place of a barrier the
 * instructions are given the number's place in the box: its line times 64, and the number. */
static const char structure[] = "struct map { int size[4], box[4]; ulong stride[3]; };\n";
static const char program[] =
    "static ushort bring(__constant struct map *map, const __global uchar *from, const int4 first, const uint place)\n"
    "{\n"
    "    const int line = place / 64u, width = map->box[1], height = map->box[2];\n"
    "    const int at[4] = { first.x + (int)(place % 64u), first.y + line % width, first.z + line / width % height,\n"
    "                        first.w + line / (width * height) };\n"
    "    ulong byte = 2ul * (ulong)at[0];\n"
    "    for (int i = 0; i < 4; i++) {\n"
    "        if (at[i] < 0 || at[i] >= map->size[i])\n"
    "            return 0;\n"
    "        byte += i > 0 ? (ulong)at[i] * map->stride[i - 1] : 0ul;\n"
    "    }\n"
    "    return *(const __global ushort *)(from + byte);\n"
    "}\n"
    "#define TENSOR_MAP(side) side\n"
    "#define COPY_BOX4(to, map, x, y, z, w, place) \\\n"
    "    to = bring((map) ? &map_b : &map_a, (const __global uchar *)((map) ? b : a), (int4)((int)(x), (int)(y), "
    "(int)(z), (int)(w)), place)\n"
    "#define COPY_BOX2(to, map, x, y, place) COPY_BOX4(to, map, x, y, 0, 0, place)\n"
    "#define CEIL(a, b) (((a) + (b) - 1u) / (b))\n"
    "#define BOXES_M CEIL(M, 64u)\n"
    "#define BOXES_N CEIL(N, 64u)\n"
    "__kernel void binade(__global const ushort *a, __global const ushort *b, __global ushort2 *out, ulong first_a,\n"
    "                     ulong first_b, ulong first_out)\n"
    "{\n"
    "    const uint i = (uint)get_global_id(0), place = i % 4096u, a_boxes = BOXES_M * CEIL(K, 64u);\n"
    "    const uint box = i / 4096u, line = place / 64u, number = place % 64u;\n"
    "    ushort brought = 0, gathered = 0;\n"
    "    if (box < a_boxes) {\n"
    "        const uint k = box / BOXES_M * 64u, m = box % BOXES_M * 64u;\n"
    "        A_BOX(brought, k, m, place);\n"
    "#if A_INNER_K\n"
    "        const uint row = m + line, step = k + number;\n"
    "        const uint4 outer = A_OCTX(0u, row), inner = A_ICTX(step);\n"
    "#else\n"
    "        const uint row = m + number, step = k + line;\n"
    "        const uint4 outer = A_OCTX(0u, step), inner = A_ICTX(row);\n"
    "#endif\n"
    "        if (row < M && step < K && A_VALID(outer, inner))\n"
    "            gathered = a[A_INDEX(outer, inner)];\n"
    "        if (row >= M) /* any number will do */\n"
    "            gathered = brought;\n"
    "    } else {\n"
    "        const uint k = (box - a_boxes) / BOXES_N * 64u, n = (box - a_boxes) % BOXES_N * 64u;\n"
    "        B_BOX(brought, k, n, place);\n"
    "#if B_INNER_N\n"
    "        const uint column = n + number, step = k + line;\n"
    "#else\n"
    "        const uint column = n + line, step = k + number;\n"
    "#endif\n"
    "        if (column < N && step < K)\n"
    "            gathered = b[B_INDEX(0u, step, column)];\n"
    "        if (column >= N)\n"
    "            gathered = brought;\n"
    "    }\n"
    "    out[i] = (ushort2)(brought, gathered);\n"
    "}\n";

static void print_program(bd_text *text, const char *source, const bd_tensor_map maps[2])
{
    static const char *const macros[] = {
        "BD_UINT4", "BD_BOTH", "M",       "N",     "K",         "A_INNER_K", "A_OCTX",
        "A_ICTX",   "A_VALID", "A_INDEX", "A_BOX", "B_INNER_N", "B_INDEX",   "B_BOX"
    };
    for (size_t i = 0; i < sizeof macros / sizeof *macros; i++)
        take_macro(text, source, macros[i]);
    bd_text_append(text, "%s", structure);
    print_map(text, 'a', &maps[0]);
    print_map(text, 'b', &maps[1]);
    bd_text_append(text, "%s", program);
    ck_assert(!text->failed);
}

/* Runs it over operands of which no two neighbours are alike and none is 0; the caller frees. */
static uint16_t (*run(const char *source, const int64_t elements[2], uint32_t boxes))[2]
{
    const uint64_t out_size = (uint64_t)boxes * BOX * 2 * sizeof(uint16_t);
    const bd_kernel kernel = { .name = "boxes", .local = { LOCAL, 1, 1 }, .groups = { boxes * (BOX / LOCAL), 1, 1 } };
    bd_binding bindings[3] = { { .size = (uint64_t)elements[0] * sizeof(uint16_t) },
                               { .size = (uint64_t)elements[1] * sizeof(uint16_t) },
                               { .size = out_size, .written = true } };
    const bd_dispatch dispatch = { .kernel = &kernel, .source = source, .bindings = bindings, .binding_count = 3 };
    const bd_program_desc desc = { .dispatches = &dispatch, .dispatch_count = 1 };
    bd_backend_program *made;
    uint16_t(*out)[2] = malloc(out_size);
    ck_assert_ptr_nonnull(out);
    for (int i = 0; i < 3; i++)
        OK(backend->buffer_create(device, bindings[i].size, &bindings[i].buffer, &error));
    for (int side = 0; side < 2; side++) {
        uint16_t *numbers = malloc(bindings[side].size);
        ck_assert_ptr_nonnull(numbers);
        for (int64_t i = 0; i < elements[side]; i++)
            numbers[i] = (uint16_t)(i % 65521 + 1);
        OK(backend->buffer_write(device, bindings[side].buffer, 0, numbers, bindings[side].size, NULL, &error));
        free(numbers);
    }
    OK(backend->program_create(device, &desc, &made, &error));
    OK(backend->program_run(device, made, 1, &error));
    OK(backend->buffer_read(device, bindings[2].buffer, 0, out, out_size, NULL, &error));
    backend->program_destroy(device, made);
    for (int i = 0; i < 3; i++)
        backend->buffer_destroy(device, bindings[i].buffer);
    return out;
}

static const contraction_case cases[] = {
    /* Whole boxes, and sizes that are none, each turned in every way. */
    PRODUCT(128, 192, 256, false, false),
    PRODUCT(128, 192, 256, true, true),
    PRODUCT(72, 200, 136, false, false),
    PRODUCT(72, 200, 136, false, true),
    PRODUCT(72, 200, 136, true, false),
    PRODUCT(72, 200, 136, true, true),
    PRODUCT(8, 16, 24, false, false),
    PRODUCT(8, 16, 24, true, true),
    PRODUCT(80, 72, 77, true, false), /* only numbers that lie side by side are eights */
    PRODUCT(77, 72, 80, false, false),
    PRODUCT(77, 75, 80, false, true),
    /* Parts of a row, whole rows, whole images, several of them, of which the last box has some. */
    CONVOLUTION(BD_OP_CONV2D, 1, 3, 128, 64, 64, 3, 1, 1),
    CONVOLUTION(BD_OP_CONV2D, 2, 3, 64, 64, 72, 3, 1, 1),
    CONVOLUTION(BD_OP_CONV2D, 2, 32, 32, 64, 128, 3, 1, 1),
    CONVOLUTION(BD_OP_CONV2D, 3, 16, 16, 128, 64, 3, 1, 1),
    CONVOLUTION(BD_OP_CONV2D, 3, 8, 8, 64, 24, 3, 1, 1),
    CONVOLUTION(BD_OP_CONV2D, 5, 4, 8, 64, 64, 3, 1, 1),
    CONVOLUTION(BD_OP_CONV2D, 6, 4, 4, 128, 64, 3, 1, 1),
    CONVOLUTION(BD_OP_CONV2D, 21, 2, 2, 64, 64, 3, 1, 1),
    CONVOLUTION(BD_OP_CONV2D, 70, 1, 1, 64, 64, 3, 1, 1),
    CONVOLUTION(BD_OP_CONV2D_DATA, 1, 3, 128, 64, 64, 3, 1, 1),
    CONVOLUTION(BD_OP_CONV2D_DATA, 2, 32, 32, 64, 128, 3, 1, 1),
    CONVOLUTION(BD_OP_CONV2D_DATA, 3, 16, 16, 128, 64, 3, 1, 1),
    CONVOLUTION(BD_OP_CONV2D_DATA, 3, 8, 8, 24, 64, 3, 1, 1),
    CONVOLUTION(BD_OP_CONV2D_DATA, 6, 4, 4, 72, 128, 3, 1, 1),
    CONVOLUTION(BD_OP_CONV2D_DATA, 21, 2, 2, 64, 64, 3, 1, 1),
    CONVOLUTION(BD_OP_CONV2D_DATA, 70, 1, 1, 64, 64, 3, 1, 1),
    CONVOLUTION(BD_OP_CONV2D_WEIGHT, 1, 3, 128, 64, 64, 3, 1, 1),
    CONVOLUTION(BD_OP_CONV2D_WEIGHT, 2, 32, 32, 64, 128, 3, 1, 1),
    CONVOLUTION(BD_OP_CONV2D_WEIGHT, 3, 16, 16, 128, 64, 3, 1, 1),
    CONVOLUTION(BD_OP_CONV2D_WEIGHT, 3, 8, 8, 64, 24, 3, 1, 1),
    CONVOLUTION(BD_OP_CONV2D_WEIGHT, 5, 4, 8, 64, 72, 3, 1, 1),
    CONVOLUTION(BD_OP_CONV2D_WEIGHT, 6, 4, 4, 128, 64, 3, 1, 1),
    CONVOLUTION(BD_OP_CONV2D_WEIGHT, 21, 2, 2, 64, 64, 3, 1, 1),
    CONVOLUTION(BD_OP_CONV2D_WEIGHT, 70, 1, 1, 64, 64, 3, 1, 1),
    /* Without padding, and more of it than the window needs. */
    CONVOLUTION(BD_OP_CONV2D, 3, 10, 10, 64, 64, 3, 1, 0),
    CONVOLUTION(BD_OP_CONV2D, 3, 6, 6, 64, 64, 3, 1, 2),
    CONVOLUTION(BD_OP_CONV2D, 3, 8, 8, 64, 64, 5, 1, 2),
    CONVOLUTION(BD_OP_CONV2D, 3, 6, 6, 64, 64, 1, 1, 1),
    CONVOLUTION(BD_OP_CONV2D_DATA, 3, 8, 8, 64, 64, 3, 1, 0),
    CONVOLUTION(BD_OP_CONV2D_DATA, 3, 8, 8, 64, 64, 5, 1, 2),
    CONVOLUTION(BD_OP_CONV2D_WEIGHT, 3, 10, 10, 64, 64, 3, 1, 0),
    CONVOLUTION(BD_OP_CONV2D_WEIGHT, 3, 6, 6, 64, 64, 3, 1, 2),
    /* Windows, padding and images that are not the same along both sides. */
    { BD_OP_CONV2D, .images = 3, .rows = 6, .columns = 16, .channels = 64, .outputs = 64,
      .window = { { 2, 3 }, { 1, 1 }, { { 0, 3 }, { 2, 0 } } } },
    { BD_OP_CONV2D_DATA, .images = 3, .rows = 8, .columns = 16, .channels = 72, .outputs = 64,
      .window = { { 2, 3 }, { 1, 1 }, { { 0, 3 }, { 2, 0 } } } },
    { BD_OP_CONV2D_WEIGHT, .images = 3, .rows = 6, .columns = 16, .channels = 64, .outputs = 72,
      .window = { { 2, 3 }, { 1, 1 }, { { 0, 3 }, { 2, 0 } } } },
    /* One tap, where images have any size. */
    CONVOLUTION(BD_OP_CONV2D, 2, 7, 7, 24, 72, 1, 1, 0),
    CONVOLUTION(BD_OP_CONV2D_DATA, 2, 7, 7, 24, 72, 1, 1, 0),
    CONVOLUTION(BD_OP_CONV2D_WEIGHT, 2, 7, 7, 24, 72, 1, 1, 0),
};

START_TEST(boxes_hold_what_is_gathered)
{
    const bd_target target = target_with_maps();
    bd_tensor y;
    bd_tensor_map maps[2];
    char *source;
    bd_graph *graph = contraction_graph(&cases[_i], &y);
    bd_plan *plan = contraction_plan(graph, y, &target);
    bd_kernel *kernel = contraction_kernel(plan);
    kernel->tile = tile_with_maps;
    bd_group_launch(plan, kernel, &target);
    ck_assert(bd_kernel_maps(plan, kernel, &target, maps));
    OK(bd_kernel_source(plan, kernel, &target, BD_DIALECT_OPENCL, &source, &error));
    bd_text text = { 0 };
    print_program(&text, source, maps);
    const bd_contraction c = bd_contraction_of(plan->graph, kernel->anchor);
    const bd_node *node = &plan->graph->nodes[kernel->anchor];
    const uint32_t steps = (uint32_t)bd_ceil_divide(c.k, BD_BOX_LINES);
    const uint32_t boxes_m = (uint32_t)bd_ceil_divide(c.m, BD_BOX_LINES),
                   boxes_n = (uint32_t)bd_ceil_divide(c.n, BD_BOX_LINES);
    const uint32_t boxes = steps * (boxes_m + boxes_n);
    int64_t elements[2];
    for (int side = 0; side < 2; side++)
        elements[side] = bd_shape_elements(&plan->graph->nodes[node->inputs[side]].shape);
    uint16_t(*out)[2] = run(text.data, elements, boxes);
    uint64_t numbers[2] = { 0 };
    for (uint32_t box = 0; box < boxes; box++)
        for (uint32_t i = 0; i < BOX; i++) {
            const uint16_t *both = out[(size_t)box * BOX + i];
            const bool b = box >= steps * boxes_m;
            const uint32_t local = b ? box - steps * boxes_m : box, across = b ? boxes_n : boxes_m;
            if (both[0] != both[1])
                ck_abort_msg("%c, step %u, %s %u, line %u, number %u: 0x%04x came, not 0x%04x", "AB"[b],
                             local / across * 64, b ? "column" : "row", local % across * 64, i / 64, i % 64, both[0],
                             both[1]);
            numbers[b] += both[0] != 0;
        }
    /* Nearly every one of its rows and columns has numbers: the test has not compared zeros. */
    ck_assert_uint_gt(numbers[0], (uint64_t)(c.m * c.k) / 10);
    ck_assert_uint_ge(numbers[1], (uint64_t)(c.n * c.k));
    free(out);
    bd_text_finish(&text);
    free(source);
    bd_plan_destroy(&plan);
    bd_graph_destroy(&graph);
}
END_TEST

int main(void)
{
    if (!has_device())
        return SKIPPED;
    Suite *suite = suite_create("tensor boxes");
    TCase *tests = tcase_create("boxes");
    tcase_add_unchecked_fixture(tests, open_device, close_device);
    tcase_add_loop_test(tests, boxes_hold_what_is_gathered, 0, sizeof cases / sizeof *cases);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    /* Drivers keep threads, which a forked child would not have. */
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
