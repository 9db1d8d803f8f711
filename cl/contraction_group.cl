/* Contraction for GPUs: a work-group computes TILE_M x TILE_N elements of C through panels of TILE_K steps in local memory;
 * a work-item holds ITEM_M x ITEM_N of them in registers. The next panel is loaded while this one is multiplied. */
#ifndef BD_ARGUMENTS /* so that the skeleton compiles alone */
#define BD_ARGUMENTS __global float *b0
#define BATCH 1u
#define M 64u
#define N 64u
#define K 64u
#define CHUNKS 1u
#define CHUNK 64u
#define TILE_M 64u
#define TILE_N 64u
#define TILE_K 16u
#define ITEM_M 8u
#define ITEM_N 8u
#define A_INNER_K 1
#define A_OCTX(z, o) BD_UINT4(o * K, 0u, 0u, 0u)
#define A_ICTX(i) BD_UINT4(i, 0u, 0u, 0u)
#define A_VALID(o, i) true
#define A_INDEX(o, i) ((o).x + (i).x)
#define A_GET(x) b0[x]
#define B_INNER_N 1
#define B_INDEX(z, k, n) ((k) * N + (n))
#define B_GET(x) b0[x]
#define ACCUMULATE(sum, a, b) fma(a, b, sum)
#define STORE_C(row, n, sum) b0[(row) * N + (n)] = sum
#endif

#define CEIL(a, b) (((a) + (b) - 1u) / (b))
#define ITEMS_M (TILE_M / ITEM_M)
#define ITEMS_N (TILE_N / ITEM_N)
#define ITEMS (ITEMS_M * ITEMS_N)
#define LOADS_A (TILE_M * TILE_K / ITEMS)
#define LOADS_B (TILE_N * TILE_K / ITEMS)
#define TILES_M CEIL(M, TILE_M)
#define TILES_N CEIL(N, TILE_N)
/* Rows of a panel are padded so that items that store one column do not all hit the same bank. */
#define PAD 4u
/* Where element r of an item's tile lies in the group's: fours side by side, which are loaded together. */
#define OF_M(r) (((r) / 4u * ITEMS_M + item_m) * 4u + (r) % 4u)
#define OF_N(j) (((j) / 4u * ITEMS_N + item_n) * 4u + (j) % 4u)

/* Load `i` of this item, element e of the panel: neighbours in memory go to neighbouring items. */
#define ELEMENT(i) (item + (i) * ITEMS)
#if A_INNER_K
#define A_M(e) ((e) / TILE_K)
#define A_K(e) ((e) % TILE_K)
#define A_ROW(m) A_OCTX(z, m)
#define A_COLUMN(k) A_ICTX(k)
#define A_LOAD(row, column) (A_VALID(row, column) ? A_GET(A_INDEX(row, column)) : 0.0f)
#else
#define A_M(e) ((e) % TILE_M)
#define A_K(e) ((e) / TILE_M)
#define A_ROW(m) A_ICTX(m)
#define A_COLUMN(k) A_OCTX(z, k)
#define A_LOAD(row, column) (A_VALID(column, row) ? A_GET(A_INDEX(column, row)) : 0.0f)
#endif
#if B_INNER_N
#define B_N(e) ((e) % TILE_N)
#define B_K(e) ((e) / TILE_N)
#else
#define B_N(e) ((e) / TILE_K)
#define B_K(e) ((e) % TILE_K)
#endif
#define LOAD_PANELS(first)                                                                                             \
    for (uint i = 0u; i < LOADS_A; i++) {                                                                              \
        const uint k = (first) + A_K(ELEMENT(i));                                                                      \
        const uint4 column = A_COLUMN(k);                                                                              \
        next_a[i] = 0.0f;                                                                                              \
        if (k < last)                                                                                                  \
            next_a[i] = A_LOAD(row[i], column);                                                                        \
    }                                                                                                                  \
    for (uint i = 0u; i < LOADS_B; i++) {                                                                              \
        const uint k = (first) + B_K(ELEMENT(i)), n = min(n0 + B_N(ELEMENT(i)), N - 1u);                               \
        next_b[i] = 0.0f;                                                                                              \
        if (k < last)                                                                                                  \
            next_b[i] = B_GET(B_INDEX(z, k, n));                                                                       \
    }

//@body

__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void binade(BD_ARGUMENTS)
{
    __local float panel_a[TILE_K][TILE_M + PAD], panel_b[TILE_K][TILE_N + PAD];
    const uint group = (uint)(get_group_id(1) * get_num_groups(0) + get_group_id(0)), item = (uint)get_local_id(0);
    if (group >= TILES_M * TILES_N * BATCH * CHUNKS)
        return;
    const uint n0 = group % TILES_N * TILE_N, m0 = group / TILES_N % TILES_M * TILE_M, part = group / (TILES_N * TILES_M);
    const uint z = part % BATCH, begin = part / BATCH * CHUNK, last = min(begin + CHUNK, K);
    const uint item_n = item % ITEMS_N, item_m = item / ITEMS_N;
    float sum[ITEM_M][ITEM_N], next_a[LOADS_A], next_b[LOADS_B];
    uint4 row[LOADS_A]; /* does not change from panel to panel */
#pragma unroll
    for (uint i = 0u; i < LOADS_A; i++)
        row[i] = A_ROW(min(m0 + A_M(ELEMENT(i)), M - 1u));
#pragma unroll
    for (uint r = 0u; r < ITEM_M; r++)
#pragma unroll
        for (uint j = 0u; j < ITEM_N; j++)
            sum[r][j] = 0.0f;
    LOAD_PANELS(begin)
    for (uint first = begin; first < last; first += TILE_K) {
        barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
        for (uint i = 0u; i < LOADS_A; i++)
            panel_a[A_K(ELEMENT(i))][A_M(ELEMENT(i))] = next_a[i];
#pragma unroll
        for (uint i = 0u; i < LOADS_B; i++)
            panel_b[B_K(ELEMENT(i))][B_N(ELEMENT(i))] = next_b[i];
        barrier(CLK_LOCAL_MEM_FENCE);
        LOAD_PANELS(first + TILE_K)
#pragma unroll
        for (uint k = 0u; k < TILE_K; k++) {
            float a[ITEM_M], b[ITEM_N];
#pragma unroll
            for (uint r = 0u; r < ITEM_M; r++)
                a[r] = panel_a[k][OF_M(r)];
#pragma unroll
            for (uint j = 0u; j < ITEM_N; j++)
                b[j] = panel_b[k][OF_N(j)];
#pragma unroll
            for (uint r = 0u; r < ITEM_M; r++)
#pragma unroll
                for (uint j = 0u; j < ITEM_N; j++)
                    sum[r][j] = ACCUMULATE(sum[r][j], a[r], b[j]);
        }
    }
#pragma unroll
    for (uint r = 0u; r < ITEM_M; r++)
#pragma unroll
        for (uint j = 0u; j < ITEM_N; j++)
            if (m0 + OF_M(r) < M && n0 + OF_N(j) < N)
                STORE_C(part * M + m0 + OF_M(r), n0 + OF_N(j), sum[r][j]);
}
