/*
 * snapshot.c - reference counting of snapshots, and the memory in them.
 *
 * The slot's mutex covers only "read the pointer and take a reference"; that
 * is what makes it safe to free a snapshot when its last reader is done.
 * What a snapshot has for itself lives in one chain of blocks, freed in one go.
 * What it shares with others is freed with the last of those that have it: each
 * snapshot keeps what the next one does without, and refers to the next one, so
 * that it goes after all that are older. A reader that keeps one for long keeps
 * those after it, too.
 */
#include "coordinator/snapshot.h"

#include "base/locks.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define ARENA_BLOCK (4 * 1024)

struct snapshot_arena {
    struct snapshot_arena *next;
    size_t used, size;
    max_align_t data[];
};

struct snapshot_slot {
    pthread_mutex_t mutex; /* "snapshot" in base/locks.h */
    struct snapshot *current;
    int64_t as_of;  /* atomic: the current one's, and 1 if it is stale */
    void **retired; /* by the loop, since that was published */
    size_t n_retired, cap_retired;
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
    assert(s->arena == NULL);
    return s;
}

void *coordinator_snapshot_arena_alloc(struct snapshot_arena **a, size_t size)
{
    const size_t align = sizeof(max_align_t);
    size_t need = (size + align - 1) / align * align;
    void *p;

    assert(need >= size);
    if (*a == NULL || (*a)->size - (*a)->used < need)
        *a = arena_block(need > ARENA_BLOCK ? need : ARENA_BLOCK, *a);
    p = (char *)(*a)->data + (*a)->used;
    (*a)->used += need;
    memset(p, 0, size);
    assert((*a)->used <= (*a)->size);
    return p;
}

const char *coordinator_snapshot_arena_str(struct snapshot_arena **a,
                                           const char *text)
{
    size_t n = strlen(text) + 1;

    assert(a != NULL);
    if (n == 1)
        return "";
    return memcpy(coordinator_snapshot_arena_alloc(a, n), text, n);
}

void *coordinator_snapshot_alloc(struct snapshot *s, size_t size)
{
    return coordinator_snapshot_arena_alloc(&s->arena, size);
}

const char *coordinator_snapshot_str(struct snapshot *s, const char *text)
{
    return coordinator_snapshot_arena_str(&s->arena, text);
}

/* Nobody refers to it, or to an older one. */
static void snapshot_free(struct snapshot *s)
{
    struct snapshot_arena *a;

    assert(s->n_retired == 0 || s->retired != NULL);
    while ((a = s->arena) != NULL) {
        s->arena = a->next;
        mem_free(a);
    }
    for (size_t i = 0; i < s->n_retired; i++)
        mem_free(s->retired[i]);
    mem_free(s->retired);
    mem_free(s);
}

static void snapshot_unref(struct snapshot *s)
{
    while (s != NULL &&
           __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        struct snapshot *next = s->next;

        assert(next != s);
        snapshot_free(s);
        s = next;
    }
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

    lock_init(&slot->mutex);
    return slot;
}

void coordinator_snapshot_retire(struct snapshot_slot *slot, void *block)
{
    assert(block != NULL);
    if (slot->n_retired == slot->cap_retired) {
        slot->cap_retired = slot->cap_retired > 0 ? slot->cap_retired * 2 : 16;
        slot->retired =
            mem_regrow(slot->retired, slot->cap_retired, sizeof(void *));
    }
    slot->retired[slot->n_retired++] = block;
}

void coordinator_snapshot_retire_arena(struct snapshot_slot *slot,
                                       struct snapshot_arena **a)
{
    for (struct snapshot_arena *b = *a; b != NULL; b = b->next)
        coordinator_snapshot_retire(slot, b);
    *a = NULL;
}

/* The present one is the last that has them; its other references are readers',
 * who do not look at this. */
static void hand_over(struct snapshot_slot *slot, struct snapshot *last)
{
    assert(last->retired == NULL);
    last->retired = slot->retired;
    last->n_retired = slot->n_retired;
    slot->retired = NULL;
    slot->n_retired = slot->cap_retired = 0;
}

void coordinator_snapshot_slot_free(struct snapshot_slot **slot)
{
    if (*slot == NULL)
        return;
    assert((*slot)->current != NULL || (*slot)->n_retired == 0);
    if ((*slot)->current != NULL)
        hand_over(*slot, (*slot)->current);
    coordinator_snapshot_release(&(*slot)->current);
    pthread_mutex_destroy(&(*slot)->mutex);
    MEM_FREE(*slot);
}

void coordinator_snapshot_publish(struct snapshot_slot *slot,
                                  struct snapshot *s)
{
    struct snapshot *old = slot->current; /* only this thread changes it */

    assert(s->refs == 1);
    assert(s->next == NULL);
    assert(old != NULL || slot->n_retired == 0);
    if (old != NULL) {
        hand_over(slot, old);
        old->next = s;
        s->refs++;
    }
    lock_acquire(&slot->mutex);
    slot->current = s;
    lock_release(&slot->mutex);
    __atomic_store_n(&slot->as_of, s->as_of * 2 + s->stale, __ATOMIC_RELEASE);
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

wall_ms coordinator_snapshot_as_of(const struct snapshot_slot *slot,
                                   bool *stale)
{
    int64_t as_of = __atomic_load_n(&slot->as_of, __ATOMIC_ACQUIRE);

    assert(as_of >= 0);
    *stale = (as_of & 1) != 0;
    return as_of / 2;
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

/* --- a node in one block ------------------------------------------------- */

const char *const coordinator_snapshot_only_default[] = {"default"};
const struct coordinator_snapshot_odd coordinator_snapshot_not_odd = {
    .gate = {.who = "", .reason = ""}};

const char *coordinator_report_name(enum report_age age)
{
    static const char *const names[] = {"fresh", "late", "stale"};

    assert(age <= REPORT_STALE);
    return names[age];
}

static size_t text_room(const char *text)
{
    return text[0] != '\0' ? strlen(text) + 1 : 0;
}

static size_t list_room(const char *const *list, size_t n)
{
    size_t room = n * sizeof(char *);

    assert(n == 0 || list != NULL);
    if (list == coordinator_snapshot_only_default)
        return 0;
    for (size_t i = 0; i < n; i++)
        room += text_room(list[i]);
    return room;
}

static const char *text_put(char **at, const char *text)
{
    size_t n = text_room(text);
    char *to = *at;

    if (n == 0)
        return "";
    *at += n;
    return memcpy(to, text, n);
}

static size_t odd_room(const struct coordinator_snapshot_odd *o)
{
    return o == &coordinator_snapshot_not_odd
               ? 0
               : sizeof(*o) + text_room(o->gate.who) +
                     text_room(o->gate.reason) +
                     list_room(o->problems, o->n_problems);
}

/* It and the pointers first: they are aligned there. */
static const char **list_begin(char **at, const char *const *list, size_t n)
{
    const char **to = (const char **)(void *)*at;

    assert((uintptr_t)to % sizeof(char *) == 0);
    if (n == 0 || list == coordinator_snapshot_only_default)
        return NULL;
    *at += n * sizeof(char *);
    return to;
}

static const char *const *list_fill(char **at, const char **to,
                                    const char *const *list, size_t n)
{
    assert(to != NULL || n == 0 || list == coordinator_snapshot_only_default);
    for (size_t i = 0; to != NULL && i < n; i++)
        to[i] = text_put(at, list[i]);
    return list == coordinator_snapshot_only_default
               ? coordinator_snapshot_only_default
               : to;
}

struct coordinator_snapshot_node *
coordinator_snapshot_node_new(const struct coordinator_snapshot_node *from)
{
    size_t room = sizeof(*from) + text_room(from->address) +
                  odd_room(from->odd) + list_room(from->groups, from->n_groups);
    struct coordinator_snapshot_node *n = mem_alloc(room);
    char *at = (char *)(n + 1);
    struct coordinator_snapshot_odd *odd = NULL;
    const char **groups, **problems = NULL;

    *n = *from;
    if (from->odd != &coordinator_snapshot_not_odd) {
        odd = memcpy(at, from->odd, sizeof(*odd));
        at += sizeof(*odd);
        problems = list_begin(&at, odd->problems, odd->n_problems);
    }
    groups = list_begin(&at, from->groups, from->n_groups);
    n->groups = list_fill(&at, groups, from->groups, from->n_groups);
    n->address = text_put(&at, from->address);
    if (odd != NULL) {
        odd->problems =
            list_fill(&at, problems, odd->problems, odd->n_problems);
        odd->gate.who = text_put(&at, odd->gate.who);
        odd->gate.reason = text_put(&at, odd->gate.reason);
        n->odd = odd;
    }
    assert(at == (char *)n + room);
    return n;
}

/* --- who is alive -------------------------------------------------------- */

/* Its place among the groups. */
static size_t place_of(const struct snapshot *s, const char *group)
{
    const struct coordinator_snapshot_group *g =
        coordinator_snapshot_group(s, group);

    assert(g != NULL); /* each that a node carries is listed */
    return (size_t)(g - s->groups);
}

static void alive_add(struct snapshot_alive *to, const char *address)
{
    assert(to->n <= to->cap);
    if (to->n == to->cap) {
        to->cap = to->cap > 0 ? to->cap * 2 : 8;
        to->addresses =
            mem_regrow(to->addresses, to->cap, sizeof(*to->addresses));
    }
    to->addresses[to->n++] = address;
}

void coordinator_snapshot_alive(const struct snapshot *s, size_t from, size_t n,
                                struct snapshot_alive *out)
{
    const struct coordinator_snapshot_node *node;
    struct snapshot_walk w;

    assert(from + n <= s->n_groups);
    memset(out, 0, n * sizeof(*out));
    coordinator_snapshot_walk(&w, s, NODE_WORKER, "");
    coordinator_snapshot_only(&w, 1U << NODE_UP, 0,
                              n == 1 ? s->groups[from].name : NULL);
    while ((node = coordinator_snapshot_next(&w)) != NULL &&
           node->kind == NODE_WORKER) {
        for (size_t i = 0; i < node->n_groups; i++) {
            size_t at = place_of(s, node->groups[i]);

            if (at >= from && at - from < n)
                alive_add(&out[at - from], node->address);
        }
    }
}

void coordinator_snapshot_alive_close(struct snapshot_alive *alive, size_t n)
{
    assert(n == 0 || alive != NULL);
    for (size_t i = 0; i < n; i++)
        MEM_FREE(alive[i].addresses);
}
