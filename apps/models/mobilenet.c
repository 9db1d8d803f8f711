/* What the study calls MobileNetV2: as coded it has the separable convolutions of the first MobileNet (Howard et al.,
 * arXiv:1704.04861) and no inverted residuals. */
#include "models.h"
#include <stdio.h>

static bd_tensor norm(bd_graph *graph, bd_tensor x, bool training, const char *name)
{
    return bd_relu(graph, bd_batch_norm(graph, x, training, KERAS_MOMENTUM, KERAS_EPSILON, name));
}

bd_tensor model_mobilenet(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user)
{
    (void)user;
    static const struct {
        int64_t channels, stride;
    } blocks[] = { { 64, 1 },  { 128, 2 }, { 128, 1 }, { 256, 2 }, { 256, 1 },  { 512, 2 }, { 512, 1 },
                   { 512, 1 }, { 512, 1 }, { 512, 1 }, { 512, 1 }, { 1024, 2 }, { 1024, 1 } };
    x = bd_conv(graph, x, 32, bd_same_window(graph, x, 3, 1), true, "conv");
    x = norm(graph, x, training, "norm");
    for (size_t i = 0; i < sizeof(blocks) / sizeof(*blocks); i++) {
        char name[24];
        snprintf(name, sizeof(name), "block%d", (int)i + 1);
        bd_push_layer(graph, name);
        x = bd_depthwise_conv(graph, x, bd_same_window(graph, x, 3, blocks[i].stride), true, "depthwise");
        x = norm(graph, x, training, "norm1");
        x = bd_conv(graph, x, blocks[i].channels, bd_valid_window(1, 1), true, "pointwise");
        x = norm(graph, x, training, "norm2");
        bd_pop_layer(graph);
    }
    return bd_linear(graph, bd_global_avg_pool(graph, x), classes, true, "linear");
}
