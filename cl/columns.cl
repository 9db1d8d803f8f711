/* Reductions over leading axes: BD_COLUMNS times BD_WIDTH columns side by side, BD_LANES work-items to each BD_WIDTH, one pass. */
#ifndef BD_ARGUMENTS /* so that the skeleton compiles alone */
#define BD_ARGUMENTS __global float *b0
#define BD_LOCAL 32, 2, 1
#define BD_COLUMNS 32
#define BD_LANES 2
#define BD_WIDTH 1u /* columns of a work-item */
#define BD_SLOTS 1  /* of values that the lanes put together at once */
#define BD_BLOCKS 1u /* of columns */
#define BD_OUTER 1u
#define BD_LENGTH 64u /* of a whole column */
#define BD_CHUNK 64u  /* of a part of it */
#define BD_INNER 32u
#define BD_RAGGED 0 /* 1: the last block is not full */
#define BD_OUTPUTS 1u /* outer times chunks */
#endif

#define BD_SLOT(slot, row) scratch[((slot) * BD_LANES + (row)) * BD_COLUMNS + get_local_id(0)]

__kernel __attribute__((reqd_work_group_size(BD_LOCAL))) void binade(BD_ARGUMENTS)
{
    //@local
#if BD_LANES > 1
    __local float scratch[BD_SLOTS * BD_COLUMNS * BD_LANES];
#endif
    const uint lane = (uint)get_local_id(1);
    const uint group = (uint)(get_group_id(1) * get_num_groups(0) + get_group_id(0));
    const uint side = (group % BD_BLOCKS * BD_COLUMNS + (uint)get_local_id(0)) * BD_WIDTH;
    const uint output = group / BD_BLOCKS; /* the chunk, then the outer index */
    const bool inside = side < BD_INNER && output < BD_OUTPUTS;
#if BD_RAGGED /* loads that stand before the loop are good where there is no column, too */
    const uint column = min(side, BD_INNER - BD_WIDTH);
#else
    const uint column = side;
#endif
    const uint outer = output % BD_OUTER;
    const uint first = output / BD_OUTER * BD_CHUNK;
    const uint last = inside ? min(first + BD_CHUNK, BD_LENGTH) : 0u;
    const uint o = output * BD_INNER + column;
    //@body
    //@last
}
