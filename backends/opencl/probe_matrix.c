/* Which matrix units can be reached through inline PTX, which NVIDIA's OpenCL does not document: so it is tried. */
#include "../../engine/embedded.h"
#include "../probe_codes.h"
#include "../tensor_map.h"
#include "opencl.h"

#include <binade/format.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Local memory of a tile for tensor cores. CL_DEVICE_LOCAL_MEM_SIZE says 49,152, but more builds and runs: 200,000 on
 * an H100 (driver 580). Two work-groups of this share a processor there. */
#define TENSOR_CORE_LOCAL "98304"

/* Of wgmma's tiles: one work-group a processor, and its barriers. */
enum { WARPGROUP_LOCAL = 197632 };
enum { N = 16, K = 16, MOST_M = 64 };

/* Products of small whole numbers with multiples of 2^-24, which are subnormal halves; exact in any order: `count`
 * results of m x 16, each C = A B. */
static bool products_right(opencl_device *device, cl_program program, bd_format format, int m, int count)
{
    double a[MOST_M * K], b[K * N];
    uint16_t in[MOST_M * K + K * N];
    float out[2 * MOST_M * N];
    bd_error refusal;
    for (int i = 0; i < m * K; ++i)
        a[i] = ldexp(i * 7 % 11 - 5 + i % K, -24);
    for (int i = 0; i < K * N; ++i)
        b[i] = i * 5 % 13 - 6 - i % N;
    bd_format_encode(format, a, in, (size_t)(m * K));
    bd_format_encode(format, b, in + m * K, K * N);
    if (opencl_probe_run(device, program, "binade", m == MOST_M ? 128 : 32, in, (size_t)(m * K + K * N) * sizeof *in,
                         out, (size_t)(count * m * N) * sizeof *out, &refusal) != BD_OK)
        return false;
    for (int i = 0; i < count * m * N; ++i) {
        double sum = 0;
        for (int k = 0; k < K; ++k)
            sum += a[i / N % m * K + k] * b[k * N + i % N];
        if (out[i] != (float)sum)
            return false;
    }
    return true;
}

/* Whether `name`, cl/probe_matrix.cl or cl/probe_warpgroup.cl, builds and multiplies numbers of the format. */
static bool multiplies(opencl_device *device, const char *name, bd_format format, int m, int count)
{
    cl_program program;
    bd_error refusal;
    const char *const options = format == BD_BF16 ? "-DMATRIX_BF16=1 -DLOCAL_BYTES=" TENSOR_CORE_LOCAL
                                                  : "-DMATRIX_BF16=0 -DLOCAL_BYTES=" TENSOR_CORE_LOCAL;
    if (opencl_build(device, bd_embedded_text(name), options, name, &program, &refusal) != BD_OK)
        return false;
    const bool right = products_right(device, program, format, m, count);
    clReleaseProgram(program);
    return right;
}

/* Every code of F8E4M3. */
static bool converts_e4m3(opencl_device *device)
{
    cl_program program;
    bd_error refusal;
    uint8_t codes[256];
    uint16_t halves[256];
    if (opencl_build(device, bd_embedded_text("cl/probe_codes.cl"), "", "conversions", &program, &refusal) != BD_OK)
        return false;
    for (int i = 0; i < 256; ++i)
        codes[i] = (uint8_t)i;
    bool right =
        opencl_probe_run(device, program, "binade", 128, codes, sizeof codes, halves, sizeof halves, &refusal) == BD_OK;
    for (int i = 0; right && i < 256; ++i) {
        double value, half = bd_f16_to_double(halves[i]);
        bd_format_decode(BD_F8E4M3, &codes[i], &value, 1);
        right = isnan(value) ? isnan(half) : value == half && signbit(value) == signbit(half);
    }
    clReleaseProgram(program);
    return right;
}

typedef struct code_probe {
    opencl_device *device;
    bool warpgroup;
} code_probe;

static bd_status run_codes(void *user, bd_unit_code a, bd_unit_code b, const void *in, size_t in_size, void *out,
                           size_t out_size, bd_error *error)
{
    static const char name[] = "cl/probe_matrix8.cl";
    const code_probe *probe = user;
    opencl_device *device = probe->device;
    cl_program program;
    char options[64];
    snprintf(options, sizeof options, "-DTYPE_A=%d -DTYPE_B=%d -DWARPGROUP=%d", (int)a, (int)b, probe->warpgroup);
    bd_status status = opencl_build(device, bd_embedded_text(name), options, name, &program, error);
    if (status != BD_OK)
        return status;
    status = opencl_probe_run(device, program, "binade", 128, in, in_size, out, out_size, error);
    clReleaseProgram(program);
    return status;
}

void opencl_probe_matrix(opencl_device *device, bd_matrix_units *found)
{
    static const char warps[] = "cl/probe_matrix.cl", warpgroups[] = "cl/probe_warpgroup.cl";
    *found = (bd_matrix_units){ 0 };
    if (!multiplies(device, warps, BD_F16, 16, 1))
        return;
    *found = (bd_matrix_units){ .m = 16, .n = N, .k = K, .lanes = 32, .shared_bytes = atoi(TENSOR_CORE_LOCAL) };
    found->bf16 = multiplies(device, warps, BD_BF16, 16, 1);
    found->e4m3 = converts_e4m3(device);
    /* Of wgmma BF16 is wanted too: what a product may be done by must not depend on its format. */
    if (multiplies(device, warpgroups, BD_F16, MOST_M, 2) &&
        (!found->bf16 || multiplies(device, warpgroups, BD_BF16, MOST_M, 2)))
        found->warpgroup_bytes = WARPGROUP_LOCAL;
    if (found->warpgroup_bytes)
        found->tensor_maps = bd_probe_tensor_maps(&device->base);
    found->resident_bytes = found->warpgroup_bytes ? found->warpgroup_bytes : found->shared_bytes;
    bd_error refusal; /* a device that is lost so shows it with the next command */
    found->codes = (bd_code_units){ .m = 16, .n = N, .k = 2 * K };
    bd_probe_codes(run_codes, &(code_probe){ device, false }, &found->codes, &refusal);
    if (found->warpgroup_bytes)
        bd_probe_codes(run_codes, &(code_probe){ device, true }, &found->warpgroup_codes, &refusal);
}
