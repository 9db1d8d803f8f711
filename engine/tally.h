/* What bd_tally counts and sums of a tensor: the columns of its result. */
#ifndef BINADE_ENGINE_TALLY_H
#define BINADE_ENGINE_TALLY_H

#include "node.h"
#include "tally_columns.h"

/* Compares a tensor before and after something, rounding say: [parts, BD_TALLY_COLUMNS], one row for each of so many
 * parts of equal length of the flattened tensors (the last may be shorter), which are chosen by the number of elements
 * alone. The sum of the rows, and of BD_TALLY_LARGEST the largest, is what holds for the whole tensor. No gradient.
 * Shapes must be equal. */
bd_tensor bd_tally(bd_graph *graph, bd_tensor before, bd_tensor after);

#endif
