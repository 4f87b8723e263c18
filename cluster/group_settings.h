/*
 * group_settings.h - which of the balancer's settings hold for a group, and how
 * the API and /pelorus/groups write those that are its own.
 *
 * They are the keys of conf/own.h with '_' for '-', and a block for each dot:
 *     {"cpu_max": 0.95, "warm_up": "10s", "dynamic_weights": {"cpu_usage":
 * ...}} Pure; any thread.
 */
#ifndef PELORUS_CLUSTER_GROUP_SETTINGS_H
#define PELORUS_CLUSTER_GROUP_SETTINGS_H

#include "base/json/json.h"
#include "cluster/problem.h"
#include "conf/own.h"

enum settings_from {
    SETTINGS_GENERAL,    /* balancer.KEY */
    SETTINGS_CONFIGURED, /* balancer.groups.NAME.KEY */
    SETTINGS_BY_API,
};

/* What is in force, and where each key of conf/own.h comes from. */
struct group_settings {
    struct conf_balancer values;
    uint8_t from[CONF_OWN_MAX]; /* enum settings_from */
};

/* The later of these that has a key counts; NULL has none. */
void group_settings_merge(struct group_settings *out,
                          const struct conf_balancer *general,
                          const struct conf_own *configured,
                          const struct conf_own *by_api);

/* What somebody wants to be different. */
struct group_settings_change {
    struct conf_own own; /* those keys get these values */
    uint32_t cleared;    /* and those are as with all groups again */
};

/* Of the member `balancer`: a key that is missing stays, one that is null goes,
 * and null for the whole is all of them. INVALID_JSON or INVALID_VALUE: `err`
 * names the first thing that is wrong, and `out` has what is right. */
enum problem group_settings_read(const struct json *from,
                                 struct group_settings_change *out,
                                 struct err *err);

/* The same of what a person writes, "cpu-max=0.95,warm-up=10s": "KEY=" takes a
 * key back (and its block with it), and "none" all of them. ERR_INVALID says
 * what is wrong and what there is. */
int group_settings_parse(const char *text, struct group_settings_change *out,
                         struct err *err) MUST_CHECK;

void group_settings_apply(const struct group_settings_change *change,
                          struct conf_own *to);

/* Append the member `balancer` as group_settings_read() takes it. */
void group_settings_put_change(struct buf *b,
                               const struct group_settings_change *change);

/* Append the member `balancer` with what `own` has. */
void group_settings_put_own(struct buf *b, const struct conf_own *own);

/* Append `balancer` with every key, and `balancer_from` with where each comes
 * from: general, configuration or api. */
void group_settings_put(struct buf *b, const struct group_settings *settings);

#endif
