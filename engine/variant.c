/* Names of the variants of contractions and of attention, and which of them a device may use. */
#include "tile.h"

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
        "matrix2",
        "attention-matrix",
        "library",
        "last-group",
    };
    return names[variant];
}

bool bd_variant_allowed(const bd_target *target, const bd_node *node, bd_variant variant)
{
    return !(target->avoid[bd_variant_format(node->format)][node->accumulator] >> variant & 1);
}
