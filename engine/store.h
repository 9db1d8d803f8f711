/* What a program needs of a store beyond its interface in program.h. */
#ifndef BINADE_ENGINE_STORE_H
#define BINADE_ENGINE_STORE_H

#include "program.h"

bd_device *bd_store_device(const bd_store *store);
/* NULL while none is reserved. */
bd_buffer *bd_store_arena(const bd_store *store);
uint64_t bd_store_arena_bytes(const bd_store *store);

#endif
