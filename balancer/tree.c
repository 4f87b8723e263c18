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
        balancer_tree_repair(&new, 0, keep);
    }
    balancer_tree_close(t);
    *t = new;
    assert(t->n_levels > 0);
}

/* Both are written so that the compiler needs no branch: which child wins is
 * what no processor can predict. */
static inline uint64_t lesser(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t smallest(const uint64_t *line)
{
    return lesser(lesser(lesser(line[0], line[1]), lesser(line[2], line[3])),
                  lesser(lesser(line[4], line[5]), lesser(line[6], line[7])));
}

/* The children with this key, as bits. */
static inline uint32_t holders(const uint64_t *line, uint64_t key)
{
    uint32_t low = (uint32_t)(line[0] == key) | (uint32_t)(line[1] == key) << 1;
    uint32_t mid = (uint32_t)(line[2] == key) << 2 | (uint32_t)(line[3] == key)
                                                         << 3;
    uint32_t next = (uint32_t)(line[4] == key) << 4 | (uint32_t)(line[5] == key)
                                                          << 5;
    uint32_t high = (uint32_t)(line[6] == key) << 6 | (uint32_t)(line[7] == key)
                                                          << 7;

    return (low | mid) | (next | high);
}

/* The smallest of the children that are not among `without`. */
static inline uint64_t smallest_but(const uint64_t *line, uint32_t without)
{
    uint64_t w = without;
    uint64_t copy[TREE_ARITY] = {
        line[0] | (0 - (w & 1)),      line[1] | (0 - (w >> 1 & 1)),
        line[2] | (0 - (w >> 2 & 1)), line[3] | (0 - (w >> 3 & 1)),
        line[4] | (0 - (w >> 4 & 1)), line[5] | (0 - (w >> 5 & 1)),
        line[6] | (0 - (w >> 6 & 1)), line[7] | (0 - (w >> 7 & 1)),
    };

    return smallest(copy);
}

static inline const uint64_t *line_at(const struct tree *t, uint32_t level,
                                      uint32_t line)
{
    return t->level[level] + (size_t)line * TREE_ARITY;
}

void balancer_tree_repair(struct tree *t, uint32_t from, uint32_t to)
{
    assert(from < to);
    assert(to <= t->size[0]);
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

void balancer_tree_set(struct tree *t, uint32_t slot, uint64_t key)
{
    assert(slot < t->size[0]);
    tree_put(t, slot, key);
    for (uint32_t l = 0; l + 1 < t->n_levels; l++) {
        slot /= TREE_ARITY;
        key = smallest(line_at(t, l, slot));
        if (t->level[l + 1][slot] == key)
            return;
        t->level[l + 1][slot] = key;
    }
}

/* Where the slot with `key` is, going down from a line whose children other
 * than `without` hold it. */
static uint32_t descend(const struct tree *t, uint32_t level, uint32_t line,
                        uint32_t without, uint64_t key)
{
    uint32_t bits = holders(line_at(t, level, line), key) & ~without;
    assert(bits != 0);
    uint32_t at = line * TREE_ARITY + (uint32_t)__builtin_ctz(bits);

    assert(level < t->n_levels);
    while (level-- > 0)
        at = at * TREE_ARITY +
             (uint32_t)__builtin_ctz(holders(line_at(t, level, at), key));
    return at;
}

/*
 * What is left when some slots are set aside: per level, the line that the way
 * to the latest one goes through, which of its children are used up, and the
 * best of the others. The ways part at a level, and below it the later one has
 * lines of its own; above, they share them. As at most TREE_TOP_MAX are asked
 * for, a way's own lines are a row of this table.
 */
struct rest {
    uint64_t key[TREE_TOP_MAX][TREE_LEVELS];
    uint32_t line[TREE_TOP_MAX][TREE_LEVELS];
    uint32_t without[TREE_TOP_MAX][TREE_LEVELS];
    uint32_t levels[TREE_TOP_MAX]; /* own lines: levels 0 .. levels-1 */
};

/* Enter the way to `slot`, whose own lines are those below `levels`. */
static void rest_add(struct rest *r, const struct tree *t, uint32_t row,
                     uint32_t slot, uint32_t levels)
{
    assert(row < TREE_TOP_MAX);
    assert(levels <= t->n_levels);
    r->levels[row] = levels;
    for (uint32_t l = 0; l < levels; l++) {
        uint32_t child = slot % TREE_ARITY;

        slot /= TREE_ARITY;
        r->line[row][l] = slot;
        r->without[row][l] = 1U << child;
        r->key[row][l] = smallest_but(line_at(t, l, slot), 1U << child);
    }
}

uint32_t balancer_tree_top(const struct tree *t, uint32_t want, uint32_t *out)
{
    struct rest r;
    uint32_t found = 1;

    assert(want >= 1 && want <= TREE_TOP_MAX);
    if (t->n_levels == 0)
        return 0;
    uint64_t key = smallest(line_at(t, t->n_levels - 1, 0));

    if (key == TREE_NONE)
        return 0;
    out[0] = descend(t, t->n_levels - 1, 0, 0, key);
    if (want > 1)
        rest_add(&r, t, 0, out[0], t->n_levels);
    while (found < want) {
        uint32_t row = 0, level = 0;

        key = TREE_NONE;
        for (uint32_t i = 0; i < found; i++) {
            for (uint32_t l = 0; l < r.levels[i]; l++) {
                bool better = r.key[i][l] < key;

                key = better ? r.key[i][l] : key;
                row = better ? i : row;
                level = better ? l : level;
            }
        }
        if (key == TREE_NONE)
            return found;
        uint32_t line = r.line[row][level];
        uint32_t *without = &r.without[row][level];
        uint32_t slot = descend(t, level, line, *without, key);

        out[found] = slot;
        if (found + 1 < want) {
            *without |= 1U << (slot >> 3 * level) % TREE_ARITY;
            r.key[row][level] = smallest_but(line_at(t, level, line), *without);
            rest_add(&r, t, found, slot, level);
        }
        found++;
    }
    assert(found >= 1);
    assert(found <= want);
    return found;
}
