/* Reductions over the last axes: BD_LANES work-items share a row, BD_ROWS rows a work-group. Several reductions that depend
 * on each other run one pass after the other over the same row. */
#ifndef BD_ARGUMENTS /* so that the skeleton compiles alone */
#define BD_ARGUMENTS __global float *b0
#define BD_LOCAL 64, 1, 1
#define BD_LANES 64
#define BD_ROWS 1
#define BD_SLOTS 1 /* of values that the lanes put together at once */
#define BD_ROW_COUNT 1u /* rows times chunks */
#define BD_OUTER 1u
#define BD_LENGTH 64u /* of a whole row */
#define BD_CHUNK 64u  /* of a part of it */
#endif

#define BD_SLOT(slot, at) scratch[((slot) * BD_ROWS + get_local_id(1)) * BD_LANES + (at)]

__kernel __attribute__((reqd_work_group_size(BD_LOCAL))) void binade(BD_ARGUMENTS)
{
#if BD_LANES > 1
    __local float scratch[BD_SLOTS * BD_LANES * BD_ROWS];
#endif
    const uint lane = (uint)get_local_id(0);
    const uint group = (uint)(get_group_id(1) * get_num_groups(0) + get_group_id(0));
    const bool inside = group * BD_ROWS + (uint)get_local_id(1) < BD_ROW_COUNT;
    const uint o = min(group * BD_ROWS + (uint)get_local_id(1), BD_ROW_COUNT - 1u);
    const uint row = o % BD_OUTER; /* o is the chunk, then the row */
    const uint first = o / BD_OUTER * BD_CHUNK;
    const uint last = inside ? min(first + BD_CHUNK, BD_LENGTH) : 0u;
    //@body
}
