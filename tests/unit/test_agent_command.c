/*
 * test_agent_command.c - the guard and its command, with real processes: the
 * command must be dead when its deadline passed, whatever happened to whom.
 */
#include "agent/agent_priv.h"

#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 60000
#define FAR         (clock_mono_ms() + 600000)

/* --- help ---------------------------------------------------------------- */

struct fixture {
    struct loop *loop;
    struct command *command;
    struct guard_message last;
    unsigned messages;
    char dir[64];
};

static void on_event(void *arg, const struct guard_message *m)
{
    struct fixture *f = arg;

    f->last = *m;
    f->messages++;
}

static int set_up(void **state)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    snprintf(f.dir, sizeof(f.dir), "/tmp/pelorus-guard-XXXXXX");
    assert_non_null(mkdtemp(f.dir));
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    char command[128];

    agent_command_free(&f->command);
    loop_free(&f->loop);
    snprintf(command, sizeof(command), "rm -rf %s", f->dir);
    return system(command);
}

/* The guard is forked before there is a loop, as in the agent. */
static void prepare(struct fixture *f, const char *const *argv)
{
    struct err err;

    assert_int_equal(
        agent_command_new(&f->command, (char *const *)(uintptr_t)argv, &err),
        0);
    assert_int_equal(loop_new(&f->loop, 16, &err), 0);
    agent_command_attach(f->command, f->loop, on_event, f);
}

static void await(struct fixture *f, enum guard_message_type type)
{
    mono_ms end = clock_mono_ms() + PATIENCE_MS;
    unsigned seen = f->messages;

    while (clock_mono_ms() < end) {
        if (f->messages != seen && f->last.type == type)
            return;
        loop_turn(f->loop, 20);
    }
    fail_msg("no message %d, the last is %d", (int)type, (int)f->last.type);
}

static void pause_ms(int ms)
{
    (void)poll(NULL, 0, ms);
}

/* Gone, or a corpse that nobody buried yet. */
static bool is_dead(pid_t pid)
{
    char path[64], text[256], *end;
    FILE *file;
    size_t n;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "r");
    if (file == NULL)
        return true;
    n = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[n] = '\0';
    end = strrchr(text, ')');
    return end == NULL || end[2] == 'Z' || end[2] == 'X';
}

static void await_death(pid_t pid)
{
    mono_ms end = clock_mono_ms() + PATIENCE_MS;

    while (!is_dead(pid) && clock_mono_ms() < end)
        pause_ms(20);
    assert_true(is_dead(pid));
}

/* The number that somebody writes into a file of ours. */
static pid_t await_pid(const struct fixture *f, const char *name)
{
    mono_ms end = clock_mono_ms() + PATIENCE_MS;
    char path[128];
    int pid = 0;

    snprintf(path, sizeof(path), "%s/%s", f->dir, name);
    while (clock_mono_ms() < end) {
        FILE *file = fopen(path, "r");
        int n = file != NULL ? fscanf(file, "%d\n", &pid) : 0;

        if (file != NULL)
            fclose(file);
        if (n == 1)
            return (pid_t)pid;
        pause_ms(20);
    }
    fail_msg("%s was never written", path);
    return 0;
}

/* A command that does not mind SIGTERM, with a child that does not either. */
static const char *stubborn(struct fixture *f, char *script, size_t size)
{
    snprintf(script, size,
             "trap '' TERM INT; (trap '' TERM INT; while :; do sleep 1; done) &"
             " echo $! >%s/tmp; mv %s/tmp %s/child; while :; do sleep 1; done",
             f->dir, f->dir, f->dir);
    return script;
}

/* --- tests --------------------------------------------------------------- */

static void the_exit_code_comes_back(void **state)
{
    struct fixture *f = *state;
    const char *argv[] = {"sh", "-c", "exit 42", NULL};

    prepare(f, argv);
    agent_command_start(f->command, "1-2", FAR);
    await(f, GUARD_EXITED);
    assert_true(WIFEXITED((int)f->last.value));
    assert_int_equal(WEXITSTATUS((int)f->last.value), 42);
}

static void a_command_starts_again_and_knows_its_process(void **state)
{
    struct fixture *f = *state;
    const char *argv[] = {"sh", "-c", "exit ${PELORUS_PROCESS#x-}", NULL};

    prepare(f, argv);
    for (int i = 3; i < 6; i++) {
        char process[24];

        snprintf(process, sizeof(process), "x-%d", i);
        agent_command_start(f->command, process, FAR);
        await(f, GUARD_EXITED);
        assert_int_equal(WEXITSTATUS((int)f->last.value), i);
    }
}

static void a_command_that_does_not_exist_says_why(void **state)
{
    struct fixture *f = *state;
    const char *argv[] = {"/nonexistent/command", NULL};

    prepare(f, argv);
    agent_command_start(f->command, "1-2", FAR);
    await(f, GUARD_FAILED);
    assert_int_equal(f->last.value, ENOENT);
}

static void a_signal_reaches_the_group(void **state)
{
    struct fixture *f = *state;
    const char *argv[] = {"sleep", "600", NULL};

    prepare(f, argv);
    agent_command_start(f->command, "1-2", FAR);
    await(f, GUARD_STARTED);
    agent_command_tell(f->command, GUARD_SIGNAL, SIGTERM);
    await(f, GUARD_EXITED);
    assert_true(WIFSIGNALED((int)f->last.value));
    assert_int_equal(WTERMSIG((int)f->last.value), SIGTERM);
}

static void the_deadline_kills_the_whole_group(void **state)
{
    struct fixture *f = *state;
    char script[512];
    const char *argv[] = {"sh", "-c", stubborn(f, script, sizeof(script)),
                          NULL};
    mono_ms deadline;
    pid_t child;

    prepare(f, argv);
    agent_command_start(f->command, "1-2", FAR);
    await(f, GUARD_STARTED);
    child = await_pid(f, "child");
    assert_false(is_dead(child));
    agent_command_tell(f->command, GUARD_SIGNAL, SIGTERM);
    deadline = clock_mono_ms() + 500;
    agent_command_tell(f->command, GUARD_DEADLINE, deadline);
    await(f, GUARD_EXITED);
    assert_int_equal(WTERMSIG((int)f->last.value), SIGKILL);
    assert_true(clock_mono_ms() >= deadline);
    await_death(child);
}

static void a_deadline_moved_in_time_does_not_kill(void **state)
{
    struct fixture *f = *state;
    const char *argv[] = {"sh", "-c", "sleep 1; exit 7", NULL};
    mono_ms end = clock_mono_ms() + 900;

    prepare(f, argv);
    agent_command_start(f->command, "1-2", clock_mono_ms() + 600);
    await(f, GUARD_STARTED);
    while (clock_mono_ms() < end) {
        agent_command_tell(f->command, GUARD_DEADLINE, clock_mono_ms() + 600);
        loop_turn(f->loop, 50);
    }
    agent_command_tell(f->command, GUARD_DEADLINE, FAR);
    await(f, GUARD_EXITED);
    assert_true(WIFEXITED((int)f->last.value));
    assert_int_equal(WEXITSTATUS((int)f->last.value), 7);
}

static void what_a_command_leaves_behind_is_killed(void **state)
{
    struct fixture *f = *state;
    char script[512];
    const char *argv[] = {"sh", "-c", script, NULL};
    pid_t child;

    snprintf(script, sizeof(script), "sleep 600 & echo $! >%s/child; exit 3",
             f->dir);
    prepare(f, argv);
    agent_command_start(f->command, "1-2", FAR);
    await(f, GUARD_EXITED);
    assert_int_equal(WEXITSTATUS((int)f->last.value), 3);
    child = await_pid(f, "child");
    await_death(child);
}

/* Its child is a daemon: a session of its own, its parent gone. */
static const char *daemonising(struct fixture *f, char *script, size_t size)
{
    snprintf(script, size,
             "(setsid sh -c 'trap \"\" TERM HUP; echo $$ >%s/tmp; "
             "mv %s/tmp %s/child; while :; do sleep 1; done' &); "
             "while :; do sleep 1; done",
             f->dir, f->dir, f->dir);
    return script;
}

static void a_daemon_does_not_outlive_its_command(void **state)
{
    struct fixture *f = *state;
    char script[512];
    const char *argv[] = {"sh", "-c", daemonising(f, script, sizeof(script)),
                          NULL};
    pid_t child;

    prepare(f, argv);
    agent_command_start(f->command, "1-2", FAR);
    await(f, GUARD_STARTED);
    child = await_pid(f, "child");
    agent_command_tell(f->command, GUARD_SIGNAL,
                       SIGTERM); /* the daemon does not mind */
    await(f, GUARD_EXITED);
    assert_true(is_dead(child)); /* already: the exit is told last */
    assert_false(f->last.left);
}

static void a_daemon_dies_at_the_deadline(void **state)
{
    struct fixture *f = *state;
    char script[512];
    const char *argv[] = {"sh", "-c", daemonising(f, script, sizeof(script)),
                          NULL};
    pid_t child;

    prepare(f, argv);
    agent_command_start(f->command, "1-2", FAR);
    await(f, GUARD_STARTED);
    child = await_pid(f, "child");
    agent_command_tell(f->command, GUARD_DEADLINE, clock_mono_ms() + 100);
    await(f, GUARD_EXITED);
    assert_true(f->last.late);
    assert_true(is_dead(child));
}

static void freeing_kills_what_runs(void **state)
{
    struct fixture *f = *state;
    char script[512];
    const char *argv[] = {"sh", "-c", stubborn(f, script, sizeof(script)),
                          NULL};
    pid_t leader, child;

    prepare(f, argv);
    agent_command_start(f->command, "1-2", FAR);
    await(f, GUARD_STARTED);
    leader = (pid_t)f->last.value;
    child = await_pid(f, "child");
    agent_command_free(&f->command);
    await_death(leader);
    await_death(child);
}

/* An agent in a process of its own; what it starts is written to files. */
static pid_t agent_process(struct fixture *f, const char *const *argv,
                           int64_t deadline_ms)
{
    pid_t pid = fork();
    char path[128];
    FILE *file;

    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prepare(f, argv);
    agent_command_start(f->command, "1-2", clock_mono_ms() + deadline_ms);
    await(f, GUARD_STARTED);
    snprintf(path, sizeof(path), "%s/leader", f->dir);
    file = fopen(path, "w");
    fprintf(file, "%d\n", (int)f->last.value);
    fclose(file);
    for (;;) {
        agent_command_tell(f->command, GUARD_DEADLINE,
                           clock_mono_ms() + deadline_ms);
        loop_turn(f->loop, 100);
    }
}

static void a_killed_agent_takes_its_command_with_it(void **state)
{
    struct fixture *f = *state;
    char script[512];
    const char *argv[] = {"sh", "-c", stubborn(f, script, sizeof(script)),
                          NULL};
    pid_t agent = agent_process(f, argv, 600000);
    pid_t leader = await_pid(f, "leader"), child = await_pid(f, "child");

    assert_false(is_dead(leader));
    kill(agent, SIGKILL);
    waitpid(agent, NULL, 0);
    await_death(leader);
    await_death(child);
}

static void a_stopped_agents_command_dies_at_its_deadline(void **state)
{
    struct fixture *f = *state;
    char script[512];
    const char *argv[] = {"sh", "-c", stubborn(f, script, sizeof(script)),
                          NULL};
    pid_t agent = agent_process(f, argv, 1000);
    pid_t leader = await_pid(f, "leader"), child = await_pid(f, "child");

    pause_ms(1500); /* it renews: more than one deadline goes by */
    assert_false(is_dead(leader));
    kill(agent, SIGSTOP);
    await_death(leader);
    await_death(child);
    kill(agent, SIGKILL);
    waitpid(agent, NULL, 0);
}

/* The parent of the command. */
static pid_t find_guard(pid_t leader)
{
    char path[64];
    int parent = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)leader);
    file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*d (%*[^)]) %*c %d", &parent), 1);
    fclose(file);
    return (pid_t)parent;
}

static void a_killed_guard_takes_the_command_with_it(void **state)
{
    struct fixture *f = *state;
    char script[512];
    const char *argv[] = {"sh", "-c", stubborn(f, script, sizeof(script)),
                          NULL};
    pid_t leader, child;

    prepare(f, argv);
    agent_command_start(f->command, "1-2", FAR);
    await(f, GUARD_STARTED);
    leader = (pid_t)f->last.value;
    child = await_pid(f, "child");
    kill(find_guard(leader), SIGKILL);
    await(f, GUARD_EXITED);
    assert_true(WIFSIGNALED((int)f->last.value));
    await_death(leader);
    await_death(child);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_exit_code_comes_back),
        TEST(a_command_starts_again_and_knows_its_process),
        TEST(a_command_that_does_not_exist_says_why),
        TEST(a_signal_reaches_the_group),
        TEST(the_deadline_kills_the_whole_group),
        TEST(a_deadline_moved_in_time_does_not_kill),
        TEST(what_a_command_leaves_behind_is_killed),
        TEST(a_daemon_does_not_outlive_its_command),
        TEST(a_daemon_dies_at_the_deadline),
        TEST(freeing_kills_what_runs),
        TEST(a_killed_agent_takes_its_command_with_it),
        TEST(a_stopped_agents_command_dies_at_its_deadline),
        TEST(a_killed_guard_takes_the_command_with_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
