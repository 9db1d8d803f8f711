/* Precision policies: the grammar, what it refuses and where, the presets, and the formats that a graph is given. */
#include "../engine/node.h"

#include <check.h>
#include <string.h>

enum { W, A, G, STAT, ACC, MASTER, STATE };

static bd_precision parse(const char *text)
{
    bd_precision precision;
    bd_error error;
    ck_assert_msg(bd_precision_parse(text, &precision, &error) == BD_OK, "%s", error.message);
    ck_assert_str_eq(precision.name, text);
    return precision;
}

/* "16" and "32" of w a g stat acc master state, as in "16,16,16,32,32,32,32" without the commas: h is half, s
 * single. */
static void expect_formats(const char *text, const char *formats)
{
    bd_precision precision = parse(text);
    for (int role = W; role <= STATE; role++)
        ck_assert_msg(precision.format[role] == (formats[role] == 'h' ? BD_F16 : BD_F32), "%s of '%s'",
                      bd_role_name((bd_role)role), text);
    ck_assert_int_eq(precision.format[BD_ROLE_FIXED], BD_F32);
}

START_TEST(presets)
{
    expect_formats("fp32", "sssssss");
    expect_formats("fp16", "hhhhshh");
    expect_formats("fp16-strict", "hhhhhhh");
    expect_formats("mixed", "hhhssss");
    bd_precision mixed = parse("mixed"), half = parse("fp16");
    ck_assert_int_eq(mixed.scaling, BD_SCALING_DYNAMIC);
    ck_assert_float_eq(mixed.scale, 65536);
    ck_assert_float_eq(mixed.growth, 2);
    ck_assert_float_eq(mixed.backoff, 0.5f);
    ck_assert_uint_eq(mixed.growth_interval, 2000);
    ck_assert_int_eq(half.scaling, BD_SCALING_NONE);
    ck_assert_float_eq(half.scale, 1);
    for (const char *const *name = bd_precision_presets(); *name; name++)
        parse(*name);
}
END_TEST

START_TEST(presets_beside_half)
{
    const bd_precision bf16 = parse("bf16"), chance = parse("bf16-sr"), kahan = parse("bf16-kahan");
    for (int role = W; role <= STATE; role++) {
        const bd_format wanted = role == ACC ? BD_F32 : BD_BF16;
        ck_assert(bf16.format[role] == wanted && chance.format[role] == wanted && kahan.format[role] == wanted);
        ck_assert_int_eq(chance.mode[role], role == W ? BD_ROUND_STOCHASTIC : BD_ROUND_NEAREST);
    }
    ck_assert(!bf16.kahan && !chance.kahan && kahan.kahan && parse("fp16-kahan").kahan);
    ck_assert(!parse("fp16-kahan,kahan=off").kahan);
    const bd_precision mixed = parse("mixed-bf16");
    ck_assert(mixed.format[W] == BD_BF16 && mixed.format[MASTER] == BD_F32 && mixed.scaling == BD_SCALING_NONE);
    const bd_precision fp8 = parse("fp8,history=16"), tf32 = parse("tf32");
    ck_assert_int_eq(fp8.format[BD_ROLE_WEIGHT_OPERAND], BD_F8E4M3);
    ck_assert_int_eq(fp8.format[BD_ROLE_ACTIVATION_OPERAND], BD_F8E4M3);
    ck_assert_int_eq(fp8.format[BD_ROLE_GRADIENT_OPERAND], BD_F8E5M2);
    ck_assert(fp8.operands == BD_OPERANDS_DELAYED && fp8.history == 16 && fp8.saturate && !fp8.unit_sums);
    const bd_precision native = parse("fp8-native");
    ck_assert(native.unit_sums && !parse("fp8-native,sums=exact").unit_sums && parse("qa=e5m2,sums=unit").unit_sums);
    ck_assert_mem_eq(native.format, fp8.format, sizeof fp8.format);
    ck_assert(tf32.operands == BD_OPERANDS_PLAIN && tf32.history == 1024 && !tf32.saturate);
    ck_assert_int_eq(tf32.format[BD_ROLE_GRADIENT_OPERAND], bd_format_exmy(8, 10));
    bd_precision int4 = parse("int4-qat;last:qw=int8");
    ck_assert(int4.operands == BD_OPERANDS_LEARNED && int4.ends == BD_I8);
    ck_assert_int_eq(bd_precision_format(&int4, BD_ROLE_WEIGHT_OPERAND, "fc2"), BD_I4);
    ck_assert_int_eq(bd_precision_format(&int4, BD_ROLE_GRADIENT_OPERAND, "fc2"), BD_F32);
}
END_TEST

/* The ends take their format, but what the policy says of a layer counts more. */
START_TEST(ends_of_a_model)
{
    bd_precision precision = parse("int4-qat;fc3:qw=e5m2");
    bd_error error;
    ck_assert_int_eq(bd_precision_set_ends(&precision, "fc1", "fc3", &error), BD_OK);
    ck_assert_int_eq(precision.ends, BD_F32);
    ck_assert_int_eq(bd_precision_format(&precision, BD_ROLE_WEIGHT_OPERAND, "fc1"), BD_I8);
    ck_assert_int_eq(bd_precision_format(&precision, BD_ROLE_ACTIVATION_OPERAND, "fc1"), BD_I8);
    ck_assert_int_eq(bd_precision_format(&precision, BD_ROLE_WEIGHT_OPERAND, "fc2"), BD_I4);
    ck_assert_int_eq(bd_precision_format(&precision, BD_ROLE_WEIGHT_OPERAND, "fc3"), BD_F8E5M2);
    ck_assert_int_eq(bd_precision_format(&precision, BD_ROLE_ACTIVATION_OPERAND, "fc3"), BD_I8);
    precision = parse("int4-qat");
    precision.override_count = BD_MAX_OVERRIDES;
    ck_assert_int_eq(bd_precision_set_ends(&precision, "fc1", "fc3", &error), BD_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "fc1"));
}
END_TEST

START_TEST(roundings)
{
    const bd_precision precision = parse("bf16,round=zero,g=e5m2:stochastic,overflow=saturate;fc1:w=e3m2:mask,a=f32");
    const bd_rounding_rule weight = bd_precision_rule(&precision, BD_ROLE_WEIGHT, "fc1/inner");
    const bd_rounding_rule gradient = bd_precision_rule(&precision, BD_ROLE_GRADIENT, "fc2");
    ck_assert(weight.mode == BD_ROUND_MASK && weight.saturate);
    ck_assert_int_eq(bd_precision_format(&precision, BD_ROLE_WEIGHT, "fc1"), bd_format_exmy(3, 2));
    ck_assert_int_eq(bd_precision_rule(&precision, BD_ROLE_WEIGHT, "fc2").mode, BD_ROUND_ZERO);
    ck_assert(gradient.mode == BD_ROUND_STOCHASTIC && gradient.saturate);
    /* F32 is what arithmetic gives */
    const bd_rounding_rule plain = bd_precision_rule(&precision, BD_ROLE_ACTIVATION, "fc1");
    ck_assert(plain.mode == BD_ROUND_NEAREST && !plain.saturate);
}
END_TEST

START_TEST(settings)
{
    expect_formats("w=f16", "hssssss");
    expect_formats("w=f16,a=f16,g=f16,acc=f32,master=f32,scale=dynamic", "hhhssss");
    expect_formats("fp16,stat=f32,state=f32", "hhhsshs");
    bd_precision precision = parse("mixed,scale=1024,growth=4,backoff=0.25,interval=100");
    ck_assert_int_eq(precision.scaling, BD_SCALING_STATIC);
    ck_assert_float_eq(precision.scale, 1024);
    ck_assert_float_eq(precision.growth, 4);
    ck_assert_float_eq(precision.backoff, 0.25f);
    ck_assert_uint_eq(precision.growth_interval, 100);
    ck_assert_int_eq(parse("mixed,scale=none").scaling, BD_SCALING_NONE);
    precision = parse("fp16,scale=dynamic");
    ck_assert_int_eq(precision.scaling, BD_SCALING_DYNAMIC);
    ck_assert_float_eq(precision.scale, 65536);
    ck_assert_float_eq(parse("fp16,scale=1.5e3").scale, 1500);
}
END_TEST

START_TEST(layers)
{
    bd_precision precision = parse("fp16;fc3:w=f32,a=f32;block1:g=f32;block1/conv:g=f16");
    ck_assert_uint_eq(precision.override_count, 3);
    ck_assert_int_eq(bd_precision_format(&precision, BD_ROLE_WEIGHT, "fc3"), BD_F32);
    ck_assert_int_eq(bd_precision_format(&precision, BD_ROLE_WEIGHT, "fc3/inner"), BD_F32);
    ck_assert_int_eq(bd_precision_format(&precision, BD_ROLE_WEIGHT, "fc33"), BD_F16);
    ck_assert_int_eq(bd_precision_format(&precision, BD_ROLE_WEIGHT, "fc"), BD_F16);
    ck_assert_int_eq(bd_precision_format(&precision, BD_ROLE_GRADIENT, "fc3"), BD_F16);
    ck_assert_int_eq(bd_precision_format(&precision, BD_ROLE_GRADIENT, "block1/bn"), BD_F32);
    ck_assert_int_eq(bd_precision_format(&precision, BD_ROLE_GRADIENT, "block1/conv"), BD_F16);
    ck_assert_int_eq(bd_precision_format(&precision, BD_ROLE_WEIGHT, NULL), BD_F16);
    ck_assert_int_eq(bd_precision_format(&precision, BD_ROLE_WEIGHT, ""), BD_F16);
    /* without a preset */
    precision = parse("fc1:w=f16");
    ck_assert_int_eq(bd_precision_format(&precision, BD_ROLE_WEIGHT, "fc1"), BD_F16);
    ck_assert_int_eq(bd_precision_format(&precision, BD_ROLE_WEIGHT, "fc2"), BD_F32);
}
END_TEST

static const struct {
    const char *text, *place, *words;
} bad[] = {
    { "fp9", "character 1:", "unknown preset 'fp9'; known: fp32, fp16, fp16-strict, mixed" },
    { "fp320", "character 1:", "unknown preset 'fp320'" },
    { "fp32,", "character 6:", "unknown setting ''" },
    { "fp32,w=f17", "character 8:", "unknown format 'f17'; known: f32, f16" },
    { "fp32,w=u8", "character 8:", "unknown format 'u8'" },
    { "w=", "character 3:", "unknown format ''" },
    { "w=f16 ", "character 3:", "unknown format 'f16 '" },
    { "=f16", "character 1:", "unknown setting ''" },
    { "fp32,weight=f16", "character 6:", "unknown setting 'weight'; known: w, a, g, stat" },
    { "fp32,fixed=f16", "character 6:", "unknown setting 'fixed'" },
    { "w=f16,fp32", "character 7:", "unknown setting 'fp32'" },
    { "fp32,w", "character 6:", "no value for 'w'" },
    { "w=f16,w=f32", "character 7:", "a second 'w'" },
    { "scale=1,scale=2", "character 9:", "a second 'scale'" },
    { "scale=big", "character 7:", "unknown scale 'big'" },
    { "scale=-1", "character 7:", "unknown scale '-1'" },
    { "scale=0", "character 7:", "unknown scale '0'" },
    { "scale=1e99", "character 7:", "unknown scale '1e99'" },
    { "scale=nan", "character 7:", "unknown scale 'nan'" },
    { "scale=1x", "character 7:", "unknown scale '1x'" },
    { "mixed,growth=1", "character 14:", "wrong growth '1'" },
    { "mixed,backoff=1", "character 15:", "wrong backoff '1'" },
    { "mixed,interval=1.5", "character 16:", "wrong interval '1.5'" },
    { "mixed,interval=0", "character 16:", "wrong interval '0'" },
    { "mixed,interval=4294967296", "character 16:", "wrong interval" },
    { "fp32;", "character 6:", "no layer" },
    { "fp32;fc1", "character 6:", "no ':' after the layer 'fc1'" },
    { "fp32;:w=f16", "character 6:", "no layer" },
    { "fp32;fc1:", "character 10:", "unknown setting ''; known in a layer: w, a" },
    { "fp32;fc1:scale=2", "character 10:", "unknown setting 'scale'" },
    { "fp32;fc1:w=f16:a", "character 16:", "unknown rounding 'a'; known: nearest, zero, mask, stochastic" },
    { "w=f16:", "character 7:", "unknown rounding ''" },
    { "w=int8", "character 3:", "unknown format 'int8'; known: f32, f16, bf16, f8e4m3, f8e5m2, and e2m0 to e8m23" },
    { "w=e9m1", "character 3:", "unknown format 'e9m1'" },
    { "acc=bf16", "character 5:", "unknown format of sums 'bf16'; known: f32, f16" },
    { "acc=f16:zero", "character 9:", "a rounding of sums 'zero'" },
    { "sums=fast", "character 6:", "unknown sums 'fast'; known: exact, unit" },
    { "kahan=yes", "character 7:", "unknown kahan 'yes'; known: on, off" },
    { "operands=scaled", "character 10:", "unknown operands 'scaled'; known: plain, delayed, learned" },
    { "fp8,history=3", "character 13:", "wrong history '3'" },
    { "fp8,history=131072", "character 13:", "wrong history '131072'" },
    { "qw=int8", "'qw=int8'", "whole numbers of qw need a scale; add operands=learned or operands=delayed" },
    { "qg=int8,operands=learned", "'qg=", "whole numbers of qg need a scale; add operands=delayed" },
    { "operands=learned,ends=int7", "character 23:", "unknown format 'int7'; known: int8, int4, int3, int2, f32" },
    { "fp16;fc1:qa=int4", "fc1", "whole numbers of qa need a scale" },
    { "round=up", "character 7:", "unknown rounding 'up'; known: nearest" },
    { "overflow=nan", "character 10:", "unknown overflow 'nan'; known: inf, saturate" },
    { "fp32:w=f16;", "character 12:", "no layer" },
};

START_TEST(mistakes_are_named_with_their_place)
{
    bd_precision precision = parse("mixed"), before = precision;
    bd_error error;
    ck_assert_int_eq(bd_precision_parse(bad[_i].text, &precision, &error), BD_ERROR_ARGUMENT);
    ck_assert_msg(strstr(error.message, bad[_i].place) != NULL, "%s", error.message);
    ck_assert_msg(strstr(error.message, bad[_i].words) != NULL, "%s", error.message);
    ck_assert_mem_eq(&precision, &before, sizeof precision);
}
END_TEST

START_TEST(limits_of_a_policy)
{
    bd_precision precision;
    bd_error error;
    ck_assert_int_eq(bd_precision_parse("", &precision, &error), BD_ERROR_ARGUMENT);
    ck_assert_int_eq(bd_precision_parse(NULL, &precision, &error), BD_ERROR_ARGUMENT);
    char text[256] = "fp32;";
    memset(text + 5, 'x', 64);
    strcpy(text + 69, ":w=f16");
    ck_assert_int_eq(bd_precision_parse(text, &precision, &error), BD_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "63 characters"));
    strcpy(text + 68, ":w=f16");
    ck_assert_int_eq(bd_precision_parse(text, &precision, &error), BD_OK);
    ck_assert_uint_eq(strlen(precision.overrides[0].layer), 63);
    char many[8 * (BD_MAX_OVERRIDES + 2) + 8] = "fp32";
    for (int i = 0; i < BD_MAX_OVERRIDES; i++)
        strcat(many, ";l:w=f16");
    ck_assert_int_eq(bd_precision_parse(many, &precision, &error), BD_OK);
    ck_assert_uint_eq(strlen(precision.name), 160 + strlen("...#01234567"));
    ck_assert_str_eq(precision.text, many);
    static char long_text[BD_POLICY_TEXT + 1];
    memset(long_text, 'w', BD_POLICY_TEXT);
    ck_assert_int_eq(bd_precision_parse(long_text, &precision, &error), BD_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "longer than 8191"));
    bd_precision other;
    strcpy(many + strlen(many) - 3, "f32");
    ck_assert_int_eq(bd_precision_parse(many, &other, &error), BD_OK);
    ck_assert_str_ne(precision.name, other.name);
    strcat(many, ";l:w=f16");
    ck_assert_int_eq(bd_precision_parse(many, &precision, &error), BD_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "too many layers"));
}
END_TEST

START_TEST(formats_of_nodes)
{
    bd_graph *graph;
    bd_error error;
    ck_assert_int_eq(bd_graph_create(&graph, &error), BD_OK);
    bd_init zero = { 0 };
    bd_tensor control = bd_variable(graph, "control", BD_ROLE_FIXED, BD_U32, BD_SHAPE(64), zero);
    bd_tensor order = bd_variable(graph, "order", BD_ROLE_FIXED, BD_U32, BD_SHAPE(8), zero);
    bd_tensor data = bd_variable(graph, "data", BD_ROLE_FIXED, BD_U8, BD_SHAPE(8, 4), zero);
    bd_tensor labels = bd_variable(graph, "labels", BD_ROLE_FIXED, BD_U8, BD_SHAPE(8), zero);
    bd_tensor batch = bd_batch(graph, data, order, control, 4), label = bd_batch(graph, labels, order, control, 4);
    bd_tensor logits = bd_linear(graph, bd_cast(graph, batch, BD_ROLE_ACTIVATION), 3, true, "fc1");
    bd_tensor other = bd_linear(graph, logits, 3, false, "fc2");
    bd_tensor loss = bd_cross_entropy(graph, other, label);
    bd_tensor weight = bd_graph_find_variable(graph, "fc1/weight"), gradient;
    bd_tensor constant = bd_constant(graph, BD_SHAPE(4), 0.1), iota = bd_iota(graph, BD_SHAPE(4), 0);
    bd_tensor random = bd_random(graph, BD_SHAPE(4)), scale = bd_control_value(graph, control, 7, true);
    ck_assert_int_eq(bd_gradient(graph, loss, bd_broadcast(graph, scale, BD_SHAPE(4)), &weight, 1, &gradient, &error),
                     BD_OK);
    bd_set_role(graph, BD_ROLE_FIXED);
    bd_tensor total = bd_sum(graph, loss, 0, 1, false);
    bd_tensor master = bd_variable(graph, "master", BD_ROLE_MASTER, BD_F32, BD_SHAPE(4, 3), zero);
    bd_assign(graph, master, gradient);
    bd_tensor assign = graph->node_count - 1;

    bd_precision precision = parse("fp16,master=f32;fc2:a=f32,acc=f16");
    ck_assert_msg(bd_graph_apply_precision(graph, &precision, &error) == BD_OK, "%s", error.message);
    const struct {
        bd_tensor node;
        bd_format format, accumulator;
    } expected[] = {
        { control, BD_U32, BD_F32 }, { data, BD_U8, BD_F32 },      { batch, BD_F32, BD_F32 },
        { logits, BD_F16, BD_F32 },  { other, BD_F32, BD_F16 },    { weight, BD_F16, BD_F32 },
        { loss, BD_F16, BD_F32 },    { gradient, BD_F16, BD_F32 }, { constant, BD_F16, BD_F32 },
        { random, BD_F16, BD_F32 },  { iota, BD_F32, BD_F32 },     { scale, BD_F32, BD_F32 },
        { total, BD_F32, BD_F32 },   { master, BD_F32, BD_F32 },   { assign, BD_F32, BD_F32 },
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        const bd_node *node = bd_node_at(graph, expected[i].node);
        const char *name = bd_op_get_info(node->op)->name;
        ck_assert_msg(node->format == expected[i].format, "format of %s, case %zu", name, i);
        ck_assert_msg(node->accumulator == expected[i].accumulator, "accumulator of %s, case %zu", name, i);
    }

    precision = parse("fp32;fc3:w=f16");
    ck_assert_int_eq(bd_graph_apply_precision(graph, &precision, &error), BD_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "no layer 'fc3'; it has: fc1, fc2"));
    bd_graph_destroy(&graph);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("precision");
    TCase *tests = tcase_create("all");
    tcase_add_test(tests, presets);
    tcase_add_test(tests, presets_beside_half);
    tcase_add_test(tests, ends_of_a_model);
    tcase_add_test(tests, roundings);
    tcase_add_test(tests, settings);
    tcase_add_test(tests, layers);
    tcase_add_loop_test(tests, mistakes_are_named_with_their_place, 0, (int)(sizeof bad / sizeof *bad));
    tcase_add_test(tests, limits_of_a_policy);
    tcase_add_test(tests, formats_of_nodes);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
