/* What the compiler makes of a graph: fused kernels in order, and where every stored tensor lives. No device needed. */
#ifndef BINADE_ENGINE_KERNEL_H
#define BINADE_ENGINE_KERNEL_H

#include "node.h"
#include <binade/device.h>

typedef enum bd_kernel_class {
    BD_KERNEL_POINTWISE,   /* any DAG of elementwise, view and window nodes over one index space */
    BD_KERNEL_ROWS,        /* reductions over the last axes, several dependent ones over the same rows */
    BD_KERNEL_COLUMNS,     /* reductions over leading axes, one pass */
    BD_KERNEL_CONTRACTION, /* matmul or convolution as implicit GEMM */
    BD_KERNEL_ATTENTION,   /* attention and its rows' sums, or its gradient */
    BD_KERNEL_TALLY,       /* a TALLY, or several of one row each: a work-group to a row */
    BD_KERNEL_CONTROL,     /* the control block's update */
    BD_KERNEL_LIBRARY,     /* a matmul that the backend's library does (CLBlast); no prologue, no epilogue */
} bd_kernel_class;

/* How a contraction is tiled. */
typedef enum bd_tile_kind {
    BD_TILE_GROUP,         /* a work-group's tile, through shared memory */
    BD_TILE_VECTOR,        /* one work-item with wide vectors, through packed panels */
    BD_TILE_VECTOR_CONV,   /* the same for a convolution or its data gradient, from padded images */
    BD_TILE_VECTOR_WEIGHT, /* the same for a convolution's weight gradient, image after image */
    BD_TILE_SIMD,          /* one vector register a work-group, a lane an invocation; operands read as texels */
    BD_TILE_MATRIX,        /* a work-group's tile through shared memory, its products by matrix units */
    BD_TILE_WARPGROUP,     /* the same with four subgroups to a product (wgmma) */
    BD_TILE_MATRIX2,       /* a work-group's tile as one matrix that the driver spreads over it */
    BD_TILE_ATTENTION,     /* attention by matrix units through PTX in Vulkan, which elsewhere is a BD_TILE_MATRIX */
    BD_TILE_RESIDENT,      /* a convolution by matrix units, its weights in shared memory while tiles of pixels pass */
    BD_TILE_MATRIX8,       /* as BD_TILE_MATRIX, of operands of 8 bits as they are */
    BD_TILE_WARPGROUP8,    /* as BD_TILE_WARPGROUP, of operands of 8 bits as they are */
} bd_tile_kind;
typedef struct bd_tile {
    bd_tile_kind kind;
    uint32_t m, n, k;        /* of a work-group */
    uint32_t item_m, item_n; /* of a work-item's registers; for matrix units: of a subgroup's */
    uint32_t slices;         /* BD_TILE_GROUP: work-items that share their part of the tile, and each panel's steps */
    uint32_t images, rows;   /* convolutions: of a work-group */
    uint32_t spread;         /* BD_TILE_SIMD: lanes that show each other their part of B */
    uint32_t phases;         /* BD_TILE_SIMD: of a data gradient's pixels, by their places within a stride; else 1 */
} bd_tile;

/* Every way to do a contraction, which `binade check` tests one by one: the tiles of BD_TILE_GROUP, the other kinds of
 * tiles, and the backend's library; and what else may be done in another way: attention by matrix units, and sums over
 * a contraction's columns by its work-groups (columns.h). Names in variant.c. */
typedef enum bd_variant {
    BD_VARIANT_GROUP_128X128,
    BD_VARIANT_GROUP_128X128_SLICED,
    BD_VARIANT_GROUP_128X64,
    BD_VARIANT_GROUP_256X32,
    BD_VARIANT_GROUP_64X64_SLICED,
    BD_VARIANT_GROUP_64X64,
    BD_VARIANT_GROUP_64X32,
    BD_VARIANT_GROUP_32X32,
    BD_VARIANT_GROUP_4X4,
    BD_VARIANT_VECTOR,
    BD_VARIANT_VECTOR_CONV,
    BD_VARIANT_VECTOR_WEIGHT,
    BD_VARIANT_SIMD,
    BD_VARIANT_MATRIX,
    BD_VARIANT_WARPGROUP,
    BD_VARIANT_MATRIX8,
    BD_VARIANT_WARPGROUP8,
    BD_VARIANT_MATRIX2,
    BD_VARIANT_RESIDENT,
    BD_VARIANT_ATTENTION_MATRIX,
    BD_VARIANT_COLUMN_SUMS,
    BD_VARIANT_LIBRARY,
    BD_VARIANT_LAST_GROUP,  /* of sums: partial sums added up by the last work-group (bd_last_group) */
    BD_VARIANT_TENSOR_MAPS, /* of BD_VARIANT_WARPGROUP: panels that the copy engine brings (tensor_map.h) */
    BD_VARIANT_COUNT
} bd_variant;

/* How a kernel reads an operand: from a storage buffer, or through a texel buffer with so many elements to a texel. */
typedef enum bd_access {
    BD_ACCESS_BUFFER = 0,
    BD_ACCESS_TEXEL1 = 1,
    BD_ACCESS_TEXEL2 = 2, /* F32 or F16 */
    BD_ACCESS_TEXEL4 = 4, /* F32 or F16 */
} bd_access;

/* A buffer that a kernel reads or writes, by the node whose stored value it is. Its bindings are `parts` storage
 * buffers, and then one of texels unless its access is BD_ACCESS_BUFFER; what is only read as texels has 0 parts. */
typedef struct bd_operand {
    bd_tensor node;
    bool written;
    bd_access access;
    /* Where the device sees less of a buffer at once than the tensor has, the operand takes `parts` bindings, each of
     * `part_elements`, the last of the rest. Else 1 and all. */
    uint32_t parts, part_elements;
} bd_operand;

/* Over which index a node of a kernel is evaluated. */
typedef enum bd_space {
    BD_SPACE_ELEMENT, /* the kernel's elements: outputs of a pointwise kernel or a contraction, inputs of a reduction */
    BD_SPACE_REDUCED, /* results of a reduction */
    BD_SPACE_OPERAND, /* prologue of a contraction: elements of its operands */
} bd_space;

/* A reduction's index space: elements are [outer][length][inner], `length` is summed, in `chunks` parts. */
typedef struct bd_extent {
    int64_t outer, length, inner, chunks;
} bd_extent;

/* Elements side by side that a work-item of a pointwise, row or column kernel computes, and that a contraction stores,
 * or one: 8 or 16 bytes a load. */
enum { BD_WIDTH = 4 };

/* Final sums in the kernel that makes their last partial sums: the work-groups count themselves, a counter for each
 * block of results, and the one that completes a count adds up that block's parts, in the order in which a column
 * kernel would. */
typedef struct bd_last_group {
    int node_count;     /* the kernel's last nodes, all in BD_SPACE_REDUCED of the sums; 0: there are none */
    bd_extent extent;   /* of the sums: parts by results */
    uint32_t lanes;     /* that a column kernel would share a column among: they are the order of its sum */
    uint32_t width;     /* neighbours that a work-item adds up, BD_WIDTH or 1 */
    bd_tensor counters; /* U32, 0 before and after a run: memory of this program alone */
} bd_last_group;

typedef struct bd_kernel {
    bd_kernel_class class;
    char name[96];    /* what it does and for which layer: "contraction fc1 matmul+add+relu" */
    bd_tensor anchor; /* the contraction, attention or first reduction; else BD_NONE */
    bd_tensor *nodes; /* evaluated here, in graph order; owned */
    bd_space *spaces; /* of each of them; owned */
    int node_count;
    int64_t elements;     /* of BD_SPACE_ELEMENT */
    bd_extent extent;     /* reductions */
    bd_operand *operands; /* in binding order; owned */
    int operand_count;
    bd_tile tile; /* contractions and attention */
    uint32_t local[3], groups[3];
    uint32_t width;  /* BD_WIDTH, or 1 */
    uint32_t beside; /* column kernels: results, each with all of its columns, that local[0] has side by side */
    bd_last_group last;
    uint64_t flops, bytes_read, bytes_written;
} bd_kernel;

/* Where a stored node lives. */
enum {
    BD_STORAGE_NONE = -3,
    BD_STORAGE_PACK = -2 /* memory of this program alone */,
    BD_STORAGE_ARENA = -1 /* 0 and up: a variable, by node number */
};
typedef struct bd_storage {
    int32_t place;
    uint64_t offset, size; /* bytes */
} bd_storage;

/* What matrix units do with operands of 8 bits as they are: multiply whole numbers, and floats (E4M3 and E5M2), in
 * whose sums so many bits after the leading one count; 0: they do not. All 0 where there are none. */
typedef struct bd_code_units {
    bool int8, uint8; /* with a sign; of A without one too */
    bool moved;       /* kernels make up for what is stored with a sign but begins with 0, as A's may */
    uint32_t f8_bits;
    uint32_t m, n, k; /* what a subgroup multiplies at once */
} bd_code_units;

/* Matrix units that multiply halves and sum in F32: what a subgroup of `lanes` invocations multiplies at once, m x k by
 * k x n, and the shared memory that a tile may take; that of a BD_TILE_WARPGROUP or BD_TILE_WARPGROUP8, and of a
 * BD_TILE_RESIDENT. All 0 where there are none. */
typedef struct bd_matrix_units {
    uint32_t m, n, k, lanes, shared_bytes, warpgroup_bytes, resident_bytes;
    bool bf16;                            /* they multiply BF16 in the same way */
    bool e4m3;                            /* PTX makes halves of F8E4M3 (from compute capability 8.9 on) */
    bool tensor_maps;                     /* of a BD_TILE_WARPGROUP: the copy engine brings panels (tensor_map.h) */
    bd_code_units codes, warpgroup_codes; /* of a BD_TILE_MATRIX8, of a BD_TILE_WARPGROUP8 */
} bd_matrix_units;

/* Matrix units that the driver joins to matrices as large as a tile (VK_NV_cooperative_matrix2): for a tile of `items`
 * invocations its sizes must be multiples of a grain's, and none above `most`. */
enum { BD_MATRIX_GRAINS = 8 };
typedef struct bd_matrix_grain {
    uint32_t items, m, n, k;
} bd_matrix_grain;
typedef struct bd_joined_matrices {
    bd_matrix_grain grains[BD_MATRIX_GRAINS];
    uint32_t grain_count; /* 0 where there are none */
    uint32_t most, shared_bytes;
    bool workgroup; /* a matrix may be spread over several subgroups */
    bool tensors;   /* matrices are loaded by the layout of what lies in memory */
    bool bf16;      /* of BF16 too */
} bd_joined_matrices;

/* Terms that a loop of a kernel sums on a CPU driver, at most: lavapipe ends the loops of an invocation after 65,535
 * rounds in all, and says nothing. GPUs share a sum among lanes, and cut it into shorter parts anyway. */
enum { BD_LONGEST_CPU_SUM = 32768 };

typedef enum bd_gemm { BD_GEMM_AUTO, BD_GEMM_OWN, BD_GEMM_LIBRARY } bd_gemm;

/* What the tuner measures: a few candidates a contraction for some seconds, nothing, or every candidate of every
 * one. */
typedef enum bd_tuning { BD_TUNING_QUICK, BD_TUNING_OFF, BD_TUNING_FULL } bd_tuning;

/* What the compiler must know of the device; bd_target_default() is a plain GPU, so that plans need no device. */
typedef struct bd_target {
    bd_limits limits;
    bd_half_support half;
    bool is_cpu;       /* a CPU driver: wide-vector tiles, few large work-groups */
    bool vector_types; /* OpenCL: float8, float16 */
    bool nvidia;       /* inline PTX */
    bool last_group;   /* work-groups see what others stored before they counted themselves: found by a start-up test */
    bd_matrix_units matrix;
    bd_joined_matrices joined;
    bool integer_dot;              /* four products of INT8 and their sum in one instruction */
    bool library_f32, library_f16; /* the backend's GEMM library works in these */
    bool shuffles;                 /* invocations of a subgroup, of limits.subgroup_size, read each other's numbers */
    /* Operands of up to so many elements are read as texels, in a kernel up to texel_bindings; 0: as buffers. A CPU
     * driver's texel fetch may take a tenth of its storage buffers' loads. */
    uint32_t texel_elements, texel_bindings;
    /* Variants that compute wrongly here and are not used, by the formats of a contraction and of its accumulator: a
     * bit for each bd_variant. */
    uint32_t avoid[BD_FORMAT_COUNT][BD_FORMAT_COUNT];
} bd_target;

typedef struct bd_compile_options {
    bool no_fusion; /* every node a kernel of its own, everything stored: for tests and for finding a NaN */
    bd_gemm gemm;
    bd_tuning tuning;
} bd_compile_options;

typedef struct bd_plan {
    bd_graph *graph; /* the compiled graph: a rewritten copy, owned */
    bd_kernel *kernels;
    int kernel_count;
    int32_t *kernel_of;   /* one a node: the kernel that evaluates it; -1: inlined where it is read, or a variable */
    bd_storage *storage;  /* one a node */
    uint64_t arena_bytes; /* planned peak of everything that is neither a variable nor a pack */
    /* Of the packs: apart, because their gaps keep zeros that another program must not overwrite. */
    uint64_t pack_bytes;
    uint64_t variable_bytes; /* of the variables that the graph uses, each once, data sets aside */
    uint64_t dataset_bytes;  /* inputs of BATCH */
    uint64_t flops, bytes;   /* of one run */
    bd_gemm gemm;            /* of the options */
    bd_tuning tuning;        /* of the options */
    bool tuned;              /* the tiles of contractions are not to be changed any more */
    bool fixed;              /* nor may other tiles take their place where a driver refuses one */
} bd_plan;

void bd_target_default(bd_target *target);
/* How many neighbours a work-item of the kernel computes, BD_WIDTH or 1, where they are `side` elements side by side.
 * CPU drivers put work-items side by side themselves, with two exceptions. PoCL takes a group's columns one after the
 * other, each with its whole loop of single numbers. And where texels are read, four cost as much as one. What is
 * gathered from everywhere gains nothing. */
uint32_t bd_kernel_width(const bd_plan *plan, const bd_kernel *kernel, const bd_target *target, int64_t side);
/* Sizes a kernel's work-groups and their number, and chooses a contraction's tile. False where no variant of a
 * contraction is left. */
bool bd_kernel_launch(const bd_plan *plan, bd_kernel *kernel, const bd_target *target);
/* A result is only written; a variable that is written may be read too. */
bool bd_operand_is_read(const bd_graph *graph, const bd_kernel *kernel, const bd_operand *operand);

/* Fuses, schedules and plans memory. The graph must have its formats (bd_graph_apply_precision). It is not changed. */
bd_status bd_plan_create(const bd_graph *graph, const bd_target *target, const bd_compile_options *options,
                         bd_plan **plan, bd_error *error);
void bd_plan_destroy(bd_plan **plan);
/* "pointwise", "contraction". */
const char *bd_kernel_class_name(bd_kernel_class class);

/* ---- source text ---- */
typedef enum bd_dialect {
    BD_DIALECT_NONE, /* of a backend that runs the plan's graph by itself: nothing is printed for it */
    BD_DIALECT_OPENCL,
    BD_DIALECT_GLSL,
} bd_dialect;

/* The dialect of a kernel's source for a backend of this dialect: those of bd_tile_is_ptx are OpenCL C for Vulkan, too,
 * which launches their PTX. */
bd_dialect bd_kernel_dialect(const bd_kernel *kernel, bd_dialect backend);

/* The complete source of a kernel, `dialect` being the backend's: prelude, skeleton and generated parts. In OpenCL C
 * the function is `binade`, buffers are arguments 0, 1, ... in operand order, and then come as many ulongs: the element
 * of its buffer in which each operand begins; an operand is never in parts; and where bd_kernel_maps says so, the buffer
 * of the program's tensor maps, and at which byte the kernel's begin. In GLSL they are set 0, bindings 0, 1, ...;
 * entry point main. Equal kernels give equal text. The caller frees. */
bd_status bd_kernel_source(const bd_plan *plan, const bd_kernel *kernel, const bd_target *target, bd_dialect dialect,
                           char **source, bd_error *error);

#endif
