/* What bd_tally counts and sums of a tensor: the columns of its result. */
#ifndef BINADE_ENGINE_TALLY_H
#define BINADE_ENGINE_TALLY_H

#include "node.h"

/* The functions bd_tally_... of both preludes have these numbers too. */
enum bd_tally_column {
    /* Columns 0 to BD_TALLY_BINS - 1: values by their exponent, those of [2^e, 2^(e + 1)) in column e - BD_TALLY_FIRST; the first
     * has all smaller ones but 0 too, the last all larger ones but infinity. */
    BD_TALLY_BINS = 57,
    BD_TALLY_FIRST = -40,
    BD_TALLY_LARGEST = 57, /* the largest finite magnitude */
    BD_TALLY_ZEROS,        /* values that are 0 */
    BD_TALLY_LOST,         /* values other than 0 that became 0 */
    BD_TALLY_OVERFLOWS,    /* finite values that became infinite or NaN */
    BD_TALLY_NONFINITE,    /* values that were infinite or NaN before */
    BD_TALLY_POWER,        /* the sum of squares of finite values */
    BD_TALLY_NOISE,        /* the sum of squares of what was changed in values that are finite before and after */
    BD_TALLY_COLUMNS,
};

/* Compares a tensor before and after something, rounding say: [parts, BD_TALLY_COLUMNS], one row for each of so many parts of
 * equal length of the flattened tensors (the last may be shorter), which are chosen by the number of elements alone. The sum of the rows,
 * and of BD_TALLY_LARGEST the largest, is what holds for the whole tensor. No gradient. Shapes must be equal. */
bd_tensor bd_tally(bd_graph *graph, bd_tensor before, bd_tensor after);

#endif
