/* Memory read, written or both, 16 bytes at a time: `binade bench --suite bandwidth`. */
#ifndef BD_KIND /* so that the skeleton compiles alone */
#define BD_LOCAL 64, 1, 1
#define BD_KIND 0  /* 0 copy, 1 read, 2 write */
#define BD_PARTS 1 /* read: elements that a work-item sums */
#endif

__kernel __attribute__((reqd_work_group_size(BD_LOCAL))) void binade(__global const uint4 *in, __global uint4 *out,
                                                                     ulong unused0, ulong unused1)
{
    const uint i = (uint)(get_global_id(1) * get_global_size(0) + get_global_id(0));
#if BD_KIND == 0
    out[i] = in[i];
#elif BD_KIND == 1
    const uint items = (uint)(get_global_size(0) * get_global_size(1));
    uint4 sum = (uint4)(0u);
    for (uint part = 0; part < BD_PARTS; part++)
        sum += in[part * items + i];
    out[i] = sum;
#else
    out[i] = (uint4)(4u * i, 4u * i + 1u, 4u * i + 2u, 4u * i + 3u);
#endif
}
