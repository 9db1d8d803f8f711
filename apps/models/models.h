/* The model zoo: finds a model's function by a name such as "lenet" or "mlp:784-512-512-10". */
#ifndef BINADE_APPS_MODELS_H
#define BINADE_APPS_MODELS_H

#include <binade/data.h>
#include <binade/train.h>

#define MODEL_MAX_WIDTHS 32

/* Keras's defaults for batch normalisation, which the study uses. */
#define KERAS_MOMENTUM 0.99f
#define KERAS_EPSILON 1e-3f

/* Of the language models; `depth` is their blocks. */
typedef struct gpt_size {
    int64_t context, width, heads; /* a context of 0: the model takes images */
    float dropout;
    int64_t batch, steps; /* what nanoGPT trains it with */
} gpt_size;

typedef struct model {
    char name[256]; /* complete: "mlp:784-512-512-10" also where "mlp" was asked for */
    bd_model_function function;
    int depth; /* of the families that have several: resnet20 is 20 */
    gpt_size gpt;
    /* "mlp": pixels, hidden layers, classes; `function` gets a pointer to this struct as `user` */
    int width_count;
    int64_t widths[MODEL_MAX_WIDTHS];
} model;

/* Parses a name; BD_ERROR_ARGUMENT lists what there is. */
bd_status model_parse(const char *text, model *result, bd_error *error);

/* Whether that is the name, or the first of several joined by ',', of a language model; its size goes to `size`. */
bool model_is_gpt(const char *text, gpt_size *size);

/* Completes the model for a data set, or says why the two do not go together. */
bd_status model_fit(model *result, const bd_dataset *dataset, bd_error *error);

/* The models that have a name of their own, in the order of a list: name i and what it is, or NULL after the last. */
const char *model_name(int i);
const char *model_about(int i);

/* One line a model, for help texts. */
#define MODEL_HELP                                                                                                     \
    "Models:\n"                                                                                                        \
    "  mlp                  fully connected, two hidden layers of 512, ReLU\n"                                         \
    "  mlp:784-300-100-10   fully connected with these widths: pixels, hidden layers, classes\n"                       \
    "  lenet                LeNet-5 with ReLU and max pooling, for images of 28x28 or 32x32\n"                         \
    "  alexnet, vgg16, vgg19, resnet20, resnet32, resnet44, resnet56, resnet110, densenet121,\n"                       \
    "  densenet169, xception, mobilenetv2, vit8, vit12, vit16: the study's, for images of 32x32;\n"                    \
    "  gpt-nano, gpt-mini   language models, for a text file\n"                                                        \
    "  --list-models of train says how large they are\n"

bd_tensor model_mlp(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user);
bd_tensor model_lenet(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user);
bd_tensor model_alexnet(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user);
bd_tensor model_vgg(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user);
bd_tensor model_resnet(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user);
bd_tensor model_densenet(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user);
bd_tensor model_xception(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user);
bd_tensor model_mobilenet(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user);
bd_tensor model_gpt(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user);
bd_tensor model_vit(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user);

#endif
