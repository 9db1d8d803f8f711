/* Precision policies as the command line gives them: a text, or a file of JSON. */
#ifndef BINADE_APPS_POLICY_H
#define BINADE_APPS_POLICY_H

#include <binade/binade.h>
#include <jansson.h>

/* Parses "fp16,scale=1024;fc1:w=f32" (bd_precision_parse) or "@FILE", a policy file:
 *     { "policy": "fp16,scale=1024", "layers": { "fc1": "w=f32" }, "note": anything }
 * Only "policy" is required; "note" is for people. Errors name the file and what is wrong there. */
bd_status policy_parse(const char *text, bd_precision *precision, bd_error *error);

/* The same of a document that is read already; `source` is for messages. */
bd_status policy_parse_json(const char *source, const json_t *document, bd_precision *precision, bd_error *error);

#endif
