/* Pooling of [n, h, w, c] and its gradients. Padding never wins a maximum and does not count in an average. */
#include "evaluate.h"

#include <math.h>

/* The window of one output pixel, cut to the image. */
typedef struct area {
    int64_t top, bottom, left, right; /* rows and columns: first, and one past the last */
} area;

static int64_t clamp(int64_t value, int64_t limit)
{
    return value < 0 ? 0 : value < limit ? value : limit;
}

static area window_area(const bd_window *window, const bd_shape *image, int64_t row, int64_t column)
{
    int64_t top = row * window->stride[0] - window->pad[0][0], left = column * window->stride[1] - window->pad[1][0];
    return (area){ clamp(top, image->dim[1]), clamp(top + window->size[0], image->dim[1]), clamp(left, image->dim[2]),
                   clamp(left + window->size[1], image->dim[2]) };
}

static int64_t area_size(area a)
{
    return (a.bottom - a.top) * (a.right - a.left);
}

/* Offset of the first largest in row order, a NaN being larger than anything; -1 in an empty area. */
static int64_t find_largest(const double *x, const bd_shape *shape, int64_t n, area a, int64_t channel)
{
    int64_t found = -1;
    for (int64_t row = a.top; row < a.bottom; row++) {
        for (int64_t column = a.left; column < a.right; column++) {
            int64_t at = ((n * shape->dim[1] + row) * shape->dim[2] + column) * shape->dim[3] + channel;
            if (isnan(x[at]))
                return at;
            if (found < 0 || x[at] > x[found])
                found = at;
        }
    }
    return found;
}

static double area_sum(const double *x, const bd_shape *shape, int64_t n, area a, int64_t channel)
{
    double sum = 0;
    for (int64_t row = a.top; row < a.bottom; row++)
        for (int64_t column = a.left; column < a.right; column++)
            sum += x[((n * shape->dim[1] + row) * shape->dim[2] + column) * shape->dim[3] + channel];
    return sum;
}

static void area_add(double *x, const bd_shape *shape, int64_t n, area a, int64_t channel, double value)
{
    for (int64_t row = a.top; row < a.bottom; row++)
        for (int64_t column = a.left; column < a.right; column++)
            x[((n * shape->dim[1] + row) * shape->dim[2] + column) * shape->dim[3] + channel] += value;
}

void bd_evaluate_pooling(const bd_evaluation *evaluation, const bd_node *node, double *result)
{
    bool gradient = node->op == BD_OP_MAX_POOL_GRAD || node->op == BD_OP_AVG_POOL_GRAD;
    const bd_window *window = &node->attr.window;
    const double *x = bd_evaluated(evaluation, node, 0), *dy = bd_evaluated(evaluation, node, node->input_count - 1);
    const bd_shape *image = gradient ? &node->shape : bd_input_shape(evaluation, node, 0);
    const bd_shape *pooled = gradient ? bd_input_shape(evaluation, node, node->input_count - 1) : &node->shape;
    int64_t count = bd_shape_elements(pooled);
    for (int64_t i = 0; i < count; i++) { /* over the elements of the pooled image */
        int64_t channel = i % pooled->dim[3], pixel = i / pooled->dim[3];
        int64_t column = pixel % pooled->dim[2], row = pixel / pooled->dim[2] % pooled->dim[1];
        int64_t n = pixel / pooled->dim[2] / pooled->dim[1];
        area a = window_area(window, image, row, column);
        int64_t largest;
        switch (node->op) {
        case BD_OP_MAX_POOL:
            largest = find_largest(x, image, n, a, channel);
            result[i] = largest < 0 ? -INFINITY : x[largest];
            break;
        case BD_OP_MAX_POOL_GRAD:
            largest = find_largest(x, image, n, a, channel);
            if (largest >= 0)
                result[largest] += dy[i];
            break;
        case BD_OP_AVG_POOL: result[i] = area_sum(x, image, n, a, channel) / (double)area_size(a); break;
        case BD_OP_AVG_POOL_GRAD: area_add(result, image, n, a, channel, dy[i] / (double)area_size(a)); break;
        default: break; /* not reached */
        }
    }
}
