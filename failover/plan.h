/*
 * plan.h - what becomes of each item that is taken from a process. Pure: time,
 * targets and limits come in; the engine reads, asks for targets and writes.
 */
#ifndef PELORUS_FAILOVER_PLAN_H
#define PELORUS_FAILOVER_PLAN_H

#include "failover/failover.h"

enum plan_action {
    PLAN_MOVE, /* to a target, or to waiting if there is none */
    PLAN_HEIR, /* to the gate's process at the same address */
    PLAN_HOLD, /* `cause` says why: policy, poison */
    PLAN_DROP,
};
const char *failover_plan_action_name(enum plan_action a); /* "move" */

/* May a marker of `p` under this gate be moved: only the past moves, that is
 * a process in `past` or the process of a fenced gate. */
bool failover_plan_movable(const struct gate *gate, const struct process *p);

struct plan_rules {
    const struct gate *gate; /* of the address that it leaves */
    const char *failover;    /* the record's id, "" without one; borrowed */
    bool died;               /* the owner did; not drained or restarted */
    uint32_t poison_limit;   /* 0: none */
    int64_t poison_window_ms;
    uint64_t floor; /* the epochs that are given lie above it */
    wall_ms wall;
};

/* What becomes of an item that is assigned or waits. *cause is static: of HOLD
 * "policy" or "poison", else "". */
enum plan_action failover_plan_action(const struct work_item *w,
                                      const struct plan_rules *rules,
                                      const char **cause);

/* The item as it shall stand afterwards. One that waited has no owner to leave.
 * MOVE, HEIR: `word` is the target's address, with its process; NULL: it waits.
 * HOLD: `word` is the cause. */
void failover_plan_apply(struct work_item *w, const struct plan_rules *rules,
                         enum plan_action action, const char *word,
                         const struct process *process);

/* One move's share of a digest: shares are added, in any order. */
uint64_t failover_plan_digest(const char *id, uint64_t epoch,
                              const char *target);

/* Count one item into a batch's counts. */
void failover_plan_count(struct failover_counts *c,
                         const struct work_item *after,
                         enum plan_action action);

/* Count what a failover did to an item, by the item's history, however much
 * happened to it since. */
void failover_plan_recount(struct failover_counts *c, const struct work_item *w,
                           const char *failover);

/*
 * Targets of a dry run: who would take the items, spread as the real run
 * would, without telling the balancer. The one with the least work for its
 * weight wins; what this plan gave it counts.
 */
struct plan_candidate {
    char address[NODE_ADDRESS_MAX + 1];
    double load;     /* 0 idle .. 1 full, by its own report; 0 if unknown */
    uint32_t weight; /* 0: takes nothing */
    uint64_t owned;  /* work it has, and what this plan gave it */
};
/* Index of the winner, counted already; SIZE_MAX: nobody. */
size_t failover_plan_pick(struct plan_candidate *c, size_t n);

/* A plan's ETag: the gate, and each item at its epoch with its action. Targets
 * are left out: they follow the load of the moment when it is applied. */
#define PLAN_ETAG_SIZE 40
void failover_plan_etag(char out[PLAN_ETAG_SIZE], const struct gate *gate,
                        uint64_t items_digest, size_t n);

#endif
