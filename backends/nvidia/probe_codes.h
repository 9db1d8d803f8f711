/* What NVIDIA's matrix units make of operands of 8 bits, tried by whichever backend can launch them. */
#ifndef BINADE_BACKENDS_NVIDIA_PROBE_CODES_H
#define BINADE_BACKENDS_NVIDIA_PROBE_CODES_H

#include "../../engine/kernel.h"

/* TYPE_A and TYPE_B of cl/probe_matrix8.cl. */
typedef enum bd_unit_code { BD_UNIT_E4M3, BD_UNIT_E5M2, BD_UNIT_S8, BD_UNIT_U8 } bd_unit_code;

/* Builds cl/probe_matrix8.cl for the two types, runs one group of it, and reads `out`; BD_ERROR_LOST ends the probe, after any other
 * failure the device is without. */
typedef bd_status (*bd_codes_runner)(void *user, bd_unit_code a, bd_unit_code b, const void *in, size_t in_size,
                                     void *out, size_t out_size, bd_error *error);

/* Sets int8, uint8 and f8_bits, each where all products of its kind came out right. Fails only with BD_ERROR_LOST. */
bd_status bd_probe_codes(bd_codes_runner run, void *user, bd_code_units *units, bd_error *error);

/* Appends what was found of an `instruction` to the device's matrix_units; its f8_sum_bits become those of the units with the fewest. */
void bd_codes_describe(const bd_code_units *units, const char *instruction, bd_device_info *info);

#endif
