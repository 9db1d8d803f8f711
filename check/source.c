/* Nodes that begin a computation: constants, counters, random numbers, batches; and the control block's update. */
#include "case.h"

#include "../backends/reference/interpret.h"
#include "../engine/control.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double word_of(float value)
{
    uint32_t word;
    memcpy(&word, &value, sizeof word);
    return word;
}

static void constants(session *s, format_set f)
{
    test_case c;
    if (!case_begin(&c, s, f, "constant and iota"))
        return;
    bd_graph *g = c.graph;
    case_output(&c, bd_constant(g, BD_SHAPE(257), 0.1), bit_identical);
    case_output(&c, bd_constant(g, BD_SHAPE(3), -INFINITY), bit_identical);
    case_output(&c, bd_constant(g, BD_SHAPE(3), NAN), bit_identical);
    case_output(&c, bd_constant(g, BD_SHAPE(3), -0.0), bit_identical);
    case_output(&c, bd_constant(g, BD_SHAPE(3), 0x1p-24), bit_identical);
    for (int axis = 0; axis < 3; axis++)
        case_output(&c, bd_iota(g, BD_SHAPE(5, 7, 11), axis), bit_identical);
    case_run(&c);
}

static void random_numbers(session *s, format_set f, int64_t count)
{
    test_case c;
    if (!case_begin(&c, s, f, "%lld random numbers", (long long)count))
        return;
    double words[BD_CONTROL_WORD_COUNT] = { 0 };
    words[BD_CONTROL_SEED_LOW] = case_random_bits(&c, 100, 0);
    words[BD_CONTROL_SEED_HIGH] = case_random_bits(&c, 100, 1);
    words[BD_CONTROL_STEP] = 12345;
    bd_tensor first = bd_random(c.graph, BD_SHAPE(count)), second = bd_random(c.graph, BD_SHAPE(count));
    case_control(&c, words);
    case_output(&c, first, bit_identical);
    case_output(&c, second, bit_identical);
    case_output(&c, bd_less(c.graph, second, first), bit_identical);
    case_run(&c);
}

/* Batches of bytes and their labels; the last one hangs over the end of the permutation and of what is valid. */
static void batch(session *s, format_set f, int64_t count, int64_t rows, int64_t position)
{
    test_case c;
    if (!case_begin(&c, s, f, "%lld of %lld images from %lld", (long long)rows, (long long)count, (long long)position))
        return;
    enum { HEIGHT = 3, WIDTH = 5 };
    double *bytes = test_allocate(count * HEIGHT * WIDTH, sizeof *bytes);
    double *order = test_allocate(count, sizeof *order), words[BD_CONTROL_WORD_COUNT] = { 0 };
    for (int64_t i = 0; i < count * HEIGHT * WIDTH; i++)
        bytes[i] = case_random_bits(&c, 100, i) % 256;
    for (int64_t i = 0; i < count; i++)
        order[i] = (double)((i * 7 + 3) % count); /* a permutation where 7 does not divide the count */
    words[BD_CONTROL_POSITION] = (double)position;
    words[BD_CONTROL_COUNT] = (double)count;
    bd_tensor images = case_input_values(&c, BD_U8, BD_SHAPE(count, HEIGHT, WIDTH, 1), bytes);
    bd_tensor labels = case_input_values(&c, BD_U8, BD_SHAPE(count), bytes);
    bd_tensor permutation = case_input_values(&c, BD_U32, BD_SHAPE(count), order), control = case_control(&c, words);
    bd_tensor x = bd_batch(c.graph, images, permutation, control, rows);
    case_output(&c, x, bit_identical);
    case_output(&c, bd_batch(c.graph, labels, permutation, control, rows), bit_identical);
    case_output(&c, bd_batch_augmented(c.graph, images, permutation, control, rows, 2), bit_identical);
    case_output(&c, bd_valid(c.graph, control, rows), bit_identical);
    /* (x - mean) / deviation, rounded to the activation's format, in the same kernel */
    bd_shape shape = bd_tensor_shape(c.graph, x);
    bd_tensor centred = bd_sub(c.graph, x, bd_constant(c.graph, shape, 72));
    case_output(&c, bd_mul(c.graph, centred, bd_constant(c.graph, shape, 0x1p-6)), bit_identical);
    case_run(&c);
    free(bytes);
    free(order);
}

static void control_values(session *s, format_set f)
{
    test_case c;
    if (!case_begin(&c, s, f, "words of the control block"))
        return;
    double words[BD_CONTROL_WORD_COUNT] = { 0 };
    words[BD_CONTROL_RATE] = word_of(0.1f);
    words[BD_CONTROL_STEP] = 4097;
    bd_tensor control = case_control(&c, words);
    bd_tensor rate = bd_control_value(c.graph, control, BD_CONTROL_RATE, true);
    bd_tensor step = bd_control_value(c.graph, control, BD_CONTROL_STEP, false);
    case_output(&c, bd_broadcast(c.graph, rate, BD_SHAPE(65)), bit_identical);
    case_output(&c, step, bit_identical);
    case_run(&c);
}

void test_sources(session *s)
{
    const format_set each[] = { fp32, fp16 };
    for (int f = 0; f < 2; f++) {
        constants(s, each[f]);
        random_numbers(s, each[f], 1);
        random_numbers(s, each[f], 10007);
        batch(s, each[f], 11, 4, 0);
        batch(s, each[f], 11, 4, 8);
        batch(s, each[f], 257, 64, 190);
        control_values(s, each[f]);
    }
}

/* ---- the control step ---- */

enum { STEPS = 12 };

/* A training run in small: its control block, the losses and flags of every step, and a parameter that is updated only
 * where the block says so. */
typedef struct loss_script {
    const char *name;
    double scaling, interval, stop_on_nan, loss[STEPS], nonfinite[STEPS];
} loss_script;

static void set_words(double *words, const loss_script *script)
{
    words[BD_CONTROL_BATCH] = 5;
    words[BD_CONTROL_COUNT] = 33;
    words[BD_CONTROL_SCALING] = script->scaling;
    words[BD_CONTROL_SCALE] = word_of(65536);
    words[BD_CONTROL_GROWTH] = word_of(2);
    words[BD_CONTROL_BACKOFF] = word_of(0.5f);
    words[BD_CONTROL_GROWTH_INTERVAL] = script->interval;
    words[BD_CONTROL_RATE_COUNT] = 7;
    words[BD_CONTROL_BETA1] = words[BD_CONTROL_BETA1_POWER] = word_of(0.9f);
    words[BD_CONTROL_BETA2] = words[BD_CONTROL_BETA2_POWER] = word_of(0.999f);
    words[BD_CONTROL_STOP_ON_NAN] = script->stop_on_nan;
}

typedef struct control_model {
    bd_graph *graph;
    bd_tensor control, rates, loss, correct, flag, weight;
} control_model;

static bd_status build(control_model *m, bd_error *error)
{
    bd_status status = bd_graph_create(&m->graph, error);
    if (status != BD_OK)
        return status;
    bd_graph *g = m->graph;
    bd_init zeros = { BD_INIT_CONSTANT, 0 };
    bd_set_role(g, BD_ROLE_FIXED);
    m->control = bd_variable(g, "/control", BD_ROLE_FIXED, BD_U32, BD_SHAPE(BD_CONTROL_WORD_COUNT), zeros);
    m->rates = bd_variable(g, "/rates", BD_ROLE_FIXED, BD_F32, BD_SHAPE(7), zeros);
    m->loss = bd_variable(g, "/loss", BD_ROLE_FIXED, BD_F32, BD_SHAPE(1), zeros);
    m->correct = bd_variable(g, "/correct", BD_ROLE_FIXED, BD_F32, BD_SHAPE(1), zeros);
    m->flag = bd_variable(g, "/flag", BD_ROLE_FIXED, BD_F32, BD_SHAPE(1), zeros);
    m->weight = bd_variable(g, "/weight", BD_ROLE_FIXED, BD_F32, BD_SHAPE(67), zeros);
    bd_tensor step = bd_control_step(g, m->control, m->rates, m->loss, m->correct, m->flag);
    /* weight = APPLY ? weight + RATE * UNSCALE : weight, with what this step decided */
    bd_shape shape = BD_SHAPE(67);
    bd_tensor rate = bd_control_value(g, step, BD_CONTROL_RATE, true);
    bd_tensor unscale = bd_control_value(g, step, BD_CONTROL_UNSCALE, true);
    bd_tensor apply = bd_control_value(g, step, BD_CONTROL_APPLY, false);
    bd_tensor moved = bd_add(g, m->weight, bd_broadcast(g, bd_mul(g, rate, unscale), shape));
    bd_assign(g, m->weight, bd_select(g, bd_broadcast(g, apply, shape), moved, m->weight));
    bd_precision precision;
    if ((status = bd_graph_status(g, error)) != BD_OK ||
        (status = bd_precision_parse("fp32", &precision, error)) != BD_OK)
        return status;
    return bd_graph_apply_precision(g, &precision, error);
}

/* Devices write different NaNs. */
static bool is_nan_word(double word)
{
    return ((uint32_t)word & 0x7fffffffu) > 0x7f800000u;
}

/* One step on both sides; compares the whole block and the weight, word for word; any NaN is as good as another. */
static bd_status step_both(control_model *m, device_run *run, double **variables, bd_error *error)
{
    bd_status status;
    double words[BD_CONTROL_WORD_COUNT], weight[67];
    if ((status = bd_store_write_values(run->store, "loss", variables[m->loss], 1, error)) != BD_OK ||
        (status = bd_store_write_values(run->store, "correct", variables[m->correct], 1, error)) != BD_OK ||
        (status = bd_store_write_values(run->store, "flag", variables[m->flag], 1, error)) != BD_OK ||
        (status = bd_program_run(run->program, 1, error)) != BD_OK ||
        (status = bd_program_finish(run->program, error)) != BD_OK ||
        (status = bd_store_read_values(run->store, "control", words, BD_CONTROL_WORD_COUNT, error)) != BD_OK ||
        (status = bd_store_read_values(run->store, "weight", weight, 67, error)) != BD_OK ||
        (status = bd_interpret_arrays(m->graph, false, variables, NULL, NULL, 0, error)) != BD_OK)
        return status;
    static const char *const names[] = {
#define WORD_NAME(NAME, is_float) #NAME,
        BD_CONTROL_WORDS(WORD_NAME)
#undef WORD_NAME
    };
    static const bool floats[] = {
#define WORD_FLOAT(NAME, is_float) is_float,
        BD_CONTROL_WORDS(WORD_FLOAT)
#undef WORD_FLOAT
    };
    for (int i = 0; i < BD_CONTROL_WORD_COUNT; i++)
        if (words[i] != variables[m->control][i] &&
            !(floats[i] && is_nan_word(words[i]) && is_nan_word(variables[m->control][i])))
            return bd_fail(error, BD_ERROR_DATA, "%s is 0x%08x, the reference says 0x%08x", names[i],
                           (unsigned)words[i], (unsigned)variables[m->control][i]);
    for (int i = 0; i < 67; i++)
        if (weight[i] != variables[m->weight][i])
            return bd_fail(error, BD_ERROR_DATA, "weight %d is %.9g, the reference says %.9g", i, weight[i],
                           variables[m->weight][i]);
    return BD_OK;
}

static void run_script(session *s, const loss_script *script)
{
    if (!session_wants(s, script->name))
        return;
    control_model m = { 0 };
    device_run run = { 0 };
    bd_error error = { BD_OK, "" };
    double words[BD_CONTROL_WORD_COUNT] = { 0 }, loss, correct, flag, weight[67];
    double rates[7] = { 0.1f, 0.05f, 0.025f, 0.2f, 0.3f, 0.7f, 1e-3f };
    double **variables = NULL;
    int step = 0;
    set_words(words, script);
    for (int i = 0; i < 67; i++)
        weight[i] = i;
    bd_status status = build(&m, &error);
    if (status == BD_OK)
        status = device_run_create(s, m.graph, &run, &error);
    if (status == BD_OK) {
        variables = test_allocate(m.graph->node_count, sizeof *variables);
        variables[m.control] = words;
        variables[m.rates] = rates;
        variables[m.loss] = &loss;
        variables[m.correct] = &correct;
        variables[m.flag] = &flag;
        variables[m.weight] = weight;
        if ((status = bd_store_write_values(run.store, "control", words, BD_CONTROL_WORD_COUNT, &error)) == BD_OK &&
            (status = bd_store_write_values(run.store, "rates", rates, 7, &error)) == BD_OK)
            status = bd_store_write_values(run.store, "weight", weight, 67, &error);
    }
    for (; step < STEPS && status == BD_OK; step++) {
        loss = script->loss[step];
        correct = step % 6;
        flag = script->nonfinite[step];
        status = step_both(&m, &run, variables, &error);
    }
    session_report(s, status == BD_OK, script->name, "%d steps; %s", step, error.message);
    free(variables);
    device_run_destroy(&run);
    bd_graph_destroy(&m.graph);
}

void test_control(session *s)
{
    static const loss_script scripts[] = {
        { "no scaling", BD_SCALING_NONE, 1, 0, { 3, 2, 1.1, 0.3, 1e-7 }, { 0 } },
        { "dynamic scaling with overflows",
          BD_SCALING_DYNAMIC,
          3,
          0,
          { 3, 2, 1.1, 0.7, 0.5 },
          { 0, 0, 1, 0, 0, 0, 0, 0, 0, 5, 1, NAN } },
        { "growth at once", BD_SCALING_DYNAMIC, 1, 0, { 1, 1, 1 }, { 0, 1, 0, 1, 1 } },
        { "static scaling", BD_SCALING_STATIC, 2, 0, { 1, 2, 3 }, { 0, 0, 1 } },
        { "a loss that is not finite", BD_SCALING_DYNAMIC, 2, 0, { 1, 2, NAN, 3, INFINITY, 1 }, { 0, 0, 0, 1 } },
        { "a halt", BD_SCALING_DYNAMIC, 2, 1, { 1, 2, 3, 4, 5, NAN, 3, 4, 5 }, { 0, 1, 0, 0, 0, 0, 1 } },
    };
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++)
        run_script(s, &scripts[i]);
}
