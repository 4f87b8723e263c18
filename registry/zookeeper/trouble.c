/*
 * trouble.c - what the servers refuse, by name, and why none of them
 * gives us a session.
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

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QUOTA_EXCEEDED    (-125) /* the client has no name for it */
#define AFTER_MS          1500   /* without a session */
#define EVERY_MS          5000
#define ALL_MS            3000 /* for all servers */
#define ONE_MS            500  /* for each step with one */
#define SLICE_MS          50
#define ANSWER_MAX        128
#define USUAL_PATIENCE_MS 10000 /* syncLimit=5, tickTime=2000 */

/* --- what they say -------------------------------------------------------- */

const char *zk_error(int rc)
{
    switch (rc) {
    case ZNOAUTH:
        return "not permitted to us (registry.zookeeper.digest)";
    case QUOTA_EXCEEDED:
        return "the quota of the path, or of one above it, is used up";
    case ZTHROTTLEDOP:
        return "the server is overloaded and did not carry it out";
    case ZSESSIONCLOSEDREQUIRESASLAUTH:
        return "the servers demand that their clients authenticate "
               "(enforce.auth.schemes); we can by registry.zookeeper.digest "
               "only, not by SASL";
    default:
        return zerror(rc);
    }
}

static enum trouble trouble_of(int rc)
{
    switch (rc) {
    case ZNOAUTH:
    case ZINVALIDACL:
        return TROUBLE_FORBIDDEN;
    case QUOTA_EXCEEDED:
        return TROUBLE_QUOTA;
    case ZTHROTTLEDOP:
        return TROUBLE_THROTTLED;
    case ZSESSIONCLOSEDREQUIRESASLAUTH:
        return TROUBLE_AUTH_DEMANDED;
    case ZNOTREADONLY:
        return TROUBLE_READ_ONLY;
    case ZSYSTEMERROR:
    case ZUNIMPLEMENTED:
        return TROUBLE_REFUSED;
    default: /* of nodes, or of the connection */
        return TROUBLE_NONE;
    }
}

/* Of several operations the one that failed says why. */
static int reason(const struct zk_request *q)
{
    for (int i = 0; q->type == ZK_MULTI && i < q->n_ops; i++) {
        int rc = q->results[i].err;

        if (rc != ZOK && rc != ZRUNTIMEINCONSISTENCY)
            return rc;
    }
    return q->rc;
}

void zk_met(struct zookeeper *z, const struct zk_request *q)
{
    int rc = q->rc == ZOK ? ZOK : reason(q);
    char detail[ERR_MSG_MAX];

    if (trouble_of(rc) == TROUBLE_NONE)
        return;
    (void)snprintf(detail, sizeof(detail), "%s: %s",
                   q->call != NULL && q->call->n_ops > 0 ? q->call->ops[0].key
                                                         : q->path,
                   zk_error(rc));
    registry_met(&z->base, trouble_of(rc), detail);
}

/* --- asking a server ------------------------------------------------------ */

/* An old client's hello: whoever speaks TLS answers it, if only to refuse. */
static const char hello[] = "\x16\x03\x01\x00\x31\x01\x00\x00\x2d\x03\x03"
                            "pelorus asks: do you speak TLS ?"
                            "\x00\x00\x06\xc0\x2f\xc0\x2b\x00\x2f\x01\x00";

static bool await(struct zk_diagnosis *d, int fd, short events, mono_ms until)
{
    struct pollfd p = {.fd = fd, .events = events};

    while (!atomic_load(&d->cancelled) && clock_mono_ms() < until)
        if (poll(&p, 1, SLICE_MS) == 1)
            return true;
    return false;
}

static int reach(struct zk_diagnosis *d, const struct addrinfo *a, char *why,
                 size_t size)
{
    int fd =
        socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int error = 0;
    socklen_t len = sizeof(error);

    if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) != 0 &&
        errno == EINPROGRESS) {
        error = !await(d, fd, POLLOUT, clock_mono_ms() + ONE_MS) ? ETIMEDOUT
                : getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0
                    ? errno
                    : error;
    } else if (fd < 0 || errno != 0) {
        error = errno;
    }
    if (error == 0 && fd >= 0)
        return fd;
    (void)snprintf(why, size, "%s", strerror(error));
    if (fd >= 0)
        (void)close(fd);
    return -1;
}

/* What it answers; false: it cannot be reached. *hung_up: it ended it. */
static bool ask(struct zk_diagnosis *d, const struct addrinfo *a,
                const char *question, size_t n, char answer[ANSWER_MAX],
                bool *hung_up)
{
    mono_ms until;
    ssize_t got = -1;
    int fd;

    errno = 0;
    fd = reach(d, a, answer, ANSWER_MAX);
    if (fd < 0)
        return false;
    until = clock_mono_ms() + ONE_MS;
    (void)send(fd, question, n, MSG_NOSIGNAL);
    if (await(d, fd, POLLIN, until)) {
        got = recv(fd, answer, ANSWER_MAX - 1, 0);
        *hung_up = got <= 0;
    }
    answer[got > 0 ? got : 0] = '\0';
    (void)close(fd);
    return true;
}

static enum trouble judge(struct zk_diagnosis *d, const struct addrinfo *a,
                          char why[ANSWER_MAX])
{
    bool hung_up = false, tls_hung_up = false;
    char answer[ANSWER_MAX];

    if (!ask(d, a, "srvr", 4, answer, &hung_up)) {
        (void)snprintf(why, ANSWER_MAX, "%s", answer);
        return TROUBLE_UNREACHABLE;
    }
    if (strstr(answer, "not currently serving") != NULL) {
        (void)snprintf(why, ANSWER_MAX, "it has no majority of its ensemble");
        return TROUBLE_NO_QUORUM;
    }
    if (answer[0] >= ' ') {
        (void)snprintf(why, ANSWER_MAX, "it is up and gives us no session");
        return TROUBLE_UNREACHABLE;
    }
    if (answer[0] == '\0' &&
        !ask(d, a, hello, sizeof(hello) - 1, answer, &tls_hung_up)) {
        (void)snprintf(why, ANSWER_MAX, "%s", answer);
        return TROUBLE_UNREACHABLE;
    }
    if (answer[0] == 0x15 || answer[0] == 0x16) {
        (void)snprintf(why, ANSWER_MAX,
                       "the port speaks TLS, which this ZooKeeper client does "
                       "not: put stunnel between, or use the plain port");
        return TROUBLE_TLS_REQUIRED;
    }
    if (hung_up && tls_hung_up) {
        (void)snprintf(why, ANSWER_MAX,
                       "it hangs up at once: maxClientCnxns is reached, or a "
                       "proxy has no server (stunnel: its log says why)");
        return TROUBLE_CONNECTIONS;
    }
    (void)snprintf(why, ANSWER_MAX, "it takes connections and answers nothing");
    return TROUBLE_UNREACHABLE;
}

/* --- asking all of them --------------------------------------------------- */

/* "1.2.3.4:2181", "::1:2181" as zk_servers() writes it. A getaddrinfo(). */
static int address_of(char *server, struct addrinfo **out)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    char *colon = strrchr(server, ':');
    int rc;

    if (colon == NULL)
        return EAI_NONAME;
    *colon = '\0';
    rc = getaddrinfo(server, colon + 1, &hints, out);
    *colon = ':';
    return rc;
}

static enum trouble judge_text(struct zk_diagnosis *d, char *server,
                               char why[ANSWER_MAX])
{
    enum trouble what = TROUBLE_UNREACHABLE;
    struct addrinfo *a = NULL;
    int rc = address_of(server, &a);

    if (rc != 0) {
        (void)snprintf(why, ANSWER_MAX, "%s", gai_strerror(rc));
        return what;
    }
    what = judge(d, a, why);
    freeaddrinfo(a);
    return what;
}

static int weight(enum trouble t)
{
    return t == TROUBLE_TLS_REQUIRED  ? 4
           : t == TROUBLE_CONNECTIONS ? 3
           : t == TROUBLE_NO_QUORUM   ? 2
                                      : 1;
}

/* The opener's thread. */
static void run(void *arg)
{
    struct zk_diagnosis *d = arg;
    mono_ms until = clock_mono_ms() + ALL_MS;
    char why[ANSWER_MAX], *servers, *at, *server;
    struct buf said;
    size_t n;

    d->what = TROUBLE_NONE;
    buf_init(&said, 65536);
    servers = at = zk_servers(d->z->hosts, &n);
    while (n > 0 && at != NULL && (server = strsep(&at, ",")) != NULL &&
           clock_mono_ms() < until && !atomic_load(&d->cancelled)) {
        enum trouble what = judge_text(d, server, why);

        if (d->what == TROUBLE_NONE || weight(what) > weight(d->what))
            d->what = what;
        n--; /* the last is there twice where their number was even */
        buf_printf(&said, "%s%s: %s", said.len > 0 ? "; " : "", server, why);
    }
    if (servers == NULL) {
        d->what = TROUBLE_UNREACHABLE;
        buf_printf(&said, "none of %s has an address", d->z->hosts);
    }
    (void)snprintf(d->detail, sizeof(d->detail), "%s", buf_text(&said));
    buf_close(&said);
    mem_free(servers);
}

static void on_found(void *arg)
{
    struct zk_diagnosis *d = arg;

    d->running = false;
    d->next = loop_clock(d->z->base.loop)->mono + EVERY_MS;
    if (!atomic_load(&d->cancelled) && !zk_stopping(d->z) &&
        !registry_state_is_up(d->z->base.state))
        registry_met(&d->z->base, d->what, d->detail);
}

/* --- how long they wait for their leader ---------------------------------- */

/* All of its answer, as far as there is room. */
static void ask_all(struct zk_diagnosis *d, const char word[4], char *answer,
                    size_t size)
{
    struct addrinfo *a = NULL;
    mono_ms until = clock_mono_ms() + ONE_MS;
    size_t n = 0;
    ssize_t got = 1;
    int fd;

    answer[0] = '\0';
    errno = 0;
    fd = address_of(d->server, &a) != 0 ? -1 : reach(d, a, answer, size);
    if (fd >= 0) {
        (void)send(fd, word, 4, MSG_NOSIGNAL);
        while (got > 0 && n < size - 1 && await(d, fd, POLLIN, until)) {
            got = recv(fd, answer + n, size - 1 - n, 0);
            n += got > 0 ? (size_t)got : 0;
        }
        (void)close(fd);
    }
    answer[n] = '\0';
    if (a != NULL)
        freeaddrinfo(a);
}

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

    ask_all(d, "conf", answer, sizeof(answer));
    d->told = strstr(answer, "tickTime=") != NULL;
    d->patience_ms =
        number_of(answer, "tickTime=") * number_of(answer, "syncLimit=");
    if (!d->told) {
        ask_all(d, "srvr", answer, sizeof(answer));
        d->patience_ms = strstr(answer, "Mode: leader") != NULL ||
                                 strstr(answer, "Mode: follower") != NULL
                             ? USUAL_PATIENCE_MS
                             : 0;
    }
}

static void on_learned(void *arg)
{
    struct zk_diagnosis *d = arg;
    const struct zookeeper *z = d->z;

    d->running = false;
    if (atomic_load(&d->cancelled)) {
        d->compared = false;
    } else if (!zk_stopping(z) && z->base.session_timeout_ms < d->patience_ms) {
        log_warn("!session-timeout",
                 LOG_I("timeout_ms", z->base.session_timeout_ms),
                 LOG_I("servers_wait_ms", d->patience_ms),
                 LOG_S("from", d->told ? "syncLimit x tickTime of the servers"
                                       : "their usual syncLimit x tickTime; "
                                         "they do not tell theirs"),
                 LOG_S("reason", "so long the servers wait for a leader that "
                                 "does not answer: each that freezes ends our "
                                 "session"),
                 LOG_S("advice", "raise registry.zookeeper.session-timeout "
                                 "above it"));
    }
}

static void compare(struct zookeeper *z)
{
    struct zk_diagnosis *d = &z->diagnosis;
    int rc;

    if (d->compared || d->running || z->handle == NULL ||
        !registry_state_is_up(z->base.state) || !z->connected)
        return;
    d->z = z;
    d->compared = d->running = true;
    atomic_store(&d->cancelled, false);
    (void)zk_server_text(&z->handle->server, d->server);
    rc = worker_submit(z->opener, &d->job, learn, on_learned, d);
    assert(rc == 0);
    (void)rc;
}

/* --- when ----------------------------------------------------------------- */

void zk_diagnose(struct zookeeper *z)
{
    struct zk_diagnosis *d = &z->diagnosis;
    mono_ms now = loop_clock(z->base.loop)->mono;
    int rc;

    compare(z);
    if (registry_state_is_up(z->base.state) || z->connected) {
        d->next = now + AFTER_MS;
        return;
    }
    if (d->next == 0)
        d->next = now + AFTER_MS;
    if (d->running || now < d->next)
        return;
    d->z = z;
    d->running = true;
    atomic_store(&d->cancelled, false);
    rc = worker_submit(z->opener, &d->job, run, on_found, d);
    assert(rc == 0);
    (void)rc;
}

void zk_diagnosis_yield(struct zookeeper *z)
{
    atomic_store(&z->diagnosis.cancelled, true);
}
