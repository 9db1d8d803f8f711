/* The cache on disk, one table in one SQLite file. Whatever goes wrong with it costs time, never a result: damage and
 * another version's schema are answered by starting anew, everything else by doing without. */
#include "cache.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL /* the hashing state may then stand on the stack */
#include <xxhash.h>

/* Stored in the file; another number, another schema. */
#define SCHEMA_VERSION 1
#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)
/* A few thousand kernels; NVIDIA's pipelines are the largest, some 100 KiB each. */
#define DEFAULT_MOST_BYTES ((uint64_t)512 << 20)
/* Another process holds the lock while it stores one blob: milliseconds. Longer means that something is wrong there. */
#define BUSY_MILLISECONDS 1000

struct bd_cache {
    pthread_mutex_t lock;    /* of everything below */
    sqlite3 *database;       /* NULL: holds nothing */
    sqlite3_stmt *get, *put; /* prepared at need */
    sqlite3_stmt *trim, *drop;
    bool keeps_nothing_new; /* read-only, or its disk is full */
    uint64_t most_bytes;
    char path[PATH_MAX];
};

static const char create_text[] =
    "BEGIN IMMEDIATE;"
    /* `size` stands before `data`, so that adding sizes up does not read the blobs. */
    "CREATE TABLE IF NOT EXISTS blobs(id INTEGER PRIMARY KEY, kind TEXT NOT NULL, low INTEGER NOT NULL,"
    " high INTEGER NOT NULL, size INTEGER NOT NULL, checksum INTEGER NOT NULL, data BLOB NOT NULL,"
    " UNIQUE(kind, low, high));"
    "PRAGMA user_version = " TEXT(SCHEMA_VERSION) ";"
                                                  "COMMIT;";
static const char get_text[] = "SELECT id, checksum, data FROM blobs WHERE kind = ?1 AND low = ?2 AND high = ?3";
static const char put_text[] =
    "INSERT OR REPLACE INTO blobs(kind, low, high, size, checksum, data) VALUES(?1, ?2, ?3, ?4, ?5, ?6)";
/* The newest rows are kept as long as their sizes add up to no more than ?1. */
static const char trim_text[] = "DELETE FROM blobs WHERE id IN (SELECT id FROM (SELECT id, SUM(size) OVER (ORDER BY id"
                                " DESC) AS total FROM blobs) WHERE total > ?1)";
static const char drop_text[] = "DELETE FROM blobs WHERE id = ?1";

static void close_database(bd_cache *cache)
{
    sqlite3_stmt **statements[] = { &cache->get, &cache->put, &cache->trim, &cache->drop };
    for (size_t i = 0; i < sizeof statements / sizeof *statements; ++i) {
        sqlite3_finalize(*statements[i]);
        *statements[i] = NULL;
    }
    sqlite3_close(cache->database);
    cache->database = NULL;
}

/* A number that the statement `text` gives, or -1 with the error in *result. */
static int64_t query_number(sqlite3 *database, const char *text, int *result)
{
    sqlite3_stmt *statement = NULL;
    int64_t number = -1;
    *result = sqlite3_prepare_v2(database, text, -1, &statement, NULL);
    if (*result == SQLITE_OK) {
        *result = sqlite3_step(statement);
        if (*result == SQLITE_ROW) {
            number = sqlite3_column_int64(statement, 0);
            *result = SQLITE_OK;
        }
    }
    sqlite3_finalize(statement);
    return number;
}

/* Opens the file and sees to the schema. SQLITE_SCHEMA if the file has another one. */
static int open_database(bd_cache *cache)
{
    int result = sqlite3_open_v2(cache->path, &cache->database,
                                 SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
    if (result != SQLITE_OK)
        return result;
    sqlite3_busy_timeout(cache->database, BUSY_MILLISECONDS);
    /* A blob lost in a power failure is made again: no waiting for the disk. */
    sqlite3_exec(cache->database, "PRAGMA synchronous = OFF", NULL, NULL, NULL);
    int64_t version = query_number(cache->database, "PRAGMA user_version", &result);
    int64_t tables =
        result == SQLITE_OK ? query_number(cache->database, "SELECT COUNT(*) FROM sqlite_schema", &result) : -1;
    if (result != SQLITE_OK)
        return result;
    if (version == 0 && tables == 0)
        result = sqlite3_exec(cache->database, create_text, NULL, NULL, NULL);
    else if (version != SCHEMA_VERSION)
        result = SQLITE_SCHEMA;
    const char *texts[] = { get_text, put_text, trim_text, drop_text };
    sqlite3_stmt **statements[] = { &cache->get, &cache->put, &cache->trim, &cache->drop };
    for (size_t i = 0; result == SQLITE_OK && i < sizeof texts / sizeof *texts; ++i) {
        result = sqlite3_prepare_v3(cache->database, texts[i], -1, SQLITE_PREPARE_PERSISTENT, statements[i], NULL);
        if (result == SQLITE_ERROR)
            result = SQLITE_SCHEMA; /* the version is ours, the table is not */
    }
    return result;
}

static bool is_damage(int result)
{
    return result == SQLITE_CORRUPT || result == SQLITE_NOTADB || result == SQLITE_SCHEMA;
}

/* Starts anew with an empty file; failing that, holds nothing. SQLite notices in other processes, which still have the
 * old file open, that theirs has gone, and refuses to write to it. */
static void rebuild(bd_cache *cache)
{
    static const char *const suffixes[] = { "", "-journal", "-wal", "-shm" };
    close_database(cache);
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; ++i) {
        char path[PATH_MAX + 16];
        snprintf(path, sizeof path, "%s%s", cache->path, suffixes[i]);
        if (unlink(path) != 0 && errno != ENOENT)
            return;
    }
    if (open_database(cache) != SQLITE_OK)
        close_database(cache);
}

/* What a failed statement means for the rest of this handle's life. */
static void give_up(bd_cache *cache, int result)
{
    if (is_damage(result))
        rebuild(cache);
    else if (result == SQLITE_BUSY || result == SQLITE_LOCKED)
        close_database(cache); /* rather than wait again at every kernel */
    else
        cache->keeps_nothing_new = true;
}

bd_cache *bd_cache_open_in(const char *folder, uint64_t most_bytes)
{
    bd_cache *cache = calloc(1, sizeof *cache);
    if (!cache)
        return NULL;
    pthread_mutex_init(&cache->lock, NULL);
    cache->most_bytes = most_bytes;
    int length = snprintf(cache->path, sizeof cache->path, "%s", folder);
    if (length <= 0 || (size_t)length >= sizeof cache->path - sizeof "/cache.sqlite" || !bd_make_folders(cache->path))
        return cache;
    strcat(cache->path, "/cache.sqlite");
    int result = open_database(cache);
    if (is_damage(result))
        rebuild(cache);
    else if (result != SQLITE_OK)
        close_database(cache);
    return cache;
}

bd_cache *bd_cache_open(void)
{
    char folder[PATH_MAX];
    return bd_cache_open_in(bd_cache_folder(folder) ? folder : "", DEFAULT_MOST_BYTES);
}

void bd_cache_close(bd_cache **cache)
{
    if (!cache || !*cache)
        return;
    close_database(*cache);
    pthread_mutex_destroy(&(*cache)->lock);
    free(*cache);
    *cache = NULL;
}

bd_cache_key bd_cache_hash(const char *const *parts, size_t count)
{
    XXH3_state_t state;
    XXH3_128bits_reset(&state);
    for (size_t i = 0; i < count; ++i)
        XXH3_128bits_update(&state, parts[i], strlen(parts[i]) + 1);
    XXH128_hash_t hash = XXH3_128bits_digest(&state);
    return (bd_cache_key){ hash.low64, hash.high64 };
}

/* Of a blob under its key, so that one that got under another's does not pass. SQLite's integers are signed. */
static int64_t blob_checksum(bd_cache_key key, const void *data, size_t size)
{
    return (int64_t)XXH3_64bits_withSeed(data, size, key.low ^ key.high);
}

static void bind_key(sqlite3_stmt *statement, const char *kind, bd_cache_key key)
{
    sqlite3_bind_text(statement, 1, kind, -1, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 2, (int64_t)key.low);
    sqlite3_bind_int64(statement, 3, (int64_t)key.high);
}

/* Steps a statement that gives no row and makes it ready for its next use. */
static int execute(sqlite3_stmt *statement)
{
    int result = sqlite3_step(statement);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return result == SQLITE_DONE ? SQLITE_OK : result;
}

static bool get_locked(bd_cache *cache, const char *kind, bd_cache_key key, void **data, size_t *size)
{
    if (!cache->database)
        return false;
    bool found = false;
    int64_t damaged_row = -1;
    bind_key(cache->get, kind, key);
    int result = sqlite3_step(cache->get);
    if (result == SQLITE_ROW) {
        const void *blob = sqlite3_column_blob(cache->get, 2);
        size_t bytes = (size_t)sqlite3_column_bytes(cache->get, 2);
        if (bytes > 0 && !blob) {
            result = sqlite3_errcode(cache->database); /* the blob's pages could not be read */
        } else if (sqlite3_column_int64(cache->get, 1) == blob_checksum(key, bytes ? blob : "", bytes)) {
            *data = malloc(bytes ? bytes : 1);
            if (*data) {
                memcpy(*data, bytes ? blob : "", bytes);
                *size = bytes;
                found = true;
            }
        } else {
            damaged_row = sqlite3_column_int64(cache->get, 0);
        }
    }
    sqlite3_reset(cache->get);
    sqlite3_clear_bindings(cache->get);
    if (damaged_row >= 0) {
        sqlite3_bind_int64(cache->drop, 1, damaged_row);
        result = execute(cache->drop);
    } else if (result == SQLITE_ROW || result == SQLITE_DONE || result == SQLITE_NOMEM) {
        result = SQLITE_OK;
    }
    if (result != SQLITE_OK)
        give_up(cache, result);
    return found;
}

bool bd_cache_get(bd_cache *cache, const char *kind, bd_cache_key key, void **data, size_t *size)
{
    pthread_mutex_lock(&cache->lock);
    const bool found = get_locked(cache, kind, key, data, size);
    pthread_mutex_unlock(&cache->lock);
    return found;
}

/* One transaction: the blob goes in and the oldest go out. */
static int store(bd_cache *cache, const char *kind, bd_cache_key key, const void *data, size_t size)
{
    int result = sqlite3_exec(cache->database, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (result != SQLITE_OK)
        return result;
    bind_key(cache->put, kind, key);
    sqlite3_bind_int64(cache->put, 4, (int64_t)size);
    sqlite3_bind_int64(cache->put, 5, blob_checksum(key, size ? data : "", size));
    sqlite3_bind_blob64(cache->put, 6, size ? data : "", size, SQLITE_STATIC);
    result = execute(cache->put);
    if (result == SQLITE_OK) {
        sqlite3_bind_int64(cache->trim, 1, (int64_t)cache->most_bytes);
        result = execute(cache->trim);
    }
    if (result == SQLITE_OK)
        result = sqlite3_exec(cache->database, "COMMIT", NULL, NULL, NULL);
    if (result != SQLITE_OK)
        sqlite3_exec(cache->database, "ROLLBACK", NULL, NULL, NULL);
    return result;
}

static void put_locked(bd_cache *cache, const char *kind, bd_cache_key key, const void *data, size_t size)
{
    if (!cache->database || cache->keeps_nothing_new || size > cache->most_bytes || size > INT_MAX)
        return;
    int result = store(cache, kind, key, data, size);
    if (is_damage(result)) {
        rebuild(cache);
        if (cache->database)
            result = store(cache, kind, key, data, size);
    }
    if (result != SQLITE_OK && cache->database)
        give_up(cache, result);
}

void bd_cache_put(bd_cache *cache, const char *kind, bd_cache_key key, const void *data, size_t size)
{
    pthread_mutex_lock(&cache->lock);
    put_locked(cache, kind, key, data, size);
    pthread_mutex_unlock(&cache->lock);
}
