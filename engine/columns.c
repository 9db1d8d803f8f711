#include "columns.h"
#include "emit.h"
#include "fuse.h"
#include "tile.h"

/* ---- whose kernel a value will be computed in ---- */

/* Chains of elementwise operations are followed so far. */
enum { DEPTH = 8 };

/* What fusion (fuse.c) will make of a node, as far as the order of nodes tells: it joins the last of the kernels that
 * it depends on, and that is the contraction's if all else that it reads came before. */
typedef struct origin {
    const bd_graph *graph;
    bd_tensor contraction; /* or BD_NONE */
    bd_tensor latest;      /* the last node of another kernel that it reads; -1 if it only reads variables */
    int depth;
} origin;

static origin find_origin(const bd_graph *graph, bd_tensor tensor, int depth);

static void visit_origin(void *user, bd_tensor base)
{
    origin *o = user;
    const origin of_base = find_origin(o->graph, base, o->depth - 1);
    o->contraction = of_base.contraction > o->contraction ? of_base.contraction : o->contraction;
    o->latest = of_base.latest > o->latest ? of_base.latest : o->latest;
}

static origin find_origin(const bd_graph *graph, bd_tensor tensor, int depth)
{
    const bd_op_class class = bd_op_get_info(graph->nodes[tensor].op)->class;
    origin o = { graph, BD_NONE, -1, depth };
    if (class == BD_CLASS_CONTRACTION)
        o.contraction = tensor;
    else if (class == BD_CLASS_ELEMENTWISE && depth > 0)
        bd_visit_bases(graph, tensor, visit_origin, &o);
    else if (graph->nodes[tensor].op != BD_OP_VARIABLE)
        o.latest = tensor;
    if (o.contraction == BD_NONE && o.latest >= 0)
        o.latest = tensor;
    if (o.contraction != BD_NONE && o.latest > o.contraction)
        o.contraction = BD_NONE, o.latest = tensor;
    return o;
}

/* ---- strips ---- */

/* Sums in F32 only: no other accumulator is rounded to here. */
static bool is_summed_in_f32(const bd_node *reduction)
{
    return reduction->op == BD_OP_MEAN || reduction->op == BD_OP_DEVIATIONS ||
           (reduction->op == BD_OP_SUM && reduction->accumulator == BD_F32);
}

static bool covers(const bd_contraction *c, const bd_extent *extent)
{
    return extent->outer == 1 && extent->length == c->batch * c->m && extent->inner == c->n && c->m % BD_STRIP == 0 &&
           c->n % BD_WIDTH == 0;
}

/* The guess that costs least must be a tile that can, so that no contraction is slower for its columns. */
static bool has_tile(const bd_graph *graph, bd_tensor contraction, const bd_target *target)
{
    bd_tile tiles[BD_GROUP_TILES];
    return bd_group_tiles(graph, contraction, NULL, target, tiles) > 0 &&
           bd_tile_sums_columns(graph, contraction, &tiles[0], target);
}

int64_t bd_column_strips(const bd_graph *graph, bd_tensor input, const bd_node *reduction, const bd_extent *extent,
                         const bd_target *target, const bd_compile_options *options)
{
    enum { SHORTEST = 1024 }; /* rows: what is shorter takes one pass */
    if (target->is_cpu || !target->half.storage || options->no_fusion || extent->length < SHORTEST ||
        !is_summed_in_f32(reduction))
        return 0;
    const bd_tensor base = bd_stored_operand(graph, input);
    const bd_tensor contraction = find_origin(graph, base, DEPTH).contraction;
    if (bd_is_inline(graph, base) || contraction == BD_NONE)
        return 0;
    const bd_contraction c = bd_contraction_of(graph, contraction);
    const bd_node *node = &graph->nodes[contraction];
    if (!covers(&c, extent) || node->chunks > 1 || !bd_variant_allowed(target, node, BD_VARIANT_COLUMN_SUMS) ||
        (node->op == BD_OP_MATMUL && options->gemm == BD_GEMM_LIBRARY) || !has_tile(graph, contraction, target))
        return 0;
    return extent->length / BD_STRIP;
}

bool bd_columns_are_strips(const bd_graph *graph, bd_tensor contraction, bd_tensor reduction, const bd_target *target)
{
    const bd_contraction c = bd_contraction_of(graph, contraction);
    const bd_extent extent = bd_reduction_extent(graph, reduction);
    return graph->nodes[reduction].attr.reduce.strips && graph->nodes[contraction].chunks <= 1 && covers(&c, &extent) &&
           has_tile(graph, contraction, target);
}

/* ---- kernels ---- */

int bd_add_column_sum(const bd_graph *graph, bd_tensor reduction, bd_column_sum *sums, int count)
{
    const bd_node *node = &graph->nodes[reduction];
    const bd_column_sum sum = { node->inputs[0], node->op != BD_OP_SUM };
    for (int i = 0; i < count; i++)
        if (sums[i].moments == sum.moments && sums[i].input == sum.input)
            return count;
    sums[count] = sum;
    return count + 1;
}

int bd_count_column_numbers(const bd_column_sum *sums, int count)
{
    int numbers = 0;
    for (int i = 0; i < count; i++)
        numbers += sums[i].moments ? 2 : 1;
    return numbers;
}

int bd_kernel_column_sums(const bd_graph *graph, const bd_kernel *kernel, bd_column_sum sums[BD_COLUMN_NUMBERS])
{
    int count = 0;
    for (int i = 0; i < kernel->node_count - kernel->last.node_count; i++)
        if (kernel->spaces[i] == BD_SPACE_REDUCED)
            count = bd_add_column_sum(graph, kernel->nodes[i], sums, count);
    return count;
}

bool bd_kernel_sums_columns(const bd_kernel *kernel)
{
    bool sums = false;
    /* What the last work-group adds up is another matter (last_group.h). */
    for (int i = 0; kernel->class == BD_KERNEL_CONTRACTION && i < kernel->node_count - kernel->last.node_count; i++)
        sums |= kernel->spaces[i] == BD_SPACE_REDUCED;
    return sums;
}

bool bd_tile_sums_columns(const bd_graph *graph, bd_tensor contraction, const bd_tile *tile, const bd_target *target)
{
    const bool strips = tile->m % BD_STRIP == 0 && (tile->kind == BD_TILE_GROUP || BD_STRIP % tile->item_m == 0);
    switch (tile->kind) {
    case BD_TILE_GROUP:
    case BD_TILE_MATRIX:
    case BD_TILE_WARPGROUP: return strips;
    case BD_TILE_RESIDENT: return strips && bd_resident_is_whole(graph, contraction, tile, target);
    default: return false;
    }
}
