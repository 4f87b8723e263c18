/*
 * pass.c - one page of an owner's markers, and the records they stand
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

#include <string.h>
#include <utlist.h>

void engine_pass_give_back(struct move_pass *pass, struct item *it)
{
    const struct engine_config *c = &pass->e->c;
    assert(it->pass == pass);
    if (it->given.counted && c->unused != NULL)
        c->unused(c->target_arg, c->kind, &it->given);
    it->given.counted = false;
}

void engine_pass_forget_target(struct move_pass *pass, struct target *t)
{
    assert(t->pass == pass);
    if (t->state == TARGET_BUSY)
        registry_forget(pass->e->c.registry, t);
    HASH_DEL(pass->targets, t);
    mem_free(t);
}

static void forget_targets(struct move_pass *pass)
{
    struct target *t, *next;
    HASH_ITER (hh, pass->targets, t, next)
        engine_pass_forget_target(pass, t);
}

static void batches_close(struct move_pass *pass)
{
    while (pass->batches != NULL) {
        struct batch *b = pass->batches;
        DL_DELETE(pass->batches, b);
        registry_forget(pass->e->c.registry, b);
        engine_batch_free(b);
    }
    pass->n_batches = 0;
}

static void drop_items(struct move_pass *pass)
{
    assert(pass->at <= pass->n_items);
    for (size_t i = 0; i < pass->n_items; i++) {
        if (pass->items[i].state == ITEM_READING)
            registry_forget(pass->e->c.registry, &pass->items[i]);
        engine_pass_give_back(pass, &pass->items[i]);
        if (pass->items[i].loaded)
            work_item_close(&pass->items[i].work);
    }
    MEM_FREE(pass->items);
    pass->n_items = 0;
    pass->at = 0;
}

static void forget_page(struct move_pass *pass)
{
    registry_forget(pass->e->c.registry, pass);
    batches_close(pass);
    drop_items(pass);
    MEM_FREE(pass->next);
    pass->reading = 0;
    pass->paging = false;
    pass->moving = false;
    err_clear(&pass->err);
    assert(pass->n_items == 0 && pass->n_batches == 0);
}

void engine_pass_reset(struct move_pass *pass)
{
    forget_page(pass);
    forget_targets(pass);
    pass->n_busy = 0;
    assert(pass->targets == NULL);
}

void engine_pass_fail(struct move_pass *pass, const struct err *err)
{
    assert(err->code != ERR_OK);
    if (pass->err.code == ERR_OK)
        pass->err = *err;
}

void engine_pass_rules(const struct move_pass *pass, struct plan_rules *rules)
{
    const struct conf_failover *conf = pass->e->c.conf;
    *rules = (struct plan_rules){
        .gate = &pass->gate,
        .failover = pass->failover,
        .died = work_cause(pass->cause)->death,
        .poison_limit = conf->poison_limit,
        .poison_window_ms = conf->poison_window_ms,
        .floor = planted(PLANTED_FLOOR_FORGOTTEN) ? 0 : pass->floor,
        .wall = pass->e->c.clock->wall,
    };
}

bool engine_pass_item_moves(const struct move_pass *pass, const struct item *it)
{
    const struct work_item *w = &it->work;
    assert(it->loaded);
    if (work_is_nobody(pass->address))
        return w->state == WORK_WAITING && w->kind == pass->e->c.kind;
    return w->state == WORK_ASSIGNED && w->kind == pass->e->c.kind &&
           strcmp(w->owner, pass->address) == 0 &&
           failover_plan_movable(&pass->gate, &w->process);
}

/* --- reading records ----------------------------------------------------- */

static void read_more(struct move_pass *pass);

static void listed(struct move_pass *pass)
{
    pass->n_listed = 0;
    assert(pass->done != NULL);
    assert(!pass->paging);
    assert(pass->reading == 0 && pass->at == pass->n_items);
    for (size_t i = 0; i < pass->n_items; i++)
        pass->n_listed += pass->items[i].state == ITEM_READ;
    if (pass->err.code != ERR_OK)
        log_warn("!failover-list", LOG_S("address", pass->address),
                 LOG_S("why", pass->err.msg));
    else
        log_debug("=failover-list", LOG_S("address", pass->address),
                  LOG_U("items", pass->n_listed));
    pass->done(pass->arg, pass->err.code);
}

bool engine_pass_item_load(struct move_pass *pass, struct item *it,
                           const struct registry_reply *reply)
{
    struct err err;
    assert(it->state == ITEM_READING && pass->reading > 0);
    pass->reading--;
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
        engine_pass_fail(pass, &reply->err);
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

void engine_pass_item_read(struct move_pass *pass, size_t i,
                           registry_reply_f *then)
{
    char key[REGISTRY_KEY_MAX + 1];
    struct item *it = &pass->items[i];
    assert(it->state == ITEM_UNREAD);
    it->state = ITEM_READING;
    it->read_at = pass->e->c.clock->mono;
    pass->reading++;
    registry_get(pass->e->c.registry, work_key(it->marker.id, key), then, it);
}

static void on_item(void *arg, const struct registry_reply *reply)
{
    struct item *it = arg;
    struct move_pass *pass = it->pass;
    bool found = engine_pass_item_load(pass, it, reply);
    /* a marker and its record are written by one txn: if they differ, the item
     * changed between the two reads and is somebody else's business now */
    if (!found || !engine_pass_item_moves(pass, it) ||
        it->work.epoch != it->marker.epoch)
        it->state = ITEM_SETTLED;
    read_more(pass);
}

static void read_more(struct move_pass *pass)
{
    assert(pass->at <= pass->n_items);
    while (pass->at < pass->n_items && pass->reading < ENGINE_READS_MAX &&
           pass->err.code == ERR_OK)
        engine_pass_item_read(pass, pass->at++, on_item);
    if (pass->err.code != ERR_OK)
        pass->at = pass->n_items;
    if (pass->reading == 0)
        listed(pass);
}

/* --- the page of markers ------------------------------------------------- */

static bool wanted(const struct move_pass *pass, const struct marker *m)
{
    if (work_is_nobody(pass->address))
        return !m->held;
    return failover_plan_movable(&pass->gate, &m->process);
}

static void on_page(void *arg, const struct registry_reply *reply)
{
    struct move_pass *pass = arg;
    assert(pass->paging);
    assert(pass->n_items == 0);
    pass->paging = false;
    if (reply->err.code != ERR_OK && reply->err.code != ERR_NOT_FOUND) {
        engine_pass_fail(pass, &reply->err);
        read_more(pass);
        return;
    }
    MEM_FREE(pass->next);
    pass->next = mem_strdup(reply->next);
    pass->items = mem_array(reply->n_entries + 1, sizeof(*pass->items));
    for (size_t i = 0; i < reply->n_entries; i++) {
        struct err err;
        struct marker m;
        err_clear(&err);
        if (work_marker_read(&m, &reply->entries[i], &err) != 0) {
            log_error("!marker-unreadable", LOG_S("key", reply->entries[i].key),
                      LOG_S("why", err.msg));
            continue;
        }
        m.version = reply->entries[i].version;
        if (!wanted(pass, &m))
            continue;
        struct item *it = &pass->items[pass->n_items++];
        memset(it, 0, sizeof(*it));
        it->pass = pass;
        it->marker = m;
    }
    read_more(pass);
}

int engine_floor_take(const struct registry_reply *reply, uint64_t *floor,
                      uint64_t *version, struct err *err)
{
    *floor = *version = 0;
    if (reply->err.code == ERR_NOT_FOUND)
        return 0;
    if (reply->err.code != ERR_OK) {
        *err = reply->err;
        return (int)reply->err.code;
    }
    *version = reply->entries[0].version;
    return work_epoch_floor_read(reply->entries[0].value,
                                 reply->entries[0].value_len, floor, err);
}

static void on_floor(void *arg, const struct registry_reply *reply)
{
    struct move_pass *pass = arg;
    struct err err;
    uint64_t version;
    assert(pass->reading > 0);
    pass->reading--;
    err_clear(&err);
    if (engine_floor_take(reply, &pass->floor, &version, &err) == 0)
        pass->floor_hold = pass->e->hold;
    else /* an epoch that somebody may have had already must not be given */
        engine_pass_fail(pass, &err);
    if (!pass->paging)
        read_more(pass);
}

/* A dry run gives no epochs. */
static void read_floor(struct move_pass *pass)
{
    if (pass != &pass->e->pass || pass->floor_hold == pass->e->hold)
        return;
    pass->reading++;
    registry_get(pass->e->c.registry, EPOCH_FLOOR_KEY, on_floor, pass);
}

void engine_pass_list(struct move_pass *pass, bool afresh, pass_done_f *done,
                      void *arg)
{
    char prefix[REGISTRY_KEY_MAX + 1];
    char *from = afresh ? NULL : pass->next;
    assert(done != NULL);
    pass->next = afresh ? pass->next : NULL;
    if (afresh)
        engine_pass_reset(pass);
    else /* who took work of the page before takes more */
        forget_page(pass);
    assert(pass->n_busy == 0 && pass->reading == 0);
    pass->done = done;
    pass->arg = arg;
    pass->session = registry_session(pass->e->c.registry);
    read_floor(pass);
    work_marker_prefix(pass->e->c.kind, pass->address, prefix);
    pass->paging = true;
    registry_list(pass->e->c.registry, prefix, from, ENGINE_PAGE, on_page,
                  pass);
    mem_free(from);
}
