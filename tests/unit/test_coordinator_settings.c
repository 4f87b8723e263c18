/*
 * test_coordinator_settings.c - settings that people change for all
 * coordinators: one field at a time, together, and until when.
 */
#include "tests/unit/coordinator_world.h"

static const struct settings_patch nothing = {.paused = -1,
                                              .brake_override_ms = -1};

static void settings_change_only_what_is_named(void **state)
{
    struct world *w = *state;
    struct settings_patch p = nothing;
    struct got g;

    p.paused = 1;
    p.paused_for_ms = 60000;
    p.who = "ann";
    g = patch(w, 0, p);
    assert_true(g.settings.paused);
    assert_int_equal(g.settings.paused_until / 1000,
                     (w->clock.wall + 60000) / 1000);
    p = nothing;
    p.policy = "RANDOM";
    g = patch(w, 0, p);
    assert_true(g.settings.paused);
    assert_string_equal(g.settings.policy, "RANDOM");
    p.policy = "best";
    assert_string_equal(patch(w, 0, p).code, "invalid");
    p = nothing;
    p.brake_override_ms = 60 * 60 * 1000 + 1;
    assert_string_equal(patch(w, 0, p).code, "invalid");
}

static bool shown_as_paused(struct world *w)
{
    struct snapshot *s = coordinator_snapshot(w->c[0]);
    bool paused = s->paused;

    coordinator_snapshot_release(&s);
    return paused;
}

static void what_is_over_binds_nobody_and_is_not_shown(void **state)
{
    struct world *w = *state;
    struct settings_patch p = nothing;
    struct got g = {0};

    p.paused = 1;
    p.paused_for_ms = 5000;
    p.brake_override_ms = 5000;
    patch(w, 0, p);
    world_run(w, 3000);
    assert_true(shown_as_paused(w));
    world_run(w, 4000);
    assert_false(shown_as_paused(w));
    coordinator_settings_get(w->c[0], got, &g);
    answered(w, &g);
    assert_false(g.settings.paused);
    assert_int_equal(g.settings.paused_until, 0);
    assert_int_equal(g.settings.brake_override_until, 0);
}

/* Two people at once: both get what they asked for. */
static void two_changes_at_once_both_hold(void **state)
{
    struct world *w = *state;
    struct settings_patch a = nothing, b = nothing;
    struct got ga = {0}, gb = {0};
    struct got now = {0};

    world_start(w, 1);
    world_run(w, 2000);
    a.paused = 1;
    b.policy = "RANDOM";
    coordinator_settings_patch(w->c[0], &a, got, &ga);
    coordinator_settings_patch(w->c[1], &b, got, &gb);
    assert_string_equal(answered(w, &ga).code, "");
    assert_string_equal(answered(w, &gb).code, "");
    coordinator_settings_get(w->c[0], got, &now);
    answered(w, &now);
    assert_true(now.settings.paused);
    assert_string_equal(now.settings.policy, "RANDOM");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(settings_change_only_what_is_named),
        WORLD_TEST(what_is_over_binds_nobody_and_is_not_shown),
        WORLD_TEST(two_changes_at_once_both_hold),
    };

    return cmocka_run_group_tests_name("coordinator settings", tests, NULL,
                                       NULL);
}
