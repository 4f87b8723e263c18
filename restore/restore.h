/*
 * restore.h - a person believes a store that went back in time, or puts a
 * backup into it.
 *
 * While a store has gone back nobody acts on it (registry/history.h). Its items
 * stand at epochs that others may have had in the future that was lost. So
 * before it is opened again,
 *
 *     look    what is in it, and what all those testify who knew that future
 *     lock    the failover locks
 *     floor   above every epoch that the store has or anybody has shown; and
 *             a mark if there is none, which stops everybody
 *     quiet   until the coordinators have stopped: a lock that one got between
 *             `open` and its noticing would have an old fencing number
 *     pass    each unfinished item is given again to its own owner, or to
 *             nobody as before, above the floor, its marker with it; again
 *             until a pass was applied as a whole
 *     open    the new incarnation, which follows all the ones that are known,
 *             its fencing numbers above all that were ever had
 *     sweep   what was testified is removed
 *
 * A backup is put back in the same way; a pass makes the store's keys what it
 * says.
 *
 * Whoever is killed in the middle has opened nothing: run it again. Loop
 * thread; nothing blocks.
 */
#ifndef PELORUS_RESTORE_RESTORE_H
#define PELORUS_RESTORE_RESTORE_H

#include "base/clock.h"
#include "registry/history.h"
#include "restore/bulk.h"

#define RESTORE_LIFT_EPOCH (UINT64_C(1) << 20)
#define RESTORE_LIFT_FENCE (UINT64_C(1) << 40)
#define RESTORE_SAMPLES    18
#define RESTORE_NAMES      8
/* `by` of the mark: a restore was begun, and only one may end it. */
#define RESTORE_MARK "pelorus registry restore"
/* An acceptance was begun where nobody had marked the store: either ends it. */
#define ACCEPT_MARK "pelorus registry accept-restore"

struct backup;

struct restore_config {
    struct registry *registry;
    const struct clock *clock;
    const char *locks[BULK_LOCKS]; /* keys; borrowed until restore_free() */
    size_t n_locks;
    const char *who;             /* at the locks and in the history; copied */
    uint64_t epoch_floor;        /* at least; 0: what is found */
    const struct backup *backup; /* to be put back; NULL: the store as it is.
                                    Borrowed until restore_free() */
};

/* What is known. Numbers of several witnesses are the highest of any: they
 * speak of the same items. */
struct restore_summary {
    bool found; /* `history` stands in the store */
    struct history_record history;
    struct registry_place known; /* the furthest that anybody remembers */
    size_t witnesses;
    uint64_t items, unfinished; /* in the store */
    uint64_t unreadable;        /* records: they are left as they are */
    uint64_t epoch_found; /* the highest in the store, its floor among them */
    uint64_t epoch_shown; /* by anybody, or asked for; 0: none */
    uint64_t fence_shown;
    uint64_t ahead; /* items whose owners hold a higher epoch */
    uint64_t back;  /* finished ones that came back */
    uint64_t gone;  /* new ones that the store does not know */
    bool cut;       /* and perhaps more of each: not all of it was put down */
    char samples[RESTORE_SAMPLES][512]; /* of these, for people */
    size_t n_samples;
    size_t live; /* sessions of coordinators and nodes in the store */
    char names[RESTORE_NAMES][REGISTRY_KEY_MAX + 1]; /* of some of them */
    size_t n_names;
};

struct restore_result {
    uint64_t epoch_floor;
    uint64_t fence_base;
    char incarnation[HISTORY_ID_SIZE];
    size_t items; /* given again */
    size_t keys;  /* of the backup: written or removed */
};

struct restore;
struct restore *restore_new(const struct restore_config *config);
/* Nobody is told of what is in flight. The registry's handle, killed or not,
 * is still there. */
void restore_free(struct restore **r);
/* Every 50 ms or so. */
void restore_tick(struct restore *r);

/* Both: err says what is wrong, the other is NULL then. Both may free `r`. */
typedef void restore_known_f(void *arg, const struct err *err,
                             const struct restore_summary *s);
typedef void restore_done_f(void *arg, const struct err *err,
                            const struct restore_result *result);
/* Look; then, if the person wants it, go. Not both at once. */
void restore_look(struct restore *r, restore_known_f *known, void *arg);
void restore_go(struct restore *r, restore_done_f *done, void *arg);

#endif
