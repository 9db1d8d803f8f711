/* What happened to a tensor's values, counted part by part. */
#include "../../engine/tally.h"
#include "evaluate.h"

#include <math.h>

static void add(double *row, double before, double after)
{
    if (!isfinite(before)) {
        row[BD_TALLY_NONFINITE]++;
        return;
    }
    if (!isfinite(after)) {
        row[BD_TALLY_OVERFLOWS]++;
    } else {
        row[BD_TALLY_NOISE] += (after - before) * (after - before);
    }
    row[BD_TALLY_POWER] += before * before;
    row[BD_TALLY_LARGEST] = fmax(row[BD_TALLY_LARGEST], fabs(before));
    if (before == 0) {
        row[BD_TALLY_ZEROS]++;
        return;
    }
    row[BD_TALLY_LOST] += after == 0;
    const int bin = ilogb(before) - BD_TALLY_FIRST;
    row[bin < 0 ? 0 : bin < BD_TALLY_BINS ? bin : BD_TALLY_BINS - 1]++;
}

void bd_evaluate_tally(const bd_evaluation *evaluation, const bd_node *node, double *result)
{
    const double *before = bd_evaluated(evaluation, node, 0), *after = bd_evaluated(evaluation, node, 1);
    const int64_t count = bd_shape_elements(bd_input_shape(evaluation, node, 0)), parts = node->shape.dim[0];
    const int64_t length = (count + parts - 1) / parts;
    for (int64_t i = 0; i < count; i++)
        add(result + i / length * BD_TALLY_COLUMNS, before[i], after[i]);
}
