/*
 * second_priv.h - the parts of second.h: the feed, the shadow, the regret.
 * (Private to this folder.)
 */
#ifndef PELORUS_BALANCER_SECOND_SECOND_PRIV_H
#define PELORUS_BALANCER_SECOND_SECOND_PRIV_H

#include "balancer/second/second.h"

#include "base/mem.h"

#include <pthread.h>

/* ---- feed.c: events as bytes ---------------------------------------------
 *
 * In this process's own form, for it alone. An event that is read stays good
 * until the next is read, and as long as its bytes.
 */
void second_pack(struct buf *out, const struct balancer_event *event);

struct feed_reader {
    struct balancer_event event;
    struct balancer_worker worker;
    struct balancer_request request;
    struct balancer_answer answer;
    struct balancer_pick *picks; /* BALANCER_COUNT_MAX */
    const char **names;          /* room for n_names */
    size_t n_names;
    struct conf_balancer conf;
    struct balancer_group_conf *own;
};
void second_reader_init(struct feed_reader *r);
void second_reader_close(struct feed_reader *r);
/* What second_pack() wrote. */
void second_unpack(struct feed_reader *r, const char *data, size_t len);

/* How long it takes to apply, about, in events of one worker. */
#define MEMBERS_AN_EVENT 64U /* judged anew in the same time */
size_t second_cost(const struct balancer_event *event);

/* ---- follow.c ------------------------------------------------------------ */

/* Have `b` decide on a request and do what was done instead; how many of the
 * picks it would have given so, each with those before it done. `picks`: room
 * for BALANCER_COUNT_MAX. *nobody: for how many it had nobody. A peek, and who
 * got nobody: 0 of 0. */
size_t second_follow(struct balancer *b, const struct balancer_event *event,
                     struct balancer_pick *picks, size_t *nobody);

/* ---- late.c: events that wait, in order ---------------------------------- */

struct known; /* regret.c */

struct late {
    struct late *later; /* a report: the next one of its worker, once it came;
                           that is behind it in the queue */
    struct known *of;   /* that worker; NULL: the event is none */
    double given; /* a report: tasks granted since the one before and not ended
                   */
    mono_ms now;
    uint32_t len;
    char data[]; /* second_pack_report(), or second_pack() */
};

/* All zero is an empty one. */
struct late_queue {
    struct late_chunk *first, *last;
    size_t n, bytes; /* of data */
};

/* Copies `data`; all else is zero. What it returns stays where it is until it
 * is the first and dropped. */
struct late *second_late_add(struct late_queue *q, const void *data,
                             size_t len);
struct late *second_late_first(const struct late_queue *q); /* NULL: none */
void second_late_drop(struct late_queue *q);                /* the first */
void second_late_close(struct late_queue *q);

/* A BALANCER_EVENT_SET in a third of what second_pack() takes, without the
 * address. `at`: the `now` that it is to wait with. */
void second_pack_report(struct buf *out, const struct balancer_event *event,
                        mono_ms at);
void second_unpack_report(struct feed_reader *r, const char *address,
                          const struct late *l);

/* ---- shadow.c ------------------------------------------------------------ */

struct shadow;
/* Goes on from `b`, which it takes over. */
struct shadow *second_shadow_new(struct balancer *b, enum conf_policy policy);
void second_shadow_free(struct shadow **s);
/* Counts into `stats`. */
void second_shadow_event(struct shadow *s, const struct balancer_event *event,
                         struct second_stats *stats);

/* ---- regret.c ------------------------------------------------------------ */

struct regret;
/* The same; `now`: from when on it hears. */
struct regret *second_regret_new(struct balancer *b,
                                 int64_t heartbeat_interval_ms, mono_ms now);
void second_regret_free(struct regret **r);
/* It happened; `data` is what second_pack() made of it, copied. */
void second_regret_event(struct regret *r, const struct balancer_event *event,
                         const char *data, size_t len);
/* Decide again what has waited for long enough, up to so many events; returns
 * how many there were. */
size_t second_regret_turn(struct regret *r, mono_ms now, size_t at_most,
                          struct second_stats *stats);

#endif
