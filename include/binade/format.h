/* Number formats: how a tensor's values are stored, and exact conversions between them.
 * All functions here are pure and thread safe. */
#ifndef BINADE_FORMAT_H
#define BINADE_FORMAT_H

#include <binade/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum bd_format {
    BD_F32, /* IEEE 754 binary32 */
    BD_F16, /* IEEE 754 binary16 */
    BD_U8,  /* bytes of a data set, read as whole numbers */
    BD_U32, /* indices and counters */
    BD_FORMAT_COUNT
} bd_format;

/* Bytes of one element. */
BD_API size_t bd_format_size(bd_format format);

/* "f32", "f16", "u8", "u32". */
BD_API const char *bd_format_name(bd_format format);

/* Finds a format by its name; false if there is none. */
BD_API bool bd_format_from_name(const char *name, bd_format *format);

/* Nearest representable value, ties to even, overflow to infinity as IEEE 754 says; NaN stays NaN, the sign of zero
 * stays. For U8 and U32 the nearest whole number within range. */
BD_API double bd_round(bd_format format, double value);

/* binary16 bits from a double, one rounding, and back (exact). */
BD_API uint16_t bd_f16_from_double(double value);
BD_API double bd_f16_to_double(uint16_t bits);

/* Converts `count` elements between storage and doubles; `storage` must hold count * bd_format_size(format) bytes. */
BD_API void bd_format_decode(bd_format format, const void *storage, double *values, size_t count);
BD_API void bd_format_encode(bd_format format, const double *values, void *storage, size_t count);

#ifdef __cplusplus
}
#endif
#endif
