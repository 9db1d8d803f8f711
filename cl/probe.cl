/* Kernels that find out what a device does with halves, run when it is opened (backends/opencl/probe.c). They follow
 * the prelude, compiled with one way of converting and computing at a time; "driver" kernels use the driver's own. */
__kernel void encode(__global const float *in, __global ushort *out)
{
    size_t i = get_global_id(0);
    BD_STORE_f16(out, i, in[i]);
}
__kernel void round_value(__global const float *in, __global float *out)
{
    size_t i = get_global_id(0);
    out[i] = bd_round_f16(in[i]);
}
__kernel void decode(__global const ushort *in, __global float *out)
{
    size_t i = get_global_id(0);
    out[i] = BD_LOAD_f16(in, i);
}
#if BD_NVIDIA /* NVIDIA reports no cl_khr_fp16, but PTX has half arithmetic */
#define NATIVE(name, instruction)                                                                                      \
    static inline float name(float a, float b)                                                                         \
    {                                                                                                                  \
        ushort result;                                                                                                 \
        asm(instruction " %0, %1, %2;" : "=h"(result) : "h"(bd_f16_bits(a)), "h"(bd_f16_bits(b)));                     \
        return bd_f16_value(result);                                                                                   \
    }
NATIVE(add, "add.rn.f16")
NATIVE(subtract, "sub.rn.f16")
NATIVE(multiply, "mul.rn.f16")
#else
#define add(a, b) BD_ADD_f16(a, b)
#define subtract(a, b) BD_SUB_f16(a, b)
#define multiply(a, b) BD_MUL_f16(a, b)
#endif
/* Two numbers give four: sum, difference, product, and product plus first, which must be rounded in between. */
__kernel void arithmetic(__global const ushort *in, __global ushort *out)
{
    size_t i = get_global_id(0);
    float a = BD_LOAD_f16(in, 2 * i), b = BD_LOAD_f16(in, 2 * i + 1);
    BD_STORE_f16(out, 4 * i, add(a, b));
    BD_STORE_f16(out, 4 * i + 1, subtract(a, b));
    BD_STORE_f16(out, 4 * i + 2, multiply(a, b));
    BD_STORE_f16(out, 4 * i + 3, add(multiply(a, b), a));
}
__kernel void driver_encode(__global const float *in, __global half *out)
{
    size_t i = get_global_id(0);
    vstore_half_rte(in[i], i, out);
}
__kernel void driver_encode_default(__global const float *in, __global half *out)
{
    size_t i = get_global_id(0);
    vstore_half(in[i], i, out);
}
__kernel void driver_decode(__global const half *in, __global float *out)
{
    size_t i = get_global_id(0);
    out[i] = vload_half(i, in);
}
/* Three ways of making 1.5 times a number. */
__kernel void enlarge(__global const float *in, __global float *out)
{
    size_t i = get_global_id(0);
    out[3 * i] = in[i] + 0.5f * in[i];
    out[3 * i + 1] = 1.5f * in[i];
    out[3 * i + 2] = fma(0.5f, in[i], in[i]);
}
