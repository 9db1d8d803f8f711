/* Where a step needs a barrier: a compute-to-compute barrier costs about ten times a dispatch without one. */
#include "vulkan.h"

#include <stdlib.h>

static bool conflicts(const bd_vk_access *a, const bd_vk_access *b)
{
    return a->buffer == b->buffer && a->begin < b->end && b->begin < a->end && (a->written || b->written);
}

bool bd_vk_hazards_add(bd_vk_hazards *hazards, const bd_binding *bindings, int count, bool *barrier)
{
    *barrier = false;
    for (int i = 0; i < count && !*barrier; i++) {
        const bd_binding *binding = &bindings[i];
        bd_vk_access access = { binding->buffer, binding->offset, binding->offset + binding->size, binding->written };
        for (size_t j = 0; j < hazards->count && !*barrier; j++)
            *barrier = conflicts(&access, &hazards->accesses[j]);
    }
    if (*barrier)
        hazards->count = 0;
    if (hazards->count + (size_t)count > hazards->capacity) {
        size_t capacity = 2 * hazards->capacity + (size_t)count;
        bd_vk_access *grown = realloc(hazards->accesses, capacity * sizeof *grown);
        if (!grown)
            return false;
        hazards->accesses = grown;
        hazards->capacity = capacity;
    }
    for (int i = 0; i < count; i++)
        hazards->accesses[hazards->count++] =
            (bd_vk_access){ bindings[i].buffer, bindings[i].offset, bindings[i].offset + bindings[i].size,
                            bindings[i].written };
    return true;
}

void bd_vk_hazards_finish(bd_vk_hazards *hazards)
{
    free(hazards->accesses);
    *hazards = (bd_vk_hazards){ 0 };
}
