/* The bodies of row and column kernels. */
#include "print.h"
#include "tile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct accumulation {
    bd_tensor node;
    const char *combine; /* a two-operand macro of the preludes */
    const char *start;
    char name[24], at[24];
} accumulation;

static bool is_moment(const bd_node *node)
{
    return node->op == BD_OP_MEAN || node->op == BD_OP_DEVIATIONS;
}

/* Position of the node among the kernel's; -1 if it is not one of them. Names are made of it: equal kernels of other layers have
 * the same. */
static int position(const bd_kernel *kernel, bd_tensor tensor)
{
    for (int i = 0; i < kernel->node_count; i++)
        if (kernel->nodes[i] == tensor)
            return i;
    return -1;
}

static accumulation accumulate(const bd_printer *printer, bd_tensor tensor)
{
    const bd_node *node = &printer->plan->graph->nodes[tensor];
    const int number = position(printer->kernel, tensor);
    accumulation a = { tensor, "bd_max", "-BD_INFINITY", "", "" };
    if (is_moment(node)) {
        a.start = "0.0f";
    } else if (node->op == BD_OP_SUM) {
        a.combine = node->accumulator == BD_F16 ? "BD_ADD_f16" : "BD_ADD_f32";
        a.start = "0.0f";
    }
    snprintf(a.name, sizeof a.name, "a%d", number);
    snprintf(a.at, sizeof a.at, "at%d", number);
    return a;
}

/* MEAN and DEVIATIONS are summed from a value near the mean, the first of the part, so that little cancels in the end (shifted data:
 * Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance", 1983):
 * sum (x - mean)^2 = sum (x - shift)^2 - (sum (x - shift))^2 / n. A partial result counts as often as it has values.
 * shiftN, sumN and countN are by the position N of the node that sums: DEVIATIONS leave that to a MEAN of the same values before them. */
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

static void start_moment(bd_printer *printer, bd_tensor moment, const char *element, const char *index)
{
    const bd_node *node = &printer->plan->graph->nodes[moment];
    bd_emitter *emitter = printer->emitter;
    bd_text *text = bd_emitter_text(emitter);
    const int number = position(printer->kernel, moment);
    if (summing_node(printer, moment) != moment)
        return;
    bd_text_append(
        text,
        "BD_VALUE shift%d = 0.0f, sum%d = 0.0f;\nif (first < last) {\nconst uint r = first;\nconst uint i = %s;\n",
        number, number, element);
    const int mark = bd_emit_open(emitter);
    bd_text_append(text, "shift%d = %s;\n", number, bd_emit_value(emitter, node->inputs[0], index));
    bd_emit_close(emitter, mark);
    bd_text_append(text, "}\n");
    if (node->attr.reduce.members)
        bd_text_append(text, "const float count%d = %lld.0f;\n", number, (long long)node->attr.reduce.total);
    else
        bd_text_append(text, "const float count%d = BD_FLOAT(max(last, first + 1u) - first);\n", number);
}

static void add_to_moment(bd_printer *printer, const accumulation *a, const char *value, const char *index)
{
    const bd_node *node = &printer->plan->graph->nodes[a->node];
    bd_text *text = bd_emitter_text(printer->emitter);
    const int sum = position(printer->kernel, summing_node(printer, a->node));
    const int own = position(printer->kernel, a->node);
    const unsigned long long each = (unsigned long long)node->attr.reduce.members,
                             total = (unsigned long long)node->attr.reduce.total;
    bd_text_append(text, "BD_VALUE d%d_ = %s - shift%d, n%d_ = 1.0f;\n", own, value, sum, own);
    if (each)
        bd_text_append(text, "n%d_ = BD_FLOAT(r * %lluu < %lluu ? min(%lluu, %lluu - r * %lluu) : 0u);\n", own, each,
                       total, each, total, each);
    if (sum == own)
        bd_text_append(text, "sum%d += n%d_ * d%d_;\n", sum, own, own);
    if (node->op == BD_OP_MEAN)
        return;
    bd_text_append(text, "%s = fma(n%d_ * d%d_, d%d_, %s);\n", a->name, own, own, own, a->name);
    if (each)
        bd_text_append(text, "%s += %s;\n", a->name, bd_emit_value(printer->emitter, node->inputs[1], index));
}

static void finish_moment(bd_printer *printer, const accumulation *a)
{
    const bd_node *node = &printer->plan->graph->nodes[a->node];
    bd_text *text = bd_emitter_text(printer->emitter);
    const int sum = position(printer->kernel, summing_node(printer, a->node));
    if (sum == position(printer->kernel, a->node))
        bd_text_append(text, "BD_REDUCE(BD_ADD_f32, sum%d);\n", sum);
    if (node->op == BD_OP_MEAN)
        bd_text_append(text, "%s = shift%d + BD_DIV(sum%d, count%d);\n", a->name, sum, sum, sum);
    else
        bd_text_append(text, "BD_REDUCE(BD_ADD_f32, %s);\n%s = bd_max(%s - BD_DIV(sum%d * sum%d, count%d), 0.0f);\n",
                       a->name, a->name, a->name, sum, sum, sum);
}

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

static void start_loop(bd_printer *printer, const char *element)
{
    bd_text_append(bd_emitter_text(printer->emitter),
                   "for (uint r = first + lane; r < last; r += BD_LANES) {\nconst uint i = %s;\n", element);
}

/* One pass: every reduction that is ready in it. Its value is known at the index `result` afterwards. */
static void print_pass(bd_printer *printer, int number, const char *element, const char *result, bool store_elements)
{
    const bd_graph *graph = printer->plan->graph;
    const bd_kernel *kernel = printer->kernel;
    bd_emitter *emitter = printer->emitter;
    bd_text *text = bd_emitter_text(emitter);
    const int *pass = printer->pass;
    const char *index = kernel->elements == 1 ? "0u" : "i";
    for (int i = 0; i < kernel->node_count; i++)
        if (is_reduction(printer, i) && pass[i] == number) {
            accumulation a = accumulate(printer, kernel->nodes[i]);
            bd_text_append(text, "BD_VALUE %s = %s;\n", a.name, a.start);
            if (graph->nodes[a.node].op == BD_OP_ARGMAX)
                bd_text_append(text, "float %s = BD_FLOAT(BD_LENGTH);\n", a.at);
            else if (is_moment(&graph->nodes[a.node]))
                start_moment(printer, a.node, element, index);
        }
    start_loop(printer, element);
    int mark = bd_emit_open(emitter);
    for (int i = 0; i < kernel->node_count; i++)
        if (is_reduction(printer, i) && pass[i] == number) {
            accumulation a = accumulate(printer, kernel->nodes[i]);
            const char *value = bd_emit_value(emitter, graph->nodes[a.node].inputs[0], index);
            if (graph->nodes[a.node].op == BD_OP_ARGMAX) /* the first NaN counts as the largest */
                bd_text_append(text,
                               "if (!(%s <= %s) && %s == %s || r == first + lane) { %s = %s; %s = BD_FLOAT(r); }\n",
                               value, a.name, a.name, a.name, a.name, value, a.at);
            else if (is_moment(&graph->nodes[a.node]))
                add_to_moment(printer, &a, value, index);
            else
                bd_text_append(text, "%s = %s(%s, %s);\n", a.name, a.combine, a.name, value);
        }
    if (store_elements)
        bd_print_stores(printer, BD_SPACE_ELEMENT, index);
    bd_emit_close(emitter, mark);
    bd_text_append(text, "}\n");
    for (int i = 0; i < kernel->node_count; i++)
        if (is_reduction(printer, i) && pass[i] == number) {
            accumulation a = accumulate(printer, kernel->nodes[i]);
            const bd_node *node = &graph->nodes[a.node];
            if (node->op == BD_OP_ARGMAX) {
                /* the largest of all lanes, then the smallest place where it stands */
                bd_text_append(text, "BD_VALUE best%s = %s;\nBD_REDUCE(bd_max, best%s);\n", a.name, a.name, a.name);
                bd_text_append(text, "if (%s < best%s || (best%s != best%s && %s == %s)) %s = BD_FLOAT(BD_LENGTH);\n",
                               a.name, a.name, a.name, a.name, a.name, a.name, a.at);
                bd_text_append(text, "BD_REDUCE(bd_min, %s);\n%s = %s;\n", a.at, a.name, a.at);
            } else if (is_moment(node)) {
                finish_moment(printer, &a);
            } else {
                bd_text_append(text, "BD_REDUCE(%s, %s);\n", a.combine, a.name);
            }
            bd_emit_round(emitter, node->format, a.name);
            bd_emit_know(emitter, a.node, result, a.name);
        }
}

static bool stores_elements(bd_printer *printer)
{
    return bd_print_has_stores(printer, BD_SPACE_ELEMENT);
}

static void extent_macros(bd_printer *printer)
{
    const bd_extent *e = &printer->kernel->extent;
    bd_text_append(&printer->macros, "#define BD_OUTER %lluu\n#define BD_LENGTH %lluu\n#define BD_CHUNK %lluu\n",
                   (unsigned long long)e->outer, (unsigned long long)e->length,
                   (unsigned long long)((e->length + e->chunks - 1) / e->chunks));
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
    printer->skeleton = "rows";
    extent_macros(printer);
    bd_text_append(&printer->macros, "#define BD_LANES %u\n#define BD_ROWS %u\n#define BD_ROW_COUNT %lluu\n",
                   kernel->local[0], kernel->local[1], (unsigned long long)(e->outer * e->chunks));
    char row_of[48], rest_of[48];
    snprintf(row_of, sizeof row_of, "i / %lluu", (unsigned long long)e->length);
    snprintf(rest_of, sizeof rest_of, "i %% %lluu", (unsigned long long)e->length);
    if (e->outer > 1 || e->chunks > 1) {
        bd_emit_know_index(emitter, row_of, e->chunks == 1 ? "o" : "row");
        bd_emit_know_index(emitter, rest_of, "r");
    }
    bool stored = false;
    for (int number = 1; number <= passes; number++) {
        /* Elements that wait for no later reduction are stored on the way. */
        bool last_elements = number == passes && stores_elements(printer);
        for (int i = 0; i < kernel->node_count && last_elements; i++)
            if (kernel->spaces[i] == BD_SPACE_ELEMENT && pass[i] == passes)
                last_elements = false;
        print_pass(printer, number, "row * BD_LENGTH + r", result, last_elements);
        stored |= last_elements;
        /* Arithmetic on the results is done once a row, not once an element. */
        for (int i = 0; i < kernel->node_count; i++)
            if (kernel->spaces[i] == BD_SPACE_REDUCED && pass[i] <= number && !is_reduction(printer, i) &&
                printer->plan->graph->nodes[kernel->nodes[i]].op != BD_OP_ASSIGN)
                bd_emit_value(emitter, kernel->nodes[i], result);
    }
    if (stores_elements(printer) && !stored) {
        start_loop(printer, "row * BD_LENGTH + r");
        int mark = bd_emit_open(emitter);
        bd_print_stores(printer, BD_SPACE_ELEMENT, kernel->elements == 1 ? "0u" : "i");
        bd_emit_close(emitter, mark);
        bd_text_append(bd_emitter_text(emitter), "}\n");
    }
    print_results(printer, result);
}

void bd_print_columns(bd_printer *printer)
{
    const bd_kernel *kernel = printer->kernel;
    const bd_extent *e = &kernel->extent;
    const char *result = e->outer * e->inner == 1 && e->chunks == 1 ? "0u" : "o";
    find_passes(printer);
    printer->skeleton = "columns";
    extent_macros(printer);
    bd_text_append(&printer->macros,
                   "#define BD_COLUMNS %u\n#define BD_LANES %u\n#define BD_BLOCKS %lluu\n#define BD_INNER %lluu\n"
                   "#define BD_OUTPUTS %lluu\n",
                   kernel->local[0], kernel->local[1],
                   (unsigned long long)(((uint64_t)e->inner + kernel->local[0] - 1) / kernel->local[0]),
                   (unsigned long long)e->inner, (unsigned long long)(e->outer * e->chunks));
    char column_of[48];
    snprintf(column_of, sizeof column_of, "i %% %lluu", (unsigned long long)e->inner);
    bd_emit_know_index(printer->emitter, column_of, "column");
    print_pass(printer, 1, "(outer * BD_LENGTH + r) * BD_INNER + column", result, stores_elements(printer));
    print_results(printer, result);
}
