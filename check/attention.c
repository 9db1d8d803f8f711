/* Attention, its rows' sums and its gradient. */
#include "../engine/control.h"
#include "../engine/tile.h"
#include "case.h"

#include <math.h>
#include <stdlib.h>

typedef struct attention_shape {
    int64_t sequences, tokens, heads, depth;
    bool causal;
    double most; /* bound of every score */
    float dropout;
} attention_shape;

static double gamma_of(double terms, bd_format accumulator)
{
    const double u = format_roundoff(accumulator);
    return terms * u / (1 - terms * u);
}

/* What the results may be off by before their last rounding, absolutely, where no score is larger than `most` and no
 * value and no number of dy than 1. Products of a sum may be rounded on their own, hence twice the terms.
 *
 * Matrix units (`matrix`) multiply weights and the scores' gradients that were rounded to the operands' format, which
 * makes of x one that is off by x times its unit roundoff, or by half its least value where x is below the normal ones.
 * Forward the weights are relative to the row's largest; their sum is 1 at least, so that a value of at most 1 is off
 * by the roundoff and t times the other. Backward a row's weights sum to 1 and their gradients, before the keys and 1 /
 * sqrt(d), to 2 d at most. The exponentials are powers of 2, whose arguments have two roundings more, of the factor
 * log2(e) and of the product with it.
 *
 * Dropout leaves some of the weights, whose sums are no larger, and makes all of it 1 / (1 - rate) times as large, with
 * two roundings: of that factor and of the product with it. Backward dy . y is made smaller by 1 - rate first, which
 * are two more. */
typedef struct attention_errors {
    double result, sum, query, key, value;
} attention_errors;

static attention_errors errors_of(format_set f, const attention_shape *s, bool matrix)
{
    const double u = format_roundoff(BD_F32), out = format_roundoff(f.value), t = (double)s->tokens,
                 d = (double)s->depth;
    const double operand = matrix ? out : 0, least = matrix ? format_least(f.value) / 2 : 0, roundings = matrix ? 4 : 2;
    const double score = (gamma_of(2 * d, f.accumulator) + 4 * u) * s->most;
    /* An exponential is off by 3 units in the last place, 2 u each, and its argument by a rounding of at most twice the
     * largest score; each block may take the sums so far by another one. */
    const double power = 6 * u + roundings * s->most * u;
    const double total = expm1(2 * score) + (t + 1) * (2 * power + u) + gamma_of(t, BD_F32);
    const double sums = gamma_of(3 * t, f.accumulator);
    const double factor = 1 / (1 - (double)s->dropout), rescaled = s->dropout > 0 ? 2 * u : 0;
    attention_errors e;
    e.sum = score + total + 6 * u * (1 + log(t)) + u * (s->most + log(t));
    /* Cooperative matrices have their weights from the logarithms of the sums forward, too. */
    const double again = matrix ? expm1(e.sum + 2 * u * (2 * s->most + log(t))) : 0;
    e.result = (1 + expm1(2 * score) + power) * (1 + total) * (1 + 3 * u) * (1 + sums) * (1 + operand + t * least) *
                   (1 + again) * (1 + 2 * rescaled) -
               1;
    /* Backward: from the sums as they are stored, on both sides, and results as they are stored. */
    const double stored_sum = e.sum + 2 * format_roundoff(f.accumulator) * (s->most + log(t) + e.sum);
    const double weight = expm1(score + stored_sum + roundings * u * (2 * s->most + log(t))) + 6 * u;
    const double mean = d * (e.result + 2 * out) + gamma_of(2 * d, BD_F32) * d;
    const double slope =
        2 * d * (weight + 4 * u + 3 * rescaled) + (1 + weight) * (mean + gamma_of(2 * d, f.accumulator) * d);
    const double row = slope + (sums + operand * (1 + sums)) * (2 * d + slope) + t * least;
    /* The weights of a row sum to 1; of a key's column each is at most e^(2 most) over what the row sees. */
    double column = 0;
    for (int64_t i = 0; i < s->tokens; i++)
        column += fmin(1, exp(2 * s->most) / (double)(s->causal ? i + 1 : s->tokens));
    const double largest = sqrt(s->most / sqrt(d)); /* of queries and keys */
    e.query = factor * row * largest / sqrt(d) * (1 + 8 * u);
    e.key = e.query * column;
    e.value = factor * ((weight + 2 * rescaled + (sums + operand * (1 + sums)) * (1 + weight)) * column + t * least);
    e.result *= factor;
    return e;
}

static test_tolerance off_by(double error, bd_format format)
{
    const double u = format_roundoff(format);
    return (test_tolerance){ .kind = TOLERANCE_NEAR,
                             .relative = 2 * u / (1 - u),
                             .absolute = error + format_least(format) };
}

/* Queries and keys so small that no score passes the bound, values up to 1. */
static bd_tensor make_qkv(test_case *c, const attention_shape *s)
{
    const int64_t width = s->heads * s->depth, count = s->sequences * s->tokens * 3 * width;
    const double largest = sqrt(s->most / sqrt((double)s->depth));
    double *values = test_allocate(count, sizeof *values);
    for (int64_t i = 0; i < count; i++)
        values[i] = (2 * case_random(c, 100, i) - 1) * (i / width % 3 < 2 ? largest * 0.999 : 1);
    const bd_tensor qkv = case_input_values(c, c->formats.value, BD_SHAPE(s->sequences, s->tokens, 3 * width), values);
    free(values);
    return qkv;
}

static void add_control(test_case *c)
{
    double words[BD_CONTROL_WORD_COUNT] = { 0 };
    words[BD_CONTROL_SEED_LOW] = case_random_bits(c, 101, 0);
    words[BD_CONTROL_SEED_HIGH] = case_random_bits(c, 101, 1);
    words[BD_CONTROL_STEP] = 12345;
    case_control(c, words);
}

static void attention(session *s, format_set f, attention_shape shape)
{
    test_case c;
    if (!case_begin(&c, s, f, "%lldx%lld tokens, %lldx%lld%s, scores to %g%s", (long long)shape.sequences,
                    (long long)shape.tokens, (long long)shape.heads, (long long)shape.depth,
                    shape.causal ? " causal" : "", shape.most, shape.dropout > 0 ? ", dropout" : ""))
        return;
    if (shape.dropout > 0) {
        bd_random(c.graph, BD_SHAPE(1)); /* takes the first stream, so that attention's is not 0 */
        add_control(&c);
    }
    const bool matrix = bd_attention_by_matrix_units(&s->device->target, f.value, f.accumulator, shape.depth);
    const attention_errors errors = errors_of(f, &shape, matrix);
    const int64_t width = shape.heads * shape.depth;
    bd_tensor qkv = make_qkv(&c, &shape), gradient = BD_NONE;
    const bd_tensor y = bd_self_attention(c.graph, qkv, shape.heads, shape.causal, shape.dropout, true);
    const bd_attention_attr attr = bd_node_at(c.graph, y)->attr.attention;
    bd_tensor dy = case_input(&c, f.value, BD_SHAPE(shape.sequences, shape.tokens, width), FILL_UNIFORM);
    case_output(&c, y, off_by(errors.result, f.value));
    case_output(&c, bd_attention_sum(c.graph, qkv, &attr), off_by(errors.sum, f.accumulator));
    bd_error error;
    if (bd_gradient(c.graph, y, dy, &qkv, 1, &gradient, &error) == BD_OK)
        for (int which = 0; which < 3; which++) {
            const double off = which == 0 ? errors.query : which == 1 ? errors.key : errors.value;
            case_output(&c, bd_slice(c.graph, gradient, 2, which * width, width), off_by(off, f.value));
        }
    case_run(&c);
}

/* A NaN makes its own sequence and head NaN, as far as a token sees it, and no other. */
static void not_a_number(session *s, format_set f)
{
    test_case c;
    if (!case_begin(&c, s, f, "a NaN"))
        return;
    enum { DEPTH = 8, COUNT = 2 * 9 * 3 * 2 * DEPTH };
    double values[COUNT];
    for (int i = 0; i < COUNT; i++)
        values[i] = case_random(&c, 100, i);
    values[(3 * 3 + 1) * 2 * DEPTH + DEPTH + 1] = NAN; /* the first sequence's fourth token, a key of its second head */
    bd_tensor qkv = case_input_values(&c, f.value, BD_SHAPE(2, 9, 3 * 2 * DEPTH), values);
    const attention_shape shape = { 2, 9, 2, DEPTH, true, 3, 0 }; /* scores to 8 / sqrt(8) */
    const bool matrix = bd_attention_by_matrix_units(&s->device->target, f.value, f.accumulator, DEPTH);
    case_output(&c, bd_self_attention(c.graph, qkv, 2, true, 0, true),
                off_by(errors_of(f, &shape, matrix).result, f.value));
    case_run(&c);
}

void test_attention(session *s)
{
    const format_set each[] = { fp32, fp16, fp16_strict, mixed };
    for (int f = 0; f < 4; f++) {
        attention(s, each[f], (attention_shape){ 2, 5, 3, 7, false, 1, 0 });
        attention(s, each[f], (attention_shape){ 2, 9, 2, 8, true, 1, 0 });
    }
    for (int f = 0; f < 2; f++) {
        attention(s, each[f], (attention_shape){ 3, 25, 4, 64, false, 1, 0 }); /* the vision transformer's */
        attention(s, each[f], (attention_shape){ 2, 64, 2, 32, true, 8, 0 });
        attention(s, each[f], (attention_shape){ 1, 77, 2, 48, false, 8, 0 });
        attention(s, each[f], (attention_shape){ 1, 1, 1, 1, false, 1, 0 });
        attention(s, each[f], (attention_shape){ 1, 40, 1, 128, true, 1, 0 });
        not_a_number(s, each[f]);
    }
    attention(s, fp16, (attention_shape){ 1, 256, 2, 64, true, 4, 0 }); /* a language model's */
    attention(
        s, fp16,
        (attention_shape){ 3, 100, 3, 16, true, 2, 0 }); /* blocks that are not full, pieces of which heads have few */
    attention(s, fp16, (attention_shape){ 1, 130, 1, 24, false, 2, 0 });
    const format_set bf16 = { .name = "bf16", .value = BD_BF16, .statistic = BD_BF16, .accumulator = BD_F32 };
    attention(s, bf16, (attention_shape){ 2, 9, 2, 8, true, 1, 0 });
    attention(s, bf16, (attention_shape){ 1, 130, 1, 24, false, 2, 0 });
    attention(s, bf16, (attention_shape){ 1, 256, 2, 64, true, 4, 0 });
    const format_set dropping[] = { fp32, fp16, fp16_strict, mixed, bf16 };
    for (int f = 0; f < 5; f++) {
        attention(s, dropping[f], (attention_shape){ 2, 9, 2, 8, true, 1, 0.2f });
        attention(s, dropping[f], (attention_shape){ 2, 77, 3, 16, false, 2, 0.5f });
    }
    attention(s, fp32, (attention_shape){ 2, 5, 3, 7, false, 1, 0.9f });
    attention(s, fp16, (attention_shape){ 1, 256, 2, 64, true, 4, 0.2f });
    attention(s, bf16, (attention_shape){ 1, 130, 1, 128, false, 4, 0.2f });
}
