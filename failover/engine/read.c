/*
 * read.c - one address, read afresh: its gate, its unfinished failover,
 * the settings, and every key under which it may be registered.
 *
 * The gate is known before the registrations are read. The other way round a
 * process that another coordinator admits in between would be taken for absent.
 * All is asked for at once, on the gate that our view was told of; if the gate
 * that is read then is the same, version and life of its key, it stood so
 * before. If it is another one, what was asked
 * for is dropped and asked for again, after it.
 */
#include "failover/engine/engine_priv.h"

#include "base/log.h"
#include "base/planted.h"
#include "cluster/heartbeat.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool engine_is_fresh(const struct engine *e, mono_ms at, uint64_t session)
{
    return session != 0 && session == registry_session(e->c.registry) &&
           e->c.clock->mono - at < registry_session_timeout(e->c.registry);
}

static void new_id(struct engine *e, char out[FAILOVER_ID_MAX + 1])
{
    (void)snprintf(out, FAILOVER_ID_MAX + 1, "%s-%" PRId64 "-%08" PRIx64,
                   node_kind_name(e->c.kind), e->c.clock->wall,
                   rand_u64(&e->rand) >> 32);
}

/* --- what is known besides the keys -------------------------------------- */

/* `n` NULL: nobody has seen it since we look. */
static bool is_down(const struct engine *e, const struct node *n)
{
    bool settled = membership_settled(e->c.membership);
    if (n == NULL)
        return settled;
    return !n->registered &&
           (n->state == NODE_DOWN || (n->state == NODE_FENCED && settled));
}

enum failover_cause engine_doubt(const struct engine *e)
{
    if (!membership_settled(e->c.membership))
        return CAUSE_SESSION;
    return e->own_entry ? CAUSE_NONE : CAUSE_OWN_ENTRY;
}

static void judge(struct engine *e, const char *address,
                  const struct settings *settings, struct failover_seen *seen)
{
    wall_ms wall = e->c.clock->wall;
    const struct node *n = membership_find(e->c.membership, e->c.kind, address);
    const struct brake_verdict *brake = failover_brake(e->brake);
    bool braked = !work_settings_overridden(settings, wall);
    assert(brake->missing <= brake->known);
    seen->down = is_down(e, n);
    seen->over =
        gates_order_is_over(e->c.gates, e->c.kind, address, &seen->gate);
    seen->paused = work_settings_paused(settings, wall);
    seen->mass = braked && brake->down;
    seen->missing = (uint32_t)brake->missing;
    seen->known = (uint32_t)brake->known;
    seen->unsure = braked && brake->in_doubt;
    seen->doubt = engine_doubt(e);
    seen->yielded = n != NULL && n->state == NODE_UP && n->registered &&
                    process_differs(&n->process, &seen->gate.process);
    seen->last_heartbeat = n != NULL ? n->last_report_wall : 0;
    seen->session = registry_session(e->c.registry);
}

static void add_registered(struct failover_seen *seen, const struct process *p)
{
    assert(seen->n_registered <= FAILOVER_PROCESSES_MAX);
    if (!p->known) {
        seen->unknown = true;
        return;
    }
    for (size_t i = 0; i < seen->n_registered; i++)
        if (process_same(&seen->registered[i], p))
            return;
    if (seen->n_registered == FAILOVER_PROCESSES_MAX) {
        seen->unknown = true; /* too much to judge: nothing moves */
        return;
    }
    size_t at = seen->n_registered++;
    for (; at > 0 && seen->registered[at - 1].created < p->created; at--)
        seen->registered[at] = seen->registered[at - 1];
    seen->registered[at] = *p;
}

/* All of them, as a fresh read finds them: the lock is not taken to learn that
 * beside the one who counts another still stands. */
static void add_cached(struct engine *e, const char *address,
                       struct failover_seen *seen)
{
    const struct node *n = membership_find(e->c.membership, e->c.kind, address);
    const struct process *p;
    if (n == NULL || !n->registered)
        return;
    for (size_t i = 0; (p = membership_standing(n, i)) != NULL; i++)
        add_registered(seen, p);
}

bool engine_remember(struct engine *e, const char *address,
                     struct failover_seen *seen)
{
    const struct work_view_owner *o =
        work_view_owner(e->c.view, e->c.kind, address);
    memset(seen, 0, sizeof(*seen));
    seen->record = work_view_failover(e->c.view, e->c.kind, address);
    if (o != NULL)
        seen->gate = *o->gate;
    seen->owns = o != NULL && o->n_markers > 0;
    add_cached(e, address, seen);
    assert(seen->n_registered <= FAILOVER_PROCESSES_MAX);
    engine_gone_find(e, address, seen);
    if (o == NULL && seen->record == NULL && !seen->gone.known)
        return false;
    judge(e, address, work_view_settings(e->c.view), seen);
    return true;
}

/* --- reading ------------------------------------------------------------- */

static void failed(struct reader *r, const char *what, const struct err *err)
{
    assert(err->code != ERR_OK);
    if (r->err.code != ERR_OK)
        return;
    r->err = *err;
    err_wrap(&r->err, "read %s of %s", what, r->address);
}

/* Does it exist? That it does not is no failure. */
static bool exists(struct reader *r, const char *what,
                   const struct registry_reply *reply)
{
    assert(r->outstanding > 0);
    if (reply->err.code != ERR_OK && reply->err.code != ERR_NOT_FOUND)
        failed(r, what, &reply->err);
    return reply->err.code == ERR_OK;
}

/* What was asked for together with the gate holds for the gate as it is. Who
 * verifies an INTENT asks whether one process is registered, by the record: for
 * that the order does not matter, only which record it is. */
static bool guessed(const struct reader *r)
{
    const struct gate *gate = &r->seen.gate;
    assert(r->outstanding == 0);
    return r->sure ||
           (r->any_order ? !gate->left && strcmp(gate->failover, r->named) == 0
                         : gate_is_same(gate, &r->guess));
}

static void read_rest(struct reader *r, bool left);

static void read_rest_again(struct reader *r)
{
    struct failover_seen *seen = &r->seen;
    assert(!r->sure && r->outstanding == 0);
    r->sure = true;
    seen->n_registered = 0;
    seen->unknown = seen->owns = false;
    seen->record = NULL;
    r->outstanding++; /* none of these answers is the last one yet */
    memcpy(r->named, seen->gate.failover, sizeof(r->named));
    read_rest(r, seen->gate.left);
    r->outstanding--;
    assert(r->outstanding > 0);
}

/* One answer came: a phase ends when none is outstanding. */
static void arrived(struct reader *r)
{
    assert(r->outstanding > 0);
    if (--r->outstanding > 0)
        return;
    if (r->err.code == ERR_OK && !guessed(r)) {
        read_rest_again(r);
        return;
    }
    struct engine *e = r->e;
    if (r->err.code == ERR_OK) {
        engine_gone_find(e, r->address, &r->seen);
        judge(e, r->address, &r->settings, &r->seen);
    } else
        log_warn("!failover-read", LOG_S("address", r->address),
                 LOG_S("why", r->err.msg));
    r->done(r->arg, r->err.code);
}

/* Nothing is given to who left: what does not stand here now never will. */
static void on_markers(void *arg, const struct registry_reply *reply)
{
    struct reader *r = arg;
    r->seen.owns = exists(r, "the markers", reply) && reply->n_entries > 0;
    arrived(r);
}

static void read_markers(struct reader *r)
{
    char prefix[REGISTRY_KEY_MAX + 1];
    assert(r->seen.gate.left || r->guess_left);
    r->outstanding++;
    registry_list(r->e->c.registry,
                  work_marker_prefix(r->e->c.kind, r->address, prefix), NULL, 1,
                  on_markers, r);
}

static void get(struct reader *r, const char *key, registry_reply_f *fn)
{
    assert(r->e != NULL);
    r->outstanding++;
    registry_get(r->e->c.registry, key, fn, r);
}

static void on_registration(void *arg, const struct registry_reply *reply)
{
    struct reader *r = arg;
    if (exists(r, "a registration", reply)) {
        const struct registry_entry *entry = &reply->entries[0];
        struct heartbeat hb;
        heartbeat_read(&hb, entry->value, entry->value_len);
        hb.process.created = entry->created;
        add_registered(&r->seen, &hb.process);
    }
    if (reply->revision > r->seen.revision)
        r->seen.revision = reply->revision;
    arrived(r);
}

/* Below NODE_GROUPS stand groups, and workers of none. One that is known as a
 * worker is no group, unless something is known below it; whatever else stands
 * there, and whatever its name looks like, may be one. */
static bool is_group(const struct reader *r, const char *name, const char *key)
{
    const struct membership *m = r->e->c.membership;
    char worker[REGISTRY_KEY_MAX + 1];
    return !node_key(NODE_WORKER, name, NULL, worker) ||
           !membership_has_key(m, worker) || membership_has_key(m, key);
}

static void on_groups(void *arg, const struct registry_reply *reply)
{
    struct reader *r = arg;
    char key[REGISTRY_KEY_MAX + 1], other[NODE_ADDRESS_MAX + 1];
    bool any = exists(r, "the groups", reply);
    for (size_t i = 0; any && i < reply->n_entries; i++) {
        const char *name = reply->entries[i].key;
        if (node_key(NODE_WORKER, r->address, name, key) &&
            is_group(r, name, key))
            get(r, key, on_registration);
        for (size_t k = 0; node_spelling(r->address, k, other); k++)
            if (node_key(NODE_WORKER, other, name, key) &&
                is_group(r, name, key))
                get(r, key, on_registration);
    }
    arrived(r);
}

/* An IPv6 host has many spellings. Beside those that are usual, which hold for
 * who comes while we look, the ones in which it was seen to stand. */
static void read_spellings(struct reader *r)
{
    struct engine *e = r->e;
    const struct node *n =
        membership_find(e->c.membership, e->c.kind, r->address);
    char key[REGISTRY_KEY_MAX + 1], other[NODE_ADDRESS_MAX + 1];
    if (r->address[0] != '[')
        return;
    for (size_t k = 0; node_spelling(r->address, k, other); k++)
        if (node_key(e->c.kind, other, NULL, key))
            get(r, key, on_registration);
    for (size_t i = 0; n != NULL && membership_key(n, i, key) != NULL; i++)
        get(r, key, on_registration);
}

static void read_registrations(struct reader *r)
{
    struct engine *e = r->e;
    char key[REGISTRY_KEY_MAX + 1];
    assert(r->outstanding > 0);
    if (planted(PLANTED_CACHED_REGISTRATION)) {
        add_cached(e, r->address, &r->seen);
        return;
    }
    if (node_key(e->c.kind, r->address, NULL, key))
        get(r, key, on_registration);
    get(r, node_key_ours(e->c.kind, r->address, key), on_registration);
    read_spellings(r);
    if (e->c.kind == NODE_WORKER) {
        r->outstanding++;
        registry_children(e->c.registry, NODE_GROUPS, on_groups, r);
    }
}

/* Unfinished and of this address. */
static bool is_ours(const struct reader *r,
                    const struct failover_record *record)
{
    return !failover_phase_final(record->phase) &&
           record->kind == r->e->c.kind &&
           strcmp(record->address, r->address) == 0;
}

/* Of the records that were asked for the least counts: the one that the gate
 * names, then the one that we are working on, then what our view remembers. */
static int rank_of(const struct reader *r, const struct failover_record *record)
{
    if (strcmp(record->id, r->named) == 0)
        return 0;
    return strcmp(record->id, r->own) == 0 ? 1 : 2;
}

static void on_record(void *arg, const struct registry_reply *reply)
{
    struct reader *r = arg;
    const struct registry_entry *entry = reply->entries;
    struct failover_record record;
    struct err err;
    err_clear(&err);
    if (exists(r, "the failover", reply)) {
        if (work_failover_read(&record, entry->value, entry->value_len, &err) !=
            0) {
            failed(r, "the failover", &err);
            arrived(r);
            return;
        }
        if (planted(PLANTED_ORDER_UNCHECKED) &&
            work_failover_aborted(&record, WHY_WITHDRAWN))
            record.phase = FAILOVER_QUEUED;
        if (is_ours(r, &record) &&
            (r->seen.record == NULL ||
             rank_of(r, &record) < rank_of(r, &r->record))) {
            r->record = record;
            r->record.version = entry->version;
            r->seen.record = &r->record;
        }
    }
    arrived(r);
}

static void on_gate(void *arg, const struct registry_reply *reply)
{
    struct reader *r = arg;
    struct gate *gate = &r->seen.gate;
    struct err err;
    assert(r->outstanding > 0);
    err_clear(&err);
    if (gates_take(gate, reply, &err) != 0)
        failed(r, "the gate", &err);
    arrived(r);
}

/* What goes with a gate that names `named` ("": none), and `left` or not. */
static void read_rest(struct reader *r, bool left)
{
    char key[REGISTRY_KEY_MAX + 1];
    if (r->named[0] != '\0')
        get(r, work_failover_key(r->named, key), on_record);
    if (r->own[0] != '\0' && strcmp(r->own, r->named) != 0)
        get(r, work_failover_key(r->own, key), on_record);
    if (r->hint[0] != '\0' && strcmp(r->hint, r->named) != 0 &&
        strcmp(r->hint, r->own) != 0)
        get(r, work_failover_key(r->hint, key), on_record);
    if (left)
        read_markers(r);
    read_registrations(r);
}

static void on_settings(void *arg, const struct registry_reply *reply)
{
    struct reader *r = arg;
    struct err err;
    err_clear(&err);
    if (exists(r, "the settings", reply) &&
        work_settings_read(&r->settings, reply->entries[0].value,
                           reply->entries[0].value_len, &err) != 0)
        failed(r, "the settings", &err);
    arrived(r);
}

/* What nobody can read is written anew: in the mode that every coordinator
 * knows, and so far ahead that nobody knows who was named before. */
static void on_taken(void *arg, const struct registry_reply *reply)
{
    struct reader *r = arg;
    const struct registry_entry *entry = reply->entries;
    struct err err;
    taken_init(&r->taken);
    if (exists(r, "whom anything was taken from", reply)) {
        r->taken_version = entry->version;
        if (taken_read(&r->taken, entry->value, entry->value_len, &err) != 0) {
            log_warn("!taken", LOG_S("key", TAKEN_KEY), LOG_S("why", err.msg));
            taken_init(&r->taken);
            r->taken.named =
                (UINT64_C(1) << 62) + (uint64_t)r->e->c.clock->wall;
        }
    }
    arrived(r);
}

/* The unfinished failover that the step is at, if it is this address's. */
static void set_own(struct reader *r)
{
    const struct failover_record *own = failover_record(r->e->f);
    const struct failover_task *task = failover_task(r->e->f);
    assert(r->own[0] == '\0');
    if (own != NULL && task != NULL && !failover_phase_final(own->phase) &&
        strcmp(task->address, r->address) == 0)
        (void)snprintf(r->own, sizeof(r->own), "%s", own->id);
}

void engine_reader_forget(struct reader *r)
{
    if (r->e == NULL)
        return;
    registry_forget(r->e->c.registry, r);
}

/* The gate is taken to be what our view was told; while INTENT is verified, to
 * be the one that names its record. */
static void guess(struct reader *r)
{
    struct engine *e = r->e;
    const struct gate *told = gates_find(e->c.gates, e->c.kind, r->address);
    assert(r->outstanding == 0);
    assert(!r->sure);
    r->any_order = r == &e->reader && r->own[0] != '\0' &&
                   failover_state(e->f) == FAILOVER_VERIFY;
    r->guess = *told;
    r->guess_left = !r->any_order && told->left;
    (void)snprintf(r->named, sizeof(r->named), "%s",
                   r->any_order ? r->own : told->failover);
}

void engine_reader_start(struct reader *r, struct engine *e,
                         const char *address, reader_done_f *done, void *arg)
{
    const struct failover_record *hint =
        work_view_failover(e->c.view, e->c.kind, address);
    assert(done != NULL);
    assert(address[0] != '\0');
    memset(r, 0, sizeof(*r));
    r->e = e;
    r->done = done;
    r->arg = arg;
    (void)snprintf(r->address, sizeof(r->address), "%s", address);
    if (hint != NULL)
        (void)snprintf(r->hint, sizeof(r->hint), "%s", hint->id);
    set_own(r);
    guess(r);
    r->at = e->c.clock->mono;
    r->session = registry_session(e->c.registry);
    new_id(e, r->seen.new_id);
    r->outstanding++;
    gates_get(e->c.registry, e->c.kind, address, on_gate, r);
    get(r, SETTINGS_KEY, on_settings);
    if (!r->any_order) /* INTENT stands already */
        get(r, TAKEN_KEY, on_taken);
    read_rest(r, r->guess_left);
    assert(r->outstanding > 1);
}
