/*
 * group_put.c - definitions of groups that clients change: the addresses, the
 * balancer's settings, or both.
 *
 * A put changes what it names and leaves the rest as it is stored:
 *     {"addresses": [...], "balancer": {...}}
 * without the half that nobody gave. What is stored is text until it is
 * changed, so that what another version wrote there is kept. It is changed on
 * the version read, and again when somebody else was faster: two people at
 * once both get what they asked for.
 */
#include "coordinator/coordinator_priv.h"

#include "base/json/json.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

struct group_request {
    struct request base; /* first */
    char name[NODE_GROUP_MAX + 1];
    bool put;
    struct buf addresses; /* put: as JSON; empty: as stored */
    bool has_change;
    struct group_settings_change change;
    struct buf text; /* what it shall be, once it is known what stands there */
    bool created;
};

static void group_drop(struct request *r)
{
    struct group_request *g = CONTAINER_OF(r, struct group_request, base);

    buf_close(&g->addresses);
    buf_close(&g->text);
    mem_free(g);
}

static void put_configured(const struct coordinator *c, const char *name,
                           struct buf *out)
{
    const struct conf_group *from = coordinator_groups_configured(c, name);

    json_open(out, NULL, '[');
    for (size_t i = 0; from != NULL && i < from->addresses.n; i++)
        json_put_str(out, NULL, from->addresses.items[i]);
    json_close(out, ']');
}

/* As it is now: what was written, over what is configured. */
static void group_put_end(struct group_request *g)
{
    struct coordinator_reply reply = {.created = g->created};
    struct group_settings_change own = {0};
    struct group_settings settings;
    const struct json *json = NULL, *list, *balancer;
    struct buf addresses;
    struct err err;

    buf_init(&addresses, REGISTRY_VALUE_MAX);
    (void)!json_parse(g->text.data, g->text.len, &json, &err);
    list = json_get(json, "addresses");
    balancer = json_get(json, "balancer");
    if (list != NULL)
        buf_add(&addresses, list->text, list->len);
    else
        put_configured(g->base.c, g->name, &addresses);
    if (balancer != NULL)
        (void)group_settings_read(balancer, &own, &err);
    coordinator_groups_settings(g->base.c, g->name, &own.own, &settings);
    json_free(json);
    reply.group_addresses = buf_text(&addresses);
    reply.group_settings = &settings;
    coordinator_index_add(&reply.wrote, g->base.key);
    coordinator_request_end(&g->base, &reply);
    buf_close(&addresses);
}

static void group_end(struct request *r)
{
    struct group_request *g = CONTAINER_OF(r, struct group_request, base);
    struct coordinator_reply reply = {0};

    assert(!g->created || g->put);
    if (g->put) {
        group_put_end(g);
        return;
    }
    coordinator_index_add(&reply.wrote, r->key);
    coordinator_request_end(r, &reply);
}

/* Does it stand as it was asked for, by a write of unknown outcome? */
static bool group_settled(const struct group_request *g,
                          const struct registry_entry *e)
{
    assert(e == NULL || e->version != 0);
    if (!g->base.attempt.doubt)
        return false;
    if (e == NULL || !g->put)
        return e == NULL && !g->put;
    return e->value_len == g->text.len &&
           memcmp(e->value, g->text.data, g->text.len) == 0;
}

/* As it is stored. */
static void put_text(struct buf *out, const char *key, const struct json *value)
{
    char *text = mem_strndup(value->text, value->len);

    assert(value->len > 0);
    json_put_raw(out, key, text);
    mem_free(text);
}

static void put_settings(struct group_request *g, const struct json *stored)
{
    struct group_settings_change was = {0};
    struct err err;

    assert(g->put);
    if (!g->has_change) {
        put_text(&g->text, "balancer", stored);
        return;
    }
    if (stored != NULL) /* what of it cannot be used goes */
        (void)group_settings_read(stored, &was, &err);
    group_settings_apply(&g->change, &was.own);
    group_settings_put_own(&g->text, &was.own);
}

/* Work out g->text from what stands there. */
static void group_write(struct group_request *g, const struct registry_entry *e)
{
    const struct json *json = NULL, *list, *balancer;
    struct err err;

    assert(g->put);
    if (e != NULL && json_parse(e->value, e->value_len, &json, &err) != 0)
        json = NULL;
    list = json_get(json, "addresses");
    balancer = json_get(json, "balancer");
    buf_reset(&g->text);
    json_open(&g->text, NULL, '{');
    if (g->addresses.len > 0)
        json_put_raw(&g->text, "addresses", buf_text(&g->addresses));
    else if (json_is(list, JSON_ARRAY))
        put_text(&g->text, "addresses", list);
    if (!json_is(balancer, JSON_OBJECT))
        balancer = NULL;
    if (balancer != NULL || g->has_change)
        put_settings(g, balancer);
    json_close(&g->text, '}');
    json_free(json);
    g->created = e == NULL;
    if (g->text.overflow) {
        err_set(&err, ERR_TOO_LARGE, "the group needs more than %d bytes",
                REGISTRY_VALUE_MAX);
        coordinator_request_fail(&g->base, &err);
    } else {
        coordinator_request_put(&g->base, &g->text, e == NULL ? 0 : e->version);
    }
}

static void group_read(struct request *r, const struct registry_reply *reply)
{
    struct group_request *g = CONTAINER_OF(r, struct group_request, base);
    const struct registry_entry *e =
        reply->err.code == ERR_OK ? reply->entries : NULL;

    assert(reply->err.code == ERR_OK || reply->err.code == ERR_NOT_FOUND);
    assert(!attempt_waits(&r->attempt));
    if (group_settled(g, e))
        group_end(r);
    else if (g->put)
        group_write(g, e);
    else if (e != NULL)
        coordinator_request_delete(r, e->version);
    else
        coordinator_request_fail(r, &reply->err);
}

static const struct request_type group_type = {
    .drop = group_drop, .read = group_read, .written = group_end};

/* NULL, and the request answered, if the name is none. */
static struct group_request *group_request(struct coordinator *c,
                                           const char *name,
                                           coordinator_reply_f *done, void *arg)
{
    struct group_request *g = mem_zalloc(sizeof(*g));
    struct err err;

    coordinator_request_init(c, &g->base, &group_type, NULL, done, arg);
    buf_init(&g->addresses, REGISTRY_VALUE_MAX);
    buf_init(&g->text, REGISTRY_VALUE_MAX);
    if (coordinator_group_check(name, g->name, &err) != 0) {
        coordinator_request_fail(&g->base, &err);
        return NULL;
    }
    snprintf(g->base.key, sizeof(g->base.key), GROUPS_PREFIX "/%s", g->name);
    assert(g->text.len == 0);
    return g;
}

/* In one spelling, as JSON. */
static int take_addresses(struct buf *out, const struct group_put *put,
                          struct err *err)
{
    char canonical[NODE_ADDRESS_MAX + 1];

    err_clear(err);
    if (put->n > GROUP_ADDRESSES_MAX)
        return err_set(err, ERR_TOO_LARGE, "%zu addresses; a group takes %d",
                       put->n, GROUP_ADDRESSES_MAX);
    json_open(out, NULL, '[');
    for (size_t i = 0; i < put->n && err->code == ERR_OK; i++)
        if (node_check_address(put->addresses[i], err) == 0)
            json_put_str(out, NULL,
                         node_canonical(put->addresses[i], canonical));
    json_close(out, ']');
    if (out->overflow && err->code == ERR_OK)
        err_set(err, ERR_TOO_LARGE, "the addresses need more than %d bytes",
                REGISTRY_VALUE_MAX);
    return (int)err->code;
}

void coordinator_group_put(struct coordinator *c, const char *name,
                           const struct group_put *put,
                           coordinator_reply_f *done, void *arg)
{
    struct group_request *g = group_request(c, name, done, arg);
    struct err err;

    assert(put->addresses != NULL || put->n == 0);
    if (g == NULL)
        return;
    g->put = true;
    g->has_change = put->settings != NULL;
    if (g->has_change)
        g->change = *put->settings;
    if (put->addresses != NULL && take_addresses(&g->addresses, put, &err) != 0)
        coordinator_request_fail(&g->base, &err);
    else
        coordinator_request_read(&g->base);
}

void coordinator_group_delete(struct coordinator *c, const char *name,
                              coordinator_reply_f *done, void *arg)
{
    struct group_request *g = group_request(c, name, done, arg);

    if (g != NULL)
        coordinator_request_read(&g->base);
}
