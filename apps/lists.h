/* Options that are lists, "fp32,mixed" or "opencl:0,vulkan:0", and the lists that they fill. */
#ifndef BINADE_APPS_LISTS_H
#define BINADE_APPS_LISTS_H

#include <binade/device.h>
#include <stdbool.h>
#include <stddef.h>

/* Cuts `text` at the commas after which a new item begins, and gives each item to `add`, until one fails. With
 * `settings`, a part with '=' belongs to the item before it: "fp32,mixed,scale=1024" are two. An empty item is an error
 * that names the option. */
bd_status list_each(const char *option, const char *text, bool settings, void *user,
                    bd_status (*add)(void *user, const char *item, bd_error *error), bd_error *error);

/* Room for one more element of `size` bytes in a malloc'ed list of `count`, which stays as it was on failure. */
bd_status list_grow(void **list, size_t count, size_t size, bd_error *error);

/* Appends what there is to know of a device, unless it is there already. It is opened for that, so that a wrong name is
 * found before anything runs and the probed fields are filled. `limit` is as for limited_open(). */
bd_status list_add_device(bd_device_info **devices, size_t *count, const char *name, const char *limit,
                          bd_error *error);

/* The same for every OpenCL and Vulkan device. One that cannot be opened is told of on stderr and left out: it was not
 * named. A wrong limit is an error. */
bd_status list_add_all_devices(bd_device_info **devices, size_t *count, const char *limit, bd_error *error);

#endif
