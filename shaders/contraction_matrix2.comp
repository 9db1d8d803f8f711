// Contraction of halves by matrix units whose matrices are as large as a work-group's tile (VK_NV_cooperative_matrix2): the driver
// spreads TILE_M x TILE_N sums over the work-group, or over the subgroup that is all of it (SCOPE). An operand that lies in memory
// as it is used is loaded by its layout there, others come through panels. Each invocation stores the sums that it holds.
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
#define ITEMS 128u
#define SCOPE gl_ScopeWorkgroup
#define ROWS 1
#define PIXELS 2
#define TAPS 3
#define A_INNER_K 1
#define A_OCTX(z, o) BD_UINT4(o * K, 0u, 0u, 0u)
#define A_ICTX(i) BD_UINT4(i, 0u, 0u, 0u)
#define A_VALID(o, i) true
#define A_INDEX(o, i) ((o).x + (i).x)
#define A_GET(x) float(x)
#define A_TENSOR 0
#define A_WIDE 0
#define B_INNER_N 1
#define B_INDEX(z, k, n) ((k) * N + (n))
#define B_GET(x) float(x)
#define B_TENSOR ROWS
layout(set = 0, binding = 0) readonly buffer Buffer0 { float16_t b0[]; };
#define B_BUFFER b0
#define STORE_C(row, n, sum)
#endif

layout(local_size_x = ITEMS) in;
//@declare
//@body
//@include shaders/contraction_panels.comp
#if !A_TENSOR || !B_TENSOR
shared uvec4 panels[2u * STAGE];
#endif

// A tensor of rows is [BATCH * outer][inner] or, where k is the outer, [z * K + last][inner]: what is behind `last` is 0. Nothing
// needs to be clamped where all tiles are whole.
const bool WHOLE_K = CHUNK % TILE_K == 0u && K % TILE_K == 0u;
const int FREE = gl_CooperativeMatrixClampModeUndefinedNV, ZEROS = gl_CooperativeMatrixClampModeConstantNV;

#if A_TENSOR == PIXELS
// A box of output pixels, BOX_IMAGES x BOX_ROWS x BOX_COLUMNS, reads at each tap of the window a box of input pixels, for which
// what is outside is 0: padding. Of an input of which every stride-th pixel is read, those of the tap's remainder are the tensor.
#if A_INNER_K
#define BOX TILE_M
#define CHANNELS_A TILE_K
#else
#define BOX TILE_K
#define CHANNELS_A TILE_M
#endif
const uint BOX_COLUMNS = min(OUT_COLUMNS, BOX), BOX_ROWS = min(OUT_ROWS, BOX / BOX_COLUMNS);
const uint BOX_IMAGES = min(IMAGES, BOX / (BOX_COLUMNS * BOX_ROWS));
const uint BOXES_X = CEIL(OUT_COLUMNS, BOX_COLUMNS), BOXES_Y = CEIL(OUT_ROWS, BOX_ROWS), BOXES = CEIL(IMAGES, BOX_IMAGES) * BOXES_Y * BOXES_X;

// The first pixel's image, row and column.
uvec3 box_at(const uint box)
{
    return uvec3(box / (BOXES_X * BOXES_Y) * BOX_IMAGES, box / BOXES_X % BOXES_Y * BOX_ROWS, box % BOXES_X * BOX_COLUMNS);
}

// Of a tap: offsets in rows and columns of strides, and the remainders.
ivec4 tap_at(const uint tap)
{
    const uint y = FLIP != 0 ? WINDOW_ROWS - 1u - tap / WINDOW_COLUMNS : tap / WINDOW_COLUMNS;
    const uint x = FLIP != 0 ? WINDOW_COLUMNS - 1u - tap % WINDOW_COLUMNS : tap % WINDOW_COLUMNS;
    const uint from_y = y + uint(PAD_Y) * (STRIDE_Y - 1u), from_x = x + uint(PAD_X) * (STRIDE_X - 1u);
    return ivec4(int(from_y / STRIDE_Y) - PAD_Y, int(from_x / STRIDE_X) - PAD_X, from_y % STRIDE_Y, from_x % STRIDE_X);
}

tensorLayoutNV<4, ZEROS> pixels()
{
    return setTensorLayoutStrideNV(
        setTensorLayoutDimensionNV(createTensorLayoutNV(4, ZEROS), IMAGES, IN_ROWS / STRIDE_Y, IN_COLUMNS / STRIDE_X, CHANNELS),
        IN_ROWS * IN_COLUMNS * CHANNELS, STRIDE_Y * IN_COLUMNS * CHANNELS, STRIDE_X * CHANNELS, 1u);
}
#endif

#if A_TENSOR == PIXELS
#define CLAMP_A ZEROS
#define KEEP_TENSOR_A const tensorLayoutNV<4, ZEROS> layout_a = pixels();
#if A_INNER_K
#define PLACE(k) const uvec3 at = box_at(m0 / TILE_M); const ivec4 tap = tap_at((k) / CHANNELS); const uint channel = (k) % CHANNELS;
#define TURNED_A
#else
#define PLACE(k) const uvec3 at = box_at((k) / TILE_K); const ivec4 tap = tap_at(m0 / CHANNELS); const uint channel = m0 % CHANNELS;
#define TURNED_A , createTensorViewNV(4, false, 3, 0, 1, 2)
#endif
#define MATRIX_A(k)                                                                                                    \
    PLACE(k)                                                                                                           \
    coopMatLoadTensorNV(a, A_BUFFER, uint(tap.z * int(IN_COLUMNS) + tap.w) * CHANNELS,                                 \
                        sliceTensorLayoutNV(layout_a, at.x, BOX_IMAGES, int(at.y) + tap.x, BOX_ROWS,                   \
                                            int(at.z) + tap.y, BOX_COLUMNS, channel, CHANNELS_A) TURNED_A);
#elif A_TENSOR == ROWS
const int CLAMP_A = WHOLE_K && M % TILE_M == 0u ? FREE : ZEROS;
#if A_INNER_K
#define KEEP_TENSOR_A                                                                                                  \
    const tensorLayoutNV<2, CLAMP_A> layout_a =                                                                        \
        setTensorLayoutStrideNV(setTensorLayoutDimensionNV(createTensorLayoutNV(2, CLAMP_A), BATCH * M, last), K, 1u);
#define MATRIX_A(k) coopMatLoadTensorNV(a, A_BUFFER, 0u, sliceTensorLayoutNV(layout_a, z * M + m0, TILE_M, k, TILE_K));
#else
#define KEEP_TENSOR_A                                                                                                  \
    const tensorLayoutNV<2, CLAMP_A> layout_a = setTensorLayoutDimensionNV(createTensorLayoutNV(2, CLAMP_A), z * K + last, M);
#define MATRIX_A(k)                                                                                                    \
    coopMatLoadTensorNV(a, A_BUFFER, 0u, sliceTensorLayoutNV(layout_a, z * K + (k), TILE_K, m0, TILE_M),               \
                        createTensorViewNV(2, false, 1, 0));
#endif
#else
#define KEEP_TENSOR_A
#if A_INNER_K
#define MATRIX_A(k) coopMatLoad(a, panels, stage, A_STRIDE, gl_CooperativeMatrixLayoutRowMajor);
#else
#define MATRIX_A(k) coopMatLoad(a, panels, stage, A_STRIDE, gl_CooperativeMatrixLayoutColumnMajor);
#endif
#endif

#if B_TENSOR
const int CLAMP_B = WHOLE_K && N % TILE_N == 0u ? FREE : ZEROS;
#if B_TENSOR == TAPS
#define KEEP_TENSOR_B                                                                                                  \
    const tensorLayoutNV<2, CLAMP_B> layout_b =                                                                        \
        setTensorLayoutDimensionNV(createTensorLayoutNV(2, CLAMP_B), WINDOW_ROWS * WINDOW_COLUMNS * N, CHANNELS);
#define MATRIX_B(k)                                                                                                    \
    coopMatLoadTensorNV(b, B_BUFFER, 0u,                                                                               \
                        sliceTensorLayoutNV(layout_b, (k) / CHANNELS * N + n0, TILE_N, (k) % CHANNELS, TILE_K),        \
                        createTensorViewNV(2, false, 1, 0));
#elif B_INNER_N
#define KEEP_TENSOR_B                                                                                                  \
    const tensorLayoutNV<2, CLAMP_B> layout_b = setTensorLayoutDimensionNV(createTensorLayoutNV(2, CLAMP_B), z * K + last, N);
#define MATRIX_B(k) coopMatLoadTensorNV(b, B_BUFFER, 0u, sliceTensorLayoutNV(layout_b, z * K + (k), TILE_K, n0, TILE_N));
#else
#define KEEP_TENSOR_B                                                                                                  \
    const tensorLayoutNV<2, CLAMP_B> layout_b =                                                                        \
        setTensorLayoutStrideNV(setTensorLayoutDimensionNV(createTensorLayoutNV(2, CLAMP_B), BATCH * N, last), K, 1u);
#define MATRIX_B(k)                                                                                                    \
    coopMatLoadTensorNV(b, B_BUFFER, 0u, sliceTensorLayoutNV(layout_b, z * N + n0, TILE_N, k, TILE_K),                 \
                        createTensorViewNV(2, false, 1, 0));
#endif
#else
#define KEEP_TENSOR_B
#if B_INNER_N
#define MATRIX_B(k) coopMatLoad(b, panels, stage + A_SIZE, B_STRIDE, gl_CooperativeMatrixLayoutRowMajor);
#else
#define MATRIX_B(k) coopMatLoad(b, panels, stage + A_SIZE, B_STRIDE, gl_CooperativeMatrixLayoutColumnMajor);
#endif
#endif

// The row of C that a tile's row is; M and above for none. Pixels of whole boxes follow each other.
#if A_TENSOR == PIXELS && A_INNER_K
#define COUNT_M BOXES
uint row_of(const uint m0, const uint row)
{
    if (BOX_IMAGES * BOX_ROWS * BOX_COLUMNS == TILE_M && IMAGES % BOX_IMAGES + OUT_ROWS % BOX_ROWS + OUT_COLUMNS % BOX_COLUMNS == 0u)
        return m0 + row;
    const uvec3 pixel = box_at(m0 / TILE_M) + uvec3(row / (BOX_ROWS * BOX_COLUMNS), row / BOX_COLUMNS % BOX_ROWS, row % BOX_COLUMNS);
    const bool inside = row < BOX_IMAGES * BOX_ROWS * BOX_COLUMNS && pixel.y < OUT_ROWS && pixel.z < OUT_COLUMNS;
    return inside ? (pixel.x * OUT_ROWS + pixel.y) * OUT_COLUMNS + pixel.z : M;
}
#else
#define COUNT_M TILES_M
#define row_of(m0, row) ((m0) + (row))
#endif
#if A_TENSOR == PIXELS && !A_INNER_K
#define PART (CEIL(CEIL(K, TILE_K), CHUNKS) * TILE_K) // whole boxes
#else
#define PART CHUNK
#endif

float store_sum(const in uint row, const in uint column, const in float sum, const in uint m0, const in uint n0, const in uint part)
{
    const uint m = row_of(m0, row), n = n0 + column;
    if (m < M && n < N)
        STORE_C(part * M + m, n, sum);
    return sum;
}

void main()
{
    const uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x, item = gl_LocalInvocationID.x;
    if (group >= COUNT_M * TILES_N * BATCH * CHUNKS)
        return;
    const uint n0 = group % TILES_N * TILE_N, m0 = group / TILES_N % COUNT_M * TILE_M;
    const uint part = BATCH * CHUNKS == 1u ? 0u : group / (TILES_N * COUNT_M), z = part % BATCH;
    // Of a whole sum the compiler is to know how many steps it has.
    const uint begin = CHUNKS == 1u ? 0u : part / BATCH * PART, last = CHUNKS == 1u ? K : min(begin + PART, K);
    coopmat<float, SCOPE, TILE_M, TILE_N, gl_MatrixUseAccumulator> sum =
        coopmat<float, SCOPE, TILE_M, TILE_N, gl_MatrixUseAccumulator>(0.0f);
    KEEP_TENSOR_A
    KEEP_TENSOR_B
    KEEP_A
    KEEP_B
#if !A_TENSOR || !B_TENSOR
    uint stage = 0u;
    LOAD_PANELS(begin)
    STORE_PANELS(stage)
    barrier();
#endif
    for (uint first = begin; first < last; first += TILE_K) {
        coopmat<float16_t, SCOPE, TILE_M, TILE_K, gl_MatrixUseA> a;
        coopmat<float16_t, SCOPE, TILE_K, TILE_N, gl_MatrixUseB> b;
#if !A_TENSOR || !B_TENSOR
        if (first + TILE_K < last) {
            LOAD_PANELS(first + TILE_K)
        }
#endif
        MATRIX_A(first)
        MATRIX_B(first)
        sum = coopMatMulAdd(a, b, sum);
#if !A_TENSOR || !B_TENSOR
        stage = STAGE - stage;
        if (first + TILE_K < last) {
            STORE_PANELS(stage)
        }
        barrier();
#endif
    }
    coopMatPerElementNV(sum, sum, store_sum, m0, n0, part);
}
