/* Stands in for the Vulkan backend where it is not built in. */
#include "../backend.h"

const bd_backend *bd_vulkan_backend(void)
{
    return NULL;
}
