/* What the order of nodes could not tell fusion: who else reads a node. */
#include "fuse_parts.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Who reads each base: readers[first[t]] up to readers[first[t + 1]]. */
typedef struct reading {
    const bd_fuser *f;
    int *first;
    bd_tensor *readers; /* NULL while they are counted */
    bd_tensor reader;
} reading;

static void visit_reading(void *user, bd_tensor base)
{
    reading *r = user;
    if (r->readers)
        r->readers[--r->first[base]] = r->reader;
    else
        r->first[base]++;
}

static bool find_readers(bd_fuser *f, reading *r)
{
    const bd_graph *graph = f->graph;
    /* Packs are in no kernel, nor are effects before they are placed. */
    *r = (reading){ .f = f, .first = calloc((size_t)graph->node_count + 1, sizeof *r->first) };
    for (int fill = 0; r->first && fill < 2; fill++) {
        for (r->reader = 0; r->reader < graph->node_count; r->reader++)
            if (f->plan->kernel_of[r->reader] >= 0 || graph->nodes[r->reader].op == BD_OP_PACK ||
                graph->nodes[r->reader].op == BD_OP_ASSIGN)
                bd_visit_bases(graph, r->reader, visit_reading, r);
        /* From counts to where each one's readers end; filling goes down to where they begin. */
        for (bd_tensor t = 0; !fill && t < graph->node_count; t++)
            r->first[t + 1] += r->first[t];
        if (!fill && !(r->readers = malloc(((size_t)r->first[graph->node_count] + 1) * sizeof *r->readers)))
            break;
    }
    f->failed |= !r->readers;
    return r->readers;
}

/* Is the base read in this kernel, by another than `but`? Kernel -1: in any but its own, or by a pack. */
static bool is_read_in(const reading *r, bd_tensor base, int kernel, bd_tensor but)
{
    const int *kernel_of = r->f->plan->kernel_of;
    for (int i = r->first[base]; i < r->first[base + 1]; i++) {
        const bd_tensor other = r->readers[i];
        if (other != but && (kernel < 0 ? kernel_of[other] != kernel_of[base] : kernel_of[other] == kernel))
            return true;
    }
    return false;
}

typedef struct own_read {
    const bd_fuser *f;
    bd_tensor node;
    const char *index;
} own_read;

static bool is_own_read(void *user, bd_tensor base, const char *index)
{
    const own_read *o = user;
    return base != o->node || (index && strcmp(index, o->index) == 0);
}

/* The one kernel that reads the node, each time at its own index; -1 if there is none such. */
static int only_kernel(bd_fuser *f, const reading *r, bd_tensor node)
{
    int kernel = -1;
    for (int i = r->first[node]; i < r->first[node + 1]; i++) {
        const bd_tensor other = r->readers[i];
        const int at = f->plan->kernel_of[other];
        const bd_op_class class = bd_fuse_class(f, other);
        if (at < 0 || at == f->plan->kernel_of[node] || (kernel >= 0 && at != kernel) ||
            f->space[other] == BD_SPACE_OPERAND ||
            (class != BD_CLASS_ELEMENTWISE && class != BD_CLASS_REDUCTION && class != BD_CLASS_EFFECT))
            return -1;
        kernel = at;
        const bd_kernel *k = &f->plan->kernels[kernel];
        const bool elements = f->space[other] == BD_SPACE_ELEMENT || class == BD_CLASS_REDUCTION;
        own_read own = { f, node, bd_fuse_space_name(k, BD_SPACE_ELEMENT) };
        if (k->class == BD_KERNEL_CONTROL || k->class == BD_KERNEL_LIBRARY ||
            k->elements != bd_fuse_elements(f, node) || !elements ||
            !bd_fuse_each_read(f, other, own.index, is_own_read, &own))
            return -1;
    }
    return kernel;
}

/* What a node's move from one kernel to another saves, by the bases that it reads. */
enum { MOST_MOVED = 8 };

typedef struct move {
    const reading *r;
    bd_tensor nodes[MOST_MOVED]; /* the node and what nobody else reads of its operands, which goes along */
    bd_tensor reader;            /* of what is visited */
    int count, from, to;
    int64_t saved; /* bytes */
    bool variables;
} move;

static int64_t bytes_of(const bd_fuser *f, bd_tensor tensor)
{
    return bd_fuse_elements(f, tensor) * (int64_t)bd_format_size(f->graph->nodes[tensor].format);
}

/* Does nobody but `reader` read the base? */
static bool is_only_read_by(const reading *r, bd_tensor base, bd_tensor reader)
{
    bool only = true;
    for (int i = r->first[base]; i < r->first[base + 1] && only; i++)
        only = r->readers[i] == reader;
    return only;
}

static void visit_move(void *user, bd_tensor base)
{
    move *m = user;
    const bd_fuser *f = m->r->f;
    const int64_t bytes = bytes_of(f, base);
    const int at = f->plan->kernel_of[base];
    const bd_tensor reader = m->reader;
    if (at == m->from && m->count < MOST_MOVED && bd_fuse_class(f, base) == BD_CLASS_ELEMENTWISE &&
        f->space[base] == BD_SPACE_ELEMENT && is_only_read_by(m->r, base, reader)) {
        m->nodes[m->count++] = m->reader = base;
        bd_visit_bases(f->graph, base, visit_move, m);
        m->reader = reader;
        return;
    }
    m->variables |= f->graph->nodes[base].op == BD_OP_VARIABLE;
    if (at == m->from && !is_read_in(m->r, base, -1, BD_NONE))
        m->saved -= bytes; /* is to be stored now */
    if (at != m->from && !is_read_in(m->r, base, m->from, reader))
        m->saved += bytes;
    if (at != m->to && !is_read_in(m->r, base, m->to, BD_NONE))
        m->saved -= bytes;
}

static void remove_node(bd_kernel *kernel, bd_tensor node)
{
    int kept = 0;
    for (int i = 0; i < kernel->node_count; i++)
        if (kernel->nodes[i] != node)
            kernel->nodes[kept++] = kernel->nodes[i];
    kernel->node_count = kept;
}

/* A product that joined the kernel of its factor, but is only summed in a later one, say, which reads the factor as
 * well. Variables may have changed by then. */
static void move_late(bd_fuser *f)
{
    reading r;
    const bool found = find_readers(f, &r);
    for (bd_tensor t = f->graph->node_count - 1; found && t >= 0 && !f->failed; t--) {
        const int from = f->plan->kernel_of[t];
        if (from < 0 || bd_fuse_class(f, t) != BD_CLASS_ELEMENTWISE || f->space[t] != BD_SPACE_ELEMENT)
            continue;
        const int mark = bd_emit_open(f->emitter), to = only_kernel(f, &r, t);
        bd_emit_close(f->emitter, mark);
        if (to < 0)
            continue;
        move m = {
            .r = &r, .nodes = { t }, .reader = t, .count = 1, .from = from, .to = to, .saved = 2 * bytes_of(f, t)
        };
        bd_visit_bases(f->graph, t, visit_move, &m);
        if (m.variables || m.saved <= 0)
            continue;
        for (int i = 0; i < m.count; i++) {
            remove_node(&f->plan->kernels[from], m.nodes[i]);
            bd_fuse_add_node(f, to, m.nodes[i], BD_SPACE_ELEMENT);
        }
    }
    free(r.first);
    free(r.readers);
}

static void drop_empty(bd_fuser *f)
{
    bd_plan *plan = f->plan;
    int kept = 0;
    for (int k = 0; k < plan->kernel_count; k++) {
        if (plan->kernels[k].node_count == 0) {
            free(plan->kernels[k].nodes);
            continue;
        }
        for (int i = 0; i < plan->kernels[k].node_count; i++)
            plan->kernel_of[plan->kernels[k].nodes[i]] = kept;
        f->order[kept] = f->order[k];
        plan->kernels[kept++] = plan->kernels[k];
    }
    plan->kernel_count = kept;
}

void bd_fuse_late(bd_fuser *f)
{
    move_late(f);
    drop_empty(f);
}

/* ---- reductions that nobody waits for ---- */

/* Operands of one kernel: so many values a work-item keeps in flight without leaving its registers, and any device
 * binds. */
enum { MOST_TOGETHER = 16 };

typedef struct operands {
    const reading *r;
    int kernels[2], count;
    bool pack;
    bd_tensor seen[MOST_TOGETHER];
} operands;

static void count_operand(operands *o, bd_tensor base)
{
    for (int i = 0; i < o->count && i < MOST_TOGETHER; i++)
        if (o->seen[i] == base)
            return;
    if (o->count < MOST_TOGETHER)
        o->seen[o->count] = base;
    o->count++;
}

static void visit_count_operand(void *user, bd_tensor base)
{
    operands *o = user;
    const int at = o->r->f->plan->kernel_of[base];
    o->pack |= o->r->f->graph->nodes[base].op == BD_OP_PACK;
    if (at < 0 || (at != o->kernels[0] && at != o->kernels[1]))
        count_operand(o, base);
}

/* Could the two kernels be one, for what they bind? */
static bool bind_together(const reading *r, int a, int b)
{
    const bd_fuser *f = r->f;
    operands o = { .r = r, .kernels = { a, b } };
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < f->plan->kernels[o.kernels[k]].node_count; i++) {
            const bd_tensor node = f->plan->kernels[o.kernels[k]].nodes[i];
            bd_visit_bases(f->graph, node, visit_count_operand, &o);
            if (is_read_in(r, node, -1, BD_NONE))
                count_operand(&o, node);
        }
    return !o.pack && o.count <= MOST_TOGETHER && (uint32_t)o.count <= f->target->limits.max_bindings;
}

/* Only a pack takes the results, and elements are not computed. */
static bool can_wait(const reading *r, const bd_kernel *kernel)
{
    const bd_fuser *f = r->f;
    for (int i = 0; i < kernel->node_count; i++) {
        const bd_tensor node = kernel->nodes[i];
        if (f->space[node] != BD_SPACE_REDUCED)
            return false;
        for (int j = r->first[node]; j < r->first[node + 1]; j++) {
            const int at = f->plan->kernel_of[r->readers[j]];
            if (at >= 0 && at != f->plan->kernel_of[node])
                return false;
        }
    }
    return kernel->node_count > 0 && (kernel->class == BD_KERNEL_COLUMNS || kernel->class == BD_KERNEL_ROWS);
}

/* The next kernel in execution order that kernel `a` can be part of, before the control block changes; -1 if there is
 * none. */
static int next_alike(const bd_fuser *f, const reading *r, int a)
{
    const bd_kernel *kernels = f->plan->kernels;
    int found = -1, end = INT_MAX;
    for (int c = 0; c < f->plan->kernel_count; c++)
        if (kernels[c].class == BD_KERNEL_CONTROL && f->order[c] > f->order[a] && f->order[c] < end)
            end = f->order[c];
    for (int b = 0; b < f->plan->kernel_count; b++)
        if (f->order[b] < end && kernels[b].class == kernels[a].class && kernels[b].node_count &&
            f->order[b] > f->order[a] && (found < 0 || f->order[b] < f->order[found]) &&
            bd_same_extent(&kernels[b].extent, &kernels[a].extent) && bind_together(r, a, b))
            found = b;
    return found;
}

void bd_fuse_together(bd_fuser *f)
{
    reading r;
    const bool found = find_readers(f, &r);
    /* Kernels were made in execution order, those of floating nodes aside, which are pointwise. */
    for (int a = 0; found && a < f->plan->kernel_count && !f->failed; a++) {
        const int b = can_wait(&r, &f->plan->kernels[a]) ? next_alike(f, &r, a) : -1;
        while (b >= 0 && f->plan->kernels[a].node_count && !f->failed) {
            const bd_tensor node = f->plan->kernels[a].nodes[0];
            remove_node(&f->plan->kernels[a], node);
            bd_fuse_add_node(f, b, node, BD_SPACE_REDUCED);
        }
    }
    free(r.first);
    free(r.readers);
    drop_empty(f);
}
