/* Opens data sets: finds out what a name stands for, and has it read. */
#include "dataset.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const FASHION_MNIST_FOLDER = "/usr/share/datasets/fashion-mnist";

#define KNOWN                                                                                                          \
    "a data set is 'fashion-mnist'; a folder of IDX files (train-images-idx3-ubyte), of CIFAR files "                  \
    "(data_batch_1.bin or train.bin) or of images (train/CLASS/*.jpg or *.png, and test/...); an archive of the last " \
    "two; four IDX files joined by commas; or a text file"

bd_status bd_examples_allocate(bd_examples *examples, int64_t count, int64_t bytes_each, bd_error *error)
{
    size_t bytes;
    bd_examples made = { .count = count };
    if (__builtin_mul_overflow((size_t)count, (size_t)bytes_each, &bytes) || bytes > PTRDIFF_MAX)
        return bd_fail(error, BD_ERROR_DATA, "%lld images of %lld bytes are too many", (long long)count,
                       (long long)bytes_each);
    made.images = malloc(bytes ? bytes : 1);
    made.labels = malloc(count ? (size_t)count : 1);
    if (!made.images || !made.labels) {
        free(made.images);
        free(made.labels);
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for %lld images of %lld bytes", (long long)count,
                       (long long)bytes_each);
    }
    *examples = made;
    return BD_OK;
}

bd_status bd_dataset_set_classes(bd_dataset *dataset, const char *const *names, int64_t classes, bd_error *error)
{
    dataset->classes = classes;
    dataset->class_names = calloc((size_t)classes, sizeof *dataset->class_names);
    bool copied = dataset->class_names != NULL;
    for (int64_t i = 0; i < classes && copied; i++)
        copied = (dataset->class_names[i] = strdup(names[i])) != NULL;
    return copied ? BD_OK : bd_fail(error, BD_ERROR_MEMORY, "out of memory");
}

static int64_t count_examples(const bd_dataset *dataset, const bd_examples *examples, int64_t context)
{
    if (!dataset->tokens)
        return examples->count;
    return context > 0 && examples->count > 0 ? (examples->count - 1) / context : 0;
}

int64_t bd_dataset_train_examples(const bd_dataset *dataset, int64_t context)
{
    return count_examples(dataset, &dataset->train, context);
}

int64_t bd_dataset_test_examples(const bd_dataset *dataset, int64_t context)
{
    return count_examples(dataset, &dataset->test, context);
}

/* Exact sums over a histogram. A data set without contrast gets a deviation of 1. */
static void measure(bd_dataset *dataset)
{
    int64_t histogram[256] = { 0 };
    int64_t bytes = dataset->train.count * dataset->height * dataset->width * dataset->channels;
    for (int64_t i = 0; i < bytes; i++)
        histogram[dataset->train.images[i]]++;
    double sum = 0, spread = 0;
    for (int value = 0; value < 256; value++)
        sum += (double)histogram[value] * value;
    double mean = sum / (double)bytes;
    for (int value = 0; value < 256; value++)
        spread += (double)histogram[value] * (value - mean) * (value - mean);
    double deviation = sqrt(spread / (double)bytes);
    dataset->mean = (float)(mean / 255);
    dataset->deviation = deviation > 0 ? (float)(deviation / 255) : 1;
}

/* The last part of a path, without what says that it is an archive; of four paths, that of the first one. */
static void set_name(bd_dataset *dataset, const char *name)
{
    static const char *const endings[] = { ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.zst", ".zip" };
    size_t length = strcspn(name, ",");
    while (length > 1 && name[length - 1] == '/')
        length--;
    size_t first = length;
    while (first > 0 && name[first - 1] != '/')
        first--;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t ending = strlen(endings[i]);
        if (length - first > ending && !strncmp(name + length - ending, endings[i], ending)) {
            length -= ending;
            break;
        }
    }
    snprintf(dataset->name, sizeof dataset->name, "%.*s", (int)(length - first), name + first);
}

static bd_status load_folder(const char *folder, const bd_dataset_params *params, bd_dataset *dataset, bd_error *error)
{
    if (bd_idx_folder(folder))
        return bd_idx_load_folder(folder, dataset, error);
    bd_files files;
    bool images = false;
    bd_status status = bd_files_init(&files, folder, error);
    if (!status)
        status = bd_cifar_add_folder(&files, error);
    if (!status && bd_cifar_found(&files)) {
        status = bd_cifar_load(&files, dataset, error);
    } else if (!status) {
        status = bd_images_add_folder(&files, &images, error);
        if (!status)
            status = images ? bd_images_load(&files, params, dataset, error)
                            : bd_fail(error, BD_ERROR_FILE, "%s: no data set in this folder; " KNOWN, folder);
    }
    bd_files_finish(&files);
    return status;
}

static bool wants(const char *path)
{
    return bd_cifar_wants(path) || bd_images_wants(path);
}

static void report_reading(void *user, double fraction)
{
    const bd_dataset_params *params = user;
    if (params->on_progress)
        params->on_progress(params->user, "read", fraction);
}

static bd_status load_archive(const char *path, const bd_dataset_params *params, bd_dataset *dataset, bd_error *error)
{
    bd_files files;
    bd_source_mark mark;
    char *cache = NULL;
    bool cached = false;
    bd_status status = bd_files_init(&files, path, error);
    /* A cache that is there saves even the reading of the archive. */
    if (!status)
        status = bd_source_mark_of(&files, &mark, error);
    if (!status)
        status = bd_dataset_cache_path(params->cache, path, &cache, error);
    if (!status)
        cached = cache && bd_dataset_cache_load(cache, &mark, dataset);
    free(cache);
    if (!status && !cached)
        status = bd_files_read_archive(&files, wants, report_reading, (void *)params, error);
    if (!status && !cached)
        status = bd_cifar_found(&files) ? bd_cifar_load(&files, dataset, error)
                                        : bd_images_load(&files, params, dataset, error);
    bd_files_finish(&files);
    return status;
}

/* By what it begins with: compressed or zip, or the tar header's mark. */
static bool is_archive(const char *path)
{
    enum { TAR_MARK = 257 };
    static const char *const marks[] = { "\x1f\x8b",
                                         ("\xfd"
                                          "7zXZ"),
                                         "\x28\xb5\x2f\xfd", "PK\003\004", "PK\005\006" };
    char head[TAR_MARK + 5] = { 0 };
    FILE *file = fopen(path, "rbe");
    if (!file)
        return false;
    const size_t size = fread(head, 1, sizeof head, file);
    (void)fclose(file);
    bool found = size == sizeof head && !memcmp(head + TAR_MARK, "ustar", 5);
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        found |= !strncmp(head, marks[i], strlen(marks[i]));
    return found;
}

static bd_status load_file(const char *path, const bd_dataset_params *params, bd_dataset *dataset, bd_error *error)
{
    return is_archive(path) ? load_archive(path, params, dataset, error) : bd_text_load(path, params, dataset, error);
}

static bd_status load(const bd_dataset_params *params, bd_dataset *dataset, bd_error *error)
{
    const char *name = params->name;
    struct stat info;
    if (!strcmp(name, "fashion-mnist")) {
        const char *folder = getenv("BINADE_DATA");
        if (folder && *folder && access(folder, F_OK) != 0)
            return bd_fail(error, BD_ERROR_FILE, "%s: no such folder, but BINADE_DATA names it for fashion-mnist",
                           folder);
        if (folder && *folder)
            return bd_idx_load_folder(folder, dataset, error);
        if (access(FASHION_MNIST_FOLDER, F_OK) != 0)
            return bd_fail(error, BD_ERROR_FILE,
                           "%s: no such folder; install the package dataset-fashion-mnist, or name a folder that holds "
                           "the files in BINADE_DATA",
                           FASHION_MNIST_FOLDER);
        return bd_idx_load_folder(FASHION_MNIST_FOLDER, dataset, error);
    }
    if (stat(name, &info) == 0) {
        if (S_ISDIR(info.st_mode))
            return load_folder(name, params, dataset, error);
        if (S_ISREG(info.st_mode))
            return load_file(name, params, dataset, error);
        return bd_fail(error, BD_ERROR_DATA, "%s: %s, neither a file nor a folder; " KNOWN, name,
                       S_ISFIFO(info.st_mode) ? "a pipe, which cannot be read twice" : "a device or a socket");
    }
    if (strchr(name, ','))
        return bd_idx_load_paths(name, dataset, error);
    return bd_fail(error, BD_ERROR_FILE, "%s: no such file or folder; " KNOWN, name);
}

bd_status bd_dataset_load(const bd_dataset_params *params, bd_dataset **dataset, bd_error *error)
{
    *dataset = NULL;
    if (!params->name || !*params->name)
        return bd_fail(error, BD_ERROR_ARGUMENT, "no data set named; try 'fashion-mnist'");
    bd_dataset *opened = calloc(1, sizeof *opened);
    if (!opened)
        return bd_fail(error, BD_ERROR_MEMORY, "out of memory");
    set_name(opened, params->name);
    bd_status status = load(params, opened, error);
    if (status)
        bd_dataset_close(&opened);
    else if (!opened->tokens)
        measure(opened);
    *dataset = opened;
    return status;
}

bd_status bd_dataset_open(const char *name, bd_dataset **dataset, bd_error *error)
{
    return bd_dataset_load(&(bd_dataset_params){ .name = name }, dataset, error);
}

void bd_dataset_close(bd_dataset **dataset)
{
    if (!dataset || !*dataset)
        return;
    for (int64_t i = 0; (*dataset)->class_names && i < (*dataset)->classes; i++)
        free((*dataset)->class_names[i]);
    free((*dataset)->class_names);
    free((*dataset)->train.images);
    free((*dataset)->train.labels);
    free((*dataset)->test.images);
    free((*dataset)->test.labels);
    free(*dataset);
    *dataset = NULL;
}
