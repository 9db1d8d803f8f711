// Contraction for CPU drivers that make an invocation a lane of a vector register: a work-group is one register wide, and an
// invocation holds ITEM_M x ITEM_N elements of C. Operands are read as texels and not through shared memory, which costs a lane-by-lane
// gather there. LANES_N of the lanes lie along n, the others along m. A fetch takes as long as twenty products, so of B no
// two lanes fetch the same: groups of SPREAD lanes along m fetch different n, PARTS lanes a different k, and they show each other
// what they have, which is an instruction where the other lane is known when the driver compiles.
#ifndef STEP // so that the skeleton compiles alone
#define BATCH 1u
#define M 64u
#define N 64u
#define K 64u
#define CHUNKS 1u
#define CHUNK 64u
#define PHASES 1 // of a data gradient's pixels: their places within a stride, each of which other taps meet
#define LANES 8
#define LANES_N 1
#define SPREAD 8
#define ITEM_M 8
#define ITEM_N 8
#define STEP 8 // of k in a turn of the loop: each turn writes every sum through the execution mask
#define RAGGED 0 // a part of k need not be a multiple of STEP
#define EVEN 1 // within a turn contexts of k go on evenly
#define EVEN_STEP(u) BD_UINT4(u, 0u, 0u, 0u)
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
#define STORE_WIDTH 1
#define STORE_C(row, n, sum)
#endif

#define CEIL(a, b) (((a) + (b) - 1u) / (b))
#define LANES_M (LANES / LANES_N)
#define ROWS_M (M / PHASES) // that have the same taps
#define TILES_M CEIL(ROWS_M, uint(LANES_M * ITEM_M))
#define TILES_N CEIL(N, uint(LANES_N * ITEM_N))
// Elements of a texel of A go to one invocation.
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
#define HELD (LANES_N * SPREAD) // lanes that fetch along n
#define PARTS (LANES / HELD)
#if B_INNER_N
#define B_ALONG_N B_WIDTH
#define B_ALONG_K 1
#else
#define B_ALONG_N 1
#define B_ALONG_K B_WIDTH
#endif
#define B_DEPTH (B_ALONG_K * PARTS) // of k in a fetch
#if A_ALONG_K < 4 && B_DEPTH < 4 && STEP % 4 == 0
#define DEPTH 4
#elif A_ALONG_K > B_DEPTH
#define DEPTH A_ALONG_K
#else
#define DEPTH B_DEPTH
#endif
#define BLOCKS (uint(ITEM_N / SPREAD) / B_ALONG_N) // texels of B side by side
#define TEXEL_N(block, i) (n0 + ((block) * HELD + (i)) * B_ALONG_N)
// A lane's sum j: of the lane whose number is AWAY(j) from its own, by XOR, it is shown the element j % B_ALONG_N of its texel.
#define BLOCK(j) ((j) / (SPREAD * B_ALONG_N))
#define AWAY(j) ((j) / B_ALONG_N % SPREAD)
#define OF_M(r) (m0 + ((r) / A_ALONG_M * LANES_M + lane_m) * A_ALONG_M + (r) % A_ALONG_M)
#define OF_N(j) (TEXEL_N(BLOCK(j), lane_n * SPREAD + (lane_m ^ AWAY(j)) % SPREAD) + (j) % B_ALONG_N)
#if ITEM_M < 4
#define ROWS ITEM_M
#else
#define ROWS 4 // which ITEM_M is a multiple of
#endif
// What lies past the end is read where something is, and counts as 0: chosen by mix(), since ?: becomes a branch.
#if RAGGED
#define AT_K(k, width) min(k, last - uint(width))
#define PAST(k) ((k) >= last)
#else
#define AT_K(k, width) (k)
#define PAST(k) false
#endif

#if PHASES > 1 // where a turn is along k: its tap's row and column, and its channel
#define PHASES_Y uint(DILATE_Y)
#define PHASES_X uint(DILATE_X)
#define LINE (OUT_COLUMNS / PHASES_X) // pixels of a phase in a row of the image
#define PIXEL(m) (((m) / LINE * PHASES_Y + phase / PHASES_X) * OUT_COLUMNS + (m) % LINE * PHASES_X + phase % PHASES_X)
#define FIRST_ROW ((phase / PHASES_X + WINDOW_ROWS - 1u - uint(PAD_Y)) % PHASES_Y)
#define FIRST_COLUMN ((phase % PHASES_X + WINDOW_COLUMNS - 1u - uint(PAD_X)) % PHASES_X)
#define TURNS uvec3 at = first_turn(phase); at.x < WINDOW_ROWS; at = next_turn(at, phase)
#define FIRST_K ((at.x * WINDOW_COLUMNS + at.y) * CHANNELS + at.z)
#define ORIGIN BD_UINT4(at.z, at.x, at.y, 0u)
#else
#define PIXEL(m) (m)
#define TURNS uint at = begin; at < last; at += STEP
#define FIRST_K at
#define ORIGIN A_COLUMN(at)
#endif

layout(local_size_x = LANES) in;
//@declare
//@body

#if PHASES > 1
uvec3 first_turn(const uint phase)
{
    return uvec3(FIRST_COLUMN < WINDOW_COLUMNS ? FIRST_ROW : WINDOW_ROWS, FIRST_COLUMN, 0u);
}

uvec3 next_turn(const uvec3 at, const uint phase)
{
    const uint channel = at.z + STEP, column = at.y + mix(0u, PHASES_X, channel == CHANNELS);
    return uvec3(at.x + mix(0u, PHASES_Y, column >= WINDOW_COLUMNS), mix(column, FIRST_COLUMN, column >= WINDOW_COLUMNS),
                 mix(channel, 0u, channel == CHANNELS));
}
#endif

void main()
{
    const uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x, lane = gl_SubgroupInvocationID;
    if (group >= TILES_M * TILES_N * BATCH * CHUNKS * PHASES)
        return;
    const uint n0 = group % TILES_N * LANES_N * ITEM_N, m0 = group / TILES_N % TILES_M * LANES_M * ITEM_M;
    const uint phase = group / (TILES_N * TILES_M) % PHASES, part = group / (TILES_N * TILES_M * PHASES);
    const uint z = part % BATCH, begin = part / BATCH * CHUNK, last = min(begin + CHUNK, K);
    const uint lane_m = lane % LANES_M, lane_n = lane / LANES_M;
    uvec4 row[ITEM_M];
    [[unroll]] for (uint r = 0u; r < ITEM_M; r += A_ALONG_M)
        row[r] = A_ROW(PIXEL(min(OF_M(r), ROWS_M - A_ALONG_M)));
    float sum[ITEM_M][ITEM_N];
    [[unroll]] for (uint r = 0u; r < ITEM_M; r++)
        [[unroll]] for (uint j = 0u; j < ITEM_N; j++)
            sum[r][j] = 0.0f;
    for (TURNS) {
        const uint first = FIRST_K;
        const uvec4 origin = ORIGIN;
        [[unroll]] for (uint step = 0u; step < STEP; step += DEPTH) {
            float a[ITEM_M][DEPTH];
            vec4 b[BLOCKS][DEPTH / B_DEPTH];
            [[unroll]] for (uint u = 0u; u < DEPTH; u += A_ALONG_K) {
                const uint k = first + step + u;
#if EVEN
                const uvec4 column = origin + EVEN_STEP(AT_K(k, A_ALONG_K) - first);
#else
                const uvec4 column = A_COLUMN(AT_K(k, A_ALONG_K));
#endif
                [[unroll]] for (uint r = 0u; r < ITEM_M; r += A_ALONG_M) {
                    const bool inside = BD_BOTH(VALID(row[r], column), !PAST(k));
                    const uint at = INDEX(row[r], column);
                    const vec4 texel = A_TEXEL(mix(0u, at, inside));
                    [[unroll]] for (uint e = 0u; e < A_WIDTH; e++)
                        a[r + e % A_ALONG_M][u + e % A_ALONG_K] = mix(0.0f, texel[e], inside);
                }
            }
            [[unroll]] for (uint u = 0u; u < DEPTH; u += B_DEPTH) {
                const uint k = first + step + u + lane / HELD * B_ALONG_K;
                [[unroll]] for (uint block = 0u; block < BLOCKS; block++) {
                    const uint n = min(TEXEL_N(block, lane % HELD), N - B_ALONG_N);
                    const vec4 texel = B_TEXEL(B_INDEX(z, AT_K(k, B_ALONG_K), n));
                    b[block][u / B_DEPTH] = mix(texel, vec4(0.0f), bvec4(PAST(k)));
                }
            }
            // What is shown serves ROWS sums at once, whose operands of A fit in registers with it. u before them: there are more
            // sums than registers, and each is loaded and stored once for DEPTH products.
            [[unroll]] for (uint rows = 0u; rows < ITEM_M; rows += ROWS)
                [[unroll]] for (uint j = 0u; j < ITEM_N; j++)
                    [[unroll]] for (uint u = 0u; u < DEPTH; u++) {
                        const float fetched = b[BLOCK(j)][u / B_DEPTH][B_INNER_N == 1 ? j % B_ALONG_N : u % B_ALONG_K];
                        const uint holder = u % B_DEPTH / B_ALONG_K * HELD + lane_n * SPREAD + lane_m % SPREAD;
                        const float shown = subgroupShuffle(subgroupShuffle(fetched, holder), lane ^ AWAY(j));
                        [[unroll]] for (uint i = 0u; i < ROWS; i++)
                            sum[rows + i][j] = ACCUMULATE(sum[rows + i][j], a[rows + i][u], shown);
                    }
        }
    }
    [[unroll]] for (uint r = 0u; r < ITEM_M; r++)
        [[unroll]] for (uint j = 0u; j < ITEM_N; j += STORE_WIDTH)
            if (OF_M(r) < ROWS_M && OF_N(j) < N) {
#if STORE_WIDTH == 4
                vec4 four = vec4(sum[r][j], sum[r][j + 1u], sum[r][j + 2u], sum[r][j + 3u]);
#if B_ALONG_N == 1 // sum j + i is of column i ^ lane_m of the four
                four = mix(four, four.yxwz, bvec4((lane_m & 1u) != 0u));
                four = mix(four, four.zwxy, bvec4((lane_m & 2u) != 0u));
#endif
                STORE_C4(part * M + PIXEL(OF_M(r)), OF_N(j) & ~3u, four);
#else
                STORE_C(part * M + PIXEL(OF_M(r)), OF_N(j), sum[r][j]);
#endif
            }
}
