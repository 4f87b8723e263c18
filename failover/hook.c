/*
 * hook.c - a child process on the loop. Design: a hook ends when its process
 * has exited, whatever it left running with our pipe open; a grandchild that
 * keeps the pipe cannot hold a failover up.
 */
#include "failover/hook.h"

#include "base/log.h"
#include "base/mem.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#define TAIL_MAX 511
#define VARS     4
#define VAR_MAX  320
/* After the exit, for what is still in the pipe: until a round brought nothing,
 * but not the first (a late loop fires timers before it reads). */
#define DRAIN_MS   50
#define DRAINS_MIN 2
#define DRAINS_MAX 20

struct hook {
    struct hook *prev, *next;
    struct hooks *owner;
    uv_process_t process;
    uv_pipe_t out;
    uv_timer_t timer;
    unsigned open; /* handles that must close before it is freed */
    bool exited, timed_out, eof, told;
    bool heard; /* something was read since the last round */
    unsigned drains;
    int exit_code;
    char chunk[1024];
    char tail[TAIL_MAX + 1];
    size_t len;
    void (*ended)(void *e, int exit_code, const char *tail);
    void *arg;
};

struct hooks {
    struct loop *loop;
    struct hook *list;
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

struct hooks *hooks_new(struct loop *loop)
{
    struct hooks *h = mem_zalloc(sizeof(*h));
    h->loop = loop;
    return h;
}

static void hooks_closed(struct hooks *h)
{
    if (!h->closing || h->list != NULL)
        return;
    void (*closed)(void *arg) = h->closed;
    void *arg = h->closed_arg;
    mem_free(h);
    if (closed != NULL)
        closed(arg);
}

static void on_close(uv_handle_t *handle)
{
    struct hook *k = handle->data;
    assert(k->open > 0);
    if (--k->open > 0)
        return;
    struct hooks *h = k->owner;
    DL_DELETE(h->list, k);
    mem_free(k);
    hooks_closed(h);
}

static void close_handle(uv_handle_t *handle)
{
    if (!uv_is_closing(handle))
        uv_close(handle, on_close);
}

/* Tell once, and close. */
static void finish(struct hook *k)
{
    if (k->told)
        return;
    k->told = true;
    close_handle((uv_handle_t *)&k->process);
    close_handle((uv_handle_t *)&k->out);
    close_handle((uv_handle_t *)&k->timer);
    if (!k->owner->closing) {
        k->tail[k->len] = '\0';
        k->ended(k->arg, k->timed_out ? HOOK_TIMED_OUT : k->exit_code, k->tail);
    }
}

static void kill_group(struct hook *k)
{
    /* its own group: a shell's children die with it */
    if (k->process.pid > 0)
        (void)kill(-k->process.pid, SIGKILL);
}

/* --- output -------------------------------------------------------------- */

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    struct hook *k = handle->data;
    (void)size;
    *buf = uv_buf_init(k->chunk, sizeof(k->chunk));
}

/* Keep the last bytes. */
static void keep(struct hook *k, const char *data, size_t n)
{
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
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct hook *k = stream->data;
    loop_enter(k->owner->loop);
    if (n > 0) {
        k->heard = true;
        keep(k, buf->base, (size_t)n);
    } else if (n < 0) {
        k->eof = true;
        if (k->exited)
            finish(k);
    }
}

/* --- the end ------------------------------------------------------------- */

static void on_drained(uv_timer_t *timer)
{
    struct hook *k = timer->data;
    loop_enter(k->owner->loop);
    bool quiet = !k->heard;
    k->heard = false;
    k->drains++;
    if (k->drains < DRAINS_MAX && (!quiet || k->drains < DRAINS_MIN))
        uv_timer_start(&k->timer, on_drained, DRAIN_MS, 0);
    else
        finish(k);
}

static void on_exit_(uv_process_t *process, int64_t status, int sig)
{
    struct hook *k = process->data;
    loop_enter(k->owner->loop);
    k->exited = true;
    k->exit_code = sig != 0 ? HOOK_SIGNAL_BASE + sig : (int)status;
    if (k->eof || k->owner->closing)
        finish(k);
    else
        uv_timer_start(&k->timer, on_drained, DRAIN_MS, 0);
}

static void on_timeout(uv_timer_t *timer)
{
    struct hook *k = timer->data;
    loop_enter(k->owner->loop);
    k->timed_out = true;
    kill_group(k); /* on_exit_() goes on */
}

static void on_not_started(uv_timer_t *timer)
{
    struct hook *k = timer->data;
    loop_enter(k->owner->loop);
    finish(k);
}

/* --- the start ----------------------------------------------------------- */

static size_t count_env(void)
{
    size_t n = 0;
    while (environ != NULL && environ[n] != NULL)
        n++;
    return n;
}

/* Does a variable of the environment have a name of ours? Shells differ about
 * which of two counts. */
static bool shadowed(const char *var, char vars[VARS][VAR_MAX])
{
    for (size_t i = 0; i < VARS; i++) {
        size_t len = strcspn(vars[i], "=") + 1;
        if (strncmp(var, vars[i], len) == 0)
            return true;
    }
    return false;
}

static char **make_env(const struct failover_record *r,
                       char vars[VARS][VAR_MAX])
{
    char text[PROCESS_TEXT_SIZE];
    size_t n = 0, all = count_env();
    char **env = mem_array(all + VARS + 1, sizeof(*env));
    (void)snprintf(vars[0], VAR_MAX, "PELORUS_KIND=%s",
                   node_kind_name(r->kind));
    (void)snprintf(vars[1], VAR_MAX, "PELORUS_ADDRESS=%s", r->address);
    (void)snprintf(vars[2], VAR_MAX, "PELORUS_PROCESS=%s",
                   process_text(&r->process, text));
    (void)snprintf(vars[3], VAR_MAX, "PELORUS_FENCE=%" PRIu64, r->fence);
    for (size_t i = 0; i < VARS; i++)
        env[n++] = vars[i];
    for (size_t i = 0; i < all; i++) {
        if (!shadowed(environ[i], vars))
            env[n++] = environ[i];
    }
    env[n] = NULL;
    return env;
}

static int spawn(struct hook *k, const char *command,
                 const struct failover_record *r)
{
    char vars[VARS][VAR_MAX];
    char *args[] = {(char[]){"/bin/sh"}, (char[]){"-c"}, mem_strdup(command),
                    NULL};
    char **env = make_env(r, vars);
    uv_stdio_container_t io[3] = {
        {.flags = UV_IGNORE},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
         .data.stream = (uv_stream_t *)&k->out},
        {.flags = UV_IGNORE},
    };
    uv_process_options_t options = {
        .exit_cb = on_exit_,
        .file = args[0],
        .args = args,
        .env = env,
        .flags = UV_PROCESS_DETACHED, /* a session and group of its own */
        .stdio_count = 3,
        .stdio = io,
    };
    int rc = uv_spawn(loop_uv(k->owner->loop), &k->process, &options);
    mem_free(args[2]);
    mem_free(env);
    return rc;
}

/* Its complaints are worth as much as its output: both go into one pipe. */
static char *with_stderr(const char *command)
{
    return mem_printf("exec 2>&1\n%s", command);
}

void hooks_run(void *arg, const char *command, const struct failover_record *r,
               int64_t timeout_ms,
               void (*ended)(void *e, int exit_code, const char *tail), void *e)
{
    struct hooks *h = arg;
    struct hook *k = mem_zalloc(sizeof(*k));
    uv_loop_t *uv = loop_uv(h->loop);
    char *full = with_stderr(command);
    assert(!h->closing && timeout_ms > 0);
    k->owner = h;
    k->ended = ended;
    k->arg = e;
    k->process.data = k->out.data = k->timer.data = k;
    (void)uv_pipe_init(uv, &k->out, 0);
    (void)uv_timer_init(uv, &k->timer);
    k->open = 3;
    DL_APPEND(h->list, k);
    int rc = spawn(k, full, r);
    mem_free(full);
    if (rc != 0) {
        /* libuv wants the handle closed even when nothing was started */
        k->exit_code = HOOK_NOT_STARTED;
        k->exited = k->eof = true;
        int n = snprintf(k->tail, sizeof(k->tail), "cannot start: %s",
                         uv_strerror(rc));
        k->len = n > 0 ? (size_t)n : 0;
        log_error("!hook", LOG_S("why", k->tail));
        uv_timer_start(&k->timer, on_not_started, 0, 0);
        return;
    }
    (void)uv_read_start((uv_stream_t *)&k->out, on_alloc, on_read);
    uv_timer_start(&k->timer, on_timeout, (uint64_t)timeout_ms, 0);
}

void hooks_free(struct hooks **h, void (*closed)(void *arg), void *arg)
{
    if (*h == NULL)
        return;
    struct hooks *old = *h;
    struct hook *k, *next;
    *h = NULL;
    old->closing = true;
    old->closed = closed;
    old->closed_arg = arg;
    DL_FOREACH_SAFE(old->list, k, next)
    {
        if (!k->exited)
            kill_group(k);
        else
            finish(k);
    }
    hooks_closed(old);
}
