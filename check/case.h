/* Every kernel on a device against the reference: small graphs are built, run on both, and compared. tests/kernels and
 * `binade check` run the same cases. */
#ifndef BINADE_CHECK_CASE_H
#define BINADE_CHECK_CASE_H

#include "../engine/node.h"
#include "../engine/program.h"

/* ---- the run ---- */

/* What the reference says of an element, for telling where a device goes wrong. */
typedef enum value_class {
    VALUE_NORMAL,
    VALUE_SUBNORMAL,
    VALUE_ZERO,
    VALUE_INFINITE,
    VALUE_NAN,
    VALUE_CLASSES
} value_class;

/* Of one output of a case. */
typedef struct case_measure {
    bd_op op;     /* whose result it is */
    bool of_ulps; /* `ulps` means something: the result of one elementwise function */
    double ulps;  /* the largest error, in units in the last place of the format; 0: the correctly rounded values */
    double ratio; /* the largest error over its bound; 0 where only the reference's own bits will do */
    int64_t wrong[VALUE_CLASSES];
} case_measure;

/* A case that is done. Good during the call only. */
typedef struct case_report {
    const char *group, *name, *formats; /* "matmul", "1 of 3x5x7 fp16", "fp16" */
    bool good;
    const char *message; /* of a failure, else what there is to say */
    const case_measure *measures;
    int measure_count;
    bd_status status;
    /* The variants of contractions that a failure may come from, by format and accumulator, as bd_target.avoid. */
    uint32_t (*blamed)[BD_FORMAT_COUNT];
} case_report;

typedef struct session {
    bd_device *device;
    const bd_device_info *info;
    uint64_t seed;
    const char *filter; /* NULL, or parts of "group: case" separated by '|', of which one must be there */
    const char *only;   /* NULL, or a whole "group: case" */
    bool no_fusion;
    bd_gemm gemm;
    bool guessed;     /* tiles are those that are guessed, not what the tuner finds */
    bd_tile tile;     /* of every contraction that can have it; unless its m is 0 */
    int tile_count;   /* contractions that had it, and kernels of attention, which have it only by themselves */
    uint32_t repeats; /* more runs of each case, whose results must be the first one's, bit for bit */
    bool counting;    /* runs nothing, and counts the cases that would be run in `count` */
    int count;
    void (*report)(void *user, const case_report *report);
    bool (*should_stop)(void *user); /* may be NULL: then no further case runs */
    void *user;

    const char *group; /* set by session_run */
} session;

/* ---- tolerance: what a result may differ by, and why ---- */

typedef enum tolerance_kind {
    /* Correctly rounded operations and whole numbers: the same bits as the reference; any NaN is as good as another. */
    TOLERANCE_NONE,
    /* A function computed in F32 with an error of `ulps` units in the last place (and `absolute`), then rounded to the
     * node's format. The result must lie between the rounded ends of [exact - error, exact + error]. */
    TOLERANCE_ULPS,
    /* Sums: |c' - c| <= ((1 + gamma_k) (1 + u)^r - 1) * sum|a||b|, then one rounding to the node's format. k = `terms`
     * and gamma_k = k u_acc / (1 - k u_acc) bound any order of k additions and their products in the accumulator
     * (Higham, "Accuracy and Stability of Numerical Algorithms", 3.1); r = `roundings` counts intermediate results that
     * are rounded to the node's format on the way, each a relative error u of a value that is at most sum|a||b|. */
    TOLERANCE_SUM,
    /* |c' - c| <= relative * |c| + absolute, c being the rounded reference: for chains whose bound the case derives. */
    TOLERANCE_NEAR,
    /* Training steps: over all such outputs of a case, ||device - exact|| <= `terms` * ||reference - exact||. The
     * reference rounds each result once, a device each of the `terms` additions of the longest sum; what the model
     * makes of such errors in later steps it makes, in first order, of both alike. */
    TOLERANCE_DRIFT,
} tolerance_kind;

typedef struct test_tolerance {
    tolerance_kind kind;
    double ulps, relative, absolute;
    int64_t terms;
    int roundings;
    double dropped; /* of TOLERANCE_SUM: that much of sum|a||b| besides (bd_most_unit_sum_error) */
} test_tolerance;

static const test_tolerance bit_identical = { .kind = TOLERANCE_NONE };

/* Of equal zeros either will do: in a maximum the order of comparisons is the kernel's, and OpenCL C leaves the
 * compiler the sign of a sum that cancels (rusticl stores some of these as -0 in F16, and as 0 in F32). */
static const test_tolerance equal_value = { .kind = TOLERANCE_NEAR };

static inline test_tolerance within_ulps(double ulps)
{
    return (test_tolerance){ .kind = TOLERANCE_ULPS, .ulps = ulps };
}

static inline test_tolerance sum_of(int64_t terms, int roundings)
{
    return (test_tolerance){ .kind = TOLERANCE_SUM, .terms = terms, .roundings = roundings };
}

/* Unit roundoff, smallest normal and smallest subnormal value of a format. */
double format_roundoff(bd_format format);
double format_least_normal(bd_format format);
double format_least(bd_format format);

/* ---- one case ---- */

enum { MAX_INPUTS = 8, MAX_OUTPUTS = 24 };

/* The formats of a case: of the nodes of every role but STATISTIC and FIXED, of STATISTIC, and of the sums inside. */
typedef struct format_set {
    const char *name;
    bd_format value, statistic, accumulator;
    bd_round_mode mode[BD_ROLE_COUNT]; /* by role; nearest, where nothing is said */
    bool saturate;
} format_set;

/* As the policies of these names have them. */
extern const format_set fp32, fp16, fp16_strict, mixed;

typedef struct case_given { /* an input */
    bd_tensor tensor;
    double *values; /* rounded to the format */
    int64_t count;
} case_given;

typedef struct case_compared { /* an output */
    bd_tensor value, variable;
    test_tolerance tolerance;
    int64_t count;
    double *result; /* of the device */
    case_measure measure;
} case_compared;

/* A contraction in the case's program. */
typedef struct case_variant {
    bd_op op;
    bd_format format, accumulator;
    bd_variant variant;
} case_variant;

typedef struct test_case {
    session *session;
    char name[160];
    format_set formats;
    bd_graph *graph;
    uint64_t random; /* what its random numbers depend on: seed and name */
    case_given inputs[MAX_INPUTS];
    case_compared outputs[MAX_OUTPUTS];
    int input_count, output_count;
    case_variant variants[MAX_OUTPUTS];
    int variant_count;
    uint32_t repeats;             /* runs of the program before comparing */
    const bd_precision *operands; /* of contractions: whose formats the operand roles have; NULL: as all others */
    bool unit_sums;               /* as bd_precision has them */
} test_case;

/* False if the filter leaves this case out. Otherwise case_run must follow. */
bool case_begin(test_case *c, session *s, format_set formats, const char *name, ...) BD_PRINTF(4, 5);

/* How an input's values are made. */
typedef enum fill_kind {
    FILL_UNIFORM,  /* in [-1, 1) */
    FILL_POSITIVE, /* in [0.5, 2) */
    FILL_WHOLE,    /* -2, -1, 0, 1, 2: sums of some hundred products are exact in every format and order */
    FILL_WIDE,     /* either sign, magnitudes from 2^-60 to 2^60: products and quotients stay normal in F32 */
    FILL_SPECIAL,  /* zeros, infinities, NaN, subnormals, ties and edges of the format, one in two; else any bits */
} fill_kind;

/* A variable that holds `count` values; the graph reads it. Its values may be changed until case_run. */
bd_tensor case_input(test_case *c, bd_format format, bd_shape shape, fill_kind fill);
/* The same with given values, which are rounded to the format. */
bd_tensor case_input_values(test_case *c, bd_format format, bd_shape shape, const double *values);
/* The control block, words 0 to BD_CONTROL_WORD_COUNT - 1: float words as bit patterns. */
bd_tensor case_control(test_case *c, const double *words);
/* Stores the node in a variable that lies between guard bands. */
void case_output(test_case *c, bd_tensor value, test_tolerance tolerance);

/* Applies the formats, runs the graph on the device and on the reference, compares, counts, and frees the case. */
void case_run(test_case *c);

/* The case's random number i of a stream: uniform in [0, 1), or 32 bits. */
uint32_t case_random_bits(const test_case *c, uint32_t stream, int64_t i);
double case_random(const test_case *c, uint32_t stream, int64_t i);

/* Reports a check that is not a whole case, in FP32. */
void session_report(session *s, bool good, const char *name, const char *format, ...) BD_PRINTF(4, 5);
/* The same with the variants that may be at fault, by format and accumulator. */
void session_report_blamed(session *s, bool good, const char *name, const char *message,
                           uint32_t (*blamed)[BD_FORMAT_COUNT]);

/* Is this case of the current group to be run now? */
bool session_wants(session *s, const char *name);

/* Memory for a test: ends the program where there is none. */
void *test_allocate(int64_t count, size_t size);

/* ---- a graph on the session's device ---- */
typedef struct device_run {
    bd_store *store;
    bd_program *program;
} device_run;

bd_status device_run_create(session *s, const bd_graph *graph, device_run *run, bd_error *error);
void device_run_destroy(device_run *run);

/* ---- the groups ---- */
typedef void (*group_function)(session *s);

void test_unary(session *s);
void test_binary(session *s);
void test_movement(session *s);
void test_gather(session *s);
void test_tally(session *s);
void test_reductions(session *s);
void test_softmax(session *s);
void test_attention(session *s);
void test_matmul(session *s);
void test_convolutions(session *s);
void test_columns(session *s);
void test_operands(session *s);
void test_pooling(session *s);
void test_pooled_sums(session *s);
void test_depthwise(session *s);
void test_sources(session *s);
void test_control(session *s);
void test_limits(session *s);
void test_last_group(session *s);
void test_formats(session *s);
void test_gradients(session *s);
void test_training(session *s);

typedef struct case_group {
    const char *name;
    group_function run;
    bool backward; /* graphs with their gradients */
} case_group;

enum { CASE_GROUPS = 22 };
extern const case_group case_groups[CASE_GROUPS];

/* Runs a group's cases, as far as the session wants them. */
void session_run(session *s, const case_group *group);

#endif
