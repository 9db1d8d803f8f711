/* Variables on a device. */
#include "store.h"
#include "philox.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct allocation {
    bd_buffer *buffer;
    uint64_t size;
} allocation;

struct bd_store {
    bd_device *device;
    bd_store_entry *entries;
    size_t count, capacity;
    allocation *allocations;
    size_t allocation_count;
    bd_buffer *arena;
    uint64_t arena_bytes;
};

bd_status bd_store_create(bd_device *device, bd_store **store, bd_error *error)
{
    *store = calloc(1, sizeof **store);
    if (!*store)
        return bd_fail(error, BD_ERROR_MEMORY, "out of memory for the variables' table");
    (*store)->device = device;
    return BD_OK;
}

void bd_store_destroy(bd_store **pointer)
{
    bd_store *store = *pointer;
    if (!store)
        return;
    for (size_t i = 0; i < store->allocation_count; i++)
        store->device->backend->buffer_destroy(store->device, store->allocations[i].buffer);
    if (store->arena)
        store->device->backend->buffer_destroy(store->device, store->arena);
    for (size_t i = 0; i < store->count; i++)
        free((char *)store->entries[i].name);
    free(store->entries);
    free(store->allocations);
    free(store);
    *pointer = NULL;
}

bd_device *bd_store_device(const bd_store *store)
{
    return store->device;
}

bd_buffer *bd_store_arena(const bd_store *store)
{
    return store->arena;
}

uint64_t bd_store_arena_bytes(const bd_store *store)
{
    return store->arena_bytes;
}

bd_status bd_store_reserve_arena(bd_store *store, uint64_t bytes, bd_error *error)
{
    if (store->arena)
        return bytes <= store->arena_bytes
                   ? BD_OK
                   : bd_fail(error, BD_ERROR_ARGUMENT,
                             "the arena holds %llu bytes, a program needs %llu: reserve the largest first",
                             (unsigned long long)store->arena_bytes, (unsigned long long)bytes);
    if (bytes == 0)
        return BD_OK;
    bd_status status = store->device->backend->buffer_create(store->device, bytes, &store->arena, error);
    if (status == BD_OK)
        store->arena_bytes = bytes;
    return status;
}

void bd_store_free_arena(bd_store *store)
{
    if (store->arena)
        store->device->backend->buffer_destroy(store->device, store->arena);
    store->arena = NULL;
    store->arena_bytes = 0;
}

size_t bd_store_count(const bd_store *store)
{
    return store->count;
}

const bd_store_entry *bd_store_at(const bd_store *store, size_t index)
{
    return index < store->count ? &store->entries[index] : NULL;
}

const bd_store_entry *bd_store_find(const bd_store *store, const char *name)
{
    for (size_t i = 0; i < store->count; i++)
        if (strcmp(store->entries[i].name, name) == 0)
            return &store->entries[i];
    return NULL;
}

static uint64_t entry_bytes(const bd_store_entry *entry)
{
    return (uint64_t)bd_shape_elements(&entry->shape) * bd_format_size(entry->format);
}

/* FNV-1a, so that a variable's numbers depend on its name and not on the order of layers. */
static uint64_t hash_name(const char *name)
{
    uint64_t hash = 14695981039346656037u;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 1099511628211u;
    return hash;
}

/* Two uniform numbers in [0, 1) of 32 bits each. */
static void uniforms(uint64_t seed, uint64_t name, uint64_t element, uint32_t attempt, double u[2])
{
    const uint32_t key[2] = { (uint32_t)seed, (uint32_t)(seed >> 32) };
    const uint32_t counter[4] = { (uint32_t)element, (uint32_t)(element >> 32) + (attempt << 16), (uint32_t)name,
                                  (uint32_t)(name >> 32) };
    uint32_t words[4];
    bd_philox(key, counter, words);
    u[0] = words[0] * 0x1p-32;
    u[1] = words[1] * 0x1p-32;
}

void bd_init_values(const char *variable, const bd_init *init, uint64_t seed, double *values, size_t count)
{
    const uint64_t name = hash_name(variable);
    for (size_t i = 0; i < count; i++) {
        double u[2], value = init->bound;
        const bool truncated = init->kind == BD_INIT_TRUNCATED_NORMAL;
        for (uint32_t attempt = 0; init->kind != BD_INIT_CONSTANT; attempt++) {
            uniforms(seed, name, i, attempt, u);
            if (init->kind == BD_INIT_UNIFORM)
                value = (2 * u[0] - 1) * init->bound;
            else /* Box and Muller, 1958; 1 - u is never 0 */
                value = sqrt(-2 * log(1 - u[0])) * cos(6.283185307179586 * u[1]) * init->bound;
            if (!truncated || fabs(value) <= 2 * (double)init->bound)
                break; /* 19 of 20 do */
        }
        values[i] = bd_round(BD_F32, value); /* so that formats differ by one more rounding and by nothing else */
    }
}

static bd_status initialise(bd_store *store, const bd_store_entry *entry, const bd_init *init, uint64_t seed,
                            bd_error *error)
{
    const uint64_t elements = (uint64_t)bd_shape_elements(&entry->shape);
    if (elements == 0 || (init->kind == BD_INIT_CONSTANT && init->bound == 0.0f)) /* buffers begin with zeros */
        return BD_OK;
    double *values = malloc(elements * sizeof *values);
    if (!values)
        return bd_fail(error, BD_ERROR_MEMORY, "out of memory for the initial values of '%s'", entry->name);
    bd_init_values(entry->name, init, seed, values, elements);
    bd_status status = bd_store_write_values(store, entry->name, values, elements, error);
    free(values);
    return status;
}

static bd_status allocate(bd_store *store, uint64_t size, bd_binding *binding, bd_error *error)
{
    allocation *grown = realloc(store->allocations, (store->allocation_count + 1) * sizeof *grown);
    if (!grown)
        return bd_fail(error, BD_ERROR_MEMORY, "out of memory for the variables' table");
    store->allocations = grown;
    /* Whole words, since some kernels read bytes and halves a word at a time. */
    size = (size + 3) / 4 * 4;
    binding->offset = 0;
    binding->size = size ? size : 4;
    bd_status status = store->device->backend->buffer_create(store->device, binding->size, &binding->buffer, error);
    if (status == BD_OK)
        store->allocations[store->allocation_count++] = (allocation){ binding->buffer, binding->size };
    return status;
}

static bd_status add_variable(bd_store *store, const bd_graph *graph, bd_tensor tensor, bd_error *error)
{
    const bd_node *node = &graph->nodes[tensor];
    if (store->count == store->capacity) {
        size_t capacity = store->capacity * 2 + 32;
        bd_store_entry *grown = realloc(store->entries, capacity * sizeof *grown);
        if (!grown)
            return bd_fail(error, BD_ERROR_MEMORY, "out of memory for the variables' table");
        store->entries = grown;
        store->capacity = capacity;
    }
    bd_store_entry entry = { .format = node->format, .role = node->role, .shape = node->shape };
    bd_status status = BD_OK;
    if (node->attr.variable.base == BD_NONE) {
        status = allocate(store, entry_bytes(&entry), &entry.binding, error);
    } else {
        const bd_store_entry *base = bd_store_find(store, graph->nodes[node->attr.variable.base].attr.variable.name);
        uint64_t offset = (uint64_t)node->attr.variable.base_offset * bd_format_size(node->format);
        if (!base || base->format != node->format || offset + entry_bytes(&entry) > base->binding.size)
            return bd_fail(error, BD_ERROR_ARGUMENT, "variable '%s' does not lie within its base",
                           node->attr.variable.name);
        entry.is_part = true;
        entry.binding = (bd_binding){ .buffer = base->binding.buffer,
                                      .offset = base->binding.offset + offset,
                                      .size = entry_bytes(&entry) ? (entry_bytes(&entry) + 3) / 4 * 4 : 4 };
        if (entry.binding.offset + entry.binding.size > base->binding.size)
            entry.binding.size = base->binding.size - entry.binding.offset;
    }
    if (status != BD_OK)
        return status;
    entry.name = strdup(node->attr.variable.name);
    if (!entry.name)
        return bd_fail(error, BD_ERROR_MEMORY, "out of memory for the variables' table");
    store->entries[store->count++] = entry;
    return BD_OK;
}

bd_status bd_store_add(bd_store *store, const bd_graph *graph, uint64_t seed, bd_error *error)
{
    bd_status status = BD_OK;
    for (int parts = 0; parts < 2; parts++) /* bases first */
        for (bd_tensor t = 0; t < graph->node_count && status == BD_OK; t++) {
            const bd_node *node = &graph->nodes[t];
            if (node->op != BD_OP_VARIABLE || (node->attr.variable.base != BD_NONE) != parts)
                continue;
            const bd_store_entry *known = bd_store_find(store, node->attr.variable.name);
            if (known) {
                if (known->format != node->format || !bd_shape_equal(&known->shape, &node->shape)) {
                    char a[96], b[96];
                    return bd_fail(error, BD_ERROR_ARGUMENT, "variable '%s' is %s %s here and %s %s before",
                                   node->attr.variable.name, bd_format_name(node->format),
                                   bd_shape_text(&node->shape, a, sizeof a), bd_format_name(known->format),
                                   bd_shape_text(&known->shape, b, sizeof b));
                }
                continue;
            }
            status = add_variable(store, graph, t, error);
            if (status == BD_OK)
                status = initialise(store, &store->entries[store->count - 1], &node->attr.variable.init, seed, error);
        }
    return status;
}

/* ---- transfers ---- */

static bd_status locate(const bd_store *store, const char *name, uint64_t offset, uint64_t size, bd_binding *binding,
                        bd_error *error)
{
    const bd_store_entry *entry = bd_store_find(store, name);
    if (!entry)
        return bd_fail(error, BD_ERROR_ARGUMENT, "there is no variable '%s'", name);
    if (offset > entry_bytes(entry) || size > entry_bytes(entry) - offset)
        return bd_fail(error, BD_ERROR_ARGUMENT, "bytes %llu to %llu are outside of variable '%s' of %llu bytes",
                       (unsigned long long)offset, (unsigned long long)(offset + size), name,
                       (unsigned long long)entry_bytes(entry));
    *binding = entry->binding;
    return BD_OK;
}

bd_status bd_store_write_part(bd_store *store, const char *name, uint64_t offset, const void *data, uint64_t size,
                              bd_event **event, bd_error *error)
{
    bd_binding b;
    bd_status status = locate(store, name, offset, size, &b, error);
    if (status != BD_OK || size == 0)
        return status;
    return store->device->backend->buffer_write(store->device, b.buffer, b.offset + offset, data, size, event, error);
}

bd_status bd_store_read_part(bd_store *store, const char *name, uint64_t offset, void *data, uint64_t size,
                             bd_event **event, bd_error *error)
{
    bd_binding b;
    bd_status status = locate(store, name, offset, size, &b, error);
    if (status != BD_OK || size == 0)
        return status;
    return store->device->backend->buffer_read(store->device, b.buffer, b.offset + offset, data, size, event, error);
}

bd_status bd_store_read(bd_store *store, const char *name, void *data, uint64_t size, bd_error *error)
{
    return bd_store_read_part(store, name, 0, data, size, NULL, error);
}

bd_status bd_store_write(bd_store *store, const char *name, const void *data, uint64_t size, bd_error *error)
{
    return bd_store_write_part(store, name, 0, data, size, NULL, error);
}

static bd_status values_storage(bd_store *store, const char *name, size_t count, const bd_store_entry **entry,
                                void **storage, bd_error *error)
{
    *entry = bd_store_find(store, name);
    if (!*entry || (uint64_t)bd_shape_elements(&(*entry)->shape) != count)
        return *entry ? bd_fail(error, BD_ERROR_ARGUMENT, "variable '%s' has %lld elements, not %zu", name,
                                (long long)bd_shape_elements(&(*entry)->shape), count)
                      : bd_fail(error, BD_ERROR_ARGUMENT, "there is no variable '%s'", name);
    *storage = malloc(entry_bytes(*entry) + 1);
    return *storage ? BD_OK : bd_fail(error, BD_ERROR_MEMORY, "out of memory for the values of '%s'", name);
}

bd_status bd_store_read_values(bd_store *store, const char *name, double *values, size_t count, bd_error *error)
{
    const bd_store_entry *entry;
    void *storage;
    bd_status status = values_storage(store, name, count, &entry, &storage, error);
    if (status != BD_OK)
        return status;
    status = bd_store_read(store, name, storage, entry_bytes(entry), error);
    if (status == BD_OK)
        bd_format_decode(entry->format, storage, values, count);
    free(storage);
    return status;
}

bd_status bd_store_write_values(bd_store *store, const char *name, const double *values, size_t count, bd_error *error)
{
    const bd_store_entry *entry;
    void *storage;
    bd_status status = values_storage(store, name, count, &entry, &storage, error);
    if (status != BD_OK)
        return status;
    bd_format_encode(entry->format, values, storage, count);
    status = bd_store_write(store, name, storage, entry_bytes(entry), error);
    free(storage);
    return status;
}
