/* DenseNets (Huang et al., arXiv:1608.06993) as Keras builds them, without its top: growth 32, bottlenecks of 128
 * channels, half of the channels after each transition. */
#include "models.h"
#include <stdio.h>

enum { GROWTH = 32, BOTTLENECK = 4 * GROWTH };

static bd_tensor norm(bd_graph *graph, bd_tensor x, bool training, const char *name)
{
    return bd_relu(graph, bd_batch_norm(graph, x, training, KERAS_MOMENTUM, 1.001e-5f, name));
}

static bd_tensor grow(bd_graph *graph, bd_tensor x, bool training)
{
    bd_tensor y = norm(graph, x, training, "norm1");
    y = bd_conv(graph, y, BOTTLENECK, bd_valid_window(1, 1), false, "conv1");
    y = norm(graph, y, training, "norm2");
    y = bd_conv(graph, y, GROWTH, bd_same_window(graph, y, 3, 1), false, "conv2");
    return bd_concat(graph, (bd_tensor[]){ x, y }, 2, 3);
}

static bd_tensor transition(bd_graph *graph, bd_tensor x, bool training)
{
    const int64_t channels = bd_tensor_shape(graph, x).dim[3];
    x = norm(graph, x, training, "norm");
    x = bd_conv(graph, x, channels / 2, bd_valid_window(1, 1), false, "conv");
    return bd_avg_pool(graph, x, bd_valid_window(2, 2));
}

bd_tensor model_densenet(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user)
{
    const model *self = user;
    const int layers[] = { 6, 12, self->depth == 169 ? 32 : 24, self->depth == 169 ? 32 : 16 };
    const bd_window first = { { 7, 7 }, { 2, 2 }, { { 3, 3 }, { 3, 3 } } },
                    pool = { { 3, 3 }, { 2, 2 }, { { 1, 1 }, { 1, 1 } } };
    x = norm(graph, bd_conv(graph, x, 64, first, false, "conv"), training, "norm1");
    x = bd_max_pool(graph, x, pool);
    for (int block = 0; block < 4; block++) {
        char name[32];
        for (int i = 0; i < layers[block]; i++) {
            snprintf(name, sizeof(name), "block%d/layer%d", block + 1, i + 1);
            bd_push_layer(graph, name);
            x = grow(graph, x, training);
            bd_pop_layer(graph);
        }
        if (block == 3)
            break;
        snprintf(name, sizeof(name), "transition%d", block + 1);
        bd_push_layer(graph, name);
        x = transition(graph, x, training);
        bd_pop_layer(graph);
    }
    x = bd_global_avg_pool(graph, norm(graph, x, training, "norm2"));
    return bd_linear(graph, x, classes, true, "linear");
}
