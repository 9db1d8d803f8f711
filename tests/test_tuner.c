/* The tuner on an OpenCL device that is taken for a GPU: what it chooses computes the same, and is chosen again. */
#include "../engine/program.h"
#include "scratch.h"

#include <binade/binade.h>

#include <check.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 384, NOTHING_TO_RUN = 77 };

static bd_device *device;
static bd_format operands = BD_F32;
static double moved; /* of a's whole numbers, up: as learned steps store activations that are never negative */

/* y = a b of whole numbers, whose sums are exact. Returns the tile that was taken. */
static bd_tile run(bd_tuning tuning, double *result)
{
    bd_error error = { 0 };
    bd_graph *graph;
    ck_assert_int_eq(bd_graph_create(&graph, &error), BD_OK);
    bd_set_role(graph, BD_ROLE_FIXED);
    const bd_init zero = { BD_INIT_CONSTANT, 0 };
    const bd_shape shape = BD_SHAPE(SIDE, SIDE);
    bd_tensor a = bd_variable(graph, "/left", BD_ROLE_FIXED, operands, shape, zero);
    if (moved > 0) {
        a = bd_add(graph, a, bd_constant(graph, shape, moved));
        graph->nodes[a].recompute = true;
    }
    bd_tensor b = bd_variable(graph, "/right", BD_ROLE_FIXED, operands, shape, zero);
    bd_assign(graph, bd_variable(graph, "/product", BD_ROLE_FIXED, BD_F32, shape, zero),
              bd_matmul(graph, a, b, false, true));
    bd_precision precision;
    ck_assert_int_eq(bd_precision_parse("fp32", &precision, &error), BD_OK);
    ck_assert_msg(bd_graph_apply_precision(graph, &precision, &error) == BD_OK, "%s", error.message);

    bd_plan *plan;
    bd_store *store;
    bd_program *program;
    ck_assert_msg(bd_plan_create(graph, &device->target, &(bd_compile_options){ .tuning = tuning }, &plan, &error) ==
                      BD_OK,
                  "%s", error.message);
    ck_assert_int_eq(bd_store_create(device, &store, &error), BD_OK);
    ck_assert_msg(bd_program_create(store, &plan, 1, NULL, NULL, &program, &error) == BD_OK, "%s", error.message);
    static double left[SIDE * SIDE], right[SIDE * SIDE];
    for (int i = 0; i < SIDE * SIDE; i++) {
        left[i] = i * 7 % 11 - 5;
        right[i] = i * 5 % 13 - 6;
    }
    ck_assert_int_eq(bd_store_write_values(store, "left", left, SIDE * SIDE, &error), BD_OK);
    ck_assert_int_eq(bd_store_write_values(store, "right", right, SIDE * SIDE, &error), BD_OK);
    ck_assert_msg(bd_program_run(program, 1, &error) == BD_OK, "%s", error.message);
    ck_assert_msg(bd_store_read_values(store, "product", result, SIDE * SIDE, &error) == BD_OK, "%s", error.message);
    const bd_tile tile = bd_program_plan(program)->kernels[0].tile;
    ck_assert_int_eq(tile.kind, BD_TILE_GROUP);
    for (int i = 0; i < SIDE * SIDE; i += 101) {
        double sum = 0;
        for (int k = 0; k < SIDE; k++)
            sum += (left[i / SIDE * SIDE + k] + moved) * right[i % SIDE * SIDE + k];
        ck_assert_double_eq(result[i], sum);
    }
    bd_program_destroy(&program);
    bd_store_destroy(&store);
    bd_graph_destroy(&graph);
    return tile;
}

static void expect_same(const bd_tile *a, const bd_tile *b)
{
    ck_assert(a->kind == b->kind && a->m == b->m && a->n == b->n && a->k == b->k && a->item_m == b->item_m &&
              a->item_n == b->item_n && a->slices == b->slices);
}

START_TEST(a_choice_is_right_and_remembered)
{
    static double first[SIDE * SIDE], second[SIDE * SIDE];
    const bd_tile chosen = run(BD_TUNING_FULL, first);
    for (int i = 0; i < 3; i++) {
        const bd_tile again = run(BD_TUNING_FULL, second);
        expect_same(&chosen, &again);
        ck_assert_mem_eq(first, second, sizeof first);
    }
}
END_TEST

/* What the cache remembers from before does not bring a variant back. */
START_TEST(a_wrong_variant_is_not_chosen)
{
    static double result[SIDE * SIDE];
    uint32_t *avoid = &device->target.avoid[BD_F32][BD_F32];
    *avoid = (1u << BD_VARIANT_COUNT) - 1 - (1u << BD_VARIANT_GROUP_32X32);
    const bd_tile left = run(BD_TUNING_FULL, result);
    ck_assert(left.m == 32 && left.n == 32);
    *avoid = 0;
}
END_TEST

/* No driver here compiles a kernel by wgmma; another tile does its work, and the device is not asked again. */
START_TEST(a_refused_tile_gives_way)
{
    static double result[SIDE * SIDE];
    const bd_target before = device->target;
    device->target.matrix = (bd_matrix_units){ 16, 16, 16, 32, .warpgroup_bytes = 197632 };
    device->target.limits.max_workgroup_items = device->target.limits.max_workgroup_size[0] = 1024;
    operands = BD_F16;
    run(BD_TUNING_OFF, result);
    ck_assert_uint_eq(device->target.matrix.warpgroup_bytes, 0);
    operands = BD_F32;
    device->target = before;
}
END_TEST

/* Entries of the cache's file. */
static int count_entries(const char *query)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/binade/cache.sqlite", scratch_folder());
    sqlite3 *base;
    sqlite3_stmt *statement;
    ck_assert_int_eq(sqlite3_open_v2(path, &base, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_prepare_v2(base, query, -1, &statement, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(statement), SQLITE_ROW);
    const int count = sqlite3_column_int(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(base);
    return count;
}

/* Kernels that were compiled so far. */
static int compiled(void)
{
    return count_entries("SELECT count(*) FROM blobs WHERE kind <> 'tune'");
}

/* A choice is remembered where one was measured and its results found right. */
START_TEST(moved_whole_numbers_are_measured)
{
    static const char choices[] = "SELECT count(*) FROM blobs WHERE kind = 'tune'";
    static double result[SIDE * SIDE];
    uint32_t *avoid = &device->target.avoid[BD_F32][BD_F32];
    *avoid = (1u << BD_VARIANT_COUNT) - 1 - (1u << BD_VARIANT_GROUP_32X32) - (1u << BD_VARIANT_GROUP_64X64);
    operands = BD_I8;
    run(BD_TUNING_FULL, result);
    const int before = count_entries(choices);
    moved = 128;
    run(BD_TUNING_FULL, result);
    ck_assert_int_eq(count_entries(choices), before + 1);
    moved = 0;
    operands = BD_F32;
    *avoid = 0;
}
END_TEST

START_TEST(full_measures_what_quick_left_out)
{
    static double result[SIDE * SIDE];
    run(BD_TUNING_OFF, result);
    const int one = compiled();
    run(BD_TUNING_QUICK, result);
    const int few = compiled();
    ck_assert_int_gt(few, one);
    run(BD_TUNING_QUICK, result);
    ck_assert_int_eq(compiled(), few);
    const bd_tile best = run(BD_TUNING_FULL, result);
    const int all = compiled();
    ck_assert_int_gt(all, few);
    for (int tuning = BD_TUNING_QUICK; tuning <= BD_TUNING_FULL; tuning++) {
        const bd_tile again = run((bd_tuning)tuning, result);
        expect_same(&again, &best);
    }
    ck_assert_int_eq(compiled(), all);
}
END_TEST

static void open_device(void)
{
    bd_error error = { 0 };
    scratch_create();
    setenv("XDG_CACHE_HOME", scratch_folder(), 1);
    ck_assert_msg(bd_device_open("opencl", &device, &error) == BD_OK, "%s", error.message);
    device->target.is_cpu = false;
}

static void close_device(void)
{
    bd_device_close(&device);
    scratch_remove();
}

static bool is_there(const char *backend)
{
    bd_device_info *infos = NULL;
    size_t count = 0;
    bool found = false;
    if (bd_device_list(&infos, &count, NULL) == BD_OK)
        for (size_t i = 0; i < count; i++)
            found |= strcmp(infos[i].backend, backend) == 0;
    free(infos);
    return found;
}

int main(void)
{
    if (!is_there("opencl"))
        return NOTHING_TO_RUN;
    Suite *suite = suite_create("tuner");
    TCase *tests = tcase_create("tuner"), *fresh = tcase_create("fresh cache");
    tcase_set_timeout(tests, 120);
    tcase_set_timeout(fresh, 120);
    tcase_add_unchecked_fixture(tests, open_device, close_device);
    tcase_add_unchecked_fixture(fresh, open_device, close_device);
    tcase_add_test(tests, a_choice_is_right_and_remembered);
    tcase_add_test(tests, a_wrong_variant_is_not_chosen);
    tcase_add_test(tests, a_refused_tile_gives_way);
    tcase_add_test(tests, moved_whole_numbers_are_measured);
    tcase_add_test(fresh, full_measures_what_quick_left_out);
    suite_add_tcase(suite, tests);
    suite_add_tcase(suite, fresh);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK); /* drivers do not survive a fork */
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
