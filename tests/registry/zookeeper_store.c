/*
 * zookeeper_store.c - the conformance suite's hooks for ZooKeeper.
 *
 * cut() is the black hole of the client's own proxy. A killed client's proxy
 * stays one for good, so that its session has to run out. expire() attaches a
 * second handle to the client's session, straight to the server, and closes
 * it: the server has ended the session when that returns, and the client,
 * whose proxy needs our turns, cannot have noticed before.
 */
#include "tests/registry/zookeeper_store.h"

#include "base/clock.h"
#include "base/mem.h"
#include "registry/zookeeper/zookeeper_priv.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CLIENTS_MAX 256

struct client {
    const struct registry *registry; /* NULL: killed */
    struct proxy *proxy;
};

struct store {
    struct loop *loop;
    char namespace[64];
    struct client clients[CLIENTS_MAX]; /* all there ever were */
    size_t n_clients;
    size_t dying;   /* killed clients that are not freed yet */
    size_t proxies; /* that are not closed yet */
    int64_t lateness_ms;
};

struct zookeeper_server *zktest_server;

int zktest_begin(void)
{
    struct err err;

    if (zookeeper_server_new(&zktest_server, &err) != 0) {
        (void)fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    return 0;
}

void zktest_end(void)
{
    zookeeper_server_free(&zktest_server);
}

/* --- hooks --------------------------------------------------------------- */

static void *open_store(void)
{
    static unsigned n;
    struct store *s = mem_zalloc(sizeof(*s));
    struct err err;

    if (zookeeper_server_heal(zktest_server, &err) != 0 ||
        loop_new(&s->loop, 1024, &err) != 0) {
        (void)fprintf(stderr, "%s\n", err.msg);
        mem_free(s);
        return NULL;
    }
    (void)snprintf(s->namespace, sizeof(s->namespace), "test-%u-%u",
                   (unsigned)getpid(), ++n);
    return s;
}

static void turn(void *arg, int64_t max_ms)
{
    struct store *s = arg;
    int64_t begin = clock_mono_ms(), late;

    loop_turn(s->loop, max_ms);
    late = clock_mono_ms() - begin - max_ms;
    s->lateness_ms = late > s->lateness_ms ? late : s->lateness_ms;
}

static int64_t now(void *arg)
{
    (void)arg;
    return clock_mono_ms();
}

static void on_proxy_closed(void *arg)
{
    ((struct store *)arg)->proxies--;
}

static void close_store(void *arg)
{
    struct store *s = arg;
    int64_t until = clock_mono_ms() + CONFORMANCE_PATIENCE_MS;

    while (s->dying > 0 && clock_mono_ms() < until)
        turn(s, 20);
    assert_int_equal(s->dying, 0);
    for (size_t i = 0; i < s->n_clients; i++) {
        s->proxies++;
        proxy_close(&s->clients[i].proxy, on_proxy_closed, s);
    }
    while (s->proxies > 0)
        turn(s, 20);
    loop_free(&s->loop);
    mem_free(s);
}

/* The youngest: an address may be used again. */
static struct client *client_of(struct store *s, const struct registry *r)
{
    for (size_t i = s->n_clients; i-- > 0;)
        if (s->clients[i].registry == r)
            return &s->clients[i];
    fail_msg("not a client of this store");
    return NULL;
}

static struct registry *open_with(struct store *s, struct conf_registry *conf,
                                  const char *hosts)
{
    char *text = (char *)(uintptr_t) "%u", port[8], *connect_string;
    struct registry *r = NULL;
    struct client *client;
    struct err err;
    const char *at = strstr(hosts, text);

    assert_true(s->n_clients < CLIENTS_MAX);
    assert_non_null(at);
    client = &s->clients[s->n_clients];
    if (proxy_open(&client->proxy, s->loop,
                   zookeeper_server_port(zktest_server), &err) != 0) {
        (void)fprintf(stderr, "%s\n", err.msg);
        return NULL;
    }
    s->n_clients++;
    (void)snprintf(port, sizeof(port), "%u", proxy_port(client->proxy));
    connect_string =
        mem_printf("%.*s%s%s", (int)(at - hosts), hosts, port, at + 2);
    conf->connect_string = connect_string;
    if (registry_open(&r, s->loop, conf, &err) != 0)
        (void)fprintf(stderr, "%s\n", err.msg);
    mem_free(connect_string);
    client->registry = r;
    return r;
}

static struct conf_registry conf_of(struct store *s, int64_t timeout_ms)
{
    return (struct conf_registry){.type = CONF_ZOOKEEPER,
                                  .namespace_ = s->namespace,
                                  .session_timeout_ms = timeout_ms,
                                  .connect_timeout_ms = 5000,
                                  .block_until_connected_ms = 5000,
                                  .retry_base_sleep_ms = 20,
                                  .retry_max_sleep_ms = 200,
                                  .retry_max_retries = 5};
}

static struct registry *open_client(void *arg, int64_t session_timeout_ms)
{
    struct conf_registry conf = conf_of(arg, session_timeout_ms);

    return open_with(arg, &conf, "127.0.0.1:%u");
}

static void expire(void *arg, struct registry *r)
{
    struct raw raw;
    clientid_t id;

    (void)arg;
    assert_true(zookeeper_session_of(r, &id));
    if (raw_open(&raw, zookeeper_server_port(zktest_server),
                 ZOOKEEPER_TIMEOUT_MS, &id)) {
        assert_true(raw_session(&raw) == (uint64_t)id.client_id);
    } /* else it has ended by itself */
    raw_close(&raw);
}

static void on_killed(void *arg)
{
    ((struct store *)arg)->dying--;
}

static void kill_client(void *arg, struct registry **r)
{
    struct store *s = arg;
    struct client *client = client_of(s, *r);

    proxy_cut(client->proxy, PROXY_BOTH);
    client->registry = NULL;
    s->dying++;
    zookeeper_kill(r, on_killed, s);
}

static void cut(void *arg, struct registry *r, bool is_cut)
{
    proxy_cut(client_of(arg, r)->proxy, is_cut ? PROXY_BOTH : 0);
}

const struct conformance_backend zookeeper_backend = {
    .name = "zookeeper",
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

/* --- fixtures ------------------------------------------------------------ */

int zktest_setup(void **state)
{
    struct world *w = mem_zalloc(sizeof(*w));

    w->backend = &zookeeper_backend;
    w->store = open_store();
    *state = w;
    return w->store == NULL ? -1 : 0;
}

int zktest_teardown(void **state)
{
    struct world *w = *state;
    struct store *s = w->store;
    struct err err;

    if (zookeeper_server_heal(zktest_server, &err) != 0)
        fail_msg("%s", err.msg);
    for (size_t i = 0; i < s->n_clients; i++) {
        if (s->clients[i].registry != NULL) {
            proxy_delay(s->clients[i].proxy, 0);
            proxy_refuse(s->clients[i].proxy, false);
            proxy_cut(s->clients[i].proxy, 0);
        }
    }
    return world_teardown(state);
}

static bool begins(const char *name, const char *with)
{
    return strncmp(name, with, strlen(with)) == 0;
}

void zktest_nothing_stands_outside_the_namespaces(void **state)
{
    struct String_vector names;
    size_t ours = 0;
    struct raw raw;

    (void)state;
    zktest_raw(&raw, ZOOKEEPER_TIMEOUT_MS);
    raw_children(&raw, "/", &names);
    for (int32_t i = 0; i < names.count; i++) {
        const char *name = names.data[i];

        if (begins(name, "test-") || begins(name, "chroot-"))
            ours++;
        else
            assert_string_equal(name, "zookeeper");
    }
    assert_true(ours > 0);
    (void)zkmt.deallocate_String_vector(&names);
    raw_close(&raw);
}

/* --- for one test -------------------------------------------------------- */

struct loop *zktest_loop(const struct world *w)
{
    return ((struct store *)w->store)->loop;
}

const char *zktest_namespace(const struct world *w)
{
    return ((struct store *)w->store)->namespace;
}

const char *zktest_path(const struct world *w, const char *key)
{
    static char paths[8][RAW_PATH];
    static size_t at;
    char *path = paths[at++ % ARRAY_LEN(paths)];

    (void)snprintf(path, RAW_PATH, "/%s%s", zktest_namespace(w),
                   strcmp(key, "/") == 0 ? "" : key);
    return path;
}

struct conf_registry zktest_conf(const struct world *w)
{
    return conf_of(w->store, ZOOKEEPER_TIMEOUT_MS);
}

struct registry *zktest_open(struct world *w, struct conf_registry *conf,
                             const char *hosts)
{
    struct registry *r =
        open_with(w->store, conf, hosts == NULL ? "127.0.0.1:%u" : hosts);

    assert_non_null(r);
    assert_true(w->n_clients < ARRAY_LEN(w->clients));
    w->clients[w->n_clients++] = r;
    return r;
}

struct registry *zktest_open_timeout(struct world *w, int64_t timeout_ms)
{
    struct conf_registry conf = conf_of(w->store, timeout_ms);
    struct registry *r = zktest_open(w, &conf, NULL);

    world_until(w, registry_session(r) != 0);
    assert_int_equal(registry_session_timeout(r), timeout_ms);
    return r;
}

struct proxy *zktest_proxy(const struct world *w, const struct registry *client)
{
    return client_of(w->store, client)->proxy;
}

void zktest_raw(struct raw *raw, int timeout_ms)
{
    assert_true(
        raw_open(raw, zookeeper_server_port(zktest_server), timeout_ms, NULL));
}

int64_t zktest_lateness(const struct world *w)
{
    return ((struct store *)w->store)->lateness_ms;
}

void zktest_lateness_reset(struct world *w)
{
    ((struct store *)w->store)->lateness_ms = 0;
}

/* --- what was told, and when --------------------------------------------- */

static void on_state(void *arg, enum registry_state state)
{
    struct story *s = arg;

    assert_true(s->n < ARRAY_LEN(s->states));
    s->states[s->n] = state;
    s->at[s->n++] = clock_mono_ms();
}

void story_begin(struct world *w, struct registry *r, struct story *s)
{
    memset(s, 0, sizeof(*s));
    s->w = w;
    s->listener = registry_listen(r, on_state, s);
    world_until(w, s->n > 0);
}

void story_end(struct story *s)
{
    registry_unlisten(&s->listener);
}

size_t story_count(const struct story *s, enum registry_state state)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++)
        n += s->states[i] == state;
    return n;
}

int64_t story_expect(struct story *s, size_t at, enum registry_state state)
{
    world_until(s->w, s->n > at);
    assert_string_equal(registry_state_name(s->states[at]),
                        registry_state_name(state));
    return s->at[at];
}
