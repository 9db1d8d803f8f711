/* What a device really does with halves, found by running kernels (cl/probe.cl) and comparing every bit with the exact
 * conversions of <binade/format.h>. The answer is remembered in the disk cache, per device and driver. */
#include "opencl.h"

#include "../../engine/embedded.h"
#include "../probe_codes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HALVES 65536
#define HALF_INFINITY 0x7c00
/* Between each finite half and the next: the midpoint and both its neighbours, of both signs; then special numbers. */
#define BOUNDARY_COUNT (HALF_INFINITY * 6 + 16)
/* Every pair of special halves, then random pairs. */
#define SPECIAL_COUNT 32
#define RANDOM_PAIRS 65536
#define PAIR_COUNT (SPECIAL_COUNT * SPECIAL_COUNT + RANDOM_PAIRS)

/* How the kernels' prelude may be told to convert and compute. */
typedef enum way { WAY_PTX, WAY_KHR_FP16, WAY_KHR_FP16_STEPS, WAY_BUILTIN, WAY_PLAIN, WAY_COUNT } way;
static const char *const way_options[WAY_COUNT] = {
    [WAY_PTX] = "-DBD_NVIDIA=1",
    [WAY_KHR_FP16] = "-DBD_HALF_CONVERSION=1 -DBD_HALF_ARITHMETIC=1",
    [WAY_KHR_FP16_STEPS] = "-DBD_HALF_CONVERSION=1 -DBD_HALF_ARITHMETIC=1 -DBD_ROUND_BY_STEPS=1",
    [WAY_BUILTIN] = "-DBD_HALF_BUILTIN=1",
    [WAY_PLAIN] = "",
};

/* The answer, as it is cached. */
typedef struct findings {
    uint32_t way;              /* the first that builds and converts exactly */
    uint32_t arithmetic_exact; /* of that way */
    uint32_t conversion_exact; /* of the driver's vstore_half_rte and vload_half */
    uint32_t rounding;         /* bd_rounding of the driver's vstore_half */
    uint32_t subnormals, subnormals_f32;
    bd_matrix_units matrix; /* what contraction_matrix.cl may use */
} findings;

static float float_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void fill_boundaries(float *numbers)
{
    /* Zeros and the least subnormal floats; the largest subnormal one, the least normal one, 2^-25 (a tie with 0) and
     * the next; the largest and the infinite; NaNs, quiet and signalling. */
    static const uint32_t special[16] = { 0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x007fffff, 0x00800000,
                                          0x33000000, 0x33000001, 0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000,
                                          0x7fc00000, 0xffc00000, 0x7f800001, 0x7fffffff };
    for (uint16_t half = 0; half < HALF_INFINITY; ++half) {
        double below = bd_f16_to_double(half);
        double above = half + 1 == HALF_INFINITY ? 65536 : bd_f16_to_double((uint16_t)(half + 1));
        float middle = (float)((below + above) / 2); /* exact: 12 bits */
        float around[3] = { nextafterf(middle, 0), middle, nextafterf(middle, INFINITY) };
        for (int i = 0; i < 3; ++i) {
            *numbers++ = around[i];
            *numbers++ = -around[i];
        }
    }
    for (int i = 0; i < 16; ++i)
        *numbers++ = float_from_bits(special[i]);
}

static void fill_pairs(uint16_t *pairs)
{
    /* Zero, subnormals and the least normal ones; 2^-10, around 1, 1024, the largest, infinity and NaN. */
    static const uint16_t special[SPECIAL_COUNT / 2] = {
        0x0000, 0x0001, 0x0002, 0x0003, 0x01ff, 0x03ff, 0x0400, 0x0401,
        0x1400, 0x3bff, 0x3c00, 0x3c01, 0x6400, 0x7bff, 0x7c00, 0x7e00
    };
    uint32_t random = 1;
    for (int i = 0; i < SPECIAL_COUNT; ++i) {
        for (int j = 0; j < SPECIAL_COUNT; ++j) {
            *pairs++ = (uint16_t)(special[i / 2] | (i & 1) << 15);
            *pairs++ = (uint16_t)(special[j / 2] | (j & 1) << 15);
        }
    }
    /* A linear congruence (Press et al., Numerical Recipes), whose high bits are the good ones. */
    for (int i = 0; i < 2 * RANDOM_PAIRS; ++i) {
        random = random * 1664525u + 1013904223u;
        *pairs++ = (uint16_t)(random >> 16);
    }
}

static bool is_half_nan(uint16_t half)
{
    return (half & 0x7fff) > HALF_INFINITY;
}

static bool same_half(uint16_t a, uint16_t b)
{
    return a == b || (is_half_nan(a) && is_half_nan(b));
}

static bool same_float(float a, double b)
{
    return isnan(b) ? isnan(a) : a == b && !signbit(a) == !signbit(b);
}

/* Rounded toward zero; a finite number stays finite. */
static uint16_t truncated(double value)
{
    uint16_t half = bd_f16_from_double(value);
    return !isnan(value) && fabs(bd_f16_to_double(half)) > fabs(value) ? (uint16_t)(half - 1) : half;
}

bd_status opencl_probe_run(opencl_device *device, cl_program program, const char *name, size_t items, const void *in,
                           size_t in_size, void *out, size_t out_size, bd_error *error)
{
    cl_int code;
    cl_mem from = NULL, to = NULL;
    cl_kernel kernel = clCreateKernel(program, name, &code);
    if (code == CL_SUCCESS)
        from = clCreateBuffer(device->context, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR, in_size, (void *)in, &code);
    if (code == CL_SUCCESS)
        to = clCreateBuffer(device->context, CL_MEM_READ_WRITE, out_size, NULL, &code);
    if (code == CL_SUCCESS)
        code = clSetKernelArg(kernel, 0, sizeof from, &from);
    if (code == CL_SUCCESS)
        code = clSetKernelArg(kernel, 1, sizeof to, &to);
    size_t required[3] = { 0 }; /* a kernel that requires a group's size must be given it */
    if (code == CL_SUCCESS)
        code = clGetKernelWorkGroupInfo(kernel, device->id, CL_KERNEL_COMPILE_WORK_GROUP_SIZE, sizeof required,
                                        required, NULL);
    if (code == CL_SUCCESS)
        code = clEnqueueNDRangeKernel(device->queue, kernel, 1, NULL, &items, required[0] ? required : NULL, 0, NULL,
                                      NULL);
    if (code == CL_SUCCESS)
        code = clEnqueueReadBuffer(device->queue, to, CL_TRUE, 0, out_size, out, 0, NULL, NULL);
    if (to)
        clReleaseMemObject(to);
    if (from)
        clReleaseMemObject(from);
    if (kernel)
        clReleaseKernel(kernel);
    return code == CL_SUCCESS ? BD_OK : opencl_fail(error, code, "probing the device");
}

/* Inputs, and room for what the kernels give. */
typedef struct samples {
    float boundaries[BOUNDARY_COUNT];
    uint16_t pairs[PAIR_COUNT][2];
    uint16_t halves[HALVES];
    uint16_t half_results[BOUNDARY_COUNT + 4 * PAIR_COUNT];
    float float_results[BOUNDARY_COUNT];
} samples;

/* Are the results of `kernel`, floats to halves, all rounded to nearest even (or toward zero)? */
static bd_status test_encode(opencl_device *device, cl_program program, const char *kernel, samples *s, bool *exact,
                             bool *toward_zero, bool *subnormals, bd_error *error)
{
    bd_status status = opencl_probe_run(device, program, kernel, BOUNDARY_COUNT, s->boundaries, sizeof s->boundaries,
                                        s->half_results, BOUNDARY_COUNT * sizeof *s->half_results, error);
    if (status != BD_OK)
        return status;
    *exact = *toward_zero = *subnormals = true;
    for (int i = 0; i < BOUNDARY_COUNT; ++i) {
        uint16_t nearest = bd_f16_from_double(s->boundaries[i]), result = s->half_results[i];
        *exact &= same_half(result, nearest);
        *toward_zero &= same_half(result, truncated(s->boundaries[i]));
        *subnormals &= result & 0x7fff || !(truncated(s->boundaries[i]) & 0x7fff);
    }
    return BD_OK;
}

static bd_status test_decode(opencl_device *device, cl_program program, const char *kernel, samples *s, bool *exact,
                             bool *subnormals, bd_error *error)
{
    bd_status status = opencl_probe_run(device, program, kernel, HALVES, s->halves, sizeof s->halves, s->float_results,
                                        HALVES * sizeof *s->float_results, error);
    if (status != BD_OK)
        return status;
    *exact = *subnormals = true;
    for (int i = 0; i < HALVES; ++i) {
        *exact &= same_float(s->float_results[i], bd_f16_to_double((uint16_t)i));
        *subnormals &= (i & 0x7fff) == 0 || s->float_results[i] != 0;
    }
    return BD_OK;
}

static bd_status test_round(opencl_device *device, cl_program program, samples *s, bool *exact, bd_error *error)
{
    bd_status status = opencl_probe_run(device, program, "round_value", BOUNDARY_COUNT, s->boundaries,
                                        sizeof s->boundaries, s->float_results, sizeof s->float_results, error);
    if (status != BD_OK)
        return status;
    *exact = true;
    for (int i = 0; i < BOUNDARY_COUNT; ++i)
        *exact &= same_float(s->float_results[i], bd_round(BD_F16, s->boundaries[i]));
    return BD_OK;
}

/* Sums and products of halves are exact in double, so one rounding gives the right half. */
static bd_status test_arithmetic(opencl_device *device, cl_program program, samples *s, bool *exact, bool *subnormals,
                                 bd_error *error)
{
    bd_status status = opencl_probe_run(device, program, "arithmetic", PAIR_COUNT, s->pairs, sizeof s->pairs,
                                        s->half_results, 4 * PAIR_COUNT * sizeof *s->half_results, error);
    if (status != BD_OK)
        return status;
    *exact = *subnormals = true;
    for (int i = 0; i < PAIR_COUNT; ++i) {
        double a = bd_f16_to_double(s->pairs[i][0]), b = bd_f16_to_double(s->pairs[i][1]);
        double right[4] = { a + b, a - b, a * b, bd_round(BD_F16, a * b) + a };
        for (int j = 0; j < 4; ++j) {
            uint16_t expected = bd_f16_from_double(right[j]), result = s->half_results[4 * i + j];
            *exact &= same_half(result, expected);
            *subnormals &= result & 0x7fff || !(expected & 0x7fff);
        }
    }
    return BD_OK;
}

/* Whether the prelude, told to go this way, converts exactly and computes exactly. A way that does not build is no
 * error. */
static bd_status test_way(opencl_device *device, const char *source, way tried, samples *s, findings *found, bool *good,
                          bd_error *error)
{
    cl_program program;
    bd_error refusal;
    *good = false;
    if (opencl_build(device, source, way_options[tried], "probe", &program, &refusal) != BD_OK)
        return BD_OK;
    bool encodes, truncates, decodes, rounds, computes, keeps;
    bd_status status = test_encode(device, program, "encode", s, &encodes, &truncates, &keeps, error);
    if (status == BD_OK)
        status = test_decode(device, program, "decode", s, &decodes, &keeps, error);
    if (status == BD_OK)
        status = test_round(device, program, s, &rounds, error);
    if (status == BD_OK)
        status = test_arithmetic(device, program, s, &computes, &keeps, error);
    clReleaseProgram(program);
    if (status != BD_OK)
        return status;
    *good = encodes && decodes && rounds;
    if (*good) {
        found->way = tried;
        found->arithmetic_exact = computes;
        found->subnormals &= keeps;
    }
    return BD_OK;
}

static bd_status test_driver(opencl_device *device, const char *source, samples *s, findings *found, bd_error *error)
{
    cl_program program;
    bd_status status = opencl_build(device, source, way_options[WAY_PLAIN], "probe", &program, error);
    if (status != BD_OK)
        return status;
    bool encodes, decodes, nearest, truncates, keeps_encoding, keeps_decoding;
    status = test_encode(device, program, "driver_encode_default", s, &nearest, &truncates, &keeps_encoding, error);
    if (status == BD_OK) {
        found->rounding = nearest ? BD_ROUNDING_NEAREST_EVEN : truncates ? BD_ROUNDING_TOWARD_ZERO : BD_ROUNDING_OTHER;
        status = test_encode(device, program, "driver_encode", s, &encodes, &truncates, &keeps_encoding, error);
    }
    if (status == BD_OK)
        status = test_decode(device, program, "driver_decode", s, &decodes, &keeps_decoding, error);
    float tiny = float_from_bits(0x00012346), larger[3] = { 0 }; /* an even number of the least floats */
    if (status == BD_OK)
        status = opencl_probe_run(device, program, "enlarge", 1, &tiny, sizeof tiny, larger, sizeof larger, error);
    clReleaseProgram(program);
    if (status != BD_OK)
        return status;
    found->conversion_exact = encodes && decodes;
    found->subnormals = keeps_encoding && keeps_decoding;
    found->subnormals_f32 = larger[0] == 1.5f * tiny && larger[1] == 1.5f * tiny && larger[2] == 1.5f * tiny;
    return BD_OK;
}

static bd_status measure(opencl_device *device, const char *source, findings *found, bd_error *error)
{
    bool applies[WAY_COUNT] = {
        [WAY_PTX] = device->nvidia,
        [WAY_KHR_FP16] = opencl_has_extension(device->id, "cl_khr_fp16"),
        [WAY_KHR_FP16_STEPS] = opencl_has_extension(device->id, "cl_khr_fp16"),
        [WAY_BUILTIN] = device->base.info.type == BD_DEVICE_CPU,
        [WAY_PLAIN] = true,
    };
    samples *s = calloc(1, sizeof *s);
    if (!s)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory to probe the device");
    fill_boundaries(s->boundaries);
    fill_pairs(s->pairs[0]);
    for (int i = 0; i < HALVES; ++i)
        s->halves[i] = (uint16_t)i;
    bool good = false;
    bd_status status = test_driver(device, source, s, found, error);
    for (int i = 0; status == BD_OK && !good && i < WAY_COUNT; ++i)
        if (applies[i])
            status = test_way(device, source, (way)i, s, found, &good, error);
    free(s);
    if (status == BD_OK && !good)
        status = bd_fail(error, BD_ERROR_UNSUPPORTED, "%s computes wrong integers or floats: no half came out right",
                         device->base.info.name);
    if (status == BD_OK && found->way == WAY_PTX)
        opencl_probe_matrix(device, &found->matrix);
    return status;
}

/* From the disk cache, or measured and put there. */
static bd_status find_out(opencl_device *device, const char *source, findings *found, bd_error *error)
{
    const char *parts[] = { device->identity, device->options, source, bd_embedded_text("cl/tensor_map.cl"),
                            bd_embedded_text("cl/probe_tensor_map.cl") };
    bd_cache_key key = bd_cache_hash(parts, sizeof parts / sizeof *parts);
    void *known = NULL;
    size_t size = 0;
    if (bd_cache_get(device->base.cache, "opencl-probe", key, &known, &size)) {
        bool usable = size == sizeof *found;
        if (usable)
            memcpy(found, known, size);
        free(known);
        if (usable)
            return BD_OK;
    }
    bd_status status = measure(device, source, found, error);
    if (status == BD_OK)
        bd_cache_put(device->base.cache, "opencl-probe", key, found, sizeof *found);
    return status;
}

bd_status opencl_probe(opencl_device *device, bd_error *error)
{
    const char *prelude = bd_embedded_text("cl/prelude.cl"), *kernels = bd_embedded_text("cl/probe.cl");
    size_t length = strlen(prelude) + strlen(kernels) + 1;
    char *source = malloc(length);
    if (!source)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory to probe the device");
    snprintf(source, length, "%s%s", prelude, kernels);
    findings found = { 0 };
    bd_status status = find_out(device, source, &found, error);
    free(source);
    if (status != BD_OK)
        return status;
    bd_device_info *info = &device->base.info;
    /* Where the device reports cl_khr_fp16, its convert_half_rte is what BD_HALF_CONVERSION stands for. */
    bool khr_fp16 = found.way == WAY_KHR_FP16 || found.way == WAY_KHR_FP16_STEPS;
    info->half.conversion_exact = found.conversion_exact && (khr_fp16 || !info->half.arithmetic);
    info->half.arithmetic = khr_fp16 || found.way == WAY_PTX;
    info->half.arithmetic_exact = info->half.arithmetic && found.arithmetic_exact;
    info->half.rounding = (bd_rounding)found.rounding;
    info->half.subnormals = found.subnormals;
    info->half.subnormals_f32 = found.subnormals_f32;
    device->base.target.nvidia = found.way == WAY_PTX;
    if (found.way == WAY_BUILTIN)
        strcat(device->options, " -DBD_HALF_BUILTIN=1");
    if (found.way == WAY_KHR_FP16_STEPS)
        strcat(device->options, " -DBD_ROUND_BY_STEPS=1");
    device->base.target.matrix = found.matrix;
    if (found.matrix.m)
        snprintf(info->matrix_units, sizeof info->matrix_units,
                 "tensor cores through inline PTX: mma.sync m16n8k16%s, f16%s -> f32",
                 !found.matrix.warpgroup_bytes ? ""
                 : found.matrix.tensor_maps    ? ", wgmma m64k16 with tensor maps"
                                               : ", wgmma m64k16",
                 found.matrix.bf16 ? " and bf16" : "");
    bd_codes_describe(&found.matrix.codes, "mma.sync m16n8k32", info);
    bd_codes_describe(&found.matrix.warpgroup_codes, "wgmma m64k32", info);
    return BD_OK;
}
