/*
 * rig.h - a coordinator that is measured, and who writes beside it: a real
 * `pelorus serve` on a store of its own, and this program as a client of that
 * store, so that what is measured is there without any HTTP.
 *
 * One in a program; all of it is gone at exit. Whatever fails ends the program
 * with a message.
 */
#ifndef PELORUS_TESTS_BENCH_RIG_H
#define PELORUS_TESTS_BENCH_RIG_H

#include "base/buf.h"
#include "base/loop.h"
#include "registry/registry.h"
#include "tests/bench/store.h"
#include "tests/lib/daemon.h"

#define RIG_SESSION_S 30
#define RIG_GROUP     50 /* keys of a txn, where the registry takes as many */

/* A second coordinator on the same store. */
struct rig_peer {
    char conf[96], log[96];
    uint16_t port;
    struct daemon serve;
};

struct rig {
    const char *name; /* of the program, for messages */
    struct store store;
    char dir[64], conf[96], log[96];
    uint16_t port;
    struct daemon serve;
    struct rig_peer *peer; /* lent until the program ends; NULL: none */
    /* the writer */
    struct loop *loop;
    struct registry *r;
    size_t sent, answered; /* the first is the caller's to count */
    bool connected, closed;
};

NORETURN void rig_die(const struct rig *rig, const char *what);
void rig_must(const struct rig *rig, int rc, const struct err *err);

/* The store, and the configuration of the coordinator, with `more` at its end
 * ("": nothing). All of *rig but its name is zero; it is there until the
 * program ends. `kind` is lent. */
void rig_make(struct rig *rig, const char *kind, const char *more);

/* The coordinator: the program in PELORUS, behind the words of `prefix` ("":
 * none). Again after daemon_quit(&rig->serve, ...). */
void rig_serve(struct rig *rig, const char *prefix);
/* The value of one sample of /metrics, with its labels; -1: no answer. */
double rig_metric(const struct rig *rig, const char *sample);

/* Another end of its configuration, for the next start. */
void rig_configure(struct rig *rig, const char *more);
/* The same of the second one, which comes to the store through that port of
 * 127.0.0.1 (0: as the first one). The first call makes it. */
void rig_peer_configure(struct rig *rig, struct rig_peer *peer,
                        const char *more, uint16_t through);
void rig_peer_serve(struct rig *rig);
double rig_peer_metric(const struct rig *rig, const char *sample);

/* Connects; its ephemeral keys go when it closes. */
void rig_open_writer(struct rig *rig);
void rig_close_writer(struct rig *rig);
registry_reply_f rig_written; /* arg: the rig */
/* Until no more than so many were sent and not answered. */
void rig_drain(struct rig *rig, size_t in_flight);

/* One value at a key: fills *op, which borrows both. */
void rig_put(struct registry_op *op, const char *key, const struct buf *value,
             bool ephemeral);

#endif
