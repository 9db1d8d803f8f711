/* Atomic replacement of a file: see the header. */
#include "atomic_file.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_ATTEMPTS = 100 };

/* Whether `name` is BASE.PROCESS-ATTEMPT.tmp. */
static bool is_temporary(const char *name, const char *base)
{
    const size_t length = strlen(base);
    if (strncmp(name, base, length) != 0 || name[length] != '.')
        return false;
    const char *process = name + length + 1, *attempt = process + strspn(process, "0123456789") + 1;
    return isdigit((unsigned char)process[0]) && attempt[-1] == '-' && isdigit((unsigned char)attempt[0]) &&
           strcmp(attempt + strspn(attempt, "0123456789"), ".tmp") == 0;
}

/* A writer has its file locked for as long as it has that name, on whatever machine it runs, and a lock ends with its
 * process. */
static void remove_if_left(int folder, const char *name)
{
    struct stat open_one, named;
    const int file = openat(folder, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0)
        return;
    if (!fstat(file, &open_one) && S_ISREG(open_one.st_mode) && !flock(file, LOCK_EX | LOCK_NB) &&
        !fstatat(folder, name, &named, AT_SYMLINK_NOFOLLOW) &&
        named.st_ino == open_one.st_ino) /* not yet put in its place */
        unlinkat(folder, name, 0);       /* one that stays does no harm */
    close(file);
}

/* What processes that were killed had begun of the same file. */
static void remove_leftovers(const char *path)
{
    char *copy = strdup(path), *other = strdup(path);
    DIR *entries = copy && other ? opendir(dirname(copy)) : NULL;
    const char *base = entries ? basename(other) : "";
    for (const struct dirent *entry; entries && (entry = readdir(entries));)
        if (is_temporary(entry->d_name, base))
            remove_if_left(dirfd(entries), entry->d_name);
    if (entries)
        closedir(entries);
    free(copy);
    free(other);
}

/* False where another process has just taken the file for a leftover. A file system without locks has no such
 * process. */
static bool keep(int file)
{
    struct stat info;
    return (!flock(file, LOCK_EX | LOCK_NB) || errno != EWOULDBLOCK) && !fstat(file, &info) && info.st_nlink > 0;
}

bd_status bd_atomic_file_open(bd_atomic_file *file, const char *path, bd_error *error)
{
    *file = (bd_atomic_file){ .descriptor = -1, .path = strdup(path) };
    bd_status status = file->path ? BD_OK : bd_fail(error, BD_ERROR_MEMORY, "out of memory");
    remove_leftovers(path);
    /* A name that is taken is another thread's, or that of a process with the same number on another machine: try the
     * next. */
    for (int attempt = 0; attempt < MAX_ATTEMPTS && !status && file->descriptor < 0; attempt++) {
        free(file->temporary);
        if (asprintf(&file->temporary, "%s.%ld-%d.tmp", path, (long)getpid(), attempt) < 0) {
            file->temporary = NULL;
            status = bd_fail(error, BD_ERROR_MEMORY, "out of memory");
            break;
        }
        file->descriptor = open(file->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (file->descriptor < 0 && errno != EEXIST)
            break;
        if (file->descriptor >= 0 && !keep(file->descriptor)) {
            close(file->descriptor);
            file->descriptor = -1;
            errno = EEXIST;
        }
    }
    if (!status && file->descriptor < 0)
        status = bd_fail(error, BD_ERROR_FILE, "%s: cannot write: %s", path,
                         errno == ENOENT ? "there is no such folder" : strerror(errno));
    if (status) {
        free(file->path);
        free(file->temporary);
        *file = (bd_atomic_file){ .descriptor = -1 };
    }
    return status;
}

bd_status bd_atomic_file_try(const char *path, bd_error *error)
{
    struct stat there;
    if (!stat(path, &there) && S_ISDIR(there.st_mode))
        return bd_fail(error, BD_ERROR_FILE, "%s: cannot write: a folder is in its place", path);
    bd_atomic_file file;
    bd_status status = bd_atomic_file_open(&file, path, error);
    if (!status)
        bd_atomic_file_close(&file, BD_ERROR_INTERRUPTED, NULL); /* any failure will do: nothing is replaced */
    return status;
}

bd_status bd_atomic_file_write(bd_atomic_file *file, const void *data, size_t size, bd_error *error)
{
    const char *bytes = data;
    while (size > 0) {
        ssize_t written = write(file->descriptor, bytes, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return bd_fail(error, BD_ERROR_FILE, "%s: cannot write: %s", file->path, strerror(errno));
        bytes += written;
        size -= (size_t)written;
    }
    return BD_OK;
}

/* Makes the new name last through a power failure. */
static bd_status sync_folder(const char *path, bd_error *error)
{
    char *copy = strdup(path);
    if (!copy)
        return bd_fail(error, BD_ERROR_MEMORY, "out of memory");
    int folder = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(copy);
    /* EINVAL: a file system that cannot sync folders. */
    bool failed = folder < 0 || (fsync(folder) != 0 && errno != EINVAL);
    int reason = errno;
    if (folder >= 0)
        close(folder);
    return failed ? bd_fail(error, BD_ERROR_FILE, "%s: cannot sync its folder: %s", path, strerror(reason)) : BD_OK;
}

bd_status bd_atomic_file_close(bd_atomic_file *file, bd_status status, bd_error *error)
{
    if (!status && fsync(file->descriptor) != 0)
        status = bd_fail(error, BD_ERROR_FILE, "%s: cannot write: %s", file->path, strerror(errno));
    if (!status && rename(file->temporary, file->path) != 0)
        status = bd_fail(error, BD_ERROR_FILE, "%s: cannot replace: %s", file->path, strerror(errno));
    if (status)
        unlink(file->temporary);
    close(file->descriptor); /* the lock's end, after the name's; all is synced */
    if (!status)
        status = sync_folder(file->path, error);
    free(file->path);
    free(file->temporary);
    *file = (bd_atomic_file){ .descriptor = -1 };
    return status;
}
