/*
 * facts.c - what there is to know of ZooKeeper. Its servers tell little: only
 * `srvr` of the four-letter words is allowed everywhere, and nothing tells
 * whether they purge their old snapshots and logs (autopurge, off unless it is
 * set). How large those are `dirs` tells, or the admin server on port 8080,
 * where one of them is allowed.
 */
#include "registry/zookeeper/zookeeper.h"
#include "registry/zookeeper/zookeeper_priv.h"

#include "base/json/json.h"
#include "conf/conf.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ONE_MS     1500
#define ANSWER_MAX 65536
/* Three snapshots and what belongs to them stay with autopurge; logs are made
 * 64 MiB at a time. */
#define LOG_MANY  (2.0 * 1024 * 1024 * 1024)
#define ZXID_END  4294967295.0
#define ZXID_LATE 0.9

static const char purge[] =
    "set autopurge.purgeInterval=1 and autopurge.snapRetainCount=3 in zoo.cfg "
    "of each server and start it again; its log says `Purge task is not "
    "scheduled.` where it is off";

static const atomic_bool never = false; /* nobody calls it off */

static bool tell(const char *server, const char *question, char *answer)
{
    answer[0] = '\0';
    return zk_dial(server, question, strlen(question), ONE_MS, &never, NULL,
                   answer, ANSWER_MAX) > 0;
}

/* --- how large they are -------------------------------------------------- */

static double number_after(const char *answer, const char *name)
{
    const char *at = strstr(answer, name);

    assert(name[0] != '\0');
    return at == NULL ? NAN : strtod(at + strlen(name), NULL);
}

/* Of a server's host; "" where it does not answer. */
static void ask_admin(const char *server, char *answer)
{
    const char *colon = strrchr(server, ':');
    char *at = mem_printf("%.*s:8080",
                          (int)(colon != NULL ? colon - server : 0), server);

    (void)tell(at, "GET /commands/dirs HTTP/1.0\r\nHost: localhost\r\n\r\n",
               answer);
    if (strncmp(answer, "HTTP/", 5) != 0)
        answer[0] = '\0';
    mem_free(at);
}

/* Both are one directory unless dataLogDir is set, and are told twice then. */
static double both(double data, double logs)
{
    return data == logs ? data : data + logs;
}

static double dirs_size(const char *server, char *answer)
{
    double data, logs;

    (void)tell(server, "dirs", answer);
    data = number_after(answer, "datadir_size:");
    logs = number_after(answer, "logdir_size:");
    if (isfinite(data + logs))
        return both(data, logs);
    ask_admin(server, answer);
    data = number_after(answer, "\"datadir_size\" : ");
    logs = number_after(answer, "\"logdir_size\" : ");
    return both(data, logs);
}

static void say_logs(struct registry_facts *out, double size)
{
    char text[FACT_SIZE];

    if (isnan(size)) {
        registry_fact_say(out, FACT_UNKNOWN, "zookeeper_autopurge", purge,
                          "not known: whether old snapshots and logs are "
                          "purged, and how large they are: the servers allow "
                          "neither `dirs` (4lw.commands.whitelist) nor their "
                          "admin server");
        return;
    }
    out->figures[FIGURE_LOG] = size;
    if (size > LOG_MANY)
        registry_fact_say(out, FACT_WARNING, "zookeeper_autopurge", purge,
                          "snapshots and logs of a server have %s: autopurge "
                          "seems to be off",
                          registry_fact_bytes(size, text));
    else
        registry_fact_say(out, FACT_UNKNOWN, "zookeeper_autopurge", purge,
                          "not known: whether old snapshots and logs are "
                          "purged, no server tells; those of one have %s",
                          registry_fact_bytes(size, text));
}

/* --- all of them --------------------------------------------------------- */

struct round {
    size_t n, answer, serving;
    uint64_t zxid;
    double logs; /* the largest */
    char version[48], why[160];
};

static void visit(struct round *r, const char *server, char *answer)
{
    const char *at;
    double size;

    if (!tell(server, "srvr", answer)) {
        (void)snprintf(r->why, sizeof(r->why), "%.60s: %.90s", server, answer);
        return;
    }
    r->answer++;
    at = strstr(answer, "Zxid: 0x");
    if (at == NULL) {
        (void)snprintf(r->why, sizeof(r->why), "%.60s: it does not serve",
                       server);
        return;
    }
    r->serving++;
    r->zxid = strtoull(at + strlen("Zxid: "), NULL, 16) > r->zxid
                  ? strtoull(at + strlen("Zxid: "), NULL, 16)
                  : r->zxid;
    at = strstr(answer, "version: ");
    if (at != NULL)
        (void)snprintf(r->version, sizeof(r->version), "%.*s",
                       (int)strcspn(at + 9, "-, \n"), at + 9);
    size = dirs_size(server, answer);
    if (isnan(r->logs) || size > r->logs)
        r->logs = size;
}

static void say_servers(struct registry_facts *out, const struct round *r)
{
    assert(r->serving <= r->n);
    if (r->serving == r->n)
        registry_fact_say(out, FACT_OK, "zookeeper_servers", NULL,
                          "all %zu addresses serve, version %s", r->n,
                          r->version);
    else
        registry_fact_say(out, r->serving == 0 ? FACT_UNKNOWN : FACT_WARNING,
                          "zookeeper_servers",
                          r->serving == 0 ? NULL
                                          : "start it again, or take it out of "
                                            "connect-string",
                          "%s%zu of %zu addresses serve: %s",
                          r->serving == 0 ? "not known: " : "", r->serving,
                          r->n, r->why);
}

/* Its lower half counts writes, and a leader steps down at its end. */
static void say_writes(struct registry_facts *out, const struct round *r,
                       const struct registry_sample *before)
{
    double count = (double)(r->zxid & 0xffffffff);
    bool late = count / ZXID_END > ZXID_LATE;

    out->sample.position = r->zxid;
    if (before != NULL && before->position >> 32 == r->zxid >> 32)
        registry_facts_rates(out, before);
    if (isfinite(out->figures[FIGURE_WRITES]))
        registry_fact_say(out, FACT_OK, "zookeeper_writes", NULL,
                          "%.0f writes a minute, about 440 bytes of log each",
                          out->figures[FIGURE_WRITES]);
    if (late)
        registry_fact_say(out, FACT_WARNING, "zookeeper_zxid",
                          "restart the leader in a quiet hour: that begins a "
                          "new epoch",
                          "%.0f %% of the zxids of this epoch are used; at "
                          "their end the leader steps down",
                          100 * count / ZXID_END);
}

void zookeeper_facts(const struct conf_registry *conf,
                     const struct registry_sample *before,
                     struct registry_facts *out)
{
    const char *slash = strchrnul(conf->connect_string, '/');
    char *hosts = mem_strndup(conf->connect_string,
                              (size_t)(slash - conf->connect_string));
    struct round r = {.logs = NAN};
    char *servers = zk_servers(hosts, &r.n), *at = servers, *server;
    char *answer = mem_zalloc(ANSWER_MAX);
    size_t left = r.n; /* the last may stand there twice */

    (void)snprintf(out->where, sizeof(out->where), "%s", hosts);
    (void)snprintf(r.why, sizeof(r.why), "no address");
    while (servers != NULL && left-- > 0 && (server = strsep(&at, ",")) != NULL)
        visit(&r, server, answer);
    say_servers(out, &r);
    say_logs(out, r.logs);
    if (r.serving > 0)
        say_writes(out, &r, before);
    mem_free(answer);
    mem_free(servers);
    mem_free(hosts);
}
