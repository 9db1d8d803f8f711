/* The copy of a graph that is compiled: without dead nodes, and with long sums cut into partial ones. */
#ifndef BINADE_ENGINE_REWRITE_H
#define BINADE_ENGINE_REWRITE_H

#include "kernel.h"

/* Copies the nodes that effects need, in order. Sums and contractions with too few results to fill the device become a
 * chunked node of accumulator format and a sum over its chunks: only the order of the sum changes. Parts of a PACK that no
 * kernel would store on its own get a CAST that does. */
bd_status bd_rewrite(const bd_graph *graph, const bd_target *target, const bd_compile_options *options, bd_graph **copy,
                     bd_error *error);

#endif
