/*
 * conformance.h - the one suite that every registry backend passes.
 *
 * A backend's test program (tests/registry/test_<backend>.c) fills in a
 * `struct conformance_backend` and returns conformance_run(). Every test gets
 * a fresh, empty store and opens its clients through the hooks; all clients
 * live on this thread. Tests never sleep: they let time pass in turn() until
 * what they wait for is there or CONFORMANCE_PATIENCE_MS are over, so the same
 * test runs in virtual and in real time.
 *
 * The second half of this file is what the tests themselves use.
 */
#ifndef PELORUS_TESTS_REGISTRY_CONFORMANCE_H
#define PELORUS_TESTS_REGISTRY_CONFORMANCE_H

#include "registry/registry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* A session of so many ms, two thirds of which a busy machine may stand still
 * without anybody taking it for silence. */
#define CONFORMANCE_TIMEOUT_MS  6000
#define CONFORMANCE_PATIENCE_MS 60000

struct conformance_backend {
    const char *name;

    /* The timeout that tests open their sessions with. In real time it is
     * CONFORMANCE_TIMEOUT_MS; tests wait for up to three of them. */
    int64_t session_timeout_ms;

    /* A fresh, empty store; NULL fails the test. close() comes after all
     * clients are closed or killed. */
    void *(*open_store)(void);
    void (*close_store)(void *store);

    /* One client with a session of its own. It need not be connected yet. */
    struct registry *(*open)(void *store, int64_t session_timeout_ms);

    /* Let time pass: return when something may have happened, after at most
     * `max_ms` (loop_turn(loop, max_ms) in real time). */
    void (*turn)(void *store, int64_t max_ms);

    /* Milliseconds that only grow, in the time that turn() passes. */
    int64_t (*now)(void *store);

    /* End the session of `client` behind its back, at the store (delete its
     * session row, revoke its lease). It finds out by itself. */
    void (*expire)(void *store, struct registry *client);

    /* As if its process had got SIGKILL: nothing more is sent, no callback is
     * called, its memory is freed (now or by close_store()); the session runs
     * out at the store. Sets the pointer to NULL. */
    void (*kill)(void *store, struct registry **client);

    /* Optional: the client cannot reach the store until `cut` is false again
     * (sqlite: hold an exclusive transaction). Without it the tests of
     * SUSPENDED and RECONNECTED are left out of the list. */
    void (*cut)(void *store, struct registry *client, bool cut);
};

/* Run everything; the number of failed tests. */
int conformance_run(const struct conformance_backend *backend);

/* ========================= for the tests themselves =========================
 */

struct world {
    const struct conformance_backend *backend;
    void *store;
    struct registry *clients[8]; /* those still open */
    size_t n_clients;
    int closing;
};

/* cmocka's fixtures; *state is the world. */
int world_setup(void **state);
int world_teardown(void **state);

#define CONFORMANCE_TEST(f)                                                    \
    {                                                                          \
#f, f, world_setup, world_teardown, NULL                               \
    }

/* A client that is connected. Closed at teardown if it still is open. */
struct registry *world_open(struct world *w);
struct registry *world_open_unconnected(struct world *w);
/* Close and wait until it is. */
void world_close(struct world *w, struct registry **r);
void world_kill(struct world *w, struct registry **r);

/* Let time pass until *flag (or *count >= n), or fail at file:line. */
#define world_until(w, cond)                                                   \
    do {                                                                       \
        int64_t until_ =                                                       \
            (w)->backend->now((w)->store) + CONFORMANCE_PATIENCE_MS;           \
        while (!(cond)) {                                                      \
            if ((w)->backend->now((w)->store) >= until_)                       \
                fail_msg("waited in vain for: %s", #cond);                     \
            (w)->backend->turn((w)->store, 20);                                \
        }                                                                      \
    } while (0)

/* `n` keys "<prefix>/000000" and so on, each its own value. */
void world_fill(struct world *w, struct registry *r, const char *prefix,
                size_t n);

/* Let `ms` pass. */
void world_pass(struct world *w, int64_t ms);

/* --- calls --------------------------------------------------------------- */

struct got_entry {
    char *key, *value;
    size_t value_len;
    uint64_t created, version, owner;
};

/* One answer, copied. Zero-initialise; reusable; got_free() at the end. */
struct got {
    int answers; /* how often it came: must be 1 */
    enum err_code code;
    char msg[ERR_MSG_MAX];
    size_t failed_op;
    uint64_t revision;
    struct got_entry *entries;
    size_t n_entries;
    char *next;
};
void got_free(struct got *g);
registry_reply_f got_reply; /* arg: struct got */

/* Each begins the call, checks that it was not answered at once, waits for
 * the answer, and returns its code. `g` may be NULL. */
enum err_code do_get(struct world *w, struct registry *r, const char *key,
                     struct got *g);
enum err_code do_exists(struct world *w, struct registry *r, const char *key);
enum err_code do_children(struct world *w, struct registry *r, const char *key,
                          struct got *g);
enum err_code do_list(struct world *w, struct registry *r, const char *prefix,
                      const char *from, size_t limit, struct got *g);
enum err_code do_txn(struct world *w, struct registry *r,
                     const struct registry_op *ops, size_t n, struct got *g);
enum err_code do_put(struct world *w, struct registry *r, const char *key,
                     const char *value, enum registry_expect expect,
                     uint64_t version);
enum err_code do_put_ephemeral(struct world *w, struct registry *r,
                               const char *key, const char *value,
                               enum registry_expect expect, uint64_t version);
enum err_code do_delete(struct world *w, struct registry *r, const char *key,
                        uint64_t version);

/* The version of a key that exists; its value must be `value` (or NULL). */
uint64_t version_of(struct world *w, struct registry *r, const char *key,
                    const char *value);

/* --- watches ------------------------------------------------------------- */

struct seen_event {
    enum registry_event_type type;
    char *key, *value;
    uint64_t created, version, owner;
};

struct seen {
    struct registry_watch *watch;
    struct seen_event *events;
    size_t n, cap;
    size_t synced;  /* how many SYNCED so far */
    int unwatch_at; /* >0: unwatch inside the callback of that event */
};
void seen_start(struct world *w, struct registry *r, struct seen *s,
                const char *prefix); /* waits for SYNCED */
void seen_stop(struct seen *s);
/* The next event after the first `at` is this one; waits for it. */
void seen_expect(struct world *w, const struct seen *s, size_t at,
                 enum registry_event_type type, const char *key,
                 const char *value);
registry_event_f seen_event;

/* --- locks --------------------------------------------------------------- */

struct held {
    struct registry_lock *lock;
    int answers, losses;
    enum err_code code; /* of the answer */
    uint64_t fence;
};
/* Asks; does not wait. */
void held_ask(struct registry *r, struct held *h, const char *key,
              const char *owner, int64_t timeout_ms);
/* Asks and waits for the answer. */
enum err_code held_take(struct world *w, struct registry *r, struct held *h,
                        const char *key, const char *owner, int64_t timeout_ms);
void held_release(struct held *h);
/* A round trip: what this client asked before has reached the store. */
void world_round_trip(struct world *w, struct registry *r);

/* --- states -------------------------------------------------------------- */

struct told {
    struct registry_listener *listener;
    enum registry_state states[64];
    size_t n;
};
registry_state_f told_state;

/* --- the groups, one file each; they return the number of failed tests --- */

int conformance_keys(void);
int conformance_txn(void);
int conformance_watch(void);
int conformance_lock(void);
int conformance_session(bool can_cut);
int conformance_dolphin(void);

#endif
