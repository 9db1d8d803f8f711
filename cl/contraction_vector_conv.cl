/* A convolution, or its data gradient, for CPU drivers: a work-group is one work-item, for TILE_IMAGES images, TILE_ROWS rows of
 * their output and TILE_N channels. It copies what it needs of the input once, with its padding, so that each tap of a window
 * is a fixed distance away, and multiplies by ITEM_M pixels x ITEM_N channels in vector registers.
 * For the data gradient the input is dy, spread by the stride (DILATE), with the window turned round (FLIP). */
#ifndef BD_ARGUMENTS /* so that the skeleton compiles alone */
#define BD_ARGUMENTS __global float *b0
#define BD_BUFFERS b0
#define N 16u
#define K 54u
#define IMAGES 4u
#define IN_ROWS 10u
#define IN_COLUMNS 10u
#define CHANNELS 6u
#define OUT_ROWS 10u
#define OUT_COLUMNS 10u
#define WINDOW_ROWS 3u
#define WINDOW_COLUMNS 3u
#define STRIDE_Y 1u
#define STRIDE_X 1u
#define DILATE_Y 1
#define DILATE_X 1
#define PAD_Y 1
#define PAD_X 1
#define FLIP 0
#define TILE_IMAGES 1u
#define TILE_ROWS 10u
#define TILE_N 16u
#define ITEM_M 6u
#define ITEM_N 16u
#define UNROLL 6
#define A_GET(x) b0[x]
#define A_GET8(x) vload8(0, b0 + (x))
#define B_GET(x) b0[x]
#define B_GET8(x) vload8(0, b0 + (x))
#define ACCUMULATE8(sum, a, b) fma(a, b, sum)
#define STORE_C(row, n, sum) b0[(row) * N + (n)] = sum
#endif

#define CEIL(a, b) (((a) + (b) - 1u) / (b))
#define TILES_N CEIL(N, TILE_N)
#define BANDS CEIL(OUT_ROWS, TILE_ROWS)
#define TILES_IMAGES CEIL(IMAGES, TILE_IMAGES)
#define VECTORS (ITEM_N / 8u)
#define BAND_ROWS ((TILE_ROWS - 1u) * STRIDE_Y + WINDOW_ROWS)
#define BAND_COLUMNS ((OUT_COLUMNS - 1u) * STRIDE_X + WINDOW_COLUMNS)
#define LINE (BAND_COLUMNS * CHANNELS)
#define RUN (WINDOW_COLUMNS * CHANNELS)
#define PIXELS (TILE_IMAGES * TILE_ROWS * OUT_COLUMNS)

//@body

/* Line `y` of the padded input; what lies outside of the image is 0. */
static inline void pack_line(BD_ARGUMENTS, __local float *restrict to, const uint image, const int y)
{
    const bool inside = image < IMAGES && y >= 0 && y < (int)(IN_ROWS * DILATE_Y) && y % (int)DILATE_Y == 0;
    const uint at = (image * IN_ROWS + (uint)y / DILATE_Y) * IN_COLUMNS;
#if DILATE_X == 1
    const int left = max(PAD_X, 0), right = max(min((int)BAND_COLUMNS, PAD_X + (int)IN_COLUMNS), left);
    const uint first = inside ? (uint)left * CHANNELS : 0u, last = inside ? (uint)right * CHANNELS : 0u;
    for (uint x = 0u; x < first; x++)
        to[x] = 0.0f;
    if (inside)
        BD_COPY(A, to + first, (at + (uint)(left - PAD_X)) * CHANNELS, last - first);
    for (uint x = last; x < LINE; x++)
        to[x] = 0.0f;
#else
    for (uint x = 0u; x < LINE; x++)
        to[x] = 0.0f;
    for (uint x = 0u; inside && x < IN_COLUMNS; x++) {
        const int place = (int)(x * DILATE_X) + PAD_X;
        if (place >= 0 && place < (int)BAND_COLUMNS)
            BD_COPY(A, to + (uint)place * CHANNELS, (at + x) * CHANNELS, CHANNELS);
    }
#endif
}

/* The weights of up to ITEM_N channels of C from n on, [K][ITEM_N]; idle channels are zeros. */
static inline void pack_sliver(BD_ARGUMENTS, __local float *restrict to, const uint n, const uint columns)
{
    for (uint tap = 0u; tap < WINDOW_ROWS * WINDOW_COLUMNS; tap++) {
#if FLIP
        const uint at = ((WINDOW_ROWS * WINDOW_COLUMNS - 1u - tap) * N + n) * CHANNELS;
        for (uint v = 0u; v < ITEM_N; v++)
            for (uint k = 0u; k < CHANNELS; k++) {
                to[k * ITEM_N + v] = 0.0f;
                if (v < columns)
                    to[k * ITEM_N + v] = B_GET(at + v * CHANNELS + k);
            }
#else
        for (uint k = 0u; k < CHANNELS; k++) {
            const uint at = (tap * CHANNELS + k) * N + n;
            if (columns == ITEM_N)
                BD_COPY(B, to + k * ITEM_N, at, ITEM_N);
            else
                for (uint v = 0u; v < ITEM_N; v++) {
                    to[k * ITEM_N + v] = 0.0f;
                    if (v < columns)
                        to[k * ITEM_N + v] = B_GET(at + v);
                }
        }
#endif
        to += CHANNELS * ITEM_N;
    }
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void binade(BD_ARGUMENTS)
{
    __local float band[TILE_IMAGES * BAND_ROWS * LINE] __attribute__((aligned(64)));
    __local float slivers[CEIL(TILE_N, ITEM_N) * ITEM_N * K] __attribute__((aligned(64)));
    const uint group = (uint)(get_group_id(1) * get_num_groups(0) + get_group_id(0));
    if (group >= TILES_N * BANDS * TILES_IMAGES)
        return;
    const uint n0 = group % TILES_N * TILE_N, columns = min(TILE_N, N - n0);
    const uint y0 = group / TILES_N % BANDS * TILE_ROWS, image = group / (TILES_N * BANDS) * TILE_IMAGES;
    for (uint i = 0u; i < TILE_IMAGES; i++)
        for (uint y = 0u; y < BAND_ROWS; y++)
            pack_line(BD_BUFFERS, band + (i * BAND_ROWS + y) * LINE, image + i, (int)(y0 * STRIDE_Y + y) - PAD_Y);
    for (uint j = 0u; j < columns; j += ITEM_N)
        pack_sliver(BD_BUFFERS, slivers + j * K, n0 + j, min(columns - j, ITEM_N));
    /* Several images only where the band has all rows: so the pixels follow each other in C. */
    const uint row0 = (image * OUT_ROWS + y0) * OUT_COLUMNS;
    const uint pixels = min(PIXELS, (TILE_IMAGES > 1u ? (IMAGES - image) * OUT_ROWS : OUT_ROWS - y0) * OUT_COLUMNS);
    for (uint j = 0u; j < columns; j += ITEM_N)
        for (uint p = 0u; p < pixels; p += ITEM_M) {
            __local const float *restrict a[ITEM_M], *restrict b = slivers + j * K;
            float8 sum[ITEM_M][VECTORS];
#pragma unroll
            for (uint r = 0u; r < ITEM_M; r++) {
                const uint q = min(p + r, PIXELS - 1u), line = q / OUT_COLUMNS;
                a[r] = band + (line / TILE_ROWS * BAND_ROWS + line % TILE_ROWS * STRIDE_Y) * LINE + q % OUT_COLUMNS * STRIDE_X * CHANNELS;
#pragma unroll
                for (uint v = 0u; v < VECTORS; v++)
                    sum[r][v] = (float8)(0.0f);
            }
            for (uint y = 0u; y < WINDOW_ROWS; y++) {
#pragma unroll UNROLL
                for (int k = 0; k < (int)RUN; k++) {
                    float8 column[VECTORS];
#pragma unroll
                    for (uint v = 0u; v < VECTORS; v++)
                        column[v] = vload8(0, b + v * 8u);
#pragma unroll
                    for (uint r = 0u; r < ITEM_M; r++)
#pragma unroll
                        for (uint v = 0u; v < VECTORS; v++)
                            sum[r][v] = ACCUMULATE8(sum[r][v], (float8)(a[r][k]), column[v]);
                    b += ITEM_N;
                }
#pragma unroll
                for (uint r = 0u; r < ITEM_M; r++)
                    a[r] += LINE;
            }
            float tile[ITEM_M * ITEM_N];
#pragma unroll
            for (uint r = 0u; r < ITEM_M; r++)
#pragma unroll
                for (uint v = 0u; v < VECTORS; v++)
                    vstore8(sum[r][v], 0, tile + r * ITEM_N + v * 8u);
            const uint width = min(columns - j, ITEM_N);
            for (uint r = 0u; r < min(pixels - p, ITEM_M); r++)
                if (width == ITEM_N)
                    for (uint v = 0u; v < ITEM_N; v++)
                        STORE_C(row0 + p + r, n0 + j + v, tile[r * ITEM_N + v]);
                else
                    for (uint v = 0u; v < width; v++)
                        STORE_C(row0 + p + r, n0 + j + v, tile[r * ITEM_N + v]);
        }
}
