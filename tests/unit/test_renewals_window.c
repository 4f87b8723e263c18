/* test_renewals_window.c - a window of renewals as bytes, and the value of
 * /pelorus/taken. */
#include "base/mem.h"
#include "base/rand.h"
#include "cluster/renewals/taken.h"
#include "cluster/renewals/window.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct renewal renewal(uint64_t created, uint32_t generation)
{
    return (struct renewal){.created = created, .generation = generation};
}

static void add(struct window *w, uint64_t created, uint32_t generation)
{
    const struct renewal r = renewal(created, generation);

    assert_true(window_add(w, &r));
}

static void expect_same(const struct renewal *a, const struct renewal *b)
{
    assert_true(a->created == b->created);
    assert_int_equal(a->generation, b->generation);
    assert_int_equal(a->told, b->told);
    assert_int_equal(a->busy, b->busy);
    assert_memory_equal(a->load, b->load, sizeof(a->load));
}

/* --- windows ------------------------------------------------------------- */

/* The bytes of the format, written by hand: they stand in registries. */
static void the_format_is_as_it_is_said(void **state)
{
    static const uint8_t bytes[] = {
        1,                                      /* format */
        0xc1, 0x01,                             /* window 193, slot 1 */
        0xb0, 0xea,     0x01,                   /* watched 30,000 ms */
        2,                                      /* count */
        100,  0x20 | 9, 0x50, 0xc3, 0xff, 0xff, /* cpu 1, pool not told, BUSY */
        200,  1,        0x10, 3,                /* created 300, generation 3 */
    };
    struct window_read in;
    struct renewal r;
    struct window w;
    struct err err;
    struct buf out;
    struct load load = {.cpu = .5, .memory = .25, .pool = 7};

    (void)state;
    if (window_open(&in, 1, bytes, sizeof(bytes), &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(in.seq, 193);
    assert_int_equal(in.watched_ms, 30000);
    assert_int_equal(in.count, 2);
    window_init(&w);
    assert_true(window_next(&in, &r));
    assert_true(r.created == 100 && r.generation == 1 && r.busy);
    renewal_apply(&r, &load);
    assert_true(load.cpu == 1.0 && load.memory == .25);
    assert_true(load.pool == LOAD_UNKNOWN);
    assert_true(window_add(&w, &r));
    assert_true(window_next(&in, &r));
    assert_true(r.created == 300 && r.generation == 3 && !r.busy);
    assert_int_equal(r.told, 0);
    assert_true(window_add(&w, &r));
    assert_false(window_next(&in, &r));
    buf_init(&out, WINDOW_BYTES_MAX);
    window_write(&out, &w, 193, 30000);
    assert_int_equal(out.len, sizeof(bytes));
    assert_memory_equal(out.data, bytes, sizeof(bytes));
    buf_close(&out);
    window_close(&w);
}

static void a_window_is_in_the_order_of_names_each_once(void **state)
{
    static const struct load loads[] = {
        {.cpu = .1, .memory = .2, .disk = .3, .pool = 40},
        {.cpu = .9, .memory = .2, .disk = .3, .pool = 40},
    };
    struct renewal first = renewal(50, 2), again = renewal(50, 2), r;
    struct load seen = {0};
    struct window_read in;
    struct window w;
    struct buf out;

    (void)state;
    window_init(&w);
    buf_init(&out, WINDOW_BYTES_MAX);
    renewal_tell(&first, &loads[0], NULL);
    renewal_tell(&again, &loads[1], &loads[0]);
    again.busy = true;
    assert_int_equal(first.told,
                     LOAD_CPU | LOAD_MEMORY | LOAD_DISK | LOAD_POOL);
    assert_int_equal(again.told, LOAD_CPU);
    add(&w, UINT64_MAX, UINT32_MAX);
    assert_true(window_add(&w, &first));
    add(&w, 50, 1); /* the process before it, in the same window */
    assert_true(window_add(&w, &again));
    add(&w, 1, 1);
    window_write(&out, &w, 64, 1);
    assert_int_equal(window_open(&in, 0, out.data, out.len, NULL), 0);
    assert_int_equal(in.count, 4);
    assert_true(window_next(&in, &r));
    assert_true(r.created == 1 && r.generation == 1);
    assert_true(window_next(&in, &r));
    assert_true(r.created == 50 && r.generation == 1 && r.told == 0);
    assert_true(window_next(&in, &r));
    assert_true(r.created == 50 && r.generation == 2 && r.busy);
    renewal_apply(&r, &seen); /* all of the first, and what came over it */
    assert_true(seen.cpu == .9 && seen.memory == .2);
    assert_true(seen.disk == .3 && seen.pool == 40);
    assert_true(window_next(&in, &r));
    assert_true(r.created == UINT64_MAX && r.generation == UINT32_MAX);
    assert_false(window_next(&in, &r));
    buf_close(&out);
    window_close(&w);
}

static void only_what_differs_by_a_step_is_told(void **state)
{
    struct load before = {.cpu = .5, .memory = LOAD_UNKNOWN, .pool = 50};
    struct load now = before;
    struct renewal r = renewal(1, 1);

    (void)state;
    now.cpu += .000004;
    renewal_tell(&r, &now, &before);
    assert_int_equal(r.told, 0);
    now.cpu += .00002;
    now.memory = 0;
    now.pool = 50.002;
    renewal_tell(&r, &now, &before);
    assert_int_equal(r.told, LOAD_CPU | LOAD_MEMORY | LOAD_POOL);
    renewal_tell(&r, &before, &now);
    renewal_apply(&r, &now);
    assert_true(now.cpu == .5 && now.memory == LOAD_UNKNOWN && now.pool == 50);
}

static void a_full_window_takes_no_more_and_is_as_small_as_is_said(void **state)
{
    struct renewal r = renewal(1000000, 1);
    struct load load = {.cpu = .1, .memory = .2, .disk = .3, .pool = 40};
    struct window_read in;
    struct window w;
    struct buf out;
    uint32_t n = 0;

    (void)state;
    window_init(&w);
    buf_init(&out, WINDOW_BYTES_MAX);
    renewal_tell(&r, &load, NULL);
    for (size_t i = 0; i < WINDOW_MAX; i++, r.created += 127)
        assert_true(window_add(&w, &r));
    assert_false(window_add(&w, &r));
    window_write(&out, &w, 1, WINDOW_WATCHED_MAX);
    assert_int_equal(window_open(&in, 1, out.data, out.len, NULL), 0);
    while (window_next(&in, &r))
        n++;
    assert_int_equal(n, WINDOW_MAX);
    assert_true(out.len <= 11 * WINDOW_MAX); /* one byte of created: 10 each */
    window_close(&w);
    buf_reset(&out);
    for (uint64_t i = 0; i < WINDOW_MAX; i++) { /* the largest that there is */
        r = renewal((i + 1) << 50, UINT32_MAX);
        renewal_tell(&r, &load, NULL);
        assert_true(window_add(&w, &r));
    }
    window_write(&out, &w, UINT64_MAX, WINDOW_WATCHED_MAX);
    assert_false(out.overflow);
    assert_int_equal(window_open(&in, 63, out.data, out.len, NULL), 0);
    buf_close(&out);
    window_close(&w);
}

static void refused(unsigned slot, const char *bytes, size_t len,
                    const char *why)
{
    struct window_read in;
    struct err err;
    char *exact = mem_dup(bytes, len); /* a sanitizer sees what is past it */

    assert_int_equal(window_open(&in, slot, exact, len, &err), ERR_INVALID);
    if (strstr(err.msg, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.msg, why);
    mem_free(exact);
}
#define REFUSED(slot, bytes, why) refused(slot, bytes, sizeof(bytes) - 1, why)

static void what_is_malformed_is_refused_with_what_and_where(void **state)
{
    (void)state;
    REFUSED(1, "", "byte 0");
    REFUSED(1, "\x02\x01\x01\x01\x01\x00", "byte 0: format 2");
    REFUSED(1, "\x01", "byte 1");
    REFUSED(0, "\x01\x00\x01\x01\x01\x00", "byte 1");
    REFUSED(1, "\x01\x81\x00\x01\x01\x01\x00", "byte 1"); /* not shortest */
    REFUSED(2, "\x01\x01\x01\x01\x01\x00", "belongs into slot 1, not 2");
    REFUSED(1, "\x01\x01\x00\x01\x01\x00", "watched");
    REFUSED(1, "\x01\x01\xff\xff\xff\x7f\x01\x01\x00", "watched");
    REFUSED(1, "\x01\x01\x01\x00", "count");
    REFUSED(1, "\x01\x01\x01\x02\x01\x00", "count");
    REFUSED(1, "\x01\x01\x01\xff\xff\x7f\x01\x00", "count");
    REFUSED(1, "\x01\x01\x01\x01\x00\x00", "renewal 0 at byte 4: created is 0");
    REFUSED(1, "\x01\x01\x01\x01\x01\x40", "renewal 0 at byte 4: flags");
    REFUSED(1, "\x01\x01\x01\x01\x01\x10", "generation");
    REFUSED(1, "\x01\x01\x01\x01\x01\x10\x01", "generation");
    REFUSED(1, "\x01\x01\x01\x01\x01\x01\x50", "cut short");
    REFUSED(1, "\x01\x01\x01\x01\x01\x01\x51\xc3", "above 50000");
    REFUSED(1, "\x01\x01\x01\x02\x01\x00\x00\x00",
            "renewal 1 at byte 6: not behind");
    REFUSED(1, "\x01\x01\x01\x02\x01\x10\x03\x00\x10\x03", "not behind");
    REFUSED(1,
            "\x01\x01\x01\x02\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
            "\x00",
            "renewal 1 at byte 6: no created");
    REFUSED(1, "\x01\x01\x01\x01\x01\x00\x00", "1 bytes behind");
}

static void keys_are_read_as_they_are_written(void **state)
{
    static const char *const others[] = {
        "/pelorus/renewals",        "/pelorus/renewals/1",
        "/pelorus/renewals/1/",     "/pelorus/renewals/1/40",
        "/pelorus/renewals/1/3F",   "/pelorus/renewals/1/003",
        "/pelorus/renewals//01",    "/pelorus/renewals/01/01",
        "/pelorus/renewals/1/01/2", "/pelorus/renewals/1g/01",
        "/pelorus/taken",           "/pelorus/renewals/11111111111111111/01"};
    char key[WINDOW_KEY_SIZE];
    uint64_t session;
    unsigned slot;

    (void)state;
    assert_string_equal(window_key(UINT64_MAX, window_slot(127), key),
                        "/pelorus/renewals/ffffffffffffffff/3f");
    assert_true(window_key_parse(key, &session, &slot));
    assert_true(session == UINT64_MAX && slot == 63);
    assert_string_equal(window_key(10, WINDOW_SLOTS, key),
                        "/pelorus/renewals/a");
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (window_key_parse(others[i], &session, &slot))
            fail_msg("%s", others[i]);
    assert_true(window_ring_parse("a0", &session) && session == 160);
    assert_false(window_ring_parse("0", &session));
    assert_false(window_ring_parse("", &session));
    assert_false(window_ring_parse("x", &session));
}

/* --- taken --------------------------------------------------------------- */

static struct taken again(const struct taken *t)
{
    struct taken out;
    struct err err;
    struct buf b;

    buf_init(&b, TAKEN_BYTES_MAX);
    taken_write(&b, t);
    if (taken_read(&out, b.data, b.len, &err) != 0)
        fail_msg("%s", err.msg);
    buf_close(&b);
    return out;
}

static void who_was_named_since_is_known(void **state)
{
    struct taken t;
    char address[32];

    (void)state;
    taken_init(&t);
    assert_false(t.grouped);
    assert_false(taken_names(&t, 0, NODE_WORKER, "h:1"));
    taken_raise(&t, NODE_WORKER, "h:1");
    taken_raise(&t, NODE_MASTER, "h:2");
    t.grouped = true;
    t = again(&t);
    assert_true(t.grouped);
    assert_int_equal(t.named, 2);
    assert_true(taken_names(&t, 0, NODE_WORKER, "h:1"));
    assert_false(taken_names(&t, 1, NODE_WORKER, "h:1"));
    assert_true(taken_names(&t, 1, NODE_MASTER, "h:2"));
    assert_false(taken_names(&t, 0, NODE_WORKER, "h:2")); /* a kind is one */
    assert_false(taken_names(&t, 2, NODE_MASTER, "h:2"));
    for (int i = 0; i < TAKEN_NAMES; i++) {
        (void)snprintf(address, sizeof(address), "other:%d", i);
        taken_raise(&t, NODE_WORKER, address);
    }
    t = again(&t);
    assert_true(taken_knows(&t, 2));
    assert_false(taken_names(&t, 2, NODE_MASTER, "h:2"));
    assert_true(taken_names(&t, 2, NODE_WORKER, "other:0"));
    assert_false(taken_names(&t, 3, NODE_WORKER, "other:0"));
    assert_true(taken_names(&t, 257, NODE_WORKER, "other:255"));
    /* one more than it keeps: everybody may have been */
    assert_false(taken_knows(&t, 1));
    assert_true(taken_names(&t, 1, NODE_WORKER, "nobody:1"));
    /* a store that went back */
    assert_false(taken_knows(&t, 259));
    assert_true(taken_names(&t, 259, NODE_WORKER, "nobody:1"));
}

/* Who knew of no groups named nobody. */
static void groups_begin_with_nobody_verified(void **state)
{
    struct taken t;
    uint64_t named;

    (void)state;
    taken_init(&t);
    taken_raise(&t, NODE_WORKER, "h:1");
    named = t.named;
    taken_begin_groups(&t);
    t = again(&t);
    assert_true(t.grouped);
    assert_false(taken_knows(&t, named));
    assert_true(taken_names(&t, named, NODE_WORKER, "h:1"));
    assert_true(taken_names(&t, named, NODE_MASTER, "nobody:1"));
    named = t.named;
    assert_false(taken_names(&t, named, NODE_WORKER, "h:1"));
    taken_raise(&t, NODE_MASTER, "h:2");
    t = again(&t);
    assert_true(taken_names(&t, named, NODE_MASTER, "h:2"));
    assert_false(taken_names(&t, named, NODE_WORKER, "h:1"));
    t.grouped = false;
    named = t.named;
    taken_begin_groups(&t);
    assert_false(taken_knows(&t, named));
}

static void a_name_is_one_in_every_spelling(void **state)
{
    struct taken t;

    (void)state;
    taken_init(&t);
    taken_raise(&t, NODE_WORKER, "::1:5");
    assert_true(taken_names(&t, 0, NODE_WORKER, "[0:0::1]:5"));
    assert_false(taken_names(&t, 0, NODE_WORKER, "[::2]:5"));
}

/* It stands in registries, so the hash is the same for ever. */
static void the_value_is_as_it_is_said(void **state)
{
    static const uint8_t bytes[] = {1,    1,    1,    0,    0,    0,
                                    0,    0,    0,    0,    0x47, 0x83,
                                    0x53, 0xc6, 0x0b, 0x9f, 0x66, 0xc9};
    struct taken t;
    struct buf b;

    (void)state;
    taken_init(&t);
    t.grouped = true;
    taken_raise(&t, NODE_WORKER, "h:1");
    buf_init(&b, TAKEN_BYTES_MAX);
    taken_write(&b, &t);
    assert_int_equal(b.len, sizeof(bytes));
    assert_memory_equal(b.data, bytes, sizeof(bytes));
    buf_close(&b);
}

static void a_malformed_value_is_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *why;
    } bad[] = {
        {"", 0, "byte 0"},
        {"\x02\x00\0\0\0\0\0\0\0\0", 10, "byte 0: format 2"},
        {"\x01\x02\0\0\0\0\0\0\0\0", 10, "byte 1"},
        {"\x01\x00\0\0\0\0\0\0\0", 9, "byte 2"},
        {"\x01\x00\0\0\0\0\0\0\0\0\0", 11, "byte 2"},
        {"\x01\x00\x01\0\0\0\0\0\0\0", 10, "byte 2"},
        {"\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff", 10, "byte 2"},
    };
    struct taken t;
    struct err err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(taken_read(&t, bad[i].bytes, bad[i].len, &err),
                         ERR_INVALID);
        assert_non_null(strstr(err.msg, bad[i].why));
        assert_non_null(strstr(err.msg, TAKEN_KEY));
    }
}

/* --- any windows --------------------------------------------------------- */

static void what_is_written_is_read_again(void **state)
{
    struct rand random;
    struct renewal *all = mem_array(300, sizeof(*all)), r;

    (void)state;
    rand_seed(&random, 7);
    for (uint64_t round = 1; round < 200; round++) {
        size_t n = 1 + rand_below(&random, 300);
        struct window_read in;
        struct window w;
        struct buf out;

        window_init(&w);
        buf_init(&out, WINDOW_BYTES_MAX);
        for (size_t i = 0; i < n; i++) {
            all[i] =
                renewal(round * 1000 + i, 1 + (uint32_t)rand_below(&random, 3));
            all[i].told = (uint8_t)rand_below(&random, 16);
            all[i].busy = rand_below(&random, 2) == 1;
            for (unsigned k = 0; k < 4; k++)
                if ((all[i].told & 1u << k) != 0)
                    all[i].load[k] = (uint16_t)rand_below(&random, 50001);
        }
        for (size_t i = n; i > 0; i--) /* from the last to the first */
            assert_true(window_add(&w, &all[i - 1]));
        window_write(&out, &w, round, (int64_t)round * 1000);
        assert_int_equal(
            window_open(&in, window_slot(round), out.data, out.len, NULL), 0);
        for (size_t i = 0; i < n; i++) {
            assert_true(window_next(&in, &r));
            expect_same(&r, &all[i]);
        }
        assert_false(window_next(&in, &r));
        buf_close(&out);
        window_close(&w);
    }
    mem_free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_format_is_as_it_is_said),
        cmocka_unit_test(a_window_is_in_the_order_of_names_each_once),
        cmocka_unit_test(only_what_differs_by_a_step_is_told),
        cmocka_unit_test(
            a_full_window_takes_no_more_and_is_as_small_as_is_said),
        cmocka_unit_test(what_is_malformed_is_refused_with_what_and_where),
        cmocka_unit_test(keys_are_read_as_they_are_written),
        cmocka_unit_test(what_is_written_is_read_again),
        cmocka_unit_test(who_was_named_since_is_known),
        cmocka_unit_test(groups_begin_with_nobody_verified),
        cmocka_unit_test(a_name_is_one_in_every_spelling),
        cmocka_unit_test(the_value_is_as_it_is_said),
        cmocka_unit_test(a_malformed_value_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
