/* Vision transformers (Dosovitskiy et al., arXiv:2010.11929) as the study builds them for small images: patches of 6x6,
 * width 64, four heads of 64, normalisation after each addition, and a head of three linear layers over all tokens. */
#include "models.h"
#include <stdio.h>

enum { PATCH = 6, WIDTH = 64, HEADS = 4, KEY = 64, FEED_FORWARD = 512, HEAD = 512 };
static const float EPSILON = 1e-6f, DROPOUT = 0.1f, HEAD_DROPOUT = 0.5f;

/* [n, h, w, c] -> [n, patches, 6 * 6 * c]; what is left over at the right and the bottom goes. */
static bd_tensor cut_patches(bd_graph *graph, bd_tensor x)
{
    const bd_shape shape = bd_tensor_shape(graph, x);
    const int64_t rows = shape.dim[1] / PATCH, columns = shape.dim[2] / PATCH, channels = shape.dim[3];
    x = bd_slice(graph, bd_slice(graph, x, 1, 0, rows * PATCH), 2, 0, columns * PATCH);
    x = bd_reshape(graph, x, BD_SHAPE(shape.dim[0], rows, PATCH, columns, PATCH, channels));
    x = bd_permute(graph, x, (int[]){ 0, 1, 3, 2, 4, 5 });
    return bd_reshape(graph, x, BD_SHAPE(shape.dim[0], rows * columns, PATCH * PATCH * channels));
}

static bd_tensor block(bd_graph *graph, bd_tensor x, bool training)
{
    bd_tensor y = bd_attention(graph, x, HEADS, KEY, false, 0, training, "attention");
    x = bd_layer_norm(graph, bd_add(graph, x, bd_dropout(graph, y, DROPOUT, training)), EPSILON, "norm1");
    y = bd_gelu(graph, bd_linear(graph, x, FEED_FORWARD, true, "linear1"));
    y = bd_linear(graph, y, WIDTH, true, "linear2");
    return bd_layer_norm(graph, bd_add(graph, x, bd_dropout(graph, y, DROPOUT, training)), EPSILON, "norm2");
}

bd_tensor model_vit(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user)
{
    const model *self = user;
    x = bd_linear(graph, cut_patches(graph, x), WIDTH, true, "patches");
    const bd_shape tokens = bd_tensor_shape(graph, x);
    /* Keras's Embedding begins within 0.05. */
    bd_tensor positions =
        bd_parameter(graph, "positions", BD_SHAPE(tokens.dim[1], WIDTH), (bd_init){ BD_INIT_UNIFORM, 0.05f });
    x = bd_add(graph, x, bd_broadcast(graph, positions, tokens));
    for (int i = 0; i < self->depth; i++) {
        char name[24];
        snprintf(name, sizeof(name), "block%d", i + 1);
        bd_push_layer(graph, name);
        x = block(graph, x, training);
        bd_pop_layer(graph);
    }
    x = bd_flatten(graph, bd_layer_norm(graph, x, EPSILON, "norm"));
    x = bd_dropout(graph, x, HEAD_DROPOUT, training);
    x = bd_gelu(graph, bd_linear(graph, x, HEAD, true, "head1"));
    x = bd_gelu(graph, bd_linear(graph, x, HEAD, true, "head2"));
    return bd_linear(graph, x, classes, true, "head3");
}
