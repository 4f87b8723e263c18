/*
 * restore_pass.c - items given again, and the store opened. Design: a pass
 * lists everything and writes what is not as it should be, until one was
 * applied as a whole. So neither a conflict nor an outcome that is unknown
 * needs a path of its own.
 */
#include "restore/restore_priv.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/planted.h"
#include "base/rand.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PASSES_MAX 50 /* somebody writes all the time */
#define QUIET_MS   45000

static size_t add_locks(const struct restore *r, struct registry_op *ops)
{
    assert(r->n_locks > 0 && r->n_locks == r->c.n_locks);
    for (size_t i = 0; i < r->n_locks; i++)
        ops[i] = registry_op_lock(r->locks[i]);
    return r->n_locks;
}

/* --- the floor, and the mark --------------------------------------------- */

static void on_floor(void *arg, const struct registry_reply *reply)
{
    struct restore *r = arg;
    assert(r->phase == PHASE_FLOOR);
    if (reply->err.code == ERR_CONFLICT && reply->failed_op < r->n_locks) {
        struct err lost;
        err_set(&lost, ERR_SESSION_LOST, "the locks are not ours");
        restore_fail(r, &lost);
    } else if (reply->err.code == ERR_OK) {
        r->quiet_from = r->c.clock->mono;
        restore_begin(r, PHASE_QUIET);
    } else {
        r->phase = PHASE_LOOK_AGAIN; /* it is computed from fresh reads */
        restore_retry(r, &reply->err);
    }
}

static void mark(const struct restore *r, struct buf *out)
{
    bool back = r->c.backup != NULL;
    struct history_record h = r->s.history;
    assert(r->c.backup != NULL || !r->s.history.went_back.is);
    if (!r->s.found)
        registry_history_new_id(h.incarnation);
    h.went_back.is = true;
    h.went_back.known = r->s.known;
    memset(&h.went_back.now, 0, sizeof(h.went_back.now));
    (void)snprintf(h.went_back.by, sizeof(h.went_back.by), "%s",
                   back ? RESTORE_MARK : ACCEPT_MARK);
    (void)snprintf(h.went_back.why, sizeof(h.went_back.why), "%s by %.128s",
                   back ? "a backup is being put back" : "it is being accepted",
                   r->who);
    registry_history_write(out, &h);
}

/* From here on nobody believes the store, whatever becomes of us: who has a
 * session in one that nobody marked would go on with the old fencing numbers
 * until it sees the new ones. What others said of it stays. */
static struct registry_op marked(const struct restore *r, struct buf *history)
{
    if (r->c.backup == NULL && r->s.history.went_back.is)
        return registry_op_at(REGISTRY_CHECK, HISTORY_KEY, r->history_version);
    mark(r, history);
    return registry_op_put(HISTORY_KEY, history, r->history_version);
}

void restore_floor_begin(struct restore *r)
{
    struct registry_op ops[BULK_LOCKS + 2];
    size_t n = add_locks(r, ops);
    struct buf floor, history;
    assert(r->phase == PHASE_FLOOR);
    assert(r->evidence <= EPOCH_MAX - 2 * RESTORE_LIFT_EPOCH);
    r->floor = r->evidence + RESTORE_LIFT_EPOCH;
    r->result.epoch_floor = r->floor;
    buf_init(&floor, 64);
    buf_init(&history, REGISTRY_VALUE_MAX);
    work_epoch_floor_write(&floor, r->floor);
    ops[n++] = registry_op_put(EPOCH_FLOOR_KEY, &floor, r->floor_version);
    ops[n++] = marked(r, &history);
    registry_txn(r->c.registry, ops, n, on_floor, r);
    buf_close(&floor);
    buf_close(&history);
}

/* --- until nobody acts on it --------------------------------------------- */

static void coordinator_found(struct restore *r, const struct registry_entry *e)
{
    assert(r->phase == PHASE_QUIET);
    if (e->owner != 0 && e->owner != registry_session(r->c.registry) &&
        r->running[0] == '\0')
        (void)snprintf(r->running, sizeof(r->running), "%s", e->key);
}

/* One that was killed stands until its session's timeout, which in a store that
 * was put back may begin only now. */
static int64_t patience(const struct restore *r)
{
    int64_t sessions = 3 * registry_session_timeout(r->c.registry);
    return sessions > QUIET_MS ? sessions : QUIET_MS;
}

static void coordinators_walked(struct restore *r)
{
    struct err err;
    assert(r->phase == PHASE_QUIET);
    if (r->running[0] == '\0') {
        restore_begin(r, r->c.backup == NULL && planted(PLANTED_OPENED_FIRST)
                             ? PHASE_OPEN
                             : PHASE_PASS);
        return;
    }
    err_set(&err,
            r->c.clock->mono - r->quiet_from < patience(r) ? ERR_UNAVAILABLE
                                                           : ERR_TIMEOUT,
            "%s has not stopped, although the store says that it is not "
            "to be believed: an older version? stop it",
            r->running);
    if (err.code == ERR_TIMEOUT)
        restore_fail(r, &err);
    else
        restore_retry(r, &err);
}

void restore_quiet_begin(struct restore *r)
{
    assert(r->phase == PHASE_QUIET);
    r->running[0] = '\0';
    restore_walk(r, "/pelorus/coordinators", coordinator_found,
                 coordinators_walked);
}

/* --- what stands, and what shall stand ----------------------------------- */

void restore_listed_free(struct restore *r)
{
    struct listed *s, *next;
    HASH_ITER (hh, r->listed, s, next) {
        HASH_DEL(r->listed, s);
        mem_free(s);
    }
}

void restore_listed_note(struct restore *r, const struct registry_entry *e)
{
    size_t len = strlen(e->key);
    struct listed *s;
    assert(r->phase == PHASE_PASS);
    HASH_FIND(hh, r->listed, e->key, len, s);
    if (s != NULL)
        return;
    s = mem_zalloc(sizeof(*s) + len + 1);
    memcpy(s->key, e->key, len + 1);
    s->version = e->version;
    s->hash = hash_bytes(e->value, e->value_len, 0);
    HASH_ADD_KEYPTR(hh, r->listed, s->key, len, s);
}

bool restore_is_current(struct restore *r, const char *key,
                        const struct buf *value, uint64_t *version)
{
    struct listed *s;
    assert(r->phase == PHASE_PASS);
    HASH_FIND(hh, r->listed, key, strlen(key), s);
    *version = s == NULL ? 0 : s->version;
    if (s == NULL)
        return false;
    s->wanted = true;
    return s->hash == hash_bytes(value->data, value->len, 0);
}

void restore_put_item(struct restore *r, const struct work_item *w,
                      bool current)
{
    char key[REGISTRY_KEY_MAX + 1], marker_key[REGISTRY_KEY_MAX + 1];
    bool finished = work_state_final(w->state);
    uint64_t version = w->version, marker_version = 0;
    struct buf value, marker;
    struct marker m;
    assert(r->bulk != NULL);
    buf_init(&value, WORK_RECORD_MAX);
    buf_init(&marker, WORK_RECORD_MAX);
    work_item_write(&value, w);
    if (version == 0)
        current = restore_is_current(r, work_key(w->id, key), &value, &version);
    if (!finished) {
        work_marker_of(&m, w);
        work_marker_write(&marker, &m);
        work_marker_key(m.kind, m.address, m.id, marker_key);
        if (!restore_is_current(r, marker_key, &marker, &marker_version))
            current = false;
    }
    if (!current) {
        restore_bulk_put(r->bulk, work_key(w->id, key), &value, version);
        if (!finished)
            restore_bulk_put(r->bulk, marker_key, &marker, marker_version);
        restore_bulk_add(r->bulk);
    }
    buf_close(&value);
    buf_close(&marker);
}

/* --- items --------------------------------------------------------------- */

static void give_again(struct restore *r, struct work_item *w)
{
    bool low = w->epoch <= r->floor;
    assert(r->bulk != NULL && r->floor > 0);
    if (work_state_final(w->state))
        return;
    if (low)
        work_item_give_again(w,
                             planted(PLANTED_ACCEPT_COUNTS_UP) ? 0 : r->floor);
    r->result.items += w->epoch == r->floor + 1;
    restore_put_item(r, w, !low);
}

/* The markers of one that nobody can read stay: somebody may mend it. */
static void spare(struct restore *r, const char *id)
{
    struct listed *s, *next;
    HASH_ITER (hh, r->listed, s, next) {
        struct marker m;
        if (work_marker_key_parse(s->key, &m) == 0 && strcmp(m.id, id) == 0)
            s->wanted = true;
    }
}

static void item_found(struct restore *r, const struct registry_entry *e)
{
    struct work_item w;
    struct err err;
    assert(r->phase == PHASE_PASS);
    assert(r->passes > 0);
    err_clear(&err);
    if (work_item_read(&w, e->value, e->value_len, &err) != 0) {
        if (r->passes == 1)
            log_warn("!work-unreadable", LOG_S("key", e->key),
                     LOG_S("why", err.msg));
        spare(r, e->key + sizeof(WORK_PREFIX));
        return;
    }
    w.version = e->version;
    give_again(r, &w);
    work_item_close(&w);
}

/* A marker without an unfinished item of that owner binds nobody. */
static void items_walked(struct restore *r)
{
    struct listed *s, *next;
    assert(r->phase == PHASE_PASS && r->bulk != NULL);
    HASH_ITER (hh, r->listed, s, next) {
        struct marker m;
        if (s->wanted || work_marker_key_parse(s->key, &m) != 0)
            continue;
        restore_bulk_delete(r->bulk, s->key, s->version);
        restore_bulk_add(r->bulk);
    }
    restore_bulk_wait(r->bulk, restore_pass_over, r);
}

static void markers_walked(struct restore *r)
{
    assert(r->phase == PHASE_PASS);
    restore_walk(r, WORK_PREFIX, item_found, items_walked);
}

void restore_pass_begin(struct restore *r)
{
    assert(r->phase == PHASE_PASS && r->bulk == NULL);
    r->bulk = restore_bulk_new(r->c.registry, r->locks, r->n_locks);
    r->passes++;
    r->result.items = r->result.keys = 0; /* the last pass sees all of them */
    if (r->c.backup != NULL)
        restore_back_pass_begin(r);
    else
        restore_walk(r, MARKER_PREFIX, restore_listed_note, markers_walked);
}

void restore_pass_over(void *arg, const struct err *err,
                       const struct bulk_sum *sum)
{
    struct restore *r = arg;
    struct err busy;
    assert(r->phase == PHASE_PASS);
    if (err->code != ERR_OK) {
        restore_retry(r, err);
        return;
    }
    r->again += sum->again;
    if (r->again == 0) {
        restore_begin(r, PHASE_OPEN);
        return;
    }
    err_set(&busy, r->passes < PASSES_MAX ? ERR_UNAVAILABLE : ERR_IO,
            "what is written does not stay: somebody writes to the "
            "store, or it takes nothing; stop what does not know that it "
            "is not to be believed");
    restore_retry(r, &busy);
}

/* --- the new incarnation ------------------------------------------------- */

/* Made once, so that we recognise it after an unknown outcome. */
static void make(struct restore *r)
{
    struct history_record *h = &r->opened;
    uint64_t fence = r->s.fence_shown;
    assert(!r->made);
    for (size_t i = 0; i < r->n_locks; i++)
        keep_highest(&fence, registry_lock_fence(r->locks[i]));
    keep_highest(&fence, r->s.history.fence_base);
    memset(h, 0, sizeof(*h));
    registry_history_new_id(h->incarnation);
    h->generation = r->s.history.generation + 1;
    h->fence_base = planted(PLANTED_FENCE_KEPT) ? r->s.history.fence_base
                                                : fence + RESTORE_LIFT_FENCE;
    h->n_after = r->others.n_after;
    memcpy(h->after, r->others.after, sizeof(h->after));
    registry_history_after(h, r->s.history.incarnation);
    h->accepted.is = true;
    (void)snprintf(h->accepted.who, sizeof(h->accepted.who), "%s", r->who);
    h->accepted.wall = r->c.clock->wall;
    h->accepted.found = *registry_place(r->c.registry);
    h->accepted.epoch_floor = r->floor;
    r->result.fence_base = h->fence_base;
    memcpy(r->result.incarnation, h->incarnation, HISTORY_ID_SIZE);
    r->made = true;
}

static void on_opened(void *arg, const struct registry_reply *reply)
{
    struct restore *r = arg;
    assert(r->phase == PHASE_OPEN && r->made);
    if (reply->err.code == ERR_OK)
        restore_begin(r, planted(PLANTED_OPENED_FIRST) && r->passes == 0
                             ? PHASE_PASS
                             : PHASE_SWEEP);
    else
        restore_retry(r, &reply->err);
}

static void open_now(struct restore *r, uint64_t version)
{
    struct registry_op ops[BULK_LOCKS + 1];
    size_t n = add_locks(r, ops);
    struct buf value;
    assert(r->phase == PHASE_OPEN && r->made);
    buf_init(&value, REGISTRY_VALUE_MAX);
    registry_history_write(&value, &r->opened);
    ops[n++] = registry_op_put(HISTORY_KEY, &value, version);
    registry_txn(r->c.registry, ops, n, on_opened, r);
    buf_close(&value);
}

/* Read once more: somebody may have marked it meanwhile, or our own txn was
 * applied although we were not told. */
static void on_history(void *arg, const struct registry_reply *reply)
{
    struct restore *r = arg;
    struct history_record now = {0};
    struct err err = reply->err;
    assert(r->phase == PHASE_OPEN);
    if (!r->made)
        make(r);
    if (err.code == ERR_NOT_FOUND && r->history_version == 0) {
        open_now(r, 0);
        return;
    }
    if (err.code == ERR_OK &&
        registry_history_read(&now, reply->entries[0].value,
                              reply->entries[0].value_len, &err) != 0)
        err.code = ERR_INVALID;
    if (err.code == ERR_NOT_FOUND)
        err_set(&err, ERR_INVALID, HISTORY_KEY ": it was removed");
    if (!r->s.found) /* made since by who began meanwhile */
        registry_history_after(&r->opened, now.incarnation);
    if (err.code != ERR_OK) {
        restore_retry(r, &err);
    } else if (strcmp(now.incarnation, r->opened.incarnation) == 0) {
        restore_begin(r, PHASE_SWEEP);
    } else if (strcmp(now.incarnation, r->s.history.incarnation) != 0 &&
               r->s.found) {
        err_set(&err, ERR_INVALID,
                HISTORY_KEY ": somebody has written another incarnation "
                            "meanwhile: look what is there, and run it "
                            "again");
        restore_fail(r, &err);
    } else {
        open_now(r, reply->entries[0].version);
    }
}

void restore_open_begin(struct restore *r)
{
    assert(r->phase == PHASE_OPEN);
    registry_get(r->c.registry, HISTORY_KEY, on_history, r);
}

/* --- what was testified -------------------------------------------------- */

static void sweep(struct restore *r, const struct registry_entry *e)
{
    assert(r->phase == PHASE_SWEEP && r->bulk != NULL);
    restore_bulk_delete(r->bulk, e->key, e->version);
    restore_bulk_add(r->bulk);
}

/* One that was written at this very moment stays, and lifts the next floor by
 * what it says: no harm. */
void restore_sweep_begin(struct restore *r)
{
    assert(r->phase == PHASE_SWEEP && r->bulk == NULL);
    r->bulk = restore_bulk_new(r->c.registry, r->locks, r->n_locks);
    restore_walk(r, HISTORY_SEEN_PREFIX, sweep, restore_finish);
}
