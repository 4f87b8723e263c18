/*
 * list.c - one page of an owner's markers, and the records they stand
 * for. Design: a page at a time and a bounded window of reads, so that ten
 * thousand items cost a page of memory.
 *
 * The floor of the epochs is read once in a hold of the lock, beside the first
 * page. Who raises it later collects an item of another id; or, after the
 * registry went back, has the lock of this kind, too: what we write then is
 * refused by its check. So no batch checks the floor's version.
 */
#include "failover/engine/engine_priv.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/planted.h"

#include <stdio.h>
#include <string.h>

void round_init(struct round *r, struct engine *e)
{
    memset(r, 0, sizeof(*r));
    r->e = e;
}

void round_give_back(struct round *r, struct item *it)
{
    const struct engine_config *c = &r->e->c;
    if (it->given.counted && c->unused != NULL)
        c->unused(c->target_arg, c->kind, &it->given);
    it->given.counted = false;
}

void round_forget_targets(struct round *r)
{
    struct target *t, *next;
    HASH_ITER(hh, r->targets, t, next)
    {
        if (t->state == TARGET_BUSY)
            calls_forget(&r->e->calls, t);
        HASH_DEL(r->targets, t);
        mem_free(t);
    }
}

static void batches_close(struct round *r)
{
    for (size_t i = 0; i < ENGINE_BATCHES; i++) {
        if (r->batches[i] != NULL)
            batch_free(r->batches[i]);
        r->batches[i] = NULL;
    }
    r->n_batches = 0;
}

static void drop_items(struct round *r)
{
    for (size_t i = 0; i < r->n_items; i++) {
        round_give_back(r, &r->items[i]);
        if (r->items[i].loaded)
            work_item_close(&r->items[i].work);
    }
    MEM_FREE(r->items);
    r->n_items = 0;
    r->at = 0;
}

void round_reset(struct round *r)
{
    calls_forget(&r->e->calls, r);
    batches_close(r);
    round_forget_targets(r);
    drop_items(r);
    MEM_FREE(r->next);
    r->reading = 0;
    r->paging = false;
    r->moving = false;
    r->n_busy = 0;
    err_clear(&r->err);
}

void round_close(struct round *r)
{
    if (r->e != NULL)
        round_reset(r);
}

void round_fail(struct round *r, const struct err *err)
{
    if (r->err.code == ERR_OK)
        r->err = *err;
}

void round_rules(const struct round *r, struct plan_rules *rules)
{
    const struct conf_failover *conf = r->e->c.conf;
    *rules = (struct plan_rules){
        .gate = &r->gate,
        .died = failover_cause_is_death(r->cause),
        .poison_limit = conf->poison_limit,
        .poison_window_ms = conf->poison_window_ms,
        .floor = planted(PLANTED_FLOOR_FORGOTTEN) ? 0 : r->floor,
        .wall = r->e->c.clock->wall,
    };
}

bool round_item_moves(const struct round *r, const struct item *it)
{
    const struct work_item *w = &it->work;
    if (strcmp(r->address, "-") == 0)
        return w->state == WORK_WAITING && w->kind == r->e->c.kind;
    return w->state == WORK_ASSIGNED && w->kind == r->e->c.kind &&
           strcmp(w->owner, r->address) == 0 &&
           plan_movable(&r->gate, &w->process);
}

/* --- reading records ----------------------------------------------------- */

static void read_more(struct round *r);

static void listed(struct round *r)
{
    size_t n = 0;
    assert(r->reading == 0 && r->at == r->n_items);
    for (size_t i = 0; i < r->n_items; i++)
        n += r->items[i].state == ITEM_READ;
    if (r->err.code != ERR_OK)
        log_warn("!failover-list", LOG_S("address", r->address),
                 LOG_S("why", r->err.msg));
    else
        log_debug("=failover-list", LOG_S("address", r->address),
                  LOG_U("items", n));
    r->done(r->arg, r->err.code);
}

bool round_item_load(struct round *r, struct item *it,
                     const struct registry_reply *reply)
{
    struct err err;
    assert(it->state == ITEM_READING && r->reading > 0);
    r->reading--;
    it->state = ITEM_READ;
    err_clear(&err);
    if (planted(PLANTED_NO_VERSION) && it->loaded && reply->n_entries == 1) {
        it->work.version = reply->entries[0].version;
        return true;
    }
    if (it->loaded)
        work_item_close(&it->work);
    it->loaded = false;
    if (reply->err.code == ERR_NOT_FOUND)
        return false;
    if (reply->err.code != ERR_OK) {
        round_fail(r, &reply->err);
        return false;
    }
    const struct registry_entry *entry = &reply->entries[0];
    if (work_item_read(&it->work, entry->value, entry->value_len, &err) != 0) {
        /* one damaged item must not strand the others */
        log_error("!work-unreadable", LOG_S("id", it->marker.id),
                  LOG_S("why", err.msg));
        return false;
    }
    it->loaded = true;
    it->work.version = entry->version;
    return true;
}

void round_item_read(struct round *r, size_t i, call_f *then)
{
    char key[REGISTRY_KEY_MAX + 1];
    struct item *it = &r->items[i];
    it->state = ITEM_READING;
    it->read_at = r->e->c.clock->mono;
    r->reading++;
    registry_get(r->e->c.registry, work_key(it->marker.id, key), call_done,
                 call_new(&r->e->calls, then, r, i));
}

static void on_item(void *part, size_t index,
                    const struct registry_reply *reply)
{
    struct round *r = part;
    struct item *it = &r->items[index];
    bool found = round_item_load(r, it, reply);
    /* a marker and its record are written by one txn: if they differ, the item
     * changed between the two reads and is somebody else's business now */
    if (!found || !round_item_moves(r, it) ||
        it->work.epoch != it->marker.epoch)
        it->state = ITEM_SETTLED;
    read_more(r);
}

static void read_more(struct round *r)
{
    while (r->at < r->n_items && r->reading < ENGINE_READS_MAX &&
           r->err.code == ERR_OK)
        round_item_read(r, r->at++, on_item);
    if (r->err.code != ERR_OK)
        r->at = r->n_items;
    if (r->reading == 0)
        listed(r);
}

/* --- the page of markers ------------------------------------------------- */

static bool wanted(const struct round *r, const struct marker *m)
{
    if (strcmp(r->address, "-") == 0)
        return !m->held;
    return plan_movable(&r->gate, &m->process);
}

static void on_page(void *part, size_t index,
                    const struct registry_reply *reply)
{
    struct round *r = part;
    (void)index;
    r->paging = false;
    if (reply->err.code != ERR_OK && reply->err.code != ERR_NOT_FOUND) {
        round_fail(r, &reply->err);
        read_more(r);
        return;
    }
    MEM_FREE(r->next);
    r->next = mem_strdup(reply->next);
    r->items = mem_array(reply->n_entries + 1, sizeof(*r->items));
    for (size_t i = 0; i < reply->n_entries; i++) {
        struct err err;
        struct marker m;
        err_clear(&err);
        if (marker_read(&m, &reply->entries[i], &err) != 0) {
            log_error("!marker-unreadable", LOG_S("key", reply->entries[i].key),
                      LOG_S("why", err.msg));
            continue;
        }
        m.version = reply->entries[i].version;
        if (!wanted(r, &m))
            continue;
        struct item *it = &r->items[r->n_items++];
        memset(it, 0, sizeof(*it));
        it->marker = m;
    }
    read_more(r);
}

static void on_floor(void *part, size_t index,
                     const struct registry_reply *reply)
{
    struct round *r = part;
    struct err err = reply->err;
    (void)index;
    assert(r->reading > 0);
    r->reading--;
    r->floor = 0;
    if (err.code == ERR_NOT_FOUND ||
        (err.code == ERR_OK &&
         epoch_floor_read(reply->entries[0].value, reply->entries[0].value_len,
                          &r->floor, &err) == 0))
        r->floor_hold = r->e->hold;
    else /* an epoch that somebody may have had already must not be given */
        round_fail(r, &err);
    if (!r->paging)
        read_more(r);
}

/* What is surveyed (a dry run) gets no epochs. */
static void read_floor(struct round *r)
{
    if (r != &r->e->round || r->floor_hold == r->e->hold)
        return;
    r->reading++;
    registry_get(r->e->c.registry, EPOCH_FLOOR_KEY, call_done,
                 call_new(&r->e->calls, on_floor, r, 0));
}

void round_list(struct round *r, bool afresh, round_done_f *done, void *arg)
{
    char prefix[REGISTRY_KEY_MAX + 1];
    const char *address = strcmp(r->address, "-") == 0 ? NULL : r->address;
    char *from = afresh ? NULL : r->next;
    r->next = afresh ? r->next : NULL;
    round_reset(r);
    assert(r->n_items == 0 && r->reading == 0);
    r->done = done;
    r->arg = arg;
    r->session = registry_session(r->e->c.registry);
    read_floor(r);
    marker_prefix(r->e->c.kind, address, prefix);
    r->paging = true;
    registry_list(r->e->c.registry, prefix, from, ENGINE_PAGE, call_done,
                  call_new(&r->e->calls, on_page, r, 0));
    mem_free(from);
}
