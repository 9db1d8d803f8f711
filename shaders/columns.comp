// Reductions over leading axes: BD_COLUMNS columns side by side, BD_LANES invocations to each, one pass.
#ifndef BD_COLUMNS // so that the skeleton compiles alone
#define BD_COLUMNS 32
#define BD_LANES 2
#define BD_BLOCKS 1u // of columns
#define BD_OUTER 1u
#define BD_LENGTH 64u // of a whole column
#define BD_CHUNK 64u  // of a part of it
#define BD_INNER 32u
#define BD_OUTPUTS 1u // outer times chunks
#endif
layout(local_size_x = BD_COLUMNS, local_size_y = BD_LANES) in;
//@declare

#if BD_LANES > 1
shared float scratch[BD_COLUMNS * BD_LANES];
#define BD_REDUCE(combine, v)                                                                                          \
    barrier();                                                                                                         \
    scratch[lane * BD_COLUMNS + gl_LocalInvocationID.x] = v;                                                           \
    for (uint half_ = BD_LANES / 2; half_ > 0; half_ /= 2) {                                                           \
        barrier();                                                                                                     \
        if (lane < half_) {                                                                                            \
            const uint at_ = lane * BD_COLUMNS + gl_LocalInvocationID.x;                                               \
            scratch[at_] = combine(scratch[at_], scratch[at_ + half_ * BD_COLUMNS]);                                   \
        }                                                                                                              \
    }                                                                                                                  \
    barrier();                                                                                                         \
    v = scratch[gl_LocalInvocationID.x]
#else
#define BD_REDUCE(combine, v)
#endif

void main()
{
    const uint lane = gl_LocalInvocationID.y;
    const uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    const uint column = group % BD_BLOCKS * BD_COLUMNS + gl_LocalInvocationID.x;
    const uint output_ = group / BD_BLOCKS; // the chunk, then the outer index
    const bool inside = column < BD_INNER && output_ < BD_OUTPUTS;
    const uint outer = output_ % BD_OUTER;
    const uint first = output_ / BD_OUTER * BD_CHUNK;
    const uint last = inside ? min(first + BD_CHUNK, BD_LENGTH) : 0u;
    const uint o = output_ * BD_INNER + column;
    //@body
}
