/* The OpenCL backend on every device found: its functions one by one, by kernels written here. */
#include "../backends/opencl/opencl.h"
#include "scratch.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SKIPPED = 77 };

static const bd_backend *backend;
static bd_cache *cache;
static bd_device *device;
static bd_error error;

#define OK(call) ck_assert_msg((call) == BD_OK, "%s: %s", #call, error.message)

/* Outside of any test: no assertions. */
static int device_count(void)
{
    bd_device_info *infos = NULL;
    size_t count = 0;
    if (bd_opencl_backend() && bd_opencl_backend()->list(&infos, &count, &error) != BD_OK)
        fprintf(stderr, "%s\n", error.message);
    free(infos);
    return (int)count;
}

static void open_device(int index)
{
    backend = bd_opencl_backend();
    cache = bd_cache_open_in(scratch_folder(), 1 << 26);
    OK(backend->open((size_t)index, cache, &device, &error));
}

static void close_device(void)
{
    uint64_t now, peak;
    backend->memory(device, &now, &peak);
    ck_assert_uint_eq(now, 0);
    backend->close(device);
    bd_cache_close(&cache);
}

static bd_buffer *make_buffer(uint64_t size)
{
    bd_buffer *buffer;
    OK(backend->buffer_create(device, size, &buffer, &error));
    return buffer;
}

START_TEST(list_is_stable_and_complete)
{
    bd_device_info *infos[2] = { NULL, NULL };
    size_t counts[2] = { 0, 0 };
    for (int i = 0; i < 2; i++)
        OK(bd_opencl_backend()->list(&infos[i], &counts[i], &error));
    ck_assert_uint_eq(counts[0], counts[1]);
    for (size_t i = 0; i < counts[0]; i++) {
        const bd_device_info *info = &infos[0][i];
        char id[32];
        snprintf(id, sizeof id, "opencl:%zu", i);
        ck_assert_str_eq(info->id, id);
        ck_assert_str_eq(info->backend, "opencl");
        ck_assert_str_ne(info->name, "");
        ck_assert_str_ne(info->driver, "");
        ck_assert_str_eq(info->name, infos[1][i].name);
        ck_assert(info->limits.memory_bytes > 0 && info->limits.max_buffer_bytes > 0);
        ck_assert(info->limits.max_bindings > 0 && info->limits.buffer_alignment > 0);
        ck_assert(info->limits.max_workgroup_items > 0 && info->limits.compute_units > 0);
        ck_assert(info->half.storage);
    }
    /* list appends */
    size_t count = counts[0];
    OK(bd_opencl_backend()->list(&infos[0], &count, &error));
    ck_assert_uint_eq(count, 2 * counts[0]);
    free(infos[0]);
    free(infos[1]);
}
END_TEST

START_TEST(open_beyond_the_last_is_refused)
{
    bd_cache *none = bd_cache_open_in("", 0);
    ck_assert_int_eq(bd_opencl_backend()->open(1000, none, &device, &error), BD_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "1000"));
    bd_cache_close(&none);
}
END_TEST

START_TEST(probes_are_remembered)
{
    open_device(_i);
    bd_device_info first = device->info;
    ck_assert_int_ne(first.half.rounding, BD_ROUNDING_UNKNOWN);
    ck_assert(!device->target.nvidia || first.half.arithmetic);
    ck_assert_int_eq(memcmp(&device->target.half, &first.half, sizeof first.half), 0);
    close_device();
    open_device(_i);
    ck_assert_int_eq(memcmp(&device->info.half, &first.half, sizeof first.half), 0);
    ck_assert_str_eq(device->info.matrix_units, first.matrix_units);
    close_device();
}
END_TEST

START_TEST(buffers_hold_what_is_written)
{
    enum { SIZE = 1001, OFFSET = 256, PART = 333 };
    unsigned char data[SIZE], part[PART];
    uint64_t now, peak;
    open_device(_i);
    bd_buffer *buffer = make_buffer(SIZE), *other = make_buffer(64);
    backend->memory(device, &now, &peak);
    ck_assert_uint_eq(now, SIZE + 64);
    backend->buffer_destroy(device, other);
    backend->memory(device, &now, &peak);
    ck_assert_uint_eq(now, SIZE);
    ck_assert_uint_eq(peak, SIZE + 64);
    memset(data, 255, SIZE);
    OK(backend->buffer_read(device, buffer, 0, data, SIZE, NULL, &error));
    for (int i = 0; i < SIZE; i++)
        ck_assert_int_eq(data[i], 0);
    for (int i = 0; i < PART; i++)
        part[i] = (unsigned char)(i * 7 + 1);
    bd_event *written, *read;
    OK(backend->buffer_write(device, buffer, OFFSET, part, PART, &written, &error));
    OK(backend->buffer_read(device, buffer, 0, data, SIZE, &read, &error));
    OK(backend->event_wait(device, read, &error));
    ck_assert(backend->event_done(device, read) && backend->event_done(device, written));
    for (int i = 0; i < SIZE; i++)
        ck_assert_int_eq(data[i], i >= OFFSET && i < OFFSET + PART ? part[i - OFFSET] : 0);
    backend->event_destroy(device, written);
    backend->event_destroy(device, read);
    backend->event_destroy(device, NULL);
    backend->buffer_destroy(device, buffer);
    backend->buffer_destroy(device, NULL);
    close_device();
}
END_TEST

/* Filled at once such a buffer loses NVIDIA's device. Only where a quarter of the memory holds it. */
START_TEST(buffers_beyond_2_gib_are_zero_to_their_end)
{
    enum { AROUND = 64 };
    const uint64_t boundary = (uint64_t)1 << 31, size = boundary + 3 * AROUND + 1;
    unsigned char data[AROUND], expected[AROUND] = { 0 };
    open_device(_i);
    if (device->info.limits.max_buffer_bytes >= size && device->info.limits.memory_bytes / 4 >= size) {
        bd_buffer *buffer = make_buffer(size);
        const uint64_t places[] = { 0, boundary / 2 - AROUND / 2, boundary - AROUND / 2, size - AROUND };
        for (int i = 0; i < 4; i++) {
            OK(backend->buffer_read(device, buffer, places[i], data, AROUND, NULL, &error));
            ck_assert_mem_eq(data, expected, AROUND);
        }
        memset(expected, 255, AROUND);
        OK(backend->buffer_write(device, buffer, size - AROUND, expected, AROUND, NULL, &error));
        OK(backend->buffer_read(device, buffer, size - AROUND, data, AROUND, NULL, &error));
        ck_assert_mem_eq(data, expected, AROUND);
        backend->buffer_destroy(device, buffer);
    }
    close_device();
}
END_TEST

START_TEST(too_large_a_buffer_is_refused)
{
    open_device(_i);
    bd_buffer *buffer;
    ck_assert_int_eq(backend->buffer_create(device, (uint64_t)1 << 50, &buffer, &error), BD_ERROR_MEMORY);
    ck_assert_ptr_nonnull(strstr(error.message, "1125899906842624"));
    close_device();
}
END_TEST

/* b1[i] = b0[i] + 1, then b0[i] = 2 * b1[i], over parts of one buffer, three times. */
START_TEST(program_runs_in_order)
{
    enum { ITEMS = 64, REPEATS = 3 };
    open_device(_i);
    const uint64_t alignment = device->info.limits.buffer_alignment;
    const uint64_t step = (ITEMS * sizeof(int) + alignment - 1) / alignment * alignment;
    bd_buffer *buffer = make_buffer(3 * step);
    bd_kernel kernel = { .class = BD_KERNEL_POINTWISE, .name = "test", .local = { 16, 1, 1 }, .groups = { 2, 2, 1 } };
    const bd_binding bindings[2] = {
        { .buffer = buffer, .offset = step, .size = ITEMS * sizeof(int), .written = true },
        { .buffer = buffer, .offset = 2 * step, .size = ITEMS * sizeof(int), .written = true },
    };
#define HEAD                                                                                                           \
    "__kernel void binade(__global int *p0, __global int *p1, ulong o0, ulong o1)\n"                                   \
    "{\n    size_t i = get_global_id(0) + get_global_id(1) * get_global_size(0);\n"
    const bd_dispatch dispatches[2] = {
        { .kernel = &kernel,
          .source = HEAD "p1[o1 + i] = p0[o0 + i] + 1; }",
          .bindings = bindings,
          .binding_count = 2 },
        { .kernel = &kernel,
          .source = HEAD "p0[o0 + i] = 2 * p1[o1 + i]; }",
          .bindings = bindings,
          .binding_count = 2 },
    };
    const bd_program_desc desc = { .dispatches = dispatches, .dispatch_count = 2 };
    bd_backend_program *program;
    int values[ITEMS];
    for (int i = 0; i < ITEMS; i++)
        values[i] = i;
    OK(backend->buffer_write(device, buffer, step, values, sizeof values, NULL, &error));
    OK(backend->program_create(device, &desc, &program, &error));
    OK(backend->program_run(device, program, REPEATS, &error));
    OK(backend->buffer_read(device, buffer, step, values, sizeof values, NULL, &error));
    for (int i = 0; i < ITEMS; i++)
        ck_assert_int_eq(values[i], 8 * i + 14);
    uint64_t nanoseconds[2] = { 0, 0 };
    OK(backend->program_profile(device, program, nanoseconds, &error));
    ck_assert(nanoseconds[0] > 0 && nanoseconds[1] > 0);
    OK(backend->finish(device, &error));
    backend->program_destroy(device, program);
    backend->program_destroy(device, NULL);
    /* The rest of the buffer was not touched. */
    OK(backend->buffer_read(device, buffer, 0, values, sizeof values, NULL, &error));
    for (int i = 0; i < ITEMS; i++)
        ck_assert_int_eq(values[i], 0);
    backend->buffer_destroy(device, buffer);
    close_device();
}
END_TEST

/* Arenas bind parts that overlap, one after the other. As sub-buffers they crash NVIDIA's driver (580.159) at the
 * end. */
START_TEST(overlapping_parts_end_well)
{
    enum { PARTS = 40, ITEMS = 64, STEP = 1024 };
    open_device(_i);
    bd_buffer *buffer = make_buffer((PARTS + 1) * STEP);
    bd_kernel kernel = { .name = "overlap", .local = { ITEMS, 1, 1 }, .groups = { 1, 1, 1 } };
    const char *source = "__kernel void binade(__global int *p0, ulong o0) { p0[o0 + get_global_id(0)] += 1; }";
    bd_binding bindings[PARTS];
    bd_dispatch dispatches[PARTS];
    for (int i = 0; i < PARTS; i++) {
        const uint64_t part = (uint64_t)(i * 7919 % PARTS);
        bindings[i] = (bd_binding){ .buffer = buffer, .offset = part * STEP, .size = 2 * STEP, .written = true };
        dispatches[i] =
            (bd_dispatch){ .kernel = &kernel, .source = source, .bindings = &bindings[i], .binding_count = 1 };
    }
    const bd_program_desc desc = { .dispatches = dispatches, .dispatch_count = PARTS };
    bd_backend_program *program;
    OK(backend->program_create(device, &desc, &program, &error));
    OK(backend->program_run(device, program, 1, &error));
    int values[STEP / sizeof(int)];
    OK(backend->buffer_read(device, buffer, (PARTS - 1) * STEP, values, sizeof values, NULL, &error));
    ck_assert_int_eq(values[0], 1);
    ck_assert_int_eq(values[ITEMS], 0);
    backend->program_destroy(device, program);
    backend->buffer_destroy(device, buffer);
    close_device();
}
END_TEST

START_TEST(broken_source_is_told_with_its_log)
{
    open_device(_i);
    bd_buffer *buffer = make_buffer(64);
    bd_kernel kernel = { .name = "pointwise fc1 add", .local = { 1, 1, 1 }, .groups = { 1, 1, 1 } };
    const bd_binding binding = { .buffer = buffer, .size = 64, .written = true };
    const bd_dispatch dispatch = { .kernel = &kernel,
                                   .source = "__kernel void binade(__global int *a) { a[0] = no_such_name; }",
                                   .bindings = &binding,
                                   .binding_count = 1 };
    const bd_program_desc desc = { .dispatches = &dispatch, .dispatch_count = 1 };
    bd_backend_program *program;
    ck_assert_int_eq(backend->program_create(device, &desc, &program, &error), BD_ERROR_DEVICE);
    ck_assert_ptr_nonnull(strstr(error.message, "pointwise fc1 add"));
    ck_assert_ptr_nonnull(strstr(error.message, "no_such_name"));
    ck_assert_ptr_null(strchr(error.message, '\n'));
    backend->buffer_destroy(device, buffer);
    close_device();
}
END_TEST

START_TEST(damaged_binary_is_compiled_again)
{
    open_device(_i);
    opencl_device *opened = (opencl_device *)device;
    const char *source = "__kernel void binade(__global int *a) { a[0] = 42; }";
    char options[512];
    snprintf(options, sizeof options, OPENCL_STANDARD " %s ", opened->options);
    bd_cache_key key = bd_cache_hash((const char *[]){ opened->identity, options, source }, 3);
    static const char nonsense[] = "this is no binary";
    for (int i = 0; i < 2; i++) { /* the second time the binary of the first is found */
        cl_program program;
        void *data;
        size_t size;
        if (i == 0)
            bd_cache_put(cache, "opencl", key, nonsense, sizeof nonsense);
        OK(opencl_build(opened, source, "", "test", &program, &error));
        ck_assert(bd_cache_get(cache, "opencl", key, &data, &size));
        ck_assert_uint_ne(size, sizeof nonsense);
        free(data);
        clReleaseProgram(program);
    }
    close_device();
}
END_TEST

/* Whole numbers, so that every order of summing gives the same. */
START_TEST(library_multiplies)
{
    enum { M = 5, N = 7, K = 3, BATCHES = 2, OFFSET = 4 };
    if (!opencl_has_library())
        return;
    open_device(_i);
    float a[BATCHES * M * K], b[BATCHES * K * N], c[OFFSET + BATCHES * M * N];
    for (int i = 0; i < BATCHES * M * K; i++)
        a[i] = (float)(i % 11 - 5);
    for (int i = 0; i < BATCHES * K * N; i++)
        b[i] = (float)(i % 7 - 3);
    bd_buffer *left = make_buffer(sizeof a), *right = make_buffer(sizeof b), *product = make_buffer(sizeof c);
    OK(backend->buffer_write(device, left, 0, a, sizeof a, NULL, &error));
    OK(backend->buffer_write(device, right, 0, b, sizeof b, NULL, &error));
    for (int variant = 0; variant < 2; variant++) { /* CLBlast compiles each for many seconds */
        const bool turned = variant == 1;
        opencl_gemm gemm = { .format = BD_F32,
                             .transpose = { turned, !turned },
                             .m = M,
                             .n = N,
                             .k = K,
                             .batches = turned ? BATCHES : 1,
                             .a = left->memory,
                             .b = right->memory,
                             .c = product->memory,
                             .c_offset = OFFSET };
        OK(opencl_gemm_enqueue(&gemm, ((opencl_device *)device)->queue, &error));
        OK(backend->buffer_read(device, product, 0, c, sizeof c, NULL, &error));
        for (size_t batch = 0; batch < gemm.batches; batch++)
            for (size_t i = 0; i < M; i++)
                for (size_t j = 0; j < N; j++) {
                    float sum = 0;
                    for (size_t k = 0; k < K; k++)
                        sum += a[batch * M * K + (turned ? k * M + i : i * K + k)] *
                               b[batch * K * N + (turned ? k * N + j : j * K + k)];
                    ck_assert_float_eq(c[OFFSET + batch * M * N + i * N + j], sum);
                }
        ck_assert_float_eq(c[OFFSET - 1], 0);
    }
    backend->buffer_destroy(device, left);
    backend->buffer_destroy(device, right);
    backend->buffer_destroy(device, product);
    close_device();
}
END_TEST

int main(void)
{
    const int devices = device_count();
    if (devices == 0)
        return SKIPPED;
    Suite *suite = suite_create("opencl");
    TCase *tests = tcase_create("backend");
    tcase_add_unchecked_fixture(tests, scratch_create, scratch_remove); /* one folder, so that the cache works */
    tcase_add_test(tests, list_is_stable_and_complete);
    tcase_add_test(tests, open_beyond_the_last_is_refused);
    tcase_add_loop_test(tests, probes_are_remembered, 0, devices);
    tcase_add_loop_test(tests, buffers_hold_what_is_written, 0, devices);
    tcase_add_loop_test(tests, buffers_beyond_2_gib_are_zero_to_their_end, 0, devices);
    tcase_add_loop_test(tests, too_large_a_buffer_is_refused, 0, devices);
    tcase_add_loop_test(tests, program_runs_in_order, 0, devices);
    tcase_add_loop_test(tests, overlapping_parts_end_well, 0, devices);
    tcase_add_loop_test(tests, broken_source_is_told_with_its_log, 0, devices);
    tcase_add_loop_test(tests, damaged_binary_is_compiled_again, 0, devices);
    suite_add_tcase(suite, tests);
    TCase *library = tcase_create("library");
    tcase_add_unchecked_fixture(library, scratch_create, scratch_remove);
    tcase_add_loop_test(library, library_multiplies, 0, devices);
    suite_add_tcase(suite, library);
    SRunner *runner = srunner_create(suite);
    /* Drivers keep threads, which a forked child would not have. */
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
