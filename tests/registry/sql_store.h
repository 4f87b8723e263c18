/*
 * sql_store.h - a fresh database on a shared server, with a loop, a proxy
 * before the server and a connection of the test's own behind it.
 */
#ifndef PELORUS_TESTS_REGISTRY_SQL_STORE_H
#define PELORUS_TESTS_REGISTRY_SQL_STORE_H

#include "tests/lib/proxy.h"
#include "tests/registry/conformance.h"
#include "tests/registry/sql_server.h"

#include "registry/dbms/dbms_priv.h"
#include "registry/sql/backend.h"

/* The server of this program; started by the first store. */
struct sql_store {
    struct sql_server *server;
    char database[32];
    struct loop *loop;
    struct proxy *proxy;
    struct dbms_target target; /* of the test's own connection */
    struct dbms_link *link;
    int dying;
    bool proxy_closed;
};

/* Which kind, before anything else; and at the end of main(). */
void sql_store_use(const struct sql_server_kind *kind);
void sql_store_end(void);

/* For conformance, and as fixtures of other tests (*state is the store). */
extern struct conformance_backend sql_store_backend;
int sql_store_setup(void **state);
int sql_store_teardown(void **state);

/* A client behind the proxy, connected. */
struct registry *sql_store_open(struct sql_store *s, int64_t timeout_ms);
struct conf_registry;
void sql_store_conf(const struct sql_store *s, struct conf_registry *conf,
                    char url[SQL_URL_SIZE], int64_t timeout_ms);
void sql_store_close(struct sql_store *s, struct registry **r);
void sql_store_kill(struct sql_store *s, struct registry **r);

/* Run SQL on the test's own connection; fails the test if it fails. The number
 * in the first column of the last row, 0 without one. */
uint64_t sql_store_run(struct sql_store *s, const char *fmt, ...)
    PRINTF_LIKE(2, 3);
/* The same, and its failure is an answer. */
enum dbms_fault sql_store_try(struct sql_store *s, uint64_t *value,
                              const char *sql);
/* Where a core of the test's own is to connect. */
void sql_store_aim(const struct sql_store *s, struct dbms_target *t);
/* A second connection of the test's own. */
struct dbms_link *sql_store_link(struct sql_store *s);

#define sql_store_until(s, cond)                                               \
    do {                                                                       \
        int64_t until_ = clock_mono_ms() + CONFORMANCE_PATIENCE_MS;            \
        while (!(cond)) {                                                      \
            if (clock_mono_ms() >= until_)                                     \
                fail_msg("waited in vain for: %s", #cond);                     \
            loop_turn((s)->loop, 10);                                          \
        }                                                                      \
    } while (0)

#define SQL_STORE_TEST(f)                                                      \
    cmocka_unit_test_setup_teardown(f, sql_store_setup, sql_store_teardown)

#endif
