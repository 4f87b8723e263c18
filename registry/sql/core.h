/*
 * core.h - the registry as tables on one connection: what the shared half
 * of the SQL registries (sql.c, worker.c, poll.c, ...) asks of a
 * store. (Longer than 150 lines: every slot carries its contract.)
 *
 * Two cores stand behind it: SQLite's (registry/sqlite/core.c), whose
 * statements cost microseconds and run one by one, and that of the servers
 * (registry/dbms/dbms_priv.h), whose every statement is a journey: it reads all
 * that a group of writes is about in one, decides in memory and writes the
 * outcome in another.
 *
 * A core belongs to one thread at a time, the worker. Between begin and commit
 * an engine's error (anything but the refusals named) calls for rollback.
 * Errors of the engine: ERR_UNAVAILABLE (certainly not applied), ERR_DENIED,
 * ERR_UNKNOWN (commit only).
 *
 * A core remembers the highest place that its session has seen. A store that
 * stands lower has gone back: every slot says ERR_WENT_BACK (certainly not
 * applied) until session_begin, which forgets it.
 */
#ifndef PELORUS_REGISTRY_SQL_CORE_H
#define PELORUS_REGISTRY_SQL_CORE_H

#include "base/clock.h"
#include "registry/pauses.h"
#include "registry/registry.h"
#include "registry/trouble.h"

#include <stdatomic.h>

#define SQL_NAMESPACE_MAX 128
#define SQL_FULL_KEY_MAX  (SQL_NAMESPACE_MAX + REGISTRY_KEY_MAX + 4)
#define SQL_FEED_KEEP     50000      /* changes that stay readable */
#define SQL_PAGE_BYTES    (4u << 20) /* of values in one list page */

static inline int64_t sql_clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* --- rows (rows.c) ------------------------------------------------------- */

/* Rows copied out of the store. Zero-initialised is empty. A row with version
 * 0 is a key that is gone. */
struct sql_rows {
    struct registry_entry *entries;
    size_t n, cap;
    size_t bytes;
    char *next; /* list: see registry_reply */
};
void sql_rows_close(struct sql_rows *rows);

/* Copy key and value (one block); the caller fills in the rest. */
struct registry_entry *sql_rows_push(struct sql_rows *rows, const char *key,
                                     size_t key_len, const void *value,
                                     size_t value_len);
/* For qsort() of entries: the order of keys. */
int sql_rows_compare(const void *a, const void *b);
/* Is the page full? Then rows->next is the first key beyond it, `key`. */
bool sql_rows_full(struct sql_rows *rows, size_t limit, const char *key,
                   size_t len);
/* In the order of keys, each once: for names. */
void sql_rows_sort(struct sql_rows *rows);
/* The row of a key, of rows in order, or NULL. */
const struct registry_entry *sql_rows_find(const struct sql_rows *rows,
                                           const char *key);
/* Copy a row from elsewhere. */
void sql_rows_copy(struct sql_rows *rows, const struct registry_entry *entry);

/* --- sessions of others (reaper.c) --------------------------------------- */

/* Other processes' sessions, and since when each has been unchanged. */
struct sql_reaper {
    struct sql_seen {
        uint64_t id, beat;
        int64_t timeout_ms;
        int64_t window_ms; /* unchanged for so long: dead */
        mono_ms since;     /* when we saw `beat` first, or began anew */
    } * seen;
    size_t n, cap;
};
void sql_reaper_close(struct sql_reaper *reaper);

/* For cores: one session as it stands now, in the order of ids. */
void sql_reaper_add(struct sql_reaper *reaper, const struct sql_seen *seen);

/* --- the slots ----------------------------------------------------------- */

struct sql_core;

/* The operations of one call, inside a group. */
struct sql_piece {
    const struct registry_op *ops; /* NULL: a lock's, or none */
    size_t n;
};

/*
 * Begin a transaction for our session, with `beat` renew it along. All that it
 * will be asked to apply is told in advance. ERR_SESSION_LOST: the session is
 * gone.
 */
typedef int sql_begin_f(struct sql_core *core, uint64_t session, bool beat,
                        const struct sql_piece *pieces, size_t n,
                        struct err *err);
typedef int sql_commit_f(struct sql_core *core, struct err *err);
typedef void sql_rollback_f(struct sql_core *core);

/* One call among several in a transaction, undone alone. */
typedef int sql_savepoint_f(struct sql_core *core, struct err *err);
typedef int sql_release_f(struct sql_core *core, bool undo, struct err *err);

/* The revision of the last write seen or made by this core. */
typedef uint64_t sql_revision_f(const struct sql_core *core);

/*
 * Inside a transaction. ERR_CONFLICT, ERR_NOT_FOUND (a key that must exist
 * does not): *failed is the operation's index, and what came before it is not
 * undone, see release. CHECK_LOCK: `key` is the lock's, `version` the fencing
 * number.
 */
typedef int sql_apply_f(struct sql_core *core, uint64_t session,
                        const struct registry_op *ops, size_t n, size_t *failed,
                        struct err *err);

typedef int sql_get_f(struct sql_core *core, const char *key,
                      struct sql_rows *rows, struct err *err);
/* Optional: many keys at once; rows of those that there are, in order. */
typedef int sql_get_many_f(struct sql_core *core, const char *const *keys,
                           size_t n, struct sql_rows *rows, struct err *err);
typedef int sql_exists_f(struct sql_core *core, const char *key,
                         struct err *err);
typedef int sql_children_f(struct sql_core *core, const char *key,
                           struct sql_rows *rows, struct err *err);
typedef int sql_list_f(struct sql_core *core, const char *prefix,
                       const char *from, size_t limit, struct sql_rows *rows,
                       struct err *err);

/* A transaction each. begin: `old` (or 0) was ours and is ended with it;
 * renew: ERR_SESSION_LOST when it is gone. */
typedef int sql_session_begin_f(struct sql_core *core, uint64_t old,
                                int64_t timeout_ms, uint64_t *id,
                                struct err *err);
typedef int sql_session_renew_f(struct sql_core *core, uint64_t id,
                                struct err *err);
typedef int sql_session_close_f(struct sql_core *core, uint64_t id,
                                struct err *err);

/* Those sessions of others that may be dead, into an empty `reaper`. */
typedef int sql_sessions_f(struct sql_core *core, uint64_t self,
                           struct sql_reaper *reaper, struct err *err);
/* End one, if it is still as it was seen. ERR_NOT_FOUND: it lives, or somebody
 * else was faster; ERR_SESSION_LOST: `self` is gone itself. */
typedef int sql_reap_f(struct sql_core *core, const struct sql_seen *victim,
                       uint64_t self, struct err *err);

/* A place in the queue for a lock. */
#define SQL_HOLDER_SIZE 160
struct sql_place {
    uint64_t session;
    uint64_t hold; /* registry_hold.id: ours forever */
    const char *key, *owner;
    uint64_t ticket;              /* 0: no place, as far as we know */
    uint64_t fence;               /* nonzero: it is ours */
    char holder[SQL_HOLDER_SIZE]; /* with ERR_CONFLICT: who has it */
    uint64_t passed;   /* core: whose it was at the last look, and when it */
    mono_ms passed_at; /* went from one to another while we waited */
};

/* Inside a transaction: take a place, and the lock if it is free (fence).
 * ERR_TIMEOUT: try_once, and it is not. */
typedef int sql_lock_enqueue_f(struct sql_core *core, struct sql_place *place,
                               bool try_once, struct err *err);
/* Outside: take the lock if it is our turn. ERR_CONFLICT: it is not;
 * ERR_SESSION_LOST: the place is gone. */
typedef int sql_lock_head_f(struct sql_core *core, struct sql_place *place,
                            struct err *err);
/* Inside: give up the place and the lock. */
typedef int sql_lock_leave_f(struct sql_core *core,
                             const struct sql_place *place, struct err *err);

/* Did anything change that a reader or a waiter must see? `interested`: there
 * are such. Cheap. ERR_SESSION_LOST: the store that we write to is nobody
 * else's any more. */
typedef int sql_changed_f(struct sql_core *core, bool interested, bool *changed,
                          struct err *err);

struct sql_feed {
    uint64_t rev;               /* everything up to (rev, key) was read */
    char key[SQL_FULL_KEY_MAX]; /* "" : all of rev was */
};

/*
 * Present state of keys changed after the position and wanted, from at most
 * `max` changes and about SQL_PAGE_BYTES; the position moves on. *missed: rows
 * were pruned before we read them, so that only a list tells; the position is
 * the present then. *more: call again.
 */
typedef bool sql_wanted_f(const void *arg, const char *key);
typedef int sql_feed_read_f(struct sql_core *core, struct sql_feed *feed,
                            size_t max, sql_wanted_f *wanted, const void *arg,
                            struct sql_rows *rows, bool *missed, bool *more,
                            struct err *err);
/* Forget what changed until now. */
typedef int sql_feed_skip_f(struct sql_core *core, struct sql_feed *feed,
                            struct err *err);

/* Optional: sums over all keys below `prefix` (backend.h) while the store
 * stands where `feed` has come to. ERR_CONFLICT: it has moved on; ERR_INVALID:
 * below this prefix there is more than our own keys. */
struct registry_diff_sums;
typedef int sql_sums_f(struct sql_core *core, const char *prefix,
                       const struct sql_feed *feed,
                       struct registry_diff_sums *out, struct err *err);

typedef void sql_core_close_f(struct sql_core **core);

struct sql_core_ops {
    sql_begin_f *begin;
    sql_commit_f *commit;
    sql_rollback_f *rollback;
    sql_savepoint_f *savepoint;
    sql_release_f *release;
    sql_revision_f *revision;
    sql_apply_f *apply;
    sql_get_f *get;
    sql_get_many_f *get_many;
    sql_exists_f *exists;
    sql_children_f *children;
    sql_list_f *list;
    sql_session_begin_f *session_begin;
    sql_session_renew_f *session_renew;
    sql_session_close_f *session_close;
    sql_sessions_f *sessions;
    sql_reap_f *reap;
    sql_lock_enqueue_f *lock_enqueue;
    sql_lock_head_f *lock_head;
    sql_lock_leave_f *lock_leave;
    sql_changed_f *changed;
    sql_feed_read_f *feed_read;
    sql_feed_skip_f *feed_skip;
    sql_sums_f *sums;
    sql_core_close_f *close;
};

struct sql_core {
    const struct sql_core_ops *ops;
    int64_t poll_ms; /* how often the worker looks for changes */
    int64_t soon_ms; /* and how soon after it saw one of another's; 0: no
                        sooner */
    int64_t beat_ms; /* how often the session is renewed */
    int64_t look_ms; /* how often for dead sessions; 0: after each change */
    int64_t lock_ms; /* how often a waiter tries besides; 0: never */
    /* How often what was told is compared with what stands there, about; 0:
     * never, where no change can be missed. */
    int64_t compare_ms;
    unsigned retries; /* of a group that the store rolled back by itself */
    bool again;       /* core: the last rollback was the store's own choice */

    /* Core: where the store stood when it was looked at last, as a struct
     * registry_place says it. Position 0: it was not yet. */
    uint64_t line, position;
    /* Loop to core: the highest that is known of the store, whatever session
     * it is from, for a core that has to choose among servers. */
    atomic_uint_least64_t known_line, known_position;

    /* Were we there, and the store? Kept by the poll; see pauses.h. */
    struct registry_pauses turns, answers;
    mono_ms proved; /* when the last write was sent that the store took */
    mono_ms wanted; /* for one sent then or later somebody's window waits */
    /* The shortest of those that are counted: sessions', clients'. */
    int64_t session_span, client_span;
};

/* --- what every core decides alike (decide.c) ---------------------------- */

/* A key as it stands in the store. */
struct sql_found {
    bool exists, foreign; /* foreign: DolphinScheduler's, never written */
    bool has_keys_below;  /* asked of a delete alone */
    uint64_t version, owner;
};

/* May `op` (no CHECK_LOCK) be carried out on what was found? `owner`: the
 * session that a put makes the key's, or 0. 0, ERR_NOT_FOUND, ERR_CONFLICT. */
int sql_op_decide(const struct registry_op *op, const struct sql_found *found,
                  uint64_t owner, struct err *err) MUST_CHECK;
/* ERR_CONFLICT of a CHECK_LOCK. */
int sql_op_lock_not_ours(const struct registry_op *op, struct err *err);
int sql_no_key(const char *key, struct err *err); /* ERR_NOT_FOUND */
/* ERR_CONFLICT and ERR_SESSION_LOST of lock_head, see there. */
int sql_place_waits(const struct sql_place *place, struct err *err);
int sql_place_gone(const struct sql_place *place, struct err *err);
/* Everything up to `rev` was read. ((rev, "\xff...") would be its end; (rev +
 * 1, "") is the same and needs no greatest key: no key is empty.) */
void sql_feed_advance(struct sql_feed *feed, uint64_t rev);

/* --- over a core --------------------------------------------------------- */

void sql_core_init(struct sql_core *core, mono_ms now);

/* How often a write of ours has to prove that others could write, too. */
int64_t sql_core_beat_ms(const struct sql_core *core);

/*
 * Seen unchanged since *since, and now: was that silence, for `window`? A
 * break of a third of `span` begins it anew, at *since, with a whole span.
 * False, too, while no write of ours proves it yet: one is wanted then.
 */
bool sql_core_silent(struct sql_core *core, mono_ms *since, int64_t span,
                     int64_t window, mono_ms now);

/* Every window begins again: we were not able to look or to write in time. */
void sql_reaper_restart(struct sql_reaper *reaper, mono_ms now);

/* Look at the sessions; `reread` false: nothing was committed since the last
 * look. */
int sql_reaper_look(struct sql_reaper *reaper, struct sql_core *core,
                    uint64_t self, mono_ms now, bool reread,
                    struct err *err) MUST_CHECK;

/* End the sessions whose window is full, a transaction each. *reaped counts
 * them. */
int sql_reaper_reap(struct sql_reaper *reaper, struct sql_core *core,
                    uint64_t self, mono_ms now, size_t *reaped,
                    struct err *err) MUST_CHECK;

#endif
