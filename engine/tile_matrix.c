/* Tiles for matrix units, BD_TILE_MATRIX, BD_TILE_WARPGROUP, BD_TILE_MATRIX2, BD_TILE_RESIDENT, BD_TILE_MATRIX8 and
 * BD_TILE_WARPGROUP8: contractions that are summed in F32, of operands in every format that is part of F16 or BF16, or
 * of 8 bits. */
#include "arithmetic.h"
#include "emit.h"
#include "quantise.h"
#include "tensor_map.h"
#include "tile.h"

#include <math.h>
#include <stdlib.h>

/* Work-groups that a processor should have to choose from. */
#define GROUPS_TOGETHER 2
/* In a microsecond of an H100; and what Vulkan takes longer for a launch than for a dispatch there, 0.3 us. */
#define PRODUCTS_A_MICROSECOND 8.3e5
#define LAUNCH (0.3 * PRODUCTS_A_MICROSECOND)
/* Of local memory, which the work-groups of a Hopper processor share. */
#define PROCESSOR_BYTES 196608
/* Of a panel of contraction_codes.cl; in cooperative matrices it would be too long for some devices' shared memory. */
#define CODES_PTX_K 128
/* Above every cost: such a tile comes after the others, and only a measurement chooses it. */
#define NOT_GUESSED 1e30

static bool is_warpgroup(const bd_tile *tile)
{
    return tile->kind == BD_TILE_WARPGROUP || tile->kind == BD_TILE_WARPGROUP8;
}

static bool is_codes(const bd_tile *tile)
{
    return tile->kind == BD_TILE_MATRIX8 || tile->kind == BD_TILE_WARPGROUP8;
}

bool bd_tile_is_ptx(const bd_tile *tile)
{
    return is_warpgroup(tile) || tile->kind == BD_TILE_RESIDENT || tile->kind == BD_TILE_ATTENTION;
}

bool bd_tile_uses_matrix_units(const bd_tile *tile)
{
    return tile->kind == BD_TILE_MATRIX || tile->kind == BD_TILE_MATRIX8 || tile->kind == BD_TILE_MATRIX2 ||
           bd_tile_is_ptx(tile);
}

/* Whether all values of the format are halves that the units multiply: some drop subnormal ones; NVIDIA's in OpenCL
 * were tried. */
static bool are_halves(bd_format format, const bd_target *target)
{
    const bd_format_info info = bd_format_describe(format);
    const bool subnormal = info.kind == BD_KIND_FLOAT && info.least < bd_format_describe(BD_F16).least_normal;
    return format == BD_F16 ||
           (bd_format_holds(BD_F16, format) && (!subnormal || target->half.subnormals || target->nvidia));
}

bd_format bd_matrix_format(const bd_graph *graph, bd_tensor contraction, const bd_target *target)
{
    const bd_node *node = &graph->nodes[contraction];
    const bd_format a = bd_quantised_format(graph, node->inputs[0]), b = bd_quantised_format(graph, node->inputs[1]);
    if (target->matrix.m == 0 || node->accumulator != BD_F32)
        return BD_F32;
    if (are_halves(a, target) && are_halves(b, target))
        return BD_F16;
    return target->matrix.bf16 && bd_format_holds(BD_BF16, a) && bd_format_holds(BD_BF16, b) ? BD_BF16 : BD_F32;
}

bd_code_operand bd_code_operand_of(const bd_graph *graph, bd_tensor contraction, int side)
{
    const bd_node *node = &graph->nodes[contraction];
    bd_code_operand operand = { .across = !bd_inner_is_k(node, side) };
    operand.stored = bd_stored_operand(graph, bd_quantised_whole(graph, node->inputs[side], &operand.zero));
    operand.format = graph->nodes[operand.stored].format;
    return operand;
}

/* Floats of 8 bits that units have, of which the policy takes the units' sums. */
static bool takes_unit_sums(const bd_graph *graph, bd_tensor contraction)
{
    bool takes = graph->nodes[contraction].unit_sums && graph->nodes[contraction].accumulator == BD_F32;
    for (int side = 0; side < 2; side++) {
        const bd_format format = bd_code_operand_of(graph, contraction, side).format;
        takes &= format == BD_F8E4M3 || format == BD_F8E5M2;
    }
    return takes;
}

/* Of products of whole numbers, one of them up to 255, the other from -128 to 127, which are summed in 32 bits. */
#define MOST_WHOLE_TERMS 65536

bool bd_multiplies_codes(const bd_graph *graph, bd_tensor contraction, const bd_kernel *kernel,
                         const bd_code_units *units)
{
    const bd_node *node = &graph->nodes[contraction];
    const bd_contraction c = bd_contraction_of(graph, contraction);
    const int64_t chunks = node->chunks > 1 ? node->chunks : 1, length = bd_chunk_length(c.k, chunks);
    const bool floats = units->f8_bits > 0 && takes_unit_sums(graph, contraction);
    bool whole = units->int8 && length <= MOST_WHOLE_TERMS, pieces = node->accumulator == BD_F32;
    for (int side = 0; side < 2; side++) {
        const bd_code_operand operand = bd_code_operand_of(graph, contraction, side);
        const bd_format_info info = bd_format_describe(operand.format);
        const bd_shape *shape = &graph->nodes[node->inputs[side]].shape;
        const int64_t inner = shape->dim[shape->rank - 1];
        /* What is stored is what is multiplied, not what that is read as. */
        pieces &= operand.zero > 0 || operand.format == graph->nodes[node->inputs[side]].format;
        const bool sign = info.kind == BD_KIND_SIGNED, negative = sign && operand.zero == 0;
        whole &= info.kind != BD_KIND_FLOAT && info.size == 1 &&
                 (negative || (side == 0 && (units->uint8 || (sign && units->moved))));
        pieces &= (!kernel || bd_kernel_operand(kernel, operand.stored) >= 0) &&
                  inner % (operand.across ? 8 : 16) == 0 && (operand.across || chunks == 1 || length % 16 == 0);
    }
    return pieces && (floats || whole);
}

/* Of the units that keep the fewest; 0: none multiplies floats of 8 bits. */
static uint32_t least_f8_bits(const bd_matrix_units *units)
{
    const uint32_t one = units->codes.f8_bits, other = units->warpgroup_codes.f8_bits;
    return one == 0 || (other > 0 && other < one) ? other : one;
}

/* Four instructions make a panel's sum. Each aligns 32 products and what the ones before made to the largest, and cuts
 * all 33 off f8_bits behind its exponent, and the result behind its own (Xie et al., arXiv:2511.10909, of Hopper's): 34
 * errors of at most 2^-f8_bits of what is at most the sum of the panel's magnitudes. What is subnormal counts as the
 * least normal number in the exponent; where the largest product has such a factor, more is lost. */
double bd_most_unit_sum_error(const bd_target *target)
{
    enum { INSTRUCTIONS = 4, ROUNDINGS = 34 };
    const uint32_t bits = least_f8_bits(&target->matrix);
    return bits ? ldexp(INSTRUCTIONS * ROUNDINGS, -(int)bits) : 0;
}

double bd_unit_sum_error(const bd_graph *graph, bd_tensor contraction, const bd_target *target)
{
    return takes_unit_sums(graph, contraction) ? bd_most_unit_sum_error(target) : 0;
}

/* What is loaded in pieces comes from one binding. */
static bool in_one_binding(const bd_graph *graph, bd_tensor stored, const bd_target *target)
{
    const bd_node *node = &graph->nodes[stored];
    const uint64_t bytes = (uint64_t)bd_shape_elements(&node->shape) * bd_format_size(node->format);
    return !target->limits.max_binding_bytes || bytes <= target->limits.max_binding_bytes;
}

/* Of a panel, as contraction_codes.cl lays out operands in lines along k or across it. */
static uint32_t code_panel_bytes(uint32_t lines)
{
    return (lines / 8 * 1040 + 1023) / 1024 * 1024;
}

/* Of the panels of one stage. */
static uint32_t stage_bytes(const bd_tile *tile)
{
    return is_codes(tile) ? code_panel_bytes(tile->m) + code_panel_bytes(tile->n) : 2 * (tile->m + tile->n) * tile->k;
}

static int64_t groups_of(const bd_contraction *c, int64_t chunks, const bd_tile *tile)
{
    return c->batch * chunks * bd_ceil_divide(c->m, tile->m) * bd_ceil_divide(c->n, tile->n);
}

/* wgmma has a panel multiplied, one that may still be, and at least one on its way. */
#define LEAST_STAGES 3
#define MOST_STAGES 6

/* Whether a processor can take two of its work-groups, by shared memory. */
static bool shares_processor(const bd_tile *tile)
{
    return LEAST_STAGES * stage_bytes(tile) <= PROCESSOR_BYTES / 2;
}

bool bd_matrix_alone(const bd_graph *graph, bd_tensor contraction, const bd_tile *tile, const bd_target *target)
{
    const bd_contraction c = bd_contraction_of(graph, contraction);
    return !shares_processor(tile) ||
           (target->matrix.warpgroup_bytes > PROCESSOR_BYTES &&
            groups_of(&c, bd_larger(graph->nodes[contraction].chunks, 1), tile) <= target->limits.compute_units);
}

uint32_t bd_matrix_stages(const bd_tile *tile, bool alone)
{
    const uint32_t fit = PROCESSOR_BYTES / (alone ? 1 : 2) / stage_bytes(tile);
    if (tile->kind == BD_TILE_MATRIX8) /* a panel less where the processor could not take two work-groups else */
        return shares_processor(tile) ? LEAST_STAGES : LEAST_STAGES - 1;
    if (!is_warpgroup(tile))
        return LEAST_STAGES;
    return fit < MOST_STAGES ? fit : MOST_STAGES;
}

/* Work-items that only copy: a warp for each of a processor's four schedulers; but two where the registers that more
 * would take leave no room for another work-group of as many sums. */
static uint32_t copiers(const bd_tile *tile, bool alone)
{
    return tile->kind != BD_TILE_WARPGROUP ? 0 : !alone && tile->n >= 128 ? 64 : 128;
}

/* And what tells them and the others of a stage. */
#define STAGE_BARRIERS 16u

static uint32_t items(const bd_tile *tile, const bd_target *target)
{
    return bd_group_items(tile) * target->matrix.lanes + copiers(tile, true);
}

/* Two stages of an operand's panel, whose lines of m or of k are padded by 16 bytes: of halves, or of codes. */
static uint32_t panel_bytes(uint32_t m, uint32_t k, uint32_t size)
{
    return 2 * (m * k * size + 16 * (m > k ? m : k));
}

/* Numbers behind each row of a subgroup's sums, in contraction_matrix.cl and contraction_codes.cl. */
#define SUM_PADDING 8

/* Stages of panels, or one fragment's rows of sums for each subgroup. Those in OpenCL C turn lines against bank
 * conflicts. */
static bool fits_fragments(const bd_tile *tile, const bd_target *target)
{
    const bd_matrix_units *units = &target->matrix;
    const bool warpgroup = is_warpgroup(tile), turned = target->nvidia || warpgroup;
    const uint32_t stages = bd_matrix_stages(tile, !shares_processor(tile));
    const bool codes = tile->kind == BD_TILE_MATRIX8;
    const uint32_t m = codes ? units->codes.m : units->m, n = codes ? units->codes.n : units->n,
                   k = codes ? units->codes.k : units->k, size = codes ? 1 : 2;
    const uint32_t panels = turned ? stages * (stage_bytes(tile) + (warpgroup ? STAGE_BARRIERS : 0))
                                   : panel_bytes(tile->m, tile->k, size) + panel_bytes(tile->n, tile->k, size);
    const uint32_t bytes = warpgroup ? units->warpgroup_bytes : units->shared_bytes;
    const uint32_t warps = tile->m / tile->item_m * (tile->n / tile->item_n), padding = turned ? SUM_PADDING : 0;
    const uint32_t sums = warps * m * (tile->item_n + padding) * (uint32_t)sizeof(float);
    return tile->item_m % m == 0 && tile->item_m / m <= 4 && tile->item_n % n == 0 && tile->k % k == 0 &&
           (!codes || (tile->k == CODES_PTX_K) == target->nvidia) && panels <= bytes && sums <= bytes;
}

bool bd_window_is_one_tap(const bd_window *w)
{
    return w->size[0] * w->size[1] == 1 && w->stride[0] * w->stride[1] == 1 && !w->pad[0][0] && !w->pad[0][1] &&
           !w->pad[1][0] && !w->pad[1][1];
}

bool bd_matrix_lies_in_rows(const bd_graph *graph, bd_tensor contraction, const bd_kernel *kernel,
                            const bd_target *target, int side)
{
    const bd_node *node = &graph->nodes[contraction];
    const bd_tensor input = bd_stored_operand(graph, node->inputs[side]);
    return target->joined.tensors && graph->nodes[input].format == bd_matrix_format(graph, contraction, target) &&
           (!kernel || bd_kernel_operand(kernel, input) >= 0) && in_one_binding(graph, input, target) &&
           (node->op == BD_OP_MATMUL || bd_window_is_one_tap(&node->attr.window) ||
            (side == 1 && node->op != BD_OP_CONV2D_DATA));
}

/* Invocations store the sums that they hold, and the driver may let two hold the same: nothing that is read may be
 * written. */
static bool may_store_twice(const bd_graph *graph, const bd_kernel *kernel)
{
    bool may = true;
    for (int i = 0; kernel && i < kernel->operand_count; i++)
        may &= !kernel->operands[i].written || !bd_operand_is_read(graph, kernel, &kernel->operands[i]);
    return may;
}

static bool fits_grain(const bd_tile *tile, const bd_target *target, uint32_t panels)
{
    const bd_joined_matrices *joined = &target->joined;
    const uint32_t count = items(tile, target);
    bool fits = false;
    for (uint32_t i = 0; i < joined->grain_count && !fits; i++) {
        const bd_matrix_grain *grain = &joined->grains[i];
        fits = grain->items == count && tile->m % grain->m == 0 && tile->n % grain->n == 0 && tile->k % grain->k == 0;
    }
    return fits && tile->m <= joined->most && tile->n <= joined->most && tile->k <= joined->most &&
           panels <= joined->shared_bytes;
}

bool bd_matrix_copies(const bd_graph *graph, bd_tensor contraction, const bd_kernel *kernel, const bd_target *target,
                      int side)
{
    const bd_node *node = &graph->nodes[contraction];
    const bd_tensor input = bd_stored_operand(graph, node->inputs[side]);
    const bd_shape *shape = &graph->nodes[node->inputs[side]].shape;
    const int64_t chunks = node->chunks > 1 ? node->chunks : 1;
    const int64_t chunk = bd_chunk_length(bd_contraction_of(graph, contraction).k, chunks);
    const int number = kernel ? bd_kernel_operand(kernel, input) : 0;
    return graph->nodes[input].format == bd_matrix_format(graph, contraction, target) && target->half.storage &&
           in_one_binding(graph, input, target) && shape->dim[shape->rank - 1] % 8 == 0 &&
           (!bd_inner_is_k(node, side) || chunks == 1 || chunk % 8 == 0) && number >= 0 &&
           (!kernel || kernel->operands[number].access == BD_ACCESS_BUFFER);
}

uint32_t bd_matrix_copiers(const bd_graph *graph, const bd_kernel *kernel, const bd_target *target)
{
    if (bd_tensor_maps_of(graph, kernel->anchor, kernel, &kernel->tile, target, NULL))
        return target->matrix.lanes; /* of which one tells the copy engine what to bring */
    return bd_matrix_copies(graph, kernel->anchor, kernel, target, 0) &&
                   bd_matrix_copies(graph, kernel->anchor, kernel, target, 1)
               ? copiers(&kernel->tile, bd_matrix_alone(graph, kernel->anchor, &kernel->tile, target))
               : 0;
}

#define TILE_OF(KIND, M, N, K, ITEM_M, ITEM_N)                                                                         \
    {                                                                                                                  \
        .kind = KIND, .m = M, .n = N, .k = K, .item_m = ITEM_M, .item_n = ITEM_N                                       \
    }
#define JOINED(...) TILE_OF(BD_TILE_MATRIX2, __VA_ARGS__)
#define FRAGMENTS(...) TILE_OF(BD_TILE_MATRIX, __VA_ARGS__)
#define WARPGROUP(M, N) TILE_OF(BD_TILE_WARPGROUP, M, N, 64, 16, N)
#define RESIDENT(M, N, ITEM_M, ITEM_N) TILE_OF(BD_TILE_RESIDENT, M, N, 16, ITEM_M, ITEM_N)
#define RESIDENT_SUMS(N, PIXELS, ITEM_N)                                                                               \
    {                                                                                                                  \
        .kind = BD_TILE_RESIDENT, .n = N, .k = PIXELS, .item_n = ITEM_N, .slices = 8                                   \
    }
#define CODES(...) TILE_OF(BD_TILE_MATRIX8, __VA_ARGS__)
#define WARPGROUP8(M, N) TILE_OF(BD_TILE_WARPGROUP8, M, N, CODES_PTX_K, 16, N)
static const bd_tile all_tiles[] = {
    JOINED(128, 128, 64, 64, 64), /* larger ones were slower on an H100 */
    JOINED(128, 128, 64, 64, 32),
    JOINED(128, 64, 64, 32, 64),
    JOINED(64, 128, 64, 64, 32),
    JOINED(64, 64, 64, 32, 32),
    JOINED(128, 32, 64, 32, 32),
    JOINED(128, 16, 32, 32, 16),
    JOINED(32, 32, 32, 32, 32),
    JOINED(16, 16, 32, 16, 16),
    WARPGROUP(128, 256),
    WARPGROUP(256, 128),
    WARPGROUP(192, 128),
    WARPGROUP(128, 128),
    WARPGROUP(192, 64),
    WARPGROUP(128, 64),
    WARPGROUP(64, 64),
    WARPGROUP(192, 32),
    WARPGROUP(128, 32),
    WARPGROUP(64, 32),
    WARPGROUP(192, 16),
    WARPGROUP(128, 16),
    WARPGROUP(64, 16),
    WARPGROUP8(128, 128), /* with more columns two sums each would not fit the registers */
    WARPGROUP8(192, 64),
    WARPGROUP8(128, 64),
    WARPGROUP8(64, 128),
    WARPGROUP8(64, 64),
    CODES(128, 128, CODES_PTX_K, 64, 32),
    CODES(128, 64, CODES_PTX_K, 32, 32),
    CODES(64, 128, CODES_PTX_K, 32, 32),
    CODES(64, 64, CODES_PTX_K, 32, 32),
    CODES(128, 128, 64, 64, 32),
    CODES(128, 64, 64, 32, 32),
    CODES(64, 64, 64, 32, 32),
    CODES(32, 32, 64, 16, 16),
    CODES(16, 16, 64, 16, 16),
    FRAGMENTS(128, 128, 32, 64, 64),
    FRAGMENTS(128, 128, 32, 64, 32),
    FRAGMENTS(256, 64, 32, 64, 32),
    FRAGMENTS(128, 64, 32, 32, 32),
    FRAGMENTS(64, 128, 32, 32, 32),
    FRAGMENTS(128, 64, 32, 64, 32),
    FRAGMENTS(64, 64, 64, 32, 32),
    FRAGMENTS(64, 64, 32, 32, 32),
    FRAGMENTS(256, 32, 32, 32, 32),
    FRAGMENTS(128, 32, 32, 32, 16),
    FRAGMENTS(64, 32, 32, 16, 16),
    FRAGMENTS(256, 16, 32, 32, 16),
    FRAGMENTS(128, 16, 32, 16, 16),
    FRAGMENTS(32, 32, 32, 16, 16),
    FRAGMENTS(16, 16, 32, 16, 16),
    RESIDENT(256, 16, 32, 16),
    RESIDENT(512, 16, 64, 16),
    RESIDENT(128, 16, 32, 16),
    RESIDENT(256, 32, 64, 32),
    RESIDENT(256, 32, 32, 32),
    RESIDENT(128, 32, 32, 32),
    RESIDENT(64, 32, 16, 32),
    RESIDENT(128, 64, 32, 64),
    RESIDENT(128, 64, 32, 32),
    RESIDENT(64, 64, 32, 32),
    /* weight gradients: bd_resident_complete */
    RESIDENT_SUMS(16, 256, 16),
    RESIDENT_SUMS(16, 128, 16),
    RESIDENT_SUMS(16, 64, 16),
    RESIDENT_SUMS(32, 256, 16),
    RESIDENT_SUMS(32, 128, 16),
    RESIDENT_SUMS(32, 128, 32),
    RESIDENT_SUMS(64, 256, 64), /* of few channels only: too many sums for others */
    RESIDENT_SUMS(64, 128, 64),
};
enum { TILES = sizeof all_tiles / sizeof *all_tiles };
_Static_assert((int)TILES <= (int)BD_MATRIX_TILES, "room for all of them");

/* Whether a value that the kernel makes of the sums, or what is computed anew for it, is of a function that takes as
 * long as some dozens of products. */
static bool is_long(const bd_graph *graph, const bd_kernel *kernel, bd_tensor tensor, int depth)
{
    const bd_node *node = &graph->nodes[tensor];
    switch (node->op) {
    case BD_OP_EXP:
    case BD_OP_LOG:
    case BD_OP_TANH:
    case BD_OP_SIGMOID:
    case BD_OP_ERF:
    case BD_OP_GELU:
    case BD_OP_GELU_SLOPE:
    case BD_OP_POW:
    case BD_OP_RANDOM: return true;
    default: break;
    }
    bool found = false;
    for (int i = 0; i < node->input_count && !found && depth > 0; i++)
        found = node->inputs[i] != kernel->anchor && bd_kernel_operand(kernel, node->inputs[i]) < 0 &&
                is_long(graph, kernel, node->inputs[i], depth - 1);
    return found;
}

bool bd_results_are_long(const bd_graph *graph, const bd_kernel *kernel)
{
    enum { DEPTH = 8 };
    bool found = false;
    for (int i = 0; kernel && i < kernel->node_count && !found; i++)
        found = kernel->spaces[i] == BD_SPACE_ELEMENT && kernel->nodes[i] != kernel->anchor &&
                is_long(graph, kernel, kernel->nodes[i], DEPTH);
    return found;
}

/* Of work-groups that share a processor one multiplies while another makes results of its sums: without neighbours that
 * time adds up. The code for joined matrices has a copy of it for each of an invocation's sums, which does not fit the
 * instruction cache. */
static bool suits_long_results(const bd_tile *tile)
{
    return tile->kind == BD_TILE_MATRIX || tile->kind == BD_TILE_MATRIX8 ||
           (is_warpgroup(tile) && shares_processor(tile));
}

/* Whether a work-group can hold the tile. */
static bool fits(const bd_graph *graph, bd_tensor tensor, const bd_kernel *kernel, const bd_target *target,
                 const bd_tile *tile)
{
    if (items(tile, target) > target->limits.max_workgroup_items ||
        items(tile, target) > target->limits.max_workgroup_size[0])
        return false;
    if (tile->kind == BD_TILE_RESIDENT) {
        bd_resident r;
        return bd_resident_of(graph, tensor, kernel, tile, target, &r);
    }
    if (tile->kind != BD_TILE_MATRIX2)
        return fits_fragments(tile, target);
    uint32_t panels = 0;
    for (int side = 0; side < 2; side++)
        if (!bd_matrix_lies_in_rows(graph, tensor, kernel, target, side))
            panels += panel_bytes(side ? tile->n : tile->m, tile->k, 2);
    return fits_grain(tile, target, panels);
}

/* Microseconds of an H100 with wgmma, whose work-groups a processor takes one after the other: each has panels, which
 * take as long as they are copied, and a beginning and an end, which another one at its side hides a little. Fitted by
 * hand to a product of 4096x4096x4096 and VGG-16's convolutions; with tensor maps to the product alone. */
static double warpgroup_microseconds(const bd_contraction *c, int64_t chunks, const bd_tile *tile, bool maps,
                                     const bd_target *target)
{
    const double product = (double)tile->m * tile->n, lines = (double)tile->m + tile->n;
    const double panel = maps ? 1.26e-5 * product + 0.96e-3 * lines : 1.16e-5 * product + 1.48e-3 * lines;
    const double ends = 2 + 8e-5 * product;
    const int64_t panels = bd_ceil_divide(bd_chunk_length(c->k, chunks), tile->k);
    const int64_t rounds = bd_ceil_divide(groups_of(c, chunks, tile), bd_larger(target->limits.compute_units, 1));
    return (double)rounds * ((double)panels * panel + (shares_processor(tile) ? 0.8 : 1) * ends);
}

/* What a processor takes for its share of the work-groups, for each step of k, in products of mma.sync's rate. The
 * numbers were fitted by hand to times on an H100: mma.sync's to 12 tiles for each of 18 contractions of networks,
 * cooperative matrices' to 18 for each of AlexNet's 19 (docs/benchmarks-log.md has the best); those of 8 bits are a
 * guess. Where no asynchronous copies hide how long a panel takes to come, no step is shorter than that; a long panel
 * is awaited half as often, and fewer of its groups fit a processor. */
static double cost(const bd_contraction *c, int64_t chunks, const bd_tile *tile, const bd_target *target)
{
    const double product = (double)tile->m * tile->n, panels = (double)tile->m + tile->n;
    const bool waits = !target->nvidia && tile->kind == BD_TILE_MATRIX;
    double group = tile->kind == BD_TILE_WARPGROUP8 ? 0.3 * product + 12.5 * panels
                   : tile->kind == BD_TILE_MATRIX8  ? 0.5 * product + 10 * panels
                   : tile->kind == BD_TILE_MATRIX2  ? 0.62 * product + 8 * panels
                                                    : product + 20 * panels;
    if (waits && tile->item_m * tile->item_n >= 64 * 64)
        group *= 0.85;
    if (tile->kind == BD_TILE_MATRIX && tile->k > 32)
        group *= 1.36;
    const bool launched = is_warpgroup(tile) && !target->nvidia;
    if (launched)
        group *=
            0.5; /* cooperative matrices, by which Vulkan's costs count, take twice as long as mma.sync: 0.81 and 0.41 ms at 4096 */
    const double launch = launched ? LAUNCH / (double)bd_chunk_length(c->k, chunks) : 0;
    const double share = (double)groups_of(c, chunks, tile) / (double)bd_larger(target->limits.compute_units, 1);
    const double step = group * (share > 1 ? share : 1) + launch, least = tile->k > 32 ? 11000 : 13000;
    if (!waits || step >= least)
        return step;
    const bool idle = tile->m > 2 * c->m || tile->n > 2 * c->n;
    return (idle ? 2 : 1) * least + step / 1000; /* of those that wait alike the smallest */
}

/* What a step takes beside that where a pixel has no whole pieces of eight: each number of A is loaded alone, its place
 * computed. From the first convolutions of VGG-16 and ResNet-32 on an H100, which take 50 us more than their bytes. */
static double loading_cost(const bd_graph *graph, bd_tensor tensor, int64_t chunks, const bd_tile *tile,
                           const bd_target *target)
{
    const double number = 300;
    const bd_node *node = &graph->nodes[tensor];
    const bd_contraction c = bd_contraction_of(graph, tensor);
    if ((node->op != BD_OP_CONV2D && node->op != BD_OP_CONV2D_WEIGHT) ||
        graph->nodes[node->inputs[0]].shape.dim[3] % 8 == 0)
        return 0;
    const double groups = (double)(chunks * bd_ceil_divide(c.m, tile->m) * bd_ceil_divide(c.n, tile->n));
    const double length = (double)bd_chunk_length(c.k, chunks), steps = ceil(length / tile->k) * tile->k;
    return number * tile->m * steps / length * fmax(groups / fmax(target->limits.compute_units, 1), 1);
}

/* The same of a tile whose time was predicted. */
static double predicted_cost(const bd_graph *graph, bd_tensor tensor, const bd_kernel *kernel, const bd_target *target,
                             const bd_tile *tile)
{
    const bd_contraction c = bd_contraction_of(graph, tensor);
    const int64_t chunks = bd_larger(graph->nodes[tensor].chunks, 1);
    double microseconds;
    bd_resident r;
    if (tile->kind == BD_TILE_WARPGROUP)
        microseconds = warpgroup_microseconds(&c, chunks, tile,
                                              bd_tensor_maps_of(graph, tensor, kernel, tile, target, NULL), target);
    else if (bd_resident_of(graph, tensor, kernel, tile, target, &r))
        microseconds = bd_resident_microseconds(graph, tensor, tile, target, &r);
    else
        return NOT_GUESSED;
    const double products = microseconds * PRODUCTS_A_MICROSECOND;
    return (target->nvidia ? products : 0.5 * products + LAUNCH) /
           (double)bd_chunk_length(c.k, chunks); /* as in cost() */
}

/* Joined matrices are slow to begin and to store: not a guess for short sums. */
static bool worth_guessing(const bd_contraction *c, int64_t chunks, const bd_tile *tile)
{
    return tile->kind != BD_TILE_MATRIX2 || bd_chunk_length(c->k, chunks) >= 2048;
}

int64_t bd_matrix_chunks(const bd_contraction *c, const bd_target *target)
{
    /* As few tiles as cover the result without much waste, of a size that keeps the units busy. */
    const int64_t m = c->m <= 64 ? 64 : 128, n = c->n <= 16 ? 16 : c->n <= 32 ? 32 : c->n <= 64 ? 64 : 128;
    const int64_t groups = c->batch * bd_ceil_divide(c->m, m) * bd_ceil_divide(c->n, n);
    const int64_t wanted = GROUPS_TOGETHER * (target->limits.compute_units ? target->limits.compute_units : 1);
    int64_t chunks = groups >= wanted ? 1 : wanted / groups;
    /* Partial sums are written and read again: not more of them than of what is multiplied. */
    const int64_t most = (c->m + c->n) * c->k / (4 * c->m * c->n), longest = c->k / 256;
    chunks = bd_smaller(bd_smaller(chunks, most), longest);
    return chunks > 1 ? bd_ceil_divide(c->k, bd_chunk_length(c->k, chunks)) : 1;
}

int bd_matrix_tiles(const bd_graph *graph, bd_tensor tensor, const bd_kernel *kernel, const bd_target *target,
                    bd_tile tiles[BD_MATRIX_TILES])
{
    const bd_node *node = &graph->nodes[tensor];
    const bd_contraction c = bd_contraction_of(graph, tensor);
    const bd_format format = bd_matrix_format(graph, tensor, target);
    if (format == BD_F32 || c.batch <= 0 || c.m <= 0 || c.n <= 0 || c.k <= 0)
        return 0;
    const bool allowed[] = {
        [BD_TILE_MATRIX] = bd_variant_allowed(target, node, BD_VARIANT_MATRIX),
        [BD_TILE_WARPGROUP] = bd_variant_allowed(target, node, BD_VARIANT_WARPGROUP),
        [BD_TILE_MATRIX8] = bd_variant_allowed(target, node, BD_VARIANT_MATRIX8) &&
                            bd_multiplies_codes(graph, tensor, kernel, &target->matrix.codes) &&
                            in_one_binding(graph, bd_code_operand_of(graph, tensor, 0).stored, target) &&
                            in_one_binding(graph, bd_code_operand_of(graph, tensor, 1).stored, target),
        [BD_TILE_WARPGROUP8] = bd_variant_allowed(target, node, BD_VARIANT_WARPGROUP8) &&
                               bd_multiplies_codes(graph, tensor, kernel, &target->matrix.warpgroup_codes),
        [BD_TILE_MATRIX2] = bd_variant_allowed(target, node, BD_VARIANT_MATRIX2) && may_store_twice(graph, kernel) &&
                            (format == BD_F16 || target->joined.bf16),
        [BD_TILE_RESIDENT] = bd_variant_allowed(target, node, BD_VARIANT_RESIDENT),
    };
    const bool long_results = bd_results_are_long(graph, kernel);
    int count = 0;
    double costs[BD_MATRIX_TILES];
    for (int i = 0; i < TILES; i++) {
        bd_tile tile = all_tiles[i];
        if (tile.kind == BD_TILE_RESIDENT && !bd_resident_complete(graph, tensor, &tile))
            continue;
        if (!allowed[tile.kind] || (long_results && !suits_long_results(&tile)) ||
            !fits(graph, tensor, kernel, target, &tile))
            continue;
        const int64_t chunks = node->chunks > 1 ? node->chunks : 1;
        const bool predicted = tile.kind == BD_TILE_RESIDENT || tile.kind == BD_TILE_WARPGROUP;
        const double loading = tile.kind == BD_TILE_RESIDENT ? 0 : loading_cost(graph, tensor, chunks, &tile, target);
        const double now = loading + (predicted ? predicted_cost(graph, tensor, kernel, target, &tile)
                                                : cost(&c, chunks, &tile, target) +
                                                      (worth_guessing(&c, chunks, &tile) ? 0 : NOT_GUESSED));
        int place = count++;
        for (; place > 0 && costs[place - 1] > now; place--) {
            costs[place] = costs[place - 1];
            tiles[place] = tiles[place - 1];
        }
        costs[place] = now;
        tiles[place] = tile;
    }
    return count;
}
