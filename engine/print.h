/* The parts of bd_kernel_source: one function a kernel class fills a skeleton's body and macros. */
#ifndef BINADE_ENGINE_PRINT_H
#define BINADE_ENGINE_PRINT_H

#include "emit.h"

typedef struct bd_printer {
    const bd_plan *plan;
    const bd_kernel *kernel;
    const bd_target *target;
    bd_dialect dialect;
    bd_text macros;       /* #define lines that the skeleton is configured by */
    bd_emitter *emitter;  /* writes the body */
    int *pass;            /* reductions: in which pass each of the kernel's nodes has its value */
    int slots;            /* reductions: values that the lanes put together at once, at most */
    uint32_t slot_bytes;  /* reductions: shared memory for them */
    const char *skeleton; /* "pointwise": cl/pointwise.cl, shaders/pointwise.comp */
} bd_printer;

void bd_print_pointwise(bd_printer *printer);
void bd_print_rows(bd_printer *printer);
void bd_print_columns(bd_printer *printer);
void bd_print_contraction(bd_printer *printer);
void bd_print_contraction_simd(bd_printer *printer);     /* of tile BD_TILE_SIMD */
void bd_print_contraction_matrix(bd_printer *printer);   /* of tiles for matrix units */
void bd_print_contraction_resident(bd_printer *printer); /* of tile BD_TILE_RESIDENT */
void bd_print_contraction_codes(bd_printer *printer);    /* of BD_TILE_WARPGROUP8, in OpenCL C of BD_TILE_MATRIX8 */
/* MULTIPLY_GROUP(c, a, b, keep): c = a b, plus c if `keep`, by wgmma of operands of 8 bits, of 64 x n numbers of which
 * each work-item has n / 2; `a` and `b` as PTX calls their formats, `whole` numbers or floats. */
void bd_print_multiply_codes(bd_text *macros, const char *a, const char *b, bool whole, uint32_t n);
void bd_print_attention(bd_printer *printer);
void bd_print_tally(bd_printer *printer);
void bd_print_control(bd_printer *printer);

/* What the last work-group does (last_group.h): `declarations` are the shared variables that it needs, `text` stands at
 * the kernel's end. */
bd_status bd_print_last_group(const bd_printer *printer, const bd_kernel *whole, bd_text *declarations, bd_text *text,
                              bd_error *error);
/* The sums of a kernel that bd_kernel_of_last_group gives, in the order of `lanes` lanes. */
void bd_print_last_sums(bd_printer *printer, uint32_t lanes);

/* TENSOR_MAPS, and if a contraction's panels come by them, the macros that copy boxes (print_tensor_map.c). */
void bd_print_tensor_maps(bd_printer *printer);

/* The function behind the macro NAME_GET(x): the element of linear index x, with everything that was fused into the
 * load. OpenCL: NAME_GET8(x), eight from there on. */
void bd_print_value(bd_printer *printer, const char *name, bd_tensor input);

/* The macro NAME_GET4(x): four elements from x on, a multiple of 4, loaded at once where they lie so in a buffer. */
void bd_print_fours(bd_printer *printer, const char *name, bd_tensor input);

/* Sizes of a convolution. The data gradient is the convolution of dy, spread by the stride, with the window turned
 * round. */
void bd_print_images(bd_printer *printer);

/* Of a contraction's kernel: the macros by which its skeleton sums columns, and within `store` the values that are
 * summed. */
void bd_print_columns_macros(bd_printer *printer);
void bd_print_columns_values(bd_printer *printer, const char *const lanes[BD_WIDTH]);

/* A contraction's sizes, the macros and functions that read its operands, and the function that stores its results. */
void bd_print_operands(bd_printer *printer);

/* The macros that load and store operands of formats without a type of their own. */
void bd_print_formats(bd_printer *printer);

/* The binding of an operand's buffer. */
int bd_print_binding(const bd_kernel *kernel, int number);

/* Evaluates every node of the kernel in `space` that is an operand, at `index` and its neighbours (bd_emit_lane). */
void bd_print_values(bd_printer *printer, bd_space space, const char *index);
/* The same, and stores them. */
void bd_print_stores(bd_printer *printer, bd_space space, const char *index);
/* Whether there is one. */
bool bd_print_has_stores(const bd_printer *printer, bd_space space);

#endif
