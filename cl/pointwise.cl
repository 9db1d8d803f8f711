/* Elementwise arithmetic, views, pooling and gathers over one index space: one work-item an element, or BD_WIDTH of them. */
#ifndef BD_ARGUMENTS /* so that the skeleton compiles alone */
#define BD_ARGUMENTS __global float *b0
#define BD_LOCAL 64, 1, 1
#define BD_ELEMENTS 64u
#define BD_WIDTH 1u
#define BD_WHOLE 0 /* 1: there are just as many work-items, in one row of groups */
#endif

__kernel __attribute__((reqd_work_group_size(BD_LOCAL))) void binade(BD_ARGUMENTS)
{
#if BD_WHOLE /* PoCL vectorises this, but not what stands under a condition: 3 to 6 times faster there */
    const uint i = (uint)get_global_id(0) * BD_WIDTH;
    {
#else
    const uint i = (uint)(get_global_id(1) * get_global_size(0) + get_global_id(0)) * BD_WIDTH;
    if (i < BD_ELEMENTS) {
#endif
        //@body
    }
}
