/*
 * sql_place.c - a server that stands lower than its session has seen it, and
 * one that does not, on the server that sql_store_use() named.
 */
#include "tests/registry/sql_place.h"

#include "tests/registry/sql_store.h"

#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>

#define LOOKS_MS 80  /* so far apart two looks count as two */
#define WAITS_MS 300 /* that somebody waits for a row */

struct place {
    struct sql_store *s;
    struct sql_core *core;
    uint64_t session;
};

/* A core that speaks to the server by itself, and its session. */
static struct place begin(void **state)
{
    struct place p = {.s = *state};
    struct dbms_target t;
    struct err err;

    sql_store_aim(p.s, &t);
    p.core = dbms_core_new(&t, "dolphinscheduler", 10000, 3000);
    if (p.core->ops->session_begin(p.core, 0, 10000, &p.session, &err) != 0)
        fail_msg("%s", err.msg);
    return p;
}

static void end(struct place *p)
{
    assert_int_equal(p->core->ops->session_close(p->core, p->session, NULL), 0);
    p->core->ops->close(&p->core);
}

static int write_key(struct place *p, const char *key)
{
    const struct registry_op op = {.type = REGISTRY_PUT,
                                   .expect = REGISTRY_ABSENT,
                                   .key = key,
                                   .value = "1",
                                   .value_len = 1};
    const struct sql_piece piece = {&op, 1};
    size_t failed;
    int rc;

    do {
        p->core->again = false;
        rc = p->core->ops->begin(p->core, p->session, false, &piece, 1, NULL);
    } while (rc != 0 && p->core->again);
    if (rc == 0) {
        rc = p->core->ops->apply(p->core, p->session, &op, 1, &failed, NULL);
        if (rc == 0)
            rc = p->core->ops->commit(p->core, NULL);
        else
            p->core->ops->rollback(p->core);
    }
    return rc;
}

/* Of several hosts another might be the right one: each is asked again. */
static int read_key(struct place *p, const char *key)
{
    struct sql_rows rows = {0};
    int rc = p->core->ops->get(p->core, key, &rows, NULL);

    if (rc == ERR_UNAVAILABLE)
        rc = p->core->ops->get(p->core, key, &rows, NULL);
    sql_rows_close(&rows);
    return rc;
}

static int poll_changes(struct place *p)
{
    bool changed;
    int rc = p->core->ops->changed(p->core, true, &changed, NULL);

    if (rc == ERR_UNAVAILABLE)
        rc = p->core->ops->changed(p->core, true, &changed, NULL);
    return rc;
}

static void lower(struct place *p, unsigned by)
{
    (void)sql_store_run(p->s,
                        "UPDATE pelorus_meta SET revision = revision - %u", by);
}

static void a_lower_counter_is_refused_until_the_next_session(void **state)
{
    struct place p = begin(state);
    uint64_t old = p.session;

    assert_true(p.core->position > 0);
    assert_true((p.core->line > 0) == (p.s->target.driver == &dbms_postgresql));
    assert_int_equal(write_key(&p, "/a"), 0);
    assert_int_equal(write_key(&p, "/b"), 0);
    lower(&p, 1);
    assert_int_equal(read_key(&p, "/a"), ERR_WENT_BACK);
    assert_int_equal(write_key(&p, "/c"), ERR_WENT_BACK);
    assert_int_equal(poll_changes(&p), ERR_WENT_BACK);
    assert_int_equal(p.core->ops->session_renew(p.core, p.session, NULL),
                     ERR_WENT_BACK);
    assert_true(p.core->position ==
                sql_store_run(p.s, "SELECT revision FROM pelorus_meta"));
    assert_int_equal(
        p.core->ops->session_begin(p.core, old, 10000, &p.session, NULL), 0);
    assert_true(p.session != old);
    assert_int_equal(read_key(&p, "/c"), ERR_NOT_FOUND);
    assert_int_equal(write_key(&p, "/c"), 0);
    end(&p);
}

static void a_commit_of_ours_that_is_gone_is_missed(void **state)
{
    struct place p = begin(state);

    assert_int_equal(write_key(&p, "/a"), 0);
    (void)sql_store_run(p.s, "UPDATE pelorus_session SET mark = mark + 1");
    lower(&p, 0);
    (void)sql_store_run(p.s, "UPDATE pelorus_meta SET revision = revision + 9");
    assert_int_equal(read_key(&p, "/a"), 0); /* nothing to see */
    assert_int_equal(write_key(&p, "/b"), ERR_WENT_BACK);
    assert_int_equal(p.core->ops->session_renew(p.core, p.session, NULL),
                     ERR_WENT_BACK);
    end(&p);
}

static void what_was_seen_once_may_have_been_no_more_than_that(void **state)
{
    struct place p = begin(state);

    assert_int_equal(write_key(&p, "/a"), 0);
    assert_int_equal(poll_changes(&p), 0);
    (void)sql_store_run(p.s, "UPDATE pelorus_meta SET revision = revision + 1");
    assert_int_equal(poll_changes(&p), 0);
    lower(&p, 1);
    assert_int_equal(poll_changes(&p), 0);
    assert_int_equal(write_key(&p, "/b"), 0);
    (void)sql_store_run(p.s, "UPDATE pelorus_meta SET revision = revision + 1");
    assert_int_equal(poll_changes(&p), 0);
    (void)poll(NULL, 0, LOOKS_MS);
    assert_int_equal(poll_changes(&p), 0);
    lower(&p, 1);
    assert_int_equal(poll_changes(&p), ERR_WENT_BACK);
    end(&p);
}

static bool all(const void *arg, const char *key)
{
    (void)arg;
    (void)key;
    return true;
}

static void
whoever_reads_changes_lists_again_when_the_counter_fell(void **state)
{
    struct place p = begin(state);
    struct sql_rows rows = {0};
    struct sql_feed feed;
    bool missed, more;

    assert_int_equal(write_key(&p, "/a"), 0);
    assert_int_equal(write_key(&p, "/b"), 0);
    assert_int_equal(p.core->ops->feed_skip(p.core, &feed, NULL), 0);
    assert_int_equal(p.core->ops->feed_read(p.core, &feed, 100, all, NULL,
                                            &rows, &missed, &more, NULL),
                     0);
    assert_false(missed);
    lower(&p, 1);
    assert_int_equal(
        p.core->ops->session_begin(p.core, p.session, 10000, &p.session, NULL),
        0);
    lower(&p, 1); /* the end of the session before raised it */
    assert_int_equal(
        p.core->ops->session_begin(p.core, 0, 10000, &p.session, NULL), 0);
    assert_int_equal(p.core->ops->feed_read(p.core, &feed, 100, all, NULL,
                                            &rows, &missed, &more, NULL),
                     0);
    assert_true(missed);
    assert_int_equal(p.core->ops->feed_read(p.core, &feed, 100, all, NULL,
                                            &rows, &missed, &more, NULL),
                     0);
    assert_false(missed);
    sql_rows_close(&rows);
    end(&p);
}

/* --- what stood there when it began -------------------------------------- */

static void *commit_soon(void *store)
{
    (void)poll(NULL, 0, WAITS_MS);
    (void)sql_store_run(store, "COMMIT");
    return NULL;
}

/* It reads first, then waits for its row: that the row has gone meanwhile must
 * not be hidden by what it has read. */
static void a_session_that_is_ended_while_it_renews_is_lost(void **state)
{
    struct place p = begin(state);
    pthread_t thread;

    assert_int_equal(write_key(&p, "/a"), 0);
    assert_int_equal(p.core->ops->session_renew(p.core, p.session, NULL), 0);
    (void)sql_store_run(p.s, "BEGIN");
    (void)sql_store_run(p.s, "DELETE FROM pelorus_session");
    assert_int_equal(pthread_create(&thread, NULL, commit_soon, p.s), 0);
    assert_int_equal(p.core->ops->session_renew(p.core, p.session, NULL),
                     ERR_SESSION_LOST);
    assert_int_equal(pthread_join(thread, NULL), 0);
    p.core->ops->close(&p.core);
}

int sql_place_tests(void)
{
    const struct CMUnitTest tests[] = {
        SQL_STORE_TEST(a_lower_counter_is_refused_until_the_next_session),
        SQL_STORE_TEST(a_commit_of_ours_that_is_gone_is_missed),
        SQL_STORE_TEST(what_was_seen_once_may_have_been_no_more_than_that),
        SQL_STORE_TEST(a_session_that_is_ended_while_it_renews_is_lost),
        SQL_STORE_TEST(whoever_reads_changes_lists_again_when_the_counter_fell),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
