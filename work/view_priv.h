/*
 * view_priv.h - owners, their markers in order, and what the view keeps.
 */
#ifndef PELORUS_WORK_VIEW_PRIV_H
#define PELORUS_WORK_VIEW_PRIV_H

#include "base/map/packed_map.h"
#include "base/table.h"
#include "work/view.h"

/* What is known of a marker; its owner and its id are its key. */
struct mark {
    uint64_t epoch, version;
    struct process process;
    bool held;
};

struct work_view_failover;

#define OWNER_NAME_SIZE (NODE_ADDRESS_MAX + 4)

struct owner {
    struct work_view_owner pub; /* first: handed out */
    char name[OWNER_NAME_SIZE]; /* "<kind>/<address>" */
    size_t n_marks;
    struct work_view_failover *unfinished; /* newest first */
    UT_hash_handle hh;
};

struct work_view_failover {
    char id[FAILOVER_ID_MAX + 1];
    enum node_kind kind;
    enum failover_phase phase;
    char address[NODE_ADDRESS_MAX + 1];
    wall_ms began;
    wall_ms lost; /* when a lost process was fenced; 0: none was */
    uint64_t version;
    struct failover_record *full; /* while unfinished */
    struct owner *owner;          /* whose list it is in, while unfinished */
    struct work_view_failover *next;
    UT_hash_handle hh;
};

/* A finished item, in the order in which we saw it finished. */
struct view_finished {
    mono_ms seen; /* since when it is finished, may be below 0 */
    uint64_t epoch;
    UT_hash_handle hh;
    char id[];
};

enum { WATCH_MARKERS, WATCH_FAILOVERS, WATCH_WORK, WATCHES };

struct view_watch {
    struct view *v;
    struct registry_watch *watch;
    uint64_t synced; /* in this session; 0: not yet */
};

struct view {
    struct view_config config;
    struct view_watch watches[WATCHES];
    uint64_t index;
    uint64_t epoch, fence;                /* the highest, ever */
    struct owner *owners;                 /* by name */
    struct packed_map *marks;             /* of all of them: view_marks.c */
    struct owner nobody[NODE_KINDS];      /* "-" */
    struct work_view_failover *failovers; /* by id */
    bool failovers_unsorted;
    struct view_finished *finished; /* by id, oldest first */
    struct settings settings;
    bool settings_known;
    uint64_t settings_session; /* in which they were read last */
    mono_ms settings_asked;
    bool asking;       /* they are being read */
    uint64_t asked_in; /* this session; 0: before the first */
    struct marker lent;
};

/* --- view_marks.c: what an owner's markers are; O(log n) each ------------- */

/* False: there is none of this id. */
bool work_mark_find(const struct view *v, const struct owner *o, const char *id,
                    struct mark *out) MUST_CHECK;
void work_mark_put(struct view *v, struct owner *o, const char *id,
                   const struct mark *m);
void work_mark_remove(struct view *v, struct owner *o, const char *id);

/* By id, ascending. */
struct mark_cursor {
    const char *id; /* lent by the cursor */
    struct mark mark;
    char name[OWNER_NAME_SIZE + 1]; /* and a slash */
    size_t prefix;
    struct packed_cursor at;
};
/* To the first one behind `after`, which need not exist; NULL: the first. */
bool work_mark_first(const struct view *v, const struct owner *o,
                     const char *after, struct mark_cursor *c) MUST_CHECK;
bool work_mark_next(struct mark_cursor *c) MUST_CHECK;

/* --- view.c --------------------------------------------------------------- */

struct owner *work_owner_find(const struct view *v, enum node_kind kind,
                              const char *address);
struct owner *work_owner_make(struct view *v, enum node_kind kind,
                              const char *address);
/* All that stands below the prefix was told, in the present session. */
void work_view_watch_synced(struct view_watch *w);
/* Something of it changed: count, tell, forget it if nothing names it. */
void work_owner_changed(struct view *v, struct owner *o);

void work_view_on_failover(void *arg, const struct registry_event *event);
void work_view_on_work(void *arg, const struct registry_event *event);
void work_view_records_close(struct view *v);

/* The settings are read by get; see work_view_tick(). */
void work_view_ask_settings(struct view *v);
void work_view_settings_forget(struct view *v);

#endif
