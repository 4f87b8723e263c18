/*
 * nodes.c - nodes that have no registry client and say over HTTP that they
 * live.
 *
 * Their key is persistent and carries its ttl: any coordinator that watched it
 * unchanged for so long removes it at the version it saw. A renewal is written
 * at the version read, so that a removal, an expiry and another process at the
 * same address are seen and not overwritten.
 *
 * A body without startupTime gets one when its registration begins and keeps
 * it as long as the registration stands: the registration is its identity.
 */
#include "coordinator/coordinator_priv.h"

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

#define TTL_MIN_MS 1000
#define TTL_MAX_MS (INT64_C(60) * 60 * 1000)
#define BODY_MAX   ((size_t)64 * 1024)

struct node_request {
    struct request base; /* first */
    enum node_kind kind;
    char address[NODE_ADDRESS_MAX + 1];
    char key[REGISTRY_KEY_MAX + 1];
    cJSON *body;
    int64_t ttl_ms;
    bool created;
    uint64_t version;       /* of the registration that was read; 0 none */
    struct process process; /* who asks; delete: whom it shall concern */
};

static void node_request_drop(struct request *r)
{
    struct node_request *n = CONTAINER_OF(r, struct node_request, base);

    cJSON_Delete(n->body);
    mem_free(n);
}

static struct node_request *node_request(struct coordinator *c,
                                         enum node_kind kind,
                                         const char *address,
                                         coordinator_reply_f *done, void *arg,
                                         void (*again)(struct request *))
{
    struct node_request *n = mem_zalloc(sizeof(*n));
    struct err err;

    request_init(c, &n->base, done, arg, node_request_drop, again);
    if (node_check_address(address, &err) != 0) {
        request_fail(&n->base, &err);
        return NULL;
    }
    n->kind = kind;
    snprintf(n->address, sizeof(n->address), "%s", address);
    snprintf(n->key, sizeof(n->key), OWN_NODES_PREFIX "/%s/%s",
             node_kind_name(kind), address);
    return n;
}

/* Its key is another client's, and goes with that one's session. */
static void refuse_agents(struct node_request *n)
{
    struct err err;

    err_set(&err, ERR_CONFLICT,
            "%s is registered by an agent with a session of its own",
            n->address);
    request_fail(&n->base, &err);
}

/* --- put --------------------------------------------------------------------
 */

static void put_end(struct node_request *n)
{
    struct coordinator *c = n->base.c;
    struct coordinator_reply reply = {
        .node = membership_find(c->membership, n->kind, n->address),
        .process = n->process,
        .created = n->created,
        .work_index =
            coordinator_index(c, COORDINATOR_WORK, n->kind, n->address),
    };

    request_end(&n->base, &reply);
}

static void put_written(void *arg, const struct registry_reply *reply)
{
    struct node_request *n = arg;

    if (reply->err.code == ERR_OK)
        put_end(n);
    else
        request_write_failed(&n->base, &reply->err);
}

static void set_number(cJSON *object, const char *key, double value)
{
    /* each of them: of two, the first would be read */
    while (cJSON_GetObjectItemCaseSensitive(object, key) != NULL)
        cJSON_DeleteItemFromObjectCaseSensitive(object, key);
    cJSON_AddNumberToObject(object, key, value);
}

static void put_write(struct node_request *n)
{
    char *text;

    set_number(n->body, "startupTime", (double)n->process.startup_time);
    set_number(n->body, "processId", (double)n->process.process_id);
    set_number(n->body, "ttl", (double)n->ttl_ms);
    text = cJSON_PrintUnformatted(n->body);
    assert(text != NULL);
    /* what stands now may be our own, written with an unknown outcome */
    n->created = n->version == 0 || (n->created && n->base.unknown_since != 0);
    registry_put(n->base.c->registry, n->key, text, strlen(text),
                 n->version == 0 ? REGISTRY_ABSENT : REGISTRY_VERSION,
                 n->version, false, put_written, n);
    cJSON_free(text);
}

static bool says(const cJSON *body, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(body, key);

    return item != NULL && !cJSON_IsNull(item);
}

/* An identity that is there must be one: taken for 0 it would be nobody's, or
 * make two processes the same. */
static int put_check(const cJSON *body, struct err *err)
{
    if (says(body, "startupTime") && json_int(body, "startupTime", 0) < 1)
        return (int)err_set(err, ERR_INVALID,
                            "startupTime: a whole number above 0 is expected");
    if (says(body, "processId") &&
        json_int(body, "processId", INT64_MIN) == INT64_MIN)
        return (int)err_set(err, ERR_INVALID,
                            "processId: a whole number is expected");
    return 0;
}

/* Who is speaking: what the body says, else whoever is registered, else a new
 * one. */
static void put_identify(struct node_request *n,
                         const struct heartbeat *standing)
{
    struct process *p = &n->process;

    p->startup_time = json_int(n->body, "startupTime", 0);
    p->process_id = json_int(n->body, "processId", 0);
    p->known = true;
    if (says(n->body, "startupTime"))
        return;
    if (standing != NULL && standing->process.known)
        *p = standing->process;
    else
        p->startup_time = n->base.c->clock->wall;
}

static void put_gate_read(void *arg, const struct registry_reply *reply);

static void put_key_read(void *arg, const struct registry_reply *reply)
{
    struct node_request *n = arg;
    char key[REGISTRY_KEY_MAX + 1];
    struct heartbeat standing;
    bool there = reply->err.code == ERR_OK;

    if (!there && reply->err.code != ERR_NOT_FOUND) {
        request_read_failed(&n->base, &reply->err);
        return;
    }
    if (there && reply->entries[0].owner != 0) {
        refuse_agents(n);
        return;
    }
    if (there)
        heartbeat_read(&standing, reply->entries[0].value,
                       reply->entries[0].value_len);
    put_identify(n, there ? &standing : NULL);
    n->version = there ? reply->entries[0].version : 0;
    registry_get(n->base.c->registry,
                 gate_key(n->kind, n->address, key, sizeof(key)), put_gate_read,
                 n);
}

static void put_gate_read(void *arg, const struct registry_reply *reply)
{
    struct node_request *n = arg;
    struct coordinator_reply refused = {.code = "fenced"};
    struct gate gate;

    if (reply->err.code != ERR_OK && reply->err.code != ERR_NOT_FOUND) {
        request_read_failed(&n->base, &reply->err);
        return;
    }
    if (reply->err.code == ERR_OK) {
        struct err err;

        if (gate_read(&gate, reply->entries[0].value,
                      reply->entries[0].value_len, &err) != 0) {
            request_damaged(&n->base, &err);
            return;
        }
        if (gate_bars(&gate, &n->process)) {
            err_set(&refused.err, ERR_CONFLICT,
                    "the work of this process was taken over; stop it and "
                    "register again with a new startupTime");
            refused.process = n->process;
            request_end(&n->base, &refused);
            return;
        }
    }
    put_write(n);
}

static void put_begin(struct request *r)
{
    struct node_request *n = CONTAINER_OF(r, struct node_request, base);

    registry_get(r->c->registry, n->key, put_key_read, n);
}

void coordinator_node_put(struct coordinator *c, enum node_kind kind,
                          const char *address, const char *body, size_t len,
                          int64_t ttl_ms, coordinator_reply_f *done, void *arg)
{
    struct node_request *n =
        node_request(c, kind, address, done, arg, put_begin);
    struct err err;

    if (n == NULL)
        return;
    n->ttl_ms = ttl_ms;
    err_clear(&err);
    if (ttl_ms < TTL_MIN_MS || ttl_ms > TTL_MAX_MS)
        err_set(&err, ERR_INVALID, "ttl: 1s to 1h");
    else if (len > BODY_MAX)
        err_set(&err, ERR_TOO_LARGE, "a heartbeat takes at most 64 KiB");
    else if (json_parse(len > 0 ? body : "{}", len > 0 ? len : 2, &n->body,
                        &err) == 0 &&
             !cJSON_IsObject(n->body))
        err_set(&err, ERR_INVALID, "a heartbeat is a JSON object");
    if (err.code != ERR_OK || put_check(n->body, &err) != 0)
        request_fail(&n->base, &err);
    else
        put_begin(&n->base);
}

/* --- delete ------------------------------------------------------------------
 */

static void delete_done(void *arg, const struct registry_reply *reply)
{
    struct node_request *n = arg;

    if (reply->err.code == ERR_OK)
        request_fail(&n->base, &reply->err); /* ends it well */
    else
        request_write_failed(&n->base, &reply->err);
}

/* The process that leaves: whom the client named, else whoever was registered
 * when we looked first. Nobody takes another one's registration along. */
static bool delete_concerns(struct node_request *n,
                            const struct heartbeat *standing)
{
    struct process *p = &n->process;

    if (!p->known && p->startup_time != 0)
        return standing->process.startup_time == p->startup_time;
    if (!p->known)
        *p = standing->process;
    return !process_differs(p, &standing->process);
}

static void delete_read(void *arg, const struct registry_reply *reply)
{
    struct node_request *n = arg;
    const struct registry_entry *e = reply->entries;
    struct heartbeat standing;
    struct err err = reply->err;

    if (err.code == ERR_NOT_FOUND && n->base.unknown_since != 0) {
        err_clear(&err);
        request_fail(&n->base, &err); /* our own delete: ends it well */
        return;
    }
    if (err.code == ERR_NOT_FOUND) {
        request_fail(&n->base, &err);
        return;
    }
    if (err.code != ERR_OK) {
        request_read_failed(&n->base, &err);
        return;
    }
    if (e->owner != 0) {
        refuse_agents(n);
        return;
    }
    heartbeat_read(&standing, e->value, e->value_len);
    if (delete_concerns(n, &standing)) {
        registry_delete(n->base.c->registry, n->key, e->version, delete_done,
                        n);
        return;
    }
    err_set(&err, ERR_CONFLICT, "another process is registered at %s by now",
            n->address);
    request_fail(&n->base, &err);
}

static void delete_begin(struct request *r)
{
    struct node_request *n = CONTAINER_OF(r, struct node_request, base);

    registry_get(r->c->registry, n->key, delete_read, n);
}

void coordinator_node_delete(struct coordinator *c, enum node_kind kind,
                             const char *address, int64_t startup_time,
                             coordinator_reply_f *done, void *arg)
{
    struct node_request *n =
        node_request(c, kind, address, done, arg, delete_begin);

    assert(startup_time >= 0);
    if (n == NULL)
        return;
    n->process.startup_time = startup_time;
    delete_begin(&n->base);
}

/* --- a ttl is over -------------------------------------------------------- */

struct removal {
    struct request base; /* first */
    char key[REGISTRY_KEY_MAX + 1];
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

static void removal_done(void *arg, const struct registry_reply *reply)
{
    struct removal *r = arg;

    request_fail(&r->base, &reply->err);
}

/* Not removed, for whatever reason: membership says so again. */
void nodes_ttl_over(struct coordinator *c, const char *key, uint64_t version)
{
    struct removal *r = mem_zalloc(sizeof(*r));

    request_init(c, &r->base, removal_said, r, removal_drop, NULL);
    snprintf(r->key, sizeof(r->key), "%s", key);
    registry_delete(c->registry, key, version, removal_done, r);
}
