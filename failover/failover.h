/*
 * failover.h - the decisions of a failover, as a pure step.
 *
 *     failover_step(f, event, effects)
 *
 * takes one timestamped event and fills in the effects to perform. It does no
 * I/O, reads no clock, takes no lock and allocates nothing; engine/ performs.
 * Longer than 150 lines for the diagram, which is the contract.
 *
 *                 nothing wanted
 *        +-----> IDLE <----------------------------------------+
 *        |         | an address wants attention, rank's delay  |
 *        |         v                                           |
 *        |      WANT_LOCK --(refused, not wanted any more)-----+
 *        |         | granted                                   |
 *        |         v                                           |
 *   +----|----> HAVE_LOCK --(nothing left, or 10 s: RELEASE)---+
 *   |    |         | next address          \__ waiting work: LISTING
 *   |    |         v                        \_ finished work: COLLECTING
 *   |    |      READING  gate, record, all registrations, afresh
 *   |    |         |  |  \__ braked or paused: HOLDING (a record) -------> *
 *   |    |         |  |  \__ a lease is over, a fenced gate has a new
 *   |    |         |  |      process, or may be readmitted: OPENING -----> *
 *   |    |         |  |  \__ a held record, or an order that was queued, has
 *   |    |         |  |      become needless: DROPPING ----------------> *
 *   |    |         |  \_____ the gate's process stands, or `moving` is to be
 *   |    |         |         resumed: LISTING; `intent`: VERIFY; likewise
 *   |    |         |         before INTENT if the past is full
 *   |    |         |  (an order with If-Match: PLANNING, then on)
 *   |    |         v
 *   |    |      INTENT   one txn: lock, gate, record `intent`
 *   |    |         |
 *   |    |         v
 *   |    |      VERIFY   gate, record, registrations, read again
 *   |    |         |  \__ the same process stands: TAKE_BACK ------------> *
 *   |    |         v
 *   |    |      SET_MOVING   one txn: lock, record `moving`
 *   |    |         |
 *   |    |         v
 *   |    |      HOOK, HOOK_SAVING   only if one is configured; without half of
 *   |    |         |                a hold's 10 s left, in the next hold
 *   |    |         |
 *   |    |         v
 *   |    |      LISTING  markers of the past, and their records: page by page
 *   |    |         |  ^
 *   |    |         v  |
 *   |    |      MOVING   batches, several in flight, one check-lock each
 *   |    |         |  \__ the lock was held for 10 s: SAVING, RELEASE
 *   |    |         v  a whole pass found no marker of the past
 *   |    |      COUNTING  only if another holder moved some of it: page by page
 *   |    |         |
 *   |    |         v
 *   |    |      CLOSING  one txn: lock, record `done`, gate without heir
 *   |    |         |
 *   +----|---------+ <- *      (a new process waits: READING again)
 *        |
 *        +-- the session or the lock is lost, in any state: RELEASE. Observe,
 *            act no more; another holder, or we again, resumes from the record.
 *
 * LISTING and COUNTING stop after a page when the lock was held for 10 s, and
 * go on from there in the next hold. A hook is ended when its time, or the
 * lock's proof, is over (hook.h), and its lock is let go when nothing of it
 * runs.
 *
 * A write that met a conflict, whose outcome is unknown or whose reads grew
 * old goes back to READING: it is decided anew, never repeated.
 *
 * A process that never had work of ours has no gate. With a hook, or by a
 * person's order, it is failed over as well: INTENT makes the gate, and by that
 * once. One that came and went at an address whose gate names another joins the
 * past of that gate (cause `departed`). Who was seen by no coordinator that
 * still runs, and has no unfinished record, is not known.
 *
 * Rules that look fussy each close a hole that the model (tests/model) found.
 */
#ifndef PELORUS_FAILOVER_FAILOVER_H
#define PELORUS_FAILOVER_FAILOVER_H

#include "cluster/gate.h"
#include "failover/names.h"
#include "work/record.h"

/* X(name, word of the log) */
#define FAILOVER_STATES(X)                                                     \
    X(FAILOVER_IDLE, "idle")                                                   \
    X(FAILOVER_WANT_LOCK, "want-lock")                                         \
    X(FAILOVER_HAVE_LOCK, "have-lock")                                         \
    X(FAILOVER_READING, "reading")                                             \
    X(FAILOVER_PLANNING, "planning")                                           \
    X(FAILOVER_HOLDING, "holding")                                             \
    X(FAILOVER_OPENING, "opening")                                             \
    X(FAILOVER_DROPPING, "dropping")                                           \
    X(FAILOVER_INTENTING, "intent")                                            \
    X(FAILOVER_VERIFY, "verify")                                               \
    X(FAILOVER_TAKE_BACK, "take-back")                                         \
    X(FAILOVER_SET_MOVING, "set-moving")                                       \
    X(FAILOVER_HOOK, "hook")                                                   \
    X(FAILOVER_HOOK_SAVING, "hook-saving")                                     \
    X(FAILOVER_LISTING, "listing")                                             \
    X(FAILOVER_MOVING_BATCHES, "moving")                                       \
    X(FAILOVER_SAVING, "saving")                                               \
    X(FAILOVER_COUNTING, "counting")                                           \
    X(FAILOVER_CLOSING, "closing")                                             \
    X(FAILOVER_COLLECTING, "collecting")
enum failover_state { FAILOVER_STATES(FAILOVER_ENUM_NAME) };
const char *failover_state_name(enum failover_state s);

/* What to do next under the lock. */
struct failover_task {
    enum failover_task_type {
        FAILOVER_TASK_ADDRESS, /* look at an address */
        FAILOVER_TASK_WAITING, /* assign waiting work, if somebody takes it */
        FAILOVER_TASK_COLLECT, /* remove finished work that was kept enough */
    } type;
    char address[NODE_ADDRESS_MAX + 1]; /* WORK_NOBODY for waiting work */
    bool ordered; /* by a person: who, reason; answered with ANSWER */
    bool force;   /* even if the process is registered */
    bool matched; /* with If-Match: PLANNING compares first */
    char who[64], reason[256];
};

/* What a fresh read of one address found. Registrations are read after the
 * gate, so that a process admitted in between is not taken for absent. */
#define FAILOVER_PROCESSES_MAX 8
struct failover_seen {
    struct gate gate;
    struct process registered[FAILOVER_PROCESSES_MAX]; /* registered, distinct,
                                    the newest registration first */
    size_t n_registered;
    bool unknown; /* a registration whose identity cannot be read */
    bool owns;    /* the gate says `left`: markers stand at the address */
    /* One that was seen registered here, is gone, and is neither the gate's nor
     * of its past: work of its own may be elsewhere. `hooked`: it is failed
     * over for that, though nobody ordered it */
    struct process gone;
    bool hooked;
    bool down;    /* absence beyond the grace, and it may be believed */
    bool yielded; /* another process is the address's by now, whichever of the
                     two began earlier: the gate's own is gone */
    bool over;    /* the drain's or lease's time is over by our clock */
    const struct failover_record *record; /* unfinished or held, or NULL */
    bool paused; /* by the settings, read with the rest */
    enum failover_cause
        doubt;               /* SESSION, OWN_ENTRY: about ourselves; or NONE */
    bool mass;               /* the brake: too many are missing, */
    uint32_t missing, known; /* so many of so many */
    bool unsure;             /* it may soon be down: wait and see */
    wall_ms last_heartbeat;
    uint64_t revision, session;
    char new_id[FAILOVER_ID_MAX + 1]; /* for a record, if one is written */
};

/* What one listing's moves came to. */
struct failover_counts {
    uint32_t moved, held, dropped, waiting;
    uint32_t stuck; /* tried, and neither moved nor gone: the next pass */
    struct failover_target targets[FAILOVER_TARGETS_MAX];
    size_t n_targets;
    uint64_t digest;
};

struct failover_event {
    enum failover_event_type {
        FAILOVER_TICK,      /* `wanted`: is there anything to do? */
        FAILOVER_LOCKED,    /* `fence` */
        FAILOVER_REFUSED,   /* the lock: `code` */
        FAILOVER_LOST,      /* session, connection or lock: `code` */
        FAILOVER_NEXT,      /* `task`, NULL: nothing is left */
        FAILOVER_READ,      /* `code`, `seen` */
        FAILOVER_PLANNED,   /* `code`, `same` */
        FAILOVER_WRITTEN,   /* `code`; ERR_TIMEOUT: its reads grew old, it was
                               not sent. After CLOSING `wanted`: there is more
                               to do for the address, as far as is known */
        FAILOVER_HOOKED,    /* `hook_exit`, `hook_tail` */
        FAILOVER_LISTED,    /* `code`, `n` that may move, `more` pages */
        FAILOVER_MOVED,     /* `code`, `counts` (also with a code) */
        FAILOVER_COUNTED,   /* `code`, `counts`: of the whole failover, or so
                               far: `more` */
        FAILOVER_COLLECTED, /* `code` */
    } type;
    mono_ms now;
    wall_ms wall;
    enum err_code code;
    bool wanted;
    uint64_t fence;
    const struct failover_task *task;
    const struct failover_seen *seen;
    bool same; /* the plan is still the one that was approved */
    size_t n;
    bool more;
    const struct failover_counts *counts;
    int hook_exit;
    const char *hook_tail;
};

struct failover_effect {
    enum failover_effect_type {
        FAILOVER_DO_LOCK,
        FAILOVER_DO_UNLOCK, /* also stops waiting; forget what is in flight */
        FAILOVER_DO_NEXT,
        FAILOVER_DO_READ,  /* the task's address. Not `afresh`: the last read
                              will do, with the record as it was written since
                              in this hold */
        FAILOVER_DO_PLAN,  /* the task's address, for If-Match */
        FAILOVER_DO_WRITE, /* one txn: lock, `gate`, `record` */
        FAILOVER_DO_HOOK,  /* for failover_record() */
        FAILOVER_DO_LIST,  /* `afresh`: from the first page */
        FAILOVER_DO_MOVE,  /* what was listed */
        FAILOVER_DO_COUNT, /* what `failover` has moved, by the items: go on
                              with the next page */
        FAILOVER_DO_COLLECT,
        FAILOVER_DO_ANSWER, /* the order: `answer` */
        FAILOVER_DO_TELL,   /* `news`, `word` */
        FAILOVER_DO_SETTLE, /* the task is over for now: `outcome` */
    } type;
    /* Both borrowed until the next step. At gate->version and record->version,
     * 0: it must be absent. NULL: not written. */
    const struct gate *gate;
    const struct failover_record *record;
    bool afresh;
    const char *word; /* static, or borrowed until the next step */
    enum failover_answer answer;
    enum failover_outcome outcome;
    const char *failover; /* TELL, ANSWER, COUNT: its id, or "" */
    const char *held; /* ANSWER: accepted, but held by this; borrowed like the
                         others. NULL: it is not */
    size_t n;         /* TELL: items moved so far */
    int64_t time_ms;  /* HOOK: then it is ended */
    bool clean; /* SETTLE: this pass of listing has found nothing so far, and
                   may go on in another hold */
    enum failover_news {
        FAILOVER_NEWS_INTENT,
        FAILOVER_NEWS_TAKEN_BACK,
        FAILOVER_NEWS_OPENED, /* `word`: admitted, readmitted, lease-over,
                                 drain-over */
        FAILOVER_NEWS_HELD,
        FAILOVER_NEWS_LIFTED,
        FAILOVER_NEWS_RESUMED,
        FAILOVER_NEWS_DONE,
    } news;
};
#define FAILOVER_EFFECTS_MAX 8
struct failover_effects {
    struct failover_effect list[FAILOVER_EFFECTS_MAX];
    size_t n;
};

struct failover_config {
    enum node_kind kind;
    char self[NODE_ADDRESS_MAX + 1]; /* of this coordinator */
    int64_t hook_ms; /* how long one may take; 0: none is configured */
    bool readmit;
    int64_t hold_ms_max; /* of the lock at a time: 10,000 */
    int64_t rank_ms;     /* per rank: 500 */
    int64_t retry_ms;    /* after a failure: 500 */
};

struct failover;
/* One thread at a time; none of these fails or blocks. Copies `config`. */
struct failover *failover_new(const struct failover_config *config);
void failover_free(struct failover **f);

/* Borrows `event` for the call, overwrites `effects`; what these point to is
 * borrowed until the next step. event->now never goes back. An event that its
 * state does not await is a programmer's error. */
void failover_step(struct failover *f, const struct failover_event *event,
                   struct failover_effects *effects);

/* How many others try first: each adds rank_ms to the wait for the lock. */
void failover_set_rank(struct failover *f, uint32_t rank);
enum failover_state failover_state(const struct failover *f);
/* Of the task under way; NULL without one. */
const struct failover_task *failover_task(const struct failover *f);
/* Of that task; NULL without one. All three are borrowed until the next step.
 */
const struct failover_record *failover_record(const struct failover *f);
/* The gate as read for the task under way: which markers are of the past. */
const struct gate *failover_gate(const struct failover *f);
/* What the failover that was told as held last is held by. */
enum failover_cause failover_holding(const struct failover *f);

/*
 * What should happen to an address, from what was seen of it: the heart of
 * READING. The engine also asks it about what it merely remembers, before it
 * troubles the lock. `cause` is set to NONE where no record says one.
 */
enum failover_verdict {
    FAILOVER_NOTHING,
    FAILOVER_ALIVE,      /* an order, but its process is registered */
    FAILOVER_UNREADABLE, /* a registration's identity: wait for it */
    FAILOVER_TO_INTENT,
    FAILOVER_TO_HOLD,      /* `cause`: mass, session, own-entry, paused */
    FAILOVER_TO_VERIFY,    /* resume a record `intent` */
    FAILOVER_TO_RESUME,    /* resume a record `moving` */
    FAILOVER_TO_ADMIT,     /* a new process at a fenced gate */
    FAILOVER_TO_LEASE_END, /* a restart lease that nobody consumed, or a drain
                              whose process has gone since */
    FAILOVER_TO_LIST,      /* markers of the past may stand */
    FAILOVER_TO_DROP,      /* a held or queued record that is needless now */
};
enum failover_verdict failover_decide(const struct failover_seen *seen,
                                      const struct failover_task *task,
                                      enum failover_cause *cause);
/* Whom a failover that begins is about: the gate's process, or `gone`; without
 * a gate and by force whoever stands there. */
const struct process *failover_subject(const struct failover_seen *seen,
                                       const struct failover_task *task);
/* The gate as INTENT leaves it: `old` is of the past, and it is open to
 * `fresh`, or fenced where that is NULL. `over`: its drain's time. Neither may
 * lie in the gate. */
void failover_fence(struct gate *gate, const struct process *old,
                    const struct process *fresh, bool over);
/* Is it registered there? */
bool failover_is_registered(const struct failover_seen *seen,
                            const struct process *p);
/* The new process at an address: registered, known, not the gate's and not of
 * the past. NULL if there is none. */
const struct process *failover_fresh(const struct failover_seen *seen);

#endif
