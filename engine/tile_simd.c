/* The tiles of BD_TILE_SIMD: how wide its operands are read, and the registers that cost least. */
#include "arithmetic.h"
#include "emit.h"
#include "tile.h"

/* Nanoseconds for one vector register of 8 lanes, measured with Mesa 22.3's lavapipe on a server CPU; only their
 * proportions matter. */
#define COST_FETCH 5.0     /* of a texel, however wide, by lanes that lie side by side or at one place */
#define COST_APART 9.0     /* by lanes whose texels lie a row apart */
#define COST_MULTIPLY 0.21 /* and add */
#define COST_SHOW 0.25     /* a number to another lane */
#define COST_TURN 0.15     /* each sum, through the execution mask, in a turn of the loop */
#define COST_STORE 15.0    /* lane by lane */
#define COST_STORE4 20.0   /* of four neighbours at once */
#define COST_COLUMN 15.0   /* a convolution's context of k, by divisions */
#define COST_INSIDE 1.5    /* whether a tap lies inside the image, for each fetch */
#define COST_EVICTED 8.0   /* of a fetch whose line of the cache did not stay there since the texel before it */

/* Lines whose addresses differ by a multiple of this share a set of the nearest cache, and so many of them stay in it
 * beside the sums. */
#define CACHE_PERIOD 4096
#define CACHE_LINE 64
#define CACHE_WAYS 5

/* What is unrolled must be compiled: worth it if a thousand runs gain as much. */
#define COST_COMPILE_SUM 3500.0 /* with its store */
#define COST_COMPILE_MULTIPLY 250.0

#define COST_REFUSED 1e30 /* what unrolls too much is taken where all do, and then the least of it */

#define MOST_SUMS 256 /* of an invocation */
#define MOST_MULTIPLY 1024
/* SwiftShader's registers are this narrow: it compiles five times slower, and gains nothing from more. */
#define NARROW_LANES 4
#define NARROW_MULTIPLY 64
/* Rounding a product and a sum to halves by integers is so much more code than one multiplication; SwiftShader takes
 * 0.2 s for eight of them in a row, and minutes for sixteen. */
#define HALF_SUM_CODE 16
#define MOST_STEP 4
#define ROWS 4 /* that a lane's vectors are a multiple of where they are more: the skeleton takes so many at once */

typedef struct operand {
    int number;    /* of the kernel's operand; -1: not one as it is read */
    int64_t width; /* elements to a texel */
    bool texels;   /* it is read as such, not as a buffer */
    bool along_k;
} operand;

typedef struct problem {
    bd_contraction c;
    int64_t chunks, chunk; /* parts of k, and their length */
    int64_t run;           /* of k, whose contexts go on evenly */
    int64_t phases;        /* of a data gradient's pixels, by their place within a stride; else 1 */
    operand a, b;
    bool convolution;
    int64_t row_bytes; /* from one row of an operand that is read along k to the next */
    bool fours;        /* what is stored has neighbours along n */
    uint32_t lanes, units;
    int64_t most_multiply; /* what is unrolled at most */
} problem;

/* The widest texels of which `inner`, the index whose elements follow each other, and the parts of k have whole
 * ones. */
static operand read_operand(const bd_plan *plan, const bd_kernel *kernel, bd_tensor input, int64_t inner, bool along_k,
                            const problem *p, const bd_target *target)
{
    const bd_graph *graph = plan->graph;
    input = bd_stored_operand(graph, input);
    operand o = { bd_kernel_operand(kernel, input), 1, false, along_k };
    const bd_format format = graph->nodes[input].format;
    if (o.number < 0 || (format != BD_F32 && format != BD_F16))
        return o;
    for (int64_t width = BD_ACCESS_TEXEL4; width >= BD_ACCESS_TEXEL1 && !o.texels; width /= 2)
        if (inner % width == 0 && (!along_k || p->chunks == 1 || p->chunk % width == 0) &&
            bd_shape_elements(&graph->nodes[input].shape) / width <= target->texel_elements)
            o.width = width, o.texels = true;
    return o;
}

bd_run bd_run_of(const bd_graph *graph, bd_tensor contraction)
{
    const bd_node *node = &graph->nodes[contraction];
    const bd_contraction c = bd_contraction_of(graph, contraction);
    const bd_shape *a = &graph->nodes[node->inputs[0]].shape;
    if (node->op == BD_OP_MATMUL)
        return (bd_run){ c.k, node->attr.matmul.transpose[0] ? c.m : 1, 0 };
    if (node->op != BD_OP_CONV2D_WEIGHT)
        return (bd_run){ a->dim[3], 1, 0 };
    const int64_t stride = node->attr.window.stride[1];
    return (bd_run){ graph->nodes[node->inputs[1]].shape.dim[2], stride * a->dim[3], stride };
}

static problem describe(const bd_plan *plan, const bd_kernel *kernel, const bd_target *target)
{
    const bd_graph *graph = plan->graph;
    const bd_node *node = &graph->nodes[kernel->anchor];
    problem p = { .c = bd_contraction_of(graph, kernel->anchor), .chunks = node->chunks > 1 ? node->chunks : 1 };
    p.chunk = bd_chunk_length(p.c.k, p.chunks);
    p.run = bd_run_of(graph, kernel->anchor).length;
    p.lanes = target->limits.subgroup_size;
    p.units = target->limits.compute_units ? target->limits.compute_units : 1;
    const bd_shape *a = &graph->nodes[node->inputs[0]].shape, *b = &graph->nodes[node->inputs[1]].shape;
    const bool along_k[2] = {
        node->op == BD_OP_MATMUL ? !node->attr.matmul.transpose[0] : node->op != BD_OP_CONV2D_WEIGHT,
        node->op == BD_OP_MATMUL ? node->attr.matmul.transpose[1] : node->op == BD_OP_CONV2D_DATA
    };
    p.convolution = node->op != BD_OP_MATMUL;
    const int64_t *stride = node->attr.window.stride;
    p.phases =
        node->op == BD_OP_CONV2D_DATA && node->shape.dim[1] % stride[0] == 0 && node->shape.dim[2] % stride[1] == 0
            ? stride[0] * stride[1]
            : 1;
    p.a = read_operand(plan, kernel, node->inputs[0], a->dim[a->rank - 1], along_k[0], &p, target);
    p.b = read_operand(plan, kernel, node->inputs[1], b->dim[b->rank - 1], along_k[1], &p, target);
    if (p.a.number >= 0 && p.a.number == p.b.number) /* x^T x: one binding */
        p.a.width = p.b.width = p.a.width < p.b.width ? p.a.width : p.b.width;
    p.row_bytes = p.run * (int64_t)bd_format_size(graph->nodes[bd_stored_operand(graph, node->inputs[0])].format);
    /* What is fused into a load is read one element at a time, which texels of four make slower; and SwiftShader takes
     * gigabytes to compile the code of four results. */
    p.fours = p.a.number >= 0 && p.b.number >= 0 && p.lanes > NARROW_LANES &&
              bd_kernel_width(plan, kernel, target, p.c.n) == BD_WIDTH;
    p.most_multiply = p.lanes > NARROW_LANES ? MOST_MULTIPLY : NARROW_MULTIPLY;
    if (node->accumulator == BD_F16 && !(target->half.arithmetic && target->half.arithmetic_exact))
        p.most_multiply /= HALF_SUM_CODE;
    return p;
}

/* Of k at once: a texel of A, or what the lanes of a fetch of B have between them. */
static int64_t depth_of(const problem *p, uint32_t lanes_n, uint32_t spread)
{
    const int64_t a = p->a.along_k ? p->a.width : 1,
                  b = (p->b.along_k ? p->b.width : 1) * (p->lanes / (lanes_n * spread));
    return a > b ? a : b;
}

/* The most of k in a turn that every run and every part has a whole number of; where that is little, parts end
 * raggedly. */
static int64_t choose_step(const problem *p, int64_t sums, int64_t depth)
{
    int64_t most = p->most_multiply / sums < MOST_STEP ? p->most_multiply / sums : MOST_STEP;
    most = most < depth ? depth : most / depth * depth;
    int64_t step = most;
    while (step > depth && (p->run % step || p->c.k % step || (p->chunks > 1 && p->chunk % step)))
        step -= depth;
    return step == 1 && p->c.k > 1 ? most : step;
}

/* A lane must have whole fours of columns: of a texel, or of the lanes that show each other theirs. */
static bool stores_fours(const problem *p, uint32_t spread)
{
    const int64_t wide_n = p->b.along_k ? 1 : p->b.width;
    return p->fours && (wide_n == BD_WIDTH || (wide_n == 1 && spread % BD_WIDTH == 0));
}

/* Rows that are read along k lie a power of two apart more often than not, and then meet in few sets of the cache. */
static bool is_evicted(const problem *p, const bd_tile *t)
{
    const int64_t rows = (p->a.along_k ? t->m : 0) + (p->b.along_k ? t->n : 0);
    int64_t apart = CACHE_LINE;
    while (apart < CACHE_PERIOD && p->row_bytes % (2 * apart) == 0)
        apart *= 2;
    return rows > CACHE_PERIOD / apart * CACHE_WAYS;
}

static int64_t count_groups(const problem *p, const bd_tile *t)
{
    return bd_ceil_divide(p->c.m / t->phases, t->m) * t->phases * bd_ceil_divide(p->c.n, t->n) * p->c.batch * p->chunks;
}

static double cost(const problem *p, const bd_tile *t)
{
    const int64_t sums = t->item_m * t->item_n, step = t->k, held = t->n / t->item_n * t->spread;
    const double fetches_a = (double)(t->item_m * step / p->a.width),
                 fetches_b =
                     (double)(t->item_n / t->spread) * (double)step * (double)held / (double)(p->lanes * p->b.width);
    /* The lanes of a matmul lie in different rows of an operand whose elements follow each other along k. */
    const bool apart_a = !p->convolution && p->a.along_k && t->m > t->item_m,
               apart_b = !p->convolution && p->b.along_k && held > 1;
    const int64_t shown = t->spread - (held == p->lanes); /* a lane need not show itself its own */
    const double turn =
        fetches_a * (apart_a ? COST_APART : COST_FETCH) + fetches_b * (apart_b ? COST_APART : COST_FETCH) +
        (double)(t->item_n / t->spread * shown * step) * COST_SHOW +
        (double)sums * ((double)step * COST_MULTIPLY + COST_TURN) +
        (is_evicted(p, t) ? (fetches_a + fetches_b) * COST_EVICTED : 0) +
        (p->convolution ? fetches_a * COST_INSIDE + (p->run % step ? (double)step : 1.0) * COST_COLUMN : 0);
    const int64_t groups = count_groups(p, t);
    const double store = stores_fours(p, t->spread) ? COST_STORE4 / BD_WIDTH : COST_STORE;
    const double turns = (double)bd_ceil_divide(p->chunk, step) / t->phases; /* all taps meet as many pixels */
    const double group = turns * turn + (double)sums * store;
    const double compile = (double)sums * (COST_COMPILE_SUM + (double)step * COST_COMPILE_MULTIPLY);
    return (double)bd_ceil_divide(groups, p->units) * group + compile;
}

static bd_tile best_tile(const problem *p)
{
    const uint32_t wide_m = p->a.along_k ? 1 : (uint32_t)p->a.width, wide_n = p->b.along_k ? 1 : (uint32_t)p->b.width;
    bd_tile best = { 0 };
    double least = 0;
    for (uint32_t lanes_n = 1; lanes_n <= p->lanes; lanes_n *= 2)
        for (uint32_t spread = 1; lanes_n * spread <= p->lanes; spread *= 2) {
            const int64_t depth = depth_of(p, lanes_n, spread);
            if (depth > MOST_STEP)
                continue;
            for (uint32_t item_m = wide_m; item_m <= 16; item_m += item_m < ROWS ? wide_m : ROWS)
                for (uint32_t item_n = wide_n * spread; item_n <= 64 && item_m * item_n <= MOST_SUMS;
                     item_n += wide_n * spread) {
                    const int64_t step = choose_step(p, item_m * item_n, depth);
                    /* A turn has one tap. */
                    const bool phases = p->run % step == 0 && p->chunks == 1;
                    const bd_tile tile = { .kind = BD_TILE_SIMD,
                                           .m = p->lanes / lanes_n * item_m,
                                           .n = lanes_n * item_n,
                                           .k = (uint32_t)step,
                                           .item_m = item_m,
                                           .item_n = item_n,
                                           .spread = spread,
                                           .phases = phases ? (uint32_t)p->phases : 1 };
                    const int64_t unrolled = item_m * item_n * depth;
                    const double now = unrolled > p->most_multiply ? COST_REFUSED * (double)unrolled : cost(p, &tile);
                    if (best.m == 0 || now < least) {
                        best = tile;
                        least = now;
                    }
                }
        }
    return best;
}

static void read_texels(bd_kernel *kernel, const operand *o)
{
    if (o->texels)
        kernel->operands[o->number].access = (bd_access)o->width;
}

bool bd_simd_launch(const bd_plan *plan, bd_kernel *kernel, const bd_target *target)
{
    if (target->texel_elements == 0 || target->texel_bindings < 2 || !target->shuffles ||
        target->limits.subgroup_size == 0)
        return false;
    const problem p = describe(plan, kernel, target);
    if (p.c.batch <= 0 || p.c.m <= 0 || p.c.n <= 0 || p.c.k <= 0)
        return false;
    read_texels(kernel, &p.a);
    read_texels(kernel, &p.b);
    kernel->tile = best_tile(&p);
    if (stores_fours(&p, kernel->tile.spread))
        kernel->width = BD_WIDTH;
    kernel->local[0] = p.lanes;
    bd_spread_groups(target, kernel, (uint64_t)count_groups(&p, &kernel->tile));
    return true;
}
