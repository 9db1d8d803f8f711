/* Language models as nanoGPT has them (Karpathy, github.com/karpathy/nanoGPT; Radford et al., "Language Models are
 * Unsupervised Multitask Learners", 2019): blocks that normalise before attention and before the feed-forward layers, a
 * learned vector for each token and for each place, and weights from a narrow normal. */
#include "models.h"
#include <math.h>
#include <stdio.h>

static const float EPSILON = 1e-5f, DEVIATION = 0.02f;

static bd_tensor linear(bd_graph *graph, bd_tensor x, int64_t units, float deviation, const char *name)
{
    const bd_layer_style before =
        bd_set_layer_style(graph, (bd_layer_style){ .init = BD_WEIGHTS_NORMAL, .deviation = deviation });
    x = bd_linear(graph, x, units, true, name);
    bd_set_layer_style(graph, before);
    return x;
}

static bd_tensor block(bd_graph *graph, bd_tensor x, const model *self, bool training)
{
    const gpt_size *size = &self->gpt;
    /* What is added to x, twice a block, begins so much smaller that their sum does not grow with the depth. */
    const float narrow = DEVIATION / sqrtf(2 * (float)self->depth);
    bd_tensor y = bd_layer_norm(graph, x, EPSILON, "norm1");
    y = bd_self_attention(graph, linear(graph, y, 3 * size->width, DEVIATION, "qkv"), size->heads, true, size->dropout,
                          training);
    y = linear(graph, y, size->width, narrow, "output");
    x = bd_add(graph, x, bd_dropout(graph, y, size->dropout, training));
    y = bd_layer_norm(graph, x, EPSILON, "norm2");
    y = bd_gelu(graph, linear(graph, y, 4 * size->width, DEVIATION, "linear1"));
    y = linear(graph, y, size->width, narrow, "linear2");
    return bd_add(graph, x, bd_dropout(graph, y, size->dropout, training));
}

/* x: the numbers of tokens, [n, context] or fewer of them. */
bd_tensor model_gpt(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user)
{
    const model *self = user;
    const gpt_size *size = &self->gpt;
    const bd_init normal = { BD_INIT_NORMAL, DEVIATION };
    const int64_t tokens = bd_tensor_shape(graph, x).dim[1];
    x = bd_gather(graph, bd_parameter(graph, "tokens", BD_SHAPE(classes, size->width), normal), x);
    bd_tensor places = bd_parameter(graph, "positions", BD_SHAPE(size->context, size->width), normal);
    x = bd_add_broadcast(graph, x, bd_slice(graph, places, 0, 0, tokens));
    x = bd_dropout(graph, x, size->dropout, training);
    for (int i = 0; i < self->depth; i++) {
        char name[24];
        snprintf(name, sizeof(name), "block%d", i + 1);
        bd_push_layer(graph, name);
        x = block(graph, x, self, training);
        bd_pop_layer(graph);
    }
    return linear(graph, bd_layer_norm(graph, x, EPSILON, "norm"), classes, DEVIATION, "head");
}
