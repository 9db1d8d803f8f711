/* Devices in words, the same in `binade devices` and in the report. */
#ifndef BINADE_APPS_DESCRIBE_H
#define BINADE_APPS_DESCRIBE_H

#include <binade/device.h>
#include <stdio.h>

const char *describe_type(bd_device_type type);
/* The truth about FP16; the last three were probed by running a kernel. */
const char *describe_storage(const bd_half_support *half);
const char *describe_arithmetic(const bd_half_support *half);
const char *describe_rounding(const bd_half_support *half);
const char *describe_subnormals(const bd_half_support *half);

/* What becomes of a policy's sums=unit on the device: "of FP8 by ...". */
void describe_unit_sums(const bd_device_info *info, char *text, size_t size);

/* "vulkan:0   NAME, DRIVER, limited to LIMITS" and a newline. */
void describe_device(FILE *file, const bd_device_info *info);

#endif
