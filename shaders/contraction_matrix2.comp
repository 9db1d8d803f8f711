// Contraction by matrix units whose matrices are as large as a work-group's tile (VK_NV_cooperative_matrix2), of operands that halves or
// BF16 hold: the driver spreads TILE_M x TILE_N sums over the work-group, or over the subgroup that is all of it (SCOPE). An operand that
// lies in memory as it is used is loaded by its layout there, others come through panels. Each invocation stores the sums that it holds.
#ifndef TILE_M // so that the skeleton compiles alone
#define MATRIX_CODES 0
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
#define B_TENSOR 1
#define B_CODES 0
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

#if A_TENSOR
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
#if B_INNER_N
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

float store_sum(const in uint row, const in uint column, const in float sum, const in uint m0, const in uint n0, const in uint part)
{
    const uint m = m0 + row, n = n0 + column;
    if (m < M && n < N)
        STORE_C(part * M + m, n, sum);
    return sum;
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
        coopmat<MATRIX_TYPE, SCOPE, TILE_M, TILE_K, gl_MatrixUseA> a;
        coopmat<MATRIX_TYPE, SCOPE, TILE_K, TILE_N, gl_MatrixUseB> b;
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
    //@last
}
