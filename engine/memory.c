#include "memory.h"
#include "emit.h"
#include "fuse.h"

#include <stdlib.h>
#include <string.h>

/* A stretch of the arena from the kernel that first writes it to the one that last reads it. */
typedef struct block {
    bd_tensor node;
    int first, last;
    uint64_t size, offset;
} block;

static bool node_bytes(const bd_node *node, uint64_t *bytes)
{
    int64_t elements = bd_shape_elements(&node->shape);
    if (elements < 0 || elements > UINT32_MAX) /* kernels index with 32 bits */
        return false;
    *bytes = (uint64_t)elements * bd_format_size(node->format);
    return true;
}

/* Largest first, each at the lowest offset free during its life: within a few percent of the best (Pisarchyk and Lee,
 * arXiv:2001.03288, "greedy by size"). Ties by node, so that equal graphs give equal plans. */
static int larger_first(const void *a, const void *b)
{
    const block *x = a, *y = b;
    if (x->size != y->size)
        return x->size < y->size ? 1 : -1;
    return (x->node > y->node) - (x->node < y->node);
}

static int lower_first(const void *a, const void *b)
{
    const block *x = *(const block *const *)a, *y = *(const block *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static uint64_t place(block *blocks, int count, const block **alive)
{
    uint64_t peak = 0;
    for (int i = 0; i < count; i++) {
        int alive_count = 0;
        for (int j = 0; j < i; j++)
            if (blocks[j].first <= blocks[i].last && blocks[i].first <= blocks[j].last)
                alive[alive_count++] = &blocks[j];
        qsort(alive, (size_t)alive_count, sizeof *alive, lower_first);
        uint64_t offset = 0;
        for (int j = 0; j < alive_count && alive[j]->offset < offset + blocks[i].size; j++)
            if (alive[j]->offset + alive[j]->size > offset)
                offset = alive[j]->offset + alive[j]->size;
        blocks[i].offset = offset;
        if (offset + blocks[i].size > peak)
            peak = offset + blocks[i].size;
    }
    return peak;
}

static bd_tensor through_reshapes(const bd_graph *graph, bd_tensor tensor)
{
    while (graph->nodes[tensor].op == BD_OP_RESHAPE)
        tensor = graph->nodes[tensor].inputs[0];
    return tensor;
}

/* Which pack holds the node, and where; BD_NONE if none does. */
static void find_packs(const bd_graph *graph, bd_tensor *pack_of, int64_t *offset_of)
{
    for (bd_tensor t = 0; t < graph->node_count; t++)
        pack_of[t] = BD_NONE;
    for (bd_tensor t = 0; t < graph->node_count; t++)
        for (int i = 0; graph->nodes[t].op == BD_OP_PACK && i < graph->nodes[t].input_count; i++) {
            bd_tensor part = through_reshapes(graph, graph->nodes[t].inputs[i]);
            pack_of[part] = t;
            offset_of[part] = graph->nodes[t].attr.pack[i];
        }
}

bd_status bd_plan_memory(bd_plan *plan, const bd_target *target, bd_error *error)
{
    const bd_graph *graph = plan->graph;
    const size_t count = (size_t)graph->node_count + 1;
    const uint64_t alignment = target->limits.buffer_alignment > 256 ? target->limits.buffer_alignment : 256;
    bd_status status = BD_OK;
    plan->storage = malloc(count * sizeof *plan->storage);
    block *blocks = calloc(count, sizeof *blocks);
    const block **alive = calloc(count, sizeof *alive);
    bd_tensor *pack_of = malloc(count * sizeof *pack_of);
    int64_t *pack_offset = calloc(count, sizeof *pack_offset);
    int *block_of = malloc(count * sizeof *block_of);
    bool *is_data = calloc(count, sizeof *is_data);
    int block_count = 0;
    if (!plan->storage || !blocks || !alive || !pack_of || !pack_offset || !block_of || !is_data) {
        status = bd_fail(error, BD_ERROR_MEMORY, "out of memory while planning memory");
        goto done;
    }
    for (size_t t = 0; t < count; t++) {
        plan->storage[t] = (bd_storage){ BD_STORAGE_NONE, 0, 0 };
        block_of[t] = -1;
    }
    find_packs(graph, pack_of, pack_offset);
    for (int k = 0; k < plan->kernel_count; k++) {
        for (int i = 0; i < plan->kernels[k].operand_count; i++) {
            bd_tensor t = plan->kernels[k].operands[i].node;
            const bd_node *node = &graph->nodes[t];
            uint64_t bytes;
            if (!node_bytes(node, &bytes)) {
                char text[96];
                status =
                    bd_fail(error, BD_ERROR_UNSUPPORTED, "layer '%s': a tensor of %s has more elements than 2^32 - 1",
                            bd_node_layer(graph, t), bd_shape_text(&node->shape, text, sizeof text));
                goto done;
            }
            plan->storage[t].size = bytes ? bytes : bd_format_size(node->format);
            if (node->op == BD_OP_VARIABLE) {
                plan->storage[t].place = t;
                continue;
            }
            bd_tensor owner = pack_of[t] == BD_NONE ? t : pack_of[t];
            uint64_t owner_bytes;
            if (!node_bytes(&graph->nodes[owner], &owner_bytes)) {
                status = bd_fail(error, BD_ERROR_UNSUPPORTED, "more than 2^32 - 1 gradient elements in one group");
                goto done;
            }
            const uint64_t size = owner_bytes ? (owner_bytes + alignment - 1) / alignment * alignment : alignment;
            if (graph->nodes[owner].op == BD_OP_PACK) { /* alone for good */
                if (plan->storage[owner].place == BD_STORAGE_NONE) {
                    plan->storage[owner].place = BD_STORAGE_PACK;
                    plan->storage[owner].offset = plan->pack_bytes;
                    plan->pack_bytes += size;
                }
                continue;
            }
            if (block_of[owner] < 0) {
                block_of[owner] = block_count;
                blocks[block_count++] = (block){ owner, k, k, size, 0 };
            }
            blocks[block_of[owner]].last = k;
        }
    }
    qsort(blocks, (size_t)block_count, sizeof *blocks, larger_first);
    plan->arena_bytes = place(blocks, block_count, alive);
    for (int i = 0; i < block_count; i++) {
        plan->storage[blocks[i].node].place = BD_STORAGE_ARENA;
        plan->storage[blocks[i].node].offset = blocks[i].offset;
    }
    for (bd_tensor t = 0; t < graph->node_count; t++)
        if (plan->storage[t].size && pack_of[t] != BD_NONE) {
            plan->storage[t].place = BD_STORAGE_PACK;
            plan->storage[t].offset =
                plan->storage[pack_of[t]].offset + (uint64_t)pack_offset[t] * bd_format_size(graph->nodes[t].format);
        }
    /* Variables: each base once; data sets and their order apart. */
    for (bd_tensor t = 0; t < graph->node_count; t++)
        if (graph->nodes[t].op == BD_OP_BATCH) {
            is_data[graph->nodes[t].inputs[0]] = true;
            is_data[graph->nodes[t].inputs[1]] = true;
        }
    for (bd_tensor t = 0; t < graph->node_count; t++) {
        const bd_node *node = &graph->nodes[t];
        uint64_t bytes;
        if (node->op != BD_OP_VARIABLE || node->attr.variable.base != BD_NONE || !node_bytes(node, &bytes))
            continue;
        *(is_data[t] ? &plan->dataset_bytes : &plan->variable_bytes) += bytes;
    }
done:
    free(blocks);
    free(alive);
    free(pack_of);
    free(pack_offset);
    free(block_of);
    free(is_data);
    return status;
}
