/*
 * agent_priv.h - the parts of the agent.
 *
 *   agent.c     the rules: when to report, start, stop, begin anew
 *   registry.c  a link straight to the registry: the session is the lease
 *   http.c      a link through the API: the ttl is the lease
 *   command.c   our end of the line to the guard (base/process/guard.h), which
 *               runs the command and ends it when its deadline passes
 */
#ifndef PELORUS_AGENT_AGENT_PRIV_H
#define PELORUS_AGENT_AGENT_PRIV_H

#include "agent/agent.h"
#include "agent/load.h"
#include "base/buf.h"
#include "base/loop.h"
#include "base/process/guard.h"
#include "conf/conf.h"

#include <sys/types.h>

#define AGENT_TICK_MS 100

struct agent;

/* --- a link: how the registration is kept -------------------------------- */

/* A link begins its own struct with this one. */
struct agent_link {
    struct agent *agent;
    bool wanted; /* a report */
    bool busy;   /* something is under way */
};

struct agent_link_ops {
    const char *name; /* for people: "registry" */
    int (*open)(struct agent *a, struct agent_link **out, struct err *err);
    /* Often, and when a report is `wanted`: send agent_heartbeat(), again when
     * it could not be sent. */
    void (*tick)(struct agent_link *l);
    /* Once, when the agent is `closing`: take the registration away, end, free;
     * then agent_link_closed(). */
    void (*close)(struct agent_link *l);
};
extern const struct agent_link_ops agent_link_registry;
extern const struct agent_link_ops agent_link_http;

/* What a link tells the agent. */

/* The registration stands as long as this: begin to stop at `soft`, be dead at
 * `hard`. Told again and again. */
void agent_lease(struct agent *a, mono_ms soft, mono_ms hard);
/* It may not: stop now, be dead within `ms`. */
void agent_doubt(struct agent *a, int64_t ms, const char *reason);
/* Our process was fenced: another identity is needed. */
void agent_fenced(struct agent *a);
/* The last that it does. */
void agent_link_closed(struct agent *a);
/* There is no use in going on. */
void agent_fail(struct agent *a, const char *reason);

/* The present heartbeat; false: none may be sent now (the work of the process
 * that lost its lease is being stopped). The link is asked again then. `place`
 * is how far the link has seen the registry, "" if it has not: who restarts
 * learns from it. */
bool agent_heartbeat(struct agent *a, const char *place, struct buf *out);

/* --- the guard (base/process/guard.h) ------------------------------------ */

/* Our end of it. */
struct command;
typedef void command_event_f(void *arg, const struct guard_message *message);

/* Forks: single-threaded still. `argv` is borrowed by the child. */
int agent_command_new(struct command **out, char *const *argv,
                      struct err *err) MUST_CHECK;
/* Messages come from now on; GUARD_EXITED also if the guard itself died. */
void agent_command_attach(struct command *c, struct loop *loop,
                          command_event_f *fn, void *arg);
void agent_command_start(struct command *c, const char *process,
                         mono_ms deadline);
/* GUARD_DEADLINE or GUARD_SIGNAL. */
void agent_command_tell(struct command *c, enum guard_message_type type,
                        int64_t value);
/* Whatever runs is killed. The handle is freed on the loop. */
void agent_command_free(struct command **c);

/* --- the agent ----------------------------------------------------------- */

/* In this order: from STARTING on something may run. */
enum command_state {
    COMMAND_NONE, /* just a node */
    COMMAND_IDLE, /* to be started when the lease is held */
    COMMAND_STARTING,
    COMMAND_RUNNING,
    COMMAND_STOPPING, /* its lease is in doubt, or we leave */
};

struct agent {
    const struct agent_options *options;
    struct conf conf;
    struct loop *loop;
    const struct clock *clock;
    const struct agent_link_ops *ops;
    struct agent_link *link;
    struct process process;
    bool registered; /* told once for this process */
    bool fenced;
    struct load_sampler sampler;
    struct load_reading reading;
    unsigned status_count;
    enum node_status status;
    mono_ms next_sample, next_report;
    struct command *command;
    enum command_state command_state;
    mono_ms soft, hard; /* of the lease */
    mono_ms kill_at;    /* of a stopping command */
    bool again;         /* after stopping: start anew as another process */
    bool leaving, closing;
    mono_ms asked; /* to leave, by a signal; 0: not */
    int exit_code;
    struct loop_timer *tick, *too_late;
    uv_signal_t signals[7];
    size_t n_signals;
    struct err err;
};

#endif
