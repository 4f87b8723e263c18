/*
 * slab.h - pieces of one size from blocks of their own.
 *
 * For what comes in a flood and goes again while things that stay are made
 * beside it: from the common heap it would leave a hole between any two of
 * them, and no page of those could go back. Here a block goes when the last of
 * its pieces went. Not for two threads at once.
 */
#ifndef PELORUS_BASE_MAP_SLAB_H
#define PELORUS_BASE_MAP_SLAB_H

#include "base/compiler.h"

struct slab_block;

struct slab {
    size_t size;              /* of a piece, bytes: 1 .. SLAB_PIECE_MAX */
    struct slab_block *roomy; /* blocks that have room; others are known by
                                 their pieces alone */
};

#define SLAB_PIECE_MAX 1024

/* `s` with size set and the rest zero. Zeroed, aligned for anything. */
void *slab_take(struct slab *s) MUST_CHECK;
/* Of the same slab; NULL is fine. With the last one it holds nothing. */
void slab_give(struct slab *s, void *piece);

#endif
