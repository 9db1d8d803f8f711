/* The front end of devices: lists those of all backends, opens one by a name that a person would type. */
#include "../backends/backend.h"
#include "cache.h"
#include "quirks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* In the order in which devices are listed; each returns NULL where it is not built in. */
static const bd_backend *(*const backends[])(void) = { bd_opencl_backend, bd_vulkan_backend, bd_reference_backend };
enum { BACKENDS = sizeof backends / sizeof *backends };

bd_status bd_device_list(bd_device_info **infos, size_t *count, bd_error *error)
{
    if (!infos || !count)
        return bd_fail(error, BD_ERROR_ARGUMENT, "bd_device_list: a result pointer is NULL");
    *infos = NULL;
    *count = 0;
    for (size_t i = 0; i < BACKENDS; i++) {
        const bd_backend *backend = backends[i]();
        bd_status status = backend ? backend->list(infos, count, error) : BD_OK;
        if (status != BD_OK) {
            free(*infos);
            *infos = NULL;
            *count = 0;
            return status;
        }
    }
    return BD_OK;
}

/* "opencl:0, vulkan:0, reference" */
static void list_ids(const bd_device_info *infos, size_t count, char *text, size_t size)
{
    text[0] = 0;
    for (size_t i = 0, length = 0; i < count && length < size; i++)
        length += (size_t)snprintf(text + length, size - length, "%s%s", i ? ", " : "", infos[i].id);
}

/* An id, else a backend's name, else a part of a device's name. */
static bool find(const bd_device_info *infos, size_t count, const char *name, size_t *index)
{
    for (size_t i = 0; i < count; i++)
        if (strcasecmp(infos[i].id, name) == 0)
            return *index = i, true;
    for (size_t i = 0; i < count; i++)
        if (strcasecmp(infos[i].backend, name) == 0)
            return *index = i, true;
    for (size_t i = 0; i < count; i++)
        if (*name && strcasestr(infos[i].name, name))
            return *index = i, true;
    return false;
}

bd_status bd_device_explain_loss(const char *id, bd_status status, const char *when, bd_error *error)
{
    if (status != BD_ERROR_LOST || !error)
        return status;
    const bd_error told = *error;
    return bd_fail(error, status, "%s was lost %s: %.900s", id, when, told.message);
}

bd_status bd_device_open_without_quirks(const char *name, bd_device **device, bd_error *error)
{
    if (!name || !device)
        return bd_fail(error, BD_ERROR_ARGUMENT, "bd_device_open: name or result pointer is NULL");
    *device = NULL;
    bd_device_info *infos;
    size_t count, index;
    bd_status status = bd_device_list(&infos, &count, error);
    if (status != BD_OK)
        return status;
    if (!find(infos, count, name, &index)) {
        char ids[512];
        list_ids(infos, count, ids, sizeof ids);
        bool found = false;
        for (size_t i = 0; i < count; i++)
            found |= strcmp(infos[i].backend, "reference") != 0;
        status = bd_fail(error, BD_ERROR_ARGUMENT, "no device '%s'; there are: %s%s", name, ids,
                         found ? "" : " (no OpenCL or Vulkan driver was found)");
    } else {
        size_t number = 0; /* among those of its backend */
        for (size_t i = 0; i < index; i++)
            number += strcmp(infos[i].backend, infos[index].backend) == 0;
        bd_cache *cache = bd_cache_open();
        status = cache ? BD_OK : bd_fail(error, BD_ERROR_MEMORY, "out of memory for the cache");
        for (size_t i = 0; i < BACKENDS && status == BD_OK; i++) {
            const bd_backend *backend = backends[i]();
            if (backend && strcmp(backend->name, infos[index].backend) == 0)
                status = backend->open(number, cache, device, error);
        }
        if (status != BD_OK)
            bd_cache_close(&cache);
        status = bd_device_explain_loss(infos[index].id, status, "while it was opened", error);
    }
    free(infos);
    return status;
}

bd_status bd_device_open(const char *name, bd_device **device, bd_error *error)
{
    bd_status status = bd_device_open_without_quirks(name, device, error);
    const char *wish = getenv("BINADE_QUIRKS");
    if (status != BD_OK || (wish && strcmp(wish, "off") == 0))
        return status;
    bd_quirks quirks;
    status = bd_quirks_load(&(*device)->info, &quirks, error);
    if (status == BD_OK)
        bd_quirks_apply(&quirks, *device);
    else
        bd_device_close(device);
    return status;
}

void bd_device_close(bd_device **device)
{
    if (!device || !*device)
        return;
    bd_cache *cache = (*device)->cache;
    (*device)->backend->close(*device);
    bd_cache_close(&cache);
    *device = NULL;
}

const bd_device_info *bd_device_get_info(const bd_device *device)
{
    return device ? &device->info : NULL;
}
