/*
 * test_zookeeper_numbers.c - what the client library does after a month: its
 * numbers of requests come to those that stand for packets of its own.
 */
#include "tests/registry/zookeeper_store.h"

#include <string.h>
#include <time.h>

#define BEFORE 10000 /* requests, until the numbers begin anew */

/* The library's first number, and, as it begins anew, its next one. The linker
 * exports it to the library, which is loaded later. */
time_t time(time_t *at)
{
    time_t now = (time_t)UINT32_MAX + 1 - BEFORE;

    if (at != NULL)
        *at = now;
    return now;
}

static void read_many(struct world *w, struct registry *r, size_t n)
{
    enum { WINDOW = 100 };
    struct got g[WINDOW];

    for (size_t done = 0; done < n; done += WINDOW) {
        memset(g, 0, sizeof(g));
        for (size_t i = 0; i < WINDOW; i++)
            registry_get(r, "/numbers", got_reply, &g[i]);
        for (size_t i = 0; i < WINDOW; i++) {
            world_until(w, g[i].answers > 0);
            assert_int_equal(g[i].answers, 1);
            assert_int_equal(g[i].code, ERR_OK);
            assert_int_equal(g[i].n_entries, 1);
            got_free(&g[i]);
        }
    }
}

static void requests_go_on_past_the_last_number(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    uint64_t session, accepted;

    assert_int_equal(do_put(w, r, "/numbers", "1", REGISTRY_ABSENT, 0), ERR_OK);
    session = registry_session(r);
    /* a session begins with a question beside it: how long servers wait */
    world_until(w, proxy_accepted(zktest_proxy(w, r)) >= 2);
    accepted = proxy_accepted(zktest_proxy(w, r));
    read_many(w, r, 3 * (size_t)BEFORE);
    assert_true(registry_session(r) == session);
    assert_int_equal(proxy_accepted(zktest_proxy(w, r)), accepted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ZKTEST(requests_go_on_past_the_last_number),
    };
    int failed;

    if (zktest_begin() != 0)
        return 1;
    failed =
        cmocka_run_group_tests_name("zookeeper_numbers", tests, NULL, NULL);
    zktest_end();
    return failed;
}
