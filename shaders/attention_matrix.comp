// Attention of halves or BF16 by matrix units: the method of attention.comp with cooperative matrices. A subgroup owns 16 rows of a block
// (queries; for dK and dV keys), whose operands it keeps in matrices, and the group goes over panels of PANEL other tokens in shared
// memory. Which invocation holds which element of a matrix is the driver's secret: scores go through shared memory, and come back as
// weights, rounded to the operands' format. For the same reason sums could not be shrunk row by row as larger scores come, so the forward pass goes
// over the keys twice, first for the logarithms of the rows' sums alone. What is rounded is as in attention_matrix.cl, and so are the
// bytes; forward the products are three. Dropout as in attention.comp. Subgroups that see nothing of a panel go through it all the same: lavapipe takes a barrier of
// a subgroup for one of the work-group.
#ifndef WARPS // so that the skeleton compiles alone
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
#define WARPS 4u
#define PANEL 32u
#define LANES 32u
#define MATRIX_M 16u
#define MATRIX_N 16u
#define MATRIX_K 16u
#define QKV_PIECE(x) uvec4(x)
#define DY_PIECE(x) uvec4(x)
#define DY_GET4(x) vec4(x)
#define Y_GET4(x) vec4(x)
#define SUM_GET(x) float(x)
#define STORE_Y4(x, value)
#define STORE_SUM(x, value)
#define STORE_DQKV4(x, value)
#endif

#define UNROLL [[unroll]]
#define CEIL(a, b) (((a) + (b) - 1u) / (b))
#define ITEMS (WARPS * LANES)
#define ROWS 16u
#define BLOCK (WARPS * ROWS)
#define BLOCKS CEIL(TOKENS, BLOCK)
// Backward, some groups make dQ and others dK and dV.
#define PARTS (BACKWARD == 1 ? 2u : 1u)
// A token's numbers, with zeros behind them; its pieces of eight; and a line, padded against bank conflicts.
#define WIDTH (CEIL(DEPTH, 16u) * 16u)
#define PIECES (WIDTH / 8u)
#define LINE (PIECES + 1u)
#define TILE (PANEL * LINE)
// Two tiles, or where a block waits to become matrices.
#define TILES (2u * PANEL > BLOCK ? 2u * PANEL : BLOCK)
// A subgroup's scores, and backward the slopes; its weights, and backward those of the slopes.
#define KINDS (BACKWARD == 1 ? 2u : 1u)
#define SCORE_LINE (PANEL + 4u)
#define SCORES (ROWS * SCORE_LINE)
#define WEIGHT_LINE (PANEL / 8u + 1u)
#define WEIGHTS (ROWS * WEIGHT_LINE)
// Invocations that share a row, and the rows of one.
#define SHARERS (LANES > ROWS ? LANES / ROWS : 1u)
#define OWN (ROWS * SHARERS / LANES)
// Parts in which a token's dY Y' is summed.
#define SHARES 4u

#define QKV_AT(which, t, d) ((((z * TOKENS + (t)) * 3u + (which)) * HEADS + head) * DEPTH + (d))
#define Q_AT(t, d) QKV_AT(0u, t, d)
#define K_AT(t, d) QKV_AT(1u, t, d)
#define V_AT(t, d) QKV_AT(2u, t, d)
#define Y_AT(t, d) (((z * TOKENS + (t)) * HEADS + head) * DEPTH + (d))
#define SUM_AT(t) ((z * HEADS + head) * TOKENS + (t))
// Token `t` is one, and query q sees key k.
#define SEEN(t, q, k) ((t) < TOKENS && (CAUSAL == 0 || (k) <= (q)))
// Four random numbers are for the weights of queries and keys that are 8 tokens apart. A subgroup draws those of its rows and a panel
// once, four bits a word: of a row and a column, and those 8 behind them, the columns' bit the lowest.
#define SIXTEENS CEIL(TOKENS, 16u)
#define DRAW(q, k)                                                                                                     \
    bd_random_block(seeds.x, seeds.y, seeds.z, STREAM,                                                                 \
                    ((((z * HEADS + head) * SIXTEENS + (q) / 16u) * 8u + (q) % 8u) * SIXTEENS + (k) / 16u) * 8u + (k) % 8u)
#define STAYS(bits) ((bits) >> 8 < KEPT_BELOW)
#define DRAWS (8u * PANEL / 2u)

layout(local_size_x = ITEMS) in;
//@declare
shared uvec4 tiles[TILES * LINE];
shared float scores[WARPS * KINDS * SCORES];
shared uvec4 weights[WARPS * KINDS * WEIGHTS];
#if DROPOUT
shared uint kept[WARPS * DRAWS];
#endif
#if BACKWARD
shared float parts[(PANEL > BLOCK ? PANEL : BLOCK) * SHARES];
shared vec2 terms[PANEL > BLOCK ? PANEL : BLOCK];
#else
shared float row_sums[BLOCK];
#endif
//@body

// Matrices of uint16_t become matrices of BF16 (backends/vulkan/spirv.c).
#if MATRIX_BF16
#define MATRIX_TYPE uint16_t
uint pack(const float low, const float high)
{
    return (floatBitsToUint(bd_round_bf16(low)) >> 16u) | floatBitsToUint(bd_round_bf16(high));
}
#else
#define MATRIX_TYPE float16_t
#define pack(low, high) bd_encode2_f16(low, high)
#endif

#define SYNCHRONISE controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared, gl_SemanticsAcquireRelease);
#define LEFT coopmat<MATRIX_TYPE, gl_ScopeSubgroup, MATRIX_M, MATRIX_K, gl_MatrixUseA>
#define RIGHT coopmat<MATRIX_TYPE, gl_ScopeSubgroup, MATRIX_K, MATRIX_N, gl_MatrixUseB>
#define SUM coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>
#define HIGH (ROWS / MATRIX_M)
#define DEEP (WIDTH / MATRIX_K)
#define WIDE (WIDTH / MATRIX_N)

// Tokens from `first` on; zeros behind the last one and past DEPTH.
#define LOAD_TILE(at, count, PIECE, AT, first)                                                                         \
    UNROLL for (uint i = 0u; i < CEIL(count * PIECES, ITEMS); i++) {                                                   \
        const uint e = item + i * ITEMS, t = (first) + e / PIECES, d = e % PIECES * 8u;                                \
        if (count * PIECES % ITEMS == 0u || e < count * PIECES) {                                                      \
            const uvec4 piece = PIECE(AT(min(t, TOKENS - 1u), min(d, DEPTH - 8u)));                                    \
            tiles[(at) + e / PIECES * LINE + e % PIECES] = t < TOKENS && d < DEPTH ? piece : uvec4(0u);                \
        }                                                                                                              \
    }

#if DROPOUT
#define READ_SEEDS const uvec3 seeds = uvec3(SEED_LOW, SEED_HIGH, TRAINING_STEP);
#define DRAW_KEPT(of_keys, first)                                                                                      \
    for (uint e = lane; e < DRAWS; e += LANES) {                                                                       \
        const uint c = e % (PANEL / 2u), t = own + e / (PANEL / 2u), other = (first) + c / 8u * 16u + c % 8u;          \
        const uvec4 bits = DRAW(of_keys ? other : t, of_keys ? t : other);                                             \
        kept[warp * DRAWS + e] = uint(STAYS(bits.x)) | uint(STAYS(of_keys ? bits.z : bits.y)) << 1u |                  \
                                 uint(STAYS(of_keys ? bits.y : bits.z)) << 2u | uint(STAYS(bits.w)) << 3u;             \
    }
// Of the u-th of eight columns.
#define DROP(x)                                                                                                        \
    ((kept[warp * DRAWS + row % 8u * (PANEL / 2u) + column / 16u * 8u + u] >>                                          \
      (row / 8u * 2u + column / 8u % 2u) & 1u) != 0u ? (x) : 0.0f)
#else
#define READ_SEEDS
#define DRAW_KEPT(of_keys, first)
#define DROP(x) (x)
#endif

// The subgroup's rows of a block as matrices.
#define LOAD_OWN(matrices, PIECE, AT)                                                                                  \
    barrier();                                                                                                         \
    LOAD_TILE(0u, BLOCK, PIECE, AT, own - warp * ROWS)                                                                 \
    barrier();                                                                                                         \
    UNROLL for (uint r = 0u; r < HIGH; r++)                                                                            \
        UNROLL for (uint s = 0u; s < DEEP; s++)                                                                        \
            coopMatLoad(matrices[r][s], tiles, (warp * ROWS + r * MATRIX_M) * LINE + s * MATRIX_K / 8u, LINE,          \
                        gl_CooperativeMatrixLayoutRowMajor);

// scores = own * tokens'
#define MULTIPLY(to, own_rows, tile)                                                                                   \
    UNROLL for (uint j = 0u; j < PANEL / MATRIX_N; j++) {                                                              \
        SUM product[HIGH];                                                                                             \
        UNROLL for (uint r = 0u; r < HIGH; r++)                                                                        \
            product[r] = SUM(0.0f);                                                                                    \
        UNROLL for (uint s = 0u; s < DEEP; s++) {                                                                      \
            RIGHT tokens;                                                                                              \
            coopMatLoad(tokens, tiles, (tile) + j * MATRIX_N * LINE + s * MATRIX_K / 8u, LINE,                         \
                        gl_CooperativeMatrixLayoutColumnMajor);                                                        \
            UNROLL for (uint r = 0u; r < HIGH; r++)                                                                    \
                product[r] = coopMatMulAdd(own_rows[r][s], tokens, product[r]);                                        \
        }                                                                                                              \
        UNROLL for (uint r = 0u; r < HIGH; r++)                                                                        \
            coopMatStore(product[r], scores, (to) + r * MATRIX_M * SCORE_LINE + j * MATRIX_N, SCORE_LINE,              \
                         gl_CooperativeMatrixLayoutRowMajor);                                                          \
    }

// sums += weights * tokens
#define WEIGH(sums, from, tile)                                                                                        \
    UNROLL for (uint s = 0u; s < PANEL / MATRIX_K; s++) {                                                              \
        LEFT weight[HIGH];                                                                                             \
        UNROLL for (uint r = 0u; r < HIGH; r++)                                                                        \
            coopMatLoad(weight[r], weights, (from) + r * MATRIX_M * WEIGHT_LINE + s * MATRIX_K / 8u, WEIGHT_LINE,      \
                        gl_CooperativeMatrixLayoutRowMajor);                                                           \
        UNROLL for (uint n = 0u; n < WIDE; n++) {                                                                      \
            RIGHT tokens;                                                                                              \
            coopMatLoad(tokens, tiles, (tile) + s * MATRIX_K * LINE + n * MATRIX_N / 8u, LINE,                         \
                        gl_CooperativeMatrixLayoutRowMajor);                                                           \
            UNROLL for (uint r = 0u; r < HIGH; r++)                                                                    \
                sums[r][n] = coopMatMulAdd(weight[r], tokens, sums[r][n]);                                             \
        }                                                                                                              \
    }

#define CLEAR(sums)                                                                                                    \
    UNROLL for (uint r = 0u; r < HIGH; r++)                                                                            \
        UNROLL for (uint n = 0u; n < WIDE; n++)                                                                        \
            sums[r][n] = SUM(0.0f);

// Rows go back through the scores, 16 numbers of each at a time, so that neighbours store neighbours.
#define STORE_ROWS(STORE, AT, sums, factor)                                                                            \
    UNROLL for (uint part = 0u; part < WIDTH / 16u; part++) {                                                          \
        SYNCHRONISE                                                                                                    \
        UNROLL for (uint r = 0u; r < HIGH; r++)                                                                        \
            UNROLL for (uint n = 0u; n < 16u / MATRIX_N; n++)                                                          \
                coopMatStore(sums[r][part * (16u / MATRIX_N) + n], scores,                                             \
                             own_scores + r * MATRIX_M * SCORE_LINE + n * MATRIX_N, SCORE_LINE,                        \
                             gl_CooperativeMatrixLayoutRowMajor);                                                      \
        SYNCHRONISE                                                                                                    \
        for (uint e = lane; e < ROWS * 4u; e += LANES) {                                                               \
            const uint t = own + e / 4u, d = part * 16u + e % 4u * 4u, at = own_scores + e / 4u * SCORE_LINE + e % 4u * 4u; \
            const vec4 four = vec4(scores[at], scores[at + 1u], scores[at + 2u], scores[at + 3u]);                     \
            if (t < TOKENS && d < DEPTH)                                                                               \
                STORE(AT(t, d), four * (factor));                                                                      \
        }                                                                                                              \
    }

void main()
{
    const uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x, item = gl_LocalInvocationID.x;
    if (group >= PARTS * BLOCKS * HEADS * SEQUENCES)
        return;
    const uint block = group / PARTS % BLOCKS, head = group / (PARTS * BLOCKS) % HEADS, z = group / (PARTS * BLOCKS * HEADS);
    const uint warp = gl_SubgroupID, lane = gl_SubgroupInvocationID, own = block * BLOCK + warp * ROWS;
    const uint own_scores = warp * (KINDS * SCORES), own_weights = warp * (KINDS * WEIGHTS);
    LEFT left[HIGH][DEEP];
    SUM sums[HIGH][WIDE];
    CLEAR(sums)
    READ_SEEDS
#if !BACKWARD
    const uint end = CAUSAL == 1 ? min((block + 1u) * BLOCK, TOKENS) : TOKENS;
    float largest[OWN], total[OWN];
    UNROLL for (uint i = 0u; i < OWN; i++) {
        largest[i] = -BD_INFINITY;
        total[i] = 0.0f;
    }
    LOAD_OWN(left, QKV_PIECE, Q_AT)
    for (uint first = 0u; first < end; first += PANEL) {
        barrier();
        LOAD_TILE(0u, PANEL, QKV_PIECE, K_AT, first)
        barrier();
        MULTIPLY(own_scores, left, 0u)
        SYNCHRONISE
        UNROLL for (uint i = 0u; i < OWN; i++) {
            const uint row = lane / SHARERS + i * (LANES / SHARERS), begin = lane % SHARERS * (PANEL / SHARERS);
            float score[PANEL / SHARERS], most = largest[i];
            UNROLL for (uint c = 0u; c < PANEL / SHARERS; c++) {
                const uint k = first + begin + c;
                score[c] = SEEN(k, own + row, k) ? scores[own_scores + row * SCORE_LINE + begin + c] * SCALE : -BD_INFINITY;
                most = bd_max(most, score[c]);
            }
            if (most != -BD_INFINITY) { // this invocation may have seen nothing yet
                total[i] *= bd_exp(largest[i] - most);
                UNROLL for (uint c = 0u; c < PANEL / SHARERS; c++)
                    total[i] += bd_exp(score[c] - most);
                largest[i] = most;
            }
        }
        SYNCHRONISE
    }
    UNROLL for (uint i = 0u; i < OWN; i++) {
        const uint at = own_scores + ((lane / SHARERS + i * (LANES / SHARERS)) * SHARERS + lane % SHARERS) * 2u;
        scores[at] = largest[i];
        scores[at + 1u] = total[i];
    }
    SYNCHRONISE
    for (uint row = lane; row < ROWS; row += LANES) {
        const uint at = own_scores + row * SHARERS * 2u;
        float most = scores[at], sum = 0.0f;
        UNROLL for (uint s = 1u; s < SHARERS; s++)
            most = bd_max(most, scores[at + 2u * s]);
        UNROLL for (uint s = 0u; s < SHARERS; s++)
            sum += scores[at + 2u * s + 1u] * bd_exp(scores[at + 2u * s] - most);
        row_sums[warp * ROWS + row] = most + bd_log(sum);
        if (own + row < TOKENS)
            STORE_SUM(SUM_AT(own + row), row_sums[warp * ROWS + row]);
    }
    SYNCHRONISE
    for (uint first = 0u; first < end; first += PANEL) {
        barrier();
        LOAD_TILE(0u, PANEL, QKV_PIECE, K_AT, first)
        LOAD_TILE(TILE, PANEL, QKV_PIECE, V_AT, first)
        barrier();
        MULTIPLY(own_scores, left, 0u)
        DRAW_KEPT(false, first)
        SYNCHRONISE
        for (uint e = lane; e < ROWS * PANEL / 8u; e += LANES) {
            const uint row = e / (PANEL / 8u), column = e % (PANEL / 8u) * 8u, at = own_scores + row * SCORE_LINE + column;
            const float sum = row_sums[warp * ROWS + row];
            float weight[8];
            UNROLL for (uint u = 0u; u < 8u; u++) {
                const uint k = first + column + u;
                const float power = bd_exp(scores[at + u] * SCALE - sum);
                weight[u] = SEEN(k, own + row, k) ? DROP(power) : 0.0f;
            }
            weights[own_weights + row * WEIGHT_LINE + column / 8u] =
                uvec4(pack(weight[0], weight[1]), pack(weight[2], weight[3]), pack(weight[4], weight[5]),
                      pack(weight[6], weight[7]));
        }
        SYNCHRONISE
        WEIGH(sums, own_weights, TILE)
    }
    STORE_ROWS(STORE_Y4, Y_AT, sums, RESCALE(1.0f))
#else
// Of tokens from `first` on the logarithm of the row's sum, and dY Y'.
#define LOAD_TERMS(count, first)                                                                                       \
    for (uint e = item; e < count * SHARES; e += ITEMS) {                                                              \
        const uint t = min((first) + e / SHARES, TOKENS - 1u);                                                         \
        float sum = 0.0f;                                                                                              \
        for (uint d = e % SHARES * 4u; d < DEPTH; d += SHARES * 4u)                                                    \
            sum += dot(DY_GET4(Y_AT(t, d)), Y_GET4(Y_AT(t, d)));                                                       \
        parts[e] = sum;                                                                                                \
    }                                                                                                                  \
    barrier();                                                                                                         \
    for (uint e = item; e < count; e += ITEMS) {                                                                       \
        const uint at = e * SHARES;                                                                                    \
        terms[e] = vec2(SUM_GET(SUM_AT(min((first) + e, TOKENS - 1u))),                                                \
                        UNSCALE((parts[at] + parts[at + 1u]) + (parts[at + 2u] + parts[at + 3u])));                    \
    }
    const bool of_keys = group % PARTS == 1u;
    const uint begin = CAUSAL == 1 && of_keys ? block * BLOCK / PANEL * PANEL : 0u;
    const uint end = CAUSAL == 1 && !of_keys ? min((block + 1u) * BLOCK, TOKENS) : TOKENS;
    LEFT right[HIGH][DEEP];
    SUM sums_v[HIGH][WIDE];
    CLEAR(sums_v)
    if (of_keys) {
        LOAD_OWN(left, QKV_PIECE, K_AT)
        LOAD_OWN(right, QKV_PIECE, V_AT)
    } else {
        LOAD_OWN(left, QKV_PIECE, Q_AT)
        LOAD_OWN(right, DY_PIECE, Y_AT)
        LOAD_TERMS(BLOCK, block * BLOCK)
    }
    for (uint first = begin; first < end; first += PANEL) {
        barrier();
        if (of_keys) {
            LOAD_TILE(0u, PANEL, QKV_PIECE, Q_AT, first)
            LOAD_TILE(TILE, PANEL, DY_PIECE, Y_AT, first)
            LOAD_TERMS(PANEL, first)
        } else {
            LOAD_TILE(0u, PANEL, QKV_PIECE, K_AT, first)
            LOAD_TILE(TILE, PANEL, QKV_PIECE, V_AT, first)
        }
        barrier();
        MULTIPLY(own_scores, left, 0u)
        MULTIPLY(own_scores + SCORES, right, TILE)
        DRAW_KEPT(of_keys, first)
        SYNCHRONISE
        for (uint e = lane; e < ROWS * PANEL / 8u; e += LANES) {
            const uint row = e / (PANEL / 8u), column = e % (PANEL / 8u) * 8u, at = own_scores + row * SCORE_LINE + column;
            float weight[8], slope[8];
            UNROLL for (uint u = 0u; u < 8u; u++) {
                const uint t = first + column + u, q = of_keys ? t : own + row, k = of_keys ? own + row : t;
                const vec2 term = terms[of_keys ? column + u : warp * ROWS + row];
                const float power = bd_exp(scores[at + u] * SCALE - term.x);
                weight[u] = SEEN(t, q, k) ? DROP(power) : 0.0f;
                slope[u] = SEEN(t, q, k) ? power * (DROP(scores[at + SCORES + u]) - term.y) : 0.0f;
            }
            const uint to = own_weights + row * WEIGHT_LINE + column / 8u;
            weights[to] = uvec4(pack(weight[0], weight[1]), pack(weight[2], weight[3]), pack(weight[4], weight[5]),
                                pack(weight[6], weight[7]));
            weights[to + WEIGHTS] = uvec4(pack(slope[0], slope[1]), pack(slope[2], slope[3]), pack(slope[4], slope[5]),
                                          pack(slope[6], slope[7]));
        }
        SYNCHRONISE
        if (of_keys) {
            WEIGH(sums_v, own_weights, TILE)
        }
        WEIGH(sums, own_weights + WEIGHTS, 0u)
    }
    if (of_keys) {
        STORE_ROWS(STORE_DQKV4, K_AT, sums, RESCALE(SCALE))
        STORE_ROWS(STORE_DQKV4, V_AT, sums_v, RESCALE(1.0f))
    } else {
        STORE_ROWS(STORE_DQKV4, Q_AT, sums, RESCALE(SCALE))
    }
#endif
}
