/* Data sets of images: right bytes and classes from folders and archives, the cache, and what is said of everything
 * bad. */
#include <binade/data.h>

#include "image_files.h"
#include "scratch.h"

#include <archive.h>
#include <check.h>
#include <fcntl.h>
#include <png.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WIDTH = 4, HEIGHT = 3, BYTES = WIDTH * HEIGHT * 3, EACH = 5 };
static const char *const classes[] = { "ant", "bee", "cat" };
enum { CLASSES = 3 };

static char warning[512];

static void note_warning(void *user, const char *line)
{
    (void)user;
    snprintf(warning, sizeof warning, "%s", line);
}

static bd_status open_with(const char *name, const char *cache, bd_dataset **dataset, bd_error *error)
{
    warning[0] = '\0';
    const bd_dataset_params params = { .name = name, .threads = 3, .cache = cache, .on_warning = note_warning };
    return bd_dataset_load(&params, dataset, error);
}

static void make_folders(const char *path)
{
    char text[512];
    snprintf(text, sizeof text, "%s", path);
    for (char *slash = text + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(text, 0777);
        *slash = '/';
    }
}

/* Writes a file below the scratch folder, with its folders. */
static void put(const char *path, const void *data, size_t size)
{
    make_folders(scratch_path(path));
    scratch_write(path, data, size);
}

static void put_image(const char *path, image_file file)
{
    put(path, file.data, file.size);
    free(file.data);
}

/* Byte i of image `number`; any function that differs between images, pixels and channels. */
static uint8_t sample(int number, int i)
{
    return (uint8_t)(number * 53 + i * 7 + 11);
}

static image_file make_png(int number)
{
    uint8_t samples[BYTES];
    for (int i = 0; i < BYTES; i++)
        samples[i] = sample(number, i);
    return image_png(WIDTH, HEIGHT, PNG_COLOR_TYPE_RGB, 8, number % 2, samples);
}

/* set/SPLIT/CLASS/N.png: EACH images a class for training, 1 for the test; image numbers go on through all. */
static void write_good(void)
{
    int number = 0;
    for (int split = 0; split < 2; split++)
        for (int class = 0; class < CLASSES; class ++)
            for (int i = 0; i < (split ? 1 : EACH); i++) {
                char path[128];
                snprintf(path, sizeof path, "in/set/%s/%s/%d.%s", split ? "test" : "train", classes[class], i,
                         i % 2 ? "PNG" : "png");
                put_image(path, make_png(number++));
            }
}

static void check_good(const bd_dataset *dataset)
{
    ck_assert_int_eq(dataset->train.count, CLASSES * EACH);
    ck_assert_int_eq(dataset->test.count, CLASSES);
    ck_assert_int_eq(dataset->height, HEIGHT);
    ck_assert_int_eq(dataset->width, WIDTH);
    ck_assert_int_eq(dataset->channels, 3);
    ck_assert_int_eq(dataset->classes, CLASSES);
    for (int i = 0; i < CLASSES; i++)
        ck_assert_str_eq(dataset->class_names[i], classes[i]);
    for (int image = 0; image < CLASSES * EACH + CLASSES; image++) {
        const bool test = image >= CLASSES * EACH;
        const bd_examples *examples = test ? &dataset->test : &dataset->train;
        const int at = test ? image - CLASSES * EACH : image;
        ck_assert_int_eq(examples->labels[at], test ? at : at / EACH);
        for (int i = 0; i < BYTES; i++)
            ck_assert_int_eq(examples->images[at * BYTES + i], sample(image, i));
    }
}

static void expect_good(const char *name, const char *cache)
{
    bd_dataset *dataset = NULL;
    bd_error error = { 0 };
    ck_assert_msg(open_with(name, cache, &dataset, &error) == BD_OK, "%s", error.message);
    check_good(dataset);
    bd_dataset_close(&dataset);
}

/* Both texts must be in the message. */
static void expect_refused(const char *name, bd_status status, const char *what, const char *why)
{
    bd_dataset *dataset = NULL;
    bd_error error = { 0 };
    ck_assert_int_eq(open_with(name, "", &dataset, &error), status);
    ck_assert_ptr_null(dataset);
    ck_assert_msg(strstr(error.message, what) && strstr(error.message, why), "wanted '%s' and '%s': %s", what, why,
                  error.message);
    ck_assert_ptr_null(strchr(error.message, '\n'));
}

static const char *set(void)
{
    return scratch_path("in/set");
}

START_TEST(folder_opens)
{
    write_good();
    put("in/set/README.txt", "hello", 5);
    put("in/set/train/ant/.DS_Store", "x", 1);
    put("in/set/test/bee/Thumbs.db", "x", 1);
    put("in/set/val/whatever/1.png", "not looked at", 13); /* there is a test set */
    expect_good(set(), "");
    char slash[512];
    snprintf(slash, sizeof slash, "%s/", set());
    bd_dataset *dataset = NULL;
    ck_assert_int_eq(open_with(slash, "", &dataset, NULL), BD_OK);
    ck_assert_str_eq(dataset->name, "set");
    bd_dataset_close(&dataset);
}
END_TEST

START_TEST(archives_open)
{
    static const struct {
        const char *name;
        int format, filter;
    } kinds[] = {
        { "pets.tar", ARCHIVE_FORMAT_TAR_PAX_RESTRICTED, ARCHIVE_FILTER_NONE },
        { "pets.tar.gz", ARCHIVE_FORMAT_TAR_GNUTAR, ARCHIVE_FILTER_GZIP },
        { "pets.tar.xz", ARCHIVE_FORMAT_TAR_USTAR, ARCHIVE_FILTER_XZ },
        { "pets.tar.zst", ARCHIVE_FORMAT_TAR_PAX_RESTRICTED, ARCHIVE_FILTER_ZSTD },
        { "pets.zip", ARCHIVE_FORMAT_ZIP, ARCHIVE_FILTER_NONE },
    };
    write_good();
    /* Splits at the archive's root, and in a folder of it. */
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        for (int inside = 0; inside < 2; inside++) {
            archive_folder(inside ? scratch_path("in") : set(), scratch_path(kinds[i].name), kinds[i].format,
                           kinds[i].filter);
            expect_good(scratch_path(kinds[i].name), "");
            bd_dataset *dataset = NULL;
            ck_assert_int_eq(open_with(scratch_path(kinds[i].name), "", &dataset, NULL), BD_OK);
            ck_assert_str_eq(dataset->name, "pets");
            bd_dataset_close(&dataset);
            unlink(scratch_path(kinds[i].name));
        }
}
END_TEST

START_TEST(cut_archives_are_refused)
{
    write_good();
    archive_folder(set(), scratch_path("a.tar.gz"), ARCHIVE_FORMAT_TAR_USTAR, ARCHIVE_FILTER_GZIP);
    size_t size;
    uint8_t *bytes = scratch_read("a.tar.gz", &size);
    for (size_t cut = 0; cut < size; cut += 1 + size / 40) {
        scratch_write("cut.tar.gz", bytes, cut);
        expect_refused(scratch_path("cut.tar.gz"), BD_ERROR_DATA, "cut.tar.gz", "");
    }
    free(bytes);
    scratch_write("text", "no archive\0at all", 17);
    expect_refused(scratch_path("text"), BD_ERROR_DATA, "text", "archive");
    scratch_write("nothing", "", 0);
    expect_refused(scratch_path("nothing"), BD_ERROR_DATA, "nothing", "");
}
END_TEST

START_TEST(names_that_lead_out_are_refused)
{
    image_file file = make_png(0);
    static const char *const names[] = { "../train/ant/0.png", "/train/ant/0.png", "train/../../ant/0.png",
                                         "train/ant/.." };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        archive_one(scratch_path("evil.tar"), names[i], NULL, file.data, file.size);
        expect_refused(scratch_path("evil.tar"), BD_ERROR_DATA, names[i], "lead out");
    }
    archive_one(scratch_path("evil.tar"), "train/ant/0.png", "/etc/passwd", NULL, 0);
    expect_refused(scratch_path("evil.tar"), BD_ERROR_DATA, "train/ant/0.png", "neither a file nor a folder");
    free(file.data);
}
END_TEST

START_TEST(cache_is_used_verified_and_remade)
{
    write_good();
    mkdir(scratch_path("cache"), 0777);
    char cache[512];
    snprintf(cache, sizeof cache, "%s", scratch_path("cache"));
    expect_good(set(), cache);
    /* The pictures are no longer looked at: another content of the same size and time goes unseen. */
    struct stat before;
    ck_assert_int_eq(stat(scratch_path("in/set/train/ant/0.png"), &before), 0);
    char *nonsense = calloc(1, (size_t)before.st_size);
    put("in/set/train/ant/0.png", nonsense, (size_t)before.st_size);
    ck_assert_int_eq(utimensat(AT_FDCWD, scratch_path("in/set/train/ant/0.png"),
                               (struct timespec[]){ before.st_atim, before.st_mtim }, 0),
                     0);
    expect_good(set(), cache);
    put("in/set/train/ant/0.png", nonsense, (size_t)before.st_size); /* with a new time it is seen */
    free(nonsense);
    bd_dataset *dataset = NULL;
    ck_assert_int_eq(open_with(set(), cache, &dataset, NULL), BD_ERROR_DATA);
    put_image("in/set/train/ant/0.png", make_png(0));
    expect_good(set(), cache);
}
END_TEST

/* A conversion that was killed leaves what it wrote; one that runs is left alone, and so is what is not ours. */
START_TEST(old_leftovers_are_removed)
{
    static const struct {
        const char *name;
        time_t age;
        bool stays;
    } files[] = { { "cache/images-0123456789abcdef.12-0.tmp", 7200, false },
                  { "cache/images-0123456789abcdef.12-1.tmp", 60, true },
                  { "cache/images-0123456789abcdef", 7200, true },
                  { "cache/other.tmp", 7200, true } };
    write_good();
    mkdir(scratch_path("cache"), 0777);
    const time_t now = time(NULL);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        const struct timespec when = { .tv_sec = now - files[i].age };
        put(files[i].name, "x", 1);
        ck_assert_int_eq(utimensat(AT_FDCWD, scratch_path(files[i].name), (struct timespec[]){ when, when }, 0), 0);
    }
    char cache[512];
    snprintf(cache, sizeof cache, "%s", scratch_path("cache"));
    expect_good(set(), cache);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        ck_assert_msg((access(scratch_path(files[i].name), F_OK) == 0) == files[i].stays, "%s", files[i].name);
}
END_TEST

/* The cache's only file, as a name below the scratch folder. */
static const char *cache_file(void)
{
    static char name[300];
    char command[600];
    snprintf(command, sizeof command, "ls '%s'", scratch_path("cache"));
    FILE *list = popen(command, "r");
    char line[256] = "", more[256];
    ck_assert_ptr_nonnull(list);
    ck_assert_ptr_nonnull(fgets(line, sizeof line, list));
    ck_assert_ptr_null(fgets(more, sizeof more, list));
    pclose(list);
    line[strcspn(line, "\n")] = '\0';
    snprintf(name, sizeof name, "cache/%s", line);
    return name;
}

START_TEST(damaged_caches_are_remade)
{
    write_good();
    archive_folder(set(), scratch_path("a.tar"), ARCHIVE_FORMAT_TAR_USTAR, ARCHIVE_FILTER_NONE);
    mkdir(scratch_path("cache"), 0777);
    char cache[512], archive[512];
    snprintf(cache, sizeof cache, "%s", scratch_path("cache"));
    snprintf(archive, sizeof archive, "%s", scratch_path("a.tar"));
    expect_good(archive, cache);
    size_t size, again;
    uint8_t *whole = scratch_read(cache_file(), &size);
    /* All over the header and the rest, and cut at such lengths. */
    for (size_t i = 0; i < 2 * size; i += i < 104 ? 3 : 1 + size / 20) {
        uint8_t kept = whole[i % size];
        whole[i % size] ^= 0x41;
        scratch_write(cache_file(), whole, i < size ? size : i - size);
        whole[i % size] = kept;
        expect_good(archive, cache);
        uint8_t *remade = scratch_read(cache_file(), &again);
        ck_assert_uint_eq(again, size);
        ck_assert_mem_eq(remade, whole, size);
        free(remade);
    }
    free(whole);
    /* A place that cannot be written costs time and a warning only. */
    char nowhere[600];
    snprintf(nowhere, sizeof nowhere, "%s/no/such", cache);
    expect_good(archive, nowhere);
    ck_assert_ptr_nonnull(strstr(warning, "not kept"));
}
END_TEST

static const uint8_t *decode_one(image_file file, bd_dataset **dataset)
{
    bd_error error = { 0 };
    put("in/set/train/a/1.png", file.data, file.size);
    put("in/set/test/a/1.png", file.data, file.size);
    free(file.data);
    ck_assert_msg(open_with(set(), "", dataset, &error) == BD_OK, "%s", error.message);
    ck_assert_int_eq((*dataset)->train.count, 1);
    return (*dataset)->train.images;
}

START_TEST(png_kinds_are_converted)
{
    bd_dataset *dataset = NULL;
    /* 16 bits: v * 255 / 65535, rounded */
    const uint8_t deep[] = { 0x12, 0x34, 0xff, 0xff, 0, 0x7f, 0, 0x81 };
    const uint8_t *pixels = decode_one(image_png(2, 2, PNG_COLOR_TYPE_GRAY, 16, 0, deep), &dataset);
    ck_assert_int_eq(dataset->channels, 1);
    const uint8_t shallow[] = { 18, 255, 0, 1 };
    ck_assert_mem_eq(pixels, shallow, 4);
    bd_dataset_close(&dataset);
    /* alpha goes */
    const uint8_t veiled[] = { 10, 20, 30, 0, 40, 50, 60, 255 }, bare[] = { 10, 20, 30, 40, 50, 60 };
    pixels = decode_one(image_png(2, 1, PNG_COLOR_TYPE_RGB_ALPHA, 8, 0, veiled), &dataset);
    ck_assert_int_eq(dataset->channels, 3);
    ck_assert_mem_eq(pixels, bare, 6);
    bd_dataset_close(&dataset);
    const uint8_t grey_veiled[] = { 10, 0, 40, 255 }, grey_bare[] = { 10, 40 };
    pixels = decode_one(image_png(2, 1, PNG_COLOR_TYPE_GRAY_ALPHA, 8, 0, grey_veiled), &dataset);
    ck_assert_int_eq(dataset->channels, 1);
    ck_assert_mem_eq(pixels, grey_bare, 2);
    bd_dataset_close(&dataset);
    /* a palette is looked up */
    const uint8_t entries[] = { 5, 60 }, looked_up[] = { 5, 10, 15, 60, 120, 180 };
    pixels = decode_one(image_png(2, 1, PNG_COLOR_TYPE_PALETTE, 8, 1, entries), &dataset);
    ck_assert_int_eq(dataset->channels, 3);
    ck_assert_mem_eq(pixels, looked_up, 6);
    bd_dataset_close(&dataset);
    /* single bits become 0 and 255 */
    const uint8_t bits[] = { 0xa0 }, wide[] = { 255, 0, 255 };
    pixels = decode_one(image_png(3, 1, PNG_COLOR_TYPE_GRAY, 1, 0, bits), &dataset);
    ck_assert_mem_eq(pixels, wide, 3);
    bd_dataset_close(&dataset);
}
END_TEST

START_TEST(grey_joins_colour)
{
    uint8_t grey[64], colour[192];
    memset(grey, 77, sizeof grey);
    memset(colour, 200, sizeof colour);
    /* Flat pictures: all of their energy is in the first coefficient, which quality 100 keeps exactly. */
    put_image("in/set/train/a/1.jpg", image_jpeg(8, 8, 1, grey));
    put_image("in/set/train/b/1.jpeg", image_jpeg(8, 8, 3, colour));
    put_image("in/set/test/a/1.png", image_png(8, 8, PNG_COLOR_TYPE_GRAY, 8, 0, grey));
    bd_dataset *dataset = NULL;
    bd_error error = { 0 };
    ck_assert_msg(open_with(set(), "", &dataset, &error) == BD_OK, "%s", error.message);
    ck_assert_ptr_nonnull(strstr(warning, "class 'b' is not in test"));
    ck_assert_int_eq(dataset->channels, 3);
    for (int i = 0; i < 192; i++) {
        ck_assert_int_eq(dataset->train.images[i], 77);
        ck_assert_int_eq(dataset->train.images[192 + i], 200);
        ck_assert_int_eq(dataset->test.images[i], 77);
    }
    bd_dataset_close(&dataset);
}
END_TEST

START_TEST(bad_images_are_refused)
{
    uint8_t samples[4 * 16 * 16];
    for (size_t i = 0; i < sizeof samples; i++)
        samples[i] = (uint8_t)(i * i % 251);
    write_good();
    static const char bad[] = "in/set/train/bee/2.png";
    put_image(bad, image_png(16, 16, PNG_COLOR_TYPE_RGB, 8, 0, samples));
    expect_refused(set(), BD_ERROR_DATA, "'train/bee/2.png' is 16x16", "wanted 4x3 as 'train/ant/0.png' is");
    put_image(bad, image_jpeg(WIDTH, HEIGHT, 4, samples));
    expect_refused(set(), BD_ERROR_DATA, "train/bee/2.png", "CMYK");
    put(bad, "BM not a picture", 16);
    expect_refused(set(), BD_ERROR_DATA, "train/bee/2.png", "neither JPEG nor PNG");
    put(bad, "", 0);
    expect_refused(set(), BD_ERROR_DATA, "train/bee/2.png", "neither JPEG nor PNG");
    image_file files[] = { make_png(3), image_jpeg(WIDTH, HEIGHT, 3, samples) };
    for (int kind = 0; kind < 2; kind++) {
        for (size_t cut = 0; cut < files[kind].size; cut += 1 + files[kind].size / 50) {
            put(bad, files[kind].data, cut);
            expect_refused(set(), BD_ERROR_DATA, "train/bee/2.png", "");
        }
        free(files[kind].data);
    }
    /* A header that boasts. */
    image_file file = make_png(3);
    memcpy(file.data + 16, "\x7f\xff\xff\xff\x7f\xff\xff\xff", 8);
    put_image(bad, file);
    expect_refused(set(), BD_ERROR_DATA, "train/bee/2.png", "");
}
END_TEST

START_TEST(bad_folders_are_refused)
{
    expect_refused(scratch_path("nowhere"), BD_ERROR_FILE, "nowhere", "no such file or folder");
    expect_refused("/dev/zero", BD_ERROR_DATA, "/dev/zero: a device", "neither a file nor a folder");
    ck_assert_int_eq(mkfifo(scratch_path("pipe"), 0600), 0);
    expect_refused(scratch_path("pipe"), BD_ERROR_DATA, "a pipe", "neither a file nor a folder");
    expect_refused(scratch_folder(), BD_ERROR_FILE, scratch_folder(), "no data set in this folder");
    write_good();
    put("in/set/train/notes.txt", "x", 1);
    expect_refused(set(), BD_ERROR_DATA, "'train/notes.txt'", "lies in no class");
    unlink(scratch_path("in/set/train/notes.txt"));
    put("in/set/train/ant/notes.txt", "x", 1);
    expect_refused(set(), BD_ERROR_DATA, "'train/ant/notes.txt'", "is no image");
    unlink(scratch_path("in/set/train/ant/notes.txt"));
    put("in/set/train/ant/deep/1.png", "x", 1);
    expect_refused(set(), BD_ERROR_DATA, "'train/ant/deep", "lies too deep");
    unlink(scratch_path("in/set/train/ant/deep/1.png"));
    rmdir(scratch_path("in/set/train/ant/deep"));
    mkdir(scratch_path("in/set/train/empty"), 0777);
    expect_refused(set(), BD_ERROR_DATA, "class 'empty'", "has no images in train");
    rmdir(scratch_path("in/set/train/empty"));
    put_image("in/set/test/dog/1.png", make_png(0));
    expect_refused(set(), BD_ERROR_DATA, "'dog'", "which the training set has not");
    unlink(scratch_path("in/set/test/dog/1.png"));
    rmdir(scratch_path("in/set/test/dog"));
    expect_good(set(), "");
    symlink("nowhere", scratch_path("in/set/train/ant/gone.png"));
    expect_refused(set(), BD_ERROR_FILE, "train/ant/gone.png", "link to nothing");
    unlink(scratch_path("in/set/train/ant/gone.png"));
    rename(scratch_path("in/set/test"), scratch_path("in/set/other"));
    expect_refused(set(), BD_ERROR_DATA, "set", "no test set");
    rename(scratch_path("in/set/other"), scratch_path("in/set/valid"));
    expect_good(set(), "");
    for (int i = 0; i < 256; i++) {
        char path[64];
        snprintf(path, sizeof path, "in/set/train/x%d/1.png", i);
        put_image(path, make_png(0));
    }
    expect_refused(set(), BD_ERROR_DATA, "set", "more than 255 classes");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("images");
    TCase *tests = tcase_create("images");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, scratch_create, scratch_remove);
    tcase_add_test(tests, folder_opens);
    tcase_add_test(tests, archives_open);
    tcase_add_test(tests, cut_archives_are_refused);
    tcase_add_test(tests, names_that_lead_out_are_refused);
    tcase_add_test(tests, cache_is_used_verified_and_remade);
    tcase_add_test(tests, old_leftovers_are_removed);
    tcase_add_test(tests, damaged_caches_are_remade);
    tcase_add_test(tests, png_kinds_are_converted);
    tcase_add_test(tests, grey_joins_colour);
    tcase_add_test(tests, bad_images_are_refused);
    tcase_add_test(tests, bad_folders_are_refused);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
