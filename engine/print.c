/* Puts a kernel's source together: macros, prelude, skeleton, buffers, body. */
#include "print.h"
#include "control.h"
#include "embedded.h"
#include "last_group.h"
#include "tensor_map.h"
#include "tile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool stores(const bd_printer *printer, int i)
{
    const bd_kernel *kernel = printer->kernel;
    const bd_node *node = &printer->plan->graph->nodes[kernel->nodes[i]];
    return node->op == BD_OP_ASSIGN || bd_kernel_operand(kernel, kernel->nodes[i]) >= 0;
}

bool bd_print_has_stores(const bd_printer *printer, bd_space space)
{
    for (int i = 0; i < printer->kernel->node_count; i++)
        if (printer->kernel->spaces[i] == space && stores(printer, i))
            return true;
    return false;
}

void bd_print_values(bd_printer *printer, bd_space space, const char *index)
{
    const bd_kernel *kernel = printer->kernel;
    const char *lanes[BD_WIDTH];
    const uint32_t count = bd_emit_lanes(printer->emitter, index, lanes);
    for (int i = 0; i < kernel->node_count; i++)
        for (uint32_t j = 0; j < count && kernel->spaces[i] == space && stores(printer, i); j++)
            bd_emit_value(printer->emitter, kernel->nodes[i], lanes[j]);
}

void bd_print_stores(bd_printer *printer, bd_space space, const char *index)
{
    const bd_kernel *kernel = printer->kernel;
    /* All values first, then the stores: what an ASSIGN overwrites may still be read by another node. */
    bd_print_values(printer, space, index);
    for (int i = 0; i < kernel->node_count; i++)
        if (kernel->spaces[i] == space && stores(printer, i))
            bd_emit_store(printer->emitter, kernel->nodes[i], index);
}

static void group_size(bd_printer *printer)
{
    const bd_kernel *kernel = printer->kernel;
    bd_text_append(&printer->macros, "#define BD_LOCAL %u, %u, %u\n#define BD_LOCAL_X %u\n", kernel->local[0],
                   kernel->local[1], kernel->local[2], kernel->local[0]);
}

void bd_print_pointwise(bd_printer *printer)
{
    const bd_kernel *kernel = printer->kernel;
    const bool whole =
        kernel->groups[1] == 1 && (int64_t)kernel->groups[0] * kernel->local[0] * kernel->width == kernel->elements;
    printer->skeleton = "pointwise";
    bd_text_append(&printer->macros, "#define BD_ELEMENTS %lluu\n#define BD_WHOLE %d\n#define BD_WIDTH %uu\n",
                   (unsigned long long)kernel->elements, whole, kernel->width);
    if (kernel->width > 1)
        bd_emit_lane(printer->emitter, "i", 0);
    bd_print_stores(printer, BD_SPACE_ELEMENT, printer->kernel->elements == 1 ? "0u" : "i");
}

void bd_print_control(bd_printer *printer)
{
    static const char rule[] = "#define GET(word) BD_AS_FLOAT(BLOCK[word])\n"
                               "#define SET(word, value) BLOCK[word] = BD_AS_UINT(value)\n"
                               "if (BLOCK[HALT] == 0u) {\n"
                               "    const uint valid = BLOCK[POSITION] < BLOCK[COUNT] ? min(BLOCK[BATCH], BLOCK[COUNT] "
                               "- BLOCK[POSITION]) : 0u;\n"
                               "    SET(LOSS_SUM, GET(LOSS_SUM) + LOSS);\n"
                               "    SET(CORRECT, GET(CORRECT) + RIGHT);\n"
                               "    SET(SAMPLES, GET(SAMPLES) + BD_FLOAT(valid));\n"
                               "}\n"
                               "BD_VALUE unscale = BD_DIV(1.0f, GET(SCALE));\n"
                               "SET(UNSCALE, unscale);\n"
                               "const bool over = NONFINITE != 0.0f;\n"
                               "if (bd_nonfinite(LOSS) != 0.0f) {\n"
                               "    BLOCK[NAN_COUNT] += 1u;\n"
                               "    if (BLOCK[NAN_COUNT] == 1u) BLOCK[NAN_STEP] = BLOCK[STEP];\n"
                               "    if (BLOCK[STOP_ON_NAN] != 0u) BLOCK[HALT] = 1u;\n"
                               "}\n"
                               "const bool halt = BLOCK[HALT] != 0u;\n"
                               "const bool apply = !over && !halt;\n"
                               "BLOCK[APPLY] = apply ? 1u : 0u;\n"
                               "if (BLOCK[SCALING] == 2u && !halt) {\n"
                               "    if (over) {\n"
                               "        SET(SCALE, GET(SCALE) * GET(BACKOFF));\n"
                               "        BLOCK[GOOD_STEPS] = 0u;\n"
                               "    } else {\n"
                               "        BLOCK[GOOD_STEPS] += 1u;\n"
                               "        if (BLOCK[GOOD_STEPS] == BLOCK[GROWTH_INTERVAL]) {\n"
                               "            SET(SCALE, GET(SCALE) * GET(GROWTH));\n"
                               "            BLOCK[GOOD_STEPS] = 0u;\n"
                               "        }\n"
                               "    }\n"
                               "}\n"
                               "if (over) BLOCK[OVERFLOWS] += 1u;\n"
                               "SET(RATE, RATES[min(BLOCK[STEP] - BLOCK[RATE_FIRST], BLOCK[RATE_COUNT] - 1u)]);\n"
                               "if (apply) {\n"
                               "    BLOCK[APPLIED] += 1u;\n"
                               "    SET(BETA1_POWER, GET(BETA1_POWER) * GET(BETA1));\n"
                               "    SET(BETA2_POWER, GET(BETA2_POWER) * GET(BETA2));\n"
                               "}\n"
                               "if (!halt) {\n"
                               "    BLOCK[STEP] += 1u;\n"
                               "    BLOCK[POSITION] += BLOCK[BATCH];\n"
                               "}\n";
    _Static_assert(BD_SCALING_DYNAMIC == 2, "the rule above names it by its number");
    const bd_node *step = &printer->plan->graph->nodes[printer->kernel->nodes[0]];
    printer->skeleton = "pointwise";
    bd_text_append(&printer->macros, "#define BD_ELEMENTS 1u\n#define BD_WIDTH 1u\n");
#define PRINT_WORD(NAME, is_float) bd_text_append(&printer->macros, "#define " #NAME " %d\n", BD_CONTROL_##NAME);
    BD_CONTROL_WORDS(PRINT_WORD)
#undef PRINT_WORD
    bd_text_append(&printer->macros, "#define BLOCK b%d\n#define RATES b%d\n",
                   bd_kernel_operand(printer->kernel, step->inputs[0]),
                   bd_kernel_operand(printer->kernel, step->inputs[1]));
    bd_text_append(&printer->macros, "#define LOSS %s\n", bd_emit_value(printer->emitter, step->inputs[2], "0u"));
    bd_text_append(&printer->macros, "#define RIGHT %s\n", bd_emit_value(printer->emitter, step->inputs[3], "0u"));
    bd_text_append(&printer->macros, "#define NONFINITE %s\n",
                   step->input_count > 4 && step->inputs[4] != BD_NONE
                       ? bd_emit_value(printer->emitter, step->inputs[4], "0u")
                       : "0.0f");
    bd_text_append_raw(bd_emitter_text(printer->emitter), rule, sizeof rule - 1);
}

/* The variable in whose memory a variable lies; BD_NONE for another tensor, which has its own. */
static bd_tensor memory_of(const bd_graph *graph, bd_tensor tensor)
{
    const bd_node *node = &graph->nodes[tensor];
    if (node->op != BD_OP_VARIABLE)
        return BD_NONE;
    return node->attr.variable.base == BD_NONE ? tensor : node->attr.variable.base;
}

/* Whether nothing writes what the kernel reads here: then the compiler may load it ahead of stores. */
static bool is_constant(const bd_graph *graph, const bd_kernel *kernel, const bd_operand *operand)
{
    const bd_tensor memory = memory_of(graph, operand->node);
    for (int i = 0; i < kernel->operand_count && memory != BD_NONE; i++)
        if (kernel->operands[i].written && memory_of(graph, kernel->operands[i].node) == memory)
            return false;
    return !operand->written;
}

/* An operand in parts: functions that find the part of an element. Only GLSL needs it: OpenCL's largest buffer is seen
 * whole. */
static void declare_parts(const bd_operand *operand, const char *access, const char *format, int number, int binding,
                          bd_text *declarations)
{
    for (uint32_t part = 0; part < operand->parts; part++)
        bd_text_append(declarations, "layout(set = 0, binding = %d) %sbuffer Buffer%d_%u { BD_TYPE_%s b%d_%u[]; };\n",
                       binding + (int)part, access, number, part, format, number, part);
    for (int store = 0; store < (operand->written ? 2 : 1); store++) {
        bd_text_append(declarations, store ? "void store_b%d(uint i, float v)\n{\n" : "float load_b%d(uint i)\n{\n",
                       number);
        for (uint32_t part = 0; part < operand->parts; part++) {
            if (part + 1 < operand->parts)
                bd_text_append(declarations, "    if (i < %lluu)\n    ",
                               (unsigned long long)operand->part_elements * (part + 1));
            bd_text_append(declarations,
                           store ? "    { BD_STORE_%s(b%d_%u, i - %lluu, v); return; }\n"
                                 : "    return BD_LOAD_%s(b%d_%u, i - %lluu);\n",
                           format, number, part, (unsigned long long)operand->part_elements * part);
        }
        bd_text_append(declarations, "}\n");
    }
}

/* The type that a buffer's elements have in the kernel, and its declaration. */
static void declare_buffers(const bd_graph *graph, const bd_kernel *kernel, bd_text *declarations)
{
    const bd_kernel last = { .width = kernel->last.width };
    int binding = 0;
    for (int i = 0; i < kernel->operand_count; i++) {
        const bd_operand *operand = &kernel->operands[i];
        const char *format = bd_format_name(graph->nodes[operand->node].format);
        const bool shared = operand->written && (bd_is_part(graph, kernel, operand->node) ||
                                                 (kernel->last.node_count && operand->node == kernel->last.counters));
        const char *access = is_constant(graph, kernel, operand) ? "restrict readonly "
                             : shared                            ? "coherent "
                             : operand->written                  ? ""
                                                                 : "readonly ";
        if (operand->parts > 1)
            declare_parts(operand, access, format, i, binding, declarations);
        else if (operand->parts == 1)
            bd_text_append(declarations, "layout(set = 0, binding = %d) %sbuffer Buffer%d { BD_TYPE_%s b%d[]; };\n",
                           binding, access, i, format, i);
        if (bd_is_wide(graph, kernel, operand) || (kernel->last.node_count && bd_is_wide(graph, &last, operand)))
            bd_text_append(declarations, "layout(set = 0, binding = %d) %sbuffer Fours%d { BD_FOUR_%s fours%d[]; };\n",
                           binding, access, i, format, i);
        binding += (int)operand->parts;
        if (operand->access != BD_ACCESS_BUFFER)
            bd_text_append(declarations, "layout(set = 0, binding = %d) uniform BD_TEXELS_%s t%d;\n", binding++, format,
                           i);
    }
}

/* OpenCL: whole buffers p0, p1, ..., and in which element o0, o1, ... the operands b0, b1, ... begin. Not sub-buffers:
 * NVIDIA's driver (580.159) crashes when it releases some that overlap, as an arena's must, once kernels have used
 * them. */
static void declare_arguments(const bd_graph *graph, const bd_kernel *kernel, bool maps, bd_text *macros)
{
    bd_text_append(macros, "#define BD_ARGUMENTS ");
    for (int i = 0; i < kernel->operand_count; i++)
        bd_text_append(macros, "__global %sBD_TYPE_%s *%sp%d, ", kernel->operands[i].written ? "" : "const ",
                       bd_format_name(graph->nodes[kernel->operands[i].node].format),
                       is_constant(graph, kernel, &kernel->operands[i]) ? "restrict " : "", i);
    for (int i = 0; i < kernel->operand_count; i++)
        bd_text_append(macros, "%sconst ulong o%d", i ? ", " : "", i);
    bd_text_append(macros, "%s\n#define BD_BUFFERS ",
                   maps ? ", __global const uchar *maps, const ulong maps_first" : "");
    for (int i = 0; i < kernel->operand_count; i++)
        bd_text_append(macros, "p%d, ", i);
    for (int i = 0; i < kernel->operand_count; i++)
        bd_text_append(macros, "%so%d", i ? ", " : "", i);
    bd_text_append(macros, "%s\n", maps ? ", maps, maps_first" : "");
    for (int i = 0; i < kernel->operand_count; i++)
        bd_text_append(macros, "#define b%d BD_SKIP_%s(p%d, o%d)\n", i,
                       bd_format_name(graph->nodes[kernel->operands[i].node].format), i, i);
}

/* Whether `at` holds a mark; what lies behind it goes to *rest. */
static bool is_mark(const char *at, const char *mark, const char **rest)
{
    const size_t length = strlen(mark);
    const bool is = strncmp(at, mark, length) == 0;
    if (is)
        *rest = at + length;
    return is;
}

static void append_text(bd_text *source, const bd_text *text)
{
    if (text->data)
        bd_text_append_raw(source, text->data, text->length);
}

/* What skeletons ask for by marks: declarations of a shader, "//@declare"; variables of an OpenCL kernel in local
 * memory, "//@local"; the work, "//@body"; and what comes after it, "//@last". */
typedef struct fillings {
    bd_text declare, local, last;
} fillings;

static void append_skeleton(bd_text *source, const char *skeleton, const fillings *f, const bd_text *body)
{
    const char *at = skeleton, *mark;
    while ((mark = strstr(at, "//@")) != NULL) {
        bd_text_append_raw(source, at, (size_t)(mark - at));
        at = mark + 2;
        if (is_mark(mark, "//@declare", &at))
            append_text(source, &f->declare);
        else if (is_mark(mark, "//@local", &at))
            append_text(source, &f->local);
        else if (is_mark(mark, "//@body", &at))
            append_text(source, body);
        else if (is_mark(mark, "//@last", &at))
            append_text(source, &f->last);
    }
    bd_text_append_raw(source, at, strlen(at));
}

static bd_status print(const bd_plan *plan, const bd_kernel *whole, const bd_target *target, bd_dialect dialect,
                       char **source, bd_error *error)
{
    const bd_kernel groups = bd_kernel_of_groups(whole), *kernel = &groups;
    bd_printer printer = { .plan = plan, .kernel = kernel, .target = target, .dialect = dialect };
    printer.slot_bytes = target->limits.shared_bytes - (whole->last.node_count ? BD_LAST_GROUP_SHARED : 0);
    bd_text text = { 0 };
    fillings f = { 0 };
    printer.emitter = bd_emitter_create(plan, kernel, dialect);
    printer.pass = calloc((size_t)kernel->node_count + 1, sizeof *printer.pass);
    if (!printer.emitter || !printer.pass) {
        bd_emitter_destroy(&printer.emitter);
        free(printer.pass);
        return bd_fail(error, BD_ERROR_MEMORY, "out of memory for kernel source");
    }
    bd_text_append(&text,
                   "#define BD_HALF_STORAGE %d\n#define BD_HALF_ARITHMETIC %d\n#define BD_HALF_CONVERSION %d\n"
                   "#define BD_NVIDIA %d\n#define BD_NVIDIA_BF16 %d\n#define BD_CPU %d\n#define BD_MATRIX %d\n",
                   target->half.storage, target->half.arithmetic && target->half.arithmetic_exact,
                   target->half.conversion_exact, target->nvidia, target->nvidia && target->matrix.bf16, target->is_cpu,
                   kernel->class != BD_KERNEL_CONTRACTION && kernel->class != BD_KERNEL_ATTENTION ? 0
                   : kernel->tile.kind == BD_TILE_MATRIX2                                         ? 2
                                                          : bd_tile_uses_matrix_units(&kernel->tile));
    group_size(&printer);
    bd_print_formats(&printer);
    switch (kernel->class) {
    case BD_KERNEL_POINTWISE: bd_print_pointwise(&printer); break;
    case BD_KERNEL_ROWS: bd_print_rows(&printer); break;
    case BD_KERNEL_COLUMNS: bd_print_columns(&printer); break;
    case BD_KERNEL_CONTRACTION: bd_print_contraction(&printer); break;
    case BD_KERNEL_ATTENTION: bd_print_attention(&printer); break;
    case BD_KERNEL_TALLY: bd_print_tally(&printer); break;
    case BD_KERNEL_CONTROL: bd_print_control(&printer); break;
    case BD_KERNEL_LIBRARY: break;
    }
    bd_status status = BD_OK;
    if (whole->last.node_count)
        status =
            bd_print_last_group(&printer, whole, dialect == BD_DIALECT_OPENCL ? &f.local : &f.declare, &f.last, error);
    if (dialect == BD_DIALECT_OPENCL)
        declare_arguments(plan->graph, whole, bd_kernel_maps(plan, whole, target, NULL), &printer.macros);
    else
        declare_buffers(plan->graph, whole, &f.declare);
    char prelude[32], skeleton[48];
    const bool opencl = dialect == BD_DIALECT_OPENCL;
    snprintf(prelude, sizeof prelude, opencl ? "cl/prelude.cl" : "shaders/prelude.comp");
    snprintf(skeleton, sizeof skeleton, opencl ? "cl/%s.cl" : "shaders/%s.comp",
             printer.skeleton ? printer.skeleton : "");
    const char *prelude_text = bd_embedded_text(prelude), *skeleton_text = bd_embedded_text(skeleton);
    if (status == BD_OK && (!prelude_text || !skeleton_text)) {
        status =
            bd_fail(error, BD_ERROR_UNSUPPORTED, "kernel '%s': this build has no skeleton %s", kernel->name, skeleton);
    } else if (status == BD_OK) {
        bd_text_append_raw(&text, prelude_text, strlen(prelude_text));
        if (printer.macros.data)
            bd_text_append_raw(&text, printer.macros.data, printer.macros.length);
        append_skeleton(&text, skeleton_text, &f, bd_emitter_text(printer.emitter));
        if (text.failed || f.declare.failed || f.local.failed || f.last.failed || printer.macros.failed ||
            bd_emitter_failed(printer.emitter))
            status = bd_fail(error, BD_ERROR_MEMORY, "out of memory for kernel source");
    }
    bd_emitter_destroy(&printer.emitter);
    free(printer.pass);
    bd_text_finish(&printer.macros);
    bd_text_finish(&f.declare);
    bd_text_finish(&f.local);
    bd_text_finish(&f.last);
    if (status == BD_OK)
        *source = text.data;
    else
        bd_text_finish(&text);
    return status;
}

bd_dialect bd_kernel_dialect(const bd_kernel *kernel, bd_dialect backend)
{
    const bool has_tile = kernel->class == BD_KERNEL_CONTRACTION || kernel->class == BD_KERNEL_ATTENTION;
    const bool ptx = has_tile && bd_tile_is_ptx(&kernel->tile);
    return ptx && backend == BD_DIALECT_GLSL ? BD_DIALECT_OPENCL : backend;
}

bd_status bd_kernel_source(const bd_plan *plan, const bd_kernel *kernel, const bd_target *target, bd_dialect dialect,
                           char **source, bd_error *error)
{
    *source = NULL;
    if (bd_kernel_dialect(kernel, dialect) == dialect)
        return print(plan, kernel, target, dialect, source, error);
    /* As for NVIDIA's OpenCL, which sees whole buffers. */
    bd_target nvidia = *target;
    bd_kernel whole = *kernel;
    const size_t bytes = (size_t)kernel->operand_count * sizeof *whole.operands;
    nvidia.nvidia = true;
    nvidia.matrix.e4m3 = true; /* what has wgmma has it */
    whole.operands = malloc(bytes + 1);
    if (!whole.operands)
        return bd_fail(error, BD_ERROR_MEMORY, "out of memory for kernel source");
    memcpy(whole.operands, kernel->operands, bytes);
    for (int i = 0; i < whole.operand_count; i++)
        whole.operands[i].parts = 1;
    bd_status status = print(plan, &whole, &nvidia, bd_kernel_dialect(kernel, dialect), source, error);
    free(whole.operands);
    return status;
}
