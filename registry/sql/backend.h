/*
 * backend.h - the asynchronous half of the SQL registries, for sql.c
 * (loop: calls, the session's deadlines), hold.c and watch.c (loop),
 * worker.c and poll.c (worker), what opens one (sqlite.c, jdbc.c) and
 * the tests. (Longer than 150 lines: it says of every field whose it is.)
 *
 * One worker thread has the connection. What it knows stands in `struct
 * sql_side`; what the loop knows in `struct sql`; jobs carry the rest there
 * and back, in order, and the two atomics say what cannot wait.
 */
#ifndef PELORUS_REGISTRY_SQL_BACKEND_H
#define PELORUS_REGISTRY_SQL_BACKEND_H

#include "base/rand.h"
#include "base/worker.h"
#include "registry/backend.h"
#include "registry/liveness.h"
#include "registry/sql/core.h"

#include <stdatomic.h>

#define SQL_RETRY_MS 100

enum sql_job_type {
    SQL_JOB_READ,
    SQL_JOB_TXN, /* these three are grouped into one commit */
    SQL_JOB_LOCK,
    SQL_JOB_UNLOCK,
    SQL_JOB_LOOK, /* one page of a watch's list */
    SQL_JOB_UNWATCH,
    SQL_JOB_NUDGE, /* poll now */
    SQL_JOB_CLOSE,
};

/* Embedded in what it works for; the worker's until its done() runs. */
struct sql_job {
    struct worker_job job;
    struct sql *s;
    enum sql_job_type type;
    union {
        struct registry_call *call;
        struct registry_hold *hold;
        struct registry_watch *watch;
    } of;
    struct sql_job *next; /* in the worker's group */
    /* the result */
    struct err err;
    size_t failed_op;
    uint64_t revision;
    struct sql_rows rows;
};

/* In each call, hold and watch: ->priv. */
struct sql_call {
    struct sql_job job;
};

struct sql_hold {
    struct sql_job job;
    bool busy;    /* loop: `job` is under way */
    bool leaving; /* loop */
    struct registry_timer retry;
    bool unsure;            /* a try's outcome is unknown: leave in any case */
    uint64_t at_once;       /* the fence, if the lock was free when asked; the
                               worker's while busy */
    struct sql_place place; /* the worker's while busy, its fence until the
                               grant is told */
    struct sql_hold *next_waiting; /* worker */
    struct loop_slot grant;        /* worker to loop */
    char told[SQL_HOLDER_SIZE];    /* worker: whom it waits for, as told */
};

struct sql_watch {
    struct sql_job job;
    bool busy, again, started; /* loop */
    char *from; /* loop: the next page; the worker's while busy */
    struct registry_timer retry;
    bool attached, compared; /* worker; in this round */
    struct sql_watch *next_attached;
};

/* How many writes the next group may expect, and what a commit takes. */
struct sql_gather {
    size_t left;   /* jobs that came before the last group was answered, and
                      are not in the present one yet */
    size_t stayed; /* writes among those that are */
    size_t back;   /* of the last group, to come back with another write */
    uint64_t commit_ns, began_ns;
};

/* How many more a group of so many writes should wait for; and how long, in
 * microseconds: if none comes, and in all. */
size_t sql_gather_wants(const struct sql_gather *g, size_t writes);
void sql_gather_patience(const struct sql_gather *g, uint64_t begun_ns,
                         int64_t *quiet_us, int64_t *most_us);
/* A job of the group, as they come. */
void sql_gather_add(struct sql_gather *g, bool write);
/* It is written; it has been, and so many jobs wait by now. */
void sql_gather_begin(struct sql_gather *g);
void sql_gather_done(struct sql_gather *g, size_t writes, size_t left);

/* The worker's own. */
struct sql_side {
    struct sql_core *core;
    int64_t timeout_ms;
    uint64_t session;  /* 0: none */
    uint64_t old;      /* ours, given up, to be ended with the next begin */
    bool lost;         /* the row is gone: tell, after the jobs are answered */
    struct err why;    /* it is */
    mono_ms renewed;   /* before the last renewal that succeeded */
    mono_ms noted;     /* or commit that was told to the loop */
    mono_ms next_beat; /* when to try the next; without a session: to begin */
    bool failing;      /* the last try failed: log changes only */
    bool over;         /* and not by chance: told once more */
    bool changed;      /* by others, and not all looked at yet */
    bool dirty;        /* by ourselves */
    int64_t soon_ms;   /* to the next poll; 0: as ever */
    bool looked;       /* the reaper has looked since the last change */
    mono_ms next_look; /* where the core says how often */
    mono_ms next_try;  /* likewise, for the lock */
    struct sql_gather gather;
    struct sql_reaper reaper;
    struct sql_hold *waiting;
    struct sql_watch *attached;
    struct sql_feed feed;
    bool feed_valid; /* somebody reads it */
    uint64_t told;   /* the position that the loop was told last */
    mono_ms next_compare;
    unsigned compares; /* tries in this round */
    unsigned trouble;  /* the trouble that the loop was told last, and when */
    mono_ms trouble_at;
    struct rand rand;
};

/*
 * Somebody who hears that others have written, on a thread of its own: a poll
 * that comes sooner, and nothing depends on it. Where nobody here watches a key
 * or waits for a lock nothing needs to come sooner, and it holds no connection.
 */
struct sql_waker {
    bool (*wait)(struct sql_waker *waker, int64_t ms); /* at most so long */
    atomic_bool crowded; /* by the other worker: it found no connection left */
    atomic_bool wanted;  /* likewise: somebody watches, or waits for a lock */
    void (*close)(struct sql_waker **waker);
};

struct sql {
    struct registry base; /* first: see backend.h */
    struct registry_ops ops;
    struct worker *worker;
    loop_f *run_job;         /* the worker's: arg is the struct sql_job */
    struct worker *listener; /* for the waker, or NULL */
    struct sql_waker *waker; /* the listener's */
    struct loop_slot wake;
    atomic_bool waking; /* `wake` is under way */
    unsigned running;   /* of the two workers */
    struct loop_timer *ticker;
    size_t queued, queued_bytes; /* calls in the worker */
    struct registry_liveness liveness;
    registry_closed_f *killed; /* tests */
    void *killed_arg;
    struct sql_job close_job;

    /* Loop to worker. */
    atomic_uint_least64_t abandoned; /* a session that is over for the loop */
    atomic_uint_least64_t ready;     /* one that acts for those above */
    atomic_bool closing;
    atomic_bool killing; /* write nothing any more */
    atomic_bool proving; /* renew the session at the next poll */

    /* The feed's batch: the worker's while not `feed_busy`, then the loop's. */
    atomic_bool feed_busy, feed_wanted;
    struct {
        struct loop_slot slot;
        struct sql_rows rows;
        bool missed, more;
    } batch;
    struct sql_job nudge;
    bool nudging; /* it is under way */

    struct sql_side side; /* worker only */
};

struct sql_kind {
    const char *name;
    size_t max_ops, max_bytes;
};

/* Loop: begin; takes the core, and the waker or NULL. Connecting is the
 * workers' business. */
struct registry *sql_new(const struct sql_kind *kind, struct loop *loop,
                         struct sql_core *core, struct sql_waker *waker,
                         int64_t timeout_ms);

/* --- between the threads (notes.c) --------------------------------------- */

/* Loop: the registry is closing or dead; answer nothing. */
bool sql_stopping(const struct sql *s);
/* Loop: give the worker a job. */
void sql_submit_job(struct sql *s, struct sql_job *job, enum sql_job_type type,
                    loop_f *done);

/* Loop: the session is over: the worker gives it up before it writes anything
 * else. */
void sql_disconnected(struct sql *s);
/* Loop: for a core that has to choose among servers. */
void sql_publish_known(struct sql *s);

/* Worker: the two entry points. */
loop_f sql_worker_run;         /* arg: struct sql_job (worker.c) */
worker_idle_f sql_worker_poll; /* arg: struct sql (poll.c) */

/* Worker: a group of writes (write.c). */
struct sql_write {
    struct sql_job *jobs, *last; /* in order; ->next */
    size_t n;
};
bool sql_job_writes(const struct sql_job *job);
void sql_job_fail(struct sql_job *job, enum err_code code, const char *msg);
void sql_write_add(struct sql_write *w, struct sql_job *job); /* one more */
/* Apply and commit them. All are answered; there may be none. */
void sql_write_end(struct sql *s, struct sql_write *w);

/* Worker (poll.c). */
bool sql_session_is(const struct sql *s, uint64_t session);
void sql_session_gone(struct sql *s, const struct err *why);
bool sql_session_over(int rc);
bool sql_loop_turns(const struct sql *s);
void sql_session_renewed(struct sql *s, mono_ms sent);
void sql_session_wrote(struct sql *s, mono_ms sent);

/* Worker to loop (notes.c). */
enum sql_note_type {
    SQL_OPENED,
    SQL_RENEWED,
    SQL_WROTE,
    SQL_MOVED, /* others have written */
    SQL_LOST,
    SQL_TROUBLE, /* trouble: in whatever session */
};
/* `why`: of SQL_LOST and SQL_TROUBLE alone. */
void sql_note(struct sql *s, enum sql_note_type type, uint64_t session,
              mono_ms sent, const struct err *why);
/* What the store refused the worker; what it refused callers their answers
 * say. */
void sql_report_trouble(struct sql *s, const struct err *err);

/* hold.c */
registry_hold_begin_f sql_lock;
registry_hold_end_f sql_unlock;
void sql_hold_grant(struct sql *s, struct sql_hold *h); /* worker */
void sql_hold_waits(struct sql *s, struct sql_hold *h); /* worker */
void sql_holds_stop(struct sql *s);

/* watch.c */
registry_watch_begin_f sql_watch_begin;
registry_watch_end_f sql_watch_end;
void sql_watches_look(struct sql *s); /* all of them, anew */
void sql_watch_compare(struct sql *s, struct sql_watch *sw, /* worker */
                       const struct registry_diff_sums *sums);
void sql_watches_stop(struct sql *s); /* no timers any more */
void sql_watches_free(struct sql *s); /* the worker has ended */
void sql_nudge(struct sql *s);        /* let the worker poll now */
loop_f sql_feed_deliver;              /* arg: struct sql, whose batch is full */

/*
 * As if the process had got SIGKILL: nothing more is written, no callback is
 * called but gone(arg), when all is freed. For tests.
 */
void sql_kill(struct registry **r, registry_closed_f *gone, void *arg);

#endif
