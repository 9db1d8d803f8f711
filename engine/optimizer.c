/* SGD, Adam and AdamW. All arithmetic has the role MASTER, so that the policy says in which format it rounds; the loss
 * scale is taken off and the norm clipped in F32 before that. State is stored before it is used: the value that the
 * update sees is the one that the next step finds. */
#include "optimizer.h"

#include "control.h"

#include <math.h>
#include <stdlib.h>

const char *bd_optimizer_name(bd_optimizer_kind kind)
{
    static const char *const names[] = { "sgd", "adam", "adamw" };
    return names[kind];
}

const char *const *bd_optimizer_states(const bd_optimizer *optimizer)
{
    static const char *const none[] = { NULL }, *const momentum[] = { "momentum", NULL };
    static const char *const moments[] = { "first_moment", "second_moment", NULL };
    if (optimizer->kind != BD_OPTIMIZER_SGD)
        return moments;
    return optimizer->momentum > 0 ? momentum : none;
}

static bd_status check_range(const char *name, double value, double low, double high, bd_error *error)
{
    if (value >= low && value <= high)
        return BD_OK;
    if (isinf(high))
        return bd_fail(error, BD_ERROR_ARGUMENT, "%s %g: wanted a finite number of at least %g", name, value, low);
    return bd_fail(error, BD_ERROR_ARGUMENT, "%s %g: wanted %g to %g", name, value, low, high);
}

bd_status bd_optimizer_check(const bd_optimizer *o, bd_error *error)
{
    const double below_one = 1 - 0x1p-24;      /* the largest float below 1 */
    const double most = 3.4028234663852886e38; /* FLT_MAX */
    const struct {
        const char *name;
        double value, low, high;
    } ranges[] = {
        { "learning rate", o->rate, 0, most },
        { "momentum", o->momentum, 0, below_one },
        { "weight decay", o->weight_decay, 0, most },
        { "beta1", o->beta1, 0, below_one },
        { "beta2", o->beta2, 0, below_one },
        { "epsilon", o->epsilon, 0, most },
        { "clip norm", o->clip_norm, 0, most },
        { "step factor", o->step_factor, 0, most },
        { "final rate", o->final_rate, 0, most },
        { "warm-up steps", (double)o->warmup_steps, 0, UINT32_MAX },
        { "step epochs", (double)o->step_epochs, o->schedule == BD_SCHEDULE_STEP, UINT32_MAX },
    };
    if ((unsigned)o->kind > BD_OPTIMIZER_ADAMW)
        return bd_fail(error, BD_ERROR_ARGUMENT, "optimizer %d does not exist", (int)o->kind);
    if ((unsigned)o->schedule > BD_SCHEDULE_COSINE)
        return bd_fail(error, BD_ERROR_ARGUMENT, "schedule %d does not exist", (int)o->schedule);
    if (o->nesterov && !(o->momentum > 0))
        return bd_fail(error, BD_ERROR_ARGUMENT, "Nesterov needs a momentum above 0");
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        bd_status status = check_range(ranges[i].name, ranges[i].value, ranges[i].low, ranges[i].high, error);
        if (status)
            return status;
    }
    return BD_OK;
}

void bd_optimizer_pack(bd_graph *graph, const bd_layout *layout, const bd_tensor *gradients, bd_tensor *packs)
{
    bd_tensor *parts = malloc((size_t)layout->slot_count * sizeof *parts);
    int64_t *offsets = malloc((size_t)layout->slot_count * sizeof *offsets);
    if (!parts || !offsets)
        bd_graph_fail(graph, BD_ERROR_MEMORY, "no memory for the gradients of %d parameters", layout->slot_count);
    bd_role role = bd_set_role(graph, BD_ROLE_GRADIENT);
    for (int i = 0; i < layout->group_count && graph->status == BD_OK; i++) {
        const bd_parameter_group *group = &layout->groups[i];
        int count = 0;
        for (int j = 0; j < layout->slot_count; j++) {
            if (layout->slots[j].group != i || gradients[j] == BD_NONE)
                continue;
            parts[count] = gradients[j];
            offsets[count++] = layout->slots[j].offset;
        }
        bd_layout_enter(graph, group);
        packs[i] = count ? bd_pack(graph, parts, offsets, count, group->elements)
                         : bd_constant(graph, BD_SHAPE(group->elements), 0);
        bd_layout_leave(graph, group);
    }
    bd_set_role(graph, role);
    free(parts);
    free(offsets);
}

bd_tensor bd_optimizer_nonfinite(bd_graph *graph, const bd_layout *layout, const bd_tensor *packs)
{
    bd_role role = bd_set_role(graph, BD_ROLE_FIXED);
    bd_tensor total = BD_NONE;
    for (int i = 0; i < layout->group_count; i++) {
        bd_tensor count = bd_sum(graph, bd_nonfinite(graph, packs[i]), 0, 1, false);
        total = total == BD_NONE ? count : bd_add(graph, total, count);
    }
    bd_set_role(graph, role);
    return total;
}

/* ---- the update of one group ---- */

typedef struct update {
    bd_graph *graph;
    const bd_optimizer *optimizer;
    int group;
    bd_shape shape;
    bd_tensor step, apply;
} update;

static bd_tensor fill(const update *u, double value)
{
    return bd_constant(u->graph, u->shape, value);
}

/* A scalar of role FIXED, rounded to the policy's format, everywhere. */
static bd_tensor spread(const update *u, bd_tensor scalar)
{
    return bd_broadcast(u->graph, bd_cast(u->graph, scalar, BD_ROLE_MASTER), u->shape);
}

static bd_tensor word(const update *u, enum bd_control_word which)
{
    return bd_control_value(u->graph, u->step, which, true);
}

/* a * x + b * y */
static bd_tensor blend(const update *u, double a, bd_tensor x, double b, bd_tensor y)
{
    bd_graph *g = u->graph;
    return bd_add(g, bd_mul(g, fill(u, a), x), bd_mul(g, fill(u, b), y));
}

static bd_tensor state_variable(const update *u, const char *what)
{
    char name[BD_LAYOUT_NAME];
    return bd_variable(u->graph, bd_layout_vector_name(u->group, what, name), BD_ROLE_STATE, BD_F32, u->shape,
                       (bd_init){ BD_INIT_CONSTANT, 0 });
}

/* Where the weights are updated: in the master copy, or where there is none in what the model reads. */
static bd_role updated_role(const bd_parameter_group *group)
{
    return bd_layout_has_master(group) ? BD_ROLE_MASTER : BD_ROLE_WEIGHT;
}

/* Stores `value` unless the step is skipped; returns it as the next step will find it. */
static bd_tensor store(const update *u, bd_tensor variable, bd_tensor value, bd_role role)
{
    bd_tensor stored = bd_cast(u->graph, value, role);
    bd_role before = bd_set_role(u->graph, role);
    bd_assign(u->graph, variable, bd_select(u->graph, u->apply, stored, variable));
    bd_set_role(u->graph, before);
    return stored;
}

/* What is to be taken from the weights. As PyTorch has it: m = momentum * m + g, w -= rate * m; Nesterov (Sutskever et
 * al., ICML 2013): w -= rate * (g + momentum * m). The rate stays out of m, so that m does not underflow where the rate
 * is small. */
static bd_tensor sgd(const update *u, bd_tensor weights, bd_tensor gradient)
{
    bd_graph *g = u->graph;
    const bd_optimizer *o = u->optimizer;
    if (o->weight_decay > 0)
        gradient = bd_add(g, gradient, bd_mul(g, fill(u, o->weight_decay), weights));
    bd_tensor direction = gradient;
    if (o->momentum > 0) {
        bd_tensor variable = state_variable(u, "momentum"), factor = fill(u, o->momentum);
        bd_tensor momentum = bd_add(g, bd_mul(g, factor, variable), gradient);
        momentum = store(u, variable, momentum, BD_ROLE_STATE);
        direction = o->nesterov ? bd_add(g, gradient, bd_mul(g, factor, momentum)) : momentum;
    }
    return bd_mul(g, spread(u, word(u, BD_CONTROL_RATE)), direction);
}

/* 1 - beta^t of this step, role FIXED. */
static bd_tensor bias_correction(const update *u, enum bd_control_word power)
{
    bd_role role = bd_set_role(u->graph, BD_ROLE_FIXED);
    bd_tensor correction = bd_sub(u->graph, bd_constant(u->graph, (bd_shape){ 0 }, 1), word(u, power));
    bd_set_role(u->graph, role);
    return correction;
}

/* Kingma and Ba, with the bias corrections taken out of the loop as at the end of their section 2: w -= rate / (1 -
 * beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon); or, with epsilon in the root, sqrt(max(v, epsilon)) and
 * nothing added (Yun et al., arXiv:2301.12809): a sum that 16 bits do not swallow. */
static bd_tensor adam(const update *u, bd_tensor weights, bd_tensor gradient)
{
    bd_graph *g = u->graph;
    const bd_optimizer *o = u->optimizer;
    bd_role role = bd_set_role(g, BD_ROLE_FIXED);
    bd_tensor rate = word(u, BD_CONTROL_RATE);
    bd_tensor size = bd_div(g, rate, bias_correction(u, BD_CONTROL_BETA1_POWER));
    bd_tensor root = bd_sqrt(g, bias_correction(u, BD_CONTROL_BETA2_POWER));
    bd_set_role(g, role);

    if (o->weight_decay > 0 && o->kind == BD_OPTIMIZER_ADAM)
        gradient = bd_add(g, gradient, bd_mul(g, fill(u, o->weight_decay), weights));
    bd_tensor first = state_variable(u, "first_moment"), second = state_variable(u, "second_moment");
    bd_tensor m = store(u, first, blend(u, o->beta1, first, 1 - (double)o->beta1, gradient), BD_ROLE_STATE);
    bd_tensor v = store(u, second, blend(u, o->beta2, second, 1 - (double)o->beta2, bd_mul(g, gradient, gradient)),
                        BD_ROLE_STATE);
    if (o->epsilon_in_root)
        v = bd_max(g, v, fill(u, o->epsilon));
    bd_tensor deviation = bd_div(g, bd_sqrt(g, v), spread(u, root));
    if (!o->epsilon_in_root)
        deviation = bd_add(g, deviation, fill(u, o->epsilon));
    bd_tensor change = bd_mul(g, spread(u, size), bd_div(g, m, deviation));
    if (o->weight_decay > 0 && o->kind == BD_OPTIMIZER_ADAMW) {
        bd_tensor decay = bd_mul(g, spread(u, rate), bd_mul(g, fill(u, o->weight_decay), weights));
        change = bd_add(g, decay, change);
    }
    return change;
}

static bd_tensor master_variable(const update *u, const bd_parameter_group *group)
{
    char name[BD_LAYOUT_NAME];
    if (!bd_layout_has_master(group))
        return group->weights;
    return bd_variable(u->graph, bd_layout_vector_name(u->group, "master", name), BD_ROLE_MASTER, BD_F32, u->shape,
                       (bd_init){ BD_INIT_CONSTANT, 0 });
}

/* weights - change, rounded once, as the weights are. */
static bd_tensor take_from(const update *u, const bd_parameter_group *group, bd_tensor weights, bd_tensor change)
{
    const bd_role role = bd_set_role(u->graph, updated_role(group));
    bd_tensor result = bd_sub(u->graph, weights, change);
    bd_set_role(u->graph, role);
    return result;
}

/* Kahan's summation over the steps (Zamirai et al., arXiv:2010.06192): what a sum lost comes off the next update. */
static bd_tensor add_compensated(const update *u, const bd_parameter_group *group, bd_tensor weights, bd_tensor change)
{
    bd_graph *g = u->graph;
    bd_tensor compensation = state_variable(u, BD_OPTIMIZER_COMPENSATION);
    bd_tensor y = bd_sub(g, change, compensation);
    const bd_role role = bd_set_role(g, updated_role(group));
    bd_tensor sum = bd_add(g, weights, y);
    bd_set_role(g, role);
    store(u, compensation, bd_sub(g, bd_sub(g, sum, weights), y), BD_ROLE_STATE);
    return sum;
}

static bd_update append_group(update *u, const bd_parameter_group *group, bool kahan, bd_tensor gradient)
{
    bd_graph *g = u->graph;
    bd_set_role(g, BD_ROLE_MASTER);
    u->apply = spread(u, bd_control_value(g, u->step, BD_CONTROL_APPLY, false));
    bd_tensor master = master_variable(u, group);
    gradient = bd_cast(g, gradient, BD_ROLE_MASTER);
    bd_tensor change = u->optimizer->kind == BD_OPTIMIZER_SGD ? sgd(u, master, gradient) : adam(u, master, gradient);
    bd_tensor updated =
        kahan ? add_compensated(u, group, master, bd_neg(g, change)) : take_from(u, group, master, change);
    const bd_update result = { .before = master, .change = change, .after = updated };
    if (bd_layout_has_master(group)) {
        updated = bd_select(g, u->apply, updated, master);
        bd_assign(g, master, updated);
        bd_assign(g, group->weights, bd_cast(g, updated, BD_ROLE_WEIGHT));
    } else {
        store(u, master, updated, BD_ROLE_WEIGHT);
    }
    return result;
}

/* The factor that brings the norm of all gradients down to the limit (Pascanu et al., arXiv:1211.5063): min(1, limit /
 * norm). A norm of 0 gives infinity, and so 1. */
static bd_tensor clip_factor(bd_graph *graph, const bd_tensor *gradients, int count, float limit)
{
    bd_tensor total = BD_NONE;
    for (int i = 0; i < count; i++) {
        bd_tensor sum = bd_sum(graph, bd_mul(graph, gradients[i], gradients[i]), 0, 1, false);
        total = total == BD_NONE ? sum : bd_add(graph, total, sum);
    }
    bd_tensor factor = bd_div(graph, bd_constant(graph, (bd_shape){ 0 }, limit), bd_sqrt(graph, total));
    return bd_min(graph, factor, bd_constant(graph, (bd_shape){ 0 }, 1));
}

void bd_optimizer_append(bd_graph *graph, const bd_layout *layout, const bd_optimizer *optimizer,
                         const bd_tensor *packs, bd_tensor step, bd_update *updates)
{
    const int count = layout->group_count;
    bd_tensor *gradients = malloc((size_t)count * sizeof *gradients);
    if (!gradients) {
        bd_graph_fail(graph, BD_ERROR_MEMORY, "no memory for an optimizer");
        return;
    }
    bd_role role = bd_set_role(graph, BD_ROLE_FIXED);
    for (int i = 0; i < count; i++) {
        bd_shape shape = BD_SHAPE(layout->groups[i].elements);
        bd_tensor unscale = bd_broadcast(graph, bd_control_value(graph, step, BD_CONTROL_UNSCALE, true), shape);
        gradients[i] = bd_mul(graph, packs[i], unscale);
    }
    if (optimizer->clip_norm > 0) {
        bd_tensor factor = clip_factor(graph, gradients, count, optimizer->clip_norm);
        for (int i = 0; i < count; i++)
            gradients[i] =
                bd_mul(graph, gradients[i], bd_broadcast(graph, factor, BD_SHAPE(layout->groups[i].elements)));
    }
    for (int i = 0; i < count && graph->status == BD_OK; i++) {
        bd_optimizer own = *optimizer;
        own.weight_decay = layout->groups[i].decays ? own.weight_decay : 0;
        update u = { graph, &own, i, BD_SHAPE(layout->groups[i].elements), step, BD_NONE };
        bd_layout_enter(graph, &layout->groups[i]);
        updates[i] = append_group(&u, &layout->groups[i], layout->kahan, gradients[i]);
        updates[i].gradients = packs[i];
        bd_layout_leave(graph, &layout->groups[i]);
    }
    bd_set_role(graph, role);
    free(gradients);
}
