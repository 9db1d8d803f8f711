/* CIFAR-10 and CIFAR-100 in the binary format: right bytes, and what is said of bad files. */
#include <binade/data.h>

#include "image_files.h"
#include "scratch.h"

#include <archive.h>
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { IMAGE = 3072, RECORDS = 3 };

static uint8_t sample(int file, int record, int i)
{
    return (uint8_t)(file * 31 + record * 17 + i * 5 + i / 1024);
}

/* A file of RECORDS records; CIFAR-100's have a coarse label first. */
static void write_batch(const char *name, int file, int coarse, int classes)
{
    uint8_t bytes[RECORDS * (IMAGE + 2)];
    size_t used = 0;
    for (int record = 0; record < RECORDS; record++) {
        if (coarse)
            bytes[used++] = 99;
        bytes[used++] = (uint8_t)((file * RECORDS + record) % classes);
        for (int i = 0; i < IMAGE; i++)
            bytes[used++] = sample(file, record, i);
    }
    scratch_write(name, bytes, used);
}

static void write_cifar10(const char *folder)
{
    char name[128];
    for (int i = 0; i < 6; i++) {
        if (i < 5)
            snprintf(name, sizeof name, "%sdata_batch_%d.bin", folder, i + 1);
        else
            snprintf(name, sizeof name, "%stest_batch.bin", folder);
        write_batch(name, i, 0, 10);
    }
    static const char names[] = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";
    snprintf(name, sizeof name, "%sbatches.meta.txt", folder);
    scratch_write(name, names, sizeof names - 1);
}

static void check_images(const bd_examples *examples, int first_file, int files, int classes)
{
    ck_assert_int_eq(examples->count, files * RECORDS);
    for (int n = 0; n < files * RECORDS; n++) {
        const int file = first_file + n / RECORDS, record = n % RECORDS;
        ck_assert_int_eq(examples->labels[n], (file * RECORDS + record) % classes);
        for (int i = 0; i < IMAGE; i++) /* pixel by pixel here, channel by channel there */
            ck_assert_int_eq(examples->images[n * IMAGE + i], sample(file, record, i % 3 * 1024 + i / 3));
    }
}

static void expect_cifar10(const char *path)
{
    bd_dataset *dataset = NULL;
    bd_error error = { 0 };
    const bd_dataset_params params = { .name = path, .cache = "" };
    ck_assert_msg(bd_dataset_load(&params, &dataset, &error) == BD_OK, "%s", error.message);
    check_images(&dataset->train, 0, 5, 10);
    check_images(&dataset->test, 5, 1, 10);
    ck_assert_int_eq(dataset->classes, 10);
    ck_assert_int_eq(dataset->height, 32);
    ck_assert_int_eq(dataset->width, 32);
    ck_assert_int_eq(dataset->channels, 3);
    ck_assert_str_eq(dataset->class_names[0], "airplane");
    ck_assert_str_eq(dataset->class_names[9], "truck");
    bd_dataset_close(&dataset);
}

START_TEST(cifar10_opens)
{
    write_cifar10("");
    expect_cifar10(scratch_folder());
}
END_TEST

START_TEST(cifar10_opens_as_published)
{
    mkdir(scratch_path("in"), 0777);
    mkdir(scratch_path("in/cifar-10-batches-bin"), 0777);
    write_cifar10("in/cifar-10-batches-bin/");
    expect_cifar10(scratch_path("in"));
    archive_folder(scratch_path("in"), scratch_path("cifar-10-binary.tar.gz"), ARCHIVE_FORMAT_TAR_USTAR,
                   ARCHIVE_FILTER_GZIP);
    expect_cifar10(scratch_path("cifar-10-binary.tar.gz"));
}
END_TEST

START_TEST(cifar100_opens)
{
    write_batch("train.bin", 0, 1, 100);
    write_batch("test.bin", 1, 1, 100);
    bd_dataset *dataset = NULL;
    bd_error error = { 0 };
    ck_assert_msg(bd_dataset_open(scratch_folder(), &dataset, &error) == BD_OK, "%s", error.message);
    check_images(&dataset->train, 0, 1, 100);
    check_images(&dataset->test, 1, 1, 100);
    ck_assert_int_eq(dataset->classes, 100);
    ck_assert_ptr_null(dataset->class_names);
    bd_dataset_close(&dataset);
    /* Names of another number are no names. */
    scratch_write("fine_label_names.txt", "apple\nbear\n", 11);
    ck_assert_int_eq(bd_dataset_open(scratch_folder(), &dataset, &error), BD_OK);
    ck_assert_ptr_null(dataset->class_names);
    bd_dataset_close(&dataset);
}
END_TEST

static void expect_refused(bd_status status, const char *file, const char *why)
{
    bd_dataset *dataset = NULL;
    bd_error error = { 0 };
    ck_assert_int_eq(bd_dataset_open(scratch_folder(), &dataset, &error), status);
    ck_assert_ptr_null(dataset);
    ck_assert_msg(strstr(error.message, file) && strstr(error.message, why), "wanted '%s' and '%s': %s", file, why,
                  error.message);
}

START_TEST(bad_files_are_refused)
{
    write_cifar10("");
    unlink(scratch_path("data_batch_3.bin"));
    expect_refused(BD_ERROR_FILE, "data_batch_3.bin", "no file");
    write_cifar10("");
    unlink(scratch_path("test_batch.bin"));
    expect_refused(BD_ERROR_FILE, "test_batch.bin", "no file");
    write_cifar10("");
    size_t size;
    uint8_t *bytes = scratch_read("data_batch_2.bin", &size);
    const size_t cuts[] = { 0, 1, 3072, 3074, size - 1 };
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        scratch_write("data_batch_2.bin", bytes, cuts[i]);
        expect_refused(BD_ERROR_DATA, "data_batch_2.bin", "not a whole number of records of 3073 bytes");
    }
    bytes[3073] = 10;
    scratch_write("data_batch_2.bin", bytes, size);
    expect_refused(BD_ERROR_DATA, "data_batch_2.bin", "label 10 in record 1");
    free(bytes);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cifar");
    TCase *tests = tcase_create("cifar");
    tcase_add_checked_fixture(tests, scratch_create, scratch_remove);
    tcase_add_test(tests, cifar10_opens);
    tcase_add_test(tests, cifar10_opens_as_published);
    tcase_add_test(tests, cifar100_opens);
    tcase_add_test(tests, bad_files_are_refused);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
