/*
 * snapshot.c - reference counting of snapshots, the memory in them, and what
 * one shows otherwise than the one before.
 *
 * The slot's mutex covers only "read the pointer and take a reference"; that
 * is what makes it safe to free a snapshot when its last reader is done.
 * Everything in a snapshot lives in one chain of blocks, freed in one go.
 */
#include "coordinator/snapshot.h"

#include "base/locks.h"
#include "base/mem.h"

#include <stdlib.h>
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

    assert(size >= ARENA_BLOCK);
    a->next = next;
    a->used = 0;
    a->size = size;
    return a;
}

struct snapshot *coordinator_snapshot_new(void)
{
    struct snapshot *s = mem_zalloc(sizeof(*s));

    s->refs = 1;
    s->arena = arena_block(ARENA_BLOCK, NULL);
    assert(s->arena->used == 0);
    return s;
}

void *coordinator_snapshot_alloc(struct snapshot *s, size_t size)
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
    assert(s->arena->used <= s->arena->size);
    return p;
}

const char *coordinator_snapshot_str(struct snapshot *s, const char *text)
{
    size_t n = strlen(text) + 1;

    assert(text != NULL);
    if (n == 1)
        return "";
    return memcpy(coordinator_snapshot_alloc(s, n), text, n);
}

static void snapshot_unref(struct snapshot *s)
{
    struct snapshot_arena *a;

    assert(s->arena != NULL);
    if (__atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    while ((a = s->arena) != NULL) {
        s->arena = a->next;
        mem_free(a);
    }
    mem_free(s);
}

void coordinator_snapshot_release(struct snapshot **s)
{
    if (*s != NULL)
        snapshot_unref(*s);
    *s = NULL;
}

struct snapshot_slot *coordinator_snapshot_slot_new(void)
{
    struct snapshot_slot *slot = mem_zalloc(sizeof(*slot));
    int rc = pthread_mutex_init(&slot->mutex, NULL);

    assert(rc == 0);
    (void)rc;
    return slot;
}

void coordinator_snapshot_slot_free(struct snapshot_slot **slot)
{
    if (*slot == NULL)
        return;
    coordinator_snapshot_release(&(*slot)->current);
    pthread_mutex_destroy(&(*slot)->mutex);
    MEM_FREE(*slot);
}

void coordinator_snapshot_publish(struct snapshot_slot *slot,
                                  struct snapshot *s)
{
    struct snapshot *old;

    assert(s->refs == 1);
    lock_acquire(&slot->mutex);
    old = slot->current;
    slot->current = s;
    lock_release(&slot->mutex);
    coordinator_snapshot_release(&old);
}

struct snapshot *coordinator_snapshot_acquire(struct snapshot_slot *slot)
{
    struct snapshot *s;

    lock_acquire(&slot->mutex);
    s = slot->current;
    if (s != NULL)
        __atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
    lock_release(&slot->mutex);
    return s;
}

/* Their order in a snapshot. */
static int compare_nodes(const void *a, const void *b)
{
    const struct coordinator_snapshot_node *x = a, *y = b;

    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    return strcmp(x->address, y->address);
}

const struct coordinator_snapshot_node *
coordinator_snapshot_node(const struct snapshot *s, enum node_kind kind,
                          const char *address)
{
    struct coordinator_snapshot_node key = {.kind = kind, .address = address};

    assert(s->nodes != NULL);
    return bsearch(&key, s->nodes, s->n_nodes, sizeof(key), compare_nodes);
}

uint64_t coordinator_snapshot_index(const struct snapshot *s, bool membership,
                                    enum node_kind kind, const char *address)
{
    const struct coordinator_snapshot_node *n;
    uint64_t index = 0;

    assert(kind <= NODE_KINDS);
    assert(kind < NODE_KINDS || address == NULL);
    if (address != NULL) {
        n = coordinator_snapshot_node(s, kind, address);
        return n == NULL ? 0 : membership ? n->seen.membership : n->seen.all;
    }
    if (kind < NODE_KINDS)
        return membership ? s->seen[kind].membership : s->seen[kind].all;
    for (int k = 0; membership && k < NODE_KINDS; k++)
        if (s->seen[k].membership > index)
            index = s->seen[k].membership;
    return membership ? index : s->index;
}

static int compare_groups(const void *a, const void *b)
{
    const struct coordinator_snapshot_group *x = a, *y = b;

    return strcmp(x->name, y->name);
}

const struct coordinator_snapshot_group *
coordinator_snapshot_group(const struct snapshot *s, const char *name)
{
    struct coordinator_snapshot_group key = {.name = name};

    assert(s->n_groups > 0); /* the first is "default" */
    if (strcmp(name, s->groups[0].name) == 0)
        return &s->groups[0];
    return bsearch(&key, s->groups + 1, s->n_groups - 1, sizeof(key),
                   compare_groups);
}

/* --- what changed ---------------------------------------------------------
 *
 * What a long poll waits for is a difference that its client can see, so it is
 * found by comparing what two snapshots say, and no event needs to know who may
 * be waiting for it. A node that goes leaves its mark on its kind.
 */

static bool same_texts(const char *const *a, size_t n_a, const char *const *b,
                       size_t n_b)
{
    assert(n_a == 0 || a != NULL);
    if (n_a != n_b)
        return false;
    for (size_t i = 0; i < n_a; i++)
        if (strcmp(a[i], b[i]) != 0)
            return false;
    return true;
}

static bool same_process(const struct process *a, const struct process *b)
{
    return a->known == b->known && a->created == b->created &&
           a->startup_time == b->startup_time && a->process_id == b->process_id;
}

/* Who it is, and whether it may be given work. */
static bool same_member(const struct coordinator_snapshot_node *a,
                        const struct coordinator_snapshot_node *b)
{
    assert(a->kind == b->kind);
    return a->state == b->state && same_process(&a->process, &b->process) &&
           same_texts(a->groups, a->n_groups, b->groups, b->n_groups) &&
           a->gate == b->gate && a->cordoned == b->cordoned &&
           a->gate_left == b->gate_left &&
           same_process(&a->gate_process, &b->gate_process) &&
           strcmp(a->gate_who, b->gate_who) == 0 &&
           strcmp(a->gate_reason, b->gate_reason) == 0;
}

static bool same_load(const struct load *a, const struct load *b)
{
    return a->cpu == b->cpu && a->memory == b->memory && a->disk == b->disk &&
           a->pool == b->pool && a->slots == b->slots && a->weight == b->weight;
}

static bool same_report(const struct coordinator_snapshot_node *a,
                        const struct coordinator_snapshot_node *b)
{
    assert(a->kind == b->kind);
    return a->status == b->status && a->degraded == b->degraded &&
           same_load(&a->load, &b->load) && a->owned == b->owned &&
           a->last_report == b->last_report &&
           strcmp(a->report, b->report) == 0 && a->flaps == b->flaps &&
           same_texts(a->problems, a->n_problems, b->problems, b->n_problems);
}

/* `b`: the same node before, or NULL. */
static void mark(struct snapshot *s, struct coordinator_snapshot_node *n,
                 const struct coordinator_snapshot_node *b, uint64_t index)
{
    struct snapshot_seen *kind = &s->seen[n->kind];
    bool member = b != NULL && same_member(n, b);
    bool all = member && same_report(n, b);

    assert(b == NULL || b->kind == n->kind);
    n->seen.membership = member ? b->seen.membership : index;
    n->seen.all = all ? b->seen.all : index;
    if (!member)
        kind->membership = index;
    if (!all)
        kind->all = index;
}

bool coordinator_snapshot_mark_changes(struct snapshot *s,
                                       const struct snapshot *before,
                                       uint64_t index)
{
    size_t n_before = before != NULL ? before->n_nodes : 0, i = 0, j = 0;
    bool any = false;

    assert(before == NULL || index > before->index);
    for (int k = 0; k < NODE_KINDS; k++)
        s->seen[k] = before != NULL ? before->seen[k]
                                    : (struct snapshot_seen){index, index};
    while (i < s->n_nodes || j < n_before) {
        int c = i == s->n_nodes ? 1
                : j == n_before
                    ? -1
                    : compare_nodes(&s->nodes[i], &before->nodes[j]);

        if (c <= 0)
            mark(s, &s->nodes[i++], c == 0 ? &before->nodes[j++] : NULL, index);
        else
            s->seen[before->nodes[j++].kind] =
                (struct snapshot_seen){index, index};
    }
    for (int k = 0; k < NODE_KINDS; k++)
        any |= s->seen[k].all == index;
    return any;
}
