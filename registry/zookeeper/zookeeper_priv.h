/*
 * zookeeper_priv.h - the ZooKeeper registry from inside, for its own files and
 * its tests. (Longer than 150 lines: it says of every file what the others may
 * call.)
 *
 *   zookeeper.c  opening, closing, the session and its deadlines
 *   life.c       what shows that the leader has heard us, and servers
 *                that answer but do not write
 *   handle.c     handles of the client library, and their events
 *   servers.c    the addresses of the servers
 *   old.c        the end of a session that we gave up
 *   position.c   where the store stands, and whether it went back
 *   request.c    requests and their answers
 *   call.c       callers' calls: taken, counted, answered
 *   path.c       keys and paths, entries, missing directories
 *   txn.c        writes: one multi each
 *   read.c       get, exists, children
 *   list.c       pages of keys with values, in order
 *   hold.c       locks in the layout of Curator's InterProcessMutex
 *   others.c     what else stands in a lock's directory
 *   place.c      the names in a lock's queue, pure
 *   watch.c      watches: which directories and keys are looked at
 *   poll.c       which keys are to be read again, and when
 *   dir.c        one directory: its names, their differences
 *   log.c        the client's own log lines
 *   trouble.c    what the servers refuse, and why none takes us
 *
 * The client library has two threads per handle. Its callbacks copy what they
 * are given and hand it to the loop; everything else here runs on the loop,
 * except opening and closing a handle, which may block (names are resolved,
 * threads are joined) and are done on two workers.
 */
#ifndef PELORUS_REGISTRY_ZOOKEEPER_ZOOKEEPER_PRIV_H
#define PELORUS_REGISTRY_ZOOKEEPER_ZOOKEEPER_PRIV_H

#include "base/mem.h"
#include "base/worker.h"
#include "registry/backend.h"
#include "registry/liveness.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#define uthash_malloc(size)    mem_alloc(size)
#define uthash_free(ptr, size) mem_free(ptr)
#include <uthash.h>
#include <zookeeper/zookeeper.h>

#define ZK_WINDOW      256 /* requests with the server at a time; it takes 1,000 */
#define ZK_WATCH_READS 128 /* of these, reads for watches */
#define ZK_WATCH_FEW   16  /* the same while callers are busy */
#define ZK_BUSY        32  /* callers' requests with the server */
#define ZK_TICK_MS     100
#define ZK_GUARD_MS    1000

struct zookeeper;
struct zk_request;

/* --- requests (request.c) ------------------------------------- */

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
 * One request and its answer. It belongs to the client from zk_send() on; the
 * answer is lent to done() and freed after it, unless something was taken out
 * of it (set the field to NULL). Zero is a good default for every option.
 */
struct zk_request {
    struct zk_request *prev, *next;
    struct zookeeper *z;
    struct zk_handle *handle; /* on which it was sent */
    enum zk_request_type type;
    char *path;
    uint64_t number; /* in the order of sending */
    bool watch;      /* get, exists, children: and tell of the next change */
    bool again;      /* asked twice it does no harm: sent again after a broken
                        connection. Reads always are */
    bool behind;     /* behind the requests of callers: a watch's */
    bool sent;       /* given to the client library: it may have been applied */
    mono_ms sent_at;
    struct registry_call *call; /* whose it is; NULL: the backend's own */
    /* create: ZOO_EPHEMERAL and so on, and the value (borrowed until sent);
     * delete: the version is always any */
    int mode;
    const char *value;
    size_t value_len;
    /* multi; all three are the request's */
    zoo_op_t *ops;
    zoo_op_result_t *results;
    char *text;
    int n_ops;
    unsigned counts; /* multi: which counts its last operations write, by bit */
    zk_done_f *done; /* NULL: nobody waits for it any more */
    void *arg;
    size_t tag; /* the owner's own */

    /* The answer: written on the client's thread, then read on the loop. */
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

/* Nobody waits for what was asked with `arg`; what was not sent is not. */
void zk_forget(struct zookeeper *z, const void *arg);
/* The same for one call that has been answered already. */
void zk_forget_call(struct zookeeper *z, const struct registry_call *call);

/* Neither a yes nor a no: the connection or the session broke. */
bool zk_broken(int rc);

void zk_names_close(struct zk_names *names);

/* --- handles (request.c) --------------------------------------- */

/* One handle of the library is one session; after its end there is a new one.
 * What a stale handle still says is ignored. */
struct zk_handle {
    struct zookeeper *z;
    zhandle_t *zh; /* the opener's until `opened`, then under the mutex
                      "handle"; NULL: none, or taken away */
    bool opened;   /* loop */
    int state;     /* loop: ZOO_CONNECTED_STATE and so on, as last heard */
    clientid_t id; /* loop: of the session, when connected */
    atomic_int timeout_ms; /* the negotiated one; 0: not known yet */
    bool severed;          /* loop: its session was ended, see zk_guard() */
    struct loop_slot severed_slot;
    struct sockaddr_storage server; /* loop: the one we are connected to */
    mono_ms connected_at;           /* loop: since when, by its own thread */
    size_t n_servers;               /* addresses; the opener's until `opened` */
    struct zk_request *in_flight;
    loop_f *closed;
    struct worker_job job;
};

/* Begin to open a handle: z->handle. zk_on_opened() follows. */
void zk_handle_open(struct zookeeper *z);
/* Let go of z->handle: what is in flight or queued is answered with
 * ZSESSIONEXPIRED, the handle is closed in the background (which ends the
 * session at once if the server can be reached), then closed(z). */
void zk_handle_close(struct zookeeper *z, loop_f *closed);
/* The library pings from a thread of its own, whatever our loop does. The
 * closer looks here now and then: a loop that has not turned for the session's
 * timeout has its handle closed, which ends the session and its locks; the
 * loop hears of it when it turns again. */
loop_f zk_guard; /* arg: struct zookeeper */
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

void zk_watcher(zhandle_t *zh, int type, int state, const char *path,
                void *handle); /* the library's thread */

/* How many reads for watches may be with the server now. */
size_t zk_watch_window(const struct zookeeper *z);
/* Send what can be sent. (request.c, this and the next.) */
void zk_pump(struct zookeeper *z);
/* Fail what callers asked for and was not sent. */
void zk_refuse_unsent(struct zookeeper *z, enum err_code code, const char *why);
/* Reads that are sent from now on see what was committed before. */
void zk_catch_up(struct zookeeper *z);
/* Ask for a sign of life, past the queue. */
void zk_probe(struct zookeeper *z);
/* Answer all with ZSESSIONEXPIRED. What is in flight stays the library's. */
void zk_requests_expire(struct zookeeper *z);
/* The library is gone: free what it never gave back. */
void zk_requests_free(struct zk_handle *h);

/* What the client tells the session (zookeeper.c). */
void zk_on_opened(struct zookeeper *z);
void zk_on_state(struct zookeeper *z);
/* False: the store went back, and the answer is not to be believed. */
bool zk_on_answer(struct zookeeper *z, struct zk_request *q);
/* And the owners of watches; `path` is the full one. */
void zk_holds_event(struct zookeeper *z, int type, const char *path);
void zk_watches_event(struct zookeeper *z, int type, const char *path);

log_callback_fn zk_log_callback(void); /* log.c */

/* --- signs of life (life.c) ------------------------------------ */

#define ZK_HEARD 8

/* What one connection's server has heard from us lately, oldest first. */
struct zk_life {
    struct {
        mono_ms sent, answered;
    } heard[ZK_HEARD];
    size_t n;
    mono_ms committed; /* when the last answer to a write came */
};

bool zk_commits(enum zk_request_type type); /* a write: takes a majority */
bool zk_committed(const struct zk_request *answered);
void zk_life_connected(struct zookeeper *z); /* a connection, with its probe */
void zk_life_answered(struct zookeeper *z, mono_ms sent_at, bool committed);
void zk_life_tick(struct zookeeper *z);

/* Servers that took our connection and committed nothing since the last write
 * that was answered. */
struct zk_silence {
    struct sockaddr_storage first; /* the first of them; family 0: none */
    bool told;                     /* that they were all of them */
};

/* --- where the store stands (position.c) ------------------------ */

struct zk_count {
    char *path;
    int64_t czxid, mzxid; /* czxid 0: nothing is known */
    uint32_t version;
};

struct zk_position {
    struct zk_count counts[ZK_N_COUNTS];
    mono_ms written;     /* when one was written last */
    bool checked;        /* this connection's store is the one that is known */
    bool shut;           /* it is not: nothing more goes there */
    bool making;         /* a node was missing */
    bool refused;        /* to us, and said so */
    struct err evidence; /* that it went back, before a session has begun */
};

void zk_position_init(struct zookeeper *z);
void zk_position_close(struct zookeeper *z);
void zk_position_connected(struct zookeeper *z);
void zk_position_forget(struct zookeeper *z);
/* May others than a sign of life be sent? */
bool zk_position_lets_pass(const struct zookeeper *z);
/* What a sign of life writes, or checks; room for ZK_N_COUNTS operations. */
void zk_position_probe(struct zk_request *q);
/* A txn of ours writes it, too, if it is time; one more operation. */
void zk_position_ride(struct zk_request *q);
/* Its own operations were what failed in this multi. */
bool zk_position_failed(const struct zk_request *q);
bool zk_position_answered(struct zookeeper *z, struct zk_request *q);
uint64_t zk_position(const struct zookeeper *z); /* 0: cannot be told */
void zk_position_begin(struct zookeeper *z, uint64_t session);

/* --- what they refuse (trouble.c) ------------------------------ */

const char *zk_error(int rc); /* in words */
/* Was that an answer to complain about? */
void zk_met(struct zookeeper *z, const struct zk_request *q);

struct zk_diagnosis {
    struct zookeeper *z;
    mono_ms next;
    bool running; /* the opener's thread has what follows */
    atomic_bool cancelled;
    struct worker_job job;
    enum trouble what;
    char detail[ERR_MSG_MAX];
    bool compared; /* our timeout with the servers' patience, once */
    char server[ZK_SERVER_SIZE];
    int64_t patience_ms; /* 0: none */
    bool told;           /* by the server; else it is what is usual */
};

/* At every tick: finds out why there is no connection, where none is; with the
 * first session, whether it is shorter than the servers wait for their leader.
 */
void zk_diagnose(struct zookeeper *z);
/* The opener's thread is wanted: end it soon. */
void zk_diagnosis_yield(struct zookeeper *z);

/* --- a session that we gave up (old.c) ------------------------- */

struct zk_old {
    struct zookeeper *z;
    clientid_t id; /* the server may still keep it; 0: none */
    int64_t timeout_ms;
    mono_ms by;    /* when it is given up as well */
    mono_ms again; /* not before */
    bool trying;   /* the opener's thread has what follows, and `id` */
    bool over;     /* and was told so */
    size_t tries, n_servers;
    struct worker_job job;
};

/* End it; there is none yet. */
void zk_old_keep(struct zookeeper *z, const clientid_t *id);
void zk_old_tick(struct zookeeper *z); /* try again */
/* It may stand: no other session begins. */
bool zk_old_stands(const struct zookeeper *z);

/* --- the backend --------------------------------------------------------- */

struct zookeeper {
    struct registry base; /* first: see backend.h */
    struct registry_liveness liveness;
    char *hosts;  /* host:port,... without a chroot */
    char *root;   /* "/chroot/namespace": before every key */
    char *digest; /* secret: user:password, or NULL */
    const struct ACL_vector *acl;
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

    struct zk_request *queue;  /* what callers asked for, and locks */
    struct zk_request *behind; /* what watches want to read */
    struct zk_request *sync;   /* the last of the queue's that is one, unsent */
    size_t n_in_flight, n_behind_in_flight;
    size_t n_calls, call_bytes; /* calls not answered */
    uint64_t last_number;

    struct zk_walk *walks; /* lists that wait for their next page */
    size_t n_walks;

    struct zk_told *told; /* what was said of locks, once each */
    size_t n_told;

    size_t armed_bytes; /* of the paths of child watches that stand */
    mono_ms polled_at;
    size_t n_polled; /* keys and directories of all watches */

    registry_closed_f *killed; /* tests */
    void *killed_arg;
};

/* The registry is closing or dead: begin nothing. */
bool zk_stopping(const struct zookeeper *z);
/* A session stands, and requests may be queued for it. */
bool zk_usable(const struct zookeeper *z);

/* --- keys, entries, directories (path.c) ----------------------- */

/* The path of a key ("/" is the root of the namespace), for the caller to
 * free; and back: the key within a path of ours. */
char *zk_path(const struct zookeeper *z, const char *key) MUST_CHECK;
const char *zk_key(const struct zookeeper *z, const char *path);

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
void zk_entry(struct registry_entry *entry, const char *key,
              const struct zk_request *get);

/* Make each of `dirs` (paths; sorted in place, not kept) and everything above
 * it, where missing. done(arg, rc): ZOK, ZNOAUTH, ZSESSIONEXPIRED, ...; called
 * in any case, never before this returned. */
typedef void zk_made_f(void *arg, int rc);
void zk_make_dirs(struct zookeeper *z, char **dirs, size_t n, int mode,
                  zk_made_f *done, void *arg);

/* --- calls --------------------------------------------------------------- */

struct zk_call {
    size_t asked; /* its requests that are queued or in flight */
    unsigned tries;
    size_t at;       /* txn: the operation being looked at */
    int32_t *set_at; /* txn, per operation: ZK_AS_SAID, or set at this version
                        although the caller said absent or any; NULL: none */
    struct zk_walk *walk; /* list */
};

/* False: it was refused without asking, by registry_call_fail_later(). */
bool zk_txn(struct registry_call *call);  /* txn.c */
void zk_read(struct registry_call *call); /* read.c */
void zk_list(struct registry_call *call); /* list.c */
void zk_walk_close(struct zk_walk **walk);
void zk_walks_close(struct zookeeper *z); /* those that wait */

registry_submit_f zk_submit; /* call.c, this and the next */
/* Answer; everything of the call is let go. zk_call_broken() finds the code
 * when the connection broke; `in_doubt`: its write was sent. */
void zk_call_done(struct registry_call *call,
                  const struct registry_reply *reply);
void zk_call_fail(struct registry_call *call, enum err_code code,
                  const char *fmt, ...) PRINTF_LIKE(3, 4);
void zk_call_broken(struct registry_call *call, bool in_doubt, int rc);

/* --- places in a lock's queue (place.c) ------------------------ */

#define ZK_UUID_SIZE 37
void zk_place_uuid(char out[ZK_UUID_SIZE]); /* a fresh one */
bool zk_place_is_ours(const char *name, const char *uuid);
/* The sequence number at its end; false: it has none. */
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

/* --- locks (hold.c) -------------------------------------------- */

struct zk_hold {
    enum {
        ZK_HOLD_NONE,      /* no node, and none is on its way */
        ZK_HOLD_CREATING,  /* asked for; or its directories are being made */
        ZK_HOLD_SEARCHING, /* it may stand: looked for by its id */
        ZK_HOLD_STANDS,
        ZK_HOLD_REMOVING,
    } step;
    bool leaving, granted;
    bool listing, list_again; /* a look at the queue is under way; one more */
    bool awaits_first;        /* the node before ours has the lock */
    char uuid[ZK_UUID_SIZE];
    char *path;    /* of our node; NULL: unknown */
    char *awaited; /* of the node before ours, watched; or NULL */
    char **passed; /* names of nodes that are no session's */
    size_t n_passed;
    uint64_t fence; /* czxid of our node */
    struct registry_timer retry;
};

registry_hold_begin_f zk_lock;
registry_hold_end_f zk_unlock;
/* The path of the node that guards a check-lock; NULL: not ours any more. */
const char *zk_lock_path(const struct zookeeper *z, const char *key,
                         uint64_t fence);
void zk_holds_txn_done(struct zookeeper *z);
void zk_holds_lost(struct zookeeper *z);
void zk_holds_close(struct zookeeper *z); /* free what they hold */

/* others.c: leave the contenders in a list of the directory; a node
 * before ours is no session's (false: too many are remembered). */
void zk_others_sift(struct registry_hold *hold, struct zk_names *names);
bool zk_others_pass_over(struct registry_hold *hold, const char *path);
void zk_others_forget(struct zk_hold *h);
void zk_others_close(struct zookeeper *z);

/* --- watches (watch.c, dir.c) ------------------------ */

struct zk_child {
    char *name;
    bool unread; /* its value has to be read */
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
    size_t armed;           /* bytes of the child watch that stands; 0: none */
    bool awaited;           /* it is missing, and a watch tells when it comes */
    bool listing;           /* under way */
    bool dirty;             /* something changed since */
    bool event;             /* by the word of a watch */
    bool hurried;           /* somebody waits for it */
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
void zk_watches_look(struct zookeeper *z); /* a new session */
void zk_watches_tick(struct zookeeper *z);
registry_hurry_f zk_watches_hurry;
/* A write of ours was applied: our own watches need not wait for their turn. */
void zk_watches_wrote(struct zookeeper *z, const struct registry_call *txn);
void zk_watches_bury(struct zookeeper *z); /* those that ended */
void zk_watches_lost(struct zookeeper *z); /* the session is over */
void zk_watches_close(struct zookeeper *z);

/* `passed_ms` are over; `total` keys and directories have all watches. Marks
 * what is to be read or listed. (poll.c) */
void zk_poll(struct registry_watch *w, int64_t passed_ms, size_t total);

/* dir.c */
struct zk_dir *zk_dir_find(const struct registry_watch *w, const char *key);
struct zk_dir *zk_dir_make(struct registry_watch *w, const char *key);
/* Forget it and what is below; its keys are told as gone if `tell`. */
void zk_dir_remove(struct zk_dir *d, bool tell);
/* Take over what was listed; what is new is unread, or with `all` all. */
void zk_dir_update(struct zk_dir *d, struct zk_names *names, bool all);
/* Not listed yet by the full look under way. */
bool zk_dir_unlooked(const struct zk_dir *d);
/* May it be listed now? */
bool zk_dir_due(const struct zk_dir *d);
/* To the list where it belongs; in that of the ready ones to its end. */
void zk_dir_place(struct zk_dir *d);
/* It has to be listed. */
void zk_dir_soil(struct zk_dir *d);
void zk_dir_disarm(struct zk_dir *d);
/* If the watch knows the key: its value is to be read again. */
void zk_dir_child_changed(const struct registry_watch *w, const char *key);
/* Somebody waits to be told what stands at the key, known or not. */
void zk_dir_hurry(const struct registry_watch *w, const char *key);

/* --- for tests ----------------------------------------------------------- */

/* As if the process had got SIGKILL, provided that nothing reaches the server
 * any more: no callback is called but gone(arg), when all is freed. */
void zookeeper_kill(struct registry **r, registry_closed_f *gone, void *arg);

/* Id and password of our session, to end it behind our back by a second
 * handle. False: there is none. */
bool zookeeper_session_of(const struct registry *r, clientid_t *out);

#endif
