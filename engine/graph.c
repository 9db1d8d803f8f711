/* The graph as a container: nodes, layer names, the sticky error, and which nodes matter. */
#include "build.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bd_status bd_graph_create(bd_graph **result, bd_error *error)
{
    *result = NULL;
    bd_graph *graph = calloc(1, sizeof *graph);
    if (!graph)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for a graph");
    graph->role = BD_ROLE_ACTIVATION;
    graph->layers = malloc(sizeof *graph->layers);
    char *root = calloc(1, 1);
    if (!graph->layers || !root) {
        free(root);
        bd_graph_destroy(&graph);
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for a graph");
    }
    graph->layers[0] = root;
    graph->layer_count = graph->layer_capacity = 1;
    *result = graph;
    return BD_OK;
}

void bd_graph_destroy(bd_graph **graph_pointer)
{
    bd_graph *graph = *graph_pointer;
    if (!graph)
        return;
    for (int32_t i = 0; i < graph->node_count; i++) {
        bd_node *node = &graph->nodes[i];
        if (node->op == BD_OP_VARIABLE)
            free(node->attr.variable.name);
        if (node->op == BD_OP_PACK)
            free(node->attr.pack);
        free(node->inputs);
    }
    for (int32_t i = 0; i < graph->layer_count; i++)
        free(graph->layers[i]);
    free(graph->nodes);
    free(graph->layers);
    free(graph->open_layers);
    free(graph);
    *graph_pointer = NULL;
}

bd_status bd_graph_status(const bd_graph *graph, bd_error *error)
{
    if (graph->status != BD_OK && error)
        *error = graph->error;
    return graph->status;
}

static bd_tensor fail_with_prefix(bd_graph *graph, bd_status status, const char *prefix, const char *format,
                                  va_list arguments)
{
    if (graph->status != BD_OK)
        return BD_NONE;
    char message[sizeof graph->error.message];
    vsnprintf(message, sizeof message, format, arguments);
    graph->status = bd_fail(&graph->error, status, "%s%s", prefix, message);
    return BD_NONE;
}

bd_tensor bd_graph_fail(bd_graph *graph, bd_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fail_with_prefix(graph, status, "", format, arguments);
    va_end(arguments);
    return BD_NONE;
}

bd_tensor bd_op_fail(bd_graph *graph, bd_op op, const char *format, ...)
{
    char prefix[256];
    const char *name = bd_op_get_info(op)->name, *layer = graph->layers[graph->layer];
    snprintf(prefix, sizeof prefix, *layer ? "%s in layer '%s': " : "%s: ", name, layer);
    va_list arguments;
    va_start(arguments, format);
    fail_with_prefix(graph, BD_ERROR_ARGUMENT, prefix, format, arguments);
    va_end(arguments);
    return BD_NONE;
}

/* The array, moved if need be so that one more element fits; NULL after an error. It grows by half, so that appending
 * stays linear. */
static void *grow(bd_graph *graph, void *array, int32_t count, int32_t *capacity, size_t element_size)
{
    if (count < *capacity)
        return array;
    int32_t wanted = *capacity < INT32_MAX / 2 ? *capacity + *capacity / 2 + 16 : INT32_MAX;
    void *grown = wanted > count ? realloc(array, (size_t)wanted * element_size) : NULL;
    if (!grown)
        bd_graph_fail(graph, BD_ERROR_MEMORY, "no memory for a graph of more than %d nodes or layers", count);
    else
        *capacity = wanted;
    return grown;
}

bd_node *bd_graph_append(bd_graph *graph, bd_op op, bd_shape shape, const bd_tensor *inputs, int input_count,
                         bd_tensor *tensor)
{
    *tensor = BD_NONE;
    for (int i = 0; i < input_count; i++)
        if (!bd_check_operand(graph, op, inputs[i]))
            return NULL;
    if (!bd_check_shape(graph, op, &shape))
        return NULL;
    bd_node *nodes = grow(graph, graph->nodes, graph->node_count, &graph->node_capacity, sizeof *nodes);
    if (!nodes)
        return NULL;
    graph->nodes = nodes;
    bd_tensor *copy = NULL;
    if (input_count > 0) {
        copy = malloc((size_t)input_count * sizeof *copy);
        if (!copy) {
            bd_graph_fail(graph, BD_ERROR_MEMORY, "no memory for a node of %d inputs", input_count);
            return NULL;
        }
        memcpy(copy, inputs, (size_t)input_count * sizeof *copy);
    }
    bd_node *node = &nodes[graph->node_count];
    *node = (bd_node){
        .op = op,
        .format = BD_F32,
        .accumulator = BD_F32,
        .role = graph->role,
        .shape = shape,
        .layer = graph->layer,
        .input_count = input_count,
        .inputs = copy,
        .chunks = 1,
    };
    *tensor = graph->node_count++;
    return node;
}

bd_node *bd_append1(bd_graph *graph, bd_op op, bd_shape shape, bd_tensor input, bd_tensor *result)
{
    return bd_graph_append(graph, op, shape, &input, 1, result);
}

bd_node *bd_append2(bd_graph *graph, bd_op op, bd_shape shape, bd_tensor a, bd_tensor b, bd_tensor *result)
{
    return bd_graph_append(graph, op, shape, (const bd_tensor[]){ a, b }, 2, result);
}

bool bd_check_operand(bd_graph *graph, bd_op op, bd_tensor tensor)
{
    if (graph->status != BD_OK)
        return false;
    if (tensor < 0 || tensor >= graph->node_count) {
        bd_op_fail(graph, op, "operand %d is no tensor of this graph", tensor);
        return false;
    }
    if (graph->nodes[tensor].op == BD_OP_ASSIGN) {
        bd_op_fail(graph, op, "operand %d is an assignment, which has no value", tensor);
        return false;
    }
    return true;
}

bool bd_check_shape(bd_graph *graph, bd_op op, const bd_shape *shape)
{
    if (graph->status != BD_OK)
        return false;
    if (shape->rank < 0 || shape->rank > BD_MAX_RANK) {
        bd_op_fail(graph, op, "a shape of rank %d; the rank must be 0 to %d", shape->rank, BD_MAX_RANK);
        return false;
    }
    if (bd_shape_elements(shape) < 0) {
        bd_op_fail(graph, op, "shape %s has a negative dimension or more than 2^63 - 1 elements", BD_SHAPE_TEXT(shape));
        return false;
    }
    return true;
}

bool bd_check_axis(bd_graph *graph, bd_op op, int axis, const bd_shape *shape)
{
    if (graph->status != BD_OK)
        return false;
    if (axis < 0 || axis >= shape->rank) {
        bd_op_fail(graph, op, "axis %d of shape %s, which has %d axes", axis, BD_SHAPE_TEXT(shape), shape->rank);
        return false;
    }
    return true;
}

bd_shape bd_tensor_shape(const bd_graph *graph, bd_tensor tensor)
{
    if (tensor < 0 || tensor >= graph->node_count)
        return (bd_shape){ 0 };
    return graph->nodes[tensor].shape;
}

bd_role bd_set_role(bd_graph *graph, bd_role role)
{
    bd_role previous = graph->role;
    if ((unsigned)role >= BD_ROLE_COUNT)
        bd_graph_fail(graph, BD_ERROR_ARGUMENT, "role %d does not exist", (int)role);
    else
        graph->role = role;
    return previous;
}

/* The index of the layer with that path, appended if it is new; -1 after an error. */
static int32_t intern_layer(bd_graph *graph, const char *parent, const char *name)
{
    char *path = NULL;
    if (asprintf(&path, *parent ? "%s/%s" : "%s%s", parent, name) < 0) {
        bd_graph_fail(graph, BD_ERROR_MEMORY, "no memory for the name of a layer");
        return -1;
    }
    for (int32_t i = 0; i < graph->layer_count; i++) {
        if (strcmp(graph->layers[i], path) == 0) {
            free(path);
            return i;
        }
    }
    char **layers = grow(graph, graph->layers, graph->layer_count, &graph->layer_capacity, sizeof *layers);
    if (!layers) {
        free(path);
        return -1;
    }
    graph->layers = layers;
    graph->layers[graph->layer_count] = path;
    return graph->layer_count++;
}

void bd_push_layer(bd_graph *graph, const char *name)
{
    if (graph->status != BD_OK)
        return;
    if (!name || !*name) {
        bd_graph_fail(graph, BD_ERROR_ARGUMENT, "a layer within '%s' has no name", graph->layers[graph->layer]);
        return;
    }
    int32_t *open = grow(graph, graph->open_layers, graph->open_count, &graph->open_capacity, sizeof *open);
    if (!open)
        return;
    graph->open_layers = open;
    int32_t layer = intern_layer(graph, graph->layers[graph->layer], name);
    if (layer < 0)
        return;
    graph->open_layers[graph->open_count++] = graph->layer;
    graph->layer = layer;
}

void bd_pop_layer(bd_graph *graph)
{
    if (graph->status != BD_OK)
        return;
    if (graph->open_count == 0) {
        bd_graph_fail(graph, BD_ERROR_ARGUMENT, "bd_pop_layer without a bd_push_layer before it");
        return;
    }
    graph->layer = graph->open_layers[--graph->open_count];
}

bd_tensor bd_stop_gradient(bd_graph *graph, bd_tensor x)
{
    if (graph->status != BD_OK || x < 0 || x >= graph->node_count)
        return bd_graph_fail(graph, BD_ERROR_ARGUMENT, "bd_stop_gradient of %d, which is no tensor of this graph", x);
    graph->nodes[x].stop_gradient = true;
    return x;
}

const char *bd_node_layer(const bd_graph *graph, bd_tensor tensor)
{
    return graph->layers[graph->nodes[tensor].layer];
}

bd_tensor bd_graph_find_variable(const bd_graph *graph, const char *name)
{
    for (bd_tensor i = 0; i < graph->node_count; i++)
        if (graph->nodes[i].op == BD_OP_VARIABLE && strcmp(graph->nodes[i].attr.variable.name, name) == 0)
            return i;
    return BD_NONE;
}

bd_tensor bd_graph_again(bd_graph *graph, bd_tensor tensor, const bd_tensor *inputs)
{
    if (graph->status != BD_OK)
        return BD_NONE;
    const bd_node like = *bd_node_at(graph, tensor);
    bd_tensor result;
    bd_node *node = bd_graph_append(graph, like.op, like.shape, inputs, like.input_count, &result);
    if (node)
        node->attr = like.attr;
    return result;
}

void bd_graph_mark_live(const bd_graph *graph, bool *live)
{
    memset(live, 0, (size_t)graph->node_count * sizeof *live);
    const bd_tensor control = bd_graph_find_variable(graph, "control");
    for (bd_tensor i = graph->node_count - 1; i >= 0; i--) {
        const bd_node *node = &graph->nodes[i];
        if (bd_op_get_info(node->op)->class == BD_CLASS_EFFECT)
            live[i] = true;
        if (!live[i])
            continue;
        for (int k = 0; k < node->input_count; k++)
            live[node->inputs[k]] = true;
        /* Variables have no inputs, so they may be marked out of order. */
        if (bd_draws(node) && control != BD_NONE)
            live[control] = true;
    }
    /* A part lives in its base's memory. */
    for (bd_tensor i = 0; i < graph->node_count; i++)
        if (live[i] && graph->nodes[i].op == BD_OP_VARIABLE && graph->nodes[i].attr.variable.base != BD_NONE)
            live[graph->nodes[i].attr.variable.base] = true;
}
