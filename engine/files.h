/* Files of a folder or of an archive (tar, also compressed, or zip), read into memory. Nothing is ever written to disk,
 * and names that lead out of an archive are refused all the same. */
#ifndef BINADE_ENGINE_FILES_H
#define BINADE_ENGINE_FILES_H

#include <binade/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct bd_file {
    char *path; /* below the root, without "./"; owned */
    bool is_folder;
    int64_t bytes, modified; /* size and time (nanoseconds) of a file on disk; modified is 0 in an archive */
    uint8_t *data;           /* owned; NULL until read */
} bd_file;

typedef struct bd_files {
    char *root; /* the folder or the archive; owned */
    bool is_archive;
    bd_file *files; /* owned; in the order of their paths' bytes once listed */
    size_t count, capacity;
} bd_files;

/* fraction: of the archive's bytes read so far. */
typedef void (*bd_files_progress)(void *user, double fraction);

/* An empty set over `root`. */
bd_status bd_files_init(bd_files *files, const char *root, bd_error *error);
void bd_files_finish(bd_files *files);

/* Adds what FOLDER holds, a path below the root, and what its folders hold, `depth` levels of them. Reads no data.
 * Links are followed; what is neither file nor folder is refused. */
bd_status bd_files_add_folder(bd_files *files, const char *folder, int depth, bd_error *error);
/* Adds one file if it is there; *added tells. */
bd_status bd_files_add(bd_files *files, const char *path, bool *added, bd_error *error);
/* Reads an archive: all its names, and the data of those that `wanted` says yes to. */
bd_status bd_files_read_archive(bd_files *files, bool (*wanted)(const char *path), bd_files_progress progress,
                                void *user, bd_error *error);
/* By path: files of a folder and of an archive come in the same order. */
void bd_files_sort(bd_files *files);

/* Reads one file's data, if it is not there already. Safe for several threads on different files. */
bd_status bd_file_read(const bd_files *files, bd_file *file, bd_error *error);
void bd_file_forget(bd_file *file);

#endif
