/*
 * collect.c - see collect.h. Design: everything is read afresh and deleted at
 * the version read, so that a view that lags costs a conflict and no item. A
 * version needs no lock, so the lock is not kept for the reads; but for that of
 * the floor, which whoever collects beside us raises, too. Where versions
 * repeat it must not have risen since before the items were read: one of them
 * may have been collected, and its id used again up to the same version.
 *
 * How long a txn takes is the store's affair, so a pass has as many items as
 * went well before: half of them after one that took too long, twice as many
 * after one that took half the time. Records of failovers come behind the items
 * of a hold, or, where those took all its time, alone in the next one.
 */
#include "failover/engine/engine_priv.h"

#include "base/mem.h"

#include <string.h>

#define PASS_MAX     256 /* items of one pass */
#define PASS_FIRST   64
#define PASS_MIN     32 /* fewer take no less: a txn's own time, mostly */
#define FAILOVER_MAX 64 /* records of one pass */
#define HOLD_MS      50 /* with the lock; a txn that is under way ends */

struct finished {
    struct collect *of;
    char id[WORK_ID_MAX + 1];
    uint64_t version, epoch; /* 0: not to be collected */
    bool sent;               /* in the txn under way */
};

struct collect {
    struct collect_config config;
    /* reading, without the lock */
    enum { COLLECT_IDLE, COLLECT_READS, COLLECT_HAS_READ } stage;
    mono_ms began, looked; /* the reads; when fewer than many were due last */
    uint64_t session;
    struct finished items[PASS_MAX];
    size_t n;
    size_t outstanding;
    uint64_t before;               /* the floor's version, before the items */
    uint64_t floor, floor_version; /* 0: none stands */
    struct err err;
    /* deleting, with it */
    const struct registry_lock *lock;
    collect_done_f *done;
    void *arg;
    size_t most;       /* items of the next pass */
    mono_ms held;      /* since then */
    bool records_wait; /* the last hold had no time for them: they are next */
    size_t collected, failovers;
    struct view_old records[FAILOVER_MAX]; /* being deleted */
    size_t n_records;
};

struct collect *engine_collect_new(const struct collect_config *config)
{
    struct collect *c = mem_zalloc(sizeof(*c));
    assert(config->keep_ms > 0 && config->interval_ms > 0);
    c->config = *config;
    c->looked = config->clock->mono;
    c->most = PASS_FIRST;
    return c;
}

/* What was read is not written upon any more. */
static void drop(struct collect *c)
{
    for (size_t i = 0; i < c->n && c->outstanding > 0; i++)
        registry_forget(c->config.registry, &c->items[i]);
    registry_forget(c->config.registry, &c->before);
    c->outstanding = 0;
    c->stage = COLLECT_IDLE;
}

void engine_collect_free(struct collect **c)
{
    if (*c == NULL)
        return;
    engine_collect_stop(*c);
    drop(*c);
    MEM_FREE(*c);
}

void engine_collect_stop(struct collect *c)
{
    registry_forget(c->config.registry, c);
    if (c->done != NULL)
        drop(c);
    c->done = NULL;
}

/* So many items does one txn take: beside the lock and the floor. */
static size_t pass_size(const struct collect *c)
{
    size_t max = registry_max_ops(c->config.registry) - 2;
    return max < PASS_MAX ? max : PASS_MAX;
}

static int64_t held_ms(const struct collect *c)
{
    assert(c->done != NULL);
    return c->config.clock->mono - c->held;
}

static void learn_size(struct collect *c)
{
    int64_t took = held_ms(c);
    if (took > HOLD_MS && c->most > PASS_MIN)
        c->most /= 2;
    else if (took <= HOLD_MS / 2 && c->n == c->most && c->most < PASS_MAX)
        c->most *= 2;
    assert(c->most >= PASS_MIN && c->most <= PASS_MAX);
}

static size_t surplus(const struct collect *c, size_t more,
                      struct view_old *list, size_t n)
{
    return work_view_surplus(c->config.view, COLLECT_FAILOVERS_KEPT + more,
                             !c->config.hooked, list, n);
}

/* By the time for which it may be written upon, with some left for that. */
static bool is_fresh(const struct collect *c)
{
    struct registry *r = c->config.registry;
    return c->session != 0 && c->session == registry_session(r) &&
           c->config.clock->mono - c->began < registry_session_timeout(r) / 2;
}

bool engine_collect_wanted(struct collect *c)
{
    size_t many = pass_size(c), due;
    mono_ms now = c->config.clock->mono;
    if (c->stage == COLLECT_HAS_READ && !is_fresh(c))
        drop(c);
    if (c->stage == COLLECT_IDLE) {
        due = work_view_collectable(c->config.view, c->config.keep_ms, NULL,
                                    many);
        if (due == many ||
            (due > 0 && now - c->looked >= c->config.interval_ms))
            engine_collect_look(c);
    }
    return c->stage == COLLECT_HAS_READ ||
           surplus(c, COLLECT_MANY_FAILOVERS - 1, NULL, 1) > 0;
}

static void ended(struct collect *c)
{
    collect_done_f *done = c->done;
    assert(done != NULL && c->outstanding == 0);
    c->done = NULL;
    c->stage = COLLECT_IDLE;
    done(c->arg, &c->err, c->collected, c->failovers);
}

/* Is it gone? A conflict: somebody was quicker, or the floor rose; the next
 * pass reads it all again. So does an unknown outcome: what is gone is gone. */
static bool deleted(struct collect *c, const struct registry_reply *reply)
{
    enum err_code code = reply->err.code;
    assert(c->done != NULL && c->outstanding == 0);
    if (code != ERR_OK && code != ERR_CONFLICT && code != ERR_NOT_FOUND)
        c->err = reply->err;
    return code == ERR_OK;
}

/* --- failovers' records -------------------------------------------------- */

static void on_records_gone(void *arg, const struct registry_reply *reply)
{
    struct collect *c = arg;
    assert(c->n_records > 0);
    if (deleted(c, reply)) {
        c->failovers += c->n_records;
        for (size_t i = 0; i < c->n_records; i++)
            work_view_collected_failover(c->config.view, c->records[i].id);
    }
    ended(c);
}

static void collect_records(struct collect *c)
{
    size_t max = registry_max_ops(c->config.registry) - 1;
    struct txn txn;
    assert(c->outstanding == 0);
    c->n_records = 0;
    c->records_wait = held_ms(c) >= HOLD_MS;
    if (c->err.code == ERR_OK && !c->records_wait)
        c->n_records =
            surplus(c, 0, c->records, max < FAILOVER_MAX ? max : FAILOVER_MAX);
    if (c->n_records == 0) {
        ended(c);
        return;
    }
    engine_txn_init(&txn, 1 + c->n_records);
    engine_txn_check_lock(&txn, c->lock);
    for (size_t i = 0; i < c->n_records; i++)
        work_failover_key(
            c->records[i].id,
            engine_txn_at(&txn, REGISTRY_DELETE, c->records[i].version));
    engine_txn_send(&txn, c->config.registry, on_records_gone, c);
}

/* --- finished items ------------------------------------------------------ */

static void on_items_gone(void *arg, const struct registry_reply *reply)
{
    struct collect *c = arg;
    learn_size(c);
    if (deleted(c, reply))
        for (size_t i = 0; i < c->n; i++)
            if (c->items[i].sent) {
                c->collected++;
                work_view_collected_item(c->config.view, c->items[i].id);
            }
    collect_records(c);
}

static void delete_items(struct collect *c)
{
    struct txn txn;
    assert(c->err.code == ERR_OK);
    assert(c->outstanding == 0);
    engine_txn_init(&txn, c->n + 2);
    engine_txn_check_lock(&txn, c->lock);
    for (size_t i = 0; i < c->n; i++) {
        struct finished *f = &c->items[i];
        if (f->version == 0)
            continue;
        f->sent = true;
        keep_highest(&c->floor, f->epoch);
        work_key(f->id, engine_txn_at(&txn, REGISTRY_DELETE, f->version));
    }
    assert(txn.n > 1);
    engine_txn_floor(&txn, c->floor_version, c->floor);
    engine_txn_send(&txn, c->config.registry, on_items_gone, c);
}

/* Somebody has collected since the items were read: they are read again, and
 * at once. */
static bool overtaken(struct collect *c)
{
    if (registry_first_version(c->config.registry) == 0 ||
        c->floor_version == c->before)
        return false;
    c->looked = c->config.clock->mono - c->config.interval_ms;
    return true;
}

static void on_floor(void *arg, const struct registry_reply *reply)
{
    struct collect *c = arg;
    /* a floor that nobody can read must not be replaced by a guess */
    if (engine_floor_take(reply, &c->floor, &c->floor_version, &c->err) == 0 &&
        is_fresh(c) && !overtaken(c))
        delete_items(c);
    else
        collect_records(c);
}

void engine_collect_run(struct collect *c, const struct registry_lock *lock,
                        collect_done_f *done, void *arg)
{
    assert(lock != NULL && done != NULL);
    assert(c->done == NULL);
    c->held = c->config.clock->mono;
    c->lock = lock;
    c->done = done;
    c->arg = arg;
    c->collected = c->failovers = 0;
    if (c->stage == COLLECT_HAS_READ && is_fresh(c) &&
        !(c->records_wait && surplus(c, 0, NULL, 1) > 0)) {
        registry_get(c->config.registry, EPOCH_FLOOR_KEY, on_floor, c);
        return;
    }
    if (c->stage != COLLECT_IDLE)
        drop(c);
    err_clear(&c->err);
    collect_records(c);
}

/* --- reading ------------------------------------------------------------- */

static void arrived(struct collect *c)
{
    size_t n = 0;
    assert(c->stage == COLLECT_READS && c->outstanding > 0);
    if (--c->outstanding > 0)
        return;
    for (size_t i = 0; i < c->n; i++)
        n += c->items[i].version != 0;
    c->stage = n > 0 && c->err.code == ERR_OK ? COLLECT_HAS_READ : COLLECT_IDLE;
    if (n < c->n || c->err.code != ERR_OK)
        c->looked = c->config.clock->mono; /* what stays is not read for ever */
}

static void on_before(void *arg, const struct registry_reply *reply)
{
    struct collect *c = CONTAINER_OF(arg, struct collect, before);
    if (reply->err.code == ERR_OK)
        c->before = reply->entries[0].version;
    else if (reply->err.code != ERR_NOT_FOUND)
        c->err = reply->err;
    arrived(c);
}

static void on_item(void *arg, const struct registry_reply *reply)
{
    struct finished *f = arg;
    struct collect *c = f->of;
    struct work_item w;
    assert(f->version == 0);
    if (reply->err.code == ERR_NOT_FOUND) { /* somebody was faster */
        work_view_collected_item(c->config.view, f->id);
    } else if (reply->err.code != ERR_OK) {
        c->err = reply->err;
    } else if (work_item_read(&w, reply->entries[0].value,
                              reply->entries[0].value_len, NULL) == 0) {
        if (w.state == WORK_DONE || w.state == WORK_DROPPED) {
            f->version = reply->entries[0].version;
            f->epoch = w.epoch;
        }
        work_item_close(&w);
    }
    arrived(c);
}

void engine_collect_look(struct collect *c)
{
    char ids[PASS_MAX][WORK_ID_MAX + 1];
    char key[REGISTRY_KEY_MAX + 1];
    struct registry *r = c->config.registry;
    size_t most = pass_size(c) < c->most ? pass_size(c) : c->most;
    if (c->stage == COLLECT_READS || c->done != NULL)
        return;
    c->began = c->config.clock->mono;
    c->session = registry_session(r);
    err_clear(&c->err);
    c->n = work_view_collectable(c->config.view, c->config.keep_ms, ids, most);
    if (c->n < most)
        c->looked = c->began;
    if (c->n == 0)
        return;
    c->stage = COLLECT_READS;
    c->outstanding = c->n + 1;
    c->before = 0;
    registry_get(r, EPOCH_FLOOR_KEY, on_before, &c->before);
    for (size_t i = 0; i < c->n; i++) {
        memset(&c->items[i], 0, sizeof(c->items[i]));
        c->items[i].of = c;
        memcpy(c->items[i].id, ids[i], sizeof(ids[i]));
        registry_get(r, work_key(ids[i], key), on_item, &c->items[i]);
    }
}
