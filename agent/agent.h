/*
 * agent.h - `pelorus agent`: a real node of the cluster.
 *
 * It registers an address, reports the host's real load, and, given a command,
 * runs it exactly as long as the registration holds: when the lease cannot be
 * renewed the command is stopped before the lease runs out, and a later
 * registration is another process with a new startupTime. Whoever takes the
 * work over may rely on that.
 */
#ifndef PELORUS_AGENT_AGENT_H
#define PELORUS_AGENT_AGENT_H

#include "base/err.h"
#include "cluster/heartbeat.h"

/* All borrowed until agent_run() returns. */
struct agent_options {
    bool help; /* was asked for: nothing else is looked at */
    enum node_kind kind;
    const char *address;
    const char *groups[HEARTBEAT_GROUPS_MAX];
    size_t n_groups;
    int32_t weight;        /* 0 .. 10,000; 100 is usual */
    int32_t slots;         /* tasks it runs at once, 0: not told */
    const char *conf_file; /* direct to its registry; NULL: the defaults */
    const char *url;       /* through the API: one or more coordinators'
                              (urls.h), or NULL */
    int64_t ttl_ms;        /* of a registration through the API */
    char *const *command;  /* NULL-terminated, or NULL: just a node */
};

#define AGENT_TTL_MS 30000

/*
 * Register and stay until SIGTERM or SIGINT (returns 0), until the command
 * ends (returns its exit code, 128 + n for signal n), or until it cannot go on
 * (1, and `err` says why). Builds its own loop; forks the guard of its command
 * first, so no other thread may run yet.
 */
int agent_run(const struct agent_options *options, struct err *err);

/* The subcommand: parses its options, says what is wrong (2), runs. */
int agent_main(int argc, char **argv);

/* Fill in `out`; ERR_INVALID says what is wrong and what is expected. */
int agent_parse(int argc, char **argv, struct agent_options *out,
                struct err *err) MUST_CHECK;

#endif
