/*
 * run.c - one seed: a cluster comes up and is given work, everything goes
 * wrong for a while, all is healed, and in the end it must be quiet and whole.
 */
#include "tests/sim/world.h"

#include "base/log.h"
#include "base/mem.h"

#include <inttypes.h>
#include <string.h>

#define CALM_MS  10000 /* the beginning: all come up, work is given out */
#define CHAOS_MS 45000
#define QUIET_MS 90000 /* at most, from healing to quiet */
#define TAIL     40

static void log_line(void *arg, enum log_level level, const char *line,
                     size_t len)
{
    struct world *w = arg;

    (void)level;
    if (w->trace.verbose)
        printf("%7" PRId64 "       %.*s", w->clock.mono, (int)len, line);
}

static enum sim_renewals asked = SIM_BY_SEED;

void sim_use_renewals(enum sim_renewals how)
{
    asked = how;
}

static void configure(struct world *w)
{
    struct conf_failover *f = &w->conf.failover;

    conf_defaults(&w->conf);
    w->conf.renewals = /* no draw: the others mean what they did */
        asked == SIM_GROUPED || (asked == SIM_BY_SEED && w->seed % 3 == 1)
            ? CONF_RENEWALS_GROUPED
            : CONF_RENEWALS_SINGLE;
    w->conf.registry.session_timeout_ms = TIMEOUT_MS;
    w->conf.balancer.heartbeat_interval_ms = TIMEOUT_MS / 3;
    w->ttl_ms = chance(w, 0.5) ? 9000 : 3000;
    w->conf.work_keep_ms = between(w, 14, 25) * 1000;
    /* no draw: the seeds stay what they are */
    w->conf.forget_after_ms = w->seed % 3 == 0
                                  ? w->conf.forget_after_ms
                                  : 13000 + (int64_t)(w->seed % 7) * 1000;
    w->conf.collect_interval_ms = 1000;
    f->settle_ms = TIMEOUT_MS;
    f->grace_ms = between(w, 0, 2) * 500;
    f->reconcile_interval_ms = between(w, 1, 4) * 1000;
    f->readmit = chance(w, 0.15);
    f->poison_limit = chance(w, 0.5) ? 3 : 100;
    f->poison_window_ms = 30000;
    f->brake_window_ms = 10000;
    if (chance(w, 0.3))
        f->hook = mem_strdup("hook");
    w->check.readmit = f->readmit;
}

static void report(const struct world *w)
{
    const struct sim_result *r = w->result;

    fflush(stdout);
    fprintf(stderr, "\nseed %" PRIu64 ": %s: %s\nthe last events:\n", w->seed,
            r->invariant, r->what);
    trace_tail(&w->trace, stderr, TAIL);
    fprintf(stderr, "replay it: make sim SEED=%" PRIu64 "\n", w->seed);
}

/* Nobody acts any more: a run that broke a rule may never come to rest. */
static void on_failure(void *arg)
{
    struct world *w = arg;

    report(w);
    for (int i = 0; i < COORDS; i++)
        if (w->coords[i].registry != NULL)
            memory_freeze(w->coords[i].registry);
}

static void check_setup(struct world *w)
{
    struct check *c = &w->check;

    c->trace = &w->trace;
    c->result = w->result;
    c->locks[NODE_MASTER] = w->conf.failover.master_lock;
    c->locks[NODE_WORKER] = w->conf.failover.worker_lock;
    c->node_of = sim_node_of;
    c->is_coordinator = coord_is_session;
    c->works = sim_node_works;
    c->failed = on_failure;
    c->arg = w;
    check_begin(c, w->store);
}

void world_open(struct world *w, uint64_t seed, bool verbose,
                struct sim_result *result)
{
    memset(result, 0, sizeof(*result));
    w->result = result;
    log_configure(verbose ? LOG_INFO : LOG_ERROR, LOG_TEXT);
    log_set_sink(log_line, w);
    w->seed = seed;
    rand_seed(&w->rand, seed);
    w->clock.mono = 1000000;
    w->clock.wall = 1700000000000;
    trace_init(&w->trace, &w->clock, verbose);
    configure(w);
    w->store = memory_store_new(&w->clock, rand_u64(&w->rand));
    check_setup(w);
    back_plan(w);
    fork_plan(w);
    for (int i = 0; i < NODES; i++)
        sim_node_init(w, i);
    for (int i = 0; i < COORDS; i++)
        coord_init(w, i);
    w->nodes[MASTERS - 1].late =
        w->conf.failover.hook != NULL && chance(w, 0.5);
    for (int i = 0; i < NODES; i++)
        if (!w->nodes[i].late)
            sim_node_start(&w->nodes[i]);
    for (int i = 0; i < COORDS; i++)
        coord_start(&w->coords[i]);
}

void world_close(struct world *w)
{
    back_end(w);
    fork_end(w);
    for (int i = 0; i < COORDS; i++)
        coord_kill(&w->coords[i]);
    for (int i = 0; i < NODES; i++)
        sim_node_kill(&w->nodes[i], 0);
    memory_on_write(w->store, NULL, NULL);
    (void)memory_run(w->store, w->clock.mono + 2 * TIMEOUT_MS);
    check_end(&w->check);
    memory_store_free(&w->store);
    conf_close(&w->conf);
    log_set_sink(NULL, NULL);
}

void world_step(struct world *w)
{
    uint64_t first = rand_below(&w->rand, COORDS);

    (void)memory_run(w->store, w->clock.mono + between(w, 60, 100));
    check_flush(&w->check);
    back_step(w);
    for (uint64_t i = 0; i < COORDS; i++)
        coord_step(&w->coords[(first + i) % COORDS]);
    coord_note_sessions(w);
    coord_check_locks(w);
    for (int i = 0; i < NODES; i++)
        sim_node_step(&w->nodes[i]);
}

/* Work is given out from the fourth second on. */
void world_come_up(struct world *w)
{
    mono_ms begin = w->clock.mono;
    int next = 0;

    while (w->clock.mono < begin + CALM_MS && !check_failed(&w->check)) {
        world_step(w);
        if (w->clock.mono > begin + 4000)
            for (int i = 0; i < 4 && next < CHECK_ITEMS; i++)
                client_fill(w, next++);
    }
}

static void chaos(struct world *w)
{
    mono_ms end = w->clock.mono + CHAOS_MS;

    chaos_begin(w);
    while (w->clock.mono < end && !check_failed(&w->check)) {
        world_step(w);
        chaos_step(w);
    }
}

static void calm_down(struct world *w)
{
    mono_ms end = w->clock.mono + QUIET_MS, look = w->clock.mono;
    char why[256] = "";

    chaos_heal(w);
    while (!check_failed(&w->check)) {
        world_step(w);
        person_unpause(w);
        if (w->clock.mono < look)
            continue;
        look = w->clock.mono + 400;
        if (live_check(w, why, sizeof(why)))
            return;
        if (w->clock.mono > end)
            check_fail(&w->check, "liveness", "%s", why);
    }
}

void sim_run(uint64_t seed, bool verbose, struct sim_result *result)
{
    struct world *w = mem_zalloc(sizeof(*w));

    world_open(w, seed, verbose, result);
    world_come_up(w);
    if (!check_failed(&w->check))
        chaos(w);
    if (!check_failed(&w->check))
        calm_down(w);
    if (!check_failed(&w->check) && chance(w, 0.4)) {
        acts_play(w);
        calm_down(w);
    }
    result->hash = w->trace.hash;
    result->virtual_ms = w->clock.mono - 1000000;
    world_close(w);
    mem_free(w);
}
