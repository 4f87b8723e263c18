/*
 * nodes.c - nodes that have no registry client and say over HTTP that they
 * live: how they leave. node_put.c has their heartbeats.
 *
 * Their key is persistent and carries its ttl: any coordinator that has not
 * heard of it for so long removes it (coordinator/removal/), with its second
 * key (nodes_priv.h) where there is one. Who leaves in order
 * (DELETE) says so in the gate, by the txn that removes the key:
 * cluster/gate.h. A gate that says so already is checked, not written: closed,
 * it may be forgotten at any time, and what was read of it is not to stand
 * where another one has its version.
 */
#include "coordinator/nodes/nodes_priv.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/planted.h"
#include "failover/failpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* So long a request may have waited and still mean whoever is registered. */
#define NAMELESS_MS 1000

void coordinator_node_request_drop(struct request *r)
{
    struct coordinator_node_request *n =
        CONTAINER_OF(r, struct coordinator_node_request, base);

    assert(n->n_warnings <= NODE_WARNINGS_MAX);
    buf_close(&n->others);
    for (size_t i = 0; i < n->n_warnings; i++)
        mem_free(n->warnings[i]);
    mem_free(n);
}

struct coordinator_node_request *
coordinator_node_request(struct coordinator *c, const struct request_type *type,
                         enum node_kind kind, const char *address,
                         coordinator_reply_f *done, void *arg)
{
    struct coordinator_node_request *n = mem_zalloc(sizeof(*n));
    struct err err;

    assert(type->drop == coordinator_node_request_drop);
    buf_init(&n->others, NODE_BODY_MAX);
    coordinator_request_init(c, &n->base, type, NULL, done, arg);
    if (node_ask_address(address, &err) != 0) {
        coordinator_request_fail(&n->base, &err);
        return NULL;
    }
    n->kind = kind;
    (void)node_canonical(address, n->address);
    node_key_ours(kind, address, n->base.key);
    return n;
}

void coordinator_node_refuse_agents(struct coordinator_node_request *n)
{
    assert(n->address[0] != '\0');
    coordinator_request_refuse(
        &n->base, PROBLEM_CONFLICT, ERR_CONFLICT,
        "%s is registered by an agent with a session of its own", n->address);
}

/* --- the second key ------------------------------------------------------ */

static char *life_key(struct node_life *life)
{
    assert(life->name[0] != '\0');
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

    assert(key[0] == '/');
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

/* The op beside a delete of the registration; false: none is needed. */
static bool life_delete(struct node_life *life, struct coordinator *c,
                        struct registry_op *op)
{
    uint64_t first = registry_first_version(c->registry);

    if (first == 0 || life->name[0] == '\0')
        return false;
    *op = registry_op_at(REGISTRY_DELETE, life_key(life), first);
    return true;
}

void coordinator_node_refused(struct request *r,
                              const struct registry_reply *reply)
{
    struct coordinator_node_request *n =
        CONTAINER_OF(r, struct coordinator_node_request, base);
    struct node_life *life = &n->life;

    assert(reply->err.code != ERR_OK);
    assert(n->n_ops > 0);
    if (reply->err.code == ERR_CONFLICT && life->name[0] != '\0' &&
        reply->failed_op == n->n_ops - 1)
        memcpy(life->missing, life->name, sizeof(life->missing));
}

/* --- delete -------------------------------------------------------------- */

static void delete_end(struct request *r)
{
    struct coordinator_node_request *n =
        CONTAINER_OF(r, struct coordinator_node_request, base);
    struct coordinator_reply left = {0};
    char gate[REGISTRY_KEY_MAX + 1];

    assert(r->key[0] == '/');
    coordinator_index_add(&left.wrote, r->key);
    coordinator_index_add(&left.wrote,
                          gate_key(n->kind, n->address, gate, sizeof(gate)));
    coordinator_request_end(r, &left);
}

/* The process that leaves: whom the client named, else whoever was registered
 * when we looked first. Nobody takes another one's registration along. */
static bool delete_concerns(struct coordinator_node_request *n,
                            const struct node_claim *standing)
{
    struct process *p = &n->process;

    assert(n->base.done != NULL);
    if (n->ask.instance[0] != '\0' && standing->instance[0] != '\0')
        return strcmp(n->ask.instance, standing->instance) == 0;
    if (n->ask.has_startup)
        return standing->process.startup_time == n->ask.process.startup_time ||
               standing->body_startup == n->ask.process.startup_time;
    if (!p->known)
        *p = standing->process;
    return !process_differs(p, &standing->process);
}

/* The gate first: who sees the one of the two before the other shall not
 * suspect anybody. It is named as one from whom something is taken: it may come
 * again through a coordinator that has not heard of this, and would renew what
 * is gone (docs/design/renewals.md). */
static void delete_write(struct coordinator_node_request *n,
                         const struct gate *gate, bool was_left)
{
    char key[REGISTRY_KEY_MAX + 1];
    struct registry_op ops[3];
    size_t n_ops = 0;
    struct buf text;

    assert(gate == NULL || gate->left);
    failover_failpoint("node-before-leave", 1);
    coordinator_node_renew_forget(n);
    buf_init(&text, REGISTRY_VALUE_MAX);
    if (gate != NULL) {
        gate_write(&text, gate);
        gate_key(n->kind, n->address, key, sizeof(key));
        ops[n_ops++] = was_left
                           ? registry_op_at(REGISTRY_CHECK, key, gate->version)
                           : registry_op_put(key, &text, gate->version);
    }
    ops[n_ops++] = registry_op_at(REGISTRY_DELETE, n->base.key, n->version);
    n_ops += life_delete(&n->life, n->base.c, &ops[n_ops]);
    n->n_ops = n_ops;
    coordinator_request_take(&n->base, n->kind, n->address, ops, n_ops);
    buf_close(&text);
}

static void delete_gate_read(void *arg, const struct registry_reply *reply)
{
    struct coordinator_node_request *n = arg;
    struct gate gate;
    int rc = gates_take(&gate, reply, NULL);
    bool was_left = rc == 0 && gate.left;

    assert(n->version != 0);
    if (reply->err.code != ERR_OK && reply->err.code != ERR_NOT_FOUND) {
        coordinator_request_read_failed(&n->base, &reply->err);
        return;
    }
    /* what nobody can read is left to a person; the node goes all the same */
    delete_write(n, rc == 0 && gate_leave(&gate, &n->process) ? &gate : NULL,
                 was_left);
}

static void delete_read(struct request *r, const struct registry_reply *reply)
{
    struct coordinator_node_request *n =
        CONTAINER_OF(r, struct coordinator_node_request, base);
    const struct registry_entry *e = reply->entries;
    struct node_claim standing;

    assert(reply->err.code == ERR_OK || reply->err.code == ERR_NOT_FOUND);
    assert(!attempt_waits(&r->attempt));
    if (reply->err.code == ERR_NOT_FOUND && r->attempt.doubt) {
        delete_end(r); /* our own delete */
        return;
    }
    if (reply->err.code == ERR_NOT_FOUND) {
        coordinator_request_fail(r, &reply->err);
        return;
    }
    if (e->owner != 0) {
        coordinator_node_refuse_agents(n);
        return;
    }
    node_claim_read(&standing, e->value, e->value_len);
    if (!delete_concerns(n, &standing)) {
        coordinator_request_refuse(r, PROBLEM_CONFLICT, ERR_CONFLICT,
                                   "another process is registered at %s by now",
                                   n->address);
        return;
    }
    if (!n->process.known)
        n->process = standing.process;
    coordinator_node_life_read(&n->life, &standing);
    n->version = e->version;
    n->process.created = e->created;
    raiser_expect(r->c->raiser);
    gates_get(r->c->registry, n->kind, n->address, delete_gate_read, n);
}

static const struct request_type delete_type = {
    .drop = coordinator_node_request_drop,
    .read = delete_read,
    .written = delete_end,
    .refused = coordinator_node_refused,
};

static int delete_take(struct coordinator_node_request *n,
                       const struct node_leave *leave, struct err *err)
{
    assert(leave->startup_time >= 0);
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
        c, &delete_type, leave->kind, leave->address, done, arg);
    struct err err;

    assert(leave->startup_time >= 0);
    if (n == NULL)
        return;
    if (delete_take(n, leave, &err) != 0)
        coordinator_request_fail(&n->base, &err);
    else if (leave->age_ms > NAMELESS_MS && !n->ask.has_startup &&
             n->ask.instance[0] == '\0')
        coordinator_request_refuse(
            &n->base, PROBLEM_TOO_LATE, ERR_TIMEOUT,
            "it waited, and whoever is registered may be another one by now; "
            "name him by instance or startupTime");
    else
        coordinator_request_read(&n->base);
}
