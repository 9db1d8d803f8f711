/* What matrix units make of operands of 8 bits as they are, tried by each backend that reaches some. */
#ifndef BINADE_BACKENDS_PROBE_CODES_H
#define BINADE_BACKENDS_PROBE_CODES_H

#include "../engine/kernel.h"

/* The formats of their operands: numbers that cl/probe_matrix8.cl knows. */
typedef enum bd_unit_code { BD_UNIT_E4M3, BD_UNIT_E5M2, BD_UNIT_S8, BD_UNIT_U8 } bd_unit_code;

/* C = A B, 64x64 by 64x16, of two types: `in` is A, then B; `out` C twice, by either way to load the operands, in
 * floats; BD_ERROR_LOST ends the probe, after any other failure the device is without. */
typedef bd_status (*bd_codes_runner)(void *user, bd_unit_code a, bd_unit_code b, const void *in, size_t in_size,
                                     void *out, size_t out_size, bd_error *error);

/* Sets int8, uint8 and f8_bits, each where all products of its kind came out right. Fails only with BD_ERROR_LOST. */
bd_status bd_probe_codes(bd_codes_runner run, void *user, bd_code_units *units, bd_error *error);

/* Appends what was found of an `instruction` to the device's matrix_units; its f8_sum_bits become those of the units
 * with the fewest. */
void bd_codes_describe(const bd_code_units *units, const char *instruction, bd_device_info *info);

#endif
