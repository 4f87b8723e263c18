/*
 * http.c - the policy that asks a coordinator over HTTP.
 *
 * Picks, refusals and acknowledgements go over a few connections in turn, as
 * from so many masters; each worker sends its heartbeats over one of its own.
 */
#include "tests/bench/live/live.h"
#include "tests/bench/live/wire.h"

#include "base/clock.h"
#include "base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MASTERS    8U /* connections that ask */
#define PATIENCE_S 10 /* for an answer */
#define TTL        "10s"
#define BEGIN_NS   200000000ULL /* from the last preparation to time 0 */

enum kind { KIND_PICK, KIND_DONE, KIND_REFUSED, KIND_REPORT, KIND_LOOK };

struct question {
    double at;       /* asked, s of the run */
    uint32_t worker; /* the answer */
    uint64_t id;
    bool answered;
};

struct series { /* of durations, s */
    float *x;
    size_t n, cap;
};

struct http {
    const struct run *run;
    const struct live_option *option;
    struct live_stats *stats;
    struct server *server;
    struct wires *wires;
    uint64_t zero;              /* ns: time 0 of the run; 0: not begun */
    uint64_t startup;           /* of workers, ms since 1970 */
    size_t turn;                /* of the masters */
    struct question *questions; /* one a task */
    struct series behind, picks, reports;
    char *looked; /* body of the last KIND_LOOK; NULL: not there yet */
};

/* ---- what it was like ---------------------------------------------------- */

static void series_add(struct series *s, double x)
{
    if (s->n == s->cap) {
        s->cap = s->cap > 0 ? s->cap * 2 : 4096;
        s->x = mem_regrow(s->x, s->cap, sizeof(*s->x));
    }
    assert(s->n < s->cap);
    s->x[s->n++] = (float)x;
}

static int by_size(const void *a, const void *b)
{
    const float *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static double series_quantile(struct series *s, double q)
{
    if (s->n == 0)
        return 0;
    qsort(s->x, s->n, sizeof(*s->x), by_size);
    return (double)s->x[(size_t)(ceil(q * (double)s->n) - 1)];
}

static double run_time(const struct http *h, uint64_t ns)
{
    assert(h->zero > 0);
    return ((double)ns - (double)h->zero) * 1e-9;
}

static void failed(struct http *h, const struct wire_answer *a)
{
    struct live_stats *s = h->stats;

    if (s->failed++ == 0)
        snprintf(s->failure, sizeof(s->failure), "%d %.*s", a->status,
                 (int)sizeof(s->failure) - 8, a->body);
}

/* ---- answers ------------------------------------------------------------- */

/* {"group":"default","address":"w7:1234","pick":"0123456789abcdef",...} */
static void pick_answered(struct http *h, const struct wire_answer *a)
{
    static const char address[] = "\"address\":\"w", pick[] = "\"pick\":\"";
    struct question *q = &h->questions[a->of];
    const char *who = strstr(a->body, address), *id = strstr(a->body, pick);

    q->answered = true;
    series_add(&h->picks, run_time(h, a->came) - q->at);
    if (a->status == 200 && who != NULL && id != NULL) {
        q->worker = (uint32_t)strtoul(who + sizeof(address) - 1, NULL, 10);
        q->id = strtoull(id + sizeof(pick) - 1, NULL, 16);
        return;
    }
    q->worker = NOBODY;
    h->stats->none++;
    if (a->status != 503)
        failed(h, a);
}

static void on_answer(void *arg, const struct wire_answer *a)
{
    struct http *h = arg;

    switch ((enum kind)a->kind) {
    case KIND_PICK:
        pick_answered(h, a);
        break;
    case KIND_DONE:
    case KIND_REFUSED:
        h->stats->answered += a->kind == KIND_DONE && a->status == 204;
        if (a->status != 204)
            failed(h, a);
        break;
    case KIND_REPORT:
        if (a->status != 200 && a->status != 201)
            failed(h, a);
        if (h->zero > 0)
            series_add(&h->reports, (double)(a->came - a->sent) * 1e-9);
        break;
    case KIND_LOOK:
        mem_free(h->looked);
        h->looked = mem_printf("%d %s", a->status, a->body);
        break;
    }
}

/* ---- questions ----------------------------------------------------------- */

static size_t master(struct http *h)
{
    return h->turn++ % MASTERS;
}

static void http_ask(void *state, uint32_t task, double now,
                     const uint32_t *refused, uint32_t n_refused)
{
    struct http *h = state;
    struct question *q = &h->questions[task];
    char text[512];
    int n = snprintf(text, sizeof(text), "GET /v1/workers/best");

    for (uint32_t i = 0; i < n_refused; i++)
        n += snprintf(text + n, sizeof(text) - (size_t)n, "%sw%u:1234",
                      i == 0 ? "?exclude=" : ",", refused[i]);
    n += snprintf(text + n, sizeof(text) - (size_t)n,
                  " HTTP/1.1\r\nHost: pelorus\r\n\r\n");
    assert(n < (int)sizeof(text));
    *q = (struct question){.at = now};
    wire_send(h->wires, master(h), KIND_PICK, task, text, (size_t)n);
    h->stats->asked++;
    series_add(&h->behind, fmax(0, run_time(h, clock_mono_ns()) - now));
}

static uint32_t http_answer(void *state, uint32_t task, uint64_t *id)
{
    struct http *h = state;
    struct question *q = &h->questions[task];
    uint64_t late = clock_mono_ns() + PATIENCE_S * 1000000000ULL;

    while (!q->answered) {
        wires_wait(h->wires, late);
        if (!q->answered && clock_mono_ns() >= late)
            wire_die("no answer for %d s", PATIENCE_S);
    }
    *id = q->id;
    return q->worker;
}

static void tell(struct http *h, uint64_t id, const char *what, int kind)
{
    char text[256];
    int n = snprintf(text, sizeof(text),
                     "POST /v1/picks/%016" PRIx64
                     "/%s HTTP/1.1\r\nHost: pelorus\r\n"
                     "Content-Length: 0\r\n\r\n",
                     id, what);

    assert(n < (int)sizeof(text));
    wire_send(h->wires, master(h), kind, 0, text, (size_t)n);
}

static void http_done(void *state, uint32_t worker, uint64_t id, double now)
{
    struct http *h = state;

    (void)worker;
    (void)now;
    tell(h, id, "done", KIND_DONE);
    h->stats->acks++;
}

static void http_refused(void *state, uint32_t worker, uint64_t id, double now)
{
    struct http *h = state;

    (void)worker;
    (void)now;
    tell(h, id, "refused", KIND_REFUSED);
    h->stats->refusals++;
}

static int put_known(char *out, size_t size, const char *key, double x)
{
    return x >= 0 ? snprintf(out, size, ",\"%s\":%.6f", key, x) : 0;
}

static void http_report(void *state, uint32_t worker, const struct report *r,
                        double now)
{
    struct http *h = state;
    char body[512], text[1024];
    size_t size = sizeof(body);
    int n = snprintf(body, size,
                     "{\"startupTime\":%" PRIu64 ",\"processId\":%u,"
                     "\"serverStatus\":\"%s\",\"workerHostWeight\":%ld",
                     h->startup + r->incarnation, worker + 1,
                     r->busy ? "BUSY" : "NORMAL", lround(r->weight));

    (void)now;
    if (r->slots > 0)
        n += snprintf(body + n, size - (size_t)n, ",\"slots\":%u", r->slots);
    n += put_known(body + n, size - (size_t)n, "cpuUsage", r->cpu);
    n += put_known(body + n, size - (size_t)n, "memoryUsage", r->memory);
    n += put_known(body + n, size - (size_t)n, "diskUsage", r->disk);
    n += put_known(body + n, size - (size_t)n, "threadPoolUsage", r->pool);
    n += snprintf(body + n, size - (size_t)n, "}");
    assert(n < (int)size);
    n = snprintf(text, sizeof(text),
                 "PUT /v1/nodes/worker/w%u:1234?ttl=" TTL
                 " HTTP/1.1\r\nHost: pelorus\r\n"
                 "Content-Type: application/json\r\n"
                 "Content-Length: %d\r\n\r\n%s",
                 worker, n, body);
    assert(n < (int)sizeof(text));
    wire_send(h->wires, MASTERS + worker, KIND_REPORT, worker, text, (size_t)n);
    h->stats->reports++;
}

/* A worker that leaves is one that reports no more; see http_open(). */
static void http_leave(void *state, uint32_t worker)
{
    (void)state;
    (void)worker;
}

/* ---- the run ------------------------------------------------------------- */

/* The answer to a GET, with its status before it. */
static const char *look(struct http *h, const char *path)
{
    uint64_t late = clock_mono_ns() + PATIENCE_S * 1000000000ULL;
    char text[256];
    int n = snprintf(text, sizeof(text),
                     "GET %s HTTP/1.1\r\nHost: pelorus\r\n\r\n", path);

    MEM_FREE(h->looked);
    wire_send(h->wires, 0, KIND_LOOK, 0, text, (size_t)n);
    while (h->looked == NULL) {
        wires_wait(h->wires, late);
        if (h->looked == NULL && clock_mono_ns() >= late)
            wire_die("no answer to %s", path);
    }
    return h->looked;
}

static uint32_t workers_up(struct http *h)
{
    static const char up[] = "\"state\":\"up\"";
    uint32_t n = 0;

    for (const char *p = look(h, "/v1/nodes?kind=worker&limit=1000");
         (p = strstr(p, up)) != NULL; p += sizeof(up) - 1)
        n++;
    return n;
}

static void await_ready(struct http *h)
{
    uint64_t late = clock_mono_ns() + 3 * PATIENCE_S * 1000000000ULL;

    while (strncmp(look(h, "/readyz"), "200", 3) != 0) {
        if (clock_mono_ns() >= late)
            wire_die("the coordinator is not ready: %.200s", h->looked);
        wires_wait(h->wires, clock_mono_ns() + 20000000);
    }
}

/* Until everybody is in and may be picked. */
static void begin(struct http *h)
{
    uint64_t late = clock_mono_ns() + 3 * PATIENCE_S * 1000000000ULL;

    while (workers_up(h) < run_world(h->run)->n_workers ||
           strncmp(look(h, "/v1/workers/best?peek=1"), "200", 3) != 0) {
        if (clock_mono_ns() >= late)
            wire_die("not everybody is in: %.200s %.200s", h->looked,
                     h->stats->failure);
        wires_wait(h->wires, clock_mono_ns() + 20000000);
    }
    h->zero = clock_mono_ns() + BEGIN_NS;
}

static void http_until(void *state, double at)
{
    struct http *h = state;
    uint64_t due;

    if (h->zero == 0)
        begin(h);
    due = h->zero + (uint64_t)(at * 1e9);
    while (clock_mono_ns() < due)
        wires_wait(h->wires, due);
}

static void *http_open(const struct policy *policy, const struct run *run,
                       uint32_t coordinator, uint64_t seed)
{
    struct http *h = mem_zalloc(sizeof(*h));
    const struct world *w = run_world(run);

    (void)coordinator;
    (void)seed;
    /* One coordinator; and leaving is not told. */
    assert(w->n_coordinators == 1 && !w->setting.variant->churn);
    h->run = run;
    h->option = policy->option;
    h->stats = h->option->stats;
    *h->stats = (struct live_stats){.asked = 0};
    h->startup = (uint64_t)clock_wall_ms() - 3600000;
    h->questions = mem_array(w->n_tasks, sizeof(*h->questions));
    h->server = server_start(h->option, w->heartbeat);
    h->wires = wires_open(server_port(h->server), MASTERS + w->n_workers,
                          on_answer, h);
    await_ready(h);
    return h;
}

/* Of GET /metrics. */
static uint64_t metric(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    return at != NULL ? (uint64_t)strtod(at + strlen(name), NULL) : 0;
}

static void http_close(void *state)
{
    struct http *h = state;
    struct live_stats *s = h->stats;
    uint64_t late = clock_mono_ns() + PATIENCE_S * 1000000000ULL;

    s->seconds = run_time(h, clock_mono_ns());
    while (wires_open_requests(h->wires) > 0 && clock_mono_ns() < late)
        wires_wait(h->wires, late);
    const char *text = look(h, "/metrics");

    s->server_picks = metric(text, "\npelorus_picks_total ");
    s->server_done = metric(text, "\npelorus_picks_done_total ");
    s->server_unknown = metric(text, "\npelorus_picks_unknown_total ");
    s->behind_p99 = series_quantile(&h->behind, .99);
    s->behind_max = series_quantile(&h->behind, 1);
    s->pick_p50 = series_quantile(&h->picks, .5);
    s->pick_p99 = series_quantile(&h->picks, .99);
    s->pick_max = series_quantile(&h->picks, 1);
    s->report_p99 = series_quantile(&h->reports, .99);
    s->report_max = series_quantile(&h->reports, 1);
    wires_close(&h->wires);
    s->server_cpu = server_end(&h->server);
    mem_free(h->looked);
    mem_free(h->questions);
    mem_free(h->behind.x);
    mem_free(h->picks.x);
    mem_free(h->reports.x);
    mem_free(h);
}

const struct policy policy_http = {.name = "http",
                                   .title = "ledger over HTTP",
                                   .hears_acks = true,
                                   .open = http_open,
                                   .close = http_close,
                                   .report = http_report,
                                   .leave = http_leave,
                                   .done = http_done,
                                   .refused = http_refused,
                                   .ask = http_ask,
                                   .answer = http_answer,
                                   .until = http_until};

const char *live_late(const struct live_stats *s)
{
    static char text[512];
    int n = 0;

    text[0] = '\0';
    if (s->behind_p99 > DISPATCH_S)
        n += snprintf(text + n, sizeof(text) - (size_t)n,
                      "the driver was %.1f ms behind; ", 1e3 * s->behind_p99);
    if (s->pick_p99 > DISPATCH_S)
        n += snprintf(text + n, sizeof(text) - (size_t)n,
                      "picks took %.1f ms; ", 1e3 * s->pick_p99);
    if (s->report_p99 > REPORT_MAX)
        n += snprintf(text + n, sizeof(text) - (size_t)n,
                      "heartbeats took %.1f ms; ", 1e3 * s->report_p99);
    if (s->failed > 0)
        n += snprintf(text + n, sizeof(text) - (size_t)n,
                      "%" PRIu64 " requests failed: %.200s", s->failed,
                      s->failure);
    return n > 0 ? text : NULL;
}

void live_print(const struct live_stats *s, FILE *out)
{
    fprintf(
        out,
        "  %.0f s, %" PRIu64 " picks (%.0f/s, %" PRIu64
        " named nobody), %" PRIu64 " of %" PRIu64
        " acknowledgements and %" PRIu64 " refusals, %" PRIu64 " heartbeats\n"
        "  ms: driver behind p99 %.2f max %.1f; pick p50 %.2f p99 %.2f max "
        "%.1f; heartbeat p99 %.2f max %.1f; coordinator %.0f %% of a core\n",
        s->seconds, s->asked, (double)s->asked / s->seconds, s->none,
        s->answered, s->acks, s->refusals, s->reports, 1e3 * s->behind_p99,
        1e3 * s->behind_max, 1e3 * s->pick_p50, 1e3 * s->pick_p99,
        1e3 * s->pick_max, 1e3 * s->report_p99, 1e3 * s->report_max,
        100 * s->server_cpu / s->seconds);
    fflush(out);
}
