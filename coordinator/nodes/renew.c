/*
 * renew.c - a PUT that is nothing but a renewal goes into a window.
 *
 * It does when groups are written, the registration is one that may be renewed
 * so (it stands with `lease`), the PUT says who sends it and nothing but what a
 * window tells, and the registration is *verified*: it and its gate were read
 * after `taken` had been read, in one session, and nobody has named it since.
 * What was verified is kept beside the node, so that the next PUT reads
 * nothing. All else is a write of its own, as node_put.c has it. What the
 * watches tell may end a verification; none is made by it.
 *
 * What keeps the 200 true is the writer's txn (renewals/writer.h), not what is
 * kept here.
 */
#include "coordinator/nodes/nodes_priv.h"

#include "base/mem.h"

#include <string.h>

#define LEFT_MAX 3 /* named again and again: then by itself */

/* A registration as it was read, or written. */
struct node_verified {
    uint64_t epoch;
    uint64_t created, since;
    uint64_t steady;   /* what of its body no window tells */
    uint64_t instance; /* a hash of it */
    uint64_t process;  /* likewise: another one at the key has another name */
    int64_t startup;   /* that its body said */
    int32_t ttl_ms, watched_ms;
    uint32_t generation;
    bool confirmed;
    char name[]; /* the instance, where its holder does not bring it */
};

static struct ring_writer *writer(const struct coordinator_node_request *n)
{
    return n->base.c->renewals->writer;
}

bool coordinator_node_grouped(const struct coordinator *c)
{
    return c->renewals->writer != NULL && writer_open(c->renewals->writer);
}

/* Windows of every node are spread over the time in which all renew once. */
int64_t coordinator_node_renew_after(const struct coordinator_node_request *n,
                                     int64_t every_ms)
{
    int64_t phase, d;

    assert(every_ms > 0);
    if (!coordinator_node_grouped(n->base.c) || every_ms < 2)
        return every_ms;
    phase = (int64_t)(hash_str(n->address, n->kind) % (uint64_t)every_ms);
    d = (n->base.c->clock->mono + every_ms - phase) % every_ms;
    return every_ms - d >= every_ms / 2 ? every_ms - d
                                        : every_ms - (d - every_ms / 2);
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

/* As it stands, and as it would be renewed: n->next. */
static void keep(struct coordinator_node_request *n, int64_t watched_ms)
{
    const struct node_claim *is = &n->next;
    size_t len = is->confirmed ? 0 : strlen(is->instance);
    struct node_verified **at = verified_of(n), *v;

    assert(n->sees && n->created_revision != 0);
    if (at == NULL)
        return;
    mem_free(*at);
    *at = v = mem_zalloc(sizeof(*v) + len + 1);
    v->epoch = n->base.c->renewals->epoch;
    v->created = n->created_revision;
    v->since = n->since;
    v->steady = n->steady;
    v->instance = instance_hash(is->instance);
    v->process = process_hash(&is->process);
    v->startup = is->body_startup;
    v->ttl_ms = (int32_t)n->ttl_ms;
    v->watched_ms = (int32_t)watched_ms;
    v->generation = is->generation;
    v->confirmed = is->confirmed;
    memcpy(v->name, is->instance, len);
}

/* --- into the window ----------------------------------------------------- */

static void on_window(void *arg, const struct writer_reply *reply)
{
    struct coordinator_node_request *n = arg;
    struct node_verified **v = verified_of(n);

    switch (reply->end) {
    case WRITER_COMMITTED:
        /* nobody had named it when that was committed */
        if (v != NULL && *v != NULL && (*v)->created == n->created_revision &&
            !writer_named(writer(n), &(*v)->since))
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
           node->ours && node->process.known &&
           node->process.created == v->created &&
           process_hash(&node->process) == v->process &&
           !gate_bars(node->gate, &node->process);
}

bool coordinator_node_renew_known(struct coordinator_node_request *n)
{
    struct node *node = node_of(n);
    const struct node_verified *v;
    const char *name;

    if (!coordinator_node_grouped(n->base.c) || n->takeover || node == NULL ||
        n->base.attempt.doubt)
        return false;
    v = coordinator_node_extra(n->base.c, node)->verified;
    if (v == NULL || !still_stands(n, v, node) || v->ttl_ms != n->ttl_ms ||
        v->steady != n->steady || !is_he(n, v, &node->process))
        return false;
    n->created_revision = v->created;
    n->process = node->process;
    n->waits = node->gate->state == GATE_FENCED;
    name = v->confirmed ? n->ask.instance : v->name;
    memcpy(n->next.instance, name, strlen(name) + 1);
    return add(n, v->since, v->generation, v->watched_ms);
}

/* --- one that is read ---------------------------------------------------- */

void coordinator_node_renew_begin(struct coordinator_node_request *n)
{
    n->fits = false;
    n->sees = coordinator_node_grouped(n->base.c) && n->left < LEFT_MAX &&
              writer_named(writer(n), &n->since);
}

static bool names_itself(const struct coordinator_node_request *n)
{
    return !n->takeover && (n->ask.instance[0] != '\0' || n->ask.has_startup);
}

static uint64_t steady_of(const char *text, size_t len)
{
    const struct json *o = NULL;
    uint64_t steady = 0;

    if (json_parse(text, len, &o, NULL) == 0 && json_is(o, JSON_OBJECT))
        steady = node_claim_steady(o);
    json_free(o);
    return steady;
}

void coordinator_node_renew_look(struct coordinator_node_request *n,
                                 const struct node_claim *standing,
                                 const struct registry_entry *e)
{
    n->fits = n->sees && n->ruling == NODE_RULES_RENEW && names_itself(n) &&
              standing->leased && !standing->doubted &&
              standing->ttl_ms == n->ttl_ms &&
              standing->watched_ms <= WINDOW_WATCHED_MAX &&
              standing->confirmed == n->next.confirmed &&
              strcmp(standing->instance, n->next.instance) == 0 &&
              steady_of(e->value, e->value_len) == n->steady;
    n->watched_ms =
        standing->watched_ms > n->ttl_ms ? standing->watched_ms : n->ttl_ms;
}

bool coordinator_node_renew_read(struct coordinator_node_request *n)
{
    assert(n->fits && n->created_revision != 0);
    n->fits = false;
    keep(n, n->watched_ms);
    return add(n, n->since, n->next.generation, n->watched_ms);
}

void coordinator_node_renew_written(struct coordinator_node_request *n)
{
    int64_t watched =
        n->next.watched_ms > n->ttl_ms ? n->next.watched_ms : n->ttl_ms;

    assert(n->written);
    if (n->sees && n->ruling == NODE_RULES_RENEW && n->next.leased &&
        n->created_revision != 0 && watched <= WINDOW_WATCHED_MAX)
        keep(n, watched);
    else
        forget(n);
}
