/*
 * guard.h - a small process between us and a command: it runs the command and
 * ends it, with all that it started, when its deadline passes or when we are
 * gone, whatever became of us. guard.c says against what it helps.
 *
 * Both ends speak in packets over a socketpair(AF_UNIX, SOCK_SEQPACKET).
 */
#ifndef PELORUS_BASE_PROCESS_GUARD_H
#define PELORUS_BASE_PROCESS_GUARD_H

#include "base/clock.h"

#include <stdbool.h>

#define GUARD_ENV_MAX 1024

struct guard_message {
    enum guard_message_type {
        GUARD_START,    /* to it: value = deadline, `env` */
        GUARD_DEADLINE, /* to it: value = kill at, CLOCK_BOOTTIME ms */
        GUARD_SIGNAL,   /* to it: value = signal for the command's group */
        GUARD_STARTED,  /* from it: value = process id */
        GUARD_FAILED,   /* from it: value = errno of fork or exec */
        GUARD_EXITED,   /* from it: value = wait status; nothing that it
                           started runs any more */
    } type;
    bool late; /* EXITED: its deadline had passed */
    bool left; /* EXITED: but for processes that we may not kill */
    int64_t value;
    char env[GUARD_ENV_MAX]; /* START: "NAME=value\0NAME=value\0\0" */
};

/* Add "NAME=value" to a START; what does not fit is left out. */
void process_guard_env(struct guard_message *m, const char *name,
                       const char *value);

/* For a process that is to outlive what ends its owner's job: what a terminal
 * or a person sends to the job is not heard, the rest means what it does. */
void process_guard_signals(void);

/*
 * The guard's whole life, in a process of its own that is single-threaded and
 * does nothing else. One command runs at a time, each START may start it anew.
 * It ends when the other end of `line` is closed. `argv` is borrowed.
 */
void process_guard_main(int line, char *const *argv) NORETURN;

#endif
