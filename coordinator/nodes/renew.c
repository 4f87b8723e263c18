/*
 * renew.c - a PUT that is nothing but a renewal goes into a window.
 *
 * It does when groups are written, the registration is one that may be renewed
 * so (it stands with `lease`), the PUT says who sends it and nothing but what a
 * window tells, and the registration is *verified*: it and its gate were read
 * after `taken` had been read, in one session, and nobody has named it since.
 * What was verified is kept beside the node, so that the next PUT reads
 * nothing. All else is a write of its own, as node_put.c has it.
 *
 * What the watches tell may end a verification. It makes one as long as the
 * session stands in which `taken` was read before they began: then it counts as
 * read after that (coordinator_node_renew_told()), so that a start costs no
 * reads for each node.
 *
 * Who renews far more often than he has to: early.c.
 *
 * What keeps the 200 true is the writer's txn (renewals/writer.h), not what is
 * kept here.
 */
#include "coordinator/nodes/nodes_priv.h"

#include "base/mem.h"
#include "base/planted.h"

#include <string.h>

#define LEFT_MAX 3   /* named again and again: then by itself */
#define EARLY_MS 100 /* so much earlier than his turn is at it */

static struct ring_writer *writer(const struct coordinator_node_request *n)
{
    return n->base.c->renewals->writer;
}

bool coordinator_node_grouped(const struct coordinator *c)
{
    return c->renewals->writer != NULL && writer_open(c->renewals->writer);
}

/* Windows of every node are spread over the time in which all renew once. By
 * when he came, as he counts from when he sent; and who is a little early is at
 * his turn: a moment before it he would be told half of the time, again and
 * again. */
int64_t coordinator_node_renew_after(const struct coordinator_node_request *n,
                                     int64_t every_ms)
{
    int64_t phase, left;

    assert(every_ms > 0);
    if (!coordinator_node_grouped(n->base.c) || every_ms < 2)
        return every_ms;
    phase = (int64_t)(hash_str(n->address, n->kind) % (uint64_t)every_ms);
    left = every_ms - (n->began + every_ms - phase) % every_ms;
    if (left <= every_ms / 8 && left <= EARLY_MS)
        return every_ms;
    return left >= every_ms / 2 ? left : left + every_ms / 2;
}

/* --- what is kept of a node ---------------------------------------------- */

static struct node *node_of(const struct coordinator_node_request *n)
{
    return membership_find(n->base.c->membership, n->kind, n->address);
}

static struct node_verified **verified_of(struct coordinator_node_request *n)
{
    struct node *node = node_of(n);

    return node != NULL ? &coordinator_node_extra(n->base.c, node)->verified
                        : NULL;
}

static void forget(struct coordinator_node_request *n)
{
    struct node_verified **v = verified_of(n);

    if (v != NULL)
        MEM_FREE(*v);
}

static uint64_t process_hash(const struct process *p)
{
    const int64_t who[] = {p->startup_time, p->process_id};

    return hash_quick(who, sizeof(who));
}

static uint64_t instance_hash(const char *instance)
{
    return hash_quick(instance, strlen(instance));
}

/* As it stands. What is known of the same one's last renewal is kept. */
static struct node_verified *keep_claim(struct node_verified **at,
                                        const struct node_claim *is,
                                        uint64_t created)
{
    size_t len = is->confirmed ? 0 : strlen(is->instance);
    struct node_verified *v = mem_zalloc(sizeof(*v) + len + 1);

    if (*at != NULL && (*at)->created == created &&
        (*at)->generation == is->generation) {
        v->renewed = (*at)->renewed;
        v->busy = (*at)->busy;
        v->early = (*at)->early;
        memcpy(v->load, (*at)->load, sizeof(v->load));
    }
    mem_free(*at);
    *at = v;
    v->created = created;
    v->instance = instance_hash(is->instance);
    v->process = process_hash(&is->process);
    v->startup = is->body_startup;
    v->generation = is->generation;
    v->confirmed = is->confirmed;
    memcpy(v->name, is->instance, len);
    return v;
}

/* As it would be renewed: n->next. */
static struct node_verified *keep(struct coordinator_node_request *n,
                                  int64_t watched_ms)
{
    struct node_verified **at = verified_of(n), *v;

    assert(n->created_revision != 0);
    if (at == NULL)
        return NULL;
    v = keep_claim(at, &n->next, n->created_revision);
    v->epoch = n->base.c->renewals->epoch;
    v->since = n->since;
    v->sees = n->sees;
    v->steady = n->steady;
    v->ttl_ms = (int32_t)n->ttl_ms;
    v->watched_ms = (int32_t)watched_ms;
    return v;
}

/* --- into the window ----------------------------------------------------- */

static void on_window(void *arg, const struct writer_reply *reply)
{
    struct coordinator_node_request *n = arg;
    struct node_verified **v = verified_of(n);

    switch (reply->end) {
    case WRITER_COMMITTED:
        /* nobody had named it when that was committed */
        if (v == NULL || *v == NULL || (*v)->created != n->created_revision ||
            (*v)->generation != n->put.renewal.generation)
            break;
        coordinator_node_remember(*v, n);
        if (!writer_named(writer(n), &(*v)->since))
            MEM_FREE(*v);
        break;
    case WRITER_LEFT:
        n->left++;
        forget(n);
        break;
    case WRITER_TOO_LATE:
    case WRITER_FAILED:
        break;
    }
    coordinator_node_renewed(n, reply);
}

static bool add(struct coordinator_node_request *n, uint64_t since,
                uint32_t generation, int64_t watched_ms)
{
    n->put = (struct writer_put){
        .renewal = {.created = n->created_revision,
                    .generation = generation,
                    .busy = n->busy},
        .kind = n->kind,
        .address = n->address,
        .since = since,
        .watched_ms = watched_ms,
        .expires = n->expires,
        .done = on_window,
        .arg = n,
    };
    renewal_tell(&n->put.renewal, &n->load, NULL);
    if (writer_add(writer(n), &n->put))
        return true;
    forget(n);
    return false;
}

/* --- one that was verified ----------------------------------------------- */

/* What identity does he say, who renews by it (node_identity.h)? */
static bool is_he(const struct coordinator_node_request *n,
                  const struct node_verified *v, const struct process *p)
{
    const struct node_claim *ask = &n->ask;

    if (ask->instance[0] != '\0')
        return v->confirmed && instance_hash(ask->instance) == v->instance &&
               (!ask->has_startup || ask->process.startup_time == v->startup ||
                ask->process.startup_time == p->startup_time);
    return !v->confirmed && ask->has_startup &&
           ask->process.startup_time == p->startup_time &&
           (!ask->has_process_id || ask->process.process_id == p->process_id);
}

static bool still_stands(const struct coordinator_node_request *n,
                         const struct node_verified *v, const struct node *node)
{
    return v->epoch == n->base.c->renewals->epoch && node->registered &&
           node->ours && node->process.known && !node->unidentified &&
           node->process.created == v->created &&
           process_hash(&node->process) == v->process &&
           !gate_bars(node->gate, &node->process);
}

/* What the watches told counts once all gates were, in the session in which
 * `taken` was read before. */
static bool gates_told(const struct coordinator *c)
{
    struct renewals *r = c->renewals;

    if (gates_synced(c->gates) && r->listed_session != 0 &&
        r->listed_session == registry_session(c->registry))
        r->listed_gates = true;
    return r->listed_gates || planted(PLANTED_LISTED_BEFORE);
}

/* As he would be answered. */
static void take_known(struct coordinator_node_request *n,
                       const struct node_verified *v, const struct node *node)
{
    const char *name = v->confirmed ? n->ask.instance : v->name;

    n->created_revision = v->created;
    n->process = node->process;
    n->waits = node->gate->state == GATE_FENCED;
    memcpy(n->next.instance, name, strlen(name) + 1);
}

bool coordinator_node_renew_known(struct coordinator_node_request *n)
{
    struct node *node = node_of(n);
    struct node_verified *v;

    if (n->takeover || node == NULL || n->base.attempt.doubt)
        return false;
    n->early = coordinator_node_is_early(n, node->last_report);
    v = coordinator_node_extra(n->base.c, node)->verified;
    if (v == NULL || !still_stands(n, v, node) || v->ttl_ms != n->ttl_ms ||
        v->steady != n->steady || !is_he(n, v, &node->process))
        return false;
    if (coordinator_node_from_memory(n, v)) {
        take_known(n, v, node);
        coordinator_node_remembered(n);
        return true;
    }
    n->widen = coordinator_node_wants_wide(n, v);
    if (n->widen || !coordinator_node_grouped(n->base.c) || !v->sees ||
        (v->told && !gates_told(n->base.c)))
        return false;
    take_known(n, v, node);
    if (v->told && planted(PLANTED_LISTED_BEFORE))
        (void)writer_named(writer(n), &v->since);
    return add(n, v->since, v->generation, v->watched_ms);
}

/* --- one that is read ---------------------------------------------------- */

void coordinator_node_renew_begin(struct coordinator_node_request *n)
{
    n->fits = n->widen = n->early = false;
    n->began = n->base.c->clock->mono;
    n->sees = coordinator_node_grouped(n->base.c) && n->left < LEFT_MAX &&
              writer_named(writer(n), &n->since);
}

static bool names_itself(const struct coordinator_node_request *n)
{
    return !n->takeover && (n->ask.instance[0] != '\0' || n->ask.has_startup);
}

void coordinator_node_renew_look(struct coordinator_node_request *n,
                                 const struct node_claim *standing,
                                 uint64_t steady)
{
    n->fits = n->sees && !n->widen && n->ruling == NODE_RULES_RENEW &&
              names_itself(n) && standing->leased && !standing->doubted &&
              standing->ttl_ms == n->ttl_ms &&
              standing->watched_ms <= WINDOW_WATCHED_MAX &&
              standing->confirmed == n->next.confirmed &&
              strcmp(standing->instance, n->next.instance) == 0 &&
              steady == n->steady;
    n->watched_ms =
        standing->watched_ms > n->ttl_ms ? standing->watched_ms : n->ttl_ms;
}

bool coordinator_node_renew_read(struct coordinator_node_request *n)
{
    assert(n->fits && n->created_revision != 0);
    n->fits = false;
    (void)keep(n, n->watched_ms);
    return add(n, n->since, n->next.generation, n->watched_ms);
}

void coordinator_node_renew_write(struct coordinator_node_request *n)
{
    if (n->widen && n->ruling == NODE_RULES_RENEW &&
        n->next.watched_ms < coordinator_node_wide_ms(n))
        n->next.watched_ms = coordinator_node_wide_ms(n);
    n->next.leased = coordinator_node_grouped(n->base.c) ||
                     (n->next.watched_ms > n->ttl_ms &&
                      coordinator_node_all_watch(n->base.c));
}

void coordinator_node_renew_written(struct coordinator_node_request *n)
{
    int64_t watched =
        n->next.watched_ms > n->ttl_ms ? n->next.watched_ms : n->ttl_ms;
    bool wide = watched >= coordinator_node_wide_ms(n);
    struct node_verified *v;

    assert(n->written);
    if (n->ruling != NODE_RULES_RENEW || n->created_revision == 0 ||
        watched > WINDOW_WATCHED_MAX ||
        !(n->sees ? n->next.leased : n->early || wide)) {
        forget(n);
        return;
    }
    v = keep(n, watched);
    if (v != NULL)
        coordinator_node_remember(v, n);
}

void coordinator_node_renew_forget(struct coordinator_node_request *n)
{
    forget(n);
}

/* --- one that is told ---------------------------------------------------- */

/* A registration that may be renewed in a window says so. */
static bool says_lease(const struct registry_entry *e)
{
    return memmem(e->value, e->value_len, "\"lease\"", 7) != NULL;
}

static bool is_known(const struct node_verified *v, const struct coordinator *c,
                     const struct node_claim *is,
                     const struct registry_entry *e, uint64_t steady)
{
    return v != NULL && v->epoch == c->renewals->epoch &&
           v->created == e->created && v->generation == is->generation &&
           v->steady == steady && v->confirmed == is->confirmed &&
           v->ttl_ms == is->ttl_ms;
}

/* Were the watches begun after `taken` was read, in the session that stands? */
static bool told_after_taken(const struct coordinator *c)
{
    const struct renewals *r = c->renewals;

    if (planted(PLANTED_LISTED_BEFORE))
        return true;
    return r != NULL && r->listed_session != 0 && coordinator_node_grouped(c) &&
           r->listed_session == registry_session(c->registry);
}

void coordinator_node_renew_told(struct coordinator *c, struct node *node,
                                 const struct registry_entry *entry)
{
    const struct renewals *r = c->renewals;
    struct node_verified **at, *v;
    struct node_claim is;
    uint64_t steady;

    if (!told_after_taken(c) || entry->owner != 0 || !says_lease(entry))
        return;
    steady = node_claim_read_steady(&is, entry->value, entry->value_len);
    if (!is.process.known || !is.leased || is.doubted ||
        is.instance[0] == '\0' || is.watched_ms > WINDOW_WATCHED_MAX)
        return;
    at = &coordinator_node_extra(c, node)->verified;
    if (is_known(*at, c, &is, entry, steady))
        return;
    v = keep_claim(at, &is, entry->created);
    v->epoch = r->epoch;
    v->since = r->listed_named;
    v->sees = v->told = true;
    v->steady = steady;
    v->ttl_ms = (int32_t)is.ttl_ms;
    v->watched_ms =
        (int32_t)(is.watched_ms > is.ttl_ms ? is.watched_ms : is.ttl_ms);
}
