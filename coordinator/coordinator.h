/*
 * coordinator.h - one coordinator: everything that one `pelorus serve` knows
 * and decides, over any registry.
 *
 * It owns membership, balancer, view, work operations and one failover engine
 * per kind, and is their only writer. It knows no event loop: whoever drives
 * it (cli/main.c on libuv, the simulator in virtual time) delivers what the
 * registry calls back with, keeps `clock` true and calls coordinator_tick().
 * Everything here is for that one thread, but coordinator_snapshot() and the
 * balancer's picks, which any thread may call.
 *
 * Longer than other headers: it is all that http/ may ask for.
 */
#ifndef PELORUS_COORDINATOR_COORDINATOR_H
#define PELORUS_COORDINATOR_COORDINATOR_H

#include "balancer/second/second.h"
#include "coordinator/snapshot.h"
#include "failover/engine/engine.h"

struct coordinator;

struct coordinator_config {
    const struct conf *conf;
    const struct clock *clock;
    struct registry *registry; /* borrowed until coordinator_free() */
    const char *self;          /* host:port under which others know us */
    uint64_t seed;             /* of everything random in it */
    engine_event_f *event;     /* what the engines do; may be NULL */
    void *event_arg;
    const struct engine_hooks *hooks; /* runs failover.hook; NULL without */
    /* coordinator_tick() is wanted after so many ms, sooner than it is due:
     * somebody waits. Never called back from within; NULL: it comes when it
     * comes. */
    void (*soon)(void *arg, int64_t ms);
    void *soon_arg;
};

/* Copies the config and `self`; all else that it points to is borrowed until
 * coordinator_free(). */
struct coordinator *coordinator_new(const struct coordinator_config *config);

/* Time passed, or events came: at least every 100 ms. */
void coordinator_tick(struct coordinator *c);

/* conf_reload_file() changed the configuration that this one was made with. */
void coordinator_reload(struct coordinator *c);

/*
 * Leave in order: new waits are refused and present ones answered, the lock is
 * released, the own entry removed; then left(arg). Nothing else is decided.
 */
void coordinator_leave(struct coordinator *c, void (*left)(void *arg),
                       void *arg);

/* Operations under way are completed with ERR_CANCELLED. As a crash would,
 * without coordinator_leave(). */
void coordinator_free(struct coordinator **c);

/* The same after memory_kill(): its process is dead, nobody is told. */
void coordinator_abandon(struct coordinator **c);

/* A name for this run: pick ids and indexes carry it. Nonzero, 40 bits. */
uint64_t coordinator_instance(const struct coordinator *c);

/* Why the registry does not serve us, now; false: it does. */
bool coordinator_trouble(const struct coordinator *c,
                         struct registry_trouble *out);

struct balancer *coordinator_balancer(struct coordinator *c); /* any thread */
/* What is tried beside it. Any thread: second_stats() of it. */
struct second *coordinator_second(struct coordinator *c);
/* Why it picked nobody, as a problem; OK: none. Any thread. */
enum problem coordinator_pick_problem(enum balancer_code code);
struct snapshot *coordinator_snapshot(struct coordinator *c); /* any thread;
                                   coordinator_snapshot_release(); never NULL */
/* Only its as_of, and whether it is stale. Any thread, without a lock. */
wall_ms coordinator_as_of(const struct coordinator *c, bool *stale);
struct work *coordinator_work(struct coordinator *c);
/* NULL: nobody of this kind is failed over (alert servers without a hook), or
 * coordinator_leave() was called. */
struct engine *coordinator_engine(struct coordinator *c, enum node_kind kind);

/* --- waiting for a change (long polls) ----------------------------------- */

enum coordinator_topic {
    COORDINATOR_NODES,      /* of a node: anything that a snapshot says of it;
                               address NULL: of all of the kind; kind NODE_KINDS:
                               anything that a snapshot says */
    COORDINATOR_MEMBERSHIP, /* likewise, but only who is there: not the load */
    COORDINATOR_WORK,       /* of one owner; address NULL: anybody's */
};

/* The index of it now, which grows with each change; 0: nothing is known of it.
 */
uint64_t coordinator_index(const struct coordinator *c,
                           enum coordinator_topic topic, enum node_kind kind,
                           const char *address);

/*
 * woken(arg, index) once: when the index is not `seen` any more (possibly at
 * once, but never before this returns), when `wait_ms` (at most 10 minutes) is
 * over, or when the coordinator leaves. At most 10,000 waits at a time: then
 * ERR_FULL and no callback.
 */
typedef void coordinator_woken_f(void *arg, uint64_t index);
struct coordinator_wait;
int coordinator_wait(struct coordinator *c, enum coordinator_topic topic,
                     enum node_kind kind, const char *address, uint64_t seen,
                     int64_t wait_ms, coordinator_woken_f *woken, void *arg,
                     struct coordinator_wait **out) MUST_CHECK;
/* The waiter went away; no callback afterwards. */
void coordinator_unwait(struct coordinator *c, struct coordinator_wait **wait);

/* --- waiting for a write ------------------------------------------------- */

/*
 * A write, as any coordinator can look for it: the keys that it wrote, each
 * with what stood there afterwards. Its index is that as text. `created` 0:
 * not known, or nothing stood there; then a fresh read is what it takes.
 */
#define WRITE_KEYS_MAX   4
#define WRITE_INDEX_SIZE 2048
struct write_key {
    char key[REGISTRY_KEY_MAX + 1];
    uint64_t created, version;
};
struct write_index {
    struct write_key keys[WRITE_KEYS_MAX];
    size_t n;
};

/* Add one of ours; what none of our answers is made of is left out. The second
 * one where it is known how it stands; the third for an overwrite of what stood
 * there at this version; 0: of nothing. */
void coordinator_index_add(struct write_index *w, const char *key);
void coordinator_index_add_at(struct write_index *w, const char *key,
                              uint64_t created, uint64_t version);
void coordinator_index_add_over(struct write_index *w, const char *key,
                                uint64_t created, uint64_t version);
/* One of those that were added stands new, at this version. */
void coordinator_index_made(struct write_index *w, const char *key,
                            uint64_t version);
/* "w:" and what needs no escape in a query; "" if it is too long. */
const char *coordinator_index_text(const struct write_index *w,
                                   char out[WRITE_INDEX_SIZE]);
/* Is a text meant to be one? And is it one? */
bool coordinator_index_is(const char *text);
bool coordinator_index_parse(struct write_index *w, const char *text);

/*
 * shown(arg, seen, write) once, and never before this returns. `seen`: the
 * snapshot that coordinator_snapshot() gives holds these keys as `write` says,
 * or later. Not `seen`: `wait_ms` are over, or the coordinator leaves. The
 * callback's `write` says how the keys were found. `ours`: we wrote it just
 * now. At most 10,000 at a time, and none while leaving: then ERR_FULL and no
 * callback. Copies `write`.
 */
typedef void coordinator_shown_f(void *arg, bool seen,
                                 const struct write_index *write);
int coordinator_await_write(struct coordinator *c,
                            const struct write_index *write, bool ours,
                            int64_t wait_ms, coordinator_shown_f *shown,
                            void *arg) MUST_CHECK;

/* --- nodes over HTTP, groups, settings, failovers ------------------------ */

/*
 * `code` is NONE, or FENCED, ADDRESS_TAKEN, TOO_LATE, INVALID_VALUE, FINISHED,
 * RUNNING, NOT_ORDERED, DAMAGED or what problem_of_err() says; the rest is
 * borrowed until the callback returns. What is wrong with an argument is
 * answered before the call returns.
 */
struct coordinator_reply {
    enum problem code;
    struct err err;
    struct write_index wrote;
    struct process process; /* node_put, accepted: the registered one */
    const char *instance;   /* node_put */
    const char *place;      /* node_put: how far the registry was seen; "" */
    int64_t renew_after_ms; /* node_put: so often its load is wanted, and its
                               lease kept */
    bool waits; /* node_put: registered; the work of the process before is
                   still being moved, and until then it gets none */
    const char *const *warnings; /* node_put: members that nobody reads, as
                                    sentences */
    size_t n_warnings;
    uint64_t work_index;                         /* node_put */
    bool created;                                /* node_put, group_put */
    const struct settings *settings;             /* settings_* */
    const char *group_addresses;                 /* group_put: as JSON */
    const struct group_settings *group_settings; /* group_put */
    const struct failover_record *failovers;     /* failover_*: newest first */
    size_t n_failovers;
};
typedef void coordinator_reply_f(void *arg,
                                 const struct coordinator_reply *reply);

/* A node's heartbeat by HTTP. Who may register where: node_identity.h. */
struct node_put {
    enum node_kind kind;
    const char *address;
    const char *body; /* heartbeat JSON; empty: {} */
    size_t len;
    int64_t ttl_ms;       /* 1 s .. 1 h */
    const char *instance; /* beside the body's; NULL */
    bool takeover;        /* another process that stands there gives way */
    int64_t age_ms;       /* how long ago it arrived: longer than its ttl, and
                             it is `too_late` */
};
void coordinator_node_put(struct coordinator *c, const struct node_put *put,
                          coordinator_reply_f *done, void *arg);
/* An orderly leave, of the process that is named: another one there is a
 * conflict, and stays. One that names nobody means whoever is registered, and
 * is `too_late` when it waited for more than a second: that may be another
 * one by now. */
struct node_leave {
    enum node_kind kind;
    const char *address;
    int64_t startup_time; /* 0: not named by it */
    const char *instance; /* NULL: not named by it */
    int64_t age_ms;       /* how long ago it arrived */
};
void coordinator_node_delete(struct coordinator *c,
                             const struct node_leave *leave,
                             coordinator_reply_f *done, void *arg);

/* Either half may be NULL: it stays as it is stored, or is not stored at all,
 * and then the configuration's counts. Copied. */
struct group_put {
    const char *const *addresses; /* `n`; 0 of them: an empty group */
    size_t n;
    const struct group_settings_change *settings;
};
/* `name` and addresses are checked. */
void coordinator_group_put(struct coordinator *c, const char *name,
                           const struct group_put *put,
                           coordinator_reply_f *done, void *arg);
void coordinator_group_delete(struct coordinator *c, const char *name,
                              coordinator_reply_f *done, void *arg);

/* As they stand in the registry; what is over is left out. */
void coordinator_settings_get(struct coordinator *c, coordinator_reply_f *done,
                              void *arg);
/* Fields left at their "unset" value stay as they are. */
struct settings_patch {
    int paused;                /* -1 unset */
    int64_t paused_for_ms;     /* with paused 1; 0: until resumed */
    int64_t brake_override_ms; /* -1 unset, 0 ends it; at most 1 hour */
    const char *policy;        /* NULL unset, "" the configured one */
    const char *shadow;        /* likewise; "off": none */
    const char *who, *reason;
};
void coordinator_settings_patch(struct coordinator *c,
                                const struct settings_patch *patch,
                                coordinator_reply_f *done, void *arg);

/* Take back an ordered failover that has not begun (queued, or held). Codes:
 * running, finished, not_ordered, and as failover_get. */
void coordinator_failover_withdraw(struct coordinator *c, const char *id,
                                   coordinator_reply_f *done, void *arg);
/* One failover, or all that are kept (at most 1,000), newest first. */
void coordinator_failover_get(struct coordinator *c, const char *id,
                              coordinator_reply_f *done, void *arg);
void coordinator_failover_list(struct coordinator *c, coordinator_reply_f *done,
                               void *arg);

#endif
