/* Formats and conversions between them. Conversions go through double, which holds every value of every format. */
#include <binade/format.h>

#include <math.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} formats[BD_FORMAT_COUNT] = {
    [BD_F32] = { "f32", sizeof(float) },
    [BD_F16] = { "f16", sizeof(uint16_t) },
    [BD_U8] = { "u8", sizeof(uint8_t) },
    [BD_U32] = { "u32", sizeof(uint32_t) },
};

size_t bd_format_size(bd_format format)
{
    return formats[format].size;
}

const char *bd_format_name(bd_format format)
{
    return formats[format].name;
}

bool bd_format_from_name(const char *name, bd_format *format)
{
    for (int i = 0; i < BD_FORMAT_COUNT; i++) {
        if (strcmp(name, formats[i].name) == 0) {
            *format = (bd_format)i;
            return true;
        }
    }
    return false;
}

/* binary16 and binary64 lay out sign, exponent and mantissa alike. */
enum { DROPPED = 52 - 10 /* mantissa bits */, REBIAS = 1023 - 15 /* of the exponent */ };

/* A normal value needs a new exponent bias and fewer mantissa bits. The carry of the rounding runs into the exponent by itself, up to infinity. */
uint16_t bd_f16_from_double(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 48 & 0x8000);
    double magnitude = fabs(value);
    if (isnan(value))
        return sign | 0x7e00;
    if (magnitude >= 65520.0) /* halfway between the largest value and what would be the next */
        return sign | 0x7c00;
    if (magnitude < 0x1p-14) /* subnormal: a count of 2^-24; 1024 of them have the bits of the smallest normal value */
        return sign | (uint16_t)rint(magnitude * 0x1p24);
    uint64_t rebiased = (bits & INT64_MAX) - ((uint64_t)REBIAS << 52);
    uint64_t odd = rebiased >> DROPPED & 1;
    return sign | (uint16_t)((rebiased + ((UINT64_C(1) << (DROPPED - 1)) - 1) + odd) >> DROPPED);
}

double bd_f16_to_double(uint16_t bits)
{
    uint64_t exponent = bits >> 10 & 0x1f, mantissa = bits & 0x3ff;
    if (exponent == 0x1f)
        return copysign(mantissa ? NAN : INFINITY, bits & 0x8000 ? -1 : 1);
    if (exponent == 0)
        return (bits & 0x8000 ? -0x1p-24 : 0x1p-24) * (double)mantissa;
    uint64_t wide = (uint64_t)(bits & 0x8000) << 48 | (exponent + REBIAS) << 52 | mantissa << DROPPED;
    double value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

static double round_whole(double value, double largest)
{
    if (!(value > 0)) /* NaN too */
        return 0;
    return value < largest ? rint(value) : largest;
}

double bd_round(bd_format format, double value)
{
    switch (format) {
    case BD_F32: return (float)value;
    case BD_F16: return bd_f16_to_double(bd_f16_from_double(value));
    case BD_U8: return round_whole(value, UINT8_MAX);
    case BD_U32: return round_whole(value, UINT32_MAX);
    case BD_FORMAT_COUNT: break;
    }
    return value;
}

void bd_format_decode(bd_format format, const void *storage, double *values, size_t count)
{
#define DECODE(type, convert)                                                                                          \
    for (size_t i = 0; i < count; i++) {                                                                               \
        type element;                                                                                                  \
        memcpy(&element, (const unsigned char *)storage + i * sizeof element, sizeof element);                         \
        values[i] = convert(element);                                                                                  \
    }                                                                                                                  \
    break
    switch (format) {
    case BD_F32: DECODE(float, );
    case BD_F16: DECODE(uint16_t, bd_f16_to_double);
    case BD_U8: DECODE(uint8_t, );
    case BD_U32: DECODE(uint32_t, );
    case BD_FORMAT_COUNT: break;
    }
#undef DECODE
}

void bd_format_encode(bd_format format, const double *values, void *storage, size_t count)
{
#define ENCODE(type, convert)                                                                                          \
    for (size_t i = 0; i < count; i++) {                                                                               \
        type element = (type)convert;                                                                                  \
        memcpy((unsigned char *)storage + i * sizeof element, &element, sizeof element);                               \
    }                                                                                                                  \
    break
    switch (format) {
    case BD_F32: ENCODE(float, values[i]);
    case BD_F16: ENCODE(uint16_t, bd_f16_from_double(values[i]));
    case BD_U8: ENCODE(uint8_t, bd_round(BD_U8, values[i]));
    case BD_U32: ENCODE(uint32_t, bd_round(BD_U32, values[i]));
    case BD_FORMAT_COUNT: break;
    }
#undef ENCODE
}
