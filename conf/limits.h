/*
 * limits.h - what every room, and the configuration, must agree about: how long
 * the names of nodes and groups may be, and how old a report of a node's load.
 */
#ifndef PELORUS_CONF_LIMITS_H
#define PELORUS_CONF_LIMITS_H

#include <stdint.h>

/* "host:port", "[v6]:port"; lower case is not forced: it is a name. As long as
 * DNS lets a name be, with a port. */
#define NODE_HOST_MAX    253
#define NODE_ADDRESS_MAX (NODE_HOST_MAX + 6)

/* A group's name, in bytes of UTF-8. */
#define NODE_GROUP_MAX 255

/*
 * A node tells of its load once in such an interval: every third of its ttl, or
 * as often as all do, if that is less often. A report older than so many of
 * them is late (its worker is picked when nobody else is left) or stale (it is
 * not picked).
 */
#define NODE_REPORT_LATE  2
#define NODE_REPORT_STALE 3
static inline int64_t node_report_interval(int64_t ttl_ms,
                                           int64_t heartbeat_interval_ms)
{
    return ttl_ms / 3 > heartbeat_interval_ms ? ttl_ms / 3
                                              : heartbeat_interval_ms;
}

#endif
