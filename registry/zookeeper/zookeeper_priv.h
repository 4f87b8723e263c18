/*
 * zookeeper_priv.h - the ZooKeeper registry from inside, for its own files and
 * its tests. (Longer than 150 lines: it says of every file what the others may
 * call.)
 *
 * The files are layers: each calls those above it in this list only. What they
 * have to tell upwards goes through `struct zk_events` and done functions.
 *
 *   place.c      the names in a lock's queue, pure
 *   servers.c    the addresses of the servers
 *   answer.c     what the code of an answer says
 *   request.c    requests: queued, sent, answered
 *   path.c       keys and paths, entries, missing directories
 *   position.c   where the store stands, and whether it went back
 *   life.c       what shows that the leader has heard us, and servers
 *                that answer but do not write
 *   dial.c       a short talk with a server past the client library
 *   diagnosis.c  why none of the servers takes us
 *   old.c        the end of a session that we gave up
 *   drive.c      the thread that turns the client library
 *   handle.c     handles of the client library, and their events
 *   others.c     what else stands in a lock's directory
 *   hold.c       locks in the layout of Curator's InterProcessMutex
 *   call.c       callers' calls: counted, answered
 *   read.c       get, exists, children
 *   list.c       pages of keys with values, in order
 *   dir.c        one directory: its names, their differences, and which of
 *                them are to be read again, and when
 *   watch.c      watches: which directories and keys are looked at
 *   txn.c        writes: one multi each
 *   zookeeper.c  opening, closing, the session and its deadlines
 *
 * The client library is the build without threads; one of ours drives each
 * handle. Its callbacks copy what they are given and hand it to the loop, or
 * write a line of the log. What may block
 * is done on two workers: the opener resolves names, opens handles and talks to
 * servers past the library (diagnosis.c, old.c); the closer closes handles and
 * watches over the loop (zk_guard()). Everything else here runs on the loop.
 */
#ifndef PELORUS_REGISTRY_ZOOKEEPER_ZOOKEEPER_PRIV_H
#define PELORUS_REGISTRY_ZOOKEEPER_ZOOKEEPER_PRIV_H

#include "base/library/library.h"
#include "base/table.h"
#include "base/worker.h"
#include "registry/backend.h"
#include "registry/liveness.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include <zookeeper/zookeeper.h>

/* The header has these or the calls that block, which tests want. */
int zookeeper_interest(zhandle_t *zh, int *fd, int *interest,
                       struct timeval *left);
int zookeeper_process(zhandle_t *zh, int events);

/* --- the client library (library.c) -------------------------------------- */

#define ZK_LIBRARY(X)                                                          \
    X(is_unrecoverable)                                                        \
    X(zerror)                                                                  \
    X(zoo_acreate2)                                                            \
    X(zoo_add_auth)                                                            \
    X(zoo_adelete)                                                             \
    X(zoo_aexists)                                                             \
    X(zoo_aget)                                                                \
    X(zoo_aget_children2)                                                      \
    X(zoo_amulti)                                                              \
    X(zoo_areconfig)                                                           \
    X(zoo_async)                                                               \
    X(zoo_check_op_init)                                                       \
    X(zoo_client_id)                                                           \
    X(zoo_create_op_init)                                                      \
    X(zoo_delete_op_init)                                                      \
    X(zoo_recv_timeout)                                                        \
    X(zoo_set_debug_level)                                                     \
    X(zoo_set_op_init)                                                         \
    X(zoo_state)                                                               \
    X(zoo_set_servers_resolution_delay)                                        \
    X(zookeeper_close)                                                         \
    X(zookeeper_get_connected_host)                                            \
    X(zookeeper_init2)                                                         \
    X(zookeeper_interest)                                                      \
    X(zookeeper_process)                                                       \
    X(ZOO_AUTH_FAILED_STATE)                                                   \
    X(ZOO_CONNECTED_STATE)                                                     \
    X(ZOO_CONNECTING_STATE)                                                    \
    X(ZOO_CONTAINER)                                                           \
    X(ZOO_CREATOR_ALL_ACL)                                                     \
    X(ZOO_DELETED_EVENT)                                                       \
    X(ZOO_EPHEMERAL)                                                           \
    X(ZOO_EPHEMERAL_SEQUENTIAL)                                                \
    X(ZOO_EXPIRED_SESSION_STATE)                                               \
    X(ZOO_NOTCONNECTED_STATE)                                                  \
    X(ZOO_OPEN_ACL_UNSAFE)                                                     \
    X(ZOO_PERSISTENT)                                                          \
    X(ZOO_SESSION_EVENT)                                                       \
    X(ZOOKEEPER_READ)                                                          \
    X(ZOOKEEPER_WRITE)

struct zk_library {
    ZK_LIBRARY(LIBRARY_SLOT)
};

/* To be used after zk_library_load() has returned 0. */
extern struct zk_library libzk;

int zk_library_load(struct err *err) MUST_CHECK;

/*
 * Before each request. The library numbers them all in 32 bits, beginning with
 * the time of day, and has the numbers -2 (a ping), -4 and -8 for packets of
 * its own: after 2.5e9 requests, a month of 1,000 a second, an answer would be
 * taken for one of those, and the next for somebody else's. So these are left
 * out.
 */
void zk_number_taken(void);

/* zookeeper_close(): it frees it even when it fails. */
void zk_library_close(zhandle_t *zh);

/* --- limits -------------------------------------------------------------- */

#define ZK_WINDOW      256 /* requests with the server at a time; it takes 1,000 */
#define ZK_WATCH_READS 128 /* of these, reads for watches */
#define ZK_WATCH_FEW   16  /* the same while callers are busy */
#define ZK_BUSY        32  /* callers' requests with the server */
#define ZK_WARNED_MAX  64  /* locks, and what was said of them */
#define ZK_TICK_MS     100
#define ZK_GUARD_MS    1000

struct zookeeper;
struct zk_request;

/* What requests and handles tell the session. Loop thread. */
struct zk_events {
    void (*opened)(struct zookeeper *z); /* z->handle; or there is none */
    void (*state)(struct zookeeper *z);  /* z->handle->state was set */
    void (*closed)(struct zookeeper *z); /* a handle was, and is freed */
    /* A server's answer in this session; called before its done(). False: the
     * store went back, and the answer is not to be believed. May end the
     * session. */
    bool (*answered)(struct zookeeper *z, struct zk_request *q);
    /* A watch of the library's; `path` is the full one. */
    void (*changed)(struct zookeeper *z, int type, const char *path);
};

/* --- requests (request.c) ------------------------------------------------ */

enum zk_request_type {
    ZK_GET,
    ZK_EXISTS,
    ZK_CHILDREN,
    ZK_SYNC, /* the server we talk to catches up with the leader */
    ZK_CREATE,
    ZK_DELETE,
    ZK_MULTI,
};

/* Names of children: one block of memory, sorted by bytes. */
struct zk_names {
    char **items;
    size_t n;
};

typedef void zk_done_f(void *arg, struct zk_request *answered);

/* Nodes whose version counts (position.c). */
enum zk_count_of {
    ZK_SHARED,
    ZK_OWN,
    ZK_N_COUNTS,
};

/*
 * One request and its answer. From zk_send() on it is not the caller's any
 * more: it is lent to done() and freed after it, but for what done() took out
 * of the answer (`data`, `names.items`: set to NULL). What an option says by
 * zero is what most want.
 */
struct zk_request {
    struct zk_request *prev, *next;
    struct zookeeper *z;
    struct zk_handle *handle; /* on which it was sent */
    enum zk_request_type type;
    char *path;
    uint64_t number; /* in the order of zk_send(); 0: past the queue */
    bool watch;      /* get, exists, children: and tell of the next change */
    bool again;      /* asked twice it does no harm: sent again after a broken
                        connection, a call's but while we are suspended. Set
                        for what does not write */
    bool background; /* after the requests of callers: a watch's */
    bool patient;    /* its answer may wait for those of the others that are,
                        and are with the server: the loop wakes once for all */
    bool sent;       /* given to the client library: it may have been applied */
    mono_ms sent_at;
    struct registry_call *call; /* whose it is; NULL: the backend's own */
    /* create: ZOO_EPHEMERAL and so on, and the value (borrowed until answered;
     * NULL: none). A delete is always of any version */
    int mode;
    const char *value;
    size_t value_len;
    /* multi; all three are the request's, the values in `ops` are the call's */
    zoo_op_t *ops;
    zoo_op_result_t *results;
    char *text;
    int n_ops;
    unsigned counts; /* multi: which counts its last operations write, by bit */
    zk_done_f *done; /* NULL: nobody waits for it any more */
    void *arg;
    size_t tag; /* the owner's own */

    /* The answer: written on the library's thread, then read on the loop. */
    int rc;
    struct Stat stat; /* get, exists, create, children: if ZOK */
    char *data;       /* get: NUL-terminated; create: the path made */
    size_t data_len;
    struct zk_names names;            /* children */
    struct Stat counted[ZK_N_COUNTS]; /* multi: of `counts`, if ZOK */
    struct loop_slot slot;
};

/* Copies `path`. */
struct zk_request *zk_request_new(struct zookeeper *z,
                                  enum zk_request_type type, const char *path,
                                  zk_done_f *done, void *arg) MUST_CHECK;
/* Queue it. Answered once, never before this returned; with ZSESSIONEXPIRED
 * if the session ends before: then nothing more may be sent (zk_usable()). */
void zk_send(struct zk_request *q);

/* Nobody waits any more for what was asked with this `arg`, or for this call;
 * what was not sent is not sent. */
void zk_forget(struct zookeeper *z, const void *owner);

/* Send it past the queue; false: nothing can be sent now, and it is still the
 * caller's, to be freed. */
bool zk_send_now(struct zookeeper *z, struct zk_request *q) MUST_CHECK;
void zk_request_free(struct zk_request *q); /* one that was never sent */

int zk_by_bytes(const void *a, const void *b); /* qsort() of char * */
void zk_names_close(struct zk_names *names);

/* --- the library's thread (drive.c) --------------------------------------- */

/* The connection broke. Under the mutex, on the thread of who sent. */
typedef void zk_lost_f(zhandle_t *zh, void *arg);

struct zk_drive {
    zhandle_t *zh;
    pthread_mutex_t *mutex; /* whoever calls the library holds it */
    pthread_t thread;
    int wake; /* eventfd */
    bool started;
    atomic_bool ending;
    /* Under the mutex. */
    size_t told;     /* callbacks, so far */
    size_t asked[2]; /* with the server: who may not wait, and who may */
    bool resting;    /* it does not look at the socket */
    bool broken;     /* the library lost its connection, silently */
    zk_lost_f *lost; /* told of that */
    void *arg;
};

/* From now on the library is called under `mutex` only. -1: no descriptor is
 * left. */
int zk_drive_start(struct zk_drive *d, zhandle_t *zh, pthread_mutex_t *mutex,
                   zk_lost_f *lost, void *arg) MUST_CHECK;
/* A request was given to it, which may have been too `large` to be sent at
 * once; `patient`: its answer may come some milliseconds later. Under the
 * mutex, between start and stop. */
void zk_drive_sent(struct zk_drive *d, bool patient, bool large);
/* In each callback with an answer: what its `rc` says. Where the connection is
 * gone that is no server's word. */
int zk_drive_answer(struct zk_drive *d, int rc, bool patient) MUST_CHECK;
/* Waits for the end of the thread, not under the mutex; no callback comes any
 * more but from zookeeper_close(). Fine if it was not started. */
void zk_drive_stop(struct zk_drive *d);

/* --- handles (handle.c) -------------------------------------------------- */

/* One handle of the library is one session; after its end there is a new one.
 * What a stale handle still says is ignored. */
struct zk_handle {
    struct zookeeper *z;
    zhandle_t *zh;         /* the opener's until `opened`, then under the mutex
                              "handle"; NULL: none, or taken away */
    struct zk_drive drive; /* the opener's, then the closer's */
    bool opened;           /* loop */
    int state;     /* loop: ZOO_CONNECTED_STATE and so on, as last told by its
                      thread */
    clientid_t id; /* loop: of the session, when connected */
    atomic_int timeout_ms; /* the negotiated one; 0: not known yet */
    bool guard_ended;      /* loop: its session was ended, see zk_guard() */
    struct loop_slot guard_slot;
    struct sockaddr_storage server; /* loop: the one we are connected to */
    mono_ms connected_at;           /* loop: since when, by its own thread */
    size_t n_servers;               /* addresses; the opener's until `opened` */
    struct zk_request *in_flight;
    atomic_size_t n_patient; /* of these, and not answered */
    bool closing;            /* loop: let go of */
    struct worker_job job;
};

/* Begin to open a handle: z->handle. opened() is told, unless it is let go of
 * before. */
void zk_handle_open(struct zookeeper *z);
/* Let go of z->handle: what is in flight or queued is answered with
 * ZSESSIONEXPIRED, the handle is closed in the background (which ends the
 * session at once if the server can be reached), then closed() is told. */
void zk_handle_close(struct zookeeper *z);
/* The session is kept alive by its own thread, whatever our loop does. The
 * closer looks here now and then: a loop that has not turned for the session's
 * timeout has its handle closed, which ends the session and its locks; the
 * loop hears of it when it turns again. */
worker_idle_f zk_guard; /* arg: struct zookeeper */
/* The addresses of "host:port,host:port", for the library, and how many; NULL:
 * none has one. mem_free(). Blocks. (servers.c, to zk_server_text) */
char *zk_servers(const char *hosts, size_t *n);
/* Break our connections to a server, under the library, which then goes to the
 * next one with the same session. */
void zk_server_drop(const struct sockaddr_storage *server);
bool zk_server_same(const struct sockaddr_storage *a,
                    const struct sockaddr_storage *b);
/* "host:port" by numbers, for people. Does not block. */
#define ZK_SERVER_SIZE 64
const char *zk_server_text(const struct sockaddr_storage *server,
                           char out[ZK_SERVER_SIZE]);

/* How many reads for watches may be with the server now. */
size_t zk_watch_window(const struct zookeeper *z);
/* Send what can be sent. */
void zk_pump(struct zookeeper *z);
/* Reads that are sent from now on see what was committed before. */
void zk_catch_up(struct zookeeper *z);
/* Answer all with ZSESSIONEXPIRED. What is in flight stays the library's. */
void zk_requests_expire(struct zookeeper *z);
/* The library is gone: free what it never gave back. */
void zk_requests_free(struct zk_handle *h);

/* --- answers (answer.c) -------------------------------------------------- */

/* Neither a yes nor a no: the connection or the session broke. */
bool zk_broken(int rc);
/* A write: done by the leader with a majority behind it, or refused by it. */
bool zk_commits(enum zk_request_type type);
/* The leader's own answer to a write: others may come from one server, or the
 * library, alone. */
bool zk_committed(const struct zk_request *answered);
const char *zk_error(int rc); /* in words; static */
/* Of a multi's operations from the index `from` the first that failed by
 * itself: its code and index. ZOK: none did, *at is their number. */
int zk_first_failed(const struct zk_request *multi, int from, int *at);
/* Tell the registry's trouble.h of an answer, where it is one to complain
 * about. */
void zk_report_trouble(struct zookeeper *z, const struct zk_request *q);

/* --- signs of life (life.c) ---------------------------------------------- */

#define ZK_ANSWERS_KEPT 8

/* When one connection's server last answered us, oldest first. */
struct zk_life {
    struct {
        mono_ms sent, answered;
    } answers[ZK_ANSWERS_KEPT];
    size_t n;
    mono_ms committed; /* when the last answer to a write came */
};

void zk_life_connected(struct zookeeper *z); /* a connection, with its probe */
void zk_life_answered(struct zookeeper *z, mono_ms sent_at, bool committed);
void zk_life_tick(struct zookeeper *z);

/* Servers that took our connection and committed nothing since the last write
 * that was answered. */
struct zk_silence {
    struct sockaddr_storage first; /* the first of them; family 0: none */
    bool reported;                 /* that they were all of them */
};

/* --- where the store stands (position.c) --------------------------------- */

struct zk_count {
    char *path;
    int64_t czxid, mzxid; /* czxid 0: nothing is known */
    uint32_t version;
};

struct zk_position {
    struct zk_count counts[ZK_N_COUNTS];
    mono_ms written;      /* when one was written last */
    bool checked;         /* this connection's store is the one that is known */
    bool blocked;         /* it is not: nothing more goes there */
    bool making;          /* a node was missing */
    bool refused;         /* to us, and said so */
    struct err went_back; /* that it went back, before a session has begun */
};

void zk_position_init(struct zookeeper *z);
void zk_position_connected(struct zookeeper *z); /* a new connection */
/* Ask for a sign of life, past the queue. Connected. */
void zk_probe(struct zookeeper *z);
/* A txn of ours writes it, too, if it is time; one more operation. */
void zk_position_add(struct zk_request *q);
/* May others than a sign of life be sent? */
static inline bool zk_position_is_known(const struct zk_position *p)
{
    return !p->blocked && (p->checked || p->making);
}
/* False: the store went back, and the answer is not to be believed. */
bool zk_position_answered(struct zookeeper *z, struct zk_request *q);
/* registry_session_begin(), with what is known of the position. */
void zk_position_begin(struct zookeeper *z, uint64_t session);

/* --- a talk with one server (dial.c; blocks) ----------------------------- */

/* Is that enough of an answer? NULL: nothing is. */
typedef bool zk_dial_enough_f(const char *answer, size_t len);
#define ZK_DIAL_HUNG_UP   (-1) /* reached, and without any answer */
#define ZK_DIAL_UNREACHED (-2) /* `answer` says why, in words */
/* Connect to "host:port" by numbers, send, and collect what comes until it is
 * enough or the end; all that for `within_ms` at most, and until *cancelled.
 * The length of the answer, which is NUL-terminated (0: it is silent), or one
 * of the above. */
ssize_t zk_dial(const char *server, const void *question, size_t n,
                int64_t within_ms, const atomic_bool *cancelled,
                zk_dial_enough_f *enough, char *answer, size_t size);

/* --- why no server takes us (diagnosis.c) -------------------------------- */

struct zk_diagnosis {
    struct zookeeper *z;
    mono_ms next;
    bool running;          /* the opener's thread has what follows */
    atomic_bool cancelled; /* set by who wants the thread: it ends soon */
    struct worker_job job;
    enum trouble what;
    char detail[ERR_MSG_MAX];
    bool compared; /* our timeout with the servers' patience, once */
    char server[ZK_SERVER_SIZE];
    int64_t leader_timeout_ms; /* so long they wait for their leader; 0: none */
    bool from_server;          /* it said so; else it is what is usual */
};

/* At every tick: finds out why there is no connection, where none is; with the
 * first session, whether it is shorter than the servers wait for their leader.
 */
void zk_diagnose(struct zookeeper *z);

/* --- a session that we gave up (old.c) ----------------------------------- */

struct zk_old {
    struct zookeeper *z;
    clientid_t id; /* the server may still keep it, and no other session
                      begins; client_id 0: none */
    int64_t timeout_ms;
    mono_ms by;    /* when it is given up as well */
    mono_ms again; /* not before */
    bool trying;   /* the opener's thread has what follows, and `id` */
    bool over;     /* and a server said so */
    size_t tries, n_servers;
    struct worker_job job;
};

/* Begin to end it; none is being ended yet. */
void zk_old_close(struct zookeeper *z, const clientid_t *id);
void zk_old_tick(struct zookeeper *z); /* try again */

/* --- the backend --------------------------------------------------------- */

struct zookeeper {
    struct registry base; /* first: see backend.h */
    struct registry_liveness liveness;
    char *hosts;  /* host:port,... without a chroot */
    char *root;   /* "/chroot/namespace": before every key */
    char *digest; /* secret: user:password, or NULL */
    const struct ACL_vector *acl;
    const struct zk_events *events;
    int64_t asked_timeout_ms; /* the configured one */
    int64_t connect_timeout_ms, retry_base_ms, retry_max_ms;
    int64_t block_until_connected_ms;

    struct worker *opener, *closer;
    pthread_mutex_t mutex;     /* "handle": the next, and what stands in it */
    struct zk_handle *guarded; /* z->handle when it was opened, or NULL */
    bool seen_stuck;           /* at the last look: the loop */
    struct loop_timer *ticker;
    struct zk_handle *handle; /* the present one; NULL: a pause, or none */
    size_t n_handles;         /* not yet freed */
    bool connected;           /* requests can be sent */
    bool ending;              /* the session is being given up */
    bool stopped;             /* the workers are being stopped */
    bool announced;           /* told once that nobody answers */
    struct zk_old old;
    struct zk_diagnosis diagnosis;
    struct zk_position position;
    mono_ms opened;       /* when the registry was */
    mono_ms began;        /* when this handle, or the pause before it, began */
    int64_t pause_ms;     /* before the next handle, after a failure */
    mono_ms committed_at; /* when the last write was sent */
    struct zk_life life;
    struct zk_silence silence;
    mono_ms close_by; /* until then what is in flight may still be answered */

    struct zk_request *queue;      /* what callers asked for, and locks */
    struct zk_request *background; /* what watches want to read */
    struct zk_request *sync; /* the last of the queue's that is one, unsent */
    size_t n_in_flight, n_background_in_flight;
    size_t n_calls, call_bytes; /* calls not answered */
    uint64_t last_number;

    struct zk_walk *walks; /* lists that wait for their next page */
    size_t n_walks;

    uint64_t warned[ZK_WARNED_MAX]; /* what was said of locks, once each */
    size_t n_warned;

    size_t armed_bytes; /* of the paths of child watches that are set */
    mono_ms polled_at;

    registry_closed_f *killed; /* tests */
    void *killed_arg;
};

static inline struct zookeeper *zk_of(const struct registry *r)
{
    return (struct zookeeper *)(uintptr_t)r;
}

/* Of this turn of the loop. */
static inline mono_ms zk_now(const struct zookeeper *z)
{
    return loop_clock(z->base.loop)->mono;
}

static inline int64_t zk_clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* The registry is closing or dead: begin nothing. */
static inline bool zk_stopping(const struct zookeeper *z)
{
    return z->base.closing || z->base.mute;
}

/* There is a session, and requests may be queued for it. */
static inline bool zk_usable(const struct zookeeper *z)
{
    return z->base.session != 0 && z->handle != NULL && !z->ending &&
           !zk_stopping(z);
}

/* A job of ours on a worker that takes all: it is not running yet. */
static inline void zk_work(struct worker *w, struct worker_job *job,
                           loop_f *run, loop_f *done, void *arg)
{
    int rc = worker_submit(w, job, run, done, arg);

    assert(rc == 0);
    (void)rc;
}

/* --- keys, entries, directories (path.c) --------------------------------- */

/* The path of a key ("/" is the root of the namespace), for the caller to
 * free; and back: the key within a path of ours. */
char *zk_path(const struct zookeeper *z, const char *key) MUST_CHECK;
const char *zk_key(const struct zookeeper *z, const char *path);
char *zk_child_key(const char *key, const char *name) MUST_CHECK;
/* zk_request_new() for a key's path. */
struct zk_request *zk_request_for(struct zookeeper *z,
                                  enum zk_request_type type, const char *key,
                                  zk_done_f *done, void *arg) MUST_CHECK;

/* The session that owns a node; 0: it is persistent. A container is. */
uint64_t zk_owner(const struct Stat *stat);
/* Our `version` says the node's kind, too, so that a key that changed its kind
 * is at another version. */
uint64_t zk_version(const struct Stat *stat);
/* The server's version in it; ZK_NO_VERSION if no node can be at it, which is
 * one that none ever is at. */
#define ZK_NO_VERSION INT32_MAX
int32_t zk_data_version(uint64_t version);
bool zk_version_ephemeral(uint64_t version);
/* Persistent and empty. */
bool zk_is_directory(const struct Stat *stat);
/* Borrows `key` and `data`. */
struct registry_entry zk_entry(const char *key, const struct Stat *stat,
                               const char *data, size_t len);

/* Make each of `dirs` (paths; sorted in place, not kept) and everything above
 * it, where missing. done(arg, rc): ZOK, ZNOAUTH, ZSESSIONEXPIRED, ...; called
 * in any case, never before this returned. */
typedef void zk_made_f(void *arg, int rc);
void zk_make_dirs(struct zookeeper *z, char **dirs, size_t n, int mode,
                  zk_made_f *done, void *arg);

/* --- calls (call.c) ------------------------------------------------------ */

struct zk_call {
    size_t asked; /* its requests that are queued or in flight */
    unsigned tries;
    size_t at;       /* txn: the operation being looked at */
    int32_t *set_at; /* txn, per operation: ZK_AS_SAID, or set at this version
                        although the caller said absent or any; NULL: none */
    struct zk_walk *walk; /* list */
    /* Called before it is answered, to free what else it has; NULL: nothing */
    void (*release)(struct zk_call *c);
};

/* Counted from here on until it is answered. False: it was refused by
 * registry_call_fail_later(). */
bool zk_call_accept(struct registry_call *call) MUST_CHECK;
/* Answer; everything of the call is let go. zk_call_broken() finds the code
 * when the connection broke; `in_doubt`: its write was sent. */
void zk_call_done(struct registry_call *call,
                  const struct registry_reply *reply);
void zk_call_fail(struct registry_call *call, enum err_code code,
                  const char *fmt, ...) PRINTF_LIKE(3, 4);
void zk_call_broken(struct registry_call *call, bool in_doubt, int rc);
/* The server refused what was asked about `key`, or the connection broke, and
 * nothing was written. `rc` is not ZOK. */
void zk_call_refused(struct registry_call *call, const char *key, int rc);
/* Fail what callers asked for and was not sent. */
void zk_calls_refuse_unsent(struct zookeeper *z, enum err_code code,
                            const char *why);

/* Carry out a call that was accepted. */
void zk_txn(struct registry_call *call);  /* txn.c */
void zk_read(struct registry_call *call); /* read.c */
void zk_list(struct registry_call *call); /* list.c */
void zk_walks_close(
    struct zookeeper *z); /* lists that wait for their next page */

/* --- places in a lock's queue (place.c) ---------------------------------- */

#define ZK_UUID_SIZE 37
void zk_place_uuid(char out[ZK_UUID_SIZE]); /* a fresh one */
bool zk_place_is_ours(const char *name, const char *uuid);
/* The sequence number at its end; false: it has none. `out` may be NULL. */
bool zk_place_number(const char *name, int32_t *out) MUST_CHECK;
/* It has one, and is not of Curator's layout: others than Curator's users. */
bool zk_place_is_foreign(const char *name);

struct zk_place {
    const char *ours;   /* the first name with our uuid */
    const char *before; /* the last one before it; NULL: ours is the first */
    const char *first;  /* of all that are not after it */
};
/* All are lent by `names`. False: there is none of ours. */
bool zk_place(const struct zk_names *names, const char *uuid,
              struct zk_place *out) MUST_CHECK;

/* --- locks (hold.c) ------------------------------------------------------ */

struct zk_hold {
    enum {
        ZK_HOLD_NONE,      /* no node, and none is on its way */
        ZK_HOLD_CREATING,  /* asked for; or its directories are being made */
        ZK_HOLD_SEARCHING, /* it may exist: looked for by its id */
        ZK_HOLD_EXISTS,
        ZK_HOLD_REMOVING,
    } step;
    bool leaving, granted;
    bool listing, list_again; /* a look at the queue is under way; one more */
    bool awaits_first;        /* the node before ours has the lock */
    char uuid[ZK_UUID_SIZE];
    char *path;     /* of our node; NULL: unknown */
    char *awaited;  /* of the node before ours, watched; or NULL */
    char **ignored; /* names of nodes that are no session's */
    size_t n_ignored;
    uint64_t fence; /* czxid of our node */
    struct registry_timer retry;
};

registry_hold_begin_f zk_lock;
registry_hold_end_f zk_unlock;
/* A watch of the library's; `path` is the full one. */
void zk_holds_event(struct zookeeper *z, int type, const char *path);
/* The path of the node that guards a check-lock, lent until the next turn;
 * NULL: the lock is not ours any more. */
const char *zk_lock_path(const struct zookeeper *z, const char *key,
                         uint64_t fence);
void zk_holds_txn_done(struct zookeeper *z); /* some may wait for it to leave */
void zk_holds_lost(struct zookeeper *z); /* the session is over, or all is */

/* others.c. Leaves only contenders in a list of the lock's directory. */
void zk_others_filter(struct registry_hold *hold, struct zk_names *names);
/* A node before ours is no session's. False: too many are remembered. */
bool zk_others_ignore(struct registry_hold *hold, const char *path);
void zk_others_forget(struct zk_hold *h); /* frees what is remembered */

/* --- watches (watch.c, dir.c) -------------------------------------------- */

struct zk_child {
    char *name;
    bool unread;  /* its value has to be read, */
    bool patient; /* and for no other reason than that it was long ago */
};

struct zk_dir {
    UT_hash_handle hh;
    struct registry_watch *w;
    struct zk_dir *prev, *next; /* in one of the watch's lists */
    enum zk_dir_list {
        ZK_DIR_IDLE,
        ZK_DIR_READY,   /* to be listed, or with names to be read */
        ZK_DIR_WAITING, /* to be listed, but not so soon again */
    } list;
    struct zk_names block; /* holds the text of the children's names */
    struct zk_child *children;
    size_t n, n_unread, at; /* `at`: where to go on reading */
    uint32_t look;          /* the last full look that listed it */
    size_t armed;           /* bytes of the child watch that is set; 0: none */
    bool awaited;           /* it is missing, and a watch tells when it comes */
    bool listing;           /* under way */
    bool dirty;             /* something changed since */
    bool event;             /* by the word of a watch */
    bool urgent;            /* somebody waits for it */
    mono_ms listed_at;
    char key[];
};

struct zk_watch {
    struct zk_dir *dirs; /* by key */
    struct zk_dir *lists[3];
    bool started, looking;
    uint32_t look;
    size_t outstanding;    /* requests under way */
    size_t n_keys;         /* children of all directories */
    struct zk_dir *cursor; /* of the poll */
    size_t cursor_at;
    double budget;     /* keys that may be polled now */
    mono_ms failed_at; /* a look met what is denied to us; 0: none did */
};

registry_watch_begin_f zk_watch_begin;
registry_watch_end_f zk_watch_end;
/* A watch of the library's at this full path. */
void zk_watches_event(struct zookeeper *z, const char *path);
registry_look_f zk_watches_look;
void zk_watches_tick(struct zookeeper *z);
registry_poll_now_f zk_watches_refresh_key;
/* A write of ours was applied: our own watches need not wait for their turn. */
void zk_watches_wrote(struct zookeeper *z, const struct registry_call *txn);
void zk_watches_drop_ended(struct zookeeper *z); /* those that ended */
void zk_watches_lost(struct zookeeper *z);       /* the session is over */
void zk_watches_close(struct zookeeper *z);

/* dir.c */
/* `passed_ms` are over; `total` keys and directories have all watches. Marks
 * what is to be read or listed. */
void zk_poll(struct registry_watch *w, int64_t passed_ms, size_t total);
struct zk_dir *zk_dir_find(const struct registry_watch *w, const char *key);
struct zk_dir *zk_dir_make(struct registry_watch *w, const char *key);
/* Forget it and what is below; its keys are told as gone if `tell`. */
void zk_dir_remove(struct zk_dir *d, bool tell);
/* Take over what was listed; what is new is unread, or with `all` all. */
void zk_dir_update(struct zk_dir *d, struct zk_names *names, bool all);
/* Not listed yet by the full look under way. */
bool zk_dir_is_unlisted(const struct zk_dir *d);
/* May it be listed now? */
bool zk_dir_due(const struct zk_dir *d);
/* To the list where it belongs; in that of the ready ones to its end. */
void zk_dir_place(struct zk_dir *d);
/* It has to be listed. */
void zk_dir_mark_dirty(struct zk_dir *d);
void zk_dir_disarm(struct zk_dir *d);
/* Its value is to be read; `patient`: for no other reason than that it was long
 * ago. */
void zk_dir_mark_unread(struct zk_dir *d, struct zk_child *c, bool patient);
/* Where the watch knows the key its value is to be read again. `awaited`:
 * somebody waits to be told what stands there, known or not. */
void zk_dir_refresh_key(const struct registry_watch *w, const char *key,
                        bool awaited);

/* --- for tests ----------------------------------------------------------- */

/* As if the process had got SIGKILL, provided that nothing reaches the server
 * any more: no callback is called but gone(arg), when all is freed. */
void zookeeper_kill(struct registry **r, registry_closed_f *gone, void *arg);

/* Id and password of our session, to end it behind our back by a second
 * handle. False: there is none. */
bool zookeeper_session_of(const struct registry *r, clientid_t *out);

#endif
