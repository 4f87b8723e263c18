/*
 * snapshot.c - reference counting of snapshots, and the memory in them.
 *
 * The slot's mutex covers only "read the pointer and take a reference"; that
 * is what makes it safe to free a snapshot when its last reader is done.
 * Everything in a snapshot lives in one chain of blocks, freed in one go.
 */
#include "coordinator/snapshot.h"

#include "base/locks.h"
#include "base/mem.h"

#include <string.h>

#define ARENA_BLOCK (64 * 1024)

struct snapshot_arena {
    struct snapshot_arena *next;
    size_t used, size;
    max_align_t data[];
};

struct snapshot_slot {
    pthread_mutex_t mutex; /* "snapshot" in base/locks.h */
    struct snapshot *current;
};

static struct snapshot_arena *arena_block(size_t size,
                                          struct snapshot_arena *next)
{
    struct snapshot_arena *a = mem_alloc(sizeof(*a) + size);

    a->next = next;
    a->used = 0;
    a->size = size;
    return a;
}

struct snapshot *snapshot_new(void)
{
    struct snapshot *s = mem_zalloc(sizeof(*s));

    s->refs = 1;
    s->arena = arena_block(ARENA_BLOCK, NULL);
    return s;
}

void *snapshot_alloc(struct snapshot *s, size_t size)
{
    const size_t align = sizeof(max_align_t);
    size_t need = (size + align - 1) / align * align;
    void *p;

    assert(need >= size);
    if (s->arena->size - s->arena->used < need)
        s->arena =
            arena_block(need > ARENA_BLOCK ? need : ARENA_BLOCK, s->arena);
    p = (char *)s->arena->data + s->arena->used;
    s->arena->used += need;
    memset(p, 0, size);
    return p;
}

const char *snapshot_str(struct snapshot *s, const char *text)
{
    size_t n = strlen(text) + 1;

    return memcpy(snapshot_alloc(s, n), text, n);
}

static void snapshot_unref(struct snapshot *s)
{
    struct snapshot_arena *a;

    if (__atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    while ((a = s->arena) != NULL) {
        s->arena = a->next;
        mem_free(a);
    }
    mem_free(s);
}

void snapshot_release(struct snapshot **s)
{
    if (*s != NULL)
        snapshot_unref(*s);
    *s = NULL;
}

struct snapshot_slot *snapshot_slot_new(void)
{
    struct snapshot_slot *slot = mem_zalloc(sizeof(*slot));
    int rc = pthread_mutex_init(&slot->mutex, NULL);

    assert(rc == 0);
    (void)rc;
    return slot;
}

void snapshot_slot_free(struct snapshot_slot **slot)
{
    if (*slot == NULL)
        return;
    snapshot_release(&(*slot)->current);
    pthread_mutex_destroy(&(*slot)->mutex);
    MEM_FREE(*slot);
}

void snapshot_publish(struct snapshot_slot *slot, struct snapshot *s)
{
    struct snapshot *old;

    assert(s->refs == 1);
    lock_acquire(&slot->mutex);
    old = slot->current;
    slot->current = s;
    lock_release(&slot->mutex);
    snapshot_release(&old);
}

struct snapshot *snapshot_acquire(struct snapshot_slot *slot)
{
    struct snapshot *s;

    lock_acquire(&slot->mutex);
    s = slot->current;
    if (s != NULL)
        __atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
    lock_release(&slot->mutex);
    return s;
}

const struct snapshot_node *snapshot_node(const struct snapshot *s,
                                          enum node_kind kind,
                                          const char *address)
{
    size_t low = 0, high = s->n_nodes;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const struct snapshot_node *n = &s->nodes[mid];
        int c = n->kind != kind ? (n->kind < kind ? -1 : 1)
                                : strcmp(n->address, address);

        if (c == 0)
            return n;
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

uint64_t snapshot_index(const struct snapshot *s, bool membership,
                        enum node_kind kind, const char *address)
{
    const struct snapshot_node *n;
    uint64_t index = 0;

    if (address != NULL) {
        n = snapshot_node(s, kind, address);
        return n == NULL ? 0 : membership ? n->seen.membership : n->seen.all;
    }
    if (kind < NODE_KINDS)
        return membership ? s->seen[kind].membership : s->seen[kind].all;
    for (int k = 0; membership && k < NODE_KINDS; k++)
        if (s->seen[k].membership > index)
            index = s->seen[k].membership;
    return membership ? index : s->index;
}

const struct snapshot_group *snapshot_group(const struct snapshot *s,
                                            const char *name)
{
    size_t low = 1, high = s->n_groups; /* [0] is "default" */

    if (s->n_groups > 0 && strcmp(name, s->groups[0].name) == 0)
        return &s->groups[0];
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = strcmp(s->groups[mid].name, name);

        if (order == 0)
            return &s->groups[mid];
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}
