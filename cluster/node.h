/*
 * node.h - what a node is: kind, address, and the process that stands there.
 *
 * Work belongs to a process, never to an address: a quick restart puts
 * another process at the same address, and it inherits nothing by accident.
 */
#ifndef PELORUS_CLUSTER_NODE_H
#define PELORUS_CLUSTER_NODE_H

#include "base/compiler.h"
#include "base/err.h"
#include "conf/limits.h"

#include <stdbool.h>
#include <stdint.h>

enum PACKED node_kind { NODE_MASTER, NODE_WORKER, NODE_ALERT_SERVER };
#define NODE_KINDS 3

enum PACKED node_state {
    NODE_UP,
    NODE_SUSPECT, /* last key gone, or unchanged for its ttl */
    NODE_DOWN,    /* still gone after the grace */
    NODE_FENCED,  /* its work is being or was moved: INTENT was written */
    NODE_LEFT,    /* in order, by its own word */
};
#define NODE_STATES 5

enum PACKED node_status { NODE_NORMAL, NODE_BUSY };

/* Two processes are the same when startup_time and process_id are. */
struct process {
    uint64_t created;     /* of the registration; tells registrations apart */
    int64_t startup_time; /* epoch milliseconds by the node's own clock */
    int64_t process_id;
    bool known; /* false: the heartbeat was empty or unreadable; an
                   unknown process is never *another* process */
};

static inline bool process_same(const struct process *a,
                                const struct process *b)
{
    return a->known && b->known && a->startup_time == b->startup_time &&
           a->process_id == b->process_id;
}

/* Both known, and different. Not the negation of process_same(). */
static inline bool process_differs(const struct process *a,
                                   const struct process *b)
{
    return a->known && b->known && !process_same(a, b);
}

/* "1732000000000-4211", or "?" for an unknown one: for logs, the hook, JSON
 * keys. */
#define PROCESS_TEXT_SIZE 48
char *process_text(const struct process *p, char out[PROCESS_TEXT_SIZE]);

const char *node_kind_name(enum node_kind kind); /* "alert-server" */
int node_kind_parse(const char *name, enum node_kind *out) MUST_CHECK;
const char *node_state_name(enum node_state state);    /* "up" */
const char *node_status_name(enum node_status status); /* "NORMAL" */

/* ERR_INVALID with what is wrong about the address. It may be
 * DolphinScheduler's own, which writes an IPv6 host without brackets. */
int node_check_address(const char *address, struct err *err) MUST_CHECK;
/* The same for one that people and our clients write: of "::1:5" nobody can say
 * where the host ends, so an IPv6 host stands in brackets. */
int node_ask_address(const char *address, struct err *err) MUST_CHECK;

/* One spelling for all of an address, which may be none: an IPv6 host in
 * brackets and as RFC 5952 writes it; `out` may be `address`. And the nth other
 * spelling under which a node may stand, from 0: as DolphinScheduler writes it,
 * without brackets. False: there is none. */
char *node_canonical(const char *address, char out[NODE_ADDRESS_MAX + 1]);
bool node_spelling(const char *address, size_t i,
                   char out[NODE_ADDRESS_MAX + 1]);

/* Group names: 1 to 255 bytes of UTF-8 after trimming, A-Z made a-z, without
 * control characters and without slashes, because a name is a part of a key;
 * writes the clean name, "default" for an empty one. `out` may be `name`. */
int node_clean_group(const char *name, char out[NODE_GROUP_MAX + 1],
                     struct err *err) MUST_CHECK;

#endif
