/*
 * acts.c - last acts: when all is well again, one clean fault whose outcome is
 * certain. In the chaos before, many causes mix, and hardly anything can be
 * said but that nobody has two owners; here the bounds are checked.
 */
#include "tests/sim/world.h"

#include <inttypes.h>

static void run_for(struct world *w, int64_t ms)
{
    mono_ms end = w->clock.mono + ms;

    while (w->clock.mono < end && !check_failed(&w->check))
        world_step(w);
}

static int first_of(enum node_kind kind)
{
    return kind == NODE_MASTER ? 0 : MASTERS;
}

static int count_of(enum node_kind kind)
{
    return kind == NODE_MASTER ? MASTERS : WORKERS;
}

/* A random one of this kind that lives, is nowhere else in `taken` and owns
 * work if it should. */
static struct sim_node *pick(struct world *w, enum node_kind kind, bool owning,
                             const bool *taken)
{
    int n = count_of(kind), at = (int)between(w, 0, n - 1);

    for (int i = 0; i < n; i++) {
        int k = first_of(kind) + (at + i) % n;

        if (w->nodes[k].alive && !taken[k] &&
            (!owning || w->check.nodes[k].markers > 0))
            return &w->nodes[k];
    }
    return NULL;
}

/* Most of a kind are cut off at one moment, and their leases end one after
 * another. What the brake may let through is what is no mass by itself. */
static void mass_loss(struct world *w)
{
    enum node_kind kind = chance(w, 0.5) ? NODE_MASTER : NODE_WORKER;
    const struct conf_failover *f = &w->conf.failover;
    int n = count_of(kind), lost = kind == NODE_MASTER ? n - 1 : 2 * n / 3;
    uint64_t most = 0, seen = w->check.taken[kind];
    mono_ms times[NODES + 1] = {0}, end;
    bool taken[NODES] = {false};

    if (w->clock.mono < w->overridden)
        run_for(w, w->overridden - w->clock.mono);
    while (most + 1 < f->brake_min || (double)(most + 1) <= f->brake_share * n)
        most++;
    for (int i = 0; i < lost; i++) {
        struct sim_node *node = pick(w, kind, false, taken);

        if (node == NULL)
            break;
        taken[node->index] = true;
        sim_node_cut(node, 20 * TIMEOUT_MS);
        run_for(w, between(w, 100, kind == NODE_MASTER ? 1200 : 400));
    }
    end = w->clock.mono + 3 * TIMEOUT_MS;
    while (w->clock.mono < end && !check_failed(&w->check)) {
        run_for(w, 1);
        for (; seen < w->check.taken[kind]; seen++)
            times[seen % ARRAY_LEN(times)] = w->clock.mono;
        if (seen > most && times[(seen - most - 1) % ARRAY_LEN(times)] >
                               w->clock.mono - f->brake_window_ms + 1000)
            check_fail(&w->check, "a-mass-is-held",
                       "%d of %d were cut off, and the work of more than "
                       "%" PRIu64 " was taken within %d s",
                       lost, n, most, (int)(f->brake_window_ms / 1000));
    }
}

/* The registry says nothing for longer than a node's ttl, and not for so long
 * that the session is in doubt. */
static void silence(struct world *w)
{
    int64_t ms = between(w, TIMEOUT_MS / 2 + 200, TIMEOUT_MS * 2 / 3 - 200);
    uint64_t before = w->check.taken[0] + w->check.taken[1];

    trace(&w->trace, "SILENCE for %lld ms", (long long)ms);
    for (int i = 0; i < NODES; i++)
        if (w->nodes[i].http) {
            /* it rests, and comes again, some a little later than the registry:
             * whoever had counted on meanwhile has time to say so */
            w->nodes[i].stops_on_loss = false;
            sim_node_cut(&w->nodes[i], ms + between(w, 0, 1800));
        } else {
            sim_node_cut(&w->nodes[i], ms);
        }
    for (int i = 0; i < COORDS; i++)
        coord_cut(&w->coords[i], ms);
    w->check.silent = true;
    run_for(w, ms + 1800);
    w->check.silent = false;
    run_for(w, 2 * TIMEOUT_MS);
    if (w->check.taken[0] + w->check.taken[1] != before)
        check_fail(&w->check, "an-outage-moves-nothing",
                   "the registry was silent for %d ms, and work was taken",
                   (int)ms);
}

/* A coordinator stops between two steps of a PUT, of a process that was not
 * heard of for its ttl: meanwhile the others take its work. */
static void held_up(struct world *w)
{
    struct coord *k = coord_any(w);
    struct sim_node *n = NULL;
    mono_ms by;

    for (int i = 0; i < NODES && n == NULL; i++)
        if (w->nodes[i].http && w->nodes[i].alive &&
            w->check.nodes[i].markers > 0 && chance(w, 0.7))
            n = &w->nodes[i];
    if (k == NULL || n == NULL)
        return;
    n->stops_on_loss = false; /* it rests, and comes again */
    sim_node_cut(n, 20 * TIMEOUT_MS);
    by = w->clock.mono + 2 * w->ttl_ms + TIMEOUT_MS;
    while (w->clock.mono < by && check_registered(&w->check, n->index))
        run_for(w, 1);
    sim_node_heal(n);
    sim_http_report(n, k);
    (void)memory_run(w->store, w->clock.mono + between(w, 0, 12));
    coord_freeze(k, between(w, 1000, TIMEOUT_MS - 2500));
    run_for(w, TIMEOUT_MS);
}

static bool until_registered(struct world *w, const struct sim_node *n,
                             bool registered, int64_t ms)
{
    mono_ms by = w->clock.mono + ms;

    while (w->clock.mono < by &&
           check_registered(&w->check, n->index) != registered)
        run_for(w, 1);
    return check_registered(&w->check, n->index) == registered;
}

/* A coordinator stops between reading a registration and renewing it. Its
 * process dies, and when the coordinator goes on, the next one at the address
 * has a registration of the same version. */
static void two_lives(struct world *w)
{
    struct coord *k = coord_any(w);
    struct sim_node *n = NULL;

    for (int i = 0; i < NODES && n == NULL; i++)
        if (w->nodes[i].http && w->nodes[i].alive && chance(w, 0.3))
            n = &w->nodes[i];
    if (k == NULL || n == NULL || 2 * w->ttl_ms > TIMEOUT_MS)
        return;
    sim_node_kill(n, 20 * TIMEOUT_MS);
    if (!until_registered(w, n, false, 2 * TIMEOUT_MS))
        return;
    sim_node_start(n);
    if (!until_registered(w, n, true, TIMEOUT_MS) || !coord_runs(k))
        return;
    sim_http_report(n, k);
    (void)memory_run(w->store, w->clock.mono + between(w, 0, 8));
    coord_freeze(k, TIMEOUT_MS - 1000);
    sim_node_kill(n, 20 * TIMEOUT_MS);
    if (!until_registered(w, n, false, TIMEOUT_MS - 1500))
        return;
    sim_node_start(n);
    (void)until_registered(w, n, true, 1000);
    k->frozen_until = k->frozen_until == 0 ? 0 : w->clock.mono;
    run_for(w, TIMEOUT_MS);
}

static void finish_all(struct world *w, const bool *of)
{
    for (int i = 0; i < CHECK_ITEMS; i++) {
        const struct check_record *r = &w->check.items[i].now;

        if (r->state == ITEM_ASSIGNED && of[r->owner])
            client_done(w, i);
    }
}

/* A third of the workers finish what they have and leave in order; then one of
 * the others dies. */
static void leavers(struct world *w)
{
    bool leave[NODES] = {false};
    struct sim_node *dead;
    int n = 0;
    mono_ms by;

    for (int i = MASTERS; i < NODES && n <= WORKERS / 3; i++) {
        leave[i] = w->nodes[i].alive && w->nodes[i].http;
        n += leave[i];
    }
    for (int i = 0; i < 10; i++) {
        finish_all(w, leave);
        run_for(w, 300);
    }
    for (int i = 0; i < NODES; i++) {
        if (leave[i] && w->check.nodes[i].markers == 0)
            sim_node_leave(&w->nodes[i], 10 * TIMEOUT_MS);
        if (leave[i])
            run_for(w, between(w, 0, 200));
    }
    dead = pick(w, NODE_WORKER, true, leave);
    if (dead == NULL)
        return;
    run_for(w, between(w, 0, TIMEOUT_MS));
    sim_node_kill(dead, 10 * TIMEOUT_MS);
    by = w->clock.mono + 4 * TIMEOUT_MS;
    while (w->check.nodes[dead->index].markers > 0 && w->clock.mono < by)
        run_for(w, 200);
    if (w->check.nodes[dead->index].markers > 0)
        check_fail(&w->check, "who-leaves-is-not-missing",
                   "%d left in order, and %d s after the death of %s its work "
                   "is still there",
                   n, 4 * TIMEOUT_MS / 1000, dead->address);
}

static void slow_registry(struct world *w, int64_t delay_max_ms)
{
    struct memory_faults f = {.delay_max_ms = delay_max_ms, .resync_ms = 3000};

    memory_set_faults(w->store, &f);
}

/* A process comes to an address that has no gate yet, and is drained at that
 * moment: the order and the coordinators make the first gate at once. Then
 * another one takes its place. */
static void first_gate(struct world *w, struct sim_node *n)
{
    struct gate_order order = {.what = GATE_ORDER_DRAIN,
                               .kind = n->kind,
                               .address = n->address,
                               .for_ms = 20000,
                               .who = "ann"};

    n->late = false;
    slow_registry(w, 400);
    sim_node_start(n);
    run_for(w, between(w, 200, 1200));
    person_order(w, &order);
    run_for(w, 3000);
    sim_node_kill(n, between(w, 100, 3000));
    run_for(w, 2 * TIMEOUT_MS);
    slow_registry(w, 2);
}

/* All is paused and a failover by force is ordered; it goes on, and at that
 * moment its person thinks better of it. */
static void second_thoughts(struct world *w)
{
    static const bool none[NODES];
    struct sim_node *n =
        pick(w, chance(w, 0.5) ? NODE_MASTER : NODE_WORKER, true, none);

    if (n == NULL)
        return;
    person_pause(w, true);
    run_for(w, 1000);
    person_force(w, n);
    run_for(w, between(w, 500, 3000));
    slow_registry(w, 400);
    person_pause(w, false);
    run_for(w, between(w, 0, 3000));
    person_withdraw(w);
    run_for(w, TIMEOUT_MS);
    slow_registry(w, 2);
}

void acts_play(struct world *w)
{
    static void (*const acts[])(struct world *) = {
        mass_loss, silence, leavers, held_up, second_thoughts, two_lives,
    };

    for (int i = 0; i < NODES; i++)
        if (w->nodes[i].late) {
            first_gate(w, &w->nodes[i]);
            return;
        }
    acts[between(w, 0, (int64_t)ARRAY_LEN(acts) - 1)](w);
}
