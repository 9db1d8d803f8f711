/* Folders of images, SPLIT/CLASS/NAME, on disk or in an archive: which file is what, then decoding on several
 * threads. */
#include "dataset.h"
#include "image.h"
#include "parallel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { TRAIN, TEST, SPLITS };

/* The first is for training; of the others the first that is there is the test set. */
static const char *const split_names[] = { "train", "test", "val", "valid", "validation" };
enum { SPLIT_NAMES = sizeof split_names / sizeof *split_names };

/* What a path's parts say; texts are parts of the path. */
typedef struct place {
    int split;                /* of split_names, or -1: outside of the splits */
    size_t prefix;            /* length of what stands before the split */
    const char *class, *name; /* NULL where the path ends before them */
    size_t class_length;
    bool deeper; /* there is a folder below the class */
} place;

static int find_split(const char *part, size_t length)
{
    for (int i = 0; i < SPLIT_NAMES; i++)
        if (strlen(split_names[i]) == length && !strncmp(split_names[i], part, length))
            return i;
    return -1;
}

static place find_place(const char *path)
{
    place found = { .split = -1 };
    const char *part = path;
    for (; *part && found.split < 0; part += strcspn(part, "/"), part += *part == '/') {
        found.prefix = (size_t)(part - path);
        found.split = find_split(part, strcspn(part, "/"));
    }
    if (found.split < 0 || !*part)
        return found;
    found.class = part;
    found.class_length = strcspn(part, "/");
    part += found.class_length;
    if (!*part)
        return found;
    found.name = part + 1;
    found.deeper = strchr(found.name, '/') != NULL;
    return found;
}

/* What systems leave lying about: ".DS_Store", "Thumbs.db", "__MACOSX". */
static bool is_litter(const char *path)
{
    for (const char *part = path; *part; part += strcspn(part, "/"), part += *part == '/')
        if (*part == '.' || !strncmp(part, "__MACOSX", strcspn(part, "/")) || !strcmp(part, "Thumbs.db"))
            return true;
    return false;
}

static bool has_image_name(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot && (!strcasecmp(dot, ".jpg") || !strcasecmp(dot, ".jpeg") || !strcasecmp(dot, ".png"));
}

bool bd_images_wants(const char *path)
{
    return !is_litter(path) && find_place(path).split >= 0 && has_image_name(path);
}

bd_status bd_images_add_folder(bd_files *files, bool *found, bd_error *error)
{
    bd_status status = BD_OK;
    *found = false;
    for (int i = 0; i < SPLIT_NAMES && !status; i++) {
        bool added;
        const size_t at = files->count;
        status = bd_files_add(files, split_names[i], &added, error);
        if (status || !added)
            continue;
        *found |= i == 0 && files->files[at].is_folder;
        if (files->files[at].is_folder)
            status = bd_files_add_folder(files, split_names[i], 2, error);
    }
    return status;
}

/* ---- the index: which file is an image of which class ---- */

typedef struct item {
    bd_file *file;
    int64_t class;
    bd_image_shape shape;
} item;

typedef struct image_index {
    bd_files *files;
    const bd_dataset_params *params;
    int test_name;  /* of split_names */
    char **classes; /* sorted; owned */
    int64_t class_count, class_capacity;
    item *items; /* owned; the training images, then the others */
    int64_t count[SPLITS], all;
    bd_image_shape shape;
    bd_dataset *dataset; /* while decoding */
} image_index;

static bd_status check_member(const image_index *self, const bd_file *file, const place *at, size_t prefix,
                              bd_error *error)
{
    const char *root = self->files->root;
    if (at->prefix != prefix)
        return bd_fail(error, BD_ERROR_DATA, "%s: '%s' lies elsewhere than the splits before it: wanted one data set",
                       root, file->path);
    if (at->deeper || (file->is_folder && at->name))
        return bd_fail(error, BD_ERROR_DATA, "%s: '%s' lies too deep: wanted SPLIT/CLASS/IMAGE", root, file->path);
    if (!file->is_folder && !at->name)
        return bd_fail(error, BD_ERROR_DATA, "%s: '%s' lies in no class: wanted SPLIT/CLASS/IMAGE", root, file->path);
    if (!file->is_folder && !has_image_name(file->path))
        return bd_fail(error, BD_ERROR_DATA, "%s: '%s' is no image: wanted .jpg, .jpeg or .png", root, file->path);
    return BD_OK;
}

static int64_t find_class(const image_index *self, const char *name, size_t length)
{
    for (int64_t i = 0; i < self->class_count; i++)
        if (strlen(self->classes[i]) == length && !strncmp(self->classes[i], name, length))
            return i;
    return -1;
}

static bd_status add_class(image_index *self, const place *at, bd_error *error)
{
    if (self->class_count == BD_MOST_CLASSES)
        return bd_fail(error, BD_ERROR_DATA, "%s: more than %d classes", self->files->root, BD_MOST_CLASSES);
    char *name = strndup(at->class, at->class_length);
    char **grown = realloc(self->classes, (size_t)(self->class_count + 1) * sizeof *grown);
    if (grown)
        self->classes = grown;
    if (!name || !grown) {
        free(name);
        return bd_fail(error, BD_ERROR_MEMORY, "out of memory");
    }
    self->classes[self->class_count++] = name;
    return BD_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Which splits there are, and the classes of the training set. */
static bd_status find_classes(image_index *self, bd_error *error)
{
    const bd_files *files = self->files;
    bool there[SPLIT_NAMES] = { false };
    size_t prefix = 0;
    bd_status status = BD_OK;
    for (size_t i = 0; i < files->count && !status; i++) {
        const bd_file *file = &files->files[i];
        const place at = find_place(file->path);
        if (is_litter(file->path) || at.split < 0 || (!at.class && !file->is_folder))
            continue;
        bool any = false;
        for (int k = 0; k < SPLIT_NAMES; k++)
            any |= there[k];
        prefix = any ? prefix : at.prefix;
        there[at.split] = true;
        if ((status = check_member(self, file, &at, prefix, error)) || at.split != 0 || !at.class)
            continue;
        if (find_class(self, at.class, at.class_length) < 0)
            status = add_class(self, &at, error);
    }
    if (status)
        return status;
    if (!self->class_count)
        return bd_fail(error, BD_ERROR_DATA,
                       "%s: no data set in it: wanted images at train/CLASS/NAME and test/CLASS/NAME, or CIFAR's files",
                       files->root);
    while (self->test_name < SPLIT_NAMES && !there[self->test_name])
        self->test_name++;
    if (self->test_name == SPLIT_NAMES)
        return bd_fail(error, BD_ERROR_DATA,
                       "%s: no test set: wanted a folder test, val, valid or validation beside train", files->root);
    qsort(self->classes, (size_t)self->class_count, sizeof *self->classes, compare_names);
    return BD_OK;
}

static bd_status fill_items(image_index *self, bd_error *error)
{
    const bd_files *files = self->files;
    self->items = calloc(files->count, sizeof *self->items);
    if (!self->items)
        return bd_fail(error, BD_ERROR_MEMORY, "%s: no memory for a list of %zu files", files->root, files->count);
    for (int split = 0; split < SPLITS; split++) {
        int64_t images_of[BD_MOST_CLASSES] = { 0 };
        bool seen[BD_MOST_CLASSES] = { false };
        for (size_t i = 0; i < files->count; i++) {
            bd_file *file = &files->files[i];
            const place at = find_place(file->path);
            if (is_litter(file->path) || at.split != (split == TRAIN ? 0 : self->test_name) || !at.class)
                continue;
            const int64_t class = find_class(self, at.class, at.class_length);
            if (class < 0)
                return bd_fail(error, BD_ERROR_DATA, "%s: '%s' is of class '%.*s', which the training set has not",
                               files->root, file->path, (int)at.class_length, at.class);
            seen[class] = true;
            if (file->is_folder)
                continue;
            images_of[class]++;
            self->count[split]++;
            self->items[self->all++] = (item){ .file = file, .class = class };
        }
        for (int64_t class = 0; class < self->class_count; class ++) {
            const char *name = split_names[split == TRAIN ? 0 : self->test_name];
            char line[256];
            if (images_of[class])
                continue;
            if (seen[class] || split == TRAIN)
                return bd_fail(error, BD_ERROR_DATA, "%s: class '%s' has no images in %s", files->root,
                               self->classes[class], name);
            snprintf(line, sizeof line, "%s: class '%s' is not in %s: nothing will be known of it", files->root,
                     self->classes[class], name);
            if (self->params->on_warning)
                self->params->on_warning(self->params->user, line);
        }
    }
    return BD_OK;
}

/* ---- decoding ---- */

static const char *item_name(const image_index *self, const item *one, char text[600])
{
    snprintf(text, 600, "%.250s: %.340s", self->files->root, one->file->path);
    return text;
}

static bd_status inspect(void *user, int64_t i, bd_error *error)
{
    image_index *self = user;
    item *one = &self->items[i];
    char name[600];
    bd_status status = bd_file_read(self->files, one->file, error);
    return status ? status
                  : bd_image_inspect(item_name(self, one, name), one->file->data, (size_t)one->file->bytes, &one->shape,
                                     error);
}

static bd_status decode(void *user, int64_t i, bd_error *error)
{
    image_index *self = user;
    const item *one = &self->items[i];
    const int split = i < self->count[TRAIN] ? TRAIN : TEST;
    bd_examples *examples = split == TRAIN ? &self->dataset->train : &self->dataset->test;
    const int64_t at = split == TRAIN ? i : i - self->count[TRAIN];
    char name[600];
    examples->labels[at] = (uint8_t)one->class;
    bd_status status = bd_image_decode(
        item_name(self, one, name), one->file->data, (size_t)one->file->bytes, &self->shape,
        examples->images + (size_t)(at * self->shape.height * self->shape.width * self->shape.channels), error);
    bd_file_forget(one->file);
    return status;
}

static void report(const image_index *self, const char *what, int64_t done, int64_t total)
{
    if (self->params->on_progress)
        self->params->on_progress(self->params->user, what, (double)done / (double)total);
}

static void report_inspection(void *user, int64_t done, int64_t total)
{
    report(user, "read", done, total);
}

static void report_decoding(void *user, int64_t done, int64_t total)
{
    report(user, "decode", done, total);
}

/* One size for all; colour for all if any has it. */
static bd_status agree_on_shape(image_index *self, bd_error *error)
{
    self->shape = self->items[0].shape;
    for (int64_t i = 1; i < self->all; i++) {
        const bd_image_shape *shape = &self->items[i].shape;
        if (shape->height != self->shape.height || shape->width != self->shape.width)
            return bd_fail(error, BD_ERROR_DATA,
                           "%s: '%s' is %lldx%lld, wanted %lldx%lld as '%s' is: all images must have one "
                           "size",
                           self->files->root, self->items[i].file->path, (long long)shape->width,
                           (long long)shape->height, (long long)self->shape.width, (long long)self->shape.height,
                           self->items[0].file->path);
        if (shape->channels > self->shape.channels)
            self->shape.channels = shape->channels;
    }
    return BD_OK;
}

static bd_status decode_all(image_index *self, bd_dataset *dataset, bd_error *error)
{
    const int threads = self->params->threads;
    bd_status status = bd_parallel(self->all, threads, inspect, self, report_inspection, error);
    if (!status)
        status = agree_on_shape(self, error);
    const bd_image_shape *shape = &self->shape;
    const int64_t bytes = shape->height * shape->width * shape->channels;
    if (!status)
        status = bd_examples_allocate(&dataset->train, self->count[TRAIN], bytes, error);
    if (!status)
        status = bd_examples_allocate(&dataset->test, self->count[TEST], bytes, error);
    if (!status)
        status = bd_dataset_set_classes(dataset, (const char *const *)self->classes, self->class_count, error);
    self->dataset = dataset;
    if (!status)
        status = bd_parallel(self->all, threads, decode, self, report_decoding, error);
    dataset->height = shape->height;
    dataset->width = shape->width;
    dataset->channels = shape->channels;
    return status;
}

static void finish(image_index *self)
{
    for (int64_t i = 0; i < self->class_count; i++)
        free(self->classes[i]);
    free(self->classes);
    free(self->items);
}

static void warn(const bd_dataset_params *params, const bd_error *failure)
{
    char line[sizeof failure->message + 64];
    snprintf(line, sizeof line, "decoded images are not kept: %s", failure->message);
    if (params->on_warning)
        params->on_warning(params->user, line);
}

bd_status bd_images_load(bd_files *files, const bd_dataset_params *params, bd_dataset *dataset, bd_error *error)
{
    image_index self = { .files = files, .params = params, .test_name = 1 };
    bd_source_mark mark;
    char *cache = NULL;
    bd_files_sort(files);
    bd_status status = bd_source_mark_of(files, &mark, error);
    if (!status)
        status = bd_dataset_cache_path(params->cache, files->root, &cache, error);
    if (status || (cache && bd_dataset_cache_load(cache, &mark, dataset))) {
        free(cache);
        return status;
    }
    status = find_classes(&self, error);
    if (!status)
        status = fill_items(&self, error);
    if (!status)
        status = decode_all(&self, dataset, error);
    finish(&self);
    /* Where it cannot be kept, the next run decodes again: slower, but no failure. */
    bd_error failure = { 0 };
    if (!status && cache && bd_dataset_cache_save(cache, &mark, dataset, &failure))
        warn(params, &failure);
    free(cache);
    return status;
}
