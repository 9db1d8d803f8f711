/* The bodies of contraction kernels. */
#include "print.h"
#include "tile.h"

#include <stdio.h>

static void load_operand(bd_printer *printer, int which, const char *name, const char *guard)
{
    const bd_graph *graph = printer->plan->graph;
    const bd_node *node = &graph->nodes[printer->kernel->anchor];
    const bd_contraction c = bd_contraction_of(graph, printer->kernel->anchor);
    bd_emitter *e = printer->emitter;
    bd_text *text = bd_emitter_text(e);
    unsigned long long M = (unsigned long long)c.m, N = (unsigned long long)c.n, K = (unsigned long long)c.k;
    const bd_tensor input = node->inputs[which];
    const bd_shape *shape = &graph->nodes[input].shape;
    const bd_window *w = &node->attr.window;
    const char *index = NULL;
    (void)guard;
    bd_text_append(text, "float %s = 0.0f;\n{\n", name);
    int mark = bd_emit_open(e);
    bool guarded = false;
    if (node->op == BD_OP_MATMUL) {
        if (which == 0)
            index = node->attr.matmul.transpose[0] ? bd_emit_index(e, "(z * %lluu + k) * %lluu + m", K, M)
                                                   : bd_emit_index(e, "(z * %lluu + m) * %lluu + k", M, K);
        else
            index = node->attr.matmul.transpose[1] ? bd_emit_index(e, "(z * %lluu + n) * %lluu + k", N, K)
                                                   : bd_emit_index(e, "(z * %lluu + k) * %lluu + n", K, N);
    } else if (which == 1) {
        const bd_shape *weight = shape;
        if (node->op == BD_OP_CONV2D_DATA) /* k = (ky, kx, co), n = ci */
            index = bd_emit_index(e, "(k / %lluu * %lluu + n) * %lluu + k %% %lluu", (unsigned long long)weight->dim[3], N,
                                  (unsigned long long)weight->dim[3], (unsigned long long)weight->dim[3]);
        else
            index = bd_emit_index(e, "k * %lluu + n", N);
    } else {
        guarded = true;
        const bool weight_pass = node->op == BD_OP_CONV2D_WEIGHT;
        const bd_shape *pixels = weight_pass ? &graph->nodes[node->inputs[1]].shape : &node->shape;
        const char *p = weight_pass ? "k" : "m", *t = weight_pass ? "m" : "k";
        int h = (int)pixels->dim[1], wd = (int)pixels->dim[2], ch = (int)shape->dim[3];
        bd_text_append(text, "const int px = BD_INT(%s %% %du), py = BD_INT(%s / %du %% %du); const uint pn = %s / %du;\n", p, wd, p,
                       wd, h, p, wd * h);
        bd_text_append(text, "const uint tc = %s %% %du; const int tx = BD_INT(%s / %du %% %du), ty = BD_INT(%s / %du);\n", t, ch, t, ch,
                       (int)w->size[1], t, ch * (int)w->size[1]);
        if (node->op == BD_OP_CONV2D_DATA)
            bd_text_append(text,
                           "const int ay = py + %d - ty, ax = px + %d - tx;\nconst int iy = ay / %d, ix = ax / %d;\n"
                           "if (ay >= 0 && ax >= 0 && ay %% %d == 0 && ax %% %d == 0 && iy < %d && ix < %d) {\n",
                           (int)w->pad[0][0], (int)w->pad[1][0], (int)w->stride[0], (int)w->stride[1], (int)w->stride[0],
                           (int)w->stride[1], (int)shape->dim[1], (int)shape->dim[2]);
        else
            bd_text_append(text,
                           "const int iy = py * %d - %d + ty, ix = px * %d - %d + tx;\n"
                           "if (iy >= 0 && ix >= 0 && iy < %d && ix < %d) {\n",
                           (int)w->stride[0], (int)w->pad[0][0], (int)w->stride[1], (int)w->pad[1][0], (int)shape->dim[1],
                           (int)shape->dim[2]);
        index = bd_emit_index(e, "((pn * %uu + BD_UINT(iy)) * %uu + BD_UINT(ix)) * %uu + tc", (unsigned)shape->dim[1],
                              (unsigned)shape->dim[2], (unsigned)shape->dim[3]);
    }
    const char *value = bd_emit_value(e, input, index);
    bd_text_append(text, "%s = %s;\n%s}\n", name, value, guarded ? "}\n" : "");
    bd_emit_close(e, mark);
}

void bd_print_contraction(bd_printer *printer)
{
    const bd_graph *graph = printer->plan->graph;
    const bd_kernel *kernel = printer->kernel;
    if (kernel->tile.kind == BD_TILE_SIMD) {
        bd_print_contraction_simd(printer);
        return;
    }
    const bd_node *node = &graph->nodes[kernel->anchor];
    const bd_contraction c = bd_contraction_of(graph, kernel->anchor);
    bd_emitter *e = printer->emitter;
    bd_text *text = bd_emitter_text(e);
    const int64_t chunks = node->chunks > 1 ? node->chunks : 1;
    const unsigned long long chunk = (unsigned long long)((c.k + chunks - 1) / chunks);
    const unsigned long long MN = (unsigned long long)(c.m * c.n), BMN = (unsigned long long)(c.batch * c.m * c.n);
    printer->skeleton = "pointwise";
    bd_text_append(&printer->macros, "#define BD_ELEMENTS %lluu\n", (unsigned long long)kernel->elements);
    bd_text_append(text,
                   "const uint n = i %% %lluu, m = i / %lluu %% %lluu, z = i %% %lluu / %lluu;\n"
                   "BD_VALUE acc = 0.0f;\n"
                   "for (uint k = i / %lluu * %lluu; k < min((i / %lluu + 1u) * %lluu, %lluu); k++) {\n",
                   (unsigned long long)c.n, (unsigned long long)c.n, (unsigned long long)c.m, BMN, MN, BMN, chunk, BMN, chunk,
                   (unsigned long long)c.k);
    int mark = bd_emit_open(e);
    load_operand(printer, 0, "a", "");
    load_operand(printer, 1, "b", "");
    bd_emit_close(e, mark);
    if (node->accumulator == BD_F16)
        bd_text_append(text, "acc = BD_ADD_f16(acc, bd_round_f16(a * b));\n}\n");
    else
        bd_text_append(text, "acc = fma(a, b, acc);\n}\n");
    bd_emit_round(e, node->format, "acc");
    bd_emit_know(e, kernel->anchor, kernel->elements == 1 ? "0u" : "i", "acc");
    bd_print_stores(printer, BD_SPACE_ELEMENT, kernel->elements == 1 ? "0u" : "i");
}
