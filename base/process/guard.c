/*
 * guard.c - the guard: a process between its owner and a command.
 *
 * A lease, or a lock, is a promise to others that the command is dead when it
 * runs out. An owner that is killed or stopped cannot keep it, so the guard
 * does, with nothing but a deadline and a line to the owner:
 *
 *   the owner ends, however      the line closes: the command is ended
 *   the owner is stopped (Ctrl-Z, SIGSTOP, a debugger, starved of processor)
 *                                the deadline passes: the command is ended
 *   the guard is killed          the kernel kills the command (parent-death
 *                                signal); the owner sees it and gives up
 *   the host sleeps              deadlines count sleep, and are looked at first
 *   the command ends             what it left behind is ended, too
 *
 * To end the command is to end all that it started, in whatever group or
 * session (descendants.h).
 *
 * Not covered: all of us stopped together by a frozen cgroup or a paused
 * virtual machine (the command does not run meanwhile, and the first thing
 * after it is the guard's look at the clock, but until then an instant of the
 * command's is possible: this is what epochs and fences are for); guard and
 * owner both stopped by hand; and what descendants.h cannot end.
 */
#include "base/process/guard.h"

#include "base/process/descendants.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* poll() does not count the host's sleep: look at the clock this often. */
#define LOOK_MS 200
/* For what does not die of SIGKILL: a process of another user, or one that
 * waits for a disk that is gone. */
#define END_MS 2000

struct guard {
    int line, children;
    char *const *argv;
    pid_t pid; /* leader of the command's group; 0: none runs */
    mono_ms deadline;
    bool late; /* the deadline of this command has passed */
};

void process_guard_env(struct guard_message *m, const char *name,
                       const char *value)
{
    size_t at = 0, left;

    assert(m->type == GUARD_START);
    assert(strchr(name, '=') == NULL);
    while (at < sizeof(m->env) && m->env[at] != '\0')
        at += strnlen(&m->env[at], sizeof(m->env) - at - 1) + 1;
    left = sizeof(m->env) - at;
    if (strlen(name) + strlen(value) + 3 <= left)
        (void)snprintf(&m->env[at], left, "%s=%s", name, value);
}

static void tell(const struct guard *g, enum guard_message_type type,
                 int64_t value, bool left)
{
    struct guard_message m;

    assert(type >= GUARD_STARTED);
    assert(!left || type == GUARD_EXITED);
    memset(&m, 0, sizeof(m));
    m.type = type;
    m.value = value;
    m.late = type == GUARD_EXITED && g->late;
    m.left = left;
    /* Nobody there to hear it: the next read says so, and we end. */
    (void)!send(g->line, &m, sizeof(m), MSG_NOSIGNAL);
}

static void kill_group(const struct guard *g)
{
    if (g->pid > 0)
        (void)kill(-g->pid, SIGKILL);
}

/* --- starting ------------------------------------------------------------ */

static void NORETURN become(char *const *argv, pid_t guard, int report)
{
    sigset_t none;
    int why;

    assert(argv[0] != NULL);
    assert(getpid() != guard);
    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int n = 1; n < NSIG; n++)
        (void)signal(n, SIG_DFL);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    if (getppid() == guard)
        execvp(argv[0], argv);
    why = errno;
    (void)!write(report, &why, sizeof(why));
    _exit(127);
}

/* Cuts the message's names off their values. */
static void set_env(struct guard_message *m)
{
    char *at = m->env, *next;

    assert(m->type == GUARD_START);
    assert(m->env[sizeof(m->env) - 1] == '\0');
    for (; at[0] != '\0'; at = next) {
        char *value = strchr(at, '=');

        next = at + strlen(at) + 1;
        if (value == NULL || value == at)
            continue;
        *value = '\0';
        (void)setenv(at, value + 1, 1);
    }
}

static void start(struct guard *g, struct guard_message *m)
{
    pid_t self = getpid(), pid;
    int report[2], why = 0;

    if (g->pid != 0)
        return;
    set_env(m);
    if (pipe2(report, O_CLOEXEC) != 0) {
        tell(g, GUARD_FAILED, errno, false);
        return;
    }
    pid = _Fork(); /* without anybody's handlers: we are no copy of theirs */
    if (pid == 0)
        become(g->argv, self, report[1]);
    close(report[1]);
    if (pid < 0) {
        why = errno;
    } else {
        (void)setpgid(pid, pid); /* whoever of us two is first */
        if (read(report[0], &why, sizeof(why)) != (ssize_t)sizeof(why))
            why = 0;
    }
    close(report[0]);
    if (why != 0) {
        if (pid > 0)
            (void)waitpid(pid, NULL, 0);
        tell(g, GUARD_FAILED, why, false);
        return;
    }
    assert(pid > 0);
    g->pid = pid;
    g->deadline = m->value;
    g->late = false;
    tell(g, GUARD_STARTED, pid, false);
}

/* --- watching ------------------------------------------------------------ */

/* The leader stays a zombie, and its number ours, until the rest is ended. */
static bool reap(struct guard *g, int options)
{
    siginfo_t info;
    int status = 0;
    bool left;

    if (g->pid == 0)
        return true;
    memset(&info, 0, sizeof(info));
    if (waitid(P_PID, (id_t)g->pid, &info, WEXITED | WNOWAIT | options) != 0 ||
        info.si_pid == 0)
        return false;
    kill_group(g);
    assert(info.si_pid == g->pid);
    left = !process_descendants_end(g->pid, END_MS);
    (void)waitpid(g->pid, &status, 0);
    g->pid = 0;
    tell(g, GUARD_EXITED, status, left);
    return true;
}

/* The command, and whoever left its group. */
static void kill_all(const struct guard *g)
{
    assert(g->pid >= 0);
    kill_group(g);
    (void)process_descendants_sweep(NULL, 0, g->pid);
}

static void NORETURN end(struct guard *g)
{
    kill_all(g);
    (void)reap(g, 0);
    _exit(0);
}

/* All that waits, so that a deadline that was moved in time counts. */
static void read_messages(struct guard *g)
{
    struct guard_message m;
    ssize_t n;

    while ((n = recv(g->line, &m, sizeof(m), MSG_DONTWAIT)) ==
           (ssize_t)sizeof(m)) {
        m.env[sizeof(m.env) - 2] = m.env[sizeof(m.env) - 1] = '\0';
        if (m.type == GUARD_START)
            start(g, &m);
        else if (m.type == GUARD_DEADLINE)
            g->deadline = m.value;
        else if (m.type == GUARD_SIGNAL && g->pid > 0)
            (void)kill(-g->pid, (int)m.value);
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    end(g); /* the agent is gone */
}

static void NORETURN watch(struct guard *g)
{
    struct pollfd fds[2] = {{.fd = g->line, .events = POLLIN},
                            {.fd = g->children, .events = POLLIN}};

    assert(g->pid == 0);
    assert(g->line >= 0);
    for (;;) {
        struct signalfd_siginfo info;
        int64_t left = g->deadline - clock_mono_ms();
        int wait = -1;

        if (g->pid != 0)
            wait = left < 0 ? LOOK_MS : (int)(left < LOOK_MS ? left : LOOK_MS);
        (void)poll(fds, 2, wait);
        read_messages(g);
        while (read(g->children, &info, sizeof(info)) > 0)
            continue;
        if (g->pid != 0 && clock_mono_ms() >= g->deadline) {
            g->late = true;
            kill_all(g);
        }
        (void)reap(g, WNOHANG);
    }
}

void process_guard_signals(void)
{
    for (int n = 1; n < NSIG; n++)
        if (n != SIGCHLD)
            (void)signal(n, n == SIGPIPE || n == SIGTERM || n == SIGINT ||
                                    n == SIGHUP || n == SIGQUIT
                                ? SIG_IGN
                                : SIG_DFL);
    (void)signal(SIGCHLD, SIG_DFL);
}

void process_guard_main(int line, char *const *argv)
{
    struct guard g = {.line = line, .argv = argv};
    sigset_t child;

    assert(line >= 0);
    assert(argv[0] != NULL);
    /* And what a terminal sends to its jobs is not for us. */
    process_descendants_adopt();
    (void)prctl(PR_SET_NAME, "pelorus-guard");
    process_guard_signals();
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    (void)sigprocmask(SIG_SETMASK, &child, NULL);
    g.children = signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);
    if (g.children < 0)
        _exit(1);
    watch(&g);
}
