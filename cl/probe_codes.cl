/* Finds out, when a device is opened, whether PTX makes halves of F8E4M3 as contraction_matrix.cl does it: a pair a work-item. */
__kernel void binade(__global const ushort *in, __global uint *out)
{
    uint result;
    asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(result) : "h"(in[get_global_id(0)]));
    out[get_global_id(0)] = result;
}
