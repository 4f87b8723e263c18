/*
 * hook_helper.c - a small process that was forked while the coordinator had no
 * threads yet, and forks a guard for each hook.
 *
 * It adopts what a guard leaves behind that was killed itself, and ends it: a
 * hook has no way out of here but to be started by somebody else.
 *
 * _Fork(): libuv's handlers for fork() close descriptors that it had in the
 * coordinator, by their numbers, which are others here.
 */
#include "failover/engine/hook.h"

#include "base/process/descendants.h"
#include "base/process/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define GUARDS_MAX 64
#define LINE       3 /* the only descriptor besides the standard ones */
/* After a guard's death, until what it left is gone. */
#define SWEEP_MS 20

struct helper {
    pid_t guards[GUARDS_MAX];
    size_t n;
    int children;
    bool adopted; /* a guard died before its hook: sweep */
    bool over;    /* the coordinator is gone */
    const char *command;
};

static void NORETURN become_guard(const struct helper *h, int line, int out)
{
    char *argv[] = {(char[]){"/bin/sh"}, (char[]){"-c"},
                    (char *)(uintptr_t)h->command, NULL};

    assert(h->n < GUARDS_MAX);
    (void)dup2(out, STDOUT_FILENO);
    (void)dup2(out, STDERR_FILENO);
    if (out != STDOUT_FILENO && out != STDERR_FILENO)
        (void)close(out);
    (void)close(h->children);
    (void)close(LINE);
    process_guard_main(line, argv);
}

static void start(struct helper *h, int line, int out)
{
    pid_t pid = h->n < GUARDS_MAX ? _Fork() : -1;

    assert(h->n <= GUARDS_MAX);
    if (pid == 0)
        become_guard(h, line, out);
    if (pid > 0)
        h->guards[h->n++] = pid;
    /* without one the coordinator sees its line closed */
}

/* The two descriptors of a packet; false: there is none now. */
static bool receive(struct helper *h, int fds[2])
{
    assert(!h->over);
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control;
    char byte;
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control.bytes,
                       .msg_controllen = sizeof(control.bytes)};
    ssize_t n = recvmsg(LINE, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    const struct cmsghdr *c;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0) {
        h->over = true;
        return false;
    }
    c = CMSG_FIRSTHDR(&m);
    if (c == NULL || c->cmsg_type != SCM_RIGHTS ||
        c->cmsg_len != CMSG_LEN(2 * sizeof(int)))
        return false;
    memcpy(fds, CMSG_DATA(c), 2 * sizeof(int));
    return true;
}

/* A guard that was done, or that somebody killed: its hook's processes are
 * ours now. */
static void reap(struct helper *h)
{
    assert(h->n <= GUARDS_MAX);
    for (size_t i = 0; i < h->n;) {
        int status;

        if (waitpid(h->guards[i], &status, WNOHANG) != h->guards[i]) {
            i++;
            continue;
        }
        h->adopted |= !WIFEXITED(status);
        h->guards[i] = h->guards[--h->n];
    }
    if (h->adopted)
        h->adopted = process_descendants_sweep(h->guards, h->n, 0) > 0;
}

static void set_up(struct helper *h, int line)
{
    sigset_t child;
    int null;

    assert(line >= 0);
    process_descendants_adopt();
    (void)prctl(PR_SET_NAME, "pelorus-hooks");
    process_guard_signals();
    /* nothing of the coordinator's is kept open by us */
    line = fcntl(line, F_DUPFD, LINE + 1);
    null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < LINE && null >= 0; fd++)
        (void)dup2(null, fd);
    if (dup2(line, LINE) < 0)
        _exit(1);
    closefrom(LINE + 1);
    (void)fcntl(LINE, F_SETFD, FD_CLOEXEC);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    (void)sigprocmask(SIG_SETMASK, &child, NULL);
    h->children = signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);
    if (h->children < 0)
        _exit(1);
}

void engine_hook_helper(int line, const char *command)
{
    struct helper h = {.command = command};

    assert(command != NULL);
    set_up(&h, line);
    while (!h.over || h.n > 0 || h.adopted) {
        struct pollfd fds[2] = {{.fd = h.children, .events = POLLIN},
                                {.fd = LINE, .events = POLLIN}};
        struct signalfd_siginfo info;
        int given[2];

        (void)poll(fds, h.over ? 1 : 2, h.adopted ? SWEEP_MS : -1);
        while (!h.over && receive(&h, given)) {
            start(&h, given[0], given[1]);
            (void)close(given[0]);
            (void)close(given[1]);
        }
        while (read(h.children, &info, sizeof(info)) > 0)
            continue;
        reap(&h);
    }
    _exit(0);
}
