/* Self-attention of qkv [n, tokens, 3 * heads * depth], its rows' sums and its gradient, by their definitions: row
 * after row of scores, a softmax, a product. */
#include "../../engine/control.h"
#include "../../engine/philox.h"
#include "evaluate.h"

#include <math.h>
#include <stdlib.h>

typedef struct attention {
    int64_t sequences, tokens, heads, depth;
    bool causal;
    const double *qkv;
    double rate, kept_below; /* of dropout */
    uint32_t key[2], stream, step;
} attention;

/* Number `d` of a token's queries (0), keys (1) or values (2). */
static int64_t place(const attention *a, int64_t sequence, int64_t head, int64_t token, int which, int64_t d)
{
    return (((sequence * a->tokens + token) * 3 + which) * a->heads + head) * a->depth + d;
}

static int64_t result_place(const attention *a, int64_t sequence, int64_t head, int64_t token, int64_t d)
{
    return ((sequence * a->tokens + token) * a->heads + head) * a->depth + d;
}

/* How many keys a query sees. */
static int64_t seen(const attention *a, int64_t query)
{
    return a->causal ? query + 1 : a->tokens;
}

/* 0, or what a weight that dropout leaves counts. Random number i of four is the one of the later query or not, and of
 * the later key or not, of the two that are 8 tokens apart within their sixteen. */
static double share(const attention *a, int64_t sequence, int64_t head, int64_t query, int64_t key)
{
    if (a->rate == 0)
        return 1;
    const int64_t sixteens = (a->tokens + 15) / 16;
    const int64_t row = ((sequence * a->heads + head) * sixteens + query / 16) * 8 + query % 8;
    const int64_t block = (row * sixteens + key / 16) * 8 + key % 8;
    uint32_t word[4];
    bd_philox(a->key, (const uint32_t[]){ (uint32_t)block, a->stream, a->step, 0 }, word);
    const double number = bd_philox_uniform(word[query / 8 % 2 * 2 + key / 8 % 2]);
    return number < a->kept_below ? 1 / (1 - a->rate) : 0;
}

static void make_scores(const attention *a, int64_t sequence, int64_t head, int64_t query, double *scores)
{
    for (int64_t key = 0; key < seen(a, query); key++) {
        double sum = 0;
        for (int64_t d = 0; d < a->depth; d++)
            sum += a->qkv[place(a, sequence, head, query, 0, d)] * a->qkv[place(a, sequence, head, key, 1, d)];
        scores[key] = sum / sqrt((double)a->depth);
    }
}

/* log(sum of exp(scores)); NaN where a score is one. */
static double log_sum(const double *scores, int64_t count)
{
    double largest = scores[0], sum = 0;
    for (int64_t i = 1; i < count; i++)
        if (isnan(scores[i]) || scores[i] > largest)
            largest = scores[i];
    for (int64_t i = 0; i < count; i++)
        sum += exp(scores[i] - largest);
    return largest + log(sum);
}

static void result_row(const attention *a, int64_t sequence, int64_t head, int64_t query, double *scores,
                       double *result)
{
    make_scores(a, sequence, head, query, scores);
    const double sum = log_sum(scores, seen(a, query));
    for (int64_t key = 0; key < seen(a, query); key++) {
        const double kept = share(a, sequence, head, query, key), weight = kept > 0 ? exp(scores[key] - sum) * kept : 0;
        for (int64_t d = 0; d < a->depth; d++)
            result[result_place(a, sequence, head, query, d)] += weight * a->qkv[place(a, sequence, head, key, 2, d)];
    }
}

/* With weights p = exp(score - sum) and the share m of each that dropout leaves: dv = (m p)' dy, dp = m (dy v'),
 * dscore = p (dp - sum of p dp), and that sum is the one of m p (dy v'), which is dy . y. */
static void gradient_row(const attention *a, int64_t sequence, int64_t head, int64_t query, const double *y, double sum,
                         const double *dy, double *scores, double *result)
{
    const double scale = 1 / sqrt((double)a->depth);
    const int64_t row = result_place(a, sequence, head, query, 0);
    double mean = 0;
    for (int64_t d = 0; d < a->depth; d++)
        mean += dy[row + d] * y[row + d];
    make_scores(a, sequence, head, query, scores);
    for (int64_t key = 0; key < seen(a, query); key++) {
        const double weight = exp(scores[key] - sum), kept = share(a, sequence, head, query, key);
        double slope = 0;
        for (int64_t d = 0; d < a->depth; d++) {
            slope += dy[row + d] * a->qkv[place(a, sequence, head, key, 2, d)];
            result[place(a, sequence, head, key, 2, d)] += (kept > 0 ? weight * kept : 0) * dy[row + d];
        }
        slope = weight * ((kept > 0 ? slope * kept : 0) - mean) * scale;
        for (int64_t d = 0; d < a->depth; d++) {
            result[place(a, sequence, head, query, 0, d)] += slope * a->qkv[place(a, sequence, head, key, 1, d)];
            result[place(a, sequence, head, key, 1, d)] += slope * a->qkv[place(a, sequence, head, query, 0, d)];
        }
    }
}

static bd_status read_dropout(const bd_evaluation *evaluation, const bd_node *node, attention *a, bd_error *error)
{
    double control[BD_CONTROL_WORD_COUNT];
    const bd_status status = bd_read_control(evaluation, control, error);
    if (status != BD_OK)
        return status;
    a->rate = node->attr.attention.dropout;
    a->kept_below = (float)(1 - a->rate);
    a->stream = node->attr.attention.stream;
    a->key[0] = (uint32_t)control[BD_CONTROL_SEED_LOW];
    a->key[1] = (uint32_t)control[BD_CONTROL_SEED_HIGH];
    a->step = (uint32_t)control[BD_CONTROL_STEP];
    return BD_OK;
}

bd_status bd_evaluate_attention(const bd_evaluation *evaluation, const bd_node *node, double *result, bd_error *error)
{
    const bd_shape *shape = bd_input_shape(evaluation, node, 0);
    const int64_t heads = node->attr.attention.heads;
    attention a = { .sequences = shape->dim[0],
                    .tokens = shape->dim[1],
                    .heads = heads,
                    .depth = shape->dim[2] / 3 / heads,
                    .causal = node->attr.attention.causal,
                    .qkv = bd_evaluated(evaluation, node, 0) };
    if (bd_drops_weights(node)) {
        const bd_status status = read_dropout(evaluation, node, &a, error);
        if (status != BD_OK)
            return status;
    }
    double *scores = calloc((size_t)a.tokens, sizeof *scores);
    if (!scores)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory on the host for a row of scores");
    for (int64_t row = 0; row < a.sequences * a.heads * a.tokens; row++) {
        const int64_t sequence = row / a.tokens / a.heads, head = row / a.tokens % a.heads, query = row % a.tokens;
        if (node->op == BD_OP_ATTENTION) {
            result_row(&a, sequence, head, query, scores, result);
        } else if (node->op == BD_OP_ATTENTION_SUM) {
            make_scores(&a, sequence, head, query, scores);
            result[row] = log_sum(scores, seen(&a, query));
        } else {
            gradient_row(&a, sequence, head, query, bd_evaluated(evaluation, node, 1),
                         bd_evaluated(evaluation, node, 2)[row], bd_evaluated(evaluation, node, 3), scores, result);
        }
    }
    free(scores);
    return BD_OK;
}
