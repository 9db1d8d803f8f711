/* Configures the contractions by matrix units of 8 bits: contraction_codes.cl. */
#include "print.h"
#include "tile.h"

/* As PTX calls an operand's format. */
static const char *unit_format(const bd_code_operand *operand)
{
    switch (operand->format) {
    case BD_F8E4M3: return "e4m3";
    case BD_F8E5M2: return "e5m2";
    default: return operand->zero > 0 || operand->format == BD_U8 ? "u8" : "s8";
    }
}

void bd_print_multiply_codes(bd_text *macros, const char *a, const char *b, bool whole, uint32_t n)
{
    const uint32_t count = n / 2;
    bd_text_append(macros,
                   "#define MULTIPLY_GROUP(c, a, b, keep) asm volatile(\"//+{ .reg .pred p; setp.ne.b32 p, %%%u, 0; "
                   "wgmma.mma_async.sync.aligned.m64n%uk32.%s.%s.%s {",
                   count + 2, n, whole ? "s32" : "f32", a, b);
    for (uint32_t i = 0; i < count; i++)
        bd_text_append(macros, "%s%%%u", i ? ", " : "", i);
    bd_text_append(macros, "}, %%%u, %%%u, p%s; }\\n\" : ", count, count + 1, whole ? "" : ", 1, 1");
    for (uint32_t i = 0; i < count; i++)
        bd_text_append(macros, "%s\"+%c\"((c)[%u])", i ? ", " : "", whole ? 'r' : 'f', i);
    bd_text_append(macros, " : \"l\"(a), \"l\"(b), \"r\"((int)(keep)) : \"memory\")\n");
}

static void print_operand(bd_printer *printer, char name, const bd_code_operand *operand)
{
    bd_text_append(&printer->macros, "#define %c_ACROSS %d\n#define %c_PIECE(x) (b%d + (x))\n", name, operand->across,
                   name, bd_kernel_operand(printer->kernel, operand->stored));
}

void bd_print_contraction_codes(bd_printer *printer)
{
    const bd_graph *graph = printer->plan->graph;
    const bd_kernel *kernel = printer->kernel;
    const bd_tile *tile = &kernel->tile;
    const bd_code_operand operands[] = { bd_code_operand_of(graph, kernel->anchor, 0),
                                         bd_code_operand_of(graph, kernel->anchor, 1) };
    const bool warpgroup = tile->kind == BD_TILE_WARPGROUP8;
    const bool whole = bd_format_describe(operands[0].format).kind != BD_KIND_FLOAT;
    printer->skeleton = "contraction_codes";
    bd_print_operands(printer);
    bd_text_append(
        &printer->macros,
        "#define TILE_M %uu\n#define TILE_N %uu\n#define TILE_K %uu\n#define WARP_M %uu\n#define WARP_N %uu\n"
        "#define ROWS %uu\n#define WARPGROUP %d\n#define STAGES %u\n#define WHOLE_SUMS %d\n#define CACHED %d\n"
        "#define LONG_RESULTS %d\n",
        tile->m, tile->n, tile->k, tile->item_m, tile->item_n, tile->item_m / printer->target->matrix.m, warpgroup,
        bd_matrix_stages(tile, bd_matrix_alone(graph, kernel->anchor, tile, printer->target)), whole,
        graph->nodes[kernel->anchor].op != BD_OP_MATMUL, bd_results_are_long(graph, kernel));
    const char *const sum = whole ? "s32" : "f32", *const a = unit_format(&operands[0]),
                      *const b = unit_format(&operands[1]);
    if (warpgroup)
        bd_print_multiply_codes(&printer->macros, a, b, whole, tile->n);
    else
        bd_text_append(&printer->macros, "#define UNITS \"%s.%s.%s.%s\"\n", sum, a, b, sum);
    for (int side = 0; side < 2; side++)
        print_operand(printer, "AB"[side], &operands[side]);
    /* Of bytes with a sign that begin with -zero: what is too much of 128 + each, four at once. */
    bd_text_append(&printer->macros, "#define A_SHIFTED %d\n#define A_SHIFT 0x%xu\n", operands[0].zero > 0,
                   operands[0].zero > 0 ? (uint32_t)(128 - operands[0].zero) * 0x01010101u : 0u);
}
