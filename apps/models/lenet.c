/* LeNet-5 (LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, 1998) as it is
 * built today: ReLU for the squashing function and max pooling for the trainable average. */
#include "models.h"

static bd_tensor conv_block(bd_graph *graph, bd_tensor x, int64_t channels, int64_t pad, const char *name)
{
    const bd_window kernel = { .size = { 5, 5 }, .stride = { 1, 1 }, .pad = { { pad, pad }, { pad, pad } } };
    const bd_window halves = { .size = { 2, 2 }, .stride = { 2, 2 } };
    return bd_max_pool(graph, bd_relu(graph, bd_conv(graph, x, channels, kernel, true, name)), halves);
}

bd_tensor model_lenet(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user)
{
    (void)training, (void)user;
    /* The network is made for 32x32; the border around 28x28 images is the padding. */
    int64_t pad = bd_tensor_shape(graph, x).dim[1] == 28 ? 2 : 0;
    x = conv_block(graph, x, 6, pad, "conv1");
    x = conv_block(graph, x, 16, 0, "conv2");
    x = bd_flatten(graph, x);
    x = bd_relu(graph, bd_linear(graph, x, 120, true, "linear1"));
    x = bd_relu(graph, bd_linear(graph, x, 84, true, "linear2"));
    return bd_linear(graph, x, classes, true, "linear3");
}
