/*
 * nodes_priv.h - a request of a node that speaks HTTP, shared by nodes.c,
 * node_put.c and node_body.c.
 */
#ifndef PELORUS_COORDINATOR_NODES_NODES_PRIV_H
#define PELORUS_COORDINATOR_NODES_NODES_PRIV_H

#include "cluster/node_identity.h"
#include "cluster/renewals/rings.h"
#include "coordinator/coordinator_priv.h"
#include "coordinator/renewals/writer.h"

/*
 * Where versions repeat after a delete a registration has a second key of a
 * name of its own (REGISTRATIONS_PREFIX), made and removed by the txns that
 * make and remove it, and every write to the registration checks it: one that
 * was held up until another registration reached the same version fails on it.
 * The name stands in the registration, from its making on, whatever process
 * takes it over.
 */
struct node_life {
    char name[NODE_REGISTRATION_MAX + 1]; /* "" none */
    char missing[NODE_REGISTRATION_MAX + 1];
    char key[REGISTRY_KEY_MAX + 1];
};

/* The second key of a registration as it was read; NULL: it is to be made. */
void coordinator_node_life_read(struct node_life *life,
                                const struct node_claim *standing);

/* The op beside a put of the registration at `key`, the last of its txn; false:
 * none is needed. `life` is lent to it. A name is drawn where there is none
 * yet. */
bool coordinator_node_life_put(struct node_life *life, struct coordinator *c,
                               const char *key, struct registry_op *op);

/* How renewals are to be written, and whether that stands in `taken`. */
struct renewals_mode {
    struct coordinator *c;
    bool wants, grouped;     /* `grouped` is wanted, or single */
    bool settled;            /* it stood so when it was looked at */
    bool said, said_grouped; /* in the log */
    bool busy;
    mono_ms agreed; /* all coordinators read windows, since; -1: not */
    mono_ms next;
    uint64_t peers; /* peers_changed, then */
};

/* Renewals in groups; c->renewals. renewals.c makes it. */
struct renewals {
    struct rings *rings; /* never NULL */
    uint64_t epoch;      /* they are others with another one: the store went
                            back, and what was known or verified is void */
    struct registry_watch *watch;
    struct ring_writer *writer; /* NULL: we are told to write none */
    char entry_key[REGISTRY_KEY_MAX + 1];
    struct renewals_mode mode;
    uint64_t *told; /* registrations that were told, for those renewals of
                       unknown ones that rings.h keeps */
    size_t n_told, told_cap;
    bool anew; /* the store went back */
    /* Nodes and gates are watched: since a read of `taken` in this session,
     * when it had so many names; 0: nobody is verified by what they tell. */
    bool watches;
    mono_ms watch_at; /* then they are all the same: it cannot be read */
    uint64_t listed_session, listed_named;
    bool listed_gates; /* and the gates were all told in that session */
};

#define NODE_WARNINGS_MAX 16
#define NODE_BODY_MAX     ((size_t)64 * 1024) /* bytes of a heartbeat */

struct coordinator_node_request {
    struct request base; /* first; its key is the registration's */
    enum node_kind kind;
    char address[NODE_ADDRESS_MAX + 1];
    struct process process; /* put: who is registered; delete: whom it shall
                               concern */
    /* put only */
    struct buf others; /* members of the body that are not ours, as sent */
    int64_t ttl_ms;
    mono_ms expires; /* the lease that it asks for is over then */
    bool takeover;
    char *warnings[NODE_WARNINGS_MAX]; /* sentences about the body */
    size_t n_warnings;
    struct node_claim ask, next;
    struct registry_place place; /* that its node has seen; "" unknown */
    enum node_ruling ruling;
    char new_instance[NODE_INSTANCE_MAX +
                      1];      /* of a registration that it begins */
    uint64_t version;          /* of the one that was read; 0 none */
    uint64_t created_revision; /* and what it was created at */
    struct node_life life;
    size_t n_ops;          /* of its txn */
    uint64_t gate_version; /* 0: none was seen */
    bool gate_may_go;      /* what has its version may be another life of it */
    bool written, created, waits;
    bool names; /* its txn raises `taken` */
    /* renew.c */
    struct load load; /* what its body says, and a window tells */
    bool busy;
    uint64_t steady; /* the rest of it */
    bool sees;       /* who was taken from was known before it was read */
    uint64_t since;  /* and how many were, then */
    bool fits;       /* what was read may be renewed in a window */
    int64_t watched_ms;
    unsigned left;    /* so often it was named meanwhile */
    int64_t every_ms; /* how often it is to renew, at the least */
    mono_ms began;    /* this attempt: before it was sent */
    bool early;       /* long before it was due */
    bool widen; /* again: others are to wait for it longer, so that it may be
                   answered from memory */
    struct writer_put put;
};

/* node_body.c: is the body a heartbeat? ERR_INVALID with all members that are
 * none, and what is expected; those that nobody reads become warnings. */
int coordinator_node_body_check(struct coordinator_node_request *n,
                                const struct json *body,
                                struct err *err) MUST_CHECK;

/*
 * renew.c. Before anything is read; then: is it a renewal of one that was
 * verified? True: it is in a window, and coordinator_node_renewed() follows, or
 * it was answered from memory.
 */
void coordinator_node_renew_begin(struct coordinator_node_request *n);
bool coordinator_node_renew_known(struct coordinator_node_request *n);
/* Its registration was read, and judged (`steady`: node_claim_steady() of it,
 * if n->sees): n->fits says whether its gate is to be read for a window. That
 * does not bar it: true as above. */
void coordinator_node_renew_look(struct coordinator_node_request *n,
                                 const struct node_claim *standing,
                                 uint64_t steady);
bool coordinator_node_renew_read(struct coordinator_node_request *n);
/* For so long it is to be watched, and stands as a lease: before it writes
 * itself, in n->next. */
void coordinator_node_renew_write(struct coordinator_node_request *n);
/* It was written by itself, and its gate does not bar it. */
void coordinator_node_renew_written(struct coordinator_node_request *n);
/* It is leaving, by our hand. */
void coordinator_node_renew_forget(struct coordinator_node_request *n);
/* How often, or a little sooner, so that not all come at once. */
int64_t coordinator_node_renew_after(const struct coordinator_node_request *n,
                                     int64_t every_ms);
/* Are renewals written in groups, as far as we know? */
bool coordinator_node_grouped(const struct coordinator *c);
/* node_put.c: it is answered from memory; and what became of it. */
void coordinator_node_remembered(struct coordinator_node_request *n);
void coordinator_node_renewed(struct coordinator_node_request *n,
                              const struct writer_reply *reply);

/* A registration as it was read, or written. */
struct node_verified {
    uint64_t epoch;
    uint64_t created, since;
    uint64_t steady;   /* what of its body no window tells */
    uint64_t instance; /* a hash of it */
    uint64_t process;  /* likewise: another one at the key has another name */
    int64_t startup;   /* that its body said */
    int32_t ttl_ms, watched_ms;
    uint32_t generation;
    bool confirmed;
    bool sees; /* may be renewed in a window: `since` is known */
    bool told; /* by a watch: its gates have to be known likewise */
    /* its last renewal that we committed ourselves: when, before it was sent;
     * 0 none */
    mono_ms renewed;
    uint16_t load[4];
    bool busy;
    uint8_t early; /* so many before it was due, in a row */
    char name[];   /* the instance, where its holder does not bring it */
};

/* early.c. It was committed, by us. */
void coordinator_node_remember(struct node_verified *v,
                               const struct coordinator_node_request *n);
/* May it be answered from memory? */
bool coordinator_node_from_memory(const struct coordinator_node_request *n,
                                  const struct node_verified *v);
/* Does it come long before it was due, if the last one came then? 0: none. */
bool coordinator_node_is_early(const struct coordinator_node_request *n,
                               mono_ms last);
/* Is it to be written so that it may be? Counts the early ones. */
bool coordinator_node_wants_wide(const struct coordinator_node_request *n,
                                 struct node_verified *v);
/* For so long others have to wait at least, so that he may be remembered. */
int64_t coordinator_node_wide_ms(const struct coordinator_node_request *n);
/* Does every coordinator that we see wait for as long as a registration says?
 * An older one removes what has a ttl when that is over. */
bool coordinator_node_all_watch(const struct coordinator *c);

/* NULL: the address is none, and that was answered. */
struct coordinator_node_request *
coordinator_node_request(struct coordinator *c, const struct request_type *type,
                         enum node_kind kind, const char *address,
                         coordinator_reply_f *done, void *arg);
/* Of its type. */
void coordinator_node_request_drop(struct request *r);
/*
 * Its txn was not applied. Where all but the last op held, the second key is
 * not there, and it is never made again: a registration that still names it
 * when it is read after this (somebody took the second key alone away) goes on
 * without.
 */
void coordinator_node_refused(struct request *r,
                              const struct registry_reply *reply);

/* The key is another client's, and goes with that one's session. */
void coordinator_node_refuse_agents(struct coordinator_node_request *n);

#endif
