/* Tensor maps of a program, which backends make by cl/tensor_map.cl when they record it: in one buffer, BD_MAPS_BYTES
 * for each dispatch that is mapped, those of A and B and the addresses that both hold. */
#ifndef BINADE_BACKENDS_TENSOR_MAP_H
#define BINADE_BACKENDS_TENSOR_MAP_H

#include "backend.h"

enum { BD_MAPS_BYTES = 384, BD_MAP_ITEMS = 32, BD_MAP_VALUES = 15 };

/* How many bytes the program's maps take; 0: it has none. */
uint64_t bd_maps_bytes(const bd_program_desc *desc);
/* The values that cl/tensor_map.cl is given behind its two buffers, for the map of operand A (`side` 0) or B (1) of a
 * dispatch whose maps begin at byte `first`. */
void bd_map_values(const bd_dispatch *dispatch, int side, uint64_t first, uint64_t values[BD_MAP_VALUES]);
/* Whether boxes come as they should, tried on an open device through its own backend, `dialect` of whose kernels is
 * OpenCL C (as those of a BD_TILE_WARPGROUP are). False, and no harm done, where anything of it is refused. */
bool bd_probe_tensor_maps(bd_device *device);

#endif
