// What the contractions by matrix units share: how their operands come through panels in shared memory. A panel holds TILE_K steps
// of an operand in pieces of eight halves or BF16, in the order in which the operand lies in memory; the next one is loaded while
// one is multiplied. Where an operand's bytes stand for halves (A_CODES, B_CODES), eight of them are loaded, and become halves when they
// are stored; where bytes are multiplied as they are (MATRIX_CODES) a piece is of eight bytes. ITEMS invocations take part, `panels` is an array of pieces. An operand of which matrices are loaded as they are (A_TENSOR,
// B_TENSOR) has no panel.
#define CEIL(a, b) (((a) + (b) - 1u) / (b))
#define TILES_M CEIL(M, TILE_M)
#define TILES_N CEIL(N, TILE_N)

// A panel's lines, the pieces of each, and the distance of lines: a piece more, against bank conflicts; of bytes two, since matrices are loaded
// from multiples of 16 bytes.
#if MATRIX_CODES
#define PIECE_TYPE uvec2
#define PAD 2u
#else
#define PIECE_TYPE uvec4
#define PAD 1u
#endif
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
#define A_STRIDE (A_PIECES + PAD)
#define B_STRIDE (B_PIECES + PAD)
#define A_SIZE (A_TENSOR != 0 ? 0u : A_LINES * A_STRIDE)
#define B_SIZE (B_TENSOR != 0 ? 0u : B_LINES * B_STRIDE)
#define STAGE (A_SIZE + B_SIZE)
#define LOADS_A CEIL(A_LINES * A_PIECES, ITEMS)
#define LOADS_B CEIL(B_LINES * B_PIECES, ITEMS)

// Matrices of uint16_t become matrices of BF16 (backends/vulkan/spirv.c), whose bits are a float's upper ones.
#if MATRIX_BF16
#define MATRIX_TYPE uint16_t
#else
#define MATRIX_TYPE float16_t
#endif
#if !MATRIX_CODES
#define MATRIX_TYPE_A MATRIX_TYPE
#define MATRIX_TYPE_B MATRIX_TYPE
#define SUM_TYPE float
#define WHOLE_SUMS 0
#define A_MOVED 0
#endif

uint pack(const float low, const float high)
{
#if MATRIX_BF16
    return (floatBitsToUint(low) >> 16u) | (floatBitsToUint(high) & 0xffff0000u);
#else
    return bd_encode_f16(low) | (bd_encode_f16(high) << 16u);
#endif
}

#if A_CODES || B_CODES
// A pair of the four codes in a word: bytes 0 and 1, or 2 and 3, each the lower one of 16 bits.
uint pair_of(const uint codes, const uint pair)
{
    const uint both = codes >> (pair * 16u);
    return (both & 0xffu) | ((both & 0xff00u) << 8u);
}
vec2 decode2(const uint halves)
{
    return vec2(bd_decode_f16(halves), bd_decode_f16(halves >> 16u));
}
// Whole numbers: 1024 + 128 + the number is a half whose last bits are the number's, but for the sign's. `zero` is what stands for 0
// there, twice.
uint halves_of_whole(const uint codes, const uint pair, const uint zero)
{
    const vec2 whole = decode2(pair_of(codes ^ 0x80808080u, pair) | 0x64006400u) - decode2(zero);
    return bd_encode2_f16(whole.x, whole.y);
}
// A float of up to 8 bits, 5 of them exponent: in a half's place its exponent counts from another power of two, by which `scale`
// (a half, twice) multiplies it, exactly. What is from `special` on is made infinite or NaN by the bits of `nonfinite`.
uint halves_of_float(const uint codes, const uint pair, const uint exponent, const uint mantissa, const uint scale,
                     const uint special, const uint nonfinite)
{
    const uint size = exponent + mantissa, both = pair_of(codes, pair), magnitude = both & ((1u << size) - 1u) * 0x10001u;
    const uint over = ((magnitude + ((1u << size) - special) * 0x10001u) >> size) & 0x10001u;
    const uint placed = magnitude << (10u - mantissa);
    const vec2 scaled = decode2(placed) * decode2(scale);
    const uint finite = bd_encode2_f16(scaled.x, scaled.y) & ~(over * 0xffffu);
    return finite | (placed & over * 0xffffu) | over * nonfinite | ((both << (15u - size)) & 0x80008000u);
}
// E5M2 is the upper half of a half.
uint halves_of_f8e5m2(const uint codes, const uint pair)
{
    return pair_of(codes, pair) << 8u;
}
#define HALVES(halves, codes) uvec4(halves(codes.x, 0u), halves(codes.x, 1u), halves(codes.y, 0u), halves(codes.y, 1u))
#endif

// What is loaded of eight elements, and what of 0.
#if A_CODES
#define LOADED_A uvec2
#define NOTHING_A uvec2(A_ZERO)
#define STORED_A(loaded) HALVES(A_HALVES, loaded)
#elif MATRIX_CODES
#define LOADED_A uvec2
#define NOTHING_A uvec2(A_ZERO)
#define STORED_A(loaded) loaded
#else
#define LOADED_A uvec4
#define NOTHING_A uvec4(0u)
#define STORED_A(loaded) loaded
#endif
#if B_CODES
#define LOADED_B uvec2
#define NOTHING_B uvec2(B_ZERO)
#define STORED_B(loaded) HALVES(B_HALVES, loaded)
#elif MATRIX_CODES
#define LOADED_B uvec2
#define NOTHING_B uvec2(B_ZERO)
#define STORED_B(loaded) loaded
#else
#define LOADED_B uvec4
#define NOTHING_B uvec4(0u)
#define STORED_B(loaded) loaded
#endif

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

LOADED_A piece_a(const uint i, const uint item, const uint z, const uint m0, const uint first, const uint last, const uvec4 row)
{
#if A_INNER_K
    const uint m = m0 + ELEMENT(i) / A_PIECES, k = first + ELEMENT(i) % A_PIECES * 8u;
#else
    const uint m = m0 + ELEMENT(i) % A_PIECES * 8u, k = first + ELEMENT(i) / A_PIECES;
#endif
    LOADED_A piece = NOTHING_A;
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

LOADED_B piece_b(const uint i, const uint item, const uint z, const uint n0, const uint first, const uint last)
{
#if B_INNER_N
    const uint k = first + ELEMENT(i) / B_PIECES, n = n0 + ELEMENT(i) % B_PIECES * 8u;
#else
    const uint n = n0 + ELEMENT(i) / B_PIECES, k = first + ELEMENT(i) % B_PIECES * 8u;
#endif
    LOADED_B piece = NOTHING_B;
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

// `next_a`, `next_b`: what an invocation loads of the next panel. `row`: what it knows of A from panel to panel.
#if A_TENSOR
#define KEEP_A
#define LOAD_A(first)
#define STORE_A(stage)
#else
#define KEEP_A                                                                                                         \
    LOADED_A next_a[LOADS_A];                                                                                          \
    uvec4 row[LOADS_A];                                                                                                \
    [[unroll]] for (uint i = 0u; i < LOADS_A; i++)                                                                     \
        row[i] = A_ROW(i);
#define LOAD_A(first)                                                                                                  \
    [[unroll]] for (uint i = 0u; i < LOADS_A; i++)                                                                     \
        if (ELEMENT(i) < A_LINES * A_PIECES)                                                                           \
            next_a[i] = piece_a(i, item, z, m0, first, last, row[i]);
#define STORE_A(stage)                                                                                                 \
    [[unroll]] for (uint i = 0u; i < LOADS_A; i++)                                                                     \
        if (ELEMENT(i) < A_LINES * A_PIECES)                                                                           \
            panels[(stage) + ELEMENT(i) / A_PIECES * A_STRIDE + ELEMENT(i) % A_PIECES] = STORED_A(next_a[i]);
#endif
#if B_TENSOR
#define KEEP_B
#define LOAD_B(first)
#define STORE_B(stage)
#else
#define KEEP_B LOADED_B next_b[LOADS_B];
#define LOAD_B(first)                                                                                                  \
    [[unroll]] for (uint i = 0u; i < LOADS_B; i++)                                                                     \
        if (ELEMENT(i) < B_LINES * B_PIECES)                                                                           \
            next_b[i] = piece_b(i, item, z, n0, first, last);
#define STORE_B(stage)                                                                                                 \
    [[unroll]] for (uint i = 0u; i < LOADS_B; i++)                                                                     \
        if (ELEMENT(i) < B_LINES * B_PIECES)                                                                           \
            panels[(stage) + A_SIZE + ELEMENT(i) / B_PIECES * B_STRIDE + ELEMENT(i) % B_PIECES] = STORED_B(next_b[i]);
#endif
#define LOAD_PANELS(first) LOAD_A(first) LOAD_B(first)
#define STORE_PANELS(stage) STORE_A(stage) STORE_B(stage)
