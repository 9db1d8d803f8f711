// Contraction by matrix units, of operands that halves or BF16 hold, or (MATRIX_CODES) of bytes as they are, whole numbers or floats: a work-group computes TILE_M x TILE_N elements of C through panels
// of TILE_K steps in shared memory, a subgroup WARP_M x WARP_N of them in cooperative matrices. Panels lie in pieces of eight numbers, in
// the order in which their operand lies in memory, and the next one is loaded while this one is multiplied. The sums go back through
// shared memory, since which invocation holds which is the driver's secret; those that an invocation stores lie in the same columns all
// along, and it may sum them (print_columns.c).
// Of a byte's floats the units may sum in fewer bits than FP32 has, so that each panel's sum is added to one in FP32 (arXiv:2412.19437, section
// 3.3.2). Whole numbers are summed exactly. Those of A that begin with 0 but are stored with a sign, as they minus 2 A_MOVED, lack that many
// times the sum of B's columns, which is B multiplied by A_MOVED everywhere, twice.
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
#define MATRIX_CODES 0
#define A_INNER_K 1
#define A_OCTX(z, o) BD_UINT4(o * K, 0u, 0u, 0u)
#define A_ICTX(i) BD_UINT4(i, 0u, 0u, 0u)
#define A_VALID(o, i) true
#define A_INDEX(o, i) ((o).x + (i).x)
#define A_GET(x) float(x)
#define A_TENSOR 0
#define A_WIDE 0
#define A_CODES 0
#define B_INNER_N 1
#define B_INDEX(z, k, n) ((k) * N + (n))
#define B_GET(x) float(x)
#define B_TENSOR 0
#define B_WIDE 0
#define B_CODES 0
#define STORE_WIDTH 1
#define STORE_C(row, n, sum)
#define COLUMNS 0
#define COLUMN_FOURS 1u
#define COLUMN_NUMBERS 0u
#define COLUMNS_BEGIN
#define COLUMNS_VALUES
#define COLUMNS_ADD(h, first)
#endif

#define WARPS_N (TILE_N / WARP_N)
#define WARPS (TILE_M / WARP_M * WARPS_N)
#define ITEMS (WARPS * LANES)
#define FRAGMENTS_N (WARP_N / MATRIX_N)

layout(local_size_x = ITEMS) in;
//@declare
//@body
//@include shaders/contraction_panels.comp

// One row of fragments of each subgroup's sums, in fours, of which a piece of bytes has half of one.
#define SUMS (MATRIX_M * WARP_N / 4u)
#if MATRIX_CODES
#define FOUR 2u
#define FOUR_AT(place) uvec4(panels[(place) * 2u], panels[(place) * 2u + 1u])
#else
#define FOUR 1u
#define FOUR_AT(place) panels[place]
#endif
#if WHOLE_SUMS
#define SUM_OF(bits) float(int(bits))
#define SUM4_OF(bits) vec4(ivec4(bits))
#else
#define SUM_OF(bits) uintBitsToFloat(bits)
#define SUM4_OF(bits) uintBitsToFloat(bits)
#endif
#define SUM_MATRIX coopmat<SUM_TYPE, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>
#define LARGER(a, b) ((a) > (b) ? (a) : (b))
#define SHARED LARGER(LARGER(2u * STAGE, WARPS * SUMS * FOUR), COLUMN_NUMBERS * COLUMN_PLACES)
// Sums of columns: an invocation's row has COLUMN_LANES invocations, and each 64 rows of a column COLUMN_ENTRIES.
#define COLUMN_LANES (WARP_N / 4u / COLUMN_FOURS)
#define COLUMN_ENTRIES (64u / WARP_M * (LANES / COLUMN_LANES))
#define COLUMN_PLACES (ITEMS * COLUMN_FOURS)
#define COLUMN_PLACE(h, number, entry)                                                                                \
    panels[(number) * COLUMN_PLACES + ((entry) * (TILE_M / 64u) + warp_m / 64u) * (TILE_N / 4u) + warp_n / 4u +        \
           (h) * COLUMN_LANES + lane % COLUMN_LANES]
#define COLUMN_SHOW(h, number, entry, four) COLUMN_PLACE(h, number, entry) = floatBitsToUint(four)
#define COLUMN_SEE(h, number, entry) uintBitsToFloat(COLUMN_PLACE(h, number, entry))
shared PIECE_TYPE panels[SHARED];

#define WHOLE (M % TILE_M == 0u && N % TILE_N == 0u)
// One row of fragments, of which what a fused load reads is on its way for many elements at once. No loop over the rows: fragments that are chosen by a variable would leave the registers.
#define SYNCHRONISE controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared, gl_SemanticsAcquireRelease);
#if STORE_WIDTH == 4
#define STORE_SUM(row, n, e) STORE_C4(row, n, SUM4_OF(FOUR_AT(sums + (e) / 4u)));
#else
#define STORE_SUM(row, n, e) STORE_C(row, n, SUM_OF(FOUR_AT(sums + (e) / 4u)[(e) % 4u]));
#endif
#if LONG_RESULTS // or the shader would not fit the instruction cache
#define STORE_LOOP [[dont_unroll]]
#else
#define STORE_LOOP [[unroll]]
#endif
#define STORE_ROW(r)                                                                                                   \
    {                                                                                                                  \
        [[unroll]] for (uint j = 0u; j < FRAGMENTS_N; j++)                                                             \
            coopMatStore(sum[r][j], panels, (sums + j * MATRIX_N / 4u) * FOUR, WARP_N / 4u * FOUR,                      \
                         gl_CooperativeMatrixLayoutRowMajor);                                                          \
        SYNCHRONISE                                                                                                    \
        STORE_LOOP for (uint i = 0u; i < MATRIX_M * WARP_N / (LANES * STORE_WIDTH); i++) {                             \
            const uint e = (lane + i * LANES) * STORE_WIDTH;                                                           \
            const uint m = m0 + warp_m + r * MATRIX_M + e / WARP_N, n = n0 + warp_n + e % WARP_N;                      \
            if (WHOLE || (m < M && n < N)) {                                                                           \
                COLUMNS_VALUES                                                                                         \
                STORE_SUM(part * M + m, n, e)                                                                          \
                COLUMNS_ADD(i % COLUMN_FOURS, r == 0u && i < COLUMN_FOURS)                                             \
            }                                                                                                          \
        }                                                                                                              \
        SYNCHRONISE                                                                                                    \
    }

void main()
{
    const uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x, item = gl_LocalInvocationID.x;
    if (group >= TILES_M * TILES_N * BATCH * CHUNKS)
        return;
    const uint n0 = group % TILES_N * TILE_N, m0 = group / TILES_N % TILES_M * TILE_M;
    const uint part = BATCH * CHUNKS == 1u ? 0u : group / (TILES_N * TILES_M), z = part % BATCH;
    // Of a whole sum the compiler is to know how many steps it has.
    const uint begin = CHUNKS == 1u ? 0u : part / BATCH * CHUNK, last = CHUNKS == 1u ? K : min(begin + CHUNK, K);
    const uint warp = gl_SubgroupID, warp_m = warp / WARPS_N * WARP_M, warp_n = warp % WARPS_N * WARP_N;
    KEEP_A
    KEEP_B
    SUM_MATRIX sum[ROWS][FRAGMENTS_N];
    [[unroll]] for (int r = 0; r < ROWS; r++)
        [[unroll]] for (uint j = 0u; j < FRAGMENTS_N; j++)
            sum[r][j] = SUM_MATRIX(0);
#if MATRIX_CODES && !WHOLE_SUMS
    SUM_MATRIX total[ROWS][FRAGMENTS_N];
    [[unroll]] for (int r = 0; r < ROWS; r++)
        [[unroll]] for (uint j = 0u; j < FRAGMENTS_N; j++)
            total[r][j] = SUM_MATRIX(0);
#endif
#if A_MOVED
    coopmat<MATRIX_TYPE_A, gl_ScopeSubgroup, MATRIX_M, MATRIX_K, gl_MatrixUseA> lacking =
        coopmat<MATRIX_TYPE_A, gl_ScopeSubgroup, MATRIX_M, MATRIX_K, gl_MatrixUseA>(A_MOVED);
    SUM_MATRIX lacked[FRAGMENTS_N];
    [[unroll]] for (uint j = 0u; j < FRAGMENTS_N; j++)
        lacked[j] = SUM_MATRIX(0);
#endif
    LOAD_PANELS(begin)
    STORE_PANELS(0u)
    barrier();
    uint stage = 0u;
    for (uint first = begin; first < last; first += TILE_K) {
        if (first + TILE_K < last) {
            LOAD_PANELS(first + TILE_K)
        }
        [[unroll]] for (uint k = 0u; k < TILE_K; k += MATRIX_K) {
            coopmat<MATRIX_TYPE_A, gl_ScopeSubgroup, MATRIX_M, MATRIX_K, gl_MatrixUseA> a[ROWS];
            coopmat<MATRIX_TYPE_B, gl_ScopeSubgroup, MATRIX_K, MATRIX_N, gl_MatrixUseB> b[FRAGMENTS_N];
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
#if A_MOVED
            [[unroll]] for (uint j = 0u; j < FRAGMENTS_N; j++)
                lacked[j] = coopMatMulAdd(lacking, b[j], lacked[j]);
#endif
        }
#if MATRIX_CODES && !WHOLE_SUMS
        [[unroll]] for (int r = 0; r < ROWS; r++)
            [[unroll]] for (uint j = 0u; j < FRAGMENTS_N; j++) {
                total[r][j] = total[r][j] + sum[r][j];
                sum[r][j] = SUM_MATRIX(0);
            }
#endif
        stage = STAGE - stage;
        if (first + TILE_K < last) {
            STORE_PANELS(stage)
        }
        barrier();
    }
#if MATRIX_CODES && !WHOLE_SUMS
    [[unroll]] for (int r = 0; r < ROWS; r++)
        [[unroll]] for (uint j = 0u; j < FRAGMENTS_N; j++)
            sum[r][j] = total[r][j];
#endif
#if A_MOVED
    [[unroll]] for (int r = 0; r < ROWS; r++)
        [[unroll]] for (uint j = 0u; j < FRAGMENTS_N; j++)
            sum[r][j] = sum[r][j] + lacked[j] + lacked[j];
#endif
    const uint sums = warp * SUMS, lane = gl_SubgroupInvocationID;
    COLUMNS_BEGIN
    STORE_ROW(0)
#if ROWS > 1
    STORE_ROW(1)
#endif
#if ROWS > 2
    STORE_ROW(2)
    STORE_ROW(3)
#endif
#if COLUMNS
    const uint entry = warp_m % 64u / WARP_M * (LANES / COLUMN_LANES) + lane / COLUMN_LANES;
    COLUMNS_MERGE(entry, COLUMN_ENTRIES, 64u / COLUMN_ENTRIES)
    [[unroll]] for (uint h = 0u; h < COLUMN_FOURS; h++) {
        const uint m = m0 + warp_m, n = n0 + warp_n + (h * COLUMN_LANES + lane % COLUMN_LANES) * 4u;
        if (WHOLE || (m < M && n < N))
            if (entry == 0u)
                COLUMNS_STORE(h, (part * M + m) / 64u, n);
    }
#endif
    //@last
}
