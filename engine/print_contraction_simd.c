/* Configures the contraction for CPU drivers that are read as texels: shaders/contraction_simd.comp. */
#include "print.h"
#include "tile.h"

static void print_texels(bd_printer *printer, char operand, bd_tensor input)
{
    const bd_graph *graph = printer->plan->graph;
    input = bd_stored_operand(graph, input);
    const int number = bd_kernel_operand(printer->kernel, input);
    const bd_access access = number < 0 ? BD_ACCESS_BUFFER : printer->kernel->operands[number].access;
    if (access >= BD_ACCESS_TEXEL2)
        bd_text_append(&printer->macros, "#define %c_WIDTH %d\n#define %c_TEXEL(x) texelFetch(t%d, int((x) / %du))\n",
                       operand, (int)access, operand, number, (unsigned)access);
    else
        bd_text_append(&printer->macros, "#define %c_WIDTH 1\n#define %c_TEXEL(x) vec4(%c_GET(x))\n", operand, operand,
                       operand);
}

void bd_print_contraction_simd(bd_printer *printer)
{
    const bd_tile *tile = &printer->kernel->tile;
    const bd_node *node = &printer->plan->graph->nodes[printer->kernel->anchor];
    const bd_contraction c = bd_contraction_of(printer->plan->graph, printer->kernel->anchor);
    const int64_t chunks = node->chunks > 1 ? node->chunks : 1, chunk = bd_chunk_length(c.k, chunks);
    const bool parts = chunks > 1 && chunk % tile->k, ragged = c.k % tile->k || parts;
    const bd_run run = bd_run_of(printer->plan->graph, printer->kernel->anchor);
    const bool even = run.length == c.k || (run.length % tile->k == 0 && !parts);
    printer->skeleton = "contraction_simd";
    bd_print_operands(printer);
    bd_text_append(&printer->macros,
                   "#define LANES %u\n#define LANES_N %u\n#define SPREAD %u\n#define ITEM_M %u\n#define ITEM_N %u\n"
                   "#define STEP %u\n#define PHASES %u\n#define RAGGED %d\n#define EVEN %d\n",
                   printer->kernel->local[0], tile->n / tile->item_n, tile->spread, tile->item_m, tile->item_n, tile->k,
                   tile->phases, ragged, even);
    if (tile->phases > 1)
        bd_print_images(printer);
    bd_text_append(&printer->macros, "#define EVEN_STEP(u) BD_UINT4((u) * %lluu, 0u, (u) * %lluu, 0u)\n",
                   (unsigned long long)run.step, (unsigned long long)run.pixels);
    print_texels(printer, 'A', node->inputs[0]);
    print_texels(printer, 'B', node->inputs[1]);
}
