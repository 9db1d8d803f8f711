/* Contraction for CPU drivers: a work-group is one work-item. It packs panels of TILE_M x TILE_K of A and TILE_K x TILE_N of
 * B, and multiplies them by ITEM_M x ITEM_N elements of C in vector registers: vectors run along n, numbers of A are
 * broadcast. */
#ifndef BD_ARGUMENTS /* so that the skeleton compiles alone */
#define BD_ARGUMENTS __global float *b0
#define BD_BUFFERS b0
#define BATCH 1u
#define M 64u
#define N 64u
#define K 64u
#define CHUNKS 1u
#define CHUNK 64u
#define TILE_M 132u
#define TILE_N 64u
#define TILE_K 64u
#define ITEM_M 6u
#define ITEM_N 16u
#define A_INNER_K 1
#define A_PLAIN 1
#define A_OCTX(z, o) BD_UINT4(o * K, 0u, 0u, 0u)
#define A_ICTX(i) BD_UINT4(i, 0u, 0u, 0u)
#define A_INDEX(o, i) ((o).x + (i).x)
#define A_GET(x) b0[x]
#define A_GET8(x) vload8(0, b0 + (x))
#define B_INNER_N 1
#define B_INDEX(z, k, n) ((k) * N + (n))
#define B_GET(x) b0[x]
#define B_GET8(x) vload8(0, b0 + (x))
#define ACCUMULATE8(sum, a, b) fma(a, b, sum)
#define STORE_C(row, n, sum) b0[(row) * N + (n)] = sum
#endif

#define CEIL(a, b) (((a) + (b) - 1u) / (b))
#define TILES_M CEIL(M, TILE_M)
#define TILES_N CEIL(N, TILE_N)
#define PANELS CEIL(CHUNK, TILE_K)
#define VECTORS (ITEM_N / 8u)
/* Of panel A: from m to m + 1, and from k to k + 1. Eight more than TILE_K, so that rows do not share cache sets. */
#if A_INNER_K
#define A_ROW (TILE_K + 8u)
#define A_STEP 1u
#define A_SIZE (TILE_M * A_ROW)
#else
#define A_ROW 1u
#define A_STEP TILE_M
#define A_SIZE (TILE_K * TILE_M)
#endif

//@body

/* `count` elements of A from inner index `first` on. */
static inline void pack_run(BD_ARGUMENTS, __local float *restrict to, const uint4 outer, const uint first, const uint count)
{
#if A_PLAIN
    BD_COPY(A, to, A_INDEX(outer, A_ICTX(first)), count);
#else
    for (uint i = 0u; i < count;) {
        const uint part = min(A_RUN - (first + i) % A_RUN, count - i);
        const uint4 inner = A_ICTX(first + i);
        if (A_RUN_INSIDE(outer, inner)) {
            BD_COPY(A, to + i, A_INDEX(outer, inner), part);
        } else if (A_RUN_OUTSIDE(outer, inner)) {
            for (uint j = 0u; j < part; j++)
                to[i + j] = 0.0f;
        } else {
            for (uint j = 0u; j < part; j++) {
                const uint4 tap = A_ICTX(first + i + j);
                to[i + j] = 0.0f;
                if (A_VALID(outer, tap))
                    to[i + j] = A_GET(A_INDEX(outer, tap));
            }
        }
        i += part;
    }
#endif
}

/* `steps` of k from k0 on; rows up to a multiple of ITEM_M are zeros. */
static inline void pack_a(BD_ARGUMENTS, __local float *restrict panel, const uint z, const uint m0, const uint rows,
                          const uint k0, const uint steps)
{
#if A_INNER_K
    for (uint m = 0u; m < rows; m++)
        pack_run(BD_BUFFERS, panel + m * A_ROW, A_OCTX(z, m0 + m), k0, steps);
    for (uint m = rows; m < CEIL(rows, ITEM_M) * ITEM_M; m++)
        for (uint k = 0u; k < steps; k++)
            panel[m * A_ROW + k] = 0.0f;
#else
    for (uint k = 0u; k < steps; k++) {
        pack_run(BD_BUFFERS, panel + k * A_STEP, A_OCTX(z, k0 + k), m0, rows);
        for (uint m = rows; m < CEIL(rows, ITEM_M) * ITEM_M; m++)
            panel[k * A_STEP + m] = 0.0f;
    }
#endif
}

/* In slivers of ITEM_N columns, one after the other; columns up to a multiple of ITEM_N are zeros. */
static inline void pack_b(BD_ARGUMENTS, __local float *restrict panel, const uint z, const uint n0, const uint columns,
                          const uint k0, const uint steps)
{
    for (uint j = 0u; j < columns; j += ITEM_N) {
        __local float *restrict to = panel + j * TILE_K;
        const uint whole = min(columns - j, ITEM_N);
#if B_INNER_N
        for (uint k = 0u; k < steps; k++) {
            const uint at = B_INDEX(z, k0 + k, n0 + j);
            if (whole == ITEM_N)
                BD_COPY(B, to + k * ITEM_N, at, ITEM_N);
            else
                for (uint v = 0u; v < ITEM_N; v++) {
                    to[k * ITEM_N + v] = 0.0f;
                    if (v < whole)
                        to[k * ITEM_N + v] = B_GET(at + v);
                }
        }
#else
        for (uint v = 0u; v < ITEM_N; v++)
            for (uint k = 0u; k < steps; k++) {
                to[k * ITEM_N + v] = 0.0f;
                if (v < whole)
                    to[k * ITEM_N + v] = B_GET(B_INDEX(z, k0 + k, n0 + j + v));
            }
#endif
    }
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void binade(BD_ARGUMENTS)
{
    __local float panel_a[A_SIZE] __attribute__((aligned(64)));
    __local float panel_b[TILE_N * TILE_K] __attribute__((aligned(64)));
#if PANELS > 1
    __local float sums[TILE_M * TILE_N] __attribute__((aligned(64))); /* from panel to panel */
#endif
    const uint group = (uint)(get_group_id(1) * get_num_groups(0) + get_group_id(0));
    if (group >= TILES_M * TILES_N * BATCH * CHUNKS)
        return;
    const uint n0 = group % TILES_N * TILE_N, m0 = group / TILES_N % TILES_M * TILE_M, part = group / (TILES_N * TILES_M);
    const uint z = part % BATCH, begin = part / BATCH * CHUNK, last = min(begin + CHUNK, K);
    const uint rows = min(TILE_M, M - m0), columns = min(TILE_N, N - n0);
    for (uint p = 0u; p < PANELS; p++) {
        const uint k0 = begin + p * TILE_K, steps = k0 < last ? min(TILE_K, last - k0) : 0u;
        pack_a(BD_BUFFERS, panel_a, z, m0, rows, k0, steps);
        pack_b(BD_BUFFERS, panel_b, z, n0, columns, k0, steps);
        for (uint j = 0u; j < columns; j += ITEM_N)
            for (uint i = 0u; i < rows; i += ITEM_M) {
                float8 sum[ITEM_M][VECTORS];
#if PANELS > 1
                __local float *sofar = sums + i * TILE_N + j;
#define SOFAR(r, v) (p ? vload8(0, sofar + (r) * TILE_N + (v) * 8u) : (float8)(0.0f))
#else
#define SOFAR(r, v) (float8)(0.0f)
#endif
#pragma unroll
                for (uint r = 0u; r < ITEM_M; r++)
#pragma unroll
                    for (uint v = 0u; v < VECTORS; v++)
                        sum[r][v] = SOFAR(r, v);
                __local const float *restrict a = panel_a + i * A_ROW, *restrict b = panel_b + j * TILE_K;
#pragma unroll 4
                for (uint k = 0u; k < steps; k++) {
                    float8 column[VECTORS];
#pragma unroll
                    for (uint v = 0u; v < VECTORS; v++)
                        column[v] = vload8(0, b + v * 8u);
#pragma unroll
                    for (uint r = 0u; r < ITEM_M; r++)
#pragma unroll
                        for (uint v = 0u; v < VECTORS; v++)
                            sum[r][v] = ACCUMULATE8(sum[r][v], (float8)(a[r * A_ROW]), column[v]);
                    a += A_STEP;
                    b += ITEM_N;
                }
#if PANELS > 1
                if (p + 1u < PANELS) {
#pragma unroll
                    for (uint r = 0u; r < ITEM_M; r++)
#pragma unroll
                        for (uint v = 0u; v < VECTORS; v++)
                            vstore8(sum[r][v], 0, sofar + r * TILE_N + v * 8u);
                    continue;
                }
#endif
                float tile[ITEM_M * ITEM_N];
#pragma unroll
                for (uint r = 0u; r < ITEM_M; r++)
#pragma unroll
                    for (uint v = 0u; v < VECTORS; v++)
                        vstore8(sum[r][v], 0, tile + r * ITEM_N + v * 8u);
                const uint row = part * M + m0 + i, width = min(columns - j, ITEM_N);
                for (uint r = 0u; r < min(rows - i, ITEM_M); r++)
                    if (width == ITEM_N)
                        for (uint v = 0u; v < ITEM_N; v++)
                            STORE_C(row + r, n0 + j + v, tile[r * ITEM_N + v]);
                    else
                        for (uint v = 0u; v < width; v++)
                            STORE_C(row + r, n0 + j + v, tile[r * ITEM_N + v]);
            }
    }
}
