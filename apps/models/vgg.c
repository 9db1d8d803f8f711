/* VGG (Simonyan and Zisserman, arXiv:1409.1556) for images of 32x32: five stages of 3x3 convolutions, then three linear
 * layers. */
#include "models.h"
#include <stdio.h>

static bd_tensor hidden(bd_graph *graph, bd_tensor x, bool training, const char *name)
{
    return bd_dropout(graph, bd_relu(graph, bd_linear(graph, x, 4096, true, name)), 0.5f, training);
}

bd_tensor model_vgg(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user)
{
    const model *self = user;
    const int last_stages = self->depth == 19 ? 4 : 3; /* convolutions of each of the last three stages */
    const int convolutions[] = { 2, 2, last_stages, last_stages, last_stages };
    static const int64_t channels[] = { 64, 128, 256, 512, 512 };
    for (int stage = 0; stage < 5; stage++) {
        for (int i = 0; i < convolutions[stage]; i++) {
            char name[24];
            snprintf(name, sizeof(name), "conv%d_%d", stage + 1, i + 1);
            x = bd_relu(graph, bd_conv(graph, x, channels[stage], bd_same_window(graph, x, 3, 1), true, name));
        }
        x = bd_max_pool(graph, x, bd_valid_window(2, 2));
    }
    x = hidden(graph, bd_flatten(graph, x), training, "linear1");
    x = hidden(graph, x, training, "linear2");
    return bd_linear(graph, x, classes, true, "linear3");
}
