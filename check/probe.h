/* What a device really does, found by running kernels: how it rounds, and the largest work-group and buffer that
 * work. */
#ifndef BINADE_CHECK_PROBE_H
#define BINADE_CHECK_PROBE_H

#include "case.h"

/* How the engine's kernels round here: F32 a sum of two floats, F16 a float that becomes a half. "to nearest even",
 * "toward zero", "up", "down", "to nearest, ties away", or "irregularly". */
bd_status probe_rounding(session *s, bd_format format, const char **name, bd_error *error);

/* The most work-items, a power of two up to the device's limit, with which a sum through shared memory and barriers is
 * right; 0 if not even one. */
bd_status probe_workgroup(session *s, uint32_t *items, bd_error *error);

/* The most bytes up to `most` of a buffer that can be allocated, is written in every element and read back right:
 * `most`, or found by halving the interval until it is within a sixteenth; 0 if no buffer of 64 KiB works. */
bd_status probe_buffer(session *s, uint64_t most, uint64_t *bytes, bd_error *error);

#endif
