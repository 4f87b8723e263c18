/*
 * memory.h - a registry in this process, with virtual time and faults on
 * command, as weak as the weakest real one: for the simulator and for tests.
 *
 * A `struct memory_store` is the server. Each registry opened on it is one
 * client with its own session and its own connection. Nothing happens by
 * itself: memory_run() delivers what is due up to a time, in an order drawn
 * from the seed. Versions of a key start again at 1 after a delete, on
 * purpose (ZooKeeper's do).
 */
#ifndef PELORUS_TESTS_MEMORY_MEMORY_H
#define PELORUS_TESTS_MEMORY_MEMORY_H

#include "base/clock.h"
#include "registry/registry.h"

struct memory_store;

/* `clock` is written by memory_run(): whoever shares it sees virtual time. */
struct memory_store *memory_store_new(struct clock *clock, uint64_t seed);
void memory_store_free(struct memory_store **store); /* all clients closed */

/* A client. Its session begins at once (CONNECTED within the next run). */
struct registry *memory_open(struct memory_store *store,
                             int64_t session_timeout_ms);

/* Deliver everything due up to `until`, moving the clock from event to event,
 * and leave it at `until`. Returns how many things were delivered. */
size_t memory_run(struct memory_store *store, mono_ms until);

/* When the next thing is due; -1 if nothing is. */
mono_ms memory_next(const struct memory_store *store);

/* --- faults -------------------------------------------------------------- */

struct memory_faults {
    int64_t delay_max_ms; /* each message takes 0 .. this, one way */
    double unknown_share; /* of writes: the reply is lost; half of those were
                             applied, some of those only later. Whoever
                                 asks another server for the mark of the write
                                 may ask one that lags and knows of none */

    double unavailable_share; /* of calls: certainly not applied */
    bool read_only;           /* writes are denied */
    const char *denied;       /* and a get of this key; NULL: none */
    double event_drop_share;  /* of watch notifications: lost; a later resync
                                 (within resync_ms) tells the difference */
    double event_dup_share;   /* of watch notifications: the look is repeated */
    double event_late_share;  /* of watch notifications: delayed by up to 10 x
                                 delay_max_ms, so that watches overtake each
                                 other (order per key is kept) */
    int64_t resync_ms; /* period of the backends' full looks, 0: none (not
                          together with event_drop_share) */
};
void memory_set_faults(struct memory_store *s, const struct memory_faults *f);

/* Cut a client off: nothing gets through, either way, until healed. Its
 * session goes on to expire at the server; the client sees SUSPENDED at 2/3
 * and DISCONNECTED at its own deadline. Requests in flight: outcome unknown. */
void memory_cut(struct registry *client);
void memory_heal(struct registry *client);

/* While it is on, writes that this client sends lie before the store: reads
 * pass them, no break of the connection loses them. The first of them is let
 * through into the next run; all are when the client is closed or dies. */
void memory_hold_up(struct registry *client, bool on);
size_t memory_held_up(struct registry *client); /* how many */
void memory_let_through(struct registry *client);

/* The server that this client is connected to has lost the others, as a
 * ZooKeeper follower that is cut off from its leader: until healed it answers
 * reads and pings from what stood when it was cut off, tells of no change and
 * writes nothing, while the others let the client's session run out. */
void memory_strand(struct registry *client);

/* The process is stopped (SIGSTOP): it receives nothing, keeps no deadline and
 * its requests already sent may still be applied; thaw delivers what piled
 * up, and what it believes is as old as the stop. */
void memory_freeze(struct registry *client);
void memory_thaw(struct registry *client);

/* Its loop is stuck, in a write that blocks, say, while the process lives on.
 * Nothing else may keep its session alive; memory_thaw() ends it. */
void memory_stick(struct registry *client);

/* The server ends the session now; the client learns it with a delay. */
void memory_expire(struct registry *client);

/* The process died (SIGKILL): no callback is called any more, nothing more is
 * sent, its session runs out at the server; requests already sent may still be
 * applied. Sets the pointer to NULL. The client's memory is freed when the next
 * memory_run() begins: until then whoever was its owner may still release
 * handles and close it, without effect. Allowed in any callback. */
void memory_kill(struct registry **client);

/* What stands now, and the store put back to it: everything acknowledged since
 * is lost, and all connections break. Not in a callback of memory_on_write. */
struct memory_backup;
struct memory_backup *memory_backup(const struct memory_store *s);
void memory_backup_free(struct memory_backup **backup);
void memory_restore(struct memory_store *s, const struct memory_backup *b);
/* Its revision is lifted, as by etcd's --bump-revision. */
void memory_lift(struct memory_store *s, uint64_t revision);

/* --- two of it ----------------------------------------------------------- */

/* Where it stands has this line (PostgreSQL's timeline) beside the revision. */
void memory_line(struct memory_store *s, uint64_t line);

/* A standby is promoted: it has what stands now, or what `b` has, on the next
 * line, and is what is looked into below; the old one is down. Clients find the
 * one that they reach and that is not behind what they know. Once. */
enum memory_which { MEMORY_OLD, MEMORY_NEW };
void memory_promote(struct memory_store *s, const struct memory_backup *b);
void memory_down(struct memory_store *s, enum memory_which which);
/* As it was: its sessions have their whole timeout again. */
void memory_up(struct memory_store *s, enum memory_which which);
/* Which of them a client reaches: both, at first. */
void memory_reach(struct registry *client, bool old, bool new);
bool memory_reaches(struct registry *client, enum memory_which which);
enum memory_which memory_at(struct registry *client);
void memory_look_into(struct memory_store *s, enum memory_which which);

/* --- looking in, without a client (invariants in tests) ------------------ */

const struct registry_entry *memory_find(const struct memory_store *s,
                                         const char *key);
typedef void memory_each_f(void *arg, const struct registry_entry *entry);
void memory_each(const struct memory_store *s, const char *prefix,
                 memory_each_f *fn, void *arg);
uint64_t memory_revision(const struct memory_store *s);
/* How many keys this client has asked for with registry_get(). */
uint64_t memory_gets(const struct registry *client);

/* Called after every applied write, before anybody is told of it. `before` is
 * NULL for a new key, `after` for a deleted one; `writer` is the session. */
typedef void memory_write_f(void *arg, uint64_t writer,
                            const struct registry_entry *before,
                            const struct registry_entry *after);
void memory_on_write(struct memory_store *s, memory_write_f *fn, void *arg);
/* Likewise, of the one that is not looked into, with the same `arg`; after
 * memory_on_write(), which ends it. */
void memory_on_write_beside(struct memory_store *s, memory_write_f *fn);

/* Inside a memory_write_f: the fencing number with which the txn checked this
 * lock; 0: it did not. */
uint64_t memory_checked_fence(const struct memory_store *s, const char *key);

/* Who holds the lock: its session and fencing number, 0 if nobody. */
uint64_t memory_lock_holder(const struct memory_store *s, const char *key,
                            uint64_t *fence);

#endif
