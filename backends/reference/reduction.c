/* Sums, maxima and their places over adjacent axes. */
#include "evaluate.h"

#include <math.h>

/* The input seen as [outer, length, inner], of which the middle axis is reduced. */
typedef struct reduction {
    const double *x;
    int64_t outer, length, inner;
} reduction;

static void sum(const bd_node *node, const reduction *r, double *result)
{
    int64_t chunk_length = bd_chunk_length(node, r->length);
    for (int64_t o = 0; o < r->outer; o++) {
        for (int64_t l = 0; l < r->length; l++) {
            const double *x = r->x + (o * r->length + l) * r->inner;
            double *target = result + (l / chunk_length * r->outer + o) * r->inner;
            for (int64_t i = 0; i < r->inner; i++)
                target[i] += x[i];
        }
    }
}

/* How many values element l of the reduced axis stands for. */
static double members(const bd_node *node, int64_t l)
{
    const int64_t each = node->attr.reduce.members;
    return each == 0 ? 1 : fmax(fmin((double)each, (double)(node->attr.reduce.total - l * each)), 0);
}

/* Mean of the values from l to `end`, or the sum of squared deviations from it. Partial results are means, and with
 * `squares` the sums of squared deviations from those. */
static double moment(const bd_node *node, const double *x, const double *squares, int64_t l, int64_t end, int64_t step)
{
    double sum = 0, count = 0, result = 0;
    for (int64_t i = l; i < end; i++) {
        sum += members(node, i) * x[i * step];
        count += members(node, i);
    }
    const double mean = count > 0 ? sum / count : 0;
    if (node->op == BD_OP_MEAN)
        return mean;
    for (int64_t i = l; i < end; i++)
        result += members(node, i) * pow(x[i * step] - mean, 2) + (squares ? squares[i * step] : 0);
    return result;
}

static void find_moments(const bd_node *node, const reduction *r, const double *squares, double *result)
{
    const int64_t chunk_length = bd_chunk_length(node, r->length);
    for (int64_t c = 0; c < node->chunks; c++)
        for (int64_t o = 0; o < r->outer; o++)
            for (int64_t i = 0; i < r->inner; i++) {
                const int64_t at = o * r->length * r->inner + i, first = c * chunk_length, end = first + chunk_length;
                *result++ = moment(node, r->x + at, squares ? squares + at : NULL, first,
                                   end < r->length ? end : r->length, r->inner);
            }
}

/* The first largest of `length` elements `step` apart; a NaN is larger than anything. -1 if there are none. */
static int64_t find_largest(const double *x, int64_t length, int64_t step)
{
    int64_t found = -1;
    for (int64_t l = 0; l < length; l++) {
        if (isnan(x[l * step]))
            return l;
        if (found < 0 || x[l * step] > x[found * step])
            found = l;
    }
    return found;
}

static void find_maxima(const bd_node *node, const reduction *r, double *result)
{
    for (int64_t o = 0; o < r->outer; o++) {
        for (int64_t i = 0; i < r->inner; i++) {
            const double *x = r->x + o * r->length * r->inner + i;
            int64_t found = find_largest(x, r->length, r->inner);
            if (node->op == BD_OP_ARGMAX)
                *result++ = found < 0 ? 0 : (double)found;
            else
                *result++ = found < 0 ? -INFINITY : x[found * r->inner];
        }
    }
}

void bd_evaluate_reduction(const bd_evaluation *evaluation, const bd_node *node, double *result)
{
    const bd_shape *shape = bd_input_shape(evaluation, node, 0);
    int first = node->attr.reduce.first, last = first + node->attr.reduce.count;
    reduction r = { bd_evaluated(evaluation, node, 0), 1, 1, 1 };
    for (int i = 0; i < shape->rank; i++) {
        int64_t *extent = i < first ? &r.outer : i < last ? &r.length : &r.inner;
        *extent *= shape->dim[i];
    }
    if (node->op == BD_OP_SUM)
        sum(node, &r, result);
    else if (node->op == BD_OP_MEAN || node->op == BD_OP_DEVIATIONS)
        find_moments(node, &r, node->input_count > 1 ? bd_evaluated(evaluation, node, 1) : NULL, result);
    else
        find_maxima(node, &r, result);
}
