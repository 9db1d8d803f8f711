/* Kernels that find out what a driver's halves are worth. They call the very prelude functions that training will call,
 * with the driver's own conversions and arithmetic switched on, on inputs where implementations differ. What came out
 * is kept in the cache for this device, driver and kernel text. */
#include "vulkan.h"

#include "../../engine/cache.h"
#include "../../engine/embedded.h"
#include "../../engine/philox.h"
#include "../../engine/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUP_SIZE 64
#define HALVES 65536u
/* Every half, the tie above it, and the floats beside that tie. */
#define SAMPLES (4 * HALVES)
/* Pairs for arithmetic: these specials with each other, and random bits. */
#define SPECIALS 32u
#define PAIRS (SPECIALS * SPECIALS + 64u * 1024u)

typedef struct probe_result {
    uint8_t conversion_exact, arithmetic_exact, subnormals, subnormals_f32, texels_exact, half_round;
    uint8_t bf16, bf16_joined; /* matrices of it */
    uint32_t rounding;
    bd_code_units codes;
} probe_result;

static const char conversion_text[] = "layout(local_size_x = 64) in;\n"
                                      "layout(set = 0, binding = 0) readonly buffer B0 { uint b0[]; };\n"
                                      "layout(set = 0, binding = 1) buffer B1 { BD_TYPE_f16 b1[]; };\n"
                                      "layout(set = 0, binding = 2) readonly buffer B2 { BD_TYPE_f16 b2[]; };\n"
                                      "layout(set = 0, binding = 3) buffer B3 { uint b3[]; };\n"
                                      "void main()\n"
                                      "{\n"
                                      "    uint i = gl_GlobalInvocationID.x;\n"
                                      "    BD_STORE_f16(b1, i, uintBitsToFloat(b0[i]));\n"
                                      "    if (i < 65536u) b3[i] = floatBitsToUint(BD_LOAD_f16(b2, i));\n"
                                      "}\n";

static const char round_text[] = "layout(local_size_x = 64) in;\n"
                                 "layout(set = 0, binding = 0) readonly buffer B0 { uint b0[]; };\n"
                                 "layout(set = 0, binding = 1) buffer B1 { uint b1[]; };\n"
                                 "void main()\n"
                                 "{\n"
                                 "    uint i = gl_GlobalInvocationID.x;\n"
                                 "    b1[i] = floatBitsToUint(bd_round_f16(uintBitsToFloat(b0[i])));\n"
                                 "}\n";

static const char arithmetic_text[] = "layout(local_size_x = 64) in;\n"
                                      "layout(set = 0, binding = 0) readonly buffer B0 { vec2 b0[]; };\n"
                                      "layout(set = 0, binding = 1) buffer B1 { uint b1[]; };\n"
                                      "void main()\n"
                                      "{\n"
                                      "    uint i = gl_GlobalInvocationID.x;\n"
                                      "    float a = b0[i].x, b = b0[i].y;\n"
                                      "    b1[3u * i] = floatBitsToUint(BD_ADD_f16(a, b));\n"
                                      "    b1[3u * i + 1u] = floatBitsToUint(BD_SUB_f16(a, b));\n"
                                      "    b1[3u * i + 2u] = floatBitsToUint(BD_MUL_f16(a, b));\n"
                                      "}\n";

/* Every format of texels. */
static const char texel_text[] = "layout(local_size_x = 64) in;\n"
                                 "layout(set = 0, binding = 0) buffer B0 { uint b0[]; };\n"
                                 "layout(set = 0, binding = 1) uniform BD_TEXELS_f16 t1;\n"
                                 "layout(set = 0, binding = 2) uniform BD_TEXELS_f16 t2;\n"
                                 "layout(set = 0, binding = 3) uniform BD_TEXELS_f16 t3;\n"
                                 "layout(set = 0, binding = 4) uniform BD_TEXELS_f32 t4;\n"
                                 "layout(set = 0, binding = 5) uniform BD_TEXELS_f32 t5;\n"
                                 "layout(set = 0, binding = 6) uniform BD_TEXELS_f32 t6;\n"
                                 "layout(set = 0, binding = 7) uniform BD_TEXELS_u32 t7;\n"
                                 "layout(set = 0, binding = 8) uniform BD_TEXELS_u8 t8;\n"
                                 "void main()\n"
                                 "{\n"
                                 "    uint i = gl_GlobalInvocationID.x;\n"
                                 "    b0[8u * i] = floatBitsToUint(BD_FETCH(t1, i));\n"
                                 "    b0[8u * i + 1u] = floatBitsToUint(BD_FETCH2(t2, i));\n"
                                 "    b0[8u * i + 2u] = floatBitsToUint(BD_FETCH4(t3, i));\n"
                                 "    b0[8u * i + 3u] = floatBitsToUint(BD_FETCH(t4, i));\n"
                                 "    b0[8u * i + 4u] = floatBitsToUint(BD_FETCH2(t5, i));\n"
                                 "    b0[8u * i + 5u] = floatBitsToUint(BD_FETCH4(t6, i));\n"
                                 "    b0[8u * i + 6u] = BD_FETCHU(t7, i);\n"
                                 "    b0[8u * i + 7u] = BD_FETCHU(t8, i);\n"
                                 "}\n";

static const char subnormal_text[] = "layout(local_size_x = 1) in;\n"
                                     "layout(set = 0, binding = 0) buffer B0 { float b0[]; };\n"
                                     "void main() { BD_VALUE sum = b0[0] + b0[1]; b0[2] = sum; }\n";

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float half_value(uint32_t bits)
{
    return (float)bd_f16_to_double((uint16_t)bits);
}

/* Equal, or both NaN. */
static bool same(uint32_t got, float expected)
{
    return isnan(expected) ? (got & 0x7fffffffu) > 0x7f800000u : got == bits_of(expected);
}

/* Zero came out where a subnormal half was due. */
static bool flushed(uint32_t got, float expected)
{
    return expected != 0 && fabsf(expected) < 0x1p-14f && (got & 0x7fffffffu) == 0;
}

/* A half's tie with the next larger in magnitude; finite halves only. */
static float tie_above(uint32_t half)
{
    float next = (half & 0x7fffu) == 0x7bffu ? 65536.0f : half_value((half & 0x7fffu) + 1);
    return copysignf((fabsf(half_value(half)) + next) / 2, half_value(half));
}

static float toward_zero(float x)
{
    double rounded = bd_f16_to_double(bd_f16_from_double(x));
    if (fabs(rounded) > fabsf(x))
        rounded = bd_f16_to_double((uint16_t)(bd_f16_from_double(x) - 1));
    return (float)rounded;
}

/* ---- running ---- */

/* The ways to round that bd_round_f16 knows as BD_HALF_ROUND; the first that is exact is taken. */
enum { ROUND_BY_ARITHMETIC, ROUND_BY_HALF_TYPE, ROUND_BY_PACKING, ROUND_METHODS };

static char *source_of(const bd_vk_device *device, bool arithmetic, int round, const char *body)
{
    const char *prelude = bd_embedded_text("shaders/prelude.comp");
    bd_text text = { 0 };
    bd_text_append(&text,
                   "#define BD_HALF_STORAGE %d\n#define BD_HALF_CONVERSION 1\n#define BD_HALF_ARITHMETIC %d\n"
                   "#define BD_HALF_ROUND %d\n",
                   device->base.info.half.storage, arithmetic, round);
    bd_text_append_raw(&text, prelude, strlen(prelude));
    bd_text_append_raw(&text, body, strlen(body));
    return text.data;
}

#define MOST_BUFFERS 9
#define PROBE_ITEMS 128 /* of a launch; shaders say it themselves */

bd_status bd_vk_probe_run(bd_vk_device *device, const char *source, bd_tile_kind kind, uint32_t groups, uint32_t runs,
                          const bd_vk_probe_buffer *data, int count, bd_error *error)
{
    bd_device *base = &device->base;
    bd_kernel kernel = {
        .name = "probe", .local = { PROBE_ITEMS, 1, 1 }, .groups = { groups, 1, 1 }, .tile = { .kind = kind }
    };
    bd_binding bindings[MOST_BUFFERS] = { 0 };
    bd_dispatch dispatch = { .kernel = &kernel, .source = source, .bindings = bindings, .binding_count = count };
    bd_program_desc desc = { .dispatches = &dispatch, .dispatch_count = 1 };
    bd_backend_program *program = NULL;
    bd_status status = source ? BD_OK : bd_fail(error, BD_ERROR_MEMORY, "no memory for a probe");
    for (int i = 0; i < count && status == BD_OK; i++) {
        bindings[i].size = data[i].size;
        bindings[i].written = data[i].written;
        bindings[i].access = data[i].access;
        bindings[i].format = data[i].format;
        status = bd_vk_buffer_create(base, data[i].size, &bindings[i].buffer, error);
        if (status == BD_OK)
            status = bd_vk_buffer_write(base, bindings[i].buffer, 0, data[i].data, data[i].size, NULL, error);
    }
    if (status == BD_OK)
        status = bd_vk_program_create(base, &desc, &program, error);
    if (status == BD_OK)
        status = bd_vk_program_run(base, program, runs, error);
    for (int i = 0; i < count && status == BD_OK; i++)
        if (data[i].written)
            status = bd_vk_buffer_read(base, bindings[i].buffer, 0, data[i].data, data[i].size, NULL, error);
    bd_vk_program_destroy(base, program);
    for (int i = 0; i < count; i++)
        bd_vk_buffer_destroy(base, bindings[i].buffer);
    return status;
}

static bd_status run(bd_vk_device *device, const char *source, uint32_t groups, const bd_vk_probe_buffer *data,
                     int count, bd_error *error)
{
    return bd_vk_probe_run(device, source, BD_TILE_GROUP, groups, 1, data, count, error);
}

/* ---- the probes ---- */

static uint32_t *make_samples(void)
{
    uint32_t *samples = malloc(SAMPLES * sizeof *samples);
    for (uint32_t h = 0; h < HALVES && samples; h++) {
        bool finite = (h & 0x7c00u) != 0x7c00u;
        float value = half_value(h), tie = finite ? tie_above(h) : value;
        samples[4 * h] = bits_of(value);
        samples[4 * h + 1] = bits_of(tie);
        samples[4 * h + 2] = bits_of(finite ? nextafterf(tie, 0) : value);
        samples[4 * h + 3] = bits_of(finite ? nextafterf(tie, copysignf(INFINITY, tie)) : value);
    }
    return samples;
}

/* Into buffers and out of them, where no compiler can drop a conversion. */
static bd_status probe_conversion(bd_vk_device *device, const char *source, probe_result *result, bd_error *error)
{
    uint32_t *samples = make_samples(), *loaded = calloc(HALVES, sizeof *loaded);
    uint16_t *halves = malloc(HALVES * sizeof *halves), *stored = calloc(SAMPLES, sizeof *stored);
    bd_status status = BD_OK;
    if (!samples || !loaded || !halves || !stored)
        status = bd_fail(error, BD_ERROR_MEMORY, "no memory for a probe");
    for (uint32_t h = 0; h < HALVES && status == BD_OK; h++)
        halves[h] = (uint16_t)h;
    bd_vk_probe_buffer buffers[] = {
        { .data = samples, .size = SAMPLES * sizeof *samples },
        { .data = stored, .size = SAMPLES * sizeof *stored, .written = true },
        { .data = halves, .size = HALVES * sizeof *halves },
        { .data = loaded, .size = HALVES * sizeof *loaded, .written = true },
    };
    if (status == BD_OK)
        status = run(device, source, SAMPLES / GROUP_SIZE, buffers, 4, error);
    if (status == BD_OK) {
        bool exact = true, nearest = true, truncated = true, kept = true;
        for (uint32_t i = 0; i < SAMPLES; i++) {
            float x = float_of(samples[i]), expected = (float)bd_f16_to_double(bd_f16_from_double(x));
            uint32_t got = bits_of(half_value(stored[i]));
            exact &= same(got, expected);
            kept &= !flushed(got, expected);
            if (isfinite(x) && fabsf(x) >= 0x1p-14f && fabsf(x) < 65504) {
                nearest &= same(got, expected);
                truncated &= same(got, toward_zero(x));
            }
        }
        for (uint32_t h = 0; h < HALVES; h++) {
            exact &= same(loaded[h], half_value(h));
            kept &= !flushed(loaded[h], half_value(h));
        }
        result->conversion_exact = exact;
        result->subnormals = kept;
        result->rounding = nearest ? BD_ROUNDING_NEAREST_EVEN : truncated ? BD_ROUNDING_TOWARD_ZERO : BD_ROUNDING_OTHER;
    }
    free(samples);
    free(loaded);
    free(halves);
    free(stored);
    return status;
}

/* Does one of the prelude's ways to round a float to a half do so in every case? */
static bd_status probe_round(bd_vk_device *device, int method, probe_result *result, bd_error *error)
{
    uint32_t *samples = make_samples(), *rounded = calloc(SAMPLES, sizeof *rounded);
    char *source = source_of(device, false, method, round_text);
    bd_vk_probe_buffer buffers[] = {
        { .data = samples, .size = SAMPLES * sizeof *samples },
        { .data = rounded, .size = SAMPLES * sizeof *rounded, .written = true },
    };
    bd_status status = samples && rounded ? run(device, source, SAMPLES / GROUP_SIZE, buffers, 2, error)
                                          : bd_fail(error, BD_ERROR_MEMORY, "no memory for a probe");
    bool exact = status == BD_OK;
    for (uint32_t i = 0; i < SAMPLES && exact; i++)
        exact = same(rounded[i], (float)bd_f16_to_double(bd_f16_from_double(float_of(samples[i]))));
    if (exact)
        result->half_round = (uint8_t)method;
    free(source);
    free(samples);
    free(rounded);
    return status;
}

static bd_status probe_arithmetic(bd_vk_device *device, const char *source, probe_result *result, bd_error *error)
{
    static const uint16_t specials[SPECIALS / 2] = { 0x0000, 0x0001, 0x0002, 0x03ff, 0x0400, 0x0401, 0x07ff, 0x2c00,
                                                     0x3800, 0x3bff, 0x3c00, 0x3c01, 0x7800, 0x7bff, 0x7c00, 0x7e00 };
    float *pairs = malloc(2 * PAIRS * sizeof *pairs);
    uint32_t *results = calloc(3 * PAIRS, sizeof *results);
    bd_status status = pairs && results ? BD_OK : bd_fail(error, BD_ERROR_MEMORY, "no memory for a probe");
    for (uint32_t i = 0; i < PAIRS && status == BD_OK; i++) {
        uint32_t words[4], a = i / SPECIALS, b = i % SPECIALS;
        bd_philox((uint32_t[2]){ 0 }, (uint32_t[4]){ i }, words);
        bool special = a < SPECIALS;
        pairs[2 * i] = half_value(special ? specials[a / 2] | (a % 2) << 15 : words[0] & 0xffffu);
        pairs[2 * i + 1] = half_value(special ? specials[b / 2] | (b % 2) << 15 : words[1] & 0xffffu);
    }
    bd_vk_probe_buffer buffers[] = { { .data = pairs, .size = 2 * PAIRS * sizeof *pairs },
                                     { .data = results, .size = 3 * PAIRS * sizeof *results, .written = true } };
    if (status == BD_OK)
        status = run(device, source, PAIRS / GROUP_SIZE, buffers, 2, error);
    if (status == BD_OK) {
        result->arithmetic_exact = true;
        for (uint32_t i = 0; i < PAIRS; i++) {
            /* Exact in double: 11 + 11 bits for a product, 51 for a sum. */
            double a = pairs[2 * i], b = pairs[2 * i + 1], exact[3] = { a + b, a - b, a * b };
            for (uint32_t k = 0; k < 3; k++) {
                float expected = (float)bd_f16_to_double(bd_f16_from_double(exact[k]));
                result->arithmetic_exact &= same(results[3 * i + k], expected);
                result->subnormals &= !flushed(results[3 * i + k], expected);
            }
        }
    }
    free(pairs);
    free(results);
    return status;
}

static bd_status probe_subnormals(bd_vk_device *device, const char *source, probe_result *result, bd_error *error)
{
    float values[3] = { 0x1p-140f, 0x1p-141f, 0 };
    bd_vk_probe_buffer buffer = { .data = values, .size = sizeof values, .written = true };
    bd_status status = run(device, source, 1, &buffer, 1, error);
    result->subnormals_f32 = values[2] == 0x1.8p-140f;
    return status;
}

/* Are fetched texels what lies in memory, subnormals and all? */
static bd_status probe_texels(bd_vk_device *device, const char *source, probe_result *result, bd_error *error)
{
    uint16_t *halves = malloc(HALVES * sizeof *halves);
    uint32_t *words = malloc(HALVES * sizeof *words), *results = calloc(8 * HALVES, sizeof *results);
    bd_status status = halves && words && results ? BD_OK : bd_fail(error, BD_ERROR_MEMORY, "no memory for a probe");
    for (uint32_t h = 0; h < HALVES && status == BD_OK; h++) {
        halves[h] = (uint16_t)h;
        words[h] = h << 16 | (h * 40503u & 0xffffu); /* every sign and exponent; some low bits */
    }
    bd_vk_probe_buffer buffers[] = {
        { .data = results, .size = 8 * HALVES * sizeof *results, .written = true },
        { .data = halves, .size = HALVES * sizeof *halves, .access = BD_ACCESS_TEXEL1, .format = BD_F16 },
        { .data = halves, .size = HALVES * sizeof *halves, .access = BD_ACCESS_TEXEL2, .format = BD_F16 },
        { .data = halves, .size = HALVES * sizeof *halves, .access = BD_ACCESS_TEXEL4, .format = BD_F16 },
        { .data = words, .size = HALVES * sizeof *words, .access = BD_ACCESS_TEXEL1, .format = BD_F32 },
        { .data = words, .size = HALVES * sizeof *words, .access = BD_ACCESS_TEXEL2, .format = BD_F32 },
        { .data = words, .size = HALVES * sizeof *words, .access = BD_ACCESS_TEXEL4, .format = BD_F32 },
        { .data = words, .size = HALVES * sizeof *words, .access = BD_ACCESS_TEXEL1, .format = BD_U32 },
        { .data = halves,
          .size = HALVES,
          .access = BD_ACCESS_TEXEL1,
          .format = BD_U8 }, /* devices need not take more */
    };
    if (status == BD_OK)
        status = run(device, source, HALVES / GROUP_SIZE, buffers, MOST_BUFFERS, error);
    bool exact = status == BD_OK;
    for (uint32_t h = 0; h < HALVES && exact; h++) {
        const uint32_t *got = &results[8 * h];
        for (int i = 0; i < 3; i++)
            exact &= same(got[i], half_value(h)) && same(got[3 + i], float_of(words[h]));
        exact &= got[6] == words[h] && got[7] == ((const uint8_t *)halves)[h];
    }
    result->texels_exact = exact;
    free(halves);
    free(words);
    free(results);
    return status;
}

enum { SOURCES = 7 };

static bd_status probe_all(bd_vk_device *device, char *const sources[SOURCES], probe_result *result, bd_error *error)
{
    *result = (probe_result){ .half_round = ROUND_BY_ARITHMETIC };
    bd_status status = probe_conversion(device, sources[0], result, error);
    for (int method = 1; method < ROUND_METHODS && status == BD_OK && result->conversion_exact; method++)
        if (result->half_round == ROUND_BY_ARITHMETIC &&
            (method != ROUND_BY_HALF_TYPE || device->base.info.half.arithmetic))
            status = probe_round(device, method, result, error);
    if (status == BD_OK)
        status = probe_subnormals(device, sources[1], result, error);
    if (status == BD_OK && device->base.info.half.arithmetic && result->conversion_exact)
        status = probe_arithmetic(device, sources[2], result, error);
    if (status == BD_OK && device->texels)
        status = probe_texels(device, sources[3], result, error);
    if (status == BD_OK && device->base.target.matrix.bf16)
        result->bf16 = bd_vk_probe_matrix(device, sources[4], false);
    if (status == BD_OK && device->base.target.joined.bf16)
        result->bf16_joined = bd_vk_probe_matrix(device, sources[5], true);
    if (status == BD_OK)
        status = bd_vk_probe_codes(device, &result->codes, error);
    return status;
}

/* From here on every kernel rounds in the way that was found. */
static bd_status set_round(bd_vk_device *device, int method, bd_error *error)
{
    bd_text text = { 0 };
    bd_text_append(&text, "%s#define BD_HALF_ROUND %d\n", device->preamble, method);
    if (text.failed)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for a probe");
    free(device->preamble);
    device->preamble = text.data;
    return BD_OK;
}

static void describe_bf16(bd_vk_device *device)
{
    const bd_target *target = &device->base.target;
    char *text = device->base.info.matrix_units;
    const size_t used = strlen(text), size = sizeof device->base.info.matrix_units;
    if (target->matrix.bf16)
        snprintf(text + used, size - used, ", bf16 -> f32%s",
                 target->joined.grain_count && !target->joined.bf16 ? " by the first" : "");
}

static void describe_codes(bd_vk_device *device)
{
    const bd_code_units *codes = &device->base.target.matrix.codes;
    char instruction[64];
    snprintf(instruction, sizeof instruction, "%ux%ux%u", codes->m, codes->n, codes->k);
    bd_codes_describe(codes, instruction, &device->base.info);
}

bd_status bd_vk_probe(bd_vk_device *device, bd_error *error)
{
    bd_device_info *info = &device->base.info;
    char *sources[SOURCES] = { source_of(device, false, ROUND_BY_ARITHMETIC, conversion_text),
                               source_of(device, false, ROUND_BY_ARITHMETIC, subnormal_text),
                               source_of(device, true, ROUND_BY_ARITHMETIC, arithmetic_text),
                               source_of(device, false, ROUND_BY_ARITHMETIC, texel_text),
                               bd_vk_probe_matrix_source(device, false),
                               bd_vk_probe_matrix_source(device, true),
                               bd_vk_probe_codes_source(device, BD_UNIT_E4M3, BD_UNIT_E5M2) };
    bd_status status = BD_OK;
    for (int i = 0; i < SOURCES; i++)
        if (!sources[i])
            status = bd_fail(error, BD_ERROR_MEMORY, "no memory for a probe");
    probe_result result;
    if (status == BD_OK) {
        const char *parts[] = { info->name, info->driver, device->preamble, round_text, sources[0], sources[1],
                                sources[2], sources[3],   sources[4],       sources[5], sources[6] };
        bd_cache_key key = bd_cache_hash(parts, sizeof parts / sizeof *parts);
        void *stored = NULL;
        size_t size = 0;
        if (bd_cache_get(device->base.cache, "vulkan probe", key, &stored, &size) && size == sizeof result) {
            memcpy(&result, stored, sizeof result);
        } else {
            status = probe_all(device, sources, &result, error);
            if (status == BD_OK)
                bd_cache_put(device->base.cache, "vulkan probe", key, &result, sizeof result);
        }
        free(stored);
    }
    for (int i = 0; i < SOURCES; i++)
        free(sources[i]);
    if (status == BD_OK)
        status = set_round(device, result.half_round, error);
    if (status != BD_OK)
        return status;
    info->half.conversion_exact = result.conversion_exact;
    info->half.arithmetic_exact = result.arithmetic_exact;
    info->half.subnormals = result.subnormals;
    info->half.subnormals_f32 = result.subnormals_f32;
    info->half.rounding = (bd_rounding)result.rounding;
    device->texels &= result.texels_exact;
    device->base.target.matrix.bf16 &= result.bf16;
    device->base.target.joined.bf16 &= result.bf16_joined;
    device->base.target.matrix.codes = result.codes;
    describe_bf16(device);
    describe_codes(device);
    device->bytes_peak = device->bytes_now; /* the probes' own buffers are not the caller's */
    return BD_OK;
}
