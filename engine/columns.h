/* Sums over columns behind a contraction: where the sum, mean or deviations of a contraction's results (or of what is
 * made of them, element by element) are taken over the rows, the work-groups that make those store partial results of
 * their rows beside them, and the reduction's first pass over memory is spared. A partial result is of a strip of
 * BD_STRIP rows, whatever the tile, and the reduction that puts them together is the one that it would have had anyway
 * (rewrite.c cuts it, fuse.c puts the part into the contraction's kernel, print_columns.c writes it).
 *
 * Items sum a few rows each and put their sums together two by two in a fixed order. Of means and deviations each item
 * sums from its first value, and then takes the mean of both and the deviations from that (Chan, Golub and LeVeque,
 * "Algorithms for Computing the Sample Variance", 1983), so that nothing large cancels. */
#ifndef BINADE_ENGINE_COLUMNS_H
#define BINADE_ENGINE_COLUMNS_H

#include "kernel.h"

enum {
    BD_STRIP = 64, /* rows of a partial result: of a tile's m a divisor, else the tile cannot */
    BD_COLUMN_NUMBERS =
        4, /* that the partial results of a column in one kernel may be: of a sum one, of mean and deviations two */
};

/* What is summed of a column. */
typedef struct bd_column_sum {
    bd_tensor input;
    bool moments; /* mean and deviations, one of them or both; else the sum */
} bd_column_sum;

/* Into how many partial results the reduction of `input` (a node of `graph`, in which nothing is cut yet) over all its
 * axes but the last is cut, so that fusion can put them behind the contraction that makes its input; 0 where there is
 * none such. */
int64_t bd_column_strips(const bd_graph *graph, bd_tensor input, const bd_node *reduction, const bd_extent *extent,
                         const bd_target *target, const bd_compile_options *options);
/* Are the partial results of the reduction, which was cut so, of the strips of this contraction, and may its
 * work-groups sum them? */
bool bd_columns_are_strips(const bd_graph *graph, bd_tensor contraction, bd_tensor reduction, const bd_target *target);
/* Adds what the reduction sums to `count` others, unless it is there; returns how many there are now. */
int bd_add_column_sum(const bd_graph *graph, bd_tensor reduction, bd_column_sum *sums, int count);
/* Of how many numbers a column's partial results are. */
int bd_count_column_numbers(const bd_column_sum *sums, int count);
/* What a contraction's kernel sums of its columns; returns how many. */
int bd_kernel_column_sums(const bd_graph *graph, const bd_kernel *kernel, bd_column_sum sums[BD_COLUMN_NUMBERS]);
/* Does it sum any? */
bool bd_kernel_sums_columns(const bd_kernel *kernel);
/* Can work-groups of this tile do so? */
bool bd_tile_sums_columns(const bd_graph *graph, bd_tensor contraction, const bd_tile *tile, const bd_target *target);

#endif
