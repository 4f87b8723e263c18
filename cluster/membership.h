/*
 * membership.h - who is in the cluster, from what the registry tells.
 *
 * Fed with registry events, connection states and time; asks for gates; keeps
 * one `struct node` per (kind, address) and tells each change once. It writes
 * nothing. Loop thread only.
 *
 *   UP -> LEFT    (last key gone, and the gate says that it left in order)
 *      -> SUSPECT (last key gone, or unchanged for its ttl)
 *      -> DOWN    (still gone after the grace, and settled)
 *      -> FENCED  (the gate says so) -> forgotten when nothing names it
 *
 * The same process back before INTENT is a flap: counted, UP again. Another
 * process at the address: the old one is told as REPLACED at once and the new
 * one is UP. An unknown identity replaces nobody: the node is degraded until
 * its first readable heartbeat. A process that the gate bars counts as absent
 * although its key stands; readmitted, it is UP again. An address that only a
 * gate names is SUSPECT with the gate's process from the start.
 *
 * Two processes registered at one address: the later startupTime counts (the
 * same: the newest `created`), and the earlier one comes forward only when the
 * later is DOWN. One whose key an earlier process wrote over keeps the lease of
 * its last heartbeat.
 *
 * No node becomes DOWN within `settle` of start or of a new session, nor while
 * the connection is not CONNECTED/RECONNECTED, nor before SYNCED. Every window
 * (a ttl, the grace, `settle`) counts by the rule of pauses.h: only while
 * our own turns came on time and round trips to the registry came back, and it
 * is over only when a request sent after its end was answered. A registry that
 * is silent takes nobody's time, however short its ttl; after a silence or a
 * pause of more than a third of a window that window starts again, and so do
 * all when the connection is back.
 *
 * Longer than 150 lines: events, times and nodes are one contract.
 */
#ifndef PELORUS_CLUSTER_MEMBERSHIP_H
#define PELORUS_CLUSTER_MEMBERSHIP_H

#include "base/clock.h"
#include "cluster/gates.h"
#include "cluster/heartbeat.h"
#include "registry/registry.h"

struct membership;
struct renewal; /* cluster/renewals/renewal.h */

#define NODE_PROBLEMS_MAX 32 /* further ones are not kept */

struct node {
    const char *address; /* as long as the node is there */
    enum node_kind kind;
    enum node_state state;
    enum node_status status;
    bool registered : 1;   /* a key stands, fresh within its ttl */
    bool ours : 1;         /* its key is below /pelorus/nodes */
    bool degraded : 1;     /* its last heartbeat was refused, or some of it */
    bool unreadable : 1;   /* nothing of it is known: it says nothing of its
                          load, or not whose it is */
    bool unidentified : 1; /* what stands there does not say who it is:
                          `process` is the last one known, give it no
                          work */
    uint16_t n_groups, n_problems; /* of the lists below */
    uint32_t flaps;
    uint32_t registrations;    /* how many keys stand now */
    struct process process;    /* the one registered, or the last one seen */
    struct load load;          /* the last good one */
    const char *const *groups; /* path + heartbeat; sorted, without
                                  "default" */
    struct heartbeat_problem *problems; /* what of its keys and heartbeats is
                                           not used, and why; each once */
    int64_t ttl_ms;      /* HTTP nodes; 0: the session is the lease */
    int64_t watched_ms;  /* it is missed after so long; not below ttl_ms */
    mono_ms last_report; /* when we saw its last change */
    wall_ms last_report_wall;
    mono_ms state_since;
    const struct gate *gate; /* what gates.h knows of it; never NULL */
    void *user;              /* the coordinator's, untouched */
};

enum membership_event_type {
    MEMBERSHIP_UP,     /* new, or back */
    MEMBERSHIP_REPORT, /* load, status, groups or degraded changed */
    MEMBERSHIP_SUSPECT,
    MEMBERSHIP_FLAP,     /* the same process is back: UP */
    MEMBERSHIP_DOWN,     /* `process` is the one that is gone */
    MEMBERSHIP_REPLACED, /* `process` is the old one; the node is UP anew */
    MEMBERSHIP_FENCED,
    MEMBERSHIP_LEFT,     /* in order: it is not missed */
    MEMBERSHIP_GONE,     /* forgotten; `node` is freed after the callback */
    MEMBERSHIP_TTL_OVER, /* an HTTP node's key stood unchanged for its ttl: the
                            coordinator may remove what was `created` then,
                            at `version`. Said again after as long, while it
                            stands so */
};

/* A window of time that was over: of which registration, and which window. */
struct membership_over {
    uint64_t created; /* of the registration's key */
    uint64_t began;   /* how often windows began again till then */
    mono_ms heard;    /* when it was heard of last */
};

struct membership_event {
    enum membership_event_type type;
    struct node *node;
    struct process process;
    const char *key;             /* TTL_OVER */
    uint64_t version;            /* TTL_OVER */
    bool doubted;                /* TTL_OVER: it stands marked */
    struct membership_over over; /* TTL_OVER: for membership_still_over() */
};
typedef void membership_event_f(void *arg, const struct membership_event *ev);

/* One event of a watched key, before anything follows from it. All borrowed. */
struct membership_key {
    const char *key; /* NULL: all that stood below one prefix was told */
    bool removed;
    bool ours;                         /* below /pelorus/nodes */
    uint64_t created;                  /* of what was written */
    const char *refused;               /* why it names no node; NULL: it does */
    const struct heartbeat *heartbeat; /* what was written and read just now;
                                          NULL: nothing new */
};
typedef void membership_key_f(void *arg, const struct membership_key *key);

/* What was written at a key of ours, after its node was judged by it: `node` is
 * whose it is. All is borrowed. */
typedef void membership_written_f(void *arg, struct node *node,
                                  const struct registry_entry *entry);

/* A node was judged anew, and its events were told: any of its fields may be
 * another one, also where no event follows from that. */
typedef void membership_looked_f(void *arg, struct node *node);

struct membership_config {
    const struct clock *clock; /* borrowed for life, as are the gates */
    struct gates *gates;       /* it learns of gates from here */
    int64_t grace_ms;
    int64_t settle_ms;
    int64_t heartbeat_interval_ms;
    int64_t session_timeout_ms;
    membership_key_f *key; /* told with the events' `arg`; may be NULL */
    membership_written_f *written; /* likewise */
    membership_looked_f *looked;   /* likewise */
    int64_t answer_ms; /* the registry is asked for a sign of life at least so
                          often; see membership_answer_due() */
};

/* Events come from inside the calls below, never re-entrantly. */
struct membership *membership_new(const struct membership_config *config,
                                  membership_event_f *fn, void *arg);
void membership_free(struct membership **m);

enum membership_source { MEMBERSHIP_NODES, MEMBERSHIP_OURS };

/* Watch "/nodes" and "/pelorus/nodes" of `registry` (borrowed until
 * membership_unwatch(), which is not needed when that is gone without a word).
 * A node that lives by a ttl is believed in while its key changes: where values
 * are asked for, they are at least three times per ttl. */
void membership_watch(struct membership *m, struct registry *registry);
void membership_unwatch(struct membership *m);

/* An event of one of the two; by hand in tests. It is synced when both are. */
void membership_feed(struct membership *m, enum membership_source source,
                     const struct registry_event *event);

/*
 * A renewal that was read in a ring (cluster/renewals/rings.h), seen at `seen`,
 * not in the future: a sign of life of the registration that it names, and a
 * report. False: no such one is known. True: it was taken, or left aside
 * because the generation that stands is another one: it was another process's.
 * O(1).
 *
 * A mark (`doubted`) is no sign of life and no report: beside it the value is
 * as old as the write before it.
 */
bool membership_renewed(struct membership *m, const struct renewal *renewal,
                        mono_ms seen);
/* Renewals may have been missed: all windows of time begin again. */
void membership_gap(struct membership *m);
/* Since TTL_OVER was told of this registration and gave `over`: has nothing
 * been heard of it, not even before another TTL_OVER, and did no window begin
 * again for any other reason? Then *version is that of its key, as it was told
 * last: another one than TTL_OVER's if it was marked since. */
bool membership_still_over(const struct membership *m, const char *key,
                           const struct membership_over *over,
                           uint64_t *version);

/* Of the registry: after DISCONNECTED all has to be told again. */
void membership_connection(struct membership *m, enum registry_state state);

/*
 * The registry has answered a request that was sent at `sent`, and the answer
 * is here now: registry_answered(), told before each tick (an old one again is
 * no news).
 */
void membership_answered(struct membership *m, mono_ms sent);

/* When an answer to a request sent then or later will be wanted: the caller
 * asks for one as soon as that time has come (registry_prove()). */
mono_ms membership_answer_due(const struct membership *m);

/* A round trip was missed: no answer for twice as long as is usual, and for a
 * second. What we know grows old from then on, without anybody's fault. */
bool membership_silent(const struct membership *m);
/* When the last answer came. */
mono_ms membership_last_answer(const struct membership *m);

/* Time passes: call at least every 100 ms. */
void membership_tick(struct membership *m);

/*
 * Forget a DOWN, FENCED or LEFT node whose failover is done and that owns
 * nothing; GONE is told. False, and nothing happens: it has a key or another
 * state. A node without a gate is forgotten by itself, ten minutes after DOWN;
 * one with a gate stays until this is called, because it may have owned work.
 */
bool membership_forget(struct membership *m, struct node *node);

/* All that stood was told, of both sources. */
bool membership_synced(const struct membership *m);
/* Synced, connected, and `settle` is over: absence may be believed. */
bool membership_settled(const struct membership *m);

/* NULL: it is not known. Valid until GONE is told of it. */
struct node *membership_find(const struct membership *m, enum node_kind kind,
                             const char *address);
/* All nodes of all kinds in a stable order; `it` starts at NULL. */
struct node *membership_next(const struct membership *m, struct node *it);
/* Registered, and late with its renewal or its reports: it may be about to be
 * missed. */
bool membership_overdue(const struct membership *m, const struct node *node);
/* Those of a kind that are registered, each once, as of now: overdue ones, and
 * of the others those that stand for `settle` by now and those that do not yet.
 * Costs what changed, or may have by time alone, since the last call. */
struct membership_tally {
    size_t late, settled, fresh;
};
struct membership_tally membership_tally(struct membership *m,
                                         enum node_kind kind);
/* The others, from 0, in no order; NULL at the end. */
struct node *membership_absent(const struct membership *m, enum node_kind kind,
                               size_t i);
/* How long it may go unheard before it is missed: `watched_ms` or the
 * session. */
int64_t membership_lease(const struct membership *m, const struct node *node);
/* The process of each registration that stands at it and whose ttl is not over,
 * counted from 0; NULL at the end. Several where it stands in several groups,
 * or two processes are registered at one address. */
const struct process *membership_standing(const struct node *node, size_t i);
/* The key of each, in the same way, of those whose ttl is over, too; written to
 * `out` and returned. */
const char *membership_key(const struct node *node, size_t i,
                           char out[REGISTRY_KEY_MAX + 1]);
/* Does a registration stand under this key, as far as we were told? */
bool membership_has_key(const struct membership *m, const char *key);

#endif
