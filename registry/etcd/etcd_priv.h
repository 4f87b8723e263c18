/*
 * etcd_priv.h - the etcd backend's own state, for its files. (Longer than 150
 * lines: it says of every field what it means.)
 *
 * The layers, from below to above. A file calls those that stand before it in
 * this list, and none behind it; dispatch.c is woken by a timer.
 *
 *   wire.c reply.c stream.c   bytes: written, read, cut into messages. Pure
 *   http.c                    libcurl on the loop
 *   endpoint.c                which member is asked, what is wrong there; is it
 *                             the store that we know?
 *   request.c                 one request: token, deadline, repeated or not
 *   lease.c                   a lease: granted, kept alive, revoked
 *   feed.c                    one watch stream
 *   guard.c                   the session's key: what every request compares
 *   call.c                    one call under way, and its answer
 *   place.c queue.c           the queue of a lock, and our way through it
 *   txn.c read.c              what a call asks of the store
 *   hold.c                    keeping a lock and leaving it
 *   watch.c                   list a prefix and follow it
 *   dispatch.c                which call begins when
 *   session.c                 the lease, from its grant to its end
 *   etcd.c                    opening, the tick, closing
 *
 * Everything runs on the loop's thread. Nothing answers before the function
 * that asked has returned, except through the ticks of etcd.c and libcurl's
 * drain. Times are milliseconds of the loop's clock, revisions the store's.
 */
#ifndef PELORUS_REGISTRY_ETCD_ETCD_PRIV_H
#define PELORUS_REGISTRY_ETCD_ETCD_PRIV_H

#include "registry/backend.h"
#include "registry/etcd/http.h"
#include "registry/etcd/wire.h"
#include "registry/liveness.h"

#define ETCD_TXN_OPS     128 /* the server's own limit: compares, too */
#define ETCD_REPLY_MAX   (32u << 20)
#define ETCD_MESSAGE_MAX (16u << 20)
#define ETCD_KNOWN       8192 /* a power of two */

struct etcd;

/* --- endpoint.c: which member is asked ----------------------------------- */

/* The one in use, lent until the registry is closed. */
const char *etcd_endpoint(const struct etcd *e);
/* The endpoint of `generation` failed us: take the next one. Does nothing if
 * that was done already. `why` is lent. */
void etcd_endpoint_failed(struct etcd *e, uint64_t generation, const char *why);
/* Did all of them fail, one after the other? One that is alone may lose a
 * connection. */
bool etcd_all_failed(const struct etcd *e);
/* What was met at `endpoint`, as a trouble of the registry. What one endpoint
 * says counts when the others have no better answer: `all` were asked. */
void etcd_report_trouble(struct etcd *e, enum etcd_verdict verdict,
                         const char *why, const char *endpoint, bool all);
void etcd_trouble_close(struct etcd *e);

/* --- endpoint.c: is it the store that we know? --------------------------- */

/* An answer that is asked for now, through the quorum, has this revision or a
 * higher one. */
uint64_t etcd_known_revision(const struct etcd *e);
void etcd_note_revision(struct etcd *e, uint64_t revision);
/* NULL, or why an answer with this header, to a request sent when `known` was
 * known, is not to be believed (static): its endpoint was left for the next. */
const char *etcd_store_mismatch(struct etcd *e, const struct etcd_header *h,
                                uint64_t known, uint64_t generation);
/* Request `no` found our session's key as we know it. */
void etcd_endpoint_confirmed(struct etcd *e, uint64_t no, uint64_t generation,
                             uint64_t revision);
/* Did a request after number `since`, at the endpoint in use? */
bool etcd_is_confirmed(const struct etcd *e, uint64_t since);
/* It went back: nothing that was seen orders what is seen from now on. */
void etcd_forget_store(struct etcd *e);

/* --- request.c ----------------------------------------------------------- */

struct etcd_request;

/* How a request ended. The tree is borrowed until the callback returns. */
struct etcd_result {
    enum etcd_verdict verdict;
    const char *why;         /* not ETCD_OK */
    const struct json *root; /* ETCD_OK */
    uint64_t revision;
    uint64_t term;
    mono_ms sent; /* before the send of the try that was answered */
    /* What was known of the session's keys when it was sent: answers overtake
     * each other. */
    uint64_t modified, newest_at;
};
typedef void etcd_result_f(void *arg, const struct etcd_result *result);

enum etcd_request_flag {
    ETCD_REPEATABLE = 1, /* harmless if it is applied twice: tried elsewhere
                            when its outcome is unknown */
    ETCD_LINEAR = 2,     /* its revision must not be behind what we know */
    ETCD_ONCE = 4,       /* one try; the caller repeats it */
    ETCD_NO_TOKEN = 8,
    ETCD_GUARDED = 16, /* its txn compares our session's key, among others */
    ETCD_QUICK = 32,   /* a try takes etcd_beat_ms(), not etcd_call_ms() */
};

/* Takes the body. *slot is the request until done() is called, then NULL.
 * `path` is static. etcd_send_txn(): a txn, which it closes, linear. */
void etcd_send(struct etcd *e, struct etcd_request **slot, const char *path,
               struct buf *body, unsigned flags, etcd_result_f *done,
               void *arg);
void etcd_send_txn(struct etcd *e, struct etcd_request **slot, struct buf *body,
                   unsigned flags, etcd_result_f *done, void *arg);
/* done() is not called any more. True: the server may have got it. NULL is
 * fine. */
bool etcd_request_cancel(struct etcd_request **slot);
void etcd_requests_tick(struct etcd *e);
void etcd_requests_close(struct etcd *e);

/* For streams, which are no requests: is there a token, or none needed? False:
 * one is on its way. */
bool etcd_has_token(struct etcd *e);
/* The token that was used is worth nothing. */
void etcd_token_refused(struct etcd *e, uint64_t generation);

/* How long one try of a session's request may take: two of them fit between a
 * keepalive and SUSPENDED. And of a call. */
int64_t etcd_beat_ms(const struct etcd *e);
int64_t etcd_call_ms(const struct etcd *e);

/* --- lease.c ------------------------------------------------------------- */

/* One try each. `flags` may add ETCD_QUICK. */
#define ETCD_REVOKE    "/v3/lease/revoke"
#define ETCD_KEEPALIVE "/v3/lease/keepalive"
void etcd_send_lease(struct etcd *e, struct etcd_request **slot,
                     const char *path, uint64_t lease, unsigned flags,
                     etcd_result_f *done, void *arg);
/* A lease of e->ttl_s seconds. */
void etcd_send_grant(struct etcd *e, struct etcd_request **slot,
                     etcd_result_f *done, void *arg);
/* What it granted, both nonzero; false: nothing. */
bool etcd_granted(const struct etcd_result *result, uint64_t *lease,
                  int64_t *ttl_ms);
/* Does a revoked lease need no more requests? */
bool etcd_is_revoked(const struct etcd_result *result);

/*
 * A keepalive that was answered, and what that is worth. Keepalives do not
 * pass through the quorum: whichever member takes itself for the leader
 * answers them, out of its memory. A leader that hardly runs, or was stopped,
 * or was cut off a moment ago does so (3.4 to 3.7) while another one, which
 * never got them, lets the lease run out. So a lease counts as renewed when an
 * answer that did pass through the quorum, to a request that was sent
 * afterwards, shows that no younger term than the keepalive's had begun: then
 * it was the leader that renewed it. Had another begun later, it would have
 * counted every lease from its own beginning.
 */
struct etcd_renewal {
    mono_ms sent; /* the keepalive; 0: none */
    uint64_t term;
    uint64_t after; /* requests sent before its answer was here */
};
enum etcd_proof {
    ETCD_UNPROVEN,
    ETCD_PROVEN,
    ETCD_REFUTED, /* perhaps not by the leader: renew it again */
};
/* False: the store says that there is no such lease. What is no answer changes
 * nothing. */
bool etcd_renewal_answered(const struct etcd *e, struct etcd_renewal *renewal,
                           const struct etcd_result *result);
enum etcd_proof etcd_renewal_proof(const struct etcd *e,
                                   const struct etcd_renewal *renewal);

/* --- feed.c: one watch stream -------------------------------------------- */

/* `revision` is that of the change. */
typedef void etcd_change_f(void *arg, bool gone, const struct etcd_kv *kv);
/* The feed is over and closed. `missed`: the server ended it, changes may
 * be missing; else a broken connection: go on from feed->position. */
typedef void etcd_feed_end_f(void *arg, bool missed, const char *why);

struct etcd_feed {
    struct etcd *e;
    struct etcd_feed *prev, *next;
    bool open;
    struct etcd_transfer *transfer;
    struct buf body;
    struct etcd_stream split;
    uint64_t generation, token_generation;
    uint64_t position; /* all changes before this revision were told */
    uint64_t reached;  /* the newest change told */
    bool canary;       /* it carries our key, too */
    uint64_t canary_seen;
    mono_ms behind_since; /* a canary is due since then; 0: none */
    unsigned misses;      /* streams in a row that did not bring it */
    etcd_change_f *change;
    etcd_feed_end_f *end;
    void *arg;
};

/* At the endpoint in use, from revision `position` on. etcd_has_token() was
 * true; change, end and arg are set. `to` NULL: the one key. */
void etcd_feed_open(struct etcd *e, struct etcd_feed *f,
                    const struct etcd_key *key, const struct etcd_key *to,
                    uint64_t position, bool canary);
void etcd_feed_close(struct etcd_feed *f); /* fine if closed */
/* Somebody waits for what it tells. Fine if closed. */
void etcd_feed_hurry(struct etcd_feed *f);
/* A canary was written at `revision`: the streams have to bring it. */
void etcd_feeds_expect_canary(struct etcd *e, uint64_t revision);
void etcd_feeds_tick(struct etcd *e);

/* --- guard.c: the session's key ------------------------------------------ */

/* Compares: our session's key was written at the revision that we know, or
 * later. */
void etcd_put_session_compare(const struct etcd *e, struct buf *b);
/* A txn around ranges that compares that first; its failure looks at the key.
 * What was found is the answer of its operations. */
void etcd_guard_begin(const struct etcd *e, struct buf *b);
void etcd_guard_close(const struct etcd *e, struct buf *b);
void etcd_put_guarded(const struct etcd *e, struct buf *b,
                      const struct etcd_range *range);
/* False: the guard did not hold, or there is no answer. `result` says so. */
bool etcd_guard_held(struct etcd *e, struct etcd_result *result);
/* A txn has failed, and its first operation has looked at our session's key.
 * False: the session is over for it. */
bool etcd_session_key_exists(struct etcd *e, const struct etcd_result *result);
/* Its second at the newest of our ephemeral keys. False: it is older than what
 * we wrote. */
bool etcd_newest_is_known(struct etcd *e, const struct etcd_result *result);
bool etcd_is_newest(const struct etcd *e, const char *key, size_t len);
/* Is `kv` that key, as it was before we wrote it? Then the session is over. */
bool etcd_newest_went_back(struct etcd *e, const struct etcd_kv *kv,
                           const struct etcd_result *result);
void etcd_wrote_ephemeral(struct etcd *e, const char *key, uint64_t revision);
/* A txn that looks at the key of the session before, at the revision at which
 * we wrote it. False: ask again. */
void etcd_put_inquiry(const struct etcd *e, struct buf *b);
bool etcd_inquiry_answered(struct etcd *e, const struct etcd_result *result);
/* The store says that the session is over. Told when the calls under way are
 * answered, in a later turn. `why` is static. */
void etcd_session_lost(struct etcd *e, const char *why);
/* The next keepalive is due now, unless one is under way. */
registry_prove_f etcd_session_prove;

/* --- call.c: one call under way ------------------------------------------ */

struct etcd_call {
    struct registry_call *call;
    struct etcd_call *prev, *next; /* in the queue, or of those under way */
    struct etcd_call *with; /* get: the next that is asked in one request */
    bool is_member;         /* it is not the first of these */
    struct etcd_request *request;
    uint64_t seq;
    uint64_t *keys; /* txn, get: a hash of each key, bit 0: written */
    size_t n_keys;
    bool writes;
    bool diagnose;      /* txn: the second try says which operation */
    bool create;        /* an ephemeral put found no key to renew */
    unsigned tries;     /* txn */
    size_t limit;       /* list: what the store is asked for */
    struct etcd_key at; /* list, children: from here */
    struct buf names;   /* children: NUL-terminated names */
    size_t n_names;
};

/* Answer it, and begin what waited for it in the next turn. */
void etcd_call_answer(struct etcd_call *c, const struct registry_reply *reply);
void etcd_call_failed(struct etcd_call *c, enum etcd_verdict verdict,
                      const char *why);
/* Before it was sent: operation `failed_op` is a conflict. */
void etcd_call_refuse(struct etcd_call *c, size_t failed_op);
/* Free what it holds. True: the server may have got it. */
bool etcd_call_close(struct etcd_call *c);
/* Is a call of `seq` or before still under way? */
bool etcd_calls_before(const struct etcd *e, uint64_t seq);
/* Something that a call waits for has happened: dispatch.c looks at the queue
 * in the next turn. */
void etcd_calls_wake(struct etcd *e);

/* --- place.c: who stands in a lock's queue ------------------------------- */

struct etcd_places {               /* of all keys there */
    struct etcd_kv newest, oldest; /* who came last, and who has the lock */
    struct etcd_kv foreign;        /* of unknown layout; `created` 0: none */
    size_t n;
};
/* Two operations of a txn, for keys created at this revision or before (0:
 * all). */
void etcd_places_ask(const struct registry_hold *hold, struct buf *b,
                     uint64_t created_before);
/* What they found, inside the tree. False: only keys that do not count, and
 * there are more: ask again. */
bool etcd_places_read(struct registry_hold *hold, const struct json *txn,
                      struct etcd_places *q);

/* --- queue.c: our way through it ----------------------------------------- */

struct etcd_hold {
    enum {
        ETCD_HOLD_IDLE,     /* try again at `due` */
        ETCD_HOLD_LOOKING,  /* a try: is anybody there? */
        ETCD_HOLD_GRANTING, /* its lease */
        ETCD_HOLD_QUEUEING, /* its key */
        ETCD_HOLD_CHECKING, /* is it the first? */
        ETCD_HOLD_WAITING,  /* for the one before it to go */
        ETCD_HOLD_HELD,
        ETCD_HOLD_LEAVING,
    } state;
    struct etcd_request *request; /* of the state */
    struct etcd_request *keepalive;
    uint64_t lease; /* 0: none */
    int64_t ttl_ms;
    mono_ms renewed; /* before the send of the last keepalive proven */
    struct etcd_renewal renewal; /* the one that is to be proven */
    mono_ms keepalive_due;
    mono_ms due;           /* for the state: try, look or revoke again */
    uint64_t created;      /* of its key: the fencing number; 0: no key */
    size_t look_max;       /* keys asked for in one look at the queue */
    bool delays_calls;     /* its first way into the queue, or out of it */
    uint64_t asked_at;     /* delays_calls: calls after this seq wait for it */
    uint64_t leave_after;  /* leaving: calls up to this seq go first */
    struct etcd_feed feed; /* of the key before ours */
};

/* Ask what its state wants to know. */
void etcd_hold_step(struct registry_hold *hold);
/* The store, or our clock, says that its lease or key is gone. */
void etcd_hold_expired(struct registry_hold *hold);
/* Its lease was granted or renewed by a request sent at `sent`. */
void etcd_hold_renewed(struct registry_hold *hold, mono_ms sent);
/* A request of its state is due then. */
void etcd_hold_later(struct registry_hold *hold, int64_t delay_ms);
/* No request and no stream of it any more. */
void etcd_hold_cancel(struct registry_hold *hold);
/* Must a call of `seq` wait until a lock that was asked for before stands in
 * its queue, or one that was released is free? */
bool etcd_holds_delay(const struct etcd *e, uint64_t seq);
/* It stands there, or it will take longer: no call waits for it any more. */
void etcd_hold_delays_none(struct registry_hold *hold);
/* The key of the hold with this fencing number; false: there is none. */
bool etcd_hold_key(const struct etcd *e, const char *key, uint64_t fence,
                   struct etcd_key *out);

/* --- txn.c, read.c: what a call asks of the store ------------------------ */

/* Send it. A get, with all that hang on `with`. */
void etcd_read_start(struct etcd_call *c);
void etcd_txn_start(struct etcd_call *c);
/* The key was seen at this version, without a lease. */
void etcd_know_persistent(struct etcd *e, const char *key, uint64_t version);

/* --- hold.c: keeping a lock and leaving it ------------------------------- */

registry_hold_begin_f etcd_lock;
registry_hold_end_f etcd_unlock;
void etcd_holds_tick(struct etcd *e);
void etcd_holds_stop(struct etcd *e); /* no request of them any more */
/* Of those that leave (closing: of all), where nothing is under way. */
void etcd_holds_revoke(struct etcd *e);
bool etcd_holds_leaving(const struct etcd *e);

/* --- watch.c ------------------------------------------------------------- */

struct etcd_watch {
    bool active;                  /* it was begun in this session */
    struct etcd_request *request; /* the page under way */
    bool tell;                    /* SYNCED at the end of this list */
    bool listed;                  /* once in this session: the feed may run */
    uint64_t begun; /* list: the revision of all its pages; 0: not known */
    struct etcd_key at;
    size_t limit;
    mono_ms began;
    mono_ms list_due;  /* without a request: the next list */
    mono_ms feed_due;  /* when to open the feed, if it is closed */
    uint64_t position; /* where it goes on; 0: behind the list */
    uint64_t broken;   /* requests sent before the feed ended */
    struct etcd_feed feed;
};

registry_watch_begin_f etcd_watch_begin;
registry_watch_end_f etcd_watch_end;
registry_look_f etcd_watches_look; /* of those that are not active */
/* Those that tell the key do not rest now. */
registry_poll_now_f etcd_watches_hurry;
void etcd_watches_stop(struct etcd *e);
void etcd_watches_tick(struct etcd *e);

/* --- dispatch.c: which call begins when ---------------------------------- */

registry_submit_f etcd_submit;
/* What etcd_calls_wake() promised. */
loop_f etcd_dispatch_turn;
/* Everything that is not answered: what was sent is unknown, the rest is
 * `unsent`. */
void etcd_calls_abort(struct etcd *e, enum err_code unsent, const char *why);

/* --- session.c ----------------------------------------------------------- */

void etcd_session_tick(struct etcd *e);
/* At once; another begins. */
void etcd_session_drop(struct etcd *e, const char *why);

/* --- the backend --------------------------------------------------------- */

struct etcd {
    struct registry base; /* first: see backend.h */
    struct registry_liveness liveness;
    struct loop_timer *ticker;
    struct etcd_http *http; /* NULL: closed */

    /* configuration, copied */
    char *ns, *user, *password;
    char **endpoints;
    size_t n_endpoints;
    char *none_writes; /* "none of 3 members writes": what is said of all */
    int64_t connect_ms, retry_ms, retry_max_ms, retry_for_ms;
    int64_t ttl_s; /* asked for */

    /* endpoint.c */
    uint64_t generation; /* of the endpoint in use, modulo n_endpoints */
    size_t given_up;     /* endpoints since the last answer of the quorum */
    struct {
        struct etcd_transfer *asking; /* the endpoint, with TLS */
        char *endpoint;
        bool tls; /* it answered */
        mono_ms next;
    } trouble;

    /* endpoint.c: is it the store that we know? */
    uint64_t cluster;         /* 0: not known yet */
    uint64_t revision;        /* the highest seen */
    bool lowered;             /* what the base knows is of the lost future */
    bool mismatch;            /* an endpoint is not the store we know, since */
    size_t mismatch_from;     /* so many were given up */
    const char *all_mismatch; /* why the session ends; static; NULL: not all */
    struct {
        uint64_t no, generation; /* of the last request */
    } confirmed;

    /* request.c */
    struct etcd_request *requests;
    char *token;
    uint64_t token_generation; /* of the token, or of the one we wait for */
    struct etcd_request *authenticating;
    mono_ms authenticate_at; /* not before */
    bool denied;             /* told already */
    uint64_t sends;          /* requests so far */
    struct {
        uint64_t no; /* of its request */
        uint64_t term;
    } quorum; /* the last answer that passed through the quorum */

    /* feed.c */
    struct etcd_feed *feeds;
    uint64_t canary; /* the revision of the last one written */

    /* session.c, guard.c */
    struct {
        enum {
            ETCD_SESSION_NONE, /* begin at `due` */
            ETCD_SESSION_ENDING,
            ETCD_SESSION_INQUIRING,
            ETCD_SESSION_GRANTING,
            ETCD_SESSION_KEYING,
            ETCD_SESSION_LIVE,
            ETCD_SESSION_LOSING, /* gone, and calls are still under way */
        } state;
        const char *why;              /* LOSING; static */
        struct etcd_request *request; /* of the state; LIVE: a keepalive, then
                                         its proof: our key is there; the canary
                                       */
        struct etcd_renewal renewal;  /* the keepalive, until it is proven */
        uint64_t old_lease; /* ours, given up: ended before the next */
        uint64_t lease;
        int64_t ttl_ms;
        mono_ms sent; /* of the grant */
        mono_ms due;  /* the next try or keepalive */
        struct etcd_key key;
        uint64_t modified; /* of our key, at least; 0: none yet */
        bool inquire;      /* the session before ended, we do not know why */
        bool sudden;       /* within its timeout */
        struct etcd_key newest; /* our ephemeral key that was written last */
        uint64_t newest_at;     /* 0: none */
        bool failing;           /* told already */
        bool no_put;            /* the last look could not write */
    } session;

    /* call.c, dispatch.c */
    struct etcd_call *queue, *running;
    size_t queued, n_running, queued_bytes; /* queued: those running, too */
    size_t n_requests;                      /* of those running */
    struct registry_timer turn;             /* runs: the queue is looked at */
    loop_f *dispatch;                       /* then; etcd_dispatch_turn */
    bool gathered; /* in that turn: gets made before it go together */
    uint64_t last_seq;

    /* place.c */
    uint64_t foreign; /* the key of unknown layout that was told last */

    /* txn.c: keys at versions that are known to be persistent */
    uint64_t persistent[ETCD_KNOWN];

    /* hold.c */
    bool leave_waits; /* a hold leaves after calls that are under way */

    /* etcd.c: closing */
    mono_ms stop_by;
    bool revoking; /* calls are answered, leases are being ended */
    struct etcd_request *revoke;
    registry_closed_f *killed; /* tests */
    void *killed_arg;
};

static inline struct etcd *etcd_of(struct registry *r)
{
    return (struct etcd *)(void *)r;
}

static inline mono_ms etcd_now(const struct etcd *e)
{
    return loop_clock(e->base.loop)->mono;
}

/* Closing or dead: begin nothing, tell nothing. */
static inline bool etcd_is_closing(const struct etcd *e)
{
    return e->base.closing || e->base.mute;
}

/* Persistent and empty. */
static inline bool etcd_is_directory(const struct registry_entry *entry)
{
    return entry->owner == 0 && entry->value_len == 0;
}

static inline int64_t etcd_clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

/*
 * As if the process had got SIGKILL: nothing more is sent, no callback is
 * called but gone(arg), when all is freed. For tests.
 */
void etcd_kill(struct registry **r, registry_closed_f *gone, void *arg);

#endif
