/* The networks' logits, loss and gradients against PyTorch's in double precision: files in tests/golden, made by
 * make.py beside them, which tells what is in the files and how weights and images follow from a formula.
 *
 *     test_golden FOLDER reference|DEVICE [NAME...]
 *
 * On `reference` nothing is rounded, so what may differ is one rounding of the golden value to F32, and of the double
 * arithmetic a little: SLACK of the gradient's norm. On a device, in F32, the judge is what rounding to F32 costs: the
 * reference runs once more with every result rounded, and a device may be off by DEVICE_FACTOR times as much, over all
 * of a network's numbers. A gradient is not continuous where an activation is 0, and one that errs to the other side
 * changes all gradients before it: what that comes to is what the exact gradients change by when the parameters do,
 * each by DEVICE_FACTOR roundings. Logits and loss are continuous, and have the first bound only. */
#include "../apps/models/models.h"
#include "../backends/backend.h"
#include "../backends/reference/interpret.h"
#include "../engine/control.h"
#include "../engine/program.h"
#include "../engine/safetensors.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 4, SIDE = 32, CHANNELS = 3, CLASSES = 10, SAMPLES = 4, MOST_PARAMETERS = 600 };
enum { PLACES = 16, MOST_LOGITS = BATCH * PLACES * CLASSES /* of a language model */ };

/* 2^-53 times the roundings on a path, some thousands, times the largest condition number met: 2^10 in all of 2^40. */
static const double SLACK = 0x1p-33;
/* The reference rounds a sum once, a device each partial sum: as many as 4608 terms (9 taps of 512 channels), whose
 * errors add up like the steps of a random walk, to the root of their number. */
static const double DEVICE_FACTOR = 68;

static void must(bd_status status, const bd_error *error)
{
    if (status) {
        fprintf(stderr, "%s\n", error->message);
        exit(1);
    }
}

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count + 1, size);
    if (!memory)
        exit(1);
    return memory;
}

/* ---- the numbers of make.py ---- */

static uint64_t hash_name(const char *name)
{
    uint64_t hash = 14695981039346656037u;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 1099511628211u;
    return hash;
}

static double uniform(uint64_t hash, uint64_t i)
{
    uint64_t z = hash + i + 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    return (double)(z >> 40) * 0x1p-24;
}

static double *numbers(const char *name, const bd_shape *shape)
{
    const int64_t count = bd_shape_elements(shape);
    const char *slash = strrchr(name, '/'), *kind = slash ? slash + 1 : name;
    const bool is_gamma = !strcmp(kind, "gamma");
    double spread = is_gamma ? 0.2 : !strcmp(kind, "images") ? 1.7 : 0.1;
    if (!strcmp(kind, "weight"))
        spread = sqrt(6 / ((double)count / (double)shape->dim[shape->rank - 1]));
    double *values = allocate((size_t)count, sizeof *values);
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)((2 * uniform(hash_name(name), (uint64_t)i) - 1) * spread + is_gamma);
    return values;
}

/* ---- a network with its gradients ---- */

typedef struct network {
    bd_graph *graph;
    bd_tensor logits, losses, gradients[MOST_PARAMETERS], parameters[MOST_PARAMETERS];
    int count, loss_count, logit_count;
    int32_t node_count; /* before a device's results are appended */
    double **variables; /* by node */
} network;

/* What is compared: loss, logits, then for each parameter norm and samples. */
typedef struct outcome {
    double loss, logits[MOST_LOGITS], norms[MOST_PARAMETERS], samples[MOST_PARAMETERS][SAMPLES];
} outcome;

static void build(const char *name, network *net)
{
    bd_error error = { 0 };
    model m;
    must(model_parse(name, &m, &error), &error);
    must(bd_graph_create(&net->graph, &error), &error);
    bd_graph *g = net->graph;
    const bd_init none = { 0 };
    bd_variable(g, "/control", BD_ROLE_FIXED, BD_U32, BD_SHAPE(BD_CONTROL_BYTES / 4), none);
    const bool is_text = m.gpt.context > 0;
    const bd_shape examples = is_text ? BD_SHAPE(BATCH, PLACES) : BD_SHAPE(BATCH);
    net->loss_count = (int)bd_shape_elements(&examples);
    net->logit_count = net->loss_count * CLASSES;
    bd_tensor x = is_text
                      ? bd_variable(g, "numbers", BD_ROLE_FIXED, BD_F32, examples, none)
                      : bd_variable(g, "images", BD_ROLE_FIXED, BD_F32, BD_SHAPE(BATCH, SIDE, SIDE, CHANNELS), none);
    bd_tensor labels = bd_variable(g, "labels", BD_ROLE_FIXED, BD_F32, examples, none);
    net->logits = m.function(g, is_text ? x : bd_cast(g, x, BD_ROLE_ACTIVATION), CLASSES, true, &m);
    net->losses = bd_cross_entropy(g, net->logits, labels);
    net->count = 0;
    for (bd_tensor t = 0; t < g->node_count && net->count < MOST_PARAMETERS; t++)
        if (g->nodes[t].op == BD_OP_VARIABLE && g->nodes[t].role == BD_ROLE_WEIGHT)
            net->parameters[net->count++] = t;
    bd_tensor seed = bd_constant(g, examples, 1.0 / net->loss_count);
    must(bd_gradient(g, net->losses, seed, net->parameters, net->count, net->gradients, &error), &error);
    bd_precision fp32;
    must(bd_precision_parse("fp32", &fp32, &error), &error);
    must(bd_graph_apply_precision(g, &fp32, &error), &error);

    net->node_count = g->node_count;
    net->variables = allocate((size_t)g->node_count, sizeof *net->variables);
    for (bd_tensor t = 0; t < g->node_count; t++) {
        const bd_node *node = &g->nodes[t];
        if (node->op != BD_OP_VARIABLE)
            continue;
        const char *variable = node->attr.variable.name;
        net->variables[t] = numbers(variable, &node->shape);
        if (!strcmp(variable, "control")) {
            memset(net->variables[t], 0, (size_t)bd_shape_elements(&node->shape) * sizeof(double));
            net->variables[t][BD_CONTROL_SEED_LOW] = 1;
        } else if (!strcmp(variable, "labels") || !strcmp(variable, "numbers")) {
            for (int k = 0; k < net->loss_count; k++) {
                const int i = is_text ? k / PLACES : k, j = is_text ? k % PLACES : 0;
                net->variables[t][k] = (*variable == 'l' ? 3 * i + j : 5 * i + 3 * j * j) % CLASSES;
            }
        }
    }
}

static void finish(network *net)
{
    for (bd_tensor t = 0; t < net->node_count; t++)
        free(net->variables[t]);
    free(net->variables);
    bd_graph_destroy(&net->graph);
}

static void take_gradient(const network *net, int i, const double *gradient, outcome *result)
{
    const int64_t count = bd_shape_elements(&net->graph->nodes[net->gradients[i]].shape);
    double sum = 0;
    for (int64_t k = 0; k < count; k++)
        sum += gradient[k] * gradient[k];
    result->norms[i] = sqrt(sum);
    for (int k = 0; k < SAMPLES; k++)
        result->samples[i][k] = gradient[k * (count - 1) / (SAMPLES - 1)];
}

static void take(const network *net, double *const *values, outcome *result)
{
    memcpy(result->logits, values[0], (size_t)net->logit_count * sizeof *result->logits);
    result->loss = 0;
    for (int i = 0; i < net->loss_count; i++)
        result->loss += values[1][i] / net->loss_count;
    for (int i = 0; i < net->count; i++)
        take_gradient(net, i, values[2 + i], result);
}

static double **allocate_results(const network *net, bd_tensor *wanted)
{
    double **values = allocate((size_t)net->count + 2, sizeof *values);
    wanted[0] = net->logits;
    wanted[1] = net->losses;
    memcpy(wanted + 2, net->gradients, (size_t)net->count * sizeof *wanted);
    for (int i = 0; i < net->count + 2; i++)
        values[i] = allocate((size_t)bd_shape_elements(&net->graph->nodes[wanted[i]].shape), sizeof **values);
    return values;
}

static void free_results(const network *net, double **values)
{
    for (int i = 0; i < net->count + 2; i++)
        free(values[i]);
    free(values);
}

static void run_reference(const network *net, bool exact, outcome *result)
{
    bd_error error = { 0 };
    bd_tensor wanted[MOST_PARAMETERS + 2];
    double **values = allocate_results(net, wanted),
           **variables = allocate((size_t)net->graph->node_count, sizeof *variables);
    memcpy(variables, net->variables, (size_t)net->graph->node_count * sizeof *variables);
    for (bd_tensor t = 0; t < net->graph->node_count; t++) /* running statistics are assigned to: give it copies */
        if (net->graph->nodes[t].op == BD_OP_VARIABLE && net->graph->nodes[t].role == BD_ROLE_STATISTIC)
            variables[t] = numbers(net->graph->nodes[t].attr.variable.name, &net->graph->nodes[t].shape);
    must(bd_interpret_arrays(net->graph, exact, variables, wanted, values, net->count + 2, &error), &error);
    take(net, values, result);
    for (bd_tensor t = 0; t < net->graph->node_count; t++)
        if (variables[t] != net->variables[t])
            free(variables[t]);
    free(variables);
    free_results(net, values);
}

/* ---- the same on a device ---- */

static const char *result_name(int i, char name[32])
{
    snprintf(name, 32, "/result/%d", i);
    return name;
}

static void run_device(const network *net, bd_device *device, outcome *result)
{
    bd_error error = { 0 };
    bd_tensor wanted[MOST_PARAMETERS + 2];
    double **values = allocate_results(net, wanted);
    char name[32];
    bd_graph *g = net->graph;
    const bd_tensor end = g->node_count;
    for (int i = 0; i < net->count + 2; i++) {
        bd_tensor kept =
            bd_variable(g, result_name(i, name), BD_ROLE_FIXED, BD_F32, bd_tensor_shape(g, wanted[i]), (bd_init){ 0 });
        bd_assign(g, kept, wanted[i]);
    }
    for (bd_tensor t = end; t < g->node_count; t++)
        g->nodes[t].format = BD_F32;
    must(bd_graph_status(g, &error), &error);
    bd_store *store = NULL;
    bd_program *program = NULL;
    bd_plan *plan = NULL;
    must(bd_store_create(device, &store, &error), &error);
    must(bd_plan_create(g, &device->target, NULL, &plan, &error), &error);
    must(bd_program_create(store, &plan, 1, NULL, NULL, &program, &error), &error);
    for (bd_tensor t = 0; t < end; t++)
        if (g->nodes[t].op == BD_OP_VARIABLE && bd_store_find(store, g->nodes[t].attr.variable.name))
            must(bd_store_write_values(store, g->nodes[t].attr.variable.name, net->variables[t],
                                       (uint64_t)bd_shape_elements(&g->nodes[t].shape), &error),
                 &error);
    must(bd_program_run(program, 1, &error), &error);
    must(bd_program_finish(program, &error), &error);
    for (int i = 0; i < net->count + 2; i++)
        must(bd_store_read_values(store, result_name(i, name) + 1, values[i],
                                  (uint64_t)bd_shape_elements(&g->nodes[wanted[i]].shape), &error),
             &error);
    take(net, values, result);
    bd_program_destroy(&program);
    bd_store_destroy(&store);
    free_results(net, values);
}

/* The exact reference with every parameter moved by DEVICE_FACTOR roundings, up or down. */
static void run_moved(const network *net, outcome *result)
{
    for (int back = 0; back < 2; back++) {
        for (int i = 0; i < net->count; i++) {
            double *values = net->variables[net->parameters[i]];
            const int64_t count = bd_shape_elements(&net->graph->nodes[net->parameters[i]].shape);
            for (int64_t k = 0; k < count; k++) {
                const double step = (k * 7 + i) % 13 < 6 ? -DEVICE_FACTOR * 0x1p-24 : DEVICE_FACTOR * 0x1p-24;
                values[k] = back ? values[k] / (1 + step) : values[k] * (1 + step);
            }
        }
        if (!back)
            run_reference(net, true, result);
    }
}

/* ---- comparing ---- */

static const float *golden(const bd_safetensors *file, const char *name, int64_t count)
{
    const bd_safe_tensor *tensor = bd_safetensors_find(file, name);
    if (!tensor || bd_shape_elements(&tensor->shape) != count) {
        fprintf(stderr, "the golden file has no '%s' of %" PRId64 " elements\n", name, count);
        exit(1);
    }
    return tensor->data;
}

/* Every value is off by a rounding to F32 and `slack` of its scale at most; returns how many are not. */
static int compare_golden(const network *net, const outcome *ours, const bd_safetensors *file)
{
    const float *loss = golden(file, "loss", 1), *logits = golden(file, "logits", net->logit_count);
    const float *norms = golden(file, "norms", net->count),
                *samples = golden(file, "samples", (int64_t)net->count * SAMPLES);
    const uint32_t *names = (const uint32_t *)golden(file, "names", net->count);
    int wrong = 0;
    double largest = 0;
    for (int i = 0; i < net->logit_count; i++)
        largest = fmax(largest, fabs((double)logits[i]));
#define CHECK(value, wanted, scale, ...)                                                                               \
    if (!(fabs((value) - (double)(wanted)) <= 0x1p-24 * fabs((double)(wanted)) + SLACK * (scale))) {                   \
        if (wrong++ < 5) {                                                                                             \
            fprintf(stderr, __VA_ARGS__);                                                                              \
            fprintf(stderr, ": %.10g, PyTorch has %.10g\n", (value), (double)(wanted));                                \
        }                                                                                                              \
    }
    CHECK(ours->loss, *loss, largest, "loss");
    for (int i = 0; i < net->logit_count; i++)
        CHECK(ours->logits[i], logits[i], largest, "logit %d", i);
    for (int i = 0; i < net->count; i++) {
        const char *name = net->graph->nodes[net->parameters[i]].attr.variable.name;
        if (names[i] != (uint32_t)hash_name(name)) {
            fprintf(stderr, "parameter %d is '%s' here and another in the golden file\n", i, name);
            return wrong + 1;
        }
        /* A bias before a normalisation has no gradient but noise. */
        const double scale = fmax(norms[i], 1e-3);
        CHECK(ours->norms[i], norms[i], scale, "gradient norm of %s", name);
        for (int k = 0; k < SAMPLES; k++)
            CHECK(ours->samples[i][k], samples[i * SAMPLES + k], scale, "gradient sample %d of %s", k, name);
    }
#undef CHECK
    return wrong;
}

/* Root mean square over the numbers, each over its scale. */
static double forward_distance(const network *net, const outcome *a, const outcome *b)
{
    double sum = pow((a->loss - b->loss) / b->loss, 2), scale = 0;
    for (int i = 0; i < net->logit_count; i++)
        scale = fmax(scale, fabs(b->logits[i]));
    for (int i = 0; i < net->logit_count; i++)
        sum += pow((a->logits[i] - b->logits[i]) / scale, 2);
    return sqrt(sum / (1 + net->logit_count));
}

static double distance(const network *net, const outcome *a, const outcome *b)
{
    double sum = pow((a->loss - b->loss) / b->loss, 2);
    for (int i = 0; i < net->count; i++) {
        const double scale = fmax(b->norms[i], 1e-3);
        sum += pow((a->norms[i] - b->norms[i]) / scale, 2);
        for (int k = 0; k < SAMPLES; k++)
            sum += pow((a->samples[i][k] - b->samples[i][k]) / scale, 2);
    }
    return sqrt(sum / (double)(1 + net->count * (1 + SAMPLES)));
}

static bool check(const char *folder, const char *name, bd_device *device)
{
    bd_error error = { 0 };
    char path[1024];
    bd_safetensors *file = NULL;
    network net = { 0 };
    outcome *exact = allocate(1, sizeof *exact), *rounded = allocate(1, sizeof *rounded),
            *ours = allocate(1, sizeof *ours), *moved = allocate(1, sizeof *moved);
    snprintf(path, sizeof path, "%s/%s.safetensors", folder, name);
    must(bd_safetensors_read(path, &file, &error), &error);
    build(name, &net);
    run_reference(&net, true, exact);
    const int wrong = compare_golden(&net, exact, file);
    bool good = wrong == 0;
    printf("%-12s %3d parameters, %d of their numbers wrong", name, net.count, wrong);
    if (device) {
        run_reference(&net, false, rounded);
        run_moved(&net, moved);
        run_device(&net, device, ours);
        const double one = distance(&net, rounded, exact), kinks = distance(&net, moved, exact),
                     off = distance(&net, ours, exact);
        /* The forward pass has no kinks that jump: it has no such excuse. */
        const double one_forward = forward_distance(&net, rounded, exact),
                     off_forward = forward_distance(&net, ours, exact);
        printf("; off by %.2g (forward %.2g), the reference in F32 by %.2g (%.2g), moved by %.2g", off, off_forward,
               one, one_forward, kinks);
        good = good && off_forward <= DEVICE_FACTOR * one_forward && off <= fmax(DEVICE_FACTOR * one, kinks);
    }
    puts(good ? "" : "  FAILED");
    fflush(stdout);
    finish(&net);
    bd_safetensors_close(&file);
    free(exact);
    free(rounded);
    free(ours);
    free(moved);
    return good;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fputs("usage: test_golden FOLDER reference|DEVICE [NAME...]\n", stderr);
        return 2;
    }
    bd_error error = { 0 };
    bd_device *device = NULL;
    if (strcmp(argv[2], "reference") != 0 && bd_device_open(argv[2], &device, &error)) {
        fprintf(stderr, "%s\n", error.message);
        return 77;
    }
    int failed = 0;
    for (int i = 3; i < argc; i++)
        failed += !check(argv[1], argv[i], device);
    for (int i = 2; argc == 3 && model_name(i); i++) /* all but mlp and lenet */
        failed += !check(argv[1], model_name(i), device);
    bd_device_close(&device);
    return failed > 0;
}
