/*
 * node_identity.h - who asks for an address over HTTP, and whether it is his:
 * one rule, pure.
 *
 * A registration carries an instance: a word that the answer to its first PUT
 * gives away and that renewals bring along. Whoever brings it is the holder;
 * who brings another one was replaced. Without one the startupTime decides: a
 * later process replaces the registered one (a quick restart), the same one
 * renews, an earlier one is too late. A body without startupTime renews
 * whatever stands, until its holder has brought the instance once: from then
 * on only he can be meant by it.
 */
#ifndef PELORUS_CLUSTER_NODE_IDENTITY_H
#define PELORUS_CLUSTER_NODE_IDENTITY_H

#include "base/clock.h"
#include "base/json/json.h"
#include "cluster/node.h"

#define NODE_INSTANCE_MAX     64
#define NODE_REGISTRATION_MAX 16
#define REGISTRATIONS_PREFIX  "/pelorus/registrations" /* nodes_priv.h */
#define NODE_STARTUP_MAX      INT64_C(9000000000000000)

/* One side of the question: the PUT, or the registration that stands. */
struct node_claim {
    bool exists;                          /* the registration: it is there */
    bool has_startup, has_process_id;     /* the PUT: the body says so */
    struct process process;               /* .known: the registration's is */
    int64_t body_startup;                 /* the registration: the startupTime
                                     that its body said */
    char instance[NODE_INSTANCE_MAX + 1]; /* "" none */
    bool confirmed;                       /* its holder has brought it */
    /* of the second key, see coordinator/nodes/; "" none */
    char registration[NODE_REGISTRATION_MAX + 1];
    /* the registration, for renewals in groups (docs/design/renewals.md); one
     * that says nothing of it has generation 1 and the rest zero */
    uint32_t generation; /* rises when another process takes the key over */
    bool doubted;        /* marked: it goes, unless a PUT writes it */
    bool leased; /* its ttl stands as `lease`, which older versions, that see no
                    renewals in groups, do not go by. node_judge() does not take
                    it over: whoever writes it says so */
    int64_t ttl_ms;     /* as it stands; 0 none. Not of what is to be written */
    int64_t watched_ms; /* it counts as alive for so long, if that is longer
                           than its ttl; never less while one process stands */
};

enum node_ruling {
    NODE_RULES_NEW,     /* nothing stands: it registers */
    NODE_RULES_RENEW,   /* it is the registered one */
    NODE_RULES_REPLACE, /* another process, and the later one */
    NODE_RULES_TAKEN,   /* the address is another's */
};

/*
 * `fresh` is the instance that this request gives to a new registration; one
 * that stands with it was written by this very request. `takeover`: a person
 * says that the other one is to give way. `*out` is what to register; `*why`
 * says for people why it is TAKEN.
 */
enum node_ruling node_judge(const struct node_claim *ask,
                            const struct node_claim *standing,
                            const char *fresh, bool takeover, wall_ms wall,
                            struct node_claim *out, const char **why);

/* What a registration's text says; `known` is false if it says nothing. */
void node_claim_read(struct node_claim *out, const char *text, size_t len);
/* The same, and node_claim_steady() of it; 0 if it is no JSON object. */
uint64_t node_claim_read_steady(struct node_claim *out, const char *text,
                                size_t len);

/* What a PUT's body says. ERR_INVALID: an identity that is none. */
int node_claim_ask(struct node_claim *out, const struct json *body,
                   struct err *err) MUST_CHECK;

/* [A-Za-z0-9._-]{1,64}. ERR_INVALID. */
int node_check_instance(const char *instance, struct err *err) MUST_CHECK;

/* The members of a PUT's body that are not ours, as they were sent: each with a
 * comma before it. Appended to `out`. */
void node_claim_others(struct buf *out, const struct json *body);

/* A hash of those of them that a renewal in a group does not tell and that do
 * not change with each heartbeat (heartbeat_changes()), in their order. */
uint64_t node_claim_steady(const struct json *body);

/* What is registered: the members of ours as `claim` has them (its process is
 * known, it is not doubted), `ttl_ms`, and `others` of node_claim_others().
 * Appended to `out`. */
void node_claim_write(struct buf *out, const char *others,
                      const struct node_claim *claim, int64_t ttl_ms);

/* The same registration, marked, all else as it stands; appended to `out`.
 * False: it is marked, or is no JSON object, and nothing was written. */
bool node_claim_doubt(struct buf *out, const char *text, size_t len) MUST_CHECK;

#endif
