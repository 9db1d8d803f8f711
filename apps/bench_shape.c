/* The sizes that --shape names, for each suite in its own order. */
#include "bench.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SHAPES = 1000, MOST_SIZES = 7 };

/* What a suite's shapes mean; rank 0: it takes none. One number alone may stand for several equal ones, and one size
 * may be left out, which is then 1. */
static const struct {
    int rank;
    bool single, may_lack;
    int lacking; /* which */
    const char *meaning;
} kinds[BENCH_SUITES] = {
    [BENCH_BANDWIDTH] = { .rank = 1, .single = true, .meaning = "BYTES" },
    [BENCH_GEMM] = { .rank = 4, .single = true, .may_lack = true, .lacking = 0, .meaning = "MxNxK, N or BATCHxMxNxK" },
    [BENCH_CONV] = { .rank = 7,
                     .may_lack = true,
                     .lacking = 6,
                     .meaning = "IMAGESxHEIGHTxWIDTHxINxOUTxKERNEL[xSTRIDE]" },
    [BENCH_REDUCE] = { .rank = 2, .meaning = "ROWSxCOLUMNS" },
    [BENCH_ATTENTION] = { .rank = 4, .meaning = "BATCHxHEADSxLENGTHxDEPTH" },
    [BENCH_TRAIN] = { .rank = 1, .single = true, .meaning = "BATCH" },
};

bool bench_takes(bench_suite suite, int rank)
{
    return rank == kinds[suite].rank || (kinds[suite].may_lack && rank == kinds[suite].rank - 1) ||
           (rank == 1 && kinds[suite].single);
}

/* All the sizes, from those that were given. */
static void complete(bench_suite suite, bench_shape *shape)
{
    const int least = kinds[suite].rank - kinds[suite].may_lack, lacking = kinds[suite].lacking;
    while (shape->rank < least)
        shape->size[shape->rank++] = shape->size[0];
    if (shape->rank == kinds[suite].rank)
        return;
    memmove(&shape->size[lacking + 1], &shape->size[lacking], (size_t)(shape->rank - lacking) * sizeof *shape->size);
    shape->size[lacking] = 1;
    shape->rank++;
}

/* A number, or first-last+step, or first-last*factor. */
typedef struct range {
    int64_t first, last, step;
    bool factor;
} range;

static bool take_number(const char **at, int64_t *value)
{
    char *end;
    errno = 0;
    const long long number = **at >= '0' && **at <= '9' ? strtoll(*at, &end, 10) : 0;
    if (number < 1 || errno || number > INT64_C(1) << 40)
        return false;
    *at = end;
    *value = number;
    return true;
}

static bool take_range(const char **at, range *result)
{
    if (!take_number(at, &result->first))
        return false;
    *result = (range){ result->first, result->first, 1, false };
    if (**at != '-')
        return true;
    ++*at;
    if (!take_number(at, &result->last) || (**at != '+' && **at != '*'))
        return false;
    result->factor = **at == '*';
    ++*at;
    return take_number(at, &result->step) && result->last >= result->first && (!result->factor || result->step > 1);
}

static bd_status add(bench_settings *settings, const bench_given_shape *shape, bd_error *error)
{
    if (settings->shape_count == MOST_SHAPES)
        return bd_fail(error, BD_ERROR_ARGUMENT, "--shape: more than %d shapes", MOST_SHAPES);
    if (!settings->shapes)
        settings->shapes = calloc(MOST_SHAPES, sizeof *settings->shapes);
    if (!settings->shapes)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for shapes");
    settings->shapes[settings->shape_count++] = *shape;
    return BD_OK;
}

/* Every combination of the ranges' values, the last size changing first. */
static bd_status add_all(bench_settings *settings, const range *ranges, bench_given_shape given, bd_error *error)
{
    const int rank = given.shape.rank;
    int64_t *size = given.shape.size;
    for (int i = 0; i < rank; i++)
        size[i] = ranges[i].first;
    for (;;) {
        bd_status status = add(settings, &given, error);
        if (status)
            return status;
        int i = rank - 1;
        for (; i >= 0; i--) {
            const range *r = &ranges[i];
            /* Asked before it is computed: the product may be beyond 64 bits. */
            if (r->factor ? size[i] <= r->last / r->step : size[i] <= r->last - r->step) {
                size[i] = r->factor ? size[i] * r->step : size[i] + r->step;
                break;
            }
            size[i] = r->first;
        }
        if (i < 0)
            return BD_OK;
    }
}

static bd_status check_taken(const bench_settings *settings, const char *item, const bench_given_shape *given,
                             bd_error *error)
{
    const int rank = given->shape.rank;
    char known[256] = "";
    size_t length = 0;
    for (int s = 0; s < BENCH_SUITES; s++) {
        if (!settings->asked[s] || !kinds[s].rank || (given->named && given->suite != (bench_suite)s))
            continue;
        if (bench_takes((bench_suite)s, rank))
            return BD_OK;
        length += (size_t)snprintf(known + length, sizeof known - length, "%s%s takes %s", length ? ", " : "",
                                   bench_suite_names[s], kinds[s].meaning);
        length = length < sizeof known ? length : sizeof known - 1;
    }
    return bd_fail(error, BD_ERROR_ARGUMENT, "--shape %s: no suite that runs takes %d size%s; %s", item, rank,
                   rank == 1 ? "" : "s", length ? known : "name one with --suite");
}

/* "train:" before the sizes. */
static const char *take_suite(const char *item, bench_given_shape *given)
{
    const char *colon = strchr(item, ':');
    for (int s = 0; colon && s < BENCH_SUITES; s++) {
        const size_t length = strlen(bench_suite_names[s]);
        if (length != (size_t)(colon - item) || strncmp(item, bench_suite_names[s], length) != 0)
            continue;
        given->named = true;
        given->suite = (bench_suite)s;
        return colon + 1;
    }
    return item;
}

static bd_status parse_item(const char *item, bench_settings *settings, bd_error *error)
{
    range ranges[MOST_SIZES];
    bench_given_shape given = { 0 };
    const char *at = take_suite(item, &given);
    int rank = 0;
    bool good = true;
    while (good && rank < MOST_SIZES) {
        good = take_range(&at, &ranges[rank++]);
        if (!good || *at != 'x')
            break;
        at++;
    }
    if (!good || *at)
        return bd_fail(error, BD_ERROR_ARGUMENT,
                       "--shape %s: up to %d sizes joined by 'x' are needed, each a number, first-last+step or "
                       "first-last*factor; before them may stand a suite and ':'",
                       item, MOST_SIZES);
    given.shape.rank = rank;
    bd_status status = check_taken(settings, item, &given, error);
    return status ? status : add_all(settings, ranges, given, error);
}

bd_status bench_parse_shapes(const char *text, bench_settings *settings, bd_error *error)
{
    char *copy = strdup(text);
    if (!copy)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for --shape");
    bd_status status = BD_OK;
    for (char *item = copy; !status && item;) {
        char *end = strchr(item, ',');
        if (end)
            *end++ = '\0';
        status = parse_item(item, settings, error);
        item = end;
    }
    free(copy);
    return status;
}

bd_status bench_shapes(const bench *self, bench_suite suite, const bench_shape *defaults, size_t count,
                       bench_shape **shapes, size_t *shape_count, bd_error *error)
{
    const bench_settings *s = &self->settings;
    const bool given = s->shape_count > 0 && s->asked[suite]; /* else the suite runs for its numbers */
    const size_t most = given ? s->shape_count : count;
    *shape_count = 0;
    *shapes = calloc(most + 1, sizeof **shapes);
    if (!*shapes)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for shapes");
    for (size_t i = 0; i < most; i++) {
        bench_shape shape = given ? s->shapes[i].shape : defaults[i];
        const bool for_another = given && s->shapes[i].named && s->shapes[i].suite != suite;
        if (!bench_takes(suite, shape.rank) || for_another)
            continue;
        complete(suite, &shape);
        (*shapes)[(*shape_count)++] = shape;
    }
    return BD_OK;
}
