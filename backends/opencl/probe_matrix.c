/* Which matrix units can be reached through inline PTX, which NVIDIA's OpenCL does not document: so it is tried. */
#include "../../engine/embedded.h"
#include "opencl.h"

#include <binade/format.h>

#include <stdlib.h>

/* Local memory of a tile for tensor cores. CL_DEVICE_LOCAL_MEM_SIZE says 49,152, but more builds and runs: 200,000 on an H100
 * (driver 580). Two work-groups of this share a processor there. */
#define TENSOR_CORE_LOCAL "98304"

static const char tensor_core_source[] =
    "__kernel void binade(__global uint *b)\n"
    "{\n"
    "    __local uint panel[" TENSOR_CORE_LOCAL " / 4];\n"
    "    float c0 = 0.0f, c1 = 0.0f, c2 = 0.0f, c3 = 0.0f;\n"
    "    uint a0, a1, a2, a3, at = (uint)(size_t)panel;\n"
    "    asm volatile(\"cp.async.cg.shared.global [%0], [%1], 16, %2;\" : : \"r\"(at), \"l\"(b), \"r\"(16) : "
    "\"memory\");\n"
    "    asm volatile(\"cp.async.wait_all;\" : : : \"memory\");\n"
    "    barrier(CLK_LOCAL_MEM_FENCE);\n"
    "    asm volatile(\"ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\"\n"
    "                 : \"=r\"(a0), \"=r\"(a1), \"=r\"(a2), \"=r\"(a3) : \"r\"(at) : \"memory\");\n"
    "    asm volatile(\"mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 \"\n"
    "                 \"{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\"\n"
    "                 : \"+f\"(c0), \"+f\"(c1), \"+f\"(c2), \"+f\"(c3)\n"
    "                 : \"r\"(a0), \"r\"(a1), \"r\"(a2), \"r\"(a3), \"r\"(b[4]), \"r\"(b[5]));\n"
    "    b[get_global_id(0)] = as_uint(c0 + c1 + c2 + c3);\n"
    "}\n";

/* wgmma's tiles: one work-group a processor. */
enum { WARPGROUP_LOCAL = 196608, M = 64, N = 16, K = 16 };

/* Products of small whole numbers, exact in any order. */
static bool warpgroups_right(opencl_device *device, cl_program program)
{
    int a[M][K], b[K][N];
    uint16_t in[M * K + K * N];
    float out[2][M][N];
    bd_error refusal;
    for (int i = 0; i < M * K; ++i)
        in[i] = bd_f16_from_double(a[i / K][i % K] = i * 7 % 11 - 5 + i % K);
    for (int i = 0; i < K * N; ++i)
        in[M * K + i] = bd_f16_from_double(b[i / N][i % N] = i * 5 % 13 - 6 - i % N);
    if (opencl_probe_run(device, program, "binade", 128, in, sizeof in, out, sizeof out, &refusal) != BD_OK)
        return false;
    for (int i = 0; i < 2 * M * N; ++i) {
        int sum = 0;
        for (int k = 0; k < K; ++k)
            sum += a[i / N % M][k] * b[k][i % N];
        if (out[i / (M * N)][i / N % M][i % N] != (float)sum)
            return false;
    }
    return true;
}

void opencl_probe_matrix(opencl_device *device, bd_matrix_units *found)
{
    cl_program program;
    bd_error refusal;
    *found = (bd_matrix_units){ 0 };
    if (opencl_build(device, tensor_core_source, "", "tensor cores", &program, &refusal) != BD_OK)
        return;
    clReleaseProgram(program);
    *found = (bd_matrix_units){ .m = 16, .n = 16, .k = 16, .lanes = 32, .shared_bytes = atoi(TENSOR_CORE_LOCAL) };
    if (opencl_build(device, bd_embedded_text("cl/probe_warpgroup.cl"), "", "warpgroups", &program, &refusal) != BD_OK)
        return;
    if (warpgroups_right(device, program))
        found->warpgroup_bytes = WARPGROUP_LOCAL;
    clReleaseProgram(program);
}
