/*
 * gate.h - the record that decides which process at an address may own work.
 *
 * `/pelorus/owners/<kind>/<address>` is written before the first assignment, or
 * when a process that a hook is for is first seen. Every txn
 * that gives work to a node checks this key at the version it read, so whoever
 * fences a process only has to write here. A closed one that nobody needs any
 * more is forgotten: failover/engine/forget.h. Its process changes only by
 * INTENT (failover.h), with the exceptions stated there.
 *
 * A process that leaves in order says so here, by the txn that takes its
 * registration away: `left`. The gate takes no work from then on, and nobody
 * waits for it, suspects or fences it; what it left behind is moved at once.
 * The lock is not needed for that: whoever gives it work checks the gate's
 * version, so either he sees that it left, or the engine sees his marker.
 * Whoever comes next, the same process too, is let in as at a fenced gate.
 * Pure.
 */
#ifndef PELORUS_CLUSTER_GATE_H
#define PELORUS_CLUSTER_GATE_H

#include "base/buf.h"
#include "base/clock.h"
#include "cluster/node.h"

#define GATE_PAST_MAX 16

enum PACKED gate_state {
    GATE_ABSENT, /* never written: no work was ever given to this address */
    GATE_OPEN,
    GATE_CORDONED,
    GATE_DRAINING,
    GATE_RESTARTING,
    GATE_FENCED,
};

struct gate {
    enum gate_state state;
    struct process process;
    bool cordoned;          /* beside a state that is not CORDONED: a cordon
                               belongs to the address and survives */
    bool left;              /* its process left in order; process.created is of
                               the registration that it took away */
    struct process heir_of; /* known while a restart's work is handed on */
    /* While a drain stands: who is to hand over. A drain belongs to the address
     * like a cordon, until its time is over or it is taken back: beside FENCED
     * it waits for the next process, beside DRAINING that one has nothing to
     * hand over if it is another */
    struct process drain_of;
    uint64_t order; /* number of the drain or lease given last: its time goes on
                       as long as this is the same */
    struct process past[GATE_PAST_MAX]; /* newest first; fenced or replaced */
    size_t n_past;
    char who[64], reason[256]; /* of the person's order; "" otherwise */
    wall_ms ordered;   /* that order, for people, and to tell it from one of
                          the same number; 0: none, or not told */
    int64_t for_ms;    /* of a drain or restart lease; 0 none */
    char failover[64]; /* id of the failover that wrote it last, "" */
    uint64_t version;  /* as read; 0 when absent. Not in the JSON */
    uint64_t created;  /* likewise: of this life of its key. Versions may be
                          those of a former one, which was forgotten */
};

/* ERR_INVALID: *out is all zero. The version is the caller's to set. */
int gate_read(struct gate *out, const char *value, size_t len,
              struct err *err) MUST_CHECK;
void gate_write(struct buf *out, const struct gate *gate);

const char *gate_state_name(enum gate_state state); /* "draining" */
/* ERR_INVALID: no state has this name. */
int gate_state_parse(const char *name, enum gate_state *out) MUST_CHECK;

/* May `p` be given work: the gate is absent, or open with this process, which
 * has not left. */
bool gate_takes(const struct gate *gate, const struct process *p);

/* A process that joined the past, or is the one a fenced gate names. */
bool gate_bars(const struct gate *gate, const struct process *p);

/* `p` leaves in order, with the registration `p->created`. False: the gate is
 * to stay as it is: it is another's, it is fenced, or under a restart lease,
 * which promises that somebody comes back. Who leaves inherits nothing more. */
bool gate_leave(struct gate *gate, const struct process *p);
/* It left, and `p` is it, registered anew. */
bool gate_returned(const struct gate *gate, const struct process *p);

/* Fenced, or left: it takes no work, whoever asks, until it is written again.
 * And nothing in it binds who comes next: no cordon, drain, lease or heir. */
bool gate_is_closed(const struct gate *gate);
bool gate_is_bound(const struct gate *gate);
/* As they were read: is it the same life of the key, unchanged? */
bool gate_is_same(const struct gate *a, const struct gate *b);

/* Put a process into the past (the oldest falls out; twice counts once). */
void gate_retire(struct gate *gate, const struct process *p);
void gate_unretire(struct gate *gate, const struct process *p);

/* "/pelorus/owners/<kind>/<address>" into a key buffer, and back. */
#define GATE_PREFIX "/pelorus/owners"
char *gate_key(enum node_kind kind, const char *address, char *out, size_t n);
int gate_key_parse(const char *key, enum node_kind *kind,
                   char address[NODE_ADDRESS_MAX + 1]) MUST_CHECK;

#endif
