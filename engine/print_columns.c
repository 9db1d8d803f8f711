/* What a contraction's skeleton sums of its columns (columns.h). The function `store` also makes the values that are
 * summed, a four of neighbours each (print_operand.c). The macros, which are empty where nothing is summed:
 *     COLUMNS                             1 if anything is
 *     COLUMN_SUMS                         how many sums: values of a store
 *     COLUMN_NUMBERS                      how many numbers the partial results of a column are
 *     COLUMN_STATES                       how many fours an item keeps for a four of columns while it sums
 *     COLUMN_FOURS                        fours of columns that an item sums: those of the rows it stores
 *     COLUMNS_BEGIN                       declares the sums of an item, all 0
 *     COLUMNS_VALUES                      declares what the next store makes
 *     COLUMNS_ADD(h, first)               adds it to four number h; `first`: nothing was added yet
 * and, where something is:
 *     COLUMNS_MERGE(entry, entries, rows) puts the sums of `entries` items, each of `rows` rows, together in entry 0's;
 *     all items of
 *                                         the group must come by. The skeleton's COLUMN_SHOW(h, number, entry, four)
 *                                         and
 *                                         COLUMN_SEE(h, number, entry) write and read local memory that nobody needs
 *                                         any more
 *     COLUMNS_STORE(h, strip, n)          stores them */
#include "columns.h"
#include "print.h"
#include "tile.h"

#include <stdio.h>

typedef struct columns {
    bd_text *macros;
    bd_column_sum sums[BD_COLUMN_NUMBERS];
    int count, states, numbers;
    uint32_t fours;
} columns;

/* An item's sums: of moments the value that they are summed from (at the end the mean), the sum, and that of
 * squares. */
enum { MOMENT_STATES = 3 };

static columns columns_of(const bd_printer *printer)
{
    const bd_kernel *kernel = printer->kernel;
    const uint32_t lanes = printer->target->matrix.lanes, row = kernel->tile.item_n / BD_WIDTH;
    columns c = { .fours = bd_tile_uses_matrix_units(&kernel->tile) && row > lanes ? row / lanes : 1 };
    c.count = bd_kernel_column_sums(printer->plan->graph, kernel, c.sums);
    c.numbers = bd_count_column_numbers(c.sums, c.count);
    for (int i = 0; i < c.count; i++)
        c.states += c.sums[i].moments ? MOMENT_STATES : 1;
    return c;
}

static void print_add(bd_text *macros, const columns *c)
{
    bd_text_append(macros, "#define COLUMNS_ADD(h, first) \\\n");
    for (int i = 0, s = 0; i < c->count; s += c->sums[i++].moments ? MOMENT_STATES : 1)
        if (c->sums[i].moments)
            bd_text_append(macros,
                           "    if (first) columns[h][%d] = values[%d]; \\\n"
                           "    { const BD_VALUE4 d = values[%d] - columns[h][%d]; columns[h][%d] += d; "
                           "columns[h][%d] = fma(d, d, columns[h][%d]); } \\\n",
                           s, i, i, s, s + 1, s + 2, s + 2);
        else
            bd_text_append(macros, "    columns[h][%d] += values[%d]; \\\n", s, i);
    bd_text_append(macros, "\n");
}

/* Which of the states are an item's numbers: when moments are done, all but the sum. */
static void print_each_number(const columns *c, void (*print)(bd_text *macros, uint32_t h, int number, int state))
{
    for (uint32_t h = 0; h < c->fours; h++)
        for (int i = 0, s = 0, number = 0; i < c->count; s += c->sums[i++].moments ? MOMENT_STATES : 1) {
            print(c->macros, h, number++, s);
            if (c->sums[i].moments)
                print(c->macros, h, number++, s + 2);
        }
}

static void print_show(bd_text *macros, uint32_t h, int number, int state)
{
    bd_text_append(macros, "            COLUMN_SHOW(%uu, %du, entry, columns[%u][%d]); \\\n", h, number, h, state);
}

static void print_finish(const columns *c)
{
    for (uint32_t h = 0; h < c->fours; h++)
        for (int i = 0, s = 0; i < c->count; s += c->sums[i++].moments ? MOMENT_STATES : 1)
            if (c->sums[i].moments)
                bd_text_append(c->macros,
                               "    columns[%u][%d] = fma(columns[%u][%d] * (-1.0f / BD_FLOAT(rows)), columns[%u][%d], "
                               "columns[%u][%d]); columns[%u][%d] += columns[%u][%d] * (1.0f / BD_FLOAT(rows)); \\\n",
                               h, s + 2, h, s + 1, h, s + 1, h, s + 2, h, s, h, s + 1);
}

/* Both have the same number of rows. */
static void print_meet(const columns *c)
{
    for (uint32_t h = 0; h < c->fours; h++)
        for (int i = 0, s = 0, number = 0; i < c->count; i++) {
            if (c->sums[i].moments) {
                bd_text_append(
                    c->macros,
                    "            { const BD_VALUE4 d = COLUMN_SEE(%uu, %du, entry + half_) - columns[%u][%d]; "
                    "columns[%u][%d] += 0.5f * d; columns[%u][%d] += COLUMN_SEE(%uu, %du, entry + half_) "
                    "+ d * d * (0.5f * terms); } \\\n",
                    h, number, h, s, h, s, h, s + 2, h, number + 1);
                number += 2, s += MOMENT_STATES;
            } else {
                bd_text_append(c->macros, "            columns[%u][%d] += COLUMN_SEE(%uu, %du, entry + half_); \\\n", h,
                               s, h, number);
                number++, s++;
            }
        }
}

static void print_merge(const columns *c)
{
    bd_text_append(c->macros, "#define COLUMNS_MERGE(entry, entries, rows) { \\\n");
    print_finish(c);
    bd_text_append(c->macros, "    BD_BARRIER; \\\n    float terms = BD_FLOAT(rows); \\\n"
                              "    for (uint half_ = (entries) / 2u; half_ > 0u; half_ /= 2u) { \\\n"
                              "        if (entry >= half_ && entry < 2u * half_) { \\\n");
    print_each_number(c, print_show);
    bd_text_append(c->macros, "        } \\\n        BD_BARRIER; \\\n        if (entry < half_) { \\\n");
    print_meet(c);
    bd_text_append(c->macros, "        } \\\n        terms *= 2.0f; \\\n    } \\\n}\n");
}

static void print_argument(bd_text *macros, uint32_t h, int number, int state)
{
    (void)number;
    if (h == 0)
        bd_text_append(macros, ", columns[h][%d]", state);
}

/* The function that stores a four of each number, and the macro that calls it. */
static void print_store(bd_printer *printer, const columns *c)
{
    const bool opencl = printer->dialect == BD_DIALECT_OPENCL;
    const bd_graph *graph = printer->plan->graph;
    const bd_kernel *kernel = printer->kernel;
    bd_emitter *emitter = printer->emitter;
    bd_text *text = bd_emitter_text(emitter);
    const char *lanes[BD_WIDTH];
    bd_text_append(c->macros, "#define COLUMNS_STORE(h, strip, n) store_columns(%s(strip) * N + (n)",
                   opencl ? "BD_BUFFERS, " : "");
    print_each_number(c, print_argument);
    bd_text_append(c->macros, ")\n");
    bd_text_append(text, "%svoid store_columns(%sconst uint o", opencl ? "static inline " : "",
                   opencl ? "BD_ARGUMENTS, " : "");
    for (int i = 0; i < c->numbers; i++)
        bd_text_append(text, ", const %s number%d", opencl ? "float4" : "vec4", i);
    bd_text_append(text, ")\n{\n");
    const int mark = bd_emit_open(emitter);
    bd_emit_lane(emitter, "o", 0);
    bd_emit_lanes(emitter, "o", lanes);
    for (int i = 0, number = 0; i < c->count; number += c->sums[i++].moments ? 2 : 1)
        for (int k = 0; k < kernel->node_count; k++) {
            const bd_node *node = &graph->nodes[kernel->nodes[k]];
            if (kernel->spaces[k] != BD_SPACE_REDUCED || node->inputs[0] != c->sums[i].input ||
                (node->op != BD_OP_SUM) != c->sums[i].moments)
                continue;
            for (int j = 0; j < BD_WIDTH; j++) {
                char name[32];
                snprintf(name, sizeof name, "number%d.%c", number + (node->op == BD_OP_DEVIATIONS), "xyzw"[j]);
                bd_emit_know(emitter, kernel->nodes[k], lanes[j], name);
            }
        }
    bd_print_stores(printer, BD_SPACE_REDUCED, "o");
    bd_emit_close(emitter, mark);
    bd_text_append(text, "}\n");
}

void bd_print_columns_values(bd_printer *printer, const char *const lanes[BD_WIDTH])
{
    const columns c = columns_of(printer);
    for (int i = 0; i < c.count; i++) {
        const char *value[BD_WIDTH];
        for (int j = 0; j < BD_WIDTH; j++)
            value[j] = bd_emit_value(printer->emitter, c.sums[i].input, lanes[j]);
        bd_text_append(bd_emitter_text(printer->emitter), "values[%d] = %s(%s, %s, %s, %s);\n", i,
                       printer->dialect == BD_DIALECT_OPENCL ? "(float4)" : "vec4", value[0], value[1], value[2],
                       value[3]);
    }
}

void bd_print_columns_macros(bd_printer *printer)
{
    columns c = columns_of(printer);
    c.macros = &printer->macros;
    bd_text_append(c.macros,
                   "#define COLUMNS %d\n#define COLUMN_SUMS %d\n#define COLUMN_FOURS %uu\n#define COLUMN_NUMBERS %du\n"
                   "#define COLUMN_STATES %du\n",
                   c.count > 0, c.count, c.fours, c.numbers, c.states);
    if (c.count == 0) {
        bd_text_append(c.macros, "#define COLUMNS_BEGIN\n#define COLUMNS_VALUES\n#define COLUMNS_ADD(h, first)\n");
        return;
    }
    bd_text_append(c.macros, "#define COLUMNS_BEGIN BD_VALUE4 columns[COLUMN_FOURS][%d]; \\\n", c.states);
    for (uint32_t h = 0; h < c.fours; h++)
        for (int s = 0; s < c.states; s++)
            bd_text_append(c.macros, "    columns[%u][%d] = %s(0.0f); \\\n", h, s,
                           printer->dialect == BD_DIALECT_OPENCL ? "(float4)" : "vec4");
    bd_text_append(c.macros, "\n#define COLUMNS_VALUES BD_VALUE4 values[COLUMN_SUMS];\n");
    print_add(c.macros, &c);
    print_merge(&c);
    print_store(printer, &c);
}
