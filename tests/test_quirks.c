/* The quirks file: what is written is read, what is not as documented is refused with one clear line, and a device
 * obeys. */
#include "../backends/backend.h"
#include "../engine/quirks.h"
#include "../engine/tile.h"
#include "scratch.h"

#include <binade/binade.h>

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const bd_device_info device = { .backend = "vulkan", .name = "Toy", .driver = "toy 1.2" };

#define IDENTITY                                                                                                       \
    "\"format_version\":1,\"backend\":\"vulkan\",\"device\":\"Toy\",\"driver\":\"toy 1.2\",\"engine\":\"" BD_VERSION   \
    "\""

static void begin(void)
{
    scratch_create();
    /* Without drivers, which leak when they are looked for. */
    setenv("OCL_ICD_VENDORS", "/nonexistent", 1);
    setenv("VK_DRIVER_FILES", "/nonexistent", 1);
    setenv("VK_ICD_FILENAMES", "/nonexistent", 1);
    setenv("XDG_STATE_HOME", scratch_folder(), 1);
}

static bd_status parse(const char *text, bd_quirks *quirks, bd_error *error)
{
    return bd_quirks_parse("FILE", text, strlen(text), &device, quirks, error);
}

static bd_quirks many(void)
{
    bd_quirks q = { .no_half_arithmetic = true,
                    .flushes_f16 = true,
                    .flushes_f32 = true,
                    .max_workgroup_items = 128,
                    .max_buffer_bytes = 1 << 30,
                    .wrong = { "unary: exp", "rows" },
                    .wrong_count = 2 };
    q.avoid[BD_F16][BD_F32] = 1u << BD_VARIANT_SIMD | 1u << BD_VARIANT_GROUP_64X32;
    q.avoid[BD_F32][BD_F32] = 1u << BD_VARIANT_LIBRARY;
    return q;
}

START_TEST(what_is_saved_is_loaded)
{
    const bd_quirks saved = many();
    bd_quirks loaded, none = { 0 };
    bd_error error;
    char path[4096];
    ck_assert(bd_quirks_load(&device, &loaded, &error) == BD_OK && !bd_quirks_any(&loaded));
    ck_assert_msg(bd_quirks_save(&device, &saved, path, sizeof path, &error) == BD_OK, "%s", error.message);
    ck_assert_ptr_nonnull(strstr(path, scratch_folder()));
    ck_assert_msg(bd_quirks_load(&device, &loaded, &error) == BD_OK, "%s", error.message);
    ck_assert_mem_eq(&loaded, &saved, sizeof saved);
    /* another driver's are others */
    bd_device_info other = device;
    strcpy(other.driver, "toy 1.3");
    ck_assert(bd_quirks_load(&other, &loaded, &error) == BD_OK && !bd_quirks_any(&loaded));
    /* nothing to keep: the file goes */
    ck_assert_int_eq(bd_quirks_save(&device, &none, path, sizeof path, &error), BD_OK);
    ck_assert_int_ne(access(path, F_OK), 0);
    ck_assert_int_eq(bd_quirks_save(&device, &none, path, sizeof path, &error), BD_OK);
}
END_TEST

static const struct {
    const char *text, *what;
} bad[] = {
    { "", "line" },
    { "{", "line 1" },
    { "[]", "not a JSON object" },
    { "{}", "format_version" },
    { "{\"format_version\":2}", "format_version" },
    { "{\"format_version\":1,\"backend\":\"opencl\"}", "backend" },
    { "{" IDENTITY ",\"driver\":\"x\"}", "duplicate" },
    { "{" IDENTITY ",\"speed\":1}", "'speed'" },
    { "{" IDENTITY ",\"no_half_arithmetic\":1}", "no_half_arithmetic" },
    { "{" IDENTITY ",\"flushes_f16\":false}", "flushes_f16" },
    { "{" IDENTITY ",\"flushes_f32\":\"yes\"}", "flushes_f32" },
    { "{" IDENTITY ",\"max_workgroup_items\":0}", "max_workgroup_items" },
    { "{" IDENTITY ",\"max_workgroup_items\":1e3}", "max_workgroup_items" },
    { "{" IDENTITY ",\"max_buffer_bytes\":-1}", "max_buffer_bytes" },
    { "{" IDENTITY ",\"max_buffer_bytes\":1}", "max_buffer_bytes" },
    { "{" IDENTITY ",\"wrong\":{}}", "'wrong'" },
    { "{" IDENTITY ",\"wrong\":[1]}", "'wrong'" },
    { "{" IDENTITY ",\"wrong_variants\":{}}", "wrong_variants" },
    { "{" IDENTITY ",\"wrong_variants\":[1]}", "wrong variant" },
    { "{" IDENTITY ",\"wrong_variants\":[{\"variant\":\"simd\",\"format\":\"f16\"}]}", "accumulator" },
    { "{" IDENTITY ",\"wrong_variants\":[{\"variant\":\"simd\",\"format\":\"u8\",\"accumulator\":\"f32\"}]}",
      "'format'" },
    { "{" IDENTITY ",\"wrong_variants\":[{\"variant\":\"simt\",\"format\":\"f16\",\"accumulator\":\"f32\"}]}", "simt" },
    { "{" IDENTITY ",\"wrong_variants\":[{\"variant\":\"simd\",\"format\":\"f16\",\"accumulator\":\"f32\",\"k\":8}]}",
      "simd" },
};

START_TEST(bad_files_are_refused)
{
    bd_quirks quirks = many();
    bd_error error = { 0 };
    ck_assert_int_eq(parse(bad[_i].text, &quirks, &error), BD_ERROR_DATA);
    ck_assert_msg(strstr(error.message, bad[_i].what) && strstr(error.message, "FILE") &&
                      strstr(error.message, "BINADE_QUIRKS"),
                  "%s", error.message);
    ck_assert(!bd_quirks_any(&quirks));
}
END_TEST

START_TEST(the_least_file_says_nothing)
{
    bd_quirks quirks;
    bd_error error;
    ck_assert_msg(parse("{" IDENTITY "}", &quirks, &error) == BD_OK, "%s", error.message);
    ck_assert(!bd_quirks_any(&quirks));
}
END_TEST

/* The path of the device's file, in a folder that exists. */
static const char *place(void)
{
    static char path[4096];
    bd_quirks some = many();
    bd_error error;
    ck_assert_msg(bd_quirks_save(&device, &some, path, sizeof path, &error) == BD_OK, "%s", error.message);
    return path;
}

START_TEST(a_huge_file_is_refused)
{
    bd_quirks quirks;
    bd_error error;
    const char *path = place();
    ck_assert_int_eq(truncate(path, (off_t)1 << 33), 0);
    ck_assert_int_eq(bd_quirks_load(&device, &quirks, &error), BD_ERROR_DATA);
    ck_assert_msg(strstr(error.message, "larger than") && strstr(error.message, path), "%s", error.message);
}
END_TEST

START_TEST(what_cannot_be_read_is_an_error)
{
    bd_quirks quirks, some = many();
    bd_error error;
    char path[4096];
    strcpy(path, place());
    /* a folder in the file's place: the tests may run as root, whom no permission stops */
    ck_assert(unlink(path) == 0 && mkdir(path, 0700) == 0);
    ck_assert_int_eq(bd_quirks_load(&device, &quirks, &error), BD_ERROR_FILE);
    ck_assert_msg(strstr(error.message, path) && strstr(error.message, "BINADE_QUIRKS"), "%s", error.message);
    ck_assert_int_eq(bd_quirks_save(&device, &some, path, sizeof path, &error), BD_ERROR_FILE);
    ck_assert_int_eq(bd_quirks_save(&device, &(bd_quirks){ 0 }, path, sizeof path, &error), BD_ERROR_FILE);
    if (geteuid() != 0) {
        ck_assert_int_eq(rmdir(path), 0);
        *strrchr(path, '/') = 0;
        ck_assert_int_eq(chmod(path, 0), 0);
        ck_assert_int_eq(bd_quirks_load(&device, &quirks, &error), BD_ERROR_FILE);
        ck_assert_int_eq(chmod(path, 0700), 0);
    }
}
END_TEST

START_TEST(without_a_home_there_are_none)
{
    bd_quirks quirks, some = many();
    bd_error error;
    char path[4096];
    setenv("XDG_STATE_HOME", "relative", 1);
    unsetenv("HOME");
    ck_assert(bd_quirks_load(&device, &quirks, &error) == BD_OK && !bd_quirks_any(&quirks));
    ck_assert_int_eq(bd_quirks_save(&device, &some, path, sizeof path, &error), BD_ERROR_FILE);
    setenv("HOME", scratch_folder(), 1);
    ck_assert_msg(bd_quirks_save(&device, &some, path, sizeof path, &error) == BD_OK, "%s", error.message);
    ck_assert_ptr_nonnull(strstr(path, "/.local/state/binade/quirks/vulkan-"));
}
END_TEST

START_TEST(merging_takes_the_stricter)
{
    bd_quirks a = { .max_workgroup_items = 256, .wrong = { "one" }, .wrong_count = 1 };
    const bd_quirks b = many(), c = { .max_buffer_bytes = 65536, .wrong = { "one" }, .wrong_count = 1 };
    bd_quirks_merge(&a, &b);
    bd_quirks_merge(&a, &c);
    ck_assert_uint_eq(a.max_workgroup_items, 128);
    ck_assert_uint_eq(a.max_buffer_bytes, 65536);
    ck_assert_uint_eq(a.avoid[BD_F16][BD_F32], b.avoid[BD_F16][BD_F32]);
    ck_assert(a.no_half_arithmetic && a.flushes_f16 && a.flushes_f32);
    ck_assert_int_eq(a.wrong_count, 3);
}
END_TEST

/* A plain matrix product in F16, planned for `target`; NULL with the error where there is none. */
static bd_plan *plan_product(const bd_target *target, bd_error *error)
{
    bd_graph *graph;
    bd_plan *plan = NULL;
    bd_precision precision;
    const bd_init zeros = { BD_INIT_CONSTANT, 0 };
    ck_assert_int_eq(bd_graph_create(&graph, error), BD_OK);
    const bd_tensor a = bd_variable(graph, "a", BD_ROLE_WEIGHT, BD_F32, BD_SHAPE(256, 256), zeros);
    const bd_tensor b = bd_variable(graph, "b", BD_ROLE_WEIGHT, BD_F32, BD_SHAPE(256, 256), zeros);
    bd_assign(graph, bd_variable(graph, "y", BD_ROLE_WEIGHT, BD_F32, BD_SHAPE(256, 256), zeros),
              bd_matmul(graph, a, b, false, false));
    ck_assert_int_eq(bd_precision_parse("fp16", &precision, error), BD_OK);
    ck_assert_int_eq(bd_graph_apply_precision(graph, &precision, error), BD_OK);
    bd_plan_create(graph, target, NULL, &plan, error);
    bd_graph_destroy(&graph);
    return plan;
}

static bd_variant variant_in(const bd_plan *plan)
{
    for (int k = 0; k < plan->kernel_count; k++)
        if (plan->kernels[k].class == BD_KERNEL_CONTRACTION)
            return bd_variant_of(&plan->kernels[k]);
    ck_abort_msg("no contraction");
    return BD_VARIANT_COUNT;
}

/* Leaves out whatever is planned until nothing is left; each variant comes once. */
START_TEST(plans_leave_wrong_variants_out)
{
    bd_target target;
    bd_error error;
    bd_plan *plan;
    uint32_t seen = 0;
    int count = 0;
    bd_target_default(&target);
    target.is_cpu = target.vector_types = _i == 1;
    target.texel_elements = _i == 2 ? 1 << 27 : 0;
    target.texel_bindings = 16;
    target.shuffles = _i == 2;
    target.limits.max_workgroup_items = target.limits.max_workgroup_size[0] = 512; /* every tile fits */
    target.limits.shared_bytes = 65536;
    while ((plan = plan_product(&target, &error))) {
        const bd_variant variant = variant_in(plan);
        ck_assert_msg(!(seen >> variant & 1), "%s again", bd_variant_name(variant));
        seen |= 1u << variant;
        count++;
        target.avoid[BD_F16][BD_F32] = seen;
        bd_plan_destroy(&plan);
    }
    ck_assert_int_eq(error.status, BD_ERROR_UNSUPPORTED);
    ck_assert_msg(strstr(error.message, "every variant computes wrongly in f16"), "%s", error.message);
    ck_assert_int_eq(count, _i == 0 ? BD_PLAIN_TILES : BD_PLAIN_TILES + 1);
    ck_assert(_i != 1 || seen >> BD_VARIANT_VECTOR & 1);
    ck_assert(_i != 2 || seen >> BD_VARIANT_SIMD & 1);
}
END_TEST

/* What a device looks like afterwards: the reference has no backend's resources, so it will do. */
START_TEST(a_device_obeys)
{
    bd_device *opened;
    bd_error error;
    ck_assert_msg(bd_device_open_without_quirks("reference", &opened, &error) == BD_OK, "%s", error.message);
    bd_quirks quirks = many();
    quirks.max_workgroup_items = 1;
    bd_quirks_apply(&quirks, opened);
    ck_assert_uint_eq(opened->info.limits.max_workgroup_items, 1);
    ck_assert_uint_eq(opened->target.limits.max_buffer_bytes, 1 << 30);
    ck_assert(!opened->target.half.arithmetic_exact && !opened->info.half.subnormals_f32);
    ck_assert_uint_eq(opened->target.avoid[BD_F32][BD_F32], 1u << BD_VARIANT_LIBRARY);
    ck_assert_ptr_nonnull(strstr(bd_device_get_info(opened)->quirks, "simd in f16"));
    ck_assert_ptr_nonnull(strstr(bd_device_get_info(opened)->quirks, "unary: exp and more"));
    const bd_device_info info = opened->info;
    bd_device_close(&opened);

    /* the same through the file; and off */
    char path[4096];
    quirks.max_buffer_bytes = 65536;
    ck_assert_msg(bd_quirks_save(&info, &quirks, path, sizeof path, &error) == BD_OK, "%s", error.message);
    ck_assert_msg(bd_device_open("reference", &opened, &error) == BD_OK, "%s", error.message);
    ck_assert_uint_eq(opened->info.limits.max_buffer_bytes, 65536);
    bd_device_close(&opened);
    setenv("BINADE_QUIRKS", "off", 1);
    ck_assert_msg(bd_device_open("reference", &opened, &error) == BD_OK, "%s", error.message);
    ck_assert(!opened->info.quirks[0] && opened->info.limits.max_buffer_bytes > 65536);
    bd_device_close(&opened);
    unsetenv("BINADE_QUIRKS");
    FILE *file = fopen(path, "w");
    ck_assert(file && fputs("{", file) >= 0 && fclose(file) == 0);
    ck_assert_int_eq(bd_device_open("reference", &opened, &error), BD_ERROR_DATA);
    ck_assert_ptr_null(opened);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("quirks");
    TCase *tests = tcase_create("quirks");
    tcase_add_checked_fixture(tests, begin, scratch_remove);
    tcase_add_test(tests, what_is_saved_is_loaded);
    tcase_add_loop_test(tests, bad_files_are_refused, 0, sizeof bad / sizeof bad[0]);
    tcase_add_test(tests, the_least_file_says_nothing);
    tcase_add_test(tests, a_huge_file_is_refused);
    tcase_add_test(tests, what_cannot_be_read_is_an_error);
    tcase_add_test(tests, without_a_home_there_are_none);
    tcase_add_test(tests, merging_takes_the_stricter);
    tcase_add_loop_test(tests, plans_leave_wrong_variants_out, 0, 3);
    tcase_add_test(tests, a_device_obeys);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
