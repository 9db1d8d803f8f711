/* The cache on disk: keeps what it is given, and nothing that is wrong with its file is ever an error. */
#include "../engine/cache.h"
#include "scratch.h"

#include <check.h>
#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST (1 << 20)
#define NOBODY 65534

static bd_cache_key key_of(int number)
{
    char text[16];
    snprintf(text, sizeof text, "%d", number);
    return bd_cache_hash((const char *[]){ "test", text }, 2);
}

static bd_cache *open_cache(void)
{
    bd_cache *cache = bd_cache_open_in(scratch_folder(), MOST);
    ck_assert_ptr_nonnull(cache);
    return cache;
}

/* Is the blob there, and what it was? */
static bool has(bd_cache *cache, int number, const char *text)
{
    void *data;
    size_t size;
    if (!bd_cache_get(cache, "kind", key_of(number), &data, &size))
        return false;
    bool same = size == strlen(text) && memcmp(data, text, size) == 0;
    free(data);
    return same;
}

static void put(bd_cache *cache, int number, const char *text)
{
    bd_cache_put(cache, "kind", key_of(number), text, strlen(text));
}

/* A cache that holds one blob, closed. */
static void fill(void)
{
    bd_cache *cache = open_cache();
    put(cache, 1, "one");
    bd_cache_close(&cache);
    ck_assert_ptr_null(cache);
}

/* Opening gives a cache that works. */
static void expect_rebuilt(void)
{
    bd_cache *cache = open_cache();
    put(cache, 2, "two");
    ck_assert(has(cache, 2, "two"));
    bd_cache_close(&cache);
    cache = open_cache();
    ck_assert(has(cache, 2, "two"));
    bd_cache_close(&cache);
}

static void expect_holds_nothing(const char *folder)
{
    bd_cache *cache = bd_cache_open_in(folder, MOST);
    ck_assert_ptr_nonnull(cache);
    put(cache, 1, "one");
    ck_assert(!has(cache, 1, "one"));
    bd_cache_close(&cache);
}

static void run_sql(const char *text)
{
    sqlite3 *database;
    ck_assert_int_eq(sqlite3_open(scratch_path("cache.sqlite"), &database), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(database, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(database);
}

START_TEST(blobs_are_kept)
{
    bd_cache *cache = open_cache();
    ck_assert(!has(cache, 1, "one"));
    put(cache, 1, "one");
    put(cache, 2, "two");
    put(cache, 3, "");
    ck_assert(has(cache, 1, "one") && has(cache, 2, "two") && has(cache, 3, ""));
    put(cache, 1, "another");
    ck_assert(has(cache, 1, "another"));
    void *data;
    size_t size;
    ck_assert(!bd_cache_get(cache, "other kind", key_of(1), &data, &size));
    bd_cache_close(&cache);
    cache = open_cache();
    ck_assert(has(cache, 1, "another") && has(cache, 2, "two") && has(cache, 3, ""));
    bd_cache_close(&cache);
    bd_cache_close(&cache);
    bd_cache_close(NULL);
}
END_TEST

START_TEST(hash_tells_strings_apart)
{
    bd_cache_key a = bd_cache_hash((const char *[]){ "ab", "c" }, 2),
                 b = bd_cache_hash((const char *[]){ "a", "bc" }, 2);
    bd_cache_key c = bd_cache_hash((const char *[]){ "ab", "c" }, 2);
    ck_assert(a.low != b.low && a.high != b.high);
    ck_assert(a.low == c.low && a.high == c.high);
}
END_TEST

START_TEST(folders_are_made)
{
    char folder[256];
    snprintf(folder, sizeof folder, "%s", scratch_path("a/b/c"));
    bd_cache *cache = bd_cache_open_in(folder, MOST);
    put(cache, 1, "one");
    ck_assert(has(cache, 1, "one"));
    bd_cache_close(&cache);
    struct stat info;
    ck_assert_int_eq(stat(scratch_path("a/b/c/cache.sqlite"), &info), 0);
}
END_TEST

START_TEST(environment_names_the_folder)
{
    setenv("XDG_CACHE_HOME", scratch_folder(), 1);
    bd_cache *cache = bd_cache_open();
    put(cache, 1, "one");
    bd_cache_close(&cache);
    struct stat info;
    ck_assert_int_eq(stat(scratch_path("binade/cache.sqlite"), &info), 0);
    setenv("XDG_CACHE_HOME", "relative", 1); /* to be ignored, says the specification */
    setenv("HOME", scratch_path("home"), 1);
    cache = bd_cache_open();
    put(cache, 1, "one");
    bd_cache_close(&cache);
    ck_assert_int_eq(stat(scratch_path("home/.cache/binade/cache.sqlite"), &info), 0);
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    cache = bd_cache_open();
    put(cache, 1, "one");
    ck_assert(!has(cache, 1, "one"));
    bd_cache_close(&cache);
}
END_TEST

START_TEST(oldest_go_first)
{
    enum { BLOBS = 10, SIZE = MOST / 4 };
    char *text = malloc(SIZE + 1);
    memset(text, 'x', SIZE);
    text[SIZE] = '\0';
    bd_cache *cache = open_cache();
    for (int i = 0; i < BLOBS; i++)
        put(cache, i, text);
    for (int i = 0; i < BLOBS; i++)
        ck_assert_int_eq(has(cache, i, text), i >= BLOBS - 4);
    bd_cache_close(&cache);
    cache = bd_cache_open_in(scratch_folder(), SIZE - 1);
    put(cache, BLOBS, text); /* too large by itself */
    ck_assert(!has(cache, BLOBS, text) && has(cache, BLOBS - 1, text));
    bd_cache_close(&cache);
    free(text);
    /* Room is used again: the file is no larger than the limit and what SQLite adds. */
    struct stat info;
    ck_assert_int_eq(stat(scratch_path("cache.sqlite"), &info), 0);
    ck_assert_int_le(info.st_size, MOST + SIZE + (64 << 10));
}
END_TEST

START_TEST(nonsense_file_is_rebuilt)
{
    char nonsense[8192];
    for (size_t i = 0; i < sizeof nonsense; i++)
        nonsense[i] = (char)(i * 31 + 7);
    scratch_write("cache.sqlite", nonsense, sizeof nonsense);
    expect_rebuilt();
}
END_TEST

START_TEST(empty_file_is_used)
{
    scratch_write("cache.sqlite", "", 0);
    expect_rebuilt();
}
END_TEST

/* Cut anywhere. */
START_TEST(truncated_file_is_rebuilt)
{
    fill();
    size_t size;
    uint8_t *whole = scratch_read("cache.sqlite", &size);
    for (size_t length = 1; length < size; length += 511) {
        scratch_write("cache.sqlite", whole, length);
        expect_rebuilt();
    }
    free(whole);
}
END_TEST

/* Whatever byte is changed, what is found is what was put, and the cache works on. */
START_TEST(changed_bytes_are_never_believed)
{
    fill();
    size_t size;
    uint8_t *whole = scratch_read("cache.sqlite", &size);
    for (size_t at = 0; at < size; at += at < 256 ? 1 : 37) {
        whole[at] ^= 0xff;
        scratch_write("cache.sqlite", whole, size);
        whole[at] ^= 0xff;
        bd_cache *cache = open_cache();
        void *data;
        size_t length;
        if (bd_cache_get(cache, "kind", key_of(1), &data, &length)) {
            ck_assert(length == 3 && memcmp(data, "one", 3) == 0);
            free(data);
        }
        put(cache, 1, "one");
        put(cache, 2, "two");
        bd_cache_close(&cache);
    }
    free(whole);
}
END_TEST

START_TEST(damaged_blob_is_not_found)
{
    fill();
    run_sql("UPDATE blobs SET data = x'6f6e66'");
    bd_cache *cache = open_cache();
    void *data;
    size_t size;
    ck_assert(!bd_cache_get(cache, "kind", key_of(1), &data, &size));
    put(cache, 1, "one");
    ck_assert(has(cache, 1, "one"));
    bd_cache_close(&cache);
}
END_TEST

START_TEST(other_schemas_are_rebuilt)
{
    fill();
    run_sql("PRAGMA user_version = 12345");
    bd_cache *cache = open_cache();
    ck_assert(!has(cache, 1, "one"));
    bd_cache_close(&cache);
    expect_rebuilt();
    run_sql("DROP TABLE blobs; CREATE TABLE blobs(other)"); /* our number, not our table */
    expect_rebuilt();
}
END_TEST

START_TEST(directory_in_its_place_holds_nothing)
{
    ck_assert_int_eq(mkdir(scratch_path("cache.sqlite"), 0700), 0);
    expect_holds_nothing(scratch_folder());
    scratch_write("file", "", 0);
    expect_holds_nothing(scratch_path("file"));
    expect_holds_nothing(scratch_path("file/below"));
    expect_holds_nothing("/proc/nowhere");
    expect_holds_nothing("");
}
END_TEST

/* Runs `body` in a child, without privileges if we have any, and gives its exit status. */
static int in_child(void (*body)(void), bool unprivileged)
{
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        if (unprivileged && geteuid() == 0 && setuid(NOBODY) != 0)
            _exit(2);
        body();
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Assertions do not reach out of a child: it exits with the number of the first that fails. */
#define EXPECT(number, condition)                                                                                      \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            _exit(number);                                                                                             \
    } while (0)

static void use_read_only(void)
{
    bd_cache *cache = bd_cache_open_in(scratch_folder(), MOST);
    EXPECT(10, cache);
    EXPECT(11, has(cache, 1, "one"));
    put(cache, 2, "two");
    EXPECT(12, !has(cache, 2, "two"));
    EXPECT(13, has(cache, 1, "one"));
    bd_cache_close(&cache);
}

START_TEST(read_only_cache_is_read)
{
    fill();
    /* The folder cannot be written, then neither can the file. */
    ck_assert_int_eq(chmod(scratch_path("cache.sqlite"), 0666), 0);
    ck_assert_int_eq(chmod(scratch_folder(), 0555), 0);
    ck_assert_int_eq(in_child(use_read_only, true), 0);
    ck_assert_int_eq(chmod(scratch_path("cache.sqlite"), 0444), 0);
    ck_assert_int_eq(in_child(use_read_only, true), 0);
    ck_assert_int_eq(chmod(scratch_folder(), 0755), 0);
}
END_TEST

static void use_empty_read_only(void)
{
    bd_cache *cache = bd_cache_open_in(scratch_folder(), MOST);
    EXPECT(10, cache);
    put(cache, 1, "one");
    EXPECT(11, !has(cache, 1, "one"));
    bd_cache_close(&cache);
}

START_TEST(read_only_folder_holds_nothing)
{
    ck_assert_int_eq(chmod(scratch_folder(), 0555), 0);
    ck_assert_int_eq(in_child(use_empty_read_only, true), 0);
    /* A damaged file that cannot be removed. */
    scratch_write("cache.sqlite", "nonsense nonsense nonsense", 26);
    ck_assert_int_eq(in_child(use_empty_read_only, true), 0);
    ck_assert_int_eq(chmod(scratch_folder(), 0755), 0);
}
END_TEST

/* A limit on the size of files fails like a full disk, in the middle of a transaction. */
static void fill_the_disk(void)
{
    enum { SIZE = 100000 };
    static char text[SIZE + 1];
    memset(text, 'x', SIZE);
    signal(SIGXFSZ, SIG_IGN);
    bd_cache *cache = bd_cache_open_in(scratch_folder(), (uint64_t)MOST * 16);
    EXPECT(10, cache);
    struct rlimit limit = { 300000, 300000 };
    EXPECT(11, setrlimit(RLIMIT_FSIZE, &limit) == 0);
    for (int i = 10; i < 20; i++)
        put(cache, i, text);
    EXPECT(12, has(cache, 1, "one"));
    EXPECT(13, has(cache, 10, text));
    EXPECT(14, !has(cache, 19, text));
    bd_cache_close(&cache);
}

START_TEST(full_disk_keeps_what_there_is)
{
    fill();
    ck_assert_int_eq(in_child(fill_the_disk, false), 0);
    bd_cache *cache = open_cache();
    ck_assert(has(cache, 1, "one"));
    bd_cache_close(&cache);
    expect_rebuilt();
}
END_TEST

START_TEST(two_handles_share)
{
    bd_cache *first = open_cache(), *second = open_cache();
    put(first, 1, "one");
    ck_assert(has(second, 1, "one"));
    put(second, 1, "uno");
    put(second, 2, "two");
    ck_assert(has(first, 1, "uno") && has(first, 2, "two"));
    bd_cache_close(&first);
    ck_assert(has(second, 1, "uno"));
    bd_cache_close(&second);
}
END_TEST

START_TEST(locked_file_is_done_without)
{
    fill();
    sqlite3 *database;
    ck_assert_int_eq(sqlite3_open(scratch_path("cache.sqlite"), &database), SQLITE_OK);
    bd_cache *cache = open_cache();
    ck_assert_int_eq(sqlite3_exec(database, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
    ck_assert(!has(cache, 1, "one"));
    put(cache, 2, "two");
    bd_cache_close(&cache);
    expect_holds_nothing(scratch_folder()); /* locked from the start */
    sqlite3_close(database);
    cache = open_cache();
    ck_assert(has(cache, 1, "one") && !has(cache, 2, "two"));
    bd_cache_close(&cache);
}
END_TEST

/* The file disappears, or another takes its place, under an open handle. */
START_TEST(removed_file_is_done_without)
{
    fill();
    bd_cache *old = open_cache();
    ck_assert(has(old, 1, "one"));
    ck_assert_int_eq(unlink(scratch_path("cache.sqlite")), 0);
    put(old, 3, "three");
    expect_rebuilt();
    put(old, 4, "four");
    bd_cache_close(&old);
    bd_cache *cache = open_cache();
    ck_assert(has(cache, 2, "two"));
    bd_cache_close(&cache);
}
END_TEST

enum { ROUNDS = 40 };

/* After damage, one process may remove the file that the other has just made anew: that one then keeps nothing. */
static bool starts_damaged;

static void take_part(void)
{
    bd_cache *cache = bd_cache_open_in(scratch_folder(), MOST);
    EXPECT(10, cache);
    for (int i = 0; i < ROUNDS; i++) {
        char text[32];
        snprintf(text, sizeof text, "blob %d", i);
        put(cache, i, text);
        EXPECT(11, has(cache, i, text) || starts_damaged);
    }
    bd_cache_close(&cache);
}

static void take_part_in_parallel(void)
{
    pid_t other = fork();
    EXPECT(20, other >= 0);
    take_part();
    if (other == 0)
        _exit(0);
    int status;
    EXPECT(21, waitpid(other, &status, 0) == other && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

START_TEST(processes_share)
{
    starts_damaged = _i == 1;
    if (starts_damaged)
        scratch_write("cache.sqlite", "nonsense nonsense nonsense", 26);
    ck_assert_int_eq(in_child(take_part_in_parallel, false), 0);
    bd_cache *cache = open_cache();
    if (!starts_damaged)
        for (int i = 0; i < ROUNDS; i++) {
            char text[32];
            snprintf(text, sizeof text, "blob %d", i);
            ck_assert(has(cache, i, text));
        }
    bd_cache_close(&cache);
    expect_rebuilt();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cache");
    TCase *tests = tcase_create("cache");
    tcase_set_timeout(tests, 60); /* on a busy machine */
    tcase_add_checked_fixture(tests, scratch_create, scratch_remove);
    tcase_add_test(tests, blobs_are_kept);
    tcase_add_test(tests, hash_tells_strings_apart);
    tcase_add_test(tests, folders_are_made);
    tcase_add_test(tests, environment_names_the_folder);
    tcase_add_test(tests, oldest_go_first);
    tcase_add_test(tests, nonsense_file_is_rebuilt);
    tcase_add_test(tests, empty_file_is_used);
    tcase_add_test(tests, truncated_file_is_rebuilt);
    tcase_add_test(tests, changed_bytes_are_never_believed);
    tcase_add_test(tests, damaged_blob_is_not_found);
    tcase_add_test(tests, other_schemas_are_rebuilt);
    tcase_add_test(tests, directory_in_its_place_holds_nothing);
    tcase_add_test(tests, read_only_cache_is_read);
    tcase_add_test(tests, read_only_folder_holds_nothing);
    tcase_add_test(tests, full_disk_keeps_what_there_is);
    tcase_add_test(tests, two_handles_share);
    tcase_add_test(tests, locked_file_is_done_without);
    tcase_add_test(tests, removed_file_is_done_without);
    tcase_add_loop_test(tests, processes_share, 0, 2);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
