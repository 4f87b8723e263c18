/*
 * bench_sqlite_move.c - how long do 10,000 items of one dead master take to
 * move on the embedded registry, and how far is that from bare SQL?
 *
 * The registry's half is move.c. The bare one is prepared statements in
 * batches of the same size on tables of the same shape, fsync included,
 * without reads, checks, change feed, sessions or threads. --items N moves as
 * many; the limit is 1.5 s for 10,000. The last line is that of a suite.
 */
#include "tests/bench/move.h"
#include "tests/bench/row.h"

#include "base/clock.h"
#include "base/mem.h"
#include "conf/conf.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ITEMS    10000
#define LIMIT_MS 1500

static void die(const char *what)
{
    (void)fprintf(stderr, "bench_sqlite_move: %s\n", what);
    exit(1);
}

/* --- bare SQL ------------------------------------------------------------ */

static void run(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        die(sqlite3_errmsg(db));
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *stmt;

    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
        die(sqlite3_errmsg(db));
    return stmt;
}

static void step(sqlite3_stmt *stmt, const char *key, const char *value)
{
    (void)sqlite3_bind_text(stmt, 1, key, -1, SQLITE_STATIC);
    if (value != NULL) {
        (void)sqlite3_bind_blob(stmt, 2, value, (int)strlen(value),
                                SQLITE_STATIC);
    }
    if (sqlite3_step(stmt) != SQLITE_DONE)
        die("bare SQL failed");
    (void)sqlite3_reset(stmt);
}

static sqlite3 *open_bare(const char *path)
{
    sqlite3 *db;

    if (sqlite3_open(path, &db) != SQLITE_OK)
        die(sqlite3_errmsg(db));
    run(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
            "PRAGMA wal_autocheckpoint = 4000; PRAGMA cache_size = -32768;"
            "PRAGMA secure_delete = OFF;"
            "CREATE TABLE node(id INTEGER PRIMARY KEY, key TEXT NOT NULL "
            "UNIQUE, value BLOB NOT NULL, version INTEGER) STRICT; BEGIN");
    return db;
}

static double bare(const char *path, const struct move_item *items, size_t n,
                   size_t batch)
{
    struct move_values *values = mem_array(n, sizeof(*values));
    sqlite3 *db = open_bare(path);
    sqlite3_stmt *insert = prepare(db, "INSERT INTO node(key, value, version) "
                                       "VALUES(?1, ?2, 1)");
    sqlite3_stmt *update =
        prepare(db, "UPDATE node SET value = ?2, version = 2 "
                    "WHERE key = ?1 AND version = 1");
    sqlite3_stmt *drop =
        prepare(db, "DELETE FROM node WHERE key = ?1 AND version = 1");
    uint64_t start;
    double all;

    for (size_t i = 0; i < n; i++) {
        move_after(i, &values[i]);
        step(insert, items[i].record, values[i].record);
        step(insert, items[i].old_marker, values[i].marker);
    }
    run(db, "COMMIT");
    start = clock_mono_ns();
    for (size_t i = 0; i < n; i++) {
        if (i % batch == 0)
            run(db, i == 0 ? "BEGIN IMMEDIATE" : "COMMIT; BEGIN IMMEDIATE");
        step(update, items[i].record, values[i].record);
        step(drop, items[i].old_marker, NULL);
        step(insert, items[i].new_marker, values[i].marker);
    }
    run(db, "COMMIT");
    all = move_ms_since(start);
    (void)printf("bare SQL: move %.0f ms\n", all);
    (void)sqlite3_finalize(insert);
    (void)sqlite3_finalize(update);
    (void)sqlite3_finalize(drop);
    (void)sqlite3_close(db);
    mem_free(values);
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

static double through_registry(char *path, struct move_item *items, size_t n,
                               size_t *batch)
{
    char name[] = "bench";
    struct conf_registry conf = {.type = CONF_SQLITE,
                                 .namespace_ = name,
                                 .path = path,
                                 .session_timeout_ms = 10000};
    struct move_result result;

    move_through_registry(&conf, items, n, true, &result);
    (void)printf("registry: %zu items, read %.0f ms, move %.0f ms, together "
                 "%.0f ms (%zu txns of %zu items, %zu events watched)\n",
                 n, result.read_ms, result.move_ms, result.all_ms, result.txns,
                 result.batch, result.events);
    *batch = result.batch;
    return result.all_ms;
}

int main(int argc, char **argv)
{
    char dir[] = "/tmp/bench_sqlite_XXXXXX";
    char ours[64], plain[64];
    size_t n = move_items_asked(argc, argv, ITEMS);
    double limit = LIMIT_MS * (double)n / ITEMS;
    double through, without;
    struct move_item *items;
    size_t batch;

    if (mkdtemp(dir) == NULL)
        die("no temporary directory");
    (void)snprintf(ours, sizeof(ours), "%s/registry.db", dir);
    (void)snprintf(plain, sizeof(plain), "%s/bare.db", dir);
    items = move_items(n);
    through = through_registry(ours, items, n, &batch);
    without = bare(plain, items, n, batch);
    (void)printf("%zu items move in %.0f ms (at most %.0f), %.1f x bare SQL\n",
                 n, through, limit, through / without);
    row_beside("moves-sqlite", "x", through / without);
    remove_files(ours);
    remove_files(plain);
    (void)rmdir(dir);
    mem_free(items);
    (void)printf("%d passed, %d failed, 0 skipped\n", through <= limit,
                 through > limit);
    return through <= limit ? 0 : 1;
}
