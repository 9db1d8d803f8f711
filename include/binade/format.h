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

/* Formats with a name of their own come first. From BD_FORMAT_COUNT to BD_FORMAT_END - 1 are the floats of X bits of
 * exponent and Y of mantissa, eXmY, from e2m0 to e8m23: bd_format_exmy() makes them. */
typedef enum bd_format {
    BD_F32,    /* IEEE 754 binary32 */
    BD_F16,    /* IEEE 754 binary16 */
    BD_U8,     /* bytes of a data set, read as whole numbers */
    BD_U32,    /* indices and counters */
    BD_BF16,   /* the upper half of a binary32 */
    BD_F8E4M3, /* OCP 8-bit floating point: no infinity, one NaN, 448 at most (Micikevicius et al., arXiv:2209.05433) */
    BD_F8E5M2, /* the same with a wider exponent, like IEEE: the upper half of a binary16 */
    BD_I8,     /* whole numbers from -128 to 127; a scale beside them gives them meaning */
    BD_I4,     /* whole numbers from -8 to 7, a byte each */
    BD_I3,     /* from -4 to 3, a byte each */
    BD_I2,     /* from -2 to 1, a byte each */
    BD_FORMAT_COUNT,
    BD_FORMAT_END = BD_FORMAT_COUNT + 7 * 24
} bd_format;

typedef enum bd_format_kind {
    BD_KIND_FLOAT,   /* sign, exponent, mantissa, subnormals as IEEE 754 has them */
    BD_KIND_SIGNED,  /* two's complement */
    BD_KIND_UNSIGNED /* of data sets, not of policies */
} bd_format_kind;

/* All there is to know of a format. A float's value is (-1)^s 2^(e - bias) (1 + m 2^-Y), or (-1)^s 2^(1 - bias) m 2^-Y
 * where the exponent e is 0. The largest e is infinity (m = 0) and NaN; without infinity only the last m of it is NaN
 * if there is a mantissa (e4m3), and all of it if there is none (eXm0). */
typedef struct bd_format_info {
    const char *name;
    bd_format_kind kind;
    int bits; /* of the format; an element takes the next 1, 2 or 4 bytes. Floats of more than 16 are stored as binary32 */
    size_t size;                            /* bytes of an element */
    int exponent_bits, mantissa_bits, bias; /* floats */
    bool infinity;                          /* floats */
    double largest;                         /* finite value; of BD_KIND_SIGNED the least is -largest - 1 */
    double least_normal, least;             /* floats: above 0 */
} bd_format_info;

/* False for numbers that are no format. */
BD_API bool bd_format_exists(bd_format format);

BD_API bd_format_info bd_format_describe(bd_format format);

/* Bytes of one element. */
BD_API size_t bd_format_size(bd_format format);

/* "f32", "f16", "u8", "u32", "bf16", "f8e4m3", "f8e5m2", "int8" to "int2", "e3m2". */
BD_API const char *bd_format_name(bd_format format);

/* Finds a format by its name; false if there is none. What has a name of its own is also found as eXmY: "e5m10" is f16,
 * "e8m7" bf16, "e4m3" the f8e4m3 without infinity. */
BD_API bool bd_format_from_name(const char *name, bd_format *format);

/* The float of 2 to 8 bits of exponent and 0 to 23 of mantissa. */
BD_API bd_format bd_format_exmy(int exponent_bits, int mantissa_bits);

/* Whether every value of `narrow` is one of `wide`. */
BD_API bool bd_format_holds(bd_format wide, bd_format narrow);

/* How a value between two neighbours of a format is rounded. */
typedef enum bd_round_mode {
    BD_ROUND_NEAREST, /* the nearer one, of two as near the even one */
    BD_ROUND_ZERO,    /* the one nearer to zero; nothing finite becomes infinite */
    BD_ROUND_MASK,    /* the mantissa's last bits are cut off and the exponent is clipped: as ZERO, but no subnormals */
    BD_ROUND_STOCHASTIC, /* the one farther from zero with the probability that makes the mean the value */
    BD_ROUND_MODE_COUNT
} bd_round_mode;

/* A mode, and what becomes of values beyond the largest: infinity (NaN where there is none), or, saturating, the
 * largest. Whole numbers saturate always, and NaN becomes 0 in them. */
typedef struct bd_rounding_rule {
    bd_round_mode mode;
    bool saturate;
} bd_rounding_rule;

/* "nearest", "zero", "mask", "stochastic". */
BD_API const char *bd_round_mode_name(bd_round_mode mode);

/* The value rounded once. `random` is of use for BD_ROUND_STOCHASTIC: 32 bits, as a number r; a value at t of the way
 * from the neighbour nearer to zero to the other goes to the other if t + r 2^-32 >= 1. NaN stays NaN, the sign of zero
 * stays. */
BD_API double bd_round_by(bd_format format, bd_rounding_rule rule, uint32_t random, double value);

/* The same to the nearest, overflow to infinity as IEEE 754 says. */
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
