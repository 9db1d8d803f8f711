/* Attention without its matrix of scores (FlashAttention: Dao et al., arXiv:2205.14135; Dao, arXiv:2307.08691): a work-group takes a
 * block of a head's queries and goes over the keys block by block, with each row's largest score and its sum of powers so far. The
 * backward pass makes the weights again from the logarithms of the rows' sums: a group makes dQ of a block of queries, or dK and dV
 * of a block of keys; no sum is shared by groups, so none depends on their order. LANES x LANES items hold ITEM x ITEM scores each,
 * and of ITEM rows of a result every LANES-th four of its numbers.
 *
 * Of n sequences of t tokens, h heads of d numbers: forward 4 n h t^2 d operations; 3 n t h d numbers are read, n t h d written.
 * Backward 10 n h t^2 d (14 where t is more than a block); 5 n t h d read, 3 n t h d written. Half the operations where causal. A
 * vision transformer's layer here (256 x 25 tokens, 4 x 64, FP16): 0.16 GFLOP and 13 MB, backward 0.41 GFLOP and 26 MB. Expected of
 * an H100: by bytes, at 3 TB/s, 4.4 and 8.7 us; by FP32 operations on operands in local memory, at 15 TFLOP/s and with 25 of 32 rows
 * in use, 18 and 45 us.
 *
 * Dropout: random numbers are drawn for each score, here and once more backward. With a mask M of 0 and 1, keep = 1 - rate, P the
 * softmax and A = M P / keep: Y = A V, dV = A' dY, and of A dA = dY V', so that P has dP = M dA / keep and the scores
 * P (dP - row's sum of P dP). That sum is the one of A dA, which is the one of dY Y, whatever was dropped: Y has it in it. Both terms
 * are computed keep times as large, and 1 / keep goes to the results. */
#ifndef BD_ARGUMENTS /* so that the skeleton compiles alone */
#define BD_ARGUMENTS __global float *b0
#define SEQUENCES 1u
#define TOKENS 64u
#define HEADS 1u
#define DEPTH 64u
#define CAUSAL 0
#define DROPOUT 1
#define RESCALE(x) (x)
#define UNSCALE(x) (x)
#define STREAM 0u
#define KEPT_BELOW 0u
#define SEED_LOW 0u
#define SEED_HIGH 0u
#define TRAINING_STEP 0u
#define BACKWARD 1
#define SCALE 0.125f
#define LANES 8u
#define ITEM 4u
#define WHOLE 0
#define WIDE 1
#define ACCUMULATE(sum, a, b) fma(a, b, sum)
#define ROUND_SUM(x) (x)
#define QKV_GET4(x) BD_LOAD4_f32(b0, x)
#define DY_GET4(x) BD_LOAD4_f32(b0, x)
#define QKV_GET(x) b0[x]
#define Y_GET(x) b0[x]
#define SUM_GET(x) b0[x]
#define DY_GET(x) b0[x]
#define STORE_Y(x, value)
#define STORE_SUM(x, value)
#define STORE_DQKV(x, value) b0[x] = value
#endif

#define UNROLL _Pragma("unroll")
#define BARRIER barrier(CLK_LOCAL_MEM_FENCE);
#define CEIL(a, b) (((a) + (b) - 1u) / (b))
#define ITEMS (LANES * LANES)
#define BLOCK (LANES * ITEM)
#define BLOCKS CEIL(TOKENS, BLOCK)
/* Rows are padded by 4, so that items which read a column of fours share no bank. */
#define FOURS CEIL(DEPTH, 4u)
#define LINE (FOURS * 4u + 4u)
/* Fours of a row's result that an item holds, and the weights of a row that it reads at a time. */
#define OWN CEIL(FOURS, LANES)
#define STEP (BLOCK < 4u ? BLOCK : 4u)
/* Backward, a group makes dQ, dK and dV where all tokens are one block (WHOLE); else some make dQ and the others dK and dV. */
#define PARTS (BACKWARD == 1 && WHOLE == 0 ? 2u : 1u)

/* An item's rows and columns in a block. */
#define ROW(i) (lane_y + (i) * LANES)
#define COLUMN(j) (lane_x + (j) * LANES)
#define SEEN(q, k) ((q) < TOKENS && (k) < TOKENS && (CAUSAL == 0 || (k) <= (q)))

/* Where the numbers of a token lie: queries, keys and values; results and their gradients; the rows' sums. */
#define QKV_AT(which, t, d) ((((z * TOKENS + (t)) * 3u + (which)) * HEADS + head) * DEPTH + (d))
#define Q_AT(t, d) QKV_AT(0u, t, d)
#define K_AT(t, d) QKV_AT(1u, t, d)
#define V_AT(t, d) QKV_AT(2u, t, d)
#define Y_AT(t, d) (((z * TOKENS + (t)) * HEADS + head) * DEPTH + (d))
#define SUM_AT(t) ((z * HEADS + head) * TOKENS + (t))

/* Four random numbers are for the weights of queries and keys that are 8 tokens apart: all of them an item's, where it has LANES of 8. */
#define SIXTEENS CEIL(TOKENS, 16u)
#define SHARED_BY (LANES == 8u && ITEM > 1u ? 2u : 1u)
#define DRAW(q, k)                                                                                                     \
    bd_random_block(SEED_LOW, SEED_HIGH, TRAINING_STEP, STREAM,                                                        \
                    ((((z * HEADS + head) * SIXTEENS + (q) / 16u) * 8u + (q) % 8u) * SIXTEENS + (k) / 16u) * 8u + (k) % 8u)
#if DROPOUT
#define DRAW_KEPT(q0, k0)                                                                                              \
    bool kept[ITEM][ITEM];                                                                                             \
    UNROLL for (uint i = 0u; i < ITEM; i += SHARED_BY)                                                                 \
        UNROLL for (uint j = 0u; j < ITEM; j += SHARED_BY) {                                                           \
            const uint q = (q0) + ROW(i), k = (k0) + COLUMN(j);                                                        \
            const uint4 bits = DRAW(q, k);                                                                              \
            UNROLL for (uint u = 0u; u < SHARED_BY; u++)                                                               \
                UNROLL for (uint v = 0u; v < SHARED_BY; v++) {                                                         \
                    const bool later_q = SHARED_BY == 2u ? u == 1u : (q & 8u) != 0u;                                   \
                    const bool later_k = SHARED_BY == 2u ? v == 1u : (k & 8u) != 0u;                                   \
                    const uint word = later_q ? (later_k ? bits.w : bits.z) : (later_k ? bits.y : bits.x);             \
                    kept[i + u][j + v] = word >> 8 < KEPT_BELOW;                                                       \
                }                                                                                                      \
        }
#define DROP(x) (kept[i][j] ? (x) : 0.0f)
#else
#define DRAW_KEPT(q0, k0)
#define DROP(x) (x)
#endif

/* A block of tokens, times a factor; zeros behind the last one. Several loads are under way at a time, without branches. */
#if WIDE
#define LOAD_TILE(tile, GET, GET4, AT, first, factor)                                                                  \
    for (uint load = item; load < BLOCK * FOURS; load += 8u * ITEMS)                                                   \
        UNROLL for (uint u = 0u; u < 8u; u++) {                                                                        \
            const uint e = load + u * ITEMS, row = e / FOURS, d = e % FOURS * 4u;                                      \
            if (BLOCK * FOURS % (8u * ITEMS) == 0u || e < BLOCK * FOURS) {                                             \
                const float4 x = GET4(AT(min((first) + row, TOKENS - 1u), d));                                         \
                const bool inside = (first) + row < TOKENS;                                                            \
                tile[row][d] = inside ? x.x * (factor) : 0.0f;                                                         \
                tile[row][d + 1u] = inside ? x.y * (factor) : 0.0f;                                                    \
                tile[row][d + 2u] = inside ? x.z * (factor) : 0.0f;                                                    \
                tile[row][d + 3u] = inside ? x.w * (factor) : 0.0f;                                                    \
            }                                                                                                          \
        }
#else
#define LOAD_TILE(tile, GET, GET4, AT, first, factor)                                                                  \
    for (uint e = item; e < BLOCK * FOURS * 4u; e += ITEMS) {                                                          \
        const uint row = e / (FOURS * 4u), d = e % (FOURS * 4u);                                                       \
        tile[row][d] = 0.0f;                                                                                           \
        if ((first) + row < TOKENS && d < DEPTH)                                                                       \
            tile[row][d] = GET(AT((first) + row, d)) * (factor);                                                       \
    }
#endif

/* scores[i][j] = sum over d of a[row i][d] * b[column j][d] */
#define MULTIPLY(scores, a, b)                                                                                         \
    UNROLL for (uint i = 0u; i < ITEM; i++)                                                                            \
        UNROLL for (uint j = 0u; j < ITEM; j++)                                                                        \
            scores[i][j] = 0.0f;                                                                                       \
    for (uint d = 0u; d < FOURS * 4u; d += 4u) {                                                                       \
        float left[ITEM][4], right[ITEM][4];                                                                           \
        UNROLL for (uint i = 0u; i < ITEM; i++)                                                                        \
            UNROLL for (uint u = 0u; u < 4u; u++) {                                                                    \
                left[i][u] = a[ROW(i)][d + u];                                                                         \
                right[i][u] = b[COLUMN(i)][d + u];                                                                     \
            }                                                                                                          \
        UNROLL for (uint i = 0u; i < ITEM; i++)                                                                        \
            UNROLL for (uint j = 0u; j < ITEM; j++)                                                                    \
                UNROLL for (uint u = 0u; u < 4u; u++)                                                                  \
                    scores[i][j] = ACCUMULATE(scores[i][j], left[i][u], right[j][u]);                                  \
    }

/* sums[i] += sum over the block of weights[row i][j] * tile[j], the item's fours of it */
#define WEIGH(sums, tile)                                                                                              \
    for (uint j = 0u; j < BLOCK; j += STEP) {                                                                          \
        float weight[ITEM][STEP];                                                                                      \
        UNROLL for (uint i = 0u; i < ITEM; i++)                                                                        \
            UNROLL for (uint s = 0u; s < STEP; s++)                                                                    \
                weight[i][s] = weights[ROW(i)][j + s];                                                                 \
        UNROLL for (uint s = 0u; s < STEP; s++)                                                                        \
            UNROLL for (uint n = 0u; n < OWN * 4u; n++) {                                                              \
                if (COLUMN(n / 4u) < FOURS) {                                                                          \
                    const float x = tile[j + s][COLUMN(n / 4u) * 4u + n % 4u];                                         \
                    UNROLL for (uint i = 0u; i < ITEM; i++)                                                            \
                        sums[i][n] = ACCUMULATE(sums[i][n], weight[i][s], x);                                          \
                }                                                                                                      \
            }                                                                                                          \
    }

#define CLEAR(sums)                                                                                                    \
    UNROLL for (uint i = 0u; i < ITEM; i++)                                                                            \
        UNROLL for (uint n = 0u; n < OWN * 4u; n++)                                                                    \
            sums[i][n] = 0.0f;

/* The value is an expression of i, the row, and n. */
#define STORE_ROWS(STORE, AT, first, value)                                                                            \
    UNROLL for (uint i = 0u; i < ITEM; i++)                                                                            \
        UNROLL for (uint n = 0u; n < OWN * 4u; n++) {                                                                  \
            const uint t = (first) + ROW(i), d = COLUMN(n / 4u) * 4u + n % 4u;                                         \
            if (t < TOKENS && d < DEPTH)                                                                               \
                STORE(AT(t, d), value);                                                                                \
        }

/* weights = values, or turned: rows are columns */
#define PUT_WEIGHTS(values)                                                                                            \
    UNROLL for (uint i = 0u; i < ITEM; i++)                                                                            \
        UNROLL for (uint j = 0u; j < ITEM; j++)                                                                        \
            weights[ROW(i)][COLUMN(j)] = values[i][j];

#define PUT_TURNED(values)                                                                                             \
    UNROLL for (uint i = 0u; i < ITEM; i++)                                                                            \
        UNROLL for (uint j = 0u; j < ITEM; j++)                                                                        \
            weights[COLUMN(j)][ROW(i)] = values[i][j];

//@body

__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void binade(BD_ARGUMENTS)
{
    __local __attribute__((aligned(16))) float tile_q[BLOCK][LINE];
    __local __attribute__((aligned(16))) float tile_k[BLOCK][LINE];
    __local __attribute__((aligned(16))) float tile_v[BLOCK][LINE];
    __local __attribute__((aligned(16))) float weights[BLOCK][BLOCK + 4u];
    __local __attribute__((aligned(16))) float lane_sum[BLOCK][LANES];
#if BACKWARD
    __local __attribute__((aligned(16))) float tile_dy[BLOCK][LINE];
#else
    __local __attribute__((aligned(16))) float lane_largest[BLOCK][LANES];
#endif
    const uint group = (uint)(get_group_id(1) * get_num_groups(0) + get_group_id(0)), item = (uint)get_local_id(0);
    if (group >= BLOCKS * HEADS * SEQUENCES * PARTS)
        return;
    const uint lane_x = item % LANES, lane_y = item / LANES;
    const uint head = group / BLOCKS % HEADS, z = group / (BLOCKS * HEADS) % SEQUENCES;
#if !BACKWARD
    const uint q0 = group % BLOCKS * BLOCK, end = CAUSAL == 1 ? min(q0 + BLOCK, TOKENS) : TOKENS;
    float largest[ITEM], total[ITEM], sums[ITEM][OWN * 4u];
    CLEAR(sums)
    UNROLL for (uint i = 0u; i < ITEM; i++) {
        largest[i] = -BD_INFINITY;
        total[i] = 0.0f;
    }
    LOAD_TILE(tile_q, QKV_GET, QKV_GET4, Q_AT, q0, SCALE)
    for (uint k0 = 0u; k0 < end; k0 += BLOCK) {
        BARRIER
        LOAD_TILE(tile_k, QKV_GET, QKV_GET4, K_AT, k0, 1.0f)
        LOAD_TILE(tile_v, QKV_GET, QKV_GET4, V_AT, k0, 1.0f)
        BARRIER
        float scores[ITEM][ITEM];
        MULTIPLY(scores, tile_q, tile_k)
        UNROLL for (uint i = 0u; i < ITEM; i++) {
            float most = -BD_INFINITY;
            UNROLL for (uint j = 0u; j < ITEM; j++) {
                if (k0 + COLUMN(j) >= TOKENS || (CAUSAL == 1 && k0 + COLUMN(j) > q0 + ROW(i)))
                    scores[i][j] = -BD_INFINITY;
                most = bd_max(most, scores[i][j]);
            }
            lane_largest[ROW(i)][lane_x] = most;
        }
        BARRIER
        DRAW_KEPT(q0, k0)
        UNROLL for (uint i = 0u; i < ITEM; i++) {
            float most = largest[i], sum = 0.0f;
            for (uint lane = 0u; lane < LANES; lane++)
                most = bd_max(most, lane_largest[ROW(i)][lane]);
            UNROLL for (uint j = 0u; j < ITEM; j++) {
                const float power = bd_exp(scores[i][j] - most);
                weights[ROW(i)][COLUMN(j)] = DROP(power);
                sum += power;
            }
            lane_sum[ROW(i)][lane_x] = sum;
            /* What was summed relative to the largest score so far; the first time there is none, and that is 0. */
            const float shrink = bd_exp(largest[i] - most);
            total[i] *= shrink;
            UNROLL for (uint n = 0u; n < OWN * 4u; n++)
                sums[i][n] = ROUND_SUM(sums[i][n] * shrink);
            largest[i] = most;
        }
        BARRIER
        UNROLL for (uint i = 0u; i < ITEM; i++)
            for (uint lane = 0u; lane < LANES; lane++)
                total[i] += lane_sum[ROW(i)][lane];
        WEIGH(sums, tile_v)
    }
    STORE_ROWS(STORE_Y, Y_AT, q0, RESCALE(BD_DIV(sums[i][n], total[i])))
    UNROLL for (uint i = 0u; i < ITEM; i++)
        if (lane_x == 0u && q0 + ROW(i) < TOKENS)
            STORE_SUM(SUM_AT(q0 + ROW(i)), largest[i] + bd_log(total[i]));
#else
    const uint own = group % BLOCKS * BLOCK;
    const bool of_keys = WHOLE == 1 || group >= BLOCKS * HEADS * SEQUENCES, of_queries = WHOLE == 1 || !of_keys;
    const uint begin = CAUSAL == 1 && of_keys ? own : 0u, end = CAUSAL == 1 && of_queries ? min(own + BLOCK, TOKENS) : TOKENS;
    /* Of queries or of keys; of values. */
    float sums[ITEM][OWN * 4u], sums_v[ITEM][OWN * 4u];
    CLEAR(sums)
    CLEAR(sums_v)
    for (uint other = begin; other < end; other += BLOCK) {
        const uint q0 = of_queries ? own : other, k0 = of_keys ? own : other;
        BARRIER
        if (of_keys || other == begin) {
            LOAD_TILE(tile_q, QKV_GET, QKV_GET4, Q_AT, q0, SCALE)
            LOAD_TILE(tile_dy, DY_GET, DY_GET4, Y_AT, q0, 1.0f)
        }
        if (of_queries || other == begin) {
            LOAD_TILE(tile_k, QKV_GET, QKV_GET4, K_AT, k0, 1.0f)
            LOAD_TILE(tile_v, QKV_GET, QKV_GET4, V_AT, k0, 1.0f)
        }
        BARRIER
        float powers[ITEM][ITEM], slopes[ITEM][ITEM];
        UNROLL for (uint i = 0u; i < ITEM; i++) {
            float sum = 0.0f;
            UNROLL for (uint n = 0u; n < OWN * 4u; n++) {
                const uint d = COLUMN(n / 4u) * 4u + n % 4u;
                if (d < DEPTH)
                    sum = fma(tile_dy[ROW(i)][d], Y_GET(Y_AT(min(q0 + ROW(i), TOKENS - 1u), d)), sum);
            }
            lane_sum[ROW(i)][lane_x] = sum;
        }
        MULTIPLY(powers, tile_q, tile_k)
        MULTIPLY(slopes, tile_dy, tile_v)
        BARRIER
        DRAW_KEPT(q0, k0)
        UNROLL for (uint i = 0u; i < ITEM; i++) {
            float dot = 0.0f;
            for (uint lane = 0u; lane < LANES; lane++)
                dot += lane_sum[ROW(i)][lane];
            const float sum = SUM_GET(SUM_AT(min(q0 + ROW(i), TOKENS - 1u)));
            UNROLL for (uint j = 0u; j < ITEM; j++) {
                const bool seen = SEEN(q0 + ROW(i), k0 + COLUMN(j));
                const float power = bd_exp(powers[i][j] - sum);
                powers[i][j] = seen ? DROP(power) : 0.0f;
                slopes[i][j] = seen ? power * (DROP(slopes[i][j]) - UNSCALE(dot)) : 0.0f;
            }
        }
        if (of_keys) {
            PUT_TURNED(powers)
            BARRIER
            WEIGH(sums_v, tile_dy)
            BARRIER
            PUT_TURNED(slopes)
            BARRIER
            WEIGH(sums, tile_q)
        }
#if WHOLE
        STORE_ROWS(STORE_DQKV, K_AT, k0, RESCALE(sums[i][n]))
        CLEAR(sums)
        BARRIER
#endif
        if (of_queries) {
            PUT_WEIGHTS(slopes)
            BARRIER
            WEIGH(sums, tile_k)
        }
    }
    if (of_queries) {
        STORE_ROWS(STORE_DQKV, Q_AT, own, RESCALE(sums[i][n] * SCALE))
    }
    if (of_keys) {
        STORE_ROWS(STORE_DQKV, V_AT, own, RESCALE(sums_v[i][n]))
    }
#if !WHOLE
    if (of_keys) {
        STORE_ROWS(STORE_DQKV, K_AT, own, RESCALE(sums[i][n]))
    }
#endif
#endif
}
