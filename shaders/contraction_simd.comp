// Contraction for CPU drivers that make an invocation a lane of a vector register: a work-group is one register wide, and an
// invocation holds ITEM_M x ITEM_N elements of C. Operands are read as texels and not shared, since shared memory costs a
// lane-by-lane gather there. LANES_N of the lanes lie along n, the others along m.
#ifndef STEP // so that the skeleton compiles alone
#define BATCH 1u
#define M 64u
#define N 64u
#define K 64u
#define CHUNKS 1u
#define CHUNK 64u
#define LANES 8
#define LANES_N 8
#define ITEM_M 8
#define ITEM_N 8
#define STEP 8u // of k in a turn of the loop: each turn writes every sum through the execution mask
#define RAGGED 0 // a part of k need not be a multiple of STEP
#define A_WIDTH 1 // elements of A to a texel, along its inner index
#define B_WIDTH 1
#define A_TEXEL(x) vec4(x)
#define B_TEXEL(x) vec4(x)
#define A_INNER_K 1
#define A_OCTX(z, o) BD_UINT4(o * K, 0u, 0u, 0u)
#define A_ICTX(i) BD_UINT4(i, 0u, 0u, 0u)
#define A_VALID(o, i) true
#define A_INDEX(o, i) ((o).x + (i).x)
#define A_PLAIN 1
#define B_INNER_N 1
#define B_INDEX(z, k, n) ((k) * N + (n))
#define ACCUMULATE(sum, a, b) fma(a, b, sum)
#define STORE_C(row, n, sum)
#endif

#define CEIL(a, b) (((a) + (b) - 1u) / (b))
#define LANES_M (LANES / LANES_N)
#define TILES_M CEIL(M, uint(LANES_M * ITEM_M))
#define TILES_N CEIL(N, uint(LANES_N * ITEM_N))
// Elements of a texel go to one invocation.
#if A_INNER_K
#define A_ALONG_M 1u
#define A_ALONG_K A_WIDTH
#define A_ROW(m) A_OCTX(z, m)
#define A_COLUMN(k) A_ICTX(k)
#define VALID(row, column) A_VALID(row, column)
#define INDEX(row, column) A_INDEX(row, column)
#else
#define A_ALONG_M uint(A_WIDTH)
#define A_ALONG_K 1
#define A_ROW(m) A_ICTX(m)
#define A_COLUMN(k) A_OCTX(z, k)
#define VALID(row, column) A_VALID(column, row)
#define INDEX(row, column) A_INDEX(column, row)
#endif
#if B_INNER_N
#define B_ALONG_N uint(B_WIDTH)
#define B_ALONG_K 1
#else
#define B_ALONG_N 1u
#define B_ALONG_K B_WIDTH
#endif
#define OF_M(r) (m0 + ((r) / A_ALONG_M * LANES_M + lane_m) * A_ALONG_M + (r) % A_ALONG_M)
#define OF_N(j) (n0 + ((j) / B_ALONG_N * LANES_N + lane_n) * B_ALONG_N + (j) % B_ALONG_N)
#if A_ALONG_K > B_ALONG_K
#define DEPTH A_ALONG_K
#else
#define DEPTH B_ALONG_K
#endif
// What lies past the end is read where something is, and counts as 0: chosen by mix(), since ?: becomes a branch.
#if RAGGED
#define AT_K(k, width) min(k, last - uint(width))
#define PAST(k) ((k) >= last)
#else
#define AT_K(k, width) (k)
#define PAST(k) false
#endif

layout(local_size_x = LANES) in;
//@declare
//@body

void main()
{
    const uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x, lane = gl_LocalInvocationID.x;
    if (group >= TILES_M * TILES_N * BATCH * CHUNKS)
        return;
    const uint n0 = group % TILES_N * LANES_N * ITEM_N, m0 = group / TILES_N % TILES_M * LANES_M * ITEM_M;
    const uint part = group / (TILES_N * TILES_M), z = part % BATCH, begin = part / BATCH * CHUNK, last = min(begin + CHUNK, K);
    const uint lane_n = lane % LANES_N, lane_m = lane / LANES_N;
    uvec4 row[ITEM_M];
    [[unroll]] for (uint r = 0u; r < ITEM_M; r += A_ALONG_M)
        row[r] = A_ROW(min(OF_M(r), M - A_ALONG_M));
    float sum[ITEM_M][ITEM_N];
    [[unroll]] for (uint r = 0u; r < ITEM_M; r++)
        [[unroll]] for (uint j = 0u; j < ITEM_N; j++)
            sum[r][j] = 0.0f;
    for (uint first = begin; first < last; first += STEP)
        [[unroll]] for (uint step = 0u; step < STEP; step += DEPTH) {
            float a[ITEM_M][DEPTH], b[ITEM_N][DEPTH];
            [[unroll]] for (uint u = 0u; u < DEPTH; u += A_ALONG_K) {
                const uint k = first + step + u;
                const uvec4 column = A_COLUMN(AT_K(k, A_ALONG_K));
                [[unroll]] for (uint r = 0u; r < ITEM_M; r += A_ALONG_M) {
                    const bool inside = BD_BOTH(VALID(row[r], column), !PAST(k));
                    const uint at = INDEX(row[r], column);
                    const vec4 texel = A_TEXEL(mix(0u, at, inside));
                    [[unroll]] for (uint e = 0u; e < A_WIDTH; e++)
                        a[r + e % A_ALONG_M][u + e % A_ALONG_K] = mix(0.0f, texel[e], inside);
                }
            }
            [[unroll]] for (uint u = 0u; u < DEPTH; u += B_ALONG_K) {
                const uint k = first + step + u;
                [[unroll]] for (uint j = 0u; j < ITEM_N; j += B_ALONG_N) {
                    const vec4 texel = B_TEXEL(B_INDEX(z, AT_K(k, B_ALONG_K), min(OF_N(j), N - B_ALONG_N)));
                    [[unroll]] for (uint e = 0u; e < B_WIDTH; e++)
                        b[j + e % B_ALONG_N][u + e % B_ALONG_K] = mix(texel[e], 0.0f, PAST(k));
                }
            }
            // u innermost: there are more sums than registers, and each is loaded and stored once for DEPTH products.
            [[unroll]] for (uint r = 0u; r < ITEM_M; r++)
                [[unroll]] for (uint j = 0u; j < ITEM_N; j++)
                    [[unroll]] for (uint u = 0u; u < DEPTH; u++)
                        sum[r][j] = ACCUMULATE(sum[r][j], a[r][u], b[j][u]);
        }
    [[unroll]] for (uint r = 0u; r < ITEM_M; r++)
        [[unroll]] for (uint j = 0u; j < ITEM_N; j++)
            if (OF_M(r) < M && OF_N(j) < N)
                STORE_C(part * M + OF_M(r), OF_N(j), sum[r][j]);
}
