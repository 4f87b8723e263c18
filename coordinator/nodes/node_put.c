/*
 * node_put.c - the heartbeat of a node that speaks HTTP.
 *
 * A renewal is written at the version read, so that a removal, an expiry and
 * another process at the same address are seen and not overwritten, and with
 * the second key (nodes_priv.h) where that says too little. An
 * accepted one is a lease, so it must not be given to a process whose work is
 * being taken. Where a gate stands, the txn checks it at the version at which
 * it was seen not to bar the process. Absence cannot be checked in a txn:
 * where no gate is known, the gate is read after the write, and only then is
 * the lease given. INTENT works the other way round, it writes the gate and
 * then reads the registrations. Whichever of the two writes comes first, the
 * reader of the other side sees it: either the engine finds the process
 * registered and takes its INTENT back, or we find the gate shut.
 *
 * So it is, too, where versions repeat and the gate was closed, or nobody was
 * registered: only then it may have been forgotten between its read and the
 * write, and another one of the same version be checked for it (who stands
 * registered has his gate kept, and an open one is kept as well).
 *
 *     read registration -> judge -> [read gate] -> write -> [read gate] -> 200
 *
 * What is nothing but a renewal goes into a window instead, where groups are
 * written: renew.c. A lease is written as `lease` then, whatever writes it.
 */
#include "coordinator/nodes/nodes_priv.h"

#include "base/planted.h"
#include "base/units.h"
#include "failover/failpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define TTL_MIN_MS 1000
#define TTL_MAX_MS (INT64_C(60) * 60 * 1000)
#define DOUBT_MS   50 /* has it been found out where the registry stands? */

/* --- the end ------------------------------------------------------------- */

static void put_taken(struct coordinator_node_request *n, const char *why)
{
    assert(n->ruling == NODE_RULES_TAKEN);
    assert(!attempt_waits(&n->base.attempt));
    coordinator_request_refuse(
        &n->base, PROBLEM_ADDRESS_TAKEN, ERR_CONFLICT,
        "%s (startupTime %" PRId64 ", processId %" PRId64
        "); it goes when its ttl is over or it is deleted, or replace it with "
        "takeover=1",
        why, n->process.startup_time, n->process.process_id);
}

static int64_t renew_after(const struct coordinator_node_request *n)
{
    assert(n->ttl_ms >= TTL_MIN_MS);
    assert(n->ttl_ms <= TTL_MAX_MS);
    return coordinator_node_renew_after(n, n->every_ms);
}

static void put_accepted(struct coordinator_node_request *n,
                         const struct write_index *wrote)
{
    struct coordinator *c = n->base.c;
    char place[HISTORY_PLACE_SIZE];
    struct coordinator_reply reply = {
        .place = registry_place_token(registry_place(c->registry), place),
        .process = n->process,
        .renew_after_ms = renew_after(n),
        .instance = n->next.instance,
        .waits = n->waits,
        .warnings = (const char *const *)n->warnings,
        .n_warnings = n->n_warnings,
        .created = n->created,
        .wrote = *wrote,
        .work_index =
            coordinator_index(c, COORDINATOR_WORK, n->kind, n->address),
    };

    assert(n->process.known);
    coordinator_request_end(&n->base, &reply);
}

static void put_end(struct coordinator_node_request *n)
{
    struct write_index wrote = {.n = 0};

    assert(n->written);
    n->base.c->renewal_counts.alone += n->ruling == NODE_RULES_RENEW;
    coordinator_node_renew_written(n);
    coordinator_index_add_over(&wrote, n->base.key, n->created_revision,
                               n->version);
    put_accepted(n, &wrote);
}

static void put_too_late(struct coordinator_node_request *n)
{
    coordinator_request_refuse(
        &n->base, PROBLEM_TOO_LATE, ERR_TIMEOUT,
        "it waited for longer than its ttl before it could be carried out: "
        "the lease that it asks for is over. Send it again");
}

/* Others know of its life what they knew before. */
void coordinator_node_remembered(struct coordinator_node_request *n)
{
    struct write_index wrote = {.n = 0};

    assert(!n->written);
    n->base.c->renewal_counts.memory++;
    n->created = false;
    coordinator_index_add_at(&wrote, n->base.key, n->created_revision, 0);
    put_accepted(n, &wrote);
}

static void put_begin(struct request *r);

void coordinator_node_renewed(struct coordinator_node_request *n,
                              const struct writer_reply *reply)
{
    struct write_index wrote = {.n = 0};

    assert(!n->written);
    switch (reply->end) {
    case WRITER_COMMITTED:
        n->created = false;
        coordinator_index_add_at(&wrote, reply->key, reply->created,
                                 reply->version);
        put_accepted(n, &wrote);
        break;
    case WRITER_LEFT:
        put_begin(&n->base);
        break;
    case WRITER_TOO_LATE:
        put_too_late(n);
        break;
    case WRITER_FAILED:
        coordinator_request_fail(&n->base, &reply->err);
        break;
    }
}

/* --- writing ------------------------------------------------------------- */

static void on_gate(void *arg, const struct registry_reply *reply);

static void read_gate(struct coordinator_node_request *n)
{
    assert(!attempt_waits(&n->base.attempt));
    gates_get(n->base.c->registry, n->kind, n->address, on_gate, n);
}

static void put_written(struct request *r)
{
    struct coordinator_node_request *n =
        CONTAINER_OF(r, struct coordinator_node_request, base);

    assert(!n->written);
    n->written = true;
    if ((n->gate_version != 0 && !n->gate_may_go) ||
        planted(PLANTED_LEASE_UNGATED))
        put_end(n);
    else
        read_gate(n);
}

static void put_write(struct coordinator_node_request *n)
{
    char gate[REGISTRY_KEY_MAX + 1];
    struct registry_op ops[3], life;
    size_t n_ops = 0;
    bool has_life;
    struct buf text;

    assert(n->next.process.known);
    assert(!n->written);
    failover_failpoint("node-before-write", 1);
    /* what stands now may be our own, written with an unknown outcome */
    n->created = n->version == 0 || (n->created && n->base.attempt.doubt);
    has_life =
        coordinator_node_life_put(&n->life, n->base.c, n->base.key, &life);
    memcpy(n->next.registration, n->life.name, sizeof(n->life.name));
    coordinator_node_renew_write(n);
    buf_init(&text, 2 * NODE_BODY_MAX);
    node_claim_write(&text, buf_text(&n->others), &n->next, n->ttl_ms);
    assert(!text.overflow);
    if (n->gate_version != 0 && !planted(PLANTED_LEASE_UNGATED))
        ops[n_ops++] = registry_op_at(
            REGISTRY_CHECK, gate_key(n->kind, n->address, gate, sizeof(gate)),
            n->gate_version);
    ops[n_ops++] = registry_op_put(n->base.key, &text, n->version);
    if (has_life)
        ops[n_ops++] = life;
    n->n_ops = n_ops;
    if (n->names)
        coordinator_request_take(&n->base, n->kind, n->address, ops, n_ops);
    else
        coordinator_request_txn(&n->base, ops, n_ops);
    buf_close(&text);
}

/* --- the gate ------------------------------------------------------------ */

/* After the write nothing may be called "not stored". */
static void gate_unread(struct coordinator_node_request *n,
                        const struct err *err)
{
    assert(err->code != ERR_OK);
    if (n->written)
        attempt_doubt(&n->base.attempt, n->base.c->clock->mono);
    coordinator_request_read_failed(&n->base, err);
}

/* Whoever had work at this address before came, by our word, before. */
static void start_after(struct coordinator_node_request *n,
                        const struct gate *gate)
{
    struct process *p = &n->next.process;

    assert(n->next.process.known);
    if (n->ask.has_startup || n->ruling == NODE_RULES_RENEW || n->written ||
        !gate->process.known || p->startup_time > gate->process.startup_time)
        return;
    p->startup_time = gate->process.startup_time + 1;
    n->next.body_startup = p->startup_time;
    n->process = *p;
}

static void gate_seen(struct coordinator_node_request *n,
                      const struct gate *gate)
{
    assert(n->gate_version == gate->version);
    assert(gate->state != GATE_ABSENT || gate->version == 0);
    start_after(n, gate);
    if (gate_bars(gate, &n->process)) {
        coordinator_request_refuse(
            &n->base, PROBLEM_FENCED, ERR_CONFLICT,
            "the work of this process was taken over; stop it and register "
            "again with a new startupTime");
        return;
    }
    n->waits = gate->state == GATE_FENCED;
    if (n->written)
        put_end(n);
    else if (!n->fits || !coordinator_node_renew_read(n))
        put_write(n);
}

static void on_gate(void *arg, const struct registry_reply *reply)
{
    struct coordinator_node_request *n = arg;
    struct gate gate;
    struct err err;
    int rc = gates_take(&gate, reply, &err);

    assert(!attempt_waits(&n->base.attempt));
    if (rc == 0) {
        n->gate_version = gate.version;
        n->gate_may_go = registry_first_version(n->base.c->registry) != 0 &&
                         (n->version == 0 || gate_is_closed(&gate));
        gate_seen(n, &gate);
    } else if (reply->err.code != ERR_OK) {
        gate_unread(n, &err);
    } else {
        coordinator_request_damaged(&n->base, &err);
    }
}

/* Most workers have none: theirs is read once, after the write. That we know
 * of none is a hint and no more. */
static bool gate_unlikely(const struct coordinator_node_request *n)
{
    const struct coordinator *c = n->base.c;

    assert(n->ruling != NODE_RULES_RENEW || n->version != 0);
    return n->ruling == NODE_RULES_RENEW && gates_synced(c->gates) &&
           gates_find(c->gates, n->kind, n->address)->state == GATE_ABSENT;
}

/* --- who stands there ---------------------------------------------------- */

/* A process of another kind of client, an ephemeral key below /nodes: while
 * that stands it lives, whatever the clocks say. A hint from what is watched,
 * which is enough to refuse. */
static bool registered_elsewhere(const struct coordinator_node_request *n)
{
    const struct node *node =
        membership_find(n->base.c->membership, n->kind, n->address);

    assert(n->ruling != NODE_RULES_TAKEN);
    return node != NULL && node->registered && !node->ours &&
           process_differs(&node->process, &n->next.process);
}

static void put_read(struct request *r, const struct registry_reply *reply)
{
    struct coordinator_node_request *n =
        CONTAINER_OF(r, struct coordinator_node_request, base);
    struct node_claim standing = {.exists = false};
    bool there = reply->err.code == ERR_OK;
    uint64_t steady = 0;
    const char *why;

    assert(!n->written);
    assert(reply->err.code == ERR_OK || reply->err.code == ERR_NOT_FOUND);
    if (there && reply->entries[0].owner != 0) {
        coordinator_node_refuse_agents(n);
        return;
    }
    if (there && n->sees)
        steady = node_claim_read_steady(&standing, reply->entries[0].value,
                                        reply->entries[0].value_len);
    else if (there)
        node_claim_read(&standing, reply->entries[0].value,
                        reply->entries[0].value_len);
    n->version = there ? reply->entries[0].version : 0;
    n->created_revision = there ? reply->entries[0].created : 0;
    coordinator_node_life_read(&n->life, there ? &standing : NULL);
    n->process = standing.process;
    n->ruling = node_judge(&n->ask, &standing, n->new_instance,
                           n->takeover || planted(PLANTED_OLDER_OVERWRITES),
                           n->base.c->clock->wall, &n->next, &why);
    if (n->ruling != NODE_RULES_TAKEN && !n->takeover &&
        registered_elsewhere(n)) {
        n->ruling = NODE_RULES_TAKEN;
        why = "another process is registered here below /nodes, and lives";
    }
    if (n->ruling == NODE_RULES_TAKEN) {
        put_taken(n, why);
        return;
    }
    n->process = n->next.process;
    n->gate_version = 0;
    /* It may be one that stood there before: whoever knows it from then, and
     * saw nothing of what stands now, would renew what it was. So it is named
     * (docs/design/renewals.md). All else comes later than what it replaces. */
    n->names = n->ruling == NODE_RULES_REPLACE && !standing.process.known &&
               !planted(PLANTED_RETURN_SILENT);
    if (n->names)
        raiser_expect(r->c->raiser);
    if (there)
        coordinator_node_renew_look(n, &standing, steady);
    if (!n->fits && gate_unlikely(n))
        put_write(n);
    else
        read_gate(n);
}

static void put_begin(struct request *r)
{
    struct coordinator_node_request *n =
        CONTAINER_OF(r, struct coordinator_node_request, base);
    char place[HISTORY_PLACE_SIZE];

    assert(n->ttl_ms >= TTL_MIN_MS);
    assert(!attempt_waits(&r->attempt));
    if (!r->attempt.doubt && r->c->clock->mono >= n->expires) {
        put_too_late(n);
        return;
    }
    /* A lease is given on the registry that its node knows. */
    switch (coordinator_place_check(r->c, &n->place, n->base.key)) {
    case PLACE_KNOWN:
        break;
    case PLACE_IN_DOUBT:
        r->attempt.wake = r->c->clock->mono + DOUBT_MS;
        return;
    case PLACE_IMPOSSIBLE:
        coordinator_request_refuse(
            r, PROBLEM_INVALID_VALUE, ERR_INVALID,
            "place: this registry, which stands at %s, was never there: the "
            "node has seen another cluster's. Stop what it does for that one, "
            "and register again without a place",
            registry_place_text(registry_place(r->c->registry), place));
        return;
    }
    n->written = false;
    n->waits = false;
    coordinator_node_renew_begin(n);
    if (!coordinator_node_renew_known(n))
        coordinator_request_read(r);
}

static const struct request_type put_type = {
    .drop = coordinator_node_request_drop,
    .begin = put_begin,
    .read = put_read,
    .written = put_written,
    .refused = coordinator_node_refused,
};

/* --- beginning ----------------------------------------------------------- */

static int take_instance(struct coordinator_node_request *n,
                         const char *instance, struct err *err)
{
    if (instance == NULL)
        return 0;
    if (node_check_instance(instance, err) != 0)
        return (int)err->code;
    if (n->ask.instance[0] != '\0' && strcmp(n->ask.instance, instance) != 0)
        return err_set(err, ERR_INVALID,
                       "instance: the query's differs from the body's");
    memcpy(n->ask.instance, instance, strlen(instance) + 1);
    return 0;
}

static int take_place(struct coordinator_node_request *n,
                      const struct json *body, struct err *err)
{
    const struct json *place = json_get(body, "place");

    if (place == NULL || json_is(place, JSON_NULL))
        return 0;
    if (!json_is(place, JSON_STRING))
        return err_set(err, ERR_INVALID, "place: must be a string");
    if (registry_place_parse(place->string, &n->place, err) != 0)
        return err_wrap(err, "place");
    return 0;
}

static void take_body(struct coordinator_node_request *n,
                      const struct json *body)
{
    node_claim_others(&n->others, body);
    n->steady = node_claim_steady(body);
}

static int take(struct coordinator_node_request *n, const struct node_put *put,
                struct err *err)
{
    char asked[UNITS_DURATION_SIZE];
    const struct json *tree = NULL;
    int rc;

    assert(n->n_warnings == 0);
    if (put->ttl_ms < TTL_MIN_MS || put->ttl_ms > TTL_MAX_MS)
        return err_set(err, ERR_INVALID, "ttl: %s is outside 1s to 1h",
                       units_format_duration(put->ttl_ms, asked));
    if (put->len > NODE_BODY_MAX)
        return err_set(err, ERR_TOO_LARGE, "a heartbeat takes at most 64 KiB");
    rc = put->len > 0 ? json_parse(put->body, put->len, &tree, err)
                      : json_parse("{}", 2, &tree, err);
    if (rc == 0 && !json_is(tree, JSON_OBJECT))
        rc = err_set(err, ERR_INVALID, "a heartbeat is a JSON object");
    if (rc == 0)
        rc = json_unique(tree, err);
    if (rc == 0)
        rc = take_place(n, tree, err);
    if (rc == 0)
        rc = coordinator_node_body_check(n, tree, err);
    if (rc == 0)
        rc = node_claim_ask(&n->ask, tree, err);
    if (rc == 0)
        take_body(n, tree);
    json_free(tree);
    if (rc == 0)
        rc = take_instance(n, put->instance, err);
    return rc;
}

/* A third of its ttl, so that one that is lost does no harm; and as often as
 * the balancer wants to know. */
static int64_t every_ms(const struct coordinator *c, int64_t ttl_ms)
{
    int64_t interval = c->conf->balancer.heartbeat_interval_ms;

    return ttl_ms / 3 < interval ? ttl_ms / 3 : interval;
}

void coordinator_node_put(struct coordinator *c, const struct node_put *put,
                          coordinator_reply_f *done, void *arg)
{
    struct coordinator_node_request *n = coordinator_node_request(
        c, &put_type, put->kind, put->address, done, arg);
    struct err err;

    assert(put->body != NULL || put->len == 0);
    if (n == NULL)
        return;
    n->ttl_ms = put->ttl_ms;
    n->every_ms = every_ms(c, put->ttl_ms);
    n->takeover = put->takeover;
    n->expires = c->clock->mono - put->age_ms + put->ttl_ms;
    snprintf(n->new_instance, sizeof(n->new_instance), "%016" PRIx64,
             rand_u64(&c->rand));
    if (take(n, put, &err) != 0)
        coordinator_request_fail(&n->base, &err);
    else
        put_begin(&n->base);
}
