/* Flat parameters: see the header. */
#include "layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *bd_layout_vector_name(int group, const char *what, char *name)
{
    snprintf(name, BD_LAYOUT_NAME, "/flat/%d/%s", group, what);
    return name;
}

/* The group of that layer's formats, a new one if there is none; -1 without memory. `groups` has room. */
static int find_group(bd_layout *layout, const bd_precision *precision, const char *layer, bool decays)
{
    bd_parameter_group wanted = {
        .weight = bd_precision_format(precision, BD_ROLE_WEIGHT, layer),
        .gradient = bd_precision_format(precision, BD_ROLE_GRADIENT, layer),
        .master = bd_precision_format(precision, BD_ROLE_MASTER, layer),
        .state = bd_precision_format(precision, BD_ROLE_STATE, layer),
        .decays = decays,
        .weights = BD_NONE,
    };
    for (int i = 0; i < layout->group_count; i++) {
        const bd_parameter_group *group = &layout->groups[i];
        if (group->weight == wanted.weight && group->gradient == wanted.gradient && group->master == wanted.master &&
            group->state == wanted.state && group->decays == wanted.decays)
            return i;
    }
    bool plain = wanted.weight == bd_precision_format(precision, BD_ROLE_WEIGHT, NULL) &&
                 wanted.gradient == bd_precision_format(precision, BD_ROLE_GRADIENT, NULL) &&
                 wanted.master == bd_precision_format(precision, BD_ROLE_MASTER, NULL) &&
                 wanted.state == bd_precision_format(precision, BD_ROLE_STATE, NULL);
    wanted.layer = strdup(plain ? "" : layer);
    if (!wanted.layer)
        return -1;
    layout->groups[layout->group_count] = wanted;
    return layout->group_count++;
}

static bool add_slot(bd_layout *layout, const bd_graph *graph, bd_tensor variable, const bd_precision *precision,
                     bool decay_matrices)
{
    const bd_node *node = bd_node_at(graph, variable);
    const bool decays = !decay_matrices || node->shape.rank > 1;
    int group = find_group(layout, precision, bd_node_layer(graph, variable), decays);
    char *name = strdup(node->attr.variable.name);
    if (group < 0 || !name) {
        free(name);
        return false;
    }
    int64_t *end = &layout->groups[group].elements;
    layout->slots[layout->slot_count++] = (bd_parameter_slot){
        name, variable, node->shape, node->attr.variable.init, group, *end,
    };
    /* A sum of shapes that fit memory: far from overflow, except for shapes that no device holds. */
    int64_t elements = bd_shape_elements(&node->shape);
    if (elements > INT64_MAX - BD_LAYOUT_ALIGNMENT - *end)
        return false;
    *end += (elements + BD_LAYOUT_ALIGNMENT - 1) / BD_LAYOUT_ALIGNMENT * BD_LAYOUT_ALIGNMENT;
    return true;
}

static void make_parts(bd_graph *graph, bd_layout *layout)
{
    for (int i = 0; i < layout->group_count; i++) {
        bd_parameter_group *group = &layout->groups[i];
        char name[BD_LAYOUT_NAME];
        bd_layout_enter(graph, group);
        group->weights = bd_variable(graph, bd_layout_vector_name(i, "weights", name), BD_ROLE_WEIGHT, group->weight,
                                     BD_SHAPE(group->elements), (bd_init){ BD_INIT_CONSTANT, 0 });
        bd_layout_leave(graph, group);
    }
    for (int i = 0; i < layout->slot_count && graph->status == BD_OK; i++) {
        bd_node *part = &graph->nodes[layout->slots[i].variable];
        part->attr.variable.base = layout->groups[layout->slots[i].group].weights;
        part->attr.variable.base_offset = layout->slots[i].offset;
    }
}

bd_status bd_layout_create(bd_graph *graph, const bd_precision *precision, bool decay_matrices, bd_layout *layout,
                           bd_error *error)
{
    *layout = (bd_layout){ .kahan = precision->kahan };
    int count = 0;
    for (bd_tensor t = 0; t < graph->node_count; t++)
        count += graph->nodes[t].op == BD_OP_VARIABLE && graph->nodes[t].role == BD_ROLE_WEIGHT;
    if (count == 0)
        return bd_fail(error, BD_ERROR_ARGUMENT, "the model has no parameters to train");
    layout->slots = calloc((size_t)count, sizeof *layout->slots);
    layout->groups = calloc((size_t)count, sizeof *layout->groups);
    bool added = layout->slots && layout->groups;
    for (bd_tensor t = 0; t < graph->node_count && added; t++)
        if (graph->nodes[t].op == BD_OP_VARIABLE && graph->nodes[t].role == BD_ROLE_WEIGHT)
            added = add_slot(layout, graph, t, precision, decay_matrices);
    if (added)
        make_parts(graph, layout);
    bd_status status = added ? bd_graph_status(graph, error)
                             : bd_fail(error, BD_ERROR_MEMORY, "no memory to lay out %d parameters", count);
    if (status)
        bd_layout_finish(layout);
    return status;
}

void bd_layout_finish(bd_layout *layout)
{
    for (int i = 0; i < layout->slot_count; i++)
        free(layout->slots[i].name);
    for (int i = 0; i < layout->group_count; i++)
        free(layout->groups[i].layer);
    free(layout->slots);
    free(layout->groups);
    *layout = (bd_layout){ 0 };
}

void bd_layout_enter(bd_graph *graph, const bd_parameter_group *group)
{
    if (*group->layer)
        bd_push_layer(graph, group->layer);
}

void bd_layout_leave(bd_graph *graph, const bd_parameter_group *group)
{
    if (*group->layer)
        bd_pop_layer(graph);
}
