/* Cooperative matrices of BF16 in SPIR-V, which glslang makes from 15.3 on: Debian 13 has 15.1. Kernels have matrices of uint16_t instead,
 * which no other kernel needs, and here their elements become BF16 (SPV_KHR_bfloat16). Such matrices are loaded and multiplied and
 * nothing else; a load takes its elements' bits from an array of any type. */
#include "vulkan.h"

#include <stdlib.h>
#include <string.h>

/* SPIR-V specification 2.3, 3.49 and SPV_KHR_bfloat16. */
enum {
    HEADER_WORDS = 5,
    HEADER_BOUND = 3,
    OP_EXTENSION = 10,
    OP_CAPABILITY = 17,
    OP_TYPE_INT = 21,
    OP_TYPE_FLOAT = 22,
    OP_TYPE_COOPERATIVE_MATRIX = 4456,
    CAPABILITY_BFLOAT16_TYPE = 5116,
    CAPABILITY_BFLOAT16_COOPERATIVE_MATRIX = 5118,
    ENCODING_BFLOAT16 = 0,
};
#define INSTRUCTION(op, words) ((uint32_t)(words) << 16 | (uint32_t)(op))

static uint32_t opcode(const uint32_t *instruction)
{
    return *instruction & 0xffffu;
}

static uint32_t length_of(const uint32_t *instruction)
{
    return *instruction >> 16;
}

static bool is_matrix_of(const uint32_t *instruction, uint32_t element)
{
    return element && opcode(instruction) == OP_TYPE_COOPERATIVE_MATRIX && instruction[2] == element;
}

/* What matters of a module, as offsets in words; 0 where there is none. */
typedef struct outline {
    size_t extensions; /* behind the capabilities */
    size_t matrix;     /* the first type of matrices of uint16_t */
    uint32_t element;  /* uint16_t's id */
} outline;

/* False if the words are no module. */
static bool read_outline(const uint32_t *words, size_t count, outline *found)
{
    *found = (outline){ .extensions = HEADER_WORDS };
    if (count < HEADER_WORDS || words[0] != BD_VK_SPIRV_MAGIC || words[HEADER_BOUND] == 0 ||
        words[HEADER_BOUND] == UINT32_MAX)
        return false;
    for (size_t at = HEADER_WORDS; at < count; at += length_of(words + at)) {
        const uint32_t *instruction = words + at, length = length_of(instruction);
        if (length == 0 || length > count - at)
            return false;
        switch (opcode(instruction)) {
        case OP_CAPABILITY:
            if (found->matrix)
                return false;
            found->extensions = at + length;
            break;
        case OP_TYPE_INT:
            if (length != 4)
                return false;
            if (found->element == 0 && instruction[2] == 16 && instruction[3] == 0)
                found->element = instruction[1];
            break;
        case OP_TYPE_COOPERATIVE_MATRIX:
            if (length != 7)
                return false;
            if (found->matrix == 0 && is_matrix_of(instruction, found->element))
                found->matrix = at;
            break;
        default: break;
        }
    }
    return true;
}

static uint32_t *copy(uint32_t *to, const uint32_t *from, size_t count)
{
    memcpy(to, from, count * sizeof *to);
    return to + count;
}

bd_status bd_vk_spirv_bf16(uint32_t **words, size_t *bytes, bd_error *error)
{
    static const uint32_t capabilities[] = {
        INSTRUCTION(OP_CAPABILITY, 2),
        CAPABILITY_BFLOAT16_TYPE,
        INSTRUCTION(OP_CAPABILITY, 2),
        CAPABILITY_BFLOAT16_COOPERATIVE_MATRIX,
    };
    static const char name[] = "SPV_KHR_bfloat16"; /* ends with a 0 and is filled up with more */
    uint32_t extension[1 + (sizeof name + 3) / 4] = { INSTRUCTION(OP_EXTENSION, sizeof extension / sizeof *extension) };
    memcpy(extension + 1, name, sizeof name);

    const size_t count = *bytes / sizeof **words;
    const uint32_t *old = *words;
    outline found;
    if (*bytes % sizeof **words != 0 || !read_outline(old, count, &found))
        return bd_fail(error, BD_ERROR_DEVICE, "a kernel's SPIR-V of %zu bytes is not well formed", *bytes);
    if (found.matrix == 0)
        return BD_OK;
    const uint32_t bf16 = old[HEADER_BOUND];
    const uint32_t type[] = { INSTRUCTION(OP_TYPE_FLOAT, 4), bf16, 16, ENCODING_BFLOAT16 };
    const size_t grown = *bytes + sizeof capabilities + sizeof extension + sizeof type;
    uint32_t *module = malloc(grown);
    if (!module)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for a kernel with matrices of BF16");
    uint32_t *end = copy(module, old, found.extensions);
    end = copy(end, capabilities, sizeof capabilities / sizeof *capabilities);
    end = copy(end, extension, sizeof extension / sizeof *extension);
    end = copy(end, old + found.extensions, found.matrix - found.extensions);
    end = copy(end, type, sizeof type / sizeof *type);
    uint32_t *const matrices = end;
    end = copy(end, old + found.matrix, count - found.matrix);
    for (uint32_t *at = matrices; at < end; at += length_of(at))
        if (is_matrix_of(at, found.element))
            at[2] = bf16;
    module[HEADER_BOUND] = bf16 + 1;
    free(*words);
    *words = module;
    *bytes = grown;
    return BD_OK;
}
