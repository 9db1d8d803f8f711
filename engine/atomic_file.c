/* Atomic replacement of a file: see the header. */
#include "atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_ATTEMPTS = 100 };

bd_status bd_atomic_file_open(bd_atomic_file *file, const char *path, bd_error *error)
{
    *file = (bd_atomic_file){ .descriptor = -1, .path = strdup(path) };
    bd_status status = file->path ? BD_OK : bd_fail(error, BD_ERROR_MEMORY, "out of memory");
    /* A name that is taken is a leftover of a process that was killed, or another thread's: try the next. */
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
    if (close(file->descriptor) != 0 && !status)
        status = bd_fail(error, BD_ERROR_FILE, "%s: cannot write: %s", file->path, strerror(errno));
    if (!status && rename(file->temporary, file->path) != 0)
        status = bd_fail(error, BD_ERROR_FILE, "%s: cannot replace: %s", file->path, strerror(errno));
    if (status)
        unlink(file->temporary);
    else
        status = sync_folder(file->path, error);
    free(file->path);
    free(file->temporary);
    *file = (bd_atomic_file){ .descriptor = -1 };
    return status;
}
