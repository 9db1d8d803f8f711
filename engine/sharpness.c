/* How sharp the minimum is that a trainer found: see train.h. Its weights are copied into a store of their own, where a
 * program climbs from them. */
#include "trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Madry et al., arXiv:1706.06083: steps of a quarter of the box, 2.5 times as far as its border in all. */
enum { ASCENT_STEPS = 10 };
static const double ascent_share = 2.5 / ASCENT_STEPS;

/* "sharpness/...": the batch, its order, and a control block that stands at its beginning. Examples are taken from all
 * over the set, which may be sorted by class. */
static bd_status write_batch(bd_store *store, const bd_train_params *params, bd_error *error)
{
    const bd_dataset *data = params->dataset;
    const int64_t rows = params->batch;
    const int64_t row_bytes = data->tokens ? params->context + 1 : data->height * data->width * data->channels;
    const int64_t places = data->tokens ? data->train.count - params->context : data->train.count;
    const int64_t stride = data->tokens ? 1 : row_bytes;
    uint32_t control[BD_CONTROL_BYTES / 4] = { 0 };
    control[BD_CONTROL_BATCH] = control[BD_CONTROL_COUNT] = (uint32_t)rows;
    control[BD_CONTROL_RATE_COUNT] = 1;
    bd_control_set_float(control, BD_CONTROL_SCALE, 1);
    uint32_t *order = malloc((size_t)rows * sizeof *order);
    uint8_t *bytes = malloc((size_t)(rows * row_bytes)), *labels = malloc((size_t)rows);
    bd_status status = order && bytes && labels
                           ? BD_OK
                           : bd_fail(error, BD_ERROR_MEMORY, "no memory for a batch of %lld", (long long)rows);
    for (int64_t i = 0; i < rows && !status; i++) {
        const int64_t place = places * i / rows;
        order[i] = (uint32_t)i;
        labels[i] = data->tokens ? 0 : data->train.labels[place];
        memcpy(bytes + i * row_bytes, data->train.images + place * stride, (size_t)row_bytes);
    }
    if (!status)
        status = bd_store_write(store, "sharpness/control", control, sizeof control, error);
    if (!status)
        status = bd_store_write(store, "sharpness/order", order, (uint64_t)rows * sizeof *order, error);
    if (!status)
        status = bd_store_write(store, data->tokens ? "sharpness/tokens" : "sharpness/images", bytes,
                                (uint64_t)(rows * row_bytes), error);
    if (!status && !data->tokens)
        status = bd_store_write(store, "sharpness/labels", labels, (uint64_t)rows, error);
    free(order);
    free(bytes);
    free(labels);
    return status;
}

/* Into a variable of the same name, or into `to`. */
static bd_status copy_values(bd_store *from, const char *name, bd_store *store, const char *to, size_t count,
                             bd_error *error)
{
    double *values = malloc((count + 1) * sizeof *values);
    if (!values)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for '%s'", name);
    bd_status status = bd_store_read_values(from, name, values, count, error);
    if (!status)
        status = bd_store_write_values(store, to, values, count, error);
    free(values);
    return status;
}

/* Weights and what else the model keeps: running statistics, histories of scales, learned steps. */
static bd_status copy_model(bd_store *from, bd_store *store, const bd_moved *moved, int count, bd_error *error)
{
    bd_status status = BD_OK;
    for (size_t i = 0; i < bd_store_count(store) && !status; i++) {
        const bd_store_entry *entry = bd_store_at(store, i);
        if (bd_store_find(from, entry->name))
            status =
                copy_values(from, entry->name, store, entry->name, (size_t)bd_shape_elements(&entry->shape), error);
    }
    for (int i = 0; i < count && !status; i++)
        status = copy_values(from, moved[i].name, store, moved[i].origin, (size_t)moved[i].elements, error);
    return status;
}

static double relative_rise(double most, double loss)
{
    return 100 * (most - loss) / (1 + loss);
}

/* The losses of the weights as they were, then of each place on the way up. */
static bd_status climb(bd_store *store, bd_program *program, bd_sharpness *result, bd_error *error)
{
    double most = -INFINITY; /* or NaN, from the first one on */
    for (int step = 0; step <= ASCENT_STEPS; step++) {
        double losses[2];
        bd_status status = bd_program_run(program, 1, error);
        if (!status)
            status = bd_program_finish(program, error);
        if (!status)
            status = bd_store_read_values(store, "sharpness/losses", losses, 2, error);
        if (status)
            return status;
        if (step == 0)
            *result = (bd_sharpness){ .loss = losses[0], .logits = relative_rise(losses[1], losses[0]) };
        most = isnan(most) || losses[0] <= most ? most : losses[0];
    }
    result->weights = relative_rise(most, result->loss);
    double *const values[] = { &result->loss, &result->weights, &result->logits };
    for (int i = 0; i < 3; i++)
        *values[i] = isfinite(*values[i]) ? *values[i] : NAN;
    return BD_OK;
}

bd_status bd_trainer_sharpness(bd_trainer *trainer, double epsilon, bd_sharpness *sharpness, bd_error *error)
{
    const bd_train_params *params = &trainer->params;
    bd_graph *graph = NULL;
    bd_moved *moved = NULL;
    bd_store *store = NULL;
    bd_plan *plan = NULL;
    bd_program *program = NULL;
    int count = 0;
    *sharpness = (bd_sharpness){ NAN, NAN, NAN };
    if (!(epsilon > 0) || !isfinite(epsilon))
        return bd_fail(error, BD_ERROR_ARGUMENT, "a box of epsilon %g: wanted a positive finite number", epsilon);
    bd_status status = bd_trainer_check_ready(trainer, error);
    if (!status)
        status = bd_step_sharpness(params, params->batch, epsilon, ascent_share, &graph, &moved, &count, error);
    if (!status)
        status = bd_store_create(trainer->device, &store, error);
    if (!status)
        status = bd_trainer_plan_once(trainer, graph, &plan, error);
    if (!status)
        status = bd_program_create(store, &plan, params->seed, NULL, NULL, &program, error);
    if (!status)
        status = write_batch(store, params, error);
    if (!status)
        status = copy_model(trainer->store, store, moved, count, error);
    if (!status)
        status = climb(store, program, sharpness, error);
    bd_program_destroy(&program);
    bd_plan_destroy(&plan);
    bd_store_destroy(&store);
    free(moved);
    bd_graph_destroy(&graph);
    return bd_device_explain_loss(trainer->device ? trainer->device->info.id : "the device", status,
                                  "while measuring sharpness", error);
}
