/*
 * hook.c - the coordinator's end of a hook: a line to its guard, and a pipe for
 * what it prints. Design: the guard says that a hook has ended only when
 * nothing of it runs any more, so all that it printed is in the pipe by then,
 * and no grandchild that keeps the pipe can hold a failover up.
 */
#include "failover/engine/hook.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/process/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utlist.h>

#define TAIL_MAX 511
/* What is read of its output in one turn of the loop. */
#define READS_MAX  16
#define FREE_TRIES 500 /* milliseconds that the helper has to end */

struct hook {
    struct hook *prev, *next;
    struct hooks *owner;
    uv_poll_t line, out;
    int line_fd, out_fd;
    unsigned open; /* handles that must close before it is freed */
    mono_ms limit; /* of its timeout */
    mono_ms until; /* of the lock's proof, as told last */
    bool over;     /* nothing of it runs any more */
    int exit_code;
    char tail[TAIL_MAX + 1];
    size_t len;
    struct loop_timer *refused; /* it could not be started, to be told */
    hook_ended_f *ended;        /* NULL: it is not wanted any more */
    void *arg;
    void (*stopped)(void *arg);
    void *stop_arg;
};

struct hooks {
    struct loop *loop;
    int line;
    pid_t helper;
    struct hook *list;
    bool ending;
    void (*ended)(void *arg);
    void *ended_arg;
    struct loop_timer *soon;
};

int engine_hooks_new(struct hooks **out, struct loop *loop, const char *command,
                     struct err *err)
{
    char *shell = mem_printf("exec 2>&1\n%s", command);
    struct hooks *h;
    int line[2];
    pid_t pid;

    assert(command != NULL);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, line) != 0) {
        mem_free(shell);
        return err_errno(err, errno, "failover.hook: its helper");
    }
    pid = fork();
    if (pid == 0) {
        close(line[0]);
        engine_hook_helper(line[1], shell);
    }
    close(line[1]);
    mem_free(shell);
    if (pid < 0) {
        int why = errno;

        close(line[0]);
        return err_errno(err, why, "failover.hook: its helper: fork");
    }
    h = mem_zalloc(sizeof(*h));
    h->loop = loop;
    h->line = line[0];
    h->helper = pid;
    *out = h;
    return 0;
}

/* --- output -------------------------------------------------------------- */

/* Keep the last bytes. */
static void keep(struct hook *k, const char *data, size_t n)
{
    assert(k->len <= TAIL_MAX);
    if (n >= TAIL_MAX) {
        memcpy(k->tail, data + n - TAIL_MAX, TAIL_MAX);
        k->len = TAIL_MAX;
        return;
    }
    size_t drop = k->len + n > TAIL_MAX ? k->len + n - TAIL_MAX : 0;
    memmove(k->tail, k->tail + drop, k->len - drop);
    k->len -= drop;
    memcpy(k->tail + k->len, data, n);
    k->len += n;
    assert(k->len <= TAIL_MAX);
}

/* At most so many pieces: one that prints without end shall not have us all.
 * False: nobody writes any more. */
static bool read_out(struct hook *k)
{
    char chunk[4096];

    assert(!k->over);
    assert(k->out_fd >= 0);
    for (int i = 0; i < READS_MAX; i++) {
        ssize_t n = read(k->out_fd, chunk, sizeof(chunk));

        if (n <= 0)
            return n < 0 && (errno == EAGAIN || errno == EINTR);
        keep(k, chunk, (size_t)n);
    }
    return true;
}

static void on_out(uv_poll_t *handle, int status, int events)
{
    struct hook *k = handle->data;

    (void)events;
    loop_enter(k->owner->loop);
    if (status < 0 || !read_out(k))
        uv_poll_stop(&k->out);
}

/* --- the end ------------------------------------------------------------- */

/* From a turn of its own: whoever ends us may have called from anywhere. */
static void on_all_ended(void *arg)
{
    struct hooks *h = arg;

    assert(h->ending && h->ended != NULL);
    assert(h->list == NULL);
    loop_timer_stop(&h->soon);
    h->ended(h->ended_arg);
}

static void check_all_ended(struct hooks *h)
{
    if (h->ending && h->list == NULL && h->soon == NULL)
        h->soon = loop_timer(h->loop, 0, 0, on_all_ended, h);
}

static void hook_free(struct hook *k)
{
    struct hooks *h = k->owner;

    assert(k->over);
    assert(k->open == 0 && k->refused == NULL);
    DL_DELETE(h->list, k);
    mem_free(k);
    check_all_ended(h);
}

static void on_close(uv_handle_t *handle)
{
    struct hook *k = handle->data;

    assert(k->open > 0);
    if (--k->open > 0)
        return;
    close(k->line_fd);
    close(k->out_fd);
    hook_free(k);
}

/* Nothing of it runs: tell whoever waits for that, once. */
static void tell_end(struct hook *k)
{
    assert(!k->over);
    k->over = true;
    k->tail[k->len] = '\0';
    if (k->ended != NULL)
        k->ended(k->arg, k->exit_code, k->tail);
    else if (k->stopped != NULL)
        k->stopped(k->stop_arg);
}

static void finish(struct hook *k)
{
    assert(k->open == 2);
    (void)read_out(k);
    uv_close((uv_handle_t *)&k->line, on_close);
    uv_close((uv_handle_t *)&k->out, on_close);
    tell_end(k);
}

static void exited(struct hook *k, const struct guard_message *m)
{
    int status = (int)m->value;

    assert(m->type == GUARD_EXITED);
    if (m->late)
        k->exit_code = k->limit <= k->until ? HOOK_TIMED_OUT : HOOK_UNPROVEN;
    else if (WIFSIGNALED(status))
        k->exit_code = HOOK_SIGNAL_BASE + WTERMSIG(status);
    else
        k->exit_code = WEXITSTATUS(status);
    if (m->left)
        log_error("!hook",
                  LOG_S("why", "processes that it started cannot be ended"),
                  LOG_S("advice", "it ran something as another user; end that "
                                  "by hand"));
    finish(k);
}

static void not_started(struct hook *k, const char *what, const char *why)
{
    assert(!k->over);
    (void)snprintf(k->tail, sizeof(k->tail), "cannot start: %s%s", what, why);
    k->len = strlen(k->tail);
    k->exit_code = HOOK_NOT_STARTED;
    log_error("!hook", LOG_S("why", k->tail));
}

static void on_line(uv_poll_t *handle, int status, int events)
{
    struct hook *k = handle->data;
    struct guard_message m;
    ssize_t n;

    assert(!k->over);
    (void)status;
    (void)events;
    loop_enter(k->owner->loop);
    n = recv(k->line_fd, &m, sizeof(m), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n != (ssize_t)sizeof(m)) { /* the guard is gone */
        if (k->ended != NULL && k->exit_code == HOOK_NOT_STARTED)
            not_started(k, "its guard is gone", "");
        finish(k);
    } else if (m.type == GUARD_STARTED)
        k->exit_code = HOOK_SIGNAL_BASE + SIGKILL; /* if the guard is killed */
    else if (m.type == GUARD_FAILED) {
        not_started(k, "", strerror((int)m.value));
        finish(k);
    } else if (m.type == GUARD_EXITED)
        exited(k, &m);
}

/* --- the start ----------------------------------------------------------- */

static void send_to_guard(struct hook *k, struct guard_message *m)
{
    assert(!k->over);
    m->value = k->limit < k->until ? k->limit : k->until;
    (void)!send(k->line_fd, m, sizeof(*m), MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Ask the helper for a guard at the other end of the line. */
static bool ask(const struct hooks *h, int line, int out)
{
    assert(line >= 0 && out >= 0);
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control = {.bytes = {0}};
    int fds[2] = {line, out};
    struct iovec iov = {.iov_base = (char[]){1}, .iov_len = 1};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control.bytes,
                       .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(fds));
    memcpy(CMSG_DATA(c), fds, sizeof(fds));
    return sendmsg(h->line, &m, MSG_DONTWAIT | MSG_NOSIGNAL) == 1;
}

static void close_both(const int fds[2])
{
    int why = errno;

    (void)close(fds[0]);
    (void)close(fds[1]);
    errno = why;
}

/* False: errno says why, and nothing is open. */
static bool open_lines(struct hook *k)
{
    int line[2], out[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, line) != 0)
        return false;
    if (pipe2(out, O_CLOEXEC) != 0) {
        close_both(line);
        return false;
    }
    bool asked = ask(k->owner, line[1], out[1]);
    const int theirs[2] = {line[1], out[1]}, ours[2] = {line[0], out[0]};
    close_both(theirs);
    if (!asked)
        close_both(ours);
    k->line_fd = ours[0];
    k->out_fd = ours[1];
    return asked;
}

static void begin_polling(struct hook *k)
{
    uv_loop_t *uv = loop_uv(k->owner->loop);
    int rc;

    assert(k->open == 0);
    (void)fcntl(k->out_fd, F_SETFL, O_NONBLOCK);
    rc = uv_poll_init(uv, &k->line, k->line_fd);
    assert(rc == 0);
    rc = uv_poll_init(uv, &k->out, k->out_fd);
    assert(rc == 0);
    k->line.data = k->out.data = k;
    k->open = 2;
    rc = uv_poll_start(&k->line, UV_READABLE | UV_DISCONNECT, on_line);
    assert(rc == 0);
    rc = uv_poll_start(&k->out, UV_READABLE, on_out);
    assert(rc == 0);
    (void)rc;
}

static void start(struct hook *k, const struct failover_record *r)
{
    char process[PROCESS_TEXT_SIZE], fence[32];
    struct guard_message m = {.type = GUARD_START};

    assert(k->open == 2);
    (void)snprintf(fence, sizeof(fence), "%" PRIu64, r->fence);
    process_guard_env(&m, "PELORUS_KIND", node_kind_name(r->kind));
    process_guard_env(&m, "PELORUS_ADDRESS", r->address);
    process_guard_env(&m, "PELORUS_PROCESS",
                      process_text(&r->process, process));
    process_guard_env(&m, "PELORUS_FENCE", fence);
    send_to_guard(k, &m);
}

/* Nothing could be opened: told in a turn of its own, as everything else. */
static void on_refused(void *arg)
{
    struct hook *k = arg;

    loop_timer_stop(&k->refused);
    tell_end(k);
    hook_free(k);
}

void engine_hooks_run(void *hooks, const struct failover_record *r,
                      int64_t timeout_ms, mono_ms until, hook_ended_f *ended,
                      void *arg)
{
    struct hooks *h = hooks;
    struct hook *k;

    assert(timeout_ms > 0 && ended != NULL);
    if (h->ending)
        return; /* whoever waits for it goes away, too */
    k = mem_zalloc(sizeof(*k));
    k->owner = h;
    k->ended = ended;
    k->arg = arg;
    k->limit = loop_clock(h->loop)->mono + timeout_ms;
    k->until = until;
    k->exit_code = HOOK_NOT_STARTED;
    DL_APPEND(h->list, k);
    if (open_lines(k)) {
        begin_polling(k);
        start(k, r);
    } else {
        not_started(k, "its guard: ", strerror(errno));
        k->line_fd = k->out_fd = -1;
        k->refused = loop_timer(h->loop, 0, 0, on_refused, k);
    }
}

static struct hook *find(struct hooks *h, const void *arg)
{
    struct hook *k;

    DL_FOREACH (h->list, k)
        if (!k->over && k->ended != NULL && k->arg == arg)
            return k;
    return NULL;
}

void engine_hooks_until(void *hooks, const void *arg, mono_ms until)
{
    struct hook *k = find(hooks, arg);
    struct guard_message m = {.type = GUARD_DEADLINE};

    if (k == NULL || k->until == until)
        return;
    k->until = until;
    send_to_guard(k, &m);
}

/* The guard ends everything when it reads that nobody writes any more. */
static void stop(struct hook *k)
{
    assert(!k->over);
    k->ended = NULL;
    (void)shutdown(k->line_fd, SHUT_WR);
}

void engine_hooks_stop(void *hooks, const void *arg, void (*stopped)(void *arg),
                       void *stop_arg)
{
    struct hooks *h = hooks;
    struct hook *k = find(h, arg);

    assert(k != NULL || h->ending);
    if (k == NULL)
        return;
    k->stopped = stopped;
    k->stop_arg = stop_arg;
    stop(k);
    assert(k->ended == NULL && !k->over);
}

void engine_hooks_end(struct hooks *h, void (*ended)(void *arg), void *arg)
{
    struct hook *k;

    assert(!h->ending && ended != NULL);
    h->ending = true;
    h->ended = ended;
    h->ended_arg = arg;
    DL_FOREACH (h->list, k)
        if (!k->over)
            stop(k);
    check_all_ended(h);
}

void engine_hooks_free(struct hooks **hooks)
{
    struct hooks *h = *hooks;

    if (h == NULL)
        return;
    *hooks = NULL;
    assert(h->list == NULL && h->soon == NULL);
    close(h->line);
    for (int i = 0; i < FREE_TRIES && waitpid(h->helper, NULL, WNOHANG) == 0;
         i++)
        (void)poll(NULL, 0, 1);
    mem_free(h);
}
