/* Products of 8-bit operands by mma.sync and wgmma: whether they are right, and how many bits sums of floats keep. No
 * document of NVIDIA's says how many; of Hopper's wgmma others found 13 behind the leading one (Xie et al.,
 * arXiv:2511.10909; about 14 in all: DeepSeek-V3, arXiv:2412.19437). So they are counted. */
#include "probe_codes.h"

#include <binade/format.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { M = 64, N = 16, K = 64, MOST_BITS = 23, BYTES = (M + N) * K, RESULTS = 2 * M * N };

static const bd_format formats[] = { BD_F8E4M3, BD_F8E5M2, BD_I8, BD_U8 };

typedef struct trial {
    bd_codes_runner run;
    void *user;
    bd_unit_code types[2];
    double a[M * K], b[K * N];
    float out[RESULTS];
} trial;

static bd_status multiply(trial *t, bd_error *error)
{
    uint8_t in[BYTES];
    bd_format_encode(formats[t->types[0]], t->a, in, M * K);
    bd_format_encode(formats[t->types[1]], t->b, in + M * K, K * N);
    return t->run(t->user, t->types[0], t->types[1], in, sizeof in, t->out, sizeof t->out, error);
}

/* Numbers whose sums are whole in steps of the least ones, and below 2^13 of these where they are floats: exact in any
 * order. Floats are subnormal on one side. */
static bd_status try_products(trial *t, bool *right, bd_error *error)
{
    const bd_format_info info = bd_format_describe(formats[t->types[0]]);
    const bool whole = info.kind != BD_KIND_FLOAT;
    for (int i = 0; i < M * K; i++)
        t->a[i] = whole ? (i * 37 + i / K * 11) % 256 - (info.kind == BD_KIND_SIGNED ? 128 : 0)
                        : ldexp(i * 7 % 11 - 5 + i % 3, ilogb(info.least));
    for (int i = 0; i < K * N; i++)
        t->b[i] = whole ? (i * 41 + i / N * 13) % 256 - 128 : i * 5 % 13 - 6 - i % 2;
    const bd_status status = multiply(t, error);
    *right = status == BD_OK;
    for (int i = 0; i < RESULTS && *right; i++) {
        double sum = 0;
        for (int k = 0; k < K; k++)
            sum += t->a[i / N % M * K + k] * t->b[k * N + i % N];
        *right = t->out[i] == (float)sum;
    }
    return status;
}

/* Where a row's addends lie: 2^-s that is added to one, or to sixteen, in the same instruction; to one of the
 * instruction before; and what comes before the one. Steps from 0 on and from 48 on are those of ones, the others those
 * of 2^-s. */
static const struct {
    int first, ones, small;
} sums[] = { { 0, 1, 16 }, { 0, 1, 32 }, { 48, 1, 16 }, { 0, 16, 16 } };

/* The least distance from the leading bit at which a bit is lost, of those that the formats can make: lowers *least. */
static bd_status count_bits(trial *t, int *least, bd_error *error)
{
    for (int i = 0; i < M * K; i++)
        t->a[i] = 0;
    int exponents[2][N]; /* of the factors that make 2^-s */
    for (int side = 0; side < 2; side++)
        for (int i = 0; i < N; i++)
            exponents[side][i] = (int)fmin(i, -ilogb(bd_format_describe(formats[t->types[side]]).least));
    for (int row = 0; row < M; row++) {
        for (int k = 0; k < sums[row / N].ones; k++)
            t->a[row * K + sums[row / N].first + k] = 1;
        t->a[row * K + sums[row / N].small] = ldexp(1, -exponents[0][row % N]);
    }
    for (int i = 0; i < K * N; i++)
        t->b[i] = i / N < 16 || i / N >= 48 ? 1 : ldexp(1, -exponents[1][i % N]);
    const bd_status status = multiply(t, error);
    for (int i = 0; i < RESULTS && status == BD_OK; i++) {
        const int row = i / N % M, shift = exponents[0][row % N] + exponents[1][i % N], ones = sums[row / N].ones;
        const int distance = shift + ilogb(ones);
        if (distance < *least && t->out[i] != (float)(ones + ldexp(1, -shift)))
            *least = distance;
    }
    return status;
}

/* Whether products of these types are right; of floats, `least` as above. */
static bd_status try_pair(bd_codes_runner run, void *user, bd_unit_code a, bd_unit_code b, bool *right, int *least,
                          bd_error *error)
{
    trial t = { .run = run, .user = user, .types = { a, b } };
    bd_status status = try_products(&t, right, error);
    if (*right && least)
        status = count_bits(&t, least, error);
    *right &= status == BD_OK;
    return status;
}

bd_status bd_probe_codes(bd_codes_runner run, void *user, bd_code_units *units, bd_error *error)
{
    static const bd_unit_code floats[] = { BD_UNIT_E4M3, BD_UNIT_E5M2 };
    int least = MOST_BITS + 1;
    bool right = true;
    bd_status status = try_pair(run, user, BD_UNIT_S8, BD_UNIT_S8, &units->int8, NULL, error);
    if (status != BD_ERROR_LOST)
        status = try_pair(run, user, BD_UNIT_U8, BD_UNIT_S8, &units->uint8, NULL, error);
    for (int i = 0; i < 4 && right && status != BD_ERROR_LOST; i++)
        status = try_pair(run, user, floats[i / 2], floats[i % 2], &right, &least, error);
    if (status == BD_ERROR_LOST)
        return status;
    units->f8_bits = right ? (uint32_t)least - 1 : 0;
    return BD_OK;
}

void bd_codes_describe(const bd_code_units *units, const char *instruction, bd_device_info *info)
{
    const size_t used = strlen(info->matrix_units), size = sizeof info->matrix_units - used;
    char bits[64] = "";
    if (units->f8_bits)
        snprintf(bits, sizeof bits, "fp8, whose sums keep %u bits after the first", units->f8_bits);
    if (units->int8 || units->f8_bits)
        snprintf(info->matrix_units + used, size, "; %s, %s%s%s", instruction, units->int8 ? "int8" : "",
                 units->int8 && units->f8_bits ? " and " : "", bits);
    if (units->f8_bits && (info->f8_sum_bits == 0 || units->f8_bits < info->f8_sum_bits))
        info->f8_sum_bits = units->f8_bits;
}
