/*
 * test_packed_map.c - the packed map beside a plain sorted array: the same
 * operations, the same answers, after each of which there are hundreds of
 * thousands.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map/packed_map.h"
#include "base/mem.h"
#include "base/rand.h"

/* --- the reference ------------------------------------------------------- */

struct pair {
    uint8_t *key, *value;
    size_t key_len, value_len;
};

struct plain {
    struct pair *pairs; /* in order */
    size_t n, cap;
};

static int order(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
    int o = memcmp(a, b, a_len < b_len ? a_len : b_len);

    return o != 0 ? o : (a_len > b_len) - (a_len < b_len);
}

/* The first at or behind the key. */
static size_t plain_at(const struct plain *p, const uint8_t *key, size_t len)
{
    size_t low = 0, high = p->n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (order(p->pairs[mid].key, p->pairs[mid].key_len, key, len) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static bool plain_has(const struct plain *p, size_t at, const uint8_t *key,
                      size_t len)
{
    return at < p->n &&
           order(p->pairs[at].key, p->pairs[at].key_len, key, len) == 0;
}

static bool plain_put(struct plain *p, const uint8_t *key, size_t len,
                      const uint8_t *value, size_t value_len)
{
    size_t at = plain_at(p, key, len);
    bool fresh = !plain_has(p, at, key, len);

    if (fresh) {
        if (p->n == p->cap) {
            p->cap = p->cap * 2 + 16;
            p->pairs = mem_regrow(p->pairs, p->cap, sizeof(*p->pairs));
        }
        memmove(&p->pairs[at + 1], &p->pairs[at],
                (p->n - at) * sizeof(*p->pairs));
        p->pairs[at] = (struct pair){.key = mem_dup(key, len), .key_len = len};
        p->n++;
    } else {
        mem_free(p->pairs[at].value);
    }
    p->pairs[at].value = mem_dup(value, value_len);
    p->pairs[at].value_len = value_len;
    return fresh;
}

static void plain_drop(struct plain *p, size_t at)
{
    mem_free(p->pairs[at].key);
    mem_free(p->pairs[at].value);
    p->n--;
    memmove(&p->pairs[at], &p->pairs[at + 1], (p->n - at) * sizeof(*p->pairs));
}

static void plain_close(struct plain *p)
{
    while (p->n > 0)
        plain_drop(p, p->n - 1);
    mem_free(p->pairs);
    *p = (struct plain){0};
}

/* --- keys ---------------------------------------------------------------- */

struct shape {
    const char *name;
    size_t (*make)(struct rand *r, uint8_t key[PACKED_KEY_MAX]);
    size_t steps;
    size_t value_max;
};

/* Few letters and short: prefixes of each other, again and again. */
static size_t short_key(struct rand *r, uint8_t key[PACKED_KEY_MAX])
{
    size_t len = rand_below(r, 9);

    for (size_t i = 0; i < len; i++)
        key[i] = (uint8_t)("ab\xff"[rand_below(r, 3)]);
    return len;
}

static size_t registry_key(struct rand *r, uint8_t key[PACKED_KEY_MAX])
{
    char text[128];
    int n = snprintf(text, sizeof(text), "/pelorus/owned/%s/10.0.%d.%d:5678/%d",
                     rand_below(r, 2) == 0 ? "master" : "worker",
                     (int)rand_below(r, 3), (int)rand_below(r, 30),
                     (int)rand_below(r, 300));

    memcpy(key, text, (size_t)n);
    return (size_t)n;
}

/* Up to the longest, with long common beginnings; NUL is a byte. */
static size_t long_key(struct rand *r, uint8_t key[PACKED_KEY_MAX])
{
    static const size_t lengths[] = {0, 1, 127, 128, 129, 700, 1023, 1024};
    size_t len = lengths[rand_below(r, ARRAY_LEN(lengths))];

    memset(key, 'k', len);
    for (size_t i = rand_below(r, 4); i > 0 && len > 0; i--)
        key[rand_below(r, len)] = (uint8_t)rand_below(r, 2);
    return len;
}

static size_t wild_key(struct rand *r, uint8_t key[PACKED_KEY_MAX])
{
    size_t len = rand_below(r, 5);

    for (size_t i = 0; i < len; i++)
        key[i] = (uint8_t)rand_u64(r);
    return len;
}

static const struct shape shapes[] = {
    {"short", short_key, 60000, 3},
    {"registry", registry_key, 60000, 12},
    {"long", long_key, 6000, PACKED_VALUE_MAX},
    {"wild", wild_key, 30000, 200},
};

/* --- the same in both ---------------------------------------------------- */

static void same_walk(const struct packed_map *m, const struct plain *p,
                      size_t from, struct packed_cursor *c, bool on)
{
    for (size_t i = from; i < p->n; i++, on = packed_map_next(c)) {
        const struct pair *q = &p->pairs[i];

        assert_true(on);
        assert_int_equal(c->key_len, q->key_len);
        assert_memory_equal(c->key, q->key, q->key_len);
        assert_int_equal(c->key[c->key_len], 0);
        assert_int_equal(c->value.len, q->value_len);
        if (q->value_len > 0)
            assert_memory_equal(c->value.data, q->value, q->value_len);
    }
    assert_false(on);
    assert_int_equal(packed_map_count(m), p->n);
}

static void all_is_the_same(const struct packed_map *m, const struct plain *p)
{
    struct packed_cursor c;

    same_walk(m, p, 0, &c, packed_map_seek(m, &c, NULL, 0));
}

static void from_here_is_the_same(const struct packed_map *m,
                                  const struct plain *p, const uint8_t *key,
                                  size_t len)
{
    struct packed_cursor c;
    size_t at = plain_at(p, key, len);

    if (packed_map_seek(m, &c, key, len)) {
        assert_true(at < p->n);
        assert_memory_equal(c.key, p->pairs[at].key, p->pairs[at].key_len);
        assert_int_equal(c.key_len, p->pairs[at].key_len);
    } else {
        assert_int_equal(at, p->n);
    }
}

static void one_step(const struct shape *s, struct rand *r,
                     struct packed_map *m, struct plain *p, unsigned puts)
{
    uint8_t key[PACKED_KEY_MAX], value[PACKED_VALUE_MAX];
    size_t len = s->make(r, key), value_len = rand_below(r, s->value_max + 1);
    size_t at = plain_at(p, key, len);
    struct packed_value found;
    bool there = plain_has(p, at, key, len);

    memset(value, (int)rand_below(r, 256), value_len);
    assert_int_equal(packed_map_find(m, key, len, &found), there);
    if (there) {
        assert_int_equal(found.len, p->pairs[at].value_len);
        assert_memory_equal(found.data, p->pairs[at].value, found.len);
    }
    if (rand_below(r, 100) < puts) {
        assert_int_equal(packed_map_put(m, key, len, value, value_len), !there);
        (void)plain_put(p, key, len, value, value_len);
    } else {
        assert_int_equal(packed_map_remove(m, key, len), there);
        if (there)
            plain_drop(p, at);
    }
    from_here_is_the_same(m, p, key, len);
}

static void it_answers_as_a_sorted_array_does(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        const struct shape *s = &shapes[i];
        struct packed_map *m = packed_map_new();
        struct plain p = {0};
        struct rand r;

        rand_seed(&r, 1000 + i);
        for (size_t step = 0; step < s->steps; step++) {
            /* it grows and shrinks by turns */
            one_step(s, &r, m, &p, step / 5000 % 2 == 0 ? 75 : 30);
            if (step % 997 == 0)
                all_is_the_same(m, &p);
        }
        all_is_the_same(m, &p);
        while (p.n > 0) {
            size_t at = rand_below(&r, p.n);

            assert_true(
                packed_map_remove(m, p.pairs[at].key, p.pairs[at].key_len));
            plain_drop(&p, at);
            if (p.n % 64 == 0)
                all_is_the_same(m, &p);
        }
        assert_int_equal(packed_map_count(m), 0);
        packed_map_free(&m);
        assert_null(m);
        plain_close(&p);
    }
}

/* A walk may change what it walks over, the key it stands on too. */
static void a_cursor_outlives_changes(void **state)
{
    struct packed_map *m = packed_map_new();
    struct packed_cursor c;
    char key[32];
    size_t seen = 0;
    bool on;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        (void)snprintf(key, sizeof(key), "key-%03d", i);
        assert_true(packed_map_put(m, key, 7, "v", 1));
    }
    for (on = packed_map_seek(m, &c, "key-1", 5); on;
         on = packed_map_next(&c)) {
        (void)snprintf(key, sizeof(key), "key-%03zu", 100 + seen);
        assert_string_equal(c.key, key);
        if (seen % 3 == 0) {
            assert_true(packed_map_remove(m, c.key, c.key_len));
        } else if (seen % 3 == 1) { /* its own value, longer */
            assert_false(packed_map_put(m, c.key, c.key_len, "longer", 6));
        } else { /* before it: not met */
            (void)snprintf(key, sizeof(key), "kex-%03zu", seen);
            assert_true(packed_map_put(m, key, 7, "", 0));
        }
        seen++;
    }
    assert_int_equal(seen, 900);
    assert_int_equal(packed_map_count(m), 1000);
    packed_map_free(&m);
    packed_map_free(&m);
}

static void a_value_may_come_from_the_map_itself(void **state)
{
    struct packed_map *m = packed_map_new();
    struct packed_value v = {NULL, 0};

    (void)state;
    assert_true(packed_map_put(m, "a", 1, "0123456789", 10));
    assert_true(packed_map_find(m, "a", 1, &v));
    assert_true(packed_map_put(m, "A", 1, v.data, v.len));
    assert_true(packed_map_find(m, "A", 1, &v));
    assert_memory_equal(v.data, "0123456789", 10);
    assert_false(packed_map_find(m, "", 0, &v));
    packed_map_free(&m);
}

/* What it is for. With an allocator that adds 16 bytes to each block. */
static void keys_that_share_their_beginnings_take_little(void **state)
{
    struct packed_map *m = packed_map_new();
    struct rand r;
    size_t n = 100000, first;
    char key[96];

    (void)state;
    rand_seed(&r, 7);
    for (size_t i = 0; i < n; i++) {
        int len = snprintf(key, sizeof(key),
                           "/pelorus/owned/master/10.0.0.%zu:5678/%llu",
                           1 + i % 100, 12009087230208 + i * 1024ull);

        assert_true(packed_map_put(m, key, (size_t)len, "12345678", 8));
    }
    first = packed_map_bytes(m);
    print_message("%zu bytes for each of %zu\n", first / n, n);
    assert_true(first < 26 * n);
    /* nor after each was removed and came back, in any order */
    for (size_t i = 0; i < n; i++) {
        size_t j = (i * 61169) % n;
        int len = snprintf(key, sizeof(key),
                           "/pelorus/owned/master/10.0.0.%zu:5678/%llu",
                           1 + j % 100, 12009087230208 + j * 1024ull);

        assert_true(packed_map_remove(m, key, (size_t)len));
        key[24] = '1'; /* its next owner */
        (void)packed_map_put(m, key, (size_t)len, "12345678", 8);
    }
    assert_true(packed_map_bytes(m) < 30 * packed_map_count(m));
    packed_map_free(&m);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_answers_as_a_sorted_array_does),
        cmocka_unit_test(a_cursor_outlives_changes),
        cmocka_unit_test(a_value_may_come_from_the_map_itself),
        cmocka_unit_test(keys_that_share_their_beginnings_take_little),
    };

    return cmocka_run_group_tests_name("packed_map", tests, NULL, NULL);
}
