/* Reads safetensors files, trusting nothing in them, and writes them so that no failure leaves half a file. */
#include "safetensors.h"

#include "atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char METADATA_KEY[] = "__metadata__";

enum {
    LENGTH_BYTES = 8,
    DATA_ALIGNMENT = 8, /* of the first tensor: the header is padded with spaces, as the format's own writer does */
    MAX_HEADER_BYTES = 100 * 1000 * 1000, /* the limit of the format's own reader */
};

static const struct {
    const char *name;
    size_t size;
} types[BD_SAFE_TYPE_COUNT] = {
    [BD_SAFE_F32] = { "F32", 4 },   [BD_SAFE_F16] = { "F16", 2 },         [BD_SAFE_U8] = { "U8", 1 },
    [BD_SAFE_U32] = { "U32", 4 },   [BD_SAFE_I64] = { "I64", 8 },         [BD_SAFE_U16] = { "U16", 2 },
    [BD_SAFE_BF16] = { "BF16", 2 }, [BD_SAFE_F8_E4M3] = { "F8_E4M3", 1 }, [BD_SAFE_F8_E5M2] = { "F8_E5M2", 1 },
    [BD_SAFE_I8] = { "I8", 1 },
};

struct bd_safetensors {
    unsigned char *bytes; /* the whole file */
    json_t *header;       /* owns all names and metadata */
    bd_safe_tensor *tensors;
    size_t count;
};

const char *bd_safe_type_name(bd_safe_type type)
{
    return types[type].name;
}

size_t bd_safe_type_size(bd_safe_type type)
{
    return types[type].size;
}

bd_safe_type bd_safe_type_of(bd_format format)
{
    switch (format) {
    case BD_F32: return BD_SAFE_F32;
    case BD_F16: return BD_SAFE_F16;
    case BD_U8: return BD_SAFE_U8;
    case BD_U32: return BD_SAFE_U32;
    case BD_BF16: return BD_SAFE_BF16;
    case BD_F8E4M3: return BD_SAFE_F8_E4M3;
    case BD_F8E5M2: return BD_SAFE_F8_E5M2;
    case BD_I8:
    case BD_I4:
    case BD_I3:
    case BD_I2: return BD_SAFE_I8;
    default: break;
    }
    const size_t size = bd_format_size(format);
    return size == sizeof(float) ? BD_SAFE_F32 : size == sizeof(uint16_t) ? BD_SAFE_U16 : BD_SAFE_U8;
}

/* Bytes of a tensor's data; false on overflow or a negative dimension. */
static bool tensor_bytes(bd_safe_type type, const bd_shape *shape, uint64_t *bytes)
{
    int64_t elements = bd_shape_elements(shape);
    return elements >= 0 && !__builtin_mul_overflow((uint64_t)elements, types[type].size, bytes) && *bytes <= INT64_MAX;
}

/* ---- writing ---- */

/* Orders tensors by falling element size; equal ones keep their order. */
static void sort_by_alignment(const bd_safe_tensor *tensors, size_t count, const bd_safe_tensor **sorted)
{
    size_t done = 0;
    for (size_t size = 8; size > 0; size /= 2)
        for (size_t i = 0; i < count; i++)
            if (types[tensors[i].type].size == size)
                sorted[done++] = &tensors[i];
}

/* Takes over `value`, as json_object_set_new does; a name given twice fails. */
static bool add_unique(json_t *object, const char *key, json_t *value)
{
    if (json_object_get(object, key)) {
        json_decref(value);
        return false;
    }
    return json_object_set_new(object, key, value) == 0;
}

static bd_status make_header(const char *path, const bd_safe_tensor *const *tensors, size_t count,
                             const bd_safe_text *metadata, size_t metadata_count, char **text, bd_error *error)
{
    json_t *header = json_object();
    json_t *strings = json_object();
    bd_status status = header && strings ? BD_OK : bd_fail(error, BD_ERROR_MEMORY, "out of memory");
    for (size_t i = 0; i < metadata_count && !status; i++)
        if (!add_unique(strings, metadata[i].key, json_string(metadata[i].value)))
            status = bd_fail(error, BD_ERROR_ARGUMENT, "%s: metadata '%s' is given twice or is not UTF-8", path,
                             metadata[i].key);
    if (!status && metadata_count && json_object_set(header, METADATA_KEY, strings) != 0)
        status = bd_fail(error, BD_ERROR_MEMORY, "out of memory");

    uint64_t begin = 0;
    for (size_t i = 0; i < count && !status; i++) {
        uint64_t size, end;
        if (!tensor_bytes(tensors[i]->type, &tensors[i]->shape, &size) || __builtin_add_overflow(begin, size, &end) ||
            end > INT64_MAX) {
            status = bd_fail(error, BD_ERROR_ARGUMENT, "%s: tensor '%s' is too large", path, tensors[i]->name);
            break;
        }
        json_t *dims = json_array();
        for (int axis = 0; axis < tensors[i]->shape.rank; axis++)
            json_array_append_new(dims, json_integer(tensors[i]->shape.dim[axis]));
        json_t *tensor = json_pack("{s:s, s:o, s:[I, I]}", "dtype", types[tensors[i]->type].name, "shape", dims,
                                   "data_offsets", (json_int_t)begin, (json_int_t)end);
        bool reserved = strcmp(tensors[i]->name, METADATA_KEY) == 0;
        if (!add_unique(header, tensors[i]->name, tensor) || reserved)
            status = bd_fail(error, BD_ERROR_ARGUMENT, "%s: tensor name '%s' is given twice, reserved or not UTF-8",
                             path, tensors[i]->name);
        begin = end;
    }
    if (!status && !(*text = json_dumps(header, JSON_COMPACT)))
        status = bd_fail(error, BD_ERROR_MEMORY, "out of memory");
    json_decref(strings);
    json_decref(header);
    return status;
}

static bd_status write_content(bd_atomic_file *file, const char *header, const bd_safe_tensor *const *tensors,
                               size_t count, bd_error *error)
{
    static const char spaces[] = "        ";
    size_t length = strlen(header);
    size_t padding = (DATA_ALIGNMENT - length % DATA_ALIGNMENT) % DATA_ALIGNMENT;
    uint64_t header_bytes = length + padding;
    bd_status status;
    if ((status = bd_atomic_file_write(file, &header_bytes, LENGTH_BYTES, error)) ||
        (status = bd_atomic_file_write(file, header, length, error)) ||
        (status = bd_atomic_file_write(file, spaces, padding, error)))
        return status;
    for (size_t i = 0; i < count; i++) {
        uint64_t size = 0;
        tensor_bytes(tensors[i]->type, &tensors[i]->shape, &size);
        if ((status = bd_atomic_file_write(file, tensors[i]->data, size, error)))
            return status;
    }
    return BD_OK;
}

bd_status bd_safetensors_write(const char *path, const bd_safe_tensor *tensors, size_t count,
                               const bd_safe_text *metadata, size_t metadata_count, bd_error *error)
{
    const bd_safe_tensor **sorted = calloc(count ? count : 1, sizeof *sorted);
    if (!sorted)
        return bd_fail(error, BD_ERROR_MEMORY, "out of memory");
    sort_by_alignment(tensors, count, sorted);
    char *header = NULL;
    bd_atomic_file file;
    bd_status status = make_header(path, sorted, count, metadata, metadata_count, &header, error);
    if (!status && !(status = bd_atomic_file_open(&file, path, error))) {
        status = write_content(&file, header, sorted, count, error);
        status = bd_atomic_file_close(&file, status, error);
    }
    free(header);
    free(sorted);
    return status;
}

/* ---- reading ---- */

typedef struct safe_extent {
    uint64_t begin, end;
    size_t tensor;
} safe_extent;

static int compare_extents(const void *a, const void *b)
{
    const safe_extent *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return x->tensor < y->tensor ? -1 : x->tensor > y->tensor;
}

/* A JSON whole number that is not negative. */
static bool get_count(const json_t *value, uint64_t *count)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *count = (uint64_t)json_integer_value(value);
    return true;
}

static bd_status read_tensor(const char *path, const char *name, const json_t *entry, bd_safe_tensor *tensor,
                             safe_extent *extent, bd_error *error)
{
    if (!json_is_object(entry) || json_object_size(entry) != 3)
        return bd_fail(error, BD_ERROR_DATA, "%s: tensor '%s' wants exactly dtype, shape and data_offsets", path, name);

    const char *type = json_string_value(json_object_get(entry, "dtype"));
    tensor->name = name;
    tensor->type = 0;
    while (type && tensor->type < BD_SAFE_TYPE_COUNT && strcmp(types[tensor->type].name, type) != 0)
        tensor->type++;
    if (!type || tensor->type == BD_SAFE_TYPE_COUNT)
        return bd_fail(error, BD_ERROR_DATA, "%s: tensor '%s' has dtype '%s', wanted F32, F16, U8, U32 or I64", path,
                       name, type ? type : "");

    const json_t *shape = json_object_get(entry, "shape");
    if (!json_is_array(shape) || json_array_size(shape) > BD_MAX_RANK)
        return bd_fail(error, BD_ERROR_DATA, "%s: tensor '%s' wants a shape of at most %d dimensions", path, name,
                       BD_MAX_RANK);
    tensor->shape.rank = (int)json_array_size(shape);
    for (int axis = 0; axis < tensor->shape.rank; axis++) {
        uint64_t length;
        if (!get_count(json_array_get(shape, (size_t)axis), &length))
            return bd_fail(error, BD_ERROR_DATA, "%s: tensor '%s' has a dimension that is no whole number", path, name);
        tensor->shape.dim[axis] = (int64_t)length;
    }

    uint64_t size;
    const json_t *offsets = json_object_get(entry, "data_offsets");
    if (!json_is_array(offsets) || json_array_size(offsets) != 2 ||
        !get_count(json_array_get(offsets, 0), &extent->begin) || !get_count(json_array_get(offsets, 1), &extent->end))
        return bd_fail(error, BD_ERROR_DATA, "%s: tensor '%s' wants data_offsets [begin, end]", path, name);
    if (!tensor_bytes(tensor->type, &tensor->shape, &size) || extent->end < extent->begin ||
        extent->end - extent->begin != size)
        return bd_fail(error, BD_ERROR_DATA, "%s: tensor '%s' has data_offsets [%llu, %llu] that do not fit its shape",
                       path, name, (unsigned long long)extent->begin, (unsigned long long)extent->end);
    return BD_OK;
}

/* Tensors must follow one another without a gap, from the first byte of the data to the last. */
static bd_status check_extents(const char *path, const bd_safe_tensor *tensors, const safe_extent *extents,
                               size_t count, uint64_t data_bytes, bd_error *error)
{
    uint64_t end = 0;
    for (size_t i = 0; i < count; i++) {
        const char *name = tensors[extents[i].tensor].name;
        if (extents[i].end > data_bytes)
            return bd_fail(error, BD_ERROR_DATA, "%s: truncated: tensor '%s' ends at byte %llu of %llu bytes of data",
                           path, name, (unsigned long long)extents[i].end, (unsigned long long)data_bytes);
        if (extents[i].begin < end)
            return bd_fail(error, BD_ERROR_DATA, "%s: tensor '%s' overlaps the one before it", path, name);
        if (extents[i].begin > end)
            return bd_fail(error, BD_ERROR_DATA, "%s: bytes %llu to %llu of the data belong to no tensor", path,
                           (unsigned long long)end, (unsigned long long)extents[i].begin);
        end = extents[i].end;
    }
    if (end != data_bytes)
        return bd_fail(error, BD_ERROR_DATA, "%s: the tensors end at byte %llu of %llu bytes of data", path,
                       (unsigned long long)end, (unsigned long long)data_bytes);
    return BD_OK;
}

static bd_status check_metadata(const char *path, const json_t *metadata, bd_error *error)
{
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return bd_fail(error, BD_ERROR_DATA, "%s: %s is not an object", path, METADATA_KEY);
    json_object_foreach((json_t *)metadata, key, value)
    {
        if (!json_is_string(value))
            return bd_fail(error, BD_ERROR_DATA, "%s: metadata '%s' is not a string", path, key);
    }
    return BD_OK;
}

static bd_status read_tensors(bd_safetensors *file, const char *path, const unsigned char *data, uint64_t data_bytes,
                              bd_error *error)
{
    size_t entries = json_object_size(file->header);
    bd_safe_tensor *tensors = calloc(entries + 1, sizeof *tensors);
    safe_extent *extents = calloc(entries + 1, sizeof *extents);
    file->tensors = calloc(entries + 1, sizeof *file->tensors);
    bd_status status = BD_OK;
    if (!tensors || !extents || !file->tensors)
        status = bd_fail(error, BD_ERROR_MEMORY, "%s: out of memory", path);

    size_t count = 0;
    const char *name;
    json_t *entry;
    json_object_foreach(file->header, name, entry)
    {
        if (status)
            break;
        if (strcmp(name, METADATA_KEY) == 0) {
            status = check_metadata(path, entry, error);
            continue;
        }
        status = read_tensor(path, name, entry, &tensors[count], &extents[count], error);
        extents[count].tensor = count;
        count++;
    }
    if (!status) {
        qsort(extents, count, sizeof *extents, compare_extents);
        status = check_extents(path, tensors, extents, count, data_bytes, error);
    }
    for (size_t i = 0; i < count && !status; i++) {
        file->tensors[i] = tensors[extents[i].tensor];
        file->tensors[i].data = data + extents[i].begin;
    }
    file->count = status ? 0 : count;
    free(tensors);
    free(extents);
    return status;
}

/* Takes over `bytes`. */
static bd_status parse(const char *path, unsigned char *bytes, size_t size, bd_safetensors **file, bd_error *error)
{
    *file = NULL;
    bd_safetensors *parsed = calloc(1, sizeof *parsed);
    if (!parsed) {
        free(bytes);
        return bd_fail(error, BD_ERROR_MEMORY, "%s: out of memory", path);
    }
    parsed->bytes = bytes;
    uint64_t header_bytes = 0;
    bd_status status = BD_OK;
    if (size >= LENGTH_BYTES)
        memcpy(&header_bytes, bytes, LENGTH_BYTES);
    if (size < LENGTH_BYTES)
        status = bd_fail(error, BD_ERROR_DATA, "%s: truncated: %zu bytes, a safetensors file begins with %d", path,
                         size, LENGTH_BYTES);
    else if (header_bytes > size - LENGTH_BYTES || header_bytes > MAX_HEADER_BYTES)
        status = bd_fail(
            error, BD_ERROR_DATA,
            "%s: truncated, or no safetensors file: header length %llu; the file has %zu bytes, a header at most %d",
            path, (unsigned long long)header_bytes, size, MAX_HEADER_BYTES);
    if (!status) {
        json_error_t json;
        parsed->header = json_loadb((const char *)bytes + LENGTH_BYTES, header_bytes, JSON_REJECT_DUPLICATES, &json);
        if (!parsed->header)
            status = bd_fail(error, BD_ERROR_DATA, "%s: header: %s (at byte %d)", path, json.text, json.position);
        else if (!json_is_object(parsed->header))
            status = bd_fail(error, BD_ERROR_DATA, "%s: header: not a JSON object", path);
    }
    if (!status)
        status =
            read_tensors(parsed, path, bytes + LENGTH_BYTES + header_bytes, size - LENGTH_BYTES - header_bytes, error);
    if (status)
        bd_safetensors_close(&parsed);
    *file = parsed;
    return status;
}

bd_status bd_safetensors_parse(const char *path, const void *bytes, size_t size, bd_safetensors **file, bd_error *error)
{
    *file = NULL;
    unsigned char *copy = malloc(size ? size : 1);
    if (!copy)
        return bd_fail(error, BD_ERROR_MEMORY, "%s: no memory for %zu bytes", path, size);
    memcpy(copy, bytes, size);
    return parse(path, copy, size, file, error);
}

static bd_status read_descriptor(const char *path, int descriptor, unsigned char **bytes, size_t *size, bd_error *error)
{
    struct stat info;
    if (fstat(descriptor, &info) != 0)
        return bd_fail(error, BD_ERROR_FILE, "%s: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return bd_fail(error, BD_ERROR_FILE, "%s: not a regular file", path);
    *size = (size_t)info.st_size;
    *bytes = malloc(*size ? *size : 1);
    if (!*bytes)
        return bd_fail(error, BD_ERROR_MEMORY, "%s: no memory for its %zu bytes", path, *size);
    for (size_t have = 0; have < *size;) {
        ssize_t got = read(descriptor, *bytes + have, *size - have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            free(*bytes);
            *bytes = NULL;
            return got < 0 ? bd_fail(error, BD_ERROR_FILE, "%s: %s", path, strerror(errno))
                           : bd_fail(error, BD_ERROR_DATA, "%s: became shorter while it was read", path);
        }
        have += (size_t)got;
    }
    return BD_OK;
}

bd_status bd_safetensors_read(const char *path, bd_safetensors **file, bd_error *error)
{
    *file = NULL;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0)
        return bd_fail(error, BD_ERROR_FILE, "%s: %s", path, strerror(errno));
    unsigned char *bytes = NULL;
    size_t size = 0;
    bd_status status = read_descriptor(path, descriptor, &bytes, &size, error);
    close(descriptor);
    return status ? status : parse(path, bytes, size, file, error);
}

void bd_safetensors_close(bd_safetensors **file)
{
    if (!file || !*file)
        return;
    json_decref((*file)->header);
    free((*file)->tensors);
    free((*file)->bytes);
    free(*file);
    *file = NULL;
}

size_t bd_safetensors_count(const bd_safetensors *file)
{
    return file->count;
}

const bd_safe_tensor *bd_safetensors_at(const bd_safetensors *file, size_t index)
{
    return &file->tensors[index];
}

const bd_safe_tensor *bd_safetensors_find(const bd_safetensors *file, const char *name)
{
    for (size_t i = 0; i < file->count; i++)
        if (strcmp(file->tensors[i].name, name) == 0)
            return &file->tensors[i];
    return NULL;
}

const char *bd_safetensors_metadata(const bd_safetensors *file, const char *key)
{
    return json_string_value(json_object_get(json_object_get(file->header, METADATA_KEY), key));
}
