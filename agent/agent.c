/*
 * agent.c - the agent's rules, whatever keeps its registration.
 *
 * One rule stands above all: the command never outlives the lease. So it is
 * started only when the registration is confirmed, told to stop when a renewal
 * is overdue by a third of the lease, and killed before the lease is over, by
 * us or by the guard. A process that was stopped this way is done for good:
 * what starts again is another process, with a new startupTime.
 */
#include "agent/agent_priv.h"
#include "conf/reload.h"

#include "agent/load.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAMPLE_MS     1000
#define LEAVE_STOP_MS 2500 /* a command has to end when we leave */
#define LEAVE_MAX_MS  4500
#define LAST_WORDS_MS 200 /* for the last lines of the log */
/* Signals so near are one: of a group, of `timeout`. */
#define ONE_REQUEST_MS 1000
#define MAILBOX_MAX    64
#define PROBLEMS_MAX   65536
#define EXEC_NOT_FOUND 127
#define EXEC_DENIED    126

#define LOG_NODE(a)                                                            \
    LOG_S("kind", node_kind_name((a)->options->kind)),                         \
        LOG_S("address", (a)->options->address)

/* Is a command to run? One that is stopping is not. */
static bool is_to_run(const struct agent *a)
{
    return a->command_state == COMMAND_STARTING ||
           a->command_state == COMMAND_RUNNING;
}

/* --- identity and report ------------------------------------------------- */

/* Another process from here on, by the node's own clock and never backwards. */
static void renew_process(struct agent *a)
{
    int64_t now = a->clock->wall;

    a->process.startup_time =
        now > a->process.startup_time ? now : a->process.startup_time + 1;
    a->process.process_id = getpid();
    a->process.known = true;
    a->registered = false;
    a->fenced = false;
}

bool agent_heartbeat(struct agent *a, const char *place, struct buf *out)
{
    struct heartbeat hb;

    assert(a->process.known);
    if (a->command_state == COMMAND_STOPPING || a->closing)
        return false;
    memset(&hb, 0, sizeof(hb));
    hb.process = a->process;
    hb.status = a->status;
    hb.load =
        (struct load){a->reading.cpu, a->reading.memory, a->reading.disk,
                      LOAD_UNKNOWN,   a->options->slots, a->options->weight};
    hb.load_average = a->reading.load_average;
    for (size_t i = 0; i < a->options->n_groups; i++)
        memcpy(hb.groups[i], a->options->groups[i],
               strlen(a->options->groups[i]) + 1);
    hb.n_groups = a->options->n_groups;
    hb.place = place;
    heartbeat_write(out, a->options->kind, a->options->address, &hb,
                    a->clock->wall);
    assert(!out->overflow);
    return true;
}

static void report(struct agent *a)
{
    assert(a->link != NULL);
    assert(!a->closing);
    a->next_report = a->clock->mono + a->conf.balancer.heartbeat_interval_ms;
    a->link->wanted = true;
    a->ops->tick(a->link);
}

static void sample(struct agent *a)
{
    enum node_status before = a->status;

    a->next_sample = a->clock->mono + SAMPLE_MS;
    agent_load_sample(&a->sampler, clock_mono_ns(), &a->reading);
    a->status = agent_load_status(before, &a->status_count, &a->reading,
                                  a->conf.balancer.cpu_max,
                                  a->conf.balancer.memory_max);
    if (a->status != before) {
        log_info("=status", LOG_S("status", node_status_name(a->status)),
                 LOG_D("cpu", a->reading.cpu),
                 LOG_D("memory", a->reading.memory));
        report(a);
    }
}

/* --- leaving ------------------------------------------------------------- */

static void on_signal_closed(uv_handle_t *handle)
{
    (void)handle;
}

void agent_link_closed(struct agent *a)
{
    assert(a->closing && a->leaving);
    log_info("-agent", LOG_NODE(a));
    loop_timer_stop(&a->too_late);
    for (size_t i = 0; i < a->n_signals; i++)
        uv_close((uv_handle_t *)&a->signals[i], on_signal_closed);
    agent_command_free(&a->command);
    loop_stop(a->loop);
}

/* The work has ended: only now may the others see us gone. */
static void close_link(struct agent *a)
{
    assert(a->leaving);
    assert(a->command_state < COMMAND_STARTING);
    if (a->closing)
        return;
    a->closing = true;
    loop_timer_stop(&a->tick);
    a->ops->close(a->link);
}

static void on_too_late(void *arg)
{
    struct agent *a = arg;

    assert(a->leaving);
    log_warn("-agent", LOG_NODE(a),
             LOG_S("reason", "no answer in time; the registration runs out by "
                             "itself"));
    log_flush(LAST_WORDS_MS);
    _exit(a->exit_code); /* the guard sees it and ends, too */
}

static void leave(struct agent *a)
{
    a->leaving = true;
    if (a->too_late == NULL)
        a->too_late = loop_timer(a->loop, LEAVE_MAX_MS, 0, on_too_late, a);
    if (a->command_state < COMMAND_STARTING)
        close_link(a);
}

void agent_fail(struct agent *a, const char *reason)
{
    assert(reason != NULL);
    if (a->leaving)
        return;
    a->exit_code = 1;
    err_set(&a->err, ERR_DENIED, "%s", reason);
    agent_doubt(a, LEAVE_STOP_MS, reason);
    leave(a);
}

/* --- the command --------------------------------------------------------- */

static void stop_command(struct agent *a, int number, int64_t ms)
{
    mono_ms at = a->clock->mono + ms;

    assert(a->command != NULL);
    assert(ms >= 0);
    a->command_state = COMMAND_STOPPING;
    a->kill_at = at < a->hard ? at : a->hard;
    agent_command_tell(a->command, GUARD_DEADLINE, a->kill_at);
    agent_command_tell(a->command, GUARD_SIGNAL, number);
}

/* It is stopping, and what is in doubt may have come nearer. Told with every
 * tick: what does not reach a guard that is stopped must reach it later. */
static void hurry(struct agent *a)
{
    assert(a->command_state == COMMAND_STOPPING);
    if (a->hard < a->kill_at)
        a->kill_at = a->hard;
    agent_command_tell(a->command, GUARD_DEADLINE, a->kill_at);
}

static void begin_anew(struct agent *a)
{
    assert(!a->leaving);
    assert(a->command_state < COMMAND_STARTING);
    a->again = false;
    renew_process(a);
    report(a);
}

void agent_doubt(struct agent *a, int64_t ms, const char *reason)
{
    a->hard = a->clock->mono + ms < a->hard ? a->clock->mono + ms : a->hard;
    if (a->command_state == COMMAND_STOPPING) {
        hurry(a);
        return;
    }
    if (!is_to_run(a))
        return;
    log_warn("!lease", LOG_NODE(a), LOG_S("reason", reason),
             LOG_S("consequence", "the command is stopped"));
    a->again = true;
    stop_command(a, SIGTERM, ms);
}

void agent_fenced(struct agent *a)
{
    char text[PROCESS_TEXT_SIZE];

    assert(a->process.known);
    if (a->fenced)
        return;
    a->fenced = true;
    log_warn("!fenced", LOG_NODE(a),
             LOG_S("process", process_text(&a->process, text)));
    if (a->command_state >= COMMAND_STARTING)
        agent_doubt(a, 0, "our work was given to others");
    else if (!a->leaving)
        begin_anew(a);
}

void agent_lease(struct agent *a, mono_ms soft, mono_ms hard)
{
    char text[PROCESS_TEXT_SIZE];

    assert(a->process.known);
    if (a->command_state == COMMAND_STOPPING || a->leaving)
        return;
    assert(soft >= 0 && hard >= 0);
    a->soft = soft;
    a->hard = hard;
    process_text(&a->process, text);
    if (!a->registered)
        log_info("+registration", LOG_NODE(a), LOG_S("process", text));
    a->registered = true;
    if (a->command_state == COMMAND_IDLE) {
        a->command_state = COMMAND_STARTING;
        agent_command_start(a->command, text, hard);
    } else if (a->command_state != COMMAND_NONE) {
        agent_command_tell(a->command, GUARD_DEADLINE, hard);
    }
}

static int exit_code_of(int status)
{
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void on_exited(struct agent *a, int status)
{
    /* The guard's work, while we were stopped ourselves: the lease was over. */
    bool overdue = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL &&
                   a->clock->mono >= a->hard;

    log_info("-command", LOG_I("exit", exit_code_of(status)));
    if (!a->leaving && (a->again || overdue)) {
        a->command_state = COMMAND_IDLE;
        begin_anew(a);
        return;
    }
    a->command_state = COMMAND_NONE;
    if (!a->leaving)
        a->exit_code = exit_code_of(status);
    leave(a);
    close_link(a);
}

static void on_command(void *arg, const struct guard_message *m)
{
    struct agent *a = arg;

    assert(a->command != NULL);
    switch (m->type) {
    case GUARD_STARTED:
        log_info("+command", LOG_S("command", a->options->command[0]),
                 LOG_I("pid", m->value));
        if (a->command_state == COMMAND_STARTING)
            a->command_state = COMMAND_RUNNING;
        break;
    case GUARD_EXITED:
        on_exited(a, (int)m->value);
        break;
    case GUARD_FAILED:
        err_errno(&a->err, (int)m->value, "%s", a->options->command[0]);
        log_error("!command", LOG_S("reason", a->err.msg));
        a->command_state = COMMAND_NONE;
        a->exit_code = m->value == ENOENT ? EXEC_NOT_FOUND : EXEC_DENIED;
        leave(a);
        break;
    default: /* only to it */
        break;
    }
}

/* --- time and signals ---------------------------------------------------- */

static void on_tick(void *arg)
{
    struct agent *a = arg;
    mono_ms now = a->clock->mono;
    bool running = is_to_run(a);

    assert(!a->closing);
    /* Before the link may renew what has run out while we were away. */
    if (running && !a->leaving && now >= a->hard)
        agent_doubt(a, 0, "we were stopped for longer than the lease allows");
    else if (running && !a->leaving && now >= a->soft)
        agent_doubt(a, a->hard - now, "no renewal for two thirds of the lease");
    else if (a->command_state == COMMAND_STOPPING)
        hurry(a);
    a->ops->tick(a->link);
    if (now >= a->next_sample)
        sample(a);
    if (now >= a->next_report)
        report(a);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct agent *a = handle->data;
    bool running = a->command_state >= COMMAND_STARTING;

    if (number != SIGTERM && number != SIGINT && number != SIGQUIT) {
        if (number == SIGHUP)
            (void)conf_reload_file(&a->conf); /* read where it is used */
        if (running)
            agent_command_tell(a->command, GUARD_SIGNAL, number);
        return;
    }
    loop_enter(a->loop);
    if (a->asked != 0 && a->clock->mono - a->asked < ONE_REQUEST_MS)
        return;
    if (a->asked != 0) {
        log_warn("-agent", LOG_S("reason", "a second signal"));
        log_flush(LAST_WORDS_MS);
        _exit(1);
    }
    a->asked = a->clock->mono;
    if (a->leaving)
        return;
    log_info("=leaving", LOG_S("signal", sigabbrev_np(number)));
    a->leaving = true;
    if (running)
        stop_command(a, number, LEAVE_STOP_MS);
    leave(a);
}

static void listen_to_signals(struct agent *a)
{
    static const int numbers[] = {SIGTERM, SIGINT,  SIGQUIT, SIGHUP,
                                  SIGUSR1, SIGUSR2, SIGWINCH};
    assert(a->n_signals == 0);
    /* The last are for the command; without one they mean what they do. */
    size_t n = a->options->command != NULL ? ARRAY_LEN(numbers) : 4;

    static_assert(ARRAY_LEN(numbers) == ARRAY_LEN(((struct agent *)0)->signals),
                  "a handle each");
    for (; a->n_signals < n; a->n_signals++) {
        uv_signal_t *s = &a->signals[a->n_signals];

        uv_signal_init(loop_uv(a->loop), s);
        s->data = a;
        uv_signal_start(s, on_signal, numbers[a->n_signals]);
    }
    signal(SIGPIPE, SIG_IGN);
}

/* --- all of it ----------------------------------------------------------- */

static int load_conf(struct agent *a, struct err *err)
{
    struct buf problems;
    int rc = 0;

    if (a->options->conf_file == NULL) {
        conf_defaults(&a->conf);
    } else {
        buf_init(&problems, PROBLEMS_MAX);
        rc = conf_load(&a->conf, a->options->conf_file, &problems, err);
        buf_close(&problems);
    }
    if (rc == 0)
        log_configure(a->conf.log_level, a->conf.log_format);
    if (rc == 0 && a->conf.log_file != NULL &&
        log_to(a->conf.log_file, err) != 0)
        rc = err_wrap(err, "log.file");
    return rc;
}

/* What the command finds in its environment, besides PELORUS_PROCESS. */
static int start_guard(struct agent *a, struct err *err)
{
    assert(a->command_state == COMMAND_NONE);
    if (a->options->command == NULL)
        return 0;
    (void)setenv("PELORUS_KIND", node_kind_name(a->options->kind), 1);
    (void)setenv("PELORUS_ADDRESS", a->options->address, 1);
    a->command_state = COMMAND_IDLE;
    return agent_command_new(&a->command, a->options->command, err);
}

static int begin(struct agent *a, struct err *err)
{
    int rc = loop_new(&a->loop, MAILBOX_MAX, err);

    if (rc != 0)
        return rc;
    a->clock = loop_clock(a->loop);
    a->hard = a->soft = INT64_MAX;
    renew_process(a);
    agent_load_init(&a->sampler);
    agent_load_sample(&a->sampler, clock_mono_ns(), &a->reading);
    a->next_sample = a->clock->mono + SAMPLE_MS;
    a->ops = a->options->url != NULL ? &agent_link_http : &agent_link_registry;
    rc = a->ops->open(a, &a->link, err);
    if (rc != 0) {
        loop_free(&a->loop);
        return rc;
    }
    if (a->command != NULL)
        agent_command_attach(a->command, a->loop, on_command, a);
    listen_to_signals(a);
    a->tick = loop_timer(a->loop, AGENT_TICK_MS, AGENT_TICK_MS, on_tick, a);
    log_info("+agent", LOG_NODE(a), LOG_S("via", a->ops->name),
             LOG_I("pid", getpid()));
    report(a);
    return 0;
}

int agent_run(const struct agent_options *options, struct err *err)
{
    struct agent a;
    int rc;

    memset(&a, 0, sizeof(a));
    assert(options->address != NULL);
    assert(options->n_groups <= HEARTBEAT_GROUPS_MAX);
    a.options = options;
    if (load_conf(&a, err) != 0)
        return 1;
    rc = start_guard(&a, err);
    log_start(); /* its thread is none of the guard's */
    if (rc == 0)
        rc = begin(&a, err);
    if (rc == 0) {
        loop_run(a.loop);
        loop_free(&a.loop);
        rc = a.exit_code;
        *err = a.err;
    } else {
        agent_command_free(&a.command);
        rc = 1;
    }
    conf_close(&a.conf);
    log_stop(LAST_WORDS_MS);
    return rc;
}
