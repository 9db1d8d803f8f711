#include "vulkan_fixture.h"

#include "../engine/cache.h"
#include "../engine/embedded.h"
#include "../engine/text.h"
#include "scratch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const bd_backend *backend;
bd_device *device;
bd_error error;
static bd_cache *cache;

int device_count(void)
{
    bd_device_info *infos = NULL;
    size_t count = 0;
    if (bd_vulkan_backend()->list(&infos, &count, &error) != BD_OK)
        fprintf(stderr, "%s\n", error.message);
    free(infos);
    return (int)count;
}

TCase *make_tests(void)
{
    TCase *tests = tcase_create("tests");
    tcase_add_unchecked_fixture(tests, scratch_create, scratch_remove); /* one folder, so that the cache works */
    tcase_set_timeout(tests, 300);
    return tests;
}

int run_tests(const char *name, TCase *tests)
{
    Suite *suite = suite_create(name);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK); /* drivers keep threads, which a forked child would not have */
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

void open_device(int index)
{
    backend = bd_vulkan_backend();
    cache = bd_cache_open_in(scratch_folder(), 1 << 26);
    OK(backend->open((size_t)index, cache, &device, &error));
}

void close_device(void)
{
    uint64_t now, peak;
    backend->memory(device, &now, &peak);
    ck_assert_uint_eq(now, 0);
    ck_assert_msg(bd_vk_message_count(device) == 0, "the validation layers object; see stderr");
    backend->close(device);
    bd_cache_close(&cache);
}

bd_binding part(bd_buffer *buffer, uint64_t offset, uint64_t size, bool written)
{
    return (bd_binding){ .buffer = buffer, .offset = offset, .size = size, .written = written };
}

bd_binding whole(bd_buffer *buffer, bool written)
{
    return part(buffer, 0, buffer->size, written);
}

bd_buffer *make_buffer(uint64_t size)
{
    bd_buffer *buffer;
    OK(backend->buffer_create(device, size, &buffer, &error));
    return buffer;
}

bd_buffer *upload(const void *data, uint64_t size)
{
    bd_buffer *buffer = make_buffer(size);
    OK(backend->buffer_write(device, buffer, 0, data, size, NULL, &error));
    return buffer;
}

void download(bd_buffer *buffer, void *data, uint64_t size)
{
    OK(backend->buffer_read(device, buffer, 0, data, size, NULL, &error));
}

bd_backend_program *make_program(const test_dispatch *launches, int count)
{
    bd_kernel kernels[8];
    bd_dispatch dispatches[8];
    ck_assert_int_le(count, 8);
    for (int i = 0; i < count; i++) {
        kernels[i] = (bd_kernel){ .name = "test", .groups = { launches[i].groups, 1, 1 } };
        dispatches[i] = (bd_dispatch){ .kernel = &kernels[i],
                                       .source = launches[i].source,
                                       .bindings = launches[i].bindings,
                                       .binding_count = launches[i].binding_count };
    }
    bd_program_desc desc = { .dispatches = dispatches, .dispatch_count = count };
    bd_backend_program *program;
    OK(backend->program_create(device, &desc, &program, &error));
    return program;
}

void run_once(const test_dispatch *launch)
{
    bd_backend_program *program = make_program(launch, 1);
    OK(backend->program_run(device, program, 1, &error));
    OK(backend->finish(device, &error));
    backend->program_destroy(device, program);
}

char *with_prelude(bool native, const char *body)
{
    const bd_half_support *half = &device->info.half;
    const char *prelude = bd_embedded_text("shaders/prelude.comp");
    bd_text text = { 0 };
    bd_text_append(&text, "#define BD_HALF_STORAGE %d\n#define BD_HALF_CONVERSION %d\n#define BD_HALF_ARITHMETIC %d\n",
                   native && half->storage, native && half->conversion_exact, native && half->arithmetic_exact);
    bd_text_append_raw(&text, prelude, strlen(prelude));
    bd_text_append_raw(&text, body, strlen(body));
    ck_assert(!text.failed);
    return text.data;
}
