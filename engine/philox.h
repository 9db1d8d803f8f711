/* Philox4x32-10, the counter-based random generator of Salmon et al. (SC 2011): no state, so every element of every
 * tensor has its own numbers, the same on every device. */
#ifndef BINADE_ENGINE_PHILOX_H
#define BINADE_ENGINE_PHILOX_H

#include <stdint.h>

void bd_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t result[4]);

/* A uniform number in [0, 1) of 24 bits, which F32 holds exactly. */
static inline double bd_philox_uniform(uint32_t word)
{
    return (word >> 8) * 0x1p-24;
}

#endif
