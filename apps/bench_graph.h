/* Benchmarks that are small graphs: built, compiled, measured and checked against sums in double precision. */
#ifndef BINADE_APPS_BENCH_GRAPH_H
#define BINADE_APPS_BENCH_GRAPH_H

#include "bench.h"
#include "engine/judge.h"
#include "engine/program.h"

enum { BENCH_OPERANDS = 4, BENCH_RESULTS = 3 };

/* What a check is given: the operands as the device holds them and the result, all as doubles, and the formats by which
 * the graph was rounded. */
typedef struct bench_check {
    const double *operands[BENCH_OPERANDS];
    int which; /* of the results, the one that is judged now */
    const double *result;
    int64_t result_count;
    bd_format value, statistic, accumulator;
    bd_format coarsest;   /* of what is stored: values, statistics and gradients */
    bd_judge contraction; /* of the graph's first product or convolution, if it has one */
    double dropped;       /* of its sum of magnitudes, by matrix units of 8-bit floats (bd_unit_sum_error) */
} bench_check;

/* A benchmark: its operands' shapes, the graph over them, and how to tell whether a result is right. */
typedef struct bench_case {
    int operand_count;
    bd_shape operands[BENCH_OPERANDS];
    const bd_role *roles; /* of a contraction's operands, as bench_operand_role takes them */
    int result_count;
    void (*build)(bd_graph *graph, const bd_tensor *operands, const void *user, bd_tensor results[BENCH_RESULTS]);
    /* True if element `i` of the result is within its bound. */
    bool (*right)(const bench_check *check, int64_t i, const void *user);
    const void *user;
    int checked;  /* elements of each result; 0: 256 */
    double flops; /* of one run, where the kernels' own count has more; 0: that */
    bd_gemm gemm;
} bench_case;

/* One row's work, from graph to checked result. Ends the row. */
void bench_run_case(bench *self, bench_row *row, const bd_precision *policy, const bench_case *c);

/* bench_case.right of a graph that is one product or convolution. */
bool bench_right_contraction(const bench_check *check, int64_t i, const void *user);

/* Does an earlier policy of the list give the same kernels? Never if the list was given by hand. */
bool bench_repeats(const bench *self, size_t policy, bool statistics);

/* ---- error bounds ---- */
double bench_roundoff(bd_format format);
/* What a sum of `terms` products in a format may be off by, as a part of the sum of their magnitudes, in any order:
 * gamma_k = k u / (1 - k u) (Higham, "Accuracy and Stability of Numerical Algorithms", 3.1), or for sums so long that
 * this tells nothing exp(lambda sqrt(k) u + k u^2 / (1 - u)) - 1, which holds for random operands but once in some 10^9
 * sums (Higham and Mary, "A new approach to probabilistic rounding error analysis", 2019). */
double bench_gamma(int64_t terms, bd_format accumulator);
/* A row's softmax, and how far off, relatively, each of its values may be where each input is off by `input_error`. */
typedef struct bench_softmax {
    double greatest, sum, relative;
} bench_softmax;
bench_softmax bench_soften(const double *row, int64_t count, double input_error, const bench_check *check);

/* Is `value` within `error` of `exact`, before its last rounding to the format? */
bool bench_within(bd_format format, double value, double exact, double error);

#endif
