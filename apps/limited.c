#include "limited.h"
#include "app.h"
#include <stdlib.h>
#include <string.h>

bd_status limited_open(const char *name, const char *limit, bd_device **device, bd_error *error)
{
    bd_status status = bd_device_open(name, device, error);
    if (!status && limit && limit[0])
        status = bd_device_limit(*device, limit, error);
    if (status)
        bd_device_close(device);
    return status;
}

bd_status limited_open_first(progress *shown, const char *name, const char *limit, bd_device **device, bd_error *error)
{
    if (name)
        return limited_open(name, limit, device, error);
    bd_device_info *infos = NULL;
    size_t count = 0;
    bd_status status = bd_device_list(&infos, &count, error);
    if (status)
        return status;
    if (!count)
        status = bd_fail(error, BD_ERROR_DEVICE, "no device found: " APP_DRIVER_ADVICE);
    else
        status = limited_open(infos[0].id, limit, device, error);
    if (!status && !strcmp(infos[0].backend, "reference"))
        progress_say(shown, "no OpenCL or Vulkan device found: the reference computes, slowly; " APP_DRIVER_ADVICE);
    free(infos);
    return status;
}
