/* Quirks: what `binade check` found a device to do wrongly, kept in a file that is obeyed when the device is opened.
 * One JSON file a device, driver version and engine version, in $XDG_STATE_HOME/binade/quirks (or
 * ~/.local/state/binade/quirks). BINADE_QUIRKS=off in the environment leaves them unread. docs/check.md describes the
 * file. */
#ifndef BINADE_ENGINE_QUIRKS_H
#define BINADE_ENGINE_QUIRKS_H

#include "kernel.h"

#include <stddef.h>

typedef struct bd_device bd_device;

enum { BD_QUIRKS_FORMAT_VERSION = 1, BD_QUIRKS_WRONG = 32, BD_QUIRKS_MOST_BYTES = 1 << 20 };

typedef struct bd_quirks {
    uint32_t avoid[BD_FORMAT_COUNT][BD_FORMAT_COUNT]; /* as bd_target has it; F32 and F16 only */
    bool no_half_arithmetic;                          /* native half arithmetic is not exact: FP32, then rounded */
    bool flushes_f16, flushes_f32;                    /* subnormals become 0 */
    uint32_t max_workgroup_items;                     /* 0: as the device says */
    uint64_t max_buffer_bytes;                        /* 0: as the device says */
    /* What is wrong and cannot be gone round, a line each; those beyond the room are not kept. */
    char wrong[BD_QUIRKS_WRONG][160];
    int wrong_count;
} bd_quirks;

/* Is there anything at all? */
bool bd_quirks_any(const bd_quirks *quirks);
/* Those of `more` too. */
void bd_quirks_merge(bd_quirks *quirks, const bd_quirks *more);
/* In words: "simd in f16 not used; work-groups of 64 items at most"; "" where there are none. Cut where there is no
 * room. */
void bd_quirks_describe(const bd_quirks *quirks, char *text, size_t size);

/* Reads the text of a file for this device. BD_ERROR_DATA for anything that is not as documented, or about another
 * device; `path` is for the message. */
bd_status bd_quirks_parse(const char *path, const char *text, size_t size, const bd_device_info *info,
                          bd_quirks *quirks, bd_error *error);

/* The file's path; false where there is no home for it. */
bool bd_quirks_path(const bd_device_info *info, char *path, size_t size);
/* No file is no quirks; one that cannot be read or is not right is an error that says what to do. */
bd_status bd_quirks_load(const bd_device_info *info, bd_quirks *quirks, bd_error *error);
/* Writes the file, or removes it where there are none. `*path` tells where, and must hold `size` bytes. */
bd_status bd_quirks_save(const bd_device_info *info, const bd_quirks *quirks, char *path, size_t size, bd_error *error);

/* Makes the device, which is freshly opened, obey. */
void bd_quirks_apply(const bd_quirks *quirks, bd_device *device);
/* bd_device_open without quirks, for the check itself. */
bd_status bd_device_open_without_quirks(const char *name, bd_device **device, bd_error *error);

#endif
