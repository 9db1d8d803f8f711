/* The canary of the validation layers: two mistakes made on purpose, each of which they must report. Layers that are
 * switched on wrongly keep silent, and then the other tests' silence would mean nothing. */
#include "vulkan_fixture.h"

#include "../engine/cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char copy_text[] = "layout(local_size_x = 64) in;\n"
                                "layout(set = 0, binding = 0) readonly buffer B0 { uint b0[]; };\n"
                                "layout(set = 0, binding = 1) buffer B1 { uint b1[]; };\n"
                                "void main() { b1[gl_GlobalInvocationID.x] = b0[gl_GlobalInvocationID.x] + 1u; }\n";

/* A device with messages is not to be closed by close_device(), which asks for silence. */
static void close_noisy_device(void)
{
    bd_cache *cache = device->cache;
    backend->close(device);
    bd_cache_close(&cache);
}

START_TEST(silence_at_first)
{
    open_device(_i);
    ck_assert_uint_eq(bd_vk_message_count(device), 0);
    close_device();
}
END_TEST

/* Synchronisation validation: the second dispatch reads what the first wrote, but says that nothing is written, so that
 * no barrier stands between them. */
START_TEST(a_hazard_is_reported)
{
    open_device(_i);
    bd_buffer *a = make_buffer(4096), *b = make_buffer(4096), *c = make_buffer(4096);
    bd_binding from_a = part(a, 0, 4096, false), b_unsaid = part(b, 0, 4096, false), to_c = part(c, 0, 4096, true);
    test_dispatch launches[2] = { { copy_text, 16, { from_a, b_unsaid }, 2 },
                                  { copy_text, 16, { b_unsaid, to_c }, 2 } };
    bd_backend_program *program = make_program(launches, 2);
    OK(backend->program_run(device, program, 1, &error));
    OK(backend->finish(device, &error));
    ck_assert_uint_gt(bd_vk_message_count(device), 0);
    backend->program_destroy(device, program);
    backend->buffer_destroy(device, a);
    backend->buffer_destroy(device, b);
    backend->buffer_destroy(device, c);
    close_noisy_device();
}
END_TEST

/* Core validation: a binding that reaches beyond its buffer. It is never run. */
START_TEST(a_binding_out_of_range_is_reported)
{
    open_device(_i);
    bd_buffer *a = make_buffer(4096), *b = make_buffer(4096);
    test_dispatch launch = { copy_text, 16, { part(a, 0, 1 << 20, false), part(b, 0, 4096, true) }, 2 };
    bd_backend_program *program = make_program(&launch, 1);
    ck_assert_uint_gt(bd_vk_message_count(device), 0);
    backend->program_destroy(device, program);
    backend->buffer_destroy(device, a);
    backend->buffer_destroy(device, b);
    close_noisy_device();
}
END_TEST

static bool layer_installed(void)
{
    VkLayerProperties *layers = NULL;
    uint32_t count = 0;
    bool found = false;
    if (volkInitialize() != VK_SUCCESS || vkEnumerateInstanceLayerProperties(&count, NULL) != VK_SUCCESS)
        return false;
    layers = calloc((size_t)count + 1, sizeof *layers);
    if (layers && vkEnumerateInstanceLayerProperties(&count, layers) >= VK_SUCCESS)
        for (uint32_t i = 0; i < count && !found; i++)
            found = strcmp(layers[i].layerName, "VK_LAYER_KHRONOS_validation") == 0;
    free(layers);
    return found;
}

int main(void)
{
    const int devices = device_count();
    if (devices == 0 || !layer_installed()) {
        puts("no Vulkan device, or the validation layers are not installed");
        return SKIPPED;
    }
    TCase *all = make_tests();
    tcase_add_loop_test(all, silence_at_first, 0, devices);
    tcase_add_loop_test(all, a_hazard_is_reported, 0, devices);
    tcase_add_loop_test(all, a_binding_out_of_range_is_reported, 0, devices);
    return run_tests("validation", all);
}
