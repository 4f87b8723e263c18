/*
 * coordinator_priv.h - the coordinator's state, for the files of this folder.
 *
 * coordinator.c wires and ticks, and drops who is gone; hear.c knows whether
 * the registry answers; place.c whether it is what others have seen; lines.c
 * logs; entry.c keeps our own registry entry and knows the other coordinators;
 * groups.c says who is in which group, and holds their names;
 * looks.c shows who wrote what it wrote;
 * targets.c chooses who takes work; nodes.c, node_put.c and node_body.c serve
 * nodes that speak HTTP; publish.c builds snapshots; waits.c holds long polls;
 * requests.c keeps what clients asked of the registry; problems.c says what
 * stands there and is not used; queries.c asks for settings, groups and
 * failover records, and withdraw.c takes back what was ordered.
 */
#ifndef PELORUS_COORDINATOR_COORDINATOR_PRIV_H
#define PELORUS_COORDINATOR_COORDINATOR_PRIV_H

#include "coordinator/coordinator.h"

#include "base/rand.h"
#include "conf/conf.h"
#include "registry/attempt.h"
#include "registry/history.h"

#include <uthash.h>

#define COORDINATOR_WAITS_MAX 10000
#define COORDINATORS_PREFIX   "/pelorus/coordinators"
#define GROUPS_PREFIX         "/pelorus/groups"
#define NODES_PREFIX          "/nodes"
#define OWN_NODES_PREFIX      "/pelorus/nodes"
#define GROUP_ADDRESSES_MAX   10000
#define PUBLISH_SOON_MS       50   /* a node came, went, changed state */
#define PUBLISH_LATE_MS       1000 /* only loads changed, or nothing did */
#define PUBLISH_GAP_MS        2    /* see coordinator_publish_gap() */
#define PUBLISH_NODES_PER_MS  400

/* The name of a group, once for all who carry it. Never "default". */
struct group_name {
    UT_hash_handle hh;
    uint32_t refs;
    uint32_t place; /* among the groups of the snapshot being built */
    char text[];
};

/* Sorted by name, each once; holds a reference to each. */
struct group_list {
    struct group_name **names;
    size_t n;
};

/* Hangs at node->user: what the coordinator keeps of a node. */
struct coordinator_node_extra {
    uint32_t planned[2];   /* master: given by targets.c, markers not yet
                              seen; in this period and in the one before */
    mono_ms planned_since; /* when this period began */
    size_t markers;        /* as the view last told */
    uint64_t work_index;
    struct group_list defined; /* by configuration and API; see groups.c */
    struct group_list groups;  /* the effective ones */
    bool groups_due;           /* a definition changed; they are out of date */
    uint64_t said[16];         /* problems.c: those that were said */
    size_t n_said;
    struct process said_of;
    mono_ms hushed; /* lines.c: suspected then, not told yet; 0 */
};

struct group_def {
    struct group_name *interned;
    const char *name; /* its text */
    char **addresses; /* sorted */
    size_t n_addresses;
    bool by_api;
    UT_hash_handle hh;
};

#define PEER_LOCKS_SIZE 40 /* "master,worker,alert-server" */

/* Another coordinator, or we, as its entry says. */
struct peer {
    char address[NODE_ADDRESS_MAX + 1];
    char version[32];
    char locks[PEER_LOCKS_SIZE];
    wall_ms started;
    uint64_t owner; /* the session its entry stands in */
    UT_hash_handle hh;
};

struct coordinator_wait {
    enum coordinator_topic topic;
    enum node_kind kind;
    char address[NODE_ADDRESS_MAX + 1];
    bool anybody;
    uint64_t seen;
    uint64_t looked; /* the last snapshot that it did not end with */
    mono_ms until;
    coordinator_woken_f *woken;
    void *arg;
    struct coordinator_wait *next, *prev;
};

/* A request to the registry made in the name of a client; in a list so that
 * coordinator_free() can answer all of them. At most one call is under way for
 * it at a time, with the request as its argument. */
struct request {
    struct coordinator *c;
    coordinator_reply_f *done;
    void *arg;
    struct request *next, *prev;
    void (*drop)(struct request *);  /* frees what is particular to it */
    void (*again)(struct request *); /* reads again what it stands on */
    struct attempt attempt;
};

/* What was said last of a wait for a lock. */
struct lock_wait {
    mono_ms since;
    char holder[160];
    /* and those that the registry's trouble keeps from beginning */
    size_t pending;
    mono_ms counted;
    struct trouble_pace said;
};

/* place.c: somebody has seen the registry further than we have. */
struct place_doubt {
    struct registry_place place;    /* incarnation "": nothing is in doubt */
    char key[REGISTRY_KEY_MAX + 1]; /* of whoever has seen it there */
    bool stands;     /* read there, not only said by its client */
    unsigned proofs; /* that it stands lower */
    bool busy;
    mono_ms next;
    struct history_record record;   /* as last read */
    uint64_t version;               /* its */
    char mistaken[HISTORY_ID_SIZE]; /* no incarnation of ours, as was found */
    uint64_t fence;                 /* the highest of our locks, ever */
    uint64_t told;                  /* so much of what was shown is testified */
    mono_ms testified;
};

/* looks.c: somebody waits until what stands at these keys is published. */
struct coordinator_look;

struct coordinator {
    const struct conf *conf;
    const struct clock *clock;
    struct registry *registry;
    char self[NODE_ADDRESS_MAX + 1];
    uint64_t instance;
    struct rand rand;
    engine_event_f *event;
    void *event_arg;

    struct gates *gates;
    struct membership *membership;
    struct node **masters; /* those that membership knows; for targets.c */
    size_t n_masters;
    struct balancer *balancer;
    struct view *view;
    struct work *work;
    struct engine *engines[NODE_KINDS]; /* of alert servers: with a hook */

    struct registry_listener *listener;
    struct registry_watch *watch_groups, *watch_peers;

    /* entry.c */
    struct peer *peers;
    uint64_t entry_session; /* the session our entry stands in; 0 none */
    uint64_t entry_writing; /* the session a write of it is under way in */
    bool entry_refused;     /* and that was said */
    bool entry_stale;       /* its text is out of date */
    mono_ms entry_retry;
    wall_ms started;

    /* groups.c */
    struct group_def *groups;
    struct group_name *names; /* groups.c */
    bool groups_changed;
    bool groups_synced;
    bool known; /* all was told once: picks are let go */

    /* publish.c */
    struct snapshot_slot *slot;
    struct node **order; /* all nodes as a snapshot lists them */
    size_t n_order;
    bool order_stale; /* a node came or went */
    uint64_t index;
    mono_ms published;
    bool dirty_soon, dirty_late;
    bool ready;    /* as published */
    bool stale;    /* likewise */
    wall_ms as_of; /* when the registry was last known good */

    struct place_doubt doubt;                /* place.c */
    struct lock_wait lock_waits[NODE_KINDS]; /* lines.c */
    struct coordinator_wait *waits;
    size_t n_waits;
    struct coordinator_look *looks; /* looks.c */
    size_t n_looks;
    bool awaited; /* what is not published yet */
    void (*soon)(void *arg, int64_t ms);
    void *soon_arg;
    size_t hushed; /* lines.c: nodes that are */
    bool leaving;
    void (*left)(void *arg);
    void *left_arg;

    struct key_problem *problems; /* problems.c */
    size_t problem_lines;
    struct request *requests;
    mono_ms balancer_ticked, forgot;
};

/* hear.c */
bool coordinator_hears(const struct coordinator *c);
bool coordinator_synced(const struct coordinator *c);
int64_t
coordinator_hear_interval(const struct coordinator *c); /* between answers */
void coordinator_hear_tick(struct coordinator *c);
void coordinator_hear_check_timeout(const struct coordinator *c);
void coordinator_hear_freeze(
    struct coordinator *c); /* the balancer, or not any more */

/* place.c: what the client of the node with this key has seen. In doubt: that
 * lies beyond what we know of the registry; what is to be decided on it waits a
 * little. */
enum place_said { PLACE_KNOWN, PLACE_IN_DOUBT, PLACE_IMPOSSIBLE };
enum place_said coordinator_place_heard(struct coordinator *c,
                                        const struct registry_place *p,
                                        const char *key);
/* The registration at this key says that its process has seen it there. */
void coordinator_place_told(struct coordinator *c, const char *key,
                            const struct registry_place *place);
void coordinator_place_went_back(struct coordinator *c);
void coordinator_place_tick(struct coordinator *c);

/* entry.c */
void coordinator_entry_begin(struct coordinator *c);
void coordinator_entry_tick(struct coordinator *c);
void coordinator_entry_event(void *arg, const struct registry_event *ev);
bool coordinator_entry_stands(const struct coordinator *c);
void coordinator_entry_remove(struct coordinator *c);
void coordinator_entry_end(struct coordinator *c);

/* groups.c */
void coordinator_groups_begin(struct coordinator *c);
void coordinator_groups_reload(
    struct coordinator *c); /* other groups in `conf` */
void coordinator_groups_event(void *arg, const struct registry_event *ev);
void coordinator_groups_tick(struct coordinator *c); /* applies what changed */
/* The definitions that name a worker, into its empty list: it is new. */
void coordinator_groups_join(struct coordinator *c, struct node *node,
                             struct coordinator_node_extra *x);
/* Work out a worker's effective groups again. */
void coordinator_groups_of(struct coordinator *c, struct node *node,
                           struct coordinator_node_extra *x);
void coordinator_groups_end(struct coordinator *c);

/* get adds a reference, put drops one. */
struct group_name *coordinator_group_name_get(struct coordinator *c,
                                              const char *text);
void coordinator_group_name_put(struct coordinator *c, struct group_name *n);
void coordinator_group_list_add(struct coordinator *c, struct group_list *l,
                                const char *text);
void coordinator_group_list_remove(struct coordinator *c, struct group_list *l,
                                   const char *text);
void coordinator_group_list_close(struct coordinator *c, struct group_list *l);

/* targets.c */
void coordinator_targets_update(struct coordinator *c, struct node *node);
void coordinator_targets_choose(void *arg, enum node_kind kind,
                                const char *group, const char *const *exclude,
                                size_t n_exclude, struct work_target *out);
work_unused_f coordinator_targets_unused;
/* Would it find somebody now? */
bool coordinator_targets_take(void *arg, enum node_kind kind,
                              const char *group);
/* An owner's markers changed. */
void coordinator_targets_seen(struct coordinator *c, struct node *node,
                              const struct work_view_owner *owner);
/* What we keep of a node; made when it is asked for first. */
struct coordinator_node_extra *coordinator_node_extra(struct coordinator *c,
                                                      struct node *node);
void coordinator_targets_forget(struct coordinator *c, struct node *node);
void coordinator_targets_end(struct coordinator *c);

/* nodes.c */
void coordinator_nodes_ttl_over(struct coordinator *c, const char *key,
                                uint64_t created, uint64_t version);

/* publish.c */
void coordinator_publish_tick(struct coordinator *c);
void coordinator_publish_now(struct coordinator *c);

/* lines.c */
void coordinator_lines_membership(struct coordinator *c,
                                  const struct membership_event *ev);
void coordinator_lines_tick(struct coordinator *c);
void coordinator_lines_engine(const struct engine_event *ev);
/* For whom the engines wait with their locks: said when it takes long, and in
 * each snapshot. A lock that a dead process holds in a store that nobody sweeps
 * looks like nothing at all otherwise. */
void coordinator_lock_wait_tick(struct coordinator *c);
void coordinator_lock_wait_fill(struct coordinator *c, struct snapshot *s,
                                int kind);

/* problems.c. A key that is not used, and why; and that it is, or is gone. */
void coordinator_problems_key(struct coordinator *c, const char *key,
                              const char *reason);
void coordinator_problems_key_good(struct coordinator *c, const char *key);
/* What can be no key at all: a registry_unfit_f. */
void coordinator_problems_unfit(void *arg, const char *key, const char *reason);
/* What of a node is not used: said, if it was not. */
void coordinator_problems_node(struct coordinator *c, struct node *node,
                               struct coordinator_node_extra *x);
void coordinator_problems_fill(struct coordinator *c, struct snapshot *s);
void coordinator_problems_fill_node(struct snapshot *s,
                                    struct coordinator_snapshot_node *to,
                                    const struct node *node);
void coordinator_problems_end(struct coordinator *c);

int64_t coordinator_publish_gap(const struct coordinator *c);

/* looks.c: before and after a tick's publishing. */
void coordinator_looks_tick(struct coordinator *c);
void coordinator_looks_stir(struct coordinator *c); /* a watch told something */
void coordinator_looks_answer(struct coordinator *c);
void coordinator_looks_end(struct coordinator *c);
void coordinator_looks_abandon(struct coordinator *c);

/* waits.c */
void coordinator_waits_tick(struct coordinator *c);
void coordinator_waits_end(struct coordinator *c);
void coordinator_waits_abandon(struct coordinator *c);

/* requests.c */
void coordinator_request_init(struct coordinator *c, struct request *r,
                              coordinator_reply_f *done, void *arg,
                              void (*drop)(struct request *),
                              void (*again)(struct request *));
/* Unlink, answer, drop. */
void coordinator_request_end(struct request *r,
                             const struct coordinator_reply *reply);
/* The same with a code that follows from a registry's result; ERR_OK: none. */
void coordinator_request_fail(struct request *r, const struct err *err);
/* The same when what stands in the registry cannot be read. */
void coordinator_request_damaged(struct request *r, const struct err *err);
/* Begin (again): what stands at `key`, and done(r, reply). */
void coordinator_request_read(struct request *r, const char *key,
                              registry_reply_f *done);
/* True: what was read is too old to be written upon, and it was begun again. */
bool coordinator_request_is_overtaken(struct request *r);
/* Write upon what was read; version 0: it was absent. done(r, reply). */
void coordinator_request_put(struct request *r, const char *key,
                             const struct buf *value, uint64_t version,
                             registry_reply_f *done);
/* A read or a write of this request failed: it goes on as attempt.h says, by
 * again(), or ends. */
void coordinator_request_read_failed(struct request *r, const struct err *err);
void coordinator_request_write_failed(struct request *r, const struct err *err);
void coordinator_requests_tick(struct coordinator *c);
void coordinator_requests_cancel(struct coordinator *c);
void coordinator_requests_abandon(struct coordinator *c);

#endif
