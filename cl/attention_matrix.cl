/* Attention of 16-bit numbers by NVIDIA's tensor cores, through inline PTX: the method and the groups' work as in attention.cl. A warp
 * owns 16 rows of a block (queries; for dK and dV keys), whose operands it keeps in registers as mma.sync m16n8k16 wants them, and the
 * group goes over panels of PANEL other tokens in local memory, of which the next one is copied meanwhile. Scores and weights stay in
 * registers: where an item has its numbers of one product's sums it has those of the next one's left operand, once rounded to the
 * operands' format. That rounding, of the weights (relative to the row's largest, so at most 1) and of the scores' gradients, is what
 * this form adds to the error of attention.cl's; sums are F32. 1 / sqrt(DEPTH) goes to the scores. Dropout as in attention.cl.
 *
 * Bytes as in attention.cl. Products: 2 forward, over whole panels; 7 backward (scores and their gradients for dQ and once more for dK
 * and dV), over sixteens of tokens. Expected of an H100, at 3 TB/s, and at 128 bytes a cycle and processor from local memory, which
 * bounds the products, for 512 of them feed two: a layer of a small language model (64 x 256 tokens, 6 x 64, causal, FP16) forward
 * 50 MB, 17 us, and 4.0 GFLOP, 8.5 us; backward 101 MB, 34 us, and 12 GFLOP, 25 us. A vision transformer's (256 x 25 tokens, 4 x 64)
 * 13 MB, 4.4 us, and 0.27 GFLOP; backward 26 MB, 8.7 us, and 0.94 GFLOP, 2 us. */
#ifndef BD_ARGUMENTS /* so that the skeleton compiles alone */
#define BD_ARGUMENTS __global ushort *b0
#define BD_BUFFERS b0
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
#define PANEL 64u
#define MATRIX_BF16 0
#define QKV_BITS b0
#define Y_BITS b0
#define DY_BITS b0
#define SUM_GET(x) BD_LOAD_f16(b0, x)
#define STORE_Y4(x, value)
#define STORE_SUM(x, value)
#define STORE_DQKV4(x, value) b0[x] = (ushort)(value).s0
#endif

#if MATRIX_BF16
#define OPERAND "bf16"
#define OPERAND_VALUE(bits) as_float((uint)(bits) << 16)
#else
#define OPERAND "f16"
#define OPERAND_VALUE(bits) bd_f16_value(bits)
#endif

#define UNROLL _Pragma("unroll")
#define CEIL(a, b) (((a) + (b) - 1u) / (b))
#define LANES 32u
#define ITEMS (WARPS * LANES)
#define BLOCK (WARPS * 16u)
#define BLOCKS CEIL(TOKENS, BLOCK)
/* Backward, some groups make dQ and others dK and dV. */
#define PARTS (BACKWARD == 1 ? 2u : 1u)
/* Sixteens of a token's numbers; its pieces of eight; and a line of a panel, padded so that the same piece of eight lines shares no
 * bank. */
#define STEPS CEIL(DEPTH, 16u)
#define PIECES (2u * STEPS)
#define LINE (PIECES + 1u)
#define TILE (PANEL * LINE)
/* Keys and values; queries, dY and Y. */
#define TILES (BACKWARD == 1 ? 3u : 2u)
#define STAGES (TOKENS > PANEL ? 2u : 1u)
/* Items that share a row of a panel. */
#define SHARERS (ITEMS / PANEL)
#define LOG2_E 1.44269504f

/* Where the numbers of a token lie: queries, keys and values; results and their gradients; the rows' sums. */
#define QKV_AT(which, t, d) ((((z * TOKENS + (t)) * 3u + (which)) * HEADS + head) * DEPTH + (d))
#define Q_AT(t, d) QKV_AT(0u, t, d)
#define K_AT(t, d) QKV_AT(1u, t, d)
#define V_AT(t, d) QKV_AT(2u, t, d)
#define Y_AT(t, d) (((z * TOKENS + (t)) * HEADS + head) * DEPTH + (d))
#define SUM_AT(t) ((z * HEADS + head) * TOKENS + (t))

/* A local address as PTX has it, and of pieces from there on. */
#define LOCAL(pointer) ((uint)(size_t)(pointer))
#define LINES_ON(count) ((count) * LINE * 16u)
#define COPY(to, from, bytes) \
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" : : "r"(to), "l"(from), "r"(bytes) : "memory")
#define WAIT_COPIES asm volatile("cp.async.wait_all;" : : : "memory")
#define LOAD4(r, at)                                                                                                  \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"                                  \
                 : "=r"((r)[0]), "=r"((r)[1]), "=r"((r)[2]), "=r"((r)[3]) : "r"(at) : "memory")
#define LOAD4_TURNED(r, at)                                                                                           \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"                            \
                 : "=r"((r)[0]), "=r"((r)[1]), "=r"((r)[2]), "=r"((r)[3]) : "r"(at) : "memory")
#define MULTIPLY(c, a, b0, b1)                                                                                        \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." OPERAND "." OPERAND ".f32 {%0, %1, %2, %3}, "              \
                 "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                                                      \
                 : "+f"((c)[0]), "+f"((c)[1]), "+f"((c)[2]), "+f"((c)[3])                                             \
                 : "r"((a)[0]), "r"((a)[1]), "r"((a)[2]), "r"((a)[3]), "r"(b0), "r"(b1))
/* 2^x to 2 units in the last place; of the lane whose number differs in these bits; two numbers rounded to operands. */
#define POWER(y, x) asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x))
#define EXCHANGE(y, x, bits) \
    asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=f"(y) : "f"(x), "r"(bits) : "memory")
#define PAIR(y, low, high) asm("cvt.rn." OPERAND "x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low))

//@body

static inline float power(const float x)
{
    float y;
    POWER(y, x);
    return y;
}

static inline float exchange(const float x, const uint bits)
{
    float y;
    EXCHANGE(y, x, bits);
    return y;
}

/* Of the four lanes that have a row. */
static inline float sum_of_row(const float x)
{
    const float two = x + exchange(x, 1u);
    return two + exchange(two, 2u);
}

static inline float largest_of_row(const float x)
{
    const float two = fmax(x, exchange(x, 1u));
    return fmax(two, exchange(two, 2u));
}

/* sum + the products of two operands in a word each */
static inline float add_products(const uint a, const uint b, const float sum)
{
    const float low = fma(OPERAND_VALUE((ushort)a), OPERAND_VALUE((ushort)b), sum);
    return fma(OPERAND_VALUE((ushort)(a >> 16)), OPERAND_VALUE((ushort)(b >> 16)), low);
}

/* scores += own * tokens', of 16 tokens of a panel */
static inline void multiply(float (*scores)[4], uint (*own)[4], const uint tokens)
{
    UNROLL for (uint s = 0u; s < STEPS; s++) {
        uint b[4];
        LOAD4(b, tokens + s * 32u);
        MULTIPLY(scores[0], own[s], b[0], b[1]);
        MULTIPLY(scores[1], own[s], b[2], b[3]);
    }
}

/* sums += weights * tokens, of 16 tokens of a panel */
static inline void weigh(float (*sums)[4], float (*weights)[4], const uint tokens)
{
    uint a[4];
    UNROLL for (uint u = 0u; u < 4u; u++)
        PAIR(a[u], weights[u / 2u][u % 2u * 2u], weights[u / 2u][u % 2u * 2u + 1u]);
    UNROLL for (uint s = 0u; s < STEPS; s++) {
        uint b[4];
        LOAD4_TURNED(b, tokens + s * 32u);
        MULTIPLY(sums[2u * s], a, b[0], b[1]);
        MULTIPLY(sums[2u * s + 1u], a, b[2], b[3]);
    }
}

/* An item's place in its warp, and its rows; where it reads a panel for multiply(), and for weigh(). */
#define PLACES                                                                                                         \
    const uint item = (uint)get_local_id(0), lane = item % LANES;                                                      \
    const uint straight = LINES_ON((lane & 7u) + (lane >> 4) * 8u) + (lane >> 3 & 1u) * 16u;                           \
    const uint turned = LINES_ON(lane & 15u) + (lane >> 4) * 16u;
#define ROW(e) (own + lane / 4u + (e) / 2u * 8u)
#define COLUMN(j, e) ((j) * 8u + lane % 4u * 2u + (e) % 2u)
/* Token `t` is one, and query q sees key k. */
#define SEEN(t, q, k) ((t) < TOKENS && (CAUSAL == 0 || (k) <= (q)))

/* Each element [j][e] of an item's sums. */
#define EACH(count) UNROLL for (uint j = 0u; j < count; j++) UNROLL for (uint e = 0u; e < 4u; e++)

/* Which weights of sixteen own tokens and sixteen others stay. Four random numbers are for the weights of queries and keys that are 8
 * tokens apart, so that all of them are for one item, whether its rows are queries or keys. */
#define SIXTEENS CEIL(TOKENS, 16u)
#define DRAW(q, k)                                                                                                     \
    bd_random_block(seeds.x, seeds.y, seeds.z, STREAM,                                                                 \
                    ((((z * HEADS + head) * SIXTEENS + (q) / 16u) * 8u + (q) % 8u) * SIXTEENS + (k) / 16u) * 8u + (k) % 8u)
#define STAYS(bits) ((bits) >> 8 < KEPT_BELOW)
#if DROPOUT
#define READ_SEEDS const uint4 seeds = (uint4)(SEED_LOW, SEED_HIGH, TRAINING_STEP, 0u);
#define DRAW_KEPT(of_keys, first)                                                                                      \
    bool kept[2][4];                                                                                                   \
    UNROLL for (uint u = 0u; u < 2u; u++) {                                                                            \
        const uint t = ROW(0u), other = (first) + COLUMN(0u, u);                                                       \
        const uint4 bits = DRAW(of_keys ? other : t, of_keys ? t : other);                                             \
        kept[0][u] = STAYS(bits.x);                                                                                    \
        kept[1][u] = STAYS(of_keys ? bits.z : bits.y);                                                                 \
        kept[0][u + 2u] = STAYS(of_keys ? bits.y : bits.z);                                                            \
        kept[1][u + 2u] = STAYS(bits.w);                                                                               \
    }
#define DROP(x) (kept[j][e] ? (x) : 0.0f)
#else
#define READ_SEEDS
#define DRAW_KEPT(of_keys, first)
#define DROP(x) (x)
#endif

/* The warp's rows as left operand; zeros behind the last token and past DEPTH. */
#define LOAD_OWN(operand, BITS, AT)                                                                                    \
    UNROLL for (uint s = 0u; s < STEPS; s++)                                                                           \
        UNROLL for (uint u = 0u; u < 4u; u++) {                                                                        \
            const uint t = ROW(u % 2u * 2u), d = s * 16u + u / 2u * 8u + lane % 4u * 2u;                               \
            operand[s][u] = t < TOKENS && d < DEPTH ? *(const __global uint *)(BITS + AT(t, d)) : 0u;                  \
        }

/* A panel of tokens from `first` on. */
#define COPY_TILE(tile, BITS, AT, first)                                                                               \
    UNROLL for (uint i = 0u; i < CEIL(PANEL * PIECES, ITEMS); i++) {                                                   \
        const uint piece = item + i * ITEMS, t = (first) + piece / PIECES, d = piece % PIECES * 8u;                    \
        const bool valid = t < TOKENS && d < DEPTH;                                                                    \
        if (PANEL * PIECES % ITEMS == 0u || piece < PANEL * PIECES)                                                    \
            COPY((tile) + LINES_ON(piece / PIECES) + d * 2u, BITS + (valid ? AT(t, d) : 0u), valid ? 16u : 0u);        \
    }

/* Of two neighbours one takes four numbers of the upper row and the other four of the lower. */
#define STORE_ROWS(STORE, AT, sums)                                                                                    \
    UNROLL for (uint n = 0u; n < DEPTH / 8u; n++) {                                                                    \
        const bool lower = (lane & 1u) != 0u;                                                                          \
        const float x = exchange(lower ? sums[n][0] : sums[n][2], 1u), y = exchange(lower ? sums[n][1] : sums[n][3], 1u); \
        const float4 four = lower ? (float4)(x, y, sums[n][2], sums[n][3]) : (float4)(sums[n][0], sums[n][1], x, y);   \
        const uint t = ROW(lower ? 2u : 0u), d = n * 8u + lane % 4u / 2u * 4u;                                         \
        if (t < TOKENS)                                                                                                \
            STORE(AT(t, d), four);                                                                                     \
    }

#if BACKWARD
/* dQ of the queries that the warp owns, or dK and dV of its keys: `of_keys` is a constant where this is inlined. */
static inline __attribute__((always_inline)) void gradient(BD_ARGUMENTS, const bool of_keys, const uint z, const uint head,
                                                           const uint block, __local uint4 *panels, __local float2 *terms)
{
    PLACES
    const uint own = block * BLOCK + item / LANES * 16u;
    const uint begin = CAUSAL == 1 && of_keys ? block * BLOCK / PANEL * PANEL : 0u;
    const uint end = CAUSAL == 1 && !of_keys ? min((block + 1u) * BLOCK, TOKENS) : TOKENS;
    /* Queries and dY, or keys and values; of a row the logarithm of its sum, and dY Y'. */
    uint left[STEPS][4], right[STEPS][4];
    float log_sum[2], mean[2], next_sum = 0.0f;
    float sums[2u * STEPS][4], sums_v[2u * STEPS][4];
    EACH(2u * STEPS) sums[j][e] = sums_v[j][e] = 0.0f;
    READ_SEEDS
#define COPY_PANEL(stage, first)                                                                                       \
    {                                                                                                                  \
        const uint to = LOCAL(panels + (stage) * (TILES * TILE));                                                      \
        if (of_keys) {                                                                                                 \
            COPY_TILE(to, QKV_BITS, Q_AT, first)                                                                       \
            COPY_TILE(to + 16u * TILE, DY_BITS, Y_AT, first)                                                           \
            COPY_TILE(to + 32u * TILE, Y_BITS, Y_AT, first)                                                            \
            next_sum = SUM_GET(SUM_AT(min((first) + item / SHARERS, TOKENS - 1u)));                                    \
        } else {                                                                                                       \
            COPY_TILE(to, QKV_BITS, K_AT, first)                                                                       \
            COPY_TILE(to + 16u * TILE, QKV_BITS, V_AT, first)                                                          \
        }                                                                                                              \
    }
    COPY_PANEL(0u, begin)
    if (of_keys) {
        LOAD_OWN(left, QKV_BITS, K_AT)
        LOAD_OWN(right, QKV_BITS, V_AT)
    } else {
        uint y[STEPS][4];
        LOAD_OWN(left, QKV_BITS, Q_AT)
        LOAD_OWN(right, DY_BITS, Y_AT)
        LOAD_OWN(y, Y_BITS, Y_AT)
        UNROLL for (uint h = 0u; h < 2u; h++) {
            float sum = 0.0f;
            UNROLL for (uint s = 0u; s < STEPS; s++)
                sum = add_products(right[s][h + 2u], y[s][h + 2u], add_products(right[s][h], y[s][h], sum));
            mean[h] = UNSCALE(sum_of_row(sum));
            log_sum[h] = SUM_GET(SUM_AT(min(ROW(2u * h), TOKENS - 1u))) * LOG2_E;
        }
    }
    uint stage = 0u;
    for (uint first = begin; first < end; first += PANEL) {
        __local uint4 *panel = panels + stage * (TILES * TILE);
        const uint tile_left = LOCAL(panel), tile_right = tile_left + 16u * TILE;
        const float sum_here = next_sum;
        WAIT_COPIES;
        barrier(CLK_LOCAL_MEM_FENCE); /* the panel is here, and the one before it is left */
        stage = STAGES - 1u - stage;
        if (first + PANEL < end)
            COPY_PANEL(stage, first + PANEL)
        if (of_keys) {
            const uint row = item / SHARERS;
            float sum = 0.0f;
            UNROLL for (uint q = item % SHARERS; q < PIECES; q += SHARERS) {
                const uint4 slope = panel[TILE + row * LINE + q], y = panel[2u * TILE + row * LINE + q];
                sum = add_products(slope.x, y.x, add_products(slope.y, y.y, sum));
                sum = add_products(slope.z, y.z, add_products(slope.w, y.w, sum));
            }
            UNROLL for (uint bits = 1u; bits < SHARERS; bits *= 2u)
                sum += exchange(sum, bits);
            if (item % SHARERS == 0u)
                terms[row] = (float2)(sum_here * LOG2_E, UNSCALE(sum));
            barrier(CLK_LOCAL_MEM_FENCE);
        }
        /* Sixteens that a token here sees, or is seen by. */
        const uint from = CAUSAL == 1 && of_keys && own > first ? own - first : 0u;
        const uint seen = CAUSAL == 1 && !of_keys ? min(own + 16u, TOKENS) : TOKENS;
        const uint to = own < TOKENS && seen > first ? min(seen - first, PANEL) : 0u;
        for (uint c = from; c < to; c += 16u) {
            float weights[2][4], slopes[2][4];
            EACH(2u) weights[j][e] = slopes[j][e] = 0.0f;
            multiply(weights, left, tile_left + LINES_ON(c) + straight);
            multiply(slopes, right, tile_right + LINES_ON(c) + straight);
            DRAW_KEPT(of_keys, first + c)
            EACH(2u) {
                const float2 term = of_keys ? terms[c + COLUMN(j, e)] : (float2)(log_sum[e / 2u], mean[e / 2u]);
                weights[j][e] = power(fma(weights[j][e], SCALE * LOG2_E, -term.x));
                slopes[j][e] = weights[j][e] * (DROP(slopes[j][e]) - term.y);
                weights[j][e] = DROP(weights[j][e]);
            }
            const uint here = first + c;
            if ((CAUSAL == 1 && (of_keys ? here < own + 15u : here + 15u > own)) || here + 16u > TOKENS)
                EACH(2u) {
                    const uint t = here + COLUMN(j, e), q = of_keys ? t : ROW(e), k = of_keys ? ROW(e) : t;
                    weights[j][e] = SEEN(t, q, k) ? weights[j][e] : 0.0f;
                    slopes[j][e] = SEEN(t, q, k) ? slopes[j][e] : 0.0f;
                }
            if (of_keys)
                weigh(sums_v, weights, tile_right + LINES_ON(c) + turned);
            weigh(sums, slopes, tile_left + LINES_ON(c) + turned);
        }
    }
    EACH(2u * STEPS) sums[j][e] = RESCALE(sums[j][e] * SCALE);
    if (of_keys) {
        EACH(2u * STEPS) sums_v[j][e] = RESCALE(sums_v[j][e]);
        STORE_ROWS(STORE_DQKV4, K_AT, sums)
        STORE_ROWS(STORE_DQKV4, V_AT, sums_v)
    } else {
        STORE_ROWS(STORE_DQKV4, Q_AT, sums)
    }
}
#endif

__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void binade(BD_ARGUMENTS)
{
    /* One array, which is all that Vulkan launches: panels, and backward two numbers a token. */
    __local __attribute__((aligned(16))) uint4 panels[STAGES * TILES * TILE + (BACKWARD == 1 ? PANEL / 2u : 0u)];
    const uint group = (uint)(get_group_id(1) * get_num_groups(0) + get_group_id(0));
    if (group >= PARTS * BLOCKS * HEADS * SEQUENCES)
        return;
    const uint block = group / PARTS % BLOCKS, head = group / (PARTS * BLOCKS) % HEADS, z = group / (PARTS * BLOCKS * HEADS);
#if BACKWARD
    __local float2 *const terms = (__local float2 *)(panels + STAGES * TILES * TILE);
    if (group % PARTS == 0u)
        gradient(BD_BUFFERS, false, z, head, block, panels, terms);
    else
        gradient(BD_BUFFERS, true, z, head, block, panels, terms);
#else
    PLACES
    const uint own = block * BLOCK + item / LANES * 16u, end = CAUSAL == 1 ? min((block + 1u) * BLOCK, TOKENS) : TOKENS;
    uint queries[STEPS][4];
    float largest[2] = { -BD_INFINITY, -BD_INFINITY }, total[2] = { 0.0f, 0.0f }, sums[2u * STEPS][4];
    EACH(2u * STEPS) sums[j][e] = 0.0f;
    READ_SEEDS
#define COPY_PANEL(stage, first)                                                                                       \
    {                                                                                                                  \
        const uint to = LOCAL(panels + (stage) * (TILES * TILE));                                                      \
        COPY_TILE(to, QKV_BITS, K_AT, first)                                                                           \
        COPY_TILE(to + 16u * TILE, QKV_BITS, V_AT, first)                                                              \
    }
    COPY_PANEL(0u, 0u)
    LOAD_OWN(queries, QKV_BITS, Q_AT)
    uint stage = 0u;
    for (uint first = 0u; first < end; first += PANEL) {
        const uint tile_k = LOCAL(panels + stage * (TILES * TILE)), tile_v = tile_k + 16u * TILE;
        WAIT_COPIES;
        barrier(CLK_LOCAL_MEM_FENCE); /* the panel is here, and the one before it is left */
        stage = STAGES - 1u - stage;
        if (first + PANEL < end)
            COPY_PANEL(stage, first + PANEL)
        if ((CAUSAL == 1 && first > own + 15u) || own >= TOKENS)
            continue;
        float scores[PANEL / 8u][4];
        EACH(PANEL / 8u) scores[j][e] = 0.0f;
        UNROLL for (uint c = 0u; c < PANEL; c += 16u)
            multiply(scores + c / 8u, queries, tile_k + LINES_ON(c) + straight);
        if ((CAUSAL == 1 && first + PANEL > own + 1u) || first + PANEL > TOKENS)
            EACH(PANEL / 8u) {
                const uint k = first + COLUMN(j, e);
                scores[j][e] = SEEN(k, ROW(e), k) ? scores[j][e] : -BD_INFINITY;
            }
        UNROLL for (uint h = 0u; h < 2u; h++) {
            float most = largest[h];
            UNROLL for (uint j = 0u; j < PANEL / 8u; j++)
                most = fmax(most, fmax(scores[j][2u * h], scores[j][2u * h + 1u]));
            most = largest_of_row(most);
            /* What was summed relative to the largest score so far; the first time there is none, and that is 0. */
            const float shrink = power((largest[h] - most) * (SCALE * LOG2_E)), shift = -most * (SCALE * LOG2_E);
            total[h] *= shrink;
            largest[h] = most;
            UNROLL for (uint j = 0u; j < 2u * STEPS; j++) {
                sums[j][2u * h] *= shrink;
                sums[j][2u * h + 1u] *= shrink;
            }
            UNROLL for (uint j = 0u; j < PANEL / 8u; j++)
                UNROLL for (uint e = 2u * h; e < 2u * h + 2u; e++) {
                    scores[j][e] = power(fma(scores[j][e], SCALE * LOG2_E, shift));
                    total[h] += scores[j][e];
                }
        }
        UNROLL for (uint c = 0u; c < PANEL; c += 16u) {
            DRAW_KEPT(false, first + c)
            EACH(2u) scores[c / 8u + j][e] = DROP(scores[c / 8u + j][e]);
            weigh(sums, scores + c / 8u, tile_v + LINES_ON(c) + turned);
        }
    }
    UNROLL for (uint h = 0u; h < 2u; h++) {
        total[h] = sum_of_row(total[h]);
        if (lane % 4u == 0u && ROW(2u * h) < TOKENS)
            STORE_SUM(SUM_AT(ROW(2u * h)), largest[h] * SCALE + bd_log(total[h]));
    }
    EACH(2u * STEPS) sums[j][e] = RESCALE(BD_DIV(sums[j][e], total[e / 2u]));
    STORE_ROWS(STORE_Y4, Y_AT, sums)
#endif
}
