/* Contractions in double, element by element: what the results of kernels are judged by. */
#ifndef BINADE_ENGINE_JUDGE_H
#define BINADE_ENGINE_JUDGE_H

#include "tile.h"

typedef struct bd_judge {
    const bd_node *node; /* a product or a pass of a convolution */
    bd_contraction c;
    bd_shape a, b;           /* of its operands */
    const double *values[2]; /* what they hold */
} bd_judge;

typedef struct bd_exact_sum {
    double value, magnitude; /* of the products, and of their magnitudes */
    int64_t terms;           /* products that are not 0 */
} bd_exact_sum;

/* Of a node of the graph; `values` is left to the caller. */
bd_judge bd_judge_of(const bd_graph *graph, bd_tensor node);
/* Element `i` of the result. */
bd_exact_sum bd_judge_element(const bd_judge *judge, int64_t i);

#endif
