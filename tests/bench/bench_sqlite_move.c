/*
 * bench_sqlite_move.c - how long do 10,000 items of one dead master take to
 * move on the embedded registry, and how far is that from bare SQL?
 *
 * A move is three operations in one txn: the record at its version, the old
 * marker deleted at its version, the new marker made. The registry's figure
 * contains what the engine really does: paged reads of the markers and the
 * records, then batches as large as the backend takes, several in flight, a
 * check-lock each. The bare one is prepared statements in batches of the same
 * size on tables of the same shape, fsync included, without checks, change
 * feed, sessions or threads.
 */
#include "base/clock.h"
#include "base/loop.h"
#include "base/mem.h"
#include "conf/conf.h"
#include "registry/registry.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ITEMS     10000
#define PAGE      1000
#define IN_FLIGHT 3
#define RECORD                                                                 \
    "{\"id\":\"%05zu\",\"kind\":\"master\",\"group\":\"default\","             \
    "\"state\":\"assigned\",\"owner\":\"10.0.0.%d:5678\",\"process\":{"        \
    "\"created\":17,\"startupTime\":1763812500000,\"processId\":4711},"        \
    "\"epoch\":%d,\"policy\":\"reassign\",\"payload\":{\"workflow\":%zu},"     \
    "\"attempts\":1,\"history\":[],\"assigned_at\":1763812500123}"
#define MARKER "{\"epoch\":%d,\"process\":17}"
#define OWNED  "/pelorus/owned/master/10.0.0.%d:5678"

struct item {
    char record[64], old_marker[96], new_marker[96];
    char value[512], marker[64];
    uint64_t record_version, marker_version;
};

struct bench {
    struct loop *loop;
    struct registry *registry;
    struct registry_lock *lock;
    struct item *items;
    size_t n_records, n_markers; /* read */
    size_t sent, answered, failed;
    size_t batch;
    bool connected, granted, closed, page_done;
};

static void die(const char *what)
{
    (void)fprintf(stderr, "bench_sqlite_move: %s\n", what);
    exit(1);
}

static void wait_for(struct bench *b, const bool *flag)
{
    while (!*flag) {
        loop_turn(b->loop, 1000);
    }
}

/* --- filling and moving through the registry ---------------------------------
 */

static void item_init(struct item *item, size_t i)
{
    (void)snprintf(item->record, sizeof(item->record), "/pelorus/work/%05zu",
                   i);
    (void)snprintf(item->old_marker, sizeof(item->old_marker), OWNED "/%05zu",
                   1, i);
    (void)snprintf(item->new_marker, sizeof(item->new_marker), OWNED "/%05zu",
                   2 + (int)(i % 3), i);
}

static void on_batch(void *arg, const struct registry_reply *reply)
{
    struct bench *b = arg;

    b->answered++;
    if (reply->err.code != ERR_OK) {
        b->failed++;
        (void)fprintf(stderr, "txn: %s: %s\n", err_name(reply->err.code),
                      reply->err.msg);
    }
}

static void put(struct registry_op *op, const char *key, const char *value,
                uint64_t version)
{
    *op = (struct registry_op){.type = REGISTRY_PUT,
                               .expect = version == 0 ? REGISTRY_ABSENT
                                                      : REGISTRY_VERSION,
                               .key = key,
                               .value = value,
                               .value_len = strlen(value),
                               .version = version};
}

static void send_create(struct bench *b, size_t from, size_t n)
{
    struct registry_op *ops = mem_array(2 * n, sizeof(*ops));

    for (size_t i = 0; i < n; i++) {
        struct item *item = &b->items[from + i];

        (void)snprintf(item->value, sizeof(item->value), RECORD, from + i, 1, 1,
                       from + i);
        (void)snprintf(item->marker, sizeof(item->marker), MARKER, 1);
        put(&ops[2 * i], item->record, item->value, 0);
        put(&ops[2 * i + 1], item->old_marker, item->marker, 0);
    }
    registry_txn(b->registry, ops, 2 * n, on_batch, b);
    mem_free(ops);
}

static void send_move(struct bench *b, size_t from, size_t n)
{
    struct registry_op *ops = mem_array(3 * n + 1, sizeof(*ops));

    ops[0] = (struct registry_op){.type = REGISTRY_CHECK_LOCK, .lock = b->lock};
    for (size_t i = 0; i < n; i++) {
        struct item *item = &b->items[from + i];

        (void)snprintf(item->value, sizeof(item->value), RECORD, from + i,
                       2 + (int)((from + i) % 3), 2, from + i);
        (void)snprintf(item->marker, sizeof(item->marker), MARKER, 2);
        put(&ops[3 * i + 1], item->record, item->value, item->record_version);
        ops[3 * i + 2] = (struct registry_op){.type = REGISTRY_DELETE,
                                              .expect = REGISTRY_VERSION,
                                              .key = item->old_marker,
                                              .version = item->marker_version};
        put(&ops[3 * i + 3], item->new_marker, item->marker, 0);
    }
    registry_txn(b->registry, ops, 3 * n + 1, on_batch, b);
    mem_free(ops);
}

static void in_batches(struct bench *b,
                       void (*send)(struct bench *, size_t, size_t))
{
    size_t next = 0;

    b->sent = b->answered = b->failed = 0;
    while (next < ITEMS || b->answered < b->sent) {
        while (next < ITEMS && b->sent - b->answered < IN_FLIGHT) {
            size_t n = ITEMS - next < b->batch ? ITEMS - next : b->batch;

            b->sent++;
            send(b, next, n);
            next += n;
        }
        loop_turn(b->loop, 1000);
    }
    if (b->failed > 0) {
        die("a txn failed");
    }
}

static void on_records(void *arg, const struct registry_reply *reply)
{
    struct bench *b = arg;

    if (reply->err.code != ERR_OK) {
        die(reply->err.msg);
    }
    for (size_t i = 0; i < reply->n_entries; i++) {
        b->items[b->n_records++].record_version = reply->entries[i].version;
    }
    b->page_done = reply->next == NULL;
    if (!b->page_done) {
        registry_list(b->registry, "/pelorus/work", reply->next, PAGE,
                      on_records, b);
    }
}

static void on_markers(void *arg, const struct registry_reply *reply)
{
    struct bench *b = arg;
    char prefix[96];

    if (reply->err.code != ERR_OK) {
        die(reply->err.msg);
    }
    for (size_t i = 0; i < reply->n_entries; i++) {
        b->items[b->n_markers++].marker_version = reply->entries[i].version;
    }
    b->page_done = reply->next == NULL;
    if (!b->page_done) {
        (void)snprintf(prefix, sizeof(prefix), OWNED, 1);
        registry_list(b->registry, prefix, reply->next, PAGE, on_markers, b);
    }
}

static void read_all(struct bench *b)
{
    char prefix[96];

    (void)snprintf(prefix, sizeof(prefix), OWNED, 1);
    b->page_done = false;
    registry_list(b->registry, prefix, NULL, PAGE, on_markers, b);
    wait_for(b, &b->page_done);
    b->page_done = false;
    registry_list(b->registry, "/pelorus/work", NULL, PAGE, on_records, b);
    wait_for(b, &b->page_done);
    if (b->n_records != ITEMS || b->n_markers != ITEMS) {
        die("not all items were listed");
    }
}

static void on_state(void *arg, enum registry_state state)
{
    ((struct bench *)arg)->connected = state == REGISTRY_CONNECTED;
}

static void on_granted(void *arg, enum err_code code)
{
    if (code != ERR_OK) {
        die("no lock");
    }
    ((struct bench *)arg)->granted = true;
}

static void on_closed(void *arg)
{
    ((struct bench *)arg)->closed = true;
}

static void on_event(void *arg, const struct registry_event *event)
{
    (void)event;
    (*(size_t *)arg)++;
}

static double ms_since(uint64_t start)
{
    return (double)(clock_mono_ns() - start) / 1e6;
}

static double through_registry(struct bench *b, const char *path)
{
    struct conf_registry conf = {.type = CONF_SQLITE,
                                 .namespace_ = (char *)"bench",
                                 .path = (char *)path,
                                 .session_timeout_ms = 10000};
    struct registry_listener *listener;
    struct registry_watch *watch;
    size_t events = 0;
    uint64_t start;
    double reading, all;
    struct err err;

    if (loop_new(&b->loop, 64, &err) != 0 ||
        registry_open(&b->registry, b->loop, &conf, &err) != 0) {
        die(err.msg);
    }
    listener = registry_listen(b->registry, on_state, b);
    wait_for(b, &b->connected);
    b->batch = (registry_max_ops(b->registry) - 1) / 3;
    in_batches(b, send_create);
    b->lock = registry_lock(b->registry, "/lock/master-failover", "bench", -1,
                            on_granted, NULL, b);
    wait_for(b, &b->granted);
    watch = registry_watch(b->registry, "/pelorus", on_event, &events);
    start = clock_mono_ns();
    read_all(b);
    reading = ms_since(start);
    in_batches(b, send_move);
    all = ms_since(start);
    (void)printf("registry: %d items, read %.0f ms, move %.0f ms, together "
                 "%.0f ms (%zu items a txn, %zu events watched)\n",
                 ITEMS, reading, all - reading, all, b->batch, events);
    registry_unwatch(&watch);
    registry_unlock(&b->lock);
    registry_unlisten(&listener);
    registry_close(&b->registry, on_closed, b);
    wait_for(b, &b->closed);
    loop_free(&b->loop);
    return all;
}

/* --- the same in bare SQL
 * ------------------------------------------------------ */

static void run(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) {
        die(sqlite3_errmsg(db));
    }
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *stmt;

    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK) {
        die(sqlite3_errmsg(db));
    }
    return stmt;
}

static void step(sqlite3_stmt *stmt, const char *key, const char *value)
{
    (void)sqlite3_bind_text(stmt, 1, key, -1, SQLITE_STATIC);
    if (value != NULL) {
        (void)sqlite3_bind_blob(stmt, 2, value, (int)strlen(value),
                                SQLITE_STATIC);
    }
    if (sqlite3_step(stmt) != SQLITE_DONE) {
        die("bare SQL failed");
    }
    (void)sqlite3_reset(stmt);
}

static double bare(struct bench *b, const char *path)
{
    sqlite3_stmt *insert, *update, *drop;
    uint64_t start;
    double all;
    sqlite3 *db;

    if (sqlite3_open(path, &db) != SQLITE_OK) {
        die(sqlite3_errmsg(db));
    }
    run(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
            "PRAGMA wal_autocheckpoint = 4000; PRAGMA cache_size = -32768;"
            "PRAGMA secure_delete = OFF;"
            "CREATE TABLE node(id INTEGER PRIMARY KEY, key TEXT NOT NULL "
            "UNIQUE, value BLOB NOT NULL, version INTEGER) STRICT; BEGIN");
    insert = prepare(db, "INSERT INTO node(key, value, version) "
                         "VALUES(?1, ?2, 1)");
    update = prepare(db, "UPDATE node SET value = ?2, version = 2 "
                         "WHERE key = ?1 AND version = 1");
    drop = prepare(db, "DELETE FROM node WHERE key = ?1 AND version = 1");
    for (size_t i = 0; i < ITEMS; i++) {
        step(insert, b->items[i].record, b->items[i].value);
        step(insert, b->items[i].old_marker, b->items[i].marker);
    }
    run(db, "COMMIT");
    start = clock_mono_ns();
    for (size_t i = 0; i < ITEMS; i++) {
        if (i % b->batch == 0) {
            run(db, i == 0 ? "BEGIN IMMEDIATE" : "COMMIT; BEGIN IMMEDIATE");
        }
        step(update, b->items[i].record, b->items[i].value);
        step(drop, b->items[i].old_marker, NULL);
        step(insert, b->items[i].new_marker, b->items[i].marker);
    }
    run(db, "COMMIT");
    all = ms_since(start);
    (void)printf("bare SQL: move %.0f ms\n", all);
    (void)sqlite3_finalize(insert);
    (void)sqlite3_finalize(update);
    (void)sqlite3_finalize(drop);
    (void)sqlite3_close(db);
    return all;
}

static void remove_files(const char *path)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};

    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        char name[128];

        (void)snprintf(name, sizeof(name), "%s%s", path, suffixes[i]);
        (void)unlink(name);
    }
}

int main(void)
{
    char dir[] = "/tmp/bench_sqlite_XXXXXX";
    char ours[64], plain[64];
    struct bench b = {0};
    double through, without;

    if (mkdtemp(dir) == NULL) {
        die("no temporary directory");
    }
    (void)snprintf(ours, sizeof(ours), "%s/registry.db", dir);
    (void)snprintf(plain, sizeof(plain), "%s/bare.db", dir);
    b.items = mem_zalloc(ITEMS * sizeof(*b.items));
    for (size_t i = 0; i < ITEMS; i++) {
        item_init(&b.items[i], i);
    }
    through = through_registry(&b, ours);
    without = bare(&b, plain);
    (void)printf("%d items move in %.0f ms (at most 1500), %.1f x bare SQL\n",
                 ITEMS, through, through / without);
    remove_files(ours);
    remove_files(plain);
    (void)rmdir(dir);
    mem_free(b.items);
    return through <= 1500 ? 0 : 1;
}
