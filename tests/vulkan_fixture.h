/* One Vulkan device of a test's own, and kernels written in the test run on it. */
#ifndef BINADE_TESTS_VULKAN_FIXTURE_H
#define BINADE_TESTS_VULKAN_FIXTURE_H

#include "../backends/vulkan/vulkan.h"

#include <check.h>

enum { SKIPPED = 77 };

extern const bd_backend *backend;
extern bd_device *device;
extern bd_error error;

#define OK(call) ck_assert_msg((call) == BD_OK, "%s: %s", #call, error.message)

/* Outside of any test: no assertions. */
int device_count(void);
/* An empty case, whose tests share a folder; and main()'s result once it is filled. */
TCase *make_tests(void);
int run_tests(const char *name, TCase *tests);

/* The device's cache is in the test's scratch folder. */
void open_device(int index);
/* Everything must be freed by now, and the validation layers, where they are on, must have said nothing. */
void close_device(void);

/* Bindings: a whole buffer, or `size` bytes of it from `offset`. */
bd_binding whole(bd_buffer *buffer, bool written);
bd_binding part(bd_buffer *buffer, uint64_t offset, uint64_t size, bool written);

bd_buffer *make_buffer(uint64_t size);
/* With this content. */
bd_buffer *upload(const void *data, uint64_t size);
void download(bd_buffer *buffer, void *data, uint64_t size);

typedef struct test_dispatch {
    const char *source;
    uint32_t groups;
    bd_binding bindings[6];
    int binding_count;
} test_dispatch;

bd_backend_program *make_program(const test_dispatch *launches, int count);
/* One launch, run once and waited for. */
void run_once(const test_dispatch *launch);

/* The prelude with the device's own abilities switched on (or none: the portable paths), then `body`. The caller
 * frees. */
char *with_prelude(bool native, const char *body);

#endif
