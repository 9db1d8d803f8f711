/* The bodies of row and column kernels. */
#include "print.h"
#include "tile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME = 40 }; /* bytes of a variable's name */

typedef struct accumulation {
    bd_tensor node;
    const char *combine; /* a two-operand macro of the preludes */
    const char *start;
    char name[NAME], at[NAME];
} accumulation;

/* Steps of a loop whose loads are under way together; and of those, the most that a last work-group's items sum
 * apart. */
enum { MOST_STEPS = 4, MOST_PLACES = 18 };
enum { MOST_WINDOWS = 2 }; /* of a turn */

/* How the work-items walk over what they sum: `width` elements of a row, or of so many columns, at each step. Or, in
 * columns of images, the pixels of a window of pooling: its gradient looks at a window once then. Places count windows,
 * not rows of pixels: the first `taps` are the first window's. */
typedef struct walk {
    bool rows;
    uint32_t width;         /* elements of a step */
    uint32_t stride;        /* from one step of an item to its next */
    uint32_t steps;         /* of one turn of the loop */
    uint32_t shares;        /* lanes that an item stands in for: 1, or one a step */
    bool even;              /* every item's steps are whole turns */
    uint32_t results;       /* of each sum: one a row, one a column */
    bool once;              /* an item has one step at most: its values stay in registers from pass to pass */
    uint32_t taps;          /* elements of a column at each step: 1, or a window's */
    const bd_node *pooling; /* the windows' node; NULL without */
} walk;

static const char *const places[MOST_PLACES] = { "r",  "r1",  "r2",  "r3",  "r4",  "r5",  "r6",  "r7",  "r8",
                                                 "r9", "r10", "r11", "r12", "r13", "r14", "r15", "r16", "r17" };
static const char *const elements[MOST_PLACES] = { "i",  "i1",  "i2",  "i3",  "i4",  "i5",  "i6",  "i7",  "i8",
                                                   "i9", "i10", "i11", "i12", "i13", "i14", "i15", "i16", "i17" };

static bool is_moment(const bd_node *node)
{
    return node->op == BD_OP_MEAN || node->op == BD_OP_DEVIATIONS;
}

/* Position of the node among the kernel's; -1 if it is not one of them. Names are made of it: equal kernels of other
 * layers have the same. */
static int position(const bd_kernel *kernel, bd_tensor tensor)
{
    for (int i = 0; i < kernel->node_count; i++)
        if (kernel->nodes[i] == tensor)
            return i;
    return -1;
}

/* A variable of the node at that position: one a neighbour, and one more for each in every other share. */
static void name_variable(char name[NAME], const char *what, int number, const bd_printer *printer, uint32_t neighbour)
{
    if (printer->kernel->width > 1 || neighbour)
        snprintf(name, NAME, "%s%d_%u", what, number, neighbour);
    else
        snprintf(name, NAME, "%s%d", what, number);
}

static accumulation accumulate(const bd_printer *printer, bd_tensor tensor, uint32_t neighbour)
{
    const bd_node *node = &printer->plan->graph->nodes[tensor];
    const int number = position(printer->kernel, tensor);
    accumulation a = { tensor, "bd_max", "-BD_INFINITY", "", "" };
    if (is_moment(node)) {
        a.combine = "BD_ADD_f32";
        a.start = "0.0f";
    } else if (node->op == BD_OP_SUM) {
        a.combine = node->accumulator == BD_F16 ? "BD_ADD_f16" : "BD_ADD_f32";
        a.start = "0.0f";
    }
    name_variable(a.name, "a", number, printer, neighbour);
    name_variable(a.at, "at", number, printer, neighbour);
    return a;
}

/* ---- what the lanes of a work-group put together ---- */

/* Values put together at once take this much local memory, but no more of them than leave room for other
 * work-groups. */
enum { SLOT_BYTES = 32768, MOST_SLOTS = 8 };

typedef struct gathering {
    int count;
    char names[MOST_SLOTS][NAME];
    const char *combine[MOST_SLOTS];
} gathering;

static int most_slots(const bd_printer *printer)
{
    const uint32_t bytes = printer->slot_bytes < SLOT_BYTES ? printer->slot_bytes : SLOT_BYTES;
    const uint32_t slots = bytes / (printer->kernel->local[0] * printer->kernel->local[1] * (uint32_t)sizeof(float));
    return slots < 1 ? 1 : slots > MOST_SLOTS ? MOST_SLOTS : (int)slots;
}

static void finish_gathering(bd_printer *printer, gathering *g, uint32_t lanes)
{
    bd_text *text = bd_emitter_text(printer->emitter);
    if (g->count && lanes > 1) {
        printer->slots = g->count > printer->slots ? g->count : printer->slots;
        bd_text_append(text, "BD_BARRIER;\n");
        for (int i = 0; i < g->count; i++)
            bd_text_append(text, "BD_SLOT(%d, lane) = %s;\n", i, g->names[i]);
        bd_text_append(text, "for (uint half_ = BD_LANES / 2; half_ > 0; half_ /= 2) {\nBD_BARRIER;\n"
                             "if (lane < half_) {\n");
        for (int i = 0; i < g->count; i++)
            bd_text_append(text, "BD_SLOT(%d, lane) = %s(BD_SLOT(%d, lane), BD_SLOT(%d, lane + half_));\n", i,
                           g->combine[i], i, i);
        bd_text_append(text, "}\n}\nBD_BARRIER;\n");
        for (int i = 0; i < g->count; i++)
            bd_text_append(text, "%s = BD_SLOT(%d, 0);\n", g->names[i], i);
    }
    g->count = 0;
}

static void gather(bd_printer *printer, gathering *g, const char *combine, const char *name, uint32_t lanes)
{
    if (g->count == most_slots(printer))
        finish_gathering(printer, g, lanes);
    snprintf(g->names[g->count], sizeof g->names[0], "%s", name);
    g->combine[g->count++] = combine;
}

static uint32_t lanes_of(const bd_printer *printer)
{
    return printer->kernel->local[printer->kernel->class == BD_KERNEL_ROWS ? 0 : 1];
}

/* Every result of a sum: the accumulators of one row first become one, and the shares of lanes what those would put
 * together first. */
static void gather_results(bd_printer *printer, const walk *w, gathering *g, const char *combine, const char *what,
                           int number)
{
    for (uint32_t half = w->shares / 2; half > 0; half /= 2)
        for (uint32_t i = 0; i < half * w->width; i++) {
            char first[NAME], name[NAME];
            name_variable(first, what, number, printer, i);
            name_variable(name, what, number, printer, i + half * w->width);
            bd_text_append(bd_emitter_text(printer->emitter), "%s = %s(%s, %s);\n", first, combine, first, name);
        }
    for (uint32_t i = w->results; i < w->width; i++) {
        char first[NAME], name[NAME];
        name_variable(first, what, number, printer, 0);
        name_variable(name, what, number, printer, i);
        bd_text_append(bd_emitter_text(printer->emitter), "%s = %s(%s, %s);\n", first, combine, first, name);
    }
    for (uint32_t i = 0; i < w->results; i++) {
        char name[NAME];
        name_variable(name, what, number, printer, i);
        gather(printer, g, combine, name, lanes_of(printer));
    }
}

/* ---- means and deviations ---- */

/* MEAN and DEVIATIONS are summed from a value near the mean, the first of the part, so that little cancels in the end
 * (shifted data: Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance", 1983): sum (x - mean)^2 = sum
 * (x - shift)^2 - (sum (x - shift))^2 / n. A partial result counts as often as it has values. shiftN, sumN and countN
 * are by the position N of the node that sums: DEVIATIONS leave that to a MEAN of the same values before them. */
static bd_tensor summing_node(const bd_printer *printer, bd_tensor moment)
{
    const bd_graph *graph = printer->plan->graph;
    const bd_node *node = &graph->nodes[moment];
    for (int i = 0; node->op == BD_OP_DEVIATIONS && printer->kernel->nodes[i] < moment; i++) {
        const bd_node *other = &graph->nodes[printer->kernel->nodes[i]];
        if (other->op == BD_OP_MEAN && other->inputs[0] == node->inputs[0] &&
            other->attr.reduce.first == node->attr.reduce.first && other->attr.reduce.count == node->attr.reduce.count)
            return printer->kernel->nodes[i];
    }
    return moment;
}

static const char *const pooled[MOST_WINDOWS] = { "pooled", "pooled1" };

/* The pixels of a window, and what they are pooled to. Windows cover the image: the row of pixels that is the first of
 * row `y` of windows, of all images' one after the other, is y times a window's height. */
static void print_window(bd_printer *printer, const walk *w, uint32_t step)
{
    bd_text *text = bd_emitter_text(printer->emitter);
    const bd_window *window = &w->pooling->attr.window;
    const unsigned height = (unsigned)window->size[0], width = (unsigned)window->size[1],
                   line = (unsigned)w->pooling->shape.dim[2], across = line / width;
    bd_text_append(text,
                   "const uint window%u = %s / %uu, %s = window%u * BD_INNER + column;\n"
                   "const uint %s = (window%u / %uu * %uu + window%u %% %uu * %uu) * BD_INNER + column;\n",
                   step, places[step], w->taps, pooled[step], step, elements[step * w->taps], step, across,
                   height * line, step, across, width);
    for (uint32_t t = 1; t < w->taps; t++)
        bd_text_append(text, "const uint %s = %s + %uu * BD_INNER;\n", elements[step * w->taps + t],
                       elements[step * w->taps], t / width * line + t % width);
}

static void print_element(bd_printer *printer, const walk *w, int step)
{
    if (w->pooling) {
        print_window(printer, w, (uint32_t)step);
        return;
    }
    bd_text_append(bd_emitter_text(printer->emitter),
                   w->rows ? "const uint %s = row * BD_LENGTH + %s;\n"
                           : "const uint %s = (outer * BD_LENGTH + %s) * BD_INNER + column;\n",
                   elements[step], places[step]);
}

static void start_moment(bd_printer *printer, const walk *w, bd_tensor moment, const char *index)
{
    const bd_node *node = &printer->plan->graph->nodes[moment];
    bd_emitter *emitter = printer->emitter;
    bd_text *text = bd_emitter_text(emitter);
    const int number = position(printer->kernel, moment);
    char shift[NAME], sum[NAME];
    const char *lanes[BD_WIDTH];
    if (summing_node(printer, moment) != moment)
        return;
    for (uint32_t i = 0; i < w->width * w->shares; i++) {
        name_variable(sum, "sum", number, printer, i);
        name_variable(shift, "shift", number, printer, i);
        bd_text_append(text, i < w->results ? "BD_VALUE %s = 0.0f, %s = 0.0f;\n" : "BD_VALUE %s = 0.0f;\n", sum, shift);
    }
    bd_text_append(text, "if (first < last) {\nconst uint r = first;\n");
    print_element(printer, w, 0);
    const int mark = bd_emit_open(emitter);
    bd_emit_lanes(emitter, index, lanes);
    for (uint32_t i = 0; i < w->results; i++) {
        const char *value = bd_emit_value(emitter, node->inputs[0], lanes[i]);
        name_variable(shift, "shift", number, printer, i);
        bd_text_append(text, "%s = %s;\n", shift, value);
    }
    bd_emit_close(emitter, mark);
    bd_text_append(text, "}\n");
    if (node->attr.reduce.members)
        bd_text_append(text, "const float count%d = %lld.0f;\n", number, (long long)node->attr.reduce.total);
    else
        bd_text_append(text, "const float count%d = BD_FLOAT(max(last, first + 1u) - first);\n", number);
}

static void add_to_moment(bd_printer *printer, const walk *w, bd_tensor moment, int step, uint32_t neighbour,
                          const char *index)
{
    const uint32_t share = w->shares > 1 ? (uint32_t)step * w->width : 0;
    const bd_node *node = &printer->plan->graph->nodes[moment];
    bd_text *text = bd_emitter_text(printer->emitter);
    const int summing = position(printer->kernel, summing_node(printer, moment));
    const int own = position(printer->kernel, moment);
    const unsigned long long each = (unsigned long long)node->attr.reduce.members,
                             total = (unsigned long long)node->attr.reduce.total;
    char shift[NAME], sum[NAME], n[NAME], d[NAME];
    const accumulation a = accumulate(printer, moment, share + neighbour);
    name_variable(shift, "shift", summing, printer, w->results > 1 ? neighbour : 0);
    name_variable(sum, "sum", summing, printer, share + neighbour);
    snprintf(n, sizeof n, "n%d_%d_%u", own, step, neighbour);
    snprintf(d, sizeof d, "d%d_%d_%u", own, step, neighbour);
    const char *value = bd_emit_value(printer->emitter, node->inputs[0], index);
    bd_text_append(text, "BD_VALUE %s = %s - %s, %s = 1.0f;\n", d, value, shift, n);
    if (each)
        bd_text_append(text, "%s = BD_FLOAT(%s * %lluu < %lluu ? min(%lluu, %lluu - %s * %lluu) : 0u);\n", n,
                       places[step], each, total, each, total, places[step], each);
    if (summing == own)
        bd_text_append(text, "%s += %s * %s;\n", sum, n, d);
    if (node->op == BD_OP_MEAN)
        return;
    bd_text_append(text, "%s = fma(%s * %s, %s, %s);\n", a.name, n, d, d, a.name);
    if (each)
        bd_text_append(text, "%s += %s;\n", a.name, bd_emit_value(printer->emitter, node->inputs[1], index));
}

static void finish_moment(bd_printer *printer, bd_tensor moment, uint32_t neighbour)
{
    bd_text *text = bd_emitter_text(printer->emitter);
    const int number = position(printer->kernel, summing_node(printer, moment));
    const accumulation a = accumulate(printer, moment, neighbour);
    char shift[NAME], sum[NAME];
    name_variable(shift, "shift", number, printer, neighbour);
    name_variable(sum, "sum", number, printer, neighbour);
    if (printer->plan->graph->nodes[moment].op == BD_OP_MEAN)
        bd_text_append(text, "%s = %s + BD_DIV(%s, count%d);\n", a.name, shift, sum, number);
    else
        bd_text_append(text, "%s = bd_max(%s - BD_DIV(%s * %s, count%d), 0.0f);\n", a.name, a.name, sum, sum, number);
}

/* ---- passes ---- */

/* In which pass the value is there, at `input` of the kernel's node `i`. */
static int pass_of(const bd_printer *printer, bd_tensor input)
{
    const bd_graph *graph = printer->plan->graph;
    if (input == BD_NONE)
        return 0;
    const bd_tensor base = bd_view_base(graph, input);
    const int at = position(printer->kernel, base);
    int latest = at >= 0 ? printer->pass[at] : 0;
    for (int i = 0; graph->nodes[base].recompute && i < graph->nodes[base].input_count; i++) {
        const int pass = pass_of(printer, graph->nodes[base].inputs[i]);
        latest = pass > latest ? pass : latest;
    }
    return latest;
}

/* In which pass each node's value is there: a reduction one pass after what it sums. */
static int find_passes(bd_printer *printer)
{
    int *pass = printer->pass;
    const bd_graph *graph = printer->plan->graph;
    const bd_kernel *kernel = printer->kernel;
    int passes = 0;
    for (int i = 0; i < kernel->node_count; i++) {
        const bd_node *node = &graph->nodes[kernel->nodes[i]];
        pass[i] = 0;
        for (int j = 0; j < node->input_count; j++) {
            const int latest = pass_of(printer, node->inputs[j]);
            pass[i] = latest > pass[i] ? latest : pass[i];
        }
        if (bd_op_get_info(node->op)->class == BD_CLASS_REDUCTION && ++pass[i] > passes)
            passes = pass[i];
    }
    return passes;
}

static bool is_reduction(const bd_printer *printer, int i)
{
    return bd_op_get_info(printer->plan->graph->nodes[printer->kernel->nodes[i]].op)->class == BD_CLASS_REDUCTION;
}

/* One turn of the loop: `steps` steps, the first at `r` and `begin` steps on. All values of a turn come before what it
 * stores, so that no load waits for a store. */
static void print_turn(bd_printer *printer, const walk *w, int number, uint32_t begin, uint32_t steps,
                       bool store_elements)
{
    const bd_graph *graph = printer->plan->graph;
    const bd_kernel *kernel = printer->kernel;
    bd_emitter *emitter = printer->emitter;
    bd_text *text = bd_emitter_text(emitter);
    const int mark = w->once ? 0 : bd_emit_open(emitter);
    for (uint32_t e = begin * w->taps; e < (begin + steps) * w->taps; e++) {
        const uint32_t step = e / w->taps;
        const uint32_t share = w->shares > 1 ? step * w->width : 0;
        const char *lanes[BD_WIDTH], *index = kernel->elements == 1 ? "0u" : elements[e];
        if (step && e % w->taps == 0)
            bd_text_append(text, "const uint %s = r + %uu;\n", places[step], step * w->stride);
        if (e % w->taps == 0 && (!w->once || number == 1))
            print_element(printer, w, (int)step);
        bd_emit_lanes(emitter, index, lanes);
        for (int i = 0; i < kernel->node_count && w->once; i++)
            for (uint32_t j = 0; j < w->width && is_reduction(printer, i) && printer->pass[i] == number; j++)
                bd_emit_value(emitter, graph->nodes[kernel->nodes[i]].inputs[0], lanes[j]);
        if (w->once && store_elements)
            bd_print_values(printer, BD_SPACE_ELEMENT, index);
        if (w->once)
            bd_text_append(text, "if (mine) {\n");
        for (int i = 0; i < kernel->node_count; i++) {
            const bd_node *node = &graph->nodes[kernel->nodes[i]];
            if (!is_reduction(printer, i) || printer->pass[i] != number)
                continue;
            for (uint32_t j = 0; j < w->width; j++) {
                const accumulation a = accumulate(printer, kernel->nodes[i], share + j);
                const char *value = bd_emit_value(emitter, node->inputs[0], lanes[j]);
                if (node->op == BD_OP_ARGMAX) /* the first NaN counts as the largest */
                    bd_text_append(text,
                                   "if (!(%s <= %s) && %s == %s || r == first + lane) { %s = %s; %s = BD_FLOAT(r); }\n",
                                   value, a.name, a.name, a.name, a.name, value, a.at);
                else if (is_moment(node))
                    add_to_moment(printer, w, a.node, (int)step, j, lanes[j]);
                else
                    bd_text_append(text, "%s = %s(%s, %s);\n", a.name, a.combine, a.name, value);
            }
        }
        if (store_elements)
            bd_print_values(printer, BD_SPACE_ELEMENT, index);
    }
    for (uint32_t e = begin * w->taps; e < (begin + steps) * w->taps && store_elements; e++)
        bd_print_stores(printer, BD_SPACE_ELEMENT, kernel->elements == 1 ? "0u" : elements[e]);
    if (w->once)
        bd_text_append(text, "}\n");
    else
        bd_emit_close(emitter, mark);
}

/* The reductions of pass `number`, if there are any, and the stores of elements, if wanted. */
static void print_loops(bd_printer *printer, const walk *w, int number, bool store_elements)
{
    static const char *const constants[] = { "row", "outer", "column", "o", NULL };
    bd_text *text = bd_emitter_text(printer->emitter);
    const uint32_t each = w->rows ? w->width : w->taps;
    if (w->once) {
        if (number == 1)
            bd_text_append(text, "const bool mine = lane * %uu < last;\nconst uint r = mine ? lane * %uu : 0u;\n", each,
                           each);
        print_turn(printer, w, number, 0, 1, store_elements);
        return;
    }
    /* A CPU driver's compiler sees by itself what changes, but not what a texel fetch reads. */
    const bool hoists = !printer->target->is_cpu || printer->target->texel_elements;
    if (hoists)
        bd_emit_begin_loop(printer->emitter, constants);
    if (w->even || w->steps == 1) {
        bd_text_append(text, "for (uint r = first + lane * %uu; r < last; r += %uu) {\n", each, w->steps * w->stride);
        print_turn(printer, w, number, 0, w->steps, store_elements);
        bd_text_append(text, "}\n");
    } else {
        bd_text_append(text, "{\nuint r = first + lane * %uu;\nfor (; r + %uu < last; r += %uu) {\n", each,
                       (w->steps - 1) * w->stride, w->steps * w->stride);
        print_turn(printer, w, number, 0, w->steps, store_elements);
        bd_text_append(text, "}\n");
        if (w->shares > 1) {
            for (uint32_t share = 0; share < w->shares; share++) {
                bd_text_append(text, "if (r + %uu < last) {\n", share * w->stride);
                print_turn(printer, w, number, share, 1, store_elements);
                bd_text_append(text, "}\n");
            }
        } else {
            bd_text_append(text, "for (; r < last; r += %uu) {\n", w->stride);
            print_turn(printer, w, number, 0, 1, store_elements);
            bd_text_append(text, "}\n");
        }
        bd_text_append(text, "}\n");
    }
    if (hoists)
        bd_emit_end_loop(printer->emitter);
}

/* One pass: every reduction that is ready in it. Its value is known at the index `result` afterwards. */
static void print_pass(bd_printer *printer, const walk *w, int number, const char *result, bool store_elements)
{
    const bd_graph *graph = printer->plan->graph;
    const bd_kernel *kernel = printer->kernel;
    bd_emitter *emitter = printer->emitter;
    bd_text *text = bd_emitter_text(emitter);
    const int *pass = printer->pass;
    const uint32_t lanes = lanes_of(printer);
    const char *results[BD_WIDTH];
    gathering g = { 0 };
    for (int i = 0; i < kernel->node_count; i++)
        if (is_reduction(printer, i) && pass[i] == number) {
            for (uint32_t j = 0; j < w->width * w->shares; j++) {
                const accumulation a = accumulate(printer, kernel->nodes[i], j);
                bd_text_append(text, "BD_VALUE %s = %s;\n", a.name, a.start);
                if (graph->nodes[a.node].op == BD_OP_ARGMAX)
                    bd_text_append(text, "float %s = BD_FLOAT(BD_LENGTH);\n", a.at);
            }
            if (is_moment(&graph->nodes[kernel->nodes[i]]))
                start_moment(printer, w, kernel->nodes[i], kernel->elements == 1 ? "0u" : "i");
        }
    print_loops(printer, w, number, store_elements);
    for (int i = 0; i < kernel->node_count; i++)
        if (is_reduction(printer, i) && pass[i] == number) {
            const accumulation a = accumulate(printer, kernel->nodes[i], 0);
            const bd_node *node = &graph->nodes[a.node];
            if (node->op == BD_OP_ARGMAX) {
                /* the largest of all lanes, then the smallest place where it stands */
                char best[NAME];
                snprintf(best, sizeof best, "best%d", i);
                bd_text_append(text, "BD_VALUE %s = %s;\n", best, a.name);
                gather(printer, &g, "bd_max", best, lanes);
                finish_gathering(printer, &g, lanes);
                bd_text_append(text, "if (%s < %s || (%s != %s && %s == %s)) %s = BD_FLOAT(BD_LENGTH);\n", a.name, best,
                               best, best, a.name, a.name, a.at);
                gather(printer, &g, "bd_min", a.at, lanes);
                finish_gathering(printer, &g, lanes);
                bd_text_append(text, "%s = %s;\n", a.name, a.at);
                continue;
            }
            if (is_moment(node) && summing_node(printer, a.node) == a.node)
                gather_results(printer, w, &g, a.combine, "sum", i);
            if (node->op != BD_OP_MEAN)
                gather_results(printer, w, &g, a.combine, "a", i);
        }
    finish_gathering(printer, &g, lanes);
    bd_emit_lanes(emitter, result, results);
    for (int i = 0; i < kernel->node_count; i++)
        for (uint32_t j = 0; j < w->results && is_reduction(printer, i) && pass[i] == number; j++) {
            const accumulation a = accumulate(printer, kernel->nodes[i], j);
            if (is_moment(&graph->nodes[a.node]))
                finish_moment(printer, a.node, j);
            bd_emit_round(emitter, &graph->nodes[a.node], results[j], a.name);
            bd_emit_know(emitter, a.node, results[j], a.name);
        }
}

static bool stores_elements(bd_printer *printer)
{
    return bd_print_has_stores(printer, BD_SPACE_ELEMENT);
}

/* The node whose windows a column kernel's items walk over: of sums alone, since its places are other ones. Every part
 * is of whole windows. */
static const bd_node *walked_windows(const bd_printer *printer, int64_t chunk)
{
    const bd_graph *graph = printer->plan->graph;
    const bd_kernel *kernel = printer->kernel;
    const bd_node *node = bd_pooled_in_tiles(graph, kernel);
    if (kernel->class != BD_KERNEL_COLUMNS || !node || node->shape.dim[3] != kernel->extent.inner ||
        chunk % (node->attr.window.size[0] * node->attr.window.size[1]))
        return NULL;
    for (int i = 0; i < kernel->node_count; i++)
        if (is_reduction(printer, i) && graph->nodes[kernel->nodes[i]].op != BD_OP_SUM)
            return NULL;
    return node;
}

/* The walk of a kernel whose `lanes` items take a step each in turn. */
static walk plan_walk(const bd_printer *printer, uint32_t lanes)
{
    const bd_kernel *kernel = printer->kernel;
    const bd_extent *e = &kernel->extent;
    const int64_t chunk = (e->length + e->chunks - 1) / e->chunks;
    const bool rows = kernel->class == BD_KERNEL_ROWS;
    const bd_node *pooling = walked_windows(printer, chunk);
    const uint32_t taps = pooling ? (uint32_t)(pooling->attr.window.size[0] * pooling->attr.window.size[1]) : 1;
    const uint32_t stride = lanes * (rows ? kernel->width : taps);
    const uint32_t most = pooling ? MOST_WINDOWS : MOST_STEPS;
    walk w = { rows, kernel->width, stride, 1, 1, false, rows ? 1 : kernel->width, false, taps, pooling };
    int64_t loads = 0;
    bool argmax = false;
    for (int i = 0; i < kernel->operand_count; i++)
        loads += !kernel->operands[i].written &&
                 bd_shape_elements(&printer->plan->graph->nodes[kernel->operands[i].node].shape) > e->outer * e->inner;
    for (int i = 0; i < kernel->node_count; i++) {
        const bd_node *node = &printer->plan->graph->nodes[kernel->nodes[i]];
        argmax |= node->op == BD_OP_ARGMAX;
        if (!pooling && node->op >= BD_OP_MAX_POOL && node->op <= BD_OP_DEPTHWISE_WEIGHT)
            loads += node->attr.window.size[0] * node->attr.window.size[1];
    }
    /* Values that wait in registers: 64 of 255. A CPU driver's compiler unrolls by itself. */
    while (!printer->target->is_cpu && !argmax && w.steps < most && 2 * w.steps * taps * w.width * loads <= 64 &&
           2 * w.steps * (int64_t)stride <= chunk)
        w.steps *= 2;
    w.once = rows && e->chunks == 1 && kernel->width > 1 && stride >= chunk;
    for (int i = 0; i < kernel->node_count; i++) /* partial results count by their places */
        w.once &= !printer->plan->graph->nodes[kernel->nodes[i]].attr.reduce.members ||
                  !is_moment(&printer->plan->graph->nodes[kernel->nodes[i]]);
    w.even = chunk > 0 && chunk % ((int64_t)w.steps * stride) == 0 && e->length % chunk == 0;
    return w;
}

static void extent_macros(bd_printer *printer)
{
    const bd_extent *e = &printer->kernel->extent;
    bd_text_append(&printer->macros, "#define BD_OUTER %lluu\n#define BD_LENGTH %lluu\n#define BD_CHUNK %lluu\n",
                   (unsigned long long)e->outer, (unsigned long long)e->length,
                   (unsigned long long)((e->length + e->chunks - 1) / e->chunks));
}

/* Loads what the results' arithmetic reads beside them: few groups, as where parts are put together, would wait for it
 * at the end. Every group of the launch must have results. */
static void load_beside_results(bd_printer *printer, const char *result)
{
    const bd_graph *graph = printer->plan->graph;
    const bd_kernel *kernel = printer->kernel;
    const bd_extent *e = &kernel->extent;
    const char *lanes[BD_WIDTH];
    const uint32_t count = bd_emit_lanes(printer->emitter, result, lanes);
    if (printer->target->is_cpu || kernel->groups[1] > 1 || kernel->groups[0] >= printer->target->limits.compute_units)
        return;
    for (int i = 0; i < kernel->node_count; i++) {
        const bd_node *node = &graph->nodes[kernel->nodes[i]];
        if (kernel->spaces[i] != BD_SPACE_REDUCED || bd_op_get_info(node->op)->class != BD_CLASS_ELEMENTWISE)
            continue;
        for (int j = 0; j < node->input_count; j++) {
            bd_tensor input = node->inputs[j];
            while (graph->nodes[input].op == BD_OP_RESHAPE)
                input = graph->nodes[input].inputs[0];
            if (bd_kernel_operand(kernel, input) < 0 || position(kernel, input) >= 0 ||
                bd_shape_elements(&graph->nodes[input].shape) != e->outer * e->inner)
                continue;
            for (uint32_t k = 0; k < count; k++)
                bd_emit_value(printer->emitter, input, lanes[k]);
        }
    }
}

/* Results of the reductions, and what is computed from them, are stored by the first lane. */
static void print_results(bd_printer *printer, const char *result)
{
    bd_text *text = bd_emitter_text(printer->emitter);
    if (!bd_print_has_stores(printer, BD_SPACE_REDUCED))
        return;
    bd_text_append(text, "if (inside && lane == 0u) {\n");
    int mark = bd_emit_open(printer->emitter);
    bd_print_stores(printer, BD_SPACE_REDUCED, result);
    bd_emit_close(printer->emitter, mark);
    bd_text_append(text, "}\n");
}

void bd_print_rows(bd_printer *printer)
{
    const bd_kernel *kernel = printer->kernel;
    const bd_extent *e = &kernel->extent;
    bd_emitter *emitter = printer->emitter;
    const char *result = e->outer == 1 && e->chunks == 1 ? "0u" : "o";
    const int passes = find_passes(printer);
    const int *pass = printer->pass;
    const walk w = plan_walk(printer, kernel->local[0]);
    printer->skeleton = "rows";
    extent_macros(printer);
    bd_text_append(&printer->macros, "#define BD_LANES %u\n#define BD_ROWS %u\n#define BD_ROW_COUNT %lluu\n",
                   kernel->local[0], kernel->local[1], (unsigned long long)(e->outer * e->chunks));
    for (uint32_t step = 0; step < w.steps; step++) {
        char expression[48];
        if (kernel->width > 1)
            bd_emit_lane(emitter, elements[step], 0);
        if (e->outer == 1 && e->chunks == 1)
            continue;
        snprintf(expression, sizeof expression, "%s / %lluu", elements[step], (unsigned long long)e->length);
        bd_emit_know_index(emitter, expression, e->chunks == 1 ? "o" : "row");
        snprintf(expression, sizeof expression, "%s %% %lluu", elements[step], (unsigned long long)e->length);
        bd_emit_know_index(emitter, expression, places[step]);
    }
    bool stored = false;
    for (int number = 1; number <= passes; number++) {
        /* Elements that wait for no later reduction are stored on the way. */
        bool last_elements = number == passes && stores_elements(printer);
        for (int i = 0; i < kernel->node_count && last_elements; i++)
            if (kernel->spaces[i] == BD_SPACE_ELEMENT && pass[i] == passes)
                last_elements = false;
        print_pass(printer, &w, number, result, last_elements);
        stored |= last_elements;
        /* Arithmetic on the results is done once a row, not once an element. */
        for (int i = 0; i < kernel->node_count; i++)
            if (kernel->spaces[i] == BD_SPACE_REDUCED && pass[i] <= number && !is_reduction(printer, i) &&
                printer->plan->graph->nodes[kernel->nodes[i]].op != BD_OP_ASSIGN)
                bd_emit_value(emitter, kernel->nodes[i], result);
    }
    if (stores_elements(printer) && !stored)
        print_loops(printer, &w, passes + 1, true);
    print_results(printer, result);
    bd_text_append(&printer->macros, "#define BD_SLOTS %d\n", printer->slots ? printer->slots : 1);
}

/* Tells the emitter the column of each element of a turn, and that neighbours lie side by side. */
static void know_columns(bd_printer *printer, const walk *w, const char *result)
{
    const bd_kernel *kernel = printer->kernel;
    for (uint32_t e = 0; e < w->steps * w->taps; e++) {
        char column_of[48];
        if (kernel->width > 1)
            bd_emit_lane(printer->emitter, elements[e], 0);
        snprintf(column_of, sizeof column_of, "%s %% %lluu", elements[e], (unsigned long long)kernel->extent.inner);
        bd_emit_know_index(printer->emitter, column_of, "column");
    }
    for (uint32_t step = 0; step < w->steps && w->pooling; step++) {
        if (kernel->width > 1)
            bd_emit_lane(printer->emitter, pooled[step], 0);
        bd_emit_window(printer->emitter, w->pooling, &elements[step * w->taps], pooled[step]);
    }
    if (kernel->width > 1)
        bd_emit_lane(printer->emitter, result, 0);
}

void bd_print_last_sums(bd_printer *printer, uint32_t lanes)
{
    const bd_kernel *kernel = printer->kernel;
    const bd_extent *e = &kernel->extent;
    const char *result = "o";
    walk w = { .width = kernel->width, .stride = kernel->local[1], .results = kernel->width, .taps = 1 };
    w.shares = w.steps = lanes / kernel->local[1];
    while (w.shares == 1 && w.steps < MOST_STEPS && 2 * w.steps * w.stride <= e->length)
        w.steps *= 2;
    w.even = e->length % (w.steps * w.stride) == 0;
    find_passes(printer);
    know_columns(printer, &w, result);
    print_pass(printer, &w, 1, result, false);
    print_results(printer, result);
}

void bd_print_columns(bd_printer *printer)
{
    const bd_kernel *kernel = printer->kernel;
    const bd_extent *e = &kernel->extent;
    const char *result = e->outer * e->inner == 1 && e->chunks == 1 ? "0u" : "o";
    const walk w = plan_walk(printer, kernel->local[1]);
    const uint32_t items = kernel->local[0] / kernel->beside;
    const uint64_t columns = (uint64_t)items * kernel->width;
    find_passes(printer);
    printer->skeleton = "columns";
    extent_macros(printer);
    bd_text_append(&printer->macros,
                   "#define BD_COLUMNS %u\n#define BD_BESIDE %u\n#define BD_LANES %u\n#define BD_WIDTH %uu\n#define "
                   "BD_BLOCKS %lluu\n"
                   "#define BD_INNER %lluu\n#define BD_OUTPUTS %lluu\n#define BD_RAGGED %d\n",
                   items, kernel->beside, kernel->local[1], kernel->width,
                   (unsigned long long)(((uint64_t)e->inner + columns - 1) / columns), (unsigned long long)e->inner,
                   (unsigned long long)(e->outer * e->chunks), !printer->target->is_cpu && e->inner % (int64_t)columns);
    know_columns(printer, &w, result);
    load_beside_results(printer, result);
    print_pass(printer, &w, 1, result, stores_elements(printer));
    print_results(printer, result);
    bd_text_append(&printer->macros, "#define BD_SLOTS %d\n", printer->slots ? printer->slots : 1);
}
