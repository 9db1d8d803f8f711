/* Decoded images on disk: one file a source, replaced when the source changes. Layout: the header below, then the class
 * names, each with its terminator, then training labels, test labels, training images, test images. The hash covers all
 * that follows it. Numbers are in the machine's own order: the file stays on the machine. */
#include "atomic_file.h"
#include "cache.h"
#include "dataset.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define XXH_INLINE_ALL /* the hashing state may then stand on the stack */
#include <xxhash.h>

typedef struct header {
    char magic[16];
    uint64_t hash[2]; /* XXH3-128 of everything behind it */
    uint64_t mark[2];
    int64_t height, width, channels, classes, train_count, test_count, names_bytes;
} header;

/* Its number changes with the layout. */
static const char MAGIC[16] = "binade images 1";

bd_status bd_source_mark_of(const bd_files *files, bd_source_mark *mark, bd_error *error)
{
    struct stat info;
    XXH3_state_t state;
    if (stat(files->root, &info) != 0)
        return bd_fail(error, BD_ERROR_FILE, "%s: %s", files->root, strerror(errno));
    XXH3_128bits_reset(&state);
    if (!S_ISDIR(info.st_mode)) { /* an archive is known by itself, before it is read */
        const int64_t numbers[] = { info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec };
        XXH3_128bits_update(&state, numbers, sizeof numbers);
    }
    for (size_t i = 0; i < files->count && S_ISDIR(info.st_mode); i++) {
        const bd_file *file = &files->files[i];
        const int64_t numbers[] = { file->is_folder, file->is_folder ? 0 : file->bytes,
                                    file->is_folder ? 0 : file->modified };
        XXH3_128bits_update(&state, file->path, strlen(file->path) + 1);
        XXH3_128bits_update(&state, numbers, sizeof numbers);
    }
    XXH128_hash_t hash = XXH3_128bits_digest(&state);
    *mark = (bd_source_mark){ hash.low64, hash.high64 };
    return BD_OK;
}

/* What processes that were killed had begun to write, as large as the data. Nobody pauses that long in a file that is
 * alive. */
static void remove_leftovers(const char *folder)
{
    static const time_t least_age = 3600; /* seconds */
    static const char begin[] = "images-", end[] = ".tmp";
    DIR *entries = opendir(folder);
    for (const struct dirent *entry; entries && (entry = readdir(entries));) {
        const size_t length = strlen(entry->d_name);
        struct stat info;
        if (strncmp(entry->d_name, begin, strlen(begin)) == 0 && length > strlen(end) &&
            strcmp(entry->d_name + length - strlen(end), end) == 0 &&
            fstatat(dirfd(entries), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(info.st_mode) &&
            info.st_mtim.tv_sec < time(NULL) - least_age)
            unlinkat(dirfd(entries), entry->d_name, 0); /* one that stays does no harm */
    }
    if (entries)
        closedir(entries);
}

bd_status bd_dataset_cache_path(const char *folder, const char *root, char **path, bd_error *error)
{
    char whole[PATH_MAX], standard[PATH_MAX];
    *path = NULL;
    if (folder && !*folder)
        return BD_OK;
    if (!folder && (!bd_cache_folder(standard) || !bd_make_folders(standard)))
        return BD_OK;
    remove_leftovers(folder ? folder : standard);
    if (!realpath(root, whole))
        return bd_fail(error, BD_ERROR_FILE, "%s: %s", root, strerror(errno));
    const uint64_t name = XXH3_64bits(whole, strlen(whole));
    if (asprintf(path, "%s/images-%016llx", folder ? folder : standard, (unsigned long long)name) < 0) {
        *path = NULL;
        return bd_fail(error, BD_ERROR_MEMORY, "out of memory");
    }
    return BD_OK;
}

/* ---- reading ---- */

static bool read_all(int descriptor, XXH3_state_t *state, void *data, size_t size)
{
    char *bytes = data;
    for (size_t got = 0; got < size;) {
        ssize_t count = read(descriptor, bytes + got, size - got);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return false;
        got += (size_t)count;
    }
    if (state)
        XXH3_128bits_update(state, data, size);
    return true;
}

/* Whether the numbers make sense and the file is as long as they say. */
static bool is_sound(const header *head, const bd_source_mark *mark, int64_t bytes)
{
    int64_t each, images, total;
    return !memcmp(head->magic, MAGIC, sizeof MAGIC) && head->mark[0] == mark->low && head->mark[1] == mark->high &&
           head->height > 0 && head->width > 0 && head->channels > 0 && head->classes > 0 &&
           head->classes <= BD_MOST_CLASSES && head->train_count > 0 && head->test_count >= 0 &&
           head->names_bytes >= head->classes && head->names_bytes < bytes &&
           !__builtin_mul_overflow(head->height, head->width, &each) &&
           !__builtin_mul_overflow(each, head->channels, &each) && !__builtin_add_overflow(each, 1, &each) &&
           !__builtin_add_overflow(head->train_count, head->test_count, &images) &&
           !__builtin_mul_overflow(each, images, &total) && !__builtin_add_overflow(total, head->names_bytes, &total) &&
           total == bytes - (int64_t)sizeof *head;
}

/* The texts of `classes` classes, one behind the other. */
static bool split_names(const char *text, size_t size, bd_dataset *dataset, int64_t classes)
{
    const char *names[BD_MOST_CLASSES], *end = text + size;
    for (int64_t i = 0; i < classes; i++) {
        names[i] = text;
        const char *stop = memchr(text, '\0', (size_t)(end - text));
        if (!stop)
            return false;
        text = stop + 1;
    }
    return text == end && bd_dataset_set_classes(dataset, names, classes, NULL) == BD_OK;
}

static bool labels_are_sound(const bd_examples *examples, int64_t classes)
{
    for (int64_t i = 0; i < examples->count; i++)
        if (examples->labels[i] >= classes)
            return false;
    return true;
}

static bool read_body(int descriptor, const header *head, bd_dataset *into)
{
    XXH3_state_t state;
    char *names = malloc((size_t)head->names_bytes);
    const int64_t each = head->height * head->width * head->channels;
    XXH3_128bits_reset(&state);
    XXH3_128bits_update(&state, &head->mark, sizeof *head - offsetof(header, mark));
    bool whole = names && !bd_examples_allocate(&into->train, head->train_count, each, NULL) &&
                 !bd_examples_allocate(&into->test, head->test_count, each, NULL) &&
                 read_all(descriptor, &state, names, (size_t)head->names_bytes) &&
                 read_all(descriptor, &state, into->train.labels, (size_t)head->train_count) &&
                 read_all(descriptor, &state, into->test.labels, (size_t)head->test_count) &&
                 read_all(descriptor, &state, into->train.images, (size_t)(head->train_count * each)) &&
                 read_all(descriptor, &state, into->test.images, (size_t)(head->test_count * each));
    if (whole) {
        XXH128_hash_t hash = XXH3_128bits_digest(&state);
        whole = hash.low64 == head->hash[0] && hash.high64 == head->hash[1] &&
                labels_are_sound(&into->train, head->classes) && labels_are_sound(&into->test, head->classes) &&
                split_names(names, (size_t)head->names_bytes, into, head->classes);
    }
    free(names);
    return whole;
}

bool bd_dataset_cache_load(const char *path, const bd_source_mark *mark, bd_dataset *dataset)
{
    struct stat info;
    header head;
    bd_dataset *read = calloc(1, sizeof *read);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    bool whole = read && descriptor >= 0 && fstat(descriptor, &info) == 0 && S_ISREG(info.st_mode) &&
                 read_all(descriptor, NULL, &head, sizeof head) && is_sound(&head, mark, info.st_size) &&
                 read_body(descriptor, &head, read);
    if (whole) {
        memcpy(read->name, dataset->name, sizeof read->name);
        read->height = head.height;
        read->width = head.width;
        read->channels = head.channels;
        bd_dataset swap = *dataset;
        *dataset = *read;
        *read = swap;
    }
    if (descriptor >= 0)
        close(descriptor);
    bd_dataset_close(&read);
    return whole;
}

/* ---- writing ---- */

typedef struct part {
    const void *data;
    size_t size;
} part;

bd_status bd_dataset_cache_save(const char *path, const bd_source_mark *mark, const bd_dataset *dataset,
                                bd_error *error)
{
    enum { FIRST_PARTS = 1, LAST_PARTS = 4 };
    const size_t each = (size_t)(dataset->height * dataset->width * dataset->channels);
    header head = { .mark = { mark->low, mark->high },
                    .height = dataset->height,
                    .width = dataset->width,
                    .channels = dataset->channels,
                    .classes = dataset->classes,
                    .train_count = dataset->train.count,
                    .test_count = dataset->test.count };
    part parts[FIRST_PARTS + BD_MOST_CLASSES + LAST_PARTS];
    size_t count = FIRST_PARTS;
    memcpy(head.magic, MAGIC, sizeof MAGIC);
    for (int64_t i = 0; i < dataset->classes; i++) {
        parts[count++] = (part){ dataset->class_names[i], strlen(dataset->class_names[i]) + 1 };
        head.names_bytes += (int64_t)parts[count - 1].size;
    }
    parts[count++] = (part){ dataset->train.labels, (size_t)dataset->train.count };
    parts[count++] = (part){ dataset->test.labels, (size_t)dataset->test.count };
    parts[count++] = (part){ dataset->train.images, (size_t)dataset->train.count * each };
    parts[count++] = (part){ dataset->test.images, (size_t)dataset->test.count * each };
    parts[0] = (part){ &head.mark, sizeof head - offsetof(header, mark) };
    XXH3_state_t state;
    XXH3_128bits_reset(&state);
    for (size_t i = 0; i < count; i++)
        XXH3_128bits_update(&state, parts[i].data, parts[i].size);
    XXH128_hash_t hash = XXH3_128bits_digest(&state);
    head.hash[0] = hash.low64;
    head.hash[1] = hash.high64;
    parts[0] = (part){ &head, sizeof head };

    bd_atomic_file file;
    bd_status status = bd_atomic_file_open(&file, path, error);
    if (status)
        return status;
    for (size_t i = 0; i < count && !status; i++)
        status = bd_atomic_file_write(&file, parts[i].data, parts[i].size, error);
    return bd_atomic_file_close(&file, status, error);
}
