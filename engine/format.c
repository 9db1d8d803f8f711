/* Formats and conversions between them. Conversions go through double, which holds every value of every format. */
#include <binade/format.h>

#include <math.h>
#include <string.h>

/* ---- what formats there are ---- */

typedef struct row {
    const char *name;
    bd_format_kind kind;
    int bits, exponent_bits, mantissa_bits;
    bool infinity;
} row;

static const row named[BD_FORMAT_COUNT] = {
    [BD_F32] = { "f32", BD_KIND_FLOAT, 32, 8, 23, true },     [BD_F16] = { "f16", BD_KIND_FLOAT, 16, 5, 10, true },
    [BD_U8] = { "u8", BD_KIND_UNSIGNED, 8, 0, 0, false },     [BD_U32] = { "u32", BD_KIND_UNSIGNED, 32, 0, 0, false },
    [BD_BF16] = { "bf16", BD_KIND_FLOAT, 16, 8, 7, true },    [BD_F8E4M3] = { "f8e4m3", BD_KIND_FLOAT, 8, 4, 3, false },
    [BD_F8E5M2] = { "f8e5m2", BD_KIND_FLOAT, 8, 5, 2, true }, [BD_I8] = { "int8", BD_KIND_SIGNED, 8, 0, 0, false },
    [BD_I4] = { "int4", BD_KIND_SIGNED, 4, 0, 0, false },     [BD_I3] = { "int3", BD_KIND_SIGNED, 3, 0, 0, false },
    [BD_I2] = { "int2", BD_KIND_SIGNED, 2, 0, 0, false },
};

enum { LEAST_EXPONENT_BITS = 2, MOST_EXPONENT_BITS = 8, MANTISSAS = 24 };
_Static_assert((MOST_EXPONENT_BITS - LEAST_EXPONENT_BITS + 1) * MANTISSAS == BD_FORMAT_END - BD_FORMAT_COUNT,
               "a number for each eXmY");

#define NAMES(x)                                                                                                       \
    {                                                                                                                  \
        "e" x "m0", "e" x "m1", "e" x "m2", "e" x "m3", "e" x "m4", "e" x "m5", "e" x "m6", "e" x "m7", "e" x "m8",    \
            "e" x "m9", "e" x "m10", "e" x "m11", "e" x "m12", "e" x "m13", "e" x "m14", "e" x "m15", "e" x "m16",     \
            "e" x "m17", "e" x "m18", "e" x "m19", "e" x "m20", "e" x "m21", "e" x "m22", "e" x "m23"                  \
    }
static const char exmy_names[][MANTISSAS][8] = { NAMES("2"), NAMES("3"), NAMES("4"), NAMES("5"),
                                                 NAMES("6"), NAMES("7"), NAMES("8") };
#undef NAMES

static row row_of(bd_format format)
{
    if (format < BD_FORMAT_COUNT)
        return named[format];
    const int number = (int)format - BD_FORMAT_COUNT, mantissa = number % MANTISSAS;
    const int exponent = LEAST_EXPONENT_BITS + number / MANTISSAS;
    return (row){ exmy_names[number / MANTISSAS][mantissa],
                  BD_KIND_FLOAT,
                  1 + exponent + mantissa,
                  exponent,
                  mantissa,
                  mantissa > 0 };
}

static size_t size_of(int bits)
{
    return bits <= 8 ? 1 : bits <= 16 ? 2 : 4;
}

bool bd_format_exists(bd_format format)
{
    return (unsigned)format < BD_FORMAT_END;
}

bd_format_info bd_format_describe(bd_format format)
{
    const row r = row_of(format);
    bd_format_info info = { .name = r.name, .kind = r.kind, .bits = r.bits, .size = size_of(r.bits) };
    if (r.kind == BD_KIND_SIGNED) {
        info.largest = ldexp(1, r.bits - 1) - 1;
    } else if (r.kind == BD_KIND_UNSIGNED) {
        info.largest = ldexp(1, r.bits) - 1;
    } else {
        info.exponent_bits = r.exponent_bits;
        info.mantissa_bits = r.mantissa_bits;
        info.bias = (1 << (r.exponent_bits - 1)) - 1;
        info.infinity = r.infinity;
        /* The last exponent is special; only its last mantissa without infinity, if there is one. */
        const bool last_counts = !r.infinity && r.mantissa_bits > 0;
        const int last = (1 << r.exponent_bits) - (last_counts ? 1 : 2) - info.bias;
        const double spacing = ldexp(1, -r.mantissa_bits);
        info.largest = ldexp(last_counts ? 2 - 2 * spacing : 2 - spacing, last);
        info.least_normal = ldexp(1, 1 - info.bias);
        info.least = r.mantissa_bits ? info.least_normal * spacing : info.least_normal;
    }
    return info;
}

size_t bd_format_size(bd_format format)
{
    return size_of(row_of(format).bits);
}

const char *bd_format_name(bd_format format)
{
    return row_of(format).name;
}

bd_format bd_format_exmy(int exponent_bits, int mantissa_bits)
{
    for (int i = 0; i < BD_FORMAT_COUNT; i++)
        if (named[i].kind == BD_KIND_FLOAT && named[i].exponent_bits == exponent_bits &&
            named[i].mantissa_bits == mantissa_bits)
            return (bd_format)i;
    return (bd_format)(BD_FORMAT_COUNT + (exponent_bits - LEAST_EXPONENT_BITS) * MANTISSAS + mantissa_bits);
}

bool bd_format_from_name(const char *name, bd_format *format)
{
    for (int i = 0; i < BD_FORMAT_COUNT; i++) {
        if (strcmp(name, named[i].name) == 0) {
            *format = (bd_format)i;
            return true;
        }
    }
    for (int exponent = LEAST_EXPONENT_BITS; exponent <= MOST_EXPONENT_BITS; exponent++) {
        for (int mantissa = 0; mantissa < MANTISSAS; mantissa++) {
            if (strcmp(name, exmy_names[exponent - LEAST_EXPONENT_BITS][mantissa]) == 0) {
                *format = bd_format_exmy(exponent, mantissa);
                return true;
            }
        }
    }
    return false;
}

/* Digits of the longest number, the largest and the least magnitude. */
static void extent_of(bd_format format, int *digits, double *largest, double *least)
{
    const bd_format_info info = bd_format_describe(format);
    const bool is_float = info.kind == BD_KIND_FLOAT;
    *digits = is_float ? info.mantissa_bits + 1 : info.kind == BD_KIND_SIGNED ? info.bits - 1 : info.bits;
    *largest = info.kind == BD_KIND_SIGNED ? info.largest + 1 : info.largest;
    *least = is_float ? info.least : 1;
}

bool bd_format_holds(bd_format wide, bd_format narrow)
{
    const bd_format_info w = bd_format_describe(wide), n = bd_format_describe(narrow);
    int digits[2];
    double largest[2], least[2];
    extent_of(wide, &digits[0], &largest[0], &least[0]);
    extent_of(narrow, &digits[1], &largest[1], &least[1]);
    if (wide == narrow)
        return true;
    return w.kind == BD_KIND_FLOAT && digits[0] >= digits[1] && largest[0] >= largest[1] && least[0] <= least[1] &&
           (w.infinity || !n.infinity);
}

/* ---- rounding ---- */

const char *bd_round_mode_name(bd_round_mode mode)
{
    static const char *const names[BD_ROUND_MODE_COUNT] = { "nearest", "zero", "mask", "stochastic" };
    return names[mode];
}

/* A magnitude in units of the spacing there, rounded to a whole number of them. */
static double round_units(bd_round_mode mode, uint32_t random, double units)
{
    const double whole = floor(units), rest = units - whole;
    bool up = false;
    if (mode == BD_ROUND_NEAREST)
        up = rest > 0.5 || (rest == 0.5 && fmod(whole, 2) != 0); /* of two odd ones (eXm0) the larger, as IEEE 754 */
    else if (mode == BD_ROUND_STOCHASTIC)
        up = rest >= 1 - random * 0x1p-32; /* exact, as rest + random * 2^-32 would not be */
    return up ? whole + 1 : whole;
}

static double round_whole(const bd_format_info *info, bd_rounding_rule rule, uint32_t random, double value)
{
    const double most = info->largest, least = info->kind == BD_KIND_SIGNED ? -most - 1 : 0;
    if (isnan(value))
        return 0;
    const double limited = fmin(fmax(value, least), most);
    return copysign(round_units(rule.mode, random, fabs(limited)), limited) + 0.0; /* no negative zero */
}

/* The exponent of the spacing at a magnitude that is neither 0 nor infinite. */
static int spacing_at(const bd_format_info *info, double magnitude)
{
    const int exponent = ilogb(magnitude), least = 1 - info->bias;
    return (exponent > least ? exponent : least) - info->mantissa_bits;
}

static double round_float(const bd_format_info *info, bd_rounding_rule rule, uint32_t random, double value)
{
    double magnitude = fabs(value);
    if (isnan(value) || magnitude == 0)
        return value;
    const bool cuts = rule.mode == BD_ROUND_ZERO || rule.mode == BD_ROUND_MASK;
    if (isfinite(magnitude)) {
        const int spacing = spacing_at(info, magnitude);
        if (rule.mode == BD_ROUND_MASK && magnitude < info->least_normal)
            magnitude = 0;
        magnitude = ldexp(round_units(rule.mode, random, ldexp(magnitude, -spacing)), spacing);
        if (magnitude <= info->largest)
            return copysign(magnitude, value);
        if (cuts)
            return copysign(info->largest, value);
    }
    return copysign(rule.saturate ? info->largest : info->infinity ? INFINITY : NAN, value);
}

/* ---- binary16, apart because it is most of what is converted ---- */

/* binary16 and binary64 lay out sign, exponent and mantissa alike. */
enum { DROPPED = 52 - 10 /* mantissa bits */, REBIAS = 1023 - 15 /* of the exponent */ };

/* A normal value needs a new exponent bias and fewer mantissa bits. The carry of the rounding runs into the exponent by
 * itself, up to infinity. */
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

double bd_round_by(bd_format format, bd_rounding_rule rule, uint32_t random, double value)
{
    const bd_format_info info = bd_format_describe(format);
    return info.kind == BD_KIND_FLOAT ? round_float(&info, rule, random, value)
                                      : round_whole(&info, rule, random, value);
}

double bd_round(bd_format format, double value)
{
    switch (format) {
    case BD_F32: return (float)value;
    case BD_F16: return bd_f16_to_double(bd_f16_from_double(value));
    default: return bd_round_by(format, (bd_rounding_rule){ BD_ROUND_NEAREST, false }, 0, value);
    }
}

/* ---- storage ---- */

/* Floats of up to 16 bits: sign, exponent, mantissa. A value of the format has a whole number of spacings; from 2^Y on,
 * where the exponent is not 0, one of them is the exponent's. */
static uint16_t pack_float(const bd_format_info *info, double value)
{
    const int y = info->mantissa_bits, last = (1 << info->exponent_bits) - 1;
    const uint32_t sign = signbit(value) ? 1u << (info->bits - 1) : 0, special = (uint32_t)last << y;
    const double magnitude = fabs(value);
    if (isnan(value))
        return (uint16_t)(sign | (info->infinity ? special | 1u << (y - 1) : special | ((1u << y) - 1)));
    if (isinf(value))
        return (uint16_t)(sign | special);
    if (magnitude == 0)
        return (uint16_t)sign;
    const int spacing = spacing_at(info, magnitude);
    const uint32_t units = (uint32_t)ldexp(magnitude, -spacing);
    const int exponent =
        spacing + y + info->bias; /* at least 1: a subnormal has fewer units than 2^Y, and so none of it */
    return (uint16_t)(sign | (((uint32_t)(exponent - 1) << y) + units));
}

static double unpack_float(const bd_format_info *info, uint16_t bits)
{
    const int y = info->mantissa_bits, last = (1 << info->exponent_bits) - 1;
    const int exponent = bits >> y & last, mantissa = bits & ((1 << y) - 1);
    const bool special = info->infinity ? exponent == last : exponent == last && mantissa == (1 << y) - 1;
    const double sign = bits >> (info->bits - 1) & 1 ? -1 : 1;
    if (special)
        return copysign(info->infinity && mantissa == 0 ? INFINITY : NAN, sign);
    const int units = exponent ? mantissa + (1 << y) : mantissa;
    return sign * ldexp(units, (exponent ? exponent : 1) - info->bias - y);
}

static uint16_t pack(const bd_format_info *info, double value)
{
    return info->kind == BD_KIND_SIGNED ? (uint8_t)(int8_t)value : pack_float(info, value);
}

static double unpack(const bd_format_info *info, uint16_t bits)
{
    return info->kind == BD_KIND_SIGNED ? (double)(int8_t)bits : unpack_float(info, bits);
}

void bd_format_decode(bd_format format, const void *storage, double *values, size_t count)
{
    const bd_format_info info = bd_format_describe(format);
#define DECODE(type, convert)                                                                                          \
    for (size_t i = 0; i < count; i++) {                                                                               \
        type element;                                                                                                  \
        memcpy(&element, (const unsigned char *)storage + i * sizeof element, sizeof element);                         \
        values[i] = convert;                                                                                           \
    }
    if (format == BD_U32)
        DECODE(uint32_t, element)
    else if (format == BD_U8)
        DECODE(uint8_t, element)
    else if (format == BD_F16)
        DECODE(uint16_t, bd_f16_to_double(element))
    else if (info.size == sizeof(float))
        DECODE(float, element)
    else if (info.size == sizeof(uint16_t))
        DECODE(uint16_t, unpack(&info, element))
    else
        DECODE(uint8_t, unpack(&info, element))
#undef DECODE
}

void bd_format_encode(bd_format format, const double *values, void *storage, size_t count)
{
    const bd_format_info info = bd_format_describe(format);
#define ENCODE(type, convert)                                                                                          \
    for (size_t i = 0; i < count; i++) {                                                                               \
        type element = (type)(convert);                                                                                \
        memcpy((unsigned char *)storage + i * sizeof element, &element, sizeof element);                               \
    }
    if (format == BD_U32)
        ENCODE(uint32_t, bd_round(format, values[i]))
    else if (format == BD_U8)
        ENCODE(uint8_t, bd_round(format, values[i]))
    else if (format == BD_F16)
        ENCODE(uint16_t, bd_f16_from_double(values[i]))
    else if (info.size == sizeof(float))
        ENCODE(float, bd_round(format, values[i]))
    else if (info.size == sizeof(uint16_t))
        ENCODE(uint16_t, pack(&info, bd_round(format, values[i])))
    else
        ENCODE(uint8_t, pack(&info, bd_round(format, values[i])))
#undef ENCODE
}
