/* libFuzzer: any bytes as the file of the cache. Whatever it holds, a lookup gives what was put in or nothing, and the
 * cache can be opened. The file lies in memory, through a file system of SQLite's own: 10 million files on a disk would
 * take days. */
#include "fuzz.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct memory_file {
    const sqlite3_io_methods *methods; /* of sqlite3_file, first */
    uint8_t *bytes;
    sqlite3_int64 size, capacity;
} memory_file;

typedef struct open_file {
    const sqlite3_io_methods *methods;
    memory_file *file;
} open_file;

static memory_file database, journal;

static void resize(memory_file *file, sqlite3_int64 size)
{
    if (size > file->capacity) {
        file->bytes = realloc(file->bytes, (size_t)(2 * size));
        file->capacity = 2 * size;
        if (!file->bytes)
            abort();
    }
    if (size > file->size)
        memset(file->bytes + file->size, 0, (size_t)(size - file->size));
    file->size = size;
}

static memory_file *file_of(sqlite3_file *opened)
{
    return ((open_file *)opened)->file;
}

static int close_nothing(sqlite3_file *opened)
{
    (void)opened;
    return SQLITE_OK;
}

static int read_part(sqlite3_file *opened, void *data, int size, sqlite3_int64 offset)
{
    const memory_file *file = file_of(opened);
    sqlite3_int64 there = offset < file->size ? file->size - offset : 0;
    int got = there < size ? (int)there : size;
    if (got)
        memcpy(data, file->bytes + offset, (size_t)got);
    memset((uint8_t *)data + got, 0, (size_t)(size - got));
    return got == size ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

static int write_part(sqlite3_file *opened, const void *data, int size, sqlite3_int64 offset)
{
    memory_file *file = file_of(opened);
    if (offset + size > (sqlite3_int64)1 << 24)
        return SQLITE_FULL;
    if (offset + size > file->size)
        resize(file, offset + size);
    memcpy(file->bytes + offset, data, (size_t)size);
    return SQLITE_OK;
}

static int truncate_to(sqlite3_file *opened, sqlite3_int64 size)
{
    resize(file_of(opened), size);
    return SQLITE_OK;
}

static int tell_size(sqlite3_file *opened, sqlite3_int64 *size)
{
    *size = file_of(opened)->size;
    return SQLITE_OK;
}

static int take_number(sqlite3_file *opened, int number)
{
    (void)opened, (void)number;
    return SQLITE_OK;
}

static int tell_reserved(sqlite3_file *opened, int *reserved)
{
    (void)opened;
    *reserved = 0;
    return SQLITE_OK;
}

static int control(sqlite3_file *opened, int what, void *argument)
{
    (void)opened, (void)what, (void)argument;
    return SQLITE_NOTFOUND;
}

static int tell_nothing(sqlite3_file *opened)
{
    (void)opened;
    return 0;
}

static const sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = close_nothing,
    .xRead = read_part,
    .xWrite = write_part,
    .xTruncate = truncate_to,
    .xSync = take_number,
    .xFileSize = tell_size,
    .xLock = take_number,
    .xUnlock = take_number,
    .xCheckReservedLock = tell_reserved,
    .xFileControl = control,
    .xSectorSize = tell_nothing,
    .xDeviceCharacteristics = tell_nothing,
};

static memory_file *named(const char *name)
{
    return strstr(name, "-journal") ? &journal : strstr(name, "-wal") ? NULL : &database;
}

static int open_named(sqlite3_vfs *system, const char *name, sqlite3_file *opened, int flags, int *told)
{
    (void)system;
    static memory_file temporary;
    memory_file *file = name ? named(name) : &temporary;
    if (!file)
        return SQLITE_CANTOPEN;
    if (!name)
        file->size = 0;
    *(open_file *)opened = (open_file){ &methods, file };
    if (told)
        *told = flags;
    return SQLITE_OK;
}

static int delete_named(sqlite3_vfs *system, const char *name, int synced)
{
    (void)system, (void)synced;
    if (named(name))
        named(name)->size = 0;
    return SQLITE_OK;
}

static int tell_access(sqlite3_vfs *system, const char *name, int what, int *yes)
{
    (void)system, (void)what;
    *yes = named(name) && named(name)->size > 0;
    return SQLITE_OK;
}

static int full_path(sqlite3_vfs *system, const char *name, int size, char *path)
{
    (void)system;
    sqlite3_snprintf(size, path, "%s", name);
    return SQLITE_OK;
}

static int randomness(sqlite3_vfs *system, int size, char *bytes)
{
    (void)system;
    memset(bytes, 7, (size_t)size); /* the same each time */
    return size;
}

static int no_sleep(sqlite3_vfs *system, int micros)
{
    (void)system;
    return micros;
}

static int no_time(sqlite3_vfs *system, double *days)
{
    (void)system;
    *days = 2440587.5;
    return SQLITE_OK;
}

static int memory_unlink(const char *path)
{
    return delete_named(NULL, path, 0);
}

#define unlink memory_unlink
#include "../../engine/cache.c"
#undef unlink

/* ---- SQLite's own memory: one block, empty again when all is freed. AddressSanitizer's costs more than SQLite does.
 * ---- */

enum { HEAP_BYTES = 64 << 20 };

static struct {
    char *block;
    size_t top, live, kept_top, kept_live; /* what is there from the start is kept */
} heap;

static int heap_round(int size)
{
    return (size + 15) & ~15;
}

static void *heap_take(int size)
{
    const size_t bytes = 16 + (size_t)heap_round(size);
    if (heap.top + bytes > HEAP_BYTES)
        return NULL;
    char *taken = heap.block + heap.top;
    memcpy(taken, &size, sizeof size);
    heap.top += bytes;
    heap.live++;
    return taken + 16;
}

static void heap_free(void *pointer)
{
    if (pointer && --heap.live == heap.kept_live)
        heap.top = heap.kept_top;
}

static int heap_size(void *pointer)
{
    int size = 0;
    if (pointer)
        memcpy(&size, (char *)pointer - 16, sizeof size);
    return size;
}

static void *heap_grow(void *pointer, int size)
{
    const int before = heap_size(pointer);
    if (size <= before)
        return pointer;
    void *grown = heap_take(size);
    if (!grown)
        return NULL;
    memcpy(grown, pointer, (size_t)before);
    heap_free(pointer);
    return grown;
}

static int heap_start(void *user)
{
    (void)user;
    return SQLITE_OK;
}

static void heap_end(void *user)
{
    (void)user;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    static const sqlite3_mem_methods allocation = { heap_take,  heap_free,  heap_grow, heap_size,
                                                    heap_round, heap_start, heap_end,  NULL };
    heap.block = malloc(HEAP_BYTES);
    if (!heap.block || sqlite3_config(SQLITE_CONFIG_MALLOC, &allocation) != SQLITE_OK ||
        sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0) != SQLITE_OK)
        abort();
    static sqlite3_vfs memory = { .iVersion = 1,
                                  .szOsFile = sizeof(open_file),
                                  .mxPathname = PATH_MAX,
                                  .zName = "fuzz",
                                  .xOpen = open_named,
                                  .xDelete = delete_named,
                                  .xAccess = tell_access,
                                  .xFullPathname = full_path,
                                  .xRandomness = randomness,
                                  .xSleep = no_sleep,
                                  .xCurrentTime = no_time };
    if (sqlite3_vfs_register(&memory, 1) != SQLITE_OK)
        abort();
    heap.kept_top = heap.top;
    heap.kept_live = heap.live;
    return 0;
}

static const struct {
    const char *kind, *key, *blob;
} entries[] = { { "opencl", "a", "compiled" }, { "tune", "b", "12345678" }, { "spirv", "c", "" } };

static bool has(bd_cache *cache, size_t entry)
{
    void *data;
    size_t size;
    if (!bd_cache_get(cache, entries[entry].kind, bd_cache_hash(&entries[entry].key, 1), &data, &size))
        return false;
    if (size != strlen(entries[entry].blob) || memcmp(data, entries[entry].blob, size) != 0)
        abort(); /* what nobody put in */
    free(data);
    return true;
}

static void put(bd_cache *cache, size_t entry)
{
    bd_cache_put(cache, entries[entry].kind, bd_cache_hash(&entries[entry].key, 1), entries[entry].blob,
                 strlen(entries[entry].blob));
}

/* The file as this cache writes it: how the corpus was made. */
static void save(const char *path)
{
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(database.bytes, 1, (size_t)database.size, file) != (size_t)database.size || fclose(file))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    enum { COUNT = sizeof entries / sizeof *entries };
    resize(&database, 0);
    resize(&database, (sqlite3_int64)size);
    if (size)
        memcpy(database.bytes, bytes, size);
    journal.size = 0;
    static const char *saved;
    if (!saved)
        saved = getenv("FUZZ_SAVE");
    bd_cache *cache = bd_cache_open_in("/tmp", 1 << 20);
    if (!cache)
        abort();
    for (size_t i = 0; i < COUNT; i++)
        has(cache, i);
    for (size_t i = 0; i + 1 < COUNT; i++)
        put(cache, i);
    for (size_t i = 0; i < COUNT; i++)
        has(cache, i);
    bd_cache_close(&cache);
    if (heap.live != heap.kept_live)
        abort(); /* a leak */
    if (saved)
        save(saved);
    return 0;
}
