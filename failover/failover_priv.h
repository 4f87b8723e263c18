/*
 * failover_priv.h - the state of the step, and the writes that it decides on.
 */
#ifndef PELORUS_FAILOVER_FAILOVER_PRIV_H
#define PELORUS_FAILOVER_FAILOVER_PRIV_H

#include "failover/failover.h"

struct failover {
    struct failover_config config;
    const struct failover_event *ev; /* both of the step under way, else NULL */
    struct failover_effects *fx;
    enum failover_state state;
    uint32_t rank;
    mono_ms wanted_since; /* -1: not wanted */
    mono_ms not_before;   /* after a failure */
    bool locked;          /* the lock is ours, as far as we know */
    mono_ms locked_at;
    uint64_t fence, session;
    bool has_task;
    bool answered; /* the order was */
    struct failover_task task;
    struct gate gate; /* as read last, or as it is being written */
    bool has_record;
    struct failover_record record;
    char last_intent[FAILOVER_ID_MAX + 1]; /* the record that we fenced with
                                              last, or "" */
    struct process registered; /* at the last read: the gate's, if it stands */
    char new_id[FAILOVER_ID_MAX + 1];
    bool planned;       /* the plan that was approved is still the one */
    bool over;          /* at the last read: the drain's or lease's time */
    uint32_t tries;     /* decided anew after a conflict */
    bool sweeping;      /* a pass over a full past, INTENT comes after it */
    bool swept;         /* one was begun in this task */
    bool dirty;         /* this pass moved something: one more is due */
    bool more;          /* pages are left of this pass */
    bool writing;       /* in a state that reads first: the write is out */
    const char *opened; /* by the write under way: a word to tell */
    enum failover_cause holding; /* what the last HELD that we wrote is for */
};

/* The gate's process stands; if it left, it is back. */
bool failover_present(const struct failover_seen *seen);

/* What the writes put. Each works on f->gate and f->record as just read, at the
 * event of the step. */
void failover_write_intent(struct failover *f, enum failover_cause cause);
void failover_write_take_back(struct failover *f);
void failover_write_hold(struct failover *f, enum failover_cause cause);
void failover_write_open(struct failover *f, const struct process *fresh);
void failover_write_moving(struct failover *f);
/* A record for markers of the past that no unfinished failover covers. */
void failover_write_reconcile(struct failover *f);
void failover_take_over(struct failover *f);
void failover_add_counts(struct failover_record *r,
                         const struct failover_counts *c);

#endif
