/* The least that a dispatch can do and be seen to have done: `binade bench --suite launch`. */
#ifndef BD_LOCAL /* so that the skeleton compiles alone */
#define BD_LOCAL 1, 1, 1
#endif

__kernel __attribute__((reqd_work_group_size(BD_LOCAL))) void binade(__global uint *counter, ulong first)
{
    counter[first] += 1u;
}
