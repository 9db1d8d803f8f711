/* Federated learning, simulated: clients that keep their data train in turn on one device, and a server averages what
 * they send. */
#ifndef BINADE_APPS_FEDERATED_H
#define BINADE_APPS_FEDERATED_H

#include "deal.h"
#include "wire.h"
#include <binade/train.h>

typedef struct federation {
    int64_t clients, rounds;
    int64_t
        local_steps; /* of a client in a round; 0: those of one pass over its examples, were they as many as others' */
    float alpha;     /* how unlike the clients' data are, as deal_examples has it; 0: not at all */
} federation;

/* Bytes over the wire so far, all clients together. */
typedef struct traffic {
    uint64_t down, up;
    uint64_t single; /* what the same messages, both ways, take in F32 */
} traffic;

/* Sets local_steps where it is 0, and the number of steps of the parameters, whose data set, batch and precision are
 * set. */
bd_status federation_prepare(federation *self, bd_train_params *params, bd_error *error);

/* Federated averaging (McMahan et al., arXiv:1602.05629) of a new trainer, whose parameters were prepared. Each round
 *  - the server's weights, in F32, go to all clients as one message in the wire's format;
 *  - each client begins with what it got, takes its local steps with an optimizer that remembers nothing, and sends the
 *    difference in the wire's format;
 *  - the server adds the mean of the differences, weighted by the clients' numbers of examples, in double, rounded to
 *    F32.
 * Messages are rounded on the host by the library's exact conversions: in this simulation the host is the wire. Weights
 * are parameters and running statistics. The trainer has the server's weights then. Its parameters' on_event is told of
 * START, PROGRESS (a client's turn), EPOCH (a round: `epoch` counts them) and DONE, with steps those of all clients;
 * should_stop is asked before a client's turn, and BD_ERROR_INTERRUPTED returned. `sent` is brought up to date before
 * each event. Same seed, same device: the same bits. */
bd_status federation_run(const federation *self, const wire *format, bd_trainer *trainer, traffic *sent,
                         bd_train_event *result, bd_error *error);

#endif
