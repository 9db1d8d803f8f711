/* What number formats would cost each layer, measured: see train.h. */
#include "trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void take_worse(double *worst, double value)
{
    *worst = !(value <= *worst) ? value : *worst;
}

/* The values of one contraction, in the order of BD_CALIBRATED. */
static void add_up(bd_layer_cost *layer, const bd_calibration *probe, const double *values, int format_count)
{
    const double whole = values[0], *operands = values + 1, *of_format = values + 5;
    layer->contractions++;
    for (int f = 0; f < format_count; f++, of_format += 7) {
        bd_format_cost *cost = &layer->cost[f];
        const double error = isfinite(of_format[0]) ? sqrt(of_format[0] / whole) : INFINITY;
        take_worse(&cost->error, whole > 0 ? error : 0);
        for (int i = 0; i < 2; i++) {
            const double power = operands[2 * i], zeros = operands[2 * i + 1], *rounded = of_format + 1 + 3 * i;
            const double count = (double)probe->elements[i], others = count - zeros;
            const double noise = isfinite(rounded[0]) ? rounded[0] : INFINITY;
            const double sqnr = noise > 0 ? 10 * log10(power / noise) : INFINITY;
            cost->sqnr = fmin(cost->sqnr, sqnr);
            take_worse(&cost->underflow, others > 0 ? (rounded[1] - zeros) / others : 0);
            take_worse(&cost->overflow, rounded[2] / count);
        }
    }
}

/* The layer's place in the list, a new one if need be. */
static bd_layer_cost *find_layer(bd_layer_cost *layers, size_t *count, const char *name)
{
    for (size_t i = 0; i < *count; i++)
        if (strncmp(layers[i].layer, name, sizeof layers[i].layer - 1) == 0)
            return &layers[i];
    bd_layer_cost *layer = &layers[(*count)++];
    strncpy(layer->layer, name, sizeof layer->layer - 1);
    for (int f = 0; f < BD_MOST_CANDIDATES; f++)
        layer->cost[f].sqnr = INFINITY;
    return layer;
}

static bd_status collect(const bd_trainer *trainer, const bd_calibration *probes, int probe_count, int format_count,
                         bd_layer_cost *layers, size_t *count, bd_error *error)
{
    double values[BD_CALIBRATED(BD_MOST_CANDIDATES)];
    for (int i = 0; i < probe_count; i++) {
        const bd_status status = bd_store_read_values(trainer->store, probes[i].variable, values,
                                                      (size_t)BD_CALIBRATED(format_count), error);
        if (status)
            return status;
        add_up(find_layer(layers, count, probes[i].layer), &probes[i], values, format_count);
    }
    return BD_OK;
}

bd_status bd_trainer_calibrate(bd_trainer *trainer, const bd_format *formats, int format_count, bd_layer_cost **layers,
                               size_t *count, bd_error *error)
{
    bd_graph *graph = NULL;
    bd_calibration *probes = NULL;
    int probe_count = 0;
    *layers = NULL;
    *count = 0;
    if (!trainer->train.program)
        return bd_fail(error, BD_ERROR_ARGUMENT, "this trainer has no device, or met a value that is not finite");
    if (format_count < 1 || format_count > BD_MOST_CANDIDATES)
        return bd_fail(error, BD_ERROR_ARGUMENT, "%d formats to calibrate; 1 to %d can be", format_count,
                       BD_MOST_CANDIDATES);
    bd_status status = bd_trainer_read_control(trainer, error);
    if (!status && trainer->state.control[BD_CONTROL_POSITION] + trainer->params.batch > trainer->train.shape.count)
        return bd_fail(error, BD_ERROR_ARGUMENT, "no batch of %lld is left in the epoch to calibrate on",
                       (long long)trainer->params.batch);
    if (!status)
        status = bd_step_calibration(&trainer->params, &trainer->train.source, formats, format_count, &graph, &probes,
                                     &probe_count, error);
    if (!status && !probe_count)
        status = bd_fail(error, BD_ERROR_ARGUMENT, "model '%s' has no layers with matrix products or convolutions",
                         trainer->params.model_name);
    if (!status)
        status = bd_trainer_run_once(trainer, graph, error);
    if (!status && !(*layers = calloc((size_t)probe_count, sizeof **layers)))
        status = bd_fail(error, BD_ERROR_MEMORY, "no memory for the costs of %d contractions", probe_count);
    if (!status)
        status = collect(trainer, probes, probe_count, format_count, *layers, count, error);
    if (status) {
        free(*layers);
        *layers = NULL;
        *count = 0;
    }
    free(probes);
    bd_graph_destroy(&graph);
    return status;
}
