/* CIFAR-10 and CIFAR-100 in their binary format (Krizhevsky, Learning multiple layers of features from tiny images,
 * 2009): records of one label byte (CIFAR-100: coarse, then fine) and 3072 bytes, 32x32 by channel. */
#include "dataset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 32, PIXELS = SIDE * SIDE, CHANNELS = 3, IMAGE_BYTES = PIXELS * CHANNELS, BATCHES = 5 };

typedef struct cifar_kind {
    const char *train[BATCHES + 1], *test, *names; /* files; `train` ends with NULL */
    const char *folder;                            /* that its archive makes */
    int coarse;
    int64_t classes;
} cifar_kind;

static const cifar_kind kinds[] = {
    { { "data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin" },
      "test_batch.bin",
      "batches.meta.txt",
      "cifar-10-batches-bin",
      0,
      10 },
    { { "train.bin" }, "test.bin", "fine_label_names.txt", "cifar-100-binary", 1, 100 },
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The first file of that name that is not a folder. */
static bd_file *find(const bd_files *files, const char *name)
{
    for (size_t i = 0; i < files->count; i++)
        if (!files->files[i].is_folder && !strcmp(last_part(files->files[i].path), name))
            return &files->files[i];
    return NULL;
}

/* The kind that has a training or test file here, or NULL. */
static const cifar_kind *find_kind(const bd_files *files)
{
    for (int k = 0; k < KINDS; k++) {
        if (find(files, kinds[k].test))
            return &kinds[k];
        for (int i = 0; kinds[k].train[i]; i++)
            if (find(files, kinds[k].train[i]))
                return &kinds[k];
    }
    return NULL;
}

bool bd_cifar_wants(const char *path)
{
    const char *name = last_part(path);
    for (int k = 0; k < KINDS; k++) {
        if (!strcmp(name, kinds[k].test) || !strcmp(name, kinds[k].names))
            return true;
        for (int i = 0; kinds[k].train[i]; i++)
            if (!strcmp(name, kinds[k].train[i]))
                return true;
    }
    return false;
}

bool bd_cifar_found(const bd_files *files)
{
    return find_kind(files) != NULL;
}

static bd_status add_kind(bd_files *files, const cifar_kind *kind, const char *prefix, bd_error *error)
{
    const char *names[BATCHES + 2] = { kind->test, kind->names };
    for (int i = 0; kind->train[i]; i++)
        names[2 + i] = kind->train[i];
    bd_status status = BD_OK;
    for (int i = 0; i < BATCHES + 2 && names[i] && !status; i++) {
        char path[96];
        bool added;
        snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "/" : "", names[i]);
        status = bd_files_add(files, path, &added, error);
    }
    return status;
}

bd_status bd_cifar_add_folder(bd_files *files, bd_error *error)
{
    for (int inside = 0; inside < 2; inside++)
        for (int k = 0; k < KINDS; k++) {
            bd_status status = add_kind(files, &kinds[k], inside ? kinds[k].folder : "", error);
            if (status || bd_cifar_found(files))
                return status;
        }
    return BD_OK;
}

bd_status bd_cifar_append(const char *name, const uint8_t *data, size_t size, int coarse, int64_t classes,
                          bd_examples *examples, bd_error *error)
{
    const size_t record = (size_t)coarse + 1 + IMAGE_BYTES, count = size / record, before = (size_t)examples->count;
    if (size == 0 || size % record)
        return bd_fail(error, BD_ERROR_DATA,
                       "%s: %zu bytes, not a whole number of records of %zu bytes: truncated, or "
                       "not a CIFAR file",
                       name, size, record);
    uint8_t *images = realloc(examples->images, (before + count) * IMAGE_BYTES);
    if (images)
        examples->images = images;
    uint8_t *labels = realloc(examples->labels, before + count);
    if (labels)
        examples->labels = labels;
    if (!images || !labels)
        return bd_fail(error, BD_ERROR_MEMORY, "%s: no memory for %zu images", name, before + count);
    for (size_t i = 0; i < count; i++) {
        const uint8_t *from = data + i * record + coarse;
        uint8_t *to = images + (before + i) * IMAGE_BYTES;
        if (*from >= classes)
            return bd_fail(error, BD_ERROR_DATA, "%s: label %d in record %zu; there are %lld classes", name, *from, i,
                           (long long)classes);
        labels[before + i] = *from++;
        for (int pixel = 0; pixel < PIXELS; pixel++)
            for (int channel = 0; channel < CHANNELS; channel++)
                *to++ = from[channel * PIXELS + pixel];
    }
    examples->count += (int64_t)count;
    return BD_OK;
}

static bd_status append_file(bd_files *files, const cifar_kind *kind, const char *name, bd_examples *examples,
                             bd_error *error)
{
    bd_file *file = find(files, name);
    if (!file)
        return bd_fail(error, BD_ERROR_FILE, "%s: no file %s, which a CIFAR-%lld set holds", files->root, name,
                       (long long)kind->classes);
    char path[512];
    snprintf(path, sizeof path, "%s/%s", files->root, file->path);
    bd_status status = bd_file_read(files, file, error);
    if (!status)
        status = bd_cifar_append(path, file->data, (size_t)file->bytes, kind->coarse, kind->classes, examples, error);
    bd_file_forget(file);
    return status;
}

/* One name a line. A file that has another number of them is left out: names are a comfort. */
static bd_status read_names(bd_files *files, const cifar_kind *kind, bd_dataset *dataset, bd_error *error)
{
    const char *names[100];
    int64_t count = 0;
    bd_file *file = find(files, kind->names);
    if (!file)
        return BD_OK;
    bd_status status = bd_file_read(files, file, error);
    char *text = status ? NULL : malloc((size_t)file->bytes + 1), *rest = text;
    if (!status && !text)
        status = bd_fail(error, BD_ERROR_MEMORY, "out of memory");
    if (!status) { /* a file's bytes have no 0 behind them */
        memcpy(text, file->data, (size_t)file->bytes);
        text[file->bytes] = 0;
    }
    for (char *line; !status && (line = strtok_r(rest, "\r\n", &rest)); count++)
        if (count < kind->classes)
            names[count] = line;
    if (!status && count == kind->classes)
        status = bd_dataset_set_classes(dataset, names, count, error);
    free(text);
    bd_file_forget(file);
    return status;
}

bd_status bd_cifar_load(bd_files *files, bd_dataset *dataset, bd_error *error)
{
    const cifar_kind *kind = find_kind(files);
    dataset->height = dataset->width = SIDE;
    dataset->channels = CHANNELS;
    dataset->classes = kind->classes;
    bd_status status = BD_OK;
    for (int i = 0; kind->train[i] && !status; i++)
        status = append_file(files, kind, kind->train[i], &dataset->train, error);
    if (!status)
        status = append_file(files, kind, kind->test, &dataset->test, error);
    return status ? status : read_names(files, kind, dataset, error);
}
