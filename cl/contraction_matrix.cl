/* Contraction by NVIDIA's tensor cores, of operands that halves or BF16 (MATRIX_BF16) hold, through inline PTX: a work-group computes
 * TILE_M x TILE_N elements of C through panels of TILE_K steps in local memory, and copies them ahead of the product. Panels lie in
 * pieces of eight numbers of 16 bits, in the order in which their operand lies in memory, turned against bank conflicts. Where an
 * operand's bytes stand for halves (A_CODES, B_CODES), eight of them are loaded while the panel before is multiplied, and become
 * halves on their way to local memory. The products are done
 *  - by warps, each WARP_M x WARP_N elements, with mma.sync, from registers that ldmatrix fills;
 *  - or, if WARPGROUP, by groups of four warps, each 64 x TILE_N elements, with wgmma, from local memory (Hopper). What only sm_90a
 *    has stands behind "//+": the backend builds the kernel without it, and its PTX a second time with it. Unless codes become halves
 *    on the way, COPIERS work-items more do nothing but copy, so that addresses cost the others no time; who waits for whom
 *    a barrier in local memory tells for each stage, one when it is full and one when it is empty. With TENSOR_MAPS it is
 *    one of them that has the copy engine bring boxes of 64 lines of 64 numbers (tensor_map.h), turned in the same way.
 * The sums go back through local memory, so that neighbours store neighbours; an item's lie in the same columns all along, and it may sum
 * them (print_columns.c). */
#ifndef BD_ARGUMENTS /* so that the skeleton compiles alone */
#define BD_ARGUMENTS __global ushort *b0
#define BD_BUFFERS b0
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
#define ROWS 2
#define WARPGROUP 0
#define COPIERS 0u
#define TENSOR_MAPS 0
#define STAGES 3
#define FIRST(panel) (begin + (panel) * TILE_K)
#define CACHED 0
#define LONG_RESULTS 0
#define MATRIX_BF16 0
#define A_INNER_K 1
#define A_OCTX(z, o) BD_UINT4(o * K, 0u, 0u, 0u)
#define A_ICTX(i) BD_UINT4(i, 0u, 0u, 0u)
#define A_VALID(o, i) true
#define A_INDEX(o, i) ((o).x + (i).x)
#define A_GET(x) BD_LOAD_f16(b0, x)
#define A_WIDE 1
#define A_CODES 0
#define A_PIECE(x) (b0 + (x))
#define B_INNER_N 1
#define B_INDEX(z, k, n) ((k) * N + (n))
#define B_GET(x) BD_LOAD_f16(b0, x)
#define B_WIDE 1
#define B_CODES 1
#define B_ZERO 0x80808080u
#define B_HALVES(codes, pair) halves_of_whole(codes, pair, 0x64006400u)
#define B_PIECE(x) (b0 + (x))
#define STORE_WIDTH 1
#define STORE_C(row, n, sum) b0[(row) * N + (n)] = (ushort)(sum)
#define COLUMNS 0
#define COLUMN_FOURS 1u
#define COLUMN_NUMBERS 0u
#define COLUMNS_BEGIN
#define COLUMNS_VALUES
#define COLUMNS_ADD(h, first)
#endif

#define CEIL(a, b) (((a) + (b) - 1u) / (b))
#define LANES 32u
#define WARPS_N (TILE_N / WARP_N)
#define WARPS (TILE_M / WARP_M * WARPS_N)
#define MULTIPLIERS (WARPS * LANES)
#define ITEMS (MULTIPLIERS + COPIERS)
#define COPYING (COPIERS > 0u ? COPIERS : MULTIPLIERS)
#define TILES_M CEIL(M, TILE_M)
#define TILES_N CEIL(N, TILE_N)
#if WARPGROUP
#define AHEAD (STAGES - 2) /* while a panel is multiplied the one before it may be, too */
#define PANEL_ALIGNMENT 1024
#else
#define AHEAD (STAGES - 1)
#define PANEL_ALIGNMENT 128
/* mma.sync m16n8k16; columns of B go in pairs of fragments, as ldmatrix loads them. */
#define PAIRS (WARP_N / 16u)
#endif

#define LOADING (A_CODES || B_CODES) /* turns that codes are on their way */
#define DELAY (COPIERS > 0u ? 0u : AHEAD + LOADING)

/* A panel's lines, and the pieces of each. */
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
#define A_SIZE (A_LINES * A_PIECES)
#define B_SIZE (B_LINES * B_PIECES)
#define STAGE (A_SIZE + B_SIZE)
#define LOADS_A CEIL(A_SIZE, COPYING)
#define LOADS_B CEIL(B_SIZE, COPYING)
/* Where along k a piece lies in the panel from step `first` on; in B also its column. */
#if A_INNER_K
#define A_STEP(first, element) ((first) + (element) % A_PIECES * 8u)
#define A_OUTER(i, k) row[i]
#define A_INNER(i, k) A_ICTX(k)
#else
#define A_STEP(first, element) ((first) + (element) / A_PIECES)
#define A_OUTER(i, k) A_OCTX(z, k)
#define A_INNER(i, k) row[i]
#endif
#if B_INNER_N
#define B_STEP(first, element) ((first) + (element) / B_PIECES)
#define B_COLUMN(element) (N % TILE_N == 0u ? n0 + (element) % B_PIECES * 8u : min(n0 + (element) % B_PIECES * 8u, N - 8u))
#else
#define B_STEP(first, element) ((first) + (element) % B_PIECES * 8u)
#define B_COLUMN(element) (N % TILE_N == 0u ? n0 + (element) / B_PIECES : min(n0 + (element) / B_PIECES, N - 1u))
#endif
/* Whether a step may lie behind the last one. */
#define EVEN (K % TILE_K == 0u && CHUNK % TILE_K == 0u)
#define EXISTS(k) (EVEN || (k) < last)
/* Sixteen rows of each warp's sums, in fours, padded so that stores of pairs share no bank. */
#define SUM_ROW (WARP_N + 8u)
#define SUMS (16u * SUM_ROW / 4u)
#define LARGER(a, b) ((a) > (b) ? (a) : (b))
#define COPIES_APART (COPIERS > 0u)
#define BARRIERS (COPIERS > 0u ? STAGES : 0u) /* two of eight bytes a stage */
/* Where the result has so many columns of tiles that work-groups which run together would read nearly all of B, they go
 * down this many tiles first. */
#define BAND (TILES_N > 16u && CHUNKS == 1u && BATCH == 1u ? 8u : 1u)
#define SHARED LARGER(LARGER(STAGES * STAGE + BARRIERS, WARPS * SUMS), COLUMN_NUMBERS * COLUMN_PLACES)
/* Sums of columns: an item's row has COLUMN_LANES items, and each 64 rows of a column COLUMN_ENTRIES. */
#define COLUMN_LANES (WARP_N / 4u / COLUMN_FOURS)
#define COLUMN_ENTRIES (64u / WARP_M * (LANES / COLUMN_LANES))
#define COLUMN_PLACES (MULTIPLIERS * COLUMN_FOURS)
#define COLUMN_PLACE(h, number, entry)                                                                                \
    ((volatile __local float4 *)panels)[(number) * COLUMN_PLACES +                                                    \
                                        ((entry) * (TILE_M / 64u) + warp_m / 64u) * (TILE_N / 4u) + warp_n / 4u +      \
                                        (h) * COLUMN_LANES + lane % COLUMN_LANES]
#define COLUMN_SHOW(h, number, entry, four) COLUMN_PLACE(h, number, entry) = four
#define COLUMN_SEE(h, number, entry) COLUMN_PLACE(h, number, entry)

/* Where piece q of a line lies: eight lines' q-th pieces share no bank, 128 bytes being all the banks. wgmma reads the same
 * patterns ("swizzles" of 128, 64 and 32 bytes), but of lines longer than 128 bytes each 128 bytes of all lines first. */
#define TURN(line, pieces) ((pieces) >= 8u ? (line) & 7u : (pieces) == 4u ? (line) >> 1 & 3u : (line) >> 2 & 1u)
#if WARPGROUP
#define PLACE(line, q, pieces)                                                                  \
    ((pieces) > 8u ? (q) / 8u * (TILE_K * 8u) + (line) * 8u + (((q) & 7u) ^ TURN(line, pieces)) \
                   : (line) * (pieces) + ((q) ^ TURN(line, pieces)))
#else
#define PLACE(line, q, pieces) ((line) * (pieces) + ((q) ^ TURN(line, pieces)))
#endif

/* A local address as PTX has it. */
#define LOCAL(pointer) ((uint)(size_t)(pointer))
/* CACHED: the first-level cache keeps what is read again, as a convolution's pixels are, once for each tap; weights pass it by. */
#define COPY_CACHED(to, from, bytes) \
    asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;" : : "r"(to), "l"(from), "r"(bytes) : "memory")
#define COPY(to, from, bytes) \
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" : : "r"(to), "l"(from), "r"(bytes) : "memory")
#if CACHED
#define COPY_A COPY_CACHED
#else
#define COPY_A COPY
#endif
#if WARPGROUP
/* A matrix in local memory as wgmma is told of it: address, distances of its parts (in 16 bytes each), pattern. */
#define MATRIX(address, leading, stride, pattern)                                                          \
    ((ulong)(((address) & 0x3ffffu) >> 4) | (ulong)(leading) << 16 | (ulong)(stride) << 32 | (ulong)(pattern) << 62)
#define PATTERN(pieces) ((pieces) >= 8u ? 1u : (pieces) == 4u ? 2u : 3u)
#define ASM_NEWER(text) asm volatile("//+" text "\n" : : : "memory")
/* A barrier of a stage: its phases end when all of `count` have arrived, and are even and odd by turns. */
#define FULL(stage) (barriers + (stage) * 16u)
#define EMPTY(stage) (FULL(stage) + 8u)
#define BARRIER_BEGIN(at, count) asm volatile("mbarrier.init.shared.b64 [%0], %1;" : : "r"(at), "r"(count) : "memory")
#define ARRIVE(at)                                                                                                     \
    asm volatile("{ .reg .b64 state; mbarrier.arrive.shared.b64 state, [%0]; }" : : "r"(at) : "memory")
#if TENSOR_MAPS
/* The copy engine (PTX ISA 8.0, cp.async.bulk.tensor) counts the bytes that it has written, and so fills a stage. */
#define BOX_BYTES 8192u /* 64 lines of 64 numbers */
#define TENSOR_MAP(side) (maps + maps_first + (side) * 128u)
#define EXPECT(at, bytes)                                                                                              \
    asm volatile("//+{ .reg .b64 state; mbarrier.arrive.expect_tx.shared.b64 state, [%0], %1; }\n" : : "r"(at), "r"(bytes) : "memory")
#define COPY_BOX2(to, map, x, y, barrier)                                                                              \
    asm volatile("//+cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], "            \
                 "[%1, {%2, %3}], [%4];\n" : : "r"(to), "l"(map), "r"(x), "r"(y), "r"(barrier) : "memory")
#define COPY_BOX4(to, map, x, y, z, w, barrier)                                                                        \
    asm volatile("//+cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], "            \
                 "[%1, {%2, %3, %4, %5}], [%6];\n"                                                                       \
                 : : "r"(to), "l"(map), "r"(x), "r"(y), "r"(z), "r"(w), "r"(barrier) : "memory")
#endif
/* When what this item copied has come. */
#define ARRIVE_COPIED(at) asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" : : "r"(at) : "memory")
static inline void await(const uint at, const uint odd)
{
    uint over;
    do
        asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                     : "=r"(over) : "r"(at), "r"(odd) : "memory");
    while (over == 0u);
}
#else
#define LOAD4(r0, r1, r2, r3, at)                                                           \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"        \
                 : "=r"(r0), "=r"(r1), "=r"(r2), "=r"(r3) : "r"(at) : "memory")
#define LOAD4_TURNED(r0, r1, r2, r3, at)                                                    \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"  \
                 : "=r"(r0), "=r"(r1), "=r"(r2), "=r"(r3) : "r"(at) : "memory")
#if MATRIX_BF16
#define FORMATS "bf16.bf16"
#else
#define FORMATS "f16.f16"
#endif
#define MULTIPLY(c, a, b0, b1)                                                                                        \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." FORMATS ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "         \
                 "{%8, %9}, {%0, %1, %2, %3};"                                                                        \
                 : "+f"((c)[0]), "+f"((c)[1]), "+f"((c)[2]), "+f"((c)[3])                                             \
                 : "r"((a)[0]), "r"((a)[1]), "r"((a)[2]), "r"((a)[3]), "r"(b0), "r"(b1))
#endif

/* A number of the units' format, which it is exactly. */
#if MATRIX_BF16
#define BITS(x) (as_uint(x) >> 16)
#else
#define BITS(x) (uint)bd_f16_bits(x)
#endif

#if A_CODES || B_CODES
/* A pair of the four codes in a word: bytes 0 and 1, or 2 and 3, each the lower one of 16 bits, with a byte of `above` over it. */
static inline uint pair_of(const uint codes, const uint pair, const uint above)
{
    uint result;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(result) : "r"(codes), "r"(above), "r"(pair ? 0x4342u : 0x4140u));
    return result;
}
/* Whole numbers: 1024 + 128 + the number is a half whose last bits are the number's, but for the sign's. `zero` is what stands for 0
 * there, twice. */
static inline uint halves_of_whole(const uint codes, const uint pair, const uint zero)
{
    uint result;
    asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(result) : "r"(pair_of(codes ^ 0x80808080u, pair, 0x64646464u)), "r"(zero));
    return result;
}
/* A float of up to 8 bits, 5 of them exponent: in a half's place its exponent counts from another power of two, by which `scale`
 * (a half, twice) multiplies it, exactly. What is from `special` on is made infinite or NaN by the bits of `nonfinite`. */
static inline uint halves_of_float(const uint codes, const uint pair, const uint exponent, const uint mantissa,
                                   const uint scale, const uint special, const uint nonfinite)
{
    const uint size = exponent + mantissa, both = pair_of(codes, pair, 0u), magnitude = both & ((1u << size) - 1u) * 0x10001u;
    const uint over = (magnitude + ((1u << size) - special) * 0x10001u) >> size & 0x10001u;
    uint result;
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(result) : "r"(magnitude << (10u - mantissa)), "r"(scale));
    return result | over * nonfinite | (both << (15u - size) & 0x80008000u);
}
#define PIECE(halves, codes) \
    (uint4)(halves((codes).x, 0u), halves((codes).x, 1u), halves((codes).y, 0u), halves((codes).y, 1u))
/* E4M3, where PTX converts it (from compute capability 8.9 on). */
static inline uint halves_of_f8e4m3(const uint codes, const uint pair)
{
    uint result;
    asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(result) : "h"((ushort)(pair ? codes >> 16 : codes)));
    return result;
}
/* E5M2 is the upper half of a half. */
static inline uint halves_of_f8e5m2(const uint codes, const uint pair)
{
    uint result;
    asm("prmt.b32 %0, %1, 0, %2;" : "=r"(result) : "r"(codes), "r"(pair ? 0x3424u : 0x1404u));
    return result;
}
#endif

//@body

/* Elements whose index along k is `last` or above are 0, those past the ends of m and n are any others: their sums are dropped. */
#if !A_WIDE
static inline uint element_a(BD_ARGUMENTS, const uint z, const uint m, const uint k, const uint last)
{
    if (k >= last)
        return 0u;
#if A_INNER_K
    const uint4 outer = A_OCTX(z, min(m, M - 1u)), inner = A_ICTX(k);
#else
    const uint4 outer = A_OCTX(z, k), inner = A_ICTX(min(m, M - 1u));
#endif
    return A_VALID(outer, inner) ? BITS(A_GET(A_INDEX(outer, inner))) : 0u;
}
#endif

#if !B_WIDE
static inline uint element_b(BD_ARGUMENTS, const uint z, const uint k, const uint n, const uint last)
{
    return k < last ? BITS(B_GET(B_INDEX(z, k, min(n, N - 1u)))) : 0u;
}
#endif

/* Panels from step `first` on: codes that were loaded become halves, all else is copied. `item`: of those who copy. */
#if A_CODES
#define FILLED_A const uint2 *codes_a,
#define FROM_A codes_a,
#elif A_WIDE
#define FILLED_A const uint4 *row,
#define FROM_A row,
#else
#define FILLED_A
#define FROM_A
#endif
#if B_CODES
#define FILLED_B const uint2 *codes_b,
#define FROM_B codes_b,
#else
#define FILLED_B
#define FROM_B
#endif
#define FILLED_FROM FROM_A FROM_B
#if !TENSOR_MAPS
static inline void fill_panels(BD_ARGUMENTS, __local uint4 *panel_a, const uint item, FILLED_A FILLED_B const uint z,
                               const uint m0, const uint n0, const uint first, const uint last)
{
    __local uint4 *panel_b = panel_a + A_SIZE;
#pragma unroll
    for (uint i = 0u; i < LOADS_A; i++) {
        const uint element = item + i * COPYING, line = element / A_PIECES, q = element % A_PIECES;
        if (A_SIZE % COPYING == 0u || element < A_SIZE) {
            __local uint4 *place = panel_a + PLACE(line, q, A_PIECES);
#if A_CODES
            *place = PIECE(A_HALVES, codes_a[i]);
#elif A_WIDE
            const uint k = A_STEP(first, element);
            const uint4 outer = A_OUTER(i, k), inner = A_INNER(i, k);
            const bool valid = EXISTS(k) && A_VALID(outer, inner); /* nothing is read where not */
            COPY_A(LOCAL(place), A_PIECE(A_INDEX(outer, inner)), valid ? 16u : 0u);
#else
            uint piece[4];
#pragma unroll
            for (uint u = 0u; u < 4u; u++)
#if A_INNER_K
                piece[u] = element_a(BD_BUFFERS, z, m0 + line, first + q * 8u + 2u * u, last) |
                           element_a(BD_BUFFERS, z, m0 + line, first + q * 8u + 2u * u + 1u, last) << 16;
#else
                piece[u] = element_a(BD_BUFFERS, z, m0 + q * 8u + 2u * u, first + line, last) |
                           element_a(BD_BUFFERS, z, m0 + q * 8u + 2u * u + 1u, first + line, last) << 16;
#endif
            *place = (uint4)(piece[0], piece[1], piece[2], piece[3]);
#endif
        }
    }
#pragma unroll
    for (uint i = 0u; i < LOADS_B; i++) {
        const uint element = item + i * COPYING, line = element / B_PIECES, q = element % B_PIECES;
        if (B_SIZE % COPYING == 0u || element < B_SIZE) {
            __local uint4 *place = panel_b + PLACE(line, q, B_PIECES);
#if B_CODES
            *place = PIECE(B_HALVES, codes_b[i]);
#elif B_WIDE
            /* What differs from piece to piece is added in 64 bits, which the instruction then has as a constant. */
#if B_INNER_N
            const ulong k = (ulong)B_STEP(first, item) + i * COPYING / B_PIECES;
            const uint n = B_COLUMN(item);
#else
            const uint k = B_STEP(first, item);
            const ulong n = N % TILE_N == 0u ? (ulong)B_COLUMN(item) + i * COPYING / B_PIECES : (ulong)B_COLUMN(element);
#endif
            COPY(LOCAL(place), B_PIECE(B_INDEX(z, k, n)), EXISTS(k) ? 16u : 0u);
#else
            uint piece[4];
#pragma unroll
            for (uint u = 0u; u < 4u; u++)
#if B_INNER_N
                piece[u] = element_b(BD_BUFFERS, z, first + line, n0 + q * 8u + 2u * u, last) |
                           element_b(BD_BUFFERS, z, first + line, n0 + q * 8u + 2u * u + 1u, last) << 16;
#else
                piece[u] = element_b(BD_BUFFERS, z, first + q * 8u + 2u * u, n0 + line, last) |
                           element_b(BD_BUFFERS, z, first + q * 8u + 2u * u + 1u, n0 + line, last) << 16;
#endif
            *place = (uint4)(piece[0], piece[1], piece[2], piece[3]);
#endif
        }
    }
}
#endif

__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void binade(BD_ARGUMENTS)
{
    __local __attribute__((aligned(PANEL_ALIGNMENT))) uint4 panels[SHARED];
    const uint group = (uint)(get_group_id(1) * get_num_groups(0) + get_group_id(0)), item = (uint)get_local_id(0);
    if (group >= TILES_M * TILES_N * BATCH * CHUNKS)
        return;
    const uint band = group / (BAND * TILES_N) % CEIL(TILES_M, BAND), tile = group % (BAND * TILES_N);
    const uint height = BAND == 1u ? 1u : min(BAND, TILES_M - band * BAND);
    const uint n0 = tile / height * TILE_N, m0 = (band * BAND + tile % height) * TILE_M;
    const uint part = BATCH * CHUNKS == 1u ? 0u : group / (TILES_N * TILES_M), z = part % BATCH;
    /* Of a whole sum the compiler is to know how many steps it has. */
    const uint begin = CHUNKS == 1u ? 0u : part / BATCH * CHUNK, last = CHUNKS == 1u ? K : min(begin + CHUNK, K);
    const uint warp = item / LANES, lane = item % LANES, warp_m = warp / WARPS_N * WARP_M, warp_n = warp % WARPS_N * WARP_N;
    const uint steps = last > begin ? CEIL(last - begin, TILE_K) : 0u;
#if WARPGROUP
    float sum[TILE_N / 2u]; /* the first product sets them */
#else
    float sum[ROWS][2u * PAIRS][4];
#pragma unroll
    for (uint r = 0u; r < ROWS; r++)
#pragma unroll
        for (uint j = 0u; j < 2u * PAIRS; j++)
#pragma unroll
            for (uint e = 0u; e < 4u; e++)
                sum[r][j][e] = 0.0f;
#endif

#if A_WIDE && !TENSOR_MAPS
    const uint copier = item % COPYING;
    uint4 row[LOADS_A]; /* does not change from panel to panel */
#pragma unroll
    for (uint i = 0u; i < LOADS_A; i++)
#if A_INNER_K
        row[i] = A_OCTX(z, min(m0 + (copier + i * COPYING) / A_PIECES, M - 1u));
#else
        row[i] = A_ICTX(min(m0 + (copier + i * COPYING) % A_PIECES * 8u, M - 8u));
#endif
#endif
#if COPIES_APART
    const uint barriers = LOCAL(panels + STAGES * STAGE);
    if (item < STAGES) {
        BARRIER_BEGIN(FULL(item), TENSOR_MAPS ? 1u : COPIERS);
        BARRIER_BEGIN(EMPTY(item), WARPS);
#if TENSOR_MAPS
        ASM_NEWER("fence.mbarrier_init.release.cluster;");
#endif
    }
    barrier(CLK_LOCAL_MEM_FENCE);
#if TENSOR_MAPS
    if (item == MULTIPLIERS) {
        const __global ulong *mapped = (const __global ulong *)(maps + maps_first + 256u);
        const bool moved = mapped[0] != (ulong)(size_t)(A_MAPPED) || mapped[1] != (ulong)(size_t)(B_MAPPED);
        for (uint turn = 0u; turn < steps; turn++) {
            const uint stage = turn % STAGES, first = FIRST(turn), to = LOCAL(panels + stage * STAGE);
            if (turn >= STAGES)
                await(EMPTY(stage), turn / STAGES - 1u & 1u);
            EXPECT(FULL(stage), STAGE * 16u);
#pragma unroll
            for (uint i = 0u; i < TILE_M / 64u; i++)
                A_BOX(to + i * BOX_BYTES, first, m0 + i * 64u, FULL(stage));
#pragma unroll
            for (uint i = 0u; i < TILE_N / 64u; i++)
                B_BOX(to + A_SIZE * 16u + i * BOX_BYTES, first, n0 + i * 64u, FULL(stage));
        }
        if (moved) /* maps hold the addresses of when the program was made: this must not go unnoticed */
            asm volatile("trap;" : : : "memory");
    }
#else
    if (warp >= WARPS)
        for (uint turn = 0u; turn < steps; turn++) {
            const uint stage = turn % STAGES;
            if (turn >= STAGES)
                await(EMPTY(stage), turn / STAGES - 1u & 1u);
            fill_panels(BD_BUFFERS, panels + stage * STAGE, copier, FILLED_FROM z, m0, n0, FIRST(turn), last);
            ARRIVE_COPIED(FULL(stage));
        }
#endif
    const uint turns = warp < WARPS ? steps : 0u;
#else
    const uint turns = steps + DELAY;
#endif

#if A_CODES
    uint2 codes_a[LOADS_A];
#endif
#if B_CODES
    uint2 codes_b[LOADS_B];
#endif
    for (uint turn = 0u; turn < turns; turn++) {
#if COPIES_APART
        await(FULL(turn % STAGES), turn / STAGES & 1u);
#if !TENSOR_MAPS /* what the copy engine wrote wgmma sees */
        ASM_NEWER("fence.proxy.async.shared::cta;");
#endif
#else
        /* The codes that were loaded, and copies, go to the stage that the product has left; the next codes are loaded; then the panel
         * of DELAY turns before is multiplied. */
        if (turn >= DELAY) {
            asm volatile("cp.async.wait_group %0;" : : "n"(AHEAD - 1) : "memory");
#if WARPGROUP
            ASM_NEWER("fence.proxy.async.shared::cta;");
#endif
            barrier(CLK_LOCAL_MEM_FENCE);
        }
        if (turn >= LOADING && turn < steps + LOADING)
            fill_panels(BD_BUFFERS, panels + (turn - LOADING) % STAGES * STAGE, item, FILLED_FROM z, m0, n0,
                        FIRST(turn - LOADING), last);
#if A_CODES
        if (turn < steps)
#pragma unroll
            for (uint i = 0u; i < LOADS_A; i++) {
                const uint element = item + i * ITEMS, k = A_STEP(FIRST(turn), element);
                const uint4 outer = A_OUTER(i, k), inner = A_INNER(i, k);
                const bool valid = (A_SIZE % ITEMS == 0u || element < A_SIZE) && k < last && A_VALID(outer, inner);
                codes_a[i] = valid ? *(const __global uint2 *)A_PIECE(A_INDEX(outer, inner)) : (uint2)(A_ZERO);
            }
#endif
#if B_CODES
        if (turn < steps)
#pragma unroll
            for (uint i = 0u; i < LOADS_B; i++) {
                const uint element = item + i * ITEMS, k = B_STEP(FIRST(turn), element);
                const bool valid = (B_SIZE % ITEMS == 0u || element < B_SIZE) && k < last;
                codes_b[i] = valid ? *(const __global uint2 *)B_PIECE(B_INDEX(z, k, B_COLUMN(element))) : (uint2)(B_ZERO);
            }
#endif
        asm volatile("cp.async.commit_group;" : : : "memory");
        if (turn < DELAY)
            continue;
#endif
        const uint stage = (turn - DELAY) % STAGES;
        const uint panel_a = LOCAL(panels + stage * STAGE), panel_b = LOCAL(panels + stage * STAGE + A_SIZE);
#if WARPGROUP
        ASM_NEWER("wgmma.fence.sync.aligned;");
#pragma unroll
        for (uint k = 0u; k < TILE_K; k += 16u) {
#if A_INNER_K
            const ulong a = MATRIX(panel_a + warp / 4u * (64u * 128u) + k * 2u, 1u, 64u, 1u);
#else
            const ulong a = MATRIX(panel_a + warp / 4u * (TILE_K * 128u) + k * 128u, TILE_K * 8u, 64u, 1u);
#endif
#if B_INNER_N
#define B_LINE (B_PIECES > 8u ? 8u : B_PIECES) /* pieces of a line before the next one */
            const ulong b = MATRIX(panel_b + k * B_LINE * 16u, TILE_K * 8u, 8u * B_LINE, PATTERN(B_LINE));
#else
            const ulong b = MATRIX(panel_b + k * 2u, 1u, 64u, 1u);
#endif
            MULTIPLY_GROUP(sum, a, b, turn > DELAY || k > 0u);
        }
        ASM_NEWER("wgmma.commit_group.sync.aligned;");
        ASM_NEWER("wgmma.wait_group.sync.aligned 1;");
#if COPIES_APART /* the products of the panel before are done */
        if (turn > 0u && lane == 0u)
            ARRIVE(EMPTY((turn - 1u) % STAGES));
#endif
#else
#pragma unroll
        for (uint k = 0u; k < TILE_K; k += 16u) {
            uint a[ROWS][4], b[PAIRS][4];
#pragma unroll
            for (uint r = 0u; r < ROWS; r++) {
                const uint m = warp_m + r * 16u;
#if A_INNER_K
                const uint line = m + (lane & 15u), q = k / 8u + (lane >> 4);
                LOAD4(a[r][0], a[r][1], a[r][2], a[r][3], panel_a + 16u * PLACE(line, q, A_PIECES));
#else
                const uint line = k + (lane & 7u) + (lane >> 4) * 8u, q = m / 8u + (lane >> 3 & 1u);
                LOAD4_TURNED(a[r][0], a[r][1], a[r][2], a[r][3], panel_a + 16u * PLACE(line, q, A_PIECES));
#endif
            }
#pragma unroll
            for (uint j = 0u; j < PAIRS; j++) {
                const uint n = warp_n + j * 16u;
#if B_INNER_N
                const uint line = k + (lane & 15u), q = n / 8u + (lane >> 4);
                LOAD4_TURNED(b[j][0], b[j][1], b[j][2], b[j][3], panel_b + 16u * PLACE(line, q, B_PIECES));
#else
                const uint line = n + (lane & 7u) + (lane >> 4) * 8u, q = k / 8u + (lane >> 3 & 1u);
                LOAD4(b[j][0], b[j][1], b[j][2], b[j][3], panel_b + 16u * PLACE(line, q, B_PIECES));
#endif
            }
#pragma unroll
            for (uint r = 0u; r < ROWS; r++)
#pragma unroll
                for (uint j = 0u; j < PAIRS; j++) {
                    MULTIPLY(sum[r][2u * j], a[r], b[j][0], b[j][1]);
                    MULTIPLY(sum[r][2u * j + 1u], a[r], b[j][2], b[j][3]);
                }
        }
#endif
    }
    asm volatile("cp.async.wait_all;" : : : "memory");
#if WARPGROUP
    ASM_NEWER("wgmma.wait_group.sync.aligned 0;");
    if (steps == 0u) /* nothing set them */
#pragma unroll
        for (uint j = 0u; j < TILE_N / 2u; j++)
            sum[j] = 0.0f;
#endif
    barrier(CLK_LOCAL_MEM_FENCE);

#define WHOLE (M % TILE_M == 0u && N % TILE_N == 0u)
#if WARPGROUP
#define SUM(r, j, e) sum[4u * (j) + (e)]
#else
#define SUM(r, j, e) sum[r][j][e]
#endif
    volatile __local float *sums = (volatile __local float *)(panels + warp * SUMS);
    COLUMNS_BEGIN
    const bool multiplies = COPIERS == 0u || warp < WARPS;
#pragma unroll
    for (uint r = 0u; r < (multiplies ? ROWS : 0u); r++) {
#pragma unroll
        for (uint j = 0u; j < WARP_N / 8u; j++) {
            const uint at = (lane >> 2) * SUM_ROW + j * 8u + (lane & 3u) * 2u;
            *(volatile __local float2 *)(sums + at) = (float2)(SUM(r, j, 0), SUM(r, j, 1));
            *(volatile __local float2 *)(sums + at + 8u * SUM_ROW) = (float2)(SUM(r, j, 2), SUM(r, j, 3));
        }
        asm volatile("bar.warp.sync 0xffffffff;" : : : "memory");
#if LONG_RESULTS /* or the kernel would not fit the instruction cache */
#pragma unroll 2
#else
#pragma unroll 16
#endif
        for (uint i = 0u; i < 16u * WARP_N / (LANES * STORE_WIDTH); i++) { /* loads of what is fused go ahead of the stores */
            const uint e = (lane + i * LANES) * STORE_WIDTH, at = e / WARP_N * SUM_ROW + e % WARP_N;
            const uint m = m0 + warp_m + r * 16u + e / WARP_N, n = n0 + warp_n + e % WARP_N;
            if (WHOLE || (m < M && n < N)) {
                COLUMNS_VALUES
#if STORE_WIDTH == 4
                STORE_C4(part * M + m, n, *(volatile __local float4 *)(sums + at));
#else
                STORE_C(part * M + m, n, sums[at]);
#endif
                COLUMNS_ADD(i % COLUMN_FOURS, r == 0u && i < COLUMN_FOURS)
            }
        }
        asm volatile("bar.warp.sync 0xffffffff;" : : : "memory");
    }
#if COLUMNS
    const uint entry = multiplies ? warp_m % 64u / WARP_M * (LANES / COLUMN_LANES) + lane / COLUMN_LANES : COLUMN_ENTRIES;
    COLUMNS_MERGE(entry, COLUMN_ENTRIES, 64u / COLUMN_ENTRIES)
#pragma unroll
    for (uint h = 0u; h < COLUMN_FOURS; h++) {
        const uint m = m0 + warp_m, n = n0 + warp_n + (h * COLUMN_LANES + lane % COLUMN_LANES) * 4u;
        if (WHOLE || (m < M && n < N))
            if (entry == 0u)
                COLUMNS_STORE(h, (part * M + m) / 64u, n);
    }
#endif
    /* The panels' memory is free: wgmma's kernels may have no second array (backends/nvidia/ptx.c). */
#define last_ticket ((volatile __local uint *)panels)
    //@last
}
