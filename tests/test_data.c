/* Data sets: what a good one gives, and what is said of every kind of bad file. */
#include <binade/data.h>

#include "scratch.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char IMAGES[] = "train-images-idx3-ubyte", LABELS[] = "train-labels-idx1-ubyte";
static const char TEST_IMAGES[] = "t10k-images-idx3-ubyte", TEST_LABELS[] = "t10k-labels-idx1-ubyte";

/* Builds an IDX file in `bytes`; element i is i * step (mod 256). Returns its size. */
static size_t make_idx(uint8_t *bytes, int rank, const uint32_t *dim, int step)
{
    size_t used = 0, elements = 1;
    memcpy(bytes, (uint8_t[]){ 0, 0, 8, (uint8_t)rank }, 4);
    used = 4;
    for (int i = 0; i < rank; i++) {
        for (int shift = 24; shift >= 0; shift -= 8)
            bytes[used++] = (uint8_t)(dim[i] >> shift);
        elements *= dim[i];
    }
    for (size_t i = 0; i < elements; i++)
        bytes[used++] = (uint8_t)(i * (size_t)step);
    return used;
}

/* Writes a data set of 6 + 4 images of 3x2, labels 0 1 2 ... */
static void write_good(void)
{
    uint8_t bytes[256];
    scratch_write_gz("train-images-idx3-ubyte.gz", bytes, make_idx(bytes, 3, (uint32_t[]){ 6, 3, 2 }, 7));
    scratch_write(LABELS, bytes, make_idx(bytes, 1, (uint32_t[]){ 6 }, 1));
    scratch_write(TEST_IMAGES, bytes, make_idx(bytes, 3, (uint32_t[]){ 4, 3, 2 }, 5));
    scratch_write_gz("t10k-labels-idx1-ubyte.gz", bytes, make_idx(bytes, 1, (uint32_t[]){ 4 }, 1));
}

/* The data set of the folder must be refused with this status; the message must hold both texts. */
static void expect_refused(bd_status status, const char *file, const char *why)
{
    bd_error error = { 0 };
    bd_dataset *dataset = NULL;
    ck_assert_int_eq(bd_dataset_open(scratch_folder(), &dataset, &error), status);
    ck_assert_ptr_null(dataset);
    ck_assert_int_eq(error.status, status);
    ck_assert_msg(strstr(error.message, file) && strstr(error.message, why), "wanted '%s' and '%s': %s", file, why,
                  error.message);
    ck_assert_ptr_null(strchr(error.message, '\n'));
}

static void replace(const char *name, int rank, const uint32_t *dim, int step)
{
    uint8_t bytes[512];
    scratch_write(name, bytes, make_idx(bytes, rank, dim, step));
}

START_TEST(folder_opens)
{
    write_good();
    bd_dataset *dataset = NULL;
    bd_error error = { 0 };
    ck_assert_msg(bd_dataset_open(scratch_folder(), &dataset, &error) == BD_OK, "%s", error.message);
    ck_assert_int_eq(dataset->train.count, 6);
    ck_assert_int_eq(dataset->test.count, 4);
    ck_assert_int_eq(dataset->height, 3);
    ck_assert_int_eq(dataset->width, 2);
    ck_assert_int_eq(dataset->channels, 1);
    ck_assert_int_eq(dataset->classes, 6);
    ck_assert_int_eq(dataset->train.images[35], 35 * 7 % 256);
    ck_assert_int_eq(dataset->test.labels[3], 3);
    double sum = 0, spread = 0;
    for (int i = 0; i < 36; i++)
        sum += i * 7 % 256 / 255.0;
    for (int i = 0; i < 36; i++)
        spread += pow(i * 7 % 256 / 255.0 - sum / 36, 2);
    /* One rounding to float, and a double's worth of error before it. */
    ck_assert_double_eq_tol(dataset->mean, sum / 36, 0x1p-24);
    ck_assert_double_eq_tol(dataset->deviation, sqrt(spread / 36), 0x1p-24);
    ck_assert_ptr_nonnull(strstr(scratch_folder(), dataset->name));
    bd_dataset_close(&dataset);
    ck_assert_ptr_null(dataset);
    bd_dataset_close(&dataset);
    bd_dataset_close(NULL);
}
END_TEST

START_TEST(four_paths_open)
{
    write_good();
    replace("images", 4, (uint32_t[]){ 6, 1, 3, 2 }, 1);
    replace("tests", 4, (uint32_t[]){ 4, 1, 3, 2 }, 1);
    char paths[2048];
    snprintf(paths, sizeof paths, "%s,%s,%s,%s.gz", scratch_path("images"), scratch_path(LABELS), scratch_path("tests"),
             scratch_path(TEST_LABELS));
    bd_dataset *dataset = NULL;
    bd_error error = { 0 };
    ck_assert_msg(bd_dataset_open(paths, &dataset, &error) == BD_OK, "%s", error.message);
    ck_assert_int_eq(dataset->channels, 2);
    bd_dataset_close(&dataset);

    ck_assert_int_eq(bd_dataset_open("a,b,c", &dataset, &error), BD_ERROR_ARGUMENT);
    ck_assert_int_eq(bd_dataset_open("a,b,c,d,e", &dataset, &error), BD_ERROR_ARGUMENT);
    ck_assert_int_eq(bd_dataset_open("a,,c,d", &dataset, &error), BD_ERROR_ARGUMENT);
    ck_assert_int_eq(bd_dataset_open("", &dataset, &error), BD_ERROR_ARGUMENT);
}
END_TEST

START_TEST(environment_names_fashion_mnist)
{
    write_good();
    ck_assert_int_eq(setenv("BINADE_DATA", scratch_folder(), 1), 0);
    bd_dataset *dataset = NULL;
    bd_error error = { 0 };
    ck_assert_msg(bd_dataset_open("fashion-mnist", &dataset, &error) == BD_OK, "%s", error.message);
    ck_assert_str_eq(dataset->name, "fashion-mnist");
    ck_assert_int_eq(dataset->train.count, 6);
    bd_dataset_close(&dataset);
}
END_TEST

START_TEST(constant_images_have_deviation_one)
{
    write_good();
    replace(IMAGES, 3, (uint32_t[]){ 6, 3, 2 }, 0);
    bd_dataset *dataset = NULL;
    ck_assert_int_eq(bd_dataset_open(scratch_folder(), &dataset, NULL), BD_OK);
    ck_assert_double_eq(dataset->deviation, 1);
    bd_dataset_close(&dataset);
}
END_TEST

START_TEST(missing_files_are_refused)
{
    bd_error error = { 0 };
    bd_dataset *dataset = NULL;
    ck_assert_int_eq(bd_dataset_open(scratch_path("nowhere"), &dataset, &error), BD_ERROR_FILE);
    ck_assert_ptr_nonnull(strstr(error.message, "nowhere"));
    write_good();
    unlink(scratch_path(TEST_IMAGES));
    expect_refused(BD_ERROR_FILE, TEST_IMAGES, "no file");
}
END_TEST

START_TEST(truncated_files_are_refused)
{
    uint8_t bytes[256];
    size_t size = make_idx(bytes, 3, (uint32_t[]){ 4, 3, 2 }, 5);
    for (size_t cut = 0; cut < size; cut++) {
        write_good();
        scratch_write(TEST_IMAGES, bytes, cut);
        expect_refused(BD_ERROR_DATA, TEST_IMAGES, "truncated");
    }
}
END_TEST

START_TEST(damaged_gz_is_refused)
{
    write_good();
    size_t size;
    uint8_t *bytes = scratch_read("train-images-idx3-ubyte.gz", &size);
    for (size_t cut = 12; cut < size; cut++) { /* less is taken for a plain file or for a header's damage */
        scratch_write("train-images-idx3-ubyte.gz", bytes, cut);
        expect_refused(BD_ERROR_DATA, IMAGES, "");
    }
    bytes[size - 5] ^= 1; /* checksum */
    scratch_write("train-images-idx3-ubyte.gz", bytes, size);
    expect_refused(BD_ERROR_DATA, "train-images-idx3-ubyte.gz", "gzip");
    free(bytes);
}
END_TEST

START_TEST(oversized_files_are_refused)
{
    uint8_t bytes[256] = { 0 };
    write_good();
    size_t size = make_idx(bytes, 3, (uint32_t[]){ 4, 3, 2 }, 5);
    scratch_write(TEST_IMAGES, bytes, size + 1);
    expect_refused(BD_ERROR_DATA, TEST_IMAGES, "longer than the 24 bytes");
    unlink(scratch_path(TEST_IMAGES));
    scratch_write_gz("t10k-images-idx3-ubyte.gz", bytes, size + 1);
    expect_refused(BD_ERROR_DATA, "t10k-images-idx3-ubyte.gz", "longer than the 24 bytes");
}
END_TEST

START_TEST(boastful_headers_are_refused)
{
    uint8_t bytes[64];
    make_idx(bytes, 0, NULL, 0);
    /* 2^40 bytes that are not there must not be allocated; 2^96 must not overflow. */
    write_good();
    memcpy(bytes, (uint8_t[]){ 0, 0, 8, 3, 0, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 9 }, 17);
    scratch_write(TEST_IMAGES, bytes, 17);
    expect_refused(BD_ERROR_DATA, TEST_IMAGES, "truncated");
    memset(bytes + 4, 0xff, 12);
    scratch_write(TEST_IMAGES, bytes, 17);
    expect_refused(BD_ERROR_DATA, TEST_IMAGES, "overflow");
}
END_TEST

START_TEST(wrong_magic_is_refused)
{
    static const uint8_t magics[][4] = { { 1, 0, 8, 3 }, { 0, 1, 8, 3 }, { 0, 0, 0x0d, 3 },
                                         { 0, 0, 8, 0 }, { 0, 0, 8, 5 }, { 'P', 'K', 3, 4 } };
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++) {
        uint8_t bytes[256];
        size_t size = make_idx(bytes, 3, (uint32_t[]){ 4, 3, 2 }, 5);
        memcpy(bytes, magics[i], 4);
        write_good();
        scratch_write(TEST_IMAGES, bytes, size);
        expect_refused(BD_ERROR_DATA, TEST_IMAGES, "magic");
    }
}
END_TEST

START_TEST(what_does_not_match_is_refused)
{
    write_good();
    replace(LABELS, 1, (uint32_t[]){ 7 }, 1);
    expect_refused(BD_ERROR_DATA, LABELS, "7 labels for the 6 images");
    write_good();
    replace(LABELS, 3, (uint32_t[]){ 6, 1, 1 }, 1);
    expect_refused(BD_ERROR_DATA, LABELS, "3 dimensions");
    write_good();
    replace(TEST_IMAGES, 1, (uint32_t[]){ 4 }, 1);
    expect_refused(BD_ERROR_DATA, TEST_IMAGES, "1 dimensions");
    write_good();
    replace(TEST_IMAGES, 3, (uint32_t[]){ 4, 2, 3 }, 1);
    expect_refused(BD_ERROR_DATA, TEST_IMAGES, "2x3x1");
    write_good();
    replace(TEST_IMAGES, 3, (uint32_t[]){ 0, 3, 2 }, 1);
    expect_refused(BD_ERROR_DATA, TEST_IMAGES, "no images");
    write_good();
    replace(LABELS, 1, (uint32_t[]){ 6 }, 51);
    expect_refused(BD_ERROR_DATA, LABELS, "label 255");
    write_good();
    replace(LABELS, 1, (uint32_t[]){ 6 }, 0);
    expect_refused(BD_ERROR_DATA, TEST_LABELS, "label 1 at position 1");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("data");
    TCase *tests = tcase_create("idx");
    tcase_add_checked_fixture(tests, scratch_create, scratch_remove);
    tcase_add_test(tests, folder_opens);
    tcase_add_test(tests, four_paths_open);
    tcase_add_test(tests, environment_names_fashion_mnist);
    tcase_add_test(tests, constant_images_have_deviation_one);
    tcase_add_test(tests, missing_files_are_refused);
    tcase_add_test(tests, truncated_files_are_refused);
    tcase_add_test(tests, damaged_gz_is_refused);
    tcase_add_test(tests, oversized_files_are_refused);
    tcase_add_test(tests, boastful_headers_are_refused);
    tcase_add_test(tests, wrong_magic_is_refused);
    tcase_add_test(tests, what_does_not_match_is_refused);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
