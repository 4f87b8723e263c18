/*
 * tree.c - the tournament tree behind the ledger and the weighted policies.
 *
 * One block of memory holds all levels, each padded to whole cache lines with
 * TREE_NONE, so that no loop has a special last node.
 */
#include "balancer/tree_priv.h"

#include "base/mem.h"

#include <string.h>

static uint32_t padded(uint32_t n)
{
    assert(n > 0);
    return (n + TREE_ARITY - 1) / TREE_ARITY * TREE_ARITY;
}

static void repair(struct tree *t, uint32_t from, uint32_t to);

void balancer_tree_close(struct tree *t)
{
    assert(t->n_levels == 0 || t->level[0] != NULL);
    mem_free(t->level[0]);
    *t = (struct tree){0};
}

void balancer_tree_resize(struct tree *t, uint32_t slots)
{
    struct tree new = {0};
    size_t total = 0;
    uint32_t size = padded(slots > 0 ? slots : 1);

    assert(slots <= TREE_SLOTS_MAX);
    for (;;) {
        assert(new.n_levels < TREE_LEVELS);
        new.size[new.n_levels++] = size;
        total += size;
        if (size == TREE_ARITY)
            break;
        size = padded(size / TREE_ARITY);
    }
    uint64_t *at = mem_lines(total * sizeof(uint64_t));
    memset(at, 0xff, total * sizeof(uint64_t));
    for (uint32_t l = 0; l < new.n_levels; l++) {
        new.level[l] = at;
        at += new.size[l];
    }
    if (t->n_levels > 0) {
        uint32_t keep = t->size[0] < new.size[0] ? t->size[0] : new.size[0];

        memcpy(new.level[0], t->level[0], keep * sizeof(uint64_t));
        repair(&new, 0, keep);
    }
    balancer_tree_close(t);
    *t = new;
    assert(t->n_levels > 0);
}

/* Written so that the compiler needs no branch: which child wins is what no
 * processor can predict. */
static inline uint64_t lesser(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t smallest(const uint64_t *line)
{
    return lesser(lesser(lesser(line[0], line[1]), lesser(line[2], line[3])),
                  lesser(lesser(line[4], line[5]), lesser(line[6], line[7])));
}

static inline const uint64_t *line_at(const struct tree *t, uint32_t level,
                                      uint32_t line)
{
    return t->level[level] + (size_t)line * TREE_ARITY;
}

/* ---- the front ----------------------------------------------------------- */

static inline bool is_before(uint64_t key, uint32_t slot, uint64_t other,
                             uint32_t other_slot)
{
    return key < other || (key == other && slot < other_slot);
}

/* Is it before the last one of the front? */
static inline bool is_in_reach(const struct tree_front *f, uint64_t key,
                               uint32_t slot)
{
    uint32_t last = f->at + f->n - 1;

    return f->n > 0 && is_before(key, slot, f->key[last], f->slot[last]);
}

static void front_clear(struct tree_front *f)
{
    f->at = f->n = 0;
    f->all = false;
}

static void front_to_beginning(struct tree_front *f)
{
    memmove(f->key, f->key + f->at, f->n * sizeof(f->key[0]));
    memmove(f->slot, f->slot + f->at, f->n * sizeof(f->slot[0]));
    f->at = 0;
}

/* The first one's key grew: move it back, or out where others may come before
 * it. */
static void front_first_grew(struct tree_front *f, uint64_t key)
{
    uint32_t i = f->at, slot = f->slot[i], end = i + f->n;

    assert(f->n > 0);
    if (key == TREE_NONE || (!f->all && !is_in_reach(f, key, slot))) {
        f->at++;
        f->n--;
        return;
    }
    for (; i + 1 < end && is_before(f->key[i + 1], f->slot[i + 1], key, slot);
         i++) {
        f->key[i] = f->key[i + 1];
        f->slot[i] = f->slot[i + 1];
    }
    f->key[i] = key;
    f->slot[i] = slot;
}

static void front_remove(struct tree_front *f, uint32_t slot)
{
    uint32_t i = f->at, end = f->at + f->n;

    while (i < end && f->slot[i] != slot)
        i++;
    if (i == end)
        return;
    for (; i + 1 < end; i++) {
        f->key[i] = f->key[i + 1];
        f->slot[i] = f->slot[i + 1];
    }
    f->n--;
}

/* Put it in its place behind the `first` first ones; if there is no room, the
 * last one falls out, which may be it. */
static void front_enter(struct tree_front *f, uint32_t first, uint32_t slot,
                        uint64_t key)
{
    uint32_t i;

    if (f->n == TREE_FRONT_MAX) {
        f->all = false;
        if (!is_in_reach(f, key, slot))
            return;
        f->n--;
    } else if (f->at + f->n == TREE_FRONT_MAX) {
        front_to_beginning(f);
    }
    for (i = f->at + f->n++;
         i > f->at + first &&
         is_before(key, slot, f->key[i - 1], f->slot[i - 1]);
         i--) {
        f->key[i] = f->key[i - 1];
        f->slot[i] = f->slot[i - 1];
    }
    f->key[i] = key;
    f->slot[i] = slot;
    assert(f->at + f->n <= TREE_FRONT_MAX);
}

static void front_insert(struct tree_front *f, uint32_t slot, uint64_t key)
{
    if (key != TREE_NONE && (f->all || is_in_reach(f, key, slot)))
        front_enter(f, 0, slot, key);
}

/* The slot has another key. */
static void front_changed(struct tree_front *f, uint32_t slot, uint64_t key)
{
    if (f->n > 0 && f->slot[f->at] == slot &&
        !is_before(key, slot, f->key[f->at], slot)) {
        front_first_grew(f, key);
        return;
    }
    front_remove(f, slot);
    front_insert(f, slot, key);
}

/* ---- changes ------------------------------------------------------------- */

/* Above level 0 from the lines of `from` .. `to`-1 on. */
static void repair(struct tree *t, uint32_t from, uint32_t to)
{
    for (uint32_t l = 0; l + 1 < t->n_levels; l++) {
        uint64_t *above = t->level[l + 1];
        bool changed = false;

        from /= TREE_ARITY;
        to = (to + TREE_ARITY - 1) / TREE_ARITY;
        for (uint32_t i = from; i < to; i++) {
            uint64_t key = smallest(line_at(t, l, i));

            changed |= above[i] != key;
            above[i] = key;
        }
        if (!changed)
            return;
    }
}

void balancer_tree_repair(struct tree *t, uint32_t from, uint32_t to)
{
    assert(from < to);
    assert(to <= t->size[0]);
    repair(t, from, to);
    if (to - from == 1)
        front_changed(&t->front, from, t->level[0][from]);
    else
        front_clear(&t->front);
}

void balancer_tree_set(struct tree *t, uint32_t slot, uint64_t key)
{
    assert(slot < t->size[0]);
    uint64_t before = t->level[0][slot];
    uint32_t at = slot;

    t->level[0][slot] = key;
    if (is_in_reach(&t->front, lesser(before, key), slot) || t->front.all ||
        (t->front.n > 0 && t->front.slot[t->front.at + t->front.n - 1] == slot))
        front_changed(&t->front, slot, key);
    for (uint32_t l = 0; l + 1 < t->n_levels; l++) {
        at /= TREE_ARITY;
        key = smallest(line_at(t, l, at));
        if (t->level[l + 1][at] == key)
            return;
        t->level[l + 1][at] = key;
    }
}

/* ---- the walk ------------------------------------------------------------ */

/* Of one level, those that can be among the smallest, in order of their
 * numbers. What is not beyond the last of so many smallest of a level is all
 * that can be among as many of the next one: each has a child that is as small.
 */
#define REACHED_MAX 64U

struct reached {
    uint32_t at[REACHED_MAX + TREE_ARITY];
    uint32_t n;
    uint64_t bound; /* no key beyond it is wanted; below TREE_NONE */
    bool trimmed;   /* of those at the bound not all are in it */
};

/* Keep `want` of them, and the bound. */
static void reached_trim(struct reached *r, const uint64_t *keys, uint32_t want)
{
    uint64_t best[TREE_FRONT_WALK];
    uint32_t n = 0, kept = 0;

    assert(want > 0 && r->n >= want);
    for (uint32_t i = 0; i < r->n; i++) {
        uint64_t key = keys[r->at[i]];
        uint32_t j;

        if (n == want && key >= best[n - 1])
            continue;
        for (j = n < want ? n++ : n - 1; j > 0 && best[j - 1] > key; j--)
            best[j] = best[j - 1];
        best[j] = key;
    }
    r->bound = best[want - 1];
    uint32_t at_bound = 1; /* the first ones of those */

    for (n = want - 1; n > 0 && best[n - 1] == r->bound; n--)
        at_bound++;
    for (uint32_t i = 0; i < r->n; i++) {
        uint64_t key = keys[r->at[i]];

        if (key > r->bound || (key == r->bound && at_bound == 0))
            continue;
        at_bound -= key == r->bound;
        r->at[kept++] = r->at[i];
    }
    r->n = kept;
    r->trimmed = true;
    assert(r->n == want);
}

/* Enter a child, if it is in reach; without a branch, as above. */
#define REACH(c)                                                               \
    do {                                                                       \
        *at = first + (c);                                                     \
        at += line[c] <= bound;                                                \
    } while (0)

/* From the lines of a level that were reached to their children. */
static void reach_down(const struct tree *t, uint32_t level,
                       const struct reached *lines, struct reached *out)
{
    const uint64_t *keys = t->level[level];

    out->n = 0;
    out->bound = lines->bound;
    out->trimmed = lines->trimmed;
    for (uint32_t i = 0; i < lines->n; i++) {
        const uint64_t *line = line_at(t, level, lines->at[i]);
        uint32_t first = lines->at[i] * TREE_ARITY;

        uint64_t bound = out->bound;
        uint32_t *at = out->at + out->n;

        REACH(0);
        REACH(1);
        REACH(2);
        REACH(3);
        REACH(4);
        REACH(5);
        REACH(6);
        REACH(7);
        out->n = (uint32_t)(at - out->at);
        if (out->n > REACHED_MAX)
            reached_trim(out, keys, TREE_FRONT_WALK);
    }
    if (level > 0)
        for (uint32_t i = 0; i < out->n; i++)
            __builtin_prefetch(line_at(t, level - 1, out->at[i]));
}

/* Enter one that was reached; those before `old` were there, and stay. */
static void front_add(struct tree_front *f, uint32_t old, uint32_t slot,
                      uint64_t key)
{
    if (old > 0 && !is_before(f->key[old - 1], f->slot[old - 1], key, slot))
        return; /* it is one of them */
    front_enter(f, old, slot, key);
}

/* How far on the next walk will find about as many as it looks for. `bound`:
 * all up to it were found; 0: no more than are there. */
static void front_measure(struct tree_front *f, uint64_t bound)
{
    uint64_t reach;

    if (f->n == 0)
        return;
    if (bound == 0 || f->n == TREE_FRONT_MAX)
        bound = f->key[f->n - 1];
    reach = (bound - f->key[0]) / f->n;
    f->span = lesser(reach, UINT64_MAX / TREE_FRONT_WALK) * TREE_FRONT_WALK;
}

/* Add to the front those with keys of `bound` at most, or the smallest of
 * them. */
static void walk(struct tree *t, uint64_t bound)
{
    struct tree_front *f = &t->front;
    struct reached r[2];
    uint32_t to = 1, old = f->n;

    assert(f->at == 0);
    assert(bound < TREE_NONE);
    r[0].at[0] = 0;
    r[0].n = 1;
    r[0].bound = bound;
    r[0].trimmed = false;
    for (uint32_t l = t->n_levels; l-- > 0; to ^= 1)
        reach_down(t, l, &r[to ^ 1], &r[to]);
    to ^= 1;
    f->all = bound == TREE_NONE - 1 && !r[to].trimmed;
    for (uint32_t i = 0; i < r[to].n; i++)
        front_add(f, old, r[to].at[i], t->level[0][r[to].at[i]]);
    if (r[to].trimmed) /* beyond the first ones some may be missing */
        while (f->n > TREE_FRONT_WALK && f->key[f->n - 1] == r[to].bound)
            f->n--;
    front_measure(f, r[to].trimmed || f->all ? 0 : bound);
}

const struct tree_front *balancer_tree_front(struct tree *t, uint32_t want)
{
    struct tree_front *f = &t->front;

    assert(want >= 1 && want <= TREE_FRONT_WALK);
    if (f->n >= want || f->all || t->n_levels == 0)
        return f;
    uint64_t first = smallest(line_at(t, t->n_levels - 1, 0));

    front_to_beginning(f);
    if (first < TREE_NONE - 1 - f->span)
        walk(t, first + f->span);
    if (f->n < want && !f->all)
        walk(t, TREE_NONE - 1);
    assert(f->all || f->n >= want);
    return f;
}
