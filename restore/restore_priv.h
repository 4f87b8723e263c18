/*
 * restore_priv.h - the parts of restore.h:
 *
 *   restore.c       the phases, the locks, failures
 *   restore_look.c  what is in the store, and what is testified
 *   restore_shown.c the same, item by item
 *   restore_pass.c  floor, quiet, items given again, the new incarnation
 *   restore_back.c  the keys of a backup
 *
 * Each phase can be begun again at any time, and is, when a call failed that
 * may go through later: it reads afresh what it decides by.
 */
#ifndef PELORUS_RESTORE_RESTORE_PRIV_H
#define PELORUS_RESTORE_RESTORE_PRIV_H

#include "restore/restore.h"
#include "work/record.h"

#include <uthash.h>

enum phase {
    PHASE_IDLE,
    PHASE_LOOK,
    PHASE_LOCK,
    PHASE_LOOK_AGAIN, /* under the locks: what counts */
    PHASE_FLOOR,
    PHASE_QUIET,
    PHASE_PASS,
    PHASE_OPEN,
    PHASE_SWEEP,
};

/* A key as listed, and what stands there: of the markers, or of all that a
 * backup may have. */
struct listed {
    UT_hash_handle hh;
    uint64_t version, hash;
    bool wanted; /* it shall stand, or nobody can read what it belongs to */
    bool below, below_wanted; /* such keys stand below it */
    char key[];
};

/* What is known of an item: from the store, or by what was testified. */
struct known {
    UT_hash_handle hh;
    uint64_t epoch;
    bool finished;
    char owner[NODE_ADDRESS_MAX + 16]; /* as testified; "" not said */
    char id[];
};

typedef void restore_entry_f(struct restore *r, const struct registry_entry *e);
typedef void restore_step_f(struct restore *r);

struct restore {
    struct restore_config c;
    char who[HISTORY_WHO_SIZE];
    enum phase phase;
    restore_known_f *known;
    restore_done_f *done;
    void *arg;
    bool deferred; /* begin the phase again at `retry_at` */
    mono_ms retry_at;
    mono_ms progress;   /* when something was last achieved */
    struct err trouble; /* why it was not since */
    /* locks */
    struct registry_lock *locks[BULK_LOCKS];
    size_t n_locks; /* held, in order; the next one is waited for */
    /* the walk under way */
    const char *prefix;
    char *next;
    restore_entry_f *entry;
    restore_step_f *walked;
    /* what is read */
    size_t walk; /* restore_look.c: the next one */
    struct restore_summary s;
    struct restore_summary work; /* only what the items say, */
    bool counted;                /* once */
    struct known *stored, *shown;
    char told[HISTORY_ID_SIZE]; /* this incarnation the person was told of */
    uint64_t history_version;
    bool has_floor;
    uint64_t floor_now, floor_version; /* as it stands */
    uint64_t evidence; /* the highest epoch of all, without `floor_now` */
    struct history_record others; /* `after`: incarnations that are known */
    /* what is done */
    uint64_t floor;
    struct history_record opened; /* to be the new one; made once */
    bool made;
    struct bulk *bulk;
    unsigned passes;
    size_t again; /* changes of this pass: not done, or not known to be */
    struct listed *listed;
    size_t at; /* the backup's next entry */
    mono_ms quiet_from;
    char running[REGISTRY_KEY_MAX + 1]; /* a coordinator that has not stopped */
    struct restore_result result;
};

/* restore.c */
void restore_begin(struct restore *r, enum phase phase);
/* The phase cannot go on now, or (for good) ever. */
void restore_fail(struct restore *r, const struct err *err);
void restore_retry(struct restore *r, const struct err *err);
/* All keys below `prefix`, each to `entry`, then `walked`. With a bulk a page's
 * changes are written before the next one is asked for. */
void restore_walk(struct restore *r, const char *prefix, restore_entry_f *entry,
                  restore_step_f *walked);
void restore_finish(struct restore *r);

/* restore_look.c */
void restore_look_begin(struct restore *r);

/* restore_shown.c */
void restore_stored_note(struct restore *r, const struct work_item *w);
void restore_shown_note(struct restore *r, const struct json *testimony);
/* The summary's numbers of items, and examples of them. */
void restore_shown_compare(struct restore *r);
void restore_known_free(struct known **list);

/* restore_pass.c */
void restore_floor_begin(struct restore *r);
void restore_quiet_begin(struct restore *r);
void restore_pass_begin(struct restore *r);
void restore_open_begin(struct restore *r);
void restore_sweep_begin(struct restore *r);
bulk_done_f restore_pass_over; /* a pass's last changes: another one, or open */
/* What a pass has listed, each key once. */
restore_entry_f restore_listed_note;
void restore_listed_free(struct restore *r);
/* This shall stand: does it? `version`: of what stands at the key, 0 nothing.
 */
bool restore_is_current(struct restore *r, const char *key,
                        const struct buf *value, uint64_t *version);
/* An item and its marker shall stand. `current`: one that was read (it has a
 * version) does; of others it is found out. */
void restore_put_item(struct restore *r, const struct work_item *w,
                      bool current);

/* restore_back.c */
void restore_back_pass_begin(struct restore *r);
/* What the backup has: the highest epoch and fencing number, incarnations. */
void restore_back_evidence(struct restore *r);

#endif
