/*
 * sqlite_child.h - members of a registry as real processes, for tests that
 * kill, stop and continue them.
 *
 * A child is this program again (/proc/self/exe --child PATH TIMEOUT) with one
 * client on PATH. It takes one command a line and answers with one line:
 *
 *   session          its session, once connected
 *   ephemeral KEY    put an ephemeral key: a result code
 *   lock KEY         wait for a lock: "ok FENCE"
 *   late KEY         stop itself (SIGSTOP); when continued, at once send a txn
 *                    of check-lock and put(KEY absent): a result code
 *   story            "disconnected=N lost=N session=N"
 *   pairs PREFIX     write pairs of keys, each pair in one txn, for ever
 */
#ifndef PELORUS_TESTS_REGISTRY_SQLITE_CHILD_H
#define PELORUS_TESTS_REGISTRY_SQLITE_CHILD_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct child {
    pid_t pid;
    int to, from;
};

/* The child's main(); call it first in main() and return what it returns if
 * it says that this is a child. */
bool child_main(int argc, char **argv, int *status);

void child_start(struct child *c, const char *path, int64_t timeout_ms);
void child_send(struct child *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The next line; fails the test after 20 s. */
#define CHILD_LINE 160
void child_read(struct child *c, char line[CHILD_LINE]);
/* Send, and the answer must be this. */
void child_expect(struct child *c, const char *command, const char *answer);
/* "session": its number. */
uint64_t child_session(struct child *c);

void child_signal(struct child *c, int signal);
/* It has stopped itself. */
void child_wait_stopped(struct child *c);
/* SIGKILL and reap; fine for one that is dead already. */
void child_kill(struct child *c);

/* Let `ms` pass, or wait for a condition: monotonic, in steps of 5 ms. */
int64_t test_now(void);
void test_pass(int64_t ms);
void test_step(void);
#define test_until(cond)                                                       \
    do {                                                                       \
        int64_t until_ = test_now() + 20000;                                   \
        while (!(cond)) {                                                      \
            if (test_now() >= until_)                                          \
                fail_msg("waited in vain for: %s", #cond);                     \
            test_step();                                                       \
        }                                                                      \
    } while (0)

#endif
