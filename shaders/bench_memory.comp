// Memory read, written or both, 16 bytes at a time: `binade bench --suite bandwidth`.
#ifndef BD_KIND // so that the skeleton compiles alone
#define BD_LOCAL_X 64
#define BD_KIND 0   // 0 copy, 1 read, 2 write
#define BD_PARTS 1u // read: elements that an invocation sums
#endif
layout(local_size_x = BD_LOCAL_X) in;
layout(std430, set = 0, binding = 0) readonly buffer Input { uvec4 given[]; };
layout(std430, set = 0, binding = 1) writeonly buffer Output { uvec4 results[]; };

void main()
{
    const uint i = (gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x) * BD_LOCAL_X + gl_LocalInvocationID.x;
#if BD_KIND == 0
    results[i] = given[i];
#elif BD_KIND == 1
    const uint items = gl_NumWorkGroups.x * gl_NumWorkGroups.y * BD_LOCAL_X;
    uvec4 sum = uvec4(0u);
    for (uint part = 0u; part < BD_PARTS; part++)
        sum += given[part * items + i];
    results[i] = sum;
#else
    results[i] = uvec4(4u * i, 4u * i + 1u, 4u * i + 2u, 4u * i + 3u);
#endif
}
