/*
 * test_orders.c - people's orders, carried out by a whole cluster.
 */
#include "tests/sim/world.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct scene {
    struct world w;
    struct sim_result result;
    unsigned answers;
};

static void run_for(struct scene *s, int64_t ms)
{
    mono_ms end = s->w.clock.mono + ms;

    while (s->w.clock.mono < end && !s->result.failed)
        world_step(&s->w);
    if (s->result.failed)
        fail_msg("%s: %s", s->result.invariant, s->result.what);
}

static void answered(void *arg, const struct engine_reply *reply)
{
    struct scene *s = arg;

    assert_null(reply->code);
    s->answers++;
}

/* Carried out once, although the process is let in again afterwards. */
static void a_forced_failover_with_readmit_happens_once(void **state)
{
    struct scene *s = mem_zalloc(sizeof(*s));
    struct world *w = &s->w;
    struct engine_order order = {
        .address = "m0:1", .force = true, .who = "bob"};

    (void)state;
    world_open(w, 1, false, &s->result);
    w->conf.failover.readmit = w->check.readmit = true;
    w->healed = true; /* no heartbeat is cut short */
    for (int i = 0; i < COORDS; i++) {
        coord_kill(&w->coords[i]);
        coord_start(&w->coords[i]);
    }
    world_come_up(w);
    run_for(s, 2 * TIMEOUT_MS);
    assert_true(w->check.nodes[0].markers > 0);
    engine_order(coordinator_engine(w->coords[0].c, NODE_MASTER), &order,
                 answered, s);
    run_for(s, 5000);
    assert_int_equal(s->answers, 1);
    assert_int_equal(s->result.failovers, 1);
    assert_int_equal(check_gate(&w->check, 0)->state, GATE_IS_OPEN);
    assert_true(
        check_same(&check_gate(&w->check, 0)->process, &w->nodes[0].process));
    world_close(w);
    mem_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_forced_failover_with_readmit_happens_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
