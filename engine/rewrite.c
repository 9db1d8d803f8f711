#include "rewrite.h"
#include "arithmetic.h"
#include "columns.h"
#include "emit.h"
#include "quantise.h"
#include "tile.h"

#include <stdlib.h>
#include <string.h>

typedef struct rewriter {
    const bd_graph *from;
    bd_graph *to;
    const bd_target *target;
    bd_tensor *mapped;                /* one a node of `from` */
    bd_composed_attention *attention; /* one a node of `from`, of use for ATTENTION */
} rewriter;

/* As few parts as have the same length, if that is rounded up to a power of two or to a multiple of 256: then the lanes
 * of a group all have as many terms, and take them without asking for the end. */
static int64_t even_chunks(int64_t length, int64_t chunks)
{
    const int64_t least = (length + chunks - 1) / chunks;
    int64_t grain = 1;
    while (grain < 256 && 4 * grain < least)
        grain *= 2;
    const int64_t chunk = (least + grain - 1) / grain * grain;
    return (length + chunk - 1) / chunk;
}

/* Into how many parts a reduction must be cut at least: lanes share a row, but a column is one loop. */
static int64_t least_chunks(const bd_target *target, const bd_extent *extent)
{
    if (!target->is_cpu || extent->inner == 1 || extent->length <= BD_LONGEST_CPU_SUM)
        return 1;
    return (extent->length + BD_LONGEST_CPU_SUM - 1) / BD_LONGEST_CPU_SUM;
}

/* Into how many parts a SCATTER_ADD must be cut: each of its elements is a loop over all places. */
static int64_t scatter_chunks(const rewriter *r, const bd_node *node)
{
    const int64_t places = bd_shape_elements(&r->from->nodes[node->inputs[1]].shape);
    return r->target->is_cpu && bd_shape_elements(&node->shape) ? (places + BD_LONGEST_CPU_SUM - 1) / BD_LONGEST_CPU_SUM
                                                                : 1;
}

/* How many parts a sum of `length` terms is cut into when its `results` are independent work already. */
static int64_t sum_chunks(const bd_target *target, const bd_extent *extent)
{
    /* A CPU core wants one long loop; a GPU processor wants about 1,024 work-items in flight, a group of 256 a part,
     * and four loads of four elements from each of them. */
    const bool is_cpu = target->is_cpu;
    const int64_t units = target->limits.compute_units ? target->limits.compute_units : 1;
    const int64_t results = extent->outer * extent->inner;
    const int64_t shortest = is_cpu ? 16384 : 4096;   /* additions a part is worth its second pass */
    const int64_t side = is_cpu ? 32 : 32 * BD_WIDTH; /* columns of a group */
    int64_t wanted = is_cpu ? 2 * units : 4 * units;
    if (is_cpu && target->texel_elements && extent->inner > 1 && extent->inner < side)
        wanted *= side / extent->inner; /* a register takes several parts (bd_kernel.beside) */
    const int64_t least = least_chunks(target, extent);
    int64_t groups = extent->inner == 1 ? results : extent->outer * ((extent->inner + side - 1) / side);
    if (results == 0)
        return 1;
    if (groups >= wanted)
        return least;
    int64_t work = extent->inner == 1 ? extent->length : extent->length * bd_smaller(extent->inner, side);
    if (extent->length < 1024) /* a group's lanes sum that in a few additions each */
        return 1;
    int64_t chunks = bd_smaller((wanted + groups - 1) / groups, work / shortest);
    chunks = chunks > least ? chunks : least;
    if (chunks <= 1)
        return 1;
    chunks = bd_smaller(chunks, extent->length);
    return is_cpu ? chunks : even_chunks(extent->length, chunks);
}

/* A cast that changes nothing: the value is a float wherever it is used. Of variables it is left alone, since a kernel
 * may only overwrite what nobody reads in its own way. */
static bool keeps_values(const rewriter *r, const bd_node *node)
{
    if (node->op != BD_OP_CAST)
        return false;
    const bd_format from = r->from->nodes[node->inputs[0]].format;
    const bd_tensor base = bd_view_base(r->from, node->inputs[0]);
    return r->from->nodes[base].op != BD_OP_VARIABLE && !bd_is_inline(r->from, base) &&
           bd_format_holds(node->format, from);
}

static bd_node *append_copy(rewriter *r, bd_tensor old, const bd_shape *shape, bd_tensor *tensor)
{
    const bd_node *node = &r->from->nodes[old];
    bd_tensor inputs_small[8] = { 0 }, *inputs = inputs_small;
    if (node->input_count > 8 && !(inputs = malloc((size_t)node->input_count * sizeof *inputs))) {
        bd_graph_fail(r->to, BD_ERROR_MEMORY, "out of memory for the compiled graph");
        return NULL;
    }
    for (int i = 0; i < node->input_count; i++)
        inputs[i] = node->inputs[i] == BD_NONE ? BD_NONE : r->mapped[node->inputs[i]];
    bd_node *copy = bd_graph_append(r->to, node->op, *shape, inputs, node->input_count, tensor);
    if (inputs != inputs_small)
        free(inputs);
    if (!copy)
        return NULL;
    copy->format = node->format;
    copy->accumulator = node->accumulator;
    copy->unit_sums = node->unit_sums;
    copy->rule = node->rule;
    copy->draw = node->draw;
    copy->role = node->role;
    copy->layer = node->layer;
    copy->chunks = node->chunks;
    copy->attr = node->attr;
    copy->recompute = node->recompute || keeps_values(r, node);
    if (node->op == BD_OP_VARIABLE) {
        copy->attr.variable.name = strdup(node->attr.variable.name);
        if (!copy->attr.variable.name)
            bd_graph_fail(r->to, BD_ERROR_MEMORY, "out of memory for the compiled graph");
    } else if (node->op == BD_OP_PACK) {
        copy->attr.pack = malloc((size_t)node->input_count * sizeof(int64_t) + 1);
        if (copy->attr.pack)
            memcpy(copy->attr.pack, node->attr.pack, (size_t)node->input_count * sizeof(int64_t));
        else
            bd_graph_fail(r->to, BD_ERROR_MEMORY, "out of memory for the compiled graph");
    }
    return copy;
}

/* The partial means that belong to partial DEVIATIONS: those of the mean, which mostly stands before, else new ones. */
static bd_tensor partial_means(rewriter *r, bd_tensor deviations)
{
    const bd_node part = r->to->nodes[deviations];
    for (bd_tensor t = deviations - 1; t > part.inputs[0]; t--) {
        const bd_node *other = &r->to->nodes[t];
        if (other->op == BD_OP_MEAN && other->inputs[0] == part.inputs[0] && other->chunks == part.chunks &&
            other->attr.reduce.first == part.attr.reduce.first && other->attr.reduce.count == part.attr.reduce.count)
            return t;
    }
    bd_tensor means;
    bd_node *copy = bd_graph_append(r->to, BD_OP_MEAN, part.shape, part.inputs, 1, &means);
    if (!copy)
        return BD_NONE;
    copy->attr.reduce = part.attr.reduce;
    copy->chunks = part.chunks;
    copy->format = copy->accumulator = BD_F32;
    copy->role = part.role, copy->layer = part.layer;
    return means;
}

/* Makes of the node just appended as `part`, the copy of `old`, one that sums in parts, and appends what puts them
 * together: the sum over chunks, or what else it takes. */
static bd_tensor cut(rewriter *r, bd_tensor old, bd_tensor part, int64_t chunks)
{
    bd_node *copy = &r->to->nodes[part];
    const bd_node node = *copy;
    const bd_shape partial = { 2, { chunks, bd_shape_elements(&node.shape) } };
    const bool moment = node.op == BD_OP_MEAN || node.op == BD_OP_DEVIATIONS;
    const bool maximum = node.op == BD_OP_MAXIMUM;
    const int inputs = node.op == BD_OP_DEVIATIONS ? 2 : 1;
    bd_tensor parts[2], whole, result;
    parts[inputs - 1] = part;
    copy->shape = partial;
    copy->chunks = chunks;
    copy->format = moment ? BD_F32 : maximum ? node.format : node.accumulator;
    copy->rule = (bd_rounding_rule){ BD_ROUND_NEAREST, false };
    if (inputs == 2 && (parts[0] = partial_means(r, parts[1])) == BD_NONE)
        return BD_NONE;
    const bd_shape flat = { 1, { partial.dim[1] } };
    copy = bd_graph_append(r->to, moment || maximum ? node.op : BD_OP_SUM, flat, parts, inputs, &whole);
    if (!copy)
        return BD_NONE;
    copy->attr.reduce.first = 0;
    copy->attr.reduce.count = 1;
    if (moment) {
        copy->attr.reduce.total = bd_reduction_extent(r->from, old).length;
        copy->attr.reduce.members = (copy->attr.reduce.total + chunks - 1) / chunks;
    }
    copy->format = node.format, copy->accumulator = node.accumulator, copy->role = node.role;
    copy->rule = node.rule, copy->draw = node.draw;
    copy->layer = node.layer;
    copy = bd_graph_append(r->to, BD_OP_RESHAPE, node.shape, &whole, 1, &result);
    if (!copy)
        return BD_NONE;
    copy->format = node.format, copy->accumulator = node.accumulator, copy->role = node.role;
    copy->layer = node.layer;
    return result;
}

/* Makes of the node just appended as `part`, the copy of the argmax `old`, the place of the largest in each part, and
 * appends what takes the place from the first part whose largest is the largest of all: argmax and maximum agree on
 * what that is where there are NaNs. */
static bd_tensor cut_argmax(rewriter *r, bd_tensor part, int64_t chunks)
{
    const bd_node node = r->to->nodes[part];
    const bd_shape partial = { 2, { chunks, bd_shape_elements(&node.shape) } };
    bd_tensor largest;
    bd_node *copy = bd_graph_append(r->to, BD_OP_MAXIMUM, partial, node.inputs, 1, &largest);
    if (!copy)
        return BD_NONE;
    copy->attr.reduce = node.attr.reduce;
    copy->chunks = r->to->nodes[part].chunks = chunks;
    r->to->nodes[part].shape = partial;
    const bd_tensor first = bd_reshape(r->to, bd_argmax(r->to, largest, 0), BD_SHAPE(1, partial.dim[1]));
    const bd_tensor here = bd_equal(r->to, bd_iota(r->to, partial, 0), bd_broadcast(r->to, first, partial));
    const bd_tensor places = bd_select(r->to, here, part, bd_constant(r->to, partial, 0));
    const bd_tensor whole = bd_maximum(r->to, places, 0, 1, false), result = bd_reshape(r->to, whole, node.shape);
    if (result == BD_NONE)
        return BD_NONE;
    for (bd_tensor t = part; t <= result; t++) {
        copy = &r->to->nodes[t];
        copy->format = t >= whole ? node.format : t == largest ? r->to->nodes[node.inputs[0]].format : BD_F32;
        copy->accumulator = BD_F32;
        copy->rule = t == whole ? node.rule : (bd_rounding_rule){ BD_ROUND_NEAREST, false };
        copy->draw = node.draw, copy->role = node.role, copy->layer = node.layer;
    }
    return result;
}

/* A quantised operand is codes times a scale (quantise.c). Matrix units multiply codes where halves hold them all, and
 * so their products; the scales then go to the sum. False where there is no such operand, or the units cannot do the
 * product. */
static bool take_codes(rewriter *r, bd_tensor contraction, bd_tensor scales[2])
{
    bd_node *node = &r->to->nodes[contraction];
    const bd_tensor inputs[] = { node->inputs[0], node->inputs[1] };
    for (int side = 0; side < 2; side++) {
        scales[side] = BD_NONE;
        bd_quantised_parts(r->to, inputs[side], &node->inputs[side], &scales[side]);
    }
    const bool scaled = scales[0] != BD_NONE || scales[1] != BD_NONE;
    if (scaled && bd_matrix_format(r->to, contraction, r->target) == BD_F16)
        return true;
    for (int side = 0; side < 2; side++)
        node->inputs[side] = inputs[side];
    return false;
}

static void copy_contraction(rewriter *r, bd_tensor old, const bd_compile_options *options)
{
    const bd_node *node = &r->from->nodes[old];
    bd_tensor result, scales[2];
    bd_node *copy = append_copy(r, old, &node->shape, &result);
    if (!copy)
        return;
    const bool coded = node->chunks <= 1 && take_codes(r, result, scales);
    if (coded) {
        copy->format = BD_F32;
        copy->rule = (bd_rounding_rule){ BD_ROUND_NEAREST, false };
    }
    const int64_t chunks = node->chunks <= 1 ? bd_contraction_chunks(r->to, result, r->target, options) : 1;
    if (chunks > 1)
        result = cut(r, old, result, chunks);
    for (int side = 0; coded && side < 2 && result != BD_NONE; side++) {
        if (scales[side] == BD_NONE)
            continue;
        const bd_tensor factors[] = { result, bd_broadcast(r->to, scales[side], node->shape) };
        copy = bd_graph_append(r->to, BD_OP_MUL, node->shape, factors, 2, &result);
        if (!copy)
            return;
        const bool last = side == 1 || scales[1] == BD_NONE;
        copy->format = last ? node->format : BD_F32;
        copy->rule = last ? node->rule : (bd_rounding_rule){ BD_ROUND_NEAREST, false };
        copy->draw = node->draw, copy->role = node->role, copy->layer = node->layer;
    }
    r->mapped[old] = result;
}

/* The forward node of the same attention that comes before `node` and was composed, or BD_NONE. */
static bd_tensor find_forward(const rewriter *r, const bd_node *node, bd_tensor end)
{
    for (bd_tensor t = end - 1; t >= 0; t--) {
        const bd_node *other = &r->from->nodes[t];
        if (other->op == BD_OP_ATTENTION && r->mapped[t] != 0 && other->inputs[0] == node->inputs[0] &&
            bd_attention_equal(&other->attr.attention, &node->attr.attention))
            return t;
    }
    return BD_NONE;
}

/* Attention as other operations: products in the accumulator's format, the result in the node's, all else in F32. */
static void copy_composed(rewriter *r, bd_tensor old)
{
    const bd_node *node = &r->from->nodes[old];
    const bd_attention_attr *attr = &node->attr.attention;
    const bd_tensor first = r->to->node_count, qkv = r->mapped[node->inputs[0]];
    const bd_tensor forward = find_forward(r, node, old);
    r->to->layer = node->layer;
    r->attention[old] = forward == BD_NONE ? bd_compose_attention(r->to, qkv, attr) : r->attention[forward];
    const bd_composed_attention *parts = &r->attention[old];
    bd_tensor result;
    if (node->op == BD_OP_ATTENTION)
        result = bd_compose_attention_result(r->to, parts, qkv, attr);
    else if (node->op == BD_OP_ATTENTION_SUM)
        result = bd_compose_attention_sum(r->to, parts);
    else
        result = bd_compose_attention_grad(r->to, parts, qkv, r->mapped[node->inputs[3]], attr);
    for (bd_tensor t = first; t < r->to->node_count; t++) {
        bd_node *copy = &r->to->nodes[t];
        copy->role = node->role;
        copy->accumulator = copy->op == BD_OP_MATMUL ? node->accumulator : BD_F32;
        copy->format = copy->accumulator;
    }
    if (node->rule.mode == BD_ROUND_STOCHASTIC) { /* random bits are by element, which views would turn */
        result = bd_cast(r->to, result, node->role);
        if (result == BD_NONE)
            return;
    }
    /* The last operation that computes, and the views of it. */
    for (bd_tensor t = result; t >= first; t = r->to->nodes[t].inputs[0]) {
        r->to->nodes[t].format = node->format;
        if (bd_op_get_info(r->to->nodes[t].op)->class == BD_CLASS_VIEW)
            continue;
        r->to->nodes[t].rule = node->rule;
        r->to->nodes[t].draw = node->draw;
        break;
    }
    r->mapped[old] = result;
}

/* A node that stores its value where the pack wants it. */
static void materialise_part(rewriter *r, bd_tensor pack, int part, bd_format format)
{
    bd_tensor input = r->to->nodes[pack].inputs[part], base = input;
    while (r->to->nodes[base].op == BD_OP_RESHAPE)
        base = r->to->nodes[base].inputs[0];
    const bd_node *node = &r->to->nodes[base];
    bool shared = false; /* taken by another part already, or by another pack */
    for (bd_tensor n = 0; n <= pack && !shared; n++)
        for (int i = 0; r->to->nodes[n].op == BD_OP_PACK && i < r->to->nodes[n].input_count; i++) {
            bd_tensor other = r->to->nodes[n].inputs[i];
            while (r->to->nodes[other].op == BD_OP_RESHAPE)
                other = r->to->nodes[other].inputs[0];
            shared |= other == base && !(n == pack && i == part) && (n < pack || i < part);
        }
    if (!shared && node->format == format && !bd_is_inline(r->to, base) && node->op != BD_OP_VARIABLE &&
        node->op != BD_OP_PACK)
        return;
    /* The cast must come before the pack: the pack is the last node, so move it behind. */
    bd_tensor cast;
    bd_node *copy = bd_graph_append(r->to, BD_OP_CAST, r->to->nodes[input].shape, &input, 1, &cast);
    if (!copy)
        return;
    copy->format = format;
    copy->role = r->to->nodes[pack].role;
    copy->layer = r->to->nodes[pack].layer;
    copy->chunks = 1;
    bd_node moved = r->to->nodes[pack];
    moved.inputs[part] = pack; /* where the cast goes */
    r->to->nodes[pack] = r->to->nodes[cast];
    r->to->nodes[cast] = moved;
}

/* All names, so that layer numbers stay. */
static bd_status copy_layers(const bd_graph *from, bd_graph *to, bd_error *error)
{
    char **layers = calloc((size_t)from->layer_count, sizeof *layers);
    bool complete = layers != NULL;
    for (int32_t i = 0; complete && i < from->layer_count; i++)
        complete = (layers[i] = strdup(from->layers[i])) != NULL;
    if (layers) {
        for (int32_t i = 0; i < to->layer_count; i++)
            free(to->layers[i]);
        free(to->layers);
        to->layers = layers;
        to->layer_count = to->layer_capacity = from->layer_count;
    }
    return complete ? BD_OK : bd_fail(error, BD_ERROR_MEMORY, "out of memory for the compiled graph");
}

static bd_status copy_nodes(rewriter *r, const bool *live, const bd_compile_options *options)
{
    for (bd_tensor t = 0; t < r->from->node_count && r->to->status == BD_OK; t++) {
        const bd_node *node = &r->from->nodes[t];
        if (!live[t])
            continue;
        const bd_op_class class = bd_op_get_info(node->op)->class;
        int64_t chunks = 1;
        bool strips = false;
        if (class == BD_CLASS_ATTENTION && r->target->is_cpu) {
            copy_composed(r, t);
            continue;
        }
        if (class == BD_CLASS_CONTRACTION) {
            copy_contraction(r, t, options);
            continue;
        }
        if (node->chunks <= 1 && (node->op == BD_OP_SUM || node->op == BD_OP_MEAN || node->op == BD_OP_DEVIATIONS)) {
            bd_extent extent = bd_reduction_extent(r->from, t);
            chunks = bd_column_strips(r->to, r->mapped[node->inputs[0]], node, &extent, r->target, options);
            strips = chunks > 0;
            if (!strips)
                chunks = sum_chunks(r->target, &extent);
        } else if (node->chunks <= 1 && (node->op == BD_OP_MAXIMUM || node->op == BD_OP_ARGMAX)) {
            bd_extent extent = bd_reduction_extent(r->from, t);
            chunks = least_chunks(r->target, &extent);
        } else if (node->chunks <= 1 && node->op == BD_OP_SCATTER_ADD) {
            chunks = scatter_chunks(r, node);
        }
        if (!append_copy(r, t, &node->shape, &r->mapped[t]))
            break;
        if (strips)
            r->to->nodes[r->mapped[t]].attr.reduce.strips = true;
        if (chunks > 1)
            r->mapped[t] =
                node->op == BD_OP_ARGMAX ? cut_argmax(r, r->mapped[t], chunks) : cut(r, t, r->mapped[t], chunks);
        if (node->op == BD_OP_PACK) {
            bd_tensor pack = r->mapped[t];
            for (int i = 0; i < node->input_count && r->to->status == BD_OK; i++) {
                materialise_part(r, pack, i, node->format);
                pack = r->to->node_count - 1;
            }
            r->mapped[t] = pack;
        }
    }
    /* A base may stand behind its parts. */
    for (bd_tensor t = 0; t < r->from->node_count && r->to->status == BD_OK; t++)
        if (live[t] && r->from->nodes[t].op == BD_OP_VARIABLE && r->from->nodes[t].attr.variable.base != BD_NONE)
            r->to->nodes[r->mapped[t]].attr.variable.base = r->mapped[r->from->nodes[t].attr.variable.base];
    return bd_graph_status(r->to, NULL);
}

bd_status bd_rewrite(const bd_graph *graph, const bd_target *target, const bd_compile_options *options, bd_graph **copy,
                     bd_error *error)
{
    bd_status status = bd_graph_status(graph, error);
    if (status != BD_OK)
        return status;
    rewriter r = { graph, NULL, target, calloc((size_t)graph->node_count + 1, sizeof(bd_tensor)),
                   calloc((size_t)graph->node_count + 1, sizeof(bd_composed_attention)) };
    bool *live = calloc((size_t)graph->node_count + 1, sizeof *live);
    status = bd_graph_create(&r.to, error);
    if (status == BD_OK && (!r.mapped || !r.attention || !live))
        status = bd_fail(error, BD_ERROR_MEMORY, "out of memory for the compiled graph");
    if (status == BD_OK) {
        status = copy_layers(graph, r.to, error);
        bd_graph_mark_live(graph, live);
        r.to->stream_count = graph->stream_count;
        if (status == BD_OK && copy_nodes(&r, live, options) != BD_OK)
            status = bd_graph_status(r.to, error);
    }
    free(r.mapped);
    free(r.attention);
    free(live);
    if (status != BD_OK)
        bd_graph_destroy(&r.to);
    *copy = r.to;
    return status;
}
