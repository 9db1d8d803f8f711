/* ResNets for small images (He et al., arXiv:1512.03385, section 4.2) of pre-activation units (arXiv:1603.05027), as
 * the study has them: three stages of (depth - 2) / 6 units at 16, 32 and 64 channels, convolutions with biases. */
#include "models.h"
#include <stdio.h>

static bd_tensor norm(bd_graph *graph, bd_tensor x, bool training, const char *name)
{
    return bd_relu(graph, bd_batch_norm(graph, x, training, KERAS_MOMENTUM, KERAS_EPSILON, name));
}

static bd_tensor unit(bd_graph *graph, bd_tensor x, int64_t channels, int64_t stride, bool training)
{
    const bool changes = stride != 1 || bd_tensor_shape(graph, x).dim[3] != channels;
    bd_tensor h = norm(graph, x, training, "norm1");
    bd_tensor y = bd_conv(graph, h, channels, bd_same_window(graph, h, 3, stride), true, "conv1");
    y = norm(graph, y, training, "norm2");
    y = bd_conv(graph, y, channels, bd_same_window(graph, y, 3, 1), true, "conv2");
    if (changes)
        x = bd_conv(graph, h, channels, bd_same_window(graph, h, 1, stride), true, "projection");
    return bd_add(graph, x, y);
}

bd_tensor model_resnet(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user)
{
    const model *self = user;
    const int units = (self->depth - 2) / 6;
    /* Keras's example and the study: he_normal, and L2 of 1e-4 on convolutions. */
    bd_layer_style before = bd_set_layer_style(graph, (bd_layer_style){ .init = BD_WEIGHTS_HE, .l2 = 1e-4f });
    x = bd_conv(graph, x, 16, bd_same_window(graph, x, 3, 1), true, "conv");
    for (int stage = 0; stage < 3; stage++)
        for (int i = 0; i < units; i++) {
            char name[32];
            snprintf(name, sizeof(name), "stage%d/unit%d", stage + 1, i + 1);
            bd_push_layer(graph, name);
            x = unit(graph, x, (int64_t)16 << stage, stage > 0 && i == 0 ? 2 : 1, training);
            bd_pop_layer(graph);
        }
    x = bd_global_avg_pool(graph, norm(graph, x, training, "norm"));
    bd_set_layer_style(graph, (bd_layer_style){ .init = BD_WEIGHTS_HE, .l2 = 0 });
    x = bd_linear(graph, x, classes, true, "linear");
    bd_set_layer_style(graph, before);
    return x;
}
