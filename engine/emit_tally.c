/* The tally of a tensor as statements: an element walks over its part, and adds up what its column counts. Neighbours of a row read
 * the same elements at the same time. */
#include "emit_parts.h"

#include "tally.h"

const char *bd_emit_tally(bd_emitter *emitter, const bd_graph *graph, const bd_node *node, const char *index)
{
    const bd_shape *shape = &graph->nodes[node->inputs[0]].shape;
    const unsigned long long count = (unsigned long long)bd_shape_elements(shape);
    const unsigned long long parts = (unsigned long long)node->shape.dim[0], length = (count + parts - 1) / parts;
    bd_text *text = bd_emitter_text(emitter);
    const char *name = bd_emit_fresh(emitter, 'v'), *loop = bd_emit_fresh(emitter, 'k');
    const char *part = bd_emit_quotient(emitter, index, BD_TALLY_COLUMNS);
    const char *column = bd_emit_remainder(emitter, index, BD_TALLY_COLUMNS);
    bd_text_append(text,
                   "BD_VALUE %s = 0.0f;\nfor (uint %s = %s * %lluu; %s < min((%s + 1u) * %lluu, %lluu); %s++) {\n",
                   name, loop, part, length, loop, part, length, count, loop);
    const int mark = bd_emit_open(emitter);
    const char *before = bd_emit_value(emitter, node->inputs[0], loop);
    const char *after = bd_emit_value(emitter, node->inputs[1], loop);
    bd_text_append(text, "BD_VALUE t%s = bd_tally(%s, %s, %s);\n%s = %s == %uu ? max(%s, t%s) : %s + t%s;\n}\n", name,
                   column, before, after, name, column, (unsigned)BD_TALLY_LARGEST, name, name, name, name);
    bd_emit_close(emitter, mark);
    bd_emit_round(emitter, node, index, name);
    return name;
}
