/*
 * writer.c - see writer.h.
 *
 * One call of the registry is under way at a time, and go_on() alone says which
 * is next. A window is *formed* when its text is made; from then on its puts
 * are `going`. One of which certainly nothing was applied is unformed: its puts
 * wait again, before the others. (A few lines more than 500: what is under way
 * and what follows upon it are one machine.)
 */
#include "coordinator/renewals/writer.h"

#include "base/mem.h"
#include "registry/attempt.h"

#include <string.h>
#include <utlist.h>

#define RETRY_MS 100

struct slot {
    uint64_t created, version; /* 0: nothing stands there */
};

struct ring_writer {
    struct writer_config config;
    struct taken taken;
    uint64_t taken_version;
    bool taken_known, read_once;
    uint64_t taken_session; /* in which that was; 0 none */
    uint64_t taken_asked;   /* in which it was asked for */

    uint64_t session;       /* whose ring it is */
    uint64_t entry_version; /* of our entry in it; 0: to be read */
    bool homeless;          /* it was not there when it was looked for */
    uint64_t seq;           /* of the last window that was committed */
    int64_t watched_ms;     /* the longest of this ring */
    struct slot slots[WINDOW_SLOTS];

    struct writer_put *waiting, *going;
    struct buf text;           /* of the window that is formed; empty: none */
    char key[WINDOW_KEY_SIZE]; /* its slot */
    bool doubt;                /* it may have been applied, or may be yet */
    bool back;                 /* its slot is to be read */
    bool dead;                 /* what was sent of it applies no more */
    bool busy;
    bool more; /* some wait that were in a window, or had no room there, or many
                  do */
    size_t added;     /* since a window was formed */
    mono_ms came;     /* the last of them */
    size_t committed; /* in the last window, */
    mono_ms answered; /* and when */
    mono_ms begun, retry;
};

static void go_on(struct ring_writer *r);

static mono_ms now(const struct ring_writer *r)
{
    return r->config.clock->mono;
}

/* --- ends ---------------------------------------------------------------- */

static void end_one(struct writer_put *put, const struct writer_reply *reply)
{
    assert(put->done != NULL);
    put->next = put->prev = NULL;
    put->done(put->arg, reply);
}

/* Whoever is called may add others. */
static void end_all(struct writer_put **list, const struct writer_reply *reply)
{
    struct writer_put *all = *list, *put, *next;

    *list = NULL;
    DL_FOREACH_SAFE (all, put, next)
        end_one(put, reply);
}

static void fail_all(struct ring_writer *r, struct writer_put **list,
                     enum err_code code, const char *why)
{
    struct writer_reply reply = {.end = WRITER_FAILED};
    const struct writer_put *put;

    DL_FOREACH (*list, put)
        r->config.counts->failed++;
    (void)err_set(&reply.err, code, "%s", why);
    end_all(list, &reply);
}

/* It has r->committed, as of now. */
static void count_window(struct ring_writer *r)
{
    struct renewal_counts *c = r->config.counts;
    int64_t took = now(r) - r->begun;
    size_t i = 0;

    assert(took >= 0);
    while (i < RENEWAL_TOOKS - 1 && took > RENEWAL_TOOK_MS(i))
        i++;
    c->took[i]++;
    c->took_ms += (uint64_t)took;
    c->windows++;
    c->windowed += r->committed;
}

/* Not formed any more; its puts were ended, or wait again. */
static void let_go(struct ring_writer *r)
{
    buf_reset(&r->text);
    r->doubt = r->back = r->dead = false;
}

static void unform(struct ring_writer *r)
{
    struct writer_put *before = r->going;

    assert(r->text.len > 0);
    r->going = NULL;
    DL_CONCAT(before, r->waiting);
    r->waiting = before;
    r->more = before != NULL;
    let_go(r);
}

static void committed(struct ring_writer *r, uint64_t created, uint64_t version)
{
    unsigned slot = window_slot(r->seq + 1);
    char key[WINDOW_KEY_SIZE];
    const struct writer_put *put;
    struct writer_reply reply = {.end = WRITER_COMMITTED,
                                 .key = key,
                                 .created = created,
                                 .version = version};

    assert(version != 0);
    assert(r->text.len > 0);
    memcpy(key, r->key, sizeof(key));
    r->slots[slot] = (struct slot){.created = created, .version = version};
    r->seq++;
    let_go(r);
    DL_COUNT(r->going, put, r->committed);
    r->answered = now(r);
    count_window(r);
    end_all(&r->going, &reply);
}

/* What was checked has moved, or the session has ended. */
static void overtaken(struct ring_writer *r)
{
    if (!r->doubt) {
        unform(r);
        return;
    }
    r->dead = r->back = true;
}

/* --- the window's write -------------------------------------------------- */

/* A ring of this name stood already: in a store that went back numbers of
 * sessions come again. Readers know its windows, so ours go on so far behind
 * them that every reader finds a gap. True: so far it was not. */
static bool beyond(struct ring_writer *r, const struct registry_entry *e)
{
    struct window_read w;

    if (e == NULL ||
        window_open(&w, window_slot(r->seq + 1), e->value, e->value_len,
                    NULL) != 0 ||
        w.seq <= r->seq)
        return false;
    r->seq = w.seq + 2 * WINDOW_SLOTS;
    return true;
}

static void on_slot(void *arg, const struct registry_reply *reply)
{
    struct ring_writer *r = arg;
    const struct registry_entry *e =
        reply->err.code == ERR_OK ? &reply->entries[0] : NULL;
    struct slot *s = &r->slots[window_slot(r->seq + 1)];

    assert(r->busy && r->back);
    r->busy = false;
    if (e == NULL && reply->err.code != ERR_NOT_FOUND) {
        r->retry = now(r) + RETRY_MS;
        return;
    }
    r->back = false;
    s->created = e != NULL ? e->created : 0;
    s->version = e != NULL ? e->version : 0;
    if (e != NULL && e->value_len == r->text.len &&
        memcmp(e->value, buf_text(&r->text), r->text.len) == 0)
        committed(r, e->created, e->version);
    else if (r->dead || beyond(r, e))
        unform(r);
    go_on(r);
}

static void refused(struct ring_writer *r, const struct registry_reply *reply)
{
    assert(reply->err.code == ERR_CONFLICT);
    switch (reply->failed_op) {
    case 0:
        r->entry_version = 0;
        overtaken(r);
        break;
    case 1:
        r->taken_known = false;
        overtaken(r);
        break;
    default: /* one of ours of unknown outcome */
        r->back = true;
    }
}

static void on_put(void *arg, const struct registry_reply *reply)
{
    struct ring_writer *r = arg;
    struct slot *s = &r->slots[window_slot(r->seq + 1)];

    assert(r->busy && r->text.len > 0);
    r->busy = false;
    switch (reply->err.code) {
    case ERR_OK:
        if (reply->written == 0) {
            r->doubt = r->back = true;
            break;
        }
        committed(r, s->version == 0 ? reply->written : s->created,
                  reply->written);
        break;
    case ERR_CONFLICT:
        refused(r, reply);
        break;
    case ERR_UNKNOWN:
        r->doubt = r->back = true;
        r->retry = now(r) + RETRY_MS;
        break;
    case ERR_UNAVAILABLE:
        r->retry = now(r) + RETRY_MS;
        break;
    case ERR_SESSION_LOST:
        r->entry_version = 0;
        overtaken(r);
        r->retry = now(r) + RETRY_MS;
        break;
    default: /* it will not be otherwise the next time */
        r->retry = now(r) + RETRY_MS;
        if (r->doubt) {
            fail_all(r, &r->going, ERR_UNKNOWN, reply->err.msg);
        } else {
            let_go(r);
            fail_all(r, &r->going, reply->err.code, reply->err.msg);
        }
    }
    go_on(r);
}

static void put_window(struct ring_writer *r)
{
    struct registry_op ops[3];

    assert(r->entry_version != 0 && r->taken_version != 0);
    assert(!r->back && !r->dead);
    ops[0] =
        registry_op_at(REGISTRY_CHECK, r->config.entry_key, r->entry_version);
    ops[1] = registry_op_at(REGISTRY_CHECK, TAKEN_KEY, r->taken_version);
    ops[2] = registry_op_put(r->key, &r->text,
                             r->slots[window_slot(r->seq + 1)].version);
    r->busy = true;
    registry_txn(r->config.registry, ops, 3, on_put, r);
}

/* --- forming it ---------------------------------------------------------- */

static bool named(const struct ring_writer *r, const struct writer_put *put)
{
    return !r->taken.grouped ||
           taken_names(&r->taken, put->since, put->kind, put->address);
}

static const struct writer_reply left = {.end = WRITER_LEFT};

/* Those who have to go otherwise. */
static void sort_out(struct ring_writer *r)
{
    static const struct writer_reply late = {.end = WRITER_TOO_LATE};
    struct writer_put *lefts = NULL, *lates = NULL, *put, *next;

    assert(r->taken_known);
    DL_FOREACH_SAFE (r->waiting, put, next)
        if (now(r) >= put->expires) {
            DL_DELETE(r->waiting, put);
            DL_APPEND(lates, put);
            r->config.counts->failed++;
        } else if (named(r, put)) {
            DL_DELETE(r->waiting, put);
            DL_APPEND(lefts, put);
            r->config.counts->named += r->taken.grouped; /* else all are */
        }
    end_all(&lates, &late);
    end_all(&lefts, &left);
}

static void form(struct ring_writer *r)
{
    struct writer_put *put, *next;
    struct window w;

    assert(r->text.len == 0 && r->going == NULL);
    sort_out(r);
    if (r->waiting == NULL)
        return;
    window_init(&w);
    DL_FOREACH_SAFE (r->waiting, put, next) {
        if (!window_add(&w, &put->renewal))
            break;
        if (put->watched_ms > r->watched_ms)
            r->watched_ms = put->watched_ms;
        DL_DELETE(r->waiting, put);
        DL_APPEND(r->going, put);
    }
    r->added = 0;
    window_write(&r->text, &w, r->seq + 1, r->watched_ms);
    window_close(&w);
    (void)window_key(r->session, window_slot(r->seq + 1), r->key);
    r->begun = now(r);
    r->more = r->waiting != NULL;
    assert(!r->text.overflow && r->going != NULL);
}

/* --- what it rests on ---------------------------------------------------- */

static void on_entry(void *arg, const struct registry_reply *reply)
{
    struct ring_writer *r = arg;
    uint64_t session = registry_session(r->config.registry);
    bool ours = reply->err.code == ERR_OK && session != 0 &&
                reply->entries[0].owner == session;

    assert(r->busy && r->text.len == 0);
    r->busy = false;
    if (!ours) {
        r->retry = now(r) + RETRY_MS;
        if (reply->err.code == ERR_OK || reply->err.code == ERR_NOT_FOUND) {
            r->homeless = true;
            end_all(&r->waiting, &left);
        }
        return;
    }
    r->homeless = false;
    if (r->session != session) {
        memset(r->slots, 0, sizeof(r->slots));
        r->seq = 0;
        r->watched_ms = 0;
        r->session = session;
    }
    r->entry_version = reply->entries[0].version;
    go_on(r);
}

static void on_taken(void *arg, const struct registry_reply *reply)
{
    struct ring_writer *r = arg;
    bool first = !r->read_once;

    assert(r->busy && !r->taken_known);
    r->busy = false;
    if (reply->err.code != ERR_OK && reply->err.code != ERR_NOT_FOUND) {
        r->retry = now(r) + RETRY_MS;
        return;
    }
    r->taken_known = r->read_once = true;
    r->taken_session = r->taken_asked == registry_session(r->config.registry)
                           ? r->taken_asked
                           : 0;
    taken_init(&r->taken); /* what nobody can read: no groups are written */
    r->taken_version = 0;
    if (reply->err.code == ERR_OK) {
        r->taken_version = reply->entries[0].version;
        if (taken_read(&r->taken, reply->entries[0].value,
                       reply->entries[0].value_len, NULL) != 0)
            taken_init(&r->taken);
    }
    if (first && r->config.known != NULL)
        r->config.known(r->config.arg);
    go_on(r);
}

static void read_taken(struct ring_writer *r)
{
    assert(!r->busy && !r->taken_known);
    r->busy = true;
    r->taken_asked = registry_session(r->config.registry);
    registry_get(r->config.registry, TAKEN_KEY, on_taken, r);
}

/* If nobody comes now: is that because all wait? */
static bool all_wait(const struct ring_writer *r)
{
    bool again = r->committed > 0 && r->added >= r->committed &&
                 r->came - r->answered <= WRITER_AGAIN_MS;

    return again || r->added >= WRITER_SOME;
}

static bool window_is_due(const struct ring_writer *r)
{
    if (r->text.len > 0)
        return true;
    return r->waiting != NULL &&
           (r->more || now(r) - r->begun >= WRITER_WINDOW_MS ||
            (now(r) - r->came >= WRITER_QUIET_MS && all_wait(r)));
}

static void go_on(struct ring_writer *r)
{
    if (r->busy || now(r) < r->retry)
        return;
    if (r->text.len > 0 && !r->dead &&
        r->session != registry_session(r->config.registry)) {
        r->entry_version = 0;
        overtaken(r);
    }
    if (r->back) {
        r->busy = true;
        registry_get(r->config.registry, r->key, on_slot, r);
        return;
    }
    if (!r->taken_known) {
        read_taken(r);
        return;
    }
    if (!window_is_due(r) && !r->homeless)
        return;
    if (r->entry_version == 0 ||
        r->session != registry_session(r->config.registry)) {
        r->busy = true;
        registry_get(r->config.registry, r->config.entry_key, on_entry, r);
        return;
    }
    if (r->text.len == 0)
        form(r);
    if (r->text.len > 0)
        put_window(r);
}

/* --- from outside -------------------------------------------------------- */

struct ring_writer *writer_new(const struct writer_config *config)
{
    struct ring_writer *r = mem_zalloc(sizeof(*r));

    assert(config->entry_key[0] == '/' && config->counts != NULL);
    r->config = *config;
    buf_init(&r->text, WINDOW_BYTES_MAX);
    r->begun = now(r) - WRITER_WINDOW_MS;
    read_taken(r);
    return r;
}

void writer_free(struct ring_writer **writer, bool told)
{
    struct ring_writer *r = *writer;

    if (r == NULL)
        return;
    if (told) {
        registry_forget(r->config.registry, r);
        fail_all(r, &r->going,
                 r->doubt || r->busy ? ERR_UNKNOWN : ERR_CANCELLED,
                 "the coordinator is leaving");
        fail_all(r, &r->waiting, ERR_CANCELLED, "the coordinator is leaving");
    }
    buf_close(&r->text);
    MEM_FREE(*writer);
}

bool writer_named(const struct ring_writer *r, uint64_t *out)
{
    *out = r->taken.named;
    return r->read_once && !r->homeless && r->taken_session != 0 &&
           r->taken_session == registry_session(r->config.registry);
}

bool writer_open(const struct ring_writer *r)
{
    return r->read_once && r->taken.grouped;
}

bool writer_add(struct ring_writer *r, struct writer_put *put)
{
    assert(put->done != NULL && put->address != NULL);
    assert(put->watched_ms > 0 && put->watched_ms <= WINDOW_WATCHED_MAX);
    if (!r->read_once || r->homeless || named(r, put))
        return false;
    put->deadline = now(r) + ATTEMPT_MS;
    DL_APPEND(r->waiting, put);
    r->came = now(r);
    if (++r->added >= WRITER_MANY)
        r->more = true;
    go_on(r);
    return true;
}

static void end_overdue(struct ring_writer *r)
{
    struct writer_put *over = NULL, *put, *next;

    DL_FOREACH_SAFE (r->waiting, put, next)
        if (now(r) >= put->deadline) {
            DL_DELETE(r->waiting, put);
            DL_APPEND(over, put);
        }
    fail_all(r, &over, ERR_UNAVAILABLE, "the registry did not answer in time");
    DL_FOREACH_SAFE (r->going, put, next)
        if (now(r) >= put->deadline) {
            DL_DELETE(r->going, put);
            DL_APPEND(over, put);
        }
    fail_all(r, &over, r->doubt || r->busy ? ERR_UNKNOWN : ERR_UNAVAILABLE,
             "the registry did not answer in time");
    /* nothing of it was sent that could be applied, and nobody waits */
    if (r->going == NULL && r->text.len > 0 && !r->doubt && !r->busy)
        let_go(r);
}

void writer_look(struct ring_writer *r)
{
    /* what is formed was sorted out by what was known then */
    if (r->text.len == 0 && !r->busy)
        r->taken_known = false;
}

void writer_tick(struct ring_writer *r)
{
    uint64_t session = registry_session(r->config.registry);

    end_overdue(r);
    /* a server that is behind may answer another session */
    if (r->taken_known && session != 0 && r->taken_session != session &&
        !r->busy && r->text.len == 0)
        r->taken_known = false;
    go_on(r);
}

void writer_wake(struct ring_writer *r)
{
    if (!r->read_once && !r->busy) {
        r->retry = 0;
        go_on(r);
    }
}

mono_ms writer_due(const struct ring_writer *r)
{
    mono_ms due;

    if (r->busy || (r->waiting == NULL && r->text.len == 0 && !r->homeless))
        return INT64_MAX;
    if (r->waiting == NULL && r->text.len == 0)
        return r->retry;
    due = window_is_due(r) ? now(r) : r->begun + WRITER_WINDOW_MS;
    return due > r->retry ? due : r->retry;
}
