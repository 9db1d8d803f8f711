// The least that a dispatch can do and be seen to have done: `binade bench --suite launch`.
#ifndef BD_LOCAL_X // so that the skeleton compiles alone
#define BD_LOCAL_X 1
#endif
layout(local_size_x = BD_LOCAL_X) in;
layout(std430, set = 0, binding = 0) buffer Counter { uint counter; };

void main()
{
    counter += 1u;
}
