/* Nodes that begin a computation: variables, constants, random numbers, and what reads the control block. */
#include "../../engine/control.h"
#include "../../engine/philox.h"
#include "evaluate.h"

#include <stdlib.h>
#include <string.h>

/* Element i has index i / step % dim along `axis`. */
static void iota(const bd_node *node, double *result)
{
    int64_t count = bd_shape_elements(&node->shape), step = 1;
    for (int i = node->attr.axis + 1; i < node->shape.rank; i++)
        step *= node->shape.dim[i];
    for (int64_t i = 0; i < count; i++)
        result[i] = (double)(i / step % node->shape.dim[node->attr.axis]);
}

/* Seed and step come from the variable "control", which no input names: a model is written before its training step. */
bd_status bd_read_control(const bd_evaluation *evaluation, double *words, bd_error *error)
{
    bd_tensor variable = bd_graph_find_variable(evaluation->graph, "control");
    if (variable == BD_NONE)
        return bd_fail(error, BD_ERROR_ARGUMENT, "random numbers need a variable called control, for seed and step");
    return evaluation->access->read(evaluation->access->user, variable, 0, BD_CONTROL_WORD_COUNT, words, error);
}

static bd_status random_numbers(const bd_evaluation *evaluation, const bd_node *node, double *result, bd_error *error)
{
    double control[BD_CONTROL_WORD_COUNT];
    bd_status status = bd_read_control(evaluation, control, error);
    if (status != BD_OK)
        return status;
    uint32_t key[2] = { (uint32_t)control[BD_CONTROL_SEED_LOW], (uint32_t)control[BD_CONTROL_SEED_HIGH] };
    int64_t count = bd_shape_elements(&node->shape);
    for (int64_t i = 0; i < count; i++) {
        uint32_t counter[4] = { (uint32_t)(i / 4), node->attr.stream, (uint32_t)control[BD_CONTROL_STEP], 0 }, word[4];
        bd_philox(key, counter, word);
        result[i] = bd_philox_uniform(word[i % 4]);
    }
    return BD_OK;
}

static double control_value(const bd_node *node, const double *control)
{
    uint32_t word = (uint32_t)control[node->attr.control.word];
    if (!node->attr.control.is_float)
        return word;
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

/* Shifts each image and turns it round, in place. */
static bd_status move_images(const bd_node *node, const double *moves, double *images, bd_error *error)
{
    const int64_t height = node->shape.dim[1], width = node->shape.dim[2], channels = node->shape.dim[3];
    const size_t bytes = (size_t)(height * width * channels) * sizeof *images;
    double *copy = malloc(bytes ? bytes : 1);
    if (!copy)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory on the host for an image");
    for (int64_t n = 0; n < node->shape.dim[0]; n++) {
        double *image = images + n * height * width * channels;
        const bool flip = moves[3 * n] != 0;
        const int64_t down = (int64_t)moves[3 * n + 1], right = (int64_t)moves[3 * n + 2];
        memcpy(copy, image, bytes);
        for (int64_t i = 0; i < height * width * channels; i++) {
            const int64_t channel = i % channels, column = i / channels % width, row = i / channels / width;
            const int64_t y = row + down, x = (flip ? width - 1 - column : column) + right;
            const bool inside = y >= 0 && y < height && x >= 0 && x < width;
            image[i] = inside ? copy[(y * width + x) * channels + channel] : 0;
        }
    }
    free(copy);
    return BD_OK;
}

/* Rows of the data set are read one by one where it is a variable: the whole would be eight times its size as
 * doubles. */
static bd_status batch(const bd_evaluation *evaluation, const bd_node *node, double *result, bd_error *error)
{
    enum { DATA, PERMUTATION, CONTROL, MOVES };
    const double *permutation = bd_evaluated(evaluation, node, PERMUTATION);
    const double *control = bd_evaluated(evaluation, node, CONTROL);
    const double *data = evaluation->values[node->inputs[DATA]];
    const bd_shape *shape = bd_input_shape(evaluation, node, DATA);
    int64_t rows = shape->dim[0], batch_rows = node->shape.dim[0], row = 1;
    int64_t places = bd_shape_elements(bd_input_shape(evaluation, node, PERMUTATION));
    for (int i = 1; i < shape->rank; i++)
        row *= shape->dim[i];
    if (rows == 0 || places == 0)
        return BD_OK;
    for (int64_t i = 0; i < batch_rows; i++) {
        int64_t place = (int64_t)control[BD_CONTROL_POSITION] + i;
        int64_t from = (int64_t)permutation[place < places ? place : places - 1];
        if (from >= rows)
            from = rows - 1;
        if (data) {
            memcpy(result + i * row, data + from * row, (size_t)row * sizeof *result);
            continue;
        }
        bd_status status = evaluation->access->read(evaluation->access->user, node->inputs[DATA], from * row, row,
                                                    result + i * row, error);
        if (status != BD_OK)
            return status;
    }
    return node->input_count > MOVES ? move_images(node, bd_evaluated(evaluation, node, MOVES), result, error) : BD_OK;
}

static void valid(const bd_node *node, const double *control, double *result)
{
    for (int64_t i = 0; i < node->shape.dim[0]; i++)
        result[i] = control[BD_CONTROL_POSITION] + (double)i < control[BD_CONTROL_COUNT];
}

bd_status bd_evaluate_source(const bd_evaluation *evaluation, bd_tensor tensor, double *result, bd_error *error)
{
    const bd_node *node = bd_node_at(evaluation->graph, tensor);
    const bd_variable_access *access = evaluation->access;
    int64_t count = bd_shape_elements(&node->shape);
    switch (node->op) {
    case BD_OP_VARIABLE: return count > 0 ? access->read(access->user, tensor, 0, count, result, error) : BD_OK;
    case BD_OP_CONSTANT:
        for (int64_t i = 0; i < count; i++)
            result[i] = node->attr.constant;
        return BD_OK;
    case BD_OP_IOTA: iota(node, result); return BD_OK;
    case BD_OP_RANDOM: return random_numbers(evaluation, node, result, error);
    case BD_OP_CONTROL: *result = control_value(node, bd_evaluated(evaluation, node, 0)); return BD_OK;
    case BD_OP_BATCH: return batch(evaluation, node, result, error);
    case BD_OP_VALID: valid(node, bd_evaluated(evaluation, node, 0), result); return BD_OK;
    default: return BD_OK; /* not reached */
    }
}
