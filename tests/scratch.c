/* A folder of a test's own: see the header. */
#include "scratch.h"

#include <check.h>
#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

static char folder[] = "/tmp/binade-test-XXXXXX";

void scratch_create(void)
{
    snprintf(folder, sizeof folder, "/tmp/binade-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info, (void)type, (void)walk;
    return remove(path);
}

void scratch_remove(void)
{
    nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

const char *scratch_folder(void)
{
    return folder;
}

const char *scratch_path(const char *name)
{
    static char paths[8][256];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

void scratch_write(const char *name, const void *data, size_t size)
{
    FILE *file = fopen(scratch_path(name), "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(data, 1, size, file), size);
    ck_assert_int_eq(fclose(file), 0);
}

void scratch_write_gz(const char *name, const void *data, size_t size)
{
    gzFile file = gzopen(scratch_path(name), "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(gzfwrite(data, 1, size, file), size);
    ck_assert_int_eq(gzclose(file), Z_OK);
}

uint8_t *scratch_read(const char *name, size_t *size)
{
    FILE *file = fopen(scratch_path(name), "rb");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fseek(file, 0, SEEK_END), 0);
    long end = ftell(file);
    ck_assert_int_ge(end, 0);
    rewind(file);
    *size = (size_t)end;
    uint8_t *data = malloc(*size + 1);
    ck_assert_uint_eq(fread(data, 1, *size, file), *size);
    fclose(file);
    return data;
}

int scratch_count(void)
{
    DIR *opened = opendir(folder);
    ck_assert_ptr_nonnull(opened);
    int count = -2; /* "." and ".." */
    while (readdir(opened))
        count++;
    closedir(opened);
    return count;
}
