// Finds out, when a device is opened, whether matrices of BF16 compute rightly as contractions use them
// (backends/vulkan/probe_matrix.c): C = A B, with both operands in lines along k and across it, from panels in shared memory and, where
// TENSORS, by their layouts in the buffer. The pieces are A, A turned, B, B turned.
#ifndef ITEMS // so that the skeleton compiles alone
#define ITEMS 128u
#define SCOPE gl_ScopeWorkgroup
#define MATRIX_M 32u
#define MATRIX_N 32u
#define MATRIX_K 16u
#define TENSORS 1
#endif
#define A_SIZE (MATRIX_M * MATRIX_K / 8u)
#define B_SIZE (MATRIX_K * MATRIX_N / 8u)
#define PIECES (2u * (A_SIZE + B_SIZE))

layout(local_size_x = ITEMS) in;
layout(set = 0, binding = 0) readonly buffer B0 { uvec4 pieces[]; };
layout(set = 0, binding = 1) readonly buffer B1 { uint16_t numbers[]; }; // the same
layout(set = 0, binding = 2) writeonly buffer B2 { float sums[]; };
shared uvec4 panels[PIECES];

#define SUM coopmat<float, SCOPE, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>
#define STORE(number)                                                                                                  \
    coopMatStore(coopMatMulAdd(a, b, SUM(0.0f)), sums, (number) * MATRIX_M * MATRIX_N, MATRIX_N,                        \
                 gl_CooperativeMatrixLayoutRowMajor);
#define SLICE(rows, columns)                                                                                           \
    sliceTensorLayoutNV(setTensorLayoutDimensionNV(createTensorLayoutNV(2), rows, columns), 0u, rows, 0u, columns)
#define TURNED createTensorViewNV(2, false, 1, 0)

void main()
{
    coopmat<uint16_t, SCOPE, MATRIX_M, MATRIX_K, gl_MatrixUseA> a; // see backends/vulkan/spirv.c
    coopmat<uint16_t, SCOPE, MATRIX_K, MATRIX_N, gl_MatrixUseB> b;
    for (uint i = gl_LocalInvocationID.x; i < PIECES; i += ITEMS)
        panels[i] = pieces[i];
    barrier();
    coopMatLoad(a, panels, 0u, MATRIX_K / 8u, gl_CooperativeMatrixLayoutRowMajor);
    coopMatLoad(b, panels, 2u * A_SIZE, MATRIX_N / 8u, gl_CooperativeMatrixLayoutRowMajor);
    STORE(0u)
    coopMatLoad(a, panels, A_SIZE, MATRIX_M / 8u, gl_CooperativeMatrixLayoutColumnMajor);
    coopMatLoad(b, panels, 2u * A_SIZE + B_SIZE, MATRIX_K / 8u, gl_CooperativeMatrixLayoutColumnMajor);
    STORE(1u)
#if TENSORS
    coopMatLoadTensorNV(a, numbers, 0u, SLICE(MATRIX_M, MATRIX_K));
    coopMatLoadTensorNV(b, numbers, 16u * A_SIZE, SLICE(MATRIX_K, MATRIX_N));
    STORE(2u)
    coopMatLoadTensorNV(a, numbers, 8u * A_SIZE, SLICE(MATRIX_K, MATRIX_M), TURNED);
    coopMatLoadTensorNV(b, numbers, 16u * A_SIZE + 8u * B_SIZE, SLICE(MATRIX_N, MATRIX_K), TURNED);
    STORE(3u)
#endif
}
