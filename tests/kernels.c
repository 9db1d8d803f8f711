/* kernels [MODE] [OPTION]...: every kernel of a device against the reference.
 * Exit status: 0 all passed, 1 something failed, 2 usage, 77 no such device. */
#include "kernels.h"

#include <popt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { EXIT_USAGE = 2, EXIT_NO_DEVICE = 77 };

typedef struct test_group {
    const char *name;
    group_function run;
} test_group;

static const test_group test_groups[] = {
    { "unary", test_unary },
    { "binary", test_binary },
    { "movement", test_movement },
    { "gather", test_gather },
    { "reductions", test_reductions },
    { "softmax", test_softmax },
    { "matmul", test_matmul },
    { "convolutions", test_convolutions },
    { "pooling", test_pooling },
    { "depthwise", test_depthwise },
    { "sources", test_sources },
    { "control", test_control },
    { "limits", test_limits },
    { NULL, NULL },
};
static const test_group gradient_groups[] = { { "gradients", test_gradients }, { NULL, NULL } };

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static bool run_groups(session *s, const test_group *groups)
{
    int passed = 0, failed = 0;
    printf("%s, seed %llu%s\n", s->info->id, (unsigned long long)s->seed, s->no_fusion ? ", no fusion" : "");
    for (const test_group *group = groups; group->name; group++) {
        double begun = seconds();
        s->group = group->name;
        s->passed = s->failed = 0;
        s->worst = 0;
        group->run(s);
        if (s->passed + s->failed == 0)
            continue; /* filtered out */
        printf("%-14s %4d passed, %d failed", group->name, s->passed, s->failed);
        if (s->worst > 0)
            printf(", worst error %.3f of its bound (%s)", s->worst, s->worst_case);
        printf(", %.1f s\n", seconds() - begun);
        fflush(stdout);
        passed += s->passed;
        failed += s->failed;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed == 0;
}

int main(int argc, const char **argv)
{
    char *device = NULL, *filter = NULL, *limit = NULL;
    long long seed = 1;
    int no_fusion = 0, verbose = 0;
    const struct poptOption options[] = {
        { "device", 'd', POPT_ARG_STRING, &device, 0, "the device to test (reference)", "DEVICE" },
        { "limit", 'l', POPT_ARG_STRING, &limit, 0, "make it look smaller: see bd_device_limit", "LIMITS" },
        { "seed", 's', POPT_ARG_LONGLONG, &seed, 0, "of all random numbers (1)", "NUMBER" },
        { "filter", 'f', POPT_ARG_STRING, &filter, 0, "only cases whose \"group: name\" holds one of these",
          "TEXT|TEXT..." },
        { "no-fusion", 0, POPT_ARG_NONE, &no_fusion, 0, "every node a kernel of its own", NULL },
        { "verbose", 'v', POPT_ARG_NONE, &verbose, 0, "a line a case", NULL },
        POPT_AUTOHELP POPT_TABLEEND,
    };
    poptContext context = poptGetContext("kernels", argc, argv, options, 0);
    poptSetOtherOptionHelp(context, "[test|grad|bench|support] [OPTION]...");
    int parsed = poptGetNextOpt(context), exit_status = EXIT_SUCCESS;
    const char *argument = poptGetArg(context), *mode = argument ? argument : "test";
    bool is_test = strcmp(mode, "test") == 0, is_gradient = strcmp(mode, "grad") == 0;
    bool is_bench = strcmp(mode, "bench") == 0, is_support = strcmp(mode, "support") == 0;
    session s = { .seed = (uint64_t)seed, .filter = filter, .no_fusion = no_fusion != 0, .verbose = verbose != 0 };
    bd_error error;
    if (parsed < -1) {
        fprintf(stderr, "kernels: %s: %s\n", poptBadOption(context, 0), poptStrerror(parsed));
        exit_status = EXIT_USAGE;
    } else if (!(is_test || is_gradient || is_bench || is_support) || poptPeekArg(context)) {
        fprintf(stderr, "kernels: unknown mode '%s'; there are test, grad, bench and support\n", mode);
        exit_status = EXIT_USAGE;
    } else if (bd_device_open(device ? device : "reference", &s.device, &error) != BD_OK) {
        fprintf(stderr, "kernels: %s\n", error.message);
        exit_status = error.status == BD_ERROR_ARGUMENT ? EXIT_NO_DEVICE : EXIT_FAILURE;
    } else if (limit && bd_device_limit(s.device, limit, &error) != BD_OK) {
        fprintf(stderr, "kernels: %s\n", error.message);
        exit_status = EXIT_USAGE;
        bd_device_close(&s.device);
    } else {
        s.info = bd_device_get_info(s.device);
        bool good = true;
        s.group = mode;
        if (is_support)
            print_support(&s);
        else if (is_bench)
            good = run_benchmarks(&s);
        else
            good = run_groups(&s, is_test ? test_groups : gradient_groups);
        exit_status = good ? EXIT_SUCCESS : EXIT_FAILURE;
        bd_device_close(&s.device);
    }
    poptFreeContext(context);
    free(device);
    free(filter);
    free(limit);
    return exit_status;
}
