/* Kernel source to cl_program: compiled once, then loaded from the disk cache. */
#include "opencl.h"

#include "../nvidia/ptx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_LINES 4

/* The first lines of the build log that say something, joined in one. */
static bd_status build_failure(opencl_device *device, cl_program program, cl_int code, const char *what,
                               bd_error *error)
{
    char first_lines[700] = "";
    size_t size = 0, used = 0;
    int lines = 0;
    char *log = NULL;
    if (clGetProgramBuildInfo(program, device->id, CL_PROGRAM_BUILD_LOG, 0, NULL, &size) == CL_SUCCESS)
        log = calloc(size + 1, 1);
    if (log && clGetProgramBuildInfo(program, device->id, CL_PROGRAM_BUILD_LOG, size, log, NULL) == CL_SUCCESS) {
        char *state;
        for (char *line = strtok_r(log, "\n", &state); line && lines < LOG_LINES; line = strtok_r(NULL, "\n", &state)) {
            used += (size_t)snprintf(first_lines + used, sizeof first_lines - used, "%s%s", lines++ ? " | " : "", line);
            if (used >= sizeof first_lines)
                break;
        }
    }
    free(log);
    return bd_fail(error, BD_ERROR_DEVICE, "%s does not compile kernel \"%s\": %s: %s", device->base.info.name, what,
                   opencl_error_name(code), first_lines);
}

/* The program's binary, one byte longer and ending with 0; NULL if there is none. The caller frees it. */
static char *read_binary(cl_program program, size_t *size)
{
    if (clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof *size, size, NULL) != CL_SUCCESS || *size == 0)
        return NULL;
    unsigned char *binary = calloc(*size + 1, 1);
    if (binary && clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof binary, &binary, NULL) != CL_SUCCESS) {
        free(binary);
        binary = NULL;
    }
    return (char *)binary;
}

static void store_binary(opencl_device *device, bd_cache_key key, cl_program program)
{
    size_t size;
    char *binary = read_binary(program, &size);
    if (binary)
        bd_cache_put(device->base.cache, "opencl", key, binary, size);
    free(binary);
}

static cl_program create_from_binary(opencl_device *device, void *binary, size_t size)
{
    cl_int code, status;
    cl_program program = clCreateProgramWithBinary(device->context, 1, &device->id, &size,
                                                   (const unsigned char **)&binary, &status, &code);
    if (code != CL_SUCCESS)
        return NULL;
    if (status != CL_SUCCESS) {
        clReleaseProgram(program);
        return NULL;
    }
    return program;
}

/* Creates and builds a program from source. */
static bd_status build_source(opencl_device *device, const char *source, const char *options, const char *what,
                              cl_program *program, bd_error *error)
{
    cl_int code;
    *program = clCreateProgramWithSource(device->context, 1, &source, NULL, &code);
    if (code != CL_SUCCESS)
        return opencl_fail(error, code, what);
    code = clBuildProgram(*program, 1, &device->id, options, NULL, NULL);
    if (code == CL_SUCCESS)
        return BD_OK;
    const bd_status status = build_failure(device, *program, code, what, error);
    clReleaseProgram(*program);
    return status;
}

/* NVIDIA's binary is PTX: if anything in it is covered, the program is replaced by one with everything uncovered. */
static bd_status uncover(opencl_device *device, const char *options, const char *what, cl_program *program,
                         bd_error *error)
{
    size_t size;
    char *ptx = read_binary(*program, &size);
    if (!ptx || !bd_ptx_is_covered(ptx)) {
        free(ptx);
        return BD_OK;
    }
    char *newer = bd_ptx_uncover(ptx);
    cl_program uncovered = newer ? create_from_binary(device, newer, strlen(newer) + 1) : NULL;
    free(ptx);
    free(newer);
    cl_int code = CL_INVALID_BINARY;
    if (uncovered) {
        clReleaseProgram(*program);
        *program = uncovered;
        code = clBuildProgram(uncovered, 1, &device->id, options, NULL, NULL);
    }
    return code == CL_SUCCESS ? BD_OK : build_failure(device, *program, code, what, error);
}

static cl_program load_binary(opencl_device *device, bd_cache_key key, const char *options)
{
    void *binary = NULL;
    size_t size = 0;
    if (!bd_cache_get(device->base.cache, "opencl", key, &binary, &size))
        return NULL;
    cl_program program = create_from_binary(device, binary, size);
    free(binary);
    if (program && clBuildProgram(program, 1, &device->id, options, NULL, NULL) != CL_SUCCESS) {
        clReleaseProgram(program);
        return NULL;
    }
    return program;
}

bd_status opencl_build(opencl_device *device, const char *source, const char *extra, const char *what,
                       cl_program *program, bd_error *error)
{
    char options[sizeof device->options + 128];
    snprintf(options, sizeof options, "%s%s %s", strstr(extra, "-cl-std=") ? "" : OPENCL_STANDARD " ", device->options,
             extra);
    bd_cache_key key = bd_cache_hash((const char *[]){ device->identity, options, source }, 3);
    *program = load_binary(device, key, options);
    if (*program)
        return BD_OK;
    cl_program built;
    bd_status status = build_source(device, source, options, what, &built, error);
    if (status != BD_OK)
        return status;
    if (device->nvidia)
        status = uncover(device, options, what, &built, error);
    if (status != BD_OK) {
        clReleaseProgram(built);
        return status;
    }
    store_binary(device, key, built);
    *program = built;
    return BD_OK;
}

bd_status opencl_ptx(opencl_device *device, const char *source, const char *what, char **ptx, bd_error *error)
{
    cl_program program;
    *ptx = NULL;
    char options[sizeof device->options + sizeof OPENCL_STANDARD + 1];
    snprintf(options, sizeof options, OPENCL_STANDARD " %s", device->options);
    bd_status status = build_source(device, source, options, what, &program, error);
    if (status != BD_OK)
        return status;
    size_t size;
    char *binary = read_binary(program, &size);
    clReleaseProgram(program);
    *ptx = binary && bd_ptx_is_covered(binary) ? bd_ptx_uncover(binary) : binary;
    if (*ptx != binary)
        free(binary);
    return *ptx
               ? BD_OK
               : bd_fail(error, BD_ERROR_UNSUPPORTED, "kernel %s: %s gives no PTX of it", what, device->base.info.name);
}
