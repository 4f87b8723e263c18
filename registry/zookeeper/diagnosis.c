/*
 * diagnosis.c - why none of the servers gives us a session.
 *
 * The client library tells of a server that does not want us only that there
 * is no connection. So while there is none the servers are asked themselves,
 * one by one, on the opener's thread: do they take a connection, what do they
 * answer to `srvr`, and to a greeting of TLS (which a server without it takes
 * for an absurd length, and hangs up)? And with the first session, how long
 * they wait for their leader. What is found is shown, and decides nothing.
 */
#include "registry/zookeeper/zookeeper_priv.h"

#include "base/buf.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AFTER_MS         1500 /* without a session */
#define EVERY_MS         5000
#define ALL_MS           3000 /* for all servers */
#define ONE_MS           1000 /* for each talk with one */
#define ANSWER_MAX       128
#define USUAL_TIMEOUT_MS 10000 /* syncLimit=5, tickTime=2000 */

/* --- asking a server ----------------------------------------------------- */

/* An old client's hello: whoever speaks TLS answers it, if only to refuse. */
static const char hello[] = "\x16\x03\x01\x00\x31\x01\x00\x00\x2d\x03\x03"
                            "pelorus asks: do you speak TLS ?"
                            "\x00\x00\x06\xc0\x2f\xc0\x2b\x00\x2f\x01\x00";

static bool any(const char *answer, size_t len)
{
    (void)answer;
    return len > 0;
}

/* What is wrong with a server; of several the last one here counts. */
enum finding { UNREACHED, UP, SILENT, NO_MAJORITY, HANGS_UP, SPEAKS_TLS };

static const struct {
    enum trouble what;
    const char *text; /* NULL: the system's */
} findings[] = {
    [UNREACHED] = {TROUBLE_UNREACHABLE, NULL},
    [UP] = {TROUBLE_UNREACHABLE, "it is up and gives us no session"},
    [SILENT] = {TROUBLE_UNREACHABLE,
                "it takes connections and answers nothing"},
    [NO_MAJORITY] = {TROUBLE_NO_QUORUM, "it has no majority of its ensemble"},
    [HANGS_UP] = {TROUBLE_CONNECTIONS,
                  "it hangs up at once: maxClientCnxns is reached, or a proxy "
                  "has no server (stunnel: its log says why)"},
    [SPEAKS_TLS] = {TROUBLE_TLS_REQUIRED,
                    "the port speaks TLS, which this ZooKeeper client does "
                    "not: put stunnel between, or use the plain port"},
};

static ssize_t ask(struct zk_diagnosis *d, const char *server,
                   const char *question, size_t n, char answer[ANSWER_MAX])
{
    return zk_dial(server, question, n, ONE_MS, &d->cancelled, any, answer,
                   ANSWER_MAX);
}

static enum finding examine(struct zk_diagnosis *d, const char *server,
                            char answer[ANSWER_MAX])
{
    ssize_t plain = ask(d, server, "srvr", 4, answer), tls = 0;

    if (plain == ZK_DIAL_UNREACHED)
        return UNREACHED;
    if (strstr(answer, "not currently serving") != NULL)
        return NO_MAJORITY;
    if (answer[0] >= ' ')
        return UP;
    if (answer[0] == '\0')
        tls = ask(d, server, hello, sizeof(hello) - 1, answer);
    if (tls == ZK_DIAL_UNREACHED)
        return UNREACHED;
    if (answer[0] == 0x15 || answer[0] == 0x16)
        return SPEAKS_TLS;
    return plain == ZK_DIAL_HUNG_UP && tls == ZK_DIAL_HUNG_UP ? HANGS_UP
                                                              : SILENT;
}

/* --- asking all of them -------------------------------------------------- */

/* The opener's thread. */
static void run(void *arg)
{
    struct zk_diagnosis *d = arg;
    mono_ms until = clock_mono_ms() + ALL_MS;
    char answer[ANSWER_MAX], *servers, *at, *server;
    enum finding worst = UNREACHED;
    struct buf said;
    size_t n;

    assert(d->running);
    buf_init(&said, 65536);
    servers = at = zk_servers(d->z->hosts, &n);
    while (n > 0 && at != NULL && (server = strsep(&at, ",")) != NULL &&
           clock_mono_ms() < until && !atomic_load(&d->cancelled)) {
        enum finding found = examine(d, server, answer);
        const char *text = findings[found].text;

        worst = found > worst ? found : worst;
        n--; /* the last is there twice where their number was even */
        buf_printf(&said, "%s%s: %s", said.len > 0 ? "; " : "", server,
                   text == NULL ? answer : text);
    }
    d->what = findings[worst].what;
    if (servers == NULL)
        buf_printf(&said, "none of %s has an address", d->z->hosts);
    (void)snprintf(d->detail, sizeof(d->detail), "%s", buf_text(&said));
    buf_close(&said);
    mem_free(servers);
}

static void on_found(void *arg)
{
    struct zk_diagnosis *d = arg;

    assert(d->running);
    d->running = false;
    d->next = zk_now(d->z) + EVERY_MS;
    if (!atomic_load(&d->cancelled) && !zk_stopping(d->z) &&
        !registry_state_is_up(d->z->base.state))
        registry_record_trouble(&d->z->base, d->what, d->detail);
}

/* --- how long they wait for their leader --------------------------------- */

static int64_t number_of(const char *answer, const char *name)
{
    const char *at = strstr(answer, name);

    return at == NULL ? 0 : strtoll(at + strlen(name), NULL, 10);
}

/* The opener's thread. `conf` is not among the words that are allowed by
 * default; `srvr` is, and knows a server that stands alone. */
static void learn(void *arg)
{
    struct zk_diagnosis *d = arg;
    char answer[4096];

    assert(d->running);
    assert(d->compared);
    (void)zk_dial(d->server, "conf", 4, ONE_MS, &d->cancelled, NULL, answer,
                  sizeof(answer));
    d->from_server = strstr(answer, "tickTime=") != NULL;
    d->leader_timeout_ms =
        number_of(answer, "tickTime=") * number_of(answer, "syncLimit=");
    if (!d->from_server) {
        (void)zk_dial(d->server, "srvr", 4, ONE_MS, &d->cancelled, NULL, answer,
                      sizeof(answer));
        d->leader_timeout_ms = strstr(answer, "Mode: leader") != NULL ||
                                       strstr(answer, "Mode: follower") != NULL
                                   ? USUAL_TIMEOUT_MS
                                   : 0;
    }
}

static void on_learned(void *arg)
{
    struct zk_diagnosis *d = arg;
    const struct zookeeper *z = d->z;

    assert(d->running);
    assert(d->compared);
    d->running = false;
    if (atomic_load(&d->cancelled)) {
        d->compared = false;
    } else if (!zk_stopping(z) &&
               z->base.session_timeout_ms < d->leader_timeout_ms) {
        log_warn(
            "!session-timeout", LOG_I("timeout_ms", z->base.session_timeout_ms),
            LOG_I("servers_wait_ms", d->leader_timeout_ms),
            LOG_S("from", d->from_server ? "syncLimit x tickTime of the servers"
                                         : "their usual syncLimit x tickTime; "
                                           "they do not tell theirs"),
            LOG_S("reason", "so long the servers wait for a leader that "
                            "does not answer: each that freezes ends our "
                            "session"),
            LOG_S("advice", "raise registry.zookeeper.session-timeout "
                            "above it"));
    }
}

static void start(struct zookeeper *z, loop_f *fn, loop_f *done)
{
    struct zk_diagnosis *d = &z->diagnosis;

    assert(!d->running);
    assert(!zk_stopping(z));
    d->z = z;
    d->running = true;
    atomic_store(&d->cancelled, false);
    zk_work(z->opener, &d->job, fn, done, d);
}

static void compare(struct zookeeper *z)
{
    struct zk_diagnosis *d = &z->diagnosis;

    if (d->compared || d->running || z->handle == NULL ||
        !registry_state_is_up(z->base.state) || !z->connected)
        return;
    d->compared = true;
    (void)zk_server_text(&z->handle->server, d->server);
    start(z, learn, on_learned);
}

/* --- when ---------------------------------------------------------------- */

void zk_diagnose(struct zookeeper *z)
{
    struct zk_diagnosis *d = &z->diagnosis;
    mono_ms now = zk_now(z);

    assert(!zk_stopping(z));
    compare(z);
    if (registry_state_is_up(z->base.state) || z->connected || d->next == 0)
        d->next = now + AFTER_MS;
    else if (!d->running && now >= d->next)
        start(z, run, on_found);
}
