/* The copy of a graph that is compiled: without dead nodes, and with long sums cut into partial ones. */
#ifndef BINADE_ENGINE_REWRITE_H
#define BINADE_ENGINE_REWRITE_H

#include "kernel.h"

/* Copies the nodes that effects need, in order. Sums and contractions with too few results to fill the device become a
 * chunked node of accumulator format and a sum over its chunks: only the order of the sum changes. So does on CPU
 * drivers whatever would loop over more than BD_LONGEST_CPU_SUM elements, maxima, their places and SCATTER_ADD too.
 * Quantised operands that matrix units can multiply as codes leave their scales to the result. On CPU drivers attention
 * becomes products and a softmax. Parts of a PACK that no kernel would store on its own get a CAST that does. */
bd_status bd_rewrite(const bd_graph *graph, const bd_target *target, const bd_compile_options *options, bd_graph **copy,
                     bd_error *error);

/* What the operations of one attention share where they are composed: [n, h, t, 1] and [n, h, t, t]. */
typedef struct bd_composed_attention {
    bd_tensor largest, total, weights;
    bd_tensor kept; /* 1 where a weight stays, 0 where it is dropped; BD_NONE without dropout */
} bd_composed_attention;
/* Appended with the graph's layer; formats are the caller's to give. */
bd_composed_attention bd_compose_attention(bd_graph *graph, bd_tensor qkv, const bd_attention_attr *attr);
bd_tensor bd_compose_attention_result(bd_graph *graph, const bd_composed_attention *parts, bd_tensor qkv,
                                      const bd_attention_attr *attr);
bd_tensor bd_compose_attention_sum(bd_graph *graph, const bd_composed_attention *parts);
bd_tensor bd_compose_attention_grad(bd_graph *graph, const bd_composed_attention *parts, bd_tensor qkv, bd_tensor dy,
                                    const bd_attention_attr *attr);

#endif
