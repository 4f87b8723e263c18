/*
 * etcd_conformance.c - the conformance suite on one server for all tests, in a
 * fresh namespace for each.
 */
#include "tests/registry/etcd_conformance.h"

#include "base/clock.h"
#include "base/mem.h"

#include <string.h>

static struct etcd_servers servers;

static void *open_store(void)
{
    return etcd_store_new(&servers);
}

static void close_store(void *store)
{
    struct etcd_store *s = store;

    etcd_store_free(&s);
}

static struct registry *open_client(void *store, int64_t session_timeout_ms)
{
    return etcd_store_open(store, session_timeout_ms);
}

static void turn(void *store, int64_t max_ms)
{
    loop_turn(((struct etcd_store *)store)->loop, max_ms);
}

static int64_t now(void *store)
{
    (void)store;
    return clock_mono_ms();
}

static void expire(void *store, struct registry *client)
{
    etcd_store_expire(store, client);
}

static void kill_client(void *store, struct registry **client)
{
    etcd_store_kill(store, client);
}

static void cut(void *store, struct registry *client, bool is_cut)
{
    proxy_cut(etcd_store_proxy(store, client, 0), is_cut ? PROXY_BOTH : 0);
}

static const struct conformance_backend backend = {
    .name = "etcd",
    .session_timeout_ms = CONFORMANCE_TIMEOUT_MS,
    .open_store = open_store,
    .close_store = close_store,
    .open = open_client,
    .turn = turn,
    .now = now,
    .expire = expire,
    .kill = kill_client,
    .cut = cut,
};

struct world *etcd_world(struct etcd_servers *on)
{
    struct world *w = mem_zalloc(sizeof(*w));

    w->backend = &backend;
    w->store = etcd_store_new(on);
    assert_non_null(w->store);
    return w;
}

int etcd_conformance(bool tls)
{
    int failed;

    etcd_servers_start(&servers, 1, tls);
    failed = conformance_run(&backend);
    etcd_servers_stop(&servers);
    return failed;
}

struct registry *etcd_client(struct world *w, int64_t timeout_ms)
{
    struct registry *r = etcd_store_open(w->store, timeout_ms);

    w->clients[w->n_clients++] = r;
    world_until(w, registry_session(r) != 0);
    return r;
}

struct proxy *etcd_proxy(struct world *w, const struct registry *r)
{
    return etcd_store_proxy(w->store, r, 0);
}

/* What the events add up to: the value of a key, or NULL. And no event says
 * what was known. */
static const char *last_value(const struct seen *s, const char *key)
{
    const char *value = NULL;

    for (size_t i = 0; i < s->n; i++) {
        const struct seen_event *e = &s->events[i];

        if (e->key == NULL || strcmp(e->key, key) != 0)
            continue;
        assert_true((e->type == REGISTRY_ADD) == (value == NULL));
        value = e->type == REGISTRY_REMOVE ? NULL : e->value;
    }
    return value;
}

bool etcd_told(const struct seen *s, const char *key, const char *value)
{
    const char *last = last_value(s, key);

    return value == NULL ? last == NULL
                         : last != NULL && strcmp(last, value) == 0;
}
