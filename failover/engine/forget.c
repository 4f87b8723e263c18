/*
 * forget.c - see forget.h. Design: each candidate is read afresh as for a
 * failover (struct reader), and only then its markers; what does not fit is let
 * be for as long as if it had just been closed, so that it is in nobody's way.
 * A few lines longer than 500: people's wishes and a pass answer each other.
 */
#include "failover/engine/engine_priv.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/planted.h"
#include "registry/history.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

#define PASS_MAX   64    /* gates of one pass, */
#define PASS_MS    50    /* which is not to last longer: others want the lock */
#define READ_MAX   16    /* of them, gates that are read at once */
#define FAILED_MS  1000  /* after a pass that came to nothing */
#define RETRY_MS   200   /* what a person asked for, too */
#define RECOUNT_MS 250   /* while more is due than one pass takes */
#define ASKED_MS   10000 /* a person waits so long for the lock */
#define ASKED_MAX  64

/* A person's, until it is answered. */
struct wish {
    struct wish *prev, *next;
    char address[NODE_ADDRESS_MAX + 1];
    char who[64], reason[256];
    engine_forgot_f *done;
    void *arg;
    mono_ms deadline;
    bool doubt; /* a txn of unknown outcome may have done it */
};

struct candidate {
    struct forgetting *of;
    char address[NODE_ADDRESS_MAX + 1];
    struct reader reader;
    struct gate gate; /* as it was judged; ABSENT: it stays */
    size_t op;        /* of the txn */
};

struct forgetting {
    struct engine *e;
    struct wish *wishes;
    size_t n_wishes;
    mono_ms not_before; /* the next look at all of them */
    mono_ms pause;      /* the next pass, while some are due */
    mono_ms retry;      /* the same for a person */
    mono_ms counted;
    size_t due;
    /* a pass */
    const struct registry_lock *lock;
    forgetting_done_f *done;
    void *arg;
    mono_ms began;
    uint64_t session;
    struct candidate *list;
    size_t chosen, n; /* in it; the first ones, of which the reads began */
    size_t outstanding;
    size_t pass;   /* so many at a time */
    bool deleting; /* its txn is under way */
    uint64_t floor, floor_version;
    struct err err;
};

struct forgetting *engine_forgetting_new(struct engine *e)
{
    struct forgetting *f = mem_zalloc(sizeof(*f));
    assert(e->c.forget_after_ms > 0 && e->c.collect_interval_ms > 0);
    f->e = e;
    f->pass = PASS_MAX / 4;
    return f;
}

/* --- people -------------------------------------------------------------- */

static struct wish *wish_of(struct forgetting *f, const char *address)
{
    struct wish *w;
    DL_FOREACH (f->wishes, w)
        if (strcmp(w->address, address) == 0)
            return w;
    return NULL;
}

static void answer(struct forgetting *f, struct wish *w, enum problem code,
                   const char *why)
{
    struct err err = {0};
    assert(f->n_wishes > 0);
    DL_DELETE(f->wishes, w);
    f->n_wishes--;
    if (code != PROBLEM_NONE)
        err_set(&err, ERR_CONFLICT, "%s %s: %s", node_kind_name(f->e->c.kind),
                w->address, why);
    else
        log_info("-forgotten", LOG_S("kind", node_kind_name(f->e->c.kind)),
                 LOG_S("address", w->address), LOG_S("who", w->who),
                 LOG_S("reason", w->reason));
    w->done(w->arg, code, &err);
    mem_free(w);
}

void engine_forgetting_ask(struct forgetting *f,
                           const struct engine_forget *what,
                           engine_forgot_f *done, void *arg)
{
    struct wish *w = mem_zalloc(sizeof(*w));
    assert(done != NULL);
    (void)node_canonical(what->address, w->address);
    (void)snprintf(w->who, sizeof(w->who), "%s", what->who);
    (void)snprintf(w->reason, sizeof(w->reason), "%s", what->reason);
    w->done = done;
    w->arg = arg;
    w->deadline = f->e->c.clock->mono + ASKED_MS;
    DL_APPEND(f->wishes, w);
    if (++f->n_wishes > ASKED_MAX) {
        answer(f, w, PROBLEM_BUSY, "too many are to be forgotten at once");
    } else if (!f->e->connected) {
        bool back = registry_went_back(f->e->c.registry) != NULL;
        const struct failover_answer_facts *why = failover_answer_facts(
            back ? FAILOVER_WENT_BACK : FAILOVER_NO_REGISTRY);
        answer(f, w, why->code, why->text);
    }
}

void engine_forgetting_tick(struct forgetting *f)
{
    struct wish *w, *next;
    DL_FOREACH_SAFE (f->wishes, w, next)
        if (f->e->c.clock->mono >= w->deadline)
            answer(f, w, w->doubt ? PROBLEM_OUTCOME_UNKNOWN : PROBLEM_BUSY,
                   "the failover lock, or the registry, could not be had in "
                   "time; try again");
}

/* --- what is due --------------------------------------------------------- */

/* As far as we know. */
static bool is_due(const struct forgetting *f, const struct work_view_owner *o)
{
    const struct engine *e = f->e;
    const struct node *n;
    if (o->kind != e->c.kind || !gate_is_closed(o->gate) ||
        gate_is_bound(o->gate) || o->n_markers > 0 ||
        e->c.clock->mono - gates_since(e->c.gates, o->kind, o->address) <
            e->c.forget_after_ms ||
        work_view_failover(e->c.view, o->kind, o->address) != NULL)
        return false;
    n = membership_find(e->c.membership, o->kind, o->address);
    return n == NULL || !n->registered;
}

/* As far as a pass takes: of a hundred thousand no more matter. */
static void count(struct forgetting *f)
{
    const struct work_view_owner *o = NULL;
    f->counted = f->e->c.clock->mono;
    f->due = 0;
    while (f->due < PASS_MAX && (o = work_view_next(f->e->c.view, o)) != NULL)
        f->due += is_due(f, o);
}

bool engine_forgetting_wanted(struct forgetting *f)
{
    mono_ms now = f->e->c.clock->mono;
    if (f->wishes != NULL && now >= f->retry)
        return true;
    if (now < f->pause)
        return false;
    if (f->due > 0 ? now - f->counted >= RECOUNT_MS : now >= f->not_before) {
        count(f);
        f->not_before = now + f->e->c.collect_interval_ms;
    }
    return f->due > 0;
}

/* --- the end of a pass --------------------------------------------------- */

/* What was sent may apply, and nobody hears of it. */
static void doubt(struct forgetting *f, const struct candidate *c)
{
    struct wish *w;
    if (c->gate.state == GATE_ABSENT)
        return;
    DL_FOREACH (f->wishes, w)
        if (strcmp(w->address, c->address) == 0)
            w->doubt = true;
}

void engine_forgetting_stop(struct forgetting *f)
{
    struct registry *r = f->e->c.registry;
    for (size_t i = 0; i < f->n && f->deleting; i++)
        doubt(f, &f->list[i]);
    f->deleting = false;
    registry_forget(r, f);
    for (size_t i = 0; i < f->n; i++) {
        engine_reader_forget(&f->list[i].reader);
        registry_forget(r, &f->list[i]);
    }
    MEM_FREE(f->list);
    f->chosen = f->n = f->outstanding = 0;
    f->done = NULL;
}

void engine_forgetting_free(struct forgetting **f)
{
    if (*f == NULL)
        return;
    engine_forgetting_stop(*f);
    while ((*f)->wishes != NULL)
        answer(*f, (*f)->wishes,
               (*f)->wishes->doubt ? PROBLEM_OUTCOME_UNKNOWN
                                   : PROBLEM_CANCELLED,
               "this coordinator is stopping");
    MEM_FREE(*f);
}

/* A read of an address costs what stands below /nodes, in some stores. */
static void pace(struct forgetting *f, int64_t took_ms)
{
    if (took_ms > PASS_MS && f->pass > 1)
        f->pass /= 2;
    else if (took_ms < PASS_MS / 2 && f->n == f->pass && f->pass < PASS_MAX)
        f->pass *= 2;
    assert(f->pass > 0 && f->pass <= PASS_MAX);
}

/* There was no time for all of it: what is left is not few for its pass. */
static bool cut_short(const struct forgetting *f)
{
    return f->n < f->chosen && f->err.code == ERR_OK;
}

static void ended(struct forgetting *f, size_t gates)
{
    forgetting_done_f *done = f->done;
    void *arg = f->arg;
    mono_ms now = f->e->c.clock->mono;
    struct err err = f->err;
    assert(done != NULL && f->outstanding == 0);
    pace(f, now - f->began);
    count(f);
    if (f->due < f->pass && !cut_short(f)) { /* with the next interval */
        f->due = 0;
        f->not_before = now + f->e->c.collect_interval_ms;
    }
    if (gates == 0)
        f->pause = now + FAILED_MS;
    f->retry = now + RETRY_MS;
    engine_forgetting_stop(f);
    done(arg, &err, gates);
}

/* All who wished it are answered with one. */
static void answer_all(struct candidate *c, enum problem code, const char *why)
{
    struct forgetting *f = c->of;
    struct wish *w, *next;
    DL_FOREACH_SAFE (f->wishes, w, next) {
        if (strcmp(w->address, c->address) != 0)
            continue;
        if (code == PROBLEM_NOT_FOUND && w->doubt)
            answer(f, w, PROBLEM_NONE, "");
        else
            answer(f, w, code, why);
    }
}

/* It stays, and whoever wished otherwise is told why. */
static void keep(struct candidate *c, enum problem code, const char *why)
{
    const struct engine *e = c->of->e;
    assert(code != PROBLEM_NONE);
    c->gate.state = GATE_ABSENT;
    gates_keep(e->c.gates, e->c.kind, c->address);
    answer_all(c, code, why);
}

static void gone(struct candidate *c)
{
    const struct engine *e = c->of->e;
    /* our watch tells of it, by and by */
    gates_keep(e->c.gates, e->c.kind, c->address);
    answer_all(c, PROBLEM_NONE, "");
}

/* --- deleting ------------------------------------------------------------ */

static void on_deleted(void *arg, const struct registry_reply *reply)
{
    struct forgetting *f = arg;
    enum err_code code = reply->err.code;
    size_t n = 0;
    assert(f->outstanding == 1 && f->deleting);
    f->outstanding = 0;
    f->deleting = false;
    for (size_t i = 0; i < f->n; i++) {
        struct candidate *c = &f->list[i];
        if (c->gate.state == GATE_ABSENT)
            continue;
        if (code == ERR_OK) {
            gone(c);
            n++;
        } else if (code == ERR_UNKNOWN) {
            doubt(f, c);
        } else if (code == ERR_CONFLICT && reply->failed_op == c->op &&
                   wish_of(f, c->address) == NULL) {
            /* somebody came, or was quicker: the others go in the next pass */
            gates_keep(f->e->c.gates, f->e->c.kind, c->address);
        }
    }
    if (code != ERR_OK && code != ERR_CONFLICT)
        f->err = reply->err;
    ended(f, n);
}

static uint64_t version_of(const struct candidate *c)
{
    const struct engine *e = c->of->e;
    const struct gate *told = gates_find(e->c.gates, e->c.kind, c->address);
    return planted(PLANTED_FORGET_UNVERSIONED) && told->version != 0
               ? told->version
               : c->gate.version;
}

static void send_deletes(struct forgetting *f)
{
    struct engine *e = f->e;
    struct txn txn;
    engine_txn_init(&txn, f->n + 2);
    engine_txn_check_lock(&txn, f->lock);
    if (!planted(PLANTED_FORGET_FLOORLESS)) {
        keep_highest(&f->floor, work_view_epoch(e->c.view));
        engine_txn_floor(&txn, f->floor_version, f->floor);
    }
    for (size_t i = 0; i < f->n; i++) {
        struct candidate *c = &f->list[i];
        if (c->gate.state == GATE_ABSENT)
            continue;
        c->op = txn.n;
        gate_key(e->c.kind, c->address,
                 engine_txn_at(&txn, REGISTRY_DELETE, version_of(c)),
                 REGISTRY_KEY_MAX + 1);
    }
    f->outstanding = 1;
    f->deleting = true;
    engine_txn_send(&txn, e->c.registry, on_deleted, f);
}

/* Last, for whoever collects beside us raises it, too. */
static void on_floor(void *arg, const struct registry_reply *reply)
{
    struct forgetting *f = arg;
    assert(f->outstanding == 1);
    f->outstanding = 0;
    if (engine_floor_take(reply, &f->floor, &f->floor_version, &f->err) == 0 &&
        engine_is_fresh(f->e, f->began, f->session))
        send_deletes(f);
    else
        ended(f, 0);
}

static void delete_gates(struct forgetting *f)
{
    size_t n = 0;
    for (size_t i = 0; i < f->n; i++)
        n += f->list[i].gate.state != GATE_ABSENT;
    if (n == 0 || f->err.code != ERR_OK) {
        ended(f, 0);
        return;
    }
    f->outstanding = 1;
    registry_get(f->e->c.registry, EPOCH_FLOOR_KEY, on_floor, f);
}

/* --- reading ------------------------------------------------------------- */

static void read_more(struct forgetting *f);

static void arrived(struct forgetting *f)
{
    assert(f->outstanding > 0);
    f->outstanding--;
    read_more(f);
    if (f->outstanding == 0)
        delete_gates(f);
}

static void on_directory(void *arg, const struct registry_reply *reply)
{
    struct candidate *c = arg;
    if (reply->err.code != ERR_OK)
        log_debug("!directory", LOG_S("address", c->address),
                  LOG_S("why", reply->err.msg));
    arrived(c->of);
}

/* It is made again with the first marker. Before the gate: who is killed in
 * between has the gate to go by, and does both again. */
static void delete_directory(struct candidate *c)
{
    struct engine *e = c->of->e;
    char key[REGISTRY_KEY_MAX + 1];
    registry_delete(e->c.registry,
                    work_marker_prefix(e->c.kind, c->address, key),
                    registry_first_version(e->c.registry), on_directory, c);
}

static void on_markers(void *arg, const struct registry_reply *reply)
{
    struct candidate *c = arg;
    enum err_code code = reply->err.code;
    if (code != ERR_OK && code != ERR_NOT_FOUND)
        c->of->err = reply->err;
    else if (reply->n_entries > 0)
        keep(c, PROBLEM_GATE_CONFLICT, "it still owns work");
    else if (registry_first_version(c->of->e->c.registry) != 0) {
        delete_directory(c);
        return;
    }
    arrived(c->of);
}

/* False: it stays. What a person can do about it, in his words. */
static bool judge(struct candidate *c)
{
    const struct failover_seen *s = &c->reader.seen;
    if (s->gate.state == GATE_ABSENT)
        keep(c, PROBLEM_NOT_FOUND,
             "no gate stands here: there is nothing to forget");
    else if (s->n_registered > 0 || s->unknown)
        keep(c, PROBLEM_ALIVE, "somebody is registered here");
    else if (s->record != NULL && !planted(PLANTED_FORGET_OPEN_RECORD))
        keep(c, PROBLEM_RUNNING, "a failover of it is not over");
    else if (gate_is_bound(&s->gate))
        keep(c, PROBLEM_GATE_CONFLICT,
             "a cordon, drain, lease or inheritance stands; take it back "
             "first");
    else if (!gate_is_closed(&s->gate))
        keep(c, PROBLEM_GATE_CONFLICT,
             "its process neither left nor was fenced: fail it over first");
    else
        return true;
    return false;
}

static void on_read(void *arg, enum err_code code)
{
    struct candidate *c = arg;
    struct forgetting *f = c->of;
    char prefix[REGISTRY_KEY_MAX + 1];
    if (code == ERR_INVALID)
        keep(c, PROBLEM_UNREADABLE,
             "what the registry holds of it is unreadable; see the log");
    else if (code != ERR_OK)
        f->err = c->reader.err;
    else if (judge(c)) {
        c->gate = c->reader.seen.gate;
        registry_list(f->e->c.registry,
                      work_marker_prefix(f->e->c.kind, c->address, prefix),
                      NULL, 1, on_markers, c);
        return;
    }
    arrived(f);
}

/* Half of the time is for the reads: what did not begin by then is for the next
 * pass. */
static void read_more(struct forgetting *f)
{
    mono_ms now = f->e->c.clock->mono;
    while (f->n < f->chosen && f->outstanding < READ_MAX &&
           f->err.code == ERR_OK && now - f->began < PASS_MS / 2) {
        struct candidate *c = &f->list[f->n++];
        f->outstanding++;
        engine_reader_start(&c->reader, f->e, c->address, on_read, c);
    }
}

/* --- a pass -------------------------------------------------------------- */

static size_t choose(struct forgetting *f, const char **list, size_t max)
{
    const struct work_view_owner *o = NULL;
    const struct wish *w;
    size_t n = 0;
    DL_FOREACH (f->wishes, w)
        if (n < max && wish_of(f, w->address) == w) /* a key stands once */
            list[n++] = w->address;
    while (n < max && (o = work_view_next(f->e->c.view, o)) != NULL)
        if (is_due(f, o) && wish_of(f, o->address) == NULL)
            list[n++] = o->address;
    return n;
}

void engine_forgetting_run(struct forgetting *f,
                           const struct registry_lock *lock,
                           forgetting_done_f *done, void *arg)
{
    struct registry *r = f->e->c.registry;
    size_t max = registry_max_ops(r) - 2;
    const char *addresses[PASS_MAX];
    assert(lock != NULL && done != NULL);
    assert(f->done == NULL && f->list == NULL);
    f->lock = lock;
    f->done = done;
    f->arg = arg;
    f->began = f->e->c.clock->mono;
    f->session = registry_session(r);
    err_clear(&f->err);
    f->chosen = choose(f, addresses, max < f->pass ? max : f->pass);
    if (f->chosen > 0)
        f->list = mem_zalloc(f->chosen * sizeof(*f->list));
    for (size_t i = 0; i < f->chosen; i++) {
        f->list[i].of = f;
        (void)snprintf(f->list[i].address, sizeof(f->list[i].address), "%s",
                       addresses[i]);
    }
    read_more(f);
    if (f->n == 0) /* somebody was quicker */
        ended(f, 0);
}
