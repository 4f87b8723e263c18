/*
 * test_sqlite_back.c - a file that is older than it was, of two times, or
 * damaged: put back by '.restore', copied over while in use, written to by
 * hand. One handle as the registry's worker has it, and whoever does the harm.
 * (Longer than 500 lines: one fixture for all that can befall a file.)
 */
#include "base/clock.h"
#include "base/mem.h"
#include "registry/history.h"
#include "registry/sqlite/sqlite_priv.h"

#include <dirent.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utime.h>

#include <cmocka.h>

#define TIMEOUT_MS  5000
#define BUSY_MS     2000
#define PATIENCE_MS 60000

struct fixture {
    char dir[64], path[96], copy[96];
    struct sql_core *db;
    uint64_t session;
};

static struct sql_core *open_db(struct fixture *f)
{
    struct sql_core *db = NULL;
    struct err err;

    if (sqlite_db_open(&db, f->path, "test", BUSY_MS, &err) != 0)
        fail_msg("%s", err.msg);
    return db;
}

static uint64_t begin_session(struct sql_core *db)
{
    uint64_t id = 0;
    struct err err = {0};

    if (sqlite_session_begin(db, 0, TIMEOUT_MS, &id, &err) != 0)
        fail_msg("%s", err.msg);
    return id;
}

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));

    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/test_sqlite_XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->path, sizeof(f->path), "%s/pelorus.db", f->dir);
    (void)snprintf(f->copy, sizeof(f->copy), "%s/copy", f->dir);
    f->db = open_db(f);
    f->session = begin_session(f->db);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct dirent *e;
    DIR *dir;

    sqlite_db_close(&f->db);
    dir = opendir(f->dir);
    while (dir != NULL && (e = readdir(dir)) != NULL)
        (void)unlinkat(dirfd(dir), e->d_name, 0);
    if (dir != NULL)
        (void)closedir(dir);
    (void)rmdir(f->dir);
    mem_free(f);
    return 0;
}

/* One group of one call, as the worker does it. */
static int write_key(struct sql_core *db, uint64_t session, bool beat,
                     const char *key, const char *value)
{
    struct registry_op op = {.type = REGISTRY_PUT,
                             .expect = REGISTRY_ANY,
                             .key = key,
                             .value = value,
                             .value_len = strlen(value)};
    struct err err = {0};
    size_t failed;
    int rc = sqlite_begin(sqlite_db_of(db), &err);

    if (rc != 0)
        return rc;
    rc = beat ? sqlite_session_beat(sqlite_db_of(db), session, &err)
              : sqlite_session_check(sqlite_db_of(db), session, &err);
    if (rc == 0)
        rc = sqlite_apply(db, session, &op, 1, &failed, &err);
    if (rc == 0)
        return sqlite_commit(db, &err);
    sqlite_rollback(db);
    return rc;
}

static int put(struct fixture *f, const char *key, const char *value)
{
    return write_key(f->db, f->session, false, key, value);
}

/* Enough for many pages, all of another time than before. */
static void fill(struct fixture *f, unsigned n, char with)
{
    char key[64], value[800];

    memset(value, with, sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    for (unsigned i = 0; i < n; i++) {
        (void)snprintf(key, sizeof(key), "/work/%u", i);
        assert_int_equal(put(f, key, value), 0);
    }
}

static int get(struct fixture *f, const char *key, char *value, size_t size)
{
    struct sql_rows rows = {0};
    struct err err = {0};
    int rc = sqlite_file_check(sqlite_db_of(f->db), &err);

    rc = rc != 0 ? rc : sqlite_get(f->db, key, &rows, &err);
    if (rc == 0 && value != NULL)
        (void)snprintf(value, size, "%s", rows.entries[0].value);
    sql_rows_close(&rows);
    return rc;
}

static int poll_db(struct fixture *f, struct err *err)
{
    bool changed;

    memset(err, 0, sizeof(*err));
    return sqlite_changed(f->db, true, &changed, err);
}

static void transfer(const char *from, const char *to)
{
    sqlite3 *source, *target;
    sqlite3_backup *b;

    assert_int_equal(sqlite3_open(from, &source), SQLITE_OK);
    assert_int_equal(sqlite3_open(to, &target), SQLITE_OK);
    (void)sqlite3_busy_timeout(target, 5000);
    b = sqlite3_backup_init(target, "main", source, "main");
    assert_non_null(b);
    assert_int_equal(sqlite3_backup_step(b, -1), SQLITE_DONE);
    assert_int_equal(sqlite3_backup_finish(b), SQLITE_OK);
    assert_int_equal(sqlite3_close(source), SQLITE_OK);
    assert_int_equal(sqlite3_close(target), SQLITE_OK);
}

static void run_sql(struct fixture *f, const char *sql)
{
    sqlite3 *handle;
    char *problem = NULL;

    assert_int_equal(sqlite3_open(f->path, &handle), SQLITE_OK);
    (void)sqlite3_busy_timeout(handle, 5000);
    if (sqlite3_exec(handle, sql, NULL, NULL, &problem) != SQLITE_OK)
        fail_msg("%s: %s", sql, problem);
    assert_int_equal(sqlite3_close(handle), SQLITE_OK);
}

/* What `cp` does: the same file, other bytes. */
static void copy_over(const char *from, const char *to)
{
    char *command = mem_printf("cp %s %s", from, to);

    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c) */
    mem_free(command);
}

/* Poll until it says something else than "later". */
static int verdict(struct fixture *f, struct err *err)
{
    mono_ms until = clock_mono_ms() + PATIENCE_MS;
    int rc;

    do {
        (void)poll(NULL, 0, 5);
        rc = poll_db(f, err);
        assert_true(clock_mono_ms() < until);
    } while (rc == ERR_UNAVAILABLE);
    return rc;
}

/* --- older than it was --------------------------------------------------- */

static void an_older_state_refuses_every_call(void **state)
{
    struct fixture *f = *state;
    uint64_t before;
    struct err err;

    assert_int_equal(put(f, "/a", "1"), 0);
    before = f->db->position;
    transfer(f->path, f->copy);
    assert_int_equal(put(f, "/a", "2"), 0);
    assert_true(f->db->position > before);
    transfer(f->copy, f->path);
    /* The first call of any kind, before any poll. */
    assert_int_equal(get(f, "/a", NULL, 0), ERR_WENT_BACK);
    assert_int_equal(put(f, "/b", "3"), ERR_WENT_BACK);
    assert_int_equal(poll_db(f, &err), ERR_WENT_BACK);
    assert_int_equal(f->db->position, before); /* what is told of it */
    assert_non_null(strstr(err.msg, f->path));
    /* And for ever, whatever others write: until another session. */
    run_sql(f, "UPDATE meta SET revision = revision + 1000");
    assert_int_equal(get(f, "/a", NULL, 0), ERR_WENT_BACK);
    assert_int_equal(poll_db(f, &err), ERR_WENT_BACK);
    f->session = begin_session(f->db);
    assert_int_equal(put(f, "/b", "3"), 0);
}

/* Another process, which remembers nothing, has lifted it meanwhile. */
static void a_lifted_revision_does_not_hide_a_lost_beat(void **state)
{
    struct fixture *f = *state;

    transfer(f->path, f->copy);
    assert_int_equal(write_key(f->db, f->session, true, "/a", "1"), 0);
    transfer(f->copy, f->path);
    run_sql(f, "UPDATE meta SET revision = revision + 1000");
    assert_int_equal(put(f, "/b", "3"), ERR_WENT_BACK);
    assert_int_equal(get(f, "/b", NULL, 0), ERR_WENT_BACK);
}

static void a_session_that_was_never_begun_is_no_end_by_others(void **state)
{
    struct fixture *f = *state;
    struct sql_core *other;
    uint64_t taken;
    char *sql;

    transfer(f->path, f->copy);
    assert_int_equal(sqlite_session_close(f->db, f->session, NULL), 0);
    f->session = begin_session(f->db);
    transfer(f->copy, f->path);
    run_sql(f, "UPDATE meta SET revision = revision + 1000");
    assert_int_equal(put(f, "/b", "3"), ERR_WENT_BACK);

    /* Its number is another's now: neither used nor ended by us. */
    f->session = begin_session(f->db);
    transfer(f->copy, f->path);
    other = open_db(f);
    taken = begin_session(other);
    assert_int_equal(taken, f->session);
    run_sql(f, "UPDATE meta SET revision = revision + 1000;"
               "UPDATE session SET beat = 100, pid = 1");
    assert_int_equal(put(f, "/b", "3"), ERR_WENT_BACK);
    assert_int_equal(
        sqlite_session_begin(f->db, f->session, TIMEOUT_MS, &f->session, NULL),
        0);
    assert_true(f->session != taken);
    assert_int_equal(put(f, "/b", "3"), 0);
    sql = mem_printf("CREATE TABLE proof(one CHECK (one = 1)); INSERT INTO "
                     "proof SELECT count(*) FROM session WHERE id = %ju",
                     (uintmax_t)taken);
    run_sql(f, sql);
    mem_free(sql);
    sqlite_db_close(&other);
}

/* A session and a place in a lock's queue count, too: their numbers are. */
static void numbers_are_not_lost_unseen(void **state)
{
    struct fixture *f = *state;
    struct sql_place place = {
        .session = f->session, .key = "/lock", .owner = "me"};
    struct err err;

    transfer(f->path, f->copy);
    assert_int_equal(sqlite_begin(sqlite_db_of(f->db), &err), 0);
    assert_int_equal(sqlite_lock_enqueue(f->db, &place, false, &err), 0);
    assert_int_equal(sqlite_commit(f->db, &err), 0);
    transfer(f->copy, f->path);
    assert_int_equal(poll_db(f, &err), ERR_WENT_BACK);
}

static bool want_all(const void *arg, const char *key)
{
    (void)arg;
    (void)key;
    return true;
}

static void a_feed_that_is_ahead_of_the_file_has_missed(void **state)
{
    struct fixture *f = *state;
    struct sql_feed feed = {0};
    struct sql_rows rows = {0};
    bool missed = false, more;
    struct err err;

    transfer(f->path, f->copy);
    fill(f, 20, 'a');
    assert_int_equal(sqlite_feed_skip(f->db, &feed, &err), 0);
    transfer(f->copy, f->path);
    f->session = begin_session(f->db);
    assert_int_equal(sqlite_feed_read(f->db, &feed, 100, want_all, NULL, &rows,
                                      &missed, &more, &err),
                     0);
    assert_true(missed);
    assert_int_equal(put(f, "/new", "1"), 0);
    assert_int_equal(sqlite_feed_read(f->db, &feed, 100, want_all, NULL, &rows,
                                      &missed, &more, &err),
                     0);
    assert_false(missed);
    assert_int_equal(rows.n, 1);
    sql_rows_close(&rows);
}

/* --- copied over while in use -------------------------------------------- */

/* All that the copy lacks stands in the log. */
static void a_copy_over_a_whole_log_is_told_and_has_no_effect(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char value[16];

    fill(f, 200, 'a');
    transfer(f->path, f->copy);
    assert_int_equal(put(f, "/a", "2"), 0);
    assert_int_equal(poll_db(f, &err), 0);
    copy_over(f->copy, f->path);
    /* Nothing is taken or told before it has been read as a whole. */
    assert_int_equal(put(f, "/a", "3"), ERR_UNAVAILABLE);
    assert_int_equal(get(f, "/a", NULL, 0), ERR_UNAVAILABLE);
    assert_int_equal(verdict(f, &err), 0);
    assert_int_equal(get(f, "/a", value, sizeof(value)), 0);
    assert_string_equal(value, "2");
    assert_int_equal(put(f, "/a", "3"), 0);
}

/* Its pages fit together, and some are of another time. */
static void a_copy_over_a_part_of_the_log_is_damage(void **state)
{
    struct fixture *f = *state;
    struct err err;

    fill(f, 200, 'a');
    transfer(f->path, f->copy);
    fill(f, 200, 'b'); /* same sizes: the same pages */
    run_sql(f, "PRAGMA wal_checkpoint(TRUNCATE)");
    assert_int_equal(put(f, "/a", "2"), 0);
    assert_int_equal(poll_db(f, &err), 0);
    copy_over(f->copy, f->path);
    assert_int_equal(put(f, "/a", "3"), ERR_UNAVAILABLE);
    assert_int_equal(verdict(f, &err), ERR_SESSION_LOST);
    assert_non_null(strstr(err.msg, f->path));
    assert_non_null(strstr(err.msg, "damaged"));
    assert_non_null(strstr(err.msg, "put a backup in its place"));
    assert_int_equal(put(f, "/a", "3"), ERR_SESSION_LOST);
    assert_int_not_equal(get(f, "/work/7", NULL, 0), 0);
    assert_int_equal(
        sqlite_session_begin(f->db, f->session, TIMEOUT_MS, &f->session, &err),
        ERR_SESSION_LOST);
    /* And is well again when a whole one is put back. */
    transfer(f->copy, f->path);
    while (poll_db(f, &err) != 0 && err.code != ERR_WENT_BACK)
        (void)poll(NULL, 0, 20);
    f->session = begin_session(f->db);
    assert_int_equal(put(f, "/a", "3"), 0);
}

/* While one process does not look: a checkpoint, what others write then, and a
 * copy over the file, by which its session is older than it was. */
static void copied_over_unseen(struct fixture *f, bool others_write)
{
    struct sql_core *other = open_db(f);
    uint64_t session = begin_session(other);
    struct err err;

    fill(f, 200, 'a');
    transfer(f->path, f->copy);
    fill(f, 200, 'b');
    assert_int_equal(write_key(f->db, f->session, true, "/a", "1"), 0);
    assert_int_equal(poll_db(f, &err), 0);
    run_sql(f, "PRAGMA wal_checkpoint(TRUNCATE)");
    if (others_write)
        assert_int_equal(write_key(other, session, false, "/a", "2"), 0);
    sqlite_db_close(&other);
    copy_over(f->copy, f->path);
}

static void a_file_of_two_times_did_not_go_back(void **state)
{
    struct fixture *f = *state;
    struct err err;

    copied_over_unseen(f, true);
    assert_int_equal(put(f, "/b", "1"), ERR_UNAVAILABLE);
    assert_int_equal(poll_db(f, &err), ERR_SESSION_LOST);
    assert_non_null(strstr(err.msg, "damaged"));
    assert_int_equal(
        sqlite_session_begin(f->db, f->session, TIMEOUT_MS, &f->session, &err),
        ERR_SESSION_LOST);
}

static void a_whole_file_that_is_older_went_back(void **state)
{
    struct fixture *f = *state;
    struct err err;

    copied_over_unseen(f, false);
    assert_int_equal(put(f, "/b", "1"), ERR_WENT_BACK);
    assert_int_equal(poll_db(f, &err), ERR_WENT_BACK);
}

/* As whoever accepts a restore, or comes to a cluster that runs. */
static void nobody_begins_on_a_file_of_two_times(void **state)
{
    struct fixture *f = *state;
    struct sql_core *db = NULL;
    struct err err = {0};

    copied_over_unseen(f, true);
    assert_int_equal(sqlite_db_open(&db, f->path, "test", 100, &err), ERR_IO);
    assert_null(db);
    assert_non_null(strstr(err.msg, "damaged"));
}

/* As a person does it who mends the key (docs/going-back.md): its version
 * rises, and no change says so. */
static void a_history_written_by_hand_is_no_damage(void **state)
{
    struct fixture *f = *state;
    struct sql_core *other;

    assert_int_equal(put(f, HISTORY_KEY, "{"), 0);
    run_sql(f, "UPDATE node SET value = CAST('{}' AS BLOB), version = version "
               "+ 1 WHERE key LIKE '%" HISTORY_KEY "'");
    other = open_db(f);
    sqlite_db_close(&other);
    transfer(f->path, f->copy);
    assert_int_equal(put(f, "/a", "1"), 0);
    transfer(f->copy, f->path);
    assert_int_equal(put(f, "/a", "2"), ERR_WENT_BACK);
}

/* --- another file in its place ------------------------------------------- */

static void remove_log(struct fixture *f)
{
    static const char *const suffixes[] = {"-wal", "-shm"};

    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        char *name = mem_printf("%s%s", f->path, suffixes[i]);

        (void)unlink(name);
        mem_free(name);
    }
}

static void reopen(struct fixture *f)
{
    mono_ms until = clock_mono_ms() + PATIENCE_MS;
    struct err err = {0};

    while (sqlite_db_reopen(sqlite_db_of(f->db), &err) != 0) {
        if (clock_mono_ms() >= until)
            fail_msg("%s", err.msg);
        (void)poll(NULL, 0, 20);
    }
}

static void a_file_put_in_its_place_is_taken_without_the_old_log(void **state)
{
    struct fixture *f = *state;
    struct sql_core *other;
    struct err err;
    char value[16];

    fill(f, 20, 'a');
    assert_int_equal(put(f, "/a", "1"), 0);
    transfer(f->path, f->copy);
    assert_int_equal(put(f, "/a", "2"), 0);
    assert_int_equal(rename(f->copy, f->path), 0);
    assert_int_equal(put(f, "/a", "3"), ERR_SESSION_LOST);
    /* Our log beside it would be taken for its own. */
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(sqlite_db_reopen(sqlite_db_of(f->db), &err),
                         ERR_SESSION_LOST);
        (void)poll(NULL, 0, 500);
    }
    remove_log(f);
    other = open_db(f); /* it has a log there before ours is closed */
    assert_int_equal(
        write_key(other, begin_session(other), false, "/other", "1"), 0);
    reopen(f);
    assert_int_equal(poll_db(f, &err), 0);
    f->session = begin_session(f->db);
    assert_int_equal(get(f, "/a", value, sizeof(value)), 0);
    assert_string_equal(value, "1");
    assert_int_equal(get(f, "/other", NULL, 0), 0);
    assert_int_equal(put(f, "/a", "3"), 0);
    assert_int_equal(sqlite_file_check(sqlite_db_of(other), &err), 0);
    assert_int_equal(
        write_key(other, begin_session(other), false, "/other", "2"), 0);
    sqlite_db_close(&other);
}

/* As at the file before: for as long as it was told to. */
static void whoever_writes_is_waited_for_at_the_new_file_too(void **state)
{
    struct fixture *f = *state;
    struct sql_core *other;
    struct err err;
    mono_ms began;

    transfer(f->path, f->copy);
    assert_int_equal(rename(f->copy, f->path), 0);
    assert_int_equal(put(f, "/a", "1"), ERR_SESSION_LOST);
    remove_log(f);
    other = open_db(f);
    reopen(f);
    assert_int_equal(sqlite_begin(sqlite_db_of(other), &err), 0);
    began = clock_mono_ms();
    assert_int_equal(sqlite_begin(sqlite_db_of(f->db), &err), ERR_UNAVAILABLE);
    assert_true(clock_mono_ms() - began >= BUSY_MS);
    sqlite_rollback(other);
    assert_int_equal(sqlite_begin(sqlite_db_of(f->db), &err), 0);
    sqlite_rollback(f->db);
    sqlite_db_close(&other);
}

static void a_file_that_is_no_registry_is_not_taken(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    FILE *file = fopen(f->copy, "wb");

    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(rename(f->copy, f->path), 0);
    remove_log(f);
    (void)poll(NULL, 0, 1100);
    assert_int_not_equal(sqlite_db_reopen(sqlite_db_of(f->db), &err), 0);
    assert_int_equal(unlink(f->path), 0);
    (void)poll(NULL, 0, 1100);
    assert_int_not_equal(sqlite_db_reopen(sqlite_db_of(f->db), &err), 0);
    assert_int_equal(access(f->path, F_OK), -1);
}

static void copy_over_with_log(struct fixture *f, const char *from)
{
    char *log = mem_printf("%s-wal", f->path), *kept;

    kept = mem_printf("%s.kept", f->path);
    copy_over(log, kept);
    sqlite_db_close(&f->db);
    copy_over(from, f->path);
    copy_over(kept, log);
    mem_free(kept);
    mem_free(log);
}

/* All were killed, a backup copied over, and the log left where it was. */
static void a_log_of_another_time_is_met_at_the_start(void **state)
{
    struct fixture *f = *state;
    struct sql_core *db = NULL;
    struct err err = {0};

    fill(f, 200, 'a');
    transfer(f->path, f->copy);
    fill(f, 200, 'b');
    run_sql(f, "PRAGMA wal_checkpoint(TRUNCATE)");
    assert_int_equal(put(f, "/a", "2"), 0);
    copy_over_with_log(f, f->copy);
    assert_int_equal(sqlite_db_open(&db, f->path, "test", 100, &err), ERR_IO);
    assert_null(db);
    assert_non_null(strstr(err.msg, "damaged"));
    assert_non_null(strstr(err.msg, f->path));

    remove_log(f); /* as the message says */
    copy_over(f->copy, f->path);
    f->db = open_db(f);
}

/* Met in a read, whoever did it and whenever. */
static void a_malformed_page_ends_the_session(void **state)
{
    static const char garbage[4096] = {1, 2, 3};
    struct fixture *f = *state;
    struct sql_rows rows = {0};
    struct err err = {0};
    struct stat st;
    FILE *file;

    fill(f, 200, 'a');
    run_sql(f, "PRAGMA wal_checkpoint(TRUNCATE)");
    sqlite_db_close(&f->db);
    f->db = open_db(f);
    f->session = begin_session(f->db);
    assert_int_equal(poll_db(f, &err), 0);
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(sqlite_begin(sqlite_db_of(f->db), &err), 0);
    file = fopen(f->path, "r+b");
    assert_non_null(file);
    for (long at = 64 * 1024; at + 4096 <= st.st_size; at += 4096) {
        assert_int_equal(fseek(file, at, SEEK_SET), 0);
        assert_int_equal(fwrite(garbage, 1, 4096, file), 4096);
    }
    assert_int_equal(fclose(file), 0);
    assert_int_equal(sqlite_list(f->db, "/", NULL, 1000, &rows, &err),
                     ERR_UNAVAILABLE);
    sql_rows_close(&rows);
    sqlite_rollback(f->db);
    assert_non_null(strstr(err.msg, "damaged"));
    assert_int_equal(poll_db(f, &err), ERR_SESSION_LOST);
    assert_int_equal(put(f, "/a", "1"), ERR_SESSION_LOST);
    assert_int_equal(
        sqlite_session_begin(f->db, 0, TIMEOUT_MS, &f->session, &err),
        ERR_SESSION_LOST);
}

/* --- no false alarm ------------------------------------------------------ */

static void checkpoints_of_anybody_are_no_strangers(void **state)
{
    static const char *const modes[] = {"PASSIVE", "FULL", "RESTART",
                                        "TRUNCATE"};
    struct fixture *f = *state;
    struct err err;

    for (unsigned i = 0; i < 120; i++) {
        char *sql = mem_printf("PRAGMA wal_checkpoint(%s)", modes[i % 4]);

        fill(f, 1 + i % 7, (char)('a' + i % 26));
        run_sql(f, sql);
        mem_free(sql);
        if (i % 3 != 0 && poll_db(f, &err) != 0)
            fail_msg("%s", err.msg);
        assert_int_equal(put(f, "/a", "1"), 0);
    }
    run_sql(f, "VACUUM");
    assert_int_equal(poll_db(f, &err), 0);
    transfer(f->path, f->copy);
    assert_int_equal(poll_db(f, &err), 0);
}

static void a_new_time_alone_ends_nothing(void **state)
{
    struct fixture *f = *state;
    struct err err;

    fill(f, 20, 'a');
    assert_int_equal(utime(f->path, NULL), 0);
    assert_int_equal(verdict(f, &err), 0);
    assert_int_equal(put(f, "/a", "1"), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(an_older_state_refuses_every_call),
        TEST(a_lifted_revision_does_not_hide_a_lost_beat),
        TEST(a_session_that_was_never_begun_is_no_end_by_others),
        TEST(numbers_are_not_lost_unseen),
        TEST(a_feed_that_is_ahead_of_the_file_has_missed),
        TEST(a_copy_over_a_whole_log_is_told_and_has_no_effect),
        TEST(a_copy_over_a_part_of_the_log_is_damage),
        TEST(a_file_of_two_times_did_not_go_back),
        TEST(a_whole_file_that_is_older_went_back),
        TEST(nobody_begins_on_a_file_of_two_times),
        TEST(a_history_written_by_hand_is_no_damage),
        TEST(a_file_put_in_its_place_is_taken_without_the_old_log),
        TEST(whoever_writes_is_waited_for_at_the_new_file_too),
        TEST(a_file_that_is_no_registry_is_not_taken),
        TEST(a_log_of_another_time_is_met_at_the_start),
        TEST(a_malformed_page_ends_the_session),
        TEST(checkpoints_of_anybody_are_no_strangers),
        TEST(a_new_time_alone_ends_nothing),
    };

    return cmocka_run_group_tests_name("sqlite_back", tests, NULL, NULL);
}
