/* What the functions that append nodes share: argument checks, and messages that name the operation and its layer. */
#ifndef BINADE_ENGINE_BUILD_H
#define BINADE_ENGINE_BUILD_H

#include "node.h"

/* Enough for BD_MAX_RANK dimensions of 19 digits. */
#define BD_SHAPE_TEXT_SIZE 128
#define BD_SHAPE_TEXT(shape) bd_shape_text((shape), (char[BD_SHAPE_TEXT_SIZE]){ 0 }, BD_SHAPE_TEXT_SIZE)

/* Records "conv2d in layer 'block1/conv': ..." as the graph's first error. Returns BD_NONE. */
bd_tensor bd_op_fail(bd_graph *graph, bd_op op, const char *format, ...) BD_PRINTF(3, 4);

/* True if the graph has no error yet and `tensor` is a value in it; else the error is recorded. */
bool bd_check_operand(bd_graph *graph, bd_op op, bd_tensor tensor);

/* True if the shape is one that a tensor can have; else the error is recorded. */
bool bd_check_shape(bd_graph *graph, bd_op op, const bd_shape *shape);

/* True if 0 <= axis < shape->rank; else the error is recorded. */
bool bd_check_axis(bd_graph *graph, bd_op op, int axis, const bd_shape *shape);

/* A node of one operand, two operands. */
bd_node *bd_append1(bd_graph *graph, bd_op op, bd_shape shape, bd_tensor input, bd_tensor *result);
bd_node *bd_append2(bd_graph *graph, bd_op op, bd_shape shape, bd_tensor a, bd_tensor b, bd_tensor *result);

/* A constant of x's shape. */
static inline bd_tensor bd_constant_like(bd_graph *graph, bd_tensor x, double value)
{
    return bd_constant(graph, bd_tensor_shape(graph, x), value);
}

#endif
