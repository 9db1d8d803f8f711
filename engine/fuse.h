/* Groups the nodes of a rewritten graph into kernels. */
#ifndef BINADE_ENGINE_FUSE_H
#define BINADE_ENGINE_FUSE_H

#include "kernel.h"

/* Fills plan->kernels (in execution order, with nodes, spaces, extents and operands) and plan->kernel_of from
 * plan->graph. */
bd_status bd_fuse(bd_plan *plan, const bd_target *target, const bd_compile_options *options, bd_error *error);

/* The nodes that `node` reads, views seen through and inline arithmetic looked into: calls visit(user, base) for each
 * variable, stored or fused node, and control step. */
void bd_visit_bases(const bd_graph *graph, bd_tensor node, void (*visit)(void *user, bd_tensor base), void *user);

#endif
