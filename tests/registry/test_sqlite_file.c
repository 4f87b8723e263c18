/*
 * test_sqlite_file.c - files that cannot be used, and a disk that is full.
 *
 * A file of another program must come out of an attempt byte for byte as it
 * went in, with nothing new beside it. The full disk is a small tmpfs of our
 * own, which needs root.
 */
#include "base/clock.h"
#include "base/loop.h"
#include "base/mem.h"
#include "conf/conf.h"
#include "registry/registry.h"
#include "registry/sqlite/sqlite_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define TIMEOUT_MS  3000
#define NOBODY      65534
#define PATIENCE_MS 60000

struct fixture {
    char dir[64], path[96];
    bool mounted;
};

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));

    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/test_sqlite_XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->path, sizeof(f->path), "%s/pelorus.db", f->dir);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct dirent *e;
    DIR *dir;

    if (f->mounted)
        (void)umount2(f->dir, MNT_DETACH);
    dir = opendir(f->dir);
    while (dir != NULL && (e = readdir(dir)) != NULL) {
        (void)unlinkat(dirfd(dir), e->d_name, 0);
        (void)unlinkat(dirfd(dir), e->d_name, AT_REMOVEDIR);
    }
    if (dir != NULL)
        (void)closedir(dir);
    (void)rmdir(f->dir);
    mem_free(f);
    return 0;
}

static void write_file(const char *path, const void *data, size_t len)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static char *read_file(const char *path, size_t *len)
{
    FILE *file = fopen(path, "rb");
    struct stat st;
    char *data;

    assert_non_null(file);
    assert_int_equal(fstat(fileno(file), &st), 0);
    *len = (size_t)st.st_size;
    data = mem_alloc(*len + 1);
    assert_int_equal(fread(data, 1, *len, file), *len);
    (void)fclose(file);
    return data;
}

static size_t files_in(const char *path)
{
    DIR *dir = opendir(path);
    size_t n = 0;

    assert_non_null(dir);
    while (readdir(dir) != NULL)
        n++;
    (void)closedir(dir);
    return n - 2;
}

static void expect_refused(const char *path, enum err_code code,
                           const char *words)
{
    struct sql_core *db = NULL;
    struct err err = {0};

    assert_int_equal(sqlite_db_open(&db, path, "test", 100, &err), code);
    assert_null(db);
    if (strstr(err.msg, words) == NULL || strstr(err.msg, path) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.msg, words);
}

/* And nothing has changed. */
static void expect_untouched(struct fixture *f, enum err_code code,
                             const char *words)
{
    size_t len, len_after;
    char *before = read_file(f->path, &len), *after;

    expect_refused(f->path, code, words);
    after = read_file(f->path, &len_after);
    assert_int_equal(len, len_after);
    assert_memory_equal(before, after, len);
    assert_int_equal(files_in(f->dir), 1);
    mem_free(before);
    mem_free(after);
}

static void run_sql(const char *path, const char *sql)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* --- files --------------------------------------------------------------- */

static void a_file_that_is_no_database_is_refused(void **state)
{
    struct fixture *f = *state;
    char garbage[4096];

    memset(garbage, 'x', sizeof(garbage));
    write_file(f->path, garbage, sizeof(garbage));
    expect_untouched(f, ERR_INVALID, "not a Pelorus registry");
    write_file(f->path, "short", 5);
    expect_untouched(f, ERR_INVALID, "not a Pelorus registry");
}

static void a_database_of_another_program_is_refused(void **state)
{
    struct fixture *f = *state;

    run_sql(f->path, "CREATE TABLE node(key TEXT); PRAGMA user_version = 1;"
                     "INSERT INTO node VALUES('theirs')");
    expect_untouched(f, ERR_INVALID, "another program");
}

static void a_newer_schema_is_refused(void **state)
{
    struct fixture *f = *state;
    struct sql_core *db;
    struct err err;

    assert_int_equal(sqlite_db_open(&db, f->path, "test", 100, &err), 0);
    sqlite_db_close(&db);
    run_sql(f->path, "PRAGMA user_version = 7");
    expect_untouched(f, ERR_INVALID, "schema 7");
}

static void a_damaged_registry_is_an_error_not_a_crash(void **state)
{
    struct fixture *f = *state;
    struct sql_core *db;
    struct err err;
    size_t len;
    char *data;

    assert_int_equal(sqlite_db_open(&db, f->path, "test", 100, &err), 0);
    sqlite_db_close(&db);
    data = read_file(f->path, &len);
    memset(data + 100, 0xa5, len - 100);
    write_file(f->path, data, len);
    mem_free(data);
    expect_refused(f->path, ERR_IO, "damaged");
}

static bool want_all(const void *arg, const char *key)
{
    (void)arg;
    (void)key;
    return true;
}

/* Others write into the file, too: what we cannot have written is no reason to
 * end, only to list all. */
static void a_change_of_a_key_too_long_is_a_gap(void **state)
{
    struct fixture *f = *state;
    struct sql_core *db;
    struct sql_feed feed = {.rev = 1};
    struct sql_rows rows = {0};
    bool missed, more;
    struct err err;

    assert_int_equal(sqlite_db_open(&db, f->path, "test", 100, &err), 0);
    run_sql(f->path, "INSERT INTO change VALUES(1, 'test/' || hex(zeroblob("
                     "400)))");
    assert_int_equal(sqlite_feed_read(db, &feed, 100, want_all, NULL, &rows,
                                      &missed, &more, &err),
                     0);
    assert_true(missed);
    assert_int_equal(rows.n, 0);
    assert_int_equal(sqlite_feed_read(db, &feed, 100, want_all, NULL, &rows,
                                      &missed, &more, &err),
                     0);
    assert_false(missed);
    sqlite_db_close(&db);
}

static void a_path_that_cannot_hold_a_file_is_refused(void **state)
{
    struct fixture *f = *state;
    char below[128];

    expect_refused(f->dir, ERR_INVALID, "is a directory");
    (void)snprintf(below, sizeof(below), "%s/missing/pelorus.db", f->dir);
    {
        struct sql_core *db;
        struct err err;

        assert_int_equal(sqlite_db_open(&db, below, "test", 100, &err), ERR_IO);
        assert_non_null(strstr(err.msg, "missing does not exist; create it"));
    }
}

/* Open as a user without rights, in a child; its message comes back. */
static int open_as_nobody(struct fixture *f, char msg[ERR_MSG_MAX])
{
    struct err err = {0};
    int ends[2], status;
    ssize_t n;
    pid_t pid;

    if (geteuid() != 0)
        fail_msg("this test changes its user and has to run as root");
    assert_int_equal(pipe(ends), 0);
    pid = fork();
    if (pid == 0) {
        struct sql_core *db = NULL;
        int rc = -1;

        if (setgid(NOBODY) == 0 && setuid(NOBODY) == 0)
            rc = sqlite_db_open(&db, f->path, "test", 100, &err);
        (void)!write(ends[1], err.msg, strlen(err.msg));
        _exit(rc);
    }
    (void)close(ends[1]);
    n = read(ends[0], msg, ERR_MSG_MAX - 1);
    msg[n < 0 ? 0 : n] = '\0';
    (void)close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void an_unreadable_file_is_denied(void **state)
{
    struct fixture *f = *state;
    char msg[ERR_MSG_MAX];
    struct sql_core *db;
    struct err err;

    assert_int_equal(sqlite_db_open(&db, f->path, "test", 100, &err), 0);
    sqlite_db_close(&db);
    assert_int_equal(chmod(f->dir, 0777), 0);
    assert_int_equal(chmod(f->path, 0600), 0);
    assert_int_equal(open_as_nobody(f, msg), ERR_DENIED);
    assert_non_null(strstr(msg, "cannot be read and written by user 65534"));
}

static void a_read_only_directory_is_denied(void **state)
{
    struct fixture *f = *state;
    char msg[ERR_MSG_MAX];

    assert_int_equal(chmod(f->dir, 0755), 0);
    assert_int_equal(open_as_nobody(f, msg), ERR_DENIED);
    assert_non_null(strstr(msg, "cannot be written by user 65534"));
    assert_int_equal(files_in(f->dir), 0);
}

static void an_empty_file_becomes_a_registry(void **state)
{
    struct fixture *f = *state;
    struct sql_core *db;
    struct err err;

    write_file(f->path, "", 0);
    assert_int_equal(sqlite_db_open(&db, f->path, "test", 100, &err), 0);
    sqlite_db_close(&db);
    assert_int_equal(sqlite_db_open(&db, f->path, "test", 100, &err), 0);
    sqlite_db_close(&db);
}

/* --- the full disk ------------------------------------------------------- */

struct client {
    struct loop *loop;
    struct registry *registry;
    enum registry_state states[16];
    size_t n_states;
    struct err err;
    bool answered, closed;
};

static void on_state(void *arg, enum registry_state state)
{
    struct client *c = arg;

    assert_true(c->n_states < ARRAY_LEN(c->states));
    c->states[c->n_states++] = state;
}

static void on_reply(void *arg, const struct registry_reply *reply)
{
    struct client *c = arg;

    c->err = reply->err;
    c->answered = true;
}

static void on_closed(void *arg)
{
    ((struct client *)arg)->closed = true;
}

#define turn_until(c, cond)                                                    \
    do {                                                                       \
        mono_ms until_ = clock_mono_ms() + PATIENCE_MS;                        \
        while (!(cond)) {                                                      \
            if (clock_mono_ms() >= until_)                                     \
                fail_msg("waited in vain for: %s", #cond);                     \
            loop_turn((c)->loop, 10);                                          \
        }                                                                      \
    } while (0)

static enum err_code put(struct client *c, const char *key, size_t len)
{
    char *value = mem_alloc(len);

    memset(value, 'v', len);
    c->answered = false;
    registry_put(c->registry, key, value, len, REGISTRY_ANY, 0, false, on_reply,
                 c);
    mem_free(value);
    turn_until(c, c->answered);
    return c->err.code;
}

static enum err_code get(struct client *c, const char *key)
{
    c->answered = false;
    registry_get(c->registry, key, on_reply, c);
    turn_until(c, c->answered);
    return c->err.code;
}

static void mount_small_disk(struct fixture *f)
{
    if (mount("tmpfs", f->dir, "tmpfs", 0, "size=2m") != 0) {
        fail_msg("cannot mount a tmpfs on %s (%s): this test needs root",
                 f->dir, strerror(errno));
    }
    f->mounted = true;
}

static void fill_disk(const char *path)
{
    static const char block[4096];
    int fd = open(path, O_WRONLY | O_CREAT, 0600);

    assert_true(fd >= 0);
    while (write(fd, block, sizeof(block)) > 0) {
    }
    assert_int_equal(errno, ENOSPC);
    (void)close(fd);
}

static void a_full_disk_is_unavailable_and_recovers_by_itself(void **state)
{
    struct fixture *f = *state;
    struct conf_registry conf = {.type = CONF_SQLITE,
                                 .namespace_ = (char *)"test",
                                 .path = f->path,
                                 .session_timeout_ms = TIMEOUT_MS};
    struct registry_listener *listener;
    struct client c = {0};
    uint64_t session;
    char balloon[96];

    mount_small_disk(f);
    (void)snprintf(balloon, sizeof(balloon), "%s/balloon", f->dir);
    assert_int_equal(loop_new(&c.loop, 64, &c.err), 0);
    if (registry_open(&c.registry, c.loop, &conf, &c.err) != 0)
        fail_msg("%s", c.err.msg);
    listener = registry_listen(c.registry, on_state, &c);
    turn_until(&c, c.n_states == 1);
    session = registry_session(c.registry);
    assert_int_equal(put(&c, "/before", 1000), ERR_OK);

    fill_disk(balloon);
    assert_int_equal(put(&c, "/large", 400000), ERR_UNAVAILABLE);
    assert_non_null(strstr(c.err.msg, "free some space"));
    assert_int_equal(get(&c, "/large"), ERR_NOT_FOUND);
    turn_until(&c, c.n_states >= 3);
    assert_int_equal(c.states[1], REGISTRY_SUSPENDED);
    assert_int_equal(c.states[2], REGISTRY_DISCONNECTED);

    assert_int_equal(unlink(balloon), 0);
    turn_until(&c, c.n_states == 4);
    assert_int_equal(c.states[3], REGISTRY_CONNECTED);
    assert_true(registry_session(c.registry) > session);
    assert_int_equal(put(&c, "/large", 400000), ERR_OK);
    assert_int_equal(get(&c, "/before"), ERR_OK);

    registry_unlisten(&listener);
    registry_close(&c.registry, on_closed, &c);
    turn_until(&c, c.closed);
    loop_free(&c.loop);
}

static void a_full_disk_at_the_first_start_is_an_error(void **state)
{
    struct fixture *f = *state;
    char balloon[96];

    mount_small_disk(f);
    (void)snprintf(balloon, sizeof(balloon), "%s/balloon", f->dir);
    fill_disk(balloon);
    expect_refused(f->path, ERR_IO, "full");
    assert_int_equal(files_in(f->dir), 1);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_file_that_is_no_database_is_refused),
        TEST(a_database_of_another_program_is_refused),
        TEST(a_newer_schema_is_refused),
        TEST(a_damaged_registry_is_an_error_not_a_crash),
        TEST(a_change_of_a_key_too_long_is_a_gap),
        TEST(a_path_that_cannot_hold_a_file_is_refused),
        TEST(an_unreadable_file_is_denied),
        TEST(a_read_only_directory_is_denied),
        TEST(an_empty_file_becomes_a_registry),
        TEST(a_full_disk_is_unavailable_and_recovers_by_itself),
        TEST(a_full_disk_at_the_first_start_is_an_error),
    };

    return cmocka_run_group_tests_name("sqlite_file", tests, NULL, NULL);
}
