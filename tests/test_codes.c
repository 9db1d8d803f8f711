/* Matrix units of 8 bits: what the start-up test finds of units that are simulated here, and which contractions they
 * may do. */
#include "../backends/probe_codes.h"
#include "../engine/tile.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { M = 64, N = 16, K = 64, STEPS = 32 };
static const bd_format formats[] = { BD_F8E4M3, BD_F8E5M2, BD_I8, BD_U8 };

/* A unit that aligns what an instruction of 32 steps adds to the largest, and cuts it off `kept` bits behind that, and
 * the result behind its own leading bit (arXiv:2511.10909). */
typedef struct unit {
    int kept;
    bool no_mixed_signs, broken, lost;
    int runs;
} unit;

static double cut(double value, double step)
{
    return step > 0 ? trunc(value / step) * step : value;
}

static double add_products(const unit *u, double sum, const double *a, const double *b)
{
    double largest = fabs(sum), result = 0;
    for (int k = 0; k < STEPS; k++)
        largest = fmax(largest, fabs(a[k] * b[k * N]));
    const double step = largest > 0 ? ldexp(1, ilogb(largest) - u->kept) : 0;
    for (int k = 0; k < STEPS; k++)
        result += cut(a[k] * b[k * N], step);
    result += cut(sum, step);
    return result != 0 ? cut(result, ldexp(1, ilogb(result) - u->kept)) : 0;
}

static bd_status run(void *user, bd_unit_code type_a, bd_unit_code type_b, const void *in, size_t in_size, void *out,
                     size_t out_size, bd_error *error)
{
    unit *u = user;
    static double a[M * K], b[K * N];
    float *results = out;
    u->runs++;
    ck_assert_uint_eq(in_size, (M + N) * K);
    ck_assert_uint_eq(out_size, 2 * M * N * sizeof(float));
    if (u->lost)
        return bd_fail(error, BD_ERROR_LOST, "gone");
    if (u->no_mixed_signs && type_a != type_b && type_a >= BD_UNIT_S8)
        return bd_fail(error, BD_ERROR_DEVICE, "not assembled");
    bd_format_decode(formats[type_a], in, a, M * K);
    bd_format_decode(formats[type_b], (const uint8_t *)in + M * K, b, K * N);
    const bool whole = type_a >= BD_UNIT_S8;
    const unit exact = { .kept = 40 };
    for (int i = 0; i < M * N; i++) {
        double sum = 0;
        for (int k = 0; k < K; k += STEPS)
            sum = add_products(whole ? &exact : u, sum, a + i / N * K + k, b + k * N + i % N);
        results[i] = results[M * N + i] = (float)sum;
    }
    if (u->broken)
        results[2 * M * N - 1] += 1;
    return BD_OK;
}

START_TEST(bits_of_sums_are_counted)
{
    static const int kept[] = { 12, 13, 14, 20, 23, 30 };
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        unit u = { .kept = kept[i] };
        bd_code_units found = { 0 };
        bd_device_info info = { .matrix_units = "some" };
        bd_error error;
        ck_assert_int_eq(bd_probe_codes(run, &u, &found, &error), BD_OK);
        ck_assert(found.int8 && found.uint8);
        ck_assert_uint_eq(found.f8_bits, kept[i] < 23 ? kept[i] : 23);
        bd_codes_describe(&found, "wgmma m64k32", &info);
        ck_assert_uint_eq(info.f8_sum_bits, found.f8_bits);
        ck_assert_ptr_nonnull(strstr(info.matrix_units, "some; wgmma m64k32, int8 and fp8"));
    }
}
END_TEST

START_TEST(what_is_wrong_is_not_used)
{
    unit broken = { .kept = 13, .broken = true }, part = { .kept = 13, .no_mixed_signs = true },
         lost = { .lost = true };
    bd_code_units found = { 0 };
    bd_device_info info = { .matrix_units = "some" };
    bd_error error;
    ck_assert_int_eq(bd_probe_codes(run, &broken, &found, &error), BD_OK);
    ck_assert(!found.int8 && !found.uint8 && found.f8_bits == 0);
    bd_codes_describe(&found, "wgmma m64k32", &info);
    ck_assert_str_eq(info.matrix_units, "some");
    ck_assert_uint_eq(info.f8_sum_bits, 0);
    ck_assert_int_eq(bd_probe_codes(run, &part, &found, &error), BD_OK);
    ck_assert(found.int8 && !found.uint8 && found.f8_bits == 13);
    ck_assert_int_eq(bd_probe_codes(run, &lost, &found, &error), BD_ERROR_LOST);
    ck_assert_int_eq(lost.runs, 1);
}
END_TEST

static bd_target hopper(void)
{
    bd_target target;
    bd_target_default(&target);
    target.nvidia = true;
    target.limits.max_workgroup_items = target.limits.max_workgroup_size[0] = 1024;
    const bd_code_units codes = { true, true, .f8_bits = 13, .m = 16, .n = 16, .k = 32 };
    target.matrix = (bd_matrix_units){ 16, 16, 16, 32, 98304, 197632, .codes = codes, .warpgroup_codes = codes };
    return target;
}

typedef struct product {
    bd_format a, b;
    bool moved, unit_sums;
    int64_t m, n, k;
} product;

/* Whether there are tiles of the kind for a b, and that there are others. */
static bool has_codes(const product *p, const bd_target *target, bd_tile_kind kind)
{
    const bd_init zero = { BD_INIT_CONSTANT, 0 };
    bd_graph *graph;
    bd_error error;
    ck_assert_int_eq(bd_graph_create(&graph, &error), BD_OK);
    bd_set_role(graph, BD_ROLE_FIXED);
    const bd_shape shape = BD_SHAPE(p->m, p->k);
    bd_tensor a = bd_variable(graph, "/a", BD_ROLE_FIXED, p->a, shape, zero);
    const bd_tensor b = bd_variable(graph, "/b", BD_ROLE_FIXED, p->b, BD_SHAPE(p->k, p->n), zero);
    if (p->moved) {
        a = bd_add(graph, a, bd_constant(graph, shape, bd_format_describe(p->a).largest + 1));
        graph->nodes[a].recompute = true;
    }
    const bd_tensor y = bd_matmul(graph, a, b, false, false);
    graph->nodes[y].unit_sums = p->unit_sums;
    bd_tile tiles[BD_GROUP_TILES];
    const int count = bd_group_tiles(graph, y, NULL, target, tiles);
    int codes = 0;
    for (int i = 0; i < count; i++)
        codes += tiles[i].kind == kind;
    ck_assert_int_lt(codes, count);
    bd_graph_destroy(&graph);
    return codes > 0;
}

/* Floats only where the policy takes the units' sums. */
START_TEST(units_of_8_bits_do_what_they_may)
{
    const struct {
        product product;
        bool can;
    } cases[] = {
        { { BD_F8E4M3, BD_F8E5M2, false, true, 128, 128, 256 }, true },
        { { BD_F8E4M3, BD_F8E5M2, false, false, 128, 128, 256 }, false },
        { { BD_F8E4M3, BD_F16, false, true, 128, 128, 256 }, false },
        { { BD_F8E4M3, BD_I8, false, true, 128, 128, 256 }, false },
        { { BD_F8E4M3, bd_format_exmy(3, 2), false, true, 128, 128, 256 }, false },
        { { BD_F8E4M3, BD_F8E4M3, false, true, 128, 128, 264 }, false }, /* a line is no whole pieces of 16 */
        { { BD_F8E4M3, BD_F8E4M3, false, true, 128, 100, 256 }, false }, /* nor of 8 */
        { { BD_I8, BD_I8, false, false, 128, 128, 256 }, true },
        { { BD_I4, BD_I8, true, false, 128, 128, 256 }, true },
        { { BD_I8, BD_I8, false, false, 8, 8, 65536 }, true },
        { { BD_I8, BD_I8, false, false, 8, 8, 65552 }, false }, /* the sum may not fit */
    };
    static const bd_tile_kind kinds[] = { BD_TILE_MATRIX8, BD_TILE_WARPGROUP8 };
    static const bd_variant variants[] = { BD_VARIANT_MATRIX8, BD_VARIANT_WARPGROUP8 };
    bd_target target = hopper();
    for (int kind = 0; kind < 2; kind++) {
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            ck_assert_msg(has_codes(&cases[i].product, &target, kinds[kind]) == cases[i].can, "case %zu", i);
            bd_target without = target;
            *(kind ? &without.matrix.warpgroup_codes : &without.matrix.codes) = (bd_code_units){ 0 };
            ck_assert_msg(!has_codes(&cases[i].product, &without, kinds[kind]), "case %zu without units", i);
            ck_assert_msg(has_codes(&cases[i].product, &without, kinds[!kind]) == cases[i].can,
                          "case %zu with the other units", i);
        }
        bd_target avoids = target;
        avoids.avoid[BD_F32][BD_F32] = 1u << variants[kind];
        ck_assert(!has_codes(&cases[0].product, &avoids, kinds[kind]));
        bd_target no_sign = target;
        no_sign.matrix.codes.uint8 = no_sign.matrix.warpgroup_codes.uint8 = false;
        ck_assert(!has_codes(&cases[8].product, &no_sign, kinds[kind]) &&
                  has_codes(&cases[7].product, &no_sign, kinds[kind]));
        no_sign.matrix.codes.moved = no_sign.matrix.warpgroup_codes.moved = true; /* kernels make up for it */
        ck_assert(has_codes(&cases[8].product, &no_sign, kinds[kind]));
    }
    ck_assert_double_eq(bd_most_unit_sum_error(&target), 136 * 0x1p-13);
    target.matrix.codes.f8_bits = 20; /* the units that keep the fewest count */
    ck_assert_double_eq(bd_most_unit_sum_error(&target), 136 * 0x1p-13);
    target.matrix.warpgroup_codes.f8_bits = 0;
    ck_assert_double_eq(bd_most_unit_sum_error(&target), 136 * 0x1p-20);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("codes");
    TCase *all = tcase_create("all");
    tcase_add_test(all, bits_of_sums_are_counted);
    tcase_add_test(all, what_is_wrong_is_not_used);
    tcase_add_test(all, units_of_8_bits_do_what_they_may);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
