/* Builds the graphs of training: see the header. */
#include "step.h"

#include "control.h"
#include "optimizer.h"

#include <stdio.h>
#include <stdlib.h>

/* What the three graphs have in common. */
typedef struct forward {
    bd_tensor control, rates;
    bd_tensor logits;                  /* [batch, classes], or of a text [batch, context, classes] */
    bd_tensor losses, correct, wanted; /* [batch], or of a text [batch, context] */
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

/* A batch of the data set: what the model takes, in F32, and the classes that it should find. */
typedef struct examples {
    bd_tensor x, wanted;
} examples;

/* The batch's images as the model sees them: (byte / 255 - mean) / deviation in F32, then one rounding. */
static bd_tensor normalise(bd_graph *graph, bd_tensor bytes, const bd_dataset *data)
{
    bd_tensor unit = bd_mul(graph, bytes, broadcast_constant(graph, 1.0 / 255, bytes));
    bd_tensor centred = bd_sub(graph, unit, broadcast_constant(graph, data->mean, bytes));
    return bd_mul(graph, centred, broadcast_constant(graph, 1 / (double)data->deviation, bytes));
}

static examples take_images(bd_graph *graph, const bd_train_params *params, const bd_step_source *source,
                            const char *prefix, bd_tensor order, bd_tensor control, bool training)
{
    const bd_dataset *data = params->dataset;
    bd_tensor images = fixed_variable(graph, prefix, "images", BD_U8,
                                      BD_SHAPE(source->rows, data->height, data->width, data->channels));
    bd_tensor labels = fixed_variable(graph, prefix, "labels", BD_U8, BD_SHAPE(source->rows));
    bd_tensor bytes = training && params->augment
                          ? bd_batch_augmented(graph, images, order, control, params->batch, AUGMENT_PAD)
                          : bd_batch(graph, images, order, control, params->batch);
    bd_tensor x = normalise(graph, bytes, data);
    return (examples){ x, bd_batch(graph, labels, order, control, params->batch) };
}

/* Windows of tokens, and behind each token the next one. */
static examples take_windows(bd_graph *graph, const bd_train_params *params, const bd_step_source *source,
                             const char *prefix, bd_tensor order, bd_tensor control)
{
    bd_tensor tokens = fixed_variable(graph, prefix, "tokens", BD_U8, BD_SHAPE(source->rows, params->context + 1));
    bd_tensor rows = bd_batch(graph, tokens, order, control, params->batch);
    return (examples){ bd_slice(graph, rows, 1, 0, params->context), bd_slice(graph, rows, 1, 1, params->context) };
}

/* `prefix` is "" for what the training graph calls "control" and "rates". */
static forward append_forward(bd_graph *graph, const bd_train_params *params, const bd_step_source *source,
                              const char *prefix, const char *data_prefix, bool training)
{
    const bd_dataset *data = params->dataset;
    forward f;
    graph->precision = &params->precision;
    bd_role role = bd_set_role(graph, BD_ROLE_FIXED);
    f.control = fixed_variable(graph, prefix, "control", BD_U32, BD_SHAPE(BD_CONTROL_BYTES / 4));
    f.rates = fixed_variable(graph, prefix, "rates", BD_F32, BD_SHAPE(source->rates));
    bd_tensor order = fixed_variable(graph, data_prefix, "order", BD_U32, BD_SHAPE(source->count));
    const examples e = data->tokens ? take_windows(graph, params, source, data_prefix, order, f.control)
                                    : take_images(graph, params, source, data_prefix, order, f.control, training);
    bd_set_role(graph, BD_ROLE_ACTIVATION);

    /* Numbers of tokens are never rounded. */
    bd_tensor x = data->tokens ? e.x : bd_cast(graph, e.x, BD_ROLE_ACTIVATION);
    bd_tensor logits = f.logits = params->model(graph, x, data->classes, training, params->model_user);
    bd_shape shape = bd_tensor_shape(graph, logits), expected = bd_tensor_shape(graph, e.wanted);
    expected.dim[expected.rank++] = data->classes;
    char text[96], right[96];
    if (graph->status == BD_OK && (logits == BD_NONE || !bd_shape_equal(&shape, &expected)))
        bd_graph_fail(graph, BD_ERROR_ARGUMENT, "model '%s' returned %s, wanted logits of %s", params->model_name,
                      logits == BD_NONE ? "no tensor" : bd_shape_text(&shape, text, sizeof text),
                      bd_shape_text(&expected, right, sizeof right));
    bd_set_role(graph, BD_ROLE_ACTIVATION);
    f.wanted = e.wanted;
    f.losses = bd_cross_entropy(graph, logits, e.wanted);
    bd_set_role(graph, BD_ROLE_FIXED);
    f.correct = bd_equal(graph, bd_argmax(graph, logits, expected.rank - 1), e.wanted);
    bd_set_role(graph, role);
    return f;
}

/* The sum over the batch's examples; a window counts with the mean of its tokens. */
static bd_tensor total(bd_graph *graph, bd_tensor values)
{
    const bd_shape shape = bd_tensor_shape(graph, values);
    bd_tensor sum = bd_sum(graph, values, 0, shape.rank, false);
    return shape.rank == 1 ? sum : bd_mul(graph, sum, broadcast_constant(graph, 1 / (double)shape.dim[1], sum));
}

/* The output gradient of the mean loss, times the loss scale. In F32, since a scale may be beyond F16. */
static bd_tensor make_seed(bd_graph *graph, bd_tensor control, bd_tensor losses)
{
    const bd_shape shape = bd_tensor_shape(graph, losses);
    bd_tensor scale = bd_control_value(graph, control, BD_CONTROL_SCALE, true);
    bd_tensor mean = bd_mul(graph, scale, bd_constant(graph, (bd_shape){ 0 }, 1 / (double)bd_shape_elements(&shape)));
    return bd_broadcast(graph, mean, shape);
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

/* The gradients of the mean loss, times the loss scale; malloc'ed, one a parameter. NULL on failure. */
static bd_tensor *append_gradients(bd_graph *graph, const bd_layout *layout, const forward *f)
{
    bd_tensor *parameters = malloc(((size_t)layout->slot_count + 1) * sizeof *parameters);
    bd_tensor *gradients = malloc(((size_t)layout->slot_count + 1) * sizeof *gradients);
    if (!parameters || !gradients)
        bd_graph_fail(graph, BD_ERROR_MEMORY, "no memory for the gradients of %d parameters", layout->slot_count);
    if (graph->status == BD_OK) {
        for (int i = 0; i < layout->slot_count; i++)
            parameters[i] = layout->slots[i].variable;
        bd_set_role(graph, BD_ROLE_FIXED);
        bd_tensor seed = make_seed(graph, f->control, f->losses);
        bd_gradient(graph, f->losses, seed, parameters, layout->slot_count, gradients, NULL);
    }
    free(parameters);
    if (graph->status == BD_OK)
        return gradients;
    free(gradients);
    return NULL;
}

/* `updates` gets one a group. */
static void append_backward(bd_graph *graph, const bd_train_params *params, const bd_layout *layout, const forward *f,
                            bd_update *updates)
{
    bd_set_role(graph, BD_ROLE_FIXED);
    bd_tensor loss = total(graph, f->losses), correct = total(graph, f->correct);
    bd_tensor *gradients = append_gradients(graph, layout, f);
    bd_tensor *packs = malloc((size_t)layout->group_count * sizeof *packs);
    if (!packs)
        bd_graph_fail(graph, BD_ERROR_MEMORY, "no memory for the gradients of %d groups", layout->group_count);
    if (graph->status == BD_OK) {
        for (int i = 0; i < layout->slot_count && graph->status == BD_OK; i++)
            if (bd_node_at(graph, layout->slots[i].variable)->attr.variable.l2 > 0)
                gradients[i] = add_l2(graph, gradients[i], layout->slots[i].variable, f->control);
        bd_optimizer_pack(graph, layout, gradients, packs);
        bd_tensor nonfinite = params->precision.scaling == BD_SCALING_DYNAMIC && graph->status == BD_OK
                                  ? bd_optimizer_nonfinite(graph, layout, packs)
                                  : BD_NONE;
        bd_tensor step = bd_control_step(graph, f->control, f->rates, loss, correct, nonfinite);
        bd_optimizer_append(graph, layout, &params->optimizer, packs, step, updates);
    }
    free(gradients);
    free(packs);
}

/* A weight, or what views make of one. */
static bool is_weight(const bd_graph *graph, bd_tensor x)
{
    while (bd_op_get_info(bd_node_at(graph, x)->op)->class == BD_CLASS_VIEW)
        x = bd_node_at(graph, x)->inputs[0];
    return bd_node_at(graph, x)->op == BD_OP_VARIABLE && bd_node_at(graph, x)->role == BD_ROLE_WEIGHT;
}

bd_status bd_graph_set_ends(const bd_graph *graph, bd_precision *precision, bd_error *error)
{
    const char *first = NULL, *last = NULL;
    for (bd_tensor t = 0; t < graph->node_count; t++) {
        const bd_node *node = bd_node_at(graph, t);
        if (bd_op_get_info(node->op)->class != BD_CLASS_CONTRACTION || !is_weight(graph, node->inputs[1]))
            continue;
        last = bd_node_layer(graph, t);
        first = first ? first : last;
    }
    return first ? bd_precision_set_ends(precision, first, last, error) : BD_OK;
}

bd_status bd_step_set_ends(bd_train_params *params, bd_error *error)
{
    if (params->precision.ends == BD_F32)
        return BD_OK;
    bd_train_params plain = *params;
    bd_graph *graph;
    bd_status status = bd_precision_parse("fp32", &plain.precision, error);
    if (status || (status = bd_graph_create(&graph, error)))
        return status;
    append_forward(graph, &plain, &(bd_step_source){ params->batch, params->batch, 1 }, "test/", "test/", false);
    if (!(status = bd_graph_status(graph, error)))
        status = bd_graph_set_ends(graph, &params->precision, error);
    bd_graph_destroy(&graph);
    return status;
}

/* `points`: what is to be measured too, or NULL. */
static bd_status build_training(const bd_train_params *params, const bd_step_source *source, bd_graph **graph,
                                bd_layout *layout, bd_measure_points *points, bd_error *error)
{
    bd_update *updates = NULL;
    *layout = (bd_layout){ 0 };
    bd_status status = bd_graph_create(graph, error);
    if (status)
        return status;
    forward f = append_forward(*graph, params, source, "", "train/", true);
    const bd_tensor forward_end = (*graph)->node_count;
    if (!(status = bd_graph_status(*graph, error)))
        status = bd_layout_create(*graph, &params->precision, params->optimizer.decay_matrices, layout, error);
    if (!status && !(updates = calloc((size_t)layout->group_count + 1, sizeof *updates)))
        status = bd_fail(error, BD_ERROR_MEMORY, "no memory for the updates of %d groups", layout->group_count);
    if (!status) {
        append_backward(*graph, params, layout, &f, updates);
        status = bd_graph_apply_precision(*graph, &params->precision, error);
    }
    if (!status && points)
        status = bd_measure_append(*graph, forward_end, layout, updates, points, error);
    free(updates);
    if (status)
        bd_graph_destroy(graph);
    return status;
}

bd_status bd_step_training(const bd_train_params *params, const bd_step_source *source, bd_graph **graph,
                           bd_layout *layout, bd_error *error)
{
    return build_training(params, source, graph, layout, NULL, error);
}

bd_status bd_step_start(const bd_train_params *params, const bd_step_source *source, bd_graph **graph, bd_error *error)
{
    bd_layout layout = { 0 };
    bd_status status = bd_graph_create(graph, error);
    if (status)
        return status;
    (*graph)->starting = true;
    append_forward(*graph, params, source, "", "train/", true);
    if (!(status = bd_graph_status(*graph, error)) &&
        !(status = bd_layout_create(*graph, &params->precision, params->optimizer.decay_matrices, &layout, error)))
        status = bd_graph_apply_precision(*graph, &params->precision, error);
    bd_layout_finish(&layout);
    if (status)
        bd_graph_destroy(graph);
    return status;
}

bd_status bd_step_measured(const bd_train_params *params, const bd_step_source *source, bd_graph **graph,
                           bd_measure_points *points, bd_error *error)
{
    bd_layout layout = { 0 };
    bd_status status = build_training(params, source, graph, &layout, points, error);
    bd_layout_finish(&layout);
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
        !(status = bd_layout_create(*graph, &params->precision, params->optimizer.decay_matrices, &layout, error))) {
        bd_set_role(*graph, BD_ROLE_FIXED);
        bd_tensor valid = bd_valid(*graph, f.control, params->batch);
        if (params->dataset->tokens) /* the same for each of a window's tokens */
            valid = bd_broadcast(*graph, bd_reshape(*graph, valid, BD_SHAPE(params->batch, 1)),
                                 bd_tensor_shape(*graph, f.losses));
        bd_tensor zero = broadcast_constant(*graph, 0, valid);
        bd_tensor loss = total(*graph, bd_select(*graph, valid, f.losses, zero));
        bd_tensor correct = total(*graph, bd_select(*graph, valid, f.correct, zero));
        bd_control_step(*graph, f.control, f.rates, loss, correct, BD_NONE);
        if (!params->dataset->tokens) /* bd_trainer_predict's; those of a text are its context times as many */
            bd_assign(*graph, fixed_variable(*graph, "test/", "logits", BD_F32, bd_tensor_shape(*graph, f.logits)),
                      f.logits);
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
    if (!status &&
        !(status = bd_layout_create(*graph, &params->precision, params->optimizer.decay_matrices, &layout, error))) {
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

/* ---- calibration ---- */

static bd_tensor sum_of_all(bd_graph *graph, bd_tensor x)
{
    const int rank = bd_tensor_shape(graph, x).rank;
    return bd_reshape(graph, rank > 0 ? bd_sum(graph, x, 0, rank, false) : x, BD_SHAPE(1));
}

static bd_tensor sum_of_squares(bd_graph *graph, bd_tensor x)
{
    return sum_of_all(graph, bd_mul(graph, x, x));
}

static bd_tensor count_zeros(bd_graph *graph, bd_tensor x)
{
    return sum_of_all(graph, bd_equal(graph, x, broadcast_constant(graph, 0, x)));
}

static bd_tensor rounded_to(bd_graph *graph, bd_tensor x, bd_format format)
{
    bd_tensor rounded = bd_cast(graph, x, BD_ROLE_FIXED);
    if (graph->status == BD_OK)
        graph->nodes[rounded].format = format;
    return rounded;
}

/* Assigns the variable of the probe: see BD_CALIBRATED. */
static void add_calibration(bd_graph *graph, bd_tensor node, const bd_format *formats, int count, bd_calibration *probe)
{
    bd_tensor parts[BD_CALIBRATED(BD_MOST_CANDIDATES)], x[2], rounded[2];
    int filled = 0;
    probe->layer = bd_node_layer(graph, node);
    snprintf(probe->variable, sizeof probe->variable, "calibrate/%d", (int)node);
    for (int i = 0; i < 2; i++) {
        x[i] = bd_node_at(graph, node)->inputs[i];
        const bd_shape shape = bd_tensor_shape(graph, x[i]);
        probe->elements[i] = bd_shape_elements(&shape);
    }
    parts[filled++] = sum_of_squares(
        graph, bd_graph_again(graph, node, (const bd_tensor[]){ bd_abs(graph, x[0]), bd_abs(graph, x[1]) }));
    for (int i = 0; i < 2; i++) {
        parts[filled++] = sum_of_squares(graph, x[i]);
        parts[filled++] = count_zeros(graph, x[i]);
    }
    for (int f = 0; f < count; f++) {
        for (int i = 0; i < 2; i++)
            rounded[i] = rounded_to(graph, x[i], formats[f]);
        bd_tensor again = bd_graph_again(graph, node, rounded);
        parts[filled++] = sum_of_squares(graph, bd_sub(graph, again, node));
        for (int i = 0; i < 2; i++) {
            parts[filled++] = sum_of_squares(graph, bd_sub(graph, rounded[i], x[i]));
            parts[filled++] = count_zeros(graph, rounded[i]);
            parts[filled++] = sum_of_all(graph, bd_nonfinite(graph, rounded[i]));
        }
    }
    bd_tensor all = parts[0]; /* two by two, since a kernel may not be able to read all of them */
    for (int i = 1; i < filled; i++)
        all = bd_concat(graph, (const bd_tensor[]){ all, parts[i] }, 2, 0);
    bd_assign(graph, fixed_variable(graph, "", probe->variable, BD_F32, BD_SHAPE(filled)), all);
}

bd_status bd_step_calibration(const bd_train_params *params, const bd_step_source *source, const bd_format *formats,
                              int format_count, bd_graph **graph, bd_calibration **probes, int *count, bd_error *error)
{
    bd_layout layout = { 0 };
    *count = 0;
    *probes = NULL;
    bd_status status = bd_graph_create(graph, error);
    if (status)
        return status;
    forward f = append_forward(*graph, params, source, "", "train/", true);
    if (!(status = bd_graph_status(*graph, error)) &&
        !(status = bd_layout_create(*graph, &params->precision, params->optimizer.decay_matrices, &layout, error))) {
        free(append_gradients(*graph, &layout, &f));
        status = bd_graph_apply_precision(*graph, &params->precision, error);
    }
    const bd_tensor end = (*graph)->node_count;
    if (!status && !(*probes = calloc((size_t)end + 1, sizeof **probes)))
        status = bd_fail(error, BD_ERROR_MEMORY, "no memory to calibrate %d nodes", (int)end);
    bd_set_role(*graph, BD_ROLE_FIXED);
    for (bd_tensor t = 0; t < end && !status; t++)
        if (bd_op_get_info(bd_node_at(*graph, t)->op)->class == BD_CLASS_CONTRACTION && *bd_node_layer(*graph, t))
            add_calibration(*graph, t, formats, format_count, &(*probes)[(*count)++]);
    if (!status)
        status = bd_graph_status(*graph, error);
    bd_layout_finish(&layout);
    if (status) {
        free(*probes);
        *probes = NULL;
        bd_graph_destroy(graph);
    }
    return status;
}

/* ---- sharpness ---- */

/* The largest |d| that a box of epsilon allows each of x's values. */
static bd_tensor box_around(bd_graph *graph, bd_tensor x, double epsilon)
{
    bd_tensor size = bd_add(graph, bd_abs(graph, x), broadcast_constant(graph, 1, x));
    return bd_mul(graph, size, broadcast_constant(graph, epsilon, x));
}

/* Cross entropy grows with every logit but the label's, with which it falls: its maximum over a box is in that
 * corner. */
static bd_tensor worst_logits(bd_graph *graph, bd_tensor logits, bd_tensor wanted, double epsilon)
{
    bd_tensor z = bd_cast(graph, logits, BD_ROLE_FIXED);
    const bd_shape shape = bd_tensor_shape(graph, z);
    bd_shape column = bd_tensor_shape(graph, wanted);
    column.dim[column.rank++] = 1;
    bd_tensor label = bd_broadcast(graph, bd_reshape(graph, wanted, column), shape);
    bd_tensor right = bd_equal(graph, bd_iota(graph, shape, shape.rank - 1), label),
              box = box_around(graph, z, epsilon);
    return bd_add(graph, z, bd_select(graph, right, bd_neg(graph, box), box));
}

static bd_tensor mean_of_batch(bd_graph *graph, bd_tensor losses, int64_t rows)
{
    bd_tensor sum = total(graph, losses);
    return bd_reshape(graph, bd_mul(graph, sum, broadcast_constant(graph, 1 / (double)rows, sum)), BD_SHAPE(1));
}

/* Up along the gradient's signs, which is where the linear part of the loss grows most, and back into the box. */
static void climb(bd_graph *graph, bd_tensor weight, bd_tensor gradient, const bd_moved *moved, double epsilon,
                  double share)
{
    const bd_shape shape = bd_tensor_shape(graph, weight);
    bd_tensor origin = fixed_variable(graph, "", moved->origin, BD_F32, shape),
              box = box_around(graph, origin, epsilon);
    bd_tensor move = bd_mul(graph, bd_mul(graph, box, broadcast_constant(graph, share, box)), bd_sign(graph, gradient));
    bd_tensor next = bd_max(graph, bd_add(graph, weight, move), bd_sub(graph, origin, box));
    bd_assign(graph, weight, bd_min(graph, next, bd_add(graph, origin, box)));
}

/* Weights between two values of their format are not of it, and small changes of a loss must be seen. */
static void widen(bd_precision *precision)
{
    static const bd_role roles[] = { BD_ROLE_WEIGHT, BD_ROLE_GRADIENT, BD_ROLE_STATISTIC, BD_ROLE_GRADIENT_OPERAND };
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        precision->format[roles[i]] = BD_F32;
        for (size_t o = 0; o < precision->override_count; o++)
            precision->overrides[o].set[roles[i]] = false;
    }
}

/* Every weight but the learned steps of operands, scalars, in which a box of this size would be another format. */
static bool is_moved(const bd_node *node)
{
    return node->op == BD_OP_VARIABLE && node->role == BD_ROLE_WEIGHT && node->shape.rank > 0;
}

bd_status bd_step_sharpness(const bd_train_params *params, int64_t rows, double epsilon, double share, bd_graph **graph,
                            bd_moved **moved, int *count, bd_error *error)
{
    bd_train_params own = *params;
    own.batch = rows;
    widen(&own.precision);
    *count = 0;
    *moved = NULL;
    bd_status status = bd_graph_create(graph, error);
    if (status)
        return status;
    bd_graph *g = *graph;
    forward f = append_forward(g, &own, &(bd_step_source){ rows, rows, 1 }, "sharpness/", "sharpness/", false);
    const bd_tensor end = g->node_count;
    bd_tensor *weights = malloc(((size_t)end + 1) * sizeof *weights);
    bd_tensor *gradients = malloc(((size_t)end + 1) * sizeof *gradients);
    *moved = calloc((size_t)end + 1, sizeof **moved);
    if (!weights || !gradients || !*moved)
        bd_graph_fail(g, BD_ERROR_MEMORY, "no memory for an ascent over %d nodes", (int)end);
    for (bd_tensor t = 0; t < end && g->status == BD_OK; t++) {
        if (!is_moved(bd_node_at(g, t)))
            continue;
        const bd_shape shape = bd_tensor_shape(g, t);
        bd_moved *m = &(*moved)[*count];
        *m = (bd_moved){ bd_node_at(g, t)->attr.variable.name, "", bd_shape_elements(&shape) };
        snprintf(m->origin, sizeof m->origin, "sharpness/origin/%d", *count);
        weights[(*count)++] = t;
    }
    if (g->status == BD_OK) {
        bd_set_role(g, BD_ROLE_FIXED);
        const bd_tensor parts[] = {
            mean_of_batch(g, f.losses, rows),
            mean_of_batch(g, bd_cross_entropy(g, worst_logits(g, f.logits, f.wanted, epsilon), f.wanted), rows),
        };
        bd_set_role(g, BD_ROLE_FIXED);
        bd_assign(g, fixed_variable(g, "", "sharpness/losses", BD_F32, BD_SHAPE(2)), bd_concat(g, parts, 2, 0));
        bd_gradient(g, f.losses, broadcast_constant(g, 1 / (double)rows, f.losses), weights, *count, gradients, NULL);
        bd_set_role(g, BD_ROLE_FIXED);
        for (int i = 0; i < *count && g->status == BD_OK; i++)
            if (gradients[i] != BD_NONE)
                climb(g, weights[i], gradients[i], &(*moved)[i], epsilon, share);
    }
    status = bd_graph_apply_precision(g, &own.precision, error);
    free(weights);
    free(gradients);
    if (status) {
        free(*moved);
        *moved = NULL;
        bd_graph_destroy(graph);
    }
    return status;
}
