#include "policy.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* No policy is as large; a file that is was meant for something else. */
enum { MOST_BYTES = 1 << 20 };

/* The same policy in the grammar of texts; malloc'ed. */
static bd_status policy_text(const char *path, const json_t *root, char **text, bd_error *error)
{
    json_error_t reason;
    const char *policy, *layer;
    json_t *layers = NULL, *note = NULL, *settings;
    if (json_unpack_ex((json_t *)root, &reason, JSON_STRICT, "{s:s, s?o, s?o}", "policy", &policy, "layers", &layers,
                       "note", &note))
        return bd_fail(error, BD_ERROR_DATA, "%s: %s; a policy file has \"policy\", \"layers\" and \"note\"", path,
                       reason.text);
    if (layers && !json_is_object(layers))
        return bd_fail(error, BD_ERROR_DATA, "%s: \"layers\" must be an object of layers and their settings", path);
    if (strchr(policy, ';'))
        return bd_fail(error, BD_ERROR_DATA, "%s: a ';' in \"policy\"; layers belong under \"layers\"", path);
    size_t size;
    FILE *file = open_memstream(text, &size);
    if (!file)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for the policy of %s", path);
    fputs(policy, file);
    bd_status status = BD_OK;
    json_object_foreach(layers, layer, settings)
    {
        const char *of_layer = json_string_value(settings);
        if (!of_layer || strchr(of_layer, ';') || !*layer || layer[strcspn(layer, ":=,;")])
            status = bd_fail(error, BD_ERROR_DATA,
                             "%s: \"layers\": \"%.80s\" must be a layer's name, with settings such as "
                             "\"w=f32,a=f32\"",
                             path, layer);
        if (status)
            break;
        fprintf(file, ";%s:%s", layer, of_layer);
    }
    if (fclose(file) && !status)
        status = bd_fail(error, BD_ERROR_MEMORY, "no memory for the policy of %s", path);
    return status;
}

bd_status policy_parse_json(const char *source, const json_t *document, bd_precision *precision, bd_error *error)
{
    char *text = NULL;
    bd_error inner = { 0 };
    bd_status status = policy_text(source, document, &text, error);
    if (!status && (status = bd_precision_parse(text, precision, &inner)))
        bd_fail(error, status, "%s: %s", source, inner.message);
    free(text);
    return status;
}

static bd_status parse_file(const char *path, bd_precision *precision, bd_error *error)
{
    struct stat there;
    if (!stat(path, &there) && (S_ISDIR(there.st_mode) || there.st_size > MOST_BYTES))
        return bd_fail(error, BD_ERROR_DATA, "%s: %s; a policy file is needed", path,
                       S_ISDIR(there.st_mode) ? "a folder" : "larger than 1 MiB");
    json_error_t reason;
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &reason);
    if (!root && json_error_code(&reason) == json_error_cannot_open_file)
        return bd_fail(error, BD_ERROR_FILE, "%s", reason.text);
    if (!root)
        return bd_fail(error, BD_ERROR_DATA, "%s, line %d: not JSON: %s", path, reason.line, reason.text);
    bd_status status = policy_parse_json(path, root, precision, error);
    json_decref(root);
    return status;
}

bd_status policy_parse(const char *text, bd_precision *precision, bd_error *error)
{
    if (!strcmp(text, "auto"))
        return bd_fail(
            error, BD_ERROR_ARGUMENT,
            "--precision auto is for `binade train`, which writes what it chose to DIR/policy.json: give that here, "
            "as @DIR/policy.json");
    return text[0] == '@' ? parse_file(text + 1, precision, error) : bd_precision_parse(text, precision, error);
}
