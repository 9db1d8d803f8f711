/* The multi-layer perceptron: linear layers with ReLU between them. */
#include "models.h"
#include <stdio.h>

bd_tensor model_mlp(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user)
{
    (void)training;
    const model *self = user;
    x = bd_flatten(graph, x);
    for (int i = 1; i < self->width_count; i++) {
        bool last = i == self->width_count - 1;
        char name[24];
        snprintf(name, sizeof(name), "linear%d", i);
        x = bd_linear(graph, x, last ? classes : self->widths[i], true, name);
        if (!last)
            x = bd_relu(graph, x);
    }
    return x;
}
