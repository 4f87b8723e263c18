/*
 * balancer.h - which worker takes the next task.
 *
 * The balancer keeps, per group, the workers that the coordinator told it
 * about and what it handed out itself since each one's last report: counting
 * one's own grants is what keeps a pick right between heartbeats.
 *
 * Threads: balancer_set/remove/define/tick are the coordinator loop's. Picks,
 * done, refused and explain come from any thread and take one short lock, the
 * balancer's. It is one for all groups because `default` holds every worker:
 * with a lock per group, each grant in any group would have to take default's
 * too, to count it there.
 *
 * One lock is enough because it is held briefly beside what else a request
 * costs. Measured over HTTP, two shared cores, 64 connections, 1,000 workers:
 * half of the holds took 0.5 us, with regret's events told under it, 19 of 20
 * less than 2 us, and a request 11 us of a thread or more. So a thread holds it
 * for s = 5 % of its time, of four each finds it taken by another with a
 * probability of about 3 s and waits for half a hold then; by Amdahl's law four
 * threads answer 1 / (s + (1 - s) / 4) = 3.5 times as much as one. Nothing
 * holds it for long: no request goes through a group of more than 1,024
 * workers, and the tick lets it go after 256. GET /metrics tells how long it
 * was held: pelorus_balancer_lock_hold_seconds.
 *
 * A pick never blocks on I/O, and no clock decides on it. The
 * policies behind it (balancer_priv.h, one file each) see nothing but its
 * state. (Longer than 150 lines: half of it says what each number means.)
 */
#ifndef PELORUS_BALANCER_BALANCER_H
#define PELORUS_BALANCER_BALANCER_H

#include "base/buf.h"
#include "base/clock.h"
#include "conf/conf.h"
#include "conf/limits.h"

struct balancer;

#define BALANCER_GROUP_MAX   NODE_GROUP_MAX
#define BALANCER_ADDRESS_MAX NODE_ADDRESS_MAX
#define BALANCER_COUNT_MAX   1000
#define BALANCER_ALTERNATES  2
/* When to ask again whoever does not know everything yet. */
#define BALANCER_SYNC_RETRY_MS 1000
#define BALANCER_EXCLUDE_MAX   64

/* What the coordinator knows about one worker. Copied. */
struct balancer_worker {
    char address[BALANCER_ADDRESS_MAX + 1];
    bool busy;   /* its own word */
    bool dead;   /* not UP: as if it were in no group */
    bool closed; /* cordoned, draining, restarting, fenced */
    bool degraded;
    int32_t weight;                 /* 0 .. 10,000; 0 is never picked */
    int32_t slots;                  /* 0 unknown */
    double cpu, memory, disk, pool; /* ratios; negative unknown */
    mono_ms reported;               /* when this report was seen */
    int64_t lease_ms;               /* its own ttl, by which it may report more
                                       rarely than others; 0: none */
    mono_ms since;                  /* when it came up: warm-up */
    uint64_t incarnation; /* changes when another process stands there: grants
                             and fits of the old one are dropped */
    const char *const *groups; /* without "default", which holds all */
    size_t n_groups;
};

/* Copies `conf`. `instance` (nonzero) is folded to 24 bits and goes into pick
 * ids, so that a pick names its coordinator: balancer_pick_instance_of(). */
struct balancer *balancer_new(const struct conf_balancer *conf, uint64_t seed,
                              uint64_t instance);
void balancer_free(struct balancer **b); /* NULL in it is fine */

/* Add or update; `w` and its groups are copied. A changed `reported` is a new
 * report: it settles grants. O(groups of it x log workers). Loop. */
void balancer_set(struct balancer *b, const struct balancer_worker *w,
                  mono_ms now);
/* Nothing if it is not there. Loop. */
void balancer_remove(struct balancer *b, const char *address);

/* The groups that exist although no live worker is in them: they answer
 * `group_empty` instead of `group_not_found`. Replaces the list; names are
 * copied. Loop. */
void balancer_define(struct balancer *b, const char *const *names, size_t n);

/* What one group goes by instead of the general settings: all of them, those
 * that are not its own as the general ones are. */
struct balancer_group_conf {
    char name[BALANCER_GROUP_MAX + 1];
    struct conf_balancer conf;
};

/* Other thresholds and weights, copied: `conf` for all groups but the `n` of
 * `own` (each name once; they need not exist yet, and it replaces the list of
 * before). Neither the policy nor the heartbeat interval, which are not taken
 * from any of them. O(workers). Loop. */
void balancer_configure(struct balancer *b, const struct conf_balancer *conf,
                        const struct balancer_group_conf *own, size_t n,
                        mono_ms now);

/* Go on with another policy: reports and grants stay, turns begin anew.
 * O(workers). Loop. */
void balancer_set_policy(struct balancer *b, enum conf_policy policy,
                         mono_ms now);

/* While the registry tells nothing, reports do not grow old: time stands still
 * for the balancer, and picks go on from what was last known. Loop. */
void balancer_freeze(struct balancer *b, bool frozen, mono_ms now);

/* Until it is let go nobody is picked but by requests with `stale`: not all is
 * known yet, and a worker that is closed may look open. Not held at first.
 * Loop. */
void balancer_hold(struct balancer *b, bool hold);

/* How many coordinators hand out work beside us (>= 1, ourselves counted): so
 * many tasks one grant of ours stands for. Loop. */
void balancer_set_coordinators(struct balancer *b, uint32_t n);

/* Decay of estimates; call about every 250 ms, and more often where heartbeats
 * come every few seconds. Holds the lock for at most 256 members at a time.
 * Loop. */
void balancer_tick(struct balancer *b, mono_ms now);

enum balancer_code {
    BALANCER_OK,
    BALANCER_GROUP_NOT_FOUND,
    BALANCER_GROUP_EMPTY, /* nobody in it is alive */
    BALANCER_ALL_BUSY,    /* or closed, or excluded */
    BALANCER_REPORTS_OLD, /* of whoever takes work */
    BALANCER_NOT_SYNCED,  /* see balancer_hold() */
    BALANCER_CODES,       /* how many there are */
};

struct balancer_request {
    const char *group;    /* NULL: "default" */
    uint32_t count;       /* 1 .. BALANCER_COUNT_MAX */
    bool peek;            /* do not count it */
    bool stale;           /* also before all is known */
    const char *affinity; /* NULL none */
    const char *exclude[BALANCER_EXCLUDE_MAX];
    size_t n_exclude;
    mono_ms now;
};

/* Who gave a pick (24 bits), and its number (40 bits). 0: none (peek). */
typedef uint64_t pick_id;

/* The coordinator that a pick names, and what a coordinator's `instance` is in
 * its picks. Never 0. Any thread. */
uint32_t balancer_pick_instance(pick_id pick);
uint32_t balancer_pick_instance_of(uint64_t instance);

struct balancer_pick {
    char address[BALANCER_ADDRESS_MAX + 1];
    pick_id pick;
    double score;
    uint32_t slot; /* its place among all workers, until it is removed */
};

struct balancer_answer {
    enum balancer_code code;
    bool degraded;               /* only hot workers were left */
    size_t n_picks;              /* = count when code is OK */
    struct balancer_pick *picks; /* the caller's array of `count` */
    char alternates[BALANCER_ALTERNATES][BALANCER_ADDRESS_MAX + 1];
    size_t n_alternates;    /* only for count 1 */
    int64_t retry_after_ms; /* ALL_BUSY, REPORTS_OLD: a report is due;
                               NOT_SYNCED: all may be known */
};

/* Any thread. `answer->picks` has room for `request->count`; all of `answer`
 * but that pointer is written. O(log workers) a pick. A group of at most 1,024
 * workers that was not renewed by a tick for a while, as nobody used it, is
 * renewed first; a larger one is as its last tick left it. */
void balancer_pick(struct balancer *b, const struct balancer_request *request,
                   struct balancer_answer *answer);

/* JSON array of every candidate of the group with its terms and, where it
 * cannot be picked, why not: {"address","score","est",...,"why_not":null}.
 * Any thread. */
void balancer_explain(struct balancer *b,
                      const struct balancer_request *request, struct buf *out);

/* The assignment ended / the worker would not take it. False: an unknown pick
 * (too old, of another coordinator, said twice), which is counted. Any
 * thread. */
bool balancer_done(struct balancer *b, pick_id pick);
bool balancer_refused(struct balancer *b, pick_id pick);
/* The task went elsewhere or nowhere: it counts no more. */
bool balancer_unused(struct balancer *b, pick_id pick);

/* Work known to be given to a worker by other means than a pick of ours (a
 * claim, another coordinator): `delta` > 0 counts as grants, < 0 ends some.
 * Nothing if the worker is not there. Any thread. */
void balancer_count(struct balancer *b, const char *address, int delta,
                    mono_ms now);

/* So many work items are the worker's own and not done: it runs them, whatever
 * it reports. They may have been picks of ours: those are not counted twice.
 * Nothing if the worker is not there. O(groups of it x log workers). Any
 * thread. */
void balancer_own(struct balancer *b, const char *address, uint32_t items,
                  mono_ms now);

/* Since the start. Any thread. */
struct balancer_stats {
    uint64_t picks, refused, done;
    uint64_t unknown_picks;             /* said to be over, and not known */
    uint64_t empty;                     /* requests without an answer */
    uint64_t why_empty[BALANCER_CODES]; /* by their code */
};
struct balancer_stats balancer_stats(struct balancer *b);

/* How long the lock was held, of one hold in 64: those of less than 2^(i+6)
 * nanoseconds that are in no bucket before it; the last one: of all others. */
#define BALANCER_HOLDS 20
struct balancer_holds {
    uint64_t n[BALANCER_HOLDS];
    uint64_t sum_ns;
};
struct balancer_holds balancer_holds(struct balancer *b); /* any thread */

#endif
