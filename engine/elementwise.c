/* Elementwise operations: operands of one shape, and a result of that shape. */
#include "build.h"

static bd_tensor elementwise(bd_graph *graph, bd_op op, const bd_tensor *inputs, int count)
{
    for (int i = 0; i < count; i++)
        if (!bd_check_operand(graph, op, inputs[i]))
            return BD_NONE;
    const bd_shape *first = &bd_node_at(graph, inputs[0])->shape;
    for (int i = 1; i < count; i++) {
        const bd_shape *other = &bd_node_at(graph, inputs[i])->shape;
        if (!bd_shape_equal(first, other))
            return bd_op_fail(graph, op,
                              "operands of shapes %s and %s; shapes must be equal (bd_broadcast makes them so)",
                              BD_SHAPE_TEXT(first), BD_SHAPE_TEXT(other));
    }
    bd_tensor result;
    bd_graph_append(graph, op, *first, inputs, count, &result);
    return result;
}

bd_tensor bd_cast(bd_graph *graph, bd_tensor x, bd_role role)
{
    if ((unsigned)role >= BD_ROLE_COUNT)
        return bd_op_fail(graph, BD_OP_CAST, "role %d does not exist", (int)role);
    bd_tensor result = elementwise(graph, BD_OP_CAST, &x, 1);
    if (result != BD_NONE)
        graph->nodes[result].role = role;
    return result;
}

#define UNARY(name, NAME)                                                                                              \
    bd_tensor bd_##name(bd_graph *graph, bd_tensor x)                                                                  \
    {                                                                                                                  \
        return elementwise(graph, BD_OP_##NAME, &x, 1);                                                                \
    }
#define BINARY(name, NAME)                                                                                             \
    bd_tensor bd_##name(bd_graph *graph, bd_tensor a, bd_tensor b)                                                     \
    {                                                                                                                  \
        return elementwise(graph, BD_OP_##NAME, (const bd_tensor[]){ a, b }, 2);                                       \
    }

UNARY(normaliser, NORMALISER)
UNARY(neg, NEG)
UNARY(abs, ABS)
UNARY(sign, SIGN)
UNARY(floor, FLOOR)
UNARY(sqrt, SQRT)
UNARY(exp, EXP)
UNARY(log, LOG)
UNARY(tanh, TANH)
UNARY(sigmoid, SIGMOID)
UNARY(erf, ERF)
UNARY(gelu, GELU)
UNARY(gelu_slope, GELU_SLOPE)
UNARY(relu, RELU)
UNARY(nonfinite, NONFINITE)
BINARY(add, ADD)
BINARY(sub, SUB)
BINARY(mul, MUL)
BINARY(div, DIV)
BINARY(max, MAX)
BINARY(min, MIN)
BINARY(pow, POW)
BINARY(less, LESS)
BINARY(equal, EQUAL)

bd_tensor bd_select(bd_graph *graph, bd_tensor condition, bd_tensor a, bd_tensor b)
{
    return elementwise(graph, BD_OP_SELECT, (const bd_tensor[]){ condition, a, b }, 3);
}
