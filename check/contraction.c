/* Matrix products and the three convolutions. Each case runs the same kernel on whole numbers, whose sums are exact in
 * every order and format, so that a wrong index shows as a wrong bit, and on real ones within the bound of their
 * sums. */
#include "../engine/tile.h"
#include "case.h"

#include <math.h>
#include <stdlib.h>

/* ---- matrix products ---- */

typedef struct product_shape {
    int64_t batch, m, n, k;
    bool transpose_a, transpose_b;
} product_shape;

static bd_tensor operand(test_case *c, int64_t batch, int64_t rows, int64_t columns, bool transposed, fill_kind fill)
{
    int64_t first = transposed ? columns : rows, second = transposed ? rows : columns;
    bd_shape shape = batch > 1 ? BD_SHAPE(batch, first, second) : BD_SHAPE(first, second);
    return case_input(c, c->formats.value, shape, fill);
}

static void matmul(session *s, format_set f, product_shape p)
{
    test_case c;
    if (!case_begin(&c, s, f, "%lld of %lldx%lldx%lld%s%s", (long long)p.batch, (long long)p.m, (long long)p.n,
                    (long long)p.k, p.transpose_a ? " a'" : "", p.transpose_b ? " b'" : ""))
        return;
    const fill_kind fills[] = { FILL_WHOLE, FILL_UNIFORM };
    for (int i = 0; i < 2; i++) {
        bd_tensor a = operand(&c, p.batch, p.m, p.k, p.transpose_a, fills[i]);
        bd_tensor b = operand(&c, p.batch, p.k, p.n, p.transpose_b, fills[i]);
        bd_tensor y = bd_matmul(c.graph, a, b, p.transpose_a, p.transpose_b);
        case_output(&c, y, fills[i] == FILL_WHOLE ? equal_value : sum_of(p.k, 0));
    }
    case_run(&c);
}

/* relu(x w + bias) of a cast input: prologue and epilogue in one kernel. The product is rounded before the bias
 * comes. */
static void matmul_fused(session *s, format_set f, int64_t m, int64_t n, int64_t k)
{
    test_case c;
    if (!case_begin(&c, s, f, "relu(relu(x) w + b), %lldx%lldx%lld", (long long)m, (long long)n, (long long)k))
        return;
    bd_graph *g = c.graph;
    const fill_kind fills[] = { FILL_WHOLE, FILL_UNIFORM };
    for (int i = 0; i < 2; i++) {
        bd_tensor x = case_input(&c, BD_F32, BD_SHAPE(m, k), fills[i]);
        bd_tensor w = case_input(&c, f.value, BD_SHAPE(k, n), fills[i]);
        bd_tensor bias = case_input(&c, f.value, BD_SHAPE(n), fills[i]);
        bd_tensor product = bd_matmul(g, bd_relu(g, bd_cast(g, x, BD_ROLE_ACTIVATION)), w, false, false);
        bd_tensor y = bd_relu(g, bd_add(g, product, bd_broadcast(g, bias, BD_SHAPE(m, n))));
        /* two roundings on the way: of the cast input, and of the product */
        case_output(&c, y, fills[i] == FILL_WHOLE ? equal_value : sum_of(k, 2));
    }
    case_run(&c);
}

/* gelu(x w) and its slope, a long function of the sums: of whole numbers, so that the product is exact and only the
 * functions err (elementwise.c tells by how much: 19 ULP; absolutely, 2^-40 where x w is less than -5, and 2^-20 for
 * the slope). */
static void matmul_long(session *s, format_set f, int64_t m, int64_t n, int64_t k)
{
    test_case c;
    if (!case_begin(&c, s, f, "gelu(x w), %lldx%lldx%lld", (long long)m, (long long)n, (long long)k))
        return;
    bd_tensor x = case_input(&c, f.value, BD_SHAPE(m, k), FILL_WHOLE);
    bd_tensor w = case_input(&c, f.value, BD_SHAPE(k, n), FILL_WHOLE);
    bd_tensor product = bd_matmul(c.graph, x, w, false, false);
    test_tolerance value = within_ulps(19), slope = within_ulps(11);
    value.absolute = 0x1p-40;
    slope.absolute = 0x1p-20;
    case_output(&c, bd_gelu(c.graph, product), value);
    case_output(&c, bd_gelu_slope(c.graph, product), slope);
    case_run(&c);
}

void test_matmul(session *s)
{
    const format_set each[] = { fp32, fp16, fp16_strict };
    static const product_shape products[] = {
        { 1, 1, 1, 1, false, false },       { 1, 3, 5, 7, false, false },      { 1, 17, 19, 23, false, false },
        { 1, 64, 64, 32, false, false },    { 1, 63, 65, 31, false, false },   { 1, 65, 127, 129, false, false },
        { 1, 129, 255, 257, false, false }, { 1, 256, 10, 512, false, false }, { 1, 1, 257, 384, false, false },
        { 1, 257, 1, 67, false, false },    { 1, 5, 3, 0, false, false },      { 1, 0, 3, 5, false, false },
        { 3, 17, 9, 33, false, false },     { 2, 64, 33, 16, false, false },   { 1, 256, 256, 128, false, false },
    };
    for (int f = 0; f < 3; f++) {
        /* every third where only the accumulator is another */
        for (size_t i = 0; i < sizeof products / sizeof products[0]; i += f < 2 ? 1 : 3)
            matmul(s, each[f], products[i]);
        for (int t = 1; t < 4; t++) {
            matmul(s, each[f], (product_shape){ 1, 63, 65, 33, t & 1, t & 2 });
            if (each[f].accumulator == BD_F16)
                continue;
            matmul(s, each[f], (product_shape){ 1, 64, 32, 128, t & 1, t & 2 });
            matmul(s, each[f], (product_shape){ 3, 18, 35, 17, t & 1, t & 2 });
        }
        matmul_fused(s, each[f], 33, 65, 47);
        matmul_fused(s, each[f], 64, 64, 64);
        matmul_long(s, each[f], 33, 65, 47);
        matmul_long(s, each[f], 128, 64, 64);
    }
    /* So many columns of tiles that work-groups go down some rows of them first. */
    matmul(s, fp16, (product_shape){ 1, 300, 4640, 64, false, false });
    /* A long sum with few results is cut into parts. */
    for (int f = 0; f < 2; f++)
        matmul(s, each[f], (product_shape){ 1, 10, 12, 9973, true, false });
}

/* ---- convolutions ---- */

typedef struct convolution {
    int64_t images, height, width, in, out;
    bd_window window;
} convolution;

/* Terms of the three sums. */
static int64_t forward_terms(const convolution *v)
{
    return v->window.size[0] * v->window.size[1] * v->in;
}

static int64_t data_terms(const convolution *v)
{
    return v->window.size[0] * v->window.size[1] * v->out;
}

static void convolve(session *s, format_set f, const convolution *v)
{
    const bd_window *w = &v->window;
    test_case c;
    if (!case_begin(&c, s, f, "%lldx%lldx%lldx%lld to %lld, %lldx%lld step %lld,%lld pad %lld%lld,%lld%lld",
                    (long long)v->images, (long long)v->height, (long long)v->width, (long long)v->in,
                    (long long)v->out, (long long)w->size[0], (long long)w->size[1], (long long)w->stride[0],
                    (long long)w->stride[1], (long long)w->pad[0][0], (long long)w->pad[0][1], (long long)w->pad[1][0],
                    (long long)w->pad[1][1]))
        return;
    bd_shape x_shape = BD_SHAPE(v->images, v->height, v->width, v->in);
    bd_shape weight_shape = BD_SHAPE(w->size[0], w->size[1], v->in, v->out);
    const fill_kind fills[] = { FILL_WHOLE, FILL_UNIFORM };
    for (int i = 0; i < 2; i++) {
        bool whole = fills[i] == FILL_WHOLE;
        bd_tensor x = case_input(&c, f.value, x_shape, fills[i]),
                  weight = case_input(&c, f.value, weight_shape, fills[i]);
        bd_tensor y = bd_conv2d(c.graph, x, weight, *w);
        bd_shape y_shape = bd_tensor_shape(c.graph, y);
        int64_t pixels = y_shape.dim[0] * y_shape.dim[1] * y_shape.dim[2];
        bd_tensor dy = case_input(&c, f.value, y_shape, fills[i]);
        case_output(&c, y, whole ? equal_value : sum_of(forward_terms(v), 0));
        case_output(&c, bd_conv2d_data(c.graph, dy, weight, *w, x_shape),
                    whole ? equal_value : sum_of(data_terms(v), 0));
        case_output(&c, bd_conv2d_weight(c.graph, x, dy, *w, weight_shape), whole ? equal_value : sum_of(pixels, 0));
    }
    case_run(&c);
}

/* relu(conv(x, w) + b + r), and the data gradient where x is positive: what residual blocks fuse behind
 * convolutions. */
static void convolve_fused(session *s, format_set f, int64_t images, int64_t side, int64_t in, int64_t out)
{
    test_case c;
    if (!case_begin(&c, s, f, "relu(conv(x) + b + r) and a masked gradient, %lldx%lldx%lldx%lld to %lld",
                    (long long)images, (long long)side, (long long)side, (long long)in, (long long)out))
        return;
    bd_graph *g = c.graph;
    const bd_window window = { { 3, 3 }, { 1, 1 }, { { 1, 1 }, { 1, 1 } } };
    const bd_shape x_shape = BD_SHAPE(images, side, side, in), y_shape = BD_SHAPE(images, side, side, out);
    const fill_kind fills[] = { FILL_WHOLE, FILL_UNIFORM };
    for (int i = 0; i < 2; i++) {
        const bool whole = fills[i] == FILL_WHOLE;
        const bd_tensor x = case_input(&c, f.value, x_shape, fills[i]), r = case_input(&c, f.value, y_shape, fills[i]);
        const bd_tensor weight = case_input(&c, f.value, BD_SHAPE(3, 3, in, out), fills[i]);
        const bd_tensor bias = case_input(&c, f.value, BD_SHAPE(out), fills[i]);
        const bd_tensor sum = bd_add(g, bd_conv2d(g, x, weight, window), bd_broadcast(g, bias, y_shape));
        case_output(&c, bd_relu(g, bd_add(g, sum, r)), whole ? equal_value : sum_of(9 * in, 3));
        const bd_tensor dx = bd_conv2d_data(g, r, weight, window, x_shape), zero = bd_constant(g, x_shape, 0);
        case_output(&c, bd_select(g, bd_less(g, zero, x), dx, zero), whole ? equal_value : sum_of(9 * out, 1));
    }
    case_run(&c);
}

/* ---- operands of other formats, which matrix units multiply as what holds both (bd_matrix_format); results are F32
 * ---- */

typedef struct format_pair {
    bd_format a, b;
} format_pair;

/* An operand in which patterns of the format follow each other, all of them where it has 8 bits; what is not finite, or
 * subnormal in FP32 too, is 0. */
static bd_tensor patterns(test_case *c, bd_format format, bd_shape shape)
{
    const bd_format_info info = bd_format_describe(format);
    const int64_t count = bd_shape_elements(&shape), all = (int64_t)1 << info.bits;
    double *values = test_allocate(count, sizeof *values);
    for (int64_t i = 0; i < count; i++) {
        const uint16_t bits = (uint16_t)(format == BD_I4 ? i % 16 - 8 : i * (info.size == 1 ? 1 : 40503) % all);
        const uint8_t byte = (uint8_t)bits;
        bd_format_decode(format, info.size == 1 ? (const void *)&byte : &bits, &values[i], 1);
        if (!isfinite(values[i]) || fabs(values[i]) < 0x1p-126)
            values[i] = 0;
    }
    const bd_tensor tensor = case_input_values(c, format, shape, values);
    free(values);
    return tensor;
}

static bd_tensor identity(test_case *c, bd_format format, bd_shape shape)
{
    const int64_t count = bd_shape_elements(&shape);
    double *values = test_allocate(count, sizeof *values);
    for (int64_t i = 0; i < count; i++)
        values[i] = i / shape.dim[1] == i % shape.dim[1];
    const bd_tensor tensor = case_input_values(c, format, shape, values);
    free(values);
    return tensor;
}

/* Where the units' own sums will do. Whole numbers are exact in them too, as long as their sums stay below 2^13, which
 * these do; the others are such that none becomes subnormal, as the bound wants them. */
static test_tolerance unit_sum_of(const session *s, int64_t terms)
{
    test_tolerance t = sum_of(terms, 0);
    t.dropped = bd_most_unit_sum_error(&s->device->target);
    return t;
}

/* Each operand's values must come through the identity as they are. */
static void multiply_formats(session *s, format_pair f, product_shape p, bool unit_sums)
{
    test_case c;
    if (!case_begin(&c, s, fp32, "%s by %s, %lldx%lldx%lld%s%s%s", bd_format_name(f.a), bd_format_name(f.b),
                    (long long)p.m, (long long)p.n, (long long)p.k, p.transpose_a ? " a'" : "",
                    p.transpose_b ? " b'" : "", unit_sums ? ", unit sums" : ""))
        return;
    c.unit_sums = unit_sums;
    const bd_shape a_shape = p.transpose_a ? BD_SHAPE(p.k, p.m) : BD_SHAPE(p.m, p.k);
    const bd_shape b_shape = p.transpose_b ? BD_SHAPE(p.n, p.k) : BD_SHAPE(p.k, p.n);
    const fill_kind fill = unit_sums ? FILL_POSITIVE : FILL_UNIFORM;
    const struct {
        bd_tensor a, b;
        test_tolerance tolerance;
    } products[] = {
        { case_input(&c, f.a, a_shape, FILL_WHOLE), case_input(&c, f.b, b_shape, FILL_WHOLE), equal_value },
        { case_input(&c, f.a, a_shape, fill), case_input(&c, f.b, b_shape, fill),
          unit_sums ? unit_sum_of(s, p.k) : sum_of(p.k, 0) },
        { patterns(&c, f.a, a_shape), identity(&c, f.b, b_shape), equal_value },
        { identity(&c, f.a, a_shape), patterns(&c, f.b, b_shape), equal_value },
    };
    for (size_t i = 0; i < sizeof products / sizeof *products; i++)
        case_output(&c, bd_matmul(c.graph, products[i].a, products[i].b, p.transpose_a, p.transpose_b),
                    products[i].tolerance);
    case_run(&c);
}

/* Whole numbers of A that are stored with a sign and read from 0 on, as activations of learned steps are. */
static void multiply_moved(session *s, format_pair f, product_shape p)
{
    test_case c;
    if (!case_begin(&c, s, fp32, "%s from 0 by %s, %lldx%lldx%lld%s%s", bd_format_name(f.a), bd_format_name(f.b),
                    (long long)p.m, (long long)p.n, (long long)p.k, p.transpose_a ? " a'" : "",
                    p.transpose_b ? " b'" : ""))
        return;
    const bd_shape a_shape = p.transpose_a ? BD_SHAPE(p.k, p.m) : BD_SHAPE(p.m, p.k);
    const bd_shape b_shape = p.transpose_b ? BD_SHAPE(p.n, p.k) : BD_SHAPE(p.k, p.n);
    const double zero = bd_format_describe(f.a).largest + 1;
    const bd_tensor a = patterns(&c, f.a, a_shape), b = patterns(&c, f.b, b_shape);
    const bd_tensor moved = bd_add(c.graph, a, bd_constant(c.graph, a_shape, zero));
    if (moved != BD_NONE)
        c.graph->nodes[moved].recompute = true;
    case_output(&c, bd_matmul(c.graph, moved, b, p.transpose_a, p.transpose_b), sum_of(p.k, 0));
    case_run(&c);
}

static void convolve_formats(session *s, format_pair f, int64_t in, int64_t out, bool unit_sums)
{
    test_case c;
    const bd_window window = { { 3, 3 }, { 1, 1 }, { { 1, 1 }, { 1, 1 } } };
    if (!case_begin(&c, s, fp32, "%s by %s, 2x6x5x%lld to %lld%s", bd_format_name(f.a), bd_format_name(f.b),
                    (long long)in, (long long)out, unit_sums ? ", unit sums" : ""))
        return;
    c.unit_sums = unit_sums;
    const bd_shape x_shape = BD_SHAPE(2, 6, 5, in), taps = BD_SHAPE(3, 3, in, out), y_shape = BD_SHAPE(2, 6, 5, out);
    const fill_kind fill = unit_sums ? FILL_POSITIVE : FILL_UNIFORM;
    bd_tensor x = case_input(&c, f.a, x_shape, fill), weight = case_input(&c, f.b, taps, FILL_WHOLE);
    bd_tensor dy = case_input(&c, f.a, y_shape, fill), other = case_input(&c, f.b, y_shape, FILL_WHOLE);
    const int64_t terms[] = { 9 * in, 9 * out, 60 };
    const bd_tensor results[] = { bd_conv2d(c.graph, x, weight, window),
                                  bd_conv2d_data(c.graph, dy, weight, window, x_shape),
                                  bd_conv2d_weight(c.graph, x, other, window, taps) };
    for (int i = 0; i < 3; i++)
        case_output(&c, results[i], unit_sums ? unit_sum_of(s, terms[i]) : sum_of(terms[i], 0));
    case_run(&c);
}

void test_operands(session *s)
{
    const format_pair f8 = { BD_F8E4M3, BD_F8E5M2 }, bf16 = { BD_BF16, BD_BF16 }, whole = { BD_I8, BD_I4 };
    const format_pair others[] = { whole,
                                   { bd_format_exmy(3, 2), bd_format_exmy(4, 0) },
                                   { BD_BF16, BD_F8E5M2 },
                                   { bd_format_exmy(5, 8), bd_format_exmy(2, 5) } };
    for (int t = 0; t < 4; t++)
        multiply_formats(s, f8, (product_shape){ 1, 40, 72, 48, t & 1, t & 2 }, false);
    for (int t = 0; t < 4; t += 3)
        multiply_formats(s, bf16, (product_shape){ 1, 40, 72, 48, t & 1, t & 2 }, false);
    multiply_formats(s, f8, (product_shape){ 1, 33, 35, 37, false, false }, false);
    multiply_formats(s, bf16, (product_shape){ 1, 33, 35, 37, false, false }, false);
    multiply_formats(s, f8, (product_shape){ 1, 16, 24, 4096, true, false }, false);
    for (int i = 0; i < 4; i++)
        multiply_formats(s, others[i], (product_shape){ 1, 64, 64, 64, false, false }, false);
    convolve_formats(s, f8, 16, 24, false);
    convolve_formats(s, bf16, 16, 24, false);
    convolve_formats(s, bf16, 16, 32, false);
    convolve_formats(s, bf16, 3, 16, false);
    convolve_formats(s, whole, 16, 24, false);
    /* Units of 8 bits take operands in pieces of 16 along k and of 8 across it. Other devices do here what they did
     * above. */
    const bool units = s->device->info.f8_sum_bits > 0;
    for (int t = 0; t < 4; t += units ? 1 : 3)
        multiply_formats(s, f8, (product_shape){ 1, 72, 136, 400, t & 1, t & 2 }, true);
    if (units)
        multiply_formats(s, (format_pair){ BD_F8E5M2, BD_F8E4M3 }, (product_shape){ 1, 16, 24, 4096, true, false },
                         true);
    for (int t = 0; t < 4; t += 3)
        multiply_moved(s, whole, (product_shape){ 1, 72, 136, 144, t & 1, t & 2 });
    convolve_formats(s, f8, 16, 32, true);
}

/* ---- sums over the columns of a contraction's results, which its work-groups may take (engine/columns.h) ---- */

/* What is summed there: whole numbers, which are the same everywhere, up to `spread` away from `offset`. Sums are
 * exact. A strip's mean and deviations take some 64 roundings and the strips' as many as there are strips, so the
 * bounds are those of `moments` (reduction.c) with so many additions. */
static void sum_columns(test_case *c, bd_tensor y, bd_tensor other, int64_t rows, double offset, double spread)
{
    const int axes = bd_tensor_shape(c->graph, y).rank - 1;
    const double u = 0x1p-24, n = (double)rows, g = (64 + n / 64 + 8) * u, difference = 2 * spread;
    const double e = 2 * u * (offset + spread);
    const test_tolerance mean = { .kind = TOLERANCE_NEAR, .absolute = 2 * g * difference + 2 * e };
    const test_tolerance deviations = { .kind = TOLERANCE_NEAR,
                                        .relative = 2 * u,
                                        .absolute =
                                            8 * g * n * difference * difference + n * (2 * difference + e) * e };
    case_output(c, y, equal_value);
    const bd_role role = bd_set_role(c->graph, BD_ROLE_FIXED);
    const bd_tensor exact = bd_cast(c->graph, y, BD_ROLE_FIXED);
    case_output(c, bd_mean(c->graph, exact, 0, axes, false), mean);
    case_output(c, bd_deviations(c->graph, exact, 0, axes, false), deviations);
    if (other != BD_NONE) {
        const bd_tensor factor = bd_cast(c->graph, other, BD_ROLE_FIXED);
        case_output(c, bd_sum(c->graph, exact, 0, axes, false), equal_value);
        case_output(c, bd_sum(c->graph, bd_mul(c->graph, exact, factor), 0, axes, false), equal_value);
    }
    bd_set_role(c->graph, role);
}

static bd_tensor constant_columns(test_case *c, int64_t columns, double value)
{
    double *values = test_allocate(columns, sizeof *values);
    for (int64_t i = 0; i < columns; i++)
        values[i] = value + (double)(i % 7);
    const bd_tensor tensor = case_input_values(c, c->formats.value, BD_SHAPE(columns), values);
    free(values);
    return tensor;
}

/* Results far from 0, as a bias makes them, whose squares would cancel. */
static void columns_of_product(session *s, format_set f, int64_t m, int64_t n, int64_t k)
{
    enum { FAR = 1500 };
    test_case c;
    if (!case_begin(&c, s, f, "columns of %lldx%lldx%lld", (long long)m, (long long)n, (long long)k))
        return;
    const bd_shape shape = BD_SHAPE(m, n);
    const bd_tensor a = case_input(&c, f.value, BD_SHAPE(m, k), FILL_WHOLE);
    const bd_tensor b = case_input(&c, f.value, BD_SHAPE(k, n), FILL_WHOLE);
    const bd_tensor bias = bd_broadcast(c.graph, constant_columns(&c, n, FAR), shape);
    const bd_tensor y = bd_add(c.graph, bd_matmul(c.graph, a, b, false, false), bias);
    sum_columns(&c, y, BD_NONE, m, FAR + 7, 4 * (double)k);
    case_run(&c);
}

/* Means and deviations forward, and backward the sums of what a mask leaves, and of its products. */
static void columns_of_convolution(session *s, format_set f, int64_t images, int64_t size, int64_t in, int64_t out)
{
    enum { FAR = 1000 };
    test_case c;
    const bd_window window = { { 3, 3 }, { 1, 1 }, { { 1, 1 }, { 1, 1 } } };
    const int64_t rows = images * size * size;
    if (!case_begin(&c, s, f, "columns of %lldx%lldx%lldx%lld to %lld", (long long)images, (long long)size,
                    (long long)size, (long long)in, (long long)out))
        return;
    bd_graph *g = c.graph;
    const bd_shape x_shape = BD_SHAPE(images, size, size, in), y_shape = BD_SHAPE(images, size, size, out);
    const bd_tensor weight = case_input(&c, f.value, BD_SHAPE(3, 3, in, out), FILL_WHOLE);
    const bd_tensor x = case_input(&c, f.value, x_shape, FILL_WHOLE), dy = case_input(&c, f.value, y_shape, FILL_WHOLE);
    const bd_tensor other = case_input(&c, f.value, x_shape, FILL_WHOLE);
    const bd_tensor bias = bd_broadcast(g, constant_columns(&c, out, FAR), y_shape);
    sum_columns(&c, bd_add(g, bd_conv2d(g, x, weight, window), bias), BD_NONE, rows, FAR + 7, 36 * (double)in);
    const bd_tensor dx = bd_conv2d_data(g, dy, weight, window, x_shape), zero = bd_constant(g, x_shape, 0);
    const bd_tensor masked = bd_select(g, bd_less(g, zero, other), dx, zero);
    sum_columns(&c, masked, other, rows, 0, 36 * (double)out);
    case_run(&c);
}

void test_columns(session *s)
{
    const format_set each[] = { fp32, fp16 };
    for (int f = 0; f < 2; f++) {
        columns_of_product(s, each[f], 1088, 20, 16); /* the last tiles are not full */
        columns_of_product(s, each[f], 1024, 264, 16);
        columns_of_convolution(s, each[f], 5, 16, 8, 12);
    }
    columns_of_product(s, fp16, 1472, 128, 32);
    columns_of_convolution(s, fp16, 4, 16, 16, 16);
    columns_of_convolution(s, fp16, 6, 16, 8, 64);
    columns_of_convolution(s, fp16, 4, 16, 3, 16);
}

void test_convolutions(session *s)
{
    const format_set each[] = { fp32, fp16, fp16_strict };
    static const convolution convolutions[] = {
        { 1, 1, 1, 1, 1, { { 1, 1 }, { 1, 1 }, { { 0, 0 }, { 0, 0 } } } },
        { 2, 5, 5, 1, 6, { { 5, 5 }, { 1, 1 }, { { 2, 2 }, { 2, 2 } } } }, /* LeNet's first, small */
        { 2, 7, 7, 6, 16, { { 5, 5 }, { 1, 1 }, { { 0, 0 }, { 0, 0 } } } },
        { 3, 9, 7, 3, 16, { { 3, 3 }, { 1, 1 }, { { 1, 1 }, { 1, 1 } } } },
        { 2, 8, 8, 16, 3, { { 3, 3 }, { 2, 2 }, { { 1, 1 }, { 1, 1 } } } },
        { 2, 8, 9, 6, 5, { { 1, 1 }, { 2, 2 }, { { 0, 0 }, { 0, 0 } } } },  /* a projection that skips pixels */
        { 1, 9, 11, 3, 7, { { 2, 3 }, { 3, 2 }, { { 1, 0 }, { 0, 2 } } } }, /* nothing alike */
        { 2, 4, 4, 33, 65, { { 3, 3 }, { 1, 1 }, { { 1, 1 }, { 1, 1 } } } },
        { 2,
          6,
          5,
          16,
          24,
          { { 3, 3 }, { 1, 1 }, { { 1, 1 }, { 1, 1 } } } }, /* channels in eights: matrix units load them so */
        /* channels in tiles: boxes of pixels, whole ones, partial ones, and of every second pixel */
        { 2, 8, 8, 64, 64, { { 3, 3 }, { 1, 1 }, { { 1, 1 }, { 1, 1 } } } },
        { 3, 6, 5, 64, 32, { { 3, 2 }, { 1, 1 }, { { 0, 2 }, { 1, 0 } } } },
        { 4, 10, 8, 64, 64, { { 3, 3 }, { 2, 2 }, { { 1, 1 }, { 0, 1 } } } },
        { 4, 4, 8, 64, 64, { { 1, 1 }, { 1, 1 }, { { 0, 0 }, { 0, 0 } } } },
        /* of several images, the last ones not there; of rows; of part of a row */
        { 5, 4, 4, 64, 64, { { 3, 3 }, { 1, 1 }, { { 1, 1 }, { 1, 1 } } } },
        { 37, 2, 2, 64, 128, { { 3, 3 }, { 1, 1 }, { { 1, 1 }, { 1, 1 } } } },
        { 1, 16, 16, 64, 64, { { 5, 3 }, { 1, 1 }, { { 2, 2 }, { 1, 1 } } } },
        { 1, 2, 128, 64, 64, { { 3, 3 }, { 1, 1 }, { { 1, 1 }, { 1, 1 } } } },
        /* few channels: tiles of whole images and of rows, the last of them partial, weights that stay */
        { 5, 8, 8, 16, 16, { { 3, 3 }, { 1, 1 }, { { 1, 1 }, { 1, 1 } } } },
        { 3, 17, 19, 16, 32, { { 3, 3 }, { 1, 1 }, { { 1, 1 }, { 1, 1 } } } },
        { 7, 9, 5, 32, 16, { { 3, 3 }, { 2, 2 }, { { 1, 1 }, { 1, 1 } } } },
        { 3, 11, 9, 32, 64, { { 2, 3 }, { 1, 1 }, { { 1, 0 }, { 0, 2 } } } },
        /* so few that they are put together one by one */
        { 5, 13, 19, 1, 16, { { 5, 5 }, { 2, 1 }, { { 2, 2 }, { 1, 3 } } } },
        { 3, 12, 16, 3, 64, { { 3, 3 }, { 1, 1 }, { { 1, 1 }, { 1, 1 } } } },
    };
    /* Drivers take a second to compile each of the three kernels, so not every format has every shape. */
    enum { TILED = 14 }; /* halves with sums in FP32 only */
    const size_t count = sizeof convolutions / sizeof convolutions[0], strides[] = { 2, 1, 3 };
    for (int f = 0; f < 3; f++)
        for (size_t i = 0; i < (f == 1 ? count : count - TILED); i += strides[f])
            convolve(s, each[f], &convolutions[i]);
    /* pixels of whole strides, each of which only some taps meet, or none */
    static const convolution whole_strides[] = {
        { 3, 12, 9, 5, 8, { { 3, 3 }, { 2, 3 }, { { 1, 1 }, { 2, 0 } } } },
        { 2, 8, 12, 20, 16, { { 1, 1 }, { 2, 2 }, { { 0, 0 }, { 0, 0 } } } },
        { 2, 9, 6, 4, 12, { { 2, 4 }, { 3, 2 }, { { 0, 0 }, { 1, 2 } } } },
    };
    for (size_t i = 0; i < sizeof whole_strides / sizeof whole_strides[0]; i++)
        convolve(s, each[i % 2], &whole_strides[i]);
    convolve_fused(s, fp16, 5, 7, 16, 32);
    /* many pixels: the weight's gradient is cut into parts */
    static const convolution long_sum = { 8, 28, 28, 1, 6, { { 5, 5 }, { 1, 1 }, { { 2, 2 }, { 2, 2 } } } };
    convolve(s, fp32, &long_sum);
    /* and more than a loop of lavapipe's takes, by more tiles than a CPU has cores */
    static const convolution longest_sum = { 66, 32, 32, 16, 64, { { 3, 3 }, { 1, 1 }, { { 1, 1 }, { 1, 1 } } } };
    convolve(s, fp32, &longest_sum);
}
