// Products by matrix units and nothing else: `binade bench --suite peak`. Each subgroup, a work-group of its own, has eight
// sums of m x n, to which A B is added and from which it is taken, in turns; operands stay in registers. Whole numbers, so that
// the result is known: 8 A B + 0 + 1 + ... + 7. Parameters: rounds of 16 steps; from word 4 on A (m rows of k), -A,
// B' (n rows of k), two elements to a word.
#ifndef BD_M // so that the skeleton compiles alone
#define BD_LOCAL_X 32
#define BD_M 16
#define BD_N 16
#define BD_K 16
#define BD_BF16 0
#endif
layout(local_size_x = BD_LOCAL_X) in;
layout(std430, set = 0, binding = 0) readonly buffer Parameters { uint parameters[]; };
layout(std430, set = 0, binding = 1) writeonly buffer Results { float results[]; };

#if defined GL_KHR_cooperative_matrix && BD_FLOAT16 // glslang 13
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#if BD_BF16
#extension GL_EXT_shader_explicit_arithmetic_types_int16 : require
#define ELEMENT uint16_t // see backends/vulkan/spirv.c
#else
#define ELEMENT float16_t
#endif
#define LEFT coopmat<ELEMENT, gl_ScopeSubgroup, BD_M, BD_K, gl_MatrixUseA>
#define RIGHT coopmat<ELEMENT, gl_ScopeSubgroup, BD_K, BD_N, gl_MatrixUseB>
#define SUM coopmat<float, gl_ScopeSubgroup, BD_M, BD_N, gl_MatrixUseAccumulator>

#define STEP(a)                                                                                                        \
    x0 = coopMatMulAdd(a, b, x0), x1 = coopMatMulAdd(a, b, x1), x2 = coopMatMulAdd(a, b, x2);                          \
    x3 = coopMatMulAdd(a, b, x3), x4 = coopMatMulAdd(a, b, x4), x5 = coopMatMulAdd(a, b, x5);                          \
    x6 = coopMatMulAdd(a, b, x6), x7 = coopMatMulAdd(a, b, x7)

void main()
{
    const uint rounds = parameters[0], row = BD_K / 2, left = BD_M * BD_K / 2;
    LEFT a; // one a declaration: in glslang 13 all but the first of several lose their use
    LEFT c;
    RIGHT b;
    coopMatLoad(a, parameters, 4, row, gl_CooperativeMatrixLayoutRowMajor);
    coopMatLoad(c, parameters, 4 + left, row, gl_CooperativeMatrixLayoutRowMajor);
    coopMatLoad(b, parameters, 4 + 2 * left, row, gl_CooperativeMatrixLayoutColumnMajor);
    SUM x0 = SUM(0.0); SUM x1 = SUM(1.0); SUM x2 = SUM(2.0); SUM x3 = SUM(3.0);
    SUM x4 = SUM(4.0); SUM x5 = SUM(5.0); SUM x6 = SUM(6.0); SUM x7 = SUM(7.0);
    for (uint round = 0u; round < rounds; round++) {
        STEP(a); STEP(c); STEP(a); STEP(c); STEP(a); STEP(c); STEP(a); STEP(c);
        STEP(a); STEP(c); STEP(a); STEP(c); STEP(a); STEP(c); STEP(a); STEP(c);
    }
    STEP(a);
    coopMatStore(x0 + x1 + x2 + x3 + x4 + x5 + x6 + x7, results, gl_WorkGroupID.x * (BD_M * BD_N), BD_N,
                 gl_CooperativeMatrixLayoutRowMajor);
}
#else
void main() {}
#endif
