/*
 * membership_priv.h - what membership.c (tables and events) and
 * membership_state.c (the rules) share, the windows of silence below them, and
 * the counts of who stands (membership_tally.c).
 */
#ifndef PELORUS_CLUSTER_MEMBERSHIP_PRIV_H
#define PELORUS_CLUSTER_MEMBERSHIP_PRIV_H

#include "cluster/membership.h"
#include "registry/pauses.h"

#include "base/map/hash_index.h"
#include "base/map/heap.h"
#include "base/map/roster.h"

/* --- windows of silence (membership_window.c) ---------------------------- */

enum window_type {
    WINDOW_GRACE,  /* of a member: SUSPECT to DOWN */
    WINDOW_FORGET, /* of a member: DOWN without a gate to GONE */
    WINDOW_TTL,    /* of a registration */
};

/* Embedded in whatever waits. Runs while it stands in the heap. */
struct window {
    mono_ms since;
    int64_t span;
    enum window_type type;
    struct heap_item item; /* due when it is over */
};

/* Those that run, the first to end on top: a tick costs nothing while nothing
 * is due, whatever the number of nodes. */
struct windows {
    struct heap heap;
    int64_t shortest; /* span ever: an absence below its third concerns none */
    uint64_t began;   /* how often some began again, through no one's word */
};

/* Start, or start again. */
void windows_start(struct windows *ws, struct window *w, enum window_type type,
                   mono_ms now, int64_t span);
void windows_stop(struct windows *ws, struct window *w);
static inline bool window_runs(const struct window *w)
{
    return heap_has(&w->item);
}

/* The first one that is over, as far as the registry has answered; it goes on
 * running until stopped or started. */
struct window *windows_due(const struct windows *ws, mono_ms answered);
/* When the first one is over; INT64_MAX: none runs. */
mono_ms windows_end(const struct windows *ws);
/* The shortest span of those that run; INT64_MAX: none does. */
int64_t windows_span(const struct windows *ws);

/* We were absent for so long (pauses.h): those that it breaks begin now. True:
 * some did. */
bool windows_late(struct windows *ws, mono_ms now, int64_t absent);

/* All of them begin now. */
void windows_restart(struct windows *ws, mono_ms now);

struct membership;

/* A turn of ours (membership_answer.c). */
void membership_turn(struct membership *m);

/* --- tables -------------------------------------------------------------- */

struct member;

/* What hardly any registration has. */
struct registration_odd {
    struct process written; /* the last known one under this `created`, while
                               the present one is not; else not .known */
    char *path_problem;     /* of its key; NULL: none */
    struct heartbeat_problem *problems; /* of its heartbeat */
    size_t n_problems;
};

/* One key. It is looked for among its member's, which the key names, and mostly
 * stands in one block with it. */
struct registration {
    struct member *member;
    struct registration *next; /* of the same member */
    struct window window;      /* runs if it has a ttl: `span` is for how long
                                  it is watched */
    uint64_t version;
    struct process process; /* by its present value; .created is the key's */
    struct registration_odd *odd; /* NULL: nothing of it */
    mono_ms written_at;           /* when it was written last, as seen by us */
    int64_t gap;                  /* between the last two writes; 0 unknown */
    mono_ms load_whole; /* when a load was told of which nothing was refused */
    struct load *load;  /* the last good one of this process; NULL: its node's,
                           which is the same; see membership_keep_load() */
    int64_t report_time, ttl_ms;
    char *path_group; /* of its key; NULL: none */
    const char *const *groups;
    uint16_t n_groups;   /* of these */
    uint32_t generation; /* of `process` at this key, from 1 */
    enum node_status status;
    bool doubted : 1;   /* marked: it goes, unless it is heard of */
    bool rewritten : 1; /* the process of its key changed: it is the node of an
                           old session */
    bool ours : 1;
    bool stale : 1;      /* its ttl is over */
    bool refused : 1;    /* its present heartbeat was, or some of it */
    bool unreadable : 1; /* nothing could be taken from it */
    bool has_load : 1;
    bool anew : 1; /* of another session: its version may be another write's, in
                      a store that went back */
    char key[];    /* "": the one of ours that its member's address makes */
};

/* The last known process that its key told of; .known: there was one. */
static inline const struct process *
registration_written(const struct registration *r)
{
    return r->odd != NULL && r->odd->written.known ? &r->odd->written
                                                   : &r->process;
}

/* As what a member was counted last. */
enum counted {
    COUNTED_NOT, /* it is new */
    COUNTED_ABSENT,
    COUNTED_FRESH,
    COUNTED_SETTLED,
    COUNTED_LATE,
};

/* In one block: it, the registration for which it was made, if for one, and its
 * address. */
struct member {
    struct node node;
    struct registration *registrations;
    struct window window;
    int64_t lease_ms; /* an earlier process wrote over its key: so long its
                         last heartbeat may still be good */
    uint64_t winner;  /* `created` of the registration that counts */
    int64_t report_time;
    struct roster_item item;
    struct heap_item recount; /* due when it may count as another */
    uint32_t absent_place;    /* among those absent, from 1; 0: it is not */
    uint16_t key_room;   /* bytes of a key in the block's registration; 0: there
                            is none */
    uint8_t counted;     /* enum counted */
    bool told : 1;       /* its state was told once; until then it has none */
    bool seen : 1;       /* node.process was registered before our eyes */
    bool crowded : 1;    /* it is in more groups than it can show */
    bool long_grace : 1; /* the key that went was rewritten */
    bool taken : 1;      /* the block's registration stands */
};

/* Who counts as what, of each kind (membership_tally.c). */
struct tally {
    struct membership_tally counts[NODE_KINDS];
    struct member **absent[NODE_KINDS]; /* in no order */
    size_t n_absent[NODE_KINDS];
    struct heap due; /* the members' `recount` */
    bool recount;    /* all of them: leases began anew */
};

/* Those that live by a ttl, by `created`: made when the first renewal in a
 * group is told (membership_report.c). */
struct by_created {
    struct hash_index index; /* of places in `all` */
    struct registration **all;
    uint32_t n, cap;
    bool made;
};

struct membership {
    struct membership_config config;
    membership_event_f *fn;
    void *arg;
    bool emitting;
    struct registry_watch *watches[2]; /* by source; NULL: none */
    int64_t fresh_ms;                  /* of the one of ours */
    struct roster members[NODE_KINDS]; /* by address; in order of appearance */
    struct windows windows;
    struct tally tally;
    bool synced[2], connected;
    mono_ms settle_since;
    struct registry_pauses turns, answers;
    mono_ms answered;      /* so far the registry is known to have been there */
    int64_t answer_ms;     /* how often we want to know that now */
    mono_ms answer_set_at; /* when that was worked out */
    uint64_t events;       /* told so far */
    struct by_created by_created;
};

/* A copy of names in one block of mem.h; none: NULL. */
const char *const *membership_names(const char (*names)[NODE_GROUP_MAX + 1],
                                    size_t n);

/* A node's ttl: its value is to be told several times in it
 * (membership_answer.c). */
void membership_keep_fresh(struct membership *m, int64_t ttl_ms);

void membership_emit(struct membership *m, const struct membership_event *ev);

/* Something of a member changed: count it anew. It is about to be freed; all
 * are. */
void membership_count(struct membership *m, struct member *e);
void membership_uncount(struct membership *m, struct member *e);
void membership_tally_close(struct membership *m);

/* --- rules --------------------------------------------------------------- */

/* Registrations or the gate of a member changed: decide its state anew and
 * tell what changed. `reported` is the registration just written, or NULL. */
void membership_review(struct membership *m, struct member *e,
                       const struct registration *reported);

/* A key that was deleted and made again begins anew (membership_report.c). */
void membership_begin_key(struct registration *r, uint64_t created);
/* Its process, from its heartbeat. */
void membership_take_identity(struct registration *r,
                              const struct heartbeat *hb);
/* Load, status, groups and problems of a registration, from its heartbeat; and
 * the problems of all of a node's together. */
void membership_take_report(const struct membership *m, struct registration *r,
                            const struct heartbeat *hb);
void membership_show_problems(struct member *e);

/* What is odd of a registration, to be set; and freed, as far as nothing of it
 * is set. */
struct registration_odd *membership_odd(struct registration *r);
void membership_odd_end(struct registration *r);

/* A load of a registration's own. Most nodes have one registration and show its
 * load, so that is kept once: membership_show_load() makes the node show the
 * one of that registration, and the others keep what they had;
 * membership_share_loads() frees those that are as the node shows them. */
const struct load *membership_load(const struct registration *r);
void membership_keep_load(struct registration *r, const struct load *load);
void membership_show_load(struct member *e, const struct registration *r);
void membership_share_loads(struct member *e);

/* Is this what stood before, and only marked now? Whoever marked it had not
 * heard of it for as long as it is watched. */
bool membership_only_marked(const struct registration *r,
                            const struct registry_entry *entry,
                            const struct heartbeat *hb);

/* It has a ttl and a `created` now, or is about to have no or another one. */
void membership_name(struct membership *m, struct registration *r);
void membership_unname(struct membership *m, struct registration *r);

/* The grace is over, and absence may be believed. */
void membership_grace_over(struct membership *m, struct member *e);

#endif
