/* Reverse-mode differentiation: appends the backward pass to the graph. The only place that knows calculus.
 *
 * Rules use a forward node's result rather than its operand where either would do (relu, tanh, exp, ...), so that
 * what came before it need not be kept. A rule's nodes have the gradient role of the node that it differentiates; its
 * last one has that of the operand whose gradient it is a part of. */
#include "build.h"

#include <stdlib.h>

typedef struct differentiation {
    bd_graph *graph;
    bd_tensor end;   /* nodes below it are the forward pass */
    bool *depends;   /* on one of wrt, so that a gradient is wanted; by forward node */
    bd_tensor *grad; /* d loss / d node so far, or BD_NONE; by forward node */
} differentiation;

static bd_role gradient_role(bd_role role)
{
    return role == BD_ROLE_STATISTIC || role == BD_ROLE_FIXED ? role : BD_ROLE_GRADIENT;
}

static bool is_differentiable(const bd_node *node)
{
    switch (node->op) {
    case BD_OP_SIGN:
    case BD_OP_NORMALISER:
    case BD_OP_FLOOR:
    case BD_OP_NONFINITE:
    case BD_OP_LESS:
    case BD_OP_EQUAL:
    case BD_OP_ARGMAX:
    case BD_OP_CONTROL:
    case BD_OP_VALID:
    case BD_OP_BATCH:
    case BD_OP_ASSIGN:
    case BD_OP_CONTROL_STEP: return false;
    default: return !node->stop_gradient;
    }
}

/* Whether operand `which` can have a gradient: not conditions, not indices, not what only chooses. */
static bool is_differentiable_operand(const bd_node *node, int which)
{
    switch (node->op) {
    case BD_OP_SELECT: return which != 0;
    case BD_OP_GATHER:
    case BD_OP_SCATTER_ADD: return which == 0;
    case BD_OP_MAX_POOL_GRAD: return which == 1;
    default: return true;
    }
}

static bool is_wanted(const differentiation *d, bd_tensor node, int which)
{
    return d->depends[bd_node_at(d->graph, node)->inputs[which]];
}

/* Adds `part` to the gradient of operand `which` of forward node `node`. `rule_start` is the first node of the rule:
 * a node made by it takes the role of the gradient, any other is cast to it. */
static void contribute(differentiation *d, bd_tensor node, int which, bd_tensor part, bd_tensor rule_start)
{
    bd_graph *graph = d->graph;
    if (graph->status != BD_OK)
        return;
    bd_tensor input = bd_node_at(graph, node)->inputs[which];
    bd_role role = gradient_role(bd_node_at(graph, input)->role);
    if (part >= rule_start)
        graph->nodes[part].role = role;
    else if (bd_node_at(graph, part)->role != role)
        part = bd_cast(graph, part, role);
    bd_role previous = bd_set_role(graph, role);
    d->grad[input] = d->grad[input] == BD_NONE ? part : bd_add(graph, d->grad[input], part);
    bd_set_role(graph, previous);
}

static bd_tensor scale(bd_graph *graph, bd_tensor x, double factor)
{
    return bd_mul(graph, x, bd_constant_like(graph, x, factor));
}

static bd_tensor one_minus(bd_graph *graph, bd_tensor x)
{
    return bd_sub(graph, bd_constant_like(graph, x, 1), x);
}

static bd_tensor unary_gradient(bd_graph *graph, bd_op op, bd_tensor x, bd_tensor y, bd_tensor dy)
{
    const double two_over_sqrt_pi = 1.12837916709551257390;
    switch (op) {
    case BD_OP_CAST: return dy;
    case BD_OP_NEG: return bd_neg(graph, dy);
    case BD_OP_ABS: return bd_mul(graph, dy, bd_sign(graph, x));
    case BD_OP_SQRT: return bd_div(graph, scale(graph, dy, 0.5), y);
    case BD_OP_EXP: return bd_mul(graph, dy, y);
    case BD_OP_LOG: return bd_div(graph, dy, x);
    case BD_OP_TANH: return bd_mul(graph, dy, one_minus(graph, bd_mul(graph, y, y)));
    case BD_OP_SIGMOID: return bd_mul(graph, dy, bd_mul(graph, y, one_minus(graph, y)));
    case BD_OP_ERF:
        return bd_mul(graph, dy, scale(graph, bd_exp(graph, bd_neg(graph, bd_mul(graph, x, x))), two_over_sqrt_pi));
    case BD_OP_GELU: return bd_mul(graph, dy, bd_gelu_slope(graph, x));
    /* y is never negative, so "not 0" is "positive" */
    case BD_OP_RELU: return bd_select(graph, y, dy, bd_constant_like(graph, dy, 0));
    default: return bd_graph_fail(graph, BD_ERROR_UNSUPPORTED, "%s has no gradient", bd_op_get_info(op)->name);
    }
}

/* d max(a, b) / d a, equal operands share: `smaller` is less(a, b) for max and less(b, a) for min. */
static bd_tensor chosen_gradient(bd_graph *graph, bd_tensor smaller, bd_tensor a, bd_tensor b, bd_tensor dy)
{
    bd_tensor shared = bd_select(graph, bd_equal(graph, a, b), scale(graph, dy, 0.5), dy);
    return bd_select(graph, smaller, bd_constant_like(graph, dy, 0), shared);
}

/* The gradient for operand `which` of an operation on a and b. */
static bd_tensor binary_gradient(bd_graph *graph, bd_op op, int which, bd_tensor a, bd_tensor b, bd_tensor y,
                                 bd_tensor dy)
{
    switch (op) {
    case BD_OP_ADD: return dy;
    case BD_OP_SUB: return which == 0 ? dy : bd_neg(graph, dy);
    case BD_OP_MUL: return bd_mul(graph, dy, which == 0 ? b : a);
    case BD_OP_DIV: {
        bd_tensor quotient = bd_div(graph, dy, b);
        return which == 0 ? quotient : bd_neg(graph, bd_mul(graph, quotient, y));
    }
    case BD_OP_MAX:
        return which == 0 ? chosen_gradient(graph, bd_less(graph, a, b), a, b, dy)
                          : chosen_gradient(graph, bd_less(graph, b, a), a, b, dy);
    case BD_OP_MIN:
        return which == 0 ? chosen_gradient(graph, bd_less(graph, b, a), a, b, dy)
                          : chosen_gradient(graph, bd_less(graph, a, b), a, b, dy);
    case BD_OP_POW: {
        /* where a or b is 0 the plain formulas multiply 0 by infinity; the limits are 0 */
        bd_tensor zero = bd_constant_like(graph, dy, 0);
        if (which == 0) {
            bd_tensor power = bd_pow(graph, a, bd_sub(graph, b, bd_constant_like(graph, b, 1)));
            return bd_select(graph, b, bd_mul(graph, dy, bd_mul(graph, b, power)), zero);
        }
        return bd_select(graph, a, bd_mul(graph, dy, bd_mul(graph, y, bd_log(graph, a))), zero);
    }
    default: return bd_graph_fail(graph, BD_ERROR_UNSUPPORTED, "%s has no gradient", bd_op_get_info(op)->name);
    }
}

/* Sums dy over the axes along which x was broadcast: each run of adjacent ones in one go. */
static bd_tensor broadcast_gradient(bd_graph *graph, const bd_shape *x, bd_tensor dy)
{
    const bd_shape wide = bd_tensor_shape(graph, dy);
    const int added = wide.rank - x->rank;
    bd_tensor sum = dy;
    /* from the last axis, so that dropping one does not move those still to come */
    for (int end = wide.rank; end > 0;) {
        int first = end;
        bool shrinks = false;
        while (first > 0 && (first - 1 < added || x->dim[first - 1 - added] == 1)) {
            first--;
            shrinks = shrinks || wide.dim[first] != 1;
        }
        if (shrinks)
            sum = bd_sum(graph, sum, first, end - first, end > added);
        end = first == end ? end - 1 : first;
    }
    return bd_reshape(graph, sum, *x);
}

/* dy of a reduction, spread over the shape of its operand. */
static bd_tensor spread(bd_graph *graph, const bd_node *reduction, const bd_shape *x, bd_tensor dy)
{
    bd_shape kept = *x;
    for (int i = 0; i < reduction->attr.reduce.count; i++)
        kept.dim[reduction->attr.reduce.first + i] = 1;
    return bd_broadcast(graph, bd_reshape(graph, dy, kept), *x);
}

/* Equal maxima share the gradient evenly. */
static bd_tensor maximum_gradient(bd_graph *graph, const bd_node *node, bd_tensor x, bd_tensor y, bd_tensor dy)
{
    const bd_shape shape = bd_tensor_shape(graph, x);
    bd_tensor is_largest = bd_equal(graph, x, spread(graph, node, &shape, y));
    bd_tensor ties =
        bd_sum(graph, is_largest, node->attr.reduce.first, node->attr.reduce.count, node->attr.reduce.keep);
    bd_tensor share = spread(graph, node, &shape, bd_div(graph, dy, ties));
    return bd_select(graph, is_largest, share, bd_constant_like(graph, share, 0));
}

static bd_tensor mean_gradient(bd_graph *graph, const bd_node *node, bd_tensor x, bd_tensor dy)
{
    const bd_shape shape = bd_tensor_shape(graph, x);
    int64_t elements = 1;
    for (int i = 0; i < node->attr.reduce.count; i++)
        elements *= shape.dim[node->attr.reduce.first + i];
    return spread(graph, node, &shape, scale(graph, dy, 1 / (double)(elements > 0 ? elements : 1)));
}

/* 2 dy (x - mean): that the mean depends on x has no share, since deviations sum to 0. Who wants deviations mostly
 * wanted the mean, too. */
static bd_tensor deviations_gradient(bd_graph *graph, const bd_node *node, bd_tensor x, bd_tensor dy)
{
    const bd_shape shape = bd_tensor_shape(graph, x);
    const int first = node->attr.reduce.first, count = node->attr.reduce.count;
    bd_tensor mean = BD_NONE;
    for (bd_tensor t = x + 1; t < graph->node_count && mean == BD_NONE; t++) {
        const bd_node *other = bd_node_at(graph, t);
        if (other->op == BD_OP_MEAN && other->inputs[0] == x && other->role == node->role &&
            other->attr.reduce.first == first && other->attr.reduce.count == count)
            mean = t;
    }
    if (mean == BD_NONE)
        mean = bd_mean(graph, x, first, count, false);
    bd_tensor deviation = bd_sub(graph, x, spread(graph, node, &shape, mean));
    return bd_mul(graph, spread(graph, node, &shape, scale(graph, dy, 2)), deviation);
}

static bd_tensor permute_gradient(bd_graph *graph, const bd_node *node, bd_tensor dy)
{
    int inverse[BD_MAX_RANK];
    for (int i = 0; i < node->shape.rank; i++)
        inverse[node->attr.axes[i]] = i;
    return bd_permute(graph, dy, inverse);
}

static bd_tensor concat_gradient(bd_graph *graph, const bd_node *node, int which, bd_tensor dy)
{
    const int axis = node->attr.axis;
    int64_t first = 0;
    for (int i = 0; i < which; i++)
        first += bd_node_at(graph, node->inputs[i])->shape.dim[axis];
    return bd_slice(graph, dy, axis, first, bd_node_at(graph, node->inputs[which])->shape.dim[axis]);
}

static bd_tensor matmul_gradient(bd_graph *graph, const bd_node *node, int which, bd_tensor dy)
{
    const bd_tensor a = node->inputs[0], b = node->inputs[1];
    const bool transpose_a = node->attr.matmul.transpose[0], transpose_b = node->attr.matmul.transpose[1];
    if (which == 0)
        return transpose_a ? bd_matmul(graph, b, dy, transpose_b, true) : bd_matmul(graph, dy, b, false, !transpose_b);
    return transpose_b ? bd_matmul(graph, dy, a, true, transpose_a) : bd_matmul(graph, a, dy, !transpose_a, false);
}

/* Each row of the table gathers the gradients of the places that name it. For a table of few rows as a product with a
 * matrix that has a 1 where a place names a row: many at once, and sums of products are what devices do best, where
 * scatter_add has each element look through all places, one after another. */
static bd_tensor gather_gradient(bd_graph *graph, bd_tensor index, const bd_shape *table, bd_tensor dy)
{
    enum { MOST_ROWS = 1024 };
    const int64_t rows = table->dim[0], width = bd_shape_elements(table) / rows;
    const bd_shape named = bd_tensor_shape(graph, index);
    const int64_t places = bd_shape_elements(&named);
    if (rows > MOST_ROWS || places * width == 0)
        return bd_scatter_add(graph, dy, index, rows);
    const bd_role role = bd_set_role(graph, BD_ROLE_FIXED); /* F16 holds whole numbers only up to 2048 */
    const bd_shape matrix = BD_SHAPE(places, rows);
    bd_tensor row = bd_reshape(graph, index, BD_SHAPE(places, 1));
    row = bd_max(graph, row, bd_constant_like(graph, row, 0));
    row = bd_floor(graph, bd_min(graph, row, bd_constant_like(graph, row, (double)(rows - 1))));
    bd_tensor number = bd_iota(graph, matrix, 1);
    bd_set_role(graph, role);
    bd_tensor names = bd_equal(graph, bd_broadcast(graph, row, matrix), number);
    bd_tensor sums = bd_matmul(graph, names, bd_reshape(graph, dy, BD_SHAPE(places, width)), true, false);
    return bd_reshape(graph, sums, *table);
}

/* A convolution is linear in x and in the weight, and so are its two gradients: each of the three is the derivative of
 * another. `dy` is the gradient of this node's result, whichever of the three that is. */
static bd_tensor convolution_gradient(bd_graph *graph, const bd_node *node, int which, bd_tensor dy)
{
    const bd_tensor a = node->inputs[0], b = node->inputs[1];
    const bd_window window = node->attr.window;
    const bd_shape shape = bd_tensor_shape(graph, node->inputs[which]);
    switch (node->op) {
    case BD_OP_CONV2D:
        return which == 0 ? bd_conv2d_data(graph, dy, b, window, shape) : bd_conv2d_weight(graph, a, dy, window, shape);
    case BD_OP_CONV2D_DATA: /* a is the convolution's dy, b the weight */
        return which == 0 ? bd_conv2d(graph, dy, b, window) : bd_conv2d_weight(graph, dy, a, window, shape);
    default: /* BD_OP_CONV2D_WEIGHT: a is x, b the convolution's dy */
        return which == 0 ? bd_conv2d_data(graph, b, dy, window, shape) : bd_conv2d(graph, a, dy, window);
    }
}

/* The elements that a window sees at its place (row, column), one for each of the window's positions. */
static bd_tensor window_element(bd_graph *graph, bd_tensor x, const bd_window *window, const bd_shape *positions,
                                int64_t row, int64_t column)
{
    const int64_t place[2] = { row, column };
    for (int i = 0; i < 2; i++) {
        x = bd_pad(graph, x, 1 + i, window->pad[i][0], window->pad[i][1]);
        int64_t span = (positions->dim[1 + i] - 1) * window->stride[i] + 1;
        x = bd_slice(graph, x, 1 + i, place[i], span);
    }
    /* a window of one element does nothing but step */
    return bd_avg_pool(graph, x, (bd_window){ .size = { 1, 1 }, .stride = { window->stride[0], window->stride[1] } });
}

/* max_pool_grad(x, v) is linear in v: it puts each v where its window's first maximum is. So the derivative reads `dy`
 * there, for the windows' places in row order. Only second derivatives need it. */
static bd_tensor max_pool_grad_gradient(bd_graph *graph, const bd_node *node, bd_tensor dy)
{
    const bd_tensor x = node->inputs[0];
    const bd_window window = node->attr.window;
    const bd_shape positions = bd_tensor_shape(graph, node->inputs[1]);
    bd_tensor largest = bd_max_pool(graph, x, window), inside = bd_constant_like(graph, x, 1);
    bd_tensor zero = bd_constant(graph, positions, 0), result = zero, found = zero;
    for (int64_t row = 0; row < window.size[0]; row++) {
        for (int64_t column = 0; column < window.size[1]; column++) {
            bd_tensor is_largest = bd_equal(graph, largest, window_element(graph, x, &window, &positions, row, column));
            bd_tensor counts =
                bd_mul(graph, is_largest, window_element(graph, inside, &window, &positions, row, column));
            bd_tensor is_first = bd_less(graph, found, counts);
            result = bd_select(graph, is_first, window_element(graph, dy, &window, &positions, row, column), result);
            found = bd_max(graph, found, counts);
            if (graph->status != BD_OK)
                return BD_NONE; /* do not spin through a large window */
        }
    }
    return result;
}

/* The gradient for operand `which` of `node` from dy, the gradient of its result. */
static bd_tensor operand_gradient(bd_graph *graph, bd_tensor number, int which, bd_tensor dy)
{
    /* a copy: appending moves nodes; what it owns stays where it is */
    const bd_node node = *bd_node_at(graph, number);
    const bd_tensor *in = node.inputs;
    const bd_shape shape = bd_tensor_shape(graph, in[which]);
    switch (node.op) {
    case BD_OP_SELECT: {
        bd_tensor zero = bd_constant_like(graph, dy, 0);
        return which == 1 ? bd_select(graph, in[0], dy, zero) : bd_select(graph, in[0], zero, dy);
    }
    case BD_OP_BROADCAST: return broadcast_gradient(graph, &shape, dy);
    case BD_OP_RESHAPE: return bd_reshape(graph, dy, shape);
    case BD_OP_PERMUTE: return permute_gradient(graph, &node, dy);
    case BD_OP_SLICE: {
        int axis = node.attr.range.axis;
        int64_t first = node.attr.range.first;
        return bd_pad(graph, dy, axis, first, shape.dim[axis] - first - node.shape.dim[axis]);
    }
    case BD_OP_PAD:
        return bd_slice(graph, dy, node.attr.range.axis, node.attr.range.first, shape.dim[node.attr.range.axis]);
    case BD_OP_CONCAT: return concat_gradient(graph, &node, which, dy);
    case BD_OP_PACK:
        return bd_reshape(graph, bd_slice(graph, dy, 0, node.attr.pack[which], bd_shape_elements(&shape)), shape);
    case BD_OP_GATHER: return gather_gradient(graph, in[1], &shape, dy);
    case BD_OP_SCATTER_ADD: return bd_gather(graph, dy, in[1]);
    case BD_OP_SUM: return spread(graph, &node, &shape, dy);
    case BD_OP_MAXIMUM: return maximum_gradient(graph, &node, in[0], number, dy);
    case BD_OP_MEAN: return mean_gradient(graph, &node, in[0], dy);
    case BD_OP_DEVIATIONS: return deviations_gradient(graph, &node, in[0], dy);
    case BD_OP_MATMUL: return matmul_gradient(graph, &node, which, dy);
    case BD_OP_CONV2D:
    case BD_OP_CONV2D_DATA:
    case BD_OP_CONV2D_WEIGHT: return convolution_gradient(graph, &node, which, dy);
    case BD_OP_MAX_POOL: return bd_max_pool_grad(graph, in[0], dy, node.attr.window);
    case BD_OP_AVG_POOL: return bd_avg_pool_grad(graph, dy, node.attr.window, shape);
    case BD_OP_MAX_POOL_GRAD: return max_pool_grad_gradient(graph, &node, dy);
    case BD_OP_AVG_POOL_GRAD: return bd_avg_pool(graph, dy, node.attr.window);
    case BD_OP_DEPTHWISE:
        return which == 0 ? bd_depthwise_data(graph, dy, in[1], node.attr.window, shape)
                          : bd_depthwise_weight(graph, in[0], dy, node.attr.window, shape);
    case BD_OP_DEPTHWISE_DATA:
        return which == 0 ? bd_depthwise(graph, dy, in[1], node.attr.window)
                          : bd_depthwise_weight(graph, dy, in[0], node.attr.window, shape);
    case BD_OP_ATTENTION: {
        const bd_attention_attr *attr = &node.attr.attention;
        return bd_attention_grad(graph, in[0], number, bd_attention_sum(graph, in[0], attr), dy, attr);
    }
    case BD_OP_DEPTHWISE_WEIGHT:
    case BD_OP_ATTENTION_SUM:
    case BD_OP_ATTENTION_GRAD:
        return bd_graph_fail(graph, BD_ERROR_UNSUPPORTED, "%s has no gradient", bd_op_get_info(node.op)->name);
    default:
        if (node.input_count == 1)
            return unary_gradient(graph, node.op, in[0], number, dy);
        return binary_gradient(graph, node.op, which, in[0], in[1], number, dy);
    }
}

/* Where a value is computed again rather than stored, so are the products that its gradient is made of, of which
 * several kernels read each. (Sums join the kernel of what they add up, so that must be a node of its own.) */
static void recompute_products(bd_graph *graph, bd_tensor rule_start)
{
    for (bd_tensor n = rule_start; n < graph->node_count; n++)
        graph->nodes[n].recompute |= graph->nodes[n].op == BD_OP_MUL;
}

/* Passes the gradient of `node` on to its operands. */
static void differentiate(differentiation *d, bd_tensor node)
{
    bd_graph *graph = d->graph;
    graph->layer = bd_node_at(graph, node)->layer;
    bd_set_role(graph, gradient_role(bd_node_at(graph, node)->role));
    bd_tensor dy = d->grad[node];
    if (bd_op_get_info(bd_node_at(graph, node)->op)->class == BD_CLASS_CONTRACTION)
        dy = bd_quantise(graph, dy, BD_ROLE_GRADIENT_OPERAND);
    const bd_precision *precision = graph->precision;
    graph->precision = NULL; /* the other operands are the forward pass's, rounded already */
    for (int which = 0; which < bd_node_at(graph, node)->input_count && graph->status == BD_OK; which++) {
        if (!is_wanted(d, node, which) || !is_differentiable_operand(bd_node_at(graph, node), which))
            continue;
        bd_tensor rule_start = graph->node_count, gradient = operand_gradient(graph, node, which, dy);
        if (bd_node_at(graph, node)->recompute)
            recompute_products(graph, rule_start);
        contribute(d, node, which, gradient, rule_start);
    }
    graph->precision = precision;
}

/* Which forward nodes depend on wrt through differentiable operands. */
static void mark_dependents(differentiation *d, const bd_tensor *wrt, int count)
{
    for (int i = 0; i < count; i++)
        d->depends[wrt[i]] = true;
    for (bd_tensor n = 0; n < d->end; n++) {
        const bd_node *node = bd_node_at(d->graph, n);
        if (!is_differentiable(node))
            continue;
        for (int which = 0; which < node->input_count && !d->depends[n]; which++)
            d->depends[n] = is_differentiable_operand(node, which) && d->depends[node->inputs[which]];
    }
}

static bool check_arguments(bd_graph *graph, bd_tensor loss, bd_tensor seed, const bd_tensor *wrt, int count)
{
    if (graph->status != BD_OK)
        return false;
    bool in_graph = loss >= 0 && loss < graph->node_count && seed >= 0 && seed < graph->node_count;
    for (int i = 0; i < count && in_graph; i++)
        in_graph = wrt[i] >= 0 && wrt[i] < graph->node_count;
    if (!in_graph) {
        bd_graph_fail(graph, BD_ERROR_ARGUMENT,
                      "bd_gradient: the loss, its gradient and what to differentiate for must "
                      "be tensors of this graph");
        return false;
    }
    const bd_shape *of_loss = &bd_node_at(graph, loss)->shape, *of_seed = &bd_node_at(graph, seed)->shape;
    if (!bd_shape_equal(of_loss, of_seed)) {
        bd_graph_fail(graph, BD_ERROR_ARGUMENT, "bd_gradient: the loss has shape %s, its gradient %s",
                      BD_SHAPE_TEXT(of_loss), BD_SHAPE_TEXT(of_seed));
        return false;
    }
    return true;
}

bd_status bd_gradient(bd_graph *graph, bd_tensor loss, bd_tensor seed, const bd_tensor *wrt, int count,
                      bd_tensor *gradients, bd_error *error)
{
    for (int i = 0; i < count; i++)
        gradients[i] = BD_NONE;
    if (!check_arguments(graph, loss, seed, wrt, count))
        return bd_graph_status(graph, error);
    differentiation d = { .graph = graph, .end = graph->node_count };
    d.depends = calloc((size_t)d.end, sizeof *d.depends);
    d.grad = malloc((size_t)d.end * sizeof *d.grad);
    if (!d.depends || !d.grad) {
        free(d.depends);
        free(d.grad);
        bd_graph_fail(graph, BD_ERROR_MEMORY, "no memory to differentiate %d nodes", d.end);
        return bd_graph_status(graph, error);
    }
    const int32_t layer = graph->layer;
    const bd_role role = graph->role;
    for (bd_tensor n = 0; n < d.end; n++)
        d.grad[n] = BD_NONE;
    mark_dependents(&d, wrt, count);
    d.grad[loss] = seed;
    for (bd_tensor n = loss; n >= 0 && graph->status == BD_OK; n--)
        if (d.depends[n] && d.grad[n] != BD_NONE && is_differentiable(bd_node_at(graph, n)))
            differentiate(&d, n);
    for (int i = 0; i < count && graph->status == BD_OK; i++)
        gradients[i] = d.grad[wrt[i]];
    graph->layer = layer;
    graph->role = role;
    free(d.depends);
    free(d.grad);
    return bd_graph_status(graph, error);
}
