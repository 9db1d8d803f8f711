/* The table of primitive operations. */
#include "node.h"

#define ELEMENTWISE_ROW(NAME, name, arity, expression, exactness)                                                      \
    [BD_OP_##NAME] = { name, BD_CLASS_ELEMENTWISE, arity, expression, BD_##exactness },
#define ROW(NAME, name, op_class, arity) [BD_OP_##NAME] = { name, BD_CLASS_##op_class, arity, NULL, BD_BUDGET }

static const bd_op_info infos[BD_OP_COUNT] = {
    BD_ELEMENTWISE_OPS(ELEMENTWISE_ROW)

        ROW(VARIABLE, "variable", SOURCE, 0),
    ROW(CONSTANT, "constant", SOURCE, 0),
    ROW(IOTA, "iota", SOURCE, 0),
    ROW(RANDOM, "random", SOURCE, 0),
    ROW(CONTROL, "control", SOURCE, 1),
    ROW(VALID, "valid", SOURCE, 1),

    ROW(BROADCAST, "broadcast", VIEW, 1),
    ROW(RESHAPE, "reshape", VIEW, 1),
    ROW(PERMUTE, "permute", VIEW, 1),
    ROW(SLICE, "slice", VIEW, 1),
    ROW(PAD, "pad", VIEW, 1),

    ROW(BATCH, "batch", WINDOW, -1),
    ROW(CONCAT, "concat", WINDOW, -1),
    ROW(PACK, "pack", WINDOW, -1),
    ROW(GATHER, "gather", WINDOW, 2),
    ROW(SCATTER_ADD, "scatter_add", WINDOW, 2),
    ROW(TALLY, "tally", WINDOW, 2),
    ROW(MAX_POOL, "max_pool", WINDOW, 1),
    ROW(AVG_POOL, "avg_pool", WINDOW, 1),
    ROW(MAX_POOL_GRAD, "max_pool_grad", WINDOW, 2),
    ROW(AVG_POOL_GRAD, "avg_pool_grad", WINDOW, 1),
    ROW(DEPTHWISE, "depthwise", WINDOW, 2),
    ROW(DEPTHWISE_DATA, "depthwise_data", WINDOW, 2),
    ROW(DEPTHWISE_WEIGHT, "depthwise_weight", WINDOW, 2),

    ROW(SUM, "sum", REDUCTION, 1),
    ROW(MAXIMUM, "maximum", REDUCTION, 1),
    ROW(ARGMAX, "argmax", REDUCTION, 1),
    ROW(MEAN, "mean", REDUCTION, 1),
    ROW(DEVIATIONS, "deviations", REDUCTION, -1),

    ROW(MATMUL, "matmul", CONTRACTION, 2),
    ROW(CONV2D, "conv2d", CONTRACTION, 2),
    ROW(CONV2D_DATA, "conv2d_data", CONTRACTION, 2),
    ROW(CONV2D_WEIGHT, "conv2d_weight", CONTRACTION, 2),

    ROW(ATTENTION, "attention", ATTENTION, 1),
    ROW(ATTENTION_SUM, "attention_sum", ATTENTION, 1),
    ROW(ATTENTION_GRAD, "attention_grad", ATTENTION, 4),

    ROW(ASSIGN, "assign", EFFECT, 2),
    ROW(CONTROL_STEP, "control_step", EFFECT, -1),
};

const bd_op_info *bd_op_get_info(bd_op op)
{
    return &infos[op];
}
