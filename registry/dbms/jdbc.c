/*
 * jdbc.c - DolphinScheduler's registry type `jdbc`: its address is an URL for
 * Java, which names a MySQL or a PostgreSQL server.
 *
 * What the URL means is conf/jdbc_url.h's matter. What it does not say the C
 * libraries would take from the environment; so it is said (the drivers).
 */
#include "registry/dbms/dbms.h"
#include "registry/dbms/dbms_priv.h"
#include "registry/sql/backend.h"

#include "base/log.h"
#include "base/mem.h"
#include "conf/conf.h"

#include <pwd.h>
#include <string.h>
#include <unistd.h>

/* --- the URL ------------------------------------------------------------- */

int dbms_target_parse(struct dbms_target *t, const char *text, struct err *err)
{
    int rc;

    assert(text != NULL);
    memset(t, 0, sizeof(*t));
    rc = conf_jdbc_url_parse(&t->url, text, err);
    if (rc != 0) {
        err_wrap(err, "registry.hikari-config.jdbc-url");
        dbms_target_close(t);
        return rc;
    }
    t->driver = t->url.kind == JDBC_POSTGRESQL ? &dbms_postgresql : &dbms_mysql;
    assert(t->url.n_hosts > 0);
    rc = t->driver->load(err);
    if (rc != 0) {
        err_wrap(err, "registry.type: jdbc");
        dbms_target_close(t);
    }
    return rc;
}

/* --- opening ------------------------------------------------------------- */

static void fill(char **field, const char *value)
{
    if (*field == NULL)
        *field = mem_strdup(value);
}

/* Hikari's `schema` comes after the URL's, and is one name as it stands. */
static void quote(char **field, const char *name)
{
    struct buf out;

    assert(name != NULL);
    buf_init(&out, strlen(name) * 2 + 3);
    buf_char(&out, '"');
    for (const char *c = name; *c != '\0'; c++) {
        buf_str(&out, *c == '"' ? "\"" : "");
        buf_char(&out, *c);
    }
    buf_char(&out, '"');
    conf_jdbc_set(field, buf_text(&out));
    buf_close(&out);
    assert(*field != NULL);
}

/* Both libraries would ask the environment first, each another variable. */
static void fill_user(char **field)
{
    const struct passwd *us = getpwuid(geteuid());

    if (us != NULL)
        fill(field, us->pw_name);
}

/* Said once, when it is opened. */
static void say_notes(const char *at)
{
    while (*at != '\0') {
        size_t name = strcspn(at, ":"), end = strcspn(at, "\n");
        char *parameter = mem_strndup(at, name);
        char *reason = mem_strndup(at + name + 2, end - name - 2);

        log_warn("!jdbc-url", LOG_S("parameter", parameter),
                 LOG_S("reason", reason));
        mem_free(parameter);
        mem_free(reason);
        at += end + 1;
    }
}

/* Keys of our own stand for what Java hands its driver beside the URL: to
 * Connector/J they come first, to the others the URL does. */
static void fill_who(struct jdbc_url *url, const struct conf_registry *conf)
{
    assert(url->n_hosts > 0);
    if (url->kind == JDBC_MYSQL && conf->user != NULL)
        conf_jdbc_set(&url->user, conf->user);
    if (url->kind == JDBC_MYSQL && conf->password != NULL)
        conf_jdbc_set(&url->password, conf->password);
    fill(&url->user, conf->user);
    fill_user(&url->user);
    fill(&url->password, conf->password);
    if (url->user != NULL) /* PostgreSQL's database of the user's name */
        fill(&url->database, url->user);
}

/* Shorter than asked for, where a session would not survive it. */
static void fill_patience(struct dbms_target *t,
                          const struct conf_registry *conf)
{
    int64_t timeout = conf->session_timeout_ms, most;
    struct jdbc_url *url = &t->url;

    assert(timeout > 0);
    most = sql_clamp(timeout / 2, 2000, 15000);
    url->call_ms =
        url->call_ms == 0 ? most : sql_clamp(url->call_ms, 1000, most);
    most = sql_clamp(conf->connect_timeout_ms, 100, url->call_ms);
    url->connect_ms =
        url->connect_ms == 0 ? most : sql_clamp(url->connect_ms, 100, most);
    t->idle_ms = sql_clamp(timeout / 2, 1000, 30000);
    assert(url->connect_ms > 0);
    assert(url->call_ms >= url->connect_ms);
}

int dbms_target_of(struct dbms_target *t, const struct conf_registry *conf,
                   bool aloud, struct err *err)
{
    struct jdbc_url *url = &t->url;
    int rc = dbms_target_parse(t, conf->jdbc_url, err);

    if (rc != 0)
        return rc;
    assert(t->driver != NULL && url->n_hosts > 0);
    fill_who(url, conf);
    if (conf->dbms_jdbc_schema != NULL && t->driver == &dbms_postgresql)
        quote(&url->schema, conf->dbms_jdbc_schema);
    fill(&url->ca, conf->cert_file);
    fill(&url->cert, conf->key_cert_chain_file);
    fill(&url->key, conf->key_file);
    fill_patience(t, conf);
    (void)snprintf(t->prefix, sizeof(t->prefix), "/%s", conf->namespace_);
    if (aloud)
        say_notes(buf_text(&url->notes));
    assert(t->driver != NULL);
    return 0;
}

int dbms_jdbc_open(struct registry **out, struct loop *loop,
                   const struct conf_registry *conf, struct err *err)
{
    /* A page of a thousand items, three operations each, moves in one txn. */
    struct sql_kind kind = {.max_ops = 3072, .max_bytes = 16u << 20};
    int64_t timeout = conf->session_timeout_ms;
    struct dbms_target target, second;
    struct sql_waker *waker = NULL;
    int rc;

    assert(conf->jdbc_url != NULL && conf->namespace_ != NULL);
    assert(timeout > 0);
    rc = dbms_target_of(&target, conf, true, err);
    if (rc != 0)
        return rc;
    kind.name = target.driver->name;
    if (target.driver->wait != NULL && conf->pool_size > 1 &&
        dbms_target_of(&second, conf, false, NULL) == 0)
        waker = dbms_waker_new(&second);
    *out = sql_new(&kind, loop,
                   dbms_core_new(&target, conf->namespace_, timeout,
                                 conf->heartbeat_refresh_ms),
                   waker, timeout);
    assert(*out != NULL);
    return 0;
}

/* --- the schema ---------------------------------------------------------- */

int dbms_jdbc_schema(const struct conf_registry *conf, bool apply,
                     const char **text, struct err *err)
{
    struct dbms_target target;
    int rc = dbms_target_of(&target, conf, true, err);

    if (rc != 0)
        return rc;
    assert(target.driver != NULL);
    *text = target.driver->syntax->schema;
    if (apply) {
        target.all = true;
        rc = dbms_schema_apply(&target, err);
    }
    dbms_target_close(&target);
    assert(target.driver == NULL);
    return rc;
}
