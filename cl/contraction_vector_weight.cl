/* A convolution's weight gradient for CPU drivers: a work-group is one work-item, which sums TILE_IMAGES images, one after the
 * other, for TILE_N channels of dy. It copies an image with its padding, so that the pixels that meet a tap are a fixed
 * distance apart, and multiplies ITEM_M taps x ITEM_N channels in vector registers. */
#ifndef BD_ARGUMENTS /* so that the skeleton compiles alone */
#define BD_ARGUMENTS __global float *b0
#define BD_BUFFERS b0
#define M 54u
#define N 16u
#define CHUNKS 2u
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
#define PAD_Y 1
#define PAD_X 1
#define TILE_IMAGES 2u
#define TILE_N 16u
#define ITEM_M 6u
#define ITEM_N 16u
#define UNROLL 5
#define A_GET(x) b0[x]
#define A_GET8(x) vload8(0, b0 + (x))
#define B_GET(x) b0[x]
#define B_GET8(x) vload8(0, b0 + (x))
#define ACCUMULATE8(sum, a, b) fma(a, b, sum)
#define STORE_C(row, n, sum) b0[(row) * N + (n)] = sum
#endif

#define CEIL(a, b) (((a) + (b) - 1u) / (b))
#define TILES_N CEIL(N, TILE_N)
#define VECTORS (ITEM_N / 8u)
#define WIDTH (CEIL(TILE_N, ITEM_N) * ITEM_N)
#define PADDED_ROWS ((OUT_ROWS - 1u) * STRIDE_Y + WINDOW_ROWS)
#define PADDED_COLUMNS ((OUT_COLUMNS - 1u) * STRIDE_X + WINDOW_COLUMNS)
#define LINE (PADDED_COLUMNS * CHANNELS)
#define RUN (WINDOW_COLUMNS * CHANNELS)
#define PIXELS (OUT_ROWS * OUT_COLUMNS)

//@body

/* dy of one image for up to ITEM_N channels from n on, [PIXELS][ITEM_N]; idle channels are zeros. */
static inline void pack_sliver(BD_ARGUMENTS, __local float *restrict to, const uint image, const uint n, const uint columns)
{
    for (uint k = 0u; k < PIXELS; k++) {
        const uint at = (image * PIXELS + k) * N + n;
        if (columns == ITEM_N)
            BD_COPY(B, to + k * ITEM_N, at, ITEM_N);
        else
            for (uint v = 0u; v < ITEM_N; v++) {
                to[k * ITEM_N + v] = 0.0f;
                if (v < columns)
                    to[k * ITEM_N + v] = B_GET(at + v);
            }
    }
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void binade(BD_ARGUMENTS)
{
    __local float padded[PADDED_ROWS * LINE] __attribute__((aligned(64)));
    __local float slivers[WIDTH * PIXELS] __attribute__((aligned(64)));
    __local float sums[CEIL(M, ITEM_M) * ITEM_M * WIDTH] __attribute__((aligned(64)));
    const uint group = (uint)(get_group_id(1) * get_num_groups(0) + get_group_id(0));
    if (group >= TILES_N * CHUNKS)
        return;
    const uint n0 = group % TILES_N * TILE_N, columns = min(TILE_N, N - n0), chunk = group / TILES_N;
    const int top = max(PAD_Y, 0), bottom = min((int)PADDED_ROWS, PAD_Y + (int)IN_ROWS);
    const int left = max(PAD_X, 0), right = max(min((int)PADDED_COLUMNS, PAD_X + (int)IN_COLUMNS), left);
    for (uint i = 0u; i < CEIL(M, ITEM_M) * ITEM_M * WIDTH; i++)
        sums[i] = 0.0f;
    for (uint i = 0u; i < PADDED_ROWS * LINE; i++)
        padded[i] = 0.0f;
    for (uint image = chunk * TILE_IMAGES; image < min((chunk + 1u) * TILE_IMAGES, IMAGES); image++) {
        for (int y = top; y < bottom; y++)
            BD_COPY(A, padded + (uint)y * LINE + (uint)left * CHANNELS,
                    ((image * IN_ROWS + (uint)(y - PAD_Y)) * IN_COLUMNS + (uint)(left - PAD_X)) * CHANNELS,
                    (uint)(right - left) * CHANNELS);
        for (uint j = 0u; j < columns; j += ITEM_N)
            pack_sliver(BD_BUFFERS, slivers + j * PIXELS, image, n0 + j, min(columns - j, ITEM_N));
        for (uint j = 0u; j < columns; j += ITEM_N)
            for (uint m = 0u; m < M; m += ITEM_M) {
                __local const float *restrict a[ITEM_M], *restrict b = slivers + j * PIXELS;
                __local float *restrict sofar = sums + m * WIDTH + j;
                float8 sum[ITEM_M][VECTORS];
#pragma unroll
                for (uint r = 0u; r < ITEM_M; r++) {
                    const uint tap = min(m + r, M - 1u);
                    a[r] = padded + tap / RUN * LINE + tap % RUN;
#pragma unroll
                    for (uint v = 0u; v < VECTORS; v++)
                        sum[r][v] = vload8(0, sofar + r * WIDTH + v * 8u);
                }
                for (uint y = 0u; y < OUT_ROWS; y++) {
#pragma unroll UNROLL
                    for (int x = 0; x < (int)OUT_COLUMNS; x++) {
                        float8 column[VECTORS];
#pragma unroll
                        for (uint v = 0u; v < VECTORS; v++)
                            column[v] = vload8(0, b + v * 8u);
#pragma unroll
                        for (uint r = 0u; r < ITEM_M; r++)
#pragma unroll
                            for (uint v = 0u; v < VECTORS; v++)
                                sum[r][v] = ACCUMULATE8(sum[r][v], (float8)(a[r][x * (int)(STRIDE_X * CHANNELS)]), column[v]);
                        b += ITEM_N;
                    }
#pragma unroll
                    for (uint r = 0u; r < ITEM_M; r++)
                        a[r] += STRIDE_Y * LINE;
                }
#pragma unroll
                for (uint r = 0u; r < ITEM_M; r++)
#pragma unroll
                    for (uint v = 0u; v < VECTORS; v++)
                        vstore8(sum[r][v], 0, sofar + r * WIDTH + v * 8u);
            }
    }
    for (uint m = 0u; m < M; m++)
        for (uint n = 0u; n < columns; n++)
            STORE_C(chunk * M + m, n0 + n, sums[m * WIDTH + n]);
}
