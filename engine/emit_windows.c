/* Pixels of images, and loops over the windows that look at them. */
#include "emit_parts.h"

void bd_emit_coordinates(bd_emitter *emitter, const bd_shape *shape, const char *index, const char *at[4])
{
    unsigned long long w = (unsigned long long)shape->dim[2], h = (unsigned long long)shape->dim[1];
    at[3] = bd_emit_remainder(emitter, index, shape->dim[3]);
    const char *pixel = bd_emit_quotient(emitter, index, shape->dim[3]);
    at[2] = bd_emit_index(emitter, "%s %% %lluu", pixel, w);
    const char *line = bd_emit_index(emitter, "%s / %lluu", pixel, w);
    at[1] = bd_emit_index(emitter, "%s %% %lluu", line, h);
    at[0] = bd_emit_index(emitter, "%s / %lluu", line, h);
}

const char *bd_emit_nhwc(bd_emitter *emitter, const bd_shape *shape, const char *n, const char *y, const char *x,
                         const char *c)
{
    const char *pixel = bd_emit_index(emitter, "(%s * %uu + BD_UINT(%s)) * %uu + BD_UINT(%s)", n,
                                      (unsigned)shape->dim[1], y, (unsigned)shape->dim[2], x);
    return bd_emit_channel(emitter, bd_emit_index(emitter, "%s * %uu", pixel, (unsigned)shape->dim[3]), shape->dim[3],
                           c);
}

void bd_emit_window_loops(bd_emitter *emitter, const bd_window *window, const bd_shape *input, const char *oy,
                          const char *ox, const char *suffix)
{
    bd_text_append(bd_emitter_text(emitter),
                   "for (int ky%s = 0; ky%s < %d; ky%s++) for (int kx%s = 0; kx%s < %d; kx%s++) {\n"
                   "const int y%s = BD_INT(%s) * %d - %d + ky%s, x%s = BD_INT(%s) * %d - %d + kx%s;\n"
                   "if (y%s >= 0 && y%s < %d && x%s >= 0 && x%s < %d) {\n",
                   suffix, suffix, (int)window->size[0], suffix, suffix, suffix, (int)window->size[1], suffix, suffix,
                   oy, (int)window->stride[0], (int)window->pad[0][0], suffix, suffix, ox, (int)window->stride[1],
                   (int)window->pad[1][0], suffix, suffix, suffix, (int)input->dim[1], suffix, suffix,
                   (int)input->dim[2]);
}

void bd_emit_cover_loops(bd_emitter *emitter, const bd_window *window, const bd_shape *output, const char *y,
                         const char *x, const char *suffix)
{
    /* Output row oy covers input row y if y + pad - oy * stride lies in [0, size). */
    bd_text_append(
        bd_emitter_text(emitter),
        "for (int ky%s = 0; ky%s < %d; ky%s++) for (int kx%s = 0; kx%s < %d; kx%s++) {\n"
        "const int py%s = BD_INT(%s) + %d - ky%s, px%s = BD_INT(%s) + %d - kx%s;\n"
        "if (py%s >= 0 && py%s %% %d == 0 && py%s / %d < %d && px%s >= 0 && px%s %% %d == 0 && px%s / %d < %d) {\n"
        "const uint oy%s = BD_UINT(py%s / %d), ox%s = BD_UINT(px%s / %d);\n",
        suffix, suffix, (int)window->size[0], suffix, suffix, suffix, (int)window->size[1], suffix,  /* loops */
        suffix, y, (int)window->pad[0][0], suffix, suffix, x, (int)window->pad[1][0], suffix,        /* py px */
        suffix, suffix, (int)window->stride[0], suffix, (int)window->stride[0], (int)output->dim[1], /* if */
        suffix, suffix, (int)window->stride[1], suffix, (int)window->stride[1], (int)output->dim[2], suffix, suffix,
        (int)window->stride[0], suffix, suffix, (int)window->stride[1]);
}
