// Reductions over the last axes: BD_LANES invocations share a row, BD_ROWS rows a work-group. Several reductions that
// depend on each other run one pass after the other over the same row.
#ifndef BD_LANES // so that the skeleton compiles alone
#define BD_LANES 64
#define BD_ROWS 1
#define BD_ROW_COUNT 1u // rows times chunks
#define BD_OUTER 1u
#define BD_LENGTH 64u // of a whole row
#define BD_CHUNK 64u  // of a part of it
#endif
layout(local_size_x = BD_LANES, local_size_y = BD_ROWS) in;
//@declare

#if BD_LANES > 1
shared float scratch[BD_LANES * BD_ROWS];
#define BD_REDUCE(combine, v)                                                                                          \
    barrier();                                                                                                         \
    scratch[gl_LocalInvocationID.y * BD_LANES + lane] = v;                                                             \
    for (uint half_ = BD_LANES / 2; half_ > 0; half_ /= 2) {                                                           \
        barrier();                                                                                                     \
        if (lane < half_) {                                                                                            \
            const uint at_ = gl_LocalInvocationID.y * BD_LANES + lane;                                                 \
            scratch[at_] = combine(scratch[at_], scratch[at_ + half_]);                                                \
        }                                                                                                              \
    }                                                                                                                  \
    barrier();                                                                                                         \
    v = scratch[gl_LocalInvocationID.y * BD_LANES]
#else
#define BD_REDUCE(combine, v)
#endif

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
