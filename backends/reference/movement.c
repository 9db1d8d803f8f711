/* Views, concatenation, packing, gather and scatter: which element goes where. */
#include "evaluate.h"

#include <string.h>

typedef struct strides {
    int64_t step[BD_MAX_RANK];
} strides;

static strides row_major(const bd_shape *shape)
{
    strides result = { { 0 } };
    int64_t step = 1;
    for (int i = shape->rank - 1; i >= 0; i--) {
        result.step[i] = step;
        step *= shape->dim[i];
    }
    return result;
}

/* target[sum of index * target step] = source[sum of index * source step] for every index of the box. */
static void copy_box(const bd_shape *box, const double *source, strides from, double *target, strides to)
{
    int64_t count = bd_shape_elements(box), index[BD_MAX_RANK] = { 0 };
    for (int64_t n = 0; n < count; n++) {
        *target = *source;
        for (int axis = box->rank - 1; axis >= 0; axis--) {
            source += from.step[axis];
            target += to.step[axis];
            if (++index[axis] < box->dim[axis])
                break;
            source -= from.step[axis] * box->dim[axis];
            target -= to.step[axis] * box->dim[axis];
            index[axis] = 0;
        }
    }
}

static void broadcast(const bd_node *node, const bd_shape *shape, const double *x, double *result)
{
    strides packed = row_major(shape), from = { { 0 } };
    int added = node->shape.rank - shape->rank;
    for (int i = 0; i < shape->rank; i++)
        from.step[added + i] = shape->dim[i] == 1 ? 0 : packed.step[i];
    copy_box(&node->shape, x, from, result, row_major(&node->shape));
}

static void permute(const bd_node *node, const bd_shape *shape, const double *x, double *result)
{
    strides packed = row_major(shape), from = { { 0 } };
    for (int i = 0; i < node->shape.rank; i++)
        from.step[i] = packed.step[node->attr.axes[i]];
    copy_box(&node->shape, x, from, result, row_major(&node->shape));
}

static void slice(const bd_node *node, const bd_shape *shape, const double *x, double *result)
{
    strides from = row_major(shape);
    x += node->attr.range.first * from.step[node->attr.range.axis];
    copy_box(&node->shape, x, from, result, row_major(&node->shape));
}

static void pad(const bd_node *node, const bd_shape *shape, const double *x, double *result)
{
    strides to = row_major(&node->shape);
    result += node->attr.range.first * to.step[node->attr.range.axis];
    copy_box(shape, x, row_major(shape), result, to);
}

static void concat(const bd_evaluation *evaluation, const bd_node *node, double *result)
{
    strides to = row_major(&node->shape);
    int axis = node->attr.axis;
    for (int i = 0; i < node->input_count; i++) {
        const bd_shape *shape = bd_input_shape(evaluation, node, i);
        copy_box(shape, bd_evaluated(evaluation, node, i), row_major(shape), result, to);
        result += shape->dim[axis] * to.step[axis];
    }
}

static void pack(const bd_evaluation *evaluation, const bd_node *node, double *result)
{
    for (int i = 0; i < node->input_count; i++) {
        int64_t count = bd_shape_elements(bd_input_shape(evaluation, node, i));
        memcpy(result + node->attr.pack[i], bd_evaluated(evaluation, node, i), (size_t)count * sizeof *result);
    }
}

/* Elements after the first axis. */
static int64_t row_elements(const bd_shape *shape)
{
    int64_t elements = 1;
    for (int i = 1; i < shape->rank; i++)
        elements *= shape->dim[i];
    return elements;
}

static int64_t clamp_index(double index, int64_t rows)
{
    if (!(index > 0)) /* NaN too */
        return 0;
    return index < (double)rows ? (int64_t)index : rows - 1;
}

static void gather(const bd_evaluation *evaluation, const bd_node *node, double *result)
{
    const bd_shape *table_shape = bd_input_shape(evaluation, node, 0);
    const double *table = bd_evaluated(evaluation, node, 0), *index = bd_evaluated(evaluation, node, 1);
    int64_t rows = table_shape->dim[0], row = row_elements(table_shape);
    int64_t count = rows > 0 ? bd_shape_elements(bd_input_shape(evaluation, node, 1)) : 0;
    for (int64_t i = 0; i < count; i++)
        memcpy(result + i * row, table + clamp_index(index[i], rows) * row, (size_t)row * sizeof *result);
}

static void scatter_add(const bd_evaluation *evaluation, const bd_node *node, double *result)
{
    const double *values = bd_evaluated(evaluation, node, 0), *index = bd_evaluated(evaluation, node, 1);
    /* Of a plan that sums in parts: [chunks, elements], each part of the places after the other. */
    const int64_t chunks = node->chunks > 1 ? node->chunks : 1, size = bd_shape_elements(&node->shape) / chunks;
    const int64_t count = size > 0 ? bd_shape_elements(bd_input_shape(evaluation, node, 1)) : 0;
    const int64_t row = count > 0 ? bd_shape_elements(bd_input_shape(evaluation, node, 0)) / count : 0;
    const int64_t length = (count + chunks - 1) / chunks;
    for (int64_t i = 0; i < count && row > 0; i++) {
        double *target = result + i / length * size + clamp_index(index[i], size / row) * row;
        for (int64_t j = 0; j < row; j++)
            target[j] += values[i * row + j];
    }
}

void bd_evaluate_movement(const bd_evaluation *evaluation, const bd_node *node, double *result)
{
    const bd_shape *shape = bd_input_shape(evaluation, node, 0);
    const double *x = bd_evaluated(evaluation, node, 0);
    switch (node->op) {
    case BD_OP_BROADCAST: broadcast(node, shape, x, result); break;
    case BD_OP_RESHAPE: memcpy(result, x, (size_t)bd_shape_elements(shape) * sizeof *result); break;
    case BD_OP_PERMUTE: permute(node, shape, x, result); break;
    case BD_OP_SLICE: slice(node, shape, x, result); break;
    case BD_OP_PAD: pad(node, shape, x, result); break;
    case BD_OP_CONCAT: concat(evaluation, node, result); break;
    case BD_OP_PACK: pack(evaluation, node, result); break;
    case BD_OP_GATHER: gather(evaluation, node, result); break;
    case BD_OP_SCATTER_ADD: scatter_add(evaluation, node, result); break;
    default: break; /* not reached */
    }
}
