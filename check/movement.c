/* Views, concatenation, packing, gather and scatter: every value arrives unchanged where it belongs. */
#include "case.h"

#include <stdlib.h>

static bd_tensor special(test_case *c, bd_shape shape)
{
    return case_input(c, c->formats.value, shape, FILL_SPECIAL);
}

static void broadcasts(session *s, format_set f)
{
    test_case c;
    if (!case_begin(&c, s, f, "broadcast"))
        return;
    bd_graph *g = c.graph;
    case_output(&c, bd_broadcast(g, special(&c, BD_SHAPE(5, 1)), BD_SHAPE(3, 5, 7)), bit_identical);
    case_output(&c, bd_broadcast(g, special(&c, BD_SHAPE(7)), BD_SHAPE(33, 7)), bit_identical);
    case_output(&c, bd_broadcast(g, special(&c, (bd_shape){ 0 }), BD_SHAPE(257)), bit_identical);
    case_output(&c, bd_broadcast(g, special(&c, BD_SHAPE(1, 3, 1, 2)), BD_SHAPE(2, 3, 5, 2)), bit_identical);
    case_run(&c);
}

static void permutations(session *s, format_set f)
{
    static const int orders[][3] = { { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
    test_case c;
    if (!case_begin(&c, s, f, "permute"))
        return;
    bd_tensor x = special(&c, BD_SHAPE(5, 7, 11)), image = special(&c, BD_SHAPE(2, 5, 3, 6));
    bd_tensor six = special(&c, BD_SHAPE(2, 3, 1, 4, 2, 3));
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++)
        case_output(&c, bd_permute(c.graph, x, orders[i]), bit_identical);
    case_output(&c, bd_permute(c.graph, image, (int[]){ 0, 3, 1, 2 }), bit_identical);
    case_output(&c, bd_permute(c.graph, six, (int[]){ 5, 3, 0, 2, 4, 1 }), bit_identical);
    case_run(&c);
}

static void slices_and_pads(session *s, format_set f)
{
    test_case c;
    if (!case_begin(&c, s, f, "slice and pad"))
        return;
    bd_graph *g = c.graph;
    bd_tensor x = special(&c, BD_SHAPE(5, 7, 11));
    for (int axis = 0; axis < 3; axis++) {
        case_output(&c, bd_slice(g, x, axis, 1, 3), bit_identical);
        case_output(&c, bd_pad(g, x, axis, 2, 1), bit_identical);
    }
    case_output(&c, bd_slice(g, x, 2, 10, 1), bit_identical);
    case_output(&c, bd_pad(g, bd_slice(g, bd_permute(g, x, (int[]){ 2, 0, 1 }), 0, 3, 5), 2, 0, 4), bit_identical);
    case_output(&c, bd_reshape(g, bd_permute(g, x, (int[]){ 1, 0, 2 }), BD_SHAPE(35, 11)), bit_identical);
    case_run(&c);
}

static void concatenations(session *s, format_set f)
{
    test_case c;
    if (!case_begin(&c, s, f, "concat and pack"))
        return;
    bd_graph *g = c.graph;
    bd_tensor a = special(&c, BD_SHAPE(3, 5, 2)), b = special(&c, BD_SHAPE(1, 5, 2)),
              d = special(&c, BD_SHAPE(3, 4, 2));
    bd_tensor e = special(&c, BD_SHAPE(3, 5, 1)), flat = special(&c, BD_SHAPE(131));
    case_output(&c, bd_concat(g, (bd_tensor[]){ a, b, a }, 3, 0), bit_identical);
    case_output(&c, bd_concat(g, (bd_tensor[]){ d, a }, 2, 1), bit_identical);
    case_output(&c, bd_concat(g, (bd_tensor[]){ e, a, e }, 3, 2), bit_identical);
    /* Parts begin at multiples of 256 bytes, as the training step lays gradients out. */
    case_output(&c, bd_pack(g, (bd_tensor[]){ bd_neg(g, a), bd_neg(g, flat) }, (int64_t[]){ 0, 128 }, 2, 384),
                bit_identical);
    case_run(&c);
}

/* Enough elements, and sides that are multiples of four or are not, for work-items of a GPU that move four at once. */
static const bd_shape fours = { 4, { 8, 12, 24, 8 } };

static void views_of_fours(session *s, format_set f)
{
    test_case c;
    if (!case_begin(&c, s, f, "views of fours"))
        return;
    bd_graph *g = c.graph;
    bd_tensor x = special(&c, fours), line = special(&c, BD_SHAPE(20002));
    case_output(&c, bd_broadcast(g, special(&c, BD_SHAPE(24, 8)), fours), bit_identical);
    case_output(&c, bd_broadcast(g, special(&c, BD_SHAPE(12, 1, 8)), fours), bit_identical);
    case_output(&c, bd_broadcast(g, special(&c, BD_SHAPE(8, 1, 24, 1)), fours), bit_identical);
    case_output(&c, bd_permute(g, x, (int[]){ 0, 2, 1, 3 }), bit_identical);
    case_output(&c, bd_permute(g, x, (int[]){ 3, 0, 1, 2 }), bit_identical);
    case_output(&c, bd_pad(g, line, 0, 4, 2), bit_identical);
    case_output(&c, bd_slice(g, line, 0, 2, 20000), bit_identical);
    case_run(&c);
}

static void ranges_of_fours(session *s, format_set f, int axis)
{
    test_case c;
    if (!case_begin(&c, s, f, "ranges of fours, axis %d", axis))
        return;
    bd_graph *g = c.graph;
    bd_tensor x = special(&c, fours);
    case_output(&c, bd_slice(g, x, axis, 4, 4), bit_identical);
    case_output(&c, bd_slice(g, x, axis, 1, 7), bit_identical);
    case_output(&c, bd_pad(g, x, axis, 4, 4), bit_identical);
    case_output(&c, bd_pad(g, x, axis, 1, 4), bit_identical);
    case_output(&c, bd_concat(g, (bd_tensor[]){ bd_slice(g, x, axis, 0, 4), x }, 2, axis), bit_identical);
    case_output(&c, bd_concat(g, (bd_tensor[]){ bd_slice(g, x, axis, 0, 3), x }, 2, axis), bit_identical);
    case_run(&c);
}

static void empty(session *s, format_set f)
{
    test_case c;
    if (!case_begin(&c, s, f, "nothing"))
        return;
    bd_graph *g = c.graph;
    bd_tensor none = special(&c, BD_SHAPE(0, 3)), some = special(&c, BD_SHAPE(2, 3));
    case_output(&c, bd_permute(g, none, (int[]){ 1, 0 }), bit_identical);
    case_output(&c, bd_concat(g, (bd_tensor[]){ none, some }, 2, 0), bit_identical);
    case_output(&c, bd_pad(g, none, 0, 1, 1), bit_identical);
    case_output(&c, bd_slice(g, some, 0, 1, 0), bit_identical);
    case_run(&c);
}

void test_movement(session *s)
{
    /* Halves may share words, so they have it harder than floats. */
    broadcasts(s, fp16);
    permutations(s, fp16);
    slices_and_pads(s, fp16);
    concatenations(s, fp16);
    views_of_fours(s, fp16);
    for (int axis = 0; axis < fours.rank; axis++)
        ranges_of_fours(s, fp16, axis);
    empty(s, fp16);
    broadcasts(s, fp32);
    concatenations(s, fp32);
    views_of_fours(s, fp32);
    ranges_of_fours(s, fp32, 3);
}

/* ---- gather and its gradient ---- */

static void gather(session *s, format_set f, int64_t rows, int64_t width, int64_t count)
{
    test_case c;
    if (!case_begin(&c, s, f, "gather %lld of %lldx%lld", (long long)count, (long long)rows, (long long)width))
        return;
    double *places = test_allocate(count, sizeof *places);
    for (int64_t i = 0; i < count; i++)
        places[i] = (double)(case_random_bits(&c, 100, i) % (uint32_t)(rows + 2)); /* two beyond the table: clamped */
    bd_tensor index = case_input_values(&c, BD_U32, BD_SHAPE(count), places);
    bd_tensor as_float = case_input_values(&c, BD_F32, BD_SHAPE(count), places);
    bd_tensor table = case_input(&c, f.value, BD_SHAPE(rows, width), FILL_SPECIAL);
    bd_tensor whole = case_input(&c, f.value, BD_SHAPE(count, width), FILL_WHOLE);
    bd_tensor values = case_input(&c, f.value, BD_SHAPE(count, width), FILL_UNIFORM);
    case_output(&c, bd_gather(c.graph, table, index), bit_identical);
    case_output(&c, bd_gather(c.graph, table, as_float), bit_identical);
    case_output(&c, bd_scatter_add(c.graph, whole, index, rows), bit_identical);
    case_output(&c, bd_scatter_add(c.graph, values, index, rows), sum_of(count, 0));
    case_run(&c);
    free(places);
}

/* More places than lavapipe's loops have rounds, and sums of what a scatter makes. */
static void long_scatter(session *s, format_set f, int64_t rows, int64_t width, int64_t count)
{
    test_case c;
    if (!case_begin(&c, s, f, "scatter %lld to %lldx%lld", (long long)count, (long long)rows, (long long)width))
        return;
    double *places = test_allocate(count, sizeof *places);
    for (int64_t i = 0; i < count; i++)
        places[i] = (double)(case_random_bits(&c, 100, i) % (uint32_t)rows);
    bd_tensor index = case_input_values(&c, BD_U32, BD_SHAPE(count), places);
    bd_tensor values = case_input(&c, f.value, BD_SHAPE(count, width), FILL_UNIFORM);
    bd_tensor ones = bd_constant(c.graph, BD_SHAPE(count, width), 1);
    bd_set_role(c.graph, BD_ROLE_FIXED);
    bd_tensor sums = bd_scatter_add(c.graph, values, index, rows), counts = bd_scatter_add(c.graph, ones, index, rows);
    case_output(&c, sums, sum_of(count, 0));
    case_output(&c, bd_sum(c.graph, counts, 0, 2, false), bit_identical);
    case_output(&c, bd_sum(c.graph, bd_neg(c.graph, counts), 0, 1, false), bit_identical);
    case_run(&c);
    free(places);
}

void test_gather(session *s)
{
    gather(s, fp16, 1, 1, 1);
    gather(s, fp16, 11, 5, 7);
    gather(s, fp16, 7, 33, 129);
    gather(s, fp16_strict, 7, 33, 129);
    gather(s, fp32, 7, 33, 129);
    long_scatter(s, fp32, 11, 3, 100003);
    long_scatter(s, fp16, 11, 1, 100003);
    long_scatter(s, fp32, 1031, 5, 4099);
}
