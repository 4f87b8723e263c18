/*
 * engine_priv.h - the parts of the engine, each in a file of its own:
 *
 *   engine.c   the engine's life
 *   effects.c  events and effects around the step, and how each is performed
 *   work_queue.c  which address next, reconcile
 *   sweep.c    who is missing, for the brake
 *   order.c    people's failovers, also those that wait for the lock as records
 *   dry_run.c  what one would move
 *   lock.c     the lock, and the hook that runs under it
 *   move.c     what becomes of each item, targets' gates, txns in flight
 *   pass.c     one page of markers and their records (struct move_pass)
 *   batch.c    a txn of moves: how many fit, and whose each operation is
 *   txn.c      any txn, as it is put together
 *   collect.c  what was kept long enough goes, forget.c: gates nobody needs
 *   count.c    what a failover moved, after the fact
 *   first.c    a gate for whom the hook is for
 *   waiting.c  is there somebody for the work that waits
 *   read.c     a fresh read of one address (struct reader)
 *   gone.c     who is gone without a gate that says so
 *
 * Each uses only those below it.
 *
 * Every call of the registry names the part it belongs to: letting a part go
 * is registry_forget() of it.
 */
#ifndef PELORUS_FAILOVER_ENGINE_ENGINE_PRIV_H
#define PELORUS_FAILOVER_ENGINE_ENGINE_PRIV_H

#include "base/map/slab.h"
#include "base/rand.h"
#include "cluster/renewals/taken.h"
#include "failover/brake.h"
#include "failover/engine/collect.h"
#include "failover/engine/engine.h"
#include "failover/engine/forget.h"
#include "failover/engine/hook.h"
#include "failover/failover.h"
#include "failover/plan.h"

#include <uthash.h>

#define ENGINE_PAGE        1000  /* items listed at a time */
#define ENGINE_READS_MAX   256   /* records read at a time */
#define ENGINE_BATCHES     4     /* txns of moves in flight */
#define ENGINE_TRIES       6     /* for one item of one page */
#define ENGINE_TARGETS     2048  /* distinct targets of one pass */
#define ENGINE_PLAN_MAX    10000 /* items that a dry run tells */
#define ENGINE_ORDERS_MAX  64
#define ENGINE_ORDER_MS    10000
#define ENGINE_PATIENCE_MS 1000 /* of an order for the lock */

/* --- read.c -------------------------------------------------------------- */

typedef void reader_done_f(void *arg, enum err_code code);
struct reader {
    struct engine *e;
    reader_done_f *done;
    void *arg;
    char address[NODE_ADDRESS_MAX + 1];
    size_t outstanding;
    struct err err; /* the first failure */
    mono_ms at;     /* when it began, and in which session */
    uint64_t session;
    struct failover_seen seen;
    struct failover_record record;
    /* The gate as our view has it, on which the rest was asked for together
     * with it; `sure`: the rest was asked for after it was read */
    struct gate guess;
    char named[FAILOVER_ID_MAX + 1]; /* the failover that it names, or that
                                        we take it to */
    bool guess_left, sure;
    bool any_order;                 /* the gate does not say who is absent */
    char own[FAILOVER_ID_MAX + 1];  /* the one under way, which no event may
                                       have told the view of yet */
    char hint[FAILOVER_ID_MAX + 1]; /* an unfinished one, by the view */
    struct settings settings;
    /* whom anything was taken from, as INTENT puts it again; 0: absent */
    struct taken taken;
    uint64_t taken_version;
};
/* Copies `address`. done(arg, code) once, from a later turn, unless the
 * reader is forgotten; code is that of the first failure, ERR_INVALID
 * for what nobody can read. `seen` is good until the next start. */
void engine_reader_start(struct reader *r, struct engine *e,
                         const char *address, reader_done_f *done, void *arg);
/* It is over: nobody is told of what was asked for. Fine if none began. */
void engine_reader_forget(struct reader *r);
/* What an address looks like by our caches, judged as a fresh read is. False:
 * nothing is known of it. `record` gets a copy if there is one. */
bool engine_remember(struct engine *e, const char *address,
                     struct failover_seen *seen);
/* Reads of `at` in `session` may still be written upon. */
bool engine_is_fresh(const struct engine *e, mono_ms at, uint64_t session);
/* SESSION, OWN_ENTRY: what we see may be about ourselves; or NONE. */
enum failover_cause engine_doubt(const struct engine *e);

/* --- pass.c, move.c ------------------------------------------------------ */

struct target {
    UT_hash_handle hh;
    struct move_pass *pass; /* whose it is */
    enum target_state {
        TARGET_UNREAD,
        TARGET_BUSY,   /* being read or created */
        TARGET_OPEN,   /* takes work, at gate.version */
        TARGET_CLOSED, /* does not: its items find another */
    } state;
    struct gate gate;
    mono_ms read_at;
    unsigned tries;
    char address[NODE_ADDRESS_MAX + 1];
};

struct item {
    struct move_pass *pass; /* whose it is */
    enum item_state {
        ITEM_UNREAD,
        ITEM_READING,
        ITEM_READ,    /* to be planned */
        ITEM_PLANNED, /* to be sent, once its target is open */
        ITEM_SENT,
        ITEM_SETTLED, /* moved, gone, or left to the next pass */
    } state;
    struct marker marker; /* as listed */
    struct work_item work;
    bool loaded; /* work holds a payload to be freed */
    bool doubt;  /* a txn of ours may have moved it */
    mono_ms read_at;
    unsigned tries;
    enum plan_action action;
    const char *cause;
    struct target *target;    /* NULL: none takes it, or none is needed */
    struct work_target given; /* counted until the item has it, or another */
};

struct batch;
typedef void pass_done_f(void *arg, enum err_code code);

/* One page of an owner's markers, and what becomes of its items. */
struct move_pass {
    struct engine *e;
    char address[NODE_ADDRESS_MAX + 1]; /* WORK_NOBODY: waiting items */
    struct gate gate;                   /* which markers are of the past */
    const struct registry_lock *lock;
    uint64_t session;
    uint64_t floor; /* of the epochs that are given, as read in this hold */
    uint64_t floor_hold;
    char failover[FAILOVER_ID_MAX + 1];
    enum failover_cause cause;
    pass_done_f *done;
    void *arg;
    struct item *items;
    size_t n_items;
    size_t n_listed; /* of these, that may move */
    char *next;      /* of the listing; NULL after the last page */
    size_t reading;  /* records being read, and the floor */
    bool paging;     /* the page of markers is being read */
    size_t at;       /* the next item to read */
    struct err err;  /* the first failure */
    /* moving */
    bool moving;
    struct target *targets;
    size_t n_busy;         /* targets being read or created */
    struct batch *batches; /* in flight, `n_batches` of them */
    size_t n_batches;
    size_t bytes_max; /* of a batch; shrinks when one was too large */
    size_t ops_max;
    struct failover_counts counts;
    uint64_t total; /* moved since the engine began: for failpoints */
};
/* Loop thread, like all below. A pass that is all zero but for `e` has not
 * begun. reset() forgets what is under way and frees what it holds, not the
 * struct. */
void engine_pass_reset(struct move_pass *r);
/* The next page (`afresh`: the first). done(ERR_OK) with the items that may
 * move, read. */
void engine_pass_list(struct move_pass *r, bool afresh, pass_done_f *done,
                      void *arg);
/* Move what was listed; done() once every item is settled. */
void engine_pass_move(struct move_pass *r, const struct registry_lock *lock,
                      pass_done_f *done, void *arg);
/* The first failure stays; nothing more is begun after it. Copies `err`. */
void engine_pass_fail(struct move_pass *r, const struct err *err);
/* Read the record of item `i`; then(its item, reply) has it. */
void engine_pass_item_read(struct move_pass *r, size_t i,
                           registry_reply_f *then);
/* The item as the reply has it; false: it is not there, or cannot be read. */
bool engine_pass_item_load(struct move_pass *r, struct item *it,
                           const struct registry_reply *reply);
/* Is it still where it was listed, and of the past? */
bool engine_pass_item_moves(const struct move_pass *r, const struct item *it);
/* Fills in `rules`, which borrows the gate of the pass and the failover's id.
 */
void engine_pass_rules(const struct move_pass *r, struct plan_rules *rules);
/* Frees it; answers about it come to nobody. */
void engine_pass_forget_target(struct move_pass *r, struct target *t);
/* Its target does not get the item: it counts no more. */
void engine_pass_give_back(struct move_pass *r, struct item *it);

/* The answer to a get of EPOCH_FLOOR_KEY; 0 and version 0 where none stands.
 * ERR_INVALID: nobody can read it; any other code is the reply's. */
int engine_floor_take(const struct registry_reply *reply, uint64_t *floor,
                      uint64_t *version, struct err *err) MUST_CHECK;

/* --- txn.c --------------------------------------------------------------- */

struct txn {
    struct registry_op *ops;
    char (*keys)[REGISTRY_KEY_MAX + 1]; /* one per op */
    char **values;                      /* one per op, or NULL; ours */
    size_t n, cap;                      /* `n` stays known after sending */
};
/* Room for `cap` operations, at least one. */
void engine_txn_init(struct txn *t, size_t cap);
/* Frees it unsent; fine after sending, or if it is all zero. */
void engine_txn_close(struct txn *t);
void engine_txn_check_lock(struct txn *t, const struct registry_lock *lock);
/* The next operation, at that version; of a PUT 0: it must be absent. Returns
 * where its key is to be written, REGISTRY_KEY_MAX + 1 bytes. */
char *engine_txn_at(struct txn *t, enum registry_op_type type,
                    uint64_t version);
/* The same; takes the memory of `value`, which needs no closing then. */
char *engine_txn_put(struct txn *t, uint64_t version, struct buf *value);
/* The floor of the epochs, as engine_floor_take() found its version. */
void engine_txn_floor(struct txn *t, uint64_t version, uint64_t floor);
/* done(arg, reply) as of registry_txn(); frees what it had. */
void engine_txn_send(struct txn *t, struct registry *r, registry_reply_f *done,
                     void *arg);

/* --- batch.c: a txn of moves, as it is put together ---------------------- */

struct batch {
    struct batch *prev, *next;
    struct move_pass *pass;
    struct txn txn;
    /* whose an op is: an item, a target, or nobody's (the lock) */
    struct item **op_item;
    struct target **op_target;
    size_t bytes;
    struct item **items;
    size_t n_items;
};
/* Room for at most `n_items` and for what the registry takes in one txn. */
struct batch *engine_batch_new(struct move_pass *r, size_t n_items);
void engine_batch_free(struct batch *b);
/* False: no room for it in this batch. */
bool engine_batch_add(struct batch *b, struct item *it,
                      const struct plan_rules *rules);
/* The item as it shall stand; shares the payload of it->work. */
void engine_batch_project(const struct item *it, const struct plan_rules *rules,
                          struct work_item *after);

/* --- count.c ------------------------------------------------------------- */

/* What a failover moved, by the histories of all items: for a record that
 * another holder left behind. */
struct counter {
    char failover[FAILOVER_ID_MAX + 1];
    char *next; /* where the next page begins; NULL: all are counted */
    pass_done_f *done;
    struct failover_counts counts;
};
/* The next page of that failover's count, the first if none was begun; then
 * done(e, code) from a later turn. */
void engine_counter_page(struct engine *e, const char *failover,
                         pass_done_f *done);
void engine_counter_close(struct counter *c);

/* --- order.c, dry_run.c -------------------------------------------------- */

struct order {
    struct order *prev, *next;
    struct engine *e;
    struct failover_task task;
    char *if_match;
    engine_reply_f *done;
    void *arg;
    mono_ms began, deadline;
    bool taken; /* by the step, or it is being queued */
    /* queueing: its record is being written */
    bool queueing;
    struct reader reader;
    struct failover_record record;
    unsigned number; /* of its id, as often as one was taken */
};

struct dry_run;
/* `d`: to be freed by whoever started it. */
typedef void dry_run_done_f(void *arg, struct dry_run *d);
struct dry_run {
    struct dry_run *prev, *next;
    struct engine *e;
    dry_run_done_f *done;
    void *arg;
    struct reader reader;
    struct move_pass pass;
    struct err err;
    struct engine_plan_item *items;
    size_t n_items, cap;
    size_t n_all; /* also those beyond ENGINE_PLAN_MAX */
    uint64_t digest;
    char etag[PLAN_ETAG_SIZE];
    struct plan_candidate *candidates;
    size_t n_candidates;
};
/* Copies `address`; done() from a later turn, with `err` or the plan. */
struct dry_run *engine_dry_run_start(struct engine *e, const char *address,
                                     dry_run_done_f *done, void *arg);
void engine_dry_run_free(struct dry_run **s);
/* Is one being written as a record, or just was? */
bool engine_orders_queueing(const struct engine *e);
/* Queues those whose patience is over, answers those whose time is. */
void engine_orders_tick(struct engine *e);
/* Answers all of them as cancelled. */
void engine_orders_close(struct engine *e);
/* The oldest that nobody has taken; NULL: none. */
struct order *engine_orders_next(struct engine *e);
/* Tells whoever ordered, then frees `o`. `plan` (or NULL) is borrowed. */
void engine_order_answer(struct engine *e, struct order *o,
                         enum failover_answer answer, const char *failover,
                         const char *held, const struct dry_run *plan);

/* --- waiting.c ----------------------------------------------------------- */

struct waiting_item;
struct waiting_group;
struct waiting {
    struct waiting_item *items;   /* by id */
    struct waiting_group *groups; /* of them, each once */
    uint64_t index;               /* of the view, as looked at */
    uint64_t looks;               /* so many, ever */
    size_t reading;
    bool unknown; /* some groups are not known yet */
    mono_ms looked;
    mono_ms not_before;
    bool in_vain; /* the last attempt was, at `tried`, because of `why` */
    mono_ms tried;
    uint64_t why;
};
/* Waiting work of a group of which somebody takes work, by our caches. */
bool engine_waiting_wanted(struct engine *e);
/* An attempt under the lock is over. */
void engine_waiting_settled(struct engine *e, bool in_vain);
void engine_waiting_close(struct engine *e);

/* --- gone.c -------------------------------------------------------------- */

struct gone;
/* Fills in seen->gone and seen->hooked; the rest of `seen` is there. */
void engine_gone_find(struct engine *e, const char *address,
                      struct failover_seen *seen);
/* engine_look() for each address of which a process is noted. */
void engine_gone_look(struct engine *e);
void engine_gone_close(struct engine *e);

/* --- first.c ------------------------------------------------------------- */

struct first {
    size_t outstanding;
    mono_ms not_before;
    enum err_code refused; /* told last */
};
/* Puts the gates that are missing, some at a time. */
void engine_first_tick(struct engine *e);

/* --- sweep.c ------------------------------------------------------------- */

struct orphan;
/* Sweeps when that is due, and says what holds failovers back; at once. */
void engine_sweep(struct engine *e);
void engine_sweep_now(struct engine *e);
/* Something of this address changed. */
void engine_sweep_look(struct engine *e, const char *address);
/* Goes through all owners: what records say of the brake, and who is noted. */
void engine_sweep_reconcile(struct engine *e);
void engine_sweep_close(struct engine *e);

/* --- work_queue.c -------------------------------------------------------- */

struct queue_entry {
    UT_hash_handle hh;
    mono_ms not_before; /* just visited: our caches lag behind */
    unsigned in_vain;   /* visits in a row without a step forward, */
    uint64_t why;       /* while it looked like this */
    uint64_t hold;      /* the lock hold in which it was visited */
    char address[NODE_ADDRESS_MAX + 1];
};
/* Looks at who is missing, and at all owners when that is due. */
void engine_queue_tick(struct engine *e);
/* Is there anything to take the lock for? */
bool engine_queue_wanted(struct engine *e);
/* Of a lock just granted: is there nothing to do with it but to collect? */
bool engine_queue_collects(struct engine *e);
/* The next task of this hold; false: nothing is left. */
bool engine_queue_next(struct engine *e, struct failover_task *task);
/* Its past is moved, and the record says so: is there more to do for it, by
 * what is remembered and by the gate as it stands now? */
bool engine_queue_wants_more(struct engine *e, const char *address,
                             const struct gate *gate);
/* Its visit is over: when it may be visited again follows from how. */
void engine_queue_settled(struct engine *e, const struct failover_task *task,
                          enum failover_outcome outcome);
void engine_queue_close(struct engine *e);

/* --- engine.c ------------------------------------------------------------ */

struct engine {
    struct engine_config c;
    struct engine_hooks hooks; /* what c.hooks points to */
    char *lock_key, *self;
    char owner[NODE_ADDRESS_MAX + 3]; /* our name at the lock: "m:<self>" */
    struct rand rand;
    struct failover *f;
    enum failover_state told; /* the last state told */
    struct registry_lock *lock;
    mono_ms lock_since;    /* it is wanted and was not had yet; 0: it is not */
    mono_ms lock_left;     /* when it was not asked for any more */
    struct hook_run *hook; /* the one that runs */
    hook_ended_f *hook_done;
    /* One that is not wanted any more is being ended; until then its lock is
     * kept, and no other one asked for. */
    struct hook_run *hook_stops;
    struct registry_lock *hook_lock;
    bool connected;
    bool own_entry;
    bool feeding; /* inside the step: events queue up */
    struct failover_event events[4];
    size_t n_events;
    struct reader reader;
    struct move_pass pass;
    struct {
        char address[NODE_ADDRESS_MAX + 1];
        struct gate gate;
        char *next;
    } cut_off; /* a pass of listing that a hold's end cut off, clean so far */
    struct counter counter;
    struct collect *collect;
    struct forgetting *forgetting;
    struct dry_run *dry_runs;
    struct dry_run *matching; /* the one that PLANNING waits for */
    struct order *orders;
    struct order *current; /* the order under way */
    char queued_match[40]; /* of one that waited: If-Match */
    mono_ms queued_until;  /* our view may not know of it before */
    size_t n_orders;
    bool hooked;       /* our kind is failed over for the hook alone */
    struct gone *gone; /* by address */
    struct first first;
    struct brake *brake;
    struct orphan *orphans; /* who may own work without a node, by address */
    mono_ms swept_at;
    enum failover_cause braked; /* NONE: nothing holds failovers back */
    size_t mass_recorded;       /* a record of our kind says so, of so many */
    struct queue_entry *work_queue;
    struct slab entries; /* of it: at a start there is one for each node */
    uint64_t hold;       /* number of this lock hold */
    mono_ms scanned_at;  /* -1: never */
    struct waiting waiting;
    uint64_t collect_hold;     /* the lock hold that collects */
    bool forgets;              /* what it collects is gates */
    bool to_collect;           /* the lock was taken for nothing else */
    uint64_t used_hold;        /* the lock hold in which more was written */
    struct failover_task task; /* the one given to the step */
};
/* effects.c */
struct failover_event engine_event_of(struct engine *e,
                                      enum failover_event_type type,
                                      enum err_code code);
void engine_feed(struct engine *e, struct failover_event event);
/* `address`, `failover`, `word`: "" for none. */
void engine_tell(struct engine *e, enum engine_event_type type,
                 const char *address, const char *failover, const char *word,
                 size_t n);

/* A hook that was begun: what its runner is given for its end. */
struct hook_run {
    struct engine *e; /* NULL: it went away while the hook was being ended */
};

/* --- lock.c -------------------------------------------------------------- */

/* Whoever asks is told once: granted(e, code), and lost(e) later. */
void engine_lock_ask(struct engine *e, registry_granted_f *granted,
                     registry_lost_f *lost);
/* A hook that runs is ended first, and its lock is kept until then. */
void engine_lock_let_go(struct engine *e);
/* The record's hook, for `time_ms` at most; done(e) unless it is let go. */
void engine_hook_run(struct engine *e, int64_t time_ms, hook_ended_f *done);
/* The lock may be proven for longer by now. */
void engine_hook_tick(struct engine *e);
void engine_hook_close(struct engine *e);

#endif
