/* The Vulkan backend on every device found: its functions one by one, by kernels written here. */
#include "../engine/cache.h"
#include "vulkan_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

START_TEST(list_is_stable_and_complete)
{
    bd_device_info *infos[2] = { NULL, NULL };
    size_t counts[2] = { 0, 0 };
    for (int i = 0; i < 2; i++)
        OK(bd_vulkan_backend()->list(&infos[i], &counts[i], &error));
    ck_assert_uint_eq(counts[0], counts[1]);
    for (size_t i = 0; i < counts[0]; i++) {
        const bd_device_info *info = &infos[0][i];
        char id[32];
        snprintf(id, sizeof id, "vulkan:%zu", i);
        ck_assert_str_eq(info->id, id);
        ck_assert_str_eq(info->backend, "vulkan");
        ck_assert_str_ne(info->name, "");
        ck_assert_str_ne(info->driver, "");
        ck_assert_str_eq(info->name, infos[1][i].name);
        const bd_limits *limits = &info->limits;
        ck_assert(limits->memory_bytes > 0 && limits->max_buffer_bytes > 0 && limits->max_binding_bytes > 0);
        /* Vulkan's required limits */
        ck_assert(limits->max_bindings >= 4 && limits->buffer_alignment >= 4 && limits->buffer_alignment <= 256);
        ck_assert(limits->max_workgroup_items >= 128 && limits->max_workgroup_count[0] >= 65535);
        ck_assert(limits->shared_bytes >= 16384 && limits->subgroup_size > 0 && limits->compute_units > 0);
    }
    size_t count = counts[0];
    OK(bd_vulkan_backend()->list(&infos[0], &count, &error));
    ck_assert_uint_eq(count, 2 * counts[0]); /* list appends */
    free(infos[0]);
    free(infos[1]);
}
END_TEST

START_TEST(open_beyond_the_last_is_refused)
{
    bd_cache *none = bd_cache_open_in("", 0);
    ck_assert_int_eq(bd_vulkan_backend()->open(1000, none, &device, &error), BD_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "1000"));
    bd_cache_close(&none);
}
END_TEST

START_TEST(probes_are_remembered)
{
    open_device(_i);
    bd_half_support first = device->info.half;
    ck_assert_int_ne(first.rounding, BD_ROUNDING_UNKNOWN);
    ck_assert(!first.conversion_exact || (first.rounding == BD_ROUNDING_NEAREST_EVEN && first.subnormals));
    ck_assert(!first.arithmetic_exact || (first.arithmetic && first.conversion_exact));
    ck_assert_int_eq(memcmp(&device->target.half, &first, sizeof first), 0);
    close_device();
    open_device(_i);
    ck_assert_int_eq(memcmp(&device->info.half, &first, sizeof first), 0);
    close_device();
}
END_TEST

START_TEST(pipeline_cache_of_another_driver_is_dropped)
{
    static const char data[] = "what a driver keeps";
    open_device(_i);
    bd_vk_device *vulkan = bd_vk_device_of(device);
    size_t blob_size = 0, size = 0;
    unsigned char *blob = bd_vk_pipeline_blob(vulkan, data, sizeof data, &blob_size);
    ck_assert_ptr_nonnull(blob);
    const char *found = bd_vk_pipeline_blob_data(vulkan, blob, blob_size, &size);
    ck_assert(found && size == sizeof data && memcmp(found, data, sizeof data) == 0);
    for (size_t i = 0; i < blob_size; i++) { /* vendor, device, driver, UUID, hash and data: each byte counts */
        blob[i] ^= 1;
        ck_assert_ptr_null(bd_vk_pipeline_blob_data(vulkan, blob, blob_size, &size));
        blob[i] ^= 1;
    }
    for (size_t cut = 0; cut < blob_size; cut++)
        ck_assert_ptr_null(bd_vk_pipeline_blob_data(vulkan, blob, cut, &size));
    free(blob);
    close_device();
}
END_TEST

START_TEST(buffers_hold_what_is_written)
{
    enum { SIZE = 1001, OFFSET = 257, PART = 333 };
    unsigned char data[SIZE], part[PART];
    uint64_t now, peak, one;
    open_device(_i);
    bd_buffer *buffer = make_buffer(SIZE);
    backend->memory(device, &one, &peak);
    ck_assert(one >= SIZE && one < SIZE + 65536);
    bd_buffer *other = make_buffer(64);
    backend->memory(device, &now, &peak);
    ck_assert(now > one && peak == now);
    backend->buffer_destroy(device, other);
    backend->memory(device, &now, &peak);
    ck_assert(now == one && peak > one);
    memset(data, 255, SIZE);
    download(buffer, data, SIZE);
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

/* Larger than a staging block, so that it goes in pieces where it goes by copies. */
START_TEST(large_transfers_arrive_whole)
{
    const size_t size = ((size_t)19 << 20) + 5;
    unsigned char *data = malloc(size), *back = malloc(size);
    ck_assert(data && back);
    for (size_t i = 0; i < size; i++)
        data[i] = (unsigned char)(i * 2654435761u >> 24);
    open_device(_i);
    for (int copies = 0; copies < 2; copies++) { /* in place where the device allows it, then by copies everywhere */
        bd_buffer *buffer = make_buffer(size);
        void *mapped = buffer->mapped;
        if (copies)
            buffer->mapped = NULL;
        OK(backend->buffer_write(device, buffer, 0, data, size, NULL, &error));
        download(buffer, back, size);
        ck_assert(memcmp(data, back, size) == 0);
        buffer->mapped = mapped;
        backend->buffer_destroy(device, buffer);
    }
    close_device();
    free(data);
    free(back);
}
END_TEST

START_TEST(too_large_a_buffer_is_refused)
{
    open_device(_i);
    bd_buffer *buffer;
    ck_assert_int_eq(backend->buffer_create(device, device->info.limits.max_buffer_bytes + 1, &buffer, &error),
                     BD_ERROR_MEMORY);
    ck_assert_ptr_null(buffer);
    ck_assert_int_eq(backend->buffer_create(device, UINT64_MAX, &buffer, &error), BD_ERROR_MEMORY);
    close_device();
}
END_TEST

START_TEST(bad_source_is_named)
{
    open_device(_i);
    bd_buffer *buffer = make_buffer(4);
    bd_binding binding = whole(buffer, true);
    bd_kernel kernel = { .name = "pointwise fc1", .groups = { 1, 1, 1 } };
    bd_dispatch dispatch = {
        .kernel = &kernel, .source = "void main() { this is no GLSL; }\n", .bindings = &binding, .binding_count = 1
    };
    bd_program_desc desc = { .dispatches = &dispatch, .dispatch_count = 1 };
    bd_backend_program *program;
    ck_assert_int_eq(backend->program_create(device, &desc, &program, &error), BD_ERROR_DEVICE);
    ck_assert_ptr_null(program);
    ck_assert_ptr_nonnull(strstr(error.message, "pointwise fc1"));
    ck_assert_ptr_nonnull(strstr(error.message, "ERROR"));
    ck_assert_ptr_null(strchr(error.message, '\n'));
    backend->buffer_destroy(device, buffer);
    close_device();
}
END_TEST

/* ---- programs ---- */

#define HEAD "layout(local_size_x = 64) in;\n"
static const char step_text[] = HEAD "layout(set = 0, binding = 0) readonly buffer B0 { uint b0[]; };\n"
                                     "layout(set = 0, binding = 1) buffer B1 { uint b1[]; };\n"
                                     "void main() {\n"
                                     "    uint i = gl_GlobalInvocationID.x;\n"
                                     "    b1[i] = b0[(i + 1u) & 1023u] * 1664525u + 1013904223u;\n"
                                     "}\n";
enum { ELEMENTS = 1024, GROUPS = ELEMENTS / 64 };

static void step_on_host(uint32_t *values)
{
    uint32_t next[ELEMENTS];
    for (uint32_t i = 0; i < ELEMENTS; i++)
        next[i] = values[(i + 1) % ELEMENTS] * 1664525u + 1013904223u;
    memcpy(values, next, sizeof next);
}

static void fill(uint32_t *values)
{
    for (uint32_t i = 0; i < ELEMENTS; i++)
        values[i] = i * 2654435761u;
}

/* Two dispatches that need each other's results, in two parts of one buffer, run 100 times: all 200 in order. */
START_TEST(dependent_dispatches_run_in_order)
{
    enum { REPEATS = 100 };
    uint32_t values[2 * ELEMENTS] = { 0 }, back[ELEMENTS];
    fill(values);
    open_device(_i);
    bd_buffer *buffer = upload(values, sizeof values);
    bd_binding first = part(buffer, 0, sizeof back, false), second = part(buffer, sizeof back, sizeof back, true);
    test_dispatch launches[2] = { { step_text, GROUPS, { first, second }, 2 },
                                  { step_text, GROUPS, { second, first }, 2 } };
    launches[1].bindings[0].written = false;
    launches[1].bindings[1].written = true;
    bd_backend_program *program = make_program(launches, 2);
    OK(backend->program_run(device, program, REPEATS, &error));
    OK(backend->program_run(device, program, 1, &error));
    download(buffer, back, sizeof back);
    for (int i = 0; i < 2 * (REPEATS + 1); i++)
        step_on_host(values);
    ck_assert(memcmp(values, back, sizeof back) == 0);
    backend->program_destroy(device, program);
    backend->program_destroy(device, NULL);
    backend->buffer_destroy(device, buffer);
    close_device();
}
END_TEST

/* Transfers take their place between runs, whether the device is idle or not, with and without events. */
START_TEST(transfers_keep_their_place)
{
    enum { ROUNDS = 20 };
    uint32_t sent[ROUNDS][ELEMENTS], got[ROUNDS][ELEMENTS], plain[ELEMENTS];
    bd_event *written[ROUNDS], *read[ROUNDS];
    open_device(_i);
    bd_buffer *a = make_buffer(sizeof plain), *b = make_buffer(sizeof plain);
    test_dispatch launch = { step_text, GROUPS, { whole(a, false), whole(b, true) }, 2 };
    bd_backend_program *program = make_program(&launch, 1);
    for (int i = 0; i < ROUNDS; i++) {
        fill(sent[i]);
        sent[i][0] = (uint32_t)i;
        OK(backend->buffer_write(device, a, 0, sent[i], sizeof plain, &written[i], &error));
        OK(backend->program_run(device, program, 1, &error));
        OK(backend->buffer_read(device, b, 0, got[i], sizeof plain, &read[i], &error));
    }
    fill(plain);
    OK(backend->buffer_write(device, a, 0, plain, sizeof plain, NULL, &error));
    OK(backend->program_run(device, program, 3, &error));
    download(b, plain, sizeof plain);
    uint32_t expected[ELEMENTS];
    fill(expected);
    step_on_host(expected);
    ck_assert(memcmp(plain, expected, sizeof plain) == 0);
    for (int i = 0; i < ROUNDS; i++) {
        if (i % 2)
            OK(backend->event_wait(device, read[i], &error));
        ck_assert(backend->event_done(device, read[i])); /* a later read ended, so this one has */
        step_on_host(sent[i]);
        ck_assert(memcmp(got[i], sent[i], sizeof got[i]) == 0);
        OK(backend->event_wait(device, written[i], &error));
        backend->event_destroy(device, read[i]);
        backend->event_destroy(device, written[i]);
    }
    /* An event that is not waited for, and a buffer destroyed while the device uses it. */
    OK(backend->program_run(device, program, 50, &error));
    OK(backend->buffer_read(device, b, 0, plain, sizeof plain, &read[0], &error));
    backend->event_destroy(device, read[0]);
    backend->program_destroy(device, program);
    backend->buffer_destroy(device, a);
    backend->buffer_destroy(device, b);
    close_device();
}
END_TEST

/* A transfer with an event returns at once, however many are under way. */
START_TEST(transfers_with_an_event_do_not_wait)
{
    static const char long_text[] = HEAD "layout(set = 0, binding = 0) buffer B0 { uint b0[]; };\n"
                                         "void main() {\n"
                                         "    uint i = gl_GlobalInvocationID.x, x = b0[i];\n"
                                         "    for (uint k = 0u; k < 2000000u; k++)\n"
                                         "        x = x * 1664525u + b0[(i + x) & 1023u];\n"
                                         "    b0[i] = x;\n"
                                         "}\n";
    enum { COUNT = 2 * BD_VK_STAGING_BLOCKS };
    uint32_t values[ELEMENTS] = { 0 }, got[COUNT][ELEMENTS];
    bd_event *events[2][COUNT];
    open_device(_i);
    bd_buffer *busy = upload(values, sizeof values), *other = make_buffer(sizeof values);
    test_dispatch launch = { long_text, 1, { whole(busy, true) }, 1 };
    bd_backend_program *program = make_program(&launch, 1);
    OK(backend->program_run(device, program, 1, &error));
    for (int i = 0; i < COUNT; i++) {
        OK(backend->buffer_write(device, other, 0, values, sizeof values, &events[0][i], &error));
        OK(backend->buffer_read(device, other, 0, got[i], sizeof values, &events[1][i], &error));
    }
    ck_assert_msg(!backend->event_done(device, events[0][0]), "the device had to be waited for, or is too fast");
    OK(backend->finish(device, &error));
    for (int i = 0; i < COUNT; i++)
        for (int k = 0; k < 2; k++)
            backend->event_destroy(device, events[k][i]);
    backend->program_destroy(device, program);
    backend->buffer_destroy(device, busy);
    backend->buffer_destroy(device, other);
    close_device();
}
END_TEST

/* More submissions than the ring holds. */
START_TEST(many_runs_are_throttled)
{
    uint32_t values[ELEMENTS], back[ELEMENTS];
    fill(values);
    open_device(_i);
    bd_buffer *a = upload(values, sizeof values), *b = make_buffer(sizeof values);
    test_dispatch launches[2] = { { step_text, GROUPS, { whole(a, false), whole(b, true) }, 2 },
                                  { step_text, GROUPS, { whole(b, false), whole(a, true) }, 2 } };
    bd_backend_program *program = make_program(launches, 2);
    for (int i = 0; i < 3 * BD_VK_IN_FLIGHT; i++)
        OK(backend->program_run(device, program, 1, &error));
    OK(backend->program_run(device, program, 333, &error));
    download(a, back, sizeof back);
    for (int i = 0; i < 2 * (3 * BD_VK_IN_FLIGHT + 333); i++)
        step_on_host(values);
    ck_assert(memcmp(values, back, sizeof back) == 0);
    backend->program_destroy(device, program);
    backend->buffer_destroy(device, a);
    backend->buffer_destroy(device, b);
    close_device();
}
END_TEST

START_TEST(profile_times_each_dispatch)
{
    uint64_t nanoseconds[3] = { 0 };
    open_device(_i);
    bd_buffer *a = make_buffer(4 * ELEMENTS), *b = make_buffer(4 * ELEMENTS);
    test_dispatch launches[3] = { { step_text, GROUPS, { whole(a, false), whole(b, true) }, 2 },
                                  { step_text, GROUPS, { whole(b, false), whole(a, true) }, 2 },
                                  { step_text, GROUPS, { whole(a, false), whole(b, true) }, 2 } };
    bd_backend_program *program = make_program(launches, 3);
    for (int i = 0; i < 2; i++) {
        bd_status status = backend->program_profile(device, program, nanoseconds, &error);
        ck_assert(status == BD_OK || (status == BD_ERROR_UNSUPPORTED && bd_vk_device_of(device)->timestamp_bits == 0));
        for (int k = 0; k < 3; k++)
            ck_assert_uint_lt(nanoseconds[k], UINT64_C(10000000000));
    }
    backend->program_destroy(device, program);
    backend->buffer_destroy(device, a);
    backend->buffer_destroy(device, b);
    close_device();
}
END_TEST

/* No driver loses its device on demand, so the backend is told so. */
START_TEST(lost_device_is_named)
{
    uint32_t data[4] = { 0 };
    open_device(_i);
    bd_buffer *a = make_buffer(4 * ELEMENTS), *b = make_buffer(4 * ELEMENTS);
    test_dispatch launch = { step_text, GROUPS, { whole(a, false), whole(b, true) }, 2 };
    bd_backend_program *program = make_program(&launch, 1);
    OK(backend->program_run(device, program, 3, &error));
    bd_event *event;
    OK(backend->buffer_read(device, b, 0, data, sizeof data, &event, &error));
    bd_vk_device_of(device)->lost = VK_ERROR_DEVICE_LOST;
    ck_assert(backend->event_done(device, event));
    ck_assert_int_eq(backend->program_run(device, program, 1, &error), BD_ERROR_LOST);
    ck_assert_ptr_nonnull(strstr(error.message, "VK_ERROR_DEVICE_LOST"));
    bd_error waited = { 0 };
    if (backend->finish(device, &waited) != BD_OK) /* unless everything had ended before */
        ck_assert_ptr_nonnull(strstr(waited.message, "VK_ERROR_DEVICE_LOST"));
    bd_vk_device_of(device)->lost = VK_SUCCESS; /* it is well, and everything must end before it is taken down */
    OK(backend->finish(device, &error));
    backend->event_destroy(device, event);
    backend->program_destroy(device, program);
    backend->buffer_destroy(device, a);
    backend->buffer_destroy(device, b);
    close_device();
}
END_TEST

START_TEST(empty_program_runs)
{
    open_device(_i);
    bd_backend_program *program = make_program(NULL, 0);
    OK(backend->program_run(device, program, 5, &error));
    OK(backend->program_profile(device, program, NULL, &error));
    backend->program_destroy(device, program);
    close_device();
}
END_TEST

/* ---- hazards; no device ---- */

static bool needs_barrier(bd_vk_hazards *hazards, bd_binding a, bd_binding b)
{
    bd_binding bindings[2] = { a, b };
    bool barrier;
    ck_assert(bd_vk_hazards_add(hazards, bindings, 2, &barrier));
    return barrier;
}

START_TEST(barriers_stand_only_where_needed)
{
    bd_buffer x = { .size = 4096 }, y = { .size = 4096 };
    bd_binding read_x = part(&x, 0, 256, false), write_x = part(&x, 0, 256, true), next_x = part(&x, 256, 256, true),
               over_x = part(&x, 255, 2, true), read_y = part(&y, 0, 256, false), write_y = part(&y, 0, 256, true);
    bd_vk_hazards hazards = { 0 };
    ck_assert(!needs_barrier(&hazards, read_x, write_y));
    ck_assert(!needs_barrier(&hazards, read_x, next_x)); /* reads together, disjoint parts */
    ck_assert(needs_barrier(&hazards, read_y, read_x));  /* read after write */
    ck_assert(!needs_barrier(&hazards, read_y, next_x)); /* what was before the barrier is settled */
    ck_assert(needs_barrier(&hazards, write_y, next_x)); /* write after read */
    ck_assert(needs_barrier(&hazards, write_y, read_x)); /* write after write */
    ck_assert(needs_barrier(&hazards, over_x, read_x));  /* by one byte */
    ck_assert(needs_barrier(&hazards, write_x, write_x));
    ck_assert(needs_barrier(&hazards, write_x, write_x));
    bd_vk_hazards_finish(&hazards);
}
END_TEST

int main(void)
{
    const int devices = device_count();
    if (devices == 0) {
        puts("no Vulkan device");
        return SKIPPED;
    }
    TCase *all = make_tests();
    tcase_add_test(all, list_is_stable_and_complete);
    tcase_add_test(all, open_beyond_the_last_is_refused);
    tcase_add_test(all, barriers_stand_only_where_needed);
    tcase_add_loop_test(all, probes_are_remembered, 0, devices);
    tcase_add_loop_test(all, pipeline_cache_of_another_driver_is_dropped, 0, devices);
    tcase_add_loop_test(all, buffers_hold_what_is_written, 0, devices);
    tcase_add_loop_test(all, large_transfers_arrive_whole, 0, devices);
    tcase_add_loop_test(all, too_large_a_buffer_is_refused, 0, devices);
    tcase_add_loop_test(all, bad_source_is_named, 0, devices);
    tcase_add_loop_test(all, dependent_dispatches_run_in_order, 0, devices);
    tcase_add_loop_test(all, transfers_keep_their_place, 0, devices);
    tcase_add_loop_test(all, transfers_with_an_event_do_not_wait, 0, devices);
    tcase_add_loop_test(all, many_runs_are_throttled, 0, devices);
    tcase_add_loop_test(all, profile_times_each_dispatch, 0, devices);
    tcase_add_loop_test(all, lost_device_is_named, 0, devices);
    tcase_add_loop_test(all, empty_program_runs, 0, devices);
    return run_tests("vulkan", all);
}
