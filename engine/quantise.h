/* Operands of contractions in formats of their own: what quantise.c chooses from. */
#ifndef BINADE_ENGINE_QUANTISE_H
#define BINADE_ENGINE_QUANTISE_H

#include "build.h"

/* The variable "<role>_<what>" of the layer; a layer of several contractions has one for each, numbered from the second
 * on. */
bd_tensor bd_quantise_variable(bd_graph *graph, bd_role role, const char *what, bd_role kind, bd_shape shape);

/* x in whole numbers of a learned step, simulated (LSQ: Esser et al., arXiv:1902.08153). The step is a parameter, which
 * begins where the first batch puts it: a graph that is `starting` finds that and keeps it, any other reads it. Of
 * activations that cannot be negative the format's numbers are those from 0 on. */
bd_tensor bd_quantise_learned(bd_graph *graph, bd_tensor x, bd_role role, bd_format format);

/* Of an operand that bd_quantise made of codes times one scale, in a graph that has its formats: both; others leave
 * them as they are. */
void bd_quantised_parts(const bd_graph *graph, bd_tensor operand, bd_tensor *codes, bd_tensor *scale);

/* Of whole numbers that bd_quantise moved up to begin with 0: those before, and by how much. Others are left as they
 * are. */
bd_tensor bd_quantised_whole(const bd_graph *graph, bd_tensor codes, double *zero);
/* Of whole numbers so moved, `codes`, and what was rounded to them, `before`: both without the move, for what is
 * measured; the graph gets a node for it. Others are left as they are. */
void bd_quantised_unshift(bd_graph *graph, bd_tensor *before, bd_tensor *codes);
/* A format that holds all values of a tensor: its own, but bytes for whole numbers so moved. */
bd_format bd_quantised_format(const bd_graph *graph, bd_tensor tensor);

#endif
