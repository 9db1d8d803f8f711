// Elementwise arithmetic, views, pooling and gathers over one index space: one invocation an element, or
// BD_WIDTH of them.
#ifndef BD_ELEMENTS // so that the skeleton compiles alone
#define BD_LOCAL_X 64
#define BD_ELEMENTS 64u
#define BD_WIDTH 1u
#endif
layout(local_size_x = BD_LOCAL_X) in;
//@declare

void main()
{
    const uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    const uint i = (group * BD_LOCAL_X + gl_LocalInvocationID.x) * BD_WIDTH;
    if (i < BD_ELEMENTS) {
        //@body
    }
}
