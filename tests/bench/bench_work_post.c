/*
 * bench_work_post.c - how many items a second does POST /v1/work take on the
 * embedded registry, and how far is that from the store itself?
 *
 * One half is `pelorus serve` and 8 connections that are kept, each with one
 * request under way. The other half writes the same rows (record, marker, two
 * of the feed) with the same settings of SQLite in group commits as deep as 8
 * requests under way allow: 8 items each, and nothing else. Both on the disk
 * of the same directory (--dir, else the one of temporary files), in short
 * turns, each first in every other one, so that a machine that is slow for a
 * second is slow for both; the median of the pairs' ratios counts. The last
 * line is that of a suite.
 *
 * The store's keys stand anywhere in its index, as ours did when the bound was
 * set; now ours ascend with time, and what the store takes with such keys is
 * told beside: it saves the store more, which writes nothing but rows. Told
 * beside, too, and not counted, is the store with clients: as many threads as
 * there are connections, each of which waits for the commit of its item before
 * it has another. That is what being asked and answering costs at the least,
 * without HTTP and without anything to decide.
 */
#include "tests/bench/live/wire.h"
#include "tests/bench/median.h"
#include "tests/bench/move.h"
#include "tests/bench/row.h"
#include "tests/lib/daemon.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS 8
#define WORKERS     3
#define PAIRS       7
#define TURNS       4 /* of each in a pair */
#define TURN_NS     UINT64_C(400000000)
#define RATIO_MIN   0.7
#define START_MS    30000

/* --- the store itself ---------------------------------------------------- */

struct raw {
    sqlite3 *db;
    sqlite3_stmt *begin, *commit, *meta, *set, *node, *change;
    uint64_t revision;
    size_t n;
    bool ascending; /* its keys */
};

static sqlite3_stmt *prepare(struct raw *raw, const char *sql)
{
    sqlite3_stmt *stmt;

    if (sqlite3_prepare_v2(raw->db, sql, -1, &stmt, NULL) != SQLITE_OK)
        wire_die("%s", sqlite3_errmsg(raw->db));
    return stmt;
}

static void raw_open(struct raw *raw, const char *path, bool ascending)
{
    static const char setup[] =
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
        "PRAGMA secure_delete = OFF; PRAGMA temp_store = MEMORY;"
        "PRAGMA wal_autocheckpoint = 4000; PRAGMA cache_size = -32768;"
        "CREATE TABLE meta(id INTEGER PRIMARY KEY, revision INTEGER) STRICT;"
        "INSERT INTO meta VALUES(1, 0);"
        "CREATE TABLE node(id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE,"
        " value BLOB NOT NULL, created INTEGER NOT NULL,"
        " version INTEGER NOT NULL, owner INTEGER NOT NULL) STRICT;"
        "CREATE TABLE change(rev INTEGER NOT NULL, key TEXT NOT NULL,"
        " PRIMARY KEY(rev, key)) STRICT, WITHOUT ROWID;";

    *raw = (struct raw){.ascending = ascending};
    if (sqlite3_open(path, &raw->db) != SQLITE_OK ||
        sqlite3_exec(raw->db, setup, NULL, NULL, NULL) != SQLITE_OK)
        wire_die("%s", sqlite3_errmsg(raw->db));
    raw->begin = prepare(raw, "BEGIN IMMEDIATE");
    raw->commit = prepare(raw, "COMMIT");
    raw->meta = prepare(raw, "SELECT revision FROM meta WHERE id = 1");
    raw->set = prepare(raw, "UPDATE meta SET revision = ?1 WHERE id = 1");
    raw->node = prepare(raw, "INSERT INTO node(key, value, created, version,"
                             " owner) VALUES(?1, ?2, ?3, ?3, 0)");
    raw->change = prepare(raw, "INSERT INTO change(rev, key) VALUES(?1, ?2)");
}

static void step(struct raw *raw, sqlite3_stmt *stmt)
{
    int rc = sqlite3_step(stmt);

    if (rc != SQLITE_DONE && rc != SQLITE_ROW)
        wire_die("%s", sqlite3_errmsg(raw->db));
    (void)sqlite3_reset(stmt);
}

static void raw_put(struct raw *raw, const char *key, const char *value)
{
    sqlite3_int64 rev = (sqlite3_int64)raw->revision;

    (void)sqlite3_bind_text(raw->node, 1, key, -1, SQLITE_STATIC);
    (void)sqlite3_bind_blob(raw->node, 2, value, (int)strlen(value),
                            SQLITE_STATIC);
    (void)sqlite3_bind_int64(raw->node, 3, rev);
    step(raw, raw->node);
    (void)sqlite3_bind_int64(raw->change, 1, rev);
    (void)sqlite3_bind_text(raw->change, 2, key, -1, SQLITE_STATIC);
    step(raw, raw->change);
}

static void make_id(const struct raw *raw, char out[27])
{
    static const char digits[] = "234567abcdefghijklmnopqrstuvwxyz";
    int64_t now = clock_wall_ms();
    unsigned char random[26];

    rand_secret(random, sizeof(random));
    for (size_t i = 0; i < sizeof(random); i++)
        out[i] = digits[random[i] & 31];
    for (size_t i = 10; raw->ascending && i-- > 0; now >>= 5)
        out[i] = digits[now & 31];
    out[26] = '\0';
}

static void raw_group(struct raw *raw)
{
    step(raw, raw->begin);
    step(raw, raw->meta);
    for (int i = 0; i < CONNECTIONS; i++) {
        char key[128], id[27];
        struct move_values values;

        make_id(raw, id);
        move_before(raw->n, &values);
        raw->revision++;
        (void)snprintf(key, sizeof(key), "/bench/pelorus/work/%s", id);
        raw_put(raw, key, values.record);
        (void)snprintf(key, sizeof(key),
                       "/bench/pelorus/owned/worker/10.0.0.%d:1234/%s",
                       1 + (int)(raw->n % WORKERS), id);
        raw_put(raw, key, values.marker);
        raw->n++;
    }
    (void)sqlite3_bind_int64(raw->set, 1, (sqlite3_int64)raw->revision);
    step(raw, raw->set);
    step(raw, raw->commit);
}

/* What was done in so much time, of all turns of one pair. */
struct rate {
    double n, ns;
};

static double per_second(struct rate r)
{
    return r.n * 1e9 / r.ns;
}

static void raw_turn(struct raw *raw, struct rate *rate)
{
    uint64_t start = clock_mono_ns();
    size_t before = raw->n;

    while (clock_mono_ns() - start < TURN_NS)
        raw_group(raw);
    rate->n += (double)(raw->n - before);
    rate->ns += (double)(clock_mono_ns() - start);
}

/* --- the same with clients that wait ------------------------------------- */

struct clients {
    pthread_mutex_t mutex; /* of the rest */
    pthread_cond_t all_ask, answered;
    size_t asking;
    uint64_t groups; /* committed */
    bool over;
};

static void *client_run(void *arg)
{
    struct clients *c = arg;

    (void)pthread_mutex_lock(&c->mutex);
    while (!c->over) {
        uint64_t groups = c->groups;

        if (++c->asking == CONNECTIONS)
            (void)pthread_cond_signal(&c->all_ask);
        while (c->groups == groups && !c->over)
            (void)pthread_cond_wait(&c->answered, &c->mutex);
    }
    (void)pthread_mutex_unlock(&c->mutex);
    return NULL;
}

static void raw_serve(struct raw *raw, struct clients *c, uint64_t start)
{
    (void)pthread_mutex_lock(&c->mutex);
    while (clock_mono_ns() - start < TURN_NS) {
        while (c->asking < CONNECTIONS)
            (void)pthread_cond_wait(&c->all_ask, &c->mutex);
        (void)pthread_mutex_unlock(&c->mutex);
        raw_group(raw);
        (void)pthread_mutex_lock(&c->mutex);
        c->asking = 0;
        c->groups++;
        (void)pthread_cond_broadcast(&c->answered);
    }
    c->over = true;
    (void)pthread_cond_broadcast(&c->answered);
    (void)pthread_mutex_unlock(&c->mutex);
}

static void raw_turn_with_clients(struct raw *raw, struct rate *rate)
{
    struct clients c = {.mutex = PTHREAD_MUTEX_INITIALIZER,
                        .all_ask = PTHREAD_COND_INITIALIZER,
                        .answered = PTHREAD_COND_INITIALIZER};
    uint64_t start = clock_mono_ns();
    pthread_t threads[CONNECTIONS];
    size_t before = raw->n;

    for (size_t i = 0; i < CONNECTIONS; i++)
        if (pthread_create(&threads[i], NULL, client_run, &c) != 0)
            wire_die("no thread");
    raw_serve(raw, &c, start);
    for (size_t i = 0; i < CONNECTIONS; i++)
        (void)pthread_join(threads[i], NULL);
    rate->n += (double)(raw->n - before);
    rate->ns += (double)(clock_mono_ns() - start);
}

static void raw_close(struct raw *raw)
{
    sqlite3_stmt *stmt;

    while ((stmt = sqlite3_next_stmt(raw->db, NULL)) != NULL)
        (void)sqlite3_finalize(stmt);
    (void)sqlite3_close(raw->db);
}

/* --- the service --------------------------------------------------------- */

enum { SETUP, POST };

struct service {
    struct daemon daemon;
    char log[160], conf[160];
    uint16_t port;
    struct wires *wires;
    bool posting, done;
    size_t n, answered;
    uint64_t last;
};

static void send_text(struct service *s, size_t connection, int kind,
                      const char *method, const char *path, const char *body)
{
    char text[1024];
    int n = snprintf(text, sizeof(text),
                     "%s %s HTTP/1.1\r\nHost: bench\r\n"
                     "Content-Type: application/json\r\n"
                     "Content-Length: %zu\r\n\r\n%s",
                     method, path, strlen(body), body);

    assert(n > 0 && (size_t)n < sizeof(text));
    wire_send(s->wires, connection, kind, (uint32_t)connection, text,
              (size_t)n);
}

static void post(struct service *s, size_t connection)
{
    char body[256];

    (void)snprintf(body, sizeof(body),
                   "{\"kind\":\"worker\",\"group\":\"default\","
                   "\"policy\":\"reassign\",\"payload\":{\"workflow\":%zu}}",
                   ++s->n);
    send_text(s, connection, POST, "POST", "/v1/work", body);
}

static void on_answer(void *arg, const struct wire_answer *answer)
{
    struct service *s = arg;

    s->done = answer->status < 300;
    if (answer->kind != POST)
        return;
    if (!s->done)
        wire_die("answered %d: %s", answer->status, answer->body);
    s->answered++;
    s->last = answer->came;
    if (s->posting)
        post(s, answer->of);
}

static void drain(struct service *s)
{
    while (wires_open_requests(s->wires) > 0)
        wires_wait(s->wires, clock_mono_ns() + 1000000000);
}

/* Asked again until it is as it should be. */
static void insist(struct service *s, const char *method, const char *path,
                   const char *body)
{
    uint64_t start = clock_mono_ns();

    do {
        send_text(s, 0, SETUP, method, path, body);
        drain(s);
    } while (!s->done && move_ms_since(start) < START_MS);
    if (!s->done)
        wire_die("%s is refused", path);
}

static void register_workers(struct service *s)
{
    for (int i = 1; i <= WORKERS; i++) {
        char path[96];

        (void)snprintf(path, sizeof(path),
                       "/v1/nodes/worker/10.0.0.%d:1234?ttl=1h", i);
        insist(s, "PUT", path,
               "{\"startupTime\":1763812500000,\"processId\":4711,"
               "\"slots\":1000000,\"cpuUsage\":0.2,\"memoryUsage\":0.3,"
               "\"serverStatus\":\"NORMAL\"}");
    }
    insist(s, "GET", "/readyz", "");
}

static bool listens(void *arg)
{
    const struct service *s = arg;
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(s->port),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0;

    if (fd >= 0)
        (void)close(fd);
    return ok;
}

static void service_start(struct service *s, const char *dir)
{
    const char *program = getenv("PELORUS");
    uint16_t ports[CONNECTIONS];
    const char *argv[] = {program != NULL ? program : "build/pelorus", "serve",
                          "-c", s->conf, NULL};
    struct err err;
    FILE *f;

    *s = (struct service){.port = daemon_port()};
    (void)snprintf(s->log, sizeof(s->log), "%s/log", dir);
    (void)snprintf(s->conf, sizeof(s->conf), "%s/conf", dir);
    f = fopen(s->conf, "w");
    if (f == NULL)
        wire_die("%s cannot be written", s->conf);
    (void)fprintf(f,
                  "listen: 127.0.0.1:%u\n"
                  "registry:\n  type: sqlite\n  path: %s/service.db\n"
                  "balancer:\n  heartbeat-interval: 1h\n  warm-up: 0s\n"
                  "log:\n  level: warn\n",
                  s->port, dir);
    (void)fclose(f);
    s->daemon = (struct daemon){.name = "pelorus", .log = s->log};
    if (daemon_start(&s->daemon, argv, &err) != 0 ||
        daemon_await(&s->daemon, listens, s, START_MS, &err) != 0)
        wire_die("%s", err.msg);
    for (size_t i = 0; i < CONNECTIONS; i++)
        ports[i] = s->port;
    s->wires = wires_open(ports, CONNECTIONS, on_answer, s);
    register_workers(s);
}

static void service_turn(struct service *s, struct rate *rate)
{
    uint64_t start = clock_mono_ns();
    size_t before = s->answered;

    s->posting = true;
    for (size_t i = 0; i < CONNECTIONS; i++)
        post(s, i);
    while (clock_mono_ns() - start < TURN_NS)
        wires_wait(s->wires, start + TURN_NS);
    s->posting = false;
    drain(s);
    rate->n += (double)(s->answered - before);
    rate->ns += (double)(s->last - start);
}

static void service_stop(struct service *s)
{
    wires_close(&s->wires);
    daemon_quit(&s->daemon, SIGTERM);
}

/* --- side by side -------------------------------------------------------- */

/* Items a second. */
struct pair {
    double ours, bare, ascending, clients;
};

static struct pair pair(struct service *service, struct raw *raw,
                        struct raw *ascending)
{
    struct rate ours = {0}, bare = {0}, other = {0}, clients = {0};

    for (int turn = 0; turn < TURNS; turn++) {
        if (turn % 2 == 0)
            raw_turn(raw, &bare);
        service_turn(service, &ours);
        if (turn % 2 != 0)
            raw_turn(raw, &bare);
        raw_turn(ascending, &other);
        raw_turn_with_clients(raw, &clients);
    }
    return (struct pair){per_second(ours), per_second(bare), per_second(other),
                         per_second(clients)};
}

static double compare(const char *dir)
{
    double ratios[PAIRS], ours[PAIRS], bare[PAIRS], ascending[PAIRS],
        clients[PAIRS], ratio;
    struct service service;
    struct rate warm = {0};
    struct raw raw, other;
    char path[160];

    (void)snprintf(path, sizeof(path), "%s/raw.db", dir);
    raw_open(&raw, path, false);
    (void)snprintf(path, sizeof(path), "%s/ascending.db", dir);
    raw_open(&other, path, true);
    service_start(&service, dir);
    service_turn(&service, &warm);
    for (size_t i = 0; i < PAIRS; i++) {
        struct pair p = pair(&service, &raw, &other);

        ours[i] = p.ours;
        bare[i] = p.bare;
        ascending[i] = p.ascending;
        clients[i] = p.clients;
        ratios[i] = p.ours / p.bare;
        (void)printf("POST /v1/work %6.0f/s   the store itself %6.0f/s   "
                     "%.2f   (keys ascending %6.0f/s, clients that wait "
                     "%6.0f/s)\n",
                     p.ours, p.bare, ratios[i], p.ascending, p.clients);
        row_at_least("work-post", "x", ratios[i], RATIO_MIN);
    }
    service_stop(&service);
    raw_close(&raw);
    raw_close(&other);
    ratio = median_of(ratios, PAIRS);
    (void)printf("POST /v1/work, %d connections: %.0f/s, the store itself "
                 "%.0f/s (with keys that ascend %.0f/s, with clients that wait "
                 "%.0f/s), median ratio of %d %.2f (at least %.1f)\n",
                 CONNECTIONS, median_of(ours, PAIRS), median_of(bare, PAIRS),
                 median_of(ascending, PAIRS), median_of(clients, PAIRS), PAIRS,
                 ratio, RATIO_MIN);
    return ratio;
}

int main(int argc, char **argv)
{
    char dir[128];
    bool ok;

    if (argc != 1 && (argc != 3 || strcmp(argv[1], "--dir") != 0)) {
        (void)fprintf(stderr, "usage: %s [--dir DIRECTORY]\n", argv[0]);
        return 2;
    }
    (void)snprintf(dir, sizeof(dir), "%.90s/bench_work_post_XXXXXX",
                   argc == 3 ? argv[2] : "/tmp");
    if (mkdtemp(dir) == NULL) {
        (void)fprintf(stderr, "%s: no such directory\n", dir);
        return 2;
    }
    ok = compare(dir) >= RATIO_MIN;
    daemon_dir_remove(dir);
    (void)printf("%d passed, %d failed, 0 skipped\n", ok, !ok);
    return ok ? 0 : 1;
}
