/*
 * api.c - running coordinators, each asked for /v1/cluster: are they ready, of
 * one version, and what do they know of brake, pause, troubles and their store?
 */
#include "cli/cli_priv.h"
#include "cli/doctor/doctor_priv.h"

#include "base/json/json.h"
#include "base/mem.h"
#include "conf/urls.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define CLOCK_MAX_MS 3000

static const char *or_dash(const char *text)
{
    return text != NULL ? text : "-";
}

/* --- the registry as it sees it ------------------------------------------ */

static enum fact_verdict verdict_of(const char *name)
{
    for (int v = FACT_OK; v <= FACT_PROBLEM; v++)
        if (name != NULL &&
            strcmp(name, registry_fact_verdict_name((enum fact_verdict)v)) == 0)
            return (enum fact_verdict)v;
    return FACT_UNKNOWN;
}

static void say_store(struct doctor *d, const char *url,
                      const struct json *registry)
{
    const struct json *store = json_get(registry, "store"), *f;
    char where[192];

    if (!json_is(store, JSON_OBJECT)) {
        doctor_say(d, FACT_UNKNOWN, "store", url, NULL,
                   "not known: it has not read its store's facts yet");
        return;
    }
    (void)snprintf(where, sizeof(where), "%s: %s", url,
                   or_dash(json_str(store, "where")));
    json_each (f, json_get(store, "facts")) {
        const char *name = json_str(f, "name");

        if (name != NULL && name[0] != '\0')
            doctor_say(d, verdict_of(json_str(f, "verdict")), name, where,
                       json_str(f, "advice"), "%s",
                       or_dash(json_str(f, "text")));
    }
}

static void say_registry(struct doctor *d, const char *url,
                         const struct json *registry)
{
    const struct json *trouble = json_get(registry, "trouble");
    const struct json *back = json_get(registry, "went_back");
    const char *state = or_dash(json_str(registry, "state"));
    bool up =
        strcmp(state, "connected") == 0 || strcmp(state, "reconnected") == 0;

    if (json_is(trouble, JSON_OBJECT))
        doctor_say(d, FACT_PROBLEM, "registry", url,
                   json_str(trouble, "advice"), "%s: %s",
                   or_dash(json_str(trouble, "title")),
                   or_dash(json_str(trouble, "detail")));
    else if (json_is(back, JSON_OBJECT))
        doctor_say(d, FACT_PROBLEM, "registry", url,
                   "put the right store back, or: pelorus registry "
                   "accept-restore -c FILE",
                   "it went back: %s", or_dash(json_str(back, "why")));
    else
        doctor_say(d, up ? FACT_OK : FACT_PROBLEM, "registry", url, NULL,
                   "%s, %s", or_dash(json_str(registry, "type")), state);
    say_store(d, url, registry);
}

/* --- the coordinator itself ---------------------------------------------- */

static void say_versions(struct doctor *d, const char *url,
                         const struct json *all)
{
    const char *first = NULL;
    const struct json *each;
    bool mixed = false;

    json_each (each, all) {
        const char *version = or_dash(json_str(each, "version"));

        mixed |= first != NULL && strcmp(first, version) != 0;
        first = version;
    }
    doctor_say(d, mixed ? FACT_WARNING : FACT_OK, "coordinators", url,
               mixed ? "bring all coordinators to one version" : NULL,
               "%zu on this registry, %s%s", json_count(all),
               mixed ? "of several versions, one of them " : "version ",
               or_dash(first));
}

static void say_engines(struct doctor *d, const char *url,
                        const struct json *failover)
{
    const struct json *e;
    bool braked = false;

    json_each (e, failover) {
        const char *brake = json_str(e, "brake");

        if (!json_is(e, JSON_OBJECT) || brake == NULL)
            continue;
        braked = true;
        doctor_say(d, FACT_WARNING, "brake", url, json_str(e, "lift"),
                   "failovers of %s are held: %s", e->key, brake);
    }
    if (json_bool(failover, "paused", false))
        doctor_say(d, FACT_WARNING, "pause", url, "pelorus resume",
                   "failovers are paused for all, by %s",
                   or_dash(json_str(failover, "who")));
    else if (!braked)
        doctor_say(d, FACT_OK, "failover", url, NULL,
                   "neither brake nor pause holds it");
    if (json_str(failover, "brake_override_until") != NULL)
        doctor_say(d, FACT_WARNING, "brake", url, "pelorus brake --undo",
                   "the brake is overridden until %s",
                   json_str(failover, "brake_override_until"));
}

static void say_rest(struct doctor *d, const char *url,
                     const struct json *cluster)
{
    const struct json *problems = json_get(cluster, "problems");
    const struct json *http = json_get(cluster, "http");
    double keys = json_num(problems, "keys", 0);
    double nodes = json_num(problems, "nodes", 0);
    double used = json_num(http, "connections", 0);
    double most = json_num(http, "max_connections", 0);
    double dropped = json_num(json_get(cluster, "log"), "dropped", 0);
    bool crowded = most > 0 && used > 0.8 * most;

    doctor_say(d, keys + nodes > 0 ? FACT_WARNING : FACT_OK, "registry_keys",
               url,
               keys + nodes > 0 ? "pelorus status --json lists them, pelorus "
                                  "nodes says what is wrong with each"
                                : NULL,
               "%.0f keys and %.0f nodes cannot be used as they stand there",
               keys, nodes);
    doctor_say(d, crowded ? FACT_WARNING : FACT_OK, "http_connections", url,
               crowded ? "raise http.max-connections and the limit of files"
                       : NULL,
               "%.0f of %.0f connections are taken", used, most);
    doctor_say(d, dropped > 0 ? FACT_WARNING : FACT_OK, "log", url,
               dropped > 0 ? "let somebody read standard error, or set "
                             "log.file"
                           : NULL,
               "%.0f lines found no reader", dropped);
}

/* Its Date is a whole second. */
static void say_clock(struct doctor *d, const char *url, wall_ms theirs,
                      wall_ms before, wall_ms after)
{
    double ahead = (double)(theirs - 500 - (before + after) / 2) / 1000;
    bool far = fabs(ahead) * 1000 > CLOCK_MAX_MS;

    doctor_say(d, far ? FACT_WARNING : FACT_OK, "clock_difference", url,
               far ? "let both hosts follow one clock (chrony, ntp)" : NULL,
               "its clock is %.1f s %s ours", fabs(ahead),
               ahead < 0 ? "behind" : "ahead of");
}

static void say_cluster(struct doctor *d, const char *url,
                        const struct json *cluster)
{
    bool stale = json_bool(cluster, "stale", false);

    doctor_say(d, stale ? FACT_WARNING : FACT_OK, "coordinator", url, NULL,
               "it answers, %s %s", stale ? "and what it knows is as of" : "as",
               or_dash(json_str(cluster, stale ? "as_of" : "self")));
    say_versions(d, url, json_get(cluster, "coordinators"));
    say_registry(d, url, json_get(cluster, "registry"));
    say_engines(d, url, json_get(cluster, "failover"));
    say_rest(d, url, cluster);
}

static void examine(struct doctor *d, const char *url)
{
    wall_ms before, after;
    struct cli c;

    cli_init(&c);
    c.url = url;
    c.command = "doctor";
    buf_str(&c.path, "/v1/cluster");
    before = clock_wall_ms();
    c.now = 0;
    if (cli_send(&c, "GET") != 0 || !json_is(c.document, JSON_OBJECT)) {
        doctor_say(d, FACT_PROBLEM, "coordinator", url,
                   "is pelorus serve running there? its log says why not", "%s",
                   c.status == 0 ? "it does not answer"
                                 : "it answers what no coordinator does");
    } else {
        after = clock_wall_ms();
        say_cluster(d, url, c.document);
        if (c.now != 0)
            say_clock(d, url, c.now, before, after);
    }
    cli_close(&c);
}

void doctor_api(struct doctor *d)
{
    struct urls urls;
    struct err err;
    int rc = conf_urls_parse(&urls, d->urls, &err);

    assert(rc == 0); /* cli_check_url() */
    (void)rc;
    for (size_t i = 0; i < urls.n; i++)
        examine(d, urls.list[i]);
    conf_urls_close(&urls);
}
