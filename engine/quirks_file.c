/* The quirks file: its place, reading and writing. */
#include "atomic_file.h"
#include "quirks.h"
#include "tile.h"

#include <binade/binade.h>

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LONGEST_PART = 60 };

/* What a file's name can hold of a text: whatever is no letter, digit or point becomes one '-'. */
static void append_part(char *name, size_t size, const char *text)
{
    size_t length = strlen(name), end = length + LONGEST_PART < size ? length + LONGEST_PART : size - 1;
    for (; *text && length < end; text++) {
        const bool plain = isalnum((unsigned char)*text) || *text == '.';
        if (plain || (length && name[length - 1] != '-'))
            name[length++] = plain ? *text : '-';
    }
    name[length] = '\0';
}

/* One file a device, driver version and engine version: another driver's quirks are not this one's. Should two devices
 * have one name, the texts in the file tell them apart. */
bool bd_quirks_path(const bd_device_info *info, char *path, size_t size)
{
    const char *base = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    const char *const parts[] = { info->backend, "-", info->name, "-", info->driver, "-", BD_VERSION };
    char name[4 * LONGEST_PART + 8] = "";
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        append_part(name, sizeof name, parts[i]);
    int length = 0;
    /* The XDG Base Directory Specification: a relative path is to be ignored. */
    if (base && base[0] == '/')
        length = snprintf(path, size, "%s/binade/quirks/%s.json", base, name);
    else if (home && home[0] == '/')
        length = snprintf(path, size, "%s/.local/state/binade/quirks/%s.json", home, name);
    return length > 0 && (size_t)length < size;
}

static bd_status cannot_read(const char *path, int reason, bd_error *error)
{
    return bd_fail(error, BD_ERROR_FILE, "quirks file %s: cannot be read: %s; BINADE_QUIRKS=off goes without", path,
                   strerror(reason));
}

bd_status bd_quirks_load(const bd_device_info *info, bd_quirks *quirks, bd_error *error)
{
    char path[PATH_MAX];
    *quirks = (bd_quirks){ 0 };
    if (!bd_quirks_path(info, path, sizeof path))
        return BD_OK;
    FILE *file = fopen(path, "re");
    if (!file)
        return errno == ENOENT || errno == ENOTDIR ? BD_OK : cannot_read(path, errno, error);
    char *text = malloc(BD_QUIRKS_MOST_BYTES + 1);
    bd_status status = text ? BD_OK : bd_fail(error, BD_ERROR_MEMORY, "out of memory for a quirks file");
    if (status == BD_OK) {
        const size_t length = fread(text, 1, BD_QUIRKS_MOST_BYTES + 1, file);
        status =
            ferror(file) ? cannot_read(path, errno, error) : bd_quirks_parse(path, text, length, info, quirks, error);
    }
    free(text);
    fclose(file);
    return status;
}

/* ---- writing ---- */

static json_t *variants_json(const bd_quirks *q)
{
    static const bd_format formats[] = { BD_F32, BD_F16 };
    json_t *list = json_array();
    for (int i = 0; i < 4; i++) {
        const bd_format format = formats[i / 2], accumulator = formats[i % 2];
        for (int v = 0; v < BD_VARIANT_COUNT; v++)
            if (q->avoid[format][accumulator] >> v & 1)
                json_array_append_new(list,
                                      json_pack("{s:s, s:s, s:s}", "variant", bd_variant_name((bd_variant)v), "format",
                                                bd_format_name(format), "accumulator", bd_format_name(accumulator)));
    }
    return list;
}

/* NULL without memory, or where a driver's name is no UTF-8. */
static char *file_text(const bd_device_info *info, const bd_quirks *q)
{
    json_t *whole = json_pack("{s:i, s:s, s:s, s:s, s:s}", "format_version", BD_QUIRKS_FORMAT_VERSION, "backend",
                              info->backend, "device", info->name, "driver", info->driver, "engine", BD_VERSION);
    if (!whole)
        return NULL;
    json_t *variants = variants_json(q), *wrong = json_array();
    for (int i = 0; i < q->wrong_count; i++)
        json_array_append_new(wrong, json_string(q->wrong[i]));
    int failed = json_object_set_new(whole, "wrong_variants", variants);
    if (q->no_half_arithmetic)
        failed |= json_object_set_new(whole, "no_half_arithmetic", json_true());
    if (q->flushes_f16)
        failed |= json_object_set_new(whole, "flushes_f16", json_true());
    if (q->flushes_f32)
        failed |= json_object_set_new(whole, "flushes_f32", json_true());
    if (q->max_workgroup_items)
        failed |= json_object_set_new(whole, "max_workgroup_items", json_integer(q->max_workgroup_items));
    if (q->max_buffer_bytes)
        failed |= json_object_set_new(whole, "max_buffer_bytes", json_integer((json_int_t)q->max_buffer_bytes));
    failed |= json_object_set_new(whole, "wrong", wrong);
    char *text = failed ? NULL : json_dumps(whole, JSON_INDENT(2));
    json_decref(whole);
    return text;
}

/* The folders above the file. */
static bd_status make_folders(char *path, bd_error *error)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        const bool made = mkdir(path, 0700) == 0 || errno == EEXIST;
        const int reason = errno;
        bd_status status =
            made ? BD_OK : bd_fail(error, BD_ERROR_FILE, "%s: cannot make this folder: %s", path, strerror(reason));
        *slash = '/';
        if (status != BD_OK)
            return status;
    }
    return BD_OK;
}

bd_status bd_quirks_save(const bd_device_info *info, const bd_quirks *quirks, char *path, size_t size, bd_error *error)
{
    if (!bd_quirks_path(info, path, size))
        return bd_fail(error, BD_ERROR_FILE,
                       "no place for the quirks file: neither XDG_STATE_HOME nor HOME is a folder's path");
    if (!bd_quirks_any(quirks)) {
        if (unlink(path) == 0 || errno == ENOENT || errno == ENOTDIR)
            return BD_OK;
        return bd_fail(error, BD_ERROR_FILE, "%s: cannot remove: %s", path, strerror(errno));
    }
    char *text = file_text(info, quirks);
    if (!text)
        return bd_fail(error, BD_ERROR_MEMORY,
                       "%s: cannot be made: the device's name is not UTF-8, or no memory is left", path);
    bd_atomic_file file;
    bd_status status = make_folders(path, error);
    if (status == BD_OK && (status = bd_atomic_file_open(&file, path, error)) == BD_OK) {
        status = bd_atomic_file_write(&file, text, strlen(text), error);
        if (status == BD_OK)
            status = bd_atomic_file_write(&file, "\n", 1, error);
        status = bd_atomic_file_close(&file, status, error);
    }
    free(text);
    return status;
}
