/*
 * http.c - the policy that asks a coordinator over HTTP.
 *
 * Picks, refusals and acknowledgements go over a few connections in turn, as
 * from so many masters of each coordinator; each worker sends its heartbeats
 * over one of its own, to one coordinator.
 */
#include "tests/bench/live/live.h"
#include "tests/bench/live/wire.h"

#include "base/clock.h"
#include "base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MASTERS    8U /* connections that ask a coordinator */
#define PATIENCE_S 10 /* for an answer */
#define TTL        "10s"
#define BEGIN_NS   200000000ULL /* from the last preparation to time 0 */

enum kind {
    KIND_PICK,
    KIND_DONE,
    KIND_REFUSED,
    KIND_REPORT,
    KIND_LEAVE,
    KIND_LOOK
};

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

struct seat { /* the policy's state at one coordinator */
    struct http *http;
    uint32_t coordinator;
    size_t turn; /* of its masters */
};

struct http { /* of all of them: one run */
    struct seat seats[COORDINATORS_MAX];
    uint32_t n;
    const struct run *run;
    const struct live_option *option;
    struct live_stats *stats;
    struct servers *servers;
    struct wires *wires;
    uint64_t zero;              /* ns: time 0 of the run; 0: not begun */
    uint64_t startup;           /* of workers, ms since 1970 */
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
    case KIND_LEAVE:
        if (a->status != 200 && a->status != 204)
            failed(h, a);
        break;
    case KIND_LOOK:
        mem_free(h->looked);
        h->looked = mem_printf("%d %s", a->status, a->body);
        break;
    }
}

/* ---- questions ----------------------------------------------------------- */

static size_t master(struct seat *s)
{
    return s->coordinator * MASTERS + s->turn++ % MASTERS;
}

/* Whose heartbeats go there. */
static bool serves(const struct seat *s, uint32_t worker)
{
    return worker % s->http->n == s->coordinator;
}

static size_t worker_wire(const struct http *h, uint32_t worker)
{
    return h->n * MASTERS + worker;
}

static void http_ask(void *state, uint32_t task, double now,
                     const uint32_t *refused, uint32_t n_refused)
{
    struct seat *seat = state;
    struct http *h = seat->http;
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
    wire_send(h->wires, master(seat), KIND_PICK, task, text, (size_t)n);
    h->stats->asked++;
    series_add(&h->behind, fmax(0, run_time(h, clock_mono_ns()) - now));
}

static uint32_t http_answer(void *state, uint32_t task, uint64_t *id)
{
    struct seat *seat = state;
    struct http *h = seat->http;
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

static void tell(struct seat *s, uint64_t id, const char *what, int kind)
{
    char text[256];
    int n = snprintf(text, sizeof(text),
                     "POST /v1/picks/%016" PRIx64
                     "/%s HTTP/1.1\r\nHost: pelorus\r\n"
                     "Content-Length: 0\r\n\r\n",
                     id, what);

    assert(n < (int)sizeof(text));
    wire_send(s->http->wires, master(s), kind, 0, text, (size_t)n);
}

static void http_done(void *state, uint32_t worker, uint64_t id, double now)
{
    struct seat *s = state;

    (void)worker;
    (void)now;
    tell(s, id, "done", KIND_DONE);
    s->http->stats->acks++;
}

static void http_refused(void *state, uint32_t worker, uint64_t id, double now)
{
    struct seat *s = state;

    (void)worker;
    (void)now;
    tell(s, id, "refused", KIND_REFUSED);
    s->http->stats->refusals++;
}

static int put_known(char *out, size_t size, const char *key, double x)
{
    return x >= 0 ? snprintf(out, size, ",\"%s\":%.17g", key, x) : 0;
}

static void http_report(void *state, uint32_t worker, const struct report *r,
                        double now)
{
    struct seat *seat = state;
    struct http *h = seat->http;
    char body[512], text[1024];
    size_t size = sizeof(body);

    (void)now;
    if (!serves(seat, worker))
        return;
    int n = snprintf(body, size,
                     "{\"startupTime\":%" PRIu64 ",\"processId\":%u,"
                     "\"serverStatus\":\"%s\",\"workerHostWeight\":%ld",
                     h->startup + r->incarnation, worker + 1,
                     r->busy ? "BUSY" : "NORMAL", lround(r->weight));
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
    wire_send(h->wires, worker_wire(h, worker), KIND_REPORT, worker, text,
              (size_t)n);
    h->stats->reports++;
}

static void http_leave(void *state, uint32_t worker)
{
    struct seat *s = state;
    struct http *h = s->http;
    char text[256];

    if (!serves(s, worker))
        return;
    int n = snprintf(text, sizeof(text),
                     "DELETE /v1/nodes/worker/w%u:1234 HTTP/1.1\r\n"
                     "Host: pelorus\r\n\r\n",
                     worker);
    assert(n < (int)sizeof(text));
    wire_send(h->wires, worker_wire(h, worker), KIND_LEAVE, worker, text,
              (size_t)n);
}

/* ---- the run ------------------------------------------------------------- */

/* The answer to a GET, with its status before it. */
static const char *look(struct seat *s, const char *path)
{
    struct http *h = s->http;
    uint64_t late = clock_mono_ns() + PATIENCE_S * 1000000000ULL;
    char text[256];
    int n = snprintf(text, sizeof(text),
                     "GET %s HTTP/1.1\r\nHost: pelorus\r\n\r\n", path);

    MEM_FREE(h->looked);
    wire_send(h->wires, master(s), KIND_LOOK, 0, text, (size_t)n);
    while (h->looked == NULL) {
        wires_wait(h->wires, late);
        if (h->looked == NULL && clock_mono_ns() >= late)
            wire_die("no answer to %s", path);
    }
    return h->looked;
}

static uint32_t count(const char *text, const char *what)
{
    uint32_t n = 0;

    for (; (text = strstr(text, what)) != NULL; text += strlen(what))
        n++;
    return n;
}

/* It knows all workers, all coordinators, and picks. */
static bool is_complete(struct seat *s)
{
    const struct http *h = s->http;

    return count(look(s, "/v1/nodes?kind=worker&limit=1000"),
                 "\"state\":\"up\"") == run_world(h->run)->n_workers &&
           count(look(s, "/v1/cluster"), "\"holds_lock\":") == h->n &&
           strncmp(look(s, "/v1/workers/best?peek=1"), "200", 3) == 0;
}

static void await(struct seat *s, bool (*is)(struct seat *s), const char *what)
{
    struct http *h = s->http;
    uint64_t late = clock_mono_ns() + 3 * PATIENCE_S * 1000000000ULL;

    while (!is(s)) {
        if (clock_mono_ns() >= late)
            wire_die("%s: %.200s %.200s", what, h->looked, h->stats->failure);
        wires_wait(h->wires, clock_mono_ns() + 20000000);
    }
}

static bool is_ready(struct seat *s)
{
    return strncmp(look(s, "/readyz"), "200", 3) == 0;
}

/* Until everybody is in and may be picked, and nobody is new. */
static void begin(struct http *h)
{
    for (uint32_t i = 0; i < h->n; i++)
        await(&h->seats[i], is_complete, "not everybody is in");
    uint64_t due = clock_mono_ns() + BEGIN_NS +
                   (uint64_t)(servers_warm_up(run_world(h->run)) * 1e9);

    while (clock_mono_ns() < due - BEGIN_NS)
        wires_wait(h->wires, due - BEGIN_NS);
    h->zero = due;
}

static void http_until(void *state, double at)
{
    struct http *h = ((struct seat *)state)->http;
    uint64_t due;

    if (h->zero == 0)
        begin(h);
    due = h->zero + (uint64_t)(at * 1e9);
    while (clock_mono_ns() < due)
        wires_wait(h->wires, due);
}

static void connect_all(struct http *h)
{
    uint32_t n = h->n * MASTERS + run_world(h->run)->n_workers;
    uint16_t *ports = mem_array(n, sizeof(*ports));

    for (uint32_t i = 0; i < n; i++)
        ports[i] = servers_port(h->servers, i < h->n * MASTERS
                                                ? i / MASTERS
                                                : (i - h->n * MASTERS) % h->n);
    h->wires = wires_open(ports, n, on_answer, h);
    mem_free(ports);
}

/* The first opens all of them. */
static void *http_open(const struct policy *policy, const struct run *run,
                       uint32_t coordinator, uint64_t seed)
{
    const struct world *w = run_world(run);
    struct http *h;

    (void)seed;
    if (coordinator > 0) {
        h = ((struct seat *)run_state(run, 0))->http;
        return &h->seats[coordinator];
    }
    h = mem_zalloc(sizeof(*h));
    h->n = w->n_coordinators;
    for (uint32_t i = 0; i < h->n; i++)
        h->seats[i] = (struct seat){.http = h, .coordinator = i};
    h->run = run;
    h->option = policy->option;
    h->stats = h->option->stats;
    *h->stats = (struct live_stats){.asked = 0};
    h->startup = (uint64_t)clock_wall_ms() - 3600000;
    h->questions = mem_array(w->n_tasks, sizeof(*h->questions));
    h->servers = servers_start(h->option, w);
    connect_all(h);
    for (uint32_t i = 0; i < h->n; i++)
        await(&h->seats[i], is_ready, "a coordinator is not ready");
    return &h->seats[0];
}

/* Of GET /metrics. */
static uint64_t metric(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    return at != NULL ? (uint64_t)strtod(at + strlen(name), NULL) : 0;
}

static void count_all(struct http *h)
{
    struct live_stats *s = h->stats;

    for (uint32_t i = 0; i < h->n; i++) {
        const char *text = look(&h->seats[i], "/metrics");

        s->server_picks += metric(text, "\npelorus_picks_total ");
        s->server_done += metric(text, "\npelorus_picks_done_total ");
        s->server_unknown += metric(text, "\npelorus_picks_unknown_total ");
    }
    s->behind_p99 = series_quantile(&h->behind, .99);
    s->behind_max = series_quantile(&h->behind, 1);
    s->pick_p50 = series_quantile(&h->picks, .5);
    s->pick_p99 = series_quantile(&h->picks, .99);
    s->pick_max = series_quantile(&h->picks, 1);
    s->report_p99 = series_quantile(&h->reports, .99);
    s->report_max = series_quantile(&h->reports, 1);
}

/* The last closes all of them. */
static void http_close(void *state)
{
    struct http *h = ((struct seat *)state)->http;
    uint64_t late = clock_mono_ns() + PATIENCE_S * 1000000000ULL;

    if (((struct seat *)state)->coordinator + 1 < h->n)
        return;
    h->stats->seconds = run_time(h, clock_mono_ns());
    while (wires_open_requests(h->wires) > 0 && clock_mono_ns() < late)
        wires_wait(h->wires, late);
    count_all(h);
    wires_close(&h->wires);
    h->stats->server_cpu = servers_end(&h->servers);
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
