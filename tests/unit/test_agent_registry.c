/*
 * test_agent_registry.c - the agent as its users run it, in a process of its
 * own, registered directly in a real registry file; the test looks into the
 * same file through a session of its own. (More than 500 lines: what a test
 * needs of the agent, the file and the command stands beside it.)
 */
#include "agent/agent.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "cluster/gate.h"
#include "conf/conf.h"
#include "registry/registry.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 60000
#define SESSION_MS  3000
#define KEY         "/pelorus/nodes/worker/h:1"
#define GATE        "/pelorus/owners/worker/h:1"

struct fixture {
    char dir[64], conf_file[128];
    struct conf conf;
    struct loop *loop;
    struct registry *registry;
    pid_t agent;
    /* the last reply */
    bool replied, closed;
    enum err_code code;
    uint64_t owner;
    struct heartbeat hb;
};

/* --- help ---------------------------------------------------------------- */

static void write_conf(struct fixture *f, int session_ms)
{
    FILE *file = fopen(f->conf_file, "w");

    assert_non_null(file);
    fprintf(file,
            "registry: {type: sqlite, path: %s/pelorus.db, "
            "session-timeout: %dms}\n"
            "balancer: {heartbeat-interval: 300ms}\n"
            "log: {level: warn}\n",
            f->dir, session_ms);
    fclose(file);
}

static int set_up(void **state)
{
    static struct fixture f;
    struct buf problems;
    struct err err;

    memset(&f, 0, sizeof(f));
    snprintf(f.dir, sizeof(f.dir), "/tmp/pelorus-agent-XXXXXX");
    assert_non_null(mkdtemp(f.dir));
    snprintf(f.conf_file, sizeof(f.conf_file), "%s/pelorus.yaml", f.dir);
    write_conf(&f, SESSION_MS);
    buf_init(&problems, 65536);
    if (conf_load(&f.conf, f.conf_file, &problems, &err) != 0)
        fail_msg("%s", err.msg);
    buf_close(&problems);
    *state = &f;
    return 0;
}

/* After the agent was forked: it must not inherit our threads' locks. */
static void open_registry(struct fixture *f)
{
    struct err err;

    assert_int_equal(loop_new(&f->loop, 64, &err), 0);
    if (registry_open(&f->registry, f->loop, &f->conf.registry, &err) != 0)
        fail_msg("%s", err.msg);
    while (registry_state(f->registry) != REGISTRY_CONNECTED)
        loop_turn(f->loop, 50);
}

static pid_t start_agent(struct fixture *f, const char *const *command)
{
    struct agent_options o = {
        .kind = NODE_WORKER,
        .address = "h:1",
        .groups = {"gpu"},
        .n_groups = 1,
        .weight = 200,
        .slots = 8,
        .conf_file = f->conf_file,
        .command = (char *const *)(uintptr_t)command,
    };
    struct err err;
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    err_clear(&err);
    _exit(agent_run(&o, &err));
}

static void on_closed(void *arg)
{
    struct fixture *f = arg;

    f->closed = true;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    char command[128];

    if (f->agent > 0) {
        kill(f->agent, SIGKILL);
        waitpid(f->agent, NULL, 0);
    }
    if (f->registry != NULL) {
        registry_close(&f->registry, on_closed, f);
        while (!f->closed)
            loop_turn(f->loop, 100);
        loop_free(&f->loop);
    }
    conf_close(&f->conf);
    snprintf(command, sizeof(command), "rm -rf %s", f->dir);
    return system(command);
}

static void on_reply(void *arg, const struct registry_reply *reply)
{
    struct fixture *f = arg;

    f->replied = true;
    f->code = reply->err.code;
    if (reply->n_entries == 1) {
        f->owner = reply->entries[0].owner;
        heartbeat_read(&f->hb, reply->entries[0].value,
                       reply->entries[0].value_len);
    }
}

static enum err_code wait_reply(struct fixture *f)
{
    mono_ms end = clock_mono_ms() + PATIENCE_MS;

    while (!f->replied && clock_mono_ms() < end)
        loop_turn(f->loop, 50);
    assert_true(f->replied);
    f->replied = false;
    return f->code;
}

static enum err_code look(struct fixture *f)
{
    registry_get(f->registry, KEY, on_reply, f);
    return wait_reply(f);
}

/* Until a process stands there that is not `not`. */
static struct process await_process(struct fixture *f,
                                    const struct process * not )
{
    mono_ms end = clock_mono_ms() + PATIENCE_MS;

    while (clock_mono_ms() < end) {
        if (look(f) == ERR_OK && f->hb.process.known &&
            !process_same(&f->hb.process, not ))
            return f->hb.process;
        loop_turn(f->loop, 50);
    }
    fail_msg("no such registration");
    return *not ;
}

static int await_exit(struct fixture *f, int64_t at_most_ms)
{
    mono_ms end = clock_mono_ms() + at_most_ms;
    int status = -1;

    while (waitpid(f->agent, &status, WNOHANG) == 0) {
        if (clock_mono_ms() > end)
            fail_msg("the agent is still there");
        (void)poll(NULL, 0, 20);
    }
    f->agent = 0;
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static bool alive(pid_t pid)
{
    char path[64], text[256] = "";
    char *end;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "r");
    if (file == NULL)
        return false;
    if (fgets(text, sizeof(text), file) == NULL)
        text[0] = '\0';
    fclose(file);
    end = strrchr(text, ')');
    return end != NULL && end[2] != 'Z' && end[2] != 'X';
}

/* The number a command wrote last; waits for one that is not `not`. */
static pid_t await_command(const struct fixture *f, pid_t not )
{
    mono_ms end = clock_mono_ms() + PATIENCE_MS;
    char path[128];
    int pid = 0;

    snprintf(path, sizeof(path), "%s/pid", f->dir);
    while (clock_mono_ms() < end) {
        FILE *file = fopen(path, "r");
        int n = file != NULL ? fscanf(file, "%d\n", &pid) : 0;

        if (file != NULL)
            fclose(file);
        if (n == 1 && pid != not )
            return (pid_t)pid;
        (void)poll(NULL, 0, 20);
    }
    fail_msg("the command was not started");
    return 0;
}

static const char *script_of(const struct fixture *f, char *out, size_t size)
{
    snprintf(out, size,
             "echo $$ >%s/tmp; mv %s/tmp %s/pid; while :; do sleep 0.1; done",
             f->dir, f->dir, f->dir);
    return out;
}

/* The same, and SIGTERM is not heard. */
static const char *stubborn(const struct fixture *f, char *out, size_t size)
{
    char script[400];

    snprintf(out, size, "trap '' TERM; %s",
             script_of(f, script, sizeof(script)));
    return out;
}

/* --- tests --------------------------------------------------------------- */

static const struct process nobody = {0, 0, 0, true};

static void a_node_registers_reports_and_leaves_on_sigterm(void **state)
{
    struct fixture *f = *state;
    int64_t first;
    mono_ms end;

    f->agent = start_agent(f, NULL);
    open_registry(f);
    await_process(f, &nobody);
    assert_true(f->owner != 0);
    assert_int_equal(f->hb.n_problems, 0);
    assert_int_equal(f->hb.process.process_id, f->agent);
    assert_int_equal(f->hb.load.weight, 200);
    assert_int_equal(f->hb.load.slots, 8);
    assert_true(f->hb.load.memory > 0);
    assert_int_equal(f->hb.n_groups, 1);
    assert_string_equal(f->hb.groups[0], "gpu");
    /* It goes on reporting. */
    first = f->hb.report_time;
    end = clock_mono_ms() + PATIENCE_MS;
    while (f->hb.report_time == first && clock_mono_ms() < end)
        look(f);
    assert_true(f->hb.report_time > first);
    kill(f->agent, SIGTERM);
    assert_int_equal(await_exit(f, 5000), 0);
    assert_int_equal(look(f), ERR_NOT_FOUND);
}

static void the_commands_exit_code_is_the_agents(void **state)
{
    struct fixture *f = *state;
    const char *argv[] = {
        "sh", "-c",
        "test $PELORUS_KIND:$PELORUS_ADDRESS = worker:h:1 && exit 9", NULL};

    f->agent = start_agent(f, argv);
    open_registry(f);
    assert_int_equal(await_exit(f, PATIENCE_MS), 9);
    assert_int_equal(look(f), ERR_NOT_FOUND);
}

static void a_command_that_does_not_exist_ends_the_agent(void **state)
{
    struct fixture *f = *state;
    const char *argv[] = {"/nonexistent", NULL};

    f->agent = start_agent(f, argv);
    assert_int_equal(await_exit(f, PATIENCE_MS), 127);
}

static void sigterm_stops_the_command_before_the_entry_goes(void **state)
{
    struct fixture *f = *state;
    char script[512];
    const char *argv[] = {"sh", "-c", script_of(f, script, sizeof(script)),
                          NULL};
    pid_t command;

    f->agent = start_agent(f, argv);
    open_registry(f);
    await_process(f, &nobody);
    command = await_command(f, 0);
    assert_true(alive(command));
    kill(f->agent, SIGTERM);
    assert_int_equal(await_exit(f, 5000), 0);
    assert_false(alive(command));
    assert_int_equal(look(f), ERR_NOT_FOUND);
}

static void put_gate(struct fixture *f, const struct process *fenced)
{
    struct gate gate = {.state = GATE_FENCED, .process = *fenced};
    struct buf b;

    buf_init(&b, 4096);
    gate_write(&b, &gate);
    registry_put(f->registry, GATE, b.data, b.len, REGISTRY_ANY, 0, false,
                 on_reply, f);
    assert_int_equal(wait_reply(f), ERR_OK);
    buf_close(&b);
}

static void a_fenced_process_stops_its_work_and_begins_anew(void **state)
{
    struct fixture *f = *state;
    char script[512];
    const char *argv[] = {"sh", "-c", script_of(f, script, sizeof(script)),
                          NULL};
    struct process old, new;
    pid_t command;

    f->agent = start_agent(f, argv);
    open_registry(f);
    old = await_process(f, &nobody);
    command = await_command(f, 0);
    put_gate(f, &old);
    new = await_process(f, &old);
    assert_true(new.startup_time > old.startup_time);
    assert_false(alive(command));
    assert_true(alive(await_command(f, command)));
}

static void a_fenced_node_without_a_command_begins_anew(void **state)
{
    struct fixture *f = *state;
    struct process old, new;

    f->agent = start_agent(f, NULL);
    open_registry(f);
    old = await_process(f, &nobody);
    put_gate(f, &old);
    new = await_process(f, &old);
    assert_true(new.startup_time > old.startup_time);
}

/* It looks at the load once a second, and would report each 300 ms: of the
 * reports in between most say what the last one said. */
static void a_load_that_stays_is_written_before_it_is_late(void **state)
{
    struct fixture *f = *state;
    int64_t before, longest = 0;
    unsigned written = 0;
    mono_ms end;

    f->agent = start_agent(f, NULL);
    open_registry(f);
    (void)await_process(f, &nobody);
    before = f->hb.report_time;
    end = clock_mono_ms() + 6000;
    while (clock_mono_ms() < end) {
        assert_int_equal(look(f), ERR_OK);
        if (f->hb.report_time != before) {
            longest = f->hb.report_time - before > longest
                          ? f->hb.report_time - before
                          : longest;
            before = f->hb.report_time;
            written++;
        }
        loop_turn(f->loop, 20);
    }
    assert_in_range(written, 4, 16); /* 20 intervals */
    assert_true(longest > 450);      /* one and a half at least, once */
}

static void a_stopped_agents_work_ends_before_its_session(void **state)
{
    struct fixture *f = *state;
    char script[512];
    const char *argv[] = {"sh", "-c", script_of(f, script, sizeof(script)),
                          NULL};
    struct process old, new;
    mono_ms stopped;
    pid_t command;

    f->agent = start_agent(f, argv);
    open_registry(f);
    old = await_process(f, &nobody);
    command = await_command(f, 0);
    kill(f->agent, SIGSTOP);
    stopped = clock_mono_ms();
    while (alive(command) && clock_mono_ms() < stopped + PATIENCE_MS)
        loop_turn(f->loop, 20);
    assert_in_range(clock_mono_ms() - stopped, 0, SESSION_MS);
    while (look(f) == ERR_OK && clock_mono_ms() < stopped + PATIENCE_MS)
        loop_turn(f->loop, 50);
    assert_int_equal(f->code, ERR_NOT_FOUND);
    kill(f->agent, SIGCONT);
    new = await_process(f, &old);
    assert_true(new.startup_time > old.startup_time);
    assert_true(alive(await_command(f, command)));
}

static int64_t ask_file(const struct fixture *f, const char *sql)
{
    char path[128];
    sqlite3_stmt *stmt;
    sqlite3 *db;
    int64_t value = 0;

    snprintf(path, sizeof(path), "%s/pelorus.db", f->dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, PATIENCE_MS);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    if (sqlite3_step(stmt) == SQLITE_ROW)
        value = sqlite3_column_int64(stmt, 0);
    assert_int_equal(sqlite3_finalize(stmt), SQLITE_OK);
    sqlite3_close(db);
    return value;
}

/* It has 2.5 s to leave. Its session, which it will look at sooner than that,
 * is ended as by somebody who saw no sign of life. */
static void a_session_lost_while_it_leaves_ends_the_work_at_once(void **state)
{
    struct fixture *f = *state;
    char script[512];
    const char *argv[] = {"sh", "-c", stubborn(f, script, sizeof(script)),
                          NULL};
    int64_t beat;
    mono_ms asked;
    pid_t command;

    write_conf(f, 4 * SESSION_MS);
    f->agent = start_agent(f, argv);
    command = await_command(f, 0);
    beat = ask_file(f, "SELECT max(beat) FROM session");
    while (ask_file(f, "SELECT max(beat) FROM session") == beat)
        (void)poll(NULL, 0, 10);
    (void)poll(NULL, 0, SESSION_MS); /* of four thirds to the next */
    asked = clock_mono_ms();
    kill(f->agent, SIGTERM);
    (void)ask_file(f, "DELETE FROM session");
    while (alive(command) && clock_mono_ms() < asked + PATIENCE_MS)
        (void)poll(NULL, 0, 10);
    assert_in_range(clock_mono_ms() - asked, 0, 2000);
    (void)await_exit(f, PATIENCE_MS);
}

/* A quick restart: the key of the session before stands until that ends. */
static void a_killed_agents_successor_waits_for_its_key(void **state)
{
    struct fixture *f = *state;
    char script[512];
    const char *argv[] = {"sh", "-c", script_of(f, script, sizeof(script)),
                          NULL};
    pid_t first = start_agent(f, argv), command = await_command(f, 0);
    struct process old;

    kill(first, SIGKILL);
    waitpid(first, NULL, 0);
    f->agent = start_agent(f, argv);
    open_registry(f);
    old = await_process(f, &nobody);
    assert_int_equal(old.process_id, first);
    assert_int_equal(await_process(f, &old).process_id, f->agent);
    assert_true(alive(await_command(f, command)));
    assert_false(alive(command));
}

static void a_bad_configuration_is_said(void **state)
{
    struct fixture *f = *state;
    struct agent_options o = {.kind = NODE_MASTER,
                              .address = "h:1",
                              .conf_file = "/nonexistent.yaml"};
    struct err err;

    (void)f;
    err_clear(&err);
    assert_int_equal(agent_run(&o, &err), 1);
    assert_non_null(strstr(err.msg, "/nonexistent.yaml"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_node_registers_reports_and_leaves_on_sigterm),
        TEST(the_commands_exit_code_is_the_agents),
        TEST(a_command_that_does_not_exist_ends_the_agent),
        TEST(sigterm_stops_the_command_before_the_entry_goes),
        TEST(a_fenced_process_stops_its_work_and_begins_anew),
        TEST(a_fenced_node_without_a_command_begins_anew),
        TEST(a_load_that_stays_is_written_before_it_is_late),
        TEST(a_stopped_agents_work_ends_before_its_session),
        TEST(a_session_lost_while_it_leaves_ends_the_work_at_once),
        TEST(a_killed_agents_successor_waits_for_its_key),
        TEST(a_bad_configuration_is_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
