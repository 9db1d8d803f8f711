/* Contraction by NVIDIA's tensor cores of operands of a byte, which they multiply as they are, 32 steps at once: floats of 8 bits, or whole
 * numbers. A work-group computes TILE_M x TILE_N elements of C through panels of TILE_K = 128 steps in local memory. The products are done
 *  - by warps, each WARP_M x WARP_N elements, with mma.sync, from registers that ldmatrix fills (whole numbers from Ampere on, floats from
 *    Ada on);
 *  - or, if WARPGROUP, by groups of four warps, each 64 x TILE_N elements, with wgmma, from local memory (Hopper).
 * The units may keep less of a sum of floats than FP32 does, so that each panel's sum is added to one in FP32, as in DeepSeek-V3
 * (arXiv:2412.19437, section 3.3.2). Sums of whole numbers are exact.
 * Both read such operands in lines along k only. One that lies so in memory is copied to its panel ahead of the product. Another
 * (A_ACROSS, B_ACROSS) is loaded while the panel before is multiplied, in blocks of four steps by eight lines, and turned round on its way
 * to local memory; so are whole numbers that begin with 0 but are stored with a sign (A_SHIFTED), to lose it.
 * What only sm_90a has stands behind "//+", as in contraction_matrix.cl; the sums go back through local memory as there. */
#ifndef BD_ARGUMENTS /* so that the skeleton compiles alone */
#define BD_ARGUMENTS __global uchar *b0
#define BATCH 1u
#define M 64u
#define N 64u
#define K 64u
#define CHUNKS 1u
#define CHUNK 64u
#define TILE_M 64u
#define TILE_N 64u
#define TILE_K 128u
#define WARP_M 32u
#define WARP_N 32u
#define ROWS 2u
#define WARPGROUP 0
#define STAGES 3
#define CACHED 0
#define LONG_RESULTS 0
#define WHOLE_SUMS 0
#define A_ACROSS 0
#define A_SHIFTED 0
#define A_OCTX(z, o) BD_UINT4(o * K, 0u, 0u, 0u)
#define A_ICTX(i) BD_UINT4(i, 0u, 0u, 0u)
#define A_VALID(o, i) true
#define A_INDEX(o, i) ((o).x + (i).x)
#define A_PIECE(x) (b0 + (x))
#define B_ACROSS 1
#define B_INDEX(z, k, n) ((k) * N + (n))
#define B_PIECE(x) (b0 + (x))
#define UNITS "f32.e4m3.e5m2.f32"
#define STORE_WIDTH 1
#define STORE_C(row, n, sum) b0[(row) * N + (n)] = (uchar)(sum)
#endif

#define CEIL(a, b) (((a) + (b) - 1u) / (b))
#define LANES 32u
#define WARPS_N (TILE_N / WARP_N)
#define WARPS (TILE_M / WARP_M * WARPS_N)
#define ITEMS (WARPS * LANES)
#define TILES_M CEIL(M, TILE_M)
#define TILES_N CEIL(N, TILE_N)
#if WARPGROUP
#define AHEAD (STAGES - 2) /* while a panel is multiplied the one before it may be, too */
#else
#define AHEAD (STAGES - 1)
#endif
#define LOADING (A_ACROSS || A_SHIFTED || B_ACROSS) /* turns that codes are on their way */
#define DELAY (AHEAD + LOADING)

/* In lines along k: eight pieces of 16 codes a line, turned against bank conflicts as wgmma's pattern of 128 bytes has them. */
#define LINE 8u
#define PLACE(line, q) ((line) * LINE + ((q) ^ ((line) & 7u)))
/* Of an operand across k: squares of eight lines by 16 codes, 128 bytes in a row, so that eight lines' words of four steps are stored to
 * banks of their own with 16 bytes between one eight's squares and the next one's. In pieces of 16 codes: */
#define SQUARE 8u
#define EIGHT (8u * SQUARE + 1u)
#define BLOCKS(lines) ((lines) / 8u * (TILE_K / 4u))
/* The block of a work-item: 32 neighbours have one square of each of eight eights. */
#define BLOCK_STEP(block) (((block) / 32u % 8u * 4u + ((block) & 3u)) * 4u)
#define BLOCK_LINE(block) (((block) / 256u * 8u + ((block) >> 2 & 7u)) * 8u)
/* A panel begins at a multiple of 1024 bytes. */
#define PANEL(lines, across) ((across) ? CEIL((lines) / 8u * EIGHT, 64u) * 64u : (lines) * LINE)
#define A_SIZE PANEL(TILE_M, A_ACROSS)
#define B_SIZE PANEL(TILE_N, B_ACROSS)
#define STAGE (A_SIZE + B_SIZE)
#define PIECES(lines, across) ((across) ? BLOCKS(lines) : (lines) * LINE)
#define A_PIECES PIECES(TILE_M, A_ACROSS)
#define B_PIECES PIECES(TILE_N, B_ACROSS)
#define LOADS_A CEIL(A_PIECES, ITEMS)
#define LOADS_B CEIL(B_PIECES, ITEMS)
/* Sixteen rows of each warp's sums, in fours, padded so that stores of pairs share no bank. */
#define SUM_ROW (WARP_N + 8u)
#define SUMS (16u * SUM_ROW / 4u)
#define SHARED (STAGES * STAGE > WARPS * SUMS ? STAGES * STAGE : WARPS * SUMS)

/* A local address as PTX has it. */
#define LOCAL(pointer) ((uint)(size_t)(pointer))
/* CACHED: the first-level cache keeps what is read again, as a convolution's pixels are, once for each tap. */
#if CACHED
#define LEVEL "ca"
#else
#define LEVEL "cg"
#endif
#define COPY(to, from, bytes) \
    asm volatile("cp.async." LEVEL ".shared.global [%0], [%1], 16, %2;" : : "r"(to), "l"(from), "r"(bytes) : "memory")
#if WARPGROUP
/* A matrix in local memory as wgmma is told of it: address, distances of its parts (in 16 bytes each), pattern. */
#define MATRIX(address, leading, stride, pattern)                                                          \
    ((ulong)(((address) & 0x3ffffu) >> 4) | (ulong)(leading) << 16 | (ulong)(stride) << 32 | (ulong)(pattern) << 62)
/* Of 32 steps from the k-th on; `lines` of the panel come before. */
#define CODES(panel, lines, k, across)                                                    \
    ((across) ? MATRIX((panel) + (lines) / 8u * EIGHT * 16u + (k) * SQUARE, SQUARE, EIGHT, 0u) \
              : MATRIX((panel) + (lines) * LINE * 16u + (k), 1u, 8u * LINE, 1u))
#define ASM_NEWER(text) asm volatile("//+" text "\n" : : : "memory")
#else
/* Where piece q of a panel's line lies. */
#define CODES_PLACE(line, q, across) ((across) ? (line) / 8u * EIGHT + (q) * SQUARE + ((line) & 7u) : PLACE(line, q))
#define LOAD4(r, at)                                                                 \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];" \
                 : "=r"((r)[0]), "=r"((r)[1]), "=r"((r)[2]), "=r"((r)[3]) : "r"(at) : "memory")
#if WHOLE_SUMS
#define REGISTER "+r"
#else
#define REGISTER "+f"
#endif
#define MULTIPLY(c, a, b0, b1)                                                                                                        \
    asm volatile("mma.sync.aligned.m16n8k32.row.col." UNITS " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
                 : REGISTER((c)[0]), REGISTER((c)[1]), REGISTER((c)[2]), REGISTER((c)[3])                                             \
                 : "r"((a)[0]), "r"((a)[1]), "r"((a)[2]), "r"((a)[3]), "r"(b0), "r"(b1))
#endif

/* A warp's sums: of 16 rows those of all its columns, in fours of a fragment of 16 x 8; then the next 16 rows. */
#define COUNT (ROWS * WARP_N / 2u)
#if WHOLE_SUMS
typedef int unit_sum;
#define SUM(e) (float)sum[e]
#else
typedef float unit_sum;
#define SUM(e) total[e]
/* What the compiler is not to move over the waiting for it. */
#define SETTLE(x) asm volatile("" : "+f"(x) : : "memory")
#endif

#if A_ACROSS || B_ACROSS
/* Any four of the eight bytes of two words, of which `low` has the first. */
static inline uint bytes_of(const uint low, const uint high, const uint which)
{
    uint result;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(result) : "r"(low), "r"(high), "r"(which));
    return result;
}
/* Four steps of four lines become four lines of four steps. */
static inline void store_square(__local uint *to, const uint a, const uint b, const uint c, const uint d)
{
    const uint ab0 = bytes_of(a, b, 0x5140u), ab2 = bytes_of(a, b, 0x7362u);
    const uint cd0 = bytes_of(c, d, 0x5140u), cd2 = bytes_of(c, d, 0x7362u);
    to[0] = bytes_of(ab0, cd0, 0x5410u);
    to[4] = bytes_of(ab0, cd0, 0x7632u);
    to[8] = bytes_of(ab2, cd2, 0x5410u);
    to[12] = bytes_of(ab2, cd2, 0x7632u);
}
/* Four steps of eight lines, two words a step. */
static inline void store_block(__local uint4 *panel, const uint block, const uint8 codes)
{
    const uint step = BLOCK_STEP(block), line = BLOCK_LINE(block);
    __local uint *to = (__local uint *)(panel + line / 8u * EIGHT + step / 16u * SQUARE) + step % 16u / 4u;
    store_square(to, codes.s0, codes.s2, codes.s4, codes.s6);
    store_square(to + 16, codes.s1, codes.s3, codes.s5, codes.s7);
}
#endif
/* Bytes with a sign, moved up to begin with 0: 128 + each of them cannot borrow from its neighbour. */
#define UNSIGNED(codes, shift) (((codes) ^ 0x80808080u) - (shift))

//@body

/* Elements whose index along k is `last` or above are 0, those past the ends of m and n are any others: their sums are dropped. */
__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void binade(BD_ARGUMENTS)
{
    __local __attribute__((aligned(1024))) uint4 panels[SHARED];
    const uint group = (uint)(get_group_id(1) * get_num_groups(0) + get_group_id(0)), item = (uint)get_local_id(0);
    if (group >= TILES_M * TILES_N * BATCH * CHUNKS)
        return;
    const uint n0 = group % TILES_N * TILE_N, m0 = group / TILES_N % TILES_M * TILE_M;
    const uint part = BATCH * CHUNKS == 1u ? 0u : group / (TILES_N * TILES_M), z = part % BATCH;
    /* Of a whole sum the compiler is to know how many steps it has. */
    const uint begin = CHUNKS == 1u ? 0u : part / BATCH * CHUNK, last = CHUNKS == 1u ? K : min(begin + CHUNK, K);
    const uint warp = item / LANES, lane = item % LANES, warp_m = warp / WARPS_N * WARP_M, warp_n = warp % WARPS_N * WARP_N;
    const uint steps = last > begin ? CEIL(last - begin, TILE_K) : 0u;
    unit_sum sum[COUNT];
#if !WHOLE_SUMS
    float total[COUNT];
#endif
#pragma unroll
    for (uint e = 0u; e < COUNT; e++) {
        sum[e] = 0;
#if !WHOLE_SUMS
        total[e] = 0.0f;
#endif
    }

    uint4 row[LOADS_A]; /* does not change from panel to panel */
#pragma unroll
    for (uint i = 0u; i < LOADS_A; i++)
#if A_ACROSS
        row[i] = A_ICTX(min(m0 + BLOCK_LINE(item + i * ITEMS), M - 8u));
#else
        row[i] = A_OCTX(z, min(m0 + (item + i * ITEMS) / LINE, M - 1u));
#endif

#if A_ACROSS
    uint8 codes_a[LOADS_A];
#elif A_SHIFTED
    uint4 codes_a[LOADS_A];
#endif
#if B_ACROSS
    uint8 codes_b[LOADS_B];
#endif
    for (uint turn = 0u; turn < steps + DELAY; turn++) {
        /* The codes that were loaded, and copies, go to the stage that the product has left; the next codes are loaded; then the panel
         * of DELAY turns before is multiplied. */
        if (turn >= DELAY) {
            asm volatile("cp.async.wait_group %0;" : : "n"(AHEAD - 1) : "memory");
#if WARPGROUP
            ASM_NEWER("fence.proxy.async.shared::cta;");
#endif
            barrier(CLK_LOCAL_MEM_FENCE);
        }
        if (turn >= LOADING && turn < steps + LOADING) {
            const uint first = begin + (turn - LOADING) * TILE_K;
            __local uint4 *panel_a = panels + (turn - LOADING) % STAGES * STAGE, *panel_b = panel_a + A_SIZE;
#pragma unroll
            for (uint i = 0u; i < LOADS_A; i++) {
                const uint element = item + i * ITEMS;
                if (A_PIECES % ITEMS == 0u || element < A_PIECES) {
#if A_ACROSS
                    store_block(panel_a, element, codes_a[i]);
#else
                    __local uint4 *place = panel_a + PLACE(element / LINE, element % LINE);
#if A_SHIFTED
                    *place = codes_a[i];
#else
                    const uint k = first + element % LINE * 16u;
                    const uint4 inner = A_ICTX(k);
                    const bool valid = k < last && A_VALID(row[i], inner);
                    COPY(LOCAL(place), A_PIECE(valid ? A_INDEX(row[i], inner) : 0u), valid ? 16u : 0u);
#endif
#endif
                }
            }
#pragma unroll
            for (uint i = 0u; i < LOADS_B; i++) {
                const uint element = item + i * ITEMS;
                if (B_PIECES % ITEMS == 0u || element < B_PIECES) {
#if B_ACROSS
                    store_block(panel_b, element, codes_b[i]);
#else
                    __local uint4 *place = panel_b + PLACE(element / LINE, element % LINE);
                    const uint k = first + element % LINE * 16u, n = min(n0 + element / LINE, N - 1u);
                    const bool valid = k < last;
                    COPY(LOCAL(place), B_PIECE(valid ? B_INDEX(z, k, n) : 0u), valid ? 16u : 0u);
#endif
                }
            }
        }
#if A_ACROSS || A_SHIFTED
        if (turn < steps)
#pragma unroll
            for (uint i = 0u; i < LOADS_A; i++) {
                const uint element = item + i * ITEMS;
                const bool mine = A_PIECES % ITEMS == 0u || element < A_PIECES;
#if A_ACROSS
                uint2 step[4];
#pragma unroll
                for (uint j = 0u; j < 4u; j++) {
                    const uint k = begin + turn * TILE_K + BLOCK_STEP(element) + j;
                    const uint4 outer = A_OCTX(z, k);
                    const bool valid = mine && k < last && A_VALID(outer, row[i]);
                    step[j] = (uint2)(0u);
                    if (valid)
                        step[j] = *(const __global uint2 *)A_PIECE(A_INDEX(outer, row[i]));
#if A_SHIFTED
                    if (valid)
                        step[j] = UNSIGNED(step[j], A_SHIFT);
#endif
                }
                codes_a[i] = (uint8)(step[0], step[1], step[2], step[3]);
#else
                const uint k = begin + turn * TILE_K + element % LINE * 16u;
                const uint4 inner = A_ICTX(k);
                codes_a[i] = (uint4)(0u);
                if (mine && k < last && A_VALID(row[i], inner))
                    codes_a[i] = UNSIGNED(*(const __global uint4 *)A_PIECE(A_INDEX(row[i], inner)), A_SHIFT);
#endif
            }
#endif
#if B_ACROSS
        if (turn < steps)
#pragma unroll
            for (uint i = 0u; i < LOADS_B; i++) {
                const uint element = item + i * ITEMS;
                const bool mine = B_PIECES % ITEMS == 0u || element < B_PIECES;
                const uint n = min(n0 + BLOCK_LINE(element), N - 8u);
                uint2 step[4];
#pragma unroll
                for (uint j = 0u; j < 4u; j++) {
                    const uint k = begin + turn * TILE_K + BLOCK_STEP(element) + j;
                    step[j] = (uint2)(0u);
                    if (mine && k < last)
                        step[j] = *(const __global uint2 *)B_PIECE(B_INDEX(z, k, n));
                }
                codes_b[i] = (uint8)(step[0], step[1], step[2], step[3]);
            }
#endif
        asm volatile("cp.async.commit_group;" : : : "memory");
        if (turn < DELAY)
            continue;
        const uint stage = (turn - DELAY) % STAGES;
        const uint panel_a = LOCAL(panels + stage * STAGE), panel_b = LOCAL(panels + stage * STAGE + A_SIZE);
#if WARPGROUP
#if !WHOLE_SUMS
        /* The panel before, which was multiplied while this one's successors came. */
        ASM_NEWER("wgmma.wait_group.sync.aligned 0;");
#pragma unroll
        for (uint e = 0u; e < COUNT; e++) {
            SETTLE(sum[e]);
            total[e] += sum[e];
        }
#endif
        ASM_NEWER("wgmma.fence.sync.aligned;");
#pragma unroll
        for (uint k = 0u; k < TILE_K; k += 32u)
            MULTIPLY_GROUP(sum, CODES(panel_a, warp / 4u * 64u, k, A_ACROSS), CODES(panel_b, 0u, k, B_ACROSS), WHOLE_SUMS || k > 0u);
        ASM_NEWER("wgmma.commit_group.sync.aligned;");
#if WHOLE_SUMS
        ASM_NEWER("wgmma.wait_group.sync.aligned 1;");
#endif
#else
#pragma unroll
        for (uint k = 0u; k < TILE_K; k += 32u) {
            uint a[ROWS][4], b[WARP_N / 16u][4];
#pragma unroll
            for (uint r = 0u; r < ROWS; r++)
                LOAD4(a[r], panel_a + 16u * CODES_PLACE(warp_m + r * 16u + (lane & 15u), k / 16u + (lane >> 4), A_ACROSS));
#pragma unroll
            for (uint j = 0u; j < WARP_N / 16u; j++)
                LOAD4(b[j], panel_b + 16u * CODES_PLACE(warp_n + j * 16u + (lane & 7u) + (lane >> 4) * 8u, k / 16u + (lane >> 3 & 1u), B_ACROSS));
#pragma unroll
            for (uint f = 0u; f < ROWS * WARP_N / 8u; f++) {
                const uint r = f / (WARP_N / 8u), j = f % (WARP_N / 8u);
                MULTIPLY(sum + 4u * f, a[r], b[j / 2u][j % 2u * 2u], b[j / 2u][j % 2u * 2u + 1u]);
            }
        }
#if !WHOLE_SUMS
#pragma unroll
        for (uint e = 0u; e < COUNT; e++) {
            total[e] += sum[e];
            sum[e] = 0.0f;
        }
#endif
#endif
    }
    asm volatile("cp.async.wait_all;" : : : "memory");
#if WARPGROUP
    ASM_NEWER("wgmma.wait_group.sync.aligned 0;");
#if !WHOLE_SUMS
#pragma unroll
    for (uint e = 0u; e < COUNT; e++) {
        SETTLE(sum[e]);
        total[e] += sum[e];
    }
#endif
#endif
    barrier(CLK_LOCAL_MEM_FENCE);

#define WHOLE (M % TILE_M == 0u && N % TILE_N == 0u)
    volatile __local float *sums = (volatile __local float *)(panels + warp * SUMS);
#pragma unroll
    for (uint r = 0u; r < ROWS; r++) {
#pragma unroll
        for (uint j = 0u; j < WARP_N / 8u; j++) {
            const uint at = (lane >> 2) * SUM_ROW + j * 8u + (lane & 3u) * 2u, e = (r * (WARP_N / 8u) + j) * 4u;
            *(volatile __local float2 *)(sums + at) = (float2)(SUM(e), SUM(e + 1u));
            *(volatile __local float2 *)(sums + at + 8u * SUM_ROW) = (float2)(SUM(e + 2u), SUM(e + 3u));
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
            if (WHOLE || (m < M && n < N))
#if STORE_WIDTH == 4
                STORE_C4(part * M + m, n, *(volatile __local float4 *)(sums + at));
#else
                STORE_C(part * M + m, n, sums[at]);
#endif
        }
        asm volatile("bar.warp.sync 0xffffffff;" : : : "memory");
    }
    /* The panels' memory is free, and kernels by wgmma may have no second array (backends/nvidia/ptx.c). */
#define last_ticket ((volatile __local uint *)panels)
    //@last
}
