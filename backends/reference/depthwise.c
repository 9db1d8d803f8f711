/* Depthwise convolution and its gradients: [n, h, w, c] with a weight [kh, kw, 1, c], each channel by itself. */
#include "evaluate.h"

/* Calls for every pixel of the output and every tap that lies inside the image: offsets of the pixels' first channels,
 * and of the tap's. */
typedef void (*tap_function)(void *user, int64_t image_pixel, int64_t output_pixel, int64_t row, int64_t tap);

static void for_each_tap(const bd_window *window, const bd_shape *image, const bd_shape *output, tap_function visit,
                         void *user)
{
    const int64_t height = image->dim[1], width = image->dim[2];
    for (int64_t n = 0; n < output->dim[0]; n++)
        for (int64_t oy = 0; oy < output->dim[1]; oy++)
            for (int64_t ox = 0; ox < output->dim[2]; ox++)
                for (int64_t ky = 0; ky < window->size[0]; ky++)
                    for (int64_t kx = 0; kx < window->size[1]; kx++) {
                        const int64_t y = oy * window->stride[0] + ky - window->pad[0][0];
                        const int64_t x = ox * window->stride[1] + kx - window->pad[1][0];
                        if (y < 0 || y >= height || x < 0 || x >= width)
                            continue;
                        const int64_t row = n * output->dim[1] + oy;
                        visit(user, (n * height + y) * width + x, row * output->dim[2] + ox, row,
                              ky * window->size[1] + kx);
                    }
}

typedef struct operands {
    const double *a, *b;
    double *result;
    int64_t channels, taps, rows_of_a_part;
} operands;

static void forward(void *user, int64_t image_pixel, int64_t output_pixel, int64_t row, int64_t tap)
{
    const operands *o = user;
    (void)row;
    for (int64_t c = 0; c < o->channels; c++)
        o->result[output_pixel * o->channels + c] += o->a[image_pixel * o->channels + c] * o->b[tap * o->channels + c];
}

static void data(void *user, int64_t image_pixel, int64_t output_pixel, int64_t row, int64_t tap)
{
    const operands *o = user;
    (void)row;
    for (int64_t c = 0; c < o->channels; c++)
        o->result[image_pixel * o->channels + c] += o->a[output_pixel * o->channels + c] * o->b[tap * o->channels + c];
}

static void weight(void *user, int64_t image_pixel, int64_t output_pixel, int64_t row, int64_t tap)
{
    const operands *o = user;
    double *part = o->result + row / o->rows_of_a_part * o->taps * o->channels;
    for (int64_t c = 0; c < o->channels; c++)
        part[tap * o->channels + c] += o->a[image_pixel * o->channels + c] * o->b[output_pixel * o->channels + c];
}

void bd_evaluate_depthwise(const bd_evaluation *evaluation, const bd_node *node, double *result)
{
    const bd_window *window = &node->attr.window;
    const bd_shape *a = bd_input_shape(evaluation, node, 0), *b = bd_input_shape(evaluation, node, 1);
    operands o = { bd_evaluated(evaluation, node, 0),
                   bd_evaluated(evaluation, node, 1),
                   result,
                   a->dim[3],
                   window->size[0] * window->size[1],
                   1 };
    switch (node->op) {
    case BD_OP_DEPTHWISE: for_each_tap(window, a, &node->shape, forward, &o); break;
    case BD_OP_DEPTHWISE_DATA: for_each_tap(window, &node->shape, a, data, &o); break;
    default: { /* BD_OP_DEPTHWISE_WEIGHT */
        const int64_t rows = b->dim[0] * b->dim[1], parts = node->shape.dim[0];
        o.rows_of_a_part = parts > 0 ? (rows + parts - 1) / parts : 1;
        for_each_tap(window, a, b, weight, &o);
        break;
    }
    }
}
