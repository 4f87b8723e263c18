/*
 * hold.c - locks, in the layout of Curator's InterProcessMutex, so
 * that its users and we exclude each other:
 *
 *   <lock>/_c_<uuid>-lock-<sequence>   ephemeral, sequential
 *
 * The order is that of the sequence numbers; whoever is first has the lock,
 * everybody else watches the one before, whatever it looks like
 * (place.c, others.c). The fencing number is our node's
 * czxid: nodes come first in the order of their making.
 *
 *   NONE -> CREATING -> STANDS (first: granted; else: watch, list again)
 *              |  ^        |
 *      unknown v  | not    v
 *          SEARCHING    REMOVING -> NONE
 *
 * The uuid is what makes an unknown outcome harmless: the node is looked for
 * by it, and should there be two the younger one is removed. A node is
 * removed again and again until the server has answered or the session is
 * over: one that stays would block everybody.
 *
 * (Longer than 500 lines: it is one state machine.)
 */
#include "registry/zookeeper/zookeeper_priv.h"

#include "base/log.h"

#include <string.h>
#include <utlist.h>

#define RETRY_MS 100

static void create(struct registry_hold *hold);
static void list(struct registry_hold *hold);
static void leave(struct registry_hold *hold);

static void forget_node(struct zk_hold *h)
{
    MEM_FREE(h->path);
    MEM_FREE(h->awaited);
    zk_others_forget(h);
    h->granted = false;
    h->step = ZK_HOLD_NONE;
}

/* The session is over, or about to be: no node exists, nothing is asked. */
static bool over(const struct registry_hold *hold)
{
    return !zk_usable(zk_of(hold->r)) || hold->session != hold->r->session;
}

static void ask(struct registry_hold *hold, enum zk_request_type type,
                const char *path, bool watch, zk_done_f *done)
{
    struct zk_request *q =
        zk_request_new(zk_of(hold->r), type, path, done, hold);

    q->watch = watch;
    zk_send(q);
}

static void ask_dir(struct registry_hold *hold, enum zk_request_type type,
                    zk_done_f *done)
{
    zk_send(zk_request_for(zk_of(hold->r), type, hold->key, done, hold));
}

/* --- leaving ------------------------------------------------------------- */

static void gone(struct registry_hold *hold)
{
    struct zk_hold *h = hold->priv;

    assert(h->leaving);
    registry_timer_stop(&h->retry);
    zk_forget(zk_of(hold->r), hold);
    forget_node(h);
    if (!zk_stopping(zk_of(hold->r)))
        registry_hold_gone(hold);
}

static void on_removed(void *arg, struct zk_request *q)
{
    struct registry_hold *hold = arg;
    const struct zk_hold *h = hold->priv;

    assert(h->step == ZK_HOLD_REMOVING);
    if (q->rc != ZOK && q->rc != ZNONODE && !zk_broken(q->rc)) {
        log_error("!lock", LOG_S("key", hold->key), LOG_S("node", q->path),
                  LOG_S("reason", zk_error(q->rc)),
                  LOG_S("advice", "it could not be removed and blocks the "
                                  "lock until this session ends"));
    }
    gone(hold);
}

/* Does a txn that was submitted before still check it? It goes first. */
static bool guards_a_txn(const struct registry_hold *hold)
{
    const struct registry_call *call;

    DL_FOREACH (hold->r->calls, call) {
        for (size_t i = 0; i < call->n_ops && call->refusal == NULL; i++)
            if (call->ops[i].type == REGISTRY_CHECK_LOCK &&
                call->ops[i].version == hold->fence &&
                strcmp(call->ops[i].key, hold->key) == 0)
                return true;
    }
    return false;
}

static void remove_node(struct registry_hold *hold, const char *path,
                        zk_done_f *done)
{
    struct zk_request *q = zk_request_new(zk_of(hold->r), ZK_DELETE, path, done,
                                          done == NULL ? NULL : hold);

    q->again = true;
    zk_send(q);
}

static void leave(struct registry_hold *hold)
{
    struct zk_hold *h = hold->priv;

    assert(h->leaving);
    if (over(hold) || h->step == ZK_HOLD_NONE) {
        gone(hold);
    } else if (h->step == ZK_HOLD_EXISTS && !guards_a_txn(hold)) {
        zk_forget(zk_of(hold->r), hold);
        h->step = ZK_HOLD_REMOVING;
        remove_node(hold, h->path, on_removed);
    } /* else when it is known whether it exists, or the txn is through */
}

void zk_unlock(struct registry *r, struct registry_hold *hold)
{
    struct zk_hold *h = hold->priv;

    (void)r;
    assert(!h->leaving);
    h->leaving = true;
    leave(hold);
}

void zk_holds_txn_done(struct zookeeper *z)
{
    struct registry_hold *hold, *next;

    DL_FOREACH_SAFE (z->base.holds, hold, next) {
        struct zk_hold *h = hold->priv;

        if (h->leaving && h->step == ZK_HOLD_EXISTS)
            leave(hold);
    }
}

/* --- waiting for our turn ------------------------------------------------ */

static void on_retry(void *arg)
{
    struct registry_hold *hold = arg;

    if (!over(hold) && ((struct zk_hold *)hold->priv)->step == ZK_HOLD_EXISTS)
        list(hold);
}

static void retry_later(struct registry_hold *hold)
{
    struct zk_hold *h = hold->priv;

    assert(h->step == ZK_HOLD_EXISTS);
    if (h->retry.impl == NULL)
        registry_timer_start(hold->r, &h->retry, RETRY_MS, on_retry, hold);
}

/* Our node went although the session goes on: somebody removed it. */
static void node_removed(struct registry_hold *hold)
{
    struct zk_hold *h = hold->priv;
    bool had = h->granted;

    assert(h->step == ZK_HOLD_EXISTS);
    log_warn("!lock", LOG_S("key", hold->key),
             LOG_S("reason", "our node was removed by somebody else"));
    zk_forget(zk_of(hold->r), hold);
    h->listing = false;
    forget_node(h);
    if (h->leaving)
        gone(hold);
    else if (had)
        registry_hold_lost(hold); /* calls unlock */
    else
        create(hold);
}

static void on_own(void *arg, struct zk_request *q)
{
    struct registry_hold *hold = arg;

    if (q->rc == ZNONODE)
        node_removed(hold);
}

static void grant(struct registry_hold *hold)
{
    struct zk_hold *h = hold->priv;

    assert(h->step == ZK_HOLD_EXISTS);
    assert(!h->granted);
    assert(h->path != NULL);
    MEM_FREE(h->awaited);
    h->granted = true;
    ask(hold, ZK_GET, h->path, true, on_own); /* and if it is taken away */
    registry_hold_granted(hold, h->fence);
}

/* --- whom we wait for ---------------------------------------------------- */

/* Curator's data is an address; without any its name has to do. */
static void on_holder(void *arg, struct zk_request *q)
{
    if (q->rc == ZOK) {
        registry_hold_waits(arg, q->data_len > 0 ? q->data
                                                 : strrchr(q->path, '/') + 1);
    }
}

static void on_awaited(void *arg, struct zk_request *q)
{
    struct registry_hold *hold = arg;
    struct zk_hold *h = hold->priv;

    if (h->step != ZK_HOLD_EXISTS || h->granted)
        return;
    if (q->rc == ZOK && zk_owner(&q->stat) == 0 &&
        zk_others_ignore(hold, q->path)) {
        list(hold);
        return;
    }
    if (q->rc == ZOK && h->awaits_first)
        on_holder(hold, q);
    if (q->rc == ZOK && hold->try_once) { /* the node waits for what is next */
        registry_hold_refused(hold, ERR_TIMEOUT);
    } else if (q->rc == ZNONODE) {
        list(hold);
    } else if (q->rc != ZOK && !zk_broken(q->rc)) {
        retry_later(hold);
    } /* else the watch tells */
}

/* Should there be a second node of ours, the younger one is removed. */
static bool find_place(struct registry_hold *hold, struct zk_names *names,
                       const char *dir, struct zk_place *place)
{
    struct zk_hold *h = hold->priv;

    assert(h->uuid[0] != '\0');
    zk_others_filter(hold, names);
    if (!zk_place(names, h->uuid, place))
        return false;
    for (size_t i = 0; i < names->n; i++) {
        if (names->items[i] != place->ours &&
            zk_place_is_ours(names->items[i], h->uuid)) {
            char *path = mem_printf("%s/%s", dir, names->items[i]);

            remove_node(hold, path, NULL);
            mem_free(path);
        }
    }
    return true;
}

static void wait_for(struct registry_hold *hold, const char *dir,
                     const struct zk_place *place)
{
    struct zk_hold *h = hold->priv;
    char *first;

    assert(!h->granted);
    assert(place->before != NULL);
    assert(place->first != NULL);
    mem_free(h->awaited);
    h->awaited = mem_printf("%s/%s", dir, place->before);
    h->awaits_first = strcmp(place->before, place->first) == 0;
    ask(hold, ZK_GET, h->awaited, true, on_awaited);
    if (!h->awaits_first && !hold->try_once) {
        first = mem_printf("%s/%s", dir, place->first);
        ask(hold, ZK_GET, first, false, on_holder);
        mem_free(first);
    }
}

static void on_listed(void *arg, struct zk_request *q)
{
    struct registry_hold *hold = arg;
    struct zk_hold *h = hold->priv;
    struct zk_place place;

    h->listing = false;
    if (zk_broken(q->rc) || h->step != ZK_HOLD_EXISTS || h->granted)
        return;
    if (q->rc != ZOK && q->rc != ZNONODE)
        retry_later(hold);
    else if (h->list_again)
        list(hold);
    else if (!find_place(hold, &q->names, q->path, &place))
        node_removed(hold);
    else if (place.before == NULL)
        grant(hold);
    else
        wait_for(hold, q->path, &place);
}

static void list(struct registry_hold *hold)
{
    struct zk_hold *h = hold->priv;

    assert(h->step == ZK_HOLD_EXISTS);
    h->list_again = h->listing;
    if (h->listing || h->leaving)
        return;
    h->listing = true;
    ask_dir(hold, ZK_CHILDREN, on_listed);
}

/* Only one of them can have lost its own node by this, and it comes last:
 * its owner may do anything then. */
void zk_holds_event(struct zookeeper *z, int type, const char *path)
{
    struct registry_hold *hold, *own = NULL;

    DL_FOREACH (z->base.holds, hold) {
        struct zk_hold *h = hold->priv;

        if (h->step != ZK_HOLD_EXISTS || h->leaving || over(hold))
            continue;
        if (h->granted && strcmp(h->path, path) == 0)
            own = hold;
        else if (h->awaited != NULL && strcmp(h->awaited, path) == 0)
            list(hold);
    }
    if (own != NULL && type == *libzk.ZOO_DELETED_EVENT)
        node_removed(own);
    else if (own != NULL)
        ask(own, ZK_GET, ((struct zk_hold *)own->priv)->path, true, on_own);
}

/* --- our node ------------------------------------------------------------ */

static void node_exists(struct registry_hold *hold, const char *path,
                        const struct Stat *stat)
{
    struct zk_hold *h = hold->priv;

    assert(h->step == ZK_HOLD_CREATING || h->step == ZK_HOLD_SEARCHING);
    mem_free(h->path);
    h->path = mem_strdup(path);
    h->fence = (uint64_t)stat->czxid;
    assert(!h->granted);
    h->step = ZK_HOLD_EXISTS;
    if (h->leaving)
        leave(hold);
    else
        list(hold);
}

/* Our node does not exist. */
static void begin_again(struct registry_hold *hold)
{
    struct zk_hold *h = hold->priv;

    assert(h->step == ZK_HOLD_CREATING || h->step == ZK_HOLD_SEARCHING);
    h->step = ZK_HOLD_NONE;
    if (h->leaving)
        leave(hold);
    else
        create(hold);
}

static void on_found(void *arg, struct zk_request *q)
{
    struct registry_hold *hold = arg;

    if (zk_broken(q->rc))
        return; /* the session is over */
    if (q->rc == ZOK && zk_owner(&q->stat) == hold->session)
        node_exists(hold, q->path, &q->stat);
    else
        begin_again(hold); /* somebody removed it since it was listed */
}

static void on_searched(void *arg, struct zk_request *q)
{
    struct registry_hold *hold = arg;
    struct zk_place place;
    char *path;

    if (zk_broken(q->rc))
        return;
    if (q->rc == ZOK && find_place(hold, &q->names, q->path, &place)) {
        path = mem_printf("%s/%s", q->path, place.ours);
        ask(hold, ZK_EXISTS, path, false, on_found);
        mem_free(path);
    } else {
        begin_again(hold);
    }
}

/* Whether it was made is unknown. The server that answers must not be
 * behind: what the one before it did has been decided by then. */
static void search(struct registry_hold *hold)
{
    struct zk_hold *h = hold->priv;

    assert(h->step == ZK_HOLD_CREATING);
    h->step = ZK_HOLD_SEARCHING;
    ask_dir(hold, ZK_SYNC, NULL);
    ask_dir(hold, ZK_CHILDREN, on_searched);
}

/* What cannot be had by trying again. */
static void refuse(struct registry_hold *hold, int rc)
{
    struct zk_hold *h = hold->priv;

    assert(rc != ZOK);
    assert(h->step == ZK_HOLD_CREATING);
    log_error("!lock", LOG_S("key", hold->key), LOG_S("reason", zk_error(rc)));
    h->step = ZK_HOLD_NONE;
    if (h->leaving) {
        leave(hold);
    } else {
        registry_hold_refused(hold,
                              rc == ZNOAUTH ? ERR_DENIED : ERR_UNAVAILABLE);
    }
}

static void on_directory(void *arg, int rc)
{
    struct registry_hold *hold = arg;

    if (zk_broken(rc))
        return;
    if (rc != ZOK)
        refuse(hold, rc);
    else
        begin_again(hold);
}

static void on_created(void *arg, struct zk_request *q)
{
    struct registry_hold *hold = arg;
    char *dir;

    if (q->rc == ZOK && q->data != NULL && q->stat.czxid > 0) {
        node_exists(hold, q->data, &q->stat);
    } else if (q->rc == ZOK) { /* not as a server of ZooKeeper's answers */
        refuse(hold, ZMARSHALLINGERROR);
    } else if (over(hold)) {
        return;
    } else if (zk_broken(q->rc)) {
        search(hold);
    } else if (q->rc == ZNONODE) {
        dir = zk_path(zk_of(hold->r), hold->key);
        zk_make_dirs(zk_of(hold->r), &dir, 1, *libzk.ZOO_CONTAINER,
                     on_directory, hold);
        mem_free(dir);
    } else {
        refuse(hold, q->rc);
    }
}

static void create(struct registry_hold *hold)
{
    struct zk_hold *h = hold->priv;
    struct zk_request *q;
    char *key;

    assert(h->step == ZK_HOLD_NONE);
    assert(!h->leaving);
    assert(!h->granted);
    zk_place_uuid(h->uuid);
    key = mem_printf("%s/_c_%s-lock-", hold->key, h->uuid);
    h->step = ZK_HOLD_CREATING;
    q = zk_request_for(zk_of(hold->r), ZK_CREATE, key, on_created, hold);
    q->mode = *libzk.ZOO_EPHEMERAL_SEQUENTIAL;
    q->value = hold->owner; /* for people who look */
    q->value_len = strlen(hold->owner);
    zk_send(q);
    mem_free(key);
}

void zk_lock(struct registry *r, struct registry_hold *hold)
{
    struct zk_hold *h = hold->priv;

    assert(!h->leaving);
    assert(hold->session == r->session);
    if (!zk_usable(zk_of(r)))
        return; /* DISCONNECTED follows and ends the hold */
    if (h->step == ZK_HOLD_EXISTS)
        list(hold);
    else
        create(hold);
}

const char *zk_lock_path(const struct zookeeper *z, const char *key,
                         uint64_t fence)
{
    const struct registry_hold *hold;

    DL_FOREACH (z->base.holds, hold) {
        const struct zk_hold *h = hold->priv;

        if (h->granted && h->fence == fence && strcmp(hold->key, key) == 0)
            return h->path;
    }
    return NULL;
}

/* The session is over, and with it every node. Those that were leaving have
 * left; the others are told DISCONNECTED and leave then. */
void zk_holds_lost(struct zookeeper *z)
{
    struct registry_hold *hold, *next;

    assert(z->handle == NULL);
    DL_FOREACH_SAFE (z->base.holds, hold, next) {
        struct zk_hold *h = hold->priv;

        registry_timer_stop(&h->retry);
        forget_node(h);
        h->listing = false;
        if (h->leaving)
            gone(hold);
    }
}
