/* The end of a kernel whose last work-group adds up what the groups stored. */
#include "last_group.h"
#include "print.h"

#include <stdlib.h>

/* Which of the kernel's blocks is done: its number of groups, each with its stores seen by all, has been counted. */
static void print_count(const bd_kernel *whole, const bd_blocks *b, bd_text *text)
{
    const int counters = bd_kernel_operand(whole, whole->last.counters);
    const int64_t groups = b->count * b->groups;
    if ((int64_t)whole->groups[0] * whole->groups[1] != groups)
        bd_text_append(text, "if (group < %lluu)\n", (unsigned long long)groups);
    bd_text_append(text, "{\nconst uint item = BD_ITEM, block = group %% %lluu;\n", (unsigned long long)b->count);
    bd_text_append(
        text, "BD_DEVICE_FENCE;\nBD_BARRIER;\nif (item == 0u) last_ticket[0] = BD_COUNT(b%d, block);\nBD_BARRIER;\n",
        counters);
    bd_text_append(text, "if (last_ticket[0] == %lluu) {\nBD_DEVICE_FENCE;\nif (item == 0u) b%d[block] = 0u;\n",
                   (unsigned long long)b->groups - 1, counters);
}

/* Which results an item adds up, as its names in a column kernel say. */
static void print_place(const bd_kernel *sums, const bd_kernel *whole, const bd_blocks *b, bd_text *text)
{
    const uint32_t items = whole->local[0] * whole->local[1] * whole->local[2], side = b->tile_n / sums->width;
    const int64_t across = (b->n + b->tile_n - 1) / b->tile_n, down = (b->m + b->tile_m - 1) / b->tile_m;
    if (sums->local[0] > items)
        bd_text_append(text, "for (uint at = item; at < %uu; at += %uu) {\nconst uint lane = 0u;\n", sums->local[0],
                       items);
    else
        bd_text_append(text, "{\nconst uint at = item %% %uu, lane = item / %uu;\n", sums->local[0], sums->local[0]);
    bd_text_append(
        text, "const uint m = block / %lluu %% %lluu * %uu + at / %uu, n = block %% %lluu * %uu + at %% %uu * %uu;\n",
        (unsigned long long)across, (unsigned long long)down, b->tile_m, side, (unsigned long long)across, b->tile_n,
        side, sums->width);
    bd_text_append(text,
                   "const bool inside = lane < %uu && m < %lluu && n < %lluu;\n"
                   "const uint column = inside ? (block / %lluu * %lluu + m) * %lluu + n : 0u;\n"
                   "const uint outer = 0u, first = 0u, last = inside ? BD_LENGTH : 0u, o = column;\n",
                   sums->local[1], (unsigned long long)b->m, (unsigned long long)b->n,
                   (unsigned long long)(across * down), (unsigned long long)b->m, (unsigned long long)b->n);
}

bd_status bd_print_last_group(const bd_printer *printer, const bd_kernel *whole, bd_text *declarations, bd_text *text,
                              bd_error *error)
{
    const bd_kernel sums = bd_kernel_of_last_group(printer->plan, whole);
    const bd_blocks b = bd_last_group_blocks(printer->plan, whole);
    const uint32_t items = whole->local[0] * whole->local[1] * whole->local[2];
    const char *const shared = printer->dialect == BD_DIALECT_OPENCL ? "__local" : "shared";
    const uint32_t each = (items + sums.local[0] - 1) / sums.local[0] * sums.local[0]; /* numbers of a slot */
    const uint32_t there =
        printer->slots > 0 ? (uint32_t)printer->slots * items : 0; /* that the groups are done with */
    bd_printer last = {
        .plan = printer->plan, .kernel = &sums, .target = printer->target, .dialect = printer->dialect
    };
    const uint32_t numbers = there >= each ? there : printer->slot_bytes / (uint32_t)sizeof(float) - there;
    last.slot_bytes = numbers / each * sums.local[0] * sums.local[1] * (uint32_t)sizeof(float);
    last.emitter = bd_emitter_create(last.plan, &sums, last.dialect);
    last.pass = calloc((size_t)sums.node_count + 1, sizeof *last.pass);
    if (!last.emitter || !last.pass) {
        bd_emitter_destroy(&last.emitter);
        free(last.pass);
        return bd_fail(error, BD_ERROR_MEMORY, "out of memory for kernel source");
    }
    bd_print_last_sums(&last, whole->last.lanes);
    bd_text_append(text,
                   "#undef BD_LENGTH\n#undef BD_INNER\n#undef BD_LANES\n#undef BD_SLOT\n#define BD_LENGTH %lluu\n"
                   "#define BD_INNER %lluu\n#define BD_LANES %u\n"
                   "#define BD_SLOT(slot, row) %s[(slot) * %uu + (row) * %uu + at]\n",
                   (unsigned long long)sums.extent.length, (unsigned long long)sums.extent.inner, sums.local[1],
                   there >= each ? "scratch" : "last_sums", each, sums.local[0]);
    print_count(whole, &b, text);
    print_place(&sums, whole, &b, text);
    const bd_text *body = bd_emitter_text(last.emitter);
    if (body->data)
        bd_text_append_raw(text, body->data, body->length);
    bd_text_append(text, "}\n}\n}\n");
    text->failed |= bd_emitter_failed(last.emitter);
    if (whole->class != BD_KERNEL_CONTRACTION || printer->dialect != BD_DIALECT_OPENCL) /* which has it in its panels */
        bd_text_append(declarations, "%s uint last_ticket[1];\n", shared);
    if (last.slots && there < each)
        bd_text_append(declarations, "%s float last_sums[%u];\n", shared, (unsigned)last.slots * each);
    bd_emitter_destroy(&last.emitter);
    free(last.pass);
    return BD_OK;
}
