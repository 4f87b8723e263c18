/*
 * sqlite_backend.h - the asynchronous half of the SQLite registry, for
 * sqlite.c (loop: opening, calls, the session's deadlines), sqlite_hold.c and
 * sqlite_watch.c (loop), sqlite_worker.c and sqlite_poll.c (worker) and the
 * tests. (Longer than 150 lines: it says of every field whose it is.)
 *
 * One worker thread has the connection. What it knows stands in `struct
 * sqlite_side`; what the loop knows in `struct sqlite`; jobs carry the rest
 * there and back, in order, and the two atomics say what cannot wait.
 */
#ifndef PELORUS_REGISTRY_SQLITE_BACKEND_H
#define PELORUS_REGISTRY_SQLITE_BACKEND_H

#include "base/worker.h"
#include "registry/liveness_priv.h"
#include "registry/registry_priv.h"
#include "registry/sqlite_db.h"

#include <stdatomic.h>

#define SQLITE_POLL_MS  50
#define SQLITE_RETRY_MS 100

enum sqlite_job_type {
    SQLITE_JOB_READ,
    SQLITE_JOB_TXN, /* these three are grouped into one commit */
    SQLITE_JOB_LOCK,
    SQLITE_JOB_UNLOCK,
    SQLITE_JOB_LOOK, /* one page of a watch's list */
    SQLITE_JOB_UNWATCH,
    SQLITE_JOB_NUDGE, /* poll now */
    SQLITE_JOB_CLOSE,
};

/* Embedded in what it works for; the worker's until its done() runs. */
struct sqlite_job {
    struct worker_job job;
    struct sqlite *s;
    enum sqlite_job_type type;
    union {
        struct registry_call *call;
        struct registry_hold *hold;
        struct registry_watch *watch;
    } of;
    struct sqlite_job *next; /* in the worker's group */
    /* the result */
    struct err err;
    size_t failed_op;
    uint64_t revision;
    struct sqlite_rows rows;
};

/* In each call, hold and watch: ->priv. */
struct sqlite_call {
    struct sqlite_job job;
};

struct sqlite_hold {
    struct sqlite_job job;
    bool busy;    /* loop: `job` is under way */
    bool leaving; /* loop */
    struct registry_timer retry;
    uint64_t ticket;                  /* 0: no row; the worker's while busy */
    bool granted;                     /* result of the job */
    struct sqlite_hold *next_waiting; /* worker */
    struct loop_slot grant;           /* worker to loop */
};

struct sqlite_watch {
    struct sqlite_job job;
    bool busy, again, started; /* loop */
    char *from; /* loop: the next page; the worker's while busy */
    struct registry_timer retry;
    bool attached; /* worker */
    struct sqlite_watch *next_attached;
};

/* The worker's own. */
struct sqlite_side {
    struct sqlite_db *db;
    int64_t timeout_ms;
    uint64_t session;  /* 0: none */
    uint64_t old;      /* ours, given up, to be ended with the next begin */
    bool lost;         /* the row is gone: tell, after the jobs are answered */
    mono_ms renewed;   /* before the last renewal that succeeded */
    mono_ms next_beat; /* when to try the next; without a session: to begin */
    bool failing;      /* the last try failed: log changes only */
    bool changed;      /* by others, and not all looked at yet */
    bool dirty;        /* by ourselves */
    bool looked;       /* the reaper has looked since the last change */
    struct sqlite_reaper reaper;
    struct sqlite_hold *waiting;
    struct sqlite_watch *attached;
    struct sqlite_feed feed;
    bool feed_valid; /* somebody reads it */
};

struct sqlite {
    struct registry base; /* first: see registry_priv.h */
    struct worker *worker;
    struct loop_timer *ticker;
    size_t queued, queued_bytes; /* calls in the worker */
    struct registry_liveness liveness;
    registry_closed_f *killed; /* tests */
    void *killed_arg;
    struct sqlite_job close_job;

    /* Loop to worker. */
    atomic_uint_least64_t abandoned; /* a session that is over for the loop */
    atomic_bool closing;
    atomic_bool killing; /* write nothing any more */

    /* The feed's batch: the worker's while not `feed_busy`, then the loop's. */
    atomic_bool feed_busy;
    struct {
        struct loop_slot slot;
        struct sqlite_rows rows;
        bool missed, more;
    } batch;
    struct sqlite_job nudge;
    bool nudging; /* it is under way */

    struct sqlite_side side; /* worker only */
};

/* Loop: the registry is closing or dead; answer nothing. */
bool sqlite_stopping(const struct sqlite *s);
/* Loop: give the worker a job. */
void sqlite_submit_job(struct sqlite *s, struct sqlite_job *job,
                       enum sqlite_job_type type, loop_f *done);

/* Worker: the two entry points. */
loop_f sqlite_worker_run;  /* arg: struct sqlite_job (sqlite_worker.c) */
loop_f sqlite_worker_poll; /* arg: struct sqlite (sqlite_poll.c) */

/* Worker (sqlite_poll.c). */
bool sqlite_session_is(const struct sqlite *s, uint64_t session);
void sqlite_session_gone(struct sqlite *s);
void sqlite_session_renewed(struct sqlite *s, mono_ms sent);

/* Worker to loop (sqlite.c). */
enum sqlite_note_type { SQLITE_OPENED, SQLITE_RENEWED, SQLITE_LOST };
void sqlite_note(struct sqlite *s, enum sqlite_note_type type, uint64_t session,
                 mono_ms sent);

/* sqlite_hold.c */
registry_hold_begin_f sqlite_lock;
registry_hold_end_f sqlite_unlock;
void sqlite_hold_grant(struct sqlite *s, struct sqlite_hold *h); /* worker */
void sqlite_holds_stop(struct sqlite *s);

/* sqlite_watch.c */
registry_watch_begin_f sqlite_watch_begin;
registry_watch_end_f sqlite_watch_end;
void sqlite_watches_look(struct sqlite *s); /* all of them, anew */
void sqlite_watches_stop(struct sqlite *s); /* no timers any more */
void sqlite_watches_free(struct sqlite *s); /* the worker has ended */
loop_f sqlite_feed_deliver; /* arg: struct sqlite, whose batch is full */

/*
 * As if the process had got SIGKILL: nothing more is written, no callback is
 * called but gone(arg), when all is freed. For tests.
 */
void sqlite_kill(struct registry **r, registry_closed_f *gone, void *arg);

#endif
