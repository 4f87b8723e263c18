/*
 * sqlite_child.c - see sqlite_child.h. The child drives its loop by turns and
 * looks at its standard input between them: commands are few.
 */
#include "tests/registry/sqlite_child.h"

#include "base/clock.h"
#include "base/loop.h"
#include "conf/conf.h"
#include "registry/registry.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PAIRS_IN_FLIGHT 8

int64_t test_now(void)
{
    return clock_mono_ms();
}

void test_step(void)
{
    (void)poll(NULL, 0, 5);
}

void test_pass(int64_t ms)
{
    int64_t until = test_now() + ms;

    while (test_now() < until)
        test_step();
}

/* --- the child ----------------------------------------------------------- */

struct member {
    struct loop *loop;
    struct registry *registry;
    struct registry_lock *lock;
    unsigned disconnected, lost;
    unsigned long pairs, pairs_answered;
    char line[CHILD_LINE];
    size_t len;
};

static void answer(const char *fmt, ...) PRINTF_LIKE(1, 2);

static void answer(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    (void)vprintf(fmt, args);
    va_end(args);
    (void)putchar('\n');
    (void)fflush(stdout);
}

static void on_state(void *arg, enum registry_state state)
{
    struct member *m = arg;

    m->disconnected += state == REGISTRY_DISCONNECTED;
}

static void on_reply(void *arg, const struct registry_reply *reply)
{
    (void)arg;
    answer("%s", err_name(reply->err.code));
}

static void on_granted(void *arg, enum err_code code)
{
    struct member *m = arg;

    answer("%s %" PRIu64, err_name(code), registry_lock_fence(m->lock));
}

static void on_lost(void *arg)
{
    ((struct member *)arg)->lost++;
}

static void late_txn(struct member *m, const char *key)
{
    struct registry_op ops[] = {
        {.type = REGISTRY_CHECK_LOCK, .lock = m->lock},
        {.type = REGISTRY_PUT,
         .expect = REGISTRY_ABSENT,
         .key = key,
         .value = "late",
         .value_len = 4},
    };

    (void)raise(SIGSTOP);
    registry_txn(m->registry, ops, ARRAY_LEN(ops), on_reply, m);
}

static void on_pair(void *arg, const struct registry_reply *reply)
{
    struct member *m = arg;

    if (reply->err.code != ERR_OK)
        answer("%s: %s", err_name(reply->err.code), reply->err.msg);
    m->pairs_answered++;
}

static void write_pair(struct member *m, const char *prefix)
{
    char record[64], marker[64], value[3000];
    struct registry_op op = {.type = REGISTRY_PUT,
                             .expect = REGISTRY_ABSENT,
                             .value = value,
                             .value_len = sizeof(value) - 1};
    struct registry_op ops[] = {op, op};

    (void)snprintf(record, sizeof(record), "/record/%s-%06lu", prefix,
                   m->pairs);
    (void)snprintf(marker, sizeof(marker), "/marker/%s-%06lu", prefix,
                   m->pairs);
    memset(value, 'a' + (int)(m->pairs % 26), sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    ops[0].key = record;
    ops[1].key = marker;
    m->pairs++;
    registry_txn(m->registry, ops, ARRAY_LEN(ops), on_pair, m);
}

static NORETURN void write_pairs(struct member *m, const char *prefix)
{
    for (;;) {
        while (m->pairs - m->pairs_answered < PAIRS_IN_FLIGHT)
            write_pair(m, prefix);
        loop_turn(m->loop, 10);
    }
}

static void obey(struct member *m, char *command)
{
    char *arg = strchr(command, ' ');

    if (arg != NULL)
        *arg++ = '\0';
    if (strcmp(command, "session") == 0) {
        while (registry_session(m->registry) == 0)
            loop_turn(m->loop, 10);
        answer("%" PRIu64, registry_session(m->registry));
    } else if (strcmp(command, "ephemeral") == 0) {
        registry_put(m->registry, arg, "here", 4, REGISTRY_ABSENT, 0, true,
                     on_reply, m);
    } else if (strcmp(command, "lock") == 0) {
        m->lock = registry_lock(m->registry, arg, "child", -1, on_granted,
                                on_lost, m);
    } else if (strcmp(command, "late") == 0) {
        late_txn(m, arg);
    } else if (strcmp(command, "story") == 0) {
        answer("disconnected=%u lost=%u session=%" PRIu64, m->disconnected,
               m->lost, registry_session(m->registry));
    } else if (strcmp(command, "pairs") == 0) {
        write_pairs(m, arg);
    }
}

/* False at the end of input. */
static bool read_commands(struct member *m)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    char c;

    while (poll(&in, 1, 0) > 0) {
        if (read(STDIN_FILENO, &c, 1) != 1)
            return false;
        if (c != '\n') {
            m->line[m->len++ % (sizeof(m->line) - 1)] = c;
            continue;
        }
        m->line[m->len] = '\0';
        m->len = 0;
        obey(m, m->line);
    }
    return true;
}

bool child_main(int argc, char **argv, int *status)
{
    struct conf_registry conf = {.type = CONF_SQLITE,
                                 .namespace_ = (char *)"test"};
    struct member m = {0};
    struct err err;

    *status = 1;
    if (argc != 4 || strcmp(argv[1], "--child") != 0)
        return false;
    conf.path = argv[2];
    conf.session_timeout_ms = strtol(argv[3], NULL, 10);
    if (loop_new(&m.loop, 64, &err) != 0 ||
        registry_open(&m.registry, m.loop, &conf, &err) != 0) {
        (void)fprintf(stderr, "child: %s\n", err.msg);
        return true;
    }
    (void)registry_listen(m.registry, on_state, &m);
    while (read_commands(&m))
        loop_turn(m.loop, 5);
    /* The parent is gone. Like a crash: nothing is closed. */
    _exit(0);
}

/* --- the parent ---------------------------------------------------------- */

void child_start(struct child *c, const char *path, int64_t timeout_ms)
{
    int to[2], from[2];
    char timeout[32];

    assert_int_equal(pipe(to), 0);
    assert_int_equal(pipe(from), 0);
    (void)snprintf(timeout, sizeof(timeout), "%" PRId64, timeout_ms);
    (void)fflush(stdout);
    c->pid = fork();
    assert_true(c->pid >= 0);
    if (c->pid == 0) {
        (void)dup2(to[0], STDIN_FILENO);
        (void)dup2(from[1], STDOUT_FILENO);
        /* Ends of other children's pipes must not stay open in this one. */
        for (int fd = 3; fd < 256; fd++)
            (void)close(fd);
        (void)execl("/proc/self/exe", "child", "--child", path, timeout,
                    (char *)NULL);
        _exit(127);
    }
    (void)close(to[0]);
    (void)close(from[1]);
    c->to = to[1];
    c->from = from[0];
}

void child_send(struct child *c, const char *fmt, ...)
{
    char line[CHILD_LINE];
    va_list args;
    int len;

    va_start(args, fmt);
    len = vsnprintf(line, sizeof(line) - 1, fmt, args);
    va_end(args);
    assert_true(len > 0 && (size_t)len < sizeof(line) - 1);
    line[len++] = '\n';
    assert_int_equal(write(c->to, line, (size_t)len), len);
}

void child_read(struct child *c, char line[CHILD_LINE])
{
    struct pollfd in = {.fd = c->from, .events = POLLIN};
    int64_t until = test_now() + 20000;
    size_t len = 0;

    while (len < CHILD_LINE - 1) {
        if (poll(&in, 1, 100) > 0) {
            if (read(c->from, &line[len], 1) != 1)
                fail_msg("a child has died");
            if (line[len] == '\n')
                break;
            len++;
        } else if (test_now() >= until) {
            fail_msg("a child does not answer");
        }
    }
    line[len] = '\0';
}

void child_expect(struct child *c, const char *command, const char *expected)
{
    char line[CHILD_LINE];

    child_send(c, "%s", command);
    child_read(c, line);
    assert_string_equal(line, expected);
}

uint64_t child_session(struct child *c)
{
    char line[CHILD_LINE];

    child_send(c, "session");
    child_read(c, line);
    return strtoull(line, NULL, 10);
}

void child_signal(struct child *c, int signal)
{
    assert_int_equal(kill(c->pid, signal), 0);
}

void child_wait_stopped(struct child *c)
{
    int status = 0;

    while (waitpid(c->pid, &status, WUNTRACED) != c->pid)
        assert_int_equal(errno, EINTR);
    assert_true(WIFSTOPPED(status));
}

void child_kill(struct child *c)
{
    if (c->pid == 0)
        return;
    (void)kill(c->pid, SIGKILL);
    (void)waitpid(c->pid, NULL, 0);
    (void)close(c->to);
    (void)close(c->from);
    c->pid = 0;
}
