/*
 * sql_server.c - fork, exec, connect until it answers.
 *
 * The port is taken from below the kernel's own range: a port of that range
 * could be given to somebody's outgoing connection while the server is down,
 * and a connect to it could even meet itself.
 */
#include "tests/registry/sql_server.h"

#include "base/mem.h"
#include "registry/dbms/dbms_priv.h"

#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define START_MS 90000

const char *sql_server_arg(const char *fmt, ...)
{
    static char texts[64][512];
    static size_t next;
    char *text = texts[next++ % ARRAY_LEN(texts)];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(texts[0]), fmt, args);
    va_end(args);
    return text;
}

static int make_data(struct sql_server *s, struct err *err)
{
    const char *argv[SQL_SERVER_ARGS] = {NULL};
    int rc;

    s->kind->init(s, argv);
    rc = daemon_start(&s->daemon, argv, err);
    return rc != 0 ? rc : daemon_wait(&s->daemon, err);
}

void sql_server_stop(struct sql_server *s)
{
    daemon_stop(&s->daemon);
}

void sql_server_cont(struct sql_server *s)
{
    daemon_cont(&s->daemon);
}

void sql_server_kill(struct sql_server *s)
{
    daemon_kill(&s->daemon);
}

int sql_server_restart(struct sql_server *s, struct err *err)
{
    const char *argv[SQL_SERVER_ARGS] = {NULL};

    s->kind->run(s, argv);
    return daemon_start(&s->daemon, argv, err);
}

void sql_server_url(const struct sql_server *s, uint16_t port,
                    const char *database, char out[SQL_URL_SIZE])
{
    (void)snprintf(out, SQL_URL_SIZE, "jdbc:%s://127.0.0.1:%u/%s",
                   s->kind->name, port, database);
}

static bool answers(void *server)
{
    const struct sql_server *s = server;
    struct dbms_link *link = NULL;
    struct dbms_target t;
    char url[SQL_URL_SIZE];
    struct err err;
    bool ok;

    sql_server_url(s, s->port, s->kind->system, url);
    if (dbms_target_parse(&t, url, &err) != 0)
        return false;
    t.url.user = mem_strdup(s->kind->admin);
    t.url.connect_ms = t.url.call_ms = t.idle_ms = 5000;
    ok = t.driver->connect(&link, &t, &err) == DBMS_OK;
    if (ok)
        t.driver->close(&link);
    dbms_target_close(&t);
    return ok;
}

/* PostgreSQL does not start while one of the processes of the one before still
 * stands: then once more. */
int sql_server_heal(struct sql_server *s, struct err *err)
{
    int rc = 0;

    for (int tries = 0; tries < 20; tries++) {
        rc = s->daemon.pid == 0 ? sql_server_restart(s, err) : 0;
        sql_server_cont(s);
        if (rc == 0)
            rc = daemon_await(&s->daemon, answers, s, START_MS, err);
        if (rc == 0 || s->daemon.pid != 0)
            break;
        (void)poll(NULL, 0, 100);
    }
    return rc;
}

void sql_server_free(struct sql_server **server)
{
    struct sql_server *s = *server;

    if (s == NULL)
        return;
    *server = NULL;
    daemon_quit(&s->daemon, s->kind->quit);
    daemon_dir_remove(s->dir);
    mem_free(s);
}

static int make_dir(struct sql_server *s, struct err *err)
{
    struct daemon *d = &s->daemon;
    int rc = daemon_dir(s->dir, sizeof(s->dir), s->kind->name, err);

    (void)snprintf(s->data, sizeof(s->data), "%s/data", s->dir);
    (void)snprintf(s->log, sizeof(s->log), "%s/log", s->dir);
    if (rc == 0 && d->uid != 0 && chown(s->dir, d->uid, d->gid) != 0)
        rc = err_errno(err, errno, "%s", s->dir);
    return rc;
}

int sql_server_new(struct sql_server **out, const struct sql_server_kind *kind,
                   struct err *err)
{
    struct sql_server *s = mem_zalloc(sizeof(*s));
    const struct passwd *user;
    int rc;

    s->kind = kind;
    s->daemon = (struct daemon){.name = kind->name, .log = s->log};
    if (geteuid() == 0 && kind->user != NULL) {
        user = getpwnam(kind->user);
        user = user != NULL ? user : getpwnam("nobody");
        if (user != NULL) {
            s->daemon.uid = user->pw_uid;
            s->daemon.gid = user->pw_gid;
        }
    }
    rc = make_dir(s, err);
    if (rc == 0)
        rc = make_data(s, err);
    if (rc == 0) {
        s->port = daemon_port();
        rc = sql_server_heal(s, err);
    }
    if (rc != 0) {
        sql_server_free(&s);
        return rc;
    }
    *out = s;
    return 0;
}
