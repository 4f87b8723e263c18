/*
 * nodes_priv.h - a request of a node that speaks HTTP, shared by nodes.c and
 * node_put.c.
 */
#ifndef PELORUS_COORDINATOR_NODES_PRIV_H
#define PELORUS_COORDINATOR_NODES_PRIV_H

#include "coordinator/coordinator_priv.h"
#include "coordinator/node_identity.h"

struct node_request {
    struct request base; /* first */
    enum node_kind kind;
    char address[NODE_ADDRESS_MAX + 1];
    char key[REGISTRY_KEY_MAX + 1];
    struct process process; /* put: who is registered; delete: whom it shall
                               concern */
    /* put only */
    char *body;
    size_t body_len;
    int64_t ttl_ms;
    mono_ms too_late; /* the lease that it asks for is over then */
    bool takeover;
    struct node_claim ask, next;
    struct registry_place place; /* that its node has seen; "" unknown */
    enum node_ruling ruling;
    char fresh[NODE_INSTANCE_MAX + 1]; /* of a registration that it begins */
    uint64_t version;                  /* of the one that was read; 0 none */
    uint64_t gate_version;             /* 0: none was seen */
    bool written, created, waits;
    uint64_t session; /* of the reads */
    mono_ms read_at;
};

/* NULL: the address is none, and that was answered. `again` may be NULL. */
struct node_request *node_request(struct coordinator *c, enum node_kind kind,
                                  const char *address,
                                  coordinator_reply_f *done, void *arg,
                                  void (*again)(struct request *));

/* The key is another client's, and goes with that one's session. */
void node_refuse_agents(struct node_request *n);

#endif
