/* Philox against the known answers of the authors' Random123 library (kat_vectors, philox4x32 10). */
#include "../engine/philox.h"

#include <check.h>
#include <string.h>

START_TEST(known_answers)
{
    static const struct {
        uint32_t counter[4], key[2], answer[4];
    } known[] = {
        { { 0, 0, 0, 0 }, { 0, 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { { 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff },
          { 0xffffffff, 0xffffffff },
          { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 },
          { 0xa4093822, 0x299f31d0 },
          { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        uint32_t result[4];
        bd_philox(known[i].key, known[i].counter, result);
        ck_assert_mem_eq(result, known[i].answer, sizeof result);
    }
}
END_TEST

START_TEST(uniform_stays_below_one)
{
    ck_assert_double_eq(bd_philox_uniform(0), 0);
    ck_assert_double_eq(bd_philox_uniform(0xff), 0);
    ck_assert_double_eq(bd_philox_uniform(0xffffffff), 1 - 0x1p-24);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("philox");
    TCase *tests = tcase_create("all");
    tcase_add_test(tests, known_answers);
    tcase_add_test(tests, uniform_stays_below_one);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
