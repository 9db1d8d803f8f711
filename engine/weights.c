/* What a model has learned, out of a trainer and into it. */
#include "trainer.h"

#include "store.h"

#include <stdlib.h>

/* A tensor of what the model has learned, and where it lies: in the parameters' flat vectors, or a variable of its
 * own. */
typedef struct place {
    const char *name;
    int64_t elements;
    const bd_parameter_slot *slot; /* NULL: a statistic */
} place;

static bool find_place(const bd_trainer *trainer, size_t index, place *found)
{
    const bd_layout *layout = &trainer->layout;
    if (index < (size_t)layout->slot_count) {
        const bd_parameter_slot *slot = &layout->slots[index];
        *found = (place){ slot->name, bd_shape_elements(&slot->shape), slot };
        return true;
    }
    size_t left = index - (size_t)layout->slot_count;
    for (size_t i = 0; i < bd_store_count(trainer->store); i++) {
        const bd_store_entry *entry = bd_store_at(trainer->store, i);
        if (entry->role != BD_ROLE_STATISTIC || entry->is_part || left--)
            continue;
        *found = (place){ entry->name, bd_shape_elements(&entry->shape), NULL };
        return true;
    }
    return false;
}

bool bd_trainer_weight(const bd_trainer *trainer, size_t index, const char **name, int64_t *elements)
{
    place found;
    if (!find_place(trainer, index, &found))
        return false;
    *name = found.name;
    *elements = found.elements;
    return true;
}

/* The tensor's bytes in one of the vectors that have it, or in its variable, and room for them on the host. */
typedef struct stretch {
    const char *variable; /* the store's */
    bd_format format;
    uint64_t offset, bytes;
    void *storage;
    double *values;
} stretch;

static bd_status open_stretch(const bd_trainer *trainer, const place *at, const char *vector, stretch *s,
                              bd_error *error)
{
    char name[BD_LAYOUT_NAME];
    const char *variable = at->slot ? bd_layout_vector_name(at->slot->group, vector, name) + 1 : at->name;
    const bd_store_entry *entry = bd_store_find(trainer->store, variable);
    *s = (stretch){ .variable = NULL };
    if (!entry)
        return bd_fail(error, BD_ERROR_ARGUMENT, "there is no variable '%s'", variable);
    const size_t size = bd_format_size(entry->format), count = (size_t)at->elements;
    s->variable = entry->name;
    s->format = entry->format;
    s->offset = at->slot ? (uint64_t)at->slot->offset * size : 0;
    s->bytes = count * size;
    s->storage = malloc(count * size + 1);
    s->values = malloc(count * sizeof *s->values + 1);
    return s->storage && s->values ? BD_OK : bd_fail(error, BD_ERROR_MEMORY, "no memory for '%s'", at->name);
}

static void close_stretch(stretch *s)
{
    free(s->storage);
    free(s->values);
}

static bool has_master(const bd_trainer *trainer, const place *at)
{
    return at->slot && bd_layout_has_master(&trainer->layout.groups[at->slot->group]);
}

static bd_status read_tensor(bd_trainer *trainer, const place *at, float *values, bd_error *error)
{
    const size_t count = (size_t)at->elements;
    stretch s;
    bd_status status = open_stretch(trainer, at, has_master(trainer, at) ? "master" : "weights", &s, error);
    if (!status)
        status = bd_store_read_part(trainer->store, s.variable, s.offset, s.storage, s.bytes, NULL, error);
    if (!status)
        bd_format_decode(s.format, s.storage, s.values, count);
    for (size_t i = 0; i < count && !status; i++)
        values[i] = (float)s.values[i];
    close_stretch(&s);
    return status;
}

static bd_status write_tensor(bd_trainer *trainer, const place *at, const char *vector, const float *values,
                              bd_error *error)
{
    const size_t count = (size_t)at->elements;
    stretch s;
    bd_status status = open_stretch(trainer, at, vector, &s, error);
    if (!status) {
        for (size_t i = 0; i < count; i++)
            s.values[i] = (double)values[i];
        bd_format_encode(s.format, s.values, s.storage, count);
        status = bd_store_write_part(trainer->store, s.variable, s.offset, s.storage, s.bytes, NULL, error);
    }
    close_stretch(&s);
    return status;
}

bd_status bd_trainer_read_weights(bd_trainer *trainer, float *values, bd_error *error)
{
    place at;
    bd_status status = bd_trainer_check_ready(trainer, error);
    if (status)
        return status;
    for (size_t i = 0; !status && find_place(trainer, i, &at); values += at.elements, i++)
        status = read_tensor(trainer, &at, values, error);
    return bd_device_explain_loss(trainer->device->info.id, status, "while weights were read", error);
}

bd_status bd_trainer_write_weights(bd_trainer *trainer, const float *values, bd_error *error)
{
    place at;
    bd_status status = bd_trainer_check_ready(trainer, error);
    if (status)
        return status;
    for (size_t i = 0; !status && find_place(trainer, i, &at); values += at.elements, i++) {
        status = write_tensor(trainer, &at, "weights", values, error);
        if (!status && has_master(trainer, &at))
            status = write_tensor(trainer, &at, "master", values, error);
    }
    return bd_device_explain_loss(trainer->device->info.id, status, "while weights were written", error);
}
