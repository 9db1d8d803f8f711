/* Products by matrix units and nothing else, on NVIDIA through inline PTX: `binade bench --suite peak`. Each subgroup, a
 * work-group of its own, has eight sums of m x n, to which A B is added and from which it is taken, in turns; operands stay in
 * registers. Whole numbers, so that the result is known: 8 A B + 0 + 1 + ... + 7. Parameters: rounds of 16 steps; from word 4
 * on A (rows of 16), -A, B' (rows of 16), two elements to a word. mma.sync's fragments: PTX ISA, "Matrix Fragments for
 * mma.m16n8k16 with floating point type". */
#ifndef BD_TYPE /* so that the skeleton compiles alone */
#define BD_LOCAL 32, 1, 1
#define BD_TYPE "f16" /* of the operands; or "bf16" */
#endif

static inline void bd_multiply_add(float x[4], const uint a[4], const uint b[2])
{
#if BD_NVIDIA
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." BD_TYPE "." BD_TYPE ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(x[0]), "+f"(x[1]), "+f"(x[2]), "+f"(x[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

#define STEP(a)                                                                                                        \
    bd_multiply_add(x0, a, b); bd_multiply_add(x1, a, b); bd_multiply_add(x2, a, b); bd_multiply_add(x3, a, b);        \
    bd_multiply_add(x4, a, b); bd_multiply_add(x5, a, b); bd_multiply_add(x6, a, b); bd_multiply_add(x7, a, b)

__kernel __attribute__((reqd_work_group_size(BD_LOCAL))) void binade(__global const uint *parameters, __global float *out,
                                                                     ulong unused0, ulong unused1)
{
    const uint rounds = parameters[0], lane = (uint)get_local_id(0), row = lane >> 2, word = lane & 3u;
    __global const uint *plus = parameters + 4 + row * 8 + word, *minus = plus + 16 * 8, *right = minus + 16 * 8;
    const uint a[4] = { plus[0], plus[8 * 8], plus[4], plus[8 * 8 + 4] };
    const uint c[4] = { minus[0], minus[8 * 8], minus[4], minus[8 * 8 + 4] };
    const uint b[2] = { right[0], right[4] };
    float x0[4] = { 0, 0, 0, 0 }, x1[4] = { 1, 1, 1, 1 }, x2[4] = { 2, 2, 2, 2 }, x3[4] = { 3, 3, 3, 3 };
    float x4[4] = { 4, 4, 4, 4 }, x5[4] = { 5, 5, 5, 5 }, x6[4] = { 6, 6, 6, 6 }, x7[4] = { 7, 7, 7, 7 };
    for (uint round = 0; round < rounds; round++) {
        STEP(a); STEP(c); STEP(a); STEP(c); STEP(a); STEP(c); STEP(a); STEP(c);
        STEP(a); STEP(c); STEP(a); STEP(c); STEP(a); STEP(c); STEP(a); STEP(c);
    }
    STEP(a);
    __global float *result = out + get_group_id(0) * 128 + row * 8 + word * 2;
    for (int i = 0; i < 4; i++)
        result[(i >> 1) * 64 + (i & 1)] = x0[i] + x1[i] + x2[i] + x3[i] + x4[i] + x5[i] + x6[i] + x7[i];
}
