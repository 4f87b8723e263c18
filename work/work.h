/*
 * work.h - what clients do with work: submit, claim, finish, hand over,
 * release, look up; and the orders people give at the gate.
 *
 * Every operation reads afresh, writes one txn on the versions it read, and
 * tries again on a conflict a bounded number of times. An unknown outcome is
 * read back for at most 10 s before it is reported as such. A read that is
 * older than the session timeout, or of an earlier session, is never written
 * upon. Loop thread; completions arrive on it, exactly once, and never before
 * the call has returned (what is refused at once is told by the next tick).
 *
 * Longer than other headers: all that clients can ask for stands here.
 */
#ifndef PELORUS_WORK_WORK_H
#define PELORUS_WORK_WORK_H

#include "cluster/problem.h"
#include "work/record.h"
#include "work/view.h"

struct work;

/*
 * Who takes an item: writes an address of a node that is UP and open and
 * returns the pick to be told when the work ends (0 none), or says why not
 * (PROBLEM_GROUP_NOT_FOUND, _GROUP_EMPTY, _ALL_BUSY, _REPORTS_OLD,
 * _NOT_SYNCED) and retry_after_ms. Masters: the least loaded; workers: by the
 * balancer.
 */
struct work_target {
    char address[NODE_ADDRESS_MAX + 1];
    enum problem code; /* NONE: found */
    int64_t retry_after_ms;
    uint64_t pick;
    bool counted; /* it counts as given; see work_unused_f */
};
typedef void work_target_f(void *arg, enum node_kind kind, const char *group,
                           const char *const *exclude, size_t n_exclude,
                           struct work_target *out);

/* What was found came to nothing: the item went elsewhere or nowhere, and
 * counts no more. Once for each that is `counted`, and not for those that got
 * their item. */
typedef void work_unused_f(void *arg, enum node_kind kind,
                           const struct work_target *target);

struct work_config {
    const struct clock *clock;
    struct registry *registry;
    struct membership *membership;
    struct view *view;
    work_target_f *target;
    work_unused_f *unused; /* optional */
    void *target_arg;      /* of both */
    /* An item was finished by this coordinator, for the balancer. Optional. */
    void (*ended)(void *arg, const struct work_item *item);
    void *ended_arg;
    uint64_t seed; /* for ids we make up */
};

#define WORK_OPS_MAX 4096 /* under way at a time; beyond: `busy` */

/* Copies the config; all that it points to is borrowed until work_free(). */
struct work *work_new(const struct work_config *config);
/* Whatever is under way is completed with the code `cancelled`. The registry
 * is closed after this, not before. */
void work_free(struct work **w);
/* Instead of work_free() when the registry handle is gone without a word (a
 * killed process in the simulator): frees, and calls nobody. */
void work_abandon(struct work **w);
/* Deadlines, waits and the view's settings; at least every 100 ms. */
void work_tick(struct work *w);

/*
 * How an operation ended. `code` is one of these, or NONE when it
 * succeeded:
 *   400 invalid (an argument)      413 too_large
 *   404 work_not_found, group_not_found
 *   409 id_conflict (the id stands with another kind, group, policy or
 *       payload; a claim too), owned_elsewhere (claims), owner_not_up,
 *       stale_epoch, not_assigned, not_held, gate_conflict
 *   422 no_owner (an order for an address with no gate and no process)
 *   500 damaged (what stands in the registry makes no sense; the message says
 *       where)
 *   503 group_empty, all_busy, reports_old, busy, registry_unavailable,
 *       session_lost, cancelled: certainly nothing was stored;
 *       registry_went_back: nor was it, and this request may have been what
 *       proved it, by an epoch above all that were given
 *   504 outcome_unknown
 */
struct work_reply {
    enum problem code;
    struct err err;
    bool created;                 /* submit, claim: new (201), else 200 */
    const struct work_item *item; /* the item as it stands, if known */
    int64_t retry_after_ms;
    const char *id;    /* outcome_unknown: which */
    const char *wrote; /* the keys that were written, or that an earlier try of
                          unknown outcome wrote, a newline after each */
    uint64_t made;     /* with `created`: the version of all of them, which are
                          new; 0: not known */
};
typedef void work_reply_f(void *arg, const struct work_reply *reply);

struct work_submit {
    const char *id; /* NULL: we make one up */
    enum node_kind kind;
    const char *group; /* NULL default */
    enum work_policy policy;
    const char *payload;  /* JSON or NULL */
    const char *owner;    /* claim: the address; submit: NULL */
    int64_t startup_time; /* claim: the owner's process; 0: whoever is there */
    int64_t age_ms;       /* claim: how long ago it arrived; beyond the lease of
                             the node it is `too_late` */
};
/* Both borrow their arguments until they return. */
void work_submit(struct work *w, const struct work_submit *what,
                 work_reply_f *done, void *arg);
void work_claim(struct work *w, const struct work_submit *what,
                work_reply_f *done, void *arg);
void work_done(struct work *w, const char *id, uint64_t epoch,
               work_reply_f *done, void *arg);
void work_handover(struct work *w, const char *id, uint64_t epoch,
                   work_reply_f *done, void *arg);
/* Held work goes on; at exactly this epoch, or (0) at any. */
void work_release(struct work *w, const char *id, uint64_t epoch,
                  work_reply_f *done, void *arg);
void work_get(struct work *w, const char *id, work_reply_f *done, void *arg);
/* Linearizable: no problem when the item is assigned at exactly this epoch. */
void work_fence_check(struct work *w, const char *id, uint64_t epoch,
                      work_reply_f *done, void *arg);

/* The highest epoch that anybody has shown of those that the registry did not
 * know; 0: none. What lies further than WORK_EPOCH_BEYOND above all that are
 * known was never given: it is refused as invalid, and is no evidence. */
#define WORK_EPOCH_BEYOND (UINT64_C(1) << 40)
uint64_t work_shown(const struct work *w);
/* What was shown item by item while the registry has gone back, as members of
 * an open JSON object: "shown":[[id,epoch],...] and, of those who said that
 * they finished it, "shown_finished". False: there was more than is kept. */
bool work_put_evidence(struct work *w, struct buf *out);
/* Grows when that does. */
uint64_t work_shown_changes(const struct work *w);

/*
 * Lists by id, behind `after` (an id, or NULL), at most `limit` (1..1000).
 * Unfinished work of an owner and waiting or held work are found by their
 * markers, all else by reading records: a page may then come back short, even
 * empty, with a `next`. Filters: state -1 any, kind -1 any. With an owner and
 * any state: what it owns now.
 */
struct work_list {
    int kind;
    const char *owner;
    int state;
    const char *after;
    size_t limit;
};
struct work_page {
    enum problem code;
    struct err err;
    const struct work_item *items;
    size_t n;
    const char *next; /* NULL at the end */
};
typedef void work_page_f(void *arg, const struct work_page *page);
void work_list(struct work *w, const struct work_list *what, work_page_f *done,
               void *arg);

/* A person's order at a gate: never on a fenced one (409 gate_conflict).
 * `undo` takes it back. for_ms 0: no end (cordon), the default (drain,
 * restart: 10 minutes). */
struct gate_order {
    enum gate_order_what {
        GATE_ORDER_CORDON,
        GATE_ORDER_DRAIN,
        GATE_ORDER_RESTART,
    } what;
    bool undo;
    enum node_kind kind;
    const char *address;
    int64_t for_ms;
    const char *who, *reason;
};
typedef void gate_reply_f(void *arg, enum problem code, const struct err *err,
                          const struct gate *gate);
void work_gate_order(struct work *w, const struct gate_order *order,
                     gate_reply_f *done, void *arg);

#endif
