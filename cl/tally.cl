/* Counts what rounding did to a tensor (engine/tally.h), a work-group to a part: each value is counted in its column in local memory, and
 * what is summed is in registers until the end. */
#ifndef BD_ARGUMENTS /* so that the skeleton compiles alone */
#define BD_ARGUMENTS __global float *b0
#define BD_LOCAL 64, 1, 1
#define BD_LOCAL_X 64
#define BD_ROWS 1u /* of a tally */
#define BD_WIDTH 1u /* neighbours that a work-item takes at once */
#endif

#if BD_LOCAL_X > 1 /* neighbours are often in one column: the more copies it has, the fewer wait for each other */
#define COPIES 8u
#define ADD_ONE(column) atomic_inc(&counts[(column) * COPIES + lane % COPIES])
#else
#define COPIES 1u
#define ADD_ONE(column) counts[column]++
#endif

/* A value before and after. */
#define BD_TALLY(before, after)                                     \
    {                                                               \
        const uint column = bd_tally_column(before);                \
        ADD_ONE(column);                                            \
        if (column != (uint)BD_TALLY_NONFINITE) {                   \
            largest = max(largest, bd_tally_bits(before));          \
            power += (before) * (before);                           \
            const uint left = bd_tally_bits(after);                 \
            if (left >= 0x7f800000u) {                              \
                ADD_ONE((uint)BD_TALLY_OVERFLOWS);                  \
            } else {                                                \
                const float change = (after) - (before);            \
                noise += change * change;                           \
                if (left == 0u && column != (uint)BD_TALLY_ZEROS)   \
                    ADD_ONE((uint)BD_TALLY_LOST);                   \
            }                                                       \
        }                                                           \
    }

/* All work-items' numbers, for all. */
#define BD_MERGE                                                    \
    atomic_max(&counts[BD_TALLY_LARGEST * COPIES], largest);        \
    squares[lane] = power;                                          \
    squares[BD_LOCAL_X + lane] = noise;                             \
    BD_BARRIER;                                                     \
    for (uint rest = BD_LOCAL_X / 2u; rest > 0u; rest /= 2u) {      \
        if (lane < rest) {                                          \
            squares[lane] += squares[lane + rest];                  \
            squares[BD_LOCAL_X + lane] += squares[BD_LOCAL_X + lane + rest]; \
        }                                                           \
        BD_BARRIER;                                                 \
    }

#define BD_TOTAL(column) total_of(counts, squares, column)

static inline float total_of(const __local uint *counts, const __local float *squares, uint column)
{
    uint number = 0u;
    for (uint copy = 0u; copy < COPIES; copy++)
        number += counts[column * COPIES + copy];
    return column == (uint)BD_TALLY_LARGEST ? as_float(number)
           : column == (uint)BD_TALLY_POWER ? squares[0]
           : column == (uint)BD_TALLY_NOISE ? squares[BD_LOCAL_X]
                                            : (float)number;
}

__kernel __attribute__((reqd_work_group_size(BD_LOCAL))) void binade(BD_ARGUMENTS)
{
    __local uint counts[BD_TALLY_COLUMNS * COPIES];
    __local float squares[2 * BD_LOCAL_X];
    const uint lane = (uint)get_local_id(0);
    const uint group = (uint)(get_group_id(1) * get_num_groups(0) + get_group_id(0));
    const uint number = group / BD_ROWS, part = group % BD_ROWS; /* of the tally, and of its parts */
    uint largest = 0u;
    float power = 0.0f, noise = 0.0f;
    for (uint at = lane; at < BD_TALLY_COLUMNS * COPIES; at += BD_LOCAL_X)
        counts[at] = 0u;
    BD_BARRIER;
    //@body
}
