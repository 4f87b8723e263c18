/*
 * hash.h - uthash on the program's own allocator: whoever keeps a hash table
 * includes this.
 */
#ifndef PELORUS_BASE_HASH_H
#define PELORUS_BASE_HASH_H

#include "base/mem.h"

#define uthash_malloc(size)    mem_alloc(size)
#define uthash_free(ptr, size) mem_free(ptr)
#include <uthash.h>

#endif
