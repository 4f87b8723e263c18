/* test_hook.c - hooks as real processes: what they are told, how they end, and
 * that nothing of them is left then. */
#include "failover/engine/hook.h"
#include "failover/failpoint.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka needs the ones above */
#include <cmocka.h>

#define FAR INT64_C(1) << 60

static struct loop *loop;
static struct hooks *hooks;
static bool ended, stopped, all_ended;
static int exit_code;
static char tail[1024];
static struct failover_record record = {
    .kind = NODE_MASTER,
    .address = "m1:5678",
    .fence = 42,
    .process = {.startup_time = 1732000000000, .process_id = 7, .known = true}};

static int setup(void **state)
{
    (void)state;
    assert_int_equal(loop_new(&loop, 64, NULL), 0);
    hooks = NULL;
    ended = stopped = all_ended = false;
    return 0;
}

static void on_all_ended(void *arg)
{
    (void)arg;
    all_ended = true;
}

static void turn_until(const bool *done)
{
    mono_ms deadline = clock_mono_ms() + 60000;
    while (!*done && clock_mono_ms() < deadline)
        loop_turn(loop, 100);
    assert_true(*done);
}

static int teardown(void **state)
{
    (void)state;
    if (hooks != NULL && !all_ended) {
        engine_hooks_end(hooks, on_all_ended, NULL);
        turn_until(&all_ended);
    }
    engine_hooks_free(&hooks);
    loop_free(&loop);
    return 0;
}

static void on_ended(void *arg, int code, const char *text)
{
    (void)arg;
    assert_false(ended);
    ended = true;
    exit_code = code;
    (void)snprintf(tail, sizeof(tail), "%s", text);
}

static void on_stopped(void *arg)
{
    (void)arg;
    assert_false(stopped);
    stopped = true;
}

static void start_until(const char *command, int64_t timeout_ms, mono_ms until)
{
    struct err err;
    assert_int_equal(engine_hooks_new(&hooks, loop, command, &err), 0);
    loop_turn(loop, 0);
    engine_hooks_run(hooks, &record, timeout_ms, until, on_ended, &record);
    assert_false(ended);
}

static void start(const char *command, int64_t timeout_ms)
{
    start_until(command, timeout_ms, FAR);
}

static void run(const char *command, int64_t timeout_ms)
{
    start(command, timeout_ms);
    turn_until(&ended);
}

/* A number that the hook has written, and that it will not write again. */
static pid_t told_pid(const char *path)
{
    mono_ms deadline = clock_mono_ms() + 60000;
    int pid = 0;
    while (clock_mono_ms() < deadline) {
        FILE *file = fopen(path, "r");
        int n = file != NULL ? fscanf(file, "%d\n", &pid) : 0;
        if (file != NULL)
            (void)fclose(file);
        if (n == 1)
            break;
        loop_turn(loop, 20);
    }
    assert_true(pid > 1);
    assert_int_equal(unlink(path), 0);
    return pid;
}

/* Gone, or a corpse that nobody buried yet. */
static bool dead(pid_t pid)
{
    char path[64], stat[256] = "";
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return true;
    size_t n = fread(stat, 1, sizeof(stat) - 1, file);
    stat[n] = '\0';
    (void)fclose(file);
    return strstr(stat, ") Z") != NULL || strstr(stat, ") X") != NULL;
}

static void await_death(pid_t pid)
{
    for (int i = 0; i < 500 && !dead(pid); i++)
        loop_turn(loop, 20);
    assert_true(dead(pid));
}

/* A daemon by the book: its parent gone, a session of its own. It tells who it
 * is in a file, and minds no signal that can be minded. */
static char *with_daemon(const char *path, const char *then)
{
    static char script[1024];
    (void)snprintf(script, sizeof(script),
                   "(setsid sh -c 'trap \"\" TERM HUP INT; echo $$ >%s.tmp; "
                   "mv %s.tmp %s; while :; do sleep 1; done' </dev/null "
                   ">/dev/null 2>&1 &); while ! [ -e %s ]; do sleep 0.02; "
                   "done; %s",
                   path, path, path, path, then);
    return script;
}

static const char *scratch(void)
{
    static char path[64];
    static int n;
    (void)snprintf(path, sizeof(path), "/tmp/pelorus-hook-%d-%d", (int)getpid(),
                   n++);
    return path;
}

static void it_is_told_who_and_with_which_fence(void **state)
{
    (void)state;
    assert_int_equal(setenv("PELORUS_FENCE", "forged", 1), 0);
    run("echo $PELORUS_KIND $PELORUS_ADDRESS $PELORUS_PROCESS $PELORUS_FENCE",
        5000);
    assert_int_equal(exit_code, 0);
    assert_string_equal(tail, "master m1:5678 1732000000000-7 42\n");
    assert_int_equal(unsetenv("PELORUS_FENCE"), 0);
}

static void its_exit_code_and_both_outputs_are_kept(void **state)
{
    (void)state;
    run("echo out; echo err >&2; exit 3", 5000);
    assert_int_equal(exit_code, 3);
    assert_string_equal(tail, "out\nerr\n");
}

static void the_end_of_a_long_output_is_kept(void **state)
{
    (void)state;
    run("i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done", 20000);
    assert_int_equal(strlen(tail), 511);
    assert_non_null(strstr(tail, "line 4999\n"));
    assert_null(strstr(tail, "line 1\n"));
}

static void a_command_that_does_not_exist_says_so(void **state)
{
    (void)state;
    run("/no/such/command", 5000);
    assert_int_equal(exit_code, 127);
    assert_non_null(strstr(tail, "no/such/command"));
}

static void a_signal_counts_as_a_shell_counts_it(void **state)
{
    (void)state;
    run("kill -TERM $$", 5000);
    assert_int_equal(exit_code, 128 + SIGTERM);
}

static void a_timeout_kills_the_whole_group(void **state)
{
    (void)state;
    /* both processes ignore what can be ignored; a subshell is the group's */
    run("trap '' TERM HUP; (trap '' TERM HUP; exec tail -f /dev/null) & "
        "echo $!; wait",
        300);
    assert_int_equal(exit_code, HOOK_TIMED_OUT);
    int child = 0;
    assert_int_equal(sscanf(tail, "%d", &child), 1);
    assert_true(dead(child)); /* already: the end is told last */
}

static void a_daemon_ends_with_the_timeout(void **state)
{
    const char *path = scratch();
    (void)state;
    start(with_daemon(path, "sleep 600"), 3000);
    pid_t child = told_pid(path);
    turn_until(&ended);
    assert_int_equal(exit_code, HOOK_TIMED_OUT);
    assert_true(dead(child));
}

static void what_it_leaves_running_ends_with_it(void **state)
{
    const char *path = scratch();
    (void)state;
    uint64_t before = clock_mono_ns();
    run(with_daemon(path, "tail -f /dev/null & echo $!; exit 4"), 20000);
    assert_int_equal(exit_code, 4);
    assert_true(clock_mono_ns() - before < 10000000000u);
    int child = 0;
    assert_int_equal(sscanf(tail, "%d", &child), 1);
    assert_true(dead(child)); /* it had our pipe */
    assert_true(dead(told_pid(path)));
}

/* Its lock cannot be proven for longer: it did not run, whatever it did. */
static void an_unproven_lock_ends_it_before_its_timeout(void **state)
{
    const char *path = scratch();
    (void)state;
    start_until(with_daemon(path, "echo half; sleep 600"), 600000, FAR);
    pid_t child = told_pid(path);
    engine_hooks_until(hooks, &record, clock_mono_ms() + 100);
    turn_until(&ended);
    assert_int_equal(exit_code, HOOK_UNPROVEN);
    assert_true(dead(child));
}

static void a_proof_that_is_renewed_does_not_end_it(void **state)
{
    (void)state;
    mono_ms begun = clock_mono_ms();
    start_until("sleep 2; exit 5", 600000, begun + 10000);
    while (!ended && clock_mono_ms() < begun + 30000) {
        engine_hooks_until(hooks, &record, clock_mono_ms() + 10000);
        loop_turn(loop, 50);
    }
    assert_true(ended);
    assert_int_equal(exit_code, 5);
}

/* We may be stopped, or stuck: nobody turns this loop. */
static void it_ends_in_time_while_our_loop_does_not_turn(void **state)
{
    const char *path = scratch();
    (void)state;
    start_until(with_daemon(path, "sleep 600"), 600000, FAR);
    pid_t child = told_pid(path);
    engine_hooks_until(hooks, &record, clock_mono_ms() + 200);
    for (int i = 0; i < 500 && !dead(child); i++)
        (void)poll(NULL, 0, 20);
    assert_true(dead(child));
    assert_false(ended);
}

static void stopping_it_says_when_nothing_of_it_runs(void **state)
{
    const char *path = scratch();
    (void)state;
    start(with_daemon(path, "trap '' TERM; while :; do sleep 1; done"), 600000);
    pid_t child = told_pid(path);
    engine_hooks_stop(hooks, &record, on_stopped, NULL);
    assert_false(stopped);
    turn_until(&stopped);
    assert_true(dead(child));
    loop_turn(loop, 50);
    assert_false(ended);
}

static void two_run_side_by_side(void **state)
{
    static int other;
    (void)state;
    start("sleep 0.3; echo $$", 600000);
    engine_hooks_run(hooks, &record, 600000, FAR, on_ended, &other);
    engine_hooks_stop(hooks, &other, on_stopped, NULL);
    turn_until(&ended);
    turn_until(&stopped);
    assert_int_equal(exit_code, 0);
}

/* Nobody outlives us: we are killed, and the guard is killed. */
static void a_killed_coordinator_takes_its_hook_with_it(void **state)
{
    const char *path = scratch(), *script = with_daemon(path, "sleep 600");
    (void)state;
    pid_t us = fork();
    if (us == 0) {
        start(script, 600000);
        for (;;)
            loop_turn(loop, 100);
    }
    pid_t child = told_pid(path);
    assert_int_equal(kill(us, SIGKILL), 0);
    assert_int_equal(waitpid(us, NULL, 0), us);
    await_death(child);
}

static void a_killed_guard_takes_its_hook_with_it(void **state)
{
    const char *path = scratch();
    (void)state;
    start(with_daemon(path, "sleep 600"), 600000);
    pid_t child = told_pid(path);
    /* the guard is whoever has adopted the daemon */
    char stat[256] = "", file_name[64];
    int guard = 0;
    (void)snprintf(file_name, sizeof(file_name), "/proc/%d/stat", child);
    FILE *file = fopen(file_name, "r");
    assert_non_null(file);
    assert_true(fread(stat, 1, sizeof(stat) - 1, file) > 0);
    (void)fclose(file);
    assert_int_equal(sscanf(strrchr(stat, ')'), ") %*c %d", &guard), 1);
    assert_true(guard > 1);
    assert_int_equal(kill(guard, SIGKILL), 0);
    turn_until(&ended);
    assert_int_equal(exit_code, 128 + SIGKILL);
    await_death(child);
}

static void ending_all_kills_what_runs_and_tells_nobody(void **state)
{
    const char *path = scratch();
    (void)state;
    start(with_daemon(path, "sleep 600"), 600000);
    pid_t child = told_pid(path);
    engine_hooks_end(hooks, on_all_ended, NULL);
    assert_false(all_ended);
    turn_until(&all_ended);
    assert_true(dead(child));
    assert_false(ended);
    /* and nothing begins any more */
    engine_hooks_run(hooks, &record, 1000, FAR, on_ended, &record);
    loop_turn(loop, 50);
    assert_false(ended);
}

static void a_failpoint_is_named_and_counted(void **state)
{
    const char *spec = "engine-after-intent:stop,engine-mid-move:kill@5000";
    (void)state;
    assert_int_equal(failover_failpoint_match(spec, "engine-after-intent", 1),
                     SIGSTOP);
    assert_int_equal(failover_failpoint_match(spec, "engine-mid-move", 4999),
                     0);
    assert_int_equal(failover_failpoint_match(spec, "engine-mid-move", 5000),
                     SIGKILL);
    assert_int_equal(failover_failpoint_match(spec, "engine-before-close", 1),
                     0);
    assert_int_equal(failover_failpoint_match("", "engine-mid-move", 1), 0);
    assert_int_equal(
        failover_failpoint_match("engine-mid-move:dance", "engine-mid-move", 1),
        0);
    assert_int_equal(failover_failpoint_match("engine-mid-move:kill@x",
                                              "engine-mid-move", 1),
                     0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(it_is_told_who_and_with_which_fence),
        TEST(its_exit_code_and_both_outputs_are_kept),
        TEST(the_end_of_a_long_output_is_kept),
        TEST(a_command_that_does_not_exist_says_so),
        TEST(a_signal_counts_as_a_shell_counts_it),
        TEST(a_timeout_kills_the_whole_group),
        TEST(a_daemon_ends_with_the_timeout),
        TEST(what_it_leaves_running_ends_with_it),
        TEST(an_unproven_lock_ends_it_before_its_timeout),
        TEST(a_proof_that_is_renewed_does_not_end_it),
        TEST(it_ends_in_time_while_our_loop_does_not_turn),
        TEST(stopping_it_says_when_nothing_of_it_runs),
        TEST(two_run_side_by_side),
        TEST(a_killed_coordinator_takes_its_hook_with_it),
        TEST(a_killed_guard_takes_its_hook_with_it),
        TEST(ending_all_kills_what_runs_and_tells_nobody),
        cmocka_unit_test(a_failpoint_is_named_and_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
