/*
 * herd.c - see herd.h.
 *
 * A connection carries one request at a time, as nobody waits behind another
 * then; who finds all of them taken at one coordinator goes to the next one.
 */
#include "tests/bench/herd.h"

#include "base/clock.h"
#include "base/mem.h"
#include "tests/bench/live/wire.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NS        UINT64_C(1000000000)
#define MS        UINT64_C(1000000)
#define AGAIN_MS  50  /* after it was refused or lost */
#define TIDY_MS   100 /* between looks for requests that nobody answers */
#define TEXT_MAX  1536
#define TAKEN_MAX ((size_t)1 << 22) /* renewals that are counted */

struct node {
    char instance[40];
    uint64_t
        first; /* when this renewal was tried first; 0: none is under way */
    uint64_t lease; /* when it is over; 0: there is none */
    uint32_t turn;  /* whose coordinator is next */
    uint8_t port;   /* whom it was sent to last */
};

/* So many, TAKEN_MAX at most; NULL: not counted. */
struct times {
    float *ms;
    size_t n;
};

struct later {
    uint32_t node;
    uint64_t at;
};

struct herd {
    struct herd_config c;
    struct wires *wires;
    struct node *node;
    struct later *later; /* a ring: first, and n of them, by time */
    size_t first, n_later;
    size_t cursor[HERD_PORTS]; /* connections in turn */
    size_t registered;
    uint64_t begun, turns, tidied; /* of the schedule; its turns so far */
    struct herd_counts counts;
    struct times took, answer[HERD_PORTS];
    bool told;
};

/* --- requests ------------------------------------------------------------ */

/* Of a coordinator, SIZE_MAX: all are taken. */
static size_t idle_at(struct herd *h, size_t port)
{
    for (size_t i = 0; i < h->c.connections; i++) {
        size_t at = h->cursor[port]++ % h->c.connections;

        if (wire_is_idle(h->wires, port * h->c.connections + at))
            return port * h->c.connections + at;
    }
    return SIZE_MAX;
}

static size_t idle(struct herd *h, size_t port)
{
    size_t found = SIZE_MAX;

    for (size_t i = 0; found == SIZE_MAX && i < h->c.n_ports; i++)
        found = idle_at(h, (port + i) % h->c.n_ports);
    return found;
}

/* As DolphinScheduler's workers report; the load is another one each time, so
 * that no renewal is answered from memory. */
static int body_of(size_t i, uint32_t turn, char *out, size_t size)
{
    return snprintf(out, size,
                    "{\"processId\":%zu,\"startupTime\":1763812500000,"
                    "\"reportTime\":%" PRId64 ",\"jvmCpuUsage\":0.031415,"
                    "\"cpuUsage\":0.%zu,\"jvmMemoryUsage\":0.412345,"
                    "\"memoryUsage\":0.512345,\"diskUsage\":0.300000,"
                    "\"serverStatus\":\"NORMAL\",\"host\":\"10.%zu.%zu.%zu\","
                    "\"port\":1234,\"workerHostWeight\":100,"
                    "\"workerGroups\":[\"default\"],\"threadPoolUsage\":0.25}",
                    i + 1, 1763812500000 + clock_mono_ms(), 1 + (i + turn) % 8,
                    i >> 16, i >> 8 & 255, i & 255);
}

/* False: no connection is free. */
static bool send_beat(struct herd *h, size_t i)
{
    struct node *n = &h->node[i];
    size_t connection = idle(h, n->turn % h->c.n_ports);
    char body[512], text[TEXT_MAX];
    int len;

    if (connection == SIZE_MAX)
        return false;
    n->turn++;
    n->port = (uint8_t)(connection / h->c.connections);
    len = body_of(i, n->turn, body, sizeof(body));
    len = snprintf(text, sizeof(text),
                   "PUT /v1/nodes/worker/10.%zu.%zu.%zu:1234?ttl=%zus%s%s"
                   " HTTP/1.1\r\nHost: b\r\nContent-Type: application/json\r\n"
                   "Content-Length: %d\r\n\r\n%s",
                   i >> 16, i >> 8 & 255, i & 255, h->c.ttl_s,
                   n->instance[0] != '\0' ? "&instance=" : "", n->instance, len,
                   body);
    assert(len > 0 && len < TEXT_MAX);
    if (n->first == 0)
        n->first = clock_mono_ns();
    wire_send(h->wires, connection, 0, (uint32_t)i, text, (size_t)len);
    return true;
}

/* --- answers ------------------------------------------------------------- */

static void send_later(struct herd *h, uint32_t node)
{
    size_t at = (h->first + h->n_later) % h->c.nodes;

    assert(h->n_later < h->c.nodes);
    h->later[at] = (struct later){node, clock_mono_ns() + AGAIN_MS * MS};
    h->n_later++;
    h->counts.again++;
}

static void took(struct times *t, double ms)
{
    if (t->ms != NULL && t->n < TAKEN_MAX)
        t->ms[t->n++] = (float)ms;
}

static void accepted(struct herd *h, struct node *n,
                     const struct wire_answer *a)
{
    h->counts.accepted++;
    h->counts.lost += n->lease != 0 && a->came > n->lease;
    took(&h->took, (double)(a->came - n->first) / MS);
    took(&h->answer[n->port], (double)(a->came - a->sent) / MS);
    n->first = 0;
    n->lease = a->sent + h->c.ttl_s * NS;
    if (n->instance[0] == '\0') {
        wire_instance(a->body, n->instance, sizeof(n->instance));
        h->registered++;
    }
}

static void answered(void *arg, const struct wire_answer *a)
{
    struct herd *h = arg;

    assert(a->of < h->c.nodes);
    if (a->status >= 200 && a->status < 300) {
        accepted(h, &h->node[a->of], a);
        return;
    }
    h->counts.busy += a->status == 503;
    if (a->status != 0 && a->status != 503) {
        h->counts.refused++;
        if (!h->told)
            (void)printf("refused with %d: %.300s\n", a->status, a->body);
        h->told = true;
    }
    send_later(h, a->of);
}

/* --- the schedule -------------------------------------------------------- */

static void tidy(struct herd *h, uint64_t now)
{
    if (now - h->tidied < TIDY_MS * MS)
        return;
    h->tidied = now;
    wires_drop(h->wires, now - HERD_PATIENCE_MS * MS);
}

/* One that is to be sent again. */
static bool send_again(struct herd *h, uint64_t now)
{
    const struct later *l = &h->later[h->first];

    if (h->n_later == 0 || l->at > now || !send_beat(h, l->node))
        return false;
    h->first = (h->first + 1) % h->c.nodes;
    h->n_later--;
    return true;
}

static uint64_t turn_due(const struct herd *h)
{
    return h->begun + h->turns * (h->c.period_s * NS) / h->c.nodes;
}

/* The next one in turn; who is still at his last renewal, or has not
 * registered, is passed over. */
static bool send_due(struct herd *h, uint64_t now)
{
    size_t i = (size_t)(h->turns % h->c.nodes);

    if (turn_due(h) > now)
        return false;
    if (h->node[i].first == 0 && h->node[i].instance[0] != '\0' &&
        !send_beat(h, i))
        return false;
    h->turns++;
    return true;
}

void herd_run(struct herd *h, uint64_t until)
{
    uint64_t now;

    if (h->begun == 0)
        h->begun = clock_mono_ns();
    while ((now = clock_mono_ns()) < until) {
        if (h->wires == NULL) {
            (void)usleep((useconds_t)((until - now) / 1000 + 1));
            continue;
        }
        tidy(h, now);
        if (!send_again(h, now) && !send_due(h, now))
            wires_wait(h->wires, now + MS);
    }
}

bool herd_join(struct herd *h, size_t seconds)
{
    uint64_t end = clock_mono_ns() + seconds * NS, now;
    size_t next = 0;

    if (h->begun == 0)
        h->begun = clock_mono_ns();
    while (h->registered < h->c.nodes && (now = clock_mono_ns()) < end) {
        tidy(h, now);
        if (send_again(h, now) || send_due(h, now))
            continue;
        if (next < h->c.nodes && send_beat(h, next))
            next++;
        else
            wires_wait(h->wires, now + MS);
    }
    return h->registered == h->c.nodes;
}

/* --- counts -------------------------------------------------------------- */

static void count_times(struct times *t)
{
    if (t->ms == NULL)
        t->ms = mem_array(TAKEN_MAX, sizeof(*t->ms));
    t->n = 0;
}

void herd_count(struct herd *h)
{
    memset(&h->counts, 0, sizeof(h->counts));
    count_times(&h->took);
    for (size_t i = 0; i < h->c.n_ports; i++)
        count_times(&h->answer[i]);
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

/* They are sorted by it. */
static double share(struct times *t, double part)
{
    if (t->n == 0)
        return 0;
    qsort(t->ms, t->n, sizeof(*t->ms), by_size);
    return (double)t->ms[(size_t)((double)(t->n - 1) * part)];
}

struct herd_counts herd_counted(struct herd *h)
{
    struct herd_counts c = h->counts;
    uint64_t now = clock_mono_ns();

    for (size_t i = 0; i < h->c.nodes; i++)
        c.lost += h->node[i].lease != 0 && h->node[i].lease < now;
    c.p50 = share(&h->took, .5);
    c.p99 = share(&h->took, .99);
    c.most = share(&h->took, 1);
    for (size_t i = 0; i < h->c.n_ports; i++)
        c.answer_p99[i] = share(&h->answer[i], .99);
    return c;
}

/* --- the whole ----------------------------------------------------------- */

void herd_resume(struct herd *h)
{
    size_t n = h->c.connections * h->c.n_ports;
    uint16_t *ports = mem_array(n, sizeof(*ports));

    assert(h->wires == NULL);
    for (size_t i = 0; i < n; i++)
        ports[i] = h->c.port[i / h->c.connections];
    h->wires = wires_open(ports, n, answered, h);
    wires_forgive(h->wires);
    mem_free(ports);
}

/* What is under way is lost, and sent again when they go on. */
void herd_pause(struct herd *h)
{
    wires_drop(h->wires, UINT64_MAX);
    wires_close(&h->wires);
}

struct herd *herd_new(const struct herd_config *config)
{
    struct herd *h = mem_zalloc(sizeof(*h));

    assert(config->nodes > 0 && config->connections > 0);
    assert(config->n_ports > 0 && config->n_ports <= HERD_PORTS);
    h->c = *config;
    h->node = mem_array(h->c.nodes, sizeof(*h->node));
    memset(h->node, 0, h->c.nodes * sizeof(*h->node));
    for (size_t i = 0; i < h->c.nodes; i++)
        h->node[i].turn = (uint32_t)i;
    h->later = mem_array(h->c.nodes, sizeof(*h->later));
    herd_resume(h);
    return h;
}

void herd_free(struct herd **herd)
{
    struct herd *h = *herd;

    *herd = NULL;
    if (h == NULL)
        return;
    wires_close(&h->wires);
    mem_free(h->node);
    mem_free(h->later);
    mem_free(h->took.ms);
    for (size_t i = 0; i < h->c.n_ports; i++)
        mem_free(h->answer[i].ms);
    mem_free(h);
}
