/*
 * nodes.c - nodes that have no registry client and say over HTTP that they
 * live: how they leave, and what is done when one's ttl is over. node_put.c
 * has their heartbeats.
 *
 * Their key is persistent and carries its ttl: any coordinator that watched it
 * unchanged for so long removes it at the version it saw, with its second key
 * (nodes_priv.h) where there is one. Who leaves in order
 * (DELETE) says so in the gate, by the txn that removes the key:
 * cluster/gate.h.
 */
#include "coordinator/nodes_priv.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/planted.h"
#include "cluster/heartbeat.h"
#include "failover/failpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* So long a request may have waited and still mean whoever is registered. */
#define NAMELESS_MS 1000

static void node_request_drop(struct request *r)
{
    struct coordinator_node_request *n =
        CONTAINER_OF(r, struct coordinator_node_request, base);

    buf_close(&n->others);
    for (size_t i = 0; i < n->n_warnings; i++)
        mem_free(n->warnings[i]);
    mem_free(n);
}

struct coordinator_node_request *
coordinator_node_request(struct coordinator *c, enum node_kind kind,
                         const char *address, coordinator_reply_f *done,
                         void *arg, void (*again)(struct request *))
{
    struct coordinator_node_request *n = mem_zalloc(sizeof(*n));
    struct err err;

    buf_init(&n->others, NODE_BODY_MAX);
    coordinator_request_init(c, &n->base, done, arg, node_request_drop, again);
    if (node_ask_address(address, &err) != 0) {
        coordinator_request_fail(&n->base, &err);
        return NULL;
    }
    n->kind = kind;
    (void)node_canonical(address, n->address);
    node_key_ours(kind, address, n->key);
    return n;
}

void coordinator_node_refuse_agents(struct coordinator_node_request *n)
{
    struct err err;

    err_set(&err, ERR_CONFLICT,
            "%s is registered by an agent with a session of its own",
            n->address);
    coordinator_request_fail(&n->base, &err);
}

/* --- the second key ------------------------------------------------------ */

static char *life_key(struct node_life *life)
{
    snprintf(life->key, sizeof(life->key), REGISTRATIONS_PREFIX "/%s",
             life->name);
    return life->key;
}

void coordinator_node_life_read(struct node_life *life,
                                const struct node_claim *standing)
{
    life->name[0] = '\0';
    if (standing != NULL && strcmp(standing->registration, life->missing) != 0)
        memcpy(life->name, standing->registration, sizeof(life->name));
}

bool coordinator_node_life_put(struct node_life *life, struct coordinator *c,
                               const char *key, struct registry_op *op)
{
    uint64_t first = registry_first_version(c->registry);

    if (first == 0 || planted(PLANTED_ONE_LIFE))
        return false;
    if (life->name[0] != '\0') {
        *op = registry_op_at(REGISTRY_CHECK, life_key(life), first);
        return true;
    }
    snprintf(life->name, sizeof(life->name), "%016" PRIx64, rand_u64(&c->rand));
    *op = (struct registry_op){.type = REGISTRY_PUT,
                               .expect = REGISTRY_ABSENT,
                               .key = life_key(life),
                               .value = key,
                               .value_len = strlen(key)};
    return true;
}

bool coordinator_node_life_delete(struct node_life *life, struct coordinator *c,
                                  struct registry_op *op)
{
    uint64_t first = registry_first_version(c->registry);

    if (first == 0 || life->name[0] == '\0')
        return false;
    *op = registry_op_at(REGISTRY_DELETE, life_key(life), first);
    return true;
}

bool coordinator_node_life_refused(struct node_life *life,
                                   const struct registry_reply *reply, size_t n)
{
    if (reply->err.code != ERR_CONFLICT || life->name[0] == '\0' ||
        reply->failed_op != n - 1)
        return false;
    memcpy(life->missing, life->name, sizeof(life->missing));
    return true;
}

/* --- delete -------------------------------------------------------------- */

static void delete_end(struct coordinator_node_request *n)
{
    struct coordinator_reply left = {0};
    char gate[REGISTRY_KEY_MAX + 1];

    coordinator_index_add(&left.wrote, n->key);
    coordinator_index_add(&left.wrote,
                          gate_key(n->kind, n->address, gate, sizeof(gate)));
    coordinator_request_end(&n->base, &left);
}

static void delete_done(void *arg, const struct registry_reply *reply)
{
    struct coordinator_node_request *n = arg;

    (void)coordinator_node_life_refused(&n->life, reply, n->n_ops);
    if (reply->err.code == ERR_OK)
        delete_end(n);
    else
        coordinator_request_write_failed(&n->base, &reply->err);
}

/* The process that leaves: whom the client named, else whoever was registered
 * when we looked first. Nobody takes another one's registration along. */
static bool delete_concerns(struct coordinator_node_request *n,
                            const struct node_claim *standing)
{
    struct process *p = &n->process;

    if (n->ask.instance[0] != '\0' && standing->instance[0] != '\0')
        return strcmp(n->ask.instance, standing->instance) == 0;
    if (n->ask.has_startup)
        return standing->process.startup_time == n->ask.process.startup_time ||
               standing->said == n->ask.process.startup_time;
    if (!p->known)
        *p = standing->process;
    return !process_differs(p, &standing->process);
}

/* The gate first: who sees the one of the two before the other shall not
 * suspect anybody. */
static void delete_write(struct coordinator_node_request *n,
                         const struct gate *gate)
{
    char key[REGISTRY_KEY_MAX + 1];
    struct registry_op ops[3];
    size_t n_ops = 0;
    struct buf text;

    failover_failpoint("node-before-leave", 1);
    if (coordinator_request_is_overtaken(&n->base))
        return;
    buf_init(&text, REGISTRY_VALUE_MAX);
    if (gate != NULL) {
        gate_write(&text, gate);
        ops[n_ops++] =
            registry_op_put(gate_key(n->kind, n->address, key, sizeof(key)),
                            &text, gate->version);
    }
    ops[n_ops++] = registry_op_at(REGISTRY_DELETE, n->key, n->version);
    n_ops += coordinator_node_life_delete(&n->life, n->base.c, &ops[n_ops]);
    n->n_ops = n_ops;
    registry_txn(n->base.c->registry, ops, n_ops, delete_done, n);
    buf_close(&text);
}

static void delete_gate_read(void *arg, const struct registry_reply *reply)
{
    struct coordinator_node_request *n = arg;
    struct gate gate;
    int rc = gates_take(&gate, reply, NULL);

    if (reply->err.code != ERR_OK && reply->err.code != ERR_NOT_FOUND) {
        coordinator_request_read_failed(&n->base, &reply->err);
        return;
    }
    /* what nobody can read is left to a person; the node goes all the same */
    delete_write(n, rc == 0 && gate_leave(&gate, &n->process) ? &gate : NULL);
}

static void delete_read_gate(struct coordinator_node_request *n,
                             const struct registry_entry *standing)
{
    n->version = standing->version;
    n->process.created = standing->created;
    gates_get(n->base.c->registry, n->kind, n->address, delete_gate_read, n);
}

static void delete_read(void *arg, const struct registry_reply *reply)
{
    struct coordinator_node_request *n = arg;
    const struct registry_entry *e = reply->entries;
    struct node_claim standing;
    struct err err = reply->err;

    if (err.code == ERR_NOT_FOUND && n->base.attempt.doubt) {
        delete_end(n); /* our own delete */
        return;
    }
    if (err.code == ERR_NOT_FOUND) {
        coordinator_request_fail(&n->base, &err);
        return;
    }
    if (err.code != ERR_OK) {
        coordinator_request_read_failed(&n->base, &err);
        return;
    }
    if (e->owner != 0) {
        coordinator_node_refuse_agents(n);
        return;
    }
    node_claim_read(&standing, e->value, e->value_len);
    if (delete_concerns(n, &standing)) {
        if (!n->process.known)
            n->process = standing.process;
        coordinator_node_life_read(&n->life, &standing);
        delete_read_gate(n, e);
        return;
    }
    err_set(&err, ERR_CONFLICT, "another process is registered at %s by now",
            n->address);
    coordinator_request_fail(&n->base, &err);
}

static void delete_begin(struct request *r)
{
    coordinator_request_read(
        r, CONTAINER_OF(r, struct coordinator_node_request, base)->key,
        delete_read);
}

static int delete_take(struct coordinator_node_request *n,
                       const struct node_leave *leave, struct err *err)
{
    n->ask.has_startup = leave->startup_time != 0;
    n->ask.process.startup_time = leave->startup_time;
    if (leave->instance == NULL)
        return 0;
    if (node_check_instance(leave->instance, err) != 0)
        return (int)err->code;
    snprintf(n->ask.instance, sizeof(n->ask.instance), "%s", leave->instance);
    return 0;
}

void coordinator_node_delete(struct coordinator *c,
                             const struct node_leave *leave,
                             coordinator_reply_f *done, void *arg)
{
    struct coordinator_node_request *n = coordinator_node_request(
        c, leave->kind, leave->address, done, arg, delete_begin);
    struct coordinator_reply late = {.code = PROBLEM_TOO_LATE};
    struct err err;

    assert(leave->startup_time >= 0);
    if (n == NULL)
        return;
    if (delete_take(n, leave, &err) != 0) {
        coordinator_request_fail(&n->base, &err);
    } else if (leave->age_ms > NAMELESS_MS && !n->ask.has_startup &&
               n->ask.instance[0] == '\0') {
        err_set(&late.err, ERR_TIMEOUT,
                "it waited, and whoever is registered may be another one by "
                "now; name him by instance or startupTime");
        coordinator_request_end(&n->base, &late);
    } else {
        delete_begin(&n->base);
    }
}

/* --- a ttl is over ------------------------------------------------------- */

struct removal {
    struct request base; /* first */
    char key[REGISTRY_KEY_MAX + 1];
    uint64_t created, version; /* what stood unchanged for its ttl */
    struct node_life life;
    size_t n_ops;
};

static void removal_drop(struct request *r)
{
    mem_free(CONTAINER_OF(r, struct removal, base));
}

static void removal_said(void *arg, const struct coordinator_reply *reply)
{
    struct removal *r = arg;

    switch (reply->err.code) {
    case ERR_OK:
        log_info("-registration", LOG_S("key", r->key), LOG_S("reason", "ttl"));
        break;
    case ERR_CONFLICT:  /* renewed meanwhile: all is well */
    case ERR_NOT_FOUND: /* another coordinator was faster */
    case ERR_CANCELLED:
        break;
    default:
        log_warn("!registration", LOG_S("key", r->key),
                 LOG_S("reason", reply->err.msg));
    }
}

static void removal_read(void *arg, const struct registry_reply *reply);

static void removal_done(void *arg, const struct registry_reply *reply)
{
    struct removal *r = arg;
    bool looked = r->life.missing[0] != '\0';

    if (coordinator_node_life_refused(&r->life, reply, r->n_ops) && !looked)
        registry_get(r->base.c->registry, r->key, removal_read, r);
    else
        coordinator_request_fail(&r->base, &reply->err);
}

static void removal_write(struct removal *r)
{
    struct registry_op ops[2] = {
        registry_op_at(REGISTRY_DELETE, r->key, r->version)};

    r->n_ops = 1;
    r->n_ops += coordinator_node_life_delete(&r->life, r->base.c, &ops[1]);
    registry_txn(r->base.c->registry, ops, r->n_ops, removal_done, r);
}

/* On ZooKeeper the versions of a key that was removed and made again begin
 * anew, so the version alone may be that of another registration, which lives:
 * what stands is looked at once more. */
static void removal_read(void *arg, const struct registry_reply *reply)
{
    struct removal *r = arg;
    struct err err = reply->err;
    struct node_claim standing;

    if (err.code == ERR_OK && (reply->entries[0].created != r->created ||
                               reply->entries[0].version != r->version))
        err_set(&err, ERR_CONFLICT, "renewed, or registered anew");
    if (err.code != ERR_OK) {
        coordinator_request_fail(&r->base, &err);
        return;
    }
    node_claim_read(&standing, reply->entries[0].value,
                    reply->entries[0].value_len);
    coordinator_node_life_read(&r->life, &standing);
    removal_write(r);
}

/* Not removed, for whatever reason: membership says so again. */
void coordinator_nodes_ttl_over(struct coordinator *c, const char *key,
                                uint64_t created, uint64_t version)
{
    struct removal *r = mem_zalloc(sizeof(*r));

    coordinator_request_init(c, &r->base, removal_said, r, removal_drop, NULL);
    snprintf(r->key, sizeof(r->key), "%s", key);
    r->created = created;
    r->version = version;
    registry_get(c->registry, key, removal_read, r);
}
