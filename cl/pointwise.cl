/* Elementwise arithmetic, views, pooling and gathers over one index space: one work-item an element. */
#ifndef BD_ARGUMENTS /* so that the skeleton compiles alone */
#define BD_ARGUMENTS __global float *b0
#define BD_LOCAL 64, 1, 1
#define BD_ELEMENTS 64u
#endif

__kernel __attribute__((reqd_work_group_size(BD_LOCAL))) void binade(BD_ARGUMENTS)
{
    const uint i = (uint)(get_global_id(1) * get_global_size(0) + get_global_id(0));
    if (i < BD_ELEMENTS) {
        //@body
    }
}
