/*
 * facts.c - what there is to know of etcd before it is full: each member is
 * asked for its size (/v3/maintenance/status), its quota and how far it was
 * compacted (/metrics, which knows both; of 3.6 and later the status tells the
 * quota), one of them whether revision 1 can still be read.
 *
 * Every write is a revision, which stays until somebody compacts. A database
 * that reaches its quota takes no write any more, compacted or not, until it
 * was compacted, defragmented and its alarm disarmed.
 */
#include "registry/etcd/etcd.h"

#include "base/json/json.h"
#include "base/library/curl.h"
#include "base/mem.h"
#include "base/pack/base64.h"
#include "conf/conf.h"
#include "registry/etcd/http.h"
#include "registry/etcd/wire.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CONNECT_MS    2000
#define CALL_MS       4000
#define ANSWER_MAX    ((size_t)4 << 20)
#define QUOTA_DEFAULT (2.0 * 1024 * 1024 * 1024)
#define BYTES_EACH    473.0 /* of a heartbeat's revision: docs/sizing.md */
#define MANY          10000 /* revisions without compaction: not by chance */
#define NEARLY        0.8   /* of the quota */
#define LAST          0.95
#define DAY_S         86400.0
#define HOUR_S        3600.0

static const char compact[] =
    "start every member with --auto-compaction-mode=periodic "
    "--auto-compaction-retention=1h; now: etcdctl compact REVISION, then "
    "etcdctl defrag, one member at a time";

/* --- one request --------------------------------------------------------- */

struct member {
    const struct conf_registry *conf;
    const char *endpoint;
    char *token; /* or NULL */
    struct buf body, answer;
    double date; /* seconds, of the last answer; NAN */
    wall_ms asked;
    char problem[CURL_ERROR_SIZE];
};

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
    struct member *m = arg;

    buf_add(&m->answer, data, size * n);
    return m->answer.overflow ? 0 : size * n;
}

static size_t on_head(char *line, size_t size, size_t n, void *arg)
{
    static const char name[] = "Date:";
    struct member *m = arg;
    size_t len = size * n;

    if (len > sizeof(name) && strncasecmp(line, name, sizeof(name) - 1) == 0) {
        char *text =
            mem_strndup(line + sizeof(name) - 1, len - (sizeof(name) - 1));
        time_t at = libcurl.curl_getdate(text, NULL);

        m->date = at >= 0 ? (double)at : NAN;
        mem_free(text);
    }
    return len;
}

static void set_options(CURL *c, struct member *m)
{
    (void)libcurl.curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS,
                                   (long)CONNECT_MS);
    (void)libcurl.curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)CALL_MS);
    (void)libcurl.curl_easy_setopt(c, CURLOPT_ERRORBUFFER, m->problem);
    (void)libcurl.curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_data);
    (void)libcurl.curl_easy_setopt(c, CURLOPT_WRITEDATA, m);
    (void)libcurl.curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_head);
    (void)libcurl.curl_easy_setopt(c, CURLOPT_HEADERDATA, m);
    if (m->body.len > 0)
        (void)libcurl.curl_easy_setopt(c, CURLOPT_POSTFIELDS,
                                       buf_text(&m->body));
}

/* A POST of m->body, or a GET without one; the HTTP status, 0: m->problem. */
static long ask(struct member *m, const char *path)
{
    CURL *c = libcurl.curl_easy_init();
    const struct etcd_reach reach = etcd_reach_of(m->conf);
    struct curl_slist *head = NULL, *via;
    char *line = NULL;
    long status = 0;
    CURLcode rc;

    assert(c != NULL);
    buf_reset(&m->answer);
    m->problem[0] = '\0';
    m->date = NAN;
    m->asked = clock_wall_ms();
    via = etcd_http_aim(c, &reach, m->endpoint, path);
    set_options(c, m);
    head = libcurl.curl_slist_append(head, "Content-Type: application/json");
    if (m->token != NULL) {
        line = mem_printf("Authorization: %s", m->token);
        head = libcurl.curl_slist_append(head, line);
    }
    (void)libcurl.curl_easy_setopt(c, CURLOPT_HTTPHEADER, head);
    rc = libcurl.curl_easy_perform(c);
    if (rc == CURLE_OK)
        (void)libcurl.curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    else if (m->problem[0] == '\0')
        (void)snprintf(m->problem, sizeof(m->problem), "%s",
                       libcurl.curl_easy_strerror(rc));
    libcurl.curl_easy_cleanup(c);
    libcurl.curl_slist_free_all(head);
    libcurl.curl_slist_free_all(via);
    mem_free(line);
    return status;
}

/* The answer, if it is JSON and a 200; the caller's. */
static const struct json *ask_json(struct member *m, const char *path)
{
    const struct json *root = NULL;
    long status = ask(m, path);

    if (status == 200 &&
        json_parse(m->answer.data, m->answer.len, &root, NULL) == 0)
        return root;
    if (m->problem[0] == '\0')
        (void)snprintf(m->problem, sizeof(m->problem), "it answers %ld: %.120s",
                       status, buf_text(&m->answer));
    return NULL;
}

static void log_in(struct member *m)
{
    const struct json *root;
    const char *token;

    assert(m->token == NULL);
    if (m->conf->user == NULL || m->conf->user[0] == '\0')
        return;
    json_open(&m->body, NULL, '{');
    json_put_str(&m->body, "name", m->conf->user);
    json_put_str(&m->body, "password",
                 m->conf->password != NULL ? m->conf->password : "");
    json_close(&m->body, '}');
    root = ask_json(m, "/v3/auth/authenticate");
    token = json_str(root, "token");
    if (token != NULL)
        m->token = mem_strdup(token);
    json_free(root);
    buf_reset(&m->body);
}

/* --- one member ---------------------------------------------------------- */

struct status {
    double size, used, compacted; /* NAN: not known */
    double quota;                 /* negative: it has none */
    uint64_t revision;
    bool no_space, other_alarm;
    char version[32];
    double ahead; /* seconds */
};

/* "name 2.147483648e+09" in the text of /metrics. */
static double metric(const char *text, const char *name)
{
    size_t n = strlen(name);

    for (const char *at = strstr(text, name); at != NULL;
         at = strstr(at + n, name))
        if ((at == text || at[-1] == '\n') && at[n] == ' ')
            return strtod(at + n, NULL);
    return NAN;
}

static void take_alarms(const struct json *root, struct status *s)
{
    const struct json *each;

    json_each (each, json_get(root, "errors")) {
        const char *text = json_string(each);

        if (text == NULL)
            continue;
        s->no_space |= strstr(text, "NOSPACE") != NULL;
        s->other_alarm |= strstr(text, "NOSPACE") == NULL;
    }
}

/* False: it does not answer, and m->problem says why. */
static bool ask_status(struct member *m, struct status *s)
{
    const struct json *root;
    uint64_t quota;

    *s = (struct status){.quota = NAN, .compacted = NAN, .ahead = NAN};
    buf_str(&m->body, "{}");
    root = ask_json(m, "/v3/maintenance/status");
    buf_reset(&m->body);
    if (root == NULL)
        return false;
    s->size = (double)json_u64(root, "dbSize", 0);
    s->used = (double)json_u64(root, "dbSizeInUse", 0);
    quota = json_u64(root, "dbSizeQuota", 0);
    s->quota = quota > 0 ? (double)quota : NAN;
    s->revision = json_u64(json_get(root, "header"), "revision", 0);
    (void)snprintf(s->version, sizeof(s->version), "%s",
                   json_str(root, "version") != NULL ? json_str(root, "version")
                                                     : "?");
    if (isfinite(m->date)) /* it tells whole seconds */
        s->ahead = m->date + 0.5 - (double)(m->asked + clock_wall_ms()) / 2000;
    take_alarms(root, s);
    json_free(root);
    if (ask(m, "/metrics") == 200) {
        const char *text = buf_text(&m->answer);

        if (isnan(s->quota))
            s->quota = metric(text, "etcd_server_quota_backend_bytes");
        s->compacted = metric(text, "etcd_debugging_mvcc_compact_revision");
    }
    return true;
}

/* Where no metrics are told: is the first revision there? */
static void probe_first(struct member *m, struct status *s)
{
    const struct json *root;
    char *key;

    if (isfinite(s->compacted) || s->revision < 2)
        return;
    key = mem_printf("%s/", m->conf->namespace_);
    buf_str(&m->body, "{\"key\":\"");
    base64_write(&m->body, key, strlen(key));
    buf_str(&m->body, "\",\"revision\":\"1\",\"limit\":\"1\"}");
    root = ask_json(m, "/v3/kv/range");
    if (root != NULL)
        s->compacted = 0;
    json_free(root);
    buf_reset(&m->body);
    mem_free(key);
}

/* --- saying -------------------------------------------------------------- */

static void say_members(struct registry_facts *out, size_t n, size_t answer,
                        const char *why, bool mixed, const char *version)
{
    assert(answer <= n);
    if (answer < n)
        registry_fact_say(out, answer == 0 ? FACT_UNKNOWN : FACT_WARNING,
                          "etcd_members",
                          answer == 0 ? NULL
                                      : "start it again, or take it out of "
                                        "registry.endpoints",
                          "%s%zu of %zu members answer: %s",
                          answer == 0 ? "not known: " : "", answer, n, why);
    else
        registry_fact_say(out, mixed ? FACT_WARNING : FACT_OK, "etcd_members",
                          mixed ? "bring all to one version" : NULL,
                          "all %zu members answer%s%s", n,
                          mixed ? ", of several versions, one of them "
                                : ", version ",
                          version);
}

static void say_size(struct registry_facts *out, const struct status *s)
{
    double quota = isfinite(s->quota) ? s->quota : QUOTA_DEFAULT;
    double share = quota > 0 ? s->size / quota : 0;
    char a[FACT_SIZE], b[FACT_SIZE] = "no quota", c[FACT_SIZE];
    enum fact_verdict verdict = s->no_space || share >= LAST ? FACT_PROBLEM
                                : share >= NEARLY            ? FACT_WARNING
                                                             : FACT_OK;

    out->figures[FIGURE_SIZE] = s->size;
    out->figures[FIGURE_USED] = out->sample.used = s->used;
    if (quota >= 0) { /* else --quota-backend-bytes=-1: the disk's end */
        out->figures[FIGURE_QUOTA] = quota;
        (void)registry_fact_bytes(quota, b);
    }
    registry_fact_say(
        out, verdict, "etcd_size",
        s->no_space ? "etcdctl compact REVISION; etcdctl defrag; etcdctl "
                      "alarm disarm; or more --quota-backend-bytes"
        : verdict != FACT_OK
            ? "etcdctl compact REVISION, then etcdctl defrag; or more "
              "--quota-backend-bytes"
            : NULL,
        "%s%s of %s%s, %s in use", s->no_space ? "no space left: " : "",
        registry_fact_bytes(s->size, a), b,
        isfinite(s->quota) ? "" : " (its default; it does not tell its quota)",
        registry_fact_bytes(s->used, c));
    if (s->other_alarm)
        registry_fact_say(out, FACT_PROBLEM, "etcd_alarm",
                          "etcdctl alarm list says which",
                          "a member has an alarm");
}

/* True: nobody compacts, as far as can be told. */
static bool say_compaction(struct registry_facts *out, const struct status *s)
{
    double kept = (double)s->revision - s->compacted;
    bool never = s->compacted <= 1;

    if (isnan(s->compacted)) {
        registry_fact_say(out, FACT_UNKNOWN, "etcd_compaction", compact,
                          "not known: its /metrics cannot be read, and it was "
                          "compacted once at least");
        return false;
    }
    out->figures[FIGURE_HISTORY] = kept;
    if (never && s->revision > MANY)
        registry_fact_say(
            out, FACT_WARNING, "etcd_compaction", compact,
            "compaction is absent, or was not due yet: all %" PRIu64
            " revisions since its beginning are kept",
            s->revision);
    else if (never)
        registry_fact_say(out, FACT_UNKNOWN, "etcd_compaction", compact,
                          "not known yet: of only %" PRIu64
                          " revisions none was compacted",
                          s->revision);
    else
        registry_fact_say(out, FACT_OK, "etcd_compaction", NULL,
                          "compacted up to revision %.0f; %.0f are kept",
                          s->compacted, kept);
    return never;
}

/* What a growth that is too slow for its pages to be seen comes to. */
static void estimate(struct registry_facts *out)
{
    double *f = out->figures;

    if (isnan(f[FIGURE_FULL]) && f[FIGURE_WRITES] > 0 &&
        f[FIGURE_QUOTA] > f[FIGURE_USED])
        f[FIGURE_FULL] = (f[FIGURE_QUOTA] - f[FIGURE_USED]) /
                         (f[FIGURE_WRITES] / 60 * BYTES_EACH);
}

static void say_rate(struct registry_facts *out,
                     const struct registry_sample *before, bool never)
{
    const double *f = out->figures;
    char text[FACT_SIZE];
    enum fact_verdict verdict;

    registry_facts_rates(out, before);
    if (never)
        estimate(out);
    if (isnan(f[FIGURE_WRITES])) {
        registry_fact_say(out, FACT_UNKNOWN, "etcd_full_in", NULL,
                          "not known yet: revisions a minute");
        return;
    }
    if (isnan(f[FIGURE_FULL])) {
        registry_fact_say(out, FACT_OK, "etcd_full_in", NULL,
                          "%.0f revisions a minute; it does not grow",
                          f[FIGURE_WRITES]);
        return;
    }
    verdict = !never                       ? FACT_OK
              : f[FIGURE_FULL] < HOUR_S    ? FACT_PROBLEM
              : f[FIGURE_FULL] < 7 * DAY_S ? FACT_WARNING
                                           : FACT_OK;
    registry_fact_say(out, verdict, "etcd_full_in",
                      verdict != FACT_OK ? compact : NULL,
                      "%.0f revisions a minute: full in %s%s", f[FIGURE_WRITES],
                      registry_fact_time(f[FIGURE_FULL], text),
                      never ? "" : " unless it is compacted before");
}

/* The fullest of the members speaks for all. */
static void take(struct status *worst, const struct status *s)
{
    bool larger = s->size > worst->size;
    struct status both = larger ? *s : *worst;

    both.no_space = s->no_space || worst->no_space;
    both.other_alarm = s->other_alarm || worst->other_alarm;
    both.revision =
        s->revision > worst->revision ? s->revision : worst->revision;
    *worst = both;
}

struct round {
    struct status worst;
    size_t answer;
    bool mixed;
    char why[200], version[32];
};

static void visit(struct round *r, const struct conf_registry *conf,
                  const char *endpoint)
{
    struct member m = {.conf = conf, .endpoint = endpoint};
    struct status s;

    buf_init(&m.body, 8192);
    buf_init(&m.answer, ANSWER_MAX);
    log_in(&m);
    if (ask_status(&m, &s)) {
        probe_first(&m, &s);
        r->answer++;
        r->mixed |= r->version[0] != '\0' && strcmp(r->version, s.version) != 0;
        memcpy(r->version, s.version, sizeof(r->version));
        take(&r->worst, &s);
    } else {
        (void)snprintf(r->why, sizeof(r->why), "%.80s: %.110s", endpoint,
                       m.problem);
    }
    mem_free(m.token);
    buf_close(&m.body);
    buf_close(&m.answer);
}

void etcd_facts(const struct conf_registry *conf,
                const struct registry_sample *before,
                struct registry_facts *out)
{
    struct round r = {.worst = {.size = -1, .ahead = NAN}};
    struct err err;
    bool never;

    assert(conf->endpoints.n > 0);
    (void)snprintf(out->where, sizeof(out->where), "%s%s",
                   conf->endpoints.items[0],
                   conf->endpoints.n > 1 ? ", ..." : "");
    if (libcurl_load(&err) != 0) {
        registry_fact_say(out, FACT_PROBLEM, "etcd_members", NULL, "%s",
                          err.msg);
        return;
    }
    for (size_t i = 0; i < conf->endpoints.n; i++) {
        char *endpoint = etcd_endpoint_of(conf, i);

        visit(&r, conf, endpoint);
        mem_free(endpoint);
    }
    say_members(out, conf->endpoints.n, r.answer, r.why, r.mixed, r.version);
    if (r.answer == 0)
        return;
    out->sample.position = r.worst.revision;
    say_size(out, &r.worst);
    never = say_compaction(out, &r.worst);
    say_rate(out, before, never);
    if (isfinite(r.worst.ahead))
        registry_fact_clock(out, r.worst.ahead, 0.5);
}
