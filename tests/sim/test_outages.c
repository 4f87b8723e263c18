/*
 * test_outages.c - when everybody seems to be gone at once, it is rarely
 * everybody: then nothing is moved.
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
};

/* A cluster at work, of nodes that go on as they were after an outage. */
static int setup(void **state)
{
    struct scene *s = mem_zalloc(sizeof(*s));

    world_open(&s->w, 1, false, &s->result);
    for (int i = 0; i < NODES; i++)
        s->w.nodes[i].stops_on_loss = false;
    s->w.healed = true; /* no heartbeat is cut short */
    world_come_up(&s->w);
    assert_false(s->result.failed);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct scene *s = *state;

    world_close(&s->w);
    mem_free(s);
    return 0;
}

static void run_for(struct scene *s, int64_t ms)
{
    mono_ms end = s->w.clock.mono + ms;

    while (s->w.clock.mono < end && !s->result.failed)
        world_step(&s->w);
}

static void nothing_moved_and_all_is_well(struct scene *s)
{
    char why[256] = "";
    bool well = false;

    for (int i = 0; i < 100 && !well; i++) {
        run_for(s, 500);
        well = live_check(&s->w, why, sizeof(why));
    }
    if (s->result.failed)
        fail_msg("%s: %s", s->result.invariant, s->result.what);
    if (!well)
        fail_msg("%s", why);
    assert_int_equal(s->result.moves, 0);
    assert_int_equal(s->result.failovers, 0);
}

static void an_outage_of_the_registry_moves_nothing(void **state)
{
    struct scene *s = *state;

    for (int i = 0; i < NODES; i++)
        sim_node_cut(&s->w.nodes[i], 4 * TIMEOUT_MS);
    for (int i = 0; i < COORDS; i++)
        coord_cut(&s->w.coords[i], 4 * TIMEOUT_MS);
    nothing_moved_and_all_is_well(s);
}

/* The host slept: whoever wakes first must not reap the others. */
static void a_common_pause_moves_nothing(void **state)
{
    struct scene *s = *state;

    for (int i = 0; i < NODES; i++)
        sim_node_freeze(&s->w.nodes[i], 4 * TIMEOUT_MS + 50 * i);
    for (int i = 0; i < COORDS; i++)
        coord_freeze(&s->w.coords[i], 4 * TIMEOUT_MS);
    nothing_moved_and_all_is_well(s);
}

static void losing_all_masters_moves_nothing(void **state)
{
    struct scene *s = *state;

    for (int i = 0; i < MASTERS; i++)
        sim_node_cut(&s->w.nodes[i], 4 * TIMEOUT_MS);
    nothing_moved_and_all_is_well(s);
}

static void losing_half_the_workers_moves_nothing(void **state)
{
    struct scene *s = *state;

    for (int i = 0; i < WORKERS; i += 2)
        sim_node_cut(&s->w.nodes[MASTERS + i], 4 * TIMEOUT_MS);
    nothing_moved_and_all_is_well(s);
}

static void a_lost_master_is_not_an_outage(void **state)
{
    struct scene *s = *state;

    assert_true(s->w.check.nodes[0].markers > 0);
    sim_node_kill(&s->w.nodes[0], 100 * TIMEOUT_MS);
    run_for(s, 4 * TIMEOUT_MS);
    assert_false(s->result.failed);
    assert_int_equal(s->result.failovers, 1);
    assert_int_equal(s->w.check.nodes[0].markers, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_outage_of_the_registry_moves_nothing),
        TEST(a_common_pause_moves_nothing),
        TEST(losing_all_masters_moves_nothing),
        TEST(losing_half_the_workers_moves_nothing),
        TEST(a_lost_master_is_not_an_outage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
