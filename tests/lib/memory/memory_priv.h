/*
 * memory_priv.h - what the files of the memory registry share. (Longer than
 * 150 lines: a server, a network and a client in one picture.)
 *
 *   memory.c         the store as a whole: time, faults, looking in
 *   tree.c    the ordered keys
 *   server.c  the server: sessions, reading, watching
 *   txn.c     the server: writing
 *   lock.c    its queues for locks
 *   wire.c    messages between a client and the server, and their fate
 *   client.c  what a client process knows, and its deadlines
 *   answer.c  what it does with answers and notifications
 *   restore.c the store put back to what it was
 *   fork.c    two of it, and which of them a client is connected to
 *   backend.c the slots of the backend
 *
 * Everything that takes time is a `struct memory_event` in one heap. Stored
 * nodes are immutable and reference-counted, so a reply or a notification
 * shows the key as it was when it was sent, without a copy.
 */
#ifndef PELORUS_TESTS_MEMORY_MEMORY_PRIV_H
#define PELORUS_TESTS_MEMORY_MEMORY_PRIV_H

#include "base/rand.h"
#include "registry/backend.h"
#include "tests/lib/memory/memory.h"

struct memory_client;
struct memory_event;
struct memory_message;

/* --- keys ---------------------------------------------------------------- */

struct memory_node {
    uint32_t refs;
    uint64_t revision; /* of the write that made this node */
    struct registry_entry entry;
    char text[]; /* key, NUL, value, NUL */
};

struct memory_node *memory_node_new(const char *key, const char *value,
                                    size_t value_len);
struct memory_node *memory_node_ref(struct memory_node *node);
void memory_node_unref(struct memory_node *node); /* NULL is fine */

#define MEMORY_BLOCK 256

struct memory_block {
    size_t n;
    struct memory_node *nodes[MEMORY_BLOCK];
};

/* Sorted blocks of sorted nodes; a block is never empty. */
struct memory_tree {
    struct memory_block **blocks;
    size_t n_blocks, cap;
    size_t n_nodes;
};

struct memory_pos {
    size_t block, index;
};

void memory_tree_close(struct memory_tree *tree);
struct memory_node *memory_tree_find(const struct memory_tree *tree,
                                     const char *key);
/* The first node at or after `key`. */
struct memory_pos memory_tree_from(const struct memory_tree *tree,
                                   const char *key);
/* The first node below `prefix`. */
struct memory_pos memory_tree_below(const struct memory_tree *tree,
                                    const char *prefix);
/* The node there, NULL at the end; then move on. */
struct memory_node *memory_tree_next(const struct memory_tree *tree,
                                     struct memory_pos *pos);
/* Takes `node`; gives back what it replaced, or NULL. */
struct memory_node *memory_tree_put(struct memory_tree *tree,
                                    struct memory_node *node);
/* Gives back the node, which must exist. */
struct memory_node *memory_tree_remove(struct memory_tree *tree,
                                       const char *key);
bool memory_tree_has_below(const struct memory_tree *tree, const char *key);
/* The same nodes, in blocks of its own. */
void memory_tree_copy(struct memory_tree *to, const struct memory_tree *from);

/* --- time ---------------------------------------------------------------- */

typedef void memory_event_f(struct memory_event *event);

/* Due at a time; equal times in the order of `tie`, drawn from the seed. */
struct memory_event {
    mono_ms due;
    uint64_t tie, seq;
    memory_event_f *fn;
    struct memory_client *process; /* whose process runs it; NULL: the server */
    bool is_message;
    enum { EVENT_IDLE, EVENT_HEAP, EVENT_FROZEN } where;
    size_t pos;                       /* in the heap */
    struct memory_event *prev, *next; /* in the frozen list */
};

void memory_schedule(struct memory_store *s, struct memory_event *e,
                     mono_ms due);
/* The same with a tie of the caller's. */
void memory_schedule_tie(struct memory_store *s, struct memory_event *e,
                         mono_ms due, uint64_t tie);
void memory_unschedule(struct memory_store *s, struct memory_event *e);
uint64_t memory_tie(struct memory_store *s);

/* --- the server ---------------------------------------------------------- */

/* What a server knows that has lost the others. */
struct memory_past {
    uint32_t refs;
    const struct memory_side *side;
    uint64_t revision;
    struct memory_tree tree;
};
void memory_past_unref(struct memory_past *past); /* NULL is fine */

struct memory_session {
    struct memory_session *prev, *next;
    uint64_t id;
    struct memory_store *store;
    struct memory_side *side;
    struct memory_client *client; /* to be told; NULL: killed */
    int64_t timeout_ms;
    mono_ms heard;
    size_t ephemerals;
    struct memory_event expiry;
};

struct memory_waiter {
    struct memory_waiter *prev, *next;
    uint64_t session, hold;
    uint64_t fence; /* 0: waiting */
};

struct memory_lock {
    struct memory_lock *prev, *next;
    struct memory_waiter *queue; /* the head holds it */
    char key[];
};

struct memory_subscription {
    struct memory_subscription *prev, *next;
    struct memory_client *client;
    uint64_t watch, connection;
    char prefix[];
};

/* One key changed by the write being applied; references both. */
struct memory_change {
    struct memory_node *before, *after;
};

/* What is stored: once, or, of two primaries, twice. */
struct memory_side {
    uint64_t line; /* 0: none is told */
    bool down;
    uint64_t generation; /* how often it was put back, or went down */
    struct memory_tree tree;
    uint64_t revision, last_fence;
    struct memory_session *sessions;
    struct memory_lock *locks;
    struct memory_subscription *subscriptions;
};

struct memory_store {
    struct clock *clock;
    struct rand rand;
    struct memory_faults faults;
    struct memory_event **heap;
    size_t n_heap, heap_cap;
    uint64_t seq;
    struct memory_side sides[2]; /* [1]: since memory_promote() */
    bool two;
    struct memory_side *side; /* which is served; between events the present */
    struct memory_side *present;
    uint64_t last_session;
    struct memory_change *changes;
    size_t n_changes, changes_cap;
    memory_write_f *on_write, *on_write_beside;
    void *on_write_arg;
    const struct registry_call *applying; /* while the observer is told */
    struct memory_client *clients;
    struct memory_client *killed; /* freed when the next run begins */
    bool running;
};

/* From now on it is served; returns which was. */
struct memory_side *memory_serve(struct memory_store *s,
                                 struct memory_side *side);
struct memory_session *memory_session_find(struct memory_store *s, uint64_t id);
struct memory_session *memory_session_new(struct memory_store *s, uint64_t id,
                                          struct memory_client *client,
                                          int64_t timeout_ms);
void memory_session_end(struct memory_store *s, struct memory_session *session);
/* The client's process is gone: there is nobody to tell any more. */
void memory_server_forget(struct memory_store *s,
                          const struct memory_client *client);

/* What a client sent has arrived; the message is the callee's. */
void memory_server_receive(struct memory_store *s, struct memory_message *m);
void memory_server_close(struct memory_store *s);
bool memory_chance(struct memory_store *s, double share);

/* Apply a txn, or not: code, failed_op, text and revision are set in `m`. */
void memory_txn_apply(struct memory_store *s, struct memory_message *m,
                      struct memory_session *session);
/* Remove the ephemeral keys of a session. */
void memory_txn_reap(struct memory_store *s, struct memory_session *session);

void memory_lock_request(struct memory_store *s, struct memory_message *m,
                         struct memory_session *session);
void memory_lock_release(struct memory_store *s, struct memory_message *m,
                         struct memory_session *session);
void memory_lock_reap(struct memory_store *s, uint64_t session);
bool memory_lock_is(const struct memory_store *s, const char *key,
                    uint64_t session, uint64_t fence);

/* --- the wire ------------------------------------------------------------ */

enum memory_kind {
    /* to the server                 its answer      */
    MEMORY_CONNECT, /*               WELCOME         */
    MEMORY_PING,    /*               PONG or EXPIRED */
    MEMORY_CLOSE,   /*               CLOSED          */
    MEMORY_CALL,    /*               ANSWER          */
    MEMORY_LOOK,    /*               LOOKED          */
    MEMORY_UNWATCH,
    MEMORY_LOCK,   /*                GRANTED or REFUSED, in time */
    MEMORY_UNLOCK, /*                RELEASED        */
    /* to the client */
    MEMORY_WELCOME,
    MEMORY_PONG,
    MEMORY_EXPIRED,
    MEMORY_CLOSED,
    MEMORY_ANSWER,
    MEMORY_LOOKED,
    MEMORY_NOTICE,
    MEMORY_GRANTED,
    MEMORY_REFUSED,
    MEMORY_BEHIND, /* of a session, in `revision`, that has the lock */
    MEMORY_RELEASED,
};

struct memory_message {
    struct memory_event event;
    enum memory_kind kind;
    struct memory_store *store;
    struct memory_client *client; /* from or to; a reference */
    uint64_t connection;          /* of the client when it was sent */
    struct memory_side *side;     /* and which side it was connected to, */
    uint64_t generation;          /* likewise */
    uint64_t known_line, known;   /* where the client saw the store stand */
    uint64_t session;
    mono_ms sent;               /* ping, connect: by the client's clock */
    uint64_t number;            /* connect: attempt; watch's or hold's id */
    bool late;                  /* a request that outlived its connection,
                                   or was held up */
    bool hearsay;               /* an answer of a server without the others: it
                                   says nothing about the session */
    struct registry_call *call; /* a reference */
    enum err_code code;
    size_t failed_op;
    const char *text;
    uint64_t revision, fence;
    bool gone;     /* notice: `nodes[0]` was removed at `revision` */
    bool try_once; /* lock */
    bool tell;     /* look: there was a gap */
    char *key;     /* lock: its key; watch: its prefix; children: the names, one
                      after the other, `number` of them */
    struct memory_node **nodes;
    size_t n_nodes, nodes_cap;
    struct memory_node *more; /* list: the next page begins with it */
};

struct memory_message *memory_message_new(struct memory_client *c,
                                          enum memory_kind kind);
void memory_message_free(struct memory_message *m);
/* Adds a reference to `node`. */
void memory_message_add(struct memory_message *m, struct memory_node *node);
void memory_send_up(struct memory_message *m);   /* takes it */
void memory_send_down(struct memory_message *m); /* takes it */
/* Those that are held up, on their way now. */
void memory_let_all_through(struct memory_client *c);
/* A change may have many notifications; faults apply. */
void memory_notify(struct memory_store *s, const struct memory_change *change);

/* --- the client ---------------------------------------------------------- */

/* The last message of one direction: later ones must not overtake it. */
struct memory_fifo {
    mono_ms due;
    uint64_t tie;
};

struct memory_client {
    struct registry base;
    struct memory_store *store;
    struct memory_client *prev, *next;
    unsigned refs;
    uint64_t gets; /* memory_gets() */
    bool dead;     /* killed or closed: only messages still know it */
    bool frozen;   /* events pile up in `piled` */
    bool stuck;    /* frozen, but only its loop */
    bool cut;
    bool holds_up;                /* writes that are sent go to `held` */
    struct memory_message **held; /* the first comes first */
    size_t n_held;
    struct memory_past *past; /* of its server, if that has lost the others */
    struct memory_side *side; /* to which it is connected, or would be */
    bool reaches[2];
    bool connecting; /* a CONNECT was sent and not answered yet */
    bool offline;    /* suspended or without a session: nothing is sent */
    struct memory_event *piled;
    struct memory_fifo up, down;
    uint64_t connection; /* a new number at every break */
    uint64_t attempt;    /* number of the last CONNECT */
    uint64_t last_watch;
    uint64_t last_session;
    mono_ms heard; /* when the last answered ping was sent */
    struct memory_event beat, deadline, resync, reset;
};

/* In each call and watch, ->priv. */
struct memory_call_priv {
    uint64_t connection; /* on which it was sent */
};

struct memory_watch_priv {
    uint64_t id;
    uint64_t looked; /* the session in which it was looked at last */
    bool synced;     /* since the last gap */
};

struct memory_client *memory_client_of(struct registry *r);
void memory_client_start(struct memory_client *c);
void memory_client_stop(struct memory_client *c); /* its own events */
void memory_client_receive(struct memory_client *c, struct memory_message *m);
void memory_client_look(struct memory_client *c); /* all that did not yet */
/* The connection broke: another one, soon. */
void memory_client_reset(struct memory_client *c);
void memory_client_end(
    struct memory_client *c); /* the session, to begin anew */
void memory_client_unref(struct memory_client *c);
void memory_client_free_killed(struct memory_client *c);

void memory_again(struct memory_client *c, struct memory_event *e, mono_ms due);
void memory_send_hold(struct memory_client *c, const struct registry_hold *hold,
                      enum memory_kind kind);
void memory_send_look(struct memory_client *c, const struct registry_watch *w);

/* fork.c */
/* Can it be reached, and is it up? */
bool memory_client_reaches(const struct memory_client *c);
/* For a new connection, or instead of one that is of no use. True: it is
 * another one than before. */
bool memory_client_choose(struct memory_client *c);

void memory_on_answer(struct memory_message *m);
void memory_on_looked(struct memory_client *c, const struct memory_message *m);
void memory_on_notice(struct memory_client *c, const struct memory_message *m);
void memory_on_about_hold(struct memory_client *c,
                          const struct memory_message *m);

#endif
