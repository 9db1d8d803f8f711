/* Every n-th allocation fails, of the host's memory and of the device's, and the device is lost in every n-th call that
 * it has to do with: what is asked for then ends with one clear error or goes on without (a cache may), and nothing is
 * leaked, which AddressSanitizer tells. test_faults DEVICE [MOST]: at most so many points of failure are tried, evenly
 * spread (default: all). 77 where there is no such device.
 *
 * The linker wraps the allocation functions (meson.build), so the library's own calls fail, not those of drivers and of
 * other libraries. */
#include "../backends/backend.h"
#include "scratch.h"
#include "train_fixture.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *device_name = "reference";
static long most = 1000000;

/* ---- the host's memory ---- */

static bool armed;                /* only in run(): Check allocates too */
static long allocations, failing; /* the one that fails, 0: none */

static bool fails(void)
{
    return armed && ++allocations == failing;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *pointer, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *pointer, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t size);
int __wrap_asprintf(char **text, const char *format, ...) __attribute__((format(printf, 2, 3)));

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *pointer, size_t size)
{
    return fails() ? NULL : __real_realloc(pointer, size);
}

char *__wrap_strdup(const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t size)
{
    return fails() ? NULL : __real_strndup(text, size);
}

int __wrap_asprintf(char **text, const char *format, ...)
{
    if (fails()) {
        *text = (char *)1; /* undefined after a failure: nobody may look */
        return -1;
    }
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(text, format, arguments);
    va_end(arguments);
    return length;
}

/* ---- the device's ---- */

static long buffers, failing_buffer;
static const bd_backend *whole;
static bd_backend failing_backend;

static bd_status create_or_fail(bd_device *device, uint64_t size, bd_buffer **buffer, bd_error *error)
{
    if (++buffers == failing_buffer)
        return bd_fail(error, BD_ERROR_MEMORY, "the device has no memory for %llu bytes", (unsigned long long)size);
    return whole->buffer_create(device, size, buffer, error);
}

/* ---- a device that is lost: what it was given before is finished, then every call fails ---- */

static long calls, losing;

static bool is_lost(bd_device *device)
{
    if (++calls == losing)
        whole->finish(device, NULL);
    return losing && calls >= losing;
}

static bd_status say_lost(bd_error *error)
{
    return bd_fail(error, BD_ERROR_LOST, "it is gone");
}

static bd_status write_or_lose(bd_device *device, bd_buffer *buffer, uint64_t offset, const void *data, uint64_t size,
                               bd_event **event, bd_error *error)
{
    return is_lost(device) ? say_lost(error) : whole->buffer_write(device, buffer, offset, data, size, event, error);
}

static bd_status read_or_lose(bd_device *device, bd_buffer *buffer, uint64_t offset, void *data, uint64_t size,
                              bd_event **event, bd_error *error)
{
    return is_lost(device) ? say_lost(error) : whole->buffer_read(device, buffer, offset, data, size, event, error);
}

static bd_status run_or_lose(bd_device *device, bd_backend_program *program, uint32_t repeats, bd_error *error)
{
    return is_lost(device) ? say_lost(error) : whole->program_run(device, program, repeats, error);
}

static bd_status wait_or_lose(bd_device *device, bd_event *event, bd_error *error)
{
    return is_lost(device) ? say_lost(error) : whole->event_wait(device, event, error);
}

static bd_status finish_or_lose(bd_device *device, bd_error *error)
{
    return is_lost(device) ? say_lost(error) : whole->finish(device, error);
}

/* ---- a run: it trains, saves, goes on from what it saved, and reads weights ---- */

static bd_status train_some(bd_device *device, bd_train_params *params, bd_error *error)
{
    bd_trainer *trainer = NULL;
    double weights[FIXTURE_CLASSES];
    float logits[FIXTURE_TEST * FIXTURE_CLASSES];
    bd_status status = bd_trainer_create(device, params, &trainer, error);
    if (!status)
        status = bd_trainer_run(trainer, NULL, error);
    if (!status)
        status = bd_trainer_read(trainer, "fc/bias", weights, FIXTURE_CLASSES, error);
    if (!status)
        status = bd_trainer_predict(trainer, NULL, FIXTURE_TEST, logits, error);
    if (!status && params->checkpoint)
        status = bd_trainer_take_weights(trainer, params->checkpoint, error);
    bd_trainer_destroy(&trainer);
    return status;
}

static bd_status run(const bd_dataset *dataset, bool wrap, bd_error *error)
{
    bd_device *device = NULL;
    bd_status status = bd_device_open(device_name, &device, error);
    if (status)
        return status;
    if (wrap) {
        whole = device->backend;
        failing_backend = *whole;
        failing_backend.buffer_create = create_or_fail;
        failing_backend.buffer_write = write_or_lose;
        failing_backend.buffer_read = read_or_lose;
        failing_backend.program_run = run_or_lose;
        failing_backend.event_wait = wait_or_lose;
        failing_backend.finish = finish_or_lose;
        device->backend = &failing_backend;
    }
    bd_train_params params = { 0 };
    bd_train_params_init(&params);
    params.model = fixture_net;
    params.model_name = "fixture";
    params.dataset = dataset;
    params.batch = FIXTURE_BATCH;
    params.optimizer.kind = BD_OPTIMIZER_ADAM;
    params.epochs = 1;
    params.max_steps = 3;
    params.checkpoint = scratch_path("checkpoint");
    status = bd_precision_parse("mixed", &params.precision, error);
    if (!status)
        status = train_some(device, &params, error);
    params.max_steps = 5;
    params.resume = params.checkpoint;
    if (!status)
        status = train_some(device, &params, error);
    if (wrap)
        device->backend = whole;
    bd_device_close(&device);
    return status;
}

static void expect_clean(bd_status status, const bd_error *error, bd_status wanted, const char *what, long number)
{
    if (status == BD_OK)
        return;
    const char *word = wanted == BD_ERROR_LOST ? "gone" : "memory";
    ck_assert_msg(status == wanted && strstr(error->message, word) && !strchr(error->message, '\n'),
                  "%s %ld failed: %s: %s", what, number, bd_status_name(status), error->message);
}

/* Tries numbers from 1 to `count`; what does not go on without ends with `wanted`. */
static void each(long count, long *number, bd_dataset *dataset, bool wrap, bd_status wanted, const char *what)
{
    const long tries = count < most ? count : most;
    long told = 0;
    for (long i = 0; i < tries; i++) {
        bd_error error = { 0 };
        *number = 1 + i * count / tries;
        allocations = buffers = calls = 0;
        armed = true;
        bd_status status = run(dataset, wrap, &error);
        armed = false;
        long at = *number;
        *number = 0;
        expect_clean(status, &error, wanted, what, at);
        told += status != BD_OK;
    }
    printf("%s: %ld of %ld failed one by one: %ld clean errors, %ld went on without\n", what, tries, count, told,
           tries - told);
    ck_assert_int_gt(told, tries / 2);
    /* And the run is as whole as before. */
    bd_error error = { 0 };
    must(run(dataset, wrap, &error), &error);
}

START_TEST(host_memory)
{
    scratch_create();
    bd_dataset *dataset = fixture_dataset();
    bd_error error = { 0 };
    must(run(dataset, false, &error), &error); /* fills the caches */
    allocations = 0;
    armed = true;
    bd_status status = run(dataset, false, &error);
    armed = false;
    must(status, &error);
    each(allocations, &failing, dataset, false, BD_ERROR_MEMORY, "allocation");
    fixture_free(&dataset);
    scratch_remove();
}
END_TEST

START_TEST(device_memory)
{
    scratch_create();
    bd_dataset *dataset = fixture_dataset();
    bd_error error = { 0 };
    buffers = 0;
    must(run(dataset, true, &error), &error);
    ck_assert_int_gt(buffers, 4);
    each(buffers, &failing_buffer, dataset, true, BD_ERROR_MEMORY, "buffer");
    fixture_free(&dataset);
    scratch_remove();
}
END_TEST

START_TEST(lost_device)
{
    scratch_create();
    bd_dataset *dataset = fixture_dataset();
    bd_error error = { 0 };
    calls = 0;
    must(run(dataset, true, &error), &error);
    ck_assert_int_gt(calls, 20);
    each(calls, &losing, dataset, true, BD_ERROR_LOST, "call");
    fixture_free(&dataset);
    scratch_remove();
}
END_TEST

int main(int argc, char **argv)
{
    if (argc > 1)
        device_name = argv[1];
    if (argc > 2)
        most = atol(argv[2]);
    if (!fixture_device_opens(device_name)) {
        printf("skipped: there is no %s\n", device_name);
        return 77;
    }
    Suite *suite = suite_create(device_name);
    TCase *tests = tcase_create("faults");
    tcase_set_timeout(tests, 1200);
    tcase_add_test(tests, host_memory);
    tcase_add_test(tests, device_memory);
    tcase_add_test(tests, lost_device);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
