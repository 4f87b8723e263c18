/*
 * coordinator_priv.h - the coordinator's state, for the files of this folder.
 * All of it belongs to the loop thread.
 *
 *   coordinator.c  makes, feeds, ticks and ends all parts
 *   sync.c         does the registry tell us what happens, up to now
 *   place.c        is the registry where others have seen it
 *   entry.c        our own entry in the registry, and those of the others
 *   groups.c       which groups a worker is in
 *   targets.c      who takes an item of work
 *   nodes/         nodes that speak HTTP
 *   removal/       and what becomes of them when nobody renews them
 *   requests.c     reads and writes that clients asked for
 *   raiser.c       what is taken from processes
 *   queries.c      settings, records of failovers
 *   group_put.c    definitions of groups that clients change
 *   withdraw.c     takes an ordered failover back
 *   publish.c shown.c                what readers see
 *   snapshot.c snapshot_nodes.c      and how it is kept
 *   waits.c        long polls
 *   written.c      waits until a write is in the snapshot
 *   problems.c     what in the registry cannot be used
 *   lines.c        the log
 */
#ifndef PELORUS_COORDINATOR_COORDINATOR_PRIV_H
#define PELORUS_COORDINATOR_COORDINATOR_PRIV_H

#include "coordinator/coordinator.h"

#include "base/map/heap.h"
#include "base/rand.h"
#include "base/table.h"
#include "conf/conf.h"
#include "coordinator/raiser.h"
#include "registry/attempt.h"
#include "registry/history.h"

#define COORDINATOR_WAITS_MAX 10000
#define COORDINATORS_PREFIX   "/pelorus/coordinators"
#define GROUPS_PREFIX         "/pelorus/groups"
#define OWN_NODES_PREFIX      "/pelorus/nodes"
#define GROUP_ADDRESSES_MAX   10000
#define TIDY_SOON_MS          1500
#define TIDY_AGAIN_MS         45000
#define TIDY_GONE             500 /* nodes, and then not at once */
#define TIDY_GONE_MS          5000
#define PUBLISH_SOON_MS       50   /* a node came, went, changed state */
#define PUBLISH_LATE_MS       1000 /* only loads changed, or nothing did */
/* At most so many in one millisecond for those who wait for what they wrote:
 * the loop has more to do. */
#define PUBLISHES_A_MS 4

/* The name of a group, once for all who carry it. Never "default". */
struct group_name {
    UT_hash_handle hh;
    uint32_t refs;
    const struct conf_own *configured; /* balancer.groups.NAME; NULL none */
    char text[];
};

/* Sorted by name, each once; holds a reference to each. */
struct group_list { /* one block; NULL: none */
    size_t n;
    struct group_name *names[];
};

/* What the coordinator keeps of a node, at node->user. */
struct coordinator_node_extra {
    uint32_t planned[2];   /* master: given by targets.c, markers not yet
                              seen; in this period and in the one before */
    mono_ms planned_since; /* when this period began */
    uint32_t markers;      /* as the view last told */
    uint32_t owned;        /* of these: of the process that is there */
    uint64_t work_index;
    struct group_list *defined;     /* by configuration and API; see groups.c */
    struct group_list *groups;      /* the effective ones */
    struct problems_logged *logged; /* problems.c: those that are in the log;
                                       NULL: none ever was */
    struct node_verified *verified; /* nodes/; one block, or NULL */
    struct node *node;              /* whose it is */
    struct heap_item suspect;       /* lines.c: and that is not logged yet */
    struct heap_item age;   /* shown.c: in the heap of those that grow old */
    uint32_t changed_place; /* and in the list of the changed, from 1; 0: it is
                               not there */
    bool groups_due;        /* a definition changed; they are out of date */
};

struct shown {
    struct snapshot_nodes nodes;
    struct snapshot_seen seen[NODE_KINDS];
    bool gone[NODE_KINDS]; /* a node of it, since the last snapshot */
    size_t n_problems;     /* nodes that have one */
    struct node **changed; /* since the last snapshot */
    size_t n_changed;
    struct heap ages;    /* when a report grows old, at the earliest */
    bool silent;         /* the registry, then */
    int64_t wall_offset; /* of the clock of answers, then */
};

/* Either half of what is stored by API may be missing: then the configuration's
 * addresses count, and its settings. */
struct group_def {
    struct group_name *name;
    char **addresses; /* sorted */
    size_t n_addresses;
    bool by_api;         /* the addresses are */
    bool stored;         /* something by API is there */
    struct conf_own own; /* settings by API */
    UT_hash_handle hh;
};

/* Another coordinator, or we. */
struct peer {
    struct snapshot_coordinator entry;
    uint64_t owner; /* the session its entry stands in */
    bool renewals;  /* it reads those in groups, and is told to write them */
    bool watches;   /* it waits for as long as a registration says */
    UT_hash_handle hh;
};

struct coordinator_wait {
    enum coordinator_topic topic;
    enum node_kind kind;
    char address[NODE_ADDRESS_MAX + 1];
    bool anybody;
    uint64_t seen;
    uint64_t compared; /* the last snapshot that it did not end with */
    mono_ms until;
    coordinator_woken_f *woken;
    void *arg;
    struct coordinator_wait *next, *prev;
};

struct request;
struct rings; /* cluster/renewals/rings.h */

/* What the requests of one sort do. */
struct request_type {
    /* Frees it, with what is particular to it; NULL: it is one block. */
    void (*drop)(struct request *);
    /* Begins, or begins again; NULL: coordinator_request_read(). */
    void (*begin)(struct request *);
    /* What stands at its key: ERR_OK or ERR_NOT_FOUND. */
    void (*read)(struct request *, const struct registry_reply *);
    void (*written)(struct request *);
    /* Its write was not applied; called before anything follows from that. May
     * be NULL. */
    void (*refused)(struct request *, const struct registry_reply *);
};

/* A request to the registry made in the name of a client, the first member of
 * its own struct; in a list so that coordinator_free() can answer all of them.
 * At most one call is under way for it at a time, with the request as its
 * argument. */
struct request {
    const struct request_type *type;
    struct coordinator *c;
    coordinator_reply_f *done;
    void *arg;
    struct request *next, *prev;
    char key[REGISTRY_KEY_MAX + 1]; /* what it reads, and writes upon */
    struct attempt attempt;
};

/* What was said last of a wait for a lock. */
struct lock_wait {
    mono_ms since;
    char holder[160];
    /* and those that the registry's trouble keeps from beginning */
    size_t pending;
    mono_ms counted;
    struct trouble_pace pace;
};

/* place.c: somebody has seen the registry further than we have. */
struct place_doubt {
    struct registry_place place;    /* incarnation "": nothing is in doubt */
    char key[REGISTRY_KEY_MAX + 1]; /* of whoever has seen it there */
    bool registered; /* read there, not only said by its client */
    unsigned proofs; /* that it stands lower */
    bool busy;
    mono_ms next;
    struct history_record record;   /* as last read */
    uint64_t version;               /* its */
    char mistaken[HISTORY_ID_SIZE]; /* no incarnation of ours, as was found */
    uint64_t fence;                 /* the highest of our locks, ever */
    uint64_t evidence_changes;      /* so much of what was shown is in it */
    mono_ms evidence_at;
};

/* Of written.c: a client waits until its write is in the snapshot. */
struct write_wait;

struct coordinator {
    const struct conf *conf;
    const struct clock *clock;
    struct registry *registry;
    char self[NODE_ADDRESS_MAX + 1];
    uint64_t instance;
    struct rand rand;
    struct coordinator_config config;

    struct gates *gates;
    struct membership *membership;
    struct renewals *renewals; /* nodes/ */
    bool renewals_synced;      /* all rings were told */
    bool grouped; /* renewals are, as far as we know; told each turn */
    struct renewal_counts renewal_counts;
    struct node **masters; /* those that membership knows; for targets.c */
    size_t n_masters;
    struct balancer *balancer;
    struct second *second;
    enum conf_policy policy; /* of the balancer, now */
    struct view *view;
    struct work *work;
    struct engine *engines[NODE_KINDS]; /* of alert servers: with a hook */
    struct raiser *raiser;
    struct removal *removal;
    struct forgetter *forgetter;
    uint32_t ranks[NODE_KINDS]; /* entry.c: ours among the coordinators */

    struct registry_listener *listener;
    struct registry_watch *watch_groups, *watch_peers;

    /* entry.c */
    struct peer *peers;     /* by address */
    uint64_t peers_changed; /* how often one came, or another mode of its */
    bool peers_synced;      /* all of them were told */
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
    bool own_changed; /* settings of some group's own */
    bool groups_synced;
    bool known;     /* all was told once: picks are let go */
    mono_ms tidy;   /* when free memory is given back; 0: not any more */
    uint8_t tidied; /* how often, since the start: these times end */
    size_t n_gone;  /* nodes that were forgotten since */

    /* publish.c */
    struct snapshot_slot *slot;
    struct shown shown;                  /* shown.c */
    struct snapshot_arena *groups_arena; /* the groups as published */
    struct coordinator_snapshot_group *groups_list;
    size_t n_groups_list;
    bool groups_stale; /* and they are not as published any more */
    uint64_t index;
    mono_ms published;
    unsigned publishes; /* in that millisecond */
    bool dirty_soon, dirty_late;
    bool ready;    /* as published */
    bool stale;    /* likewise */
    wall_ms as_of; /* when the registry was last known good */

    struct snapshot_counts counts[NODE_KINDS];
    struct place_doubt doubt;                /* place.c */
    struct lock_wait lock_waits[NODE_KINDS]; /* lines.c */
    struct coordinator_wait *waits;
    size_t n_waits;
    struct write_wait *write_waits; /* written.c */
    size_t n_write_waits;
    bool awaited;         /* what is not published yet */
    struct heap suspects; /* lines.c: until they are logged */
    bool leaving;
    void (*left)(void *arg);
    void *left_arg;

    struct key_problem *problems; /* problems.c */
    size_t problem_lines;
    struct request *requests;
    mono_ms balancer_ticked, forgot;
};

/* sync.c */
bool coordinator_is_current(const struct coordinator *c);
bool coordinator_synced(const struct coordinator *c);
/* How often it is asked for a sign of life, ms. */
int64_t coordinator_answer_interval(const struct coordinator *c);
void coordinator_sync_tick(struct coordinator *c);
void coordinator_check_timeout(const struct coordinator *c);
/* The balancer, or not any more. */
void coordinator_freeze_balancer(struct coordinator *c);

/* place.c: what the client of the node with this key has seen. In doubt: that
 * lies beyond what we know of the registry; what is to be decided on it waits a
 * little. */
enum place_verdict { PLACE_KNOWN, PLACE_IN_DOUBT, PLACE_IMPOSSIBLE };
enum place_verdict coordinator_place_check(struct coordinator *c,
                                           const struct registry_place *p,
                                           const char *key);
/* The registration at this key says that its process has seen it there. */
void coordinator_place_reported(struct coordinator *c, const char *key,
                                const struct registry_place *place);
void coordinator_place_went_back(struct coordinator *c);
void coordinator_place_tick(struct coordinator *c);

/* entry.c */
void coordinator_entry_tick(struct coordinator *c);
void coordinator_entry_event(void *arg, const struct registry_event *ev);
bool coordinator_entry_exists(const struct coordinator *c);
void coordinator_entry_remove(struct coordinator *c);
void coordinator_entry_end(struct coordinator *c);

/* groups.c */
/* There are groups in `conf`, or other ones. */
void coordinator_groups_reload(struct coordinator *c);
void coordinator_groups_event(void *arg, const struct registry_event *ev);
void coordinator_groups_tick(struct coordinator *c); /* applies what changed */
/* Tell the balancer which settings hold, for all and for each group. */
void coordinator_groups_configure(struct coordinator *c);
/* Those of one group; of `own` by API if it is not NULL, else of its present
 * ones. */
void coordinator_groups_settings(const struct coordinator *c, const char *name,
                                 const struct conf_own *own,
                                 struct group_settings *out);
/* What the configuration defines under this name, or NULL. */
const struct conf_group *
coordinator_groups_configured(const struct coordinator *c, const char *name);
/* The definitions that name a worker, into its empty list: it is new. */
void coordinator_groups_join(struct coordinator *c, struct node *node,
                             struct coordinator_node_extra *x);
/* Work out a worker's effective groups again. */
void coordinator_groups_update(struct coordinator *c, struct node *node,
                               struct coordinator_node_extra *x);
void coordinator_groups_end(struct coordinator *c);
/* May a group of this name be defined? `clean` is how it is written then. */
int coordinator_group_check(const char *name, char clean[NODE_GROUP_MAX + 1],
                            struct err *err) MUST_CHECK;

/* Freed; NULL then. */
void coordinator_group_list_close(struct coordinator *c, struct group_list **l);

/* targets.c */
void coordinator_targets_update(struct coordinator *c, struct node *node);
void coordinator_targets_choose(void *arg, enum node_kind kind,
                                const char *group, const char *const *exclude,
                                size_t n_exclude, struct work_target *out);
work_unused_f coordinator_targets_unused;
/* Would it find somebody now? */
bool coordinator_targets_any(void *arg, enum node_kind kind, const char *group);
/* An owner's markers changed. */
void coordinator_targets_markers(struct coordinator *c, struct node *node,
                                 const struct work_view_owner *owner);
/* What we keep of a node; made when it is asked for first. */
struct coordinator_node_extra *coordinator_node_extra(struct coordinator *c,
                                                      struct node *node);
void coordinator_targets_forget(struct coordinator *c, struct node *node);
void coordinator_targets_end(struct coordinator *c);

/* nodes/. Renewals in groups: they begin when membership is there, and end
 * before the requests. */
void coordinator_renewals_begin(struct coordinator *c);
void coordinator_renewals_end(struct coordinator *c, bool told);
void coordinator_renewals_state(struct coordinator *c,
                                enum registry_state state);
void coordinator_renewals_told(struct coordinator *c,
                               const struct membership_key *told);
void coordinator_renewals_tick(struct coordinator *c);
/* coordinator.c, for them: nodes and their gates are watched from now on. */
void coordinator_watch_nodes(struct coordinator *c);
/* What a watch told of a registration of ours, after its node was judged. */
void coordinator_node_renew_told(struct coordinator *c, struct node *node,
                                 const struct registry_entry *entry);
/* Those by which registrations are removed, from now on; NULL: they go. */
void coordinator_use_rings(struct coordinator *c, struct rings *rings);

/* publish.c */
void coordinator_publish_tick(struct coordinator *c);
/* How long those who wait for what they wrote wait for the next one. */
int64_t coordinator_publish_gap_ms(const struct coordinator *c);
void coordinator_publish_now(struct coordinator *c);
void coordinator_publish_end(struct coordinator *c);
/* When that was, by the clock of answers. */
wall_ms coordinator_wall_at(const struct coordinator *c, mono_ms at);

/* shown.c. Something that a snapshot says of it may have changed; of all. */
void coordinator_node_changed(struct coordinator *c, struct node *node);
void coordinator_nodes_changed(struct coordinator *c);
/* It is about to be freed. */
void coordinator_shown_forget(struct coordinator *c, const struct node *node);
/* The nodes as they are now; what is new of them is marked with this index.
 * False: nothing is. */
bool coordinator_shown_fill(struct coordinator *c, struct snapshot *s,
                            uint64_t index);
void coordinator_shown_begin(struct coordinator *c);
void coordinator_shown_end(struct coordinator *c);

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

/* problems.c. A key that is not used, and why, or NULL: it is, or is gone.
 * `arg` is the coordinator: it is a registry_unfit_f, too. */
void coordinator_problems_key(void *arg, const char *key, const char *reason);
/* What of a node is not used: said, if it was not. Whoever frees `x` frees
 * x->logged. */
void coordinator_problems_node(struct coordinator *c, struct node *node,
                               struct coordinator_node_extra *x);
void coordinator_problems_fill(struct coordinator *c, struct snapshot *s);
void coordinator_problems_end(struct coordinator *c);

/* written.c: before and after a tick's publishing. */
void coordinator_written_tick(struct coordinator *c);
void coordinator_written_wake(
    struct coordinator *c); /* a watch told something */
void coordinator_written_answer(struct coordinator *c);
void coordinator_written_end(struct coordinator *c, bool told);

/* waits.c */
void coordinator_waits_tick(struct coordinator *c);
/* All of them end, and no new one begins; `told`: their callbacks are called.
 */
void coordinator_waits_end(struct coordinator *c, bool told);

/* requests.c. `key`: what it reads; NULL: it is set later. */
void coordinator_request_init(struct coordinator *c, struct request *r,
                              const struct request_type *type, const char *key,
                              coordinator_reply_f *done, void *arg);
/* Read what stands at its key; type->read() or the request's end follow. */
void coordinator_request_read(struct request *r);
/* The same of the record of the failover with this id; NOT_FOUND: it is none.
 */
void coordinator_request_read_failover(struct request *r, const char *id);
/* Write upon what was read, once for each read; type->written() follows, or
 * after a conflict it begins again a few times, and what is unknown is read
 * back for at most 10 s; otherwise the request ends. A put at `version` (0:
 * nothing stands there), or a txn, which is not sent when the read is of
 * another session or older than a session's timeout. All is copied. */
void coordinator_request_put(struct request *r, const struct buf *text,
                             uint64_t version);
void coordinator_request_txn(struct request *r, const struct registry_op *ops,
                             size_t n);
void coordinator_request_delete(struct request *r, uint64_t version);
/* A txn that takes something from the process at this address. */
void coordinator_request_take(struct request *r, enum node_kind kind,
                              const char *address,
                              const struct registry_op *ops, size_t n);
/* Unlink, answer, drop. */
void coordinator_request_end(struct request *r,
                             const struct coordinator_reply *reply);
/* The same with a code that follows from a registry's result; ERR_OK: none. */
void coordinator_request_fail(struct request *r, const struct err *err);
/* The same with what is wrong about it: `why` and a text. PROBLEM_NONE: the
 * code that follows from `why`. */
void coordinator_request_refuse(struct request *r, enum problem code,
                                enum err_code why, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/* The same when what stands in the registry cannot be read. */
void coordinator_request_damaged(struct request *r, const struct err *err);
/* A read of this request failed: it goes on as attempt.h says, or ends. */
void coordinator_request_read_failed(struct request *r, const struct err *err);
void coordinator_requests_tick(struct coordinator *c);
/* All of them end: cancelled, or, not `told`, without their callbacks. */
void coordinator_requests_end(struct coordinator *c, bool told);

#endif
