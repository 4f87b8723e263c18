/*
 * registry.h - a tree of keys that all members of a cluster share.
 *
 * Every call is asynchronous. Calls are made on the loop's thread; their
 * completions arrive there too, exactly once each, and never before the call
 * has returned. Nothing here blocks. What a completion lends (entries, keys,
 * messages) is borrowed until it returns.
 *
 * Keys are absolute below the configured namespace: "/nodes/master/h:1". They
 * have no "//", ".", ".." or control characters, at most REGISTRY_KEY_MAX
 * bytes, and no trailing slash. Values are at most REGISTRY_VALUE_MAX bytes. A
 * persistent key with an empty value is a directory, made by the backend when
 * a child needs it: it is never reported, get says ERR_NOT_FOUND, and writing
 * one is ERR_INVALID. (An ephemeral key may have an empty value.)
 *
 * Result codes, never merged:
 *   ERR_OK            applied, or read
 *   ERR_NOT_FOUND     get, delete: no such key
 *   ERR_CONFLICT      a check failed; `failed_op` says which
 *   ERR_UNAVAILABLE   certainly not applied: not connected, busy, disk full
 *   ERR_UNKNOWN       sent, and the connection broke: read back. Not seeing
 *                     the write proves nothing until a version, the lock or
 *                     the session rules it out
 *   ERR_SESSION_LOST  the session ended: not applied; ephemerals and locks are
 *                     gone
 *   ERR_DENIED        the registry refuses us
 *   ERR_TOO_LARGE     key, value, or more operations than `max_ops`/`max_bytes`
 *   ERR_INVALID       malformed; a programmer's or a client's mistake
 *   ERR_CANCELLED     closed before it was applied
 *   ERR_WENT_BACK     the store is not what it was (history.h): certainly not
 *                     applied, and nothing is until a person accepts it
 *
 * Longer than other headers: it is the contract that every backend keeps.
 */
#ifndef PELORUS_REGISTRY_REGISTRY_H
#define PELORUS_REGISTRY_REGISTRY_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* Room for a group of 255 bytes and an address of 259 below /nodes/worker, and
 * for such an address with a work item's id of 128. */
#define REGISTRY_KEY_MAX   600
#define REGISTRY_VALUE_MAX 524288 /* 512 KiB */
#define REGISTRY_PAGE_MAX  1000

struct registry;
struct registry_lock;
struct registry_watch;
struct registry_listener;
struct conf_registry;
struct loop;

/* One key as it was read. */
struct registry_entry {
    const char *key;
    const char *value; /* NUL-terminated for convenience, may hold NULs */
    size_t value_len;
    uint64_t created; /* revision of its creation, never reused */
    uint64_t version; /* changes at every write, nonzero; may repeat after a
                         delete: registry_first_version() */
    uint64_t owner;   /* session of an ephemeral key, 0 for a persistent one */
};

struct registry_reply {
    struct err err;    /* code and message */
    size_t failed_op;  /* ERR_CONFLICT: index in the txn (put, delete: 0),
                          otherwise SIZE_MAX */
    uint64_t revision; /* a lower bound of what was seen, 0 if unknown */
    uint64_t written;  /* txn: the version of all that it put, and `created` of
                          what is new; 0 if unknown */
    const struct registry_entry *entries;
    size_t n_entries; /* get: 1; list: a page; otherwise 0 */
    const char *next; /* list: where the next page begins, NULL at the end */
};

typedef void registry_reply_f(void *arg, const struct registry_reply *reply);

/* --- opening and closing ------------------------------------------------- */

/*
 * Open the backend that `conf` names. Connecting goes on in the background;
 * the listener tells. ERR_INVALID: no such backend or a bad setting; ERR_IO,
 * ERR_DENIED: an embedded registry's file cannot be used, the message says
 * why and what to do.
 */
int registry_open(struct registry **out, struct loop *loop,
                  const struct conf_registry *conf, struct err *err) MUST_CHECK;

/*
 * What a registry in a database needs: *text is the SQL that makes the tables
 * that are missing (static; it drops and alters nothing). With `apply` it is
 * run as well, which blocks. ERR_INVALID: this type of registry needs none.
 */
int registry_schema(const struct conf_registry *conf, bool apply,
                    const char **text, struct err *err) MUST_CHECK;

/*
 * Give what is free in an embedded registry's file back to the disk; blocks.
 * *done (`size` bytes) says what came of it. Fine while processes use the file,
 * if it does not take long: nobody writes meanwhile. ERR_CONFLICT: it would
 * take longer than their sessions bear, and `live` does not say to do it
 * nevertheless. ERR_INVALID: this type of registry has no such file; what to do
 * there the message says. ERR_UNAVAILABLE, ERR_IO, ERR_DENIED: it cannot be
 * done, and nothing was.
 */
int registry_vacuum(const struct conf_registry *conf, bool live, char *done,
                    size_t size, struct err *err) MUST_CHECK;

/*
 * Remove our ephemeral keys and locks at once, complete what is under way
 * (ERR_CANCELLED where it was not sent), then closed(arg). No watch, lock-lost
 * or state callback comes after this call; lock handles still waiting are told
 * ERR_CANCELLED. Handles of watches, locks and listeners may still be released
 * until closed() was called, and are freed with the registry if they were not.
 */
typedef void registry_closed_f(void *arg);
void registry_close(struct registry **r, registry_closed_f *closed, void *arg);

const char *registry_backend_name(const struct registry *r);

/* What one txn may hold. */
size_t registry_max_ops(const struct registry *r);
size_t registry_max_bytes(const struct registry *r);

/*
 * The version that every persistent key begins at (unless it was a directory),
 * where each life of a key counts its writes anew: there a version repeats
 * after a delete, and a write that was decided on one life may meet the next.
 * 0: versions never repeat here. Such a store (ZooKeeper) may have directories
 * of its own, which are left when all below one is gone: it goes by a delete at
 * this version, as a key does.
 */
uint64_t registry_first_version(const struct registry *r);

/* The session's timeout in force (the negotiated one), milliseconds. */
int64_t registry_session_timeout(const struct registry *r);

/* Our session: the `owner` of our ephemeral keys. 0 while there is none. A
 * new session has a new number. */
uint64_t registry_session(const struct registry *r);

/* The highest revision that an answer or an event told us: a lower bound of
 * the registry's own. */
uint64_t registry_revision(const struct registry *r);

/*
 * When the last request was *sent* that the registry itself has answered, by
 * the loop's clock (of the memory registry: the store's); 0: none yet. It only
 * grows. What counts is a sign of life in the sense of the session: an answer
 * that only whoever can end our session, and take a write of anybody, could
 * give. A read that a server may answer by itself (a cut-off follower, a
 * standby, a member without quorum) is none.
 *
 * So this is how far the present is known: nothing that others did, or failed
 * to do, after this moment can have been seen, and while it stands still they
 * could not do it either. A backend makes such a round trip at least every
 * third of the session's timeout by itself.
 */
mono_ms registry_answered(const struct registry *r);

/*
 * Until when our session stands at the least, by the loop's clock; 0 without
 * one. Before this nobody else can have what it holds: its ephemeral keys are
 * there, its locks are ours. Whoever does something that only they allow, and
 * that no txn checks (a command that runs, a hook), ends it before.
 */
mono_ms registry_session_until(const struct registry *r);

/* Make one now, so that registry_answered() moves: for whoever must know more
 * often. Cheap to repeat: while one is under way nothing more is sent, or
 * little. */
void registry_prove(struct registry *r);

/* --- reading ------------------------------------------------------------- */

/* One key; linearizable with our own earlier writes. */
void registry_get(struct registry *r, const char *key, registry_reply_f *done,
                  void *arg);

/* ERR_OK or ERR_NOT_FOUND; true for directories too, no entry. */
void registry_exists(struct registry *r, const char *key,
                     registry_reply_f *done, void *arg);

/* The names directly below a key (no values; entries[].key is the bare name),
 * directories among them, in ascending order, all in one reply. */
void registry_children(struct registry *r, const char *key,
                       registry_reply_f *done, void *arg);

/*
 * Keys below `prefix` ("/" = all; never `prefix` itself, never directories)
 * with values, ascending, at most `limit` (1..REGISTRY_PAGE_MAX) a page;
 * `from` is NULL or `next` of the page before. Pages are not one snapshot.
 */
void registry_list(struct registry *r, const char *prefix, const char *from,
                   size_t limit, registry_reply_f *done, void *arg);

/* --- writing ------------------------------------------------------------- */

enum registry_expect {
    REGISTRY_ANY,     /* put only, and not inside a txn */
    REGISTRY_ABSENT,  /* put: the key must not exist */
    REGISTRY_VERSION, /* it must exist at `version` */
};

struct registry_op {
    enum registry_op_type {
        REGISTRY_CHECK,      /* key at version */
        REGISTRY_CHECK_LOCK, /* `lock` is still ours */
        REGISTRY_PUT,
        REGISTRY_DELETE, /* key at version; a key with children: conflict */
    } type;
    enum registry_expect expect;
    bool ephemeral; /* put: dies with our session */
    const char *key;
    const char *value; /* put */
    size_t value_len;
    uint64_t version; /* check, delete; put with REGISTRY_VERSION */
    const struct registry_lock *lock;
};

/* An operation on a key as it was read; version 0: it must be absent. Borrows
 * the key, and the value of a put, until the call was made. */
static inline struct registry_op
registry_op_at(enum registry_op_type type, const char *key, uint64_t version)
{
    return (struct registry_op){.type = type,
                                .expect = version == 0 ? REGISTRY_ABSENT
                                                       : REGISTRY_VERSION,
                                .key = key,
                                .version = version};
}
static inline struct registry_op
registry_op_put(const char *key, const struct buf *value, uint64_t version)
{
    struct registry_op op = registry_op_at(REGISTRY_PUT, key, version);

    op.value = buf_text(value);
    op.value_len = value->len;
    return op;
}
static inline struct registry_op
registry_op_lock(const struct registry_lock *lock)
{
    return (struct registry_op){.type = REGISTRY_CHECK_LOCK, .lock = lock};
}

/* All or nothing. Operations, keys and values are copied before this returns.
 * At most one operation a key; one or more operations. An existing key keeps
 * its kind: putting an ephemeral over a persistent key or over another
 * session's ephemeral, or the reverse, is ERR_CONFLICT. */
void registry_txn(struct registry *r, const struct registry_op *ops, size_t n,
                  registry_reply_f *done, void *arg);

/* The two common txns of one operation; put() also takes REGISTRY_ANY. */
void registry_put(struct registry *r, const char *key, const char *value,
                  size_t value_len, enum registry_expect expect,
                  uint64_t version, bool ephemeral, registry_reply_f *done,
                  void *arg);
void registry_delete(struct registry *r, const char *key, uint64_t version,
                     registry_reply_f *done, void *arg);

/*
 * Whoever made calls with this `arg` goes away: none of their completions is
 * called any more. What was asked for is not undone; writes may still apply.
 */
void registry_forget(struct registry *r, const void *arg);

/* --- watching ------------------------------------------------------------ */

struct registry_event {
    enum registry_event_type {
        REGISTRY_ADD,
        REGISTRY_UPDATE,
        REGISTRY_REMOVE, /* key and created are set, the rest is zero */
        REGISTRY_SYNCED, /* all that exists has been told; no entry */
    } type;
    struct registry_entry entry;
};

typedef void registry_event_f(void *arg, const struct registry_event *event);

/*
 * Every existing key below `prefix` as ADD, then SYNCED, then changes in
 * order per key. A key deleted and made again between two looks is REMOVE,
 * ADD. After a lost session or a missed range only the real differences are
 * told, and SYNCED again. While the registry cannot be reached nothing is
 * told at all: silence is not absence.
 */
struct registry_watch *registry_watch(struct registry *r, const char *prefix,
                                      registry_event_f *fn, void *arg);

/*
 * How old may a value be that this watch has told? Keys that come and go are
 * told at once everywhere; a changed *value* has to be asked for where the
 * store would have to watch each key by itself (ZooKeeper). There every key is
 * read at least once per `fresh_ms` and at most once a second. A hint: other
 * backends tell changes at once. Without it: REGISTRY_FRESH_MS.
 */
#define REGISTRY_FRESH_MS 10000
void registry_watch_freshness(struct registry_watch *w, int64_t fresh_ms);

/* No event afterwards. Allowed inside its own callback. */
void registry_unwatch(struct registry_watch **watch);

/*
 * What stands below a watched prefix and can be no key (see above: its name is
 * too long, holds control characters or empty parts, or no registry made it).
 * No watch tells of it, this does: once, and with the reason NULL when it is
 * gone. `key` is for people: unprintable bytes are escaped, long names cut.
 * One function for all watches; set it before the first one.
 */
typedef void registry_unfit_f(void *arg, const char *key, const char *reason);
void registry_on_unfit(struct registry *r, registry_unfit_f *fn, void *arg);

/*
 * Has every watch above `key` told what a get of it answered, or something
 * later? `created` 0: the get said ERR_NOT_FOUND, and none of them tells it as
 * existing. A version is compared within one life of a key only.
 */
bool registry_watches_caught_up(const struct registry *r, const char *key,
                                uint64_t created, uint64_t version);
/* Somebody waits for that: where a watch would be told late, it asks now. */
void registry_poll_now(struct registry *r, const char *key);

/* --- the global lock ----------------------------------------------------- */

/*
 * granted(arg, 0): it is ours. granted(arg, code): ERR_TIMEOUT (and it can
 * never become ours later), ERR_SESSION_LOST, ERR_CANCELLED, ERR_DENIED,
 * ERR_UNAVAILABLE, ERR_INVALID, ERR_TOO_LARGE: the handle is dead and must
 * still be released. lost(arg): it was ours and is not any more (its session
 * ended); called once, after granted.
 */
typedef void registry_granted_f(void *arg, enum err_code code);
typedef void registry_lost_f(void *arg);

/*
 * Queue for the lock at `key`, fairly. `owner` is a name of ours, at most 128
 * bytes: a lock that the same owner already holds in this session is granted
 * at once (re-entrant), with the same fencing number, and is free when the
 * last handle is released. Different owners exclude each other, within one
 * session too. timeout_ms: 0 tries once, negative waits for ever.
 */
struct registry_lock *registry_lock(struct registry *r, const char *key,
                                    const char *owner, int64_t timeout_ms,
                                    registry_granted_f *granted,
                                    registry_lost_f *lost, void *arg);

/* Release, or stop waiting. No callback afterwards. The registry is told in
 * the background until it heard it or the session ended. */
void registry_unlock(struct registry_lock **lock);

/* Held, as far as we know now. Only REGISTRY_CHECK_LOCK proves it. */
bool registry_lock_held(const struct registry_lock *lock);

/*
 * Until when, by the loop's clock, nobody else can have a held lock: 2/3 of the
 * timeout after the last answered request was sent (registry_answered(), or of
 * the lock's own lease where it has one). SUSPENDED is told then at the latest;
 * a third of the timeout is left to end what must not go on.
 */
mono_ms registry_lock_proven_until(const struct registry_lock *lock);

/* Grows with every new holder, also over a store that went back and was
 * accepted; 0 before the lock was granted. */
uint64_t registry_lock_fence(const struct registry_lock *lock);

/*
 * Whom a lock that was not granted yet waits for: false when it does not wait
 * (any more). `holder` is what the registry tells of whoever has the lock, as
 * far as was seen at the last look, "" if nothing was: our own processes say
 * the `owner` that they gave to registry_lock(), DolphinScheduler's their
 * address or host_pid; where the store names nobody it is "session N". Lent
 * until the next turn. `since`: when this lock was asked for.
 */
struct registry_lock_wait {
    const char *holder;
    mono_ms since;
};
bool registry_lock_waits_for(const struct registry_lock *lock,
                             struct registry_lock_wait *out);

/* --- the connection ------------------------------------------------------ */

enum registry_state {
    REGISTRY_CONNECTED,   /* a session, the first or a new one */
    REGISTRY_SUSPENDED,   /* no answer for 2/3 of the timeout: decide nothing */
    REGISTRY_RECONNECTED, /* the same session goes on */
    REGISTRY_DISCONNECTED, /* session lost: ephemerals and all locks are gone;
                              CONNECTED follows with the next session */
    REGISTRY_WENT_BACK, /* the same, and the store is not what it was: CONNECTED
                           follows when a person has accepted it (history.h) */
};

typedef void registry_state_f(void *arg, enum registry_state state);

/* A first call tells the present state, if there is a session already. */
struct registry_listener *registry_listen(struct registry *r,
                                          registry_state_f *fn, void *arg);
void registry_unlisten(struct registry_listener **listener);

/* The last state told; DISCONNECTED before the first session, unless it is
 * known that the store went back. */
enum registry_state registry_state(const struct registry *r);
const char *registry_state_name(enum registry_state state);

/* A session, and answers in time: what is read may be decided by. */
static inline bool registry_state_is_up(enum registry_state state)
{
    return state == REGISTRY_CONNECTED || state == REGISTRY_RECONNECTED;
}

/* --- helpers ------------------------------------------------------------- */

/* ERR_INVALID or ERR_TOO_LARGE with what is wrong about the key. */
int registry_check_key(const char *key, struct err *err) MUST_CHECK;

/* Is `key` below `prefix`? "/a" is below "/" and not below "/a". */
bool registry_key_below(const char *key, const char *prefix);

#endif
