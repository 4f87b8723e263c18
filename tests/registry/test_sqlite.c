/*
 * test_sqlite.c - the SQLite registry with real files and the real clock: the
 * conformance suite, then what is its own: group commit, the bounded queue,
 * the pruned change feed, how soon others' writes are known. (Longer than 500
 * lines: all of it stands on one store.)
 */
#include "tests/registry/conformance.h"

#include "base/clock.h"
#include "base/loop.h"
#include "base/mem.h"
#include "conf/conf.h"
#include "registry/sql/backend.h"
#include "registry/sqlite/sqlite_priv.h"
#include "tests/lib/daemon.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct store {
    char dir[64], path[96];
    struct loop *loop;
    sqlite3 *blocker; /* holds the write lock while a client is cut off */
    int dying;
};

static struct conf_registry conf_of(struct store *s, int64_t timeout_ms)
{
    return (struct conf_registry){.type = CONF_SQLITE,
                                  .namespace_ = (char *)"dolphinscheduler",
                                  .path = s->path,
                                  .session_timeout_ms = timeout_ms};
}

static void *open_store(void)
{
    struct store *s = mem_zalloc(sizeof(*s));

    if (daemon_dir(s->dir, sizeof(s->dir), "sqlite", NULL) != 0 ||
        loop_new(&s->loop, 1024, NULL) != 0) {
        mem_free(s);
        return NULL;
    }
    (void)snprintf(s->path, sizeof(s->path), "%s/pelorus.db", s->dir);
    return s;
}

static void close_store(void *arg)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    struct store *s = arg;

    while (s->dying > 0)
        loop_turn(s->loop, 100);
    (void)sqlite3_close(s->blocker);
    loop_free(&s->loop);
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        char name[128];

        (void)snprintf(name, sizeof(name), "%s%s", s->path, suffixes[i]);
        (void)unlink(name);
    }
    (void)rmdir(s->dir);
    mem_free(s);
}

static struct registry *open_client(void *arg, int64_t session_timeout_ms)
{
    struct store *s = arg;
    struct conf_registry conf = conf_of(s, session_timeout_ms);
    struct registry *r = NULL;
    struct err err;

    if (registry_open(&r, s->loop, &conf, &err) != 0)
        (void)fprintf(stderr, "%s\n", err.msg);
    return r;
}

static void turn(void *arg, int64_t max_ms)
{
    loop_turn(((struct store *)arg)->loop, max_ms);
}

static int64_t now(void *arg)
{
    (void)arg;
    return clock_mono_ms();
}

static struct sql_core *open_db(struct store *s)
{
    struct sql_core *db = NULL;
    struct err err;

    if (sqlite_db_open(&db, s->path, "dolphinscheduler", 5000, &err) != 0)
        fail_msg("%s", err.msg);
    return db;
}

/* What another process does with a session that it takes for dead. */
static void expire(void *arg, struct registry *client)
{
    struct sql_core *db = open_db(arg);
    struct err err;

    assert_int_equal(sqlite_session_close(db, registry_session(client), &err),
                     0);
    sqlite_db_close(&db);
}

static void on_killed(void *arg)
{
    ((struct store *)arg)->dying--;
}

static void kill_client(void *arg, struct registry **client)
{
    struct store *s = arg;

    s->dying++;
    sql_kill(client, on_killed, s);
}

/* Nobody can write while somebody else does. */
static void cut(void *arg, struct registry *client, bool is_cut)
{
    struct store *s = arg;

    (void)client;
    if (is_cut) {
        assert_null(s->blocker);
        assert_int_equal(sqlite3_open(s->path, &s->blocker), SQLITE_OK);
        (void)sqlite3_busy_timeout(s->blocker, 5000);
        assert_int_equal(
            sqlite3_exec(s->blocker, "BEGIN IMMEDIATE", NULL, NULL, NULL),
            SQLITE_OK);
    } else {
        assert_int_equal(sqlite3_close(s->blocker), SQLITE_OK);
        s->blocker = NULL;
    }
}

static const struct conformance_backend backend = {
    .name = "sqlite",
    .session_timeout_ms = CONFORMANCE_TIMEOUT_MS,
    .open_store = open_store,
    .close_store = close_store,
    .open = open_client,
    .turn = turn,
    .now = now,
    .expire = expire,
    .kill = kill_client,
    .cut = cut,
};

/* --- of its own ---------------------------------------------------------- */

static int store_setup(void **state)
{
    *state = open_store();
    return *state == NULL ? -1 : 0;
}

static int store_teardown(void **state)
{
    close_store(*state);
    return 0;
}

static void on_flag(void *arg)
{
    *(bool *)arg = true;
}

static struct registry *connect_client(struct store *s, int64_t timeout_ms)
{
    struct registry *r = open_client(s, timeout_ms);
    int64_t until = now(s) + CONFORMANCE_PATIENCE_MS;

    assert_non_null(r);
    while (registry_session(r) == 0 && now(s) < until)
        loop_turn(s->loop, 20);
    assert_true(registry_session(r) != 0);
    return r;
}

static void close_client(struct store *s, struct registry **r)
{
    bool closed = false;

    registry_close(r, on_flag, &closed);
    while (!closed)
        loop_turn(s->loop, 20);
}

/* Commit frames in the write-ahead log, each of which was synced: those whose
 * header (sqlite.org/fileformat2.html, 4.1) names the database's size. */
static size_t commits_in_log(const struct store *s)
{
    unsigned char head[32], frame[24];
    char name[128];
    size_t n = 0;
    long page;
    FILE *log;

    (void)snprintf(name, sizeof(name), "%s-wal", s->path);
    log = fopen(name, "rb");
    assert_non_null(log);
    assert_int_equal(fread(head, 1, sizeof(head), log), sizeof(head));
    page = (long)head[10] << 8 | head[11];
    while (fread(frame, 1, sizeof(frame), log) == sizeof(frame)) {
        n += (frame[4] | frame[5] | frame[6] | frame[7]) != 0;
        assert_int_equal(fseek(log, page, SEEK_CUR), 0);
    }
    (void)fclose(log);
    return n;
}

struct tally {
    size_t answers, ok, busy, other;
};

static void on_reply(void *arg, const struct registry_reply *reply)
{
    struct tally *t = arg;

    t->answers++;
    t->ok += reply->err.code == ERR_OK;
    t->busy += reply->err.code == ERR_UNAVAILABLE &&
               strstr(reply->err.msg, "busy") != NULL;
}

static void put_many(struct registry *r, size_t n, struct tally *t)
{
    for (size_t i = 0; i < n; i++) {
        char key[64];

        (void)snprintf(key, sizeof(key), "/many/%05zu", i);
        registry_put(r, key, "value", 5, REGISTRY_ABSENT, 0, false, on_reply,
                     t);
    }
}

static void a_thousand_small_writes_share_a_few_commits(void **state)
{
    struct store *s = *state;
    struct registry *r = connect_client(s, 10000);
    struct tally t = {0};
    size_t before = commits_in_log(s);

    put_many(r, 1000, &t);
    while (t.answers < 1000)
        loop_turn(s->loop, 20);
    assert_int_equal(t.ok, 1000);
    assert_true(commits_in_log(s) - before <= 20);
    close_client(s, &r);
}

static void a_full_queue_is_busy_and_certainly_not_applied(void **state)
{
    struct store *s = *state;
    struct registry *r = connect_client(s, 10000);
    struct tally t = {0};
    struct sql_rows rows = {0};
    struct sql_core *db;
    size_t stored = 0;
    struct err err;

    put_many(r, 6000, &t);
    assert_int_equal(t.answers, 0);
    while (t.answers < 6000)
        loop_turn(s->loop, 20);
    assert_true(t.busy > 0);
    assert_int_equal(t.ok + t.busy, 6000);
    db = open_db(s);
    for (char *from = NULL;; from = rows.next, rows.next = NULL) {
        sql_rows_close(&rows);
        assert_int_equal(
            sqlite_list(db, "/many", from, REGISTRY_PAGE_MAX, &rows, &err), 0);
        mem_free(from);
        stored += rows.n;
        if (rows.next == NULL)
            break;
    }
    sql_rows_close(&rows);
    sqlite_db_close(&db);
    assert_int_equal(stored, t.ok);
    close_client(s, &r);
}

/* Sixteen who write again and again, a moment after they were answered. */
#define CLIENTS  16
#define THINK_US 60

struct client {
    struct registry *r;
    char key[32];
    bool *stop;
    size_t *under_way;
};

static void write_again(struct client *c);

static void on_written(void *arg, const struct registry_reply *reply)
{
    struct client *c = arg;

    assert_int_equal(reply->err.code, ERR_OK);
    --*c->under_way;
    if (*c->stop)
        return;
    (void)usleep(THINK_US);
    write_again(c);
}

static void write_again(struct client *c)
{
    ++*c->under_way;
    registry_put(c->r, c->key, "value", 5, REGISTRY_ANY, 0, false, on_written,
                 c);
}

/* Another process's connection: how long it waits for the file, each time. */
#define TURNS 41

struct rival {
    const char *path;
    int64_t waited_ns[TURNS];
    atomic_bool done;
};

static void *take_turns(void *arg)
{
    struct rival *rival = arg;
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(rival->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_busy_timeout(db, 10000), SQLITE_OK);
    for (size_t i = 0; i < TURNS; i++) {
        int64_t from = (int64_t)clock_mono_ns();

        assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", 0, 0, 0),
                         SQLITE_OK);
        rival->waited_ns[i] = (int64_t)clock_mono_ns() - from;
        assert_int_equal(sqlite3_exec(db, "COMMIT", 0, 0, 0), SQLITE_OK);
        (void)usleep(5000);
    }
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    atomic_store(&rival->done, true);
    return NULL;
}

static int by_size(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* In memory a commit takes no time, and nobody waits for others to share it. */
static void move_to_disk(struct store *s)
{
    assert_int_equal(rmdir(s->dir), 0);
    (void)snprintf(s->dir, sizeof(s->dir), "/tmp/test_sqlite_XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    (void)snprintf(s->path, sizeof(s->path), "%s/pelorus.db", s->dir);
}

/* A group is gathered before its transaction begins: whoever looks for the
 * file's lock every few ms finds it free now and then. */
static void others_get_the_file_between_groups(void **state)
{
    struct store *s = *state;
    struct rival rival = {.path = s->path};
    struct client clients[CLIENTS];
    struct registry *r;
    size_t under_way = 0;
    bool stop = false;
    pthread_t thread;

    move_to_disk(s);
    r = connect_client(s, 10000);
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i] =
            (struct client){.r = r, .stop = &stop, .under_way = &under_way};
        (void)snprintf(clients[i].key, sizeof(clients[i].key), "/again/%zu", i);
        write_again(&clients[i]);
    }
    assert_int_equal(pthread_create(&thread, NULL, take_turns, &rival), 0);
    while (!atomic_load(&rival.done))
        loop_turn(s->loop, 20);
    stop = true;
    while (under_way > 0)
        loop_turn(s->loop, 20);
    assert_int_equal(pthread_join(thread, NULL), 0);
    qsort(rival.waited_ns, TURNS, sizeof(*rival.waited_ns), by_size);
    print_message("     another waited %.1f ms, %.1f at the most\n",
                  (double)rival.waited_ns[TURNS / 2] / 1e6,
                  (double)rival.waited_ns[TURNS - 1] / 1e6);
    assert_true(rival.waited_ns[TURNS / 2] < 25000000);
    close_client(s, &r);
}

struct mirror {
    bool has[16];
    size_t n, synced, removed[16], added[16];
};

static void on_event(void *arg, const struct registry_event *event)
{
    struct mirror *m = arg;
    size_t i;

    if (event->type == REGISTRY_SYNCED) {
        m->synced++;
        return;
    }
    i = (size_t)strtoul(event->entry.key + strlen("/feed/"), NULL, 10);
    m->has[i] = event->type != REGISTRY_REMOVE;
    m->removed[i] += event->type == REGISTRY_REMOVE;
    m->added[i] += event->type == REGISTRY_ADD;
}

/* As another process would, at full speed. */
static void write_key(struct sql_core *db, size_t i, bool remove)
{
    struct sql_rows rows = {0};
    struct registry_op op = {.type = REGISTRY_PUT,
                             .expect = REGISTRY_ANY,
                             .value = "value",
                             .value_len = 5};
    char key[32];
    size_t failed;
    struct err err;

    (void)snprintf(key, sizeof(key), "/feed/%zu", i);
    op.key = key;
    if (remove) {
        assert_int_equal(sqlite_get(db, key, &rows, &err), 0);
        op.type = REGISTRY_DELETE;
        op.expect = REGISTRY_VERSION;
        op.version = rows.entries[0].version;
        sql_rows_close(&rows);
    }
    assert_int_equal(sqlite_apply(db, 1, &op, 1, &failed, &err), 0);
}

/* The reader's loop does not turn while more changes are made than are kept:
 * it lists again and tells the difference. */
static void a_reader_slower_than_the_feed_lists_again(void **state)
{
    struct store *s = *state;
    struct registry *r = connect_client(s, 600000);
    struct sql_core *db = open_db(s);
    struct mirror m = {0};
    struct registry_watch *watch;
    struct err err;

    assert_int_equal(sqlite_begin(sqlite_db_of(db), &err), 0);
    for (size_t i = 0; i < 5; i++)
        write_key(db, i, false);
    assert_int_equal(sqlite_commit(db, &err), 0);
    watch = registry_watch(r, "/feed", on_event, &m);
    while (m.synced == 0)
        loop_turn(s->loop, 20);
    assert_int_equal(sqlite_begin(sqlite_db_of(db), &err), 0);
    write_key(db, 4, false);
    assert_int_equal(sqlite_commit(db, &err), 0);
    /* One batch waits for the loop; the worker reads no further. */
    while (!atomic_load(&((struct sql *)(void *)r)->feed_busy))
        (void)poll(NULL, 0, 5);
    for (size_t n = 0; n < 15; n++) {
        assert_int_equal(sqlite_begin(sqlite_db_of(db), &err), 0);
        for (size_t i = 0; i < 4000; i++)
            write_key(db, 1 + i % 3, false);
        if (n == 0) {
            write_key(db, 0, true);
            write_key(db, 9, false);
        }
        assert_int_equal(sqlite_commit(db, &err), 0);
    }
    while (m.synced == 1)
        loop_turn(s->loop, 20);
    assert_int_equal(m.removed[0], 1);
    assert_int_equal(m.added[9], 1);
    for (size_t i = 0; i < 16; i++) {
        assert_int_equal(m.has[i], (i >= 1 && i <= 4) || i == 9);
        assert_int_equal(m.added[i], i <= 4 || i == 9);
    }
    registry_unwatch(&watch);
    sqlite_db_close(&db);
    close_client(s, &r);
}

#define HOPS   41U
#define HOP_MS 35 /* the 21st of 41; looks every 50 ms take 50 each */

/* Another process writes as soon as the last write was heard of. */
static int64_t median_hop(struct store *s, struct sql_core *db,
                          const struct mirror *m)
{
    int64_t took[HOPS];
    struct err err;

    for (size_t i = 0; i < HOPS; i++) {
        size_t before = m->added[7] + m->removed[7];
        int64_t began = now(s);

        assert_int_equal(sqlite_begin(sqlite_db_of(db), &err), 0);
        write_key(db, 7, m->has[7]);
        assert_int_equal(sqlite_commit(db, &err), 0);
        while (m->added[7] + m->removed[7] == before)
            loop_turn(s->loop, 20);
        took[i] = now(s) - began;
    }
    qsort(took, HOPS, sizeof(*took), by_size);
    return took[HOPS / 2];
}

static void what_others_write_again_and_again_is_known_soon(void **state)
{
    struct store *s = *state;
    struct registry *r = connect_client(s, 600000);
    struct sql_core *db = open_db(s);
    struct mirror m = {0};
    struct registry_watch *watch = registry_watch(r, "/feed", on_event, &m);
    int64_t took = INT64_MAX;

    while (m.synced == 0)
        loop_turn(s->loop, 20);
    /* A busy machine may be late, but not always. */
    for (int tries = 0; tries < 5 && took >= HOP_MS; tries++)
        took = median_hop(s, db, &m);
    assert_true(took < HOP_MS);
    registry_unwatch(&watch);
    sqlite_db_close(&db);
    close_client(s, &r);
}

/* --- what is cached ------------------------------------------------------ */

#define CACHED_KEYS 30000

static int cached(struct sql_core *db)
{
    int now, most;

    assert_int_equal(sqlite3_db_status(sqlite_db_of(db)->handle,
                                       SQLITE_DBSTATUS_CACHE_USED, &now, &most,
                                       0),
                     SQLITE_OK);
    return now;
}

/* Look as the worker does, and `reads` times at keys before each look. */
static void look_for(struct sql_core *db, int64_t ms, size_t reads, int enough)
{
    mono_ms until = clock_mono_ms() + ms;
    struct sql_rows rows = {0};
    struct err err;
    bool changed;

    while (clock_mono_ms() < until && cached(db) > enough) {
        for (size_t i = 0; i < reads; i++) {
            assert_int_equal(sqlite_get(db, "/feed/1", &rows, &err), 0);
            sql_rows_close(&rows);
        }
        assert_int_equal(sqlite_changed(db, true, &changed, &err), 0);
        (void)poll(NULL, 0, 20);
    }
}

/* What a burst left in the cache goes when hardly anybody asks any more, and
 * stays for those who ask all the time. */
static void what_is_cached_goes_when_nobody_asks(void **state)
{
    struct sql_core *db = open_db(*state);
    struct err err;
    int most;

    assert_int_equal(sqlite_begin(sqlite_db_of(db), &err), 0);
    for (size_t i = 0; i < CACHED_KEYS; i++)
        write_key(db, i, false);
    assert_int_equal(sqlite_commit(db, &err), 0);
    most = cached(db);
    assert_true(most > 2 << 20);
    look_for(db, 7000, 5, 1 << 20);
    assert_true(cached(db) == most);
    look_for(db, 30000, 0, 1 << 18);
    assert_true(cached(db) <= 1 << 18);
    sqlite_db_close(&db);
}

/* One process has the file, and its name is gone. */
static void a_file_that_was_removed_is_not_written_any_more(void **state)
{
    struct store *s = *state;
    struct registry *r = connect_client(s, 10000);
    struct tally t = {0};

    assert_int_equal(unlink(s->path), 0);
    put_many(r, 1, &t);
    while (t.answers < 1)
        loop_turn(s->loop, 20);
    assert_int_equal(t.ok, 0);
    close_client(s, &r);
}

enum harm {
    RENAMED_OVER,
    DELETED,
    PUT_IN_PLACE,
    MOVED_DIR,
    LOG_DELETED,
    HARMS
};

/* Another file than the one we have open stands there, or none. */
static void harm_file(struct store *s, enum harm harm)
{
    char other[128];

    (void)snprintf(other, sizeof(other), "%s.other", s->path);
    switch (harm) {
    case RENAMED_OVER:
        (void)fclose(fopen(other, "w"));
        assert_int_equal(rename(other, s->path), 0);
        break;
    case DELETED:
        assert_int_equal(unlink(s->path), 0);
        break;
    case PUT_IN_PLACE:
        assert_int_equal(unlink(s->path), 0);
        (void)fclose(fopen(other, "w")); /* not with the inode just freed */
        assert_int_equal(rename(other, s->path), 0);
        break;
    case MOVED_DIR:
        (void)snprintf(other, sizeof(other), "%s.other", s->dir);
        assert_int_equal(rename(s->dir, other), 0);
        break;
    default:
        (void)snprintf(other, sizeof(other), "%s-wal", s->path);
        assert_int_equal(unlink(other), 0);
        break;
    }
}

/* Not after its timeout, which is far away: at once. */
static void a_session_in_a_file_that_was_replaced_is_lost(void **state)
{
    struct store *s = *state;

    for (enum harm harm = RENAMED_OVER; harm < HARMS; harm++) {
        struct registry *r = connect_client(s, 60000);
        int64_t began = clock_mono_ms();
        char other[128];

        harm_file(s, harm);
        while (registry_session(r) != 0) {
            loop_turn(s->loop, 20);
            assert_true(clock_mono_ms() - began < 15000);
        }
        assert_int_equal(registry_state(r), REGISTRY_DISCONNECTED);
        (void)snprintf(other, sizeof(other), "%s.other", s->dir);
        if (harm == MOVED_DIR) { /* put back: another session */
            assert_int_equal(rename(other, s->dir), 0);
            while (registry_session(r) == 0) {
                loop_turn(s->loop, 20);
                assert_true(clock_mono_ms() - began < 30000);
            }
        }
        close_client(s, &r);
        (void)unlink(s->path);
        for (size_t i = 0; i < 2; i++) {
            (void)snprintf(other, sizeof(other), "%s%s", s->path,
                           i == 0 ? "-wal" : "-shm");
            (void)unlink(other);
        }
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, store_setup, store_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_thousand_small_writes_share_a_few_commits),
        TEST(a_full_queue_is_busy_and_certainly_not_applied),
        TEST(others_get_the_file_between_groups),
        TEST(a_reader_slower_than_the_feed_lists_again),
        TEST(what_others_write_again_and_again_is_known_soon),
        TEST(what_is_cached_goes_when_nobody_asks),
        TEST(a_file_that_was_removed_is_not_written_any_more),
        TEST(a_session_in_a_file_that_was_replaced_is_lost),
    };
    int failed = conformance_run(&backend);

    return failed + cmocka_run_group_tests_name("sqlite", tests, NULL, NULL);
}
