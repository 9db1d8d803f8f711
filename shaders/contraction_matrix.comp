// Contraction of halves by matrix units: a work-group computes TILE_M x TILE_N elements of C through panels of TILE_K steps in
// shared memory, a subgroup WARP_M x WARP_N of them in cooperative matrices. Panels lie in pieces of eight halves, in the order
// in which their operand lies in memory, and the next one is loaded while this one is multiplied. The sums go back through
// shared memory, since which invocation holds which is the driver's secret.
#ifndef TILE_M // so that the skeleton compiles alone
#define BATCH 1u
#define M 64u
#define N 64u
#define K 64u
#define CHUNKS 1u
#define CHUNK 64u
#define TILE_M 64u
#define TILE_N 64u
#define TILE_K 32u
#define WARP_M 32u
#define WARP_N 32u
#define LANES 32u
#define ROWS 2 // of fragments: WARP_M / MATRIX_M
#define MATRIX_M 16u
#define MATRIX_N 16u
#define MATRIX_K 16u
#define A_INNER_K 1
#define A_OCTX(z, o) BD_UINT4(o * K, 0u, 0u, 0u)
#define A_ICTX(i) BD_UINT4(i, 0u, 0u, 0u)
#define A_VALID(o, i) true
#define A_INDEX(o, i) ((o).x + (i).x)
#define A_GET(x) float(x)
#define A_WIDE 0
#define B_INNER_N 1
#define B_INDEX(z, k, n) ((k) * N + (n))
#define B_GET(x) float(x)
#define B_WIDE 0
#define STORE_C(row, n, sum)
#endif

#define CEIL(a, b) (((a) + (b) - 1u) / (b))
#define WARPS_N (TILE_N / WARP_N)
#define WARPS (TILE_M / WARP_M * WARPS_N)
#define ITEMS (WARPS * LANES)
#define TILES_M CEIL(M, TILE_M)
#define TILES_N CEIL(N, TILE_N)
#define FRAGMENTS_N (WARP_N / MATRIX_N)

// A panel's lines, the pieces of each, and the distance of lines: a piece more, against bank conflicts.
#if A_INNER_K
#define A_LINES TILE_M
#define A_PIECES (TILE_K / 8u)
#else
#define A_LINES TILE_K
#define A_PIECES (TILE_M / 8u)
#endif
#if B_INNER_N
#define B_LINES TILE_K
#define B_PIECES (TILE_N / 8u)
#else
#define B_LINES TILE_N
#define B_PIECES (TILE_K / 8u)
#endif
#define A_STRIDE (A_PIECES + 1u)
#define B_STRIDE (B_PIECES + 1u)
#define A_SIZE (A_LINES * A_STRIDE)
#define STAGE (A_SIZE + B_LINES * B_STRIDE)
#define LOADS_A CEIL(A_LINES * A_PIECES, ITEMS)
#define LOADS_B CEIL(B_LINES * B_PIECES, ITEMS)
// One row of fragments of each subgroup's sums, in fours.
#define SUMS (MATRIX_M * WARP_N / 4u)
#define SHARED (2u * STAGE > WARPS * SUMS ? 2u * STAGE : WARPS * SUMS)

layout(local_size_x = ITEMS) in;
//@declare
shared uvec4 panels[SHARED];
//@body

uint pack(const float low, const float high)
{
    return bd_encode_f16(low) | (bd_encode_f16(high) << 16u);
}

// Elements whose index along k is `last` or above are 0, those past the ends of m and n are any others: their sums are dropped.
#if A_INNER_K
#define A_FIRST(i) min(m0 + ELEMENT(i) / A_PIECES, M - 1u)
#define A_ROW(i) A_OCTX(z, A_FIRST(i))
#else
#define A_FIRST(i) (m0 + ELEMENT(i) % A_PIECES * 8u)
#define A_ROW(i) A_ICTX(min(A_FIRST(i), M - 8u))
#endif
#define ELEMENT(i) (item + (i) * ITEMS)

float element_a(const uint z, const uint m, const uint k, const uint last)
{
    if (k >= last)
        return 0.0f;
#if A_INNER_K
    const uvec4 outer = A_OCTX(z, min(m, M - 1u)), inner = A_ICTX(k);
#else
    const uvec4 outer = A_OCTX(z, k), inner = A_ICTX(min(m, M - 1u));
#endif
    return A_VALID(outer, inner) ? A_GET(A_INDEX(outer, inner)) : 0.0f;
}

float element_b(const uint z, const uint k, const uint n, const uint last)
{
    return k < last ? B_GET(B_INDEX(z, k, min(n, N - 1u))) : 0.0f;
}

uvec4 piece_a(const uint i, const uint item, const uint z, const uint m0, const uint first, const uint last, const uvec4 row)
{
#if A_INNER_K
    const uint m = m0 + ELEMENT(i) / A_PIECES, k = first + ELEMENT(i) % A_PIECES * 8u;
#else
    const uint m = m0 + ELEMENT(i) % A_PIECES * 8u, k = first + ELEMENT(i) / A_PIECES;
#endif
    uvec4 piece = uvec4(0u);
#if A_WIDE && A_INNER_K
    const uvec4 column = A_ICTX(k);
    if (k < last && A_VALID(row, column))
        piece = A_PIECE(A_INDEX(row, column));
#elif A_WIDE
    const uvec4 column = A_OCTX(z, k);
    if (k < last && A_VALID(column, row))
        piece = A_PIECE(A_INDEX(column, row));
#else
    [[unroll]] for (uint u = 0u; u < 4u; u++)
#if A_INNER_K
        piece[u] = pack(element_a(z, m, k + 2u * u, last), element_a(z, m, k + 2u * u + 1u, last));
#else
        piece[u] = pack(element_a(z, m + 2u * u, k, last), element_a(z, m + 2u * u + 1u, k, last));
#endif
#endif
    return piece;
}

uvec4 piece_b(const uint i, const uint item, const uint z, const uint n0, const uint first, const uint last)
{
#if B_INNER_N
    const uint k = first + ELEMENT(i) / B_PIECES, n = n0 + ELEMENT(i) % B_PIECES * 8u;
#else
    const uint n = n0 + ELEMENT(i) / B_PIECES, k = first + ELEMENT(i) % B_PIECES * 8u;
#endif
    uvec4 piece = uvec4(0u);
#if B_WIDE && B_INNER_N
    if (k < last)
        piece = B_PIECE(B_INDEX(z, k, min(n, N - 8u)));
#elif B_WIDE
    if (k < last)
        piece = B_PIECE(B_INDEX(z, k, min(n, N - 1u)));
#else
    [[unroll]] for (uint u = 0u; u < 4u; u++)
#if B_INNER_N
        piece[u] = pack(element_b(z, k, n + 2u * u, last), element_b(z, k, n + 2u * u + 1u, last));
#else
        piece[u] = pack(element_b(z, k + 2u * u, n, last), element_b(z, k + 2u * u + 1u, n, last));
#endif
#endif
    return piece;
}

#define LOAD_PANELS(first)                                                                                             \
    [[unroll]] for (uint i = 0u; i < LOADS_A; i++)                                                                     \
        if (ELEMENT(i) < A_LINES * A_PIECES)                                                                           \
            next_a[i] = piece_a(i, item, z, m0, first, last, row[i]);                                                  \
    [[unroll]] for (uint i = 0u; i < LOADS_B; i++)                                                                     \
        if (ELEMENT(i) < B_LINES * B_PIECES)                                                                           \
            next_b[i] = piece_b(i, item, z, n0, first, last);
#define STORE_PANELS(stage)                                                                                            \
    [[unroll]] for (uint i = 0u; i < LOADS_A; i++)                                                                     \
        if (ELEMENT(i) < A_LINES * A_PIECES)                                                                           \
            panels[(stage) + ELEMENT(i) / A_PIECES * A_STRIDE + ELEMENT(i) % A_PIECES] = next_a[i];                    \
    [[unroll]] for (uint i = 0u; i < LOADS_B; i++)                                                                     \
        if (ELEMENT(i) < B_LINES * B_PIECES)                                                                           \
            panels[(stage) + A_SIZE + ELEMENT(i) / B_PIECES * B_STRIDE + ELEMENT(i) % B_PIECES] = next_b[i];

// One row of fragments. No loop over the rows: fragments that are chosen by a variable would leave the registers.
#define SYNCHRONISE controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared, gl_SemanticsAcquireRelease);
#define STORE_ROW(r)                                                                                                   \
    {                                                                                                                  \
        [[unroll]] for (uint j = 0u; j < FRAGMENTS_N; j++)                                                             \
            coopMatStore(sum[r][j], panels, sums + j * MATRIX_N / 4u, WARP_N / 4u, gl_CooperativeMatrixLayoutRowMajor); \
        SYNCHRONISE                                                                                                    \
        for (uint e = lane; e < MATRIX_M * WARP_N; e += LANES) {                                                       \
            const uint m = m0 + warp_m + r * MATRIX_M + e / WARP_N, n = n0 + warp_n + e % WARP_N;                      \
            if (m < M && n < N)                                                                                        \
                STORE_C(part * M + m, n, uintBitsToFloat(panels[sums + e / 4u][e % 4u]));                              \
        }                                                                                                              \
        SYNCHRONISE                                                                                                    \
    }

void main()
{
    const uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x, item = gl_LocalInvocationID.x;
    if (group >= TILES_M * TILES_N * BATCH * CHUNKS)
        return;
    const uint n0 = group % TILES_N * TILE_N, m0 = group / TILES_N % TILES_M * TILE_M, part = group / (TILES_N * TILES_M);
    const uint z = part % BATCH, begin = part / BATCH * CHUNK, last = min(begin + CHUNK, K);
    const uint warp = gl_SubgroupID, warp_m = warp / WARPS_N * WARP_M, warp_n = warp % WARPS_N * WARP_N;
    uvec4 next_a[LOADS_A], next_b[LOADS_B], row[LOADS_A];
    coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator> sum[ROWS][FRAGMENTS_N];
    [[unroll]] for (int r = 0; r < ROWS; r++)
        [[unroll]] for (uint j = 0u; j < FRAGMENTS_N; j++)
            sum[r][j] = coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>(0.0f);
    [[unroll]] for (uint i = 0u; i < LOADS_A; i++)
        row[i] = A_ROW(i); // does not change from panel to panel
    LOAD_PANELS(begin)
    STORE_PANELS(0u)
    barrier();
    uint stage = 0u;
    for (uint first = begin; first < last; first += TILE_K) {
        if (first + TILE_K < last) {
            LOAD_PANELS(first + TILE_K)
        }
        [[unroll]] for (uint k = 0u; k < TILE_K; k += MATRIX_K) {
            coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_K, gl_MatrixUseA> a[ROWS];
            coopmat<float16_t, gl_ScopeSubgroup, MATRIX_K, MATRIX_N, gl_MatrixUseB> b[FRAGMENTS_N];
            [[unroll]] for (int r = 0; r < ROWS; r++) {
                const uint m = warp_m + uint(r) * MATRIX_M;
#if A_INNER_K
                coopMatLoad(a[r], panels, stage + m * A_STRIDE + k / 8u, A_STRIDE, gl_CooperativeMatrixLayoutRowMajor);
#else
                coopMatLoad(a[r], panels, stage + k * A_STRIDE + m / 8u, A_STRIDE, gl_CooperativeMatrixLayoutColumnMajor);
#endif
            }
            [[unroll]] for (uint j = 0u; j < FRAGMENTS_N; j++) {
                const uint n = warp_n + j * MATRIX_N;
#if B_INNER_N
                coopMatLoad(b[j], panels, stage + A_SIZE + k * B_STRIDE + n / 8u, B_STRIDE, gl_CooperativeMatrixLayoutRowMajor);
#else
                coopMatLoad(b[j], panels, stage + A_SIZE + n * B_STRIDE + k / 8u, B_STRIDE,
                            gl_CooperativeMatrixLayoutColumnMajor);
#endif
            }
            [[unroll]] for (int r = 0; r < ROWS; r++)
                [[unroll]] for (uint j = 0u; j < FRAGMENTS_N; j++)
                    sum[r][j] = coopMatMulAdd(a[r], b[j], sum[r][j]);
        }
        stage = STAGE - stage;
        if (first + TILE_K < last) {
            STORE_PANELS(stage)
        }
        barrier();
    }
    const uint sums = warp * SUMS, lane = gl_SubgroupInvocationID;
    STORE_ROW(0)
#if ROWS > 1
    STORE_ROW(1)
#endif
#if ROWS > 2
    STORE_ROW(2)
    STORE_ROW(3)
#endif
}
