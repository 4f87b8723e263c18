/* test_hook.c - hooks as real processes: what they are told, how they end, and
 * that a timeout takes the whole group. */
#include "failover/failpoint.h"
#include "failover/hook.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the ones above */
#include <cmocka.h>

static struct loop *loop;
static struct hooks *hooks;
static bool ended, closed;
static int exit_code;
static char tail[1024];

static int setup(void **state)
{
    (void)state;
    assert_int_equal(loop_new(&loop, 64, NULL), 0);
    hooks = hooks_new(loop);
    ended = closed = false;
    return 0;
}

static void on_closed(void *arg)
{
    (void)arg;
    closed = true;
}

static int teardown(void **state)
{
    (void)state;
    hooks_free(&hooks, on_closed, NULL);
    for (int i = 0; i < 100 && !closed; i++)
        loop_turn(loop, 100);
    assert_true(closed);
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

static void start(const char *command, int64_t timeout_ms)
{
    struct failover_record r = {.kind = NODE_MASTER,
                                .fence = 42,
                                .process = {.startup_time = 1732000000000,
                                            .process_id = 7,
                                            .known = true}};
    (void)snprintf(r.address, sizeof(r.address), "m1:5678");
    hooks_run(hooks, command, &r, timeout_ms, on_ended, &r);
    assert_false(ended);
}

static void run(const char *command, int64_t timeout_ms)
{
    start(command, timeout_ms);
    mono_ms deadline = clock_mono_ms() + 30000;
    while (!ended && clock_mono_ms() < deadline)
        loop_turn(loop, 100);
    assert_true(ended);
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

static bool gone(pid_t pid)
{
    return kill(pid, 0) != 0 && errno == ESRCH;
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
    assert_true(child > 1);
    for (int i = 0; i < 200 && !gone(child); i++)
        loop_turn(loop, 20);
    /* reaped by init, or a zombie of nobody: in no case running */
    char path[64], stat[256] = "";
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", child);
    FILE *file = fopen(path, "r");
    if (file != NULL) {
        size_t n = fread(stat, 1, sizeof(stat) - 1, file);
        stat[n] = '\0';
        (void)fclose(file);
        assert_non_null(strstr(stat, ") Z"));
    }
}

static void a_grandchild_with_our_pipe_holds_nothing_up(void **state)
{
    (void)state;
    uint64_t before = clock_mono_ns();
    run("tail -f /dev/null & echo $!", 20000);
    assert_int_equal(exit_code, 0);
    assert_true(clock_mono_ns() - before < 10000000000u);
    int child = 0;
    assert_int_equal(sscanf(tail, "%d", &child), 1);
    assert_int_equal(kill(child, SIGKILL), 0);
}

static void freeing_kills_what_runs_and_tells_nobody(void **state)
{
    (void)state;
    start("tail -f /dev/null", 60000);
    hooks_free(&hooks, on_closed, NULL);
    for (int i = 0; i < 100 && !closed; i++)
        loop_turn(loop, 100);
    assert_true(closed);
    assert_false(ended);
    hooks = hooks_new(loop);
    closed = false;
}

static void a_failpoint_is_named_and_counted(void **state)
{
    const char *spec = "engine-after-intent:stop,engine-mid-move:kill@5000";
    (void)state;
    assert_int_equal(failpoint_match(spec, "engine-after-intent", 1), SIGSTOP);
    assert_int_equal(failpoint_match(spec, "engine-mid-move", 4999), 0);
    assert_int_equal(failpoint_match(spec, "engine-mid-move", 5000), SIGKILL);
    assert_int_equal(failpoint_match(spec, "engine-before-close", 1), 0);
    assert_int_equal(failpoint_match("", "engine-mid-move", 1), 0);
    assert_int_equal(
        failpoint_match("engine-mid-move:dance", "engine-mid-move", 1), 0);
    assert_int_equal(
        failpoint_match("engine-mid-move:kill@x", "engine-mid-move", 1), 0);
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
        TEST(a_grandchild_with_our_pipe_holds_nothing_up),
        TEST(freeing_kills_what_runs_and_tells_nobody),
        cmocka_unit_test(a_failpoint_is_named_and_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
