/* Dealing out a data set: which training examples are whose in federated learning. */
#ifndef BINADE_APPS_DEAL_H
#define BINADE_APPS_DEAL_H

#include <binade/data.h>

enum { MOST_CLIENTS = 10000 };

/* Of a data set of images with at least as many as there are clients. Those of client k are examples[first[k]] to
 * examples[first[k + 1] - 1], one at least; `examples` has room for all, `first` for clients + 1.
 *
 * alpha 0: at random, as many to each client, or one less. Else a class's images are divided by shares that a Dirichlet
 * distribution gives, whose parameters are all alpha (Hsu, Qi and Brown, arXiv:1909.06335): the smaller alpha, the more
 * a client has of few classes. The same seed, the same cards. */
bd_status deal_examples(const bd_dataset *dataset, int64_t clients, double alpha, uint64_t seed, uint32_t *examples,
                        int64_t *first, bd_error *error);

#endif
