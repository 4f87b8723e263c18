/*
 * sql_store.c - stores on one server, and the hooks of the conformance suite.
 */
#include "tests/registry/sql_store.h"

#include "base/mem.h"
#include "conf/conf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct sql_server_kind *kind;
static struct sql_server *server;
static unsigned n_stores;

void sql_store_use(const struct sql_server_kind *k)
{
    kind = k;
    sql_store_backend.name = k->name;
}

void sql_store_end(void)
{
    sql_server_free(&server);
}

/* --- the test's own connection ------------------------------------------- */

static void on_value(void *arg, const struct dbms_cell *cells, unsigned n)
{
    if (n > 0 && cells[0].p != NULL)
        *(uint64_t *)arg = strtoull(cells[0].p, NULL, 10);
}

static int aim(struct dbms_target *t, const char *database, struct err *err)
{
    char url[SQL_URL_SIZE];
    int rc;

    sql_server_url(server, server->port, database, url);
    rc = dbms_target_parse(t, url, err);
    if (rc == 0) {
        t->url.user = mem_strdup(kind->admin);
        t->url.connect_ms = t->url.call_ms = t->idle_ms = 20000;
    }
    return rc;
}

void sql_store_aim(const struct sql_store *s, struct dbms_target *t)
{
    struct err err;

    if (aim(t, s->database, &err) != 0)
        fail_msg("%s", err.msg);
}

static int in_system(const char *verb, const char *database,
                     const char *options, struct err *err)
{
    struct dbms_link *link = NULL;
    struct dbms_target t;
    uint64_t ignored;
    char sql[128];
    int rc = aim(&t, kind->system, err);

    if (rc == 0)
        rc = (int)t.driver->connect(&link, &t, err);
    if (rc == 0) {
        (void)snprintf(sql, sizeof(sql), "%s DATABASE %s %s", verb, database,
                       options);
        rc =
            (int)t.driver->run(link, sql, strlen(sql), on_value, &ignored, err);
        t.driver->close(&link);
    }
    dbms_target_close(&t);
    return rc;
}

struct dbms_link *sql_store_link(struct sql_store *s)
{
    struct dbms_link *link = NULL;
    struct err err;

    if (s->target.driver->connect(&link, &s->target, &err) != DBMS_OK)
        fail_msg("%s", err.msg);
    return link;
}

enum dbms_fault sql_store_try(struct sql_store *s, uint64_t *value,
                              const char *sql)
{
    struct err err;
    enum dbms_fault fault;

    *value = 0;
    if (s->link == NULL)
        s->link = sql_store_link(s);
    fault =
        s->target.driver->run(s->link, sql, strlen(sql), on_value, value, &err);
    if (fault == DBMS_LOST)
        s->target.driver->close(&s->link);
    if (fault != DBMS_OK)
        (void)fprintf(stderr, "%s: %s\n", sql, err.msg);
    return fault;
}

uint64_t sql_store_run(struct sql_store *s, const char *fmt, ...)
{
    uint64_t value;
    char sql[4096];
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(sql, sizeof(sql), fmt, args);
    va_end(args);
    assert_true(n >= 0 && (size_t)n < sizeof(sql));
    assert_int_equal(sql_store_try(s, &value, sql), DBMS_OK);
    return value;
}

/* --- stores -------------------------------------------------------------- */

static int make_database(struct sql_store *s, struct err *err)
{
    int rc;

    if (server == NULL)
        rc = sql_server_new(&server, kind, err);
    else
        rc = sql_server_heal(server, err);
    if (rc != 0)
        return rc;
    s->server = server;
    (void)snprintf(s->database, sizeof(s->database), "store_%u", ++n_stores);
    rc = in_system("CREATE", s->database, kind->create, err);
    if (rc == 0)
        rc = aim(&s->target, s->database, err);
    return rc != 0 ? rc : dbms_schema_apply(&s->target, err);
}

static void *open_store(void)
{
    struct sql_store *s = mem_zalloc(sizeof(*s));
    struct err err;

    if (make_database(s, &err) != 0 || loop_new(&s->loop, 1024, &err) != 0 ||
        proxy_open(&s->proxy, s->loop, server->port, &err) != 0) {
        (void)fprintf(stderr, "%s\n", err.msg);
        return NULL;
    }
    return s;
}

static void on_flag(void *arg)
{
    *(bool *)arg = true;
}

static void close_store(void *arg)
{
    struct sql_store *s = arg;
    struct err err;

    proxy_close(&s->proxy, on_flag, &s->proxy_closed);
    while (s->dying > 0 || !s->proxy_closed)
        loop_turn(s->loop, 100);
    if (s->link != NULL)
        s->target.driver->close(&s->link);
    loop_free(&s->loop);
    if (sql_server_heal(server, &err) != 0 ||
        in_system("DROP", s->database, kind->drop, &err) != 0)
        (void)fprintf(stderr, "%s\n", err.msg);
    dbms_target_close(&s->target);
    mem_free(s);
}

int sql_store_setup(void **state)
{
    *state = open_store();
    return *state == NULL ? -1 : 0;
}

int sql_store_teardown(void **state)
{
    close_store(*state);
    return 0;
}

/* --- clients ------------------------------------------------------------- */

void sql_store_conf(const struct sql_store *s, struct conf_registry *conf,
                    char url[SQL_URL_SIZE], int64_t timeout_ms)
{
    sql_server_url(s->server, proxy_port(s->proxy), s->database, url);
    *conf = (struct conf_registry){.type = CONF_JDBC,
                                   .namespace_ = (char *)"dolphinscheduler",
                                   .jdbc_url = url,
                                   .user = (char *)(uintptr_t)kind->admin,
                                   .session_timeout_ms = timeout_ms,
                                   .connect_timeout_ms = 5000,
                                   .heartbeat_refresh_ms = 300,
                                   .pool_size = 5};
}

static struct registry *open_client(void *arg, int64_t timeout_ms)
{
    struct conf_registry conf;
    char url[SQL_URL_SIZE];
    struct registry *r = NULL;
    struct sql_store *s = arg;
    struct err err;

    sql_store_conf(s, &conf, url, timeout_ms);
    if (registry_open(&r, s->loop, &conf, &err) != 0)
        (void)fprintf(stderr, "%s\n", err.msg);
    return r;
}

struct registry *sql_store_open(struct sql_store *s, int64_t timeout_ms)
{
    struct registry *r = open_client(s, timeout_ms);

    assert_non_null(r);
    sql_store_until(s, registry_session(r) != 0);
    return r;
}

void sql_store_close(struct sql_store *s, struct registry **r)
{
    bool closed = false;

    registry_close(r, on_flag, &closed);
    sql_store_until(s, closed);
}

static void turn(void *arg, int64_t max_ms)
{
    loop_turn(((struct sql_store *)arg)->loop, max_ms);
}

static int64_t now(void *arg)
{
    (void)arg;
    return clock_mono_ms();
}

/* What another process does with a session that it takes for dead. */
static void expire(void *arg, struct registry *client)
{
    struct sql_store *s = arg;
    struct dbms_target t;
    struct sql_core *core;
    struct err err;

    assert_int_equal(aim(&t, s->database, &err), 0);
    core = dbms_core_new(&t, "dolphinscheduler", 10000, 3000);
    if (core->ops->session_close(core, registry_session(client), &err) != 0)
        fail_msg("%s", err.msg);
    core->ops->close(&core);
}

static void on_killed(void *arg)
{
    ((struct sql_store *)arg)->dying--;
}

static void kill_client(void *arg, struct registry **client)
{
    struct sql_store *s = arg;

    s->dying++;
    sql_kill(client, on_killed, s);
}

void sql_store_kill(struct sql_store *s, struct registry **r)
{
    kill_client(s, r);
}

/* Connections break, and new ones are refused. */
static void cut(void *arg, struct registry *client, bool is_cut)
{
    struct sql_store *s = arg;

    (void)client;
    proxy_refuse(s->proxy, is_cut);
    if (is_cut)
        (void)proxy_reset(s->proxy);
}

struct conformance_backend sql_store_backend = {
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
