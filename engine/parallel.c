#include "parallel.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

enum { MOST_THREADS = 16 };

typedef struct loop {
    int64_t count;
    bd_status (*work)(void *user, int64_t i, bd_error *error);
    void *user;
    atomic_llong next, done;
    pthread_mutex_t lock; /* of what follows */
    int64_t failed_at;
    bd_status status;
    bd_error *error;
} loop;

static void note_failure(loop *self, int64_t i, bd_status status, const bd_error *error)
{
    pthread_mutex_lock(&self->lock);
    if (self->status == BD_OK || i < self->failed_at) {
        self->failed_at = i;
        self->status = status;
        if (self->error)
            *self->error = *error;
    }
    pthread_mutex_unlock(&self->lock);
    /* Nothing new begins. What began before i goes on, so the lowest failure is always found. */
    atomic_store(&self->next, self->count);
}

static bool take_one(loop *self)
{
    const int64_t i = atomic_fetch_add(&self->next, 1);
    if (i >= self->count)
        return false;
    bd_error error = { 0 };
    bd_status status = self->work(self->user, i, &error);
    if (status)
        note_failure(self, i, status, &error);
    atomic_fetch_add(&self->done, 1);
    return true;
}

static void *run(void *user)
{
    while (take_one(user))
        continue;
    return NULL;
}

bd_status bd_parallel(int64_t count, int threads, bd_status (*work)(void *user, int64_t i, bd_error *error), void *user,
                      void (*progress)(void *user, int64_t done, int64_t total), bd_error *error)
{
    loop self = { .count = count, .work = work, .user = user, .error = error, .lock = PTHREAD_MUTEX_INITIALIZER };
    pthread_t helpers[MOST_THREADS];
    int started = 0;
    if (threads <= 0)
        threads = (int)sysconf(_SC_NPROCESSORS_ONLN);
    /* A thread that cannot be started is work for the others. */
    while (started < threads - 1 && started < MOST_THREADS && started < count - 1 &&
           pthread_create(&helpers[started], NULL, run, &self) == 0)
        started++;
    while (take_one(&self))
        if (progress)
            progress(user, atomic_load(&self.done), count);
    for (int i = 0; i < started; i++)
        pthread_join(helpers[i], NULL);
    pthread_mutex_destroy(&self.lock);
    return self.status;
}
