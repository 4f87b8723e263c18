/*
 * snapshot.h - the cluster as it stood at one moment, for readers on any
 * thread.
 *
 * The coordinator's loop builds one, publishes it and never touches it again;
 * a reader takes a reference, reads without any lock, and gives it back. A new
 * one is published at most 50 ms after a node came, went or changed state, and
 * at least once a second.
 *
 * What did not change is shared with the one before: the nodes hang in a tree
 * of which only the changed node and its branch are made anew, so that
 * publishing costs in proportion to the change.
 *
 * Longer than other headers: it is all that an answer may say.
 */
#ifndef PELORUS_COORDINATOR_SNAPSHOT_H
#define PELORUS_COORDINATOR_SNAPSHOT_H

#include "base/clock.h"
#include "cluster/group_settings.h"
#include "cluster/membership.h"
#include "coordinator/renewals/counts.h"
#include "registry/history.h"
#include "registry/trouble.h"
#include "work/cause.h"

/* The index under which something was first shown as it is: with all that is
 * said of it, and who is there alone (no load, no reports). */
struct snapshot_seen {
    uint64_t all, membership;
};

/* What its gate says beside its state. */
struct coordinator_snapshot_gate {
    struct process process;
    const char *who, *reason; /* "" if none */
    wall_ms since, until;     /* by our clock; 0: none */
};

/* How old its last report is. */
enum PACKED report_age {
    REPORT_FRESH,
    REPORT_LATE,  /* picked when nobody else is left */
    REPORT_STALE, /* not picked */
};
const char *coordinator_report_name(enum report_age age); /* "fresh" */

/* What few nodes have. */
struct coordinator_snapshot_odd {
    struct coordinator_snapshot_gate gate;
    const char *const *problems; /* what of it is not used, for people */
    size_t n_problems;
};

struct coordinator_snapshot_node {
    enum node_kind kind;
    enum node_state state;
    enum node_status status;
    enum gate_state gate;
    enum report_age report;
    bool degraded, cordoned, gate_left;
    uint16_t n_groups; /* of the list below */
    uint32_t owned;    /* markers naming this address */
    uint32_t flaps;
    uint32_t marks; /* private: what a walk looks for, see snapshot_nodes.c */
    struct snapshot_seen seen;
    const char *address;
    const char *const *groups; /* effective, sorted, "default" among those of a
                                  worker; none for other kinds */
    struct load load;          /* LOAD_UNKNOWN, 0 slots: null in answers */
    uint64_t work_index;
    struct process process;
    wall_ms last_report;                        /* 0 never */
    const struct coordinator_snapshot_odd *odd; /* never NULL */
};

struct coordinator_snapshot_group {
    const char *name;
    const char *const *addresses; /* as defined by configuration or API */
    size_t n_addresses;
    bool defined_by_api;
    const struct group_settings *settings; /* of the balancer */
};

#define SNAPSHOT_LOCKS_SIZE 40

/* A coordinator, as its entry in the registry says. */
struct snapshot_coordinator {
    char address[NODE_ADDRESS_MAX + 1];
    char version[32];
    char locks[SNAPSHOT_LOCKS_SIZE]; /* kinds whose failover lock it holds: "",
                                        "master", "master,worker" */
    const char *renewals; /* what it says: "grouped", "single"; NULL: nothing,
                             it is of an older version */
    wall_ms started;
};

#define SNAPSHOT_PROBLEMS_MAX 100

/* A key in the registry that is not used. */
struct snapshot_problem {
    const char *key, *reason;
};

/* What this coordinator has seen and done since its start, by kind. */
struct snapshot_counts {
    uint64_t downs; /* processes lost: gone for their grace, or replaced */
    uint64_t flaps; /* back before that */
    uint64_t failovers_begun, failovers_done, failovers_aborted;
    uint64_t failovers_held; /* by a brake, a pause or their policy */
    uint64_t items_moved;
    uint64_t locks_lost;
};

/* How many of all nodes are what: kept as they change (census.c). */
struct snapshot_census {
    int64_t state[NODE_KINDS][NODE_STATES];
    int64_t busy[NODE_KINDS], degraded[NODE_KINDS]; /* of those that are up */
    int64_t cordoned[NODE_KINDS], owned[NODE_KINDS];
    int64_t slots, late, stale; /* of workers that are up */
};

struct snapshot {
    uint64_t index; /* grows with each published change */
    wall_ms as_of;  /* when the registry was last known good */
    char as_of_text[CLOCK_RFC3339_SIZE]; /* the same; it is in every answer */
    bool stale; /* registry silent, not connected, or not synced */
    bool ready; /* connected, synced and own entry stands */
    const struct snapshot_branch *nodes; /* by kind, then address:
                                            coordinator_snapshot_walk() */
    size_t n_nodes;
    struct snapshot_seen seen[NODE_KINDS]; /* of all of a kind, and who went */
    const struct coordinator_snapshot_group *groups; /* by name; "default"
                                                        first */
    size_t n_groups;
    struct snapshot_census census;
    const uint32_t *group_up; /* of each group, workers that are up */
    struct snapshot_coordinator *coordinators;
    size_t n_coordinators;
    struct snapshot_problem *problems; /* the first ones */
    size_t n_problems;
    size_t problem_keys, problem_nodes; /* how many have one */
    const char *self;
    const char *registry_backend;
    enum registry_state registry_state;
    uint64_t registry_revision;
    const char *registry_place;             /* "" not known yet */
    const struct registry_back *went_back;  /* NULL: it did not */
    const struct registry_trouble *trouble; /* NULL: the registry serves us */
    wall_ms back_since, trouble_since;      /* of these two */
    const char *unready; /* why it is not ready; NULL: it is */
    int64_t session_timeout_ms;
    enum failover_cause brake[NODE_KINDS]; /* for master and worker */
    const char *engine[NODE_KINDS];      /* state of our engine, NULL if none */
    uint64_t fence[NODE_KINDS];          /* of the lock if we hold it, else 0 */
    const char *lock_holder[NODE_KINDS]; /* whom it waits for with the lock; ""
                                            unknown, NULL: it does not wait */
    wall_ms lock_since[NODE_KINDS];      /* and since when */
    uint32_t pending[NODE_KINDS];        /* failovers that the registry's
                                            trouble holds up */
    bool paused;
    wall_ms paused_until;                       /* 0: until resumed */
    wall_ms brake_override_until;               /* 0: it is not overridden */
    const char *settings_who, *settings_reason; /* who changed them last, "" */
    uint32_t unassigned; /* work items that are waiting or held */
    const char *policy;  /* of the balancer; static */
    struct snapshot_counts counts[NODE_KINDS];
    bool grouped; /* renewals of HTTP nodes are written so, as far as is known
                     here */
    struct renewal_counts renewals;
    /* private */
    int refs;
    struct snapshot_arena *arena;
    void **retired; /* what the next one does not have any more */
    size_t n_retired;
    struct snapshot *next; /* freed after this one: it is referred to */
};

/* The node, or NULL: O(log n). */
const struct coordinator_snapshot_node *
coordinator_snapshot_node(const struct snapshot *s, enum node_kind kind,
                          const char *address);
/* The index that a long poll compares: of one node (0: there is none), of a
 * kind (address NULL), or of everything (NODE_KINDS for the kind). */
uint64_t coordinator_snapshot_index(const struct snapshot *s, bool membership,
                                    enum node_kind kind, const char *address);
const struct coordinator_snapshot_group *
coordinator_snapshot_group(const struct snapshot *s, const char *name);

/* A walk over the nodes, by kind, then address; valid as long as the snapshot.
 * It begins at this one, or where it would stand (NODE_MASTER, "": at the
 * first); NULL at the end. */
#define SNAPSHOT_LEVELS 12
struct snapshot_walk {
    const struct snapshot_branch *branch[SNAPSHOT_LEVELS];
    unsigned at[SNAPSHOT_LEVELS];
    int depth;
    size_t looked; /* at so many nodes and branches so far */
    size_t most;   /* it ends when it has looked at so many in vain */
    const struct coordinator_snapshot_node *cut; /* and then this is the last
                                                    that it passed by, or among
                                                    those; NULL: at the end */
    /* private */
    uint32_t state, status, group; /* marks: one of, one of, all of these */
};
void coordinator_snapshot_walk(struct snapshot_walk *w,
                               const struct snapshot *s, enum node_kind kind,
                               const char *address);
const struct coordinator_snapshot_node *
coordinator_snapshot_next(struct snapshot_walk *w);
/* From here on only nodes of these (sets of 1U << state, 1U << status; 0: any)
 * and of this group (NULL or "": any; of another one a node may come, too): no
 * branch is entered that has none, so that the few who are down are found among
 * many at the cost of the few. */
void coordinator_snapshot_only(struct snapshot_walk *w, unsigned states,
                               unsigned statuses, const char *group);
/* Who is UP in a group, by any rule, by address: borrowed from the snapshot. */
struct snapshot_alive {
    const char **addresses;
    size_t n, cap;
};
/* Of the groups s->groups[from .. from+n-1], into out[0 .. n-1]: one walk over
 * the workers, on the caller's thread. */
void coordinator_snapshot_alive(const struct snapshot *s, size_t from, size_t n,
                                struct snapshot_alive *out);
void coordinator_snapshot_alive_close(struct snapshot_alive *alive, size_t n);

/* Any thread. */
void coordinator_snapshot_release(struct snapshot **s);

/* --- building: loop thread, before it is published ----------------------- */

/* One reference, the builder's. */
struct snapshot *coordinator_snapshot_new(void);
/* Memory that lives as long as the snapshot, all zero. */
void *coordinator_snapshot_alloc(struct snapshot *s, size_t size);
const char *coordinator_snapshot_str(struct snapshot *s, const char *text);

/* The same of several snapshots: blocks that the builder retires one day. */
void *coordinator_snapshot_arena_alloc(struct snapshot_arena **a, size_t size);
const char *coordinator_snapshot_arena_str(struct snapshot_arena **a,
                                           const char *text);

/* A copy in one block of mem.h, with all that it points to. The groups of a
 * worker that has no other are this list, which is not copied. */
struct coordinator_snapshot_node *
coordinator_snapshot_node_new(const struct coordinator_snapshot_node *from);
extern const char *const coordinator_snapshot_only_default[1];
/* And so is this, of a node that has nothing odd. */
extern const struct coordinator_snapshot_odd coordinator_snapshot_not_odd;

/* The place where the current one hangs. */
struct snapshot_slot;
struct snapshot_slot *coordinator_snapshot_slot_new(void);
void coordinator_snapshot_slot_free(struct snapshot_slot **slot);
/* Takes over the builder's reference; the one before loses its. */
void coordinator_snapshot_publish(struct snapshot_slot *slot,
                                  struct snapshot *s);
/* Any thread: the current one with a reference of the caller's, or NULL
 * before the first was published. */
struct snapshot *coordinator_snapshot_acquire(struct snapshot_slot *slot);
/* Any thread, without a lock: as_of and stale of the one published last. */
wall_ms coordinator_snapshot_as_of(const struct snapshot_slot *slot,
                                   bool *stale);

/* Takes a block of mem.h, or an arena: the next snapshot will not have it. It
 * is freed when nobody reads the present one or an older one any more. */
void coordinator_snapshot_retire(struct snapshot_slot *slot, void *block);
void coordinator_snapshot_retire_arena(struct snapshot_slot *slot,
                                       struct snapshot_arena **a);

/* The nodes of the next snapshot: those of the present one, of which what is
 * changed is copied. Each call costs O(log n) and touches no other node. */
struct snapshot_nodes {
    struct snapshot_slot *slot; /* borrowed */
    struct snapshot_branch *root;
    size_t n;
    uint64_t build; /* grows with each snapshot */
    size_t made;    /* branches, ever */
    struct snapshot_census census;
    struct snapshot_group_count *groups; /* those somebody is up in, by name */
    uint32_t *group_up;                  /* as shown last */
    const struct coordinator_snapshot_group *counted; /* of these */
    bool groups_changed;                              /* since then */
};
/* Takes a block of mem.h; it stands in place of the one of the same name. */
void coordinator_snapshot_nodes_put(struct snapshot_nodes *t,
                                    struct coordinator_snapshot_node *node);
/* It is there. */
void coordinator_snapshot_nodes_remove(
    struct snapshot_nodes *t, const struct coordinator_snapshot_node *node);
const struct coordinator_snapshot_node *
coordinator_snapshot_nodes_find(const struct snapshot_nodes *t,
                                enum node_kind kind, const char *address);
/* A node's entry takes the place of another one; NULL: of none, none does. */
void coordinator_census_change(struct snapshot_nodes *t,
                               const struct coordinator_snapshot_node *was,
                               const struct coordinator_snapshot_node *is);
/* The counts are this snapshot's, which has its groups. */
void coordinator_census_show(struct snapshot_nodes *t, struct snapshot *s);
/* What they hold goes with the present snapshot: no other follows. */
void coordinator_census_end(struct snapshot_nodes *t);
/* What stands there now is this snapshot's, for good, and so are the counts. */
void coordinator_snapshot_nodes_show(struct snapshot_nodes *t,
                                     struct snapshot *s);

#endif
