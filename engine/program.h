/* Variables on a device, and compiled graphs that run on them. */
#ifndef BINADE_ENGINE_PROGRAM_H
#define BINADE_ENGINE_PROGRAM_H

#include "../backends/backend.h"

/* ---- the store: every variable of a model on one device, shared by its programs by name ---- */
typedef struct bd_store bd_store;

bd_status bd_store_create(bd_device *device, bd_store **store, bd_error *error);
void bd_store_destroy(bd_store **store);
/* Allocates the graph's variables that the store has not yet. Shapes and formats must agree with those it has. New ones
 * are initialised by their bd_init: numbers by Philox from (seed, hash of the name, element) in double, rounded to F32
 * and then to the format, so the same on every device and in every format. Parts of a base share its memory. */
bd_status bd_store_add(bd_store *store, const bd_graph *graph, uint64_t seed, bd_error *error);
/* Those numbers, rounded to F32: what bd_store_add gives a new variable of that name. */
void bd_init_values(const char *variable, const bd_init *init, uint64_t seed, double *values, size_t count);

typedef struct bd_store_entry {
    const char *name;
    bd_format format;
    bd_role role;
    bd_shape shape;
    bd_binding binding;
    bool is_part; /* lies in another entry's memory */
} bd_store_entry;
/* NULL if there is none; valid until the next bd_store_add. */
const bd_store_entry *bd_store_find(const bd_store *store, const char *name);
size_t bd_store_count(const bd_store *store);
const bd_store_entry *bd_store_at(const bd_store *store, size_t index);

/* Whole variable, raw storage bytes (elements * format size); waits. */
bd_status bd_store_read(bd_store *store, const char *name, void *data, uint64_t size, bd_error *error);
bd_status bd_store_write(bd_store *store, const char *name, const void *data, uint64_t size, bd_error *error);
/* The same as doubles. */
bd_status bd_store_read_values(bd_store *store, const char *name, double *values, size_t count, bd_error *error);
bd_status bd_store_write_values(bd_store *store, const char *name, const double *values, size_t count, bd_error *error);
/* A part of a variable, `offset` and `size` in bytes; see bd_backend.buffer_write and buffer_read for `event`. */
bd_status bd_store_write_part(bd_store *store, const char *name, uint64_t offset, const void *data, uint64_t size,
                              bd_event **event, bd_error *error);
bd_status bd_store_read_part(bd_store *store, const char *name, uint64_t offset, void *data, uint64_t size,
                             bd_event **event, bd_error *error);

/* ---- programs ---- */
typedef struct bd_program bd_program;

/* Makes sure that the store's arena, which its programs share since they never run at the same time, has this many
 * bytes. Call it with the largest plan's arena_bytes before the first program is created. */
bd_status bd_store_reserve_arena(bd_store *store, uint64_t bytes, bd_error *error);
/* Gives the arena back, so that a larger one can be reserved; no program of this store may exist. */
void bd_store_free_arena(bd_store *store);

/* Adds missing variables to the store (seed as in bd_store_add), reserves the arena if nobody did, prints, compiles and
 * records the plan's kernels. The plan was made with the device's target; the program owns it from here, also on
 * failure, and *plan becomes NULL. `progress` may be NULL. */
bd_status bd_program_create(bd_store *store, bd_plan **plan, uint64_t seed,
                            void (*progress)(void *user, int done, int total), void *user, bd_program **program,
                            bd_error *error);
void bd_program_destroy(bd_program **program);
/* Enqueues; does not wait. */
bd_status bd_program_run(bd_program *program, uint32_t repeats, bd_error *error);
/* Waits for all of the device's work. */
bd_status bd_program_finish(bd_program *program, bd_error *error);
const bd_plan *bd_program_plan(const bd_program *program);
/* Nanoseconds of each kernel of the plan in one run; BD_ERROR_UNSUPPORTED where the backend has no clock. */
bd_status bd_program_profile(bd_program *program, uint64_t *nanoseconds, bd_error *error);

#endif
