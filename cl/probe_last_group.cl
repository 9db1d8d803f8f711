/* Finds out, when a device is opened, whether the last work-group sees what the others stored (engine/last_group_probe.h). Each group counts itself
 * in its block; the block's last one adds up what items of all its groups stored, other items' for each. Loads of words that others store in
 * this run put old ones into caches, from where they must not be taken later. */
#ifndef ITEMS /* so that the kernel compiles alone */
#define ITEMS 256u
#define GROUPS 1024u
#define BLOCKS 8u
#endif
#define BD_LOCAL_X ITEMS

__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void binade(__global uint *state, const ulong first)
{
    __local uint last_ticket[1];
    const uint group = (uint)get_group_id(0), item = BD_ITEM, block = group % BLOCKS;
    __global uint *const stored = state + 2u * BLOCKS, *const sums = stored + GROUPS * ITEMS;
    const uint run = state[BLOCKS + block], place = group * ITEMS + item;
    const uint old = stored[(place + BLOCKS * ITEMS) % (GROUPS * ITEMS)];
    stored[place] = (((run + 1u) * 2654435761u + place * 40503u) & 0x7fffffffu) + (old == 0xffffffffu ? 1u : 0u);
    BD_DEVICE_FENCE;
    BD_BARRIER;
    if (item == 0u)
        last_ticket[0] = BD_COUNT(state, block);
    BD_BARRIER;
    if (last_ticket[0] == GROUPS / BLOCKS - 1u) {
        BD_DEVICE_FENCE;
        uint sum = 0u;
        for (uint g = block; g < GROUPS; g += BLOCKS)
            sum += stored[g * ITEMS + (item + 1u) % ITEMS];
        sums[(run * BLOCKS + block) * ITEMS + item] = sum;
        if (item == 0u) {
            state[block] = 0u;
            state[BLOCKS + block] = run + 1u;
        }
    }
}
