// Reductions over the last axes: BD_LANES invocations share a row, BD_ROWS rows a work-group. Several reductions that
// depend on each other run one pass after the other over the same row.
#ifndef BD_LANES // so that the skeleton compiles alone
#define BD_LANES 64
#define BD_ROWS 1
#define BD_SLOTS 1 // of values that the lanes put together at once
#define BD_ROW_COUNT 1u // rows times chunks
#define BD_OUTER 1u
#define BD_LENGTH 64u // of a whole row
#define BD_CHUNK 64u  // of a part of it
#endif
layout(local_size_x = BD_LANES, local_size_y = BD_ROWS) in;
//@declare

#if BD_LANES > 1
shared float scratch[BD_SLOTS * BD_LANES * BD_ROWS];
#endif
#define BD_SLOT(slot, at) scratch[((slot) * BD_ROWS + gl_LocalInvocationID.y) * BD_LANES + (at)]

void main()
{
    const uint lane = gl_LocalInvocationID.x;
    const uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    const bool inside = group * BD_ROWS + gl_LocalInvocationID.y < BD_ROW_COUNT;
    const uint o = min(group * BD_ROWS + gl_LocalInvocationID.y, BD_ROW_COUNT - 1u);
    const uint row = o % BD_OUTER; // o is the chunk, then the row
    const uint first = o / BD_OUTER * BD_CHUNK;
    const uint last = inside ? min(first + BD_CHUNK, BD_LENGTH) : 0u;
    //@body
}
