#include "lists.h"
#include "app.h"
#include "limited.h"
#include <stdlib.h>
#include <string.h>

bd_status list_each(const char *option, const char *text, bool settings, void *user,
                    bd_status (*add)(void *user, const char *item, bd_error *error), bd_error *error)
{
    char *copy = strdup(text);
    if (!copy)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for --%s", option);
    bd_status status = BD_OK;
    for (char *item = copy; !status && item;) {
        char *end = strchr(item, ',');
        while (settings && end && strcspn(end + 1, "=") < strcspn(end + 1, ","))
            end = strchr(end + 1, ',');
        if (end)
            *end++ = '\0';
        status = *item ? add(user, item, error)
                       : bd_fail(error, BD_ERROR_ARGUMENT, "--%s %s: an item of the list is empty", option, text);
        item = end;
    }
    free(copy);
    return status;
}

bd_status list_grow(void **list, size_t count, size_t size, bd_error *error)
{
    void *bigger = realloc(*list, (count + 1) * size);
    if (!bigger)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for a list of %zu", count + 1);
    *list = bigger;
    return BD_OK;
}

bd_status list_add_device(bd_device_info **devices, size_t *count, const char *name, const char *limit, bd_error *error)
{
    bd_device *device = NULL;
    bd_status status = limited_open(name, limit, &device, error);
    if (status)
        return status;
    const bd_device_info info = *bd_device_get_info(device);
    bd_device_close(&device);
    for (size_t i = 0; i < *count; i++)
        if (!strcmp((*devices)[i].id, info.id))
            return BD_OK; /* named twice */
    status = list_grow((void **)devices, *count, sizeof(info), error);
    if (!status)
        (*devices)[(*count)++] = info;
    return status;
}

bd_status list_add_all_devices(bd_device_info **devices, size_t *count, const char *limit, bd_error *error)
{
    bd_device_info *infos = NULL;
    size_t found = 0;
    bd_status status = bd_device_list(&infos, &found, error);
    for (size_t i = 0; !status && i < found; i++) {
        bd_error reason = { 0 };
        if (!strcmp(infos[i].backend, "reference") || !list_add_device(devices, count, infos[i].id, limit, &reason))
            continue;
        if (reason.status == BD_ERROR_ARGUMENT) /* names from the list are right */
            status = bd_fail(error, reason.status, "%s", reason.message);
        else
            app_report(reason.status, &reason);
    }
    free(infos);
    return status;
}
