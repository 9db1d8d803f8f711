/* What the files of fusion share: fuse.c places the nodes, fuse_late.c moves some of them to later kernels. */
#ifndef BINADE_ENGINE_FUSE_PARTS_H
#define BINADE_ENGINE_FUSE_PARTS_H

#include "emit.h"
#include "fuse.h"

typedef struct bd_fuser {
    bd_plan *plan;
    const bd_graph *graph;
    const bd_target *target;
    const bd_compile_options *options;
    int *order;      /* of each kernel */
    bool *floating;  /* nodes */
    bd_space *space; /* nodes, within their kernel */
    int *consumers;  /* nodes: how many nodes read them, views aside */
    int kernel_capacity, next_order, next_front;
    bd_emitter *emitter; /* for questions about indices */
    bool failed;
} bd_fuser;

static inline int64_t bd_fuse_elements(const bd_fuser *f, bd_tensor tensor)
{
    return bd_shape_elements(&f->graph->nodes[tensor].shape);
}

static inline bd_op_class bd_fuse_class(const bd_fuser *f, bd_tensor tensor)
{
    return bd_op_get_info(f->graph->nodes[tensor].op)->class;
}

/* Puts a node into a kernel that may have it. */
void bd_fuse_add_node(bd_fuser *f, int kernel, bd_tensor node, bd_space space);
/* The names of a kernel's own indices: elements, and results of its reductions. */
const char *bd_fuse_space_name(const bd_kernel *kernel, bd_space space);
bool bd_same_extent(const bd_extent *a, const bd_extent *b);

/* One of the bases that a node reads, through views and what is recomputed, and where; index NULL if that is not
 * plain. */
typedef bool (*bd_fuse_visit)(void *user, bd_tensor base, const char *index);
/* Visits what `node` reads when it is evaluated at `index`, until a visit returns false; returns whether none did. */
bool bd_fuse_each_read(bd_fuser *f, bd_tensor node, const char *index, bd_fuse_visit visit, void *user);

/* Reductions of equal extents become one kernel, the last of them, where nobody waits for the earlier ones. Effects
 * must not have been placed yet. */
void bd_fuse_together(bd_fuser *f);
/* Moves nodes to the only kernel that reads them, if fewer bytes are stored and loaded so, and drops kernels that are
 * left empty. */
void bd_fuse_late(bd_fuser *f);

#endif
