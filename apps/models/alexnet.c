/* AlexNet (Krizhevsky, Sutskever, Hinton: ImageNet classification with deep convolutional neural networks, 2012) as the
 * study of pure FP16 cuts it down for images of 32x32 (arXiv:2305.10947). */
#include "models.h"

static bd_tensor conv(bd_graph *graph, bd_tensor x, int64_t channels, int64_t stride, const char *name)
{
    return bd_relu(graph, bd_conv(graph, x, channels, bd_same_window(graph, x, 3, stride), true, name));
}

static bd_tensor hidden(bd_graph *graph, bd_tensor x, bool training, const char *name)
{
    return bd_dropout(graph, bd_tanh(graph, bd_linear(graph, x, 4096, true, name)), 0.5f, training);
}

bd_tensor model_alexnet(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user)
{
    (void)user;
    x = conv(graph, x, 64, 2, "conv1");
    x = bd_max_pool(graph, x, bd_valid_window(2, 2));
    x = conv(graph, x, 96, 1, "conv2");
    x = bd_max_pool(graph, x, bd_valid_window(3, 2));
    x = conv(graph, x, 256, 1, "conv3");
    x = conv(graph, x, 256, 1, "conv4");
    x = conv(graph, x, 512, 1, "conv5");
    x = bd_max_pool(graph, x, bd_valid_window(3, 2));
    x = hidden(graph, bd_flatten(graph, x), training, "linear1");
    x = hidden(graph, x, training, "linear2");
    return bd_linear(graph, x, classes, true, "linear3");
}
