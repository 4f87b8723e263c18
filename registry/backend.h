/*
 * backend.h - what a backend is, for the backends. (Longer than 150
 * lines: every slot and every answer carries its contract.)
 *
 * registry.c checks and copies arguments, keeps the lists of calls, watches
 * and listeners; hold.c makes locks re-entrant and lets waiters give up;
 * diff.c turns looks at keys into exact differences. A backend moves bytes: it
 * begins its own struct with a `struct registry`, fills in a `struct
 * registry_ops` and answers with the functions below.
 *
 * One rule for all of them: everything here is called on the loop's thread,
 * and a slot never answers before it has returned (only unlock and unwatch may
 * say "gone" at once). What a slot was given (calls, holds, watches) is
 * constant and may be read by a backend's own thread until it is answered.
 *
 *   call    submit -> registry_call_done | registry_call_fail, once
 *   hold    lock -> granted | refused -> (lost) ; unlock -> gone, once
 *   watch   watch -> diff_begin, seen ..., diff_end, then seen | gone ... ;
 *           unwatch -> registry_watch_gone, once
 *   state   begin -> (SUSPENDED -> RECONNECTED)* -> DISCONNECTED -> begin ...
 *   close   close -> registry_closed, once, when all of the above is answered
 */
#ifndef PELORUS_REGISTRY_BACKEND_H
#define PELORUS_REGISTRY_BACKEND_H

#include "base/loop.h"
#include "registry/history.h"
#include "registry/registry.h"
#include "registry/trouble.h"

struct registry_call;
struct registry_hold;
struct packed_map;
struct registry_unfit_key;

/* --- a timer in the registry's own time ---------------------------------- */

struct registry_timer {
    struct registry *r;
    loop_f *fn;
    void *arg;
    void *impl; /* the backend's, or a loop_timer; NULL: not running */
};

/* Once, after `delay_ms` (0: soon, but never at once). Must not be running. */
void registry_timer_start(struct registry *r, struct registry_timer *t,
                          int64_t delay_ms, loop_f *fn, void *arg);
void registry_timer_stop(struct registry_timer *t); /* fine if not running */
/* For timer_start implementations: this struct registry_timer fired; calls
 * fn(arg) last. */
void registry_timer_fire(void *timer);

/* --- the slots ----------------------------------------------------------- */

/*
 * Take a call to the registry. It stays valid until answered. Without a
 * session, while nothing can be sent, and when too many wait already it is
 * refused: registry_call_refused().
 */
typedef void registry_submit_f(struct registry *r, struct registry_call *call);

/* Begin watching watch->prefix: a first look, then changes; see the differences
 * below. Without a session that is ready the look waits for `look`. After each
 * gap the backend looks again by itself. */
typedef void registry_watch_begin_f(struct registry *r,
                                    struct registry_watch *watch);

/* Forget the watch and answer registry_watch_gone(), now or when nothing on
 * another thread refers to it any more. */
typedef void registry_watch_end_f(struct registry *r,
                                  struct registry_watch *watch);

/*
 * Queue `hold` for the lock hold->key: called only while there is a session,
 * and again for the same hold after a refused try. Keep asking (across a
 * broken connection, too) until granted, refused or unlocked. With
 * hold->try_once: granted, or refused with ERR_TIMEOUT, without queueing.
 */
typedef void registry_hold_begin_f(struct registry *r,
                                   struct registry_hold *hold);

/*
 * Release it, or leave the queue; called once for each hold that was given to
 * lock, also when it was refused or lost or its session is over. Tell the
 * registry until it heard it or the session ended, then
 * registry_hold_gone(hold), at once if there is nothing to tell. Requests of
 * one client reach the registry in order: an unlock overtakes no txn
 * submitted before it.
 */
typedef void registry_hold_end_f(struct registry *r,
                                 struct registry_hold *hold);

/*
 * Finish or cancel every call (ERR_CANCELLED only where it was certainly not
 * sent), end the session so that ephemerals and locks are gone at once, let
 * go of watches and holds without saying gone, then registry_closed(r). Must
 * end even if the registry does not answer, within the session timeout.
 */
typedef void registry_close_f(struct registry *r);

/*
 * Ask the store for a sign of life now (see registry_answered()); without a
 * session or while one is under way there is nothing to do.
 */
typedef void registry_prove_f(struct registry *r);

/* Optional. Somebody waits for the watches to tell what stands at `key`: what
 * would be asked for only later is asked for now. May be called often. */
typedef void registry_poll_now_f(struct registry *r, const char *key);

/* A session begins for those above: look at all watches from the beginning.
 * (At those that were begun in this session a look is under way.) */
typedef void registry_look_f(struct registry *r);

/* Give up the session, as at a loss: those above were told already, and what
 * stands at the store is ended there if that is possible. Forget what orders
 * answers: the next ones may be lower. Then begin another. */
typedef void registry_end_f(struct registry *r, const char *why);

/* Free the backend's struct; the last thing that happens to it. */
typedef void registry_free_f(struct registry *r);

/* Optional, both or none (default: the loop's timers). Call
 * registry_timer_fire(t) after `delay_ms`; keep what is needed in t->impl,
 * which is not NULL while it runs. */
typedef void registry_timer_start_f(struct registry *r,
                                    struct registry_timer *t, int64_t delay_ms);
typedef void registry_timer_stop_f(struct registry *r,
                                   struct registry_timer *t);

struct registry_ops {
    const char *name;
    /* Zeroed bytes for the backend in each call, hold and watch: ->priv. */
    size_t call_size, hold_size, watch_size;
    registry_submit_f *submit;
    registry_watch_begin_f *watch;
    registry_watch_end_f *unwatch;
    registry_hold_begin_f *lock;
    registry_hold_end_f *unlock;
    registry_prove_f *prove;
    registry_look_f *look;
    registry_poll_now_f *poll_now; /* optional */
    registry_end_f *end;
    registry_close_f *close;
    registry_free_f *free;
    registry_timer_start_f *timer_start; /* optional */
    registry_timer_stop_f *timer_stop;   /* optional */
    bool late_values; /* a watch may tell seconds late of a key's new value */
    bool bumped;      /* a restore may lift positions (etcdutl --bump-revision):
                         that one is not lower says nothing */
};

/* --- the base of every backend ------------------------------------------- */

struct registry {
    const struct registry_ops *ops;
    struct loop *loop;          /* NULL only with timers of the backend's own */
    const struct clock *clock;  /* the loop's; the backend's own without one */
    int64_t session_timeout_ms; /* in force; the backend may negotiate */
    size_t max_ops, max_bytes;
    uint64_t first_version; /* registry_first_version(); the backend's */
    /* The rest is kept by registry.c, hold.c and diff.c; backends may walk the
     * lists (utlist.h, DL_FOREACH) and read the rest. */
    uint64_t session; /* at the store; 0: none */
    bool ready;       /* and for those above; see registry_session_begin() */
    bool inside;      /* a call of history.c is being made */
    struct registry_history *history;   /* NULL: nothing is compared */
    struct registry_troubles *troubles; /* trouble.c */
    uint64_t fence_base;
    uint64_t revision; /* the highest that was told */
    mono_ms answered;  /* see registry_answered() */
    mono_ms counted;   /* from when the store counts our session's timeout */
    mono_ms proved;    /* when the last prove was asked for */
    enum registry_state state;
    bool closing; /* registry_close() was called */
    bool mute;    /* no callback any more: the process is gone */
    uint64_t last_id;
    struct registry_call *calls; /* not answered yet, oldest first */
    struct registry_watch *watches;
    struct registry_hold *holds;
    struct registry_lock *locks;
    struct registry_listener *listeners;
    unsigned telling; /* depth of walks over the listeners */
    /* Ended watches and holds rest for one turn: whoever called us may still
     * be walking over them. */
    struct registry_watch *dead_watches;
    struct registry_hold *dead_holds;
    struct registry_timer free_timer;
    registry_unfit_f *unfit; /* NULL: nobody asks */
    void *unfit_arg;
    registry_closed_f *closed;
    void *closed_arg;
};

/* Fill in the base; `ops` is static. The state is DISCONNECTED. */
void registry_init(struct registry *r, const struct registry_ops *ops,
                   struct loop *loop, int64_t session_timeout_ms,
                   size_t max_ops, size_t max_bytes);

/*
 * A session stands at the store, and the store at `line` and `position` (see
 * history.h; position 0: that cannot be told). It is for those above when it
 * is known that the store did not go back: CONNECTED is told, lock is called
 * for the holds that waited for a session, and `look`. Until then nothing is:
 * no hold, no watch, and no call but that of history.c, which is let through.
 */
void registry_session_begin(struct registry *r, uint64_t session, uint64_t line,
                            uint64_t position);

/*
 * The store stands there now: for every answer that shows its present position
 * (not what one server of several may have seen by then). False: it stands
 * lower than known. The answer is not to be believed; `end` comes in the next
 * turn. Where it is not looked at from the loop the backend compares by itself
 * what it hears within a session.
 */
bool registry_report_position(struct registry *r, uint64_t line,
                              uint64_t position);

/* It stands there, and it went back, whatever its position: the backend has
 * another sign. As above, with or without a session. */
void registry_report_rollback(struct registry *r, uint64_t line,
                              uint64_t position, const char *why);

/* Is a server that stands there behind what is known? Then it is not the one:
 * the others are asked. If all that answer are behind, begin with the best. */
bool registry_is_behind(const struct registry *r, uint64_t line,
                        uint64_t position);

/*
 * Tell a change of state, not CONNECTED; a repeated state is not told twice.
 * Answer calls whose outcome is known or will never be before telling
 * SUSPENDED or DISCONNECTED. DISCONNECTED ends every hold (lost, or refused
 * with ERR_SESSION_LOST, then unlock is called for it). SUSPENDED is told by
 * the backend's own clock, 2/3 of the timeout after *sending* the last request
 * that was answered, DISCONNECTED at 1x.
 */
void registry_set_state(struct registry *r, enum registry_state state);

/* A request that was sent at `sent` was answered by whoever decides on our
 * session: what registry_answered() is about. liveness.c says so itself. */
void registry_record_answer(struct registry *r, mono_ms sent);
/* What was met at the store, for trouble.h. NONE: nothing was. An answer to a
 * call says its own: err.trouble of its reply. */
void registry_record_trouble(struct registry *r, enum trouble what,
                             const char *detail);
void registry_record_error(struct registry *r, const struct err *err);
/* The store counts our session's timeout from then or later. */
void registry_record_renewal(struct registry *r, mono_ms from);

/* All is answered, the session is over. Calls what is left with
 * ERR_CANCELLED, then closed(), then ops->free(). Touch nothing afterwards. */
void registry_closed(struct registry *r);

/* The same without a single callback, and without ops->free. */
void registry_abandon(struct registry *r);

/* --- calls --------------------------------------------------------------- */

enum registry_call_type {
    REGISTRY_CALL_GET,
    REGISTRY_CALL_EXISTS,
    REGISTRY_CALL_CHILDREN,
    REGISTRY_CALL_LIST,
    REGISTRY_CALL_TXN, /* put and delete are txns of one operation */
};

/* Arguments have been checked against registry.h and copied. */
struct registry_call {
    struct registry *r;
    struct registry_call *prev, *next;
    unsigned refs;
    enum registry_call_type type;
    const char *key;  /* get, exists, children; list: the prefix */
    const char *from; /* list: the `next` of a page before (a key below the
                         prefix), or NULL */
    size_t limit;
    /* txn: REGISTRY_ANY stands only in a call of one operation. In
     * REGISTRY_CHECK_LOCK `key` is the lock's key, `version` our fencing
     * number, and `lock` is NULL. */
    const struct registry_op *ops;
    size_t n_ops;
    size_t bytes;     /* of all keys and values */
    uint64_t session; /* ours when the call was made; a txn must not be applied
                         once that session has ended */
    bool inside;      /* made by the base, which asks a store in doubt */
    bool is_delete;   /* registry_delete(): ERR_NOT_FOUND is told as such */
    registry_reply_f *done;
    void *arg;
    struct registry_timer timer; /* of registry_call_fail_later */
    struct err *refusal;
    void *priv;
};

/*
 * Answer. `reply` is lent. In a txn say ERR_NOT_FOUND when a key that must
 * exist does not (registry.c makes a conflict of it where it is one) and set
 * failed_op for both. Frees the call unless somebody else holds a reference.
 */
void registry_call_done(struct registry_call *call,
                        const struct registry_reply *reply);
void registry_call_fail(struct registry_call *call, enum err_code code,
                        const char *fmt, ...) PRINTF_LIKE(3, 4);

/* The same in the next turn: allowed inside submit. */
void registry_call_fail_later(struct registry_call *call, enum err_code code,
                              const char *fmt, ...) PRINTF_LIKE(3, 4);

/* What every backend refuses with ERR_UNAVAILABLE, in the next turn: a call
 * without a session, while suspended, or when `n` calls of `bytes` together
 * wait already and are too many. Is this one? */
bool registry_call_refused(struct registry_call *call, size_t n, size_t bytes);

/* ERR_INVALID or ERR_TOO_LARGE for what no backend is asked: a prefix that is
 * neither a key nor "/"; a txn that is empty, too large, or wrong in itself.
 * `single`: of registry_put() or registry_delete(), which may expect anything.
 * *bytes: of all keys and values, without those of locks. */
int registry_check_prefix(const char *prefix, struct err *err) MUST_CHECK;
int registry_check_txn(const struct registry *r, const struct registry_op *ops,
                       size_t n, bool single, size_t *bytes,
                       struct err *err) MUST_CHECK;

/* For a backend that still needs the arguments after the answer. */
struct registry_call *registry_call_ref(struct registry_call *call);
void registry_call_unref(struct registry_call *call);

/* --- locks --------------------------------------------------------------- */

/* One place in the queue for a lock: shared by the handles of one owner. */
struct registry_hold {
    struct registry *r;
    struct registry_hold *prev, *next;
    char *key, *owner;
    uint64_t id;      /* unique in this registry, growing, nonzero */
    uint64_t session; /* in which it was queued */
    uint64_t fence;
    bool try_once;
    char *holder; /* whom it waits for, or NULL */
    /* 2/3 of a lease of its own; 0: it lives by the session */
    mono_ms proven_until;
    enum registry_hold_state {
        HOLD_PENDING, /* waits for a session; the backend does not know it */
        HOLD_WAITING, /* lock was called */
        HOLD_HELD,
        HOLD_LEAVING, /* unlock was called */
        HOLD_GONE,
    } state;
    size_t n_locks;
    void *priv;
};

/* Answers; each is ignored if the hold was unlocked meanwhile. `fence` is
 * nonzero and greater than that of every holder of this lock before. */
void registry_hold_granted(struct registry_hold *hold, uint64_t fence);
/* ERR_TIMEOUT of a try, ERR_DENIED, ERR_UNAVAILABLE (it can not be served). */
void registry_hold_refused(struct registry_hold *hold, enum err_code code);
/* Held, and lost without the session (a lock with a lease of its own). */
void registry_hold_lost(struct registry_hold *hold);
/* Seen while it waits: who has the lock, as registry_lock_waits_for() says;
 * copied, as far as it is printable and not longer than an owner's name. NULL
 * or "": not known. May be told at every look. */
void registry_hold_waits(struct registry_hold *hold, const char *holder);
/* The backend refers to it no more. */
void registry_hold_gone(struct registry_hold *hold);

/* --- watches ------------------------------------------------------------- */

struct registry_watch {
    struct registry *r;
    struct registry_watch *prev, *next;
    char *prefix;
    registry_event_f *fn; /* NULL: ended, look no further */
    void *arg;
    int64_t fresh_ms; /* see registry_watch_freshness() */
    bool gone;
    struct packed_map *keys;          /* what has been told: known.c */
    size_t n_keys;                    /* told as existing */
    uint64_t floor;                   /* looks older than this are stale */
    bool looking;                     /* between diff_begin and diff_end */
    uint32_t look;                    /* number of the full look */
    struct registry_unfit_key *unfit; /* unfit.c (uthash) */
    void *priv;
};

/*
 * The view of a watch: what its owner was told (key -> created, version), so
 * that a backend may report any look at any time, as often as it likes, and
 * exact differences come out: nothing for what is known, UPDATE for another
 * version, REMOVE and ADD for another `created`.
 *
 * `revision` orders looks at a key: that of its last change (or removal) where
 * the store keeps one. A look older than the last one at that key, or not
 * newer than the last full look, is dropped; removals are remembered for that
 * until the next full look. A backend whose looks come in order by themselves
 * says 0 throughout.
 *
 * A directory, a key not below the prefix, and everything told to a watch that
 * has ended is ignored. The owner may end the watch from within any of these;
 * it stays readable for the rest of the turn.
 */
void registry_diff_seen(struct registry_watch *w,
                        const struct registry_entry *entry, uint64_t revision,
                        bool listed);
void registry_diff_gone(struct registry_watch *w, const char *key,
                        uint64_t revision);

/*
 * A full look: begin, seen(listed) for every key there is, end. Events may come
 * in between. What was not listed is REMOVEd unless a later event saw it;
 * `revision` is the store's when the look began. Then SYNCED if `tell`: always
 * at the first look and after a gap, periodic looks may be silent. A new begin
 * abandons a look that was not ended.
 */
void registry_diff_begin(struct registry_watch *w);
void registry_diff_end(struct registry_watch *w, uint64_t revision, bool tell);

/*
 * It stands there, in a look or by itself, and cannot be told as a key: `len`
 * bytes, anything; copied. Every full look says so again; what it did not say
 * is gone. Without a reason: it is gone, or can be told. O(1).
 */
void registry_diff_unfit(struct registry_watch *w, const char *key, size_t len,
                         const char *reason);

/* How many keys were told as existing, and sums of their `created` and
 * `version`: whoever can ask the store for the same learns whether anything was
 * missed, without reading it all. */
struct registry_diff_sums {
    uint64_t keys, created, version;
};
void registry_diff_sums(const struct registry_watch *w,
                        struct registry_diff_sums *out);

/* The store's revisions begin anew: what was told stands, what orders looks is
 * forgotten. A full look must follow. */
void registry_diff_reorder(struct registry_watch *w);

/* The backend refers to the watch no more. */
void registry_watch_gone(struct registry_watch *w);

/* --- opening (open.c) ---------------------------------------------------- */

/* What registry_open() promises, of one backend. */
typedef int registry_open_f(struct registry **out, struct loop *loop,
                            const struct conf_registry *conf, struct err *err);

#endif
