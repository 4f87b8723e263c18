/*
 * test_dbms_connect.c - which of several hosts: every order of old primaries,
 * standbys and servers that do not answer. A driver of the test's own stands in
 * for servers (real ones: tests/integration/test_restore_sql.py).
 */
#include "registry/dbms/dbms_priv.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TEST(f) cmocka_unit_test(f)

struct dbms_link {
    size_t host;
};

/* What stands at each host. */
static struct server {
    enum dbms_fault fault; /* of the connection */
    bool read_only, certifies, lineless;
    struct dbms_place place;
    unsigned asked; /* how often it was connected to */
} servers[8];
static unsigned open_links;

static enum dbms_fault connect_(struct dbms_link **out,
                                const struct dbms_target *t, struct err *err)
{
    struct server *s = &servers[t->at];

    s->asked++;
    if (s->fault != DBMS_OK) {
        err_set(err, ERR_UNAVAILABLE, "test: no answer");
        return s->fault;
    }
    *out = mem_zalloc(sizeof(**out));
    (*out)->host = t->at;
    open_links++;
    return DBMS_OK;
}

static void begin(const struct dbms_target *t, struct buf *sql)
{
    buf_str(sql, t->lineless ? "BEGIN" : "BEGIN;LINE");
}

static void tell(dbms_row_f *row, void *arg, const char *const *texts,
                 unsigned n)
{
    struct dbms_cell cells[4];

    for (unsigned i = 0; i < n; i++)
        cells[i] = (struct dbms_cell){texts[i], strlen(texts[i])};
    row(arg, cells, n);
}

static enum dbms_fault run(struct dbms_link *link, const char *sql, size_t len,
                           dbms_row_f *row, void *arg, struct err *err)
{
    const struct server *s = &servers[link->host];
    char line[24], position[24], value[128];

    (void)len;
    if (s->lineless && strstr(sql, "LINE") != NULL) {
        err_set(err, ERR_UNAVAILABLE, "test: no such function");
        return DBMS_REFUSED;
    }
    if (strcmp(sql, "ROLLBACK") == 0)
        return DBMS_OK;
    (void)snprintf(line, sizeof(line), "%08X", (unsigned)s->place.line);
    (void)snprintf(position, sizeof(position), "%u",
                   (unsigned)s->place.position);
    (void)snprintf(value, sizeof(value),
                   "{\"incarnation\":\"0123456789abcdef0123456789abcdef\","
                   "\"generation\":%u}",
                   (unsigned)s->place.generation);
    tell(row, arg,
         (const char *[]){"W", s->read_only ? "on" : "off", "0", line}, 4);
    tell(row, arg, (const char *[]){"M", position}, 2);
    tell(row, arg, (const char *[]){"J", value}, 2);
    return DBMS_OK;
}

static bool certifies(const struct dbms_link *link)
{
    return servers[link->host].certifies;
}

static void close_(struct dbms_link **link)
{
    mem_free(*link);
    *link = NULL;
    open_links--;
}

static const struct dbms_syntax syntax = {.bytes = "x'", .bytes_end = "'"};
static const struct dbms_driver driver = {.name = "test",
                                          .syntax = &syntax,
                                          .connect = connect_,
                                          .begin = begin,
                                          .certifies = certifies,
                                          .run = run,
                                          .close = close_};

static struct dbms_target t;

/* `n` hosts, each with a number for a name: nothing is looked up. */
static void hosts(size_t n)
{
    memset(servers, 0, sizeof(servers));
    t = (struct dbms_target){.driver = &driver,
                             .url.n_hosts = n,
                             .url.call_ms = 5000,
                             .url.connect_ms = 1000,
                             .prefix = "/ns"};
    for (size_t i = 0; i < n; i++) {
        t.url.hosts[i].name = mem_strdup("127.0.0.1");
        t.url.hosts[i].port = (uint16_t)(1 + i);
    }
}

static void stands(size_t host, uint64_t generation, uint64_t line,
                   uint64_t position)
{
    servers[host].place = (struct dbms_place){generation, line, position};
}

static void known(uint64_t generation, uint64_t line, uint64_t position)
{
    t.known = (struct dbms_place){generation, line, position};
}

/* Which one: SIZE_MAX for none. */
static size_t chosen(void)
{
    struct dbms_link *link = NULL;
    size_t host = SIZE_MAX;
    struct err err;

    if (dbms_connect(&link, &t, &err) == DBMS_OK) {
        host = link->host;
        assert_int_equal(t.at, host);
        assert_int_equal(open_links, 1);
        close_(&link);
    }
    assert_int_equal(open_links, 0);
    dbms_target_close(&t);
    return host;
}

static void the_first_that_writes_is_taken(void **state)
{
    (void)state;
    hosts(3);
    servers[0].fault = DBMS_LOST;
    servers[1].read_only = true;
    stands(2, 0, 1, 5);
    known(0, 1, 5);
    assert_int_equal(chosen(), 2);
    hosts(2);
    stands(0, 0, 1, 5);
    stands(1, 0, 1, 9);
    known(0, 1, 5);
    assert_int_equal(chosen(), 0);
    assert_int_equal(servers[1].asked, 0); /* as before: nobody else is asked */
    hosts(2);
    servers[0].fault = servers[1].fault = DBMS_LOST;
    assert_int_equal(chosen(), SIZE_MAX);
}

static void an_old_primary_is_not_the_one(void **state)
{
    (void)state;
    hosts(2); /* by its timeline, however much it has counted */
    stands(0, 0, 1, 900);
    stands(1, 0, 2, 100);
    known(0, 2, 90);
    assert_int_equal(chosen(), 1);
    hosts(2); /* by its counter */
    stands(0, 0, 0, 89);
    stands(1, 0, 0, 90);
    known(0, 0, 90);
    assert_int_equal(chosen(), 1);
    hosts(2); /* it was given up by a person, and has counted on since */
    stands(0, 0, 3, 900);
    stands(1, 1, 3, 10);
    known(1, 3, 5);
    assert_int_equal(chosen(), 1);
}

static void the_best_of_those_behind_is_told_apart(void **state)
{
    struct dbms_link *link = NULL;
    struct err err;

    (void)state;
    hosts(3);
    stands(0, 0, 1, 50);
    stands(1, 0, 1, 80);
    servers[2].fault = DBMS_LOST;
    known(0, 1, 90);
    assert_int_equal(dbms_connect(&link, &t, &err), DBMS_OK);
    assert_int_equal(link->host, 1);
    assert_true(t.behind);
    close_(&link);
    servers[2].fault = DBMS_OK;
    stands(2, 0, 1, 90);
    assert_int_equal(dbms_connect(&link, &t, &err), DBMS_OK);
    assert_int_equal(link->host, 2);
    assert_false(t.behind);
    close_(&link);
    assert_int_equal(open_links, 0);
    dbms_target_close(&t);
}

static void a_process_that_knows_nothing_asks_all(void **state)
{
    (void)state;
    for (size_t best = 0; best < 4; best++) {
        hosts(4);
        for (size_t i = 0; i < 4; i++)
            stands(i, 0, i == best ? 2 : 1, i == best ? 10 : 20 + i);
        servers[(best + 1) % 4].fault = DBMS_LOST;
        servers[(best + 2) % 4].read_only = true;
        stands((best + 2) % 4, 0, 9, 900);
        t.all = true;
        assert_int_equal(chosen(), best);
    }
    hosts(2); /* the tables are not made yet: in the URL's order */
    t.all = true;
    assert_int_equal(chosen(), 0);
    hosts(2);
    stands(0, 0, 0, 5);
    stands(1, 0, 0, 6);
    servers[0].certifies = servers[1].certifies = true;
    t.all = true; /* nodes of one cluster have all the same */
    assert_int_equal(chosen(), 0);
}

static void whoever_knows_no_timelines_is_asked_without(void **state)
{
    (void)state;
    hosts(1);
    servers[0].lineless = true;
    stands(0, 0, 0, 7);
    known(0, 4, 6);
    t.all = true;
    assert_int_equal(chosen(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_that_writes_is_taken),
        TEST(an_old_primary_is_not_the_one),
        TEST(the_best_of_those_behind_is_told_apart),
        TEST(a_process_that_knows_nothing_asks_all),
        TEST(whoever_knows_no_timelines_is_asked_without),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
