/* Text from a language model: see the public header. The whole window is computed for each token: causal models need no
 * more than that tokens behind the last one are anything. */
#include <binade/generate.h>

#include "checkpoint.h"
#include "dataset.h"
#include "philox.h"
#include "step.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Tells these numbers from those of training with the same seed. */
#define GENERATE_DOMAIN UINT32_C(0x74657874)

/* No window is longer: a guard against what a file may say. */
enum { MOST_CONTEXT = 1 << 20 };

static const char *const WINDOW = "window", *const LOGITS = "logits";

struct bd_generator {
    char *path;
    bd_safetensors *file;
    const char *model; /* the file's */
    char **names;      /* of the tokens; owned */
    int64_t tokens, context;
    bd_generator_params params;
    bd_store *store;
    bd_program *program;
    float *window;   /* numbers of tokens, `count` of them, then 0 */
    int64_t count;   /* at most context */
    uint64_t drawn;  /* tokens so far */
    float *logits;   /* of the next token */
    int64_t *ranked; /* tokens, the likeliest first */
};

/* ---- the checkpoint ---- */

static bd_status read_context(bd_generator *g, bd_error *error)
{
    const char *text = bd_safetensors_metadata(g->file, "context");
    char *end = NULL;
    errno = 0;
    g->context = text ? strtoll(text, &end, 10) : 0;
    if (!text || !*text || *end || errno || g->context < 1 || g->context > MOST_CONTEXT)
        return bd_fail(error, BD_ERROR_DATA, "%s: context '%s' is no number of tokens", g->path, text ? text : "");
    return BD_OK;
}

static bd_status read_checkpoint(bd_generator *g, bd_error *error)
{
    bd_status status = bd_safetensors_read(g->path, &g->file, error);
    if (!status)
        status = bd_checkpoint_check(g->path, g->file, error);
    if (status)
        return status;
    g->model = bd_safetensors_metadata(g->file, "model");
    const char *kind = bd_safetensors_metadata(g->file, "tokens"),
               *vocabulary = bd_safetensors_metadata(g->file, "vocabulary");
    const bd_tokens tokens = kind ? bd_tokens_from_name(kind) : BD_TOKENS_NONE;
    if (!g->model || !tokens || !vocabulary)
        return bd_fail(error, BD_ERROR_ARGUMENT, "%s: its model, '%s', is no language model", g->path,
                       g->model ? g->model : "");
    status = bd_vocabulary_read(g->path, tokens, vocabulary, &g->names, &g->tokens, error);
    return status ? status : read_context(g, error);
}

bd_status bd_generator_open(const char *checkpoint, bd_generator **result, bd_error *error)
{
    bd_generator *g = calloc(1, sizeof *g);
    *result = NULL;
    if (!g || !(g->path = strdup(checkpoint))) {
        free(g);
        return bd_fail(error, BD_ERROR_MEMORY, "out of memory");
    }
    bd_status status = read_checkpoint(g, error);
    if (!status) {
        g->window = calloc((size_t)g->context, sizeof *g->window);
        g->logits = malloc((size_t)g->tokens * sizeof *g->logits);
        g->ranked = malloc((size_t)g->tokens * sizeof *g->ranked);
        if (!g->window || !g->logits || !g->ranked)
            status = bd_fail(error, BD_ERROR_MEMORY, "out of memory");
    }
    if (status)
        bd_generator_close(&g);
    *result = g;
    return status;
}

void bd_generator_close(bd_generator **generator)
{
    if (!generator || !*generator)
        return;
    bd_generator *g = *generator;
    if (g->program)
        bd_program_destroy(&g->program);
    bd_store_destroy(&g->store);
    for (int64_t i = 0; g->names && i < g->tokens; i++)
        free(g->names[i]);
    free(g->names);
    bd_safetensors_close(&g->file);
    free(g->window);
    free(g->logits);
    free(g->ranked);
    free(g->path);
    free(g);
    *generator = NULL;
}

const char *bd_generator_model(const bd_generator *generator)
{
    return generator->model;
}

/* ---- the model ---- */

/* `precision` may be NULL: then the graph has no formats. */
static bd_status build(const bd_generator *g, const bd_precision *precision, bd_graph **graph, bd_error *error)
{
    const bd_init zeros = { BD_INIT_CONSTANT, 0 };
    bd_status status = bd_graph_create(graph, error);
    if (status)
        return status;
    (*graph)->precision = precision;
    bd_tensor x = bd_variable(*graph, WINDOW, BD_ROLE_FIXED, BD_F32, BD_SHAPE(1, g->context), zeros);
    bd_tensor logits = g->params.model(*graph, x, g->tokens, false, g->params.model_user);
    const bd_shape shape = bd_tensor_shape(*graph, logits), wanted = BD_SHAPE(1, g->context, g->tokens);
    if (bd_graph_status(*graph, NULL) == BD_OK && (logits == BD_NONE || !bd_shape_equal(&shape, &wanted)))
        bd_graph_fail(*graph, BD_ERROR_ARGUMENT, "model '%s' has no logits for each of %" PRId64 " tokens", g->model,
                      g->context);
    bd_set_role(*graph, BD_ROLE_FIXED);
    bd_tensor kept = bd_variable(*graph, LOGITS, BD_ROLE_FIXED, BD_F32, wanted, zeros);
    bd_assign(*graph, kept, bd_cast(*graph, logits, BD_ROLE_FIXED));
    status = precision ? bd_graph_apply_precision(*graph, precision, error) : bd_graph_status(*graph, error);
    if (status)
        bd_graph_destroy(graph);
    return status;
}

/* The checkpoint's, with its ends. */
static bd_status read_policy(const bd_generator *g, bd_precision *precision, bd_error *error)
{
    const char *policy = bd_safetensors_metadata(g->file, "precision");
    bd_graph *graph = NULL;
    bd_status status = policy ? bd_precision_parse(policy, precision, error)
                              : bd_fail(error, BD_ERROR_DATA, "%s: says nothing of its precision", g->path);
    if (status || precision->ends == BD_F32)
        return status;
    status = build(g, NULL, &graph, error);
    if (!status)
        status = bd_graph_set_ends(graph, precision, error);
    bd_graph_destroy(&graph);
    return status;
}

static bd_status load_weights(bd_generator *g, bd_error *error)
{
    bd_status status = BD_OK;
    for (size_t i = 0; i < bd_store_count(g->store) && !status; i++) {
        const bd_store_entry *entry = bd_store_at(g->store, i);
        const bd_safe_tensor *tensor;
        if (entry->role != BD_ROLE_WEIGHT && entry->role != BD_ROLE_STATISTIC)
            continue;
        status =
            bd_checkpoint_check_tensor(g->path, g->file, entry->name, entry->format, &entry->shape, &tensor, error);
        if (!status)
            status = bd_store_write(g->store, entry->name, tensor->data,
                                    (uint64_t)bd_shape_elements(&entry->shape) * bd_format_size(entry->format), error);
    }
    return status;
}

bd_status bd_generator_start(bd_generator *g, bd_device *device, const bd_generator_params *params, bd_error *error)
{
    bd_precision precision;
    bd_graph *graph = NULL;
    bd_plan *plan = NULL;
    if (!(params->temperature >= 0) || params->top_k < 0)
        return bd_fail(error, BD_ERROR_ARGUMENT, "temperature %g, the likeliest %" PRId64 ": wanted at least 0 each",
                       params->temperature, params->top_k);
    if (g->program)
        return bd_fail(error, BD_ERROR_ARGUMENT, "%s: the generator was started already", g->path);
    bd_store_destroy(&g->store);
    g->params = *params;
    bd_status status = read_policy(g, &precision, error);
    if (!status)
        status = build(g, &precision, &graph, error);
    if (!status)
        status = bd_plan_create(graph, &device->target, NULL, &plan, error);
    bd_graph_destroy(&graph);
    if (!status)
        status = bd_store_create(device, &g->store, error);
    if (!status)
        status = bd_program_create(g->store, &plan, 0, NULL, NULL, &g->program, error);
    else
        bd_plan_destroy(&plan);
    return status ? status : load_weights(g, error);
}

/* ---- text ---- */

static void push(bd_generator *g, int64_t token)
{
    if (g->count < g->context)
        g->count++;
    else
        memmove(g->window, g->window + 1, ((size_t)g->context - 1) * sizeof *g->window);
    g->window[g->count - 1] = (float)token;
}

/* The token that `text` begins with; -1 if it is none. No token's text is the beginning of another's. */
static int64_t find_token(const bd_generator *g, const char *text)
{
    for (int64_t i = 0; i < g->tokens; i++)
        if (!strncmp(text, g->names[i], strlen(g->names[i])))
            return i;
    return -1;
}

bd_status bd_generator_prompt(bd_generator *g, const char *text, bd_error *error)
{
    /* All or nothing. */
    for (int pass = 0; pass < 2; pass++) {
        for (const char *c = text; *c;) {
            const int64_t token = find_token(g, c);
            uint32_t code;
            if (token < 0) {
                const size_t length = bd_utf8_character((const uint8_t *)c, strlen(c), &code);
                return length ? bd_fail(error, BD_ERROR_ARGUMENT,
                                        "'%.*s', at byte %td of the prompt, is not in the vocabulary of %s",
                                        (int)length, c, c - text, g->path)
                              : bd_fail(error, BD_ERROR_ARGUMENT,
                                        "byte 0x%02x, at byte %td of the prompt, is not in the vocabulary of %s",
                                        *c & 0xff, c - text, g->path);
            }
            if (pass == 1)
                push(g, token);
            c += strlen(g->names[token]);
        }
    }
    return BD_OK;
}

static bd_status compute_logits(bd_generator *g, bd_error *error)
{
    const uint64_t size = (uint64_t)g->tokens * sizeof *g->logits;
    bd_status status = bd_store_write(g->store, WINDOW, g->window, (uint64_t)g->context * sizeof *g->window, error);
    if (!status)
        status = bd_program_run(g->program, 1, error);
    if (!status)
        status = bd_store_read_part(g->store, LOGITS, (uint64_t)(g->count - 1) * size, g->logits, size, NULL, error);
    for (int64_t i = 0; i < g->tokens && !status; i++)
        if (!isfinite(g->logits[i]))
            status = bd_fail(error, BD_ERROR_NUMERIC, "%s: the logit of token %" PRId64 " is not finite", g->path, i);
    return status;
}

/* By insertion, into those that are likelier or as likely and come before. */
static void rank(bd_generator *g)
{
    for (int64_t i = 0; i < g->tokens; i++) {
        int64_t at = i;
        for (; at > 0 && g->logits[g->ranked[at - 1]] < g->logits[i]; at--)
            g->ranked[at] = g->ranked[at - 1];
        g->ranked[at] = i;
    }
}

static int64_t draw(bd_generator *g)
{
    const int64_t most = g->params.top_k && g->params.top_k < g->tokens ? g->params.top_k : g->tokens;
    const double largest = g->logits[g->ranked[0]], temperature = g->params.temperature;
    const uint32_t key[2] = { (uint32_t)g->params.seed, (uint32_t)(g->params.seed >> 32) };
    uint32_t words[4];
    bd_philox(key, (uint32_t[]){ (uint32_t)g->drawn, (uint32_t)(g->drawn >> 32), 0, GENERATE_DOMAIN }, words);
    if (temperature == 0)
        return g->ranked[0];
    double total = 0, sum = 0;
    for (int64_t i = 0; i < most; i++)
        total += exp((g->logits[g->ranked[i]] - largest) / temperature);
    const double point = (words[0] * 0x1p-32 + words[1] * 0x1p-64) * total;
    for (int64_t i = 0; i < most; i++) {
        sum += exp((g->logits[g->ranked[i]] - largest) / temperature);
        if (point < sum)
            return g->ranked[i];
    }
    return g->ranked[0]; /* a rounding beyond the last: not even once in a lifetime */
}

bd_status bd_generator_next(bd_generator *g, const char **text, bd_error *error)
{
    *text = "";
    if (!g->program)
        return bd_fail(error, BD_ERROR_ARGUMENT, "%s: the generator was not started", g->path);
    if (g->count == 0) {
        const int64_t line_end = find_token(g, "\n");
        push(g, line_end < 0 ? 0 : line_end);
    }
    bd_status status = compute_logits(g, error);
    if (status)
        return status;
    rank(g);
    const int64_t token = draw(g);
    g->drawn++;
    push(g, token);
    *text = g->names[token];
    return BD_OK;
}
