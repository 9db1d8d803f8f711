/* Parameters laid out flat: those whose policy gives them the same formats lie one after another in one vector, so that
 * the optimizer is a few elementwise nodes on vectors, one kernel for all of them. Where weight decay is for matrices
 * only, these have vectors of their own. */
#ifndef BINADE_ENGINE_LAYOUT_H
#define BINADE_ENGINE_LAYOUT_H

#include "node.h"

/* Each parameter begins at a multiple of this many elements: 512 bytes in F16, so that a part can be bound by itself
 * on any device (the largest alignment that Vulkan and OpenCL drivers ask for is 256 bytes). */
#define BD_LAYOUT_ALIGNMENT 256

typedef struct bd_parameter_slot {
    char *name; /* owned */
    bd_tensor variable;
    bd_shape shape;
    bd_init init;
    int group;
    int64_t offset; /* in the group's vectors, in elements */
} bd_parameter_slot;

typedef struct bd_parameter_group {
    char *layer; /* owned; a layer that has this group's formats, "" for none */
    bd_format weight, gradient, master, state;
    bool decays; /* weight decay is for these parameters */
    int64_t elements;
    bd_tensor weights; /* the flat variable, "flat/GROUP/weights" */
} bd_parameter_group;

typedef struct bd_layout {
    bd_parameter_slot *slots; /* owned, in graph order */
    int slot_count;
    bd_parameter_group *groups; /* owned */
    int group_count;
    bool kahan; /* of the policy */
} bd_layout;

/* Finds the parameters (variables of role WEIGHT), makes the flat variables and the parameters parts of them. */
bd_status bd_layout_create(bd_graph *graph, const bd_precision *precision, bool decay_matrices, bd_layout *layout,
                           bd_error *error);
void bd_layout_finish(bd_layout *layout);

/* Nodes appended between these two calls get the group's formats. */
void bd_layout_enter(bd_graph *graph, const bd_parameter_group *group);
void bd_layout_leave(bd_graph *graph, const bd_parameter_group *group);

/* "/flat/GROUP/WHAT": a vector of a group, as bd_variable takes it. `name` holds BD_LAYOUT_NAME bytes. */
#define BD_LAYOUT_NAME 64
const char *bd_layout_vector_name(int group, const char *what, char *name);
/* Whether the optimizer updates a copy of the weights in another format. */
static inline bool bd_layout_has_master(const bd_parameter_group *group)
{
    return group->master != group->weight;
}

#endif
