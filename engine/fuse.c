/* Fusion, one node after the other in graph order:
 *  - an elementwise node joins the kernel that computes the last of its inputs, if it can be evaluated at that kernel's
 *    own index; so epilogues grow. Else it begins a pointwise kernel.
 *  - a reduction turns the pointwise kernel of its input into a row or column kernel, or joins one over the same space,
 *    also one that has nothing else in common with it; or the contraction that makes its input sums it (columns.h).
 *  - nodes that depend on variables only float until a kernel reads them: it adopts them if it reads them at its own
 *    index, a contraction also as a prologue; else they get a kernel of their own, before all others.
 *  - effects come last, where no kernel reads the old value any more.
 *  - then an elementwise node that one other kernel alone reads moves there, if fewer bytes are stored and loaded so.
 * A kernel keeps its place in the order, and a node joins only the latest of the kernels it depends on; so the order is
 * always a valid one. */
#include "columns.h"
#include "fuse_parts.h"
#include "tile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Kernels of floating nodes run first: their order counts up from here. */
#define FRONT (-1000000)

/* Tensors that a kernel reads, if it gets another reduction that has nothing in common with it. */
enum { MOST_SOURCES = 6 };

/* Small tensors that a kernel counts, a work-group each. */
enum { MOST_TALLIES = 8 };

void bd_visit_bases(const bd_graph *graph, bd_tensor tensor, void (*visit)(void *user, bd_tensor base), void *user)
{
    const bd_node *node = &graph->nodes[tensor];
    if (bd_draws(node)) {
        bd_tensor control = bd_graph_find_variable(graph, "control");
        if (control != BD_NONE)
            visit(user, control);
    }
    for (int i = 0; i < node->input_count; i++) {
        if (node->inputs[i] == BD_NONE || (node->op == BD_OP_ASSIGN && i == 0))
            continue;
        bd_tensor base = bd_view_base(graph, node->inputs[i]);
        if (graph->nodes[base].op != BD_OP_VARIABLE && bd_is_inline(graph, base))
            bd_visit_bases(graph, base, visit, user);
        else
            visit(user, base);
        /* A control value seen after the step needs the block itself, too. */
        if (graph->nodes[base].op == BD_OP_CONTROL_STEP && node->op == BD_OP_CONTROL)
            visit(user, graph->nodes[base].inputs[0]);
    }
}

/* ---- dependencies ---- */

typedef struct latest {
    const bd_fuser *f;
    int kernel, order;
} latest;

static void visit_latest(void *user, bd_tensor base)
{
    latest *l = user;
    const bd_plan *plan = l->f->plan;
    if (l->f->graph->nodes[base].op == BD_OP_PACK) {
        bd_visit_bases(l->f->graph, base, visit_latest, user);
        return;
    }
    int kernel = plan->kernel_of[base];
    if (kernel >= 0 && (l->kernel < 0 || l->f->order[kernel] > l->order)) {
        l->kernel = kernel;
        l->order = l->f->order[kernel];
    }
}

/* The last kernel that `node` depends on; kernel -1 if none. */
static latest find_latest(const bd_fuser *f, bd_tensor node)
{
    latest l = { f, -1, 2 * FRONT };
    bd_visit_bases(f->graph, node, visit_latest, &l);
    return l;
}

typedef struct floats {
    const bd_fuser *f;
    bd_tensor *nodes;
    int count, most;
} floats;

static void visit_floats(void *user, bd_tensor base)
{
    floats *list = user;
    if (list->f->graph->nodes[base].op == BD_OP_PACK)
        bd_visit_bases(list->f->graph, base, visit_floats, user);
    else if (list->f->floating[base] && list->count < list->most)
        list->nodes[list->count++] = base;
}

static void visit_count(void *user, bd_tensor base)
{
    ((int *)user)[base]++;
}

/* ---- kernels ---- */

static int new_kernel(bd_fuser *f, bd_kernel_class class, int order)
{
    bd_plan *plan = f->plan;
    if (plan->kernel_count == f->kernel_capacity) {
        int capacity = f->kernel_capacity * 2 + 32;
        bd_kernel *kernels = realloc(plan->kernels, (size_t)capacity * sizeof *kernels);
        if (kernels)
            plan->kernels = kernels;
        int *orders = realloc(f->order, (size_t)capacity * sizeof *orders);
        if (orders)
            f->order = orders;
        if (!kernels || !orders) {
            f->failed = true;
            return -1;
        }
        f->kernel_capacity = capacity;
    }
    plan->kernels[plan->kernel_count] = (bd_kernel){ .class = class, .anchor = BD_NONE };
    f->order[plan->kernel_count] = order;
    return plan->kernel_count++;
}

void bd_fuse_add_node(bd_fuser *f, int kernel, bd_tensor node, bd_space space)
{
    if (kernel < 0)
        return;
    bd_kernel *k = &f->plan->kernels[kernel];
    if (k->node_count % 16 == 0) {
        bd_tensor *nodes = realloc(k->nodes, (size_t)(k->node_count + 16) * sizeof *nodes);
        if (!nodes) {
            f->failed = true;
            return;
        }
        k->nodes = nodes;
    }
    k->nodes[k->node_count++] = node;
    f->plan->kernel_of[node] = kernel;
    f->space[node] = space;
    f->floating[node] = false;
}

static void settle(bd_fuser *f, bd_tensor node);

const char *bd_fuse_space_name(const bd_kernel *kernel, bd_space space)
{
    if (space == BD_SPACE_ELEMENT)
        return kernel->elements == 1 ? "0u" : "i";
    return kernel->extent.outer * kernel->extent.inner == 1 ? "0u" : "o";
}

/* Teaches the emitter that `i / length` is the row. Column kernels have no such relation: their reductions are complete
 * only after the last element. */
static void know_rows(bd_fuser *f, const bd_kernel *kernel)
{
    if (kernel->class == BD_KERNEL_ROWS && kernel->extent.chunks == 1) {
        char expression[48];
        snprintf(expression, sizeof expression, "i / %lluu", (unsigned long long)kernel->extent.length);
        bd_emit_know_index(f->emitter, expression, "o");
    }
}

/* Where `input` of a node at `index` reads its base. NULL if the path has no plain index (padding). */
static const char *path_index(bd_fuser *f, bd_tensor input, const char *index, bd_tensor *base)
{
    const bd_graph *graph = f->graph;
    for (;;) {
        const bd_node *node = &graph->nodes[input];
        const bool cast = node->op == BD_OP_CAST && node->recompute;
        if (bd_fuse_class(f, input) != BD_CLASS_VIEW && !cast)
            break;
        index = node->op == BD_OP_PAD ? NULL : index;
        if (index && !cast)
            index = bd_emit_view(f->emitter, node, &graph->nodes[node->inputs[0]].shape, index);
        input = node->inputs[0];
    }
    *base = input;
    return index;
}

bool bd_fuse_each_read(bd_fuser *f, bd_tensor node, const char *index, bd_fuse_visit visit, void *user)
{
    const bd_node *n = &f->graph->nodes[node];
    bool all = true;
    for (int i = n->op == BD_OP_ASSIGN ? 1 : 0; i < n->input_count && all; i++) {
        bd_tensor base;
        if (n->inputs[i] == BD_NONE)
            continue;
        const char *at = path_index(f, n->inputs[i], index, &base);
        all = f->graph->nodes[base].recompute ? bd_fuse_each_read(f, base, at, visit, user) : visit(user, base, at);
    }
    return all;
}

/* The space of `kernel` whose index `index` is, if any. */
static bool index_space(const bd_kernel *kernel, const char *index, int64_t elements, bd_space *space)
{
    if (!index)
        return false;
    const bool reduces = kernel->class == BD_KERNEL_ROWS || kernel->class == BD_KERNEL_COLUMNS;
    if (elements == kernel->elements && strcmp(index, bd_fuse_space_name(kernel, BD_SPACE_ELEMENT)) == 0) {
        *space = BD_SPACE_ELEMENT;
        return true;
    }
    if (reduces && kernel->extent.chunks == 1 && elements == kernel->extent.outer * kernel->extent.inner &&
        strcmp(index, bd_fuse_space_name(kernel, BD_SPACE_REDUCED)) == 0) {
        *space = BD_SPACE_REDUCED;
        return true;
    }
    return false;
}

static void adopt(bd_fuser *f, int kernel, bd_tensor node, bd_space space);

/* A node that is evaluated in a kernel, and what comes of its reads. */
typedef struct evaluation {
    bd_fuser *f;
    int kernel;
    bool window;
    bd_space space;
    bd_tensor variable; /* that it overwrites */
} evaluation;

static bool adopt_read(void *user, bd_tensor base, const char *index)
{
    const evaluation *e = user;
    bd_space at;
    if (e->f->floating[base] && !e->window &&
        index_space(&e->f->plan->kernels[e->kernel], index, bd_fuse_elements(e->f, base), &at))
        adopt(e->f, e->kernel, base, at);
    else if (e->f->floating[base])
        settle(e->f, base);
    return true;
}

/* Takes a floating node into the kernel, with the floating nodes that it reads, where indices allow; else settles
 * them. */
static void adopt(bd_fuser *f, int kernel, bd_tensor node, bd_space space)
{
    if (!f->floating[node])
        return;
    evaluation e = { .f = f, .kernel = kernel, .window = bd_fuse_class(f, node) == BD_CLASS_WINDOW };
    bd_fuse_each_read(f, node, bd_fuse_space_name(&f->plan->kernels[kernel], space), adopt_read, &e);
    bd_fuse_add_node(f, kernel, node, space);
}

/* Gives a floating node a pointwise kernel that runs before all others. */
static void settle(bd_fuser *f, bd_tensor node)
{
    if (!f->floating[node])
        return;
    int kernel = new_kernel(f, BD_KERNEL_POINTWISE, 0);
    if (kernel < 0)
        return;
    f->plan->kernels[kernel].elements = bd_fuse_elements(f, node);
    adopt(f, kernel, node, BD_SPACE_ELEMENT);
    f->order[kernel] = FRONT + f->next_front++; /* behind what it reads */
}

static bool fitting_read(void *user, bd_tensor base, const char *index)
{
    const evaluation *e = user;
    const bd_fuser *f = e->f;
    bd_space at;
    if (f->graph->nodes[base].op == BD_OP_PACK && find_latest(f, base).kernel == e->kernel)
        return false; /* complete only after this kernel */
    return f->plan->kernel_of[base] != e->kernel ||
           (!e->window && f->space[base] != BD_SPACE_OPERAND &&
            index_space(&f->plan->kernels[e->kernel], index, bd_fuse_elements(f, base), &at) && at == f->space[base]);
}

/* Can `node` be evaluated in `kernel` at `space`? */
static bool fits(bd_fuser *f, int kernel, bd_tensor node, bd_space space)
{
    evaluation e = { .f = f, .kernel = kernel, .window = bd_fuse_class(f, node) == BD_CLASS_WINDOW };
    return bd_fuse_each_read(f, node, bd_fuse_space_name(&f->plan->kernels[kernel], space), fitting_read, &e);
}

static bool reads_reduction(const bd_fuser *f, int kernel, bd_tensor node)
{
    const bd_node *n = &f->graph->nodes[node];
    for (int i = 0; i < n->input_count; i++) {
        if (n->inputs[i] == BD_NONE)
            continue;
        bd_tensor base = bd_view_base(f->graph, n->inputs[i]);
        const bool here = f->plan->kernel_of[base] == kernel;
        if ((here && f->space[base] == BD_SPACE_REDUCED) ||
            ((here || f->graph->nodes[base].recompute) && reads_reduction(f, kernel, base)))
            return true;
    }
    return false;
}

/* Each element is a sum over many that are stored. Not for the loop of another kernel: lavapipe ends the loops of an
 * invocation after 65,535 rounds in all. */
static bool is_long_sum(const bd_fuser *f, bd_tensor node)
{
    const bd_op op = f->graph->nodes[node].op;
    return op == BD_OP_DEPTHWISE_WEIGHT || op == BD_OP_SCATTER_ADD;
}

/* Which space of the kernel the node's elements are, if the kernel's class lets it join. */
static bool joinable(bd_fuser *f, int kernel, bd_tensor node, bd_space *space)
{
    const bd_kernel *k = &f->plan->kernels[kernel];
    const int64_t elements = bd_fuse_elements(f, node);
    if (f->options->no_fusion || k->class == BD_KERNEL_ATTENTION || k->class == BD_KERNEL_CONTROL ||
        k->class == BD_KERNEL_LIBRARY || elements == 0 ||
        (k->class == BD_KERNEL_TALLY && f->graph->nodes[node].op != BD_OP_ASSIGN))
        return false;
    if ((k->class == BD_KERNEL_ROWS || k->class == BD_KERNEL_COLUMNS) && k->extent.chunks == 1 &&
        elements == k->extent.outer * k->extent.inner && k->extent.length != 1) {
        *space = BD_SPACE_REDUCED;
        if (fits(f, kernel, node, *space))
            return true;
    }
    *space = BD_SPACE_ELEMENT;
    if (elements != k->elements)
        return false;
    if ((k->class == BD_KERNEL_ROWS || k->class == BD_KERNEL_COLUMNS) && is_long_sum(f, node))
        return false;
    if (k->class == BD_KERNEL_COLUMNS && reads_reduction(f, kernel, node))
        return false;
    return fits(f, kernel, node, *space);
}

static void join(bd_fuser *f, int kernel, bd_tensor node, bd_space space)
{
    f->floating[node] = true; /* adopt() does the rest */
    int mark = bd_emit_open(f->emitter);
    know_rows(f, &f->plan->kernels[kernel]);
    adopt(f, kernel, node, space);
    bd_emit_close(f->emitter, mark);
}

/* ---- one node ---- */

static void place_pointwise(bd_fuser *f, bd_tensor node)
{
    latest l = find_latest(f, node);
    if (l.kernel < 0 && !f->options->no_fusion && !is_long_sum(f, node)) {
        f->floating[node] = true;
        return;
    }
    if (l.kernel >= 0) {
        bd_space space;
        int mark = bd_emit_open(f->emitter);
        know_rows(f, &f->plan->kernels[l.kernel]);
        bool can = joinable(f, l.kernel, node, &space);
        bd_emit_close(f->emitter, mark);
        if (can) {
            join(f, l.kernel, node, space);
            return;
        }
    }
    int kernel = new_kernel(f, BD_KERNEL_POINTWISE, f->next_order++);
    if (kernel < 0)
        return;
    f->plan->kernels[kernel].elements = bd_fuse_elements(f, node);
    join(f, kernel, node, BD_SPACE_ELEMENT);
}

bool bd_same_extent(const bd_extent *a, const bd_extent *b)
{
    return a->outer == b->outer && a->length == b->length && a->inner == b->inner && a->chunks == b->chunks;
}

/* What is better stored before its rows or columns are summed: long sums, of which one work-item would do hundreds one
 * after the other. And CPU drivers vectorise pointwise kernels over their work-items, but not the loop of a column
 * kernel; so there all that takes many loads and comparisons an element. */
static bool better_apart(const bd_fuser *f, const bd_kernel *kernel, bd_kernel_class reduction)
{
    bool apart = false;
    for (int i = 0; i < kernel->node_count; i++) {
        const bd_op op = f->graph->nodes[kernel->nodes[i]].op;
        apart |= is_long_sum(f, kernel->nodes[i]);
        apart |= f->target->is_cpu && reduction == BD_KERNEL_COLUMNS &&
                 (op == BD_OP_MAX_POOL_GRAD || op == BD_OP_DEPTHWISE || op == BD_OP_DEPTHWISE_DATA);
    }
    return apart;
}

/* What a kernel reads of others, as far as it is counted. */
typedef struct sources {
    const bd_fuser *f;
    int kernel, count;
    bd_tensor seen[MOST_SOURCES];
} sources;

static void visit_source(void *user, bd_tensor base)
{
    sources *s = user;
    bool known = s->f->plan->kernel_of[base] == s->kernel;
    for (int i = 0; i < s->count && i < MOST_SOURCES && !known; i++)
        known = s->seen[i] == base;
    if (known)
        return;
    if (s->count < MOST_SOURCES)
        s->seen[s->count] = base;
    s->count++;
}

/* Reductions of as many tensors, as those of all layers' histories are, would need more buffers than a device binds:
 * each brings what is made of it with it. One that reads what the kernel reads anyway may always come. */
static bool has_room(const bd_fuser *f, int kernel, bd_tensor node)
{
    sources s = { .f = f, .kernel = kernel };
    for (int i = 0; i < f->plan->kernels[kernel].node_count; i++)
        bd_visit_bases(f->graph, f->plan->kernels[kernel].nodes[i], visit_source, &s);
    const int before = s.count;
    bd_visit_bases(f->graph, node, visit_source, &s);
    return s.count <= MOST_SOURCES || s.count == before;
}

/* May the contraction's work-groups sum the columns that `node` sums, beside those that they sum already? */
static bool sums_columns(const bd_fuser *f, int kernel, bd_tensor node)
{
    const bd_kernel *k = &f->plan->kernels[kernel];
    bd_column_sum sums[BD_COLUMN_NUMBERS + 1];
    int count = 0;
    if (k->class != BD_KERNEL_CONTRACTION || !bd_columns_are_strips(f->graph, k->anchor, node, f->target))
        return false;
    for (int i = 0; i < k->node_count; i++)
        if (f->space[k->nodes[i]] == BD_SPACE_REDUCED)
            count = bd_add_column_sum(f->graph, k->nodes[i], sums, count);
    count = bd_add_column_sum(f->graph, node, sums, count);
    return bd_count_column_numbers(sums, count) <= BD_COLUMN_NUMBERS;
}

static void place_reduction(bd_fuser *f, bd_tensor node)
{
    bd_plan *plan = f->plan;
    bd_extent extent = bd_reduction_extent(f->graph, node);
    const bd_kernel_class class = extent.inner == 1 ? BD_KERNEL_ROWS : BD_KERNEL_COLUMNS;
    const int64_t elements = extent.outer * extent.length * extent.inner;
    const latest l = find_latest(f, node);
    int kernel = -1;
    bd_tensor base;
    const char *index = path_index(f, f->graph->nodes[node].inputs[0], elements == 1 ? "0u" : "i", &base);
    const bool straight =
        index && bd_fuse_elements(f, base) == elements && strcmp(index, elements == 1 ? "0u" : "i") == 0;
    if (!f->options->no_fusion && l.kernel >= 0 && straight && plan->kernel_of[base] == l.kernel && elements > 1) {
        bd_kernel *k = &plan->kernels[l.kernel];
        if (k->class == BD_KERNEL_POINTWISE && k->elements == elements && !better_apart(f, k, class)) {
            k->class = class;
            k->extent = extent;
            kernel = l.kernel;
        } else if (k->class == class && bd_same_extent(&k->extent, &extent) && f->space[base] == BD_SPACE_ELEMENT &&
                   (class == BD_KERNEL_ROWS || !reads_reduction(f, l.kernel, base))) {
            kernel = l.kernel;
        } else if (f->space[base] == BD_SPACE_ELEMENT && sums_columns(f, l.kernel, node)) {
            bd_fuse_add_node(f, l.kernel, node, BD_SPACE_REDUCED);
            return;
        }
    }
    /* Another reduction over a space of the same form, later than all that this one reads. */
    for (int k = plan->kernel_count - 1; kernel < 0 && k >= 0 && !f->options->no_fusion; k--)
        if (plan->kernels[k].class == class && bd_same_extent(&plan->kernels[k].extent, &extent) &&
            f->order[k] > l.order && has_room(f, k, node))
            kernel = k;
    if (kernel < 0) {
        kernel = new_kernel(f, class, f->next_order++);
        if (kernel < 0)
            return;
        plan->kernels[kernel].extent = extent;
        plan->kernels[kernel].elements = elements;
    }
    if (plan->kernels[kernel].anchor == BD_NONE)
        plan->kernels[kernel].anchor = node;
    if (f->floating[base]) {
        if (straight)
            join(f, kernel, base, BD_SPACE_ELEMENT);
        else
            settle(f, base);
    }
    bd_fuse_add_node(f, kernel, node, BD_SPACE_REDUCED);
}

static void visit_settle(void *user, bd_tensor base)
{
    settle(user, base);
}

/* Values that are rounded by integer instructions, of an operand that matrix units load in eights once they are
 * stored. */
static bool is_rounded_for_units(const bd_fuser *f, int kernel, bd_tensor node)
{
    const bd_format format = f->graph->nodes[node].format;
    return f->graph->nodes[node].op == BD_OP_CAST && format != BD_F32 && format != BD_F16 &&
           bd_matrix_format(f->graph, f->plan->kernels[kernel].anchor, f->target) != BD_F32;
}

/* A floating elementwise node that nobody else reads becomes the contraction's prologue. A longer chain does not: a
 * prologue is evaluated again for every tile that an element is part of. */
static void adopt_operand(bd_fuser *f, int kernel, bd_tensor node)
{
    if (!f->floating[node])
        return;
    if (bd_fuse_class(f, node) != BD_CLASS_ELEMENTWISE || f->consumers[node] != 1 ||
        f->plan->kernels[kernel].class == BD_KERNEL_LIBRARY || is_rounded_for_units(f, kernel, node)) {
        settle(f, node);
        return;
    }
    bd_visit_bases(f->graph, node, visit_settle, f);
    bd_fuse_add_node(f, kernel, node, BD_SPACE_OPERAND);
}

static bool library_can(const bd_fuser *f, bd_tensor tensor)
{
    const bd_node *node = &f->graph->nodes[tensor];
    if (f->options->gemm != BD_GEMM_LIBRARY || node->op != BD_OP_MATMUL || node->chunks > 1 ||
        !bd_variant_allowed(f->target, node, BD_VARIANT_LIBRARY))
        return false;
    if (node->rule.mode != BD_ROUND_NEAREST || node->rule.saturate)
        return false;
    for (int i = 0; i < 2; i++) {
        bd_tensor input = node->inputs[i];
        input = bd_stored_operand(f->graph, input);
        if (f->graph->nodes[input].format != node->format || bd_fuse_class(f, input) == BD_CLASS_VIEW ||
            (bd_is_inline(f->graph, input) && f->graph->nodes[input].op != BD_OP_VARIABLE))
            return false;
    }
    bd_contraction c = bd_contraction_of(f->graph, tensor);
    if (c.m <= 0 || c.n <= 0 || c.k <= 0)
        return false;
    return node->format == BD_F32   ? f->target->library_f32 && node->accumulator == BD_F32
           : node->format == BD_F16 ? f->target->library_f16 && node->accumulator == BD_F16
                                    : false;
}

static void place_contraction(bd_fuser *f, bd_tensor node)
{
    bd_tensor list[64];
    floats floating = { f, list, 0, 64 };
    bd_visit_bases(f->graph, node, visit_floats, &floating);
    int kernel = new_kernel(f, library_can(f, node) ? BD_KERNEL_LIBRARY : BD_KERNEL_CONTRACTION, f->next_order++);
    if (kernel < 0)
        return;
    f->plan->kernels[kernel].anchor = node;
    f->plan->kernels[kernel].elements = bd_fuse_elements(f, node);
    for (int i = 0; i < floating.count; i++)
        adopt_operand(f, kernel, floating.nodes[i]);
    bd_fuse_add_node(f, kernel, node, BD_SPACE_ELEMENT);
}

/* A kernel that makes the result of the same attention, and no sums yet; -1 if there is none. */
static int find_attention(const bd_fuser *f, const bd_node *sum)
{
    for (int k = 0; k < f->plan->kernel_count && !f->options->no_fusion; k++) {
        const bd_kernel *kernel = &f->plan->kernels[k];
        const bd_node *anchor = kernel->anchor == BD_NONE ? NULL : &f->graph->nodes[kernel->anchor];
        if (anchor && anchor->op == BD_OP_ATTENTION && anchor->inputs[0] == sum->inputs[0] && kernel->node_count == 1 &&
            bd_attention_equal(&anchor->attr.attention, &sum->attr.attention))
            return k;
    }
    return -1;
}

/* The result and the rows' sums of an attention are one kernel. What it reads is stored before. */
static void place_attention(bd_fuser *f, bd_tensor tensor)
{
    const bd_node *node = &f->graph->nodes[tensor];
    for (int i = 0; i < node->input_count; i++)
        settle(f, bd_view_base(f->graph, node->inputs[i]));
    int kernel = node->op == BD_OP_ATTENTION_SUM ? find_attention(f, node) : -1;
    if (kernel < 0) {
        kernel = new_kernel(f, BD_KERNEL_ATTENTION, f->next_order++);
        if (kernel < 0)
            return;
        f->plan->kernels[kernel].anchor = tensor;
        f->plan->kernels[kernel].elements = bd_fuse_elements(f, tensor);
    }
    bd_fuse_add_node(f, kernel, tensor, BD_SPACE_ELEMENT);
}

/* A kernel of other tallies of one row, later than all that this one reads, with room for its two operands and its
 * result; -1 if there is none. */
static int find_tallies(const bd_fuser *f, bd_tensor node)
{
    const latest l = find_latest(f, node);
    const bd_limits *limits = &f->target->limits;
    if (f->options->no_fusion || f->graph->nodes[node].shape.dim[0] != 1)
        return -1;
    for (int k = f->plan->kernel_count - 1; k >= 0; k--) {
        const bd_kernel *kernel = &f->plan->kernels[k];
        if (kernel->class == BD_KERNEL_TALLY && kernel->elements == bd_fuse_elements(f, node) &&
            f->order[k] > l.order && kernel->node_count < MOST_TALLIES &&
            3u * ((uint32_t)kernel->node_count + 1) <= limits->max_bindings)
            return k;
    }
    return -1;
}

/* What it reads is stored before. */
static void place_tally(bd_fuser *f, bd_tensor node)
{
    bd_visit_bases(f->graph, node, visit_settle, f);
    int kernel = find_tallies(f, node);
    if (kernel < 0) {
        kernel = new_kernel(f, BD_KERNEL_TALLY, f->next_order++);
        if (kernel < 0)
            return;
        f->plan->kernels[kernel].anchor = node;
        f->plan->kernels[kernel].elements = bd_fuse_elements(f, node);
    }
    bd_fuse_add_node(f, kernel, node, BD_SPACE_ELEMENT);
}

/* ---- effects ---- */

static bd_tensor variable_root(const bd_graph *graph, bd_tensor variable)
{
    bd_tensor base = graph->nodes[variable].attr.variable.base;
    return base == BD_NONE ? variable : base;
}

typedef struct reader {
    const bd_fuser *f;
    bd_tensor root;
    bool reads;
} reader;

static void visit_reader(void *user, bd_tensor base)
{
    reader *r = user;
    if (r->f->graph->nodes[base].op == BD_OP_VARIABLE && variable_root(r->f->graph, base) == r->root)
        r->reads = true;
}

static bool harmless_read(void *user, bd_tensor base, const char *index)
{
    const evaluation *e = user;
    const bd_graph *graph = e->f->graph;
    bd_space at;
    if (graph->nodes[base].op != BD_OP_VARIABLE || variable_root(graph, base) != variable_root(graph, e->variable))
        return true;
    return base == e->variable && !e->window &&
           index_space(&e->f->plan->kernels[e->kernel], index, bd_fuse_elements(e->f, base), &at) && at == e->space;
}

/* May the kernel overwrite the variable? Not before another reads it, nor if it reads other elements of it itself. */
static bool may_overwrite(bd_fuser *f, int kernel, bd_tensor variable, bd_space space)
{
    const bd_kernel *k = &f->plan->kernels[kernel];
    for (bd_tensor t = 0; t < f->graph->node_count; t++) {
        if (f->plan->kernel_of[t] < 0)
            continue;
        reader r = { f, variable_root(f->graph, variable), false };
        bd_visit_bases(f->graph, t, visit_reader, &r);
        if (!r.reads)
            continue;
        if (f->order[f->plan->kernel_of[t]] > f->order[kernel])
            return false;
        if (f->plan->kernel_of[t] != kernel)
            continue;
        evaluation e = { f, kernel, bd_fuse_class(f, t) != BD_CLASS_ELEMENTWISE, space, variable };
        if ((k->class == BD_KERNEL_CONTRACTION && f->space[t] != BD_SPACE_ELEMENT) ||
            !bd_fuse_each_read(f, t, bd_fuse_space_name(k, f->space[t]), harmless_read, &e))
            return false;
    }
    return true;
}

static void place_assign(bd_fuser *f, bd_tensor node)
{
    bd_tensor variable = f->graph->nodes[node].inputs[0];
    latest l = find_latest(f, node);
    if (l.kernel >= 0) {
        bd_space space;
        int mark = bd_emit_open(f->emitter);
        know_rows(f, &f->plan->kernels[l.kernel]);
        bool can = joinable(f, l.kernel, node, &space) && may_overwrite(f, l.kernel, variable, space);
        bd_emit_close(f->emitter, mark);
        if (can) {
            join(f, l.kernel, node, space);
            return;
        }
    }
    int kernel = new_kernel(f, BD_KERNEL_POINTWISE, f->next_order++);
    if (kernel < 0)
        return;
    f->plan->kernels[kernel].elements = bd_fuse_elements(f, node);
    join(f, kernel, node, BD_SPACE_ELEMENT);
}

static void place_control(bd_fuser *f, bd_tensor node)
{
    bd_tensor list[8];
    floats floating = { f, list, 0, 8 };
    bd_visit_bases(f->graph, node, visit_floats, &floating);
    for (int i = 0; i < floating.count; i++)
        settle(f, floating.nodes[i]);
    int kernel = new_kernel(f, BD_KERNEL_CONTROL, f->next_order++);
    if (kernel >= 0)
        bd_fuse_add_node(f, kernel, node, BD_SPACE_ELEMENT);
}

/* Readers of a pack that float would have nobody to store them. */
static void place_pack(bd_fuser *f, bd_tensor node)
{
    for (int i = 0; i < f->graph->nodes[node].input_count; i++)
        settle(f, bd_view_base(f->graph, f->graph->nodes[node].inputs[i]));
}

/* ---- results ---- */

typedef struct operand_user {
    bd_fuser *f;
    int kernel;
} operand_user;

static void add_operand(bd_fuser *f, int kernel, bd_tensor node, bool written)
{
    bd_kernel *k = &f->plan->kernels[kernel];
    for (int i = 0; i < k->operand_count; i++)
        if (k->operands[i].node == node) {
            k->operands[i].written |= written;
            return;
        }
    bd_operand *operands = realloc(k->operands, (size_t)(k->operand_count + 1) * sizeof *operands);
    if (!operands) {
        f->failed = true;
        return;
    }
    k->operands = operands;
    k->operands[k->operand_count++] = (bd_operand){ .node = node, .written = written, .parts = 1 };
}

static void visit_operand(void *user, bd_tensor base)
{
    operand_user *u = user;
    const bd_node *node = &u->f->graph->nodes[base];
    if (node->op == BD_OP_CONTROL_STEP || (u->f->plan->kernel_of[base] == u->kernel && node->op != BD_OP_VARIABLE))
        return;
    add_operand(u->f, u->kernel, base, false);
}

typedef struct stored_user {
    bd_fuser *f;
    bool *stored;
    int kernel;
} stored_user;

static void visit_stored(void *user, bd_tensor base)
{
    stored_user *u = user;
    if (u->f->plan->kernel_of[base] >= 0 && u->f->plan->kernel_of[base] != u->kernel)
        u->stored[base] = true;
}

static int compare_tensors(const void *a, const void *b)
{
    bd_tensor x = *(const bd_tensor *)a, y = *(const bd_tensor *)b;
    return (x > y) - (x < y);
}

static bool find_operands(bd_fuser *f)
{
    bd_plan *plan = f->plan;
    bool *stored = calloc((size_t)f->graph->node_count + 1, sizeof *stored);
    if (!stored)
        return false;
    for (bd_tensor t = 0; t < f->graph->node_count; t++) {
        stored_user u = { f, stored, plan->kernel_of[t] };
        if (plan->kernel_of[t] >= 0 || f->graph->nodes[t].op == BD_OP_PACK)
            bd_visit_bases(f->graph, t, visit_stored, &u);
    }
    for (int k = 0; k < plan->kernel_count; k++) {
        bd_kernel *kernel = &plan->kernels[k];
        qsort(kernel->nodes, (size_t)kernel->node_count, sizeof *kernel->nodes, compare_tensors);
        kernel->spaces = malloc((size_t)kernel->node_count * sizeof *kernel->spaces + 1);
        if (!kernel->spaces) {
            f->failed = true;
            break;
        }
        for (int i = 0; i < kernel->node_count; i++) {
            bd_tensor t = kernel->nodes[i];
            operand_user u = { f, k };
            kernel->spaces[i] = f->space[t];
            bd_visit_bases(f->graph, t, visit_operand, &u);
        }
        for (int i = 0; i < kernel->node_count; i++) {
            bd_tensor t = kernel->nodes[i];
            if (f->graph->nodes[t].op == BD_OP_ASSIGN || f->graph->nodes[t].op == BD_OP_CONTROL_STEP)
                add_operand(f, k, f->graph->nodes[t].inputs[0], true);
            else if (stored[t] || f->options->no_fusion)
                add_operand(f, k, t, true);
        }
    }
    free(stored);
    return !f->failed;
}

/* Kernels in execution order, numbers in kernel_of to match. */
static bool sort_kernels(bd_fuser *f)
{
    bd_plan *plan = f->plan;
    int count = plan->kernel_count;
    int *place = calloc((size_t)count + 1, sizeof *place);
    bd_kernel *sorted = calloc((size_t)count + 1, sizeof *sorted);
    if (place && sorted) {
        for (int a = 0; a < count; a++)
            for (int b = 0; b < count; b++)
                place[a] += f->order[b] < f->order[a];
        for (int k = 0; k < count; k++)
            sorted[place[k]] = plan->kernels[k];
        for (bd_tensor t = 0; t < f->graph->node_count; t++)
            if (plan->kernel_of[t] >= 0)
                plan->kernel_of[t] = place[plan->kernel_of[t]];
        free(plan->kernels);
        plan->kernels = sorted;
        sorted = NULL;
    } else {
        f->failed = true;
    }
    free(place);
    free(sorted);
    return !f->failed;
}

static void place_all(bd_fuser *f)
{
    const bd_graph *graph = f->graph;
    for (bd_tensor t = 0; t < graph->node_count && !f->failed; t++) {
        if (graph->nodes[t].op == BD_OP_CONTROL_STEP)
            place_control(f, t);
        else if (graph->nodes[t].op == BD_OP_PACK)
            place_pack(f, t);
        else if (graph->nodes[t].op == BD_OP_TALLY)
            place_tally(f, t);
        else if (bd_is_inline(graph, t) || graph->nodes[t].op == BD_OP_ASSIGN)
            continue;
        else
            switch (bd_fuse_class(f, t)) {
            case BD_CLASS_REDUCTION: place_reduction(f, t); break;
            case BD_CLASS_CONTRACTION: place_contraction(f, t); break;
            case BD_CLASS_ATTENTION: place_attention(f, t); break;
            default: place_pointwise(f, t);
            }
    }
    if (!f->options->no_fusion)
        bd_fuse_together(f);
    for (bd_tensor t = 0; t < graph->node_count && !f->failed; t++)
        if (graph->nodes[t].op == BD_OP_ASSIGN)
            place_assign(f, t);
}

bd_status bd_fuse(bd_plan *plan, const bd_target *target, const bd_compile_options *options, bd_error *error)
{
    const size_t count = (size_t)plan->graph->node_count + 1;
    bd_fuser f = { .plan = plan, .graph = plan->graph, .target = target, .options = options };
    plan->kernel_of = malloc(count * sizeof *plan->kernel_of);
    f.floating = calloc(count, sizeof *f.floating);
    f.space = calloc(count, sizeof *f.space);
    f.consumers = calloc(count, sizeof *f.consumers);
    f.emitter = bd_emitter_create(plan, NULL, BD_DIALECT_OPENCL);
    f.failed = !plan->kernel_of || !f.floating || !f.space || !f.consumers || !f.emitter;
    if (!f.failed) {
        for (size_t t = 0; t < count; t++)
            plan->kernel_of[t] = -1;
        for (bd_tensor t = 0; t < plan->graph->node_count; t++)
            if (bd_fuse_class(&f, t) != BD_CLASS_VIEW && (!bd_is_inline(plan->graph, t)))
                bd_visit_bases(plan->graph, t, visit_count, f.consumers);
        place_all(&f);
    }
    if (!f.failed && !options->no_fusion)
        bd_fuse_late(&f);
    bool done = !f.failed && sort_kernels(&f) && find_operands(&f) && !bd_emitter_failed(f.emitter);
    bd_emitter_destroy(&f.emitter);
    free(f.order);
    free(f.floating);
    free(f.space);
    free(f.consumers);
    return done ? BD_OK : bd_fail(error, BD_ERROR_MEMORY, "out of memory while fusing kernels");
}
