/* Cooperative matrices of BF16 and of floats of 8 bits in SPIR-V, which glslang makes from 15.3 and 15.4 on: Debian 13
 * has 15.1. Kernels have matrices of whole numbers without a sign instead, which no other kernel needs, and here their
 * elements become floats (SPV_KHR_bfloat16, SPV_EXT_float8). Such matrices are loaded and multiplied and nothing else;
 * a load takes its elements' bits from an array of any type. */
#include "vulkan.h"

#include <stdlib.h>
#include <string.h>

/* SPIR-V specification 2.3, 3.49, SPV_KHR_bfloat16 and SPV_EXT_float8. */
enum {
    HEADER_WORDS = 5,
    HEADER_BOUND = 3,
    OP_EXTENSION = 10,
    OP_CAPABILITY = 17,
    OP_TYPE_INT = 21,
    OP_TYPE_FLOAT = 22,
    OP_TYPE_COOPERATIVE_MATRIX = 4456,
    CAPABILITY_FLOAT8 = 4212,
    CAPABILITY_FLOAT8_COOPERATIVE_MATRIX = 4213,
    CAPABILITY_BFLOAT16_TYPE = 5116,
    CAPABILITY_BFLOAT16_COOPERATIVE_MATRIX = 5118,
    ENCODING_BFLOAT16 = 0,
    ENCODING_E4M3 = 4214,
    ENCODING_E5M2 = 4215,
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

/* An extension with the capabilities that it takes; names end with a 0 and are filled up with more. */
enum { NAME_BYTES = 20 };
static const struct extension {
    uint32_t capabilities[2];
    char name[NAME_BYTES];
} extensions[] = {
    { { CAPABILITY_BFLOAT16_TYPE, CAPABILITY_BFLOAT16_COOPERATIVE_MATRIX }, "SPV_KHR_bfloat16" },
    { { CAPABILITY_FLOAT8, CAPABILITY_FLOAT8_COOPERATIVE_MATRIX }, "SPV_EXT_float8" },
};

/* Whole numbers without a sign, of so many bits, and the floats that they become. */
enum { ELEMENTS = 3, EXTENSIONS = sizeof extensions / sizeof *extensions };
static const struct element {
    uint32_t width, bits, encoding;
    int extension;
} elements[ELEMENTS] = { { 16, 16, ENCODING_BFLOAT16, 0 }, { 8, 8, ENCODING_E4M3, 1 }, { 32, 8, ENCODING_E5M2, 1 } };

/* What matters of a module, as offsets in words; 0 where there is none. */
typedef struct outline {
    size_t extensions;      /* behind the capabilities */
    size_t matrix;          /* the first type of matrices of such elements */
    uint32_t ids[ELEMENTS]; /* of the elements' types */
    bool used[ELEMENTS];    /* in matrices */
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
            for (int e = 0; e < ELEMENTS; e++)
                if (found->ids[e] == 0 && instruction[2] == elements[e].width && instruction[3] == 0)
                    found->ids[e] = instruction[1];
            break;
        case OP_TYPE_COOPERATIVE_MATRIX:
            if (length != 7)
                return false;
            for (int e = 0; e < ELEMENTS; e++)
                if (is_matrix_of(instruction, found->ids[e])) {
                    found->used[e] = true;
                    if (found->matrix == 0)
                        found->matrix = at;
                }
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

static uint32_t *put(uint32_t *to, uint32_t op, const void *operands, size_t words)
{
    *to = INSTRUCTION(op, words + 1);
    return copy(to + 1, operands, words);
}

bd_status bd_vk_spirv_floats(uint32_t **words, size_t *bytes, bd_error *error)
{
    /* Most words that are added: an extension's capabilities and name, an element's type. */
    enum { EXTENSION = 2 * 2 + 1 + NAME_BYTES / 4, TYPE = 4, MOST_ADDED = EXTENSIONS * EXTENSION + ELEMENTS * TYPE };
    const size_t count = *bytes / sizeof **words;
    const uint32_t *old = *words;
    outline found;
    if (*bytes % sizeof **words != 0 || !read_outline(old, count, &found))
        return bd_fail(error, BD_ERROR_DEVICE, "a kernel's SPIR-V of %zu bytes is not well formed", *bytes);
    if (found.matrix == 0)
        return BD_OK;
    if (old[HEADER_BOUND] > UINT32_MAX - ELEMENTS)
        return bd_fail(error, BD_ERROR_DEVICE, "a kernel's SPIR-V has too many names");
    bool asked[EXTENSIONS] = { false };
    for (int e = 0; e < ELEMENTS; e++)
        asked[elements[e].extension] |= found.used[e];
    uint32_t *module = malloc(*bytes + MOST_ADDED * sizeof *module);
    if (!module)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for a kernel with matrices of other floats");
    uint32_t *end = copy(module, old, found.extensions);
    for (int x = 0; x < EXTENSIONS; x++)
        for (int c = 0; c < 2 && asked[x]; c++)
            end = put(end, OP_CAPABILITY, &extensions[x].capabilities[c], 1);
    for (int x = 0; x < EXTENSIONS; x++)
        if (asked[x])
            end = put(end, OP_EXTENSION, extensions[x].name, strlen(extensions[x].name) / 4 + 1);
    end = copy(end, old + found.extensions, found.matrix - found.extensions);
    for (int e = 0; e < ELEMENTS; e++)
        if (found.used[e])
            end = put(end, OP_TYPE_FLOAT,
                      (const uint32_t[]){ module[HEADER_BOUND]++, elements[e].bits, elements[e].encoding }, 3);
    uint32_t *const matrices = end;
    end = copy(end, old + found.matrix, count - found.matrix);
    for (uint32_t *at = matrices; at < end; at += length_of(at)) {
        uint32_t id = old[HEADER_BOUND];
        for (int e = 0; e < ELEMENTS; e++) {
            if (found.used[e] && is_matrix_of(at, found.ids[e])) {
                at[2] = id;
                break;
            }
            id += found.used[e];
        }
    }
    free(*words);
    *words = module;
    *bytes = (size_t)(end - module) * sizeof *module;
    return BD_OK;
}
