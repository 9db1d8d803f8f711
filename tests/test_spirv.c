/* Matrices of BF16 and of floats of 8 bits in SPIR-V: a module with matrices of whole numbers in, one of floats out. */
#include "../backends/vulkan/vulkan.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define OP(op, words) ((uint32_t)(words) << 16 | (op))
#define MAGIC 0x07230203u
/* "SPV_KHR_bfloat16", "SPV_EXT_float8" and "SPV_KHR_cooperative_matrix" */
#define NAME_BF16 0x5f565053, 0x5f52484b, 0x6f6c6662, 0x36317461, 0
#define NAME_F8 0x5f565053, 0x5f545845, 0x616f6c66, 0x00003874
#define NAME_MATRIX 0x5f565053, 0x5f52484b, 0x706f6f63, 0x74617265, 0x5f657669, 0x7274616d, 0x00007869

/* Shader, CooperativeMatrixKHR; float, uint16_t, uint, two constants and int; matrices of uint16_t, float, int and
 * uint16_t; a struct whose words look like such a matrix's. */
#define HEAD OP(17, 2), 1, OP(17, 2), 6022
#define EXTENSION OP(10, 8), NAME_MATRIX
#define TYPES                                                                                                          \
    OP(22, 3), 1, 32, OP(21, 4), 2, 16, 0, OP(21, 4), 3, 32, 0, OP(43, 4), 3, 4, 16, OP(43, 4), 3, 5, 3, OP(21, 4),    \
        20, 32, 1
#define MATRICES(element)                                                                                              \
    OP(4456, 7), 6, element, 5, 4, 4, 4, OP(4456, 7), 7, 1, 5, 4, 4, 4, OP(4456, 7), 8, 20, 5, 4, 4, 4, OP(4456, 7),   \
        9, element, 5, 4, 4, 5, OP(30, 7), 10, 2, 5, 4, 4, 4
static const uint32_t given[] = { MAGIC, 0x00010600, 0, 21, 0, HEAD, EXTENSION, TYPES, MATRICES(2) };
static const uint32_t expected[] = { MAGIC,     0x00010600, 0,    22,        0,           HEAD,      OP(17, 2),
                                     5116,      OP(17, 2),  5118, OP(10, 6), NAME_BF16,   EXTENSION, TYPES,
                                     OP(22, 4), 21,         16,   0,         MATRICES(21) };
enum { WORDS = sizeof given / sizeof *given, FIRST_MATRIX = WORDS - 5 * 7 };

static bd_error error;

static uint32_t *copy(const uint32_t *words, size_t bytes)
{
    uint32_t *module = malloc(bytes ? bytes : 1);
    ck_assert_ptr_nonnull(module);
    memcpy(module, words, bytes);
    return module;
}

/* `given` with two words changed. */
static bd_status changed(int at, uint32_t word, int other_at, uint32_t other)
{
    uint32_t *module = copy(given, sizeof given);
    size_t bytes = sizeof given;
    module[at] = word;
    module[other_at] = other;
    const bd_status status = bd_vk_spirv_floats(&module, &bytes, &error);
    ck_assert(status == BD_OK || bytes == sizeof given);
    free(module);
    return status;
}

static bd_status with_word(int at, uint32_t word)
{
    return changed(at, word, at, word);
}

START_TEST(elements_become_bf16)
{
    uint32_t *module = copy(given, sizeof given);
    size_t bytes = sizeof given;
    ck_assert_int_eq(bd_vk_spirv_floats(&module, &bytes, &error), BD_OK);
    ck_assert_uint_eq(bytes, sizeof expected);
    for (size_t i = 0; i < bytes / sizeof *module; i++)
        ck_assert_msg(module[i] == expected[i], "word %zu is %#x, not %#x", i, module[i], expected[i]);
    free(module);
}
END_TEST

/* float, uint8_t, int8_t, int and constants; matrices of uint8_t, uint and float, and what multiplies whole numbers. */
START_TEST(elements_become_floats_of_8_bits)
{
#define F8_TYPES OP(22, 3), 1, 32, OP(21, 4), 2, 8, 0, OP(21, 4), 3, 32, 0, OP(21, 4), 4, 8, 1, OP(43, 4), 3, 5, 4
#define F8_MATRICES(a, b)                                                                                              \
    OP(4456, 7), 6, a, 5, 5, 5, 5, OP(4456, 7), 7, b, 5, 5, 5, 5, OP(4456, 7), 8, 1, 5, 5, 5, 5, OP(4456, 7), 9, 4, 5, \
        5, 5, 5
    static const uint32_t bytes_given[] = { MAGIC, 0x00010600, 0, 10, 0, HEAD, EXTENSION, F8_TYPES, F8_MATRICES(2, 3) };
    static const uint32_t bytes_expected[] = {
        MAGIC,     0x00010600, 0,         12, 0, HEAD, OP(17, 2), 4212, OP(17, 2), 4213, OP(10, 5),          NAME_F8,
        EXTENSION, F8_TYPES,   OP(22, 4), 10, 8, 4214, OP(22, 4), 11,   8,         4215, F8_MATRICES(10, 11)
    };
    uint32_t *module = copy(bytes_given, sizeof bytes_given);
    size_t bytes = sizeof bytes_given;
    ck_assert_int_eq(bd_vk_spirv_floats(&module, &bytes, &error), BD_OK);
    ck_assert_uint_eq(bytes, sizeof bytes_expected);
    for (size_t i = 0; i < bytes / sizeof *module; i++)
        ck_assert_msg(module[i] == bytes_expected[i], "word %zu is %#x, not %#x", i, module[i], bytes_expected[i]);
    free(module);
}
END_TEST

START_TEST(other_modules_stay)
{
    const size_t before_matrices = FIRST_MATRIX * sizeof *given;
    uint32_t *module = copy(given, before_matrices), *same = module;
    size_t bytes = before_matrices;
    ck_assert_int_eq(bd_vk_spirv_floats(&module, &bytes, &error), BD_OK);
    ck_assert(module == same && bytes == before_matrices && memcmp(module, given, bytes) == 0);
    free(module);

    /* int16_t, and 64 bits */
    for (int i = 0; i < 2; i++) {
        module = same = copy(given, sizeof given);
        bytes = sizeof given;
        for (int at = 5; at < FIRST_MATRIX; at++)
            if (module[at] == OP(21, 4) && module[at + 1] == 2)
                module[at + 2 + i] = i ? 1 : 64;
        uint32_t *before = copy(module, bytes);
        ck_assert_int_eq(bd_vk_spirv_floats(&module, &bytes, &error), BD_OK);
        ck_assert(module == same && bytes == sizeof given && memcmp(module, before, bytes) == 0);
        free(before);
        free(module);
    }
}
END_TEST

START_TEST(malformed_modules_are_refused)
{
    bool boundary[WORDS + 1] = { false };
    for (int at = 5; at < WORDS; at += (int)(given[at] >> 16)) {
        boundary[at] = true;
        ck_assert_int_eq(with_word(at, given[at] & 0xffffu), BD_ERROR_DEVICE); /* no length */
        ck_assert_int_eq(with_word(at, OP(given[at] & 0xffffu, 0xffff)), BD_ERROR_DEVICE);
    }
    for (size_t bytes = 0; bytes < sizeof given; bytes++) {
        uint32_t *module = copy(given, bytes);
        size_t size = bytes;
        const bool whole = bytes % 4 == 0 && boundary[bytes / 4];
        ck_assert_int_eq(bd_vk_spirv_floats(&module, &size, &error), whole ? BD_OK : BD_ERROR_DEVICE);
        free(module);
    }
    ck_assert_int_eq(with_word(0, MAGIC + 1), BD_ERROR_DEVICE);
    ck_assert_int_eq(with_word(3, 0), BD_ERROR_DEVICE); /* the bound of ids */
    ck_assert_int_eq(with_word(3, UINT32_MAX), BD_ERROR_DEVICE);
    ck_assert_int_eq(with_word(WORDS - 7, OP(17, 7)), BD_ERROR_DEVICE); /* a capability behind types */
    /* The last instruction cut in two: types with too few words, and a struct. */
    ck_assert_int_eq(changed(WORDS - 7, OP(4456, 3), WORDS - 4, OP(30, 4)), BD_ERROR_DEVICE);
    ck_assert_int_eq(changed(WORDS - 7, OP(21, 3), WORDS - 4, OP(30, 4)), BD_ERROR_DEVICE);
    ck_assert_int_eq(changed(WORDS - 7, OP(30, 3), WORDS - 4, OP(30, 4)), BD_OK);
    ck_assert_ptr_nonnull(strstr(error.message, "SPIR-V"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("spirv");
    TCase *tests = tcase_create("spirv");
    tcase_add_test(tests, elements_become_bf16);
    tcase_add_test(tests, elements_become_floats_of_8_bits);
    tcase_add_test(tests, other_modules_stay);
    tcase_add_test(tests, malformed_modules_are_refused);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
