/*
 * back.c - a store that loses its tail, and the person who accepts it.
 *
 * In some seeds the store is put back, in the middle of everything, to what it
 * was seconds or a minute ago: with all coordinators alive, or dead, so that
 * some begin again with what they remember (their state file) and some without.
 * Somebody is there who remembers, or it is put off: what nobody remembers
 * nobody can know. A while later a person accepts it, who may be killed in the
 * middle and begin again. The checker is told of both; in all other seeds who
 * says that the store went back raises a false alarm.
 */
#include "tests/sim/world.h"

#include <string.h>

#define NOTICED_MS 2000
#define MARKED_MS  3000
/* What others may write before whoever remembers has looked again: where they
 * lift a store over what is remembered, a position tells nothing. */
#define LIFTED 60

static struct rand *dice(struct world *w)
{
    return &w->back.rand;
}

static bool likely(struct world *w, double share)
{
    return rand_double(dice(w)) < share;
}

static int64_t some(struct world *w, int64_t low, int64_t high)
{
    return low + (int64_t)rand_below(dice(w), (uint64_t)(high - low) + 1);
}

void back_plan(struct world *w)
{
    struct sim_back *b = &w->back;
    mono_ms begin = w->clock.mono;

    rand_seed(dice(w), w->seed ^ UINT64_C(0x6261636b));
    if (!likely(w, 0.13))
        return;
    b->planned = true;
    b->restore_at = begin + some(w, 14000, 45000);
    b->backup_at =
        b->restore_at - (likely(w, 0.5)
                             ? some(w, 500, 4000)
                             : some(w, 4000, b->restore_at - begin - 5000));
    b->all_down = likely(w, 0.35);
}

/* Whoever noticed may have died before he wrote the mark: then those who begin
 * again are the ones who remember. */
static bool is_unmarked(const struct world *w)
{
    const struct registry_entry *e =
        w->check.back.doubt ? memory_find(w->store, HISTORY_KEY) : NULL;

    return e != NULL && strstr(e->value, "\"went_back\"") == NULL;
}

bool back_remembers(struct world *w)
{
    bool has = likely(w, 0.5);

    return has || is_unmarked(w);
}

bool back_may_begin(const struct world *w)
{
    return w->back.restored == 0 ||
           w->clock.mono - w->back.restored > MARKED_MS;
}

/* --- the loss ------------------------------------------------------------ */

static bool hears(const struct registry *r)
{
    return r != NULL && (registry_state(r) == REGISTRY_CONNECTED ||
                         registry_state(r) == REGISTRY_RECONNECTED);
}

/* In touch, and has seen something of what will be lost. */
static bool would_notice(const struct world *w, const struct registry *r)
{
    return hears(r) && registry_place(r)->position > w->back.lost_from + LIFTED;
}

/* Does anybody live who will notice? */
static bool is_witnessed(struct world *w)
{
    for (int i = 0; i < NODES; i++) {
        const struct sim_node *n = &w->nodes[i];

        if (n->compares && n->alive && !n->frozen && n->heal_at == 0 &&
            would_notice(w, n->registry))
            return true;
    }
    for (int i = 0; i < COORDS && !w->back.all_down; i++) {
        const struct coord *k = &w->coords[i];

        if (coord_runs(k) && k->cut_until == 0 && would_notice(w, k->registry))
            return true;
    }
    return false;
}

/* Whoever knows nothing of what is lost finds nothing wrong, until it hears
 * what others say: up to then it may act. */
static bool all_would_know(struct world *w)
{
    for (int i = 0; i < COORDS && !w->back.all_down; i++) {
        const struct coord *k = &w->coords[i];

        if (k->c != NULL &&
            registry_place(k->registry)->position <= w->back.lost_from + LIFTED)
            return false;
    }
    return true;
}

static void lose_tail(struct world *w)
{
    struct sim_back *b = &w->back;

    trace(&w->trace, "RESTORED to %lld ms ago%s",
          (long long)(w->clock.mono - b->backed_up),
          b->all_down ? ", all coordinators are dead" : "");
    for (int i = 0; i < COORDS && b->all_down; i++) {
        coord_kill(&w->coords[i]);
        w->coords[i].restart_at = w->clock.mono + some(w, 200, 6000);
    }
    if (w->fork.lost_tail) {
        memory_promote(w->store, b->backup);
        w->fork.promoted = w->clock.mono;
    } else {
        memory_restore(w->store, b->backup);
    }
    back_lost(w, b->copy);
}

void back_lost(struct world *w, const struct check_copy *copy)
{
    struct sim_back *b = &w->back;

    check_restored(&w->check, copy);
    b->restored = w->clock.mono;
    b->accept_at = b->restored + some(w, 4000, 15000);
    b->over = false;
}

/* --- the person ---------------------------------------------------------- */

static void leave(struct world *w, bool killed)
{
    struct sim_back *b = &w->back;

    if (b->person == NULL)
        return;
    if (killed) {
        memory_kill(&b->person);
        restore_free(&b->restore);
        return;
    }
    restore_free(&b->restore);
    registry_close(&b->person, NULL, NULL);
}

static void on_known(void *arg, const struct err *err,
                     const struct restore_summary *summary)
{
    struct world *w = arg;

    trace(&w->trace, "PERSON sees %s",
          summary != NULL ? "what there is" : err->msg);
    w->back.failed = summary == NULL;
    w->back.looked = summary != NULL;
}

static void on_accepted(void *arg, const struct err *err,
                        const struct restore_result *result)
{
    struct world *w = arg;

    trace(&w->trace, "PERSON accepted: %s", result != NULL ? "ok" : err->msg);
    w->back.failed = result == NULL;
    w->back.over = result != NULL;
}

static void enter(struct world *w)
{
    struct sim_back *b = &w->back;
    struct restore_config config = {
        .clock = &w->clock,
        .locks = {w->check.locks[NODE_MASTER], w->check.locks[NODE_WORKER]},
        .n_locks = 2,
        .who = "ann"};

    trace(&w->trace, "PERSON comes");
    b->person = memory_open(w->store, TIMEOUT_MS);
    registry_compare(b->person, "ann", NULL, false);
    registry_accepting(b->person);
    config.registry = b->person;
    b->restore = restore_new(&config);
    b->failed = b->looked = b->going = false;
    restore_look(b->restore, on_known, w);
    b->kill_at =
        likely(w, 0.4) ? w->clock.mono + some(w, 100, 12000) : INT64_MAX;
}

/* Whoever is in touch knows by now. */
static void check_noticed(struct world *w)
{
    for (int i = 0; i < COORDS; i++) {
        const struct coord *k = &w->coords[i];

        if (coord_runs(k) && k->cut_until == 0 && hears(k->registry) &&
            w->clock.mono - k->well_since > NOTICED_MS)
            check_fail(&w->check, "a-loss-is-noticed",
                       "%s believes a store that lost its tail %lld ms ago",
                       k->self, (long long)(w->clock.mono - w->back.restored));
    }
}

static void accept_step(struct world *w)
{
    struct sim_back *b = &w->back;

    if (b->person == NULL) {
        /* who was killed had opened it, and only left testimonies behind */
        b->over = b->over || !w->check.back.doubt;
        if (w->clock.mono >= b->accept_at && !b->over) {
            check_noticed(w);
            enter(w);
        }
        return;
    }
    check_person(&w->check, registry_session(b->person));
    if (w->clock.mono >= b->kill_at || b->failed) {
        trace(&w->trace, "PERSON %s", b->failed ? "failed" : "is killed");
        leave(w, !b->failed);
        b->accept_at = w->clock.mono + some(w, 500, 5000);
        return;
    }
    if (b->over) {
        leave(w, false);
        return;
    }
    if (b->looked && !b->going) {
        b->going = true;
        restore_go(b->restore, on_accepted, w);
    }
    if (b->restore != NULL)
        restore_tick(b->restore);
}

/* --- no loss ------------------------------------------------------------- */

static void no_alarm(struct world *w, const char *who, const struct registry *r)
{
    const struct registry_back *back = r != NULL ? registry_went_back(r) : NULL;

    if (back != NULL)
        check_fail(&w->check, "no-false-alarm",
                   "%s says that the store went back: %s", who, back->why);
}

static void check_alarms(struct world *w)
{
    for (int i = 0; i < COORDS; i++)
        no_alarm(w, w->coords[i].self, w->coords[i].registry);
    for (int i = 0; i < NODES; i++)
        no_alarm(w, w->nodes[i].address, w->nodes[i].registry);
}

/* After a check_flush(). */
void back_step(struct world *w)
{
    struct sim_back *b = &w->back;

    if (fork_step(w))
        return;
    if (b->restored != 0) {
        accept_step(w);
        return;
    }
    if (w->fork.ended == 0)
        check_alarms(w);
    if (!b->planned)
        return;
    if (b->backup == NULL && w->clock.mono >= b->backup_at) {
        b->backup = memory_backup(w->store);
        b->copy = check_copy(&w->check);
        b->backed_up = w->clock.mono;
        b->lost_from = memory_revision(w->store);
    }
    if (b->backup != NULL && w->clock.mono >= b->restore_at && !w->healed &&
        is_witnessed(w) && all_would_know(w))
        lose_tail(w);
}

bool back_is_over(const struct world *w, char *why, size_t size)
{
    const struct sim_back *b = &w->back;

    if (!fork_is_over(w, why, size))
        return false;
    if (b->restored != 0 && (!b->over || b->person != NULL)) {
        (void)snprintf(why, size, "the store is not accepted yet");
        return false;
    }
    for (int i = 0; i < COORDS; i++)
        if (w->coords[i].registry != NULL &&
            registry_went_back(w->coords[i].registry) != NULL) {
            (void)snprintf(why, size, "%s does not believe the store",
                           w->coords[i].self);
            return false;
        }
    return true;
}

void back_end(struct world *w)
{
    leave(w, true);
    memory_backup_free(&w->back.backup);
    check_copy_free(&w->back.copy);
}
