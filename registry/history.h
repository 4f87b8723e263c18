/*
 * history.h - a store that is not what it was: noticed, and not believed.
 *
 * Stores lose what they acknowledged: a backup is put back, a standby is
 * promoted without its tail, an old primary comes back beside the new one.
 * Epochs and fencing numbers would then be given twice. So a process remembers
 * where the store stood, and takes no session from one that may have lost
 * something: one that stands lower, is another incarnation, or bears the mark
 * of somebody who knows. Then calls are refused (ERR_WENT_BACK), watches tell
 * nothing, and the listeners are told WENT_BACK, until a person accepts the
 * store as it is: that makes a new incarnation that names the ones before it.
 *
 * What a store is stands in one key, HISTORY_KEY. It is made by the first who
 * finds none and remembers none. Whoever notices puts the mark into it, so
 * that those know who begin later or were not looking. Loop thread.
 */
#ifndef PELORUS_REGISTRY_HISTORY_H
#define PELORUS_REGISTRY_HISTORY_H

#include "base/buf.h"
#include "registry/registry.h"

#define HISTORY_PREFIX      "/pelorus/history"
#define HISTORY_KEY         HISTORY_PREFIX "/incarnation"
#define HISTORY_SEEN_PREFIX HISTORY_PREFIX "/seen"
#define HISTORY_ID_SIZE     33 /* 32 hexadecimal digits */
#define HISTORY_AFTER_MAX   16
#define HISTORY_WHO_SIZE    128
#define HISTORY_WHY_SIZE    256
#define HISTORY_PLACE_SIZE  80

/* Where a store stands. */
struct registry_place {
    char incarnation[HISTORY_ID_SIZE]; /* "": not known */
    uint64_t line;                     /* PostgreSQL's timeline; 0 elsewhere */
    uint64_t position;                 /* of the backend's counting, growing; 0:
                                          not known */
};

/* Does `a` stand before `b`, in one incarnation? By line, then position. */
bool registry_place_before(const struct registry_place *a,
                           const struct registry_place *b);
/* Did a store lose something that was at `known`? A standby that was promoted
 * without its tail has a higher line and a lower position. */
bool registry_place_fell(const struct registry_place *now,
                         const struct registry_place *known);
/* "incarnation:line:position", `out` of HISTORY_PLACE_SIZE; returns it. */
char *registry_place_text(const struct registry_place *place, char *out);
/* The same to be shown or handed on: "" of an incarnation that is not known. */
char *registry_place_token(const struct registry_place *place, char *out);
int registry_place_parse(const char *text, struct registry_place *out,
                         struct err *err) MUST_CHECK;

/* That a store went back. */
struct registry_back {
    bool is;
    struct registry_place known, now;
    char by[HISTORY_WHO_SIZE];  /* who noticed */
    char why[HISTORY_WHY_SIZE]; /* for people */
    mono_ms since;              /* when we knew; of a record read: 0 */
};

/*
 * From now on compare. To be called after registry_open() and before the loop
 * turns. `who` names this process to people ("10.0.0.1:7077"); `remembered` is
 * what an earlier life knew, or NULL. `watch`: hear of marks at once, for
 * processes that watch other keys anyway; else the key is read every 1.5 s.
 */
void registry_compare(struct registry *r, const char *who,
                      const struct registry_place *remembered, bool watch);

/* For the command that accepts a store: a mark is no obstacle, and no key is
 * made. After registry_compare(). */
void registry_accepting(struct registry *r);

/* The highest place known, to be remembered; all zero: none yet. */
const struct registry_place *registry_place(const struct registry *r);

/* NULL: it did not go back, as far as is known. Valid until the next turn. */
const struct registry_back *registry_went_back(const struct registry *r);

/* Why it went back, where nothing else would say so as yet: somebody showed it
 * (registry_report_contradiction()), and the mark does not stand. Else NULL.
 * Valid until the next turn. */
const char *registry_unmarked(const struct registry *r);

/* Why the key, without which nobody gets a session, cannot be read or written:
 * ERR_INVALID: it is damaged. NULL: as far as is known it can. Valid until the
 * next turn. */
const struct err *registry_key_trouble(const struct registry *r);

/* Somebody showed what this store cannot have given: it went back. `known` is
 * where it stood then, or NULL. */
void registry_report_contradiction(struct registry *r,
                                   const struct registry_place *known,
                                   const char *fmt, ...) PRINTF_LIKE(3, 4);

/*
 * What this process knows of the lost future, a JSON object, for the person
 * who accepts: written below HISTORY_SEEN_PREFIX as soon as may be while the
 * store has gone back. Replaces what was said before, but not what an earlier
 * life of `who` said; copied.
 */
void registry_set_evidence(struct registry *r, const char *json);

/* --- the key ------------------------------------------------------------- */

struct history_record {
    char incarnation[HISTORY_ID_SIZE];
    uint64_t generation; /* how often a store was accepted */
    uint64_t fence_base; /* fencing numbers are the store's own and this */
    char after[HISTORY_AFTER_MAX][HISTORY_ID_SIZE]; /* newest first */
    size_t n_after;
    struct registry_back went_back; /* the mark */
    struct {
        bool is;
        char who[HISTORY_WHO_SIZE];
        int64_t wall; /* milliseconds since 1970 */
        struct registry_place found;
        uint64_t epoch_floor;
    } accepted;
};

int registry_history_read(struct history_record *out, const char *value,
                          size_t len, struct err *err) MUST_CHECK;
void registry_history_write(struct buf *out, const struct history_record *h);
/* A new incarnation, random. */
void registry_history_new_id(char out[HISTORY_ID_SIZE]);
/* Does `h` come after this incarnation? */
bool registry_history_follows(const struct history_record *h,
                              const char *incarnation);
/* `id` joins those before, once; the oldest goes if there is no room. */
void registry_history_after(struct history_record *h, const char *id);

#endif
