/* How attention is cut into blocks: cl/attention.cl and shaders/attention.comp. */
#include "tile.h"

/* Tokens of a block, and of them those that a work-item has; the largest first, the last for any device. */
static const struct {
    uint32_t lanes, item;
} blocks[] = { { 8, 4 }, { 8, 2 }, { 4, 4 }, { 4, 2 }, { 1, 4 }, { 1, 1 } };
enum { BLOCKS = sizeof blocks / sizeof *blocks };

static bool is_backward(const bd_node *node)
{
    return node->op == BD_OP_ATTENTION_GRAD;
}

/* [n, tokens, 3 * heads * depth] */
static int64_t depth_of(const bd_graph *graph, const bd_node *node)
{
    return graph->nodes[node->inputs[0]].shape.dim[2] / 3 / node->attr.attention.heads;
}

uint64_t bd_attention_flops(const bd_graph *graph, bd_tensor tensor)
{
    const bd_node *node = &graph->nodes[tensor];
    const bd_shape *qkv = &graph->nodes[node->inputs[0]].shape;
    const uint64_t products = is_backward(node) ? 5 : node->op == BD_OP_ATTENTION ? 2 : 1;
    const uint64_t tokens = (uint64_t)qkv->dim[1], width = (uint64_t)qkv->dim[2] / 3;
    const uint64_t pairs = node->attr.attention.causal ? tokens * (tokens + 1) / 2 : tokens * tokens;
    return 2 * products * (uint64_t)qkv->dim[0] * pairs * width;
}

bool bd_attention_whole(const bd_graph *graph, const bd_kernel *kernel)
{
    return graph->nodes[graph->nodes[kernel->anchor].inputs[0]].shape.dim[1] <= kernel->tile.m;
}

/* What the skeleton declares. */
static uint64_t local_bytes(const bd_node *node, int64_t depth, uint32_t lanes, uint32_t item)
{
    const uint64_t block = lanes * item, line = ((uint64_t)depth + 3) / 4 * 4 + 4;
    const uint64_t tiles = is_backward(node) ? 4 : 3, lane_values = is_backward(node) ? 1 : 2;
    return sizeof(float) * block * (tiles * line + block + 4 + lane_values * lanes);
}

void bd_attention_launch(const bd_plan *plan, bd_kernel *kernel, const bd_target *target)
{
    const bd_graph *graph = plan->graph;
    const bd_node *node = &graph->nodes[kernel->anchor];
    const bd_shape *qkv = &graph->nodes[node->inputs[0]].shape;
    const bd_limits *limits = &target->limits;
    const uint64_t tokens = (uint64_t)qkv->dim[1];
    int chosen = BLOCKS - 1;
    for (int i = BLOCKS - 2; i >= 0; i--) {
        const uint32_t lanes = blocks[i].lanes, item = blocks[i].item, items = lanes * lanes;
        const bool fits = items <= limits->max_workgroup_items && items <= limits->max_workgroup_size[0] &&
                          local_bytes(node, depth_of(graph, node), lanes, item) <= limits->shared_bytes;
        /* A larger one, unless this many items hold all tokens in the smaller. */
        if (fits && (lanes > blocks[chosen].lanes || lanes * blocks[chosen].item < tokens))
            chosen = i;
    }
    const uint32_t lanes = blocks[chosen].lanes, item = blocks[chosen].item, block = lanes * item;
    kernel->tile = (bd_tile){ .m = block, .n = block, .item_m = item, .item_n = item };
    kernel->local[0] = lanes * lanes;
    uint64_t groups = (uint64_t)qkv->dim[0] * (uint64_t)node->attr.attention.heads * ((tokens + block - 1) / block);
    if (is_backward(node) && !bd_attention_whole(graph, kernel))
        groups *= 2;
    bd_spread_groups(target, kernel, groups);
}
