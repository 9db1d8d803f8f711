/* Data sets from the four files that MNIST laid down: images and labels, for training and for the test. */
#include "dataset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS, FILE_COUNT };
static const char *const file_names[FILE_COUNT] = {
    [TRAIN_IMAGES] = "train-images-idx3-ubyte",
    [TRAIN_LABELS] = "train-labels-idx1-ubyte",
    [TEST_IMAGES] = "t10k-images-idx3-ubyte",
    [TEST_LABELS] = "t10k-labels-idx1-ubyte",
};

static void free_paths(char *paths[FILE_COUNT])
{
    for (int i = 0; i < FILE_COUNT; i++)
        free(paths[i]);
}

/* "FOLDER/NAME" if it is there, else "FOLDER/NAME.gz". */
static bd_status find_file(const char *folder, const char *name, char **path, bd_error *error)
{
    if (asprintf(path, "%s/%s.gz", folder, name) < 0) {
        *path = NULL;
        return bd_fail(error, BD_ERROR_MEMORY, "out of memory");
    }
    char *suffix = *path + strlen(*path) - strlen(".gz");
    *suffix = '\0';
    if (access(*path, F_OK) == 0)
        return BD_OK;
    *suffix = '.';
    if (access(*path, F_OK) == 0)
        return BD_OK;
    return bd_fail(error, BD_ERROR_FILE, "%s: no file %s or %s.gz, which a data set's folder holds", folder, name,
                   name);
}

static bd_status find_in_folder(const char *folder, char *paths[FILE_COUNT], bd_error *error)
{
    bd_status status = BD_OK;
    for (int i = 0; i < FILE_COUNT && !status; i++)
        status = find_file(folder, file_names[i], &paths[i], error);
    return status;
}

static bd_status split_paths(const char *name, char *paths[FILE_COUNT], bd_error *error)
{
    const char *part = name;
    for (int i = 0; i < FILE_COUNT; i++) {
        size_t length = strcspn(part, ",");
        if (length == 0 || (part[length] == ',') != (i < FILE_COUNT - 1))
            return bd_fail(
                error, BD_ERROR_ARGUMENT,
                "data set '%s': wanted four files: training images, training labels, test images, test labels", name);
        paths[i] = strndup(part, length);
        if (!paths[i])
            return bd_fail(error, BD_ERROR_MEMORY, "out of memory");
        part += length + 1;
    }
    return BD_OK;
}

static bd_status read_images(const char *path, bd_examples *examples, int64_t size[3], bd_error *error)
{
    int rank;
    int64_t dim[4];
    bd_status status = bd_idx_read(path, &rank, dim, &examples->images, error);
    if (status)
        return status;
    if (rank < 3)
        return bd_fail(error, BD_ERROR_DATA, "%s: %d dimensions, wanted 3 (count, height, width) or 4 (and channels)",
                       path, rank);
    examples->count = dim[0];
    size[0] = dim[1];
    size[1] = dim[2];
    size[2] = rank == 4 ? dim[3] : 1;
    if (dim[0] == 0 || size[0] == 0 || size[1] == 0 || size[2] == 0)
        return bd_fail(error, BD_ERROR_DATA, "%s: no images: %lld of %lldx%lldx%lld", path, (long long)dim[0],
                       (long long)size[0], (long long)size[1], (long long)size[2]);
    return BD_OK;
}

static bd_status read_labels(const char *path, const char *images_path, bd_examples *examples, bd_error *error)
{
    int rank;
    int64_t dim[4];
    bd_status status = bd_idx_read(path, &rank, dim, &examples->labels, error);
    if (status)
        return status;
    if (rank != 1)
        return bd_fail(error, BD_ERROR_DATA, "%s: %d dimensions, wanted 1 (count)", path, rank);
    if (dim[0] != examples->count)
        return bd_fail(error, BD_ERROR_DATA, "%s: %lld labels for the %lld images of %s", path, (long long)dim[0],
                       (long long)examples->count, images_path);
    return BD_OK;
}

/* Every label must be below `limit`; returns the number of classes that they span. */
static bd_status check_labels(const char *path, const bd_examples *examples, int64_t limit, const char *limit_is,
                              int64_t *classes, bd_error *error)
{
    *classes = 0;
    for (int64_t i = 0; i < examples->count; i++) {
        if (examples->labels[i] >= limit)
            return bd_fail(error, BD_ERROR_DATA, "%s: label %d at position %lld; %s %lld classes, from 0 on", path,
                           examples->labels[i], (long long)i, limit_is, (long long)limit);
        if (examples->labels[i] >= *classes)
            *classes = examples->labels[i] + 1;
    }
    return BD_OK;
}

static bd_status read_all(bd_dataset *dataset, char *paths[FILE_COUNT], bd_error *error)
{
    int64_t size[3], test_size[3], test_classes;
    bd_status status;
    if ((status = read_images(paths[TRAIN_IMAGES], &dataset->train, size, error)) ||
        (status = read_labels(paths[TRAIN_LABELS], paths[TRAIN_IMAGES], &dataset->train, error)) ||
        (status = check_labels(paths[TRAIN_LABELS], &dataset->train, BD_MOST_CLASSES, "there may be at most",
                               &dataset->classes, error)) ||
        (status = read_images(paths[TEST_IMAGES], &dataset->test, test_size, error)) ||
        (status = read_labels(paths[TEST_LABELS], paths[TEST_IMAGES], &dataset->test, error)) ||
        (status = check_labels(paths[TEST_LABELS], &dataset->test, dataset->classes, "the training labels have",
                               &test_classes, error)))
        return status;
    if (memcmp(size, test_size, sizeof size) != 0)
        return bd_fail(error, BD_ERROR_DATA, "%s: images of %lldx%lldx%lld, the training images are %lldx%lldx%lld",
                       paths[TEST_IMAGES], (long long)test_size[0], (long long)test_size[1], (long long)test_size[2],
                       (long long)size[0], (long long)size[1], (long long)size[2]);
    dataset->height = size[0];
    dataset->width = size[1];
    dataset->channels = size[2];
    return BD_OK;
}

bool bd_idx_folder(const char *folder)
{
    char *path = NULL;
    const bool found = find_file(folder, file_names[TRAIN_IMAGES], &path, NULL) == BD_OK;
    free(path);
    return found;
}

bd_status bd_idx_load_folder(const char *folder, bd_dataset *dataset, bd_error *error)
{
    char *paths[FILE_COUNT] = { NULL };
    bd_status status = find_in_folder(folder, paths, error);
    if (!status)
        status = read_all(dataset, paths, error);
    free_paths(paths);
    return status;
}

bd_status bd_idx_load_paths(const char *name, bd_dataset *dataset, bd_error *error)
{
    char *paths[FILE_COUNT] = { NULL };
    bd_status status = split_paths(name, paths, error);
    if (!status)
        status = read_all(dataset, paths, error);
    free_paths(paths);
    return status;
}
