/*
 * collect.c - see collect.h. Design: everything is read afresh and deleted at
 * the version read, so that a view that lags costs a conflict and no item.
 */
#include "failover/engine/collect.h"

#include "base/mem.h"

#include <string.h>

#define PASS_MAX     256 /* items of one pass */
#define FAILOVER_MAX 64  /* records of one pass */

struct finished {
    struct collect *of;
    char id[WORK_ID_MAX + 1];
    uint64_t version, epoch; /* 0: not to be collected */
    bool sent;               /* in the txn under way */
};

struct collect {
    struct collect_config config;
    const struct registry_lock *lock;
    collect_done_f *done;
    void *arg;
    mono_ms began;
    uint64_t session;
    struct finished items[PASS_MAX];
    size_t n;
    size_t n_sent; /* in the txn under way */
    size_t outstanding;
    bool has_floor;
    uint64_t floor, floor_version;
    struct err err;
    size_t collected, failovers;
    struct view_old records[FAILOVER_MAX]; /* being deleted */
    size_t n_records;
};

struct collect *engine_collect_new(const struct collect_config *config)
{
    struct collect *c = mem_zalloc(sizeof(*c));
    assert(config->keep_ms > 0);
    c->config = *config;
    return c;
}

void engine_collect_free(struct collect **c)
{
    if (*c == NULL)
        return;
    engine_collect_stop(*c);
    MEM_FREE(*c);
}

void engine_collect_stop(struct collect *c)
{
    registry_forget(c->config.registry, c);
    for (size_t i = 0; i < c->n && c->outstanding > 0; i++)
        registry_forget(c->config.registry, &c->items[i]);
    c->outstanding = 0;
    c->done = NULL;
}

bool engine_collect_wanted(const struct collect *c)
{
    struct view *v = c->config.view;
    int64_t keep = c->config.keep_ms;
    return work_view_collectable(v, keep + keep / 10, NULL, 1) > 0 ||
           work_view_collectable(v, keep, NULL, COLLECT_MANY_ITEMS) ==
               COLLECT_MANY_ITEMS ||
           work_view_surplus(
               v, COLLECT_FAILOVERS_KEPT + COLLECT_MANY_FAILOVERS - 1, NULL,
               1) > 0;
}

bool engine_collect_due(const struct collect *c)
{
    struct view *v = c->config.view;
    return work_view_collectable(v, c->config.keep_ms, NULL, 1) > 0 ||
           work_view_surplus(v, COLLECT_FAILOVERS_KEPT, NULL, 1) > 0;
}

static void ended(struct collect *c)
{
    collect_done_f *done = c->done;
    assert(done != NULL && c->outstanding == 0);
    c->done = NULL;
    done(c->arg, &c->err, c->collected, c->failovers);
}

static bool too_old(const struct collect *c)
{
    struct registry *r = c->config.registry;
    return c->session == 0 || c->session != registry_session(r) ||
           c->config.clock->mono - c->began >= registry_session_timeout(r);
}

/* --- failovers' records -------------------------------------------------- */

static void on_records_gone(void *arg, const struct registry_reply *reply)
{
    struct collect *c = arg;
    if (reply->err.code == ERR_OK) {
        c->failovers += c->n_records;
        for (size_t i = 0; i < c->n_records; i++)
            work_view_collected_failover(c->config.view, c->records[i].id);
    } else if (reply->err.code != ERR_CONFLICT &&
               reply->err.code != ERR_NOT_FOUND) {
        c->err = reply->err;
    }
    ended(c);
}

static void collect_records(struct collect *c)
{
    struct registry_op ops[1 + FAILOVER_MAX];
    char keys[FAILOVER_MAX][REGISTRY_KEY_MAX + 1];
    size_t max = registry_max_ops(c->config.registry) - 1;
    if (c->err.code != ERR_OK || too_old(c)) {
        ended(c);
        return;
    }
    c->n_records =
        work_view_surplus(c->config.view, COLLECT_FAILOVERS_KEPT, c->records,
                          max < FAILOVER_MAX ? max : FAILOVER_MAX);
    if (c->n_records == 0) {
        ended(c);
        return;
    }
    ops[0] = (struct registry_op){.type = REGISTRY_CHECK_LOCK, .lock = c->lock};
    for (size_t i = 0; i < c->n_records; i++)
        ops[1 + i] = (struct registry_op){
            .type = REGISTRY_DELETE,
            .expect = REGISTRY_VERSION,
            .version = c->records[i].version,
            .key = work_failover_key(c->records[i].id, keys[i])};
    registry_txn(c->config.registry, ops, 1 + c->n_records, on_records_gone, c);
}

/* --- finished items ------------------------------------------------------ */

static void on_items_gone(void *arg, const struct registry_reply *reply)
{
    struct collect *c = arg;
    /* a conflict: somebody was quicker, or the floor rose; the next pass reads
     * it all again. So does an unknown outcome: what is gone is gone */
    if (reply->err.code == ERR_OK) {
        c->collected += c->n_sent;
        for (size_t i = 0; i < c->n; i++)
            if (c->items[i].sent)
                work_view_collected_item(c->config.view, c->items[i].id);
    } else if (reply->err.code != ERR_CONFLICT &&
               reply->err.code != ERR_NOT_FOUND) {
        c->err = reply->err;
    }
    collect_records(c);
}

static size_t add_deletes(struct collect *c, struct registry_op *ops,
                          char (*keys)[REGISTRY_KEY_MAX + 1], size_t max,
                          uint64_t *floor)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n && n < max; i++) {
        struct finished *f = &c->items[i];
        if (f->version == 0)
            continue;
        f->sent = true;
        if (f->epoch > *floor)
            *floor = f->epoch;
        ops[n] = (struct registry_op){.type = REGISTRY_DELETE,
                                      .expect = REGISTRY_VERSION,
                                      .version = f->version,
                                      .key = work_key(f->id, keys[n])};
        n++;
    }
    return n;
}

static void delete_items(struct collect *c)
{
    size_t max = registry_max_ops(c->config.registry);
    size_t cap = max < PASS_MAX + 2 ? max : PASS_MAX + 2;
    struct registry_op *ops = mem_zalloc(cap * sizeof(*ops));
    char(*keys)[REGISTRY_KEY_MAX + 1] = mem_zalloc(cap * sizeof(*keys));
    uint64_t floor = c->floor;
    struct buf value;
    assert(cap > 2);
    buf_init(&value, 64);
    ops[0] = (struct registry_op){.type = REGISTRY_CHECK_LOCK, .lock = c->lock};
    size_t n = add_deletes(c, ops + 2, keys, cap - 2, &floor);
    work_epoch_floor_write(&value, floor);
    ops[1] = (struct registry_op){.type = REGISTRY_PUT,
                                  .expect = c->has_floor ? REGISTRY_VERSION
                                                         : REGISTRY_ABSENT,
                                  .version = c->floor_version,
                                  .key = EPOCH_FLOOR_KEY,
                                  .value = buf_text(&value),
                                  .value_len = value.len};
    c->n_sent = n;
    if (n > 0 && !too_old(c))
        registry_txn(c->config.registry, ops, n + 2, on_items_gone, c);
    else
        collect_records(c);
    buf_close(&value);
    mem_free(ops);
    mem_free(keys);
}

static void arrived(struct collect *c)
{
    assert(c->outstanding > 0);
    if (--c->outstanding > 0)
        return;
    if (c->err.code != ERR_OK)
        ended(c);
    else
        delete_items(c);
}

static void on_floor(void *arg, const struct registry_reply *reply)
{
    struct collect *c = arg;
    if (reply->err.code == ERR_OK) {
        const struct registry_entry *e = &reply->entries[0];
        /* a floor that nobody can read must not be replaced by a guess */
        if (work_epoch_floor_read(e->value, e->value_len, &c->floor, &c->err) ==
            0) {
            c->has_floor = true;
            c->floor_version = e->version;
        }
    } else if (reply->err.code != ERR_NOT_FOUND) {
        c->err = reply->err;
    }
    arrived(c);
}

static void on_item(void *arg, const struct registry_reply *reply)
{
    struct finished *f = arg;
    struct collect *c = f->of;
    struct work_item w;
    if (reply->err.code == ERR_OK) {
        const struct registry_entry *e = &reply->entries[0];
        if (work_item_read(&w, e->value, e->value_len, NULL) == 0) {
            if (w.state == WORK_DONE || w.state == WORK_DROPPED) {
                f->version = e->version;
                f->epoch = w.epoch;
            }
            work_item_close(&w);
        }
    } else if (reply->err.code == ERR_NOT_FOUND) {
        work_view_collected_item(c->config.view,
                                 f->id); /* somebody was faster */
    } else {
        c->err = reply->err;
    }
    arrived(c);
}

void engine_collect_run(struct collect *c, const struct registry_lock *lock,
                        collect_done_f *done, void *arg)
{
    char ids[PASS_MAX][WORK_ID_MAX + 1];
    char key[REGISTRY_KEY_MAX + 1];
    struct registry *r = c->config.registry;
    assert(c->done == NULL);
    c->lock = lock;
    c->done = done;
    c->arg = arg;
    c->began = c->config.clock->mono;
    c->session = registry_session(r);
    c->collected = c->failovers = 0;
    c->has_floor = false;
    c->floor = c->floor_version = 0;
    err_clear(&c->err);
    c->n =
        work_view_collectable(c->config.view, c->config.keep_ms, ids, PASS_MAX);
    c->outstanding = c->n + 1;
    registry_get(r, EPOCH_FLOOR_KEY, on_floor, c);
    for (size_t i = 0; i < c->n; i++) {
        memset(&c->items[i], 0, sizeof(c->items[i]));
        c->items[i].of = c;
        memcpy(c->items[i].id, ids[i], sizeof(ids[i]));
        registry_get(r, work_key(ids[i], key), on_item, &c->items[i]);
    }
}
