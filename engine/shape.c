/* Shapes: how many elements, equal or not, as text. */
#include "node.h"

#include <stdio.h>

int64_t bd_shape_elements(const bd_shape *shape)
{
    if (shape->rank < 0 || shape->rank > BD_MAX_RANK)
        return -1;
    int64_t elements = 1;
    bool empty = false;
    for (int i = 0; i < shape->rank; i++) {
        if (shape->dim[i] < 0)
            return -1;
        if (shape->dim[i] == 0)
            empty = true;
        else if (__builtin_mul_overflow(elements, shape->dim[i], &elements))
            return -1; /* also beside a zero, so that no product of some dimensions overflows either */
    }
    return empty ? 0 : elements;
}

bool bd_shape_equal(const bd_shape *a, const bd_shape *b)
{
    if (a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i])
            return false;
    return true;
}

const char *bd_shape_text(const bd_shape *shape, char *buffer, size_t size)
{
    if (shape->rank < 1 || shape->rank > BD_MAX_RANK) {
        snprintf(buffer, size, shape->rank == 0 ? "scalar" : "rank %d", shape->rank);
        return buffer;
    }
    size_t used = 0;
    for (int i = 0; i < shape->rank && used < size; i++)
        used += (size_t)snprintf(buffer + used, size - used, i ? "x%lld" : "%lld", (long long)shape->dim[i]);
    return buffer;
}
