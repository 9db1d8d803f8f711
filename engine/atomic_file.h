/* A file that appears whole or not at all: written beside its place, as PATH.PROCESS-ATTEMPT.tmp, synced, renamed, the
 * folder synced. It is locked (flock) until then; what is there without a lock when the next one is opened, of a
 * process that was killed, is removed. */
#ifndef BINADE_ENGINE_ATOMIC_FILE_H
#define BINADE_ENGINE_ATOMIC_FILE_H

#include <binade/status.h>
#include <stddef.h>

typedef struct bd_atomic_file {
    int descriptor;
    char *path, *temporary; /* owned between open and close */
} bd_atomic_file;

/* Whether a file could be put there, before the work that will fill it: BD_ERROR_FILE says why not. Leaves no trace. */
bd_status bd_atomic_file_try(const char *path, bd_error *error);

bd_status bd_atomic_file_open(bd_atomic_file *file, const char *path, bd_error *error);
bd_status bd_atomic_file_write(bd_atomic_file *file, const void *data, size_t size, bd_error *error);
/* Puts the file in its place if `status` is BD_OK, else removes what was written and returns `status`. On any failure
 * the old file stays. */
bd_status bd_atomic_file_close(bd_atomic_file *file, bd_status status, bd_error *error);

#endif
