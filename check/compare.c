#include "compare.h"

#include "../backends/reference/interpret.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

double format_roundoff(bd_format format)
{
    return ldexp(1, -bd_format_describe(format).mantissa_bits - 1);
}

double format_least_normal(bd_format format)
{
    return bd_format_describe(format).least_normal;
}

double format_least(bd_format format)
{
    return bd_format_describe(format).least;
}

/* Its subnormals are F32's. */
static bool has_wide_exponent(bd_format format)
{
    return bd_format_describe(format).exponent_bits == 8;
}

bool same_value(double a, double b)
{
    return isnan(a) || isnan(b) ? isnan(a) && isnan(b) : a == b && signbit(a) == signbit(b);
}

/* ---- what the reference says ---- */

/* EXACT rounds nothing; MAGNITUDE neither, and takes the absolute values of the inputs; FLUSHED rounds, and takes
 * subnormal F32 inputs for zeros. */
typedef enum reference_view { VIEW_ROUNDED, VIEW_EXACT, VIEW_MAGNITUDE, VIEW_FLUSHED, VIEW_COUNT } reference_view;

typedef struct judgement {
    double *values[VIEW_COUNT][MAX_OUTPUTS];
} judgement;

/* The least normal value may go as well: it can be a smaller one that was rounded up after the device had dropped
 * it. */
static double flush(double value)
{
    return fabs(value) <= format_least_normal(BD_F32) ? 0 : value;
}

/* The same to a device that drops F32 subnormals somewhere on the way, and may lose the sign of the zero. */
static bool same_flushed(double a, double b)
{
    return same_value(a, b) || flush(a) == flush(b);
}

static double seen(reference_view view, bd_format format, double value)
{
    switch (view) {
    case VIEW_MAGNITUDE: return fabs(value);
    /* Here the least normal value stays: nothing was rounded up yet. */
    case VIEW_FLUSHED: return has_wide_exponent(format) && fabs(value) < format_least_normal(BD_F32) ? 0 : value;
    default: return value;
    }
}

static bd_status interpret(const test_case *c, reference_view view, double *results[MAX_OUTPUTS], bd_error *error)
{
    const bd_graph *graph = c->graph;
    double **variables = test_allocate(graph->node_count, sizeof *variables);
    bd_tensor wanted[MAX_OUTPUTS];
    for (bd_tensor t = 0; t < graph->node_count; t++) {
        const bd_node *node = bd_node_at(graph, t);
        if (node->op == BD_OP_VARIABLE)
            variables[t] = test_allocate(bd_shape_elements(&node->shape), sizeof(double));
    }
    for (int i = 0; i < c->input_count; i++) {
        bd_format format = bd_node_at(graph, c->inputs[i].tensor)->format;
        for (int64_t j = 0; j < c->inputs[i].count; j++)
            variables[c->inputs[i].tensor][j] = seen(view, format, c->inputs[i].values[j]);
    }
    for (int i = 0; i < c->output_count; i++)
        wanted[i] = c->outputs[i].value;
    bool exact = view == VIEW_EXACT || view == VIEW_MAGNITUDE;
    bd_status status = BD_OK;
    for (uint32_t run = 0; run < c->repeats && status == BD_OK; run++)
        status = bd_interpret_arrays(graph, exact, variables, wanted, results, c->output_count, error);
    for (bd_tensor t = 0; t < graph->node_count; t++)
        free(variables[t]);
    free(variables);
    return status;
}

/* The device drops F32 subnormals, and there are values of that exponent. */
static bool may_flush(const test_case *c)
{
    bool floats = has_wide_exponent(c->formats.value);
    for (int i = 0; i < c->input_count; i++)
        floats |= has_wide_exponent(bd_node_at(c->graph, c->inputs[i].tensor)->format);
    return floats && !c->session->info->half.subnormals_f32;
}

static bool needs_view(const test_case *c, reference_view view)
{
    bool sum = false, unrounded = false;
    for (int i = 0; i < c->output_count; i++) {
        sum |= c->outputs[i].tolerance.kind == TOLERANCE_SUM;
        unrounded |= c->outputs[i].tolerance.kind == TOLERANCE_ULPS || c->outputs[i].tolerance.kind == TOLERANCE_DRIFT;
    }
    switch (view) {
    case VIEW_EXACT: return sum || unrounded;
    case VIEW_MAGNITUDE: return sum;
    case VIEW_FLUSHED: return may_flush(c);
    default: return true;
    }
}

/* ---- one element ---- */

typedef struct element {
    double result, rounded, exact, magnitude, flushed;
    bd_format format, accumulator;
    bool may_flush;
} element;

static double unit_in_the_last_place(bd_format format, double value)
{
    int exponent;
    double magnitude = fabs(value);
    if (magnitude < format_least_normal(format))
        return format_least(format);
    frexp(magnitude, &exponent);
    return ldexp(2 * format_roundoff(format), exponent - 1);
}

/* The error of the value before its last rounding. */
static double error_allowed(const test_tolerance *t, const element *e)
{
    if (t->kind == TOLERANCE_ULPS)
        return t->ulps * unit_in_the_last_place(BD_F32, e->exact) + t->absolute;
    double u = format_roundoff(e->accumulator), k = (double)t->terms;
    double gamma = k * u / (1 - k * u);
    double factor = (1 + gamma) * pow(1 + format_roundoff(e->format), t->roundings) - 1 + t->dropped;
    /* Each product may fall below the accumulator's normal values, where its error is half the least one, not
     * relative. */
    double underflow = 0.5 * format_least(e->accumulator) * k + 0.5 * format_least(e->format) * t->roundings;
    return factor * e->magnitude + underflow;
}

/* Rounding is monotonic: a value within the error rounds to something between the rounded ends. */
static bool lies_between(const element *e, double error)
{
    double low = bd_round(e->format, e->exact - error), high = bd_round(e->format, e->exact + error);
    if (e->may_flush && flush(e->result) == 0 && flush(low) <= 0 && flush(high) >= 0)
        return true;
    return e->result >= low && e->result <= high;
}

static bool is_near(const test_tolerance *t, double result, double wanted)
{
    if (!isfinite(wanted) || !isfinite(result))
        return same_value(wanted, result);
    return fabs(result - wanted) <= t->relative * fabs(wanted) + t->absolute;
}

static bool is_good(const test_tolerance *t, const element *e)
{
    switch (t->kind) {
    case TOLERANCE_NONE:
        if (same_value(e->result, e->rounded))
            return true;
        return e->may_flush && (same_flushed(e->result, e->rounded) || same_flushed(e->result, e->flushed));
    case TOLERANCE_NEAR:
        return is_near(t, e->result, e->rounded) ||
               (e->may_flush && (is_near(t, e->result, e->flushed) || is_near(t, flush(e->result), flush(e->rounded))));
    case TOLERANCE_ULPS:
    case TOLERANCE_SUM:
        if (isnan(e->exact) || isnan(e->result))
            return isnan(e->exact) && isnan(e->result);
        if (isinf(e->exact))
            return e->result == e->exact;
        return lies_between(e, error_allowed(t, e));
    case TOLERANCE_DRIFT: return isfinite(e->result); /* the rest is judged as a whole */
    }
    return false;
}

/* How much of the error that is allowed before the last rounding was used: what is left of the difference after half a
 * unit for the rounding. */
static double used(const test_tolerance *t, const element *e)
{
    double difference = fabs(e->result - e->exact), allowed = 0;
    if (e->may_flush && flush(e->result) == 0) {
        return 0;
    } else if (t->kind == TOLERANCE_NEAR) {
        difference = fabs(e->result - e->rounded);
        allowed = t->relative * fabs(e->rounded) + t->absolute;
    } else if (t->kind == TOLERANCE_ULPS || t->kind == TOLERANCE_SUM) {
        difference -= unit_in_the_last_place(e->format, e->exact) / 2;
        allowed = error_allowed(t, e);
    }
    return allowed > 0 && isfinite(difference) && difference > 0 ? difference / allowed : 0;
}

/* ---- all of them ---- */

static double value_or(const double *values, int64_t i)
{
    return values ? values[i] : 0;
}

static value_class class_of(const element *e)
{
    if (isnan(e->rounded))
        return VALUE_NAN;
    if (isinf(e->rounded))
        return VALUE_INFINITE;
    if (e->rounded == 0)
        return VALUE_ZERO;
    return fabs(e->rounded) < format_least_normal(e->format) ? VALUE_SUBNORMAL : VALUE_NORMAL;
}

/* A function's error in units in the last place, before which a result may have been flushed. */
static double error_ulps(const test_tolerance *t, const element *e)
{
    const double truth = t->kind == TOLERANCE_ULPS ? e->exact : e->rounded;
    const bool flushed = e->may_flush && (flush(e->result) == 0 || flush(e->rounded) == 0);
    if (!isfinite(truth) || !isfinite(e->result) || flushed)
        return 0;
    return fabs(e->result - truth) / unit_in_the_last_place(e->format, truth);
}

/* The weights after some steps: how far the device is from the exact ones, over how far it may be. */
static double drift_ratio(const test_case *c, const judgement *j, bool *any)
{
    double device = 0, reference = 0, terms = 1;
    *any = false;
    for (int o = 0; o < c->output_count; o++) {
        const case_compared *output = &c->outputs[o];
        if (output->tolerance.kind != TOLERANCE_DRIFT)
            continue;
        *any = true;
        terms = (double)output->tolerance.terms;
        for (int64_t i = 0; i < output->count; i++) {
            const double exact = j->values[VIEW_EXACT][o][i];
            device += (output->result[i] - exact) * (output->result[i] - exact);
            reference += (j->values[VIEW_ROUNDED][o][i] - exact) * (j->values[VIEW_ROUNDED][o][i] - exact);
        }
    }
    return device == 0 ? 0 : sqrt(device) / (terms * sqrt(reference));
}

static bd_status judge_output(test_case *c, const judgement *j, int o, bd_status status, bd_error *error)
{
    const bool flushes = may_flush(c);
    case_compared *output = &c->outputs[o];
    const test_tolerance *t = &output->tolerance;
    const bd_node *node = bd_node_at(c->graph, output->value);
    output->measure =
        (case_measure){ .op = node->op, .of_ulps = t->kind == TOLERANCE_NONE || t->kind == TOLERANCE_ULPS };
    for (int64_t i = 0; i < output->count; i++) {
        element e = { output->result[i],
                      value_or(j->values[VIEW_ROUNDED][o], i),
                      value_or(j->values[VIEW_EXACT][o], i),
                      value_or(j->values[VIEW_MAGNITUDE][o], i),
                      value_or(j->values[VIEW_FLUSHED][o], i),
                      node->format,
                      c->formats.accumulator,
                      flushes };
        if (output->measure.of_ulps)
            output->measure.ulps = fmax(output->measure.ulps, error_ulps(t, &e));
        output->measure.ratio = fmax(output->measure.ratio, used(t, &e));
        if (is_good(t, &e))
            continue;
        output->measure.wrong[class_of(&e)]++;
        if (status == BD_OK) /* the first is told */
            status =
                bd_fail(error, BD_ERROR_DATA, "output %d (%s), element %lld of %lld is %.9g, the reference says %.9g%s",
                        o, bd_op_get_info(node->op)->name, (long long)i, (long long)output->count, e.result,
                        t->kind == TOLERANCE_ULPS || t->kind == TOLERANCE_SUM ? e.exact : e.rounded,
                        t->kind == TOLERANCE_NONE ? "" : ": outside of its bound");
    }
    return status;
}

static bd_status judge(test_case *c, const judgement *j, bd_error *error)
{
    bd_status status = BD_OK;
    bool drifts;
    for (int o = 0; o < c->output_count; o++)
        status = judge_output(c, j, o, status, error);
    const double drift = drift_ratio(c, j, &drifts);
    for (int o = 0; drifts && o < c->output_count; o++)
        if (c->outputs[o].tolerance.kind == TOLERANCE_DRIFT) {
            c->outputs[o].measure.ratio = drift;
            c->outputs[o].measure.wrong[VALUE_NORMAL] += !(drift <= 1);
        }
    if (status == BD_OK && drifts && !(drift <= 1))
        status = bd_fail(error, BD_ERROR_DATA,
                         "after %u steps the weights are %.3g times as far from the exact ones as they may be",
                         c->repeats, drift);
    return status;
}

bd_status compare_outputs(test_case *c, bd_error *error)
{
    judgement j = { 0 };
    bd_status status = BD_OK;
    for (reference_view view = 0; view < VIEW_COUNT && status == BD_OK; view++) {
        if (!needs_view(c, view))
            continue;
        for (int i = 0; i < c->output_count; i++)
            j.values[view][i] = test_allocate(c->outputs[i].count, sizeof(double));
        status = interpret(c, view, j.values[view], error);
    }
    if (status == BD_OK)
        status = judge(c, &j, error);
    for (reference_view view = 0; view < VIEW_COUNT; view++)
        for (int i = 0; i < c->output_count; i++)
            free(j.values[view][i]);
    return status;
}
