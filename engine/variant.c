/* Names of the variants of contractions and of attention, and which of them a device may use. */
#include "tile.h"

#include <string.h>

const char *bd_variant_name(bd_variant variant)
{
    static const char *const names[BD_VARIANT_COUNT] = {
        "group-128x128",
        "group-128x128-sliced",
        "group-128x64",
        "group-256x32",
        "group-64x64-sliced",
        "group-64x64",
        "group-64x32",
        "group-32x32",
        "group-4x4",
        "vector",
        "vector-conv",
        "vector-weight",
        "simd",
        "matrix",
        "warpgroup",
        "matrix8",
        "warpgroup8",
        "matrix2",
        "resident",
        "attention-matrix",
        "column-sums",
        "library",
        "last-group",
        "tensor-maps",
    };
    return names[variant];
}

bool bd_variant_avoid(bd_target *target, const char *name, size_t length)
{
    bd_variant v = 0;
    while (v < BD_VARIANT_COUNT && (strlen(bd_variant_name(v)) != length || memcmp(name, bd_variant_name(v), length)))
        v++;
    for (int f = 0; f < BD_FORMAT_COUNT && v < BD_VARIANT_COUNT; f++)
        for (int a = 0; a < BD_FORMAT_COUNT; a++)
            target->avoid[f][a] |= 1u << v;
    return v < BD_VARIANT_COUNT;
}

bool bd_variant_allowed(const bd_target *target, const bd_node *node, bd_variant variant)
{
    return !(target->avoid[bd_variant_format(node->format)][node->accumulator] >> variant & 1);
}
