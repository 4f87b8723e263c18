/*
 * packed_map.c - blocks of front-coded entries.
 *
 * An entry is three numbers of one or two bytes (how many bytes of the key
 * before are shared; how many follow; how long the value is), the rest of the
 * key, the value. A change re-writes one entry and at most the one behind it,
 * in place: whatever stands further on depends on neither.
 *
 * Looking for a key needs no copy of the keys on the way. Let `same` be how
 * many bytes the last entry that is smaller has in common with the key. An
 * entry that shares more than `same` with it is smaller as well, for the same
 * byte; one that shares less is greater; only one that shares just as much is
 * compared, from there on.
 */
#include "base/map/packed_map.h"

#include "base/mem.h"

#include <string.h>

#define ENTRIES_MAX 32
#define BLOCK_BYTES 4096 /* where one entry does not take more by itself */
#define MERGE_AT    16   /* entries of two neighbours together */
#define ROUND       32   /* blocks grow by as much */
#define HEAD_MAX    6

struct block {
    uint32_t used; /* bytes */
    uint32_t n;    /* entries; never 0 in a map */
    uint8_t data[];
};

struct packed_map {
    struct block **blocks;
    size_t n_blocks, cap;
    size_t n;
    uint64_t changes;
};

/* One entry as it stands. */
struct entry {
    size_t shared;
    const uint8_t *rest;
    size_t rest_len;
    const uint8_t *value;
    size_t value_len;
    size_t size; /* all of it */
};

/* --- bytes --------------------------------------------------------------- */

/* Up to 2^14 - 1: LEB128. */
static size_t put_number(uint8_t *out, size_t v)
{
    assert(v < 1u << 14);
    if (v < 128) {
        out[0] = (uint8_t)v;
        return 1;
    }
    out[0] = (uint8_t)(v | 128);
    out[1] = (uint8_t)(v >> 7);
    return 2;
}

static inline const uint8_t *get_number(const uint8_t *at, size_t *v)
{
    *v = *at++;
    if (*v >= 128)
        *v = (*v & 127) | (size_t)*at++ << 7;
    return at;
}

static inline void entry_at(const struct block *b, size_t at, struct entry *e)
{
    const uint8_t *p = b->data + at, *begin = p;

    p = get_number(p, &e->shared);
    p = get_number(p, &e->rest_len);
    p = get_number(p, &e->value_len);
    e->rest = p;
    e->value = p + e->rest_len;
    e->size = (size_t)(e->value + e->value_len - begin);
}

static size_t put_head(uint8_t out[HEAD_MAX], size_t shared, size_t rest,
                       size_t value)
{
    size_t n = put_number(out, shared);

    n += put_number(out + n, rest);
    n += put_number(out + n, value);
    assert(n <= HEAD_MAX);
    return n;
}

static size_t block_size(size_t used)
{
    return (sizeof(struct block) + used + ROUND - 1) / ROUND * ROUND;
}

/* `gone` bytes at `at` become `room` bytes, for the caller to write. */
static uint8_t *splice(struct block **b, size_t at, size_t gone, size_t room)
{
    size_t used = (*b)->used, now = used - gone + room;
    size_t tail = used - at - gone;

    assert(at + gone <= used);
    if (block_size(now) > block_size(used))
        *b = mem_realloc(*b, block_size(now));
    memmove((*b)->data + at + room, (*b)->data + at + gone, tail);
    if (block_size(now) < block_size(used))
        *b = mem_realloc(*b, block_size(now));
    (*b)->used = (uint32_t)now;
    return (*b)->data + at;
}

/* --- the index ----------------------------------------------------------- */

static void index_add(struct packed_map *m, size_t at, struct block *b)
{
    assert(at <= m->n_blocks);
    if (m->n_blocks == m->cap) {
        m->cap += m->cap / 4 + 8;
        m->blocks = mem_regrow(m->blocks, m->cap, sizeof(struct block *));
    }
    memmove(&m->blocks[at + 1], &m->blocks[at],
            (m->n_blocks - at) * sizeof(struct block *));
    m->blocks[at] = b;
    m->n_blocks++;
}

static void index_drop(struct packed_map *m, size_t at)
{
    assert(at < m->n_blocks);
    mem_free(m->blocks[at]);
    m->n_blocks--;
    memmove(&m->blocks[at], &m->blocks[at + 1],
            (m->n_blocks - at) * sizeof(struct block *));
    if (m->n_blocks < m->cap / 2) {
        m->cap = m->n_blocks + m->n_blocks / 4 + 8;
        m->blocks = mem_regrow(m->blocks, m->cap, sizeof(struct block *));
    }
    assert(m->n_blocks < m->cap);
}

static size_t common(const uint8_t *a, size_t a_len, const uint8_t *b,
                     size_t b_len)
{
    size_t n = a_len < b_len ? a_len : b_len, i = 0;

    while (i < n && a[i] == b[i])
        i++;
    return i;
}

static int compare(const uint8_t *a, size_t a_len, const uint8_t *b,
                   size_t b_len)
{
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);

    return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

/* The last block whose first key is not behind `key`, else the first. */
static size_t block_of(const struct packed_map *m, const uint8_t *key,
                       size_t len)
{
    size_t low = 0, high = m->n_blocks;

    assert(m->n_blocks > 0);
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;
        struct entry e;

        entry_at(m->blocks[mid], 0, &e);
        if (compare(e.rest, e.rest_len, key, len) <= 0)
            low = mid;
        else
            high = mid;
    }
    return low;
}

/* --- looking ------------------------------------------------------------- */

struct place {
    size_t block, at; /* of the first entry that is not smaller, or the end */
    size_t same;      /* bytes the entry before has in common with the key */
    size_t same_next; /* and the entry there */
    bool found;
};

static void look_in(const struct block *b, const uint8_t *key, size_t len,
                    struct place *p)
{
    struct entry e;

    p->same = p->same_next = 0;
    p->found = false;
    for (p->at = 0; p->at < b->used; p->at += e.size) {
        size_t n;

        entry_at(b, p->at, &e);
        if (e.shared > p->same)
            continue;
        p->same_next = e.shared;
        if (e.shared < p->same)
            return;
        n = common(e.rest, e.rest_len, key + p->same, len - p->same);
        p->same_next = p->same + n;
        p->found = n == e.rest_len && p->same_next == len;
        if (p->found || p->same_next == len ||
            (n < e.rest_len && e.rest[n] > key[p->same_next]))
            return;
        p->same = p->same_next;
    }
    p->same_next = 0;
}

static void look(const struct packed_map *m, const void *key, size_t len,
                 struct place *p)
{
    assert(len <= PACKED_KEY_MAX);
    *p = (struct place){0};
    if (m->n_blocks > 0) {
        p->block = block_of(m, key, len);
        look_in(m->blocks[p->block], key, len, p);
    }
}

bool packed_map_find(const struct packed_map *m, const void *key, size_t len,
                     struct packed_value *out)
{
    struct place p;
    struct entry e;

    look(m, key, len, &p);
    if (p.found) {
        entry_at(m->blocks[p.block], p.at, &e);
        *out = (struct packed_value){e.value, e.value_len};
    }
    return p.found;
}

/* --- blocks that are too large or too small ------------------------------ */

/* The whole key of the last of the entries before `end`; its length. */
static size_t key_before(const struct block *b, size_t end,
                         uint8_t key[PACKED_KEY_MAX])
{
    size_t len = 0;
    struct entry e;

    assert(end <= b->used);
    for (size_t at = 0; at < end; at += e.size) {
        entry_at(b, at, &e);
        memcpy(key + e.shared, e.rest, e.rest_len);
        len = e.shared + e.rest_len;
        assert(len <= PACKED_KEY_MAX);
    }
    return len;
}

static bool too_large(const struct block *b)
{
    return b->n > 1 && (b->n > ENTRIES_MAX || b->used > BLOCK_BYTES);
}

/* Where the second half of its entries begins, and how many are before. What
 * is appended in order leaves full blocks behind. */
static size_t middle(const struct block *b, bool appended, size_t *before)
{
    size_t at = 0, keep = appended ? b->n - 1 : b->n / 2;
    struct entry e;

    assert(b->n > 1);
    for (*before = 0; *before < keep; (*before)++) {
        entry_at(b, at, &e);
        at += e.size;
    }
    assert(at < b->used);
    return at;
}

/* The first entry of the block becomes a whole key. */
static void make_first(struct block **b, const uint8_t *key, size_t shared)
{
    struct entry e;
    uint8_t head[HEAD_MAX], *to;
    size_t old_head, n, rest, value;

    entry_at(*b, 0, &e);
    assert(e.shared == shared);
    old_head = (size_t)(e.rest - (*b)->data);
    rest = e.rest_len;
    value = e.value_len;
    n = put_head(head, 0, shared + rest, value);
    to = splice(b, 0, old_head, n + shared);
    memcpy(to, head, n);
    memcpy(to + n, key, shared);
}

static void split(struct packed_map *m, size_t i, bool appended)
{
    struct block *b = m->blocks[i], *next;
    uint8_t key[PACKED_KEY_MAX];
    size_t before, at = middle(b, appended, &before), used = b->used - at;
    struct entry e;

    entry_at(b, at, &e);
    (void)key_before(b, at, key);
    next = mem_alloc(block_size(used));
    next->used = (uint32_t)used;
    next->n = b->n - (uint32_t)before;
    memcpy(next->data, b->data + at, used);
    make_first(&next, key, e.shared);
    (void)splice(&m->blocks[i], at, used, 0);
    m->blocks[i]->n = (uint32_t)before;
    index_add(m, i + 1, next);
    if (too_large(m->blocks[i + 1]))
        split(m, i + 1, false); /* of large entries */
    if (too_large(m->blocks[i]))
        split(m, i, false);
}

/* Block i + 1 becomes the end of block i, if both are small. */
static void merge(struct packed_map *m, size_t i)
{
    uint8_t last[PACKED_KEY_MAX], head[HEAD_MAX], *to;
    struct block *b = m->blocks[i], *next;
    size_t len, same, n, tail;
    struct entry e;

    assert(i + 1 < m->n_blocks);
    next = m->blocks[i + 1];
    if (b->n + next->n > MERGE_AT || b->used + next->used > BLOCK_BYTES)
        return;
    len = key_before(b, b->used, last);
    entry_at(next, 0, &e);
    same = common(last, len, e.rest, e.rest_len);
    n = put_head(head, same, e.rest_len - same, e.value_len);
    tail = (size_t)(next->data + next->used - (e.rest + same));
    to = splice(&m->blocks[i], b->used, 0, n + tail);
    memcpy(to, head, n);
    memcpy(to + n, e.rest + same, tail);
    m->blocks[i]->n += next->n;
    index_drop(m, i + 1);
}

/* --- changing ------------------------------------------------------------ */

/* The entry there has `same` bytes in common with what now comes before it,
 * which are as many as it shared or more. */
static void share_more(struct block **b, size_t at, size_t same)
{
    uint8_t head[HEAD_MAX];
    struct entry e;
    size_t n, old;

    entry_at(*b, at, &e);
    assert(same >= e.shared && same - e.shared <= e.rest_len);
    if (same == e.shared)
        return;
    old = (size_t)(e.rest - ((*b)->data + at)) + same - e.shared;
    n = put_head(head, same, e.rest_len - (same - e.shared), e.value_len);
    memcpy(splice(b, at, old, n), head, n);
}

static void insert(struct packed_map *m, const struct place *p,
                   const uint8_t *key, size_t len,
                   const struct packed_value *value)
{
    struct block **b = &m->blocks[p->block];
    size_t rest = len - p->same, n;
    uint8_t head[HEAD_MAX], *to;
    bool last = p->at == (*b)->used;

    assert(!p->found);
    if (!last)
        share_more(b, p->at, p->same_next);
    n = put_head(head, p->same, rest, value->len);
    to = splice(b, p->at, 0, n + rest + value->len);
    memcpy(to, head, n);
    memcpy(to + n, key + p->same, rest);
    memcpy(to + n + rest, value->data, value->len);
    (*b)->n++;
    m->n++;
    if (too_large(*b))
        split(m, p->block, last);
}

static void replace(struct block **b, size_t at,
                    const struct packed_value *value)
{
    uint8_t head[HEAD_MAX], *to;
    size_t n, rest, old_head;
    struct entry e;

    entry_at(*b, at, &e);
    if (e.value_len == value->len) {
        memcpy((*b)->data + (e.value - (*b)->data), value->data, value->len);
        return;
    }
    rest = e.rest_len;
    old_head = (size_t)(e.rest - ((*b)->data + at));
    n = put_head(head, e.shared, rest, value->len);
    memcpy(splice(b, at, old_head, n), head, n);
    to = splice(b, at + n + rest, e.value_len, value->len);
    memcpy(to, value->data, value->len);
}

bool packed_map_put(struct packed_map *m, const void *key, size_t len,
                    const void *value, size_t value_len)
{
    uint8_t copy[PACKED_VALUE_MAX + 1];
    struct packed_value v = {copy, value_len};
    struct place p;

    assert(value_len <= PACKED_VALUE_MAX);
    if (value_len > 0)
        memcpy(copy, value, value_len); /* it may be ours, and move */
    m->changes++;
    if (m->n_blocks == 0) {
        struct block *b = mem_zalloc(block_size(0));

        index_add(m, 0, b);
    }
    look(m, key, len, &p);
    if (p.found) {
        replace(&m->blocks[p.block], p.at, &v);
        if (too_large(m->blocks[p.block]))
            split(m, p.block, false);
    } else {
        insert(m, &p, key, len, &v);
    }
    return !p.found;
}

/* Whoever is behind it shares with the entry before both what all three have
 * in common, and takes over what it shared with this one beyond that. */
static void take_out(struct block **b, size_t at)
{
    uint8_t head[HEAD_MAX], grown[PACKED_KEY_MAX], *to;
    struct entry e, x;
    size_t more, n;

    entry_at(*b, at, &e);
    if (at + e.size == (*b)->used) {
        (void)splice(b, at, e.size, 0);
        return;
    }
    entry_at(*b, at + e.size, &x);
    more = x.shared > e.shared ? x.shared - e.shared : 0;
    assert(more <= e.rest_len);
    memcpy(grown, e.rest, more);
    n = put_head(head, x.shared - more, x.rest_len + more, x.value_len);
    to = splice(b, at, e.size + (size_t)(x.rest - ((*b)->data + at + e.size)),
                n + more);
    memcpy(to, head, n);
    memcpy(to + n, grown, more);
}

bool packed_map_remove(struct packed_map *m, const void *key, size_t len)
{
    struct place p;
    size_t i;

    look(m, key, len, &p);
    if (!p.found)
        return false;
    i = p.block;
    m->changes++;
    m->n--;
    if (--m->blocks[i]->n == 0) {
        index_drop(m, i);
        return true;
    }
    take_out(&m->blocks[i], p.at);
    if (too_large(m->blocks[i])) /* what is behind took over its bytes */
        split(m, i, false);
    else if (i + 1 < m->n_blocks && m->blocks[i]->n < MERGE_AT / 2)
        merge(m, i);
    else if (i > 0 && m->blocks[i]->n < MERGE_AT / 2)
        merge(m, i - 1);
    return true;
}

/* --- in order ------------------------------------------------------------ */

/* What stands at the cursor's place, whose key before is in its buffer. */
static bool cursor_read(struct packed_cursor *c)
{
    const struct packed_map *m = c->map;
    struct entry e;

    if (c->block < m->n_blocks && c->at == m->blocks[c->block]->used) {
        c->block++;
        c->at = 0;
    }
    if (c->block >= m->n_blocks)
        return false;
    entry_at(m->blocks[c->block], c->at, &e);
    memcpy(c->key + e.shared, e.rest, e.rest_len);
    c->key_len = e.shared + e.rest_len;
    assert(c->key_len <= PACKED_KEY_MAX);
    c->key[c->key_len] = '\0';
    c->value = (struct packed_value){e.value, e.value_len};
    c->at += e.size;
    c->changes = m->changes;
    return true;
}

/* The first one at the key or, with `behind`, after it. */
static bool cursor_place(struct packed_cursor *c, const void *key, size_t len,
                         bool behind)
{
    struct place p;
    struct entry e;

    look(c->map, key, len, &p);
    if (c->map->n_blocks == 0)
        return false;
    c->block = p.block;
    c->at = p.at;
    if (p.found && behind) {
        entry_at(c->map->blocks[p.block], p.at, &e);
        c->at += e.size;
    }
    /* Front coding goes on from the key before. */
    (void)key_before(c->map->blocks[c->block], c->at, (uint8_t *)c->key);
    return cursor_read(c);
}

bool packed_map_seek(const struct packed_map *m, struct packed_cursor *c,
                     const void *key, size_t len)
{
    c->map = m;
    return cursor_place(c, key == NULL ? "" : key, key == NULL ? 0 : len,
                        false);
}

bool packed_map_next(struct packed_cursor *c)
{
    char key[PACKED_KEY_MAX];

    if (c->changes == c->map->changes)
        return cursor_read(c);
    memcpy(key, c->key, c->key_len);
    return cursor_place(c, key, c->key_len, true);
}

/* --- life ---------------------------------------------------------------- */

struct packed_map *packed_map_new(void)
{
    return mem_zalloc(sizeof(struct packed_map));
}

void packed_map_free(struct packed_map **m)
{
    if (*m == NULL)
        return;
    for (size_t i = 0; i < (*m)->n_blocks; i++)
        mem_free((*m)->blocks[i]);
    mem_free((*m)->blocks);
    MEM_FREE(*m);
}

size_t packed_map_count(const struct packed_map *m)
{
    return m->n;
}

size_t packed_map_bytes(const struct packed_map *m)
{
    size_t bytes = sizeof(*m) + m->cap * sizeof(struct block *);

    for (size_t i = 0; i < m->n_blocks; i++)
        bytes += block_size(m->blocks[i]->used);
    return bytes;
}
