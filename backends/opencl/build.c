/* Kernel source to cl_program: compiled once, then loaded from the disk cache. */
#include "opencl.h"

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

static cl_program load_binary(opencl_device *device, bd_cache_key key, const char *options)
{
    void *binary = NULL;
    size_t size = 0;
    if (!bd_cache_get(device->base.cache, "opencl", key, &binary, &size))
        return NULL;
    cl_int code, status;
    cl_program program = clCreateProgramWithBinary(device->context, 1, &device->id, &size,
                                                   (const unsigned char **)&binary, &status, &code);
    free(binary);
    if (code != CL_SUCCESS)
        return NULL;
    if (status != CL_SUCCESS || clBuildProgram(program, 1, &device->id, options, NULL, NULL) != CL_SUCCESS) {
        clReleaseProgram(program);
        return NULL;
    }
    return program;
}

static void store_binary(opencl_device *device, bd_cache_key key, cl_program program)
{
    size_t size = 0;
    if (clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof size, &size, NULL) != CL_SUCCESS || size == 0)
        return;
    unsigned char *binary = malloc(size);
    if (binary && clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof binary, &binary, NULL) == CL_SUCCESS)
        bd_cache_put(device->base.cache, "opencl", key, binary, size);
    free(binary);
}

bd_status opencl_build(opencl_device *device, const char *source, const char *extra, const char *what,
                       cl_program *program, bd_error *error)
{
    char options[sizeof device->options + 128];
    snprintf(options, sizeof options, "%s %s", device->options, extra);
    bd_cache_key key = bd_cache_hash((const char *[]){ device->identity, options, source }, 3);
    *program = load_binary(device, key, options);
    if (*program)
        return BD_OK;
    cl_int code;
    cl_program built = clCreateProgramWithSource(device->context, 1, &source, NULL, &code);
    if (code != CL_SUCCESS)
        return opencl_fail(error, code, what);
    code = clBuildProgram(built, 1, &device->id, options, NULL, NULL);
    if (code != CL_SUCCESS) {
        bd_status status = build_failure(device, built, code, what, error);
        clReleaseProgram(built);
        return status;
    }
    store_binary(device, key, built);
    *program = built;
    return BD_OK;
}
