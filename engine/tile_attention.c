/* How attention is cut into blocks: cl/attention.cl and shaders/attention.comp, and by matrix units
 * cl/attention_matrix.cl and shaders/attention_matrix.comp. */
#include "emit.h"
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

/* ---- by matrix units ---- */

/* Rows of a subgroup, subgroups of a group, and the depth for which a subgroup's registers are enough. */
enum { MATRIX_ROWS = 16, MATRIX_WARPS = 4, MATRIX_DEPTH = 128 };

bool bd_attention_by_matrix_units(const bd_target *target, bd_format operands, bd_format sums, int64_t depth)
{
    const bd_matrix_units *units = &target->matrix;
    const bool whole = units->m && MATRIX_ROWS % units->m == 0 && 16 % units->n == 0 && 16 % units->k == 0 &&
                       units->n % 8 == 0 && units->k % 8 == 0 && units->lanes <= 64;
    return whole && !target->is_cpu && target->half.storage && sums == BD_F32 && depth % 8 == 0 &&
           depth <= MATRIX_DEPTH && (operands == BD_F16 || (operands == BD_BF16 && units->bf16)) &&
           !(target->avoid[bd_variant_format(operands)][sums] >> BD_VARIANT_ATTENTION_MATRIX & 1);
}

/* Matrix units read what lies in one buffer as it is. */
static bool is_stored(const bd_graph *graph, const bd_kernel *kernel, bd_tensor input, bd_format format)
{
    const bd_tensor stored = bd_stored_operand(graph, input);
    const int number = bd_kernel_operand(kernel, stored);
    return number >= 0 && graph->nodes[stored].format == format && kernel->operands[number].parts == 1 &&
           kernel->operands[number].access == BD_ACCESS_BUFFER;
}

/* What cl/attention_matrix.cl declares: stages of panels of keys and values, or of queries, dY and Y with two numbers a
 * token. */
static uint64_t nvidia_bytes(bool backward, uint64_t tokens, uint64_t line, uint64_t panel)
{
    const uint64_t stages = tokens > panel ? 2 : 1;
    return panel * (backward ? 3 * line * stages + 2 * sizeof(float) : 2 * line * stages);
}

/* What shaders/attention_matrix.comp declares: two tiles, or where a block waits to become matrices; of each subgroup
 * scores, weights, and with dropout which of these stay; numbers of a row or of a token. */
static uint64_t portable_bytes(bool backward, bool dropout, uint64_t block, uint64_t line, uint64_t panel)
{
    const uint64_t kinds = backward ? 2 : 1, longer = panel > block ? panel : block;
    return (2 * panel > block ? 2 * panel : block) * line +
           block * kinds * ((panel + 4) * sizeof(float) + 2 * panel + 16) + (dropout ? block * panel : 0) +
           (backward ? 6 * longer : block) * sizeof(float);
}

/* The largest group, and then the longest panel, that local memory holds, but no group of subgroups without tokens. */
static bool matrix_tile(const bd_node *node, int64_t tokens, int64_t depth, const bd_target *target, bd_tile *tile)
{
    const uint64_t line = ((uint64_t)depth + 15) / 16 * 32 + 16;
    const bool backward = is_backward(node), dropout = bd_drops_weights(node);
    /* NVIDIA's Vulkan launches OpenCL's kernel. */
    const bool launched = !target->nvidia && target->matrix.resident_bytes > 0, ptx = target->nvidia || launched;
    for (uint32_t warps = MATRIX_WARPS; warps > 0; warps /= 2) {
        const uint32_t block = warps * MATRIX_ROWS, items = warps * target->matrix.lanes;
        if ((warps > 1 && block / 2 >= tokens) || items > target->limits.max_workgroup_items ||
            items > target->limits.max_workgroup_size[0])
            continue;
        /* Of deep heads a half, so that two groups fit a processor; scores in local memory are so long for all. */
        uint32_t panel = ptx && depth <= 64 ? block : block < 32 ? block : 32;
        for (; panel >= MATRIX_ROWS; panel /= 2) {
            const uint64_t bytes = ptx ? nvidia_bytes(backward, (uint64_t)tokens, line, panel)
                                       : portable_bytes(backward, dropout, block, line, panel);
            if (bytes > (launched ? target->matrix.resident_bytes : target->matrix.shared_bytes))
                continue;
            *tile = (bd_tile){ .kind = launched ? BD_TILE_ATTENTION : BD_TILE_MATRIX,
                               .m = block,
                               .n = panel,
                               .k = 16,
                               .item_m = MATRIX_ROWS,
                               .item_n = panel };
            return true;
        }
    }
    return false;
}

static bool matrix_launch(const bd_plan *plan, bd_kernel *kernel, const bd_target *target)
{
    const bd_graph *graph = plan->graph;
    const bd_node *node = &graph->nodes[kernel->anchor];
    const bd_shape *qkv = &graph->nodes[node->inputs[0]].shape;
    const bd_format format = graph->nodes[bd_stored_operand(graph, node->inputs[0])].format;
    const int64_t depth = depth_of(graph, node), tokens = qkv->dim[1];
    if (!bd_attention_by_matrix_units(target, format, node->accumulator, depth) || node->op == BD_OP_ATTENTION_SUM)
        return false;
    for (int i = 0; i < node->input_count; i++)
        if (i != 2 && !is_stored(graph, kernel, node->inputs[i], format)) /* the sums are F32 */
            return false;
    if (!matrix_tile(node, tokens, depth, target, &kernel->tile))
        return false;
    const uint32_t block = kernel->tile.m;
    kernel->local[0] = block / MATRIX_ROWS * target->matrix.lanes;
    kernel->width = BD_WIDTH; /* as results are stored */
    const uint64_t heads = (uint64_t)qkv->dim[0] * (uint64_t)node->attr.attention.heads;
    const uint64_t groups = heads * (((uint64_t)tokens + block - 1) / block);
    bd_spread_groups(target, kernel, is_backward(node) ? 2 * groups : groups);
    return true;
}

/* ---- without them ---- */

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
    if (matrix_launch(plan, kernel, target))
        return;
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
