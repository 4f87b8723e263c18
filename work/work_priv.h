/*
 * work_priv.h - one operation under way, and the steps all of them share.
 *
 *     run -> gather (reads) -> then -> ... -> send (a txn) -> won
 *      ^                                       |
 *      +-- again, now or later (registry/attempt.h)
 *
 * Every operation is written so that running it again from fresh reads is
 * right whatever became of its earlier txns: each txn is bound to versions (or
 * to absence), so at most one of them can apply, and each run first recognises
 * its own result. After an unknown outcome an operation is `in doubt`: from
 * then on it says "nothing was stored" no more, only what it sees stored.
 */
#ifndef PELORUS_WORK_WORK_PRIV_H
#define PELORUS_WORK_WORK_PRIV_H

#include "base/rand.h"
#include "base/table.h"
#include "registry/attempt.h"
#include "work/work.h"

#define WORK_EXCLUDE_MAX 32
#define WORK_TXN_OPS     5

struct work_op;
typedef void op_step_f(struct work_op *op);

/* Asked for in this order, and answered as of one moment after the other where
 * versions repeat: a gate is read after the floor that its txn checks, so that
 * the gate of a former life at its address (it was forgotten, which raised the
 * floor) is never met at the version of the present one. */
enum op_read { READ_FLOOR, READ_RECORD, READ_MARKER, READ_GATE, OP_READS };

#define READ(what) (1u << (what))

/* What is asked for. */
struct op_verb {
    unsigned reads;   /* READ(), at the beginning of each run; 0: none */
    op_step_f *then;  /* with these */
    op_step_f *ahead; /* optional: the first run does without `reads`, upon
                         what is known of the floor (place.c) */
    bool of_item;     /* of one that stands: else it is not found, and an epoch
                         above what stands is evidence (evidence.c) */
    bool check_only;  /* its txn changes nothing */
    bool ends;        /* it says that the item is finished */
};

struct op_slot { /* one read under way */
    struct work_op *op;
    enum op_read what;
};

struct list; /* list.c */

struct work_op {
    struct work *w; /* NULL: work_free() was called */
    struct work_op *prev, *next;
    const struct op_verb *verb;
    op_step_f *step;   /* after the reads */
    op_step_f *won;    /* after the txn */
    op_step_f *chosen; /* a target was found, its gate takes work */
    op_step_f *nobody; /* there is none; target.code says why */
    /* asked for */
    enum { OP_WORK, OP_GATE, OP_LIST } type;
    struct work_item want; /* id; submit: the body; claim: owner too */
    uint64_t epoch;        /* 0: any */
    int64_t startup_time;  /* claim: of the process that claims; 0: any */
    int64_t age_ms;        /* claim: when it arrived */
    struct gate_order order;
    char order_address[NODE_ADDRESS_MAX + 1];
    char order_who[64], order_reason[256];
    struct list *list;
    work_reply_f *done;
    gate_reply_f *gate_done;
    work_page_f *page_done;
    void *arg;
    /* reads of this run */
    struct op_slot slots[OP_READS];
    size_t pending;     /* calls that will still complete */
    bool writing;       /* one of them is a txn that changes something */
    bool finished;      /* replied; only waits for its calls */
    bool check_only;    /* its txn changes nothing; of this run */
    bool created;       /* what it replies is new */
    struct err trouble; /* the first failed read */
    bool damaged;       /* what was read makes no sense: see trouble */
    struct work_item item;
    bool found;
    uint64_t marker_version; /* 0: there is none */
    unsigned unmarked;       /* runs that missed a marker */
    struct gate gate;
    uint64_t floor, floor_version;
    /* where it goes */
    struct work_target target;
    struct process process;
    char *exclude[WORK_EXCLUDE_MAX];
    size_t n_exclude;
    /* what is being written */
    struct work_item next_item;
    struct gate next_gate;
    struct buf wrote; /* see struct work_reply */
    uint64_t made;
    /* progress */
    struct attempt attempt;
    enum problem refused; /* NONE, or reply with this at the next tick */
};

/* What was shown while the store is in doubt. */
#define WORK_SHOWN_MAX 256
struct work_shown {
    mono_ms doubt;    /* when it began */
    uint64_t changes; /* ever */
    bool cut;         /* there were more */
    size_t n;
    struct work_shown_item {
        char id[WORK_ID_MAX + 1];
        uint64_t epoch; /* the highest */
        bool finished;  /* at that, by whoever showed it */
    } items[WORK_SHOWN_MAX];
};

/* An open gate, or the floor, as some run read it. */
#define WORK_KNOWN_MAX 1024
struct work_known {
    UT_hash_handle hh;
    char key[NODE_ADDRESS_MAX + 2]; /* the kind as a digit, the address */
    struct process process;
    uint64_t floor; /* of a gate: the version of the floor that was read before
                       it, upon which alone it is believed */
    uint64_t version;
    uint64_t session; /* in which it was read, and when: see attempt.h */
    mono_ms read_at;
};

struct work {
    struct work_config config;
    struct rand rand;
    struct work_op *ops;            /* under way */
    struct work_op *replied;        /* with calls that still complete */
    size_t n_ops;                   /* both */
    uint64_t shown;                 /* the highest epoch, see work_shown() */
    struct work_shown *shown_items; /* NULL: nothing ever was */
    struct work_known *gates;       /* uthash by key */
    struct work_known floor;        /* version 0: not known */
    bool replying;
};

/* --- an operation's life ------------------------------------------------- */

struct work_op *work_op_new(struct work *w, const struct op_verb *verb);
/* First run, or (not NONE) a refusal told by the next tick; takes the
 * message from op->trouble. */
void work_op_start(struct work_op *op, enum problem refused);
/* The same for a request about one item: its id is checked and taken. */
void work_op_ask(struct work *w, const struct op_verb *verb, const char *id,
                 uint64_t epoch, work_reply_f *done, void *arg);
/* A call of it completed: false when nobody waits any more (op may be gone). */
bool work_op_landed(struct work_op *op);

/* The end, whatever is in doubt: what is told was seen. */
void work_op_reply(struct work_op *op, enum problem code,
                   const struct work_item *item);
/* The item stands as it was read: it is said how, and at which epoch. */
void work_op_refuse(struct work_op *op, enum problem code);
/* The end, unless in doubt: then it looks again until the deadline. */
void work_op_reply_unless_doubt(struct work_op *op, enum problem code);
/* Its txn has an unknown outcome. */
void work_op_unknown(struct work_op *op);
/* As work_op_reply_unless_doubt(), by what a registry call said. */
void work_op_failed(struct work_op *op, const struct err *err);
/* From fresh reads, now; counts as a conflict. */
void work_op_again(struct work_op *op);

/* --- steps --------------------------------------------------------------- */

/* A run, from its beginning: what was read before is forgotten. */
void work_op_run(struct work_op *op);
void work_op_gather(struct work_op *op, unsigned reads, op_step_f *step);
/* The record stands and its marker does not: read between two writes, or it is
 * damaged. True: it is read again, which is done twice. */
bool work_op_between_writes(struct work_op *op);

struct op_txn {
    struct registry_op ops[WORK_TXN_OPS];
    char keys[WORK_TXN_OPS][REGISTRY_KEY_MAX + 1];
    struct buf values[WORK_TXN_OPS];
    size_t n;
};
void work_txn_init(struct op_txn *t);
/* version 0: it must be absent. */
void work_txn_put_item(struct op_txn *t, const struct work_item *item,
                       uint64_t version);
void work_txn_put_marker(struct op_txn *t, const struct work_item *item,
                         uint64_t version);
void work_txn_delete_marker(struct op_txn *t, const struct work_item *item,
                            uint64_t version);
void work_txn_put_gate(struct op_txn *t, enum node_kind kind,
                       const char *address, const struct gate *gate,
                       uint64_t version);
/* The target's gate takes this process: checked, or written the first time. */
void work_txn_target_gate(struct op_txn *t, const struct work_op *op);
/* No gate was forgotten, and nothing collected, since the floor was read. */
void work_txn_floor(struct op_txn *t, const struct work_op *op);
/* Is there one above this and the floor that was read? Else it has failed. */
bool work_op_epoch_left(struct work_op *op, uint64_t epoch);
void work_txn_check_item(struct op_txn *t, const struct work_item *item);
/* Sends and closes it; won() when it applied. */
void work_op_send(struct work_op *op, struct op_txn *t, op_step_f *won);

/* A node that takes the item, its gate read afresh: chosen() or nobody(). */
void work_op_choose(struct work_op *op, op_step_f *chosen, op_step_f *nobody);
void work_op_exclude(struct work_op *op, const char *address);
/* What the last work_op_choose() found came to nothing, or got its item. */
void work_op_unpick(struct work_op *op);
void work_op_used(struct work_op *op);

/* What this run just read. Only what may be written upon is kept. */
void work_known_gate(struct work_op *op);
void work_known_floor(struct work_op *op);
/* True: as if it had been read in this run; its txn finds out. Never after a
 * conflict or a doubt. */
bool work_take_known_gate(struct work_op *op);
bool work_take_known_floor(struct work_op *op);
/* It was not so: of this operation's target. */
void work_known_forget(struct work_op *op);
void work_known_free(struct work *w);
/* The process that is registered, UP and known; NULL: none. */
const struct process *work_op_process(const struct work_op *op,
                                      enum node_kind kind, const char *address);

/* evidence.c: does the request show an epoch above what READ_RECORD found?
 * Then true, and the operation goes on to its end by itself. */
bool work_op_evidence(struct work_op *op);
/* The store is not believed: what the request shows is to be remembered. */
void work_op_shown(struct work_op *op);

/* list.c */
void work_list_free(struct list *l);
/* What was found. Borrowed until work_list_free(). */
void work_list_page(const struct list *l, struct work_page *page);

#endif
