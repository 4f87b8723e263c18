/*
 * bench_many.c - a hundred thousand nodes over HTTP that report every ten
 * seconds: is anything refused, what does the coordinator spend, when is a dead
 * one seen, when is a restarted coordinator ready?
 *
 * A real `pelorus serve` on a store of its own; this program is all the nodes,
 * over some connections that are kept alive, as a proxy in front of them has
 * them. They join as fast as they may, and renew meanwhile; then each reports
 * once in a period, evenly. What is behind is sent late and never left out: how
 * long a node went without an accepted report at worst is beside its ttl.
 *
 *   bench_many [--registry sqlite|zookeeper|etcd|mysql|postgresql]
 *              [--nodes N] [--seconds S] [--period S] [--ttl S]
 *              [--connections N]           100,000, 60, 10, 30, 640
 *              [--renewals single|grouped] as the coordinator has it by itself
 */
#include "base/clock.h"
#include "base/mem.h"
#include "tests/bench/live/wire.h"
#include "tests/bench/rig.h"
#include "tests/bench/row.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NS         1000000000
#define MS         1000000
#define JOIN_S     1200 /* for all of them, at most */
#define JOINING    256  /* at once: others have to renew in time beside them */
#define EACH       2    /* requests under way on a connection, at most */
#define SEEN_S     2    /* a dead one is seen so soon after its ttl */
#define READY_S    10   /* and a restarted coordinator is ready */
#define TIDIED_S   60   /* by then it has given back what reading took */
#define RSS_MIB    160  /* of 100,000 nodes */
#define SCRAPES    20
#define SCRAPE_MS  5  /* the shortest of these, whatever the number of nodes */
#define LOOK_MS    50 /* how often one is looked at */
#define STATUS_MAX 600
#define TEXT_MAX   1024

enum kind { BEAT, LOOK, READY };

struct node {
    char instance[40];
    uint64_t sent, accepted; /* ns; of the last one; 0 never */
    bool under_way;
};

struct bench {
    const char *kind, *renewals; /* NULL: nothing is said */
    size_t nodes, seconds, period, ttl, connections;
    struct rig rig;
    struct wires *wires;
    struct node *node;
    size_t joined, accepted; /* nodes that have begun; reports */
    size_t joining;          /* of them, under way */
    uint32_t *order;         /* of those who joined, as they report */
    size_t turn;             /* whose report is next */
    size_t dead;             /* SIZE_MAX: nobody */
    uint64_t begun;          /* of the schedule; node i at i / nodes of it */
    uint64_t turns;          /* in it */
    size_t statuses[STATUS_MAX];
    uint64_t gap; /* ns, the longest between two accepted ones */
    float *took;  /* ms, of the phase that is measured */
    size_t n_took, took_max;
    bool up, ready; /* by the last look */
    size_t asked;   /* connections in turn */
};

static struct bench bench;

/* --- requests ------------------------------------------------------------ */

static void address_of(size_t i, char out[32])
{
    (void)snprintf(out, 32, "10.%zu.%zu.%zu:1234", i >> 16, i >> 8 & 255,
                   i & 255);
}

static void send_text(struct bench *b, enum kind kind, size_t of,
                      const char *text, int len)
{
    assert(len > 0 && len < TEXT_MAX);
    wire_send(b->wires, b->asked++ % b->connections, (int)kind, (uint32_t)of,
              text, (size_t)len);
}

static void send_get(struct bench *b, enum kind kind, const char *path)
{
    char text[TEXT_MAX];
    int len = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: b\r\n\r\n",
                       path);

    send_text(b, kind, 0, text, len);
}

static void send_beat(struct bench *b, size_t i)
{
    struct node *n = &b->node[i];
    char address[32], body[512], text[TEXT_MAX];
    int len = snprintf(
        body, sizeof(body),
        "{\"processId\":%zu,\"startupTime\":1763812500000,\"cpuUsage\":0.%zu,"
        "\"memoryUsage\":0.5,\"diskUsage\":0.1,\"serverStatus\":\"NORMAL\","
        "\"workerHostWeight\":100,\"threadPoolUsage\":0.25}",
        i + 1, 1 + (i + (size_t)b->turns) % 8);

    assert(!n->under_way);
    address_of(i, address);
    len = snprintf(text, sizeof(text),
                   "PUT /v1/nodes/worker/%s?ttl=%zus%s%s HTTP/1.1\r\n"
                   "Host: b\r\nContent-Type: application/json\r\n"
                   "Content-Length: %d\r\n\r\n%s",
                   address, b->ttl, n->instance[0] != '\0' ? "&instance=" : "",
                   n->instance, len, body);
    n->under_way = true;
    b->joining += n->instance[0] == '\0';
    n->sent = clock_mono_ns();
    send_text(b, BEAT, i, text, len);
}

static void beat_answered(struct bench *b, const struct wire_answer *a)
{
    struct node *n = &b->node[a->of];

    n->under_way = false;
    b->joining -= n->instance[0] == '\0';
    if (a->status >= 0 && a->status < STATUS_MAX &&
        b->statuses[a->status]++ == 0 && a->status >= 300)
        (void)printf("refused with %d: %.300s\n", a->status, a->body);
    if (b->n_took < b->took_max)
        b->took[b->n_took++] = (float)(a->came - a->sent) / MS;
    if (a->status >= 300)
        return;
    b->accepted++;
    if (n->accepted != 0 && a->came - n->accepted > b->gap)
        b->gap = a->came - n->accepted;
    n->accepted = a->came;
    if (n->instance[0] == '\0')
        wire_instance(a->body, n->instance, sizeof(n->instance));
}

static void answered(void *arg, const struct wire_answer *a)
{
    struct bench *b = arg;

    if (a->kind == BEAT)
        beat_answered(b, a);
    else if (a->kind == READY)
        b->ready = a->status == 200;
    else
        b->up = strstr(a->body, "\"state\":\"up\"") != NULL;
}

static void connect_all(struct bench *b)
{
    uint16_t *ports = mem_array(b->connections, sizeof(*ports));

    for (size_t i = 0; i < b->connections; i++)
        ports[i] = b->rig.port;
    b->wires = wires_open(ports, b->connections, answered, b);
    mem_free(ports);
}

static bool has_room(const struct bench *b)
{
    return wires_open_requests(b->wires) < b->connections * EACH;
}

static void drain(struct bench *b)
{
    while (wires_open_requests(b->wires) > 0)
        wires_wait(b->wires, clock_mono_ns() + NS);
}

/* --- phases -------------------------------------------------------------- */

/* Nobody joins while those who have joined are kept waiting. */
static bool may_join(const struct bench *b, uint64_t now)
{
    const struct node *n = &b->node[b->order[b->turn]];

    return b->joined < b->nodes && b->joining < JOINING &&
           (b->joined == 0 || now - n->sent < b->period * NS * 5 / 4);
}

static void join_one(struct bench *b)
{
    size_t last = b->joined++;

    /* behind whoever was heard of last, that is before whose turn it is */
    memmove(b->order + b->turn + 1, b->order + b->turn,
            (last - b->turn) * sizeof(*b->order));
    b->order[b->turn] = (uint32_t)last;
    b->turn = (b->turn + 1) % b->joined;
    send_beat(b, last);
}

/* All join; those who have, renew. */
static void join_all(struct bench *b)
{
    uint64_t began = clock_mono_ns(), period = b->period * NS;

    b->order = mem_array(b->nodes, sizeof(*b->order));
    b->order[0] = 0;
    while (b->joined < b->nodes || wires_open_requests(b->wires) > 0) {
        uint64_t now = clock_mono_ns();
        size_t first = b->order[b->turn];
        struct node *n = &b->node[first];

        if (now - began > (uint64_t)JOIN_S * NS)
            rig_die(&b->rig, "they do not join in time");
        if (!has_room(b)) {
            wires_wait(b->wires, now + NS);
        } else if (b->joined > 0 && now - n->sent >= period && !n->under_way) {
            b->turn = (b->turn + 1) % b->joined;
            send_beat(b, first);
        } else if (may_join(b, now)) {
            join_one(b);
        } else {
            wires_wait(b->wires, now + MS);
        }
    }
    mem_free(b->order);
    (void)printf("joined in %.1f s\n", (double)(clock_mono_ns() - began) / NS);
}

/* From now on each once in a period. */
static void begin_schedule(struct bench *b)
{
    b->begun = clock_mono_ns();
    b->turns = 0;
}

static uint64_t turn_due(const struct bench *b)
{
    return b->begun + b->turns * (b->period * NS) / b->nodes;
}

/* Until then. */
static void beat_until(struct bench *b, uint64_t until)
{
    uint64_t now;

    while ((now = clock_mono_ns()) < until) {
        size_t i = (size_t)(b->turns % b->nodes);

        if (turn_due(b) > now || !has_room(b) || b->node[i].under_way) {
            wires_wait(b->wires, turn_due(b) > now && turn_due(b) < until
                                     ? turn_due(b)
                                     : now + MS);
            continue;
        }
        if (i != b->dead)
            send_beat(b, i);
        b->turns++;
    }
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

static double share_of(const struct bench *b, double share)
{
    return b->n_took == 0 ? 0
                          : b->took[(size_t)((double)(b->n_took - 1) * share)];
}

static uint64_t spent_us(const struct bench *b)
{
    struct store s = {.pid = b->rig.serve.pid};

    return store_cpu_us(&s);
}

static double resident_mib(const struct bench *b)
{
    char path[64];
    unsigned long pages = 0;
    FILE *f;

    (void)snprintf(path, sizeof(path), "/proc/%d/statm", (int)b->rig.serve.pid);
    f = fopen(path, "r");
    if (f == NULL || fscanf(f, "%*u %lu", &pages) != 1)
        rig_die(&b->rig, "the coordinator has gone");
    (void)fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / (1 << 20);
}

static const char *row_name(const struct bench *b, const char *what)
{
    static char text[64];
    bool sqlite = strcmp(b->kind, "sqlite") == 0;

    (void)snprintf(text, sizeof(text), "nodes-%zu-%s%s%s", b->nodes, what,
                   sqlite ? "" : "-", sqlite ? "" : b->kind);
    return text;
}

static size_t refused(const struct bench *b)
{
    size_t n = 0;

    for (size_t i = 300; i < STATUS_MAX; i++)
        n += b->statuses[i];
    return n;
}

/* Steady, after one period of it. */
static void measure(struct bench *b)
{
    uint64_t began, spent, server;
    size_t before, accepted;
    double s;

    begin_schedule(b);
    beat_until(b, b->begun + b->period * NS);
    b->took_max = b->nodes * b->seconds / b->period + b->nodes;
    b->took = mem_array(b->took_max, sizeof(*b->took));
    b->gap = 0;
    before = refused(b);
    accepted = b->accepted;
    spent = spent_us(b);
    server = store_cpu_us(&b->rig.store);
    began = clock_mono_ns();
    beat_until(b, began + b->seconds * NS);
    s = (double)(clock_mono_ns() - began) / NS;
    qsort(b->took, b->n_took, sizeof(*b->took), by_size);
    (void)printf("%.0f reports/s of %.0f, p50 %.1f ms, p99 %.1f, at most %.1f; "
                 "a node went %.1f s without one at worst; the store %.2f "
                 "cores\n",
                 (double)(b->accepted - accepted) / s,
                 (double)b->nodes / (double)b->period, share_of(b, .5),
                 share_of(b, .99), share_of(b, 1), (double)b->gap / NS,
                 b->rig.store.pid == 0
                     ? 0
                     : (double)(store_cpu_us(&b->rig.store) - server) / s /
                           1e6);
    row_at_most(row_name(b, "refused"), "reports",
                (double)(refused(b) - before), 0);
    row_at_least(row_name(b, "rate"), "reports/s",
                 (double)(b->accepted - accepted) / s,
                 .99 * (double)b->nodes / (double)b->period);
    row_at_most(row_name(b, "gap"), "s", (double)b->gap / NS, (double)b->ttl);
    row_beside(row_name(b, "p99"), "ms", share_of(b, .99));
    row_at_most(row_name(b, "cpu"), "cores",
                (double)(spent_us(b) - spent) / s / 1e6, 1);
    row_at_most(row_name(b, "memory"), "MiB", resident_mib(b),
                RSS_MIB * (double)b->nodes / 100000);
    b->took_max = 0;
}

static double up(const struct bench *b)
{
    return rig_metric(&b->rig,
                      "\npelorus_nodes{kind=\"worker\",state=\"up\"} ");
}

/* Nothing is walked to say how many there are of what. */
static void scrape(struct bench *b)
{
    double least = 1e9;

    drain(b);
    for (int i = 0; i < SCRAPES; i++) {
        uint64_t began = clock_mono_ns();

        if (up(b) != (double)b->nodes)
            rig_die(&b->rig, "not all of them are counted");
        least = fmin(least, (double)(clock_mono_ns() - began) / MS);
    }
    row_at_most(row_name(b, "scrape"), "ms", least, SCRAPE_MS);
}

/* One reports no more. */
static void see_a_dead_one(struct bench *b)
{
    char path[96], address[32];
    uint64_t last, limit;

    b->dead = b->nodes / 2 + 7;
    drain(b);
    last = b->node[b->dead].sent;
    limit = last + (b->ttl + 60) * NS;
    address_of(b->dead, address);
    (void)snprintf(path, sizeof(path), "/v1/nodes/worker/%s", address);
    b->up = true;
    while (b->up && clock_mono_ns() < limit) {
        send_get(b, LOOK, path);
        beat_until(b, clock_mono_ns() + LOOK_MS * MS);
    }
    row_at_most(row_name(b, "seen"), "s", (double)(clock_mono_ns() - last) / NS,
                (double)(b->ttl + SEEN_S));
}

/* Nodes report again as soon as somebody listens. */
static void restart(struct bench *b)
{
    uint64_t began, limit;
    size_t before;

    drain(b);
    wires_close(&b->wires);
    daemon_quit(&b->rig.serve, SIGTERM);
    began = clock_mono_ns();
    limit = began + (uint64_t)JOIN_S * NS;
    rig_serve(&b->rig, "");
    while (rig_metric(&b->rig, "\npelorus_ready ") < 0)
        if (clock_mono_ns() > limit)
            rig_die(&b->rig, "it does not come back");
    (void)printf("listens after %.2f s\n",
                 (double)(clock_mono_ns() - began) / NS);
    connect_all(b);
    b->ready = false;
    while (!b->ready && clock_mono_ns() < limit) {
        send_get(b, READY, "/readyz");
        beat_until(b, clock_mono_ns() + LOOK_MS * MS);
    }
    row_at_most(row_name(b, "ready"), "s",
                (double)(clock_mono_ns() - began) / NS, READY_S);
    beat_until(b, clock_mono_ns() + 2 * b->period * NS);
    row_at_least(row_name(b, "back"), "nodes", up(b), (double)(b->nodes - 1));
    (void)printf("resident %.1f MiB\n", resident_mib(b));
    b->gap = 0;
    before = refused(b);
    beat_until(b, began + (uint64_t)TIDIED_S * NS);
    (void)printf("and %zu refused, a node %.1f s without a report\n",
                 refused(b) - before, (double)b->gap / NS);
    row_at_least(row_name(b, "stay"), "nodes", up(b), (double)(b->nodes - 1));
    row_at_most(row_name(b, "memory-restarted"), "MiB", resident_mib(b),
                RSS_MIB * (double)b->nodes / 100000);
}

/* --- the whole ----------------------------------------------------------- */

static void read_arguments(struct bench *b, int argc, char **argv)
{
    *b = (struct bench){.rig = {.name = "bench_many"},
                        .kind = "sqlite",
                        .nodes = 100000,
                        .seconds = 60,
                        .period = 10,
                        .ttl = 30,
                        .connections = 640,
                        .dead = SIZE_MAX};
    for (int i = 1; i < argc; i += 2) {
        const struct {
            const char *name;
            size_t *to;
        } numbers[] = {{"--nodes", &b->nodes},
                       {"--seconds", &b->seconds},
                       {"--period", &b->period},
                       {"--ttl", &b->ttl},
                       {"--connections", &b->connections}};
        size_t k = 0;

        if (argv[i + 1] == NULL)
            rig_die(&b->rig, "an option without its value: see the source");
        if (strcmp(argv[i], "--registry") == 0) {
            b->kind = argv[i + 1];
            continue;
        }
        if (strcmp(argv[i], "--renewals") == 0) {
            b->renewals = argv[i + 1];
            continue;
        }
        while (k < ARRAY_LEN(numbers) && strcmp(argv[i], numbers[k].name) != 0)
            k++;
        if (k == ARRAY_LEN(numbers))
            rig_die(&b->rig, "an option that is none: see the source");
        *numbers[k].to = strtoul(argv[i + 1], NULL, 10);
    }
    if (b->nodes < 20 || b->seconds == 0 || b->period == 0 || b->ttl == 0 ||
        b->connections == 0)
        rig_die(&b->rig, "20 nodes at least, and everything more than 0");
}

int main(int argc, char **argv)
{
    struct bench *b = &bench;
    char more[64] = "";

    read_arguments(b, argc, argv);
    if (b->renewals != NULL)
        (void)snprintf(more, sizeof(more), "renewals: %s\n", b->renewals);
    b->node = mem_array(b->nodes, sizeof(*b->node));
    memset(b->node, 0, b->nodes * sizeof(*b->node));
    rig_make(&b->rig, b->kind, more);
    rig_serve(&b->rig, "");
    while (rig_metric(&b->rig, "\npelorus_ready ") != 1)
        (void)usleep(10000);
    (void)printf("%s, %zu nodes, each every %zu s\n", b->kind, b->nodes,
                 b->period);
    connect_all(b);
    join_all(b);
    measure(b);
    scrape(b);
    see_a_dead_one(b);
    restart(b);
    wires_close(&b->wires);
    mem_free(b->took);
    mem_free(b->node);
    return 0;
}
