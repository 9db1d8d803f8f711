/* Builds the graphs of training: see the header. */
#include "step.h"

#include "control.h"
#include "optimizer.h"

#include <stdio.h>
#include <stdlib.h>

/* What the three graphs have in common. */
typedef struct forward {
    bd_tensor control, rates;
    bd_tensor losses, correct; /* [batch] */
} forward;

/* Pixels of the padded crop: He et al., arXiv:1512.03385, section 4.2. */
enum { AUGMENT_PAD = 4 };

static const bd_init zeros = { BD_INIT_CONSTANT, 0 };

static bd_tensor fixed_variable(bd_graph *graph, const char *prefix, const char *name, bd_format format, bd_shape shape)
{
    char path[64];
    snprintf(path, sizeof path, "/%s%s", prefix, name);
    return bd_variable(graph, path, BD_ROLE_FIXED, format, shape, zeros);
}

static bd_tensor broadcast_constant(bd_graph *graph, double value, bd_tensor like)
{
    return bd_constant(graph, bd_tensor_shape(graph, like), value);
}

/* The batch's images as the model sees them: (byte / 255 - mean) / deviation in F32, then one rounding. */
static bd_tensor normalise(bd_graph *graph, bd_tensor bytes, const bd_dataset *data)
{
    bd_tensor unit = bd_mul(graph, bytes, broadcast_constant(graph, 1.0 / 255, bytes));
    bd_tensor centred = bd_sub(graph, unit, broadcast_constant(graph, data->mean, bytes));
    return bd_mul(graph, centred, broadcast_constant(graph, 1 / (double)data->deviation, bytes));
}

/* `prefix` is "" for what the training graph calls "control" and "rates". */
static forward append_forward(bd_graph *graph, const bd_train_params *params, const bd_step_source *source,
                              const char *prefix, const char *data_prefix, bool training)
{
    const bd_dataset *data = params->dataset;
    const int64_t batch = params->batch;
    forward f;
    bd_role role = bd_set_role(graph, BD_ROLE_FIXED);
    f.control = fixed_variable(graph, prefix, "control", BD_U32, BD_SHAPE(BD_CONTROL_BYTES / 4));
    f.rates = fixed_variable(graph, prefix, "rates", BD_F32, BD_SHAPE(source->rates));
    bd_tensor images = fixed_variable(graph, data_prefix, "images", BD_U8,
                                      BD_SHAPE(source->rows, data->height, data->width, data->channels));
    bd_tensor labels = fixed_variable(graph, data_prefix, "labels", BD_U8, BD_SHAPE(source->rows));
    bd_tensor order = fixed_variable(graph, data_prefix, "order", BD_U32, BD_SHAPE(source->count));
    bd_tensor bytes = training && params->augment
                          ? bd_batch_augmented(graph, images, order, f.control, batch, AUGMENT_PAD)
                          : bd_batch(graph, images, order, f.control, batch);
    bd_tensor x = normalise(graph, bytes, data);
    bd_tensor wanted = bd_batch(graph, labels, order, f.control, batch);
    bd_set_role(graph, BD_ROLE_ACTIVATION);

    bd_tensor logits =
        params->model(graph, bd_cast(graph, x, BD_ROLE_ACTIVATION), data->classes, training, params->model_user);
    bd_shape shape = bd_tensor_shape(graph, logits), expected = BD_SHAPE(batch, data->classes);
    char text[96];
    if (graph->status == BD_OK && (logits == BD_NONE || !bd_shape_equal(&shape, &expected)))
        bd_graph_fail(graph, BD_ERROR_ARGUMENT, "model '%s' returned %s, wanted logits of %lldx%lld",
                      params->model_name, logits == BD_NONE ? "no tensor" : bd_shape_text(&shape, text, sizeof text),
                      (long long)batch, (long long)data->classes);
    bd_set_role(graph, BD_ROLE_ACTIVATION);
    f.losses = bd_cross_entropy(graph, logits, wanted);
    bd_set_role(graph, BD_ROLE_FIXED);
    f.correct = bd_equal(graph, bd_argmax(graph, logits, 1), wanted);
    bd_set_role(graph, role);
    return f;
}

static bd_tensor total(bd_graph *graph, bd_tensor values)
{
    return bd_sum(graph, values, 0, 1, false);
}

/* The output gradient of the mean loss, times the loss scale. In F32, since a scale may be beyond F16. */
static bd_tensor make_seed(bd_graph *graph, bd_tensor control, int64_t batch)
{
    bd_tensor scale = bd_control_value(graph, control, BD_CONTROL_SCALE, true);
    bd_tensor mean = bd_mul(graph, scale, bd_constant(graph, (bd_shape){ 0 }, 1 / (double)batch));
    return bd_broadcast(graph, mean, BD_SHAPE(batch));
}

/* The gradient of l2 * sum of squares, scaled like the loss. */
static bd_tensor add_l2(bd_graph *graph, bd_tensor gradient, bd_tensor weight, bd_tensor control)
{
    const bd_shape shape = bd_tensor_shape(graph, weight);
    const double l2 = bd_node_at(graph, weight)->attr.variable.l2;
    bd_role role = bd_set_role(graph, BD_ROLE_FIXED);
    bd_tensor scale = bd_control_value(graph, control, BD_CONTROL_SCALE, true);
    bd_tensor factor = bd_mul(graph, scale, bd_constant(graph, (bd_shape){ 0 }, 2 * l2));
    bd_tensor slope = bd_mul(graph, weight, bd_broadcast(graph, factor, shape));
    bd_set_role(graph, BD_ROLE_GRADIENT);
    gradient = gradient == BD_NONE ? bd_cast(graph, slope, BD_ROLE_GRADIENT) : bd_add(graph, gradient, slope);
    bd_set_role(graph, role);
    return gradient;
}

static void append_backward(bd_graph *graph, const bd_train_params *params, const bd_layout *layout, const forward *f)
{
    bd_tensor *parameters = malloc((size_t)layout->slot_count * sizeof *parameters);
    bd_tensor *gradients = malloc((size_t)layout->slot_count * sizeof *gradients);
    bd_tensor *packs = malloc((size_t)layout->group_count * sizeof *packs);
    if (!parameters || !gradients || !packs)
        bd_graph_fail(graph, BD_ERROR_MEMORY, "no memory for the gradients of %d parameters", layout->slot_count);
    if (graph->status == BD_OK) {
        for (int i = 0; i < layout->slot_count; i++)
            parameters[i] = layout->slots[i].variable;
        bd_set_role(graph, BD_ROLE_FIXED);
        bd_tensor seed = make_seed(graph, f->control, params->batch);
        bd_tensor loss = total(graph, f->losses), correct = total(graph, f->correct);
        bd_gradient(graph, f->losses, seed, parameters, layout->slot_count, gradients, NULL);
        for (int i = 0; i < layout->slot_count && graph->status == BD_OK; i++)
            if (bd_node_at(graph, parameters[i])->attr.variable.l2 > 0)
                gradients[i] = add_l2(graph, gradients[i], parameters[i], f->control);
        bd_optimizer_pack(graph, layout, gradients, packs);
        bd_tensor nonfinite = params->precision.scaling == BD_SCALING_DYNAMIC && graph->status == BD_OK
                                  ? bd_optimizer_nonfinite(graph, layout, packs)
                                  : BD_NONE;
        bd_tensor step = bd_control_step(graph, f->control, f->rates, loss, correct, nonfinite);
        bd_optimizer_append(graph, layout, &params->optimizer, packs, step);
    }
    free(parameters);
    free(gradients);
    free(packs);
}

bd_status bd_step_training(const bd_train_params *params, const bd_step_source *source, bd_graph **graph,
                           bd_layout *layout, bd_error *error)
{
    *layout = (bd_layout){ 0 };
    bd_status status = bd_graph_create(graph, error);
    if (status)
        return status;
    forward f = append_forward(*graph, params, source, "", "train/", true);
    if (!(status = bd_graph_status(*graph, error)) &&
        !(status = bd_layout_create(*graph, &params->precision, layout, error))) {
        append_backward(*graph, params, layout, &f);
        status = bd_graph_apply_precision(*graph, &params->precision, error);
    }
    if (status)
        bd_graph_destroy(graph);
    return status;
}

bd_status bd_step_evaluation(const bd_train_params *params, const bd_step_source *source, bd_graph **graph,
                             bd_error *error)
{
    bd_layout layout = { 0 };
    bd_status status = bd_graph_create(graph, error);
    if (status)
        return status;
    forward f = append_forward(*graph, params, source, "test/", "test/", false);
    if (!(status = bd_graph_status(*graph, error)) &&
        !(status = bd_layout_create(*graph, &params->precision, &layout, error))) {
        bd_set_role(*graph, BD_ROLE_FIXED);
        bd_tensor valid = bd_valid(*graph, f.control, params->batch), zero = broadcast_constant(*graph, 0, valid);
        bd_tensor loss = total(*graph, bd_select(*graph, valid, f.losses, zero));
        bd_tensor correct = total(*graph, bd_select(*graph, valid, f.correct, zero));
        bd_control_step(*graph, f.control, f.rates, loss, correct, BD_NONE);
        status = bd_graph_apply_precision(*graph, &params->precision, error);
    }
    bd_layout_finish(&layout);
    if (status)
        bd_graph_destroy(graph);
    return status;
}

/* ---- the search for a value that is not finite ---- */

static bool holds_floats(const bd_node *node)
{
    switch (bd_op_get_info(node->op)->class) {
    case BD_CLASS_SOURCE: return node->op == BD_OP_VARIABLE && node->role == BD_ROLE_WEIGHT;
    case BD_CLASS_EFFECT: return false;
    case BD_CLASS_VIEW: return false; /* its input was counted */
    default: return true;
    }
}

static void add_probe(bd_graph *graph, bd_tensor node, bd_probe *probes, int *count)
{
    bd_probe *probe = &probes[(*count)++];
    probe->node = node;
    snprintf(probe->variable, sizeof probe->variable, "search/%d", (int)node);
    bd_shape shape = bd_tensor_shape(graph, node);
    bd_tensor bad = bd_nonfinite(graph, node);
    if (shape.rank > 0)
        bad = bd_sum(graph, bad, 0, shape.rank, false);
    bd_assign(graph, fixed_variable(graph, "", probe->variable, BD_F32, (bd_shape){ 0 }), bad);
}

bd_status bd_step_search(const bd_train_params *params, const bd_step_source *source, bd_graph **graph,
                         bd_probe **probes, int *count, bd_error *error)
{
    bd_layout layout = { 0 };
    *count = 0;
    *probes = NULL;
    bd_status status = bd_graph_create(graph, error);
    if (status)
        return status;
    append_forward(*graph, params, source, "", "train/", true);
    status = bd_graph_status(*graph, error);
    const bd_tensor end = (*graph)->node_count;
    if (!status && !(*probes = calloc((size_t)end + 1, sizeof **probes)))
        status = bd_fail(error, BD_ERROR_MEMORY, "no memory to search %d nodes", (int)end);
    if (!status && !(status = bd_layout_create(*graph, &params->precision, &layout, error))) {
        bd_set_role(*graph, BD_ROLE_FIXED);
        for (int parameters = 1; parameters >= 0; parameters--)
            for (bd_tensor t = 0; t < end; t++)
                if (holds_floats(bd_node_at(*graph, t)) &&
                    (bd_node_at(*graph, t)->op == BD_OP_VARIABLE) == (parameters == 1))
                    add_probe(*graph, t, *probes, count);
        status = bd_graph_apply_precision(*graph, &params->precision, error);
    }
    bd_layout_finish(&layout);
    if (status) {
        free(*probes);
        *probes = NULL;
        bd_graph_destroy(graph);
    }
    return status;
}
