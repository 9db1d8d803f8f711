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
    { "fp8", "character 1:", "unknown preset 'fp8'; known: fp32, fp16, fp16-strict, mixed" },
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
    { "fp32;fc1", "character 6:", "no layer" },
    { "fp32;:w=f16", "character 6:", "no layer" },
    { "fp32;fc1:", "character 10:", "unknown setting ''; known in a layer: w, a" },
    { "fp32;fc1:scale=2", "character 10:", "unknown setting 'scale'" },
    { "fp32;fc1:w=f16:a", "character 12:", "unknown format 'f16:a'" },
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
    memset(text, 'w', sizeof text - 1);
    ck_assert_int_eq(bd_precision_parse(text, &precision, &error), BD_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "longer than 191"));
    strcpy(text, "fp32");
    for (int i = 0; i < BD_MAX_OVERRIDES; i++)
        strcat(text, ";l:w=f16");
    ck_assert_int_eq(bd_precision_parse(text, &precision, &error), BD_OK);
    strcat(text, ";l:w=f16");
    ck_assert_int_eq(bd_precision_parse(text, &precision, &error), BD_ERROR_ARGUMENT);
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
