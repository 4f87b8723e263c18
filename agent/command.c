/*
 * command.c - the agent's end of the line to the guard.
 *
 * Nothing here waits: a packet that does not fit, because the guard is
 * stopped, is dropped; a deadline is sent again with the next turn, and the
 * deadline that the guard has is the safe one.
 */
#include "agent/agent_priv.h"

#include "base/mem.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define FREE_WAIT_MS 500
#define FREE_TRIES   20

struct command {
    int line;
    pid_t guard, running;
    bool attached;
    uv_poll_t poll;
    command_event_f *fn;
    void *arg;
};

int agent_command_new(struct command **out, char *const *argv, struct err *err)
{
    struct command *c;
    int line[2];
    pid_t pid;

    assert(argv != NULL && argv[0] != NULL);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, line) != 0)
        return err_errno(err, errno, "guard");
    pid = fork();
    if (pid == 0) {
        close(line[0]);
        process_guard_main(line[1], argv);
    }
    close(line[1]);
    if (pid < 0) {
        int why = errno;

        close(line[0]);
        return err_errno(err, why, "guard: fork");
    }
    c = mem_zalloc(sizeof(*c));
    c->line = line[0];
    c->guard = pid;
    *out = c;
    return 0;
}

static void say(struct command *c, struct guard_message *m)
{
    assert(c->line >= 0);
    (void)!send(c->line, m, sizeof(*m), MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* The guard died: the kernel killed its child, and we kill the others. */
static void guard_died(struct command *c)
{
    struct guard_message m = {.type = GUARD_EXITED,
                              .value = SIGKILL}; /* as a wait status */

    assert(c->attached);
    uv_poll_stop(&c->poll);
    if (c->running > 0)
        (void)kill(-c->running, SIGKILL);
    c->running = 0;
    c->fn(c->arg, &m);
}

static void on_message(uv_poll_t *handle, int status, int events)
{
    struct command *c = handle->data;
    struct guard_message m;
    ssize_t n;

    assert(c->attached);
    assert(c->fn != NULL);
    (void)status;
    (void)events;
    n = recv(c->line, &m, sizeof(m), MSG_DONTWAIT);
    if (n == (ssize_t)sizeof(m)) {
        if (m.type == GUARD_STARTED)
            c->running = (pid_t)m.value;
        else if (m.type == GUARD_EXITED)
            c->running = 0;
        c->fn(c->arg, &m);
    } else if (n >= 0 || (errno != EAGAIN && errno != EINTR)) {
        guard_died(c);
    }
}

void agent_command_attach(struct command *c, struct loop *loop,
                          command_event_f *fn, void *arg)
{
    int rc = uv_poll_init(loop_uv(loop), &c->poll, c->line);

    assert(fn != NULL);
    assert(rc == 0 && !c->attached);
    (void)rc;
    c->fn = fn;
    c->arg = arg;
    c->attached = true;
    c->poll.data = c;
    rc = uv_poll_start(&c->poll, UV_READABLE | UV_DISCONNECT, on_message);
    assert(rc == 0);
}

void agent_command_start(struct command *c, const char *process,
                         mono_ms deadline)
{
    struct guard_message m = {.type = GUARD_START, .value = deadline};

    assert(c->running == 0);
    process_guard_env(&m, "PELORUS_PROCESS", process);
    say(c, &m);
}

void agent_command_tell(struct command *c, enum guard_message_type type,
                        int64_t value)
{
    struct guard_message m = {.type = type, .value = value};

    assert(type == GUARD_DEADLINE || type == GUARD_SIGNAL);
    say(c, &m);
}

static void on_closed(uv_handle_t *handle)
{
    mem_free(handle->data);
}

/* The guard ends when it hears that the line is closed; it is given a moment
 * so that it is not left behind as somebody else's child. */
void agent_command_free(struct command **command)
{
    struct command *c = *command;
    struct pollfd fd = {.events = POLLRDHUP};

    *command = NULL;
    if (c == NULL)
        return;
    if (c->attached)
        uv_poll_stop(&c->poll);
    (void)shutdown(c->line, SHUT_WR);
    fd.fd = c->line;
    (void)poll(&fd, 1, FREE_WAIT_MS);
    close(c->line);
    for (int i = 0; i < FREE_TRIES && waitpid(c->guard, NULL, WNOHANG) == 0;
         i++)
        (void)poll(NULL, 0, 1);
    if (c->attached)
        uv_close((uv_handle_t *)&c->poll, on_closed);
    else
        mem_free(c);
}
