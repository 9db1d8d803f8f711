/* What OpenCL devices there are, asked without opening any. */
#include "opencl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* From extensions of NVIDIA and AMD (cl_nv_device_attribute_query, cl_amd_device_attribute_query). */
#define DEVICE_WARP_SIZE_NV 0x4003
#define DEVICE_WAVEFRONT_WIDTH_AMD 0x4043
/* Each is a pointer and an offset: so many fill the smallest CL_DEVICE_MAX_PARAMETER_SIZE of a full profile, 1024. */
#define MAX_BINDINGS 64
/* NVIDIA's limit in the second and third dimension; other drivers have none below size_t. */
#define MAX_GROUPS_YZ 65535
#define VENDOR_NVIDIA 0x10de

typedef struct found_device {
    cl_platform_id platform;
    cl_device_id id;
    size_t order; /* as the loader tells them */
    bd_device_info info;
} found_device;

static void get_text(cl_device_id id, cl_device_info what, char *text, size_t size)
{
    char value[1024] = "";
    if (clGetDeviceInfo(id, what, sizeof value, value, NULL) != CL_SUCCESS)
        value[0] = '\0';
    const char *start = value + strspn(value, " ");
    size_t length = strlen(start);
    while (length > 0 && start[length - 1] == ' ')
        --length;
    snprintf(text, size, "%.*s", (int)length, start);
}

static cl_uint get_uint(cl_device_id id, cl_device_info what)
{
    cl_uint value = 0;
    return clGetDeviceInfo(id, what, sizeof value, &value, NULL) == CL_SUCCESS ? value : 0;
}

static cl_ulong get_ulong(cl_device_id id, cl_device_info what)
{
    cl_ulong value = 0;
    return clGetDeviceInfo(id, what, sizeof value, &value, NULL) == CL_SUCCESS ? value : 0;
}

static uint32_t saturate(uint64_t value)
{
    return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

bool opencl_has_extension(cl_device_id id, const char *extension)
{
    size_t size = 0, length = strlen(extension);
    if (clGetDeviceInfo(id, CL_DEVICE_EXTENSIONS, 0, NULL, &size) != CL_SUCCESS)
        return false;
    char *all = calloc(size + 1, 1);
    bool found = false;
    if (all && clGetDeviceInfo(id, CL_DEVICE_EXTENSIONS, size, all, NULL) == CL_SUCCESS)
        for (const char *at = all; !found && (at = strstr(at, extension)); at += length)
            found = (at == all || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0');
    free(all);
    return found;
}

bool opencl_is_nvidia(cl_device_id id)
{
    return get_uint(id, CL_DEVICE_VENDOR_ID) == VENDOR_NVIDIA;
}

/* OpenCL 1.2 or later, full profile, little endian, ready, with a compiler. */
static bool is_usable(cl_device_id id)
{
    char version[128], profile[64];
    int major = 0, minor = 0;
    get_text(id, CL_DEVICE_VERSION, version, sizeof version);
    get_text(id, CL_DEVICE_PROFILE, profile, sizeof profile);
    return sscanf(version, "OpenCL %d.%d", &major, &minor) == 2 && (major > 1 || minor >= 2) &&
           strcmp(profile, "FULL_PROFILE") == 0 && get_uint(id, CL_DEVICE_ENDIAN_LITTLE) &&
           get_uint(id, CL_DEVICE_AVAILABLE) && get_uint(id, CL_DEVICE_COMPILER_AVAILABLE);
}

static bd_device_type device_type(cl_device_id id)
{
    cl_ulong type = get_ulong(id, CL_DEVICE_TYPE);
    if (type & CL_DEVICE_TYPE_CPU)
        return BD_DEVICE_CPU;
    if (type & CL_DEVICE_TYPE_GPU)
        return get_uint(id, CL_DEVICE_HOST_UNIFIED_MEMORY) ? BD_DEVICE_INTEGRATED : BD_DEVICE_DISCRETE;
    return BD_DEVICE_OTHER;
}

static void fill_limits(cl_device_id id, bd_limits *limits)
{
    size_t items = 0, sizes[3] = { 0 };
    clGetDeviceInfo(id, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof items, &items, NULL);
    /* A device with more dimensions than three refuses the smaller array; three are the least there are. */
    if (clGetDeviceInfo(id, CL_DEVICE_MAX_WORK_ITEM_SIZES, sizeof sizes, sizes, NULL) != CL_SUCCESS)
        sizes[0] = items, sizes[1] = sizes[2] = 1;
    limits->memory_bytes = get_ulong(id, CL_DEVICE_GLOBAL_MEM_SIZE);
    limits->max_buffer_bytes = limits->max_binding_bytes = get_ulong(id, CL_DEVICE_MAX_MEM_ALLOC_SIZE);
    limits->max_bindings = MAX_BINDINGS;
    limits->buffer_alignment = get_uint(id, CL_DEVICE_MEM_BASE_ADDR_ALIGN) / 8;
    limits->max_workgroup_items = saturate(items);
    for (int i = 0; i < 3; ++i) {
        limits->max_workgroup_size[i] = saturate(sizes[i]);
        limits->max_workgroup_count[i] = i == 0 ? INT32_MAX : MAX_GROUPS_YZ;
    }
    limits->shared_bytes = saturate(get_ulong(id, CL_DEVICE_LOCAL_MEM_SIZE));
    limits->compute_units = get_uint(id, CL_DEVICE_MAX_COMPUTE_UNITS);
    if (opencl_has_extension(id, "cl_nv_device_attribute_query"))
        limits->subgroup_size = get_uint(id, DEVICE_WARP_SIZE_NV);
    else if (opencl_has_extension(id, "cl_amd_device_attribute_query"))
        limits->subgroup_size = get_uint(id, DEVICE_WAVEFRONT_WIDTH_AMD);
}

static void fill_info(cl_platform_id platform, cl_device_id id, bd_device_info *info)
{
    char platform_name[96] = "", driver[48], version[32];
    clGetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof platform_name, platform_name, NULL);
    get_text(id, CL_DRIVER_VERSION, driver, sizeof driver);
    get_text(id, CL_DEVICE_VERSION, version, sizeof version);
    if (strlen(version) > strlen("OpenCL 1.2"))
        version[strlen("OpenCL 1.2")] = '\0'; /* what follows is the vendor's */
    snprintf(info->backend, sizeof info->backend, "opencl");
    get_text(id, CL_DEVICE_NAME, info->name, sizeof info->name);
    get_text(id, CL_DEVICE_VENDOR, info->vendor, sizeof info->vendor);
    snprintf(info->driver, sizeof info->driver, "%.80s %s (%.10s)", platform_name, driver, version);
    info->type = device_type(id);
    fill_limits(id, &info->limits);
    info->half.storage = true; /* vload_half and vstore_half are in every OpenCL */
    info->half.arithmetic = opencl_has_extension(id, "cl_khr_fp16");
}

/* Graphics cards first, so that "opencl" means the fastest; then by names, which do not depend on the order in which
 * the loader read a folder. */
static int compare(const void *left, const void *right)
{
    static const int rank[] = {
        [BD_DEVICE_DISCRETE] = 0, [BD_DEVICE_INTEGRATED] = 1, [BD_DEVICE_OTHER] = 2, [BD_DEVICE_CPU] = 3
    };
    const found_device *a = left, *b = right;
    int order = rank[a->info.type] - rank[b->info.type];
    if (order == 0)
        order = strcmp(a->info.driver, b->info.driver);
    if (order == 0)
        order = strcmp(a->info.name, b->info.name);
    return order ? order : (a->order > b->order) - (a->order < b->order);
}

/* All usable devices in their order; the caller frees. A platform or device that fails is left out. */
static bd_status find_all(found_device **devices, size_t *count, bd_error *error)
{
    cl_uint platform_count = 0;
    *devices = NULL;
    *count = 0;
    /* Without any driver the loader says CL_PLATFORM_NOT_FOUND_KHR. */
    if (clGetPlatformIDs(0, NULL, &platform_count) != CL_SUCCESS || platform_count == 0)
        return BD_OK;
    cl_platform_id *platforms = calloc(platform_count, sizeof *platforms);
    cl_device_id *ids = NULL;
    bd_status status = platforms ? BD_OK : BD_ERROR_MEMORY;
    if (platforms && clGetPlatformIDs(platform_count, platforms, NULL) != CL_SUCCESS)
        platform_count = 0;
    for (cl_uint i = 0; status == BD_OK && i < platform_count; ++i) {
        cl_uint id_count = 0;
        if (clGetDeviceIDs(platforms[i], CL_DEVICE_TYPE_ALL, 0, NULL, &id_count) != CL_SUCCESS || id_count == 0)
            continue;
        free(ids);
        ids = calloc(id_count, sizeof *ids);
        found_device *more = realloc(*devices, (*count + id_count) * sizeof *more);
        if (more)
            *devices = more;
        if (!ids || !more) {
            status = BD_ERROR_MEMORY;
            break;
        }
        if (clGetDeviceIDs(platforms[i], CL_DEVICE_TYPE_ALL, id_count, ids, NULL) != CL_SUCCESS)
            continue;
        for (cl_uint j = 0; j < id_count; ++j) {
            if (!is_usable(ids[j]))
                continue;
            found_device *device = &(*devices)[*count];
            *device = (found_device){ .platform = platforms[i], .id = ids[j], .order = (*count)++ };
            fill_info(platforms[i], ids[j], &device->info);
        }
    }
    free(ids);
    free(platforms);
    if (status != BD_OK) {
        free(*devices);
        *devices = NULL;
        *count = 0;
        return bd_fail(error, status, "no memory to list OpenCL devices");
    }
    if (*count > 0)
        qsort(*devices, *count, sizeof **devices, compare);
    for (size_t i = 0; i < *count; ++i)
        snprintf((*devices)[i].info.id, sizeof(*devices)[i].info.id, "opencl:%zu", i);
    return BD_OK;
}

bd_status opencl_list(bd_device_info **infos, size_t *count, bd_error *error)
{
    found_device *devices;
    size_t found;
    bd_status status = find_all(&devices, &found, error);
    if (status != BD_OK || found == 0)
        return status;
    bd_device_info *more = realloc(*infos, (*count + found) * sizeof *more);
    if (more) {
        for (size_t i = 0; i < found; ++i)
            more[*count + i] = devices[i].info;
        *infos = more;
        *count += found;
    } else {
        status = bd_fail(error, BD_ERROR_MEMORY, "no memory to list OpenCL devices");
    }
    free(devices);
    return status;
}

bd_status opencl_find(size_t index, cl_platform_id *platform, cl_device_id *id, bd_device_info *info, bd_error *error)
{
    found_device *devices;
    size_t found;
    bd_status status = find_all(&devices, &found, error);
    if (status != BD_OK)
        return status;
    if (index < found) {
        *platform = devices[index].platform;
        *id = devices[index].id;
        *info = devices[index].info;
    } else {
        status = bd_fail(error, BD_ERROR_ARGUMENT, "there is no OpenCL device number %zu; %zu found", index, found);
    }
    free(devices);
    return status;
}
