/* What Binade changes in PTX: text in, text out. */
#include "../backends/nvidia/ptx.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define HEAD "// a comment\n.version 8.8\n.target sm_90, texmode_independent\n.address_size 64\n\n\t// .globl\tbinade\n"
#define CUDA_HEAD "// a comment\n.version 8.8\n.target sm_90\n.address_size 64\n"
#define ENTRY                                                                                                          \
    ".entry binade(\n\t.param .u64 .ptr .global .align 2 binade_param_0\n)\n.reqntid 128, 1, 1\n{\n"                   \
    "\t.reg .b64 \t%rd<2>;\n"
#define BODY "\tmov.u64 \t%rd1, binade_$_panels;\n\tret;\n}\n"
#define PANELS(bytes) "\t// demoted variable\n\t.shared .align 1024 .b8 binade_$_panels[" bytes "];\n"

static bd_error error;

/* The result, or NULL if it is refused with the status. */
static char *for_cuda(const char *ptx, uint32_t *shared_bytes, bd_status expected)
{
    char *result = (char *)ptx;
    memset(&error, 0, sizeof error);
    ck_assert_int_eq(bd_ptx_for_cuda(ptx, &result, shared_bytes, &error), expected);
    if (expected != BD_OK) {
        ck_assert_ptr_null(result);
        ck_assert(error.message[0]);
    }
    return result;
}

START_TEST(what_is_covered_is_uncovered_for_sm_90a)
{
    const char *covered = HEAD ENTRY "\t//+wgmma.fence.sync.aligned;\n\t//+{ .reg .pred p; }\n" BODY;
    ck_assert(bd_ptx_is_covered(covered));
    char *text = bd_ptx_uncover(covered);
    ck_assert_ptr_nonnull(text);
    ck_assert(!bd_ptx_is_covered(text));
    ck_assert_ptr_nonnull(strstr(text, "\n.target sm_90a, texmode_independent\n"));
    ck_assert_ptr_nonnull(strstr(text, "\t   wgmma.fence.sync.aligned;\n\t   { .reg .pred p; }\n" BODY));
    char *again = bd_ptx_uncover(text); /* sm_90a stays */
    ck_assert_str_eq(again, text);
    free(again);
    free(text);
    ck_assert(!bd_ptx_is_covered(HEAD ENTRY BODY));
    ck_assert_ptr_null(bd_ptx_uncover(".version 8.8\n.target sm_80\n//+wgmma"));
}
END_TEST

START_TEST(small_arrays_stay_where_they_are)
{
    uint32_t bytes = 1;
    char *text = for_cuda(HEAD ENTRY PANELS("49152") BODY, &bytes, BD_OK);
    ck_assert_str_eq(text, CUDA_HEAD "\n\t// .globl\tbinade\n.visible " ENTRY PANELS("49152") BODY);
    ck_assert_uint_eq(bytes, 0);
    free(text);
    text = for_cuda(HEAD ENTRY BODY, &bytes, BD_OK);
    ck_assert_uint_eq(bytes, 0);
    char *again = for_cuda(text, &bytes, BD_OK); /* visible once */
    ck_assert_str_eq(again, text);
    free(again);
    free(text);
}
END_TEST

START_TEST(a_large_array_is_given_at_launch)
{
    uint32_t bytes = 0;
    char *text = for_cuda(HEAD ENTRY PANELS("196608") BODY, &bytes, BD_OK);
    ck_assert_str_eq(text, CUDA_HEAD
                     ".extern .shared .align 1024 .b8 binade_$_panels[];\n\n\t// .globl\tbinade\n.visible " ENTRY
                     "\t// demoted variable\n\n" BODY);
    ck_assert_uint_eq(bytes, 196608);
    free(text);
}
END_TEST

START_TEST(what_is_not_understood_is_refused)
{
    static const char *const refused[] = {
        "",
        "\n",
        "\177ELF",
        HEAD,                                                          /* no entry */
        ".version 8.8\n.address_size 64\n" ENTRY BODY,                 /* no target */
        ".version 8.8\n.target sm_90a\n" ENTRY PANELS("196608") BODY,  /* nowhere to declare it */
        HEAD ENTRY PANELS("65536") PANELS("1024") BODY,                /* which of them? */
        HEAD ENTRY PANELS("32768") PANELS("32768") BODY,               /* too much together */
        HEAD ENTRY "\t.shared .align 4 .u32 binade_$_one;\n" BODY,     /* no array */
        HEAD ENTRY PANELS("") BODY,                                    /* no size */
        HEAD ENTRY "\t.shared .align 4 .b8 binade_$_panels[12\n" BODY, /* no end */
        HEAD ENTRY "\tmov.b32 \t%r1, %envreg3;\n" BODY,                /* a global offset */
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        uint32_t bytes;
        for_cuda(refused[i], &bytes, BD_ERROR_UNSUPPORTED);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ptx_text");
    TCase *texts = tcase_create("texts");
    tcase_add_test(texts, what_is_covered_is_uncovered_for_sm_90a);
    tcase_add_test(texts, small_arrays_stay_where_they_are);
    tcase_add_test(texts, a_large_array_is_given_at_launch);
    tcase_add_test(texts, what_is_not_understood_is_refused);
    suite_add_tcase(suite, texts);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
