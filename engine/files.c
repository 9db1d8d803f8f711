/* Files of a folder or of an archive: see the header. libarchive reads the archives. */
#include "files.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    BLOCK = 1 << 16,
    /* No image or CIFAR file is larger (CIFAR-100's training set has 153 MB): more is not what it says it is. */
    MOST_BYTES = 256 << 20,
};

bd_status bd_files_init(bd_files *files, const char *root, bd_error *error)
{
    *files = (bd_files){ .root = strdup(root) };
    return files->root ? BD_OK : bd_fail(error, BD_ERROR_MEMORY, "out of memory");
}

void bd_files_finish(bd_files *files)
{
    for (size_t i = 0; i < files->count; i++) {
        free(files->files[i].path);
        free(files->files[i].data);
    }
    free(files->files);
    free(files->root);
    *files = (bd_files){ 0 };
}

static bd_status append(bd_files *files, const char *path, bool is_folder, bd_file **file, bd_error *error)
{
    if (files->count == files->capacity) {
        size_t capacity = 2 * files->capacity + 64;
        bd_file *grown = realloc(files->files, capacity * sizeof *grown);
        if (!grown)
            return bd_fail(error, BD_ERROR_MEMORY, "%s: no memory for %zu files", files->root, capacity);
        files->files = grown;
        files->capacity = capacity;
    }
    char *copy = strdup(path);
    if (!copy)
        return bd_fail(error, BD_ERROR_MEMORY, "out of memory");
    *file = &files->files[files->count++];
    **file = (bd_file){ .path = copy, .is_folder = is_folder };
    return BD_OK;
}

/* ---- folders ---- */

static bd_status full_path(const bd_files *files, const char *path, char **full, bd_error *error)
{
    if (asprintf(full, "%s/%s", files->root, path) < 0) {
        *full = NULL;
        return bd_fail(error, BD_ERROR_MEMORY, "out of memory");
    }
    return BD_OK;
}

static bd_status add_entry(bd_files *files, const char *path, int depth, bool *added, bd_error *error)
{
    char *full;
    struct stat info;
    bd_file *file;
    bd_status status = full_path(files, path, &full, error);
    if (status)
        return status;
    *added = stat(full, &info) == 0;
    if (!*added)
        status = errno == ENOENT || errno == ENOTDIR ? BD_OK
                                                     : bd_fail(error, BD_ERROR_FILE, "%s: %s", full, strerror(errno));
    else if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode))
        status = bd_fail(error, BD_ERROR_DATA, "%s: neither a file nor a folder", full);
    else
        status = append(files, path, S_ISDIR(info.st_mode), &file, error);
    free(full);
    if (status || !*added)
        return status;
    file->bytes = info.st_size;
    file->modified = (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec;
    return file->is_folder && depth > 0 ? bd_files_add_folder(files, path, depth - 1, error) : BD_OK;
}

bd_status bd_files_add(bd_files *files, const char *path, bool *added, bd_error *error)
{
    return add_entry(files, path, 0, added, error);
}

bd_status bd_files_add_folder(bd_files *files, const char *folder, int depth, bd_error *error)
{
    char *full;
    bd_status status = full_path(files, folder, &full, error);
    if (status)
        return status;
    DIR *open = opendir(full);
    if (!open)
        status = bd_fail(error, BD_ERROR_FILE, "%s: %s", full, strerror(errno));
    errno = 0;
    for (struct dirent *entry; !status && (entry = readdir(open)); errno = 0) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        char *path;
        bool added;
        if (asprintf(&path, "%s/%s", folder, entry->d_name) < 0) {
            status = bd_fail(error, BD_ERROR_MEMORY, "out of memory");
            break;
        }
        status = add_entry(files, path, depth, &added, error);
        if (!status && !added)
            status = bd_fail(error, BD_ERROR_FILE, "%s/%s: a link to nothing", files->root, path);
        free(path);
    }
    if (!status && errno)
        status = bd_fail(error, BD_ERROR_FILE, "%s: %s", full, strerror(errno));
    if (open)
        closedir(open);
    free(full);
    return status;
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(((const bd_file *)a)->path, ((const bd_file *)b)->path);
}

void bd_files_sort(bd_files *files)
{
    if (files->count > 1)
        qsort(files->files, files->count, sizeof *files->files, compare_paths);
}

bd_status bd_file_read(const bd_files *files, bd_file *file, bd_error *error)
{
    if (file->data)
        return BD_OK;
    if (file->bytes > MOST_BYTES)
        return bd_fail(error, BD_ERROR_DATA, "%s/%s: %lld bytes, at most %d are read", files->root, file->path,
                       (long long)file->bytes, MOST_BYTES);
    char *full;
    bd_status status = full_path(files, file->path, &full, error);
    if (status)
        return status;
    int descriptor = open(full, O_RDONLY | O_CLOEXEC);
    uint8_t *data = malloc((size_t)file->bytes + 1);
    size_t got = 0;
    if (descriptor < 0)
        status = bd_fail(error, BD_ERROR_FILE, "%s: %s", full, strerror(errno));
    else if (!data)
        status = bd_fail(error, BD_ERROR_MEMORY, "%s: no memory for %lld bytes", full, (long long)file->bytes);
    while (!status) {
        ssize_t count = read(descriptor, data + got, (size_t)file->bytes + 1 - got);
        if (count < 0 && errno != EINTR)
            status = bd_fail(error, BD_ERROR_FILE, "%s: %s", full, strerror(errno));
        if (count == 0)
            break;
        got += count > 0 ? (size_t)count : 0;
        if (got > (size_t)file->bytes)
            break;
    }
    if (!status && got != (size_t)file->bytes)
        status = bd_fail(error, BD_ERROR_FILE, "%s: changed its size while it was read", full);
    if (descriptor >= 0)
        close(descriptor);
    free(full);
    if (status)
        free(data);
    else
        file->data = data;
    return status;
}

void bd_file_forget(bd_file *file)
{
    free(file->data);
    file->data = NULL;
}

/* ---- archives ---- */

/* The member's name without "./" and slashes at its end. NULL where it leads out of the archive. */
static const char *clean_name(char *name)
{
    if (*name == '/')
        return NULL;
    for (char *part = name; *part; part += strcspn(part, "/"), part += *part == '/')
        if (strcspn(part, "/") == 2 && !strncmp(part, "..", 2))
            return NULL;
    while (!strncmp(name, "./", 2))
        name += 2;
    size_t length = strlen(name);
    while (length > 0 && name[length - 1] == '/')
        name[--length] = '\0';
    return strcmp(name, ".") ? name : "";
}

static bd_status archive_failed(const bd_files *files, struct archive *archive, bd_error *error)
{
    const char *reason = archive_error_string(archive);
    if (archive_errno(archive) == ENOMEM)
        return bd_fail(error, BD_ERROR_MEMORY, "%s: out of memory", files->root);
    return bd_fail(error, BD_ERROR_DATA, "%s: damaged, or no archive (tar, tar.gz, tar.xz, tar.zst or zip): %s",
                   files->root, reason ? reason : "no reason given");
}

/* Grows with what the archive really holds, whatever its headers say. */
static bd_status read_member(const bd_files *files, struct archive *archive, bd_file *file, bd_error *error)
{
    size_t capacity = 0, have = 0;
    for (;;) {
        if (have == capacity) {
            capacity = capacity ? 2 * capacity : BLOCK;
            uint8_t *grown = realloc(file->data, capacity);
            if (!grown)
                return bd_fail(error, BD_ERROR_MEMORY, "%s: no memory for '%s'", files->root, file->path);
            file->data = grown;
        }
        la_ssize_t got = archive_read_data(archive, file->data + have, capacity - have);
        if (got < 0)
            return archive_failed(files, archive, error);
        if (got == 0)
            break;
        have += (size_t)got;
        if (have > MOST_BYTES)
            return bd_fail(error, BD_ERROR_DATA, "%s: '%s' has more than the %d bytes that are read", files->root,
                           file->path, MOST_BYTES);
    }
    uint8_t *shrunk = realloc(file->data, have ? have : 1); /* thousands of small images are kept at once */
    if (shrunk)
        file->data = shrunk;
    file->bytes = (int64_t)have;
    return BD_OK;
}

static bd_status read_entry(bd_files *files, struct archive *archive, struct archive_entry *entry,
                            bool (*wanted)(const char *path), bd_error *error)
{
    const char *given = archive_entry_pathname(entry);
    char *copy = strdup(given ? given : "");
    if (!copy)
        return bd_fail(error, BD_ERROR_MEMORY, "out of memory");
    const char *path = given ? clean_name(copy) : NULL;
    const bool is_folder = archive_entry_filetype(entry) == AE_IFDIR;
    bd_status status = BD_OK;
    if (!path)
        status = bd_fail(error, BD_ERROR_DATA, "%s: a member named '%s': names must not lead out of the archive",
                         files->root, given ? given : "");
    else if (*path && (archive_entry_hardlink(entry) || archive_entry_symlink(entry) ||
                       (!is_folder && archive_entry_filetype(entry) != AE_IFREG))) {
        if (wanted(path))
            status = bd_fail(error, BD_ERROR_DATA, "%s: '%s' is neither a file nor a folder", files->root, path);
    } else if (*path) {
        bd_file *file;
        status = append(files, path, is_folder, &file, error);
        if (!status && !is_folder && wanted(path))
            status = read_member(files, archive, file, error);
    }
    free(copy);
    return status;
}

bd_status bd_files_read_archive(bd_files *files, bool (*wanted)(const char *path), bd_files_progress progress,
                                void *user, bd_error *error)
{
    struct stat info;
    if (stat(files->root, &info) != 0)
        return bd_fail(error, BD_ERROR_FILE, "%s: %s", files->root, strerror(errno));
    struct archive *archive = archive_read_new();
    if (!archive)
        return bd_fail(error, BD_ERROR_MEMORY, "out of memory");
    files->is_archive = true;
    bd_status status = BD_OK;
    if (archive_read_support_filter_all(archive) < ARCHIVE_WARN ||
        archive_read_support_format_tar(archive) < ARCHIVE_WARN ||
        archive_read_support_format_zip(archive) < ARCHIVE_WARN ||
        archive_read_open_filename(archive, files->root, BLOCK) != ARCHIVE_OK)
        status = archive_failed(files, archive, error);
    while (!status) {
        struct archive_entry *entry;
        int result = archive_read_next_header(archive, &entry);
        if (result == ARCHIVE_EOF)
            break;
        if (result == ARCHIVE_RETRY)
            continue;
        status = result < ARCHIVE_WARN ? archive_failed(files, archive, error)
                                       : read_entry(files, archive, entry, wanted, error);
        if (!status && progress && info.st_size > 0)
            progress(user, (double)archive_filter_bytes(archive, -1) / (double)info.st_size);
    }
    archive_read_free(archive);
    return status;
}
