/* The tally of a tensor as statements: an element walks over its part, and adds up what its column counts. */
#include "emit_parts.h"

#include "tally.h"

enum sum { COUNT, LARGEST, SQUARES };

/* A loop over the part, of the same length for all parts, so that CPU drivers vectorise it. */
static void loop(bd_emitter *emitter, const bd_graph *graph, const bd_node *node, const char *part, const char *column,
                 enum sum sum, const char *total)
{
    static const char *const zeros[] = { [COUNT] = " : 0u", [LARGEST] = " : 0u", [SQUARES] = " : 0.0f" };
    const unsigned long long count = (unsigned long long)bd_shape_elements(&graph->nodes[node->inputs[0]].shape);
    const unsigned long long parts = (unsigned long long)node->shape.dim[0], length = (count + parts - 1) / parts;
    const bool even = length * parts == count; /* the last part is as long as the others */
    const char *k = bd_emit_fresh(emitter, 'k'), *zero = even ? "" : zeros[sum];
    bd_text *text = bd_emitter_text(emitter);
    bd_text_append(text, "for (uint %s = 0u; %s < %lluu; %s++) {\n", k, k, length, k);
    const int mark = bd_emit_open(emitter);
    const char *place = bd_emit_index(emitter, "%s * %lluu + %s", part, length, k);
    const char *inside = even ? place : bd_emit_index(emitter, "min(%s, %lluu)", place, count ? count - 1 : 0);
    const char *before = bd_emit_value(emitter, node->inputs[0], inside);
    const char *after = sum == LARGEST ? "" : bd_emit_value(emitter, node->inputs[1], inside);
    char condition[64] = "";
    if (!even)
        snprintf(condition, sizeof condition, "%s < %lluu ? ", place, count);
    if (sum == COUNT)
        bd_text_append(text, "%s += %sbd_tally_count(%s, %s, %s)%s;\n}\n", total, condition, column, before, after,
                       zero);
    else if (sum == LARGEST)
        bd_text_append(text, "%s = max(%s, %sbd_tally_largest(%s)%s);\n}\n", total, total, condition, before, zero);
    else
        bd_text_append(text, "%s += %sbd_tally_square(%s, %s, %s)%s;\n}\n", total, condition, column, before, after,
                       zero);
    bd_emit_close(emitter, mark);
}

const char *bd_emit_tally(bd_emitter *emitter, const bd_graph *graph, const bd_node *node, const char *index)
{
    bd_text *text = bd_emitter_text(emitter);
    const char *name = bd_emit_fresh(emitter, 'v');
    const char *part = bd_emit_quotient(emitter, index, BD_TALLY_COLUMNS);
    const char *column = bd_emit_remainder(emitter, index, BD_TALLY_COLUMNS);
    char number[32];
    snprintf(number, sizeof number, "n%s", name);
    bd_text_append(text, "BD_VALUE %s = 0.0f;\nuint %s = 0u;\nif (%s >= %uu) {\n", name, number, column,
                   (unsigned)BD_TALLY_POWER);
    loop(emitter, graph, node, part, column, SQUARES, name);
    bd_text_append(text, "} else if (%s == %uu) {\n", column, (unsigned)BD_TALLY_LARGEST);
    loop(emitter, graph, node, part, column, LARGEST, number);
    bd_text_append(text, "%s = BD_AS_FLOAT(%s);\n} else {\n", name, number);
    loop(emitter, graph, node, part, column, COUNT, number);
    bd_text_append(text, "%s = BD_FLOAT(%s);\n}\n", name, number);
    bd_emit_round(emitter, node, index, name);
    return name;
}
