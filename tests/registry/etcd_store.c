/*
 * etcd_store.c - see etcd_store.h.
 */
#include "tests/registry/etcd_store.h"

#include "base/mem.h"
#include "base/pack/base64.h"
#include "registry/etcd/etcd_priv.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct etcd_store *etcd_store_new(struct etcd_servers *servers)
{
    static unsigned last;
    struct etcd_store *s = mem_zalloc(sizeof(*s));

    if (loop_new(&s->loop, 1024, NULL) != 0) {
        mem_free(s);
        return NULL;
    }
    s->servers = servers;
    (void)snprintf(s->ns, sizeof(s->ns), "dolphinscheduler%u", ++last);
    return s;
}

static void on_gone(void *arg)
{
    ((struct etcd_store *)arg)->dying--;
}

void etcd_store_free(struct etcd_store **store)
{
    struct etcd_store *s = *store;

    *store = NULL;
    while (s->dying > 0)
        loop_turn(s->loop, 100);
    for (size_t i = 0; i < s->n_clients; i++) {
        for (size_t k = 0; k < s->servers->n; k++) {
            s->dying++;
            proxy_close(&s->client[i].proxy[k], on_gone, s);
        }
    }
    while (s->dying > 0)
        loop_turn(s->loop, 100);
    loop_free(&s->loop);
    mem_free(s);
}

static void conf_free(struct conf_registry *conf)
{
    for (size_t i = 0; i < conf->endpoints.n; i++)
        mem_free(conf->endpoints.items[i]);
    mem_free(conf->endpoints.items);
    mem_free(conf->cert_file);
    mem_free(conf->key_cert_chain_file);
    mem_free(conf->key_file);
    mem_free(conf->user);
    mem_free(conf->password);
}

struct registry *etcd_store_open(struct etcd_store *s, int64_t timeout_ms)
{
    struct conf_registry conf = {.type = CONF_ETCD,
                                 .namespace_ = s->ns,
                                 .authority = (char *)s->authority,
                                 .session_timeout_ms = timeout_ms,
                                 .connect_timeout_ms = 9000,
                                 .retry_delay_ms = 60,
                                 .retry_max_delay_ms = 300,
                                 .retry_max_duration_ms = 1500};
    struct etcd_store_client *c = &s->client[s->n_clients];
    struct err err;

    assert_true(s->n_clients < ARRAY_LEN(s->client));
    s->n_clients++;
    conf.endpoints.items = mem_array(s->servers->n, sizeof(char *));
    for (size_t i = 0; i < s->servers->n; i++) {
        if (proxy_open(&c->proxy[i], s->loop, s->servers->member[i].port,
                       &err) != 0)
            fail_msg("%s", err.msg);
        /* As pasted: with all three files http:// is TLS, too. */
        conf.endpoints.items[conf.endpoints.n++] =
            s->n_clients % 2 == 1
                ? mem_printf("http://127.0.0.1:%u", proxy_port(c->proxy[i]))
                : mem_strdup(
                      etcd_server_url(s->servers, proxy_port(c->proxy[i])));
    }
    etcd_server_conf(s->servers, &conf);
    if (registry_open(&c->registry, s->loop, &conf, &err) != 0)
        fail_msg("%s", err.msg);
    conf_free(&conf);
    return c->registry;
}

struct proxy *etcd_store_proxy(struct etcd_store *s, const struct registry *r,
                               size_t i)
{
    for (size_t k = s->n_clients; k-- > 0;)
        if (s->client[k].registry == r)
            return s->client[k].proxy[i];
    fail_msg("no such client");
    return NULL;
}

static void post(struct etcd_store *s, const char *path, const char *body)
{
    const struct json *reply = etcd_server_post(s->servers, 0, path, body);

    if (reply == NULL)
        fail_msg("etcd refuses %s %s", path, body);
    json_free(reply);
}

void etcd_store_expire(struct etcd_store *s, struct registry *r)
{
    char body[64];

    (void)snprintf(body, sizeof(body), "{\"ID\":\"%" PRIu64 "\"}",
                   registry_session(r));
    post(s, "/v3/lease/revoke", body);
}

void etcd_store_kill(struct etcd_store *s, struct registry **r)
{
    s->dying++;
    etcd_kill(r, on_gone, s);
}

void etcd_store_pass(struct etcd_store *s, int64_t ms)
{
    int64_t until = clock_mono_ms() + ms;

    while (clock_mono_ms() < until)
        loop_turn(s->loop, 20);
}

static void full_key(const struct etcd_store *s, const char *key, char out[400])
{
    struct buf b;
    char text[300];

    (void)snprintf(text, sizeof(text), "%s%s", s->ns, key);
    buf_init(&b, 399);
    base64_write(&b, text, strlen(text));
    (void)snprintf(out, 400, "%s", buf_text(&b));
    buf_close(&b);
}

void etcd_store_put(struct etcd_store *s, const char *key, const char *value)
{
    char k[400];
    struct buf body;

    full_key(s, key, k);
    buf_init(&body, 1 << 20);
    buf_printf(&body, "{\"key\":\"%s\",\"value\":\"", k);
    base64_write(&body, value, strlen(value));
    buf_str(&body, "\"}");
    post(s, "/v3/kv/put", buf_text(&body));
    buf_close(&body);
}

void etcd_store_delete(struct etcd_store *s, const char *key)
{
    char k[400], body[500];

    full_key(s, key, k);
    (void)snprintf(body, sizeof(body), "{\"key\":\"%s\"}", k);
    post(s, "/v3/kv/deleterange", body);
}

void etcd_store_compact(struct etcd_store *s)
{
    const struct json *reply =
        etcd_server_post(s->servers, 0, "/v3/kv/range",
                         "{\"key\":\"ZG9scGhpbnNjaGVkdWxlcg==\"}");
    char body[64];

    assert_non_null(reply);
    (void)snprintf(body, sizeof(body), "{\"revision\":\"%" PRIu64 "\"}",
                   etcd_header_read(reply).revision);
    json_free(reply);
    post(s, "/v3/kv/compaction", body);
}

size_t etcd_store_count(struct etcd_store *s, const char *key)
{
    char below[300], from[400], to[400], body[900];
    const struct json *reply;
    size_t n;

    (void)snprintf(below, sizeof(below), "%s%s", key, key[1] == 0 ? "" : "/");
    full_key(s, below, from);
    below[strlen(below) - 1] = '0';
    full_key(s, below, to);
    (void)snprintf(body, sizeof(body),
                   "{\"key\":\"%s\",\"range_end\":\"%s\",\"count_only\":true}",
                   from, to);
    reply = etcd_server_post(s->servers, 0, "/v3/kv/range", body);
    assert_non_null(reply);
    n = (size_t)json_u64(reply, "count", 0);
    json_free(reply);
    return n;
}
