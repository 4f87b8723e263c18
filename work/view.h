/*
 * view.h - what a coordinator remembers of owners (their gates and markers),
 * unfinished failovers and settings, fed by watches.
 *
 * It is a hint of where to look and what to show, never a reason to act: the
 * engine and the work operations read afresh what they decide on. Loop thread
 * only; holds no payloads.
 */
#ifndef PELORUS_WORK_VIEW_H
#define PELORUS_WORK_VIEW_H

#include "cluster/gates.h"
#include "cluster/membership.h"
#include "work/record.h"

struct view;

/* One address that a gate, a marker or an unfinished failover names. */
struct work_view_owner {
    enum node_kind kind;
    char address[NODE_ADDRESS_MAX + 1];
    const struct gate *gate; /* as gates.h knows it: never NULL */
    size_t n_markers;
    size_t n_foreign; /* of these: of a process that is not the gate's */
    uint64_t index;   /* grows when its markers or gate change */
};
/* WORK_NOBODY is no owner and work_view_next() leaves it out, but it can be
 * asked for and is told of. */

struct view_config {
    const struct clock *clock;
    struct registry *registry;
    struct gates *gates; /* borrowed for life */
    /* something of this owner changed (gate, markers, failover); may be NULL */
    void (*changed)(void *arg, const struct work_view_owner *owner);
    void (*settings_changed)(void *arg, const struct settings *s);
    void *arg;
};

/* Begins the watches. work_view_free() ends them. */
struct view *work_view_new(const struct view_config *config);
void work_view_free(struct view **v);

/* Instead of work_view_free() when the registry handle is gone without a word
 * (a killed process in the simulator): frees, and calls nobody. */
void work_view_abandon(struct view **v);

/* Reads the settings again when that is due (once a second): a watch tells
 * what is below a key, not the key. work_tick() calls it. */
void work_view_tick(struct view *v);

/* Is all that stands known, in the present session? */
bool work_view_synced(const struct view *v);

const struct work_view_owner *
work_view_owner(const struct view *v, enum node_kind kind, const char *address);
const struct work_view_owner *work_view_next(const struct view *v,
                                             const struct work_view_owner *it);
/* One owner's markers by id, ascending; `after` NULL begins. NULL at the end.
 * The marker is lent until the next call. O(log n). */
const struct marker *work_view_marker_next(const struct view *v,
                                           enum node_kind kind,
                                           const char *address,
                                           const char *after);
size_t work_view_marker_count(const struct view *v, enum node_kind kind,
                              const char *address);

/* Unfinished failover of an address, NULL if none. */
const struct failover_record *work_view_failover(const struct view *v,
                                                 enum node_kind kind,
                                                 const char *address);
/* When this failover fenced a process that counts as lost; 0: it did not, or is
 * not known. */
wall_ms work_view_lost_at(const struct view *v, const char *id);
/* The oldest records beyond the newest `keep` that are final, or (`held`) held
 * of an address that owns nothing: for the collector. Oldest first, at most
 * `n`; returns how many. `list` NULL: they are only counted. */
struct view_old {
    char id[FAILOVER_ID_MAX + 1];
    uint64_t version;
};
size_t work_view_surplus(struct view *v, size_t keep, bool held,
                         struct view_old *list, size_t n);
/* How many records there are, of all phases. */
size_t work_view_failovers(const struct view *v);

/* As read last, all zero before; follows what is read until it is freed. */
const struct settings *work_view_settings(const struct view *v);
/* What a get of SETTINGS_KEY has just answered, in its completion; NULL: there
 * are none. They are not watched. */
void work_view_show_settings(struct view *v, const struct registry_entry *e);

/* Done and dropped items that have been so for `keep` by our own clock, as
 * seen: the collector's candidates. `n` at most; returns how many. `ids` NULL:
 * they are only counted. */
size_t work_view_collectable(const struct view *v, int64_t keep_ms,
                             char (*ids)[WORK_ID_MAX + 1], size_t n);
/* It was collected just now: not to be told of again before its REMOVE is. */
void work_view_collected_item(struct view *v, const char *id);
void work_view_collected_failover(struct view *v, const char *id);

/* The highest epoch, and the highest fencing number of a failover lock, that
 * were ever seen here. */
uint64_t work_view_epoch(const struct view *v);
uint64_t work_view_fence(const struct view *v);
/* What is known of each item, as members of an open JSON object of at most
 * about `max` bytes: "items":[[id,epoch,"kind/address"],...] of the unfinished,
 * "-" for an address if nobody has it, and "finished":[[id,epoch],...]. False:
 * there are more. */
bool work_view_put_evidence(const struct view *v, struct buf *out, size_t max);

/* Grows with every change of markers, gates or failovers. */
uint64_t work_view_index(const struct view *v);

#endif
