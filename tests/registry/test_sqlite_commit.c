/*
 * test_sqlite_commit.c - what a failed COMMIT means, and what the checks of a
 * group see.
 *
 * The write-ahead log's file methods are replaced by ones that fail on
 * command, as a disk does. Then the files are copied as they are and opened
 * elsewhere: that is what a crash of all processes leaves, and what recovery
 * makes of it says whether "unavailable, certainly not applied" or "outcome
 * unknown" was the truth.
 */
#include "base/mem.h"
#include "registry/sqlite/sqlite_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char dir[64], path[96], copy[96];
    struct sql_core *db;
};

static const sqlite3_io_methods *real;
static int sync_result, write_result; /* SQLITE_OK: do it */
static int writes_until_failure;

static int log_sync(sqlite3_file *file, int flags)
{
    return sync_result != SQLITE_OK ? sync_result : real->xSync(file, flags);
}

static int log_write(sqlite3_file *file, const void *data, int n,
                     sqlite3_int64 offset)
{
    if (write_result != SQLITE_OK && writes_until_failure-- <= 0)
        return write_result;
    return real->xWrite(file, data, n, offset);
}

static void hook_log(struct sql_core *db)
{
    static sqlite3_io_methods hooked;
    sqlite3_file *log = NULL;

    assert_int_equal(sqlite3_file_control(sqlite_db_of(db)->handle, "main",
                                          SQLITE_FCNTL_JOURNAL_POINTER, &log),
                     SQLITE_OK);
    assert_non_null(log);
    real = log->pMethods;
    hooked = *real;
    hooked.xSync = log_sync;
    hooked.xWrite = log_write;
    log->pMethods = &hooked;
}

static int put(struct sql_core *db, const char *key, struct err *err)
{
    struct registry_op op = {.type = REGISTRY_PUT,
                             .expect = REGISTRY_ANY,
                             .key = key,
                             .value = "value",
                             .value_len = 5};
    size_t failed;

    err_clear(err);
    assert_int_equal(sqlite_begin(sqlite_db_of(db), err), 0);
    assert_int_equal(sqlite_apply(db, 1, &op, 1, &failed, err), 0);
    return sqlite_commit(db, err);
}

static bool has(struct sql_core *db, const char *key)
{
    struct sql_rows rows = {0};
    struct err err;
    int rc = sqlite_get(db, key, &rows, &err);

    assert_true(rc == 0 || rc == ERR_NOT_FOUND);
    sql_rows_close(&rows);
    return rc == 0;
}

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));
    struct err err;

    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/test_sqlite_XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->path, sizeof(f->path), "%s/pelorus.db", f->dir);
    (void)snprintf(f->copy, sizeof(f->copy), "%s/copy.db", f->dir);
    assert_int_equal(sqlite_db_open(&f->db, f->path, "test", 100, &err), 0);
    sync_result = write_result = SQLITE_OK;
    assert_int_equal(put(f->db, "/before", &err), 0);
    hook_log(f->db);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    struct fixture *f = *state;

    sync_result = write_result = SQLITE_OK;
    sqlite_db_close(&f->db);
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        char name[128];

        (void)snprintf(name, sizeof(name), "%s%s", f->path, suffixes[i]);
        (void)unlink(name);
        (void)snprintf(name, sizeof(name), "%s%s", f->copy, suffixes[i]);
        (void)unlink(name);
    }
    (void)rmdir(f->dir);
    mem_free(f);
    return 0;
}

static void copy_file(const char *from, const char *to, const char *suffix)
{
    char name[128], block[4096];
    FILE *in, *out;
    size_t n;

    (void)snprintf(name, sizeof(name), "%s%s", from, suffix);
    in = fopen(name, "rb");
    (void)snprintf(name, sizeof(name), "%s%s", to, suffix);
    out = fopen(name, "wb");
    assert_non_null(in);
    assert_non_null(out);
    while ((n = fread(block, 1, sizeof(block), in)) > 0)
        assert_int_equal(fwrite(block, 1, n, out), n);
    assert_int_equal(fclose(out), 0);
    (void)fclose(in);
}

/* Would the key be there if all processes died now? */
static bool survives_crash(struct fixture *f, const char *key)
{
    struct sql_core *db;
    struct err err;
    bool there;

    copy_file(f->path, f->copy, "");
    copy_file(f->path, f->copy, "-wal");
    assert_int_equal(sqlite_db_open(&db, f->copy, "test", 100, &err), 0);
    assert_true(has(db, "/before"));
    there = has(db, key);
    sqlite_db_close(&db);
    return there;
}

static void a_commit_whose_sync_fails_is_unknown(void **state)
{
    struct fixture *f = *state;
    struct err err;

    sync_result = SQLITE_IOERR_FSYNC;
    assert_int_equal(put(f->db, "/k", &err), ERR_UNKNOWN);
    assert_int_equal(err.code, ERR_UNKNOWN);
    sync_result = SQLITE_OK;
    assert_false(has(f->db, "/k"));
    assert_true(survives_crash(f, "/k"));
}

static void an_unknown_commit_is_gone_with_the_next_one(void **state)
{
    struct fixture *f = *state;
    struct err err;

    sync_result = SQLITE_IOERR_FSYNC;
    assert_int_equal(put(f->db, "/k", &err), ERR_UNKNOWN);
    sync_result = SQLITE_OK;
    assert_int_equal(put(f->db, "/next", &err), 0);
    assert_true(survives_crash(f, "/next"));
    assert_false(survives_crash(f, "/k"));
}

/* Wherever among the log's writes the space runs out. */
static void a_commit_without_space_is_certainly_not_applied(void **state)
{
    struct fixture *f = *state;
    struct err err;
    int rc = ERR_UNAVAILABLE;

    for (int n = 0; rc != 0; n++) {
        char key[32];

        (void)snprintf(key, sizeof(key), "/k%d", n);
        write_result = SQLITE_FULL;
        writes_until_failure = n;
        rc = put(f->db, key, &err);
        write_result = SQLITE_OK;
        assert_true(n < 100);
        assert_int_equal(has(f->db, key), rc == 0);
        assert_int_equal(survives_crash(f, key), rc == 0);
        if (rc != 0)
            assert_int_equal(rc, ERR_UNAVAILABLE);
        else
            assert_true(n > 4); /* it failed at several places before */
    }
}

/* --- checks -------------------------------------------------------------- */

static int apply(struct sql_core *db, enum registry_op_type type,
                 uint64_t version)
{
    struct registry_op op = {.type = type,
                             .expect = REGISTRY_VERSION,
                             .key = "/before",
                             .value = "other",
                             .value_len = 5,
                             .version = version};
    struct err err;
    size_t failed;

    return sqlite_apply(db, 1, &op, 1, &failed, &err);
}

static void begin(struct sql_core *db)
{
    struct err err;

    assert_int_equal(sqlite_begin(sqlite_db_of(db), &err), 0);
}

/* What the calls before it in the group have written, and not what was undone
 * of them; however often the key was checked. */
static void a_check_sees_what_its_group_wrote(void **state)
{
    struct fixture *f = *state;
    uint64_t old = sqlite_revision(f->db), now;
    struct err err;

    begin(f->db);
    assert_int_equal(apply(f->db, REGISTRY_CHECK, old), 0);
    assert_int_equal(apply(f->db, REGISTRY_CHECK, old), 0);
    assert_int_equal(apply(f->db, REGISTRY_CHECK, old + 1), ERR_CONFLICT);
    assert_int_equal(sqlite_savepoint(f->db, &err), 0);
    assert_int_equal(apply(f->db, REGISTRY_PUT, old), 0);
    now = sqlite_revision(f->db);
    assert_int_equal(apply(f->db, REGISTRY_CHECK, old), ERR_CONFLICT);
    assert_int_equal(apply(f->db, REGISTRY_CHECK, now), 0);
    assert_int_equal(sqlite_release(f->db, true, &err), 0);
    assert_int_equal(apply(f->db, REGISTRY_CHECK, now), ERR_CONFLICT);
    assert_int_equal(apply(f->db, REGISTRY_CHECK, old), 0);
    assert_int_equal(apply(f->db, REGISTRY_DELETE, old), 0);
    assert_int_equal(apply(f->db, REGISTRY_CHECK, old), ERR_NOT_FOUND);
    assert_int_equal(sqlite_commit(f->db, &err), 0);
}

/* Another process writes between two of ours. */
static void a_check_sees_what_others_wrote(void **state)
{
    struct fixture *f = *state;
    uint64_t old = sqlite_revision(f->db), now;
    struct sql_core *other;
    struct err err;

    begin(f->db);
    assert_int_equal(apply(f->db, REGISTRY_CHECK, old), 0);
    sqlite_rollback(f->db);
    assert_int_equal(sqlite_db_open(&other, f->path, "test", 100, &err), 0);
    assert_int_equal(put(other, "/before", &err), 0);
    now = sqlite_revision(other);
    sqlite_db_close(&other);
    begin(f->db);
    assert_int_equal(apply(f->db, REGISTRY_CHECK, old), ERR_CONFLICT);
    assert_int_equal(apply(f->db, REGISTRY_CHECK, now), 0);
    sqlite_rollback(f->db);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_commit_whose_sync_fails_is_unknown),
        TEST(an_unknown_commit_is_gone_with_the_next_one),
        TEST(a_commit_without_space_is_certainly_not_applied),
        TEST(a_check_sees_what_its_group_wrote),
        TEST(a_check_sees_what_others_wrote),
    };

    return cmocka_run_group_tests_name("sqlite_commit", tests, NULL, NULL);
}
