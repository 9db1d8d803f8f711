/* The body of a tally's kernel, whose work-groups count a part of the tensor each: cl/tally.cl and shaders/tally.comp. */
#include "print.h"
#include "tally.h"

void bd_print_tally(bd_printer *printer)
{
    const bd_kernel *kernel = printer->kernel;
    const bd_node *node = &printer->plan->graph->nodes[kernel->anchor];
    const uint64_t count = (uint64_t)bd_shape_elements(&printer->plan->graph->nodes[node->inputs[0]].shape);
    const uint64_t parts = (uint64_t)node->shape.dim[0];
    bd_emitter *emitter = printer->emitter;
    bd_text *text = bd_emitter_text(emitter);
    printer->skeleton = "tally";
    bd_text_append(&printer->macros,
                   "#define BD_PARTS %lluu\n#define BD_LENGTH %lluu\n#define BD_ELEMENTS %lluu\n#define BD_WIDTH %uu\n",
                   (unsigned long long)parts, (unsigned long long)((count + parts - 1) / parts),
                   (unsigned long long)count, kernel->width);
    bd_text_append(text, "for (uint i = first + lane * BD_WIDTH; i < last; i += BD_LOCAL_X * BD_WIDTH) {\n");
    int mark = bd_emit_open(emitter);
    const char *lanes[BD_WIDTH];
    if (kernel->width > 1)
        bd_emit_lane(emitter, "i", 0);
    const uint32_t neighbours = bd_emit_lanes(emitter, "i", lanes);
    for (uint32_t j = 0; j < neighbours; j++) {
        const char *before = bd_emit_value(emitter, node->inputs[0], lanes[j]);
        const char *after = bd_emit_value(emitter, node->inputs[1], lanes[j]);
        bd_text_append(text, "BD_TALLY(%s, %s)\n", before, after);
    }
    bd_emit_close(emitter, mark);
    bd_text_append(text,
                   "}\nBD_MERGE\nfor (uint column = lane; column < %uu && part < BD_PARTS; column += BD_LOCAL_X) {\n"
                   "const uint o = part * %uu + column;\nBD_VALUE total = BD_TOTAL(column);\n",
                   (unsigned)BD_TALLY_COLUMNS, (unsigned)BD_TALLY_COLUMNS);
    mark = bd_emit_open(emitter);
    bd_emit_round(emitter, node, "o", "total");
    bd_emit_know(emitter, kernel->anchor, "o", "total");
    bd_print_stores(printer, BD_SPACE_ELEMENT, "o");
    bd_emit_close(emitter, mark);
    bd_text_append(text, "}\n");
}
