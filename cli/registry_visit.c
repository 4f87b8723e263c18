/*
 * registry_visit.c - a session at the registry for as long as a command needs
 * it. Design: the loop of a coordinator without the coordinator; the command
 * does its work in callbacks and says when it is over.
 */
#include "cli/registry_command.h"

#include "base/log.h"
#include "registry/trouble.h"

#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MAILBOX_MAX 65536
#define TICK_MS     50
#define CONNECT_MS  20000
#define CLOSE_MS    3000

void cli_visit_name(const struct conf *conf, char *out, size_t size)
{
    const struct conf_registry *r = &conf->registry;
    const char *where = r->type == CONF_SQLITE      ? r->path
                        : r->type == CONF_ZOOKEEPER ? r->connect_string
                        : r->type == CONF_ETCD && r->endpoints.n > 0
                            ? r->endpoints.items[0]
                            : "";

    assert(size > 0);
    (void)snprintf(out, size, "%s%s%s, namespace %s",
                   conf_registry_type_name(r->type),
                   where == NULL || where[0] == '\0' ? "" : " ",
                   where == NULL ? "" : where, r->namespace_);
}

static void name_ourselves(struct visit *v)
{
    char host[HOST_NAME_MAX + 1] = "";
    const struct passwd *user = getpwuid(geteuid());

    assert(v->who[0] == '\0');
    if (gethostname(host, sizeof(host)) != 0)
        host[0] = '\0';
    host[HOST_NAME_MAX] = '\0';
    (void)snprintf(v->who, sizeof(v->who), "%.32s@%.64s/%ld",
                   user != NULL ? user->pw_name : "?", host, (long)getpid());
}

static void say_why(struct visit *v, const struct err *why)
{
    if (v->failed != NULL) {
        v->failed(v, why);
        return;
    }
    (void)fflush(stdout);
    fprintf(stderr, "pelorus: %s\n", why->msg);
}

/* --- the end ------------------------------------------------------------- */

static void on_closed(void *arg)
{
    struct visit *v = arg;

    assert(v->ending);
    assert(v->registry == NULL);
    loop_timer_stop(&v->deadline);
    loop_stop(v->loop);
}

/* What is left behind expires by itself. */
static void on_too_late(void *arg)
{
    struct visit *v = arg;

    assert(v->ending);
    (void)fflush(stdout);
    _exit(v->code);
}

void cli_visit_end(struct visit *v, const struct err *why)
{
    if (v->ending)
        return;
    v->ending = true;
    v->code = why == NULL ? 0 : 1;
    if (why != NULL)
        say_why(v, why);
    loop_timer_stop(&v->ticks);
    loop_timer_stop(&v->deadline);
    registry_unlisten(&v->listener);
    v->deadline = loop_timer(v->loop, CLOSE_MS, 0, on_too_late, v);
    registry_close(&v->registry, on_closed, v);
}

/* --- the beginning ------------------------------------------------------- */

static void on_state(void *arg, enum registry_state state)
{
    struct visit *v = arg;

    assert(!v->ending);
    if (state == REGISTRY_CONNECTED && !v->begun) {
        v->begun = true;
        loop_timer_stop(&v->deadline);
        v->begin(v);
    }
}

static void on_no_session(void *arg)
{
    struct visit *v = arg;
    char name[512];
    struct err err;
    const struct err *trouble = registry_key_trouble(v->registry);
    struct registry_trouble met;

    assert(!v->begun);
    assert(!v->ending);
    cli_visit_name(v->conf, name, sizeof(name));
    if (trouble == NULL && registry_trouble(v->registry, &met))
        err_set(&err, ERR_UNAVAILABLE,
                "no session at the registry (%.120s) within %d s: %s: "
                "%s: %.120s; %s",
                name, CONNECT_MS / 1000, registry_trouble_texts[met.what].code,
                registry_trouble_texts[met.what].title, met.detail,
                registry_trouble_texts[met.what].advice);
    else if (trouble == NULL)
        err_set(&err, ERR_UNAVAILABLE,
                "no session at the registry (%s) within %d s; is it up, "
                "and is this the right configuration?",
                name, CONNECT_MS / 1000);
    else if (trouble->code == ERR_INVALID)
        err_set(&err, ERR_INVALID,
                "%.160s: the key cannot be read. With the registry's own "
                "tool write what it said (`history` in the first line of "
                "a backup of ours), or delete it: docs/going-back.md",
                trouble->msg);
    else
        err_set(&err, trouble->code,
                "no session at the registry (%.120s): %s: %.160s", name,
                HISTORY_KEY, trouble->msg);
    cli_visit_end(v, &err);
}

static void on_tick(void *arg)
{
    struct visit *v = arg;
    const struct err *trouble =
        v->ending ? NULL : registry_key_trouble(v->registry);

    if (v->begun && v->tick != NULL)
        v->tick(v);
    else if (!v->begun && trouble != NULL && trouble->code == ERR_INVALID)
        on_no_session(v); /* it does not heal by waiting */
}

static int open_registry(struct visit *v, struct err *err)
{
    int rc = loop_new(&v->loop, MAILBOX_MAX, err);

    if (rc == 0)
        rc = registry_open(&v->registry, v->loop, &v->conf->registry, err);
    if (rc != 0)
        return rc;
    registry_compare(v->registry, v->who, NULL, false);
    registry_accepting(v->registry);
    v->listener = registry_listen(v->registry, on_state, v);
    v->deadline = loop_timer(v->loop, CONNECT_MS, 0, on_no_session, v);
    v->ticks = loop_timer(v->loop, TICK_MS, TICK_MS, on_tick, v);
    return 0;
}

int cli_visit_run(struct visit *v)
{
    struct err err;

    assert(v->begin != NULL);
    assert(!v->begun);
    assert(v->loop == NULL);
    assert(v->registry == NULL);
    signal(SIGPIPE, SIG_IGN);
    log_configure(v->conf->log_level < LOG_WARN ? v->conf->log_level : LOG_WARN,
                  v->conf->log_format);
    name_ourselves(v);
    if (open_registry(v, &err) != 0) {
        say_why(v, &err);
        loop_free(&v->loop);
        return 1;
    }
    loop_run(v->loop);
    assert(v->ending);
    assert(v->listener == NULL);
    loop_free(&v->loop);
    return v->code;
}
