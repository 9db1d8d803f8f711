#include "limited.h"

bd_status limited_open(const char *name, const char *limit, bd_device **device, bd_error *error)
{
    bd_status status = bd_device_open(name, device, error);
    if (!status && limit && limit[0])
        status = bd_device_limit(*device, limit, error);
    if (status)
        bd_device_close(device);
    return status;
}
