#include "judge.h"

#include <math.h>

bd_judge bd_judge_of(const bd_graph *graph, bd_tensor tensor)
{
    const bd_node *node = &graph->nodes[tensor];
    return (bd_judge){ .node = node,
                       .c = bd_contraction_of(graph, tensor),
                       .a = graph->nodes[node->inputs[0]].shape,
                       .b = graph->nodes[node->inputs[1]].shape };
}

/* Element (m, k) of batch z of the operand that is convolved or multiplied from the left. */
static double left_value(const bd_judge *j, int64_t z, int64_t m, int64_t k)
{
    const bd_node *node = j->node;
    const double *a = j->values[0];
    if (node->op == BD_OP_MATMUL)
        return node->attr.matmul.transpose[0] ? a[(z * j->c.k + k) * j->c.m + m] : a[(z * j->c.m + m) * j->c.k + k];
    const bd_window *w = &node->attr.window;
    const bool weight = node->op == BD_OP_CONV2D_WEIGHT, back = node->op == BD_OP_CONV2D_DATA;
    const bd_shape *pixels = weight ? &j->b : &node->shape;
    const int64_t pixel = weight ? k : m, tap = weight ? m : k, channels = j->a.dim[3];
    const int64_t at[2] = { pixel / pixels->dim[2] % pixels->dim[1], pixel % pixels->dim[2] };
    const int64_t of[2] = { tap / channels / w->size[1], tap / channels % w->size[1] };
    int64_t index = pixel / (pixels->dim[1] * pixels->dim[2]);
    for (int d = 0; d < 2; d++) {
        int64_t place = back ? at[d] + w->pad[d][0] - of[d] : at[d] * w->stride[d] - w->pad[d][0] + of[d];
        if (back && place % w->stride[d] != 0)
            return 0;
        place = back ? place / w->stride[d] : place;
        if (place < 0 || place >= j->a.dim[d + 1])
            return 0;
        index = index * j->a.dim[d + 1] + place;
    }
    return a[index * channels + tap % channels];
}

static double right_value(const bd_judge *j, int64_t z, int64_t k, int64_t n)
{
    const double *b = j->values[1];
    if (j->node->op == BD_OP_MATMUL && j->node->attr.matmul.transpose[1])
        return b[(z * j->c.n + n) * j->c.k + k];
    if (j->node->op == BD_OP_CONV2D_DATA)
        return b[(k / j->b.dim[3] * j->c.n + n) * j->b.dim[3] + k % j->b.dim[3]];
    return b[(z * j->c.k + k) * j->c.n + n];
}

bd_exact_sum bd_judge_element(const bd_judge *j, int64_t i)
{
    bd_exact_sum sum = { 0 };
    const int64_t z = i / (j->c.m * j->c.n), m = i / j->c.n % j->c.m, n = i % j->c.n;
    for (int64_t k = 0; k < j->c.k; k++) {
        const double product = left_value(j, z, m, k) * right_value(j, z, k, n);
        sum.value += product;
        sum.magnitude += fabs(product);
        sum.terms += product != 0;
    }
    return sum;
}
