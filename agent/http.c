/*
 * http.c - the agent as a client of the API: each accepted PUT is a
 * lease of one ttl, counted from before it was sent.
 *
 * One request at a time, on a worker thread, each with a deadline of its own:
 * a request that hangs must not be the reason why the next one comes too late.
 * An unknown outcome needs no read-back here: the next PUT says the same.
 */
#include "agent/agent_priv.h"

#include "base/json/json.h"
#include "base/library/curl.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/units.h"
#include "base/worker.h"
#include "cluster/problem.h"
#include "conf/urls.h"
#include "registry/history.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX     8192
#define ANSWER_MAX   262144
#define RETRY_MS_MAX 1000
#define REQUEST_MS   5000
#define DELETE_MS    1500
#define RENEW_MS_MIN 100 /* what is less is no word of a coordinator's */

struct http_link {
    struct agent_link base; /* first */
    struct worker *worker;
    struct worker_job job;
    struct curl_slist *headers;
    struct urls urls;
    size_t first;      /* the one that this round of tries began with */
    int64_t ttl_ms;    /* in force: the answer's */
    char instance[65]; /* of our registration, as the API named it; "" none */
    struct process instance_of;
    struct registry_place place; /* how far the registry was seen, as the API
                                    told; all zero: not told */
    size_t n_back; /* coordinators in this round that say it went back */
    bool accepted;
    mono_ms next;        /* the renewal is due */
    bool told_turn;      /* and the answer said when */
    long told;           /* the last refusal said, once each */
    atomic_bool give_up; /* any thread: the request under way is moot */

    /* The request; the worker's while busy. */
    bool leaves; /* a DELETE; else a PUT */
    long timeout_ms;
    mono_ms sent_at;
    struct process sent_process;
    struct buf body, answer;
    long status; /* 0: none came */
    char reason[CURL_ERROR_SIZE];
};

/* --- on the worker's thread ---------------------------------------------- */

static size_t receive(char *data, size_t size, size_t n, void *arg)
{
    struct http_link *l = arg;

    buf_add(&l->answer, data, size * n);
    return l->answer.overflow ? 0 : size * n;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c,
                       curl_off_t d)
{
    struct http_link *l = arg;

    (void)a, (void)b, (void)c, (void)d;
    return atomic_load(&l->give_up);
}

static void set_options(struct http_link *l, CURL *curl, const char *url)
{
    assert(url[0] != '\0');
    assert(l->timeout_ms >= 0);
    libcurl.curl_easy_setopt(curl, CURLOPT_URL, url);
    libcurl.curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST,
                             l->leaves ? "DELETE" : "PUT");
    libcurl.curl_easy_setopt(curl, CURLOPT_HTTPHEADER, l->headers);
    libcurl.curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive);
    libcurl.curl_easy_setopt(curl, CURLOPT_WRITEDATA, l);
    libcurl.curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    libcurl.curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    libcurl.curl_easy_setopt(curl, CURLOPT_XFERINFODATA, l);
    libcurl.curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, l->reason);
    libcurl.curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, l->timeout_ms);
    libcurl.curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    libcurl.curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    if (l->body.len > 0) {
        libcurl.curl_easy_setopt(curl, CURLOPT_POSTFIELDS, l->body.data);
        libcurl.curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE,
                                 (long)l->body.len);
    }
}

/* Of our node, at the coordinator whose turn it is; the loop changes that only
 * while no request is under way. */
static void run(void *arg)
{
    struct http_link *l = arg;
    const struct agent_options *o = l->base.agent->options;
    CURL *curl = libcurl.curl_easy_init();
    struct buf url;
    CURLcode rc;

    assert(l->base.busy);
    l->status = 0;
    if (curl == NULL) {
        snprintf(l->reason, sizeof(l->reason), "libcurl cannot start");
        return;
    }
    buf_init(&url, 4096);
    buf_printf(&url, "%s/v1/nodes/%s/%s", conf_urls_current(&l->urls),
               node_kind_name(o->kind), o->address);
    if (l->leaves) { /* not the process that may have come after us */
        buf_printf(&url, "?startupTime=%lld",
                   (long long)l->sent_process.startup_time);
    } else {
        char ttl[UNITS_DURATION_SIZE];

        buf_printf(&url, "?ttl=%s", units_format_duration(o->ttl_ms, ttl));
    }
    if (l->instance[0] != '\0')
        buf_printf(&url, "&instance=%s", l->instance);
    set_options(l, curl, buf_text(&url));
    rc = libcurl.curl_easy_perform(curl);
    if (rc == CURLE_OK)
        libcurl.curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &l->status);
    else if (l->reason[0] == '\0')
        snprintf(l->reason, sizeof(l->reason), "%s",
                 libcurl.curl_easy_strerror(rc));
    buf_close(&url);
    libcurl.curl_easy_cleanup(curl);
}

/* --- on the loop --------------------------------------------------------- */

static void on_done(void *arg);

static void submit(struct http_link *l, bool leaves, int64_t timeout_ms)
{
    int rc;

    assert(!l->base.busy);
    l->base.busy = true;
    l->leaves = leaves;
    l->timeout_ms = (long)timeout_ms;
    l->sent_at = l->base.agent->clock->mono;
    l->sent_process = l->base.agent->process;
    if (!process_same(&l->instance_of, &l->sent_process))
        l->instance[0] = '\0'; /* another process: it gets its own */
    l->reason[0] = '\0';
    buf_reset(&l->answer);
    rc = worker_submit(l->worker, &l->job, run, on_done, l);
    assert(rc == 0); /* one at a time */
    (void)rc;
}

static int64_t at_most(int64_t value, int64_t most)
{
    return value < most ? value : most;
}

static void pump(struct http_link *l)
{
    char place[HISTORY_PLACE_SIZE];
    mono_ms now = l->base.agent->clock->mono;

    assert(l->urls.n > 0);
    if (l->base.busy || l->base.agent->closing ||
        (!l->base.wanted && now < l->next))
        return;
    l->base.wanted = false;
    buf_reset(&l->body);
    l->next = now + l->ttl_ms / 3;
    if (l->told_turn) /* this one is the report, too */
        l->base.agent->next_report = l->next;
    /* Each of them has its turn while the lease still holds. */
    (void)registry_place_token(&l->place, place);
    if (agent_heartbeat(l->base.agent, place, &l->body))
        submit(l, false,
               at_most(l->ttl_ms / 3 / (int64_t)l->urls.n, REQUEST_MS));
}

/* Renewals bring it along: it tells us from whoever else may say that he is at
 * our address. Letters, digits and . _ - only, so it needs no escapes. */
static void take_instance(struct http_link *l, const char *instance)
{
    if (instance == NULL || strlen(instance) >= sizeof(l->instance) ||
        strspn(instance, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                         "0123456789._-") < strlen(instance))
        return;
    snprintf(l->instance, sizeof(l->instance), "%s", instance);
    l->instance_of = l->sent_process;
}

/* Of one incarnation the furthest; of another one what was told last: it was
 * accepted by somebody since. */
static void take_place(struct http_link *l, const char *text)
{
    struct registry_place place;

    if (text == NULL || registry_place_parse(text, &place, NULL) != 0)
        return;
    if (strcmp(place.incarnation, l->place.incarnation) != 0 ||
        registry_place_before(&l->place, &place))
        l->place = place;
}

/* The coordinator says when it wants to hear of us again, and spreads its nodes
 * by that: then our own interval adds no report between. Never later than the
 * lease needs. A coordinator that says nothing gets both, as ever. */
static void take_turn(struct http_link *l, int64_t renew_after_ms)
{
    int64_t third = l->ttl_ms / 3;

    assert(l->sent_at >= 0);
    l->told_turn = false;
    l->next = l->sent_at + third;
    if (renew_after_ms < RENEW_MS_MIN)
        return;
    l->next = l->sent_at + at_most(renew_after_ms, third);
    l->told_turn = true;
    l->base.agent->next_report = l->next;
}

static void accepted(struct http_link *l, const struct json *answer)
{
    const char *text = json_str(answer, "ttl");
    int64_t ttl;

    assert(l->status == 200 || l->status == 201);
    if (text != NULL && units_duration(text, &ttl, NULL) == 0 && ttl > 0)
        l->ttl_ms = ttl;
    take_instance(l, json_str(answer, "instance"));
    take_place(l, json_str(answer, "place"));
    l->accepted = true;
    l->told = 0;
    l->first = l->urls.at;
    l->n_back = 0;
    take_turn(l, json_int(answer, "renew_after_ms", 0));
    if (process_same(&l->sent_process, &l->base.agent->process))
        agent_lease(l->base.agent, l->sent_at + l->ttl_ms * 2 / 3,
                    l->sent_at + l->ttl_ms * 5 / 6);
}

/* A mistake of whoever started us: said at once, and only then: what was
 * accepted before is a mistake of the other side and may pass. But an address
 * that was ours and is another's by now: coming back as a later process would
 * take it from him, and he would take it from us again. */
static bool hopeless(const struct http_link *l, enum problem code)
{
    assert(l->status != 200 && l->status != 201);
    if (code == PROBLEM_ADDRESS_TAKEN)
        return l->accepted &&
               process_same(&l->sent_process, &l->base.agent->process);
    return !l->accepted &&
           (l->status == 400 || l->status == 401 || l->status == 403 ||
            l->status == 404 || l->status == 405 || l->status == 422);
}

/* Nobody there, or nobody who can: the next one's turn. False: all had theirs,
 * or what it said any other would say. */
static bool elsewhere(struct http_link *l)
{
    assert(l->first < l->urls.n);
    assert(l->urls.at < l->urls.n);
    if (l->status != 0 && l->status < 500)
        return false;
    return conf_urls_next(&l->urls, l->first);
}

static void refused(struct http_link *l, const struct json *answer)
{
    const char *detail = json_str(answer, "detail");
    enum problem code = problem_of_code(json_str(answer, "code"));
    char reason[ERR_MSG_MAX];

    assert(!l->base.busy);
    assert(l->n_back < l->urls.n);
    if (detail == NULL)
        detail = json_str(answer, "title");
    if (l->status == 0)
        snprintf(reason, sizeof(reason), "%s: %s", conf_urls_current(&l->urls),
                 l->reason);
    else
        snprintf(reason, sizeof(reason), "%s: HTTP %ld %s",
                 conf_urls_current(&l->urls), l->status,
                 detail != NULL ? detail : "");
    if (hopeless(l, code)) {
        agent_fail(l->base.agent, reason);
        return;
    }
    l->next = l->base.agent->clock->mono;
    /* What one of them says may be true of the way that it sees the registry
     * by; if all say it, there is no lease, as there is no session. */
    l->n_back += code == PROBLEM_TROUBLE_WENT_BACK;
    if (!elsewhere(l)) {
        l->next += at_most(l->ttl_ms / 10, RETRY_MS_MAX);
        l->first = l->urls.at;
        if (l->n_back == l->urls.n)
            agent_doubt(l->base.agent, 0, "the registry is not what it was");
        l->n_back = 0;
    }
    if (l->told != l->status + 1)
        log_warn("!registration", LOG_S("reason", reason));
    l->told = l->status + 1;
}

static void on_answer(struct http_link *l)
{
    enum problem code;
    const struct json *answer = NULL;

    assert(!l->base.busy);
    assert(!l->base.agent->closing);
    if (json_parse(buf_text(&l->answer), l->answer.len, &answer, NULL) != 0)
        answer = NULL;
    code = problem_of_code(json_str(answer, "code"));
    if (l->status == 200 || l->status == 201)
        accepted(l, answer);
    else if (code == PROBLEM_FENCED) {
        if (process_same(&l->sent_process, &l->base.agent->process))
            agent_fenced(l->base.agent);
    } else
        refused(l, answer);
    json_free(answer);
}

static void on_stopped(void *arg)
{
    struct http_link *l = arg;
    struct agent *a = l->base.agent;

    assert(l->base.agent->closing);
    assert(!l->base.busy);
    libcurl.curl_slist_free_all(l->headers);
    buf_close(&l->body);
    buf_close(&l->answer);
    conf_urls_close(&l->urls);
    mem_free(l);
    libcurl.curl_global_cleanup();
    agent_link_closed(a);
}

/* The last request: leave, and whatever the answer is, end. */
static void take_leave(struct http_link *l)
{
    assert(l->base.agent->closing);
    assert(!l->base.busy);
    if (l->accepted) {
        l->accepted = false;
        atomic_store(&l->give_up, false);
        buf_reset(&l->body);
        submit(l, true, DELETE_MS);
    } else {
        worker_stop(&l->worker, on_stopped, l);
    }
}

static void on_done(void *arg)
{
    struct http_link *l = arg;

    assert(l->base.busy);
    l->base.busy = false;
    if (l->base.agent->closing) {
        take_leave(l);
        return;
    }
    on_answer(l);
    pump(l); /* the next one's turn does not wait for a tick */
}

/* --- the link ------------------------------------------------------------ */

static void make_headers(struct http_link *l)
{
    const char *token = getenv("PELORUS_TOKEN");
    struct curl_slist *list;

    list = libcurl.curl_slist_append(NULL, "Content-Type: application/json");
    if (token != NULL && token[0] != '\0') {
        char *line = mem_printf("Authorization: Bearer %s", token);

        list = libcurl.curl_slist_append(list, line);
        mem_free(line);
    }
    l->headers = list;
}

static int link_open(struct agent *a, struct agent_link **out, struct err *err)
{
    struct http_link *l;

    if (libcurl_load(err) != 0)
        return err_wrap(err, "--url");
    if (libcurl.curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
        return err_set(err, ERR_IO, "libcurl cannot start");
    l = mem_zalloc(sizeof(*l));
    l->base.agent = a;
    if (conf_urls_parse(&l->urls, a->options->url, err) != 0) {
        conf_urls_close(&l->urls);
        mem_free(l);
        libcurl.curl_global_cleanup();
        return err_wrap(err, "--url");
    }
    l->ttl_ms = a->options->ttl_ms;
    buf_init(&l->body, TEXT_MAX);
    buf_init(&l->answer, ANSWER_MAX);
    atomic_init(&l->give_up, false);
    make_headers(l);
    l->worker = worker_new(a->loop, 1, NULL, NULL, 0);
    *out = &l->base;
    return 0;
}

static void link_tick(struct agent_link *link)
{
    assert(!link->agent->closing);
    pump(CONTAINER_OF(link, struct http_link, base));
}

static void link_close(struct agent_link *link)
{
    struct http_link *l = CONTAINER_OF(link, struct http_link, base);

    assert(link->agent->closing);
    atomic_store(&l->give_up, true);
    /* A PUT under way may yet be applied: leave after it. */
    l->accepted = l->accepted || l->base.busy;
    if (!l->base.busy)
        take_leave(l);
}

const struct agent_link_ops agent_link_http = {
    .name = "api",
    .open = link_open,
    .tick = link_tick,
    .close = link_close,
};
