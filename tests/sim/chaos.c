/*
 * chaos.c - what goes wrong, how often, and the end of it.
 *
 * Each seed draws its own weather: some runs are mostly slow, some mostly
 * lossy, some full of crashes. What always happens everywhere hides what
 * rarely happens alone.
 */
#include "tests/sim/world.h"

static struct sim_node *any_node(struct world *w)
{
    return &w->nodes[between(w, 0, NODES - 1)];
}

/* Mostly the masters: there are few, and much hangs on each. */
static struct sim_node *victim(struct world *w)
{
    return chance(w, 0.4) ? &w->nodes[between(w, 0, MASTERS - 1)] : any_node(w);
}

static void weather(struct world *w)
{
    static const int64_t delays[] = {2, 20, 100, 400};
    struct memory_faults f = {
        .delay_max_ms = delays[between(w, 0, 3)],
        .unknown_share = chance(w, 0.5) ? 0.05 * rand_double(&w->rand) : 0,
        .unavailable_share = chance(w, 0.5) ? 0.05 * rand_double(&w->rand) : 0,
        .event_drop_share = chance(w, 0.5) ? 0.2 * rand_double(&w->rand) : 0,
        .event_dup_share = chance(w, 0.5) ? 0.2 * rand_double(&w->rand) : 0,
        .event_late_share = chance(w, 0.5) ? 0.3 * rand_double(&w->rand) : 0,
        .resync_ms = 6000,
    };

    trace(&w->trace,
          "WEATHER delay=%lld unknown=%.3f unavailable=%.3f drop=%.2f "
          "dup=%.2f late=%.2f",
          (long long)f.delay_max_ms, f.unknown_share, f.unavailable_share,
          f.event_drop_share, f.event_dup_share, f.event_late_share);
    memory_set_faults(w->store, &f);
}

static int64_t stop_time(struct world *w)
{
    return chance(w, 0.5) ? between(w, 100, TIMEOUT_MS)
                          : between(w, TIMEOUT_MS, 3 * TIMEOUT_MS);
}

static void node_fault(struct world *w)
{
    struct sim_node *n = victim(w);

    switch (between(w, 0, 7)) {
    case 0:
        sim_node_kill(n, between(w, 500, 20000));
        break;
    case 1:
        sim_node_kill(n, between(w, 0, 300));
        break;
    case 2:
        sim_node_freeze(n, stop_time(w));
        break;
    case 3:
        sim_node_cut(n, stop_time(w));
        break;
    case 4:
        sim_node_leave(n, between(w, 0, 10000));
        break;
    case 5:
        sim_node_strand(n, stop_time(w));
        break;
    default:
        sim_node_expire(n);
        break;
    }
}

static void coord_fault(struct world *w)
{
    struct coord *k = &w->coords[between(w, 0, COORDS - 1)];

    switch (between(w, 0, 6)) {
    case 0:
        coord_freeze(k, stop_time(w));
        break;
    case 1:
        coord_cut(k, stop_time(w));
        break;
    case 2:
        coord_expire(k);
        break;
    case 3:
        coord_stick(k, between(w, TIMEOUT_MS, 5 * TIMEOUT_MS));
        break;
    case 4:
        coord_strand(k, stop_time(w));
        break;
    default:
        coord_kill(k);
        k->restart_at = w->clock.mono + between(w, 0, 8000);
        break;
    }
}

/* A rack goes dark: the brake should hold. */
static void rack_fault(struct world *w)
{
    int first = (int)between(w, 0, NODES - 1), n = (int)between(w, 4, 12);
    int64_t ms = between(w, 2000, 15000);

    trace(&w->trace, "RACK %d nodes from %d", n, first);
    for (int i = 0; i < n; i++)
        if (chance(w, 0.5))
            sim_node_cut(&w->nodes[(first + i) % NODES], ms);
        else
            sim_node_kill(&w->nodes[(first + i) % NODES], ms);
}

/* A server of the registry loses the others, with all who are connected to it.
 */
static void server_fault(struct world *w)
{
    int64_t ms = stop_time(w);

    trace(&w->trace, "A SERVER ALONE for %lld ms", (long long)ms);
    for (int i = 0; i < COORDS; i++)
        if (chance(w, 0.33))
            coord_strand(&w->coords[i], ms);
    for (int i = 0; i < NODES; i++)
        if (chance(w, 0.33))
            sim_node_strand(&w->nodes[i], ms);
}

/* Everything restarts while nobody watches. */
static void blackout(struct world *w)
{
    int64_t ms = between(w, 0, 3000);

    trace(&w->trace, "BLACKOUT");
    for (int i = 0; i < COORDS; i++) {
        coord_kill(&w->coords[i]);
        w->coords[i].restart_at = w->clock.mono + ms + between(w, 500, 9000);
    }
    for (int i = 0; i < NODES; i++)
        sim_node_kill(&w->nodes[i], ms + between(w, 0, 1000));
}

/* The coordinator whose engine of either kind holds its lock; NULL. */
static struct coord *holder(struct world *w, enum node_kind *kind)
{
    uint64_t fence;

    for (int i = 0; i < COORDS; i++) {
        struct coord *k = &w->coords[i];

        for (int of = NODE_MASTER; coord_runs(k) && of <= NODE_WORKER; of++) {
            *kind = (enum node_kind)of;
            if (engine_holds_lock(coordinator_engine(k->c, *kind), &fence))
                return k;
        }
    }
    return NULL;
}

/* A coordinator stops in the middle of what it is doing. */
static void engine_fault(struct world *w)
{
    enum node_kind kind;
    struct coord *k = holder(w, &kind);

    if (k == NULL)
        return;
    if (chance(w, 0.3)) {
        coord_kill(k);
        k->restart_at = w->clock.mono + between(w, 0, 8000);
    } else if (chance(w, 0.5)) {
        /* it gives the lock up, its session goes on, and what it had sent may
         * arrive in between */
        coord_cut(k, between(w, TIMEOUT_MS / 2, TIMEOUT_MS - 200));
    } else if (chance(w, 0.3)) {
        coord_freeze(k, stop_time(w));
    } else if (chance(w, 0.3)) {
        coord_stick(k, between(w, TIMEOUT_MS, 5 * TIMEOUT_MS));
    } else if (chance(w, 0.3)) {
        coord_strand(k, stop_time(w));
    } else {
        coord_cut(k, stop_time(w));
    }
}

/* While work moves, people close gates that it may be moving to. */
static void interfere(struct world *w)
{
    enum node_kind kind;

    if (holder(w, &kind) != NULL)
        for (int i = 0; i < 3; i++)
            person_cordon(w, kind);
}

static void fault(struct world *w)
{
    double what = rand_double(&w->rand);

    w->result->faults++;
    if (what < 0.60)
        node_fault(w);
    else if (what < 0.74)
        coord_fault(w);
    else if (what < 0.84)
        person_step(w);
    else if (what < 0.92)
        weather(w);
    else if (what < 0.985)
        engine_fault(w);
    else if (what < 0.990)
        server_fault(w);
    else if (what < 0.996)
        rack_fault(w);
    else
        blackout(w);
}

void chaos_begin(struct world *w)
{
    static const double rates[] = {0.03, 0.08, 0.2};

    w->fault_rate = rates[between(w, 0, 2)];
    w->meddling = chance(w, 0.4) ? 0.05 : 0;
    w->request_rate = 0.1 + 0.7 * rand_double(&w->rand);
    weather(w);
}

void chaos_step(struct world *w)
{
    if (chance(w, w->fault_rate))
        fault(w);
    /* A failover under way is worth more trouble than none. */
    if (chance(w, 0.015))
        engine_fault(w);
    if (chance(w, w->meddling))
        interfere(w);
    if (chance(w, 0.02))
        person_withdraw(w);
    if (chance(w, w->request_rate))
        client_step(w);
}

/* --- healing ------------------------------------------------------------- */

static bool is_fenced(struct world *w, const struct sim_node *n)
{
    struct check_process *p;

    for (p = w->check.nodes[n->index].processes; p != NULL; p = p->next)
        if (check_same(&p->id, &n->process))
            return p->fenced;
    return false;
}

/* A few stay dead: their work must be somewhere else in the end. */
static void heal_nodes(struct world *w)
{
    int spare[2] = {1, 3};

    for (int i = 0; i < NODES; i++) {
        struct sim_node *n = &w->nodes[i];

        sim_node_heal(n);
        if (n->late)
            continue;
        if (!n->alive && spare[n->kind] > 0 && chance(w, 0.5)) {
            spare[n->kind]--;
            n->restart_at = 0;
            continue;
        }
        if (is_fenced(w, n) && (spare[n->kind] == 0 || chance(w, 0.7)))
            sim_node_kill(n, 100);
        else if (is_fenced(w, n))
            spare[n->kind]--;
        if (!n->alive)
            n->restart_at = w->clock.mono + between(w, 0, 1000);
    }
}

void chaos_heal(struct world *w)
{
    static const struct memory_faults none = {.delay_max_ms = 2,
                                              .resync_ms = 3000};

    trace(&w->trace, "HEAL");
    w->healed = true;
    memory_set_faults(w->store, &none);
    for (int i = 0; i < COORDS; i++)
        coord_heal(&w->coords[i]);
    heal_nodes(w);
}
