// Contraction for GPUs: a work-group computes TILE_M x TILE_N elements of C through panels of TILE_K steps in shared memory;
// an invocation holds ITEM_M x ITEM_N of them in registers. There are two panels of each operand: while one is multiplied the next
// one is loaded. SLICES invocations share their elements: each does a part of every panel's steps, and their sums are added at the
// end. Operands are loaded and multiplied in pieces: four neighbours.
#ifndef TILE_M // so that the skeleton compiles alone
#define BATCH 1u
#define M 64u
#define N 64u
#define K 64u
#define CHUNKS 1u
#define CHUNK 64u
#define TILE_M 64u
#define TILE_N 64u
#define TILE_K 16u
#define ITEM_M 8u
#define ITEM_N 8u
#define SLICES 2u
#define A_INNER_K 1
#define A_OCTX(z, o) BD_UINT4(o * K, 0u, 0u, 0u)
#define A_ICTX(i) BD_UINT4(i, 0u, 0u, 0u)
#define A_VALID(o, i) true
#define A_INDEX(o, i) ((o).x + (i).x)
#define A_FOURS 0
#define A_GET(x) float(x)
#define B_INNER_N 1
#define B_INDEX(z, k, n) ((k) * N + (n))
#define B_FOURS 1
#define B_GET(x) float(x)
#define B_GET4(x) vec4(x)
#define ACCUMULATE(sum, a, b) fma(a, b, sum)
#define STORE_WIDTH 1
#define STORE_C(row, n, sum)
#define COLUMNS 0
#endif

#define CEIL(a, b) (((a) + (b) - 1u) / (b))
#define ITEMS_M (TILE_M / ITEM_M)
#define ITEMS_N (TILE_N / ITEM_N)
#define OWNERS (ITEMS_M * ITEMS_N)
#define ITEMS (OWNERS * SLICES)
#define TILES_M CEIL(M, TILE_M)
#define TILES_N CEIL(N, TILE_N)
#define STEPS (TILE_K / SLICES)
// Items that run side by side, 32 of them, lie 8 along n and 4 along m, so that they read few pieces.
#define LANES_N (ITEMS_N < 8u ? ITEMS_N : 8u)
#define LANES_M (ITEMS_M < 32u / LANES_N ? ITEMS_M : 32u / LANES_N)
#define LANES (LANES_M * LANES_N)
// Panels are [k][m] and [k][n], in pieces; a line has one more, against bank conflicts.
#define A_LINE (TILE_M / 4u + 1u)
#define B_LINE (TILE_N / 4u + 1u)
#define B_PANEL (TILE_K * A_LINE)
#define STAGE (B_PANEL + TILE_K * B_LINE)
#define SHOWN_ROW (SLICES > 1u ? ITEMS * ITEM_N / 4u : 0u)
#define SHARED (STAGE > SHOWN_ROW ? 2u * STAGE : 2u * SHOWN_ROW)
// Where element r of an item's tile lies in the group's.
#define OF_M(r) (((r) / 4u * ITEMS_M + item_m) * 4u + (r) % 4u)
#define OF_N(j) (((j) / 4u * ITEMS_N + item_n) * 4u + (j) % 4u)
// Where a slice shows four sums of row r.
#define SHOWN(r, slice, j) ((r) % 2u * SHOWN_ROW + ((slice) * ITEM_N + (j)) / 4u * OWNERS + item % OWNERS)

#if COLUMNS
// Sums of columns: STRIP_ITEMS items along m share 64 rows of a column, each STRIP_ROWS of them; slices by turns.
#define STRIP_ITEMS (ITEMS_M < 16u ? ITEMS_M : 16u)
#define STRIP_ROWS (64u / STRIP_ITEMS)
#define COLUMN_ENTRIES (STRIP_ITEMS * SLICES)
#define COLUMN_PLACE(number, entry) \
    panels[(number) * ITEMS + ((entry) * (ITEMS_M / STRIP_ITEMS) + item_m / STRIP_ITEMS) * ITEMS_N + item_n]
#define COLUMN_SHOW(h, number, entry, four) COLUMN_PLACE(number, entry) = four
#define COLUMN_SEE(h, number, entry) COLUMN_PLACE(number, entry)
#endif

// Where load `i` of this item, a piece, begins in the panel: neighbours in memory go to neighbouring items.
#define PIECE(i) (item + (i) * ITEMS)
#define A_PIECES (TILE_M * TILE_K / 4u)
#define B_PIECES (TILE_N * TILE_K / 4u)
#define LOADS_A CEIL(A_PIECES, ITEMS)
#define LOADS_B CEIL(B_PIECES, ITEMS)
#define HAS_A(i) (A_PIECES % ITEMS == 0u || PIECE(i) < A_PIECES)
#define HAS_B(i) (B_PIECES % ITEMS == 0u || PIECE(i) < B_PIECES)
#if A_INNER_K
#define A_M(i) (PIECE(i) / (TILE_K / 4u))
#define A_K(i) (PIECE(i) % (TILE_K / 4u) * 4u)
#define A_KEPT(m) A_OCTX(z, min(m, M - 1u))
#define A_OUTER(k) kept
#define A_INNER(m, k) A_ICTX(k)
#else
#define A_M(i) (PIECE(i) % (TILE_M / 4u) * 4u)
#define A_K(i) (PIECE(i) / (TILE_M / 4u))
#define A_KEPT(m) A_ICTX(min(m, M - 4u))
#define A_OUTER(k) A_OCTX(z, k)
#if A_FOURS
#define A_INNER(m, k) kept
#else
#define A_INNER(m, k) A_ICTX(min(m, M - 1u))
#endif
#endif
#if B_INNER_N
#define B_N(i) (PIECE(i) % (TILE_N / 4u) * 4u)
#define B_K(i) (PIECE(i) / (TILE_N / 4u))
#define B_LAST_N (N - 4u)
#else
#define B_N(i) (PIECE(i) / (TILE_K / 4u))
#define B_K(i) (PIECE(i) % (TILE_K / 4u) * 4u)
#define B_LAST_N (N - 1u)
#endif

layout(local_size_x = ITEMS) in;
//@declare
shared vec4 panels[SHARED];
//@body

// Elements whose index along k is `last` or above are 0, those past the ends of m and n are any others: their sums are dropped.
// `kept`: what an item knows of A's pieces from panel to panel.
#if A_FOURS
vec4 piece_a(const uint z, const uint m, const uint k, const uint last, const uvec4 kept)
{
    const uvec4 outer = A_OUTER(k), inner = A_INNER(m, k);
    const uint x = A_INDEX(outer, inner);
    vec4 piece = vec4(0.0f);
    if (BD_BOTH(k < last, A_VALID(outer, inner)))
        piece = A_GET4(x);
    return piece;
}
#else
float element_a(const uint z, const uint m, const uint k, const uint last, const uvec4 kept)
{
    const uvec4 outer = A_OUTER(k), inner = A_INNER(m, k);
    return BD_BOTH(k < last, A_VALID(outer, inner)) ? A_GET(A_INDEX(outer, inner)) : 0.0f;
}
#if A_INNER_K
#define ELEMENT_A(u) element_a(z, m, k + u, last, kept)
#else
#define ELEMENT_A(u) element_a(z, m + u, k, last, kept)
#endif
vec4 piece_a(const uint z, const uint m, const uint k, const uint last, const uvec4 kept)
{
    return vec4(ELEMENT_A(0u), ELEMENT_A(1u), ELEMENT_A(2u), ELEMENT_A(3u));
}
#endif
#if B_FOURS
vec4 piece_b(const uint z, const uint k, const uint n, const uint last)
{
    const uint x = B_INDEX(z, k, min(n, B_LAST_N));
    vec4 piece = vec4(0.0f);
    if (k < last)
        piece = B_GET4(x);
    return piece;
}
#else
float element_b(const uint z, const uint k, const uint n, const uint last)
{
    return k < last ? B_GET(B_INDEX(z, k, min(n, N - 1u))) : 0.0f;
}
#if B_INNER_N
#define ELEMENT_B(u) element_b(z, k, n + u, last)
#else
#define ELEMENT_B(u) element_b(z, k + u, n, last)
#endif
vec4 piece_b(const uint z, const uint k, const uint n, const uint last)
{
    return vec4(ELEMENT_B(0u), ELEMENT_B(1u), ELEMENT_B(2u), ELEMENT_B(3u));
}
#endif

#define LOAD_PANELS(first)                                                                                             \
    [[unroll]] for (uint i = 0u; i < LOADS_A; i++)                                                                     \
        if (HAS_A(i))                                                                                                  \
            next_a[i] = piece_a(z, m0 + A_M(i), (first) + A_K(i), last, kept[i]);                                      \
    [[unroll]] for (uint i = 0u; i < LOADS_B; i++)                                                                     \
        if (HAS_B(i))                                                                                                  \
            next_b[i] = piece_b(z, (first) + B_K(i), n0 + B_N(i), last);
// A piece becomes a column of the panel, or lies in it as it is.
#define NUMBER(line, k, m, u) panels[stage + ((k) + u) * (line) + (m) / 4u][(m) % 4u]
#define STORE_TURNED(line, k, m, piece)                                                                                \
    NUMBER(line, k, m, 0u) = (piece).x;                                                                                \
    NUMBER(line, k, m, 1u) = (piece).y;                                                                                \
    NUMBER(line, k, m, 2u) = (piece).z;                                                                                \
    NUMBER(line, k, m, 3u) = (piece).w;
#define STORE(line, k, m, piece) panels[stage + (k) * (line) + (m) / 4u] = piece;
#if A_INNER_K
#define STORE_A(i) STORE_TURNED(A_LINE, A_K(i), A_M(i), next_a[i])
#else
#define STORE_A(i) STORE(A_LINE, A_K(i), A_M(i), next_a[i])
#endif
#if B_INNER_N
#define STORE_B(i) STORE(B_LINE, B_K(i), B_PANEL * 4u + B_N(i), next_b[i])
#else
#define STORE_B(i) STORE_TURNED(B_LINE, B_K(i), B_PANEL * 4u + B_N(i), next_b[i])
#endif
#define STORE_PANELS                                                                                                   \
    [[unroll]] for (uint i = 0u; i < LOADS_A; i++)                                                                     \
        if (HAS_A(i)) {                                                                                                \
            STORE_A(i)                                                                                                 \
        }                                                                                                              \
    [[unroll]] for (uint i = 0u; i < LOADS_B; i++)                                                                     \
        if (HAS_B(i)) {                                                                                                \
            STORE_B(i)                                                                                                 \
        }

void main()
{
    const uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x, item = gl_LocalInvocationID.x;
    if (group >= TILES_M * TILES_N * BATCH * CHUNKS)
        return;
    const uint n0 = group % TILES_N * TILE_N, m0 = group / TILES_N % TILES_M * TILE_M;
    const uint part = BATCH * CHUNKS > 1u ? group / (TILES_N * TILES_M) : 0u;
    const uint z = part % BATCH, begin = part / BATCH * CHUNK, last = min(begin + CHUNK, K);
    const uint slice = item / OWNERS, lane = item % LANES, block = item / LANES % (OWNERS / LANES);
    const uint item_n = block % (ITEMS_N / LANES_N) * LANES_N + lane % LANES_N;
    const uint item_m = block / (ITEMS_N / LANES_N) * LANES_M + lane / LANES_N;
    float sum[ITEM_M][ITEM_N];
    vec4 next_a[LOADS_A], next_b[LOADS_B];
    uvec4 kept[LOADS_A];
    [[unroll]] for (uint i = 0u; i < LOADS_A; i++)
        kept[i] = A_KEPT(m0 + A_M(i));
    [[unroll]] for (uint r = 0u; r < ITEM_M; r++)
        [[unroll]] for (uint j = 0u; j < ITEM_N; j++)
            sum[r][j] = 0.0f;
    uint stage = 0u;
    LOAD_PANELS(begin)
    STORE_PANELS
    barrier();
    for (uint first = begin; first < last; first += TILE_K) {
        LOAD_PANELS(first + TILE_K)
        const uint from_a = stage + slice * STEPS * A_LINE + item_m, from_b = stage + B_PANEL + slice * STEPS * B_LINE + item_n;
        [[unroll]] for (uint k = 0u; k < STEPS; k++) {
            float a[ITEM_M], b[ITEM_N];
            [[unroll]] for (uint r = 0u; r < ITEM_M; r += 4u) {
                const vec4 piece = panels[from_a + k * A_LINE + r / 4u * ITEMS_M];
                a[r] = piece.x, a[r + 1u] = piece.y, a[r + 2u] = piece.z, a[r + 3u] = piece.w;
            }
            [[unroll]] for (uint j = 0u; j < ITEM_N; j += 4u) {
                const vec4 piece = panels[from_b + k * B_LINE + j / 4u * ITEMS_N];
                b[j] = piece.x, b[j + 1u] = piece.y, b[j + 2u] = piece.z, b[j + 3u] = piece.w;
            }
            [[unroll]] for (uint r = 0u; r < ITEM_M; r++)
                [[unroll]] for (uint j = 0u; j < ITEM_N; j++)
                    sum[r][j] = ACCUMULATE(sum[r][j], a[r], b[j]);
        }
        stage = STAGE - stage;
        STORE_PANELS
        barrier();
    }
    // The panels are done with: through their memory all slices learn each other's sums, row after row, by turns at two places.
    [[unroll]] for (uint r = 0u; r < (SLICES > 1u ? ITEM_M : 0u); r++) {
        [[unroll]] for (uint j = 0u; j < ITEM_N; j += 4u)
            panels[SHOWN(r, slice, j)] = vec4(sum[r][j], sum[r][j + 1u], sum[r][j + 2u], sum[r][j + 3u]);
        barrier();
        [[unroll]] for (uint j = 0u; j < ITEM_N; j += 4u) {
            vec4 total = panels[SHOWN(r, 0u, j)];
            [[unroll]] for (uint s = 1u; s < SLICES; s++) {
                const vec4 piece = panels[SHOWN(r, s, j)];
                total.x = ACCUMULATE(total.x, piece.x, 1.0f);
                total.y = ACCUMULATE(total.y, piece.y, 1.0f);
                total.z = ACCUMULATE(total.z, piece.z, 1.0f);
                total.w = ACCUMULATE(total.w, piece.w, 1.0f);
            }
            sum[r][j] = total.x, sum[r][j + 1u] = total.y, sum[r][j + 2u] = total.z, sum[r][j + 3u] = total.w;
        }
    }
#if COLUMNS // 64 rows of four columns: what each item stores, and then what the items of a strip have together
    // NVIDIA's compiler unrolls no loop with a barrier in it: `sum` would have to lie in memory, from the first product on.
    BD_VALUE4 own[ITEM_M / STRIP_ROWS][ITEM_N / 4u][COLUMN_STATES];
    [[unroll]] for (uint part_m = 0u; part_m < ITEM_M; part_m += STRIP_ROWS)
        [[unroll]] for (uint j = 0u; j < ITEM_N; j += 4u) {
            const uint n = n0 + OF_N(j);
            COLUMNS_BEGIN
            [[unroll]] for (uint r = part_m; r < part_m + STRIP_ROWS; r++)
                if (r % SLICES == slice && m0 + OF_M(r) < M && n < N) {
                    COLUMNS_VALUES
                    STORE_C4(part * M + m0 + OF_M(r), n, vec4(sum[r][j], sum[r][j + 1u], sum[r][j + 2u], sum[r][j + 3u]));
                    COLUMNS_ADD(0, r < part_m + SLICES)
                }
            [[unroll]] for (uint s = 0u; s < COLUMN_STATES; s++)
                own[part_m / STRIP_ROWS][j / 4u][s] = columns[0][s];
        }
    const uint entry = item_m % STRIP_ITEMS * SLICES + slice;
    [[unroll]] for (uint part_m = 0u; part_m < ITEM_M; part_m += STRIP_ROWS)
        [[unroll]] for (uint j = 0u; j < ITEM_N; j += 4u) {
            const uint strip = (m0 + OF_M(part_m)) / 64u, n = n0 + OF_N(j);
            COLUMNS_BEGIN
            [[unroll]] for (uint s = 0u; s < COLUMN_STATES; s++)
                columns[0][s] = own[part_m / STRIP_ROWS][j / 4u][s];
            COLUMNS_MERGE(entry, COLUMN_ENTRIES, 64u / COLUMN_ENTRIES)
            if (entry == 0u && strip < M / 64u && n < N)
                COLUMNS_STORE(0, part * (M / 64u) + strip, n);
        }
#else
    [[unroll]] for (uint r = 0u; r < ITEM_M; r++)
        [[unroll]] for (uint j = 0u; j < ITEM_N; j += STORE_WIDTH)
            if (r % SLICES == slice && m0 + OF_M(r) < M && n0 + OF_N(j) < N)
#if STORE_WIDTH == 4
                STORE_C4(part * M + m0 + OF_M(r), n0 + OF_N(j), vec4(sum[r][j], sum[r][j + 1u], sum[r][j + 2u], sum[r][j + 3u]));
#else
                STORE_C(part * M + m0 + OF_M(r), n0 + OF_N(j), sum[r][j]);
#endif
#endif
    //@last
}
