/*
 * conf.h - the configuration: one plain struct, filled from one table of keys.
 * (Longer than 150 lines: it is one struct and its reader, and every setting
 * says its unit and meaning.)
 *
 * The table in conf_table.c names every key once, with its type, default and
 * range (pelorus.yaml says what it is for); reading, checking, printing and the
 * nearest-key suggestion all come from it. After conf_load() the struct is
 * constant, and any thread may read it, but for what conf_reload_file()
 * changes: that is the loop's alone. The functions keep no state: any
 * thread, each with a struct of its own.
 *
 * Timing rules. What keeps something alive must be able to fail twice:
 * interval * 3 <= timeout, wherever a timeout is fed by an interval of ours
 * (jdbc: heartbeat-refresh-interval and session-timeout; an agent's reports
 * over HTTP and their ttl; and a timeout that a server negotiated down). The
 * backends of a session's own keep it alive every third of its timeout and
 * need no rule. balancer.heartbeat-interval is none of these: it says how old
 * a load report may be, no liveness hangs on it, and so 10s beside a session
 * timeout of 10s is sound. And: work.keep is more than twice the session
 * timeout, so that a late retry meets the record.
 */
#ifndef PELORUS_CONF_CONF_H
#define PELORUS_CONF_CONF_H

#include "base/err.h"
#include "base/log.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum conf_registry_type {
    CONF_SQLITE,
    CONF_MEMORY, /* simulator and tests only: not accepted from a file */
    CONF_ZOOKEEPER,
    CONF_ETCD,
    CONF_JDBC,
};

struct conf_list {
    char **items;
    size_t n;
};

/*
 * How to reach a registry. Durations in milliseconds throughout. The fields of
 * another type than `type` hold their defaults. Texts that were not given are
 * NULL.
 */
struct conf_registry {
    enum conf_registry_type type;
    char *namespace_;           /* without slashes: "dolphinscheduler" */
    int64_t session_timeout_ms; /* etcd: ttl */
    int64_t connect_timeout_ms;

    char *path; /* sqlite: the file */

    /* zookeeper */
    char *connect_string; /* host:port,host:port[/chroot] */
    char *digest;         /* secret: user:password */
    int64_t block_until_connected_ms;
    int64_t retry_base_sleep_ms, retry_max_sleep_ms;
    uint32_t retry_max_retries;

    /* etcd and jdbc */
    char *user;
    char *password; /* secret */

    /* etcd */
    struct conf_list endpoints; /* http://host:port or https://host:port */
    char *authority;
    char *cert_file;           /* the authority's certificate; jdbc, too */
    char *key_cert_chain_file; /* ours, PEM; jdbc, too */
    char *key_file;            /* its key, PEM; jdbc, too */
    int64_t retry_delay_ms, retry_max_delay_ms, retry_max_duration_ms;

    /* jdbc */
    char *jdbc_url;         /* jdbc:mysql://... or jdbc:postgresql://... */
    char *dbms_jdbc_schema; /* PostgreSQL's, one name */
    int64_t heartbeat_refresh_ms;
    uint32_t pool_size;
};

enum conf_policy {
    CONF_LEDGER,
    CONF_RANDOM,
    CONF_ROUND_ROBIN,
    CONF_FIXED_WEIGHTED_ROUND_ROBIN,
    CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN,
};
#define CONF_POLICIES 5

/* When a worker that says BUSY is picked. */
enum conf_busy {
    CONF_BUSY_EXCLUDE, /* never */
    CONF_BUSY_LAST,    /* when no other is left */
};

/* How renewals of HTTP nodes are written. */
enum conf_renewals {
    CONF_RENEWALS_SINGLE,  /* each by itself */
    CONF_RENEWALS_GROUPED, /* many at once, if all coordinators can read that */
};

/* What is tried beside the balancer, without effect. */
struct conf_second {
    enum conf_shadow { /* a policy behind CONF_SHADOW_OF */
                       CONF_SHADOW_OFF,
                       CONF_SHADOW_OF,
    } shadow;
    bool regret; /* count picks that a newer report would have changed */
};

struct conf_balancer {
    enum conf_policy policy;
    int64_t heartbeat_interval_ms; /* how old a report is at most, normally */
    /* ledger: above these a worker is hot (ratios 0..1) */
    double cpu_max, memory_max, disk_max;
    enum conf_busy busy;
    int64_t warm_up_ms;        /* how long a new worker is given less */
    double warm_up_aggression; /* > 0; its share is the part of that time that
                                  is over, to the power of 1/this */
    /* DYNAMIC_WEIGHTED_ROUND_ROBIN: percent, they sum to 100 */
    double cpu_usage_weight, memory_usage_weight, pool_usage_weight;
};

/* Of them, what a group has of its own (own.h). */
struct conf_own {
    uint32_t given;              /* a bit for each of its keys */
    struct conf_balancer values; /* of those that are given */
};

/* Names of groups are in lower case, as the API has them. */
struct conf_group {
    char *name;
    struct conf_list addresses; /* host:port each */
};

struct conf_group_own {
    char *name;
    unsigned line; /* of its first key */
    struct conf_own own;
};

struct conf_failover {
    bool enabled;
    int64_t grace_ms;  /* SUSPECT to DOWN */
    int64_t settle_ms; /* no DOWN this long after start or a new session */
    int64_t reconcile_interval_ms;
    char *master_lock, *worker_lock, *alert_server_lock; /* registry paths */
    bool readmit; /* let a fenced process in again once it owns nothing */
    uint32_t poison_limit;
    int64_t poison_window_ms;
    int64_t brake_window_ms;
    double brake_share;
    uint32_t brake_min;
    char *hook;                  /* command line for /bin/sh, or NULL */
    struct conf_list hook_kinds; /* whose processes are failed over for the hook
                                    alone, though they own nothing of ours */
    int64_t hook_timeout_ms;
};

struct conf_http {
    uint32_t threads; /* 0: one per core */
    uint32_t max_connections;
    uint32_t max_connections_per_address;
    int64_t request_timeout_ms; /* to send a request, or to be idle */
};

struct conf {
    char *file; /* as given, for messages; "" for defaults */
    char *listen_host;
    uint16_t listen_port; /* 0: any free one (tests) */
    char *advertise;      /* host:port under which others reach us, or NULL */
    char *state_dir;      /* what this process remembers, or NULL */
    struct conf_registry registry;
    struct conf_balancer balancer;
    struct conf_second second;
    struct conf_failover failover;
    char *journal;         /* the file, or NULL: none is kept */
    uint64_t journal_size; /* bytes of each of its files, about */
    uint32_t journal_files;
    struct conf_group *groups;
    size_t n_groups;
    struct conf_group_own *owns;
    size_t n_owns;
    int64_t work_keep_ms, forget_after_ms, collect_interval_ms;
    enum conf_renewals renewals;
    struct conf_http http;
    char *log_file; /* lines are added to it, or NULL: standard error */
    enum log_level log_level;
    enum log_format log_format;
};

/* Every key at its default; what was there is overwritten. conf_close(). */
void conf_defaults(struct conf *conf);

/*
 * Read, expand ${ENV}, check every key and the timing rules between them. All
 * problems are found in one go: each is one line "file:line: key: what; what
 * to do" in `problems` (NULL: not wanted; bounded, see buf.h). ERR_INVALID:
 * there were some, and `err` holds the first; ERR_IO, ERR_DENIED,
 * ERR_NOT_FOUND, ERR_TOO_LARGE (above 1 MiB): the file. On failure `conf` is
 * closed. Keys accepted without meaning to us are logged at debug level.
 *
 * In values ${NAME} and ${NAME:default} stand for the environment; an unset
 * variable without a default is a problem; $${ is a plain ${.
 */
struct buf;
int conf_load(struct conf *conf, const char *file, struct buf *problems,
              struct err *err) MUST_CHECK;

/* The same for text already in memory; `file` names it in messages. */
int conf_parse(struct conf *conf, const char *file, const char *text,
               size_t len, struct buf *problems, struct err *err) MUST_CHECK;

/* Frees all that it holds; again, or after a failure of the above, is fine. */
void conf_close(struct conf *conf);

/* "host:port" or "[v6]:port" apart; *host (mem_free) is without brackets, the
 * port 0 to 65535. ERR_INVALID: neither, and both are as they were. */
int conf_host_port(const char *text, char **host, uint16_t *port,
                   struct err *err) MUST_CHECK;

/* A host:port that stands for all addresses of a host: good to listen on, and
 * nobody's name. */
bool conf_every_address(const char *text);

/* Every key with its value in force, secrets as "***": `check-config`. The
 * lines are a configuration again. */
void conf_print(const struct conf *conf, FILE *out);

/* Append what is accepted and will not be done, or not as it is written: lines
 * "file: key: what; what to do". Whoever opens the registry logs the same. */
void conf_remarks(const struct conf *conf, struct buf *out);

/* Case does not matter, '-' is '_'. ERR_INVALID: no such policy. */
int conf_policy_parse(const char *name, enum conf_policy *out,
                      struct err *err) MUST_CHECK;
const char *conf_policy_name(enum conf_policy policy); /* as we write it */
/* The same for balancer.shadow, where "off" is none: *on is false then, and
 * *out stays. */
int conf_shadow_parse(const char *name, bool *on, enum conf_policy *out,
                      struct err *err) MUST_CHECK;
/* As a file writes it. Static. */
const char *conf_registry_type_name(enum conf_registry_type type);

#endif
