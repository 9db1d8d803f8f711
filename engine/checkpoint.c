/* Checkpoints: see the header. Saving and loading walk over one list of pieces: which tensor of the file is which
 * bytes of which variable. */
#include "checkpoint.h"

#include "dataset.h"
#include "optimizer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char FORMAT[] = "binade-checkpoint-1";

typedef struct piece {
    char *name;           /* in the file; owned */
    const char *variable; /* the store's name */
    bd_format format;
    bd_shape shape;
    uint64_t offset, size; /* bytes within the variable */
    void *data;            /* saving: what was read; owned */
} piece;

typedef struct piece_list {
    piece *pieces;
    size_t count, capacity;
} piece_list;

static void free_pieces(piece_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->pieces[i].name);
        free(list->pieces[i].data);
    }
    free(list->pieces);
    *list = (piece_list){ 0 };
}

/* `offset` is in elements. */
static bd_status add_piece(piece_list *list, const bd_store_entry *entry, const char *prefix, const char *name,
                           const bd_shape *shape, int64_t offset, bd_error *error)
{
    if (list->count == list->capacity) {
        size_t capacity = 2 * list->capacity + 16;
        piece *grown = realloc(list->pieces, capacity * sizeof *grown);
        if (!grown)
            return bd_fail(error, BD_ERROR_MEMORY, "out of memory");
        list->pieces = grown;
        list->capacity = capacity;
    }
    piece *added = &list->pieces[list->count];
    size_t element = bd_format_size(entry->format);
    *added = (piece){ NULL,
                      entry->name,
                      entry->format,
                      *shape,
                      (uint64_t)offset * element,
                      (uint64_t)bd_shape_elements(shape) * element,
                      NULL };
    if (asprintf(&added->name, *prefix ? "%s/%s" : "%s%s", prefix, name) < 0)
        return bd_fail(error, BD_ERROR_MEMORY, "out of memory");
    list->count++;
    return BD_OK;
}

static bd_status find_entry(const bd_store *store, const char *name, const bd_store_entry **entry, bd_error *error)
{
    *entry = bd_store_find(store, name);
    return *entry ? BD_OK : bd_fail(error, BD_ERROR_ARGUMENT, "there is no variable '%s'", name);
}

/* What lies in the group's vector `what` for each of its parameters. */
static bd_status add_vector(piece_list *list, const bd_store *store, const bd_layout *layout, int group,
                            const char *what, const char *prefix, bd_error *error)
{
    char name[BD_LAYOUT_NAME];
    const bd_store_entry *entry;
    bd_status status = find_entry(store, bd_layout_vector_name(group, what, name) + 1, &entry, error);
    for (int i = 0; i < layout->slot_count && !status; i++)
        if (layout->slots[i].group == group)
            status = add_piece(list, entry, prefix, layout->slots[i].name, &layout->slots[i].shape,
                               layout->slots[i].offset, error);
    return status;
}

static bd_status list_pieces(piece_list *list, const bd_store *store, const bd_layout *layout,
                             const bd_optimizer *optimizer, bd_error *error)
{
    const char *const *states = bd_optimizer_states(optimizer);
    bd_status status = BD_OK;
    for (int i = 0; i < layout->group_count && !status; i++) {
        status = add_vector(list, store, layout, i, "weights", "", error);
        if (!status && bd_layout_has_master(&layout->groups[i]))
            status = add_vector(list, store, layout, i, "master", "master", error);
        for (int j = 0; states[j] && !status; j++)
            status = add_vector(list, store, layout, i, states[j], states[j], error);
        if (!status && layout->kahan)
            status = add_vector(list, store, layout, i, BD_OPTIMIZER_COMPENSATION, BD_OPTIMIZER_COMPENSATION, error);
    }
    for (size_t i = 0; i < bd_store_count(store) && !status; i++) {
        const bd_store_entry *entry = bd_store_at(store, i);
        if (entry->role == BD_ROLE_STATISTIC && !entry->is_part)
            status = add_piece(list, entry, "", entry->name, &entry->shape, 0, error);
    }
    return status;
}

/* ---- what describes a run ---- */

enum { SEED, STEP, EPOCH, POSITION, NUMBER_COUNT };
enum { MODEL, PRECISION, OPTIMIZER, DATASET, BATCH, EXAMPLES, TOKENS, CONTEXT, VOCABULARY, MATCH_COUNT };

static const char *const number_keys[NUMBER_COUNT] = { "seed", "step", "epoch", "position" };
static const char *const match_keys[MATCH_COUNT] = { "model",    "precision", "optimizer", "dataset",   "batch",
                                                     "examples", "tokens",    "context",   "vocabulary" };

typedef struct description {
    char numbers[NUMBER_COUNT][24];
    char batch[24], examples[24], context[24];
    char *vocabulary;               /* owned */
    const char *match[MATCH_COUNT]; /* what must be the same when a run goes on; NULL: images have none */
} description;

/* The caller frees d->vocabulary, also on failure. */
static bd_status describe(const bd_train_params *params, const bd_run_state *state, description *d, bd_error *error)
{
    const bd_dataset *data = params->dataset;
    *d = (description){ .vocabulary = NULL };
    const int64_t steps_per_epoch = bd_dataset_train_examples(data, params->context) / params->batch;
    const uint32_t step = state->control[BD_CONTROL_STEP];
    snprintf(d->numbers[SEED], sizeof d->numbers[SEED], "%" PRIu64, state->seed);
    snprintf(d->numbers[STEP], sizeof d->numbers[STEP], "%" PRIu32, step);
    snprintf(d->numbers[EPOCH], sizeof d->numbers[EPOCH], "%" PRId64, step / steps_per_epoch);
    snprintf(d->numbers[POSITION], sizeof d->numbers[POSITION], "%" PRId64, step % steps_per_epoch * params->batch);
    snprintf(d->batch, sizeof d->batch, "%" PRId64, params->batch);
    snprintf(d->examples, sizeof d->examples, "%" PRId64, data->train.count);
    d->match[MODEL] = params->model_name;
    d->match[PRECISION] = params->precision.text;
    d->match[OPTIMIZER] = bd_optimizer_name(params->optimizer.kind);
    d->match[DATASET] = data->name;
    d->match[BATCH] = d->batch;
    d->match[EXAMPLES] = d->examples;
    if (!data->tokens)
        return BD_OK;
    snprintf(d->context, sizeof d->context, "%" PRId64, params->context);
    d->vocabulary = bd_vocabulary_write(data->tokens, data->class_names, data->classes);
    d->match[TOKENS] = bd_tokens_name(data->tokens);
    d->match[CONTEXT] = d->context;
    d->match[VOCABULARY] = d->vocabulary;
    return d->vocabulary ? BD_OK : bd_fail(error, BD_ERROR_MEMORY, "out of memory");
}

/* ---- saving ---- */

static bd_status read_pieces(const piece_list *list, bd_store *store, bd_safe_tensor *tensors, bd_error *error)
{
    for (size_t i = 0; i < list->count; i++) {
        piece *p = &list->pieces[i];
        p->data = malloc(p->size ? p->size : 1);
        if (!p->data)
            return bd_fail(error, BD_ERROR_MEMORY, "no memory to save '%s'", p->name);
        bd_status status = bd_store_read_part(store, p->variable, p->offset, p->data, p->size, NULL, error);
        if (status)
            return status;
        tensors[i] = (bd_safe_tensor){ p->name, bd_safe_type_of(p->format), p->shape, p->data };
    }
    return BD_OK;
}

bd_status bd_checkpoint_save(const char *path, bd_store *store, const bd_layout *layout, const bd_train_params *params,
                             const bd_run_state *state, bd_error *error)
{
    piece_list list = { 0 };
    bd_safe_tensor *tensors = NULL;
    description d = { .vocabulary = NULL };
    bd_status status = list_pieces(&list, store, layout, &params->optimizer, error);
    if (!status && !(tensors = calloc(list.count + 1, sizeof *tensors)))
        status = bd_fail(error, BD_ERROR_MEMORY, "out of memory");
    if (!status)
        status = read_pieces(&list, store, tensors, error);
    if (!status)
        status = describe(params, state, &d, error);
    if (!status) {
        bd_safe_text metadata[1 + NUMBER_COUNT + MATCH_COUNT] = { { "format", FORMAT } };
        size_t texts = 1;
        for (int i = 0; i < NUMBER_COUNT; i++)
            metadata[texts++] = (bd_safe_text){ number_keys[i], d.numbers[i] };
        for (int i = 0; i < MATCH_COUNT; i++)
            if (d.match[i])
                metadata[texts++] = (bd_safe_text){ match_keys[i], d.match[i] };
        tensors[list.count] =
            (bd_safe_tensor){ "control", BD_SAFE_U32, BD_SHAPE(BD_CONTROL_BYTES / 4), state->control };
        status = bd_safetensors_write(path, tensors, list.count + 1, metadata, texts, error);
    }
    free(d.vocabulary);
    free(tensors);
    free_pieces(&list);
    return status;
}

/* ---- loading ---- */

bd_status bd_checkpoint_check(const char *path, const bd_safetensors *file, bd_error *error)
{
    const char *format = bd_safetensors_metadata(file, "format");
    if (!format || strcmp(format, FORMAT) != 0)
        return bd_fail(error, BD_ERROR_DATA, "%s: no checkpoint of this program: its format is '%s', wanted '%s'", path,
                       format ? format : "", FORMAT);
    return BD_OK;
}

static bd_status check_run(const char *path, const bd_safetensors *file, const bd_train_params *params, bd_error *error)
{
    description d;
    bd_status status = bd_checkpoint_check(path, file, error);
    if (status)
        return status;
    status = describe(params, &(bd_run_state){ 0 }, &d, error);
    for (int i = 0; i < MATCH_COUNT && !status; i++) {
        const char *found = bd_safetensors_metadata(file, match_keys[i]);
        if (d.match[i] && (!found || strcmp(found, d.match[i]) != 0))
            status = bd_fail(error, BD_ERROR_ARGUMENT, "%s: was saved with %s '%s', this run has '%s'", path,
                             match_keys[i], found ? found : "", d.match[i]);
    }
    free(d.vocabulary);
    return status;
}

bd_status bd_checkpoint_check_tensor(const char *path, const bd_safetensors *file, const char *name, bd_format format,
                                     const bd_shape *shape, const bd_safe_tensor **tensor, bd_error *error)
{
    char found[96], wanted[96];
    *tensor = bd_safetensors_find(file, name);
    if (!*tensor)
        return bd_fail(error, BD_ERROR_DATA, "%s: has no tensor '%s', which this model needs", path, name);
    if ((*tensor)->type != bd_safe_type_of(format) || !bd_shape_equal(&(*tensor)->shape, shape))
        return bd_fail(error, BD_ERROR_DATA, "%s: tensor '%s' is %s %s, this model needs %s %s", path, name,
                       bd_safe_type_name((*tensor)->type), bd_shape_text(&(*tensor)->shape, found, sizeof found),
                       bd_safe_type_name(bd_safe_type_of(format)), bd_shape_text(shape, wanted, sizeof wanted));
    return BD_OK;
}

static bd_status read_state(const char *path, const bd_safetensors *file, const bd_train_params *params,
                            bd_run_state *state, bd_error *error)
{
    const bd_safe_tensor *control;
    bd_status status =
        bd_checkpoint_check_tensor(path, file, "control", BD_U32, &BD_SHAPE(BD_CONTROL_BYTES / 4), &control, error);
    if (status)
        return status;
    memcpy(state->control, control->data, sizeof state->control);
    const char *seed = bd_safetensors_metadata(file, number_keys[SEED]);
    char *end = NULL;
    errno = 0;
    state->seed = seed ? strtoull(seed, &end, 10) : 0;
    if (!seed || !*seed || *end || errno)
        return bd_fail(error, BD_ERROR_DATA, "%s: seed '%s' is no whole number", path, seed ? seed : "");
    description d;
    status = describe(params, state, &d, error);
    for (int i = 0; i < NUMBER_COUNT && !status; i++) {
        const char *found = bd_safetensors_metadata(file, number_keys[i]);
        if (!found || strcmp(found, d.numbers[i]) != 0)
            status = bd_fail(error, BD_ERROR_DATA, "%s: says %s %s, its control block says %s", path, number_keys[i],
                             found ? found : "nothing", d.numbers[i]);
    }
    free(d.vocabulary);
    return status;
}

static bd_status load_pieces(const char *path, const bd_safetensors *file, const piece_list *list, bd_store *store,
                             bd_error *error)
{
    const bd_safe_tensor *tensor;
    bd_status status = BD_OK;
    for (size_t i = 0; i < list->count && !status; i++)
        status = bd_checkpoint_check_tensor(path, file, list->pieces[i].name, list->pieces[i].format,
                                            &list->pieces[i].shape, &tensor, error);
    if (!status && bd_safetensors_count(file) != list->count + 1)
        status = bd_fail(error, BD_ERROR_DATA, "%s: has %zu tensors, this model needs %zu", path,
                         bd_safetensors_count(file), list->count + 1);
    for (size_t i = 0; i < list->count && !status; i++) {
        const piece *p = &list->pieces[i];
        status = bd_store_write_part(store, p->variable, p->offset, bd_safetensors_find(file, p->name)->data, p->size,
                                     NULL, error);
    }
    return status;
}

bd_status bd_checkpoint_load(const char *path, bd_store *store, const bd_layout *layout, const bd_train_params *params,
                             bd_run_state *state, bd_error *error)
{
    bd_safetensors *file;
    bd_status status = bd_safetensors_read(path, &file, error);
    if (status)
        return status;
    piece_list list = { 0 };
    bd_run_state loaded;
    if (!(status = check_run(path, file, params, error)) &&
        !(status = read_state(path, file, params, &loaded, error)) &&
        !(status = list_pieces(&list, store, layout, &params->optimizer, error)) &&
        !(status = load_pieces(path, file, &list, store, error)))
        *state = loaded;
    free_pieces(&list);
    bd_safetensors_close(&file);
    return status;
}

/* ---- weights alone ---- */

static bool format_of_type(bd_safe_type type, bd_format *format)
{
    switch (type) {
    case BD_SAFE_F32: *format = BD_F32; return true;
    case BD_SAFE_F16: *format = BD_F16; return true;
    case BD_SAFE_BF16: *format = BD_BF16; return true;
    default: return false;
    }
}

/* The file's tensor `name`, or what it was rounded from if the file has that, rounded into a part of a variable;
 * nothing if the file has neither. `offset` is in elements. */
static bd_status take_values(const char *path, const bd_safetensors *file, const char *name, const bd_shape *shape,
                             bd_store *store, const bd_store_entry *entry, int64_t offset, bd_error *error)
{
    char *master = NULL, found[96], wanted[96];
    if (asprintf(&master, "master/%s", name) < 0)
        return bd_fail(error, BD_ERROR_MEMORY, "out of memory");
    const bd_safe_tensor *tensor = bd_safetensors_find(file, master);
    tensor = tensor ? tensor : bd_safetensors_find(file, name);
    free(master);
    bd_format format;
    if (!tensor)
        return BD_OK;
    if (!format_of_type(tensor->type, &format))
        return bd_fail(error, BD_ERROR_UNSUPPORTED, "%s: weights of '%s' are %s: F32, F16 or BF16 can be taken", path,
                       name, bd_safe_type_name(tensor->type));
    if (!bd_shape_equal(&tensor->shape, shape))
        return bd_fail(error, BD_ERROR_DATA, "%s: tensor '%s' is %s, this model needs %s", path, name,
                       bd_shape_text(&tensor->shape, found, sizeof found), bd_shape_text(shape, wanted, sizeof wanted));
    const size_t count = (size_t)bd_shape_elements(shape), size = bd_format_size(entry->format);
    double *values = malloc(count * sizeof *values + 1);
    void *storage = malloc(count * size + 1);
    bd_status status = values && storage ? BD_OK : bd_fail(error, BD_ERROR_MEMORY, "no memory for '%s'", name);
    if (!status) {
        bd_format_decode(format, tensor->data, values, count);
        bd_format_encode(entry->format, values, storage, count);
        status = bd_store_write_part(store, entry->name, (uint64_t)offset * size, storage, count * size, NULL, error);
    }
    free(values);
    free(storage);
    return status;
}

static bd_status take_parameter(const char *path, const bd_safetensors *file, bd_store *store, const bd_layout *layout,
                                const bd_parameter_slot *slot, bd_error *error)
{
    static const char *const vectors[] = { "weights", "master" };
    const int count = bd_layout_has_master(&layout->groups[slot->group]) ? 2 : 1;
    bd_status status = BD_OK;
    for (int i = 0; i < count && !status; i++) {
        char name[BD_LAYOUT_NAME];
        const bd_store_entry *entry;
        status = find_entry(store, bd_layout_vector_name(slot->group, vectors[i], name) + 1, &entry, error);
        if (!status)
            status = take_values(path, file, slot->name, &slot->shape, store, entry, slot->offset, error);
    }
    return status;
}

bd_status bd_checkpoint_take_weights(const char *path, bd_store *store, const bd_layout *layout,
                                     const bd_train_params *params, bd_error *error)
{
    bd_safetensors *file;
    bd_status status = bd_safetensors_read(path, &file, error);
    if (status)
        return status;
    const char *model = bd_safetensors_metadata(file, match_keys[MODEL]);
    if (!model || strcmp(model, params->model_name) != 0)
        status = bd_fail(error, BD_ERROR_ARGUMENT, "%s: has weights of the model '%s', this one is '%s'", path,
                         model ? model : "", params->model_name);
    for (int i = 0; i < layout->slot_count && !status; i++)
        status = take_parameter(path, file, store, layout, &layout->slots[i], error);
    for (size_t i = 0; i < bd_store_count(store) && !status; i++) {
        const bd_store_entry *entry = bd_store_at(store, i);
        if (entry->role == BD_ROLE_STATISTIC && !entry->is_part)
            status = take_values(path, file, entry->name, &entry->shape, store, entry, 0, error);
    }
    bd_safetensors_close(&file);
    return status;
}
