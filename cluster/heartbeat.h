/*
 * heartbeat.h - reading what a node says about itself, in every form that
 * DolphinScheduler 2.x to 3.3 and our own agent write it. Pure; any thread.
 *
 * A heartbeat that is no JSON object is refused as a whole, with a reason; of
 * one that has a field of another type or out of its range that field alone is
 * refused, and all the others are its word. Each refusal is a problem with a
 * text for people. Missing numbers are unknown, never zero. The identity is
 * startupTime and processId; without a startupTime there is none, without a
 * processId it is 0.
 *
 * Whoever sends one over HTTP is there to be told: heartbeat_knows() says which
 * members nobody reads.
 *
 * A little longer than 150 lines: one text has one header.
 */
#ifndef PELORUS_CLUSTER_HEARTBEAT_H
#define PELORUS_CLUSTER_HEARTBEAT_H

#include "base/buf.h"
#include "cluster/node.h"
#include "registry/history.h"

struct json;

/* Why a heartbeat, or a field of it, was refused. */
enum heartbeat_reason {
    HEARTBEAT_OK,
    HEARTBEAT_EMPTY,
    HEARTBEAT_NOT_JSON,
    HEARTBEAT_NOT_A_NUMBER,
    HEARTBEAT_OUT_OF_RANGE,
    HEARTBEAT_NO_IDENTITY,
};

#define HEARTBEAT_GROUPS_MAX   32
#define HEARTBEAT_PROBLEMS_MAX 12
#define HEARTBEAT_PROBLEM_SIZE 192

/* Something that was refused. */
struct heartbeat_problem {
    enum heartbeat_reason reason;
    const char *field; /* static; NULL: the whole */
    char text[HEARTBEAT_PROBLEM_SIZE];
};

#define LOAD_UNKNOWN (-1.0)

/* Ratios 0..1, LOAD_UNKNOWN if not told. */
enum load_field { /* bits */
                  LOAD_CPU = 1,
                  LOAD_MEMORY = 2,
                  LOAD_DISK = 4,
                  LOAD_POOL = 8,
                  LOAD_SLOTS = 16,
                  LOAD_WEIGHT = 32,
};

struct load {
    double cpu, memory, disk;
    double pool;    /* share of the task slots in use, 0..100 */
    int32_t slots;  /* tasks it runs at once, 0 unknown */
    int32_t weight; /* 0 never picked .. 10,000; 100 is the default */
};

struct heartbeat {
    struct process process; /* .created is left to the caller */
    enum node_status status;
    bool has_status;
    bool readable;       /* a JSON object: groups and ttl are its word */
    int64_t report_time; /* by the node's own clock; 0 unknown */
    struct load load;    /* as if not told: what was refused */
    unsigned refused;    /* of the load: enum load_field */
    bool status_refused;
    double load_average;        /* written for people to see; not read */
    struct registry_place seen; /* our own, read: how far its process has seen
                                   the registry; incarnation "": not told */
    const char *place;          /* the same as text, written if not NULL or "";
                                   borrowed, not read */
    int64_t ttl_ms;      /* our own field on HTTP nodes, milliseconds or a
                            duration ("30s"); 0 none. Of one that is renewed in
                            groups it stands as `lease` (below) */
    int64_t watched_ms;  /* it counts as alive for so long: not below ttl_ms */
    uint32_t generation; /* of its process at this key, from 1 */
    bool doubted;        /* it is marked: about to be removed */
    size_t n_problems; /* 0: all of it is its word; further ones are not kept */
    size_t n_groups;   /* of the heartbeat's own `group`/`groups`; never
                          "default", which holds every worker */
    /* what lies beyond these numbers is not set, but that the first problem
     * is HEARTBEAT_OK where there is none */
    char groups[HEARTBEAT_GROUPS_MAX][NODE_GROUP_MAX + 1]; /* sorted, clean */
    struct heartbeat_problem problems[HEARTBEAT_PROBLEMS_MAX];
};
/*
 * What a registration of ours says for renewals in groups
 * (docs/design/renewals.md), under one name, so that a client's own members are
 * left alone: "renewals": {"lease", "watched", "generation", "doubted"}. We
 * alone write it: what is none there, is as if not there.
 */
#define HEARTBEAT_RENEWALS "renewals"
struct heartbeat_renewals {
    int64_t lease_ms;    /* 0: its ttl stands as `ttl`, or there is none */
    int64_t ttl_ms;      /* a whole `ttl`, else the lease; 0 none */
    int64_t watched_ms;  /* as it stands; 0 not */
    uint32_t generation; /* from 1 */
    bool doubted;
};
void heartbeat_read_renewals(struct heartbeat_renewals *out,
                             const struct json *o);

/* The load of a node that tells nothing. */
extern const struct load heartbeat_no_load;

/* Never fails: what is wrong with it stands in `problems`. Copies. */
void heartbeat_read(struct heartbeat *out, const char *value, size_t len);
/* The same of an object that has been parsed. */
void heartbeat_read_object(struct heartbeat *out, const struct json *o);

/* Put a clean name into a sorted list of at most HEARTBEAT_GROUPS_MAX, each
 * once; none and "default" are left out. False: the list is full. */
bool heartbeat_group_add(char (*groups)[NODE_GROUP_MAX + 1], size_t *n,
                         const char *name);

/* Does anybody read this member of a heartbeat, or write it for people to see?
 * If not, *meant is the member that it is probably meant to be, or NULL. */
bool heartbeat_knows(const char *member, const char **meant);
/* Does it change with each heartbeat, and does what anybody decides by it stand
 * in `cpu`, `memory`, `disk`, `pool` and `status`? Or nobody decides by it. */
bool heartbeat_changes(const char *member);

/* Write one in the form of DolphinScheduler 3.3 with our `slots`, `groups`
 * and `ttl`: for the agent and for HTTP nodes. */
void heartbeat_write(struct buf *out, enum node_kind kind, const char *address,
                     const struct heartbeat *hb, int64_t report_time);

/*
 * Which node a key speaks of: "/nodes/worker/h:1", "/nodes/worker/<group>/h:1"
 * and "/pelorus/nodes/<kind>/h:1". `group` is "" unless the path names one.
 * A group whose name is none for us (see node_clean_group) is left out, and why
 * stands in `problem`: its worker is alive all the same. ERR_INVALID: the key
 * is to be ignored, and why. Nothing else decides which keys are a node's.
 */
struct node_key {
    enum node_kind kind;
    char address[NODE_ADDRESS_MAX + 1];
    char group[NODE_GROUP_MAX + 1];
    bool ours;                            /* below /pelorus/nodes */
    char problem[HEARTBEAT_PROBLEM_SIZE]; /* "": none */
};
int node_key_parse(const char *key, struct node_key *out,
                   struct err *err) MUST_CHECK;
/* Its beginning alone; *rest is what stands behind the kind, not looked at.
 * False: no node's. */
bool node_key_begins(const char *key, enum node_kind *kind, bool *ours,
                     const char **rest);

/* The other way round: the keys under which a node may stand, by one spelling
 * of its address (node_spelling()); ours has one. `group` is the
 * bare name of a key below NODE_GROUPS, or NULL. False: there is no such key,
 * or it would not be this node's. `key` takes REGISTRY_KEY_MAX + 1 bytes. */
#define NODE_GROUPS "/nodes/worker"
bool node_key(enum node_kind kind, const char *address, const char *group,
              char *key);
char *node_key_ours(enum node_kind kind, const char *address, char *key);

#endif
