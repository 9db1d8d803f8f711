/* The graph: a model and its training step as static single assignment over primitive operations.
 *
 * A graph is built once by plain function calls, each of which appends nodes and returns a tensor. Shapes are static,
 * images are NHWC, convolution weights HWIO (kernel height, kernel width, channels in, channels out), matrices row
 * major. Errors are sticky: after a failed call every later one returns BD_NONE and does nothing, and
 * bd_graph_status() tells the first error; so model code needs no check a line. A graph is not thread safe. */
#ifndef BINADE_GRAPH_H
#define BINADE_GRAPH_H

#include <binade/format.h>
#include <binade/precision.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BD_MAX_RANK 6

typedef struct bd_graph bd_graph;

/* A node's result. BD_NONE is "no tensor". */
typedef int32_t bd_tensor;
#define BD_NONE ((bd_tensor)-1)

typedef struct bd_shape {
    int rank; /* 0 is a scalar */
    int64_t dim[BD_MAX_RANK];
} bd_shape;

/* BD_SHAPE(256, 28, 28, 1) */
#define BD_SHAPE(...) ((bd_shape){ (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), { __VA_ARGS__ } })

/* Elements of a shape; 1 for a scalar, 0 if a dimension is 0, -1 on overflow or a negative dimension. */
BD_API int64_t bd_shape_elements(const bd_shape *shape);

BD_API bd_status bd_graph_create(bd_graph **graph, bd_error *error);
BD_API void bd_graph_destroy(bd_graph **graph);
/* BD_OK or the first error, whose message goes to `error`. */
BD_API bd_status bd_graph_status(const bd_graph *graph, bd_error *error);

BD_API bd_shape bd_tensor_shape(const bd_graph *graph, bd_tensor tensor);

/* Layer names are paths ("block1/conv"): push and pop bracket the nodes that belong to a layer. Overrides and messages
 * use these names. */
BD_API void bd_push_layer(bd_graph *graph, const char *name);
BD_API void bd_pop_layer(bd_graph *graph);

/* The role given to nodes appended from now on (BD_ROLE_ACTIVATION at first); returns the previous one. */
BD_API bd_role bd_set_role(bd_graph *graph, bd_role role);

/* ---- sources ---- */

/* How a variable starts. `bound` is the half-width of UNIFORM, the deviation of NORMAL, the value of CONSTANT;
 * TRUNCATED_NORMAL is NORMAL drawn again while beyond two deviations. */
typedef enum bd_init_kind { BD_INIT_CONSTANT, BD_INIT_UNIFORM, BD_INIT_NORMAL, BD_INIT_TRUNCATED_NORMAL } bd_init_kind;
typedef struct bd_init {
    bd_init_kind kind;
    float bound;
} bd_init;

/* Persistent device memory with a unique name (the layer path is put in front, joined by '/'; a name that begins with
 * '/' is taken as it is, without the slash). The policy chooses the format from `role`; with BD_ROLE_FIXED it is
 * `format`. A variable named twice is the same variable: shapes must agree. */
BD_API bd_tensor bd_variable(bd_graph *graph, const char *name, bd_role role, bd_format format, bd_shape shape,
                             bd_init init);
/* A weight: a variable that training updates (role BD_ROLE_WEIGHT, format by policy). */
BD_API bd_tensor bd_parameter(bd_graph *graph, const char *name, bd_shape shape, bd_init init);
/* The same number everywhere. */
BD_API bd_tensor bd_constant(bd_graph *graph, bd_shape shape, double value);
/* 0, 1, 2, ... along `axis`. */
BD_API bd_tensor bd_iota(bd_graph *graph, bd_shape shape, int axis);
/* Uniform numbers in [0, 1): Philox4x32-10 (Salmon et al., SC 2011) of (seed, step, a number of this node, element /
 * 4), the word element % 4, so the same on every device and in every format wide enough for 24 bits. */
BD_API bd_tensor bd_random(bd_graph *graph, bd_shape shape);

/* ---- elementwise; shapes must be equal (broadcast first, or use the layers below) ---- */
BD_API bd_tensor bd_cast(bd_graph *graph, bd_tensor x, bd_role role); /* x rounded to another role's format */
BD_API bd_tensor bd_neg(bd_graph *graph, bd_tensor x);
BD_API bd_tensor bd_abs(bd_graph *graph, bd_tensor x);
BD_API bd_tensor bd_sign(bd_graph *graph, bd_tensor x); /* -1, 0, 1; NaN stays */
BD_API bd_tensor bd_floor(bd_graph *graph, bd_tensor x);
BD_API bd_tensor bd_sqrt(bd_graph *graph, bd_tensor x);
BD_API bd_tensor bd_exp(bd_graph *graph, bd_tensor x);
BD_API bd_tensor bd_log(bd_graph *graph, bd_tensor x);
BD_API bd_tensor bd_tanh(bd_graph *graph, bd_tensor x);
BD_API bd_tensor bd_sigmoid(bd_graph *graph, bd_tensor x);
BD_API bd_tensor bd_erf(bd_graph *graph, bd_tensor x);
BD_API bd_tensor bd_gelu(bd_graph *graph, bd_tensor x); /* x/2 (1 + erf(x / sqrt 2)): Hendrycks, arXiv:1606.08415 */
BD_API bd_tensor bd_gelu_slope(bd_graph *graph, bd_tensor x); /* the derivative of bd_gelu; has none itself */
BD_API bd_tensor bd_relu(bd_graph *graph, bd_tensor x);       /* x < 0 ? 0 : x, so NaN stays */
BD_API bd_tensor bd_nonfinite(bd_graph *graph, bd_tensor x);  /* 1 where x is NaN or infinite, else 0 */
BD_API bd_tensor bd_add(bd_graph *graph, bd_tensor a, bd_tensor b);
BD_API bd_tensor bd_sub(bd_graph *graph, bd_tensor a, bd_tensor b);
BD_API bd_tensor bd_mul(bd_graph *graph, bd_tensor a, bd_tensor b);
BD_API bd_tensor bd_div(bd_graph *graph, bd_tensor a, bd_tensor b);
BD_API bd_tensor bd_max(bd_graph *graph, bd_tensor a, bd_tensor b); /* NaN if either is */
BD_API bd_tensor bd_min(bd_graph *graph, bd_tensor a, bd_tensor b); /* NaN if either is */
BD_API bd_tensor bd_pow(bd_graph *graph, bd_tensor a, bd_tensor b);
BD_API bd_tensor bd_less(bd_graph *graph, bd_tensor a, bd_tensor b);                        /* 1 where a < b, else 0 */
BD_API bd_tensor bd_equal(bd_graph *graph, bd_tensor a, bd_tensor b);                       /* 1 where a == b, else 0 */
BD_API bd_tensor bd_select(bd_graph *graph, bd_tensor condition, bd_tensor a, bd_tensor b); /* condition != 0 ? a : b */

/* ---- movement ---- */
/* Dimensions align from the right; each of x's is equal to the shape's, or 1. */
BD_API bd_tensor bd_broadcast(bd_graph *graph, bd_tensor x, bd_shape shape);
BD_API bd_tensor bd_reshape(bd_graph *graph, bd_tensor x, bd_shape shape);
BD_API bd_tensor bd_permute(bd_graph *graph, bd_tensor x, const int *axes); /* result dim i is x's dim axes[i] */
BD_API bd_tensor bd_slice(bd_graph *graph, bd_tensor x, int axis, int64_t first, int64_t count);
BD_API bd_tensor bd_pad(bd_graph *graph, bd_tensor x, int axis, int64_t before, int64_t after); /* with zeros */
BD_API bd_tensor bd_concat(bd_graph *graph, const bd_tensor *parts, int count, int axis);
/* table [rows, d...], index [n...] -> [n..., d...]; an index out of range is clamped. */
BD_API bd_tensor bd_gather(bd_graph *graph, bd_tensor table, bd_tensor index);
/* The gradient of gather: values [n..., d...], index [n...] -> [rows, d...]; rows named twice add up, in index
 * order. */
BD_API bd_tensor bd_scatter_add(bd_graph *graph, bd_tensor values, bd_tensor index, int64_t rows);

/* ---- reductions over `count` adjacent axes from `first`; the axes become 1 if `keep`, else they go ---- */
BD_API bd_tensor bd_sum(bd_graph *graph, bd_tensor x, int first, int count, bool keep);
BD_API bd_tensor bd_maximum(bd_graph *graph, bd_tensor x, int first, int count, bool keep); /* NaN if any is */
/* Mean, and sum of squared deviations from it (n times the variance), together one pass over x: summed in F32 from a
 * value of x, so that nothing cancels where the mean is far from 0, and nothing overflows (shifted data: Chan, Golub
 * and LeVeque, "Algorithms for Computing the Sample Variance", The American Statistician 37, 1983). Of no elements both
 * are 0. */
BD_API bd_tensor bd_mean(bd_graph *graph, bd_tensor x, int first, int count, bool keep);
BD_API bd_tensor bd_deviations(bd_graph *graph, bd_tensor x, int first, int count, bool keep);
/* The index of the first largest, as a value; the axis goes. */
BD_API bd_tensor bd_argmax(bd_graph *graph, bd_tensor x, int axis);

/* ---- contractions ---- */
/* a [batch..., m, k], b [batch..., k, n] -> [batch..., m, n]; transposed operands are stored [k, m] and [n, k]. */
BD_API bd_tensor bd_matmul(bd_graph *graph, bd_tensor a, bd_tensor b, bool transpose_a, bool transpose_b);

/* Self-attention (Vaswani et al., arXiv:1706.03762): qkv [n, tokens, 3 * heads * key], of each token the queries of all
 * heads, then keys, then values, gives softmax(q k' / sqrt(key)) v of each head as [n, tokens, heads * key]. Causal: a
 * token sees none behind it. One operation and one rounding: sums of products are made in the accumulators' format, all
 * else between in F32; but matrix units multiply the weights, and backward the gradients of the scores, rounded to
 * their operands' 16-bit format. On GPUs the scores are stored nowhere (FlashAttention: Dao et al., arXiv:2205.14135;
 * Dao, arXiv:2307.08691).
 *
 * With `training` and a rate above 0 (at least 0, below 1; else BD_ERROR_ARGUMENT) each weight of softmax is dropped
 * with that probability, and what is left counts 1 / (1 - rate) times: dropout of attention as in nanoGPT and PyTorch's
 * scaled_dot_product_attention. The factor goes to the sums of products in F32, behind the rounding of weights to a
 * matrix unit's operands. Which are dropped follows from seed, step, sequence, head, query and key as for bd_dropout,
 * by random numbers that are drawn once more backward rather than stored: the same in every format and on every device.
 * At most 2^32 weights, with tokens rounded up to sixteens. Without, nothing is drawn, and the kernels are those of no
 * dropout. */
BD_API bd_tensor bd_self_attention(bd_graph *graph, bd_tensor qkv, int64_t heads, bool causal, float rate,
                                   bool training);

typedef struct bd_window { /* of a convolution or a pooling; height first */
    int64_t size[2], stride[2], pad[2][2] /* [axis][before, after] */;
} bd_window;

/* x [n, h, w, ci], weight [kh, kw, ci, co] -> [n, oh, ow, co], oh = (h + pads - kh) / stride + 1. window.size is taken
 * from the weight. With a weight [kh, kw, ci / g, co] the channels convolve in g groups, each with co / g results: 64
 * groups at most, or ci of them with ci results (bd_depthwise). */
BD_API bd_tensor bd_conv2d(bd_graph *graph, bd_tensor x, bd_tensor weight, bd_window window);
/* Its gradients: for x (of shape `shape`) from dy and weight; for the weight (of shape `shape`) from x and dy. */
BD_API bd_tensor bd_conv2d_data(bd_graph *graph, bd_tensor dy, bd_tensor weight, bd_window window, bd_shape shape);
BD_API bd_tensor bd_conv2d_weight(bd_graph *graph, bd_tensor x, bd_tensor dy, bd_window window, bd_shape shape);

/* Each channel by itself: x [n, h, w, c], weight [kh, kw, 1, c] -> [n, oh, ow, c]; and its gradients, as above. The
 * weight's is summed in parts, always the same ones, and has no gradient itself. */
BD_API bd_tensor bd_depthwise(bd_graph *graph, bd_tensor x, bd_tensor weight, bd_window window);
BD_API bd_tensor bd_depthwise_data(bd_graph *graph, bd_tensor dy, bd_tensor weight, bd_window window, bd_shape shape);
BD_API bd_tensor bd_depthwise_weight(bd_graph *graph, bd_tensor x, bd_tensor dy, bd_window window, bd_shape shape);

/* ---- pooling, x [n, h, w, c]; padding never wins a maximum and does not count in an average ---- */
BD_API bd_tensor bd_max_pool(bd_graph *graph, bd_tensor x, bd_window window);
BD_API bd_tensor bd_avg_pool(bd_graph *graph, bd_tensor x, bd_window window);
/* dx from dy; of equal maxima the first in row order takes the gradient. */
BD_API bd_tensor bd_max_pool_grad(bd_graph *graph, bd_tensor x, bd_tensor dy, bd_window window);
BD_API bd_tensor bd_avg_pool_grad(bd_graph *graph, bd_tensor dy, bd_window window, bd_shape shape);

/* ---- effects ---- */
/* The variable holds `value`, rounded to its format, once the step is done; shapes must be equal. Readers of the
 * variable elsewhere in the graph see the old value. */
BD_API void bd_assign(bd_graph *graph, bd_tensor variable, bd_tensor value);

/* ---- layers: plain functions over the primitives; `name` is pushed as the layer ---- */
/* How the weights (not biases, not those of normalisations) of layers made from now on begin, and how they are held
 * small: training adds l2 * sum of their squares to the loss, as Keras's kernel_regularizer does, by its gradient 2 l2
 * w; the loss that is reported leaves it out. At first GLOROT and 0. */
typedef enum bd_weight_init {
    BD_WEIGHTS_GLOROT, /* uniform within sqrt(6 / (fan in + fan out)): Glorot and Bengio, AISTATS 2010; Keras's default */
    BD_WEIGHTS_HE,     /* normal, truncated, of variance 2 / fan in: He et al., arXiv:1502.01852; Keras's he_normal */
    BD_WEIGHTS_NORMAL, /* normal, of the style's deviation */
} bd_weight_init;
typedef struct bd_layer_style {
    bd_weight_init init;
    float l2;
    float deviation;
} bd_layer_style;
/* Returns the previous style. */
BD_API bd_layer_style bd_set_layer_style(bd_graph *graph, bd_layer_style style);

/* The window that makes ceil(length / stride) outputs of x's height and width (TensorFlow's SAME): what is padded is
 * even, or one more after than before. */
BD_API bd_window bd_same_window(const bd_graph *graph, bd_tensor x, int64_t size, int64_t stride);
/* Without padding (VALID). */
BD_API bd_window bd_valid_window(int64_t size, int64_t stride);

/* Biases begin with zeros. */
BD_API bd_tensor bd_linear(bd_graph *graph, bd_tensor x, int64_t units, bool bias, const char *name);
BD_API bd_tensor bd_conv(bd_graph *graph, bd_tensor x, int64_t channels, bd_window window, bool bias, const char *name);
/* Each channel by itself. */
BD_API bd_tensor bd_depthwise_conv(bd_graph *graph, bd_tensor x, bd_window window, bool bias, const char *name);
/* Over all axes but the last. Training uses the batch's statistics and updates the running ones (with `momentum` of the
 * old value); inference uses the running ones (Ioffe and Szegedy, arXiv:1502.03167). */
BD_API bd_tensor bd_batch_norm(bd_graph *graph, bd_tensor x, bool training, float momentum, float epsilon,
                               const char *name);
/* Over the last axis (Ba et al., arXiv:1607.06450). */
BD_API bd_tensor bd_layer_norm(bd_graph *graph, bd_tensor x, float epsilon, const char *name);
/* With `training` each element is dropped with probability `rate`, at least 0 and below 1, and what is left multiplied
 * by 1 / (1 - rate); else x itself. */
BD_API bd_tensor bd_dropout(bd_graph *graph, bd_tensor x, float rate, bool training);
/* Self-attention (Vaswani et al., arXiv:1706.03762) over x [n, tokens, width], as Keras's MultiHeadAttention: queries,
 * keys and values of `heads` * `key` numbers, softmax(q k' / sqrt(key)) v, and a linear layer back to width. One weight
 * makes the three: [width, 3 * heads * key], queries first. Causal: a token sees none behind it. Rate and training:
 * dropout of the softmax, as bd_self_attention has it. */
BD_API bd_tensor bd_attention(bd_graph *graph, bd_tensor x, int64_t heads, int64_t key, bool causal, float rate,
                              bool training, const char *name);
BD_API bd_tensor bd_global_avg_pool(bd_graph *graph, bd_tensor x); /* [n, h, w, c] -> [n, c] */
BD_API bd_tensor bd_flatten(bd_graph *graph, bd_tensor x);         /* [n, ...] -> [n, m] */
BD_API bd_tensor bd_softmax(bd_graph *graph, bd_tensor x);         /* over the last axis */
/* logits [n, classes], labels [n] (class numbers as values) -> [n], role STATISTIC. */
BD_API bd_tensor bd_cross_entropy(bd_graph *graph, bd_tensor logits, bd_tensor labels);
/* Broadcasting forms of the elementwise pairs, for model code. */
BD_API bd_tensor bd_add_broadcast(bd_graph *graph, bd_tensor a, bd_tensor b);
BD_API bd_tensor bd_mul_broadcast(bd_graph *graph, bd_tensor a, bd_tensor b);

/* ---- gradient ---- */
/* Appends the backward pass of `loss` with the output gradient `seed` (loss's shape) and writes d loss / d wrt[i] to
 * gradients[i] (BD_NONE where wrt[i] does not reach the loss). Nodes take the role GRADIENT, or STATISTIC where the
 * forward node has it, and the layer of their forward node. */
BD_API bd_status bd_gradient(bd_graph *graph, bd_tensor loss, bd_tensor seed, const bd_tensor *wrt, int count,
                             bd_tensor *gradients, bd_error *error);

#ifdef __cplusplus
}
#endif
#endif
