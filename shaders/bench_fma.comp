// Multiply-adds and nothing else: `binade bench --suite peak`. Each invocation has eight values of its own, so that a unit's
// latency is hidden. With a = -1, x becomes b - x, then x again: whole numbers, exact in every format, so that the result is
// known. Parameters: rounds of 16 steps, a, b.
#ifndef BD_WIDTH // so that the skeleton compiles alone
#define BD_LOCAL_X 64
#define BD_WIDTH 1  // elements of a value
#define BD_HALVES 0 // 1: of FP16
#endif
layout(local_size_x = BD_LOCAL_X) in;
layout(std430, set = 0, binding = 0) readonly buffer Parameters { uint rounds; float a, b; } parameters;
layout(std430, set = 0, binding = 1) writeonly buffer Results { float results[]; };

#if BD_HALVES && BD_WIDTH == 2
#define VALUE f16vec2
#define TOTAL(v) (float((v).x) + float((v).y))
#elif BD_HALVES
#define VALUE float16_t
#define TOTAL(v) float(v)
#else
#define VALUE float
#define TOTAL(v) (v)
#endif

#define STEP                                                                                                           \
    x0 = fma(x0, a, b), x1 = fma(x1, a, b), x2 = fma(x2, a, b), x3 = fma(x3, a, b);                                    \
    x4 = fma(x4, a, b), x5 = fma(x5, a, b), x6 = fma(x6, a, b), x7 = fma(x7, a, b)

void main()
{
    const uint i = gl_GlobalInvocationID.x, rounds = parameters.rounds;
    const VALUE a = VALUE(parameters.a), b = VALUE(parameters.b);
    const float start = float(i % 16u);
    VALUE x0 = VALUE(start), x1 = VALUE(start + 1.0), x2 = VALUE(start + 2.0), x3 = VALUE(start + 3.0);
    VALUE x4 = VALUE(start + 4.0), x5 = VALUE(start + 5.0), x6 = VALUE(start + 6.0), x7 = VALUE(start + 7.0);
    for (uint round = 0u; round < rounds; round++) {
        STEP; STEP; STEP; STEP; STEP; STEP; STEP; STEP;
        STEP; STEP; STEP; STEP; STEP; STEP; STEP; STEP;
    }
    STEP; // an odd number, or the start would be right
    results[i] = TOTAL(x0) + TOTAL(x1) + TOTAL(x2) + TOTAL(x3) + TOTAL(x4) + TOTAL(x5) + TOTAL(x6) + TOTAL(x7);
}
