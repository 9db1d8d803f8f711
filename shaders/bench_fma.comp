// Multiply-adds and nothing else: `binade bench --suite peak`. Each invocation has eight values of its own, so that a unit's
// latency is hidden. With a = -1, x becomes b - x, then x again: whole numbers, exact in every format, so that the result is
// known. Parameters: rounds of 16 steps, a, b, base. BD_DOT: x counts from `base`, whose bytes are multiplied by a's and
// taken off again by b.
#ifndef BD_WIDTH // so that the skeleton compiles alone
#define BD_LOCAL_X 64
#define BD_WIDTH 1 // elements of a value
#define BD_F32 1   // one of BD_F32, BD_F16 and BD_DOT: four INT8 in a word, summed in INT32
#endif
layout(local_size_x = BD_LOCAL_X) in;
layout(std430, set = 0, binding = 0) readonly buffer Parameters { uint parameters[]; };
layout(std430, set = 0, binding = 1) writeonly buffer Results { float results[]; };

#if defined BD_DOT
// SPIR-V's own instruction, since GL_EXT_integer_dot_product needs glslang 15.4: OpSDotKHR, format PackedVectorFormat4x8Bit.
#extension GL_EXT_spirv_intrinsics : require
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6018, 6019], id = 4450)
int bd_dot(int a, int b, spirv_literal int packed_format);
#define VALUE int
#define START(x) (int(parameters[3]) + int(x))
#define FACTOR(bits) int(bits)
#define FMA(x, a, b) (bd_dot(x, a, 0) + (b))
#define TOTAL(x) float((x) - int(parameters[3]))
#else
#if defined BD_F16 && BD_WIDTH == 2
#define VALUE f16vec2
#define TOTAL(v) (float((v).x) + float((v).y))
#elif defined BD_F16
#define VALUE float16_t
#define TOTAL(v) float(v)
#else
#define VALUE float
#define TOTAL(v) (v)
#endif
#define START(x) VALUE(x)
#define FACTOR(bits) VALUE(uintBitsToFloat(bits))
#define FMA(x, a, b) fma(x, a, b)
#endif

#define STEP                                                                                                           \
    x0 = FMA(x0, a, b), x1 = FMA(x1, a, b), x2 = FMA(x2, a, b), x3 = FMA(x3, a, b);                                    \
    x4 = FMA(x4, a, b), x5 = FMA(x5, a, b), x6 = FMA(x6, a, b), x7 = FMA(x7, a, b)

void main()
{
    const uint i = gl_GlobalInvocationID.x, rounds = parameters[0];
    const VALUE a = FACTOR(parameters[1]), b = FACTOR(parameters[2]);
    const float start = float(i % 16u);
    VALUE x0 = START(start), x1 = START(start + 1.0), x2 = START(start + 2.0), x3 = START(start + 3.0);
    VALUE x4 = START(start + 4.0), x5 = START(start + 5.0), x6 = START(start + 6.0), x7 = START(start + 7.0);
    for (uint round = 0u; round < rounds; round++) {
        STEP; STEP; STEP; STEP; STEP; STEP; STEP; STEP;
        STEP; STEP; STEP; STEP; STEP; STEP; STEP; STEP;
    }
    STEP; // an odd number, or the start would be right
    results[i] = TOTAL(x0) + TOTAL(x1) + TOTAL(x2) + TOTAL(x3) + TOTAL(x4) + TOTAL(x5) + TOTAL(x6) + TOTAL(x7);
}
