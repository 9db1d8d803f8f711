/* Makes a tensor map (engine/tensor_map.h) out of zeros, by the instructions of PTX that change one (PTX ISA 8.3, tensormap.replace, for
 * sm_90a), in shared memory, from where it goes to byte `first` + 128 * `side` of `maps`; the address that it holds goes behind both maps.
 * One work-group of 32. */
#define PUT32(field, ord, value)                                                                                       \
    asm volatile("//+tensormap.replace.tile." field ".shared::cta.b1024.b32 [%0], " ord "%1;\n" : : "r"(at), "r"((uint)(value)) : "memory")
#define PUT64(field, ord, value)                                                                                       \
    asm volatile("//+tensormap.replace.tile." field ".shared::cta.b1024.b64 [%0], " ord "%1;\n" : : "r"(at), "l"(value) : "memory")
#define CHOOSE(field, value)                                                                                           \
    asm volatile("//+tensormap.replace.tile." field ".shared::cta.b1024.b32 [%0], " value ";\n" : : "r"(at) : "memory")

__kernel __attribute__((reqd_work_group_size(32, 1, 1))) void
binade(__global uchar *maps, __global const uchar *data, const ulong first, const ulong side, const ulong offset, const ulong rank,
       const ulong size0, const ulong size1, const ulong size2, const ulong size3, const ulong box0, const ulong box1, const ulong box2,
       const ulong box3, const ulong stride0, const ulong stride1, const ulong stride2)
{
    __local __attribute__((aligned(128))) uint4 words[8];
    const uint item = (uint)get_local_id(0), at = (uint)(size_t)words;
    const ulong address = (ulong)(size_t)(data + offset);
    if (item < 8u)
        words[item] = (uint4)(0u);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item == 0u) {
        PUT64("global_address", "", address);
        PUT32("rank", "", rank - 1u);
        PUT32("box_dim", "0, ", box0);
        PUT32("global_dim", "0, ", size0);
        PUT32("element_stride", "0, ", 1u);
        PUT32("box_dim", "1, ", box1);
        PUT32("global_dim", "1, ", size1);
        PUT32("element_stride", "1, ", 1u);
        PUT64("global_stride", "0, ", stride0);
        if (rank > 2u) {
            PUT32("box_dim", "2, ", box2);
            PUT32("global_dim", "2, ", size2);
            PUT32("element_stride", "2, ", 1u);
            PUT64("global_stride", "1, ", stride1);
            PUT32("box_dim", "3, ", box3);
            PUT32("global_dim", "3, ", size3);
            PUT32("element_stride", "3, ", 1u);
            PUT64("global_stride", "2, ", stride2);
        }
        CHOOSE("elemtype", "6");          /* halves: what has 16 bits is copied as it is */
        CHOOSE("interleave_layout", "0"); /* none */
        CHOOSE("swizzle_mode", "3");      /* 128 bytes: eight pieces of 16 by the line's number */
        CHOOSE("fill_mode", "0");         /* zeros */
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item < 8u)
        ((__global uint4 *)(maps + first + side * 128u))[item] = words[item];
    if (item == 8u)
        ((__global ulong *)(maps + first + 256u))[side] = address;
}
