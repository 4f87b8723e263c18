/*
 * tree.c - the tournament tree and its front; tree_priv.h says what they are.
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

/* Written so that the compiler needs no branch: which child wins is what no
 * processor can predict. */
static inline uint64_t lesser(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline const uint64_t *line_at(const struct tree *t, uint32_t level,
                                      uint32_t line)
{
    return t->level[level] + (size_t)line * TREE_ARITY;
}

/* What the key above that line of a level is. */
static inline uint64_t smallest_of(const struct tree *t, uint32_t level,
                                   uint32_t line)
{
    const uint64_t *key = line_at(t, level, line);

    return lesser(lesser(lesser(key[0], key[1]), lesser(key[2], key[3])),
                  lesser(lesser(key[4], key[5]), lesser(key[6], key[7])));
}

/* ---- slots in the tree --------------------------------------------------- */

static inline uint64_t root(const struct tree *t)
{
    return t->level[t->n_levels - 1][0];
}

/* Above level 0 from the lines of `from` .. `to`-1 on. */
static void repair(struct tree *t, uint32_t from, uint32_t to)
{
    for (uint32_t l = 0; l + 1 < t->n_levels; l++) {
        uint64_t *above = t->level[l + 1];
        bool changed = false;

        from /= TREE_ARITY;
        to = (to + TREE_ARITY - 1) / TREE_ARITY;
        for (uint32_t i = from; i < to; i++) {
            uint64_t key = smallest_of(t, l, i);

            changed |= above[i] != key;
            above[i] = key;
        }
        if (!changed)
            return;
    }
}

/* The slot's key is a smaller one now. */
static inline void key_falls(struct tree *t, uint32_t slot, uint64_t key)
{
    uint32_t at = slot;

    for (uint32_t l = 0; l < t->n_levels && key < t->level[l][at]; l++) {
        t->level[l][at] = key;
        at /= TREE_ARITY;
    }
}

/* It is a larger one. */
static inline void key_rises(struct tree *t, uint32_t slot, uint64_t key)
{
    uint32_t at = slot;

    t->level[0][slot] = key;
    for (uint32_t l = 0; l + 1 < t->n_levels; l++) {
        at /= TREE_ARITY;
        key = smallest_of(t, l, at);
        if (t->level[l + 1][at] == key)
            return;
        t->level[l + 1][at] = key;
    }
}

static inline void put_in_tree(struct tree *t, uint32_t slot, uint64_t key)
{
    uint64_t before = t->level[0][slot];

    if (key < before)
        key_falls(t, slot, key);
    else if (key > before)
        key_rises(t, slot, key);
}

/* ---- the front ----------------------------------------------------------- */

static inline bool is_before(uint64_t key, uint32_t slot, uint64_t other,
                             uint32_t other_slot)
{
    return key < other || (key == other && slot < other_slot);
}

/* Does it belong into the front: before the last one there, or before all that
 * are in the tree, if there is room? */
static inline bool is_in_reach(const struct tree *t, uint64_t key,
                               uint32_t slot)
{
    const struct tree_front *f = &t->front;
    uint32_t last = f->at + f->n - 1;

    return (key < root(t) && f->n < TREE_FRONT_MAX) ||
           (f->n > 0 && is_before(key, slot, f->key[last], f->slot[last]));
}

static inline void front_copy(struct tree_front *f, uint32_t to, uint32_t from)
{
    f->key[to] = f->key[from];
    f->slot[to] = f->slot[from];
}

static void front_to_beginning(struct tree_front *f)
{
    memmove(f->key, f->key + f->at, f->n * sizeof(f->key[0]));
    memmove(f->slot, f->slot + f->at, f->n * sizeof(f->slot[0]));
    f->at = 0;
}

/* Nothing if it is not there. */
static void front_search(struct tree_front *f, uint32_t slot)
{
    uint32_t i = f->at, end = f->at + f->n;

    while (i < end && f->slot[i] != slot)
        i++;
    if (i == end)
        return;
    for (; i + 1 < end; i++)
        front_copy(f, i, i + 1);
    f->n--;
}

static inline void front_remove(struct tree_front *f, uint32_t slot)
{
    if (f->n > 0 && f->slot[f->at] == slot) { /* as after each pick */
        f->at++;
        f->n--;
    } else {
        front_search(f, slot);
    }
}

/* Put one that is in reach in its place, moving those on the shorter side of
 * it. Where there is no room, the last one goes back into the tree. */
static void front_enter(struct tree *t, uint32_t slot, uint64_t key)
{
    struct tree_front *f = &t->front;
    uint32_t i, middle = f->at + f->n / 2;
    bool low = f->at > 0 && f->n > 0 &&
               is_before(key, slot, f->key[middle], f->slot[middle]);

    if (f->n == TREE_FRONT_MAX) {
        f->n--;
        key_falls(t, f->slot[f->n], f->key[f->n]);
    }
    if (low) {
        f->n++;
        for (i = --f->at; is_before(f->key[i + 1], f->slot[i + 1], key, slot);
             i++)
            front_copy(f, i, i + 1);
    } else {
        if (f->at + f->n == TREE_FRONT_MAX)
            front_to_beginning(f);
        for (i = f->at + f->n++;
             i > f->at && is_before(key, slot, f->key[i - 1], f->slot[i - 1]);
             i--)
            front_copy(f, i, i - 1);
    }
    f->key[i] = key;
    f->slot[i] = slot;
    assert(f->at + f->n <= TREE_FRONT_MAX);
}

/* All of it back into the tree, but the slots from .. to-1, which have other
 * keys there. */
static void front_dissolve(struct tree *t, uint32_t from, uint32_t to)
{
    struct tree_front *f = &t->front;

    for (uint32_t i = f->at; i < f->at + f->n; i++)
        if (f->slot[i] < from || f->slot[i] >= to)
            key_falls(t, f->slot[i], f->key[i]);
    f->at = f->n = 0;
}

/* ---- changes ------------------------------------------------------------- */

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
        if (size == 1)
            break;
        size = size == TREE_ARITY ? 1 : padded(size / TREE_ARITY);
    }
    uint64_t *at = mem_huge(total * sizeof(uint64_t));
    memset(at, 0xff, total * sizeof(uint64_t));
    for (uint32_t l = 0; l < new.n_levels; l++) {
        new.level[l] = at;
        at += new.size[l];
    }
    if (t->n_levels > 0) {
        uint32_t keep = t->size[0] < new.size[0] ? t->size[0] : new.size[0];

        front_dissolve(t, 0, 0);
        memcpy(new.level[0], t->level[0], keep * sizeof(uint64_t));
        repair(&new, 0, keep);
    }
    balancer_tree_close(t);
    *t = new;
    assert(t->n_levels > 1);
}

void balancer_tree_repair(struct tree *t, uint32_t from, uint32_t to)
{
    assert(from < to);
    assert(to <= t->size[0]);
    uint64_t key = t->level[0][from];

    if (to - from > 1) {
        front_dissolve(t, from, to);
        repair(t, from, to);
        return;
    }
    front_remove(&t->front, from);
    repair(t, from, to);
    if (is_in_reach(t, key, from)) {
        put_in_tree(t, from, TREE_NONE);
        front_enter(t, from, key);
    }
}

void balancer_tree_set(struct tree *t, uint32_t slot, uint64_t key)
{
    assert(slot < t->size[0]);
    if (t->level[0][slot] == TREE_NONE)
        front_remove(&t->front, slot);
    if (is_in_reach(t, key, slot)) {
        put_in_tree(t, slot, TREE_NONE);
        front_enter(t, slot, key);
        return;
    }
    put_in_tree(t, slot, key);
}

uint64_t balancer_tree_key(const struct tree *t, uint32_t slot)
{
    const struct tree_front *f = &t->front;

    assert(slot < t->size[0]);
    if (t->level[0][slot] == TREE_NONE)
        for (uint32_t i = f->at; i < f->at + f->n; i++)
            if (f->slot[i] == slot)
                return f->key[i];
    return t->level[0][slot];
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

/* From the lines of a level that were reached to their children. */
static void reach_down(const struct tree *t, uint32_t level,
                       const struct reached *lines, struct reached *out)
{
    const uint64_t *keys = t->level[level];
    size_t n = 0;

    out->bound = lines->bound;
    out->trimmed = lines->trimmed;
    for (uint32_t i = 0; i < lines->n; i++) {
        uint32_t first = lines->at[i] * TREE_ARITY;
        uint64_t bound = out->bound;

        /* Without a branch, as above. */
#pragma GCC unroll 8
        for (uint32_t at = first; at < first + TREE_ARITY; at++) {
            out->at[n] = at;
            n += keys[at] <= bound;
        }
        if (n > REACHED_MAX) {
            out->n = (uint32_t)n;
            reached_trim(out, keys, TREE_FRONT_WALK);
            n = out->n;
        }
    }
    out->n = (uint32_t)n;
    for (uint32_t i = 0; i < n && level > 0; i++)
        __builtin_prefetch(line_at(t, level - 1, out->at[i]), 1);
}

/* Move the first `n` of those slots from the tree to the end of the front. Each
 * one's place is how many are before it: that is counted, because sorting takes
 * branches that no processor can predict. */
static void front_append(struct tree *t, const struct reached *slots,
                         uint32_t n)
{
    struct tree_front *f = &t->front;
    uint64_t key[REACHED_MAX];
    uint64_t taken = 0;

    assert(f->at == 0);
    assert(n <= slots->n && f->n + n <= TREE_FRONT_MAX);
    for (uint32_t i = 0; i < slots->n; i++)
        key[i] = t->level[0][slots->at[i]];
    for (uint32_t i = 0; i < slots->n; i++) {
        size_t place = 0;

#pragma GCC unroll 8
        for (uint32_t j = 0; j < slots->n; j++)
            place += key[j] < key[i];
        while ((taken >> place & 1) != 0)
            place++; /* after those with the same key and lower numbers */
        taken |= UINT64_C(1) << place;
        if (place >= n)
            continue;
        f->key[f->n + place] = key[i];
        f->slot[f->n + place] = slots->at[i];
        t->level[0][slots->at[i]] = TREE_NONE;
    }
    f->n += n;
}
_Static_assert(REACHED_MAX <= 64, "a bit for each in `taken`");

/* How far on the next walk will find about as many as it looks for. `bound`:
 * all up to it are in the front. */
static void front_measure(struct tree_front *f, uint64_t bound)
{
    uint64_t reach;

    assert(f->n > 0);
    reach = (bound - f->key[0]) / f->n;
    f->span = lesser(reach, UINT64_MAX / TREE_FRONT_WALK) * TREE_FRONT_WALK;
}

/* Move to the front those with keys of `bound` at most, or the smallest of
 * them, and repair the tree above where they were. */
static void walk(struct tree *t, uint64_t bound)
{
    struct tree_front *f = &t->front;
    struct reached r[TREE_LEVELS];
    uint32_t top = t->n_levels - 1, n;

    assert(bound >= root(t) && bound < TREE_NONE);
    r[top].at[0] = 0;
    r[top].n = 1;
    r[top].bound = bound;
    r[top].trimmed = false;
    for (uint32_t l = top; l-- > 0;)
        reach_down(t, l, &r[l + 1], &r[l]);
    n = r[0].n;
    if (r[0].trimmed && n > TREE_FRONT_WALK)
        n = TREE_FRONT_WALK; /* of those beyond, some may be missing */
    if (n > TREE_FRONT_MAX - f->n)
        n = TREE_FRONT_MAX - f->n;
    front_append(t, &r[0], n);
    for (uint32_t l = 1; l <= top; l++)
        for (uint32_t i = 0; i < r[l].n; i++)
            t->level[l][r[l].at[i]] = smallest_of(t, l - 1, r[l].at[i]);
    front_measure(f, n < r[0].n || r[0].trimmed || root(t) == TREE_NONE
                         ? f->key[f->n - 1]
                         : bound);
}

void balancer_tree_fill(struct tree *t, uint32_t want)
{
    struct tree_front *f = &t->front;

    assert(want >= 1 && want <= TREE_FRONT_WALK);
    if (f->n >= want || t->n_levels == 0 || root(t) == TREE_NONE)
        return;
    uint64_t first = f->n > 0 ? f->key[f->at] : root(t);

    front_to_beginning(f);
    if (first < TREE_NONE - 1 - f->span && first + f->span >= root(t))
        walk(t, first + f->span);
    if (f->n < want && root(t) != TREE_NONE)
        walk(t, TREE_NONE - 1);
    assert(f->n >= want || root(t) == TREE_NONE);
}
