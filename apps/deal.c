#include "deal.h"
#include "engine/feed.h"
#include "engine/philox.h"
#include <math.h>
#include <stdlib.h>

/* ---- random numbers ---- */

typedef struct stream {
    uint64_t seed;
    uint32_t drawn;
} stream;

/* Uniform in (0, 1): in the middle of one of 2^24 equal parts, so that it has a logarithm. */
static double draw_uniform(stream *self)
{
    static const uint32_t domain = UINT32_C(0x6465616c); /* apart from other numbers of the same seed */
    uint32_t words[4];
    bd_philox((uint32_t[]){ (uint32_t)self->seed, (uint32_t)(self->seed >> 32) },
              (uint32_t[]){ self->drawn++, 0, 0, domain }, words);
    return bd_philox_uniform(words[0]) + 0x1p-25;
}

/* Box and Muller, 1958. */
static double draw_normal(stream *self)
{
    const double radius = sqrt(-2 * log(draw_uniform(self)));
    return radius * cos(6.283185307179586 * draw_uniform(self));
}

/* The gamma distribution of shape `alpha` (Marsaglia and Tsang, ACM Transactions on Mathematical Software 26, 2000). */
static double draw_gamma(stream *self, double alpha)
{
    if (alpha < 1) { /* their note on small shapes */
        const double larger = draw_gamma(self, alpha + 1);
        return larger * pow(draw_uniform(self), 1 / alpha);
    }
    const double d = alpha - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        const double x = draw_normal(self), v = pow(1 + c * x, 3);
        if (v > 0 && log(draw_uniform(self)) < 0.5 * x * x + d - d * v + d * log(v))
            return d * v;
    }
}

/* ---- shares ---- */

/* Gives the images of a class, in the order of `order`, to clients one after another, as far as each one's share
 * goes. */
static void divide_class(const bd_dataset *dataset, int class, const uint32_t *order, const double *shares,
                         int64_t clients, int64_t *owner)
{
    int64_t size = 0, dealt = 0, client = 0;
    double sum = 0, until = shares[0];
    for (int64_t i = 0; i < dataset->train.count; i++)
        size += dataset->train.labels[i] == class;
    for (int64_t k = 0; k < clients; k++)
        sum += shares[k];
    for (int64_t i = 0; i < dataset->train.count; i++) {
        if (dataset->train.labels[order[i]] != class)
            continue;
        const double place = ((double)dealt++ + 0.5) / (double)size * sum;
        while (place > until && client + 1 < clients)
            until += shares[++client];
        owner[order[i]] = client;
    }
}

/* A client without an image takes one of who has most. */
static void help_the_poor(int64_t count, int64_t clients, int64_t *owner, int64_t *sizes)
{
    for (int64_t k = 0; k < clients; k++) {
        int64_t richest = 0, i = 0;
        if (sizes[k])
            continue;
        for (int64_t other = 1; other < clients; other++)
            richest = sizes[other] > sizes[richest] ? other : richest;
        while (i < count - 1 && owner[i] != richest)
            i++;
        owner[i] = k;
        sizes[richest]--;
        sizes[k]++;
    }
}

bd_status deal_examples(const bd_dataset *dataset, int64_t clients, double alpha, uint64_t seed, uint32_t *examples,
                        int64_t *first, bd_error *error)
{
    const int64_t count = dataset->train.count;
    stream numbers = { .seed = seed };
    int64_t *owner = calloc((size_t)count, sizeof *owner), *sizes = calloc((size_t)clients + 1, sizeof *sizes);
    double *shares = calloc((size_t)clients, sizeof *shares);
    uint32_t *order = calloc((size_t)count, sizeof *order);
    bd_status status = owner && sizes && shares && order
                           ? BD_OK
                           : bd_fail(error, BD_ERROR_MEMORY, "no memory to deal out %lld examples", (long long)count);
    if (!status) {
        bd_feed_shuffle(seed, 0, order, count);
        for (int64_t i = 0; i < count; i++)
            owner[order[i]] = i * clients / count;
        for (int class = 0; class < dataset->classes && alpha > 0; class ++) {
            for (int64_t k = 0; k < clients; k++)
                shares[k] = draw_gamma(&numbers, alpha);
            divide_class(dataset, class, order, shares, clients, owner);
        }
        for (int64_t i = 0; i < count; i++)
            sizes[owner[i]]++;
        help_the_poor(count, clients, owner, sizes);
        first[0] = 0;
        for (int64_t k = 0; k < clients; k++)
            first[k + 1] = first[k] + sizes[k];
        for (int64_t i = count; i-- > 0;) /* from the end, by counting sizes down again */
            examples[first[owner[order[i]]] + --sizes[owner[order[i]]]] = order[i];
    }
    free(owner);
    free(sizes);
    free(shares);
    free(order);
    return status;
}
