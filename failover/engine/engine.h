/*
 * engine.h - performs what failover_step() decides, over a real registry.
 *
 * (Longer than 150 lines: its orders and answers are its contract with people.)
 * One engine per kind of owner: it owns that kind's global lock, one
 * `struct failover` and the transactions in flight. Loop thread only.
 */
#ifndef PELORUS_FAILOVER_ENGINE_ENGINE_H
#define PELORUS_FAILOVER_ENGINE_ENGINE_H

#include "conf/conf.h"
#include "failover/failover.h"
#include "work/view.h"
#include "work/work.h"

struct engine;

#define ENGINE_TO_COLLECT "to-collect"

/* One line of what it did, for the log, /v1/events and tests. */
struct engine_event {
    enum engine_event_type {
        /* what the step tells */
        ENGINE_INTENT = FAILOVER_NEWS_INTENT,
        ENGINE_TAKEN_BACK = FAILOVER_NEWS_TAKEN_BACK,
        ENGINE_OPENED = FAILOVER_NEWS_OPENED, /* a gate: `word` admitted,
                                    readmitted, lease-over, drain-over */
        ENGINE_HELD = FAILOVER_NEWS_HELD, /* by `cause`, which is `word`, too */
        ENGINE_LIFTED = FAILOVER_NEWS_LIFTED,
        ENGINE_RESUMED = FAILOVER_NEWS_RESUMED, /* another holder's failover:
                                                   `word` its phase */
        ENGINE_DONE = FAILOVER_NEWS_DONE,
        ENGINE_STATE,  /* the step's state changed: `word` */
        ENGINE_MOVED,  /* a batch: `n` items */
        ENGINE_QUEUED, /* an order: `word` whom the lock is waited for */
        ENGINE_LOCKED, /* `word` ENGINE_TO_COLLECT: for nothing else */
        ENGINE_UNLOCKED,
        ENGINE_LOCK_LOST,
    } type;
    enum node_kind kind;
    const char *address;       /* "" if none */
    const char *failover;      /* id or "" */
    const char *word;          /* or "" */
    enum failover_cause cause; /* HELD; else NONE */
    size_t n;
    uint64_t fence; /* of the lock, if we hold it or wait for it; else 0 */
};
typedef void engine_event_f(void *arg, const struct engine_event *event);

/* What runs the hook: failover/engine/hook.h says what each promises. */
struct engine_hooks {
    void (*run)(void *arg, const struct failover_record *r, int64_t timeout_ms,
                mono_ms until,
                void (*ended)(void *call, int exit_code, const char *tail),
                void *call);
    void (*until)(void *arg, const void *call, mono_ms until);
    void (*stop)(void *arg, const void *call, void (*stopped)(void *stop_arg),
                 void *stop_arg);
    void *arg;
};

struct engine_config {
    const struct clock *clock;
    const struct conf_failover *conf;
    enum node_kind kind; /* of an alert server: for the hook alone */
    const char *lock_key;
    const char *self; /* our host:port */
    struct registry *registry;
    struct membership *membership;
    struct gates *gates;
    struct view *view;
    work_target_f *target;
    work_unused_f *unused; /* optional */
    /* Would target() find somebody now? Counts nothing. */
    bool (*takes)(void *arg, enum node_kind kind, const char *group);
    void *target_arg; /* of all three */
    engine_event_f *event;
    void *event_arg;
    int64_t work_keep_ms, forget_after_ms, collect_interval_ms;
    uint64_t seed;
    const struct engine_hooks *hooks; /* copied; NULL: none is configured */
};

/* Copies the config, its texts and `hooks`; all else that it points to is
 * borrowed until engine_free(). */
struct engine *engine_new(const struct engine_config *config);
/* Are processes of this kind failed over for the hook alone? */
bool engine_hooked(const struct engine_config *config);
/* Releases the lock; what was in flight is left to the next coordinator. */
void engine_free(struct engine **e);
/* The same after memory_kill(): its registry will never answer again. */
void engine_abandon(struct engine **e);

/* At least every 100 ms, and after each batch of membership events. */
void engine_tick(struct engine *e);

/* An address may need the engine now (a node went DOWN, was REPLACED, a gate
 * changed): it looks for itself. */
void engine_look(struct engine *e, const char *address);

/* A process that was registered is gone: the node is DOWN, or REPLACED by
 * another. Told before engine_look(). */
void engine_gone(struct engine *e, const char *address,
                 const struct process *process);

/* What `conf` says of the brake has changed; all else is read at its use. */
void engine_reload(struct engine *e);

/* The registry's connection changed. */
void engine_connection(struct engine *e, enum registry_state state);

/* Our rank for trying first: how many of the live coordinators come before us
 * by rendezvous for this lock (0: we). 500 ms per rank. */
void engine_set_rank(struct engine *e, uint32_t rank);

/* Is our own coordinator entry in the registry? False holds new failovers as
 * `own-entry`. */
void engine_set_own_entry(struct engine *e, bool exists);

/*
 * A person's failover. Where the lock does not come within a second the order
 * becomes a record (`queued`), which any coordinator carries out when it has
 * the lock, decided anew then: it ends as aborted, with why, if the node is
 * alive by then. The same order while it waits is the same record. `dry_run`
 * plans only, and tells what would move if the process were fenced now, alive
 * or not. The ETag (with its quotes) is over the gate, the items, their epochs
 * and what happens to each; not over the targets, which follow the load of the
 * moment when it is applied.
 */
struct engine_order {
    const char *address;
    bool dry_run, force;
    const char *who, *reason;
    const char *if_match; /* apply: the plan's ETag, or NULL */
};
struct engine_plan_item {
    char id[WORK_ID_MAX + 1];
    char target[NODE_ADDRESS_MAX + 1]; /* "": it waits, is held or dropped */
    const char *action;                /* move, wait, hold, drop; static */
};
struct engine_reply {
    enum problem code; /* of FAILOVER_ANSWERS; NONE: accepted */
    struct err err;
    const char *failover; /* id of the record, accepted */
    bool held;            /* accepted, but paused or braked: */
    const char *cause;    /* by which word; else NULL */
    bool queued;          /* accepted; its record waits for the lock */
    bool waits;           /* `wait` says for whom */
    struct registry_lock_wait wait;
    const struct engine_plan_item *plan;
    size_t n_plan;
    const char *etag;
};
/* Exactly once, within 10 s; before engine_order() returns where that is
 * refused at once. */
typedef void engine_reply_f(void *arg, const struct engine_reply *reply);
void engine_order(struct engine *e, const struct engine_order *order,
                  engine_reply_f *done, void *arg);

/*
 * A person's: the gate of an address that nobody needs goes now (forget.h).
 * `code`: NONE; NOT_FOUND (none stands), ALIVE, RUNNING, GATE_CONFLICT,
 * UNREADABLE; BUSY, OUTCOME_UNKNOWN or CANCELLED. Exactly once, within 10 s;
 * before this returns where that is refused at once.
 */
struct engine_forget {
    const char *address, *who, *reason;
};
typedef void engine_forgot_f(void *arg, enum problem code,
                             const struct err *err);
void engine_forget(struct engine *e, const struct engine_forget *what,
                   engine_forgot_f *done, void *arg);

/* Who holds the lock as far as we know: we, and with which number. */
bool engine_holds_lock(const struct engine *e, uint64_t *fence);
/* Whom it waits for with the lock, and since when: across its tries, which
 * give up and begin again. False: it does not wait (now). */
bool engine_waits_for(const struct engine *e, struct registry_lock_wait *out);
const char *engine_state_name(const struct engine *e);
/* How many addresses it would do something for, if it could. Walks over those
 * that are queued. */
size_t engine_pending(struct engine *e);

/* What holds failovers back: CAUSE_MASS, SESSION, OWN_ENTRY, PAUSED; or NONE.
 */
enum failover_cause engine_brake(const struct engine *e);

#endif
