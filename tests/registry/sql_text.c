/*
 * sql_text.c - keys and values go into statements as text where nothing in them
 * means anything to a server: with each byte among them they come back as they
 * were, whether they are written alone or with many.
 */
#include "tests/registry/sql_text.h"

#include "tests/registry/sql_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SESSION_MS 10000
#define PREFIX     "/pelorus/text"
#define BYTES      256

static const char *const words[] = {"'",    "\\",     "\\'",  "''",
                                    "';--", "/*! */", "%s\n", "\"`",
                                    "?",    "\xc3",   "$1",   "\x81\\"};

static size_t value_of(unsigned i, unsigned round, char out[64])
{
    if (i < BYTES)
        return (size_t)snprintf(out, 64, "a%c%u%c%c", (int)i, round, (int)i,
                                (int)i);
    return (size_t)snprintf(out, 64, "%s%u%s", words[i - BYTES], round,
                            words[i - BYTES]);
}

/* Also with what a key may hold of that. */
static void key_of(unsigned i, char out[64])
{
    bool fits = i > ' ' && i < 127 && i != '/';

    (void)snprintf(out, 64, fits ? PREFIX "/%03u-%c'" : PREFIX "/%03u", i,
                   (int)i);
}

static void on_done(void *arg, const struct registry_reply *reply)
{
    if (reply->err.code != ERR_OK)
        fail_msg("%s", reply->err.msg);
    ++*(unsigned *)arg;
}

#define ALL (BYTES + (unsigned)ARRAY_LEN(words))

/* `together`: they wait for nobody. */
static void write_all(struct sql_store *s, struct registry *r, unsigned round,
                      bool together)
{
    unsigned done = 0;

    for (unsigned i = 0; i < ALL; i++) {
        char key[64], value[64];
        size_t len = value_of(i, round, value);

        key_of(i, key);
        registry_put(r, key, value, len, REGISTRY_ANY, 0, i % 7 == 0, on_done,
                     &done);
        if (!together)
            sql_store_until(s, done == i + 1);
    }
    sql_store_until(s, done == ALL);
}

struct check {
    unsigned round, told;
    bool done;
};

static void on_list(void *arg, const struct registry_reply *reply)
{
    struct check *c = arg;

    assert_int_equal(reply->err.code, ERR_OK);
    for (size_t k = 0; k < reply->n_entries; k++) {
        const struct registry_entry *e = &reply->entries[k];
        unsigned i = (unsigned)strtoul(e->key + strlen(PREFIX "/"), NULL, 10);
        char key[64], value[64];

        assert_true(i < ALL);
        key_of(i, key);
        assert_string_equal(e->key, key);
        assert_int_equal(e->value_len, value_of(i, c->round, value));
        assert_memory_equal(e->value, value, e->value_len);
        c->told++;
    }
    c->done = true;
}

static void expect_all(struct sql_store *s, struct registry *r, unsigned round)
{
    struct check c = {.round = round};

    registry_list(r, PREFIX, NULL, REGISTRY_PAGE_MAX, on_list, &c);
    sql_store_until(s, c.done);
    assert_int_equal(c.told, ALL);
}

static void what_is_written_comes_back_whatever_it_holds(void **state)
{
    struct sql_store *s = *state;
    struct registry *r = sql_store_open(s, SESSION_MS);

    write_all(s, r, 1, false);
    expect_all(s, r, 1);
    write_all(s, r, 2, false);
    expect_all(s, r, 2);
    write_all(s, r, 3, true);
    expect_all(s, r, 3);
    sql_store_close(s, &r);
}

int sql_text_tests(void)
{
    const struct CMUnitTest tests[] = {
        SQL_STORE_TEST(what_is_written_comes_back_whatever_it_holds),
    };

    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
