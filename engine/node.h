/* The graph's inside: nodes and primitive operations. Everything that handles nodes includes this. */
#ifndef BINADE_ENGINE_NODE_H
#define BINADE_ENGINE_NODE_H

#include <binade/graph.h>

/* Elementwise operations, one row each: name, arity, expression in the subset that OpenCL C and GLSL share ($0 $1 $2
 * are the operands, 32-bit floats), and how exact it is: EXACT results are correctly rounded (so FP16 results are
 * bit-identical everywhere); KEEPS are so and besides one of the operands or a small whole number, so that halves give
 * a half; the others have a BUDGET in ULP. The result is rounded to the node's format after it. bd_* functions stand in
 * the preludes of cl/ and shaders/. The reference has its own, hand-written definitions. docs/extending.md says how to
 * add one. */
#define BD_ELEMENTWISE_OPS(ROW)                                                                                        \
    ROW(CAST, "cast", 1, "$0", KEEPS)                                                                                  \
    ROW(NEG, "neg", 1, "-$0", KEEPS)                                                                                   \
    ROW(ABS, "abs", 1, "bd_abs($0)", KEEPS)                                                                            \
    ROW(SIGN, "sign", 1, "($0 > 0.0f ? 1.0f : ($0 < 0.0f ? -1.0f : $0))", KEEPS)                                       \
    ROW(FLOOR, "floor", 1, "floor($0)", KEEPS)                                                                         \
    ROW(SQRT, "sqrt", 1, "BD_SQRT($0)", EXACT)                                                                         \
    ROW(EXP, "exp", 1, "bd_exp($0)", BUDGET)                                                                           \
    ROW(LOG, "log", 1, "bd_log($0)", BUDGET)                                                                           \
    ROW(TANH, "tanh", 1, "bd_tanh($0)", BUDGET)                                                                        \
    ROW(SIGMOID, "sigmoid", 1, "bd_sigmoid($0)", BUDGET)                                                               \
    ROW(ERF, "erf", 1, "bd_erf($0)", BUDGET)                                                                           \
    ROW(GELU, "gelu", 1, "bd_gelu($0)", BUDGET)                                                                        \
    ROW(GELU_SLOPE, "gelu_slope", 1, "bd_gelu_slope($0)", BUDGET)                                                      \
    ROW(RELU, "relu", 1, "($0 < 0.0f ? 0.0f : $0)", KEEPS)                                                             \
    ROW(NONFINITE, "nonfinite", 1, "bd_nonfinite($0)", KEEPS)                                                          \
    ROW(NORMALISER, "normaliser", 1, "bd_normaliser($0)", EXACT)                                                       \
    ROW(ADD, "add", 2, "$0 + $1", EXACT)                                                                               \
    ROW(SUB, "sub", 2, "$0 - $1", EXACT)                                                                               \
    ROW(MUL, "mul", 2, "$0 * $1", EXACT)                                                                               \
    ROW(DIV, "div", 2, "BD_DIV($0, $1)", EXACT)                                                                        \
    ROW(MAX, "max", 2, "bd_max($0, $1)", KEEPS)                                                                        \
    ROW(MIN, "min", 2, "bd_min($0, $1)", KEEPS)                                                                        \
    ROW(POW, "pow", 2, "bd_pow($0, $1)", BUDGET)                                                                       \
    ROW(LESS, "less", 2, "($0 < $1 ? 1.0f : 0.0f)", KEEPS)                                                             \
    ROW(EQUAL, "equal", 2, "($0 == $1 ? 1.0f : 0.0f)", KEEPS)                                                          \
    ROW(SELECT, "select", 3, "($0 != 0.0f ? $1 : $2)", KEEPS)

typedef enum bd_op {
    /* sources */
    BD_OP_VARIABLE, /* attr.variable */
    BD_OP_CONSTANT, /* attr.constant */
    BD_OP_IOTA,     /* attr.axis */
    BD_OP_RANDOM,   /* attr.stream; reads seed and step from the variable "control", which is no input */
    BD_OP_CONTROL,  /* attr.control.word of the control block as a scalar; input 0: the control variable, or the
                       CONTROL_STEP whose result is to be seen */
    BD_OP_BATCH,    /* inputs: data [n, d...], permutation [n] (U32), control variable -> [batch, d...]: row
                       permutation[min(position + i, n - 1)]. A fourth, moves [batch, 3], of images [n, h, w, c]: whether to
                       turn round left and right, then rows and columns to shift by; what comes from outside is 0 */
    BD_OP_VALID,    /* input: control variable -> [batch]: position + i < control's count ? 1 : 0 */
/* elementwise */
#define BD_OP_ROW(NAME, name, arity, expression, exactness) BD_OP_##NAME,
    BD_ELEMENTWISE_OPS(BD_OP_ROW)
#undef BD_OP_ROW
    /* views and movement */
    BD_OP_BROADCAST, /* input's dims align from the right */
    BD_OP_RESHAPE,
    BD_OP_PERMUTE, /* attr.axes */
    BD_OP_SLICE,   /* attr.range: axis, first (count is the shape's) */
    BD_OP_PAD,     /* attr.range: axis, first = zeros before */
    BD_OP_CONCAT,  /* attr.axis, any number of inputs */
    BD_OP_PACK,    /* any number of inputs laid out flat in one vector, input i at element attr.pack[i]; gaps are 0 */
    BD_OP_GATHER,  /* table, index */
    BD_OP_SCATTER_ADD, /* values, index; rows are shape.dim[0] */
    BD_OP_TALLY,       /* before, after -> [parts, columns]: tally.h */
    /* reductions: attr.reduce */
    BD_OP_SUM,
    BD_OP_MAXIMUM,
    BD_OP_ARGMAX,
    /* Summed in F32 from a value near the mean. Of values, or of the partial results that the compiler makes
     * (attr.reduce.members): MEAN of means, DEVIATIONS of means and of the squared deviations from each (Chan, Golub,
     * LeVeque). */
    BD_OP_MEAN,
    BD_OP_DEVIATIONS, /* the sum of squared deviations from the mean */
    /* contractions */
    BD_OP_MATMUL,        /* attr.matmul */
    BD_OP_CONV2D,        /* x, weight; attr.window */
    BD_OP_CONV2D_DATA,   /* dy, weight; attr.window; shape is x's */
    BD_OP_CONV2D_WEIGHT, /* x, dy; attr.window; shape is the weight's, with a leading chunk axis if attr.chunks > 1 */
    /* pooling: attr.window */
    BD_OP_MAX_POOL,
    BD_OP_AVG_POOL,
    BD_OP_MAX_POOL_GRAD, /* x, dy */
    BD_OP_AVG_POOL_GRAD, /* dy */
    /* depthwise convolution, weight [kh, kw, 1, c]: attr.window */
    BD_OP_DEPTHWISE,        /* x, weight */
    BD_OP_DEPTHWISE_DATA,   /* dy, weight; shape is x's */
    BD_OP_DEPTHWISE_WEIGHT, /* x, dy; shape [parts, kh, kw, c]: sums over ceil(n oh / parts) rows of dy each */
    /* attention over qkv [n, t, 3 h d]: attr.attention */
    BD_OP_ATTENTION,      /* qkv -> [n, t, h d] */
    BD_OP_ATTENTION_SUM,  /* qkv -> [n, h, t]: the logarithm of each row's sum of exp(score) */
    BD_OP_ATTENTION_GRAD, /* qkv, result, sum, dy -> d qkv */
    /* effects */
    BD_OP_ASSIGN,       /* variable, value */
    BD_OP_CONTROL_STEP, /* the hand-written control kernel (engine/control.h): control variable, learning-rate table,
                           loss, correct and, only if the policy asks for it, nonfinite, all of one element; result: a
                           scalar without value, to order later readers */
    BD_OP_COUNT
} bd_op;

typedef enum bd_op_class {
    BD_CLASS_SOURCE,
    BD_CLASS_ELEMENTWISE,
    BD_CLASS_VIEW,   /* BROADCAST RESHAPE PERMUTE SLICE PAD: no arithmetic, another index */
    BD_CLASS_WINDOW, /* pooling, depthwise convolution, GATHER, SCATTER_ADD, TALLY, CONCAT, BATCH: each output element from loads of stored inputs */
    BD_CLASS_REDUCTION,
    BD_CLASS_CONTRACTION,
    BD_CLASS_ATTENTION,
    BD_CLASS_EFFECT,
} bd_op_class;

typedef enum bd_exactness { BD_BUDGET, BD_EXACT, BD_KEEPS } bd_exactness;

typedef struct bd_op_info {
    const char *name;
    bd_op_class class;
    int arity;              /* -1: any */
    const char *expression; /* elementwise only */
    bd_exactness exactness; /* elementwise only */
} bd_op_info;

/* Never NULL for op < BD_OP_COUNT. */
const bd_op_info *bd_op_get_info(bd_op op);

/* Of a self-attention, its rows' sums and its gradient: the same of all three, so that they know each other. */
typedef struct bd_attention_attr {
    int64_t heads;
    bool causal;
    float dropout;   /* the share of the weights that is dropped; 0: none, and nothing is drawn */
    uint32_t stream; /* of the random numbers that say which */
} bd_attention_attr;

static inline bool bd_attention_equal(const bd_attention_attr *a, const bd_attention_attr *b)
{
    return a->heads == b->heads && a->causal == b->causal && a->dropout == b->dropout && a->stream == b->stream;
}

/* Random numbers are below this number, as F32 has it, where a weight stays. */
static inline float bd_attention_kept(const bd_attention_attr *a)
{
    return (float)(1 - (double)a->dropout);
}

typedef struct bd_node {
    bd_op op;
    bd_format format;      /* of the result: every reader sees the value rounded to it */
    bd_format accumulator; /* of the sums inside reductions and contractions */
    bool unit_sums;        /* contractions: what matrix units of 8-bit floats keep of a sum will do */
    bd_rounding_rule rule; /* how the result is rounded to its format */
    uint32_t draw;         /* of BD_ROUND_STOCHASTIC: the stream of its random numbers */
    bd_role role;
    bd_shape shape;
    int32_t layer; /* index into the graph's layer names */
    int input_count;
    bd_tensor *inputs; /* owned */
    union {
        double constant;
        uint32_t stream;
        int axis;
        int axes[BD_MAX_RANK];
        struct {
            int axis;
            int64_t first;
        } range;
        struct {
            int first, count;
            bool keep;
            /* MEAN and DEVIATIONS of partial results: how many values each of them is of, the last of the rest of
             * `total`. Else 0. */
            int64_t members, total;
            bool strips; /* partial results of a contraction's rows, which its work-groups may make (columns.h) */
        } reduce;        /* axes of the input */
        struct {
            bool transpose[2];
        } matmul;
        bd_window window;
        bd_attention_attr attention;
        struct {
            uint32_t word; /* enum bd_control_word */
            bool is_float; /* else a whole number, converted */
        } control;
        int64_t *pack; /* owned; element offsets, one an input */
        struct {
            char *name; /* owned, unique */
            bd_init init;
            float l2;       /* of bd_layer_style: training adds l2 * sum of squares to the loss */
            bd_tensor base; /* BD_NONE, or the flat variable that this one is a part of */
            int64_t base_offset;
        } variable;
    } attr;
    /* MATMUL, CONV2D_WEIGHT, SUM, MAXIMUM, ARGMAX, MEAN and DEVIATIONS of values: the summed axis is cut into `chunks`
     * parts of equal length (the last may be shorter: ceil(length / chunks) each), and the result is [chunks,
     * elements]: that many partial sums, or means, flat; of SCATTER_ADD so are the places. 1: not cut. */
    int64_t chunks;
    bool stop_gradient; /* bd_gradient takes it for a constant */
    bool recompute;     /* elementwise: every kernel that reads it computes it, rather than that it is stored */
} bd_node;

struct bd_graph {
    bd_node *nodes;
    int32_t node_count, node_capacity;
    char **layers; /* owned; layers[0] is "" */
    int32_t layer_count, layer_capacity;
    int32_t layer;        /* current */
    int32_t *open_layers; /* owned; the layers around the current one, as pushed */
    int32_t open_count, open_capacity;
    bd_role role;         /* current */
    bd_layer_style style; /* current */
    uint32_t stream_count;
    const bd_precision *precision; /* of the operands of contractions that are appended; NULL: they are as they are */
    bool
        starting; /* a forward pass in which learned steps of operands find their start (quantise.h), and which keeps nothing else */
    bd_status status;
    bd_error error;
};

static inline const bd_node *bd_node_at(const bd_graph *graph, bd_tensor tensor)
{
    return &graph->nodes[tensor];
}

/* Whether the node drops weights of an attention; the rows' sums are of all. */
static inline bool bd_drops_weights(const bd_node *node)
{
    return (node->op == BD_OP_ATTENTION || node->op == BD_OP_ATTENTION_GRAD) && node->attr.attention.dropout > 0;
}

/* Whether the node reads seed and step of the control block, which no input of it names. */
static inline bool bd_draws(const bd_node *node)
{
    return node->op == BD_OP_RANDOM || node->rule.mode == BD_ROUND_STOCHASTIC || bd_drops_weights(node);
}

/* Appends a node with the current layer and role, computing nothing: shape is the caller's. `inputs` is copied. Returns
 * NULL after a (sticky) error. The pointer is good until the next append. */
bd_node *bd_graph_append(bd_graph *graph, bd_op op, bd_shape shape, const bd_tensor *inputs, int input_count,
                         bd_tensor *tensor);
/* The operation of `tensor` (no variable, no pack) once more, of these operands, as many as it has, with the current
 * layer and role. */
bd_tensor bd_graph_again(bd_graph *graph, bd_tensor tensor, const bd_tensor *inputs);
/* Records the first error. Returns BD_NONE. */
bd_tensor bd_graph_fail(bd_graph *graph, bd_status status, const char *format, ...) BD_PRINTF(3, 4);
bool bd_shape_equal(const bd_shape *a, const bd_shape *b);
/* "256x28x28x1", "scalar". */
const char *bd_shape_text(const bd_shape *shape, char *buffer, size_t size);
/* The variable of that full name, or BD_NONE. */
bd_tensor bd_graph_find_variable(const bd_graph *graph, const char *name);
const char *bd_node_layer(const bd_graph *graph, bd_tensor tensor);

/* Marks a node as a constant for differentiation, where its gradient is known to cancel. Returns it. */
bd_tensor bd_stop_gradient(bd_graph *graph, bd_tensor x);

/* Nodes that only the engine appends. */
bd_tensor bd_control_value(bd_graph *graph, bd_tensor control_or_step, uint32_t word, bool is_float);
bd_tensor bd_batch(bd_graph *graph, bd_tensor data, bd_tensor permutation, bd_tensor control, int64_t batch);
/* The same of images [n, h, w, c], each turned round left and right or not and shifted by up to `pad` pixels each way,
 * by random numbers (bd_random): the flip and the padded crop of the literature. */
bd_tensor bd_batch_augmented(bd_graph *graph, bd_tensor images, bd_tensor permutation, bd_tensor control, int64_t batch,
                             int64_t pad);
bd_tensor bd_valid(bd_graph *graph, bd_tensor control, int64_t batch);
bd_tensor bd_pack(bd_graph *graph, const bd_tensor *parts, const int64_t *offsets, int count, int64_t total);
bd_tensor bd_control_step(bd_graph *graph, bd_tensor control, bd_tensor rates, bd_tensor loss, bd_tensor correct,
                          bd_tensor nonfinite /* or BD_NONE */);

/* The parts of bd_self_attention's gradient. The sums have the accumulators' format, and are those before dropout. */
bd_tensor bd_attention_sum(bd_graph *graph, bd_tensor qkv, const bd_attention_attr *attr);
bd_tensor bd_attention_grad(bd_graph *graph, bd_tensor qkv, bd_tensor y, bd_tensor sum, bd_tensor dy,
                            const bd_attention_attr *attr);

/* 2^-floor(log2 |x|), which brings a number into [1, 2): exact. Of 0 and what is not finite 2^126 and 2^-126. */
bd_tensor bd_normaliser(bd_graph *graph, bd_tensor x);

/* x as a contraction reads it, rounded to the format that the graph's policy gives `role`, one of the OPERAND roles; x
 * itself, where that is F32 or there is no policy. */
bd_tensor bd_quantise(bd_graph *graph, bd_tensor x, bd_role role);
/* The same of an operand of the forward pass, whose role is a weight's or an activation's. */
bd_tensor bd_quantise_operand(bd_graph *graph, bd_tensor x);

/* Operands checked to be of fitting groups, not one: bd_conv2d's way to grouped.c. */
bd_tensor bd_grouped_conv2d(bd_graph *graph, bd_tensor x, bd_tensor weight, bd_window window);

/* Makes of `ends` what it stands for: overrides of the layers `first` and `last` (BD_ERROR_ARGUMENT: no room for them,
 * or a name of more than 63 characters). A trainer does this with its own copy of the policy. */
bd_status bd_precision_set_ends(bd_precision *precision, const char *first, const char *last, bd_error *error);

/* Gives every node its format and accumulator from its role, layer and the policy; role FIXED keeps its own. The only
 * place that knows policies. ASSIGN nodes take the variable's format; IOTA, CONTROL, VALID and BATCH of a whole-number
 * format are F32. */
bd_status bd_graph_apply_precision(bd_graph *graph, const bd_precision *precision, bd_error *error);

/* Which nodes are reached from an effect: `live` has node_count elements. */
void bd_graph_mark_live(const bd_graph *graph, bool *live);

#endif
