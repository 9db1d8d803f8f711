// Counts what rounding did to a tensor (engine/tally.h), a work-group to a part: each value is counted in its column in shared memory, and
// what is summed is in registers until the end.
#ifndef BD_ROWS // so that the skeleton compiles alone
#define BD_LOCAL_X 64
#define BD_ROWS 1u // of a tally
#define BD_WIDTH 1u // neighbours that an invocation takes at once
#endif
layout(local_size_x = BD_LOCAL_X) in;
//@declare

#if BD_LOCAL_X > 1 // neighbours are often in one column: the more copies it has, the fewer wait for each other
#define COPIES 8u
#else
#define COPIES 1u
#endif
#define ADD_ONE(column) atomicAdd(counts[(column) * COPIES + lane % COPIES], 1u)

shared uint counts[BD_TALLY_COLUMNS * COPIES];
shared float squares[2 * BD_LOCAL_X];

// A value before and after.
#define BD_TALLY(before, after)                                     \
    {                                                               \
        const uint column = bd_tally_column(before);                \
        ADD_ONE(column);                                            \
        if (column != uint(BD_TALLY_NONFINITE)) {                   \
            largest = max(largest, bd_tally_bits(before));          \
            power += (before) * (before);                           \
            const uint left = bd_tally_bits(after);                 \
            if (left >= 0x7f800000u) {                              \
                ADD_ONE(uint(BD_TALLY_OVERFLOWS));                  \
            } else {                                                \
                precise float change = (after) - (before);          \
                noise += change * change;                           \
                if (left == 0u && column != uint(BD_TALLY_ZEROS))   \
                    ADD_ONE(uint(BD_TALLY_LOST));                   \
            }                                                       \
        }                                                           \
    }

// All invocations' numbers, for all.
#define BD_MERGE                                                    \
    atomicMax(counts[BD_TALLY_LARGEST * COPIES], largest);          \
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

float BD_TOTAL(uint column)
{
    uint number = 0u;
    for (uint copy = 0u; copy < COPIES; copy++)
        number += counts[column * COPIES + copy];
    return column == uint(BD_TALLY_LARGEST) ? uintBitsToFloat(number)
           : column == uint(BD_TALLY_POWER) ? squares[0]
           : column == uint(BD_TALLY_NOISE) ? squares[BD_LOCAL_X]
                                            : float(number);
}

void main()
{
    const uint lane = gl_LocalInvocationID.x;
    const uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    const uint number = group / BD_ROWS, part = group % BD_ROWS; // of the tally, and of its parts
    uint largest = 0u;
    float power = 0.0, noise = 0.0;
    for (uint at = lane; at < BD_TALLY_COLUMNS * COPIES; at += BD_LOCAL_X)
        counts[at] = 0u;
    BD_BARRIER;
    //@body
}
