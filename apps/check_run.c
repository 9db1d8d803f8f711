/* Runs the cases on a device, finds what makes the failing ones right, and writes that down as quirks. */
#include "../check/probe.h"
#include "../engine/tile.h"
#include "app.h"
#include "check.h"
#include "lists.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const char *const check_format_names[CHECK_FORMATS] = { "fp32", "fp16", "fp16-strict", "mixed", "others" };

/* Of each kind of kernel one or two, so that drivers that compile slowly are done in half a minute. */
static const char quick_cases[] =
    "exact functions of every half fp16|transcendental functions of every half fp16|"
    "special pairs of floats|rows of 17x33 fp16-strict|matmul: 1 of 63x65x31 fp16|"
    "convolutions: 2x8x9x6 to 5|columns of 1472x128x32 fp16|final sums: columns, 20 of 4096|"
    "10 steps fp32";
/* What a remedy for contractions and attention is held against, and what variants run. */
static const char contraction_cases[] = "matmul: |convolutions: |columns: |attention: |training: ";
static const char quick_contraction_cases[] = "matmul: 1 of 63x65x31 fp|convolutions: 2x8x9x6 to 5";

/* After so many errors of the driver in a row the device is given up. */
enum { MOST_DEVICE_ERRORS = 5, MOST_REMEDIES = 24 };

typedef enum phase { MAIN, RETRY, CONFIRM, VARIANT } phase;

typedef struct runner {
    check *check;
    check_device *result;
    session session;
    bd_device *device;
    /* Variants that --limit takes from the device, as bd_target.avoid. */
    uint32_t limited[BD_FORMAT_COUNT][BD_FORMAT_COUNT];
    phase phase;
    bd_variant variant; /* of VARIANT */
    bool passed;        /* the case of RETRY */
    bd_status status;   /* of what keeps the results, not of the device */
    int done, total, device_errors;
} runner;

/* ---- what cases say ---- */

static int format_index(const char *name)
{
    for (int f = 0; f < CHECK_FORMATS; f++)
        if (!strcmp(name, check_format_names[f]))
            return f;
    return CHECK_FORMATS - 1;
}

static void note_measures(check_device *d, const case_report *report, int group, int format)
{
    check_cell *cell = &d->cells[group][format];
    for (int i = 0; i < report->measure_count; i++) {
        const case_measure *m = &report->measures[i];
        cell->ratio = fmax(cell->ratio, m->ratio);
        for (int v = 0; v < VALUE_CLASSES; v++)
            d->wrong[format][v] += m->wrong[v];
        /* Of the movement's nodes too the bits are compared, but only functions have an error worth a name. */
        if (m->of_ulps && (!strcmp(report->group, "unary") || !strcmp(report->group, "binary"))) {
            cell->ulps = fmax(cell->ulps, m->ulps);
            d->functions[m->op][format] = fmax(d->functions[m->op][format], m->ulps);
        }
    }
}

static void note_failure(runner *r, const case_report *report)
{
    check_device *d = r->result;
    bd_error error;
    if (list_grow((void **)&d->failures, d->failure_count, sizeof *d->failures, &error)) {
        r->status = error.status;
        return;
    }
    check_failure *failure = &d->failures[d->failure_count++];
    *failure = (check_failure){ .status = report->status, .format = format_index(report->formats) };
    snprintf(failure->name, sizeof failure->name, "%s: %s", report->group, report->name);
    snprintf(failure->message, sizeof failure->message, "%s", report->message);
    if (report->blamed)
        memcpy(failure->blamed, report->blamed, sizeof failure->blamed);
}

static void on_report(void *user, const case_report *report)
{
    runner *r = user;
    check_device *d = r->result;
    r->device_errors = report->status == BD_ERROR_DEVICE ? r->device_errors + 1 : 0;
    if (r->phase == MAIN) {
        int group = 0;
        const int format = format_index(report->formats);
        while (strcmp(case_groups[group].name, report->group) != 0)
            group++;
        d->cells[group][format].cases++;
        d->cells[group][format].failed += !report->good;
        note_measures(d, report, group, format);
        progress_count(&r->check->progress, report->group, ++r->done, r->total, "cases");
    } else if (r->phase == VARIANT &&
               report->status != BD_ERROR_UNSUPPORTED) { /* a tile that does not fit is no variant */
        d->variants[r->variant].cases++;
        d->variants[r->variant].failed += !report->good;
        progress_count(&r->check->progress, bd_variant_name(r->variant), ++r->done, r->total, "cases");
        /* Only the variant itself is to blame: a case of another format may have gone another way. */
        for (int f = 0; report->blamed && f < BD_FORMAT_COUNT; f++)
            for (int a = 0; a < BD_FORMAT_COUNT; a++)
                d->quirks.avoid[f][a] |= report->blamed[f][a] & 1u << r->variant;
    }
    r->passed = report->good;
    if (!report->good && (r->phase == MAIN || r->phase == CONFIRM))
        note_failure(r, report);
}

static bool should_stop(void *user)
{
    const runner *r = user;
    return app_interrupted() || r->status || r->device_errors >= MOST_DEVICE_ERRORS;
}

static void run_cases(runner *r, phase now, const char *filter)
{
    r->phase = now;
    r->session.filter = filter;
    r->session.counting = true;
    r->session.count = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int g = 0; g < CASE_GROUPS; g++)
            session_run(&r->session, &case_groups[g]);
        r->session.counting = false;
        r->total = r->session.count;
        r->done = 0;
    }
}

static bool passes(runner *r, const check_failure *failure)
{
    r->phase = RETRY;
    r->passed = false;
    r->session.only = failure->name;
    for (int g = 0; g < CASE_GROUPS; g++)
        session_run(&r->session, &case_groups[g]);
    r->session.only = NULL;
    return r->passed;
}

/* ---- remedies ---- */

/* The device as it was opened, with these quirks. */
static void obey(runner *r, const bd_quirks *quirks)
{
    r->device->info = r->result->info;
    bd_quirks_apply(quirks, r->device);
    for (int f = 0; f < BD_FORMAT_COUNT; f++)
        for (int a = 0; a < BD_FORMAT_COUNT; a++)
            r->device->target.avoid[f][a] |= r->limited[f][a];
}

static bool try_quirks(runner *r, const bd_quirks *more, check_failure *failure)
{
    bd_quirks both = r->result->quirks;
    bd_quirks_merge(&both, more);
    obey(r, &both);
    if (!passes(r, failure)) {
        obey(r, &r->result->quirks);
        return false;
    }
    r->result->quirks = both;
    bd_quirks_describe(more, failure->remedy, sizeof failure->remedy);
    return true;
}

static bool any_blamed(const check_failure *failure)
{
    const uint32_t *blamed = failure->blamed[0];
    for (int i = 0; i < BD_FORMAT_COUNT * BD_FORMAT_COUNT; i++)
        if (blamed[i])
            return true;
    return false;
}

/* What a kernel does beside its own work, left out alone: the kernel may be right. */
static bool try_without(runner *r, check_failure *failure, bd_variant beside)
{
    bd_quirks quirks = { 0 };
    bool any = false;
    for (int f = 0; f < BD_FORMAT_COUNT; f++)
        for (int a = 0; a < BD_FORMAT_COUNT; a++)
            any |= (quirks.avoid[f][a] = failure->blamed[f][a] & 1u << beside) != 0;
    return any && try_quirks(r, &quirks, failure);
}

/* Tries what may be at fault, one thing after the other, what takes least from the device first; true if one of them,
 * which is then in force, makes the case pass. */
static bool find_remedy(runner *r, check_failure *failure)
{
    const bd_half_support *half = &r->result->info.half;
    const bd_quirks no_half = { .no_half_arithmetic = true }, flushes = { .flushes_f32 = true },
                    small = { .max_workgroup_items = 64 };
    bd_quirks variant = { 0 };
    memcpy(variant.avoid, failure->blamed, sizeof variant.avoid);
    return try_without(r, failure, BD_VARIANT_LAST_GROUP) || try_without(r, failure, BD_VARIANT_COLUMN_SUMS) ||
           try_without(r, failure, BD_VARIANT_TENSOR_MAPS) ||
           (half->arithmetic && half->arithmetic_exact && try_quirks(r, &no_half, failure)) ||
           (half->subnormals_f32 && try_quirks(r, &flushes, failure)) ||
           (any_blamed(failure) && try_quirks(r, &variant, failure)) ||
           (r->result->info.limits.max_workgroup_items > 64 && try_quirks(r, &small, failure));
}

/* Do the quirks that are in force already make it pass? */
static bool is_remedied(runner *r, check_failure *failure)
{
    const bd_quirks *known = &r->result->quirks;
    obey(r, known);
    if (!bd_quirks_any(known) || !passes(r, failure))
        return false;
    bd_quirks_describe(known, failure->remedy, sizeof failure->remedy);
    return true;
}

/* For every failure a remedy, if there is one. Where a variant is left out its place is taken by another, which is then
 * to be checked as well: new failures may come to the list. */
static void diagnose(runner *r)
{
    check_device *d = r->result;
    for (size_t i = 0; i < d->failure_count && i < MOST_REMEDIES && !should_stop(r); i++) {
        if (is_remedied(r, &d->failures[i]) || !find_remedy(r, &d->failures[i]) || !any_blamed(&d->failures[i]))
            continue;
        progress_say(&r->check->progress, "%s: %s; checking what takes its place", d->failures[i].name,
                     d->failures[i].remedy);
        run_cases(r, CONFIRM, r->check->quick ? quick_contraction_cases : contraction_cases);
    }
    obey(r, &(bd_quirks){ 0 });
}

/* Each variant among which the tuner may choose, by leaving out all others. CPU drivers are not tuned: what they use
 * was run. */
static void check_variants(runner *r)
{
    const bd_target *target = &r->device->target;
    for (bd_variant v = 0; v < BD_VARIANT_COUNT && !target->is_cpu && !should_stop(r); v++) {
        if ((v >= BD_VARIANT_VECTOR && v <= BD_VARIANT_SIMD) || v == BD_VARIANT_ATTENTION_MATRIX ||
            v == BD_VARIANT_COLUMN_SUMS || v == BD_VARIANT_LAST_GROUP || v == BD_VARIANT_TENSOR_MAPS)
            continue;
        if (v == BD_VARIANT_LIBRARY && !target->library_f32 && !target->library_f16)
            continue;
        bd_quirks others = { 0 };
        for (int i = 0; i < 4; i++) {
            static const bd_format formats[] = { BD_F32, BD_F16 };
            others.avoid[formats[i / 2]][formats[i % 2]] = ~(1u << v) & ((1u << BD_VARIANT_LIBRARY) - 1);
        }
        if (v == BD_VARIANT_LIBRARY) /* only products can be its work: the rest goes its usual way */
            others = (bd_quirks){ 0 };
        r->variant = v;
        r->session.gemm = v == BD_VARIANT_LIBRARY ? BD_GEMM_LIBRARY : BD_GEMM_OWN;
        obey(r, &others);
        const char *all = v == BD_VARIANT_LIBRARY ? "matmul: " : "matmul: |convolutions: ";
        run_cases(r, VARIANT, r->check->quick ? quick_contraction_cases : all);
    }
    r->session.gemm = BD_GEMM_OWN;
    obey(r, &(bd_quirks){ 0 });
}

/* ---- sizes ---- */

/* What may be taken of memory without harm: a quarter of the device's, of a CPU driver's of what is free; little where
 * it must be quick. At most 8 GiB: no kernel counts further than 2^32 elements. */
static uint64_t buffer_share(const runner *r)
{
    const bd_device_info *info = &r->result->info;
    uint64_t most = info->limits.memory_bytes;
    if (info->type != BD_DEVICE_DISCRETE) {
        const uint64_t there = (uint64_t)sysconf(_SC_AVPHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
        most = most && most < there ? most : there;
    }
    most /= 4;
    const uint64_t ceiling = r->check->quick ? (uint64_t)256 << 20 : (uint64_t)8 << 30;
    return most < ceiling ? most : ceiling;
}

static bd_status find_sizes(runner *r, bd_error *error)
{
    check_device *d = r->result;
    const bd_limits *limits = &d->info.limits;
    uint64_t claimed = limits->max_buffer_bytes, share = buffer_share(r);
    if (limits->max_binding_bytes && claimed / limits->max_binding_bytes >= limits->max_bindings)
        claimed = limits->max_binding_bytes * (limits->max_bindings - 1); /* more a kernel cannot see */
    d->buffer_capped = claimed == 0 || share < claimed;
    d->buffer_tried = (d->buffer_capped ? share : claimed) / 65536 * 65536;
    progress_count(&r->check->progress, "largest buffer and work-group", 1, 2, "sizes");
    bd_status status = probe_buffer(&r->session, d->buffer_tried, &d->buffer_works, error);
    if (status == BD_OK)
        status = probe_workgroup(&r->session, &d->workgroup_items, error);
    if (status == BD_OK && d->buffer_works < d->buffer_tried)
        d->quirks.max_buffer_bytes = d->buffer_works < 65536 ? 65536 : d->buffer_works;
    if (status == BD_OK && 2 * d->workgroup_items <= limits->max_workgroup_items &&
        2 * d->workgroup_items <= limits->max_workgroup_size[0] &&
        8 * (uint64_t)d->workgroup_items <= limits->shared_bytes)
        d->quirks.max_workgroup_items = d->workgroup_items ? d->workgroup_items : 1;
    return status;
}

/* ---- a device ---- */

static void add_wrong(bd_quirks *quirks, const char *what)
{
    if (quirks->wrong_count < BD_QUIRKS_WRONG)
        snprintf(quirks->wrong[quirks->wrong_count++], sizeof quirks->wrong[0], "%.159s", what);
}

static bool is_nearest(const char *rounding)
{
    return !rounding || !strcmp(rounding, "to nearest even");
}

static void write_down(runner *r)
{
    check_device *d = r->result;
    const bd_half_support *half = &d->info.half;
    d->quirks.no_half_arithmetic |= half->arithmetic && !half->arithmetic_exact;
    d->quirks.flushes_f16 |= d->wrong[1][VALUE_SUBNORMAL] > 0 && d->wrong[1][VALUE_NORMAL] == 0;
    d->quirks.flushes_f32 |= !half->subnormals_f32;
    for (size_t i = 0; i < d->failure_count; i++)
        if (!d->failures[i].remedy[0])
            add_wrong(&d->quirks, d->failures[i].name);
    if (!is_nearest(d->rounding_f32))
        add_wrong(&d->quirks, "rounding of FP32 sums");
    if (!is_nearest(d->rounding_f16))
        add_wrong(&d->quirks, "rounding of FP32 to FP16");
    d->verdict =
        d->failure_count || d->quirks.wrong_count || d->quirks.max_workgroup_items || d->quirks.max_buffer_bytes
            ? CHECK_WRONG
            : CHECK_RIGHT;
    for (int v = 0; v < BD_VARIANT_COUNT; v++)
        if (d->variants[v].failed)
            d->verdict = CHECK_WRONG;
}

/* A quick check adds to what a whole one found; a device that only looks smaller, and the reference, have no file. */
static bd_status save(runner *r, bd_error *error)
{
    check_device *d = r->result;
    if (r->check->limit || !strcmp(d->info.backend, "reference"))
        return BD_OK;
    bd_quirks known;
    if (bd_quirks_load(&d->info, &known, error))
        progress_say(&r->check->progress, "what was there is replaced: %s", error->message);
    else if (r->check->quick)
        bd_quirks_merge(&d->quirks, &known);
    bd_status status = bd_quirks_save(&d->info, &d->quirks, d->quirks_path, sizeof d->quirks_path, error);
    if (status || !bd_quirks_any(&d->quirks))
        d->quirks_path[0] = '\0';
    return status;
}

static bd_status run_device(runner *r, bd_error *error)
{
    check_device *d = r->result;
    bd_status status;
    run_cases(r, MAIN, r->check->quick ? quick_cases : NULL);
    if (!should_stop(r) && ((status = probe_rounding(&r->session, BD_F32, &d->rounding_f32, error)) ||
                            (status = probe_rounding(&r->session, BD_F16, &d->rounding_f16, error))))
        return status;
    if (!should_stop(r))
        diagnose(r);
    r->session.repeats = 0;
    if (!should_stop(r))
        check_variants(r);
    if (!should_stop(r) && strcmp(d->info.backend, "reference") != 0 && (status = find_sizes(r, error)))
        return status;
    if (app_interrupted())
        return bd_fail(error, BD_ERROR_INTERRUPTED, "interrupted");
    if (r->status)
        return bd_fail(error, r->status, "no memory for the results");
    if (r->device_errors >= MOST_DEVICE_ERRORS)
        return bd_fail(error, BD_ERROR_DEVICE, "given up after %d errors in a row, the first: %s", MOST_DEVICE_ERRORS,
                       d->failures[0].message);
    return BD_OK;
}

static double seconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

bd_status check_run(check *self, check_device *d, bd_error *error)
{
    const double begun = seconds();
    runner r = { .check = self, .result = d };
    for (int g = 0; g < CASE_GROUPS; g++)
        for (int f = 0; f < CHECK_FORMATS; f++)
            d->cells[g][f].ulps = NAN; /* which fmax drops */
    for (int op = 0; op < BD_OP_COUNT; op++)
        for (int f = 0; f < CHECK_FORMATS; f++)
            d->functions[op][f] = NAN;
    self->progress.label = d->info.id;
    bd_status status = bd_device_open_without_quirks(d->info.id, &r.device, error);
    if (!status && self->limit)
        status = bd_device_limit(r.device, self->limit, error);
    if (!status) {
        d->info = *bd_device_get_info(r.device);
        memcpy(r.limited, r.device->target.avoid, sizeof r.limited);
        r.session = (session){ .device = r.device,
                               .info = &r.device->info,
                               .seed = self->seed,
                               .gemm = BD_GEMM_OWN,
                               .repeats = strcmp(d->info.backend, "reference") != 0 ? CHECK_REPEATS - 1 : 0,
                               .report = on_report,
                               .should_stop = should_stop,
                               .user = &r };
        status = run_device(&r, error);
    }
    bd_device_close(&r.device);
    progress_clear(&self->progress);
    d->seconds = seconds() - begun;
    if (status == BD_ERROR_INTERRUPTED || status == BD_ERROR_ARGUMENT)
        return status;
    if (status) { /* this device cannot be checked; the next one perhaps */
        d->verdict = CHECK_FAILED;
        snprintf(d->reason, sizeof d->reason, "%s", error->message);
        return BD_OK;
    }
    write_down(&r);
    return save(&r, error);
}

void check_finish(check *self)
{
    for (size_t i = 0; i < self->device_count; i++)
        free(self->devices[i].failures);
    free(self->devices);
}
