/*
 * dbms_priv.h - the core of the MySQL and PostgreSQL registries: one connection
 * to a server, for the dbms_*.c files of this folder, the drivers and jdbc.c.
 * (Longer than 150 lines: one header for ten small files.)
 *
 * Every statement is a journey of a millisecond, so a group of writes makes
 * four, however large it is: begin and read all that it is about, write the
 * outcome, commit. What lies between is decided in memory (txn.c).
 *
 * Each writing transaction first raises one counter, whose row stays locked
 * until it ends. So revisions are given in the order of commits, the change
 * feed has no gaps, absence can be checked, and two of us can not deadlock.
 * Renewing a session touches the session's row only.
 *
 * Text goes to the server as hexadecimal literals of bytes: there is nothing to
 * quote, whatever a key or a value holds. MySQL keeps what is written in its
 * binlog, as it was sent: there, bytes of which none could end or change a
 * literal stand as they are, others as base64 (text.c).
 *
 * Nothing is believed of a connection from one transaction to the next: a
 * pooler or a proxy may have put another server, or the session of somebody
 * else, behind it. So every transaction, and every request that stands alone
 * (which is sent as a transaction of its own), begins with the driver's
 * `begin`: that sets what it needs for itself alone, the schema included, and
 * tells whether this server writes. One that does not (a standby, a primary
 * that was made read only, a Galera node outside the primary component) is not
 * believed for reads either: it is left at once for the next address of the
 * URL (connect.c). MySQL's settings of a session cannot be had so: no
 * write and no check rests on them, but patience does and, on Galera, how old a
 * mere read may be (wsrep_sync_wait).
 *
 * Nor is one that stands lower than was seen, in PostgreSQL's timeline or in
 * our counter: an old primary, a backup, a standby without its tail
 * (place.c).
 *
 * Galera lets a transaction read while what other nodes have committed is
 * still on its way; only what it writes is compared (certified) at its end.
 * So what decides is written: the counter by every transaction, also by the
 * question whether a lost COMMIT stands, and the lock's row by its guards,
 * because DolphinScheduler deletes that row without raising our counter.
 */
#ifndef PELORUS_REGISTRY_DBMS_DBMS_PRIV_H
#define PELORUS_REGISTRY_DBMS_DBMS_PRIV_H

#include "base/buf.h"
#include "base/rand.h"
#include "conf/jdbc_url.h"
#include "registry/sql/core.h"

#include <stdio.h>

#define DBMS_SQL_MAX  (4u << 20) /* of one request; a value is 1 MiB in it */
#define DBMS_SQL_FULL (1u << 20) /* send and begin another */
#define DBMS_IN_MAX   1536       /* rows or keys of one statement */
#define DBMS_RETRIES  3          /* of a group that was rolled back */
/* The columns that dbms_push() takes, with their tag. */
#define DBMS_ENTRIES                                                           \
    "SELECT 'K', name, value, created, version, owner FROM pelorus_registry"   \
    " WHERE "
/* A name in a row of the feed: how many bytes it shares with the one before
 * (two hex digits), the rest, a line break. No key holds a line break. */
#define DBMS_BREAK     '\n'
#define DBMS_SHARE_MAX 255
#define DBMS_NODES     "/nodes" /* what is read from DolphinScheduler */

#define DBMS_ADDRESS_SIZE 64 /* a host by number */

/* --- where and how (jdbc.c) ---------------------------------------------- */

/* Where a server stands (place.c). Position 0: that is not known. */
struct dbms_place {
    uint64_t generation; /* of the incarnation: see registry/history.h */
    uint64_t line;       /* PostgreSQL's timeline; 0 elsewhere */
    uint64_t position;   /* of our counter */
};

struct dbms_target {
    const struct dbms_driver *driver;
    struct jdbc_url url; /* its hosts are tried in turn; what it did not say and
                            the configuration did is filled in */
    size_t at;
    size_t nth, n_addresses; /* of hosts[at]'s, when it was last asked */
    char address[DBMS_ADDRESS_SIZE]; /* the nth; "": the driver asks by name */
    int64_t idle_ms; /* the server drops a transaction that rests */
    char prefix[SQL_NAMESPACE_MAX + 2]; /* "/dolphinscheduler" */
    struct dbms_place known; /* servers that stand before it are asked last */
    bool all;                /* nothing is known: ask all, take the best */
    /* Of the one that is connected: */
    struct dbms_place place; /* as it stood then */
    bool behind;             /* before `known`, and none was better */
    bool lineless;           /* it cannot tell a timeline */
    bool bare;               /* connect without setting the session up */
    bool making;             /* tables may be made, also to try locks with */
    bool probed;             /* hosts[probed_at] there keeps row locks */
    size_t probed_at;
    char probed_address[DBMS_ADDRESS_SIZE];
};
/* What an URL says of it, its notes too. Loads the library that it takes. */
int dbms_target_parse(struct dbms_target *t, const char *url,
                      struct err *err) MUST_CHECK;
/* The same of a configuration, with all that it says beside the URL; the notes
 * are logged if `aloud`. */
struct conf_registry;
int dbms_target_of(struct dbms_target *t, const struct conf_registry *conf,
                   bool aloud, struct err *err) MUST_CHECK;
void dbms_target_close(struct dbms_target *t);

/* --- drivers (mysql.c, postgresql.c) ------------------------------------- */

/* One column of a row; p is NULL for SQL's NULL. Bytes are bytes. */
struct dbms_cell {
    const char *p;
    size_t n;
};
typedef void dbms_row_f(void *arg, const struct dbms_cell *cells, unsigned n);

/* One column of many rows: bytes, or (p NULL) numbers. */
#define DBMS_COLUMNS 5
struct dbms_column {
    const char **p;
    const unsigned long *len;
    const uint64_t *numbers;
};

#define DBMS_LINE 3

/* What to do where there is none. */
#define DBMS_NO_DATABASE "make that database, or correct jdbc-url"

enum dbms_fault {
    DBMS_OK,
    DBMS_DUPLICATE,   /* a unique key */
    DBMS_ROLLED_BACK, /* deadlock and the like: the whole transaction */
    DBMS_WAITED,      /* for a lock, too long; the transaction must be ended */
    DBMS_DENIED,
    DBMS_MISSING, /* a table or a database */
    DBMS_TOO_LARGE,
    DBMS_REFUSED,   /* any other error of the server's */
    DBMS_NOT_HERE,  /* this server does not write; another one may */
    DBMS_WENT_BACK, /* it stands lower than the session has seen */
    DBMS_LOST,      /* the connection; the request may have been carried out */
};

struct dbms_link; /* a driver's connection */

struct dbms_syntax {
    const char *now_ms;            /* the server's clock, epoch ms */
    const char *bytes, *bytes_end; /* around the hex digits of a literal */
    /* Around plain text, and around base64. NULL: always as digits. */
    const char *plain, *plain_end, *base64, *base64_end;
    const char *text, *text_end; /* likewise, as text */
    /* Many literals in one: PostgreSQL spends more time on a thousand literals
     * than on a thousand rows. NULL: it has no arrays. */
    const char *array, *array_item, *array_bytes_end, *array_numbers_end;
    const char *key_of; /* data_key as bytes */
    /* Numbers of all rows as one text: around each, between its numbers. */
    const char *list, *list_and, *list_end;
    /* Hashes of all that a row of DolphinScheduler's data holds beside its id,
     * and of a client's connection_config. */
    const char *data_mark, *client_mark;
    const char *share;   /* lock the rows read in share mode */
    const char *fresh;   /* at the end of a SELECT of rows that this transaction
                            has just written: as they are now, not as they were
                            when it read first */
    const char *touch;   /* change a lock's row: SET ... */
    const char *writes;  /* a condition: nothing is written by whom it lets
                            write although it is read only, or "" */
    const char *put;     /* INSERT over rows of pelorus_registry that may be */
    const char *upsert;  /* there, and how that ends */
    const char *ignore;  /* end of an INSERT that may find a duplicate */
    const char *last_id; /* a statement that tells the id of the INSERT */
    const char *hint;    /* wake others up, or "" */
    const char *schema;  /* CREATE statements */
    /* Lock the counter's row, also without waiting for it; wait no longer than
     * a second from now on. NULL: row locks are beyond doubt. */
    const char *hold, *hold_too, *patience;
    /* Tables whose keys are narrower than they must be, and by how much. NULL:
     * keys have no limit. */
    const char *narrow;
    /* Around names, each in its own: those of them that are not there. */
    const char *missing, *missing_end, *name, *name_end;
};

struct dbms_driver {
    const char *name;
    /* Its client library; before any other slot is called. */
    int (*load)(struct err *err);
    const struct dbms_syntax *syntax;
    /* Connect to t->hosts[t->at] at t->address and set the session up.
     * NOT_HERE: it does not write. */
    enum dbms_fault (*connect)(struct dbms_link **out,
                               const struct dbms_target *t, struct err *err);
    /* Append what begins a transaction, one row of which tells whether this
     * server is read only, first of all: 0 or off in its other columns up to
     * the second. Column DBMS_LINE: the timeline, in hex; may be missing. */
    void (*begin)(const struct dbms_target *t, struct buf *sql);
    /* Optional: do others write at other servers, and are our transactions
     * compared with theirs at the end? */
    bool (*certifies)(const struct dbms_link *link);
    /* Can a DELETE tell what it deletes (RETURNING)? */
    bool (*returns)(const struct dbms_link *link);
    /* One or more statements, separated by ';'; rows are told as they come.
     * The first error ends it. */
    enum dbms_fault (*run)(struct dbms_link *link, const char *sql, size_t len,
                           dbms_row_f *row, void *arg, struct err *err);
    /* Optional, with `run`: an INSERT of `rows` rows at a time, without their
     * text. `sql` has a '?' for each column. Is it worth it, also `over` rows
     * that stand there? */
    bool (*inserts)(const struct dbms_link *link, bool over);
    enum dbms_fault (*insert)(struct dbms_link *link, const char *sql,
                              const struct dbms_column *columns, unsigned n,
                              size_t rows, struct err *err);
    /* Optional: from now on take rows one by one, which costs time and saves
     * memory, or each answer as a whole. */
    void (*stream)(struct dbms_link *link, bool one_by_one);
    /* Optional: wait until another connection hinted, at most `ms`. */
    enum dbms_fault (*wait)(struct dbms_link *link, int64_t ms, bool *hinted);
    /* With `wait`: would the server take one more connection of ours? True
     * also where it cannot be asked. */
    bool (*has_room)(struct dbms_link *link);
    void (*close)(struct dbms_link **link);
};
extern const struct dbms_driver dbms_mysql, dbms_postgresql;

/* Is such a column of `begin`'s row off? */
bool dbms_is_off(const struct dbms_cell *cell);
/* Drivers say in err.trouble what they know better; what the fault alone says.
 */
unsigned dbms_trouble(enum dbms_fault fault, const struct err *err);

/* --- one of the servers (connect.c) -------------------------------------- */

/*
 * A search over all hosts and addresses, from t->at on, until one is reached
 * that writes and does not stand before t->known; with t->all over all of them.
 * If there is none, the best of those that write. Else DENIED, or LOST: what
 * each of them said.
 */
enum dbms_fault dbms_connect(struct dbms_link **out, struct dbms_target *t,
                             struct err *err);
/* The server that was connected has failed us: ask it last. */
void dbms_connect_next(struct dbms_target *t);

/* --- do they keep locks (probe.c) ---------------------------------------- */

/* Once for each server that we come to. NOT_HERE: two connections can hold a
 * row at a time. REFUSED: its tables do not hold every key. */
enum dbms_fault dbms_probe(struct dbms_link *link, struct dbms_target *t,
                           struct err *err);
/* Of a server that refused to be set up (`fault`, as `err` says): does it look
 * like MySQL only? Then NOT_HERE, and `err` says so; else `fault`. */
enum dbms_fault dbms_probe_bare(struct dbms_target *t, enum dbms_fault fault,
                                struct err *err);

/* --- where they stand (place.c) ------------------------------------------ */

struct dbms;

/* Older incarnation, lower timeline, or lower counter, in that order. */
bool dbms_place_before(const struct dbms_place *a, const struct dbms_place *b);
/* Ask a server that was connected: sets t->place. NOT_HERE: it does not write.
 */
enum dbms_fault dbms_place_ask(struct dbms_link *link, struct dbms_target *t,
                               struct err *err);
/* Make d->begin, which depends on the server. True: it is another text, and the
 * request that was built is none for this server. */
bool dbms_begin_anew(struct dbms *d);
/* Append: a row tagged J tells the incarnation's key. */
void dbms_add_history(const struct dbms_target *t, struct buf *sql);

/* What the rows of a request said of it. */
struct dbms_reply {
    struct dbms_place place;
    bool read_only;
    bool marked; /* `mark` is what stood in our session's row */
    uint64_t mark;
    uint64_t raised; /* so far the request itself raised the counter */
};
void dbms_reply_row(void *arg, const struct dbms_cell *cells, unsigned n);

/* --- the core ------------------------------------------------------------ */

struct dbms_slot; /* a key in the transaction (txn.c) */
struct dbms_undo;
struct dbms_guard {
    const char *key;
    uint64_t fence;
    bool ours;
};

struct dbms_txn {
    bool open;
    bool beat, locks; /* there is something to commit, whatever the keys say */
    uint64_t session;
    uint64_t mark;            /* of this transaction in our session's row */
    uint64_t base, last, rev; /* revisions: before, the last, of the call */
    struct dbms_slot *slots;  /* all keys that it is about */
    struct dbms_slot *index;  /* uthash over them */
    size_t n_slots;
    size_t cursor; /* where the next operation's is likely to be */
    struct dbms_guard *guards;
    size_t n_guards;
    struct dbms_undo *undo; /* since the savepoint */
    size_t n_undo, cap_undo;
    unsigned parts; /* rows of the feed so far */
    bool doubtful;  /* somebody was refused, beside what was assumed */
    size_t n_assumed, n_unproved; /* slots; deletions that are not proved yet */
    bool session_seen, heartbeat_seen;
    unsigned highest; /* slashes of the highest key to be deleted */
    size_t n_below;   /* rows told of keys below those to be deleted */
    uint64_t depth;   /* of the deepest key, as the counter's row says */
};

/* DolphinScheduler's side (dolphin.c). */
struct dbms_peer; /* a client of it (peers.c) */
struct dbms_row;  /* a row of its data as we know it */
struct dbms_dolphin {
    int64_t poll_ms;
    int64_t timeout_ms; /* of a client that does not say */
    bool followed;      /* `rows` is what was there at the last look */
    bool broken;        /* it was, and a look failed half way */
    bool due;
    bool unproved; /* somebody seemed dead at the last look (sql_core_silent) */
    bool no_marks; /* this kind of server cannot tell them */
    mono_ms last_look, next_look, next_hint;
    mono_ms next_whole; /* until then looks may be brief */
    uint64_t last_event;
    struct dbms_peer *peers; /* uthash by id */
    struct dbms_row *rows;   /* uthash by key */
    struct dbms_row *by_id;  /* the same by `id` */
    /* of a look: who comes next if all come as in the one before */
    struct dbms_row *next_row;
    struct dbms_peer *next_peer;
    uint32_t look;
};

/* What we have written ourselves, for our own feed: from the revision behind
 * `base` to `last` nobody else wrote. */
struct dbms_own {
    bool wanted; /* somebody reads the feed */
    uint64_t base, last;
    struct sql_rows rows;
};

/* Who has the row of a lock that we wait for (lock.c). */
#define DBMS_HOLDERS 4 /* locks that are waited for at a time */
struct dbms_holder {
    uint64_t row, client, beat;
    mono_ms since; /* when `beat` was seen first, or begins anew */
    mono_ms seen;
};

struct dbms {
    struct sql_core core; /* first */
    struct dbms_target target;
    struct dbms_link *link;
    char *begin;            /* what a transaction begins with */
    bool lineless;          /* it does not ask for the timeline */
    bool inside;            /* one is open */
    bool opens, alone;      /* the request being built: begins one, is one */
    bool certified;         /* see the driver's certifies */
    bool left;              /* a server was left and none has written since */
    size_t was_at, was_nth; /* the last one that we were connected to */
    size_t rolled_back;     /* times in a row */
    unsigned careful;       /* so many groups assume nothing */
    mono_ms linked;         /* since when */
    mono_ms next_connect;   /* not before, after one that failed */
    struct err down;        /* why it failed */
    char prefix[SQL_NAMESPACE_MAX + 2]; /* "/dolphinscheduler" */
    size_t prefix_len;
    char client[96]; /* host_pid, as DolphinScheduler's clients call themselves
                      */
    int64_t timeout_ms;
    uint64_t session, marked; /* ours, and what our last commit left there */
    struct dbms_place seen;   /* the highest of this session */
    struct dbms_place unsure; /* higher still, as one look told; since when */
    mono_ms unsure_at;
    uint64_t generation;      /* the highest that was told */
    uint64_t raised;          /* by the request being built */
    uint64_t revision, floor; /* as last seen */
    uint64_t depth;           /* no key has more slashes */
    uint64_t polled;          /* revision of the last poll */
    struct rand rand;
    struct buf sql; /* the request being built */
    bool stream;    /* its rows hold values */
    struct dbms_txn txn;
    struct dbms_own own;
    struct dbms_dolphin dolphin;
    struct dbms_holder holders[DBMS_HOLDERS];
};

/* Take the target. `beat_ms` at most between renewals and looks at
 * DolphinScheduler's tables. */
struct sql_core *dbms_core_new(struct dbms_target *target,
                               const char *namespace_, int64_t timeout_ms,
                               int64_t beat_ms);

/* Hears hints of other processes' commits (waker.c); takes the target. */
struct sql_waker;
struct sql_waker *dbms_waker_new(struct dbms_target *target);

static inline struct dbms *dbms_of(struct sql_core *core)
{
    return (struct dbms *)(void *)core;
}

/* After an answer: may the server stand there? NOT_HERE: then it is to be left,
 * WENT_BACK: there is no better one. */
enum dbms_fault dbms_place_check(struct dbms *d, const struct dbms_reply *h,
                                 struct err *err);
/* A commit of ours made this the counter. */
void dbms_place_sure(struct dbms *d, uint64_t position);
/* The session is over: the next one begins where the store stands then. */
void dbms_place_forget(struct dbms *d);
/* The server is the best of those that stand behind: is there a better one by
 * now? (Before a request that connects.) */
void dbms_place_look_again(struct dbms *d);
/* Before connecting: what is known. */
void dbms_place_known(struct dbms *d);

/* --- text and cells (text.c), without state ------------------------------ */

dbms_row_f dbms_ignore_row;
dbms_row_f dbms_any_row; /* arg: a bool, which says that there was one */

/* --- requests (request.c) ------------------------------------------------ */

/* Begin a request of the transaction that is open; without one it will be a
 * transaction of its own. With values in its rows it is streamed. */
void dbms_start(struct dbms *d);
void dbms_start_stream(struct dbms *d);
/* Begin a transaction, which raises the counter by `raised` (0: not). What
 * follows begins with a ';'. */
void dbms_start_txn(struct dbms *d, uint64_t raised);
void dbms_bytes(struct dbms *d, const void *p, size_t n);
void dbms_hex(struct buf *sql, const void *p, size_t n); /* the digits alone */
/* A name of the feed, as bytes; `last` is the key before, "" at the beginning.
 */
void dbms_feed_name(const struct dbms *d, struct buf *names, const char *last,
                    const char *key);
/* The INSERT of a row of the feed, with such names. */
void dbms_feed_row(struct dbms *d, uint64_t revision, size_t part,
                   const struct buf *names);
void dbms_text(struct dbms *d, const char *s);  /* of DolphinScheduler's */
void dbms_key(struct dbms *d, const char *key); /* with the namespace */
/* " name IN (...)", key by key; `n` so far. */
void dbms_in_next(struct dbms *d, size_t n, const char *key);
void dbms_in_end(struct dbms *d);
/* name >= ... AND name < ...: all keys below `key`. */
void dbms_range(struct dbms *d, const char *column, const char *key,
                bool with_prefix);

/*
 * Send the request; connect first if need be. ERR_UNAVAILABLE: certainly
 * nothing of it stays, when it neither was nor held a COMMIT and
 * dbms_rollback() follows. After ROLLED_BACK and NOT_HERE core.again is set.
 * ERR_WENT_BACK: see registry/sql/core.h.
 * *fault (or NULL) says more. The row of `begin` is not told.
 */
int dbms_run(struct dbms *d, dbms_row_f *row, void *arg, enum dbms_fault *fault,
             struct err *err) MUST_CHECK;
/* The driver's insert(), in a transaction; otherwise as dbms_run(). */
int dbms_insert(struct dbms *d, const char *sql,
                const struct dbms_column *columns, unsigned n, size_t rows,
                enum dbms_fault *fault_out, struct err *err) MUST_CHECK;
void dbms_rollback(struct dbms *d);
void dbms_disconnect(struct dbms *d);
/* One statement now, whatever is being built; its rows are ignored. */
enum dbms_fault dbms_run_alone(struct dbms *d, const char *sql);

/* COMMIT. A connection that breaks meanwhile is asked, by another one, whether
 * `mark` stands in the session's row: ERR_UNKNOWN only if nobody can tell.
 * `session` 0: not asked. */
int dbms_commit(struct dbms *d, uint64_t session, uint64_t mark,
                struct err *err) MUST_CHECK;

uint64_t dbms_u64(const struct dbms_cell *cell);
/* That may be negative: modulo 2^64. */
uint64_t dbms_i64(const struct dbms_cell *cell);
/* "a/b" of "/namespace/a/b", or NULL: another namespace's. */
const char *dbms_strip(const struct dbms *d, const struct dbms_cell *cell,
                       size_t *len);
/* A row (name, value, created, version, owner), from cells[1] on. */
void dbms_push(const struct dbms *d, struct sql_rows *rows,
               const struct dbms_cell *cells);

/* --- the slots ----------------------------------------------------------- */

/* txn.c */
sql_begin_f dbms_begin;
sql_commit_f dbms_end;
sql_rollback_f dbms_abandon;
sql_savepoint_f dbms_savepoint;
sql_release_f dbms_release;
sql_apply_f dbms_apply;
sql_revision_f dbms_revision;
/* read.c */
sql_get_f dbms_get;
sql_get_many_f dbms_get_many;
sql_exists_f dbms_exists;
sql_children_f dbms_children;
sql_list_f dbms_list;
/* feed.c */
sql_changed_f dbms_changed;
sql_feed_read_f dbms_feed_read;
sql_feed_skip_f dbms_feed_skip;
sql_sums_f dbms_sums;
/* session.c */
sql_session_begin_f dbms_session_begin;
sql_session_renew_f dbms_session_renew;
sql_session_close_f dbms_session_close;
sql_sessions_f dbms_sessions;
sql_reap_f dbms_reap;
/* lock.c */
sql_lock_enqueue_f dbms_lock_enqueue;
sql_lock_head_f dbms_lock_head;
sql_lock_leave_f dbms_lock_leave;

/* Append to the request: this session is there (session row, and with `beat`
 * both rows renewed); rows tagged S and H tell. */
void dbms_add_session(struct dbms *d, uint64_t session, uint64_t mark,
                      bool beat);
/* Append: the counter goes up by `n`; a row tagged M tells revision and floor.
 */
void dbms_add_counter(struct dbms *d, uint64_t n);
int dbms_session_lost(uint64_t session, struct err *err);

/* --- DolphinScheduler's clients (peers.c) -------------------------------- */

/* In a look (o->look is its number): a client's heartbeat row; `config` is a
 * hash of what it says of its timeout; */
void dbms_peer_beat(struct dbms_dolphin *o, uint64_t id, uint64_t beat,
                    int64_t timeout_ms, uint64_t config, mono_ms now);
/* the same without its timeout. False: it is not known; */
bool dbms_peer_again(struct dbms_dolphin *o, uint64_t id, uint64_t beat,
                     uint64_t config, mono_ms now);
/* has this look told of the client, or is it known to have no such row? */
bool dbms_peer_met(const struct dbms_dolphin *o, uint64_t id);
/* then a row of its data, which `changed` since the last look. Returns it:
 * valid for as long as each look says so of it again. `peer`: that, or NULL; */
struct dbms_peer *dbms_peer_data(struct dbms_dolphin *o, struct dbms_peer *peer,
                                 uint64_t id, bool changed, mono_ms now);
/* then all was told: who was not seen is forgotten, who was silent is dead. */
void dbms_peers_judge(struct dbms_dolphin *o, struct sql_core *core,
                      mono_ms now);
bool dbms_peer_is_dead(const struct dbms_peer *peer); /* NULL is not */
bool dbms_peer_dead(const struct dbms_dolphin *o, uint64_t id);
void dbms_peers_forget(struct dbms_dolphin *o);

/* --- rows in a few digits (marks.c) -------------------------------------- */

/* Append a question for the numbers of all rows of a table: "id, `more`" in the
 * table's columns. A row tagged `tag` tells how many rows there are, and their
 * numbers as one text. What follows is FROM. */
void dbms_add_marks(struct dbms *d, char tag, const char *more,
                    const char *mark);
/* That row, number by number: `n` of each row, negative ones modulo 2^64.
 * False: some are missing. */
#define DBMS_MARKS_MAX 3
typedef void dbms_mark_f(void *arg, const uint64_t *numbers);
bool dbms_marks_each(const struct dbms_cell *cells, unsigned n,
                     dbms_mark_f *mark, void *arg);

/* --- DolphinScheduler's tables (dolphin.c) ------------------------------- */

/* Of a client's connection_config; what cannot be read is our own. */
int64_t dbms_config_timeout(const struct dbms *d, const struct dbms_cell *cell);

/* Is `prefix` below, at or above /nodes? */
bool dbms_is_nodes(const char *prefix);

/* A row of its data: tag, id, data_key, data_value, data_type, client_id. */
#define DBMS_DATA_COLUMNS "id, data_key, data_value, data_type, client_id"
struct dbms_data {
    uint64_t id, client, version;
    bool ephemeral;
    const char *key, *value;
    size_t key_len, value_len;
};
void dbms_data_parse(const struct dbms_cell *cells, struct dbms_data *out);
void dbms_data_push(struct sql_rows *rows, const struct dbms_data *data);
/* Its client is not known to be dead. */
bool dbms_data_alive(const struct dbms *d, const struct dbms_data *data);
/* A key that stands in its table, as we know it. */
bool dbms_dolphin_has(const struct dbms *d, const char *key);

/* Begin to follow the tables, if that is not done yet: before a list that
 * tells of them. */
int dbms_dolphin_follow(struct dbms *d, struct err *err) MUST_CHECK;
/* Is it time to look, or did an event hint at it? */
int dbms_dolphin_due(struct dbms *d, mono_ms now, bool *due,
                     struct err *err) MUST_CHECK;
/* If it was due: everything anew, and what differs from the last time is
 * pushed. After an error only a list tells: *missed of the next call. */
int dbms_dolphin_read(struct dbms *d, mono_ms now, sql_wanted_f *wanted,
                      const void *arg, struct sql_rows *rows, bool *missed,
                      struct err *err) MUST_CHECK;
void dbms_dolphin_forget(struct dbms *d);

/* --- the schema (schema.c) ----------------------------------------------- */

extern const char dbms_schema_mysql[], dbms_schema_postgresql[];
int dbms_schema_apply(struct dbms_target *t, struct err *err) MUST_CHECK;
/* REFUSED: the tables there do not hold every key; how to alter them. */
enum dbms_fault dbms_schema_check(struct dbms_link *link,
                                  const struct dbms_target *t, struct err *err);
/* The counter's table and its row alone, one statement a request: without them
 * nobody can tell whether locks are kept. */
enum dbms_fault dbms_schema_counter(struct dbms_link *link,
                                    const struct dbms_target *t);

#endif
