/* What is counted of a tensor before and after rounding. */
#include "../engine/tally.h"
#include "case.h"

/* Counts are exact, and the largest magnitude is a value; sums of squares are what any order of `length` terms gives. A
 * term of the power is one rounding from exact. One of the noise is two: of the difference, which its square has twice,
 * and of the square. */
static void tally(session *s, format_set f, int64_t count, fill_kind before, fill_kind after)
{
    test_case c;
    if (!case_begin(&c, s, f, "of %lld %s", (long long)count, before == FILL_SPECIAL ? "special values" : "values"))
        return;
    bd_tensor x = case_input(&c, f.value, BD_SHAPE(count), before), y = case_input(&c, f.value, BD_SHAPE(count), after);
    bd_set_role(c.graph, BD_ROLE_FIXED);
    bd_tensor rows = bd_tally(c.graph, x, y);
    case_output(&c, bd_slice(c.graph, rows, 1, 0, BD_TALLY_POWER), bit_identical);
    case_output(&c, bd_slice(c.graph, rows, 1, BD_TALLY_POWER, 1), sum_of(count, 1));
    case_output(&c, bd_slice(c.graph, rows, 1, BD_TALLY_NOISE, 1), sum_of(count, 3));
    bd_tensor total = bd_sum(c.graph, rows, 0, 1, false); /* of counts up to 2^24 exact */
    case_output(&c, bd_slice(c.graph, total, 0, 0, BD_TALLY_LARGEST), bit_identical);
    case_run(&c);
}

/* Small tensors, which one kernel counts, a work-group each: of lengths that neighbours fit and do not fit into. */
static void several(session *s, format_set f)
{
    static const int64_t counts[] = { 10, 64, 1000, 3, 256, 5, 16, 1, 600 };
    test_case c;
    if (!case_begin(&c, s, f, "of small tensors"))
        return;
    enum { TENSORS = sizeof counts / sizeof *counts };
    bd_tensor x = case_input(&c, f.value, BD_SHAPE(2048), FILL_SPECIAL),
              y = case_input(&c, f.value, BD_SHAPE(2048), FILL_SPECIAL);
    bd_tensor rows[TENSORS];
    bd_set_role(c.graph, BD_ROLE_FIXED);
    for (int64_t i = 0, first = 0; i < TENSORS; first += counts[i++])
        rows[i] =
            bd_tally(c.graph, bd_slice(c.graph, x, 0, first, counts[i]), bd_slice(c.graph, y, 0, first, counts[i]));
    case_output(&c, bd_slice(c.graph, bd_concat(c.graph, rows, TENSORS, 0), 1, 0, BD_TALLY_POWER), bit_identical);
    case_run(&c);
}

void test_tally(session *s)
{
    tally(s, fp16, 1, FILL_UNIFORM, FILL_UNIFORM);
    tally(s, fp16, 1023, FILL_SPECIAL, FILL_SPECIAL);
    tally(s, fp16, 5000, FILL_SPECIAL, FILL_SPECIAL);
    tally(s, fp32, 5000, FILL_WHOLE, FILL_WHOLE);
    tally(s, fp32, 5000, FILL_UNIFORM, FILL_WHOLE);
    tally(s, mixed, 1500000, FILL_UNIFORM, FILL_UNIFORM);
    several(s, fp16);
}
