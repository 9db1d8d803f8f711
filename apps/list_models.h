/* binade train --list-models. */
#ifndef BINADE_APPS_LIST_MODELS_H
#define BINADE_APPS_LIST_MODELS_H

#include <binade/status.h>
#include <stdbool.h>

/* Prints the models with what they take, for images of 32x32x3 and ten classes: a table, or one JSON document. */
bd_status list_models(bool json, bd_error *error);

#endif
