// Reductions over leading axes: BD_COLUMNS times BD_WIDTH columns side by side, BD_LANES invocations to each BD_WIDTH, one pass.
#ifndef BD_COLUMNS // so that the skeleton compiles alone
#define BD_COLUMNS 32
#define BD_BESIDE 1 // results, each with all of its columns
#define BD_LANES 2
#define BD_WIDTH 1u // columns of an invocation
#define BD_SLOTS 1  // of values that the lanes put together at once
#define BD_BLOCKS 1u // of columns
#define BD_OUTER 1u
#define BD_LENGTH 64u // of a whole column
#define BD_CHUNK 64u  // of a part of it
#define BD_INNER 32u
#define BD_RAGGED 0 // 1: the last block is not full
#define BD_OUTPUTS 1u // outer times chunks
#endif
layout(local_size_x = BD_COLUMNS * BD_BESIDE, local_size_y = BD_LANES) in;
//@declare

#if BD_LANES > 1
shared float scratch[BD_SLOTS * BD_COLUMNS * BD_LANES];
#endif
#define BD_SLOT(slot, row) scratch[((slot) * BD_LANES + (row)) * BD_COLUMNS + gl_LocalInvocationID.x]

void main()
{
    const uint lane = gl_LocalInvocationID.y;
    const uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
#if BD_BESIDE > 1 // there is one block
    const uint side = gl_LocalInvocationID.x % BD_COLUMNS * BD_WIDTH;
    const uint output_ = group * BD_BESIDE + gl_LocalInvocationID.x / BD_COLUMNS; // the chunk, then the outer index
#else
    const uint side = (group % BD_BLOCKS * BD_COLUMNS + gl_LocalInvocationID.x) * BD_WIDTH;
    const uint output_ = group / BD_BLOCKS;
#endif
    const bool inside = side < BD_INNER && output_ < BD_OUTPUTS;
#if BD_RAGGED // loads that stand before the loop are good where there is no column, too
    const uint column = min(side, BD_INNER - BD_WIDTH);
#else
    const uint column = side;
#endif
    const uint outer = output_ % BD_OUTER;
    const uint first = output_ / BD_OUTER * BD_CHUNK;
    const uint last = inside ? min(first + BD_CHUNK, BD_LENGTH) : 0u;
    const uint o = output_ * BD_INNER + column;
    //@body
    //@last
}
