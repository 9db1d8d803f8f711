/* safetensors: round trips, every kind of bad file, and what a failed write leaves behind. */
#include "../engine/atomic_file.h"
#include "../engine/safetensors.h"

#include "scratch.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const float floats[6] = { 1, -2, 3, 0.5f, 0, 9 };
static const uint16_t halves[3] = { 0x3c00, 0xc000, 0x7c00 };
static const uint32_t words[2] = { 7, 0xffffffff };
static const int64_t big = -5;
static const uint8_t bytes5[5] = { 1, 2, 3, 4, 5 };
static const bd_safe_tensor good[] = {
    { "halves", BD_SAFE_F16, BD_SHAPE(3, 1), halves }, { "fc1/weight", BD_SAFE_F32, BD_SHAPE(2, 3), floats },
    { "bytes", BD_SAFE_U8, BD_SHAPE(5), bytes5 },      { "words", BD_SAFE_U32, BD_SHAPE(2), words },
    { "big", BD_SAFE_I64, { 0, { 0 } }, &big },        { "none", BD_SAFE_F32, BD_SHAPE(0, 4), floats },
    { "brain", BD_SAFE_BF16, BD_SHAPE(3), halves },    { "codes", BD_SAFE_U16, BD_SHAPE(1, 3), halves },
    { "e4m3", BD_SAFE_F8_E4M3, BD_SHAPE(5), bytes5 },  { "e5m2", BD_SAFE_F8_E5M2, BD_SHAPE(5, 1), bytes5 },
    { "whole", BD_SAFE_I8, BD_SHAPE(5), bytes5 },
};
enum { GOOD_COUNT = sizeof good / sizeof *good };
static const bd_safe_text metadata[] = { { "model", "mlp \"\xc3\xa9\"\n" }, { "epoch", "3" } };

static void write_good(const char *name)
{
    bd_error error = { 0 };
    ck_assert_msg(bd_safetensors_write(scratch_path(name), good, GOOD_COUNT, metadata, 2, &error) == BD_OK, "%s",
                  error.message);
}

static void expect_good(const char *name)
{
    bd_error error = { 0 };
    bd_safetensors *file = NULL;
    ck_assert_msg(bd_safetensors_read(scratch_path(name), &file, &error) == BD_OK, "%s", error.message);
    ck_assert_uint_eq(bd_safetensors_count(file), GOOD_COUNT);
    for (int i = 0; i < GOOD_COUNT; i++) {
        const bd_safe_tensor *read = bd_safetensors_find(file, good[i].name);
        ck_assert_ptr_nonnull(read);
        ck_assert_int_eq(read->type, good[i].type);
        ck_assert_int_eq(read->shape.rank, good[i].shape.rank);
        for (int axis = 0; axis < read->shape.rank; axis++)
            ck_assert_int_eq(read->shape.dim[axis], good[i].shape.dim[axis]);
        size_t size = (size_t)bd_shape_elements(&read->shape) * bd_safe_type_size(read->type);
        ck_assert_int_eq(memcmp(read->data, good[i].data, size), 0);
        ck_assert_uint_eq((uintptr_t)read->data % bd_safe_type_size(read->type), 0);
    }
    ck_assert_str_eq(bd_safetensors_metadata(file, "model"), metadata[0].value);
    ck_assert_str_eq(bd_safetensors_metadata(file, "epoch"), "3");
    ck_assert_ptr_null(bd_safetensors_metadata(file, "absent"));
    ck_assert_ptr_null(bd_safetensors_find(file, "absent"));
    bd_safetensors_close(&file);
    ck_assert_ptr_null(file);
    bd_safetensors_close(&file);
    bd_safetensors_close(NULL);
}

START_TEST(written_files_read_back)
{
    write_good("file");
    expect_good("file");
    write_good("file");
    expect_good("file");
    ck_assert_int_eq(scratch_count(), 1);
    struct stat info;
    ck_assert_int_eq(stat(scratch_path("file"), &info), 0);
    mode_t mask = umask(0);
    umask(mask);
    ck_assert_uint_eq(info.st_mode & 0777, 0666 & ~mask);
}
END_TEST

/* An independent reading of the layout: what other programs rely on. */
START_TEST(layout_is_the_published_one)
{
    write_good("file");
    size_t size;
    uint8_t *data = scratch_read("file", &size);
    uint64_t header;
    memcpy(&header, data, 8);
    ck_assert_uint_eq(header % 8, 0);
    ck_assert_uint_eq(size, 8 + header + 8 + 24 + 8 + 3 * 6 + 4 * 5);
    ck_assert_int_eq(data[8], '{');
    ck_assert_int_eq(memcmp(data + 8 + header, &big, 8), 0);
    ck_assert_int_eq(memcmp(data + 8 + header + 8, floats, 24), 0);
    ck_assert_int_eq(memcmp(data + size - 5, bytes5, 5), 0);
    free(data);
}
END_TEST

START_TEST(bad_names_are_not_written)
{
    static const bd_safe_tensor twice[] = { { "a", BD_SAFE_U8, BD_SHAPE(5), bytes5 },
                                            { "a", BD_SAFE_U8, BD_SHAPE(5), bytes5 } };
    static const bd_safe_tensor reserved = { "__metadata__", BD_SAFE_U8, BD_SHAPE(5), bytes5 };
    static const bd_safe_tensor latin1 = { "\xe9", BD_SAFE_U8, BD_SHAPE(5), bytes5 };
    static const bd_safe_tensor huge = { "huge", BD_SAFE_F32, BD_SHAPE(INT64_MAX / 2), bytes5 };
    const char *path = scratch_path("file");
    ck_assert_int_eq(bd_safetensors_write(path, twice, 2, NULL, 0, NULL), BD_ERROR_ARGUMENT);
    ck_assert_int_eq(bd_safetensors_write(path, &reserved, 1, NULL, 0, NULL), BD_ERROR_ARGUMENT);
    ck_assert_int_eq(bd_safetensors_write(path, &latin1, 1, NULL, 0, NULL), BD_ERROR_ARGUMENT);
    ck_assert_int_eq(bd_safetensors_write(path, &huge, 1, NULL, 0, NULL), BD_ERROR_ARGUMENT);
    ck_assert_int_eq(scratch_count(), 0);
}
END_TEST

/* A limit on the size of files stands for a full disk: write() fails half way, as it does with ENOSPC. */
START_TEST(full_disk_leaves_the_old_file)
{
    write_good("file");
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &(struct rlimit){ 100, RLIM_INFINITY }), 0);
    bd_error error = { 0 };
    ck_assert_int_eq(bd_safetensors_write(scratch_path("file"), good, GOOD_COUNT, NULL, 0, &error), BD_ERROR_FILE);
    ck_assert_ptr_nonnull(strstr(error.message, scratch_path("file")));
    ck_assert_int_eq(scratch_count(), 1);
    expect_good("file");
}
END_TEST

static bool exists(const char *name)
{
    return access(scratch_path(name), F_OK) == 0;
}

/* What a killed process had begun goes when the same file is written next; what is still written by another stays, and
 * what has another name. */
START_TEST(a_killed_process_leaves_nothing_for_long)
{
    static const char *const others[] = { "file.safetensors.12-0.tmp",
                                          "file.12-0.tmp~",
                                          "file.12.tmp",
                                          "file.tmp",
                                          "file.12-.tmp",
                                          "file.a-0.tmp",
                                          "a-file.12-0.tmp" };
    enum { OTHERS = sizeof others / sizeof *others };
    bd_atomic_file alive;
    bd_error error = { 0 };
    for (int i = 0; i < OTHERS; i++)
        scratch_write(others[i], "mine", 4);
    scratch_write("file.999999999-0.tmp", "left", 4); /* no such process */
    scratch_write("file.1-7.tmp", "left", 4);         /* a process that lives, but does not write this */
    const pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        if (!bd_atomic_file_open(&alive, scratch_path("file"), NULL) && !bd_atomic_file_write(&alive, "half", 4, NULL))
            raise(SIGKILL);
        _exit(1);
    }
    int ended;
    ck_assert_int_eq(waitpid(child, &ended, 0), child);
    ck_assert(WIFSIGNALED(ended) && WTERMSIG(ended) == SIGKILL);
    ck_assert_int_eq(scratch_count(), OTHERS + 1); /* the child removed the first two */
    ck_assert_msg(!bd_atomic_file_open(&alive, scratch_path("file"), &error), "%s", error.message);
    ck_assert_int_eq(scratch_count(), OTHERS + 1); /* in the child's place */
    ck_assert(access(alive.temporary, F_OK) == 0);
    write_good("file");
    ck_assert_int_eq(scratch_count(), OTHERS + 2);
    for (int i = 0; i < OTHERS; i++)
        ck_assert_msg(exists(others[i]), "%s is gone", others[i]);
    expect_good("file");
    ck_assert_int_eq(bd_atomic_file_write(&alive, "whole", 5, &error), BD_OK);
    ck_assert_msg(!bd_atomic_file_close(&alive, BD_OK, &error), "%s", error.message);
    size_t size;
    uint8_t *data = scratch_read("file", &size);
    ck_assert(size == 5 && memcmp(data, "whole", 5) == 0);
    free(data);
}
END_TEST

START_TEST(missing_folders_and_files_are_refused)
{
    bd_error error = { 0 };
    bd_safetensors *file;
    ck_assert_int_eq(bd_safetensors_write(scratch_path("no/file"), good, 1, NULL, 0, &error), BD_ERROR_FILE);
    ck_assert_ptr_nonnull(strstr(error.message, "no/file"));
    ck_assert_int_eq(bd_safetensors_read(scratch_path("absent"), &file, &error), BD_ERROR_FILE);
    ck_assert_ptr_nonnull(strstr(error.message, "absent"));
    ck_assert_int_eq(bd_safetensors_read(scratch_folder(), &file, &error), BD_ERROR_FILE);
    ck_assert_ptr_null(file);
}
END_TEST

START_TEST(truncated_files_are_refused)
{
    write_good("file");
    size_t size;
    uint8_t *data = scratch_read("file", &size);
    for (size_t cut = 0; cut < size; cut++) {
        bd_safetensors *file;
        ck_assert_int_eq(bd_safetensors_parse("file", data, cut, &file, NULL), BD_ERROR_DATA);
        ck_assert_ptr_null(file);
    }
    free(data);
}
END_TEST

#define TENSOR(name, type, shape, begin, end)                                                                          \
    "\"" name "\":{\"dtype\":\"" type "\",\"shape\":[" shape "],\"data_offsets\":[" #begin "," #end "]}"

/* Headers of files with 16 bytes of data, and what the message must say. */
static const struct {
    const char *header, *why;
} bad_headers[] = {
    { "", "header" },
    { "[]", "not a JSON object" },
    { "{", "header" },
    { "{} x", "header" },
    { "{\"a\":1}", "'a'" },
    { "{}", "end at byte 0 of 16" },
    { "{" TENSOR("a", "F32", "2,2", 0, 16) "," TENSOR("a", "F32", "2,2", 0, 16) "}", "duplicate" },
    { "{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[16],\"data_offsets\":[0,16]}}", "duplicate" },
    { "{" TENSOR("a", "F32", "2", 0, 8) "," TENSOR("b", "F32", "2", 4, 12) "}", "overlaps" },
    { "{" TENSOR("a", "F32", "2", 0, 8) "," TENSOR("b", "F32", "2", 0, 8) "}", "overlaps" },
    { "{" TENSOR("a", "F32", "1", 0, 4) "," TENSOR("b", "F32", "2", 8, 16) "}", "belong to no tensor" },
    { "{" TENSOR("a", "F32", "2", 0, 8) "}", "end at byte 8 of 16" },
    { "{" TENSOR("a", "F32", "2,4", 0, 32) "}", "ends at byte 32 of 16" },
    { "{" TENSOR("a", "F32", "3", 0, 16) "}", "do not fit" },
    { "{" TENSOR("a", "F32", "4", 16, 0) "}", "do not fit" },
    { "{" TENSOR("a", "F32", "4", -16, 0) "}", "data_offsets" },
    { "{" TENSOR("a", "F32", "-4", 0, 16) "}", "no whole number" },
    { "{" TENSOR("a", "F32", "4.0", 0, 16) "}", "no whole number" },
    { "{" TENSOR("a", "F32", "9223372036854775807,9223372036854775807", 0, 16) "}", "do not fit" },
    { "{" TENSOR("a", "F32", "4611686018427387908", 0, 16) "}", "do not fit" },
    { "{" TENSOR("a", "F32", "99999999999999999999", 0, 16) "}", "header" },
    { "{" TENSOR("a", "U8", "1,1,1,1,1,1,16", 0, 16) "}", "at most 6" },
    { "{" TENSOR("a", "F8_E8M0", "16", 0, 16) "}", "F8_E8M0" },
    { "{\"a\":{\"shape\":[4],\"data_offsets\":[0,16]}}", "exactly" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[4]}}", "exactly" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"offset\":[0,16]}}", "data_offsets" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":4,\"data_offsets\":[0,16]}}", "shape" },
    { "{\"a\":{\"dtype\":1,\"shape\":[4],\"data_offsets\":[0,16]}}", "dtype" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0]}}", "data_offsets" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16],\"x\":0}}", "exactly" },
    { "{\"__metadata__\":{\"a\":1}," TENSOR("a", "F32", "4", 0, 16) "}", "not a string" },
    { "{\"__metadata__\":[]," TENSOR("a", "F32", "4", 0, 16) "}", "not an object" },
};

static size_t make_file(uint8_t *data, const char *header, uint64_t header_bytes)
{
    memcpy(data, &header_bytes, 8);
    memcpy(data + 8, header, strlen(header));
    memset(data + 8 + strlen(header), 0, 16);
    return 8 + strlen(header) + 16;
}

START_TEST(bad_headers_are_refused)
{
    uint8_t data[1024];
    size_t size = make_file(data, bad_headers[_i].header, strlen(bad_headers[_i].header));
    bd_safetensors *file;
    bd_error error = { 0 };
    ck_assert_int_eq(bd_safetensors_parse("name.st", data, size, &file, &error), BD_ERROR_DATA);
    ck_assert_ptr_null(file);
    ck_assert_msg(strstr(error.message, "name.st") && strstr(error.message, bad_headers[_i].why), "%s: wanted '%s': %s",
                  bad_headers[_i].header, bad_headers[_i].why, error.message);
    ck_assert_ptr_null(strchr(error.message, '\n'));
}
END_TEST

START_TEST(bad_header_lengths_are_refused)
{
    static const char header[] = "{" TENSOR("a", "F32", "4", 0, 16) "}";
    const uint64_t lengths[] = {
        0, 1, strlen(header) - 1, strlen(header) + 1, strlen(header) + 17, UINT64_MAX, UINT64_MAX - 7, INT64_MAX
    };
    uint8_t data[1024];
    bd_safetensors *file;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        size_t size = make_file(data, header, lengths[i]);
        ck_assert_int_eq(bd_safetensors_parse("file", data, size, &file, NULL), BD_ERROR_DATA);
    }
    size_t size = make_file(data, header, strlen(header));
    ck_assert_int_eq(bd_safetensors_parse("file", data, size, &file, NULL), BD_OK);
    bd_safetensors_close(&file);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("safetensors");
    TCase *tests = tcase_create("files");
    tcase_add_checked_fixture(tests, scratch_create, scratch_remove);
    tcase_add_test(tests, written_files_read_back);
    tcase_add_test(tests, layout_is_the_published_one);
    tcase_add_test(tests, bad_names_are_not_written);
    tcase_add_test(tests, full_disk_leaves_the_old_file);
    tcase_add_test(tests, a_killed_process_leaves_nothing_for_long);
    tcase_add_test(tests, missing_folders_and_files_are_refused);
    tcase_add_test(tests, truncated_files_are_refused);
    tcase_add_loop_test(tests, bad_headers_are_refused, 0, sizeof bad_headers / sizeof *bad_headers);
    tcase_add_test(tests, bad_header_lengths_are_refused);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
