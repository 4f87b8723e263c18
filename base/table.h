/*
 * table.h - hash tables: uthash (https://troydhanson.github.io/uthash), with
 * the memory of mem.h. Not for two threads at once.
 */
#ifndef PELORUS_BASE_TABLE_H
#define PELORUS_BASE_TABLE_H

#include "base/mem.h"

#define uthash_malloc(size)    mem_alloc(size)
#define uthash_free(ptr, size) mem_free(ptr)
#include <uthash.h>

#endif
