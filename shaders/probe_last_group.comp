// Finds out, when a device is opened, whether the last work-group sees what the others stored (engine/last_group_probe.h). Each group counts itself
// in its block; the block's last one adds up what invocations of all its groups stored, another's for each. Loads of words that others store in
// this run put old ones into caches, from where they must not be taken later.
#ifndef ITEMS // so that the kernel compiles alone
#define ITEMS 256u
#define GROUPS 1024u
#define BLOCKS 8u
#endif
#define SUMS (2u * BLOCKS + GROUPS * ITEMS)
layout(local_size_x = ITEMS) in;
layout(set = 0, binding = 0) coherent buffer State { uint state[]; };
shared uint last_ticket;

void main()
{
    const uint group = gl_WorkGroupID.x, item = BD_ITEM, block = group % BLOCKS;
    const uint run = state[BLOCKS + block], place = group * ITEMS + item;
    const uint old = state[2u * BLOCKS + (place + BLOCKS * ITEMS) % (GROUPS * ITEMS)];
    state[2u * BLOCKS + place] = (((run + 1u) * 2654435761u + place * 40503u) & 0x7fffffffu) + (old == 0xffffffffu ? 1u : 0u);
    BD_DEVICE_FENCE;
    BD_BARRIER;
    if (item == 0u)
        last_ticket = BD_COUNT(state, block);
    BD_BARRIER;
    if (last_ticket == GROUPS / BLOCKS - 1u) {
        BD_DEVICE_FENCE;
        uint sum = 0u;
        for (uint g = block; g < GROUPS; g += BLOCKS)
            sum += state[2u * BLOCKS + g * ITEMS + (item + 1u) % ITEMS];
        state[SUMS + (run * BLOCKS + block) * ITEMS + item] = sum;
        if (item == 0u) {
            state[block] = 0u;
            state[BLOCKS + block] = run + 1u;
        }
    }
}
