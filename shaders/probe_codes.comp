// Finds out, when a device is opened, whether cooperative matrices of 8 bits multiply rightly as contraction_matrix.comp uses them, and how many
// bits sums of floats keep (backends/vulkan/probe_codes.c, backends/probe_codes.c): C = A B, 64x64 by 64x16, once with both operands in
// lines along k, once across it. The pieces are A, A turned, B, B turned, eight bytes each; the sums C twice.
#ifndef LANES // so that the skeleton compiles alone
#define LANES 32u
#define MATRIX_M 16u
#define MATRIX_N 16u
#define MATRIX_K 32u
#define MATRIX_TYPE_A int8_t
#define MATRIX_TYPE_B int8_t
#define SUM_TYPE int
#endif
#define M 64u
#define N 16u
#define K 64u
#define A_SIZE (M * K / 8u)
#define B_SIZE (K * N / 8u)
#define PIECES (2u * (A_SIZE + B_SIZE))

layout(local_size_x = LANES) in;
layout(set = 0, binding = 0) readonly buffer B0 { uvec2 pieces[]; };
layout(set = 0, binding = 1) writeonly buffer B1 { uint sums[]; };
shared uvec2 panels[PIECES];

#define SUM coopmat<SUM_TYPE, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>

void main()
{
    for (uint i = gl_LocalInvocationID.x; i < PIECES; i += LANES)
        panels[i] = pieces[i];
    barrier();
    coopmat<MATRIX_TYPE_A, gl_ScopeSubgroup, MATRIX_M, MATRIX_K, gl_MatrixUseA> a;
    coopmat<MATRIX_TYPE_B, gl_ScopeSubgroup, MATRIX_K, MATRIX_N, gl_MatrixUseB> b;
    for (uint m = 0u; m < M; m += MATRIX_M)
        for (uint n = 0u; n < N; n += MATRIX_N) {
            SUM along = SUM(0);
            SUM across = SUM(0);
            for (uint k = 0u; k < K; k += MATRIX_K) {
                coopMatLoad(a, panels, (m * K + k) / 8u, K / 8u, gl_CooperativeMatrixLayoutRowMajor);
                coopMatLoad(b, panels, 2u * A_SIZE + B_SIZE + (n * K + k) / 8u, K / 8u, gl_CooperativeMatrixLayoutColumnMajor);
                along = coopMatMulAdd(a, b, along);
                coopMatLoad(a, panels, A_SIZE + (k * M + m) / 8u, M / 8u, gl_CooperativeMatrixLayoutColumnMajor);
                coopMatLoad(b, panels, 2u * A_SIZE + (k * N + n) / 8u, N / 8u, gl_CooperativeMatrixLayoutRowMajor);
                across = coopMatMulAdd(a, b, across);
            }
            coopMatStore(along, sums, m * N + n, N, gl_CooperativeMatrixLayoutRowMajor);
            coopMatStore(across, sums, M * N + m * N + n, N, gl_CooperativeMatrixLayoutRowMajor);
        }
}
