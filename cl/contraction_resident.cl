/* Convolution of few channels, or its data gradient, by NVIDIA's tensor cores through inline PTX (mma.sync): a work-group loads all
 * weights once into local memory, where they stay, and walks over tiles of output pixels. A tile is TILE_ROWS whole rows of an image, or
 * TILE_IMAGES whole images. Its patch, the pixels that it reads with all padding, is copied once into local memory, the next tile's
 * while this one is multiplied, and every tap reads it from there. The data gradient is the convolution of dy with the window turned
 * round (FLIP).
 *
 * In the weight gradient (WEIGHT) what stays are the sums, in registers: a warp has those of 16 channels and WARP_N columns at every tap.
 * A work-group takes TILE_N columns of one part of the sum, whose tiles are every CHUNKS-th, and copies beside a tile's patch of x its
 * pixels of dy. Warps that have the same sums (SLICES) take turns at a tile's sixteens of pixels, and add up in the end.
 *
 * Expected of an H100 for 3x3 windows over 256 images, at 2.6 TB/s, 750 products a cycle and processor as mma.sync does them elsewhere,
 * and 128 bytes a cycle from local memory, which count in part beside each other: 16 channels of 32x32 pixels 16.8 MB, 6.5 us, 1.2 GFLOP,
 * 3.6 us, and 5 us of ldmatrix and sums, in all 10 us, 12 for the weight gradient; 32 channels of 16x16 8.4 MB and 1.2 GFLOP, 7.5 and 10 us;
 * 64 of 8x8 4.2 MB and 1.2 GFLOP, 7 and 10 us; 64 of 32x32 67 MB, 26 us, and 19 GFLOP, 57 us, in all 62 and 64 us.
 *
 * A network's first convolution has 1 or 3 channels: FEW. Then a patch lies number by number, and is loaded that way, into registers while the
 * tile before is multiplied. The numbers of a pixel's whole window are the steps of its sum, and an item puts its fragments of them together from
 * single numbers of local memory: of 3x3 windows of 3 channels, to 64 over 256 images of 32x32 pixels, 3 us of loads from there, where the
 * 33.5 MB of results, or of dy, take 13 us; expected 16 us, and 18 for the weight gradient.
 *
 * Pixels of a patch and lines of weights are longer by a piece of eight numbers of 16 bits than what they hold: an odd number of
 * pieces, so that the same piece of eight neighbours shares no bank. */
#ifndef BD_ARGUMENTS /* so that the skeleton compiles alone */
#define BD_ARGUMENTS __global ushort *b0
#define BD_BUFFERS b0
#define M 1024u
#define N 16u
#define K 144u
#define IMAGES 4u
#define IN_ROWS 16u
#define IN_COLUMNS 16u
#define CHANNELS 16u
#define OUT_ROWS 16u
#define OUT_COLUMNS 16u
#define WINDOW_ROWS 3u
#define WINDOW_COLUMNS 3u
#define STRIDE_Y 1u
#define STRIDE_X 1u
#define PAD_Y 1
#define PAD_X 1
#define FLIP 0
#define WEIGHT 0
#define TILE_IMAGES 1u
#define TILE_ROWS 8u
#define TILE_M 128u
#define WARP_M 32u
#define WARP_N 16u
#define STAGES 2
#define LONG_RESULTS 0
#define MATRIX_BF16 0
#define A_PIECE(x) (b0 + (x))
#define B_INNER_N 1
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
#define TAPS (WINDOW_ROWS * WINDOW_COLUMNS)
/* mma.sync m16n8k16; columns go in pairs of fragments, as ldmatrix loads them. */
#define FRAGMENTS (WARP_M / 16u)
#define PAIRS (WARP_N / 16u)

#define TILES_Y CEIL(OUT_ROWS, TILE_ROWS)
#define TILES (CEIL(IMAGES, TILE_IMAGES) * TILES_Y)
#define PIXELS (TILE_IMAGES * TILE_ROWS * OUT_COLUMNS)
/* Where a tile's pixels begin, which follow each other in the result (or in dy), and how many they are. */
#define FIRST_ROW(tile) ((tile) % TILES_Y * TILE_ROWS)
#define FIRST_PIXEL(tile) (((tile) / TILES_Y * TILE_IMAGES * OUT_ROWS + FIRST_ROW(tile)) * OUT_COLUMNS)
#define COUNT(tile) \
    min(PIXELS, TILES_Y > 1u ? (OUT_ROWS - FIRST_ROW(tile)) * OUT_COLUMNS : IMAGES * OUT_ROWS * OUT_COLUMNS - FIRST_PIXEL(tile))
#define WHOLE (PIXELS == TILE_M && OUT_ROWS % TILE_ROWS == 0u && IMAGES % TILE_IMAGES == 0u)

#define PATCH_ROWS ((TILE_ROWS - 1u) * STRIDE_Y + WINDOW_ROWS)
#define PATCH_COLUMNS ((OUT_COLUMNS - 1u) * STRIDE_X + WINDOW_COLUMNS)
#define PATCH (TILE_IMAGES * PATCH_ROWS * PATCH_COLUMNS)
#define FEW (CHANNELS % 16u != 0u)
#if FEW /* places in a patch count numbers, else pieces */
#define PIXEL CHANNELS
#define PATCH_SIZE CEIL(PATCH * PIXEL, 8u)
#define WINDOW (TAPS * CHANNELS)
#define WINDOW_STEPS CEIL(WINDOW, 16u)
#define LOADS CEIL(PATCH * CHANNELS, ITEMS) /* of an item, for a patch */
#else
#define PIECES (CHANNELS / 8u)
#define PIXEL (PIECES + 1u)
#define PATCH_SIZE (PATCH * PIXEL)
#endif

#if WEIGHT
#define WARPS_N (TILE_N / WARP_N)
#if FEW
#define SETS WINDOW_STEPS /* of sixteen rows of sums */
#define WARPS (WARPS_N * SLICES)
#else
#define SETS TAPS
#define WARPS (CHANNELS / 16u * WARPS_N * SLICES)
#endif
#define STEPS CEIL(PIXELS, 16u)
#define DY_PIECES (TILE_N / 8u)
#define DY_PIXEL (DY_PIECES + 1u) /* of a pixel of dy */
#define STAGE (PATCH_SIZE + STEPS * 16u * DY_PIXEL)
#define SUM_ROW (TILE_N + 8u)
#define SHARED (STAGES * STAGE > M * SUM_ROW / 4u ? STAGES * STAGE : M * SUM_ROW / 4u)
#else
#define WARPS_N (N / WARP_N)
#define WARPS (TILE_M / WARP_M * WARPS_N)
/* Lines of weights as they lie in memory: of the columns that a step takes, or of the steps of a column. */
#if FEW /* the last ones 0 */
#define LINES (WINDOW_STEPS * 16u)
#define LINE_PIECES (N / 8u)
#elif B_INNER_N
#define LINES K
#define LINE_PIECES (N / 8u)
#else
#define LINES (TAPS * N)
#define LINE_PIECES PIECES
#endif
#define LINE (LINE_PIECES + 1u)

/* Sixteen rows of each warp's sums, padded so that stores of pairs share no bank. */
#define SUM_ROW (WARP_N + 8u)
#define SUMS (16u * SUM_ROW / 4u)
/* Sums of columns (print_columns.c), of whole tiles only, as in contraction_matrix.cl; they take the place of the rows. */
#define COLUMN_LANES (WARP_N / 4u / COLUMN_FOURS)
#define COLUMN_ENTRIES (64u / WARP_M * (LANES / COLUMN_LANES))
#define COLUMN_PLACES (ITEMS * COLUMN_FOURS)
#define COLUMN_PLACE(h, number, entry)                                                                                \
    ((volatile __local float4 *)(shared + FIRST_SUM))[(number) * COLUMN_PLACES +                                      \
                                                      ((entry) * (TILE_M / 64u) + warp_m / 64u) * (N / 4u) +          \
                                                      warp_n / 4u + (h) * COLUMN_LANES + lane % COLUMN_LANES]
#define COLUMN_SHOW(h, number, entry, four) COLUMN_PLACE(h, number, entry) = four
#define COLUMN_SEE(h, number, entry) COLUMN_PLACE(h, number, entry)
#define LARGER(a, b) ((a) > (b) ? (a) : (b))
#define FIRST_SUM (LINES * LINE + STAGES * PATCH_SIZE)
#define SHARED (FIRST_SUM + LARGER(WARPS * SUMS, COLUMN_NUMBERS * COLUMN_PLACES))
#endif
#define ITEMS (WARPS * LANES)

/* A local address as PTX has it, and of pieces from there on. */
#define LOCAL(pointer) ((uint)(size_t)(pointer))
#define BYTES(pieces) ((pieces) * 16u)
#define COPY(to, from, bytes) \
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" : : "r"(to), "l"(from), "r"(bytes) : "memory")
#define WAIT_COPIES asm volatile("cp.async.wait_all;" : : : "memory")
#define MEET_WARP asm volatile("bar.warp.sync 0xffffffff;" : : : "memory")
#define LOAD4(r, at)                                                                                                  \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"                                  \
                 : "=r"((r)[0]), "=r"((r)[1]), "=r"((r)[2]), "=r"((r)[3]) : "r"(at) : "memory")
#define LOAD4_TURNED(r, at)                                                                                           \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"                            \
                 : "=r"((r)[0]), "=r"((r)[1]), "=r"((r)[2]), "=r"((r)[3]) : "r"(at) : "memory")
#define ANEW(copy, value) asm volatile("mov.u32 %0, %1;" : "=r"(copy) : "r"(value))
#define LOAD1(r, at) asm volatile("ld.shared.u16 %0, [%1];" : "=h"(r) : "r"(at) : "memory")
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

//@body

#if FEW
/* An item's numbers of a tile's patch. What lies outside of the images is 0. Their places are computed anew for each tile: the compiler
 * would keep them all in registers. */
static inline void load_patch(BD_ARGUMENTS, uint numbers[LOADS], const uint tile, const uint item)
{
    const uint image = tile / TILES_Y * TILE_IMAGES, y = FIRST_ROW(tile) * STRIDE_Y - (uint)PAD_Y;
    uint own;
    ANEW(own, item);
#pragma unroll
    for (uint i = 0u; i < LOADS; i++) {
        const uint e = own + i * ITEMS, row = e / (PATCH_COLUMNS * CHANNELS), x = e % (PATCH_COLUMNS * CHANNELS) - PAD_X * CHANNELS;
        const uint in_image = image + row / PATCH_ROWS, in_y = y + row % PATCH_ROWS;
        const bool valid = row < TILE_IMAGES * PATCH_ROWS && in_image < IMAGES && in_y < IN_ROWS && x < IN_COLUMNS * CHANNELS;
        const uint number = *A_PIECE(valid ? (in_image * IN_ROWS + in_y) * (IN_COLUMNS * CHANNELS) + x : 0u);
        numbers[i] = valid ? number : 0u;
    }
}

static inline void put_patch(__local uint4 *patch, const uint numbers[LOADS], const uint item)
{
    volatile __local ushort *to = (volatile __local ushort *)patch;
#pragma unroll
    for (uint i = 0u; i < LOADS; i++)
        if (item + i * ITEMS < PATCH * CHANNELS)
            to[item + i * ITEMS] = (ushort)numbers[i];
}

/* How many bytes further on than a pixel's first number the one at a step of its window lies. */
static inline uint place_in_window(const uint step)
{
    const uint line = WINDOW_COLUMNS * CHANNELS;
    return 2u * (step / line * (PATCH_COLUMNS * CHANNELS) + step % line);
}

/* Two numbers as a fragment has them. */
static inline uint load_pair(const uint low, const uint high)
{
    ushort first, second;
    LOAD1(first, low);
    LOAD1(second, high);
    return (uint)first | (uint)second << 16;
}
#else
/* Begins to copy a tile's patch. What lies outside of the images is 0. */
static inline void copy_patch(BD_ARGUMENTS, const uint patch, const uint tile, const uint item)
{
    const uint image = tile / TILES_Y * TILE_IMAGES, y = FIRST_ROW(tile) * STRIDE_Y - (uint)PAD_Y;
#pragma unroll 4
    for (uint e = item; e < PATCH * PIECES; e += ITEMS) {
        const uint q = e % PIECES, pixel = e / PIECES, row = pixel / PATCH_COLUMNS;
        const uint in_image = image + row / PATCH_ROWS, in_y = y + row % PATCH_ROWS, in_x = pixel % PATCH_COLUMNS - (uint)PAD_X;
        const bool valid = in_image < IMAGES && in_y < IN_ROWS && in_x < IN_COLUMNS;
        const uint from = ((in_image * IN_ROWS + in_y) * IN_COLUMNS + in_x) * CHANNELS + q * 8u;
        COPY(patch + BYTES(pixel * PIXEL + q), A_PIECE(valid ? from : 0u), valid ? 16u : 0u);
    }
}
#endif

/* Where a pixel of a tile lies in its patch, at tap 0. */
static inline uint place_of(const uint pixel)
{
    const uint row = pixel / OUT_COLUMNS, y = row / TILE_ROWS * PATCH_ROWS + row % TILE_ROWS * STRIDE_Y;
    return (y * PATCH_COLUMNS + pixel % OUT_COLUMNS * STRIDE_X) * PIXEL;
}
/* How much further on it lies at another tap. */
#define TAP(tap) (((tap) / WINDOW_COLUMNS * PATCH_COLUMNS + (tap) % WINDOW_COLUMNS) * PIXEL)

#if WEIGHT
/* Begins to copy a tile's pixels of dy. What is none is 0. */
static inline void copy_pixels(BD_ARGUMENTS, const uint pixels, const uint tile, const uint n0, const uint item)
{
    const uint first = FIRST_PIXEL(tile), count = COUNT(tile);
#pragma unroll 4
    for (uint e = item; e < STEPS * 16u * DY_PIECES; e += ITEMS) {
        const uint q = e % DY_PIECES, pixel = e / DY_PIECES;
        const bool valid = pixel < count;
        COPY(pixels + BYTES(pixel * DY_PIXEL + q), B_PIECE(valid ? (first + pixel) * N + n0 + q * 8u : 0u), valid ? 16u : 0u);
    }
}

__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void binade(BD_ARGUMENTS)
{
    __local __attribute__((aligned(16))) uint4 shared[SHARED];
    const uint group = (uint)(get_group_id(1) * get_num_groups(0) + get_group_id(0)), item = (uint)get_local_id(0);
    if (group >= N / TILE_N * CHUNKS)
        return;
    const uint n0 = group % (N / TILE_N) * TILE_N, part = group / (N / TILE_N), stages = LOCAL(shared);
    const uint warp = item / LANES, lane = item % LANES, slice = warp % SLICES;
    const uint warp_n = warp / SLICES % WARPS_N * WARP_N, warp_c = warp / SLICES / WARPS_N * 16u;
    float sum[SETS][2u * PAIRS][4];
#pragma unroll
    for (uint set = 0u; set < SETS; set++)
#pragma unroll
        for (uint j = 0u; j < 2u * PAIRS; j++)
#pragma unroll
            for (uint e = 0u; e < 4u; e++)
                sum[set][j][e] = 0.0f;

#if FEW
    uint numbers[LOADS], rows[SETS][2]; /* where a pixel's numbers lie that are a lane's rows; those past the last are any, too */
#pragma unroll
    for (uint set = 0u; set < SETS; set++)
#pragma unroll
        for (uint h = 0u; h < 2u; h++)
            rows[set][h] = place_in_window(min(set * 16u + h * 8u + (lane >> 2), WINDOW - 1u));
#endif
    if (part < TILES) {
#if FEW
        load_patch(BD_BUFFERS, numbers, part, item);
        put_patch(shared, numbers, item);
#else
        copy_patch(BD_BUFFERS, stages, part, item);
#endif
        copy_pixels(BD_BUFFERS, stages + BYTES(PATCH_SIZE), part, n0, item);
    }
    for (uint tile = part, stage = 0u; tile < TILES; tile += CHUNKS, stage ^= STAGES - 1u) {
        WAIT_COPIES;
        barrier(CLK_LOCAL_MEM_FENCE); /* this stage is there, and the other one is left */
#if STAGES > 1
        if (tile + CHUNKS < TILES) {
            const uint next = stages + (stage ^ 1u) * BYTES(STAGE);
#if FEW
            load_patch(BD_BUFFERS, numbers, tile + CHUNKS, item);
#else
            copy_patch(BD_BUFFERS, next, tile + CHUNKS, item);
#endif
            copy_pixels(BD_BUFFERS, next + BYTES(PATCH_SIZE), tile + CHUNKS, n0, item);
        }
#endif
#if FEW
        const uint patch = stages + stage * BYTES(STAGE);
#else
        const uint patch = stages + stage * BYTES(STAGE) + BYTES(warp_c / 8u + (lane >> 3 & 1u));
#endif
        const uint pixels = stages + stage * BYTES(STAGE) + BYTES(PATCH_SIZE + (lane & 15u) * DY_PIXEL + warp_n / 8u + (lane >> 4));
#pragma unroll 1
        for (uint step = slice; step < STEPS; step += SLICES) {
            /* Pixels past the tile's are any of its own: those of dy are 0. */
#if FEW
            uint at[4];
#pragma unroll
            for (uint i = 0u; i < 4u; i++)
                at[i] = patch + 2u * place_of(min(step * 16u + (lane & 3u) * 2u + (i & 1u) + (i >> 1) * 8u, PIXELS - 1u));
#else
            const uint at = patch + BYTES(place_of(min(step * 16u + (lane & 7u) + (lane >> 4) * 8u, PIXELS - 1u)));
#endif
            uint b[PAIRS][4];
#pragma unroll
            for (uint j = 0u; j < PAIRS; j++)
                LOAD4_TURNED(b[j], pixels + BYTES(step * 16u * DY_PIXEL + j * 2u));
#pragma unroll
            for (uint set = 0u; set < SETS; set++) {
                uint a[4];
#if FEW
#pragma unroll
                for (uint i = 0u; i < 4u; i++) /* rows of the lower and of the upper eight, then the other pixels */
                    a[i] = load_pair(at[i & 2u] + rows[set][i & 1u], at[(i & 2u) + 1u] + rows[set][i & 1u]);
#else
                LOAD4_TURNED(a, at + BYTES(TAP(set)));
#endif
#pragma unroll
                for (uint j = 0u; j < PAIRS; j++) {
                    MULTIPLY(sum[set][2u * j], a, b[j][0], b[j][1]);
                    MULTIPLY(sum[set][2u * j + 1u], a, b[j][2], b[j][3]);
                }
            }
        }
#if FEW && STAGES > 1
        if (tile + CHUNKS < TILES)
            put_patch(shared + (stage ^ 1u) * STAGE, numbers, item);
#endif
    }

    /* The sums of the slices go into local memory one after the other. */
    volatile __local float *sums = (volatile __local float *)shared;
    for (uint s = 0u; s < SLICES; s++) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (slice == s)
#pragma unroll
            for (uint set = 0u; set < SETS; set++)
#pragma unroll
                for (uint j = 0u; j < 2u * PAIRS; j++)
#pragma unroll
                    for (uint e = 0u; e < 4u; e += 2u) {
#if FEW
                        const uint row = set * 16u + (lane >> 2) + e * 4u;
                        if (row >= M)
                            continue;
#else
                        const uint row = set * CHANNELS + warp_c + (lane >> 2) + e * 4u;
#endif
                        volatile __local float2 *place =
                            (volatile __local float2 *)(sums + row * SUM_ROW + warp_n + j * 8u + (lane & 3u) * 2u);
                        const float2 own = (float2)(sum[set][j][e], sum[set][j][e + 1u]);
                        *place = s == 0u ? own : *place + own;
                    }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll 4
    for (uint e = item * STORE_WIDTH; e < M * TILE_N; e += ITEMS * STORE_WIDTH) {
        const uint m = e / TILE_N, n = e % TILE_N;
#if STORE_WIDTH == 4
        STORE_C4(part * M + m, n0 + n, *(volatile __local float4 *)(sums + m * SUM_ROW + n));
#else
        STORE_C(part * M + m, n0 + n, sums[m * SUM_ROW + n]);
#endif
    }
    /* One array is all that Vulkan launches (backends/nvidia/ptx.c). */
#define last_ticket ((volatile __local uint *)shared)
    //@last
}
#else
#if FEW
/* A lane's i-th step of the s-th sixteen; and what of the pair that begins there is of the window. */
#define STEP_OF(s, i) ((s) * 16u + ((i) >> 1) * 8u + (lane & 3u) * 2u + ((i) & 1u))
#define IN_WINDOW(s, i) (STEP_OF(s, (i) + 1u) < WINDOW ? 0xffffffffu : STEP_OF(s, i) < WINDOW ? 0xffffu : 0u)
#endif
__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void binade(BD_ARGUMENTS)
{
    __local __attribute__((aligned(16))) uint4 shared[SHARED];
    const uint groups = (uint)(get_num_groups(0) * get_num_groups(1));
    const uint group = (uint)(get_group_id(1) * get_num_groups(0) + get_group_id(0)), item = (uint)get_local_id(0);
    if (group >= TILES)
        return;
    const uint weights = LOCAL(shared), patches = weights + BYTES(LINES * LINE);
    const uint warp = item / LANES, lane = item % LANES, warp_m = warp / WARPS_N * WARP_M, warp_n = warp % WARPS_N * WARP_N;
    volatile __local float *sums = (volatile __local float *)(shared + FIRST_SUM + warp * SUMS);
#pragma unroll 4
    for (uint e = item; e < LINES * LINE_PIECES; e += ITEMS)
#if FEW
        COPY(weights + BYTES(e / LINE_PIECES * LINE + e % LINE_PIECES), B_PIECE(e < K * LINE_PIECES ? e * 8u : 0u),
             e < K * LINE_PIECES ? 16u : 0u);
    uint numbers[LOADS];
    load_patch(BD_BUFFERS, numbers, group, item);
    put_patch(shared + LINES * LINE, numbers, item);

    /* Where a lane's pixels lie in a patch, of the upper and of the lower eight rows of a fragment, and the numbers of their windows. */
    uint pixels[FRAGMENTS][2], steps[WINDOW_STEPS][4];
#pragma unroll
    for (uint r = 0u; r < FRAGMENTS; r++)
#pragma unroll
        for (uint h = 0u; h < 2u; h++)
            pixels[r][h] = patches + 2u * place_of(min(warp_m + r * 16u + h * 8u + (lane >> 2), PIXELS - 1u));
#pragma unroll
    for (uint s = 0u; s < WINDOW_STEPS; s++)
#pragma unroll
        for (uint i = 0u; i < 4u; i++)
            steps[s][i] = place_in_window(min(STEP_OF(s, i), WINDOW - 1u));
#else
        COPY(weights + BYTES(e / LINE_PIECES * LINE + e % LINE_PIECES), B_PIECE(e * 8u), 16u);
    copy_patch(BD_BUFFERS, patches, group, item);

    /* Where a lane's pieces lie in a patch, of tap 0 and of its first channels, and in the weights. */
    uint pixels[FRAGMENTS];
#pragma unroll
    for (uint r = 0u; r < FRAGMENTS; r++) {
        const uint pixel = min(warp_m + r * 16u + (lane & 15u), PIXELS - 1u);
        pixels[r] = BYTES(place_of(pixel) + (lane >> 4));
    }
#endif
#if B_INNER_N
    const uint own = weights + BYTES((lane & 15u) * LINE + warp_n / 8u + (lane >> 4));
#else
    const uint own = weights + BYTES((warp_n + (lane & 7u) + (lane >> 4) * 8u) * LINE + (lane >> 3 & 1u));
#endif

    for (uint tile = group, stage = 0u; tile < TILES; tile += groups, stage ^= STAGES - 1u) {
        WAIT_COPIES;
        barrier(CLK_LOCAL_MEM_FENCE); /* the patch is there, and the other one is left */
#if STAGES > 1
        if (tile + groups < TILES)
#if FEW
            load_patch(BD_BUFFERS, numbers, tile + groups, item);
#else
            copy_patch(BD_BUFFERS, patches + (stage ^ 1u) * BYTES(PATCH_SIZE), tile + groups, item);
#endif
#endif
#if FEW
        const uint patch = stage * BYTES(PATCH_SIZE);
#else
        const uint patch = patches + stage * BYTES(PATCH_SIZE);
#endif
        float sum[FRAGMENTS][2u * PAIRS][4];
#pragma unroll
        for (uint r = 0u; r < FRAGMENTS; r++)
#pragma unroll
            for (uint j = 0u; j < 2u * PAIRS; j++)
#pragma unroll
                for (uint e = 0u; e < 4u; e++)
                    sum[r][j][e] = 0.0f;
#if K <= 640u
#pragma unroll
#else /* or the kernel would not fit the instruction cache */
#pragma unroll 1
#endif
        for (uint tap = 0u; tap < (FEW ? 1u : TAPS); tap++) {
#if !FEW
            const uint at = patch + BYTES(TAP(FLIP ? TAPS - 1u - tap : tap));
#endif
#pragma unroll
            for (uint k = 0u; k < (FEW ? LINES : CHANNELS); k += 16u) {
                uint a[FRAGMENTS][4], b[PAIRS][4];
#pragma unroll
                for (uint r = 0u; r < FRAGMENTS; r++)
#if FEW
#pragma unroll
                    for (uint i = 0u; i < 4u; i++) { /* pixels of the upper and of the lower eight rows, then the other steps */
                        const uint at = patch + pixels[r][i & 1u];
                        a[r][i] = load_pair(at + steps[k / 16u][i & 2u], at + steps[k / 16u][(i & 2u) + 1u]) &
                                  IN_WINDOW(k / 16u, i & 2u);
                    }
#else
                    LOAD4(a[r], at + pixels[r] + BYTES(k / 8u));
#endif
#pragma unroll
                for (uint j = 0u; j < PAIRS; j++)
#if B_INNER_N
                    LOAD4_TURNED(b[j], own + BYTES((tap * CHANNELS + k) * LINE + j * 2u));
#else
                    LOAD4(b[j], own + BYTES((tap * N + j * 16u) * LINE + k / 8u));
#endif
#pragma unroll
                for (uint r = 0u; r < FRAGMENTS; r++)
#pragma unroll
                    for (uint j = 0u; j < PAIRS; j++) {
                        MULTIPLY(sum[r][2u * j], a[r], b[j][0], b[j][1]);
                        MULTIPLY(sum[r][2u * j + 1u], a[r], b[j][2], b[j][3]);
                    }
            }
        }

#if FEW && STAGES > 1
        if (tile + groups < TILES)
            put_patch(shared + LINES * LINE + (stage ^ 1u) * PATCH_SIZE, numbers, item);
#endif
        /* The sums go through local memory, so that neighbours store neighbours. */
        const uint m0 = FIRST_PIXEL(tile), count = COUNT(tile);
        COLUMNS_BEGIN
#pragma unroll
        for (uint r = 0u; r < FRAGMENTS; r++) {
#pragma unroll
            for (uint j = 0u; j < 2u * PAIRS; j++) {
                const uint place = (lane >> 2) * SUM_ROW + j * 8u + (lane & 3u) * 2u;
                *(volatile __local float2 *)(sums + place) = (float2)(sum[r][j][0], sum[r][j][1]);
                *(volatile __local float2 *)(sums + place + 8u * SUM_ROW) = (float2)(sum[r][j][2], sum[r][j][3]);
            }
            MEET_WARP;
#if LONG_RESULTS /* or the kernel would not fit the instruction cache */
#pragma unroll 2
#else
#pragma unroll 16
#endif
            for (uint i = 0u; i < 16u * WARP_N / (LANES * STORE_WIDTH); i++) { /* loads of what is fused go ahead of the stores */
                const uint e = (lane + i * LANES) * STORE_WIDTH, row = e / WARP_N, column = e % WARP_N;
                const uint pixel = warp_m + r * 16u + row;
                if (WHOLE || pixel < count) {
                    COLUMNS_VALUES
#if STORE_WIDTH == 4
                    STORE_C4(m0 + pixel, warp_n + column, *(volatile __local float4 *)(sums + row * SUM_ROW + column));
#else
                    STORE_C(m0 + pixel, warp_n + column, sums[row * SUM_ROW + column]);
#endif
                    COLUMNS_ADD(i % COLUMN_FOURS, r == 0u && i < COLUMN_FOURS)
                }
            }
            MEET_WARP;
        }
#if COLUMNS
        const uint entry = warp_m % 64u / WARP_M * (LANES / COLUMN_LANES) + lane / COLUMN_LANES;
        COLUMNS_MERGE(entry, COLUMN_ENTRIES, 64u / COLUMN_ENTRIES)
#pragma unroll
        for (uint h = 0u; h < COLUMN_FOURS; h++)
            if (entry == 0u)
                COLUMNS_STORE(h, (m0 + warp_m) / 64u, warp_n + (h * COLUMN_LANES + lane % COLUMN_LANES) * 4u);
#endif
    }
}
#endif
