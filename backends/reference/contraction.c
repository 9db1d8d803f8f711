/* Matrix products and convolutions. The innermost loop always runs along a row of the result, so that it reads and
 * writes memory in order; operands that lie otherwise are transposed first. Products of zeros are not skipped: 0 * inf
 * is NaN. */
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
    const bd_shape *a_shape = bd_input_shape(evaluation, node, 0), *b_shape = bd_input_shape(evaluation, node, 1);
    const double *a = bd_evaluated(evaluation, node, 0), *b = bd_evaluated(evaluation, node, 1);
    bool transpose_a = node->attr.matmul.transpose[0];
    int64_t m = a_shape->dim[a_shape->rank - (transpose_a ? 1 : 2)];
    int64_t k = a_shape->dim[a_shape->rank - (transpose_a ? 2 : 1)];
    int64_t n = b_shape->dim[b_shape->rank - (node->attr.matmul.transpose[1] ? 2 : 1)], batch = 1;
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

/* The extents that the three convolutions share: x [images, height, width, in], dy [images, out_height, out_width,
 * out], weight [kernel height, kernel width, in, out]. */
typedef struct convolution {
    bd_window window;
    int64_t images, height, width, in, out_height, out_width, out;
} convolution;

static convolution describe(const bd_node *node, const bd_shape *x, const bd_shape *y)
{
    return (
        convolution){ node->attr.window, x->dim[0], x->dim[1], x->dim[2], x->dim[3], y->dim[1], y->dim[2], y->dim[3] };
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
    int64_t chunk_length; /* of the weight's gradient: pixels in a partial sum */
} convolution_pass;

/* y += x * weight, over taps and input channels */
static void forward(void *user, const meeting *met)
{
    const convolution_pass *pass = user;
    const convolution *c = &pass->c;
    for (int64_t i = 0; i < c->in; i++) {
        const double *row = pass->right + (met->tap * c->in + i) * c->out;
        add_scaled(pass->result + met->y * c->out, pass->left[met->x * c->in + i], row, c->out);
    }
}

/* dx += dy * weight, the latter transposed to [tap, out, in] */
static void data(void *user, const meeting *met)
{
    const convolution_pass *pass = user;
    const convolution *c = &pass->c;
    for (int64_t o = 0; o < c->out; o++) {
        const double *row = pass->right + (met->tap * c->out + o) * c->in;
        add_scaled(pass->result + met->x * c->in, pass->left[met->y * c->out + o], row, c->in);
    }
}

/* dweight += x * dy, over the pixels of dy; in parts where the node asks for them */
static void weight(void *user, const meeting *met)
{
    const convolution_pass *pass = user;
    const convolution *c = &pass->c;
    int64_t taps = c->window.size[0] * c->window.size[1], part = met->y / pass->chunk_length;
    double *target = pass->result + (part * taps + met->tap) * c->in * c->out;
    for (int64_t i = 0; i < c->in; i++)
        add_scaled(target + i * c->out, pass->left[met->x * c->in + i], pass->right + met->y * c->out, c->out);
}

bd_status bd_evaluate_contraction(const bd_evaluation *evaluation, const bd_node *node, double *result, bd_error *error)
{
    if (node->op == BD_OP_MATMUL)
        return matmul(evaluation, node, result, error);

    const bd_shape *left = bd_input_shape(evaluation, node, 0), *right = bd_input_shape(evaluation, node, 1);
    convolution_pass pass = { .left = bd_evaluated(evaluation, node, 0),
                              .right = bd_evaluated(evaluation, node, 1),
                              .result = result };
    if (node->op == BD_OP_CONV2D) {
        pass.c = describe(node, left, &node->shape);
        for_each_meeting(&pass.c, forward, &pass);
    } else if (node->op == BD_OP_CONV2D_WEIGHT) {
        pass.c = describe(node, left, right);
        pass.chunk_length = bd_chunk_length(node, pass.c.images * pass.c.out_height * pass.c.out_width);
        for_each_meeting(&pass.c, weight, &pass);
    } else {
        pass.c = describe(node, &node->shape, left);
        int64_t taps = pass.c.window.size[0] * pass.c.window.size[1];
        double *transposed = transpose(pass.right, taps, pass.c.in, pass.c.out);
        if (!transposed)
            return out_of_memory(error);
        pass.right = transposed;
        for_each_meeting(&pass.c, data, &pass);
        free(transposed);
    }
    return BD_OK;
}
