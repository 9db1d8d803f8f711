/* Configures the contractions by matrix units: contraction_matrix.cl, contraction_matrix.comp,
 * contraction_matrix2.comp. */
#include "print.h"
#include "quantise.h"
#include "tile.h"

#include <math.h>

int bd_print_binding(const bd_kernel *kernel, int number)
{
    int binding = 0;
    for (int i = 0; i < number; i++)
        binding += (int)kernel->operands[i].parts + (kernel->operands[i].access != BD_ACCESS_BUFFER);
    return binding;
}

/* Codes of a byte each that stand for halves: how they become those (contraction_matrix.cl), and the four codes of 0.
 * `zero` is added to whole numbers. */
static void print_codes(bd_text *macros, char operand, bd_format format, double zero, const bd_target *target)
{
    const bd_format_info info = bd_format_describe(format);
    if (info.kind == BD_KIND_SIGNED) {
        const uint32_t half = bd_f16_from_double(1024 + 128 - zero), byte = (uint8_t)(int8_t)-zero;
        bd_text_append(macros,
                       "#define %c_ZERO 0x%xu\n#define %c_HALVES(codes, pair) halves_of_whole(codes, pair, 0x%xu)\n",
                       operand, byte * 0x01010101u, operand, half * 0x10001u);
    } else if (format == BD_F8E5M2 || (format == BD_F8E4M3 && target->matrix.e4m3)) {
        bd_text_append(macros, "#define %c_ZERO 0u\n#define %c_HALVES(codes, pair) halves_of_%s(codes, pair)\n",
                       operand, operand, bd_format_name(format));
    } else {
        const uint32_t all = (1u << (info.exponent_bits + info.mantissa_bits)) - 1;
        const bool last = !info.infinity && info.mantissa_bits > 0; /* only the last code is special */
        const uint32_t special = last ? all : all + 1 - (1u << info.mantissa_bits);
        bd_text_append(macros,
                       "#define %c_ZERO 0u\n"
                       "#define %c_HALVES(codes, pair) halves_of_float(codes, pair, %du, %du, 0x%xu, 0x%xu, 0x%xu)\n",
                       operand, operand, info.exponent_bits, info.mantissa_bits,
                       bd_f16_from_double(ldexp(1, 15 - info.bias)) * 0x10001u, special,
                       info.infinity || last ? 0x7c00u : 0x7e00u);
    }
}

/* Pieces of eight are loaded at once where they lie side by side in a buffer, in the units' format or as codes of a
 * byte, aligned, and are all padding or none: `inner` elements follow each other, and of k each part has whole
 * pieces. */
static void print_pieces(bd_printer *printer, int side)
{
    const bd_graph *graph = printer->plan->graph;
    const bd_kernel *kernel = printer->kernel;
    const bd_node *node = &graph->nodes[kernel->anchor];
    const bd_contraction c = bd_contraction_of(graph, kernel->anchor);
    const int64_t chunks = node->chunks > 1 ? node->chunks : 1, chunk = bd_chunk_length(c.k, chunks);
    const char operand = "AB"[side];
    bd_tensor input = node->inputs[side];
    const bd_shape *shape = &graph->nodes[input].shape;
    double zero = 0;
    input = bd_quantised_whole(graph, input, &zero);
    input = bd_stored_operand(graph, input);
    const int number = bd_kernel_operand(kernel, input);
    const bd_format units = bd_matrix_format(graph, kernel->anchor, printer->target),
                    format = graph->nodes[input].format;
    const bool codes = units == BD_F16 && format != BD_U8 && bd_format_size(format) == 1;
    const bool wide = codes ? number >= 0 && kernel->operands[number].parts == 1 &&
                                  kernel->operands[number].access == BD_ACCESS_BUFFER &&
                                  printer->target->half.storage && shape->dim[shape->rank - 1] % 8 == 0 &&
                                  (!bd_inner_is_k(node, side) || chunks == 1 || chunk % 8 == 0)
                            : bd_matrix_copies(graph, kernel->anchor, kernel, printer->target, side);
    bd_text_append(&printer->macros, "#define %c_WIDE %d\n#define %c_CODES %d\n", operand, wide, operand,
                   wide && codes);
    if (!wide)
        return;
    if (codes)
        print_codes(&printer->macros, operand, format, zero, printer->target);
    if (printer->dialect == BD_DIALECT_OPENCL)
        bd_text_append(&printer->macros, "#define %c_PIECE(x) (b%d + (x))\n", operand, number);
    else
        bd_text_append(&printer->macros,
                       "layout(set = 0, binding = %d) readonly buffer Pieces%c { %s pieces_%c[]; };\n"
                       "#define %c_PIECE(x) pieces_%c[(x) / 8u]\n",
                       bd_print_binding(kernel, number), operand, codes ? "uvec2" : "uvec4", operand, operand, operand);
}

/* MULTIPLY_GROUP(c, a, b, keep): c = a b, plus c if `keep`, of 64 x n numbers of which each work-item has n / 2. */
static void print_multiply_group(bd_text *macros, bd_format format, uint32_t n, bool a_turned, bool b_turned)
{
    const uint32_t count = n / 2;
    const char *const name = bd_format_name(format);
    bd_text_append(macros,
                   "#define MULTIPLY_GROUP(c, a, b, keep) asm volatile(\"//+{ .reg .pred p; setp.ne.b32 p, %%%u, 0; "
                   "wgmma.mma_async.sync.aligned.m64n%uk16.f32.%s.%s {",
                   count + 2, n, name, name);
    for (uint32_t i = 0; i < count; i++)
        bd_text_append(macros, "%s%%%u", i ? ", " : "", i);
    bd_text_append(macros, "}, %%%u, %%%u, p, 1, 1, %d, %d; }\\n\" : ", count, count + 1, a_turned, b_turned);
    for (uint32_t i = 0; i < count; i++)
        bd_text_append(macros, "%s\"+f\"((c)[%u])", i ? ", " : "", i);
    bd_text_append(macros, " : \"l\"(a), \"l\"(b), \"r\"((int)(keep)) : \"memory\")\n");
}

/* FIRST(panel): its first step of k. The taps of a few channels follow each other, whose pixels then are in the
 * first-level cache. */
static void print_order(bd_printer *printer)
{
    const bd_graph *graph = printer->plan->graph;
    const bd_node *node = &graph->nodes[printer->kernel->anchor];
    const uint32_t step = printer->kernel->tile.k;
    const int64_t taps = node->attr.window.size[0] * node->attr.window.size[1],
                  channels = graph->nodes[node->inputs[0]].shape.dim[3];
    const bool pixels = node->op == BD_OP_CONV2D || node->op == BD_OP_CONV2D_DATA;
    if (pixels && channels % step == 0 && node->chunks <= 1)
        bd_text_append(&printer->macros, "#define FIRST(panel) ((panel) %% %uu * %uu + (panel) / %uu * TILE_K)\n",
                       (unsigned)taps, (unsigned)channels, (unsigned)taps);
    else
        bd_text_append(&printer->macros, "#define FIRST(panel) (begin + (panel) * TILE_K)\n");
}

/* What cooperative matrices are of: floats of 8 bits have other names until spirv.c makes them. */
static const char *matrix_type(bd_format format)
{
    switch (format) {
    case BD_F8E4M3: return "uint8_t";
    case BD_F8E5M2: return "uint";
    default: return "int8_t";
    }
}

/* Codes of a byte that are multiplied as they are, in cooperative matrices: in pieces of eight
 * (bd_multiplies_codes). */
static void print_code_pieces(bd_printer *printer)
{
    const bd_graph *graph = printer->plan->graph;
    const bd_kernel *kernel = printer->kernel;
    bd_text *macros = &printer->macros;
    bool whole = false;
    for (int side = 0; side < 2; side++) {
        const char name = "AB"[side];
        const bd_code_operand operand = bd_code_operand_of(graph, kernel->anchor, side);
        whole = bd_format_describe(operand.format).kind != BD_KIND_FLOAT;
        bd_text_append(macros,
                       "#define MATRIX_TYPE_%c %s\n#define %c_WIDE 1\n#define %c_CODES 0\n#define %c_ZERO 0x%xu\n"
                       "layout(set = 0, binding = %d) readonly buffer Pieces%c { uvec2 pieces_%c[]; };\n"
                       "#define %c_PIECE(x) pieces_%c[(x) / 8u]\n",
                       name, matrix_type(operand.format), name, name, name,
                       (uint32_t)(uint8_t)(int8_t)-operand.zero * 0x01010101u,
                       bd_print_binding(kernel, bd_kernel_operand(kernel, operand.stored)), name, name, name, name);
        if (side == 0)
            bd_text_append(macros, "#define A_MOVED %d\n", (int)(operand.zero / 2));
    }
    bd_text_append(macros, "#define SUM_TYPE %s\n#define WHOLE_SUMS %d\n", whole ? "int" : "float", whole);
}

static void print_fragments(bd_printer *printer)
{
    const bd_tile *tile = &printer->kernel->tile;
    const bd_matrix_units *units = &printer->target->matrix;
    const bool codes = tile->kind == BD_TILE_MATRIX8;
    const uint32_t m = codes ? units->codes.m : units->m, n = codes ? units->codes.n : units->n,
                   k = codes ? units->codes.k : units->k;
    printer->skeleton = "contraction_matrix";
    bd_text_append(&printer->macros,
                   "#define WARP_M %uu\n#define WARP_N %uu\n#define LANES %uu\n#define ROWS %u\n#define MATRIX_M %uu\n"
                   "#define MATRIX_N %uu\n#define MATRIX_K %uu\n#define A_TENSOR 0\n#define B_TENSOR 0\n",
                   tile->item_m, tile->item_n, units->lanes, tile->item_m / m, m, n, k);
}

static void print_joined(bd_printer *printer)
{
    const bd_graph *graph = printer->plan->graph;
    const bd_kernel *kernel = printer->kernel;
    printer->skeleton = "contraction_matrix2";
    bd_text_append(&printer->macros, "#define ITEMS %uu\n#define SCOPE %s\n", kernel->local[0],
                   printer->target->joined.workgroup ? "gl_ScopeWorkgroup" : "gl_ScopeSubgroup");
    for (int side = 0; side < 2; side++) {
        const bool in_rows = bd_matrix_lies_in_rows(graph, kernel->anchor, kernel, printer->target, side);
        bd_text_append(&printer->macros, "#define %c_TENSOR %d\n", "AB"[side], in_rows);
        const bd_tensor input = bd_stored_operand(graph, graph->nodes[kernel->anchor].inputs[side]);
        if (in_rows)
            bd_text_append(&printer->macros, "#define %c_BUFFER b%d\n", "AB"[side], bd_kernel_operand(kernel, input));
    }
}

void bd_print_contraction_matrix(bd_printer *printer)
{
    const bd_graph *graph = printer->plan->graph;
    const bd_node *node = &graph->nodes[printer->kernel->anchor];
    const bd_tile *tile = &printer->kernel->tile;
    bd_print_operands(printer);
    bd_text_append(&printer->macros, "#define TILE_M %uu\n#define TILE_N %uu\n#define TILE_K %uu\n", tile->m, tile->n,
                   tile->k);
    if (tile->kind == BD_TILE_MATRIX2)
        print_joined(printer);
    else
        print_fragments(printer);
    const bool codes = tile->kind == BD_TILE_MATRIX8;
    const bd_format units = bd_matrix_format(graph, printer->kernel->anchor, printer->target);
    const bool alone = bd_matrix_alone(graph, printer->kernel->anchor, tile, printer->target);
    bd_text_append(
        &printer->macros,
        "#define WARPGROUP %d\n#define COPIERS %uu\n#define STAGES %uu\n#define CACHED %d\n#define MATRIX_BF16 %d\n"
        "#define MATRIX_CODES %d\n#define LONG_RESULTS %d\n",
        tile->kind == BD_TILE_WARPGROUP, bd_matrix_copiers(graph, printer->kernel, printer->target),
        bd_matrix_stages(tile, alone), node->op != BD_OP_MATMUL, units == BD_BF16 && !codes, codes,
        bd_results_are_long(graph, printer->kernel));
    if (tile->kind == BD_TILE_WARPGROUP)
        print_multiply_group(&printer->macros, units, tile->n, !bd_inner_is_k(node, 0), !bd_inner_is_k(node, 1));
    if (printer->dialect == BD_DIALECT_OPENCL) {
        print_order(printer);
        bd_print_tensor_maps(printer);
    }
    if (codes) {
        print_code_pieces(printer);
        return;
    }
    print_pieces(printer, 0);
    print_pieces(printer, 1);
}
