/* Pooling and its gradients. */
#include "case.h"

typedef struct pooled {
    int64_t images, height, width, channels;
    bd_window window;
} pooled;

static void pool(session *s, format_set f, const pooled *p)
{
    const bd_window *w = &p->window;
    test_case c;
    if (!case_begin(&c, s, f, "%lldx%lldx%lldx%lld, %lldx%lld step %lld,%lld pad %lld%lld,%lld%lld",
                    (long long)p->images, (long long)p->height, (long long)p->width, (long long)p->channels,
                    (long long)w->size[0], (long long)w->size[1], (long long)w->stride[0], (long long)w->stride[1],
                    (long long)w->pad[0][0], (long long)w->pad[0][1], (long long)w->pad[1][0], (long long)w->pad[1][1]))
        return;
    bd_graph *g = c.graph;
    bd_shape shape = BD_SHAPE(p->images, p->height, p->width, p->channels);
    bd_tensor ties = case_input(&c, f.value, shape, FILL_WHOLE), x = case_input(&c, f.value, shape, FILL_UNIFORM);
    /* Not negative, since a bound comes from the inputs' absolute values, which must have the same winners. */
    bd_tensor positive = case_input(&c, f.value, shape, FILL_POSITIVE);
    bd_tensor any = case_input(&c, f.value, shape, FILL_SPECIAL);
    bd_tensor largest = bd_max_pool(g, ties, *w);
    bd_shape pooled_shape = bd_tensor_shape(g, largest);
    bd_tensor whole = case_input(&c, f.value, pooled_shape, FILL_WHOLE);
    bd_tensor dy = case_input(&c, f.value, pooled_shape, FILL_UNIFORM);
    /* A window's taps, and as many windows over a pixel at most. An average has a division more, whose quotient an F16
     * accumulator rounds before it adds it: two roundings a term. */
    int64_t taps = w->size[0] * w->size[1], average_terms = taps + 2 + 3;
    case_output(&c, largest, equal_value);
    case_output(&c, bd_max_pool(g, any, *w), equal_value);
    case_output(&c, bd_max_pool_grad(g, ties, whole, *w), bit_identical);
    case_output(&c, bd_max_pool_grad(g, positive, dy, *w), sum_of(taps, 0));
    case_output(&c, bd_max_pool_grad(g, any, whole, *w), bit_identical);
    case_output(&c, bd_avg_pool(g, x, *w), sum_of(average_terms, 0));
    case_output(&c, bd_avg_pool_grad(g, dy, *w, shape), sum_of(average_terms, 0));
    case_run(&c);
}

/* As behind a convolution: the gradient of pooling, what is made of it pixel by pixel, and the sums of its channels. */
static void pool_and_sum(session *s, format_set f, const pooled *p)
{
    const bd_window *w = &p->window;
    test_case c;
    if (!case_begin(&c, s, f, "%lldx%lldx%lldx%lld, %lldx%lld step %lld,%lld, and its channels' sums",
                    (long long)p->images, (long long)p->height, (long long)p->width, (long long)p->channels,
                    (long long)w->size[0], (long long)w->size[1], (long long)w->stride[0], (long long)w->stride[1]))
        return;
    bd_graph *g = c.graph;
    const bd_shape shape = BD_SHAPE(p->images, p->height, p->width, p->channels);
    const int64_t rows = p->images * p->height * p->width, taps = w->size[0] * w->size[1];
    const bd_tensor ties = case_input(&c, f.value, shape, FILL_WHOLE);
    const bd_shape pooled_shape = bd_tensor_shape(g, bd_max_pool(g, ties, *w));
    const bd_tensor whole = case_input(&c, f.value, pooled_shape, FILL_WHOLE);
    const bd_tensor dx = bd_mul(g, bd_max_pool_grad(g, ties, whole, *w), ties);
    case_output(&c, dx, bit_identical);
    case_output(&c, bd_sum(g, dx, 0, 3, false), equal_value);
    if (f.value == BD_F32) { /* else there are so few loads that a work-item has two windows at once */
        const bd_tensor any = case_input(&c, f.value, shape, FILL_SPECIAL);
        const bd_tensor dy = case_input(&c, f.value, pooled_shape, FILL_UNIFORM);
        const bd_tensor special = bd_max_pool_grad(g, any, whole, *w);
        case_output(&c, special, bit_identical);
        case_output(&c, bd_sum(g, special, 0, 3, false), equal_value);
        case_output(&c, bd_sum(g, bd_avg_pool_grad(g, dy, *w, shape), 0, 3, false), sum_of(rows + taps + 2 + 3, 2));
    }
    case_run(&c);
}

void test_pooled_sums(session *s)
{
    const format_set each[] = { fp32, fp16, fp16_strict };
    static const pooled cases[] = {
        { 4, 32, 16, 16, { { 2, 2 }, { 2, 2 }, { { 0, 0 }, { 0, 0 } } } }, /* a sum in parts, of a GPU */
        { 2, 20, 24, 128, { { 2, 2 }, { 2, 2 }, { { 0, 0 }, { 0, 0 } } } },
        { 3, 18, 24, 16, { { 3, 3 }, { 3, 3 }, { { 0, 0 }, { 0, 0 } } } },
        { 7, 6, 10, 6, { { 3, 2 }, { 3, 2 }, { { 0, 0 }, { 0, 0 } } } }, /* channels that are no fours */
        { 3, 9, 9, 8, { { 3, 3 }, { 2, 2 }, { { 0, 0 }, { 0, 0 } } } },  /* windows that overlap */
        { 3, 9, 7, 8, { { 2, 2 }, { 2, 2 }, { { 0, 0 }, { 0, 0 } } } },  /* pixels that no window covers */
        { 5, 3, 3, 8, { { 3, 3 }, { 2, 2 }, { { 0, 0 }, { 0, 0 } } } },  /* one window by itself */
    };
    const size_t strides[] = { 2, 1, 4 };
    for (int f = 0; f < 3; f++)
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i += strides[f])
            pool_and_sum(s, each[f], &cases[i]);
}

void test_pooling(session *s)
{
    const format_set each[] = { fp32, fp16, fp16_strict };
    static const pooled cases[] = {
        { 1, 1, 1, 1, { { 1, 1 }, { 1, 1 }, { { 0, 0 }, { 0, 0 } } } },
        { 2, 8, 8, 6, { { 2, 2 }, { 2, 2 }, { { 0, 0 }, { 0, 0 } } } },
        { 2, 7, 9, 16, { { 3, 3 }, { 2, 2 }, { { 1, 1 }, { 1, 1 } } } },
        { 3, 5, 5, 3, { { 3, 3 }, { 1, 1 }, { { 1, 1 }, { 1, 1 } } } },
        { 1, 7, 11, 1, { { 2, 3 }, { 3, 2 }, { { 1, 0 }, { 0, 2 } } } },
        { 2, 8, 8, 5, { { 2, 2 }, { 3, 3 }, { { 0, 0 }, { 0, 0 } } } },   /* pixels that no window covers */
        { 2, 9, 10, 3, { { 9, 10 }, { 1, 1 }, { { 0, 0 }, { 0, 0 } } } }, /* too many taps to write each down */
        { 3, 7, 7, 17, { { 7, 7 }, { 7, 7 }, { { 0, 0 }, { 0, 0 } } } },  /* the whole image */
    };
    for (int f = 0; f < 3; f++)
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i += f < 2 ? 1 : 3)
            pool(s, each[f], &cases[i]);
}
