/* The model zoo: finds a model's function by a name such as "lenet" or "mlp:784-512-512-10". */
#ifndef BINADE_APPS_MODELS_H
#define BINADE_APPS_MODELS_H

#include <binade/data.h>
#include <binade/train.h>

#define MODEL_MAX_WIDTHS 32

typedef struct model {
    char name[256]; /* complete: "mlp:784-512-512-10" also where "mlp" was asked for */
    bd_model_function function;
    /* "mlp": pixels, hidden layers, classes; `function` gets a pointer to this struct as `user` */
    int width_count;
    int64_t widths[MODEL_MAX_WIDTHS];
} model;

/* Parses a name; BD_ERROR_ARGUMENT lists what there is. */
bd_status model_parse(const char *text, model *result, bd_error *error);

/* Completes the model for a data set, or says why the two do not go together. */
bd_status model_fit(model *result, const bd_dataset *dataset, bd_error *error);

/* One line a model, for help texts. */
#define MODEL_HELP                                                                                                     \
    "Models:\n"                                                                                                        \
    "  mlp                  fully connected, two hidden layers of 512, ReLU\n"                                         \
    "  mlp:784-300-100-10   fully connected with these widths: pixels, hidden layers, classes\n"                       \
    "  lenet                LeNet-5 with ReLU and max pooling, for images of 28x28 or 32x32\n"

bd_tensor model_mlp(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user);
bd_tensor model_lenet(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user);

#endif
