/* Depthwise convolution and its gradients; whole numbers for the indices, real ones for the sums, as for
 * convolutions. */
#include "case.h"

typedef struct depthwise {
    int64_t images, height, width, channels;
    bd_window window;
} depthwise;

static void convolve(session *s, format_set f, const depthwise *v)
{
    const bd_window *w = &v->window;
    test_case c;
    if (!case_begin(&c, s, f, "%lldx%lldx%lldx%lld, %lldx%lld step %lld,%lld pad %lld%lld,%lld%lld",
                    (long long)v->images, (long long)v->height, (long long)v->width, (long long)v->channels,
                    (long long)w->size[0], (long long)w->size[1], (long long)w->stride[0], (long long)w->stride[1],
                    (long long)w->pad[0][0], (long long)w->pad[0][1], (long long)w->pad[1][0], (long long)w->pad[1][1]))
        return;
    const bd_shape shape = BD_SHAPE(v->images, v->height, v->width, v->channels);
    const bd_shape weight_shape = BD_SHAPE(w->size[0], w->size[1], 1, v->channels);
    const int64_t taps = w->size[0] * w->size[1];
    const fill_kind fills[] = { FILL_WHOLE, FILL_UNIFORM };
    for (int i = 0; i < 2; i++) {
        const bool whole = fills[i] == FILL_WHOLE;
        bd_tensor x = case_input(&c, f.value, shape, fills[i]),
                  weight = case_input(&c, f.value, weight_shape, fills[i]);
        bd_tensor y = bd_depthwise(c.graph, x, weight, *w);
        const bd_shape y_shape = bd_tensor_shape(c.graph, y);
        const int64_t pixels = y_shape.dim[0] * y_shape.dim[1] * y_shape.dim[2];
        bd_tensor dy = case_input(&c, f.value, y_shape, fills[i]);
        case_output(&c, y, whole ? equal_value : sum_of(taps, 0));
        case_output(&c, bd_depthwise_data(c.graph, dy, weight, *w, shape), whole ? equal_value : sum_of(taps, 0));
        /* Its parts are as wide as the sums inside. */
        case_output(&c, bd_depthwise_weight(c.graph, x, dy, *w, weight_shape), whole ? equal_value : sum_of(pixels, 0));
    }
    case_run(&c);
}

void test_depthwise(session *s)
{
    const format_set each[] = { fp32, fp16, fp16_strict };
    static const depthwise cases[] = {
        { 1, 1, 1, 1, { { 1, 1 }, { 1, 1 }, { { 0, 0 }, { 0, 0 } } } },
        { 2, 7, 9, 6, { { 3, 3 }, { 1, 1 }, { { 1, 1 }, { 1, 1 } } } },
        { 2, 8, 8, 33, { { 3, 3 }, { 2, 2 }, { { 0, 1 }, { 0, 1 } } } },
        { 1, 9, 11, 3, { { 2, 3 }, { 3, 2 }, { { 1, 0 }, { 0, 2 } } } },  /* nothing alike */
        { 3, 7, 5, 4, { { 5, 5 }, { 1, 1 }, { { 0, 0 }, { 0, 0 } } } },   /* no padding */
        { 3, 16, 20, 5, { { 3, 3 }, { 1, 1 }, { { 1, 1 }, { 1, 1 } } } }, /* several parts of a weight gradient */
        { 3, 16, 21, 8, { { 3, 3 }, { 1, 1 }, { { 1, 1 }, { 1, 1 } } } }, /* channels by fours */
        { 9, 11, 17, 12, { { 3, 2 }, { 2, 3 }, { { 1, 0 }, { 0, 2 } } } },
    };
    for (int f = 0; f < 3; f++)
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i += f < 2 ? 1 : 2)
            convolve(s, each[f], &cases[i]);
}
