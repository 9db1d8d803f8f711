/* The cache on disk: compiled kernels, pipeline caches and tuning results in one SQLite file in $XDG_CACHE_HOME/binade
 * (or ~/.cache/binade). A cache that is damaged, locked, read-only or absent never fails anything: it is rebuilt, or
 * works as one that holds nothing. Safe between processes and threads. */
#ifndef BINADE_ENGINE_CACHE_H
#define BINADE_ENGINE_CACHE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct bd_cache bd_cache;
typedef struct bd_cache_key {
    uint64_t low, high; /* XXH3-128 */
} bd_cache_key;

/* At most 512 MiB of blobs. Never NULL unless the host has no memory. */
bd_cache *bd_cache_open(void);
/* The same in `folder`, which is made if need be, keeping at most `most_bytes` of blobs: the oldest go first. */
bd_cache *bd_cache_open_in(const char *folder, uint64_t most_bytes);
void bd_cache_close(bd_cache **cache);

/* $XDG_CACHE_HOME/binade or ~/.cache/binade; false where the environment names neither. Not made. */
bool bd_cache_folder(char folder[PATH_MAX]);
/* mkdir -p; the last part of the path is a folder too. The path is as before when it returns. */
bool bd_make_folders(char *path);

/* Hash of several strings, each with its terminator, so that ("ab", "c") and ("a", "bc") differ. */
bd_cache_key bd_cache_hash(const char *const *parts, size_t count);
/* Looks up; the caller frees *data. The stored blob carries its own checksum: a damaged one is not found. */
bool bd_cache_get(bd_cache *cache, const char *kind, bd_cache_key key, void **data, size_t *size);
void bd_cache_put(bd_cache *cache, const char *kind, bd_cache_key key, const void *data, size_t size);

#endif
