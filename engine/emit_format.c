/* Formats as kernels know them: roundings, and what a kernel that loads or stores a format without a type of its own
 * needs. What a format is comes from its description alone, so that a new one is no new text. */
#include "control.h"
#include "emit_parts.h"
#include "print.h"

#include <string.h>

_Static_assert(BD_ROUND_NEAREST == 0 && BD_ROUND_ZERO == 1 && BD_ROUND_MASK == 2 && BD_ROUND_STOCHASTIC == 3,
               "the preludes name them by their numbers");

static uint32_t float_bits(double value)
{
    const float number = (float)value;
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

static uint32_t least_field(const bd_format_info *info)
{
    return 128u - (uint32_t)info->bias;
}

static uint32_t beyond(const bd_format_info *info, bool saturate)
{
    return saturate ? float_bits(info->largest) : info->infinity ? 0x7f800000u : 0x7fc00000u;
}

static void name_of_bits(char name[96], uint32_t stream, const char *index)
{
    snprintf(name, 96, "bits %u of %s", stream, index);
}

const char *bd_emit_random(bd_emitter *emitter, uint32_t stream, bool after_step, const char *index)
{
    const char *lanes[BD_WIDTH];
    const bool block = bd_emit_lanes(emitter, index, lanes) == BD_WIDTH;
    char expression[96], word[24];
    name_of_bits(expression, stream, index);
    const char *known = block ? bd_emit_known_index(emitter, expression) : NULL;
    if (known)
        return known;
    const char *name = bd_emit_fresh(emitter, 'q');
    bd_text_append(
        bd_emitter_text(emitter), "const %s %s = %s(%s, %s, %s%s, %uu, %s%s);\n", block ? "BD_WORDS" : "uint", name,
        block ? "bd_random_block" : "bd_random", bd_emit_training_word(emitter, BD_CONTROL_SEED_LOW),
        bd_emit_training_word(emitter, BD_CONTROL_SEED_HIGH), bd_emit_training_word(emitter, BD_CONTROL_STEP),
        after_step ? " - 1u" : "", stream, lanes[0], block ? " / 4u" : "");
    for (int i = 0; i < BD_WIDTH && block; i++) {
        name_of_bits(expression, stream, lanes[i]);
        snprintf(word, sizeof word, "%s.%c", name, "xyzw"[i]);
        bd_emit_know_index(emitter, expression, word);
        known = strcmp(lanes[i], index) ? known : bd_emit_known_index(emitter, expression);
    }
    return block ? known : name;
}

static void round_to(bd_emitter *emitter, bd_format format, bd_rounding_rule rule, const char *random, const char *name)
{
    const bd_format_info info = bd_format_describe(format);
    bd_text *text = bd_emitter_text(emitter);
    if (format == BD_F32 || info.kind == BD_KIND_UNSIGNED)
        return; /* floats as they are; whole numbers of data sets are rounded where they are stored */
    const bool plain = rule.mode == BD_ROUND_NEAREST && !rule.saturate;
    if (plain && (format == BD_F16 || format == BD_BF16))
        bd_text_append(text, "%s = bd_round_%s(%s);\n", name, info.name, name);
    else if (info.kind == BD_KIND_SIGNED)
        bd_text_append(text, "%s = bd_round_whole(%s, %.1ff, %uu, %s);\n", name, name, info.largest,
                       (unsigned)rule.mode, random);
    else
        bd_text_append(text, "%s = bd_round_float(%s, %du, %uu, 0x%xu, 0x%xu, %uu, %s);\n", name, name,
                       info.mantissa_bits, least_field(&info), float_bits(info.largest), beyond(&info, rule.saturate),
                       (unsigned)rule.mode, random);
}

void bd_emit_round(bd_emitter *emitter, const bd_node *node, const char *index, const char *name)
{
    round_to(emitter, node->format, node->rule,
             node->rule.mode == BD_ROUND_STOCHASTIC
                 ? bd_emit_random(emitter, node->draw, bd_emit_after_step(emitter), index)
                 : "0u",
             name);
}

static bool has_own_type(bd_format format)
{
    return format == BD_F32 || format == BD_F16 || format == BD_U8 || format == BD_U32;
}

const char *bd_emit_storable(bd_emitter *emitter, bd_format target, bd_format format, const char *value)
{
    if (has_own_type(target) || bd_format_holds(target, format))
        return value;
    const char *name = bd_emit_fresh(emitter, 'v');
    bd_text_append(bd_emitter_text(emitter), "BD_VALUE %s = %s;\n", name, value);
    round_to(emitter, target, (bd_rounding_rule){ BD_ROUND_NEAREST, false }, "0u", name);
    return name;
}

static void print_format(bd_text *macros, bd_format format)
{
    const bd_format_info info = bd_format_describe(format);
    const char *const name = info.name, *const as = info.size == 1 ? "b8" : info.size == 2 ? "b16" : "f32";
    bd_text_append(macros, "#define BD_TYPE_%s BD_TYPE_%s\n#define BD_SKIP_%s BD_SKIP_%s\n", name, as, name, as);
    bd_text_append(macros, "#define BD_FOUR_%s BD_FOUR_%s\n", name, as);
    if (info.size == sizeof(float)) {
        bd_text_append(macros,
                       "#define BD_LOAD_%s BD_LOAD_f32\n#define BD_STORE_%s BD_STORE_f32\n"
                       "#define BD_LOAD4_%s BD_LOAD4_f32\n#define BD_STORE4_%s BD_STORE4_f32\n",
                       name, name, name, name);
    } else if (format == BD_BF16) {
        bd_text_append(macros,
                       "#define BD_LOAD_bf16(buffer, i) BD_AS_FLOAT(BD_LOAD_b16(buffer, i) << 16)\n"
                       "#define BD_STORE_bf16(buffer, i, value) BD_STORE_b16(buffer, i, BD_AS_UINT(value) >> 16)\n"
                       "#define BD_LOAD4_bf16(fours, i) BD_AS_FLOAT4(BD_LOAD4_b16(fours, i) << 16)\n"
                       "#define BD_STORE4_bf16(fours, i, x, y, z, w) BD_STORE4_b16(fours, i, BD_AS_UINT(x) >> 16, "
                       "BD_AS_UINT(y) >> 16, BD_AS_UINT(z) >> 16, BD_AS_UINT(w) >> 16)\n");
    } else if (info.kind == BD_KIND_SIGNED) {
        bd_text_append(macros,
                       "#define BD_LOAD_%s(buffer, i) bd_decode_whole(BD_LOAD_%s(buffer, i))\n"
                       "#define BD_STORE_%s(buffer, i, value) BD_STORE_%s(buffer, i, bd_encode_whole(value))\n"
                       "#define BD_LOAD4_%s(fours, i) bd_decode4_whole(BD_LOAD4_%s(fours, i))\n"
                       "#define BD_STORE4_%s(fours, i, x, y, z, w) BD_STORE4_%s(fours, i, bd_encode_whole(x), "
                       "bd_encode_whole(y), bd_encode_whole(z), bd_encode_whole(w))\n",
                       name, as, name, as, name, as, name, as);
    } else {
        const uint32_t special = ((1u << info.exponent_bits) - 1) << info.mantissa_bits;
        const uint32_t all = special | ((1u << info.mantissa_bits) - 1);
        const uint32_t nan = info.infinity ? special | 1u << (info.mantissa_bits - 1) : all;
        char decoding[96], encoding[64];
        snprintf(decoding, sizeof decoding, "%du, %du, %uu, %uu, 0x%xu", info.exponent_bits, info.mantissa_bits,
                 least_field(&info), (info.infinity ? special : all) - 1, beyond(&info, false));
        snprintf(encoding, sizeof encoding, "%du, %du, %uu, %uu", info.exponent_bits, info.mantissa_bits,
                 least_field(&info), nan);
        bd_text_append(macros,
                       "#define BD_LOAD_%s(buffer, i) bd_decode_float(BD_LOAD_%s(buffer, i), %s)\n"
                       "#define BD_STORE_%s(buffer, i, value) BD_STORE_%s(buffer, i, bd_encode_float(value, %s))\n",
                       name, as, decoding, name, as, encoding);
        bd_text_append(macros,
                       "#define BD_LOAD4_%s(fours, i) bd_decode4_float(BD_LOAD4_%s(fours, i), %s)\n"
                       "#define BD_STORE4_%s(fours, i, x, y, z, w) BD_STORE4_%s(fours, i, bd_encode_float(x, %s), "
                       "bd_encode_float(y, %s), bd_encode_float(z, %s), bd_encode_float(w, %s))\n",
                       name, as, decoding, name, as, encoding, encoding, encoding, encoding);
    }
}

void bd_print_formats(bd_printer *printer)
{
    const bd_kernel *kernel = printer->kernel;
    for (int i = 0; i < kernel->operand_count; i++) {
        const bd_format format = printer->plan->graph->nodes[kernel->operands[i].node].format;
        bool done = has_own_type(format);
        for (int j = 0; j < i && !done; j++)
            done = printer->plan->graph->nodes[kernel->operands[j].node].format == format;
        if (!done)
            print_format(&printer->macros, format);
    }
}
