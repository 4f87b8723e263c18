/*
 * coordinator_priv.h - the coordinator's state, for the files of this folder.
 *
 * coordinator.c wires and ticks; entry.c keeps our own registry entry and
 * knows the other coordinators; groups.c says who is in which group; targets.c
 * chooses who takes work; nodes.c serves nodes that speak HTTP; publish.c
 * builds snapshots; waits.c holds long polls; queries.c reads settings and
 * failover records.
 */
#ifndef PELORUS_COORDINATOR_COORDINATOR_PRIV_H
#define PELORUS_COORDINATOR_COORDINATOR_PRIV_H

#include "coordinator/coordinator.h"

#include "base/rand.h"
#include "conf/conf.h"

#include <uthash.h>

#define COORDINATOR_WAITS_MAX   10000
#define COORDINATORS_PREFIX     "/pelorus/coordinators"
#define GROUPS_PREFIX           "/pelorus/groups"
#define NODES_PREFIX            "/nodes"
#define OWN_NODES_PREFIX        "/pelorus/nodes"
#define GROUP_ADDRESSES_MAX     10000
#define PUBLISH_SOON_MS         50   /* a node came, went, changed state */
#define PUBLISH_LATE_MS         1000 /* only loads changed, or nothing did */

/* Hangs at node->user: what targets.c has given out and not yet seen. */
struct node_extra {
    uint32_t planned;        /* given, its marker not yet in our view */
    mono_ms planned_at;      /* of the last one */
    size_t markers;          /* as of the last look */
    uint64_t gate_version;   /* of the gate that the balancer knows */
    uint64_t incarnation;
    char **groups;           /* effective ones, sorted; see groups.c */
    size_t n_groups;
};

struct group_def {
    char *name;
    char **addresses;        /* sorted */
    size_t n_addresses;
    bool by_api;
    UT_hash_handle hh;
};

/* Another coordinator, or we, as its entry says. */
struct peer {
    char address[NODE_ADDRESS_MAX + 1];
    char version[32];
    char locks[16];
    wall_ms started;
    UT_hash_handle hh;
};

struct coordinator_wait {
    enum coordinator_topic topic;
    enum node_kind kind;
    char address[NODE_ADDRESS_MAX + 1];
    bool anybody;
    uint64_t seen;
    mono_ms until;
    coordinator_woken_f *woken;
    void *arg;
    struct coordinator_wait *next, *prev;
};

/* A request to the registry made in the name of a client; in a list so that
 * coordinator_free() can answer all of them. */
struct request {
    struct coordinator *c;
    coordinator_reply_f *done;
    void *arg;
    struct request *next, *prev;
    void (*drop)(struct request *); /* frees what is particular to it */
};

struct coordinator {
    const struct conf *conf;
    const struct clock *clock;
    struct registry *registry;
    char self[NODE_ADDRESS_MAX + 1];
    uint64_t instance;
    struct rand rand;
    engine_event_f *event;
    void *event_arg;

    struct membership *membership;
    struct node **masters;   /* those that membership knows; for targets.c */
    size_t n_masters;
    struct balancer *balancer;
    struct view *view;
    struct work *work;
    struct engine *engines[NODE_KINDS]; /* NULL for alert servers */

    struct registry_listener *listener;
    struct registry_watch *watch_nodes, *watch_ours, *watch_groups,
        *watch_peers;

    /* entry.c */
    struct peer *peers;
    uint64_t entry_session;  /* the session our entry stands in; 0 none */
    bool entry_pending;
    bool entry_stale;        /* its text is out of date */
    mono_ms entry_retry;
    wall_ms started;

    /* groups.c */
    struct group_def *groups;
    bool groups_changed;
    bool groups_synced;

    /* publish.c */
    struct snapshot_slot *slot;
    uint64_t index;
    mono_ms published;
    bool dirty_soon, dirty_late;
    bool ready;              /* as published */
    wall_ms as_of;           /* when the registry was last known good */
    uint64_t registry_revision; /* the highest that we saw */

    struct coordinator_wait *waits;
    size_t n_waits;
    bool leaving;
    void (*left)(void *arg);
    void *left_arg;

    struct request *requests;
    mono_ms balancer_ticked, forgot;
};

/* entry.c */
void entry_begin(struct coordinator *c);
void entry_tick(struct coordinator *c);
void entry_event(void *arg, const struct registry_event *ev);
bool entry_stands(const struct coordinator *c);
void entry_remove(struct coordinator *c);
void entry_end(struct coordinator *c);

/* groups.c */
void groups_begin(struct coordinator *c);
void groups_event(void *arg, const struct registry_event *ev);
void groups_tick(struct coordinator *c);   /* applies what changed */
void groups_of(struct coordinator *c, struct node *node); /* recompute */
bool groups_by_api(const struct coordinator *c, const char *name);
void groups_end(struct coordinator *c);

/* targets.c */
void targets_update(struct coordinator *c, struct node *node);
void targets_choose(void *arg, enum node_kind kind, const char *group,
                    const char *const *exclude, size_t n_exclude,
                    struct work_target *out);
void targets_seen(struct coordinator *c, enum node_kind kind,
                  const char *address, size_t markers);
struct node_extra *node_extra(struct node *node);
void targets_forget(struct coordinator *c, struct node *node);
void targets_end(struct coordinator *c);

/* nodes.c */
void nodes_ttl_over(struct coordinator *c, const char *key, uint64_t version);

/* publish.c */
void publish_tick(struct coordinator *c);
void publish_now(struct coordinator *c);

/* lines.c */
void lines_membership(const struct membership_event *ev);
void lines_engine(const struct engine_event *ev);

/* waits.c */
void waits_tick(struct coordinator *c);
void waits_end(struct coordinator *c);
void waits_abandon(struct coordinator *c);

/* queries.c: requests */
void request_init(struct coordinator *c, struct request *r,
                  coordinator_reply_f *done, void *arg,
                  void (*drop)(struct request *));
/* Unlink, answer, drop. */
void request_end(struct request *r, const struct coordinator_reply *reply);
/* The same with a code that follows from a registry's reply; ERR_OK: none. */
void request_fail(struct request *r, const struct err *err);
void requests_cancel(struct coordinator *c);
void requests_abandon(struct coordinator *c);
/* The API's word for a registry's result. */
const char *reply_code(enum err_code code);

#endif
