/*
 * check.h - the invariants of DESIGN section 5, checked at every write that
 * the registry applies.
 *
 * The checker knows nothing of the engine: it reads the JSON that stands in
 * the registry by itself and keeps its own picture of items, markers, gates,
 * records and registrations. A txn's writes arrive one by one under one
 * revision; they are judged together when the next revision begins, by the
 * lock as it stood when they were applied.
 *
 * (Longer than 150 lines: one picture of a cluster, and the rules about it.)
 */
#ifndef PELORUS_TESTS_SIM_CHECK_H
#define PELORUS_TESTS_SIM_CHECK_H

#include "cluster/node.h"
#include "tests/lib/memory/memory.h"
#include "tests/sim/sim.h"
#include "tests/sim/trace.h"

#include <uthash.h>

#define CHECK_ITEMS 200 /* ids "w-0" .. "w-199" */
#define CHECK_NODES                                                            \
    32 /* addresses "m<n>:1", "w<n>:1", by the world's index                   \
        */
#define CHECK_NOBODY   (-1)
#define CHECK_PAST     16
#define CHECK_SESSIONS 512

/* Like the product's, but read by ourselves. */
struct check_id {
    bool known;
    int64_t startup, pid;
};

enum check_state {
    ITEM_NONE,
    ITEM_ASSIGNED,
    ITEM_WAITING,
    ITEM_HELD,
    ITEM_DONE,
    ITEM_DROPPED
};

/* The part of an item that a write can change. */
struct check_record {
    enum check_state state;
    enum node_kind kind;
    int owner; /* node, or CHECK_NOBODY */
    struct check_id process;
    uint64_t epoch;
    char cause[16];
    char policy[12];
    char group[16];
    bool last_died;     /* history[0] */
    bool last_failover; /* history[0] names one */
    uint64_t last_epoch;
};

struct check_marker {
    int node;
    enum node_kind kind;
    uint64_t epoch;
    struct check_id process;
};

/* What somebody asked for at an epoch; the epoch decides. */
struct check_asked {
    uint64_t *epochs;
    size_t n;
};

/* Somebody had an item at this epoch. */
struct check_had {
    uint64_t epoch;
    int owner;
    struct check_id process;
};

#define CHECK_MARKERS 4
struct check_item {
    struct check_record now, before; /* before: the txn being judged */
    struct check_record restored;    /* when the store lost its tail */
    bool touched;
    uint64_t top; /* highest epoch ever */
    struct check_marker markers[CHECK_MARKERS];
    size_t n_markers;
    struct check_asked done, handover, release;
    struct check_had *had; /* ever */
    size_t n_had;
};

enum check_gate_state {
    GATE_IS_ABSENT,
    GATE_IS_OPEN,
    GATE_IS_CORDONED,
    GATE_IS_DRAINING,
    GATE_IS_RESTARTING,
    GATE_IS_FENCED,
    GATE_IS_LEFT /* open, cordoned or draining, and its process left */
};

struct check_gate_record {
    enum check_gate_state state;
    bool cordoned;
    struct check_id process, heir;
    struct check_id past[CHECK_PAST];
    size_t n_past;
    struct check_id drain_of; /* known while a drain stands */
    uint64_t order;           /* number of the drain or lease given last */
    int64_t for_ms;
    uint64_t version;
};

/* One process that was seen at an address, ever. */
struct check_process {
    struct check_id id;
    unsigned registrations; /* keys that stand */
    bool fenced;            /* by INTENT; not taken back, not readmitted */
    bool moving;            /* a failover of it is past its second read */
    bool unbroken;          /* registered without a break since INTENT */
    bool ordered;           /* moved by a person's word, alive or not */
    bool bereft;            /* of some of its work, by nobody's order */
    struct check_process *next;
};

struct check_node {
    struct check_gate_record gate, gate_before;
    bool touched;
    struct check_process *processes;
    unsigned unfinished; /* failovers: intent or moving */
    mono_ms drain_until; /* of the drain that stands */
    bool undrain_asked;  /* ever */
    size_t markers;
    uint64_t top; /* the highest epoch that it ever had */
};

enum check_phase {
    PHASE_NONE,
    PHASE_HELD,
    PHASE_QUEUED,
    PHASE_INTENT,
    PHASE_MOVING,
    PHASE_DONE,
    PHASE_ABORTED
};

struct check_failover_record {
    enum check_phase phase;
    int node;
    struct check_id process;
    uint64_t fence;
    char cause[16];
};

struct check_failover {
    char id[64];
    enum node_kind kind;
    struct check_failover_record now, before;
    bool touched, finished;
    bool withdraw_asked; /* ever */
    UT_hash_handle hh;
};

struct check_registration {
    char key[160];
    int node;
    struct check_id id;
    uint64_t created;
    UT_hash_handle hh;
};

struct check_history {
    char incarnation[40];
    uint64_t fence_base;
    bool marked;
};

#define CHECK_PERSONS 8

/* A store that lost its tail. */
struct check_back {
    bool doubt; /* from then on, to a person's word */
    bool ever;
    mono_ms since;
    /* Sessions of whoever accepts it, the last ones: one who is killed may
     * still be heard, for as long as his session and so his locks stand. */
    uint64_t persons[CHECK_PERSONS];
    size_t n_persons;
    uint64_t highest; /* epoch that anybody had */
    uint64_t fence_base;
    char incarnation[40];
};

/* An old primary beside the one that is looked into. */
struct check_beside {
    bool marked;
};

/* The txn being collected. */
struct check_txn {
    bool open;
    uint64_t revision, writer;
    mono_ms at;
    uint64_t holder[2], fence[2]; /* of the masters' and the workers' lock */
    uint64_t checked[2];          /* the fence with which the txn checked it */
    bool floor;
    int items[2 * CHECK_ITEMS], nodes[CHECK_NODES];
    size_t n_items, n_nodes;
    struct check_failover *failovers[CHECK_NODES];
    size_t n_failovers;
};

struct check {
    const struct memory_store *store;
    struct trace *trace;
    struct sim_result *result;
    const char *locks[2];
    bool readmit;
    /* Who is which node: by kind and address. */
    int (*node_of)(void *arg, enum node_kind kind, const char *address);
    bool (*is_coordinator)(void *arg, uint64_t session);
    /* Does this process do its work now, as far as it can know itself? NULL:
     * nobody does. */
    bool (*works)(void *arg, int node, const struct check_id *process);
    void (*failed)(void *arg); /* the first failure; may be in any callback */
    void *arg;

    struct check_item items[CHECK_ITEMS];
    struct check_node nodes[CHECK_NODES];
    const char *names[CHECK_NODES]; /* for the transcript */
    enum node_kind kinds[CHECK_NODES];
    struct check_failover *failovers;
    struct check_registration *registrations;
    struct check_txn txn;
    uint64_t floor, floor_before;
    uint64_t fence[2];      /* the highest seen, as it is told */
    uint64_t hold_floor[2]; /* when that one was granted */
    size_t nobody[2];       /* markers under "-" */
    bool paused;
    uint64_t taken[2]; /* processes that lost work, by nobody's order */
    bool silent;       /* no ttl is over now */
    struct check_back back;
    struct check_beside beside;
};

/* `c` is zeroed but for store, trace, result, locks, names, kinds and the
 * functions. */
void check_begin(struct check *c, struct memory_store *store);
void check_end(struct check *c);
/* Judge what was collected. After each memory_run(). */
void check_flush(struct check *c);

/* A client is about to ask for this, or a person. */
void check_asks_done(struct check *c, int item, uint64_t epoch);
void check_asks_handover(struct check *c, int item, uint64_t epoch);
void check_asks_release(struct check *c, int item, uint64_t epoch);
void check_asks_undrain(struct check *c, int node);
void check_asks_withdraw(struct check *c, const char *id);
/* A person was told that this ordered failover is withdrawn. */
void check_withdrawn(struct check *c, const char *id);
/* A client was told that this item stands at this epoch. */
void check_told(struct check *c, int item, uint64_t epoch);
/* Something that was asked for then is done, or so it is said. */
void check_told_ok(struct check *c, int item, mono_ms asked, bool beside);
/* A client was told that its `done` was certainly not carried out. */
void check_refused(struct check *c, int item, uint64_t epoch);
/* A process was told that it has a lease, and takes it for good. */
void check_leased(struct check *c, int node, const struct check_id *process);

/* The store is put back to what it was when the copy was made. Items come back
 * and go, as the copy says; what was asked and what was had stays. */
struct check_copy;
struct check_copy *check_copy(struct check *c);
void check_copy_free(struct check_copy **copy);
void check_restored(struct check *c, const struct check_copy *copy);
/* Whoever may accept it; 0: nobody. */
void check_person(struct check *c, uint64_t session);

/* The first failure counts. */
void check_fail(struct check *c, const char *invariant, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
bool check_failed(const struct check *c);

/* --- within the checker -------------------------------------------------- */

bool check_same(const struct check_id *a, const struct check_id *b);
struct check_process *check_process(struct check *c, int node,
                                    const struct check_id *id);
const struct check_gate_record *check_gate(const struct check *c, int node);
/* Does any registration of this node stand? */
bool check_registered(const struct check *c, int node);
bool check_in_past(const struct check_gate_record *g,
                   const struct check_id *id);
/* Did the txn's writer hold the lock of this kind, and did the txn check it? */
bool check_holds(const struct check *c, enum node_kind kind);
const char *check_state_name(enum check_state s);
const char *check_gate_name(enum check_gate_state s);
const char *check_phase_name(enum check_phase p);

/* check_read.c: what stands in a value; false: it cannot be read. */
bool check_read_item(struct check *c, struct check_record *out,
                     const struct registry_entry *e);
bool check_read_gate(struct check_gate_record *out,
                     const struct registry_entry *e);
bool check_read_failover(struct check *c, struct check_failover *out,
                         const struct registry_entry *e);
bool check_read_marker(struct check_marker *out,
                       const struct registry_entry *e);
bool check_read_history(struct check_history *out,
                        const struct registry_entry *e);
void check_read_heartbeat(struct check_id *out, const struct registry_entry *e);

/* check_gate.c, check_item.c: the rules. */
void check_gate_change(struct check *c, int node);
void check_failover_change(struct check *c, struct check_failover *f);
void check_item_change(struct check *c, int item);

/* check_back.c */
void check_ledger(struct check *c, int item, int owner,
                  const struct check_id *process, uint64_t epoch);
void check_doubt(struct check *c, const char *key, uint64_t writer);
memory_write_f check_beside;
bool check_by_person(const struct check *c);
void check_given_again(struct check *c, int item);
void check_history_change(struct check *c, const struct registry_entry *after);
/* check.c: processes, failovers and registrations. */
void check_lists_free(struct check *c);
/* Registrations that the store does not have are gone. */
void check_registrations_gone(struct check *c);

#endif
