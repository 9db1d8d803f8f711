/* Movement: the same values in another shape or order. What would change nothing returns its operand. */
#include "build.h"

#include <stdlib.h>
#include <string.h>

bd_tensor bd_broadcast(bd_graph *graph, bd_tensor x, bd_shape shape)
{
    const bd_op op = BD_OP_BROADCAST;
    if (!bd_check_operand(graph, op, x) || !bd_check_shape(graph, op, &shape))
        return BD_NONE;
    const bd_shape *from = &bd_node_at(graph, x)->shape;
    bool fits = from->rank <= shape.rank;
    for (int i = 0; fits && i < from->rank; i++) {
        int64_t to = shape.dim[shape.rank - from->rank + i];
        fits = from->dim[i] == to || from->dim[i] == 1;
    }
    if (!fits)
        return bd_op_fail(graph, op,
                          "shape %s does not broadcast to %s: from the right, each dimension must be equal or 1",
                          BD_SHAPE_TEXT(from), BD_SHAPE_TEXT(&shape));
    if (bd_shape_equal(from, &shape))
        return x;
    bd_tensor result;
    bd_append1(graph, op, shape, x, &result);
    return result;
}

bd_tensor bd_reshape(bd_graph *graph, bd_tensor x, bd_shape shape)
{
    const bd_op op = BD_OP_RESHAPE;
    if (!bd_check_operand(graph, op, x) || !bd_check_shape(graph, op, &shape))
        return BD_NONE;
    const bd_shape *from = &bd_node_at(graph, x)->shape;
    if (bd_shape_elements(from) != bd_shape_elements(&shape))
        return bd_op_fail(graph, op, "shapes %s and %s have different numbers of elements", BD_SHAPE_TEXT(from),
                          BD_SHAPE_TEXT(&shape));
    if (bd_shape_equal(from, &shape))
        return x;
    bd_tensor result;
    bd_append1(graph, op, shape, x, &result);
    return result;
}

bd_tensor bd_permute(bd_graph *graph, bd_tensor x, const int *axes)
{
    const bd_op op = BD_OP_PERMUTE;
    if (!bd_check_operand(graph, op, x))
        return BD_NONE;
    bd_shape from = bd_node_at(graph, x)->shape, shape = from;
    unsigned seen = 0;
    bool identity = true;
    for (int i = 0; i < from.rank; i++) {
        if (!bd_check_axis(graph, op, axes[i], &from))
            return BD_NONE;
        seen |= 1u << axes[i];
        shape.dim[i] = from.dim[axes[i]];
        identity = identity && axes[i] == i;
    }
    if (seen != (1u << from.rank) - 1)
        return bd_op_fail(graph, op, "an axis of shape %s is named twice", BD_SHAPE_TEXT(&from));
    if (identity)
        return x;
    bd_tensor result;
    bd_node *node = bd_append1(graph, op, shape, x, &result);
    if (node)
        memcpy(node->attr.axes, axes, (size_t)from.rank * sizeof *axes);
    return result;
}

bd_tensor bd_slice(bd_graph *graph, bd_tensor x, int axis, int64_t first, int64_t count)
{
    const bd_op op = BD_OP_SLICE;
    if (!bd_check_operand(graph, op, x))
        return BD_NONE;
    bd_shape shape = bd_node_at(graph, x)->shape;
    if (!bd_check_axis(graph, op, axis, &shape))
        return BD_NONE;
    int64_t length = shape.dim[axis];
    if (first < 0 || count < 0 || first > length || count > length - first)
        return bd_op_fail(graph, op, "%lld elements from %lld along axis %d of shape %s", (long long)count,
                          (long long)first, axis, BD_SHAPE_TEXT(&shape));
    if (count == length)
        return x;
    shape.dim[axis] = count;
    bd_tensor result;
    bd_node *node = bd_append1(graph, op, shape, x, &result);
    if (node) {
        node->attr.range.axis = axis;
        node->attr.range.first = first;
    }
    return result;
}

bd_tensor bd_pad(bd_graph *graph, bd_tensor x, int axis, int64_t before, int64_t after)
{
    const bd_op op = BD_OP_PAD;
    if (!bd_check_operand(graph, op, x))
        return BD_NONE;
    bd_shape shape = bd_node_at(graph, x)->shape;
    if (!bd_check_axis(graph, op, axis, &shape))
        return BD_NONE;
    int64_t length = shape.dim[axis];
    if (before < 0 || after < 0 || __builtin_add_overflow(length, before, &length) ||
        __builtin_add_overflow(length, after, &length))
        return bd_op_fail(graph, op, "%lld zeros before and %lld after axis %d of shape %s", (long long)before,
                          (long long)after, axis, BD_SHAPE_TEXT(&shape));
    if (before == 0 && after == 0)
        return x;
    shape.dim[axis] = length;
    bd_tensor result;
    bd_node *node = bd_append1(graph, op, shape, x, &result);
    if (node) {
        node->attr.range.axis = axis;
        node->attr.range.first = before;
    }
    return result;
}

bd_tensor bd_concat(bd_graph *graph, const bd_tensor *parts, int count, int axis)
{
    const bd_op op = BD_OP_CONCAT;
    if (count < 1)
        return bd_op_fail(graph, op, "%d parts; needs at least one", count);
    if (!bd_check_operand(graph, op, parts[0]))
        return BD_NONE;
    const bd_shape first = bd_node_at(graph, parts[0])->shape;
    if (!bd_check_axis(graph, op, axis, &first))
        return BD_NONE;
    int64_t total = 0;
    for (int i = 0; i < count; i++) {
        if (!bd_check_operand(graph, op, parts[i]))
            return BD_NONE;
        bd_shape part = bd_node_at(graph, parts[i])->shape;
        int64_t length = part.rank == first.rank ? part.dim[axis] : 0;
        bd_shape like_first = part;
        if (part.rank == first.rank)
            like_first.dim[axis] = first.dim[axis];
        if (!bd_shape_equal(&like_first, &first) || __builtin_add_overflow(total, length, &total))
            return bd_op_fail(graph, op, "part %d has shape %s, part 0 %s; they may differ along axis %d only", i,
                              BD_SHAPE_TEXT(&part), BD_SHAPE_TEXT(&first), axis);
    }
    if (count == 1)
        return parts[0];
    bd_shape shape = first;
    shape.dim[axis] = total;
    bd_tensor result;
    bd_node *node = bd_graph_append(graph, op, shape, parts, count, &result);
    if (node)
        node->attr.axis = axis;
    return result;
}

bd_tensor bd_pack(bd_graph *graph, const bd_tensor *parts, const int64_t *offsets, int count, int64_t total)
{
    const bd_op op = BD_OP_PACK;
    if (count < 1)
        return bd_op_fail(graph, op, "%d parts; needs at least one", count);
    int64_t end = 0;
    for (int i = 0; i < count; i++) {
        if (!bd_check_operand(graph, op, parts[i]))
            return BD_NONE;
        if (offsets[i] < end ||
            __builtin_add_overflow(offsets[i], bd_shape_elements(&bd_node_at(graph, parts[i])->shape), &end) ||
            end > total)
            return bd_op_fail(graph, op, "part %d at element %lld overlaps the part before it or the end, %lld", i,
                              (long long)offsets[i], (long long)total);
    }
    int64_t *copy = malloc((size_t)count * sizeof *copy);
    if (!copy)
        return bd_graph_fail(graph, BD_ERROR_MEMORY, "no memory for a node of %d inputs", count);
    memcpy(copy, offsets, (size_t)count * sizeof *copy);
    bd_tensor result;
    bd_node *node = bd_graph_append(graph, op, BD_SHAPE(total), parts, count, &result);
    if (node)
        node->attr.pack = copy;
    else
        free(copy);
    return result;
}

/* [index..., what follows the first `skipped` dimensions of rows]; false if the rank would be too large. */
static bool indexed_shape(const bd_shape *index, const bd_shape *rows, int skipped, bd_shape *shape)
{
    if (index->rank + rows->rank - skipped > BD_MAX_RANK)
        return false;
    *shape = *index;
    for (int i = skipped; i < rows->rank; i++)
        shape->dim[shape->rank++] = rows->dim[i];
    return true;
}

bd_tensor bd_gather(bd_graph *graph, bd_tensor table, bd_tensor index)
{
    const bd_op op = BD_OP_GATHER;
    if (!bd_check_operand(graph, op, table) || !bd_check_operand(graph, op, index))
        return BD_NONE;
    const bd_shape *rows = &bd_node_at(graph, table)->shape, *where = &bd_node_at(graph, index)->shape;
    bd_shape shape;
    if (rows->rank < 1 || rows->dim[0] < 1 || !indexed_shape(where, rows, 1, &shape))
        return bd_op_fail(graph, op,
                          "a table of shape %s and an index of shape %s; needs at least one row, and a "
                          "result of rank %d at most",
                          BD_SHAPE_TEXT(rows), BD_SHAPE_TEXT(where), BD_MAX_RANK);
    bd_tensor result;
    bd_append2(graph, op, shape, table, index, &result);
    return result;
}

bd_tensor bd_scatter_add(bd_graph *graph, bd_tensor values, bd_tensor index, int64_t rows)
{
    const bd_op op = BD_OP_SCATTER_ADD;
    if (!bd_check_operand(graph, op, values) || !bd_check_operand(graph, op, index))
        return BD_NONE;
    const bd_shape *from = &bd_node_at(graph, values)->shape, *where = &bd_node_at(graph, index)->shape;
    bool fits = rows >= 1 && where->rank <= from->rank;
    for (int i = 0; fits && i < where->rank; i++)
        fits = where->dim[i] == from->dim[i];
    bd_shape shape;
    if (!fits || !indexed_shape(&BD_SHAPE(rows), from, where->rank, &shape))
        return bd_op_fail(graph, op,
                          "values of shape %s, an index of shape %s and %lld rows; the values' first "
                          "dimensions must be the index's",
                          BD_SHAPE_TEXT(from), BD_SHAPE_TEXT(where), (long long)rows);
    bd_tensor result;
    bd_append2(graph, op, shape, values, index, &result);
    return result;
}
