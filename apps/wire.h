/* What federated learning sends weights and updates as: a number format, how values are rounded to it, and a scale for
 * each tensor where the format is too narrow to do without. All functions are pure and thread safe. */
#ifndef BINADE_APPS_WIRE_H
#define BINADE_APPS_WIRE_H

#include <binade/format.h>

typedef struct wire {
    char name[64]; /* "f8e4m3:stochastic", "f16:scale=max": what is the default is left out */
    bd_format format;
    bd_round_mode mode;
    /* Each tensor goes as values of the format times a scale in F32, which is sent along and puts the tensor's largest
     * magnitude, the clip (arXiv:2407.02610), on the format's largest value. */
    bool scaled;
} wire;

/* What --wire takes, for help texts. */
#define WIRE_HELP                                                                                                      \
    "Wire formats:\n"                                                                                                  \
    "  f32, f16, bf16, f8e4m3, f8e5m2, eXmY, int8, int4, int3, int2\n"                                                 \
    "  f8e4m3:stochastic    rounded so that the mean is the value; else :nearest, :zero, :mask\n"                      \
    "  f16:scale=max        each tensor scaled by its largest magnitude, as all formats of less than 16 bits are\n"

/* FORMAT[:ROUNDING][:scale=max|none]. BD_ERROR_ARGUMENT names the item and says what would be right: formats of less
 * than 16 bits need their scale. */
bd_status wire_parse(const char *text, wire *self, bd_error *error);

/* What a tensor of `elements` numbers takes in a message: the format's bits an element, packed, in whole bytes; and the
 * scale. */
uint64_t wire_bytes(const wire *self, int64_t elements);

/* Which random numbers a message is rounded with: the same message, the same numbers on every device. */
typedef struct wire_message {
    uint64_t seed;
    uint32_t sender, round, tensor;
} wire_message;

/* A tensor as whoever gets it reads it: `values` are rounded in place, and then F32. False, and nothing done, if one of
 * them is not finite. */
bool wire_send(const wire *self, const wire_message *message, double *values, size_t count);

#endif
