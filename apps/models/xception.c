/* Xception (Chollet, arXiv:1610.02357) as Keras builds it, without its top; before the last layer a hidden one of 1024,
 * which the study's parameter count shows (docs/models.md). */
#include "models.h"
#include <stdio.h>

static bd_tensor norm(bd_graph *graph, bd_tensor x, bool training, const char *name)
{
    return bd_batch_norm(graph, x, training, KERAS_MOMENTUM, KERAS_EPSILON, name);
}

/* A separable convolution, each channel by itself and then across channels, and its normalisation. */
static bd_tensor separable(bd_graph *graph, bd_tensor x, int64_t channels, bool training, int number)
{
    char name[24];
    snprintf(name, sizeof(name), "separable%d", number);
    bd_push_layer(graph, name);
    x = bd_depthwise_conv(graph, x, bd_same_window(graph, x, 3, 1), false, "depthwise");
    x = bd_conv(graph, x, channels, bd_valid_window(1, 1), false, "pointwise");
    x = norm(graph, x, training, "norm");
    bd_pop_layer(graph);
    return x;
}

/* Two separable convolutions and a pooling beside a strided projection. */
static bd_tensor shrink(bd_graph *graph, bd_tensor x, int64_t between, int64_t channels, bool activated, bool training)
{
    bd_tensor beside = bd_conv(graph, x, channels, bd_same_window(graph, x, 1, 2), false, "projection");
    beside = norm(graph, beside, training, "projection_norm");
    x = separable(graph, activated ? x : bd_relu(graph, x), between, training, 1);
    x = separable(graph, bd_relu(graph, x), channels, training, 2);
    x = bd_max_pool(graph, x, bd_same_window(graph, x, 3, 2));
    return bd_add(graph, x, beside);
}

static bd_tensor keep(bd_graph *graph, bd_tensor x, bool training)
{
    bd_tensor y = x;
    for (int i = 1; i <= 3; i++)
        y = separable(graph, bd_relu(graph, y), 728, training, i);
    return bd_add(graph, x, y);
}

bd_tensor model_xception(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user)
{
    (void)user;
    static const int64_t entry[] = { 128, 256, 728 };
    x = bd_conv(graph, x, 32, bd_valid_window(3, 2), false, "conv1");
    x = bd_relu(graph, norm(graph, x, training, "norm1"));
    x = bd_conv(graph, x, 64, bd_valid_window(3, 1), false, "conv2");
    x = bd_relu(graph, norm(graph, x, training, "norm2"));
    for (int block = 2; block <= 14; block++) {
        char name[24];
        snprintf(name, sizeof(name), "block%d", block);
        bd_push_layer(graph, name);
        if (block < 5) {
            x = shrink(graph, x, entry[block - 2], entry[block - 2], block == 2, training);
        } else if (block < 13) {
            x = keep(graph, x, training);
        } else if (block == 13) {
            x = shrink(graph, x, 728, 1024, false, training);
        } else {
            x = bd_relu(graph, separable(graph, x, 1536, training, 1));
            x = bd_relu(graph, separable(graph, x, 2048, training, 2));
        }
        bd_pop_layer(graph);
    }
    x = bd_relu(graph, bd_linear(graph, bd_global_avg_pool(graph, x), 1024, true, "linear1"));
    return bd_linear(graph, x, classes, true, "linear2");
}
