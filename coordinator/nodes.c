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

#define TRIES       8
#define TTL_MIN_MS  1000
#define TTL_MAX_MS  (60 * 60 * 1000)
#define BODY_MAX    (64 * 1024)

struct node_request {
    struct request base; /* first */
    enum node_kind kind;
    char address[NODE_ADDRESS_MAX + 1];
    char key[REGISTRY_KEY_MAX + 1];
    cJSON *body;
    int64_t ttl_ms;
    unsigned tries;
    bool created;
    struct process process;
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
                                         coordinator_reply_f *done, void *arg)
{
    struct node_request *n = mem_zalloc(sizeof(*n));
    struct err err;

    request_init(c, &n->base, done, arg, node_request_drop);
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

/* --- put -------------------------------------------------------------------- */

static void put_begin(struct node_request *n);

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
    bool again = reply->err.code == ERR_CONFLICT ||
                 reply->err.code == ERR_UNKNOWN;

    if (reply->err.code == ERR_OK)
        put_end(n);
    else if (again && ++n->tries < TRIES)
        put_begin(n);
    else
        request_fail(&n->base, &reply->err);
}

static void set_number(cJSON *object, const char *key, double value)
{
    cJSON_DeleteItemFromObjectCaseSensitive(object, key);
    cJSON_AddNumberToObject(object, key, value);
}

static void put_write(struct node_request *n, uint64_t version)
{
    char *text;

    set_number(n->body, "startupTime", (double)n->process.startup_time);
    set_number(n->body, "processId", (double)n->process.process_id);
    set_number(n->body, "ttl", (double)n->ttl_ms);
    text = cJSON_PrintUnformatted(n->body);
    assert(text != NULL);
    n->created = version == 0;
    registry_put(n->base.c->registry, n->key, text, strlen(text),
                 version == 0 ? REGISTRY_ABSENT : REGISTRY_VERSION, version,
                 false, put_written, n);
    cJSON_free(text);
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
    if (cJSON_GetObjectItemCaseSensitive(n->body, "startupTime") != NULL)
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
        request_fail(&n->base, &reply->err);
        return;
    }
    if (there && reply->entries[0].owner != 0) {
        struct err err;

        err_set(&err, ERR_CONFLICT,
                "%s is registered by an agent with a session of its own",
                n->address);
        request_fail(&n->base, &err);
        return;
    }
    if (there)
        heartbeat_read(&standing, reply->entries[0].value,
                       reply->entries[0].value_len);
    put_identify(n, there ? &standing : NULL);
    n->process.created = there ? reply->entries[0].version : 0;
    registry_get(n->base.c->registry,
                 gate_key(n->kind, n->address, key, sizeof(key)), put_gate_read,
                 n);
}

static void put_gate_read(void *arg, const struct registry_reply *reply)
{
    struct node_request *n = arg;
    struct coordinator_reply refused = {.code = "fenced"};
    uint64_t version = n->process.created;
    struct gate gate;

    n->process.created = 0;
    if (reply->err.code != ERR_OK && reply->err.code != ERR_NOT_FOUND) {
        request_fail(&n->base, &reply->err);
        return;
    }
    if (reply->err.code == ERR_OK) {
        struct err err;

        if (gate_read(&gate, reply->entries[0].value,
                      reply->entries[0].value_len, &err) != 0) {
            request_fail(&n->base, &err);
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
    put_write(n, version);
}

static void put_begin(struct node_request *n)
{
    registry_get(n->base.c->registry, n->key, put_key_read, n);
}

void coordinator_node_put(struct coordinator *c, enum node_kind kind,
                          const char *address, const char *body, size_t len,
                          int64_t ttl_ms, coordinator_reply_f *done, void *arg)
{
    struct node_request *n = node_request(c, kind, address, done, arg);
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
    if (err.code != ERR_OK)
        request_fail(&n->base, &err);
    else
        put_begin(n);
}

/* --- delete ------------------------------------------------------------------ */

static void delete_done(void *arg, const struct registry_reply *reply)
{
    struct node_request *n = arg;

    request_fail(&n->base, &reply->err); /* ERR_OK ends it well, too */
}

static void delete_read(void *arg, const struct registry_reply *reply)
{
    struct node_request *n = arg;

    if (reply->err.code == ERR_OK)
        registry_delete(n->base.c->registry, n->key, reply->entries[0].version,
                        delete_done, n);
    else
        request_fail(&n->base, &reply->err);
}

void coordinator_node_delete(struct coordinator *c, enum node_kind kind,
                             const char *address, coordinator_reply_f *done,
                             void *arg)
{
    struct node_request *n = node_request(c, kind, address, done, arg);

    if (n != NULL)
        registry_get(c->registry, n->key, delete_read, n);
}

/* --- a ttl is over ------------------------------------------------------------ */

struct removal {
    char key[REGISTRY_KEY_MAX + 1];
};

static void removal_done(void *arg, const struct registry_reply *reply)
{
    struct removal *r = arg;

    if (reply->err.code == ERR_OK)
        log_info("-registration", LOG_S("key", r->key),
                 LOG_S("reason", "ttl"));
    else if (reply->err.code != ERR_CONFLICT &&
             reply->err.code != ERR_NOT_FOUND)
        log_warn("!registration", LOG_S("key", r->key),
                 LOG_S("reason", reply->err.msg));
    mem_free(r);
}

/* Renewed meanwhile: a conflict, and all is well. Not removed for another
 * reason: membership says so again. */
void nodes_ttl_over(struct coordinator *c, const char *key, uint64_t version)
{
    struct removal *r = mem_zalloc(sizeof(*r));

    snprintf(r->key, sizeof(r->key), "%s", key);
    registry_delete(c->registry, key, version, removal_done, r);
}
