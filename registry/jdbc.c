/*
 * jdbc.c - DolphinScheduler's registry type `jdbc`: its address is an URL for
 * Java, which names a MySQL or a PostgreSQL server.
 *
 * What the URL means is conf/jdbc_url.h's matter. What it does not say the C
 * libraries would take from the environment; so it is said (the drivers).
 */
#include "registry/dbms.h"
#include "registry/sql_backend.h"

#include "base/log.h"
#include "base/mem.h"
#include "conf/conf.h"

#include <pwd.h>
#include <string.h>
#include <unistd.h>

/* --- the URL -------------------------------------------------------------- */

/* The texts go from one to the other. */
static void take(struct dbms_target *t, struct jdbc_url *url)
{
    t->driver = url->kind == JDBC_POSTGRESQL ? &dbms_postgresql : &dbms_mysql;
    memcpy(t->hosts, url->hosts, sizeof(t->hosts));
    t->n_hosts = url->n_hosts;
    t->database = url->database;
    t->schema = url->schema;
    t->options = url->options;
    t->application = url->application;
    t->user = url->user;
    t->password = url->password;
    t->tls = url->tls;
    t->ca = url->ca;
    t->cert = url->cert;
    t->key = url->key;
    t->key_password = url->key_password;
    t->connect_ms = url->connect_ms;
    t->call_ms = url->call_ms;
    t->info_first = url->kind == JDBC_MYSQL;
    buf_close(&url->notes);
    memset(url, 0, sizeof(*url));
}

int dbms_target_parse(struct dbms_target *t, const char *text,
                      struct buf *notes, struct err *err)
{
    struct jdbc_url url;
    int rc = jdbc_url_parse(&url, text, err);

    memset(t, 0, sizeof(*t));
    if (rc != 0) {
        err_wrap(err, "registry.hikari-config.jdbc-url");
        jdbc_url_close(&url);
        return rc;
    }
    if (notes != NULL) {
        buf_add(notes, url.notes.data, url.notes.len);
    }
    take(t, &url);
    return 0;
}

void dbms_target_close(struct dbms_target *t)
{
    for (size_t i = 0; i < t->n_hosts; i++) {
        mem_free(t->hosts[i].name);
        mem_free(t->hosts[i].user);
        mem_free(t->hosts[i].password);
    }
    mem_free(t->database);
    mem_free(t->schema);
    mem_free(t->options);
    mem_free(t->application);
    mem_free(t->user);
    mem_free(t->password);
    mem_free(t->ca);
    mem_free(t->cert);
    mem_free(t->key);
    mem_free(t->key_password);
    memset(t, 0, sizeof(*t));
}

/* --- opening -------------------------------------------------------------- */

static int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

static void fill(char **field, const char *value)
{
    if (*field == NULL) {
        *field = mem_strdup(value);
    }
}

/* Hikari's `schema` comes after the URL's, and is one name as it stands. */
static void quote(char **field, const char *name)
{
    struct buf out;

    buf_init(&out, strlen(name) * 2 + 3);
    buf_char(&out, '"');
    for (const char *c = name; *c != '\0'; c++) {
        buf_str(&out, *c == '"' ? "\"" : "");
        buf_char(&out, *c);
    }
    buf_char(&out, '"');
    jdbc_set(field, buf_text(&out));
    buf_close(&out);
}

/* Both libraries would ask the environment first, each another variable. */
static void fill_user(char **field)
{
    const struct passwd *us = getpwuid(geteuid());

    if (us != NULL) {
        fill(field, us->pw_name);
    }
}

/* Said once, when it is opened. */
static void say_notes(const struct buf *notes)
{
    const char *at = notes->len == 0 ? "" : notes->data;

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
static void fill_who(struct dbms_target *t, const struct conf_registry *conf)
{
    if (t->info_first && conf->user != NULL) {
        jdbc_set(&t->user, conf->user);
    }
    if (t->info_first && conf->password != NULL) {
        jdbc_set(&t->password, conf->password);
    }
    fill(&t->user, conf->user);
    fill_user(&t->user);
    fill(&t->password, conf->password);
    if (t->user != NULL) { /* PostgreSQL's database of the user's name */
        fill(&t->database, t->user);
    }
}

/* Shorter than asked for, where a session would not survive it. */
static void fill_patience(struct dbms_target *t,
                          const struct conf_registry *conf)
{
    int64_t timeout = conf->session_timeout_ms, most;

    most = clamp(timeout / 2, 2000, 15000);
    t->call_ms = t->call_ms == 0 ? most : clamp(t->call_ms, 1000, most);
    most = clamp(conf->connect_timeout_ms, 100, t->call_ms);
    t->connect_ms = t->connect_ms == 0 ? most : clamp(t->connect_ms, 100, most);
    t->idle_ms = clamp(timeout / 2, 1000, 30000);
}

static int target_of(struct dbms_target *t, const struct conf_registry *conf,
                     bool aloud, struct err *err)
{
    struct buf notes;
    int rc;

    buf_init(&notes, 8192);
    rc = dbms_target_parse(t, conf->jdbc_url, &notes, err);
    if (rc == 0) {
        assert(t->driver != NULL && t->n_hosts > 0);
        fill_who(t, conf);
        if (conf->jdbc_schema != NULL && t->driver == &dbms_postgresql) {
            quote(&t->schema, conf->jdbc_schema);
        }
        fill(&t->ca, conf->cert_file);
        fill(&t->cert, conf->key_cert_chain_file);
        fill(&t->key, conf->key_file);
        fill_patience(t, conf);
        (void)snprintf(t->prefix, sizeof(t->prefix), "/%s", conf->namespace_);
    }
    if (rc == 0 && aloud) {
        say_notes(&notes);
    }
    buf_close(&notes);
    return rc;
}

int jdbc_open(struct registry **out, struct loop *loop,
              const struct conf_registry *conf, struct err *err)
{
    /* A page of a thousand items, three operations each, moves in one txn. */
    static const struct sql_kind mysql = {
        .name = "mysql", .max_ops = 3072, .max_bytes = 16u << 20};
    static const struct sql_kind postgresql = {
        .name = "postgresql", .max_ops = 3072, .max_bytes = 16u << 20};
    int64_t timeout = conf->session_timeout_ms;
    struct dbms_target target, second;
    struct sql_waker *waker = NULL;
    bool is_mysql;
    int rc;

    assert(conf->jdbc_url != NULL && conf->namespace_ != NULL);
    assert(timeout > 0);
    rc = target_of(&target, conf, true, err);
    if (rc != 0) {
        return rc;
    }
    is_mysql = target.driver == &dbms_mysql;
    if (target.driver->wait != NULL && conf->pool_size > 1 &&
        target_of(&second, conf, false, NULL) == 0) {
        waker = dbms_waker_new(&second);
    }
    *out = sql_new(is_mysql ? &mysql : &postgresql, loop,
                   dbms_core_new(&target, conf->namespace_, timeout,
                                 conf->heartbeat_refresh_ms),
                   waker, timeout);
    return 0;
}

/* --- the schema ----------------------------------------------------------- */

int registry_schema(const struct conf_registry *conf, bool apply,
                    const char **text, struct err *err)
{
    struct dbms_target target;
    int rc;

    if (conf->type != CONF_JDBC) {
        return (int)err_set(err, ERR_INVALID,
                            "registry.type: %s needs no schema",
                            conf_registry_type_name(conf->type));
    }
    rc = target_of(&target, conf, true, err);
    if (rc != 0) {
        return rc;
    }
    assert(target.driver != NULL);
    *text = target.driver->words->schema;
    if (apply) {
        target.all = true;
        rc = dbms_schema_apply(&target, err);
    }
    dbms_target_close(&target);
    return rc;
}
