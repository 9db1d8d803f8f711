/* Matrix products and convolutions. The innermost loop always runs along a row of the result, so that it reads and writes
 * memory in order; operands that lie otherwise are transposed first. Products of zeros are not skipped: 0 * inf is NaN. */
#include "evaluate.h"

#include <stdlib.h>

/* target += factor * row */
static void add_scaled(double *target, double factor, const double *row, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        target[i] += factor * row[i];
}

/* A copy of `count` matrices [rows, columns] as [columns, rows]. */
static double *transpose(const double *x, int64_t count, int64_t rows, int64_t columns)
{
    size_t elements = (size_t)(count * rows * columns);
    double *result = calloc(elements > 0 ? elements : 1, sizeof *result);
    if (!result)
        return NULL;
    for (int64_t n = 0; n < count; n++) {
        const double *matrix = x + n * rows * columns;
        double *target = result + n * rows * columns;
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < columns; j++)
                target[j * rows + i] = matrix[i * columns + j];
    }
    return result;
}

static bd_status out_of_memory(bd_error *error)
{
    return bd_fail(error, BD_ERROR_MEMORY, "no memory on the host for a transposed operand");
}

static bd_status matmul(const bd_evaluation *evaluation, const bd_node *node, double *result, bd_error *error)
{
    const bd_shape *a_shape = bd_input_shape(evaluation, node, 0);
    const double *a = bd_evaluated(evaluation, node, 0), *b = bd_evaluated(evaluation, node, 1);
    bool transpose_a = node->attr.matmul.transpose[0];
    int64_t m = a_shape->dim[a_shape->rank - (transpose_a ? 1 : 2)];
    int64_t k = a_shape->dim[a_shape->rank - (transpose_a ? 2 : 1)];
    int64_t n = node->shape.dim[node->shape.rank - 1], batch = 1;
    for (int i = 0; i < a_shape->rank - 2; i++)
        batch *= a_shape->dim[i];

    double *b_transposed = NULL;
    if (node->attr.matmul.transpose[1]) {
        b_transposed = transpose(b, batch, n, k);
        if (!b_transposed)
            return out_of_memory(error);
        b = b_transposed;
    }
    int64_t chunk_length = bd_chunk_length(node, k);
    for (int64_t p = 0; p < batch; p++) {
        for (int64_t i = 0; i < m; i++) {
            for (int64_t l = 0; l < k; l++) {
                double factor = transpose_a ? a[(p * k + l) * m + i] : a[(p * m + i) * k + l];
                double *target = result + ((l / chunk_length * batch + p) * m + i) * n;
                add_scaled(target, factor, b + (p * k + l) * n, n);
            }
        }
    }
    free(b_transposed);
    return BD_OK;
}

/* The extents that the three convolutions share: x [images, height, width, in], dy [images, out_height, out_width, out],
 * weight [kernel height, kernel width, in, out]. */
typedef struct convolution {
    bd_window window;
    int64_t images, height, width, in, out_height, out_width, out;
} convolution;

static convolution describe(const bd_node *node, const bd_shape *x, const bd_shape *y)
{
    return (convolution){ node->attr.window, x->dim[0], x->dim[1], x->dim[2], x->dim[3], y->dim[1], y->dim[2],
                          y->dim[3] };
}

/* One pair that meets: the pixel of x, the pixel of y, and the kernel's tap between them, each as a number. */
typedef struct meeting {
    int64_t x, y, tap;
} meeting;

typedef void (*meeting_function)(void *user, const meeting *meeting);

/* Calls for every pixel of y, in order, and every tap of the kernel that falls inside x. */
static void for_each_meeting(const convolution *c, meeting_function function, void *user)
{
    const bd_window *w = &c->window;
    for (int64_t image = 0; image < c->images; image++) {
        for (int64_t pixel = 0; pixel < c->out_height * c->out_width; pixel++) {
            int64_t top = pixel / c->out_width * w->stride[0] - w->pad[0][0];
            int64_t left = pixel % c->out_width * w->stride[1] - w->pad[1][0];
            for (int64_t tap = 0; tap < w->size[0] * w->size[1]; tap++) {
                int64_t row = top + tap / w->size[1], column = left + tap % w->size[1];
                if (row < 0 || row >= c->height || column < 0 || column >= c->width)
                    continue;
                meeting met = { (image * c->height + row) * c->width + column,
                                image * c->out_height * c->out_width + pixel, tap };
                function(user, &met);
            }
        }
    }
}

typedef struct convolution_pass {
    convolution c;
    const double *left, *right;
    double *result;
    int64_t chunk_length, chunk_size; /* summed elements in a partial sum; elements of a partial result */
} convolution_pass;

/* y += x * weight; summed over taps and input channels */
static void forward(void *user, const meeting *met)
{
    const convolution_pass *pass = user;
    const convolution *c = &pass->c;
    for (int64_t i = 0; i < c->in; i++) {
        int64_t l = met->tap * c->in + i;
        double *target = pass->result + l / pass->chunk_length * pass->chunk_size + met->y * c->out;
        add_scaled(target, pass->left[met->x * c->in + i], pass->right + l * c->out, c->out);
    }
}

/* dx += dy * weight, transposed to [tap, out, in]; summed over taps and output channels */
static void data(void *user, const meeting *met)
{
    const convolution_pass *pass = user;
    const convolution *c = &pass->c;
    for (int64_t o = 0; o < c->out; o++) {
        int64_t l = met->tap * c->out + o;
        double *target = pass->result + l / pass->chunk_length * pass->chunk_size + met->x * c->in;
        add_scaled(target, pass->left[met->y * c->out + o], pass->right + l * c->in, c->in);
    }
}

/* dweight += x * dy; summed over the pixels of dy */
static void weight(void *user, const meeting *met)
{
    const convolution_pass *pass = user;
    const convolution *c = &pass->c;
    double *target = pass->result + met->y / pass->chunk_length * pass->chunk_size + met->tap * c->in * c->out;
    for (int64_t i = 0; i < c->in; i++)
        add_scaled(target + i * c->out, pass->left[met->x * c->in + i], pass->right + met->y * c->out, c->out);
}

bd_status bd_evaluate_contraction(const bd_evaluation *evaluation, const bd_node *node, double *result, bd_error *error)
{
    if (node->op == BD_OP_MATMUL)
        return matmul(evaluation, node, result, error);

    const bd_shape *left = bd_input_shape(evaluation, node, 0), *right = bd_input_shape(evaluation, node, 1);
    bd_shape shape = node->shape; /* without the axis of partial sums */
    if (node->chunks > 1) {
        shape.rank--;
        for (int i = 0; i < shape.rank; i++)
            shape.dim[i] = node->shape.dim[i + 1];
    }
    convolution_pass pass = { .left = bd_evaluated(evaluation, node, 0), .right = bd_evaluated(evaluation, node, 1),
                              .result = result, .chunk_size = bd_shape_elements(&shape) };
    meeting_function function;
    int64_t summed;
    double *transposed = NULL;
    if (node->op == BD_OP_CONV2D) {
        pass.c = describe(node, left, &shape);
        function = forward;
    } else if (node->op == BD_OP_CONV2D_DATA) {
        pass.c = describe(node, &shape, left);
        function = data;
    } else {
        pass.c = describe(node, left, right);
        function = weight;
    }
    int64_t taps = pass.c.window.size[0] * pass.c.window.size[1];
    if (node->op == BD_OP_CONV2D) {
        summed = taps * pass.c.in;
    } else if (node->op == BD_OP_CONV2D_DATA) {
        summed = taps * pass.c.out;
        pass.right = transposed = transpose(pass.right, taps, pass.c.in, pass.c.out);
        if (!transposed)
            return out_of_memory(error);
    } else {
        summed = pass.c.images * pass.c.out_height * pass.c.out_width;
    }
    pass.chunk_length = bd_chunk_length(node, summed);
    for_each_meeting(&pass.c, function, &pass);
    free(transposed);
    return BD_OK;
}
