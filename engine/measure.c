/* What rounding does to a step's values: see the header. */
#include "measure.h"

#include "emit.h"
#include "quantise.h"
#include "tally.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(BD_EXPONENT_BINS == BD_TALLY_BINS && BD_LEAST_EXPONENT == BD_TALLY_FIRST,
               "the public bins are the tally's");

/* Everything is read at once, so all is in one variable: each point's rows, which the kernels that count store there,
 * and which the host adds up. They begin where a part of a variable may. */
#define VARIABLE "measures"

/* ---- the graph ---- */

static bd_tensor part(bd_graph *graph, int number, int64_t first, bd_shape shape)
{
    char name[32];
    snprintf(name, sizeof name, "/" VARIABLE "/%d", number);
    bd_tensor variable = bd_variable(graph, name, BD_ROLE_FIXED, BD_F32, shape, (bd_init){ BD_INIT_CONSTANT, 0 });
    if (graph->status == BD_OK)
        graph->nodes[variable].attr.variable.base_offset = first; /* its base is made when all are there */
    return variable;
}

/* What became of `before`, to which format, in the layer of `node`. */
static void add_point(bd_graph *graph, bd_measure_points *points, bd_tensor node, bd_measured what, bd_format format,
                      bd_tensor before, bd_tensor after)
{
    if (graph->status != BD_OK)
        return;
    const bd_shape shape = bd_tensor_shape(graph, before);
    bd_measure_point *point = &points->points[points->count];
    *point = (bd_measure_point){ .layer = strdup(bd_node_layer(graph, node)),
                                 .what = what,
                                 .format = format,
                                 .elements = bd_shape_elements(&shape),
                                 .first = points->size };
    if (!point->layer) {
        bd_graph_fail(graph, BD_ERROR_MEMORY, "no memory to measure layer '%s'", bd_node_layer(graph, node));
        return;
    }
    bd_tensor rows = bd_tally(graph, before, after);
    if (graph->status != BD_OK)
        return;
    const bd_shape counted = bd_tensor_shape(graph, rows);
    bd_assign(graph, part(graph, points->count++, point->first, counted), rows);
    point->rows = counted.dim[0];
    points->size += (bd_shape_elements(&counted) + BD_LAYOUT_ALIGNMENT - 1) / BD_LAYOUT_ALIGNMENT * BD_LAYOUT_ALIGNMENT;
}

/* The node once more, its result in F32. */
static bd_tensor unrounded(bd_graph *graph, bd_tensor tensor)
{
    return graph->status == BD_OK ? bd_graph_again(graph, tensor, bd_node_at(graph, tensor)->inputs) : BD_NONE;
}

static bool is_operand(const bd_node *node)
{
    return node->op == BD_OP_CAST && node->role >= BD_ROLE_WEIGHT_OPERAND && node->role <= BD_ROLE_GRADIENT_OPERAND;
}

/* Sums of products, which are rounded once. */
static bool is_product(const bd_node *node)
{
    return bd_op_get_info(node->op)->class == BD_CLASS_CONTRACTION || node->op == BD_OP_DEPTHWISE ||
           node->op == BD_OP_DEPTHWISE_DATA || node->op == BD_OP_ATTENTION || node->op == BD_OP_ATTENTION_GRAD;
}

/* The gradient of a product a b is dy b' for a, and a' dy for the weight b. */
static bd_measured kind_of(const bd_node *node, bool forward)
{
    if (is_operand(node))
        return forward ? BD_MEASURED_OPERAND : BD_MEASURED_GRADIENT_OPERAND;
    if (forward)
        return BD_MEASURED_ACTIVATION;
    const bool of_weight =
        node->op == BD_OP_CONV2D_WEIGHT || (node->op == BD_OP_MATMUL && node->attr.matmul.transpose[0]);
    return of_weight ? BD_MEASURED_WEIGHT_GRADIENT : BD_MEASURED_GRADIENT;
}

/* What a group's gradients have of a slot, as it was packed; BD_NONE where the loss does not depend on it. */
static bd_tensor packed(const bd_graph *graph, bd_tensor pack, const bd_parameter_slot *slot)
{
    const bd_node *node = bd_node_at(graph, pack);
    bd_tensor found = BD_NONE;
    for (int i = 0; i < node->input_count && node->op == BD_OP_PACK; i++)
        if (node->attr.pack[i] == slot->offset) /* views of as many elements: reshapes */
            found = bd_view_base(graph, node->inputs[i]);
    return found;
}

/* Gradients of biases, scales and shifts, which no product makes. */
static void add_bias_gradients(bd_graph *graph, const bd_layout *layout, const bd_update *updates,
                               bd_measure_points *points)
{
    for (int i = 0; i < layout->slot_count && graph->status == BD_OK; i++) {
        const bd_parameter_slot *slot = &layout->slots[i];
        const bd_tensor after = slot->shape.rank == 1 ? packed(graph, updates[slot->group].gradients, slot) : BD_NONE;
        if (after == BD_NONE || bd_op_get_info(bd_node_at(graph, after)->op)->class == BD_CLASS_SOURCE)
            continue;
        const bd_format format = bd_node_at(graph, after)->format;
        add_point(graph, points, slot->variable, BD_MEASURED_BIAS_GRADIENT, format,
                  format == BD_F32 ? after : unrounded(graph, after), after);
    }
}

/* What a step changes in a group's weights, and what it should have changed. Scalars are the learned steps of
 * operands. */
static void add_updates(bd_graph *graph, const bd_layout *layout, const bd_update *updates, bd_measure_points *points)
{
    bd_tensor before = BD_NONE, after = BD_NONE;
    for (int group = 0; group < layout->group_count; group++) {
        bool begun = false;
        for (int i = 0; i < layout->slot_count && graph->status == BD_OK; i++) {
            const bd_parameter_slot *slot = &layout->slots[i];
            if (slot->group != group || slot->shape.rank < 1)
                continue;
            if (!begun) {
                before = unrounded(graph, updates[group].change);
                after = bd_sub(graph, updates[group].before, updates[group].after);
                begun = true;
            }
            const int64_t first = slot->offset, count = bd_shape_elements(&slot->shape);
            const bd_measured what = slot->shape.rank > 1 ? BD_MEASURED_UPDATE : BD_MEASURED_BIAS_UPDATE;
            add_point(graph, points, slot->variable, what, layout->groups[group].master,
                      bd_slice(graph, before, 0, first, count), bd_slice(graph, after, 0, first, count));
        }
    }
}

/* ---- the order ---- */

typedef struct place {
    bd_tensor behind, node; /* `behind`: the last of the step's own nodes that it needs */
} place;

static int by_place(const void *a, const void *b)
{
    const place *x = a, *y = b;
    return x->behind != y->behind ? (x->behind > y->behind) - (x->behind < y->behind)
                                  : (x->node > y->node) - (x->node < y->node);
}

/* Each node from `end` on goes right behind the last that it needs, since what it reads is kept until then. But tallies
 * of one row read little, and together at the end they are few kernels. */
static bd_status bring_forward(bd_graph *graph, bd_tensor end, bd_error *error)
{
    const size_t count = (size_t)graph->node_count;
    place *places = malloc(count * sizeof *places);
    bd_tensor *mapped = malloc(count * sizeof *mapped);
    bd_node *nodes = malloc(count * sizeof *nodes);
    const bool enough = places && mapped && nodes;
    for (bd_tensor t = 0; t < graph->node_count && enough; t++) {
        const bd_node *node = &graph->nodes[t];
        places[t] = (place){ t < end ? t : BD_NONE, t };
        for (int i = 0; i < node->input_count && t >= end; i++)
            if (places[node->inputs[i]].behind > places[t].behind)
                places[t].behind = places[node->inputs[i]].behind;
        if (node->op == BD_OP_TALLY && node->shape.dim[0] == 1)
            places[t].behind = end - 1;
    }
    if (enough) {
        qsort(places, count, sizeof *places, by_place);
        memcpy(nodes, graph->nodes, count * sizeof *nodes);
        for (size_t i = 0; i < count; i++)
            mapped[places[i].node] = (bd_tensor)i;
        for (size_t i = 0; i < count; i++) {
            bd_node *node = &graph->nodes[i];
            *node = nodes[places[i].node];
            for (int k = 0; k < node->input_count; k++)
                node->inputs[k] = mapped[node->inputs[k]];
            if (node->op == BD_OP_VARIABLE && node->attr.variable.base != BD_NONE)
                node->attr.variable.base = mapped[node->attr.variable.base];
        }
    }
    free(places);
    free(mapped);
    free(nodes);
    return enough ? BD_OK : bd_fail(error, BD_ERROR_MEMORY, "no memory for the order of %zu nodes", count);
}

bd_status bd_measure_append(bd_graph *graph, bd_tensor forward_end, const bd_layout *layout, const bd_update *updates,
                            bd_measure_points *points, bd_error *error)
{
    const bd_tensor end = graph->node_count;
    points->count = 0;
    points->size = 0;
    if (!(points->points = calloc((size_t)end + (size_t)layout->slot_count + 1, sizeof *points->points)))
        return bd_fail(error, BD_ERROR_MEMORY, "no memory to measure %d nodes", (int)end);
    const bd_role role = bd_set_role(graph, BD_ROLE_FIXED);
    for (bd_tensor t = 0; t < end && graph->status == BD_OK; t++) {
        const bd_node *node = bd_node_at(graph, t);
        if ((!is_product(node) && !is_operand(node)) || !*bd_node_layer(graph, t))
            continue;
        const bd_measured what = kind_of(node, t < forward_end);
        const bd_format format = node->format;
        bd_tensor before = t, after = t;
        if (is_operand(node)) {
            before = node->inputs[0];
            bd_quantised_unshift(graph, &before, &after);
        } else if (format != BD_F32) {
            before = unrounded(graph, t);
        }
        add_point(graph, points, t, what, format, before, after);
    }
    add_bias_gradients(graph, layout, updates, points);
    add_updates(graph, layout, updates, points);
    bd_tensor base = bd_variable(graph, "/" VARIABLE, BD_ROLE_FIXED, BD_F32, BD_SHAPE(points->size ? points->size : 1),
                                 (bd_init){ BD_INIT_CONSTANT, 0 });
    for (bd_tensor t = end; t < graph->node_count && graph->status == BD_OK; t++)
        if (graph->nodes[t].op == BD_OP_VARIABLE && t != base)
            graph->nodes[t].attr.variable.base = base;
    bd_set_role(graph, role);
    const bd_status status = bd_graph_status(graph, error);
    return status ? status : bring_forward(graph, end, error);
}

void bd_measure_finish(bd_measure_points *points)
{
    for (int i = 0; i < points->count; i++)
        free(points->points[i].layer);
    free(points->points);
    *points = (bd_measure_points){ 0 };
}

/* ---- the numbers ---- */

/* What becomes of one layer's tensors of a kind, added up. */
typedef struct totals {
    double columns[BD_TALLY_COLUMNS], elements;
} totals;

static void add_row(totals *total, const float *row)
{
    for (int i = 0; i < BD_TALLY_COLUMNS; i++)
        total->columns[i] =
            i == BD_TALLY_LARGEST ? fmax(total->columns[i], (double)row[i]) : total->columns[i] + (double)row[i];
}

static void derive(bd_measurement *m, const totals *total, double loss_scale)
{
    const double *c = total->columns;
    const double finite = total->elements - c[BD_TALLY_NONFINITE], others = finite - c[BD_TALLY_ZEROS];
    const bool scaled = m->what == BD_MEASURED_GRADIENT || m->what == BD_MEASURED_WEIGHT_GRADIENT ||
                        m->what == BD_MEASURED_BIAS_GRADIENT;
    m->elements = total->elements;
    m->underflow = others > 0 ? c[BD_TALLY_LOST] / others : 0;
    m->overflow = finite > 0 ? c[BD_TALLY_OVERFLOWS] / finite : 0;
    m->nonfinite = total->elements > 0 ? c[BD_TALLY_NONFINITE] / total->elements : 0;
    m->largest = c[BD_TALLY_LARGEST];
    m->norm = sqrt(c[BD_TALLY_POWER]) / (scaled ? loss_scale : 1);
    m->sqnr = c[BD_TALLY_NOISE] > 0 ? 10 * log10(c[BD_TALLY_POWER] / c[BD_TALLY_NOISE]) : INFINITY;
    for (int i = 0; i < BD_EXPONENT_BINS; i++)
        m->exponents[i] = c[i];
}

size_t bd_measure_size(const bd_measure_points *points)
{
    return sizeof(float) * (points->size ? (size_t)points->size : 1);
}

bd_status bd_measure_read(bd_store *store, const bd_measure_points *points, float *values, bd_event **event,
                          bd_error *error)
{
    return bd_store_read_part(store, VARIABLE, 0, values, bd_measure_size(points), event, error);
}

bd_status bd_measure_evaluate(const bd_measure_points *points, const float *values, double loss_scale,
                              bd_measurement *measurements, size_t *count, bd_error *error)
{
    totals *sums = calloc((size_t)points->count + 1, sizeof *sums);
    *count = 0;
    if (!sums)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for %d measurements", points->count);
    for (int i = 0; i < points->count; i++) {
        const bd_measure_point *point = &points->points[i];
        size_t found = 0;
        while (found < *count &&
               (strcmp(measurements[found].layer, point->layer) || measurements[found].what != point->what ||
                measurements[found].format != point->format))
            found++;
        if (found == *count)
            measurements[(*count)++] =
                (bd_measurement){ .layer = point->layer, .what = point->what, .format = point->format };
        for (int64_t row = 0; row < point->rows; row++)
            add_row(&sums[found], values + point->first + row * BD_TALLY_COLUMNS);
        sums[found].elements += (double)point->elements;
    }
    for (size_t i = 0; i < *count; i++)
        derive(&measurements[i], &sums[i], loss_scale);
    free(sums);
    return BD_OK;
}

const char *bd_measured_name(bd_measured what)
{
    static const char *const names[] = { "activations",       "gradients", "weight gradients", "operands",
                                         "gradient operands", "updates",   "bias gradients",   "bias updates" };
    return names[what];
}
