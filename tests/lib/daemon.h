/*
 * daemon.h - a server's program as a child process of a test: its port, its
 * directory, its processes. It never outlives the program that started it,
 * whatever happens to that.
 */
#ifndef PELORUS_TESTS_LIB_DAEMON_H
#define PELORUS_TESTS_LIB_DAEMON_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct daemon {
    const char *name; /* for messages */
    const char *log;  /* the file that takes its output */
    uid_t uid;        /* whose process it is, if we are root; 0: ours */
    gid_t gid;
    pid_t pid; /* 0: does not run */
};

/* A free port of 127.0.0.1, below those that the kernel gives to outgoing
 * connections: while a server is down, a client that knocks again and again
 * must not get its port as its own, and so meet itself. */
uint16_t daemon_port(void);

/* Make a directory for a server called `name`, in memory if there is room:
 * that is the cheapest disk. And remove it with all that is in it. */
int daemon_dir(char *out, size_t size, const char *name,
               struct err *err) MUST_CHECK;
void daemon_dir_remove(const char *dir);

/* Start the command, which ends with NULL; does not wait. It leads a group of
 * processes. */
int daemon_start(struct daemon *d, const char *const *argv,
                 struct err *err) MUST_CHECK;

/* Wait for its end, which must be a good one. */
int daemon_wait(struct daemon *d, struct err *err) MUST_CHECK;

/* Wait until answers(arg). ERR_IO if it ends before, ERR_TIMEOUT after `ms`;
 * both with the last line of its log. */
int daemon_await(struct daemon *d, bool (*answers)(void *arg), void *arg,
                 int64_t ms, struct err *err) MUST_CHECK;

/* Its heart stops (SIGSTOP), connections stay open; and goes on. */
void daemon_stop(struct daemon *d);
void daemon_cont(struct daemon *d);

/* SIGKILL to all its processes; fine if it does not run. Or first a signal at
 * which it leaves by itself. */
void daemon_kill(struct daemon *d);
void daemon_quit(struct daemon *d, int signal);

#endif
