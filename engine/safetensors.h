/* safetensors files (https://github.com/huggingface/safetensors): named tensors that other programs read too.
 * Layout: a little-endian 64-bit header length; the header, JSON that gives each tensor's dtype, shape and
 * data_offsets, and strings under "__metadata__"; then the data. Little-endian hosts only, as the rest of the engine.
 */
#ifndef BINADE_ENGINE_SAFETENSORS_H
#define BINADE_ENGINE_SAFETENSORS_H

#include <binade/graph.h>

typedef enum bd_safe_type {
    BD_SAFE_F32,
    BD_SAFE_F16,
    BD_SAFE_U8,
    BD_SAFE_U32,
    BD_SAFE_I64,
    BD_SAFE_U16,
    BD_SAFE_BF16,
    BD_SAFE_F8_E4M3,
    BD_SAFE_F8_E5M2,
    BD_SAFE_I8,
    BD_SAFE_TYPE_COUNT
} bd_safe_type;

/* "F32", and bytes of an element. */
const char *bd_safe_type_name(bd_safe_type type);
size_t bd_safe_type_size(bd_safe_type type);
/* The type that holds a storage format: its own, else one of its elements' size. */
bd_safe_type bd_safe_type_of(bd_format format);

typedef struct bd_safe_tensor {
    const char *name;
    bd_safe_type type;
    bd_shape shape;
    const void *data; /* elements * bd_safe_type_size(type) bytes */
} bd_safe_tensor;

typedef struct bd_safe_text {
    const char *key, *value;
} bd_safe_text;

/* Writes a temporary file beside `path`, syncs it, renames it to `path` and syncs the folder, so that whatever happens
 * `path` is either the old file or the whole new one. Larger elements come first, so all data is aligned. */
bd_status bd_safetensors_write(const char *path, const bd_safe_tensor *tensors, size_t count,
                               const bd_safe_text *metadata, size_t metadata_count, bd_error *error);

/* A file in memory. Everything in it was checked: names are unique, shapes and offsets agree, nothing overlaps, nothing
 * is missing. */
typedef struct bd_safetensors bd_safetensors;

bd_status bd_safetensors_read(const char *path, bd_safetensors **file, bd_error *error);
/* The same from `size` bytes, which are copied; `path` is for messages only. */
bd_status bd_safetensors_parse(const char *path, const void *bytes, size_t size, bd_safetensors **file,
                               bd_error *error);
void bd_safetensors_close(bd_safetensors **file);

size_t bd_safetensors_count(const bd_safetensors *file);
/* In the order of their data. */
const bd_safe_tensor *bd_safetensors_at(const bd_safetensors *file, size_t index);
/* NULL if there is none. */
const bd_safe_tensor *bd_safetensors_find(const bd_safetensors *file, const char *name);
/* A string of "__metadata__", or NULL. */
const char *bd_safetensors_metadata(const bd_safetensors *file, const char *key);

#endif
