/* Makes trainers: parameters, plans, memory, programs, the first or the resumed state. */
#include "trainer.h"
#include "tuner.h"

#include "atomic_file.h"
#include "feed.h"
#include "optimizer.h"
#include "schedule.h"
#include "store.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The part of a device's memory that a data set takes unless params.dataset_device_bytes says otherwise. */
enum { DATASET_SHARE = 4 };

void bd_train_params_init(bd_train_params *params)
{
    *params = (bd_train_params){
        .model_name = "model",
        .optimizer = { .kind = BD_OPTIMIZER_SGD,
                       .rate = 0.05f,
                       .momentum = 0.9f,
                       .beta1 = 0.9f,
                       .beta2 = 0.999f,
                       .epsilon = 1e-8f,
                       .schedule = BD_SCHEDULE_COSINE,
                       .step_epochs = 30,
                       .step_factor = 0.1f },
        .batch = 256,
        .epochs = 5,
        .seed = 1,
    };
    bd_precision_parse("fp32", &params->precision, NULL);
}

/* ---- parameters ---- */

static bd_status check_params(const bd_train_params *p, bd_error *error)
{
    const bd_dataset *data = p->dataset;
    if (!p->model)
        return bd_fail(error, BD_ERROR_ARGUMENT, "no model to train");
    if (!data || data->train.count < 1 || data->height < 1 || data->width < 1 || data->channels < 1 ||
        data->classes < 1)
        return bd_fail(error, BD_ERROR_ARGUMENT, "no data set to train on");
    if (!(data->deviation > 0) || !isfinite(data->mean) || !isfinite(data->deviation))
        return bd_fail(error, BD_ERROR_ARGUMENT, "data set '%s': mean %g and deviation %g do not make sense",
                       data->name, data->mean, data->deviation);
    int64_t pixels, bytes;
    if (__builtin_mul_overflow(data->height, data->width, &pixels) ||
        __builtin_mul_overflow(pixels, data->channels, &pixels) || __builtin_mul_overflow(pixels, p->batch, &bytes))
        return bd_fail(error, BD_ERROR_ARGUMENT, "data set '%s': a batch of %lld images is too large", data->name,
                       (long long)p->batch);
    const int64_t examples = bd_dataset_train_examples(data, p->context);
    if (data->tokens && (p->context < 1 || p->augment))
        return bd_fail(error, BD_ERROR_ARGUMENT,
                       p->augment ? "'%s' is a text: only images can be augmented"
                                  : "'%s' is a text: windows of at least one token are wanted",
                       data->name);
    if (data->tokens && (examples < 1 || bd_dataset_test_examples(data, p->context) < 1))
        return bd_fail(
            error, BD_ERROR_DATA,
            "data set '%s': too short, %lld tokens to train on and %lld for validation; a window takes %lld of each",
            data->name, (long long)data->train.count, (long long)data->test.count, (long long)p->context + 1);
    if (p->batch < 1 || p->batch > examples)
        return bd_fail(error, BD_ERROR_ARGUMENT, "batch %lld: wanted 1 to %lld, the number of training examples",
                       (long long)p->batch, (long long)examples);
    /* Positions and steps are counted in 32 bits on the device. */
    int64_t steps;
    if (data->train.count > UINT32_MAX - p->batch || data->test.count > UINT32_MAX - p->batch)
        return bd_fail(error, BD_ERROR_ARGUMENT, "data set '%s': more than 2^32 examples", data->name);
    if (p->epochs < !p->max_steps || p->max_steps > UINT32_MAX ||
        __builtin_mul_overflow(examples / p->batch, p->epochs, &steps) || steps > UINT32_MAX)
        return bd_fail(error, BD_ERROR_ARGUMENT, "epochs %lld: wanted at least 1, and at most 2^32 steps in all",
                       (long long)p->epochs);
    if (p->max_steps < 0)
        return bd_fail(error, BD_ERROR_ARGUMENT, "at most %lld steps: wanted a number, or 0 for all epochs",
                       (long long)p->max_steps);
    if (p->report_steps < 0 || p->measure_steps < 0 || p->dataset_device_bytes < 0)
        return bd_fail(error, BD_ERROR_ARGUMENT, "a negative interval or memory limit");
    const bd_precision *policy = &p->precision;
    if (policy->scaling != BD_SCALING_NONE && !(policy->scale > 0 && isfinite(policy->scale)))
        return bd_fail(error, BD_ERROR_ARGUMENT, "loss scale %g: wanted a positive finite number", policy->scale);
    return bd_optimizer_check(&p->optimizer, error);
}

static bool copy_string(const char **text)
{
    return !*text || (*text = strdup(*text));
}

static bd_status copy_params(bd_trainer *trainer, const bd_train_params *params, bd_error *error)
{
    bd_train_params *own = &trainer->params;
    *own = *params;
    if (!own->model_name)
        own->model_name = "model";
    /* Each is owned or NULL from here, whichever fails. */
    bool copied = copy_string(&own->model_name);
    copied &= copy_string(&own->checkpoint);
    copied &= copy_string(&own->resume);
    return copied ? bd_step_set_ends(own, error) : bd_fail(error, BD_ERROR_MEMORY, "out of memory");
}

/* ---- plans ---- */

static bd_status build_graph(bd_trainer *trainer, const bd_stage *stage, bd_graph **graph, bd_error *error)
{
    if (stage == &trainer->train)
        return bd_step_training(&trainer->params, &stage->source, graph, &trainer->layout, error);
    if (stage == &trainer->measured)
        return bd_step_measured(&trainer->params, &stage->source, graph, &trainer->points, error);
    return bd_step_evaluation(&trainer->params, &stage->source, graph, error);
}

static bd_status plan_stage(bd_trainer *trainer, bd_stage *stage, bd_error *error)
{
    const bd_compile_options options = { trainer->params.no_fusion, (bd_gemm)trainer->params.gemm,
                                         (bd_tuning)trainer->params.tuning };
    bd_graph *graph = NULL;
    stage->source.rows = bd_feed_rows(&stage->shape);
    stage->source.count = stage->shape.count;
    bd_status status = build_graph(trainer, stage, &graph, error);
    if (!status)
        status = bd_plan_create(graph, &trainer->target, &options, &stage->plan, error);
    bd_graph_destroy(&graph);
    return status;
}

/* The forward pass that learned steps of operands begin by. */
static bd_status plan_start(bd_trainer *trainer, bd_error *error)
{
    bd_graph *graph = NULL;
    if (trainer->params.precision.operands != BD_OPERANDS_LEARNED)
        return BD_OK;
    bd_status status = bd_step_start(&trainer->params, &trainer->train.source, &graph, error);
    if (!status)
        status = bd_trainer_plan_once(trainer, graph, &trainer->starting, error);
    bd_graph_destroy(&graph);
    return status;
}

static bool is_data(const bd_graph *graph, bd_tensor variable)
{
    for (bd_tensor t = 0; t < graph->node_count; t++)
        if (graph->nodes[t].op == BD_OP_BATCH &&
            (graph->nodes[t].inputs[0] == variable || graph->nodes[t].inputs[1] == variable))
            return true;
    return false;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Adds the plan's variables that `other` (may be NULL) has not, and finds the largest allocation. */
static void add_variables(const bd_plan *plan, const bd_plan *other, uint64_t *total, uint64_t *largest)
{
    const bd_graph *graph = plan->graph;
    for (bd_tensor t = 0; t < graph->node_count; t++) {
        const bd_node *node = &graph->nodes[t];
        if (node->op != BD_OP_VARIABLE || node->attr.variable.base != BD_NONE || is_data(graph, t) ||
            (other && bd_graph_find_variable(other->graph, node->attr.variable.name) != BD_NONE))
            continue;
        uint64_t bytes = (uint64_t)bd_shape_elements(&node->shape) * bd_format_size(node->format);
        *total += bytes;
        *largest = larger(*largest, bytes);
    }
}

/* Sums up what will be allocated, and refuses what the device cannot hold. */
static bd_status check_memory(bd_trainer *trainer, bd_error *error)
{
    const bd_plan *const plans[] = { trainer->train.plan, trainer->test.plan }, *const measured =
                                                                                    trainer->measured.plan;
    const bd_limits *limits = &trainer->target.limits;
    const char *where = trainer->device ? trainer->device->info.id : "the device";
    uint64_t packs = 0, variables = 0, largest = trainer->arena_bytes = 0;
    for (int i = 0; i < 2; i++) {
        if (!plans[i])
            continue;
        trainer->arena_bytes = larger(trainer->arena_bytes, plans[i]->arena_bytes);
        packs += plans[i]->pack_bytes;
        add_variables(plans[i], i ? plans[0] : NULL, &variables, &largest);
    }
    if (trainer->starting)
        trainer->arena_bytes = larger(trainer->arena_bytes, trainer->starting->arena_bytes);
    trainer->planned_bytes = trainer->arena_bytes + packs + variables;
    trainer->measuring_arena_bytes = trainer->measuring_bytes = 0;
    if (measured) {
        const uint64_t arena = larger(trainer->arena_bytes, measured->arena_bytes);
        trainer->measuring_bytes = measured->pack_bytes;
        add_variables(measured, plans[0], &trainer->measuring_bytes, &largest);
        trainer->measuring_arena_bytes = arena - trainer->arena_bytes;
        trainer->arena_bytes = arena;
    }
    largest = larger(largest, trainer->arena_bytes);
    trainer->dataset_bytes = bd_feed_bytes(&trainer->train.shape) + bd_feed_bytes(&trainer->test.shape);

    const double mib = 1 << 20;
    uint64_t needed =
        trainer->planned_bytes + trainer->measuring_arena_bytes + trainer->measuring_bytes + trainer->dataset_bytes;
    if (limits->memory_bytes && needed > limits->memory_bytes)
        return bd_fail(
            error, BD_ERROR_MEMORY,
            "model '%s' with batch %lld needs %.1f MiB and the data set %.1f MiB, %s has %.1f MiB: a smaller "
            "batch needs less",
            trainer->params.model_name, (long long)trainer->params.batch, (double)trainer->planned_bytes / mib,
            (double)trainer->dataset_bytes / mib, where, (double)limits->memory_bytes / mib);
    if (limits->max_buffer_bytes && largest > limits->max_buffer_bytes)
        return bd_fail(
            error, BD_ERROR_MEMORY,
            "model '%s' with batch %lld needs one buffer of %.1f MiB, %s allows %.1f MiB: a smaller batch needs "
            "less",
            trainer->params.model_name, (long long)trainer->params.batch, (double)largest / mib, where,
            (double)limits->max_buffer_bytes / mib);
    return BD_OK;
}

static bd_status make_plans(bd_trainer *trainer, bd_error *error)
{
    const bd_train_params *p = &trainer->params;
    const bd_limits *limits = &trainer->target.limits;
    trainer->steps_per_epoch = bd_dataset_train_examples(p->dataset, p->context) / p->batch;
    trainer->steps = trainer->steps_per_epoch * p->epochs;
    if (p->max_steps && (!p->epochs || p->max_steps < trainer->steps))
        trainer->steps = p->max_steps;
    trainer->train.source.rates = bd_schedule_entries(&p->optimizer, trainer->steps);
    trainer->test.source.rates = 1;
    uint64_t most = p->dataset_device_bytes ? (uint64_t)p->dataset_device_bytes : limits->memory_bytes / DATASET_SHARE;
    bd_status status = bd_feed_decide(limits, most, p->dataset_device_bytes > 0, p->dataset, p->context, p->batch,
                                      &trainer->train.shape, &trainer->test.shape, error);
    if (!status)
        status = plan_stage(trainer, &trainer->train, error);
    if (!status)
        status = plan_start(trainer, error);
    if (!status && trainer->test.shape.count > 0)
        status = plan_stage(trainer, &trainer->test, error);
    if (!status && p->measure_steps > 0 && p->measure_steps <= trainer->steps) {
        trainer->measured.shape = trainer->train.shape;
        trainer->measured.source = trainer->train.source;
        status = plan_stage(trainer, &trainer->measured, error);
    }
    if (!status)
        status = check_memory(trainer, error);
    if (status != BD_ERROR_MEMORY || !trainer->measured.plan)
        return status;
    bd_plan_destroy(&trainer->measured.plan); /* rather a run that is not measured than none */
    return check_memory(trainer, error);
}

/* ---- programs ---- */

/* One count over all programs, for the caller's progress. */
typedef struct compile_progress {
    const bd_train_params *params;
    int before, total;
} compile_progress;

static void report_compile(void *user, int done, int total)
{
    const compile_progress *progress = user;
    (void)total;
    if (progress->params->on_compile)
        progress->params->on_compile(progress->params->user, progress->before + done, progress->total);
}

static bd_status make_programs(bd_trainer *trainer, bd_error *error)
{
    bd_stage *const stages[] = { &trainer->train, &trainer->test, &trainer->measured };
    const int count = sizeof stages / sizeof *stages;
    compile_progress progress = { &trainer->params, 0, 0 };
    bd_device *device = bd_store_device(trainer->store);
    bd_status status = bd_store_reserve_arena(trainer->store, trainer->arena_bytes, error);
    for (int i = 0; i < count; i++)
        progress.total += stages[i]->plan ? stages[i]->plan->kernel_count : 0;
    for (int i = 0; i < count && !status; i++) {
        if (!stages[i]->plan)
            continue;
        const int kernels = stages[i]->plan->kernel_count;
        bd_tune(device, stages[i]->plan, trainer->params.on_tune, trainer->params.user);
        status = bd_program_create(trainer->store, &stages[i]->plan, trainer->params.seed, report_compile, &progress,
                                   &stages[i]->program, error);
        progress.before += kernels;
    }
    if (!status && trainer->measured.program &&
        !(trainer->measurements = calloc((size_t)trainer->points.count + 1, sizeof *trainer->measurements)))
        status = bd_fail(error, BD_ERROR_MEMORY, "no memory for %d measurements", trainer->points.count);
    return status;
}

/* ---- the first state ---- */

static bd_status write_rates(bd_trainer *trainer, int64_t first, bd_error *error)
{
    const int64_t count = trainer->train.source.rates;
    const uint32_t word = (uint32_t)first;
    float *rates = malloc((size_t)count * sizeof *rates);
    if (!rates)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for %lld learning rates", (long long)count);
    for (int64_t i = 0; i < count; i++)
        rates[i] =
            (float)bd_schedule_rate(&trainer->params.optimizer, first + i, trainer->steps, trainer->steps_per_epoch);
    bd_status status = bd_store_write(trainer->store, "rates", rates, (uint64_t)count * sizeof *rates, error);
    free(rates);
    return status ? status
                  : bd_store_write_part(trainer->store, "control", BD_CONTROL_RATE_FIRST * sizeof word, &word,
                                        sizeof word, NULL, error);
}

bd_status bd_trainer_prepare_rates(bd_trainer *trainer, int64_t step, int64_t *steps, bd_error *error)
{
    const bd_optimizer *optimizer = &trainer->params.optimizer;
    const int64_t first = bd_schedule_first(optimizer, trainer->steps, step), left = first + BD_SCHEDULE_WINDOW - step;
    if (*steps > left && first + BD_SCHEDULE_WINDOW < bd_schedule_length(optimizer, trainer->steps))
        *steps = left;
    if (first == trainer->rates_first)
        return BD_OK;
    trainer->rates_first = first;
    return write_rates(trainer, first, error);
}

/* Master weights begin with the numbers that the weights were rounded from. */
static bd_status fill_masters(bd_trainer *trainer, bd_error *error)
{
    for (int i = 0; i < trainer->layout.slot_count; i++) {
        const bd_parameter_slot *slot = &trainer->layout.slots[i];
        const bd_parameter_group *group = &trainer->layout.groups[slot->group];
        size_t count = (size_t)bd_shape_elements(&slot->shape), size = bd_format_size(group->master);
        if (!bd_layout_has_master(group) || count == 0)
            continue;
        char name[BD_LAYOUT_NAME];
        double *values = malloc(count * sizeof *values);
        void *storage = malloc(count * size);
        bd_status status =
            values && storage ? BD_OK : bd_fail(error, BD_ERROR_MEMORY, "no memory for '%s'", slot->name);
        if (!status) {
            bd_init_values(slot->name, &slot->init, trainer->params.seed, values, count);
            bd_format_encode(group->master, values, storage, count);
            status = bd_store_write_part(trainer->store, bd_layout_vector_name(slot->group, "master", name) + 1,
                                         (uint64_t)slot->offset * size, storage, count * size, NULL, error);
        }
        free(values);
        free(storage);
        if (status)
            return status;
    }
    return BD_OK;
}

/* The words that say where a run stands. */
static void start_control(bd_run_state *state, const bd_train_params *p)
{
    uint32_t *control = state->control;
    memset(control, 0, sizeof state->control);
    state->seed = p->seed;
    control[BD_CONTROL_SEED_LOW] = (uint32_t)p->seed;
    control[BD_CONTROL_SEED_HIGH] = (uint32_t)(p->seed >> 32);
    bd_control_set_float(control, BD_CONTROL_SCALE, p->precision.scaling == BD_SCALING_NONE ? 1 : p->precision.scale);
    bd_control_set_float(control, BD_CONTROL_BETA1_POWER, 1);
    bd_control_set_float(control, BD_CONTROL_BETA2_POWER, 1);
}

/* The words that the caller's parameters say, for a new run and for a resumed one. */
static void set_control(uint32_t *control, const bd_trainer *trainer)
{
    const bd_train_params *p = &trainer->params;
    control[BD_CONTROL_BATCH] = (uint32_t)p->batch;
    control[BD_CONTROL_COUNT] = (uint32_t)trainer->train.shape.count;
    control[BD_CONTROL_SCALING] = p->precision.scaling;
    bd_control_set_float(control, BD_CONTROL_GROWTH, p->precision.growth);
    bd_control_set_float(control, BD_CONTROL_BACKOFF, p->precision.backoff);
    control[BD_CONTROL_GROWTH_INTERVAL] = p->precision.growth_interval;
    control[BD_CONTROL_RATE_COUNT] = (uint32_t)trainer->train.source.rates;
    bd_control_set_float(control, BD_CONTROL_BETA1, p->optimizer.beta1);
    bd_control_set_float(control, BD_CONTROL_BETA2, p->optimizer.beta2);
    control[BD_CONTROL_STOP_ON_NAN] = !p->continue_on_nan;
    control[BD_CONTROL_HALT] = 0;
}

static bd_status make_state(bd_trainer *trainer, bd_error *error)
{
    const bd_train_params *p = &trainer->params;
    bd_status status;
    start_control(&trainer->state, p);
    if (p->resume)
        status = bd_checkpoint_load(p->resume, trainer->store, &trainer->layout, p, &trainer->state, error);
    else
        status = fill_masters(trainer, error);
    if (status)
        return status;
    if (trainer->state.control[BD_CONTROL_STEP] > trainer->steps)
        return bd_fail(error, BD_ERROR_ARGUMENT, "%s: was saved after step %u, this run ends at step %lld", p->resume,
                       trainer->state.control[BD_CONTROL_STEP], (long long)trainer->steps);
    set_control(trainer->state.control, trainer);
    return bd_store_write(trainer->store, "control", trainer->state.control, sizeof trainer->state.control, error);
}

bd_status bd_trainer_restart(bd_trainer *trainer, uint64_t seed, int64_t step, bd_error *error)
{
    uint32_t *control = trainer->state.control;
    bd_status status = bd_trainer_check_ready(trainer, error);
    for (size_t i = 0; !status && i < bd_store_count(trainer->store); i++) {
        const bd_store_entry *entry = bd_store_at(trainer->store, i);
        if (entry->role != BD_ROLE_STATE || entry->is_part)
            continue;
        const uint64_t bytes = (uint64_t)bd_shape_elements(&entry->shape) * bd_format_size(entry->format);
        void *zeros = calloc(1, bytes + 1);
        status = zeros ? bd_store_write(trainer->store, entry->name, zeros, bytes, error)
                       : bd_fail(error, BD_ERROR_MEMORY, "no memory to clear '%s'", entry->name);
        free(zeros);
    }
    if (status)
        return status;
    start_control(&trainer->state, &trainer->params);
    set_control(control, trainer);
    control[BD_CONTROL_SEED_LOW] = (uint32_t)seed;
    control[BD_CONTROL_SEED_HIGH] = (uint32_t)(seed >> 32);
    control[BD_CONTROL_STEP] = (uint32_t)step;
    control[BD_CONTROL_RATE_FIRST] = (uint32_t)trainer->rates_first; /* the table on the device stays */
    return bd_store_write(trainer->store, "control", control, sizeof trainer->state.control, error);
}

static bd_status make_feeds(bd_trainer *trainer, bd_error *error)
{
    const bd_dataset *data = trainer->params.dataset;
    trainer->order = malloc((size_t)trainer->train.shape.count * sizeof *trainer->order);
    if (!trainer->order)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for a permutation");
    bd_status status =
        bd_feed_create(trainer->store, "train", &trainer->train.shape, &data->train, &trainer->train.feed, error);
    if (!status && trainer->test.program)
        status = bd_feed_create(trainer->store, "test", &trainer->test.shape, &data->test, &trainer->test.feed, error);
    return status;
}

/* Runs it, before a first step: the first batch's values say where learned steps begin. */
static bd_status find_starts(bd_trainer *trainer, bd_error *error)
{
    bd_program *program = NULL;
    int64_t steps = 1;
    bd_status status;
    if (!trainer->starting || trainer->state.control[BD_CONTROL_STEP] > 0)
        return BD_OK;
    if (!(status = bd_trainer_set_epoch(trainer, 0, error)) &&
        !(status = bd_feed_prepare(trainer->train.feed, 0, &steps, error)) &&
        !(status = bd_program_create(trainer->store, &trainer->starting, trainer->params.seed, NULL, NULL, &program,
                                     error)) &&
        !(status = bd_program_run(program, 1, error)))
        status = bd_program_finish(program, error);
    bd_program_destroy(&program);
    return status;
}

static bd_status put_on_device(bd_trainer *trainer, bd_error *error)
{
    trainer->device->backend->memory(trainer->device, &trainer->base_bytes, &(uint64_t){ 0 });
    bd_status status;
    if ((status = bd_store_create(trainer->device, &trainer->store, error)) ||
        (status = make_programs(trainer, error)) || (status = make_feeds(trainer, error)) ||
        (status = make_state(trainer, error)) || (status = find_starts(trainer, error)) ||
        (status = bd_trainer_prepare_rates(trainer, trainer->state.control[BD_CONTROL_STEP], &(int64_t){ 1 }, error)))
        return status;
    bd_trainer_measure(trainer);
    return BD_OK;
}

bd_status bd_trainer_create(bd_device *device, const bd_train_params *params, bd_trainer **result, bd_error *error)
{
    *result = NULL;
    bd_status status = check_params(params, error);
    if (!status && params->checkpoint)
        status = bd_atomic_file_try(params->checkpoint, error);
    if (status)
        return status;
    bd_trainer *trainer = calloc(1, sizeof *trainer);
    if (!trainer)
        return bd_fail(error, BD_ERROR_MEMORY, "out of memory");
    trainer->device = device;
    trainer->rates_first = -1;
    if (device)
        trainer->target = device->target;
    else
        bd_target_default(&trainer->target);
    if (!(status = copy_params(trainer, params, error)) && !(status = make_plans(trainer, error)) && device)
        status = bd_device_explain_loss(device->info.id, put_on_device(trainer, error), "before the first step", error);
    if (status)
        bd_trainer_destroy(&trainer);
    *result = trainer;
    return status;
}

static void destroy_stage(bd_stage *stage)
{
    bd_feed_destroy(&stage->feed);
    bd_program_destroy(&stage->program);
    bd_plan_destroy(&stage->plan);
}

void bd_trainer_destroy(bd_trainer **pointer)
{
    if (!pointer || !*pointer)
        return;
    bd_trainer *trainer = *pointer;
    destroy_stage(&trainer->train);
    destroy_stage(&trainer->test);
    destroy_stage(&trainer->measured);
    bd_plan_destroy(&trainer->starting);
    bd_measure_finish(&trainer->points);
    free(trainer->measurements);
    bd_store_destroy(&trainer->store);
    bd_layout_finish(&trainer->layout);
    free(trainer->order);
    free((char *)trainer->params.model_name);
    free((char *)trainer->params.checkpoint);
    free((char *)trainer->params.resume);
    free(trainer);
    *pointer = NULL;
}

/* ---- small services ---- */

void bd_trainer_measure(bd_trainer *trainer)
{
    uint64_t now = 0, peak = 0;
    trainer->device->backend->memory(trainer->device, &now, &peak);
    now = now > trainer->base_bytes ? now - trainer->base_bytes : 0;
    trainer->peak_bytes = now > trainer->peak_bytes ? now : trainer->peak_bytes;
}

bd_status bd_trainer_read_control(bd_trainer *trainer, bd_error *error)
{
    return bd_store_read(trainer->store, "control", trainer->state.control, sizeof trainer->state.control, error);
}

static bd_status need_device(const bd_trainer *trainer, bd_error *error)
{
    return trainer->device ? BD_OK : bd_fail(error, BD_ERROR_ARGUMENT, "this trainer has no device, only a plan");
}

bd_status bd_trainer_save(bd_trainer *trainer, const char *path, bd_error *error)
{
    bd_status status = need_device(trainer, error);
    if (!status)
        status = bd_trainer_read_control(trainer, error);
    if (status)
        return status;
    bd_run_state state = trainer->state;
    /* Sums of an interval are nobody's concern: equal runs give equal files. */
    bd_control_set_float(state.control, BD_CONTROL_LOSS_SUM, 0);
    bd_control_set_float(state.control, BD_CONTROL_CORRECT, 0);
    bd_control_set_float(state.control, BD_CONTROL_SAMPLES, 0);
    state.control[BD_CONTROL_RATE_FIRST] = 0; /* nor is which rates are at hand */
    return bd_checkpoint_save(path, trainer->store, &trainer->layout, &trainer->params, &state, error);
}

bd_status bd_trainer_read(bd_trainer *trainer, const char *parameter, double *values, size_t count, bd_error *error)
{
    bd_status status = need_device(trainer, error);
    return status ? status : bd_store_read_values(trainer->store, parameter, values, count, error);
}
