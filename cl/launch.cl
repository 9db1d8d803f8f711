/* Goes before a kernel that Vulkan launches as PTX: NVIDIA's OpenCL compiler makes these functions from registers that only its own launches
 * set (%envreg). */
static inline size_t launched_group(const uint dimension)
{
    uint x, y;
    asm("mov.u32 %0, %%ctaid.x;" : "=r"(x));
    asm("mov.u32 %0, %%ctaid.y;" : "=r"(y));
    return dimension == 0u ? x : y;
}
static inline size_t launched_groups(const uint dimension)
{
    uint x, y;
    asm("mov.u32 %0, %%nctaid.x;" : "=r"(x));
    asm("mov.u32 %0, %%nctaid.y;" : "=r"(y));
    return dimension == 0u ? x : y;
}
#define get_group_id launched_group
#define get_num_groups launched_groups
