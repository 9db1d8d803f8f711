/* The operation that compares a tensor before and after rounding: see the header. */
#include "tally.h"

#include "build.h"
#include "kernel.h"

/* A part is worth a work-group of 1,024 items, so many parts occupy a large GPU, and what is added up of them stays
 * short. The longest, so that a loop of eight items of a CPU driver is no longer than BD_LONGEST_CPU_SUM. */
enum { ELEMENTS_OF_A_PART = 16384, MOST_PARTS = 128, LONGEST_PART = 8 * BD_LONGEST_CPU_SUM };

bd_tensor bd_tally(bd_graph *graph, bd_tensor before, bd_tensor after)
{
    const bd_op op = BD_OP_TALLY;
    if (!bd_check_operand(graph, op, before) || !bd_check_operand(graph, op, after))
        return BD_NONE;
    const bd_shape shape = bd_node_at(graph, before)->shape, other = bd_node_at(graph, after)->shape;
    if (!bd_shape_equal(&shape, &other))
        return bd_op_fail(graph, op, "shapes %s and %s differ", BD_SHAPE_TEXT(&shape), BD_SHAPE_TEXT(&other));
    int64_t parts = (bd_shape_elements(&shape) + ELEMENTS_OF_A_PART - 1) / ELEMENTS_OF_A_PART;
    parts = parts < 1 ? 1 : parts > MOST_PARTS ? MOST_PARTS : parts;
    if (bd_shape_elements(&shape) / parts > LONGEST_PART)
        parts = (bd_shape_elements(&shape) + LONGEST_PART - 1) / LONGEST_PART;
    bd_tensor result;
    bd_append2(graph, op, BD_SHAPE(parts, BD_TALLY_COLUMNS), before, after, &result);
    return result;
}
