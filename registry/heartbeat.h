/*
 * heartbeat.h - reading what a node says about itself, in every form that
 * DolphinScheduler 2.x to 3.3 and our own agent write it. Pure; any thread.
 *
 * A heartbeat that is not JSON, or has NaN, infinite or out-of-range numbers,
 * is refused with a reason; identity and status are taken even then. Missing
 * numbers are unknown, never zero; unknown fields are ignored. The identity is
 * startupTime and processId; without a startupTime there is none, without a
 * processId it is 0.
 */
#ifndef PELORUS_REGISTRY_HEARTBEAT_H
#define PELORUS_REGISTRY_HEARTBEAT_H

#include "base/buf.h"
#include "registry/node.h"

/* Why a heartbeat was refused; each is counted. */
#define HEARTBEAT_REASONS(X)                                                   \
    X(HEARTBEAT_OK, "ok")                                                      \
    X(HEARTBEAT_EMPTY, "empty")                                                \
    X(HEARTBEAT_NOT_JSON, "not_json")                                          \
    X(HEARTBEAT_TOO_DEEP, "too_deep")                                          \
    X(HEARTBEAT_NOT_A_NUMBER, "not_a_number")                                  \
    X(HEARTBEAT_OUT_OF_RANGE, "out_of_range")                                  \
    X(HEARTBEAT_NO_IDENTITY, "no_identity")

enum heartbeat_reason {
#define X(code, name) code,
    HEARTBEAT_REASONS(X)
#undef X
        HEARTBEAT_REASON_COUNT
};
const char *heartbeat_reason_name(enum heartbeat_reason reason);

#define HEARTBEAT_GROUPS_MAX 32
#define LOAD_UNKNOWN         (-1.0)

/* Ratios 0..1, LOAD_UNKNOWN if not told. */
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
    struct load load;    /* valid when reason is HEARTBEAT_OK */
    double load_average; /* written for people to see; not read */
    char groups[HEARTBEAT_GROUPS_MAX][NODE_GROUP_MAX + 1]; /* sorted, clean */
    size_t n_groups;   /* of the heartbeat's own `group`/`groups`; never
                          "default", which holds every worker */
    const char *place; /* our own: how far its process has seen the registry
                          (history.h); borrowed, written if not NULL or "",
                          not read */
    int64_t ttl_ms;    /* our own field on HTTP nodes, milliseconds or a
                          duration ("30s"); 0 none */
    enum heartbeat_reason reason;
    const char *field; /* which one was refused, static, or NULL */
};

void heartbeat_read(struct heartbeat *out, const char *value, size_t len);

/* Write one in the form of DolphinScheduler 3.3 with our `slots`, `groups`
 * and `ttl`: for the agent and for HTTP nodes. */
void heartbeat_write(struct buf *out, enum node_kind kind, const char *address,
                     const struct heartbeat *hb, int64_t report_time);

/*
 * Which node a key speaks of: "/nodes/worker/h:1", "/nodes/worker/<group>/h:1"
 * and "/pelorus/nodes/<kind>/h:1". `group` is "" unless the path names one.
 * A group whose name is none for us (see node_clean_group), or looks like an
 * address, is left out: its worker is alive all the same. ERR_INVALID: the key
 * is to be ignored, and why. Nothing else decides which keys are a node's.
 */
struct node_key {
    enum node_kind kind;
    char address[NODE_ADDRESS_MAX + 1];
    char group[NODE_GROUP_MAX + 1];
    bool ours; /* below /pelorus/nodes */
};
int node_key_parse(const char *key, struct node_key *out,
                   struct err *err) MUST_CHECK;

/* The other way round: the keys under which a node may stand. `group` is the
 * bare name of a key below NODE_GROUPS, or NULL. False: there is no such key,
 * or it would not be this node's. `key` takes REGISTRY_KEY_MAX + 1 bytes. */
#define NODE_GROUPS "/nodes/worker"
bool node_key(enum node_kind kind, const char *address, const char *group,
              char *key);
char *node_key_ours(enum node_kind kind, const char *address, char *key);

#endif
