/* The suite peak: multiply-adds a second, by format. It is the ceiling that gemm, conv and attention are held
 * against. */
#include "app.h"
#include "bench_raw.h"
#include "engine/print.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    CHAINS = 8,
    STEPS = 16,
    PERIOD = 16,         /* of cl/bench_fma.cl */
    GPU_ITEMS = 1 << 18, /* at least: enough to fill a large GPU whose driver does not tell its size */
    ITEMS_A_UNIT = 2048, /* what an NVIDIA multiprocessor holds, as many as any GPU's */
    CPU_ITEMS_A_UNIT = 512,
    MOST_ROUNDS = 1 << 20,
    HEADER_WORDS = 4, /* of the parameters: rounds and three of the kernel's own */
    WARPGROUP = 128,  /* invocations to a product of wgmma */
};
static const double least_seconds = 0.005; /* of a run, beside which a launch is little */
static const float factor = -1, addend = 64;

/* What is multiplied and added. */
typedef enum arithmetic { F32, F16, BF16, DOT, MATRIX_F16, MATRIX_BF16, CODES_F8, CODES_INT8 } arithmetic;
static const char *const macros[] = { "BD_F32", "BD_F16", "BD_BF16", "BD_DOT" };

typedef struct peak {
    bench_raw raw;
    arithmetic kind;
    uint32_t items, width, rounds;
    uint32_t m, n, k; /* of a matrix unit's product */
    int64_t results;  /* floats that the kernel writes */
} peak;

/* Of 8 bits, by wgmma: four warps have one product, and one chain of them. */
static bool is_codes(const peak *p)
{
    return p->kind == CODES_F8 || p->kind == CODES_INT8;
}

static bool is_matrix(const peak *p)
{
    return p->kind == MATRIX_F16 || p->kind == MATRIX_BF16 || is_codes(p);
}

static int chains(const peak *p)
{
    return is_codes(p) ? 1 : CHAINS;
}

static bd_status set_rounds(peak *p, uint32_t rounds, bd_error *error)
{
    p->rounds = rounds;
    return p->raw.device->backend->buffer_write(p->raw.device, p->raw.buffers[0], 0, &rounds, sizeof rounds, NULL,
                                                error);
}

static bd_status create(peak *p, const char *kernel, const char *defines, uint32_t local, const uint32_t *parameters,
                        uint64_t parameter_size, bd_error *error)
{
    const uint64_t size = (uint64_t)p->results * sizeof(float);
    bd_status status = bench_raw_buffer(&p->raw, 0, parameter_size, error);
    if (!status)
        status = bench_raw_buffer(&p->raw, 1, size, error);
    if (!status)
        status = p->raw.device->backend->buffer_write(p->raw.device, p->raw.buffers[0], 0, parameters, parameter_size,
                                                      NULL, error);
    if (status)
        return status;
    const bd_binding bindings[] = {
        { p->raw.buffers[0], 0, parameter_size, false, BD_ACCESS_BUFFER, BD_U32 },
        { p->raw.buffers[1], 0, size, true, BD_ACCESS_BUFFER, BD_F32 },
    };
    const bench_launching launching = { kernel, defines, local, { p->items / local, 1 }, bindings, 2, 1 };
    return bench_raw_program(&p->raw, &launching, error);
}

/* ---- one value, or a vector of them, a chain ---- */

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Four INT8, the first in the lowest byte. */
static uint32_t pack(int a, int b, int c, int d)
{
    return (uint32_t)(a & 255) | (uint32_t)(b & 255) << 8 | (uint32_t)(c & 255) << 16 | (uint32_t)(d & 255) << 24;
}

static bd_status create_scalar(peak *p, bd_error *error)
{
    uint32_t parameters[HEADER_WORDS] = { 0, bits_of(factor), bits_of(addend), 0 };
    if (p->kind == DOT) {
        /* Three bytes of x stay as they are, and b takes off again what their products make of them: x - base is the
         * lowest, and is treated as the floats are. */
        const uint32_t base = pack(0, 3, -5, 7);
        parameters[1] = pack((int)factor, 2, 3, -4);
        parameters[2] = base + (uint32_t)((int)addend - (2 * 3 + 3 * -5 + -4 * 7));
        parameters[3] = base;
    }
    const uint32_t local =
        (uint32_t)fmin(p->raw.device->target.is_cpu ? 64 : 256, p->raw.device->info.limits.max_workgroup_items);
    char defines[96];
    snprintf(defines, sizeof defines, "#define BD_WIDTH %u\n#define %s 1\n", p->width, macros[p->kind]);
    p->items -= p->items % local;
    p->results = p->items;
    return create(p, "bench_fma", defines, local, parameters, sizeof parameters, error);
}

/* After an odd number of steps. */
static float right_scalar(const peak *p, int64_t item)
{
    float sum = 0;
    for (uint32_t chain = 0; chain < CHAINS; chain++)
        sum += (float)p->width * (addend - (float)(item % PERIOD + chain));
    return sum;
}

/* ---- a product of small matrices a chain ---- */

/* Whole numbers from -2 to 2, different from row to row and column to column. */
static int left_element(uint32_t i, uint32_t k)
{
    return (int)((3 * i + 2 * k + i * k) % 5) - 2;
}

static int right_element(uint32_t k, uint32_t j)
{
    return (int)((k + 3 * j + 2 * k * j) % 5) - 2;
}

static uint16_t encode(const peak *p, int value)
{
    return p->kind == MATRIX_BF16 ? (uint16_t)(bits_of((float)value) >> 16) : bd_f16_from_double(value);
}

static bd_status create_matrix(peak *p, bd_error *error)
{
    const uint64_t size = HEADER_WORDS * sizeof(uint32_t) + (2 * (uint64_t)p->m + p->n) * p->k * sizeof(uint16_t);
    uint32_t *parameters = calloc(1, size);
    if (!parameters)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for matrices of %llu bytes", (unsigned long long)size);
    uint16_t *plus = (uint16_t *)(parameters + HEADER_WORDS), *minus = plus + p->m * p->k, *right = minus + p->m * p->k;
    for (uint32_t k = 0; k < p->k; k++) {
        for (uint32_t i = 0; i < p->m; i++) {
            plus[i * p->k + k] = encode(p, left_element(i, k));
            minus[i * p->k + k] = encode(p, -left_element(i, k));
        }
        for (uint32_t j = 0; j < p->n; j++)
            right[j * p->k + k] = encode(p, right_element(k, j));
    }
    const bool bf16 = p->kind == MATRIX_BF16;
    char defines[160];
    snprintf(defines, sizeof defines,
             "#define BD_M %u\n#define BD_N %u\n#define BD_K %u\n#define BD_TYPE \"%s\"\n#define BD_BF16 %d\n", p->m,
             p->n, p->k, bf16 ? "bf16" : "f16", bf16);
    const uint32_t local = p->raw.device->info.limits.subgroup_size;
    p->items -= p->items % local;
    p->results = (int64_t)(p->items / local) * p->m * p->n;
    bd_status status = create(p, "bench_matrix", defines, local, parameters, size, error);
    free(parameters);
    return status;
}

static bd_status create_codes(peak *p, bd_error *error)
{
    const bool whole = p->kind == CODES_INT8;
    const uint64_t size = HEADER_WORDS * sizeof(uint32_t) + (2 * (uint64_t)p->m + p->n) * p->k;
    uint32_t *parameters = calloc(1, size);
    if (!parameters)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for matrices of %llu bytes", (unsigned long long)size);
    uint8_t *code = (uint8_t *)(parameters + HEADER_WORDS);
    for (uint32_t line = 0; line < 2 * p->m + p->n; line++)
        for (uint32_t k = 0; k < p->k; k++) {
            const double value = line < p->m       ? left_element(line, k)
                                 : line < 2 * p->m ? -left_element(line - p->m, k)
                                                   : right_element(k, line - 2 * p->m);
            bd_format_encode(whole ? BD_I8 : BD_F8E4M3, &value, code++, 1);
        }
    bd_text defines = { 0 };
    bd_text_append(&defines, "#define BD_N %uu\n#define BD_SUM %s\n", p->n, whole ? "int" : "float");
    bd_print_multiply_codes(&defines, whole ? "s8" : "e4m3", whole ? "s8" : "e4m3", whole, p->n);
    p->items -= p->items % WARPGROUP;
    p->results = (int64_t)(p->items / WARPGROUP) * p->m * p->n;
    bd_status status = defines.failed ? bd_fail(error, BD_ERROR_MEMORY, "no memory for a kernel")
                                      : create(p, "bench_codes", defines.data, WARPGROUP, parameters, size, error);
    bd_text_finish(&defines);
    free(parameters);
    return status;
}

static float right_matrix(const peak *p, int64_t element)
{
    const uint32_t i = (uint32_t)(element / p->n % p->m), j = (uint32_t)(element % p->n);
    int sum = 0;
    for (uint32_t k = 0; k < p->k; k++)
        sum += left_element(i, k) * right_element(k, j);
    return (float)(chains(p) * sum + chains(p) * (chains(p) - 1) / 2); /* the chains begin with 0, 1, 2, ... */
}

/* ---- the rows ---- */

/* Enough rounds for a run of least_seconds. */
static bd_status calibrate(peak *p, bd_error *error)
{
    double seconds = 0;
    bd_status status = BD_OK;
    for (uint32_t rounds = 16; !status && seconds < least_seconds && rounds <= MOST_ROUNDS; rounds *= 2) {
        status = set_rounds(p, rounds, error);
        if (!status)
            status = bench_raw_run(&p->raw, 1, error); /* what was never touched is touched */
        const double begun = bench_now();
        if (!status)
            status = bench_raw_run(&p->raw, 1, error);
        seconds = bench_now() - begun;
    }
    return status;
}

static bd_status check(peak *p, bench_row *row, bd_error *error)
{
    float *values = malloc((size_t)p->results * sizeof *values);
    if (!values)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory to check %lld results", (long long)p->results);
    bd_status status = p->raw.device->backend->buffer_read(p->raw.device, p->raw.buffers[1], 0, values,
                                                           (uint64_t)p->results * sizeof *values, NULL, error);
    for (int64_t i = 0; !status && i < p->results; i++) {
        const float right = is_matrix(p) ? right_matrix(p, i) : right_scalar(p, i);
        if (values[i] == right)
            continue;
        bench_set(row, BENCH_WRONG, "result %lld of %lld is %.9g, and %.9g is right", (long long)i,
                  (long long)p->results, (double)values[i], (double)right);
        break;
    }
    free(values);
    return status;
}

/* Additions and multiplications of one step of all chains. */
static double operations(const peak *p)
{
    if (is_matrix(p))
        return 2.0 * chains(p) * (double)p->results * p->k;
    return 2.0 * CHAINS * p->items * (p->kind == DOT ? 4 : p->width);
}

static bd_status measure(bench *self, peak *p, bench_row *row, bd_error *error)
{
    bd_status status = is_codes(p)    ? create_codes(p, error)
                       : is_matrix(p) ? create_matrix(p, error)
                                      : create_scalar(p, error);
    if (!status)
        status = calibrate(p, error);
    if (status)
        return status;
    row->flops = operations(p) * ((double)STEPS * p->rounds + 1);
    const bench_work work = { bench_raw_run, bench_raw_clock, &p->raw };
    status = bench_measure(self, &work, row, error);
    return status || row->status != BENCH_OK || !row->wall.count ? status : check(p, row, error);
}

/* Whether there is a kernel for it that the device can run; else the row says what is missing. */
static bool possible(const bench *self, const peak *p, bench_row *row)
{
    const bd_target *target = &self->device->target;
    const bool opencl = self->device->backend == bd_opencl_backend();
    if (!bench_raw_possible(self, row))
        return false;
    const char *units = self->device->info.matrix_units;
    const bool bf16 = target->nvidia && target->matrix.m; /* from compute capability 8.0 on, both */
    switch (p->kind) {
    case F16:
        if (!target->half.arithmetic)
            bench_set(row, BENCH_UNSUPPORTED, "the driver has no half arithmetic");
        break;
    case BF16:
        if (!bf16)
            bench_set(row, BENCH_UNSUPPORTED, "%s",
                      opencl ? "OpenCL C has no BF16; NVIDIA's inline PTX has, from compute capability 8.0 on"
                             : "Vulkan adds and multiplies BF16 in matrix units only");
        break;
    case DOT:
        if (!target->integer_dot)
            bench_set(row, BENCH_UNSUPPORTED, "the driver has no %s",
                      opencl ? "cl_khr_integer_dot_product" : "VK_KHR_shader_integer_dot_product");
        break;
    case MATRIX_BF16:
        if (units[0] && !target->matrix.bf16) {
            bench_set(row, BENCH_UNSUPPORTED, "the device reports no matrices of BF16, or computes them wrongly");
            break;
        }
        /* fall through */
    case MATRIX_F16:
        if (!units[0])
            bench_set(row, BENCH_UNSUPPORTED, "the device reports no matrix units");
        else if (!target->matrix.m)
            bench_set(row, BENCH_UNSUPPORTED,
                      "this build or --limit leaves none of %s to use (GLSL needs glslang 13, and sums in FP32)",
                      units);
        break;
    case CODES_F8:
    case CODES_INT8:
        if (!(p->kind == CODES_F8 ? target->matrix.warpgroup_codes.f8_bits > 0 : target->matrix.warpgroup_codes.int8))
            bench_set(row, BENCH_UNSUPPORTED, "the device has no wgmma, or it computes wrongly");
        else if (!opencl)
            bench_set(row, BENCH_UNSUPPORTED, "measured through OpenCL, whose PTX Vulkan launches");
        break;
    case F32: break;
    }
    return row->status == BENCH_OK;
}

static bd_status run_one(bench *self, const char *name, arithmetic kind, uint32_t width, bd_error *error)
{
    bench_row *row = bench_add(self, BENCH_PEAK, "raw", "", error, "%s", name);
    if (!row)
        return BD_ERROR_MEMORY;
    row->unit = BENCH_GFLOPS;
    const bd_device *device = self->device;
    const uint32_t units = device->info.limits.compute_units;
    const bd_matrix_units *matrix = &device->target.matrix;
    /* mma.sync has half the columns of the pairs that contractions go by */
    peak p = { .raw = { .device = self->device },
               kind,
               .width = width,
               .m = matrix->m,
               .n = device->target.nvidia ? matrix->n / 2 : matrix->n,
               .k = matrix->k };
    p.items =
        device->target.is_cpu ? units * CPU_ITEMS_A_UNIT : (uint32_t)fmax(GPU_ITEMS, (double)units * ITEMS_A_UNIT);
    if (is_codes(&p)) {
        p.m = 64, p.n = 256, p.k = 32;
        p.items = units * 2 * WARPGROUP;
    }
    bd_error failure = { 0 };
    bd_status status = BD_OK;
    if (possible(self, &p, row))
        status = measure(self, &p, row, &failure);
    bench_raw_finish(&p.raw);
    bench_end(self, row, status, &failure);
    return BD_OK;
}

bd_status bench_peak(bench *self, bd_error *error)
{
    /* A CPU's vectors are the kernel's where the language has them; a GPU's 16-bit values come in pairs. */
    static const struct {
        const char *name;
        arithmetic kind;
        uint32_t width, wide;
    } formats[] = {
        { "fp32", F32, 1, 8 },
        { "fp16 scalar", F16, 1, 1 },
        { "fp16 vector", F16, 2, 8 },
        { "bf16", BF16, 2, 2 },
        { "int8 dot", DOT, 1, 1 },
        { "matrix units fp16", MATRIX_F16, 1, 1 },
        { "matrix units bf16", MATRIX_BF16, 1, 1 },
        { "matrix units fp8", CODES_F8, 1, 1 },
        { "matrix units int8", CODES_INT8, 1, 1 },
    };
    bd_status status = BD_OK;
    for (size_t i = 0; i < sizeof formats / sizeof *formats && !status && !bench_stopped(self); i++) {
        const bd_target *target = &self->device->target;
        const bool wide = target->is_cpu && target->vector_types;
        status = run_one(self, formats[i].name, formats[i].kind, wide ? formats[i].wide : formats[i].width, error);
    }
    return status;
}
