/*
 * removal.c - see removal.h.
 *
 * Who is over `waits` for its turn, or is of the pass that goes on. A pass has
 * one phase; each of its calls counts as outstanding, and next() goes on when
 * none is. Whoever is not to be removed after all is let go, or put back.
 * A few lines longer than 500: the three steps are one machine.
 */
#include "coordinator/removal/removal.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/planted.h"
#include "base/table.h"
#include "cluster/node_identity.h"
#include "coordinator/removal/afresh.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

#define CONFLICTS_MAX 3 /* of deletes, in a pass; then all is read anew */

enum phase { IDLE, READING, MARKING, RINGS, DELETING };

enum step {
    WAITS,
    FOUND,  /* as `version`: it is to be marked */
    MARKED, /* at `version`; 0: it is to be read */
    GOES,   /* its delete is under way */
};

struct over {
    struct over *next, *prev; /* of `waiting` or `pass` */
    UT_hash_handle hh;
    struct removal *r;
    struct membership_over over, told; /* what it goes by; what was told last */
    mono_ms due;
    uint64_t version;
    struct buf text; /* FOUND: as it is to stand; empty: as it does */
    enum step step;
    enum node_kind kind;
    char address[NODE_ADDRESS_MAX + 1];
    char life[NODE_REGISTRATION_MAX + 1]; /* of its second key; "" none */
    char missing[NODE_REGISTRATION_MAX + 1];
    char life_key[sizeof(REGISTRATIONS_PREFIX) + NODE_REGISTRATION_MAX + 1];
    char key[];
};

struct removal {
    struct removal_config config;
    struct rings *rings;
    struct over *all; /* by key */
    struct over *waiting, *pass;
    struct afresh afresh;
    enum phase phase;
    size_t outstanding;
    uint64_t session; /* of this pass: what it reads goes only forward */
    bool unread;      /* of the rings not all could be read */
    unsigned conflicts;
};

static void next(struct removal *r);

static mono_ms now(const struct removal *r)
{
    return r->config.clock->mono;
}

static bool is_over(struct over *o, uint64_t *version)
{
    return membership_still_over(o->r->config.membership, o->key, &o->over,
                                 version);
}

static void over_free(struct over *o)
{
    buf_close(&o->text);
    mem_free(o);
}

/* --- in and out of a pass ------------------------------------------------ */

static void put_back(struct over *o, int64_t after_ms)
{
    struct removal *r = o->r;

    buf_close(&o->text);
    o->step = WAITS;
    o->due = now(r) + after_ms;
    DL_DELETE(r->pass, o);
    DL_APPEND(r->waiting, o);
}

/* It lives, or is gone; or was over once more since. */
static void let_go(struct over *o)
{
    struct removal *r = o->r;

    if (memcmp(&o->told, &o->over, sizeof(o->told)) != 0) {
        o->over = o->told;
        put_back(o, 0);
        return;
    }
    DL_DELETE(r->pass, o);
    HASH_DELETE(hh, r->all, o);
    over_free(o);
}

static void put_all_back(struct removal *r)
{
    while (r->pass != NULL)
        put_back(r->pass, REMOVAL_RETRY_MS);
}

static void came_back(struct removal *r)
{
    assert(r->outstanding > 0);
    if (--r->outstanding == 0)
        next(r);
}

/* --- the registrations --------------------------------------------------- */

static void found(struct over *o, const struct registry_entry *e)
{
    struct node_claim standing;

    node_claim_read(&standing, e->value, e->value_len);
    o->life[0] = '\0';
    if (registry_first_version(o->r->config.registry) != 0 &&
        strcmp(standing.registration, o->missing) != 0)
        memcpy(o->life, standing.registration, sizeof(o->life));
    if (o->life[0] != '\0')
        (void)snprintf(o->life_key, sizeof(o->life_key),
                       REGISTRATIONS_PREFIX "/%s", o->life);
    o->version = e->version;
    o->step = standing.doubted || planted(PLANTED_UNMARKED) ? MARKED : FOUND;
    buf_init(&o->text, REGISTRY_VALUE_MAX);
    if (o->step == FOUND &&
        (!node_claim_doubt(&o->text, e->value, e->value_len) ||
         o->text.overflow)) /* no heartbeat of ours is as long */
        buf_reset(&o->text);
    assert(!o->text.overflow);
}

static void on_read(void *arg, const struct registry_reply *reply)
{
    struct over *o = arg;
    struct removal *r = o->r;
    const struct registry_entry *e = reply->entries;
    uint64_t version = 0;

    assert(r->phase == READING && o->step == WAITS);
    if (reply->err.code == ERR_NOT_FOUND) {
        let_go(o);
    } else if (reply->err.code != ERR_OK) {
        put_back(o, REMOVAL_RETRY_MS);
    } else if (e->created != o->over.created || e->owner != 0 ||
               !is_over(o, &version)) {
        let_go(o);
    } else if (e->version != version) { /* what is that? The watch will tell */
        registry_poll_now(r->config.registry, o->key);
        put_back(o, REMOVAL_SOON_MS);
    } else {
        found(o, e);
    }
    came_back(r);
}

/* Those whose time has come, or a part of them. */
static void begin(struct removal *r)
{
    struct over *o, *tmp;
    uint64_t version;
    size_t n = 0;

    assert(r->phase == IDLE && r->pass == NULL);
    DL_FOREACH_SAFE (r->waiting, o, tmp) {
        if (n == REMOVAL_PASS_MAX)
            break;
        if (now(r) < o->due)
            continue;
        DL_DELETE(r->waiting, o);
        DL_APPEND(r->pass, o);
        if (is_over(o, &version))
            n++;
        else
            let_go(o);
    }
    if (n == 0)
        return;
    r->phase = READING;
    r->session = registry_session(r->config.registry);
    r->unread = false;
    r->conflicts = 0;
    raiser_expect(r->config.raiser);
    DL_FOREACH (r->pass, o) {
        r->outstanding++;
        registry_get(r->config.registry, o->key, on_read, o);
    }
}

/* --- 1 mark -------------------------------------------------------------- */

/* The last of its ops is that of its second key, which somebody took away by
 * itself: it goes without. */
static bool lacks_life(struct over *o, size_t failed_op, size_t n_ops)
{
    if (o->life[0] == '\0' || failed_op != n_ops - 1)
        return false;
    memcpy(o->missing, o->life, sizeof(o->missing));
    o->life[0] = '\0';
    return true;
}

static size_t mark_ops(struct over *o, struct registry_op ops[2])
{
    size_t n = 1;

    ops[0] = o->text.len > 0
                 ? registry_op_put(o->key, &o->text, o->version)
                 : registry_op_at(REGISTRY_CHECK, o->key, o->version);
    if (o->life[0] != '\0')
        ops[n++] =
            registry_op_at(REGISTRY_CHECK, o->life_key,
                           registry_first_version(o->r->config.registry));
    return n;
}

static void on_marked(void *arg, const struct registry_reply *reply)
{
    struct over *o = arg;
    struct removal *r = o->r;

    assert(r->phase == MARKING && o->step == FOUND);
    if (reply->err.code == ERR_OK) {
        o->step = MARKED;
        if (o->text.len > 0)
            o->version = reply->written;
    } else {
        size_t n = o->life[0] != '\0' ? 2 : 1;

        put_back(o, reply->failed_op != SIZE_MAX &&
                            lacks_life(o, reply->failed_op, n)
                        ? 0
                        : REMOVAL_SOON_MS);
    }
    came_back(r);
}

static void mark(struct removal *r)
{
    struct registry_op ops[2];
    struct over *o, *tmp;
    uint64_t version;

    r->phase = MARKING;
    r->outstanding++; /* of this function */
    DL_FOREACH_SAFE (r->pass, o, tmp) {
        size_t n;

        if (!is_over(o, &version)) {
            let_go(o);
            continue;
        }
        if (o->step == MARKED)
            continue;
        r->outstanding++;
        n = mark_ops(o, ops);
        if (planted(PLANTED_MARK_SILENT))
            registry_txn(r->config.registry, ops, n, on_marked, o);
        else
            raiser_add(r->config.raiser, o->kind, o->address, ops, n, on_marked,
                       o);
    }
    came_back(r);
}

/* --- 2 read -------------------------------------------------------------- */

/* What we wrote, where the answer to the txn does not say at which version. */
static void on_mark_read(void *arg, const struct registry_reply *reply)
{
    struct over *o = arg;
    struct removal *r = o->r;
    const struct registry_entry *e = reply->entries;

    assert(r->phase == RINGS && o->step == MARKED);
    if (reply->err.code == ERR_OK && e->created == o->over.created &&
        e->value_len == o->text.len &&
        memcmp(e->value, buf_text(&o->text), e->value_len) == 0)
        o->version = e->version;
    else
        put_back(o, REMOVAL_SOON_MS);
    came_back(r);
}

static void on_rings(void *arg, bool whole)
{
    struct removal *r = arg;

    assert(r->phase == RINGS);
    r->unread = !whole;
    came_back(r);
}

static void read_rings(struct removal *r)
{
    struct over *o;

    r->phase = RINGS;
    DL_FOREACH (r->pass, o) {
        assert(o->step == MARKED);
        if (o->version != 0)
            continue;
        r->outstanding++;
        registry_get(r->config.registry, o->key, on_mark_read, o);
    }
    r->outstanding++;
    if (planted(PLANTED_RINGS_UNREAD))
        came_back(r);
    else
        afresh_begin(&r->afresh, r->config.registry, r->config.clock, r->rings,
                     on_rings, r);
}

/* --- 3 delete ------------------------------------------------------------ */

static size_t delete_ops(struct over *o, struct registry_op *ops)
{
    size_t n = 1;

    ops[0] = registry_op_at(REGISTRY_DELETE, o->key, o->version);
    if (o->life[0] != '\0')
        ops[n++] =
            registry_op_at(REGISTRY_DELETE, o->life_key,
                           registry_first_version(o->r->config.registry));
    return n;
}

/* One of them was overtaken. */
static void refused(struct removal *r, size_t op)
{
    struct over *o, *tmp;

    DL_FOREACH_SAFE (r->pass, o, tmp) {
        size_t n = o->life[0] != '\0' ? 2 : 1;

        if (o->step != GOES)
            continue;
        o->step = MARKED;
        if (op < n && !lacks_life(o, op, n))
            put_back(o, REMOVAL_SOON_MS);
        op = op < n ? SIZE_MAX : op - n;
    }
    if (++r->conflicts >= CONFLICTS_MAX)
        put_all_back(r);
}

static void on_deleted(void *arg, const struct registry_reply *reply)
{
    struct removal *r = arg;
    struct over *o, *tmp;

    assert(r->phase == DELETING);
    if ((reply->err.code == ERR_CONFLICT || reply->err.code == ERR_NOT_FOUND) &&
        reply->failed_op != SIZE_MAX) {
        refused(r, reply->failed_op);
        came_back(r);
        return;
    }
    if (reply->err.code != ERR_OK)
        log_warn("!registration", LOG_S("reason", reply->err.msg));
    DL_FOREACH_SAFE (r->pass, o, tmp) {
        if (o->step != GOES)
            continue;
        if (reply->err.code == ERR_OK) {
            log_info("-registration", LOG_S("key", o->key),
                     LOG_S("reason", "ttl"));
            o->told = o->over; /* whatever was told since, it is gone */
            let_go(o);
        } else {
            put_back(o, REMOVAL_RETRY_MS);
        }
    }
    came_back(r);
}

/* As many as a txn takes. */
static void delete_some(struct removal *r)
{
    size_t max = registry_max_ops(r->config.registry), n = 0, bytes = 0;
    struct registry_op *ops = mem_array(max, sizeof(*ops));
    struct over *o, *tmp;
    uint64_t version;

    assert(max >= 2);
    r->phase = DELETING;
    DL_FOREACH_SAFE (r->pass, o, tmp) {
        if (!is_over(o, &version)) {
            let_go(o);
            continue;
        }
        bytes += 2 * REGISTRY_KEY_MAX;
        if (n + 2 > max || bytes > registry_max_bytes(r->config.registry))
            break;
        o->step = GOES;
        n += delete_ops(o, &ops[n]);
    }
    assert(n > 0 || r->pass == NULL); /* else nothing would go on */
    if (n > 0) {
        r->outstanding++;
        registry_txn(r->config.registry, ops, n, on_deleted, r);
    }
    mem_free(ops);
}

/* --- from one to the next ------------------------------------------------ */

static void next(struct removal *r)
{
    assert(r->outstanding == 0);
    if (r->unread || r->session != registry_session(r->config.registry))
        put_all_back(r);
    if (r->pass != NULL && r->phase == READING)
        mark(r);
    else if (r->pass != NULL && r->phase == MARKING)
        read_rings(r);
    else if (r->pass != NULL)
        delete_some(r);
    if (r->pass == NULL)
        r->phase = IDLE;
}

/* --- from outside -------------------------------------------------------- */

struct removal *removal_new(const struct removal_config *config)
{
    struct removal *r = mem_zalloc(sizeof(*r));

    assert(config->clock != NULL && config->registry != NULL);
    assert(config->membership != NULL && config->raiser != NULL);
    r->config = *config;
    return r;
}

void removal_free(struct removal **removal, bool told)
{
    struct removal *r = *removal;
    struct over *o, *tmp;

    if (r == NULL)
        return;
    afresh_end(&r->afresh, told);
    HASH_ITER (hh, r->all, o, tmp) {
        HASH_DELETE(hh, r->all, o);
        if (told) {
            registry_forget(r->config.registry, o);
            raiser_forget(r->config.raiser, o);
        }
        over_free(o);
    }
    if (told)
        registry_forget(r->config.registry, r);
    MEM_FREE(*removal);
}

void removal_use_rings(struct removal *r, struct rings *rings)
{
    if (afresh_goes_on(&r->afresh))
        afresh_lose(&r->afresh);
    r->rings = rings;
}

void removal_over(struct removal *r, const struct membership_event *ev,
                  unsigned rank)
{
    size_t len = strlen(ev->key);
    struct over *o;

    assert(ev->type == MEMBERSHIP_TTL_OVER);
    assert(len <= REGISTRY_KEY_MAX);
    HASH_FIND(hh, r->all, ev->key, len, o);
    if (o != NULL) {
        o->told = ev->over;
        if (o->step == WAITS && r->phase != READING)
            o->over = ev->over;
        return;
    }
    o = mem_zalloc(sizeof(*o) + len + 1);
    o->r = r;
    o->kind = ev->node->kind;
    (void)snprintf(o->address, sizeof(o->address), "%s", ev->node->address);
    memcpy(o->key, ev->key, len + 1);
    o->over = o->told = ev->over;
    buf_init(&o->text, REGISTRY_VALUE_MAX);
    o->due = now(r) +
             REMOVAL_RANK_MS *
                 (int64_t)(rank < REMOVAL_RANK_MAX ? rank : REMOVAL_RANK_MAX);
    HASH_ADD(hh, r->all, key, len, o);
    DL_APPEND(r->waiting, o);
}

void removal_tick(struct removal *r)
{
    if (r->phase == IDLE &&
        registry_state_is_up(registry_state(r->config.registry)))
        begin(r);
}

bool removal_busy(const struct removal *r)
{
    return r->all != NULL;
}
