/* A device to plan for: a processor with tensor cores, as NVIDIA's OpenCL has them. */
#ifndef BINADE_TESTS_TENSOR_CORES_H
#define BINADE_TESTS_TENSOR_CORES_H

#include "engine/kernel.h"

static inline bd_target tensor_cores(void)
{
    bd_target target;
    bd_target_default(&target);
    target.nvidia = target.vector_types = true;
    target.limits.max_workgroup_items = target.limits.max_workgroup_size[0] = 1024;
    target.matrix = (bd_matrix_units){ 16, 16, 16, 32, 98304, 197632, .bf16 = true, .e4m3 = true };
    return target;
}

#endif
