/*
 * slab.c - pieces of one size from blocks of their own. Before each stands
 * which block it is of.
 */
#include "base/map/slab.h"

#include "base/mem.h"

#include <string.h>
#include <utlist.h>

#define BLOCK ((size_t)64 * 1024)
#define ALIGN _Alignof(max_align_t)

struct piece {
    struct slab_block *block;
    _Alignas(max_align_t) struct piece *next; /* the user's; while free ours */
};

struct slab_block {
    struct slab_block *prev, *next; /* of those with room */
    struct piece *free;             /* of those that were given back */
    size_t used, fresh;             /* in use; never used, at the end */
    _Alignas(max_align_t) char bytes[];
};

/* From one piece to the next. */
static size_t step(const struct slab *s)
{
    size_t n = offsetof(struct piece, next) + s->size;

    if (n < sizeof(struct piece))
        n = sizeof(struct piece);
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

static size_t capacity(const struct slab *s)
{
    return (BLOCK - sizeof(struct slab_block)) / step(s);
}

static struct slab_block *block_new(struct slab *s)
{
    struct slab_block *b = mem_alloc(BLOCK);

    assert(s->size > 0 && s->size <= SLAB_PIECE_MAX);
    *b = (struct slab_block){.fresh = capacity(s)};
    DL_APPEND(s->roomy, b);
    return b;
}

void *slab_take(struct slab *s)
{
    struct slab_block *b = s->roomy != NULL ? s->roomy : block_new(s);
    struct piece *p = b->free;

    if (p != NULL) {
        b->free = p->next;
    } else {
        assert(b->fresh > 0);
        p = (struct piece *)(void *)(b->bytes +
                                     (capacity(s) - b->fresh) * step(s));
        p->block = b;
        b->fresh--;
    }
    b->used++;
    if (b->used == capacity(s))
        DL_DELETE(s->roomy, b);
    return memset(&p->next, 0, s->size);
}

void slab_give(struct slab *s, void *piece)
{
    struct piece *p;
    struct slab_block *b;

    if (piece == NULL)
        return;
    p = CONTAINER_OF(piece, struct piece, next);
    b = p->block;
    assert(b->used > 0);
    if (b->used == capacity(s))
        DL_PREPEND(s->roomy, b);
    p->next = b->free;
    b->free = p;
    if (--b->used > 0)
        return;
    DL_DELETE(s->roomy, b);
    mem_free(b);
}
