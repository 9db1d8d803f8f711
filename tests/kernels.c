/* kernels [MODE] [OPTION]...: every kernel of a device against the reference.
 * Exit status: 0 all passed, 1 something failed, 2 usage, 77 no such device. */
#include "kernels.h"
#include "../engine/tile.h"

#include <popt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { EXIT_USAGE = 2, EXIT_NO_DEVICE = 77 };

typedef struct tally {
    bool verbose; /* a line a case */
    int passed, failed;
    double worst; /* largest error over its bound */
    char worst_case[160];
} tally;

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void on_report(void *user, const case_report *report)
{
    tally *t = user;
    *(report->good ? &t->passed : &t->failed) += 1;
    for (int i = 0; i < report->measure_count; i++)
        if (report->measures[i].ratio > t->worst) {
            t->worst = report->measures[i].ratio;
            snprintf(t->worst_case, sizeof t->worst_case, "%s", report->name);
        }
    if (report->good && !t->verbose)
        return;
    printf("  %s %s: %s%s%s\n", report->good ? "ok  " : "FAIL", report->group, report->name,
           report->message[0] ? ": " : "", report->message);
    fflush(stdout);
}

static bool run_groups(session *s, bool backward, bool verbose)
{
    int passed = 0, failed = 0;
    printf("%s, seed %llu%s\n", s->info->id, (unsigned long long)s->seed, s->no_fusion ? ", no fusion" : "");
    for (int g = 0; g < CASE_GROUPS; g++) {
        const case_group *group = &case_groups[g];
        tally t = { .verbose = verbose };
        double begun = seconds();
        if (group->backward != backward)
            continue;
        s->user = &t;
        session_run(s, group);
        if (t.passed + t.failed == 0)
            continue; /* filtered out */
        printf("%-14s %4d passed, %d failed", group->name, t.passed, t.failed);
        if (t.worst > 0)
            printf(", worst error %.3f of its bound (%s)", t.worst, t.worst_case);
        printf(", %.1f s\n", seconds() - begun);
        fflush(stdout);
        passed += t.passed;
        failed += t.failed;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed == 0;
}

static bool has_tiles(const session *s)
{
    const bd_target *target = &s->device->target;
    return s->tile.kind == BD_TILE_MATRIX2     ? target->joined.grain_count > 0
           : s->tile.kind == BD_TILE_WARPGROUP ? target->matrix.warpgroup_bytes > 0
           : s->tile.kind == BD_TILE_MATRIX8   ? target->matrix.codes.f8_bits > 0 || target->matrix.codes.int8
           : s->tile.kind == BD_TILE_WARPGROUP8
               ? target->matrix.warpgroup_codes.f8_bits > 0 || target->matrix.warpgroup_codes.int8
           : s->tile.kind == BD_TILE_RESIDENT ? target->matrix.resident_bytes > 0
                                              : target->matrix.m > 0;
}

int main(int argc, const char **argv)
{
    char *device = NULL, *filter = NULL, *limit = NULL, *tile = NULL, *avoid = NULL;
    long long seed = 1;
    int no_fusion = 0, verbose = 0, as_gpu = 0;
    const struct poptOption options[] = {
        { "device", 'd', POPT_ARG_STRING, &device, 0, "the device to test (reference)", "DEVICE" },
        { "limit", 'l', POPT_ARG_STRING, &limit, 0, "make it look smaller: see bd_device_limit", "LIMITS" },
        { "seed", 's', POPT_ARG_LONGLONG, &seed, 0, "of all random numbers (1)", "NUMBER" },
        { "filter", 'f', POPT_ARG_STRING, &filter, 0, "only cases whose \"group: name\" holds one of these",
          "TEXT|TEXT..." },
        { "no-fusion", 0, POPT_ARG_NONE, &no_fusion, 0, "every node a kernel of its own", NULL },
        { "tile", 't', POPT_ARG_STRING, &tile, 0,
          "of every contraction that can have it: group, matrix, matrix8, warpgroup, warpgroup8, matrix2 or resident, "
          "the work-group's, an item's or a subgroup's",
          "KIND:MxNxK:MxN" },
        { "avoid", 'a', POPT_ARG_STRING, &avoid, 0,
          "a variant that is not to be used, as `binade check` names it: attention-matrix, column-sums, tensor-maps",
          "VARIANT" },
        { "as-gpu", 0, POPT_ARG_NONE, &as_gpu, 0, "give a CPU driver the kernels of a GPU with 132 processors", NULL },
        { "verbose", 'v', POPT_ARG_NONE, &verbose, 0, "a line a case", NULL },
        POPT_AUTOHELP POPT_TABLEEND,
    };
    poptContext context = poptGetContext("kernels", argc, argv, options, 0);
    poptSetOtherOptionHelp(context, "[test|grad|bench|support] [OPTION]...");
    int parsed = poptGetNextOpt(context), exit_status = EXIT_SUCCESS;
    const char *argument = poptGetArg(context), *mode = argument ? argument : "test";
    bool is_test = strcmp(mode, "test") == 0, is_gradient = strcmp(mode, "grad") == 0;
    bool is_bench = strcmp(mode, "bench") == 0, is_support = strcmp(mode, "support") == 0;
    session s = { .seed = (uint64_t)seed, .filter = filter, .no_fusion = no_fusion != 0, .report = on_report };
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
    } else if (tile && !read_tile(tile, &s.tile)) {
        fprintf(stderr, "kernels: no tile '%s'; wanted one such as matrix2:128x256x64:64x64\n", tile);
        exit_status = EXIT_USAGE;
        bd_device_close(&s.device);
    } else if (avoid && !bd_variant_avoid(&s.device->target, avoid, strlen(avoid))) {
        fprintf(stderr, "kernels: no variant '%s'; there are attention-matrix, matrix, group-64x64 and others\n",
                avoid);
        exit_status = EXIT_USAGE;
        bd_device_close(&s.device);
    } else {
        s.info = bd_device_get_info(s.device);
        if (as_gpu) {
            enum { PROCESSORS = 132 }; /* an H100's: sums are cut, and tiles chosen, for many */
            s.device->target.is_cpu = false;
            s.device->target.limits.compute_units = PROCESSORS;
            s.device->target.texel_elements = 0;
        }
        bool good = true;
        s.group = mode;
        if (is_support)
            print_support(&s);
        else if (is_bench)
            good = run_benchmarks(&s);
        else
            good = run_groups(&s, is_gradient, verbose != 0);
        exit_status = good ? EXIT_SUCCESS : EXIT_FAILURE;
        if (tile) {
            printf("%d kernels with tile %s\n", s.tile_count, tile);
            if (good && s.tile_count == 0) /* fine only where the device has no such tiles at all */
                exit_status = s.tile.kind == BD_TILE_GROUP || has_tiles(&s) ? EXIT_FAILURE : EXIT_NO_DEVICE;
        }
        bd_device_close(&s.device);
    }
    poptFreeContext(context);
    free(device);
    free(filter);
    free(limit);
    free(tile);
    free(avoid);
    return exit_status;
}
