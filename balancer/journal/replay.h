/*
 * replay.h - a journal's files applied to a balancer: the same decisions again,
 * or those of other settings.
 *
 * The world does not change: a task went to whom it went. So each pick is
 * decided anew and compared, and then what was recorded is done
 * (balancer_follow()): the grant and its end are the recorded worker's, and one
 * decision that differs does not make all later ones differ. What another
 * policy would have made of the load in the long run is for a simulation to
 * say. Pure; one thread.
 */
#ifndef PELORUS_BALANCER_JOURNAL_REPLAY_H
#define PELORUS_BALANCER_JOURNAL_REPLAY_H

#include "balancer/balancer.h"
#include "balancer/journal/format.h"

struct replay;

/* The settings in force from here on; `own` is memory (mem.h) and may be
 * another then. */
struct replay_settings {
    struct conf_balancer conf; /* with the policy */
    struct balancer_group_conf *own;
    size_t n;
};
/* Change them. An error ends the replay. */
typedef int replay_change_f(void *arg, struct replay_settings *settings,
                            struct err *err);

/* What one file came to. */
struct replay_file {
    struct journal_head head;
    uint64_t records, requests, reports, ends;
    uint64_t picks;              /* decisions: a request may ask for many */
    uint64_t missing;            /* events that the file says were left out */
    uint64_t recorded, replayed; /* hashes of the decisions */
    mono_ms first, last;         /* of its records */
    bool ended; /* it has its end; else it was cut off, or is written */
    bool torn;  /* its last block is not whole, from byte */
    uint64_t torn_at;
    bool other_algorithm; /* its fingerprint is not ours */
    bool basis_differs;   /* its basis is not where the file before it ended */
};

/* A decision that differs; `number` 0: there is none. */
struct replay_difference {
    uint64_t number; /* of the request, 1 is the first */
    uint32_t which;  /* of its picks */
    mono_ms now;
    wall_ms wall;
    char group[BALANCER_GROUP_MAX + 1];
    char was[BALANCER_ADDRESS_MAX + 1]; /* "": nobody */
    char then[BALANCER_ADDRESS_MAX + 1];
};

struct replay_share { /* how many picks a worker got */
    const char *address;
    uint64_t was, then;
};

struct replay_sum {
    uint64_t requests, picks, differ; /* differ: of the picks */
    uint64_t recorded, replayed;
    struct replay_difference first;
};

/* `change` NULL: as recorded. `stop`: before the request of that number; 0:
 * never. */
struct replay *balancer_replay_new(replay_change_f *change, void *arg,
                                   uint64_t stop);
void balancer_replay_free(struct replay **r);

/* Apply the file whose bytes these are; in the order in which they were
 * written. Errors: ERR_INVALID, ERR_TOO_LARGE: it cannot be used at all;
 * `change`'s. What is torn or missing is no error, and stands in `file`. */
int balancer_replay_apply(struct replay *r, const void *data, size_t len,
                          struct replay_file *file, struct err *err) MUST_CHECK;
bool balancer_replay_stopped(const struct replay *r);

struct replay_sum balancer_replay_sum(const struct replay *r);
/* Of all workers, by address; memory, its addresses borrowed from `r`. */
struct replay_share *balancer_replay_shares(const struct replay *r, size_t *n);

/* Where it stopped: the candidates of the request that comes next, and their
 * terms (balancer_explain()). */
void balancer_replay_explain(struct replay *r, struct buf *out);

#endif
