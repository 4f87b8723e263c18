/*
 * zookeeper_store.h - the ZooKeeper registry under test: one real server for
 * the program, a namespace of its own for each test, a proxy of its own for
 * each client.
 */
#ifndef PELORUS_TESTS_REGISTRY_ZOOKEEPER_STORE_H
#define PELORUS_TESTS_REGISTRY_ZOOKEEPER_STORE_H

#include "conf/conf.h"
#include "tests/lib/proxy.h"
#include "tests/registry/conformance.h"
#include "tests/registry/zookeeper_raw.h"
#include "tests/registry/zookeeper_server.h"

/* What the tests open their sessions with: 20 ticks of the server. */
#define ZOOKEEPER_TIMEOUT_MS 2000

extern const struct conformance_backend zookeeper_backend;

/* For main(): the server that all stores of the program are on. */
extern struct zookeeper_server *zktest_server;
int zktest_begin(void); /* 0, or it has said why not */
void zktest_end(void);

/* cmocka's fixtures for tests that are not of the conformance suite: *state
 * is a `struct world` on zookeeper_backend. The server is made to run, proxies
 * to pass, before the clients are closed. */
int zktest_setup(void **state);
int zktest_teardown(void **state);

#define ZKTEST(f)                                                              \
    {                                                                          \
#f, f, zktest_setup, zktest_teardown, NULL                             \
    }

/* The last test of a program: the root of the server's tree holds nothing but
 * the namespaces and chroots ("chroot-...") of its tests. */
void zktest_nothing_stands_outside_the_namespaces(void **state);

/* --- for one test -------------------------------------------------------- */

struct loop *zktest_loop(const struct world *w);

/* Without slashes. */
const char *zktest_namespace(const struct world *w);

/* The path of a key in the test's namespace: up to 8 at a time, static. */
const char *zktest_path(const struct world *w, const char *key);

/* A client with settings of its own, not connected yet; closed at teardown.
 * `hosts` takes the port of its proxy: "127.0.0.1:%u". NULL: the default. */
struct conf_registry zktest_conf(const struct world *w);
struct registry *zktest_open(struct world *w, struct conf_registry *conf,
                             const char *hosts);
/* With a session of `timeout_ms`, connected. */
struct registry *zktest_open_timeout(struct world *w, int64_t timeout_ms);

/* The proxy of a client that is open. */
struct proxy *zktest_proxy(const struct world *w,
                           const struct registry *client);

/* A plain client straight to the server. */
void zktest_raw(struct raw *raw, int timeout_ms);

/*
 * By how much turns of the loop lasted longer than they were asked to, at
 * worst, since the last reset: how late this machine lets us be.
 */
int64_t zktest_lateness(const struct world *w);
void zktest_lateness_reset(struct world *w);

/* --- what was told, and when --------------------------------------------- */

struct story {
    struct world *w;
    struct registry_listener *listener;
    enum registry_state states[256];
    int64_t at[256];
    size_t n;
};
/* Begins with the present state. */
void story_begin(struct world *w, struct registry *r, struct story *s);
void story_end(struct story *s);
/* How often the state was told. */
size_t story_count(const struct story *s, enum registry_state state);
/* The next state after the first `at`; waits for it. Returns when it came. */
int64_t story_expect(struct story *s, size_t at, enum registry_state state);

#endif
