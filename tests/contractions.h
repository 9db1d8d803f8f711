/* Contractions of halves, described by their sizes, for tests of what becomes of them. */
#ifndef BINADE_TESTS_CONTRACTIONS_H
#define BINADE_TESTS_CONTRACTIONS_H

#include "engine/kernel.h"

typedef struct contraction_case {
    bd_op op;
    int64_t m, n, k;   /* of a product */
    bool transpose[2]; /* of a product */
    /* Of a convolution or one of its gradients: what it reads, forward, and how many channels it makes. */
    int64_t images, rows, columns, channels, outputs;
    bd_window window;
} contraction_case;

#define PRODUCT(M, N, K, TRANSPOSE_A, TRANSPOSE_B)                                                                     \
    {                                                                                                                  \
        .op = BD_OP_MATMUL, .m = M, .n = N, .k = K, .transpose = { TRANSPOSE_A, TRANSPOSE_B }                          \
    }
/* A square window with the same padding and stride on all sides. */
#define CONVOLUTION(OP, IMAGES, ROWS, COLUMNS, CHANNELS, OUTPUTS, SIZE, STRIDE, PAD)                                   \
    {                                                                                                                  \
        .op = OP, .images = IMAGES, .rows = ROWS, .columns = COLUMNS, .channels = CHANNELS, .outputs = OUTPUTS,        \
        .window = {                                                                                                    \
            { SIZE, SIZE },                                                                                            \
            { STRIDE, STRIDE },                                                                                        \
            { { PAD, PAD }, { PAD, PAD } }                                                                             \
        }                                                                                                              \
    }

/* An empty graph with the contraction; its operands are the variables /a and /b. The caller destroys it. */
bd_graph *contraction_graph(const contraction_case *c, bd_tensor *y);
/* The plan of a graph in which the contraction's result is stored as halves. The caller destroys it. */
bd_plan *contraction_plan(bd_graph *graph, bd_tensor y, const bd_target *target);
/* The contraction's kernel in a plan. */
bd_kernel *contraction_kernel(const bd_plan *plan);

/* An H100 with tensor maps, and the tile for them that most contractions have. */
bd_target target_with_maps(void);
extern const bd_tile tile_with_maps;

#endif
