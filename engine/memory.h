/* The static memory plan: offsets in one arena from the lifetimes of stored nodes. */
#ifndef BINADE_ENGINE_MEMORY_H
#define BINADE_ENGINE_MEMORY_H

#include "kernel.h"

/* Fills plan->storage and the byte totals from plan->kernels. Tensors that live at the same time never overlap. A PACK
 * and its parts have memory apart, whose gaps keep the zeros that it begins with: the arena is shared between
 * programs. */
bd_status bd_plan_memory(bd_plan *plan, const bd_target *target, bd_error *error);

#endif
